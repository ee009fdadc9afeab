"""Which requests a guarded app gets: the arguments of a guard, parsed and applied.

Rule: a wrong argument is refused when the guard is built. What cannot be decided with certainty
asks for credentials: a path that the app may read in another way is never open to anyone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from restauth.core.roles import is_role
from restauth.errors import BadCredentials, InvalidSetting
from restauth.records import Caller
from restauth.settings import read_flag
from restauth.web.access import check_roles

_AMBIGUOUS = re.compile(r"[\\%?#\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class GuardRules:
    """Whom a guarded app lets in. `exempt` are the paths that are open to anyone: there,
    credentials are not looked at."""

    required: bool
    roles: tuple[str, ...]
    exempt: tuple[str, ...]


def parse_guard_rules(
    app: object, required: bool | str, role: str | None, exempt: str | Iterable[str]
) -> GuardRules:
    """The rules; a role implies `required`. `exempt` is a list, or a text with commas.

    Raises InvalidSetting, also for an app that cannot be called.
    """
    if not callable(app):
        raise InvalidSetting(f"{type(app).__name__} is not a WSGI application.")
    if role is not None and not is_role(role):  # a role with a typing error would lock all out
        shown = repr(role) if isinstance(role, str) else f"of the type {type(role).__name__}"
        raise InvalidSetting(f"role is {shown}: no user can have such a role.")
    is_required = read_flag("required", required) or role is not None
    return GuardRules(is_required, () if role is None else (role,), _parse_exempt(exempt))


def check_guard(rules: GuardRules, caller: Caller | None) -> None:
    """Let the request go on to the guarded app. Raises BadCredentials, RoleRequired."""
    if caller is not None:
        check_roles(caller.user, rules.roles)
    elif rules.required:
        raise BadCredentials


def is_exempt(path: str, exempt: tuple[str, ...]) -> bool:
    """Whether a PATH_INFO is one of the exempt paths, or below one of them by whole segments.

    A path that the app may shorten (`/static/../admin`) is never exempt.
    """
    if not exempt:
        return False
    if path in ("", "/"):  # the front page; an exempt "/" is only that
        return "" in exempt
    return _is_plain(path) and any(
        prefix and (path == prefix or path.startswith(prefix + "/")) for prefix in exempt
    )


def _is_plain(path: str) -> bool:
    """Whether every app reads the path in the same way: no segment is empty, `.` or `..` (with
    blanks or parameters or without), and no character is one that some apps decode or leave out."""
    start, *segments = path.removesuffix("/").split("/")
    names = [segment.partition(";")[0].strip() for segment in segments]
    is_clear = not start and not _AMBIGUOUS.search(path)
    return is_clear and not any(name in ("", ".", "..") for name in names)


def _parse_exempt(exempt: str | Iterable[str]) -> tuple[str, ...]:
    try:
        words = re.split(r"[,\n]", exempt) if isinstance(exempt, str) else exempt
        paths = tuple(word.strip() for word in words if word.strip())
        # PEP 3333: PATH_INFO holds the bytes of the path as latin-1 characters.
        parsed = tuple(path.rstrip("/").encode("utf-8").decode("latin-1") for path in paths)
    except (AttributeError, TypeError, UnicodeEncodeError):
        raise InvalidSetting("exempt is not a list of paths such as /static.") from None
    for path in paths:
        if path != "/" and ("*" in path or not _is_plain(path)):
            raise InvalidSetting(f"exempt has {path!r}: not a path such as /static.")
    return parsed
