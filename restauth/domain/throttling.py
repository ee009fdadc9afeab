"""The throttle in force: failed attempts, counted for all processes.

Rule: joins the limits (`core.throttle`) to the counts in the store. Every check of a password or a
code calls `check`, then `reserve` before it compares anything, and `release` after a success. A
success is never counted as a failure, and never answered as one, not even while it cannot be
written.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from threading import Lock

from restauth.core.throttle import Counts, Subject, Throttle, is_global, network_of
from restauth.errors import StoreUnavailable, Throttled
from restauth.records import Client, FailureCount
from restauth.storage.store import Store

_REGISTRATIONS = "registrations"  # in the place of the digest of a name, which is longer


@dataclass(frozen=True, slots=True)
class NameFailures:
    """Failed attempts in a row. `blocked_at` says when the last of them shut the password: until
    then it was open. None while it is open."""

    count: int
    blocked_at: int | None


class LoginThrottle:
    """`name` is always canonical, or empty where no account is concerned.

    `check` and `reserve` may raise StoreUnavailable: an attempt that cannot be counted is not made.
    """

    def __init__(self, store: Store, limits: Throttle, clock: Callable[[], int]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        # Releases and resets that are not written yet, a reset without a network. An attempt writes
        # them before it is counted itself, so that they are never more than what is under way.
        self._owed: deque[tuple[str, str | None]] = deque()
        self._paying = Lock()

    def check(self, name: str, client: Client) -> None:
        """Raises Throttled while the name or the client has to wait."""
        self._refuse_early(self._find(_digest(name), network_of(client.peer)), self._clock())

    def reserve(self, name: str, client: Client, *, is_account: bool = False) -> int | None:
        """Count a failure before the attempt is made, so that attempts in parallel are all counted.

        The seconds to wait if it does fail; None when no wait will help then. `is_account` says
        that an account has the name. For an operator, whose credential was verified, nothing is
        counted without a name. Raises Throttled.
        """
        if not name and (client.operator_id is not None or not is_global(client.peer)):
            return 0
        self._pay()
        digest, now = _digest(name), self._clock()

        def change(counts: Counts) -> Counts:
            self._refuse_early(counts, now)
            return self._limits.after_failure(digest, client.peer, counts, now)

        counts = self._store.change_failures(
            digest, network_of(client.peer), change, now, is_account=is_account
        )
        return self._wait(counts, now)

    def release(self, name: str, client: Client) -> None:
        """The attempt that was reserved has succeeded. If that cannot be written now, it holds in
        this process at once, and is written before the next attempt is counted."""
        self._owe(_digest(name), network_of(client.peer))

    def check_registration(self, client: Client) -> None:
        """Raises Throttled while the client may make no account. It is asked before any name is
        looked up: the answer must not depend on whether the name is taken."""
        if self._counts_registrations(client):
            subject = _registrations_of(client)
            count = self._store.find_failures(*subject).get(subject)
            self._refuse_registration(count, self._clock())

    @contextmanager
    def registration(self, client: Client) -> Iterator[int]:
        """Make an account within it. It is counted before, so that those at once are all counted,
        and no more if an exception ends it. Those that an operator makes are not counted.

        Gives the seconds until the next one, 0 for none. Raises Throttled.
        """
        if not self._counts_registrations(client):
            yield 0
            return
        subject, now = _registrations_of(client), self._clock()

        def add(counts: Counts) -> Counts:
            self._refuse_registration(counts.get(subject), now)
            return {subject: self._limits.after_registration(counts.get(subject), now)}

        counted = self._store.change_failures(*subject, add, now)
        try:
            yield self._limits.registration_wait(counted[subject], now)
        except BaseException:
            with suppress(StoreUnavailable):  # then it counts until the end of its window
                self._store.change_failures(*subject, partial(_take_back, subject), now)
            raise

    def failures_of(self, name: str) -> NameFailures:
        """The failures of the name, from everywhere."""
        digest = _digest(name)
        counts = self._find(digest, "")
        if (digest, "") not in counts:
            return NameFailures(0, None)
        failures = counts[digest, ""]
        # No attempt is counted while it is shut, so the last one that was counted has shut it.
        is_shut = self._limits.is_shut(counts)
        return NameFailures(failures.count, failures.counted_from if is_shut else None)

    def reset(self, name: str) -> None:
        """Forget all failures of the name: the operator, or a reset code, stands for its user. What
        it belongs to has happened; so if it cannot be written now, it is owed as a release is."""
        self._owe(_digest(name), None)

    def _find(self, digest: str, network: str) -> Counts:
        """The counts, as if all that is owed were written."""
        counts: Counts = self._store.find_failures(digest, network)
        for owed in tuple(self._owed):
            counts = self._settled(owed, counts)
        return counts

    def _owe(self, digest: str, network: str | None) -> None:
        self._owed.append((digest, network))
        with suppress(StoreUnavailable):
            self._pay()

    def _pay(self) -> None:
        """Write what is owed, unless another thread does. Raises StoreUnavailable."""
        if not self._paying.acquire(blocking=False):
            return
        try:
            while self._owed:
                digest, network = self._owed[0]
                if network is None:
                    self._store.reset_failures(digest)
                else:
                    self._store.change_failures(
                        digest, network, self._limits.after_success, self._clock()
                    )
                self._owed.popleft()
        finally:
            self._paying.release()

    def _settled(self, owed: tuple[str, str | None], counts: Counts) -> Counts:
        """The counts as they are when that is written."""
        digest, network = owed
        if network is None:
            return {row: count for row, count in counts.items() if row[0] != digest}
        rows = {(digest, ""), (digest, network), ("", network)}
        released: Mapping[Subject, FailureCount | None] = {
            **counts,
            **self._limits.after_success({row: counts[row] for row in rows & counts.keys()}),
        }
        return {row: count for row, count in released.items() if count}

    def _counts_registrations(self, client: Client) -> bool:
        return client.operator_id is None and self._limits.limits_registrations(client.peer)

    def _refuse_registration(self, count: FailureCount | None, now: int) -> None:
        if wait := self._limits.registration_wait(count, now):
            raise Throttled(wait, "Too many accounts were made from your address.")

    def _refuse_early(self, counts: Counts, now: int) -> None:
        wait = self._wait(counts, now)
        if wait != 0:
            raise Throttled(wait)

    def _wait(self, counts: Counts, now: int) -> int | None:
        """The seconds to wait, 0 for none; None when no wait helps."""
        return None if self._limits.is_shut(counts) else self._limits.wait(counts, now)


def _registrations_of(client: Client) -> Subject:
    return _REGISTRATIONS, network_of(client.peer)


def _take_back(subject: Subject, counts: Counts) -> Counts:
    """The counts without one registration. Its row may have been pushed out."""
    if subject not in counts:
        return {}
    count = counts[subject]
    return {subject: replace(count, count=max(count.count - 1, 0))}


def _digest(name: str) -> str:
    """What the rows hold instead of the name: of fixed length, and without any trace of a password
    that was typed as a name."""
    return sha256(name.encode("utf-8")).hexdigest() if name else ""
