"""Staging: what was added comes back, and no space is one line."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from restauth.errors import UnusableFile
from restauth.records import ImportedUser
from restauth.storage.staging import Staging, open_staging

MIGUEL = ImportedUser(7, "Miguel", "miguel", "hash", is_locked=False)
SUSAN = ImportedUser(2, "#2", "NAMELESS 2", "!", is_locked=True)
ADA = ImportedUser(5, "ada", "ada", "hash", is_locked=False)


def test_new_users_come_back_in_the_order_of_their_ids_as_often_as_asked() -> None:
    with open_staging() as staging:
        for user in (MIGUEL, SUSAN):
            staging.add(user, is_new=True)
        staging.add(ADA, is_new=False)
        assert [list(staging.new_users()) for _ in range(2)] == [[SUSAN, MIGUEL]] * 2
        assert staging.find_owner("miguel") == (7, "Miguel")
        assert staging.find_owner("ada") == (5, "ada")
        assert staging.find_owner("Miguel") is None
        assert (staging.find_name(2), staging.find_name(3)) == ("NAMELESS 2", None)


def fill(staging: Staging, count: int) -> None:
    for number in range(count):
        user = ImportedUser(number, "x" * 99, str(number), "x" * 99, is_locked=False)
        staging.add(user, is_new=True)


def test_no_space_is_one_line() -> None:
    def run_full() -> None:
        with open_staging() as staging:
            staging._connection.execute("PRAGMA max_page_count = 1")
            fill(staging, 1000)

    with pytest.raises(UnusableFile, match="full"):
        run_full()
    with pytest.raises(UnusableFile, match="no memory"), open_staging():
        raise MemoryError


def test_it_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        staging = Staging(connection)
        fill(staging, 50_000)  # more than the cache holds
        assert list(tmp_path.iterdir()) == []
        assert sum(1 for _ in staging.new_users()) == 50_000
