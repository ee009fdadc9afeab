"""All that can go wrong, by name.

Rule: an exception says what happened. It does not know how that is answered: only `web.problems`
knows HTTP statuses, and only `cli` knows exit statuses. No password, token or header is ever an
argument of an exception.

    RestauthError
    ├── Refusal           a request is refused; it becomes a problem document
    │   └── Unavailable   the request is valid, but cannot be served now
    └── Fault             only the operator (who runs the service) can repair it; it stops the start
"""

from typing import ClassVar


class RestauthError(Exception):
    """The root: `except RestauthError` catches all that restauth raises on purpose.

    `code` is stable and in snake_case. The code of a refusal is part of the wire contract
    (`urn:restauth:problem:<code>`).
    """

    code: ClassVar[str]
    detail: ClassVar[str]

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.detail)


class Refusal(RestauthError):
    """A request is refused. The client may read the reason."""


class MalformedRequest(Refusal):
    """The request breaks a rule of HTTP, of JSON, or of the route."""

    code = "malformed_request"
    detail = "The request is not well-formed."


class UnacceptableUsername(Refusal):
    """The name does not match the setting `username_pattern`, or can never log in."""

    code = "unacceptable_username"
    detail = "This username is not acceptable here."


class UnacceptablePassword(Refusal):
    """The new password is refused by its length or by the password policy."""

    code = "unacceptable_password"
    detail = "A password has 1 to 1024 characters."


class UnacceptableRoles(Refusal):
    """A role is not well-formed, or a user would have too many of them."""

    code = "unacceptable_roles"
    detail = "These roles are not acceptable."


class UsernameTaken(Refusal):
    """An account has this name, or one that differs only by case or by Unicode form."""

    code = "username_taken"
    detail = "This username is taken."


class UnknownUser(Refusal):
    """No account has this id or this name."""

    code = "unknown_user"
    detail = "There is no such user."


class UnusableCode(Refusal):
    """A reset code or an invitation is wrong, used or expired: one answer for all three."""

    code = "unusable_code"
    detail = "This code cannot be used: it is wrong, used or expired."


class UnacceptableKey(Refusal):
    """The name, the roles or the duration of a new API key are refused."""

    code = "unacceptable_key"
    detail = "This API key is not acceptable."


class UnacceptableInvitation(Refusal):
    """The duration of a new invitation is refused."""

    code = "unacceptable_invitation"
    detail = "This invitation is not acceptable."


class TooManyKeys(Refusal):
    """The user has as many API keys as a user may have."""

    code = "too_many_keys"
    detail = "The user has too many API keys."


class NoSession(Refusal):
    """A logout was asked for with a password, which belongs to no session."""

    code = "no_session"
    detail = "A password has no session to end: present the token."


class BadCredentials(Refusal):
    """Credentials are missing or wrong: one class, so that every cause gets the same answer."""

    code = "bad_credentials"
    detail = "Unauthorized Access"  # REST-auth's words: clients look for them


class LoginRequired(Refusal):
    """An API key was presented where only a token or the password is enough."""

    code = "login_required"
    detail = "An API key is not enough here: present a token or the password."


class PasswordRequired(Refusal):
    """A token or an API key was presented where only the password itself is enough."""

    code = "password_required"
    detail = "Neither a token nor an API key is enough here: present the password itself."


class RoleRequired(Refusal):
    """The user does not have the role that is asked for."""

    code = "role_required"
    detail = "You do not have the role that is required here."


class OwnAccount(Refusal):
    """An operator would lose the operator's API, by a lock, by deletion or without the role; or
    would get the own password without knowing it, by a reset code; or acts on the own account by an
    API key."""

    code = "own_account"
    detail = "This would end your own access as an operator: ask another one."


class RegistrationClosed(Refusal):
    """The setting `registration` is `closed`."""

    code = "registration_closed"
    detail = "Only the operator adds users here."


class HttpsRequired(Refusal):
    """Credentials came over plain http, and the setting `require_https` is true."""

    code = "https_required"
    detail = "Credentials are accepted over https only."


class CrossOrigin(Refusal):
    """A page of another origin, which `cors_origins` does not list, would change something with the
    password that the browser remembers."""

    code = "cross_origin"
    detail = "This comes from a page of another origin, which may change nothing here."


class NotFound(Refusal):
    """No route has this path, or the resource is not the caller's."""

    code = "not_found"
    detail = "There is nothing here."


class MethodNotAllowed(Refusal):
    """The path exists, but not with this method. `allowed` are its methods."""

    code = "method_not_allowed"
    detail = "This resource does not have this method."

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__()
        self.allowed = allowed


class AccountLocked(Refusal):
    """The operation needs an account that is not locked."""

    code = "account_locked"
    detail = "The account is locked: unlock it first."


class LengthRequired(Refusal):
    """The body has neither a length nor an end that the server marks."""

    code = "length_required"
    detail = "The length of the body is not known."


class BodyTooLarge(Refusal):
    """The body is larger than the limit."""

    code = "body_too_large"
    detail = "The body is larger than 64 KiB."


class HeaderTooLarge(Refusal):
    """The header of the request is larger than the server's limit."""

    code = "header_too_large"
    detail = "The header of the request is too large."


class UnsupportedTransferCoding(Refusal):
    """The body has a transfer coding other than chunked."""

    code = "unsupported_transfer_coding"
    detail = "The only transfer coding is chunked."


class UnsupportedMediaType(Refusal):
    """The body is not JSON, or it is compressed (`is_coded`)."""

    code = "unsupported_media_type"
    detail = "The body must be application/json, with no content coding."

    def __init__(self, *, is_coded: bool = False) -> None:
        super().__init__()
        self.is_coded = is_coded


class Throttled(Refusal):
    """Too many attempts have failed, or too many accounts were made. The next attempt may be made
    in `retry_after` seconds; None when no wait helps, but only the operator or a reset code."""

    code = "throttled"
    detail = "Too many failed attempts."

    def __init__(self, retry_after: int | None, detail: str = detail) -> None:
        hint = "" if retry_after else " Waiting does not help: ask the operator."
        super().__init__(detail + hint)
        self.retry_after = retry_after


class Unavailable(Refusal):
    """The request is valid: try again in `retry_after` seconds.

    `cause` is for the operator: the log and the command line show it, HTTP responses do not.
    """

    retry_after: ClassVar[int] = 1

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause


class Busy(Unavailable):
    """The limit of parallel password hashes is reached, and the queue is full."""

    code = "busy"
    detail = "Too many password hashes are computed at this moment."


class StoreUnavailable(Unavailable):
    """The database is locked, full, gone or damaged."""

    code = "store_unavailable"
    detail = "The store does not answer."
    retry_after = 2


class KeysUnavailable(Unavailable):
    """Whether the token is valid is not known: its key may be in a key set that cannot be read."""

    code = "keys_unavailable"
    detail = "The keys that verify tokens cannot be read."
    retry_after = 2


class NotReady(Unavailable):
    """The store answers, but something else is not in order. The log and `restauth check` say what
    it is; the health check of the world does not."""

    code = "not_ready"
    detail = "The service is not in order."


class Fault(RestauthError):
    """The start, or a command of the operator, cannot go on. The message says what to repair."""


class InvalidSetting(Fault):
    """A setting, or an argument of a constructor, has a value that cannot be used."""

    code = "invalid_setting"
    detail = "A setting cannot be used."


class InvalidInput(Fault):
    """What was typed or piped into a command cannot be used."""

    code = "invalid_input"
    detail = "The input cannot be used."


class UnusableKeyRing(Fault):
    """The key ring (the file with the signing keys) is missing, unsafe, damaged or weak."""

    code = "unusable_key_ring"
    detail = "The key ring cannot be used."


class UnusableStore(Fault):
    """The database belongs to another program, is damaged, is newer, or cannot be made."""

    code = "unusable_store"
    detail = "The database cannot be used."


class UnknownKey(Fault):
    """No API key has this prefix, or it is none."""

    code = "unknown_key"
    detail = "There is no API key with this prefix: it has ended, or was never made here."


class UnusableFile(Fault):
    """A file that is neither the database nor the key ring cannot be read or written."""

    code = "unusable_file"
    detail = "The file cannot be used."


class ImportConflict(Fault):
    """An imported id or name belongs to another user here."""

    code = "import_conflict"
    detail = "An id or a name belongs to another user here."


class UnusableAddress(Fault):
    """The server cannot listen on this address."""

    code = "unusable_address"
    detail = "The server cannot listen there."
