"""The command `restauth`: its grammar, its exit statuses, and how it ends when it cannot go on."""

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from restauth import __version__
from restauth.services import Services
from restauth.settings import NAMES
from restauth.storage import sqlite
from restauth.storage.schema import APPLICATION_ID, MIGRATIONS
from restauth.testing import Clock
from tests.cli.conftest import NAME, PASSWORD, Restauth, is_one_line, refused
from tests.conftest import ServicesFactory
from tests.documents import example, sql_statements
from tests.domain.actions import is_valid, issue
from tests.postgres import PostgresServer, run_server
from tests.processes import PATIENCE, RESTAUTH, converse, environ, run

# Wrong usage


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("", "COMMAND"),
        ("nope", "'nope'"),
        ("user", "COMMAND"),
        ("user show", "NAME"),
        ("user list --nope", "--nope"),
        ("user add x password", "password"),  # it is never an argument
        ("key rotate --algorithm=rs256", "'rs256'"),
        ("key list --threads=8", "--threads"),  # an option of `serve` alone
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(
    words: str, word: str, restauth: Restauth, directory: Path
) -> None:
    done = restauth(words)
    assert (done.status, done.out) == (2, "")
    if word.startswith("--"):  # it is the usage of the command that was meant
        assert done.err.startswith(f"usage: restauth {' '.join(words.split()[:2])} ")
    *usage, last = done.err.splitlines()
    assert last.startswith("restauth")
    assert word in last
    assert all(line.startswith(("usage: restauth", " ")) for line in usage)
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("RESTAUTH_X", "1", "'RESTAUTH_X'"),
        ("RESTAUTH_ISSUER", "a\nb", r"RESTAUTH_ISSUER is 'a\nb'"),
        ("RESTAUTH_TOKEN_DURATION", "", "RESTAUTH_TOKEN_DURATION is ''"),
    ],
)
def test_a_wrong_setting_stops_every_command(
    name: str, value: str, word: str, restauth: Restauth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for words in ("settings", "settings --json", "check", "user list", "key list", "backup x"):
        assert is_one_line(restauth(words), word, 2)


def test_version_and_help_are_no_errors(restauth: Restauth) -> None:
    assert restauth("--version") == (0, f"{__version__}\n", "")
    assert "--threads=8" in restauth("serve --help").out


# Files


@pytest.fixture
def odd_files(directory: Path) -> None:
    """Files that are not ours to use."""
    (directory / "damaged.db").write_text("no database at all" * 100)
    (directory / "shared.keys").touch(0o644)
    for name, statements in (
        ("foreign.db", ["CREATE TABLE users (id)"]),
        ("newer.db", ["PRAGMA user_version = 99", f"PRAGMA application_id = {APPLICATION_ID}"]),
    ):
        with closing(sqlite3.connect(directory / name)) as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.mark.parametrize(
    ("setting", "words", "word", "status"),
    [
        ("DATABASE=damaged.db", "user list", "not a database", 1),
        ("DATABASE=foreign.db", "user list", "another program", 1),
        ("DATABASE=newer.db", "user list", "newer", 1),
        ("DATABASE=no/x.db", "user add x --create --password-stdin", "no/x.db", 1),
        ("DATABASE=a\nb", "user list", r"a\nb", 1),
        ("KEY_FILE=shared.keys", "user add x --create --password-stdin", "chmod 600", 1),
        ("AUDIT_LOG=no/x.log", "user add x --create --password-stdin", "no/x.log", 1),
        (
            "PASSWORD_CHECK=no:no",
            "user add x --create --password-stdin",
            "RESTAUTH_PASSWORD_CHECK",
            2,
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    setting: str,
    words: str,
    word: str,
    status: int,
    odd_files: None,
    restauth: Restauth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, _, value = setting.partition("=")
    monkeypatch.setenv(f"RESTAUTH_{name}", value)
    assert is_one_line(restauth(words, stdin=b"python"), word, status)


@pytest.mark.sqlite("it is about the files of SQLite")
def test_a_store_that_another_program_holds_is_one_line_with_the_cause(
    restauth: Restauth, ada: int, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    with closing(sqlite3.connect("restauth.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = restauth("user lock ada")
    assert done == refused(
        f"The store does not answer. (the database {directory}/restauth.db: database is locked: "
        "another process writes to it)"
    )


@pytest.mark.sqlite("a copy of PostgreSQL is made by pg_dump")
def test_a_backup_is_private_and_holds_everything(
    restauth: Restauth, ada: int, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = restauth("user list")
    assert restauth("backup copy.db").status == 0
    assert stat.S_IMODE((directory / "copy.db").stat().st_mode) == 0o600
    monkeypatch.setenv("RESTAUTH_DATABASE", "copy.db")
    assert restauth("user list") == listed
    assert restauth("check").out.startswith(f"ok       The database {directory}/copy.db")


@pytest.mark.sqlite("a copy of PostgreSQL is made by pg_dump")
def test_a_backup_is_restored_and_old_tokens_are_refused(
    restauth: Restauth, services: Services, ada: int, make_services: ServicesFactory
) -> None:
    token = issue(services, NAME).token
    assert restauth("backup copy.db").status == 0
    services.accounts.delete(services.accounts.find(ada))
    assert restauth("restore copy.db") == refused(
        f"The database {os.getcwd()}/restauth.db is in use: stop the server first."
    )
    services.close()
    done = restauth("restore copy.db")
    assert done == (0, "copy.db is restored to restauth.db. All tokens have ended.\n", "")
    with closing(make_services()) as restored:
        assert restored.accounts.find(ada).username == NAME
        assert not is_valid(restored, token)


def test_a_dump_of_postgresql_is_restored_as_the_guide_says(
    restauth: Restauth,
    make_services: ServicesFactory,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock.now = int(time.time())  # a command has no other clock
    with run_server() as server:  # of its own: a role is a role of all databases

        def url(user: str, database: str) -> str:
            return server.url(user=user).replace("/postgres?", f"/{database}?")

        def sh(commands: str) -> None:
            ours = re.sub(
                r"postgresql://(\w+)@db\.example\.org/(\w+)", lambda at: url(*at.groups()), commands
            )
            path = f"{server.programs}:{os.environ['PATH']}"
            subprocess.run(["sh", "-ec", ours], check=True, env={**os.environ, "PATH": path})

        for statement in sql_statements("scaling", "CREATE DATABASE"):
            server.execute(statement)
        with psycopg.connect(url("postgres", "restauth")) as connection:
            connection.execute(example("scaling", "sql", "GRANT").encode())
        make_services(database=url("restauth_owner", "restauth")).close()
        with closing(make_services(database=url("restauth", "restauth"))) as services:
            ada = services.accounts.register(NAME, PASSWORD).id
            token = issue(services, NAME).token
            services.api_keys.make(services.accounts.find(ada), "ci")
            sh(example("scaling", "sh", "pg_dump"))
            assert stat.S_IMODE(Path("restauth.dump").stat().st_mode) == 0o600
            services.accounts.lock(services.accounts.find(ada))
            assert not is_valid(services, token)
            assert services.api_keys.list(ada) == []

        restoring, revoking = example("scaling", "sh", "pg_restore").split("restauth key", 1)
        sh(restoring)
        restored = url("restauth", "restauth_restored")
        monkeypatch.setenv("RESTAUTH_DATABASE", restored)
        with closing(make_services(database=restored)) as services:
            assert is_valid(services, token)  # the lock is not in the copy
            assert restauth(f"key {revoking}").status == 0
        with closing(make_services(database=restored)) as services:
            assert not is_valid(services, token)
            assert len(services.api_keys.list(ada)) == 1  # the new key ring does not end it
            assert services.accounts.find(ada).username == NAME
            assert services.accounts.register("susan", PASSWORD).id > ada


@pytest.mark.sqlite("a copy of PostgreSQL is made by pg_dump")
def test_a_copy_that_cannot_be_restored_is_one_line(restauth: Restauth, services: Services) -> None:
    services.close()
    assert restauth("restore nowhere.db") == refused(
        "The database nowhere.db cannot be used: No such file or directory."
    )
    Path("text.db").write_text("no database " * 99)
    assert restauth("restore text.db") == refused(
        "The database text.db cannot be used: file is not a database."
    )


@pytest.mark.parametrize(
    "target", ["no/copy.db", "restauth.keys/copy.db", ".", "restauth.db", "other"]
)
def test_a_backup_that_cannot_be_written_is_one_line_and_overwrites_nothing(
    target: str, restauth: Restauth, services: Services, directory: Path
) -> None:
    (directory / "other").write_text("precious")
    assert is_one_line(restauth("backup", target), f"{target} ")
    assert (directory / "other").read_text() == "precious"


def test_a_copy_is_served_with_the_same_keys(
    restauth: Restauth,
    services: Services,
    ada: int,
    make_services: ServicesFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token, listed = issue(services, NAME).token, restauth("user list")
    done = restauth("copy --to new.db")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Copied to new.db, and compared: 1 users, 1 sessions.\nThe key ring")
    assert "the server has to be stopped before" in done.out
    assert restauth("copy --to new.db") == refused(
        f"There is a file {os.getcwd()}/new.db: a copy replaces none."
    )
    with closing(make_services(database="new.db")) as there:
        assert is_valid(there, token)
    monkeypatch.setenv("RESTAUTH_DATABASE", "new.db")
    assert restauth("user list") == listed


def test_a_copy_of_no_users_says_so(restauth: Restauth, services: Services) -> None:
    assert restauth("copy --to new.db").out.startswith("Copied to new.db, and compared: no rows.\n")
    assert restauth("copy --to mysql://a:secret@b/c").err.count("secret") == 0


def test_a_copy_to_postgresql_shows_no_password(
    restauth: Restauth, ada: int, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_AUDIT_LOG", "audit.log")
    url = postgres.url(postgres.new_schema(), password="hunter2")
    done = restauth("copy --to", url)
    assert done.out.startswith("Copied to postgresql:///postgres, and compared: 1 users.\n")
    again = restauth("copy --to", url)
    assert again == refused("The target is not empty: a copy replaces no rows.")
    log = Path("audit.log").read_text()
    assert json.loads(log)["to"] == "postgresql:///postgres"
    assert "hunter2" not in done.out + done.err + log


@pytest.mark.sqlite("the source is an older file")
def test_a_copy_does_not_bring_its_source_up_to_date(restauth: Restauth) -> None:
    with closing(sqlite3.connect("restauth.db")) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    before = Path("restauth.db").read_bytes()
    assert is_one_line(restauth("copy --to new.db"), "start restauth first")
    assert Path("restauth.db").read_bytes() == before
    assert not Path("new.db").exists()


# Settings


def test_settings_are_shown_with_their_source(
    restauth: Restauth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_TOKEN_DURATION", "60")
    head, *rows = [line.split("\t") for line in restauth("settings").out.splitlines()]
    assert head == ["name", "value", "source", "help"]
    assert [row[0] for row in rows] == list(NAMES)
    assert [row[1:3] for row in rows if row[0] in ("token_duration", "base_url", "issuer")] == [
        ["-", "default"], ["60", "environment"], ["restauth", "default"],
    ]  # fmt: skip
    as_json = [list(row.values()) for row in restauth("settings --json").json]
    assert [[text or "-" for text in row] for row in as_json] == rows


# The streams


@pytest.fixture
def many(services: Services) -> None:
    """More users than a pipe holds."""
    for letter in "abc":
        services._resources.store.add_user(letter * 50_000, letter, "-", 0)


def test_a_reader_that_has_seen_enough_is_no_error(directory: Path, many: None) -> None:
    with subprocess.Popen(
        [*RESTAUTH, "user", "list"],
        cwd=directory,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"id\tusername\t")
        process.stdout.close()
        _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (1, b"")


def test_a_reader_that_has_left_before_is_no_error(directory: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        done = subprocess.run(
            [*RESTAUTH, "settings"],
            cwd=directory,
            env=environ(),
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def in_shell(
    directory: Path, redirection: str, words: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run `restauth` with its streams redirected as a shell does it."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *RESTAUTH, *words.split()],
        cwd=directory,
        env={**environ(), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        ("user list", ""),
        ("user list", "1"),
        ("settings", ""),
        ("settings", "1"),
        ("--version", ""),  # unbuffered, it is argparse that overlooks the failure
    ],
)
def test_output_that_does_not_fit_the_disk_is_one_line(
    words: str, unbuffered: str, directory: Path, many: None
) -> None:
    done = in_shell(directory, ">/dev/full", words, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (
        1,
        "restauth: Standard output cannot be written: No space left on device.\n",
    )


@pytest.mark.parametrize("words", ["check", "user list"])
def test_a_directory_of_another_user_is_one_line(
    words: str,
    restauth: Restauth,
    directory: Path,
    unprivileged: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which none of its users can look into."""
    (directory / "closed/deep").mkdir(parents=True)
    monkeypatch.setenv("RESTAUTH_DATABASE", "closed/deep/x.db")
    (directory / "closed").chmod(0)
    assert is_one_line(restauth(words), "closed/deep")
    (directory / "closed").chmod(0o700)


@pytest.mark.parametrize(
    ("words", "redirection", "status", "word"),
    [
        ("user list", ">&-", 0, ""),
        ("user add x", "<&-", 1, "standard input"),
        ("user add x --password-stdin", "<&-", 1, "standard input"),
        ("user show unknown", "2>&-", 1, ""),
    ],
)
def test_a_closed_stream_is_no_bug(
    words: str, redirection: str, status: int, word: str, services: Services, directory: Path
) -> None:
    done = in_shell(directory, redirection, words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.count("\n") == bool(word)
    assert word in done.stderr


def test_a_terminal_of_few_letters_gets_escapes(services: Services, directory: Path) -> None:
    services._resources.store.add_user("Élodie", "élodie", "-", 0)
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = in_shell(directory, "", "user list", **ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\t\\xc9lodie\t" in done.stdout


def test_an_interrupted_command_says_so(directory: Path, services: Services) -> None:
    status, screen = converse(directory, "user add ada", {"Password: ": "\x03"})
    assert status == 128 + signal.SIGINT
    assert screen.endswith("restauth: interrupted\r\n")


@pytest.mark.sqlite("the message is about the files of SQLite")
def test_python_m_is_the_same_command(directory: Path) -> None:
    done = run(directory, "user", "show", "ada")
    assert done.returncode == 1
    assert done.stderr.startswith("restauth: There is no database ")
