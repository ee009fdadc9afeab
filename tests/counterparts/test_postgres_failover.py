"""PostgreSQL is killed under load, alone and as the primary of three: no promise is broken.

Rule: processes of the service, the database and Patroni are real, and are killed by `kill -9`. What
it takes in seconds is measured by `tests/benchmarks/failover.py`, with more writes and rounds.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.counterparts.load import Load, crash, fail_over
from tests.counterparts.postgres_servers import Cluster, Postgres
from tests.processes import Server

ROUNDS = 2
WRITES = 300  # before each round, and after the last


@contextmanager
def processes(directory: Path, database: str, count: int = 2) -> Iterator[list[Server]]:
    """Of the service, on that database and with one key ring."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server.start(directory, database=database, token_duration="86400"))
            for _ in range(count)
        ]
        for server in servers:
            assert server.address
        yield servers


def check(load: Load, url: str) -> None:
    assert not load.faults
    assert load.lost(url) == []
    assert load.users
    assert load.live
    assert load.ended
    assert all(each.has_retry_after for each in load.refused)


def test_a_server_that_is_killed_under_load_loses_no_acknowledged_write(tmp_path: Path) -> None:
    with Postgres.running() as server:
        url = server.url()
        with processes(tmp_path, url) as servers, Load.running(servers) as load:
            for _ in range(ROUNDS):
                load.wait_for_writes(WRITES)
                crash(server, load)
            load.wait_for_writes(WRITES)
        check(load, url)


def test_a_primary_that_is_killed_under_load_is_followed_by_another(tmp_path: Path) -> None:
    with Cluster.running() as cluster:
        with processes(tmp_path, cluster.url) as servers, Load.running(servers) as load:
            for _ in range(ROUNDS):
                load.wait_for_writes(WRITES)
                fail_over(cluster, load)
            load.wait_for_writes(WRITES)
        check(load, cluster.url)
