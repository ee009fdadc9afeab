"""The rules of a guard: its arguments, whom it lets in, and which paths are open, as tables."""

import re
from posixpath import normpath
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from restauth.errors import BadCredentials, InvalidSetting, RoleRequired
from restauth.records import Caller, User
from restauth.web.guard_rules import GuardRules, check_guard, is_exempt, parse_guard_rules

BY_PASSWORD = Caller(User(1, "miguel", ("editor", "viewer"), None, "password"), None)
BY_TOKEN = Caller(User(1, "miguel", ("editor", "viewer"), "s", "token"), None)
USER = BY_PASSWORD.user
total = hypothesis.settings(max_examples=500, deadline=None, derandomize=True)


def outcome(check: Any, *arguments: object) -> object:
    """What a check gives, or the class of its refusal."""
    try:
        return check(*arguments)
    except (BadCredentials, RoleRequired, InvalidSetting) as error:
        return type(error)


# A guarded app


@pytest.mark.parametrize(
    ("required", "roles", "caller", "expected"),
    [
        (False, (), None, None),
        (False, (), BY_TOKEN, None),
        (True, (), None, BadCredentials),
        (True, (), BY_PASSWORD, None),
        (True, ("editor",), BY_TOKEN, None),
        (True, ("admin",), BY_TOKEN, RoleRequired),
        (True, ("admin",), None, BadCredentials),
    ],
)
def test_a_guard_lets_its_callers_in(
    required: bool, roles: tuple[str, ...], caller: Caller | None, expected: Any
) -> None:
    assert outcome(check_guard, GuardRules(required, roles, ()), caller) == expected


@pytest.mark.parametrize(
    ("required", "role", "rules"),
    [
        (False, None, GuardRules(False, (), ())),
        (True, None, GuardRules(True, (), ())),
        ("false", None, GuardRules(False, (), ())),
        ("true", None, GuardRules(True, (), ())),
        (False, "editor", GuardRules(True, ("editor",), ())),
        ("yes", None, InvalidSetting),
        ("yes", "editor", InvalidSetting),  # the role does not hide it
        (1, None, InvalidSetting),
        # A role with a typing error would lock all out.
        *((False, role, InvalidSetting) for role in ("Editor", "", "a" * 33, "a,b", b"a", 1)),
    ],
)
def test_the_rules_of_a_guard_are_parsed(required: Any, role: Any, rules: Any) -> None:
    assert outcome(parse_guard_rules, len, required, role, ()) == rules


@pytest.mark.parametrize(
    ("exempt", "expected"),
    [
        ("", ()),
        (" , ", ()),
        ((), ()),
        ([""], ()),
        ("/static", ("/static",)),
        (" /static/ ,/login", ("/static", "/login")),
        (["/static/", " /a b"], ("/static", "/a b")),
        ("/", ("",)),
        ("/caf\xe9", ("/caf\xc3\xa9",)),  # as PATH_INFO has it
        ("/\ud800", InvalidSetting),
        ("\n/static\n/login", ("/static", "/login")),  # lines of an INI file
        ([1], InvalidSetting),
        (None, InvalidSetting),
        *(
            (path, InvalidSetting)
            for path in (
                "static", "//", "/a//b", "/static//", "/a/../b", "/./a", "/a/.", "/a\\b", "/a/..;x",
                "/ok,static", "/ /static", "/a?b", "/a#b", "/a/*", "/a%20b", "/a/. /b", "/a\tb",
            )
        ),
    ],
)  # fmt: skip
def test_exempt_paths_are_parsed(exempt: Any, expected: Any) -> None:
    found = outcome(parse_guard_rules, len, False, None, exempt)
    assert getattr(found, "exempt", found) == expected


PLAIN = ("/static", "/a/b")


@pytest.mark.parametrize(
    ("path", "exempt", "expected"),
    [
        ("/static", PLAIN, True),
        ("/static/", PLAIN, True),
        ("/static/x/y.css", PLAIN, True),
        ("/static/..x/...", PLAIN, True),  # a name with dots is a name
        ("/static/x;v=1", PLAIN, True),
        ("/a/b", PLAIN, True),
        ("/statics", PLAIN, False),
        ("/static;x", PLAIN, False),
        ("/Static", PLAIN, False),
        ("static", PLAIN, False),
        ("/a", PLAIN, False),
        ("/x/static", PLAIN, False),
        ("/", PLAIN, False),
        ("", PLAIN, False),
        # What the app may shorten, or read as a separator.
        ("/static/../admin", PLAIN, False),
        ("/static/..", PLAIN, False),
        ("/static/./x", PLAIN, False),
        ("/static//admin", PLAIN, False),
        ("//static", PLAIN, False),
        ("/static//", PLAIN, False),
        ("/static/..;x/admin", PLAIN, False),
        ("/static/;/../admin", PLAIN, False),
        ("/static\\..\\admin", PLAIN, False),
        ("/static/..\\admin", PLAIN, False),
        ("/static/.\t./admin", PLAIN, False),  # which some remove
        ("/static/.. /admin", PLAIN, False),
        ("/static/%2e%2e/admin", PLAIN, False),  # which some decode once more
        # The front page alone.
        ("/", ("",), True),
        ("", ("",), True),
        ("/x", ("",), False),
        ("//", ("",), False),
        ("/", (), False),
        ("/static", (), False),
    ],
)
def test_a_path_is_exempt(path: str, exempt: tuple[str, ...], expected: bool) -> None:
    assert is_exempt(path, exempt) is expected


SEGMENT = st.sampled_from(["", ".", "..", "a", "b.c", "...", ";x", ".;x", "..;x", "a;x"])
PATH = st.lists(st.tuples(st.sampled_from(["/", "/", "/", "\\"]), SEGMENT), max_size=5).map(
    lambda parts: "/static" + "".join(slash + segment for slash, segment in parts)
)


@total
@hypothesis.given(path=PATH | st.text(st.characters()))
def test_a_path_that_an_app_may_read_as_another_is_never_exempt(path: str) -> None:
    """Apps normalise paths, cut parameters off segments, and take a backslash for a slash."""
    if is_exempt(path, ("/static",)):
        for reading in (path, path.replace("\\", "/")):
            for names in (reading, re.sub(";[^/]*", "", reading)):
                assert normpath(names) == names.removesuffix("/")
                assert f"{names}/".startswith("/static/")
