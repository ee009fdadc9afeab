"""Real processes: commands that end, and servers that are talked to over loopback.

Rule: a server takes any free port and says which one; every wait has an end, in bytes that arrive
or in a deadline; a process is ended by its own handle and never outlives the `with` around it.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.conftest import basic

PATIENCE = 30  # seconds: more than the slowest machine needs, and no good run waits for them
# The command, with the cheapest hash of all where a test asks for the cheapest that settings allow:
# that one takes a tenth of a second.
_RESTAUTH = """
import sys
from restauth import services
from restauth.cli.main import main
build = services.build_hasher
def build_cheap(settings, cost=None):
    return build(settings, 4 if settings.bcrypt_rounds == 10 else cost)
services.build_hasher = build_cheap
sys.exit(main())
"""
RESTAUTH = (sys.executable, "-c", _RESTAUTH)
SERVE = (*RESTAUTH, "serve", "--listen", "127.0.0.1:0")
# Before a command that cannot write where the measured coverage goes.
UNMEASURED = ("env", "-u", "COVERAGE_PROCESS_CONFIG")

_AT_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""
_ADDRESS = re.compile(r"http://[^\s/']+:\d+")


class Answer(NamedTuple):
    """`headers` by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Outcome(NamedTuple):
    """How a command has ended, and what it has said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Server:
    """A server in a process of its own. `output` is what it has said so far, on both streams."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.output = ""
        self._has_spoken = Condition()
        # It writes at each login, and would block when the pipe is full.
        self._listener = Thread(target=self._listen)
        self._listener.start()

    @classmethod
    @contextmanager
    def start(cls, directory: Path, *command: str | Path, **settings: str) -> Iterator["Server"]:
        """Start it there and go on at once: `address` waits until it listens."""
        with subprocess.Popen(
            command or SERVE,
            cwd=directory,
            env=environ(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            umask=0o022,  # the usual one: what is private must be so by itself
        ) as process:
            server = cls(process)
            try:
                yield server
            finally:
                process.kill()
                server._listener.join()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._has_spoken:
                self.output += line.decode()
                self._has_spoken.notify_all()

    def hear(self, pattern: "re.Pattern[str]") -> list[str]:
        """What it has said that matches, as soon as there is any."""
        with self._has_spoken:
            self._has_spoken.wait_for(lambda: pattern.search(self.output), PATIENCE)
            found: list[str] = pattern.findall(self.output)
        assert found, f"{pattern.pattern} did not come: {self.output!r}"
        return found

    @cached_property
    def addresses(self) -> list[str]:
        """What it announces, in one line."""
        return self.hear(_ADDRESS)

    @property
    def address(self) -> str:
        return self.addresses[0]

    def connect(self, address: str | None = None) -> HTTPConnection:
        """A connection that stays open until it is closed."""
        url = urlsplit(address or self.address)
        connection = HTTPConnection(str(url.hostname), url.port, timeout=PATIENCE)
        connection.connect()
        return connection

    def request(
        self,
        method: str,
        path: str,
        credentials: Mapping[str, str] | None = None,
        value: object = None,
    ) -> Answer:
        """One request on a connection of its own; a value goes as JSON."""
        with closing(self.connect()) as connection:
            send(connection, method, path, credentials, value)
            return receive(connection)

    def get(self, path: str, credentials: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, credentials)

    def register(self, username: str, password: str = "pw") -> int:
        """The id of the new user."""
        value = {"username": username, "password": password}
        for _ in until_deadline():
            answer = self.request("POST", "/api/users", value=value)
            if answer.status != 503:  # or one of those under way left logins alone a place
                break
        assert answer.status == 201, answer
        return int(answer.headers["location"].rpartition("/")[2])

    def log_in(self, username: str, password: str = "pw") -> str:
        """A token of a new session."""
        answer = self.get("/api/token", basic(username, password))
        assert answer.status == 200, answer
        return str(answer.json["token"])

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal; the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Hear it out to its end; the exit status."""
        self._listener.join(PATIENCE)
        return self.process.wait(PATIENCE)


def run(
    directory: Path, *arguments: str, stdin: str = "", **settings: str
) -> "subprocess.CompletedProcess[str]":
    """Run `restauth` with these arguments to its end."""
    return subprocess.run(
        [*RESTAUTH, *arguments],
        cwd=directory,
        env=environ(**settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def converse(directory: Path, command: str, answers: Mapping[str, str]) -> tuple[int, str]:
    """Run a command at a terminal of its own, and type the answers to its prompts as they come.

    The exit status, and what the screen shows at the end.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _AT_A_TERMINAL, *RESTAUTH, *command.split()],
        cwd=directory,
        env=environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            screen = ""
            assert process.stdin is not None
            for prompt, answer in answers.items():
                while prompt not in screen:
                    screen = _hear(process, screen)
                process.stdin.write(answer.encode(errors="surrogateescape"))
                process.stdin.flush()
            rest, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    return process.returncode, screen + rest.decode()


def _hear(process: "subprocess.Popen[bytes]", so_far: str) -> str:
    """What it has said so far, and the next words."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    said = os.read(process.stdout.fileno(), 65_536) if ready else b""
    assert said, f"nothing more came after: {so_far!r}"
    return so_far + said.decode()


def environ(**settings: str) -> dict[str, str]:
    """Our own, with settings by their keywords, and the cheapest hash that settings allow."""
    given = {"bcrypt_rounds": "10", **settings}
    named = {f"RESTAUTH_{name.upper()}": text for name, text in given.items()}
    # Unbuffered output fails at another place than it does for most people.
    return {**os.environ, "PYTHONUNBUFFERED": "", **named}


def send(
    connection: HTTPConnection,
    method: str,
    path: str,
    credentials: Mapping[str, str] | None = None,
    value: object = None,
) -> None:
    headers = dict(credentials or {})
    body = None
    if value is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(value)
    connection.request(method, path, body, headers)


def receive(connection: HTTPConnection) -> Answer:
    response = connection.getresponse()
    headers = {name.lower(): text for name, text in response.getheaders()}
    return Answer(response.status, headers, response.read())


def until_deadline(patience: float = PATIENCE) -> Iterator[None]:
    """For a loop that asks until it gets another answer: it ends, as a failure, in any case."""
    deadline = monotonic() + patience
    while monotonic() < deadline:
        yield
    raise AssertionError("asked in vain")
