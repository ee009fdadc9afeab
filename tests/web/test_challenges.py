"""Challenges: a client is asked for what it can present, and a script for no password."""

import pytest

from restauth.web import challenges

BASIC = 'Basic realm="here", charset="UTF-8"'
BEARER = 'Bearer realm="here"'
WRONG_TOKEN = 'Bearer realm="here", error="invalid_token"'
NOT_ENOUGH = 'Bearer realm="here", error="insufficient_scope"'
CORS = {"HTTP_SEC_FETCH_MODE": "cors"}


def fetched(site: str, mode: str, destination: str) -> dict[str, str]:
    """What browsers say of a request (W3C Fetch Metadata)."""
    return {
        "HTTP_SEC_FETCH_SITE": site,
        "HTTP_SEC_FETCH_MODE": mode,
        "HTTP_SEC_FETCH_DEST": destination,
    }


IMAGE, FONT = ("no-cors", "image"), ("cors", "font")
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
        *(
            ("", fetched("same-origin", mode, destination), [BEARER])
            for mode, destination in [
                *(("cors", "empty"), ("same-origin", "empty"), ("no-cors", "empty")),
                *(("websocket", "websocket"), ("no-cors", "report"), ("cors", ""), ("cors", "new")),
            ]
        ),
        ("basic", fetched("same-origin", "cors", "empty"), [BEARER]),
        # ... nor what a page of another site shows, be it the next of kin ...
        *(
            ("", fetched(site, *part), [BEARER])
            for site in ("cross-site", "same-site", "none", "", "new")
            for part in (IMAGE, FONT)
        ),
        ("", {"HTTP_SEC_FETCH_MODE": "no-cors"}, [BEARER]),  # a proxy passes on no more than that
        ("", {"HTTP_SEC_FETCH_MODE": "no-cors", "HTTP_SEC_FETCH_DEST": "image"}, [BEARER]),
        ("", {**fetched("same-origin", *IMAGE), **XHR}, [BEARER]),
        # ... and what a user opens may, and the parts of a page of ours.
        *(
            (scheme, fetched("same-origin", mode, destination), [BASIC, BEARER])
            for scheme in ("", "basic")
            for mode, destination in [
                *(IMAGE, FONT, ("no-cors", "script"), ("cors", "script"), ("no-cors", "style")),
                *(("no-cors", "video"), ("cors", "manifest"), ("same-origin", "worker")),
            ]
        ),
        ("bearer", fetched("same-origin", *IMAGE), [WRONG_TOKEN]),
        ("", fetched("cross-site", "navigate", "document"), [BASIC, BEARER]),
        ("", fetched("same-origin", "navigate", "iframe"), [BASIC, BEARER]),
        ("", {"HTTP_SEC_FETCH_MODE": "navigate"}, [BASIC, BEARER]),
        ("", {"HTTP_X_REQUESTED_WITH": "com.example.app"}, [BASIC, BEARER]),
    ],
)
def test_each_challenge_has_a_line_of_its_own_basic_first(
    scheme: str, environ: dict[str, str], texts: list[str]
) -> None:
    expected = [("WWW-Authenticate", text) for text in texts]
    assert challenges.build(scheme, environ, "here") == expected


def test_a_token_that_is_not_enough_is_told_so_and_nothing_else_is_asked_for() -> None:
    """RFC 6750 section 3.1. After a password a browser would open its window again."""
    assert challenges.build_insufficient("bearer", "here") == [("WWW-Authenticate", NOT_ENOUGH)]
    for scheme in ("", "basic", "digest"):
        assert challenges.build_insufficient(scheme, "here") == []
