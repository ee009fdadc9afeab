"""The domain, built from settings.

Rule: the one place where core, storage and the bridges are put together, and the one that holds a
clock. The web and the command line get what is built here and build nothing themselves.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from restauth.accounts import Accounts
from restauth.core.credentials import VerifiedCredentials
from restauth.core.hash_slots import HashSlots
from restauth.core.tokens import AccessTokens
from restauth.keys import Keys
from restauth.sessions import Sessions
from restauth.settings import Settings
from restauth.storage.keyfile import KeyFile
from restauth.storage.sqlite import SQLite
from restauth.storage.store import Store

# One core stays free for those who hold a token (a hash keeps a core busy for a quarter second),
# and as many logins may wait as run. Servers need more threads than the sum: see `server`.
HASH_SLOTS = max(1, (os.cpu_count() or 1) - 1)
HASH_QUEUE = HASH_SLOTS


@dataclass(frozen=True, slots=True)
class Services:
    """All that a request or a command may ask for."""

    settings: Settings
    engine: SQLite
    store: Store
    keys: Keys
    accounts: Accounts
    sessions: Sessions

    def close(self) -> None:
        self.engine.close()


def build_services(
    settings: Settings,
    *,
    create: bool,
    clock: Callable[[], int] = lambda: int(time.time()),
    hash_cost_for_tests: int | None = None,
) -> Services:
    """Open the store and the key ring; `create` makes them if there are none, and without it the
    key ring is read only when it is asked for.

    Raises UnusableStore, UnusableKeyRing. `hash_cost_for_tests` goes below what settings allow.
    """
    keys = build_keys(settings, clock)
    if create:
        keys.open()
    engine = SQLite(settings.database, create=create)
    store = Store(engine)
    accounts = Accounts(
        store,
        HashSlots(HASH_SLOTS, HASH_QUEUE),
        VerifiedCredentials(settings.credential_cache),
        username_pattern=settings.username_pattern,
        cost=hash_cost_for_tests or settings.bcrypt_rounds,
        clock=clock,
    )
    sessions = Sessions(
        store,
        keys,
        AccessTokens(settings.issuer, settings.audience, settings.token_duration),
        token_duration=settings.token_duration,
        session_duration=settings.session_duration,
        clock=clock,
    )
    return Services(settings, engine, store, keys, accounts, sessions)


def build_keys(settings: Settings, clock: Callable[[], int] = lambda: int(time.time())) -> Keys:
    """The key ring alone, not yet read: the commands on keys need no store."""
    return Keys(KeyFile(settings.key_file), clock, settings.token_duration)
