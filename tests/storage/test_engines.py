"""The engine behind the setting `database`: an SQLite file of that name."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from restauth.errors import UnusableStore
from restauth.records import Finding
from restauth.storage import engines
from tests.processes import environ
from tests.storage.system import names


def test_a_name_is_that_of_an_sqlite_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert not engines.exists(path.name)
    assert list(engines.check(path.name)) == [
        Finding("warning", f"There is no database {path} yet: the first start makes it.")
    ]
    with pytest.raises(UnusableStore):
        engines.open_engine(path.name, create=False)
    assert not path.exists()
    with closing(engines.open_engine(path.name, create=True)) as engine:
        assert names(engine.read) == []
    assert path.read_bytes().startswith(b"SQLite format 3\0")
    assert engines.exists(path.name)
    assert engines.is_up_to_date(path.name)
    assert [finding.level for finding in engines.check(path.name)] == ["ok"]
    with closing(engines.open_engine(path.name, create=False)):
        path.unlink()
        path.touch()
    assert not engines.is_up_to_date(path.name)


def test_what_is_only_for_a_file_says_nothing_of_a_url(path: Path) -> None:
    """No server is asked."""
    url = "postgresql://ada:hunter2@127.0.0.1:1/users"
    assert list(engines.check_modes(url)) == []
    assert engines.find_place_fault(url) is None
    assert not engines.is_lost(url, path.parent)
    with pytest.raises(UnusableStore, match="users is restored by pg_restore"):
        engines.restore(url, path, path.unlink)


def test_what_a_start_has_made_is_called_what_it_is(path: Path) -> None:
    assert engines.describe_new(str(path)) == (
        f"There was no database {path}: a new one is made, without users."
    )
    assert engines.describe_new("postgresql://ada:hunter2@127.0.0.1:1/users") == (
        "There were no tables in postgresql://127.0.0.1:1/users: they are made, without users."
    )


WITHOUT_THE_LIBRARY = """
import sys
sys.modules["psycopg"] = None
from restauth.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["check", "user list"])
def test_without_the_library_one_line_says_what_to_install(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_LIBRARY, *command.split()],
        env=environ(database="postgresql:///users"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install '.[postgres]'" in done.stdout + done.stderr
    assert done.stderr.count("\n") <= 1
