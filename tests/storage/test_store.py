"""The store's promises, one by one: what each method finds, writes and refuses."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from restauth.errors import StoreUnavailable
from restauth.records import MAX_ID, Account, FailureCount, Session
from restauth.storage import sqlite
from restauth.storage import store as limits
from restauth.storage.sqlite import SQLite
from restauth.storage.store import MAX_SESSIONS, FailureCounts, Store
from tests.storage.test_sqlite import SPAWN, in_processes

NOW = 1_800_000_000
END = NOW + 86_400


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SQLite]:
    with closing(SQLite(tmp_path / "restauth.db", create=True)) as engine:
        yield engine


@pytest.fixture
def store(engine: SQLite) -> Store:
    return Store(engine)


@pytest.fixture
def miguel(store: Store) -> Account:
    return add(store, "Miguel")


@pytest.fixture
def susan(store: Store) -> Account:
    return add(store, "Susan")


def add(store: Store, name: str) -> Account:
    user_id = store.add_user(name, name.lower(), f"hash of {name}", NOW)
    assert user_id is not None
    return reread(store, user_id)


def reread(store: Store, user_id: int) -> Account:
    account = store.find_user(user_id)
    assert account is not None
    return account


def session_of(account: Account, session_id: str, now: int = NOW, end: int = END) -> Session:
    return Session(
        id=session_id,
        user_id=account.id,
        username=account.username,
        roles=account.roles,
        created_at=now,
        last_used_at=now,
        expires_at=end,
        renewable_until=end,
        refresh_counter=None,
        rotated_at=None,
        peer="192.0.2.7",
        user_agent="test",
    )


def begin(store: Store, account: Account, *session_ids: str, now: int = NOW) -> None:
    for session_id in session_ids:
        assert store.add_session(session_of(account, session_id, now), account.password_version)


def begin_refreshable(store: Store, account: Account) -> Session:
    """A session `sid` at its first turn, whose tokens renew each other for an hour."""
    session = replace(
        session_of(account, "sid"), renewable_until=NOW + 3600, refresh_counter=0, rotated_at=NOW
    )
    assert store.add_session(session, account.password_version)
    return session


def give_code(store: Store, account: Account, selector: str = "selector") -> None:
    assert store.set_reset_code(account.id, selector, f"digest of {selector}", NOW + 3600)


def session_ids(engine: SQLite) -> set[str]:
    return {session_id for (session_id,) in engine.read("SELECT id FROM sessions", {})}


def code_users(engine: SQLite) -> set[int]:
    return {user_id for (user_id,) in engine.read("SELECT user_id FROM reset_codes", {})}


def counts(engine: SQLite) -> dict[tuple[str, str], int]:
    rows = engine.read("SELECT name, peer, count FROM failures", {})
    return {(name, peer): count for name, peer, count in rows}


def put(
    store: Store, name: str, network: str, failures: FailureCount | None, now: int = NOW
) -> None:
    store.change_failures(name, network, lambda _: {(name, network): failures}, now)


def fail(
    store: Store, name: str, network: str, count: int = 1, now: int = NOW, blocked_until: int = 0
) -> None:
    put(store, name, network, FailureCount(count, now, blocked_until), now)


def together(count: int, work: Callable[[int], bool]) -> int:
    """How many of so many threads, all at once, get True."""
    start = threading.Barrier(count, timeout=60)

    def run(number: int) -> bool:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return sum(threads.map(run, range(count)))


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk must not decide a race."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 60_000)


# Users


def test_a_new_user_is_found_as_added(store: Store) -> None:
    assert store.add_user("Miguel", "miguel", "hash", NOW) == 1
    assert store.add_user("Susan", "susan", "hash", NOW) == 2
    account = Account(1, "Miguel", "hash", NOW, None, 1, ())
    assert store.find_user(1) == account
    assert store.find_user_by_name("miguel") == account


def test_a_name_is_found_by_its_canonical_form_alone(store: Store, miguel: Account) -> None:
    assert store.find_user_by_name("Miguel") is None
    assert store.find_user_by_name("migue_") is None
    assert store.find_user_by_name("") is None


def test_a_taken_name_changes_nothing(store: Store, miguel: Account) -> None:
    assert store.add_user("MIGUEL", "miguel", "another hash", NOW + 1) is None
    assert list(store.list_users()) == [miguel]


@pytest.mark.parametrize("user_id", [0, -1, 2, MAX_ID])
def test_an_id_that_nobody_has_is_nobody(store: Store, miguel: Account, user_id: int) -> None:
    assert store.find_user(user_id) is None
    assert not store.set_password_hash(user_id, "another hash")
    assert not store.renew_password_hash(user_id, miguel.password_hash, "another hash")
    assert store.change_roles(user_id, lambda _: ("admin",)) is None
    assert not store.lock_user(user_id, NOW)
    assert not store.unlock_user(user_id)
    assert not store.delete_user(user_id)
    assert not store.add_session(replace(session_of(miguel, "sid"), user_id=user_id), 1)
    assert store.list_sessions(user_id, NOW) == []
    assert store.end_sessions(user_id) == 0
    assert not store.set_reset_code(user_id, "selector", "digest", END)
    assert store.find_reset_code("selector", NOW) is None
    assert list(store.list_users()) == [miguel]


@pytest.mark.parametrize("name", ["x'); DROP TABLE users; --", 'a"b', ":name", "%", "\0", "日本"])
def test_sql_in_a_name_is_a_name(store: Store, name: str) -> None:
    user_id = store.add_user(name, name, name, NOW)
    assert user_id is not None
    assert store.find_user_by_name(name) == Account(user_id, name, name, NOW, None, 1, ())


def test_an_id_is_never_given_twice(store: Store, miguel: Account, susan: Account) -> None:
    assert store.delete_user(susan.id)
    assert store.find_user(susan.id) is None
    assert add(store, "Susan").id == susan.id + 1


def test_all_that_is_a_deleted_users_goes_with_it(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    begin(store, susan, "s1")
    give_code(store, miguel, "m")
    give_code(store, susan, "s")
    assert store.delete_user(miguel.id)
    assert session_ids(engine) == {"s1"}
    assert code_users(engine) == {susan.id}
    assert not store.delete_user(miguel.id)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda store, account, version: store.delete_user(account.id, version),
            id="delete",
        ),
        pytest.param(
            lambda store, account, version: store.set_password_hash(account.id, "late", version),
            id="password",
        ),
    ],
)
def test_a_change_by_an_owner_whose_password_has_since_changed_is_refused_whole(
    engine: SQLite,
    store: Store,
    miguel: Account,
    change: Callable[[Store, Account, int], bool],
) -> None:
    """Whoever stole the old password is quick; the owner was quicker."""
    assert store.set_password_hash(miguel.id, "new", miguel.password_version)
    current = reread(store, miguel.id)
    begin(store, current, "m1")
    give_code(store, miguel)
    fail(store, "miguel", "192.0.2.7")
    assert not change(store, miguel, miguel.password_version)
    assert not change(store, miguel, current.password_version + 1)
    assert reread(store, miguel.id) == current
    assert session_ids(engine) == {"m1"}
    assert code_users(engine) == {miguel.id}
    assert counts(engine) == {("miguel", "192.0.2.7"): 1}
    assert change(store, miguel, current.password_version)
    assert session_ids(engine) == set()
    assert code_users(engine) == set()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda store, user_id, version: store.delete_user(user_id, version),
            id="delete",
        ),
        pytest.param(
            lambda store, user_id, version: store.set_password_hash(user_id, "late", version),
            id="password",
        ),
    ],
)
def test_the_owner_of_a_locked_account_changes_nothing_and_the_operator_does(
    store: Store, miguel: Account, change: Callable[[Store, int, int | None], bool]
) -> None:
    store.lock_user(miguel.id, NOW)
    locked = reread(store, miguel.id)
    assert not change(store, miguel.id, locked.password_version)
    assert reread(store, miguel.id) == locked
    assert change(store, miguel.id, None)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_users_are_listed_page_by_page(
    store: Store, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(limits, "LISTED_AT_ONCE", 2)
    accounts = [add(store, f"User{number}") for number in range(count)]
    assert list(store.list_users()) == accounts


def test_who_is_deleted_while_users_are_listed_disturbs_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LISTED_AT_ONCE", 2)
    accounts = [add(store, f"User{number}") for number in range(6)]
    listed = store.list_users()
    first = next(listed)
    for account in accounts[:3]:
        store.delete_user(account.id)
    assert [first, *listed] == [*accounts[:2], *accounts[3:]]


def test_a_stale_hash_is_renewed_by_compare_and_swap(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1")
    give_code(store, miguel)
    assert store.renew_password_hash(miguel.id, miguel.password_hash, "new")
    assert reread(store, miguel.id) == replace(miguel, password_hash="new")
    assert not store.renew_password_hash(miguel.id, miguel.password_hash, "newer")
    assert reread(store, miguel.id).password_hash == "new"
    assert reread(store, susan.id) == susan
    assert session_ids(engine) == {"m1"}  # the password is the same
    assert code_users(engine) == {miguel.id}


def test_a_new_password_ends_all_sessions_and_codes_of_its_user(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    begin(store, susan, "s1")
    give_code(store, miguel, "m")
    give_code(store, susan, "s")
    assert store.set_password_hash(miguel.id, "new")
    assert reread(store, miguel.id) == Account(miguel.id, "Miguel", "new", NOW, None, 2, ())
    assert reread(store, susan.id) == susan
    assert session_ids(engine) == {"s1"}
    assert code_users(engine) == {susan.id}


def test_of_new_passwords_for_one_old_one_exactly_one_is_set(
    store: Store, miguel: Account, patience: None
) -> None:
    def set_password(number: int) -> bool:
        return store.set_password_hash(miguel.id, f"hash {number}", miguel.password_version)

    assert together(8, set_password) == 1
    assert reread(store, miguel.id).password_version == 2


def test_a_lock_ends_all_sessions_and_keeps_its_first_time(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    begin(store, susan, "s1")
    assert store.lock_user(miguel.id, NOW + 1)
    assert store.lock_user(miguel.id, NOW + 2)
    assert reread(store, miguel.id).locked_at == NOW + 1
    assert reread(store, susan.id) == susan
    assert session_ids(engine) == {"s1"}


def test_an_unlocked_user_is_as_before(store: Store, miguel: Account, susan: Account) -> None:
    store.lock_user(miguel.id, NOW)
    store.lock_user(susan.id, NOW)
    assert store.unlock_user(miguel.id)
    assert reread(store, miguel.id) == miguel
    assert reread(store, susan.id).locked_at == NOW


# Roles


def test_roles_are_what_the_change_makes_of_them(
    store: Store, miguel: Account, susan: Account
) -> None:
    seen = []

    def change(roles: tuple[str, ...]) -> tuple[str, ...]:
        seen.append(roles)
        return ("admin", *roles)

    assert store.change_roles(miguel.id, change) == ("admin",)
    assert store.change_roles(miguel.id, lambda roles: (*roles, "staff")) == ("admin", "staff")
    assert reread(store, miguel.id) == replace(miguel, roles=("admin", "staff"))
    assert store.find_user_by_name("miguel") == reread(store, miguel.id)
    assert list(store.list_users()) == [reread(store, miguel.id), susan]
    assert store.change_roles(miguel.id, lambda _: ()) == ()
    assert reread(store, miguel.id) == miguel
    assert seen == [()]


def test_a_sessions_roles_are_those_of_now(store: Store, miguel: Account) -> None:
    begin(store, miguel, "sid")
    store.change_roles(miguel.id, lambda _: ("admin", "staff"))
    session = store.find_session("sid", NOW)
    assert session is not None
    assert session.roles == ("admin", "staff")
    assert store.list_sessions(miguel.id, NOW) == [session]


def test_a_change_of_roles_that_raises_leaves_them_as_they_were(
    store: Store, miguel: Account
) -> None:
    def change(roles: tuple[str, ...]) -> tuple[str, ...]:
        raise ZeroDivisionError

    store.change_roles(miguel.id, lambda _: ("admin",))
    with pytest.raises(ZeroDivisionError):
        store.change_roles(miguel.id, change)
    assert reread(store, miguel.id).roles == ("admin",)


def test_roles_given_at_once_are_all_given(store: Store, miguel: Account, patience: None) -> None:
    def give(number: int) -> bool:
        return store.change_roles(miguel.id, lambda roles: (*roles, f"r{number}")) is not None

    assert together(8, give) == 8
    assert sorted(reread(store, miguel.id).roles) == [f"r{number}" for number in range(8)]


# Sessions


def test_a_session_is_found_as_begun(store: Store, miguel: Account) -> None:
    begin(store, miguel, "sid")
    assert store.find_session("sid", NOW) == session_of(miguel, "sid")


def test_a_session_with_a_refresh_token_is_found_as_begun(store: Store, miguel: Account) -> None:
    session = begin_refreshable(store, miguel)
    assert store.find_session("sid", NOW) == session
    assert store.list_sessions(miguel.id, NOW) == [session]


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(lambda store, user_id: store.delete_user(user_id), id="deleted"),
        pytest.param(lambda store, user_id: store.lock_user(user_id, NOW), id="locked"),
        pytest.param(lambda store, user_id: store.set_password_hash(user_id, "x"), id="password"),
    ],
)
def test_a_login_under_way_does_not_outlive_what_ended_the_others(
    engine: SQLite, store: Store, miguel: Account, meanwhile: Callable[[Store, int], bool]
) -> None:
    assert meanwhile(store, miguel.id)
    assert not store.add_session(session_of(miguel, "late"), miguel.password_version)
    assert session_ids(engine) == set()


def test_a_session_is_over_at_the_very_second_of_its_end(store: Store, miguel: Account) -> None:
    begin(store, miguel, "sid")
    assert store.find_session("sid", END - 1)
    assert store.list_sessions(miguel.id, END - 1)
    assert store.touch_session("sid", END - 1)
    assert store.find_session("sid", END) is None
    assert store.list_sessions(miguel.id, END) == []
    assert not store.touch_session("sid", END)


def test_a_session_is_found_by_its_own_name_alone(store: Store, miguel: Account) -> None:
    begin(store, miguel, "sid")
    for session_id in ("SID", "si", "sid ", "sid\0", "", "%"):
        assert store.find_session(session_id, NOW) is None


def test_sessions_are_listed_for_their_own_user_the_one_used_last_first(
    store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, susan, "s1")
    begin(store, miguel, "b", "d", "a", "c")
    store.touch_session("c", NOW + 2)
    store.touch_session("d", NOW + 1)
    assert [session.id for session in store.list_sessions(miguel.id, NOW)] == ["c", "d", "a", "b"]
    assert store.list_sessions(susan.id, NOW) == [session_of(susan, "s1")]


def test_a_session_of_a_locked_user_is_not_found(
    engine: SQLite, store: Store, miguel: Account
) -> None:
    """Whoever locks with SQL of their own does not think of the sessions."""
    begin(store, miguel, "sid")
    engine.write("UPDATE users SET locked_at = 0", {})
    assert store.find_session("sid", NOW) is None


def test_a_touch_is_noted_for_that_session(store: Store, miguel: Account) -> None:
    begin(store, miguel, "used", "idle")
    assert store.touch_session("used", NOW + 5)
    used = replace(session_of(miguel, "used"), last_used_at=NOW + 5)
    assert store.list_sessions(miguel.id, NOW) == [used, session_of(miguel, "idle")]
    assert not store.touch_session("unknown", NOW)


def test_tokens_renew_each_other_only_as_long_as_the_session_says(
    store: Store, miguel: Account
) -> None:
    begin_refreshable(store, miguel)
    assert store.touch_session("sid", NOW + 3599)
    assert not store.touch_session("sid", NOW + 3600)
    session = store.find_session("sid", NOW + 3600)
    assert session is not None  # it lives on: a refresh token prolongs it
    assert session.last_used_at == NOW + 3599
    assert store.rotate_session("sid", 0, NOW + 3600, NOW + 7200)[0]
    assert store.touch_session("sid", NOW + 7199)
    assert not store.touch_session("sid", NOW + 7200)


def test_a_turn_is_given_on_and_noted(store: Store, miguel: Account, susan: Account) -> None:
    session = begin_refreshable(store, miguel)
    begin(store, susan, "other")
    renewed = replace(
        session,
        last_used_at=NOW + 60,
        renewable_until=NOW + 3660,
        refresh_counter=1,
        rotated_at=NOW + 60,
    )
    assert store.rotate_session("sid", 0, NOW + 60, NOW + 3660) == (True, renewed)
    assert store.find_session("sid", NOW) == renewed
    assert store.find_session("other", NOW) == session_of(susan, "other")


@pytest.mark.parametrize(
    ("session_id", "counter", "now"),
    [
        pytest.param("sid", 0, NOW, id="the turn before"),
        pytest.param("sid", 2, NOW, id="a turn to come"),
        pytest.param("sid", 1, END, id="after its end"),
        pytest.param("SID", 1, NOW, id="another session"),
        pytest.param("without", 0, NOW, id="a session without a refresh token"),
    ],
)
def test_no_other_turn_is_given_on(
    store: Store, miguel: Account, session_id: str, counter: int, now: int
) -> None:
    begin_refreshable(store, miguel)
    begin(store, miguel, "without")
    assert store.rotate_session("sid", 0, NOW + 1, NOW + 3601)[0]
    before = store.list_sessions(miguel.id, NOW)
    found = store.find_session(session_id, now)
    assert store.rotate_session(session_id, counter, now, END) == (False, found)
    assert store.list_sessions(miguel.id, NOW) == before


def test_a_turn_prolongs_no_session_beyond_its_end(store: Store, miguel: Account) -> None:
    begin_refreshable(store, miguel)
    won, session = store.rotate_session("sid", 0, END - 1, END + 3599)
    assert won
    assert session is not None
    assert session == store.find_session("sid", END - 1)
    assert (session.renewable_until, session.expires_at) == (END, END)
    assert store.rotate_session("sid", 1, END, END + 3600) == (False, None)


def test_a_turn_of_a_locked_users_session_brings_no_session(
    engine: SQLite, store: Store, miguel: Account
) -> None:
    begin_refreshable(store, miguel)
    engine.write("UPDATE users SET locked_at = 0", {})
    assert store.rotate_session("sid", 0, NOW, END)[1] is None


def test_a_turn_is_not_given_on_when_its_session_cannot_be_read(
    store: Store, miguel: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds it gets no answer, and must be able to ask again."""
    session = begin_refreshable(store, miguel)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "_FIND_SESSION", "SELECT nothing")
        with pytest.raises(sqlite3.OperationalError):
            store.rotate_session("sid", 0, NOW + 60, END)
    assert store.find_session("sid", NOW) == session


def test_of_those_who_hold_one_turn_exactly_one_gets_it(
    store: Store, miguel: Account, patience: None
) -> None:
    session = begin_refreshable(store, miguel)
    turned = replace(session, refresh_counter=1, renewable_until=END)

    def rotate(_: int) -> bool:
        won, found = store.rotate_session("sid", 0, NOW, END)
        assert found == turned  # who comes too late sees what the winner made of it
        return won

    assert together(8, rotate) == 1
    assert store.find_session("sid", NOW) == turned


def test_a_session_is_ended_by_its_own_user_and_once(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    assert not store.end_session("m1", susan.id)
    assert store.end_session("m1", miguel.id)
    assert not store.end_session("m1", miguel.id)
    assert session_ids(engine) == {"m2"}
    assert store.find_session("m1", NOW) is None


def test_all_sessions_of_one_user_end_and_are_counted(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    begin(store, susan, "s1")
    assert store.end_sessions(miguel.id) == 2
    assert store.end_sessions(miguel.id) == 0
    assert session_ids(engine) == {"s1"}


def test_one_session_too_many_ends_the_longest_idle(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    names = [f"m{number}" for number in range(MAX_SESSIONS)]
    begin(store, susan, "s1", now=NOW - 1)
    begin(store, miguel, *names)
    assert session_ids(engine) == {*names, "s1"}
    for name in names:
        store.touch_session(name, NOW + (1 if name == "m42" else 2))
    begin(store, miguel, "new", now=NOW + 3)
    assert session_ids(engine) == {*names, "new", "s1"} - {"m42"}


def test_the_new_session_is_never_the_one_that_ends(
    engine: SQLite, store: Store, miguel: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock was set back: all the others look younger."""
    monkeypatch.setattr(limits, "MAX_SESSIONS", 2)
    begin(store, miguel, "old", "older", now=NOW + 60)
    begin(store, miguel, "new", now=NOW)
    assert len(session_ids(engine)) == 2
    assert "new" in session_ids(engine)


def test_a_refused_session_ends_no_other(
    engine: SQLite, store: Store, miguel: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SESSIONS", 2)
    begin(store, miguel, "m1", "m2")
    assert not store.add_session(session_of(miguel, "late"), miguel.password_version + 1)
    assert session_ids(engine) == {"m1", "m2"}


def test_expired_sessions_are_pruned_a_few_at_each_login(
    engine: SQLite, store: Store, miguel: Account, susan: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRUNED_AT_ONCE", 2)
    for number in (3, 1, 2):
        session = session_of(miguel, f"m{number}", NOW - 9, NOW - 3 + number)
        assert store.add_session(session, miguel.password_version)
    begin(store, susan, "s1")
    assert session_ids(engine) == {"m3", "s1"}
    begin(store, susan, "s2")
    assert session_ids(engine) == {"s1", "s2"}


# Reset codes


def test_a_code_is_found_for_its_user_until_the_very_second_of_its_end(
    store: Store, miguel: Account, susan: Account
) -> None:
    give_code(store, miguel, "m")
    give_code(store, susan, "s")
    assert store.find_reset_code("m", NOW + 3599) == (miguel.id, "digest of m")
    assert store.find_reset_code("s", NOW + 3599) == (susan.id, "digest of s")
    assert store.find_reset_code("m", NOW + 3600) is None
    for selector in ("M", "", "x", "digest of m"):
        assert store.find_reset_code(selector, NOW) is None


def test_a_new_code_voids_the_one_before(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    give_code(store, susan, "s")
    give_code(store, miguel, "old")
    assert store.set_reset_code(miguel.id, "new", "another digest", NOW + 1)
    assert store.find_reset_code("old", NOW) is None
    assert store.find_reset_code("new", NOW) == (miguel.id, "another digest")
    assert store.find_reset_code("new", NOW + 1) is None
    assert code_users(engine) == {miguel.id, susan.id}


def test_a_code_sets_a_new_password_once_and_ends_all_sessions_of_its_user(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    begin(store, susan, "s1")
    give_code(store, miguel, "m")
    give_code(store, susan, "s")
    assert store.use_reset_code("m", "new", NOW)
    assert not store.use_reset_code("m", "newer", NOW)
    assert reread(store, miguel.id) == replace(miguel, password_hash="new", password_version=2)
    assert reread(store, susan.id) == susan
    assert session_ids(engine) == {"s1"}
    assert code_users(engine) == {susan.id}


@pytest.mark.parametrize(("selector", "now"), [("m", NOW + 3600), ("M", NOW), ("", NOW)])
def test_a_code_that_is_not_good_changes_nothing(
    engine: SQLite, store: Store, miguel: Account, selector: str, now: int
) -> None:
    begin(store, miguel, "m1")
    give_code(store, miguel, "m")
    assert not store.use_reset_code(selector, "new", now)
    assert reread(store, miguel.id) == miguel
    assert session_ids(engine) == {"m1"}
    assert store.find_reset_code("m", NOW)


def test_of_those_who_use_one_code_at_once_exactly_one_is_served(
    store: Store, miguel: Account, patience: None
) -> None:
    give_code(store, miguel)
    uses = together(8, lambda number: store.use_reset_code("selector", f"hash {number}", NOW))
    assert uses == 1
    assert reread(store, miguel.id).password_version == 2


# Failures


def test_failures_are_found_as_written_for_the_name_the_peer_and_both(store: Store) -> None:
    rows: dict[tuple[str, str], FailureCount | None] = {
        ("miguel", ""): FailureCount(7, NOW, 0),
        ("miguel", "192.0.2.7"): FailureCount(6, NOW + 1, NOW + 2),
        ("", "192.0.2.7"): FailureCount(31, NOW - 3, NOW + 300),
    }
    others: dict[tuple[str, str], FailureCount | None] = {
        ("susan", ""): FailureCount(1, NOW, 0),
        ("miguel", "192.0.2.8"): FailureCount(2, NOW, 0),
        ("susan", "192.0.2.7"): FailureCount(3, NOW, 0),
        ("", "192.0.2.8"): FailureCount(4, NOW, 0),
    }
    store.change_failures("miguel", "192.0.2.7", lambda found: {**found, **rows, **others}, NOW)
    assert store.find_failures("miguel", "192.0.2.7") == rows
    assert store.find_failures("", "192.0.2.7") == {key: rows[key] for key in rows if not key[0]}
    assert store.find_failures("Miguel", "192.0.2.70") == {}


def test_a_change_sees_what_a_look_finds_and_writes_what_it_returns(
    engine: SQLite, store: Store
) -> None:
    fail(store, "susan", "192.0.2.7")
    fail(store, "miguel", "192.0.2.7", 3)
    fail(store, "miguel", "", 4)
    looked = store.find_failures("miguel", "192.0.2.7")
    seen: list[FailureCounts] = []

    def change(found: FailureCounts) -> dict[tuple[str, str], FailureCount | None]:
        seen.append(found)
        return {("miguel", ""): None, ("miguel", "192.0.2.7"): FailureCount(9, NOW + 1, NOW + 2)}

    store.change_failures("miguel", "192.0.2.7", change, NOW)
    assert seen == [looked]
    changed = {("miguel", "192.0.2.7"): FailureCount(9, NOW + 1, NOW + 2)}
    assert store.find_failures("miguel", "192.0.2.7") == changed
    assert counts(engine) == {("miguel", "192.0.2.7"): 9, ("susan", "192.0.2.7"): 1}


def test_what_is_not_there_can_be_taken_away_and_no_change_changes_nothing(
    engine: SQLite, store: Store
) -> None:
    fail(store, "susan", "192.0.2.7")
    put(store, "miguel", "192.0.2.7", None)
    store.change_failures("susan", "192.0.2.7", lambda _: {}, NOW)
    assert counts(engine) == {("susan", "192.0.2.7"): 1}


def test_a_change_of_failures_that_raises_leaves_everything_as_it_was(
    engine: SQLite, store: Store
) -> None:
    def change(found: FailureCounts) -> FailureCounts:
        raise ZeroDivisionError

    fail(store, "miguel", "192.0.2.7", 3)
    with pytest.raises(ZeroDivisionError):
        store.change_failures("miguel", "192.0.2.7", change, NOW)
    assert counts(engine) == {("miguel", "192.0.2.7"): 3}
    fail(store, "miguel", "192.0.2.7", 4)  # and nobody holds a lock
    assert counts(engine) == {("miguel", "192.0.2.7"): 4}


def test_parallel_failures_are_all_counted(engine: SQLite, store: Store, patience: None) -> None:
    """Guesses made at once do not slip through between a look and a write."""

    def one_more(found: FailureCounts) -> FailureCounts:
        before = found.get(("miguel", "192.0.2.7"), FailureCount(0, NOW, 0))
        return {("miguel", "192.0.2.7"): replace(before, count=before.count + 1)}

    def guess(_: int) -> bool:
        for _ in range(5):
            store.change_failures("miguel", "192.0.2.7", one_more, NOW)
        return True

    together(8, guess)
    assert counts(engine) == {("miguel", "192.0.2.7"): 40}


def test_the_oldest_failures_go_first_whoevers_they_are_and_no_more_than_must(
    engine: SQLite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 4)
    fail(store, "miguel", "192.0.2.7", 9, now=NOW + 3)
    fail(store, "", "192.0.2.7", 30, now=NOW + 1)
    fail(store, "", "192.0.2.8", 1, now=NOW + 4)
    fail(store, "susan", "", 5, now=NOW + 2)
    fail(store, "susan", "", 6, now=NOW + 2)  # a row that is there already needs no room
    assert len(counts(engine)) == 4
    order = [("", "192.0.2.7"), ("susan", ""), ("miguel", "192.0.2.7"), ("", "192.0.2.8")]
    for number in range(4):
        fail(store, f"invented{number}", "", 1, now=NOW + 5 + number)
        assert counts(engine).keys() & order == set(order[number + 1 :])
        assert len(counts(engine)) == 4


def test_failures_that_still_block_go_last_and_of_them_the_oldest_first(
    engine: SQLite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of invented names must not let its peer out, nor those whom others made wait."""
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 4)
    later = NOW + 100
    fail(store, "", "192.0.2.7", 30, now=NOW, blocked_until=later + 3)
    fail(store, "over", "192.0.2.8", 6, now=NOW + 2, blocked_until=later)  # at this very second
    fail(store, "miguel", "192.0.2.9", 6, now=NOW + 1, blocked_until=later + 900)
    fail(store, "susan", "192.0.2.9", now=NOW + 3)
    order = [("over", "192.0.2.8"), ("susan", "192.0.2.9"), ("invented0", "")]
    for number in range(3):
        fail(store, f"invented{number}", "", now=later + number)
        gone = set(order[: number + 1])
        assert not counts(engine).keys() & gone
        assert {("", "192.0.2.7"), ("miguel", "192.0.2.9")} < counts(engine).keys()
        assert len(counts(engine)) == 4


def test_when_all_failures_block_the_oldest_make_room(
    engine: SQLite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 2)
    fail_as_account(store, "ada", "192.0.2.6", 3, now=NOW - 9)
    for number, name in enumerate(("miguel", "susan", "john")):
        fail(store, name, "192.0.2.7", now=NOW + number, blocked_until=NOW + 900 - number)
    assert set(counts(engine)) == {("ada", ""), ("susan", "192.0.2.7"), ("john", "192.0.2.7")}


def test_more_rows_than_one_too_many_go_at_once(
    engine: SQLite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as when the limit was lowered."""
    for number in range(9):
        fail(store, f"user{number}", "", 1, now=NOW + number)
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 3)
    fail(store, "user9", "", 1, now=NOW + 9)
    assert set(counts(engine)) == {("user7", ""), ("user8", ""), ("user9", "")}


def test_a_table_full_of_counts_does_not_turn_the_throttle_off_for_new_names(
    engine: SQLite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 4)
    for number in range(4):
        fail(store, f"invented{number}", "", 2)
    fail(store, "fresh", "", 1, now=NOW + 86_400)
    assert counts(engine)["fresh", ""] == 1
    assert len(counts(engine)) == 4


def fail_as_account(store: Store, name: str, network: str, count: int, now: int = NOW) -> None:
    """Of the name, of the peer and of both, as a wrong password for an account counts."""
    rows = dict.fromkeys([(name, ""), ("", network), (name, network)], FailureCount(count, now, 0))
    store.change_failures(name, network, lambda _: rows, now, is_account=True)


def test_no_flood_of_names_pushes_out_the_count_of_an_account(
    engine: SQLite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 4)
    accounts = [f"user{number}" for number in range(6)]  # they take no room from the others
    for name in accounts:
        fail_as_account(store, name, "192.0.2.7", 3)
    for number in range(20):
        fail(store, f"invented{number}", "", 1, now=NOW + 1 + number)
        fail(store, "", f"192.0.2.{number}", 1, now=NOW + 1 + number)
    assert counts(engine) == {
        **{(name, ""): 3 for name in accounts},
        ("invented18", ""): 1,
        ("", "192.0.2.18"): 1,
        ("invented19", ""): 1,
        ("", "192.0.2.19"): 1,
    }


def test_the_count_of_an_account_is_kept_when_it_grows_and_can_be_taken_away(
    engine: SQLite, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 1)
    fail_as_account(store, "miguel", "192.0.2.7", 3)
    fail(store, "miguel", "", 4)  # whoever writes it next has not looked the account up
    fail(store, "invented", "", 1, now=NOW + 1)
    assert counts(engine) == {("miguel", ""): 4, ("invented", ""): 1}
    put(store, "miguel", "", None)
    assert counts(engine) == {("invented", ""): 1}


def test_failures_of_a_name_are_forgotten_from_every_peer(engine: SQLite, store: Store) -> None:
    for name in ("miguel", "susan"):
        for network in ("", "192.0.2.7", "192.0.2.8"):
            fail(store, name, network)
    fail(store, "", "192.0.2.7")
    store.forget_failures("miguel")
    assert set(counts(engine)) == {
        ("susan", ""),
        ("susan", "192.0.2.7"),
        ("susan", "192.0.2.8"),
        ("", "192.0.2.7"),
    }
    store.forget_failures("miguel")


def test_users_come_and_go_without_a_look_at_the_failures(engine: SQLite, store: Store) -> None:
    """What is counted has names of its own: whoever gave them forgets them."""
    fail(store, "miguel", "192.0.2.7")
    account = add(store, "Miguel")
    assert store.delete_user(account.id)
    assert counts(engine) == {("miguel", "192.0.2.7"): 1}


# The whole


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda store, user: store.set_password_hash(user.id, "x"), id="password"),
        pytest.param(lambda store, user: store.lock_user(user.id, NOW), id="lock"),
        pytest.param(lambda store, user: store.delete_user(user.id), id="delete"),
        pytest.param(lambda store, user: store.use_reset_code("selector", "x", NOW), id="reset"),
        pytest.param(lambda store, user: store.add_session(session_of(user, "new"), 1), id="login"),
    ],
)
def test_a_change_that_fails_half_way_leaves_everything_as_it_was(
    engine: SQLite,
    store: Store,
    miguel: Account,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Store, Account], bool],
) -> None:
    """The sessions are the second thing each of these changes; here they cannot go."""
    begin(store, miguel, "m1")
    give_code(store, miguel)
    fail(store, "miguel", "192.0.2.7")
    monkeypatch.setattr(limits, "MAX_SESSIONS", 1)
    engine.write(
        "CREATE TRIGGER t BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'no'); END", {}
    )
    with pytest.raises(sqlite3.IntegrityError):
        change(store, miguel)
    assert list(store.list_users()) == [miguel]
    assert session_ids(engine) == {"m1"}
    assert store.find_reset_code("selector", NOW)
    assert counts(engine) == {("miguel", "192.0.2.7"): 1}


def test_no_statement_reads_a_table_from_end_to_end(
    engine: SQLite, store: Store, miguel: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to a row is by an index: the work does not grow with the number of users."""
    monkeypatch.setattr(limits, "MAX_FAILURES_ROWS", 1)
    statements: list[str] = []
    engine.close()
    with monkeypatch.context() as patch:
        connect = SQLite._connect

        def connect_traced(engine: SQLite, busy_timeout: int) -> sqlite3.Connection:
            connection = connect(engine, busy_timeout)
            connection.set_trace_callback(statements.append)
            return connection

        patch.setattr(SQLite, "_connect", connect_traced)
        begin(store, miguel, "sid")
        store.find_session("sid", NOW)
        store.list_sessions(miguel.id, NOW)
        store.touch_session("sid", NOW)
        store.rotate_session("sid", 0, NOW, END)
        store.end_session("sid", miguel.id)
        store.end_sessions(miguel.id)
        list(store.list_users())
        store.find_user_by_name("miguel")
        store.renew_password_hash(miguel.id, "old", "new")
        store.set_password_hash(miguel.id, "new", miguel.password_version)
        store.change_roles(miguel.id, lambda _: ("admin",))
        store.lock_user(miguel.id, NOW)
        store.unlock_user(miguel.id)
        give_code(store, miguel)
        store.find_reset_code("selector", NOW)
        store.use_reset_code("selector", "new", NOW)
        fail(store, "miguel", "192.0.2.7")
        fail(store, "susan", "192.0.2.7")
        put(store, "miguel", "192.0.2.7", None)
        store.find_failures("miguel", "192.0.2.7")
        store.forget_failures("miguel")
        store.delete_user(miguel.id, miguel.password_version)
        store.add_user("Susan", "susan", "hash", NOW)
        store.find_user(miguel.id)
        engine.close()
    plans = [
        detail
        for statement in statements
        if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")
        for *_, detail in engine.read(f"EXPLAIN QUERY PLAN {statement}", {})
    ]
    assert len(plans) >= 30
    assert [plan for plan in plans if plan.startswith("SCAN")] == []
    # Counts that may go are counted, and found, without a look at those that are kept.
    assert "SEARCH failures USING COVERING INDEX failures_by_age (is_kept=?)" in plans


def test_a_store_that_does_not_answer_is_not_opened_and_pings_in_vain(
    store: Store, engine: SQLite
) -> None:
    store.ping()
    engine.path.unlink()
    engine._next_look = 0
    with pytest.raises(StoreUnavailable):
        store.ping()
    with pytest.raises(StoreUnavailable):
        Store(engine)


THREADS, ROUNDS = 8, 10


def register_in_threads(path: Path, start: Barrier, wins: "SimpleQueue[int]") -> None:
    sqlite.BUSY_TIMEOUT = 60_000  # a slow disk must not decide
    with closing(SQLite(path, create=False)) as engine, ThreadPoolExecutor(THREADS) as threads:
        store = Store(engine)
        for round in range(ROUNDS):

            def register(_: int, round: int = round) -> int | None:
                start.wait()
                return store.add_user("Miguel", f"miguel{round}", "hash", NOW)

            for user_id in threads.map(register, range(THREADS)):
                if user_id is not None:
                    wins.put(round)


def test_a_race_for_a_name_has_exactly_one_winner(store: Store, engine: SQLite) -> None:
    start, wins = SPAWN.Barrier(2 * THREADS, timeout=60), SPAWN.SimpleQueue()
    in_processes(2, register_in_threads, engine.path, start, wins)
    assert sorted(wins.get() for _ in range(ROUNDS)) == list(range(ROUNDS))
    assert wins.empty()
    assert len(list(store.list_users())) == ROUNDS
