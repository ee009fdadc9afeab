"""The engine behind the setting `database`: an SQLite file of that name."""

from contextlib import closing
from pathlib import Path

import pytest

from restauth.errors import UnusableStore
from restauth.records import Finding
from restauth.storage import engines
from tests.storage.system import names


def test_a_name_is_that_of_an_sqlite_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert not engines.exists(path.name)
    assert list(engines.check(path.name)) == [
        Finding("warning", f"There is no database {path.name} yet: the first start makes it.")
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
