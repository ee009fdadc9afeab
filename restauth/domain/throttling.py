"""The throttle in force: failed attempts, counted for all processes.

Rule: joins the limits (`core.throttle`) to the counts in the store. Every check of a password or a
code calls `check`, then `reserve` before it compares anything, and `release` after a success.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from restauth.core.throttle import Counts, Throttle, is_global, network_of
from restauth.errors import Throttled
from restauth.records import Client
from restauth.storage.store import Store


@dataclass(frozen=True, slots=True)
class NameFailures:
    """Failed attempts in a row. `blocked_at` says when the last of them shut the password: until
    then it was open. None while it is open."""

    count: int
    blocked_at: int | None


class LoginThrottle:
    """`name` is always canonical, or empty where no account is concerned.

    Every method may raise StoreUnavailable: an attempt that cannot be counted is not made.
    """

    def __init__(self, store: Store, limits: Throttle, clock: Callable[[], int]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock

    def check(self, name: str, client: Client) -> None:
        """Raises Throttled while the name or the client has to wait."""
        counts = self._store.find_failures(_digest(name), network_of(client.peer))
        self._refuse_early(counts, self._clock())

    def reserve(self, name: str, client: Client, *, is_account: bool = False) -> int | None:
        """Count a failure before the attempt is made, so that attempts in parallel are all counted.

        The seconds to wait if it does fail; None when no wait will help then. `is_account` says
        that an account has the name. Raises Throttled.
        """
        if not name and not is_global(client.peer):
            return 0
        digest, now = _digest(name), self._clock()

        def change(counts: Counts) -> Counts:
            self._refuse_early(counts, now)
            return self._limits.after_failure(digest, client.peer, counts, now)

        counts = self._store.change_failures(
            digest, network_of(client.peer), change, now, is_account=is_account
        )
        return self._wait(counts, now)

    def release(self, name: str, client: Client) -> None:
        """The attempt that was reserved has succeeded."""
        self._store.change_failures(
            _digest(name), network_of(client.peer), self._limits.after_success, self._clock()
        )

    def failures_of(self, name: str) -> NameFailures:
        """The failures of the name, from everywhere."""
        digest = _digest(name)
        counts = self._store.find_failures(digest, "")
        if (digest, "") not in counts:
            return NameFailures(0, None)
        failures = counts[digest, ""]
        # No attempt is counted while it is shut, so the last one that was counted has shut it.
        is_shut = self._limits.is_shut(counts)
        return NameFailures(failures.count, failures.counted_from if is_shut else None)

    def reset(self, name: str) -> None:
        """Forget all failures of the name: the operator, or a reset code, stands for its user."""
        self._store.reset_failures(_digest(name))

    def _refuse_early(self, counts: Counts, now: int) -> None:
        wait = self._wait(counts, now)
        if wait != 0:
            raise Throttled(wait)

    def _wait(self, counts: Counts, now: int) -> int | None:
        """The seconds to wait, 0 for none; None when no wait helps."""
        return None if self._limits.is_shut(counts) else self._limits.wait(counts, now)


def _digest(name: str) -> str:
    """What the rows hold instead of the name: of fixed length, and without any trace of a password
    that was typed as a name."""
    return sha256(name.encode("utf-8")).hexdigest() if name else ""
