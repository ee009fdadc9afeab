"""What each route answers, byte for byte: to who keeps to the rules and to who does not."""

import io
import json
import re
from typing import Any
from urllib.parse import unquote

import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth.core.passwords import MAX_LENGTH
from restauth.records import MAX_ID
from restauth.services import Services
from restauth.web.app import App
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of, slot_taken

PASSWORD = basic("miguel", "python")
TOKEN_DURATION = 600
DAY = 86_400


@pytest.fixture
def miguel(client: webtest.TestApp) -> webtest.TestApp:
    """The client, in a world where miguel has registered."""
    register(client, "miguel", "python")
    return client


@pytest.fixture
def token(miguel: webtest.TestApp) -> str:
    """A live token of miguel's."""
    return token_by(miguel, PASSWORD)


def register(client: webtest.TestApp, username: Any, password: Any, status: int = 201) -> Any:
    body = {"username": username, "password": password}
    return client.post_json("/api/users", body, status=status)


def token_by(client: webtest.TestApp, headers: dict[str, str]) -> str:
    return str(client.get("/api/token", headers=headers, status=200).json["token"])


def pair_by(client: webtest.TestApp, headers: dict[str, str] = PASSWORD) -> dict[str, str]:
    """Both tokens of a new session."""
    pair: dict[str, str] = client.request("/api/sessions", method="POST", headers=headers).json
    return pair


def refresh(client: webtest.TestApp, refresh_token: object, status: int = 200) -> Any:
    return client.post_json("/api/token", {"refresh_token": refresh_token}, status=status)


def sessions(client: webtest.TestApp, headers: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/sessions", headers=headers).json["sessions"]
    return found


def reset(client: webtest.TestApp, code: object, password: object, status: int) -> Any:
    body = {"code": code, "password": password}
    return client.post_json("/api/password-resets", body, status=status)


def make_code(services: Services) -> str:
    return services.accounts.make_reset_code(services.accounts.find(1))


def take_the_store_away(services: Services) -> None:
    services.engine.close()
    services.engine.path.unlink()
    services.engine.path.mkdir()


def count_sessions(services: Services) -> int:
    return int(services.engine.read("SELECT count(*) FROM sessions", {})[0][0])


# POST /api/users


def test_registering_answers_the_name_and_where_it_lives(client: webtest.TestApp) -> None:
    answer = register(client, "miguel", "python")
    assert answer.body == b'{"username": "miguel"}\n'
    assert answer.content_type == "application/json"
    assert answer.headers["Location"] == "http://localhost:80/api/users/1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"null",
        b"[]",
        b'"miguel"',
        b"7",
        b"{}",
        b'{"username": "miguel"}',
        b'{"password": "python"}',
        b'{"username": null, "password": "python"}',
        b'{"username": "miguel", "password": null}',
        b'{"username": 7, "password": "python"}',
        b'{"username": "miguel", "password": 7}',
        b'{"username": true, "password": "python"}',
        b'{"username": ["miguel"], "password": "python"}',
        b'{"username": "miguel", "password": {"$ne": ""}}',
        b'{"username": "miguel", "username": "admin", "password": "python"}',
        b'{"username": "miguel", "password": "\\ud800"}',
        b'{"username": "miguel", "password": "\xff"}',
        '{"username": "miguel", "password": "python"}'.encode("utf-16"),
        pytest.param(b"[" * 60_000, id="nested without end"),
        pytest.param(b'{"username": %s}' % (b"9" * 5000), id="a number of 5000 digits"),
    ],
)
def test_a_body_that_is_not_two_strings_registers_nobody(
    client: webtest.TestApp, body: bytes
) -> None:
    json_type = {"Content-Type": "application/json"}
    client.post("/api/users", body, headers=json_type, status=400)
    client.get("/api/users/1", status=400)


def test_mass_assignment_is_ignored(client: webtest.TestApp) -> None:
    members = {"id": 99, "is_admin": True, "roles": ["admin"], "password_hash": "x", "locked_at": 1}
    body = {"username": "miguel", "password": "python", **members}
    assert client.post_json("/api/users", body).body == b'{"username": "miguel"}\n'
    me = client.get("/api/users/me", headers=PASSWORD).json
    assert (me["id"], me["roles"]) == (1, [])


@pytest.mark.parametrize(
    "username",
    [
        "a",
        "7Seas",
        "a.b_c-d@e+f",
        "miguel@example.org",
        pytest.param("x" * 64, id="64 characters"),
    ],
)
def test_an_acceptable_name_is_registered_as_typed_and_logs_in(
    client: webtest.TestApp, username: str
) -> None:
    assert register(client, username, "python").json == {"username": username}
    greeting = client.get("/api/resource", headers=basic(username, "python")).json
    assert greeting == {"data": f"Hello, {username}!"}


@pytest.mark.parametrize(
    "username",
    [
        "",
        " ",
        " miguel",
        "miguel ",
        "mi guel",
        "mi:guel",  # RFC 7617: the user-id ends at the first colon
        "miguel\n",
        "mi\0guel",
        "\x1b[31mmiguel",
        ".miguel",
        "mi/guel",
        "../miguel",
        "<script>",
        "' OR 1=1 --",
        "m\u00efguel",
        "migue\u217c",  # a Roman numeral that looks like an l
        "\u200bmiguel",
        "\uff4diguel",
        pytest.param("x" * 65, id="65 characters"),
        pytest.param("x" * 5000, id="5000 characters"),
    ],
)
def test_a_name_that_could_deceive_is_refused(client: webtest.TestApp, username: str) -> None:
    answer = register(client, username, "python", status=400)
    assert answer.json["type"] == "urn:restauth:problem:unacceptable_username"


@pytest.mark.parametrize("username", ["miguel", "Miguel", "MIGUEL"])
def test_a_taken_name_in_any_case_is_400(miguel: webtest.TestApp, username: str) -> None:
    answer = register(miguel, username, "ruby", status=400)
    assert answer.json["type"] == "urn:restauth:problem:username_taken"
    assert miguel.get("/api/resource", headers=PASSWORD).status_int == 200


@pytest.mark.parametrize(
    "password",
    [
        "x",
        " ",
        "a:b::c:",
        " python ",
        "pa\0ss",
        "p\u00e4ssw\u00f6rd \u2713 \U0001f40e",
        pytest.param("x" * 73, id="73 bytes, bcrypt takes 72"),
        pytest.param("\U0001f40e" * MAX_LENGTH, id="1024 characters of four bytes"),
    ],
)
def test_any_password_logs_in_and_all_of_it_counts(client: webtest.TestApp, password: str) -> None:
    register(client, "miguel", password)
    client.get("/api/resource", headers=basic("miguel", password), status=200)
    for wrong in (password[:-1], password + "x", " " + password):
        client.get("/api/resource", headers=basic("miguel", wrong), status=401)


def test_a_password_in_another_case_is_another(miguel: webtest.TestApp) -> None:
    miguel.get("/api/resource", headers=basic("miguel", "Python"), status=401)


def test_two_spellings_of_one_password_are_one(client: webtest.TestApp) -> None:
    register(client, "miguel", "caf\u00e9")
    client.get("/api/resource", headers=basic("miguel", "cafe\u0301"), status=200)


@pytest.mark.parametrize("length", [0, MAX_LENGTH + 1, 50_000])
def test_an_empty_or_endless_password_is_refused(client: webtest.TestApp, length: int) -> None:
    answer = register(client, "miguel", "x" * length, status=400)
    assert answer.json["type"] == "urn:restauth:problem:unacceptable_password"


def test_registration_is_closed_where_the_operator_says_so(
    make_services: ServicesFactory,
) -> None:
    client = client_of(make_services(registration="closed"))
    answer = register(client, "miguel", "python", status=403)
    assert answer.json["type"] == "urn:restauth:problem:registration_closed"


def test_an_id_is_never_given_twice(services: Services, miguel: webtest.TestApp) -> None:
    services.accounts.delete(services.accounts.find(1))
    register(miguel, "miguel", "python")
    miguel.get("/api/users/1", status=400)
    assert miguel.get("/api/users/2").json == {"username": "miguel"}


# GET /api/users/<id>


def test_a_profile_is_the_name_and_nothing_else(miguel: webtest.TestApp) -> None:
    answer = miguel.get("/api/users/1", status=200)
    assert answer.body == b'{"username": "miguel"}\n'
    assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    "digits",
    [
        "0",
        "2",
        str(MAX_ID),
        str(MAX_ID + 1),
        str(2**64),
        pytest.param("9" * 5000, id="5000 digits, int() takes 4300"),
    ],
)
def test_an_unknown_user_is_400(miguel: webtest.TestApp, digits: str) -> None:
    answer = miguel.get(f"/api/users/{digits}", status=400)
    assert answer.json["type"] == "urn:restauth:problem:unknown_user"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/",
        "/api/users/",
        "/api/users/abc",
        "/api/users/-1",
        "/api/users/1/",
        "/api/users/01",
        "/api/users/1.0",
        "/api/users/1%00",
        "/api/users/1%0d%0aX-Injected:%201",
        "/api/users/%D9%A1",
        "/api/users/..%2f..%2frestauth.db",
        "/api//users/1",
        "/api/x/../users/1",
        "/API/USERS/1",
        "/api%c0%afusers/1",
        "/api/token/",
        "/api/resource;x",
        "/restauth.db",
        pytest.param("/" + "a" * 10_000, id="10,000 characters"),
    ],
)
def test_any_other_path_is_404(miguel: webtest.TestApp, path: str) -> None:
    answer = miguel.get(path, status=404)
    assert answer.json["type"] == "urn:restauth:problem:not_found"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/users/1?_method=DELETE&id=2", {}),
        ("/api/users/1", {"X-HTTP-Method-Override": "DELETE"}),
        ("/api/users/1", {"X-Original-URL": "/api/users/2", "X-Rewrite-URL": "/api/users/2"}),
    ],
)
def test_the_request_line_alone_says_what_is_asked(
    miguel: webtest.TestApp, path: str, headers: dict[str, str]
) -> None:
    assert miguel.get(path, headers=headers).json == {"username": "miguel"}


# GET /api/users/me


def test_who_am_i_answers_all_that_is_told_of_me(miguel: webtest.TestApp) -> None:
    expected = (
        b'{"created_at": "2027-01-15T08:00:00Z", "id": 1, "roles": [], "username": "miguel"}\n'
    )
    for credential in (PASSWORD, bearer(token_by(miguel, PASSWORD))):
        assert miguel.get("/api/users/me", headers=credential).body == expected


def test_who_am_i_tells_my_roles_of_this_moment(
    services: Services, miguel: webtest.TestApp
) -> None:
    token = token_by(miguel, PASSWORD)
    for added, removed, roles in (
        (["viewer", "editor"], [], "editor viewer"),
        ([], ["viewer"], "editor"),
    ):
        services.accounts.change_roles(services.accounts.find(1), added, removed)
        for credential in (PASSWORD, bearer(token)):
            me = miguel.get("/api/users/me", headers=credential).json
            assert me["roles"] == roles.split()


# PUT /api/users/me/password


def change_password(
    client: webtest.TestApp, headers: dict[str, str], value: object, status: int
) -> webtest.TestResponse:
    return client.put_json("/api/users/me/password", value, headers=headers, status=status)


def test_a_new_password_is_good_at_once_and_ends_every_session(
    services: Services, miguel: webtest.TestApp
) -> None:
    token, pair = token_by(miguel, PASSWORD), pair_by(miguel)
    answer = change_password(miguel, PASSWORD, {"password": "ruby"}, 204)
    assert answer.body == b""
    miguel.get("/api/resource", headers=PASSWORD, status=401)
    for dead in (token, pair["token"]):
        miguel.get("/api/resource", headers=bearer(dead), status=401)
    refresh(miguel, pair["refresh_token"], 401)
    assert count_sessions(services) == 0
    miguel.get("/api/resource", headers=basic("miguel", "ruby"), status=200)


@pytest.mark.parametrize("value", [{}, {"password": None}, {"password": 7}, {"Password": "x"}, []])
def test_a_new_password_that_is_no_string_changes_nothing(
    miguel: webtest.TestApp, value: object
) -> None:
    answer = change_password(miguel, PASSWORD, value, 400)
    assert answer.json["type"] == "urn:restauth:problem:malformed_request"
    miguel.get("/api/resource", headers=PASSWORD, status=200)


@pytest.mark.parametrize("length", [0, MAX_LENGTH + 1, 50_000])
def test_an_empty_or_endless_new_password_changes_nothing(
    miguel: webtest.TestApp, length: int
) -> None:
    answer = change_password(miguel, PASSWORD, {"password": "x" * length}, 400)
    assert answer.json["type"] == "urn:restauth:problem:unacceptable_password"
    miguel.get("/api/resource", headers=PASSWORD, status=200)


def test_a_token_changes_no_password(miguel: webtest.TestApp) -> None:
    token = token_by(miguel, PASSWORD)
    for headers in (bearer(token), basic(token, "python")):
        answer = change_password(miguel, headers, {"password": "ruby"}, 403)
        assert answer.json["type"] == "urn:restauth:problem:password_required"
    miguel.get("/api/resource", headers=PASSWORD, status=200)


def test_a_password_that_is_on_the_list_is_refused_with_the_reason(
    make_services: ServicesFactory,
) -> None:
    client = client_of(make_services(password_policy="nist"))
    fine = "correct horse battery"
    for password, reason in (
        ("python", "A password has at least 15 characters."),
        ("PasswordPasswordPassword", "This password is on the list of common passwords."),
        ("miguelmiguelmiguel", "This password is made of common passwords or of names alone."),
    ):
        answer = register(client, "miguel", password, status=400)
        assert answer.json["detail"] == reason
    register(client, "miguel", fine)
    answer = change_password(client, basic("miguel", fine), {"password": "restauth" * 2}, 400)
    assert answer.json["type"] == "urn:restauth:problem:unacceptable_password"
    assert answer.json["detail"].startswith("This password is ")
    client.get("/api/resource", headers=basic("miguel", fine), status=200)


# DELETE /api/users/me


def test_a_closed_account_is_gone_with_all_that_was_its_own(
    services: Services, miguel: webtest.TestApp
) -> None:
    token, pair = token_by(miguel, PASSWORD), pair_by(miguel)
    code = services.accounts.make_reset_code(services.accounts.find(1))
    assert miguel.delete("/api/users/me", headers=PASSWORD, status=204).body == b""
    miguel.get("/api/users/1", status=400)
    for headers in (PASSWORD, bearer(token), bearer(pair["token"])):
        miguel.get("/api/resource", headers=headers, status=401)
    refresh(miguel, pair["refresh_token"], 401)
    reset(miguel, code, "ruby", 400)
    assert count_sessions(services) == 0
    register(miguel, "miguel", "python")
    assert miguel.get("/api/users/me", headers=PASSWORD).json["id"] == 2


def test_a_token_closes_no_account(miguel: webtest.TestApp) -> None:
    token = token_by(miguel, PASSWORD)
    for headers in (bearer(token), basic(token, "python")):
        answer = miguel.delete("/api/users/me", headers=headers, status=403)
        assert answer.json["type"] == "urn:restauth:problem:password_required"
    miguel.get("/api/resource", headers=bearer(token), status=200)


# GET /api/token


def test_a_password_gets_a_token(miguel: webtest.TestApp) -> None:
    answer = miguel.get("/api/token", headers=PASSWORD, status=200)
    token = answer.json["token"]
    assert answer.body == b'{"duration": 600, "token": "%s"}\n' % token.encode()
    assert answer.content_type == "application/json"


@pytest.mark.parametrize("password", ["", "x", "python", "a:b:c", "\u2713"])
def test_a_token_renews_a_token_with_any_password(miguel: webtest.TestApp, password: str) -> None:
    old = token_by(miguel, PASSWORD)
    new = token_by(miguel, basic(old, password))
    assert new != old
    for token in (old, new):
        miguel.get("/api/resource", headers=basic(token, ""), status=200)


def test_a_renewed_token_stays_good_to_its_own_end_and_not_beyond(
    miguel: webtest.TestApp, clock: Clock
) -> None:
    old = token_by(miguel, PASSWORD)
    clock.advance(TOKEN_DURATION - 1)
    new = token_by(miguel, bearer(old))
    miguel.get("/api/resource", headers=bearer(old), status=200)
    clock.advance(1)
    miguel.get("/api/resource", headers=bearer(old), status=401)
    miguel.get("/api/resource", headers=bearer(new), status=200)


def test_renewing_for_ever_ends_with_the_session(
    make_services: ServicesFactory, clock: Clock
) -> None:
    client = client_of(make_services(session_duration=900))
    register(client, "miguel", "python")
    token = token_by(client, PASSWORD)
    clock.advance(500)
    answer = client.get("/api/token", headers=bearer(token)).json
    assert answer["duration"] == 400
    clock.advance(400)
    client.get("/api/token", headers=bearer(answer["token"]), status=401)


def test_head_begins_no_session(services: Services, miguel: webtest.TestApp) -> None:
    miguel.head("/api/token", headers=PASSWORD, status=200)
    assert count_sessions(services) == 0
    miguel.get("/api/token", headers=PASSWORD, status=200)
    assert count_sessions(services) == 1


@pytest.mark.parametrize(
    "path", ["/api/users/1", "/api/users/me", "/api/token", "/api/resource", "/api/health"]
)
@pytest.mark.parametrize("kind", ["password", "token"])
def test_head_has_the_headers_of_get(miguel: webtest.TestApp, path: str, kind: str) -> None:
    headers = PASSWORD if kind == "password" else bearer(token_by(miguel, PASSWORD))
    to_head = miguel.head(path, headers=headers, status=200)
    to_get = miguel.get(path, headers=headers, status=200)
    assert to_head.headers == to_get.headers
    assert to_head.headers["Content-Length"] == str(len(to_get.body))
    assert to_head.body == b""


# POST /api/sessions


def test_a_session_begins_with_the_password_alone(miguel: webtest.TestApp) -> None:
    """No body and no Content-Type: there is nothing to say."""
    answer = miguel.request("/api/sessions", method="POST", headers=PASSWORD, status=201)
    assert "CONTENT_TYPE" not in answer.request.environ
    pair = answer.json
    assert answer.body == (
        b'{"duration": 600, "refresh_duration": 2592000, "refresh_token": "%s", "token": "%s"}\n'
        % (pair["refresh_token"].encode(), pair["token"].encode())
    )
    assert answer.content_type == "application/json"
    miguel.get("/api/resource", headers=bearer(pair["token"]), status=200)


def test_a_new_session_is_located_and_found_there(miguel: webtest.TestApp) -> None:
    answer = miguel.request("/api/sessions", method="POST", headers=PASSWORD)
    where = answer.headers["Location"]
    found = re.fullmatch(r"http://localhost:80(/api/sessions/([A-Za-z0-9_-]{22}))", where)
    assert found is not None
    (session,) = sessions(miguel, PASSWORD)
    assert session["id"] == found[2]
    miguel.delete(found[1], headers=PASSWORD, status=204)
    miguel.get("/api/resource", headers=bearer(answer.json["token"]), status=401)


def test_a_new_session_is_located_below_the_mount_point_and_by_no_foreign_host(
    services: Services,
) -> None:
    services.accounts.register("miguel", "python")
    client = client_of(services, SCRIPT_NAME="/auth")
    for host, pattern in (
        ("localhost:5000", r"http://localhost:5000/auth/api/sessions/[\w-]{22}"),
        ("evil.example", r"/auth/api/sessions/[\w-]{22}"),
    ):
        answer = client.post("/api/sessions", headers=PASSWORD | {"Host": host})
        assert re.fullmatch(pattern, answer.headers["Location"])


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"not json", b'{"username": "susan", "roles": ["a"]}']
)
def test_what_the_body_says_of_a_new_session_is_not_looked_at(
    miguel: webtest.TestApp, body: bytes
) -> None:
    answer = miguel.post("/api/sessions", body, headers=PASSWORD, status=201)
    me = miguel.get("/api/users/me", headers=bearer(answer.json["token"])).json
    assert (me["username"], me["roles"]) == ("miguel", [])


def test_a_token_begins_no_session(services: Services, miguel: webtest.TestApp) -> None:
    pair = pair_by(miguel)
    for headers in (bearer(pair["token"]), basic(pair["token"], "python")):
        answer = miguel.request("/api/sessions", method="POST", headers=headers, status=403)
        assert answer.json["type"] == "urn:restauth:problem:password_required"
    assert count_sessions(services) == 1


# POST /api/token


def test_a_refresh_token_gets_the_next_pair(miguel: webtest.TestApp, clock: Clock) -> None:
    first = pair_by(miguel)
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
    miguel.get("/api/resource", headers=bearer(pair["token"]), status=200)
    assert len(sessions(miguel, PASSWORD)) == 1


def test_the_old_access_token_stays_good_to_its_own_end(
    miguel: webtest.TestApp, clock: Clock
) -> None:
    pair = pair_by(miguel)
    refresh(miguel, pair["refresh_token"])
    clock.advance(TOKEN_DURATION - 1)
    miguel.get("/api/resource", headers=bearer(pair["token"]), status=200)
    clock.advance(1)
    miguel.get("/api/resource", headers=bearer(pair["token"]), status=401)


@pytest.mark.parametrize("seconds", [0, 10])
def test_a_lost_reply_is_given_again(miguel: webtest.TestApp, clock: Clock, seconds: int) -> None:
    old = pair_by(miguel)["refresh_token"]
    new = refresh(miguel, old).json
    clock.advance(seconds)
    again = refresh(miguel, old).json
    assert again["refresh_token"] == new["refresh_token"]
    for token in (new["token"], again["token"]):
        miguel.get("/api/resource", headers=bearer(token), status=200)


@pytest.mark.parametrize(
    ("turns", "seconds"), [(1, 11), (2, 0), (3, 0)], ids=["later", "older", "much older"]
)
def test_a_reused_refresh_token_ends_the_whole_session(
    services: Services, miguel: webtest.TestApp, clock: Clock, turns: int, seconds: int
) -> None:
    other = token_by(miguel, PASSWORD)
    stolen = pair = pair_by(miguel)
    for _ in range(turns):
        pair = refresh(miguel, pair["refresh_token"]).json
    clock.advance(seconds)
    refresh(miguel, stolen["refresh_token"], 401)
    refresh(miguel, pair["refresh_token"], 401)
    for token in (stolen["token"], pair["token"]):
        miguel.get("/api/resource", headers=bearer(token), status=401)
    miguel.get("/api/resource", headers=bearer(other), status=200)  # it is another session
    assert count_sessions(services) == 1


def test_tokens_renew_each_other_for_a_day_after_the_last_refresh(
    make_services: ServicesFactory, clock: Clock
) -> None:
    client = client_of(make_services(token_duration=DAY))
    register(client, "miguel", "python")
    pair = pair_by(client)
    for _ in range(2):
        clock.advance(DAY - 1)
        token = token_by(client, bearer(pair["token"]))
        clock.advance(1)
        for ask in (client.get, client.head):
            ask("/api/token", headers=bearer(token), status=401)
        client.get("/api/resource", headers=bearer(token), status=200)  # good to its own end
        pair = refresh(client, pair["refresh_token"]).json


def test_refreshing_ends_after_thirty_days(miguel: webtest.TestApp, clock: Clock) -> None:
    pair = pair_by(miguel)
    for _ in range(29):
        clock.advance(DAY)
        pair = refresh(miguel, pair["refresh_token"]).json
    clock.advance(DAY - 1)
    pair = refresh(miguel, pair["refresh_token"]).json
    assert (pair["duration"], pair["refresh_duration"]) == (1, 1)
    clock.advance(1)
    refresh(miguel, pair["refresh_token"], 401)
    miguel.get("/api/resource", headers=bearer(pair["token"]), status=401)
    assert sessions(miguel, PASSWORD) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"r1"',
        b"{}",
        b'{"refresh_token": null}',
        b'{"refresh_token": 7}',
        b'{"refresh_token": ["r1"]}',
        b'{"refresh_token": true}',
        b'{"token": "r1"}',
        b'{"refresh_token": "r1", "refresh_token": "r1"}',
        b'{"refresh_token": "\\ud800"}',
    ],
)
def test_a_body_that_has_no_refresh_token_is_400(client: webtest.TestApp, body: bytes) -> None:
    json_type = {"Content-Type": "application/json"}
    answer = client.post("/api/token", body, headers=json_type, status=400)
    assert answer.json["type"] == "urn:restauth:problem:malformed_request"


def test_a_refresh_token_without_a_content_type_is_415(miguel: webtest.TestApp) -> None:
    body = json.dumps({"refresh_token": pair_by(miguel)["refresh_token"]}).encode()
    miguel.request("/api/token", method="POST", body=body, status=415)
    form = "refresh_token=" + pair_by(miguel)["refresh_token"]
    miguel.post("/api/token", form, status=415)


def test_every_refused_refresh_token_gets_one_answer(
    services: Services, miguel: webtest.TestApp, clock: Clock
) -> None:
    services.accounts.register("susan", "python")
    susan = pair_by(miguel, basic("susan", "python"))["refresh_token"]
    expired = pair_by(miguel)["refresh_token"]
    clock.advance(2_592_000)
    ended, reused = pair_by(miguel), pair_by(miguel)["refresh_token"]
    miguel.delete("/api/token", headers=bearer(ended["token"]), status=204)
    refresh(miguel, reused)
    clock.advance(11)
    locked = pair_by(miguel, basic("susan", "python"))["refresh_token"]
    services.accounts.lock(services.accounts.find_by_name("susan"))
    answers = [
        refresh(miguel, token, 401)
        for token in (
            "",
            "r1",
            "x" * 60_000,
            ended["token"],  # an access token
            f"{reused}x",
            susan[:-1],
            expired,
            susan,
            ended["refresh_token"],
            reused,
            reused,
            locked,
        )
    ]
    seen = {(answer.status, str(answer.headerlist), answer.body) for answer in answers}
    assert len(seen) == 1
    assert "Unauthorized Access" in answers[0].text
    assert answers[0].headers.getall("WWW-Authenticate")


def test_a_refresh_looks_at_no_credential(miguel: webtest.TestApp, clock: Clock) -> None:
    """Least of all at the access token that has expired."""
    pair = pair_by(miguel)
    clock.advance(TOKEN_DURATION)
    for headers in (bearer(pair["token"]), basic("miguel", "ruby"), {"Authorization": "Basic !"}):
        value = {"refresh_token": pair["refresh_token"]}
        pair = miguel.post_json("/api/token", value, headers=headers, status=200).json


# GET /api/sessions


def test_sessions_are_listed_the_one_used_last_first(services: Services, clock: Clock) -> None:
    services.accounts.register("miguel", "python")
    phone = client_of(services, REMOTE_ADDR="192.0.2.7", HTTP_USER_AGENT="phone")
    laptop = client_of(services, REMOTE_ADDR="2001:db8::7", HTTP_USER_AGENT="laptop")
    pair = pair_by(phone)
    clock.advance(60)
    token = token_by(laptop, PASSWORD)
    clock.advance(60)
    refresh(laptop, pair["refresh_token"])  # a session is named after where it began
    clock.advance(60)
    listed = laptop.get("/api/sessions", headers=bearer(token), status=200)
    assert listed.content_type == "application/json"
    ids = [session["id"] for session in listed.json["sessions"]]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", each) for each in ids)
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
                "user_agent": "laptop",
                "current": True,
            },
        ]
    }


def test_a_password_has_no_current_session(miguel: webtest.TestApp) -> None:
    assert sessions(miguel, PASSWORD) == []
    pair_by(miguel)
    assert [session["current"] for session in sessions(miguel, PASSWORD)] == [False]


def test_only_ones_own_live_sessions_are_listed(miguel: webtest.TestApp, clock: Clock) -> None:
    register(miguel, "susan", "python")
    token_by(miguel, PASSWORD)
    clock.advance(86_399)
    token_by(miguel, basic("susan", "python"))
    ended = token_by(miguel, PASSWORD)
    assert len(sessions(miguel, PASSWORD)) == 2
    miguel.delete("/api/token", headers=bearer(ended), status=204)
    assert len(sessions(miguel, PASSWORD)) == 1
    clock.advance(1)
    assert sessions(miguel, PASSWORD) == []
    assert len(sessions(miguel, basic("susan", "python"))) == 1


def test_a_request_that_issues_no_token_is_no_use_of_the_session(
    miguel: webtest.TestApp, clock: Clock
) -> None:
    token = token_by(miguel, PASSWORD)
    clock.advance(60)
    miguel.get("/api/resource", headers=bearer(token))
    miguel.head("/api/token", headers=bearer(token))
    assert sessions(miguel, bearer(token))[0]["last_used_at"] == "2027-01-15T08:00:00Z"
    token_by(miguel, bearer(token))
    assert sessions(miguel, bearer(token))[0]["last_used_at"] == "2027-01-15T08:01:00Z"


@pytest.mark.parametrize(
    ("user_agent", "shown"),
    [("", ""), ("<b>\x1b[2J\u00e9</b>", "<b>?[2J?</b>"), ("x" * 5000, "x" * 200)],
    ids=["none", "markup and controls", "long"],
)
def test_what_a_device_calls_itself_is_bounded_and_escaped(
    services: Services, user_agent: str, shown: str
) -> None:
    services.accounts.register("miguel", "python")
    client = client_of(services, HTTP_USER_AGENT=user_agent, REMOTE_ADDR="")
    pair_by(client)
    answer = client.get("/api/sessions", headers=PASSWORD)
    (session,) = answer.json["sessions"]
    assert (session["user_agent"], session["peer"]) == (shown, "")
    assert answer.body.isascii()


# DELETE /api/sessions, DELETE /api/sessions/<sid>


def test_logging_out_everywhere_ends_all_sessions_of_the_user_and_no_others(
    miguel: webtest.TestApp,
) -> None:
    register(miguel, "susan", "python")
    susan = token_by(miguel, basic("susan", "python"))
    for by_password in (True, False):
        token, pair = token_by(miguel, PASSWORD), pair_by(miguel)
        headers = PASSWORD if by_password else bearer(token)
        assert miguel.delete("/api/sessions", headers=headers, status=204).body == b""
        for dead in (token, pair["token"]):
            miguel.get("/api/resource", headers=bearer(dead), status=401)
        refresh(miguel, pair["refresh_token"], 401)
    miguel.delete("/api/sessions", headers=PASSWORD, status=204)  # none is no error
    miguel.get("/api/resource", headers=bearer(susan), status=200)


def test_one_device_ends_anothers_session(miguel: webtest.TestApp) -> None:
    lost, here = pair_by(miguel), pair_by(miguel)
    (other,) = [
        each["id"] for each in sessions(miguel, bearer(here["token"])) if not each["current"]
    ]
    answer = miguel.delete(f"/api/sessions/{other}", headers=bearer(here["token"]), status=204)
    assert answer.body == b""
    miguel.get("/api/resource", headers=bearer(lost["token"]), status=401)
    refresh(miguel, lost["refresh_token"], 401)
    miguel.get("/api/resource", headers=bearer(here["token"]), status=200)
    miguel.delete(f"/api/sessions/{other}", headers=bearer(here["token"]), status=404)


def test_ending_ones_own_session_is_a_logout(miguel: webtest.TestApp) -> None:
    token = token_by(miguel, PASSWORD)
    (session,) = sessions(miguel, bearer(token))
    miguel.delete(f"/api/sessions/{session['id']}", headers=bearer(token), status=204)
    miguel.get("/api/resource", headers=bearer(token), status=401)


def test_somebody_elses_session_is_as_unknown_as_one_that_never_was(
    miguel: webtest.TestApp,
) -> None:
    register(miguel, "susan", "python")
    susan = token_by(miguel, basic("susan", "python"))
    (session,) = sessions(miguel, bearer(susan))
    answers = [
        miguel.delete(f"/api/sessions/{name}", headers=PASSWORD, status=404)
        for name in (session["id"], "A" * 22, session["id"].swapcase(), "x", f"{session['id']}=")
    ]
    assert len({(answer.body, str(answer.headerlist)) for answer in answers}) == 1
    miguel.get("/api/resource", headers=bearer(susan), status=200)


# POST /api/password-resets


def test_a_code_sets_a_new_password_once_and_ends_every_session(
    services: Services, miguel: webtest.TestApp
) -> None:
    pair, code = pair_by(miguel), make_code(services)
    assert reset(miguel, code, "ruby", 204).body == b""
    miguel.get("/api/resource", headers=PASSWORD, status=401)
    miguel.get("/api/resource", headers=basic("miguel", "ruby"), status=200)
    miguel.get("/api/resource", headers=bearer(pair["token"]), status=401)
    refresh(miguel, pair["refresh_token"], 401)
    reset(miguel, code, "perl", 400)
    miguel.get("/api/resource", headers=basic("miguel", "ruby"), status=200)


def test_a_code_is_good_for_an_hour(
    services: Services, miguel: webtest.TestApp, clock: Clock
) -> None:
    code = make_code(services)
    clock.advance(3599)
    reset(miguel, code, "ruby", 204)


def test_every_unusable_code_gets_one_answer(make_services: ServicesFactory, clock: Clock) -> None:
    services = make_services(free_failures=0)
    client = client_of(services)
    register(client, "miguel", "python")
    expired = make_code(services)
    clock.advance(3600)
    replaced, used = make_code(services), make_code(services)
    reset(client, used, "ruby", 204)
    live = make_code(services)
    answers = [
        reset(client, code, "perl", 400)
        for code in (
            "",
            "x",
            "x" * 60_000,
            f"{live} ",
            live.swapcase(),
            live[:-1] + ("A" if live[-1] != "A" else "B"),
            "A" * 12 + "." + "A" * 24,
            expired,
            replaced,
            used,
        )
    ]
    assert len({(answer.status, str(answer.headerlist), answer.body) for answer in answers}) == 1
    assert answers[0].json["type"] == "urn:restauth:problem:unusable_code"
    client.get("/api/resource", headers=basic("miguel", "ruby"), status=200)
    reset(client, live, "perl", 204)


@pytest.mark.parametrize("members", [{"code": 7}, {"password": None}, {"code": None}, {"code": []}])
def test_a_reset_without_two_strings_is_malformed_and_spends_no_code(
    services: Services, miguel: webtest.TestApp, members: dict[str, object]
) -> None:
    code = make_code(services)
    body = {"code": code, "password": "ruby", **members}
    answer = miguel.post_json("/api/password-resets", body, status=400)
    assert answer.json["type"] == "urn:restauth:problem:malformed_request"
    reset(miguel, code, "ruby", 204)


def test_an_unacceptable_password_spends_no_code(make_services: ServicesFactory) -> None:
    services = make_services(password_policy="nist")
    client = client_of(services)
    register(client, "miguel", "correct horse battery")
    code = make_code(services)
    for password in ("", "x" * 1025, "ruby"):
        answer = reset(client, code, password, 400)
        assert answer.json["type"] == "urn:restauth:problem:unacceptable_password"
    assert answer.json["detail"] == "A password has at least 15 characters."
    reset(client, code, "battery horse correct", 204)


def test_guesses_at_a_code_are_throttled_and_the_right_one_is_not_told(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(free_failures=2)
    client = client_of(services)
    register(client, "miguel", "python")
    code = make_code(services)
    selector = code.partition(".")[0]
    for _ in range(3):
        reset(client, f"{selector}.{'A' * 24}", "ruby", 400)
    throttled = [reset(client, guess, "ruby", 429) for guess in (f"{selector}.{'B' * 24}", code)]
    assert throttled[0].body == throttled[1].body
    assert throttled[0].headerlist == throttled[1].headerlist
    assert throttled[0].headers["Retry-After"] == "1"
    assert throttled[0].json["type"] == "urn:restauth:problem:throttled"
    clock.advance(1)
    reset(client, code, "ruby", 204)


def test_a_reset_opens_a_password_that_guesses_have_shut(make_services: ServicesFactory) -> None:
    services = make_services(max_failures=2)
    client = client_of(services)
    register(client, "miguel", "python")
    for status in (401, 401, 429):
        client.get("/api/resource", headers=basic("miguel", "ruby"), status=status)
    reset(client, make_code(services), "perl", 204)
    client.get("/api/resource", headers=basic("miguel", "perl"), status=200)


# DELETE /api/token


def test_logout_ends_the_session_with_all_its_tokens(
    services: Services, miguel: webtest.TestApp
) -> None:
    token = token_by(miguel, PASSWORD)
    renewed = token_by(miguel, bearer(token))
    other = token_by(miguel, PASSWORD)
    answer = miguel.delete("/api/token", headers=bearer(token), status=204)
    assert answer.body == b""
    for dead in (token, renewed):
        miguel.get("/api/resource", headers=bearer(dead), status=401)
    miguel.get("/api/resource", headers=bearer(other), status=200)
    assert count_sessions(services) == 1


def test_logout_by_basic_token_is_logout_too(miguel: webtest.TestApp) -> None:
    token = token_by(miguel, PASSWORD)
    miguel.delete("/api/token", headers=basic(token, ""), status=204)
    miguel.delete("/api/token", headers=basic(token, ""), status=401)


def test_a_password_has_no_session_to_end(miguel: webtest.TestApp) -> None:
    answer = miguel.delete("/api/token", headers=PASSWORD, status=400)
    assert answer.json["type"] == "urn:restauth:problem:no_session"


# GET /api/resource, and what it takes


def test_the_resource_greets_by_name(miguel: webtest.TestApp) -> None:
    token = token_by(miguel, PASSWORD)
    for credential in (PASSWORD, basic(token, ""), basic(token, "x"), bearer(token)):
        answer = miguel.get("/api/resource", headers=credential, status=200)
        assert answer.body == b'{"data": "Hello, miguel!"}\n'
        assert answer.content_type == "application/json"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
def test_the_scheme_word_is_written_in_any_case(miguel: webtest.TestApp, scheme: str) -> None:
    headers = {"Authorization": PASSWORD["Authorization"].replace("Basic", scheme)}
    miguel.get("/api/resource", headers=headers, status=200)


@pytest.mark.parametrize("username", ["Miguel", "MIGUEL", "\uff4diguel"])
def test_login_finds_a_name_by_the_form_that_makes_it_unique(
    miguel: webtest.TestApp, username: str
) -> None:
    answer = miguel.get("/api/resource", headers=basic(username, "python"), status=200)
    assert answer.json == {"data": "Hello, miguel!"}


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        " ",
        "Basic",
        "Basic ",
        "Bearer",
        "Bearer ",
        "Basic !!!!",
        "Basic bWlndWVs",  # no colon
        "Basic Og==",  # an empty name and an empty password
        "Basic bWlndWVsOg==",  # an empty password
        "Basic /zpweXRob24=",  # not UTF-8
        "Basic bWlndWVsOnB5dGhvbg",  # no padding
        "Basic bWlndWVsOnB5dGhvbh==",  # stray bits in the padding
        "Basic\tbWlndWVsOnB5dGhvbg==",
        "Basic bWlndWVsOnB5dGhvbg==, Basic bWlndWVsOnB5dGhvbg==",
        "Basic bWlndWVsOnB5dGhvbg== x",
        "Bearer bWlndWVsOnB5dGhvbg==",
        "Bearer a.b.c",
        "bWlndWVsOnB5dGhvbg==",
        "\xff",
        'Digest username="miguel"',
        "Negotiate YII=",
        "Token a.b.c",
        pytest.param("Basic " + "A" * 70_000, id="64 KiB"),
    ],
)
def test_an_unusable_authorization_header_is_401(
    miguel: webtest.TestApp, authorization: str
) -> None:
    headers = {"Authorization": authorization}
    answer = miguel.get("/api/resource", headers=headers, status=401)
    assert "Unauthorized Access" in answer.text


def test_a_token_in_the_wrong_place_is_not_looked_at(miguel: webtest.TestApp) -> None:
    token = token_by(miguel, PASSWORD)
    for path, headers in (
        (f"/api/resource?access_token={token}&token={token}", {}),
        ("/api/resource", {"Cookie": f"token={token}; Authorization={token}"}),
        ("/api/resource", {"X-Authorization": f"Bearer {token}", "X-Access-Token": token}),
        ("/api/resource", {"Remote-User": "miguel", "X-Forwarded-User": "miguel"}),
        ("/api/resource", {"Proxy-Authorization": f"Bearer {token}"}),
    ):
        miguel.get(path, headers=headers, status=401)


def test_a_name_in_the_shape_of_a_token_is_a_token_or_nothing(
    make_services: ServicesFactory,
) -> None:
    """Wherever it came from: here an operator allowed long names, and another filled the table."""
    services = make_services(username_pattern=r"[A-Za-z0-9._-]+")
    client = client_of(services)
    name = f"{'a' * 30}.{'b' * 30}.{'c' * 30}"
    register(client, name, "python", status=400)
    register(client, "miguel", "python")
    services.engine.write(
        "UPDATE users SET username = :name, canonical_username = :name", {"name": name}
    )
    client.get("/api/resource", headers=basic(name, "python"), status=401)


# /api/verify, by any method

LINTED = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
INVENTED = ["CONNECT", "PROPFIND", "M-SEARCH", "BREW", "get", "options", "*", "", "a b", "\xe9"]
PREFLIGHT = {
    "Origin": "https://app.example.org",
    "Access-Control-Request-Method": "DELETE",
    "Access-Control-Request-Headers": "authorization",
}


def verify(
    client: webtest.TestApp,
    headers: dict[str, str],
    query: str = "",
    *,
    method: str = "GET",
    status: int = 204,
) -> webtest.TestResponse:
    """A proxy's question; whatever the answer is, only a yes says who it is."""
    path = f"/api/verify?{query}" if query else "/api/verify"
    answer = client.request(path, method=method, headers=headers, status=status)
    expected = 1 if status == 204 else 0
    for name in ("Remote-User", "Remote-Groups"):
        assert len(answer.headers.getall(name)) == expected
    return answer


def reason(answer: webtest.TestResponse) -> str:
    return str(answer.json["type"]).removeprefix("urn:restauth:problem:")


def give_roles(services: Services, *roles: str) -> None:
    services.accounts.change_roles(services.accounts.find(1), roles, [])


def rename(services: Services, username: str) -> None:
    """Whatever no name of ours is, an imported one may be, or one in a table that others fill."""
    change = "UPDATE users SET username = :username WHERE id = 1"
    services.engine.write(change, {"username": username})


def test_a_proxy_is_told_who_it_is_and_what_roles_he_has_and_nothing_else(
    services: Services, miguel: webtest.TestApp
) -> None:
    give_roles(services, "viewer", "editor")
    token = token_by(miguel, PASSWORD)
    for credential in (PASSWORD, bearer(token), basic(token, ""), basic(token, "x")):
        answer = verify(miguel, credential)
        assert answer.status == "204 No Content"
        assert answer.body == b""
        assert not {"Content-Length", "Content-Type", "Location", "Allow"} & set(answer.headers)
        assert answer.headers["Remote-User"] == "miguel"
        assert answer.headers["Remote-Groups"] == "editor,viewer"


def test_who_has_no_role_has_the_empty_list_of_them(miguel: webtest.TestApp) -> None:
    """Not none: a proxy must have something to put in the place of what a client sends."""
    assert verify(miguel, PASSWORD).headers["Remote-Groups"] == ""


@pytest.mark.parametrize("method", LINTED)
def test_a_proxys_question_has_the_same_answer_whatever_the_method(
    miguel: webtest.TestApp, method: str
) -> None:
    assert verify(miguel, PASSWORD, method=method).headers["Remote-User"] == "miguel"
    verify(miguel, PASSWORD, "role=admin", method=method, status=403)
    for headers in ({}, PREFLIGHT, basic("miguel", "ruby"), bearer("a.b.c")):
        answer = verify(miguel, headers, method=method, status=401)
        assert "WWW-Authenticate" in answer.headers
        assert "Allow" not in answer.headers


@pytest.mark.parametrize("method", INVENTED)
def test_a_proxys_question_is_answered_even_for_a_method_that_nobody_knows(
    services: Services, miguel: webtest.TestApp, method: str
) -> None:
    for headers, status in (PASSWORD, 204), ({}, 401), (basic("miguel", "ruby"), 401):
        request = webtest.TestRequest.blank("/api/verify", headers=headers)
        request.environ["REQUEST_METHOD"] = method
        answer = request.get_response(App(services))
        assert (answer.status_int, "Remote-User" in answer.headers) == (status, status == 204)


def test_a_preflight_without_a_credential_is_no_yes_even_from_an_origin_that_may_call(
    make_services: ServicesFactory,
) -> None:
    client = client_of(make_services(cors_origins=PREFLIGHT["Origin"]))
    register(client, "miguel", "python")
    for path in ("/api/verify", "/api/verify?role=admin"):
        refused = client.options(path, headers=PREFLIGHT, status=401)
        assert "Access-Control-Allow-Methods" not in refused.headers
    client.options("/api/resource", headers=PREFLIGHT, status=204)
    verify(client, PREFLIGHT | PASSWORD, method="OPTIONS")


def test_the_body_of_a_proxys_question_is_not_read(
    services: Services, miguel: webtest.TestApp
) -> None:
    for changes in (
        {"CONTENT_LENGTH": "99999999999", "CONTENT_TYPE": "text/plain"},
        {"CONTENT_LENGTH": "many", "HTTP_CONTENT_ENCODING": "gzip"},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    ):
        body = io.BytesIO(b'{"role": "admin", "username": "susan"}')
        request = webtest.TestRequest.blank("/api/verify", method="POST", headers=PASSWORD)
        request.environ.update({"wsgi.input": body, **changes})
        assert request.get_response(App(services)).headers["Remote-User"] == "miguel"
        assert body.tell() == 0


@pytest.mark.parametrize(
    "query",
    [
        "",
        "&",
        "role=editor",
        "role=editor&role=viewer",
        "role=viewer&role=editor&role=viewer",
        "&role=editor&&",
        "role=%65dito%72",
        "r%6fle=editor",
        # What is not asked for with this word is not asked for.
        "next=/admin&x&=&%&debug=%ff",
        "Role=admin&ROLE=admin&roles=admin&role[]=admin&role%20=admin&user=admin",
        pytest.param("role=editor&" * 5000, id="5,000 times"),
        pytest.param("x=" + "y" * 60_000, id="60,000 characters"),
        pytest.param("%" * 60_000, id="60,000 percent signs"),
    ],
)
def test_a_proxy_is_told_yes_for_the_roles_that_the_user_has(
    services: Services, miguel: webtest.TestApp, query: str
) -> None:
    give_roles(services, "editor", "viewer")
    verify(miguel, PASSWORD, query)


@pytest.mark.parametrize(
    "query",
    [
        "role=admin",
        "role=admin&role=editor",
        "role=editor&role=admin",  # all that are asked for
        "role=editor&role=viewer&role=admin&role=editor",
        "r%6Fle=admin",
        # A role that nobody can have.
        "role",
        "role=",
        "role=editor&role",
        "role=&role=editor",
        "role=Editor",
        "role=EDITOR",
        "role=edito",
        "role=editor2",
        "role=*",
        "role=.*",
        "role=%25",
        "role=None",
        "role=[]",
        # Two in one.
        "role=editor,viewer",
        "role=editor;role=viewer",
        "role=editor;",
        "role=editor+viewer",
        "role=editor|viewer",
        # Blanks and other junk around it, or written in another way.
        "role=editor+",
        "role=%20editor",
        "role=editor%00",
        "role=editor%0d%0aRemote-Groups:%20admin",
        "role==editor",
        'role="editor"',
        "role=%2565ditor",
        "role=%",
        "role=%zz",
        "role=%ff",
        "role=%EF%BD%85ditor",  # a full-width e
        "role=editor%CC%81",
        "role=edit\xf6r",
        pytest.param("role=" + "editor" * 10_000, id="60,000 characters"),
        pytest.param("role=editor&" * 5000 + "role=admin", id="5,000 and one more"),
        pytest.param("role=" + "%" * 60_000, id="60,000 percent signs"),
    ],
)
def test_a_proxy_is_told_no_where_one_role_is_missing(
    services: Services, miguel: webtest.TestApp, query: str
) -> None:
    give_roles(services, "editor", "viewer")
    for headers, status in (PASSWORD, 403), ({}, 401), (basic("miguel", "ruby"), 401):
        request = webtest.TestRequest.blank("/api/verify", headers=headers)
        request.environ["QUERY_STRING"] = query  # as it is: a client would encode some of them
        answer = request.get_response(App(services))
        assert (answer.status_int, reason(answer)) == (
            status,
            "role_required" if status == 403 else "bad_credentials",
        )
        assert "Remote-User" not in answer.headers


def test_a_proxys_question_is_read_from_its_own_query_alone(
    services: Services, miguel: webtest.TestApp
) -> None:
    """Not from what the client had asked for, which the proxy tells too."""
    original = {
        "X-Original-URI": "/?role=editor",
        "X-Original-URL": "http://localhost/?role=editor",
        "X-Original-Method": "OPTIONS",
        "X-Forwarded-Uri": "/?role=editor",
        "X-Forwarded-Method": "OPTIONS",
        "X-HTTP-Method-Override": "OPTIONS",
        "Cookie": "role=editor",
        "Remote-Groups": "editor",
    }
    verify(miguel, original, status=401)
    verify(miguel, original | PASSWORD)
    verify(miguel, original | PASSWORD, "role=editor", status=403)


def test_the_roles_are_those_of_this_moment(services: Services, miguel: webtest.TestApp) -> None:
    """Whatever the token was issued for, and while the password is remembered."""
    token = token_by(miguel, PASSWORD)
    for credential in (PASSWORD, bearer(token)):
        verify(miguel, credential, "role=editor", status=403)
        give_roles(services, "editor")
        assert verify(miguel, credential, "role=editor").headers["Remote-Groups"] == "editor"
        services.accounts.change_roles(services.accounts.find(1), [], ["editor"])
        verify(miguel, credential, "role=editor", status=403)
        assert verify(miguel, credential).headers["Remote-Groups"] == ""


def test_a_proxy_is_told_no_as_soon_as_a_session_or_an_account_has_ended(
    services: Services, miguel: webtest.TestApp, clock: Clock
) -> None:
    ended, expired = (bearer(token_by(miguel, PASSWORD)) for _ in range(2))
    miguel.delete("/api/token", headers=ended, status=204)
    verify(miguel, ended, status=401)
    clock.advance(TOKEN_DURATION)
    verify(miguel, expired, status=401)
    live = bearer(token_by(miguel, PASSWORD))
    services.accounts.lock(services.accounts.find(1))
    for credential in (live, PASSWORD):
        verify(miguel, credential, status=401)
        verify(miguel, credential, "role=editor", status=401)
    services.accounts.unlock(services.accounts.find(1))
    verify(miguel, PASSWORD)
    verify(miguel, live, status=401)


def test_a_proxy_is_not_let_in_by_what_a_client_says_it_is(miguel: webtest.TestApp) -> None:
    spoofed = {
        "Remote-User": "admin",
        "Remote-Groups": "admin",
        "X-Remote-User": "admin",
        "X-Forwarded-User": "admin",
    }
    verify(miguel, spoofed, status=401)
    verify(miguel, spoofed | PASSWORD, "role=admin", status=403)
    answer = verify(miguel, spoofed | PASSWORD)
    assert "admin" not in str(answer.headerlist)


def test_a_proxy_may_ask_by_password_as_often_as_it_likes_at_the_cost_of_one_hash(
    miguel: webtest.TestApp, work: list[int]
) -> None:
    for number in range(50):
        verify(miguel, PASSWORD, method=LINTED[number % len(LINTED)])
    assert len(work) == 1


def test_a_password_that_is_shut_is_a_no_to_a_proxy_and_live_tokens_are_served(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(free_failures=1)
    services.accounts.register("miguel", "python")
    client = client_of(services)
    token = token_by(client, PASSWORD)
    for _ in range(2):
        verify(client, basic("miguel", "ruby"), status=401)
    for query in ("", "role=admin"):  # nor by the memory of the right password
        assert reason(verify(client, PASSWORD, query, status=403)) == "barred"
    verify(client, bearer(token))
    assert reason(verify(client, bearer(token), "role=admin", status=403)) == "role_required"
    clock.advance(1)
    verify(client, PASSWORD)


def test_a_peer_with_too_many_failures_is_told_no_through_a_proxy_too(
    make_services: ServicesFactory,
) -> None:
    services = make_services(peer_failures=2)
    services.accounts.register("miguel", "python")
    peer = client_of(services, REMOTE_ADDR="9.9.9.9")
    for name in ("ann", "bob"):
        verify(peer, basic(name, "ruby"), status=401)
    for credential in (PASSWORD, basic("susan", "ruby")):
        assert reason(verify(peer, credential, status=403)) == "barred"
    verify(client_of(services, REMOTE_ADDR="8.8.8.8"), PASSWORD)


def test_a_proxy_is_told_of_a_trouble_of_ours_and_neither_yes_nor_no(
    one_slot: Services, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(one_slot)
    with slot_taken(one_slot, monkeypatch, "miguel", "python"):
        busy = verify(client, basic("miguel", "ruby"), status=503)
        verify(client, bearer(token))
    assert (reason(busy), busy.headers["Retry-After"]) == ("busy", "1")
    take_the_store_away(one_slot)
    for credential in (PASSWORD, bearer(token)):
        assert reason(verify(client, credential, status=503)) == "store_unavailable"
    verify(client, {}, status=401)


def test_a_proxys_question_over_plain_http_is_refused_where_https_is_required(
    make_services: ServicesFactory,
) -> None:
    services = make_services(require_https=True)
    services.accounts.register("miguel", "python")
    for headers in ({}, PASSWORD, bearer("a.b.c")):
        for method in ("GET", "OPTIONS"):
            claim = {"X-Forwarded-Proto": "https"}
            refused = verify(client_of(services), headers | claim, method=method, status=403)
            assert "WWW-Authenticate" not in refused.headers
    over_https = client_of(services, **{"wsgi.url_scheme": "https"})
    over_https.get("/api/verify", headers=PASSWORD, status=204)


@pytest.mark.parametrize(
    ("username", "header"),
    [
        ("miguel", "miguel"),
        ("Miguel@example.org", "Miguel@example.org"),
        ("ACME\\miguel", "ACME\\miguel"),
        ('"a,b";q=1', '"a,b";q=1'),
        ("ren\u00e9", "ren%C3%A9"),
        ("ren%C3%A9", "ren%25C3%25A9"),
        ("ren\xc3\xa9", "ren%C3%83%C2%A9"),
        ("rene\u0301", "rene%CC%81"),
        ("%", "%25"),
        ("%25", "%2525"),
        ("a+b", "a+b"),
        ("a b", "a%20b"),
        (" a\t", "%20a%09"),
        ("a\xa0", "a%C2%A0"),
        ("a\0\x1f\x7f\x80", "a%00%1F%7F%C2%80"),
        ("a\r\nRemote-Groups: admin", "a%0D%0ARemote-Groups:%20admin"),
        ("\U0001f40e\u2028\uffff", "%F0%9F%90%8E%E2%80%A8%EF%BF%BF"),
        ("\u202eleugim", "%E2%80%AEleugim"),
    ],
)
def test_a_name_stands_in_a_header_in_ascii_that_can_be_seen(
    services: Services, miguel: webtest.TestApp, username: str, header: str
) -> None:
    token = token_by(miguel, PASSWORD)
    rename(services, username)
    assert verify(miguel, bearer(token)).headers["Remote-User"] == header


def test_a_name_that_is_not_ascii_is_told_to_a_proxy_by_password_too(
    make_services: ServicesFactory,
) -> None:
    client = client_of(make_services(username_pattern=".+"))
    register(client, "Ren\u00e9e 100% \u2713", "python")
    for spelling in ("Ren\u00e9e 100% \u2713", "REN\u00c9E 100% \u2713"):  # as it was registered
        answer = verify(client, basic(spelling, "python"))
        assert answer.headers["Remote-User"] == "Ren%C3%A9e%20100%25%20%E2%9C%93"


@hypothesis.settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    username=st.text(st.characters(codec="utf-8"), min_size=1)
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


# GET /.well-known/jwks.json


def test_no_key_is_shown_where_verifying_needs_the_secret(
    services: Services, client: webtest.TestApp
) -> None:
    services.keys.rotate(revoke=False)
    answer = client.get("/.well-known/jwks.json", status=200)
    assert answer.body == b'{"keys": []}\n'
    assert answer.content_type == "application/json"


# GET /api/health


def test_health_is_ok_when_the_store_answers(client: webtest.TestApp) -> None:
    answer = client.get("/api/health", status=200)
    assert answer.body == b'{"status": "ok"}\n'
    assert answer.content_type == "application/json"


def test_health_is_503_when_the_store_does_not(services: Services) -> None:
    client = client_of(services)
    take_the_store_away(services)
    assert client.get("/api/health", status=503).json["title"] == "Store unavailable"
