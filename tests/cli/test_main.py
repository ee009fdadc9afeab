"""The operator's commands: what each does, what it prints, and how it ends."""

import io
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from restauth import __version__
from restauth.cli import main
from restauth.core import jwk
from restauth.core.keyring import Algorithm, Key, KeyRing
from restauth.errors import BadCredentials, Throttled
from restauth.records import Caller, User
from restauth.services import Services
from restauth.settings import Settings
from restauth.storage import sqlite
from restauth.storage.schema import APPLICATION_ID
from tests.conftest import CLIENT, Clock, client_of
from tests.key_pairs import NEEDS_EXTRA, PAIRED, need_extra, pair_entry
from tests.processes import PATIENCE, RESTAUTH, Outcome, converse, environ, run

NAME, PASSWORD = "miguel", "python"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


Restauth = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands where `services` has its files, and commands hash cheaply."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTAUTH_BCRYPT_ROUNDS", "10")
    return tmp_path


@pytest.fixture
def restauth(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Restauth:
    """Run a command in this process; `stdin` is what it may read."""

    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return Outcome(main.main(arguments), *capsys.readouterr())

    return run


@pytest.fixture
def miguel(services: Services) -> int:
    """A user to command; his id."""
    return services.accounts.register(NAME, PASSWORD)


def begin_session(services: Services) -> str:
    """A token of the user's."""
    account = services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    user = User(account.id, account.username, (), None, "password")
    return services.sessions.issue(Caller(user, account), CLIENT).token


def is_refused(line: str, status: int = 1) -> Outcome:
    return Outcome(status, "", f"restauth: {line}\n")


# user


def test_user_add_says_the_id_and_makes_the_files(restauth: Restauth, directory: Path) -> None:
    done = restauth("user", "add", NAME, "--password-stdin", stdin=b"python\n")
    assert done == (0, "added miguel with id 1\n", "")
    assert {"restauth.db", "restauth.keys"} <= {path.name for path in directory.iterdir()}


def test_the_operator_adds_users_to_a_closed_house(
    restauth: Restauth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_REGISTRATION", "closed")
    assert restauth("user", "add", NAME, "--password-stdin", stdin=b"python").status == 0


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        (b"python", "python"),
        (b"python\n", "python"),
        (b"python\r\n", "python"),
        (b"python\n\n", "python\n"),  # one line end belongs to the terminal, no more
        (b"python\r", "python\r"),  # which is none
        (b"python\r\r\n", "python\r"),
        (b" py\tthon \n", " py\tthon "),
        ("pässwörd\n".encode(), "pässwörd"),
        (b"\0\n", "\0"),
        (b"x" * 1024 + b"\n", "x" * 1024),
        ("\U0001f511".encode() * 1024 + b"\r\n", "\U0001f511" * 1024),
    ],
    ids=[
        "bare",
        "LF",
        "CR LF",
        "two lines",
        "CR",
        "two CR",
        "blanks",
        "UTF-8",
        "NUL",
        "longest",
        "most bytes",
    ],
)
def test_all_of_a_password_from_standard_input_counts(
    stdin: bytes, password: str, restauth: Restauth, services: Services
) -> None:
    assert restauth("user", "add", NAME, "--password-stdin", stdin=stdin).status == 0
    assert services.authentication.authenticate(NAME, password, CLIENT)


@pytest.mark.parametrize(
    ("stdin", "line"),
    [
        (b"", "A password has 1 to 1024 characters."),
        (b"\r\n", "A password has 1 to 1024 characters."),
        (b"x" * 1025, "A password has 1 to 1024 characters."),
        (b"x" * 1_000_000, "A password has 1 to 1024 characters."),
        ("\U0001f511".encode() * 1024 + b"x", "A password has 1 to 1024 characters."),
        ("\U0001f511".encode() * 1025, "A password has 1 to 1024 characters."),
        (b"p\xe4ssword\n", "The password is not UTF-8."),
        (b"\xed\xa0\x80\n", "The password is not UTF-8."),
    ],
    ids=[
        *("nothing", "an empty line", "1025", "a million", "most bytes", "four bytes more"),
        *("Latin-1", "a surrogate"),
    ],
)
@pytest.mark.parametrize("command", ["add", "passwd"])
def test_an_unusable_password_is_refused(
    command: str, stdin: bytes, line: str, restauth: Restauth, services: Services
) -> None:
    if command == "passwd":
        services.store.add_user(NAME, NAME, "as before", 0)
    before = list(services.accounts.list())
    assert restauth("user", command, NAME, "--password-stdin", stdin=stdin) == is_refused(line)
    assert list(services.accounts.list()) == before


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("MIGUEL", "This username is taken."),
        ("", "A username must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"),
        ("a:b", "A username must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"),
        ("\udcff", "A username must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"),  # no UTF-8
        ("bell\a", "A username must match [A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"),
    ],
)
def test_the_names_that_are_refused_by_http_are_refused_here(
    name: str, line: str, restauth: Restauth, miguel: int
) -> None:
    refused = restauth("user", "add", name, "--password-stdin", stdin=b"python")
    assert refused == is_refused(line)


def test_without_a_terminal_no_password_is_asked_for(
    restauth: Restauth, services: Services
) -> None:
    refused = restauth("user", "add", NAME, stdin=b"python\npython\n")
    assert refused == is_refused("No terminal to ask for a password: use --password-stdin.")
    assert list(services.accounts.list()) == []


def test_user_passwd_changes_the_password_and_ends_the_sessions(
    restauth: Restauth, services: Services, miguel: int
) -> None:
    token = begin_session(services)
    done = restauth("user", "passwd", "MIGUEL", "--password-stdin", stdin=b"ruby\n")
    assert done == (0, "changed the password of miguel; all sessions have ended\n", "")
    with pytest.raises(BadCredentials):
        services.sessions.identify(token)
    with pytest.raises(BadCredentials):
        services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert services.authentication.authenticate(NAME, "ruby", CLIENT).id == miguel


def test_user_list_is_a_table(restauth: Restauth, services: Services) -> None:
    services.store.add_user("susan", "susan", "-", 0)
    services.store.add_user("Élodie", "élodie", "-", 1_800_000_000)
    services.store.lock_user(2, 1_800_000_001)
    services.store.change_roles(1, lambda roles: ("editor", "viewer"))
    assert restauth("user", "list").out == (
        "id\tusername\tcreated_at\tlocked_at\troles\n"
        "1\tsusan\t1970-01-01T00:00:00Z\t-\teditor viewer\n"
        "2\tÉlodie\t2027-01-15T08:00:00Z\t2027-01-15T08:00:01Z\t-\n"
    )
    assert restauth("user", "list", "--json").json == [
        {
            "id": 1,
            "username": "susan",
            "created_at": "1970-01-01T00:00:00Z",
            "locked_at": None,
            "roles": "editor viewer",
        },
        {
            "id": 2,
            "username": "Élodie",
            "created_at": "2027-01-15T08:00:00Z",
            "locked_at": "2027-01-15T08:00:01Z",
            "roles": "",
        },
    ]


def test_a_list_of_nobody_is_a_list(restauth: Restauth, services: Services) -> None:
    assert restauth("user", "list") == (0, "id\tusername\tcreated_at\tlocked_at\troles\n", "")
    assert restauth("user", "list", "--json") == (0, "[]\n", "")


def test_a_name_cannot_rule_the_terminal_nor_forge_a_line(
    restauth: Restauth, services: Services
) -> None:
    services.store.add_user("a\x1b[2J\n\t2\u202eb\x9b\U0001d173", "a", "-", 0)
    _, line = restauth("user", "list").out.splitlines()
    assert line.split("\t")[1] == r"a\x1b[2J\n\t2\u202eb\x9b\U0001d173"
    assert restauth("user", "list", "--json").out.isascii()


def test_what_was_done_to_such_a_name_is_said_with_its_escapes(
    restauth: Restauth, services: Services
) -> None:
    name = "a\x1b[2J\nb"
    services.store.add_user(name, name.lower(), "-", 0)
    for words in ("lock", "unlock", "end-sessions", "reset-code", "passwd", "delete"):
        options = ["--password-stdin"] if words == "passwd" else []
        done = restauth("user", words, name, *options, stdin=b"python")
        assert done.status == 0
        assert r"a\x1b[2J\nb" in done.out + done.err
        assert (done.out + done.err).count("\n") == (2 if words == "reset-code" else 1)


@pytest.mark.parametrize("name", [NAME, "MIGUEL"])
def test_user_show_finds_a_name_in_any_case(name: str, restauth: Restauth, miguel: int) -> None:
    shown = restauth("user", "show", name)
    head = "id\tusername\tcreated_at\tlocked_at\troles\n"
    assert re.fullmatch(rf"{head}1\tmiguel\t{TIME}\t-\t-\n", shown.out)
    (row,) = restauth("user", "show", name, "--json").json
    assert (row["id"], row["username"], row["locked_at"]) == (miguel, NAME, None)


def test_user_lock_ends_the_sessions_and_unlock_gives_back_the_password(
    restauth: Restauth, services: Services, miguel: int
) -> None:
    token = begin_session(services)
    locked = restauth("user", "lock", NAME)
    assert locked == (0, "locked miguel; all sessions have ended\n", "")
    assert re.fullmatch(TIME, restauth("user", "show", NAME, "--json").json[0]["locked_at"])
    with pytest.raises(BadCredentials):
        services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert restauth("user", "unlock", NAME) == (0, "unlocked miguel\n", "")
    assert services.authentication.authenticate(NAME, PASSWORD, CLIENT).id == miguel
    with pytest.raises(BadCredentials):
        services.sessions.identify(token)


def test_a_deleted_users_id_is_never_given_again(
    restauth: Restauth, services: Services, miguel: int
) -> None:
    assert restauth("user", "delete", NAME) == (0, "deleted miguel\n", "")
    assert list(services.accounts.list()) == []
    added = restauth("user", "add", NAME, "--password-stdin", stdin=b"python")
    assert added.out == f"added miguel with id {miguel + 1}\n"


def test_user_end_sessions_counts_them(restauth: Restauth, services: Services, miguel: int) -> None:
    tokens = [begin_session(services) for _ in range(2)]
    assert restauth("user", "end-sessions", NAME).out == "ended 2 sessions of miguel\n"
    assert restauth("user", "end-sessions", NAME).out == "ended 0 sessions of miguel\n"
    for token in tokens:
        with pytest.raises(BadCredentials):
            services.sessions.identify(token)


@pytest.mark.parametrize(
    "command",
    ["show", "lock", "unlock", "delete", "end-sessions", "passwd", "roles", "reset-code"],
)
@pytest.mark.parametrize("name", [NAME, "\udcff", "x" * 100_000], ids=["a", "no UTF-8", "long"])
def test_a_name_that_nobody_has_is_one_line(
    command: str, name: str, restauth: Restauth, services: Services
) -> None:
    assert restauth("user", command, name) == is_refused("There is no such user.")


@pytest.mark.parametrize(
    "words",
    [
        *("user list", "user show x", "user passwd x", "user lock x", "user unlock x"),
        *("user delete x", "user end-sessions x", "user roles x +a", "user reset-code x"),
        "backup copy.db",
    ],
)
def test_only_a_new_user_makes_a_database(words: str, restauth: Restauth, directory: Path) -> None:
    missing = f"The database {directory}/restauth.db cannot be used: No such file or directory."
    assert restauth(*words.split()) == is_refused(missing)
    assert list(directory.iterdir()) == []


# user: what a new password has to be like

GOOD_CHECK = """
def check(password, username):
    return f"{username} may not." if password != "correct horse battery" else None
"""


@pytest.mark.parametrize("command", ["add", "passwd"])
@pytest.mark.parametrize(
    ("password", "line"),
    [
        ("short", "A password has at least 15 characters."),
        ("PasswordPasswordPassword", "This password is on the list of common passwords."),
        ("susansusansusan", "This password is made of common passwords or of names alone."),
        ("restauthrestauth", "This password is made of common passwords or of names alone."),
    ],
)
def test_the_policy_is_the_operators_too(
    command: str,
    password: str,
    line: str,
    restauth: Restauth,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if command == "passwd":
        services.store.add_user("susan", "susan", "as before", 0)
    before = list(services.accounts.list())
    monkeypatch.setenv("RESTAUTH_PASSWORD_POLICY", "nist")
    words = ("user", command, "susan", "--password-stdin")
    assert restauth(*words, stdin=password.encode()) == is_refused(line)
    assert list(services.accounts.list()) == before
    assert restauth(*words, stdin=b"correct horse battery").status == 0


@pytest.mark.parametrize("command", ["add", "passwd"])
def test_the_embedders_own_check_is_asked_too(
    command: str,
    restauth: Restauth,
    services: Services,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if command == "passwd":
        services.store.add_user("susan", "susan", "as before", 0)
    (directory / f"check_of_{command}.py").write_text(GOOD_CHECK)
    monkeypatch.syspath_prepend(directory)
    monkeypatch.setenv("RESTAUTH_PASSWORD_CHECK", f"check_of_{command}:check")
    words = ("user", command, "susan", "--password-stdin")
    assert restauth(*words, stdin=b"another") == is_refused("susan may not.")
    assert restauth(*words, stdin=b"correct horse battery").status == 0


# user roles


def test_user_roles_gives_takes_away_and_prints(
    restauth: Restauth, services: Services, miguel: int
) -> None:
    for words, roles in (
        ("", "-"),
        ("+viewer", "viewer"),
        ("+editor -viewer", "editor"),
        ("-viewer +viewer-2 -editor +a_1", "a_1 viewer-2"),
        ("+a_1", "a_1 viewer-2"),  # twice is once
        ("", "a_1 viewer-2"),
        ("-nobody", "a_1 viewer-2"),
        ("+x -x", "a_1 viewer-2"),  # whoever says both means: not
        ("-a_1 -viewer-2", "-"),
    ):
        assert restauth("user", "roles", "MIGUEL", *words.split()) == (0, f"{roles}\n", "")
        stored = services.accounts.find(miguel).roles
        assert (" ".join(stored) or "-") == roles
    restauth("user", "roles", NAME, "+editor", "+admin")
    (row,) = restauth("user", "show", NAME, "--json").json
    assert row["roles"] == "admin editor"
    assert restauth("user", "show", NAME).out.endswith("\tadmin editor\n")


def test_a_role_counts_from_the_next_request_on(
    restauth: Restauth, services: Services, miguel: int
) -> None:
    token = begin_session(services)
    restauth("user", "roles", NAME, "+editor")
    assert services.sessions.identify(token).user.roles == ("editor",)
    restauth("user", "roles", NAME, "-editor")
    assert services.sessions.identify(token).user.roles == ()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("editor", "A change of roles begins with + or -, unlike 'editor'."),
        ("+a editor", "A change of roles begins with + or -, unlike 'editor'."),
        ("+Admin", "'Admin' is no role: it must match [a-z][a-z0-9_-]{0,31}"),
        ("+a,b", "'a,b' is no role: it must match [a-z][a-z0-9_-]{0,31}"),
        ("+", "'' is no role: it must match [a-z][a-z0-9_-]{0,31}"),
        ("-", "'' is no role: it must match [a-z][a-z0-9_-]{0,31}"),
        ("+a\x1b", "'a\\x1b' is no role: it must match [a-z][a-z0-9_-]{0,31}"),
        ("+r" + "x" * 32, f"'r{'x' * 32}' is no role: it must match [a-z][a-z0-9_-]{{0,31}}"),
        (" ".join(f"+r{number}" for number in range(33)), "A user has at most 32 roles."),
    ],
    ids=["no sign", "one without", "case", "comma", "plus", "minus", "control", "long", "many"],
)
def test_a_change_of_roles_that_is_none_changes_nothing(
    words: str, line: str, restauth: Restauth, services: Services, miguel: int
) -> None:
    restauth("user", "roles", NAME, "+viewer")
    assert restauth("user", "roles", NAME, *words.split(" ")) == is_refused(line)
    assert services.accounts.find(miguel).roles == ("viewer",)


# user reset-code


def test_a_reset_code_is_alone_on_standard_output(
    restauth: Restauth, services: Services, miguel: int
) -> None:
    done = restauth("user", "reset-code", "MIGUEL")
    assert re.fullmatch(r"\S{16,}\n", done.out)
    assert done.status == 0
    assert done.err == "restauth: the code sets a new password for miguel once, within an hour\n"
    assert done.out.strip() not in done.err
    assert services.authentication.authenticate(NAME, PASSWORD, CLIENT)  # until it is used


def test_a_reset_code_works_over_http_once_and_the_last_one_alone(
    restauth: Restauth, services: Services, miguel: int, clock: Clock
) -> None:
    clock.now = int(time.time())  # a command has no other clock
    token = begin_session(services)
    replaced, code = (restauth("user", "reset-code", NAME).out.strip() for _ in range(2))
    client = client_of(services)
    for each, password, status in (
        (replaced, "perl", 400),
        (code, "ruby", 204),
        (code, "perl", 400),
    ):
        body = {"code": each, "password": password}
        client.post_json("/api/password-resets", body, status=status)
    assert services.authentication.authenticate(NAME, "ruby", CLIENT).id == miguel
    with pytest.raises(BadCredentials):
        services.sessions.identify(token)


# user: what guesses have shut


@pytest.mark.parametrize("words", ["unlock miguel", "passwd miguel --password-stdin"])
def test_the_operator_opens_a_password_that_guesses_have_shut(
    words: str, restauth: Restauth, make_services: Callable[..., Services]
) -> None:
    services = make_services(free_failures=0, max_failures=2)
    services.accounts.register(NAME, PASSWORD)
    for _ in range(2):
        with pytest.raises(BadCredentials):
            services.authentication.authenticate(NAME, "guess", CLIENT)
    with pytest.raises(Throttled):
        services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert restauth("user", *words.split(), stdin=PASSWORD.encode()).status == 0
    assert services.authentication.authenticate(NAME, PASSWORD, CLIENT)


# user, at a terminal


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(
    directory: Path, services: Services
) -> None:
    answers = {"Password: ": "pässword\n", "Again: ": "pässword\n"}
    status, screen = converse(directory, "user add miguel", answers)
    assert status == 0
    assert screen == "Password: \r\nAgain: \r\nadded miguel with id 1\r\n"
    assert services.authentication.authenticate(NAME, "pässword", CLIENT)


def test_two_different_passwords_add_nobody(directory: Path, services: Services) -> None:
    answers = {"Password: ": "python\n", "Again: ": "pyhton\n"}
    status, screen = converse(directory, "user add miguel", answers)
    assert status == 1
    assert screen.endswith("restauth: The two passwords differ.\r\n")
    assert list(services.accounts.list()) == []


def test_the_end_of_input_at_the_prompt_is_one_line(directory: Path) -> None:
    status, screen = converse(directory, "user add miguel", {"Password: ": "\x04"})
    assert status == 1
    assert screen.endswith("restauth: No password was given.\r\n")
    assert screen.count("restauth: ") == 1
    assert "Traceback" not in screen


def test_an_interrupted_command_says_so(directory: Path) -> None:
    status, screen = converse(directory, "user add miguel", {"Password: ": "\x03"})
    assert status == 128 + signal.SIGINT
    assert screen.endswith("restauth: interrupted\r\n")


# key


def write_ring(*keys: Key) -> None:
    path = Path("restauth.keys")
    path.touch(0o600)
    path.write_bytes(jwk.build(KeyRing(keys)))


def make_key(kid: str, created_at: int, retired_at: int | None = None) -> Key:
    return Key(kid, os.urandom(32), created_at, retired_at)


def test_key_list_shows_no_secret(restauth: Restauth) -> None:
    write_ring(make_key("new", 86_400), make_key("old", 0, 86_400))
    assert restauth("key", "list").out == (
        "kid\talgorithm\tcreated_at\tretired_at\n"
        "new\tHS256\t1970-01-02T00:00:00Z\t-\n"
        "old\tHS256\t1970-01-01T00:00:00Z\t1970-01-02T00:00:00Z\n"
    )
    assert restauth("key", "list", "--json").json[0] == {
        "kid": "new",
        "algorithm": "HS256",
        "created_at": "1970-01-02T00:00:00Z",
        "retired_at": None,
    }


def test_key_rotate_signs_with_a_new_key_and_keeps_the_old(
    restauth: Restauth, services: Services
) -> None:
    old = services.keys.ring.signing_key.kid
    rotated = restauth("key", "rotate")
    new = services.keys.ring.signing_key.kid
    assert [key.kid for key in services.keys.ring.keys] == [new, old] != [old, new]
    assert rotated == restauth("key", "list")
    assert re.search(rf"^{old}\tHS256\t{TIME}\t{TIME}$", rotated.out, re.MULTILINE)


def test_key_rotate_revoke_keeps_only_the_new_key(restauth: Restauth, services: Services) -> None:
    old = services.keys.ring.signing_key.kid
    assert restauth("key", "rotate", "--revoke") == restauth("key", "list")
    (new,) = services.keys.ring.keys
    assert new.kid != old


def algorithms_of(outcome: Outcome) -> list[str]:
    return [line.split("\t")[1] for line in outcome.out.splitlines()[1:]]


def test_key_rotate_keeps_the_algorithm_unless_another_one_is_named(
    restauth: Restauth, services: Services, directory: Path
) -> None:
    need_extra()
    assert algorithms_of(restauth("key", "rotate", "--algorithm", "EdDSA")) == ["EdDSA", "HS256"]
    assert algorithms_of(restauth("key", "rotate")) == ["EdDSA", "EdDSA", "HS256"]
    revoked = restauth("key", "rotate", "--revoke", "--algorithm", "ES256")
    assert algorithms_of(revoked) == ["ES256"]
    assert algorithms_of(restauth("key", "rotate", "--revoke")) == ["ES256"]
    rotated = restauth("key", "rotate", "--algorithm=HS256")
    assert algorithms_of(rotated) == ["HS256", "ES256"]
    assert rotated == restauth("key", "list")
    assert algorithms_of(restauth("key", "prune")) == ["HS256", "ES256"]
    for key in json.loads((directory / "restauth.keys").read_bytes())["keys"]:
        assert (key.get("d") or key["k"]) not in rotated.out + restauth("key", "list", "--json").out


WITHOUT_EXTRA = """
import sys
sys.modules["cryptography"] = None
from restauth.cli.main import main
sys.exit(main())
"""


def run_without_extra(directory: Path, words: str) -> Outcome:
    """Run `restauth` where the extra cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, *words.split()],
        cwd=directory,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("algorithm", PAIRED)
@pytest.mark.parametrize("revoke", ["", " --revoke"])
def test_key_rotate_without_the_extra_says_what_to_install(
    algorithm: str, revoke: str, services: Services, directory: Path
) -> None:
    ring = directory / "restauth.keys"
    before, names = ring.read_bytes(), set(directory.iterdir())
    refused = run_without_extra(directory, f"key rotate --algorithm {algorithm}{revoke}")
    assert refused == is_refused(NEEDS_EXTRA)
    assert (ring.read_bytes(), set(directory.iterdir())) == (before, names)
    rotated = run_without_extra(directory, f"key rotate{revoke}")
    assert (rotated.status, algorithms_of(rotated)[0]) == (0, "HS256")


@pytest.mark.parametrize("algorithm", PAIRED)
@pytest.mark.parametrize(
    "words", ["serve", "key list", "key prune", "key rotate", "key rotate --algorithm HS256"]
)
def test_without_the_extra_a_ring_with_a_pair_is_refused(
    words: str, algorithm: Algorithm, directory: Path
) -> None:
    ring = directory / "restauth.keys"
    ring.touch(0o600)
    ring.write_text(json.dumps({"keys": [pair_entry(algorithm)]}))
    before = ring.read_bytes()
    assert run_without_extra(directory, words) == is_refused(NEEDS_EXTRA)
    assert ring.read_bytes() == before
    checked = run_without_extra(directory, "check")
    assert checked.status == 1
    assert f"error    {NEEDS_EXTRA}\n" in checked.out


def test_key_prune_drops_the_keys_whose_last_token_has_expired(
    restauth: Restauth, services: Services
) -> None:
    now = int(time.time())  # a command has no other clock
    write_ring(
        make_key("new", 1, None), make_key("late", 1, now), make_key("old", 1, now - 2_592_100)
    )
    pruned = restauth("key", "prune")
    assert [line.split("\t")[0] for line in pruned.out.splitlines()] == ["kid", "new", "late"]
    assert pruned == restauth("key", "list")


@pytest.mark.parametrize("words", ["key list", "key prune", "key rotate", "key rotate --revoke"])
def test_a_command_on_keys_makes_no_ring(words: str, restauth: Restauth, directory: Path) -> None:
    refused = restauth(*words.split())
    assert refused == is_refused(f"There is no key ring {directory}/restauth.keys.")
    assert list(directory.iterdir()) == []


# check


def test_check_ends_well_when_nothing_is_an_error(restauth: Restauth, services: Services) -> None:
    done = restauth("check")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("ok       The database restauth.db is ours and undamaged.\n")
    assert {line[:9] for line in done.out.splitlines()} == {"ok       ", "warning  "}
    assert "warning  password_policy is open: any password is accepted.\n" in done.out


def test_check_ends_badly_when_something_is_an_error(
    restauth: Restauth, services: Services, directory: Path
) -> None:
    (directory / "restauth.keys").chmod(0o640)
    done = restauth("check")
    assert (done.status, done.err) == (1, "")
    assert "\nerror    The key ring " in done.out


# backup


def test_a_backup_is_private_and_holds_everything(
    restauth: Restauth,
    services: Services,
    miguel: int,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = restauth("user", "list")
    done = restauth("backup", "copy.db")
    assert done == (0, "The users are copied to copy.db; the key ring is a file of its own.\n", "")
    assert stat.S_IMODE((directory / "copy.db").stat().st_mode) == 0o600
    monkeypatch.setenv("RESTAUTH_DATABASE", "copy.db")
    assert restauth("user", "list") == listed
    assert restauth("check").out.startswith("ok       The database copy.db is ours")


def test_a_backup_overwrites_nothing(
    restauth: Restauth, services: Services, directory: Path
) -> None:
    (directory / "copy.db").write_text("precious")
    refused = restauth("backup", "copy.db")
    assert refused == is_refused("The backup copy.db cannot be made: File exists.")
    assert (directory / "copy.db").read_text() == "precious"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing/copy.db", "No such file or directory"),
        ("restauth.keys/copy.db", "Not a directory"),
        (".", "File exists"),
        ("restauth.db", "File exists"),
    ],
)
def test_a_backup_that_cannot_be_written_is_one_line(
    target: str, reason: str, restauth: Restauth, services: Services
) -> None:
    refused = restauth("backup", target)
    assert refused == is_refused(f"The backup {target} cannot be made: {reason}.")


# settings


def test_settings_shows_what_is_in_force_and_where_it_comes_from(
    restauth: Restauth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_TOKEN_DURATION", "60")
    head, *rows = restauth("settings").out.splitlines()
    assert head == "name\tvalue\tsource\thelp"
    assert [row.split("\t")[0] for row in rows] == [field.name for field in fields(Settings)]
    assert "token_duration\t60\tenvironment\tseconds that an access token is good" in rows
    assert "issuer\trestauth\tdefault\tiss of the tokens" in rows
    as_json = {row["name"]: row["value"] for row in restauth("settings", "--json").json}
    assert (as_json["base_url"], as_json["token_duration"]) == ("", "60")
    for name, default in (
        ("password_policy", "open"),
        ("password_check", "-"),
        ("refresh_duration", "2592000"),
        ("free_failures", "5"),
        ("max_failures", "100"),
        ("peer_failures", "30"),
    ):
        assert any(row.startswith(f"{name}\t{default}\tdefault\t") for row in rows)
    assert restauth("settings", "--json").json[0] == {
        "name": "database",
        "value": "restauth.db",
        "source": "default",
        "help": "the SQLite file; made at the first start",
    }


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("RESTAUTH_X", "1", "There is no setting 'RESTAUTH_X'."),
        ("RESTAUTH_ISSUER", "a\nb", r"RESTAUTH_ISSUER is 'a\nb': not 1 to 255 printable ASCII"),
        ("RESTAUTH_AUDIENCE", "a" * 256, f"RESTAUTH_AUDIENCE is '{'a' * 256}': not 1 to 255"),
        ("RESTAUTH_TOKEN_DURATION", "", "RESTAUTH_TOKEN_DURATION is '': not a whole number"),
        ("RESTAUTH_PASSWORD_POLICY", "nits", "RESTAUTH_PASSWORD_POLICY is 'nits': not one of"),
        ("RESTAUTH_PASSWORD_CHECK", "a.b", "RESTAUTH_PASSWORD_CHECK is 'a.b': not package.module"),
        ("RESTAUTH_MAX_FAILURES", "-1", "RESTAUTH_MAX_FAILURES is '-1': not a whole number from 0"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_every_command(
    name: str, value: str, line: str, restauth: Restauth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for words in ("settings", "settings --json", "check", "user list", "key list", "backup x"):
        refused = restauth(*words.split())
        assert (refused.status, refused.out) == (2, "")
        assert refused.err.startswith(f"restauth: {line}")
        assert refused.err.count("\n") == 1


# Ends


def test_a_store_that_somebody_holds_is_one_line_with_the_cause(
    restauth: Restauth, miguel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    with closing(sqlite3.connect("restauth.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        refused = restauth("user", "lock", NAME)
    assert refused == is_refused("The store does not answer. (database is locked)")


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of files that are not ours to use."""
    directory = tmp_path_factory.mktemp("odd")
    (directory / "damaged.db").write_text("no database at all" * 100)
    (directory / "shared.keys").touch(0o644)
    for name, statement in (
        ("foreign.db", "CREATE TABLE users (id)"),
        ("newer.db", "PRAGMA user_version = 99"),
    ):
        with closing(sqlite3.connect(directory / name)) as connection:
            connection.execute(statement)
    with closing(sqlite3.connect(directory / "newer.db")) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    return directory


WRONG = {  # words, exit status, what the last line on standard error has after "restauth"
    "nothing": ("", 2, ": error: the following arguments are required: COMMAND"),
    "no such command": ("nope", 2, ": error: argument COMMAND: invalid choice: 'nope'"),
    "half a command": ("user", 2, " user: error: the following arguments are required"),
    "no name": ("user show", 2, " user show: error: the following arguments are required: NAME"),
    "no such option": ("user list --nope", 2, ": error: unrecognized arguments: --nope"),
    "a password in the open": ("user add x y", 2, ": error: unrecognized arguments: y"),
    "an algorithm that we do not have": (
        "key rotate --algorithm=rs256",
        2,
        ": error: argument --algorithm: invalid choice: 'rs256'",
    ),
    "a waitress option": ("key list --threads=8", 2, ": error: unrecognized arguments: --threads"),
    "no waitress option": ("serve --nope", 2, ": serve: option --nope not recognized"),
    "no number": ("serve --threads=x", 2, ": serve: invalid literal for int()"),
    "a stray word": ("serve x", 2, ": serve: not accepted: x"),
    "another app": ("serve --call x:y", 2, ": serve: not accepted: x:y --call"),
    "no port": ("serve --listen ::x", 2, ": serve: Invalid host/port specified."),
    "no host": ("serve --listen=", 2, ": serve: not accepted: "),
    "a port too high": (  # the system would take it modulo 65,536
        "serve --listen=127.0.0.1:0 --listen=127.0.0.1:99999",
        2,
        ": serve: not accepted: 127.0.0.1:99999",
    ),
    "another way to listen": ("serve --port=80", 2, ": serve: host or port may not be set if"),
    "no threads": ("serve --listen=127.0.0.1:0 --threads=0", 2, "not accepted: --threads=0"),
    "no connections": (
        "serve --listen=127.0.0.1:0 --connection-limit=-1",
        2,
        ": serve: not accepted: --connection-limit=-1",
    ),
    "no address of ours": (
        "PASSWORD_POLICY=nist serve --listen 203.0.113.1:80",
        1,
        ": Cannot listen on 203.0.113.1:80",
    ),
    "no such check": (
        "PASSWORD_CHECK=no:no user list",
        2,
        ": password_check is 'no:no': ModuleNotFoundError: No module named 'no'.",
    ),
    "a bad setting": ('REALM=" serve', 2, ": RESTAUTH_REALM is '\"': not 1 to 255 printable"),
    "a damaged store": ("DATABASE=damaged.db user list", 1, "damaged.db cannot be used: file is"),
    "a foreign store": (
        "DATABASE=foreign.db user list",
        1,
        "foreign.db belongs to another program",
    ),
    "a newer store": ("DATABASE=newer.db serve", 1, "newer.db was written by a newer restauth."),
    "a store nowhere": ("DATABASE=no/x.db serve", 1, "no/x.db cannot be used: No such file or dir"),
    "a ring for all": ("KEY_FILE=shared.keys serve", 1, "shared.keys can be read or written by"),
}


@pytest.mark.parametrize(("words", "status", "line"), WRONG.values(), ids=WRONG)
def test_no_wrong_command_prints_a_traceback(
    words: str, status: int, line: str, odd_files: Path
) -> None:
    settings = dict(word.split("=") for word in words.split() if word[0].isupper())
    done = run(odd_files, *(word for word in words.split() if not word[0].isupper()), **settings)
    assert (done.returncode, done.stdout) == (status, "")
    *usage, last = done.stderr.splitlines()
    assert last.startswith("restauth")
    assert line in last
    assert bool(usage) is (": error: " in last)  # argparse's
    assert all(text.startswith(("usage: restauth", " ")) for text in usage)


def test_a_file_name_cannot_break_the_line(directory: Path) -> None:
    refused = run(directory, "user", "list", database="a\nb")
    assert refused.stderr.startswith(rf"restauth: The database {directory}/a\nb cannot be used: ")
    assert refused.stderr.count("\n") == 1


def test_version_and_help_are_no_errors(directory: Path) -> None:
    assert run(directory, "--version").stdout == f"{__version__}\n"
    assert "--threads=8" in run(directory, "serve", "--help").stdout


@pytest.fixture
def many(services: Services) -> None:
    """More users than a pipe holds."""
    for letter in "abc":
        services.store.add_user(letter * 50_000, letter, "-", 0)


def test_a_reader_that_has_seen_enough_is_no_error(directory: Path, many: None) -> None:
    with subprocess.Popen(
        [*RESTAUTH, "user", "list"],
        cwd=directory,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"id\tusername\tcreated_at\tlocked_at\troles\n"
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
        *(("user list", ""), ("user list", "1"), ("settings", ""), ("settings", "1")),
        ("--version", ""),  # unbuffered it is argparse that overlooks the failure
    ],
)
def test_output_that_does_not_fit_the_disk_is_one_line(
    words: str, unbuffered: str, directory: Path, many: None
) -> None:
    done = in_shell(directory, ">/dev/full", words, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, "restauth: No space left on device\n")


@pytest.mark.parametrize(
    ("words", "redirection", "status", "line"),
    [
        ("user list", ">&-", 0, ""),
        ("user add x", "<&-", 1, "There is no standard input to read a password from."),
        (
            "user add x --password-stdin",
            "<&-",
            1,
            "There is no standard input to read a password from.",
        ),
        ("user show nobody", "2>&-", 1, ""),
    ],
)
def test_a_closed_stream_is_no_bug(
    words: str, redirection: str, status: int, line: str, services: Services, directory: Path
) -> None:
    done = in_shell(directory, redirection, words)
    said = f"restauth: {line}\n" if line else ""
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_a_terminal_of_few_letters_gets_escapes(services: Services, directory: Path) -> None:
    services.store.add_user("Élodie", "élodie", "-", 0)
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = in_shell(directory, "", "user list", **ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\t\\xc9lodie\t" in done.stdout
