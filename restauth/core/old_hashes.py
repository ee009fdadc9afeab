"""Password hashes in the older forms that users of REST-auth bring along; they are only read.

Rule: every parameter has a bound, so that no stored row costs seconds or much memory. No new hash
is made in these forms. Passwords are compared as they were typed, without normalisation, because
they were hashed that way.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

import bcrypt

from restauth.core import sha_crypt
from restauth.core.passwords import MAX_COST, MIN_COST

MAX_ITERATIONS = 1_000_000  # of PBKDF2 and SHA-crypt: what Werkzeug 3 uses, more than passlib
MAX_SCRYPT_WORK = 2**20  # n * r * p: 128 MiB, and about a third of a second
MAX_SCRYPT_R, MAX_SCRYPT_P = 32, 16  # Werkzeug uses 8 and 1; n * r * p alone is no bound
MAX_SHA_CRYPT_LENGTH = 512  # bytes of a password: each round reads it up to twice

_PBKDF2 = re.compile(
    r"pbkdf2:(?P<name>sha1|sha256|sha512)(:(?P<iterations>[1-9][0-9]{0,6}))?"
    r"\$(?P<salt>[!-#%-~]{1,128})\$(?P<digest>[0-9a-f]+)"
)
_PBKDF2_DEFAULT = 150_000  # Werkzeug 0.15 to 1.x, for a hash without the number
_SCRYPT = re.compile(
    r"scrypt:(?P<n>[1-9][0-9]{0,6}):(?P<r>[1-9][0-9]{0,2}):(?P<p>[1-9][0-9]{0,2})"
    r"\$(?P<salt>[!-#%-~]{1,128})\$(?P<digest>[0-9a-f]{128})"
)
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_BCRYPT_SHA256 = re.compile(  # of passlib 1.6, with an unsalted SHA-256 inside
    r"\$bcrypt-sha256\$(?P<ident>2[ab]),(?P<cost>[1-9][0-9]?)"
    r"\$(?P<salt>[./A-Za-z0-9]{21}[.Oeu])\$(?P<digest>[./A-Za-z0-9]{31})"
)
_SHA_CRYPT = re.compile(
    r"\$(?P<ident>[56])\$(rounds=(?P<rounds>[1-9][0-9]{3,6})\$)?"
    r"(?P<salt>[./A-Za-z0-9]{0,16})\$(?P<digest>[./A-Za-z0-9]{43}|[./A-Za-z0-9]{86})"
)


@dataclass(frozen=True, slots=True)
class OldHash:
    """A parsed hash. `cost` is bcrypt's, and None for other kinds. `work` orders the hashes of one
    kind by the time that they take."""

    kind: str
    cost: int | None
    work: int
    matches: Callable[[str], bool] = field(repr=False)


def parse(password_hash: str) -> OldHash | None:
    """None for a hash that is unknown, damaged, or beyond the bounds."""
    for pattern, read in _FORMS:
        match = pattern.fullmatch(password_hash)
        if match:
            return read(match)
    return None


def _read_pbkdf2(match: re.Match[str]) -> OldHash | None:
    iterations = int(match["iterations"] or _PBKDF2_DEFAULT)
    name, expected = match["name"], match["digest"]
    if iterations > MAX_ITERATIONS or len(expected) != 2 * hashlib.new(name).digest_size:
        return None

    def matches(password: str) -> bool:
        salt = match["salt"].encode("utf-8")
        digest = hashlib.pbkdf2_hmac(name, password.encode("utf-8"), salt, iterations)
        return _is_equal(digest.hex(), expected)

    return OldHash(f"pbkdf2:{name}", None, iterations, matches)


def _read_scrypt(match: re.Match[str]) -> OldHash | None:
    n, r, p = int(match["n"]), int(match["r"]), int(match["p"])
    # n: a power of two below 2^(128 * r / 8), RFC 7914 section 2
    if n < 2 or n & (n - 1) or n >= 1 << 16 * r or n * r * p > MAX_SCRYPT_WORK:
        return None
    if r > MAX_SCRYPT_R or p > MAX_SCRYPT_P:
        return None

    def matches(password: str) -> bool:
        digest = hashlib.scrypt(
            password.encode("utf-8"),
            salt=match["salt"].encode("utf-8"),
            n=n,
            r=r,
            p=p,
            maxmem=132 * n * r * p + 2**20,
            dklen=64,
        )
        return _is_equal(digest.hex(), match["digest"])

    return OldHash("scrypt", None, n * r * p, matches)


def _read_bcrypt(match: re.Match[str]) -> OldHash | None:
    cost = int(match["cost"])
    if not MIN_COST <= cost <= MAX_COST:
        return None
    stored = match[0].encode("ascii")
    # The library that made these hashes cut passwords at 72 bytes. bcrypt 5 raises instead.
    return OldHash(
        "bcrypt",
        cost,
        1 << cost,
        lambda password: bcrypt.checkpw(password.encode("utf-8")[:72], stored),
    )


def _read_bcrypt_sha256(match: re.Match[str]) -> OldHash | None:
    cost = int(match["cost"])
    if not MIN_COST <= cost <= MAX_COST:
        return None
    stored = f"${match['ident']}${cost:02}${match['salt']}{match['digest']}".encode("ascii")

    def matches(password: str) -> bool:
        inner = b64encode(hashlib.sha256(password.encode("utf-8")).digest())
        return bcrypt.checkpw(inner, stored)

    return OldHash("bcrypt-sha256", cost, 1 << cost, matches)


def _read_sha_crypt(match: re.Match[str]) -> OldHash | None:
    rounds = int(match["rounds"] or 5000)
    name = {"5": "sha256", "6": "sha512"}[match["ident"]]
    if rounds > MAX_ITERATIONS or len(match["digest"]) != {"5": 43, "6": 86}[match["ident"]]:
        return None

    def matches(password: str) -> bool:
        raw, salt = password.encode("utf-8"), match["salt"].encode("ascii")
        is_bounded = len(raw) <= MAX_SHA_CRYPT_LENGTH
        return is_bounded and sha_crypt.matches(raw, salt, rounds, name, match["digest"])

    return OldHash(f"{name}-crypt", None, rounds, matches)


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("ascii"), other.encode("ascii"))


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], OldHash | None]], ...] = (
    (_PBKDF2, _read_pbkdf2),
    (_SCRYPT, _read_scrypt),
    (_BCRYPT, _read_bcrypt),
    (_BCRYPT_SHA256, _read_bcrypt_sha256),
    (_SHA_CRYPT, _read_sha_crypt),
)
