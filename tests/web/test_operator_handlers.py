"""The operator's API through the front door: what it does, for whom, and what it leaves behind."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import webtest
from hypothesis import given
from hypothesis import strategies as st

from restauth import settings
from restauth.errors import StoreUnavailable
from restauth.gate import MUST_NOT_WAIT, WouldWait
from restauth.records import MAX_ID
from restauth.services import Services
from restauth.storage.store import Store
from restauth.testing import Clock
from restauth.web import app
from restauth.web.access import check_route
from restauth.web.routes import OPERATORS, routes
from tests.conftest import (
    CLIENT,
    PUBLIC_CLIENT,
    ServicesFactory,
    basic,
    bearer,
    client_of,
    held_hashes,
)
from tests.domain.actions import events
from tests.web.conftest import PASSWORD, SPOOFED, Headers, call, code_of, token_of, total

ROOT = basic("root", "python")
WHERE = "/api/admin/users"
BEGIN = "2027-01-15T08:00:00Z"  # of the clock of the tests
# A valid body for each route that takes one.
BODIES: dict[str, dict[str, Any]] = {
    f"POST {WHERE}": {"username": "ann", "password": "python", "roles": ["viewer", "editor"]},
    f"PUT {WHERE}/{{id}}/username": {"username": "ann"},
    f"PUT {WHERE}/{{id}}/roles": {"roles": ["editor"]},
    "POST /api/admin/invitations": {},
}
NAMES = [f"{route.method} {route.path}" for route in OPERATORS]
ON_ONE = [name for name in NAMES if "{id}" in name]


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    """With an operator, root, whose id is 1, and a user, miguel, whose id is 2."""
    services = make_services(admin_role="admin", registration="closed")
    services.accounts.register("root", "python", roles=["admin", "editor"])
    services.accounts.register("miguel", "python")
    return services


@pytest.fixture
def client(services: Services) -> webtest.TestApp:
    return client_of(services)


def ask(
    client: webtest.TestApp,
    name: str,
    user_id: int | str = 2,
    headers: Headers = ROOT,
    status: int | str = "*",
    body: object = None,
    invitation: str = "A" * 12,
) -> webtest.TestResponse:
    """The answer of a route to a request that is valid, but for what is said here."""
    method, path = name.split()
    value = BODIES.get(name) if body is None else body
    keywords: dict[str, Any] = {}
    if value is not None:
        keywords = {"body": json.dumps(value).encode(), "content_type": "application/json"}
    return client.request(
        path.format(id=user_id, invitation=invitation),
        method=method,
        headers=headers,
        status=status,
        **keywords,
    )


def find(services: Services, user_id: int = 2) -> dict[str, Any]:
    """As the operator sees the user."""
    found: dict[str, Any] = client_of(services).get(f"{WHERE}/{user_id}", headers=ROOT).json
    return found


def rows(services: Services) -> list[Any]:
    """All that the store holds of users."""
    read = services._resources.engine.read
    tables = ("users", "sessions", "api_keys", "reset_codes", "invitations")
    return [read(f"SELECT * FROM {table} ORDER BY 1", {}) for table in tables]


def names(page: Any) -> list[str]:
    return [user["username"] for user in page["users"]]


# Who may call


@pytest.mark.parametrize("name", NAMES)
def test_only_a_user_with_the_role_may_call_and_by_every_credential(
    services: Services, client: webtest.TestApp, name: str
) -> None:
    services.accounts.register("editor", "python", roles=["editor", "administrator", "admi"])
    for username in ("miguel", "editor"):
        by_password = basic(username, "python")
        for headers in (by_password, bearer(token_of(client, by_password))):
            before = list(services.accounts.list())
            answer = ask(client, name, 1, headers, 403)
            assert code_of(answer) == "role_required"
            assert list(services.accounts.list()) == before
    assert "insufficient_scope" in answer.headers["WWW-Authenticate"]
    ask(client, name, headers={}, status=401)
    ask(client, name, headers=basic("root", "wrong"), status=401)
    token, root = token_of(client, ROOT), services.accounts.find(1)
    key, less = (services.api_keys.make(root, "ci", roles=only).text for only in (None, ["editor"]))
    ask(client, name, headers=bearer(less), status=403)
    for number, headers in enumerate((ROOT, bearer(token), basic(token, "x"), bearer(key))):
        victim = services.accounts.register(f"victim{number}", "python").id
        body = BODIES.get(name)
        if body and "username" in body:
            body = {**body, "username": f"ann{number}"}
        invitation = services.invitations.make()[1].id
        answer = ask(client, name, victim, headers, body=body, invitation=invitation)
        assert answer.status_int in (200, 201, 204)


@pytest.mark.parametrize("name", NAMES)
def test_without_the_setting_there_is_no_such_route(
    make_services: ServicesFactory, name: str
) -> None:
    services = make_services()
    services.accounts.register("root", "python", roles=["admin"])
    client = client_of(services)
    ask(client, name, 1, status=404)
    method, path = name.split()
    client.options(path.format(id=1, invitation="A" * 12), status=404)
    assert f"{method} {path}" not in [
        f"{each.method} {each.path}" for each in routes(settings.load({}))
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_role_that_is_taken_away_is_gone_at_once(
    services: Services, client: webtest.TestApp, name: str
) -> None:
    token = bearer(token_of(client, ROOT))
    client.get(WHERE, headers=token, status=200)
    services.accounts.set_roles(services.accounts.find(1), ["editor"])
    ask(client, name, headers=token, status=403)
    ask(client, name, headers=ROOT, status=403)


# What an operator loses after the credential was verified: what is done, and the answer.
LOSSES: dict[str, tuple[Callable[[Store], object], int, str]] = {
    "lock": (lambda store: store.lock_user(1, 0), 401, "bad_credentials"),
    "deletion": (lambda store: store.delete_user(1), 401, "bad_credentials"),
    "role": (lambda store: store.change_roles(1, lambda _: ("editor",)), 403, "role_required"),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("GET")])
def test_a_request_under_way_does_nothing_once_its_operator_is_none(
    services: Services, monkeypatch: pytest.MonkeyPatch, name: str, loss: str
) -> None:
    """Of each route, also of those to come: the loss is between the check and the act."""
    store = services._resources.store
    lose, status, code = LOSSES[loss]
    begin = bearer(token_of(client_of(services)))
    services.api_keys.make(services.accounts.find(2), "ci")
    after: list[object] = []

    def check_and_lose(*arguments: Any) -> Any:
        caller = check_route(*arguments)
        lose(store)
        after.append(rows(services))
        return caller

    with monkeypatch.context() as patch:
        patch.setattr(app, "check_route", check_and_lose)
        assert code_of(ask(client_of(services), name, status=status)) == code
    assert after == [rows(services)]
    client_of(services).get("/api/resource", headers=begin, status=200)


def test_a_request_that_waits_for_a_hash_makes_nothing_once_its_operator_is_locked(
    services: Services, client: webtest.TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = bearer(token_of(client, ROOT))
    body = {"username": "ann", "password": "python", "roles": ["admin"]}
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(1) as thread:
        adding = thread.submit(client.post_json, WHERE, body, headers=token, status=401)
        try:
            assert held.is_hashing.wait(timeout=60)
            services.accounts.lock(services.accounts.find(1))
        finally:
            held.may_go_on.set()
        assert code_of(adding.result(timeout=60)) == "bad_credentials"
    assert [account.username for account in services.accounts.list()] == ["root", "miguel"]


def test_another_name_of_the_role_is_the_setting_s(make_services: ServicesFactory) -> None:
    services = make_services(admin_role="staff")
    services.accounts.register("root", "python", roles=["staff"])
    services.accounts.register("miguel", "python", roles=["admin"])
    client = client_of(services)
    client.get(WHERE, headers=ROOT, status=200)
    client.get(WHERE, headers=PASSWORD, status=403)


def test_an_identity_in_the_environ_is_no_operator(services: Services) -> None:
    assert call(services, WHERE, **SPOOFED).status_int == 401


# Lists


def test_all_users_are_listed_page_by_page(services: Services, client: webtest.TestApp) -> None:
    for number in range(3, 8):
        services.accounts.register(f"user{number}", "python")
    services.accounts.lock(services.accounts.find(4))
    whole = client.get(WHERE, headers=ROOT).json
    assert whole["next"] is None
    assert [user["id"] for user in whole["users"]] == list(range(1, 8))
    assert whole["users"][0] == {
        "created_at": BEGIN, "id": 1, "locked_at": None, "roles": ["admin", "editor"],
        "username": "root",
    }  # fmt: skip
    assert whole["users"][3]["locked_at"] == BEGIN
    collected: list[object] = []
    sizes: list[int] = []
    after: int | None = 0
    while after is not None:
        page = client.get(WHERE, {"limit": 3, "after": after}, headers=ROOT).json
        collected += page["users"]
        sizes.append(len(page["users"]))
        after = page["next"]
    assert collected == whole["users"]
    assert sizes == [3, 3, 1]
    assert client.get(WHERE, {"after": 7}, headers=ROOT).json == {"next": None, "users": []}


def test_a_page_has_a_hundred_users_at_most(services: Services, client: webtest.TestApp) -> None:
    store = services._resources.store
    for number in range(99):
        store.add_user(f"u{number}", f"u{number}", "-", 0)
    page = client.get(WHERE, headers=ROOT).json
    assert (len(page["users"]), page["next"]) == (100, 100)
    assert len(client.get(WHERE, {"after": 100}, headers=ROOT).json["users"]) == 1


def test_a_list_can_be_narrowed(services: Services, client: webtest.TestApp) -> None:
    for name in ("Mike", "mi_", "susan"):
        services._resources.store.add_user(name, name.lower(), "-", 0)
    services.accounts.lock(services.accounts.find(3))

    def listed(**query: str) -> list[str]:
        return names(client.get(WHERE, query, headers=ROOT).json)

    assert listed(prefix="MI") == ["miguel", "Mike", "mi_"]
    assert listed(prefix="mi_") == ["mi_"]
    assert listed(prefix="%") == listed(prefix="\0") == listed(prefix="miguels") == []
    assert listed(locked="true") == ["Mike"]
    assert listed(locked="false") == ["root", "miguel", "mi_", "susan"]
    assert listed(locked="false", prefix="mi") == ["miguel", "mi_"]
    assert listed(prefix="") == ["root", "miguel", "Mike", "mi_", "susan"]


def test_a_list_of_users_lets_other_requests_pass(services: Services) -> None:
    """With a prefix that many names have, it takes as long as many requests."""
    token = bearer(token_of(client_of(services), ROOT))
    for query in ("", "prefix=m", "locked=true"):
        with pytest.raises(WouldWait):
            call(services, WHERE, token, QUERY_STRING=query, **{MUST_NOT_WAIT: True})
        assert call(services, WHERE, token, QUERY_STRING=query).status_int == 200


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=", "limit=01", "limit=-1", "limit=x", "limit=1&limit=2"),
        *("after=-1", "after=", "after=x", "after=%D9%A3", f"after={MAX_ID + 1}"),
        *(f"after={'9' * 5000}", "after=1.0"),
        *("locked=", "locked=1", "locked=True", "locked=true&locked=true"),
        *(f"prefix={'a' * 65}", "prefix=a&prefix=b"),
        *("lock=true", "prefix=a&Locked=true", "=", f"{'%ff' * 5000}=1"),
    ],
)
def test_a_parameter_that_is_not_well_formed_is_refused(
    client: webtest.TestApp, query: str
) -> None:
    answer = client.get(f"{WHERE}?{query}", headers=ROOT, status=400)
    assert code_of(answer) == "malformed_request"


@given(query=st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n")))
@total
def test_any_query_is_answered(services: Services, query: str) -> None:
    for text in (query, f"prefix={query}", f"after={query}&limit={query}"):
        assert call(services, WHERE, ROOT, QUERY_STRING=text).status_int in (200, 400)


# One user


def test_a_user_is_shown_as_the_account_is_used(
    make_services: ServicesFactory, client: webtest.TestApp, clock: Clock
) -> None:
    services = make_services(admin_role="admin", max_failures=2)
    assert find(services) == {
        "created_at": BEGIN, "failures": 0, "id": 2, "keys": 0, "last_login_at": None,
        "locked_at": None, "password_blocked_at": None, "roles": [], "sessions": 0,
        "username": "miguel",
    }  # fmt: skip
    tokens = [token_of(client) for _ in range(2)]
    clock.advance(60)
    for _ in range(2):
        client_of(services).get("/api/token", headers=basic("miguel", "wrong"), status=401)
    clock.advance(60)
    shown = find(services)
    assert (shown["last_login_at"], shown["sessions"]) == (BEGIN, 2)
    assert (shown["failures"], shown["password_blocked_at"]) == (2, "2027-01-15T08:01:00Z")
    client.delete("/api/token", headers=bearer(tokens[0]), status=204)
    assert find(services)["sessions"] == 1


@pytest.mark.parametrize("name", ON_ONE)
def test_an_unknown_user_is_404(client: webtest.TestApp, services: Services, name: str) -> None:
    before = list(services.accounts.list())
    for user_id in (0, 3, MAX_ID, MAX_ID + 1, "9" * 5000):
        assert code_of(ask(client, name, user_id, status=404)) == "not_found"
    assert list(services.accounts.list()) == before


@pytest.mark.parametrize("name", [name for name in ON_ONE if not name.startswith("GET")])
def test_a_user_who_is_deleted_meanwhile_is_404(
    client: webtest.TestApp, services: Services, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    find_account = services.accounts.find

    def find_and_delete(user_id: int) -> Any:
        account = find_account(user_id)
        services._resources.store.delete_user(2)
        return account

    monkeypatch.setattr(
        type(services.accounts), "find", lambda _, user_id: find_and_delete(user_id)
    )
    ends_nothing = name.endswith(("/sessions", "/keys"))  # of one who is gone, all have ended
    assert ask(client, name).status_int == (204 if ends_nothing else 404)


def test_a_user_is_added_where_registration_is_closed(
    client: webtest.TestApp, services: Services
) -> None:
    body = {"username": "Ann", "password": "pässwörd", "roles": ["viewer", "editor"]}
    client.post_json("/api/users", body, status=403)
    answer = client.post_json(WHERE, body, headers=ROOT, status=201)
    assert answer.headers["Location"].endswith(f"{WHERE}/3")
    added = {
        "created_at": BEGIN, "id": 3, "locked_at": None, "roles": ["editor", "viewer"],
        "username": "Ann",
    }  # fmt: skip
    assert answer.json == added
    assert added.items() <= client.get(answer.headers["Location"], headers=ROOT).json.items()
    me = client.get("/api/users/me", headers=basic("ann", "pässwörd"), status=200).json
    assert me["roles"] == ["editor", "viewer"]


def test_an_act_that_has_happened_is_not_answered_as_a_failure_of_the_store(
    client: webtest.TestApp, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store gives no answer to what follows: else the same request would be sent again."""
    token = bearer(token_of(client, ROOT))

    def give_no_answer(*_: object) -> None:
        raise StoreUnavailable("gone")

    body = {"username": "ann", "password": "python", "roles": ["editor"]}
    with monkeypatch.context() as patch:
        for later in ("find_user", "reset_failures"):
            patch.setattr(services._resources.store, later, give_no_answer)
        added = client.post_json(WHERE, body, headers=token, status=201).json
    assert added.items() <= find(services, 3).items()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"username": "MIGUEL"}, "username_taken"),
        ({"username": "a:b"}, "unacceptable_username"),
        ({"username": None}, "malformed_request"),
        ({"password": ""}, "unacceptable_password"),
        ({"password": 7}, "malformed_request"),
        ({"roles": ["Admin"]}, "unacceptable_roles"),
        ({"roles": [7]}, "unacceptable_roles"),
        ({"roles": [["admin"]]}, "unacceptable_roles"),
        ({"roles": [f"r{number}" for number in range(33)]}, "unacceptable_roles"),
        ({"roles": "admin"}, "malformed_request"),
        ({"roles": {"admin": 1}}, "malformed_request"),
        ({"roles": None}, "malformed_request"),
    ],
)
def test_a_user_who_cannot_be_added_is_refused(
    client: webtest.TestApp, services: Services, change: dict[str, Any], code: str
) -> None:
    before = list(services.accounts.list())
    body = {"username": "ann", "password": "python", **change}
    answer = client.post_json(WHERE, body, headers=ROOT, status=400)
    assert code_of(answer) == code
    assert list(services.accounts.list()) == before


def test_a_user_is_renamed_and_stays_logged_in(client: webtest.TestApp, services: Services) -> None:
    token = bearer(token_of(client))
    where = f"{WHERE}/2/username"
    for body, code in (
        ({"username": "ROOT"}, "username_taken"),
        ({"username": ""}, "unacceptable_username"),
        ({"username": ["ann"]}, "malformed_request"),
        ({}, "malformed_request"),
    ):
        assert code_of(client.put_json(where, body, headers=ROOT, status=400)) == code
    client.put_json(where, {"username": "Mike"}, headers=ROOT, status=204)
    assert client.get("/api/resource", headers=token).json == {"data": "Hello, Mike!"}
    client.get("/api/resource", headers=PASSWORD, status=401)
    client.get("/api/resource", headers=basic("mike", "python"), status=200)


def test_roles_are_exactly_those_that_are_given(
    client: webtest.TestApp, services: Services
) -> None:
    token = bearer(token_of(client))
    where = f"{WHERE}/2/roles"
    for roles in (["viewer", "editor"], ["editor", "editor"], ["admin"], []):
        client.put_json(where, {"roles": roles}, headers=ROOT, status=204)
        me = client.get("/api/users/me", headers=token).json
        assert me["roles"] == find(services)["roles"] == sorted(set(roles))
    for body, code in (
        ({"roles": ["a b"]}, "unacceptable_roles"),
        ({"roles": "viewer"}, "malformed_request"),
        ({}, "malformed_request"),
    ):
        assert code_of(client.put_json(where, body, headers=ROOT, status=400)) == code


def test_a_lock_ends_all_access_and_is_taken_back(
    client: webtest.TestApp, services: Services, clock: Clock
) -> None:
    token = bearer(token_of(client))
    where = f"{WHERE}/2/lock"
    client.put(where, headers=ROOT, status=204)
    clock.advance(9)
    client.put(where, headers=ROOT, status=204)
    assert find(services)["locked_at"] == BEGIN
    client.get("/api/resource", headers=token, status=401)
    client.get("/api/resource", headers=PASSWORD, status=401)
    answer = client.post(f"{WHERE}/2/reset-code", headers=ROOT, status=409)
    assert code_of(answer) == "account_locked"
    client.delete(where, headers=ROOT, status=204)
    assert (find(services)["locked_at"], find(services)["failures"]) == (None, 0)
    client.get("/api/resource", headers=PASSWORD, status=200)
    client.get("/api/resource", headers=token, status=401)


def test_the_sessions_of_a_user_are_ended_and_no_others(
    client: webtest.TestApp, services: Services
) -> None:
    tokens = [bearer(token_of(client)) for _ in range(2)]
    own = bearer(token_of(client, ROOT))
    client.delete(f"{WHERE}/2/sessions", headers=own, status=204)
    for token in tokens:
        client.get("/api/resource", headers=token, status=401)
    client.get("/api/resource", headers=own, status=200)
    assert find(services)["sessions"] == 0


def test_the_api_keys_of_a_user_are_ended_and_no_others(
    client: webtest.TestApp, services: Services
) -> None:
    own, key = (
        bearer(services.api_keys.make(services.accounts.find(user_id), "ci").text)
        for user_id in (1, 2)
    )
    assert find(services)["keys"] == 1
    client.delete(f"{WHERE}/2/keys", headers=own, status=204)
    client.get("/api/resource", headers=key, status=401)
    client.get("/api/resource", headers=own, status=200)
    assert (find(services)["keys"], find(services, 1)["keys"]) == (0, 1)


def test_a_reset_code_sets_a_password_within_its_hour(
    client: webtest.TestApp, clock: Clock
) -> None:
    codes = [client.post(f"{WHERE}/2/reset-code", headers=ROOT, status=201).json for _ in range(2)]
    assert [code["expires_at"] for code in codes] == ["2027-01-15T09:00:00Z"] * 2
    clock.advance(3599)
    for code, status in zip(codes, (400, 204), strict=True):  # the second one replaces the first
        body = {"code": code["code"], "password": "ruby"}
        client.post_json("/api/password-resets", body, status=status)
    client.get("/api/resource", headers=basic("miguel", "ruby"), status=200)


def test_an_invitation_registers_one_user_with_its_roles_within_a_week(
    make_services: ServicesFactory, client: webtest.TestApp
) -> None:
    where = "/api/admin/invitations"
    made = client.post_json(where, {"roles": ["viewer", "editor"]}, headers=ROOT, status=201).json
    assert made["expires_at"] == "2027-01-22T08:00:00Z"
    plain = client.post_json(where, {}, headers=ROOT, status=201).json
    invited = client_of(make_services(registration="invited"))
    for name, code, roles in (
        ("ann", made["code"], ["editor", "viewer"]),
        ("bob", plain["code"], []),
    ):
        body = {"username": name, "password": "python", "invitation": code}
        invited.post_json("/api/users", body, status=201)
        assert invited.get("/api/users/me", headers=basic(name, "python")).json["roles"] == roles
        invited.post_json("/api/users", {**body, "username": "carl"}, status=400)
    for wrong in ("editor", [1], ["A"]):
        client.post_json(where, {"roles": wrong}, headers=ROOT, status=400)


def test_invitations_are_listed_and_revoked(
    client: webtest.TestApp, services: Services, clock: Clock
) -> None:
    where = "/api/admin/invitations"
    assert client.get(where, headers=ROOT).json == {"invitations": []}
    bodies: tuple[dict[str, Any], ...] = ({"roles": ["viewer"]}, {"expires_in": 60})
    made = [client.post_json(where, body, headers=ROOT, status=201).json for body in bodies]
    ids = [each["code"].partition(".")[0] for each in made]
    listed = client.get(where, headers=ROOT).json["invitations"]
    assert listed == [
        {"created_at": BEGIN, "expires_at": each["expires_at"], "id": name, "roles": roles}
        for each, name, roles in zip(reversed(made), reversed(ids), ([], ["viewer"]), strict=True)
    ]
    assert made[1]["expires_at"] == "2027-01-15T08:01:00Z"
    for unknown in (made[0]["code"], "x", "A" * 12, "%00" * 12):  # no whole code in an address
        client.delete(f"{where}/{unknown}", headers=ROOT, status=404)
    client.delete(f"{where}/{ids[0]}", headers=ROOT, status=204)
    clock.advance(60)
    for gone in ids:
        answer = client.delete(f"{where}/{gone}", headers=ROOT, status=404)
        assert code_of(answer) == "not_found"
    assert client.get(where, headers=ROOT).json == {"invitations": []}


def test_an_operator_adds_as_many_users_as_needed_from_one_address(
    make_services: ServicesFactory, services: Services
) -> None:
    limited = make_services(admin_role="admin", peer_registrations=1)
    client = client_of(limited, REMOTE_ADDR="9.9.9.9")
    for name in ("ann", "bob", "carl"):
        body = {"username": name, "password": "python"}
        client.post_json(WHERE, body, headers=ROOT, status=201)
    client.post_json("/api/users", {"username": "dan", "password": "python"}, status=201)
    client.post_json("/api/users", {"username": "eve", "password": "python"}, status=429)


def test_taken_names_that_an_operator_tries_stop_no_login_from_the_address(
    make_services: ServicesFactory, services: Services
) -> None:
    client = client_of(
        make_services(admin_role="admin", peer_failures=2), REMOTE_ADDR=PUBLIC_CLIENT.peer
    )
    for _ in range(3):
        body = {"username": "miguel", "password": "python"}
        answer = client.post_json(WHERE, body, headers=ROOT, status=400)
        assert code_of(answer) == "username_taken"
    client.get("/api/token", headers=PASSWORD, status=200)


def test_a_deleted_user_is_gone_and_the_id_is_never_given_again(
    client: webtest.TestApp, services: Services
) -> None:
    token = bearer(token_of(client))
    client.delete(f"{WHERE}/2", headers=ROOT, status=204)
    client.get("/api/resource", headers=token, status=401)
    client.get(f"{WHERE}/2", headers=ROOT, status=404)
    body = {"username": "miguel", "password": "python"}
    assert client.post_json(WHERE, body, headers=ROOT, status=201).json["id"] == 3


# The operator's own account


def test_no_operator_ends_the_own_access(client: webtest.TestApp, services: Services) -> None:
    before = services.accounts.find(1)
    for headers in (ROOT, bearer(token_of(client, ROOT))):
        for name, body in (
            (f"PUT {WHERE}/{{id}}/lock", None),
            (f"DELETE {WHERE}/{{id}}", None),
            (f"PUT {WHERE}/{{id}}/roles", {"roles": []}),
            (f"PUT {WHERE}/{{id}}/roles", {"roles": ["editor", "admins"]}),
            (f"POST {WHERE}/{{id}}/reset-code", None),
        ):
            assert code_of(ask(client, name, 1, headers, 403, body)) == "own_account"
    assert services.accounts.find(1) == before
    # All else may be done to the own account, and another operator may do even that.
    ask(client, f"PUT {WHERE}/{{id}}/roles", 1, status=204, body={"roles": ["admin", "x"]})
    ask(client, f"PUT {WHERE}/{{id}}/username", 1, status=204, body={"username": "Root"})
    ask(client, f"DELETE {WHERE}/{{id}}/sessions", 1, status=204)
    ask(client, f"DELETE {WHERE}/{{id}}/keys", 1, status=204)
    ask(client, f"PUT {WHERE}/{{id}}/roles", 2, status=204, body={"roles": ["admin"]})
    ask(client, f"PUT {WHERE}/{{id}}/lock", 1, PASSWORD, 204)
    ask(client, f"GET {WHERE}", headers=ROOT, status=401)


def test_an_api_key_of_an_operator_does_not_become_the_password(
    client: webtest.TestApp, services: Services
) -> None:
    earlier = services.accounts.make_reset_code(services.accounts.find(1)).code
    key = bearer(services.api_keys.make(services.accounts.find(1), "ci").text)
    answer = ask(client, f"POST {WHERE}/{{id}}/reset-code", 1, key, 403)
    assert code_of(answer) == "own_account"
    ask(client, f"POST {WHERE}/{{id}}/reset-code", 2, key, 201)  # of another one, as any operator
    body = {"code": earlier, "password": "ruby"}  # of the command line: it was not replaced
    client.post_json("/api/password-resets", body, status=204)


@pytest.mark.parametrize("name", [name for name in ON_ONE if not name.startswith("GET")])
def test_an_api_key_does_not_act_on_the_account_of_its_user(
    client: webtest.TestApp, services: Services, name: str
) -> None:
    """It does not on the routes of the user, either. Of others it does, as any operator."""
    root = services.accounts.find(1)
    key = bearer(services.api_keys.make(root, "ci").text)
    client.get(f"{WHERE}/1", headers=key, status=200)
    client.head(f"{WHERE}/1", headers=key, status=200)
    body = {"roles": ["admin"]} if name.endswith("/roles") else None
    before = rows(services)
    assert code_of(ask(client, name, 1, key, 403, body)) == "own_account"
    assert rows(services) == before


# The audit log


def test_each_act_is_in_the_audit_log_with_the_id_of_the_operator(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(services, REMOTE_ADDR=CLIENT.peer)
    token = bearer(token_of(client, ROOT))
    revoked = services.invitations.make()[1].id
    caplog.set_level("INFO")
    for name in NAMES:
        if name != f"DELETE {WHERE}/{{id}}":
            assert ask(client, name, 2, token, invitation=revoked).status_int < 300
        if name == f"POST {WHERE}":  # else the name would be taken
            services._resources.store.delete_user(3)
    ask(client, f"DELETE {WHERE}/{{id}}", 2, token, 204)
    head = {"time": BEGIN, "peer": CLIENT.peer, "by": 1}
    made = services.invitations.list()[0].id
    assert events(caplog) == [
        {**head, "event": "registered", "user_id": 3, "roles": ["editor", "viewer"]},
        {**head, "event": "renamed", "user_id": 2},
        {**head, "event": "roles_changed", "user_id": 2, "roles": ["editor"]},
        {**head, "event": "locked", "user_id": 2},
        {**head, "event": "unlocked", "user_id": 2},
        {**head, "event": "sessions_ended", "user_id": 2, "count": 0},
        {**head, "event": "api_keys_ended", "user_id": 2, "count": 0},
        {**head, "event": "reset_code_made", "user_id": 2},
        {**head, "event": "invitation_made", "user_id": None, "invitation": made, "roles": []},
        {**head, "event": "invitation_revoked", "user_id": None, "invitation": revoked},
        {**head, "event": "deleted", "user_id": 2},
    ]


def test_a_refused_act_is_not_in_the_audit_log_as_done(
    services: Services, client: webtest.TestApp, caplog: pytest.LogCaptureFixture
) -> None:
    token = bearer(token_of(client, ROOT))
    caplog.set_level("INFO")
    ask(client, f"PUT {WHERE}/{{id}}/lock", 1, token, 403)
    ask(client, f"DELETE {WHERE}/{{id}}", 9, token, 404)
    ask(client, f"PUT {WHERE}/{{id}}/roles", 2, token, 400, {"roles": ["A"]})
    assert events(caplog) == []


def test_the_wire_shows_no_hash_and_no_code(services: Services, client: webtest.TestApp) -> None:
    account = services.accounts.find(2)
    services.accounts.make_reset_code(account)
    for path in (WHERE, f"{WHERE}/2"):
        text = client.get(path, headers=ROOT).text
        assert account.password_hash not in text
        assert not re.search("hash|code|version", text)


# As everywhere


def test_other_origins_and_plain_http_are_treated_as_everywhere(
    make_services: ServicesFactory, services: Services
) -> None:
    page = {"Origin": "https://app.example.org"}
    strict = make_services(
        admin_role="admin", require_https=True, cors_origins="https://app.example.org"
    )
    client = client_of(strict)
    answer = client.get(WHERE, headers={**ROOT, **page}, status=403)
    assert code_of(answer) == "https_required"
    assert answer.headers["Access-Control-Allow-Origin"] == page["Origin"]
    asked = {**page, "Access-Control-Request-Method": "PUT"}
    preflight = client.options(f"{WHERE}/2/lock", headers=asked, status=204)
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]


def test_guesses_at_an_operators_password_are_throttled(make_services: ServicesFactory) -> None:
    services = make_services(admin_role="admin", free_failures=1)
    services.accounts.register("root", "python", roles=["admin"])
    client = client_of(services)
    for _ in range(2):
        client.get(WHERE, headers=basic("root", "wrong"), status=401)
    assert code_of(client.get(WHERE, headers=ROOT, status=429)) == "throttled"


def test_the_users_that_an_operator_adds_are_not_limited_by_the_address(
    make_services: ServicesFactory,
) -> None:
    services = make_services(admin_role="admin", peer_registrations=1)
    services.accounts.register("root", "python", roles=["admin"])
    client = client_of(services, REMOTE_ADDR=PUBLIC_CLIENT.peer)
    for number in range(3):
        body = {"username": f"user{number}", "password": "python"}
        client.post_json(WHERE, body, headers=ROOT, status=201)
    body = {"username": "ann", "password": "python"}
    client.post_json("/api/users", body, status=201)
    client.post_json("/api/users", {**body, "username": "bob"}, status=429)
