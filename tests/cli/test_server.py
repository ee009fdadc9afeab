"""Real servers on real sockets: journeys, stops, kills, and processes that share their files."""

import json
import os
import re
import resource
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPException
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from urllib.parse import urlsplit

import jwt
import pytest
from waitress.adjustments import Adjustments
from waitress.task import ThreadedTaskDispatcher

from restauth.cli import server as server_module
from restauth.cli.connections import Connection, Connections
from restauth.cli.tasks import Dispatcher
from restauth.services import HASH_QUEUE, HASH_SLOTS
from restauth.storage.engine import MAX_WRITERS
from tests.conftest import ServicesFactory, basic, bearer
from tests.processes import (
    PATIENCE,
    RESTAUTH,
    SERVE,
    Server,
    receive,
    run,
    send,
    until_deadline,
)

RESOURCE = "/api/resource"
NAME, PASSWORD = "miguel", "python"

WSGIREF = """
from wsgiref.simple_server import make_server
from restauth import create_app
server = make_server("127.0.0.1", 0, create_app())
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
COMMANDS = {
    "restauth serve": SERVE,
    "wsgiref": (sys.executable, "-c", WSGIREF),
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    """`restauth serve`, and a user."""
    with Server.start(tmp_path) as server:
        server.register(NAME, PASSWORD)
        yield server


def open_socket(server: Server) -> socket.socket:
    url = urlsplit(server.address)
    return socket.create_connection((str(url.hostname), url.port), PATIENCE)


def kid_of(token: str) -> object:
    return jwt.get_unverified_header(token)["kid"]


# The journey


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_journey_is_the_same_on_every_server(tmp_path: Path, command: tuple[str, ...]) -> None:
    with Server.start(tmp_path, *command) as server:
        assert server.register(NAME, PASSWORD) == 1
        greeting = {"data": "Hello, miguel!"}
        assert server.get(RESOURCE, basic(NAME, PASSWORD)).json == greeting
        token = server.log_in(NAME, PASSWORD)
        assert server.get(RESOURCE, basic(token, "")).json == greeting
        renewed = server.get("/api/token", bearer(token)).json["token"]
        assert renewed != token
        assert server.get(RESOURCE, bearer(renewed)).json == greeting
        assert server.get(RESOURCE, basic(NAME, "ruby")).status == 401
        assert server.request("DELETE", "/api/token", bearer(token)).status == 204
        assert server.get(RESOURCE, bearer(renewed)).status == 401
        assert server.get("/nowhere").status == 404
        assert server.request("PUT", "/api/users").status == 405


# Listening


def test_standard_error_carries_the_events_as_json(tmp_path: Path) -> None:
    shell = ("sh", "-c", 'exec "$@" 2>errors', "sh", *SERVE)
    with Server.start(tmp_path, *shell) as server:
        server.register(NAME, PASSWORD)
        token = server.log_in(NAME, PASSWORD)
        assert server.get(RESOURCE, basic(NAME, "s3cret")).status == 401
        assert server.get(RESOURCE, basic("s3cret-as-a-name", "x")).status == 401
        assert server.request("DELETE", "/api/token", bearer(token)).status == 204
        assert server.end() == 0
    said = (tmp_path / "errors").read_text()
    remark, *events = said.splitlines()
    assert re.fullmatch(r"[0-9-]{10} [0-9:,]{12} WARNING restauth: password_policy .+", remark)
    assert [json.loads(line)["event"] for line in events] == [
        *("registered", "login", "session_started", "login_failed", "login_failed"),
        "session_ended",
    ]
    assert "s3cret" not in said
    assert token not in said
    assert len(server.output.splitlines()) == 1  # the announcement: no event on standard output


@pytest.mark.parametrize(
    "options",
    [(), ("--listen=127.0.0.1:0", "--listen=127.0.0.1:0")],
    ids=["in the setting", "in two options"],
)
def test_several_addresses_are_all_served(tmp_path: Path, options: tuple[str, ...]) -> None:
    listen = "9" if options else "127.0.0.1:0,127.0.0.1:0"
    with Server.start(tmp_path, *RESTAUTH, "serve", *options, listen=listen) as server:
        assert len(set(server.addresses)) == 2
        for address in server.addresses:
            with closing(server.connect(address)) as connection:
                send(connection, "GET", "/api/health")
                assert receive(connection).status == 200
        assert server.end() == 0
        for address in server.addresses:
            with pytest.raises(ConnectionRefusedError):
                server.connect(address)


def test_ipv6_is_served_where_there_is_any(tmp_path: Path) -> None:
    command = (*RESTAUTH, "serve", "--listen", "[::1]:0")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        refused = run(tmp_path, *command[len(RESTAUTH) :])
        assert refused.returncode == 1
        assert refused.stderr.startswith("restauth: Cannot listen on [::1]:0: ")
    else:
        with Server.start(tmp_path, *command) as server:
            assert server.address.startswith("http://[::1]:")
            assert server.get("/api/health").status == 200


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        refused = run(tmp_path, "serve", "--listen", address, password_policy="nist")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"restauth: Cannot listen on {address}: Address already in use.\n"
    assert list(tmp_path.iterdir()) == []


def test_of_several_addresses_the_one_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        refused = run(tmp_path, "serve", "--listen", "127.0.0.1:0", "--listen", address)
    assert refused.returncode == 1
    assert f"Cannot listen on {address}: Address already in use.\n" in refused.stderr


@pytest.mark.parametrize(
    "wrong", [{"database": "no/x.db"}, {"key_file": "no/x.keys"}, {"audit_log": "no/audit.log"}]
)
def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path, wrong: dict[str, str]) -> None:
    refused = run(tmp_path, "serve", "--listen", "127.0.0.1:0", **wrong)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no/" in refused.stderr
    assert list(tmp_path.iterdir()) == []


# Limits


def test_no_answer_names_the_server_software(served: Server) -> None:
    assert "server" not in served.get("/api/health").headers
    with open_socket(served) as client:
        client.sendall(b"no request at all\r\n\r\n")
        refusal = b"".join(iter(lambda: client.recv(65_536), b"")).lower()
    assert refusal.startswith(b"http/1.0 400")
    assert b"\nserver:" not in refusal
    assert b"\nvia:" not in refusal


def test_a_body_that_is_too_large_is_refused_by_the_app_or_the_server(served: Server) -> None:
    def refusal(size: int) -> str:
        answer = served.request("POST", "/api/users", value="x" * (size - len('""')))
        assert answer.status == 413
        return answer.headers["content-type"]

    assert refusal(65_537) == refusal(131_071) == "application/problem+json"
    assert refusal(131_073) == "application/problem+json"  # the app never sees it


def test_a_header_that_is_too_large_is_refused_by_the_server(served: Server) -> None:
    assert served.get("/api/health", {"Cookie": "x" * 15_000}).status == 200
    assert served.get("/api/health", {"Cookie": "x" * 17_000}).status == 431


def test_the_limits_fit_one_another() -> None:
    """A thread is always left for a token, and a slow connection is cut in a quarter minute."""
    assert server_module.MIN_THREADS > HASH_SLOTS + HASH_QUEUE + MAX_WRITERS
    assert server_module.MIN_THREADS < server_module.THREADS == server_module.LIMITS["threads"]
    assert sum(server_module.LIMITS[name] for name in ("channel_timeout", "cleanup_interval")) <= 15


def test_the_stop_does_not_wait_for_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1000.0] + [0.0] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(times))
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.set_thread_count(3)
    server_module._end_threads(dispatcher)
    assert not dispatcher.threads


def test_a_stop_without_connections_waits_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "task_class", Connection.task_class)  # the stop changes it
    turns: list[object] = []
    monkeypatch.setattr(server_module, "_turn", lambda *turn: turns.append(turn))
    dispatcher = Dispatcher(is_app_prompt=False)
    server_module._finish({}, dispatcher, [], Connections({}, Adjustments()))
    assert turns == []


@contextmanager
def many_files(wanted: int) -> Iterator[None]:
    """Let this process hold so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_slow_headers_do_not_keep_a_client_out(tmp_path: Path) -> None:
    # More than select() can watch, and more files than the shell granted.
    shell = ("sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh")
    with Server.start(tmp_path, *shell, *SERVE) as server, many_files(2000), ExitStack() as stack:
        server.register(NAME, PASSWORD)
        for _ in range(1100):
            slow = stack.enter_context(open_socket(server))
            slow.sendall(b"GET /api/health HTTP/1.1\r\nHost: local")
        assert server.get(RESOURCE, basic(NAME, PASSWORD)).status == 200
        slow.sendall(b"host\r\n\r\n")
        assert slow.recv(12) == b"HTTP/1.1 200"
        assert server.end() == 0
    assert "ulimit" not in server.output


def test_more_connections_than_files_neither_shut_out_the_first_nor_fill_the_log(
    tmp_path: Path,
) -> None:
    shell = ("sh", "-c", 'ulimit -n 300; exec "$@"', "sh")
    with Server.start(tmp_path, *shell, *SERVE) as server, ExitStack() as stack:
        server.register(NAME, PASSWORD)
        first = stack.enter_context(closing(server.connect()))
        for _ in range(150):
            stack.enter_context(open_socket(server))
        send(first, "GET", RESOURCE, basic(NAME, PASSWORD))
        assert receive(first).status == 200
        server.end(signal.SIGKILL)
    assert "Too many open files" not in server.output
    room = 300 - 3 * server_module.THREADS - server_module.SPARE_FILES
    assert f"restauth: room for {room} connections only: see ulimit -n\n" in server.output


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "room"),
    [
        (1024, 4096, (2064, 4096), 2000),
        (1024, INFINITE, (2064, INFINITE), 2000),
        (1024, 2000, (2000, 2000), 1936),
        (2063, 2064, (2064, 2064), 2000),
        (2063, 2063, (2063, 2063), 1999),
        (64, 64, (64, 64), 1),  # never none at all
        (2064, 4096, None, 2000),  # enough
        (INFINITE, INFINITE, None, 2000),
    ],
)
def test_the_file_limit_is_raised_as_far_as_needed_and_allowed(
    soft: int,
    hard: int,
    expected: tuple[int, int] | None,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.append(pair))
    assert server_module._raise_file_limit(2000, 64) == room
    assert limits == ([expected] if expected else [])
    remark = f"restauth: room for {room} connections only: see ulimit -n\n"
    assert capsys.readouterr().err == (remark if room < 2000 else "")


# Stopping


def wait_until_nobody_listens(server: Server) -> None:
    """By then the signal has come."""
    for _ in until_deadline():
        try:
            server.connect().close()
        except OSError:  # refused, or reset when it was just being closed
            return


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_every_answer_out(tmp_path: Path, number: int) -> None:
    # One thread, and a hash for each: the logins stand in a row.
    command = (*SERVE, "--threads=1")
    with ExitStack() as stack:
        server = stack.enter_context(Server.start(tmp_path, *command, credential_cache="0"))
        server.register(NAME, PASSWORD)
        clients = [stack.enter_context(closing(server.connect())) for _ in range(5)]
        for client in clients:
            send(client, "GET", RESOURCE, basic(NAME, PASSWORD))
        statuses = [receive(clients[0]).status]
        server.process.send_signal(number)
        last = [receive(client) for client in clients[1:]]
        assert statuses + [answer.status for answer in last] == [200] * 5
        # Each tells its client, who would go on asking on its connection, that it ends.
        assert last[-1].headers["connection"] == "close"
        assert server.wait() == 0
    # The announcement, a remark upon the policy and one upon threads, and the events: a flood
    # must not fill the disk with more.
    lines = server.output.splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert events == ["registered"] + ["login"] * 5
    assert len(lines) == len(events) + 3
    # No write-ahead log is left behind: the one file holds everything.
    assert not {path.name for path in tmp_path.iterdir()} - {"restauth.db", "restauth.keys"}


def test_a_second_signal_ends_the_server_at_once(tmp_path: Path) -> None:
    with (
        Server.start(tmp_path, bcrypt_rounds="15") as server,
        closing(server.connect()) as client,
    ):
        send(client, "GET", RESOURCE, basic("nobody", PASSWORD))  # seconds of hashing
        assert server.get("/api/health").status == 200  # accepted later: the login is read
        server.process.send_signal(signal.SIGTERM)
        wait_until_nobody_listens(server)
        assert server.end(signal.SIGTERM) == 128 + signal.SIGTERM
        with pytest.raises((HTTPException, ConnectionError)):
            receive(client)


def test_the_first_signal_asks_and_the_second_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(server_module, "_exit", statuses.append)
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        woken: list[bool] = []
        stop = server_module._Stop(lambda: woken.append(stop.is_asked))
        for number in numbers:
            seen = (stop.is_asked, list(statuses))
            assert seen == (number == signal.SIGTERM, [])
            signal.raise_signal(number)
        assert woken[0]
        assert statuses == [128 + signal.SIGTERM]
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


LONG = 3 * 10**7  # bytes, more than the kernel takes for a client that does not read
LONG_ANSWERS = f"""
import sys
from restauth.cli import server
def app(environ, start_response):
    start_response("200 OK", [])
    return [bytes({LONG})]
server.STOP_DURATION = float(sys.argv[1])
server.serve(app, {{"listen": "127.0.0.1:0"}}, lambda addresses: print(*addresses, flush=True))
"""


def test_a_client_that_does_not_read_cannot_hold_up_the_stop(tmp_path: Path) -> None:
    with (
        Server.start(tmp_path, sys.executable, "-c", LONG_ANSWERS, "0.1") as server,
        closing(server.connect()) as client,
    ):
        send(client, "GET", "/")
        response = client.getresponse()
        assert server.end() == 0
        with pytest.raises((HTTPException, ConnectionError)):
            response.read()


def test_an_answer_that_is_on_its_way_arrives_whole(tmp_path: Path) -> None:
    with (
        Server.start(tmp_path, sys.executable, "-c", LONG_ANSWERS, str(PATIENCE)) as server,
        closing(server.connect()) as client,
    ):
        send(client, "GET", "/")
        response = client.getresponse()
        server.process.send_signal(signal.SIGTERM)
        wait_until_nobody_listens(server)
        assert len(response.read()) == LONG
        assert server.wait() == 0


# Killing


def test_no_answered_registration_is_lost_by_kill_9(
    tmp_path: Path, make_services: ServicesFactory
) -> None:
    answered: dict[int, str] = {}
    deleted: dict[int, str] = {}

    def register_until_killed(server: Server, prefix: str, is_under_way: Event) -> None:
        for number in count():
            username = f"{prefix}-{number}"
            try:
                user_id = server.register(username)
            except (HTTPException, OSError):
                return
            assert user_id not in answered  # no id is given twice
            answered[user_id] = username
            is_under_way.set()

    for turn in range(20):
        is_under_way = Event()
        with ThreadPoolExecutor() as pool, Server.start(tmp_path) as server:
            assert server.address
            clients = [
                pool.submit(register_until_killed, server, f"{prefix}{turn}", is_under_way)
                for prefix in "ab"
            ]
            assert is_under_way.wait(PATIENCE)
            server.process.kill()
            for client in clients:
                client.result(PATIENCE)
        services = make_services()
        kept = {account.id: account.username for account in services.accounts.list()}
        assert answered.items() <= kept.items() | deleted.items()
        # The highest id is free again, and must stay so.
        highest = max(kept)
        services.accounts.delete(services.accounts.find(highest))
        deleted[highest] = kept[highest]
        services.close()
    assert run(tmp_path, "check").returncode == 0


# Sharing the files


def test_four_servers_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(Server.start(tmp_path)) for _ in range(4)]
        servers[0].register(NAME, PASSWORD)
        tokens = [server.log_in(NAME, PASSWORD) for server in servers]
        for server in servers:
            assert {server.get(RESOURCE, bearer(token)).status for token in tokens} == {200}
    assert len({kid_of(token) for token in tokens}) == 1


def test_a_rotation_refuses_no_good_token_in_any_process(served: Server, tmp_path: Path) -> None:
    """A client renews at one server and uses its tokens at the other, all the while."""
    kids: SimpleQueue[object] = SimpleQueue()  # each when it is met for the first time
    is_over = Event()

    def hammer(other: Server) -> None:
        try:
            first = token = served.log_in(NAME, PASSWORD)
            kid = kid_of(token)
            kids.put(kid)
            while not is_over.is_set():
                renewal = served.get("/api/token", bearer(token))
                assert renewal.status == 200
                token = renewal.json["token"]
                statuses = {other.get(RESOURCE, bearer(each)).status for each in (first, token)}
                assert statuses == {200}
                if kid != kid_of(token):
                    kid = kid_of(token)
                    kids.put(kid)
        finally:
            kids.put("the end")

    with Server.start(tmp_path) as other, ThreadPoolExecutor() as pool:
        client = pool.submit(hammer, other)
        made, met = [], []
        try:
            kids.get(timeout=PATIENCE)  # of the key before the first rotation
            for _ in range(4):
                ring = run(tmp_path, "key", "rotate").stdout.splitlines()
                made.append(ring[1].partition("\t")[0])
                met.append(kids.get(timeout=PATIENCE))
        finally:
            is_over.set()
            client.result(PATIENCE)
    assert met == made


@pytest.mark.sqlite("a copy of PostgreSQL is made by pg_dump")
def test_a_backup_while_serving_is_a_database_to_serve(served: Server, tmp_path: Path) -> None:
    assert run(tmp_path, "backup", "copy.db").returncode == 0
    with Server.start(tmp_path, database="copy.db") as copy:
        assert copy.get(RESOURCE, basic(NAME, PASSWORD)).status == 200


@pytest.mark.sqlite("it is about the files of SQLite")
def test_a_server_whose_database_is_taken_away_says_so(served: Server, tmp_path: Path) -> None:
    os.rename(tmp_path / "restauth.db", tmp_path / "elsewhere.db")
    for _ in until_deadline():  # it looks once a second
        if served.get("/api/health").status == 503:
            break
    assert served.end() == 0
    assert " WARNING restauth: store_unavailable: " in served.output
    assert "restauth.db was removed or replaced: restart\n" in served.output


def test_an_http_1_1_request_without_a_host_is_malformed(served: Server) -> None:
    for version, status in ((b"1.1", b"400"), (b"1.0", b"200")):
        with open_socket(served) as client:
            client.sendall(b"GET /api/health HTTP/" + version + b"\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65_536), b""))
        assert answer.startswith(b"HTTP/" + version + b" " + status)


def test_what_the_server_refuses_is_a_problem_that_a_page_may_read(tmp_path: Path) -> None:
    page = "https://app.example.org"
    with Server.start(tmp_path, cors_origins=page) as server:
        for headers, status in (
            ({"Content-Length": "x"}, 400),
            ({"Content-Length": "999999"}, 413),
            ({"Transfer-Encoding": "gzip"}, 501),
        ):
            answer = server.get("/api/health", {**headers, "Origin": page})
            assert (answer.status, answer.json["status"]) == (status, status)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["access-control-allow-origin"] == page
            assert answer.headers["cache-control"] == "no-store"


def test_a_path_has_one_spelling(served: Server) -> None:
    assert served.get("/api/users/1").status == 200
    assert served.get("//api/users/1").status == 404
    assert served.request("POST", "//api/users", value={}).status == 404


def test_a_proxy_that_asks_again_and_again_needs_one_connection(served: Server) -> None:
    with closing(served.connect()) as connection:
        port = connection.sock.getsockname()[1]
        send(connection, "GET", "/api/token", basic(NAME, PASSWORD))
        token = receive(connection).json["token"]
        for _ in range(100):
            send(connection, "GET", "/api/verify", bearer(token))
            assert receive(connection).status == 204
        assert connection.sock.getsockname()[1] == port


def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    command = (*RESTAUTH, "serve", "--unix-socket=restauth.sock")
    with Server.start(tmp_path, *command) as server:
        assert server.hear(re.compile(r"serves unix:restauth\.sock \("))
        assert stat.S_IMODE((tmp_path / "restauth.sock").stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "restauth.sock"))
            client.sendall(b"GET /api/resource HTTP/1.1\r\nHost: localhost\r\n")
            client.sendall(b"Authorization: Basic bm9ib2R5Ong=\r\nConnection: close\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 401"
        assert server.end() == 0


def test_a_unix_socket_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    refused = run(tmp_path, "serve", "--unix-socket=no/x.sock", password_policy="nist")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "restauth: Cannot listen on no/x.sock: No such file or directory.\n"


def test_an_idle_connection_is_closed_within_a_quarter_minute() -> None:
    assert server_module.LIMITS["channel_timeout"] + server_module.LIMITS["cleanup_interval"] <= 15
