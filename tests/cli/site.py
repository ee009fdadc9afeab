"""A server in the thread of the test, on loopback: the test turns its loop and sets its clock.

Rule: nothing sleeps. A wait is a loop that turns the server until something is true, with a
deadline of real time. Peers are addresses of 127.0.0.0/8.
"""

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments

from restauth.cli import connections as module
from restauth.cli import server
from restauth.cli.connections import Connections, Listener, listen
from restauth.cli.tasks import Dispatcher, Refuse
from tests.processes import until_deadline


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the path."""
    body = environ["PATH_INFO"].encode("latin-1")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


class Site:
    """The server. `now` is its monotonic clock."""

    def __init__(
        self,
        app: WSGIApplication,
        options: dict[str, Any],
        refuse: Refuse | None,
        *,
        is_app_prompt: bool,
    ) -> None:
        self.now = 1000.0
        self._sockets: dict[int, Any] = {}
        adjustments: Any = Adjustments
        given = {"listen": "127.0.0.1:0", "threads": 2, "outbuf_overflow": 1 << 30, **options}
        adj = adjustments(**{**server.LIMITS, **given})  # without temporary files
        self.dispatcher = Dispatcher(is_app_prompt=is_app_prompt)
        self.connections = Connections(self._sockets, adj)
        self.listeners: list[Listener] = listen(
            app, adj, self.connections, self._sockets, self.dispatcher, refuse
        )
        self._clients: list[socket.socket] = []

    @classmethod
    @contextmanager
    def start(
        cls,
        monkeypatch: pytest.MonkeyPatch,
        app: WSGIApplication = echo,
        refuse: Refuse | None = None,
        *,
        is_app_prompt: bool = False,
        **options: Any,
    ) -> Iterator["Site"]:
        """A server that listens."""
        site = cls(app, options, refuse, is_app_prompt=is_app_prompt)
        monkeypatch.setattr(module, "monotonic", lambda: site.now)
        try:
            yield site
        finally:
            for client in site._clients:
                client.close()
            site.listeners[0].task_dispatcher.shutdown(timeout=1)
            wasyncore.close_all(site._sockets)

    def turn(self) -> None:
        """One turn of the loop, as `serve` makes it."""
        wasyncore.loop(timeout=0.01, use_poll=True, map=self._sockets, count=1)
        self.dispatcher.answer()
        self.connections.tidy()

    def turn_until(self, is_so: Callable[[], bool]) -> None:
        """Turn until something is so."""
        for _ in until_deadline():
            self.turn()
            if is_so():
                return

    def ask_for_place(self, peer: str = "127.0.0.1") -> socket.socket:
        """A client that connects; it is not accepted yet."""
        where = (self.listeners[0].effective_host, int(self.listeners[0].effective_port))
        client = socket.create_connection(where, source_address=(peer, 0))
        client.setblocking(False)
        self._clients.append(client)
        return client

    def connect(self, peer: str = "127.0.0.1", data: bytes = b"") -> socket.socket:
        """A client that is accepted, and has sent something."""
        client = self.ask_for_place(peer)
        port = client.getsockname()[1]
        self.turn_until(lambda: any(each.addr[1] == port for each in self.connections.list()))
        self.send(client, data)
        return client

    def send(self, client: socket.socket, data: bytes) -> None:
        """Send, until the server has read it."""
        read = self._read + len(data)
        client.sendall(data)
        self.turn_until(lambda: self._read >= read)

    @property
    def _read(self) -> int:
        return self.connections.received

    def wait(self, seconds: float) -> None:
        """Let time go by, and turn until all deadlines of that time were looked at."""
        self.now += seconds
        self.turn()

    def receive(self, client: socket.socket, end: bytes) -> bytes:
        """What comes, up to its end."""
        data = b""

        def is_there() -> bool:
            nonlocal data
            data += read(client)
            return data.endswith(end)

        self.turn_until(is_there)
        return data

    def is_open(self, client: socket.socket) -> bool:
        """Whether the server has the connection."""
        port = client.getsockname()[1]
        return any(each.addr[1] == port for each in self.connections.list())


def read(client: socket.socket) -> bytes:
    """What is there now."""
    try:
        return client.recv(1 << 20)
    except BlockingIOError:
        return b""


def is_at_end(client: socket.socket) -> bool:
    """Whether the client can know that the connection is closed."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
