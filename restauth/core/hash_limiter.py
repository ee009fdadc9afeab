"""How many passwords may be hashed at the same time.

Rule: a flood of logins must leave threads and a core for clients that hold a token. A request that
finds neither a free slot nor a place in the short queue is refused at once (`Busy`), before
anything is computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from restauth.errors import Busy


class HashLimiter:
    """`slots` hashes run and `queue` more wait. Give the server more threads than their sum."""

    def __init__(self, slots: int, queue: int) -> None:
        self._running = BoundedSemaphore(slots)
        self._places = slots + queue
        self._taken = 0
        self._lock = Lock()

    @contextmanager
    def slot(self, *, leave: int = 0) -> Iterator[None]:
        """Hold a slot while hashing. Raises Busy when the queue has no more than `leave` places
        left."""
        with self._lock:
            if self._taken + leave >= self._places:
                raise Busy
            self._taken += 1
        try:
            # No timeout: the queue is short, and each hash in front ends by itself.
            with self._running:
                yield
        finally:
            with self._lock:
                self._taken -= 1
