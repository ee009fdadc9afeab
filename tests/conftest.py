"""The fixtures of the whole suite: a clock to turn, real stores, and a linted client.

Rule: nothing of our own is mocked. Stores are real files, the hash is real bcrypt at its cheapest.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from wsgiref.validate import validator

import pytest
import webtest

from restauth import settings
from restauth.services import Services, build_services
from restauth.web.api import Api

CHEAPEST = 4  # bcrypt's lowest cost: a millisecond


class Clock:
    """Epoch seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += seconds


ServicesFactory = Callable[..., Services]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own RESTAUTH_* variables must not decide what a test sees."""
    for name in [name for name in os.environ if name.startswith(settings.PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_services(tmp_path: Path, clock: Clock) -> Iterator[ServicesFactory]:
    """Services with any settings as keywords; two calls share the files, as two processes do."""
    made = []

    def make(**keywords: object) -> Services:
        files = {"database": tmp_path / "restauth.db", "key_file": tmp_path / "restauth.keys"}
        services = build_services(
            settings.load({}, {**files, **keywords}),
            create=True,
            clock=clock,
            hash_cost_for_tests=CHEAPEST,
        )
        made.append(services)
        return services

    yield make
    for services in made:
        services.close()


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    return make_services()


def client_of(services: Services, **environ: str) -> webtest.TestApp:
    """A client whose every request passes WebTest's lint and the standard library's validator."""
    return webtest.TestApp(validator(Api(services)), extra_environ=environ, lint=True)


@pytest.fixture
def client(services: Services) -> webtest.TestApp:
    return client_of(services)


def basic(username: str, password: str) -> dict[str, str]:
    """An RFC 7617 header."""
    return {"Authorization": "Basic " + b64encode(f"{username}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    """An RFC 6750 header."""
    return {"Authorization": f"Bearer {token}"}
