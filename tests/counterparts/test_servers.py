"""Other people's WSGI servers, started by the guide's own words, and all asked the same.

Rule: a command or a configuration is the page's as it stands, but for the port and the directory;
what is said to be needed is left out once, to see that it is.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import jwt
import pytest

from tests.conftest import basic, bearer
from tests.counterparts.conftest import library, program
from tests.documents import example, read
from tests.processes import PATIENCE, Answer, Server, receive, run, until_deadline
from tests.test_journeys import BIN

RESOURCE, TOKEN, USERS, SESSIONS = "/api/resource", "/api/token", "/api/users", "/api/sessions"
NAME, PASSWORD = "miguel", "python"
LONGEST = "\N{GRINNING FACE}" * 1024  # no other password makes a header as long
GREETING = {"data": "Hello, miguel!"}

# A server of the page, and what is added to its options.
ALONE = ["waitress-serve", "gunicorn", "uwsgi", "granian", "cheroot", "apache2"]
FORKING = [
    "gunicorn --workers 4 --threads 1",  # gunicorn's "sync" workers
    "gunicorn --workers 4",
    "gunicorn --workers 4 --preload",
    "uwsgi --processes 4",
    "granian --workers 4",
    "apache2 processes=4",
]
LIBRARIES = {"waitress-serve": "waitress", "uwsgi": "pyuwsgi"}
# These two leave the signal to the system, which ends them on the spot.
STATUSES = {"waitress-serve": -signal.SIGTERM, "cheroot": -signal.SIGTERM}

SYSTEM_PYTHON = "/usr/bin/python3"  # what a distribution builds mod_wsgi for
APACHE_MODULES = Path("/usr/lib/apache2/modules")
# What a distribution has in its own files, before the page's lines.
HTTPD = f"""
ServerRoot /srv/restauth
ServerName localhost
PidFile httpd.pid
ErrorLog /dev/stderr
Listen 127.0.0.1:5000
LoadModule mpm_event_module {APACHE_MODULES}/mod_mpm_event.so
LoadModule authz_core_module {APACHE_MODULES}/mod_authz_core.so
LoadModule wsgi_module {APACHE_MODULES}/mod_wsgi.so
WSGISocketPrefix wsgi
WSGIScriptAlias /another /srv/restauth/service.py
"""


@contextmanager
def serving(
    directory: Path, command: str, *, without: str = "", lines: str = ""
) -> Iterator[Server]:
    """A server of the page that is up; nothing of it remains. Apache gets the lines as well."""
    for _ in range(3):  # another process may take the port first
        port = free_port()
        with starting(directory, command, port, without=without, lines=lines) as server:
            if is_up(server):
                yield server
                return
    raise AssertionError(server.output)


@contextmanager
def starting(
    directory: Path,
    command: str,
    port: int,
    *,
    without: str = "",
    lines: str = "",
    **settings: str,
) -> Iterator[Server]:
    service = example("operating", "python", "application = create_app()")
    (directory / "service.py").write_text(service)
    name, *more = shlex.split(command)
    if name == "apache2":
        words = apache(directory, more, without, lines, port)
    else:
        words = command_line(name, more, without, port)
    # A session of its own, to be ended as one. gunicorn has a socket in the home directory.
    words = [program("setsid"), "env", f"HOME={directory}", *words]
    with Server.start(directory, *words, **settings) as server:
        server.addresses = [f"http://127.0.0.1:{port}"]
        try:
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def is_up(server: Server) -> bool:
    for _ in until_deadline():
        with suppress(OSError):
            return server.get("/api/health").status == 200
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(0.05)
            return False
    return False


def command_line(name: str, more: list[str], without: str, port: int) -> list[str]:
    library(LIBRARIES.get(name, name))
    block = example("operating", "sh", "waitress-serve")
    (line,) = [line for line in block.replace("\\\n", "").splitlines() if name in line]
    assert without in line
    line = line.replace(without, "").replace("5000", str(port))
    script, *options, last = shlex.split(line)  # for most, the last word is the app
    return [str(BIN / script), *options, *more, last]


def apache(directory: Path, more: list[str], without: str, lines: str, port: int) -> list[str]:
    """Apache with the page's configuration, in a directory of its own, run by the tester's user."""
    words = [program("apache2"), "-D", "FOREGROUND", "-f", str(directory / "httpd.conf")]
    if os.geteuid() == 0:  # Apache does not serve as root: elsewhere it has another number
        elsewhere = [program("unshare"), "--user", "--map-user=1000", "--map-group=1000"]
        if subprocess.run([*elsewhere, "true"], check=False, timeout=PATIENCE).returncode:
            pytest.skip("root has no user namespaces")
        words = [*elsewhere, *words]
    ours = example("operating", "apache", "WSGIPassAuthorization")
    assert without in ours
    kept = [line for line in ours.splitlines() if not without or without not in line]
    text = "\n".join([HTTPD, *kept, lines]).replace("threads=80", " ".join(["threads=80", *more]))
    text = text.replace("/srv/restauth", str(directory)).replace("5000", str(port))
    (directory / "httpd.conf").write_text(text)
    make_environment(directory / "venv")
    return words


def make_environment(directory: Path) -> None:
    """One of mod_wsgi's own Python, with all that is installed here."""
    if not (APACHE_MODULES / "mod_wsgi.so").exists():
        pytest.skip("mod_wsgi is not installed")
    subprocess.run(
        [program(SYSTEM_PYTHON), "-m", "venv", "--without-pip", directory],
        check=True,
        timeout=PATIENCE,
    )
    (site_packages,) = directory.glob("lib/python*/site-packages")
    path = Path(sysconfig.get_path("purelib"))
    if site_packages.parent.name != path.parent.name:
        pytest.skip("mod_wsgi is built for another Python than this one")
    (site_packages / "all.pth").write_text(f"import site; site.addsitedir({str(path)!r})\n")


def body_of(username: str, password: str) -> bytes:
    return json.dumps({"username": username, "password": password}).encode()


def post(server: Server, body: bytes | Iterator[bytes]) -> Answer:
    """Ask to register. What comes in pieces goes in chunks, without a Content-Length."""
    with closing(server.connect()) as connection:
        with suppress(ConnectionError):  # it may have answered, and closed, before it heard it all
            connection.request("POST", USERS, body, {"Content-Type": "application/json"})
        return receive(connection)


def say(server: Server, line: str, credentials: Mapping[str, str]) -> bytes:
    """All that comes back, byte for byte, until the server hangs up."""
    host = server.address.removeprefix("http://")
    headers = {"Host": host, "Connection": "close", **credentials}
    lines = [f"{line} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items()), "", ""]
    with closing(server.connect()) as connection:
        connection.sock.sendall("\r\n".join(lines).encode())
        with connection.sock.makefile("rb") as reader:
            return reader.read()


def at_once(server: Server, path: str, token: str) -> list[Answer]:
    """The answers to many on connections of their own, too many at a time for one worker."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda _: server.get(path, bearer(token)), range(48)))


def kid_of(token: str) -> object:
    return jwt.get_unverified_header(token)["kid"]


def has_open(pid: int, file: Path) -> bool:
    """Whether the process has the file open."""
    descriptors = Path(f"/proc/{pid}/fd")
    if not descriptors.exists():
        pytest.skip("there is no /proc")
    return any(os.readlink(each) == str(file) for each in descriptors.iterdir())


@pytest.mark.parametrize("command", [*ALONE, *FORKING])
def test_the_journey_is_the_same_on_every_server(tmp_path: Path, command: str) -> None:
    with serving(tmp_path, command) as server:
        registered = post(server, body_of(NAME, PASSWORD))
        assert (registered.status, registered.json) == (201, {"username": NAME})
        assert registered.headers["location"] == f"{server.address}/api/users/1"

        assert server.get(RESOURCE, basic(NAME, PASSWORD)).json == GREETING
        refused = say(server, f"GET {RESOURCE}", basic(NAME, "ruby"))
        assert refused.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
        assert re.findall(rb"(?i)^www-authenticate: (.*)\r$", refused, re.MULTILINE) == [
            b'Basic realm="Authentication Required", charset="UTF-8"',
            b'Bearer realm="Authentication Required"',
        ]
        server.register("ada", LONGEST)
        assert server.get(RESOURCE, basic("ada", LONGEST)).json == {"data": "Hello, ada!"}

        token = server.log_in(NAME, PASSWORD)
        assert server.get(RESOURCE, basic(token, "")).json == GREETING
        assert server.get(RESOURCE, bearer(token)).json == GREETING
        renewed = server.get(TOKEN, bearer(token)).json["token"]
        assert renewed != token
        forged = {**bearer(renewed), "X-Forwarded-For": "9.9.9.9", "Forwarded": "for=9.9.9.9"}
        (session,) = server.get(SESSIONS, forged).json["sessions"]
        assert session["peer"] == "127.0.0.1"
        assert server.request("DELETE", TOKEN, bearer(token)).status == 204
        assert server.get(RESOURCE, bearer(renewed)).status == 401

        whole = server.get("/api/users/1")
        assert (whole.body, whole.headers["content-length"]) == (b'{"username": "miguel"}\n', "23")
        head = say(server, "HEAD /api/users/1", {})
        assert re.match(rb"HTTP/1.1 200 OK\r\n(?:[^\r\n]+\r\n)+\r\n\Z", head), head
        assert b"\r\ncontent-length: 23\r\n" in head.lower()
        options = server.request("OPTIONS", "/api/users/1")
        assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        put = server.request("PUT", USERS)
        assert (put.status, put.headers["allow"]) == (405, "OPTIONS, POST")

        assert post(server, b"{").status == 400
        assert post(server, body_of("x" * 70_000, "pw")).status == 413
        in_chunks = post(server, iter([body_of("grace", "pw")]))
        assert in_chunks.status in {201, 411}

        assert server.end() == STATUSES.get(command, 0)
        assert not server._listener.is_alive()  # no worker has the output open either
        with pytest.raises(ConnectionRefusedError):
            server.connect()
    assert "belongs to restauth and is undamaged" in run(tmp_path, "check").stdout


@pytest.mark.parametrize("name", [name for name in ALONE if name != "apache2"])
def test_a_server_whose_app_cannot_start_ends_and_says_why(tmp_path: Path, name: str) -> None:
    with starting(tmp_path, name, free_port(), database="nowhere/restauth.db") as server:
        assert server.wait() > 0
        assert "nowhere/restauth.db cannot be used: No such file or directory." in server.output


@pytest.mark.parametrize("command", FORKING)
def test_all_workers_share_sessions_and_keys(tmp_path: Path, command: str) -> None:
    with serving(tmp_path, command) as server:
        server.register(NAME, PASSWORD)
        token = server.log_in(NAME, PASSWORD)
        assert {answer.status for answer in at_once(server, RESOURCE, token)} == {200}

        assert run(tmp_path, "key", "rotate").returncode == 0
        renewals = [answer.json["token"] for answer in at_once(server, TOKEN, token)]
        (kid,) = {kid_of(renewed) for renewed in renewals}
        assert kid != kid_of(token)
        for each in (token, renewals[0]):
            assert {answer.status for answer in at_once(server, RESOURCE, each)} == {200}

        assert server.request("DELETE", TOKEN, bearer(renewals[-1])).status == 204
        for each in (token, renewals[0]):
            assert {answer.status for answer in at_once(server, RESOURCE, each)} == {401}


def test_bodies_that_never_end_take_no_thread_of_waitress(tmp_path: Path) -> None:
    with serving(tmp_path, "waitress-serve") as server, ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(closing(server.connect()))
            connection.putrequest("POST", USERS)
            connection.putheader("Content-Length", "100")
            connection.endheaders(b"{")
        assert server.get("/api/health").status == 200


@pytest.mark.parametrize("how", ["gunicorn --workers 2 --preload", "uwsgi --processes 2"])
def test_an_app_that_is_loaded_before_the_fork_takes_no_connection_through_it(
    tmp_path: Path, how: str
) -> None:
    with serving(tmp_path, how) as server:
        assert server.get("/api/health").status == 200
        said = server.hear(re.compile("password_policy is open"))
        assert len(said) == 1  # the app is the parent's
        assert not has_open(server.process.pid, tmp_path / "restauth.db")


def test_uwsgi_goes_on_without_the_app_unless_told_that_it_needs_it(tmp_path: Path) -> None:
    nowhere = {"database": "nowhere/restauth.db"}
    with starting(tmp_path, "uwsgi", free_port(), without="--need-app", **nowhere) as server:
        server.hear(re.compile("no app loaded"))
        assert server.get("/api/health").status == 500


def test_uwsgi_starts_anew_at_the_signal_unless_told_to_die(tmp_path: Path) -> None:
    with serving(tmp_path, "uwsgi", without="--die-on-term") as server:
        for number in range(3):  # a worker that has only just begun may miss a signal
            server.register(f"{NAME}{number}", PASSWORD)
        server.process.terminate()
        server.hear(re.compile("binary reloading uWSGI"))


def test_uwsgi_has_no_room_for_the_longest_password_by_itself(tmp_path: Path) -> None:
    with serving(tmp_path, "uwsgi", without="--buffer-size 16384") as server:
        server.register("ada", LONGEST)
        with pytest.raises(ConnectionError):
            server.get(RESOURCE, basic("ada", LONGEST))


def test_mod_wsgi_keeps_the_credentials_to_itself_unless_told_to_pass_them(tmp_path: Path) -> None:
    with serving(tmp_path, "apache2", without="WSGIPassAuthorization") as server:
        server.register(NAME, PASSWORD)
        assert server.get(RESOURCE, basic(NAME, PASSWORD)).status == 401


def test_mod_wsgi_has_bcrypt_for_two_apps_in_the_global_group_alone(tmp_path: Path) -> None:
    for without, status in (("", 200), ("WSGIApplicationGroup", 500)):
        with serving(tmp_path, "apache2", without=without) as server:
            assert server.get("/another/api/health").status == status


@pytest.mark.parametrize("name", ["waitress-serve", "apache2"])
def test_a_server_that_knows_its_proxy_believes_it(tmp_path: Path, name: str) -> None:
    (options,) = re.findall(r"`(--trusted-proxy=127\.0\.0\.1 .*)`", read("operating"))
    lines = example("operating", "apache", "WSGITrustedProxies")
    command = f"{name} {options}" if name == "waitress-serve" else name
    with serving(tmp_path, command, lines=lines) as server:
        server.register(NAME, PASSWORD)
        relayed = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        begun = server.request("POST", SESSIONS, {**basic(NAME, PASSWORD), **relayed})
        assert begun.headers["location"].startswith("https://127.0.0.1:")
        (session,) = server.get(SESSIONS, bearer(begun.json["token"])).json["sessions"]
        assert session["peer"] == "192.0.2.7"


@pytest.mark.parametrize("name", ["gunicorn", "uwsgi"])
def test_what_these_believe_of_a_proxy_is_the_scheme(tmp_path: Path, name: str) -> None:
    with serving(tmp_path, name) as server:
        assert "strict-transport-security" not in server.get("/api/health").headers
        answer = server.get("/api/health", {"X-Forwarded-Proto": "https"})
        assert "strict-transport-security" in answer.headers
