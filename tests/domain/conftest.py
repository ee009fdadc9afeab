"""The user of most tests of the domain."""

import pytest

from restauth.records import Account
from restauth.services import Services
from tests.domain.actions import register


@pytest.fixture
def account(services: Services) -> Account:
    """Of miguel, registered in the one database that all processes of a test share."""
    return register(services)
