"""All figures of a process, as metric families in the sense of Prometheus.

Rule: names, units and help texts are here and nowhere else. What counts up is read from
`domain.metrics`, all else is asked for at the moment of the scrape. A figure that cannot be had is
left out, and the others are shown: when the store does not answer, they are needed most.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import Literal

from restauth.core.hash_limiter import HashLimiter
from restauth.domain.keys import SigningKeys
from restauth.domain.metrics import BUCKETS, Counts, Metrics
from restauth.errors import StoreUnavailable
from restauth.storage.store import Store

# Seconds for which a count of the sessions is shown again: to count a million of them takes some
# 30 milliseconds.
COUNT_DURATION = 60
NO_ROUTE = "none"
DISTRIBUTION = "restauth-wsgi"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. `suffix` is added to the name of its family."""

    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: tuple[Sample, ...]


class Collector:
    """`clock` gives epoch seconds. Threads may share it."""

    def __init__(
        self,
        metrics: Metrics,
        store: Store,
        limiter: HashLimiter,
        keys: SigningKeys,
        clock: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._store = store
        self._limiter = limiter
        self._keys = keys
        self._clock = clock
        self._counting = Lock()
        self._sessions: int | None = None
        self._counted_at: int | None = None

    def collect(self) -> Iterator[Family]:
        """Each family, in an order that stays."""
        yield from _counters(self._metrics.read())
        at_work, waiting = self._limiter.load()
        yield _gauge("restauth_hashes_at_work", "Password hashes under way.", at_work)
        yield _gauge(
            "restauth_hash_queue_length", "Attempts that wait for their password hash.", waiting
        )
        yield _counter(
            "restauth_hash_refusals_total",
            "Attempts refused because too many waited for a password hash.",
            [Sample(self._limiter.refusals, {})],
        )
        sessions = self._count_sessions()
        if sessions is not None:
            yield _gauge(
                "restauth_sessions", "Live sessions, counted once a minute at most.", sessions
            )
        yield _gauge(
            "restauth_signing_key_created_timestamp_seconds",
            "When the key that signs tokens was made, in epoch seconds.",
            self._keys.ring.signing_key.created_at,
        )
        versions = {"version": find_version(), "python": sys.version.split()[0]}
        yield _gauge("restauth_build_info", "The versions that run; always 1.", 1, versions)

    def _count_sessions(self) -> int | None:
        """The live sessions, counted a short time ago; None if they cannot be counted. One thread
        counts, and the others take what was counted before."""
        if self._counting.acquire(blocking=False):
            try:
                now = self._clock()
                if self._counted_at is None or not 0 <= now - self._counted_at < COUNT_DURATION:
                    self._sessions = None
                    with suppress(StoreUnavailable):
                        self._sessions = self._store.count_sessions(now)
                        self._counted_at = now
            finally:
                self._counting.release()
        return self._sessions


def find_version() -> str:
    """The version that is installed."""
    # Here, because it takes memory, and only a scrape asks.
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # a copy of the files
        return "unknown"


def _counters(counts: Counts) -> Iterator[Family]:
    yield _counter(
        "restauth_requests_total",
        "Requests answered, by the path of their route, method and status.",
        [
            Sample(number, {"route": route or NO_ROUTE, "method": method, "status": str(status)})
            for (route, method, status), number in sorted(counts.requests.items())
        ],
    )
    yield Family(
        "restauth_request_duration_seconds",
        "histogram",
        "Time in the application, by the path of the route.",
        tuple(
            sample
            for route, numbers in sorted(counts.durations.items())
            for sample in _histogram(route or NO_ROUTE, numbers, counts.seconds[route])
        ),
    )
    yield _counter(
        "restauth_problems_total",
        "Requests answered with a problem document, by its code.",
        [Sample(number, {"code": code}) for code, number in sorted(counts.problems.items())],
    )
    yield _counter(
        "restauth_authentications_total",
        "Credentials verified or refused, by their kind and the outcome.",
        [
            Sample(number, {"credential": credential, "outcome": outcome})
            for (credential, outcome), number in sorted(counts.authentications.items())
        ],
    )


def _histogram(route: str, numbers: tuple[int, ...], seconds: float) -> Iterator[Sample]:
    bounds = (*map(str, BUCKETS), "+Inf")
    totals = list(accumulate(numbers))
    for bound, total in zip(bounds, totals, strict=True):
        yield Sample(total, {"route": route, "le": bound}, "_bucket")
    yield Sample(seconds, {"route": route}, "_sum")
    yield Sample(totals[-1], {"route": route}, "_count")


def _counter(name: str, help: str, samples: list[Sample]) -> Family:
    return Family(name, "counter", help, tuple(samples))


def _gauge(name: str, help: str, value: float, labels: Mapping[str, str] | None = None) -> Family:
    return Family(name, "gauge", help, (Sample(value, labels or {}),))
