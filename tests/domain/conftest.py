"""The user of most tests of the domain."""

import pytest

from restauth.records import Account
from restauth.services import Services
from restauth.storage import postgres, sqlite
from tests.domain.actions import register


@pytest.fixture
def account(services: Services) -> Account:
    """Of miguel, registered in the one database that all processes of a test share."""
    return register(services)


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that are made from now on wait a millisecond for others who write."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)
    monkeypatch.setattr(postgres, "_LIMITS", postgres._LIMITS.replace("'1000'", "'1'"))
