"""Who may call a route, and who has a role.

Rule: a check returns the verified caller that the request may go on with, or raises. So a check
that is forgotten leaves the request without a caller.
"""

from collections.abc import Iterable
from enum import Enum

from restauth.errors import BadCredentials, LoginRequired, PasswordRequired, RoleRequired
from restauth.records import Caller, User


class Access(Enum):
    """Who may call a route."""

    ANYONE = "anyone"  # credentials are not looked at
    USER = "user"  # a live token, a correct password or an API key
    LOGIN = "login"  # a token or the password: an API key is not enough
    PASSWORD = "password"  # the password itself: a token is not enough
    SCRAPER = "scraper"  # the secret of the setting `metrics`, and no user
    ADMIN = "admin"  # a user with the role of the setting `admin_role`


def check_route(access: Access, caller: Caller | None, admin_role: str) -> Caller:
    """The caller, if they may call a route of that access (which is not ANYONE).

    Raises BadCredentials, LoginRequired, PasswordRequired, RoleRequired.
    """
    if caller is None:
        raise BadCredentials
    if access is Access.PASSWORD and caller.user.how != "password":
        raise PasswordRequired
    if access is Access.LOGIN and caller.user.how == "key":
        raise LoginRequired
    if access is Access.ADMIN:
        check_roles(caller.user, [admin_role])
    return caller


def check_roles(user: User, roles: Iterable[str]) -> User:
    """The user, if they have all these roles. Raises RoleRequired."""
    if not set(roles) <= set(user.roles):
        raise RoleRequired
    return user
