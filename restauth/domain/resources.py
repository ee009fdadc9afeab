"""What all services of a process on one database share.

Rule: only what must be one for all of them: the store with its connections, the limit on password
hashes, the cache of verified passwords, and the counters. The settings of a service are its own.
"""

from dataclasses import dataclass

from restauth.core.credential_cache import CredentialCache
from restauth.core.hash_limiter import HashLimiter
from restauth.domain.metrics import Metrics
from restauth.storage.engine import Engine
from restauth.storage.store import Store


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Resources:
    """They go when the last service that holds them goes."""

    engine: Engine
    store: Store
    limiter: HashLimiter
    cache: CredentialCache
    metrics: Metrics
