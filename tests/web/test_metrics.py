"""The route /metrics: who may read the figures, and what is counted behind the front door."""

from wsgiref.validate import validator

import pytest
import webtest

from restauth.gate import MUST_NOT_WAIT, WouldWait
from restauth.services import Services
from restauth.web.app import App
from restauth.web.guard_rules import parse_guard_rules
from restauth.web.middleware import Guard
from restauth.web.routes import metrics_routes
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.web.conftest import ANONYMOUS, PASSWORD, WRONG, call, code_of, token_of

SECRET = "tW0-.~_+/" * 4 + "=="
ADDRESS = "127.0.0.1:9464"
NO_WAIT = {MUST_NOT_WAIT: True}


def figures(client: webtest.TestApp) -> dict[str, float]:
    """By name and labels, as they are written."""
    answer = client.get("/metrics", headers=bearer(SECRET), status=200)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line.rpartition(" ") for line in answer.text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in lines}


def test_the_figures_are_for_who_knows_the_secret(make_services: ServicesFactory) -> None:
    services = make_services(metrics=SECRET)
    client = client_of(services)
    services.accounts.register("miguel", "python")
    token = token_of(client)
    for headers in (
        *(ANONYMOUS, PASSWORD, bearer(token), bearer(SECRET[:-1]), bearer(SECRET.upper())),
        *(basic("x", SECRET), basic(SECRET, ""), bearer(""), bearer("\xe9" * 38)),
        *({"Authorization": text} for text in (SECRET, "Bearer", f"Token {SECRET}", "Basic !")),
    ):
        answer = client.get("/metrics", headers=headers, status=401)
        assert code_of(answer) == "bad_credentials"
        # No Basic challenge: a browser would ask its user for a password that does not exist.
        (challenge,) = answer.headers.getall("WWW-Authenticate")
        assert challenge.startswith("Bearer ")
        # To who presents no Bearer token, nothing is said of one (RFC 6750 section 3.1).
        is_bearer = headers.get("Authorization", "").startswith("Bearer")
        assert ("error=" in challenge) == is_bearer
    for scheme in ("Bearer", "bearer", "BEARER "):
        client.get("/metrics", headers={"Authorization": f"{scheme} {SECRET}"}, status=200)
    client.get("/metrics?x", headers=bearer(SECRET), status=200)
    assert client.head("/metrics", headers=bearer(SECRET), status=200).body == b""
    client.post("/metrics", headers=bearer(SECRET), status=405)
    # It opens nothing else.
    client.get("/api/resource", headers=bearer(SECRET), status=401)


@pytest.mark.parametrize("value", ["", ADDRESS])
def test_without_a_secret_the_figures_are_not_there(
    make_services: ServicesFactory, value: str
) -> None:
    client = client_of(make_services(metrics=value))
    for headers in (ANONYMOUS, bearer(value)):
        assert code_of(client.get("/metrics", headers=headers, status=404)) == "not_found"


def test_the_secret_does_not_travel_over_plain_http_where_https_is_required(
    make_services: ServicesFactory,
) -> None:
    services = make_services(metrics=SECRET, require_https=True)
    refused = client_of(services).get("/metrics", headers=bearer(SECRET), status=403)
    assert code_of(refused) == "https_required"
    client_of(services, **{"wsgi.url_scheme": "https"}).get(
        "/metrics", headers=bearer(SECRET), status=200
    )


def test_on_an_address_of_their_own_the_figures_need_no_secret_and_nothing_else_is_there(
    make_services: ServicesFactory,
) -> None:
    app = App(make_services(metrics=ADDRESS, require_https=True), metrics_routes())
    client = webtest.TestApp(validator(app), lint=True)
    assert "restauth_build_info" in client.get("/metrics", status=200).text
    for path in ("/", "/api/health", "/api/users/1", "/api/token"):
        client.get(path, status=404)


def test_the_description_says_nothing_of_the_figures(make_services: ServicesFactory) -> None:
    client = client_of(make_services(metrics=SECRET))
    assert "/metrics" not in client.get("/api/openapi.json", status=200).json["paths"]


def test_requests_are_counted_by_route_method_and_status(make_services: ServicesFactory) -> None:
    services = make_services(metrics=SECRET)
    client = client_of(services)
    before = figures(client)
    assert before['restauth_problems_total{code="store_unavailable"}'] == 0
    assert before['restauth_authentications_total{credential="password",outcome="busy"}'] == 0
    body = {"username": "miguel", "password": "python"}
    client.post_json("/api/users", body, status=201)
    client.get("/api/users/1", status=200)
    client.get("/api/users/2", status=400)
    client.get("/api/token", headers=PASSWORD, status=200)
    client.get("/api/token", headers=basic("miguel", "ruby"), status=401)
    client.get('/a"b%0a%22', status=404)
    client.options("/api/users", status=204)
    call(services, "/\xff", REQUEST_METHOD="FROB")
    after = figures(client)
    changed = {
        name.removeprefix("restauth_"): value - before.get(name, 0)
        for name, value in after.items()
        if value != before.get(name, 0)
    }
    requests = {name: value for name, value in changed.items() if name.startswith("requests")}
    assert requests == {
        f'requests_total{{route="{route}",method="{method}",status="{status}"}}': 1
        for route, method, status in (
            ("/api/users", "POST", 201), ("/api/users/{id}", "GET", 200),
            ("/api/users/{id}", "GET", 400), ("/api/token", "GET", 200),
            ("/api/token", "GET", 401), ("none", "GET", 404), ("none", "other", 404),
            ("/api/users", "OPTIONS", 204), ("/metrics", "GET", 200),
        )
    }  # fmt: skip
    assert changed['request_duration_seconds_count{route="/api/token"}'] == 2
    assert changed['request_duration_seconds_bucket{route="/api/token",le="+Inf"}'] == 2
    assert 0 < changed['request_duration_seconds_sum{route="/api/token"}'] < 60
    assert changed['problems_total{code="not_found"}'] == 2
    assert changed['problems_total{code="bad_credentials"}'] == 1
    assert changed['authentications_total{credential="password",outcome="succeeded"}'] == 1
    assert changed['authentications_total{credential="password",outcome="bad_credentials"}'] == 1


def test_a_guard_and_the_python_api_are_counted_as_well(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_services(metrics=SECRET)
    services.accounts.register("miguel", "python")
    rules = parse_guard_rules(lambda *_: [], False, None, ())
    guard = Guard(lambda *_: [], services.identification.identify, rules, services.settings)
    webtest.TestRequest.blank("/", headers=WRONG).get_response(guard)
    name = 'restauth_authentications_total{credential="password",outcome="bad_credentials"}'
    assert figures(client_of(services))[name] == 1


def test_a_scrape_waits_on_a_thread_that_may_wait(make_services: ServicesFactory) -> None:
    services = make_services(metrics=SECRET)
    with pytest.raises(WouldWait):
        call(services, "/metrics", bearer(SECRET), **NO_WAIT)
    # What is begun again elsewhere is counted there.
    name = 'restauth_requests_total{route="/metrics",method="GET",status="200"}'
    client = client_of(services)
    assert name not in figures(client)
    assert figures(client)[name] == 1


def test_a_credential_is_counted_once_where_its_request_is_begun_again(
    make_services: ServicesFactory,
) -> None:
    services = make_services(metrics=SECRET)
    client = client_of(services)
    services.accounts.register("miguel", "python")
    token = token_of(client)
    name = 'restauth_authentications_total{credential="token",outcome="succeeded"}'
    with pytest.raises(WouldWait):  # the token is valid, and the end of its session is a write
        call(services, "/api/token", bearer(token), REQUEST_METHOD="DELETE", **NO_WAIT)
    assert figures(client)[name] == 0
    call(services, "/api/token", bearer(token), REQUEST_METHOD="DELETE")
    assert figures(client)[name] == 1


@pytest.mark.sqlite("PostgreSQL may always have to be waited for")
def test_a_credential_is_counted_where_its_request_does_not_wait(
    make_services: ServicesFactory,
) -> None:
    services = make_services(metrics=SECRET)
    client = client_of(services)
    services.accounts.register("miguel", "python")
    token = token_of(client)
    for credentials in (bearer(token), bearer("a.b.c")):
        call(services, "/api/resource", credentials, **NO_WAIT)
    for outcome in ("succeeded", "bad_credentials"):
        name = f'restauth_authentications_total{{credential="token",outcome="{outcome}"}}'
        assert figures(client)[name] == 1


def test_where_the_figures_are_off_no_request_is_counted(services: Services) -> None:
    client_of(services).get("/api/health", status=200)
    counts = services.metrics.read()
    assert (counts.requests, counts.problems, counts.durations) == ({}, {}, {})
