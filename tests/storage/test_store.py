"""The store's promises, one by one: what each method finds, writes and refuses."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from restauth.errors import StoreUnavailable
from restauth.records import MAX_ID, Account, Session
from restauth.storage import sqlite
from restauth.storage import store as limits
from restauth.storage.sqlite import SQLite
from restauth.storage.store import MAX_SESSIONS, Store
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


def begin(store: Store, account: Account, *session_ids: str, now: int = NOW) -> None:
    for session_id in session_ids:
        assert store.add_session(session_id, account, now, END)


def session_ids(engine: SQLite) -> set[str]:
    return {session_id for (session_id,) in engine.execute("SELECT id FROM sessions", {})}


# Users


def test_a_new_user_is_found_as_added(store: Store) -> None:
    assert store.add_user("Miguel", "miguel", "hash", NOW) == 1
    assert store.add_user("Susan", "susan", "hash", NOW) == 2
    account = Account(1, "Miguel", "hash", NOW, None)
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
    assert not store.replace_password_hash(user_id, miguel.password_hash, "another hash")
    assert not store.lock_user(user_id, NOW)
    assert not store.unlock_user(user_id)
    assert not store.delete_user(user_id)
    assert store.end_sessions(user_id) == 0
    assert list(store.list_users()) == [miguel]


@pytest.mark.parametrize("name", ["x'); DROP TABLE users; --", 'a"b', ":name", "%", "\0", "日本"])
def test_sql_in_a_name_is_a_name(store: Store, name: str) -> None:
    user_id = store.add_user(name, name, name, NOW)
    assert user_id is not None
    assert store.find_user_by_name(name) == Account(user_id, name, name, NOW, None)


def test_an_id_is_never_given_twice(store: Store, miguel: Account, susan: Account) -> None:
    assert store.delete_user(susan.id)
    assert store.find_user(susan.id) is None
    assert add(store, "Susan").id == susan.id + 1


def test_a_deleted_users_sessions_go_with_it(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    begin(store, susan, "s1")
    assert store.delete_user(miguel.id)
    assert session_ids(engine) == {"s1"}
    assert not store.delete_user(miguel.id)


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


def test_a_stale_hash_is_replaced_by_compare_and_swap(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1")
    assert store.replace_password_hash(miguel.id, miguel.password_hash, "new")
    assert reread(store, miguel.id).password_hash == "new"
    assert not store.replace_password_hash(miguel.id, miguel.password_hash, "newer")
    assert reread(store, miguel.id).password_hash == "new"
    assert reread(store, susan.id) == susan
    assert session_ids(engine) == {"m1"}  # the password is the same


def test_a_new_password_ends_all_sessions_of_its_user(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    begin(store, susan, "s1")
    assert store.set_password_hash(miguel.id, "new")
    assert reread(store, miguel.id) == Account(miguel.id, "Miguel", "new", NOW, None)
    assert reread(store, susan.id) == susan
    assert session_ids(engine) == {"s1"}


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


# Sessions


def test_a_session_is_found_as_begun(store: Store, miguel: Account) -> None:
    assert store.add_session("sid", miguel, NOW, END)
    assert store.find_session("sid", miguel.id, NOW) == Session(
        "sid", miguel.id, "Miguel", NOW, NOW, END
    )


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
    assert not store.add_session("late", miguel, NOW, END)
    assert session_ids(engine) == set()


def test_a_session_is_over_at_the_very_second_of_its_end(store: Store, miguel: Account) -> None:
    begin(store, miguel, "sid")
    assert store.find_session("sid", miguel.id, END - 1)
    assert store.touch_session("sid", END - 1)
    assert store.find_session("sid", miguel.id, END) is None
    assert not store.touch_session("sid", END)


def test_a_session_is_found_for_its_own_user_alone(
    store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "sid")
    assert store.find_session("sid", susan.id, NOW) is None
    assert store.find_session("SID", miguel.id, NOW) is None


def test_a_session_of_a_locked_user_is_not_found(
    engine: SQLite, store: Store, miguel: Account
) -> None:
    """Whoever locks with SQL of their own does not think of the sessions."""
    begin(store, miguel, "sid")
    engine.execute("UPDATE users SET locked_at = 0", {})
    assert store.find_session("sid", miguel.id, NOW) is None


def test_a_touch_is_noted_for_that_session(store: Store, miguel: Account) -> None:
    begin(store, miguel, "used", "idle")
    assert store.touch_session("used", NOW + 5)
    used, idle = (store.find_session(name, miguel.id, NOW) for name in ("used", "idle"))
    assert used == Session("used", miguel.id, "Miguel", NOW, NOW + 5, END)
    assert idle == Session("idle", miguel.id, "Miguel", NOW, NOW, END)
    assert not store.touch_session("unknown", NOW)


def test_a_session_is_ended_by_its_own_user_and_once(
    engine: SQLite, store: Store, miguel: Account, susan: Account
) -> None:
    begin(store, miguel, "m1", "m2")
    assert not store.end_session("m1", susan.id)
    assert store.end_session("m1", miguel.id)
    assert not store.end_session("m1", miguel.id)
    assert session_ids(engine) == {"m2"}
    assert store.find_session("m1", miguel.id, NOW) is None


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


def test_expired_sessions_are_pruned_a_few_at_each_login(
    engine: SQLite, store: Store, miguel: Account, susan: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRUNED_AT_ONCE", 2)
    for number in (3, 1, 2):
        assert store.add_session(f"m{number}", miguel, NOW - 9, NOW - 3 + number)
    begin(store, susan, "s1")
    assert session_ids(engine) == {"m3", "s1"}
    begin(store, susan, "s2")
    assert session_ids(engine) == {"s1", "s2"}


# The whole


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda store, user: store.set_password_hash(user.id, "x"), id="password"),
        pytest.param(lambda store, user: store.lock_user(user.id, NOW), id="lock"),
        pytest.param(lambda store, user: store.delete_user(user.id), id="delete"),
        pytest.param(lambda store, user: store.add_session("new", user, NOW, END), id="login"),
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
    monkeypatch.setattr(limits, "MAX_SESSIONS", 1)
    engine.execute(
        "CREATE TRIGGER t BEFORE DELETE ON sessions BEGIN SELECT RAISE(ABORT, 'no'); END", {}
    )
    with pytest.raises(sqlite3.IntegrityError):
        change(store, miguel)
    assert list(store.list_users()) == [miguel]
    assert session_ids(engine) == {"m1"}


def test_no_statement_reads_a_table_from_end_to_end(
    engine: SQLite, store: Store, miguel: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to a row is by an index: the work does not grow with the number of users."""
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
        store.find_session("sid", miguel.id, NOW)
        store.touch_session("sid", NOW)
        store.end_session("sid", miguel.id)
        store.end_sessions(miguel.id)
        list(store.list_users())
        store.find_user_by_name("miguel")
        store.replace_password_hash(miguel.id, "old", "new")
        store.set_password_hash(miguel.id, "new")
        store.lock_user(miguel.id, NOW)
        store.unlock_user(miguel.id)
        store.delete_user(miguel.id)
        store.add_user("Susan", "susan", "hash", NOW)
        store.find_user(miguel.id)
        engine.close()
    plans = [
        detail
        for statement in statements
        if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")
        for *_, detail in engine.execute(f"EXPLAIN QUERY PLAN {statement}", {})
    ]
    assert len(plans) >= 15
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


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
