"""The straight path of a request, through the front door: nothing that is sent breaks it."""

import io
import json
import logging
import re
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import bcrypt
import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth.records import User
from restauth.services import Services
from restauth.web.app import App
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of

PASSWORD = basic("miguel", "python")
ON_EVERY_ANSWER = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
ANY_TEXT = st.text(st.characters())
# One store for all the examples of a test: they are strangers to each other.
total = hypothesis.settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def miguel(services: Services) -> webtest.TestApp:
    """The client, in a world where miguel has registered."""
    services.accounts.register("miguel", "python")
    return client_of(services)


def answer(services: Services, **environ: object) -> webtest.TestResponse:
    """Call the app with an environ that no client would make."""
    request = webtest.TestRequest.blank("/")
    request.environ.update(environ)
    return request.get_response(App(services))


def take_the_store_away(services: Services) -> None:
    services.engine.close()
    services.engine.path.unlink()
    services.engine.path.mkdir()


def break_the_store(services: Services) -> None:
    """A store without its table: what only a bug of ours could do."""
    services.engine.write("DROP TABLE sessions", {})


# Headers


def assert_headers(reply: webtest.TestResponse) -> None:
    assert ON_EVERY_ANSWER.items() <= dict(reply.headers).items()
    # No banner, no cookie; and nothing that counts over https only.
    assert not {"Server", "X-Powered-By", "Set-Cookie"} & set(reply.headers)
    assert "Strict-Transport-Security" not in reply.headers


@pytest.mark.parametrize(
    ("status", "route", "keywords"),
    [
        (200, "GET /api/health", {}),
        (200, "HEAD /api/health", {}),
        (200, "GET /api/token", {"headers": PASSWORD}),
        (201, "POST /api/users", {"body": b'{"username": "ann", "password": "x"}'}),
        (200, "GET /api/openapi.json", {}),
        (200, "GET /.well-known/jwks.json", {}),
        (204, "OPTIONS /api/users", {}),
        (204, "GET /api/verify", {"headers": PASSWORD}),
        (400, "GET /api/users/2", {}),
        (400, "GET /api/health", {"headers": {"Host": "a/b"}}),
        (401, "GET /api/resource", {}),
        (401, "OPTIONS /api/verify", {}),
        (403, "GET /api/verify?role=admin", {"headers": PASSWORD}),
        (404, "GET /", {}),
        (404, "OPTIONS /", {}),
        (405, "PUT /api/users", {}),
        (411, "POST /api/users", {"headers": {"Transfer-Encoding": "chunked"}}),
        (413, "POST /api/users", {"body": b" " * 65_537}),
        (415, "POST /api/users", {"headers": {"Content-Encoding": "gzip"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_headers_of_every_answer_are_on_this_one(
    miguel: webtest.TestApp, status: int, route: str, keywords: dict[str, Any]
) -> None:
    method, path = route.split()
    json_type = "application/json"
    assert_headers(
        miguel.request(path, method=method, content_type=json_type, status=status, **keywords)
    )


def test_the_headers_of_every_answer_are_on_a_logout(miguel: webtest.TestApp) -> None:
    token = miguel.get("/api/token", headers=PASSWORD).json["token"]
    assert_headers(miguel.delete("/api/token", headers=bearer(token), status=204))


def test_the_headers_of_every_answer_are_on_a_bug(
    services: Services, miguel: webtest.TestApp
) -> None:
    break_the_store(services)
    assert_headers(miguel.get("/api/token", headers=PASSWORD, status=500))


def test_the_headers_of_every_answer_are_on_an_outage(
    services: Services, miguel: webtest.TestApp
) -> None:
    take_the_store_away(services)
    assert_headers(miguel.get("/api/users/1", status=503))


def test_strict_transport_is_asked_for_over_https(services: Services) -> None:
    client = client_of(services, **{"wsgi.url_scheme": "https"})
    for path, status in (("/api/health", 200), ("/api/resource", 401), ("/", 404)):
        reply = client.get(path, status=status)
        assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"


# OPTIONS


def test_options_of_the_asterisk_is_for_the_whole_server(services: Services) -> None:
    reply = answer(services, REQUEST_METHOD="OPTIONS", PATH_INFO="*")
    assert reply.status == "204 No Content"
    assert reply.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
    assert answer(services, PATH_INFO="*").status_int == 404


# Credentials


def test_a_route_for_anyone_does_not_look_at_credentials(
    miguel: webtest.TestApp, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = miguel.get("/api/token", headers=PASSWORD).json["token"]
    clock.advance(600)
    hashes = count_hashes(monkeypatch)
    for authorization in (f"Bearer {expired}", "Basic !!!", "", "Basic bWlndWVsOnJ1Ynk="):
        headers = {"Authorization": authorization}
        miguel.get("/api/users/1", headers=headers, status=200)
        miguel.get("/api/health", headers=headers, status=200)
        miguel.get("/api/openapi.json", headers=headers, status=200)
        miguel.get("/.well-known/jwks.json", headers=headers, status=200)
    assert not hashes
    body = {"username": "ann", "password": "x"}
    miguel.post_json("/api/users", body, headers=bearer(expired), status=201)
    assert len(hashes) == 1


def test_a_refusal_that_needs_no_credential_costs_no_hash(
    miguel: webtest.TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = count_hashes(monkeypatch)
    wrong = basic("miguel", "ruby")
    miguel.get("/api/nothing", headers=wrong, status=404)
    miguel.put("/api/token", headers=wrong, status=405)
    miguel.options("/api/token", headers=wrong, status=204)
    miguel.post_json("/api/users", {"username": "miguel", "password": "x"}, status=400)
    miguel.post_json("/api/users", {"username": "ann", "password": ""}, status=400)
    assert not hashes


def test_a_login_costs_one_hash_whoever_tries(
    services: Services, miguel: webtest.TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.accounts.register("locked", "python")
    services.accounts.lock(services.accounts.find_by_name("locked"))
    hashes = count_hashes(monkeypatch)
    for username in ("miguel", "locked", "nobody"):
        miguel.get("/api/resource", headers=basic(username, "ruby"), status=401)
        assert len(hashes) == 1
        hashes.clear()


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A list that grows by one salt with each hash that is computed from now on."""
    salts: list[bytes] = []
    hashpw = bcrypt.hashpw

    def counting(password: bytes, salt: bytes) -> bytes:
        salts.append(salt)
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", counting)
    return salts


SPOOFED = {
    "REMOTE_USER": "admin",
    "AUTH_TYPE": "Basic",
    "restauth.user": User(1, "admin", ("admin",), None, "password"),
}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/resource", {}, 401),
        ("/api/resource", basic("miguel", "ruby"), 401),
        ("/api/verify", {}, 401),
        ("/api/verify?role=admin", {}, 401),
        ("/api/health", {}, 200),
        ("/api/health", PASSWORD, 200),  # not looked at, and so nobody
        ("/", {}, 404),
        ("/", {"Host": "a/b"}, 400),
    ],
)
def test_an_identity_from_outside_is_removed(
    miguel: webtest.TestApp, path: str, headers: dict[str, str], status: int
) -> None:
    reply = miguel.get(path, headers=headers, extra_environ=dict(SPOOFED), status=status)
    environ = reply.request.environ
    assert environ["restauth.user"] is None
    assert not {"REMOTE_USER", "AUTH_TYPE"} & environ.keys()


def test_an_identity_from_outside_gives_way_to_the_verified_one(miguel: webtest.TestApp) -> None:
    reply = miguel.get("/api/resource", headers=PASSWORD, extra_environ=dict(SPOOFED))
    assert reply.json == {"data": "Hello, miguel!"}
    assert reply.request.environ["restauth.user"] == User(1, "miguel", (), None, "password")
    assert reply.request.environ["REMOTE_USER"] == "miguel"


# Bugs and outages


def test_a_bug_is_told_by_its_incident_alone_and_logged_with_its_traceback(
    services: Services, miguel: webtest.TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    break_the_store(services)
    reply = miguel.get("/api/token", headers=PASSWORD, status=500)
    incident = re.fullmatch(r"Incident ([0-9a-f]{16})\.", reply.json.pop("detail"))
    assert incident is not None
    assert reply.body == (
        b'{"detail": "Incident %s.", "status": 500, "title": "Internal error", '
        b'"type": "urn:restauth:problem:internal_error"}\n' % incident[1].encode()
    )
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("restauth", logging.ERROR)
    assert f"incident {incident[1]}" in caplog.text
    assert "no such table" in caplog.text
    assert "Traceback" in caplog.text
    assert "python" not in record.getMessage()


def test_two_bugs_are_two_incidents(services: Services, miguel: webtest.TestApp) -> None:
    break_the_store(services)
    replies = {miguel.get("/api/token", headers=PASSWORD, status=500).text for _ in range(2)}
    assert len(replies) == 2


def test_the_cause_of_an_outage_is_for_the_log_and_not_for_the_wire(
    services: Services, miguel: webtest.TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    take_the_store_away(services)
    reply = miguel.get("/api/users/1", status=503)
    assert reply.headers["Retry-After"] == "2"
    assert reply.json["detail"] == "The store does not answer."
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.WARNING,
        "store_unavailable: unable to open database file",
    )


def test_a_write_that_fails_is_an_outage_to_those_who_write_and_to_nobody_else(
    services: Services, miguel: webtest.TestApp
) -> None:
    token = miguel.get("/api/token", headers=PASSWORD).json["token"]
    services.engine.read("PRAGMA query_only = ON", {})
    miguel.get("/api/resource", headers=bearer(token), status=200)
    miguel.get("/api/token", headers=PASSWORD, status=503)
    # The connection that failed is not used again.
    miguel.get("/api/token", headers=PASSWORD, status=200)


def test_those_who_would_wait_to_write_are_turned_away_and_tokens_are_served(
    make_services: ServicesFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("restauth.storage.sqlite.MAX_WRITERS", 1)
    services = make_services()
    services.accounts.register("miguel", "python")
    client = client_of(services)
    token = client.get("/api/token", headers=PASSWORD).json["token"]
    with services.engine.transaction():
        for headers in (PASSWORD, bearer(token)):
            refused = client.get("/api/token", headers=headers, status=503)
            assert int(refused.headers["Retry-After"]) > 0
        client.get("/api/resource", headers=bearer(token), status=200)
    causes = [record.getMessage() for record in caplog.records]
    assert causes == ["store_unavailable: too many writers wait for the database"] * 2
    client.get("/api/token", headers=PASSWORD, status=200)


# Whatever is sent


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@total
@hypothesis.given(
    body=st.binary()
    | st.fixed_dictionaries({"username": ANY_TEXT, "password": ANY_TEXT}).map(as_json)
    | st.dictionaries(
        st.sampled_from(["username", "password"]), st.none() | st.integers() | ANY_TEXT
    ).map(as_json)
)
def test_any_body_registers_somebody_or_is_refused(services: Services, body: bytes) -> None:
    reply = answer(
        services,
        REQUEST_METHOD="POST",
        PATH_INFO="/api/users",
        CONTENT_TYPE="application/json",
        CONTENT_LENGTH=str(len(body)),
        **{"wsgi.input": io.BytesIO(body)},
    )
    assert reply.status_int in (201, 400)


@total
@hypothesis.given(
    path=ANY_TEXT
    | st.binary().map(lambda raw: "/api/users/" + raw.decode("latin-1"))
    | st.integers().map("/api/users/{}".format)
)
def test_any_path_is_answered(services: Services, path: str) -> None:
    assert answer(services, PATH_INFO=path).status_int in (200, 400, 401, 404, 405)


@total
@hypothesis.given(
    authorization=ANY_TEXT
    | st.binary().map(lambda raw: "Basic " + b64encode(raw).decode())
    | st.tuples(ANY_TEXT, ANY_TEXT).map(
        lambda pair: "Basic " + b64encode(":".join(pair).encode("utf-8", "replace")).decode()
    )
    | st.from_regex(r"Bearer [A-Za-z0-9_-]{1,90}\.[A-Za-z0-9_-]{1,90}\.[A-Za-z0-9_-]{1,90}")
)
def test_any_authorization_header_is_refused(services: Services, authorization: str) -> None:
    reply = answer(services, PATH_INFO="/api/resource", HTTP_AUTHORIZATION=authorization)
    assert reply.status_int == 401


@total
@hypothesis.given(method=ANY_TEXT | st.sampled_from(["OPTIONS", "HEAD", "POST"]), query=ANY_TEXT)
def test_any_method_and_query_without_a_credential_let_nobody_in(
    services: Services, method: str, query: str
) -> None:
    reply = answer(services, REQUEST_METHOD=method, PATH_INFO="/api/verify", QUERY_STRING=query)
    assert reply.status_int == 401


@pytest.fixture
def editor(services: Services) -> str:
    """The Authorization header of a user with two roles."""
    services.accounts.register("miguel", "python")
    miguel = services.accounts.find(1)
    services.accounts.change_roles(miguel, ["editor", "viewer"], [])
    token = client_of(services).get("/api/token", headers=PASSWORD).json["token"]
    return f"Bearer {token}"


def ask(services: Services, authorization: str, query: str) -> int:
    """What a proxy is told, in one number."""
    question = {"QUERY_STRING": query, "HTTP_AUTHORIZATION": authorization}
    return int(answer(services, PATH_INFO="/api/verify", **question).status_int)


@total
@hypothesis.given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(["role", "Role", "role ", "roles", "rol", ""]),
            st.sampled_from(["editor", "viewer", "admin", "Editor", ""]) | st.text(max_size=9),
        ),
        max_size=4,
    )
)
def test_a_proxy_is_told_yes_where_every_role_that_it_asks_for_is_there(
    services: Services, editor: str, asked: list[tuple[str, str]]
) -> None:
    is_allowed = all(value in ("editor", "viewer") for name, value in asked if name == "role")
    assert ask(services, editor, urlencode(asked)) == (204 if is_allowed else 403)


@total
@hypothesis.given(
    before=ANY_TEXT | st.text("&=;+%role") | st.just("role=editor"),
    after=ANY_TEXT | st.text("&=;+%role editor,") | st.just("&role=editor"),
)
def test_nothing_around_a_role_that_is_missing_makes_the_answer_a_yes(
    services: Services, editor: str, before: str, after: str
) -> None:
    for query in (f"{before}&role=admin&{after}", f"role=admin{after}"):
        assert ask(services, editor, query) == 403


@total
@hypothesis.given(host=ANY_TEXT)
def test_any_host_is_answered(services: Services, host: str) -> None:
    assert answer(services, PATH_INFO="/api/health", HTTP_HOST=host).status_int in (200, 400)
