"""The gate: one thread at a time, none while it waits; what would have to wait is given up."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from threading import Event, Thread

import pytest

from restauth.gate import Gate, WouldWait
from restauth.gate import gate as process_gate
from tests.processes import PATIENCE


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def passing(gate: Gate) -> Iterator[Event]:
    """Set when another thread, which comes now, has the gate."""
    passed = Event()

    def come() -> None:
        with gate.turn():
            passed.set()

    thread = Thread(target=come)
    with gate.turn():
        thread.start()
        assert not passed.is_set()
        yield passed
    thread.join(PATIENCE)


def test_another_thread_passes_when_this_one_says_that_it_waits(gate: Gate, passing: Event) -> None:
    gate.before_waiting()
    assert passing.wait(PATIENCE)
    gate.before_waiting()  # again: it has left for good


def test_a_thread_without_the_gate_cannot_open_it(gate: Gate, passing: Event) -> None:
    thread = Thread(target=gate.before_waiting)
    thread.start()
    thread.join(PATIENCE)
    assert not passing.is_set()


def test_the_gate_is_open_after_an_error(gate: Gate) -> None:
    with pytest.raises(ZeroDivisionError), gate.turn():
        raise ZeroDivisionError
    with gate.turn():
        pass


def test_what_must_not_wait_is_given_up(gate: Gate) -> None:
    with pytest.raises(WouldWait), gate.turn(must_not_wait=True):
        gate.before_waiting()
    with gate.turn():
        gate.before_waiting()


def test_what_happens_once_waits_while_the_request_can_be_given_up(gate: Gate) -> None:
    done: list[str] = []
    gate.once(lambda: done.append("without the gate"))
    with gate.turn():
        gate.once(lambda: done.append("may wait"))
        assert done == ["without the gate", "may wait"]
    done.clear()
    with suppress(WouldWait), gate.turn(must_not_wait=True):
        gate.once(lambda: done.append("given up"))
        gate.before_waiting()
    with gate.turn(must_not_wait=True):
        for number in ("first", "second"):
            gate.once(partial(done.append, number))
        assert done == []
        thread = Thread(target=lambda: gate.once(lambda: done.append("another thread")))
        thread.start()
        thread.join(PATIENCE)
        assert done == ["another thread"]
    assert done == ["another thread", "first", "second"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_of_a_fork_finds_the_gate_open() -> None:
    """Forked by a thread without the gate, while another one holds it for ever."""
    with process_gate.turn():
        held = Event()
        status: list[int] = []

        def fork() -> None:
            child = os.fork()
            if not child:
                with process_gate.turn():
                    os._exit(7)
            status.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            held.set()

        Thread(target=fork).start()
        assert held.wait(PATIENCE)
    assert status == [7]
