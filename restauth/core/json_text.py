"""A strict JSON parser: RFC 8259, with one reading for each text.

Rule: request bodies, token payloads and key files are all read here. It is total: any bytes give a
value or `MalformedJSON`.
"""

import json
import math
from typing import Any, NoReturn

# Commas and brackets, in strings too. The largest key ring has about 3,000 of them, a request with
# a password of commas 1,100. 64 KiB of nothing else would cost ten times as much as 64 KiB of text.
MAX_SEPARATORS = 4096


class MalformedJSON(ValueError):
    """The text is not JSON, or not of the kind that is asked for."""


def parse(raw: bytes) -> Any:
    """The value of a JSON document in strict UTF-8 (no BOM, RFC 8259 section 8.1).

    Raises MalformedJSON for anything else, and for what the standard library accepts: duplicate
    members, NaN and infinities, lone surrogates, nesting beyond the recursion limit, and more than
    `MAX_SEPARATORS` commas and brackets.
    """
    if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_SEPARATORS:
        raise MalformedJSON("The JSON text has too many values.")
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        if "\\" in text:  # in valid UTF-8, only an escape can make a lone surrogate
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):  # UnicodeError is a ValueError
        raise MalformedJSON("The text is not well-formed JSON.") from None
    return value


def parse_object(raw: bytes) -> dict[str, Any]:
    """As `parse`, for a text that is an object. Raises MalformedJSON."""
    value = parse(raw)
    if type(value) is not dict:
        raise MalformedJSON("The JSON text is not an object.")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):  # two parsers could each take another one of the two values
        raise ValueError
    return members


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError
