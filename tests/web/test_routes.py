"""The table of routes, compared with what every kind of caller gets from each of them."""

import json
from inspect import getmembers, isfunction

import pytest
import webtest

from restauth import settings
from restauth.services import Services
from restauth.testing import Clock
from restauth.web import handlers, operator_handlers
from restauth.web.access import Access
from restauth.web.app import App
from restauth.web.router import ANY_METHOD, Route
from restauth.web.routes import metrics_routes, routes, show_description
from tests.conftest import ServicesFactory, bearer, client_of
from tests.web.conftest import ANONYMOUS, PASSWORD, WRONG, Headers, token_of

WITH_OPERATORS = {"admin_role": "admin"}
TABLE = {
    f"{route.method} {route.path}": route for route in routes(settings.load({}, WITH_OPERATORS))
}
FOR_OPERATORS = [name for name in TABLE if " /api/admin/" in name]
FOR_PROXIES = {"* /api/verify"}
PATHS = sorted({route.path for name, route in TABLE.items() if name not in FOR_PROXIES})
ANYONE_200, ANYONE_204 = (200,) * 6, (204,) * 6
# To: no credential, a wrong password, an expired token, an API key, a live token, the password.
ANSWERS = {
    "POST /api/users": (201,) * 6,
    "GET /api/users/{id}": ANYONE_200,
    "GET /api/users/me": (401, 401, 401, 200, 200, 200),
    "PUT /api/users/me/password": (401, 401, 401, 403, 403, 204),
    "DELETE /api/users/me": (401, 401, 401, 403, 403, 204),
    "GET /api/token": (401, 401, 401, 403, 200, 200),
    "POST /api/token": ANYONE_200,
    "DELETE /api/token": (401, 401, 401, 403, 204, 400),
    "POST /api/sessions": (401, 401, 401, 403, 403, 201),
    "GET /api/sessions": (401, 401, 401, 403, 200, 200),
    "DELETE /api/sessions": (401, 401, 401, 403, 204, 204),
    "DELETE /api/sessions/{sid}": (401, 401, 401, 403, 204, 404),  # it has just been ended
    "POST /api/keys": (401, 401, 401, 403, 403, 201),
    "GET /api/keys": (401, 401, 401, 403, 200, 200),
    "DELETE /api/keys": (401, 401, 401, 403, 204, 204),
    "DELETE /api/keys/{key}": (401, 401, 401, 403, 204, 404),
    "POST /api/password-resets": ANYONE_204,
    "GET /api/resource": (401, 401, 401, 200, 200, 200),
    "* /api/verify": (401, 401, 401, 204, 204, 204),
    "GET /api/health": ANYONE_200,
    "GET /api/ready": ANYONE_200,
    "GET /api/openapi.json": ANYONE_200,
    "GET /.well-known/jwks.json": ANYONE_200,
    **dict.fromkeys(FOR_OPERATORS, (401, 401, 401, 403, 403, 403)),  # to one without the role
}
OVER_PLAIN_HTTP = {  # where https is required
    "GET /api/users/{id}": 400,
    "GET /api/health": 200,
    "GET /api/ready": 200,
    "GET /api/openapi.json": 200,
    "GET /.well-known/jwks.json": 200,
}
each_route = pytest.mark.parametrize("name", TABLE)


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    """With all routes."""
    return make_services(**WITH_OPERATORS)


def method_of(route: Route) -> str:
    return "GET" if route.method == ANY_METHOD else route.method


def sample(path: str, session_id: str = "A" * 22, key_id: str = "a" * 20) -> str:
    parts = {"id": "1", "sid": session_id, "key": key_id, "invitation": "A" * 12}
    return path.format(**parts)


def allowed(path: str) -> set[str]:
    methods = {route.method for route in TABLE.values() if route.path == path}
    return {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


def answers(services: Services, clock: Clock, route: Route) -> tuple[int, ...]:
    """The statuses with which a route answers the callers of ANSWERS, all else being valid."""
    client = client_of(services)
    miguel = services.accounts.register("miguel", "python")
    expired = token_of(client)
    clock.advance(600)
    live = token_of(client)
    other = client.request("/api/sessions", method="POST", headers=PASSWORD)
    key = services.api_keys.make(miguel, "ci")
    path = sample(route.path, other.headers["Location"].rpartition("/")[2], key.key.id)

    def answer(number: int, headers: Headers) -> int:
        body = (
            {"name": "deploy"}
            if route.handler is handlers.make_key
            else {
                "username": f"user{number}",
                "password": "python",
                "refresh_token": other.json["refresh_token"],
                "code": services.accounts.make_reset_code(miguel).code,
            }
        )
        answer = client.request(
            path,
            method=method_of(route),
            headers=headers,
            content_type="application/json",
            body=json.dumps(body).encode(),
            status="*",
        )
        return int(answer.status_int)

    callers = (ANONYMOUS, WRONG, bearer(expired), bearer(key.text), bearer(live), PASSWORD)
    return tuple(answer(number, headers) for number, headers in enumerate(callers))


def test_every_handler_has_a_route_and_no_route_stands_twice() -> None:
    public = {
        function
        for module in (handlers, operator_handlers)
        for name, function in getmembers(module, isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    table = (*TABLE.values(), *metrics_routes())
    assert public | {show_description} == {route.handler for route in table}
    assert len(TABLE) == len(routes(settings.load({}, WITH_OPERATORS)))


def test_the_table_itself_says_who_may_call_and_over_what() -> None:
    """A handler that checks once more must not hide a wrong row."""
    said = {
        name: (route.access, route.is_open, route.is_for_proxies) for name, route in TABLE.items()
    }
    assert said == {
        name: (
            Access.ANYONE if anonymous != 401
            else Access.ADMIN if with_password == 403
            else Access.PASSWORD if with_token == 403
            else Access.LOGIN if with_key == 403
            else Access.USER,
            name in OVER_PLAIN_HTTP,
            name in FOR_PROXIES,
        )
        for name, (anonymous, _, _, with_key, with_token, with_password) in ANSWERS.items()
    }  # fmt: skip


@each_route
def test_a_route_answers_each_kind_of_caller(services: Services, clock: Clock, name: str) -> None:
    assert answers(services, clock, TABLE[name]) == ANSWERS[name]


@pytest.mark.parametrize(
    ("keywords", "name", "statuses"),
    [
        ({"public_profiles": False}, "GET /api/users/{id}", (401, 401, 401, 200, 200, 200)),
        ({"registration": "closed"}, "POST /api/users", (403,) * 6),
    ],
    ids=["public_profiles", "registration"],
)
def test_a_setting_changes_its_own_route_and_no_other(
    make_services: ServicesFactory,
    clock: Clock,
    keywords: dict[str, object],
    name: str,
    statuses: tuple[int, ...],
) -> None:
    services = make_services(**WITH_OPERATORS, **keywords)
    assert answers(services, clock, TABLE[name]) == statuses
    rows = {f"{row.method} {row.path}": row for row in routes(services.settings)}
    assert {other for other in TABLE if rows[other] != TABLE[other]} <= {name}


def test_a_secret_of_the_metrics_makes_their_route_and_an_address_does_not() -> None:
    for value, more in (("s" * 32, {"GET /metrics"}), ("127.0.0.1:9464", set())):
        rows = {
            f"{row.method} {row.path}": row for row in routes(settings.load({}, {"metrics": value}))
        }
        assert rows.keys() - TABLE.keys() == more
        assert all(rows[name].access is Access.SCRAPER and not rows[name].is_open for name in more)


def test_no_secret_travels_over_plain_http_where_https_is_required(
    make_services: ServicesFactory,
) -> None:
    client = client_of(make_services(require_https=True, **WITH_OPERATORS))
    seen: dict[str, set[int]] = {}
    for name, route in TABLE.items():
        for headers in (ANONYMOUS, PASSWORD, bearer("a.b.c"), {"Authorization": "Digest x"}):
            answer = client.request(
                sample(route.path), method=method_of(route), headers=headers, status="*"
            )
            # No challenge: the client would send the password in clear.
            assert "WWW-Authenticate" not in answer.headers
            seen.setdefault(name, set()).add(answer.status_int)
    assert seen == {name: {OVER_PLAIN_HTTP.get(name, 403)} for name in TABLE}
    private = client_of(make_services(require_https=True, public_profiles=False))
    assert "WWW-Authenticate" not in private.get("/api/users/1", status=403).headers


def test_over_https_all_is_served_where_https_is_required(make_services: ServicesFactory) -> None:
    client = client_of(make_services(require_https=True), **{"wsgi.url_scheme": "https"})
    body = {"username": "miguel", "password": "python"}
    where = client.post_json("/api/users", body, status=201).headers["Location"]
    assert where == "https://localhost:80/api/users/1"
    client.get("/api/resource", headers=PASSWORD, status=200)


@pytest.mark.parametrize("path", PATHS)
def test_every_other_method_is_405_and_gets_the_right_ones(services: Services, path: str) -> None:
    """Before credentials are looked at; and TRACE repeats nothing."""
    allow = ", ".join(sorted(allowed(path)))
    every = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "M-SEARCH", "get"}
    for method in every - allowed(path) | {"OPTIONS"}:
        for headers in ({"X-Secret": "tracer"}, WRONG):
            request = webtest.TestRequest.blank(sample(path), method=method, headers=headers)
            answer = request.get_response(App(services))
            status = 204 if method == "OPTIONS" else 405
            assert (answer.status_int, answer.headers["Allow"]) == (status, allow), method
            assert b"tracer" not in answer.body


def test_the_same_path_in_another_spelling_is_404_for_every_method(
    client: webtest.TestApp,
) -> None:
    for path in map(sample, [*PATHS, "/api/verify"]):
        for other in (f"{path}/", f"/{path}", path.upper(), f"{path}%20", f"{path}%00"):
            for method in ("GET", "POST", "DELETE", "OPTIONS"):
                client.request(other, method=method, status=404)
