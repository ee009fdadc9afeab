"""What each route answers, byte for byte: to who keeps to the rules and to who does not."""

from typing import Any

import pytest
import webtest

from restauth.core.passwords import MAX_LENGTH
from restauth.records import MAX_ID
from restauth.services import Services
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of

PASSWORD = basic("miguel", "python")
TOKEN_DURATION = 600


@pytest.fixture
def miguel(client: webtest.TestApp) -> webtest.TestApp:
    """The client, in a world where miguel has registered."""
    register(client, "miguel", "python")
    return client


def register(client: webtest.TestApp, username: Any, password: Any, status: int = 201) -> Any:
    body = {"username": username, "password": password}
    return client.post_json("/api/users", body, status=status)


def token_by(client: webtest.TestApp, headers: dict[str, str]) -> str:
    return str(client.get("/api/token", headers=headers, status=200).json["token"])


def count_sessions(services: Services) -> int:
    return int(services.engine.execute("SELECT count(*) FROM sessions", {})[0][0])


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
    services.engine.execute(
        "UPDATE users SET username = :name, canonical_username = :name", {"name": name}
    )
    client.get("/api/resource", headers=basic(name, "python"), status=401)


# GET /api/health


def test_health_is_ok_when_the_store_answers(client: webtest.TestApp) -> None:
    answer = client.get("/api/health", status=200)
    assert answer.body == b'{"status": "ok"}\n'
    assert answer.content_type == "application/json"


def test_health_is_503_when_the_store_does_not(services: Services) -> None:
    client = client_of(services)
    services.engine.close()
    services.engine.path.unlink()
    services.engine.path.mkdir()
    assert client.get("/api/health", status=503).json["title"] == "Store unavailable"
