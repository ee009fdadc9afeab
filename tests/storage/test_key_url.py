"""The key set on another machine: how long, how much and from where it is read."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from restauth.errors import UnusableKeyRing
from restauth.storage import key_url
from restauth.storage.key_url import MAX_SIZE, KeyURL

LARGEST = b" " * MAX_SIZE


class Answers(BaseHTTPRequestHandler):
    """One for each path."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/set")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/nonsense":
            self.wfile.write(b"\0\0\0\n")
            return
        body = {
            "/set": self.headers["User-Agent"].encode(),
            "/largest": LARGEST,
            "/larger": LARGEST + b" ",
        }.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_set_is_read_whole_up_to_its_limit(address: str) -> None:
    assert KeyURL(f"{address}/set").read() == b"restauth"
    assert KeyURL(f"{address}/largest").read() == LARGEST


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/larger", "is too large"),
        ("/missing", "HTTP Error 404"),
        ("/moved", "HTTP Error 302"),
        ("/nonsense", r"\\x00\\n"),
    ],
)
def test_any_other_answer_is_one_clear_line(address: str, path: str, reason: str) -> None:
    with pytest.raises(UnusableKeyRing, match=rf"^The key set {address}{path} .*({reason})") as got:
        KeyURL(f"{address}{path}").read()
    assert "\n" not in str(got.value)


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnusableKeyRing, match=r"cannot be read \(.*refused"):
        KeyURL(f"http://127.0.0.1:{port}/").read()


def test_a_server_without_a_certificate_that_is_trusted_is_refused(address: str) -> None:
    with pytest.raises(UnusableKeyRing, match=r"cannot be read \(.*SSL"):
        KeyURL(address.replace("http:", "https:")).read()
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_plain_http_goes_through_no_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower() == "no_proxy"]:
        monkeypatch.delenv(name)
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", f"{address}/missing")
    assert KeyURL(f"{address}/set").read() == b"restauth"
    with pytest.raises(UnusableKeyRing, match="Tunnel connection failed"):
        KeyURL("https://auth.example.org/set").read()


@contextmanager
def dripping() -> Iterator[tuple[str, Event]]:
    """A server whose answer has no end: a byte again and again, each soon enough."""
    stop, left = Event(), Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(0.01):
                    connection.sendall(b"a")
            left.set()

        thread = Thread(target=drip)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/", stop
        finally:
            stop.set()
            thread.join()


def test_an_answer_without_an_end_is_given_up_and_waited_for_by_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_url, "TIMEOUT", 0.1)
    with dripping() as (address, stop):
        url = KeyURL(address)
        with pytest.raises(UnusableKeyRing, match=r"does not answer within 0\.1 seconds"):
            url.read()
        thread = url._thread
        assert thread is not None
        for _ in range(3):
            with pytest.raises(UnusableKeyRing, match="has not answered yet"):
                url.read()
        assert url._thread is thread
        stop.set()
        thread.join(30)
        with pytest.raises(UnusableKeyRing, match=r"does not answer|cannot be read"):
            url.read()
    assert url._thread is not thread
    assert url._thread is not None
    url._thread.join(30)
