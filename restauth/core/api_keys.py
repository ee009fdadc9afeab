"""The API key: its text, and whether its secret is the one that was stored.

Rule: a key is an id, which finds one row, and a secret of 160 random bits, of which only a fast
digest is stored. By prefix and checksum, a program that looks for leaked secrets knows a key; and a
damaged one is refused before the store is asked. A checksum proves nothing: anyone can compute it.
"""

import hmac
import re
from binascii import crc32
from dataclasses import dataclass, field
from hashlib import sha256

from restauth.errors import BadCredentials

ID_PATTERN = "[0-9a-f]{20}"  # a regular expression, to be matched whole

_SHAPE = re.compile(rf"rak_(?P<id>{ID_PATTERN})_(?P<secret>[0-9a-f]{{40}})[0-9a-f]{{8}}")


@dataclass(frozen=True, slots=True)
class KeyParts:
    """A key in its two parts."""

    id: str
    secret: str = field(repr=False)

    def build(self) -> str:
        """The text that a client presents."""
        text = f"rak_{self.id}_{self.secret}"
        return f"{text}{crc32(text.encode('ascii')):08x}"

    @property
    def secret_digest(self) -> str:
        """What is stored of the secret: SHA-256, in hexadecimal."""
        return sha256(self.secret.encode("ascii")).hexdigest()

    def matches(self, secret_digest: str) -> bool:
        """Whether the digest is that of the secret, in constant time."""
        return hmac.compare_digest(self.secret_digest, secret_digest)


def is_key_shaped(text: str) -> bool:
    """Whether a text is a key or a damaged one, and never a username or a password."""
    return text.startswith("rak_") and len(text) > 64  # no username is longer


def parse(text: str) -> KeyParts:
    """The parts of a well-formed key with the right checksum. Raises BadCredentials."""
    match = _SHAPE.fullmatch(text)
    parts = KeyParts(match["id"], match["secret"]) if match else None
    if parts is None or parts.build() != text:
        raise BadCredentials
    return parts
