"""Access: every check that turns a verified or anonymous caller away, as tables."""

from typing import Any

import pytest

from restauth.errors import BadCredentials, LoginRequired, PasswordRequired, RoleRequired
from restauth.records import Caller, User
from restauth.web.access import Access, check_roles, check_route

BY_PASSWORD = Caller(User(1, "miguel", ("editor", "viewer"), None, "password"), None)
BY_TOKEN = Caller(User(1, "miguel", ("editor", "viewer"), "s", "token"), None)
WITHOUT_ROLE = Caller(User(1, "miguel", ("viewer", "editors", "edito"), None, "password"), None)
BY_KEY = Caller(User(1, "miguel", ("viewer",), None, "key"), None)
USER = BY_PASSWORD.user


def outcome(check: Any, *arguments: object) -> object:
    """What a check gives, or the class of its refusal."""
    try:
        return check(*arguments)
    except (BadCredentials, LoginRequired, PasswordRequired, RoleRequired) as error:
        return type(error)


# A route


@pytest.mark.parametrize(
    ("access", "caller", "expected"),
    [
        (Access.USER, BY_PASSWORD, BY_PASSWORD),
        (Access.USER, BY_TOKEN, BY_TOKEN),
        (Access.USER, BY_KEY, BY_KEY),
        (Access.USER, None, BadCredentials),
        (Access.LOGIN, BY_PASSWORD, BY_PASSWORD),
        (Access.LOGIN, BY_TOKEN, BY_TOKEN),
        (Access.LOGIN, BY_KEY, LoginRequired),
        (Access.LOGIN, None, BadCredentials),
        (Access.PASSWORD, BY_PASSWORD, BY_PASSWORD),
        (Access.PASSWORD, BY_TOKEN, PasswordRequired),
        (Access.PASSWORD, BY_KEY, PasswordRequired),
        (Access.PASSWORD, None, BadCredentials),
        (Access.ADMIN, BY_PASSWORD, BY_PASSWORD),
        (Access.ADMIN, BY_TOKEN, BY_TOKEN),
        (Access.ADMIN, WITHOUT_ROLE, RoleRequired),
        (Access.ADMIN, None, BadCredentials),
        # No caller passes unverified, even where the check should not have been asked.
        (Access.ANYONE, None, BadCredentials),
    ],
)
def test_a_route_lets_its_callers_in(access: Access, caller: Caller | None, expected: Any) -> None:
    assert outcome(check_route, access, caller, "editor") == expected


def test_without_a_name_of_the_role_no_one_is_an_operator() -> None:
    assert outcome(check_route, Access.ADMIN, BY_PASSWORD, "") is RoleRequired


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([], USER),
        (["editor"], USER),
        (["viewer", "editor", "viewer"], USER),
        (["admin"], RoleRequired),
        (["editor", "admin"], RoleRequired),  # all of them
        (["Editor"], RoleRequired),
        (["edito"], RoleRequired),
        (["editor,viewer"], RoleRequired),
        ([""], RoleRequired),
    ],
)
def test_a_user_needs_all_the_roles(roles: list[str], expected: Any) -> None:
    assert outcome(check_roles, USER, roles) == expected
