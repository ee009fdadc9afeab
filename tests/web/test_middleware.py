"""The guard: a request comes to the app with a verified identity, or anonymous, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

from restauth.records import User
from restauth.services import Services, build_stateless
from restauth.testing import Clock
from restauth.web.app import App
from restauth.web.guard_rules import parse_guard_rules
from restauth.web.identity import IDENTITY_KEYS
from restauth.web.middleware import Guard
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.databases import take_the_store_away
from tests.web.conftest import (
    ANONYMOUS,
    HTTPS,
    PASSWORD,
    SPOOFED,
    WRONG,
    Headers,
    code_of,
    credentials,
    give_roles,
    token_of,
)

NO_IDENTITY = {"restauth.user": None}
CHALLENGES = [
    'Basic realm="Authentication Required", charset="UTF-8"',
    'Bearer realm="Authentication Required"',
]
BEARER_CHALLENGE = ['Bearer realm="Authentication Required", error="invalid_token"']


def identity_in(environ: WSGIEnvironment) -> dict[str, Any]:
    return {key: environ[key] for key in IDENTITY_KEYS if key in environ}


class Page:
    """A foreign app that remembers who called it. At /login it answers 401 itself."""

    def __init__(self) -> None:
        self.callers: list[dict[str, Any]] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        self.callers.append(identity_in(environ))
        if environ["PATH_INFO"] == "/login":
            return environ["restauth.unauthorized"](environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"hi"]


@dataclass
class Guarded:
    """A page, its guard, a client of them, and the services that issue tokens."""

    page: Page
    guard: Guard
    client: webtest.TestApp
    services: Services

    def token(self) -> str:
        return token_of(client_of(self.services, **HTTPS))

    def session_id(self) -> str:
        return str(self.services._resources.engine.read("SELECT id FROM sessions", {})[0][0])

    def caller(self, headers: Headers, path: str = "/", **environ: object) -> dict[str, Any]:
        """The identity with which the page is called when this is sent."""
        answer = self.client.get(path, headers=headers, extra_environ=environ, status=200)
        assert answer.body == b"hi"
        return self.page.callers.pop()

    def refusal(self, headers: Headers, status: int, **environ: object) -> webtest.TestResponse:
        """The answer when this is sent and the page is not called."""
        answer = self.client.get("/", headers=headers, extra_environ=environ, status=status)
        assert self.page.callers == []
        return answer


Build = Callable[..., Guarded]


@pytest.fixture
def build(make_services: ServicesFactory, clock: Clock) -> Build:
    """Guards with any settings as keywords, where miguel has registered; instead of the page,
    another app may be guarded. Client and server pass their validators."""

    def build(
        app: WSGIApplication | None = None,
        *,
        required: bool = False,
        role: str | None = None,
        exempt: str = "",
        stateless: bool = False,
        **keywords: object,
    ) -> Guarded:
        page = Page()
        services = make_services(**keywords)
        verify = services.identification.identify
        if stateless:
            verify = build_stateless(services.settings, clock).identify
        rules = parse_guard_rules(page, required, role, exempt)
        guard = Guard(validator(app or page), verify, rules, services.settings)
        return Guarded(page, guard, webtest.TestApp(validator(guard), lint=True), services)

    make_services().accounts.register("miguel", "python")
    return build


@pytest.fixture
def guarded(build: Build) -> Guarded:
    return build()


# A verified identity


@pytest.mark.parametrize("stateless", [False, True])
def test_a_token_makes_a_verified_user(build: Build, stateless: bool) -> None:
    guarded = build(stateless=stateless)
    give_roles(guarded.services, "b", "a")
    token = guarded.token()
    user = User(1, "miguel", ("a", "b"), guarded.session_id(), "token")
    for headers, scheme in ((bearer(token), "Bearer"), (basic(token, "x"), "Basic")):
        assert guarded.caller(headers, **SPOOFED) == {
            "restauth.user": user,
            "REMOTE_USER": "miguel",
            "AUTH_TYPE": scheme,  # the scheme that was used
        }


def test_a_password_makes_a_verified_user_as_registered_and_not_as_typed(guarded: Guarded) -> None:
    for headers in (PASSWORD, basic("MIGUEL", "python")):
        assert guarded.caller(headers, **SPOOFED) == {
            "restauth.user": User(1, "miguel", (), None, "password"),
            "REMOTE_USER": "miguel",
            "AUTH_TYPE": "Basic",
        }


def test_a_username_beyond_ascii_is_bytes_in_latin_1_as_pep_3333_asks(build: Build) -> None:
    guarded = build(username_pattern="[a-z\u00fc\u2713]+")
    guarded.services.accounts.register("j\u00fcrgen\u2713", "python")
    caller = guarded.caller(basic("j\u00fcrgen\u2713", "python"))
    assert caller["restauth.user"].username == "j\u00fcrgen\u2713"
    assert caller["REMOTE_USER"] == "j\xc3\xbcrgen\xe2\x9c\x93"


# No identity


@pytest.mark.parametrize(
    "headers",
    [
        ANONYMOUS,
        {"Authorization": ""},  # emptied by a proxy
        {"Authorization": 'Digest username="miguel"'},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"},
        {"Proxy-Authorization": PASSWORD["Authorization"]},
        {"X-Forwarded-User": "miguel", "Remote-User": "miguel"},
    ],
    ids=["none", "empty", "Digest", "AWS", "for a proxy", "forwarded"],
)
@pytest.mark.parametrize("stateless", [False, True])
def test_no_credential_of_ours_is_anonymous_and_401_where_one_is_required(
    build: Build, headers: Headers, stateless: bool
) -> None:
    assert build(stateless=stateless).caller(headers, **SPOOFED) == NO_IDENTITY
    for rule in ({"required": True}, {"role": "admin"}):
        answer = build(stateless=stateless, **rule).refusal(headers, 401, **SPOOFED)
        assert answer.headers.getall("WWW-Authenticate") == CHALLENGES
        assert answer.headers["Cache-Control"] == "no-store"
        assert code_of(answer) == "bad_credentials"
        assert identity_in(answer.request.environ) == NO_IDENTITY


@pytest.mark.parametrize("stateless", [False, True])
@pytest.mark.parametrize("required", [False, True])
def test_presented_but_wrong_is_never_anonymous(
    build: Build, required: bool, stateless: bool
) -> None:
    guarded = build(required=required, stateless=stateless)
    for text in (
        WRONG["Authorization"], basic("susan", "python")["Authorization"], "Basic !!!", "Basic",
        "Bearer", "Bearer a.b.c", f"Bearer {guarded.token()}x", "\xff", " ", " Digest x",
        f"{PASSWORD['Authorization']}, {PASSWORD['Authorization']}",
    ):  # fmt: skip
        answer = guarded.refusal({"Authorization": text}, 401, **SPOOFED)
        is_bearer = text.startswith("Bearer")
        found = answer.headers.getall("WWW-Authenticate")
        assert found == (BEARER_CHALLENGE if is_bearer else CHALLENGES)
        assert identity_in(answer.request.environ) == NO_IDENTITY


def test_a_throttled_request_is_never_anonymous(build: Build) -> None:
    guarded = build(max_failures=1)
    token = guarded.token()
    guarded.refusal(WRONG, 401)
    for headers in (WRONG, PASSWORD):  # and no wait is promised that would not help
        assert "Retry-After" not in guarded.refusal(headers, 429).headers
    assert guarded.caller(bearer(token))["REMOTE_USER"] == "miguel"
    assert guarded.caller(ANONYMOUS) == NO_IDENTITY


def test_the_guard_counts_by_the_peer_of_the_connection(build: Build) -> None:
    guarded = build(peer_failures=1)
    here, elsewhere = {"REMOTE_ADDR": "8.8.8.8"}, {"REMOTE_ADDR": "8.8.4.4"}
    guarded.refusal(WRONG, 401, **here)
    guarded.refusal(WRONG | {"X-Forwarded-For": "8.8.4.4"}, 429, **here)
    guarded.refusal(WRONG, 401, **elsewhere)


def test_an_outage_is_never_anonymous(guarded: Guarded) -> None:
    take_the_store_away(guarded.services)
    assert code_of(guarded.refusal(PASSWORD, 503)) == "store_unavailable"
    assert guarded.caller(ANONYMOUS) == NO_IDENTITY


def test_a_refusal_to_head_has_no_body(guarded: Guarded) -> None:
    answer = guarded.client.head("/", headers=WRONG, status=401)
    assert answer.body == b""
    assert answer.headers["Content-Length"] == str(len(guarded.refusal(WRONG, 401).body))


# What the app does itself


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (ANONYMOUS, CHALLENGES),
        ({"Authorization": "Digest x"}, CHALLENGES),
        (PASSWORD, CHALLENGES),
        ({"Sec-Fetch-Mode": "cors"}, CHALLENGES[1:]),  # or the browser asks for the password
        ("token", BEARER_CHALLENGE),
    ],
    ids=["anonymous", "Digest", "password", "script", "token"],
)
def test_the_app_can_answer_401_itself(guarded: Guarded, headers: Any, expected: list[str]) -> None:
    if headers == "token":
        headers = bearer(guarded.token())

    def of_an_outer_server(*_: object) -> None:
        raise AssertionError

    environ = {"restauth.unauthorized": of_an_outer_server}
    answer = guarded.client.get("/login", headers=headers, extra_environ=environ, status=401)
    assert len(guarded.page.callers) == 1
    assert answer.headers.getall("WWW-Authenticate") == expected
    assert code_of(answer) == "bad_credentials"
    head = guarded.client.head("/login", headers=headers, status=401)
    assert (head.body, head.headers) == (b"", answer.headers)


def test_no_credential_is_looked_at_on_an_exempt_path(build: Build, work: list[int]) -> None:
    """Below it neither; and everywhere else as without it."""
    guarded = build(role="admin", exempt="/static, /login", require_https=True)
    work.clear()
    for headers in (ANONYMOUS, PASSWORD, WRONG, {"Authorization": "Basic !!!"}):
        for path in ("/static", "/static/app.css"):
            mounted = {"SCRIPT_NAME": "/app"} | SPOOFED
            assert guarded.caller(headers, path, **mounted) == NO_IDENTITY
        answer = guarded.client.get("/login", headers=headers, status=401)  # by the app
        assert answer.headers.getall("WWW-Authenticate") == CHALLENGES
        guarded.page.callers.clear()
        for path in ("/", "/statics", "/static/../secret"):
            guarded.client.get(path, headers=headers, extra_environ=HTTPS, status=(401, 403))
        mounted = {"SCRIPT_NAME": "/static"} | HTTPS  # where PATH_INFO is /
        guarded.client.get("/static/", headers=headers, extra_environ=mounted, status=(401, 403))
    assert guarded.page.callers == []
    assert len(work) > 0  # and there they were


# Roles


@pytest.mark.parametrize("required", [False, True])
def test_a_user_without_the_role_is_refused(build: Build, required: bool) -> None:
    guarded = build(required=required, role="editor")
    give_roles(guarded.services, "edito", "editor2", "viewer")
    for headers in credentials(guarded.token()):
        answer = guarded.refusal(headers, 403, **SPOOFED)
        assert code_of(answer) == "role_required"
        # Another password may not help, and a browser would ask for it.
        is_bearer = headers["Authorization"].startswith("Bearer")
        challenge = ['Bearer realm="Authentication Required", error="insufficient_scope"']
        assert answer.headers.getall("WWW-Authenticate") == (challenge if is_bearer else [])
    guarded.refusal(WRONG, 401)


def test_without_a_store_a_password_is_refused_unread(build: Build, work: list[int]) -> None:
    guarded = build(stateless=True)
    work.clear()
    for headers in (PASSWORD, WRONG, basic("susan", "python")):
        assert code_of(guarded.refusal(headers, 401)) == "bad_credentials"
    assert work == []


# https


@pytest.mark.parametrize("stateless", [False, True])
def test_a_credential_over_plain_http_is_refused_unread(
    build: Build, work: list[int], stateless: bool
) -> None:
    """And without a challenge: the client would send the password in clear once more."""
    guarded = build(require_https=True, stateless=stateless)
    token = guarded.token()
    work.clear()
    malformed = ({"Authorization": text} for text in ("Basic !!!", "Bearer", "\xff", "Digest x"))
    for headers in (*credentials(token), WRONG, *malformed):
        answer = guarded.refusal(headers, 403)
        assert code_of(answer) == "https_required"
        assert "WWW-Authenticate" not in answer.headers
    assert work == []
    for headers in (ANONYMOUS, {"Authorization": ""}):
        assert guarded.caller(headers) == NO_IDENTITY
    assert guarded.caller(bearer(token), **HTTPS)["REMOTE_USER"] == "miguel"
    refusal = guarded.refusal(WRONG, 401, **HTTPS)
    assert refusal.headers["Strict-Transport-Security"] == "max-age=31536000"


# Nested


def test_a_guard_in_a_guard_passes_the_same_user(build: Build) -> None:
    inner = build(required=True)
    outer = build(inner.guard)
    nested = Guarded(inner.page, outer.guard, outer.client, outer.services)
    for headers in credentials(inner.token()):
        assert nested.caller(headers) == inner.caller(headers)
    nested.refusal(WRONG, 401)
    nested.refusal(ANONYMOUS, 401)


def test_the_service_in_a_guard_serves_all_that_present_nothing_wrong(
    build: Build, services: Services
) -> None:
    client = build(App(services)).client
    ann = {"username": "ann", "password": "x"}
    client.post_json("/api/users", ann, headers=WRONG, status=401)
    client.post_json("/api/users", ann, status=201)
    assert client.get("/api/resource", headers=PASSWORD).json == {"data": "Hello, miguel!"}
