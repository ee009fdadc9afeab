"""The contract of the store: what each method finds, writes and refuses, on each engine."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count
from threading import Barrier
from typing import Any

import pytest

from restauth.errors import StoreUnavailable
from restauth.records import (
    MAX_ID,
    Account,
    ApiKey,
    FailureCount,
    ImportedUser,
    Invitation,
    LiveSession,
    Session,
)
from restauth.storage import sqlite
from restauth.storage import store as limits
from restauth.storage.engine import Engine, Execute, Result, Row
from restauth.storage.schema import MIGRATIONS
from restauth.storage.store import MAX_API_KEYS, MAX_SESSIONS, FailureCounts, Importing, Store
from tests.storage.system import OpenPostgres, OpenSQLite
from tests.storage.test_engine import OpenEngine

NOW = 1_800_000_000
END = NOW + 86_400
PEER = "192.0.2.7"
NEW_FORM = "$bcrypt-sha256$v=2,t=2b,r=4$"  # how a hash begins that is not old
MIGUEL = Account(1, "Miguel", "hash of Miguel", NOW, None, 1, ())
SUSAN = Account(2, "Susan", "hash of Susan", NOW, None, 1, ())
TABLES = (
    *("users", "sessions", "rotations", "reset_codes", "failures", "old_hashes", "invitations"),
    "api_keys",
)
GRACE = 10

Counts = dict[tuple[str, str], FailureCount | None]
Together = Callable[[Callable[[Store, int], object]], list[Any]]


class Wrapper:
    """An engine of another one; subclasses change one of its promises."""

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self.identity = engine.identity
        self.read, self.write = engine.read, engine.write
        self.write_if_free, self.ping = engine.write_if_free, engine.ping
        self.backup, self.close = engine.backup, engine.close
        self.snapshot, self.last_id = engine.snapshot, engine.last_id
        self.set_last_id, self.version = engine.set_last_id, engine.version

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        return self.inner.transaction(work)


class RunsTwice(Wrapper):
    """It undoes each work and runs it again, as a database does that finds a conflict at the end
    of a transaction."""

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        def undone(execute: Execute) -> None:
            work(execute)
            raise InterruptedError

        with suppress(Exception):
            self.inner.transaction(undone)
        return self.inner.transaction(work)


class FailsAt(Wrapper):
    """In its transactions, the statement with this number fails."""

    def __init__(self, engine: Engine, number: int) -> None:
        super().__init__(engine)
        self.number = number

    def transaction(self, work: Callable[[Execute], Result]) -> Result:
        def failing(execute: Execute) -> Result:
            before = iter(range(self.number))

            def execute_or_fail(sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
                if next(before, None) is None:
                    raise InterruptedError
                return execute(sql, parameters)

            return work(execute_or_fail)

        return self.inner.transaction(failing)


def add(store: Store, name: str) -> Account:
    account = store.add_user(name, name.lower(), f"hash of {name}", NOW)
    assert account is not None
    return account


def reread(store: Store, user_id: int) -> Account:
    account = store.find_user(user_id)
    assert account is not None
    return account


def session_of(user: Account, session_id: str, now: int = NOW, end: int = END) -> Session:
    names, times = (session_id, user.id, user.username, user.roles), (end, end, now, now)
    return Session(*names, *times, None, None, "192.0.2.7", "test")


def live_part(session: Session) -> LiveSession:
    return LiveSession(**{name: getattr(session, name) for name in LiveSession.__match_args__})


def begin(store: Store, user: Account, *session_ids: str, now: int = NOW) -> None:
    for session_id in session_ids:
        assert store.add_session(session_of(user, session_id, now), 1)


# At its first turn. Its tokens renew each other for an hour.
REFRESHABLE = replace(
    session_of(MIGUEL, "sid"), renewable_until=NOW + 3600, refresh_counter=0, rotated_at=NOW
)


def rotate(
    store: Store, counter: int, now: int = NOW, renewable_until: int = END, session_id: str = "sid"
) -> tuple[bool, Session | None]:
    return store.rotate_session(session_id, counter, now, renewable_until, GRACE)


def give_code(store: Store, user: Account, selector: str = "selector") -> None:
    assert store.set_reset_code(user.id, selector, f"digest of {selector}", NOW + 3600)


def invite(store: Store, selector: str = "invited", end: int = END) -> Invitation:
    invitation = Invitation(selector, ("editor", "viewer"), NOW, end)
    store.add_invitation(invitation, f"digest of {selector}")
    return invitation


def key_of(user: Account, key_id: str, *, now: int = NOW, end: int | None = None) -> ApiKey:
    digest = f"digest of {key_id}"
    return ApiKey(key_id, user.id, user.username, user.roles, "ci", None, digest, now, end)


def key_ids(engine: Engine) -> set[str]:
    return {key_id for (key_id,) in engine.read("SELECT id FROM api_keys", {})}


def session_ids(engine: Engine) -> set[str]:
    return {session_id for (session_id,) in engine.read("SELECT id FROM sessions", {})}


def code_users(engine: Engine) -> set[int]:
    return {user_id for (user_id,) in engine.read("SELECT user_id FROM reset_codes", {})}


def counts(engine: Engine) -> dict[tuple[str, str], int]:
    rows = engine.read("SELECT name, peer, count FROM failures", {})
    return {(name, peer): count for name, peer, count in rows}


def everything(engine: Engine) -> list[Sequence[Row]]:
    return [engine.read(f"SELECT * FROM {table} ORDER BY 1, 2", {}) for table in TABLES]


def put(
    store: Store, name: str, network: str, failures: FailureCount | None, now: int = NOW
) -> None:
    store.change_failures(name, network, lambda _: {(name, network): failures}, now)


def fail(
    store: Store, name: str, network: str, count: int = 1, now: int = NOW, blocked_until: int = 0
) -> None:
    put(store, name, network, FailureCount(count, now, blocked_until), now)


def count_one(found: FailureCounts) -> FailureCounts:
    before = found.get(("miguel", PEER), FailureCount(0, NOW, 0))
    return {("miguel", PEER): replace(before, count=before.count + 1)}


# What ends all access that Miguel has, and the account afterwards. The version is that of the
# password that the owner has proved; an operator has none.
NEW_PASSWORD = replace(MIGUEL, password_hash="new", password_version=2)
ENDINGS: dict[str, tuple[Callable[[Store, int | None], bool], Account | None]] = {
    "password": (lambda store, version: store.set_password_hash(1, "new", version), NEW_PASSWORD),
    "deletion": (lambda store, version: store.delete_user(1, version), None),
    "reset": (lambda store, _: store.use_reset_code("selector", "new", NOW), NEW_PASSWORD),
    "lock": (lambda store, _: store.lock_user(1, NOW + 1), replace(MIGUEL, locked_at=NOW + 1)),
}

TRANSACTIONS: dict[str, Callable[[Store], object]] = {
    "password": lambda store: store.set_password_hash(1, "new"),
    "reset": lambda store: store.use_reset_code("selector", "new", NOW),
    "lock": lambda store: store.lock_user(1, NOW),
    "login": lambda store: store.add_session(session_of(MIGUEL, "new"), 1),
    "refresh": lambda store: rotate(store, 0)[0],
    "roles": lambda store: store.change_roles(1, lambda _: ("admin",)),
    "failures": lambda store: store.change_failures("miguel", PEER, count_one, NOW),
    "invitation": lambda store: store.add_invited_user("invited", "Ada", "ada", "hash", NOW)[1],
    "key": lambda store: store.add_api_key(key_of(MIGUEL, "new"), 1),
}

# Writes of one statement.
ACTS: dict[str, Callable[[Store], object]] = {
    "addition": lambda store: store.add_user("Ada", "ada", "hash", NOW),
    "unlock": lambda store: store.unlock_user(1),
    "deletion": lambda store: store.delete_user(1),
    "sessions": lambda store: store.end_sessions(1),
    "code": lambda store: store.set_reset_code(1, "other", "digest", END),
}

# What takes the role of operator, or the account, from a user.
DEPOSALS: dict[str, Callable[[Store, int], object]] = {
    "roles": lambda store, user_id: store.change_roles(user_id, lambda _: ()),
    "lock": lambda store, user_id: store.lock_user(user_id, NOW),
    "deletion": lambda store, user_id: store.delete_user(user_id),
}

# Of all that do it at once, one gets True.
RACES: dict[str, Callable[[Store, int], bool]] = {
    "name": lambda store, number: store.add_user("Ada", "ada", f"hash {number}", NOW) is not None,
    "password": lambda store, number: store.set_password_hash(1, f"hash {number}", 1),
    "reset": lambda store, number: store.use_reset_code("selector", f"hash {number}", NOW),
    "invitation": lambda store, number: store.add_invited_user(
        "invited", f"User{number}", f"user{number}", f"hash {number}", NOW
    )[0],
}


class StoreContract:
    """A subclass has the fixture `open_engine`, as for the contract of the engines."""

    @pytest.fixture
    def engine(self, open_engine: OpenEngine) -> Engine:
        return open_engine()

    @pytest.fixture
    def store(self, engine: Engine) -> Store:
        """Miguel and Susan."""
        store = Store(engine)
        assert [add(store, "Miguel"), add(store, "Susan")] == [MIGUEL, SUSAN]
        return store

    @pytest.fixture
    def together(self, store: Store, open_engine: OpenEngine) -> Together:
        """What eight threads return that act at once, on two engines."""

        def run(act: Callable[[Store, int], object]) -> list[object]:
            start, stores = Barrier(8, timeout=60), [store, Store(open_engine())]

            def wait_and_act(number: int) -> object:
                start.wait()
                return act(stores[number % 2], number)

            with ThreadPoolExecutor(8) as threads:
                return list(threads.map(wait_and_act, range(8)))

        return run

    # Users

    def test_a_user_is_found_by_its_id_and_its_canonical_name(self, store: Store) -> None:
        ada = Account(3, "Ada", "hash", NOW, None, 1, ("admin", "staff"))
        assert store.add_user("Ada", "ada", "hash", NOW, ("admin", "staff")) == ada
        assert store.find_user(3) == store.find_user_by_name("ada") == ada
        assert [store.find_user_by_name(name) for name in ("Ada", "ad_", "")] == [None] * 3
        assert store.add_user("ADA", "ada", "another hash", NOW + 1) is None
        assert list(store.list_users()) == [MIGUEL, SUSAN, ada]

    @pytest.mark.parametrize("user_id", [0, -1, 3, MAX_ID])
    def test_an_id_without_a_user_is_nobodys(
        self, engine: Engine, store: Store, user_id: int
    ) -> None:
        before = everything(engine)
        assert store.find_user(user_id) is None
        assert not store.set_password_hash(user_id, "another hash")
        assert not store.renew_password_hash(user_id, MIGUEL.password_hash, "another hash")
        assert store.change_roles(user_id, lambda _: ("admin",)) is None
        assert not store.lock_user(user_id, NOW)
        assert not store.unlock_user(user_id)
        assert not store.delete_user(user_id)
        assert not store.add_session(replace(session_of(MIGUEL, "sid"), user_id=user_id), 1)
        assert store.list_sessions(user_id, NOW) == []
        assert store.end_sessions(user_id) == 0
        assert not store.set_reset_code(user_id, "selector", "digest", END)
        assert store.add_api_key(replace(key_of(MIGUEL, "new"), user_id=user_id), 1) is False
        assert store.list_api_keys(user_id, NOW) == []
        assert store.count_api_keys(user_id, NOW) == store.end_api_keys(user_id) == 0
        assert everything(engine) == before

    def test_an_id_is_never_given_twice(self, store: Store) -> None:
        assert store.delete_user(SUSAN.id)
        assert add(store, "Susan").id == SUSAN.id + 1

    @pytest.mark.parametrize("count", range(4))
    def test_users_are_listed_page_by_page_even_while_some_are_deleted(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        monkeypatch.setattr(limits, "LISTED_AT_ONCE", 2)
        accounts = [MIGUEL, SUSAN, *(add(store, f"User{number}") for number in range(count))]
        assert list(store.list_users()) == accounts
        listed = store.list_users()
        first = next(listed)
        for account in accounts[:3]:
            store.delete_user(account.id)
        assert [first, *listed] == [*accounts[:2], *accounts[3:]]
        store.delete_user(accounts[-1].id)
        assert list(store.list_users()) == accounts[3:-1]

    def test_a_page_has_the_users_that_are_asked_for_in_the_order_of_their_ids(
        self, store: Store
    ) -> None:
        names = ("mi", "mi%a", "mi_b", "m\\", "mj", "é", "mi\U0010ffff\U0010ffff", "m", "\ufffd")
        for name in names:
            add(store, name)
        for user_id in (1, 4, 6):
            store.lock_user(user_id, NOW)
        every = ["Miguel", "Susan", *names]

        def listed(prefix: str = "", **which: bool) -> list[str]:
            return [account.username for account in store.list_users(prefix, **which)]

        assert listed() == every
        for prefix in ("m", "mi", "mig", "miguel", "miguels", "mi%", "mi_", "m\\", "%", "_", "M",
                       "é", "mi\U0010ffff", "\ufffd", "s"):  # fmt: skip
            having = [name for name in every if name.lower().startswith(prefix)]
            assert listed(prefix) == having, prefix
            for is_locked in (True, False):
                assert listed(prefix, is_locked=is_locked) == [
                    name for name in having if (name in ("Miguel", "mi%a", "m\\")) is is_locked
                ], prefix
        assert listed(is_locked=True) == ["Miguel", "mi%a", "m\\"]
        assert listed(is_locked=False) == ["Susan", "mi", "mi_b", *names[4:]]

    def test_a_page_begins_after_an_id_and_has_a_limit(self, store: Store) -> None:
        for name in ("ma", "x", "mb"):
            add(store, name)
        for prefix, ids in (("", [1, 2, 3, 4, 5]), ("m", [1, 3, 5])):
            for after in (0, 1, 2, 3, 5, MAX_ID):
                for limit in (1, 2, 9):
                    page = store.page_users(after, limit, prefix)
                    later = [user_id for user_id in ids if user_id > after]
                    assert [account.id for account in page] == later[:limit]

    def test_the_last_login_is_when_a_session_last_began_also_of_one_that_has_ended(
        self, store: Store
    ) -> None:
        assert store.find_activity(1, NOW) == (None, 0, 0)
        assert store.find_activity(3, NOW) is None
        begin(store, MIGUEL, "m1", "m2", now=NOW + 5)
        begin(store, MIGUEL, "m3", now=NOW + 7)
        begin(store, SUSAN, "s1", now=NOW + 9)
        assert not store.add_session(session_of(MIGUEL, "late", NOW + 20), 2)
        assert store.find_activity(1, NOW) == (NOW + 7, 3, 0)
        assert store.find_activity(1, END) == (NOW + 7, 0, 0)  # they have expired
        store.end_session("m3", 1)
        assert store.find_activity(1, NOW) == (NOW + 7, 2, 0)
        assert store.find_activity(2, NOW) == (NOW + 9, 1, 0)

    @pytest.mark.parametrize("version", [None, 1])
    @pytest.mark.parametrize("name", ENDINGS)
    def test_what_ends_access_ends_all_of_one_user_and_a_login_under_way(
        self, engine: Engine, store: Store, name: str, version: int | None
    ) -> None:
        """A login must not outlive what ended all other sessions."""
        end, account = ENDINGS[name]
        begin(store, MIGUEL, "m1", "m2")
        begin(store, SUSAN, "s1")
        give_code(store, MIGUEL)
        give_code(store, SUSAN, "s")
        fail(store, "miguel", PEER)
        for user, key_id in ((MIGUEL, "k1"), (SUSAN, "k2")):
            assert store.add_api_key(key_of(user, key_id), 1)
        assert end(store, version)
        assert store.find_user(1) == account
        assert store.find_user(2) == SUSAN
        assert not store.add_session(session_of(MIGUEL, "late"), 1)
        assert store.add_api_key(key_of(MIGUEL, "late"), 1) is False
        # A new password ends no key.
        assert key_ids(engine) == ({"k1", "k2"} if account == NEW_PASSWORD else {"k2"})
        assert store.find_unchanged(MIGUEL) is None
        assert store.find_unchanged(SUSAN) == SUSAN
        assert (session_ids(engine), code_users(engine)) == ({"s1"}, {2})
        assert counts(engine) == {("miguel", PEER): 1}  # the caller resets it, by its own name

    def test_another_hash_of_the_same_password_and_other_roles_are_no_change_of_an_account(
        self, store: Store
    ) -> None:
        assert store.renew_password_hash(1, MIGUEL.password_hash, "another hash")
        store.change_roles(1, lambda _: ("admin",))
        now = replace(MIGUEL, password_hash="another hash", roles=("admin",))
        assert store.find_unchanged(MIGUEL) == now

    @pytest.mark.parametrize("name", ["password", "deletion"])
    def test_an_owner_changes_nothing_once_the_password_is_another_or_the_account_is_locked(
        self, engine: Engine, store: Store, name: str
    ) -> None:
        """A thief of the old password is quick; the owner was quicker."""
        change, _ = ENDINGS[name]
        store.set_password_hash(1, "newer", 1)
        assert store.add_session(session_of(MIGUEL, "m1"), 2)
        give_code(store, MIGUEL)
        before = everything(engine)
        assert not change(store, 1)
        assert not change(store, 3)
        assert everything(engine) == before
        store.lock_user(1, NOW)
        locked = everything(engine)
        assert not change(store, 2)
        assert everything(engine) == locked
        assert change(store, None)

    def test_a_hash_is_renewed_by_compare_and_swap(self, engine: Engine, store: Store) -> None:
        begin(store, MIGUEL, "m1")
        give_code(store, MIGUEL)
        assert store.renew_password_hash(1, MIGUEL.password_hash, "new")
        assert not store.renew_password_hash(1, MIGUEL.password_hash, "newer")
        assert list(store.list_users()) == [replace(MIGUEL, password_hash="new"), SUSAN]
        # The password is the same.
        assert (session_ids(engine), code_users(engine)) == ({"m1"}, {1})

    def test_a_lock_keeps_its_first_time_until_it_is_taken_away(self, store: Store) -> None:
        for user_id in (1, 2):
            assert store.lock_user(user_id, NOW + 1)
            assert store.lock_user(user_id, NOW + 2)
        assert store.unlock_user(1)
        assert list(store.list_users()) == [MIGUEL, replace(SUSAN, locked_at=NOW + 1)]

    def test_roles_are_what_the_change_makes_of_them_and_sessions_have_them_at_once(
        self, store: Store
    ) -> None:
        begin(store, MIGUEL, "sid")
        assert store.change_roles(1, lambda roles: ("admin", *roles)) == ("admin",)
        assert store.change_roles(1, lambda roles: (*roles, "x")) == ("admin", "x")
        assert list(store.list_users()) == [replace(MIGUEL, roles=("admin", "x")), SUSAN]
        session = replace(session_of(MIGUEL, "sid"), roles=("admin", "x"))
        assert store.list_sessions(1, NOW) == [session]
        assert store.find_session("sid", NOW) == live_part(session)
        with pytest.raises(ZeroDivisionError):
            store.change_roles(1, lambda roles: roles * (1 // 0))
        assert reread(store, 1).roles == ("admin", "x")
        assert store.change_roles(1, lambda _: ()) == ()
        assert reread(store, 1) == MIGUEL

    # Import

    def test_an_import_is_written_whole_and_changes_no_account(
        self, engine: Engine, store: Store
    ) -> None:
        def work(users: Importing) -> None:
            assert users.add(ImportedUser(7, "Ada", "ada", "old", is_locked=False), NOW)
            assert users.add(ImportedUser(9, "#9", "NAMELESS 9", "!", is_locked=True), NOW)
            for work, sample in ((5, "cheap"), (9, "dear"), (7, "middle")):
                users.note_old_hash("kind", work, sample)
            for user_id, name in ((1, "new"), (8, "miguel"), (7, "ada")):
                assert not users.add(ImportedUser(user_id, name, name, "x", is_locked=False), NOW)
                assert users.find_rivals(user_id, name) != {}
            assert users.find_rivals(7, "miguel") == {1: "miguel", 7: "ada"}

        for user_id in (1, 2):
            store.set_password_hash(user_id, NEW_FORM)
        before = list(store.list_users())
        store.import_users(work)
        ada = Account(7, "Ada", "old", NOW, None, 1, ())
        nameless = Account(9, "#9", "!", NOW, NOW, 1, ())
        assert list(store.list_users()) == [*before, ada, nameless]
        assert store.find_rivals(9, "NAMELESS 9") == {9: "NAMELESS 9"}
        assert store.find_rivals(3, "john") == {}
        assert store.sample_old_hashes() == ["dear"]
        store.set_password_hash(7, NEW_FORM)
        assert store.delete_user(9)
        assert store.sample_old_hashes() == []
        assert add(store, "John").id == 10

    def test_an_import_that_raises_is_undone(self, engine: Engine, store: Store) -> None:
        def work(users: Importing) -> None:
            users.add(ImportedUser(7, "Ada", "ada", "old", is_locked=False), NOW)
            raise KeyboardInterrupt

        before = everything(engine)
        with pytest.raises(KeyboardInterrupt):
            store.import_users(work)
        assert everything(engine) == before

    # On behalf of a user

    def test_each_transaction_on_behalf_of_a_user_first_checks_the_account_as_it_is_now(
        self, engine: Engine, store: Store
    ) -> None:
        seen: list[Account | None] = []
        acting = store.on_behalf_of(2, seen.append)
        admin = replace(SUSAN, roles=("admin",))
        acts: list[tuple[Callable[[], object], object, Account | None]] = [
            (lambda: acting.change_roles(2, lambda _: ("admin",)), ("admin",), SUSAN),
            (lambda: acting.lock_user(2, NOW), True, admin),
            (lambda: acting.delete_user(2), True, replace(admin, locked_at=NOW)),
            (lambda: acting.unlock_user(1), True, None),
        ]
        for act, result, account in acts:
            seen.clear()
            assert act() == result
            assert seen[-1] == account
        seen.clear()
        assert acting.find_user(1) == MIGUEL
        assert store.unlock_user(1)
        assert seen == []

    @pytest.mark.parametrize("name", [*TRANSACTIONS, *ACTS])
    def test_a_check_that_raises_undoes_what_is_written_on_behalf_of_a_user(
        self, engine: Engine, store: Store, name: str
    ) -> None:
        def refuse(_: Account | None) -> None:
            raise PermissionError

        assert store.add_session(REFRESHABLE, 1)
        give_code(store, MIGUEL)
        invite(store)
        before = everything(engine)
        with pytest.raises(PermissionError):
            (TRANSACTIONS | ACTS)[name](store.on_behalf_of(2, refuse))
        assert everything(engine) == before

    @pytest.mark.parametrize("name", DEPOSALS)
    def test_of_two_who_act_on_each_other_at_once_one_remains(
        self, store: Store, together: Together, name: str
    ) -> None:
        def check(account: Account | None) -> None:
            if account is None or account.locked_at or account.roles != ("admin",):
                raise PermissionError

        def act(each: Store, number: int) -> bool:
            own, other = (1, 2) if number % 2 else (2, 1)
            try:
                DEPOSALS[name](each.on_behalf_of(own, check), other)
            except PermissionError:
                return False
            return True

        for user in (MIGUEL, SUSAN):
            store.change_roles(user.id, lambda _: ("admin",))
        outcomes = together(act)
        assert outcomes in ([True, False] * 4, [False, True] * 4)
        remaining = [
            user.id for user in store.list_users(is_locked=False) if user.roles == ("admin",)
        ]
        assert remaining == [2 if outcomes[0] else 1]

    # Sessions

    def test_a_session_is_found_as_begun_and_by_its_own_name_alone(self, store: Store) -> None:
        assert store.add_session(REFRESHABLE, 1)
        begin(store, SUSAN, "other")
        assert store.find_session("other", NOW) == live_part(session_of(SUSAN, "other"))
        assert store.list_sessions(1, NOW) == [REFRESHABLE]
        assert store.find_session("sid", NOW) == live_part(REFRESHABLE)
        for session_id in ("SID", "si", "sid ", "", "%"):
            assert store.find_session(session_id, NOW) is None

    def test_a_session_is_over_at_the_very_second_of_its_end(self, store: Store) -> None:
        begin(store, MIGUEL, "sid")
        for now, is_live in ((END - 1, True), (END, False)):
            assert bool(store.find_session("sid", now)) is is_live
            assert bool(store.list_sessions(1, now)) is is_live
            assert store.touch_session("sid", now) is is_live

    def test_sessions_are_listed_the_one_used_last_first(self, store: Store) -> None:
        begin(store, SUSAN, "s1")
        begin(store, MIGUEL, "b", "d", "a", "c")
        assert store.touch_session("c", NOW + 2)
        assert store.touch_session("d", NOW + 1)
        assert not store.touch_session("unknown", NOW)
        assert store.list_sessions(1, NOW) == [
            replace(session_of(MIGUEL, "c"), last_used_at=NOW + 2),
            replace(session_of(MIGUEL, "d"), last_used_at=NOW + 1),
            session_of(MIGUEL, "a"),
            session_of(MIGUEL, "b"),
        ]

    def test_a_session_of_a_locked_user_is_not_found(self, engine: Engine, store: Store) -> None:
        """An operator who locks with SQL does not think of the sessions."""
        assert store.add_session(REFRESHABLE, 1)
        engine.write("UPDATE users SET locked_at = 0", {})
        assert store.find_session("sid", NOW) is None
        assert rotate(store, 0)[1] is None

    def test_tokens_renew_each_other_only_as_long_as_the_session_says(self, store: Store) -> None:
        assert store.add_session(REFRESHABLE, 1)
        assert store.touch_session("sid", NOW + 3599)
        assert not store.touch_session("sid", NOW + 3600)
        # It lives on: a refresh token prolongs it.
        touched = replace(REFRESHABLE, last_used_at=NOW + 3599)
        assert store.list_sessions(1, NOW + 3600) == [touched]
        assert rotate(store, 0, NOW + 3600, NOW + 7200)[0]
        assert store.touch_session("sid", NOW + 7199)
        assert not store.touch_session("sid", NOW + 7200)

    def test_renewals_within_a_second_write_once(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that renews without a pause must not keep the other writers waiting."""
        begin(store, MIGUEL, "sid")
        writes: list[str] = []
        write = engine.write

        def noted(sql: str, parameters: Mapping[str, object]) -> Sequence[Row]:
            writes.append(sql)
            return write(sql, parameters)

        monkeypatch.setattr(engine, "write", noted)
        counted = Store(engine)
        for now in (NOW + 1, NOW + 2):
            assert [counted.touch_session("sid", now) for _ in range(20)] == [True] * 20
        assert len(writes) == 2
        assert counted.end_session("sid", 1)
        assert not counted.touch_session("sid", NOW + 2)

    @pytest.mark.parametrize(("until", "renewable"), [(NOW + 3660, NOW + 3660), (END + 1, END)])
    def test_a_turn_is_given_on_and_prolongs_no_session_beyond_its_end(
        self, store: Store, until: int, renewable: int
    ) -> None:
        assert store.add_session(REFRESHABLE, 1)
        begin(store, SUSAN, "other")
        now = NOW + 60
        turned = replace(REFRESHABLE, refresh_counter=1, rotated_at=now, last_used_at=now)
        renewed = replace(turned, renewable_until=renewable)
        assert rotate(store, 0, now, until) == (True, renewed)
        assert store.find_session("sid", NOW) == live_part(renewed)
        assert store.find_session("other", NOW) == live_part(session_of(SUSAN, "other"))

    @pytest.mark.parametrize(
        ("session_id", "counter", "now", "was_current"),
        [
            pytest.param("sid", 0, NOW + 1, True, id="the turn before"),
            pytest.param("sid", 0, NOW + 11, True, id="the turn before, in its last second"),
            pytest.param("sid", 0, NOW + 12, False, id="the turn before, later"),
            pytest.param("sid", 0, NOW - 9, True, id="the clock was set back"),
            pytest.param("sid", 0, NOW - 10, False, id="the clock was set back far"),
            pytest.param("sid", 2, NOW + 1, False, id="a turn to come"),
            pytest.param("sid", 1, END, False, id="after its end"),
            pytest.param("SID", 1, NOW + 1, False, id="another session"),
            pytest.param("without", 0, NOW + 1, False, id="no refresh token"),
        ],
    )
    def test_no_other_turn_is_given_on(
        self,
        engine: Engine,
        store: Store,
        session_id: str,
        counter: int,
        now: int,
        *,
        was_current: bool,
    ) -> None:
        assert store.add_session(REFRESHABLE, 1)
        begin(store, MIGUEL, "without")
        assert rotate(store, 0, NOW + 1, NOW + 3601)[0]
        before, live = everything(engine), store.list_sessions(1, now)
        found = next((session for session in live if session.id == session_id), None)
        assert rotate(store, counter, now, END, session_id) == (was_current, found)
        assert everything(engine) == before

    def test_every_turn_of_the_last_seconds_was_current_and_costs_a_row_a_second(
        self, engine: Engine, store: Store
    ) -> None:
        assert store.add_session(REFRESHABLE, 1)
        for turn in range(60):  # four of them a second
            assert rotate(store, turn, NOW + turn // 4)[0]
        last = NOW + 14
        assert len(engine.read("SELECT * FROM rotations", {})) == GRACE + 1
        was_current = [rotate(store, turn, last)[0] for turn in range(60)]
        assert was_current == [turn // 4 >= 14 - GRACE for turn in range(60)]

    def test_a_turn_stays_old_after_the_clock_was_set_back_and_has_caught_up(
        self, store: Store
    ) -> None:
        assert store.add_session(REFRESHABLE, 1)
        assert rotate(store, 0, NOW + 3600)[0]
        assert rotate(store, 1, NOW)[0]
        assert [rotate(store, turn, NOW + 5)[0] for turn in (0, 1)] == [False, True]
        assert not rotate(store, 0, NOW + 3600)[0]

    def test_sessions_are_ended_by_their_own_user_and_once(
        self, engine: Engine, store: Store
    ) -> None:
        begin(store, MIGUEL, "m1", "m2", "m3")
        begin(store, SUSAN, "s1")
        assert not store.end_session("m1", SUSAN.id)
        assert store.end_session("m1", 1)
        assert not store.end_session("m1", 1)
        assert session_ids(engine) == {"m2", "m3", "s1"}
        assert (store.end_sessions(1), store.end_sessions(1)) == (2, 0)
        assert session_ids(engine) == {"s1"}

    def test_one_session_too_many_ends_the_one_used_longest_ago(
        self, engine: Engine, store: Store
    ) -> None:
        names = {f"m{number}" for number in range(MAX_SESSIONS)}
        begin(store, SUSAN, "s1", now=NOW - 1)
        begin(store, MIGUEL, *names)
        assert session_ids(engine) == names | {"s1"}
        engine.write("UPDATE sessions SET last_used_at = :now WHERE id <> 'm42'", {"now": NOW + 1})
        begin(store, MIGUEL, "new", now=NOW + 3)
        assert session_ids(engine) == (names | {"new", "s1"}) - {"m42"}

    def test_a_session_in_use_is_not_ended_by_new_ones_and_few_uses_are_written(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        notes = []

        def note(sql: str, parameters: Mapping[str, object]) -> None:
            notes.append(parameters)
            engine.write_if_free(sql, parameters)

        monkeypatch.setattr(store, "_write_if_free", note)
        begin(store, SUSAN, "s1")
        begin(store, MIGUEL, "m", now=NOW)
        logins = 4 * MAX_SESSIONS
        for number in range(1, logins + 1):
            begin(store, MIGUEL, f"m{number}", now=NOW + number)
            for _ in range(3):
                assert store.find_session("m", NOW + number) is not None
                assert store.find_session("s1", NOW + number) is not None
            assert len(notes) <= number // (MAX_SESSIONS // 2 - 1)
        assert session_ids(engine) == {"s1", "m"} | {
            f"m{number}" for number in range(logins - MAX_SESSIONS + 2, logins + 1)
        }
        assert {note["session_id"] for note in notes} == {"m"}
        # Without the uses, it is the next one to go.
        begin(store, MIGUEL, *(f"n{number}" for number in range(MAX_SESSIONS)), now=NOW + 9999)
        assert "m" not in session_ids(engine)

    def test_no_use_is_noted_before_the_time_of_the_last_one(
        self, engine: Engine, store: Store
    ) -> None:
        """The clock was set back: the note would be a step down."""
        begin(store, MIGUEL, *(f"m{number}" for number in range(MAX_SESSIONS)))
        before = everything(engine)
        for now in (NOW, NOW - 60):
            assert store.find_session("m0", now) is not None
        assert everything(engine) == before
        assert store.find_session("m0", NOW + 1) is not None
        assert engine.read("SELECT id FROM sessions WHERE last_used_at > :now", {"now": NOW}) == [
            ("m0",)
        ]

    def test_the_new_session_is_never_the_one_that_ends_and_a_refused_one_ends_none(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The clock was set back: all the others look younger."""
        monkeypatch.setattr(limits, "MAX_SESSIONS", 2)
        begin(store, MIGUEL, "old", "older", now=NOW + 60)
        assert not store.add_session(session_of(MIGUEL, "late"), 2)
        assert session_ids(engine) == {"old", "older"}
        begin(store, MIGUEL, "new")
        assert len(session_ids(engine)) == 2
        assert "new" in session_ids(engine)

    def test_expired_sessions_that_are_not_pruned_yet_take_no_place_of_live_ones(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MAX_SESSIONS", 2)
        monkeypatch.setattr(limits, "PRUNED_AT_ONCE", 0)
        begin(store, MIGUEL, "live", now=NOW - 9)
        assert store.add_session(session_of(MIGUEL, "expired", NOW - 5, NOW - 1), 1)
        begin(store, MIGUEL, "new")
        assert session_ids(engine) == {"live", "expired", "new"}

    def test_expired_sessions_are_pruned_a_few_at_each_login(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "PRUNED_AT_ONCE", 2)
        for number in (3, 1, 2):
            session = session_of(MIGUEL, f"m{number}", NOW - 9, NOW - 3 + number)
            assert store.add_session(session, 1)
        begin(store, SUSAN, "s1")
        assert session_ids(engine) == {"m3", "s1"}
        begin(store, SUSAN, "s2")
        assert session_ids(engine) == {"s1", "s2"}

    # Reset codes

    def test_a_key_is_found_as_it_was_made_with_the_roles_of_now(self, store: Store) -> None:
        store.change_roles(1, lambda _: ("admin", "editor"))
        keys = [
            replace(key_of(MIGUEL, name), user_roles=("admin", "editor"), roles=roles)
            for name, roles in (("all", None), ("none", ()), ("two", ("admin", "editor")))
        ]
        for key in keys:
            assert store.add_api_key(key, 1)
            assert store.find_live_api_key(key.id, NOW) == store.find_api_key(key.id) == key
        store.change_roles(1, lambda _: ("viewer",))
        now = replace(keys[2], user_roles=("viewer",))
        assert store.find_live_api_key("two", NOW) == now
        assert [store.find_live_api_key(name, NOW) for name in ("TWO", "tw_", "")] == [None] * 3
        assert store.find_api_key("other") is None

    def test_a_key_is_over_at_the_very_second_of_its_end(self, store: Store) -> None:
        key = key_of(MIGUEL, "key", end=END)
        assert store.add_api_key(key, 1)
        assert store.find_live_api_key("key", END - 1) == key
        assert store.find_live_api_key("key", END) is None
        assert store.find_api_key("key") == key  # for the operator
        assert store.list_api_keys(1, END - 1) == [key]
        assert store.list_api_keys(1, END) == []
        for now, number in ((END - 1, 1), (END, 0)):
            assert store.count_api_keys(1, now) == number
            assert store.find_activity(1, now) == (None, 0, number)

    def test_a_key_of_a_locked_user_is_not_found_even_if_it_is_there(
        self, engine: Engine, store: Store
    ) -> None:
        assert store.add_api_key(key_of(MIGUEL, "key"), 1)
        engine.write("UPDATE users SET locked_at = 1 WHERE id = 1", {})
        assert store.find_live_api_key("key", NOW) is None
        assert store.find_api_key("key") is not None
        assert store.add_api_key(key_of(MIGUEL, "late"), 1) is False

    def test_keys_are_listed_the_newest_first_and_ended_by_their_own_user(
        self, engine: Engine, store: Store
    ) -> None:
        for number in (2, 3, 1):
            assert store.add_api_key(key_of(MIGUEL, f"k{number}", now=NOW + number), 1)
        assert store.add_api_key(key_of(SUSAN, "s1"), 1)
        assert [key.id for key in store.list_api_keys(1, NOW)] == ["k3", "k2", "k1"]
        assert not store.end_api_key("k1", SUSAN.id)
        assert store.end_api_key("k1", MIGUEL.id)
        assert not store.end_api_key("k1", MIGUEL.id)
        assert store.end_api_keys(MIGUEL.id) == 2
        assert key_ids(engine) == {"s1"}

    def test_a_user_has_so_many_keys_and_expired_ones_do_not_count(
        self, engine: Engine, store: Store
    ) -> None:
        for number in range(MAX_API_KEYS):
            assert store.add_api_key(key_of(MIGUEL, f"k{number}", end=NOW + 1 + number), 1)
        assert store.add_api_key(key_of(MIGUEL, "new"), 1) is None
        assert store.count_api_keys(1, NOW) == MAX_API_KEYS
        assert store.add_api_key(key_of(SUSAN, "s1", end=NOW + 1), 1)
        assert store.add_api_key(key_of(MIGUEL, "new", now=NOW + 1), 1)
        assert "k0" not in key_ids(engine)
        assert {"k1", "new", "s1"} <= key_ids(engine)  # the expired keys of the user alone go
        assert len(key_ids(engine)) == MAX_API_KEYS + 1

    def test_the_use_of_a_key_is_written_once_an_hour(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = []
        write = store._write_if_free

        def noted(sql: str, parameters: Mapping[str, object]) -> None:
            written.append(parameters)
            write(sql, parameters)

        monkeypatch.setattr(store, "_write_if_free", noted)
        assert store.add_api_key(key_of(MIGUEL, "key"), 1)
        hour = NOW - NOW % 3600
        # The second is the last one of its hour; in the last row, the clock was set back.
        for now, last, writes in (
            *((hour, hour, 1), (hour + 3599, hour, 1)),
            *((hour + 3600, hour + 3600, 2), (NOW, hour + 3600, 2)),
        ):
            found = store.find_live_api_key("key", now)
            assert found is not None
            store.note_api_key_use(found, now)
            assert [key.last_used_at for key in store.list_api_keys(1, NOW)] == [last]
            assert len(written) == writes
        stale = key_of(MIGUEL, "key")  # as another process has read it before
        store.note_api_key_use(stale, hour)
        assert [key.last_used_at for key in store.list_api_keys(1, NOW)] == [hour + 3600]

    def test_a_code_is_found_for_its_user_until_the_very_second_of_its_end(
        self, store: Store
    ) -> None:
        give_code(store, MIGUEL, "m")
        give_code(store, SUSAN, "s")
        assert store.find_reset_code("m", NOW + 3599) == (1, "digest of m")
        assert store.find_reset_code("s", NOW + 3599) == (2, "digest of s")
        assert store.find_reset_code("m", NOW + 3600) is None
        for selector in ("M", "", "x", "digest of m"):
            assert store.find_reset_code(selector, NOW) is None

    def test_a_new_code_voids_the_one_before_and_a_locked_account_gets_none(
        self, engine: Engine, store: Store
    ) -> None:
        give_code(store, SUSAN, "s")
        give_code(store, MIGUEL, "old")
        assert store.set_reset_code(1, "new", "another digest", NOW + 1)
        assert store.find_reset_code("old", NOW) is None
        assert store.find_reset_code("new", NOW) == (1, "another digest")
        assert store.find_reset_code("new", NOW + 1) is None
        store.lock_user(1, NOW)
        assert not store.set_reset_code(1, "newer", "digest", END)
        assert code_users(engine) == {2}

    @pytest.mark.parametrize(("selector", "now"), [("m", NOW + 3600), ("M", NOW), ("", NOW)])
    def test_a_code_that_is_not_valid_changes_nothing(
        self, engine: Engine, store: Store, selector: str, now: int
    ) -> None:
        begin(store, MIGUEL, "m1")
        give_code(store, MIGUEL, "m")
        before = everything(engine)
        assert not store.use_reset_code(selector, "new", now)
        assert everything(engine) == before

    # Failures

    def test_failures_are_found_for_the_name_the_peer_and_both(self, store: Store) -> None:
        rows: Counts = {
            ("miguel", ""): FailureCount(7, NOW, 0),
            ("miguel", PEER): FailureCount(6, NOW + 1, NOW + 2),
            ("", PEER): FailureCount(31, NOW - 3, NOW + 300),
        }
        others = [("susan", ""), ("miguel", "192.0.2.8"), ("susan", PEER), ("", "192.0.2.8")]
        written: Counts = {**rows, **dict.fromkeys(others, FailureCount(1, NOW, 0))}
        assert store.change_failures("miguel", PEER, lambda _: written, NOW) == written
        assert store.find_failures("miguel", PEER) == rows
        assert list(store.find_failures("", PEER)) == [("", PEER)]
        assert store.find_failures("Miguel", "192.0.2.70") == {}

    def test_a_change_sees_what_is_found_and_takes_effect_unless_it_raises(
        self, engine: Engine, store: Store
    ) -> None:
        fail(store, "susan", PEER)
        fail(store, "miguel", PEER, 3)
        fail(store, "miguel", "", 4)
        looked, seen = store.find_failures("miguel", PEER), []

        def change(found: FailureCounts) -> Counts:
            seen.append(found)
            absent = ("", PEER)
            return {("miguel", ""): None, absent: None, ("miguel", PEER): FailureCount(9, NOW, 1)}

        store.change_failures("miguel", PEER, change, NOW)
        assert seen[-1] == looked
        assert store.find_failures("miguel", PEER) == {("miguel", PEER): FailureCount(9, NOW, 1)}
        before = everything(engine)
        store.change_failures("susan", PEER, lambda _: {}, NOW)
        with pytest.raises(KeyError):
            store.change_failures("susan", PEER, lambda found: {("", ""): found["", ""]}, NOW)
        assert everything(engine) == before

    def test_the_oldest_failures_go_first_whosever_they_are_and_no_more_than_must(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 4)
        fail(store, "miguel", PEER, 9, now=NOW + 3)
        fail(store, "", PEER, 30, now=NOW + 1)
        fail(store, "", "192.0.2.8", 1, now=NOW + 4)
        fail(store, "susan", "", 5, now=NOW + 2)
        fail(store, "susan", "", 6, now=NOW + 2)  # a row that is there already needs no room
        assert len(counts(engine)) == 4
        order = [("", PEER), ("susan", ""), ("miguel", PEER), ("", "192.0.2.8")]
        for number in range(4):
            fail(store, f"invented{number}", "", 1, now=NOW + 5 + number)
            assert counts(engine).keys() & order == set(order[number + 1 :])
            assert len(counts(engine)) == 4

    def test_failures_that_still_block_go_last_and_of_them_the_oldest_first(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A flood of invented names must not let its peer out, nor those that others made wait."""
        monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 3)
        later = NOW + 100
        fail(store, "", PEER, now=NOW, blocked_until=later + 3)
        fail(store, "over", PEER, now=NOW + 2, blocked_until=later)  # at this very second
        fail(store, "miguel", PEER, now=NOW + 1, blocked_until=later + 900)
        for number in range(3):
            invented = f"invented{number}"
            fail(store, invented, "", now=later + number)
            assert set(counts(engine)) == {("", PEER), ("miguel", PEER), (invented, "")}
        for name in ("susan", "ada"):
            fail(store, name, PEER, now=later + 2, blocked_until=later + 3)
        assert set(counts(engine)) == {("miguel", PEER), ("susan", PEER), ("ada", PEER)}

    def test_more_rows_than_one_too_many_go_at_once_and_the_new_one_stays(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such as when the limit was lowered."""
        for number in range(9):
            fail(store, f"user{number}", "", now=NOW + number)
        monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 3)
        fail(store, "user9", "", now=NOW + 9)
        assert set(counts(engine)) == {("user7", ""), ("user8", ""), ("user9", "")}

    def test_a_full_table_gets_room_for_a_while(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that not each attempt of a flood has to remove a row."""
        monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 200)
        rows = {(f"user{number}", ""): FailureCount(1, NOW + number, 0) for number in range(200)}
        store.change_failures("user0", PEER, lambda _: rows, NOW)
        assert len(counts(engine)) == 200
        fail(store, "invented", "", now=NOW + 300)
        assert len(counts(engine)) == 198
        fail(store, "another", "", now=NOW + 300)
        assert len(counts(engine)) == 199

    def test_what_was_counted_stays_counted_though_no_room_can_be_made(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def give_no_answer(*_: object) -> None:
            raise StoreUnavailable("gone")

        with monkeypatch.context() as patch:
            patch.setattr(store, "_read", give_no_answer)
            fail(store, "susan", "")
        assert counts(engine) == {("susan", ""): 1}

    def test_no_flood_of_names_pushes_out_the_count_of_an_account(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 2)
        accounts = [f"user{number}" for number in range(4)]  # they take no room from the others
        for name in accounts:  # counts of the name, of the peer and of both
            keys = [(name, ""), ("", PEER), (name, PEER)]
            rows = dict.fromkeys(keys, FailureCount(3, NOW, 0))
            store.change_failures(name, PEER, lambda _: rows, NOW, is_account=True)  # noqa: B023
        fail(store, "user0", "", 4)  # the next writer may not have looked the account up
        for number in range(5):
            fail(store, f"invented{number}", "", now=NOW + 1 + number)
            fail(store, "", f"192.0.2.{number}", now=NOW + 1 + number)
        flood = {("invented4", ""): 1, ("", "192.0.2.4"): 1}
        kept = {(name, ""): 3 for name in accounts}
        assert counts(engine) == {**kept, ("user0", ""): 4, **flood}
        for name in accounts:
            put(store, name, "", None)
        assert counts(engine) == flood

    def test_failures_of_a_name_are_removed_from_every_peer(
        self, engine: Engine, store: Store
    ) -> None:
        for name in ("miguel", "susan", ""):
            for network in ("", PEER, "192.0.2.8"):
                fail(store, name, network)
        for _ in range(2):
            store.reset_failures("miguel")
            assert len(counts(engine)) == 6
            assert "miguel" not in dict(counts(engine).keys())

    # The whole

    @pytest.mark.parametrize("name", RACES)
    def test_of_those_who_act_at_once_exactly_one_is_served(
        self, store: Store, together: Together, name: str
    ) -> None:
        give_code(store, MIGUEL)
        invite(store)
        outcomes = together(RACES[name])
        assert sorted(outcomes) == [False] * 7 + [True]
        winner = outcomes.index(True)
        changed = [user for user in store.list_users() if user not in (MIGUEL, SUSAN)]
        assert [user.password_hash for user in changed] == [f"hash {winner}"]
        assert changed[0].password_version == (1 if name in ("name", "invitation") else 2)

    def test_of_those_who_refresh_at_once_exactly_one_turns_the_session(
        self, engine: Engine, store: Store, together: Together
    ) -> None:
        assert store.add_session(REFRESHABLE, 1)
        outcomes = together(lambda each, number: rotate(each, 0, NOW + number))
        ((counter, at),) = engine.read("SELECT refresh_counter, rotated_at FROM sessions", {})
        assert counter == 1
        assert engine.read("SELECT * FROM rotations", {}) == [("sid", at, 0)]
        assert outcomes == [(True, store.list_sessions(1, NOW)[0])] * 8

    def test_changes_at_once_are_all_made(
        self, engine: Engine, store: Store, together: Together
    ) -> None:
        """Guesses made at once do not slip through between a look and a write."""

        def change(store: Store, number: int) -> None:
            store.change_roles(1, lambda roles: (*roles, f"r{number}"))
            for _ in range(3):
                store.change_failures("miguel", PEER, count_one, NOW)

        together(change)
        assert sorted(reread(store, 1).roles) == [f"r{number}" for number in range(8)]
        assert counts(engine) == {("miguel", PEER): 24}

    @pytest.mark.parametrize("name", TRANSACTIONS)
    def test_a_transaction_that_fails_at_any_statement_leaves_everything_as_it_was(
        self, engine: Engine, store: Store, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """So a client whose request failed can send it again."""
        monkeypatch.setattr(limits, "MAX_SESSIONS", 1)
        assert store.add_session(REFRESHABLE, 1)
        give_code(store, MIGUEL)
        invite(store)
        fail(store, "miguel", PEER)
        before = everything(engine)
        for number in count():
            failing = FailsAt(engine, number)
            try:
                assert TRANSACTIONS[name](Store(failing))
            except InterruptedError:
                assert everything(engine) == before
            else:
                break
        assert number > 1
        assert everything(engine) != before

    def test_an_invitation_is_found_and_listed_until_it_expires(self, store: Store) -> None:
        later, sooner = invite(store), invite(store, "sooner", END - 1)
        assert store.list_invitations(NOW) == [sooner, later]
        assert store.find_invitation("invited", END - 1) == "digest of invited"
        assert store.find_invitation("sooner", END - 1) is None
        assert store.find_invitation("other", NOW) is None
        assert store.list_invitations(END - 1) == [later]
        assert store.delete_invitation("invited", END) is False
        assert store.delete_invitation("invited", END - 1) is True
        assert store.delete_invitation("invited", NOW) is False
        assert store.list_invitations(NOW) == [sooner]
        store.add_invitation(Invitation("new", (), END, END + 1), "digest")
        assert [each.id for each in store.list_invitations(0)] == ["new"]

    def test_an_invitation_adds_one_user_with_its_roles_and_a_taken_name_leaves_it(
        self, store: Store
    ) -> None:
        invite(store)
        assert store.add_invited_user("invited", "MIGUEL", "miguel", "hash", NOW) == (True, None)
        assert store.add_invited_user("invited", "Ada", "ada", "hash", END) == (False, None)
        is_there, ada = store.add_invited_user("invited", "Ada", "ada", "hash", NOW)
        assert is_there
        assert ada is not None
        assert reread(store, ada.id) == ada
        assert ada == Account(ada.id, "Ada", "hash", NOW, None, 1, ("editor", "viewer"))
        assert store.add_invited_user("invited", "Bob", "bob", "hash", NOW) == (False, None)

    def test_live_sessions_are_counted_over_all_users(self, store: Store) -> None:
        assert store.count_sessions(NOW) == 0
        begin(store, MIGUEL, "one", "two")
        begin(store, SUSAN, "three")
        assert store.count_sessions(END - 1) == 3
        assert store.end_session("two", 1)
        assert store.count_sessions(END - 1) == 2
        assert store.count_sessions(END) == 0

    @pytest.mark.parametrize(("more", "is_so"), [(-1, True), (0, True), (1, False)])
    def test_the_tables_may_be_newer_than_the_code_and_not_older(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, more: int, is_so: bool
    ) -> None:
        monkeypatch.setattr(limits, "MIGRATIONS", [()] * (len(MIGRATIONS) + more))
        assert store.is_up_to_date() is is_so

    def test_a_new_name_is_unique_and_changes_nothing_else(self, store: Store) -> None:
        before = add(store, "Ada")
        add(store, "bob")
        first = before.id
        assert store.rename_user(first, "Bob", "bob") is None
        assert store.find_user(first) == before
        assert store.rename_user(first, "ADA", "ada") is True  # the same name in another spelling
        assert store.rename_user(first, "Grace", "grace") is True
        assert store.find_user_by_name("grace") == replace(before, username="Grace")
        assert store.find_user_by_name("ada") is None
        assert store.rename_user(99, "carl", "carl") is False


class TestSQLite(StoreContract):
    @pytest.fixture
    def open_engine(self, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch) -> OpenEngine:
        monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 60_000)  # a slow disk must not decide a race
        return open_sqlite


class TestOnAnEngineThatRunsWorkTwice(TestSQLite):
    """What the contract of the engines allows changes no result and no row."""

    @pytest.fixture
    def engine(self, open_engine: OpenEngine) -> Engine:
        return RunsTwice(open_engine())


class TestPostgreSQL(StoreContract):
    @pytest.fixture
    def open_engine(self, open_postgres: OpenPostgres) -> OpenEngine:
        return open_postgres


def test_no_statement_reads_a_table_from_end_to_end(
    open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to a row is by an index: the work does not grow with the number of users."""
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 1)
    engine = open_sqlite()
    store = Store(engine)
    add(store, "Miguel")
    engine.close()
    statements: list[str] = []
    connect = engine._connect

    def connect_traced(busy_timeout: int) -> sqlite3.Connection:
        connection = connect(busy_timeout)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(engine, "_connect", connect_traced)
    for act in TRANSACTIONS.values():
        session = replace(REFRESHABLE, created_at=NOW)
        store.add_session(session, reread(store, 1).password_version)
        store.set_reset_code(1, "selector", "digest", END)
        store.delete_invitation("invited", NOW)
        invite(store)
        act(store)
        store.unlock_user(1)
        store.end_session("sid", 1)
    store.find_session("sid", NOW)
    store.list_sessions(1, NOW)
    store.count_sessions(NOW)
    store.touch_session("sid", NOW)
    store.end_sessions(1)
    list(store.list_users())
    for is_locked in (True, False, None):
        list(store.list_users("m", is_locked=is_locked))
        list(store.list_users(is_locked=is_locked))
    store.find_activity(1, NOW)
    store.add_api_key(key_of(MIGUEL, "key"), reread(store, 1).password_version)
    store.find_live_api_key("key", NOW)
    store.find_api_key("key")
    store.note_api_key_use(key_of(MIGUEL, "key"), NOW)
    store.list_api_keys(1, NOW)
    store.count_api_keys(1, NOW)
    store.end_api_key("key", 1)
    store.end_api_keys(1)
    store.find_user_by_name("miguel")
    store.renew_password_hash(1, "old", "new")
    store.find_reset_code("selector", NOW)
    store.list_invitations(NOW)
    store.find_invitation("invited", NOW)
    fail(store, "susan", PEER)
    put(store, "miguel", PEER, None)
    store.find_failures("miguel", PEER)
    store.find_rivals(1, "miguel")
    store.reset_failures("miguel")
    store.rename_user(1, "Mike", "mike")
    store.delete_user(1, 3)
    plans = [
        detail
        for statement in set(statements)
        if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")
        for *_, detail in engine.read(f"EXPLAIN QUERY PLAN {statement}", {})
    ]
    assert len(plans) >= 30
    of_a_part = {"SCAN expired", "SCAN excess"}  # what a statement has found by an index
    assert [plan for plan in plans if plan.startswith("SCAN") and plan not in of_a_part] == []
    assert "SEARCH users USING INDEX locked_users (id>?)" in plans
    assert any("(canonical_username>? AND canonical_username<?)" in plan for plan in plans)
    # Counts that may go are counted, and found, without a look at those that are kept.
    assert "SEARCH failures USING COVERING INDEX failures_by_age (is_kept=?)" in plans


def test_a_store_that_does_not_answer_is_not_opened_and_pings_in_vain(
    open_sqlite: OpenSQLite,
) -> None:
    engine = open_sqlite()
    store = Store(engine)
    store.ping()
    engine.path.unlink()
    engine._next_look = 0
    for use in (store.ping, lambda: Store(engine)):
        with pytest.raises(StoreUnavailable):
            use()
