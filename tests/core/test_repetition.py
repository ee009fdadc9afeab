"""Repetition: the first ones are told, then each doubling, in each period anew."""

from restauth.core.repetition import ALWAYS_TOLD, MAX_KEYS, PERIOD, Repetition

NOW = 1_800_000_000


def told(counter: Repetition, key: object, times: int, now: int = NOW) -> list[int]:
    return [count for _ in range(times) if (count := counter.count(key, now)) is not None]


def test_the_first_ones_are_told_and_then_each_doubling() -> None:
    counter = Repetition()
    first = list(range(1, ALWAYS_TOLD + 1))
    assert told(counter, "a", 1000) == [*first, 32, 64, 128, 256, 512]
    assert told(counter, "b", 3) == [1, 2, 3]
    assert told(counter, "a", 24) == [1024]


def test_each_period_begins_anew_also_when_the_clock_was_set_back() -> None:
    counter = Repetition()
    for now in (NOW, NOW + PERIOD, NOW - PERIOD):
        assert told(counter, "a", 1, now) == [1]
        assert told(counter, "a", 1, now + PERIOD - 1) == [2]


def test_memory_is_bounded() -> None:
    counter = Repetition()
    for key in range(MAX_KEYS):
        assert told(counter, key, 1) == [1]
    counts = [counter.count(key, NOW) for key in range(MAX_KEYS, 100 * MAX_KEYS)]
    assert len([count for count in counts if count]) < ALWAYS_TOLD + 20
    assert len(counter._counts) <= MAX_KEYS + 1
    assert told(counter, 7, 1) == [2]
