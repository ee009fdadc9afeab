"""The domain, built from settings: what is made, what is shared, what reaches where."""

import gc
import os
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import fields
from itertools import islice
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event, Lock
from weakref import WeakValueDictionary, ref
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import bcrypt
import pytest
import webtest

from restauth import AuthMiddleware, create_app, settings
from restauth import services as services_module
from restauth.core.jwk import MAX_TIME
from restauth.core.keyring import ROTATION_GRACE
from restauth.domain.resources import Resources
from restauth.errors import (
    InvalidSetting,
    StoreUnavailable,
    UnacceptablePassword,
    UnacceptableUsername,
    UnusableKeyRing,
    UnusableStore,
)
from restauth.records import Account
from restauth.services import (
    Services,
    build_keys,
    build_services,
    build_stateless,
    restore,
    start_services,
)
from restauth.settings import Settings
from restauth.storage import private_files
from restauth.storage.rest_auth_file import open_rest_auth_file
from restauth.testing import Clock
from tests.conftest import CHEAPEST, CLIENT, ServicesFactory, basic, bearer, held_hashes
from tests.databases import look_now
from tests.domain.actions import (
    NAME,
    ONE_HASH,
    PASSWORD,
    fail,
    is_valid,
    issue,
    log_in,
    register,
    session_of,
    start,
    verify,
)
from tests.hash_samples import write_rest_auth_file
from tests.storage.system import in_processes, killed_at_each_step


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """Defaults, with files in a fresh directory."""
    return settings.load({}, {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"})


# What is made, and when


def test_a_first_start_makes_two_private_files_and_a_second_one_keeps_them(here: Settings) -> None:
    with build_services(here, create=True, hash_cost=CHEAPEST) as first:
        files = (Path(here.database), Path(here.key_file))
        assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
        account, token = register(first), issue(first).token
    with build_services(here, create=True) as second:
        assert second.accounts.find(account.id) == account
        assert is_valid(second, token)


@pytest.mark.parametrize("share", [False, True], ids=["alone", "shared"])
def test_without_create_no_file_is_made(here: Settings, tmp_path: Path, share: bool) -> None:
    with pytest.raises(UnusableStore):
        build_services(here, create=False, share=share)
    assert list(tmp_path.iterdir()) == []


def test_without_create_the_key_ring_is_read_only_when_it_is_asked_for(here: Settings) -> None:
    build_services(here, create=True).close()
    Path(here.key_file).unlink()
    with build_services(here, create=False, hash_cost=CHEAPEST) as services:
        register(services)
        with pytest.raises(UnusableKeyRing):
            issue(services)
    assert not Path(here.key_file).exists()


def test_a_key_ring_that_cannot_be_made_stops_the_start_and_leaves_nothing_open(
    here: Settings,
) -> None:
    """A clock beyond the year 9999, for one; a connection that is left open is a warning."""
    with pytest.raises(UnusableKeyRing, match="9999"):
        build_services(here, create=True, clock=lambda: MAX_TIME + 1)
    gc.collect()
    assert not Path(here.key_file).exists()


def test_a_key_ring_that_cannot_be_used_stops_the_start_before_a_database_is_made(
    here: Settings,
) -> None:
    Path(here.key_file).touch(mode=0o644)
    with pytest.raises(UnusableKeyRing):
        build_services(here, create=True)
    assert not Path(here.database).exists()


def test_a_key_ring_that_was_lost_is_told_when_a_new_one_is_made(
    here: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    for has_users in (False, True):
        with build_services(here, create=True, hash_cost=CHEAPEST) as services:
            if not has_users:
                register(services)
        Path(here.key_file).unlink()
        line = (
            f"There is no key ring {here.key_file}, although the database {here.database} is in "
            "use: with a new key ring, all sessions end. A new one is made."
        )
        assert [record.getMessage() for record in caplog.records] == [line] * has_users


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("lose", [Path.unlink, empty])
def test_a_key_ring_whose_database_has_gone_stops_the_start(
    here: Settings, tmp_path: Path, lose: Callable[[Path], None], create: bool
) -> None:
    """Else new users would get the ids of those that were lost."""
    with build_services(here, create=True, hash_cost=CHEAPEST) as services:
        register(services)
    lose(Path(here.database))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UnusableStore) as caught:
        build_services(here, create=create)
    assert str(caught.value) == (
        f"The database {here.database} is missing or empty, but its key ring "
        f"{here.key_file} is there. If this is the wrong database, set RESTAUTH_DATABASE. If there "
        "were users, restore them (restauth restore). To begin without users, move the key ring "
        "away."
    )
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    Path(here.key_file).unlink()
    with build_services(here, create=True) as services:
        assert list(services.accounts.list()) == []


def test_a_key_ring_may_be_put_in_a_directory_of_its_own_before_the_first_start(
    here: Settings, tmp_path: Path
) -> None:
    build_services(here, create=True).close()
    (tmp_path / "new").mkdir()
    new = settings.load({}, {"database": tmp_path / "new" / "a.db", "key_file": here.key_file})
    with build_services(new, create=True) as services:
        assert list(services.accounts.list()) == []


def settings_in(directory: Path) -> Settings:
    return settings.load({}, {"database": directory / "a.db", "key_file": directory / "a.keys"})


def first_start(directory: Path) -> None:
    start_services(settings_in(directory), hash_cost=CHEAPEST).close()


def later_start(directory: Path) -> None:
    with start_services(settings_in(directory), hash_cost=CHEAPEST) as services:
        assert register(services).id == 1


def test_a_first_start_that_is_killed_at_any_moment_does_not_stop_the_next_one(
    tmp_path: Path,
) -> None:
    in_processes(1, killed_at_each_step, tmp_path, os.listdir, first_start, later_start)


def test_a_file_that_is_mounted_alone_is_told_at_the_start(
    here: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(private_files, "MOUNTS", mounts)
    mounts.write_text("")
    start_services(here).close()
    assert caplog.messages == []
    names = (os.path.realpath(name) for name in (here.database, here.key_file))
    mounts.write_text("".join(f"36 35 98:0 /x {name} rw - ext4 x rw\n" for name in names))
    start_services(here).close()
    assert [each.partition(" is ")[2].partition(":")[0] for each in caplog.messages] == [
        "mounted as a single file",
        "mounted as a single file, which cannot be replaced",
    ]


# Restore


def test_a_restore_revokes_the_keys_before_it_replaces_the_database(
    here: Settings, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    with build_services(here, create=True, hash_cost=CHEAPEST) as services:
        account, token = register(services), issue(services).token
        services.backup(copy)
        services.accounts.lock(account)  # which ends the session
        kid = services.keys.ring.signing_key.kid
        with pytest.raises(UnusableStore, match="in use"):
            restore(here, copy)
        assert build_keys(here).ring.signing_key.kid == kid
    restore(here, copy)
    with build_services(here, create=True) as services:
        assert services.accounts.find(account.id) == account
        assert session_ids(services, account) != []  # it lives again, and its token does not
        assert not is_valid(services, token)
        assert len(services.keys.ring.keys) == 1


def session_ids(services: Services, account: Account) -> list[str]:
    return [each.id for each in services.sessions.list(account.id)]


def test_a_restore_needs_no_key_ring_and_refuses_one_that_cannot_be_used(
    here: Settings, tmp_path: Path
) -> None:
    copy, ring = tmp_path / "copy.db", Path(here.key_file)
    with build_services(here, create=True, hash_cost=CHEAPEST) as services:
        services.backup(copy)
        register(services)
    ring.chmod(0o644)
    with pytest.raises(UnusableKeyRing):
        restore(here, copy)
    ring.unlink()
    with build_services(here, create=False) as services:
        assert len(list(services.accounts.list())) == 1
    restore(here, copy)
    assert not ring.exists()
    with build_services(here, create=True) as services:
        assert list(services.accounts.list()) == []


def test_keys_and_verifiers_need_no_database(here: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnusableKeyRing, match="There is no key ring"):
        build_stateless(here)
    assert list(tmp_path.iterdir()) == []
    keys = build_keys(here)
    keys.open()
    kept = keys.ring.signing_key
    assert abs(kept.created_at - time.time()) < 60
    assert keys.rotate(revoke=False).find(kept.kid, kept.created_at, here.token_duration)
    build_stateless(here)
    assert os.listdir(tmp_path) == ["a.keys"]


def test_a_verifier_needs_a_key(here: Settings) -> None:
    # The public set of a ring of HS256 keys is empty. A service signs, so it reads no such set.
    Path(here.key_file).touch(mode=0o600)
    Path(here.key_file).write_text('{"keys": []}')
    with pytest.raises(UnusableKeyRing, match="no key to verify with"):
        build_stateless(here)
    with pytest.raises(UnusableKeyRing):
        build_services(here, create=True)


@pytest.mark.sqlite("it is about the files of SQLite")
def test_services_let_go_of_the_database_when_their_block_ends(services: Services) -> None:
    write_ahead_log = Path(f"{services.settings.database}-wal")
    with services:
        register(services)
        assert write_ahead_log.exists()
    assert not write_ahead_log.exists()  # SQLite removes it with the last connection


def test_users_are_imported_and_their_old_hashes_are_measured_at_the_next_start(
    here: Settings, tmp_path: Path, work: list[int]
) -> None:
    old = bcrypt.hashpw(b"python", bcrypt.gensalt(CHEAPEST + 2)).decode()
    rows = write_rest_auth_file(tmp_path / "old.db", [(5, NAME, old)])
    with build_services(here, create=True) as services, open_rest_auth_file(rows) as source:
        services.import_users(source, lambda _: None, dry_run=True)
        assert list(services.accounts.list()) == []
        services.import_users(source, lambda _: None, dry_run=False)
        assert services.accounts.find(5).username == NAME
    with start_services(here, hash_cost=CHEAPEST) as services:
        # uWSGI forks now, without our knowledge: the last connection takes this file along
        assert not Path(f"{here.database}-wal").exists()
        work.clear()
        fail(services, username="nobody")
        assert sum(work) == 4 * ONE_HASH


@pytest.mark.sqlite("a copy of PostgreSQL is made by pg_dump")
def test_a_backup_is_a_database_to_start_from(services: Services, tmp_path: Path) -> None:
    account = register(services)
    services.backup(tmp_path / "copy.db")
    copy = settings.load(
        {}, {"database": tmp_path / "copy.db", "key_file": services.settings.key_file}
    )
    with build_services(copy, create=False) as restored:
        assert list(restored.accounts.list()) == [account]


# What is shared in a process


StartHere = Callable[..., Services]


@pytest.fixture
def start_here(here: Settings, clock: Clock) -> Iterator[StartHere]:
    """Services of this process that will answer requests, with any settings as keywords."""
    with ExitStack() as stack:
        files = {"database": here.database, "key_file": here.key_file}

        def start_here(**keywords: object) -> Services:
            loaded = settings.load({}, {**files, **keywords})
            services = start_services(loaded, clock=clock, hash_cost=CHEAPEST)
            # the database and the log, and not `services`: that would keep the resources alive
            stack.callback(services.audit.close)
            stack.callback(services._resources.engine.close)
            return services

        yield start_here


def test_services_on_one_database_share_store_limiter_and_cache(
    start_here: StartHere, here: Settings, tmp_path: Path, work: list[int]
) -> None:
    first = start_here()
    link = tmp_path / "link.db"
    link.symlink_to(here.database)
    others = [start_here(realm="other"), start_here(database=link)]
    for other in others:
        assert other._resources is first._resources
    register(first)
    log_in(first)
    work.clear()
    for other in others:
        log_in(other)
    assert work == []
    log_in(start_here(credential_cache=0))  # a setting of the service, though the cache is shared
    assert work == [ONE_HASH]
    first.close()
    log_in(others[0])
    with build_services(here, create=False) as alone:  # a command
        assert alone._resources is not first._resources


def test_services_on_two_databases_share_nothing(
    start_here: StartHere, tmp_path: Path, work: list[int]
) -> None:
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    a = start_here(audit_log=str(logs[0]))
    (tmp_path / "b").mkdir()
    b = start_here(audit_log=str(logs[1]), database=tmp_path / "b" / "b.db")
    names = [part.name for part in fields(a._resources)]
    assert [n for n in names if getattr(a._resources, n) is getattr(b._resources, n)] == []
    for services in (a, b):
        register(services)
        work.clear()
        log_in(services)
        assert work == [ONE_HASH]
    a.accounts.lock(a.accounts.find(1))
    assert [log.read_text().count("\n") for log in logs] == [3, 2]


def test_a_database_in_the_place_of_another_is_not_taken_for_it(
    start_here: StartHere, here: Settings, tmp_path: Path
) -> None:
    old = start_here()
    register(old)
    (tmp_path / "b").mkdir()
    old.close()  # or its write-ahead log would be taken for that of the next one
    start_here(database=tmp_path / "b.db", key_file=tmp_path / "b" / "b.keys")
    (tmp_path / "b.db").rename(here.database)
    new = start_here()
    assert new._resources is not old._resources
    assert list(new.accounts.list()) == []
    look_now(old)
    with pytest.raises(StoreUnavailable):
        old.ping()
    assert start_here()._resources is new._resources


@pytest.mark.parametrize(
    "hold",
    [lambda services: services, lambda services: services.identification.identify],
    ids=["it", "a guard"],
)
def test_resources_go_with_the_last_who_holds_them(
    here: Settings, hold: Callable[[Services], object]
) -> None:
    first, second = (start_services(here, hash_cost=CHEAPEST) for _ in range(2))
    resources = ref(first._resources)
    identity = first._resources.engine.identity
    first.close()
    del first
    held = hold(second)
    del second
    gc.collect()
    assert resources() is services_module._shared[identity]
    del held
    gc.collect()
    assert resources() is None
    assert identity not in services_module._shared


class Meeting(WeakValueDictionary[Hashable, Resources]):
    """Whoever looks for something in it waits a moment for a second one who looks."""

    def __init__(self) -> None:
        super().__init__()
        self.both_have_looked = Barrier(2)

    def setdefault(self, key: Hashable, default: Resources) -> Resources:
        found = self.get(key)
        with suppress(BrokenBarrierError):  # because the lock keeps the second one out
            self.both_have_looked.wait(timeout=0.5)
        if found is None:
            self[key] = found = default
        return found


def test_services_that_start_at_once_share_their_resources(
    start_here: StartHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_here()  # so that the files are there
    monkeypatch.setattr(services_module, "_shared", Meeting())
    with ThreadPoolExecutor(2) as threads:
        started = list(threads.map(lambda _: start_here(), range(2)))
    assert len({id(services._resources) for services in started}) == 1


def page(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["restauth.user"].username.encode()]


def test_a_flood_at_an_app_and_a_guard_runs_no_more_hashes_at_once_than_the_limiter_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services_module, "HASH_SLOTS", 2)
    monkeypatch.setattr(services_module, "HASH_QUEUE", 1)
    database, key_file = tmp_path / "a.db", tmp_path / "a.keys"
    app = create_app(database=database, key_file=key_file, bcrypt_rounds=10)
    guard = AuthMiddleware(page, database=database, key_file=key_file, bcrypt_rounds=10)
    services = app._services
    register(services)
    token = issue(services).token
    lock, running, peak, slots_are_taken = Lock(), [0], [0], Event()
    requests = 12

    def ask(number: int) -> int:
        """Each guess at a name of its own, so that the throttle has no part in it."""
        wsgi: WSGIApplication = (app, guard)[number % 2]
        client = webtest.TestApp(validator(wsgi), extra_environ={"REMOTE_ADDR": CLIENT.peer})
        path = ("/api/resource", "/")[number % 2]
        headers = basic(f"user{number}", PASSWORD)
        return int(client.get(path, headers=headers, expect_errors=True).status_int)

    with held_hashes(monkeypatch) as held, monkeypatch.context() as patch:
        slow = bcrypt.hashpw

        def counted(password: bytes, salt: bytes) -> bytes:
            with lock:
                running[0] += 1
                peak[0] = max(peak[0], running[0])
                if running[0] == 2:
                    slots_are_taken.set()
            try:
                return slow(password, salt)
            finally:
                with lock:
                    running[0] -= 1

        patch.setattr(bcrypt, "hashpw", counted)
        with ThreadPoolExecutor(requests) as threads:
            answers = [threads.submit(ask, number) for number in range(requests)]
            try:  # all but those that hash and the one that waits are refused at once
                early = list(islice(as_completed(answers, timeout=60), requests - 3))
                assert [answer.result() for answer in early] == [503] * (requests - 3)
                greeting = webtest.TestApp(validator(guard)).get("/", headers=bearer(token))
                assert greeting.text == NAME  # a token needs no hash
                assert slots_are_taken.wait(timeout=60)
            finally:
                held.may_go_on.set()
        assert sorted(answer.result() for answer in answers) == [401] * 3 + [503] * (requests - 3)
    assert peak == [2]
    services.close()


# What reaches where


def test_settings_allow_no_hash_so_cheap_as_the_tests_use(
    make_services: ServicesFactory, here: Settings
) -> None:
    with pytest.raises(InvalidSetting):
        settings.load({}, {"bcrypt_rounds": CHEAPEST})
    assert f",r={CHEAPEST}$" in register(make_services()).password_hash
    with build_services(make_services(bcrypt_rounds=10).settings, create=True) as services:
        assert ",r=10$" in register(services, "susan").password_hash


def test_the_clock_on_the_wall_is_the_default(here: Settings) -> None:
    before = int(time.time())
    with build_services(here, create=True, hash_cost=CHEAPEST) as services:
        assert before <= register(services).created_at <= time.time()
        assert verify(build_stateless(here), issue(services).token).user.username == NAME


def test_the_settings_rule_names_and_passwords_and_limits(make_services: ServicesFactory) -> None:
    services = make_services(
        username_pattern="[a-c]+", password_policy="nist", free_failures=2, max_failures=3
    )
    with pytest.raises(UnacceptableUsername):
        services.accounts.register("abcd", PASSWORD)
    with pytest.raises(UnacceptablePassword):
        services.accounts.register("abc", PASSWORD)
    with pytest.raises(InvalidSetting):
        make_services(password_check="nowhere:check")


def test_the_durations_of_the_settings_rule_what_a_login_is_given(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(token_duration=20, session_duration=60, refresh_duration=70)
    register(services)
    issued = start(services)
    assert (issued.duration, issued.refresh_duration) == (20, 70)
    assert session_of(services, issued.token).renewable_until == clock.now + 60


@pytest.mark.parametrize("durations", [(100, 60), (10, 100)], ids=str)
def test_a_retired_key_is_kept_as_long_as_the_longest_lived_token(
    make_services: ServicesFactory, clock: Clock, durations: tuple[int, int]
) -> None:
    token_duration, refresh_duration = durations
    keys = make_services(token_duration=token_duration, refresh_duration=refresh_duration).keys
    kept = keys.ring.signing_key.kid
    keys.rotate(revoke=False)
    clock.advance(100 + ROTATION_GRACE)
    assert kept in [key.kid for key in keys.prune().keys]
    clock.advance(1)
    assert kept not in [key.kid for key in keys.prune().keys]


def test_hashing_leaves_a_core_to_those_with_a_token() -> None:
    assert 1 <= services_module.HASH_SLOTS < max(2, os.cpu_count() or 1)
