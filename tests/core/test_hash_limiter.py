"""Hash slots under real threads."""

from queue import SimpleQueue
from threading import Event, Thread

import pytest

from restauth.core.hash_limiter import HashLimiter
from restauth.errors import Busy

PATIENCE = 10  # seconds until a lost slot counts as lost; nothing waits as long when all is well


class Crowd:
    """Threads that each ask for a slot at once, and hold what they get until `release`."""

    def __init__(self, slots: HashLimiter, size: int, *, leave: int = 0) -> None:
        self.entered: SimpleQueue[str] = SimpleQueue()
        self.refused: SimpleQueue[str] = SimpleQueue()
        self.release = Event()
        self._slots = slots
        self._leave = leave
        self._threads = [Thread(target=self._ask, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _ask(self) -> None:
        try:
            with self._slots.slot(leave=self._leave):
                self.entered.put("entered")
                assert self.release.wait(PATIENCE)
        except Busy:
            self.refused.put("refused")


@pytest.mark.parametrize(
    ("slots", "queue"),
    [
        pytest.param(1, 0, id="one slot"),
        pytest.param(1, 1, id="one slot and one place in the queue"),
        pytest.param(2, 3, id="two slots and three places"),
    ],
)
def test_whoever_finds_neither_slot_nor_place_is_refused_at_once(slots: int, queue: int) -> None:
    crowd = Crowd(HashLimiter(slots, queue), slots + queue + 4)
    for _ in range(slots):
        crowd.entered.get(timeout=PATIENCE)
    for _ in range(4):
        crowd.refused.get(timeout=PATIENCE)
    assert crowd.entered.empty()  # the queue waits while the slots are held
    crowd.release.set()
    crowd.join()
    assert crowd.entered.qsize() == queue  # and then runs
    assert crowd.refused.empty()


@pytest.mark.parametrize(
    ("slots", "queue", "leave"),
    [
        pytest.param(1, 1, 1, id="the only place in the queue"),
        pytest.param(2, 1, 2, id="a slot too"),
        pytest.param(1, 0, 1, id="the only slot"),
    ],
)
def test_a_flood_that_leaves_places_to_others_takes_none_of_them(
    slots: int, queue: int, leave: int
) -> None:
    places = HashLimiter(slots, queue)
    flood = Crowd(places, slots + queue + 4, leave=leave)
    for _ in range(leave + 4):
        flood.refused.get(timeout=PATIENCE)
    others = Crowd(places, leave + 4)
    for _ in range(4):
        others.refused.get(timeout=PATIENCE)
    for crowd in (flood, others):
        crowd.release.set()
        crowd.join()
        assert crowd.refused.empty()
    assert flood.entered.qsize() == slots + queue - leave
    assert others.entered.qsize() == leave


def test_slots_are_given_back() -> None:
    slots = HashLimiter(2, 1)
    for _ in range(2):
        crowd = Crowd(slots, 3)
        crowd.release.set()
        crowd.join()
        assert crowd.entered.qsize() == 3


def test_a_slot_is_given_back_after_an_exception() -> None:
    slots = HashLimiter(1, 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), slots.slot():
            raise ZeroDivisionError
    crowd = Crowd(slots, 1)
    crowd.release.set()
    crowd.join()
    assert crowd.entered.qsize() == 1


def test_a_refusal_takes_no_place_and_gives_none() -> None:
    slots = HashLimiter(1, 0)
    with slots.slot():
        for _ in range(3):
            with pytest.raises(Busy), slots.slot():
                pass
    with slots.slot(), pytest.raises(Busy), slots.slot():
        pass
