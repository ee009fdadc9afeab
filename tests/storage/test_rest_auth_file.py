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


def read(path: Path) -> list[RestAuthRow]:
    with open_rest_auth_file(path) as seed_file:
        return list(seed_file.rows())


def refusal(path: Path) -> str:
    """What is said of a file that cannot be read."""
    with pytest.raises(UnusableFile) as raised:
        read(path)
    return str(raised.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite"


# What is read


@pytest.mark.parametrize("table", [hash_samples.FIRST_TABLE, hash_samples.TABLE], ids=["64", "128"])
def test_rows_of_every_version_are_read_in_the_order_of_their_ids(path: Path, table: str) -> None:
    write_rest_auth_file(path, [(7, "susan", "x" * 200), MIGUEL], table=table)
    assert read(path) == [
        RestAuthRow(1, b"miguel", b"pbkdf2:sha256:1$s$00"),
        RestAuthRow(7, b"susan", b"x" * 200),
    ]


def test_a_table_without_rows_has_no_rows(path: Path) -> None:
    assert read(write_rest_auth_file(path)) == []


def test_values_of_any_type_come_as_they_stand(path: Path) -> None:
    write_rest_auth_file(path, [(1, None, None), (2, b"blob", b"\0"), (3, 12, 1.5)])
    assert read(path) == [
        RestAuthRow(1, None, None),
        RestAuthRow(2, memoryview(b"blob"), memoryview(b"\0")),
        RestAuthRow(3, b"12", b"1.5"),  # a VARCHAR makes text of numbers
    ]


def test_columns_of_other_types_come_as_they_stand(path: Path) -> None:
    write_rest_auth_file(
        path,
        [("one", 2, 3.5), (1.5, b"2", None), (None, -1, "text")],
        table="CREATE TABLE users (id, username, password_hash)",
    )
    assert read(path) == [
        RestAuthRow(None, -1, b"text"),
        RestAuthRow(1.5, memoryview(b"2"), None),
        RestAuthRow(b"one", 2, 3.5),
    ]


def test_text_that_is_no_utf_8_comes_as_its_bytes(path: Path) -> None:
    with closing(sqlite3.connect(write_rest_auth_file(path))) as connection, connection:
        connection.execute("INSERT INTO users VALUES (1, CAST(x'6dff00' AS TEXT), 'x')")
    assert read(path) == [RestAuthRow(1, b"m\xff\0", b"x")]


@pytest.mark.parametrize(
    ("more", "other_columns"),
    [
        ("", ()),
        (", email VARCHAR(64)", ("email",)),
        (', "E-Mail ✓", is_admin BOOLEAN', ("E-Mail ✓", "is_admin")),
    ],
)
def test_columns_that_rest_auth_never_had_are_named(
    path: Path, more: str, other_columns: tuple[str, ...]
) -> None:
    table = f"CREATE TABLE users (id INTEGER PRIMARY KEY, username, password_hash{more})"
    write_rest_auth_file(path, [MIGUEL], table=table)
    with open_rest_auth_file(path) as seed_file:
        assert seed_file.other_columns == other_columns
        assert [row.id for row in seed_file.rows()] == [1]


def test_names_are_found_by_id_if_they_are_text(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL, (2, b"blob", None), (3, None, None), (4, "é", None)])
    with open_rest_auth_file(path) as seed_file:
        names = [seed_file.find_name(user_id) for user_id in (1, 2, 3, 4, 5)]
    assert names == ["miguel", None, None, "é", None]


def test_names_can_be_looked_up_between_two_rows(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL, (2, "susan", "x")])
    with open_rest_auth_file(path) as seed_file:
        assert [seed_file.find_name(3 - int(str(row.id))) for row in seed_file.rows()] == [
            "susan",
            "miguel",
        ]


@pytest.mark.parametrize("name", ["db.sqlite?mode=rwc", "a#b%41 c", "ünï"])
def test_no_file_name_is_taken_for_more_than_a_name(tmp_path: Path, name: str) -> None:
    assert len(read(write_rest_auth_file(tmp_path / name, [MIGUEL]))) == 1


# Nothing is written


def test_the_file_is_not_changed_and_nothing_is_left_beside_it(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL])
    before = path.read_bytes(), path.stat().st_mtime_ns
    read(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_may_not_be_written_is_read(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL]).chmod(0o400)
    assert len(read(path)) == 1


def test_rows_that_are_only_in_the_wal_are_read(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL])
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        before = path.read_bytes()
        with writer:
            writer.execute("INSERT INTO users VALUES (2, 'susan', 'x')")
        assert [row.username for row in read(path)] == [b"miguel", b"susan"]
        assert path.read_bytes() == before


def test_the_wal_of_a_process_that_was_killed_is_read(path: Path, tmp_path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL])
    copy = tmp_path / "copy"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with writer:
            writer.execute("INSERT INTO users VALUES (2, 'susan', 'x')")
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    before = copy.read_bytes(), Path(f"{copy}-wal").read_bytes()
    assert [row.username for row in read(copy)] == [b"miguel", b"susan"]
    assert (copy.read_bytes(), Path(f"{copy}-wal").read_bytes()) == before


def test_somebody_who_writes_meanwhile_is_not_held_up(path: Path) -> None:
    write_rest_auth_file(path, [MIGUEL])
    with closing(sqlite3.connect(path, timeout=0)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        with open_rest_auth_file(path) as seed_file:
            rows = seed_file.rows()
            next(rows)
            with writer:
                writer.execute("INSERT INTO users VALUES (2, 'susan', 'x')")
            assert list(rows) == []  # all rows are of one moment


# What is refused


def test_a_file_that_is_not_there_is_refused_and_not_made(path: Path) -> None:
    assert refusal(path) == f"There is no file {path}."
    assert not path.exists()


def test_a_locked_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0)
    write_rest_auth_file(path, [(1, "miguel", "hash")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert refusal(path) == f"{path} cannot be read: database is locked."


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"There is no file {tmp_path}."


def test_an_empty_file_is_refused(path: Path) -> None:
    path.touch()
    assert refusal(path) == f"{path} has no table of users: it is not REST-auth's."
    assert path.read_bytes() == b""


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("id,username,password_hash\n1,miguel,x\n" * 100)
    assert refusal(path) == f"{path} cannot be read: file is not a database."


def test_a_database_without_users_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE user (id, username, password_hash)")
    assert refusal(path) == f"{path} has no table of users: it is not REST-auth's."


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        ("id, username", "password_hash"),
        ("id, password_hash, name", "username"),
        ("username, password_hash", "id"),
        ("email", "id and no username and no password_hash"),
    ],
)
def test_a_table_that_lacks_a_column_is_refused(path: Path, columns: str, missing: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE users ({columns})")
    assert refusal(path) == f"The table of users in {path} has no {missing}."


def test_damage_that_shows_only_while_reading_is_refused(path: Path) -> None:
    write_rest_auth_file(path, [(number, "x" * 99, "y" * 99) for number in range(1, 500)])
    with closing(sqlite3.connect(path)) as connection:
        size, pages = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count")
        )
    with path.open("r+b") as file:
        file.seek(4 * size)
        file.write(b"\xff" * (pages - 5) * size)
    with open_rest_auth_file(path) as seed_file:
        assert seed_file.other_columns == ()
    assert refusal(path) == f"{path} cannot be read: database disk image is malformed."


def test_a_path_too_long_for_sqlite_is_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["x" * 200] * 3)
    deep.mkdir(parents=True)
    short = write_rest_auth_file(tmp_path / "db.sqlite", [MIGUEL])
    long = short.rename(deep / "db.sqlite")
    assert refusal(long) == f"{long} cannot be read: unable to open database file."
