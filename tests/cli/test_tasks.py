"""What the app gets from the server, and what the client gets of its response."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Event, current_thread, main_thread, stack_size
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from restauth.cli.server import LIMITS
from restauth.cli.tasks import LastTask
from restauth.gate import MUST_NOT_WAIT, WouldWait
from tests.cli.site import Site, is_at_end
from tests.processes import PATIENCE

HOST = b"Host: localhost\r\n"
HEADER_LIMIT = LIMITS["max_request_header_size"]


def describe(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with where it was called; to /204, without a body."""
    if environ["PATH_INFO"] == "/204":
        start_response("204 No Content", [])
        return []
    body = json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"]]).encode() + b"\n"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def refuse(status: int, headers: Mapping[str, str]) -> tuple[str, list[tuple[str, str]], bytes]:
    """In our own words."""
    return f"{status} Refused", [("X-Origin", headers.get("ORIGIN", "?"))], b"no.\n"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Site.start(monkeypatch, describe, refuse) as started:
        yield started


def ask(site: Site, request: bytes, end: bytes = b"\n") -> bytes:
    return site.receive(site.connect(data=request), end)


# The thread


def name_thread(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers which thread it was called in; `/wait` does not answer in one that must not wait."""
    if environ["PATH_INFO"] == "/wait" and environ[MUST_NOT_WAIT]:
        raise WouldWait
    body = b"loop\n" if current_thread() is main_thread() else b"other\n"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.mark.parametrize(
    ("is_app_prompt", "path", "thread"),
    [(True, b"/", b"loop"), (True, b"/wait", b"other"), (False, b"/", b"other")],
)
def test_the_loop_answers_what_needs_no_waiting(
    is_app_prompt: bool, path: bytes, thread: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Site.start(monkeypatch, name_thread, is_app_prompt=is_app_prompt) as site:
        for _ in range(2):
            answer = ask(site, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer.endswith(b"\r\n\r\n" + thread + b"\n")


def test_pipelined_requests_are_answered_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with Site.start(monkeypatch, name_thread, is_app_prompt=True) as site:
        paths = (b"/wait", b"/", b"/wait", b"/", b"/last")
        requests = (b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in paths)
        client = site.connect(data=b"".join(requests))
        received = b""
        while received.count(b"\n") - received.count(b"\r\n") < len(paths):
            received += site.receive(client, b"\n")
        words = [line for line in received.split(b"\n") if line in (b"loop", b"other")]
        assert words == [b"other", b"loop", b"other", b"loop", b"loop"]


# The number of threads


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, Event]]:
    """Two threads at most; each request for `/held` is answered after the event."""
    event = Event()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/held":
            assert event.wait(PATIENCE)
        return describe(environ, start_response)

    with Site.start(monkeypatch, app, threads=2) as started:
        yield started, event
        event.set()


@pytest.fixture
def no_more_threads() -> Iterator[Callable[[], object]]:
    """From its call on, the system starts none: no memory is large enough for the stack."""
    usual = stack_size()
    yield lambda: stack_size(1 << 46)
    stack_size(usual)


GET = b"GET /%s HTTP/1.1\r\n" + HOST + b"\r\n"


def test_a_thread_starts_when_a_request_finds_none_idle(held: tuple[Site, Event]) -> None:
    site, event = held
    threads = site.dispatcher.threads
    assert len(threads) == 1
    for _ in range(3):
        site.turn_until(lambda: not site.dispatcher.active_count)
        assert ask(site, GET % b"now").endswith(b'["", "/now"]\n')
    assert len(threads) == 1
    clients = [site.connect(data=GET % b"held") for _ in range(3)]
    assert len(threads) == 2
    event.set()
    for client in clients:
        assert site.receive(client, b"\n").endswith(b'["", "/held"]\n')
    assert len(threads) == 2


def test_with_fewer_threads_than_allowed_all_are_answered(
    held: tuple[Site, Event],
    no_more_threads: Callable[[], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, event = held
    no_more_threads()
    clients = [site.connect(data=GET % b"held") for _ in range(3)]
    event.set()
    for client in clients:
        assert site.receive(client, b"\n").endswith(b'["", "/held"]\n')
    remarks = [each.getMessage() for each in caplog.records if each.name == "restauth"]
    assert remarks == ["1 threads run: the system allows no more"]


# The path


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a", ["", "/a"]),
        (b"//a", ["", "//a"]),
        (b"///a//b/", ["", "///a//b/"]),
        (b"/%2fa", ["", "//a"]),
        (b"//a?b#c", ["", "//a"]),
        (b"http://localhost//a", ["", "//a"]),
        (b"*", ["", "*"]),
    ],
)
def test_the_path_is_the_one_that_was_sent(target: bytes, path: list[str], site: Site) -> None:
    answer = ask(site, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert json.loads(answer.split(b"\r\n\r\n")[1]) == path


@pytest.mark.parametrize(
    ("target", "path"), [(b"/pre/a", ["/pre", "/a"]), (b"//pre/a", ["", "//pre/a"])]
)
def test_a_prefix_has_one_spelling_too(
    target: bytes, path: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Site.start(monkeypatch, describe, url_prefix="/pre") as site:
        answer = ask(site, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert json.loads(answer.split(b"\r\n\r\n")[1]) == path


# The connection


@pytest.mark.parametrize("path", [b"/204", b"/"])
@pytest.mark.parametrize(
    ("version", "header", "is_kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: keep-alive\r\n", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.0", b"", False),
    ],
)
def test_a_response_keeps_the_connection_also_without_a_body(
    path: bytes, version: bytes, header: bytes, is_kept: bool, site: Site
) -> None:
    request = b"GET " + path + b" HTTP/" + version + b"\r\n" + HOST + header + b"\r\n"
    client = site.connect()
    for _ in range(5):
        site.send(client, request)
        answer = site.receive(client, b"\n" if path == b"/" else b"\r\n\r\n")
        assert (b"\r\nConnection: close\r\n" in answer) is not is_kept
        assert b"Content-Length" not in answer or path == b"/"
        if not is_kept:
            break
        assert site.is_open(client)
    site.turn_until(lambda: is_at_end(client) is not is_kept)


@pytest.mark.parametrize("path", [b"/204", b"/"])
def test_the_last_response_says_that_it_is_the_last(
    path: bytes, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.connect()
    (connection,) = site.connections.list()
    monkeypatch.setattr(connection, "task_class", LastTask)
    site.send(client, b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    answer = site.receive(client, b"\n" if path == b"/" else b"\r\n\r\n")
    assert answer.count(b"\r\nConnection: close\r\n") == 1
    site.turn_until(lambda: is_at_end(client))


# What the app does not see

REFUSED = {  # what comes after the method
    "no HTTP": (b"\r\n", 400),
    "a wrong length": (b" / HTTP/1.1\r\nHost: h\r\nOrigin: o\r\nContent-Length: x\r\n", 400),
    "a body too large": (b" / HTTP/1.1\r\nHost: h\r\nOrigin: o\r\nContent-Length: 999999\r\n", 413),
    "a header too large": (b" / HTTP/1.1\r\nX: ".ljust(HEADER_LIMIT - 8, b"x") + b"\r\n", 431),
    "a coding": (b" / HTTP/1.1\r\nHost: h\r\nOrigin: o\r\nTransfer-Encoding: gzip\r\n", 501),
}


@pytest.mark.parametrize(("rest", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_in_the_words_that_serve_is_given(
    rest: bytes, status: int, site: Site
) -> None:
    client = site.connect(data=b"POST" + rest + b"\r\n")
    header, body = site.receive(client, b"\n").split(b"\r\n\r\n")
    assert header.split(b"\r\n")[0].endswith(b" %d Refused" % status)
    assert b"\r\nConnection: close\r\n" in header
    assert b"\r\nX-Origin: " in header
    assert b"text/plain" not in header
    assert body == b"no.\n"
    site.turn_until(lambda: is_at_end(client))


def test_a_refusal_knows_the_origin_where_the_header_was_read(site: Site) -> None:
    rest, _ = REFUSED["a body too large"]
    assert b"\r\nX-Origin: o\r\n" in ask(site, b"POST" + rest + b"\r\n")


def test_a_refused_head_has_no_body(site: Site) -> None:
    rest, _ = REFUSED["a body too large"]
    client = site.connect(data=b"HEAD" + rest + b"\r\n")
    answer = site.receive(client, b"\r\n\r\n")
    assert b"\r\nContent-Length: 4\r\n" in answer
    site.turn_until(lambda: is_at_end(client))
