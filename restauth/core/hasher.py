"""One cost for every login, whatever form the stored hash has.

Rule: nobody learns from the time of an answer whether a name exists, or whether its row is old. A
hash of the current form sets the pace; what an older one costs less is spent in bcrypt rounds, and
when an older one costs more, everybody pays it.
"""

from collections.abc import Callable, Iterable
from threading import Lock

from restauth.core import old_hashes, passwords

_TYPICAL = "x" * 12  # SHA-crypt takes longer for longer passwords
_PROBE_COST = 6  # a few milliseconds, enough to know the pace before the first login


class Hasher:
    """`cost` is bcrypt's, `timer` gives seconds of a clock that never goes back. SHA-crypt takes
    the better part of a second in pure Python, hence `reads_sha_crypt`."""

    def __init__(
        self, cost: int, timer: Callable[[], float], *, reads_sha_crypt: bool = False
    ) -> None:
        self._cost = cost
        self._timer = timer
        self._reads_sha_crypt = reads_sha_crypt
        self._lock = Lock()
        self._rounds = 1 << cost  # that every verification spends, in bcrypt's measure
        self._pace = 0.0  # seconds a round took, when it was last looked at

    def hash(self, password: str) -> str:
        """A new salted hash of an acceptable password, in the current form."""
        return passwords.hash(password, self._cost)

    def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether an acceptable password is the one hashed; None stands for a name that nobody
        has, and matches nothing, as does a form that cannot be read."""
        old = self.read_old(password_hash or "")
        if old is None:
            started = self._timer()
            is_right = passwords.verify(password, password_hash, self._cost)
            spent = 1 << max(self._cost, passwords.cost_of(password_hash) or 0)
            self._pace = (self._timer() - started) / spent
        else:
            is_right, spent = self._match(old, password)
        passwords.burn_rounds(self._rounds - spent)
        return is_right

    def is_stale(self, password_hash: str | None) -> bool:
        """Whether the next correct login should replace this hash."""
        return passwords.needs_rehash(password_hash, self._cost)

    def read_old(self, password_hash: str) -> old_hashes.OldHash | None:
        """The hash, if it is of an older form that is accepted here."""
        old = old_hashes.parse(password_hash)
        return old if old is not None and self.accepts(old) else None

    def accepts(self, old: old_hashes.OldHash) -> bool:
        """Whether such a hash can log in here."""
        return self._reads_sha_crypt or not old.kind.endswith("-crypt")

    def calibrate(self, password_hashes: Iterable[str]) -> None:
        """Take the measure of older forms that logins may meet: whoever is slower than a hash of
        the current form sets the work for all."""
        for password_hash in password_hashes:
            old = self.read_old(password_hash)
            if old is not None:
                _, rounds = self._match(old, _TYPICAL)
                with self._lock:
                    self._rounds = max(self._rounds, rounds)

    def _match(self, old: old_hashes.OldHash, password: str) -> tuple[bool, int]:
        """Whether it matches, and the work of finding that out, in bcrypt's rounds."""
        started = self._timer()
        is_right = old.matches(password)
        return is_right, 1 << old.cost if old.cost else self._rounds_of(self._timer() - started)

    def _rounds_of(self, seconds: float) -> int:
        if not self._pace:
            started = self._timer()
            passwords.burn_rounds(1 << _PROBE_COST)
            self._pace = (self._timer() - started) / (1 << _PROBE_COST)
        return int(seconds / self._pace)
