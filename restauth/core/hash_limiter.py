"""How many passwords may be hashed at the same time, and in which order.

Rule: a flood of logins must leave threads and a core for clients that hold a token, and must not
keep other networks from logging in. A limited number of attempts waits, in fair order (see
`core.fair_queue`). When one too many waits, the one that would come last is refused (`Busy`),
before anything is computed for it. Equal attempts are one: while one of them is at work the others
wait, and those that waited when it began get its result.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Event, Lock
from typing import Any, TypeVar

from restauth.core.fair_queue import FairQueue
from restauth.errors import Busy
from restauth.gate import gate

Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class _Attempt:
    network: str
    name: str
    key: bytes | None
    may_go_on: Event = field(default_factory=Event)
    is_refused: bool = False
    heirs: list["_Attempt"] = field(default_factory=list)  # that get its result
    results: list[Any] = field(default_factory=list)  # none or one: that of an equal attempt


class HashLimiter:
    """`slots` hashes run and `queue` more attempts wait. Give the server more threads than their
    sum."""

    def __init__(self, slots: int, queue: int) -> None:
        self.slot = BoundedSemaphore(slots)
        # The next one is counted in the database while another one hashes.
        self._turns = slots + min(queue, 1)
        self._places = slots + queue
        self.refusals = 0  # since the start
        self._at_work: list[_Attempt] = []
        self._queue: FairQueue[_Attempt] = FairQueue()
        self._lock = Lock()

    def run(
        self,
        work: Callable[[], Result],
        *,
        network: str,
        name: str = "",
        key: bytes | None = None,
        leave: int = 0,
    ) -> Result:
        """The result of `work`, which is called when it is its turn, and hashes `with slot`.

        Attempts with the same `key` are equal. When `work` raises, the others go on by themselves.
        Raises Busy when too many others wait, or when no more than `leave` places are left.
        """
        gate.before_waiting()
        attempt = _Attempt(network, name, key)
        self._enter(attempt, leave)
        results: list[Result] = []
        try:
            # No timeout: the queue is limited, and each hash in front ends by itself.
            attempt.may_go_on.wait()
            if attempt.is_refused:
                raise Busy
            results = attempt.results or [work()]
            return results[0]
        finally:
            self._leave(attempt, results)

    def load(self) -> tuple[int, int]:
        """How many attempts are at work, and how many wait."""
        with self._lock:
            return len(self._at_work), len(self._queue)

    def _enter(self, attempt: _Attempt, leave: int) -> None:
        with self._lock:
            if leave and len(self._at_work) + len(self._queue) + leave >= self._places:
                self.refusals += 1
                raise Busy
            self._queue.add(attempt)
            self._go_on()
            if len(self._at_work) + len(self._queue) > self._places:
                refused = self._queue.find_last()
                if refused is attempt:
                    # A client that tries again waits no longer for its earlier request.
                    refused = next(iter(self._equals_of(attempt)), attempt)
                self._queue.remove(refused)
                refused.is_refused = True
                self.refusals += 1
                refused.may_go_on.set()

    def _leave(self, attempt: _Attempt, results: list[Any]) -> None:
        with self._lock:
            self._queue.remove(attempt)  # when an exception has ended the wait
            if attempt in self._at_work:
                self._at_work.remove(attempt)
                for heir in attempt.heirs if results else []:
                    self._queue.remove(heir)
                    heir.results = results
                    heir.may_go_on.set()
            self._go_on()

    def _go_on(self) -> None:
        """Give the turns that are free to the next."""
        while len(self._at_work) < self._turns and (attempt := self._take()):
            self._at_work.append(attempt)
            attempt.may_go_on.set()

    def _take(self) -> _Attempt | None:
        """The next one of which no equal attempt is at work."""
        under_way = {each.key for each in self._at_work} - {None}
        attempt = self._queue.take(lambda each: each.key not in under_way)
        if attempt:
            attempt.heirs = self._equals_of(attempt)
        return attempt

    def _equals_of(self, attempt: _Attempt) -> list[_Attempt]:
        """Those that wait and are equal to it, in the order in which they came."""
        key = attempt.key
        return [] if key is None else self._queue.select(lambda each: each.key == key)
