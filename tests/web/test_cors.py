"""Pages of listed origins read every response; any other page reads none, and changes nothing."""

import re
from typing import Any

import pytest
import webtest

from restauth.services import Services
from restauth.settings import load
from restauth.web.access import Access
from restauth.web.router import ANY_METHOD
from restauth.web.routes import routes
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.databases import break_the_store, take_the_store_away
from tests.documents import read
from tests.web.conftest import PASSWORD, WRONG, code_of

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


# Changes: what a browser sends for a form of any page, with the password that it remembers

OWN = "http://localhost"  # WebTest's Host is localhost:80
HOST = {"Host": "localhost"}
FOREIGN = "https://evil.example"


@pytest.fixture
def sessions(client: webtest.TestApp) -> Any:
    """Begin a session with these headers besides the password: the code of the refusal, if any."""

    def begin(**headers: str) -> str:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        answer = client.post("/api/sessions", headers=PASSWORD | HOST | sent, status="*")
        return "" if answer.status_int == 201 else code_of(answer)

    return begin


@pytest.mark.parametrize(
    "headers",
    [
        {},  # no browser
        {"Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "same-origin", "Origin": OWN},
        # A proxy, or a page without a referrer: the browser itself says that it is the same origin.
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://elsewhere.example"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "null"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": OWN},
        {"Origin": "https://localhost"},  # behind a TLS proxy
        {"Origin": "http://localhost:5000", "Host": "localhost:5000"},
        {"Origin": "http://[::1]:5000", "Host": "[::1]:5000"},
        {"Sec_Fetch_Site": "cross-site", "Origin": PAGE},
        {"Sec_Fetch_Site": "same-site", "Origin": PAGE},
        {"Origin": OTHER_PAGE},
    ],
    ids=str,
)
def test_what_is_no_page_or_a_page_of_ours_or_a_listed_one_may_change_something(
    sessions: Any, headers: dict[str, str]
) -> None:
    assert sessions(**headers) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Origin": FOREIGN},
        {"Sec_Fetch_Site": "cross-site", "Origin": OWN},  # after a redirect, or from plain http
        {"Sec_Fetch_Site": "same-site", "Origin": "http://localhost:3000"},
        {"Sec_Fetch_Site": "same-origin,cross-site"},
        {"Sec_Fetch_Site": ""},
        {"Sec_Fetch_Site": "another word"},
        {"Origin": FOREIGN},
        {"Origin": "null"},
        {"Origin": "null", "Host": ""},
        {"Origin": ""},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "file://localhost"},
        {"Origin": f"{OWN} {FOREIGN}"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_changes_nothing_with_the_password_a_browser_remembers(
    services: Services, sessions: Any, headers: dict[str, str], work: list[int]
) -> None:
    assert sessions(**headers) == "cross_origin"
    assert work == []
    assert services.sessions.list(1) == []


def test_a_change_is_refused_on_each_route_that_asks_for_a_user_and_takes_basic(
    make_services: ServicesFactory,
) -> None:
    services = make_services(admin_role="admin")
    services.accounts.register("miguel", "python", roles=["admin"])
    client, site = client_of(services), {"Sec-Fetch-Site": "cross-site"}
    token = client.get("/api/token", headers=PASSWORD).json["token"]
    refused = set()
    for route in routes(services.settings):
        if route.method != ANY_METHOD:
            path = route.path.replace("{id}", "7").replace("{sid}", "A" * 22)
            path = path.replace("{key}", "a" * 20).replace("{invitation}", "A" * 12)
            for credentials in (basic(token, ""), PASSWORD):
                answer = client.request(
                    path, method=route.method, headers=credentials | site, status="*"
                )
                if answer.status_int == 403 and code_of(answer) == "cross_origin":
                    refused.add(route)
    assert refused == {
        route
        for route in routes(services.settings)
        if route.method in ("POST", "PUT", "DELETE") and route.access is not Access.ANYONE
    }


def test_a_token_is_sent_by_no_browser_of_itself(client: webtest.TestApp) -> None:
    token = client.get("/api/token", headers=PASSWORD).json["token"]
    headers = bearer(token) | {"Sec-Fetch-Site": "cross-site"}
    answer = send(client, "DELETE /api/token", FOREIGN, headers=headers, status=204)
    assert headers_of(answer) == [VARY]


def test_before_a_proxy_the_application_decides(client: webtest.TestApp) -> None:
    headers = PASSWORD | {"Sec-Fetch-Site": "cross-site"}
    send(client, "POST /api/verify", FOREIGN, headers=headers, status=204)


def test_the_origin_of_the_base_url_is_ours_behind_a_proxy_that_changes_the_host(
    make_services: ServicesFactory,
) -> None:
    services = make_services(base_url="http://Auth.example:8080/below")
    services.accounts.register("miguel", "python")
    for origin, status in (("http://auth.example:8080", 201), ("http://auth.example", 403)):
        send(client_of(services), "POST /api/sessions", origin, headers=PASSWORD, status=status)


def test_without_a_base_url_no_empty_origin_is_ours(miguel: webtest.TestApp) -> None:
    send(miguel, "POST /api/sessions", "", headers=PASSWORD, status=403)
