"""A code that works once, for a new password or for a registration: how it is made and read.

Rule: a code is a selector, which finds one row, and a secret, of which only a digest is stored. So
a guess is aimed at one row, and a stolen database holds no code. With 144 random bits, a fast
hash is enough.
"""

import hmac
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

RESET_DURATION = 3600  # seconds
INVITATION_DURATION = 604_800  # seconds; a week
MIN_INVITATION_DURATION = 60  # seconds
MAX_INVITATION_DURATION = 31_536_000  # seconds; a year

SELECTOR_PATTERN = "[A-Za-z0-9_-]{12}"  # a regular expression, to be matched whole

_SHAPE = re.compile(rf"(?P<selector>{SELECTOR_PATTERN})\.(?P<secret>[A-Za-z0-9_-]{{24}})")


@dataclass(frozen=True, slots=True)
class OneTimeCode:
    """A code in its two parts."""

    selector: str
    secret: str = field(repr=False)

    def build(self) -> str:
        """The text that the user types."""
        return f"{self.selector}.{self.secret}"

    @property
    def secret_digest(self) -> str:
        """What is stored of the secret: SHA-256, in hexadecimal."""
        return sha256(self.secret.encode("ascii")).hexdigest()

    def matches(self, secret_digest: str) -> bool:
        """Whether the digest is that of the secret, in constant time."""
        return hmac.compare_digest(self.secret_digest, secret_digest)


def generate() -> OneTimeCode:
    """A new random code. No selector has a dash: as an argument of a command, it could be taken for
    an option."""
    selector = secrets.token_urlsafe(9).replace("-", "_")
    return OneTimeCode(selector, secrets.token_urlsafe(18))


def parse(code: str) -> OneTimeCode | None:
    """None for a text that does not have the form of a code."""
    match = _SHAPE.fullmatch(code)
    return OneTimeCode(match["selector"], match["secret"]) if match else None


def find_selector(text: str) -> str | None:
    """The selector of a code, which may stand alone; None for a text that has none."""
    selector, _, _ = text.strip().partition(".")
    return selector if re.fullmatch(SELECTOR_PATTERN, selector) else None
