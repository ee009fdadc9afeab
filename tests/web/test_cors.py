"""CORS: pages of listed origins read every response, and any other page reads none."""

import re
from typing import Any

import pytest
import webtest

from restauth.settings import load
from restauth.web.router import ANY_METHOD
from restauth.web.routes import routes
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.databases import break_the_store, take_the_store_away
from tests.documents import read
from tests.web.conftest import PASSWORD, WRONG

PAGE, OTHER_PAGE = "https://app.example", "http://localhost:8081"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}
VARY = ("Vary", "Origin")
READABLE = [
    ("Access-Control-Allow-Origin", PAGE),
    ("Access-Control-Expose-Headers", "Live-API-Keys, Location, Retry-After, WWW-Authenticate"),
    VARY,
]
ANSWERS: list[tuple[int, str, dict[str, Any]]] = [
    (200, "GET /api/health", {}),
    (200, "HEAD /api/health", {}),
    (200, "GET /api/token", {"headers": PASSWORD}),
    (201, "POST /api/users", {"body": b'{"username": "ann", "password": "x"}'}),
    (204, "DELETE /api/sessions", {"headers": PASSWORD}),
    (204, "GET /api/verify", {"headers": PASSWORD}),
    (400, "GET /api/health", {"headers": {"Host": "a/b"}}),
    (401, "GET /api/resource", {"headers": WRONG}),
    (401, "OPTIONS /api/verify", {}),
    (403, "GET /api/verify?role=admin", {"headers": PASSWORD}),
    (404, "OPTIONS /api/none", {"headers": PREFLIGHT}),
    (405, "PUT /api/users", {}),
    (413, "POST /api/users", {"body": b" " * 65_537}),
]


@pytest.fixture
def client(make_services: ServicesFactory) -> webtest.TestApp:
    """The client, where two origins are listed and miguel has registered."""
    services = make_services(cors_origins=[OTHER_PAGE, PAGE])
    services.accounts.register("miguel", "python")
    return client_of(services)


def send(
    client: webtest.TestApp, route: str, origin: str | None, **keywords: Any
) -> webtest.TestResponse:
    """As a browser does for a page of that origin."""
    method, path = route.split()
    headers = {**keywords.pop("headers", {}), **({} if origin is None else {"Origin": origin})}
    return client.request(
        path, method=method, headers=headers, content_type="application/json", **keywords
    )


def headers_of(answer: webtest.TestResponse) -> list[tuple[str, str]]:
    """All that an answer says about origins, in order."""
    return sorted(
        (name, text)
        for name, text in answer.headerlist
        if name.lower() == "vary" or name.lower().startswith("access-control-")
    )


# Any answer


@pytest.mark.parametrize(
    ("status", "route", "keywords"),
    ANSWERS,
    ids=[f"{status} to {route}" for status, route, _ in ANSWERS],
)
def test_a_page_reads_this_answer_only_if_it_is_listed(
    make_services: ServicesFactory,
    client: webtest.TestApp,
    status: int,
    route: str,
    keywords: dict[str, Any],
) -> None:
    without_cors = client_of(make_services())
    cases = [(client, "null", [VARY]), (client, PAGE, READABLE), (without_cors, PAGE, [])]
    for number, (each, origin, expected) in enumerate(cases):
        if b"ann" in keywords.get("body", b""):  # each of them is a new user
            keywords = {"body": keywords["body"].replace(b"ann", b"ann%d" % number)}
        assert headers_of(send(each, route, origin, status=status, **keywords)) == expected


@pytest.mark.parametrize(
    ("origin", "expected"), [(PAGE, READABLE), ("null", [VARY]), (None, [VARY])]
)
def test_a_listed_page_reads_of_a_wait_a_bug_and_an_outage(
    make_services: ServicesFactory, origin: str | None, expected: list[tuple[str, str]]
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
    outage = send(client, "GET /api/health", origin, status=503)
    assert headers_of(waits) == headers_of(bug) == headers_of(outage) == expected


def test_a_listed_page_gets_its_own_origin(client: webtest.TestApp) -> None:
    for origin in (PAGE, OTHER_PAGE):
        answer = send(client, "GET /api/health", origin, status=200)
        assert answer.headers["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize(
    "origin",
    [
        None, "", "*", "null", "https://evil.example",
        # What begins or ends like one that is listed.
        "https://app.exampl", "https://app.example.evil.example",
        "https://evil.example?https://app.example", "https://my.app.example",
        "https://evilapp.example", "app.example",
        # The same host, and still another origin.
        "http://app.example", "https://app.example:8443", "http://localhost",
        "http://localhost:80",
        # No browser writes them so.
        "https://app.example:443", "https://app.example/", "https://App.example",
        "HTTPS://app.example", "https://app.example.",
        "https://app.example, http://localhost:8081", "https://app.example http://localhost:8081",
    ],
)  # fmt: skip
def test_any_other_page_may_send_nothing_and_read_nothing(
    client: webtest.TestApp, origin: str | None
) -> None:
    answer = send(client, "OPTIONS /api/users", origin, headers=PREFLIGHT, status=204)
    assert headers_of(answer) == [VARY]
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert headers_of(send(client, "GET /api/health", origin, status=200)) == [VARY]


SENDABLE = [
    *("Authorization", "Content-Type", "X-Requested-With"),
    *("Accept", "Accept-Language", "Cache-Control", "Content-Language", "Pragma"),
    *("baggage", "sentry-trace", "traceparent", "tracestate"),
    *("X-Correlation-ID", "X-Request-ID"),
]

# Preflights: what a browser asks before it sends a script's request


@pytest.mark.parametrize("credentials", [{}, PASSWORD, WRONG, basic("", ""), bearer("a.b.c")])
def test_a_preflight_is_answered_to_anyone_and_without_a_hash(
    client: webtest.TestApp, work: list[int], credentials: dict[str, str]
) -> None:
    headers = PREFLIGHT | credentials
    answer = send(client, "OPTIONS /api/users/me", PAGE, headers=headers, status=204)
    allow = "DELETE, GET, HEAD, OPTIONS"
    assert headers_of(answer) == [
        ("Access-Control-Allow-Headers", ", ".join(SENDABLE)),
        ("Access-Control-Allow-Methods", allow),
        READABLE[0],
        READABLE[1],
        ("Access-Control-Max-Age", "600"),
        VARY,
    ]
    assert answer.headers["Allow"] == allow
    assert work == []


def test_the_guide_lists_the_headers_that_a_page_may_send() -> None:
    """No wildcard, and none that says who a user is or where a request comes from."""
    (paragraph,) = [text for text in read("api").split("\n\n") if "may send these headers" in text]
    assert sorted(re.findall("`([^`]+)`", paragraph)) == sorted(SENDABLE)


def test_a_listed_page_may_call_every_route(client: webtest.TestApp) -> None:
    refused = []
    for route in routes(load({})):
        if route.method != ANY_METHOD:
            path = route.path.format(id=7, sid="A" * 22, key="a" * 20, invitation="A" * 12)
            answer = send(client, f"OPTIONS {path}", PAGE, headers=PREFLIGHT, status=204)
            if route.method not in answer.headers["Access-Control-Allow-Methods"].split(", "):
                refused.append(route)
    assert refused == []


def test_an_options_that_is_no_preflight_has_no_more_headers(client: webtest.TestApp) -> None:
    answer = send(client, "OPTIONS /api/users", PAGE, status=204)
    assert headers_of(answer) == READABLE
    assert answer.headers["Allow"] == "OPTIONS, POST"


def test_a_preflight_does_not_pass_a_proxy(client: webtest.TestApp) -> None:
    for credentials, status in (({}, 401), (WRONG, 401), (PASSWORD, 204)):
        headers = PREFLIGHT | credentials
        answer = send(client, "OPTIONS /api/verify", PAGE, headers=headers, status=status)
        assert headers_of(answer) == READABLE
        assert ("Remote-User" in answer.headers) == (status == 204)
