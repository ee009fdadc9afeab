"""Moving in from REST-auth: who comes over, what is reported, and the first login afterwards."""

import itertools
import json
import re
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import bcrypt
import pytest

from restauth import AuthMiddleware, create_app
from restauth.cli import main
from restauth.core import passwords
from restauth.core.hasher import Hasher
from restauth.domain import importer
from restauth.errors import BadCredentials
from restauth.records import Account
from restauth.services import Services
from restauth.storage import sqlite
from restauth.storage.rest_auth_file import open_rest_auth_file
from restauth.storage.schema import MIGRATIONS
from tests import hash_samples
from tests.conftest import CHEAPEST, CLIENT, ServicesFactory, basic, client_of
from tests.hash_samples import write_rest_auth_file
from tests.processes import Outcome

PYTHON = hash_samples.CHEAP["werkzeug 1.0.1, one iteration"].password_hash
SHA_CRYPT = hash_samples.CHEAP["passlib 1.7.4, sha512_crypt, 1000 rounds"].password_hash
KINDS = {row.kind: row for row in hash_samples.CHEAP.values() if row.password}
MIGUEL = (5, "miguel", PYTHON)


Import = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands where `services` has its files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def import_(capsys: pytest.CaptureFixture[str]) -> Import:
    """`restauth import` of a file with these rows, in this process."""

    def run(rows: Iterable[Sequence[object]], *options: str) -> Outcome:
        Path("db.sqlite").unlink(missing_ok=True)
        write_rest_auth_file(Path("db.sqlite"), rows)
        return Outcome(main.main(["import", "db.sqlite", *options]), *capsys.readouterr())

    return run


@pytest.fixture
def with_sha_crypt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTAUTH_IMPORT_SHA_CRYPT", "true")


def everybody(services: Services) -> list[Account]:
    return list(services.store.list_users())


def log_in(services: Services, name: str, password: str = "python") -> Account:
    return services.authentication.authenticate(name, password, CLIENT)


def stored(services: Services, user_id: int) -> Account:
    account = services.store.find_user(user_id)
    assert account is not None
    return account


# Who comes over


def test_users_come_over_with_their_ids_names_and_passwords(
    import_: Import, make_services: ServicesFactory
) -> None:
    assert import_([(9, "Susan", PYTHON), MIGUEL]) == (
        0,
        "2 users in db.sqlite, of which 2 are new here\n       2  hash: pbkdf2:sha256\n",
        "",
    )
    services = make_services()
    assert [(account.id, account.username) for account in everybody(services)] == [
        (5, "miguel"),
        (9, "Susan"),
    ]
    assert log_in(services, "miguel").id == 5
    assert log_in(services, "susan").id == 9


def test_users_join_those_who_are_here(import_: Import, services: Services) -> None:
    here = services.accounts.register("ada", "python")
    assert import_([MIGUEL]).status == 0
    assert [account.id for account in everybody(services)] == [here, 5]
    assert log_in(services, "ada").id == here


def test_the_next_id_lies_above_every_one_that_moved_in(
    import_: Import, services: Services
) -> None:
    import_([MIGUEL, (700, None, None)])
    assert services.accounts.register("ada", "python") == 701


def test_the_id_of_a_locked_row_is_not_given_again_when_it_is_deleted(
    import_: Import, services: Services
) -> None:
    import_([(700, None, None)])
    assert services.store.delete_user(700)
    assert services.accounts.register("ada", "python") == 701


@pytest.mark.usefixtures("with_sha_crypt")
def test_all_passwords_of_all_programs_are_good_afterwards(
    import_: Import, make_services: ServicesFactory
) -> None:
    rows = {
        f"user {number}": row
        for number, row in enumerate(hash_samples.CHEAP.values(), start=1)
        if row.password  # an empty one is refused here, for everybody
    }
    done = import_((int(name[5:]), name, row.password_hash) for name, row in rows.items())
    assert done.status == 0
    services = make_services(import_sha_crypt=True)
    for name, row in rows.items():
        assert log_in(services, name, row.password).username == name
    assert not any(
        map(services.hasher.is_stale, (row.password_hash for row in everybody(services)))
    )


@pytest.mark.usefixtures("with_sha_crypt")
@pytest.mark.parametrize("row", hash_samples.DEFAULTS.values(), ids=hash_samples.DEFAULTS)
def test_a_user_of_another_program_logs_in_and_has_a_new_hash(
    import_: Import, make_services: ServicesFactory, row: hash_samples.Row
) -> None:
    assert import_([(1, "miguel", row.password_hash)]).status == 0
    services = make_services(import_sha_crypt=True)
    assert log_in(services, "miguel", row.password).id == 1
    assert not services.hasher.is_stale(stored(services, 1).password_hash)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        " ",
        " miguel ",
        "x" * 200,
        "x" * 255,
        "Miguel García",
        "名前",
        "\U0001f40e",
        "\x80",
        "\ufffd",
        "<b>",
        "-rf",
        "123",
        "#5",
        "a.b.c",
    ],
)
def test_a_name_that_could_not_be_registered_works_on(
    import_: Import, make_services: ServicesFactory, name: str
) -> None:
    assert import_([(5, name, PYTHON)]).status == 0
    client = client_of(make_services())
    answer = client.get("/api/token", headers=basic(name, "python"))
    answer = client.get("/api/resource", headers=basic(answer.json["token"], "x"))
    assert answer.json == {"data": f"Hello, {name}!"}


# What does not fit

TOKEN = f"{'e' * 40}.{'e' * 40}.{'e' * 40}"
NAME_TROUBLES = [
    pytest.param(None, "no name", id="NULL"),
    pytest.param(b"susan", "name is not text", id="a blob"),
    pytest.param("", "empty name", id="empty"),
    pytest.param("x" * 256, "name of more than 255 characters", id="256 characters"),
    pytest.param("a:b", "name with a colon or a control character", id="a colon"),
    pytest.param("a\nb", "name with a colon or a control character", id="a newline"),
    pytest.param("\x7f", "name with a colon or a control character", id="DEL"),
    pytest.param("a\0", "name with a colon or a control character", id="NUL"),
    pytest.param(TOKEN, "name that looks like a token", id="a token"),
    pytest.param("miguel", "name of a lower id", id="a duplicate"),
    pytest.param("Miguel", "name of a lower id but for case", id="another case"),
    pytest.param("\uff4diguel", "name of a lower id but for case", id="another width"),
]
HASH_TROUBLES = [
    pytest.param(None, "no password", id="NULL"),
    pytest.param("", "hash unknown, damaged or beyond bounds", id="empty"),
    pytest.param("python", "hash unknown, damaged or beyond bounds", id="a password"),
    pytest.param(PYTHON[:-1], "hash unknown, damaged or beyond bounds", id="cut off"),
    pytest.param(PYTHON.encode(), "hash unknown, damaged or beyond bounds", id="a blob"),
    pytest.param(12, "hash unknown, damaged or beyond bounds", id="a number"),
    pytest.param(
        PYTHON.replace(":1$", ":1000001$"), "hash unknown, damaged or beyond bounds", id="costly"
    ),
]
ID_TROUBLES = [0, -1, 2**53, 2**63 - 1]


@pytest.mark.parametrize(("name", "trouble"), NAME_TROUBLES)
def test_a_row_without_a_name_to_log_in_by_keeps_its_id_locked(
    import_: Import, services: Services, name: str | bytes | None, trouble: str
) -> None:
    done = import_([MIGUEL, (7, name, PYTHON)], "--json")
    shown = name.decode() if isinstance(name, bytes) else str(name)[:255]
    assert done.status == 3
    assert done.json["troubles"] == {trouble: 1}
    assert done.json["examples"] == {trouble: [["7", shown]]}
    assert (done.json["users"], done.json["new"]) == (2, 2)
    kept = stored(services, 7)
    assert kept.username == "#7"
    assert kept.locked_at is not None
    assert kept.password_hash == importer.NO_HASH
    assert services.store.find_user_by_name("#7") is None
    assert log_in(services, "miguel").id == 5


@pytest.mark.parametrize(("password_hash", "trouble"), HASH_TROUBLES)
def test_a_row_without_a_password_to_log_in_by_keeps_id_and_name_locked(
    import_: Import, services: Services, password_hash: object, trouble: str
) -> None:
    done = import_([MIGUEL, (7, "Susan", password_hash)], "--json")
    assert done.status == 3
    assert done.json["troubles"] == {trouble: 1}
    assert done.json["examples"] == {trouble: [["7", "Susan"]]}
    kept = services.accounts.find_by_name("susan")
    assert (kept.id, kept.username) == (7, "Susan")
    assert kept.locked_at is not None
    assert kept.password_hash == importer.NO_HASH
    for password in ("python", importer.NO_HASH):
        with pytest.raises(BadCredentials):
            log_in(services, "susan", password)


@pytest.mark.parametrize("user_id", ID_TROUBLES)
def test_an_id_that_cannot_be_kept_is_not_imported(
    import_: Import, services: Services, user_id: int
) -> None:
    done = import_([MIGUEL, (user_id, "susan", PYTHON)], "--json")
    assert done.status == 3
    assert done.json["troubles"] == {"id out of range, not imported": 1}
    assert done.json["examples"] == {"id out of range, not imported": [[str(user_id), "susan"]]}
    assert (done.json["users"], done.json["new"]) == (2, 1)
    assert [account.id for account in everybody(services)] == [5]


def test_an_id_of_another_type_is_not_imported(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("five", "a", PYTHON), (1.5, "b", PYTHON), (None, "c", PYTHON), MIGUEL]
    write_rest_auth_file(
        Path("db.sqlite"), rows, table="CREATE TABLE users (id, username, password_hash)"
    )
    assert main.main(["import", "db.sqlite"]) == 3
    assert (
        "3  id out of range, not imported: None 'c', 1.5 'b', five 'a'" in capsys.readouterr().out
    )
    assert [account.id for account in everybody(services)] == [5]


def test_text_that_is_no_utf_8_is_reported(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rest_auth_file(Path("db.sqlite"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO users VALUES (5, CAST(x'6dff' AS TEXT), 'x')")
        connection.execute("INSERT INTO users VALUES (6, 'susan', CAST(x'6dff' AS TEXT))")
    assert main.main(["import", "db.sqlite", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["examples"] == {
        "name is not text": [["5", "m\\xff"]],
        "hash unknown, damaged or beyond bounds": [["6", "susan"]],
    }
    assert all(account.locked_at for account in everybody(services))


def test_of_one_name_the_lowest_id_keeps_it(import_: Import, services: Services) -> None:
    """It is the one that REST-auth served."""
    other = hash_samples.CHEAP["werkzeug 1.0.1, sha512"]
    done = import_([(9, "miguel", other.password_hash), (8, "MIGUEL", PYTHON), MIGUEL])
    assert done.status == 3
    assert log_in(services, "Miguel").id == 5
    with pytest.raises(BadCredentials):
        log_in(services, "miguel", other.password)


def test_no_name_is_the_mark_of_a_row_without_one(import_: Import, services: Services) -> None:
    """Anybody could register any name in REST-auth."""
    marks = ["\uff1a5", "nameless 5", "NAMELESS 5", "#5"]
    rows = [(10 + number, mark, PYTHON) for number, mark in enumerate(marks)]
    assert import_([(5, "", None), *rows]).status == 3
    assert [account.id for account in everybody(services)] == [5, 10, 11, 12, 13]
    assert stored(services, 5).locked_at is not None


def test_a_name_that_a_higher_id_has_here_stops_all(import_: Import, services: Services) -> None:
    services.store.add_user("ada", "ada", PYTHON, 0)
    here = services.accounts.register("miguel", "python")
    outcome = import_([(here - 1, "miguel", PYTHON), (here, "miguel", PYTHON)])
    assert (outcome.status, outcome.out) == (1, "")
    assert [account.username for account in everybody(services)] == ["ada", "miguel"]


def test_a_dry_run_does_not_bring_an_older_database_up_to_date(
    import_: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_([MIGUEL])
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (x)",)))
    before = Path("restauth.db").read_bytes()
    outcome = import_([MIGUEL], "--dry-run")
    assert outcome.status == 1
    assert outcome.err.endswith("start first.\n")
    assert Path("restauth.db").read_bytes() == before


def test_the_dearest_hash_of_each_kind_sets_the_work_until_all_are_renewed(
    import_: Import, services: Services
) -> None:
    cheap, dear = PYTHON, PYTHON.replace(":1$", ":7$")
    assert cheap != dear
    import_([(1, "ada", cheap), (2, "miguel", dear), (3, "susan", cheap)])
    assert services.store.sample_old_hashes() == [dear]
    import_([(1, "ada", cheap), (2, "miguel", dear), (3, "susan", cheap)])
    assert services.store.sample_old_hashes() == [dear]
    for account in everybody(services):
        assert services.store.sample_old_hashes()
        services.store.set_password_hash(account.id, passwords.hash("x", CHEAPEST))
    assert services.store.sample_old_hashes() == []


def test_every_app_takes_the_measure_of_old_hashes(
    import_: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_([MIGUEL])
    measured: list[list[str]] = []
    monkeypatch.setattr(Hasher, "calibrate", lambda _, hashes: measured.append(list(hashes)))
    for app in (create_app(), AuthMiddleware(lambda environ, start_response: [])):
        app.services.close()
    assert measured == [[PYTHON]] * 2


def test_a_duplicate_of_a_row_that_is_locked_gets_nothing(
    import_: Import, services: Services
) -> None:
    """Whoever came second must not become who came first."""
    import_([(5, "miguel", None), (7, "miguel", PYTHON)])
    with pytest.raises(BadCredentials):
        log_in(services, "miguel")


def test_sha_crypt_waits_for_its_setting(import_: Import, make_services: ServicesFactory) -> None:
    done = import_([(5, "miguel", SHA_CRYPT)], "--json")
    assert done.status == 3
    assert done.json["hashes"] == {"sha512-crypt": 1}
    assert done.json["troubles"] == {"hash that needs import_sha_crypt=true": 1}
    with pytest.raises(BadCredentials):
        log_in(make_services(), "miguel")
    assert log_in(make_services(import_sha_crypt=True), "miguel").locked_at is None


def test_columns_of_others_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    table = "CREATE TABLE users (id INTEGER PRIMARY KEY, username, password_hash, email, 'a\x1b')"
    write_rest_auth_file(Path("db.sqlite"), [MIGUEL], table=table)
    assert main.main(["import", "db.sqlite"]) == 0
    assert capsys.readouterr().out.endswith("not imported: the columns email, a\\x1b\n")
    assert main.main(["import", "db.sqlite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["other_columns"] == ["email", "a\x1b"]


# The report

MIXED = [
    MIGUEL,
    (6, "miguel", PYTHON),
    (7, "a\x1b[2J", PYTHON),
    (8, "susan", None),
    (9, "ada", hash_samples.CHEAP["passlib 1.7.4, bcrypt $2a$"].password_hash),
    (10, "b\x1b", PYTHON),
]


def test_the_report_has_a_line_for_each_kind_and_shows_the_rows(import_: Import) -> None:
    done = import_(MIXED)
    assert done.status == 3
    assert done.err == ""
    assert "\x1b" not in done.out  # nobody's name rules the operator's terminal
    assert [re.sub(r"\\+", r"\\", line) for line in done.out.splitlines()] == [
        "6 users in db.sqlite, of which 6 are new here",
        "       1  hash: bcrypt",
        "       1  hash: none",
        "       2  hash: pbkdf2:sha256",
        "       1  name of a lower id: 6 'miguel'",
        r"       2  name with a colon or a control character: 7 'a\x1b[2J', 10 'b\x1b'",
        "       1  no password: 8 'susan'",
    ]


def test_json_says_the_same(import_: Import) -> None:
    assert import_(MIXED, "--json").json == {
        "dry_run": False,
        "users": 6,
        "new": 6,
        "hashes": {"bcrypt": 1, "none": 1, "pbkdf2:sha256": 2},
        "troubles": {
            "name of a lower id": 1,
            "name with a colon or a control character": 2,
            "no password": 1,
        },
        "examples": {
            "name of a lower id": [["6", "miguel"]],
            "name with a colon or a control character": [["7", "a\x1b[2J"], ["10", "b\x1b"]],
            "no password": [["8", "susan"]],
        },
        "other_columns": [],
    }


def test_all_rows_are_counted_and_the_first_of_them_shown(import_: Import) -> None:
    rows = [(number, f"user {number}", None) for number in range(1, 31)]
    report = import_(rows, "--json").json
    assert report["troubles"] == {"no password": 30}
    assert report["examples"] == {
        "no password": [[str(number), f"user {number}"] for number in range(1, 21)]
    }
    assert import_(rows).out.endswith("20 'user 20', ...\n")
    assert not import_(rows[:20]).out.endswith("...\n")


def test_a_table_without_rows_is_no_trouble(import_: Import) -> None:
    assert import_([]) == (0, "0 users in db.sqlite, of which 0 are new here\n", "")


def test_nothing_is_said_of_progress_within_a_second(
    import_: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    assert import_(MIXED).err == ""


def test_progress_is_said_once_a_second(import_: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    import_([])  # so that the next one has no file to make
    ticks = itertools.count(1000.0, 0.375)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    done = import_([(number, f"user {number}", PYTHON) for number in range(1, 101)], "--json")
    counts = [int(count) for count in re.findall(r"^restauth: (\d+) rows$", done.err, re.MULTILINE)]
    assert len(counts) == len(done.err.splitlines())
    assert counts == sorted(set(counts))
    assert 20 < len(counts) < 40
    assert done.json["users"] == 100  # standard output stays what it is


# All or none


def test_a_second_run_changes_nothing_and_says_the_same(
    import_: Import, services: Services
) -> None:
    first = import_(MIXED, "--json").json
    before = everybody(services)
    second = import_(MIXED, "--json")
    assert second.status == 3
    assert second.json == {**first, "new": 0}
    assert everybody(services) == before


def test_a_second_run_leaves_a_new_password_alone(import_: Import, services: Services) -> None:
    import_([MIGUEL])
    services.accounts.set_password(stored(services, 5), "another")
    services.accounts.lock(stored(services, 5))
    before = everybody(services)
    assert import_([MIGUEL]).status == 0
    assert everybody(services) == before


def test_a_second_run_brings_who_has_come_since(import_: Import, services: Services) -> None:
    import_([MIGUEL])
    done = import_([MIGUEL, (6, "susan", PYTHON)], "--json")
    assert (done.status, done.json["users"], done.json["new"]) == (0, 2, 1)
    assert log_in(services, "susan").id == 6


def test_a_dry_run_says_what_would_happen_and_makes_nothing(
    import_: Import, directory: Path
) -> None:
    dry = import_(MIXED, "--dry-run")
    assert [path.name for path in directory.iterdir()] == ["db.sqlite"]
    real = import_(MIXED)
    assert dry.status == real.status == 3
    assert dry.out == real.out.replace("are new", "would be new")


def test_a_dry_run_changes_nothing_in_what_is_here(import_: Import, services: Services) -> None:
    services.accounts.register("ada", "python")
    before = everybody(services)
    dry = import_([MIGUEL], "--dry-run", "--json")
    assert (dry.status, dry.json["dry_run"], dry.json["new"]) == (0, True, 1)
    assert everybody(services) == before
    assert services.accounts.register("bob", "python") == 2


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        pytest.param(
            [(1, "susan", PYTHON), (2, "zoe", PYTHON)],
            "The id 2 belongs to somebody else here.",
            id="an id",
        ),
        pytest.param(
            [(1, "susan", PYTHON), (7, "ADA", PYTHON)],
            "The name of the user 7 belongs to somebody else here.",
            id="a name",
        ),
        pytest.param(
            [(1, "ada", PYTHON), (2, "zoe", PYTHON)],
            "The name of the user 1 belongs to somebody else here.",
            id="both",
        ),
        pytest.param(
            [(1, "susan", PYTHON), (2, "", PYTHON)],
            "The id 2 belongs to somebody else here.",
            id="the id of a row without a name",
        ),
    ],
)
@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--json",)], ids=str)
def test_what_belongs_to_somebody_else_stops_all(
    import_: Import,
    services: Services,
    rows: list[tuple[object, ...]],
    line: str,
    options: tuple[str, ...],
) -> None:
    services.accounts.register("susan", "python")
    services.accounts.register("ada", "python")
    before = everybody(services)
    assert import_(rows, *options) == (1, "", f"restauth: {line}\n")
    assert everybody(services) == before
    assert services.accounts.register("bob", "python") == 3


def test_a_crash_half_way_leaves_nothing(services: Services) -> None:
    path = write_rest_auth_file(Path("db.sqlite"), [MIGUEL, (6, "susan", PYTHON)])

    def crash(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with open_rest_auth_file(path) as source, pytest.raises(KeyboardInterrupt):
        importer.import_users(
            source, services.store, services.hasher, 1, dry_run=False, progress=crash
        )
    assert everybody(services) == []
    assert services.accounts.register("ada", "python") == 1


@pytest.mark.parametrize("make", [lambda path: None, Path.touch, Path.mkdir])
def test_a_file_that_is_not_rest_auths_is_refused_and_nothing_made(
    make: Callable[[Path], None], directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(directory / "other")
    before = list(directory.iterdir())
    assert main.main(["import", "other"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"restauth: .*\bother\b.*\.\n", err)
    assert list(directory.iterdir()) == before


def test_no_row_is_kept_in_memory(services: Services) -> None:
    count = 5000
    rows = ((n, f"user {n}" if n % 2 else "", PYTHON) for n in range(1, count + 1))
    path = write_rest_auth_file(Path("db.sqlite"), rows)
    tracemalloc.start()
    try:
        with open_rest_auth_file(path) as source:
            importer.import_users(
                source,
                services.store,
                services.hasher,
                1,
                dry_run=True,
                progress=lambda done: None,
            )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * count  # bytes; a row that is read has more than 250


# The first login afterwards


@pytest.mark.usefixtures("with_sha_crypt")
@pytest.mark.parametrize("kind", KINDS)
def test_a_correct_login_renews_the_hash_and_a_wrong_one_does_not(
    import_: Import, make_services: ServicesFactory, kind: str
) -> None:
    row = KINDS[kind]
    import_([(5, "miguel", row.password_hash)])
    services = make_services(import_sha_crypt=True)
    with pytest.raises(BadCredentials):
        log_in(services, "miguel", "!" + row.password)
    assert stored(services, 5).password_hash == row.password_hash
    log_in(services, "miguel", row.password)
    renewed = stored(services, 5)
    assert not services.hasher.is_stale(renewed.password_hash)
    assert renewed.password_version == 1  # it is the same password
    assert log_in(make_services(), "miguel", row.password) == renewed
    assert stored(services, 5) == renewed


def test_a_wrong_password_tells_by_its_work_neither_a_name_nor_an_old_row(
    import_: Import, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_([(5, "miguel", hash_samples.CHEAP["passlib 1.7.4, bcrypt $2b$"].password_hash)])
    services.accounts.register("ada", "python")
    rounds: list[int] = []
    for name in ("hashpw", "checkpw"):
        monkeypatch.setattr(bcrypt, name, counted(getattr(bcrypt, name), rounds))
    for name in ("miguel", "ada", "nobody"):
        with pytest.raises(BadCredentials):
            log_in(services, name, "wrong")
    assert rounds == [1 << CHEAPEST] * 3


def counted(
    function: Callable[[bytes, bytes], object], rounds: list[int]
) -> Callable[[bytes, bytes], object]:
    """bcrypt's function, with the rounds that it does."""

    def counting(password: bytes, salt: bytes) -> object:
        rounds.append(1 << int(salt[4:6]))
        return function(password, salt)

    return counting


def test_all_of_a_password_counts_once_bcrypts_hash_is_renewed(
    import_: Import, services: Services
) -> None:
    row = hash_samples.CHEAP["passlib 1.7.4, bcrypt, 80 bytes"]
    import_([(5, "miguel", row.password_hash)])
    log_in(services, "miguel", row.password)
    with pytest.raises(BadCredentials):
        log_in(services, "miguel", row.password[:72])


def at_the_first_hash(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something else while a login is at work on its password."""
    hashpw, pending = bcrypt.hashpw, [action]

    def interrupted(password: bytes, salt: bytes) -> bytes:
        while pending:
            pending.pop()()
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", interrupted)


def test_two_parallel_logins_leave_one_good_hash(
    import_: Import, make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_([MIGUEL])
    one, other = make_services(), make_services()
    seen: list[Account] = []
    at_the_first_hash(monkeypatch, lambda: seen.append(log_in(other, "miguel")))
    second = log_in(one, "miguel")
    assert seen == [second] == everybody(one)
    assert not one.hasher.is_stale(second.password_hash)
    assert log_in(make_services(), "miguel") == second


def test_a_password_that_is_changed_meanwhile_is_not_put_back(
    import_: Import, make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_([MIGUEL])
    one, other = make_services(), make_services()
    account = stored(other, 5)
    at_the_first_hash(monkeypatch, lambda: other.accounts.set_password(account, "another"))
    with pytest.raises(BadCredentials):
        log_in(one, "miguel")
    assert log_in(make_services(), "miguel", "another").id == 5


@pytest.mark.parametrize("password_hash", [None, "python", SHA_CRYPT, PYTHON[:-1]])
def test_a_locked_row_is_a_401_and_never_a_500(
    import_: Import, services: Services, password_hash: str | None
) -> None:
    import_([(5, "miguel", password_hash)])
    answer = client_of(services).get("/api/token", headers=basic("miguel", "python"), status="*")
    assert answer.status_int == 401


# A client of REST-auth's


def test_a_client_written_for_rest_auth_works_unchanged(
    import_: Import, make_services: ServicesFactory
) -> None:
    import_([MIGUEL, (6, "susan", PYTHON)])
    client = client_of(make_services())

    answer = client.get("/api/users/5")
    assert answer.json == {"username": "miguel"}
    client.post_json("/api/users", {"username": "miguel", "password": "python"}, status=400)
    answer = client.post_json("/api/users", {"username": "ada", "password": "python"}, status=201)
    assert answer.headers["Location"].endswith("/api/users/7")

    answer = client.get("/api/resource", headers=basic("miguel", "python"))
    assert answer.json == {"data": "Hello, miguel!"}
    answer = client.get("/api/resource", headers=basic("miguel", "ruby"), status=401)
    assert "Unauthorized Access" in answer.text

    answer = client.get("/api/token", headers=basic("miguel", "python"))
    assert answer.json["duration"] == 600
    token = answer.json["token"]
    answer = client.get("/api/resource", headers=basic(token, "x"))
    assert answer.json == {"data": "Hello, miguel!"}
    renewed = client.get("/api/token", headers=basic(token, "x")).json["token"]
    assert client.get("/api/resource", headers=basic(renewed, "")).json == answer.json
