"""Failed logins of different users that are counted at once: how many transactions conflict.

Rule: two processes with eight threads each book attempts on one PostgreSQL, in a table of failures
that is as full as it gets. Run it by `python -m tests.benchmarks.contention [BOOKINGS]`: so many in
each process. An attempt that had to wait for too long would be a 503.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing import get_context
from statistics import quantiles
from time import monotonic
from typing import Any

from restauth.errors import StoreUnavailable
from restauth.records import FailureCount
from restauth.storage import store as limits
from restauth.storage.postgres import PostgreSQL
from restauth.storage.store import FailureCounts, Store
from tests.postgres import PostgresServer, run_server

PROCESSES, THREADS = 2, 8
NOW = 1_800_000_000
FILL = """
    INSERT INTO failures (name, peer, count, counted_from, blocked_until, is_kept)
    SELECT md5(CAST(number AS text)), '', 1, number, 0, 0 FROM generate_series(1, {}) AS number
"""


def book(url: str, process: int, bookings: int, results: Any) -> None:
    """Book failures of names that no other thread books; put what each took, and the runs."""
    engine = PostgreSQL(url, create=False)
    store, runs, refused = Store(engine), count(), count()

    def one(number: int) -> float:
        peer = f"10.{process}.{number % 250}.{number // 250}"

        def change(_: FailureCounts) -> dict[tuple[str, str], FailureCount]:
            next(runs)
            one_more = FailureCount(1, NOW, 0)
            return {(f"name{process}-{number}", ""): one_more, ("", peer): one_more}

        began = monotonic()
        try:
            store.change_failures(f"name{process}-{number}", peer, change, NOW, is_account=True)
        except StoreUnavailable:
            next(refused)
        return monotonic() - began

    with ThreadPoolExecutor(THREADS) as threads:
        times = list(threads.map(one, range(bookings)))
    results.put((times, next(runs), next(refused)))


def run(server: PostgresServer, rows: int, bookings: int) -> None:
    """Print a row: the table of failures has so many rows before."""
    url = server.url(server.new_schema())
    engine = PostgreSQL(url, create=True)
    engine.write(FILL.format(rows), {})
    engine.close()
    context = get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=book, args=(url, number, bookings, results))
        for number in range(PROCESSES)
    ]
    began = monotonic()
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    seconds = monotonic() - began
    times = [time for each, _, _ in found for time in each]
    runs, refused = (sum(each[part] for each in found) for part in (1, 2))
    slow = quantiles(times, n=100)[98]
    print(
        f"{rows:6} rows: {len(times)} bookings, {runs} runs, {refused} refused, "
        f"99 % within {slow * 1000:.0f} ms, {len(times) / seconds:.0f} a second"
    )


def main(bookings: int = 1000) -> None:
    """An empty table and a full one."""
    with run_server() as server:
        for rows in (0, limits.MAX_FAILURES_ROWS):
            run(server, rows, bookings)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
