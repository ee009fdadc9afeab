"""A guard, or the service, among other WSGI apps: what it settles and what it leaves alone.

Rule: the neighbours are plain WSGI apps, and do what PEP 3333 lets them do.
"""

import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

from restauth.services import Services
from restauth.web.app import App
from restauth.web.guard_rules import parse_guard_rules
from restauth.web.middleware import Guard
from tests.conftest import ServicesFactory, basic, bearer, client_of

PASSWORD, WRONG = basic("ada", "python"), basic("ada", "ruby")
ANN = {"username": "ann", "password": "python"}
TEXT = [("Content-Type", "text/plain")]


@pytest.fixture
def services(services: Services) -> Services:
    services.accounts.register("ada", "python")
    return services


def guard(app: WSGIApplication, services: Services, *, required: bool = False) -> Guard:
    """The app behind a guard that has these services."""
    rules = parse_guard_rules(len, required, None, ())
    return Guard(app, services.identification.identify, rules, services.settings)


def client_before(app: WSGIApplication) -> webtest.TestApp:
    return webtest.TestApp(validator(app), lint=True)


def token(services: Services) -> str:
    return str(client_of(services).get("/api/token", headers=PASSWORD).json["token"])


def page(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Says who it is told that it is, and the body."""
    user = environ["restauth.user"]
    start_response("200 OK", TEXT)
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return [f"{user.id if user else 0} {environ.get('REMOTE_USER')} ".encode(), body]


def called(app: WSGIApplication, environ: WSGIEnvironment) -> tuple[int, dict[str, str], bytes]:
    """The answer to an environ that no client makes."""
    begun: list[Any] = []
    body = b"".join(app(environ, lambda *answer: begun.append(answer)))  # type: ignore[arg-type]
    ((status, headers),) = begun
    return int(status[:3]), dict(headers), body


def bare(method: str, **environ: object) -> WSGIEnvironment:
    """No more than what PEP 3333 requires."""
    return {
        "REQUEST_METHOD": method,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **environ,
    }


# What it settles


@pytest.mark.parametrize("joint", [", ", ","])
def test_two_authorization_headers_that_a_server_joined_are_refused(
    services: Services, joint: str
) -> None:
    clients = client_before(guard(page, services)), client_of(services)
    good = (PASSWORD["Authorization"], f"Bearer {token(services)}")
    for client in clients:
        for first in good:
            client.get("/api/resource", headers={"Authorization": first}, status=200)
            for second in (*good, "Digest x", "Basic", ""):
                both = {"Authorization": f"{first}{joint}{second}"}
                client.get("/api/resource", headers=both, status=401)


def test_an_identity_from_further_out_ends_at_the_guard_and_one_from_further_in_stands(
    services: Services,
) -> None:
    def naming(name: str, app: WSGIApplication) -> WSGIApplication:
        def named(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return app({**environ, "REMOTE_USER": name}, start_response)

        return named

    outside = client_before(naming("root", guard(page, services)))
    inside = client_before(guard(naming("system", page), services))
    assert outside.get("/").text == "0 None "
    assert outside.get("/", headers=PASSWORD).text == "1 ada "
    assert inside.get("/").text == "0 system "
    assert inside.get("/", headers=PASSWORD).text == "1 system "
    client_before(naming("root", guard(page, services, required=True))).get("/", status=401)


def test_an_environ_has_no_more_than_it_must(services: Services) -> None:
    guarded, required = guard(page, services), guard(page, services, required=True)
    right = {"HTTP_AUTHORIZATION": PASSWORD["Authorization"]}
    assert called(guarded, bare("GET")) == (200, dict(TEXT), b"0 None ")
    assert called(guarded, bare("GET", **right)) == (200, dict(TEXT), b"1 ada ")
    assert called(required, bare("GET"))[0] == 401
    assert called(guarded, bare("GET", HTTP_AUTHORIZATION=WRONG["Authorization"]))[0] == 401
    service = App(services)
    assert called(service, bare("GET"))[0] == 404
    assert called(service, bare("GET", PATH_INFO="/api/resource"))[0] == 401
    assert called(service, bare("GET", PATH_INFO="/api/resource", **right))[0] == 200
    users = {"PATH_INFO": "/api/users"}
    assert called(service, bare("POST", **users))[0] == 415
    body = {"CONTENT_TYPE": "application/json", "wsgi.input": io.BytesIO(json.dumps(ANN).encode())}
    assert (
        called(service, bare("POST", **users, **body))[0] == 400
    )  # the end of the body is not known
    body["CONTENT_LENGTH"] = str(len(json.dumps(ANN)))
    status, headers, _ = called(service, bare("POST", **users, **body))
    assert (status, headers["Location"]) == (201, "/api/users/2")  # no Host, so no host


def test_of_two_guards_both_are_content_and_the_inner_one_says_who_it_is(
    make_services: ServicesFactory, tmp_path: Path
) -> None:
    outer = make_services(realm="Outer")
    other = {"database": tmp_path / "inner.db", "key_file": tmp_path / "inner.keys"}
    inner = make_services(realm="Inner", **other)
    for services, usernames in ((outer, ("ada", "bob")), (inner, ("eve", "ada"))):
        for username in usernames:
            services.accounts.register(username, "python")
    client = client_before(guard(guard(page, inner), outer))
    assert client.get("/", headers=PASSWORD).text == "2 ada "
    for headers, realm in (
        (basic("bob", "python"), "Inner"),
        (bearer(token(outer)), "Inner"),
        (basic("eve", "python"), "Outer"),
        (bearer(token(inner)), "Outer"),
    ):
        answer = client.get("/", headers=headers, status=401)
        assert f'realm="{realm}"' in answer.headers["WWW-Authenticate"]
    assert client.get("/").text == "0 None "
    for required, realm in (((True, False), "Outer"), ((False, True), "Inner")):
        one, two = required
        both = guard(guard(page, inner, required=two), outer, required=one)
        answer = client_before(both).get("/", status=401)
        assert f'realm="{realm}"' in answer.headers["WWW-Authenticate"]


def test_of_two_guards_with_one_store_the_outer_one_alone_counts_a_wrong_password(
    make_services: ServicesFactory,
) -> None:
    services = make_services(max_failures=2)
    services.accounts.register("ada", "python")
    client = client_before(guard(guard(page, services), services))
    client.get("/", headers=WRONG, status=401)
    assert client.get("/", headers=PASSWORD).text == "1 ada "


def test_behind_a_guard_that_requires_somebody_the_service_is_for_those_who_have_an_account(
    services: Services,
) -> None:
    client = client_before(guard(App(services), services, required=True))
    answer = client.post_json("/api/users", ANN, status=401)
    assert answer.json["type"] == "urn:restauth:problem:bad_credentials"
    assert len(answer.headers.getall("WWW-Authenticate")) == 2
    client.get("/api/health", status=401)
    client.get("/api/none", status=401)
    client.get("/api/none", headers=PASSWORD, status=404)
    client.post_json("/api/users", ANN, headers=PASSWORD, status=201)
    fresh = bearer(client.get("/api/token", headers=basic("ann", "python")).json["token"])
    assert client.get("/api/resource", headers=fresh).json == {"data": "Hello, ann!"}


# What it leaves alone


@pytest.mark.parametrize("headers", [{}, PASSWORD])
def test_the_app_inside_gets_every_byte_of_the_body(
    services: Services, headers: dict[str, str]
) -> None:
    body = bytes(range(256)) * 1000  # more than the service itself would take
    answer = client_before(guard(page, services)).post("/", body, headers=headers, status=200)
    assert answer.body.endswith(b" " + body)


def test_the_body_is_not_touched(services: Services) -> None:
    untouchable = object()
    seen = []

    def looking(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        seen.append(environ["wsgi.input"])
        start_response("204 No Content", [])
        return []

    guarded = guard(looking, services)
    for headers, status in (({}, 204), (PASSWORD, 204), (WRONG, 401)):
        claims = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        environ = bare("POST", CONTENT_LENGTH="9", **{"wsgi.input": untouchable}, **claims)
        assert called(guarded, environ)[0] == status
    assert seen == [untouchable, untouchable]


def test_a_body_that_was_read_further_out_has_to_be_put_back(services: Services) -> None:
    def reading(app: WSGIApplication, *, puts_back: bool) -> WSGIApplication:
        def read(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            if puts_back:
                environ["wsgi.input"] = io.BytesIO(body)
            return app(environ, start_response)

        return read

    guarded, service = guard(page, services), App(services)
    assert client_before(reading(guarded, puts_back=False)).post("/", b"body").text == "0 None "
    assert client_before(reading(guarded, puts_back=True)).post("/", b"body").text == "0 None body"
    answer = client_before(reading(service, puts_back=False)).post_json(
        "/api/users", ANN, status=400
    )
    assert answer.json["detail"] == "The body ends before its Content-Length."
    client_before(reading(service, puts_back=True)).post_json("/api/users", ANN, status=201)


class Stream:
    """An answer that comes piece by piece, and knows when it was closed."""

    def __init__(self) -> None:
        self.pieces = iter([b"one ", b"two"])
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.pieces)

    def close(self) -> None:
        self.is_closed = True


def test_the_answer_is_the_apps_own(services: Services) -> None:
    stream = Stream()

    def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Stream:
        write = start_response("200 OK", TEXT)
        write(b"zero ")
        return stream

    guarded = guard(streaming, services)
    begun: list[Any] = []

    def start_response(*answer: Any) -> Any:
        begun.append(answer)
        return begun.append

    assert guarded(bare("GET"), start_response) is stream  # and no piece was read
    assert begun == [("200 OK", TEXT), b"zero "]
    assert not stream.is_closed
    assert client_before(guarded).get("/", headers=PASSWORD).text == "zero one two"
    assert stream.is_closed
