"""Authentication by password.

Rule: a wrong password, an unknown username and a locked account get the same answer after the same
work. Only a success may save work, through the credential cache. Whether the name or the peer (the
address of the client) is throttled is asked first, in every case. A name is looked up when it is
its turn to be hashed, so that no refusal before tells whether it exists.
"""

from collections.abc import Callable
from dataclasses import dataclass

from restauth.core import passwords
from restauth.core.hasher import Hasher, PasswordMismatch
from restauth.core.names import TOO_LONG, canonical
from restauth.core.throttle import WIDE_PREFIX, network_of
from restauth.domain.audit import AuditLog, Event
from restauth.domain.resources import Resources
from restauth.domain.throttling import LoginThrottle
from restauth.errors import BadCredentials
from restauth.records import Account, Client


@dataclass(slots=True)
class Authentication:
    """`cache_duration` is in seconds; `clock` gives epoch seconds."""

    _resources: Resources
    _throttle: LoginThrottle
    _hasher: Hasher
    _audit: AuditLog
    cache_duration: int
    clock: Callable[[], int]

    def authenticate(self, username: str, password: str, client: Client) -> Account:
        """The account of that name, if the password is right and the account is not locked.

        Raises BadCredentials, Throttled, Busy, StoreUnavailable.
        """
        name = canonical(username)
        if name == TOO_LONG or not passwords.is_acceptable(password):
            raise BadCredentials  # before the name is looked up: it says nothing about the name
        self._throttle.check(name, client)
        credential = self._resources.cache.digest(name, password)
        # No `release` after the cache: a client that polls must not clear an attacker's count.
        account = self._find_cached(name, credential) or self._resources.limiter.run(
            lambda: self._try(name, password, credential, client),
            network=network_of(client.peer, WIDE_PREFIX),
            name=name,
            key=credential,
        )
        if account is None:
            raise BadCredentials
        return account

    def _find_cached(self, name: str, credential: bytes) -> Account | None:
        """The account, if this credential was verified a short time ago against the row of now."""
        cache, find = self._resources.cache, self._resources.store.find_user_by_name
        return cache.find(credential, lambda: find(name), self.clock(), self.cache_duration)

    def _try(self, name: str, password: str, credential: bytes, client: Client) -> Account | None:
        """One attempt, counted once and logged once, however many requests wait for its result."""
        if cached := self._find_cached(name, credential):  # verified while this attempt waited
            return cached
        store, hasher = self._resources.store, self._hasher
        account = store.find_user_by_name(name)
        candidate = account if account and account.locked_at is None else None
        wait = self._throttle.reserve(name, client, is_account=account is not None)
        try:
            with self._resources.limiter.slot:  # while it is held, no database is waited for
                verified = hasher.verify(password, candidate)
                is_stale = hasher.needs_rehash(verified.password_hash)
                new_hash = hasher.hash(password) if is_stale else None
        except PasswordMismatch:
            self._audit.record_failure(Event.LOGIN_FAILED, client, account, wait)
            return None
        self._throttle.release(name, client)
        if new_hash:  # by compare-and-swap: another login may be faster
            store.renew_password_hash(verified.id, verified.password_hash, new_hash)
        current = store.find_unchanged(verified)
        if current is None:  # locked, deleted or given a new password while it was compared
            self._audit.record(Event.LOGIN_FAILED, client, verified.id)
            return None
        self._resources.cache.add(credential, current, self.clock())
        self._audit.record(Event.LOGIN, client, current.id)
        return current
