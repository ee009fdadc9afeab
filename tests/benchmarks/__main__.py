"""restauth against its peers, side by side in one run: over the wire, in process, idle.

    python -m tests.benchmarks [--short] [--rounds N] [--picture FILE]

Rule: each peer gives the right answers before it is measured, and all take turns in each round. It
builds an environment of its own for the peers, with pip and npm; the short form takes those Python
peers that are installed, and shows that the benchmark works, not how fast anything is. It prints
the table as Markdown.
"""

import argparse
import json
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import NamedTuple

from tests.benchmarks import table
from tests.benchmarks.load import PATH, put_load
from tests.benchmarks.peers import GREETING, restauth_headers
from tests.processes import Server, until_deadline

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LIBRARIES = (
    *("PyJWT", "waitress", "bottle", "falcon", "Flask", "Flask-SQLAlchemy", "Flask-HTTPAuth"),
    "granian",
)
PACKAGES = ("fastify@5", "better-sqlite3@12", "fast-jwt@6")
MODULES = {
    "hello": (),
    "falcon": ("falcon",),
    "bottle": ("bottle",),
    "seed": ("flask", "flask_sqlalchemy", "flask_httpauth"),
    "restauth": ("restauth",),
    "granian": ("restauth", "granian"),
}
OURS = ("restauth", "granian")
# The guide's line. Its own threads are enough, so there is no best number to look for.
GRANIAN = ("granian", "--interface", "wsgi", "--factory", "--blocking-threads", "80", "--port")
LOGIN_INTERVAL = 1  # seconds between two logins, each with a hash, under Granian
IMPORTED = {"restauth": "restauth", "seed": "flask, flask_sqlalchemy, flask_httpauth, jwt"}
THREADS = ("1", "4", "15")  # of which each peer takes what is best for it
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Size(NamedTuple):
    """How much is measured. `seconds` are those of one load."""

    rounds: int
    seconds: float
    requests: int


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--short", action="store_true", help="a trial of some seconds")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--picture", type=Path, help="where the SVG file goes")
    arguments = parser.parse_args()
    size = Size(1, 0.1, 100) if arguments.short else Size(arguments.rounds, 1, 2000)
    samples: table.Samples = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        python = sys.executable if arguments.short else build_environment(directory)
        names = [name for name, modules in MODULES.items() if has_all(python, modules)]
        served = names if arguments.short else [*names, "fastify"]
        measure_wire(samples, size, directory, python, served)
        measure_calls(samples, size, python, [name for name in names if name != "granian"])
        measure_imports(samples, size, python, [name for name in names if name in IMPORTED])
        versions = installed(python)
    print(f"Python {platform.python_version()}, {', '.join(versions)}; rounds: {size.rounds}\n")
    print(table.markdown(samples), end="")
    if arguments.picture:
        arguments.picture.write_text(table.picture(samples), "utf-8")


def build_environment(directory: Path) -> str:
    """The Python of a fresh environment with this checkout and the peers, Node's beside it."""
    venv.create(directory / "venv", with_pip=True)
    python = str(directory / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", str(ROOT), *LIBRARIES], check=True)
    npm = ("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory))
    subprocess.run([*npm, *PACKAGES], check=True)
    return python


def has_all(python: str, modules: tuple[str, ...]) -> bool:
    """The own environment has them all, or its building has failed."""
    return python != sys.executable or all(find_spec(module) for module in modules)


def installed(python: str) -> list[str]:
    listing = subprocess.run(
        [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        check=True,
    ).stdout
    wanted = {name.lower() for name in LIBRARIES}
    found = [each for each in json.loads(listing) if each["name"].lower() in wanted]
    return [f"{each['name']} {each['version']}" for each in found]


# Over the wire


class Target(NamedTuple):
    """A server that runs, and the Authorization headers for it by their kind."""

    name: str
    server: Server
    headers: dict[str, str]


@contextmanager
def serving(directory: Path, python: str, name: str, threads: str) -> Iterator[Target]:
    """A peer behind waitress with so many threads; restauth and Fastify by their own servers, and
    restauth behind Granian while a client logs in."""
    folder = Path(tempfile.mkdtemp(dir=directory))
    command = [python, str(HERE / "peers.py"), "serve", name, threads]
    if name == "restauth":
        command = [python, "-m", "restauth", "serve", "--listen", "127.0.0.1:0"]
    if name == "fastify":
        modules = f"NODE_PATH={directory / 'node_modules'}"
        command = ["env", modules, "NODE_ENV=production", "node", str(HERE / "fastify.js")]
    if name == "granian":
        command = [python, "-m", *GRANIAN, str(free_port()), "restauth:create_app"]
    # A run takes longer than the ten minutes that a token lives by default.
    cache = "0" if name == "granian" else "300"  # 0: so that each login computes a hash
    options = {"token_duration": "36000", "bcrypt_rounds": "12", "credential_cache": cache}
    with Server.start(folder, *command, **options) as server, ExitStack() as stack:
        if name == "granian":
            stack.callback(server.end)  # its worker would outlive a kill
        if name in OURS:
            wait_until_up(server)
            server.register("miguel", "python")
            headers = restauth_headers(server.log_in("miguel", "python"))
        else:
            headers = json.loads(server.hear(re.compile(r"^\{.*\}$", re.MULTILINE))[0])
        target = Target(name, server, headers)
        check(target)
        if name == "granian":
            stack.enter_context(logging_in(server))
        yield target


def wait_until_up(server: Server) -> None:
    for _ in until_deadline():
        with suppress(OSError):
            server.get("/api/health")
            return


@contextmanager
def logging_in(server: Server) -> Iterator[None]:
    """A client logs in again and again."""
    stop = Event()

    def log_in() -> None:
        while not stop.wait(LOGIN_INTERVAL):
            server.log_in("miguel", "python")

    with ThreadPoolExecutor(1) as threads:
        work = threads.submit(log_in)
        try:
            yield
        finally:
            stop.set()
            work.result()


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def check(target: Target) -> None:
    """It lets the right credentials in, and those alone; a hello world reads none."""
    for kind, header in target.headers.items():
        answer = target.server.get(PATH, {"Authorization": header})
        assert answer.status == status_of(target.name, kind), (target.name, kind, answer)
        assert answer.status == 401 or answer.json == GREETING, (target.name, kind, answer)


def status_of(name: str, kind: str) -> int:
    return 401 if kind == "refused" and name != "hello" else 200


def measure_wire(
    samples: table.Samples, size: Size, directory: Path, python: str, names: list[str]
) -> None:
    with ExitStack() as stack:
        targets = []
        for name in names:
            threads = best_threads(size, directory, python, name)
            target = stack.enter_context(serving(directory, python, name, threads))
            memory = resident_mebibytes(target.server.process.pid)
            samples[table.MEMORY][f"{name} token"] = [memory]
            targets.append(target)
        for _ in range(size.rounds):
            for clients in (table.FEW, table.MANY):
                for target in targets:
                    for kind in target.headers if target.name == "restauth" else ["token"]:
                        measure_load(samples, size, target, kind, clients)


def best_threads(size: Size, directory: Path, python: str, name: str) -> str:
    """The number of threads with which a peer answers most; some have their own."""
    if name in (*OURS, "fastify") or size.rounds == 1:
        return "4"
    rates = {}
    for threads in THREADS:
        with serving(directory, python, name, threads) as target:
            load = put_load(
                target.server.address, target.headers["token"], 200, table.FEW, size.seconds
            )
        rates[threads] = load.per_second
    best = max(rates, key=lambda threads: rates[threads])
    print(f"{table.NAMES[name]}: best with {best} of {', '.join(THREADS)} threads", flush=True)
    return best


def measure_load(
    samples: table.Samples, size: Size, target: Target, kind: str, clients: int
) -> None:
    before = cpu_seconds(target.server.process.pid)
    load = put_load(
        target.server.address,
        target.headers[kind],
        status_of(target.name, kind),
        clients,
        size.seconds,
    )
    spent = cpu_seconds(target.server.process.pid) - before
    subject = f"{target.name} {kind}"
    samples[table.RATE.format(clients)][subject].append(load.per_second)
    samples[table.P99.format(clients)][subject].append(load.p99)
    # The kernel counts in hundredths of a second: a short load may have taken none.
    cpu = max(spent, 1 / CLOCK_TICKS) / load.answers * 1e6
    samples[table.CPU.format(clients)][subject].append(cpu)


def cpu_seconds(pid: int) -> float:
    """What the process has used so far, see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_mebibytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (kibibytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kibibytes) / 1024


# Without a wire


def measure_calls(samples: table.Samples, size: Size, python: str, names: list[str]) -> None:
    kinds = [(name, kind) for name in names for kind in ("token", "refused") if name != "hello"]
    with ExitStack() as stack:
        runners = {
            f"{name} {kind}": stack.enter_context(calling(size, python, name, kind))
            for name, kind in [*kinds, ("restauth", "password"), ("hello", "token")]
        }
        for _ in range(size.rounds):
            for subject, runner in runners.items():
                assert runner.stdin is not None
                assert runner.stdout is not None
                print(file=runner.stdin, flush=True)
                samples[table.IN_PROCESS][subject].append(float(runner.stdout.readline()))


@contextmanager
def calling(size: Size, python: str, name: str, kind: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that answers requests to itself, for each line that it is sent."""
    command = [python, str(HERE / "peers.py"), "call", name, kind, str(size.requests)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def measure_imports(samples: table.Samples, size: Size, python: str, names: list[str]) -> None:
    for _ in range(size.rounds):
        bare = child_seconds(python, "pass")
        for name in names:
            spent = child_seconds(python, f"import {IMPORTED[name]}") - bare
            samples[table.IMPORT][f"{name} token"].append(spent * 1e3)


def child_seconds(python: str, code: str) -> float:
    """The CPU time of a whole interpreter that runs the code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Elsewhere: here the package would be imported from the source, which may not be compiled.
    subprocess.run([python, "-c", code], cwd=Path(python).parent, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
