"""The values that travel between the layers, all of them frozen.

Rule: values only. No record knows where it is stored or how it travels. Only `domain` makes a
`User` from a request, after it has verified the credentials. Times are epoch seconds, durations
are seconds.
"""

from dataclasses import dataclass, field
from typing import Literal

MAX_ID = 2**63 - 1  # ids go from 1 to this: what a store can hold
ROLE_PATTERN = "[a-z][a-z0-9_-]{0,31}"  # of ASCII


How = Literal["password", "token", "key"]  # which credential was verified


@dataclass(frozen=True, slots=True)
class User:
    """Who sent a request, verified: the value of `environ["restauth.user"]`.

    `how` says what was verified; `session_id` is None, but for a token. With an API key, `roles`
    are those of the user that the key has too.
    """

    id: int
    username: str
    roles: tuple[str, ...] = ()
    session_id: str | None = None
    how: How = "password"


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it was when it was read. `password_hash` is secret.

    `locked_at` is None for an account that is not locked. `password_version` changes with the
    password; a new hash of the same password does not change it.
    """

    id: int
    username: str
    password_hash: str = field(repr=False)
    created_at: int
    locked_at: int | None
    password_version: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """What the operator is shown of an account, and never a client.

    `sessions` and `keys` are the numbers of its live sessions and API keys, and `last_login_at`
    says when a session last began. `failures` is the number of failed logins in a row; when they
    have blocked the password, `password_blocked_at` says since when.
    """

    account: Account
    last_login_at: int | None
    sessions: int
    keys: int
    failures: int
    password_blocked_at: int | None


@dataclass(frozen=True, slots=True)
class LiveSession:
    """What a token request reads of a session that has not ended, and of its user, who is not
    locked. Access tokens of the session can be renewed until `renewable_until`."""

    id: str
    user_id: int
    username: str
    roles: tuple[str, ...]
    expires_at: int
    renewable_until: int


@dataclass(frozen=True, slots=True)
class Session(LiveSession):
    """One live row of `sessions`, with the name and the roles of its user.

    `refresh_counter` is the number of the current refresh token, issued at `rotated_at`. Both are
    None for a session without refresh tokens.
    """

    created_at: int
    last_used_at: int
    refresh_counter: int | None
    rotated_at: int | None
    peer: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One row of `api_keys`, with the name and the roles of its user.

    `roles` is None for a key with all roles of its user, `expires_at` for a key that never expires.
    `last_used_at` is the beginning of the hour of the last use, or None.
    """

    id: str
    user_id: int
    username: str
    user_roles: tuple[str, ...]
    name: str
    roles: tuple[str, ...] | None
    secret_digest: str = field(repr=False)
    created_at: int
    expires_at: int | None
    last_used_at: int | None = None

    @property
    def prefix(self) -> str:
        """The part of the key that may be shown: it finds the key, and proves nothing."""
        return f"rak_{self.id}"


@dataclass(frozen=True, slots=True)
class Caller:
    """A `User` and what proved it: the account whose password was verified, or the session of the
    token. `proof` is None for an API key, and for a token that was verified without a store."""

    user: User
    proof: Account | LiveSession | None


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request came from. `peer` is the network address of the client, as the server sees
    it; `user_agent` is what the client calls itself. `operator_id` is the id of the user who acts
    on the accounts of others; None for a user who acts on the own account."""

    peer: str
    user_agent: str = ""
    operator_id: int | None = None


OPERATOR = Client("operator")  # the command line, and the Python API of `app.Service`


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """New tokens of a session, and how long they live.

    Without a refresh token, `refresh_token` is None and `refresh_duration` is 0.
    """

    session_id: str
    token: str = field(repr=False)
    duration: int
    refresh_token: str | None = field(default=None, repr=False)
    refresh_duration: int = 0


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A new reset code. It is shown now, and never again."""

    code: str = field(repr=False)
    expires_at: int


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new API key. `text` is what a client presents: it is shown now, and never again."""

    key: ApiKey
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A row that comes from another database and keeps its id."""

    id: int
    username: str
    canonical_username: str
    password_hash: str = field(repr=False)
    is_locked: bool


@dataclass(frozen=True, slots=True)
class Invitation:
    """What is known of a code that registers one user. `id` is the code's selector, which is no
    secret."""

    id: str
    roles: tuple[str, ...]
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many attempts failed: for a name, for a peer, or for a name from a peer."""

    count: int
    counted_from: int
    blocked_until: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `restauth check`. An `error` means that users could be lost, or that an attacker
    could get in."""

    level: Literal["ok", "warning", "error"]
    text: str
