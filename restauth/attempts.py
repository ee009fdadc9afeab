"""Failed attempts, counted for all processes.

Rule: joins the limits (`core.throttle`) to their rows in the store. Every door at which a password
or a code is checked asks `admit`, books before it looks, and takes the booking back on success.
"""

from collections.abc import Callable
from hashlib import sha256

from restauth.core.names import MAX_CANONICAL_LENGTH
from restauth.core.throttle import Throttle, network_of
from restauth.errors import Throttled
from restauth.records import Client
from restauth.storage.store import FailureCounts, Store


class Attempts:
    """`name` is canonical, or empty where no account is at stake. Every method may raise
    StoreUnavailable: an attempt that cannot be booked is not made."""

    def __init__(self, store: Store, throttle: Throttle, clock: Callable[[], int]) -> None:
        self._store = store
        self._throttle = throttle
        self._clock = clock

    def admit(self, name: str, client: Client) -> bool:
        """Whether anything is counted against the name. Raises Throttled."""
        failures = self._store.find_failures(_bounded(name), network_of(client.peer))
        self._refuse_early(failures, self._clock())
        return any(key[0] for key in failures)

    def book(self, name: str, client: Client, *, is_account: bool = False) -> int:
        """Count a failure before it happens: of attempts made at once, none slips through.

        The seconds to wait if it does happen. `is_account`: somebody has the name. Raises
        Throttled.
        """
        name, now, wait = _bounded(name), self._clock(), 0

        def change(failures: FailureCounts) -> FailureCounts:
            nonlocal wait
            self._refuse_early(failures, now)
            booked = self._throttle.booked(name, client.peer, failures, now)
            wait = self._throttle.wait(booked, now)
            return booked

        network = network_of(client.peer)
        self._store.change_failures(name, network, change, is_account=is_account)
        return wait

    def forgive(self, name: str, client: Client, *, was_booked: bool = True) -> None:
        """The attempt was a success."""
        self._store.change_failures(
            _bounded(name),
            network_of(client.peer),
            lambda failures: self._throttle.forgiven(failures, was_booked=was_booked),
        )

    def forget(self, name: str) -> None:
        """Begin to count anew, from every peer: somebody has vouched for the name's owner."""
        self._store.forget_failures(_bounded(name))

    def _refuse_early(self, failures: FailureCounts, now: int) -> None:
        wait = self._throttle.wait(failures, now)
        if wait:
            raise Throttled(wait)


def _bounded(name: str) -> str:
    """A name that nobody can have, for its length, is counted by its digest."""
    return name if len(name) <= MAX_CANONICAL_LENGTH else sha256(name.encode("utf-8")).hexdigest()
