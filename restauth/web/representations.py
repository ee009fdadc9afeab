"""What JSON says of accounts, sessions, API keys and invitations, over HTTP and with `--json`.

Rule: a thing has one shape, wherever it is shown. Times are RFC 3339; what does not exist is null.
No secret is shown.
"""

from typing import TypeAlias

from restauth.core import rfc3339
from restauth.records import Account, ApiKey, Invitation, Overview, Session

Member: TypeAlias = "int | str | tuple[str, ...] | None"


def account(account: Account) -> dict[str, Member]:
    """As an operator sees it in a list."""
    return {
        "created_at": rfc3339.build(account.created_at),
        "id": account.id,
        "locked_at": time(account.locked_at),
        "roles": account.roles,
        "username": account.username,
    }


def overview(overview: Overview) -> dict[str, Member]:
    """As an operator sees it alone."""
    return {
        **account(overview.account),
        "failures": overview.failures,
        "keys": overview.keys,
        "last_login_at": time(overview.last_login_at),
        "password_blocked_at": time(overview.password_blocked_at),
        "sessions": overview.sessions,
    }


def session(session: Session) -> dict[str, Member]:
    """As its user sees it, and an operator."""
    return {
        "created_at": rfc3339.build(session.created_at),
        "expires_at": rfc3339.build(session.expires_at),
        "id": session.id,
        "last_used_at": rfc3339.build(session.last_used_at),
        "peer": session.peer,
        "user_agent": session.user_agent,
    }


def key(key: ApiKey) -> dict[str, Member]:
    """As its user sees it, and an operator."""
    return {
        "created_at": rfc3339.build(key.created_at),
        "expires_at": time(key.expires_at),
        "id": key.id,
        "last_used_at": time(key.last_used_at),
        "name": key.name,
        "prefix": key.prefix,
        "roles": key.roles,
    }


def invitation(invitation: Invitation) -> dict[str, Member]:
    """As an operator sees it."""
    return {
        "created_at": rfc3339.build(invitation.created_at),
        "expires_at": rfc3339.build(invitation.expires_at),
        "id": invitation.id,
        "roles": invitation.roles,
    }


def time(at: int | None) -> str | None:
    """Of epoch seconds."""
    return None if at is None else rfc3339.build(at)
