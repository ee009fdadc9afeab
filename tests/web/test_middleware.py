"""The middleware: whoever reaches the app behind it is verified, or is nobody."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

from restauth.app import create_app
from restauth.errors import InvalidSetting, UnusableKeyRing, UnusableStore
from restauth.records import User
from restauth.services import Services, StatelessServices, start_stateless_services
from restauth.web.app import App
from restauth.web.middleware import IDENTITY_KEYS, AuthMiddleware, remove_identity
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of

PASSWORD = basic("miguel", "python")
WRONG = basic("miguel", "ruby")
NOBODY = {"restauth.user": None}
SPOOFED = {
    "REMOTE_USER": "admin",
    "AUTH_TYPE": "Negotiate",
    "restauth.user": User(1, "admin", ("admin",), None, "password"),
}


class Page:
    """A foreign app that remembers for whom it was called."""

    def __init__(self) -> None:
        self.callers: list[dict[str, Any]] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.callers.append({key: environ[key] for key in IDENTITY_KEYS if key in environ})
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"hi"]


@dataclass
class House:
    """A page, its guard, and the client that stands before them; and the services that mint."""

    page: Page
    guard: AuthMiddleware
    client: webtest.TestApp
    services: Services

    def token(self) -> str:
        api = client_of(self.services, **{"wsgi.url_scheme": "https"})
        return str(api.get("/api/token", headers=PASSWORD).json["token"])

    def session_id(self) -> str:
        return str(self.services.engine.read("SELECT id FROM sessions", {})[0][0])

    def change_roles(self, *, added: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> None:
        """Give miguel these roles and take those away."""
        accounts = self.services.accounts
        accounts.change_roles(accounts.find(1), added, removed)

    def caller(self, headers: dict[str, str], **environ: object) -> dict[str, Any]:
        """For whom the page is called when this is sent."""
        answer = self.client.get("/", headers=headers, extra_environ=environ, status=200)
        assert answer.body == b"hi"
        (caller,) = self.page.callers
        self.page.callers.clear()
        return caller

    def refusal(
        self, headers: dict[str, str], status: int, **environ: object
    ) -> webtest.TestResponse:
        """The answer when this is sent and the page is not called."""
        answer = self.client.get("/", headers=headers, extra_environ=environ, status=status)
        assert self.page.callers == []
        return answer


Build = Callable[..., House]


def client_before(app: WSGIApplication) -> webtest.TestApp:
    """A client whose requests and their answers pass both validators."""
    return webtest.TestApp(validator(app), lint=True)


@pytest.fixture
def build(tmp_path: Path, make_services: ServicesFactory, clock: Clock) -> Build:
    """Houses with any settings as keywords, in a world where miguel has registered; instead of
    the page, another app may live there.

    Once built, the guard goes on with the same files and settings, but by the suite's clock and
    its cheap hash.
    """

    def build(
        app: WSGIApplication | None = None,
        *,
        required: bool = False,
        role: str | None = None,
        stateless: bool = False,
        **keywords: object,
    ) -> House:
        page = Page()
        files = {"database": tmp_path / "restauth.db", "key_file": tmp_path / "restauth.keys"}
        guard = AuthMiddleware(
            validator(app or page),
            required=required,
            role=role,
            stateless=stateless,
            **files,
            **keywords,
        )
        guard.services.close()
        services = make_services(**keywords)
        assert isinstance(guard.services, StatelessServices if stateless else Services)
        if stateless:
            guard.services = start_stateless_services(services.settings, clock)
        else:
            guard.services = services
        return House(page, guard, client_before(guard), services)

    make_services().accounts.register("miguel", "python")

    return build


@pytest.fixture
def house(build: Build) -> House:
    return build()


# Who comes through


def test_a_password_makes_a_verified_user(house: House) -> None:
    assert house.caller(PASSWORD) == {
        "restauth.user": User(1, "miguel", (), None, "password"),
        "REMOTE_USER": "miguel",
        "AUTH_TYPE": "Basic",
    }


def test_a_bearer_token_makes_a_verified_user(house: House) -> None:
    token = house.token()
    assert house.caller(bearer(token)) == {
        "restauth.user": User(1, "miguel", (), house.session_id(), "token"),
        "REMOTE_USER": "miguel",
        "AUTH_TYPE": "Bearer",
    }


def test_a_token_as_basic_username_makes_a_verified_user(house: House) -> None:
    token = house.token()
    assert house.caller(basic(token, "x")) == {
        "restauth.user": User(1, "miguel", (), house.session_id(), "token"),
        "REMOTE_USER": "miguel",
        "AUTH_TYPE": "Basic",  # the scheme that was used
    }


def test_the_user_is_shown_as_registered_and_not_as_typed(house: House) -> None:
    assert house.caller(basic("MIGUEL", "python"))["REMOTE_USER"] == "miguel"


def test_the_roles_are_those_of_this_moment(house: House) -> None:
    token = house.token()
    for added, removed, roles in ((("b", "a"), (), ("a", "b")), ((), ("a",), ("b",))):
        house.change_roles(added=added, removed=removed)
        for headers in (PASSWORD, bearer(token)):
            assert house.caller(headers)["restauth.user"].roles == roles


def test_a_verified_user_cannot_be_changed(house: House) -> None:
    user = house.caller(PASSWORD)["restauth.user"]
    with pytest.raises(AttributeError):
        user.username = "admin"


def test_a_username_beyond_ascii_is_bytes_in_latin_1_as_pep_3333_asks(build: Build) -> None:
    house = build(username_pattern="[a-z\u00fc\u2713]+")
    house.services.accounts.register("j\u00fcrgen\u2713", "python")
    caller = house.caller(basic("j\u00fcrgen\u2713", "python"))
    assert caller["restauth.user"].username == "j\u00fcrgen\u2713"
    assert caller["REMOTE_USER"] == "j\xc3\xbcrgen\xe2\x9c\x93"


@pytest.mark.parametrize("required", [False, True])
def test_the_page_answers_every_method_of_a_verified_user(build: Build, required: bool) -> None:
    house = build(required=required)
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        house.client.request("/any", method=method, headers=PASSWORD, status=200)
    assert len(house.page.callers) == 4


# Who is nobody


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": 'Digest username="miguel"'},
        {"Authorization": "Negotiate YII="},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"},
        {"Proxy-Authorization": PASSWORD["Authorization"]},
        {"X-Forwarded-User": "miguel", "Remote-User": "miguel"},
    ],
)
def test_no_credential_of_ours_is_anonymous(house: House, headers: dict[str, str]) -> None:
    assert house.caller(headers) == NOBODY


@pytest.mark.parametrize("keywords", [{"required": True}, {"role": "editor"}], ids=str)
def test_no_credential_of_ours_is_401_where_one_is_required(
    build: Build, keywords: dict[str, Any]
) -> None:
    house = build(**keywords)
    house.change_roles(added=("editor",))
    for headers in ({}, {"Authorization": "Digest x"}):
        answer = house.refusal(headers, 401)
        assert answer.headers.getall("WWW-Authenticate") == [
            'Basic realm="Authentication Required", charset="UTF-8"',
            'Bearer realm="Authentication Required"',
        ]
        assert answer.json["detail"] == "Unauthorized Access"
        assert answer.headers["Cache-Control"] == "no-store"
    assert house.caller(PASSWORD)["REMOTE_USER"] == "miguel"


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    "authorization",
    [
        WRONG["Authorization"],
        basic("nobody", "python")["Authorization"],
        basic("miguel", "")["Authorization"],
        "Basic !!!",
        "Basic",
        "Bearer",
        "Bearer a.b.c",
        "",
        "\xff",
        f"{PASSWORD['Authorization']}, {PASSWORD['Authorization']}",
    ],
)
def test_presented_but_wrong_is_never_anonymous(
    build: Build, required: bool, authorization: str
) -> None:
    build(required=required).refusal({"Authorization": authorization}, 401)


def test_a_dead_token_is_never_anonymous(house: House, clock: Clock) -> None:
    ended, expired = house.token(), house.token()
    client_of(house.services).delete("/api/token", headers=bearer(ended), status=204)
    clock.advance(600)
    for token in (ended, expired):
        house.refusal(bearer(token), 401)
        house.refusal(basic(token, ""), 401)


def test_a_locked_user_is_refused_with_password_and_token(house: House) -> None:
    token = house.token()
    house.services.accounts.lock(house.services.accounts.find(1))
    house.refusal(PASSWORD, 401)
    house.refusal(bearer(token), 401)


def test_whoever_is_throttled_is_never_anonymous(build: Build) -> None:
    house = build(max_failures=1)
    token = house.token()
    house.refusal(WRONG, 401)
    for headers in (WRONG, PASSWORD):
        assert house.refusal(headers, 429).headers["Retry-After"] == "900"
    assert house.caller(bearer(token))["REMOTE_USER"] == "miguel"
    assert house.caller({}) == NOBODY


def test_the_guard_counts_by_the_peer_of_the_connection(build: Build) -> None:
    house = build(peer_failures=1)
    here, elsewhere = {"REMOTE_ADDR": "8.8.8.8"}, {"REMOTE_ADDR": "8.8.4.4"}
    house.refusal(WRONG, 401, **here)
    forwarded = WRONG | {"X-Forwarded-For": "8.8.4.4"}
    assert house.refusal(forwarded, 429, **here).headers["Retry-After"] == "300"
    house.refusal(WRONG, 401, **elsewhere)


def test_a_refusal_to_head_has_no_body(house: House) -> None:
    answer = house.client.head("/", headers=WRONG, status=401)
    assert answer.body == b""
    assert answer.headers["Content-Length"] == str(len(house.refusal(WRONG, 401).body))


def test_when_the_store_is_away_nobody_is_let_through_as_anybody(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.services.engine.close()
    house.services.engine.path.unlink()
    house.services.engine.path.mkdir()
    answer = house.refusal(PASSWORD, 503)
    assert answer.headers["Retry-After"] == "2"
    # The cause is for the log and not for the wire.
    assert answer.json["detail"] == "The store does not answer."
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == (
        "restauth",
        "WARNING",
        "store_unavailable: unable to open database file",
    )
    assert house.caller({}) == NOBODY


# Who has a role


@pytest.mark.parametrize("required", [False, True])
def test_who_has_not_the_role_is_refused_and_told_so(build: Build, required: bool) -> None:
    house = build(required=required, role="editor")
    house.change_roles(added=("edito", "editor2", "viewer"))
    for headers in (PASSWORD, bearer(house.token()), basic(house.token(), "x")):
        answer = house.refusal(headers, 403)
        assert answer.json["type"] == "urn:restauth:problem:role_required"
        assert "WWW-Authenticate" not in answer.headers  # another credential may not help
    house.refusal(WRONG, 401)


def test_a_role_that_is_given_or_taken_away_counts_from_the_next_request_on(build: Build) -> None:
    house = build(role="editor")
    credentials = (PASSWORD, bearer(house.token()))
    for _ in range(2):
        house.change_roles(added=("editor",))
        for headers in credentials:
            assert house.caller(headers)["restauth.user"].roles == ("editor",)
        house.change_roles(removed=("editor",))
        for headers in credentials:
            house.refusal(headers, 403)


def test_a_role_that_came_in_from_outside_is_none(build: Build) -> None:
    house = build(role="admin")
    house.refusal({}, 401, **SPOOFED)
    house.refusal(PASSWORD, 403, **SPOOFED)


@pytest.mark.parametrize("stateless", [False, True])
@pytest.mark.parametrize("role", ["Editor", "", "a" * 33, "editor,viewer", b"editor", 1])
def test_a_role_that_nobody_can_have_stops_the_start_before_a_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Any, stateless: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSetting) as caught:
        AuthMiddleware(Page(), role=role, stateless=stateless)
    assert str(caught.value) == f"role is {role!r}: nobody can have such a role."
    assert list(tmp_path.iterdir()) == []


# Without a store


def test_without_a_store_a_token_makes_the_same_user(build: Build) -> None:
    house = build(stateless=True)
    house.change_roles(added=("b", "a"))
    token = house.token()
    user = User(1, "miguel", ("a", "b"), house.session_id(), "token")
    for headers, scheme in ((bearer(token), "Bearer"), (basic(token, ""), "Basic")):
        caller = house.caller(headers, **SPOOFED)
        assert caller == {"restauth.user": user, "REMOTE_USER": "miguel", "AUTH_TYPE": scheme}
        assert caller == build().caller(headers)


def test_without_a_store_a_password_is_refused_unread(build: Build, work: list[int]) -> None:
    house = build(stateless=True)
    work.clear()
    for headers in (PASSWORD, WRONG, basic("nobody", "python")):
        answer = house.refusal(headers, 401)
        assert answer.json["type"] == "urn:restauth:problem:bad_credentials"
    assert work == []


def test_without_a_store_presented_but_wrong_is_never_anonymous(build: Build, clock: Clock) -> None:
    house = build(stateless=True)
    token = house.token()
    for authorization in ("", "Basic !!!", "Bearer", "Bearer a.b.c", f"Bearer {token}x"):
        house.refusal({"Authorization": authorization}, 401)
    clock.advance(600)
    answer = house.refusal(bearer(token), 401)
    challenge = 'Bearer realm="Authentication Required", error="invalid_token"'
    assert answer.headers.getall("WWW-Authenticate") == [challenge]
    house.refusal(basic(token, "python"), 401)


def test_without_a_store_nobody_is_nobody_or_not_let_in(build: Build) -> None:
    assert build(stateless=True).caller({}, **SPOOFED) == NOBODY
    assert build(stateless=True).caller({"Authorization": "Digest x"}) == NOBODY
    for keywords in ({"required": True}, {"role": "admin"}):
        answer = build(stateless=True, **keywords).refusal({}, 401, **SPOOFED)
        assert len(answer.headers.getall("WWW-Authenticate")) == 2


def test_without_a_store_the_role_is_the_tokens(build: Build) -> None:
    house = build(stateless=True, role="editor")
    before = house.token()
    house.change_roles(added=("editor",))
    meanwhile = house.token()
    house.change_roles(removed=("editor",))
    for token in (before, house.token()):
        answer = house.refusal(bearer(token), 403)
        assert answer.json["type"] == "urn:restauth:problem:role_required"
    assert house.caller(bearer(meanwhile))["restauth.user"].roles == ("editor",)


def test_without_a_store_no_file_is_made_and_none_but_the_key_ring_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    key_file = here / "restauth.keys"
    app = create_app(database=here / "a.db", key_file=key_file, bcrypt_rounds=10)
    app.services.accounts.register("miguel", "python")
    token = client_of(app.services).get("/api/token", headers=PASSWORD).json["token"]
    app.services.close()
    key_file.rename(elsewhere / "restauth.keys")
    monkeypatch.chdir(elsewhere)
    page = Page()
    client_before(AuthMiddleware(page, stateless=True)).get("/", headers=bearer(token), status=200)
    assert page.callers[0]["REMOTE_USER"] == "miguel"
    assert [path.name for path in elsewhere.iterdir()] == ["restauth.keys"]


def test_without_a_store_a_key_ring_that_is_not_there_stops_the_start_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnusableKeyRing, match=r"There is no key ring .*/restauth\.keys\."):
        AuthMiddleware(Page(), stateless=True)
    assert list(tmp_path.iterdir()) == []


# What came in under our names


def test_a_spoofed_identity_is_removed_from_an_anonymous_request(house: House) -> None:
    assert house.caller({}, **SPOOFED) == NOBODY
    assert house.caller({"Authorization": "Digest x"}, **SPOOFED) == NOBODY


def test_a_spoofed_identity_gives_way_to_the_verified_one(house: House) -> None:
    assert house.caller(PASSWORD, **SPOOFED) == house.caller(PASSWORD)


def test_a_spoofed_identity_does_not_outlive_a_refusal(house: House) -> None:
    environ = house.refusal(WRONG, 401, **SPOOFED).request.environ
    assert {key: environ[key] for key in IDENTITY_KEYS if key in environ} == NOBODY


def test_a_spoofed_identity_is_not_what_is_required(build: Build) -> None:
    build(required=True).refusal({}, 401, **SPOOFED)


def test_removing_an_identity_leaves_all_else_alone() -> None:
    environ = {"HTTP_HOST": "localhost", **SPOOFED}
    remove_identity(environ)
    assert environ == {"HTTP_HOST": "localhost", **NOBODY}
    remove_identity(environ)
    assert environ == {"HTTP_HOST": "localhost", **NOBODY}


# Where https is required


@pytest.mark.parametrize("stateless", [False, True])
def test_a_credential_over_plain_http_is_refused_unread(build: Build, stateless: bool) -> None:
    house = build(require_https=True, stateless=stateless)
    for headers in (PASSWORD, WRONG, bearer(house.token())):
        answer = house.refusal(headers, 403)
        assert answer.json["type"] == "urn:restauth:problem:https_required"


def test_without_a_credential_plain_http_is_as_ever(build: Build) -> None:
    assert build(require_https=True).caller({}) == NOBODY
    assert build(require_https=True, stateless=True).caller({}) == NOBODY


def test_a_credential_over_https_is_taken(build: Build) -> None:
    house = build(require_https=True)
    over_https = {"wsgi.url_scheme": "https"}
    assert house.caller(PASSWORD, **over_https)["REMOTE_USER"] == "miguel"
    by_keys = build(require_https=True, stateless=True)
    assert by_keys.caller(bearer(house.token()), **over_https)["REMOTE_USER"] == "miguel"
    refusal = house.refusal(WRONG, 401, **over_https)
    assert refusal.headers["Strict-Transport-Security"] == "max-age=31536000"


# Where it is put


def test_a_guard_behind_a_guard_lets_the_same_user_through(build: Build) -> None:
    inner = build(required=True)
    outer = build(inner.guard)
    twice = House(inner.page, outer.guard, outer.client, outer.services)
    for headers in (PASSWORD, bearer(inner.token())):
        assert twice.caller(headers) == inner.caller(headers)
    twice.refusal(WRONG, 401)
    twice.refusal({}, 401)


def test_the_service_behind_a_guard_is_as_ever_to_those_who_present_nothing_wrong(
    build: Build, services: Services
) -> None:
    client = build(App(services)).client
    ann = {"username": "ann", "password": "x"}
    client.post_json("/api/users", ann, headers=WRONG, status=401)
    client.post_json("/api/users", ann, status=201)
    assert client.get("/api/resource", headers=PASSWORD).json == {"data": "Hello, miguel!"}


# The keywords


def test_a_guard_serves_by_the_settings_that_are_its_keywords(tmp_path: Path) -> None:
    guard = AuthMiddleware(
        Page(),
        database=tmp_path / "a.db",
        key_file=tmp_path / "a.keys",
        bcrypt_rounds=10,
        realm="Here",
    )
    assert isinstance(guard.services, Services)
    guard.services.accounts.register("miguel", "python")
    client = client_before(guard)
    client.get("/", headers=PASSWORD, status=200)
    answer = client.get("/", headers=bearer("a.b.c"), status=401)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Here", error="invalid_token"'
    guard.services.close()


def test_the_environment_is_asked_for_what_no_keyword_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_DATABASE", str(tmp_path / "environment.db"))
    monkeypatch.setenv("RESTAUTH_KEY_FILE", str(tmp_path / "environment.keys"))
    guard = AuthMiddleware(Page(), key_file=tmp_path / "keyword.keys")
    guard.services.close()
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["environment.db", "keyword.keys"]


def test_an_unknown_keyword_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="no setting 'require'"):
        AuthMiddleware(Page(), require=True)


def test_a_store_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(UnusableStore):
        AuthMiddleware(Page(), database=tmp_path / "no" / "a.db", key_file=tmp_path / "a.keys")
