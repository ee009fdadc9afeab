"""The counters of a process: what it has done since its start, for all its threads.

Rule: a label is a word of the code (the path of a route as the table has it, a status, the code of
a refusal), and never what a client has sent. So the memory is bounded, and no figure names a user
or an address.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

# Upper bounds in seconds. A token request takes less than a millisecond, and a hash a quarter of a
# second.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

SUCCEEDED = "succeeded"  # the outcome of an authentication without a refusal


@dataclass(frozen=True, slots=True)
class Counts:
    """All counters at one moment.

    `requests` are by path of the route (empty without one), method and status; `problems` by their
    code; `authentications` by credential and outcome. Of a route, `durations` has the number of
    requests of each bucket, the last one without an upper bound, and `seconds` their sum.
    """

    requests: Mapping[tuple[str, str, int], int]
    problems: Mapping[str, int]
    authentications: Mapping[tuple[str, str], int]
    durations: Mapping[str, tuple[int, ...]]
    seconds: Mapping[str, float]


class Metrics:
    """Threads may share it. A service whose setting `metrics` is empty counts nothing."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._problems: Counter[str] = Counter()
        self._authentications: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def expect(
        self, problems: Iterable[str], authentications: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Show these from the start, with 0: from a counter that appears with 1, Prometheus sees no
        increase."""
        with self._lock:
            self._problems.update(dict.fromkeys(problems, 0))
            self._authentications.update(dict.fromkeys(authentications, 0))

    def count_request(
        self, route: str, method: str, status: int, problem: str, seconds: float
    ) -> None:
        """A request was answered after so many seconds, with a problem if that is not empty."""
        with self._lock:
            self._requests[route, method, status] += 1
            if problem:
                self._problems[problem] += 1
            buckets = self._durations.setdefault(route, [0] * (len(BUCKETS) + 1))
            buckets[bisect_left(BUCKETS, seconds)] += 1
            self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def count_authentication(self, credential: str, outcome: str) -> None:
        """A credential of that kind was verified, or refused for the reason of that code."""
        with self._lock:
            self._authentications[credential, outcome] += 1

    def read(self) -> Counts:
        """What was counted so far."""
        with self._lock:
            return Counts(
                dict(self._requests),
                dict(self._problems),
                dict(self._authentications),
                {route: tuple(buckets) for route, buckets in self._durations.items()},
                dict(self._seconds),
            )
