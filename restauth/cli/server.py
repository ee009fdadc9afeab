"""The server, waitress, with limits and a stop for production.

Rule: knows the server and nothing of the app that it serves. Every limit that waitress has is here,
with its reason; the operator may set each of them, by waitress's own names. The limits that
waitress does not have are in `cli.connections`.
"""

import logging
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from os import _exit
from types import FrameType
from typing import Any, TextIO
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher

from restauth.cli.connections import (
    Connection,
    Connections,
    Listener,
    Other,
    listen,
    naming,
    show_address,
)
from restauth.cli.forwarded import ForwardedScheme
from restauth.cli.tasks import Dispatcher, LastTask, Refuse
from restauth.domain.audit import LOGGER
from restauth.errors import UnusableAddress
from restauth.services import HASH_QUEUE, HASH_SLOTS
from restauth.storage.engine import MAX_WRITERS

# One more than can hash, or wait to write while another process holds the database: so a thread is
# left for a token request.
MIN_THREADS = HASH_SLOTS + HASH_QUEUE + MAX_WRITERS + 1
THREADS = MIN_THREADS + 3
SPARE_FILES = 32  # logs, the key ring, listening sockets
STOP_DURATION = 5  # seconds for the responses under way after SIGTERM

LIMITS: dict[str, Any] = {
    "threads": THREADS,
    "max_request_body_size": 131_072,  # bytes; above 64 KiB the app refuses with a problem document
    "max_request_header_size": 16_384,  # bytes; the longest Authorization that we accept has 8 KiB
    "connection_limit": 2000,  # a thousand idle connections must not keep a client out
    "asyncore_use_poll": True,  # select() cannot watch that many
    "channel_timeout": 10,  # seconds before an idle connection is closed
    "cleanup_interval": 1,  # seconds between two looks at the deadlines of connections
    "ident": None,  # no version banner
    "expose_tracebacks": False,
}


def serve(
    app: WSGIApplication,
    options: Mapping[str, Any],
    announce: Callable[[list[str]], None],
    refuse: Refuse | None = None,
    *,
    is_app_prompt: bool = False,
    others: Sequence[Other] = (),
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the responses under way. A second signal ends the
    process at once.

    `options` are waitress's, as text. `announce` is called with the addresses, when the server
    listens and before it accepts; it may make the app ready. `refuse` makes the answers to requests
    that the app does not see. `is_app_prompt` is for `Dispatcher`, `others` for `listen`. Raises
    UnusableAddress.
    """
    options = {**LIMITS, **options}
    files = 3 * int(options["threads"]) + SPARE_FILES  # SQLite has three to a connection
    options["connection_limit"] = _raise_file_limit(int(options["connection_limit"]), files)
    sockets: dict[int, Any] = {}
    try:
        with naming(options.get("listen") or options["unix_socket"]):
            adjustments = Adjustments(**options)
        connections = Connections(sockets, adjustments)
        dispatcher = Dispatcher(is_app_prompt=is_app_prompt)
        listeners = listen(app, adjustments, connections, sockets, dispatcher, refuse, others)
    except UnusableAddress:
        wasyncore.close_all(sockets)
        raise
    for listener in listeners:
        proxies = int(options.get("trusted_proxy_count", 1))
        listener.application = ForwardedScheme(listener.application, proxies)
    stop = _Stop(listeners[0].pull_trigger)
    try:
        announce([_address(listener) for listener in listeners])
    except BaseException:
        wasyncore.close_all(sockets)
        raise
    while not stop.is_asked:
        _turn(sockets, dispatcher)
        connections.tidy()
    _finish(sockets, dispatcher, listeners, connections)
    _end_threads(dispatcher)
    wasyncore.close_all(sockets)


def configure_logging() -> None:
    """All logs to standard error. The audit log is written there as plain JSON lines."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[_QuietHandler()]
    )
    audit = logging.getLogger(LOGGER)
    audit.addHandler(_QuietHandler())
    audit.setLevel(logging.INFO)
    audit.propagate = False
    # Under a flood, a line for each request that waits for a thread would fill the disk.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class _QuietHandler(logging.StreamHandler[TextIO]):
    """Loses a line that standard error does not take (a full disk). Logging would print a traceback
    for each of them, to standard error too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Print nothing."""


class _Stop:
    """The first signal asks the loop to end, and wakes it; the second one ends the process."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.is_asked = False
        self._wake = wake
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            _exit(128 + number)  # as a shell reports a process that a signal has ended
        self.is_asked = True
        self._wake()


def _turn(sockets: dict[int, Any], dispatcher: Dispatcher) -> None:
    wasyncore.loop(timeout=0.5, use_poll=True, map=sockets, count=1)
    dispatcher.answer()


def _finish(
    sockets: dict[int, Any],
    dispatcher: Dispatcher,
    listeners: list[Listener],
    connections: Connections,
) -> None:
    """Accept no new connection, and go on until all responses are sent or the time is over. Each
    response closes its connection, so that no client sends another request that is lost."""
    Connection.task_class = LastTask
    for listener in listeners:
        # Not listener.close(): it also closes the trigger by which threads hand over responses.
        wasyncore.dispatcher.close(listener)
    deadline = time.monotonic() + STOP_DURATION
    while connections.list() and time.monotonic() < deadline:
        _turn(sockets, dispatcher)
        if not any(each.requests or each.total_outbufs_len for each in connections.list()):
            break


def _end_threads(dispatcher: ThreadedTaskDispatcher) -> None:
    """Give the threads a second. waitress waits by the wall clock, which may be set back."""
    dispatcher.set_thread_count(0)
    with dispatcher.thread_exit_cv:
        dispatcher.thread_exit_cv.wait_for(lambda: not dispatcher.threads, timeout=1)
    dispatcher.shutdown(timeout=0)


def _address(listener: Listener) -> str:
    host, port = listener.effective_host, listener.effective_port
    if host == "unix":
        return f"unix:{port}"
    url = f"http://{show_address(host, port)}"
    return f"{listener.purpose} at {url}" if listener.purpose else url


def _raise_file_limit(connections: int, files: int) -> int:
    """Allow as many open files as connections and our own files need. The number of connections
    that are possible."""
    wanted = connections + files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    room = max(1, limit - files)
    if room < connections and sys.stderr is not None:
        print(f"restauth: room for {room} connections only: see ulimit -n", file=sys.stderr)
    return room
