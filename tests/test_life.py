"""The life of an account, from registration to a later account of the same name; two servers under
load."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection
from itertools import cycle, islice, repeat
from pathlib import Path
from threading import Barrier, Event, Semaphore
from typing import Any

import pytest
import webtest

from restauth.cli import main
from restauth.domain import audit
from restauth.services import Services
from restauth.testing import Clock
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.processes import PATIENCE, Server, receive, run, send, until_deadline

NAME = "miguel"
RESOURCE = "/api/resource"

Operator = Callable[..., str]


# One life


@pytest.fixture
def operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Operator:
    """Run a command on the files of `services`; what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESTAUTH_BCRYPT_ROUNDS", "10")

    def run(*words: str) -> str:
        assert main.main(words) == 0
        return capsys.readouterr().out.strip()

    return run


class Person:
    """A client of the service, with the current password."""

    def __init__(self, client: webtest.TestApp, password: str) -> None:
        self.client = client
        self.password = password

    def ask(
        self, status: int, request: str, headers: dict[str, str] | None = None, **members: str
    ) -> Any:
        """By password, unless other headers are given."""
        method, path = request.split()
        credentials = basic(NAME, self.password) if headers is None else headers
        more = {"params": json.dumps(members)} if members else {}
        json_type = {"Content-Type": "application/json"} if members else {}
        return getattr(self.client, method.lower())(
            path, headers={**credentials, **json_type}, status=status, **more
        )

    def register(self) -> int:
        """The id."""
        answer = self.ask(201, "POST /api/users", {}, username=NAME, password=self.password)
        return int(answer.headers["Location"].rpartition("/")[2])

    def begin(self) -> dict[str, str]:
        pair: dict[str, str] = self.ask(201, "POST /api/sessions").json
        return pair

    def make_key(self) -> dict[str, str]:
        key: dict[str, str] = self.ask(201, "POST /api/keys", name="ci").json
        return key

    def refresh(self, pair: dict[str, str], status: int = 200) -> dict[str, str]:
        members = {"refresh_token": pair["refresh_token"]}
        answer: dict[str, str] = self.ask(status, "POST /api/token", {}, **members).json
        return answer

    def expect(self, status: int, *pairs: dict[str, str]) -> None:
        """Hold each access token against the resource."""
        for pair in pairs:
            self.ask(status, f"GET {RESOURCE}", bearer(pair["token"]))


@pytest.mark.parametrize("who_deletes", ["owner", "operator"])
def test_the_life_of_an_account(
    services: Services,
    clock: Clock,
    operator: Operator,
    caplog: pytest.LogCaptureFixture,
    who_deletes: str,
) -> None:
    caplog.set_level("INFO", "restauth.audit")
    clock.now = int(time.time())  # commands have no other clock
    miguel = Person(client_of(services), "python")
    assert miguel.register() == 1
    miguel.ask(400, "POST /api/users", {}, username="MIGUEL", password="perl")

    # Two devices, and what each may do with its tokens.
    phone, laptop = miguel.begin(), miguel.begin()
    miguel.expect(200, phone, laptop)
    assert operator("user", "roles", NAME, "+editor") == "editor"
    assert operator("user", "rename", "#1", "mike") == f"renamed {NAME} to mike"
    miguel.expect(200, phone, laptop)
    assert operator("user", "rename", "#1", NAME) == f"renamed mike to {NAME}"
    me = miguel.ask(200, "GET /api/users/me", bearer(phone["token"])).json
    assert (me["id"], me["roles"]) == (1, ["editor"])
    sessions = miguel.ask(200, "GET /api/sessions", bearer(laptop["token"])).json["sessions"]
    assert sorted(session["current"] for session in sessions) == [False, True]
    miguel.ask(200, "GET /api/token", bearer(laptop["token"]))

    # The phone's refresh token is stolen, and used after the phone has used it.
    stolen = phone
    phone = miguel.refresh(phone)
    miguel.expect(200, stolen, phone)
    clock.advance(11)
    miguel.refresh(stolen, 401)
    miguel.refresh(phone, 401)
    miguel.expect(401, stolen, phone)
    miguel.expect(200, laptop)

    # A new password ends what the old one began, but for a key of a script; one is given up.
    phone, script, unused = miguel.begin(), miguel.make_key(), miguel.make_key()
    miguel.ask(204, f"DELETE /api/keys/{unused['id']}", bearer(phone["token"]))
    changed = miguel.ask(204, "PUT /api/users/me/password", password="ruby")
    assert changed.headers["Live-API-Keys"] == "1"
    miguel.expect(401, phone, laptop)
    miguel.ask(401, f"GET {RESOURCE}", bearer(unused["key"]))
    miguel.ask(401, f"GET {RESOURCE}")
    miguel.password = "ruby"
    phone = miguel.begin()

    # An attacker guesses; the user has forgotten the password, and the operator helps.
    for guess in ("perl", "java", "cobol", "basic", "lisp", "ada"):
        miguel.ask(401, f"GET {RESOURCE}", basic(NAME, guess))
    miguel.ask(429, f"GET {RESOURCE}")
    miguel.expect(200, phone)
    miguel.ask(200, f"GET {RESOURCE}", basic(NAME, script["key"]))
    code = operator("user", "reset-code", NAME)
    miguel.ask(400, "POST /api/password-resets", {}, code=code[:-1] + "!", password="perl")
    miguel.ask(204, "POST /api/password-resets", {}, code=code, password="perl")
    miguel.ask(400, "POST /api/password-resets", {}, code=code, password="java")
    miguel.expect(401, phone)
    miguel.password = "perl"
    phone = miguel.begin()

    # Locked, unlocked; and out everywhere, once by the owner and once by the operator.
    operator("user", "lock", NAME)
    miguel.expect(401, phone)
    miguel.ask(401, f"GET {RESOURCE}", bearer(script["key"]))
    miguel.refresh(phone, 401)
    miguel.ask(401, f"GET {RESOURCE}")
    operator("user", "unlock", NAME)
    miguel.expect(401, phone)
    miguel.ask(401, f"GET {RESOURCE}", bearer(script["key"]))
    leaked, script = miguel.make_key(), miguel.make_key()
    assert NAME in operator("user", "find-key", leaked["prefix"], "--revoke")
    miguel.ask(401, f"GET {RESOURCE}", bearer(leaked["key"]))
    phone, laptop = miguel.begin(), miguel.begin()
    miguel.ask(204, "DELETE /api/token", bearer(phone["token"]))
    miguel.expect(200, laptop)
    miguel.ask(204, "DELETE /api/sessions", bearer(laptop["token"]))
    laptop = miguel.begin()
    assert operator("user", "end-sessions", NAME) == f"ended 1 sessions of {NAME}"
    miguel.expect(401, phone, laptop)
    miguel.ask(200, f"GET {RESOURCE}", bearer(script["key"]))
    assert operator("user", "end-keys", NAME) == f"ended 1 API keys of {NAME}"
    miguel.ask(401, f"GET {RESOURCE}", bearer(script["key"]))

    # The operator invites another person, and takes it back.
    invitation = operator("user", "invite").partition(".")[0]
    operator("user", "invitations", "--revoke", invitation)

    # The end, with a session, a key and a reset code still alive, and guesses after it.
    script = miguel.make_key()
    phone, code = miguel.begin(), operator("user", "reset-code", NAME)
    if who_deletes == "owner":
        miguel.ask(204, "DELETE /api/users/me")
    else:
        assert operator("user", "delete", NAME, "--yes") == f"deleted {NAME}"
    miguel.ask(400, "GET /api/users/1")
    miguel.expect(401, phone)
    for status in [401] * 6 + [429]:
        miguel.ask(status, f"GET {RESOURCE}")

    # Another user takes the name, and gets nothing of the first one.
    namesake = Person(client_of(services), "haskell")
    assert namesake.register() == 2
    me = namesake.ask(200, "GET /api/users/me").json  # the guesses are not counted against him
    assert (me["id"], me["username"], me["roles"]) == (2, NAME, [])
    assert namesake.ask(200, "GET /api/sessions").json == {"sessions": []}
    assert namesake.ask(200, "GET /api/keys").json == {"keys": []}
    miguel.expect(401, stolen, phone, laptop)
    miguel.ask(401, f"GET {RESOURCE}", bearer(script["key"]))
    miguel.ask(401, f"GET {RESOURCE}", basic(NAME, script["key"]))
    miguel.refresh(phone, 401)
    miguel.ask(401, f"GET {RESOURCE}")
    miguel.ask(400, "POST /api/password-resets", {}, code=code, password="perl")
    sid = phone["refresh_token"].split(".")[2]
    namesake.ask(404, f"DELETE /api/sessions/{sid}")
    miguel.ask(400, "GET /api/users/1")
    namesake.ask(200, f"GET {RESOURCE}")

    # The log has told all of it: there is no event of an account that such a life has not.
    lines = [json.loads(each.getMessage()) for each in caplog.records if "audit" in each.name]
    of_the_service = {"backed_up", "copied", "events_lost", "imported"}
    of_accounts = {
        event.value for event in audit.Event if not event.value.startswith("key")
    } - of_the_service
    assert {line["event"] for line in lines} == of_accounts
    assert {line["user_id"] for line in lines} == {1, 2, None}


# Two processes, one database

REVOKED = 120  # rounds, some 20 for each way to revoke
REFRESHED = 20  # rounds
RACERS = 8
MAX_FAILURES = 7


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    """Two of them, with a user who has logged in."""
    limits = {"free_failures": "0", "max_failures": str(MAX_FAILURES)}
    with ExitStack() as stack:
        servers = [stack.enter_context(Server.start(tmp_path, **limits)) for _ in range(2)]
        servers[0].register(NAME)
        yield servers


def ask(connection: HTTPConnection, path: str, token: str) -> tuple[int, Any]:
    send(connection, "GET", path, bearer(token))
    answer = receive(connection)
    return answer.status, answer.json


class Hammers:
    """One at each server: the first uses a token, the second renews it and uses the new one."""

    def __init__(self, servers: list[Server], stack: ExitStack) -> None:
        self._connections = [stack.enter_context(closing(each.connect())) for each in servers]
        self._pool = stack.enter_context(ThreadPoolExecutor(len(servers)))

    def late_statuses(self, token: str, revoke: Callable[[], object]) -> list[int]:
        """What they are answered from the moment on in which `revoke` has returned."""
        is_under_way, is_revoked = Semaphore(0), Event()

        def hammer(connection: HTTPConnection, is_renewing: bool) -> list[int]:
            held = token
            late: list[int] = []
            while len(late) < 3:
                is_late = is_revoked.is_set()  # asked before the request is sent
                status, value = ask(connection, "/api/token" if is_renewing else RESOURCE, held)
                if is_renewing and status == 200:
                    held = value["token"]
                if is_late:
                    late += [status, ask(connection, RESOURCE, held)[0]]
                else:
                    is_under_way.release()
            return late

        results = [
            self._pool.submit(hammer, connection, is_renewing)
            for connection, is_renewing in zip(self._connections, (False, True), strict=True)
        ]
        try:
            for _ in range(4):
                assert is_under_way.acquire(timeout=PATIENCE)
            revoke()
        finally:
            is_revoked.set()
        return [status for result in results for status in result.result(PATIENCE)]


def test_no_token_is_good_in_any_process_once_it_was_revoked_in_one(
    servers: list[Server], make_services: ServicesFactory
) -> None:
    third = make_services()  # a process of the operator's, as good as

    def done(method: str, path: str, credentials: dict[str, str], value: object = None) -> None:
        assert servers[0].request(method, path, credentials, value).status == 204

    password = basic(NAME, "pw")
    ways: dict[str, Callable[[str], object]] = {
        "logout": lambda token: done("DELETE", "/api/token", bearer(token)),
        "everywhere": lambda token: done("DELETE", "/api/sessions", bearer(token)),
        "one session": lambda token: done("DELETE", f"/api/sessions/{current(token)}", password),
        "password": lambda token: done(
            "PUT", "/api/users/me/password", password, {"password": "pw"}
        ),
        "lock": lambda token: third.accounts.lock(third.accounts.find_by_name(NAME)),
        "closing": lambda token: done("DELETE", "/api/users/me", password),
    }

    def current(token: str) -> str:
        sessions = servers[1].get("/api/sessions", bearer(token)).json["sessions"]
        (sid,) = [session["id"] for session in sessions if session["current"]]
        return str(sid)

    with ExitStack() as stack:
        hammers = Hammers(servers, stack)
        for number, way in islice(enumerate(cycle(ways)), REVOKED):
            token = servers[number % 2].log_in(NAME)
            late = hammers.late_statuses(token, partial(ways[way], token))
            assert (number, way, set(late)) == (number, way, {401})
            if way == "lock":
                third.accounts.unlock(third.accounts.find_by_name(NAME))
            elif way == "closing":
                servers[0].register(NAME)


def test_of_those_who_refresh_at_once_in_two_processes_one_turns_the_session(
    servers: list[Server], make_services: ServicesFactory
) -> None:
    services = make_services()
    all_are_here = Barrier(RACERS, timeout=PATIENCE)

    def refresh(connection: HTTPConnection, refresh_token: str) -> dict[str, str]:
        all_are_here.wait()
        send(connection, "POST", "/api/token", value={"refresh_token": refresh_token})
        answer = receive(connection)
        assert answer.status == 200, answer
        pair: dict[str, str] = answer.json
        return pair

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(RACERS))
        connections = [
            stack.enter_context(closing(servers[number % 2].connect())) for number in range(RACERS)
        ]
        for _ in range(REFRESHED):
            pair = servers[0].request("POST", "/api/sessions", basic(NAME, "pw")).json
            for turn in (1, 2):
                pairs = list(pool.map(refresh, connections, repeat(pair["refresh_token"])))
                pair = pairs[0]
                assert {each["refresh_token"] for each in pairs} == {pair["refresh_token"]}
                sid = pair["refresh_token"].split(".")[2]
                rows = services._resources.engine.read(
                    "SELECT refresh_counter FROM sessions WHERE id = :sid", {"sid": sid}
                )
                assert rows == [(turn,)]
                for number, each in enumerate(pairs):
                    assert servers[number % 2].get(RESOURCE, bearer(each["token"])).status == 200


def test_no_more_guesses_than_allowed_are_compared_in_two_processes_together(
    servers: list[Server],
) -> None:
    token = servers[0].log_in(NAME)
    all_are_here = Barrier(RACERS, timeout=PATIENCE)

    def guess(number: int) -> list[int]:
        """The answers until one says that it is over."""
        server = servers[number % 2]
        statuses = []
        all_are_here.wait()
        for _ in until_deadline():
            statuses.append(server.get(RESOURCE, basic(NAME, f"guess{number}")).status)
            if statuses[-1] == 429:
                break
        return statuses

    with ThreadPoolExecutor(RACERS) as pool:
        answered = [status for statuses in pool.map(guess, range(RACERS)) for status in statuses]
    assert set(answered) <= {401, 429, 503}  # 503: no hash slot is free, and nothing is compared
    assert answered.count(401) == MAX_FAILURES
    for server in servers:
        assert server.get(RESOURCE, basic(NAME, "pw")).status == 429
        assert server.get(RESOURCE, bearer(token)).status == 200
        assert server.end() == 0
    said = "".join(server.output for server in servers)
    assert said.count('"event": "login_failed"') == MAX_FAILURES


# A server whose files are changed under it


def copy_over(directory: Path) -> None:
    """What `cp backup.db restauth.db` does."""
    (directory / "restauth.db").write_bytes((directory / "backup.db").read_bytes())


@pytest.mark.sqlite("it is about the files of SQLite")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda directory: (directory / "restauth.db").unlink(), id="removed"),
        pytest.param(lambda directory: (directory / "restauth.db-wal").unlink(), id="no WAL"),
        pytest.param(lambda directory: (directory / "restauth.db").write_bytes(b""), id="emptied"),
        pytest.param(copy_over, id="copied over"),
    ],
)
def test_nothing_is_acknowledged_that_would_be_lost_and_a_restore_mends_it(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    with Server.start(tmp_path) as server:
        assert server.register(NAME) == 1
        assert run(tmp_path, "backup", "backup.db").returncode == 0
        token = server.log_in(NAME)
        change(tmp_path)
        value = {"username": "susan", "password": "pw"}
        assert server.request("POST", "/api/users", value=value).status == 503
        assert server.get("/api/health").status == 503
        assert server.hear(re.compile("restart"))
        server.end(signal.SIGKILL)
    assert run(tmp_path, "restore", "backup.db").returncode == 0
    with Server.start(tmp_path) as server:
        assert server.get(RESOURCE, bearer(token)).status == 401
        assert server.register("susan") == 2
        assert server.log_in(NAME)
