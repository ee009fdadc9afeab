"""Clients of several processes of the service, what they were promised, and how a database fails.

Rule: a write that was answered by 2xx is acknowledged, and must last. One that was answered by 503
may have taken effect, so nothing is expected of it. Every other answer is a fault.
"""

import json
import random
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from itertools import count, cycle
from threading import Event, Thread
from time import monotonic, sleep
from typing import NamedTuple

from tests.conftest import basic, bearer
from tests.counterparts.postgres_servers import Cluster, Postgres, query
from tests.processes import Answer, Server, receive, send, until_deadline

LOGINS = 80  # of an account: below the limit of live sessions, where the oldest one is ended
PAUSE = 0.02  # seconds after a 503. A client should wait longer, but we look for the recovery.


class Exchange(NamedTuple):
    """One request and its answer; times are those of the monotonic clock."""

    server: Server
    is_write: bool
    began: float
    ended: float
    status: int
    has_retry_after: bool

    @property
    def is_acknowledged(self) -> bool:
        return self.is_write and self.status < 300


class Outage(NamedTuple):
    """Seconds from the moment in which the database was killed."""

    until_it_took_writes: float
    until_all_wrote: float  # all processes of the service

    @property
    def delay(self) -> float:
        """How much later than the database the service was back."""
        return self.until_all_wrote - self.until_it_took_writes


class Load:
    """Clients that register accounts, log in, use tokens and log out, as fast as they can."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.exchanges: list[Exchange] = []
        self.faults: list[str] = []
        self.users: set[str] = set()
        self.live: dict[str, str] = {}  # tokens by their sessions
        self.ended: dict[str, str] = {}  # those whose end was acknowledged
        self.ended_tokens: list[str] = []
        self._is_over = Event()

    @classmethod
    @contextmanager
    def running(cls, servers: list[Server], clients: int = 8) -> Iterator["Load"]:
        """At the end all clients have had their last answer."""
        load = cls(servers)
        threads = [Thread(target=load._work, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load._is_over.set()
            for thread in threads:
                thread.join()

    @property
    def acknowledged(self) -> int:
        return sum(each.is_acknowledged for each in list(self.exchanges))

    def wait_for_writes(self, more: int) -> None:
        """Until so many more are acknowledged."""
        wanted = self.acknowledged + more
        while self.acknowledged < wanted:
            before = self.acknowledged
            for _ in until_deadline():
                if self.acknowledged > before or self.faults:
                    break
                sleep(PAUSE)
            assert not self.faults, self.faults[:2]

    def back_at(self, since: float) -> float:
        """When the last of the servers has acknowledged a write that was sent since then."""
        for _ in until_deadline():
            assert not self.faults, self.faults[:2]
            firsts = [
                next((each.ended for each in self._written_at(server, since)), None)
                for server in self.servers
            ]
            if None not in firsts:
                return max(filter(None, firsts))
            sleep(PAUSE)
        raise AssertionError

    def _written_at(self, server: Server, since: float) -> Iterator[Exchange]:
        for each in list(self.exchanges):
            if each.server is server and each.is_acknowledged and each.began >= since:
                yield each

    @property
    def refused(self) -> list[Exchange]:
        return [each for each in self.exchanges if each.status == 503]

    def lost(self, url: str) -> list[str]:
        """What was acknowledged and is not in the database now."""
        users = {name for (name,) in query(url, "SELECT username FROM users")}
        sessions = {name for (name,) in query(url, "SELECT id FROM sessions")}
        missing = [*(self.users - users), *(self.live.keys() - sessions)]
        return [*missing, *(self.ended.keys() & sessions)]

    def _work(self, number: int) -> None:
        with ExitStack() as stack:
            connections = [
                (server, stack.enter_context(closing(server.connect()))) for server in self.servers
            ]
            try:
                _Client(self, cycle(connections), self._is_over).live(f"client{number}-")
            except Exception as error:  # noqa: BLE001 - of a thread, which nothing else reports
                self.faults.append(repr(error))


class _Client:
    """One of them: each request goes to the next server."""

    def __init__(
        self, load: Load, connections: "cycle[tuple[Server, HTTPConnection]]", is_over: Event
    ) -> None:
        self._load, self._connections, self._is_over = load, connections, is_over

    def live(self, prefix: str) -> None:
        for number in count():
            name = f"{prefix}{number}"
            if self._ask("POST", "/api/users", None, {"username": name, "password": "pw"}, 201):
                self._load.users.add(name)
                for turn in range(LOGINS):
                    if self._is_over.is_set():
                        return
                    self._log_in(name, is_ended=bool(turn % 2))
            if self._is_over.is_set():
                return

    def _log_in(self, name: str, *, is_ended: bool) -> None:
        answer = self._ask("GET", "/api/token", basic(name, "pw"), None, 200, is_write=True)
        if answer is None:
            return
        token = str(answer.json["token"])
        session = _session_of(token)
        if not is_ended:
            self._load.live[session] = token
            self._ask("GET", "/api/resource", bearer(token), None, 200)
        elif self._ask("DELETE", "/api/token", bearer(token), None, 204):
            self._load.ended[session] = token
            self._load.ended_tokens.append(token)
            for each in (token, random.choice(self._load.ended_tokens)):
                self._ask("GET", "/api/resource", bearer(each), None, 401)

    def _ask(
        self,
        method: str,
        path: str,
        credentials: Mapping[str, str] | None,
        value: object,
        status: int,
        *,
        is_write: bool | None = None,
    ) -> Answer | None:
        """The answer if it has that status; nothing for a 503."""
        server, connection = next(self._connections)
        began = monotonic()
        send(connection, method, path, credentials, value)
        answer = receive(connection)
        self._load.exchanges.append(
            Exchange(
                server,
                method != "GET" if is_write is None else is_write,
                began,
                monotonic(),
                answer.status,
                "retry-after" in answer.headers,
            )
        )
        if answer.status == status:
            return answer
        if answer.status != 503:
            self._load.faults.append(f"{method} {path}: {answer}")
        sleep(PAUSE)
        return None


def _session_of(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"])


def crash(server: Postgres, load: Load) -> Outage:
    """Kill a server, start it again, and wait for the service."""
    server.kill()
    killed_at = monotonic()
    server.start()
    return _outage(load, killed_at)


def fail_over(cluster: Cluster, load: Load) -> Outage:
    """Kill the primary and its Patroni, and wait for another primary, and for the service. Then the
    killed one comes back as a standby."""
    last = cluster.primary
    last.kill()
    killed_at = monotonic()
    assert cluster.primary is not last
    outage = _outage(load, killed_at)
    last.start()
    cluster.wait_until_whole()
    return outage


def _outage(load: Load, killed_at: float) -> Outage:
    """Of a database that takes writes again since this moment."""
    took_writes_at = monotonic()
    return Outage(took_writes_at - killed_at, load.back_at(killed_at) - killed_at)
