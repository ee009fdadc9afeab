"""The limit on hashes, under real threads: places, turns, order, and attempts that are equal."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

from restauth.core import hash_limiter
from restauth.core.hash_limiter import HashLimiter, _Attempt
from restauth.errors import Busy
from tests.core.inputs import CountedLock

PATIENCE = 10  # seconds until something lost counts as lost; nothing waits as long when all is well
HERE, THERE = "192.0.2.1", "198.51.100.1"


class Crowd:
    """Attempts on threads of their own. Each says when it hashes, and goes on at a sign."""

    def __init__(self, slots: int, queue: int) -> None:
        self.limiter = HashLimiter(slots, queue)
        self.hashing: SimpleQueue[object] = SimpleQueue()
        self.signs: dict[object, Event] = {}
        self.threads = ThreadPoolExecutor(20)

    def start(
        self, label: object, network: str = HERE, *, error: Exception | None = None, **keywords: Any
    ) -> "Future[object]":
        """An attempt that has asked for its turn: it hashes, waits, or was refused."""
        sign, limiter = self.signs.setdefault(label, Event()), self.limiter

        def work() -> object:
            with limiter.slot:
                self.hashing.put(label)
                assert sign.wait(PATIENCE)
            if error:
                raise error
            return label

        keywords.setdefault("name", str(label))
        asked = Event()
        enter = limiter._enter

        def enter_and_say(*arguments: Any) -> None:
            try:
                enter(*arguments)
            finally:
                asked.set()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limiter, "_enter", enter_and_say)
            future = self.threads.submit(lambda: limiter.run(work, network=network, **keywords))
            assert asked.wait(PATIENCE)
        return future

    def next(self) -> object:
        """The label of the next one that hashes."""
        return self.hashing.get(timeout=PATIENCE)

    def end(self, *labels: object) -> None:
        for label in labels:
            self.signs[label].set()

    def finish(self) -> None:
        for sign in self.signs.values():
            sign.set()
        self.threads.shutdown()
        assert (self.limiter._at_work, len(self.limiter._queue)) == ([], 0)


def make(slots: int, queue: int) -> Iterator[Crowd]:
    crowd = Crowd(slots, queue)
    yield crowd
    crowd.finish()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    """One hash at a time; one prepares for the next; two more wait."""
    yield from make(1, 3)


@pytest.fixture
def narrow() -> Iterator[Crowd]:
    """One hash at a time, and none waits."""
    yield from make(1, 0)


@pytest.fixture
def wide() -> Iterator[Crowd]:
    """Two hashes at a time; one prepares for the next; two more wait."""
    yield from make(2, 3)


def is_busy(future: "Future[object]") -> bool:
    return isinstance(future.exception(PATIENCE), Busy)


# Places


@pytest.mark.parametrize(("slots", "queue"), [(1, 0), (1, 1), (2, 3)])
def test_without_a_slot_and_a_place_a_request_is_refused_at_once(slots: int, queue: int) -> None:
    crowd = Crowd(slots, queue)
    for turn in range(2):  # what was taken is given back
        crowd.signs.clear()
        taken = [crowd.start(f"taken {turn} {number}") for number in range(slots + queue)]
        assert all(is_busy(crowd.start(f"more {turn} {number}")) for number in range(4))
        for _ in range(slots):
            crowd.next()
        assert crowd.hashing.empty()  # the queue waits while the slots are held
        crowd.end(*list(crowd.signs))
        assert [future.result(PATIENCE) for future in taken] == [*crowd.signs][: slots + queue]
        while not crowd.hashing.empty():
            crowd.next()
    crowd.finish()


@pytest.mark.parametrize(
    ("slots", "queue", "leave"), [(1, 1, 1), (2, 1, 2), (1, 0, 1)], ids=["queue", "slot too", "all"]
)
def test_a_flood_that_leaves_places_to_others_takes_none_of_them(
    slots: int, queue: int, leave: int
) -> None:
    crowd = Crowd(slots, queue)
    flood = [crowd.start(f"flood {number}", leave=leave) for number in range(slots + queue + 4)]
    assert [is_busy(future) for future in flood[slots + queue - leave :]] == [True] * (leave + 4)
    others = [crowd.start(f"other {number}") for number in range(leave)]
    crowd.finish()
    assert [future.exception() for future in (*flood[: slots + queue - leave], *others)] == [
        None
    ] * (slots + queue)


def test_an_exception_gives_the_place_back_and_a_refusal_gives_none(
    narrow: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = CountedLock()
    monkeypatch.setattr(narrow.limiter, "_lock", lock)
    for label in range(2):
        failed = narrow.start(label, error=ZeroDivisionError())
        assert all(is_busy(narrow.start("more")) for _ in range(3))
        narrow.end(label)
        assert isinstance(failed.exception(PATIENCE), ZeroDivisionError)
    assert lock.taken == 2 * (2 + 3 * 2)


def test_a_wait_that_an_exception_ends_gives_its_place_back(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers end threads that way: gunicorn, after its timeout."""

    class Interrupted(Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

    def run_in_vain() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(hash_limiter, "_Attempt", partial(_Attempt, may_go_on=Interrupted()))
            with pytest.raises(KeyboardInterrupt):
                crowd.limiter.run(lambda: None, network=HERE)

    run_in_vain()  # it had a turn
    assert crowd.limiter._at_work == []
    both = [crowd.start(number) for number in range(2)]
    run_in_vain()  # it waited
    assert len(crowd.limiter._queue) == 0
    crowd.end(0, 1)
    assert [future.result(PATIENCE) for future in both] == [0, 1]


# Order


def test_a_network_without_a_place_pushes_out_one_of_the_network_with_the_most(
    crowd: Crowd,
) -> None:
    flood = [crowd.start(number) for number in range(4)]
    mine = crowd.start("mine", THERE)
    assert is_busy(flood[3])
    assert len(crowd.limiter._queue) == 2
    crowd.end(*crowd.signs)
    assert mine.result(PATIENCE) == "mine"
    assert [future.result(PATIENCE) for future in flood[:3]] == [0, 1, 2]


@pytest.mark.parametrize("key", [None, b"equal"], ids=["different", "equal"])
def test_two_logins_get_in_while_a_third_party_floods(key: bytes | None) -> None:
    crowd = Crowd(1, 5)
    flood = [crowd.start(number) for number in range(6)]
    logins = [crowd.start(name, THERE, key=key) for name in ("susan", "miguel")]
    more = [crowd.start(number) for number in range(6, 10)]
    assert [is_busy(future) for future in (*flood[4:], *more)] == [True] * 6
    crowd.finish()
    assert [future.result() for future in flood[:4]] == [0, 1, 2, 3]
    assert {login.result() for login in logins} <= {"susan", "miguel"}


def test_one_prepares_while_another_hashes_and_no_more(crowd: Crowd) -> None:
    """So a slot is not idle while an attempt is counted in the database."""
    prepared: SimpleQueue[int] = SimpleQueue()

    def prepare(number: int) -> None:
        prepared.put(number)
        with crowd.limiter.slot:
            pass

    first = crowd.start("first")
    crowd.next()
    others = [
        crowd.threads.submit(
            partial(crowd.limiter.run, partial(prepare, number), network=HERE, name=str(number))
        )
        for number in range(3)
    ]
    prepared.get(timeout=PATIENCE)
    assert prepared.empty()
    crowd.end("first")
    first.result(PATIENCE)
    for future in others:
        future.result(PATIENCE)
    assert prepared.qsize() == 2


# Figures


def test_what_is_at_work_waits_and_was_refused_is_counted(crowd: Crowd) -> None:
    assert (crowd.limiter.load(), crowd.limiter.refusals) == ((0, 0), 0)
    held = [crowd.start(number) for number in range(3)]
    assert crowd.limiter.load() == (2, 1)
    assert is_busy(crowd.start("flood", leave=1))
    crowd.start("last")
    assert is_busy(crowd.start("more"))
    assert (crowd.limiter.load(), crowd.limiter.refusals) == ((2, 2), 2)
    crowd.end(*crowd.signs)
    assert [future.exception(PATIENCE) for future in held] == [None] * 3


# Equal attempts


def test_equal_attempts_are_hashed_one_at_a_time_and_those_that_waited_share_a_result(
    wide: Crowd,
) -> None:
    first = wide.start("first", key=b"equal")
    assert wide.next() == "first"
    later = [wide.start(f"later {number}", THERE, key=b"equal") for number in range(3)]
    assert wide.hashing.empty()  # though a slot is free
    wide.end("first")
    assert first.result(PATIENCE) == "first"
    leader = wide.next()  # what the first one has read may be older than they are
    wide.end(leader)
    assert [future.result(PATIENCE) for future in later] == [leader] * 3
    assert wide.hashing.empty()


def test_others_pass_those_that_wait_for_an_equal(wide: Crowd) -> None:
    wide.start("first", key=b"equal")
    wide.start("second", key=b"equal")
    wide.start("other", key=b"another")
    assert {wide.next(), wide.next()} == {"first", "other"}


def test_attempts_without_a_key_are_equal_to_none(wide: Crowd) -> None:
    both = [wide.start(number, name="") for number in range(2)]
    assert {wide.next(), wide.next()} == {0, 1}
    wide.end(0, 1)
    assert [future.result(PATIENCE) for future in both] == [0, 1]


def test_when_the_first_of_equals_fails_the_others_go_on_by_themselves(crowd: Crowd) -> None:
    first = crowd.start("first", key=b"equal", error=ZeroDivisionError())
    assert crowd.next() == "first"
    others = [crowd.start(f"other {number}", key=b"equal", error=Busy()) for number in range(2)]
    crowd.end(*crowd.signs)
    assert isinstance(first.exception(PATIENCE), ZeroDivisionError)
    assert {crowd.next(), crowd.next()} == {"other 0", "other 1"}
    assert all(is_busy(future) for future in others)


def test_who_tries_again_takes_the_place_of_the_earlier_try(crowd: Crowd) -> None:
    held = [crowd.start(number) for number in range(2)]
    earlier, other = crowd.start("earlier", key=b"equal"), crowd.start("other")
    again = crowd.start("again", key=b"equal")
    assert is_busy(earlier)
    crowd.end(*crowd.signs)
    assert again.result(PATIENCE) == "again"
    assert [future.exception(PATIENCE) for future in (*held, other)] == [None] * 3
