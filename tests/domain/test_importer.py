"""Moving in from REST-auth: who comes over, what is reported, and the first login afterwards."""

import itertools
import json
import re
import sqlite3
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from hashlib import pbkdf2_hmac
from pathlib import Path
from types import SimpleNamespace

import pytest

from restauth import AuthMiddleware, create_app
from restauth.cli import main, output
from restauth.core.hasher import Hasher
from restauth.domain.importer import NO_HASH, RENAMED, NoAccounts, Report
from restauth.domain.importer import Import as Importing
from restauth.errors import BadCredentials, ImportConflict
from restauth.records import Account
from restauth.services import Services
from restauth.storage import sqlite_file
from restauth.storage.rest_auth_file import open_rest_auth_file
from restauth.storage.schema import MIGRATIONS
from restauth.storage.staging import open_staging
from tests import hash_samples
from tests.conftest import CLIENT, ServicesFactory, basic, client_of
from tests.hash_samples import write_rest_auth_file
from tests.processes import Outcome

PYTHON = hash_samples.CHEAP["werkzeug 1.0.1, one iteration"].password_hash
SHA_CRYPT = hash_samples.CHEAP["passlib 1.7.4, sha512_crypt, 1000 rounds"].password_hash
BCRYPT = hash_samples.CHEAP["passlib 1.7.4, bcrypt $2a$"].password_hash
MIGUEL = (5, "miguel", PYTHON)
SUSAN = (9, "Susan", PYTHON)
UNKNOWN_HASH = "hash unknown, damaged or beyond the bounds"
BAD_CHARACTER = "name with a colon or a control character"

Rows = Iterable[Sequence[object]]
Import = Callable[..., Report]
Command = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands where `services` has its files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(rows: Rows) -> Path:
    """The one file of a test, with these rows."""
    Path("db.sqlite").unlink(missing_ok=True)
    return write_rest_auth_file(Path("db.sqlite"), rows)


@pytest.fixture
def import_(services: Services) -> Import:
    def run(rows: Rows, *, into: Services = services, **options: bool) -> Report:
        with open_rest_auth_file(write(rows)) as source:
            return into.import_users(source, lambda done: None, **{"dry_run": False, **options})

    return run


def everybody(services: Services) -> list[Account]:
    return list(services._resources.store.list_users())


def ids(services: Services) -> list[int]:
    return [account.id for account in everybody(services)]


def log_in(services: Services, name: str, password: str = "python") -> Account:
    return services.authentication.authenticate(name, password, CLIENT)


def expect_locked(account: Account) -> None:
    assert account.locked_at is not None
    assert account.password_hash == NO_HASH


# Who comes over


def test_users_join_those_who_are_here_with_their_ids_names_and_passwords(
    import_: Import, services: Services
) -> None:
    here = services.accounts.register("ada", "python").id
    report = import_([SUSAN, MIGUEL])
    assert (report.users, report.new, report.troubles, report.examples) == (2, 2, {}, {})
    assert report.hashes == {"pbkdf2:sha256": 2}
    users = {account.username: account.id for account in everybody(services)}
    assert users == {"ada": here, "miguel": 5, "Susan": 9}
    for name in ("ada", "miguel", "susan"):
        assert log_in(services, name).username in users


def test_the_first_correct_login_renews_a_hash_of_any_kind_and_a_wrong_one_does_not(
    import_: Import, make_services: ServicesFactory
) -> None:
    samples = [row for row in hash_samples.CHEAP.values() if row.password]
    services = make_services(import_sha_crypt=True)
    rows = [(n, f"user {n}", row.password_hash) for n, row in enumerate(samples, start=1)]
    assert import_(rows, into=services).troubles == {}
    tried = {}
    for (_, name, password_hash), row in zip(rows, samples, strict=True):
        if row.kind not in tried:  # one of each: the throttle counts them all
            tried[row.kind] = name
            with pytest.raises(BadCredentials):
                log_in(services, name, "!" + row.password)
            assert services.accounts.find_by_name(name).password_hash == password_hash
        renewed = log_in(services, name, row.password)
        assert not services._hasher.needs_rehash(renewed.password_hash)
        assert renewed.password_version == 1  # it is the same password
    assert len(tried) > 4
    # Without the setting too, now that they are renewed.
    services = make_services()
    for (_, name, _), row in zip(rows, samples, strict=True):
        assert log_in(services, name, row.password).username == name


def test_all_of_a_password_counts_once_the_hash_of_bcrypt_is_renewed(
    import_: Import, services: Services
) -> None:
    row = hash_samples.CHEAP["passlib 1.7.4, bcrypt, 80 bytes"]
    import_([(5, "miguel", row.password_hash)])
    log_in(services, "miguel", row.password)
    with pytest.raises(BadCredentials):
        log_in(services, "miguel", row.password[:72])


def test_a_name_that_could_not_be_registered_works_on(import_: Import, services: Services) -> None:
    names = ["a b", " ", " miguel ", "x" * 255, "Miguel García", "名前", "\U0001f40e", "\x80"]
    names += ["\ufffd", "<b>", "-rf", "123", "#5", "a.b.c"]
    assert import_((5 + n, name, PYTHON) for n, name in enumerate(names)).troubles == {}
    client = client_of(services)
    for name in names:
        answer = client.get("/api/token", headers=basic(name, "python"))
        answer = client.get("/api/resource", headers=basic(answer.json["token"], "x"))
        assert answer.json == {"data": f"Hello, {name}!"}


def test_the_next_id_lies_above_every_one_that_was_imported(
    import_: Import, services: Services
) -> None:
    """Even when its row was locked and deleted."""
    import_([MIGUEL, (700, None, None)])
    assert services._resources.store.delete_user(700)
    assert services.accounts.register("ada", "python").id == 701


# What does not fit


TOKEN = f"{'e' * 40}.{'e' * 40}.{'e' * 40}"
NAME_TROUBLES: dict[str, list[object]] = {
    "no name": [None],
    "name is not text": [b"susan"],
    "empty name": [""],
    "name of more than 255 characters": ["x" * 256, "\ufdfa" * 15],  # 18 characters by NFKC
    BAD_CHARACTER: ["a:b", "a\nb", "\x7f", "a\0"],
    "name that looks like a token": [TOKEN, "rak_" + "0" * 61],
    "name of a lower id": ["miguel"],
    "name of a lower id but for case": ["Miguel", "\uff4diguel"],
}
HASH_TROUBLES: dict[str, list[object]] = {
    "no password": [None],
    UNKNOWN_HASH: [
        "", "python", PYTHON[:-1], PYTHON.encode(), 12, PYTHON.replace(":1$", ":1000001$")
    ],
}  # fmt: skip


def test_a_row_without_a_name_to_log_in_by_keeps_its_id_locked(
    import_: Import, services: Services
) -> None:
    rows = [(trouble, name) for trouble, names in NAME_TROUBLES.items() for name in names]
    report = import_([MIGUEL, *((7 + n, name, PYTHON) for n, (_, name) in enumerate(rows))])
    assert report.new == report.users == len(rows) + 1
    assert report.troubles == {trouble: len(names) for trouble, names in NAME_TROUBLES.items()}
    for number, (trouble, name) in enumerate(rows):
        shown = name.decode() if isinstance(name, bytes) else name
        shown = shown[:255] if isinstance(shown, str) else None
        assert (7 + number, shown) in report.examples[trouble]
    assert ids(services) == [5, *range(7, 7 + len(rows))]
    for account in everybody(services)[1:]:
        expect_locked(account)
        assert account.username == f"#{account.id}"
        assert services._resources.store.find_user_by_name(account.username) is None
    assert log_in(services, "miguel").id == 5


def test_a_row_without_a_password_to_log_in_by_keeps_id_and_name_locked(
    import_: Import, services: Services
) -> None:
    rows = [(trouble, value) for trouble, values in HASH_TROUBLES.items() for value in values]
    report = import_((7 + n, f"User {n}", value) for n, (_, value) in enumerate(rows))
    assert report.troubles == {trouble: len(values) for trouble, values in HASH_TROUBLES.items()}
    for number, (trouble, _) in enumerate(rows):
        assert (7 + number, f"User {number}") in report.examples[trouble]
        kept = services.accounts.find_by_name(f"user {number}")
        assert (kept.id, kept.username) == (7 + number, f"User {number}")
        expect_locked(kept)
    for password in ("python", NO_HASH):
        with pytest.raises(BadCredentials):
            log_in(services, "user 0", password)


def test_an_id_that_cannot_be_kept_is_not_imported(import_: Import, services: Services) -> None:
    largest = 2**53 - 1
    rows = [(user_id, "susan", PYTHON) for user_id in (0, -1, largest + 1, 2**63 - 1)]
    report = import_([MIGUEL, *rows, (largest, "ada", PYTHON)])
    assert report.troubles == {"id out of range, not imported": 4}
    assert (report.users, report.new) == (6, 2)
    assert ids(services) == [5, largest]


def test_an_id_or_a_text_of_another_type_is_reported(services: Services) -> None:
    rows = [("five", "a", PYTHON), (1.5, "b", PYTHON), (None, "c", PYTHON), MIGUEL]
    path = write_rest_auth_file(
        Path("db.sqlite"), rows, table="CREATE TABLE users (id, username, password_hash)"
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO users VALUES (6, CAST(x'6dff' AS TEXT), 'x')")
        connection.execute("INSERT INTO users VALUES (7, 'susan', CAST(x'6dff' AS TEXT))")
    with open_rest_auth_file(path) as source:
        report = services.import_users(source, lambda done: None, dry_run=False)
    assert report.examples == {
        "id out of range, not imported": [(None, "c"), ("1.5", "b"), ("five", "a")],
        "name is not text": [(6, "m\\xff")],
        UNKNOWN_HASH: [(7, "susan")],
    }
    assert ids(services) == [5, 6, 7]


def test_of_one_name_the_lowest_id_keeps_it(import_: Import, services: Services) -> None:
    """It is the one that REST-auth served. A duplicate of a locked row gets nothing either."""
    other = hash_samples.CHEAP["werkzeug 1.0.1, sha512"]
    rows = [(9, "miguel", other.password_hash), (8, "MIGUEL", PYTHON), MIGUEL]
    import_([*rows, (6, "susan", None), (7, "susan", PYTHON)])
    assert log_in(services, "Miguel").id == 5
    for name, password in (("miguel", other.password), ("susan", "python")):
        with pytest.raises(BadCredentials):
            log_in(services, name, password)


def test_no_name_is_the_mark_of_a_row_without_one(import_: Import, services: Services) -> None:
    """Anybody could register any name in REST-auth."""
    marks = ["\uff1a5", "nameless 5", "NAMELESS 5", "#5"]
    import_([(5, "", None), *((10 + number, mark, PYTHON) for number, mark in enumerate(marks))])
    assert ids(services) == [5, 10, 11, 12, 13]
    expect_locked(everybody(services)[0])


def test_sha_crypt_waits_for_its_setting(import_: Import, make_services: ServicesFactory) -> None:
    report = import_([(5, "miguel", SHA_CRYPT)])
    assert report.hashes == {"sha512-crypt": 1}
    assert report.troubles == {"hash that needs import_sha_crypt=true": 1}
    with pytest.raises(BadCredentials):
        log_in(make_services(), "miguel")
    assert log_in(make_services(import_sha_crypt=True), "miguel").locked_at is None


def test_all_rows_are_counted_and_the_first_of_them_shown(import_: Import) -> None:
    report = import_((number, f"user {number}", None) for number in range(1, 31))
    assert report.troubles == {"no password": 30}
    assert report.examples == {"no password": [(n, f"user {n}") for n in range(1, 21)]}


@pytest.mark.parametrize("password", ["", "x" * 1025], ids=["empty", "too long"])
def test_a_password_that_only_rest_auth_took_is_not_reported_and_needs_a_reset(
    import_: Import, services: Services, password: str
) -> None:
    digest = pbkdf2_hmac("sha256", password.encode(), b"salt", 1).hex()
    assert import_([(5, "miguel", f"pbkdf2:sha256:1$salt${digest}")]).troubles == {}
    with pytest.raises(BadCredentials):
        log_in(services, "miguel", password)
    code = services.accounts.make_reset_code(services.accounts.find(5)).code
    services.accounts.reset_password(code, "python", CLIENT)
    assert log_in(services, "miguel").id == 5


def test_the_slowest_hash_of_each_kind_is_kept_and_measured_at_each_start(
    import_: Import, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap, dear = PYTHON, PYTHON.replace(":1$", ":7$")
    rows = [(1, "ada", cheap), (2, "miguel", dear), (3, "susan", cheap), (4, "john", BCRYPT)]
    import_(rows)
    import_(rows)
    assert sorted(services._resources.store.sample_old_hashes()) == sorted([dear, BCRYPT])
    measured: list[list[str]] = []
    monkeypatch.setattr(Hasher, "calibrate", lambda _, hashes: measured.append(sorted(hashes)))
    create_app()
    AuthMiddleware(lambda environ, start_response: [])
    assert measured == [sorted([dear, BCRYPT])] * 2


# All or none


MIXED = [
    MIGUEL,
    (6, "miguel", PYTHON),
    (7, "a\x1b[2J", PYTHON),
    (8, "susan", None),
    (9, "ada", BCRYPT),
    (10, "b\x1b", PYTHON),
]


def test_a_second_run_changes_nothing_but_brings_who_has_come_since(
    import_: Import, services: Services
) -> None:
    first = import_(MIXED)
    services.accounts.set_password(everybody(services)[0], "another")
    services.accounts.lock(everybody(services)[0])
    before = everybody(services)
    second = import_(MIXED)
    assert (second.hashes, second.examples) == (first.hashes, first.examples)
    assert (first.new, second.new, second.users) == (6, 0, 6)
    assert everybody(services) == before
    assert import_([*MIXED, (11, "john", PYTHON)]).new == 1
    assert everybody(services)[:-1] == before
    assert log_in(services, "john").id == 11


def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    import_: Import, services: Services
) -> None:
    """In a store, or before there is one."""
    with open_rest_auth_file(write(MIXED)) as source, open_staging() as staging:
        users = Importing(staging, services._hasher)
        users.check(source, NoAccounts(), lambda done: None)
    services.accounts.register("zoe", "python")
    before = everybody(services)
    assert import_(MIXED, dry_run=True) == users.report
    assert everybody(services) == before
    assert services.accounts.register("bob", "python").id == 2
    assert import_(MIXED) == users.report


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("rows", "conflict"),
    [
        pytest.param(
            [(1, "susan"), (2, "zoe")], "the id 2: 'zoe' in the file, 'ada' here", id="an id"
        ),
        pytest.param(
            [(1, "susan"), (7, "ADA")], "the name 'ADA': id 7 in the file, id 2 here", id="a name"
        ),
        pytest.param(
            [(1, "ada"), (2, "zoe")],
            "the id 1: 'ada' in the file, 'susan' here; the name 'ada': id 1 in the file, id 2 "
            "here; the id 2: 'zoe' in the file, 'ada' here",
            id="both",
        ),
        pytest.param(
            [(2, ""), (3, "susan"), (4, "ada")],
            "the id 2: no usable name in the file, 'ada' here; the name 'susan': id 3 in the file, "
            "id 1 here; the name 'ada': id 4 in the file, id 2 here",
            id="of a row without a name",
        ),
    ],
)
def test_what_belongs_to_another_user_stops_all(
    import_: Import,
    services: Services,
    rows: list[tuple[int, str]],
    conflict: str,
    *,
    dry_run: bool,
) -> None:
    services.accounts.register("susan", "python")
    services.accounts.register("ada", "python")
    before = everybody(services)
    with pytest.raises(ImportConflict) as caught:
        import_(((*row, PYTHON) for row in rows), dry_run=dry_run)
    hint = "--renamed skips users who were renamed here."
    assert str(caught.value) == f"Nothing is imported: {conflict}. {hint}"
    assert everybody(services) == before
    assert services.accounts.register("bob", "python").id == 3


def test_many_conflicts_are_counted_and_the_first_are_shown(
    import_: Import, services: Services
) -> None:
    rows = [
        (services.accounts.register(f"user{n}", "python").id, f"x{n}", BCRYPT) for n in range(7)
    ]
    with pytest.raises(ImportConflict, match=r"the id 5: .*; and 2 more\. --renamed"):
        import_(rows)


def test_users_who_were_renamed_here_are_skipped_on_request(
    import_: Import, services: Services
) -> None:
    """With a name, and without one in the file; and one whose old name another user has now."""
    import_(MIXED)
    for user_id, name in ((5, "mike"), (6, "karl"), (8, "sue")):
        services.accounts.rename(services.accounts.find(user_id), name)
    services.accounts.register("susan", "python")
    before = everybody(services)
    with pytest.raises(ImportConflict, match=r"id 5: .*; the id 6: .*; the id 8: .*; the name "):
        import_(MIXED)
    report = import_([*MIXED, (20, "john", PYTHON)], skip_renamed=True)
    assert report.new == 1
    assert report.examples[RENAMED] == [(5, "miguel"), (6, "miguel"), (8, "susan")]
    assert everybody(services)[:-1] == before
    taken = (14, "SUSAN", PYTHON)
    with pytest.raises(ImportConflict, match=r"id 14 in the file, id 11 here\.$"):
        import_([taken], skip_renamed=True)


def test_a_crash_half_way_leaves_nothing(services: Services) -> None:
    def crash(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with open_rest_auth_file(write([MIGUEL, SUSAN])) as source, pytest.raises(KeyboardInterrupt):
        services.import_users(source, crash, dry_run=False)
    assert everybody(services) == []
    assert services.accounts.register("ada", "python").id == 1


def test_reading_locks_nothing_and_who_registers_meanwhile_is_respected(
    services: Services, make_services: ServicesFactory
) -> None:
    """Another process writes after each row."""
    other = make_services()
    expected: list[int] = []
    rows = [(number, f"imported {number}", PYTHON) for number in range(100, 104)]
    for dry_run in (True, False):

        def register(done: int) -> None:
            name = f"user{len(expected)}"
            expected.append(other.accounts.register(name, "python").id)

        with open_rest_auth_file(write(rows)) as source:
            report = services.import_users(source, register, dry_run=dry_run)
        assert (report.users, report.new) == (4, 4)
    assert expected == list(range(1, 9))
    assert ids(services) == [*expected, 100, 101, 102, 103]


@pytest.mark.parametrize(
    ("imported", "conflict"),
    [((3, "Ada"), "the name 'Ada': id 3 in"), ((2, "zoe"), "the id 2: 'zoe' in")],
)
def test_a_conflict_that_comes_while_the_rows_are_read_stops_all(
    services: Services, imported: tuple[int, str], conflict: str
) -> None:
    services.accounts.register("susan", "python")

    def register(done: int) -> None:
        if done == 3:
            services.accounts.register("ada", "python")

    rows = [(1, "susan", PYTHON), (*imported, PYTHON), (9, "john", PYTHON)]
    with open_rest_auth_file(write(rows)) as source, pytest.raises(ImportConflict, match=conflict):
        services.import_users(source, register, dry_run=False)
    assert ids(services) == [1, 2]


def test_who_was_imported_while_the_rows_were_read_is_no_conflict(
    import_: Import, services: Services, make_services: ServicesFactory
) -> None:
    def import_too(done: int) -> None:
        if done == 2:
            with open_rest_auth_file(Path("db.sqlite")) as source:
                make_services().import_users(source, lambda done: None, dry_run=False)

    with open_rest_auth_file(write([MIGUEL, SUSAN])) as source:
        report = services.import_users(source, import_too, dry_run=False)
    assert (report.users, report.new) == (2, 0)
    assert ids(services) == [5, 9]


def test_an_id_that_comes_twice_is_one_user_or_a_conflict(services: Services) -> None:
    def run(*rows: tuple[object, ...]) -> Report:
        Path("db.sqlite").unlink(missing_ok=True)
        path = write_rest_auth_file(
            Path("db.sqlite"), rows, table="CREATE TABLE users (id, username, password_hash)"
        )
        with open_rest_auth_file(path) as source:
            return services.import_users(source, lambda done: None, dry_run=False)

    with pytest.raises(ImportConflict, match="the id 5: two users in the file"):
        run(MIGUEL, (5, "susan", PYTHON))
    assert ids(services) == []
    report = run(MIGUEL, MIGUEL)
    assert (report.users, report.new) == (2, 1)


def test_no_row_is_kept_in_memory(import_: Import) -> None:
    count = 5000
    tracemalloc.start()
    try:
        import_(((n, f"user {n}" if n % 2 else "", PYTHON) for n in range(1, count)), dry_run=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * count  # bytes; a row that is read has more than 250


# The command


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`restauth import` of a file with these rows, in this process."""

    def run(rows: Rows, *options: str) -> Outcome:
        write(rows)
        return Outcome(main.main(["import", "db.sqlite", *options]), *capsys.readouterr())

    return run


@pytest.mark.sqlite("the message is about the files of SQLite")
def test_the_report_has_a_line_for_each_kind_and_a_dry_run_the_same(
    command: Command, directory: Path
) -> None:
    dry = command(MIXED, "--dry-run")
    assert [path.name for path in directory.iterdir()] == ["db.sqlite"]
    done = command(MIXED)
    assert dry == (3, done.out.replace("are new", "would be new"), "")
    assert done.status == 3
    assert done.err.endswith(
        "/restauth.db: a new one is made, without users.\n"
    )  # where it was made
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.out  # no name rules the terminal of the operator
    assert [re.sub(r"\\+", r"\\", line) for line in done.out.splitlines()] == [
        "6 users in db.sqlite, of which 6 are new here",
        "       1  hash: bcrypt",
        "       1  hash: none",
        "       2  hash: pbkdf2:sha256",
        "       1  name of a lower id: 6 'miguel'",
        rf"       2  {BAD_CHARACTER}: 7 'a\x1b[2J', 10 'b\x1b'",
        "       1  no password: 8 'susan'",
    ]
    assert command([]) == (0, "0 users in db.sqlite, of which 0 are new here\n", "")
    rows = [(number, f"user {number}", None) for number in range(50, 71)]
    assert command(rows).out.endswith("69 'user 69', ...\n")
    assert command(rows[:20]).out.endswith("69 'user 69'\n")


def test_json_says_the_same(command: Command) -> None:
    report = {
        "dry_run": True,
        "users": 6,
        "new": 6,
        "hashes": {"bcrypt": 1, "none": 1, "pbkdf2:sha256": 2},
        "troubles": {"name of a lower id": 1, BAD_CHARACTER: 2, "no password": 1},
        "examples": {
            "name of a lower id": [[6, "miguel"]],
            BAD_CHARACTER: [[7, "a\x1b[2J"], [10, "b\x1b"]],
            "no password": [[8, "susan"]],
        },
        "other_columns": [],
    }
    assert command(MIXED, "--json", "--dry-run").json == report
    assert command(MIXED, "--json").json == {**report, "dry_run": False}
    assert command(MIXED, "--json", "--dry-run").json == {**report, "new": 0}


def test_columns_of_others_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    table = "CREATE TABLE users (id INTEGER PRIMARY KEY, username, password_hash, email, 'a\x1b')"
    write_rest_auth_file(Path("db.sqlite"), [MIGUEL], table=table)
    assert main.main(["import", "db.sqlite"]) == 0
    assert capsys.readouterr().out.endswith("not imported: the columns email, a\\x1b\n")
    assert main.main(["import", "db.sqlite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["other_columns"] == ["email", "a\x1b"]


def test_progress_is_said_once_a_second_at_a_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command([])  # so that the next ones have no file to make
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(output, "time", SimpleNamespace(monotonic=lambda: 1000.0))
        assert command(MIXED).err == ""
    ticks = itertools.count(1000.0, 0.375)
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    done = command([(number, f"user {number}", PYTHON) for number in range(11, 111)], "--json")
    counts = [int(count) for count in re.findall(r"^restauth: (\d+) rows$", done.err, re.MULTILINE)]
    assert len(counts) == len(done.err.splitlines())
    assert counts == sorted(set(counts))
    assert 20 < len(counts) < 40
    assert done.json["users"] == 100  # standard output stays what it is


def test_what_cannot_be_imported_is_one_line_and_nothing_made(
    command: Command, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "empty").touch()
    (directory / "folder").mkdir()
    before = sorted(directory.iterdir())
    for name in ("nowhere", "empty", "folder"):
        assert main.main(["import", name]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"restauth: .*\b{name}\b.*\.\n", err)
    assert sorted(directory.iterdir()) == before
    command([MIGUEL])
    conflict = command([(5, "ada", PYTHON)])
    assert (conflict.status, conflict.out) == (1, "")
    assert conflict.err.startswith("restauth: Nothing is imported: the id 5: 'ada' in the file, ")
    for options in (["--renamed", "--dry-run"], ["--renamed"]):
        assert command([(5, "ada", PYTHON)], *options).status == 3


@pytest.mark.sqlite("it is about the files of SQLite")
def test_a_dry_run_does_not_bring_an_older_database_up_to_date(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command([MIGUEL])
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE more (x)",)))
    before = Path("restauth.db").read_bytes()
    outcome = command([MIGUEL], "--dry-run")
    assert outcome.status == 1
    assert "up to date" in outcome.err
    assert Path("restauth.db").read_bytes() == before


# A client of REST-auth's


def test_a_client_written_for_rest_auth_works_unchanged(
    import_: Import, services: Services
) -> None:
    import_([MIGUEL, (6, "susan", PYTHON)])
    client = client_of(services)

    assert client.get("/api/users/5").json == {"username": "miguel"}
    client.post_json("/api/users", {"username": "miguel", "password": "python"}, status=400)
    answer = client.post_json("/api/users", {"username": "ada", "password": "python"}, status=201)
    assert answer.headers["Location"].endswith("/api/users/7")

    hello = client.get("/api/resource", headers=basic("miguel", "python"))
    assert hello.json == {"data": "Hello, miguel!"}
    answer = client.get("/api/resource", headers=basic("miguel", "ruby"), status=401)
    assert "Unauthorized Access" in answer.text

    answer = client.get("/api/token", headers=basic("miguel", "python"))
    assert answer.json["duration"] == 600
    token = answer.json["token"]
    renewed = client.get("/api/token", headers=basic(token, "x")).json["token"]
    for each in (token, renewed):
        assert client.get("/api/resource", headers=basic(each, "")).json == hello.json
