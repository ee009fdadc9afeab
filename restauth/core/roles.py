"""Plain names for what somebody may do elsewhere.

Rule: restauth gives roles out and never asks for one itself. They are read from the store with
each credential, so that one taken away is gone at once.
"""

import re
from collections.abc import Iterable

from restauth.errors import UnacceptableRoles

MAX_ROLES = 32  # a user; a token has to carry them all

_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def is_role(text: object) -> bool:
    return isinstance(text, str) and _ROLE.fullmatch(text) is not None


def changed(roles: Iterable[str], added: Iterable[str], removed: Iterable[str]) -> tuple[str, ...]:
    """The roles in alphabetical order after the change. Raises UnacceptableRoles."""
    added, removed = set(added), set(removed)
    for role in added | removed:
        if not is_role(role):
            raise UnacceptableRoles(f"{role!r} is no role: it must match {_ROLE.pattern}")
    result = (set(roles) | added) - removed
    if len(result) > MAX_ROLES:
        raise UnacceptableRoles(f"A user has at most {MAX_ROLES} roles.")
    return tuple(sorted(result))
