"""The throttle: how long to wait after failed attempts.

Rule: an attempt is counted as a failure before its password is hashed, so that parallel guesses
cannot exceed the limit; a success takes that back. An unknown username is counted as a known one.
Pure: counts in, counts out. The store keeps the counts, for all processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, ip_network

from restauth.core import peers
from restauth.records import MAX_ID, FailureCount

MAX_WAIT = 900  # seconds; NIST SP 800-63B-4 section 3.2.2 suggests up to an hour
PEER_WINDOW = 300  # seconds in which the failures of one peer are added up
REGISTRATION_WINDOW = 3600  # seconds in which the registrations of one peer are added up
WIDE_PREFIX = 48  # of IPv6: what one customer may get (RFC 6177); for fair turns, not for refusals
SHUT = MAX_ID  # when a shut name opens by itself: never; so its row is the last to be evicted

# What is counted: (name, network). An empty name is any name, an empty network any network.
Subject = tuple[str, str]
Counts = Mapping[Subject, FailureCount]


@dataclass(frozen=True, slots=True)
class Throttle:
    """The limits. A limit of 0 is turned off.

    After `free_failures` of a name from one network, the waits are 1, 2, 4, ... seconds, up to
    MAX_WAIT. After `max_failures` of a name in a row, from anywhere, its password is blocked: it is
    refused until the operator unblocks it. After `peer_failures` of one network within PEER_WINDOW,
    the network is refused for the rest of the window. After `peer_registrations` accounts of one
    network within REGISTRATION_WINDOW, it makes no more for the rest of that window.
    """

    free_failures: int
    max_failures: int
    peer_failures: int
    peer_registrations: int = 0

    def wait(self, counts: Counts, now: int) -> int:
        """Seconds until another attempt is allowed; 0 when it is allowed now. For a password that
        is blocked, always MAX_WAIT, which no client is told (see `is_shut`)."""
        return max(
            (self._wait(subject, count, now) for subject, count in counts.items()), default=0
        )

    def is_shut(self, counts: Counts) -> bool:
        """Whether no wait helps: only the operator, or a reset code, opens the password."""
        return any(
            name and not network and self._is_shut(count.count)
            for (name, network), count in counts.items()
        )

    def after_failure(self, name: str, peer: str, counts: Counts, now: int) -> Counts:
        """The counts after one more failure. `name` is empty when no account is concerned."""
        network = network_of(peer)
        result = {}
        if name:
            count = _count(counts, (name, "")) + 1
            result[name, ""] = FailureCount(count, now, SHUT if self._is_shut(count) else 0)
            count = _count(counts, (name, network)) + 1
            result[name, network] = FailureCount(count, now, now + self._delay(count))
        # Behind a loopback or private address there may be a proxy, and behind it many clients.
        if is_global(peer):
            result["", network] = self._next_of_network(counts.get(("", network)), now)
        return result

    def after_success(self, counts: Counts) -> Mapping[Subject, FailureCount | None]:
        """The counts after a success, None for a count that is removed. The counts of the name
        are removed. From the count of the network, only this attempt is subtracted, because an
        attacker with an account of his own must not clear the count of his guesses at others."""
        return {
            subject: None
            if subject[0]
            else self._of_network(max(count.count - 1, 0), count.counted_from)
            for subject, count in counts.items()
        }

    def limits_registrations(self, peer: str) -> bool:
        """Whether the registrations of the peer are added up."""
        return self.peer_registrations > 0 and is_global(peer)

    def registration_wait(self, count: FailureCount | None, now: int) -> int:
        """Seconds until the peer of that count may make another account; 0 when it may now."""
        if count is None or count.count < self.peer_registrations:
            return 0
        elapsed = now - count.counted_from
        return REGISTRATION_WINDOW - elapsed if 0 <= elapsed < REGISTRATION_WINDOW else 0

    def after_registration(self, count: FailureCount | None, now: int) -> FailureCount:
        """The count after one more registration."""
        if count is None or not 0 <= now - count.counted_from < REGISTRATION_WINDOW:
            return FailureCount(1, now, 0)
        return FailureCount(count.count + 1, count.counted_from, 0)

    def _wait(self, subject: Subject, count: FailureCount, now: int) -> int:
        name, network = subject
        if name and not network:
            return MAX_WAIT if self._is_shut(count.count) else 0
        # An end further ahead than MAX_WAIT was noted before the clock was set back: ignore it.
        return count.blocked_until - now if now < count.blocked_until <= now + MAX_WAIT else 0

    def _is_shut(self, count: int) -> bool:
        return 0 < self.max_failures <= count

    def _delay(self, count: int) -> int:
        excess = count - self.free_failures
        if not self.free_failures or excess <= 0:
            return 0
        return min(MAX_WAIT, 1 << min(excess - 1, 10))

    def _next_of_network(self, count: FailureCount | None, now: int) -> FailureCount:
        if count is None or not 0 <= now - count.counted_from < PEER_WINDOW:
            return self._of_network(1, now)
        return self._of_network(count.count + 1, count.counted_from)

    def _of_network(self, count: int, counted_from: int) -> FailureCount:
        is_blocked = 0 < self.peer_failures <= count
        return FailureCount(count, counted_from, counted_from + PEER_WINDOW if is_blocked else 0)


@lru_cache(maxsize=1024)
def network_of(peer: str, prefix: int = 64) -> str:
    """The addresses that one client can choose from: an IPv4 address, or a /64 of IPv6. With
    WIDE_PREFIX, those of one site."""
    address = peers.parse(peer)
    if address is None:
        # A Unix socket has no address, and an empty network would mean any network.
        return peer[: peers.MAX_LENGTH] or "-"
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, prefix), strict=False).network_address)


def is_global(peer: str) -> bool:
    """Whether the failures of the peer are added up over all names."""
    address = peers.parse(peer)
    return address is not None and address.is_global


def _count(counts: Counts, subject: Subject) -> int:
    return counts[subject].count if subject in counts else 0
