"""The nouns: User, Account, Session, Caller, Grant as frozen values.

Rule: values only. No record knows where it is stored or how it travels. A `User` is verified: one
comes to be only in the two bridges, `accounts` and `sessions`, and the app sees no other kind.
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
    """One row of `users`, as it was read. Times are epoch seconds."""

    id: int
    username: str
    password_hash: str = field(repr=False)
    created_at: int
    locked_at: int | None


@dataclass(frozen=True, slots=True)
class Session:
    """One live row of `sessions` with its user's name. Times are epoch seconds."""

    id: str
    user_id: int
    username: str
    created_at: int
    last_used_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Caller:
    """A `User` and what proved it: the account whose password was verified, or the session."""

    user: User
    proof: Account | Session


@dataclass(frozen=True, slots=True)
class Grant:
    """A fresh access token and how long it lives, in seconds."""

    token: str = field(repr=False)
    duration: int
