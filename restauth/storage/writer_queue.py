"""The writers of a process, one at a time, in the order in which they came.

Rule: knows threads and nothing of a database. A writer waits as long as the others come through.
Only while the queue stands still, because another process holds the database, is the number of
threads in it limited: the others are needed for requests that only read.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock

from restauth.errors import StoreUnavailable


class WriterQueue:
    """`places` is how many may be here, the first included, while the queue stands still."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._lock = Lock()
        self._here: deque[Event] = deque()  # the first one has the turn
        self._stands_still = False

    @contextmanager
    def turn(self, patience: float) -> Iterator[None]:
        """Wait for one's turn, for so many seconds at most. Raises StoreUnavailable."""
        mine = Event()
        self._join(mine)
        try:
            mine.wait(patience)
            if not self._is_first(mine):
                raise StoreUnavailable("too many writers wait for the database")
            yield
        finally:
            self._leave(mine)

    def stand_still(self) -> None:
        """Said by the first, which waits for another process: refuse those without a place."""
        with self._lock:
            self._stands_still = True
            self._refuse_without_place()

    def go_on(self) -> None:
        """Said by the first: it has come through."""
        self._stands_still = False

    def _join(self, mine: Event) -> None:
        with self._lock:
            self._here.append(mine)
            self._refuse_without_place()
            self._here[0].set()

    def _refuse_without_place(self) -> None:
        while self._stands_still and len(self._here) > self._places:
            self._here.pop().set()

    def _is_first(self, mine: Event) -> bool:
        with self._lock:
            return bool(self._here) and self._here[0] is mine

    def _leave(self, mine: Event) -> None:
        with self._lock:
            if mine in self._here:
                self._here.remove(mine)
            if self._here:
                self._here[0].set()
            else:
                self._stands_still = False
