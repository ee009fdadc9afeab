"""`restauth check`: each finding at its level, on real files that it leaves as they are.

What makes a database or a key ring unusable is decided in `storage.sqlite_file` and `core.jwk`.
"""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from restauth import settings
from restauth.cli.check import check
from restauth.services import Services, build_keys
from restauth.storage import private_files
from restauth.testing import Clock
from tests.cli.conftest import Restauth
from tests.key_pairs import PAIRED, need_extra

DAY = 86_400  # seconds
pytestmark = pytest.mark.sqlite(
    "what is found on PostgreSQL is for tests/storage/test_postgres_database.py"
)

DATABASE, RING = "The database ./restauth.db", "The key ring ./restauth.keys"


def findings(now: int = 0, /, **keywords: object) -> dict[str, str]:
    """The level of each finding by its text, with `./` in place of the current directory: each text
    has the whole path of a file."""
    given = settings.load({}, keywords)
    here = f"{Path.cwd()}/"
    return {
        each.text.replace(here, "./"): each.level for each in check(given, build_keys(given), now)
    }


def errors_found(**keywords: object) -> list[str]:
    return [text for text, level in findings(**keywords).items() if level == "error"]


def level_of(found: dict[str, str], *words: str) -> str:
    """The level of the one finding that has all these words."""
    (level,) = [level for text, level in found.items() if all(word in text for word in words)]
    return level


# Database and key ring


def test_what_is_not_there_yet_is_a_warning_and_is_not_made(directory: Path) -> None:
    found = findings()
    assert level_of(found, "restauth.db", "first start") == "warning"
    assert level_of(found, "restauth.keys", "first start") == "warning"
    assert list(directory.iterdir()) == []


def test_what_no_start_can_make_is_an_error() -> None:
    found = errors_found(database="missing/x.db", key_file="missing/x.keys")
    assert [" ./missing/x.db" in found[0], " ./missing/x.keys" in found[1]] == [True, True]


def test_valid_files_are_ok_and_nothing_is_made_beside_them(
    services: Services, directory: Path
) -> None:
    services.keys.rotate(revoke=False)
    services.close()
    before = set(directory.iterdir())
    found = findings()
    assert level_of(found, DATABASE, "undamaged") == level_of(found, RING, "Valid keys: 2.") == "ok"
    assert errors_found() == []
    assert set(directory.iterdir()) == before


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_key_ring_without_its_users_is_an_error(
    services: Services, lose: Callable[[Path], object]
) -> None:
    services.close()
    lose(Path("restauth.db"))
    (text,) = errors_found()
    assert text.startswith(
        "The database ./restauth.db is missing or empty, but its key ring ./restauth.keys is there"
    )
    assert not any("the first start makes it" in text for text in findings())


def test_users_without_their_key_ring_are_an_error(services: Services, directory: Path) -> None:
    Path("restauth.keys").unlink()
    assert errors_found() == []  # without users, nothing is lost
    services.accounts.register("ada", "python")
    (text,) = errors_found()
    assert text.startswith(
        "There is no key ring ./restauth.keys, although the database ./restauth.db is"
    )
    assert not any("the first start makes it" in text for text in findings())
    services.close()
    Path("restauth.db").write_bytes(b"damaged" * 9)
    assert all("key ring" not in text for text in errors_found())


def test_files_that_are_mounted_alone_are_found(
    services: Services, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = directory / "mountinfo"
    mounts.write_text("".join(f"1 1 8:1 / {directory}/restauth.{x} rw\n" for x in ("db", "keys")))
    monkeypatch.setattr(private_files, "MOUNTS", mounts)
    found = findings()
    assert (
        found[
            "The database ./restauth.db is mounted as a single file: the newest writes are in a "
            "file beside it, which is not. Mount the directory."
        ]
        == "error"
    )
    assert (
        found[
            "The key ring ./restauth.keys is mounted as a single file, which cannot be replaced: "
            "restauth key rotate fails. Mount the directory."
        ]
        == "warning"
    )


def test_an_older_database_is_a_warning_and_left_alone(directory: Path) -> None:
    """An empty file too: the next start fills it."""
    path = directory / "restauth.db"
    path.touch(0o600)
    found = findings()
    assert level_of(found, "next start", "restauth.db") == "warning"
    assert level_of(found, DATABASE, "undamaged") == "ok"
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("PRAGMA user_version = 99", "newer"),
        ("PRAGMA application_id = 1", "another program"),
        ("DROP INDEX sessions_by_user", "changed"),
    ],
)
def test_a_database_that_stops_the_start_is_an_error(
    statement: str, word: str, services: Services
) -> None:
    services.close()
    with closing(sqlite3.connect("restauth.db")) as connection:
        connection.execute(statement)
    (text,) = errors_found()
    assert "database ./restauth.db" in text
    assert word in text


def test_files_that_other_users_can_open_are_errors(services: Services) -> None:
    services._resources.store.add_user("susan", "susan", "-", 0)
    for name in ("restauth.db", "restauth.db-wal", "restauth.keys"):
        for mode in (0o640, 0o604, 0o620, 0o602):
            Path(name).chmod(mode)
            (text,) = errors_found()
            assert f"{name} " in text.replace(":", " ")
            assert "chmod 600" in text
        Path(name).chmod(0o600)


def test_a_key_ring_that_cannot_be_used_is_an_error_and_the_rest_is_still_checked(
    services: Services,
) -> None:
    path = Path("restauth.keys")
    ring = json.loads(path.read_bytes())
    ring["keys"][0]["k"] = "c2VjcmV0"
    path.write_text(json.dumps(ring))
    (text,) = errors_found()
    assert "weak" in text
    path.unlink()
    path.symlink_to("nowhere")
    (text,) = errors_found()
    assert "restauth.keys" in text
    assert level_of(findings(), "registration") == "warning"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what root guards")
def test_a_key_ring_of_root_is_managed_from_outside_for_another_user(
    services: Services, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "restauth.keys").chmod(0o444)
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    found = findings()
    assert level_of(found, "is managed from outside. Valid keys: 1.") == "ok"
    assert level_of(found, "All users of this machine can read") == "warning"
    assert not any("single file" in text for text in found)


def test_a_key_ring_of_pairs_is_ok(services: Services, clock: Clock) -> None:
    need_extra()
    for algorithm in PAIRED:
        services.keys.rotate(revoke=True, algorithm=algorithm)
        assert level_of(findings(clock.now), RING, "Valid keys: 1.") == "ok"


def test_a_signing_key_of_more_than_ninety_days_is_a_warning(
    services: Services, clock: Clock
) -> None:
    assert level_of(findings(clock.now + 90 * DAY), RING) == "ok"
    found = findings(clock.now + 90 * DAY + 1)
    assert level_of(found, "90 days", "restauth key rotate") == "warning"
    assert not any(text.startswith(RING) for text in found)


# Directories


@pytest.mark.parametrize(
    ("mode", "is_error"),
    [(0o777, True), (0o720, True), (0o702, True), (0o755, False), (0o1777, False)],
    ids=oct,
)
def test_a_directory_where_other_users_can_replace_files_is_an_error(
    mode: int, is_error: bool, services: Services, directory: Path
) -> None:
    """Of the database and of the key ring; before the first start, too."""
    other = directory / "other"
    other.mkdir()
    other.chmod(mode)
    for names in ({"database": "other/a.db"}, {"key_file": "other/a.keys"}):
        assert ["./other" in text for text in errors_found(**names)] == [True] * is_error
    for name, file in (("key_file", "restauth.keys"), ("database", "restauth.db")):
        Path(file).rename(other / file)
        found = errors_found(**{name: f"other/{file}"})
        assert ["./other: chmod go-w" in text for text in found] == [True] * is_error


# Settings


@pytest.mark.parametrize(
    ("name", "risk", "better"),
    [
        ("require_https", False, True),
        ("base_url", "", "https://a.example"),
        ("registration", "open", "closed"),
        ("page", "on", "off"),
        ("password_policy", "open", "nist"),
        ("bcrypt_rounds", 11, 12),
    ],
)
def test_a_setting_that_is_not_for_production_is_a_warning(
    name: str, risk: object, better: object
) -> None:
    assert level_of(findings(**{name: risk}), f"{name} is ") == "warning"
    assert not any(text.startswith(f"{name} is") for text in findings(**{name: better}))


def test_a_role_of_operators_that_no_user_has_is_a_warning(
    services: Services, directory: Path
) -> None:
    text = "admin_role is admin, and no user has this role."
    services.accounts.register("ann", "python", roles=["editor", "administrator"])
    assert level_of(findings(admin_role="admin"), text) == "warning"
    services.accounts.register("root", "python", roles=["admin", "editor"])
    assert text not in findings(admin_role="admin")
    Path("other.db").write_bytes(b"of another program" * 99)
    for unread in ("missing.db", "other.db"):  # another finding says so
        assert text not in findings(admin_role="admin", database=unread)


def test_the_status_is_1_if_there_is_an_error(
    restauth: Restauth, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = restauth("check")
    assert (done.status, done.err) == (0, "")
    assert {line[:9] for line in done.out.splitlines()} == {"ok       ", "warning  "}
    for name, value in (
        *(("REQUIRE_HTTPS", "true"), ("BASE_URL", "https://a.example")),
        *(("REGISTRATION", "closed"), ("PASSWORD_POLICY", "nist"), ("BCRYPT_ROUNDS", "12")),
    ):
        monkeypatch.setenv(f"RESTAUTH_{name}", value)
    assert {line[:9] for line in restauth("check").out.splitlines()[:1]} == {"ok       "}
    Path("restauth.keys").chmod(0o640)
    done = restauth("check")
    assert (done.status, done.err) == (1, "")
    assert [line[:9] for line in done.out.splitlines()] == ["ok       ", "error    "]


def test_a_password_check_that_cannot_be_imported_is_an_error() -> None:
    (text,) = errors_found(password_check="no.such:check")
    assert "RESTAUTH_PASSWORD_CHECK" in text
    assert errors_found(password_check="builtins:print") == []


def test_two_settings_that_contradict_each_other_are_named() -> None:
    """Location would lead to where every credential is refused."""
    for base_url, is_told in (
        ("http://a.example", True),
        ("https://a.example", False),
        ("", False),
    ):
        for require_https in (True, False):
            found = findings(base_url=base_url, require_https=require_https)
            contradictions = [text for text in found if "base_url is http" in text]
            assert bool(contradictions) is (is_told and require_https)
            assert all(found[text] == "warning" for text in contradictions)


# The audit log


def test_a_log_that_cannot_be_written_is_an_error(services: Services, directory: Path) -> None:
    Path("full.log").symlink_to("/proc/self/comm")  # on a file system without a free byte
    for name, text in (
        ("audit.log", "The audit log ./audit.log can be written."),
        (
            "missing/a.log",
            "The audit log ./missing/a.log cannot be written: No such file",
        ),
        ("restauth.db/a.log", "/restauth.db/a.log cannot be written: Not a directory."),
    ):
        level = "ok" if text.endswith("can be written.") else "error"
        found = [each for each in findings(audit_log=name).items() if "audit log" in each[0]]
        assert [(each, text in line) for line, each in found] == [(level, True)]
    assert "The disk of the audit log ./full.log is full." in errors_found(audit_log="full.log")


@pytest.mark.parametrize(("mode", "level"), [(0o600, None), (0o640, None), (0o644, "warning")])
def test_a_log_that_everyone_can_read_is_noted(
    mode: int, level: str | None, services: Services, directory: Path
) -> None:
    """The group may: that of the programs that rotate logs."""
    Path("audit.log").touch()
    Path("audit.log").chmod(mode)
    found = findings(audit_log="audit.log")
    assert found["The audit log ./audit.log can be written."] == "ok"
    assert found.get("Everyone can read or write ./audit.log: chmod o-rwx.") == level


def test_a_log_that_is_a_pipe_has_no_disk(services: Services, directory: Path) -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert findings(audit_log="pipe")["The audit log ./pipe can be written."] == "ok"
    finally:
        os.close(reader)
