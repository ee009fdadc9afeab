"""The access token: its form, minted and verified.

Rule: a token is good only if every check of `verify` passes, and then it still proves nothing but
who it was made for: whether its session lives is for `sessions`. Shaped like RFC 9068, signed as
RFC 7515 says. PyJWT does the signature and is told the key's one algorithm; all the rest is read
here, strictly, because a JWT library has to be lenient and we do not (RFC 8725).
"""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jwt import PyJWTError
from jwt.api_jws import PyJWS

from restauth.core import base64url, json_text
from restauth.core.keyring import ALGORITHMS, Key
from restauth.errors import BadCredentials, MalformedRequest
from restauth.records import MAX_ID

MAX_LENGTH = 4096  # characters; ours have some 400
CLOCK_SKEW = 60  # seconds that `iat` may lie ahead: a clock set back must not refuse fresh tokens
MEMO_SIZE = 4096  # verified signatures remembered, some 1 KiB each

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MIN_LENGTH = 65  # a name that was registered has 64 characters at most
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
    """Whether a Basic user-id is a token or nothing, and never a name: three Base64url parts."""
    return len(text) >= _MIN_LENGTH and _SHAPE.fullmatch(text) is not None


class AccessTokens:
    """Mint and verify for one issuer and audience; `max_duration` is in seconds."""

    def __init__(self, issuer: str, audience: str, max_duration: int) -> None:
        self._issuer = issuer
        self._audience = audience
        self._max_duration = max_duration
        self._jws = PyJWS(algorithms=ALGORITHMS)
        # Keyed by the exact text and the key *object*. What a hit skips is the signature and the
        # reading of the payload, which cannot change; never the times, nor the session. A refusal
        # raises and so is not remembered: nobody fills the memo without a valid token.
        self._read_signed = lru_cache(maxsize=MEMO_SIZE)(self._read)

    def issue(self, claims: Claims, key: Key) -> str:
        """Sign the claims. The header is exactly {alg, kid, typ} (RFC 9068 section 2.1)."""
        payload = {
            "aud": self._audience,
            "exp": claims.expires_at,
            "iat": claims.issued_at,
            "iss": self._issuer,
            "jti": secrets.token_urlsafe(16),
            "name": claims.username,
            "roles": claims.roles,
            "sid": claims.session_id,
            "sub": str(claims.user_id),
        }
        return self._jws.encode(
            # Not as escapes: those would make a long name's token too long to be read.
            json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8"),
            key.signer,
            algorithm=key.algorithm,
            headers={"kid": key.kid, "typ": "at+jwt"},
        )

    def verify(self, token: str, find_key: Callable[[str], Key | None], now: int) -> Claims:
        """What the token says, if it is ours and alive at `now`. Raises BadCredentials.

        `find_key` gives the key of a `kid`, or None.
        """
        if len(token) > MAX_LENGTH or not _SHAPE.fullmatch(token):
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
        """The signature first, and only then the payload."""
        try:
            payload = self._jws.decode(token, key.verifier, algorithms=[key.algorithm])
            return self._read_claims(json_text.parse_object(payload))
        except (PyJWTError, MalformedRequest):
            raise BadCredentials from None

    def _read_claims(self, payload: dict[str, Any]) -> Claims:
        subject, issued_at, expires_at = (payload.get(name) for name in ("sub", "iat", "exp"))
        session_id, username, roles = (payload.get(name) for name in ("sid", "name", "roles"))
        if (
            type(subject) is not str
            or type(session_id) is not str
            or type(username) is not str
            or type(roles) is not list
            or any(type(role) is not str for role in roles)
            or type(issued_at) is not int
            or type(expires_at) is not int
            or payload.get("iss") != self._issuer
            or payload.get("aud") != self._audience
            or "nbf" in payload  # we mint none: whoever did is not us
            or not _SUBJECT.fullmatch(subject)
            or int(subject) > MAX_ID
            or not 0 < expires_at - issued_at <= self._max_duration
        ):
            raise BadCredentials
        return Claims(int(subject), session_id, username, tuple(roles), issued_at, expires_at)


@lru_cache(maxsize=256)
def _parse_header(segment: str) -> tuple[str, str]:
    """`kid` and `alg` of a token's first segment. Raises BadCredentials unless the header has just
    our members: jku, jwk, x5u, crit and zip are refused by not being known (RFC 8725 3.10)."""
    raw = base64url.parse(segment)
    if raw is None:
        raise BadCredentials
    try:
        header = json_text.parse_object(raw)
    except MalformedRequest:
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
