"""Issue an access token: sign its claims.

Rule: the form is exactly the one that `core.access_tokens` verifies: claims like RFC 9068, and a
header of {alg, kid, typ} (RFC 9068 section 2.1).
"""

import json
import secrets

from jwt.api_jws import PyJWS

from restauth.core.access_tokens import Claims
from restauth.core.keyring import ALGORITHMS, Key


class TokenIssuing:
    """Issue tokens of one issuer for one audience."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._issuer = issuer
        self._audience = audience
        self._jws = PyJWS(algorithms=ALGORITHMS)

    def issue(self, claims: Claims, key: Key) -> str:
        """The claims, signed by the key."""
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
            # Without escapes: they are up to three times as long as the characters in UTF-8.
            json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8"),
            key.pair.private if key.pair else key.secret,
            algorithm=key.algorithm,
            headers={"kid": key.kid, "typ": "at+jwt"},
        )
