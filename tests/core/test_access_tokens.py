"""Access tokens: forged in every way that we know of, and refused."""

import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.api_jws import PyJWS

from restauth.core import access_tokens
from restauth.core.access_tokens import CLOCK_SKEW, AccessTokens, Claims, is_token_shaped
from restauth.core.keyring import Algorithm, Key
from restauth.errors import BadCredentials
from restauth.records import MAX_ID
from tests import vectors
from tests.core.inputs import (
    ANY_TEXT,
    BASE64URL,
    KEY,
    KEYS,
    LIMITED,
    NOW,
    RETIRED,
    altered,
    cases,
    never,
)
from tests.key_pairs import (
    ED25519_ORDER,
    EVERY,
    EVERY_TWO,
    P256_ORDER,
    PAIRED,
    b64,
    key_of,
    public_texts,
    respell,
    sign_with,
    unb64,
)

FindKey = Callable[[str], Key | None]
JSON = dict[str, object]

DURATION = 600
CLAIMS = Claims(7, "sid", "miguel", ("admin", "staff"), NOW, NOW + DURATION)

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


def new_access() -> AccessTokens:
    return AccessTokens("auth.example", "api.example", DURATION)


@pytest.fixture
def access() -> AccessTokens:
    return new_access()


@pytest.fixture
def kinds() -> dict[str, Key]:
    """A key of each algorithm, by whose name it goes."""
    return {algorithm: key_of(algorithm, algorithm) for algorithm in EVERY}


def encode(part: object) -> str:
    """A segment: bytes as they are, all else as JSON."""
    return b64(part if isinstance(part, bytes) else json.dumps(part).encode())


def sign(text: str, secret: bytes = KEY.secret, digest: str = "sha256") -> str:
    """A token of two finished segments, signed as RFC 7515 says by the standard library alone."""
    return f"{text}.{b64(hmac.digest(secret, text.encode(), digest))}"


def forge(header: object = HEADER, payload: object = PAYLOAD, secret: bytes = KEY.secret) -> str:
    """A correctly signed token of any header and payload."""
    return sign(f"{encode(header)}.{encode(payload)}", secret)


def unsigned(algorithm: str, kid: str) -> str:
    return f"{encode(HEADER | {'alg': algorithm, 'kid': kid})}.{encode(PAYLOAD)}"


def without(members: JSON, name: str) -> JSON:
    return {key: value for key, value in members.items() if key != name}


def no_json(members: JSON) -> list[bytes]:
    """Half an object, other encodings, and one nested without end."""
    text = json.dumps(members)
    others = [text.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-8-sig")]
    return [text[:-1].encode(), *others, b"[" * 2000]


def assert_refused(
    token: str, find_key: FindKey = KEYS.get, now: int = NOW, access: AccessTokens | None = None
) -> None:
    """Twice, for what is refused must not be remembered as valid."""
    access = access or new_access()
    for _ in range(2):
        with pytest.raises(BadCredentials) as refusal:
            access.verify(token, find_key, now)
        assert refusal.value.args == (BadCredentials.detail,)  # and nothing of the token


def test_the_forger_signs_as_rfc_7515_does() -> None:
    header, payload, signature, key = vectors.JWS_EXAMPLE
    example = f"{header}.{payload}.{signature}"
    assert sign(f"{header}.{payload}", unb64(key)) == example
    assert_refused(example, lambda _: Key("example", unb64(key), NOW, None))


@pytest.mark.parametrize("algorithm", EVERY)
def test_what_is_signed_elsewhere_with_our_key_is_verified(
    access: AccessTokens, algorithm: Algorithm, kinds: dict[str, Key]
) -> None:
    """So each forgery below is refused for what it changes, and for nothing else."""
    text = unsigned(algorithm, algorithm)
    token = f"{text}.{sign_with(text, kinds[algorithm])}"
    assert access.verify(token, kinds.get, NOW) == CLAIMS
    assert is_token_shaped(token)
    pair = kinds[algorithm].pair
    if pair:  # the public half is enough
        public = replace(kinds[algorithm], secret=b"", pair=replace(pair, private=None))
        assert access.verify(token, lambda _: public, NOW) == CLAIMS
    assert access.verify(forge(), KEYS.get, NOW) == CLAIMS
    assert access.verify(forge(HEADER | {"kid": "two"}, secret=RETIRED.secret), KEYS.get, NOW)


def test_a_token_is_told_from_a_name_by_its_shape() -> None:
    """A name has 64 characters at most."""
    assert is_token_shaped("a" * 31 + ".b." + "c" * 31)
    a, c = "a" * 33, "c" * 33
    names = ["", "a" * 30 + ".b." + "c" * 31, "a" * 65, f"{a}.{c}", f"{a}.b.c.{c}", f"{a}..{c}"]
    names += [f".b.{a}{c}", f"{a}{c}.b.", f"{a}.b@b.{c}", f"{a}.b.{c}\n", f"é{a}.b.{c}"]
    assert [name for name in names if is_token_shaped(name)] == []


# The header: exactly ours, and read before any key is looked up

FOREIGN_MEMBERS: dict[str, list[object]] = {
    "alg": [None, ["HS256"], {"HS256": 1}, 256],
    "typ": ["JWT", "rt+jwt", "AT+JWT", "application/at+jwt", None, ["at+jwt"]],
    "kid": [None, 1, ["one"], {"one": 1}],
    "jwk": [{"kty": "oct", "k": b64(KEY.secret)}],
    "jku": ["https://attacker.example/keys"], "x5u": ["https://attacker.example/cert"],
    "x5c": [["MIIB"]], "x5t": ["AAAA"], "crit": [[], ["exp"]], "zip": ["DEF"], "cty": ["JWT"],
    "b64": [False, True], "x": [None],  # b64: RFC 7797
}  # fmt: skip
FOREIGN_HEADERS: dict[str, list[object]] = {
    **{name: [HEADER | {name: one} for one in ones] for name, ones in FOREIGN_MEMBERS.items()},
    "members": [
        *(*(without(HEADER, name) for name in HEADER), without(HEADER, "kid") | {"KID": "one"}),
        *(HEADER | {"crit": ["exp"], "exp": NOW}, HEADER | {"crit": ["b64"], "b64": False}),
    ],
    "no object": [[HEADER], "HS256", None, {}],
    "text": [
        b'{"alg":"HS256","kid":"two","kid":"one","typ":"at+jwt"}',
        b'{"alg":"HS256","kid":NaN,"typ":"at+jwt"}',
        b'{"alg":"HS256","kid":"\xe9","typ":"at+jwt"}',
        *(sha256(b"").digest(), *no_json(HEADER)),
    ],
}


@pytest.mark.parametrize(("remark", "header"), cases(FOREIGN_HEADERS))
def test_a_foreign_header_is_refused_before_any_key_is_looked_up(
    remark: str, header: object
) -> None:
    assert_refused(forge(header), never)


@pytest.mark.parametrize(
    "algorithm",
    [
        *("none", "None", "nOnE", "", "hs256", "HS256 ", "HS256\0", "HS384", "HS512", "RS256"),
        *("PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "dir", "A256GCM", "HMAC"),
    ],
)
def test_an_algorithm_that_is_not_the_keys_is_refused_before_any_signature(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyJWS, "get_algorithm_by_name", never)
    text = unsigned(algorithm, "one")
    for token in (sign(text), sign(text, digest="sha512"), f"{text}.AA"):
        assert_refused(token)
    for token in (text, f"{text}."):
        assert_refused(token)


@pytest.mark.parametrize(
    "kid",
    [
        *("", "three", "ONE", "one\0", "../../../../dev/null", "file:///dev/null", "k" * 2000),
        *("' UNION SELECT 'secret' --", "one; id", "{0.__class__}"),
    ],
    ids=ascii,
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
    assert_refused(sign(unsigned("HS256", "one"), digest="sha512"))


# The text: one spelling

NOT_A_TOKEN = [
    *(forge() + behind for behind in ["=", "==", "\n", " ", "\0", ".", ".x", "é", ",", "%"]),
    *(before + forge() for before in ["=", "\n", " ", "\0", ".", "x.", "Bearer ", "\ufeff"]),
    *("", "..", "a.b", "é.é.é", "\ud800.\ud800.\ud800", "e30.e30.e30.e30.e30"),
    '{"protected":"e30","payload":"e30","signature":""}',
]


@pytest.mark.parametrize("text", NOT_A_TOKEN, ids=range(len(NOT_A_TOKEN)))
def test_what_has_not_the_shape_of_a_token_is_refused(text: str) -> None:
    assert_refused(text)


def test_a_token_in_the_standard_base64_alphabet_is_refused() -> None:
    candidates = (forge(payload=PAYLOAD | {"jti": str(number)}) for number in count())
    token = next(token for token in candidates if {"-", "_"} <= {*token.rpartition(".")[2]})
    head, dot, signature = token.rpartition(".")
    assert_refused(head + dot + signature.translate(str.maketrans("-_", "+/")))


def test_a_segment_in_another_spelling_is_refused() -> None:
    header, payload = encode(HEADER | {"kid": "12"}), encode(PAYLOAD)
    stray = header[:-1] + chr(ord(header[-1]) + 1)
    assert unb64(stray) == unb64(header)
    for other in (stray, header + "=" * (-len(header) % 4), header + "A", header[:-1]):
        assert_refused(sign(f"{other}.{payload}"), never)
    assert_refused(sign(f"{encode(HEADER)}.AAAAA"))


@pytest.mark.parametrize("algorithm", EVERY)
def test_every_character_of_a_token_counts(algorithm: Algorithm, kinds: dict[str, Key]) -> None:
    """Also the last one, which carries four bits and two stray ones."""
    text = unsigned(algorithm, algorithm)
    token = f"{text}.{sign_with(text, kinds[algorithm])}"
    last = [token[:-1] + other for other in BASE64URL.replace(token[-1], "")]
    for other in (*altered(token), *last, *(token[:-cut] for cut in range(1, 43))):
        assert_refused(other, kinds.get)


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

BAD_CLAIMS: dict[str, list[object]] = {
    "iss": [
        *(None, "https://attacker.example", "auth", "auth.example.attacker.example"),
        *("AUTH.EXAMPLE", ["auth.example"]),
    ],
    "aud": [None, "other.example", "api", ["api.example"]],
    "sub": [
        *(None, 7, 7.0, True, ["7"], "", "0", "-7", "+7", "07", " 7", "7\n", "1_0", "7.0"),
        *("\u0667", "miguel", "7 OR 1=1", str(MAX_ID + 1), "1" * 20),
    ],
    "sid": [None, 1],
    "name": [None, ["miguel"], "\ud800"],
    "roles": [None, "admin", {"admin": True}, ["admin", None], [1], [["admin"]]],
    "iat": [None, float(NOW), str(NOW), [NOW]],
    # As long as any other time, without end, and one second longer than our longest.
    "exp": [
        *(None, float(NOW + DURATION), str(NOW + DURATION), {"a": 1}, float("inf")),
        *(10**30, NOW + DURATION + 1),
    ],
    "jti": [None, 1, ["jti"]],
    "nbf": [NOW - 10, None],  # which we never give
}
BAD_PAYLOADS: dict[str, list[object]] = {
    **{name: [PAYLOAD | {name: one} for one in ones] for name, ones in BAD_CLAIMS.items()},
    "missing": [without(PAYLOAD, name) for name in PAYLOAD],
    "expired when issued": [PAYLOAD | {"iat": NOW + 10, "exp": NOW + end} for end in (5, 10)],
    "no object": [[PAYLOAD], "7", None, {}],
    "text": [
        json.dumps(PAYLOAD).encode()[:-1] + b',"sub":"8"}',
        json.dumps(PAYLOAD).encode()[:-1] + b',"x":1e400}',
        json.dumps(PAYLOAD).replace("miguel", "\xe9").encode("latin-1"),
        *no_json(PAYLOAD),
    ],
}


@pytest.mark.parametrize(("remark", "payload"), cases(BAD_PAYLOADS))
def test_a_signed_token_with_a_bad_payload_is_refused(remark: str, payload: object) -> None:
    assert_refused(forge(payload=payload))


def test_true_and_false_are_no_times(access: AccessTokens) -> None:
    """In Python they are the integers 1 and 0, and so would make a valid token in 1970."""
    times = PAYLOAD | {"iat": 0, "exp": 1}
    assert access.verify(forge(payload=times), KEYS.get, 0).expires_at == 1
    assert_refused(forge(payload=times | {"exp": True}), now=0)
    assert_refused(forge(payload=times | {"iat": False}), now=0)


# Pairs: one key, one algorithm


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
                assert_refused(sign(unsigned(alg, kid=algorithm), secret, digest), kinds.get)


def numbers(r: int, s: int, length: int = 32) -> bytes:
    return r.to_bytes(length) + s.to_bytes(length)


def test_what_needs_no_secret_is_no_signature(kinds: dict[str, Key]) -> None:
    signatures = [numbers(r, s) for r, s in ((0, 0), (0, 1), (1, 0), (1, 1), (P256_ORDER,) * 2)]
    signatures += [b"\xff" * 64, numbers(0, 0, 48), bytes(32), b"\0"]
    signatures.append(bytes.fromhex("3006020101020101"))  # in DER
    for algorithm in PAIRED:
        for signature in signatures:
            assert_refused(f"{unsigned(algorithm, kid=algorithm)}.{b64(signature)}", kinds.get)


def test_an_es256_signature_has_one_length_and_two_spellings_for_the_same_claims(
    access: AccessTokens, kinds: dict[str, Key]
) -> None:
    """Anybody can make one of the other: so a token is never known by its text, but by its
    session."""
    text = unsigned("ES256", kid="ES256")
    signature = sign_with(text, kinds["ES256"])
    token, other = f"{text}.{signature}", respell(f"{text}.{signature}")
    assert other != token
    assert access.verify(other, kinds.get, NOW) == access.verify(token, kinds.get, NOW) == CLAIMS
    raw = unb64(signature)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    for wrong in (raw[:-1], raw + b"\0", b"\0" + raw, numbers(r, s, 33), numbers(r, s, 48)):
        assert_refused(f"{text}.{b64(wrong)}", kinds.get)


def test_an_eddsa_signature_has_one_spelling(kinds: dict[str, Key]) -> None:
    text = unsigned("EdDSA", kid="EdDSA")
    raw = unb64(sign_with(text, kinds["EdDSA"]))
    s = int.from_bytes(raw[32:], "little")
    others = [raw[:-1], raw + b"\0", raw[:31] + bytes([raw[31] ^ 0x80]) + raw[32:]]
    scalars = (s + ED25519_ORDER, ED25519_ORDER - s, s ^ 1, s ^ 1 << 255, 0)
    others += [raw[:32] + scalar.to_bytes(32, "little") for scalar in scalars]
    for other in others:
        assert_refused(f"{text}.{b64(other)}", kinds.get)


# The times, and the memo of verified signatures


def test_a_token_expires_at_the_second_and_may_be_60_seconds_ahead(access: AccessTokens) -> None:
    """At the first use and at any other: the memo is of signatures."""
    assert CLOCK_SKEW == 60
    token = forge()
    for now in (NOW - 60, NOW + DURATION - 1):
        assert access.verify(token, KEYS.get, now) == CLAIMS
    for now in (NOW - 61, NOW + DURATION):
        assert_refused(token, now=now)
        assert_refused(token, now=now, access=access)


def test_a_signature_is_computed_once_for_each_reading_of_its_key(
    access: AccessTokens, compared: list[tuple[bytes, bytes]]
) -> None:
    token = forge()
    assert access.verify(token, KEYS.get, NOW) == access.verify(token, KEYS.get, NOW + 1) == CLAIMS
    assert [signature for signature, _ in compared] == [unb64(token.rpartition(".")[2])]
    assert access.verify(token, {"one": replace(KEY)}.get, NOW) == CLAIMS
    assert len(compared) == 2
    assert_refused(token, {"one": replace(KEY, secret=RETIRED.secret)}.get, access=access)


def test_what_was_verified_verifies_nothing_else(access: AccessTokens) -> None:
    """Neither without its key, nor other claims, nor in another service."""
    token = forge()
    access.verify(token, KEYS.get, NOW)
    assert_refused(token, lambda _: None, access=access)
    other = forge(payload=PAYLOAD | {"sub": "8"}).rpartition(".")[0]
    assert_refused(f"{other}.{token.rpartition('.')[2]}", access=access)
    assert_refused(token, access=AccessTokens("auth.example", "other.example", DURATION))


def test_a_failed_token_is_not_remembered(compared: list[tuple[bytes, bytes]]) -> None:
    assert_refused(forge(secret=RETIRED.secret))
    assert_refused(forge(payload=PAYLOAD | {"sub": "0"}))
    assert len(compared) == 4


def test_the_memo_is_bounded(
    monkeypatch: pytest.MonkeyPatch, compared: list[tuple[bytes, bytes]]
) -> None:
    monkeypatch.setattr(access_tokens, "MEMO_SIZE", 2)
    access = new_access()
    for number in (1, 2, 3, 3, 1):
        access.verify(forge(payload=PAYLOAD | {"sub": str(number)}), KEYS.get, NOW)
    assert len(compared) == 4  # the first had been forgotten


# Anything at all

SEGMENTS = st.binary().map(b64) | st.sampled_from(forge().split("."))


@LIMITED
@given(ANY_TEXT | st.lists(SEGMENTS, min_size=3, max_size=3).map(".".join))
def test_any_text_is_refused_unless_we_signed_it(text: str) -> None:
    try:
        claims = new_access().verify(text, KEYS.get, NOW)
    except BadCredentials:
        return
    assert (text, claims) == (forge(), CLAIMS)


ANY_CLAIM = (
    *(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT),
    *(st.lists(st.text()), st.dictionaries(st.text(), st.none())),
)


@LIMITED
@given(st.dictionaries(st.sampled_from([*PAYLOAD, "nbf"]), st.one_of(*ANY_CLAIM), max_size=3))
def test_any_signed_claims_are_read_or_refused(changes: JSON) -> None:
    try:
        claims = new_access().verify(forge(payload=PAYLOAD | changes), KEYS.get, NOW)
    except BadCredentials:
        return
    assert 1 <= claims.user_id <= MAX_ID
    assert claims.issued_at - CLOCK_SKEW <= NOW < claims.expires_at <= claims.issued_at + DURATION
