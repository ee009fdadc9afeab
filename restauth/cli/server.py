"""The server, waitress, with limits and a stop for production.

Rule: knows the server and nothing of the app that it serves. Every limit is here, with its reason;
the operator may set each of them, by waitress's own names.
"""

import logging
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from os import _exit
from types import FrameType
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import WSGITask

from restauth.cli.forwarded import ForwardedScheme
from restauth.domain.audit import LOGGER
from restauth.errors import UnusableAddress
from restauth.services import HASH_QUEUE, HASH_SLOTS
from restauth.storage.engine import MAX_WRITERS

# One more than can hash or wait to write, so that a thread is always left for a token request.
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
    "channel_timeout": 10,  # seconds before an idle or slow connection is cut ...
    "cleanup_interval": 5,  # ... and how often that is looked at
    "ident": None,  # no version banner
    "expose_tracebacks": False,
}


def serve(
    app: WSGIApplication, options: Mapping[str, Any], announce: Callable[[list[str]], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the responses under way. A second signal ends the
    process at once.

    `options` are waitress's, as text. `announce` is called with the addresses, when the server
    listens. Raises UnusableAddress.
    """
    options = {**LIMITS, **options}
    files = 3 * int(options["threads"]) + SPARE_FILES  # SQLite has three to a connection
    options["connection_limit"] = _raise_file_limit(int(options["connection_limit"]), files)
    sockets: dict[int, Any] = {}
    try:
        server = create_server(app, map=sockets, **options)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnusableAddress(
            f"Cannot listen on {options['listen']}: {reason.rstrip('.')}."
        ) from None
    for listener in [each for each in sockets.values() if isinstance(each, BaseWSGIServer)]:
        proxies = int(options.get("trusted_proxy_count", 1))
        listener.application = ForwardedScheme(listener.application, proxies)
    stop = _Stop()
    announce(_addresses(server))
    while not stop.is_asked:
        _turn(sockets)
    _finish(sockets)
    server.task_dispatcher.shutdown(timeout=1)
    wasyncore.close_all(sockets)


def configure_logging() -> None:
    """All logs to standard error. The audit log is written there as plain JSON lines."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    audit = logging.getLogger(LOGGER)
    audit.addHandler(logging.StreamHandler())
    audit.setLevel(logging.INFO)
    audit.propagate = False
    # Under a flood, a line for each request that waits for a thread would fill the disk.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class _LastTask(WSGITask):
    """Answers, and closes the connection after that."""

    def build_response_header(self) -> bytes:
        self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header


class _Stop:
    """The first signal asks the loop to end; the second one ends the process."""

    def __init__(self) -> None:
        self.is_asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            _exit(128 + number)  # as a shell reports a process that a signal has ended
        self.is_asked = True


def _turn(sockets: dict[int, Any]) -> None:
    wasyncore.loop(timeout=0.5, use_poll=True, map=sockets, count=1)


def _finish(sockets: dict[int, Any]) -> None:
    """Accept no new connection, and go on until all responses are sent or the time is over. Each
    response closes its connection, so that no client sends another request that is lost."""
    HTTPChannel.task_class = _LastTask
    for listener in [each for each in sockets.values() if isinstance(each, BaseWSGIServer)]:
        # Not listener.close(): it also closes the trigger by which threads hand over responses.
        wasyncore.dispatcher.close(listener)
    deadline = time.monotonic() + STOP_DURATION
    while time.monotonic() < deadline:
        _turn(sockets)
        channels = [each for each in sockets.values() if isinstance(each, HTTPChannel)]
        if not any(channel.requests or channel.total_outbufs_len for channel in channels):
            break


def _addresses(server: Any) -> list[str]:
    listening = getattr(server, "effective_listen", None) or [
        (server.effective_host, server.effective_port)
    ]
    return [f"http://{f'[{host}]' if ':' in host else host}:{port}" for host, port in listening]


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
