"""What threads cost under Granian: the line of the guide, one thread, and one core.

Rule: all run the same requests in turns, without logins. Beside restauth stands an app that
computes for as long as a token request takes and never waits: it shows what threads cost any app.
Run it by `python -m tests.benchmarks.granian [ROUNDS]`, with the extra `counterparts` and, better,
wrk.
"""

import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from wsgiref.types import StartResponse, WSGIEnvironment

from tests.benchmarks.__main__ import ROOT, free_port, wait_until_up
from tests.benchmarks.load import put_load
from tests.benchmarks.table import FEW
from tests.processes import Server

COUNTS = 1000  # which take about as long as a token request
LINE = (sys.executable, "-m", "granian", "--interface", "wsgi", "--blocking-threads")
RESTAUTH = ("--factory", "restauth:create_app")
COUNTING = ("tests.benchmarks.granian:count",)
HERE = ("env", f"PYTHONPATH={ROOT}")
ONE_CORE = ("taskset", "-c", "0")
VARIANTS = {
    "restauth, 80 threads": (HERE, "80", RESTAUTH),
    "restauth, 1 thread": (HERE, "1", RESTAUTH),
    "restauth, 80 threads on one core": ((*HERE, *ONE_CORE), "80", RESTAUTH),
    "counting, 80 threads": (HERE, "80", COUNTING),
    "counting, 1 thread": (HERE, "1", COUNTING),
    "counting, 80 threads on one core": ((*HERE, *ONE_CORE), "80", COUNTING),
}


def count(_: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """The app that computes."""
    for _number in range(COUNTS):
        pass
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]


def main(rounds: int = 5, seconds: float = 2) -> None:
    """Print a row for each variant: requests/s, and the ratio to the first one in the same
    round."""
    rates: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as name, ExitStack() as stack:
        targets = {}
        for words, (before, threads, app) in VARIANTS.items():
            port = str(free_port())
            command = (*before, *LINE, threads, "--port", port, *app)
            folder = Path(name) / words
            folder.mkdir()
            server = stack.enter_context(Server.start(folder, *command, token_duration="36000"))
            stack.callback(server.end)  # its worker would outlive a kill
            wait_until_up(server)
            token = "none"
            if app is RESTAUTH:
                server.register("miguel", "python")
                token = server.log_in("miguel", "python")
            targets[words] = server.address, f"Bearer {token}"
        for _ in range(rounds):
            for words, (address, header) in targets.items():
                rates[words].append(put_load(address, header, 200, FEW, seconds).per_second)
    began = perf_counter()
    for _ in range(1000):
        count({}, lambda *_: len)
    print(f"the counting takes {(perf_counter() - began) * 1000:.0f} µs\n")
    first, *_ = rates.values()
    print("| | requests/s | ratio |\n|---|---:|---:|")
    for words, found in rates.items():
        ratio = median(a / b for a, b in zip(found, first, strict=True))
        print(f"| {words} | {median(found):,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
