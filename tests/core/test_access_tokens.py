"""Access tokens: minted, forged in every way we know of, and refused."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from hashlib import sha256
from itertools import count
from string import ascii_letters, digits

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import HMACAlgorithm

from restauth.core import access_tokens
from restauth.core.access_tokens import CLOCK_SKEW, AccessTokens, Claims, is_token_shaped
from restauth.core.keyring import Algorithm, Key
from restauth.errors import BadCredentials
from restauth.records import MAX_ID
from tests import vectors
from tests.key_pairs import (
    ED25519_ORDER,
    EVERY,
    EVERY_TWO,
    P256_ORDER,
    PAIRED,
    key_of,
    public_texts,
    respell,
    sign_with,
)

A_LIMITED_RUN = settings(max_examples=200, derandomize=True, deadline=None)

NOW = 1_800_000_000
DURATION = 600
KEY = Key("one", sha256(b"a key of the tests").digest(), NOW, None)
RETIRED = Key("two", sha256(b"an older one").digest(), NOW - 900, NOW)
KEYS = {KEY.kid: KEY, RETIRED.kid: RETIRED}
CLAIMS = Claims(7, "sid", "miguel", ("admin", "staff"), NOW, NOW + DURATION)

JSON = dict[str, object]
HEADER: JSON = {"alg": "HS256", "kid": "one", "typ": "at+jwt"}
PAYLOAD: JSON = {
    "aud": "api.example",
    "exp": NOW + DURATION,
    "iat": NOW,
    "iss": "auth.example",
    "jti": "jti",
    "name": "miguel",
    "roles": ["admin", "staff"],
    "sid": "sid",
    "sub": "7",
}


@pytest.fixture
def access() -> AccessTokens:
    return new_access()


def new_access() -> AccessTokens:
    return AccessTokens("auth.example", "api.example", DURATION)


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "==")


def sign(header: str, payload: str, secret: bytes = KEY.secret, digest: str = "sha256") -> str:
    """A token of two finished segments, signed as RFC 7515 says by the standard library alone."""
    signature = hmac.digest(secret, f"{header}.{payload}".encode(), digest)
    return f"{header}.{payload}.{b64(signature)}"


def forge(
    header: object = HEADER,
    payload: object = PAYLOAD,
    secret: bytes = KEY.secret,
    digest: str = "sha256",
) -> str:
    """A correctly signed token of any header and payload: bytes as they are, all else as JSON."""
    raws = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)
    ]
    return sign(b64(raws[0]), b64(raws[1]), secret, digest)


def without(members: JSON, name: str) -> JSON:
    return {key: value for key, value in members.items() if key != name}


def never(kid: str) -> Key | None:
    raise AssertionError("a key was looked up")


def assert_refused(
    token: str, find_key: Callable[[str], Key | None] = KEYS.get, now: int = NOW
) -> None:
    """Twice, for what is refused must not be remembered as good."""
    access = new_access()
    for _ in range(2):
        with pytest.raises(BadCredentials) as refusal:
            access.verify(token, find_key, now)
        assert refusal.value.args == (BadCredentials.detail,)  # and nothing of the token


@pytest.fixture
def signatures(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The message of every signature verified in the test."""
    messages: list[bytes] = []
    verify = HMACAlgorithm.verify

    def counted(self: HMACAlgorithm, msg: bytes, key: bytes, sig: bytes) -> bool:
        messages.append(msg)
        return verify(self, msg, key, sig)

    monkeypatch.setattr(HMACAlgorithm, "verify", counted)
    return messages


# The form


def test_the_forger_signs_as_rfc_7515_does() -> None:
    header, payload, signature, key = vectors.JWS_EXAMPLE
    assert sign(header, payload, unb64(key)) == f"{header}.{payload}.{signature}"


def test_a_forged_token_is_good_with_the_right_key(access: AccessTokens) -> None:
    """So each forgery below is refused for what it changes, and for nothing else."""
    assert access.verify(forge(), KEYS.get, NOW) == CLAIMS


def test_what_is_minted_is_verified(access: AccessTokens) -> None:
    assert access.verify(access.issue(CLAIMS, KEY), KEYS.get, NOW) == CLAIMS


def test_a_retired_key_still_verifies(access: AccessTokens) -> None:
    assert access.verify(access.issue(CLAIMS, RETIRED), KEYS.get, NOW) == CLAIMS


def test_a_minted_token_has_exactly_the_documented_members(access: AccessTokens) -> None:
    token = access.issue(CLAIMS, KEY)
    header, payload, _ = token.split(".")
    assert json.loads(unb64(header)) == HEADER
    members = json.loads(unb64(payload))
    assert members == PAYLOAD | {"jti": members["jti"]}
    assert sign(header, payload) == token


def test_each_token_has_an_identifier_of_128_random_bits(access: AccessTokens) -> None:
    payloads = [access.issue(CLAIMS, KEY).split(".")[1] for _ in range(100)]
    identifiers = {json.loads(unb64(payload))["jti"] for payload in payloads}
    assert len(identifiers) == 100
    assert {len(unb64(identifier)) for identifier in identifiers} == {16}


@A_LIMITED_RUN
@given(
    st.integers(1, MAX_ID),
    st.text(max_size=64),
    st.lists(st.text(max_size=32), max_size=8),
    st.integers(1, DURATION),
)
def test_any_claims_survive_their_token(
    user_id: int, username: str, roles: list[str], duration: int
) -> None:
    claims = Claims(user_id, "sid", username, tuple(roles), NOW, NOW + duration)
    access = new_access()
    assert access.verify(access.issue(claims, KEY), KEYS.get, NOW) == claims


@pytest.mark.parametrize(
    ("text", "is_shaped"),
    [
        pytest.param("a" * 31 + ".b." + "c" * 31, True, id="65 characters"),
        pytest.param("a" * 30 + ".b." + "c" * 31, False, id="64, as many as a name may have"),
        pytest.param("a" * 65, False, id="one part"),
        pytest.param("a" * 33 + "." + "b" * 33, False, id="two parts"),
        pytest.param("a" * 33 + ".b.c." + "d" * 33, False, id="four parts"),
        pytest.param("a" * 33 + ".." + "c" * 33, False, id="an empty part in the middle"),
        pytest.param(".b." + "c" * 65, False, id="at the beginning"),
        pytest.param("a" * 65 + ".b.", False, id="and at the end"),
        pytest.param("a" * 33 + ".b@b." + "c" * 33, False, id="a character of names only"),
        pytest.param("a" * 33 + ".b." + "c" * 33 + "\n", False, id="a newline behind"),
        pytest.param("é" * 33 + ".b." + "c" * 33, False, id="a letter outside ASCII"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_a_token_is_told_from_a_name_by_its_shape(text: str, *, is_shaped: bool) -> None:
    assert is_token_shaped(text) == is_shaped


def test_every_minted_token_is_token_shaped(access: AccessTokens) -> None:
    shortest = AccessTokens("", "", DURATION).issue(Claims(1, "", "", (), 0, 1), KEY)
    assert is_token_shaped(shortest)
    assert is_token_shaped(access.issue(CLAIMS, KEY))


# The header: exactly ours, and read before any key is looked up

FOREIGN_HEADERS: dict[str, object] = {
    "algorithm null": HEADER | {"alg": None},
    "algorithms in a list": HEADER | {"alg": ["HS256"]},
    "algorithms in an object": HEADER | {"alg": {"HS256": 1}},
    "no algorithm": without(HEADER, "alg"),
    "an algorithm by number": HEADER | {"alg": 256},
    "an embedded key": HEADER | {"jwk": {"kty": "oct", "k": b64(KEY.secret)}},
    "a key at a URL": HEADER | {"jku": "https://attacker.example/keys"},
    "a certificate at a URL": HEADER | {"x5u": "https://attacker.example/cert"},
    "an embedded certificate": HEADER | {"x5c": ["MIIB"]},
    "a certificate's digest": HEADER | {"x5t": "AAAA"},
    "an unknown critical extension": HEADER | {"crit": ["exp"], "exp": NOW},
    "no critical extension": HEADER | {"crit": []},
    "compression": HEADER | {"zip": "DEF"},
    "an unencoded payload (RFC 7797)": HEADER | {"b64": False, "crit": ["b64"]},
    "an encoded payload, said so": HEADER | {"b64": True},
    "a nested token": HEADER | {"cty": "JWT"},
    "any other member": HEADER | {"x": None},
    "a member in upper case": without(HEADER, "kid") | {"KID": "one"},
    "the type of any token": HEADER | {"typ": "JWT"},
    "the type of a refresh token": HEADER | {"typ": "rt+jwt"},
    "our type in upper case": HEADER | {"typ": "AT+JWT"},
    "our type in full": HEADER | {"typ": "application/at+jwt"},
    "type null": HEADER | {"typ": None},
    "types in a list": HEADER | {"typ": ["at+jwt"]},
    "no type": without(HEADER, "typ"),
    "no key named": without(HEADER, "kid"),
    "key null": HEADER | {"kid": None},
    "a key by number": HEADER | {"kid": 1},
    "keys in a list": HEADER | {"kid": ["one"]},
    "keys in an object": HEADER | {"kid": {"one": 1}},
    "a list": [HEADER],
    "a string": "HS256",
    "null": None,
    "an empty object": {},
    "a member twice": b'{"alg":"HS256","kid":"two","kid":"one","typ":"at+jwt"}',
    "not a number": b'{"alg":"HS256","kid":NaN,"typ":"at+jwt"}',
    "half an object": json.dumps(HEADER).encode()[:-1],
    "UTF-16": json.dumps(HEADER).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(HEADER).encode(),
    "Latin-1": b'{"alg":"HS256","kid":"\xe9","typ":"at+jwt"}',
    "nested without end": b"[" * 2000,
    "bytes of chance": sha256(b"").digest(),
}


@pytest.mark.parametrize("header", FOREIGN_HEADERS.values(), ids=FOREIGN_HEADERS)
def test_a_foreign_header_is_refused_before_any_key_is_looked_up(header: object) -> None:
    assert_refused(forge(header), never)


@pytest.mark.parametrize(
    "algorithm",
    [
        *("none", "None", "nOnE", "", "hs256", "HS256 ", "HS256\0", "HS384", "HS512", "RS256"),
        *("PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "dir", "A256GCM", "HMAC"),
    ],
)
def test_an_algorithm_that_is_not_the_keys_is_refused_before_any_signature(
    algorithm: str, signatures: list[bytes]
) -> None:
    assert_refused(forge(HEADER | {"alg": algorithm}))
    assert signatures == []


def test_algorithm_none_without_a_signature_is_refused() -> None:
    signing_input = forge(HEADER | {"alg": "none"}).rpartition(".")[0]
    assert_refused(signing_input, never)
    assert_refused(f"{signing_input}.", never)
    assert_refused(f"{signing_input}.AA")


def test_a_longer_digest_made_with_our_key_is_refused() -> None:
    assert_refused(forge(HEADER | {"alg": "HS512"}, digest="sha512"))
    assert_refused(forge(digest="sha512"))


def test_the_example_of_rfc_7515_is_refused() -> None:
    header, payload, signature, key = vectors.JWS_EXAMPLE
    example = Key("example", unb64(key), NOW, None)
    assert_refused(f"{header}.{payload}.{signature}", lambda _: example)


@pytest.mark.parametrize(
    "kid",
    [
        pytest.param("", id="empty"),
        pytest.param("three", id="unknown"),
        pytest.param("ONE", id="in upper case"),
        pytest.param("one\0", id="a NUL behind"),
        pytest.param("../../../../dev/null", id="a path"),
        pytest.param("file:///dev/null", id="a URL"),
        pytest.param("' UNION SELECT 'secret' --", id="SQL"),
        pytest.param("one; id", id="a command"),
        pytest.param("{0.__class__}", id="a template"),
        pytest.param("k" * 2000, id="2000 characters"),
    ],
)
def test_a_kid_is_a_name_and_nothing_else(kid: str) -> None:
    """Whatever it looks like, it is handed to the ring as it is, which knows it or not."""
    asked: list[str] = []

    def find_key(kid: str) -> None:
        asked.append(kid)

    assert_refused(forge(HEADER | {"kid": kid}, secret=b""), find_key)
    assert asked == [kid, kid]


def test_the_key_that_the_token_names_must_have_signed_it() -> None:
    assert_refused(forge(HEADER | {"kid": "two"}))
    assert_refused(forge(secret=RETIRED.secret))


# The text: one spelling


@pytest.mark.parametrize("behind", ["=", "==", "\n", " ", "\0", ".", ".x", ".eyJ9", "é", ",", "%"])
def test_a_token_with_something_behind_it_is_refused(behind: str) -> None:
    assert_refused(forge() + behind, never)


@pytest.mark.parametrize("before", ["=", "\n", " ", "\0", ".", "x.", "Bearer ", "\ufeff"])
def test_a_token_with_something_before_it_is_refused(before: str) -> None:
    assert_refused(before + forge(), never)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("..", id="three empty segments"),
        pytest.param("a.b", id="two segments"),
        pytest.param("é.é.é", id="not ASCII"),
        pytest.param("\ud800.\ud800.\ud800", id="lone surrogates"),
        pytest.param('{"protected":"e30","payload":"e30","signature":""}', id="as JSON"),
        pytest.param("e30.e30.e30.e30.e30", id="five segments, an encrypted token"),
    ],
)
def test_what_has_not_the_shape_of_a_token_is_refused(text: str) -> None:
    assert_refused(text, never)


def test_a_token_in_the_standard_base64_alphabet_is_refused() -> None:
    candidates = (forge(payload=PAYLOAD | {"jti": str(number)}) for number in count())
    token = next(token for token in candidates if {"-", "_"} <= {*token.rpartition(".")[2]})
    head, dot, signature = token.rpartition(".")
    assert_refused(head + dot + signature.translate(str.maketrans("-_", "+/")), never)


def test_a_header_in_another_spelling_is_refused() -> None:
    header, payload, _ = forge(HEADER | {"kid": "12"}).split(".")
    stray = header[:-1] + chr(ord(header[-1]) + 1)
    assert unb64(stray) == unb64(header)
    for other in (stray, header + "=" * (-len(header) % 4), header + "A", header[:-1]):
        assert_refused(sign(other, payload), never)


def test_every_character_of_a_token_counts() -> None:
    """Also the last one, which carries four bits and two stray ones."""
    token = forge()
    alphabet = ascii_letters + digits + "-_"
    for at, character in enumerate(token):
        other = alphabet[alphabet.find(character) - 1]
        assert_refused(token[:at] + other + token[at + 1 :])
    for other in alphabet.replace(token[-1], ""):
        assert_refused(token[:-1] + other)


def test_a_token_with_its_signature_cut_is_refused() -> None:
    token = forge()
    for length in range(1, 43):
        assert_refused(token[:-length])


def test_a_token_of_4096_characters_is_read_and_of_one_more_refused(
    access: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert access_tokens.MAX_LENGTH == 4096
    token = forge()
    monkeypatch.setattr(access_tokens, "MAX_LENGTH", len(token))
    assert access.verify(token, KEYS.get, NOW) == CLAIMS
    monkeypatch.setattr(access_tokens, "MAX_LENGTH", len(token) - 1)
    assert_refused(token, never)


# The claims: each of the right kind, and ours

BAD_CLAIMS: dict[str, object] = {
    "issuer missing": without(PAYLOAD, "iss"),
    "issuer null": PAYLOAD | {"iss": None},
    "another issuer": PAYLOAD | {"iss": "https://attacker.example"},
    "a part of the issuer": PAYLOAD | {"iss": "auth"},
    "more than the issuer": PAYLOAD | {"iss": "auth.example.attacker.example"},
    "the issuer in upper case": PAYLOAD | {"iss": "AUTH.EXAMPLE"},
    "issuers in a list": PAYLOAD | {"iss": ["auth.example"]},
    "audience missing": without(PAYLOAD, "aud"),
    "audience null": PAYLOAD | {"aud": None},
    "another audience": PAYLOAD | {"aud": "other.example"},
    "a part of the audience": PAYLOAD | {"aud": "api"},
    "audiences in a list": PAYLOAD | {"aud": ["api.example"]},
    "subject missing": without(PAYLOAD, "sub"),
    "subject null": PAYLOAD | {"sub": None},
    "subject a number": PAYLOAD | {"sub": 7},
    "subject a float": PAYLOAD | {"sub": 7.0},
    "subject true": PAYLOAD | {"sub": True},
    "subject a list": PAYLOAD | {"sub": ["7"]},
    "subject empty": PAYLOAD | {"sub": ""},
    "subject zero": PAYLOAD | {"sub": "0"},
    "subject negative": PAYLOAD | {"sub": "-7"},
    "subject with a plus sign": PAYLOAD | {"sub": "+7"},
    "subject with a leading zero": PAYLOAD | {"sub": "07"},
    "subject with a blank": PAYLOAD | {"sub": " 7"},
    "subject with a newline": PAYLOAD | {"sub": "7\n"},
    "subject with an underscore": PAYLOAD | {"sub": "1_0"},
    "subject a fraction": PAYLOAD | {"sub": "7.0"},
    "subject in foreign digits": PAYLOAD | {"sub": "\u0667"},
    "subject a name": PAYLOAD | {"sub": "miguel"},
    "subject SQL": PAYLOAD | {"sub": "7 OR 1=1"},
    "subject beyond every id": PAYLOAD | {"sub": str(MAX_ID + 1)},
    "subject of 20 digits": PAYLOAD | {"sub": "1" * 20},
    "session missing": without(PAYLOAD, "sid"),
    "session null": PAYLOAD | {"sid": None},
    "session a number": PAYLOAD | {"sid": 1},
    "name missing": without(PAYLOAD, "name"),
    "name null": PAYLOAD | {"name": None},
    "name a list": PAYLOAD | {"name": ["miguel"]},
    "roles missing": without(PAYLOAD, "roles"),
    "roles null": PAYLOAD | {"roles": None},
    "roles a string": PAYLOAD | {"roles": "admin"},
    "roles an object": PAYLOAD | {"roles": {"admin": True}},
    "a role that is null": PAYLOAD | {"roles": ["admin", None]},
    "a role that is a number": PAYLOAD | {"roles": [1]},
    "a role that is a list": PAYLOAD | {"roles": [["admin"]]},
    "issued at missing": without(PAYLOAD, "iat"),
    "issued at null": PAYLOAD | {"iat": None},
    "issued at a float": PAYLOAD | {"iat": float(NOW)},
    "issued at a string": PAYLOAD | {"iat": str(NOW)},
    "issued at a list": PAYLOAD | {"iat": [NOW]},
    "expiry missing": without(PAYLOAD, "exp"),
    "expiry null": PAYLOAD | {"exp": None},
    "expiry a float": PAYLOAD | {"exp": float(NOW + DURATION)},
    "expiry a string": PAYLOAD | {"exp": str(NOW + DURATION)},
    "expiry an object": PAYLOAD | {"exp": {"a": 1}},
    "expiry never": PAYLOAD | {"exp": 10**30},
    "expiry one second beyond our longest": PAYLOAD | {"exp": NOW + DURATION + 1},
    "expiry when it was issued": PAYLOAD | {"iat": NOW + 10, "exp": NOW + 10},
    "expiry before it was issued": PAYLOAD | {"iat": NOW + 10, "exp": NOW + 5},
    "a start, which we never give": PAYLOAD | {"nbf": NOW - 10},
    "a start that is null": PAYLOAD | {"nbf": None},
    "nothing": {},
    "a list": [PAYLOAD],
    "a string": "7",
    "null": None,
    "a member twice": json.dumps(PAYLOAD).encode()[:-1] + b',"sub":"8"}',
    "infinity": json.dumps(PAYLOAD | {"exp": float("inf")}).encode(),
    "a number beyond all floats": json.dumps(PAYLOAD).encode()[:-1] + b',"x":1e400}',
    "a lone surrogate": PAYLOAD | {"name": "\ud800"},
    "half an object": json.dumps(PAYLOAD).encode()[:-1],
    "UTF-16": json.dumps(PAYLOAD).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(PAYLOAD).encode("utf-16-le"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(PAYLOAD).encode(),
    "Latin-1": json.dumps(PAYLOAD).replace("miguel", "\xe9").encode("latin-1"),
    "nested without end": b"[" * 2000,
}


@pytest.mark.parametrize("payload", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_a_signed_token_with_bad_claims_is_refused(payload: object) -> None:
    assert_refused(forge(payload=payload))


def test_a_payload_that_is_no_base64_is_refused() -> None:
    assert_refused(sign(b64(json.dumps(HEADER).encode()), "AAAAA"))


def test_true_and_false_are_no_times(access: AccessTokens) -> None:
    """In Python they are the integers 1 and 0, and so would make a good token in 1970."""
    times = PAYLOAD | {"iat": 0, "exp": 1}
    assert access.verify(forge(payload=times), KEYS.get, 0).expires_at == 1
    assert_refused(forge(payload=times | {"exp": True}), now=0)
    assert_refused(forge(payload=times | {"iat": False}), now=0)


@pytest.mark.parametrize("user_id", [1, 10, MAX_ID])
def test_every_id_that_a_store_can_hold_is_a_subject(access: AccessTokens, user_id: int) -> None:
    token = forge(payload=PAYLOAD | {"sub": str(user_id)})
    assert access.verify(token, KEYS.get, NOW).user_id == user_id


def test_a_token_of_another_house_with_the_same_key_is_refused() -> None:
    for issuer, audience in (("other.example", "api.example"), ("auth.example", "other.example")):
        assert_refused(AccessTokens(issuer, audience, DURATION).issue(CLAIMS, KEY))


def test_a_token_that_would_live_longer_than_ours_do_is_refused() -> None:
    """It was made under another setting, or by somebody who has the key and no limits."""
    assert_refused(new_access().issue(replace(CLAIMS, expires_at=NOW + DURATION + 1), KEY))


# Pairs: one key, one algorithm


@pytest.fixture
def kinds() -> dict[str, Key]:
    """A key of each algorithm, by whose name it goes."""
    return {algorithm: key_of(algorithm, algorithm) for algorithm in EVERY}


def unsigned(algorithm: str, kid: str) -> str:
    header = json.dumps(HEADER | {"alg": algorithm, "kid": kid}).encode()
    return f"{b64(header)}.{b64(json.dumps(PAYLOAD).encode())}"


@pytest.mark.parametrize("algorithm", EVERY)
def test_a_key_of_each_algorithm_mints_and_verifies(
    access: AccessTokens, algorithm: Algorithm
) -> None:
    key = key_of(algorithm, "one")
    token = access.issue(CLAIMS, key)
    assert access.verify(token, {"one": key}.get, NOW) == CLAIMS
    header, payload, signature = token.split(".")
    assert json.loads(unb64(header)) == HEADER | {"alg": algorithm}
    assert json.loads(unb64(payload)).keys() == PAYLOAD.keys()
    assert len(unb64(signature)) == (32 if algorithm == "HS256" else 64)
    assert is_token_shaped(token)


@pytest.mark.parametrize("algorithm", EVERY)
def test_what_is_signed_elsewhere_with_our_key_is_verified(
    access: AccessTokens, algorithm: Algorithm
) -> None:
    """So each forgery below is refused for what it changes, and for nothing else."""
    key = key_of(algorithm, "one")
    text = unsigned(algorithm, "one")
    assert access.verify(f"{text}.{sign_with(text, key)}", {"one": key}.get, NOW) == CLAIMS


@pytest.mark.parametrize(("own", "foreign"), EVERY_TWO)
def test_no_token_is_signed_by_a_key_of_another_kind(
    own: Algorithm, foreign: Algorithm, kinds: dict[str, Key]
) -> None:
    for algorithm, signer in ((own, foreign), (foreign, foreign), (foreign, own)):
        text = unsigned(algorithm, kid=own)
        assert_refused(f"{text}.{sign_with(text, kinds[signer])}", kinds.get)


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_public_half_is_no_secret_to_sign_with(
    algorithm: Algorithm, kinds: dict[str, Key]
) -> None:
    """Nor is the private one, which has a use already."""
    key = kinds[algorithm]
    for secret in (*public_texts(key).values(), key.secret, b64(key.secret).encode()):
        for alg in ("HS256", algorithm):
            for digest in ("sha256", "sha512"):
                text = unsigned(alg, kid=algorithm)
                mac = b64(hmac.digest(secret, text.encode(), digest))
                assert_refused(f"{text}.{mac}", kinds.get)


def numbers(r: int, s: int, length: int = 32) -> bytes:
    return r.to_bytes(length) + s.to_bytes(length)


NO_ES256_SIGNATURES: dict[str, bytes] = {
    "zeros, as a psychic signs": numbers(0, 0),
    "r zero": numbers(0, 1),
    "s zero": numbers(1, 0),
    "ones": numbers(1, 1),
    "the order twice": numbers(P256_ORDER, P256_ORDER),
    "more than the order": b"\xff" * 64,
    "zeros for another curve": numbers(0, 0, 48),
    "in DER": bytes.fromhex("3006020101020101"),
    "half": bytes(32),
    "one byte": b"\0",
}


@pytest.mark.parametrize("signature", NO_ES256_SIGNATURES.values(), ids=NO_ES256_SIGNATURES)
def test_what_needs_no_secret_is_no_signature(signature: bytes, kinds: dict[str, Key]) -> None:
    for algorithm in PAIRED:
        text = unsigned(algorithm, kid=algorithm)
        assert_refused(f"{text}.{b64(signature)}", kinds.get)


def test_an_es256_signature_has_one_length(kinds: dict[str, Key]) -> None:
    text = unsigned("ES256", kid="ES256")
    raw = unb64(sign_with(text, kinds["ES256"]))
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    for other in (raw[:-1], raw + b"\0", b"\0" + raw, numbers(r, s, 33), numbers(r, s, 48)):
        assert_refused(f"{text}.{b64(other)}", kinds.get)


def test_an_es256_signature_has_two_spellings_for_the_same_claims(
    access: AccessTokens, kinds: dict[str, Key]
) -> None:
    """Anybody can make one of the other: so a token is never known by its text, but by its
    session."""
    token = access.issue(CLAIMS, kinds["ES256"])
    other = respell(token)
    assert other != token
    assert access.verify(other, kinds.get, NOW) == access.verify(token, kinds.get, NOW) == CLAIMS


def test_an_eddsa_signature_has_one_spelling(kinds: dict[str, Key]) -> None:
    text = unsigned("EdDSA", kid="EdDSA")
    raw = unb64(sign_with(text, kinds["EdDSA"]))
    s = int.from_bytes(raw[32:], "little")
    sign = raw[31] ^ 0x80
    others = [raw[:-1], raw + b"\0", raw[:31] + bytes([sign]) + raw[32:]]
    numbers = (s + ED25519_ORDER, ED25519_ORDER - s, s ^ 1, s ^ 1 << 255, 0)
    others += [raw[:32] + number.to_bytes(32, "little") for number in numbers]
    for other in others:
        assert_refused(f"{text}.{b64(other)}", kinds.get)


@pytest.mark.parametrize("algorithm", PAIRED)
def test_every_character_of_a_pairs_token_counts(
    algorithm: Algorithm, kinds: dict[str, Key]
) -> None:
    text = unsigned(algorithm, kid=algorithm)
    token = f"{text}.{sign_with(text, kinds[algorithm])}"
    alphabet = ascii_letters + digits + "-_"
    for at, character in enumerate(token):
        other = alphabet[alphabet.find(character) - 1]
        assert_refused(token[:at] + other + token[at + 1 :], kinds.get)


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_public_half_alone_verifies(access: AccessTokens, algorithm: Algorithm) -> None:
    key = key_of(algorithm, "one")
    assert key.pair
    public = replace(key, secret=b"", pair=replace(key.pair, private=None))
    assert access.verify(access.issue(CLAIMS, key), {"one": public}.get, NOW) == CLAIMS


# The times


def test_a_token_expires_at_the_second(access: AccessTokens) -> None:
    token = forge()
    assert access.verify(token, KEYS.get, NOW + DURATION - 1) == CLAIMS
    assert_refused(token, now=NOW + DURATION)


def test_a_token_from_a_clock_60_seconds_ahead_is_good_and_from_61_refused(
    access: AccessTokens,
) -> None:
    assert CLOCK_SKEW == 60
    token = forge()
    assert access.verify(token, KEYS.get, NOW - 60) == CLAIMS
    assert_refused(token, now=NOW - 61)


# The memory of good signatures


def test_a_signature_is_computed_once_for_two_uses(
    access: AccessTokens, signatures: list[bytes]
) -> None:
    token = forge()
    assert access.verify(token, KEYS.get, NOW) == access.verify(token, KEYS.get, NOW + 1) == CLAIMS
    assert signatures == [token.rpartition(".")[0].encode()]


def test_a_key_gone_from_the_ring_is_refused_on_the_second_use(access: AccessTokens) -> None:
    token = forge()
    access.verify(token, KEYS.get, NOW)
    with pytest.raises(BadCredentials):
        access.verify(token, lambda _: None, NOW)


def test_a_key_of_the_same_name_from_another_reading_verifies_anew(
    access: AccessTokens, signatures: list[bytes]
) -> None:
    token = forge()
    access.verify(token, KEYS.get, NOW)
    assert access.verify(token, {"one": replace(KEY)}.get, NOW) == CLAIMS
    assert len(signatures) == 2
    with pytest.raises(BadCredentials):
        access.verify(token, {"one": replace(KEY, secret=RETIRED.secret)}.get, NOW)


def test_a_remembered_token_still_expires(access: AccessTokens) -> None:
    token = forge()
    access.verify(token, KEYS.get, NOW)
    for now in (NOW + DURATION, NOW - 61):
        with pytest.raises(BadCredentials):
            access.verify(token, KEYS.get, now)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forge(secret=RETIRED.secret), id="a wrong signature"),
        pytest.param(forge(payload=PAYLOAD | {"sub": "0"}), id="bad claims"),
    ],
)
def test_a_failed_token_is_not_remembered(signatures: list[bytes], token: str) -> None:
    assert_refused(token)
    assert len(signatures) == 2


def test_a_token_that_differs_from_a_remembered_one_is_refused(access: AccessTokens) -> None:
    token = forge()
    access.verify(token, KEYS.get, NOW)
    header, payload, _ = forge(payload=PAYLOAD | {"sub": "8"}).split(".")
    with pytest.raises(BadCredentials):
        access.verify(f"{header}.{payload}.{token.rpartition('.')[2]}", KEYS.get, NOW)


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, signatures: list[bytes]) -> None:
    monkeypatch.setattr(access_tokens, "MEMO_SIZE", 2)
    access = new_access()
    for number in (1, 2, 3, 3, 1):
        access.verify(forge(payload=PAYLOAD | {"sub": str(number)}), KEYS.get, NOW)
    assert len(signatures) == 4  # the first had been forgotten


def test_nobody_can_alter_what_is_remembered(access: AccessTokens) -> None:
    claims = access.verify(forge(), KEYS.get, NOW)
    with pytest.raises(FrozenInstanceError):
        claims.user_id = 1  # type: ignore[misc]


def test_one_house_does_not_remember_for_another(access: AccessTokens) -> None:
    token = forge()
    access.verify(token, KEYS.get, NOW)
    with pytest.raises(BadCredentials):
        AccessTokens("auth.example", "other.example", DURATION).verify(token, KEYS.get, NOW)


# Anything at all

SEGMENTS = st.binary().map(b64) | st.sampled_from(forge().split("."))


@A_LIMITED_RUN
@given(st.text(st.characters()) | st.lists(SEGMENTS, min_size=3, max_size=3).map(".".join))
def test_any_text_is_refused_unless_we_signed_it(text: str) -> None:
    try:
        claims = new_access().verify(text, KEYS.get, NOW)
    except BadCredentials:
        return
    assert (text, claims) == (forge(), CLAIMS)


@A_LIMITED_RUN
@given(
    st.dictionaries(
        st.sampled_from([*PAYLOAD, "nbf"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters())
        | st.lists(st.text())
        | st.dictionaries(st.text(), st.none()),
        max_size=3,
    )
)
def test_any_signed_claims_are_read_or_refused(changes: JSON) -> None:
    try:
        claims = new_access().verify(forge(payload=PAYLOAD | changes), KEYS.get, NOW)
    except BadCredentials:
        return
    assert 1 <= claims.user_id <= MAX_ID
    assert claims.issued_at - CLOCK_SKEW <= NOW < claims.expires_at <= claims.issued_at + DURATION
