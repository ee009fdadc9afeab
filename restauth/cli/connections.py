"""The connections of the server: their deadlines, their number and their memory.

Rule: no client holds for long what other clients need. A connection waits for its client only for a
limited time. When places or memory run out, the client that has most of them gives back first.
Time is monotonic: the wall clock may be set back.
"""

import logging
import math
import socket
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from time import monotonic
from typing import Any
from wsgiref.types import WSGIApplication

from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer, TcpWSGIServer, UnixWSGIServer

from restauth.cli.tasks import AppTask, Dispatcher, RefusalTask, Refuse
from restauth.core.throttle import network_of
from restauth.errors import UnusableAddress
from restauth.gate import WouldWait

# What is there, in a word; the address, HOST:PORT, which the setting of that name has; and its app.
Other = tuple[str, str, WSGIApplication]

REQUEST_DURATION = 15  # seconds from the first byte of a request to its last one
ANSWER_DURATION = 15  # seconds in which a client takes a whole response
# Seconds in which a connection keeps its place in any case: enough to send a request.
MIN_WAIT = 2
# Bytes of all requests that are not complete; the longest valid one has 16 KiB of header and some
# 7,000 bytes of body. Within one turn of the loop, 8 KiB for each connection come in addition.
MAX_UNFINISHED = 16 * 1024 * 1024
UNFINISHED_STEP = 1024 * 1024  # bytes received between two looks at that
PAUSE = 0.25  # seconds until a full server looks again for a place
REMARK_INTERVAL = 60  # seconds between two lines in the log about a full server

_log = logging.getLogger("restauth")


class Phase(Enum):
    """What a connection waits for."""

    IDLE = "a request"
    RECEIVING = "the rest of a request"
    ANSWERING = "the app"
    SENDING = "the client, to take the response"


class Request(HTTPRequestParser):
    """A request while it is received. It tells its connection when it is complete."""

    def __init__(self, adj: Adjustments, connection: "Connection") -> None:
        super().__init__(adj)
        self._connection = connection

    def received(self, data: bytes) -> int:
        """How many bytes of `data` are used. What follows a complete request is for later."""
        used = super().received(data)
        if not self.completed or self.empty:
            return used
        self._connection.put_off(data[used:])
        return len(data)

    def parse_header(self, header_plus: bytes) -> None:
        """Raises ParsingError, also without a Host in HTTP/1.1 (RFC 9112 section 3.2), and for a
        Content-Length of so many digits that Python does not make a number of it."""
        try:
            super().parse_header(header_plus)
        except ValueError:
            raise ParsingError("Content-Length is invalid") from None
        if self.version == "1.1" and "HOST" not in self.headers:
            raise ParsingError("Host is missing")


class Connection(HTTPChannel):
    """One connection. Its requests are answered one after the other: the next one is read when the
    client has taken the response, so that it never holds more than one response in memory."""

    task_class = AppTask
    error_task_class = RefusalTask
    must_not_wait = False
    _is_writing = False
    server: "Any"
    requests: Any

    def __init__(
        self, server: BaseWSGIServer, sock: socket.socket, addr: Any, adj: Adjustments, map: Any
    ) -> None:
        self.peer = network_of(str(addr[0]))
        self._next = b""  # what came after the request that is being answered
        self._enter(Phase.IDLE, monotonic())
        super().__init__(server, sock, addr, adj, map)

    def parser_class(self, adj: Adjustments) -> HTTPRequestParser:  # type: ignore[override]
        """A new request."""
        return Request(adj, weakref.proxy(self))  # a cycle would keep its memory for a while

    def received(self, data: bytes) -> bool:
        """Take bytes of a request. The deadline runs from the first one, also if it is one of the
        empty lines that may come before a request."""
        if self._phase is not Phase.RECEIVING:
            self._enter(Phase.RECEIVING, monotonic())
        self.server.connections.received += len(data)
        return super().received(data)

    def put_off(self, data: bytes) -> None:
        """A request is complete: keep what the client has sent after it."""
        self._next = data
        self._enter(Phase.ANSWERING, monotonic())

    def readable(self) -> bool:
        """Whether more may be read."""
        return not self._next and super().readable()

    def writable(self) -> bool:
        """Whether there is something to do when the client can take bytes."""
        if self._is_writing and self.total_outbufs_len <= self.adj.outbuf_high_watermark:
            return False
        return bool(super().writable()) or self._can_go_on

    def write_soon(self, data: Any) -> int:
        """Send from a thread of the app. Meanwhile the loop leaves the connection alone, unless the
        thread waits for it: else it would turn without a pause, because the client can take bytes
        and the thread has the lock, and would keep the interpreter lock from that thread."""
        self._is_writing = True
        try:
            written: int = super().write_soon(data)
        finally:
            self._is_writing = False
            if super().writable():
                self.server.pull_trigger()
        return written

    def handle_write(self) -> None:
        """Send, and go on with the next request when all is sent."""
        super().handle_write()
        if self.connected and self._can_go_on:
            data, self._next = self._next, b""
            self.received(data)

    def answer_at_once(self) -> bool:
        """Answer the request and send the response, unless the app would have to wait. False then:
        the request is still to be answered."""
        self.must_not_wait = True
        try:
            self.service()
        except WouldWait:
            return False
        finally:
            self.must_not_wait = False
        self.handle_write()
        return True

    @property
    def _can_go_on(self) -> bool:
        return bool(self._next) and not self.requests and not self.total_outbufs_len

    def waited(self, now: float) -> float:
        """For how many seconds the client has kept us waiting; negative when the app is at work."""
        phase = self._find_phase()
        if phase is not self._phase:
            self._enter(phase, now)
        return -1 if phase is Phase.ANSWERING else now - self._since

    def is_overdue(self, now: float) -> bool:
        """Whether the client has kept us waiting for too long."""
        waited = self.waited(now)
        match self._phase:
            case Phase.IDLE:
                limit = self.adj.channel_timeout
            case Phase.SENDING:
                limit = ANSWER_DURATION
            case _:
                limit = REQUEST_DURATION
        return waited > limit

    def unfinished(self) -> int:
        """How many bytes of a request that is not complete are kept."""
        request = self.request
        return request.header_bytes_received + request.body_bytes_received if request else 0

    def _find_phase(self) -> Phase:
        if self.total_outbufs_len:
            return Phase.SENDING
        if self.requests:
            return Phase.ANSWERING
        return Phase.RECEIVING if self._phase is Phase.RECEIVING else Phase.IDLE

    def _enter(self, phase: Phase, now: float) -> None:
        self._phase, self._since = phase, now


class Connections:
    """All connections of one server. `tidy` closes those that must go. It runs between two turns of
    the loop, because within a turn there may be events of a connection that is closed already."""

    def __init__(self, sockets: dict[int, Any], adj: Adjustments) -> None:
        self.received = 0  # bytes since the last look at the memory
        self.is_place_wanted = False  # a client asks for a connection, and there is no place
        self._sockets = sockets
        self._limit = adj.connection_limit
        self._interval = adj.cleanup_interval
        self._next_look = self._next_remark = self._pause_end = -math.inf

    def list(self) -> list[Connection]:
        """Those that are open."""
        return [each for each in self._sockets.values() if isinstance(each, Connection)]

    def is_full(self) -> bool:
        """Whether there is no place for one more. The sockets are more than the connections."""
        return len(self._sockets) >= self._limit and len(self.list()) >= self._limit

    def accepts(self) -> bool:
        """Whether to look for clients that ask for a connection."""
        return not self.is_full() or monotonic() >= self._pause_end

    def tidy(self) -> None:
        """Close what is overdue, what holds too much memory, and what a new client needs."""
        now = monotonic()
        if now >= self._next_look:
            self._next_look = now + self._interval
            _close(each for each in self.list() if each.is_overdue(now))
        if self.received >= UNFINISHED_STEP:
            self.received = 0
            self._limit_memory()
        if self.is_place_wanted:
            self.is_place_wanted = False
            self._make_place(now)

    def _limit_memory(self) -> None:
        sizes = {each: size for each in self.list() if (size := each.unfinished())}
        excess = sum(sizes.values()) - MAX_UNFINISHED
        while excess > 0:
            largest = max(_of_largest_peer(sizes, sizes.__getitem__), key=sizes.__getitem__)
            excess -= sizes.pop(largest)
            _close([largest])

    def _make_place(self, now: float) -> None:
        """The connection that has waited longest gives its place, of the peer that has most."""
        self._remark(now)
        waited = {each: time for each in self.list() if (time := each.waited(now)) >= 0}
        if waited:
            longest = max(_of_largest_peer(waited, lambda each: 1), key=waited.__getitem__)
            if waited[longest] >= MIN_WAIT:
                _close([longest])
                return
        self._pause_end = now + PAUSE

    def _remark(self, now: float) -> None:
        if now >= self._next_remark:
            self._next_remark = now + REMARK_INTERVAL
            _log.warning("%d connections are open: no more are possible", self._limit)


def _of_largest_peer(
    connections: Iterable[Connection], weigh: Callable[[Connection], int]
) -> list[Connection]:
    """The connections of the peer that has most."""
    sums: Counter[str] = Counter()
    for each in connections:
        sums[each.peer] += weigh(each)
    largest = max(sums, key=sums.__getitem__)
    return [each for each in connections if each.peer == largest]


def _close(connections: Iterable[Connection]) -> None:
    """Not by `will_close`: waitress then waits until the client can take bytes."""
    for connection in connections:
        connection.handle_close()


class Listener(BaseWSGIServer):
    """A socket on which clients ask for connections."""

    channel_class = Connection
    next_channel_cleanup = math.inf  # type: ignore[assignment] # waitress's own reads the wall clock
    connections: Connections
    refuse: Refuse | None
    _map: dict[int, Any]  # all sockets of the server
    effective_host: str  # "unix" for a Unix socket, ...
    effective_port: str  # ... whose path is here
    purpose = ""  # the word of an `Other`

    def readable(self) -> bool:
        """Whether to look for clients."""
        return bool(self.accepting) and self.connections.accepts()

    def handle_accept(self) -> None:
        """Accept the clients that wait, or ask for a place. waitress accepts one in a turn of the
        loop: of many that come at once, the last would wait for all requests of the others."""
        if self.connections.is_full():
            self.connections.is_place_wanted = True
        sockets = None
        while not self.connections.is_full() and sockets != len(self._map):
            sockets = len(self._map)
            super().handle_accept()


class TcpListener(Listener, TcpWSGIServer):
    """A listener on an address and a port."""


class UnixListener(Listener, UnixWSGIServer):
    """A listener on a Unix socket."""


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Raises UnusableAddress, which says where it was that no one can listen."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnusableAddress(f"Cannot listen on {where}: {reason.rstrip('.')}.") from None


def show_address(host: str, port: int | str) -> str:
    """HOST:PORT, as a URL has it."""
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def listen(
    app: WSGIApplication,
    adj: Adjustments,
    connections: Connections,
    sockets: dict[int, Any],
    dispatcher: Dispatcher,
    refuse: Refuse | None = None,
    others: Sequence[Other] = (),
) -> list[Listener]:
    """Listen on all addresses of the options, and then on those of `others`, which have apps of
    their own and share all else; `refuse` answers what the app does not see.

    The threads that call the app start last. Raises UnusableAddress.
    """
    addresses: Any = adj.listen  # resolved by waitress
    listeners: list[Listener] = []
    if adj.unix_socket:
        with naming(adj.unix_socket):
            listeners = [UnixListener(app, sockets, dispatcher=dispatcher, adj=adj)]
    else:
        for info in addresses:
            with naming(show_address(*info[3][:2])):
                listeners.append(
                    TcpListener(app, sockets, dispatcher=dispatcher, adj=adj, sockinfo=info)
                )
    for purpose, address, other in others:
        with naming(f"{address} (the setting {purpose})"):
            infos: Any = Adjustments(listen=address)
            for info in infos.listen:
                own = TcpListener(other, sockets, dispatcher=dispatcher, adj=adj, sockinfo=info)
                own.purpose = purpose
                listeners.append(own)
    for listener in listeners:
        listener.connections, listener.refuse = connections, refuse
    dispatcher.set_thread_count(adj.threads)
    return listeners
