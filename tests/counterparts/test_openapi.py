"""The description in the hands of other people's tools.

Rule: a validator reads it, a tester holds the live service against it, and a generated client is
used as its own documentation says. The service is a process of its own, whose hashes are cheaper
than settings allow: the tester logs in a thousand times.
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from restauth import Service
from tests.conftest import basic, bearer
from tests.counterparts.conftest import library
from tests.processes import PATIENCE, Server

CHEAP_SERVICE = """
import os
from restauth import settings
from restauth.cli import server
from restauth.services import build_services
from restauth.web.app import App
services = build_services(settings.load(os.environ), create=True, hash_cost=4)
for algorithm in ("ES256", "EdDSA"):
    services.keys.rotate(revoke=False, algorithm=algorithm)
server.serve(App(services), {"listen": "127.0.0.1:0"}, lambda where: print(where, flush=True))
"""
NO_THROTTLE = {"free_failures": "0", "max_failures": "0", "peer_failures": "0"}
WHERE = "/api/openapi.json"

# All checks are on. But 400 is also for requests that are as described: of a name that is taken, of
# a code that no operator made, for a user who is none (not 404: REST-auth's contract), for the
# end of the session that a password has not, and for a key with roles that the user has not.
MAY_REFUSE = (
    "POST /api/users",
    "POST /api/password-resets",
    "GET /api/users/{id}",
    "DELETE /api/token",
    "POST /api/keys",
    "POST /api/admin/users",
    "PUT /api/admin/users/{id}/username",
)
OF_OPERATORS = "/api/admin/"
# What a tester who is a new user each time knows by chance at most: a secret, a session or a key of
# its own.
OUT_OF_REACH = {
    "POST /api/token",
    "POST /api/password-resets",
    "DELETE /api/token",
    "DELETE /api/sessions/{sid}",
    "DELETE /api/keys/{key}",
}
MAY_BE = ["2xx", 400, 401, 403, 404]
TESTING = {
    "seed": 1,
    "generation": {"deterministic": True, "database": "none", "mode": "all", "max-examples": 5},
    "operations": [
        {
            "include-name": name,
            "checks": {"positive_data_acceptance": {"expected-statuses": MAY_BE}},
        }
        for name in MAY_REFUSE
    ],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    library("cryptography")
    options = {**NO_THROTTLE, "admin_role": "admin"}
    with Server.start(directory, sys.executable, "-c", CHEAP_SERVICE, **options) as server:
        yield server


@pytest.fixture
def service(server: Server, directory: Path) -> Iterator[Service]:
    """On the same users."""
    assert server.get(WHERE).status == 200
    with Service(
        database=directory / "restauth.db", key_file=directory / "restauth.keys"
    ) as service:
        yield service


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return server.get(WHERE).json


def operations(document: Any) -> set[str]:
    return {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method in item.keys() - {"parameters"}
    }


def test_a_validator_accepts_the_description(document: Any) -> None:
    library("openapi_spec_validator").validate(document)


@pytest.mark.sqlite("the roles are given in the file of the server")
@pytest.mark.parametrize("caller", ["nobody", "users", "operators"])
def test_a_tester_finds_no_answer_that_is_not_described(
    server: Server, service: Service, document: Any, caller: str
) -> None:
    schemathesis = library("schemathesis")
    config = schemathesis.Config.from_dict({**TESTING, "base-url": server.address})
    schema = schemathesis.openapi.from_dict(document, config=config)
    if caller == "operators":
        schema = schema.include(path_regex=f"^{OF_OPERATORS}")
    if caller != "nobody":
        roles = ["admin"] if caller == "operators" else []
        schema.auth(refresh_interval=None)(new_users(server, service, roles))
    found, answered = [], set()
    for event in library("schemathesis.engine").from_schema(schema).execute():
        if hasattr(event, "value"):  # it could not go on
            found.append(f"{event.label}: {event.value!r}")
        if hasattr(event, "recorder"):
            found += failures(event)
            for name, call in event.recorder.interactions.items():
                case = event.recorder.cases[name].value
                answered.add((f"{case.method} {case.path}", call.response.status_code))
    assert not found, "\n\n".join(found)
    asked = {name for name in operations(document) if caller != "operators" or OF_OPERATORS in name}
    assert asked <= {name for name, _ in answered}
    reached = {name for name, code in answered if code < 300}
    if caller == "users":
        assert {name for name in asked if OF_OPERATORS not in name} - OUT_OF_REACH <= reached
    if caller == "operators":  # of the ids that it tries, all may be of no user, or no invitation
        assert {name for name in asked if "{" not in name} <= reached


def new_users(server: Server, service: Service, roles: list[str]) -> type:
    """Each request is a new user's, who has these roles, since an operation may end the account; by
    password and, where a token is good too, by either in turn."""
    numbers = count()

    class NewUser:
        def get(self, case: Any, context: Any) -> dict[str, str]:
            number = next(numbers)
            username = f"{'operator' if roles else 'user'}{number}"
            service.set_roles(server.register(username), roles)
            takes_token = {"bearer": []} in case.operation.definition.raw["security"]
            if takes_token and number % 2:
                return bearer(server.log_in(username))
            return basic(username, "pw")

        def set(self, case: Any, data: dict[str, str], context: Any) -> None:
            case.headers = {**(case.headers or {}), **data}

    return NewUser


def failures(scenario: Any) -> list[str]:
    return [
        f"{scenario.label}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
        for checks in scenario.recorder.checks.values()
        for check in checks
        if check.failure_info
    ]


def test_a_generated_client_does_the_journey(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library("openapi_python_client")
    (tmp_path / "config.yml").write_text(json.dumps({"post_hooks": []}))  # it would run ruff
    subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
            *("--url", server.address + WHERE, "--meta", "none"),
            *("--output-path", "generated_client", "--config", "config.yml"),
        ],
        cwd=tmp_path,
        check=True,
        timeout=PATIENCE,
    )
    monkeypatch.syspath_prepend(tmp_path)
    client = importlib.import_module("generated_client")
    models = importlib.import_module("generated_client.models")

    def api(name: str) -> Any:
        return importlib.import_module(f"generated_client.api.default.{name}")

    def connect(kind: str, **keywords: Any) -> Any:
        return stack.enter_context(getattr(client, kind)(base_url=server.address, **keywords))

    with ExitStack() as stack:
        anyone = connect("Client")
        body = models.RegisterBody(username="journey", password="python")
        registered = api("register").sync_detailed(client=anyone, body=body)
        assert registered.parsed == models.Profile(username="journey")
        assert registered.headers["Location"].startswith(f"{server.address}/api/users/")
        refused = api("register").sync(client=anyone, body=body)
        assert refused.type_ is models.ProblemType.URNRESTAUTHPROBLEMUSERNAME_TAKEN

        header = basic("journey", "python")["Authorization"]
        by_header = connect("Client", headers={"Authorization": header})
        by_prefix = connect(
            "AuthenticatedClient", prefix="Basic", token=header.removeprefix("Basic ")
        )
        for by_password in (by_header, by_prefix):
            token = api("issue_token").sync(client=by_password)
            assert isinstance(token, models.Token)
            by_token = connect("AuthenticatedClient", token=token.token)
            assert api("greet").sync(client=by_token) == models.Greeting(data="Hello, journey!")

        body = models.MakeKeyBody(name="ci", expires_in=60)
        made = api("make_key").sync(client=by_prefix, body=body)
        by_key = connect("AuthenticatedClient", token=made.key)
        assert api("greet").sync(client=by_key) == models.Greeting(data="Hello, journey!")
        (kept,) = api("list_keys").sync(client=by_prefix).keys
        assert (kept.id, kept.roles) == (made.id, None)

        pair = api("start_session").sync(client=by_prefix)
        for _ in range(2):
            body = models.RefreshBody(refresh_token=pair.refresh_token)
            pair = api("refresh").sync(client=anyone, body=body)
            assert isinstance(pair, models.TokenPair)
        by_token = connect("AuthenticatedClient", token=pair.token)
        listed = api("list_sessions").sync(client=by_token)
        (current,) = [session for session in listed.sessions if session.current]
        assert (len(listed.sessions), current.peer) == (3, "127.0.0.1")
        assert api("log_out").sync_detailed(client=by_token).status_code == 204
        dead = api("greet").sync(client=by_token)
        assert (dead.status, dead.detail) == (401, "Unauthorized Access")
        keys = api("show_keys").sync(client=anyone).keys
        assert [key.alg for key in keys] == ["EdDSA", "ES256"]
