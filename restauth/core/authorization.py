"""One Authorization header in, Basic or Bearer out.

Rule: this file only reads. What it returns *claims*; nobody is verified here. It is total: any
text gives a value, None, or `BadCredentials`, and one text has one reading (RFC 9110 section
11.6.2, RFC 7617, RFC 6750).
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field

from restauth.errors import BadCredentials

# 8 KiB holds the longest password (1024 characters of 4 bytes) in Base64 with room for a name.
MAX_HEADER_LENGTH = 8192

# credentials = auth-scheme [ 1*SP token68 ], RFC 9110 section 11.4. A token68 has no comma, so two
# headers that a server has joined to "a, b" never pass as one credential.
_CREDENTIALS = re.compile(
    r"(?P<scheme>[!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: +(?P<token68>[A-Za-z0-9._~+/-]+=*))?"
)
_SCHEME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?= |\Z)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Basic:
    """What an RFC 7617 header claims. `user_id` may also be a token (the seed's contract)."""

    user_id: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """What an RFC 6750 header claims."""

    token: str = field(repr=False)


def parse(text: str) -> Basic | Bearer | None:
    """Read the value of an Authorization header; None when it is for another scheme.

    Raises BadCredentials when it is for Basic or Bearer, or for no scheme at all, and unusable.
    """
    scheme = scheme_of(text)
    if scheme not in ("basic", "bearer", ""):
        return None
    match = _CREDENTIALS.fullmatch(text)
    if match is None or len(text) > MAX_HEADER_LENGTH or match["token68"] is None:
        raise BadCredentials
    return Bearer(match["token68"]) if scheme == "bearer" else _parse_basic(match["token68"])


def scheme_of(text: str) -> str:
    """The scheme word in lower case; empty when the text does not begin with one."""
    match = _SCHEME.match(text)
    return match[0].lower() if match else ""


def _parse_basic(token68: str) -> Basic:
    """Raises BadCredentials unless it is canonical Base64 of UTF-8 `user-id:password`."""
    try:
        raw = b64decode(token68, validate=True)
        user_id, colon, password = raw.decode("utf-8").partition(":")
    except (NotBase64, UnicodeDecodeError):
        raise BadCredentials from None
    # b64decode lets stray padding bits pass; then two headers would mean the same credential.
    if b64encode(raw).decode("ascii") != token68:
        raise BadCredentials
    # An empty user-id must never match anybody; RFC 7617 section 2 bars control characters.
    if not colon or not user_id or _CONTROL.search(user_id):
        raise BadCredentials
    return Basic(user_id, password)
