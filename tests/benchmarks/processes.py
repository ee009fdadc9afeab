"""Requests a second and CPU of 1, 2 and 4 processes, on one SQLite file and on one PostgreSQL.

    python -m tests.benchmarks.processes [SECONDS]

The load comes from wrk (a Debian package), 16 connections in all. "Tokens" are GET /api/resource
with a token, "logins" are GET /api/token with a password that was verified before: each begins a
session. All is in one run on one machine. Rates are multiples of one process on SQLite; CPU is that
of all processes of the service and of PostgreSQL, for one request, as a multiple of the same.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import basic, bearer
from tests.postgres import run_server
from tests.processes import Server

CONNECTIONS = 16


def cpu_of(parents: set[int]) -> int:
    """Clock ticks of these processes and their children."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(") ")[2].split()
        except OSError:  # it has ended
            continue
        if int(entry.parent.name) in parents or int(fields[1]) in parents:
            ticks += int(fields[11]) + int(fields[12])
    return ticks


def load(
    servers: list[Server], database: set[int], path: str, headers: Mapping[str, str], seconds: int
) -> tuple[float, float]:
    """Requests a second, and seconds of CPU for one."""
    parents = {server.process.pid for server in servers} | database
    options = ["-t1", f"-c{CONNECTIONS // len(servers)}", f"-d{seconds}"]
    fields = [f"-H{name}: {value}" for name, value in headers.items()]
    before = cpu_of(parents)
    clients = [
        subprocess.Popen(
            ["wrk", *options, *fields, server.address + path], stdout=subprocess.PIPE, text=True
        )
        for server in servers
    ]
    said = [client.communicate()[0] for client in clients]
    requests, refused = (
        sum(int(number) for text in said for number in re.findall(pattern, text))
        for pattern in (r"(\d+) requests in", r"Non-2xx or 3xx responses: (\d+)")
    )
    if refused:
        print(f"{refused} of {requests} were refused:")
    cpu = (cpu_of(parents) - before) / os.sysconf("SC_CLK_TCK")
    return requests / seconds, cpu / requests


def main(seconds: int = 5) -> None:
    """A row for each engine and number of processes."""
    print(f"{os.cpu_count()} cores\ndatabase    processes  tokens/s  CPU  logins/s  CPU")
    first: list[float] = []
    with run_server() as postgres:
        postgres_pid = {postgres._process.pid} if postgres._process else set()
        for database in ("SQLite", "PostgreSQL"):
            for number in (1, 2, 4):
                with ExitStack() as stack:
                    directory = Path(stack.enter_context(TemporaryDirectory()))
                    url = postgres.url(postgres.new_schema())
                    where = {} if database == "SQLite" else {"database": url}
                    servers = []
                    for _ in range(number):
                        servers.append(stack.enter_context(Server.start(directory, **where)))
                        assert servers[-1].address
                    servers[0].register("ada")
                    token = bearer(servers[0].log_in("ada"))
                    for server in servers:
                        server.log_in("ada")
                    pids = set() if database == "SQLite" else postgres_pid
                    found = [
                        *load(servers, pids, "/api/resource", token, seconds),
                        *load(servers, pids, "/api/token", basic("ada", "pw"), seconds),
                    ]
                first = first or found
                ratios = [value / base for value, base in zip(found, first, strict=True)]
                cells = "  ".join(f"{ratio:8.2f}" for ratio in ratios)
                print(f"{database:10}  {number:9}  {cells}", flush=True)
    print(f"1.00 = {first[0]:.0f} tokens/s, {first[2]:.0f} logins/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
