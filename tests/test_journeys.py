"""The examples of the README and of the guide, executed as a new user would.

Rule: what is run is what the page shows. Examples that need other software are run in
`tests/counterparts`.
"""

import http.client
import json
import os
import re
import shlex
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.validate import validator

import pytest
import webtest

import restauth
import restauth.testing
from restauth.errors import UnacceptablePassword
from tests.conftest import CLIENT, ServicesFactory, basic, bearer, expect_refusal
from tests.counterparts.conftest import program
from tests.documents import ROOT, example, read
from tests.hash_samples import CHEAP, write_rest_auth_file
from tests.processes import PATIENCE, Server, run

BIN = Path(sys.executable).parent


def greeting() -> dict[str, Any]:
    """The names of the README's first example, up to the application that says hello."""
    names: dict[str, Any] = {}
    execute(example("README", "python", "AuthMiddleware(hello)").partition("app = ")[0], names)
    return names


def execute(block: str, names: dict[str, Any]) -> None:
    exec(block, names)  # noqa: S102 - the documents are ours


def client_of(app: Any) -> webtest.TestApp:
    return webtest.TestApp(validator(app), lint=True)


def steps(session: str) -> list[tuple[str, list[str]]]:
    """Commands of a console session, each with the lines that it is said to print."""
    return [
        (command, [line for line in output.splitlines() if line])
        for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server.start(tmp_path) as server:
        yield server


def curl(command: str, address: str) -> list[str]:
    """What `curl -i` prints, as far as the documents use its options."""
    words = iter(shlex.split(command)[1:])
    method, headers, body, url = "GET", {}, None, ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif word == "-u":
            headers["Authorization"] = "Basic " + b64encode(next(words).encode()).decode()
        elif word != "-i":
            url = word
    real = urlsplit(address)
    connection = http.client.HTTPConnection(str(real.hostname), real.port, timeout=30)
    connection.request(method, urlsplit(url).path, body, headers)
    answer = connection.getresponse()
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
    lines += [f"{name}: {value}" for name, value in answer.getheaders()]
    lines += answer.read().decode().splitlines()
    connection.close()
    return lines


def test_the_curl_session_answers_as_the_readme_says(server: Server) -> None:
    assert follow(example("README", "console", "curl"), server.address)


@pytest.mark.sqlite("the users are made in the file of the server")
def test_the_curl_session_of_an_operator_answers_as_the_page_says(tmp_path: Path) -> None:
    with restauth.Service(
        database=tmp_path / "restauth.db", key_file=tmp_path / "restauth.keys"
    ) as service:
        service.add_user("ada", "python", roles=["admin"])
        service.add_user("bob", "python")
        (variable,) = re.findall(
            "export RESTAUTH_ADMIN_ROLE=(.*)", example("operating", "sh", "ADMIN_ROLE")
        )
        with Server.start(tmp_path, admin_role=variable) as server:
            follow(example("operating", "console", "curl"), server.address)
        bob = service.find_user("bob")
        assert bob is not None
        assert bob.roles == ("editor",)
        assert bob.locked_at is not None


def follow(session: str, address: str) -> str:
    """Run the commands of a page, which must print what it shows. The last token that they got."""
    token = ""
    for command, expected in steps(session):
        printed = curl(command.replace("<token>", token), address)
        text = "\n".join(printed)
        for line in expected:
            pattern = re.escape(line).replace(re.escape("<token>"), r"([\w-]+\.[\w-]+\.[\w-]+)")
            pattern = pattern.replace(re.escape("http://127.0.0.1:5000"), re.escape(address))
            match = re.search(f"^{pattern}$", text, re.MULTILINE)
            assert match, f"{command}\nshould print: {line}\nprinted: {text}"
            token = match[1] if match.groups() else token
    return token


@pytest.mark.sqlite("a copy of PostgreSQL is made by pg_dump")
def test_the_operators_session_prints_what_the_page_says(tmp_path: Path) -> None:
    session = example("operating", "console", "restauth user add")
    files: dict[str, Any] = {"database": tmp_path / "restauth.db"}
    restauth.Service(**files, key_file=tmp_path / "restauth.keys").close()
    environ = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for command, expected in steps(session):
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout.splitlines() == expected, command


def test_the_first_command_serves(tmp_path: Path) -> None:
    """All of it but the building of the environment, which the tests themselves run in."""
    command = example("README", "sh", "restauth serve")
    assert len(command.splitlines()) == 1
    words = command.split("&&")[-1].split()
    assert words == ["venv/bin/restauth", "serve"]
    # Not on port 5000, which may be in use while these tests run.
    listen = "--listen=127.0.0.1:0"
    with Server.start(tmp_path, BIN / "restauth", "serve", listen) as server:
        assert server.get("/api/health").status == 200


def test_the_second_command_is_the_one_that_ci_runs() -> None:
    command = example("README", "sh", "'.[test]'")
    assert len(command.splitlines()) == 1
    script = (ROOT / ".ci" / "run").read_text()
    assert "grep -m 1 -F \"'.[test]'\" README.md" in script
    lines = [line for line in read("README").splitlines() if "'.[test]'" in line]
    assert lines[0] == command.rstrip()


# Guarded applications


def test_the_middleware_example_greets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    execute(example("README", "python", "AuthMiddleware(hello)"), names)
    app = webtest.TestApp(names["app"])
    with restauth.Service() as service:  # on the same files
        service.add_user("miguel", "python")
        assert app.get("/").text == "Hello, stranger!"
        assert app.get("/", headers=basic("miguel", "python")).text == "Hello, miguel!"
        app.get("/", headers=basic("miguel", "ruby"), status=401)


def test_the_service_example_guards_and_has_the_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = greeting()
    execute(example("README", "python", "service.guard("), names)
    with names["service"] as service:
        app, api = client_of(names["app"]), client_of(names["api"])
        app.get("/", status=401)
        password = basic("ada", "correct horse battery staple")
        assert app.get("/", headers=password).text == "Hello, ada!"
        assert api.get("/api/users/me", headers=password).json["roles"] == ["editor"]
        bob = service.add_user("bob", "python")
        app.get("/", headers=bearer(service.issue_token(bob.id).token), status=403)
    again = greeting()
    execute(example("README", "python", "service.guard("), again)
    with again["service"]:
        assert client_of(again["app"]).get("/", headers=password).text == "Hello, ada!"
    assert {path.name for path in tmp_path.iterdir()} >= {"users.db", "users.keys"}


def test_the_service_object_issues_a_token_that_it_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        execute(example("embedding", "python", "with restauth.Service("), {})
    printed = capsys.readouterr().out
    assert "username='ada', roles=('editor', 'viewer')" in printed
    assert "how='token'" in printed


def test_the_exempt_paths_of_the_example_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = greeting()
    execute(example("embedding", "python", "exempt=["), names)
    app = client_of(names["app"])
    for path in ("/", "/static", "/static/x"):
        assert app.get(path, headers=basic("ada", "wrong")).text == "Hello, stranger!"
    for path in ("/statics", "/x", "/static/../x", "/static//x", "/static/.", "/static\\x"):
        app.get("/", extra_environ={"PATH_INFO": path}, status=401)


def test_the_members_of_the_example_are_asked_for_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = greeting()
    execute(example("embedding", "python", "def members"), names)
    app = client_of(names["app"])
    by_the_app = app.get("/", status=401)
    by_the_guard = app.get("/", headers=bearer("a.b.c"), status=401)
    assert by_the_app.content_type == "application/problem+json"
    assert len(by_the_app.headers.getall("WWW-Authenticate")) == 2
    assert by_the_app.json == by_the_guard.json


def test_pages_of_the_one_origin_may_call_the_guarded_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = greeting()
    execute(example("embedding", "python", "class AllowOrigin"), names)
    app = client_of(names["app"])
    ours, other = {"Origin": "https://app.example.org"}, {"Origin": "https://example.org"}
    asking = {"Access-Control-Request-Method": "PUT"}
    allowed = app.options("/", headers=ours | asking, status=204)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert "PUT" in allowed.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
    refused = app.get("/", headers=ours, status=401)
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
    assert len(refused.headers.getall("WWW-Authenticate")) == 2
    app.options("/", headers=ours, status=401)
    for headers in (other | asking, asking, other, {}):
        answer = app.options("/", headers=headers, status=401)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


def test_the_key_set_is_copied_for_a_guard_elsewhere(tmp_path: Path) -> None:
    """After the keys were rotated as the operator's page says."""
    pytest.importorskip("cryptography")
    install, rotate = example("operating", "sh", "key rotate --algorithm").splitlines()
    assert install.endswith("pip install '.[jwks]'")
    command = example("embedding", "sh", "curl").replace("curl", program("curl"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with Server.start(tmp_path) as server:
        assert server.get("/.well-known/jwks.json").json == {"keys": []}
        assert run(tmp_path, *shlex.split(rotate)[1:]).returncode == 0
        subprocess.run(
            ["sh", "-c", command.replace("https://auth.example.org", server.address)],
            cwd=elsewhere,
            check=True,
            timeout=PATIENCE,
        )
    (file,) = elsewhere.iterdir()
    assert (file.name, file.stat().st_mode & 0o022) == ("jwks.json", 0)
    (key,) = json.loads(file.read_text())["keys"]
    assert key["alg"] == "EdDSA"


def test_the_example_without_a_store_guards_with_public_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.chdir(tmp_path)
    with restauth.testing.service() as service:
        service.clock.now = int(time.time())  # the guard has no other clock
        service._services.keys.rotate(revoke=True, algorithm="EdDSA")
        user = service.add_user("ada", "python")
        viewer = bearer(service.issue_token(user.id).token)
        service.set_roles(user.id, ["editor"])
        editor = bearer(service.issue_token(user.id).token)
        keys = client_of(service.app).get("/.well-known/jwks.json").body
    (tmp_path / "jwks.json").touch(0o600)
    (tmp_path / "jwks.json").write_bytes(keys)
    names = greeting()
    execute(example("embedding", "python", 'key_file="jwks.json"'), names)
    app = client_of(names["app"])
    assert app.get("/", headers=editor).text == "Hello, ada!"
    app.get("/", headers=viewer, status=403)
    for headers in ({}, basic("ada", "python")):
        app.get("/", headers=headers, status=401)


# Tests of one's own


def test_the_service_for_tests_has_a_clock_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    execute(example("testing", "python", "testing.service(token_duration=60)"), {})
    assert capsys.readouterr().out == "ada\nthe token has expired\n"


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    hello = example("README", "python", "AuthMiddleware(hello)").partition("app = ")[0]
    (tmp_path / "pages.py").write_text(hello)
    blocks = [example("testing", "python", mark) for mark in ("service_fixture", "extra_environ")]
    for number, block in enumerate(blocks):
        (tmp_path / f"test_pages_{number}.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{''.join(blocks).count('def test_')} passed" in done.stdout


# The operator's pages


def test_the_check_of_the_page_refuses_a_leaked_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_services: ServicesFactory
) -> None:
    (tmp_path / "leaks.py").write_text(example("operating", "python", "hunter2"))
    (where,) = re.findall(r"`password_check=(.*)`", read("operating"))
    monkeypatch.syspath_prepend(tmp_path)
    services = make_services(password_check=where)
    services.accounts.register("ada", "python")
    with pytest.raises(UnacceptablePassword, match="has leaked"):
        services.accounts.register("bob", "hunter2")


def test_the_audit_log_has_the_line_of_the_page(
    caplog: pytest.LogCaptureFixture, make_services: ServicesFactory
) -> None:
    services = make_services()
    services.accounts.register("ada", "python")
    caplog.set_level("INFO", "restauth.audit")
    expect_refusal(services.authentication, "ada", "ruby")
    assert caplog.messages == [example("operating", "json", "login_failed").rstrip()]
    assert CLIENT.peer in caplog.text


@pytest.mark.sqlite("it is about the files of SQLite")
def test_the_commands_of_the_page_import(tmp_path: Path) -> None:
    row = next(iter(CHEAP.values()))
    write_rest_auth_file(tmp_path / "db.sqlite", [(7, "miguel", row.password_hash)])
    dry, real = example("moving-in", "sh", "restauth import").splitlines()
    for line, has_users in ((dry, False), (real, True)):
        words = line.split()
        assert words[0] == "restauth"
        assert run(tmp_path, *words[1:]).returncode == 0
        assert (tmp_path / "restauth.db").exists() == has_users
    assert run(tmp_path, "user", "show", "miguel", "--json").stdout.count('"id": 7') == 1


def test_the_other_servers_serve(tmp_path: Path) -> None:
    block = example("operating", "sh", "waitress-serve")
    script, *options = block.splitlines()[0].replace("5000", "0").split()
    assert script == "waitress-serve"
    with Server.start(tmp_path, BIN / script, *options) as server:
        assert server.get("/api/health").status == 200
