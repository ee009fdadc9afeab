"""Pages of other origins: the listed ones read every answer, and to no other is a word said."""

from typing import Any

import pytest
import webtest

from restauth.settings import load
from restauth.web.router import ANY_METHOD, Route
from restauth.web.routes import routes
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.web.test_app import break_the_store, take_the_store_away

PAGE, OTHER_PAGE = "https://app.example", "http://localhost:8081"
PASSWORD, WRONG = basic("miguel", "python"), basic("miguel", "ruby")
ASKS = {"Access-Control-Request-Method": "POST"}
VARY = ("Vary", "Origin")
READABLE = [
    ("Access-Control-Allow-Origin", PAGE),
    ("Access-Control-Expose-Headers", "Location, Retry-After, WWW-Authenticate"),
    VARY,
]
STRANGERS = [
    None,
    "",
    "*",
    "null",
    "https://evil.example",
    # What begins or ends like one that is listed.
    "https://app.exampl",
    "https://app.example.evil.example",
    "https://evil.example?https://app.example",
    "https://my.app.example",
    "https://evilapp.example",
    "app.example",
    # The same host, and still another origin.
    "http://app.example",
    "https://app.example:8443",
    "http://localhost",
    "http://localhost:80",
    # No browser writes them so.
    "https://app.example:443",
    "https://app.example/",
    "https://App.example",
    "HTTPS://app.example",
    "https://app.example.",
    "https://app.example, http://localhost:8081",
    "https://app.example http://localhost:8081",
]
ANSWERS: list[tuple[int, str, dict[str, Any]]] = [
    (200, "GET /api/health", {}),
    (200, "HEAD /api/health", {}),
    (200, "GET /api/token", {"headers": PASSWORD}),
    (201, "POST /api/users", {"body": b'{"username": "ann", "password": "x"}'}),
    (204, "DELETE /api/sessions", {"headers": PASSWORD}),
    (204, "GET /api/verify", {"headers": PASSWORD}),
    (400, "GET /api/users/2", {}),
    (400, "GET /api/health", {"headers": {"Host": "a/b"}}),
    (401, "GET /api/resource", {}),
    (401, "GET /api/resource", {"headers": WRONG}),
    (401, "GET /api/resource", {"headers": bearer("a.b.c")}),
    (401, "OPTIONS /api/verify", {}),
    (403, "GET /api/verify?role=admin", {"headers": PASSWORD}),
    (404, "GET /api/none", {}),
    (404, "OPTIONS /api/none", {}),
    (405, "PUT /api/users", {}),
    (413, "POST /api/users", {"body": b" " * 65_537}),
    (415, "POST /api/users", {"headers": {"Content-Encoding": "gzip"}}),
]
every_answer = pytest.mark.parametrize(
    ("status", "route", "keywords"),
    ANSWERS,
    ids=[f"{status} to {route}" for status, route, _ in ANSWERS],
)


@pytest.fixture
def client(make_services: ServicesFactory) -> webtest.TestApp:
    """The client, where two origins are listed and miguel has registered."""
    services = make_services(cors_origins=[OTHER_PAGE, PAGE])
    services.accounts.register("miguel", "python")
    return client_of(services)


def send(
    client: webtest.TestApp, route: str, origin: str | None, **keywords: Any
) -> webtest.TestResponse:
    """As a browser would for a page of that origin."""
    method, path = route.split()
    headers = {**keywords.pop("headers", {}), **({} if origin is None else {"Origin": origin})}
    return client.request(
        path, method=method, headers=headers, content_type="application/json", **keywords
    )


def words(reply: webtest.TestResponse) -> list[tuple[str, str]]:
    """All that an answer says of origins, in order."""
    return sorted(
        (name, text)
        for name, text in reply.headerlist
        if name.lower() == "vary" or name.lower().startswith("access-control-")
    )


def preflight_words(methods: str) -> list[tuple[str, str]]:
    allowed = [
        ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Requested-With"),
        ("Access-Control-Allow-Methods", methods),
        ("Access-Control-Max-Age", "600"),
    ]
    return sorted([*READABLE, *allowed])


# Any answer


@every_answer
def test_a_listed_page_reads_this_answer(
    client: webtest.TestApp, status: int, route: str, keywords: dict[str, Any]
) -> None:
    assert words(send(client, route, PAGE, status=status, **keywords)) == READABLE


@every_answer
def test_a_page_that_is_not_listed_does_not_read_this_answer(
    client: webtest.TestApp, status: int, route: str, keywords: dict[str, Any]
) -> None:
    assert words(send(client, route, "null", status=status, **keywords)) == [VARY]


@every_answer
def test_where_no_origin_is_listed_this_answer_has_no_word_of_them(
    make_services: ServicesFactory, status: int, route: str, keywords: dict[str, Any]
) -> None:
    services = make_services()
    services.accounts.register("miguel", "python")
    keywords = {**keywords, "headers": {**ASKS, **keywords.get("headers", {})}}
    assert words(send(client_of(services), route, PAGE, status=status, **keywords)) == []


@pytest.mark.parametrize(("origin", "said"), [(PAGE, READABLE), ("null", [VARY]), (None, [VARY])])
def test_a_listed_page_reads_that_it_has_to_wait_that_the_store_is_away_and_that_there_is_a_bug(
    make_services: ServicesFactory, origin: str | None, said: list[tuple[str, str]]
) -> None:
    services = make_services(cors_origins=PAGE, max_failures=1)
    for username in ("miguel", "susan"):
        services.accounts.register(username, "python")
    client = client_of(services)
    send(client, "GET /api/token", None, headers=WRONG, status=401)
    waits = send(client, "GET /api/token", origin, headers=PASSWORD, status=429)
    break_the_store(services)
    bug = send(client, "GET /api/token", origin, headers=basic("susan", "python"), status=500)
    take_the_store_away(services)
    away = send(client, "GET /api/health", origin, status=503)
    assert words(waits) == words(bug) == words(away) == said


@pytest.mark.parametrize("origin", [PAGE, OTHER_PAGE])
def test_a_listed_page_is_told_its_own_origin(client: webtest.TestApp, origin: str) -> None:
    reply = send(client, "GET /api/health", origin, status=200)
    assert reply.headers["Access-Control-Allow-Origin"] == origin


# What a browser asks before it sends a script's request


@pytest.mark.parametrize("credentials", [{}, PASSWORD, WRONG, basic("", ""), bearer("a.b.c")])
@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/users", "OPTIONS, POST"),
        ("/api/users/7", "GET, HEAD, OPTIONS"),
        ("/api/users/me", "DELETE, GET, HEAD, OPTIONS"),
        ("/api/token", "DELETE, GET, HEAD, OPTIONS, POST"),
    ],
)
def test_a_listed_page_may_send_what_a_path_takes_whoever_asks_and_without_a_hash(
    client: webtest.TestApp,
    work: list[int],
    path: str,
    methods: str,
    credentials: dict[str, str],
) -> None:
    headers = {**ASKS, "Access-Control-Request-Headers": "authorization", **credentials}
    reply = send(client, f"OPTIONS {path}", PAGE, headers=headers, status=204)
    assert words(reply) == preflight_words(methods)
    assert reply.headers["Allow"] == methods
    assert work == []


@pytest.mark.parametrize(
    "route",
    [route for route in routes(load({})) if route.method != ANY_METHOD],
    ids=lambda route: f"{route.method} {route.path}",
)
def test_a_listed_page_can_call(client: webtest.TestApp, route: Route) -> None:
    path = route.path.replace("{id}", "7").replace("{sid}", "A" * 22)
    asks = {"Access-Control-Request-Method": route.method}
    reply = send(client, f"OPTIONS {path}", PAGE, headers=asks, status=204)
    assert route.method in reply.headers["Access-Control-Allow-Methods"].split(", ")


@pytest.mark.parametrize("origin", STRANGERS)
def test_any_other_page_may_send_nothing_and_read_nothing(
    client: webtest.TestApp, origin: str | None
) -> None:
    reply = send(client, "OPTIONS /api/users", origin, headers=ASKS, status=204)
    assert words(reply) == [VARY]
    assert reply.headers["Allow"] == "OPTIONS, POST"
    assert words(send(client, "GET /api/health", origin, status=200)) == [VARY]


def test_a_scripts_own_options_is_answered_as_to_anybody(client: webtest.TestApp) -> None:
    reply = send(client, "OPTIONS /api/users", PAGE, status=204)
    assert words(reply) == READABLE
    assert reply.headers["Allow"] == "OPTIONS, POST"


def test_no_page_may_send_to_a_path_that_there_is_not(client: webtest.TestApp) -> None:
    for path in ("/", "/api/users/", "/api/users/x", "/api/none"):
        reply = send(client, f"OPTIONS {path}", PAGE, headers=ASKS, status=404)
        assert words(reply) == READABLE


def test_no_question_before_a_request_is_let_in_for_a_proxy(client: webtest.TestApp) -> None:
    for credentials, status in (({}, 401), (WRONG, 401), (PASSWORD, 204)):
        headers = {**ASKS, **credentials}
        reply = send(client, "OPTIONS /api/verify", PAGE, headers=headers, status=status)
        assert words(reply) == READABLE
        assert ("Remote-User" in reply.headers) == (status == 204)
