"""Authentication by password.

Rule: a wrong password, an unknown username and a locked account get the same answer after the same
work. Only a success may save work, through the credential cache. Whether the name or the peer (the
address of the client) is throttled is asked in every case.
"""

from collections.abc import Callable
from dataclasses import replace

from restauth.core import passwords
from restauth.core.hasher import Hasher, PasswordMismatch
from restauth.core.names import canonical
from restauth.domain.audit import AuditLog, Event
from restauth.domain.resources import Resources
from restauth.domain.throttling import LoginThrottle
from restauth.errors import BadCredentials
from restauth.records import Account, Client


class Authentication:
    """`cache_duration` is in seconds; `clock` gives epoch seconds."""

    def __init__(
        self,
        resources: Resources,
        throttle: LoginThrottle,
        hasher: Hasher,
        audit: AuditLog,
        *,
        cache_duration: int,
        clock: Callable[[], int],
    ) -> None:
        self._resources = resources
        self._throttle = throttle
        self._hasher = hasher
        self._audit = audit
        self._cache_duration = cache_duration
        self._clock = clock

    def authenticate(self, username: str, password: str, client: Client) -> Account:
        """The account of that name, if the password is right and the account is not locked.

        Raises BadCredentials, Throttled, Busy, StoreUnavailable.
        """
        if not passwords.is_acceptable(password):
            raise BadCredentials  # before the name is looked up: it says nothing about the name
        name = canonical(username)
        account = self._resources.store.find_user_by_name(name)
        self._throttle.check(name, client)
        candidate = account if account is not None and account.locked_at is None else None
        cache, now = self._resources.cache, self._clock()
        if candidate and cache.find(candidate, password, now, self._cache_duration):
            return candidate  # no `release`: a client that polls must not clear an attacker's count
        try:
            with self._resources.limiter.slot():
                wait = self._throttle.reserve(name, client, is_account=account is not None)
                verified = self._hasher.verify(password, candidate)
                if self._hasher.needs_rehash(verified.password_hash):
                    verified = self._rehash(verified, password)
                self._throttle.release(name, client)
        except PasswordMismatch:
            self._audit.record_failure(Event.LOGIN_FAILED, client, account, wait)
            raise BadCredentials from None
        cache.add(verified, password, self._clock())
        self._audit.record(Event.LOGIN, client, verified.id)
        return verified

    def _rehash(self, account: Account, password: str) -> Account:
        """Replace an old hash, now that the password is known to be right, by compare-and-swap.

        When the row has changed meanwhile, another login may have been faster. But when the account
        has another password now, is locked or is gone, this login fails: PasswordMismatch.
        """
        new_hash = self._hasher.hash(password)
        if self._resources.store.renew_password_hash(account.id, account.password_hash, new_hash):
            return replace(account, password_hash=new_hash)
        current = self._resources.store.find_user(account.id)
        if (
            current is None
            or current.locked_at is not None
            or current.password_version != account.password_version
        ):
            raise PasswordMismatch
        return current
