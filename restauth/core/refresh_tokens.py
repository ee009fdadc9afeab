"""The refresh token: its form, made and checked.

Rule: a refresh token is the number of a session's turn, sealed. Nothing of its text is stored, so
that a stolen database opens nothing; whether it is this turn's is for `sessions` to ask. The seal
is an HMAC by a key derived from the ring's key, never by the signing key itself: one key, one use.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

from restauth.core import base64url
from restauth.core.keyring import Key
from restauth.errors import BadCredentials

_VERSION = "r1"
_LABEL = b"restauth refresh token, version 1"
# version . kid . session id . counter . seal: five parts, so that no parser takes it for a JWT
_SHAPE = re.compile(
    r"r1\.(?P<kid>[A-Za-z0-9_-]{1,64})\.(?P<session_id>[A-Za-z0-9_-]{22})"
    r"\.(?P<counter>0|[1-9][0-9]{0,9})\.(?P<seal>[A-Za-z0-9_-]{43})"
)


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """Which refresh token of which session."""

    session_id: str
    counter: int


def build(turn: RefreshClaims, key: Key) -> str:
    """The token of a turn: the same turn and key give the same text."""
    text = f"{_VERSION}.{key.kid}.{turn.session_id}.{turn.counter}"
    return f"{text}.{_seal(text, key)}"


def parse(token: str, find_key: Callable[[str], Key | None]) -> RefreshClaims:
    """The turn, if the seal is by one of our keys. Raises BadCredentials."""
    match = _SHAPE.fullmatch(token)
    key = find_key(match["kid"]) if match else None
    if match is None or key is None:
        raise BadCredentials
    text, _, seal = token.rpartition(".")
    if not hmac.compare_digest(seal.encode("ascii"), _seal(text, key).encode("ascii")):
        raise BadCredentials
    return RefreshClaims(match["session_id"], int(match["counter"]))


def _seal(text: str, key: Key) -> str:
    derived = hmac.digest(key.secret, _LABEL, "sha256")
    return base64url.build(hmac.digest(derived, text.encode("ascii"), "sha256"))
