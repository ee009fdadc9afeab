"""How long PostgreSQL's failures last for clients, and what is lost: `kill -9` under load.

Rule: two processes of the service and eight clients, which write as fast as they can. Run it by
`python -m tests.benchmarks.failover [ROUNDS] [WRITES]`: so many rounds with three servers under
Patroni, and as many with one server that is started again; so many writes in all are acknowledged,
with each. Debian's packages postgresql, patroni and etcd-server are needed.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.counterparts.load import Load, Outage, crash, fail_over
from tests.counterparts.postgres_servers import Cluster, Postgres
from tests.counterparts.test_postgres_failover import processes


def run(url: str, rounds: int, writes: int, fail: Callable[[Load], Outage]) -> None:
    """Print a table: a row for each round, and what holds for all of them."""
    print("round  database back  service back after it")
    with (
        TemporaryDirectory() as directory,
        processes(Path(directory), url) as servers,
        Load.running(servers) as load,
    ):
        for number in range(1, rounds + 1):
            load.wait_for_writes(writes // (rounds + 1))
            outage = fail(load)
            print(f"{number:5}  {outage.until_it_took_writes:11.2f} s  {outage.delay:19.2f} s")
        load.wait_for_writes(max(0, writes - load.acknowledged))
    refused = [each.ended - each.began for each in load.refused]
    others = [each.ended - each.began for each in load.exchanges if each.status != 503]
    print(f"writes acknowledged: {load.acknowledged}, of them lost: {len(load.lost(url))}")
    print(f"logouts acknowledged: {len(load.ended)}, accounts: {len(load.users)}")
    print(f"answers: {len(load.exchanges)}, 503: {len(refused)}, faults: {load.faults}")
    print(f"503 without Retry-After: {sum(not each.has_retry_after for each in load.refused)}")
    print(f"slowest 503: {max(refused, default=0):.2f} s, slowest other: {max(others):.2f} s")


def main(rounds: int = 10, writes: int = 10_000) -> None:
    """Both tables."""
    print(f"Three servers under Patroni, the primary and its Patroni killed {rounds} times")
    with Cluster.running() as cluster:
        run(cluster.url, rounds, writes, lambda load: fail_over(cluster, load))
    print(f"One server, killed and started {rounds} times")
    with Postgres.running() as server:
        run(server.url(), rounds, writes, lambda load: crash(server, load))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
