"""Real PostgreSQL servers on loopback: one alone, PgBouncer before it, three under Patroni.

Rule: PostgreSQL refuses root, so under root all of it runs as the user of the Debian package. A
server keeps its port and its directory when it is started again. All that was started is ended, by
its process id, also what a killed program has left behind.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import psycopg

from tests.counterparts.conftest import program
from tests.processes import PATIENCE, until_deadline

ROLE, DATABASE = "restauth", "restauth"
POLL = 0.02  # seconds
LONGEST_PROMOTION = 60  # seconds
_PORTS = range(20_000, 32_000)  # below those that the system gives to clients
# Without it, a server that is started at the same time as the last one ends could take its place.
_AS_USER = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
_HBA = """
local all all reject
host replication all 127.0.0.1/32 trust
host all postgres 127.0.0.1/32 trust
"""
OPEN = "host all all 127.0.0.1/32 trust"
BY_PASSWORD_AND_TLS = "hostssl all all 127.0.0.1/32 scram-sha-256"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "60",
}


def server_program(name: str) -> str:
    """The path of a program that Debian keeps in a directory for each version."""
    for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True):
        return str(path)
    return program(name)


def free_ports(count: int) -> list[int]:
    """Ports that are free now, and that no client gets by chance while a server is down."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            break
    return found


def as_user(*command: str) -> tuple[str, ...]:
    """The command, run by an unprivileged user under the same process id."""
    return command if os.geteuid() else (*_AS_USER, *command)


@contextmanager
def directory() -> Iterator[Path]:
    """A new one that belongs to that user."""
    with TemporaryDirectory(prefix="restauth-postgresql-") as name:
        _give_away(Path(name))
        yield Path(name)


def _give_away(path: Path) -> None:
    if not os.geteuid():
        shutil.chown(path, "postgres", "postgres")


def write(path: Path, text: str) -> None:
    """A private file of that user."""
    path.write_text(text)
    path.chmod(0o600)
    _give_away(path)


class Program:
    """A program in the background. Its words go to a file, which a failed start shows."""

    def __init__(self, directory: Path, name: str, *command: str) -> None:
        self.directory, self.name, self._command = directory, name, command
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator["Program"]:
        try:
            self.start()
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        """Start it and go on at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                as_user(*self._command),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait(PATIENCE)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        return self._log.read_text()


class Postgres:
    """One server, with a database of ours."""

    def __init__(self, directory: Path, port: int, largest_file: int | None) -> None:
        self.port = port
        self.data = directory / "data"
        limit = ("prlimit", f"--fsize={largest_file}") if largest_file else ()
        command = (*limit, server_program("postgres"), "-D", str(self.data))
        self._program = Program(directory, "postgres", *command)

    @classmethod
    @contextmanager
    def running(
        cls, hba: str = OPEN, *, largest_file: int | None = None, **settings: str
    ) -> Iterator["Postgres"]:
        """A new server, with these settings of its own. A disk is full where a file has the size
        that is given."""
        with directory() as place:
            (port,) = free_ports(1)
            server = cls(place, port, largest_file)
            server._make(hba, settings)
            with server.ended():
                server.start()
                server.admin(f"CREATE ROLE {ROLE} LOGIN")
                server.admin(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
                yield server

    @contextmanager
    def ended(self) -> Iterator[None]:
        """At the end no process of it is left."""
        try:
            yield
        finally:
            self.kill()

    def _make(self, hba: str, settings: dict[str, str]) -> None:
        options = (
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--wal-segsize=1",
        )
        run_as_user(server_program("initdb"), "-D", str(self.data), "--no-sync", *options)
        write(self.data / "pg_hba.conf", _HBA + hba + "\n")
        if settings.get("ssl") == "on":
            self._make_certificate()
        self.configure({"port": str(self.port), **_SETTINGS, **settings})

    def _make_certificate(self) -> None:
        """For one address and one name, and trusted by itself."""
        other_names = "subjectAltName=IP:127.0.0.1,DNS:db.example.org"
        names = ("-subj", "/CN=postgresql", "-addext", other_names)
        files = ("-keyout", str(self.data / "server.key"), "-out", str(self.data / "server.crt"))
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run_as_user(program("openssl"), "req", "-x509", *curve, *names, *files)

    def configure(self, settings: dict[str, str]) -> None:
        """Add to the configuration; the next start reads it."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def url(self, options: str = "") -> str:
        return f"postgresql://{ROLE}@127.0.0.1:{self.port}/{DATABASE}{options}"

    def admin(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, in a session of its own."""
        return query(f"postgresql://postgres@127.0.0.1:{self.port}/{database}", sql)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._program.start()
        for _ in until_deadline():
            assert self._program.is_running, self._program.output
            if answers(self.port):
                return
            sleep(POLL)

    def stop(self) -> None:
        """As the operator does: sessions end, and a checkpoint is written."""
        self._program.send(signal.SIGINT)
        self._program.wait()

    def kill(self) -> None:
        """`kill -9` of all its processes."""
        kill_all(self.data)
        self._program.kill()

    def send_to_all(self, number: int) -> None:
        """Send the signal to all its processes."""
        for each in processes_of(self.data):
            os.kill(each, number)


def run_as_user(*command: str) -> None:
    done = subprocess.run(
        as_user(*command), cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run a statement in a session of its own, which does not wait for ever."""
    with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def answers(port: int) -> bool:
    """Whether that server takes statements."""
    try:
        query(f"postgresql://postgres@127.0.0.1:{port}/postgres", "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def processes_of(data: Path) -> list[int]:
    """The server of a data directory, which has noted its number there, and what it has started."""
    try:
        number = int((data / "postmaster.pid").read_text().split()[0])
        is_it = Path(f"/proc/{number}/cwd").readlink() == data  # or the number has gone to another
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [number, *map(int, children)] if is_it else []


def kill_all(data: Path) -> None:
    """`kill -9` of the server of that directory, and wait for its end."""
    numbers = processes_of(data)
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    for number in numbers:
        wait_for_end(number)


def wait_for_end(number: int) -> None:
    """Wait until that process is gone, or a zombie, which holds nothing."""
    for _ in until_deadline():
        try:
            stat = Path(f"/proc/{number}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        if stat.rpartition(")")[2].split()[0] == "Z":
            return
        sleep(POLL)


@contextmanager
def pgbouncer(server: Postgres, **settings: str) -> Iterator[str]:
    """PgBouncer in transaction mode before that server; the URL of our database in it."""
    with directory() as place:
        (port,) = free_ports(1)
        given = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": "10",
            **settings,
        }
        target = f"host=127.0.0.1 port={server.port} user={ROLE}"
        lines = [f"{name} = {value}" for name, value in given.items()]
        text = "\n".join(["[databases]", f"* = {target}", "[pgbouncer]", *lines, ""])
        write(place / "pgbouncer.ini", text)
        bouncer = Program(place, "pgbouncer", program("pgbouncer"), "pgbouncer.ini")
        with bouncer.running():
            url = f"postgresql://{ROLE}@127.0.0.1:{port}/{DATABASE}"
            for _ in until_deadline():
                assert bouncer.is_running, bouncer.output
                with suppress(psycopg.OperationalError):
                    query(url, "SELECT 1")
                    break
                sleep(POLL)
            yield url


class Member:
    """A PostgreSQL server of the cluster, and the Patroni that controls it."""

    def __init__(self, place: Path, name: str, etcd: int, peers: list[int], rest: int) -> None:
        self.name, self.port = name, peers[int(name[-1])]
        self._rest = rest
        self._data = place / name
        write(place / f"{name}.json", json.dumps(self._configuration(place, etcd)))
        self._patroni = Program(place, name, program("patroni"), f"{name}.json")

    def _configuration(self, place: Path, etcd: int) -> dict[str, Any]:
        address = f"127.0.0.1:{self.port}"
        return {
            "scope": "restauth",
            "name": self.name,
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "restapi": {
                "listen": f"127.0.0.1:{self._rest}",
                "connect_address": f"127.0.0.1:{self._rest}",
            },
            "bootstrap": {
                # Short times, so that a dead primary is replaced within seconds. Newer versions
                # of Patroni raise `ttl` to 20.
                "dcs": {
                    "ttl": 5,
                    "loop_wait": 1,
                    "retry_timeout": 2,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self._data),
                "bin_dir": str(Path(server_program("postgres")).parent),
                "pgpass": str(place / f"{self.name}.pgpass"),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "unused"},
                    "replication": {"username": "replicator", "password": "unused"},
                },
                "parameters": {**_SETTINGS, "fsync": "on", "wal_keep_size": "64MB"},
                "pg_hba": [*_HBA.strip().split("\n"), OPEN],
            },
        }

    def start(self) -> None:
        """Start Patroni, which starts the server."""
        self._patroni.start()

    def kill(self) -> None:
        """`kill -9` of Patroni and of all processes of the server."""
        self._patroni.kill()
        kill_all(self._data)

    @contextmanager
    def ended(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.kill()

    @property
    def output(self) -> str:
        return self._patroni.output

    @property
    def is_synchronous(self) -> bool:
        """Whether Patroni would promote it."""
        with closing(HTTPConnection("127.0.0.1", self._rest, timeout=2)) as connection:
            try:
                connection.request("GET", "/synchronous")
                return connection.getresponse().status == 200
            except OSError:
                return False

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """What the server answers the superuser: nothing while it is down."""
        try:
            return query(f"postgresql://postgres@127.0.0.1:{self.port}/postgres", sql)
        except psycopg.OperationalError:
            return []


class Cluster:
    """Three members. A write is acknowledged when it is on the disks of two of them."""

    def __init__(self, place: Path, etcd: int, ports: list[int], rests: list[int]) -> None:
        self.members = [
            Member(place, f"member{number}", etcd, ports, rests[number])
            for number in range(len(ports))
        ]

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["Cluster"]:
        with directory() as place, ExitStack() as stack:
            etcd_port, peer_port, *ports = free_ports(8)
            stack.enter_context(etcd(place, etcd_port, peer_port).running())
            cluster = cls(place, etcd_port, ports[:3], ports[3:])
            for member in cluster.members:
                stack.enter_context(member.ended())
                member.start()
            cluster.wait_until_whole()
            primary = cluster.primary
            primary.ask(f"CREATE ROLE {ROLE} LOGIN")
            primary.ask(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
            yield cluster

    @property
    def primary(self) -> Member:
        """Wait for the one that takes writes."""
        for _ in until_deadline(LONGEST_PROMOTION):
            for member in self.members:
                if member.ask("SELECT pg_is_in_recovery()") == [(False,)]:
                    return member
            sleep(POLL)
        raise AssertionError

    def wait_until_whole(self) -> None:
        """Until both standbys stream, and Patroni knows that one of them has each write before it
        is acknowledged: without that it promotes none."""
        for _ in until_deadline():
            states = self.primary.ask("SELECT sync_state FROM pg_stat_replication ORDER BY 1")
            if states == [("async",), ("sync",)] and any(
                each.is_synchronous for each in self.members
            ):
                return
            sleep(POLL)

    @property
    def url(self) -> str:
        """That of the primary, whichever of the three it is."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"postgresql://{ROLE}@{hosts}/{DATABASE}?target_session_attrs=read-write"


def etcd(place: Path, port: int, peer_port: int) -> Program:
    """Patroni's store of who is the primary."""
    url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    command = {
        "--data-dir": str(place / "etcd"),
        "--listen-client-urls": url,
        "--advertise-client-urls": url,
        "--listen-peer-urls": peer_url,
        "--initial-advertise-peer-urls": peer_url,
        "--initial-cluster": f"default={peer_url}",
        "--log-level": "error",
    }
    return Program(
        place, "etcd", program("etcd"), *(word for pair in command.items() for word in pair)
    )
