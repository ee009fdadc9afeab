"""What the query of a token costs in restauth's engine, as a multiple of the driver's own cost.

    python -m tests.benchmarks.postgres_query

The same prepared statement on the same server, in turns: `execute` of a psycopg connection, and
`read` of the engine, with its pool and its deadline. It prints the medians.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import psycopg

from restauth.storage import postgres, store
from restauth.storage.store import Store
from tests.postgres import run_server
from tests.storage.test_store import MIGUEL, NOW, session_of

ROUNDS, QUERIES = 31, 300


def microseconds(act: Callable[[], object]) -> float:
    """Of one call."""
    began = perf_counter()
    for _ in range(QUERIES):
        act()
    return (perf_counter() - began) / QUERIES * 1e6


def main() -> None:
    with run_server() as server:
        url = server.url(server.new_schema())
        engine = postgres.PostgreSQL(url, create=True)
        sessions = Store(engine)
        sessions.add_user("Miguel", "miguel", "hash", NOW)
        sessions.add_session(session_of(MIGUEL, "sid"), 1)
        sql, parameters = store._USE_SESSION, {"session_id": "sid", "now": NOW, "unnoted": 50}
        statement = postgres._translate(sql)
        with psycopg.connect(url, autocommit=True) as driver:
            acts: dict[str, Callable[[], object]] = {
                "driver": lambda: driver.execute(statement, parameters, prepare=True).fetchall(),
                "engine": lambda: engine.read(sql, parameters),
            }
            figures: dict[str, list[float]] = {name: [] for name in acts}
            for _ in range(ROUNDS):
                for name, act in acts.items():
                    figures[name].append(microseconds(act))
        engine.close()
    ratios = [of_it / of_driver for of_driver, of_it in zip(*figures.values(), strict=True)]
    for name, values in figures.items():
        print(f"{name}: {median(values):.0f} microseconds")
    print(f"engine / driver: {median(ratios):.2f}")


if __name__ == "__main__":
    main()
