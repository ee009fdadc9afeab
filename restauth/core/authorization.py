"""Parse an Authorization header into what it claims: Basic or Bearer.

Rule: this file only reads. A `Basic` or a `Bearer` is a claim that is not verified. It is total:
any text gives a claim, None, or `BadCredentials`, and one text has one reading (RFC 9110 section
11.6.2, RFC 7617, RFC 6750).
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field

from restauth.core.names import CONTROL_CHARACTERS
from restauth.errors import BadCredentials

# 8 KiB holds the longest password (1024 characters of 4 bytes) in Base64, with room for a name.
MAX_HEADER_LENGTH = 8192

# credentials = auth-scheme [ 1*SP token68 ], RFC 9110 section 11.4. A token68 has no comma, so two
# headers that a server has joined to "a, b" never pass as one credential.
_CREDENTIALS = re.compile(
    r"(?P<scheme>[!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: +(?P<token68>[A-Za-z0-9._~+/-]+=*))?"
)
_SCHEME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?= |\Z)")
_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}]")


@dataclass(frozen=True, slots=True)
class Basic:
    """What an RFC 7617 header claims. `user_id` may also be a token: REST-auth's contract."""

    user_id: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """What an RFC 6750 header claims."""

    token: str = field(repr=False)


def scheme_of(text: str) -> str:
    """The scheme, in lower case; empty when the text does not begin with one."""
    match = _SCHEME.match(text)
    return match[0].lower() if match else ""


def parse(text: str, scheme: str) -> Basic | Bearer | None:
    """The claim of a header whose scheme is `scheme_of(text)`; None when that is another scheme.

    Raises BadCredentials when the header names Basic, Bearer or no scheme, and is not well-formed.
    """
    if scheme not in ("basic", "bearer", ""):
        return None
    match = _CREDENTIALS.fullmatch(text)
    if match is None or len(text) > MAX_HEADER_LENGTH or match["token68"] is None:
        raise BadCredentials
    return Bearer(match["token68"]) if scheme == "bearer" else _parse_basic(match["token68"])


def _parse_basic(token68: str) -> Basic:
    """Raises BadCredentials unless it is canonical Base64 of UTF-8 `user-id:password`."""
    try:
        raw = b64decode(token68, validate=True)
        user_id, colon, password = raw.decode("utf-8").partition(":")
    except (NotBase64, UnicodeDecodeError):
        raise BadCredentials from None
    # b64decode ignores the unused bits at the end; then two headers would be one credential.
    if b64encode(raw).decode("ascii") != token68:
        raise BadCredentials
    # An empty user-id must never match an account; RFC 7617 section 2 forbids control characters.
    if not colon or not user_id or _CONTROL.search(user_id):
        raise BadCredentials
    return Basic(user_id, password)
