"""Verify an access token: a signed JWT that `core.token_issuing` has made.

Rule: a token is valid only if every check of `verify` passes. Even then it only says for which
user and session it was issued; `domain.identification` asks whether the session still lives. The
claims follow RFC 9068, the signature RFC 7515. PyJWT checks the signature, and is told the one
algorithm of the key. All the rest is checked here, because a JWT library has to accept more than
one service needs (RFC 8725).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jwt.api_jws import PyJWS

from restauth.core import base64url, json_text
from restauth.core.json_text import MalformedJSON
from restauth.core.keyring import ALGORITHMS, Key
from restauth.errors import BadCredentials
from restauth.records import MAX_ID

MAX_LENGTH = 4096  # characters; ours have about 400
CLOCK_SKEW = 60  # seconds that `iat` may be ahead: a clock that was set back refuses no new token
MEMO_SIZE = 4096  # verified signatures that are remembered, about 1 KiB each

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MIN_LENGTH = 65  # a registered username has at most 64 characters
_SUBJECT = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a correctly signed token says. Times are epoch seconds."""

    user_id: int
    session_id: str
    username: str
    roles: tuple[str, ...]
    issued_at: int
    expires_at: int


def is_token_shaped(text: str) -> bool:
    """Whether a Basic user-id is a token and never a name: three parts of Base64url."""
    return len(text) >= _MIN_LENGTH and _SHAPE.fullmatch(text) is not None


class AccessTokens:
    """Verify tokens of one issuer for one audience; `max_duration` is in seconds."""

    def __init__(self, issuer: str, audience: str, max_duration: int) -> None:
        self._issuer = issuer
        self._audience = audience
        self._max_duration = max_duration
        self._jws = PyJWS(algorithms=ALGORITHMS)
        # The memo is keyed by the exact text and the key object. A hit skips what cannot change:
        # the signature and the parsing. The times and the session are checked each time. A refusal
        # raises and is not remembered, so only valid tokens take places in the memo.
        self._read_signed = lru_cache(maxsize=MEMO_SIZE)(self._read)

    def verify(self, token: str, find_key: Callable[[str], Key | None], now: int) -> Claims:
        """The claims of a token that is ours and has not expired at `now`. Raises BadCredentials.

        `find_key` gives the key of a `kid`, or None.
        """
        if len(token) > MAX_LENGTH:
            raise BadCredentials
        kid, algorithm = _parse_header(token.partition(".")[0])
        key = find_key(kid)
        if key is None or key.algorithm != algorithm:
            raise BadCredentials
        claims = self._read_signed(token, key)
        if not claims.issued_at - CLOCK_SKEW <= now < claims.expires_at:
            raise BadCredentials
        return claims

    def _read(self, token: str, key: Key) -> Claims:
        """Verify the signature (RFC 7515 section 5.2), and only then parse the payload."""
        text, _, signature = token.rpartition(".")
        raw_signature = base64url.parse(signature)
        if raw_signature is None:
            raise BadCredentials
        verifier = self._jws.get_algorithm_by_name(key.algorithm)
        if not verifier.verify(text.encode("utf-8", "replace"), key.verifier, raw_signature):
            raise BadCredentials
        payload = base64url.parse(text.partition(".")[2])  # None if there are more than 3 parts
        if payload is None:
            raise BadCredentials
        try:
            return self._parse_claims(json_text.parse_object(payload))
        except MalformedJSON:
            raise BadCredentials from None

    def _parse_claims(self, payload: dict[str, Any]) -> Claims:
        """Every claim that we issue must have its one type and value."""
        subject, issued_at, expires_at = (payload.get(name) for name in ("sub", "iat", "exp"))
        session_id, username, roles = (payload.get(name) for name in ("sid", "name", "roles"))
        if (
            type(subject) is not str
            or type(payload.get("jti")) is not str
            or type(session_id) is not str
            or type(username) is not str
            or type(roles) is not list
            or any(type(role) is not str for role in roles)
            or type(issued_at) is not int
            or type(expires_at) is not int
            or payload.get("iss") != self._issuer
            or payload.get("aud") != self._audience
            or "nbf" in payload  # we issue none, so the token is not ours
            or not _SUBJECT.fullmatch(subject)
            or int(subject) > MAX_ID
            or not 0 < expires_at - issued_at <= self._max_duration
        ):
            raise BadCredentials
        return Claims(int(subject), session_id, username, tuple(roles), issued_at, expires_at)


@lru_cache(maxsize=256)
def _parse_header(segment: str) -> tuple[str, str]:
    """`kid` and `alg` of the first segment of a token. Raises BadCredentials unless the header has
    exactly our members, so that jku, jwk, x5u, crit and zip are refused (RFC 8725 section 3.10)."""
    raw = base64url.parse(segment)
    if raw is None:
        raise BadCredentials
    try:
        header = json_text.parse_object(raw)
    except MalformedJSON:
        raise BadCredentials from None
    kid, algorithm = header.get("kid"), header.get("alg")
    if (
        header.keys() != {"alg", "kid", "typ"}
        or header["typ"] != "at+jwt"
        or type(kid) is not str
        or type(algorithm) is not str
    ):
        raise BadCredentials
    return kid, algorithm
