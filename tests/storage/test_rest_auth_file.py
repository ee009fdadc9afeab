"""REST-auth's database: whatever stands in it is given as it stands, and nothing is written."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from restauth.errors import UnusableFile
from restauth.storage import rest_auth_file as module
from restauth.storage.rest_auth_file import RestAuthRow, open_rest_auth_file
from tests import hash_samples
from tests.hash_samples import write_rest_auth_file

MIGUEL = (1, "miguel", "pbkdf2:sha256:1$s$00")
INSERT_SUSAN = "INSERT INTO users VALUES (2, 'susan', 'x')"
ANY_TYPE = "CREATE TABLE users (id, username, password_hash)"


def read(path: Path) -> list[RestAuthRow]:
    with open_rest_auth_file(path) as file:
        return list(file.rows())


def usernames(path: Path) -> list[object]:
    return [row.username for row in read(path)]


def expect_refusal(path: Path, reason: str) -> None:
    with pytest.raises(UnusableFile) as caught:
        read(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite"


@pytest.mark.parametrize("table", [hash_samples.FIRST_TABLE, hash_samples.TABLE], ids=["64", "128"])
def test_rows_of_every_version_are_read_in_the_order_of_their_ids(path: Path, table: str) -> None:
    assert read(write_rest_auth_file(path, table=table)) == []
    path.unlink()
    write_rest_auth_file(path, [(7, "susan", "x" * 200), MIGUEL], table=table)
    assert read(path) == [
        RestAuthRow(1, b"miguel", b"pbkdf2:sha256:1$s$00"),
        RestAuthRow(7, b"susan", b"x" * 200),
    ]


def test_values_of_any_type_come_as_they_stand(path: Path) -> None:
    write_rest_auth_file(path, [(1, None, None), (2, b"blob", b"\0"), (3, 12, 1.5)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO users VALUES (4, CAST(x'6dff00' AS TEXT), 'x')")
    assert read(path) == [
        RestAuthRow(1, None, None),
        RestAuthRow(2, memoryview(b"blob"), memoryview(b"\0")),
        RestAuthRow(3, b"12", b"1.5"),  # a VARCHAR makes text of numbers
        RestAuthRow(4, b"m\xff\0", b"x"),  # a text need not be UTF-8
    ]
    path.unlink()
    rows = [("one", 2, 3.5), (1.5, b"2", None), (None, -1, "text")]
    assert read(write_rest_auth_file(path, rows, table=ANY_TYPE)) == [
        RestAuthRow(None, -1, b"text"),
        RestAuthRow(1.5, memoryview(b"2"), None),
        RestAuthRow(b"one", 2, 3.5),
    ]


@pytest.mark.parametrize(
    ("more", "other_columns"),
    [("", ()), (', "E-Mail ✓", is_admin BOOLEAN', ("E-Mail ✓", "is_admin"))],
    ids=["none", "two"],
)
def test_columns_that_rest_auth_never_had_are_named(
    path: Path, more: str, other_columns: tuple[str, ...]
) -> None:
    write_rest_auth_file(path, [MIGUEL], table=f"{ANY_TYPE[:-1]}{more})")
    with open_rest_auth_file(path) as file:
        assert file.other_columns == other_columns
        assert [row.id for row in file.rows()] == [1]


def test_a_long_text_is_cut_and_stays_too_long_and_text(path: Path) -> None:
    limit = module.MAX_TEXT_LENGTH
    texts = ["x" * limit, "x" * 99_999, "\0" * limit, "x" + "\U0001f40e" * limit]
    write_rest_auth_file(path, [(number, text, text) for number, text in enumerate(texts)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO users VALUES (9, CAST(zeroblob(9999) AS TEXT), x'00')")
        connection.execute(
            "UPDATE users SET username = CAST(replace(hex(zeroblob(9999)), '00', x'ff') AS TEXT)"
            " WHERE id = 9"
        )
    for row in read(path):
        assert isinstance(row.username, bytes)
        assert len(row.username.decode()) > 255
        assert len(row.username) <= 3 * limit


@pytest.mark.parametrize("name", ["db.sqlite?mode=rwc", "a#b%41 c", "ünï"])
def test_no_file_name_is_taken_for_more_than_a_name(tmp_path: Path, name: str) -> None:
    assert usernames(write_rest_auth_file(tmp_path / name, [MIGUEL])) == [b"miguel"]


# Nothing is written


def test_a_file_is_read_as_it_is_and_nothing_is_left_beside_it(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL]).chmod(0o400)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert usernames(path) == [b"miguel"]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert list(path.parent.iterdir()) == [path]


def test_rows_that_are_only_in_the_wal_are_read_even_after_a_crash(path: Path) -> None:
    copy = path.with_name("copy")
    write_rest_auth_file(path, [MIGUEL])
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute(INSERT_SUSAN)
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        for each in (path, copy):
            before = each.read_bytes(), Path(f"{each}-wal").read_bytes()
            assert usernames(each) == [b"miguel", b"susan"]
            assert (each.read_bytes(), Path(f"{each}-wal").read_bytes()) == before


def test_a_program_that_writes_meanwhile_is_not_held_up(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL])
    with closing(sqlite3.connect(path, timeout=0)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with open_rest_auth_file(path) as file:
            rows = file.rows()
            next(rows)
            with writer:
                writer.execute(INSERT_SUSAN)
            assert list(rows) == []  # all rows are of one moment


# A hostile file


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
HOSTILE = {
    "view without end": [
        f"CREATE VIEW users (id, username, password_hash) AS {NUMBERS} SELECT i, 'a', 'b' FROM n"
    ],
    "view in capitals": ["CREATE VIEW USERS (id, username, password_hash) AS SELECT 1, 'a', 'b'"],
    "virtual table": ["CREATE VIRTUAL TABLE users USING fts4(id, username, password_hash)"],
    "id computed": ["CREATE TABLE users (x, id AS (x), username, password_hash)"],
    "name computed": [
        "CREATE TABLE users (id, username AS (hex(zeroblob(99999999))) STORED, password_hash)"
    ],
    "hash computed": ["CREATE TABLE users (id, username, password_hash AS (hex(zeroblob(9e8))))"],
}  # fmt: skip


@pytest.mark.parametrize("statements", HOSTILE.values(), ids=HOSTILE)
def test_only_a_table_of_stored_values_is_read(path: Path, statements: list[str]) -> None:
    execute(path, *statements)
    expect_refusal(path, "has no ")


def test_other_columns_cost_nothing_and_may_hold_anything(path: Path) -> None:
    execute(
        path,
        "CREATE TABLE users (id, photo, username, password_hash, big AS (hex(zeroblob(9e7))))",
        "INSERT INTO users VALUES (1, zeroblob(9999999), 'miguel', 'x')",
    )
    assert read(path) == [RestAuthRow(1, b"miguel", b"x")]


def test_a_value_beyond_the_limit_is_one_line(path: Path) -> None:
    execute(path, ANY_TYPE, "INSERT INTO users VALUES (1, zeroblob(1000001), 'x')")
    expect_refusal(path, "too big")


def test_more_rows_than_the_limit_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    assert len(read(write_rest_auth_file(path, [(n, "x", "y") for n in range(3)]))) == 3
    execute(path, "INSERT INTO users VALUES (7, 'susan', 'x')")
    expect_refusal(path, "more than 3 users")


def test_a_row_that_does_not_come_is_not_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of such a table are all read and sorted before the first one comes."""
    write_rest_auth_file(path, [(n, "x", "y") for n in range(20_000)], table=ANY_TYPE)
    monkeypatch.setattr(module, "STEPS", 1000)
    assert len(read(path)) == 20_000
    monkeypatch.setattr(module, "MAX_STEPS_OF_A_ROW", 20)
    expect_refusal(path, "interrupted")


def test_no_memory_is_one_line(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL])
    with pytest.raises(UnusableFile, match="no memory"), open_rest_auth_file(path):
        raise MemoryError  # as the driver does for SQLITE_NOMEM


# What is refused


def test_what_is_no_file_is_refused_and_not_made(path: Path) -> None:
    expect_refusal(path, "no file")
    expect_refusal(path.parent, "no file")
    assert not path.exists()


def test_a_locked_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0)
    write_rest_auth_file(path, [MIGUEL])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        expect_refusal(path, "database is locked")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("id, username", "has no password_hash."),
        ("id, password_hash, name", "has no username."),
        ("username, password_hash", "has no id."),
        ("email", "has no id and no username and no password_hash."),
    ],
)
def test_a_table_that_lacks_a_column_is_refused(path: Path, columns: str, reason: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE users ({columns})")
    expect_refusal(path, reason)


def test_a_file_without_the_table_is_refused(path: Path) -> None:
    path.touch()
    expect_refusal(path, "no table users")
    assert path.read_bytes() == b""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE user (id, username, password_hash)")
    expect_refusal(path, "no table users")
    path.write_text("id,username,password_hash\n1,miguel,x\n" * 100)
    expect_refusal(path, "not a database")


def test_damage_that_shows_only_while_reading_is_refused(path: Path) -> None:
    write_rest_auth_file(path, [(number, "x" * 99, "y" * 99) for number in range(1, 500)])
    with path.open("r+b") as file:
        file.seek(4 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 5 * 4096))
    with open_rest_auth_file(path) as rest_auth_file:
        assert rest_auth_file.other_columns == ()
    expect_refusal(path, "malformed")


def test_a_path_too_long_for_sqlite_is_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["x" * 200] * 3)
    deep.mkdir(parents=True)
    expect_refusal(write_rest_auth_file(tmp_path / "db").rename(deep / "db"), "unable to open")
