"""One value, one spelling."""

from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core import base64url


@given(st.binary())
def test_what_was_built_is_read(raw: bytes) -> None:
    text = base64url.build(raw)
    assert "=" not in text
    assert base64url.parse(text) == raw == urlsafe_b64decode(text + "==")


@given(st.one_of(st.text(st.characters()), st.text("AQgw-_=+/\n "), st.none(), st.binary()))
def test_any_text_is_bytes_of_which_it_is_the_spelling_or_nothing(text: object) -> None:
    raw = base64url.parse(text)
    assert raw is None or base64url.build(raw) == text


@pytest.mark.parametrize(
    "text",
    ["AA==", "A", "AB", "AAB", "A+", "A/", "AA\n", " AA", "A A", "ÄA", "AAAAA", None, 7, b"AA"],
)
def test_no_other_spelling_is_read(text: object) -> None:
    assert base64url.parse(text) is None
