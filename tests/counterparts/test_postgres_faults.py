"""PostgreSQL fails: each fault is a 503 with Retry-After until the server is well again.

Rule: a real server with the real fault. No answer is a 500, and nothing is restarted.
"""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from time import sleep
from typing import Any

import psycopg
import pytest
import webtest

from restauth.services import Services
from restauth.storage.engine import MAX_WRITERS
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.counterparts.postgres_servers import DATABASE, POLL, Postgres
from tests.processes import PATIENCE, until_deadline

LIMIT = 200 * 8192 + 4096  # bytes of a file: in the middle of a page of PostgreSQL
_names = (f"user{number}" for number in count())


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres.running(largest_file=LIMIT, autovacuum="off") as server:
        yield server


@pytest.fixture
def services(server: Postgres, make_services: ServicesFactory) -> Services:
    server.admin(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    server.admin(f"CREATE DATABASE {DATABASE} OWNER restauth")
    return make_services(database=server.url(), credential_cache=0)


class Site:
    """The service, one user of it, and the user's token."""

    def __init__(self, services: Services) -> None:
        self.client: webtest.TestApp = client_of(services)
        self.register("ada", 201)
        self.token = self.client.get("/api/token", headers=basic("ada", "pw")).json["token"]

    def register(self, name: str, status: int | None = None) -> Any:
        value = {"username": name, "password": "pw"}
        return self.client.post_json("/api/users", value, status=status or "*")

    def use_token(self) -> Any:
        return self.client.get("/api/resource", headers=bearer(self.token), status="*")

    def log_in(self) -> Any:
        return self.client.get("/api/token", headers=basic("ada", "pw"), status="*")

    def look_up(self) -> Any:
        return self.client.get("/api/users/1", status="*")

    def add_a_user(self) -> Any:
        return self.register(next(_names))

    def ask_for_health(self) -> Any:
        return self.client.get("/api/health", status="*")

    @property
    def reads(self) -> list[Callable[[], Any]]:
        return [self.use_token, self.look_up]

    @property
    def writes(self) -> list[Callable[[], Any]]:
        return [self.log_in, self.add_a_user]


@pytest.fixture
def site(services: Services) -> Site:
    return Site(services)


def refused(*requests: Callable[[], Any]) -> None:
    for request in requests:
        answer = request()
        assert answer.status_code == 503, (request, answer)
        assert int(answer.headers["Retry-After"]) >= 1


def served(*requests: Callable[[], Any]) -> None:
    for request in requests:
        assert request().status_code in (200, 201), request


def served_again(*requests: Callable[[], Any]) -> None:
    """Nothing but 503, and then the answer."""
    for request in requests:
        for _ in until_deadline():
            answer = request()
            if answer.status_code != 503:
                break
            sleep(POLL)
        assert answer.status_code in (200, 201), (request, answer)


# Each takes a server, and gives it back in the state of before.


@contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    server.stop()
    yield
    server.start()


@contextmanager
def killed(server: Postgres) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """It listens, and does not answer."""
    server.send_to_all(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send_to_all(signal.SIGCONT)


@contextmanager
def standby(server: Postgres) -> Iterator[None]:
    """It has become a standby, which is only read, and is promoted at the end."""
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    yield
    assert server.admin("SELECT pg_promote()") == [(True,)]


@contextmanager
def full_of_connections(server: Postgres) -> Iterator[None]:
    server.admin("ALTER ROLE restauth CONNECTION LIMIT 0")
    cut(server)
    yield
    server.admin("ALTER ROLE restauth CONNECTION LIMIT -1")


@contextmanager
def forbidden(server: Postgres) -> Iterator[None]:
    """The role may not log in any more, and its sessions are ended."""
    server.admin("ALTER ROLE restauth NOLOGIN")
    cut(server)
    yield
    server.admin("ALTER ROLE restauth LOGIN")


def cut(server: Postgres) -> None:
    server.admin(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'restauth'"
    )


@pytest.mark.parametrize(
    "fault", [stopped, killed, frozen, standby, full_of_connections, forbidden]
)
def test_a_server_that_cannot_be_used_is_a_503_until_it_can(
    server: Postgres, site: Site, fault: Callable[[Postgres], Any]
) -> None:
    requests = [*site.reads, *site.writes, site.ask_for_health]
    served(*requests)
    with fault(server):
        refused(*requests)
        refused(*requests)
    served_again(*requests)


def test_a_session_on_a_server_that_has_become_read_only_is_not_used_again(
    server: Postgres, site: Site
) -> None:
    def set_read_only(value: str) -> None:
        server.admin(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        server.admin("SELECT pg_reload_conf()")

    set_read_only("on")
    try:
        for _ in until_deadline():  # no write, which would fail, says it
            if site.use_token().status_code == 503:
                break
        refused(*site.reads, *site.writes)
    finally:
        set_read_only("off")
    served_again(*site.reads, *site.writes)


def test_sessions_that_were_ended_while_idle_are_not_noticed(server: Postgres, site: Site) -> None:
    served(*site.reads, *site.writes)
    for request in (*site.reads, *site.writes):
        cut(server)
        served(request)


def test_a_full_disk_refuses_what_needs_space_and_nothing_else(
    server: Postgres, site: Site
) -> None:
    fill = (
        "INSERT INTO users (username, canonical_username, password_hash, created_at) "
        "SELECT n, n, repeat('x', 100), 0 FROM generate_series(1, 100000) n"
    )
    with pytest.raises(psycopg.errors.DiskFull):
        server.admin(fill, DATABASE)
    refused(site.add_a_user)
    served(*site.reads, site.log_in, site.ask_for_health)
    server.admin("VACUUM users", DATABASE)
    served(site.add_a_user)


@contextmanager
def locked(server: Postgres, mode: str) -> Iterator[None]:
    """Another program has locked the users."""
    with psycopg.connect(server.url(), user="postgres") as other:
        other.execute(f"LOCK TABLE users IN {mode} MODE".encode())
        yield


def wait_for_lock(server: Postgres) -> None:
    """Until one of our sessions waits."""
    for _ in until_deadline():
        if server.admin(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'restauth' AND wait_event_type = 'Lock'"
        ):
            return
        sleep(POLL)


def test_a_statement_that_takes_too_long_is_a_503(server: Postgres, site: Site) -> None:
    server.admin("ALTER ROLE restauth SET statement_timeout = '100ms'")
    cut(server)
    try:
        with locked(server, "ACCESS EXCLUSIVE"):
            refused(*site.reads, *site.writes)
        served(*site.reads, *site.writes)
    finally:
        server.admin("ALTER ROLE restauth RESET statement_timeout")


def test_when_all_writers_wait_the_next_ones_are_refused_and_readers_are_served(
    server: Postgres, site: Site
) -> None:
    with ThreadPoolExecutor(2 * MAX_WRITERS) as threads, locked(server, "SHARE"):
        answers = [threads.submit(site.add_a_user) for _ in range(2 * MAX_WRITERS)]
        wait_for_lock(server)
        served(*site.reads)
        for answer in answers:
            refused(lambda answer=answer: answer.result(PATIENCE))  # type: ignore[misc]
    served(*site.writes)


def test_a_transaction_that_is_cut_before_its_commit_is_run_again(
    server: Postgres, site: Site
) -> None:
    with ThreadPoolExecutor(1) as thread:
        with locked(server, "SHARE"):
            answer: Future[Any] = thread.submit(site.add_a_user)
            wait_for_lock(server)
            cut(server)
            wait_for_lock(server)
        served(lambda: answer.result(PATIENCE))


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
def test_a_commit_in_doubt_is_neither_acknowledged_nor_run_again(
    server: Postgres, site: Site, end: str
) -> None:
    """It waits for a standby that has it too, which is not there."""

    def set_standby(name: str) -> None:
        server.admin(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
        server.admin("SELECT pg_reload_conf()")
        for _ in until_deadline():  # all sessions are told before a new one is begun
            if server.admin("SHOW synchronous_standby_names") == [(name,)]:
                break

    set_standby("missing")
    try:
        with ThreadPoolExecutor(1) as thread:
            answer: Future[Any] = thread.submit(site.add_a_user)
            for _ in until_deadline():
                if server.admin(
                    f"SELECT {end}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                ):
                    break
            refused(lambda: answer.result(PATIENCE))
            served(*site.reads)
            refused(*site.writes)
    finally:
        set_standby("")
    served_again(*site.writes)
