"""How long hashes take on this machine, counted in rounds of bcrypt.

Rule: it measures, and decides nothing. The pace (seconds a round) is the one measured last, because
it changes with the load of the machine.
"""

from collections.abc import Callable

from restauth.core import passwords
from restauth.core.old_hashes import OldHash

_TYPICAL = "x" * 12  # SHA-crypt takes longer for longer passwords
_MEASUREMENTS = 3  # at the start: the first one is cold, any may be disturbed, the shortest counts


class HashPace:
    """`cost` is bcrypt's, in force. `timer` gives the seconds of a clock that never goes back."""

    def __init__(self, cost: int, timer: Callable[[], float]) -> None:
        self._cost = cost
        self._timer = timer
        self._pace = 0.0  # 0: not measured yet

    def matches(self, password: str, stored: str | None) -> tuple[bool, int]:
        """Whether the password is that of a hash of the current form, and the rounds of bcrypt that
        the comparison took; their pace is noted."""
        started = self._timer()
        is_match = passwords.matches(password, stored, self._cost)
        rounds = 1 << max(self._cost, passwords.cost_of(stored) or 0)
        self._pace = (self._timer() - started) / rounds
        return is_match, rounds

    def matches_old(self, password: str, old: OldHash) -> tuple[bool, int]:
        """Whether the password is that of an older hash, and the work of the comparison in rounds
        of bcrypt."""
        started = self._timer()
        is_match = old.matches(password)
        return is_match, 1 << old.cost if old.cost else self._rounds_of(self._timer() - started)

    def measure(self, old: OldHash) -> int:
        """The rounds of bcrypt that take as long as a login with such a hash."""
        self._pace = self._pace or min(self._measure() for _ in range(_MEASUREMENTS))
        return min(self.matches_old(_TYPICAL, old)[1] for _ in range(_MEASUREMENTS))

    def _rounds_of(self, seconds: float) -> int:
        self._pace = self._pace or self._measure()
        return int(seconds / self._pace)

    def _measure(self) -> float:
        """The pace at the cost in force: at a lower cost, more of the time is not for rounds."""
        started = self._timer()
        passwords.burn_rounds(1 << self._cost)
        return (self._timer() - started) / (1 << self._cost)
