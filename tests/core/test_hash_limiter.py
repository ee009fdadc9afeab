"""Hash slots under real threads."""

from queue import SimpleQueue
from threading import Event, Thread

import pytest

from restauth.core.hash_limiter import HashLimiter
from restauth.errors import Busy
from tests.core.inputs import CountedLock

PATIENCE = 10  # seconds until a lost slot counts as lost; nothing waits as long when all is well


class Crowd:
    """Threads that each ask for a slot at once, and hold what they get until `release`."""

    def __init__(self, limiter: HashLimiter, size: int, *, leave: int = 0) -> None:
        self.entered: SimpleQueue[str] = SimpleQueue()
        self.refused: SimpleQueue[str] = SimpleQueue()
        self._release = Event()
        self._limiter = limiter
        self._leave = leave
        self._threads = [Thread(target=self._ask, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def release(self) -> None:
        self._release.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def _ask(self) -> None:
        try:
            with self._limiter.slot(leave=self._leave):
                self.entered.put("entered")
                assert self._release.wait(PATIENCE)
        except Busy:
            self.refused.put("refused")


@pytest.mark.parametrize(("slots", "queue"), [(1, 0), (1, 1), (2, 3)])
def test_without_a_slot_and_a_place_a_request_is_refused_at_once(slots: int, queue: int) -> None:
    limiter = HashLimiter(slots, queue)
    for _ in range(2):  # what was taken is given back
        crowd = Crowd(limiter, slots + queue + 4)
        for _ in range(slots):
            crowd.entered.get(timeout=PATIENCE)
        for _ in range(4):
            crowd.refused.get(timeout=PATIENCE)
        assert crowd.entered.empty()  # the queue waits while the slots are held
        crowd.release()
        assert crowd.entered.qsize() == queue  # and then runs
        assert crowd.refused.empty()


@pytest.mark.parametrize(
    ("slots", "queue", "leave"), [(1, 1, 1), (2, 1, 2), (1, 0, 1)], ids=["queue", "slot too", "all"]
)
def test_a_flood_that_leaves_places_to_others_takes_none_of_them(
    slots: int, queue: int, leave: int
) -> None:
    limiter = HashLimiter(slots, queue)
    flood = Crowd(limiter, slots + queue + 4, leave=leave)
    for _ in range(leave + 4):
        flood.refused.get(timeout=PATIENCE)
    others = Crowd(limiter, leave + 4)
    for _ in range(4):
        others.refused.get(timeout=PATIENCE)
    for crowd in (flood, others):
        crowd.release()
        assert crowd.refused.empty()
    assert flood.entered.qsize() == slots + queue - leave
    assert others.entered.qsize() == leave


def test_an_exception_gives_the_slot_back_and_a_refusal_gives_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limiter, lock = HashLimiter(1, 0), CountedLock()
    monkeypatch.setattr(limiter, "_lock", lock)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), limiter.slot():
            raise ZeroDivisionError
    for _ in range(2):
        with limiter.slot():
            for _ in range(3):
                with pytest.raises(Busy), limiter.slot():
                    pass
    assert lock.taken == 4 * 2 + 6
