"""The public Python API: one service, its guards and its users; and the two short forms of it."""

import ast
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

import restauth
from restauth import AuthMiddleware, Service, User, create_app, errors
from restauth.errors import (
    BadCredentials,
    InvalidSetting,
    Throttled,
    UnacceptableKey,
    UnacceptablePassword,
    UnacceptableRoles,
    UnacceptableUsername,
    UnknownUser,
    UnusableFile,
    UnusableKeyRing,
    UnusableStore,
    UsernameTaken,
)
from restauth.services import start_services
from restauth.testing import Clock
from tests.conftest import CHEAPEST, basic, bearer

NAME, PASSWORD = "ada", "python"
BASIC, WRONG = basic(NAME, PASSWORD), basic(NAME, "ruby")


def page(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    user = environ["restauth.user"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(user.username if user else "stranger").encode()]


def client_of(app: WSGIApplication) -> webtest.TestApp:
    return webtest.TestApp(validator(app), lint=True)


def status_of(app: WSGIApplication, headers: dict[str, str], path: str = "/") -> int:
    return int(client_of(app).get(path, headers=headers, status="*").status_int)


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """What is started has the test's clock, and a hash that is cheaper than settings allow."""
    cheaply = partial(start_services, clock=clock, hash_cost=CHEAPEST)
    monkeypatch.setattr("restauth.app.start_services", cheaply)


@pytest.fixture
def files(tmp_path: Path) -> Any:
    """Where the database and the key ring are, as keywords."""
    return {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"}


@pytest.fixture
def service(files: Any) -> Iterator[Service]:
    """A service with a user. It closes the connections of all services on its database."""
    with Service(**files) as service:
        service.add_user(NAME, PASSWORD, roles=["editor"])
        yield service


# Start


@pytest.mark.sqlite("it is about the files of SQLite")
def test_with_no_settings_at_all_the_first_user_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Service() as service:
        client = client_of(service.app)
        answer = client.post_json("/api/users", {"username": NAME, "password": PASSWORD})
        assert answer.headers["Location"] == "http://localhost:80/api/users/1"
        token = client.get("/api/token", headers=BASIC).json["token"]
        for headers in (BASIC, basic(token, "x"), bearer(token)):
            assert client.get("/api/resource", headers=headers).json == {"data": "Hello, ada!"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["restauth.db", "restauth.keys"]


def test_keywords_go_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_DATABASE", str(tmp_path / "environment.db"))
    monkeypatch.setenv("RESTAUTH_KEY_FILE", str(tmp_path / "environment.keys"))
    with Service(database=tmp_path / "keyword.db") as service:
        assert service.settings.database == str(tmp_path / "keyword.db")
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["environment.keys", "keyword.db"]


MAKERS: dict[str, Callable[..., object]] = {
    "Service": Service,
    "create_app": create_app,
    "AuthMiddleware": partial(AuthMiddleware, page),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_wrong_setting_stops_the_start_before_a_file_is_made(
    make: Callable[..., object], files: Any, tmp_path: Path
) -> None:
    for wrong in (
        {"databse": "a.db"},
        {"bcrypt_rounds": 9},
        {"password_check": "nowhere:check"},
        {"password_check": "json:__name__"},  # not a function
    ):
        with pytest.raises(InvalidSetting, match=next(iter(wrong))):
            make(**files, **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_file_that_cannot_be_used_stops_the_start_and_is_left_alone(
    make: Callable[..., object], files: Any, tmp_path: Path
) -> None:
    foreign, shared = tmp_path / "foreign.db", tmp_path / "shared.keys"
    foreign.write_text("letters " * 100)
    shared.touch(0o644)
    for wrong, error in (
        ({"database": foreign}, UnusableStore),
        ({"key_file": shared}, UnusableKeyRing),
        ({"database": tmp_path / "missing" / "x.db"}, UnusableStore),
        ({"key_file": tmp_path / "missing" / "x.keys"}, UnusableKeyRing),
        ({"audit_log": tmp_path / "missing" / "audit.log"}, UnusableFile),
    ):
        with pytest.raises(error):
            make(**files | wrong)
        assert set(tmp_path.iterdir()) == {foreign, shared}  # and nothing is left behind
    assert (foreign.read_text(), shared.read_text()) == ("letters " * 100, "")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_new_database_is_logged_once_with_its_whole_path(
    make: Callable[..., object],
    files: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A guard that is started in the wrong directory would let in none of the users."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        make(**files | {"database": "users.db"})
    found = [record for record in caplog.records if "no database" in record.message]
    assert [(record.levelname, record.message) for record in found] == [
        ("WARNING", f"There was no database {tmp_path}/users.db: a new one is made, without users.")
    ]


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o644, 1)])
def test_a_database_that_others_can_read_starts_with_a_warning(
    files: Any, caplog: pytest.LogCaptureFixture, mode: int, warnings: int
) -> None:
    Service(**files).close()
    Path(files["database"]).chmod(mode)
    Service(**files).close()
    text = f"Other users can read or write {files['database']}: chmod 600."
    assert [record.message for record in caplog.records].count(text) == warnings


@pytest.mark.parametrize(("policy", "warnings"), [("open", 2), ("nist", 0)])
def test_an_open_policy_is_said_at_each_start(
    files: Any, caplog: pytest.LogCaptureFixture, policy: Any, warnings: int
) -> None:
    for _ in range(2):
        Service(**files, password_policy=policy).close()
    found = [record.levelname for record in caplog.records if "password_policy" in record.message]
    assert found == ["WARNING"] * warnings


@pytest.mark.parametrize(("value", "warnings"), [("127.0.0.1:0", 1), ("s" * 32, 0), ("", 0)])
def test_an_address_of_the_metrics_at_which_no_one_listens_is_said(
    files: Any, caplog: pytest.LogCaptureFixture, value: str, warnings: int
) -> None:
    Service(**files, metrics=value).close()
    text = "metrics is an address: only `restauth serve` listens there"
    assert caplog.messages.count(text) == warnings


def test_close_leaves_another_service_on_the_same_database_working(
    service: Service, files: Any, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    with Service(**files, audit_log=log) as other:
        assert other.add_user("bob", PASSWORD).id == 2
    assert log.read_text().count('"registered"') == 1
    assert [user and user.username for user in map(service.find_user, (1, 2))] == [NAME, "bob"]
    issued = service.issue_token(1)
    assert status_of(service.app, bearer(issued.token), "/api/resource") == 200
    assert log.read_text().count("\n") == 1  # each service has a log of its own


def test_services_on_one_database_share_users_tokens_cache_and_limit(
    service: Service, files: Any, tmp_path: Path, work: list[int]
) -> None:
    app, guard = create_app(**files), AuthMiddleware(page, **files)
    (tmp_path / "other").mkdir()
    other = Service(database=tmp_path / "other" / "a.db", key_file=files["key_file"])
    token = client_of(app).get("/api/token", headers=BASIC).json["token"]
    hashed = len(work)
    assert [status_of(guard, headers) for headers in (BASIC, bearer(token))] == [200, 200]
    assert service.verify(BASIC["Authorization"])
    assert len(work) == hashed  # a password that one has verified is in the cache of all
    with other, pytest.raises(BadCredentials):
        other.verify(f"Bearer {token}")
    shared = [each._services._resources for each in (service, Service(**files), other)]
    assert shared[0] is shared[1] is not shared[2]
    client_of(app).delete("/api/token", headers=bearer(token), status=204)
    assert status_of(guard, bearer(token)) == 401


# Users


def test_a_user_is_added_with_roles_and_found_by_id_and_by_any_spelling(service: Service) -> None:
    added = service.add_user("Bob", PASSWORD, roles=["viewer", "editor"])
    assert (added.id, added.username, added.roles) == (2, "Bob", ("editor", "viewer"))
    assert service.find_user(2) == service.find_user("BOB") == added
    assert service.find_user(3) is service.find_user("carol") is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"username": "ADA"}, UsernameTaken),
        ({"username": "a:b"}, UnacceptableUsername),
        ({"password": ""}, UnacceptablePassword),
        ({"roles": ["Editor"]}, UnacceptableRoles),
    ],
)
def test_a_user_that_cannot_be_added_is_not(
    service: Service, arguments: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        service.add_user(**{"username": "bob", "password": PASSWORD} | arguments)
    assert service.find_user(2) is None


def test_each_change_of_a_user_counts_at_once(service: Service) -> None:
    def token() -> str:
        return f"Bearer {service.issue_token(1).token}"

    def is_refused(header: str) -> bool:
        try:
            return service.verify(header) is None
        except BadCredentials:
            return True

    held, password = token(), BASIC["Authorization"]
    assert service.set_roles(1, ["viewer", "admin"]) == ("admin", "viewer")
    assert getattr(service.verify(held), "roles", None) == ("admin", "viewer")
    service.set_password(1, "ruby")
    assert is_refused(held)
    assert is_refused(password)
    held, password = token(), WRONG["Authorization"]  # which is right now
    service.lock(1)
    assert is_refused(held)
    assert is_refused(password)
    with pytest.raises(BadCredentials):
        service.issue_token(1)
    service.unlock(1)
    assert is_refused(held)
    assert not is_refused(password)
    held = token()
    service.delete(1)
    assert is_refused(held)
    assert service.find_user(1) is None
    assert service.add_user(NAME, PASSWORD).id == 2


def test_what_is_wrong_changes_nothing(service: Service) -> None:
    before = service.find_user(1)
    with pytest.raises(UnacceptableRoles):
        service.set_roles(1, ["viewer", "No Role"])
    with pytest.raises(UnacceptablePassword):
        service.set_password(1, "")
    assert service.find_user(1) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda service: service.set_roles(2, []),
        lambda service: service.set_password(2, PASSWORD),
        lambda service: service.lock(2),
        lambda service: service.unlock(2),
        lambda service: service.delete(2),
        lambda service: service.issue_token(2),
        lambda service: service.issue_key(2, "ci"),
        lambda service: service.end_keys(2),
    ],
    ids=[
        *("set_roles", "set_password", "lock", "unlock", "delete", "issue_token"),
        *("issue_key", "end_keys"),
    ],
)
def test_an_unknown_user_is_an_error(service: Service, call: Callable[[Service], object]) -> None:
    with pytest.raises(UnknownUser):
        call(service)


def test_the_audit_log_says_who_has_done_it(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "restauth.audit")
    service.issue_token(1)
    service.issue_key(1, "ci")
    service.end_keys(1)
    service.lock(1)
    assert [record.getMessage().count('"peer": "operator"') for record in caplog.records] == [1] * 4


# Credentials


def test_an_authorization_header_is_verified(service: Service) -> None:
    issued = service.issue_token(1)
    assert issued.duration == 600
    by_token, by_password = (
        service.verify(header) for header in (f"Bearer {issued.token}", BASIC["Authorization"])
    )
    assert by_token == User(1, NAME, ("editor",), issued.session_id, "token")
    assert by_password == User(1, NAME, ("editor",), None, "password")
    for nothing in (None, "", "Digest x"):
        assert service.verify(nothing) is None
    for wrong in ("Basic", "Bearer a.b.c", "ada:python", WRONG["Authorization"]):
        with pytest.raises(BadCredentials):
            service.verify(wrong)


def test_an_api_key_is_issued_verified_and_ended(service: Service, clock: Clock) -> None:
    service.set_roles(1, ["editor", "viewer"])
    issued = service.issue_key(1, "ci", roles=["viewer"], expires_in=60)
    assert service.verify(f"Bearer {issued.text}") == User(1, NAME, ("viewer",), None, "key")
    assert (issued.key.name, issued.key.expires_at) == ("ci", clock.now + 60)
    assert issued.text not in repr(issued)
    every = service.issue_key(1, "every").text
    assert getattr(service.verify(f"Bearer {every}"), "roles", None) == ("editor", "viewer")
    with pytest.raises(UnacceptableKey):
        service.issue_key(1, "ci", roles=["admin"])
    assert service.end_keys(1) == 2
    with pytest.raises(BadCredentials):
        service.verify(f"Bearer {every}")
    service.lock(1)
    with pytest.raises(BadCredentials):
        service.issue_key(1, "ci")


def test_a_guard_takes_api_keys_unless_it_has_no_store(service: Service, files: Any) -> None:
    text = service.issue_key(1, "ci").text
    for headers in (bearer(text), basic(text, ""), basic(NAME, text)):
        assert status_of(service.guard(page, role="editor"), headers) == 200
        assert status_of(service.guard(page, role="admin"), headers) == 403
        assert status_of(AuthMiddleware(page, **files), headers) == 200
        assert status_of(service.guard(page, stateless=True), headers) == 401


def test_a_peer_that_guesses_is_throttled(files: Any) -> None:
    with Service(**files, peer_failures=1) as service:
        service.add_user(NAME, PASSWORD)
        with pytest.raises(BadCredentials):
            service.verify(WRONG["Authorization"], peer="9.9.9.9")
        with pytest.raises(Throttled):
            service.verify(BASIC["Authorization"], peer="9.9.9.9")
        assert service.verify(BASIC["Authorization"], peer="9.9.9.8")


# Guards: which argument does what is decided in `web.guard_rules`


@pytest.fixture(params=["guard", "AuthMiddleware"])
def make_guard(
    request: pytest.FixtureRequest, service: Service, files: Any
) -> Callable[..., WSGIApplication]:
    """Both ways to a guard."""
    if request.param == "guard":
        return partial(service.guard, page)
    return partial(AuthMiddleware, page, **files)


@pytest.mark.parametrize(
    ("arguments", "statuses"),  # without a credential, of a viewer, of an editor, a wrong one
    [
        ({}, [200, 200, 200, 401]),
        ({"required": True}, [401, 200, 200, 401]),
        ({"required": "false"}, [200, 200, 200, 401]),
        ({"role": "editor"}, [401, 403, 200, 401]),
        ({"required": "true", "exempt": "/, /static"}, [200, 200, 200, 200]),
        ({"required": True, "exempt": ["/static"]}, [401, 200, 200, 401]),
    ],
    ids=str,
)
def test_a_guard_lets_in_whom_its_arguments_say(
    make_guard: Callable[..., WSGIApplication],
    service: Service,
    arguments: Any,
    statuses: list[int],
) -> None:
    service.add_user("bob", PASSWORD)
    guard = make_guard(**arguments)
    senders: tuple[dict[str, str], ...] = ({}, basic("bob", PASSWORD), BASIC, WRONG)
    assert [status_of(guard, headers) for headers in senders] == statuses


def test_a_stateless_guard_needs_the_keys_alone(
    make_guard: Callable[..., WSGIApplication], service: Service, clock: Clock
) -> None:
    clock.now = int(time.time())  # AuthMiddleware has no other one without a store
    issued = bearer(service.issue_token(1).token)
    service.delete(1)
    guards = [make_guard(stateless=flag) for flag in (True, "true", "false")]
    assert [status_of(guard, issued) for guard in guards] == [200, 200, 401]
    assert [status_of(guards[0], headers) for headers in ({}, BASIC)] == [200, 401]


def test_a_stateless_guard_opens_no_database(service: Service, files: Any, tmp_path: Path) -> None:
    elsewhere = {"database": tmp_path / "none.db", "key_file": files["key_file"]}
    AuthMiddleware(page, stateless=True, **elsewhere)
    assert not elsewhere["database"].exists()
    with pytest.raises(UnusableKeyRing, match="copy that of the service there"):
        AuthMiddleware(page, stateless=True, key_file=tmp_path / "none.keys")


@pytest.mark.parametrize(
    "wrong",
    [{"required": "yes"}, {"stateless": "1"}, {"role": "Editor"}, {"exempt": ["static"]}],
    ids=str,
)
def test_a_wrong_argument_stops_the_start_before_a_file_is_made(
    wrong: Any, files: Any, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match=f"^{next(iter(wrong))} "):
        AuthMiddleware(page, **wrong, **files)
    assert list(tmp_path.iterdir()) == []
    with Service(**files) as service, pytest.raises(InvalidSetting):
        service.guard(page, **wrong)


def test_two_guards_of_one_service_have_rules_of_their_own(service: Service) -> None:
    strict, lenient = service.guard(page, required=True), service.guard(page)
    assert [status_of(guard, {}) for guard in (strict, lenient)] == [401, 200]


# What is exported


def test_a_database_under_a_new_name_is_another_one(files: Any, tmp_path: Path) -> None:
    """And one that a link named is the file, wherever the link points later."""
    old = Service(**files)
    old.add_user(NAME, PASSWORD)
    old.close()
    moved = files["database"].rename(tmp_path / "moved.db")
    (tmp_path / "link.db").symlink_to(moved)
    with Service(**{**files, "database": tmp_path / "link.db"}) as by_link:
        (tmp_path / "link.db").unlink()
        (tmp_path / "link.db").symlink_to(tmp_path / "other.db")
        with Service(**{**files, "database": moved}) as new:
            new.add_user("bob", PASSWORD)
        assert by_link.find_user("bob") is not None
    assert not (tmp_path / "other.db").exists()


NO_ID: list[Any] = [None, "1", " 1 ", True, 1.0, [], object(), b"1", 0, -1, 2**63, 10**5000]


def test_no_other_value_is_an_id(service: Service) -> None:
    """SQLite would take some of them for the id 1."""
    acts: list[Callable[[Any], object]] = [
        *(service.lock, service.unlock, service.delete, service.issue_token),
        lambda value: service.set_roles(value, []),
        lambda value: service.set_password(value, PASSWORD),
    ]
    for value in NO_ID:
        assert service.find_user(value) is None
        kind = type(value).__name__
        text = "There is no such user." if kind == "int" else f"is an int, not {kind}: find_user"
        for act in acts:
            with pytest.raises(UnknownUser, match=text):
                act(value)
    account = service.find_user(1)
    assert account is not None
    assert account.locked_at is None


def test_a_value_of_a_wrong_type_is_refused_by_name(service: Service) -> None:
    wrong: list[Any] = [None, 1, b"python", ["python"]]
    for value in wrong:
        kind = f" is a str, not {type(value).__name__}"
        with pytest.raises(UnacceptableUsername, match=kind):
            service.add_user(value, PASSWORD)
        with pytest.raises(UnacceptablePassword, match=kind):
            service.add_user("eve", value)
        with pytest.raises(InvalidSetting):
            service.guard(value)
    for value in (1, b"Basic x", [], False):
        with pytest.raises(BadCredentials):
            service.verify(value)  # type: ignore[arg-type]
    with pytest.raises(BadCredentials):
        service.verify(BASIC["Authorization"], peer=None)  # type: ignore[arg-type]
    for roles in (None, 1, [["editor"]]):
        with pytest.raises(UnacceptableRoles):
            service.add_user("eve", PASSWORD, roles=roles)  # type: ignore[arg-type]
    assert service.find_user("eve") is None


def raised_by_the_api() -> set[str]:
    """The exceptions that a docstring of the public API names after `Raises`."""
    source = Path(restauth.app.__file__).read_text()
    told = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ClassDef | ast.FunctionDef)]  # fmt: skip
    return {
        name
        for text in told
        for sentence in re.findall(r"(?:[Rr]aises?) ([^.]*)\.", dedent(text))
        for name in re.findall(r"[A-Z]\w+", sentence)
        if hasattr(errors, name)
    }


def test_every_exception_of_the_api_is_exported() -> None:
    named = raised_by_the_api()
    assert {"BadCredentials", "Busy", "StoreUnavailable", "UnusableFile"} <= named
    assert named | {"RestauthError", "Refusal", "Fault"} <= set(restauth.__all__)


def test_help_shows_the_classes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import restauth; help(restauth)"],
        capture_output=True, text=True, check=True, timeout=60, env={"PATH": "", "PAGER": "cat"},
        cwd=Path(restauth.__file__).parent.parent,
    )  # fmt: skip
    classes = [name for name in restauth.__all__ if name[0].isupper()]
    assert [name for name in classes if f"    class {name}(" not in done.stdout] == []
    assert "    create_app(" in done.stdout


@pytest.mark.parametrize("password", ["py\ton", "python\n", "\ufeffpython", "\0"], ids=ascii)
def test_a_password_that_no_client_can_send_is_refused_at_every_way_in(
    service: Service, password: str
) -> None:
    """The command line is the fourth: `cli/test_users`."""
    client, eve = client_of(service.app), service.add_user("eve", PASSWORD)
    code = service._services.accounts.make_reset_code(eve).code
    with pytest.raises(UnacceptablePassword, match="A password has no "):
        service.add_user("bob", password)
    with pytest.raises(UnacceptablePassword, match="A password has no "):
        service.set_password(eve.id, password)
    for ask, path, more in (
        (client.post_json, "/api/users", {"username": "bob"}),
        (client.put_json, "/api/users/me/password", {}),
        (client.post_json, "/api/password-resets", {"code": code}),
    ):
        answer = ask(
            path, {**more, "password": password}, headers=basic("eve", PASSWORD), status=400
        )
        assert answer.json["type"].endswith(":unacceptable_password")
        assert answer.json["detail"].startswith("A password has no ")


def test_an_imported_password_that_no_client_of_today_could_set_goes_on_working(
    service: Service,
) -> None:
    old = service._services._hasher.hash("py\ton")
    service._services._resources.store.add_user("eve", "eve", old, 0)
    user = service.verify(basic("eve", "py\ton")["Authorization"])
    assert user is not None
    assert user.username == "eve"
