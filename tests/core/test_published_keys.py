"""The published keys: the list is what it says, and a placeholder needs no entry."""

import secrets
from base64 import urlsafe_b64decode
from typing import get_args

import pytest

from restauth.core import base64url
from restauth.core.keyring import Algorithm
from restauth.core.published_keys import (
    EDDSA_PAIRS,
    ES256_PAIRS,
    PUBLISHED_KEYS,
    is_published,
)
from tests.key_pairs import need_extra

PAIRS: list[tuple[Algorithm, bytes, bytes]] = [
    *(("ES256", urlsafe_b64decode(d), urlsafe_b64decode(x)) for d, x in ES256_PAIRS),
    *(("EdDSA", bytes.fromhex(d), bytes.fromhex(x)) for d, x in EDDSA_PAIRS),
]


def test_every_public_half_is_that_of_its_secret() -> None:
    """So no digit of the list is mistyped."""
    need_extra()
    from restauth.core import asymmetric  # noqa: PLC0415 - which needs it

    for algorithm, secret, public in PAIRS:
        assert asymmetric.derive(algorithm, secret).members["x"] == base64url.build(public)
    assert {algorithm for algorithm, *_ in PAIRS} == {*get_args(Algorithm)} - {"HS256"}


def test_both_halves_are_published() -> None:
    for _, *halves in PAIRS:
        assert all(map(is_published, halves))
    assert all(map(is_published, PUBLISHED_KEYS))
    assert min(map(len, PUBLISHED_KEYS)) >= 32  # shorter ones are refused anyway


@pytest.mark.parametrize(
    "secret",
    [
        # Of jwt.io, Supabase, tutorials of Spring and .NET, NestJS, and a tutorial of Node.js.
        b"a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        b"super-secret-jwt-token-with-at-least-32-characters-long",
        b"my-32-character-ultra-secure-and-ultra-long-secret",
        b"DO NOT USE THIS VALUE. INSTEAD, CREATE A COMPLEX SECRET AND KEEP IT SAFE",
        b"THIS IS USED TO SIGN AND VERIFY JWT TOKENS, REPLACE IT WITH YOUR OWN",
        b"your-256-bit-secret-key-here-please",
        b"Sup3rS3cr3t!! CHANGE ME in 2027 please",
        b"<random_string_at_least_32_characters_long>",
        b"MyPassWord-0123456789-abcdefghijklmno",
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA",
        "schlüssel: replace this with a real one".encode(),
    ],
)
def test_a_placeholder_is_known_without_an_entry(secret: bytes) -> None:
    assert secret not in PUBLISHED_KEYS
    assert is_published(secret)


def test_random_secrets_are_not_published() -> None:
    for _ in range(100):
        assert not is_published(secrets.token_bytes(32))
        assert not is_published(secrets.token_hex(32).encode())
