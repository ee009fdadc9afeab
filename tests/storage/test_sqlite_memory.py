"""What is remembered of an SQLite database: never more than is true now, and not for long."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from restauth.storage.sqlite import SQLite
from restauth.storage.sqlite_memory import MAX_ANSWERS, MAX_ROWS, WalIndex, open_index
from tests.storage.system import INSERT, OpenSQLite, add, names

COUNT = "SELECT count(*) FROM users WHERE username >= :name"
ROUNDS = 300

# Another process: it commits, says so, and waits until it was heard. Now and then it does all that
# SQLite may do to the WAL.
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for number in range(1, int(sys.argv[2]) + 1):
    connection.execute("UPDATE users SET created_at = ?", [number])
    print(number, flush=True)
    sys.stdin.readline()
    if number % 10 == 0:
        mode = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")[number // 10 % 4]
        connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
    if number % 100 == 0:
        connection.execute("VACUUM")
"""
# Whether another process holds the lock that says that the index is in use
# (https://sqlite.org/walformat.html section 2.3.1): without it, the next process to open the index
# would empty it.
IS_LOCKED = """
import fcntl, sys
with open(sys.argv[1], "r+b", buffering=0) as index:
    try:
        fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 128)
    except OSError:
        print("locked")
"""


@contextmanager
def statements(engine: SQLite) -> Iterator[list[str]]:
    """What the one connection in the pool runs."""
    (connection,) = engine._idle
    found: list[str] = []
    connection.set_trace_callback(found.append)
    yield found
    connection.set_trace_callback(None)


@pytest.fixture
def engine(open_sqlite: OpenSQLite) -> SQLite:
    """One user, `miguel`, and one connection for readers."""
    engine = open_sqlite()
    add(engine.write, "miguel")
    names(engine.read)
    return engine


@pytest.fixture
def file(path: Path, engine: SQLite) -> Path:
    """The WAL-index of an open database."""
    return path.with_name(f"{path.name}-shm")


def index_of(file: Path) -> WalIndex:
    index = open_index(str(file))
    assert index is not None
    return index


def test_a_question_is_asked_once_while_nobody_writes(engine: SQLite) -> None:
    first = engine.read(COUNT, {"name": "a"})
    with statements(engine) as asked:
        assert engine.read(COUNT, {"name": "a"}) == first == [(1,)]
        assert asked == []
        assert engine.read(COUNT, {"name": "z"}) == [(0,)]
        assert len(asked) == 1
        add(engine.write, "susan")
        assert engine.read(COUNT, {"name": "a"}) == [(2,)]
        assert len(asked) == 2


def test_questions_differ_by_the_names_of_their_parameters_too(engine: SQLite) -> None:
    sql = "SELECT :left, :right"
    assert engine.read(sql, {"left": 1, "right": 2}) == [(1, 2)]
    assert engine.read(sql, {"right": 1, "left": 2}) == [(2, 1)]


def test_no_read_is_older_than_what_another_process_has_committed(
    path: Path, engine: SQLite
) -> None:
    remembered = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(ROUNDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for line in writer.stdout:
            with statements(engine) as asked:
                for _ in range(3):
                    assert engine.read("SELECT created_at FROM users", {}) == [(int(line),)]
            remembered += 3 - len(asked)
            writer.stdin.write("heard\n")
            writer.stdin.flush()
    assert (writer.returncode, int(line)) == (0, ROUNDS)
    assert remembered > ROUNDS  # or nothing was shown


def test_what_is_undone_changes_nothing_that_is_known(engine: SQLite) -> None:
    assert engine.read(COUNT, {"name": "a"}) == [(1,)]
    with pytest.raises(sqlite3.IntegrityError):
        engine.write(INSERT + ", (:name, :name, 'hash', 0)", {"name": "susan"})
    assert engine.read(COUNT, {"name": "a"}) == [(1,)]


def test_a_list_is_not_kept(engine: SQLite) -> None:
    for number in range(MAX_ROWS):
        add(engine.write, f"user{number}")
    with statements(engine) as asked:
        for _ in range(2):
            assert len(names(engine.read)) == MAX_ROWS + 1
    assert len(asked) == 2


def test_the_number_of_answers_is_bounded(engine: SQLite) -> None:
    engine.read(COUNT, {"name": "first"})
    for number in range(MAX_ANSWERS):
        engine.read(COUNT, {"name": f"{number}"})
        assert len(engine._answers.at(engine._state())) <= MAX_ANSWERS
    with statements(engine) as asked:
        engine.read(COUNT, {"name": f"{number}"})
        assert asked == []
        engine.read(COUNT, {"name": "first"})
        assert len(asked) == 1


def test_a_commit_that_is_being_written_is_no_state(file: Path) -> None:
    index = index_of(file)
    state = index.state()
    assert state is not None
    with file.open("r+b") as memory:
        memory.seek(48 + 8)  # the counter of the second header
        memory.write(b"\xff")
        memory.flush()
        assert index.state() is None
        memory.seek(8)
        memory.write(b"\xff")
        memory.flush()
        assert index.state() not in (None, state)


@pytest.mark.parametrize(
    "content", [b"", b"\1" * 95, b"\1" * 96, bytes(32_768)], ids=["empty", "short", "other", "new"]
)
def test_an_index_of_a_form_that_is_not_known_has_no_state(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x-shm"
    file.write_bytes(content)
    assert index_of(file).state() is None


def test_without_an_index_each_question_is_asked(
    open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restauth.storage.sqlite_watch.open_index", lambda name: open_index("/no"))
    engine = open_sqlite()
    add(engine.write, "miguel")
    names(engine.read)
    with statements(engine) as asked:
        for _ in range(2):
            assert engine.read(COUNT, {"name": "a"}) == [(1,)]
    assert len(asked) == 2


def test_the_locks_of_a_process_outlive_its_other_engines(
    path: Path, file: Path, engine: SQLite, open_sqlite: OpenSQLite
) -> None:
    for _ in range(2):
        with closing(open_sqlite()) as other:
            names(other.read)
        del other
        done = subprocess.run(
            [sys.executable, "-c", IS_LOCKED, file], capture_output=True, text=True, check=True
        )
        assert done.stdout == "locked\n"
    engine.close()
    assert not file.exists()


def test_an_index_is_closed_after_its_file_was_removed(open_sqlite: OpenSQLite) -> None:
    def use(number: int) -> int:
        """The open files of this process, once that database was used and closed."""
        with closing(open_sqlite(f"{number}.db")) as engine:
            names(engine.read)
        del engine
        return len(os.listdir("/dev/fd"))

    assert len({use(number) for number in range(3)}) == 1


def test_an_index_that_was_replaced_is_another_one(file: Path) -> None:
    old = index_of(file)
    assert index_of(file) is old
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    assert index_of(file) is not old
