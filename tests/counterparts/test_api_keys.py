"""API keys in the hands of curl, pip and git, through nginx that asks restauth.

Rule: the commands and the file with the key are those of the page `clients`, and the configuration
of nginx is that of the page `proxies`; only addresses are replaced. The package index and the git
repository are files, as any web server serves them.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from zipfile import ZipFile

import pytest

from tests.conftest import basic
from tests.counterparts.conftest import program
from tests.counterparts.test_proxies import started
from tests.documents import example, read
from tests.processes import PATIENCE, SERVE, Server
from tests.test_journeys import steps

NAME, PASSWORD = "ada", "analytical-engine"
SITE, ADDRESS = "https://packages.example.org", "http://127.0.0.1:5000"  # on the page
PACKAGE = {
    "hello.py": "WORLD = True\n",
    "hello-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n",
    "hello-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "hello-1.0.dist-info/RECORD": "",
}
PIP = (sys.executable, "-m", "pip")


class Files(SimpleHTTPRequestHandler):
    """Notes of each request whose it is."""

    def __init__(self, users: list[str | None], *arguments: Any, **keywords: Any) -> None:
        self._users = users
        super().__init__(*arguments, **keywords)

    def do_GET(self) -> None:
        self._users.append(self.headers["Remote-User"])
        assert "Authorization" not in self.headers
        super().do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Standard error is for the tests."""


class Site(NamedTuple):
    home: Path
    restauth: Server
    address: str  # nginx's
    users: list[str | None]

    def run(self, command: str) -> "subprocess.CompletedProcess[str]":
        """A command of the page, at home and with no settings of the developer."""
        text = command.replace(SITE, self.address).replace(ADDRESS, self.restauth.address)
        words = shlex.split(text)
        program(words[0])
        at_home = {"HOME": str(self.home), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
        quiet = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_NO_INPUT": "1"}
        return subprocess.run(
            [*PIP, *words[1:], "--target", "packages"] if words[0] == "pip" else words,
            cwd=self.home,
            env={"PATH": os.environ["PATH"], **at_home, **quiet},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def keep(self, key: str) -> None:
        """The file that all three programs read."""
        text = example("clients", "netrc", "packages.example.org").replace("<key>", key)
        path = self.home / ".netrc"
        path.touch(mode=0o600)
        path.write_text(text.replace("packages.example.org", "127.0.0.1"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package index, and a git repository with one commit."""
    root = tmp_path_factory.mktemp("files")
    (root / "simple" / "hello").mkdir(parents=True)
    with ZipFile(root / "simple" / "hello" / "hello-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in PACKAGE.items():
            wheel.writestr(name, text)
    source = root / "source"
    source.mkdir()
    (source / "hello.txt").write_text("Hello!\n")
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for words in (
        ("init", "-q", str(source)),
        ("-C", str(source), "add", "hello.txt"),
        ("-C", str(source), *author, "commit", "-q", "-m", "Say hello"),
        ("clone", "-q", "--bare", str(source), str(root / "hello.git")),
        ("-C", str(root / "hello.git"), "update-server-info"),
    ):
        subprocess.run([program("git"), *words], check=True, timeout=PATIENCE)
    return root


@pytest.fixture
def site(files: Path, tmp_path: Path) -> Iterator[Site]:
    """nginx before the files, and a user of restauth."""
    (options,) = re.findall(r"`restauth serve( --trusted-proxy[^`]*)`", read("proxies"))
    users: list[str | None] = []
    handler = partial(Files, users, directory=str(files))
    with (
        Server.start(tmp_path, *SERVE, *options.split()) as restauth,
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
    ):
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            (tmp_path / "nginx").mkdir()
            (tmp_path / "home").mkdir()
            address = f"127.0.0.1:{server.server_port}"
            with started("nginx", tmp_path / "nginx", restauth, address) as nginx:
                restauth.register(NAME, PASSWORD)
                yield Site(tmp_path / "home", restauth, nginx.address, users)
        finally:
            server.shutdown()
            thread.join()


def test_the_curl_session_with_a_key(site: Site) -> None:
    session = steps(example("clients", "console", "/api/keys"))
    found: dict[str, str] = {}

    def fill(text: str) -> str:
        return re.sub("<[a-z ]+>", lambda match: found[match[0]], text)

    for command, said in session:
        done = site.run(fill(command).replace("curl ", "curl --silent ", 1))
        assert done.returncode == 0
        (line,) = said or [""]
        for name in re.findall("<[a-z ]+>", line):
            found[name] = json.loads(done.stdout)[name[1:-1].replace(" ", "_")]
        assert done.stdout.strip() == fill(line)
    for command, _ in session[1:3]:  # the key has ended
        assert "bad_credentials" in site.run(fill(command)).stdout


def test_pip_git_and_curl_present_a_key_as_the_password(site: Site) -> None:
    commands = example("clients", "sh", "git clone").strip().splitlines()
    assert [command.split()[0] for command in commands] == ["pip", "git", "curl"]
    owner = basic(NAME, PASSWORD)
    key = site.restauth.request("POST", "/api/keys", owner, {"name": "packages"}).json
    for command in commands:
        assert site.run(command).returncode != 0  # without a key
    assert site.users == []
    site.keep(key["key"])
    for command in commands:
        done = site.run(command)
        assert done.returncode == 0, done
    assert set(site.users) == {NAME}
    assert (site.home / "packages" / "hello.py").read_text() == PACKAGE["hello.py"]
    assert (site.home / "hello" / "hello.txt").read_text() == "Hello!\n"
    (listed,) = site.restauth.get("/api/keys", owner).json["keys"]
    assert listed["last_used_at"] is not None
    site.restauth.request("DELETE", f"/api/keys/{key['id']}", owner)
    site.users.clear()
    for command in commands:
        assert site.run(f"{command}-again" if "clone" in command else command).returncode != 0
    assert site.users == []
