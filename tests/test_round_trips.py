"""What each request costs on PostgreSQL: the table of the guide, counted on the line to the server.

Rule: the whole application and a real server. Each kind of request is made by several users, and
the least of its costs counts: the driver prepares a statement once, which is a round trip more.
"""

from collections.abc import Callable, Iterator
from contextlib import closing

import webtest

from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.documents import chapter, rows
from tests.postgres import PostgresServer, Relay

Requests = Iterator[tuple[str, Callable[[], object]]]


def requests_of(client: webtest.TestApp, name: str) -> Requests:
    """A life, with the words of the guide for each of its requests."""
    password, wrong = basic(name, "python"), basic(name, "ruby")
    account = {"username": name, "password": "python"}
    yield "a registration", lambda: client.post_json("/api/users", account, status=201)
    log_in = lambda: client.get("/api/token", headers=password, status=200)  # noqa: E731
    yield "the first login with a password in a process", log_in
    yield "a later login with it", log_in
    yield (
        "a password that was verified before",
        lambda: client.get("/api/resource", headers=password, status=200),
    )
    yield "a wrong password", lambda: client.get("/api/token", headers=wrong, status=401)
    pair = client.post("/api/sessions", headers=password, status=201).json
    token = bearer(pair["token"])
    yield "a token", lambda: client.get("/api/resource", headers=token, status=200)
    key = client.post_json("/api/keys", {"name": "ci"}, headers=password).json["key"]
    client.get("/api/resource", headers=bearer(key), status=200)  # it is noted once an hour
    yield "an API key", lambda: client.get("/api/resource", headers=bearer(key), status=200)
    yield (
        "a refresh",
        lambda: client.post_json(
            "/api/token", {"refresh_token": pair["refresh_token"]}, status=200
        ),
    )
    yield "a logout", lambda: client.delete("/api/token", headers=token, status=204)


def test_the_round_trips_of_the_guide_are_those_that_are_made(
    postgres: PostgresServer, make_services: ServicesFactory
) -> None:
    costs: dict[str, int] = {}
    with closing(Relay(postgres)) as relay:
        line = {"host": "127.0.0.1", "port": str(relay.port), "sslmode": "disable"}
        with make_services(database=postgres.url(postgres.new_schema(), **line)) as services:
            for number in range(8):
                for words, act in requests_of(client_of(services), f"user{number}"):
                    before = relay.round_trips
                    act()
                    cost = relay.round_trips - before
                    costs[words] = min(costs.get(words, cost), cost)
    shown = rows(chapter("scaling", "PostgreSQL"))
    table = [row for row in shown if len(row) == 2 and row[1].isdigit()]
    assert {words: int(number) for words, number in table} == costs
