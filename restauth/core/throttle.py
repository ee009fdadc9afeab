"""How long to wait after failed logins.

Rule: an attempt is booked as a failure before its hash is computed, so that parallel guesses do not
slip through, and a success takes it back. What is counted is the same for names that nobody has.
Pure: counts in, counts out; the store keeps them, for all processes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from restauth.records import FailureCount

MAX_WAIT = 900  # seconds; NIST SP 800-63B-4 section 3.2.2 suggests up to an hour
PEER_WINDOW = 300  # seconds in which the failures of one peer are added up

Key = tuple[str, str]  # what a name is counted by, and the peer's network; empty stands for any


@dataclass(frozen=True, slots=True)
class Throttle:
    """The limits; 0 turns one off.

    `free_failures` of a name from one peer cost no wait, then 1, 2, 4, ... seconds up to MAX_WAIT.
    `max_failures` of a name, in a row and from anywhere, shut its password until an operator
    opens it. `peer_failures` of one peer within PEER_WINDOW block the peer for the rest of it.
    """

    free_failures: int
    max_failures: int
    peer_failures: int

    def wait(self, failures: Mapping[Key, FailureCount], now: int) -> int:
        """Whole seconds until another attempt is worth making; 0 when it may be made now. A name
        that is shut stays so until an operator opens it, and says MAX_WAIT each time."""
        return max((self._wait(key, counted, now) for key, counted in failures.items()), default=0)

    def booked(
        self, name: str, peer: str, failures: Mapping[Key, FailureCount], now: int
    ) -> dict[Key, FailureCount]:
        """The counts after one more failure. `name` is empty when no account is at stake."""
        network = network_of(peer)
        booked = {}
        if name:
            booked[name, ""] = FailureCount(_count(failures, (name, "")) + 1, now, 0)
            count = _count(failures, (name, network)) + 1
            booked[name, network] = FailureCount(count, now, now + self._delay(count))
        # Behind a loopback or private address stands a proxy, and behind that everybody.
        if is_global(peer):
            booked["", network] = self._next_of_peer(failures.get(("", network)), now)
        return booked

    def forgiven(self, failures: Mapping[Key, FailureCount]) -> dict[Key, FailureCount | None]:
        """What a success leaves: nothing of the name; of the peer all but this attempt, so that
        one's own account does not pay for guesses at others'."""
        return {
            key: None if key[0] else self._of_peer(max(counted.count - 1, 0), counted.counted_from)
            for key, counted in failures.items()
        }

    def _wait(self, key: Key, counted: FailureCount, now: int) -> int:
        name, network = key
        if name and not network:
            is_shut = 0 < self.max_failures <= counted.count
            return MAX_WAIT if is_shut else 0
        # An end further ahead than MAX_WAIT can only come from a clock since set back: ignore it.
        return counted.blocked_until - now if now < counted.blocked_until <= now + MAX_WAIT else 0

    def _delay(self, count: int) -> int:
        excess = count - self.free_failures
        if not self.free_failures or excess <= 0:
            return 0
        return min(MAX_WAIT, 1 << min(excess - 1, 10))

    def _next_of_peer(self, counted: FailureCount | None, now: int) -> FailureCount:
        if counted is None or not 0 <= now - counted.counted_from < PEER_WINDOW:
            return self._of_peer(1, now)
        return self._of_peer(counted.count + 1, counted.counted_from)

    def _of_peer(self, count: int, counted_from: int) -> FailureCount:
        is_blocked = 0 < self.peer_failures <= count
        return FailureCount(count, counted_from, counted_from + PEER_WINDOW if is_blocked else 0)


@lru_cache(maxsize=1024)
def network_of(peer: str) -> str:
    """What one client can choose from: an IPv4 address, or a /64 of IPv6."""
    address = _parse_peer(peer)
    if address is None:
        return peer[:64] or "-"  # a Unix socket has no address; never empty: that is "any peer"
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, 64), strict=False).network_address)


def is_global(peer: str) -> bool:
    """Whether the peer is counted by itself, whatever the name."""
    address = _parse_peer(peer)
    return address is not None and address.is_global


def _parse_peer(peer: str) -> IPv4Address | IPv6Address | None:
    # A proxy may put brackets and a port around an address, and a link-local one names its zone.
    bare = re.sub(r"^\[([^]]*)\](:[0-9]+)?$", r"\1", peer).partition("%")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _count(failures: Mapping[Key, FailureCount], key: Key) -> int:
    return failures[key].count if key in failures else 0
