"""Turns: one at a time, in order, for a bounded time, and with few places while nothing moves."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest

from restauth.errors import StoreUnavailable
from restauth.storage.writer_queue import WriterQueue

LONG = 60.0  # seconds; no test waits for it


class Line:
    """Writers that join one after the other, each on a thread of its own."""

    def __init__(self, queue: WriterQueue, threads: ThreadPoolExecutor) -> None:
        self.queue = queue
        self.threads = threads
        self.served: list[str] = []

    def join(self, name: str, patience: float = LONG) -> "Future[None]":
        before = set(self.queue._here)
        future = self.threads.submit(self._write, name, patience)
        while set(self.queue._here.copy()) <= before and not future.done():  # some may have left
            time.sleep(0.001)
        return future

    def _write(self, name: str, patience: float) -> None:
        with self.queue.turn(patience):
            self.served.append(name)


@pytest.fixture
def line() -> Iterator[Line]:
    with ThreadPoolExecutor(20) as threads:
        yield Line(WriterQueue(places=3), threads)


@contextmanager
def turn_taken(line: Line) -> Iterator[None]:
    """By a writer that stays until the end."""
    has_turn, may_end = Event(), Event()

    def hold() -> None:
        with line.queue.turn(LONG):
            has_turn.set()
            assert may_end.wait(LONG)

    holder = line.threads.submit(hold)
    assert has_turn.wait(LONG)
    try:
        yield
    finally:
        may_end.set()
        holder.result(LONG)


def is_refused(write: "Future[None]") -> bool:
    return isinstance(write.exception(LONG), StoreUnavailable)


def test_turns_are_taken_in_the_order_of_arrival(line: Line) -> None:
    names = [f"writer{number}" for number in range(15)]
    with turn_taken(line):
        writes = [line.join(name) for name in names]
        assert line.served == []
    assert [write.result(LONG) for write in writes] == [None] * 15
    assert line.served == names


def test_who_has_waited_long_enough_is_refused_and_those_behind_move_up(line: Line) -> None:
    with turn_taken(line):
        first, hurried, last = line.join("first"), line.join("hurried", 0.001), line.join("last")
        assert is_refused(hurried)
    first.result(LONG)
    last.result(LONG)
    assert line.served == ["first", "last"]


def test_while_the_queue_stands_still_only_the_first_places_wait(line: Line) -> None:
    with turn_taken(line):  # it has one of the three places
        early = [line.join(f"early{number}") for number in range(5)]
        line.queue.stand_still()
        assert [is_refused(write) for write in early[2:]] == [True] * 3
        assert is_refused(line.join("late"))
        line.queue.go_on()
        after = [line.join(f"after{number}") for number in range(5)]
    for write in (*early[:2], *after):
        write.result(LONG)
    assert line.served == ["early0", "early1", *(f"after{number}" for number in range(5))]


def test_a_queue_that_has_emptied_does_not_stand_still(line: Line) -> None:
    with turn_taken(line):
        line.queue.stand_still()
    with turn_taken(line):
        writes = [line.join(f"writer{number}") for number in range(5)]
    assert not any(is_refused(write) for write in writes)


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()], ids=repr)
def test_a_turn_ends_with_what_was_done_in_it(line: Line, error: BaseException) -> None:
    for _ in range(5):
        with pytest.raises(type(error)), line.queue.turn(LONG):
            raise error
    assert not is_refused(line.join("next"))


def test_a_turn_within_a_turn_is_refused_and_does_not_stop_the_others(line: Line) -> None:
    with line.queue.turn(LONG), pytest.raises(StoreUnavailable), line.queue.turn(0.001):
        pytest.fail("two have the turn")
    assert not is_refused(line.join("next"))
