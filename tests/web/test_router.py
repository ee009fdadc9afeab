"""The router: one spelling for each resource, and Allow for every path."""

from contextlib import suppress

import hypothesis
import pytest
from hypothesis import strategies as st

from restauth.errors import MethodNotAllowed, NotFound
from restauth.services import Services
from restauth.web.access import Access
from restauth.web.http import Request, Response
from restauth.web.router import ANY_METHOD, Route, Router
from tests.web.conftest import ANY_TEXT, total


def answer(request: Request, services: Services) -> Response:
    return Response(204)


def route(method: str, path: str) -> Route:
    return Route(method, path, answer, Access.ANYONE)


LIST = route("POST", "/users")
ONE = route("GET", "/users/{id}")
OF_ONE = route("DELETE", "/users/{id}/token")
ME = route("GET", "/users/me")
SESSION = route("DELETE", "/sessions/{sid}")
SID = "AZaz09_-" * 2 + "AZaz09"
WELL_KNOWN = route("GET", "/.well-known/a+b")
ANY = route(ANY_METHOD, "/any")
ROUTES = [LIST, ONE, OF_ONE, ME, SESSION, WELL_KNOWN, ANY]
ROUTER = Router(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("POST", "/users", (LIST, ())),
        ("GET", "/users/0", (ONE, ("0",))),
        ("GET", "/users/10", (ONE, ("10",))),
        ("HEAD", "/users/10", (ONE, ("10",))),
        ("DELETE", "/users/7/token", (OF_ONE, ("7",))),
        ("GET", "/users/me", (ME, ())),
        ("HEAD", "/users/me", (ME, ())),
        ("DELETE", f"/sessions/{SID}", (SESSION, (SID,))),
        ("GET", "/.well-known/a+b", (WELL_KNOWN, ())),
        # A path that takes any method takes an invented one too.
        *((method, "/any", (ANY, ())) for method in ("GET", "OPTIONS", "get", "M-SEARCH", "*", "")),
    ],
)
def test_a_route_is_found(method: str, path: str, found: tuple[Route, tuple[str, ...]]) -> None:
    assert ROUTER.match(method, path) == found


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "*", "users", "/users/", "//users", "/USERS", "/users/../users", "/any/",
        "/users/01", "/users/-1", "/users/+1", "/users/1.0", "/users/0x1", "/users/1_0",
        "/users/1e1", "/users/1/", "/users/1\n", "/users/1\0", "/users/ 1", "/users/{id}",
        # Digits for int() or str.isdigit(): Arabic-Indic, full-width, superscript.
        "/users/\u0661", "/users/1\u0661", "/users/1\uff11", "/users/\xb2",
        "/users/1/token/", "/users//token",
        "/sessions/", f"/sessions/{SID[1:]}", f"/sessions/{SID}A", f"/sessions/{SID}/",
        f"/sessions/{SID[1:]}=", f"/sessions/{SID[1:]}\xe9", f"/sessions/{SID[1:]}\n",
        "/sessions/{sid}",
        "/Xwell-known/a+b",  # a dot in a path is a dot
        "/.well-known/aab",
    ],
)  # fmt: skip
def test_another_spelling_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        ROUTER.match("GET", path)
    if path != "*":
        with pytest.raises(NotFound):
            ROUTER.allowed(path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/users", ("OPTIONS", "POST")),
        ("HEAD", "/users", ("OPTIONS", "POST")),
        (ANY_METHOD, "/users", ("OPTIONS", "POST")),
        ("POST", "/users/1", ("GET", "HEAD", "OPTIONS")),
        ("get", "/users/1", ("GET", "HEAD", "OPTIONS")),  # methods are case-sensitive
        ("GET", "/users/1/token", ("DELETE", "OPTIONS")),
        ("", "/users/me", ("GET", "HEAD", "OPTIONS")),
    ],
)
def test_a_wrong_method_gets_the_right_ones(
    method: str, path: str, allowed: tuple[str, ...]
) -> None:
    with pytest.raises(MethodNotAllowed) as refusal:
        ROUTER.match(method, path)
    assert refusal.value.allowed == ROUTER.allowed(path) == allowed


def test_the_asterisk_stands_for_the_whole_server() -> None:
    assert ROUTER.allowed("*") == ("DELETE", "GET", "HEAD", "OPTIONS", "POST")


def test_options_of_a_path_for_any_method_is_for_its_handler() -> None:
    assert ROUTER.allowed("/any") == ()


def test_a_method_with_a_route_of_its_own_takes_that_before_any() -> None:
    own = route("GET", "/any")
    for rows in ([own, ANY], [ANY, own]):
        found = [Router(rows).match(method, "/any")[0] for method in ("GET", "HEAD", "POST")]
        assert found == [own, own, ANY]


def test_the_template_of_a_path_is_that_of_the_table() -> None:
    for path, template in {
        "/users": "/users",
        "/users/10": "/users/{id}",
        f"/sessions/{SID}": "/sessions/{sid}",
        "/any": "/any",
        "/users/01": "",
        "*": "",
    }.items():
        assert ROUTER.template(path) == template


def test_a_route_is_open_that_neither_asks_for_a_secret_nor_takes_one() -> None:
    is_open = {
        (access, takes_secret): Route("POST", "/", answer, access, takes_secret).is_open
        for access in Access
        for takes_secret in (False, True)
    }
    assert [case for case, value in is_open.items() if value] == [(Access.ANYONE, False)]


def test_a_route_without_access_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="access"):
        Route("GET", "/", answer)  # type: ignore[call-arg]


def test_a_part_that_has_no_pattern_stops_the_start() -> None:
    with pytest.raises(KeyError, match="name"):
        Router([route("GET", "/users/{name}")])


@total
@hypothesis.given(number=st.integers(0))
def test_every_number_has_one_spelling(number: int) -> None:
    assert ROUTER.match("GET", f"/users/{number}") == (ONE, (str(number),))
    with pytest.raises(NotFound):
        ROUTER.match("GET", f"/users/0{number}")


@total
@hypothesis.given(method=ANY_TEXT, path=ANY_TEXT | ANY_TEXT.map("/users/".__add__))
def test_routing_is_total(method: str, path: str) -> None:
    with suppress(NotFound, MethodNotAllowed):
        ROUTER.match(method, path)
    assert ROUTER.template(path) in ("", *(each.path for each in ROUTES))
    assert ROUTER.match(method, "/any") == (ANY, ())
