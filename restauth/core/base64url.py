"""Base64url without padding (RFC 7515 section 2), where each value has one spelling.

Rule: total, and one to one: a text gives bytes or None, and no other text gives the same bytes.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")


def parse(text: object) -> bytes | None:
    """The bytes; None for what is not a text, not Base64url, or not spelled as by `build`."""
    if not isinstance(text, str) or not _ALPHABET.fullmatch(text):
        return None
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return raw if build(raw) == text else None  # unused bits at the end: another spelling


def build(raw: bytes) -> str:
    """The one text of these bytes."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
