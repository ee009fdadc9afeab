"""Deadlines, places and memory of connections, with real sockets and a clock that the test sets."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from restauth.cli import connections
from restauth.cli.connections import ANSWER_DURATION, MIN_WAIT, REQUEST_DURATION, Connection
from restauth.cli.server import LIMITS
from restauth.web.http import MAX_BODY_LENGTH
from tests.cli.site import Site, is_at_end, read
from tests.documents import chapter, rows
from tests.processes import PATIENCE

IDLE_DURATION = LIMITS["channel_timeout"]
GET = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
LONG = 2 * 10**7  # bytes, more than the kernel takes for a client that does not read


class LongAnswers:
    """An app. `count` is how many answers it has given."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.count += 1
        start_response("200 OK", [("Content-Length", str(LONG))])
        return [b"x" * (LONG - 1) + b"."]


class Slow:
    """An app that answers when it may. `is_called` is set when it begins."""

    def __init__(self) -> None:
        self.is_called, self.may_answer = Event(), Event()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.is_called.set()
        assert self.may_answer.wait(PATIENCE)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Site.start(monkeypatch) as started:
        yield started


def test_the_loop_leaves_a_connection_alone_while_a_thread_sends(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Else it would turn without a pause, and keep the interpreter lock from that thread."""
    is_sending, may_send, send = Event(), Event(), Connection.send

    def send_later(connection: Connection, data: bytes, **keywords: Any) -> Any:
        is_sending.set()
        assert may_send.wait(PATIENCE)
        return send(connection, data, **keywords)

    monkeypatch.setattr(Connection, "send", send_later)
    client = site.connect(data=GET % b"end")
    assert is_sending.wait(PATIENCE)
    (connection,) = site.connections.list()
    assert (connection.total_outbufs_len > 0, connection.writable()) == (True, False)
    may_send.set()
    site.receive(client, b"/end")


# Deadlines


NEVER_COMPLETE = {  # how it begins, and what comes again and again
    "a header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x"),
    "nothing but empty lines": (b"", b"\r\n\r\n"),
    "empty lines that never end": (b"\r\n", b"\r\n\r\n\r\n"),
    "a body": (POST + b"Content-Length: 1000\r\n\r\n", b"x"),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a body that waits": (POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n", b""),
}


@pytest.mark.parametrize(("start", "drop"), NEVER_COMPLETE.values(), ids=NEVER_COMPLETE)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "after another"])
def test_a_request_that_is_never_complete_is_cut_however_many_bytes_come(
    start: bytes, drop: bytes, is_first: bool, site: Site
) -> None:
    client = site.connect()
    if not is_first:
        site.send(client, GET % b"end")
        site.receive(client, b"/end")
    site.send(client, start or drop)
    begun_at = site.now
    while site.now + 4 < begun_at + min(IDLE_DURATION, REQUEST_DURATION):
        site.wait(4)
        site.send(client, drop)
    while site.is_open(client) and site.now < begun_at + 60:
        site.wait(1)
        if site.is_open(client):
            site.send(client, drop)
    assert IDLE_DURATION <= site.now - begun_at <= REQUEST_DURATION + 2
    if b"Host" in start:
        assert site.now - begun_at > REQUEST_DURATION
    assert is_at_end(client) or start.endswith(b"continue\r\n\r\n")


def test_a_request_has_its_whole_time(site: Site) -> None:
    client = site.connect()
    for _ in range(3):
        site.wait(IDLE_DURATION - 1)  # the time before the first byte is another
        site.send(client, b"GET /end HT")
        site.wait(REQUEST_DURATION - 1)
        site.send(client, b"TP/1.1\r\nHost: localhost\r\n\r\n")
        assert site.receive(client, b"/end").startswith(b"HTTP/1.1 200")


def test_an_idle_connection_is_closed(site: Site) -> None:
    fresh, used = site.connect(), site.connect()
    site.wait(IDLE_DURATION - 1)
    site.send(used, GET % b"end")
    site.receive(used, b"/end")
    site.wait(2)
    assert (site.is_open(fresh), site.is_open(used)) == (False, True)
    site.wait(IDLE_DURATION + 1)
    assert not site.is_open(used)
    assert is_at_end(fresh)
    assert is_at_end(used)


def test_the_operator_sets_how_long_a_connection_may_be_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Site.start(monkeypatch, channel_timeout="60") as site:
        client = site.connect()
        site.wait(59)
        assert site.is_open(client)
        site.wait(2)
        assert not site.is_open(client)


def test_a_client_that_does_not_take_its_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    with Site.start(monkeypatch, LongAnswers()) as site:
        client = site.connect(data=GET % b"")
        (connection,) = site.connections.list()
        site.turn_until(lambda: connection.total_outbufs_len > 0 and not connection.requests)
        site.wait(1)  # seen
        for _ in range(ANSWER_DURATION):
            assert site.is_open(client)
            site.wait(1)
            client.recv(1)  # one byte now and then does not help
        site.wait(2)
        assert not site.is_open(client)


def test_an_answer_after_the_other_has_its_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is on its way at each look, and none for too long."""
    with Site.start(monkeypatch, LongAnswers()) as site:
        client = site.connect()
        (connection,) = site.connections.list()
        for _ in range(3):
            site.send(client, GET % b"")
            site.turn_until(lambda: connection.total_outbufs_len > 0)
            site.wait(1)
            site.wait(ANSWER_DURATION - 2)
            site.receive(client, b".")
            assert site.is_open(client)


def test_the_app_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Slow()
    with Site.start(monkeypatch, app) as site:
        client = site.connect(data=GET % b"")
        assert app.is_called.wait(PATIENCE)
        site.wait(1000)
        app.may_answer.set()
        assert site.receive(client, b"done").startswith(b"HTTP/1.1 200")


def test_the_wall_clock_may_be_set_back(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    slow, idle = site.connect(data=b"GET /"), site.connect()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    site.wait(REQUEST_DURATION + 1)
    assert (site.is_open(slow), site.is_open(idle)) == (False, False)


# Requests that are sent without waiting for answers


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    paths = [b"%d" % number for number in range(40)]
    requests = b"\r\n".join(GET % path for path in paths)  # an empty line is allowed between two
    client = site.connect(data=requests + GET % b"end")
    answers = site.receive(client, b"/end")
    assert [part.rpartition(b"/")[2] for part in answers.split(b"HTTP/1.1 200 OK")[1:]] == [
        *paths, b"end"
    ]  # fmt: skip


def test_no_request_is_worked_on_before_the_answer_to_the_one_before_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = LongAnswers()
    with Site.start(monkeypatch, app) as site:
        client = site.connect(data=GET % b"" * 3)
        (connection,) = site.connections.list()
        site.turn_until(lambda: app.count > 0 and not connection.requests)
        for _ in range(10):
            site.turn()
        assert app.count == 1
        assert connection.total_outbufs_len < LONG
        received = 0

        def is_all_there() -> bool:
            nonlocal received
            received += len(read(client))
            return received > 3 * LONG

        site.turn_until(is_all_there)
        assert app.count == 3


def test_clients_that_send_and_do_not_read_leave_a_thread_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There are two threads, and each answer is more than waitress keeps for a connection."""
    with Site.start(monkeypatch, LongAnswers(), outbuf_high_watermark="100000") as site:
        for _ in range(4):
            site.connect(data=GET % b"" * 100)
        client = site.connect(data=GET % b"")
        assert len(site.receive(client, b".")) > LONG


# Places


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch, peers: str, **options: Any) -> Iterator[tuple[Site, Any]]:
    """A server without a place, and its clients in the order in which they came, one a second."""
    with Site.start(monkeypatch, connection_limit=str(len(peers)), **options) as site:
        clients = []
        for peer in peers:
            clients.append(site.connect(f"127.0.0.{peer}", b"GET /"))
            site.wait(1)
        yield site, clients


def test_all_clients_that_come_at_once_are_accepted_in_one_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Site.start(monkeypatch, connection_limit=5) as site:
        for number in (3, 5, 5):  # and no more than there are places
            for _ in range(3):
                site.ask_for_place()
            site.turn()
            assert len(site.connections.list()) == number


@pytest.mark.parametrize(
    ("peers", "closed"),
    [("2222", 0), ("3222", 1), ("3322445", None), ("2333445", 1), ("2", 0)],
)
@pytest.mark.parametrize("newcomer", "2346")
def test_a_newcomer_gets_the_place_of_who_waits_longest_of_the_peer_with_most(
    peers: str, closed: int | None, newcomer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full(monkeypatch, peers) as (site, clients):
        site.wait(MIN_WAIT)
        client = site.connect(f"127.0.0.{newcomer}", GET % b"end")
        assert site.receive(client, b"/end").startswith(b"HTTP/1.1 200")
        gone = [number for number, each in enumerate(clients) if not site.is_open(each)]
        assert len(gone) == 1
        assert closed is None or gone == [closed]


def test_a_newcomer_waits_until_others_had_the_time_to_send_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with full(monkeypatch, "2") as (site, (first,)):
        site.wait(MIN_WAIT - 1.5)
        newcomer = site.ask_for_place()
        newcomer.sendall(GET % b"end")
        for _ in range(5):
            site.turn()
        assert site.is_open(first)
        assert len(site.connections.list()) == 1
        site.wait(1.5)
        assert site.receive(newcomer, b"/end").startswith(b"HTTP/1.1 200")
        assert not site.is_open(first)


def test_a_place_that_becomes_free_is_given_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with full(monkeypatch, "2") as (site, (first,)):
        newcomer = site.ask_for_place()
        for _ in range(5):
            site.turn()
        first.close()
        site.turn_until(lambda: site.is_open(newcomer))


def test_no_connection_is_closed_while_the_app_is_at_work_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Slow()
    with full(monkeypatch, "2", app=app) as (site, (first,)):
        site.send(first, b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert app.is_called.wait(PATIENCE)
        newcomer = site.ask_for_place("127.0.0.3")
        for _ in range(5):
            site.wait(MIN_WAIT)
        assert (site.is_open(first), site.is_open(newcomer)) == (True, False)
        app.may_answer.set()
        site.receive(first, b"done")


def test_a_full_server_says_so_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with full(monkeypatch, "22") as (site, _):
        for wait in (MIN_WAIT, MIN_WAIT, 60):
            site.wait(wait)
            for _ in range(3):
                site.connect("127.0.0.3")
                site.wait(MIN_WAIT)
    assert [level for _, level, line in caplog.record_tuples if "connections" in line] == [
        logging.WARNING, logging.WARNING
    ]  # fmt: skip


# Memory


def body(length: int) -> bytes:
    """The start of a request with a body, of which one byte is missing."""
    start = POST + b"Content-Length: %d\r\n\r\n" % (length + 1)
    return start + b"x" * length


def test_the_memory_of_unfinished_requests_is_limited_and_the_largest_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_UNFINISHED", 100_000)
    monkeypatch.setattr(connections, "UNFINISHED_STEP", 1)
    with Site.start(monkeypatch) as site:
        small = [site.connect(f"127.0.0.{peer}") for peer in "2233"]
        large = [site.connect(f"127.0.0.{peer}") for peer in "2222"]
        header = site.connect("127.0.0.2")
        header.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 12_000)
        for client in small:
            client.sendall(body(7000))
        for client in large:
            client.sendall(body(30_000))
        site.turn_until(lambda: sum(site.is_open(client) for client in large) == 1)
        assert all(site.is_open(client) for client in (header, *small))
        assert sum(each.unfinished() for each in site.connections.list()) <= 100_000
        for client in small:
            client.sendall(b"x")
            assert site.receive(client, b"/").startswith(b"HTTP/1.1 200")


def test_a_complete_request_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with Site.start(monkeypatch) as site:
        client = site.connect(data=body(5000))
        (connection,) = site.connections.list()
        assert connection.unfinished() > 5000
        site.send(client, b"x")
        site.receive(client, b"/")
        assert connection.unfinished() == 0


# What cannot be read


def test_a_content_length_of_thousands_of_digits_is_malformed(site: Site) -> None:
    client = site.connect(data=POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")
    assert site.receive(client, b"server)").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("rest", [b"", b"Content-Length: 3\r\n"])
def test_http_1_1_needs_a_host(rest: bytes, site: Site) -> None:
    client = site.connect(data=b"POST / HTTP/1.1\r\n" + rest + b"\r\nabc")
    assert site.receive(client, b"server)").startswith(b"HTTP/1.1 400")
    client = site.connect(data=b"POST / HTTP/1.0\r\n" + rest + b"\r\nabc")
    assert site.receive(client, b"/").startswith(b"HTTP/1.0 200")


# What the guide says


def test_the_guide_has_the_limits() -> None:
    values = {row[0]: row[1] for row in rows(chapter("operating", "Limits of the server"))}
    assert list(values.values()) == [
        f"{IDLE_DURATION} s (`--channel-timeout`)",
        f"{REQUEST_DURATION} s",
        f"{ANSWER_DURATION} s",
        "1",
        f"{LIMITS['connection_limit']} (`--connection-limit`)",
        f"{connections.MAX_UNFINISHED >> 20} MiB",
        f"{LIMITS['max_request_header_size'] >> 10} KiB (`--max-request-header-size`)",
        f"{MAX_BODY_LENGTH >> 10} KiB",
    ]
