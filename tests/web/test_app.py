"""The app: the path of a request from the server to the response, and nothing that breaks it."""

import io
import json
import logging
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth.gate import MUST_NOT_WAIT, WouldWait, gate
from restauth.records import User
from restauth.services import Services
from restauth.testing import Clock
from restauth.web.http import ALWAYS
from restauth.web.router import Router
from tests.conftest import ServicesFactory, bearer, client_of
from tests.databases import LOST_COLUMN, break_the_store, take_the_store_away
from tests.web.conftest import (
    ANONYMOUS,
    ANY_TEXT,
    HTTPS,
    PASSWORD,
    SPOOFED,
    WRONG,
    Headers,
    call,
    code_of,
    give_roles,
    token_of,
    total,
)

NO_WAIT = {MUST_NOT_WAIT: True}

# Threads: what must not wait is answered, or given up before anything is changed


@pytest.mark.sqlite("PostgreSQL may always have to be waited for")
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/resource", None, 200),
        ("/api/resource", PASSWORD, 200),  # verified before
        ("/api/resource", bearer("a.b.c"), 401),
        ("/api/resource", {}, 401),
        ("/api/verify", None, 204),
        ("/api/users/1", {}, 200),
        ("/api/nothing", {}, 404),
    ],
)
def test_a_request_that_only_reads_does_not_wait(
    path: str, headers: Headers | None, status: int, services: Services, token: str
) -> None:
    live = bearer(token)
    assert call(services, "/api/resource", PASSWORD).status_int == 200
    for _ in range(2):
        answer = call(services, path, live if headers is None else headers, **NO_WAIT)
        assert answer.status_int == status


@pytest.mark.sqlite("PostgreSQL may always have to be waited for")
@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/resource", WRONG),
        ("GET", "/api/token", PASSWORD),
        ("DELETE", "/api/token", None),
        ("POST", "/api/users", {"Content-Type": "application/json"}),
        ("GET", "/api/broken", None),
    ],
)
def test_a_request_that_would_wait_is_given_up_unchanged(
    method: str,
    path: str,
    headers: Headers | None,
    services: Services,
    token: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Router, "match", _broken_on("/api/broken", Router.match))
    live = bearer(token)
    caplog.clear()
    with pytest.raises(WouldWait):
        call(
            services,
            path,
            live if headers is None else headers,
            REQUEST_METHOD=method,
            CONTENT_LENGTH="2",
            **NO_WAIT,
        )
    assert caplog.records == []
    assert call(services, "/api/resource", live, **NO_WAIT).status_int == 200
    with gate.turn():  # it is open
        pass


def _broken_on(path: str, match: Callable[..., Any]) -> Callable[..., Any]:
    def find(router: Router, method: str, asked: str) -> Any:
        if asked == path:
            raise ZeroDivisionError
        return match(router, method, asked)

    return find


# Headers


def assert_headers(answer: webtest.TestResponse) -> None:
    assert set(ALWAYS) <= set(answer.headerlist)
    # No banner and no cookie.
    assert not {"Server", "X-Powered-By", "Set-Cookie"} & set(answer.headers)


@pytest.mark.parametrize(
    ("status", "route", "keywords"),
    [
        (200, "GET /api/token", {"headers": PASSWORD}),
        (200, "HEAD /api/health", {}),
        (201, "POST /api/users", {"body": b'{"username": "ann", "password": "x"}'}),
        (204, "OPTIONS /api/users", {}),
        (204, "GET /api/verify", {"headers": PASSWORD}),
        (400, "GET /api/health", {"headers": {"Host": "a/b"}}),
        (401, "GET /api/resource", {}),
        (404, "OPTIONS /", {}),
        (405, "PUT /api/users", {}),
        (413, "POST /api/users", {"body": b" " * 65_537}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_every_answer_has_the_headers_of_every_answer(
    miguel: webtest.TestApp, status: int, route: str, keywords: dict[str, Any]
) -> None:
    method, path = route.split()
    json_type = "application/json"
    assert_headers(
        miguel.request(path, method=method, content_type=json_type, status=status, **keywords)
    )


def test_a_bug_and_an_outage_have_them_too(services: Services, miguel: webtest.TestApp) -> None:
    break_the_store(services)
    assert_headers(miguel.get("/api/token", headers=PASSWORD, status=500))
    take_the_store_away(services)
    assert_headers(miguel.get("/api/users/1", status=503))


def test_strict_transport_is_asked_for_over_https_alone(services: Services) -> None:
    for path in ("/api/health", "/api/resource", "/"):
        assert "Strict-Transport-Security" not in call(services, path).headers
        assert "Strict-Transport-Security" in call(services, path, **HTTPS).headers


# The path of a request


def test_options_of_the_asterisk_is_for_the_whole_server(services: Services) -> None:
    answer = call(services, "*", REQUEST_METHOD="OPTIONS")
    assert answer.status == "204 No Content"
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
    assert call(services, "*").status_int == 404


def test_a_route_for_anyone_does_not_look_at_credentials(
    miguel: webtest.TestApp, clock: Clock, work: list[int]
) -> None:
    expired = bearer(token_of(miguel))
    clock.advance(600)
    work.clear()
    for headers in (expired, {"Authorization": "Basic !!!"}, WRONG):
        for path in ("/api/users/1", "/api/health", "/api/openapi.json", "/.well-known/jwks.json"):
            miguel.get(path, headers=headers, status=200)
    body = {"username": "ann", "password": "x"}
    miguel.post_json("/api/users", body, headers=expired, status=201)
    assert len(work) == 1


def test_what_is_wrong_before_the_credentials_is_refused_before_them(
    miguel: webtest.TestApp, work: list[int]
) -> None:
    work.clear()
    miguel.get("/api/nothing", headers=WRONG, status=404)
    miguel.put("/api/token", headers=WRONG, status=405)
    miguel.get("/api/resource", headers=WRONG | {"Host": "a/b"}, status=400)
    assert work == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/resource", ANONYMOUS, 401),
        ("/api/resource", {"Authorization": ""}, 401),
        ("/api/resource", WRONG, 401),
        ("/api/resource", {"Authorization": "Digest x"}, 401),
        ("/api/verify?role=admin", ANONYMOUS, 401),
        ("/api/health", PASSWORD, 200),  # not looked at, and so anonymous
        ("/", ANONYMOUS, 404),
        ("/", {"Host": "a/b"}, 400),
    ],
)
def test_an_identity_from_outside_is_removed(
    miguel: webtest.TestApp, path: str, headers: Headers, status: int
) -> None:
    answer = miguel.get(path, headers=headers, extra_environ=SPOOFED, status=status)
    environ = answer.request.environ
    assert environ["restauth.user"] is None
    assert not {"REMOTE_USER", "AUTH_TYPE"} & environ.keys()


def test_an_identity_from_outside_is_replaced_by_the_verified_one(miguel: webtest.TestApp) -> None:
    answer = miguel.get("/api/resource", headers=PASSWORD, extra_environ=SPOOFED)
    assert answer.json == {"data": "Hello, miguel!"}
    assert answer.request.environ["restauth.user"] == User(1, "miguel", (), None, "password")
    assert answer.request.environ["REMOTE_USER"] == "miguel"


def test_https_is_required_before_the_credentials_are_read(make_services: ServicesFactory) -> None:
    """A challenge would make the client send the password in clear once more."""
    services = make_services(require_https=True)
    for headers in (ANONYMOUS, PASSWORD, {"Authorization": "Basic !!!"}):
        answer = call(services, "/api/resource", headers)
        assert code_of(answer) == "https_required"
        assert "WWW-Authenticate" not in answer.headers
    assert call(services, "/api/health").status_int == 200
    services.accounts.register("miguel", "python")
    assert call(services, "/api/resource", PASSWORD, **HTTPS).status_int == 200


# Bugs and outages


def test_a_bug_shows_its_incident_alone_and_is_logged_with_its_traceback(
    services: Services, miguel: webtest.TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    break_the_store(services)
    answers = [miguel.get("/api/token", headers=PASSWORD, status=500) for _ in range(2)]
    incidents = [
        match[1]
        for answer in answers
        if (match := re.fullmatch(r"Incident ([0-9a-f]{16})\.", answer.json["detail"]))
    ]
    assert len(set(incidents)) == 2
    for incident, record in zip(incidents, caplog.records, strict=True):
        assert (record.name, record.levelno) == ("restauth", logging.ERROR)
        assert record.getMessage() == f"incident {incident}"
    assert LOST_COLUMN.search(caplog.text)
    assert "Traceback" in caplog.text
    assert {code_of(answer) for answer in answers} == {"internal_error"}
    assert "column" not in "".join(answer.text for answer in answers)


def test_the_cause_of_an_outage_is_in_the_log_and_not_in_the_answer(
    services: Services, miguel: webtest.TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    take_the_store_away(services)
    answer = miguel.get("/api/users/1", status=503)
    assert answer.headers["Retry-After"] == "2"
    (record,) = caplog.records
    cause = re.search("database|relation", record.getMessage())
    assert cause is not None
    assert cause[0] not in answer.text


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
def test_any_body_registers_a_user_or_is_refused(services: Services, body: bytes) -> None:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    assert call(services, "/api/users", **environ).status_int in (201, 400)


@total
@hypothesis.given(
    path=ANY_TEXT
    | st.binary().map(lambda raw: "/api/users/" + raw.decode("latin-1"))
    | st.integers().map("/api/users/{}".format),
    host=st.just("localhost") | ANY_TEXT,
)
def test_any_path_and_host_are_answered(services: Services, path: str, host: str) -> None:
    answer = call(services, path, HTTP_HOST=host)
    assert answer.status_int in (200, 400, 401, 404, 405)


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
    answer = call(services, "/api/resource", HTTP_AUTHORIZATION=authorization)
    assert answer.status_int in (401, 429)  # 429: a name that is drawn again and again


@total
@hypothesis.given(method=ANY_TEXT | st.sampled_from(["OPTIONS", "HEAD", "POST"]), query=ANY_TEXT)
def test_no_method_and_no_query_is_a_credential(
    services: Services, method: str, query: str
) -> None:
    answer = call(services, "/api/verify", REQUEST_METHOD=method, QUERY_STRING=query)
    assert answer.status_int == 401


@pytest.fixture
def editor(services: Services) -> Headers:
    """A token of a user with two roles."""
    services.accounts.register("miguel", "python")
    give_roles(services, "editor", "viewer")
    return bearer(token_of(client_of(services)))


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
def test_a_proxy_gets_a_yes_for_a_user_with_every_role_that_it_asks_for(
    services: Services, editor: Headers, asked: list[tuple[str, str]]
) -> None:
    is_allowed = all(value in ("editor", "viewer") for name, value in asked if name == "role")
    answer = call(services, "/api/verify", editor, QUERY_STRING=urlencode(asked))
    assert answer.status_int == (204 if is_allowed else 403)


@total
@hypothesis.given(
    before=ANY_TEXT | st.text("&=;+%role") | st.just("role=editor"),
    after=ANY_TEXT | st.text("&=;+%role editor,") | st.just("&role=editor"),
)
def test_nothing_around_a_role_that_is_missing_makes_the_answer_a_yes(
    services: Services, editor: Headers, before: str, after: str
) -> None:
    for query in (f"{before}&role=admin&{after}", f"role=admin{after}"):
        assert call(services, "/api/verify", editor, QUERY_STRING=query).status_int == 403
