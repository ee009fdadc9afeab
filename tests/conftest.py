"""The fixtures of the whole suite: a clock to turn, real stores, and a linted client.

Rule: nothing of our own is mocked. Stores are real files, the hash is real bcrypt at its cheapest.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event
from typing import Any
from wsgiref.validate import validator

import bcrypt
import pytest
import webtest

from restauth import services as services_module
from restauth import settings
from restauth.domain.authentication import Authentication
from restauth.errors import BadCredentials, Refusal
from restauth.records import Account, Caller, Client, User
from restauth.services import Services, build_services
from restauth.testing import Clock
from restauth.web.app import App
from tests.postgres import PostgresServer, run_server

CLIENT = Client("192.0.2.7", "test")  # RFC 5737: for examples, not globally routable
PUBLIC_CLIENT = Client("9.9.9.9", "test")  # globally routable, so that its failures add up
CHEAPEST = 4  # bcrypt's lowest cost: a millisecond
NOBODY = 65_534  # a user without rights


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nothing-left-out",
        action="store_true",
        help="a skipped test fails the run: nothing that a test needs is missing here",
    )
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="where the services of the tests keep their users",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sqlite(reason): not run with --database postgresql")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not uses_postgres(config):
        return
    left_out = [item for item in items if item.get_closest_marker("sqlite")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def uses_postgres(config: pytest.Config) -> bool:
    return str(config.getoption("--database")) == "postgresql"


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--nothing-left-out") and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


ServicesFactory = Callable[..., Services]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The RESTAUTH_* variables of the developer must not change what a test sees."""
    for name in [name for name in os.environ if name.startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def database(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_settings_from_outside: None,
) -> str:
    """The setting of the test's services, of commands, and of servers: a file or a schema of the
    test's own."""
    if not uses_postgres(request.config):
        return str(tmp_path / "restauth.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.url(server.new_schema())
    monkeypatch.setenv("RESTAUTH_DATABASE", url)
    return url


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of a run that need one."""
    with run_server() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_services(tmp_path: Path, database: str, clock: Clock) -> Iterator[ServicesFactory]:
    """Services with any settings as keywords. Two calls share the users and the keys, as two
    processes do."""
    made = []

    def make(**keywords: object) -> Services:
        files = {"database": database, "key_file": tmp_path / "restauth.keys"}
        services = build_services(
            settings.load({}, {**files, **keywords}),
            create=True,
            clock=clock,
            hash_cost=CHEAPEST,
        )
        made.append(services)
        return services

    yield make
    for services in made:
        services.close()


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    return make_services()


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of each bcrypt that has run, in order."""
    done = []
    hashpw = bcrypt.hashpw

    def counted(password: bytes, salt: bytes) -> bytes:
        done.append(2 ** int(salt[4:6]))
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", counted)
    return done


def by_password(services: Services, username: str, password: str) -> Caller:
    """What a verified Basic header becomes."""
    account = services.authentication.authenticate(username, password, CLIENT)
    return caller_of(account)


def caller_of(account: Account) -> Caller:
    return Caller(User(account.id, account.username, account.roles, None, "password"), account)


def expect_refusal(authentication: Authentication, username: str, password: str) -> BadCredentials:
    """Authenticate, expect BadCredentials, and return it."""
    with pytest.raises(BadCredentials) as caught:
        authentication.authenticate(username, password, CLIENT)
    return caught.value


def race(
    monkeypatch: pytest.MonkeyPatch,
    rivals: list[Services],
    method: str,
    act: Callable[[Services], object],
) -> list[object]:
    """Each of the rivals acts on a thread of its own, and all have come as far as that method of
    the store before one goes on. The outcomes, failures by their class."""
    all_are_here = Barrier(len(rivals))
    for rival in rivals:
        monkeypatch.setattr(rival._resources.store, method, _meeting(all_are_here, rival, method))

    def outcome(rival: Services) -> object:
        try:
            return act(rival)
        except Refusal as refusal:
            return type(refusal)

    with ThreadPoolExecutor(len(rivals)) as threads:
        return list(threads.map(outcome, rivals))


def _meeting(barrier: Barrier, services: Services, method: str) -> Callable[..., Any]:
    write = getattr(services._resources.store, method)

    def meet_and_write(*arguments: object, **keywords: object) -> Any:
        barrier.wait(timeout=60)
        return write(*arguments, **keywords)

    return meet_and_write


class HeldHashes:
    def __init__(self) -> None:
        self.is_hashing, self.may_go_on = Event(), Event()


@contextmanager
def held_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldHashes]:
    """Every bcrypt waits for a sign."""
    held = HeldHashes()
    hashpw = bcrypt.hashpw

    def slow(password: bytes, salt: bytes) -> bytes:
        held.is_hashing.set()
        assert held.may_go_on.wait(timeout=60)
        return hashpw(password, salt)

    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", slow)
        yield held


@pytest.fixture
def one_slot(make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Another process, for logins alone: it computes one hash at a time, without a queue."""
    with monkeypatch.context() as patch:
        patch.setattr(services_module, "HASH_SLOTS", 1)
        patch.setattr(services_module, "HASH_QUEUE", 0)
        return make_services()


@contextmanager
def slot_taken(
    services: Services, monkeypatch: pytest.MonkeyPatch, username: str, password: str
) -> Iterator[None]:
    """A correct login on another thread is in the middle of its hash."""
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(1) as thread:
        login = thread.submit(services.authentication.authenticate, username, password, CLIENT)
        try:
            assert held.is_hashing.wait(timeout=60)
            yield
        finally:
            held.may_go_on.set()
        assert login.result(timeout=60).username == username


def client_of(services: Services, **environ: str) -> webtest.TestApp:
    """A client whose every request passes WebTest's lint and the standard library's validator."""
    return webtest.TestApp(validator(App(services)), extra_environ=environ, lint=True)


@pytest.fixture
def client(services: Services) -> webtest.TestApp:
    return client_of(services)


def basic(username: str, password: str) -> dict[str, str]:
    """An RFC 7617 header."""
    return {"Authorization": "Basic " + b64encode(f"{username}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    """An RFC 6750 header."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Modes of files say nothing to root: act as a user, who owns the directory of the test."""
    if os.geteuid():
        yield
        return
    parents = [each for each in tmp_path.parents if each.stat().st_mode & 0o001 == 0]
    modes = {each: each.stat().st_mode for each in parents}
    for each in parents:
        each.chmod(0o711)
    for each in (tmp_path, *tmp_path.iterdir()):
        os.chown(each, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for each, mode in modes.items():
            each.chmod(mode)
