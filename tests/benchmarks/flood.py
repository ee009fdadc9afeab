"""Token requests and correct logins while other clients guess passwords, at `restauth serve`.

    python -m tests.benchmarks.flood [SECONDS] [GUESSERS]

Rule: each guesser sends ever new names, without a pause, on a connection that it keeps. One client
asks with a token, without a pause. Another one logs in, each time as another user, so no password
was verified before; and each time after a pause of up to a second, as people do. Both do the same
before the flood.
"""

import multiprocessing
import selectors
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from random import random
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.load import PATH, Client, build_request
from tests.conftest import basic, bearer
from tests.processes import Server, receive, send

COMMAND = (sys.executable, "-m", "restauth", "serve", "--listen", "127.0.0.1:0")
MAX_LOGINS = 3  # in a second: they pause for half of it, and a hash takes a fifth and more


def guess(address: str, guessers: int, stop: Any, results: Any) -> None:
    """Guess until `stop`; then put how many answers of each status came."""
    url, numbers, seen = urlsplit(address), count(), Counter[int]()

    def ask(client: Client) -> None:
        header = basic(f"name{next(numbers)}", "guess")["Authorization"]
        client.ask(build_request(url.netloc, header))

    with selectors.DefaultSelector() as selector:
        for _ in range(guessers):
            client = Client(socket.create_connection((str(url.hostname), int(url.port or 80))))
            selector.register(client.connection, selectors.EVENT_READ, client)
            ask(client)
        while not stop.is_set():
            for key, _ in selector.select(0.1):
                status = key.data.hear()
                if status is not None:
                    seen[status] += 1
                    ask(key.data)
    results.put(dict(seen))


def ask_again(
    server: Server, path: str, credentials: Iterator[dict[str, str]], seconds: float, pause: float
) -> tuple[list[float], Counter[int]]:
    """Ask after pauses of up to so many seconds: the milliseconds of each answer, and the
    statuses."""
    times, statuses = [], Counter[int]()
    with closing(server.connect()) as connection:
        end = perf_counter() + seconds
        while perf_counter() < end:
            if pause:
                sleep(random() * pause)
            began = perf_counter()
            send(connection, "GET", path, next(credentials))
            statuses[receive(connection).status] += 1
            times.append((perf_counter() - began) * 1000)
    return times, statuses


def measure(server: Server, token: str, users: Iterator[dict[str, str]], seconds: float) -> None:
    """Print what the two clients met."""
    tokens = iter(lambda: bearer(token), None)
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(ask_again, server, PATH, tokens, seconds, 0)
        logged_in = threads.submit(ask_again, server, "/api/token", users, seconds, 1)
        for name, work in (("token requests", asked), ("logins", logged_in)):
            times, statuses = work.result()
            print(
                f"  {name}: {dict(statuses)}, median {median(times):.1f} ms, "
                f"99 % within {quantiles([*times, times[-1]], n=100)[98]:.0f} ms"
            )


def main(seconds: int = 20, guessers: int = 64) -> None:
    with (
        TemporaryDirectory() as name,
        Server.start(Path(name), *COMMAND, bcrypt_rounds="12") as server,
    ):
        names = [f"user{number}" for number in range(1 + MAX_LOGINS * seconds)]
        for username in names:
            server.register(username, "pw")
        users = (basic(username, "pw") for username in names[1:])
        token = server.log_in(names[0], "pw")
        print("before")
        measure(server, token, users, seconds / 4)
        context = multiprocessing.get_context("spawn")
        stop, results = context.Event(), context.Queue()
        flood = context.Process(target=guess, args=(server.address, guessers, stop, results))
        flood.start()
        print(f"while {guessers} clients guess")
        measure(server, token, users, seconds)
        stop.set()
        print(f"  guesses, by status: {results.get()}")
        flood.join()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
