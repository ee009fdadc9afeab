"""Whether a token that was revoked in one process is accepted by another one, on one PostgreSQL.

    python -m tests.benchmarks.revocation [ROUNDS]

In each round a user logs in at one process, the other process accepts the token, the first one
ends the session, and the very next request asks the other one.
"""

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.conftest import basic, bearer
from tests.postgres import run_server
from tests.processes import Server, receive, send


def run(servers: list[Server], rounds: int) -> int:
    """The number of rounds in which the revoked token was accepted."""
    stale = 0
    with ExitStack() as stack:
        first, second = (stack.enter_context(closing(each.connect())) for each in servers)
        for _ in range(rounds):
            send(first, "GET", "/api/token", basic("ada", "pw"))
            token = bearer(str(receive(first).json["token"]))
            send(second, "GET", "/api/resource", token)
            assert receive(second).status == 200
            send(first, "DELETE", "/api/token", token)
            assert receive(first).status == 204
            send(second, "GET", "/api/resource", token)
            stale += receive(second).status != 401
            first, second = second, first
    return stale


def main(rounds: int = 1000) -> None:
    with run_server() as database, TemporaryDirectory() as name, ExitStack() as stack:
        url = database.url(database.new_schema())
        servers = []
        for _ in range(2):
            servers.append(stack.enter_context(Server.start(Path(name), database=url)))
            assert servers[-1].address
        servers[0].register("ada")
        began = perf_counter()
        stale = run(servers, rounds)
        print(f"{rounds} rounds in {perf_counter() - began:.1f} s, stale tokens: {stale}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
