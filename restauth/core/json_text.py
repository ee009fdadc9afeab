"""JSON text as RFC 8259 means it, and not one spelling more.

Rule: the only JSON parser of the house: request bodies, token payloads and key files go through
`parse`. It is total: any bytes give a value or `MalformedRequest`.
"""

import json
import math
from typing import Any, NoReturn

from restauth.errors import MalformedRequest


def parse(raw: bytes) -> Any:
    """The value of a JSON document in strict UTF-8 (no BOM, RFC 8259 section 8.1).

    Raises MalformedRequest for anything else, and for what the standard library lets pass:
    duplicate members, NaN and infinities, lone surrogates, nesting beyond the recursion limit.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_members,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        if "\\" in text:  # only an escape can hide a lone surrogate in valid UTF-8
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):  # UnicodeError is a ValueError
        raise MalformedRequest("The text is not well-formed JSON.") from None
    return value


def parse_object(raw: bytes) -> dict[str, Any]:
    """As `parse`, and the value is an object. Raises MalformedRequest."""
    value = parse(raw)
    if type(value) is not dict:
        raise MalformedRequest("The JSON text is not an object.")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):  # two readers could each believe another one of the two
        raise ValueError
    return members


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return number


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError
