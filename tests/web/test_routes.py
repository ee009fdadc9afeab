"""The table of routes, held against what every kind of caller gets from each of them."""

import json
from inspect import getmembers, isfunction

import pytest
import webtest

from restauth import settings
from restauth.services import Services
from restauth.web import handlers
from restauth.web.api import Api
from restauth.web.routes import routes
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of

TABLE = routes(settings.load({}))
PATHS = sorted({route.path for route in TABLE})
ANSWERS = {  # to: no credential, a wrong password, an expired token, a live token, the password
    "POST /api/users": (201, 201, 201, 201, 201),
    "GET /api/users/{id}": (200, 200, 200, 200, 200),
    "GET /api/users/me": (401, 401, 401, 200, 200),
    "GET /api/token": (401, 401, 401, 200, 200),
    "DELETE /api/token": (401, 401, 401, 204, 400),
    "GET /api/resource": (401, 401, 401, 200, 200),
    "GET /api/health": (200, 200, 200, 200, 200),
}


def sample(path: str) -> str:
    return path.replace("{id}", "1")


def allowed(path: str) -> set[str]:
    methods = {route.method for route in TABLE if route.path == path}
    return {*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())


def answers(services: Services, clock: Clock, route: str) -> tuple[int, ...]:
    """The statuses with which a route answers the callers of ANSWERS."""
    client, password = client_of(services), basic("miguel", "python")
    services.accounts.register("miguel", "python")
    expired = client.get("/api/token", headers=password).json["token"]
    clock.advance(600)
    live = client.get("/api/token", headers=password).json["token"]
    nobody: dict[str, str] = {}
    callers = (nobody, basic("miguel", "ruby"), bearer(expired), bearer(live), password)
    method, path = route.split()
    return tuple(
        client.request(
            sample(path),
            method=method,
            headers=headers,
            content_type="application/json",
            body=json.dumps({"username": f"user{number}", "password": "python"}).encode(),
            status="*",
        ).status_int
        for number, headers in enumerate(callers)
    )


def test_no_route_stands_twice() -> None:
    assert len({(route.method, route.path) for route in TABLE}) == len(TABLE)


def test_every_route_is_held_against_every_caller() -> None:
    assert set(ANSWERS) == {f"{route.method} {route.path}" for route in TABLE}


def test_every_handler_has_a_route() -> None:
    public = {
        function
        for name, function in getmembers(handlers, isfunction)
        if function.__module__ == handlers.__name__ and not name.startswith("_")
    }
    assert public == {route.handler for route in TABLE}


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


@pytest.mark.parametrize(
    ("route", "without_credential", "with_one"),
    [
        ("POST /api/users", 403, 403),  # the body carries a password
        ("GET /api/users/{id}", 400, 400),
        ("GET /api/users/me", 401, 403),
        ("GET /api/token", 401, 403),
        ("DELETE /api/token", 401, 403),
        ("GET /api/resource", 401, 403),
        ("GET /api/health", 200, 200),
    ],
)
def test_no_secret_is_taken_over_plain_http_where_https_is_required(
    make_services: ServicesFactory, route: str, without_credential: int, with_one: int
) -> None:
    client = client_of(make_services(require_https=True))
    method, path = route.split()
    for headers, status in (({}, without_credential), (basic("miguel", "python"), with_one)):
        client.request(sample(path), method=method, headers=headers, status=status)


def test_over_https_all_is_as_ever_where_https_is_required(make_services: ServicesFactory) -> None:
    client = client_of(make_services(require_https=True), **{"wsgi.url_scheme": "https"})
    body = {"username": "miguel", "password": "python"}
    where = client.post_json("/api/users", body, status=201).headers["Location"]
    assert where == "https://localhost:80/api/users/1"
    client.get("/api/resource", headers=basic("miguel", "python"), status=200)


@pytest.mark.parametrize("path", PATHS)
def test_every_other_method_is_405_and_told_the_right_ones(services: Services, path: str) -> None:
    """Before credentials are asked for; and TRACE echoes nothing."""
    every = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "M-SEARCH", "get"}
    for method in every - allowed(path):
        request = webtest.TestRequest.blank(
            sample(path), method=method, headers={"X-Secret": "tracer"}
        )
        answer = request.get_response(Api(services))
        assert (method, answer.status_int) == (method, 405)
        assert answer.headers["Allow"] == ", ".join(sorted(allowed(path)))
        assert b"tracer" not in answer.body


@pytest.mark.parametrize("path", PATHS)
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
