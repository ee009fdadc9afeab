"""One value, one spelling."""

from base64 import urlsafe_b64decode

from hypothesis import given
from hypothesis import strategies as st

from restauth.core import base64url
from tests.core.inputs import ANY_TEXT, LIMITED


@LIMITED
@given(st.binary())
def test_what_was_built_is_read(raw: bytes) -> None:
    text = base64url.build(raw)
    assert "=" not in text
    assert base64url.parse(text) == raw == urlsafe_b64decode(text + "==")


@LIMITED
@given(st.one_of(ANY_TEXT, st.text("AQgw-_=+/\n "), st.none(), st.binary()))
def test_any_text_is_bytes_of_which_it_is_the_spelling_or_nothing(text: object) -> None:
    raw = base64url.parse(text)
    assert raw is None or base64url.build(raw) == text


def test_no_other_spelling_is_read() -> None:
    others = ["AA==", "A", "AB", "AAB", "A+", "A/", "AA\n", " AA", "A A", "ÄA", "AAAAA"]
    assert [text for text in (*others, None, 7, b"AA") if base64url.parse(text) is not None] == []
