"""JSON text: one strict reading, or a refusal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core import json_text
from restauth.core.json_text import MalformedJSON
from tests.core.inputs import LIMITED, cases

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)

REFUSED: dict[str, list[bytes]] = {
    "not JSON": [
        *(b"", b" \n", b'{"a":', b'"a', b"1 2", b"[1,]", b"{'a': 1}", b"1 // one", b"01", b"+1"),
        *("\u0661".encode(), b"\xc2\xa01", b'"a\x01b"', b"1\0"),
    ],
    "not UTF-8": [
        *(b"\xef\xbb\xbf1", b'"\xe9"', b'"\xc0\x80"', b'"\xed\xa0\x80"'),
        *map("{}".encode, ["utf-16", "utf-16-le", "utf-32"]),
    ],
    "a lone surrogate": [
        *(rb'"\ud800"', rb'["\udc00"]', rb'"\ude00\ud83d"', rb'{"\ud800": 1}'),
        rb'{"a": [{"b": "\uDFFF"}]}',
    ],
    "no number": [b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"1e400", b"-1e400", b"1" * 4301],
    "a member twice": [
        *(b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "c": 2, "a": 3}}]', rb'{"a": 1, "\u0061": 2}'),
    ],
    "too deep": [
        *(b"[" * 100_000, b"[" * 20_000 + b"]" * 20_000, b"[" * 4000 + b"]" * 4000),
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    ],
    "too many": [
        *(b"[" + one * 4096 + b"0]" for one in (b"{},", b"1e1,", b'"",')),
        b"[" + b"[]," * 2048 + b"0]",
        b"[" + b'{"a":0},' * 2048 + b"0]",
        b"{" + b",".join(b'"%d":0' % number for number in range(4097)) + b"}",
    ],
}

READ: list[tuple[bytes, object]] = [
    (b"null", None),
    (b"true", True),
    (b"-12", -12),
    (b"1" * 4300, int("1" * 4300)),
    (b"1.5e3", 1500.0),
    (b" \t\r\n{} ", {}),
    (b'""', ""),
    ('"é🐎"'.encode(), "é🐎"),
    (rb'"\ud83d\udc0e"', "🐎"),
    (rb'"\\ud800"', r"\ud800"),
    (rb'"\u0000"', "\0"),
    (b'{"b": [1, {"c": null}], "a": ""}', {"b": [1, {"c": None}], "a": ""}),
    (b'"' + b"," * 4096 + b'"', "," * 4096),
    (b"[" + b"0," * 4095 + b"0]", [0] * 4096),
    (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
]


def test_json_is_read() -> None:
    for raw, value in READ:
        read = json_text.parse(raw)
        assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(("remark", "raw"), cases(REFUSED))
def test_what_is_not_json_is_refused(remark: str, raw: bytes) -> None:
    with pytest.raises(MalformedJSON, match="JSON") as refusal:
        json_text.parse(raw)
    shown = refusal.value
    assert shown.__context__ is None or shown.__suppress_context__  # it would show the text


@pytest.mark.parametrize("depth", [100, 300, 500, 700, 900, 1000, 1500, 2000])
def test_no_depth_of_nesting_beside_an_escape_is_a_bug(depth: int) -> None:
    """An escape makes the parser walk the value a second time, with another use of the stack."""
    try:
        json_text.parse(rb'["\n",' + b"[" * depth + b"]" * depth + b"]")
    except MalformedJSON:
        assert depth > 100


def test_a_document_may_have_to_be_an_object() -> None:
    assert json_text.parse_object(b'{"a": 1, "b": null}') == {"a": 1, "b": None}
    for raw in (b"[]", b'"{}"', b"null", b"true", b"1", b'[["a", 1]]'):
        with pytest.raises(MalformedJSON, match="object"):
            json_text.parse_object(raw)


@LIMITED
@given(VALUES)
def test_every_value_survives_its_json(value: object) -> None:
    for is_ascii in (True, False):
        assert json_text.parse(json.dumps(value, ensure_ascii=is_ascii).encode()) == value


@LIMITED
@given(st.binary() | st.text(st.sampled_from('[]{}:,"\\u0dD8e1-. nulltrue')).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        value = json_text.parse(raw)
    except MalformedJSON:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
