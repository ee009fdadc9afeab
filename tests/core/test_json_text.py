"""JSON text: one strict reading, or a refusal."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import json_text
from restauth.errors import MalformedRequest

A_LIMITED_RUN = settings(max_examples=200, derandomize=True, deadline=None)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)

REFUSED = {
    "nothing": b"",
    "blanks": b" \n",
    "half an object": b'{"a":',
    "half a string": b'"a',
    "two documents": b"1 2",
    "a comma too many": b"[1,]",
    "single quotes": b"{'a': 1}",
    "a comment": b"1 // one",
    "a leading zero": b"01",
    "a plus sign": b"+1",
    "a number of a foreign script": "\u0661".encode(),
    "a no-break space": b"\xc2\xa01",
    "a raw control character in a string": b'"a\x01b"',
    "a NUL behind": b"1\0",
    "a byte order mark": b"\xef\xbb\xbf1",
    "UTF-16 with a mark": "{}".encode("utf-16"),
    "UTF-16 without a mark": "{}".encode("utf-16-le"),
    "UTF-32": "{}".encode("utf-32"),
    "Latin-1": b'"\xe9"',
    "an overlong NUL": b'"\xc0\x80"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a lone high surrogate": rb'"\ud800"',
    "a lone low surrogate": rb'["\udc00"]',
    "two surrogates in the wrong order": rb'"\ude00\ud83d"',
    "a lone surrogate in a member's name": rb'{"\ud800": 1}',
    "a lone surrogate deep inside": rb'{"a": [{"b": "\uDFFF"}]}',
    "not a number": b"NaN",
    "infinity": b"[Infinity]",
    "minus infinity": b'{"a": -Infinity}',
    "a float beyond all floats": b"1e400",
    "a float below all floats": b"-1e400",
    "an integer of 4301 digits": b"1" * 4301,
    "a member twice": b'{"a": 1, "a": 1}',
    "a member twice, inside": b'[{"b": {"a": 1, "c": 2, "a": 3}}]',
    "a member twice, once escaped": rb'{"a": 1, "\u0061": 2}',
    "nested without end": b"[" * 100_000,
    "nested and closed": b"[" * 20_000 + b"]" * 20_000,
    "nested objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
}

READ: dict[str, tuple[bytes, object]] = {
    "null": (b"null", None),
    "true": (b"true", True),
    "an integer": (b"-12", -12),
    "a large integer": (b"1" * 4300, int("1" * 4300)),
    "a float": (b"1.5e3", 1500.0),
    "blanks around": (b" \t\r\n{} ", {}),
    "an empty string": (b'""', ""),
    "UTF-8 as it is": ('"é🐎"'.encode(), "é🐎"),
    "a pair of surrogates": (rb'"\ud83d\udc0e"', "🐎"),
    "a backslash that is no escape": (rb'"\\ud800"', r"\ud800"),
    "an escaped NUL": (rb'"\u0000"', "\0"),
    "members as they came": (b'{"b": [1, {"c": null}], "a": ""}', {"b": [1, {"c": None}], "a": ""}),
    "one member in two objects": (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
}


@pytest.mark.parametrize(("raw", "value"), READ.values(), ids=READ)
def test_json_is_read(raw: bytes, value: object) -> None:
    read = json_text.parse(raw)
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRequest, match=r"^The text is not well-formed JSON\.$"):
        json_text.parse(raw)


@pytest.mark.parametrize("depth", [100, 300, 500, 700, 900, 1000, 1500, 2000])
def test_no_depth_of_nesting_beside_an_escape_is_a_bug(depth: int) -> None:
    """An escape makes the parser walk the value a second time, with another use of the stack."""
    try:
        json_text.parse(rb'["\n",' + b"[" * depth + b"]" * depth + b"]")
    except MalformedRequest:
        assert depth > 100


@pytest.mark.parametrize("raw", [b"[]", b'"{}"', b"null", b"true", b"1", b'[["a", 1]]'])
def test_a_document_that_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRequest, match=r"^The JSON text is not an object\.$"):
        json_text.parse_object(raw)


def test_an_object_is_read() -> None:
    assert json_text.parse_object(b'{"a": 1, "b": null}') == {"a": 1, "b": None}


@A_LIMITED_RUN
@given(VALUES)
def test_every_value_survives_its_json(value: object) -> None:
    for is_ascii in (True, False):
        assert json_text.parse(json.dumps(value, ensure_ascii=is_ascii).encode()) == value


@A_LIMITED_RUN
@given(st.binary() | st.text(st.sampled_from('[]{}:,"\\u0dD8e1-. nulltrue')).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        value = json_text.parse(raw)
    except MalformedRequest:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
