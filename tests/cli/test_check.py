"""Each finding at its level, on real files."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from restauth import settings
from restauth.cli import check
from restauth.services import Services, build_keys
from restauth.storage import sqlite
from tests import vectors
from tests.conftest import Clock
from tests.key_pairs import PAIRED, need_extra

DAY = 86_400  # seconds
GOOD_RING = "The key ring restauth.keys is private and its 1 keys good."


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Relative names, as an operator has them; `services` makes its files here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(now: int = 0, /, **keywords: object) -> dict[str, str]:
    """The level of each finding by its text."""
    given = settings.load({}, keywords)
    return {each.text: each.level for each in check.check(given, build_keys(given), now)}


def errors_found(**keywords: object) -> list[str]:
    return [text for text, level in findings(**keywords).items() if level == "error"]


# Database and key ring


def test_nothing_is_there_yet_and_nothing_is_made(directory: Path) -> None:
    found = findings()
    assert found["There is no database restauth.db yet: the first start makes it."] == "warning"
    assert found["There is no key ring restauth.keys yet: the first start makes it."] == "warning"
    assert list(directory.iterdir()) == []


def test_a_file_that_no_start_can_make_is_an_error() -> None:
    found = findings(database="missing/x.db", key_file="missing/x.keys")
    assert found["There is no directory for the database missing/x.db."] == "error"
    assert found["There is no directory for the key ring missing/x.keys."] == "error"
    assert not any("the first start makes it" in text for text in found)


def test_nothing_is_made_beside_a_database(services: Services, directory: Path) -> None:
    services.close()
    before = set(directory.iterdir())
    findings()
    assert set(directory.iterdir()) == before


def test_good_files_are_fine(services: Services) -> None:
    found = findings()
    assert found["The database restauth.db is ours and undamaged."] == "ok"
    assert found[GOOD_RING] == "ok"
    assert errors_found() == []


def test_an_older_database_is_noted_and_left_alone(directory: Path) -> None:
    """An empty file too: the next start fills it."""
    path = directory / "restauth.db"
    path.touch(0o600)
    found = findings()
    assert found["The next start brings the database restauth.db up to date."] == "warning"
    assert found["The database restauth.db is ours and undamaged."] == "ok"
    assert errors_found() == []
    assert path.read_bytes() == b""


def test_a_key_ring_says_how_many_keys_it_holds(services: Services) -> None:
    services.keys.rotate(revoke=False)
    assert "The key ring restauth.keys is private and its 2 keys good." in findings()


def test_a_file_that_is_no_database_is_an_error(directory: Path) -> None:
    path = Path("restauth.db")
    path.write_bytes(b"no database at all" * 100)
    path.chmod(0o600)
    assert errors_found() == ["The database restauth.db cannot be used: file is not a database."]


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("PRAGMA user_version = 99", "was written by a newer restauth."),
        ("PRAGMA application_id = 1", "belongs to another program."),
        ("CREATE TABLE notes (id)", "are not as we made them."),
        ("DROP INDEX sessions_by_user", "are not as we made them."),
        (
            "CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM users; END",
            "are not as we made them.",
        ),
    ],
)
def test_a_database_that_is_not_as_we_made_it_is_an_error(
    statement: str, fault: str, services: Services
) -> None:
    services.close()
    with closing(sqlite3.connect("restauth.db")) as connection:
        connection.execute(statement)
    (text,) = errors_found()
    assert text.endswith(fault)


def test_check_reads_all_of_a_database_that_is_too_large_for_the_start(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_PAGES_CHECKED", 1)
    for number in range(100):
        services.store.add_user(f"user{number}", f"user{number}", "-" * 500, 0)
    services.close()
    with open("restauth.db", "r+b") as file:
        file.seek(-8192, 2)
        file.write(b"\xff" * 4096)
    (text,) = errors_found()
    assert text.startswith("The database restauth.db is damaged: ")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
@pytest.mark.parametrize("name", ["restauth.db", "restauth.db-wal"])
def test_a_database_that_others_can_open_is_an_error(
    name: str, mode: int, services: Services
) -> None:
    services.store.add_user("susan", "susan", "-", 0)
    Path(name).chmod(mode)
    assert errors_found() == [f"Others can read or write {name}: chmod 600."]


def test_a_key_ring_that_cannot_be_used_is_grave_and_the_rest_is_still_looked_at(
    services: Services, directory: Path
) -> None:
    path = Path("restauth.keys")
    ring = json.loads(path.read_bytes())
    ring["keys"][0]["k"] = "c2VjcmV0"
    path.write_text(json.dumps(ring))
    kid = ring["keys"][0]["kid"]
    assert errors_found() == [f'Key "{kid}" is weak: short, famous, or far from random.']
    path.chmod(0o644)
    (text,) = errors_found()
    assert (
        text
        == f"The key ring {directory}/restauth.keys can be read or written by others: chmod 600."
    )
    path.rename("moved.keys")
    path.symlink_to("nowhere")
    (text,) = errors_found()
    assert text == (
        f"The key ring {directory}/restauth.keys cannot be read "
        "(Too many levels of symbolic links)."
    )
    path.unlink()
    path.mkdir()
    assert errors_found() == [f"The key ring {directory}/restauth.keys is not a regular file."]
    assert "registration is open: anybody can make an account." in findings()


def test_a_key_ring_of_pairs_is_fine_and_one_whose_halves_do_not_fit_is_an_error(
    services: Services, clock: Clock
) -> None:
    need_extra()
    for algorithm in PAIRED:
        kid = services.keys.rotate(revoke=True, algorithm=algorithm).signing_key.kid
        assert findings(clock.now)[GOOD_RING] == "ok"
    path = Path("restauth.keys")
    ring = json.loads(path.read_bytes())
    ring["keys"][0]["x"] = vectors.PAIRS["ES256"]["x"]
    path.write_text(json.dumps(ring))
    assert errors_found() == [f'The public half of key "{kid}" is not that of its secret.']


def test_a_signing_key_of_more_than_ninety_days_is_noted(services: Services, clock: Clock) -> None:
    old = "The signing key is 90 days old: restauth key rotate."
    assert findings(clock.now + 90 * DAY)[GOOD_RING] == "ok"
    assert old not in findings(clock.now + 90 * DAY)
    assert findings(clock.now + 90 * DAY + 1)[old] == "warning"
    assert GOOD_RING not in findings(clock.now + 90 * DAY + 1)


# Directories


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_directory_that_others_can_write_is_an_error(
    mode: int, services: Services, directory: Path
) -> None:
    directory.chmod(mode)
    text = f"Others can replace files in {directory}: chmod go-w."
    assert set(errors_found()) == {text}


def test_a_directory_that_others_can_write_is_grave_before_the_first_start(
    directory: Path,
) -> None:
    directory.chmod(0o777)
    assert set(errors_found()) == {f"Others can replace files in {directory}: chmod go-w."}


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_a_directory_where_others_cannot_replace_files_is_fine(
    mode: int, services: Services, directory: Path
) -> None:
    directory.chmod(mode)
    assert errors_found() == []


@pytest.mark.parametrize(
    ("name", "file"), [("database", "restauth.db"), ("key_file", "restauth.keys")]
)
def test_the_directory_of_each_file_counts(
    name: str, file: str, services: Services, directory: Path
) -> None:
    services.close()
    other = directory / "other"
    other.mkdir()
    other.chmod(0o777)
    Path(file).rename(other / file)
    assert errors_found(**{name: f"other/{file}"}) == [
        f"Others can replace files in {other}: chmod go-w."
    ]


# Settings


@pytest.mark.parametrize(
    ("name", "noted", "better", "text"),
    [
        ("require_https", False, True, "require_https is false: passwords may come over plain"),
        ("base_url", "", "https://a.example", "base_url is not set: Location is absolute for"),
        ("registration", "open", "closed", "registration is open: anybody can make an account."),
        ("password_policy", "open", "nist", "password_policy is open: any password is accepted."),
        ("bcrypt_rounds", 11, 12, "bcrypt_rounds is below 12: a stolen database is guessed"),
    ],
)
def test_a_setting_that_is_not_for_production_is_noted(
    name: str, noted: object, better: object, text: str
) -> None:
    def levels(value: object) -> list[str]:
        found = findings(**{name: value})
        return [level for each, level in found.items() if each.startswith(text)]

    assert levels(noted) == ["warning"]
    assert levels(better) == []


def test_a_house_in_order_has_nothing_but_fine_findings(services: Services) -> None:
    found = findings(
        require_https=True,
        base_url="https://a.example",
        registration="closed",
        password_policy="nist",
    )
    assert list(found.values()) == ["ok", "ok"]
