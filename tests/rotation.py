"""Three servers on one database, each with a copy of the key ring, and a rotation under load.

Rule: the copies are replaced one after another, as an operator does it on three machines. Each
token is shown to all three at once, so a copy that comes too late would be a 401.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path
from threading import Event, Lock

from tests.conftest import bearer
from tests.processes import Server, receive, run, send, until_deadline

MACHINES = ("a", "b", "c")
RING = "ring"
CLIENTS = 4


@contextmanager
def machines(directory: Path) -> Iterator[list[Server]]:
    """The servers; the ring in the directory `a` is the one that the others have copies of."""
    shared = {"database": str(directory / "restauth.db"), "key_file": RING}
    with ExitStack() as stack:
        servers: list[Server] = []
        for name in MACHINES:
            (directory / name).mkdir()
            if servers:
                copy_ring(directory, name)
            servers.append(stack.enter_context(Server.start(directory / name, **shared)))
            assert servers[-1].address  # the first one makes the ring
        yield servers


def copy_ring(directory: Path, name: str) -> None:
    """In one step: a server reads the old one or the new one."""
    new = directory / name / "new"
    shutil.copy(directory / MACHINES[0] / RING, new)  # with its mode
    new.rename(new.with_name(RING))


def change_keys(directory: Path, *words: str) -> list[str]:
    """Run `restauth key …` on the first machine; the ids of its keys in their order."""
    done = run(directory / MACHINES[0], "key", *words, key_file=RING)
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]


class Load:
    """Clients of all servers, each with a session. `statuses` counts the answers."""

    def __init__(self, servers: list[Server]) -> None:
        self.statuses: Counter[int] = Counter()
        self._servers = servers
        self._lock, self._stop = Lock(), Event()
        self._threads = ThreadPoolExecutor(CLIENTS)
        tokens = [servers[0].log_in(f"user{number}") for number in range(CLIENTS)]
        self._clients = [self._threads.submit(self._ask, token) for token in tokens]

    def wait_for(self, count: int) -> None:
        """Return when there were so many answers, or a client has failed."""
        for _ in until_deadline():
            if self.statuses.total() >= count or any(client.done() for client in self._clients):
                return
            self._stop.wait(0.005)

    def end(self) -> None:
        """Raises what a client has raised."""
        self._stop.set()
        self._threads.shutdown()
        for client in self._clients:
            client.result()

    def _ask(self, token: str) -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(closing(each.connect())) for each in self._servers]
            for issuer in cycle(connections):
                if self._stop.is_set():
                    return
                send(issuer, "GET", "/api/token", bearer(token))
                renewed = receive(issuer)
                token = renewed.json.get("token", token)
                for connection in connections:
                    send(connection, "GET", "/api/users/me", bearer(token))
                seen = [renewed.status, *(receive(each).status for each in connections)]
                with self._lock:
                    self.statuses.update(seen)


def rotate_under_load(directory: Path, servers: list[Server], requests: int) -> Counter[int]:
    """Publish a key and activate it, each while the load goes on; the statuses of all answers."""
    kids: list[str] = []
    steps: list[Callable[[], object]] = [
        lambda: kids.extend(change_keys(directory, "add")),
        lambda: copy_ring(directory, "b"),
        lambda: copy_ring(directory, "c"),
        lambda: change_keys(directory, "activate", kids[1]),
        lambda: copy_ring(directory, "b"),
        lambda: copy_ring(directory, "c"),
    ]
    load = Load(servers)
    try:
        for number, step in enumerate(steps, 1):
            load.wait_for(number * requests // (len(steps) + 1))
            step()
        load.wait_for(requests)
    finally:
        load.end()
    return load.statuses


def add_users(server: Server) -> None:
    """One for each client."""
    for number in range(CLIENTS):
        server.register(f"user{number}")
