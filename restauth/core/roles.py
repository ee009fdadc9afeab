"""Roles: plain names for what a user may do in your application.

Rule: restauth stores roles and shows them. Two kinds of routes ask for one: `/api/verify?role=…`
for yours, and the operator's API for that of the setting `admin_role`. They are read with each
credential, so that a role that was taken away is gone at once.
"""

import re
from collections.abc import Iterable

from restauth.errors import UnacceptableRoles
from restauth.records import ROLE_PATTERN

MAX_ROLES = 32  # of one user; a token has to carry them all

_ROLE = re.compile(ROLE_PATTERN)


def is_role(text: object) -> bool:
    """Whether a user could have this role."""
    return isinstance(text, str) and _ROLE.fullmatch(text) is not None


def changed(roles: Iterable[str], added: Iterable[str], removed: Iterable[str]) -> tuple[str, ...]:
    """The roles after the change, in alphabetical order. Raises UnacceptableRoles."""
    if any(isinstance(names, str) for names in (roles, added, removed)):
        raise UnacceptableRoles("Roles are a list of texts, not one text.")  # or a role a letter
    try:
        added, removed = set(added), set(removed)
    except TypeError:
        raise UnacceptableRoles("Roles are a list of texts.") from None
    for role in added | removed:
        if not is_role(role):
            raise UnacceptableRoles(f"{role!r} is not a role: it must match {_ROLE.pattern}")
    result = (set(roles) | added) - removed
    if len(result) > MAX_ROLES:
        raise UnacceptableRoles(f"A user has at most {MAX_ROLES} roles.")
    return tuple(sorted(result))


def limit(user_roles: tuple[str, ...], key_roles: tuple[str, ...] | None) -> tuple[str, ...]:
    """What an API key leaves of the roles of its user: those that the key has too, or all of them
    where `key_roles` is None."""
    return tuple(role for role in user_roles if key_roles is None or role in key_roles)
