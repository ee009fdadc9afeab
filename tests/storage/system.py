"""What the tests of the storage share: users by SQL, processes, limits, and counted calls."""

import os
import resource
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from restauth.storage.engine import Execute
from restauth.storage.postgres import PostgreSQL
from restauth.storage.sqlite import SQLite

SPAWN = get_context("spawn")
INSERT = """
    INSERT INTO users (username, canonical_username, password_hash, created_at)
    VALUES (:name, :name, 'hash', 0)
"""

OpenSQLite = Callable[..., SQLite]
OpenPostgres = Callable[..., PostgreSQL]


def add(execute: Execute, name: str) -> None:
    execute(INSERT, {"name": name})


def names(execute: Execute) -> list[str]:
    return [name for (name,) in execute("SELECT username FROM users ORDER BY id", {})]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def calls_of(
    monkeypatch: pytest.MonkeyPatch, owner: ModuleType | type, name: str
) -> list[tuple[Any, ...]]:
    """The arguments of each call from now on."""
    calls = []
    function = getattr(owner, name)

    def noted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        return function(*arguments, **keywords)

    monkeypatch.setattr(owner, name, noted)
    return calls


def in_processes(count: int, work: Callable[..., None], *arguments: object) -> None:
    """Run `work(*arguments)` in fresh processes; all of them must succeed."""
    processes = [SPAWN.Process(target=work, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


STEPS = {"open", "os.link", "os.remove", "os.rename", "sqlite3.connect"}  # Python's audit events


def killed_at_each_step(
    directory: Path,
    prepare: Callable[[Path], object],
    act: Callable[[Path], object],
    check: Callable[[Path], object],
) -> None:
    """A process is killed (SIGKILL) before the first step of `act`, another one before the second
    step, and so on, each in a directory of its own. Run it by `in_processes`."""
    for number in count():
        here = directory / str(number)
        here.mkdir()
        prepare(here)
        child = os.fork()
        if not child:
            status = 1
            try:
                sys.addaudithook(_kill_before(number))
                act(here)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        check(here)
        if status == 0:
            assert number > 5
            return
        assert os.WIFSIGNALED(status)


def _kill_before(number: int) -> Callable[[str, tuple[object, ...]], None]:
    left = iter(range(number))

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in STEPS and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A full disk: the system refuses to write beyond so many bytes of a file (EFBIG)."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


class Ticking:
    """Seconds of a monotonic clock, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1e9  # later than the machine's own

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
