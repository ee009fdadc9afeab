"""Failed attempts, counted for all processes.

Rule: joins the limits (`core.throttle`) to their rows in the store. Every door at which a password
or a code is checked calls `check`, then `reserve` before it looks, and `release` on success.
"""

from collections.abc import Callable
from hashlib import sha256

from restauth.core.throttle import Throttle, is_global, network_of
from restauth.errors import Throttled
from restauth.records import Client
from restauth.storage.store import FailureCounts, Store


class LoginThrottle:
    """`name` is canonical, or empty where no account is at stake. Every method may raise
    StoreUnavailable: an attempt that cannot be booked is not made."""

    def __init__(self, store: Store, throttle: Throttle, clock: Callable[[], int]) -> None:
        self._store = store
        self._throttle = throttle
        self._clock = clock

    def check(self, name: str, client: Client) -> None:
        """Raises Throttled while the name or the client has to wait."""
        failures = self._store.find_failures(_digest(name), network_of(client.peer))
        self._refuse_early(failures, self._clock())

    def reserve(self, name: str, client: Client, *, is_account: bool = False) -> int:
        """Count a failure before it happens: of attempts made at once, none slips through.

        The seconds to wait if it does happen. `is_account`: somebody has the name. Raises
        Throttled.
        """
        digest, now, wait = _digest(name), self._clock(), 0

        def change(failures: FailureCounts) -> FailureCounts:
            nonlocal wait
            self._refuse_early(failures, now)
            booked = self._throttle.booked(digest, client.peer, failures, now)
            wait = self._throttle.wait(booked, now)
            return booked

        if name or is_global(client.peer):
            network = network_of(client.peer)
            self._store.change_failures(digest, network, change, now, is_account=is_account)
        return wait

    def release(self, name: str, client: Client) -> None:
        """The attempt that was booked is a success."""
        self._store.change_failures(
            _digest(name), network_of(client.peer), self._throttle.forgiven, self._clock()
        )

    def reset(self, name: str) -> None:
        """Begin to count anew, from every peer: somebody has vouched for the name's owner."""
        self._store.forget_failures(_digest(name))

    def _refuse_early(self, failures: FailureCounts, now: int) -> None:
        wait = self._throttle.wait(failures, now)
        if wait:
            raise Throttled(wait)


def _digest(name: str) -> str:
    """What the rows hold: of any length, and of a password that was typed as a name no trace."""
    return sha256(name.encode("utf-8")).hexdigest() if name else ""
