"""Hash a password, verify one, say when a hash is stale.

Rule: this file turns passwords into bytes and compares them; it does not know whose they are. The
form is passlib's bcrypt-sha256, version 2: bcrypt(base64(HMAC-SHA256(key=salt, NFC(password)))).
The inner HMAC lifts bcrypt's 72-byte limit, and its salt keeps a leaked plain SHA-256 of the same
password from being tried against our rows ("shucking").
"""

import hmac
import re
from base64 import b64encode
from unicodedata import normalize

import bcrypt

MAX_LENGTH = 1024  # characters; before normalising, which is slow on long runs of marks
MIN_COST, MAX_COST = 4, 15  # a stored cost of 31 would be days of CPU for one request

_STORED = re.compile(
    r"\$bcrypt-sha256\$v=2,t=2b,r=(?P<cost>[1-9][0-9]?)"
    # 128 bits in 22 characters leave the last one four values; bcrypt raises on the others
    r"\$(?P<salt>[./A-Za-z0-9]{21}[.Oeu])\$(?P<digest>[./A-Za-z0-9]{31})"
)


def is_acceptable(password: str) -> bool:
    """Whether `hash` and `verify` take it: 1 to 1024 characters, no lone surrogate."""
    return 1 <= len(password) <= MAX_LENGTH and not re.search("[\ud800-\udfff]", password)


def hash(password: str, cost: int) -> str:
    """A new salted hash of an acceptable password; bcrypt does 2^cost rounds."""
    salt = _new_salt(cost)
    return f"$bcrypt-sha256$v=2,t=2b,r={cost}${salt}${_digest(password, cost, salt)}"


def verify(password: str, password_hash: str | None, cost: int) -> bool:
    """Whether an acceptable password is the one hashed, with the work of `cost` in any case.

    None stands for a name that nobody has. A hash in no known form matches nothing, and one that
    is cheaper than `cost` is topped up: the time tells neither from a good row with a wrong
    password.
    """
    stored_cost, salt, stored_digest = _parse(password_hash or "") or (cost, _new_salt(cost), "")
    digest = _digest(password, stored_cost, salt)
    burn_rounds((1 << cost) - (1 << stored_cost))
    return hmac.compare_digest(digest.encode("ascii"), stored_digest.encode("ascii"))


def burn_rounds(rounds: int) -> None:
    """Compute that many rounds of bcrypt, to within its cheapest hash, for their time alone."""
    for cost in range(MAX_COST, MIN_COST - 1, -1):
        while rounds >= 1 << cost:
            _digest("", cost, "." * 22)
            rounds -= 1 << cost


def needs_rehash(password_hash: str | None, cost: int) -> bool:
    """Whether the next correct login should replace this hash."""
    return cost_of(password_hash) != cost


def cost_of(password_hash: str | None) -> int | None:
    """The cost of a hash of the current form; None for one that is damaged or of another form."""
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
