"""A temporary service, for the tests of your own application.

Rule: a service as in production, with two exceptions: the hash costs a millisecond, and the clock
moves only when a test moves it. Settings come from the keywords alone: the environment of the
developer has no effect. Everything is removed at the end.

    with restauth.testing.service() as service:
        app = service.guard(my_wsgi_app, required=True)
        ada = service.add_user("ada", "password", roles=["editor"])
        token = service.issue_token(ada.id).token
        service.clock.advance(600)                           # the token has expired

    auth = pytest.fixture(restauth.testing.service_fixture)  # the same as a fixture of pytest
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Unpack

from restauth import settings
from restauth.app import Service
from restauth.core.passwords import MIN_COST
from restauth.services import start_services
from restauth.settings import SettingsKeywords


class Clock:
    """Epoch seconds that pass only when a test says so."""

    def __init__(self, now: int = 1_800_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: int) -> None:
        """Let some whole seconds pass. Raises TypeError for any other number."""
        if type(seconds) is not int:
            raise TypeError("The clock counts whole seconds.")
        self.now += seconds


class TemporaryService(Service):
    """A `Service` in a directory, with a cheap hash and a `clock`."""

    def __init__(self, directory: Path, keywords: SettingsKeywords) -> None:
        self.clock = Clock()
        files: SettingsKeywords = {
            "database": directory / "restauth.db",
            "key_file": directory / "restauth.keys",
        }
        loaded = settings.load({}, {**files, **keywords})
        self._use(start_services(loaded, clock=self.clock, hash_cost=MIN_COST))


@contextmanager
def service(**keywords: Unpack[SettingsKeywords]) -> Iterator[TemporaryService]:
    """A service with a temporary store, as a context manager. All settings are accepted;
    `bcrypt_rounds` has no effect. Raises as `Service`."""
    with (
        TemporaryDirectory(prefix="restauth-") as directory,
        TemporaryService(Path(directory), keywords) as temporary,
    ):
        yield temporary


def service_fixture() -> Iterator[TemporaryService]:
    """The same, as a generator: `auth = pytest.fixture(restauth.testing.service_fixture)`."""
    with service() as temporary:
        yield temporary
