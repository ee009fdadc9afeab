"""Keys that were published, and the marks of a text that is no key.

Rule: each key stands with its origin. The list holds what is known best, and cannot be complete: no
list finds a secret of an unknown tutorial. Shorter secrets need no entry, they are refused by their
length. A library verifies with any key (CVE-2025-45768), so we check.
"""

import re
from base64 import b64decode, urlsafe_b64decode
from binascii import unhexlify

# Placeholders say what they are. Of a million random texts of 64 characters, two have such a word.
_WORDS = re.compile(
    rb"secret|password|passwd|change|replace|example|token|random|production|very.?long",
    re.IGNORECASE,
)
# Marks of a public key, which is no secret (PyJWT's advisory CVE-2022-29217).
_OTHER_KEYS = (b"BEGIN ", b"ssh-", b"ecdsa-", b'"kty"')

_TEXTS = (
    "the quick brown fox jumps over the lazy dog",  # REST-auth
    "a-string-secret-at-least-256-bits-long",  # jwt.io
    "reallyreallyreallyreallyverysafe",  # PostgREST's documentation
    # a widely copied Spring tutorial
    (
        "afafasfafafasfasfasfafacasdasfasxASFACASDFACASDFASFASFDAFASFASDAADSCSDFADCVSGCFVADXC"
        "cadwavfsfarvf"
    ),
    # wallarm/jwt-secrets
    "r9iMKoe5CRMgvJBBtp4HrqN7QiPpUToj",
    "0a6b944d-d2fb-46fc-a85e-0295c986cd9f",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "VGhpcyBzZWNyZXQgaXMgc3RvcmVkIGJhc2UtNjQgZW5jb2RlZCBvbiB0aGUgcHJveHkgaG9zdA",
    "abcdefghijklmnopqrstuvwxyz012345",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm123456",
)
# Used as they are, decoded as hexadecimal, and decoded as Base64.
_HEX_TEXTS = (
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI's tutorial
    # Spring tutorials
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    "413F4428472B4B6250655368566D5970337336763979244226452948404D6351",
    "3cfa76ef14937c1c0ea519f8fc057a80fcd04a7420f8e8bcd0a7567c272e007b",
    # wallarm/jwt-secrets
    "16f8c0ef4a5d391b26034086c628469d3f9f497f08163ab9b40137092f2909ef",
    "03263301ea9a6a06e29a05a47d076495678089c1b6c26e12f21e4c492022e42d",
)
_HMAC_KEYS = (
    # RFC 7515 appendix A.1
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==",
    "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg=",  # RFC 7520 section 3.5
)
# `d` and `x`: the secret is published, so the public half is checked too.
ES256_PAIRS = (
    # RFC 7515 appendix A.3
    (
        "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI=",
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU=",
    ),
    # RFC 7517 appendix A.2
    (
        "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE=",
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4=",
    ),
    # RFC 7518 appendix C, Alice and Bob
    (
        "0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo=",
        "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0=",
    ),
    (
        "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw=",
        "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ=",
    ),
    # RFC 7520 section 5.5
    (
        "r_kHyZ-a06rmxM3yESK84r1otSg-aQcVStkRhA-iCM8=",
        "Ze2loSV3wrroKUN_4zhwGhCqo3Xhu1td4QjeQ5wIVR0=",
    ),
    # RFC 6979 appendix A.2.5
    (
        "ya-p2EW6dRZrXCFXZ7HWk05Qw9s26JsSe4piKxIPZyE=",
        "YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y=",
    ),
)
# RFC 8032 section 7.1: tests 1 (also RFC 8037 appendix A), 2, 3, 1024 and SHA(abc).
EDDSA_PAIRS = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    ),
    (
        "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    ),
)
# Ed25519's points of order 8: anyone can sign for them. `asymmetric` refuses lower orders.
_WEAK_POINTS = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
)

PUBLISHED_KEYS = frozenset(
    {
        *(text.encode("ascii") for text in (*_TEXTS, *_HEX_TEXTS)),
        *map(unhexlify, _HEX_TEXTS),
        *map(b64decode, _HEX_TEXTS),
        *map(urlsafe_b64decode, _HMAC_KEYS),
        *(urlsafe_b64decode(half) for pair in ES256_PAIRS for half in pair),
        *(unhexlify(half) for pair in EDDSA_PAIRS for half in pair),
        *map(unhexlify, _WEAK_POINTS),
        bytes(range(32)),
        bytes(range(1, 33)),
    }
)


def is_published(secret: bytes) -> bool:
    """Whether the secret is on the list, or is a placeholder or another kind of key."""
    is_placeholder = _WORDS.search(secret) is not None
    return secret in PUBLISHED_KEYS or is_placeholder or any(mark in secret for mark in _OTHER_KEYS)
