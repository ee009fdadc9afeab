"""The domain, built from settings.

Rule: the one place where core, storage and the bridges are put together, and the one that holds a
clock for them. The web and the command line get what is built here and build nothing themselves.
"""

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from restauth.core import password_policy
from restauth.core.access_tokens import AccessTokens
from restauth.core.credential_cache import CredentialCache
from restauth.core.hash_limiter import HashLimiter
from restauth.core.hasher import Hasher
from restauth.core.throttle import Throttle
from restauth.domain import audit
from restauth.domain.accounts import Accounts
from restauth.domain.authentication import Authentication
from restauth.domain.keys import SigningKeys
from restauth.domain.sessions import Sessions
from restauth.domain.stateless import StatelessTokens
from restauth.domain.throttling import LoginThrottle
from restauth.errors import InvalidSetting, UnusableKeyRing
from restauth.settings import Settings
from restauth.storage import common_passwords
from restauth.storage.key_file import KeyFile
from restauth.storage.sqlite import SQLite
from restauth.storage.store import Store

# One core stays free for those who hold a token (a hash keeps a core busy for a quarter second),
# and one more may wait than run, for a login (see `accounts`). Servers need more threads than the
# sum: see `server`.
HASH_SLOTS = max(1, (os.cpu_count() or 1) - 1)
HASH_QUEUE = HASH_SLOTS + 1


def now() -> int:
    """Epoch seconds: the clock of everything that is built here."""
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Services:
    """All that a request or a command may ask for."""

    settings: Settings
    engine: SQLite
    store: Store
    keys: SigningKeys
    hasher: Hasher
    authentication: Authentication
    accounts: Accounts
    sessions: Sessions

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.close()


@dataclass(frozen=True, slots=True)
class StatelessServices:
    """What a request may ask for where no store is at hand."""

    settings: Settings
    tokens: StatelessTokens

    def close(self) -> None:
        """Nothing is open."""


def build_services(
    settings: Settings,
    *,
    create: bool,
    clock: Callable[[], int] = now,
    hash_cost_for_tests: int | None = None,
) -> Services:
    """Open the store and the key ring; `create` makes them if there are none, and without it the
    key ring is read only when it is asked for.

    Raises InvalidSetting, UnusableStore, UnusableKeyRing, UnusableFile. `hash_cost_for_tests` goes
    below what settings allow.
    """
    if settings.audit_log:
        audit.write_to(settings.audit_log)
    find_fault = _build_policy(settings)
    keys = build_keys(settings, clock)
    if create:
        keys.open()
    engine = SQLite(settings.database, create=create)
    store = Store(engine)
    throttle = Throttle(settings.free_failures, settings.max_failures, settings.peer_failures)
    attempts = LoginThrottle(store, throttle, clock)
    slots = HashLimiter(HASH_SLOTS, HASH_QUEUE)
    hasher = Hasher(
        hash_cost_for_tests or settings.bcrypt_rounds,
        time.perf_counter,
        reads_sha_crypt=settings.import_sha_crypt,
    )
    verified = CredentialCache(settings.credential_cache)
    authentication = Authentication(store, attempts, slots, hasher, verified, clock)
    accounts = Accounts(
        store,
        authentication,
        attempts,
        slots,
        hasher,
        username_pattern=settings.username_pattern,
        find_fault=find_fault,
        clock=clock,
    )
    sessions = Sessions(
        store,
        keys,
        _build_tokens(settings),
        token_duration=settings.token_duration,
        session_duration=settings.session_duration,
        refresh_duration=settings.refresh_duration,
        clock=clock,
    )
    return Services(settings, engine, store, keys, hasher, authentication, accounts, sessions)


def start_services(settings: Settings) -> Services:
    """Services for an app that will answer requests: made if there are none, and with the measure
    taken of the old hashes that authentication may meet. Raises as `build_services`."""
    services = build_services(settings, create=True)
    services.hasher.calibrate(services.store.sample_old_hashes())
    services.engine.close()  # uWSGI forks now, and not by os.fork: no connection may be open
    return services


def start_stateless_services(
    settings: Settings, clock: Callable[[], int] = now
) -> StatelessServices:
    """Services for an app that verifies tokens only. Raises UnusableKeyRing: where there is no key
    ring none is made, for a new one would verify nothing."""
    keys = build_keys(settings, clock, signs=False)
    if not keys.ring.keys:
        raise UnusableKeyRing(f"The key ring {settings.key_file} has no key to verify with.")
    tokens = _build_tokens(settings)
    return StatelessServices(
        settings, StatelessTokens(keys, tokens, settings.token_duration, clock)
    )


def build_keys(
    settings: Settings, clock: Callable[[], int] = now, *, signs: bool = True
) -> SigningKeys:
    """The key ring alone, not yet read: the commands on keys need no store."""
    longest = max(settings.token_duration, settings.refresh_duration)
    return SigningKeys(KeyFile(settings.key_file), clock, longest, signs=signs)


def _build_tokens(settings: Settings) -> AccessTokens:
    return AccessTokens(settings.issuer, settings.audience, settings.token_duration)


def _build_policy(settings: Settings) -> Callable[[str, str], str | None]:
    """What judges a new password with its username: the policy, then the embedder's own check.

    Raises InvalidSetting when the check cannot be found.
    """
    check = _find_check(settings.password_check)
    service_names = (settings.issuer, settings.audience, settings.realm, "restauth")

    def find_fault(password: str, username: str) -> str | None:
        fault = None
        if settings.password_policy == "nist":
            lists = common_passwords.read()
            fault = password_policy.find_fault(password, (username, *service_names), *lists)
        return fault or (check(password, username) if check else None)

    return find_fault


def _find_check(name: str) -> Callable[[str, str], str | None] | None:
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        check: Callable[[str, str], str | None] = getattr(importlib.import_module(module), function)
    except Exception as error:  # noqa: BLE001 - whatever importing somebody's module raises
        reason = f"{type(error).__name__}: {error}"
        raise InvalidSetting(f"password_check is {name!r}: {reason}.") from None
    if not callable(check):
        raise InvalidSetting(f"password_check is {name!r}: not a function.")
    return check
