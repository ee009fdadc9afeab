"""`restauth import`: what it prints, how it ends, and that a dry run changes nothing.

Which rows are imported and which are not is decided in `domain.importer`.
"""

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from restauth.services import Services
from restauth.storage.schema import APPLICATION_ID, MIGRATIONS
from tests import hash_samples
from tests.cli.conftest import Restauth, is_one_line
from tests.hash_samples import write_rest_auth_file

HASH = hash_samples.CHEAP["werkzeug 1.0.1, one iteration"].password_hash
ADA = (5, "ada", HASH)
MIXED = [ADA, (6, "", HASH), (7, "a\x1b", HASH), *((n, "", HASH) for n in range(8, 30))]
WITHOUT = "name missing or empty"


def test_the_report_has_a_line_for_each_kind_and_shows_the_first_rows(
    restauth: Restauth, services: Services
) -> None:
    write_rest_auth_file(Path("db.sqlite"), MIXED)
    done = restauth("import db.sqlite")
    assert (done.status, done.err) == (3, "")
    first, *lines = done.out.splitlines()
    assert first == "25 users in db.sqlite, of which 25 are new here"
    assert any("hash: pbkdf2:sha256" in line for line in lines)
    (many,) = [line for line in lines if line.startswith("      23  ")]
    assert many.endswith(", ...")
    assert any(r"7 'a\\x1b'" in line for line in lines)
    report = restauth("import db.sqlite --json").json
    assert {name: report[name] for name in ("dry_run", "users", "new", "other_columns")} == {
        "dry_run": False, "users": 25, "new": 0, "other_columns": [],
    }  # fmt: skip
    assert sorted(report["troubles"].values()) == [1, 23]
    assert sorted(len(rows) for rows in report["examples"].values()) == [1, 20]
    assert services.accounts.find(5).username == "ada"


def test_a_value_that_does_not_exist_is_null(restauth: Restauth, services: Services) -> None:
    table = "CREATE TABLE users (id, username, password_hash)"
    rows = [(None, "ada", HASH), ("x", "bob", HASH), (6, None, HASH), (7, "None", None)]
    write_rest_auth_file(Path("db.sqlite"), rows, table=table)
    lines = restauth("import db.sqlite --dry-run").out.splitlines()
    assert [line.partition(": ")[2] for line in lines[-3:]] == [
        "NULL 'ada', 'x' 'bob'",
        "6 NULL",
        "7 'None'",
    ]
    assert restauth("import db.sqlite --json").json["examples"] == {
        "id out of range, not imported": [[None, "ada"], ["x", "bob"]],
        "no name": [[6, None]],
        "no password": [[7, "None"]],
    }


@pytest.mark.sqlite("the message is about the files of SQLite")
def test_without_remarks_the_import_is_done(restauth: Restauth, directory: Path) -> None:
    """It makes the database where there is none. Columns of others are named."""
    table = hash_samples.TABLE.replace("id INTEGER", 'email TEXT, "a\x1b" TEXT, id INTEGER')
    write_rest_auth_file(Path("db.sqlite"), [ADA], table=table)
    done = restauth("import db.sqlite")
    made = f"There was no database {directory}/restauth.db: a new one is made, without users."
    assert (done.status, done.err) == (0, f"restauth: {made}\n")
    assert r"email, a\x1b" in done.out
    assert restauth("import db.sqlite --json").json["other_columns"] == ["email", "a\x1b"]
    assert restauth("user show ada --json").json["id"] == 5


def test_a_dry_run_says_the_same_and_changes_nothing(restauth: Restauth, directory: Path) -> None:
    """Neither without a database nor in one that has other users."""
    write_rest_auth_file(Path("db.sqlite"), MIXED)
    dry = restauth("import db.sqlite --dry-run")
    assert [path.name for path in directory.iterdir()] == ["db.sqlite"]
    real = restauth("import db.sqlite")
    told = real.out.replace("are new", "would be new")
    assert dry == real._replace(out=told, err="")  # that a database is made is told once it is
    before = restauth("user list")
    write_rest_auth_file(Path("other.sqlite"), [(90, "bob", HASH)])
    report = restauth("import other.sqlite --dry-run --json").json
    assert (report["dry_run"], report["new"]) == (True, 1)
    assert restauth("user list") == before


@pytest.mark.sqlite("it is about the files of SQLite")
def test_a_dry_run_does_not_bring_an_older_database_up_to_date(
    restauth: Restauth,
) -> None:
    with closing(sqlite3.connect("restauth.db")) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    write_rest_auth_file(Path("db.sqlite"), [ADA])
    assert is_one_line(restauth("import db.sqlite --dry-run"), "restauth.db")
    with closing(sqlite3.connect("restauth.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: None, "There is no file other"),
        (Path.touch, "has no table users"),
        (Path.mkdir, "other is no file: name the db.sqlite"),
    ],
)
def test_a_file_that_is_not_rest_auths_is_one_line(
    make: Callable[[Path], None], word: str, restauth: Restauth, directory: Path
) -> None:
    make(directory / "other")
    before = list(directory.iterdir())
    assert is_one_line(restauth("import other"), word)
    assert list(directory.iterdir()) == before


def test_progress_is_printed_once_a_second_at_a_terminal(
    restauth: Restauth, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rest_auth_file(Path("db.sqlite"), [(n, f"user {n}", HASH) for n in range(1, 101)])
    assert restauth("import db.sqlite --dry-run").err == ""  # all within the first second
    seconds = count(0, 0.03125)  # the clock at each look: a row takes as long
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("restauth.cli.output.time", clock)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    done = restauth("import db.sqlite --json")
    assert [line.split()[1] for line in done.err.splitlines()] == ["32", "64", "96"]
    assert done.json["users"] == 100
