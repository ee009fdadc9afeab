"""Refusals of the server: the answers of the app, to requests that it has not seen."""

import json
import logging
import re

import pytest

from restauth.settings import load
from restauth.web.http import ALWAYS
from restauth.web.server_refusals import refuse

PAGE = "https://app.example.org"
SETTINGS = load({"RESTAUTH_CORS_ORIGINS": PAGE})


@pytest.mark.parametrize(
    ("status", "line", "code"),
    [
        (400, "400 Bad Request", "malformed_request"),
        (413, "413 Request Entity Too Large", "body_too_large"),
        (431, "431 Request Header Fields Too Large", "header_too_large"),
        (501, "501 Not Implemented", "unsupported_transfer_coding"),
    ],
)
def test_a_refusal_is_a_problem_document_with_the_headers_of_every_response(
    status: int, line: str, code: str
) -> None:
    shown, headers, body = refuse(SETTINGS, status, {})
    document = json.loads(body)
    assert shown == line
    assert (document["status"], document["type"]) == (status, f"urn:restauth:problem:{code}")
    assert dict(headers) == {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Vary": "Origin",
        **dict(ALWAYS),
    }


@pytest.mark.parametrize("status", [400, 413, 431, 500, 501])
def test_a_page_of_a_listed_origin_reads_a_refusal_and_another_does_not(status: int) -> None:
    def origin(page: str) -> str | None:
        headers = dict(refuse(SETTINGS, status, {"ORIGIN": page})[1])
        return headers.get("Access-Control-Allow-Origin")

    assert (origin(PAGE), origin("https://evil.example.org")) == (PAGE, None)


def test_an_exception_of_the_app_is_an_incident_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, _, body = refuse(SETTINGS, 500, {})
    incident = re.fullmatch("Incident ([0-9a-f]{16})[.]", json.loads(body)["detail"])
    assert incident
    ((_, level, line),) = caplog.record_tuples
    assert level == logging.ERROR
    assert incident[1] in line
