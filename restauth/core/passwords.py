"""Hash a password, and compare a password with a hash.

Rule: this file turns passwords into bytes and compares them. It does not know whose they are. The
form is version 2 of passlib's bcrypt-sha256: bcrypt(base64(HMAC-SHA256(salt, NFC(password)))). The
HMAC lifts bcrypt's limit of 72 bytes. Because it is salted, an unsalted SHA-256 of the password
that leaked elsewhere cannot be tried against our hashes (an attack called "password shucking").
"""

import hmac
import re
from base64 import b64encode
from unicodedata import normalize

import bcrypt

MAX_LENGTH = 1024  # characters; checked first, because normalising can be slow
MIN_COST, MAX_COST = 4, 15  # a stored cost of 31 would be days of CPU for one request

_STORED = re.compile(
    r"\$bcrypt-sha256\$v=2,t=2b,r=(?P<cost>[1-9][0-9]?)"
    # 22 characters hold 132 bits and the salt has 128: bcrypt raises on other last characters.
    r"\$(?P<salt>[./A-Za-z0-9]{21}[.Oeu])\$(?P<digest>[./A-Za-z0-9]{31})"
)


def is_acceptable(password: str) -> bool:
    """Whether it can be hashed: 1 to 1024 characters, no lone surrogate (half of a character)."""
    return 1 <= len(password) <= MAX_LENGTH and not re.search("[\ud800-\udfff]", password)


def hash(password: str, cost: int) -> str:
    """A new salted hash of an acceptable password; bcrypt computes 2^cost rounds."""
    salt = _new_salt(cost)
    return f"$bcrypt-sha256$v=2,t=2b,r={cost}${salt}${_digest(password, cost, salt)}"


def matches(password: str, password_hash: str | None, cost: int) -> bool:
    """Whether an acceptable password is the one that was hashed, with the work of `cost` always.

    None (an unknown username) and a hash of no known form match no password. For a hash of a lower
    cost, the missing rounds are computed too. So the time does not show which case it was.
    """
    stored_cost, salt, stored_digest = _parse(password_hash or "") or (cost, _new_salt(cost), "")
    digest = _digest(password, stored_cost, salt)
    burn_rounds((1 << cost) - (1 << stored_cost))
    return hmac.compare_digest(digest.encode("ascii"), stored_digest.encode("ascii"))


def burn_rounds(rounds: int) -> None:
    """Compute about that many rounds of bcrypt and ignore the result."""
    for cost in range(MAX_COST, MIN_COST - 1, -1):
        while rounds >= 1 << cost:
            _digest("", cost, "." * 22)
            rounds -= 1 << cost


def cost_of(password_hash: str | None) -> int | None:
    """The cost of a hash of the current form; None for a damaged hash or another form."""
    parts = _parse(password_hash or "")
    return parts[0] if parts else None


def _parse(password_hash: str) -> tuple[int, str, str] | None:
    """Cost, salt and digest of a stored hash whose work is bounded."""
    stored = _STORED.fullmatch(password_hash)
    if stored is None or not MIN_COST <= int(stored["cost"]) <= MAX_COST:
        return None
    return int(stored["cost"]), stored["salt"], stored["digest"]


def _new_salt(cost: int) -> str:
    return bcrypt.gensalt(cost).decode("ascii")[-22:]


def _digest(password: str, cost: int, salt: str) -> str:
    """The 31 characters that bcrypt makes of the salted inner digest."""
    text = normalize("NFC", password).encode("utf-8")
    inner = b64encode(hmac.digest(salt.encode("ascii"), text, "sha256"))
    return bcrypt.hashpw(inner, f"$2b${cost:02}${salt}".encode("ascii")).decode("ascii")[-31:]
