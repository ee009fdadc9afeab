"""Who is next among those that wait for a password hash, and who has to go when too many wait.

Rule: only the order, no threads. The networks take turns, and within a network the names: next is
the one whose last turn is longest ago, or that has had none. So a guess costs its network and its
name their turn, and a flood waits behind itself. Whether a name exists plays no part.

Among equals the first to come is next. When they are many, it is one of the two that came last, by
chance: their clients are the least likely to have given up. A flood of guesses asks again as soon
as it is answered, so it only takes turns with itself, and a login of the same network that comes
between two guesses is next, or soon is.
"""

from collections import Counter
from collections.abc import Callable
from secrets import choice
from typing import Generic, Protocol, TypeVar

from restauth.core.recent import Recent

# Networks and names whose last turn is remembered. It is few on purpose: after so many turns of
# others, one that mistyped its password counts as new again.
MAX_REMEMBERED = 512
# Equals that are served in the order in which they came. With one hash in a third of a second, the
# last of them waits for five seconds.
MAX_IN_ORDER = 16


class Waiting(Protocol):
    """One that waits. `network` is where it comes from, `name` is canonical."""

    @property
    def network(self) -> str:
        """Its network, as text."""

    @property
    def name(self) -> str:
        """Its name; empty for all that is no login."""


Item = TypeVar("Item", bound=Waiting)


class FairQueue(Generic[Item]):
    """Not for several threads at once: the caller has a lock."""

    def __init__(self) -> None:
        self._waiting: list[Item] = []  # in the order in which they came
        self._last_turns: Recent[tuple[str, ...], int] = Recent(MAX_REMEMBERED)
        self._turns = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: Item) -> None:
        """Let it wait."""
        self._waiting.append(item)

    def select(self, is_meant: Callable[[Item], bool]) -> list[Item]:
        """Those that wait and are meant, in the order in which they came."""
        return [item for item in self._waiting if is_meant(item)]

    def remove(self, item: Item) -> None:
        """It waits no longer, if it still does."""
        self._waiting = [other for other in self._waiting if other is not item]

    def take(self, is_ready: Callable[[Item], bool]) -> Item | None:
        """The next of those that are ready; it has had its turn now. None when there is none."""
        ready = self.select(is_ready)
        if not ready:
            return None
        turns = [tuple(map(self._last_turn, _subjects(each))) for each in ready]
        next_turn = min(turns)
        equals = [each for each, turn in zip(ready, turns, strict=True) if turn == next_turn]
        item = equals[0] if len(equals) <= MAX_IN_ORDER else choice(equals[-2:])
        self.remove(item)
        self._note_turn(item)
        return item

    def find_last(self) -> Item:
        """The one that would come last: the last of the name that waits most often, of the network
        that waits most often; among equals, of those that had a turn last, the last to come."""
        counts = Counter(subject for item in self._waiting for subject in _subjects(item))
        return max(
            reversed(self._waiting),
            key=lambda each: [
                value
                for subject in _subjects(each)
                for value in (counts[subject], self._last_turn(subject))
            ],
        )

    def _last_turn(self, subject: tuple[str, ...]) -> int:
        return self._last_turns.get(subject, 0)

    def _note_turn(self, item: Item) -> None:
        self._turns += 1
        for subject in _subjects(item):
            self._last_turns.put(subject, self._turns)


def _subjects(item: Waiting) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (item.network,), (item.network, item.name)
