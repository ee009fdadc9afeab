"""All that can go wrong, by name.

Rule: a `RestauthError` is what happened, never how it is answered: `web.problems` alone knows HTTP
statuses, `cli` alone knows exit statuses. No secret, token or header text is ever an argument.

    RestauthError
    ├── Refusal           a request that is turned down; it becomes a problem document
    └── Fault             something only the operator can mend; it stops the start
"""

from typing import ClassVar


class RestauthError(Exception):
    """The root: one `except RestauthError` catches whatever restauth refuses on purpose.

    `code` is stable and snake_case; a refusal's is part of the wire contract
    (`urn:restauth:problem:<code>`).
    """

    code: ClassVar[str]
    detail: ClassVar[str]

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.detail)


class Refusal(RestauthError):
    """A request is turned down, and the caller may be told why."""


class MalformedRequest(Refusal):
    code = "malformed_request"
    detail = "The request is not well-formed."


class UnacceptableUsername(Refusal):
    code = "unacceptable_username"
    detail = "This username is not acceptable here."


class UnacceptablePassword(Refusal):
    code = "unacceptable_password"
    detail = "A password has 1 to 1024 characters."


class UsernameTaken(Refusal):
    code = "username_taken"
    detail = "This username is taken."


class UnknownUser(Refusal):
    code = "unknown_user"
    detail = "There is no such user."


class UnusableCode(Refusal):
    """A reset code that is wrong, used or expired: one answer for all."""

    code = "unusable_code"
    detail = "This code is not good: wrong, used or expired."


class NoSession(Refusal):
    code = "no_session"
    detail = "A password has no session to end: present the token."


class BadCredentials(Refusal):
    """Missing or wrong credentials: one class, so that every cause gets one answer."""

    code = "bad_credentials"
    detail = "Unauthorized Access"  # the words are REST-auth's: clients look for them


class PasswordRequired(Refusal):
    code = "password_required"
    detail = "A token is not enough here: present the password itself."


class RoleRequired(Refusal):
    code = "role_required"
    detail = "The role that is asked for here is missing."


class RegistrationClosed(Refusal):
    code = "registration_closed"
    detail = "Only the operator adds users here."


class HttpsRequired(Refusal):
    code = "https_required"
    detail = "Credentials are taken over https only."


class NotFound(Refusal):
    code = "not_found"
    detail = "There is nothing here."


class MethodNotAllowed(Refusal):
    code = "method_not_allowed"
    detail = "This resource has no such method."

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__()
        self.allowed = allowed


class LengthRequired(Refusal):
    code = "length_required"
    detail = "The length of the body is not known."


class BodyTooLarge(Refusal):
    code = "body_too_large"
    detail = "The body is larger than 64 KiB."


class UnsupportedMediaType(Refusal):
    code = "unsupported_media_type"
    detail = "The body must be application/json, with no content coding."


class Throttled(Refusal):
    """Too many failures; the next attempt may be made in `retry_after` seconds."""

    code = "throttled"
    detail = "Too many failed attempts."

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class Barred(Refusal):
    """Throttled, in the words of a proxy's question: yes, no, or who are you."""

    code = "barred"
    detail = Throttled.detail


class Unavailable(Refusal):
    """Nothing is wrong with the request: try again in `retry_after` seconds.

    `cause` is for the operator's eyes: the log and the command line show it, the wire does not.
    """

    retry_after: ClassVar[int] = 1

    def __init__(self, cause: str = "") -> None:
        super().__init__()
        self.cause = cause


class Busy(Unavailable):
    code = "busy"
    detail = "All password hash slots are taken."


class StoreUnavailable(Unavailable):
    code = "store_unavailable"
    detail = "The store does not answer."
    retry_after = 2


class Fault(RestauthError):
    """The start, or an operator's command, cannot go on; the message says what to mend."""


class InvalidSetting(Fault):
    code = "invalid_setting"
    detail = "A setting cannot be used."


class UnusableKeyRing(Fault):
    code = "unusable_key_ring"
    detail = "The key ring cannot be used."


class UnusableStore(Fault):
    code = "unusable_store"
    detail = "The database cannot be used."


class UnacceptableRoles(Fault):
    code = "unacceptable_roles"
    detail = "These roles are not acceptable."


class AccountLocked(Fault):
    code = "account_locked"
    detail = "The account is locked: unlock it first."


class UnusableFile(Fault):
    code = "unusable_file"
    detail = "The file cannot be used."


class ImportConflict(Fault):
    code = "import_conflict"
    detail = "An id or a name belongs to somebody else here."


class UnusableAddress(Fault):
    code = "unusable_address"
    detail = "The server cannot listen there."
