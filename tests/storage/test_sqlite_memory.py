"""What is remembered of an SQLite database: never more than is true now, and not for long."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from restauth.storage import sqlite_memory
from restauth.storage.sqlite import SQLite
from restauth.storage.sqlite_memory import MAX_ANSWERS, MAX_ROWS, WalIndex
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


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock, as another one sees it."""
    done = subprocess.run(
        [sys.executable, "-c", IS_LOCKED, file], capture_output=True, text=True, check=True
    )
    return done.stdout == "locked\n"


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


def test_a_commit_that_is_being_written_is_no_state(file: Path, engine: SQLite) -> None:
    state = engine._state()
    assert state is not None
    with file.open("r+b") as memory:
        memory.seek(48 + 8)  # the counter of the second header
        memory.write(b"\xff")
        memory.flush()
        assert engine._state() is None
        memory.seek(8)
        memory.write(b"\xff")
        memory.flush()
        assert engine._state() not in (None, state)


@pytest.mark.parametrize(
    "content", [b"", b"\1" * 95, b"\1" * 96, bytes(32_768)], ids=["empty", "short", "other", "new"]
)
def test_an_index_of_a_form_that_is_not_known_has_no_state(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x-shm"
    file.write_bytes(content)
    descriptor = os.open(file, os.O_RDONLY)
    assert WalIndex(descriptor).state() is None
    os.close(descriptor)


def test_an_index_that_was_made_of_an_empty_wal_has_no_state(
    path: Path, engine: SQLite, open_sqlite: OpenSQLite
) -> None:
    """It is always the same one, whatever the database holds."""
    engine.close()
    with closing(open_sqlite(create=False)) as other:
        names(other.read)
        assert other._state() is None
        add(other.write, "susan")
        assert other._state() is not None
    assert not path.with_name(f"{path.name}-wal").exists()


def test_what_was_read_before_all_was_closed_is_not_given_again(path: Path, engine: SQLite) -> None:
    """A fork closes all connections, too; and the last one that is closed removes the WAL."""
    engine.close()
    for _ in range(2):
        assert engine.read(COUNT, {"name": "a"}) == [(1,)]
    engine.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(INSERT, {"name": "susan"})
    assert [engine.read(COUNT, {"name": "a"}) for _ in range(4)] == [[(2,)]] * 4


OPEN: Any = os.open


def refuse(*arguments: object, **keywords: object) -> int:
    raise OSError(24, "Too many open files")


def refuse_the_index(path: Path | str, *arguments: object) -> int:
    function = refuse if str(path).endswith("-shm") else OPEN
    descriptor: int = function(path, *arguments)
    return descriptor


@pytest.mark.parametrize("function", ["os.open", "mmap"])
def test_without_an_index_each_question_is_asked_and_no_lock_is_lost(
    path: Path, open_sqlite: OpenSQLite, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    if function == "mmap":
        monkeypatch.setattr(sqlite_memory, "mmap", refuse)
    else:
        monkeypatch.setattr(os, "open", refuse_the_index)
    engine = open_sqlite()
    add(engine.write, "miguel")
    names(engine.read)
    with statements(engine) as asked:
        for _ in range(2):
            assert engine.read(COUNT, {"name": "a"}) == [(1,)]
    assert len(asked) == 2
    assert is_locked(path.with_name(f"{path.name}-shm"))


def test_the_locks_of_a_process_outlive_its_other_engines(
    file: Path, engine: SQLite, open_sqlite: OpenSQLite
) -> None:
    for _ in range(2):
        with closing(open_sqlite()) as other:
            names(other.read)
        del other
        assert is_locked(file)
    engine.close()
    assert not file.exists()


def test_at_the_exit_of_the_interpreter_the_locks_are_kept(file: Path) -> None:
    """Its threads may be in transactions then."""
    lines = (
        "import atexit, subprocess, sys",
        "command = [sys.executable, '-c', sys.argv[2], sys.argv[1] + '-shm']",
        "atexit.register(subprocess.run, command)",  # runs last, because it is registered first
        "from pathlib import Path",
        "from restauth.storage.sqlite import SQLite",
        "engine = SQLite(Path(sys.argv[1]), create=True)",
        "engine.read('SELECT 1', {})",
    )
    own = file.with_name("other.db")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), own, IS_LOCKED],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "locked\n"


def test_all_files_are_closed_with_the_last_connection(open_sqlite: OpenSQLite) -> None:
    def use(number: int) -> int:
        """The open files of this process, once that database was used and closed."""
        with closing(open_sqlite(f"{number}.db")) as engine:
            names(engine.read)
        return len(os.listdir("/dev/fd"))

    assert len({use(number) for number in range(3)}) == 1


def test_a_process_sees_its_own_writes_also_after_its_index_was_removed(
    file: Path, engine: SQLite
) -> None:
    """All its connections go on with the old one, also when another process has made a new one."""
    file.unlink()
    for number in range(2, 5):
        if number > 2:
            file.write_bytes(bytes(32_768))
        with engine._reader():  # so that one more connection is opened
            add(engine.write, f"user{number}")
            assert engine.read(COUNT, {"name": "a"}) == [(number,)]


def test_an_index_that_a_new_connection_does_not_use_says_nothing(engine: SQLite) -> None:
    """One thread makes a connection while another one closes the last of the others: what both
    share is kept, and SQLite has made a new index meanwhile."""
    shared = engine._watch.open_header()
    engine.close()
    for name, number in (("susan", 2), ("david", 3)):
        add(engine.write, name)
        assert engine._state() is None
        assert engine.read(COUNT, {"name": "a"}) == [(number,)]
    del shared
