"""The code by which an operator lets somebody set a new password: its form.

Rule: a code is a selector, which finds one row, and a secret, of which only a digest is stored: a
guess can aim at one account alone, and a stolen database has no code. 144 random bits need no slow
hash.
"""

import hmac
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

DURATION = 3600  # seconds

_SHAPE = re.compile(r"(?P<selector>[A-Za-z0-9_-]{12})\.(?P<secret>[A-Za-z0-9_-]{24})")


@dataclass(frozen=True, slots=True)
class ResetCode:
    selector: str
    secret: str = field(repr=False)

    def build(self) -> str:
        return f"{self.selector}.{self.secret}"

    @property
    def secret_digest(self) -> str:
        return sha256(self.secret.encode("ascii")).hexdigest()

    def matches(self, secret_digest: str) -> bool:
        return hmac.compare_digest(self.secret_digest, secret_digest)


def generate() -> ResetCode:
    return ResetCode(secrets.token_urlsafe(9), secrets.token_urlsafe(18))


def parse(code: str) -> ResetCode | None:
    """None when it has not the form of a code."""
    match = _SHAPE.fullmatch(code)
    return ResetCode(match["selector"], match["secret"]) if match else None
