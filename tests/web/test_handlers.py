"""Handlers: what each route answers, byte for byte, and what it passes to the domain."""

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth.records import MAX_ID
from restauth.services import Services, find_key_path
from restauth.storage import store
from restauth.storage.schema import MIGRATIONS
from restauth.testing import Clock
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.databases import take_the_store_away
from tests.web.conftest import (
    ANONYMOUS,
    PASSWORD,
    SPOOFED,
    WRONG,
    Headers,
    call,
    code_of,
    credentials,
    give_roles,
    token_of,
    total,
)

DAY = 86_400


def register(client: webtest.TestApp, username: object, password: object, **keywords: Any) -> Any:
    body = {"username": username, "password": password}
    return client.post_json("/api/users", body, **keywords)


def pair_of(client: webtest.TestApp, headers: Headers = PASSWORD) -> dict[str, str]:
    """Both tokens of a new session."""
    pair: dict[str, str] = client.request("/api/sessions", method="POST", headers=headers).json
    return pair


def refresh(client: webtest.TestApp, refresh_token: object, status: int = 200) -> Any:
    return client.post_json("/api/token", {"refresh_token": refresh_token}, status=status)


def sessions(client: webtest.TestApp, headers: Headers) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/sessions", headers=headers).json["sessions"]
    return found


def reset(client: webtest.TestApp, code: object, password: object, status: int) -> Any:
    body = {"code": code, "password": password}
    return client.post_json("/api/password-resets", body, status=status)


def make_code(services: Services) -> str:
    return services.accounts.make_reset_code(services.accounts.find(1)).code


def count_sessions(services: Services) -> int:
    return int(services._resources.engine.read("SELECT count(*) FROM sessions", {})[0][0])


def assert_works(client: webtest.TestApp, headers: Headers) -> None:
    client.get("/api/resource", headers=headers, status=200)


def assert_ended(client: webtest.TestApp, token: str, *pairs: dict[str, str]) -> None:
    """Neither the token works nor any token of the pairs."""
    for each in (token, *(pair["token"] for pair in pairs)):
        client.get("/api/resource", headers=bearer(each), status=401)
    for pair in pairs:
        refresh(client, pair["refresh_token"], 401)


def assert_one_answer(answers: list[Any]) -> None:
    """They do not differ in a byte."""
    assert len({(a.status, str(a.headerlist), a.body) for a in answers}) == 1


# /api/users


def test_registering_answers_the_name_and_where_it_is(client: webtest.TestApp) -> None:
    answer = register(client, "Miguel", "python", status=201)
    assert answer.body == b'{"username": "Miguel"}\n'
    assert answer.content_type == "application/json"
    assert answer.headers["Location"] == "http://localhost:80/api/users/1"
    profile = client.get(urlsplit(answer.headers["Location"]).path, status=200)
    assert profile.body == answer.body
    assert profile.content_type == "application/json"


def test_a_new_resource_is_located_below_the_mount_point_and_by_no_foreign_host(
    services: Services,
) -> None:
    client = client_of(services, SCRIPT_NAME="/d\xc3\xa9pt")
    for number, (host, start) in enumerate((("localhost:5000", "http://localhost:5000"),
                                            ("evil.example", "")), start=1):  # fmt: skip
        name = f"user{number}"
        user = register(client, name, "python", headers={"Host": host})
        assert user.headers["Location"] == f"{start}/d%C3%A9pt/api/users/{number}"
        headers = basic(name, "python") | {"Host": host}
        session = client.post("/api/sessions", headers=headers).headers["Location"]
        assert re.fullmatch(re.escape(start) + r"/d%C3%A9pt/api/sessions/[\w-]{22}", session)


def test_mass_assignment_is_ignored(client: webtest.TestApp) -> None:
    members = {"id": 99, "is_admin": True, "roles": ["admin"], "password_hash": "x", "locked_at": 1}
    body = {"username": "miguel", "password": "python", **members}
    client.post_json("/api/users", body)
    me = client.get("/api/users/me", headers=PASSWORD).json
    assert (me["id"], me["roles"]) == (1, [])


def test_where_users_are_invited_a_code_registers_one(make_services: ServicesFactory) -> None:
    services = make_services(registration="invited")
    client = client_of(services)
    code, _ = services.invitations.make(["editor"])
    body = {"username": "miguel", "password": "python"}
    for wrong in (None, 5, ["x"]):
        refused = client.post_json("/api/users", {**body, "invitation": wrong}, status=400)
        assert code_of(refused) == "malformed_request"
    assert code_of(client.post_json("/api/users", body, status=400)) == "malformed_request"
    for text in ("", "x", code[:-1], f"{code[:13]}{'A' * 24}"):
        refused = client.post_json("/api/users", {**body, "invitation": text}, status=400)
        assert code_of(refused) == "unusable_code"
    answer = client.post_json("/api/users", {**body, "invitation": code}, status=201)
    assert answer.body == b'{"username": "miguel"}\n'
    assert client.get("/api/users/me", headers=PASSWORD).json["roles"] == ["editor"]
    again = {**body, "username": "susan", "invitation": code}
    assert code_of(client.post_json("/api/users", again, status=400)) == "unusable_code"


def test_where_no_one_is_invited_the_member_is_ignored_like_any_unknown_one(
    services: Services, client: webtest.TestApp
) -> None:
    code, invitation = services.invitations.make(["editor"])
    for name, member in (("miguel", code), ("susan", "wrong"), ("adam", 5)):
        body = {"username": name, "password": "python", "invitation": member}
        client.post_json("/api/users", body, status=201)
    assert client.get("/api/users/me", headers=PASSWORD).json["roles"] == []
    assert services.invitations.list() == [invitation]


def test_a_peer_that_has_made_many_accounts_has_to_wait(make_services: ServicesFactory) -> None:
    services = make_services(peer_registrations=2)
    public = client_of(services, REMOTE_ADDR="9.9.9.9")
    for name, status in (("miguel", 201), ("susan", 201), ("adam", 429)):
        answer = register(public, name, "python", status=status)
    assert code_of(answer) == "throttled"
    assert answer.headers["Retry-After"] == "3600"
    assert answer.json["detail"] == "Too many accounts were made from your address."
    register(client_of(services, REMOTE_ADDR="10.0.0.1"), "adam", "python", status=201)


def test_a_closed_registration_reads_no_body(make_services: ServicesFactory) -> None:
    answer = client_of(make_services(registration="closed")).post("/api/users", status=403)
    assert code_of(answer) == "registration_closed"


@pytest.mark.parametrize(
    "digits",
    [
        "0", "2", str(MAX_ID), str(MAX_ID + 1), str(2**64),
        pytest.param("9" * 5000, id="5000 digits, int() takes 4300"),
    ],
)  # fmt: skip
def test_an_unknown_user_is_400(miguel: webtest.TestApp, digits: str) -> None:
    assert code_of(miguel.get(f"/api/users/{digits}", status=400)) == "unknown_user"


def test_the_largest_id_is_found(services: Services, miguel: webtest.TestApp) -> None:
    services._resources.engine.write("UPDATE users SET id = :id", {"id": MAX_ID})
    assert miguel.get(f"/api/users/{MAX_ID}").json == {"username": "miguel"}


# /api/users/me


def test_the_caller_sees_the_account_with_the_roles_of_now(
    services: Services, miguel: webtest.TestApp, token: str
) -> None:
    for roles in ((), ("viewer", "editor"), ("editor",)):
        give_roles(services, *roles)
        expected = b'{"created_at": "2027-01-15T08:00:00Z", "id": 1, "roles": %s, "username": %s}\n'
        expected %= json.dumps(sorted(roles)).encode(), b'"miguel"'
        for headers in credentials(token):
            assert miguel.get("/api/users/me", headers=headers).body == expected


def test_a_new_password_ends_every_session_and_a_string_is_needed(
    miguel: webtest.TestApp, token: str
) -> None:
    def change(value: object, status: int) -> webtest.TestResponse:
        path = "/api/users/me/password"
        return miguel.put_json(path, value, headers=PASSWORD, status=status)

    pair = pair_of(miguel)
    assert code_of(change({"password": None}, 400)) == "malformed_request"
    assert code_of(change({"password": ""}, 400)) == "unacceptable_password"
    assert_works(miguel, bearer(token))
    assert change({"password": "ruby"}, 204).body == b""
    assert_ended(miguel, token, pair)
    miguel.get("/api/resource", headers=PASSWORD, status=401)
    assert_works(miguel, basic("miguel", "ruby"))


def test_a_closed_account_is_gone_with_all_that_was_its_own(
    services: Services, miguel: webtest.TestApp, token: str
) -> None:
    pair, code = pair_of(miguel), make_code(services)
    assert miguel.delete("/api/users/me", headers=PASSWORD, status=204).body == b""
    miguel.get("/api/users/1", status=400)
    assert_ended(miguel, token, pair)
    reset(miguel, code, "ruby", 400)
    assert count_sessions(services) == 0
    register(miguel, "miguel", "python")
    assert miguel.get("/api/users/me", headers=PASSWORD).json["id"] == 2


@pytest.mark.parametrize(
    "route", ["PUT /api/users/me/password", "DELETE /api/users/me", "POST /api/sessions"]
)
def test_a_token_is_not_enough_for_this(
    services: Services, miguel: webtest.TestApp, token: str, route: str
) -> None:
    method, path = route.split()
    body = b'{"password": "ruby"}'
    insufficient = ['Bearer realm="Authentication Required", error="insufficient_scope"']
    for headers, challenges in ((bearer(token), insufficient), (basic(token, "python"), [])):
        answer = miguel.request(
            path, method=method, headers=headers, body=body,
            content_type="application/json", status=403,
        )  # fmt: skip
        assert code_of(answer) == "password_required"
        assert answer.headers.getall("WWW-Authenticate") == challenges
    assert_works(miguel, PASSWORD)
    assert count_sessions(services) == 1


# /api/token


def test_a_password_gets_a_token_of_a_new_session_and_a_token_stays_in_its_own(
    services: Services, miguel: webtest.TestApp, clock: Clock
) -> None:
    answer = miguel.get("/api/token", headers=PASSWORD, status=200)
    old = answer.json["token"]
    assert answer.body == b'{"duration": 600, "token": "%s"}\n' % old.encode()
    assert answer.content_type == "application/json"
    clock.advance(599)
    new = [token_of(miguel, headers) for headers in (bearer(old), basic(old, ""))]
    for token in (old, *new):
        assert_works(miguel, bearer(token))
    assert count_sessions(services) == 1
    clock.advance(1)
    assert_ended(miguel, old)
    assert_works(miguel, bearer(new[0]))


def test_head_begins_no_session_and_uses_none(
    services: Services, miguel: webtest.TestApp, clock: Clock
) -> None:
    miguel.head("/api/token", headers=PASSWORD, status=200)
    assert count_sessions(services) == 0
    token = token_of(miguel)
    for ask, seconds in ((miguel.head, 0), (miguel.get, 60)):
        clock.advance(60)
        ask("/api/token", headers=bearer(token), status=200)
        (session,) = sessions(miguel, bearer(token))
        assert session["last_used_at"] == f"2027-01-15T08:0{2 * seconds // 60}:00Z"


@pytest.mark.parametrize("path", ["/api/users/1", "/api/users/me", "/api/token", "/api/resource"])
def test_head_has_the_headers_of_get(miguel: webtest.TestApp, token: str, path: str) -> None:
    for headers in credentials(token):
        to_head = miguel.head(path, headers=headers, status=200)
        to_get = miguel.get(path, headers=headers, status=200)
        assert to_head.headers == to_get.headers
        assert to_head.headers["Content-Length"] == str(len(to_get.body))
        assert to_head.body == b""


def test_a_refresh_token_gets_the_next_pair(miguel: webtest.TestApp, clock: Clock) -> None:
    first = pair_of(miguel)
    clock.advance(100_000)
    answer = refresh(miguel, first["refresh_token"])
    pair = answer.json
    assert answer.body == (
        b'{"duration": 600, "refresh_duration": 2492000, "refresh_token": "%s", "token": "%s"}\n'
        % (pair["refresh_token"].encode(), pair["token"].encode())
    )
    assert answer.content_type == "application/json"
    assert "Location" not in answer.headers
    assert pair["refresh_token"] != first["refresh_token"]
    assert_works(miguel, bearer(pair["token"]))
    assert len(sessions(miguel, PASSWORD)) == 1


def test_every_refused_refresh_token_gets_one_answer(
    services: Services, miguel: webtest.TestApp, clock: Clock
) -> None:
    services.accounts.register("susan", "python")
    expired = pair_of(miguel)["refresh_token"]
    clock.advance(30 * DAY)
    ended, reused = pair_of(miguel), pair_of(miguel)["refresh_token"]
    miguel.delete("/api/token", headers=bearer(ended["token"]), status=204)
    refresh(miguel, reused)
    clock.advance(11)
    locked = pair_of(miguel, basic("susan", "python"))["refresh_token"]
    services.accounts.lock(services.accounts.find_by_name("susan"))
    refused = (
        "", "r1", "x" * 60_000, ended["token"], f"{reused}x", reused[:-1], expired,
        ended["refresh_token"], reused, reused, locked,
    )  # fmt: skip
    answers = [refresh(miguel, token, 401) for token in refused]
    assert_one_answer(answers)
    assert code_of(answers[0]) == "bad_credentials"
    assert answers[0].headers.getall("WWW-Authenticate")


def test_a_refresh_reads_its_body_alone(miguel: webtest.TestApp, clock: Clock) -> None:
    """Least of all the access token, which has expired."""
    pair = pair_of(miguel)
    clock.advance(600)
    for headers in (bearer(pair["token"]), WRONG, {"Authorization": "Basic !"}):
        value = {"refresh_token": pair["refresh_token"]}
        pair = miguel.post_json("/api/token", value, headers=headers, status=200).json
    miguel.post("/api/token", "refresh_token=" + pair["refresh_token"], status=415)
    assert code_of(refresh(miguel, 7, 400)) == "malformed_request"


def test_a_logout_ends_the_session_with_all_its_tokens(
    services: Services, miguel: webtest.TestApp, token: str
) -> None:
    for headers in (bearer, lambda token: basic(token, "x")):
        old = token_of(miguel)
        new = token_of(miguel, bearer(old))
        assert miguel.delete("/api/token", headers=headers(old), status=204).body == b""
        assert_ended(miguel, old)
        assert_ended(miguel, new)
    assert code_of(miguel.delete("/api/token", headers=PASSWORD, status=400)) == "no_session"
    assert_works(miguel, bearer(token))
    assert count_sessions(services) == 1


# /api/sessions


def test_a_session_begins_with_the_password_alone(miguel: webtest.TestApp) -> None:
    """Without a body and a Content-Type; and what a body says is not read."""
    answer = miguel.request("/api/sessions", method="POST", headers=PASSWORD, status=201)
    assert "CONTENT_TYPE" not in answer.request.environ
    pair = answer.json
    assert answer.body == (
        b'{"duration": 600, "refresh_duration": 2592000, "refresh_token": "%s", "token": "%s"}\n'
        % (pair["refresh_token"].encode(), pair["token"].encode())
    )
    assert answer.content_type == "application/json"
    for body in (b"not json", b'{"username": "susan", "roles": ["a"]}'):
        other = miguel.post("/api/sessions", body, headers=PASSWORD, status=201).json
        me = miguel.get("/api/users/me", headers=bearer(other["token"])).json
        assert (me["username"], me["roles"]) == ("miguel", [])


def test_a_new_session_is_found_at_its_location(miguel: webtest.TestApp) -> None:
    answer = miguel.request("/api/sessions", method="POST", headers=PASSWORD)
    start, _, session_id = answer.headers["Location"].rpartition("/")
    assert start == "http://localhost:80/api/sessions"
    assert [session["id"] for session in sessions(miguel, PASSWORD)] == [session_id]
    miguel.delete(f"/api/sessions/{session_id}", headers=PASSWORD, status=204)
    assert_ended(miguel, answer.json["token"], answer.json)


def test_the_live_sessions_of_the_caller_are_listed_the_one_used_last_first(
    services: Services, clock: Clock
) -> None:
    for name in ("miguel", "susan"):
        services.accounts.register(name, "python")
    phone = client_of(services, REMOTE_ADDR="192.0.2.7", HTTP_USER_AGENT="phone")
    laptop = client_of(services, REMOTE_ADDR="2001:db8::7", HTTP_USER_AGENT="<b>\x1b\xe9")
    assert sessions(phone, PASSWORD) == []
    pair = pair_of(phone)
    clock.advance(60)
    token = token_of(laptop)
    token_of(laptop, basic("susan", "python"))
    clock.advance(60)
    refresh(laptop, pair["refresh_token"])  # a session keeps the client with which it began
    clock.advance(60)
    assert_works(laptop, bearer(token))  # a request that issues no token does not count as a use
    listed = laptop.get("/api/sessions", headers=bearer(token), status=200)
    assert listed.content_type == "application/json"
    assert listed.body.isascii()
    ids = [session["id"] for session in listed.json["sessions"]]
    assert listed.json == {
        "sessions": [
            {
                "id": ids[0],
                "created_at": "2027-01-15T08:00:00Z",
                "last_used_at": "2027-01-15T08:02:00Z",
                "expires_at": "2027-02-14T08:00:00Z",
                "peer": "192.0.2.7",
                "user_agent": "phone",
                "current": False,
            },
            {
                "id": ids[1],
                "created_at": "2027-01-15T08:01:00Z",
                "last_used_at": "2027-01-15T08:01:00Z",
                "expires_at": "2027-01-16T08:01:00Z",
                "peer": "2001:db8::7",
                "user_agent": "<b>??",
                "current": True,
            },
        ]
    }
    assert [each["current"] for each in sessions(laptop, PASSWORD)] == [False, False]
    clock.advance(DAY)
    assert [each["id"] for each in sessions(laptop, PASSWORD)] == ids[:1]


def test_ending_all_sessions_ends_those_of_the_caller_alone(miguel: webtest.TestApp) -> None:
    register(miguel, "susan", "python")
    susan = token_of(miguel, basic("susan", "python"))
    for by_password in (True, False):
        token, pair = token_of(miguel), pair_of(miguel)
        headers = PASSWORD if by_password else bearer(token)
        assert miguel.delete("/api/sessions", headers=headers, status=204).body == b""
        assert_ended(miguel, token, pair)
    miguel.delete("/api/sessions", headers=PASSWORD, status=204)  # none is no error
    assert_works(miguel, bearer(susan))


def test_one_session_can_end_another_and_itself(miguel: webtest.TestApp) -> None:
    lost, here = pair_of(miguel), pair_of(miguel)
    headers = bearer(here["token"])
    ids = {each["current"]: each["id"] for each in sessions(miguel, headers)}
    assert miguel.delete(f"/api/sessions/{ids[False]}", headers=headers, status=204).body == b""
    assert_ended(miguel, lost["token"], lost)
    miguel.delete(f"/api/sessions/{ids[False]}", headers=headers, status=404)
    assert_works(miguel, headers)
    miguel.delete(f"/api/sessions/{ids[True]}", headers=headers, status=204)
    assert_ended(miguel, here["token"], here)


def test_a_session_of_another_user_is_as_unknown_as_one_that_never_was(
    miguel: webtest.TestApp,
) -> None:
    register(miguel, "susan", "python")
    susan = bearer(token_of(miguel, basic("susan", "python")))
    (session,) = sessions(miguel, susan)
    names = (session["id"], "A" * 22, session["id"].swapcase(), "x", f"{session['id']}=")
    assert_one_answer(
        [miguel.delete(f"/api/sessions/{each}", headers=PASSWORD, status=404) for each in names]
    )
    assert_works(miguel, susan)


# /api/keys


def make_key(client: webtest.TestApp, status: int = 201, **members: Any) -> Any:
    return client.post_json("/api/keys", {"name": "ci", **members}, headers=PASSWORD, status=status)


def test_a_key_is_shown_once_and_found_at_its_location(
    miguel: webtest.TestApp, services: Services
) -> None:
    give_roles(services, "editor", "viewer")
    made = make_key(miguel, roles=["viewer"], expires_in=3600)
    key = made.json["key"]
    assert re.fullmatch("rak_[0-9a-f]{20}_[0-9a-f]{48}", key)
    key_id = key[4:24]
    shown = {
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T09:00:00Z",
        "id": key_id,
        "name": "ci",
        "prefix": f"rak_{key_id}",
        "roles": ["viewer"],
    }
    assert made.json == {**shown, "key": key}
    assert made.headers["Location"] == f"http://localhost:80/api/keys/{key_id}"
    listed = miguel.get("/api/keys", headers=PASSWORD)
    assert listed.json == {"keys": [{**shown, "last_used_at": None}]}
    assert key[24:] not in listed.text
    me = miguel.get("/api/users/me", headers=basic("MIGUEL", key)).json
    assert (me["username"], me["roles"]) == ("miguel", ["viewer"])
    (used,) = miguel.get("/api/keys", headers=PASSWORD).json["keys"]
    assert used["last_used_at"] == "2027-01-15T08:00:00Z"
    miguel.delete(made.headers["Location"], headers=PASSWORD, status=204)
    miguel.delete(made.headers["Location"], headers=PASSWORD, status=404)
    miguel.get("/api/resource", headers=bearer(key), status=401)
    assert miguel.get("/api/keys", headers=PASSWORD).json == {"keys": []}


def test_a_key_without_limits_says_so_and_wrong_ones_are_refused(miguel: webtest.TestApp) -> None:
    made = make_key(miguel).json
    assert (made["roles"], made["expires_at"]) == (None, None)
    for member, wrong in (
        *(("name", None), ("name", 7), ("roles", None), ("roles", "editor")),
        *(("expires_in", None), ("expires_in", "60"), ("expires_in", True), ("expires_in", 1.0)),
    ):
        assert code_of(make_key(miguel, 400, **{member: wrong})) == "malformed_request"
    for member, unfit in (
        ("name", ""),
        ("name", " "),
        ("roles", ["admin"]),
        ("roles", [7]),
        ("expires_in", 0),
    ):
        assert code_of(make_key(miguel, 400, **{member: unfit})) == "unacceptable_key"
    assert len(miguel.get("/api/keys", headers=PASSWORD).json["keys"]) == 1


def test_a_misspelt_limit_makes_no_key_without_it(
    miguel: webtest.TestApp, services: Services
) -> None:
    give_roles(services, "editor", "viewer")
    for name, value in (("role", ["viewer"]), ("expires", 60), ("Roles", []), ("", 1)):
        answer = make_key(miguel, 400, **{name: value, "expires_in": 60})
        assert code_of(answer) == "malformed_request"
        assert f'"{name}" is not known' in answer.json["detail"]
    long = make_key(miguel, 400, **{"x" * 60_000: 1})
    assert len(long.body) < 500
    without_a_name = {"roles": ["viewer"]}
    answer = miguel.post_json("/api/keys", without_a_name, headers=PASSWORD, status=400)
    assert code_of(answer) == "malformed_request"
    assert miguel.get("/api/keys", headers=PASSWORD).json == {"keys": []}


def test_a_new_password_says_how_many_keys_live_on(
    miguel: webtest.TestApp, services: Services, clock: Clock
) -> None:
    keys = [make_key(miguel).json["key"] for _ in range(2)]
    make_key(miguel, expires_in=60)
    clock.advance(60)  # an expired one does not count
    changed = miguel.put_json(
        "/api/users/me/password", {"password": "ruby"}, headers=PASSWORD, status=204
    )
    assert changed.headers["Live-API-Keys"] == "2"
    code = services.accounts.make_reset_code(services.accounts.find(1)).code
    assert reset(miguel, code, "perl", 204).headers["Live-API-Keys"] == "2"
    for key in keys:
        miguel.get("/api/resource", headers=bearer(key), status=200)
    owner = basic("miguel", "perl")
    miguel.delete("/api/keys", headers=owner, status=204)
    for key in keys:
        miguel.get("/api/resource", headers=bearer(key), status=401)
    changed = miguel.put_json("/api/users/me/password", {"password": "java"}, headers=owner)
    assert changed.headers["Live-API-Keys"] == "0"


# /api/password-resets


def test_a_code_sets_a_new_password_once_and_ends_every_session(
    services: Services, miguel: webtest.TestApp
) -> None:
    pair, code = pair_of(miguel), make_code(services)
    assert code_of(reset(miguel, code, None, 400)) == "malformed_request"
    assert code_of(reset(miguel, code, "", 400)) == "unacceptable_password"
    assert_works(miguel, bearer(pair["token"]))
    assert reset(miguel, code, "ruby", 204).body == b""
    miguel.get("/api/resource", headers=PASSWORD, status=401)
    assert_ended(miguel, pair["token"], pair)
    reset(miguel, code, "perl", 400)
    assert_works(miguel, basic("miguel", "ruby"))


def test_every_unusable_code_gets_one_answer(make_services: ServicesFactory, clock: Clock) -> None:
    services = make_services(free_failures=0)
    client = client_of(services)
    register(client, "miguel", "python")
    expired = make_code(services)
    clock.advance(3600)
    replaced, used = make_code(services), make_code(services)
    reset(client, used, "ruby", 204)
    live = make_code(services)
    unusable = (
        "", "x", "x" * 60_000, f"{live} ", live.swapcase(),
        live[:-1] + ("A" if live[-1] != "A" else "B"), "A" * 12 + "." + "A" * 24,
        expired, replaced, used,
    )  # fmt: skip
    answers = [reset(client, code, "perl", 400) for code in unusable]
    assert_one_answer(answers)
    assert code_of(answers[0]) == "unusable_code"
    reset(client, live, "perl", 204)


# /api/resource, /api/health, /.well-known/jwks.json


def test_the_resource_greets_by_name(miguel: webtest.TestApp, token: str) -> None:
    for headers in credentials(token):
        answer = miguel.get("/api/resource", headers=headers, status=200)
        assert answer.body == b'{"data": "Hello, miguel!"}\n'
        assert answer.content_type == "application/json"


def test_health_is_whether_the_store_answers(services: Services, client: webtest.TestApp) -> None:
    answer = client.get("/api/health", status=200)
    assert answer.body == b'{"status": "ok"}\n'
    assert answer.content_type == "application/json"
    take_the_store_away(services)
    assert code_of(client.get("/api/health", status=503)) == "store_unavailable"


def test_ready_is_whether_requests_can_be_sent_here(
    services: Services, client: webtest.TestApp
) -> None:
    assert client.get("/api/ready", status=200).body == b'{"status": "ok"}\n'
    take_the_store_away(services)
    assert code_of(client.get("/api/ready", status=503)) == "store_unavailable"


def assert_not_ready(
    client: webtest.TestApp, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    """The operator's log says why, and the answer does not."""
    caplog.clear()
    answer = client.get("/api/ready", status=503)
    assert code_of(answer) == "not_ready"
    assert answer.json["detail"] == "The service is not in order."
    (line,) = caplog.messages
    assert reason in line
    client.get("/api/health", status=200)


def test_without_its_key_ring_a_service_goes_on_and_is_not_ready(
    services: Services, miguel: webtest.TestApp, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = find_key_path(services.settings)
    away = path.rename(path.with_suffix(".away"))
    assert_not_ready(miguel, caplog, f"not_ready: There is no key ring {path}")
    miguel.get("/api/resource", headers=bearer(token), status=200)
    path.touch(mode=0o600)
    assert_not_ready(miguel, caplog, str(path))
    away.rename(path)
    miguel.get("/api/ready", status=200)


def test_to_ask_whether_it_is_ready_makes_no_token_be_verified_again(
    services: Services, client: webtest.TestApp
) -> None:
    ring = services.keys.ring
    client.get("/api/ready", status=200)
    assert services.keys.ring is ring


def test_with_the_tables_of_an_older_copy_a_service_is_not_ready(
    client: webtest.TestApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MIGRATIONS", [*MIGRATIONS, ()])
    assert_not_ready(client, caplog, "are older than this restauth: restart it.")
    monkeypatch.undo()
    client.get("/api/ready", status=200)


def test_while_events_are_lost_a_service_is_not_ready(
    make_services: ServicesFactory, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    services = make_services(audit_log=log)
    client = client_of(services)
    log.symlink_to("/dev/full")
    services.accounts.register("miguel", "python")
    assert code_of(client.get("/api/ready", status=503)) == "not_ready"
    log.unlink()
    client.get("/api/ready", status=200)


def test_no_key_is_shown_where_verifying_needs_the_secret(
    services: Services, client: webtest.TestApp
) -> None:
    services.keys.rotate(revoke=False)
    answer = client.get("/.well-known/jwks.json", status=200)
    assert answer.body == b'{"keys": []}\n'
    assert answer.content_type == "application/json"


# /api/verify, by any method

METHODS = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
    "CONNECT", "PROPFIND", "M-SEARCH", "get", "options", "*", "", "a b", "\xe9",
]  # fmt: skip
PREFLIGHT = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "DELETE"}


def verify(
    client: webtest.TestApp,
    headers: Headers,
    query: str = "",
    *,
    method: str = "GET",
    status: int = 204,
) -> webtest.TestResponse:
    """What a proxy asks; only a yes says who it is."""
    path = f"/api/verify?{query}" if query else "/api/verify"
    answer = client.request(path, method=method, headers=headers, status=status)
    assert_yes(answer, is_yes=status == 204)
    return answer


def assert_yes(answer: webtest.TestResponse, *, is_yes: bool) -> None:
    for name in ("Remote-User", "Remote-Groups"):
        assert len(answer.headers.getall(name)) == int(is_yes)


def rename(services: Services, username: str) -> None:
    """A name that cannot be registered here may be imported."""
    change = "UPDATE users SET username = :username WHERE id = 1"
    services._resources.engine.write(change, {"username": username})


def test_a_proxy_gets_the_name_and_the_roles_of_now_and_nothing_else(
    services: Services, miguel: webtest.TestApp, token: str
) -> None:
    for roles, groups, status in (
        # Without roles the header is there, so that the proxy replaces what a client sends.
        ([], "", 403), (["viewer", "editor"], "editor,viewer", 204), (["viewer"], "viewer", 403),
    ):  # fmt: skip
        give_roles(services, *roles)
        for headers in credentials(token):
            answer = verify(miguel, headers)
            assert answer.status == "204 No Content"
            assert answer.body == b""
            assert not {"Content-Length", "Content-Type", "Location", "Allow"} & set(answer.headers)
            assert answer.headers["Remote-User"] == "miguel"
            assert answer.headers["Remote-Groups"] == groups
            verify(miguel, headers, "role=editor", status=status)


@pytest.mark.parametrize("method", METHODS)
def test_the_method_does_not_change_what_a_proxy_gets(
    services: Services, miguel: webtest.TestApp, method: str
) -> None:
    for headers, query, status in (
        (PASSWORD, "", 204), (PASSWORD | PREFLIGHT, "", 204), (PASSWORD, "role=admin", 403),
        (ANONYMOUS, "", 401), (PREFLIGHT, "", 401), (WRONG, "", 401), (bearer("a.b.c"), "", 401),
    ):  # fmt: skip
        environ = {"REQUEST_METHOD": method, "QUERY_STRING": query}
        answer = call(services, "/api/verify", headers, **environ)
        assert answer.status_int == status
        assert_yes(answer, is_yes=status == 204)
        assert ("WWW-Authenticate" in answer.headers) is (status == 401)
        assert "Allow" not in answer.headers


def test_a_proxy_gets_an_answer_without_the_body_being_read(
    services: Services, miguel: webtest.TestApp
) -> None:
    environs: list[dict[str, Any]] = [
        {"CONTENT_LENGTH": "99999999999", "CONTENT_TYPE": "text/plain"},
        {"CONTENT_LENGTH": "many", "HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    ]
    for environ in environs:
        environ |= {"wsgi.input": io.BytesIO(b'{"role": "admin"}'), "REQUEST_METHOD": "POST"}
        assert call(services, "/api/verify", PASSWORD, **environ).headers["Remote-User"] == "miguel"
        assert environ["wsgi.input"].tell() == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("&", 204),
        ("role=editor", 204),
        ("role=viewer&role=editor&role=viewer", 204),
        ("&r%6fle=%65ditor&&", 204),
        # What is not asked for with this word is not asked for.
        ("next=/admin&x&=&%&debug=%ff", 204),
        ("Role=admin&roles=admin&role[]=admin&role%20=admin&user=admin", 204),
        pytest.param("role=editor&" * 5000, 204, id="5,000 times"),
        ("role=admin", 403),
        ("role=editor&role=admin", 403),  # all that are asked for
        ("role=admin&role=editor", 403),
        # A role that no user can have.
        *((f"role{text}", 403) for text in ("", "=", "=*", "=Editor", "=editor2", "=%25", "=%ff")),
        # Two in one, or something around one.
        *((f"role=editor{text}", 403) for text in (",viewer", ";role=viewer", "+", "%00", "%0a")),
        pytest.param("role=editor&" * 5000 + "role=admin", 403, id="5,000 and one more"),
        pytest.param("role=" + "%" * 60_000, 403, id="60,000 percent signs"),
    ],
)  # fmt: skip
def test_a_proxy_gets_a_yes_for_the_roles_that_the_user_has(
    services: Services, miguel: webtest.TestApp, query: str, status: int
) -> None:
    give_roles(services, "editor", "viewer")
    for headers, expected in ((PASSWORD, status), (ANONYMOUS, 401), (WRONG, 401)):
        answer = call(services, "/api/verify", headers, QUERY_STRING=query)
        assert answer.status_int == expected
        assert_yes(answer, is_yes=expected == 204)
        if expected == 403:
            assert code_of(answer) == "role_required"


def test_what_a_client_says_about_itself_is_not_what_a_proxy_gets(
    services: Services, miguel: webtest.TestApp
) -> None:
    """Nor is the request of the client read, which a proxy may describe."""
    said = {
        "Remote-User": "admin",
        "Remote-Groups": "admin",
        "X-Forwarded-User": "admin",
        "X-Original-URI": "/?role=admin",
        "X-Forwarded-Uri": "/?role=admin",
        "X-Forwarded-Method": "OPTIONS",
        "X-HTTP-Method-Override": "OPTIONS",
        "Cookie": "role=admin",
    }
    for headers, query, status in ((said, "", 401), (said | PASSWORD, "role=admin", 403)):
        answer = call(services, "/api/verify", headers, QUERY_STRING=query, **SPOOFED)
        assert answer.status_int == status
    answer = call(services, "/api/verify", said | PASSWORD, **SPOOFED)
    assert answer.headers["Remote-User"] == "miguel"
    assert "admin" not in str(answer.headerlist)


def test_a_throttled_request_is_a_403_for_a_proxy_and_tokens_are_served(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(free_failures=1)
    services.accounts.register("miguel", "python")
    client = client_of(services)
    token = token_of(client)
    for name in ("miguel", "susan"):  # whether there is such a user or not
        for _ in range(2):
            verify(client, basic(name, "ruby"), status=401)
        for query in ("", "role=admin"):
            barred = verify(client, basic(name, "python"), query, status=403)
            assert code_of(barred) == "barred"
            assert not {"Retry-After", "WWW-Authenticate"} & set(barred.headers)
        client.get("/api/resource", headers=basic(name, "python"), status=429)
    verify(client, bearer(token))
    assert code_of(verify(client, bearer(token), "role=admin", status=403)) == "role_required"
    clock.advance(1)
    verify(client, PASSWORD)


@pytest.mark.parametrize(
    ("username", "header"),
    [
        ("Miguel@example.org", "Miguel@example.org"),
        ("ACME\\miguel", "ACME\\miguel"),
        ('"a,b";q=1+2', '"a,b";q=1+2'),
        ("ren\u00e9", "ren%C3%A9"),
        ("ren%C3%A9", "ren%25C3%25A9"),
        ("ren\xc3\xa9", "ren%C3%83%C2%A9"),
        ("rene\u0301", "rene%CC%81"),
        ("%25", "%2525"),
        (" a b\t", "%20a%20b%09"),
        ("a\xa0", "a%C2%A0"),
        ("a\1\x1f\x7f\x80", "a%01%1F%7F%C2%80"),
        ("a\r\nRemote-Groups: admin", "a%0D%0ARemote-Groups:%20admin"),
        ("\U0001f40e\u2028\uffff", "%F0%9F%90%8E%E2%80%A8%EF%BF%BF"),
    ],
)
def test_a_name_is_in_a_header_in_visible_ascii(
    services: Services, miguel: webtest.TestApp, token: str, username: str, header: str
) -> None:
    rename(services, username)
    assert verify(miguel, bearer(token)).headers["Remote-User"] == header


@total
@hypothesis.given(
    username=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
    | st.text("%0123456789ABCDEFabcdef\xe9 ", min_size=1)
)
def test_a_proxy_can_read_every_name_back_from_the_header(
    services: Services, token: str, username: str
) -> None:
    """So that no two names have one header."""
    rename(services, username)
    header = verify(client_of(services), bearer(token)).headers["Remote-User"]
    assert re.fullmatch("[!-~]+", header)
    assert unquote(header, errors="strict") == username
