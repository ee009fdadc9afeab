"""The guide's INI file, loaded by PasteDeploy and served by the programs that read such files.

Rule: the lines are the page's own; only ports are changed, and what a test says is changed.
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

from restauth import AuthMiddleware, Service
from restauth.errors import InvalidSetting, UnusableKeyRing
from restauth.web.app import App
from tests.conftest import basic, bearer
from tests.counterparts.conftest import library
from tests.documents import example
from tests.processes import Server, run
from tests.test_journeys import BIN

deploy: Any = library("paste.deploy")
library("plaster_pastedeploy")
library("pyramid")

PAGES = """
def make_app(global_settings, **settings):
    def page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"Hello, {environ.get('REMOTE_USER', 'stranger')}!".encode()]

    return page
"""
# Every INI file of Pyramid has such sections; so the server says where it listens.
LOGGING = """
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys =
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = ()
"""
SERVE = """
import logging, os, sys
from paste.deploy import loadapp, loadserver

logging.basicConfig(level=logging.INFO)
file = {"uri": "config:site.ini", "relative_to": os.getcwd(), "global_conf": {"port": "0"}}
loadserver(**file)(loadapp(name=sys.argv[1], **file))
"""
PASSWORD, WRONG = basic("miguel", "python"), basic("miguel", "ruby")


def write(directory: Path, *changes: tuple[str, str]) -> str:
    """The page's file, with lines changed, beside the module that it names; its address."""
    ini = example("embedding", "ini", "egg:restauth")
    for old, new in changes:
        assert ini.count(old) == 1, old
        ini = ini.replace(old, new)
    (directory / "pages.py").write_text(PAGES)
    path = directory / "site.ini"
    path.write_text(ini + LOGGING)
    return f"config:{path}"


def by_pserve() -> list[list[str]]:
    """The page's two commands, each to listen on any free port."""
    block = example("embedding", "sh", "pserve")
    lines = [re.sub(r"port=\d+", "port=0", line).split() for line in block.splitlines()]
    assert [words[0] for words in lines] == ["pserve", "pserve"]
    return [[str(BIN / words[0]), *words[1:]] for words in lines]


def by_waitress_alone() -> list[list[str]]:
    return [[sys.executable, "-c", SERVE, name] for name in ("main", "editors")]


@pytest.mark.parametrize("commands", [by_pserve, by_waitress_alone])
def test_the_pages_file_serves_the_service_and_the_guarded_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Callable[[], list[list[str]]]
) -> None:
    write(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    first, second = commands()
    with Server.start(tmp_path, *first) as service, Server.start(tmp_path, *second) as guard:
        user_id = service.register("miguel", "python")
        assert service.get(f"/api/users/{user_id}").json == {"username": "miguel"}
        token = service.log_in("miguel", "python")
        good = (PASSWORD, bearer(token), basic(token, "x"))
        for credentials in good:
            assert service.get("/api/resource", credentials).json == {"data": "Hello, miguel!"}
            answer = guard.get("/", credentials)
            assert answer.status == 403
            assert answer.json["type"] == "urn:restauth:problem:role_required"
        for credentials in (WRONG, bearer("a.b.c"), {}):
            assert service.get("/api/resource", credentials).status == 401
            assert guard.get("/", credentials).status == 401
        assert run(tmp_path, "user", "roles", "miguel", "+editor").returncode == 0
        for credentials in good:
            answer = guard.get("/", credentials)
            assert (answer.status, answer.body) == (200, b"Hello, miguel!")
        assert service.request("DELETE", "/api/token", bearer(token)).status == 204
        assert guard.get("/", bearer(token)).status == 401


def page(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("REMOTE_USER", "stranger").encode()]


def load_guard(uri: str) -> AuthMiddleware:
    guard = deploy.loadfilter(uri, "auth")(page)
    assert type(guard) is AuthMiddleware
    return guard


def status_of(guard: AuthMiddleware, headers: dict[str, str]) -> int:
    client = webtest.TestApp(validator(guard), lint=True)
    return int(client.get("/", headers=headers, expect_errors=True).status_int)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The page's service, in which miguel, an editor, has registered."""
    monkeypatch.setenv("RESTAUTH_BCRYPT_ROUNDS", "10")
    app = deploy.loadapp(write(tmp_path))
    assert type(app) is App
    files: Any = {"database": tmp_path / "restauth.db", "key_file": tmp_path / "restauth.keys"}
    with Service(**files) as service:
        service.add_user("miguel", "python", roles=["editor"])
        yield app


def token(service: App) -> str:
    client = webtest.TestApp(validator(service), lint=True)
    return str(client.get("/api/token", headers=PASSWORD).json["token"])


def test_in_a_section_for_a_filter_the_bare_name_is_the_guard(service: App, tmp_path: Path) -> None:
    guard = load_guard(write(tmp_path, ("egg:restauth-wsgi#auth", "egg:restauth-wsgi")))
    for headers, status in (({}, 401), (WRONG, 401), (PASSWORD, 200)):
        assert status_of(guard, headers) == status


def test_without_a_role_the_pages_are_for_everybody_or_for_whoever_is_known(
    service: App, tmp_path: Path
) -> None:
    for line, status in (("", 200), ("required = false", 200), ("required = true", 401)):
        guard = load_guard(write(tmp_path, ("role = editor", line)))
        assert status_of(guard, {}) == status
        assert status_of(guard, WRONG) == 401
        assert status_of(guard, PASSWORD) == 200


def test_without_a_store_the_guard_needs_the_keys_alone(service: App, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    uri = write(elsewhere, ("role = editor", "role = editor\nstateless = true"))
    with pytest.raises(UnusableKeyRing, match="There is no key ring"):
        load_guard(uri)
    shutil.copy(tmp_path / "restauth.keys", elsewhere)
    guard = load_guard(uri)
    for headers, status in (({}, 401), (PASSWORD, 401), (bearer(token(service)), 200)):
        assert status_of(guard, headers) == status
    names = sorted(path.name for path in elsewhere.iterdir())
    assert names == ["pages.py", "restauth.keys", "site.ini"]


def test_a_line_under_default_hides_no_line_of_ours(tmp_path: Path) -> None:
    """PasteDeploy passes on one of the two, and it is the other one."""
    uri = write(tmp_path, ("[app:main]", "[DEFAULT]\nkey_file = other.keys\n[app:main]"))
    for load in (deploy.loadapp, load_guard):
        with pytest.raises(InvalidSetting, match=r"^key_file is under \[DEFAULT\]"):
            load(uri)


WRONG_LINES = {
    "bcrypt_rounds = 9": "bcrypt_rounds is '9': not a whole number from 10 to 15.",
    "databse = a.db": "There is no setting 'databse': the nearest is database.",
    "Realm = Here": "There is no setting 'Realm': the nearest is realm.",
    "required = yes": "required is 'yes': neither true nor false.",
    "stateless = TRUE": "stateless is 'TRUE': neither true nor false.",
    "require_https = 1": "require_https is '1': neither true nor false.",
}


@pytest.mark.parametrize(("line", "complaint"), WRONG_LINES.items(), ids=WRONG_LINES)
def test_a_wrong_line_of_the_guard_stops_the_start_and_is_named(
    tmp_path: Path, line: str, complaint: str
) -> None:
    uri = write(tmp_path, ("role = editor", line))
    with pytest.raises(InvalidSetting) as caught:
        load_guard(uri)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("app_name", "old", "new", "complaint"),
    [
        ("main", "[app:main]", "[app:main]\nbcrypt_rounds = 9", "bcrypt_rounds is '9'"),
        ("main", "[app:main]", "[app:main]\nrole = editor", "There is no setting 'role'"),
        ("editors", "role = editor", "role = Editor", "role is 'Editor': no user can have"),
    ],
)
def test_a_wrong_line_ends_pserve_with_a_message_that_names_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    app_name: str,
    old: str,
    new: str,
    complaint: str,
) -> None:
    write(tmp_path, (old, new))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = (BIN / "pserve", f"--app-name={app_name}", "site.ini", "port=0")
    with Server.start(tmp_path, *command) as server:
        assert server.wait() == 1
    last = server.output.splitlines()[-1]
    assert last.startswith(f"restauth.errors.InvalidSetting: {complaint}")
    names = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert names == {"pages.py", "site.ini"}
