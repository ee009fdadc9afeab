"""The page on deploying: its files, commands and configurations, run as real processes.

Rule: what the page shows is taken from the page, with paths below a temporary directory and with
free ports. What cannot be run here (an image, a cluster, systemd as process 1) the page itself
names as not run.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from restauth import settings
from restauth.cli.server import STOP_DURATION
from tests.conftest import basic, bearer
from tests.counterparts.conftest import library, program
from tests.counterparts.test_proxies import NGINX_FRAME, Application, free_port
from tests.documents import ROOT, chapter, example, read, sql_statements
from tests.postgres import run_server
from tests.processes import (
    PATIENCE,
    RESTAUTH,
    SERVE,
    UNMEASURED,
    Answer,
    Outcome,
    Server,
    environ,
    until_deadline,
)

PAGE = "deploying"
NAME, PASSWORD = "ada", "a violet umbrella stand"
PLACES = ("/opt", "/etc", "/usr/local/sbin", "/var/lib")  # below which the page has files
FREE_PORT = "--listen=127.0.0.1:0"
FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
JSON_TYPE = {"Content-Type": "application/json"}

# The program of the page's environment: the one that the tests run, where pip would install it.
PROGRAM = """#!{python}
import runpy
runpy.run_module("restauth", run_name="__main__", alter_sys=True)
"""


# A server with the page's files


class Machine:
    """The page's directories below a root of its own; the unit's command instead of systemd."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.data = root / "var/lib/restauth"
        self.settings = settings
        self.version = 1  # of the source that is installed next
        self._server: Server | None = None
        self._running = ExitStack()

    @property
    def server(self) -> Server:
        """The one that runs now."""
        assert self._server is not None
        return self._server

    def at(self, text: str) -> str:
        """The text with the page's paths as they are here."""
        places = "|".join(map(re.escape, PLACES))
        return re.sub(rf"(?<![\w.$-])({places})(?=/)", rf"{self.root}\1", text)

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        file = Path(self.at(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def install_program(self) -> None:
        """What `pip install .` does."""
        self.write("/opt/restauth/bin/restauth", PROGRAM.format(python=sys.executable), 0o755)
        self.write("/opt/restauth/version", str(self.version))

    def installed_version(self) -> int:
        return int((self.root / "opt/restauth/version").read_text())

    def configure(self) -> None:
        """The settings and the operator's command, without the change of the user."""
        text = self.at(example(PAGE, "sh", "RESTAUTH_REQUIRE_HTTPS="))
        self.write("/etc/restauth/settings", text)
        wrapper = self.at(example(PAGE, "sh", "#!/bin/sh"))
        assert "runuser -u restauth -- " in wrapper
        wrapper = wrapper.replace("runuser -u restauth -- ", "")
        self.write("/usr/local/sbin/restauth", wrapper, 0o755)

    def start(self) -> Server:
        """As systemd does: with the unit's command, directory and variables."""
        assert self._server is None
        self.make_state_directory()
        (directory,) = unit()["WorkingDirectory"]
        variables = {**settings_file(self), **self.settings}
        assert unit()["Type"] == ["notify"]
        with manager() as (notify, wait_until_ready):
            words = ("env", f"NOTIFY_SOCKET={notify}", *self.command())
            server = Server.start(Path(self.at(directory)), *words, **variables)
            self._server = self._running.enter_context(server)
            wait_until_ready(self.server.process)
        return self.server

    def make_state_directory(self) -> None:
        (name,), (mode,) = unit()["StateDirectory"], unit()["StateDirectoryMode"]
        Path(self.at("/var/lib/")).mkdir(parents=True, exist_ok=True)
        Path(self.at(f"/var/lib/{name}")).mkdir(int(mode, 8), exist_ok=True)

    def command(self) -> list[str]:
        (command,) = unit()["ExecStart"]
        return [*shlex.split(self.at(command)), FREE_PORT]

    def stop(self) -> None:
        assert self.server.end() == 0, self.server.output
        self.close()

    def close(self) -> None:
        """Nothing of it runs afterwards, whatever state it was in."""
        self._server = None
        self._running.close()

    def run(self, commands: str, typed: str = "") -> str:
        """Run the page's commands, one after another; what they print."""
        lines = commands.replace("\\\n", "").splitlines()
        directory = [line for line in lines if line.startswith("cd ")]
        printed = ""
        for line in lines:
            match line.split():
                case ["systemctl", "stop", "restauth"]:
                    self.stop()
                case ["systemctl", "start", "restauth"] | ["systemctl", "enable", *_]:
                    self.start()
                case ["systemctl", "daemon-reload"] | ["cd", *_]:
                    pass
                case [pip, "install", "." | "'.[postgres]'"] if pip == "/opt/restauth/bin/pip":
                    self.install_program()
                case _:
                    before = directory[0] + "; " if directory else ""
                    outcome = self.shell(before + line, typed)
                    assert outcome.status == 0, (line, outcome)
                    printed += outcome.out
        return printed

    def shell(self, line: str, typed: str = "") -> Outcome:
        commands = f"{self.root}/usr/local/sbin"
        done = subprocess.run(
            ["sh", "-c", self.at(line)],
            cwd="/",
            env={
                **os.environ,
                "PATH": os.pathsep.join(
                    [commands, str(Path(sys.executable).parent), os.environ["PATH"]]
                ),
                **{f"RESTAUTH_{name.upper()}": text for name, text in self.settings.items()},
                "RESTAUTH_BCRYPT_ROUNDS": "10",
            },
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def manager() -> Iterator[tuple[str, Callable[["subprocess.Popen[bytes]"], None]]]:
    """The value of NOTIFY_SOCKET, and what waits as `systemctl start` does: until the server says
    that it is ready, or ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind("")  # Linux chooses a free name
        inbox.settimeout(0.1)

        def wait_until_ready(process: "subprocess.Popen[bytes]") -> None:
            for _ in until_deadline():
                if process.poll() is not None:
                    return
                with suppress(TimeoutError):
                    assert inbox.recv(100) == b"READY=1"
                    return

        yield f"@{inbox.getsockname()[1:].decode()}", wait_until_ready


def unit() -> dict[str, list[str]]:
    """The keys of the page's systemd unit, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in example(PAGE, "ini", "[Service]").splitlines():
        if line and not line.startswith("["):
            key, _, text = line.partition("=")
            found.setdefault(key, []).append(text)
    return found


def settings_file(machine: Machine) -> dict[str, str]:
    """What the unit reads, by its keywords."""
    (path,) = unit()["EnvironmentFile"]
    pairs = dict(line.split("=", 1) for line in Path(machine.at(path)).read_text().splitlines())
    return {
        name.removeprefix(settings.PREFIX).lower(): "".join(shlex.split(text))
        for name, text in pairs.items()
    }


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """With the files that the page writes, and not yet started."""
    machine = Machine(tmp_path)
    machine.install_program()
    machine.configure()
    yield machine
    machine.close()


def call(
    server: Server,
    method: str,
    path: str,
    credentials: Mapping[str, str] | None = None,
    value: object = None,
) -> Answer:
    """One request, with the forwarding headers that nginx sets."""
    return server.request(method, path, {**FORWARDED, **(credentials or {})}, value)


def register(server: Server, name: str = NAME) -> Answer:
    return call(server, "POST", "/api/users", value={"username": name, "password": PASSWORD})


def token_of(server: Server, name: str = NAME) -> str:
    answer = call(server, "GET", "/api/token", basic(name, PASSWORD))
    assert answer.status == 200, answer
    return str(answer.json["token"])


def status_for(server: Server, token: str) -> int:
    return call(server, "GET", "/api/resource", bearer(token)).status


def without(text: str, line: str) -> str:
    """The text less the one line that begins so."""
    lines = text.splitlines()
    (number,) = [number for number, each in enumerate(lines) if each.strip().startswith(line)]
    return "\n".join(lines[:number] + lines[number + 1 :]) + "\n"


# Install, settings, the operator's command


def test_the_account_of_the_service_cannot_log_in(tmp_path: Path) -> None:
    """In files of its own: nothing changes on the machine that runs the test."""
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow"):
        (tmp_path / "etc" / name).touch()
    useradd, *_ = example(PAGE, "sh", "useradd --system --user-group").splitlines()
    command = useradd.replace("useradd", f"{program('useradd')} --prefix {tmp_path}", 1)
    as_root = [] if os.geteuid() == 0 else namespaces("--user", "--map-root-user")
    done = subprocess.run(
        [*as_root, *shlex.split(command)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done
    name, *_, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home, shell) == ("restauth", "/var/lib/restauth", "/usr/sbin/nologin")
    assert (tmp_path / "etc/group").read_text().startswith("restauth:")
    assert unit()["User"] == unit()["Group"] == [name]


def test_from_the_installation_to_the_first_user(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "opt").mkdir()
    (tmp_path / "etc").mkdir()
    _, *commands = example(PAGE, "sh", "useradd --system --user-group").splitlines()
    machine.run("\n".join(commands))
    assert (tmp_path / "opt/restauth/bin/python").exists()
    assert (tmp_path / "etc/restauth").is_dir()
    machine.configure()
    commands = example(PAGE, "sh", "systemctl enable").splitlines()
    *first, add = commands
    try:
        printed = machine.run("\n".join(first))
        assert "require_https" not in printed
        assert "base_url" not in printed
        for name in ("restauth.db", "restauth.keys"):
            assert str(machine.data / name) in printed
        machine.run(f"{add} --password-stdin", PASSWORD)
        assert status_for(machine.server, token_of(machine.server)) == 200
        short = {"username": "eve", "password": "14 characters!"}
        assert call(machine.server, "POST", "/api/users", value=short).status == 400
        assert (machine.data.stat().st_mode & 0o777) == 0o700
        modes = {path.name: path.stat().st_mode & 0o777 for path in machine.data.iterdir()}
        assert {"restauth.db", "restauth.keys"} <= set(modes)
        assert set(modes.values()) == {0o600}
    finally:
        machine.close()


def test_a_command_without_the_settings_works_on_another_database(
    machine: Machine, tmp_path: Path
) -> None:
    """And the page's command does not."""
    machine.make_state_directory()
    (tmp_path / "here").mkdir()
    line = f"cd {tmp_path}/here; restauth user add ada --password-stdin"
    assert machine.shell(f"{line} --create", PASSWORD).status == 0
    assert list((tmp_path / "here").iterdir()) == []
    assert (machine.data / "restauth.db").exists()
    bare = f"cd {tmp_path}/here; {tmp_path}/opt/restauth/bin/restauth user add ada --password-stdin"
    assert machine.shell(bare, PASSWORD).status == 1  # unless it is told to
    assert list((tmp_path / "here").iterdir()) == []
    assert machine.shell(f"{bare} --create", PASSWORD).status == 0
    assert (tmp_path / "here/restauth.db").exists()


def test_a_value_in_single_quotes_reaches_the_command_as_it_is(machine: Machine) -> None:
    machine.make_state_directory()
    text = machine.at(example(PAGE, "sh", "RESTAUTH_REQUIRE_HTTPS="))
    machine.write("/etc/restauth/settings", f"{text}RESTAUTH_REALM='my $HOME & co'\n")
    outcome = machine.shell("restauth settings --json")
    assert {row["value"] for row in outcome.json if row["name"] == "realm"} == {"my $HOME & co"}


# systemd


def namespaces(*options: str) -> list[str]:
    """A command that runs another one in namespaces of its own, where that is permitted."""
    words = [program("unshare"), *options]
    if subprocess.run([*words, "true"], check=False, capture_output=True, timeout=30).returncode:
        pytest.skip(f"unshare {' '.join(options)} is not permitted")
    return words


def analyze(machine: Machine, *words: str) -> Outcome:
    text = machine.at(example(PAGE, "ini", "[Service]"))
    file = machine.write("/etc/systemd/system/restauth.service", text)
    done = subprocess.run(
        [program("systemd-analyze"), *words, str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_systemd_understands_every_line_of_the_unit(machine: Machine) -> None:
    assert analyze(machine, "verify") == (0, "", "")


def test_the_unit_is_as_closed_as_the_page_says(machine: Machine) -> None:
    shown = re.search(r"\(systemd (\d+)\)\s+gives it an exposure of (\d)\.(\d)", read(PAGE))
    assert shown is not None
    outcome = analyze(machine, "security", "--offline=true", f"--threshold={shown[2]}{shown[3]}")
    assert outcome.status == 0, outcome.out
    version = subprocess.run(
        [program("systemd-analyze"), "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    if version == shown[1]:
        assert f": {shown[2]}.{shown[3]} " in outcome.out.splitlines()[-1]


# What systemd does between fork and exec, as far as it can be done without it: the file system
# read-only but for the state directory, no capabilities, and the filters of the unit.
CONFINE = """
import ctypes, errno, json, os, sys

rules = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
EQUAL, MASKED = 4, 7
WRITE, EXEC = 2, 4
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


class Compare(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint), ("op", ctypes.c_int),
        ("a", ctypes.c_uint64), ("b", ctypes.c_uint64),
    ]


def must(status):
    if status:
        raise OSError(ctypes.get_errno(), f"{status}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, flags):
    must(libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None))


def allow(name, *compares):
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        array = (Compare * len(compares))(*compares)
        must(seccomp.seccomp_rule_add_array(
            ctypes.c_void_p(context), ctypes.c_uint32(ALLOW), number, len(compares), array
        ))


mount("none", "/", MS_REC | MS_PRIVATE)
mount(rules["state"], rules["state"], MS_BIND)
mount("none", "/", MS_REMOUNT | MS_BIND | MS_RDONLY)
os.chdir(rules["state"])
os.umask(int(rules["umask"], 8))
for capability in range(41):
    must(libc.prctl(24, capability, 0, 0, 0))  # PR_CAPBSET_DROP
context = seccomp.seccomp_init(ctypes.c_uint32(REFUSE))
for name in rules["calls"]:
    if name == "socket":
        for family in rules["families"]:
            allow(name, Compare(0, EQUAL, family))
    elif name == "mmap" and rules["memory"]:  # never writable and executable at once
        allow(name, Compare(2, MASKED, WRITE, 0))
        allow(name, Compare(2, MASKED, EXEC, 0))
    elif name in ("mprotect", "pkey_mprotect") and rules["memory"]:  # nor executable afterwards
        allow(name, Compare(2, MASKED, EXEC, 0))
    else:
        allow(name)
must(seccomp.seccomp_load(ctypes.c_void_p(context)))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def calls(group: str) -> set[str]:
    """The system calls of a group, by systemd's own list."""
    done = subprocess.run(
        [program("systemd-analyze"), "syscall-filter", group],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    found: set[str] = set()
    for line in done.stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= calls(word)
        elif word and not word.startswith("#"):
            found.add(word)
    return found


def confinement(state: Path) -> list[str]:
    """A command that runs another one under the rules of the page's unit."""
    keys = unit()
    allowed: set[str] = set()
    for line in keys["SystemCallFilter"]:
        groups = {call for word in line.removeprefix("~").split() for call in calls(word)}
        allowed = allowed - groups if line.startswith("~") else allowed | groups
    assert keys["CapabilityBoundingSet"] == keys["AmbientCapabilities"] == [""]
    assert keys["ProtectSystem"] == ["strict"]
    (families,) = keys["RestrictAddressFamilies"]
    rules = {
        "state": str(state),
        "umask": keys["UMask"][0],
        "calls": sorted(allowed),
        "families": [int(getattr(socket, name)) for name in families.split()],
        "memory": keys["MemoryDenyWriteExecute"] == ["yes"],
    }
    as_root = ["--user", "--map-root-user"] if os.geteuid() else []
    return [*namespaces(*as_root, "--mount"), sys.executable, "-c", CONFINE, json.dumps(rules)]


# Each is refused to a process under these rules, and done by one that is not.
FORBIDDEN = {
    "write elsewhere": "open('../elsewhere', 'w')",
    "another family": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "writable code": "import mmap; mmap.mmap(-1, 4096, prot=7)",
    "a system call": "import os; os.chown('.', os.geteuid(), -1)",
    "a namespace": "import ctypes; assert not ctypes.CDLL(None).unshare(1 << 25)",
    "a capability": "assert 'CapEff:\\t0000000000000000' not in open('/proc/self/status').read()",
}


@pytest.mark.parametrize("attempt", FORBIDDEN)
def test_the_rules_of_the_unit_are_in_force_where_they_are_tested(
    tmp_path: Path, attempt: str
) -> None:
    """Or the next test would show nothing."""
    state = tmp_path / "state"
    state.mkdir()
    attempts = [sys.executable, "-c", FORBIDDEN[attempt]]
    confined = subprocess.run(
        [*confinement(state), *attempts], capture_output=True, text=True, check=False, timeout=30
    )
    assert confined.returncode == 1, confined
    assert re.search("OSError|PermissionError|AssertionError", confined.stderr), confined
    works = [*confinement(state), sys.executable, "-c", "open('here', 'w')"]
    assert subprocess.run(works, check=False, timeout=30).returncode == 0
    if os.geteuid() == 0:
        assert subprocess.run(attempts, cwd=state, check=False, timeout=30).returncode == 0


def test_restauth_does_all_its_work_under_the_rules_of_the_unit(machine: Machine) -> None:
    library("cryptography")
    machine.make_state_directory()
    words = [*confinement(machine.data), *machine.command()]
    with Server.start(machine.data, *words, **settings_file(machine)) as server:
        assert register(server).status == 201
        for algorithm in ("HS256", "EdDSA", "ES256"):
            rotate = machine.shell(f"restauth key rotate --algorithm {algorithm}")
            assert rotate.status == 0, rotate
            assert status_for(server, token_of(server)) == 200
        header = FORWARDED | basic(NAME, PASSWORD)
        assert server.request("DELETE", "/api/users/me", header).status == 204
        assert server.get("/api/health").status == 200
        assert server.end() == 0, server.output


def test_a_wrong_setting_ends_the_start_with_the_status_that_systemd_knows(
    machine: Machine,
) -> None:
    machine.settings = {"require_https": "yes"}
    assert unit()["RestartPreventExitStatus"] == [str(machine.start().wait())]


def test_the_unit_tells_restauth_the_clients_address_and_scheme(machine: Machine) -> None:
    """And without its options, every credential is refused."""
    server = machine.start()
    assert register(server).headers["location"] == "https://example.org/api/users/1"
    token_of(server)
    assert '"peer": "203.0.113.9"' in server.hear(re.compile(r'"login", .*'))[0]
    plain = server.get("/api/resource", basic(NAME, PASSWORD))
    assert plain.status == 403
    machine.stop()
    words = [word for word in machine.command() if "trusted" not in word]
    with Server.start(machine.data, *words, **settings_file(machine)) as other:
        assert call(other, "GET", "/api/token", basic(NAME, PASSWORD)).status == 403


# nginx


class Site(NamedTuple):
    restauth: Server
    application: Application
    port: int  # of https
    plain_port: int
    certificate: Path
    proxy: Server

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        host: str = "example.org",
    ) -> Answer:
        """One request over TLS, with the certificate checked."""
        trust = ssl.create_default_context(cafile=str(self.certificate))
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=trust)
        with closing(connection):
            connection.request(method, path, body, {"Host": host, **(headers or {})})
            assert connection.sock.version() == "TLSv1.3"
            response = connection.getresponse()
            names = [name.lower() for name, _ in response.getheaders()]
            assert names.count("strict-transport-security") == 1, (path, names)
            found = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, found, response.read())


def make_certificate(directory: Path) -> None:
    directory.mkdir(parents=True)
    subprocess.run(
        [
            *(program("openssl"), "req", "-x509", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"),
            *("-subj", "/CN=example.org", "-addext"),
            "subjectAltName=DNS:example.org,IP:127.0.0.1",
            *("-keyout", "privkey.pem", "-out", "fullchain.pem"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )


def start_nginx(stack: ExitStack, machine: Machine, text: str, application: Application) -> Site:
    """The page's whole site: its unit, its settings and this configuration."""
    program("nginx")
    restauth = machine.start()
    address = stack.enter_context(application.served())
    port, plain_port = free_port(), free_port()
    text = machine.at(text)
    for there, here in {
        "127.0.0.1:5000": str(urlsplit(restauth.address).netloc),
        "127.0.0.1:8000": address,
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
    }.items():
        assert there in text, there
        text = text.replace(there, here)
    certificate = machine.root / "etc/nginx/tls/fullchain.pem"
    if not certificate.exists():
        make_certificate(certificate.parent)
    directory = machine.root / f"nginx{port}"
    directory.mkdir()
    (directory / "nginx.conf").write_text(NGINX_FRAME % text)
    proxy = stack.enter_context(
        Server.start(directory, "nginx", "-p", ".", "-e", "stderr", "-c", "nginx.conf")
    )
    proxy.addresses = [f"http://127.0.0.1:{plain_port}"]
    for _ in until_deadline():
        assert proxy.process.poll() is None, proxy.output
        try:
            proxy.connect().close()
            break
        except ConnectionRefusedError:
            pass
    return Site(restauth, application, port, plain_port, certificate, proxy)


@pytest.fixture
def site(machine: Machine) -> Iterator[Site]:
    with ExitStack() as stack:
        yield start_nginx(stack, machine, example(PAGE, "nginx"), Application())


def json_body(**members: str) -> bytes:
    return json.dumps(members).encode()


def test_a_client_registers_logs_in_and_reaches_the_application(site: Site) -> None:
    account = json_body(username=NAME, password=PASSWORD)
    created = site.ask("POST", "/api/users", JSON_TYPE, account)
    assert (created.status, created.json) == (201, {"username": NAME})
    assert created.headers["location"] == "https://example.org/api/users/1"
    password = basic(NAME, PASSWORD)
    token = bearer(site.ask("GET", "/api/token", password).json["token"])
    assert site.ask("GET", "/api/resource", token).json == {"data": f"Hello, {NAME}!"}
    session = site.ask("POST", "/api/sessions", password)
    assert session.headers["location"].startswith("https://example.org/api/sessions/")
    assert site.ask("GET", "/.well-known/jwks.json").json == {"keys": []}
    assert site.application.seen == []
    for credential in (password, token):
        hello = site.ask("GET", "/page?a=%20", credential)
        assert (hello.status, hello.body) == (200, f"Hello, {NAME}!".encode())
        seen = site.application.seen.pop()
        assert (seen.path, seen.query) == ("/page", "a=%20")
        assert "HTTP_AUTHORIZATION" not in seen.headers
        assert seen.headers["HTTP_HOST"] == "example.org"
        assert seen.headers["HTTP_X_FORWARDED_PROTO"] == "https"
        assert seen.headers["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"


def test_restauth_gets_the_host_that_the_client_sent(machine: Machine) -> None:
    """So that it can do without `base_url`."""
    machine.settings = {"base_url": "", "allowed_hosts": "example.org"}
    account = json_body(username=NAME, password=PASSWORD)
    with ExitStack() as stack:
        site = start_nginx(stack, machine, example(PAGE, "nginx"), Application())
        created = site.ask("POST", "/api/users", JSON_TYPE, account)
        assert created.headers["location"] == "https://example.org/api/users/1"


def test_roles_reach_the_application(site: Site, machine: Machine) -> None:
    assert machine.shell("restauth user add eve --password-stdin", PASSWORD).status == 0
    assert machine.shell("restauth user roles eve +editor +viewer").status == 0
    assert site.ask("GET", "/", basic("eve", PASSWORD)).status == 200
    (seen,) = site.application.seen
    assert seen.headers["HTTP_REMOTE_GROUPS"] == "editor,viewer"


def test_without_a_live_credential_the_application_sees_nothing(site: Site) -> None:
    assert register(site.restauth).status == 201
    ended = bearer(token_of(site.restauth))
    assert site.ask("DELETE", "/api/token", ended).status == 204
    for credential in ({}, basic(NAME, "wrong"), bearer("junk"), ended):
        for path in ("/", "/page", "/apis", "/.well-known/other"):
            refused = site.ask("GET", path, credential)
            assert refused.status == 401, (path, credential)
            assert refused.headers["www-authenticate"]
    assert site.ask("GET", "/api/token", basic(NAME, "wrong")).status == 401
    assert site.application.seen == []


def test_an_upload_of_two_mebibytes_passes(site: Site) -> None:
    assert register(site.restauth).status == 201
    body = bytes(2**21)
    assert site.ask("POST", "/upload", basic(NAME, PASSWORD), body).status == 200
    assert site.application.seen.pop().body == body
    assert site.ask("POST", "/upload", basic(NAME, "wrong"), body).status == 401
    assert site.application.seen == []


@pytest.mark.parametrize("name", ["Remote-User", "REMOTE-USER", "Remote_User", "remote_groups"])
def test_a_client_does_not_say_who_it_is(site: Site, name: str) -> None:
    assert register(site.restauth).status == 201
    assert site.ask("GET", "/", {name: "root"}).status == 401
    assert site.application.seen == []
    assert site.ask("GET", "/", {name: "root", **basic(NAME, PASSWORD)}).status == 200
    (seen,) = site.application.seen
    assert seen.headers["HTTP_REMOTE_USER"] == NAME
    assert "root" not in str(seen.headers)


HIDDEN = (
    "/api/verify", "/api/verify?role=editor", "/api/%76erify", "//api/verify", "/api//verify",
    "/api/./verify", "/x/../api/verify", "/api/x/%2e%2e/verify", "/api%2Fverify", "/api/verify/",
    "/api/verify%2F", "/api/verify%2e", "/api/verify;x", "/_verify", "/%5Fverify", "//_verify",
)  # fmt: skip


def test_a_client_cannot_ask_what_nginx_asks(site: Site) -> None:
    assert register(site.restauth).status == 201
    for path in HIDDEN:
        for credential in ({}, basic(NAME, PASSWORD)):
            answer = site.ask("GET", path, credential)
            assert answer.status == 404, path
            assert "remote-user" not in answer.headers
    assert site.application.seen == []


def test_the_address_of_a_client_is_not_the_clients_word(site: Site) -> None:
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "Forwarded": "for=x"}
    assert site.ask("GET", "/", claims | basic(NAME, "wrong")).status == 401
    assert site.ask("GET", "/api/token", claims | basic(NAME, "wrong")).status == 401
    peers = [
        json.loads(line)["peer"]
        for line in site.restauth.hear(re.compile(r"^\{.*login_failed.*\}$", re.MULTILINE))
    ]
    assert set(peers) == {"127.0.0.1"}


def test_plain_http_is_sent_to_https(site: Site) -> None:
    for method, path in (("GET", "/page?a=1"), ("POST", "/api/users"), ("GET", "/api/verify")):
        connection = HTTPConnection("127.0.0.1", site.plain_port, timeout=PATIENCE)
        with closing(connection):
            connection.request(method, path, headers={"Host": "evil.example"})
            answer = connection.getresponse()
            assert answer.status == 308
            assert answer.headers["Location"] == f"https://example.org{path}"
    assert site.application.seen == []


# What the page says that a line is for: the configuration without it, and what then goes wrong.
NEEDED = {
    "client_max_body_size 0;": ("POST", "/upload", 2**21, 500),
    "client_max_body_size 20m;": ("POST", "/upload", 2**21, 413),
}


@pytest.mark.parametrize("line", NEEDED)
def test_without_a_limit_of_its_own_an_upload_fails(machine: Machine, line: str) -> None:
    method, path, length, status = NEEDED[line]
    with ExitStack() as stack:
        text = without(example(PAGE, "nginx"), line)
        site = start_nginx(stack, machine, text, Application())
        assert register(site.restauth).status == 201
        assert site.ask(method, path, basic(NAME, PASSWORD), bytes(length)).status == status


def test_authorization_removed_for_the_whole_server_stops_every_login(machine: Machine) -> None:
    text = example(PAGE, "nginx").replace(
        "    # restauth's own routes.", '    proxy_set_header Authorization "";'
    )
    with ExitStack() as stack:
        site = start_nginx(stack, machine, text, Application())
        assert register(site.restauth).status == 201
        assert site.ask("GET", "/api/token", basic(NAME, PASSWORD)).status == 401


# A container


class Image:
    """What the page's Dockerfile says about the process, with a directory and a port from here."""

    def __init__(self, directory: Path, port: int) -> None:
        self.data = directory
        self.port = port
        text = example(PAGE, "dockerfile").replace("\\\n", " ")
        self.steps = [line.split(None, 1) for line in text.splitlines() if line]
        self.entrypoint = self._here(json.loads(self.only("ENTRYPOINT")))
        self.command = self._here(json.loads(self.only("CMD")))
        check = self.only("HEALTHCHECK")
        self.check = self._here(json.loads(check[check.index(" CMD ") + 5 :]))
        pairs = dict(value.split("=", 1) for value in self.all("ENV"))
        assert pairs.pop("RESTAUTH_LISTEN") == f"0.0.0.0:{self.only('EXPOSE')}"
        self.variables = {name: self._path(text) for name, text in pairs.items()}
        self.variables["RESTAUTH_LISTEN"] = f"127.0.0.1:{port}"

    def all(self, step: str) -> list[str]:
        return [text for name, text in self.steps if name == step]

    def only(self, step: str) -> str:
        (text,) = self.all(step)
        return text

    def _path(self, text: str) -> str:
        (volume,) = self.all("VOLUME")
        assert text.startswith(f"{volume}/"), "what is kept stands in the one volume"
        return f"{self.data}{text.removeprefix(volume)}"

    def _here(self, words: list[str]) -> list[str]:
        """The installed programs are those of the tests."""
        programs = {"restauth": [*RESTAUTH], "python": [sys.executable]}
        words = [*programs.get(words[0], words[:1]), *words[1:]]
        return [re.sub(r"(?<![0-9])5000\b", str(self.port), word) for word in words]

    @property
    def settings(self) -> dict[str, str]:
        """By their keywords."""
        return {
            name.removeprefix(settings.PREFIX).lower(): text
            for name, text in self.variables.items()
        }

    def healthy(self, **variables: str) -> bool:
        done = subprocess.run(
            self.check,
            cwd=self.data,
            env={**environ(**self.settings), **variables},
            check=False,
            capture_output=True,
            timeout=PATIENCE,
        )
        assert done.returncode in (0, 1)  # Docker knows no other status of a health check
        return done.returncode == 0


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path, free_port())


def test_the_dockerfile_copies_what_the_package_is_built_of(image: Image) -> None:
    copied = [word for text in image.all("COPY") for word in text.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied), copied
    needed = re.findall(
        r"^(?:long_description = file:|license_files =) *(\S+)", _config(), re.MULTILINE
    )
    assert {"setup.py", "setup.cfg", "restauth", *needed} <= set(copied)
    targets = {text.split()[-1].removesuffix("restauth") for text in image.all("COPY")}
    assert targets == {"/src/"}
    assert "pip install --no-cache-dir /src " in image.only("RUN")
    version = re.fullmatch(r"python:(\d+)\.(\d+)-slim", image.only("FROM"))
    lowest = re.search(r"python_requires = >=(\d+)\.(\d+)", _config())
    assert version is not None
    assert lowest is not None
    assert tuple(map(int, version.groups())) >= tuple(map(int, lowest.groups()))


def _config() -> str:
    return (ROOT / "setup.cfg").read_text()


def test_the_container_does_not_run_as_root(image: Image) -> None:
    user = image.only("USER")
    uid, gid = user.split(":")
    assert int(uid) > 0
    text = example(PAGE, "dockerfile")
    assert f"--uid {uid} " in text
    assert f"groupadd --system --gid {gid} " in text
    assert [name for name, _ in image.steps].index("USER") < [
        name for name, _ in image.steps
    ].index("ENTRYPOINT")


def test_the_container_serves_is_healthy_and_stops_on_sigterm(image: Image) -> None:
    assert not image.healthy()
    words = [*image.entrypoint, *image.command]
    elsewhere = image.data / "elsewhere"  # the variables alone say where the files are
    elsewhere.mkdir()
    with Server.start(elsewhere, *words, **image.settings) as server:
        assert server.addresses == [f"http://127.0.0.1:{image.port}"]
        assert image.healthy()
        assert image.healthy(http_proxy="http://127.0.0.1:9", RESTAUTH_REQUIRE_HTTPS="true")
        server.register(NAME)
        add = subprocess.run(
            [*image.entrypoint, "user", "list"],
            env=environ(**image.settings),
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
        assert NAME in add.stdout
        assert {path.name for path in image.data.iterdir()} >= {"restauth.db", "restauth.keys"}
        server.process.send_signal(signal.SIGSTOP)
        assert not image.healthy()  # it accepts, and does not answer
        server.process.send_signal(signal.SIGCONT)
        assert server.end() == 0, server.output
    assert not image.healthy()


def test_a_container_without_its_database_is_not_healthy(image: Image) -> None:
    words = [*image.entrypoint, *image.command]
    with Server.start(image.data, *words, **image.settings) as server:
        assert server.addresses
        (image.data / "restauth.db").unlink()
        for _ in until_deadline():
            if not image.healthy():
                break
        assert server.get("/api/health").status == 503


# What an engine does with `--read-only --cap-drop ALL -v …:/data`, before it starts the command.
CONTAINED = """
mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd "$0" || exit 1
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


class Container:
    """A process that is process 1 of its namespace, and can write in the volume alone."""

    def __init__(self, server: Server) -> None:
        assert server.addresses
        self.server = server
        (self.process_1,) = children(server.process.pid)

    def run(self, *words: str, stdin: str = "", **settings: str) -> Outcome:
        """As `docker exec` does, in the container's directory."""
        as_root = ["--user", "--preserve-credentials"] if os.geteuid() else []
        enter = [program("nsenter"), f"--target={self.process_1}", *as_root, "--mount", "--pid"]
        done = subprocess.run(
            [*enter, f"--wd=/proc/{self.process_1}/cwd", *words],
            env=environ(**settings),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


def test_process_1_works_on_one_volume_and_stops_on_sigterm(tmp_path: Path) -> None:
    """The system drops a signal that process 1 has no handler for."""
    volume = tmp_path / "volume"
    volume.mkdir()
    image = Image(volume, free_port())
    as_root = ["--user", "--map-root-user"] if os.geteuid() else []
    new = namespaces(*as_root, "--mount", "--fork", "--pid", "--kill-child")
    program("setpriv")
    with closing(sqlite3.connect(volume / "old.sqlite")) as old:  # of REST-auth
        old.execute("CREATE TABLE users (id INTEGER, username TEXT, password_hash TEXT)")
    restauth = [*UNMEASURED, *image.entrypoint]
    command = (*new, "sh", "-c", CONTAINED, str(volume), *restauth, *image.command)
    with Server.start(tmp_path, *command, **image.settings) as server:
        container = Container(server)
        inside = Path(f"/proc/{container.process_1}/status").read_text()
        assert re.search(r"^NSpid:\t\d+\t1$", inside, re.MULTILINE)
        assert "\nCapEff:\t0000000000000000\n" in inside
        for elsewhere in (tmp_path, "/tmp", "/var/tmp", Path(sys.executable).parent):  # noqa: S108
            assert container.run("touch", f"{elsewhere}/file").err.endswith(
                "Read-only file system\n"
            )
        server.register(NAME)
        token = server.log_in(NAME)
        for command_line in ("key rotate", "import old.sqlite", "backup copy.db", "user list"):
            done = container.run(*restauth, *command_line.split(), **image.settings)
            assert (done.status, done.err) == (0, ""), done
        assert server.get("/api/resource", bearer(token)).status == 200
        assert (volume / "copy.db").exists()
        os.kill(container.process_1, signal.SIGTERM)
        assert server.wait() == 0, server.output


def children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:  # it has ended
            continue
        if re.search(rf"^PPid:\t{parent}$", text, re.MULTILINE):
            found.append(int(status.parent.name))
    return found


def test_the_command_line_of_the_container_mounts_the_volume(image: Image) -> None:
    command = example(PAGE, "sh", "docker run").replace("\\\n", "")
    (line,) = [line for line in command.splitlines() if line.startswith("docker run")]
    words = shlex.split(line)
    volumes = [words[place + 1] for place, word in enumerate(words) if word == "-v"]
    assert [volume.split(":")[1] for volume in volumes] == image.all("VOLUME")
    assert image.all("WORKDIR") == image.all("VOLUME")
    ports = [words[place + 1] for place, word in enumerate(words) if word == "-p"]
    assert [port.split(":")[-1] for port in ports] == image.all("EXPOSE")
    given = [words[place + 1] for place, word in enumerate(words) if word == "-e"]
    settings.load({**dict(pair.split("=", 1) for pair in given), **image.variables})


def test_a_key_ring_that_is_mounted_as_a_file_cannot_be_rotated(tmp_path: Path) -> None:
    """In the directory's place it can."""
    as_root = ["--user", "--map-root-user"] if os.geteuid() else []
    new = namespaces(*as_root, "--mount")
    add = [*RESTAUTH, "user", "add", NAME, "--password-stdin", "--create"]
    subprocess.run(add, cwd=tmp_path, env=environ(), input=b"pw", check=True, capture_output=True)
    subprocess.run(["cp", "-p", "restauth.keys", "mounted.keys"], cwd=tmp_path, check=True)
    rotate = shlex.join([*RESTAUTH, "key", "rotate"])
    for mount, is_refused in (
        ("mount --bind mounted.keys restauth.keys", True),
        ('mount --bind "$PWD" "$PWD" && cd "$PWD"', False),
    ):
        done = subprocess.run(
            [*new, "sh", "-c", f"{mount} && {rotate}"],
            cwd=tmp_path,
            env=environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert bool(done.returncode) == is_refused, done
        assert ("restauth: " in done.stderr) == is_refused, done


@pytest.mark.parametrize("mounted", ["restauth.db", "."])
def test_one_mounted_file_is_not_all_of_the_database(tmp_path: Path, mounted: str) -> None:
    """The rest is in the container, and gone when that is; a mounted directory has it all."""
    as_root = ["--user", "--map-root-user"] if os.geteuid() else []
    new = namespaces(*as_root, "--mount")
    volume, container = tmp_path / "volume", tmp_path / "container"
    for directory in (volume, container):
        directory.mkdir()
        (directory / "restauth.db").touch(0o600)
    mount = f"mount --bind {volume}/{mounted} {container}/{mounted}"
    start = f"{mount} && cd {container} && exec {shlex.join(SERVE)}"
    with Server.start(tmp_path, *new, "sh", "-c", start) as server:
        server.register(NAME)
        server.process.kill()
        server.wait()
    users = [*RESTAUTH, "user", "list"]
    done = subprocess.run(users, cwd=volume, env=environ(), capture_output=True, check=False)
    assert (NAME in done.stdout.decode()) == (mounted == ".")


# Kubernetes


@pytest.fixture
def manifest() -> dict[str, Any]:
    """Its objects by their kind."""
    documents = library("yaml").safe_load_all(example(PAGE, "yaml", "kind: Deployment"))
    return {document["kind"]: document for document in documents}


def test_there_is_one_pod_on_one_volume(manifest: dict[str, Any], image: Image) -> None:
    deployment = manifest["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    claim = manifest["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    pod = deployment["template"]["spec"]
    claims = [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
    assert {"claimName": claim["metadata"]["name"]} in claims
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    (volume,) = image.all("VOLUME")
    assert mounts[volume]["name"] == "data"
    assert not any("subPath" in mount for mount in mounts.values())
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["terminationGracePeriodSeconds"] > STOP_DURATION + 2
    known = {each["name"] for each in pod["volumes"]}
    assert {mount["name"] for mount in mounts.values()} == known
    assert all(document["apiVersion"] for document in manifest.values())
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert user == image.only("USER")
    labels = deployment["template"]["metadata"]["labels"]
    assert manifest["Service"]["spec"]["selector"] == labels
    assert deployment["selector"]["matchLabels"] == labels


def test_the_pod_serves_and_answers_its_probes(manifest: dict[str, Any], image: Image) -> None:
    """With the arguments and the variables of the manifest, behind an ingress."""
    pod = manifest["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {
        each["name"].removeprefix(settings.PREFIX).lower(): each["value"]
        for each in container["env"]
    }
    assert "command" not in container  # it would replace the image's ENTRYPOINT
    words = [*image.entrypoint, *image._here(["", *container["args"]])[1:]]
    (port,) = container["ports"]
    assert [each["targetPort"] for each in manifest["Service"]["spec"]["ports"]] == [port["name"]]
    assert str(port["containerPort"]) == image.only("EXPOSE")
    with Server.start(image.data, *words, **{**image.settings, **given}) as server:
        assert server.addresses == [f"http://127.0.0.1:{image.port}"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            get = container[probe]["httpGet"]
            assert get["port"] == port["name"]
            host = {"Host": "10.1.2.3:5000", "User-Agent": "kube-probe/1.30"}
            assert server.get(get["path"], host).status == 200
        assert register(server).headers["location"] == "https://example.org/api/users/1"
        token_of(server)
        assert '"peer": "203.0.113.9"' in server.hear(re.compile(r'"login", .*'))[0]
        assert server.end() == 0


def test_the_variables_of_a_service_named_restauth_are_ignored(
    manifest: dict[str, Any], tmp_path: Path
) -> None:
    """Kubernetes sets them in every pod of the namespace, unless it is told not to."""
    (shown,) = re.findall(r"`RESTAUTH_(PORT)=(tcp://\S+)`", read(PAGE))
    links = {
        shown[0]: shown[1],
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT_80_TCP": shown[1],
        "PORT_80_TCP_PROTO": "tcp",
        "PORT_80_TCP_PORT": "80",
        "PORT_80_TCP_ADDR": "10.0.0.1",
    }
    links = {name.lower(): text for name, text in links.items()}
    with Server.start(tmp_path, **links) as server:
        assert server.get("/api/health").status == 200
    with Server.start(tmp_path, **links, token_duraton="60") as server:
        assert server.wait() == 2
        assert "'RESTAUTH_TOKEN_DURATON': the nearest is RESTAUTH_TOKEN_DURATION" in server.output
    name = manifest["Service"]["metadata"]["name"].upper().replace("-", "_")
    variables = {f"{name}_PORT": "tcp://10.0.0.1:80", f"{name}_SERVICE_HOST": "10.0.0.1"}
    assert not any(variable.startswith(settings.PREFIX) for variable in variables)
    assert manifest["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_what_fs_group_does_to_the_files_and_to_the_directory(
    manifest: dict[str, Any], tmp_path: Path
) -> None:
    """A directory that its group may write is reported and served; such a key ring stops all."""
    context = manifest["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"
    assert context["fsGroup"] == context["runAsGroup"]
    assert context["runAsNonRoot"] is True
    tmp_path.chmod(0o2770)
    with Server.start(tmp_path) as server:
        server.register(NAME)
        check = [*RESTAUTH, "check"]
        done = subprocess.run(check, cwd=tmp_path, env=environ(), capture_output=True, check=False)
        assert done.returncode == 1
        assert str(tmp_path).encode() in done.stdout
        assert server.end() == 0
    (tmp_path / "restauth.keys").chmod(0o660)
    with Server.start(tmp_path) as server:
        assert server.wait() == 1
        assert "restauth.keys" in server.output


# Two processes and PostgreSQL


def test_two_processes_share_one_postgresql(machine: Machine) -> None:
    """By the settings file, whatever database the shell names."""
    machine.make_state_directory()
    with run_server() as postgres, ExitStack() as stack:
        for statement in sql_statements(PAGE, "CREATE DATABASE"):
            postgres.execute(statement)
        url = postgres.url(user="restauth").replace("/postgres?", "/restauth?")
        page_url = "postgresql://restauth:change-me@127.0.0.1/restauth"
        line = example(PAGE, "sh", f"RESTAUTH_DATABASE='{page_url}'").replace(page_url, url)
        path = Path(machine.at("/etc/restauth/settings"))
        path.write_text(without(path.read_text(), "RESTAUTH_DATABASE=") + line)
        machine.run(example(PAGE, "sh", "'.[postgres]'"))
        private, add, check = example(PAGE, "sh", "chmod 0600").splitlines()
        machine.run(f"{private}\n{add} --password-stdin\n{check}", PASSWORD)
        assert path.stat().st_mode & 0o777 == 0o600
        one, two = (
            stack.enter_context(Server.start(machine.root, *serve(machine, line), database="a.db"))
            for line in example(PAGE, "sh", "restauth serve --listen=127.0.0.1:5001").splitlines()
        )
        token = token_of(one)
        assert status_for(two, token) == 200
        assert call(two, "DELETE", "/api/token", bearer(token)).status == 204
        assert status_for(one, token) == 401
    assert not (machine.root / "a.db").exists()
    assert not (machine.data / "restauth.db").exists()


def serve(machine: Machine, line: str) -> list[str]:
    """The words of the page's line, with the operator's command and a free port."""
    _, *words = shlex.split(re.sub(r":500\d", ":0", line))
    return [machine.at("/usr/local/sbin/restauth"), *words]


# Upgrade, back, restore


def raise_version(database: Path) -> None:
    """As a newer version's migration does."""
    with closing(sqlite3.connect(database)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")


def test_up_to_a_newer_version_and_back_with_the_pages_commands(machine: Machine) -> None:
    server = machine.start()
    assert register(server).status == 201
    live = token_of(server)
    upgrade = example(PAGE, "sh", "cp -a /opt/restauth")
    stop, *between, start, check = upgrade.splitlines()
    assert (stop, start) == ("systemctl stop restauth", "systemctl start restauth")
    for version in (2, 3):  # the second time, the files of the first are there
        machine.version = version
        machine.run("\n".join([stop, *between, start, check]))
        assert machine.installed_version() == version
    assert status_for(machine.server, live) == 200
    assert register(machine.server, "eve").status == 201
    machine.stop()
    raise_version(machine.data / "restauth.db")
    before = (machine.data / "restauth.db").read_bytes()

    (back,) = re.findall(
        r"```sh\n(.*?)```", chapter(PAGE, "Go back to the version before"), re.DOTALL
    )
    assert machine.start().wait() == 1
    machine.close()
    console = machine.at(example(PAGE, "console", "newer restauth"))
    command, shown = console.splitlines()
    assert machine.shell(command.removeprefix("$ ")) == (1, "", f"{shown}\n")
    assert (machine.data / "restauth.db").read_bytes() == before

    machine.run("\n".join(back.splitlines()[1:-1]))
    assert machine.installed_version() == 2
    restored = machine.at(example(PAGE, "sh", "restauth restore"))
    machine.run("\n".join(restored.splitlines()[1:]))
    assert token_of(machine.server)
    assert call(machine.server, "GET", "/api/token", basic("eve", PASSWORD)).status == 401


def prepare(machine: Machine) -> tuple[str, str]:
    """A copy, a token that lives in it and has ended since, and one of a user who came later."""
    server = machine.start()
    assert register(server).status == 201
    ended = token_of(server)
    assert machine.shell("restauth backup before.db").status == 0
    assert call(server, "DELETE", "/api/token", bearer(ended)).status == 204
    assert register(server, "eve").status == 201
    return ended, token_of(server, "eve")


def test_the_restored_copy_is_served_and_old_tokens_are_refused(machine: Machine) -> None:
    ended, later = prepare(machine)
    refused = machine.shell("restauth restore before.db")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.endswith("is in use: stop the server first.\n")
    machine.run(example(PAGE, "sh", "restauth restore"))
    server = machine.server
    assert status_for(server, token_of(server)) == 200
    assert call(server, "GET", "/api/token", basic("eve", PASSWORD)).status == 401
    assert register(server, "kim").headers["location"].endswith("/2")  # eve's id, given again
    for token in (ended, later):
        assert status_for(server, token) == 401
    assert (machine.data / "restauth.db").stat().st_mode & 0o777 == 0o600
    check = machine.shell("restauth check")
    assert check.status == 0, check


def test_a_copy_by_cp_is_noticed_and_an_ended_session_lives_again(machine: Machine) -> None:
    """Why the page forbids it."""
    ended, later = prepare(machine)
    shutil.copyfile(machine.data / "before.db", machine.data / "restauth.db")
    assert register(machine.server, "kim").status == 503
    assert call(machine.server, "GET", "/api/health").status == 503
    machine.close()  # with SIGKILL
    for suffix in ("-wal", "-shm"):
        (machine.data / f"restauth.db{suffix}").unlink()
    server = machine.start()
    assert [status_for(server, token) for token in (ended, later)] == [200, 401]


def test_after_a_kill_the_files_beside_the_database_do_not_come_back(machine: Machine) -> None:
    """A killed server leaves a -wal: the copy is not to be mixed with it."""
    prepare(machine)
    machine.close()  # with SIGKILL
    assert (machine.data / "restauth.db-wal").stat().st_size > 0
    machine.run("\n".join(example(PAGE, "sh", "restauth restore").splitlines()[1:]))
    assert call(machine.server, "GET", "/api/token", basic("eve", PASSWORD)).status == 401
    token_of(machine.server)


def test_a_lost_key_ring_is_made_anew_and_all_tokens_end(machine: Machine) -> None:
    server = machine.start()
    assert register(server).status == 201
    live = token_of(server)
    machine.stop()
    (machine.data / "restauth.keys").unlink()
    server = machine.start()
    assert status_for(server, live) == 401
    assert status_for(server, token_of(server)) == 200
