"""Roles: what may be one, and what a change leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core.roles import MAX_ROLES, changed, is_role, limit
from restauth.errors import UnacceptableRoles
from tests.core.inputs import LIMITED

SOME_ROLES = st.sets(st.sampled_from("abcdefgh"))
ROLES = ["a", "admin", "a-b_c9", "site-admin", "level_4", "a" * 32, "a-", "a_"]
NO_ROLES = [
    *("", " ", "a" * 33, "Admin", "1st", "-admin", "_admin", "admin,staff", "site admin"),
    *("admin ", "admin\n", "admin\0", "admin\r\nRemote-User", "site.admin", "site:admin"),
    *("ädmin", "level٤", "аdmin", "\ud800"),  # noqa: RUF001
]


def test_a_role_is_a_plain_name() -> None:
    assert [role for role in (*ROLES, *NO_ROLES) if is_role(role)] == ROLES
    assert not is_role(None)
    for role in ROLES:
        assert changed((), [role], []) == (role,)
    for role in NO_ROLES:
        for added, removed in (([role], []), ([], [role]), (["admin", role], [])):
            with pytest.raises(UnacceptableRoles, match=r"\[a-z\]"):
                changed(("admin",), added, removed)


@pytest.mark.parametrize(
    ("added", "removed", "result"),
    [
        ("", "", "bd"),
        ("ca", "", "abcd"),
        ("bb", "", "bd"),
        ("", "b", "d"),
        ("", "db", ""),
        ("", "x", "bd"),
        ("a", "d", "ab"),
        ("a", "a", "bd"),
    ],
)
def test_a_change_is_what_is_added_less_what_is_removed(
    added: str, removed: str, result: str
) -> None:
    assert changed(("b", "d"), list(added), list(removed)) == tuple(result)
    assert changed(iter("bd"), iter(added), iter(removed)) == tuple(result)


def test_a_user_has_at_most_32_roles() -> None:
    roles = tuple(f"r{number:02}" for number in range(MAX_ROLES))
    assert MAX_ROLES == 32
    assert changed((), roles, []) == roles
    assert changed(roles, ["x"], ["r00"]) == (*roles[1:], "x")
    with pytest.raises(UnacceptableRoles, match="32"):
        changed(roles, ["x"], [])


def test_a_role_that_is_none_of_ours_can_stay() -> None:
    """It was written with SQL: a change of others must not fail for it."""
    assert changed(("Old Role", "b"), ["a"], []) == ("Old Role", "a", "b")


@LIMITED
@given(SOME_ROLES, SOME_ROLES, SOME_ROLES)
def test_any_change_made_twice_is_made_once(
    roles: set[str], added: set[str], removed: set[str]
) -> None:
    result = changed(roles, added, removed)
    assert list(result) == sorted(set(result)) == sorted((roles | added) - removed)
    assert changed(result, added, removed) == result


def test_one_text_is_no_list_of_roles() -> None:
    for arguments in ((("a",), "editor", ()), ((), (), "editor"), ("editor", (), ())):
        with pytest.raises(UnacceptableRoles):
            changed(*arguments)
    for no_list in (None, 1, [["editor"]]):
        with pytest.raises(UnacceptableRoles):
            changed((), no_list, ())  # type: ignore[arg-type]


def test_a_key_leaves_of_the_users_roles_those_that_it_has() -> None:
    roles = ("admin", "editor", "viewer")
    assert limit(roles, None) == roles
    assert limit(roles, ("viewer", "admin")) == ("admin", "viewer")
    assert limit(("viewer",), ("admin", "viewer")) == ("viewer",)  # a role was taken away
    assert limit(roles, ()) == limit((), None) == limit((), roles) == ()
