"""The key ring's file form, its refusals, and what of it the public may see."""

import json
import traceback
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import jwk
from restauth.core.access_tokens import AccessTokens, Claims
from restauth.core.keyring import Algorithm, KeyRing
from restauth.errors import UnusableKeyRing
from tests import vectors
from tests.key_pairs import EVERY, NEEDS_EXTRA, PAIRED, key_of, lose_extra, need_extra, pair_entry

NOW = 1_800_000_000
DURATION = 600
CLAIMS = Claims(1, "sid", "miguel", (), NOW, NOW + DURATION)
TOKENS = AccessTokens("restauth", "restauth", DURATION)
SECRET = sha256(b"a secret of the tests").digest()
OTHER_SECRET = sha256(b"another one").digest()
SEED_SECRET = b"the quick brown fox jumps over the lazy dog"
FASTAPI_SECRET = b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"
PEM = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""  # RFC 8410 section 10.1
SSH_LINE = b"AAAAC3NzaC1lZDI1NTE5AAAAIBm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh miguel@home"
JWK = b'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'  # RFC 8037

OF_NO_KIND = 'Key "one" is no HS256, EdDSA, ES256 signing key (kty, crv, alg, use).'
NOT_CANONICAL = 'The secret of key "one" is not canonical Base64url.'
IS_WEAK = 'Key "one" is weak: short, famous, or far from random.'
OFF_CURVE = 'Key "one" is no key of its curve.'
NO_HALVES = 'The public half of key "one" is not that of its secret.'

Entry = dict[str, object]


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def entry(**changes: object) -> Entry:
    """A good signing key as a JWK, but for the changes."""
    good = {"kty": "oct", "use": "sig", "alg": "HS256", "kid": "one", "k": b64(SECRET)}
    return {**good, "created_at": NOW, **changes}


def entry_of(algorithm: Algorithm, **changes: object) -> Entry:
    return entry(**changes) if algorithm == "HS256" else pair_entry(algorithm, **changes)


def without(name: str, entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key != name}


def public_entry(algorithm: Algorithm, **changes: object) -> Entry:
    """What a server shows of that key."""
    return without("created_at", without("d", pair_entry(algorithm))) | changes


def jwk_set(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


def facts(ring: KeyRing) -> list[tuple[object, ...]]:
    """What a key consists of: keys themselves are equal only to themselves."""
    return [
        (
            *(key.kid, key.algorithm, key.secret, key.created_at, key.retired_at),
            key.pair and key.pair.members,
        )
        for key in ring.keys
    ]


RETIRED = entry(kid="two", k=b64(OTHER_SECRET), retired_at=NOW)

MALFORMED = {
    "nothing": b"",
    "half a ring": jwk_set(entry())[:-1],
    "a list": json.dumps([entry()]).encode(),
    "a member twice": jwk_set(entry()).replace(b'"kty"', b'"kid": "two", "kty"'),
    "UTF-16": jwk_set(entry()).decode().encode("utf-16"),
    "a private key in PEM": b"-----BEGIN PRIVATE KEY-----\n",
}
WITHOUT_A_LIST: dict[str, object] = {
    "no keys member": {},
    "a bare JWK": entry(),
    "keys null": {"keys": None},
    "keys an object": {"keys": {"one": entry()}},
    "keys a string": {"keys": "one"},
    "no key in the list": {"keys": []},
}
WITHOUT_USABLE_KID: dict[str, Entry] = {
    "no kid": without("kid", entry()),
    "null": entry(kid=None),
    "a number": entry(kid=1),
    "a list": entry(kid=["one"]),
    "empty": entry(kid=""),
    "65 characters": entry(kid="k" * 65),
    "a path": entry(kid="../one"),
    "a blank": entry(kid="o ne"),
    "a newline behind": entry(kid="one\n"),
    "a letter outside ASCII": entry(kid="oné"),
}
OF_ANOTHER_KIND: dict[str, Entry] = {
    "no kty": without("kty", entry()),
    "an RSA key": entry(kty="RSA"),
    "kty in upper case": entry(kty="OCT"),
    "kty a list": entry(kty=["oct"]),
    "no alg": without("alg", entry()),
    "HS512": entry(alg="HS512"),
    "none": entry(alg="none"),
    "alg in lower case": entry(alg="hs256"),
    "alg a list": entry(alg=["HS256"]),
    "no use": without("use", entry()),
    "an encryption key": entry(use="enc"),
    "a secret said to be an EdDSA key": entry(alg="EdDSA"),
    "a secret said to be an ES256 key": entry(alg="ES256"),
    "an EdDSA key said to be a secret": pair_entry("EdDSA", alg="HS256"),
    "an EdDSA key said to be an ES256 key": pair_entry("EdDSA", alg="ES256"),
    "an EdDSA key by the name of its curve": pair_entry("EdDSA", alg="Ed25519"),
    "an ES256 key said to be a secret": pair_entry("ES256", alg="HS256"),
    "an ES256 key said to be an EdDSA key": pair_entry("ES256", alg="EdDSA"),
    "an ES256 key for ES384": pair_entry("ES256", alg="ES384"),
    "Ed448": pair_entry("EdDSA", crv="Ed448"),
    "X25519": pair_entry("EdDSA", crv="X25519"),
    "P-384": pair_entry("ES256", crv="P-384"),
    "Bitcoin's curve": pair_entry("ES256", crv="secp256k1"),
    "no curve": without("crv", pair_entry("ES256")),
    "curves in a list": pair_entry("EdDSA", crv=["Ed25519"]),
    "a curve in lower case": pair_entry("EdDSA", crv="ed25519"),
}
NOT_BASE64URL: dict[str, Entry] = {
    "no secret": without("k", entry()),
    "null": entry(k=None),
    "a list": entry(k=[b64(SECRET)]),
    "padded": entry(k=b64(SECRET) + "="),
    "the other alphabet": entry(k="+/" + b64(SECRET)[2:]),
    "a blank": entry(k=b64(SECRET)[:20] + " " + b64(SECRET)[20:]),
    "a newline behind": entry(k=b64(SECRET) + "\n"),
    "one character too many": entry(k="A" * 45),
    "stray bits in the last character": entry(k="_" * 43),
    "a letter outside ASCII": entry(k="é" * 43),
    "an EdDSA key without its secret": without("d", pair_entry("EdDSA")),
    "an ES256 key without its secret": without("d", pair_entry("ES256")),
    "an EdDSA key with its secret elsewhere": pair_entry("EdDSA", d=None, k=b64(SECRET)),
    "an ES256 key's secret padded": pair_entry("ES256", d=b64(SECRET) + "="),
}
WEAK = {
    "empty": b"",
    "31 bytes": SECRET[:31],
    "the secret of REST-auth": SEED_SECRET,
    "padded with blanks": SEED_SECRET + b" " * 21,
    "in blanks and line ends": b"\r\n\t " + SEED_SECRET + b"\n",
    "and a NUL, which HMAC pads it with anyway": SEED_SECRET + b"\0",
    "and a line end and NULs": SEED_SECRET + b"\n\0\0",
    "RFC 7515 appendix A.1": urlsafe_b64decode(vectors.JWS_EXAMPLE[3] + "=="),
    "RFC 7520 section 3.5": urlsafe_b64decode("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg="),
    "the example of jwt.io": b"a-string-secret-at-least-256-bits-long",
    "FastAPI's tutorial": FASTAPI_SECRET,
    "FastAPI's tutorial in bytes": bytes.fromhex(FASTAPI_SECRET.decode()),
    "the alphabet and six digits": b"abcdefghijklmnopqrstuvwxyz012345",
    "the alphabet and ten digits": b"abcdefghijklmnopqrstuvwxyz0123456789",
    "ten digits and the alphabet": b"0123456789abcdefghijklmnopqrstuvwxyz",
    "the bytes in their order": bytes(range(32)),
    "the bytes from one on": bytes(range(1, 33)),
    "zeros": bytes(32),
    "one letter": b"a" * 64,
    "16 bytes padded with NULs": SECRET[:16] + bytes(16),
    "23 bytes padded with NULs": SECRET[:23] + bytes(9),
    "23 bytes behind NULs": bytes(9) + SECRET[:23],
    "eleven different bytes": SECRET[:10] + b"a" * 30,
    "a word of 16 bytes twice": SECRET[:16] * 2,
    "a word of 13 bytes three times": SECRET[:13] * 3,
    "a public key in PEM": PEM,
    "a public key in PEM behind a remark": b"our key:\n" + PEM,
    "a public key as ssh-keygen -e prints it": b"---- BEGIN SSH2 PUBLIC KEY ----\n" + SSH_LINE,
    "a famous key in blanks and NULs": b" \0" + SEED_SECRET + b"\0\n",
    "a line for sshd": b"ssh-ed25519 " + SSH_LINE,
    "a line for sshd with an option": b"no-pty ssh-ed25519 " + SSH_LINE,
    "a line for sshd with another curve": b"ecdsa-sha2-nistp256 " + SSH_LINE,
    "a public JWK": JWK,
    "a public JWK Set": b'{"keys": [' + JWK + b"]}",
}
WITHOUT_USABLE_TIMES: dict[str, Entry] = {
    "created at a float": entry(created_at=1.5),
    "created at a string": entry(created_at=str(NOW)),
    "created at true": entry(created_at=True),
    "created at null": entry(created_at=None),
    "retired at a float": entry(retired_at=1.5),
    "retired at a string": entry(retired_at=str(NOW)),
    "retired at false": entry(retired_at=False),
    "created before the epoch": entry(created_at=-1),
    "created in the year 10000": entry(created_at=253_402_300_800),
    "retired before the epoch": entry(retired_at=-1),
    "retired after all years": entry(retired_at=10**30),
}


SHOWN_SECRETS = (
    *(b64(SECRET), b64(OTHER_SECRET), repr(SECRET), repr(OTHER_SECRET)),
    *(vectors.PAIRS[algorithm]["d"] for algorithm in PAIRED),
)


def refusal_of(raw: bytes, *, signs: bool = True) -> str:
    """What the refusal says; whatever it says, and in its traceback too, no secret is in it."""
    with pytest.raises(UnusableKeyRing) as caught:
        jwk.parse(raw, signs=signs)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in SHOWN_SECRETS:
        assert secret[:16] not in shown
    return str(caught.value)


# Refusals


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_a_ring_that_is_not_a_json_object_is_refused(raw: bytes) -> None:
    assert refusal_of(raw) == "The key ring is not well-formed JSON."


@pytest.mark.parametrize("document", WITHOUT_A_LIST.values(), ids=WITHOUT_A_LIST)
def test_a_ring_without_keys_is_refused(document: object) -> None:
    assert (
        refusal_of(json.dumps(document).encode())
        == 'The key ring has no list of "keys", or an empty one.'
    )


@pytest.mark.parametrize("key", [None, "one", 1, [], [["kid", "one"]]])
def test_a_key_that_is_no_object_is_refused(key: object) -> None:
    assert refusal_of(jwk_set(entry(), key)) == "A key of the key ring is not an object."


@pytest.mark.parametrize("key", WITHOUT_USABLE_KID.values(), ids=WITHOUT_USABLE_KID)
def test_a_key_without_a_usable_kid_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == 'A key of the key ring has no usable "kid".'


@pytest.mark.parametrize("key", OF_ANOTHER_KIND.values(), ids=OF_ANOTHER_KIND)
def test_a_key_of_another_kind_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == OF_NO_KIND


@pytest.mark.parametrize("key", NOT_BASE64URL.values(), ids=NOT_BASE64URL)
def test_a_secret_in_another_spelling_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == NOT_CANONICAL


@pytest.mark.parametrize("secret", WEAK.values(), ids=WEAK)
def test_a_weak_key_is_refused(secret: bytes) -> None:
    assert refusal_of(jwk_set(entry(k=b64(secret)))) == IS_WEAK
    for algorithm in PAIRED:
        for signs in (True, False):
            key = jwk_set(pair_entry(algorithm, d=b64(secret)))
            assert refusal_of(key, signs=signs) == IS_WEAK


@pytest.mark.parametrize("pair", vectors.FAMOUS_PAIRS.values(), ids=vectors.FAMOUS_PAIRS)
def test_a_pair_that_stands_in_a_standard_is_refused(pair: dict[str, str]) -> None:
    algorithm = "EdDSA" if pair["kty"] == "OKP" else "ES256"
    key: Entry = {**pair, "use": "sig", "alg": algorithm, "kid": "one"}
    need_extra()
    assert refusal_of(jwk_set(key)) == IS_WEAK
    assert refusal_of(jwk_set(without("d", key)), signs=False) == IS_WEAK


def test_a_weak_key_is_refused_even_if_it_only_verifies() -> None:
    weak = RETIRED | {"k": b64(SEED_SECRET)}
    assert refusal_of(jwk_set(entry(), weak)).startswith('Key "two" is weak')


@pytest.mark.parametrize("key", WITHOUT_USABLE_TIMES.values(), ids=WITHOUT_USABLE_TIMES)
def test_a_time_that_is_no_whole_number_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == 'The times of key "one" are not whole seconds.'


def test_a_key_may_be_as_old_as_the_epoch_and_as_new_as_the_last_second_of_9999() -> None:
    for created_at in (0, 253_402_300_799):
        key = jwk.parse(jwk_set(entry(created_at=created_at))).signing_key
        assert key.created_at == created_at


def test_two_keys_of_one_name_are_refused() -> None:
    message = refusal_of(jwk_set(entry(), RETIRED | {"kid": "one"}))
    assert message == 'Two keys of the key ring have one "kid".'


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([RETIRED], id="none signs"),
        pytest.param([RETIRED, entry()], id="the second one signs"),
        pytest.param([entry(), entry(kid="two")], id="two sign"),
        pytest.param([entry(), RETIRED, entry(kid="three")], id="the first and the last one sign"),
    ],
)
def test_a_ring_in_which_not_just_the_first_key_signs_is_refused(keys: list[Entry]) -> None:
    message = refusal_of(jwk_set(*keys))
    assert message == "The first key of the ring signs, and no other may be unretired."


JUNK = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.text(), max_size=1)
    | st.binary(min_size=30, max_size=34).map(b64)
    | st.sampled_from([*EVERY, "oct", "OKP", "EC", "Ed25519", "P-256"])
)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(
    st.binary()
    | st.recursive(JUNK, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
        jwk_set
    )
    | st.tuples(
        st.sampled_from(EVERY),
        st.dictionaries(
            st.sampled_from([*entry(), *pair_entry("ES256"), "retired_at"]), JUNK, max_size=2
        ),
        st.sets(st.sampled_from(["d", "k", "x", "y", "crv", "created_at"]), max_size=1),
    ).map(
        lambda drawn: jwk_set(
            {k: v for k, v in (entry_of(drawn[0]) | drawn[1]).items() if k not in drawn[2]}
        )
    ),
    st.booleans(),
)
def test_any_bytes_are_a_ring_or_refused(raw: bytes, signs: bool) -> None:
    try:
        ring = jwk.parse(raw, signs=signs)
    except UnusableKeyRing:
        return
    if all(key.secret for key in ring.keys):
        assert facts(jwk.parse(jwk.build(ring), signs=signs)) == facts(ring)


# Pairs: both halves fit, or nothing is read


NO_SECRETS: dict[str, Entry] = {
    "an EdDSA key with a byte too many": pair_entry("EdDSA", d=b64(SECRET + b"\1")),
    "an EdDSA key with both halves in one": pair_entry("EdDSA", d=b64(SECRET + OTHER_SECRET)),
    "an ES256 key with a byte too many": pair_entry("ES256", d=b64(SECRET + b"\1")),
    "an ES256 key with a NUL before": pair_entry("ES256", d=b64(b"\0" + SECRET)),
    "an ES256 key beyond its curve's order": pair_entry("ES256", d=b64(b"\xff" * 8 + SECRET[8:])),
}


@pytest.mark.parametrize("key", NO_SECRETS.values(), ids=NO_SECRETS)
def test_a_secret_that_is_none_of_its_curve_is_refused(key: Entry) -> None:
    need_extra()
    assert refusal_of(jwk_set(key)) == OFF_CURVE


OTHER_HALVES: dict[str, Entry] = {
    "no x": without("x", pair_entry("EdDSA")),
    "no y": without("y", pair_entry("ES256")),
    "x null": pair_entry("ES256", x=None),
    "x a list": pair_entry("EdDSA", x=[vectors.PAIRS["EdDSA"]["x"]]),
    "x padded": pair_entry("EdDSA", x=vectors.PAIRS["EdDSA"]["x"] + "="),
    "x with a NUL before": pair_entry(
        "ES256", x=b64(b"\0" + urlsafe_b64decode(vectors.PAIRS["ES256"]["x"] + "="))
    ),
    "x of another EdDSA key": pair_entry("EdDSA", x=vectors.OTHER_PAIRS["EdDSA"]["x"]),
    "x of another ES256 key": pair_entry("ES256", x=vectors.OTHER_PAIRS["ES256"]["x"]),
    "y of another ES256 key": pair_entry("ES256", y=vectors.OTHER_PAIRS["ES256"]["y"]),
    "the secret of another EdDSA key": pair_entry("EdDSA", d=vectors.OTHER_PAIRS["EdDSA"]["d"]),
    "the secret of another ES256 key": pair_entry("ES256", d=vectors.OTHER_PAIRS["ES256"]["d"]),
}


@pytest.mark.parametrize("signs", [True, False])
@pytest.mark.parametrize("key", OTHER_HALVES.values(), ids=OTHER_HALVES)
def test_a_public_half_that_is_not_that_of_the_secret_is_refused(
    key: Entry, *, signs: bool
) -> None:
    need_extra()
    assert refusal_of(jwk_set(key), signs=signs) == NO_HALVES


NO_POINTS: dict[str, Entry] = {
    "no x": without("x", public_entry("EdDSA")),
    "no y": without("y", public_entry("ES256")),
    "x null": public_entry("ES256", x=None),
    "x padded": public_entry("EdDSA", x=vectors.PAIRS["EdDSA"]["x"] + "="),
    "x a byte short": public_entry("EdDSA", x=b64(SECRET[:31])),
    "x off the curve of EdDSA": public_entry("EdDSA", x=b64(b"\2" + bytes(31))),
    "y of another key": public_entry("ES256", y=vectors.OTHER_PAIRS["ES256"]["y"]),
}


@pytest.mark.parametrize("key", NO_POINTS.values(), ids=NO_POINTS)
def test_a_public_half_off_its_curve_is_refused(key: Entry) -> None:
    need_extra()
    assert refusal_of(jwk_set(key), signs=False) == OFF_CURVE


SMALL_ORDERS = [
    *(f"{first}{'00' * 30}{last}" for first in ("00", "01") for last in ("00", "80")),
    *(f"{first}{'ff' * 30}{last}" for first in ("ec", "ed", "ee") for last in ("7f", "ff")),
    *(
        f"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc{last}"
        for last in ("05", "85")
    ),
    *(
        f"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03{last}"
        for last in ("7a", "fa")
    ),
]


@pytest.mark.parametrize("point", SMALL_ORDERS)
def test_a_public_half_for_which_anybody_can_sign_is_refused(point: str) -> None:
    """Of its eight multiples one is zero: about every eighth message needs no secret at all."""
    need_extra()
    x = b64(bytes.fromhex(point))
    assert refusal_of(jwk_set(public_entry("EdDSA", x=x)), signs=False) in (IS_WEAK, OFF_CURVE)


def test_without_the_extra_a_ring_with_a_pair_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose_extra(monkeypatch)
    for algorithm in PAIRED:
        retired = pair_entry(algorithm, kid="two", retired_at=NOW)
        for signs in (True, False):
            assert refusal_of(jwk_set(pair_entry(algorithm)), signs=signs) == NEEDS_EXTRA
            assert refusal_of(jwk_set(entry(), retired), signs=signs) == NEEDS_EXTRA
        assert refusal_of(jwk_set(public_entry(algorithm)), signs=False) == NEEDS_EXTRA
        with pytest.raises(UnusableKeyRing) as refusal:
            jwk.generate_key(NOW, algorithm)
        assert str(refusal.value) == NEEDS_EXTRA
    assert jwk.parse(jwk_set(entry())).signing_key.secret == SECRET


# The file form


def test_a_ring_is_read() -> None:
    ring = jwk.parse(jwk_set(entry(), RETIRED))
    assert facts(ring) == [
        ("one", "HS256", SECRET, NOW, None, None),
        ("two", "HS256", OTHER_SECRET, NOW, NOW, None),
    ]


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_pair_is_read(algorithm: Algorithm) -> None:
    ring = KeyRing((key_of(algorithm, "one"),))
    assert facts(jwk.parse(jwk_set(pair_entry(algorithm)))) == facts(ring)


def test_members_of_other_programs_are_ignored_and_our_own_times_may_be_missing() -> None:
    raw = jwk_set({**without("created_at", entry()), "x5t": "x"})
    assert facts(jwk.parse(raw)) == [("one", "HS256", SECRET, 0, None, None)]


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(SECRET, id="32 bytes"),
        pytest.param(SECRET + OTHER_SECRET, id="64 bytes"),
        pytest.param(SECRET[:11] + b"a" * 21, id="twelve different bytes"),
        pytest.param(SECRET[:31] + b"\0", id="a NUL at its end"),
        pytest.param(SECRET[:24] + bytes(8), id="eight NULs at its end"),
        pytest.param(SECRET + SECRET[:16], id="one and a half times a word"),
    ],
)
def test_a_strong_secret_is_read(secret: bytes) -> None:
    assert jwk.parse(jwk_set(entry(k=b64(secret)))).signing_key.secret == secret


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.lists(
        st.sampled_from([*PEM.splitlines(keepends=True), JWK, b"ssh-rsa ", b"ecdsa-sha2-nistp521 "])
        | st.binary(max_size=8),
        max_size=6,
    ).map(b"".join),
    st.sampled_from([b"", SECRET]),
)
def test_a_ring_signs_with_every_secret_that_it_accepts(before: bytes, after: bytes) -> None:
    """A library that refuses a secret does so at the first login, when it is too late."""
    try:
        ring = jwk.parse(jwk_set(entry(k=b64(before + after))))
    except UnusableKeyRing:
        return
    minted = TOKENS.issue(CLAIMS, ring.signing_key)
    assert TOKENS.verify(minted, lambda _: ring.signing_key, NOW) == CLAIMS


def test_a_kid_may_have_64_characters() -> None:
    assert jwk.parse(jwk_set(entry(kid="k" * 64))).signing_key.kid == "k" * 64


def test_what_is_written_is_a_jwk_set() -> None:
    raw = jwk.build(jwk.parse(jwk_set(entry(), RETIRED)))
    assert json.loads(raw) == {"keys": [entry(), RETIRED]}
    assert raw.isascii()
    assert raw.endswith(b"}\n")
    assert b'"kid": "one",' in [line.strip() for line in raw.splitlines()]  # for eyes and diffs


def test_what_is_written_of_pairs_is_a_jwk_set() -> None:
    need_extra()
    entries = [entry(), pair_entry("ES256", kid="two", retired_at=NOW)]
    entries.append(pair_entry("EdDSA", kid="three", retired_at=NOW - 1))
    assert json.loads(jwk.build(jwk.parse(jwk_set(*entries)))) == {"keys": entries}


@pytest.mark.parametrize("algorithm", EVERY)
def test_a_new_key_is_written_and_read_back(algorithm: Algorithm) -> None:
    if algorithm != "HS256":
        need_extra()
    older, newer = jwk.generate_key(NOW, algorithm), jwk.generate_key(NOW + 1, algorithm)
    assert (newer.algorithm, newer.created_at, newer.retired_at) == (algorithm, NOW + 1, None)
    assert len(newer.secret) == 32
    assert (newer.pair is None) is (algorithm == "HS256")
    ring = KeyRing((older,)).rotated(newer, NOW + 1)
    assert facts(jwk.parse(jwk.build(ring))) == facts(ring)


@pytest.mark.parametrize("algorithm", EVERY)
def test_no_two_new_keys_share_anything(algorithm: Algorithm) -> None:
    if algorithm != "HS256":
        need_extra()
    keys = [jwk.generate_key(NOW, algorithm) for _ in range(50)]
    assert len({key.secret for key in keys}) == 50
    assert len({key.kid for key in keys}) == 50


def test_two_readings_of_one_key_are_two_keys() -> None:
    raw = jwk_set(entry())
    first, second = jwk.parse(raw), jwk.parse(raw)
    assert first.signing_key != second.signing_key
    assert first != second


def test_a_secret_is_in_no_repr() -> None:
    shown = repr(jwk.parse(jwk_set(entry(), RETIRED)))
    assert "kid='one'" in shown
    for secret in (*SHOWN_SECRETS, repr(SECRET)[2:-1], repr(OTHER_SECRET)[2:-1]):
        assert secret not in shown


# The public set


def test_a_ring_of_secrets_has_nothing_to_show() -> None:
    assert jwk.build_public(jwk.parse(jwk_set(entry(), RETIRED))) == {"keys": []}


def test_what_is_shown_is_the_public_halves_and_nothing_else() -> None:
    need_extra()
    keys = [
        pair_entry("EdDSA"),
        pair_entry("ES256", kid="two", retired_at=NOW),
        RETIRED | {"kid": "three"},
    ]
    ring = jwk.parse(jwk_set(*keys))
    shown = jwk.build_public(ring)
    assert shown == {"keys": [public_entry("EdDSA"), public_entry("ES256", kid="two")]}
    text = json.dumps(shown)
    assert not any(f'"{name}"' in text for name in ("d", "k", "created_at", "retired_at"))
    assert not any(b64(key.secret) in text for key in ring.keys)


def test_who_only_verifies_reads_what_is_shown() -> None:
    need_extra()
    raw = jwk_set(public_entry("EdDSA"), public_entry("ES256", kid="two"))
    ring = jwk.parse(raw, signs=False)
    assert jwk_set(*jwk.build_public(ring)["keys"]) == raw  # type: ignore[misc]
    for key in ring.keys:
        assert (key.secret, key.retired_at) == (b"", None)
        assert key.pair
        assert key.pair.private is None
        token = TOKENS.issue(CLAIMS, key_of(key.algorithm, key.kid))
        assert TOKENS.verify(token, {key.kid: key}.get, NOW) == CLAIMS


def test_who_only_verifies_reads_a_private_set_too() -> None:
    need_extra()
    raw = jwk_set(RETIRED, pair_entry("EdDSA", retired_at=NOW), entry(kid="three"))
    assert [key.secret for key in jwk.parse(raw, signs=False).keys] == [
        *(OTHER_SECRET, urlsafe_b64decode(vectors.PAIRS["EdDSA"]["d"] + "="), SECRET)
    ]


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_ring_that_signs_has_every_secret(algorithm: Algorithm) -> None:
    assert refusal_of(jwk_set(public_entry(algorithm))) == NOT_CANONICAL
    retired = public_entry(algorithm, kid="two", retired_at=NOW)
    assert '"two"' in refusal_of(jwk_set(entry(), retired))


def test_who_only_verifies_needs_the_secret_of_hs256() -> None:
    assert refusal_of(jwk_set(without("k", entry())), signs=False) == NOT_CANONICAL
