"""Challenges: a client is asked for what it can present, and a script for no password."""

import pytest

from restauth.web import challenges

BASIC = 'Basic realm="here", charset="UTF-8"'
BEARER = 'Bearer realm="here"'
WRONG_TOKEN = 'Bearer realm="here", error="invalid_token"'
CORS = {"HTTP_SEC_FETCH_MODE": "cors"}
XHR = {"HTTP_X_REQUESTED_WITH": "XMLHttpRequest"}


@pytest.mark.parametrize(
    ("scheme", "environ", "texts"),
    [
        ("", {}, [BASIC, BEARER]),
        ("basic", {}, [BASIC, BEARER]),
        ("digest", {}, [BASIC, BEARER]),
        ("bearer", {}, [WRONG_TOKEN]),
        # What a page fetches must not open the browser's password window ...
        ("", CORS, [BEARER]),
        ("", {"HTTP_SEC_FETCH_MODE": "same-origin"}, [BEARER]),
        ("", XHR, [BEARER]),
        ("basic", CORS, [BEARER]),
        ("bearer", XHR, [WRONG_TOKEN]),
        # ... and what a user opens may.
        ("", {"HTTP_SEC_FETCH_MODE": "navigate"}, [BASIC, BEARER]),
        ("", {"HTTP_X_REQUESTED_WITH": "com.example.app"}, [BASIC, BEARER]),
    ],
)
def test_each_challenge_has_a_line_of_its_own_basic_first(
    scheme: str, environ: dict[str, str], texts: list[str]
) -> None:
    expected = [("WWW-Authenticate", text) for text in texts]
    assert challenges.build(scheme, environ, "here") == expected
