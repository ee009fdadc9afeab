"""Keep-alive clients that ask one server for the same resource, as fast as it answers.

Rule: `wrk` where it is installed; else a loop of Python's own, which takes more of the machine, so
that fast servers look slower than they are. An answer with another status than expected fails.
"""

import re
import selectors
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

PATH = "/api/resource"
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class Load(NamedTuple):
    """What came of it. `p99` in milliseconds."""

    answers: int
    per_second: float
    p99: float


def put_load(address: str, header: str, status: int, clients: int, seconds: float) -> Load:
    """Whole seconds are for wrk, if there is one; a part of a second is always Python's."""
    if shutil.which("wrk") and seconds >= 1:
        return _by_wrk(address, header, status, clients, int(seconds))
    return _by_python(address, header, status, clients, seconds)


def _by_wrk(address: str, header: str, status: int, clients: int, seconds: int) -> Load:
    command = ("wrk", "-t1", f"-c{clients}", f"-d{seconds}", "--latency")
    output = subprocess.run(
        [*command, "-H", f"Authorization: {header}", address + PATH],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    answers = int(_find(r"(\d+) requests in", output)[0])
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    expected = 0 if status < 400 else answers
    assert int(others[1] if others else 0) == expected, output
    assert "Socket errors" not in output, output
    p99, unit = _find(r"99%\s+([\d.]+)(us|ms|s)", output)
    per_second = float(_find(r"Requests/sec:\s+([\d.]+)", output)[0])
    return Load(answers, per_second, float(p99) * _MILLISECONDS[unit])


def _find(pattern: str, output: str) -> tuple[str, ...]:
    match = re.search(pattern, output)
    assert match is not None, output
    return match.groups()


@dataclass
class Client:
    """A connection that is kept, and the seconds that each answer took."""

    connection: socket.socket
    received: bytes = b""
    asked_at: float = 0.0
    times: list[float] = field(default_factory=list)

    def ask(self, request: bytes) -> None:
        self.received, self.asked_at = b"", perf_counter()
        self.connection.sendall(request)

    def hear(self) -> int | None:
        """Read what has come. The status, when the answer is complete."""
        received = self.connection.recv(65_536)
        assert received, "the server has closed the connection"
        self.received += received
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = _LENGTH.search(head)
        assert length is not None, head
        if len(body) < int(length[1]):
            return None
        self.times.append(perf_counter() - self.asked_at)
        return int(head.split(maxsplit=2)[1])


def build_request(host: str, header: str) -> bytes:
    """A request for the resource."""
    return f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {header}\r\n\r\n".encode()


def _by_python(address: str, header: str, status: int, clients: int, seconds: float) -> Load:
    url = urlsplit(address)
    request = build_request(url.netloc, header)
    place = (str(url.hostname), int(url.port or 80))
    everyone = [Client(socket.create_connection(place, timeout=30)) for _ in range(clients)]
    with selectors.DefaultSelector() as selector:
        started = perf_counter()
        for client in everyone:
            selector.register(client.connection, selectors.EVENT_READ, client)
            client.ask(request)
        # A short load may end before a busy machine has given the first answer.
        while perf_counter() < started + seconds or not any(each.times for each in everyone):
            assert perf_counter() < started + seconds + 30, "no answer came"
            for key, _ in selector.select(1):
                found = key.data.hear()
                if found is not None:
                    assert found == status, key.data.received
                    key.data.ask(request)
        elapsed = perf_counter() - started
    for client in everyone:
        client.connection.close()
    times = sorted(time for client in everyone for time in client.times)
    return Load(len(times), len(times) / elapsed, times[len(times) * 99 // 100] * 1e3)
