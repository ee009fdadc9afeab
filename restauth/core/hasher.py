"""Verify a password with the same work for every login, whatever form the stored hash has.

Rule: the time of an answer must not tell whether a username exists, or whether its hash is an old
one. A hash of the current form sets the work. A cheaper old hash is topped up with bcrypt rounds;
if an old hash is more expensive, every login costs as much.
"""

from collections.abc import Callable, Iterable
from threading import Lock

from restauth.core import old_hashes, passwords
from restauth.core.hash_pace import HashPace
from restauth.records import Account


class PasswordMismatch(Exception):
    """The password is not the account's, or there is no account to compare with."""


class Hasher:
    """`cost` is bcrypt's. `timer` gives the seconds of a clock that never goes back.

    SHA-crypt takes most of a second in pure Python: it is read only with `reads_sha_crypt`.
    """

    def __init__(
        self, cost: int, timer: Callable[[], float], *, reads_sha_crypt: bool = False
    ) -> None:
        self._cost = cost
        self._pace = HashPace(cost, timer)
        self._reads_sha_crypt = reads_sha_crypt
        self._lock = Lock()
        self._rounds = 1 << cost  # the work of every verification, in rounds of bcrypt

    def hash(self, password: str) -> str:
        """A new salted hash of an acceptable password, in the current form."""
        return passwords.hash(password, self._cost)

    def verify(self, password: str, candidate: Account | None) -> Account:
        """The candidate, if the acceptable password is the one of its hash.

        Raises PasswordMismatch when it is not, and when there is no candidate (None stands for an
        unknown username). Both take the same time.
        """
        stored = candidate.password_hash if candidate else None
        old = self.find_old(stored or "")
        pace = self._pace
        is_match, spent = pace.matches_old(password, old) if old else pace.matches(password, stored)
        passwords.burn_rounds(self._rounds - spent)
        if candidate is None or not is_match:
            raise PasswordMismatch
        return candidate

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the next correct login must replace this hash."""
        return passwords.cost_of(password_hash) != self._cost

    def find_old(self, password_hash: str) -> old_hashes.OldHash | None:
        """The hash, if it has an older form that is accepted here."""
        old = old_hashes.parse(password_hash)
        is_refused = old and old.kind.endswith("-crypt") and not self._reads_sha_crypt
        return None if is_refused else old

    def calibrate(self, password_hashes: Iterable[str]) -> None:
        """Measure the old hashes that logins may meet: the slowest sets the work of all logins."""
        for old in filter(None, map(self.find_old, password_hashes)):
            rounds = self._pace.measure(old)
            with self._lock:
                self._rounds = max(self._rounds, rounds)
