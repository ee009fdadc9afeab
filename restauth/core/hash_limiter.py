"""How many password hashes may run at once.

Rule: a flood of logins must leave threads and a core for those who hold a token. Whoever finds
neither a slot nor a place in the short queue is refused at once (`Busy`), with nothing computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from restauth.errors import Busy


class HashLimiter:
    """`slots` hashes run, `queue` more wait: keep the server's threads above their sum."""

    def __init__(self, slots: int, queue: int) -> None:
        self._running = BoundedSemaphore(slots)
        self._places = slots + queue
        self._taken = 0
        self._lock = Lock()

    @contextmanager
    def slot(self, *, leave: int = 0) -> Iterator[None]:
        """Hold one slot while hashing. Raises Busy when the queue has no more than `leave` places
        left."""
        with self._lock:
            if self._taken + leave >= self._places:
                raise Busy
            self._taken += 1
        try:
            # No timeout: the queue is short and each hash before us ends by itself.
            with self._running:
                yield
        finally:
            with self._lock:
                self._taken -= 1
