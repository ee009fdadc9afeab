"""What a request costs: statements of SQL, password hashes and calls of our functions.

Rule: it counts and never measures time, so a busy machine changes nothing. The whole application
answers. A first request fills the caches, and is not counted.
"""

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import webtest

import restauth
from restauth.services import Services
from restauth.storage.sqlite import SQLite
from tests.conftest import basic, bearer

RESOURCE = "/api/resource"
PACKAGE = restauth.__file__.removesuffix("__init__.py")
MAX_CALLS = 52  # of Python functions for a token, and for a look at the file once a second


@pytest.fixture
def user(client: webtest.TestApp) -> dict[str, str]:
    """The header with the password, which was verified once."""
    client.post_json("/api/users", {"username": "miguel", "password": "python"})
    client.get("/api/token", headers=basic("miguel", "python"))
    return basic("miguel", "python")


@pytest.fixture
def token(client: webtest.TestApp, user: dict[str, str]) -> dict[str, str]:
    """The header with a token, which was used once."""
    header = bearer(client.get("/api/token", headers=user).json["token"])
    client.get(RESOURCE, headers=header)
    return header


@pytest.fixture
def key(client: webtest.TestApp, user: dict[str, str]) -> str:
    """An API key, which was used once in this hour."""
    text = client.post_json("/api/keys", {"name": "ci"}, headers=user).json["key"]
    client.get(RESOURCE, headers=bearer(text))
    return str(text)


@contextmanager
def statements(services: Services) -> Iterator[list[str]]:
    """All SQL that runs within the `with`, on the connections that are open."""
    engine = services._resources.engine
    assert isinstance(engine, SQLite)
    connections, found = [*engine._idle, *engine._writing], list[str]()
    for connection in connections:
        connection.set_trace_callback(found.append)
    yield found
    for connection in connections:
        connection.set_trace_callback(None)


# How many, when another request has written since the last one: for what is asked again while
# nobody writes, the database is not asked again.
REQUESTS: dict[str, tuple[int, Callable[[webtest.TestApp, Any, Any], object]]] = {
    "a token": (1, lambda client, token, user: client.get(RESOURCE, headers=token)),
    "a password that was verified before": (
        2,
        lambda client, token, user: client.get(RESOURCE, headers=user),
    ),
    "a token with a wrong signature": (
        0,
        lambda client, token, user: client.get(
            RESOURCE, headers={"Authorization": token["Authorization"][:-4] + "AAAA"}, status=401
        ),
    ),
    "no credentials": (0, lambda client, token, user: client.get(RESOURCE, status=401)),
    "an unknown path": (0, lambda client, token, user: client.get("/x", headers=user, status=404)),
    "a wrong method": (
        0,
        lambda client, token, user: client.put(RESOURCE, headers=user, status=405),
    ),
    "OPTIONS": (0, lambda client, token, user: client.options(RESOURCE, status=204)),
}


@pytest.mark.sqlite("tests/test_round_trips.py counts those to PostgreSQL")
@pytest.mark.parametrize("words", REQUESTS)
def test_a_request_that_needs_no_hash_runs_few_statements(
    words: str,
    client: webtest.TestApp,
    services: Services,
    token: dict[str, str],
    user: dict[str, str],
    work: list[int],
) -> None:
    number, ask = REQUESTS[words]
    client.post_json("/api/users", {"username": "other", "password": "python"})
    work.clear()
    with statements(services) as found:
        ask(client, token, user)
    assert (len(found), work) == (number, [])
    with statements(services) as found:
        ask(client, token, user)
    assert (found, work) == ([], [])


@pytest.mark.sqlite("the driver of PostgreSQL is called by functions of ours")
def test_a_token_takes_few_calls(client: webtest.TestApp, token: dict[str, str]) -> None:
    calls: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        client.get(RESOURCE, headers=token)
    finally:
        sys.setprofile(None)
    assert len(calls) <= MAX_CALLS, calls


@pytest.mark.sqlite("it counts statements of SQLite")
def test_an_api_key_costs_one_statement_and_a_damaged_one_none(
    client: webtest.TestApp, services: Services, key: str, work: list[int]
) -> None:
    damaged = key[:-1] + ("0" if key[-1] != "0" else "1")
    for text, status, number in ((key, 200, 1), (damaged, 401, 0)):
        for headers in (bearer(text), basic(text, ""), basic("miguel", text)):
            client.post_json("/api/users", {"username": secrets.token_hex(), "password": "python"})
            work.clear()
            with statements(services) as found:
                client.get(RESOURCE, headers=headers, status=status)
            assert (len(found), work) == (number, [])
