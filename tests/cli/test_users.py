"""The commands on users: what each does, what it prints, and where a password comes from."""

import json
import re
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from restauth.core import rfc3339
from restauth.core.api_keys import parse
from restauth.core.authorization import Bearer
from restauth.errors import BadCredentials, Throttled
from restauth.records import ImportedUser, IssuedKey, User
from restauth.services import Services
from restauth.testing import Clock
from tests.cli.conftest import NAME, PASSWORD, TIME, Restauth, is_one_line, refused
from tests.conftest import CLIENT, ServicesFactory, basic, bearer, client_of
from tests.processes import converse

HEAD = "id\tusername\tcreated_at\tlocked_at\tfailures\tpassword_blocked_at\troles\n"
USE = {"last_login_at", "sessions", "keys"}  # what is shown of one user, and not in a list
MISSING = (
    "There is no database {}/restauth.db: set RESTAUTH_DATABASE to that of the service, or make "
    "one: restauth serve, or restauth user add --create."
)
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


@pytest.mark.sqlite("the message is about the files of SQLite")
def test_a_new_user_has_an_id_and_files(
    restauth: Restauth, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where registration is closed, too; and not by mistake in another directory."""
    monkeypatch.setenv("RESTAUTH_REGISTRATION", "closed")
    assert restauth(ADD, stdin=b"python\n") == refused(MISSING.format(directory))
    assert list(directory.iterdir()) == []
    made = f"There was no database {directory}/restauth.db: a new one is made, without users."
    done = restauth(ADD, "--create", stdin=b"python\n")
    assert done == (0, "added ada with id 1\n", f"restauth: {made}\n")
    again = restauth("user add bob --create --password-stdin", stdin=b"python\n")
    assert again == (0, "added bob with id 2\n", "")
    assert {"restauth.db", "restauth.keys"} <= {path.name for path in directory.iterdir()}


@pytest.mark.parametrize(
    ("stdin", "password"),
    [
        (b"python", "python"),
        (b"python\n", "python"),
        (b"python\r\n", "python"),
        (b" py thon \n", " py thon "),
        ("pässwörd\n".encode(), "pässwörd"),
        (f"{KEY * 1024}\r\n".encode(), KEY * 1024),
    ],
    ids=["bare", "LF", "CRLF", "blanks", "UTF-8", "longest"],
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
        (b"python\n\n", "control characters"),  # one end of line is the shell's, no more
        (b"python\r", "control characters"),  # which is none
        (b"python\r\r\n", "control characters"),
        (b"py\tthon\n", "control characters"),
        (b"\0\n", "control characters"),
        (b"\x7f\n", "control characters"),
        (b"\xef\xbb\xbfpython\n", "byte order mark"),
    ],
    ids=[
        *("nothing", "empty", "1025", "million", "most bytes", "Latin-1", "surrogate"),
        *("LFLF", "CR", "CRCRLF", "tab", "NUL", "DEL", "BOM"),
    ],
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


@pytest.mark.parametrize("command", ["add susan", "passwd ada"])
def test_bytes_that_the_locale_cannot_read_are_one_line(
    command: str, directory: Path, ada: int
) -> None:
    """As a terminal in Latin-1 sends them."""
    status, screen = converse(directory, f"user {command}", {"Password: ": "p\udce4ss\n"})
    assert status == 1
    assert screen.count("restauth: ") == 1
    assert "Traceback" not in screen


def test_a_name_that_cannot_be_had_is_refused_before_a_password_is_asked_for(
    directory: Path, ada: int
) -> None:
    for name, line in (("Ada", "This username is taken."), ("a:b", "A username must match ")):
        status, screen = converse(directory, f"user add {name}", {})
        assert (status, screen.startswith(f"restauth: {line}")) == (1, True)


def test_a_password_from_standard_input_is_not_shown_at_a_terminal(
    directory: Path, services: Services
) -> None:
    answers = {"Password, one line, not shown: ": "pässword\n"}
    status, screen = converse(directory, "user add ada --password-stdin", answers)
    assert status == 0
    assert screen == "Password, one line, not shown: \r\nadded ada with id 1\r\n"
    assert services.authentication.authenticate(NAME, "pässword", CLIENT)


@pytest.mark.parametrize(
    ("answer", "is_deleted"),
    [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("\x04", False)],
)
def test_at_a_terminal_a_deletion_is_confirmed(
    answer: str, is_deleted: bool, directory: Path, services: Services, ada: int
) -> None:
    question = f"Delete ada, id {ada}, for good? [y/N] "
    status, screen = converse(directory, "user delete ADA", {question: answer})
    assert (status == 0) is is_deleted
    assert ("deleted ada" if is_deleted else "Nothing was deleted.") in screen
    assert bool(list(services.accounts.list())) is not is_deleted


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
    assert restauth("user lock ada") == (
        0,
        "locked ada; all sessions and API keys have ended\n",
        "",
    )
    assert re.fullmatch(TIME, restauth("user show ada --json").json["locked_at"])
    assert not is_right(services, PASSWORD)
    assert restauth("user unlock ada") == (0, "unlocked ada\n", "")
    assert is_right(services, PASSWORD)
    assert user_of(services, token) is None


def test_a_deleted_users_id_is_never_given_again(
    restauth: Restauth, services: Services, ada: int
) -> None:
    assert restauth("user delete ada") == refused(
        "There is no terminal to ask for a confirmation: use --yes."
    )
    assert len(list(services.accounts.list())) == 1
    assert restauth("user delete ada --yes") == (0, "deleted ada\n", "")
    assert list(services.accounts.list()) == []
    assert restauth(ADD, stdin=b"python").out == f"added ada with id {ada + 1}\n"


def test_end_sessions_counts_them(restauth: Restauth, services: Services, ada: int) -> None:
    tokens = [begin_session(services) for _ in range(2)]
    assert restauth("user end-sessions ada").out == "ended 2 sessions of ada\n"
    assert restauth("user end-sessions ada").out == "ended 0 sessions of ada\n"
    assert [user_of(services, token) for token in tokens] == [None, None]


# API keys

KEY_MEMBERS = ["id", "prefix", "name", "roles", "created_at", "expires_at", "last_used_at"]


def make_key(services: Services, **members: Any) -> IssuedKey:
    """Of ada, an editor."""
    ada = services.accounts.find_by_name(NAME)
    services.accounts.set_roles(ada, ["editor"])
    return services.api_keys.make(services.accounts.find_by_name(NAME), "ci", **members)


def test_keys_are_listed_as_the_api_lists_them(
    restauth: Restauth, services: Services, ada: int, clock: Clock
) -> None:
    assert restauth("user keys ada --json").json == []
    clock.now = int(time.time())  # the clock of the commands
    keys = [
        make_key(services, roles=roles, expires_in=seconds)
        for roles, seconds in ((None, None), (["editor"], 3600), ([], 1800))
    ]
    assert user_of(services, keys[1].text) is not None
    headers = basic(NAME, PASSWORD)
    listed = client_of(services).get("/api/keys", headers=headers).json["keys"]
    rows = restauth("user keys ada --json").json
    assert rows == listed
    assert [list(row) for row in rows] == [KEY_MEMBERS] * 3
    table = [line.split("\t") for line in restauth("user keys ada").out.splitlines()]
    assert table[0] == KEY_MEMBERS
    shown = {row[0]: (row[3], row[5]) for row in table[1:]}
    assert shown[keys[0].key.id] == ("*", "-")  # all roles, and no end
    assert [shown[key.key.id][0] for key in keys[1:]] == ["editor", "-"]
    for key in keys:
        assert halves_of(key)[1] not in restauth("user keys ada").out


def halves_of(issued: IssuedKey) -> tuple[str, str]:
    parts = parse(issued.text)
    return parts.id, parts.secret


def test_end_keys_counts_them(restauth: Restauth, services: Services, ada: int) -> None:
    keys = [make_key(services) for _ in range(2)]
    assert restauth("user end-keys ada").out == "ended 2 API keys of ada\n"
    assert restauth("user end-keys ada").out == "ended 0 API keys of ada\n"
    assert [user_of(services, key.text) for key in keys] == [None, None]


def test_a_leaked_key_is_found_by_what_is_known_of_it_and_revoked(
    restauth: Restauth, services: Services, ada: int
) -> None:
    kept, leaked = make_key(services), make_key(services)
    prefix, secret = f"rak_{leaked.key.id}", halves_of(leaked)[1]
    for known in (leaked.text, prefix, leaked.text[:40]):
        (row,) = restauth("user find-key --json", known).json
        assert list(row) == ["user_id", "username", *KEY_MEMBERS]
        assert (row["user_id"], row["username"], row["prefix"]) == (ada, NAME, prefix)
    assert user_of(services, leaked.text) is not None
    done = restauth("user find-key --revoke", leaked.text)
    assert done.status == 0
    assert done.err == f"restauth: ended {prefix}\n"
    assert prefix in done.out
    assert secret not in done.out
    assert user_of(services, leaked.text) is None
    assert user_of(services, kept.text) is not None
    for unknown in (leaked.text, prefix):
        assert restauth("user find-key", unknown) == refused(
            "There is no API key with this prefix: it has ended, or was never made here."
        )
    for cut in (prefix[:-4], f"{kept.key.prefix[:-1]}", "rak_", "x", "", "\udcff"):
        assert restauth("user find-key", cut) == refused(
            "This is not the prefix of an API key: rak_ and 20 hexadecimal digits."
        )


def test_a_new_password_says_that_api_keys_live_on(
    restauth: Restauth, services: Services, ada: int
) -> None:
    key = make_key(services)
    assert restauth("user passwd ada --password-stdin", stdin=b"ruby") == (
        0,
        "changed the password of ada; all sessions have ended\n",
        "restauth: 1 API keys live on: restauth user end-keys ends them\n",
    )
    assert user_of(services, key.text) is not None


def test_roles_are_added_removed_and_printed(
    restauth: Restauth, services: Services, ada: int
) -> None:
    token = begin_session(services)
    for changes, roles in (
        ("", "-"),
        ("+viewer", "viewer"),
        ("+editor -viewer", "editor"),
        ("+viewer-2 -editor +a_1", "a_1 viewer-2"),
        ("+x -x", "a_1 viewer-2"),  # to remove wins
        ("-a_1 -viewer-2", "-"),
    ):
        assert restauth("user roles ADA", *changes.split()) == (0, f"{roles}\n", "")
        assert (" ".join(services.accounts.find(ada).roles) or "-") == roles
    restauth("user roles ada +editor +admin")
    for changes, missing in (("-edito", ["edito"]), ("-a -viewer +b", ["a", "viewer"])):
        done = restauth("user roles ada", *changes.split())
        assert done.status == 0
        assert done.err.splitlines() == [
            f"restauth: ada did not have the role {role}" for role in missing
        ]
    restauth("user roles ada -b")
    user = user_of(services, token)
    assert user is not None
    assert user.roles == ("admin", "editor")


def test_a_role_without_a_sign_is_wrong_usage(
    restauth: Restauth, services: Services, ada: int
) -> None:
    for changes in (["editor"], ["+a", "editor"], ["+a", ""]):
        done = restauth("user roles ada", *changes)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith("usage: restauth user roles ")
        assert f"+ROLE or -ROLE, not {changes[-1]!r}" in done.err
    assert services.accounts.find(ada).roles == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (["+Admin"], "'Admin'"),
        (["-"], "''"),
        ([f"+r{number}" for number in range(33)], "32"),
    ],
    ids=["case", "no name", "too many"],
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


# Invitations


def test_an_invitation_is_alone_on_standard_output_and_registers_one_user(
    restauth: Restauth,
    make_services: ServicesFactory,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESTAUTH_REGISTRATION", "invited")
    clock.now = int(time.time())  # a command has no other clock
    services = make_services(registration="invited")
    done = restauth("user invite --role viewer --role editor")
    assert re.fullmatch(r"\S{16,}\n", done.out)
    assert re.fullmatch(rf"restauth: the code registers one user, until {TIME}\n", done.err)
    body = {"username": NAME, "password": PASSWORD, "invitation": done.out.strip()}
    client_of(services).post_json("/api/users", body, status=201)
    assert services.accounts.find_by_name(NAME).roles == ("editor", "viewer")
    assert restauth("user invitations").out == "id\tcreated_at\texpires_at\troles\n"


def test_invitations_are_listed_and_revoked(restauth: Restauth, services: Services) -> None:
    assert restauth("user invitations --json").out == "[]\n"
    codes = [
        restauth(f"user invite {words}").out.strip()
        for words in ("--expires-in 60", "--role editor")
    ]
    ids = [code.partition(".")[0] for code in codes]
    listed = json.loads(restauth("user invitations --json").out)
    assert [(each["id"], each["roles"]) for each in listed] == [(ids[0], []), (ids[1], ["editor"])]
    lengths = [_seconds(each["expires_at"]) - _seconds(each["created_at"]) for each in listed]
    assert lengths == [60, 604_800]
    table = restauth("user invitations").out.splitlines()
    assert re.fullmatch(rf"{ids[1]}\t{TIME}\t{TIME}\teditor", table[2])
    assert restauth("user invitations --revoke", codes[0]).out == f"revoked {ids[0]}\n"
    for used in (codes[0], ids[0]):
        done = restauth("user invitations --revoke", used)
        assert done == refused("There is no such invitation: it was used, or has expired.")
    assert restauth("user invitations").out.count("\n") == 2
    assert restauth("user invitations --revoke", ids[1]).out == f"revoked {ids[1]}\n"


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize("text", ["", "1h", "-60", "60.0", "٦٠٠", "9" * 5000])
def test_what_is_no_number_of_seconds_is_wrong_usage(
    restauth: Restauth, services: Services, text: str
) -> None:
    done = restauth("user invite", f"--expires-in={text}")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("usage: restauth user invite ")
    assert f"--expires-in: {text!r} is not a whole number of seconds" in done.err
    assert services.invitations.list() == []


def test_an_invitation_that_cannot_be_had_is_refused(
    restauth: Restauth, services: Services
) -> None:
    for seconds in ("0", "59", "31536001"):
        assert is_one_line(restauth("user invite --expires-in", seconds), "60 to 31536000")
    assert is_one_line(restauth("user invite --role Editor!"), "role")
    assert services.invitations.list() == []


@pytest.mark.parametrize("registration", ["open", "closed"])
def test_where_no_one_is_invited_the_command_says_so(
    restauth: Restauth, services: Services, monkeypatch: pytest.MonkeyPatch, registration: str
) -> None:
    monkeypatch.setenv("RESTAUTH_REGISTRATION", registration)
    remarks = restauth("user invite").err.splitlines()
    assert remarks[1:] == [f"restauth: registration is {registration}: no code is asked for"]


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
        f"{HEAD}1\tsusan\t1970-01-01T00:00:00Z\t-\t0\t-\teditor viewer\n"
        "2\tÉlodie\t2027-01-15T08:00:00Z\t2027-01-15T08:00:01Z\t0\t-\t-\n"
    )
    rows = restauth("user list --json").json
    assert [tuple(row) for row in rows] == [tuple(HEAD.split())] * 2
    assert list(rows[0].values()) == [
        *(1, "susan", "1970-01-01T00:00:00Z", None, 0, None),
        ["editor", "viewer"],
    ]
    shown = restauth("user show élodie --json").json
    assert {**rows[1], "last_login_at": None, "sessions": 0, "keys": 0} == shown
    assert restauth("user show élodie").out == (
        f"{HEAD[:-1]}\tlast_login_at\tsessions\tkeys\n"
        "2\tÉlodie\t2027-01-15T08:00:00Z\t2027-01-15T08:00:01Z\t0\t-\t-\t-\t0\t0\n"
    )


def test_a_list_can_be_narrowed_to_a_prefix_and_to_locked_users(
    restauth: Restauth, services: Services
) -> None:
    for number, name in enumerate(("Ada", "bob", "adam", "a%"), start=1):
        services._resources.store.add_user(name, name.lower(), "-", 0)
        if number % 2:
            services._resources.store.lock_user(number, 0)

    def listed(words: str) -> list[str]:
        return [row["username"] for row in restauth(f"user list --json {words}").json]

    assert listed("") == ["Ada", "bob", "adam", "a%"]
    assert listed("--prefix AD") == ["Ada", "adam"]
    assert listed("--prefix %") == listed("--prefix x") == []
    assert listed("--locked") == ["Ada", "adam"]
    assert listed("--locked --prefix ada") == ["Ada", "adam"]
    assert listed("--locked --prefix b") == []


def test_user_show_has_the_sessions_and_the_last_login_and_sessions_are_listed(
    restauth: Restauth, services: Services, ada: int, clock: Clock
) -> None:
    clock.now = int(time.time())  # a command has no other clock
    began = rfc3339.build(clock.now)
    tokens = [begin_session(services) for _ in range(2)]
    user = user_of(services, tokens[0])
    assert user is not None
    shown = restauth("user show ada --json").json
    assert (shown["sessions"], shown["last_login_at"]) == (2, began)
    sessions = restauth("user sessions ADA --json").json
    (session,) = [row for row in sessions if row["id"] == user.session_id]
    assert session == {
        "created_at": began,
        "expires_at": rfc3339.build(clock.now + 86_400),
        "id": user.session_id,
        "last_used_at": began,
        "peer": CLIENT.peer,
        "user_agent": CLIENT.user_agent,
    }
    head, *lines = restauth("user sessions ada").out.splitlines()
    assert head.split("\t") == [
        *("id", "created_at", "last_used_at", "expires_at", "peer", "user_agent")
    ]
    assert [line.split("\t")[0] for line in lines] == [row["id"] for row in sessions]
    restauth("user end-sessions ada")
    shown = restauth("user show ada --json").json
    assert (shown["sessions"], shown["last_login_at"]) == (0, began)
    assert restauth("user sessions ada --json").json == []


def test_the_json_of_commands_has_the_shapes_of_the_api(
    restauth: Restauth, services: Services, ada: int, clock: Clock
) -> None:
    clock.now = int(time.time())
    token = begin_session(services)
    client = client_of(services)
    me = client.get("/api/users/me", headers=bearer(token)).json
    shown, (row,) = restauth("user show ada --json").json, restauth("user list --json").json
    assert me.items() <= shown.items()
    assert row.items() <= shown.items()
    assert set(shown) - set(row) == USE
    (session,) = client.get("/api/sessions", headers=bearer(token)).json["sessions"]
    assert session.pop("current")
    assert restauth("user sessions ada --json").json == [session]


def test_a_name_cannot_control_the_terminal(restauth: Restauth, services: Services) -> None:
    name = "a\x1b[2J\n\tb"
    services._resources.store.add_user(name, name.lower(), "-", 0)
    assert restauth("user list").out.count("\n") == 2
    for command in ("lock", "unlock", "end-sessions", "end-keys", "reset-code", "passwd", "delete"):
        options = {"passwd": ["--password-stdin"], "delete": ["--yes"]}.get(command, [])
        done = restauth("user", command, name, *options, stdin=b"python")
        assert done.status == 0
        assert r"a\x1b[2J\n\tb" in done.out + done.err
        assert (done.out + done.err).count("\n") == (2 if command == "reset-code" else 1)


def test_at_a_terminal_a_table_is_aligned(directory: Path, services: Services) -> None:
    services._resources.store.add_user("a-long-name-of-a-user", "a", "-", 0)
    services._resources.store.add_user("b", "b", "-", 0, ("editor", "viewer"))
    status, screen = converse(directory, "user list", {})
    head, *lines = screen.splitlines()
    assert status == 0
    assert "\t" not in screen
    columns = [match.start() for match in re.finditer(r"\S+", head)]
    cells = [
        [line[begin:end].strip() for begin, end in pairwise([*columns, None])]
        for line in (head, *lines)
    ]
    assert cells == [
        HEAD.split(),
        ["1", "a-long-name-of-a-user", "1970-01-01T00:00:00Z", "-", "0", "-", "-"],
        ["2", "b", "1970-01-01T00:00:00Z", "-", "0", "-", "editor viewer"],
    ]


def test_at_a_terminal_one_user_is_shown_line_by_line(directory: Path, services: Services) -> None:
    services._resources.store.add_user("b\t", "b", "-", 0, ("editor", "viewer"))
    status, screen = converse(directory, "user show b", {})
    assert status == 0
    assert [re.split("  +", line) for line in screen.splitlines()] == [
        ["id", "1"],
        ["username", "b\\t"],
        ["created_at", "1970-01-01T00:00:00Z"],
        ["locked_at", "-"],
        ["failures", "0"],
        ["password_blocked_at", "-"],
        ["roles", "editor viewer"],
        ["last_login_at", "-"],
        ["sessions", "0"],
        ["keys", "0"],
    ]
    assert len({len(line) - len(line.split("  ")[-1].strip()) for line in screen.splitlines()}) == 1


# By id, and a new name


def imported_without_a_name(services: Services, user_id: int) -> None:
    """As the import keeps the id of a row that cannot log in."""
    user = ImportedUser(user_id, f"#{user_id}", f"NAMELESS {user_id}", "!", is_locked=True)
    services._resources.store.import_users(lambda target: target.add(user, 0))


def test_a_locked_row_of_an_import_can_be_repaired(restauth: Restauth, services: Services) -> None:
    imported_without_a_name(services, 3)
    for words in (
        *("show #3", "rename #3 ada", "passwd #3 --password-stdin", "unlock #3"),
        *("roles #3 +editor", "end-sessions #3", "reset-code #3"),
    ):
        done = restauth(f"user {words}", stdin=b"python\n")
        assert done.status == 0, (words, done)
    account = services.authentication.authenticate("ada", "python", CLIENT)
    assert (account.id, account.username, account.roles) == (3, "ada", ("editor",))
    assert restauth("user lock #3").out == "locked ada; all sessions and API keys have ended\n"
    assert restauth("user delete #3 --yes").out == "deleted ada\n"


def test_no_name_can_be_taken_for_an_id(
    restauth: Restauth, monkeypatch: pytest.MonkeyPatch, ada: int
) -> None:
    monkeypatch.setenv("RESTAUTH_USERNAME_PATTERN", ".*")
    for words in ("add #1 --password-stdin", "rename ada #1", "rename ada #x"):
        done = restauth(f"user {words}", stdin=b"python")
        assert done == refused("A username must match .*")


def test_user_rename_keeps_all_but_the_name(
    restauth: Restauth, services: Services, ada: int
) -> None:
    token = begin_session(services)
    services.accounts.register("susan", PASSWORD)
    for taken in ("susan", "SUSAN"):
        assert restauth("user rename ada", taken) == refused("This username is taken.")
    assert restauth("user rename ada a:b").status == 1
    assert restauth("user rename ada Mike") == (0, "renamed ada to Mike\n", "")
    user = user_of(services, token)
    assert user is not None
    assert user.username == "Mike"
    assert services.authentication.authenticate("mike", PASSWORD, CLIENT).id == ada
    assert not is_right(services, PASSWORD)
    assert restauth("user rename mike MIKE").status == 0  # in another case
    assert restauth("user rename unknown x") == refused("There is no such user.")


def test_user_show_tells_whether_the_password_is_blocked(
    restauth: Restauth,
    make_services: ServicesFactory,
    ada: int,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = make_services(max_failures=3)
    monkeypatch.setenv("RESTAUTH_MAX_FAILURES", "3")

    def shown() -> tuple[object, object]:
        (row,) = restauth("user list --json").json
        assert row.items() <= restauth("user show #1 --json").json.items()
        return row["failures"], row["password_blocked_at"]

    for count in range(3):
        assert shown() == (count, None)
        with pytest.raises(BadCredentials):
            services.authentication.authenticate(NAME, "wrong", CLIENT)
    clock.advance(100_000)
    with pytest.raises(Throttled) as caught:
        services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    assert caught.value.retry_after is None
    assert shown() == (3, "2027-01-15T08:00:00Z")
    assert restauth("user unlock ada").status == 0
    assert shown() == (0, None)


# No such user, no database

ON_ONE_USER = (
    *("show", "sessions", "lock", "unlock", "delete", "end-sessions", "passwd", "roles"),
    *("reset-code", "keys", "end-keys"),
)


@pytest.mark.parametrize("command", ON_ONE_USER)
def test_an_unknown_name_is_one_line(command: str, restauth: Restauth, services: Services) -> None:
    no_ids = ("#1", "#0", "#01", "#", "#x", "#-1", "#9" * 30, "#9" + "9" * 18)
    for name in (NAME, "\udcff", "x" * 100_000, *no_ids):
        assert restauth("user", command, name) == refused("There is no such user.")
    assert restauth("user", command, "12") == refused(
        "There is no user with the name 12. An id is written '#12', with the quotes."
    )


@pytest.mark.sqlite("the message is about the files of SQLite")
@pytest.mark.parametrize(
    "words",
    [
        *("backup copy.db", "user list", "user rename x y", "user add x"),
        *(f"user {word} x" for word in ON_ONE_USER),
    ],
)
def test_a_command_makes_no_database_and_says_where_it_looked(
    words: str, restauth: Restauth, directory: Path
) -> None:
    assert restauth(words) == refused(MISSING.format(directory))
    assert list(directory.iterdir()) == []
