"""Build the domain from settings.

Rule: the one file that puts core, storage and domain together, and the only one that reads the wall
clock for them. What it builds is given to `web` and to `cli`; they build nothing themselves.
"""

import logging
import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from restauth.core.access_tokens import AccessTokens
from restauth.core.credential_cache import CredentialCache
from restauth.core.hash_limiter import HashLimiter
from restauth.core.hasher import Hasher
from restauth.core.keyring import Key
from restauth.core.throttle import Throttle
from restauth.core.token_issuing import TokenIssuing
from restauth.domain import importer, password_rules
from restauth.domain.accounts import Accounts
from restauth.domain.api_keys import ApiKeys
from restauth.domain.audit import AuditLog, Event
from restauth.domain.authentication import Authentication
from restauth.domain.collector import Collector
from restauth.domain.identification import Identification
from restauth.domain.invitations import Invitations
from restauth.domain.keys import SigningKeys
from restauth.domain.metered import EXPECTED, MeteredIdentification
from restauth.domain.metrics import Metrics
from restauth.domain.operators import Operators
from restauth.domain.remote_keys import RemoteKeys
from restauth.domain.resources import Resources
from restauth.domain.sessions import Sessions
from restauth.domain.throttling import LoginThrottle
from restauth.errors import InvalidSetting, NotReady, UnusableKeyRing, UnusableStore
from restauth.gate import gate
from restauth.records import OPERATOR
from restauth.settings import Settings, both_names, is_postgres
from restauth.storage import engines, key_file
from restauth.storage.key_file import KeyFile
from restauth.storage.key_url import KeyURL
from restauth.storage.log_file import LogFile
from restauth.storage.rest_auth_file import RestAuthFile
from restauth.storage.staging import open_staging
from restauth.storage.store import Store

# One core stays free for clients that hold a token: a hash keeps a core busy for a quarter of a
# second. More may wait, each with a thread of its own: a page with fifty images, or the users of a
# site after a restart. A server needs more threads than their sum (see `cli.server`).
HASH_SLOTS = max(1, (os.cpu_count() or 1) - 1)
HASH_QUEUE = 64

_log = logging.getLogger("restauth")


def now() -> int:
    """The wall clock, in epoch seconds: the clock of all that is built here."""
    return int(time.time())


@dataclass(frozen=True, slots=True)
class Services:
    """All that a request or a command may ask for."""

    settings: Settings
    keys: SigningKeys
    audit: AuditLog
    authentication: Authentication
    identification: Identification
    accounts: Accounts
    sessions: Sessions
    invitations: Invitations
    api_keys: ApiKeys
    metrics: Metrics
    collector: Collector
    clock: Callable[[], int]
    is_new: bool  # whether the database was made now
    _resources: Resources
    _hasher: Hasher

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self) -> None:
        """Return if the store answers and the audit log is written; else raise StoreUnavailable,
        NotReady."""
        self._resources.store.ping()
        self.audit.retry()
        if self.audit.fault:
            raise NotReady  # without the cause: the log has it already, once

    def check_ready(self) -> None:
        """Return if requests can be sent here: `ping`, the tables, and the key ring as its file is
        now. Raises StoreUnavailable, NotReady."""
        self.ping()
        if not self._resources.store.is_up_to_date():
            shown = engines.show(self.settings.database)
            raise NotReady(f"The tables in {shown} are older than this restauth: restart it.")
        gate.before_waiting()
        try:
            self.keys.read()
        except UnusableKeyRing as error:
            raise NotReady(str(error)) from None

    def backup(self, target: Path, progress: Callable[[int], None] | None = None) -> None:
        """Write a consistent copy of the database to a new file; `progress` is called with
        percents. Raises UnusableFile."""
        self._resources.engine.backup(target, progress)
        self.audit.record(Event.BACKED_UP, OPERATOR, file=str(target.absolute()))

    def copy(self, target: str, progress: Callable[[int], None]) -> dict[str, int]:
        """Copy all rows to another database, which `target` names like the setting. The number of
        rows by table. Raises as `engines.copy`."""
        counts = engines.copy(self._resources.engine, target, progress)
        shown = engines.show(target)
        self.audit.record(Event.COPIED, OPERATOR, to=shown, users=counts["users"])
        return counts

    def import_users(
        self,
        source: RestAuthFile,
        progress: Callable[[int], None],
        *,
        dry_run: bool,
        skip_renamed: bool = False,
    ) -> importer.Report:
        """Check all users of the source, and then, but in a dry run, copy them in one transaction.

        Raises as `importer.Import`; then nothing has changed.
        """
        store, now = self._resources.store, self.clock()
        with open_staging() as staging:
            users = importer.Import(staging, self._hasher, skip_renamed=skip_renamed)
            users.check(source, store, progress)
            if dry_run:
                return users.report
            store.import_users(lambda target: users.write(target, now))
            report = users.report
        self.audit.record(Event.IMPORTED, OPERATOR, users=report.users, new=report.new)
        return report

    def prepare(self) -> None:
        """Measure the old hashes that logins may meet, and leave no connection open: uWSGI forks
        now, without os.fork."""
        self._hasher.calibrate(self._resources.store.sample_old_hashes())
        self._resources.engine.close()

    def describe_new(self) -> str:
        """Of a database that was made now, what the operator should know."""
        return engines.describe_new(self.settings.database)

    def close(self) -> None:
        """Close the files. Another service on the same database can go on."""
        self._resources.engine.close()
        self.audit.close()


def build_services(
    settings: Settings,
    *,
    create: bool,
    clock: Callable[[], int] = now,
    hash_cost: int | None = None,
    share: bool = False,
) -> Services:
    """Open the store and the key ring.

    `create` makes them when there are none; without it, the key ring is read only when it is
    needed. Nothing is made before all that is there was found usable. `share` uses the
    resources of other services of this process on the same database. `hash_cost` may be lower than
    settings allow: for tests. Raises InvalidSetting, UnusableStore, UnusableKeyRing, UnusableFile,
    StoreUnavailable.
    """
    find_fault = password_rules.build(settings)
    audit = build_audit(settings, clock)
    keys = build_keys(settings, clock, audit)
    is_new = create and not engines.exists(settings.database)
    if create:
        keys.check()
        audit.check()
    lost = find_lost_users(settings)
    if lost:
        raise UnusableStore(lost)
    resources = _open_resources(settings.database, create=create, share=share)
    store = resources.store
    if create:
        fault = find_lost_keys(settings)
        try:
            keys.open()  # after the database: so a key ring without one means that users were lost
        except UnusableKeyRing:
            resources.engine.close()
            raise
        if fault and any(store.list_users()):
            _log.warning("%s A new one is made.", fault)
    limits = Throttle(
        settings.free_failures,
        settings.max_failures,
        settings.peer_failures,
        settings.peer_registrations,
    )
    throttle = LoginThrottle(store, limits, clock)
    hasher = build_hasher(settings, hash_cost)
    authentication = Authentication(
        resources, throttle, hasher, audit, cache_duration=settings.credential_cache, clock=clock
    )
    identify_by: Callable[..., Identification] = Identification
    if settings.metrics:
        resources.metrics.expect((), EXPECTED)
        identify_by = partial(MeteredIdentification, metrics=resources.metrics)
    identification = identify_by(
        partial(keys.find, duration=settings.token_duration),
        _build_tokens(settings),
        clock,
        store=store,
        authentication=authentication,
    )
    operators = Operators(store, settings.admin_role)
    accounts = Accounts(
        store,
        throttle,
        resources.limiter,
        hasher,
        audit,
        operators,
        username_pattern=settings.username_pattern,
        find_fault=find_fault,
        clock=clock,
    )
    sessions = Sessions(
        store,
        keys,
        TokenIssuing(settings.issuer, settings.audience),
        audit,
        operators,
        token_duration=settings.token_duration,
        session_duration=settings.session_duration,
        refresh_duration=settings.refresh_duration,
        clock=clock,
    )
    return Services(
        settings,
        keys,
        audit,
        authentication,
        identification,
        accounts,
        sessions,
        Invitations(store, audit, operators, clock),
        ApiKeys(store, audit, operators, clock),
        resources.metrics,
        Collector(resources.metrics, store, resources.limiter, keys, clock),
        clock,
        is_new,
        resources,
        hasher,
    )


def start_services(
    settings: Settings, *, clock: Callable[[], int] = now, hash_cost: int | None = None
) -> Services:
    """Services that will answer requests: files are made, resources are shared, and the old hashes
    that logins may meet are measured. Raises as `build_services`."""
    services = build_services(settings, create=True, clock=clock, hash_cost=hash_cost, share=True)
    for fault in (
        engines.find_place_fault(settings.database),
        key_file.find_place_fault(find_key_path(settings).absolute()),
    ):
        if fault:
            _log.warning("%s", fault)
    for finding in engines.check_modes(settings.database):
        _log.warning("%s", finding.text)
    services.prepare()
    return services


def restore(
    settings: Settings,
    copy: Path,
    clock: Callable[[], int] = now,
    *,
    is_revoked: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Put a copy of the database in its place, and make all tokens invalid: sessions that were
    ended after the copy was made live again in it. The server must not run. With `is_revoked` the
    key ring stays: the operator has revoked its keys. `progress` is called with percents.

    Raises InvalidSetting, UnusableStore, UnusableFile, UnusableKeyRing; then the database was not
    replaced.
    """
    path = find_key_path(settings)

    def revoke() -> None:  # before: what is restored must not be served with the old keys
        if not is_revoked and os.path.lexists(path):
            build_keys(settings, clock).rotate(revoke=True)

    engines.restore(settings.database, copy, revoke, progress)


def find_lost_users(settings: Settings) -> str | None:
    """The fault, when there is a key ring and the database that belongs to it has gone: a start
    would give their ids to other users."""
    if not engines.is_lost(settings.database, find_key_path(settings)):
        return None
    return (
        f"The database {engines.show(settings.database)} is missing or empty, but its key ring "
        f"{find_key_path(settings).absolute()} is there. If this is the wrong database, set "
        "RESTAUTH_DATABASE. If there were users, restore them (restauth restore). To begin without "
        "users, move the key ring away."
    )


def find_lost_keys(settings: Settings) -> str | None:
    """Of a database with users, the fault when there is no key ring."""
    path = find_key_path(settings).absolute()
    if os.path.lexists(path):
        return None
    return (
        f"There is no key ring {path}, although the database {engines.show(settings.database)} is "
        "in use: with a new key ring, all sessions end."
    )


def find_key_path(settings: Settings) -> Path:
    """The key file of a service. Raises InvalidSetting when there is an address in its place."""
    if isinstance(settings.key_file, str):
        raise InvalidSetting(
            f"{both_names('key_file')} is the address {settings.key_file}: only a guard with "
            "stateless can use one."
        )
    return settings.key_file


def build_stateless(settings: Settings, clock: Callable[[], int] = now) -> Identification:
    """Identification by the keys alone, without a store.

    Raises UnusableKeyRing: no key ring is made, because a new one would verify nothing.
    """
    keys: RemoteKeys | SigningKeys
    if isinstance(settings.key_file, str):
        keys = remote = RemoteKeys(KeyURL(settings.key_file), time.monotonic)
        find_key: Callable[[str], Key | None] = remote.find
    else:
        keys = build_keys(settings, clock, signs=False)
        find_key = partial(keys.find, duration=settings.token_duration)
    keys.read()
    if not keys.ring.keys:
        raise UnusableKeyRing(f"The key ring {settings.key_file} has no key to verify with.")
    return Identification(find_key, _build_tokens(settings), clock)


def build_keys(
    settings: Settings,
    clock: Callable[[], int] = now,
    audit: AuditLog | None = None,
    *,
    signs: bool = True,
) -> SigningKeys:
    """The keys alone, not read yet: commands on keys need no store. Raises InvalidSetting."""
    audit = audit or build_audit(settings, clock)
    max_duration = max(settings.token_duration, settings.refresh_duration)
    return SigningKeys(KeyFile(find_key_path(settings)), clock, max_duration, audit, signs=signs)


def build_audit(settings: Settings, clock: Callable[[], int] = now) -> AuditLog:
    """The audit log alone; its file is opened at the first event."""
    path = Path(settings.audit_log)
    in_use = settings.key_file if is_postgres(settings.database) else settings.database
    return AuditLog(LogFile(path, Path(in_use)) if settings.audit_log else None, clock)


def build_hasher(settings: Settings, hash_cost: int | None = None) -> Hasher:
    """The hasher alone: a dry run of an import may need no store."""
    return Hasher(
        hash_cost or settings.bcrypt_rounds,
        time.perf_counter,
        reads_sha_crypt=settings.import_sha_crypt,
    )


def _build_tokens(settings: Settings) -> AccessTokens:
    return AccessTokens(settings.issuer, settings.audience, settings.token_duration)


# The resources that services of this process share, by the identity of their database. The
# `Authentication` of each service holds them.
_shared: "WeakValueDictionary[Hashable, Resources]" = WeakValueDictionary()
_shared_lock = Lock()


def _open_resources(database: str, *, create: bool, share: bool) -> Resources:
    engine = engines.open_engine(database, create=create)
    limiter = HashLimiter(HASH_SLOTS, HASH_QUEUE)
    new = Resources(engine, Store(engine), limiter, CredentialCache(), Metrics())
    if not share:
        return new
    with _shared_lock:
        resources = _shared.setdefault(engine.identity, new)
    if resources is not new:
        engine.close()
    return resources
