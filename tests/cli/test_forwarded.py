"""X-Forwarded-Proto: the entry of our own proxies, in the words of HTTP."""

from wsgiref.types import WSGIEnvironment

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.cli.forwarded import ForwardedScheme, choose
from tests.core.inputs import ANY_TEXT, LIMITED


@pytest.mark.parametrize(
    ("text", "proxies", "scheme"),
    [
        *[(scheme, 1, scheme) for scheme in ("http", "https", "")],
        *[("HTTPS", 1, "https"), ('"https"', 1, "https"), (" https ", 1, "https")],
        *[("ws", 1, "http"), ("wss", 1, "https"), ("WSS", 1, "https")],
        # Each proxy adds an entry: one that is not ours may be the client's.
        *[("https,http", 1, "http"), ("http, https", 1, "https"), ("https, wss", 1, "https")],
        *[("https,http", 2, "https"), ("https, http, http", 2, "http"), ("https", 2, "https")],
        *[("x,wss,http", 2, "https"), ("https,", 1, ""), (",", 1, "")],
        *[("javascript", 1, "javascript"), ("https http", 1, "https http")],  # refused by waitress
    ],
)
def test_the_entry_of_our_outermost_proxy_counts(text: str, proxies: int, scheme: str) -> None:
    assert choose(text, proxies) == scheme


@LIMITED
@given(ANY_TEXT | st.text(', "hpstw', max_size=20), st.integers(1, 3))
def test_any_text_is_one_entry(text: str, proxies: int) -> None:
    assert "," not in choose(text, proxies)


def test_nothing_else_is_changed() -> None:
    seen: list[WSGIEnvironment] = []

    def app(environ: WSGIEnvironment, start_response: object) -> list[bytes]:
        seen.append(environ)
        return []

    for environ in ({}, {"HTTP_X_FORWARDED_FOR": "a, b"}):
        assert list(ForwardedScheme(app, 1)(dict(environ), lambda *_: lambda _: None)) == []
        assert seen.pop() == environ
