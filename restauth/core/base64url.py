"""Base64url without padding, each value in its one spelling.

Rule: total, and one to one: a text gives bytes or None, and no other text the same bytes. RFC 7515
section 2.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*")


def parse(text: object) -> bytes | None:
    """The bytes; None when it is no text, or no Base64url, or not the spelling of `build`."""
    if not isinstance(text, str) or not _ALPHABET.fullmatch(text):
        return None
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return raw if build(raw) == text else None  # stray bits at the end would be another spelling


def build(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
