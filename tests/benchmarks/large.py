"""A database of ten million users and a million live sessions beside one of a thousand of each.

    python -m tests.benchmarks.large [USERS] [SESSIONS] [ROUNDS]

Rule: both databases answer the same requests in turns, in process, each time for a user or a
session that is chosen at random. The cheap hash of the tests is used, so the database has a larger
part than in real use. Then all sessions expire, and logins remove them: each in the transaction of
its own session, which holds the write lock. It needs some 3 GB of disk.
"""

import json
import sqlite3
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from itertools import count
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from restauth import settings
from restauth.core import passwords
from restauth.records import OPERATOR
from restauth.services import build_services
from restauth.testing import Clock
from restauth.web.app import App

SMALL = 1000
REQUESTS = {"token": 500, "login": 50, "registration": 50}  # in each round
LOGINS = 500  # that remove expired sessions
USERS = """
    INSERT INTO users (username, canonical_username, password_hash, created_at) VALUES (?, ?, ?, ?)
"""
SESSIONS = """
    INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at, renewable_until)
    VALUES (?, ?, ?, ?, ?, ?)
"""


class Side:
    """The service on one database, and the milliseconds of each kind of request."""

    def __init__(self, folder: Path, users: int, sessions: int) -> None:
        self.clock = Clock()
        self.random = Random(1)
        self.users, self.sessions = users, sessions
        self.new = count()
        self.times: dict[str, list[float]] = {kind: [] for kind in REQUESTS}
        self.services = build_services(
            settings.load({}, {"database": folder / "a.db", "key_file": folder / "a.keys"}),
            create=True,
            clock=self.clock,
            hash_cost=passwords.MIN_COST,
        )
        self.app = App(self.services)
        with closing(sqlite3.connect(folder / "a.db")) as database, database:
            self.fill(database)

    def fill(self, database: sqlite3.Connection) -> None:
        password_hash, now = passwords.hash("pw", passwords.MIN_COST), self.clock.now
        names = (f"user{number}" for number in range(self.users))
        database.executemany(USERS, ((name, name, password_hash, now) for name in names))
        end = now + 86_400
        database.executemany(
            SESSIONS,
            (
                (session_id(number), 1 + number % self.users, now, now, end, end)
                for number in range(self.sessions)
            ),
        )

    def measure(self) -> None:
        """One round."""
        prepared = self.prepared()
        for kind, number in REQUESTS.items():
            requests = [next(prepared[kind]) for _ in range(number)]
            next(prepared["registration"])()  # a write: what was read before is not remembered
            began = perf_counter()
            for send in requests:
                send()
            self.times[kind].append((perf_counter() - began) / len(requests) * 1000)

    def prepared(self) -> dict[str, Iterator[Callable[[], None]]]:
        """Requests, by their kind."""
        return {
            "token": self.token_requests(),
            "login": (
                self.request("GET", "/api/token", basic(self.random.randrange(self.users)))
                for _ in count()
            ),
            "registration": (
                self.request("POST", "/api/users", body={"username": f"n{number}", "password": "p"})
                for number in self.new
            ),
        }

    def token_requests(self) -> Iterator[Callable[[], None]]:
        while True:
            found = session_id(self.random.randrange(self.sessions))
            session = self.services._resources.store.find_session(found, self.clock.now)
            assert session is not None
            token = self.services.sessions.preview(session, OPERATOR).token
            yield self.request("GET", "/api/resource", f"Bearer {token}")

    def request(
        self, method: str, path: str, header: str = "", body: object = None
    ) -> Callable[[], None]:
        raw = json.dumps(body).encode() if body else b""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path,
            "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1",
            "HTTP_AUTHORIZATION": header, "wsgi.url_scheme": "http",
            "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(raw)),
            "wsgi.input": BytesIO(raw),
        }  # fmt: skip

        def start_response(status: str, *_: Any) -> Any:
            assert status[0] == "2", status

        def send() -> None:
            self.app(environ, start_response)

        return send

    def prune(self) -> list[float]:
        """The milliseconds in which logins begin a session and remove expired ones."""
        self.clock.advance(10 * 86_400)
        store, times = self.services._resources.store, []
        for _ in range(LOGINS):
            account = store.find_user(1 + self.random.randrange(self.users))
            assert account is not None
            began = perf_counter()
            self.services.sessions.issue(account, OPERATOR)
            times.append((perf_counter() - began) * 1000)
        return times


def session_id(number: int) -> str:
    """Spread over the whole table, as random ids are."""
    return f"{Random(number).getrandbits(64):016x}{number:06}"


def basic(number: int) -> str:
    return "Basic " + b64encode(f"user{number}:pw".encode()).decode()


def main(users: int = 10_000_000, sessions: int = 1_000_000, rounds: int = 15) -> None:
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        small, large = Side(Path(first), SMALL, SMALL), Side(Path(second), users, sessions)
        for _ in range(rounds):
            for side in (small, large):
                side.measure()
        for kind in REQUESTS:
            pairs = zip(large.times[kind], small.times[kind], strict=True)
            ratios = sorted(one / other for one, other in pairs)
            print(f"{kind}: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        times = large.prune()
        print(
            f"a new session that removes expired ones: median {median(times):.1f} ms, "
            f"99 % within {quantiles(times, n=100)[98]:.1f} ms, at most {max(times):.1f} ms"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
