"""The rules for new passwords of one service: the policy, then the operator's own check.

Rule: joins `core.password_policy` to the list of common passwords and to the function that the
setting `password_check` names. It is asked only when a password is set.
"""

import importlib
from collections.abc import Callable

from restauth.core import password_policy
from restauth.errors import InvalidSetting
from restauth.settings import Settings, both_names
from restauth.storage import common_passwords

FindFault = Callable[[str, str], str | None]  # (password, username) -> why it is refused, or None


def build(settings: Settings) -> FindFault:
    """The function that a service asks. Raises InvalidSetting when `password_check` cannot be
    imported."""
    check = _import_check(settings.password_check) if settings.password_check else _accept
    if settings.password_policy == "open":
        return check
    service_names = (settings.issuer, settings.audience, settings.realm, "restauth")

    def find_fault(password: str, username: str) -> str | None:
        lists = common_passwords.read()
        fault = password_policy.find_fault(password, (username, *service_names), *lists)
        return fault or check(password, username)

    return find_fault


def _accept(password: str, username: str) -> None:
    return None


def _import_check(name: str) -> FindFault:
    module, _, function = name.partition(":")
    shown = f"{both_names('password_check')} is {name!r}"
    try:
        check: FindFault = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001 - importing another author's module may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InvalidSetting(f"{shown}: {reason}.") from None
    if not callable(check):
        raise InvalidSetting(f"{shown}: not a function.")
    return check
