"""The table of routes, held against what every kind of caller gets from each of them."""

import json
from inspect import getmembers, isfunction

import pytest
import webtest

from restauth import settings
from restauth.services import Services
from restauth.web import handlers
from restauth.web.app import App
from restauth.web.router import ANY_METHOD, Access, Route
from restauth.web.routes import routes, show_description
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of

TABLE = routes(settings.load({}))
PATHS = sorted({route.path for route in TABLE})
FOR_PROXIES = {"/api/verify"}
ANSWERS = {  # to: no credential, a wrong password, an expired token, a live token, the password
    "POST /api/users": (201, 201, 201, 201, 201),
    "GET /api/users/{id}": (200, 200, 200, 200, 200),
    "GET /api/users/me": (401, 401, 401, 200, 200),
    "PUT /api/users/me/password": (401, 401, 401, 403, 204),
    "DELETE /api/users/me": (401, 401, 401, 403, 204),
    "GET /api/token": (401, 401, 401, 200, 200),
    "POST /api/token": (200, 200, 200, 200, 200),
    "DELETE /api/token": (401, 401, 401, 204, 400),
    "POST /api/sessions": (401, 401, 401, 403, 201),
    "GET /api/sessions": (401, 401, 401, 200, 200),
    "DELETE /api/sessions": (401, 401, 401, 204, 204),
    "DELETE /api/sessions/{sid}": (401, 401, 401, 204, 404),  # it has just been ended
    "POST /api/password-resets": (204, 204, 204, 204, 204),
    "GET /api/resource": (401, 401, 401, 200, 200),
    "* /api/verify": (401, 401, 401, 204, 204),
    "GET /api/health": (200, 200, 200, 200, 200),
    "GET /api/openapi.json": (200, 200, 200, 200, 200),
    "GET /.well-known/jwks.json": (200, 200, 200, 200, 200),
}
OVER_PLAIN_HTTP = {  # where https is required
    "GET /api/users/{id}": 400,
    "GET /api/health": 200,
    "GET /api/openapi.json": 200,
    "GET /.well-known/jwks.json": 200,
}


def split(route: str) -> tuple[str, str]:
    """The path of a row, and a method to call it with: GET is as good as any."""
    method, path = route.split()
    return "GET" if method == ANY_METHOD else method, path


def sample(path: str, session_id: str = "A" * 22) -> str:
    return path.replace("{id}", "1").replace("{sid}", session_id)


def allowed(path: str) -> set[str]:
    methods = {route.method for route in TABLE if route.path == path}
    return {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


def answers(services: Services, clock: Clock, route: str) -> tuple[int, ...]:
    """The statuses with which a route answers the callers of ANSWERS, all other things good."""
    client, password = client_of(services), basic("miguel", "python")
    miguel = services.accounts.find(services.accounts.register("miguel", "python"))
    expired = client.get("/api/token", headers=password).json["token"]
    clock.advance(600)
    live = client.get("/api/token", headers=password).json["token"]
    other = client.request("/api/sessions", method="POST", headers=password)
    nobody: dict[str, str] = {}
    callers = (nobody, basic("miguel", "ruby"), bearer(expired), bearer(live), password)
    method, path = split(route)
    path = sample(path, other.headers["Location"].rpartition("/")[2])

    def answer(number: int, headers: dict[str, str]) -> int:
        body = {
            "username": f"user{number}",
            "password": "python",
            "refresh_token": other.json["refresh_token"],
            "code": services.accounts.make_reset_code(miguel),
        }
        request = client.request(
            path,
            method=method,
            headers=headers,
            content_type="application/json",
            body=json.dumps(body).encode(),
            status="*",
        )
        return int(request.status_int)

    return tuple(answer(number, headers) for number, headers in enumerate(callers))


def test_no_route_stands_twice() -> None:
    assert len({(route.method, route.path) for route in TABLE}) == len(TABLE)


def test_every_route_is_held_against_every_caller() -> None:
    table = {f"{route.method} {route.path}" for route in TABLE}
    assert set(ANSWERS) == table


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route.method} {route.path}")
def test_the_table_says_itself_who_is_let_in_and_over_what(route: Route) -> None:
    """A handler that asks once more must not hide a wrong row."""
    name = f"{route.method} {route.path}"
    anonymous, _, _, with_token, _ = ANSWERS[name]
    assert (route.access is Access.ANYONE) is (anonymous != 401)
    assert (route.access is Access.PASSWORD) is (with_token == 403)
    assert route.is_open is (name in OVER_PLAIN_HTTP)
    assert route.is_for_proxies is (route.path in FOR_PROXIES)


def test_every_handler_has_a_route() -> None:
    public = {
        function
        for name, function in getmembers(handlers, isfunction)
        if function.__module__ == handlers.__name__ and not name.startswith("_")
    }
    assert public | {show_description} == {route.handler for route in TABLE}


@pytest.mark.parametrize("route", ANSWERS)
def test_a_route_answers_those_whom_its_access_lets_in(
    services: Services, clock: Clock, route: str
) -> None:
    assert answers(services, clock, route) == ANSWERS[route]


@pytest.mark.parametrize(
    ("keywords", "changes"),
    [
        ({"public_profiles": False}, {"GET /api/users/{id}": (401, 401, 401, 200, 200)}),
        ({"registration": "closed"}, {"POST /api/users": (403, 403, 403, 403, 403)}),
    ],
    ids=["public_profiles", "registration"],
)
@pytest.mark.parametrize("route", ANSWERS)
def test_a_setting_changes_its_own_route_and_no_other(
    make_services: ServicesFactory,
    clock: Clock,
    keywords: dict[str, object],
    changes: dict[str, tuple[int, ...]],
    route: str,
) -> None:
    services = make_services(**keywords)
    assert answers(services, clock, route) == (ANSWERS | changes)[route]


@pytest.mark.parametrize("route", ANSWERS)
def test_no_secret_is_taken_nor_asked_for_over_plain_http_where_https_is_required(
    make_services: ServicesFactory, route: str
) -> None:
    client = client_of(make_services(require_https=True))
    method, path = split(route)
    nobody: dict[str, str] = {}
    callers = (nobody, basic("miguel", "python"), bearer("a.b.c"), {"Authorization": "Digest x"})
    for headers in callers:
        status = OVER_PLAIN_HTTP.get(route, 403)
        answer = client.request(sample(path), method=method, headers=headers, status=status)
        assert "WWW-Authenticate" not in answer.headers


def test_a_profile_that_is_not_public_is_shown_over_https_only_where_it_is_required(
    make_services: ServicesFactory,
) -> None:
    client = client_of(make_services(require_https=True, public_profiles=False))
    answer = client.get("/api/users/1", status=403)
    assert "WWW-Authenticate" not in answer.headers


def test_over_https_all_is_as_ever_where_https_is_required(make_services: ServicesFactory) -> None:
    client = client_of(make_services(require_https=True), **{"wsgi.url_scheme": "https"})
    body = {"username": "miguel", "password": "python"}
    where = client.post_json("/api/users", body, status=201).headers["Location"]
    assert where == "https://localhost:80/api/users/1"
    client.get("/api/resource", headers=basic("miguel", "python"), status=200)


@pytest.mark.parametrize("path", sorted(set(PATHS) - FOR_PROXIES))
def test_every_other_method_is_405_and_told_the_right_ones(services: Services, path: str) -> None:
    """Before credentials are asked for; and TRACE echoes nothing."""
    every = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "M-SEARCH", "get"}
    for method in every - allowed(path):
        request = webtest.TestRequest.blank(
            sample(path), method=method, headers={"X-Secret": "tracer"}
        )
        answer = request.get_response(App(services))
        assert (method, answer.status_int) == (method, 405)
        assert answer.headers["Allow"] == ", ".join(sorted(allowed(path)))
        assert b"tracer" not in answer.body


@pytest.mark.parametrize("path", sorted(set(PATHS) - FOR_PROXIES))
def test_options_tells_the_methods_and_asks_for_no_credentials(
    client: webtest.TestApp, path: str
) -> None:
    for headers in ({}, basic("nobody", "wrong")):
        answer = client.options(sample(path), headers=headers, status=204)
        assert answer.headers["Allow"] == ", ".join(sorted(allowed(path)))
        assert answer.body == b""


@pytest.mark.parametrize("path", PATHS)
def test_the_same_path_in_another_spelling_is_404_for_every_method(
    client: webtest.TestApp, path: str
) -> None:
    exact = sample(path)
    for other in (f"{exact}/", f"/{exact}", exact.upper(), f"{exact}%20", f"{exact}%00"):
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            client.request(other, method=method, status=404)
