"""The refresh token: the id of a session and the number of the token, with a MAC.

Rule: no part of a refresh token is stored, so a stolen database cannot make one. Whether the number
is the current one is decided by `domain.sessions`. The MAC (message authentication code, here
HMAC-SHA256) uses a key derived from the signing key, never the signing key itself: one key, one
use.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

from restauth.core import base64url, session_ids
from restauth.core.keyring import Key
from restauth.errors import BadCredentials

_VERSION = "r1"
_LABEL = b"restauth refresh token, version 1"
# version . kid . session id . counter . MAC: five parts, so that no parser takes it for a JWT
_SHAPE = re.compile(
    rf"r1\.(?P<kid>[A-Za-z0-9_-]{{1,64}})\.(?P<session_id>{session_ids.PATTERN})"
    r"\.(?P<counter>0|[1-9][0-9]{0,9})\.(?P<mac>[A-Za-z0-9_-]{43})"
)


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """Which refresh token of which session; the first one has the counter 0."""

    session_id: str
    counter: int


def build(claims: RefreshClaims, key: Key) -> str:
    """The token. The same claims and the same key give the same text."""
    text = f"{_VERSION}.{key.kid}.{claims.session_id}.{claims.counter}"
    return f"{text}.{_mac(text, key)}"


def verify(token: str, find_key: Callable[[str], Key | None]) -> RefreshClaims:
    """The claims, if the MAC was made with one of our keys. Raises BadCredentials."""
    match = _SHAPE.fullmatch(token)
    key = find_key(match["kid"]) if match else None
    if match is None or key is None:
        raise BadCredentials
    text, _, mac = token.rpartition(".")
    if not hmac.compare_digest(mac.encode("ascii"), _mac(text, key).encode("ascii")):
        raise BadCredentials
    return RefreshClaims(match["session_id"], int(match["counter"]))


def _mac(text: str, key: Key) -> str:
    derived = hmac.digest(key.secret, _LABEL, "sha256")
    return base64url.build(hmac.digest(derived, text.encode("ascii"), "sha256"))
