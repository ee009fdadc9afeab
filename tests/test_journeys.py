"""Every example of the README, executed as a new user would."""

import http.client
import os
import re
import shlex
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import webtest

from tests.conftest import basic
from tests.processes import Server

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BIN = Path(sys.executable).parent


def examples(language: str, mark: str) -> list[str]:
    """The README's fenced blocks in a language that contain the mark."""
    found = [text for kind, text in BLOCKS if kind == language and mark in text]
    assert found, mark
    return found


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
    """What `curl -i` prints, as far as the README uses its options."""
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
    (session,) = examples("console", "curl")
    token = ""
    for command, expected in steps(session):
        printed = curl(command.replace("<token>", token), server.address)
        text = "\n".join(printed)
        for line in expected:
            pattern = re.escape(line).replace(re.escape("<token>"), r"([\w-]+\.[\w-]+\.[\w-]+)")
            pattern = pattern.replace(re.escape("http://127.0.0.1:5000"), re.escape(server.address))
            match = re.search(f"^{pattern}$", text, re.MULTILINE)
            assert match, f"{command}\nshould print: {line}\nprinted: {text}"
            token = match[1] if match.groups() else token
    assert token


def test_the_operators_session_prints_what_the_readme_says(tmp_path: Path) -> None:
    (session,) = examples("console", "restauth user add")
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


def test_the_middleware_example_greets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = examples("python", "AuthMiddleware(hello)")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - the README is ours
    app = webtest.TestApp(names["app"])
    names["app"].services.accounts.register("miguel", "python")
    assert app.get("/").text == "Hello, stranger!"
    assert app.get("/", headers=basic("miguel", "python")).text == "Hello, miguel!"
    app.get("/", headers=basic("miguel", "ruby"), status=401)
    names["app"].services.close()


def test_the_first_command_serves(tmp_path: Path) -> None:
    """All of it but the building of the environment, which the tests themselves run in."""
    (command,) = examples("sh", "restauth serve")
    assert len(command.splitlines()) == 1
    words = command.split("&&")[-1].split()
    assert words == ["venv/bin/restauth", "serve"]
    # Not on port 5000, where somebody may be trying this very command.
    listen = "--listen=127.0.0.1:0"
    with Server.start(tmp_path, BIN / "restauth", "serve", listen) as server:
        assert server.get("/api/health").status == 200


def test_the_second_command_is_the_one_that_ci_runs() -> None:
    (command,) = examples("sh", "'.[test]'")
    assert len(command.splitlines()) == 1
    script = (Path(__file__).parent.parent / ".ci" / "run").read_text()
    assert "grep -m 1 -F \"'.[test]'\" README.md" in script


def test_the_other_servers_serve(tmp_path: Path) -> None:
    (block,) = examples("sh", "waitress-serve")
    script, *options = block.splitlines()[0].replace("5000", "0").split()
    assert script == "waitress-serve"
    with Server.start(tmp_path, BIN / script, *options) as server:
        assert server.get("/api/health").status == 200
