"""Who you are, by password, or by a code that an operator gave you.

Rule: whoever comes with a wrong password, an unknown name or a locked account gets one answer after
one and the same work. Only a success may save the work, by the memory of verified credentials; and
nothing saves the question whether the name or the peer is throttled.
"""

from collections.abc import Callable
from dataclasses import replace

from restauth.core import passwords, reset_codes
from restauth.core.credential_cache import CredentialCache
from restauth.core.hash_limiter import HashLimiter
from restauth.core.hasher import Hasher
from restauth.core.names import canonical
from restauth.domain.audit import Event, record, record_failure
from restauth.domain.throttling import LoginThrottle
from restauth.errors import BadCredentials, UnusableCode
from restauth.records import Account, Client
from restauth.storage.store import Store

# Reset codes are counted beside the names, by their selector; no name has a NUL.
_CODE = "\0reset code "


class Authentication:
    """`clock` gives epoch seconds. Every method may raise StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        attempts: LoginThrottle,
        slots: HashLimiter,
        hasher: Hasher,
        verified: CredentialCache,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._throttle = attempts
        self._slots = slots
        self._verified = verified
        self._hasher = hasher
        self._clock = clock

    def authenticate(self, username: str, password: str, client: Client) -> Account:
        """The account of that name, if the password is right and it is not locked.

        Raises BadCredentials, Throttled, Busy.
        """
        if not passwords.is_acceptable(password):
            raise BadCredentials  # before the name is looked up: it tells nothing about it
        name = canonical(username)
        account = self._store.find_user_by_name(name)
        self._throttle.check(name, client)
        candidate = account if account is not None and account.locked_at is None else None
        if candidate and self._verified.holds(candidate, password, self._clock()):
            return candidate  # and forgive nothing: a client that polls must not clear the count
        with self._slots.slot():
            wait = self._throttle.reserve(name, client, is_account=account is not None)
            stored = candidate.password_hash if candidate else None
            proven = candidate if self._hasher.verify(password, stored) else None
            # Now that the password is at hand; never on a wrong one.
            if proven and self._hasher.is_stale(stored):
                proven = self._renew_hash(proven, self._hasher.hash(password))
            if proven:
                self._throttle.release(name, client)
        if proven is None:
            record_failure(Event.LOGIN_FAILED, client, self._clock(), account, wait)
            raise BadCredentials
        self._verified.remember(proven, password, self._clock())
        record(Event.LOGIN, client, self._clock(), proven.id)
        return proven

    def redeem(self, unverified_code: str, client: Client) -> tuple[Account, str]:
        """Whose reset code it is, and its selector; the code stays good until it is used.

        Raises UnusableCode for a wrong, used or expired one alike; Throttled.
        """
        code = reset_codes.parse(unverified_code)
        found = self._store.find_reset_code(code.selector, self._clock()) if code else None
        # A selector that nobody could guess needs no count; who tries is counted by the peer.
        name = _CODE + code.selector if code and found else ""
        self._throttle.check(name, client)
        wait = self._throttle.reserve(name, client)
        account = self._store.find_user(found[0]) if found else None
        if code is None or found is None or account is None or not code.matches(found[1]):
            record_failure(Event.RESET_FAILED, client, self._clock(), account, wait)
            raise UnusableCode
        self._throttle.release(name, client)
        return account, code.selector

    def _renew_hash(self, account: Account, new_hash: str) -> Account | None:
        """Put a hash of the current form in the place of a stale one, by compare-and-swap.

        When the row has changed meanwhile, another login may have been quicker; but if it has
        another password now, or is locked or gone, this login fails: None.
        """
        if self._store.renew_password_hash(account.id, account.password_hash, new_hash):
            return replace(account, password_hash=new_hash)
        current = self._store.find_user(account.id)
        is_same = (
            current is not None
            and current.locked_at is None
            and current.password_version == account.password_version
        )
        return current if is_same else None
