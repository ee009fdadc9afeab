"""Problem documents: each refusal has its status and its headers, and says no more than it may."""

import json
import logging
import re
import time
from typing import Any

import pytest

from restauth import errors
from restauth.services import Services
from restauth.web import challenges
from restauth.web.http import Response
from restauth.web.problems import (
    INTERNAL_ERROR,
    STATUSES,
    THROTTLED_FOR_PROXIES,
    internal_error,
    refuse,
    throttled_for_proxies,
)
from tests.conftest import ServicesFactory, basic, bearer, client_of
from tests.web.conftest import ANONYMOUS, PASSWORD, call

REFUSALS = sorted(STATUSES, key=lambda refusal: refusal.code)
each_refusal = pytest.mark.parametrize("kind", REFUSALS, ids=lambda refusal: refusal.code)
HEADERS_OF = {  # RFC 9110 sections 15.5.2, 15.5.6, 15.5.16 and 15.6.4; RFC 6585 section 4
    401: challenges.build("basic", {}, "here"),
    405: [("Allow", "GET, HEAD")],
    415: [("Accept", "application/json")],
    429: [("Retry-After", "7")],
}


def make(kind: type[errors.Refusal]) -> errors.Refusal:
    needs: dict[type[errors.Refusal], Any] = {
        errors.MethodNotAllowed: ("GET", "HEAD"),
        errors.Throttled: 7,
    }
    return kind(needs[kind]) if kind in needs else kind()


def document(body: bytes) -> dict[str, Any]:
    """A problem document, after a check that it has the form of all JSON bodies."""
    found: dict[str, Any] = json.loads(body)
    assert body == json.dumps(found, sort_keys=True).encode() + b"\n"
    return found


@each_refusal
def test_a_refusal_becomes_a_problem_document(kind: type[errors.Refusal]) -> None:
    status, title = STATUSES[kind]
    response = refuse(make(kind), {}, "basic", "here")
    assert response.status == status
    assert document(response.body) == {
        "type": f"urn:restauth:problem:{kind.code}",
        "title": title,
        "status": status,
        "detail": kind.detail,
    }
    headers = HEADERS_OF.get(status, [])
    if issubclass(kind, errors.Unavailable):
        headers = [("Retry-After", str(kind.retry_after))]
    assert list(response.headers) == [("Content-Type", "application/problem+json"), *headers]


def test_a_coded_body_and_another_media_type_are_told_apart_by_a_header() -> None:
    response = refuse(errors.UnsupportedMediaType(is_coded=True), {}, "basic", "here")
    assert response.headers[1:] == (("Accept-Encoding", "identity"),)


def test_every_problem_has_a_code_of_its_own() -> None:
    codes = [*(kind.code for kind in REFUSALS), INTERNAL_ERROR, THROTTLED_FOR_PROXIES[2]]
    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []


def test_the_challenges_follow_the_request() -> None:
    environ = {"HTTP_SEC_FETCH_MODE": "cors"}
    for scheme in ("", "bearer"):
        headers = refuse(errors.BadCredentials(), environ, scheme, "here").headers
        assert list(headers[1:]) == challenges.build(scheme, environ, "here")


@each_refusal
def test_a_403_says_to_a_token_that_it_is_not_enough(kind: type[errors.Refusal]) -> None:
    """And nothing where another credential would not help, or must not be sent."""
    if kind is errors.BadCredentials:
        return
    is_about_the_token = kind in (
        errors.LoginRequired,
        errors.PasswordRequired,
        errors.RoleRequired,
    )
    expected = challenges.build_insufficient("bearer", "here") if is_about_the_token else []
    for scheme, challenge in (("bearer", expected), ("basic", []), ("", [])):
        headers = refuse(make(kind), {}, scheme, "here").headers
        assert [header for header in headers if header[0] == "WWW-Authenticate"] == challenge


def test_the_detail_of_a_refusal_is_for_the_client_and_its_cause_for_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown = refuse(errors.MalformedRequest('"username" must be a string.'), {}, "", "here")
    assert document(shown.body)["detail"] == '"username" must be a string.'
    hidden = refuse(errors.StoreUnavailable("/var/lib/a.db: disk full"), {}, "", "here")
    assert b"disk" not in hidden.body
    refuse(errors.Busy(), {}, "", "here")  # a flood of these would fill the disk
    assert caplog.record_tuples == [
        ("restauth", logging.WARNING, "store_unavailable: /var/lib/a.db: disk full")
    ]


def test_a_cause_that_each_request_has_does_not_fill_the_disk(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([60.5] * 1001 + [120.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    for _ in range(1000):
        refuse(errors.StoreUnavailable("the disk of a.db is full"), {}, "", "here")
    refuse(errors.StoreUnavailable("another cause"), {}, "", "here")
    refuse(errors.StoreUnavailable("the disk of a.db is full"), {}, "", "here")
    full = "store_unavailable: the disk of a.db is full"
    assert caplog.messages == [
        *[full] * 20,
        *(f"{full} ({count} times within a minute)" for count in (32, 64, 128, 256, 512)),
        *("store_unavailable: another cause", full),
    ]


def test_a_bug_shows_its_incident_and_nothing_else() -> None:
    assert internal_error("1f") == Response(
        500,
        b'{"detail": "Incident 1f.", "status": 500, "title": "Internal error", '
        b'"type": "urn:restauth:problem:internal_error"}\n',
        (("Content-Type", "application/problem+json"),),
        problem="internal_error",
    )


def test_a_throttled_request_of_a_proxy_is_403() -> None:
    """nginx treats every status but 401 and 403 as an error."""
    assert throttled_for_proxies() == Response(
        403,
        b'{"detail": "Too many failed attempts.", "status": 403, "title": "Barred", '
        b'"type": "urn:restauth:problem:barred"}\n',
        (("Content-Type", "application/problem+json"),),
        problem="barred",
    )


# Through the app


def test_every_cause_of_a_401_has_one_answer(services: Services) -> None:
    """In the words of REST-auth."""
    services.accounts.register("miguel", "python")
    client = client_of(services)
    dead = client.get("/api/token", headers=PASSWORD).json["token"]
    client.delete("/api/token", headers=bearer(dead))
    for group in (
        (basic("miguel", "ruby"), basic("susan", "python"), basic("a.b.c" * 20, ""), ANONYMOUS,
         basic("miguel", "x" * 2000), basic(dead, ""), {"Authorization": "Basic !"}),
        (bearer("a.b.c"), bearer(dead), bearer(f"{dead}x"), {"Authorization": "Bearer"}),
    ):  # fmt: skip
        answers = [client.get("/api/resource", headers=headers, status=401) for headers in group]
        assert len({(str(answer.headerlist), answer.body) for answer in answers}) == 1
        assert answers[0].body == (
            b'{"detail": "Unauthorized Access", "status": 401, "title": "Unauthorized", '
            b'"type": "urn:restauth:problem:bad_credentials"}\n'
        )


def test_the_realm_is_the_operators(make_services: ServicesFactory) -> None:
    answer = call(make_services(realm="Kitchen, 1st floor"), "/api/resource")
    assert answer.headers.getall("WWW-Authenticate") == [
        'Basic realm="Kitchen, 1st floor", charset="UTF-8"',
        'Bearer realm="Kitchen, 1st floor"',
    ]
