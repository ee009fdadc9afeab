"""Thin out what is repeated: the first ones of a minute, and then every doubling of their number.

Rule: whoever repeats something for nothing must not fill a disk, and the number is still told, to
within a factor of two. Memory is bounded.
"""

from collections.abc import Hashable
from threading import Lock

PERIOD = 60  # seconds
ALWAYS_TOLD = 20  # in each period
MAX_KEYS = 1000  # that are counted apart; more of them are counted together


class Repetition:
    """Counts for all threads of a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._period = 0
        self._counts: dict[Hashable, int] = {}

    def count(self, key: Hashable, now: int) -> int | None:
        """How many times it has happened in this period; None if that need not be told."""
        with self._lock:
            if self._period != now // PERIOD:
                self._period = now // PERIOD
                self._counts.clear()
            if key not in self._counts and len(self._counts) >= MAX_KEYS:
                key = None
            count = self._counts[key] = self._counts.get(key, 0) + 1
        is_doubled = count & (count - 1) == 0
        return count if count <= ALWAYS_TOLD or is_doubled else None
