"""Roles: what may be one, and what a change leaves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core.roles import MAX_ROLES, changed, is_role
from restauth.errors import UnacceptableRoles

ROLES = st.sets(st.sampled_from("abcdefgh"))

NO_ROLES = {
    "nothing": "",
    "a blank": " ",
    "33 characters": "a" * 33,
    "a capital": "Admin",
    "a digit first": "1st",
    "a hyphen first": "-admin",
    "an underscore first": "_admin",
    "two, as a header lists them": "admin,staff",
    "a blank inside": "site admin",
    "a blank behind": "admin ",
    "a newline behind": "admin\n",
    "a NUL behind": "admin\0",
    "a header's end": "admin\r\nRemote-User",
    "a dot": "site.admin",
    "a colon": "site:admin",
    "a letter outside ASCII": "ädmin",
    "a digit of a foreign script": "level٤",
    "a look-alike": "аdmin",  # noqa: RUF001
    "a lone surrogate": "\ud800",
}


@pytest.mark.parametrize(
    "role", ["a", "admin", "a-b_c9", "site-admin", "level_4", "a" * 32, "a-", "a_"]
)
def test_a_plain_name_is_a_role(role: str) -> None:
    assert is_role(role)
    assert changed((), [role], []) == (role,)


@pytest.mark.parametrize("role", NO_ROLES.values(), ids=NO_ROLES)
def test_what_is_no_plain_name_is_refused(role: str) -> None:
    assert not is_role(role)
    for added, removed in (([role], []), ([], [role]), (["admin", role], [])):
        with pytest.raises(UnacceptableRoles, match=r"is no role: it must match \[a-z\]"):
            changed(("admin",), added, removed)


@pytest.mark.parametrize(
    ("added", "removed", "result"),
    [
        pytest.param([], [], ("b", "d"), id="nothing changes"),
        pytest.param(["c", "a"], [], ("a", "b", "c", "d"), id="in alphabetical order"),
        pytest.param(["b", "b"], [], ("b", "d"), id="had it already"),
        pytest.param([], ["b"], ("d",), id="taken away"),
        pytest.param([], ["d", "b"], (), id="all taken away"),
        pytest.param([], ["x"], ("b", "d"), id="never had it"),
        pytest.param(["a"], ["d"], ("a", "b"), id="given and taken"),
        pytest.param(["a"], ["a"], ("b", "d"), id="given and taken at once is taken"),
    ],
)
def test_a_change_is_what_is_added_less_what_is_removed(
    added: list[str], removed: list[str], result: tuple[str, ...]
) -> None:
    assert changed(("b", "d"), added, removed) == result


def test_what_is_given_may_be_any_iterable() -> None:
    assert changed(iter(["b"]), iter(["a", "c"]), iter(["c"])) == ("a", "b")


def test_a_user_has_at_most_32_roles() -> None:
    roles = tuple(f"r{number:02}" for number in range(MAX_ROLES))
    assert MAX_ROLES == 32
    assert changed((), roles, []) == roles
    assert changed(roles, ["x"], ["r00"]) == (*roles[1:], "x")
    with pytest.raises(UnacceptableRoles, match="at most 32 roles"):
        changed(roles, ["x"], [])


def test_a_role_that_is_none_of_ours_can_stay_and_hurts_nobody() -> None:
    """Somebody has written it with SQL: a change of others must not fail for it."""
    assert changed(("Old Role", "b"), ["a"], []) == ("Old Role", "a", "b")


@settings(max_examples=100, derandomize=True, deadline=None)
@given(ROLES, ROLES, ROLES)
def test_any_change_made_twice_is_made_once(
    roles: set[str], added: set[str], removed: set[str]
) -> None:
    result = changed(roles, added, removed)
    assert list(result) == sorted(set(result)) == sorted((roles | added) - removed)
    assert changed(result, added, removed) == result
