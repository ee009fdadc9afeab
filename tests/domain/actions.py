"""What the tests of the domain do again and again: register, log in, fail, verify, look at the log.

Rule: an action goes the way of a request, and fails the test when it does not end as it says.
"""

import json
import time
from typing import Any

import pytest

from restauth.core.authorization import Bearer
from restauth.domain.identification import Identification
from restauth.errors import BadCredentials, Throttled
from restauth.records import Account, Caller, Client, IssuedTokens, Session
from restauth.services import Services
from tests.conftest import CHEAPEST, CLIENT

NAME, PASSWORD, WRONG = "miguel", "python", "wrong"
ONE_HASH = 2**CHEAPEST  # rounds
Verifier = Services | Identification

LAX_PATTERN = r"[^:\x00-\x20\x7f]+"


def register(services: Services, username: str = NAME) -> Account:
    return services.accounts.register(username, PASSWORD)


def log_in(services: Services, client: Client = CLIENT, username: str = NAME) -> Account:
    """With the right password."""
    return services.authentication.authenticate(username, PASSWORD, client)


def fail(services: Services, times: int = 1, client: Client = CLIENT, username: str = NAME) -> None:
    """With a wrong password, so many times."""
    for _ in range(times):
        with pytest.raises(BadCredentials):
            services.authentication.authenticate(username, WRONG, client)


def throttled(services: Services, client: Client = CLIENT, username: str = NAME) -> int | None:
    """With the right password, and in vain: the seconds to wait, None when no wait helps."""
    with pytest.raises(Throttled) as caught:
        log_in(services, client, username)
    return caught.value.retry_after


def await_waiting(services: Services, number: int) -> None:
    """Return when so many attempts wait for their turn to be hashed."""
    limiter = services._resources.limiter
    deadline = time.monotonic() + 60
    while len(limiter._queue) != number:
        assert time.monotonic() < deadline
        time.sleep(0)


def issue(services: Services, username: str = NAME) -> IssuedTokens:
    """An access token of a new session."""
    return services.sessions.issue(log_in(services, username=username), CLIENT)


def start(services: Services, client: Client = CLIENT) -> IssuedTokens:
    """The tokens of a new session that has a refresh token."""
    return services.sessions.start(log_in(services, client), client)


def refresh(services: Services, issued: IssuedTokens) -> IssuedTokens:
    assert issued.refresh_token is not None
    return services.sessions.refresh(issued.refresh_token, CLIENT)


def verify(verifier: Verifier, token: str) -> Caller:
    identification = verifier.identification if isinstance(verifier, Services) else verifier
    caller = identification.identify(Bearer(token), CLIENT)
    assert caller is not None
    return caller


def is_valid(verifier: Verifier, token: str) -> bool:
    try:
        verify(verifier, token)
    except BadCredentials:
        return False
    return True


def session_of(services: Services, token: str) -> Session:
    """The session of the token, as its user sees it."""
    user = verify(services, token).user
    (session,) = (one for one in services.sessions.list(user.id) if one.id == user.session_id)
    return session


def events(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was written to the audit log since the last look."""
    messages = [entry.getMessage() for entry in caplog.records if entry.name == "restauth.audit"]
    caplog.clear()
    return [json.loads(message) for message in messages]
