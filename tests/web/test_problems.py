"""Problems: every failure has its status, its headers, and never a word too many."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import webtest

from restauth import errors
from restauth.services import Services
from restauth.web.http import Response
from restauth.web.problems import STATUSES, internal_error, refuse
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of

PASSWORD = basic("miguel", "python")
BASIC_CHALLENGE = 'Basic realm="Authentication Required", charset="UTF-8"'
BEARER_CHALLENGE = 'Bearer realm="Authentication Required"'


@pytest.fixture
def miguel(services: Services) -> webtest.TestApp:
    """The client, in a world where miguel has registered."""
    services.accounts.register("miguel", "python")
    return client_of(services)


def problem(body: bytes) -> dict[str, object]:
    """A problem document, once it is seen to have the four members and the form of all bodies."""
    document: dict[str, object] = json.loads(body)
    assert document.keys() == {"type", "title", "status", "detail"}
    assert body == json.dumps(document, sort_keys=True).encode() + b"\n"
    return document


# The table


def concrete(failure: type[errors.Refusal]) -> Iterator[type[errors.Refusal]]:
    """The refusals below one that have a code, and so can be raised."""
    if hasattr(failure, "code"):
        yield failure
    for subclass in failure.__subclasses__():
        yield from concrete(subclass)


REFUSALS = sorted(set(concrete(errors.Refusal)), key=lambda refusal: refusal.code)


def build(refusal: type[errors.Refusal]) -> errors.Refusal:
    more: dict[type[errors.Refusal], Any] = {
        errors.MethodNotAllowed: ("GET",),
        errors.Throttled: 7,
    }
    return refusal(more[refusal]) if refusal in more else refusal()


def test_every_refusal_has_a_row_and_every_row_a_refusal() -> None:
    assert set(STATUSES) == set(REFUSALS)


def test_every_problem_has_a_name_of_its_own() -> None:
    assert len({refusal.code for refusal in REFUSALS}) == len(REFUSALS)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", refusal.code) for refusal in REFUSALS)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_a_refusal_becomes_a_problem_document(refusal: type[errors.Refusal]) -> None:
    status, title = STATUSES[refusal]
    response = refuse(build(refusal), {}, "here")
    assert response.status == status
    assert ("Content-Type", "application/problem+json") in response.headers
    assert problem(response.body) == {
        "type": f"urn:restauth:problem:{refusal.code}",
        "title": title,
        "status": status,
        "detail": refusal.detail,
    }


HEADERS_OF = {  # RFC 9110 sections 15.5.2, 15.5.6, 15.5.16 and 15.6.4; RFC 6585 section 4
    401: ["WWW-Authenticate", "WWW-Authenticate"],
    405: ["Allow"],
    415: ["Accept"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_a_status_has_the_headers_that_it_asks_for_and_no_others(
    refusal: type[errors.Refusal],
) -> None:
    response = refuse(build(refusal), {}, "here")
    names = [name for name, _ in response.headers]
    assert names == ["Content-Type", *HEADERS_OF.get(response.status, [])]


@pytest.mark.parametrize(
    ("refusal", "header"),
    [
        (errors.MethodNotAllowed(("GET", "HEAD")), ("Allow", "GET, HEAD")),
        (errors.UnsupportedMediaType(), ("Accept", "application/json")),
        (errors.Throttled(7), ("Retry-After", "7")),
        (errors.Busy(), ("Retry-After", "1")),
        (errors.StoreUnavailable("disk full"), ("Retry-After", "2")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_header_says_what_would_be_right(
    refusal: errors.Refusal, header: tuple[str, str]
) -> None:
    assert header in refuse(refusal, {}, "here").headers


def test_what_a_refusal_says_is_told_and_its_cause_is_not() -> None:
    told = refuse(errors.MalformedRequest('"username" must be a string.'), {}, "here")
    assert problem(told.body)["detail"] == '"username" must be a string.'
    kept = refuse(errors.StoreUnavailable("/var/lib/restauth.db: disk full"), {}, "here")
    assert b"disk" not in kept.body


def test_a_bug_tells_its_incident_and_nothing_else() -> None:
    assert internal_error("1f") == Response(
        500,
        b'{"detail": "Incident 1f.", "status": 500, "title": "Internal error", '
        b'"type": "urn:restauth:problem:internal_error"}\n',
        (("Content-Type", "application/problem+json"),),
    )


# Each of them, provoked


def credentials(username: str, password: str) -> dict[str, bytes]:
    return {"body": json.dumps({"username": username, "password": password}).encode()}


@pytest.mark.parametrize(
    ("code", "status", "route", "keywords"),
    [
        ("malformed_request", 400, "POST /api/users", {"body": b"{"}),
        ("unacceptable_username", 400, "POST /api/users", credentials("", "x")),
        ("unacceptable_password", 400, "POST /api/users", credentials("ann", "")),
        ("username_taken", 400, "POST /api/users", credentials("Miguel", "x")),
        ("unknown_user", 400, "GET /api/users/2", {}),
        ("no_session", 400, "DELETE /api/token", {"headers": PASSWORD}),
        (
            "unusable_code",
            400,
            "POST /api/password-resets",
            {"body": b'{"code":"","password":"x"}'},
        ),
        ("bad_credentials", 401, "GET /api/resource", {}),
        ("bad_credentials", 401, "POST /api/token", {"body": b'{"refresh_token": ""}'}),
        ("role_required", 403, "GET /api/verify?role=admin", {"headers": PASSWORD}),
        ("not_found", 404, "GET /api/nothing", {}),
        ("method_not_allowed", 405, "PUT /api/users", {}),
        ("length_required", 411, "POST /api/users", {"headers": {"Transfer-Encoding": "chunked"}}),
        ("body_too_large", 413, "POST /api/users", {"body": b" " * 65_537}),
        (
            "unsupported_media_type",
            415,
            "POST /api/users",
            {"headers": {"Content-Encoding": "gzip"}},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_is_refused_by_name(
    miguel: webtest.TestApp, code: str, status: int, route: str, keywords: dict[str, Any]
) -> None:
    method, path = route.split()
    json_type = "application/json"
    answer = miguel.request(path, method=method, content_type=json_type, status=status, **keywords)
    assert answer.content_type == "application/problem+json"
    assert problem(answer.body)["type"] == f"urn:restauth:problem:{code}"
    assert problem(answer.body)["status"] == status


def test_when_all_hash_slots_are_taken_a_login_is_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
    make_services: ServicesFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("restauth.services.HASH_SLOTS", 2)
    monkeypatch.setattr("restauth.services.HASH_QUEUE", 0)
    crowded = make_services()
    crowded.accounts.register("miguel", "python")
    client = client_of(crowded)
    token = client.get("/api/token", headers=PASSWORD).json["token"]
    slots = crowded.accounts._slots
    with slots.slot(), slots.slot():
        answer = client.get("/api/resource", headers=basic("miguel", "ruby"), status=503)
        client.get("/api/resource", headers=bearer(token), status=200)
    assert answer.headers["Retry-After"] == "1"
    assert problem(answer.body)["type"] == "urn:restauth:problem:busy"
    assert not caplog.records  # or a flood would fill the disk


# 401: one answer for every cause


def unauthorized(client: webtest.TestApp, headers: dict[str, str]) -> tuple[object, ...]:
    """All that a client sees of a 401."""
    answer = client.get("/api/resource", headers=headers, status=401)
    return answer.status, answer.headerlist, answer.body


def test_the_words_of_a_401_are_those_of_old(client: webtest.TestApp) -> None:
    status, _, body = unauthorized(client, {})
    assert status == "401 Unauthorized"
    assert body == (
        b'{"detail": "Unauthorized Access", "status": 401, "title": "Unauthorized", '
        b'"type": "urn:restauth:problem:bad_credentials"}\n'
    )


def test_enumerating_users_by_the_answer_is_refused(
    services: Services, miguel: webtest.TestApp
) -> None:
    services.accounts.register("locked", "python")
    services.accounts.lock(services.accounts.find_by_name("locked"))
    wrong_password = unauthorized(miguel, basic("miguel", "ruby"))
    for username, password in (
        ("nobody", "python"),
        ("locked", "python"),
        ("locked", "ruby"),
        ("miguel", ""),
        ("nobody", "x" * 2000),
        ("miguel", "x" * 2000),
        ("a.b.c" * 20, ""),
    ):
        assert unauthorized(miguel, basic(username, password)) == wrong_password
    assert unauthorized(miguel, {}) == wrong_password


def test_a_dead_token_is_refused_as_a_forged_one(miguel: webtest.TestApp) -> None:
    token = miguel.get("/api/token", headers=PASSWORD).json["token"]
    miguel.delete("/api/token", headers=bearer(token))
    assert unauthorized(miguel, bearer(token)) == unauthorized(miguel, bearer("a.b.c"))
    assert unauthorized(miguel, basic(token, "")) == unauthorized(miguel, basic(f"{token}x", ""))


def test_a_token_where_the_password_is_due_is_told_so(miguel: webtest.TestApp) -> None:
    token = miguel.get("/api/token", headers=PASSWORD).json["token"]
    answer = miguel.delete("/api/users/me", headers=bearer(token), status=403)
    assert problem(answer.body) == {
        "type": "urn:restauth:problem:password_required",
        "title": "Password required",
        "status": 403,
        "detail": "A token is not enough here: present the password itself.",
    }
    assert "WWW-Authenticate" not in answer.headers  # who it is was not in doubt


# 429: one answer for every name


def refused(client: webtest.TestApp, username: str, password: str = "ruby") -> tuple[object, ...]:
    """All that a client sees of a login that is refused."""
    answer = client.get("/api/resource", headers=basic(username, password), status=(401, 429))
    return answer.status, answer.headerlist, answer.body


@pytest.mark.parametrize(
    ("limits", "tries", "seconds"),
    [({"free_failures": 2}, 3, 1), ({"free_failures": 2}, 5, 1), ({"max_failures": 3}, 3, 900)],
    ids=["first wait", "later wait", "shut"],
)
def test_enumerating_users_by_the_throttle_is_refused(
    make_services: ServicesFactory, clock: Clock, limits: dict[str, int], tries: int, seconds: int
) -> None:
    services = make_services(**limits)
    client = client_of(services)
    for name in ("miguel", "locked"):
        services.accounts.register(name, "python")
    services.accounts.lock(services.accounts.find_by_name("locked"))
    seen = []
    for name in ("miguel", "nobody", "locked"):
        answers = [refused(client, name) for _ in range(tries + 1)]
        answers.append(refused(client, name, "python"))  # nor does it tell the right password
        seen.append(answers)
    assert seen[0] == seen[1] == seen[2]
    throttled = client.get("/api/token", headers=basic("miguel", "python"), status=429)
    assert throttled.headers["Retry-After"] == str(seconds)
    assert throttled.body == (
        b'{"detail": "Too many failed attempts.", "status": 429, "title": "Too many requests", '
        b'"type": "urn:restauth:problem:throttled"}\n'
    )


def test_a_proxy_that_asks_is_told_403_in_place_of_429(make_services: ServicesFactory) -> None:
    """And as little as anybody: one answer for a name that is nobody's and for one that is shut."""
    services = make_services(max_failures=2)
    services.accounts.register("miguel", "python")
    client = client_of(services)
    for name in ("miguel", "nobody"):
        for _ in range(2):
            client.get("/api/verify", headers=basic(name, "ruby"), status=401)
        barred = client.get("/api/verify", headers=basic(name, "python"), status=403)
        assert barred.body == (
            b'{"detail": "Too many failed attempts.", "status": 403, "title": "Barred", '
            b'"type": "urn:restauth:problem:barred"}\n'
        )
        assert not {"Retry-After", "WWW-Authenticate"} & set(barred.headers)
        client.get("/api/resource", headers=basic(name, "python"), status=429)


def test_whoever_waits_as_long_as_told_is_let_in(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(free_failures=1)
    services.accounts.register("miguel", "python")
    client = client_of(services)

    def retry_after() -> int:
        return int(client.get("/api/resource", headers=PASSWORD, status=429).headers["Retry-After"])

    assert refused(client, "miguel")[0] == "401 Unauthorized"  # the free one
    for seconds in (1, 2, 4, 8):
        assert refused(client, "miguel")[0] == "401 Unauthorized"
        assert retry_after() == seconds
        clock.advance(seconds - 1)
        assert retry_after() == 1
        clock.advance(1)
    for _ in range(2):  # a success begins the count anew
        client.get("/api/resource", headers=PASSWORD, status=200)
        assert refused(client, "miguel")[0] == "401 Unauthorized"


# Challenges


@pytest.mark.parametrize(
    ("headers", "challenges"),
    [
        ({}, [BASIC_CHALLENGE, BEARER_CHALLENGE]),
        ({"Authorization": ""}, [BASIC_CHALLENGE, BEARER_CHALLENGE]),
        ({"Authorization": "Basic x"}, [BASIC_CHALLENGE, BEARER_CHALLENGE]),
        ({"Authorization": "Digest x"}, [BASIC_CHALLENGE, BEARER_CHALLENGE]),
        ({"Authorization": "Bearer x"}, [f'{BEARER_CHALLENGE}, error="invalid_token"']),
        ({"Authorization": "bEARER"}, [f'{BEARER_CHALLENGE}, error="invalid_token"']),
        # What a page fetches must not open the browser's password window ...
        ({"Sec-Fetch-Mode": "cors"}, [BEARER_CHALLENGE]),
        ({"Sec-Fetch-Mode": "same-origin"}, [BEARER_CHALLENGE]),
        ({"X-Requested-With": "XMLHttpRequest"}, [BEARER_CHALLENGE]),
        ({"Sec-Fetch-Mode": "cors", "Authorization": "Basic x"}, [BEARER_CHALLENGE]),
        (
            {"Sec-Fetch-Mode": "cors", "Authorization": "Bearer x"},
            [f'{BEARER_CHALLENGE}, error="invalid_token"'],
        ),
        # ... and what somebody opens may.
        ({"Sec-Fetch-Mode": "navigate"}, [BASIC_CHALLENGE, BEARER_CHALLENGE]),
        ({"X-Requested-With": "com.example.app"}, [BASIC_CHALLENGE, BEARER_CHALLENGE]),
    ],
    ids=str,
)
def test_each_challenge_has_a_line_of_its_own_basic_first(
    client: webtest.TestApp, headers: dict[str, str], challenges: list[str]
) -> None:
    answer = client.get("/api/resource", headers=headers, status=401)
    assert answer.headers.getall("WWW-Authenticate") == challenges


def test_the_realm_is_the_operators(make_services: ServicesFactory) -> None:
    answer = client_of(make_services(realm="Kitchen, 1st floor")).get("/api/resource", status=401)
    assert answer.headers.getall("WWW-Authenticate") == [
        'Basic realm="Kitchen, 1st floor", charset="UTF-8"',
        'Bearer realm="Kitchen, 1st floor"',
    ]
