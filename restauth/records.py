"""The nouns: User, Account, Session, Caller, Client, IssuedTokens as frozen values.

Rule: values only. No record knows where it is stored or how it travels. A `User` is verified: it is
made only of what the two bridges, `logins` and `sessions`, have let through.
"""

from dataclasses import dataclass, field
from typing import Literal

MAX_ID = 2**63 - 1  # ids are 1 to this: what a store can hold


@dataclass(frozen=True, slots=True)
class User:
    """Who sent the request, verified: the value of `environ["restauth.user"]`.

    `session_id` is None when the proof was a password (`how`).
    """

    id: int
    username: str
    roles: tuple[str, ...]
    session_id: str | None
    how: Literal["password", "token"]


@dataclass(frozen=True, slots=True)
class Account:
    """One row of `users`, as it was read. Times are epoch seconds.

    `password_version` changes with the password, and not when its hash is renewed.
    """

    id: int
    username: str
    password_hash: str = field(repr=False)
    created_at: int
    locked_at: int | None
    password_version: int
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Session:
    """One live row of `sessions` with its user's name and roles. Times are epoch seconds.

    Its tokens renew each other until `renewable_until`. `refresh_counter` numbers its refresh
    tokens, the last one given out at `rotated_at`; both are None when it has none.
    """

    id: str
    user_id: int
    username: str
    roles: tuple[str, ...]
    created_at: int
    last_used_at: int
    expires_at: int
    renewable_until: int
    refresh_counter: int | None
    rotated_at: int | None
    peer: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Caller:
    """A `User` and what proved it: the account whose password was verified, or the session."""

    user: User
    proof: Account | Session


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request came from: the address of the peer, and what it calls itself."""

    peer: str
    user_agent: str = ""


OPERATOR = Client("operator")  # the command line


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """Fresh tokens and how long they live, in seconds. Without a refresh token the last two are
    None and 0."""

    session_id: str
    token: str = field(repr=False)
    duration: int
    refresh_token: str | None = field(default=None, repr=False)
    refresh_duration: int = 0


@dataclass(frozen=True, slots=True)
class ImportedUser:
    """A row that moves in, under the id that it had."""

    id: int
    username: str
    canonical_username: str
    password_hash: str = field(repr=False)
    is_locked: bool


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How often a name, a peer, or a name from a peer has failed. Times are epoch seconds."""

    count: int
    counted_from: int
    blocked_until: int
