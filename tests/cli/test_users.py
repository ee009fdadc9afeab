"""The commands on users: what each does, what it prints, and where a password comes from."""

import re
import time
from pathlib import Path

import pytest

from restauth.core.authorization import Bearer
from restauth.errors import BadCredentials
from restauth.records import User
from restauth.services import Services
from restauth.testing import Clock
from tests.cli.conftest import NAME, PASSWORD, TIME, Restauth, is_one_line, refused
from tests.conftest import CLIENT, client_of
from tests.processes import converse

HEAD = "id\tusername\tcreated_at\tlocked_at\troles\n"
ADD = "user add ada --password-stdin"
KEY = "\U0001f511"  # four bytes in UTF-8


def begin_session(services: Services) -> str:
    """A token of the user's."""
    account = services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    return services.sessions.issue(account, CLIENT).token


def user_of(services: Services, token: str) -> User | None:
    """None when the token is refused."""
    try:
        caller = services.identification.identify(Bearer(token), CLIENT)
    except BadCredentials:
        return None
    return caller.user if caller else None


def is_right(services: Services, password: str) -> bool:
    try:
        return services.authentication.authenticate(NAME, password, CLIENT).username == NAME
    except BadCredentials:
        return False


# Passwords


def test_a_new_user_has_an_id_and_files(
    restauth: Restauth, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where registration is closed, too."""
    monkeypatch.setenv("RESTAUTH_REGISTRATION", "closed")
    assert restauth(ADD, stdin=b"python\n") == (0, "added ada with id 1\n", "")
    assert {"restauth.db", "restauth.keys"} <= {path.name for path in directory.iterdir()}


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        (b"python", "python"),
        (b"python\n", "python"),
        (b"python\r\n", "python"),
        (b"python\n\n", "python\n"),  # one end of line is the shell's, no more
        (b"python\r", "python\r"),  # which is none
        (b"python\r\r\n", "python\r"),
        (b" py\tthon \n", " py\tthon "),
        ("pässwörd\n".encode(), "pässwörd"),
        (b"\0\n", "\0"),
        (f"{KEY * 1024}\r\n".encode(), KEY * 1024),
    ],
    ids=["bare", "LF", "CRLF", "LFLF", "CR", "CRCRLF", "blanks", "UTF-8", "NUL", "longest"],
)
def test_all_of_a_password_from_standard_input_counts(
    stdin: bytes, password: str, restauth: Restauth, services: Services
) -> None:
    assert restauth(ADD, stdin=stdin).status == 0
    assert is_right(services, password)


@pytest.mark.parametrize(
    ("stdin", "word"),
    [
        (b"", "1 to 1024"),
        (b"\r\n", "1 to 1024"),
        (b"x" * 1025, "1 to 1024"),
        (b"x" * 1_000_000, "1 to 1024"),
        (KEY.encode() * 1024 + b"xyz", "1 to 1024"),
        (b"p\xe4ssword\n", "UTF-8"),
        (b"\xed\xa0\x80\n", "UTF-8"),
    ],
    ids=["nothing", "empty", "1025", "million", "most bytes", "Latin-1", "surrogate"],
)
def test_an_unusable_password_changes_nothing(
    stdin: bytes, word: str, restauth: Restauth, services: Services, ada: int
) -> None:
    before = services.accounts.find(ada)
    for words in ("user add bob", "user passwd ada"):
        assert is_one_line(restauth(words, "--password-stdin", stdin=stdin), word)
    assert list(services.accounts.list()) == [before]


def test_a_name_that_http_refuses_is_refused(restauth: Restauth, ada: int) -> None:
    for name, word in (("ADA", "taken"), ("", "match"), ("\udcff", "match"), ("a\a", "match")):
        assert is_one_line(restauth("user add --password-stdin", name, stdin=b"x"), word)


def test_the_policy_and_the_operators_own_check_are_asked(
    restauth: Restauth, ada: int, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = "def check(password, username):\n    return 'No!' if '!' in password else None\n"
    (directory / "own_check.py").write_text(check)
    monkeypatch.syspath_prepend(directory)
    monkeypatch.setenv("RESTAUTH_PASSWORD_POLICY", "nist")
    monkeypatch.setenv("RESTAUTH_PASSWORD_CHECK", "own_check:check")
    for words in ("user add bob", "user passwd ada"):
        for password, word in ((b"short", "15"), (b"correct horse battery!", "No!")):
            assert is_one_line(restauth(words, "--password-stdin", stdin=password), word)
        assert restauth(words, "--password-stdin", stdin=b"correct horse battery").status == 0


def test_without_a_terminal_no_password_is_asked_for(restauth: Restauth, ada: int) -> None:
    assert is_one_line(restauth("user add bob", stdin=b"python\npython\n"), "--password-stdin")


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(
    directory: Path, services: Services
) -> None:
    answers = {"Password: ": "pässword\n", "Again: ": "pässword\n"}
    status, screen = converse(directory, "user add ada", answers)
    assert (status, screen) == (0, "Password: \r\nAgain: \r\nadded ada with id 1\r\n")
    assert is_right(services, "pässword")


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ({"Password: ": "python\n", "Again: ": "pyhton\n"}, "differ"),
        ({"Password: ": "\x04"}, "No password"),  # the end of input
    ],
)
def test_what_is_typed_wrong_adds_no_user(
    directory: Path, services: Services, answers: dict[str, str], word: str
) -> None:
    status, screen = converse(directory, "user add ada", answers)
    assert status == 1
    assert re.search(rf"restauth: [^\n]*{word}[^\n]*\n\Z", screen)
    assert screen.count("restauth: ") == 1
    assert list(services.accounts.list()) == []


# Changes


def test_passwd_ends_the_sessions(restauth: Restauth, services: Services, ada: int) -> None:
    token = begin_session(services)
    done = restauth("user passwd ADA --password-stdin", stdin=b"ruby\n")
    assert done == (0, "changed the password of ada; all sessions have ended\n", "")
    assert user_of(services, token) is None
    assert [is_right(services, password) for password in (PASSWORD, "ruby")] == [False, True]


def test_lock_ends_the_sessions_and_unlock_gives_back_the_password(
    restauth: Restauth, services: Services, ada: int
) -> None:
    token = begin_session(services)
    assert restauth("user lock ada") == (0, "locked ada; all sessions have ended\n", "")
    assert re.fullmatch(TIME, restauth("user show ada --json").json[0]["locked_at"])
    assert not is_right(services, PASSWORD)
    assert restauth("user unlock ada") == (0, "unlocked ada\n", "")
    assert is_right(services, PASSWORD)
    assert user_of(services, token) is None


def test_a_deleted_users_id_is_never_given_again(
    restauth: Restauth, services: Services, ada: int
) -> None:
    assert restauth("user delete ada") == (0, "deleted ada\n", "")
    assert list(services.accounts.list()) == []
    assert restauth(ADD, stdin=b"python").out == f"added ada with id {ada + 1}\n"


def test_end_sessions_counts_them(restauth: Restauth, services: Services, ada: int) -> None:
    tokens = [begin_session(services) for _ in range(2)]
    assert restauth("user end-sessions ada").out == "ended 2 sessions of ada\n"
    assert restauth("user end-sessions ada").out == "ended 0 sessions of ada\n"
    assert [user_of(services, token) for token in tokens] == [None, None]


def test_roles_are_added_removed_and_printed(
    restauth: Restauth, services: Services, ada: int
) -> None:
    token = begin_session(services)
    for changes, roles in (
        ("", "-"),
        ("+viewer", "viewer"),
        ("+editor -viewer", "editor"),
        ("-viewer +viewer-2 -editor +a_1", "a_1 viewer-2"),
        ("+a_1 -unknown", "a_1 viewer-2"),
        ("+x -x", "a_1 viewer-2"),  # to remove wins
        ("-a_1 -viewer-2", "-"),
    ):
        assert restauth("user roles ADA", *changes.split()) == (0, f"{roles}\n", "")
        assert (" ".join(services.accounts.find(ada).roles) or "-") == roles
    restauth("user roles ada +editor +admin")
    user = user_of(services, token)
    assert user is not None
    assert user.roles == ("admin", "editor")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (["editor"], "'editor'"),
        (["+a", "editor"], "'editor'"),
        (["+a", ""], "''"),
        (["+Admin"], "'Admin'"),
        (["-"], "''"),
        ([f"+r{number}" for number in range(33)], "32"),
    ],
    ids=["no sign", "one without", "empty", "case", "no name", "too many"],
)
def test_a_wrong_change_of_roles_changes_nothing(
    changes: list[str], word: str, restauth: Restauth, services: Services, ada: int
) -> None:
    restauth("user roles ada +viewer")
    assert is_one_line(restauth("user roles ada", *changes), word)
    assert services.accounts.find(ada).roles == ("viewer",)


def test_a_reset_code_is_alone_on_standard_output_and_works_once(
    restauth: Restauth, services: Services, ada: int, clock: Clock
) -> None:
    clock.now = int(time.time())  # a command has no other clock
    replaced, done = (restauth("user reset-code ADA") for _ in range(2))
    assert re.fullmatch(r"\S{16,}\n", done.out)
    assert re.fullmatch(r"restauth: .* ada .*\n", done.err)
    assert done.out.strip() not in done.err
    assert is_right(services, PASSWORD)  # until the code is used
    for outcome, status in ((replaced, 400), (done, 204), (done, 400)):
        body = {"code": outcome.out.strip(), "password": f"ruby {status}"}
        client_of(services).post_json("/api/password-resets", body, status=status)
    assert is_right(services, "ruby 204")


# Lists


def test_a_list_is_a_table_or_json(restauth: Restauth, services: Services) -> None:
    for words in ("user list", "user list --json"):
        assert restauth(words).out in (HEAD, "[]\n")
    store = services._resources.store
    store.add_user("susan", "susan", "-", 0)
    store.add_user("Élodie", "élodie", "-", 1_800_000_000)
    store.lock_user(2, 1_800_000_001)
    store.change_roles(1, lambda roles: ("editor", "viewer"))
    assert restauth("user list").out == (
        f"{HEAD}1\tsusan\t1970-01-01T00:00:00Z\t-\teditor viewer\n"
        "2\tÉlodie\t2027-01-15T08:00:00Z\t2027-01-15T08:00:01Z\t-\n"
    )
    rows = restauth("user list --json").json
    assert [tuple(row) for row in rows] == [tuple(HEAD.split())] * 2
    assert tuple(rows[0].values()) == (1, "susan", "1970-01-01T00:00:00Z", None, "editor viewer")
    assert rows[1:] == restauth("user show élodie --json").json


def test_a_name_cannot_control_the_terminal(restauth: Restauth, services: Services) -> None:
    name = "a\x1b[2J\n\tb"
    services._resources.store.add_user(name, name.lower(), "-", 0)
    assert restauth("user list").out.count("\n") == 2
    for command in ("lock", "unlock", "end-sessions", "reset-code", "passwd", "delete"):
        options = ["--password-stdin"] if command == "passwd" else []
        done = restauth("user", command, name, *options, stdin=b"python")
        assert done.status == 0
        assert r"a\x1b[2J\n\tb" in done.out + done.err
        assert (done.out + done.err).count("\n") == (2 if command == "reset-code" else 1)


# No such user, no database

ON_ONE_USER = ("show", "lock", "unlock", "delete", "end-sessions", "passwd", "roles", "reset-code")


@pytest.mark.parametrize("command", ON_ONE_USER)
def test_an_unknown_name_is_one_line(command: str, restauth: Restauth, services: Services) -> None:
    for name in (NAME, "\udcff", "x" * 100_000):
        assert restauth("user", command, name) == refused("There is no such user.")


@pytest.mark.parametrize("command", ["list", *(f"{word} x" for word in ON_ONE_USER)])
def test_only_a_new_user_makes_a_database(
    command: str, restauth: Restauth, directory: Path
) -> None:
    assert is_one_line(restauth(f"user {command}"), f"{directory}/restauth.db")
    assert list(directory.iterdir()) == []
