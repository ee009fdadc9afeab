"""The key ring's file form, its refusals, and what of it the public may see."""

import json
import traceback
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import jwk
from restauth.core.access_tokens import AccessTokens, Claims
from restauth.core.keyring import Algorithm, KeyRing
from restauth.core.published_keys import PUBLISHED_KEYS
from restauth.core.token_issuing import TokenIssuing
from restauth.errors import UnusableKeyRing
from tests import vectors
from tests.core.inputs import LIMITED, cases
from tests.key_pairs import EVERY, PAIRED, b64, key_of, lose_extra, need_extra, pair_entry, unb64

NOW = 1_800_000_000
DURATION = 600
CLAIMS = Claims(1, "sid", "miguel", (), NOW, NOW + DURATION)
ISSUING = TokenIssuing("restauth", "restauth")
TOKENS = AccessTokens("restauth", "restauth", DURATION)
SECRET = sha256(b"a secret of the tests").digest()
OTHER_SECRET = sha256(b"another one").digest()
ALPHABET = b"abcdefghijklmnopqrstuvwxyz"
SEED_SECRET = b"the quick brown fox jumps over the lazy dog"
FASTAPI_SECRET = b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7"
PEM = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""  # RFC 8410 section 10.1
SSH_LINE = b"AAAAC3NzaC1lZDI1NTE5AAAAIBm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh miguel@home"
JWK = b'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'  # RFC 8037

# A telling part of each refusal.
OF_NO_KIND = "signing key of HS256"
NOT_CANONICAL = "canonical Base64url"
IS_WEAK = "is weak"
OFF_CURVE = "of its curve"
NO_HALVES = "does not belong"

Entry = dict[str, object]


def entry(**changes: object) -> Entry:
    """A good signing key as a JWK, but for the changes."""
    good = {"kty": "oct", "use": "sig", "alg": "HS256", "kid": "one", "k": b64(SECRET)}
    return {**good, "created_at": NOW, **changes}


def entry_of(algorithm: Algorithm, **changes: object) -> Entry:
    return entry(**changes) if algorithm == "HS256" else pair_entry(algorithm, **changes)


def without(name: str | None, entry: Entry) -> Entry:
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

NO_RINGS: dict[str, list[bytes]] = {
    "well-formed": [
        *(b"", jwk_set(entry())[:-1], json.dumps([entry()]).encode()),
        jwk_set(entry()).replace(b'"kty"', b'"kid": "two", "kty"'),  # a member twice
        jwk_set(entry()).decode().encode("utf-16"),
        b"-----BEGIN PRIVATE KEY-----\n",
    ],
    'no list of "keys"': [
        *(b"{}", json.dumps(entry()).encode(), b'{"keys": null}', b'{"keys": {"one": {}}}'),
        *(b'{"keys": "one"}', b'{"keys": []}'),
    ],
    "not an object": [jwk_set(entry(), key) for key in (None, "one", 1, [], [["kid", "one"]])],
    'one "kid"': [jwk_set(entry(), RETIRED | {"kid": "one"})],
    "first key of the ring signs": [
        jwk_set(RETIRED),
        jwk_set(RETIRED, entry()),
    ],
}
EDDSA, ES256 = vectors.PAIRS["EdDSA"], vectors.PAIRS["ES256"]
OTHER_EDDSA, OTHER_ES256 = vectors.OTHER_PAIRS["EdDSA"], vectors.OTHER_PAIRS["ES256"]
NO_KEYS: dict[str, list[Entry]] = {
    'no valid "kid"': [
        without("kid", entry()),
        *(entry(kid=kid) for kid in (None, 1, ["one"], "", "k" * 65, "../one", "o ne")),
        *(entry(kid=kid) for kid in ("one\n", "oné")),
    ],
    OF_NO_KIND: [
        *(without(name, entry()) for name in ("kty", "alg", "use")),
        *(entry(kty=kty) for kty in ("RSA", "OCT", ["oct"])),
        *(entry(alg=alg) for alg in ("HS512", "none", "hs256", ["HS256"], "EdDSA", "ES256")),
        entry(use="enc"),
        *(pair_entry("EdDSA", alg=alg) for alg in ("HS256", "ES256", "Ed25519")),
        *(pair_entry("ES256", alg=alg) for alg in ("HS256", "EdDSA", "ES384")),
        *(pair_entry("EdDSA", crv=crv) for crv in ("Ed448", "X25519", "ed25519", ["Ed25519"])),
        *(pair_entry("ES256", crv=crv) for crv in ("P-384", "secp256k1")),
        without("crv", pair_entry("ES256")),
    ],
    NOT_CANONICAL: [
        without("k", entry()),
        *(entry(k=k) for k in (None, [b64(SECRET)], b64(SECRET) + "=", b64(SECRET) + "\n")),
        entry(k="+/" + b64(SECRET)[2:]),
        entry(k=b64(SECRET)[:20] + " " + b64(SECRET)[20:]),
        entry(k="A" * 45),
        entry(k="_" * 43),  # stray bits in the last character
        entry(k="é" * 43),
        *(without("d", pair_entry(algorithm)) for algorithm in PAIRED),
        pair_entry("EdDSA", d=None, k=b64(SECRET)),
        pair_entry("ES256", d=b64(SECRET) + "="),
    ],
    "not whole seconds up to": [
        *(entry(created_at=at) for at in (1.5, str(NOW), True, None, -1, 253_402_300_800)),
        *(entry(retired_at=at) for at in (1.5, str(NOW), False, -1, 10**30)),
    ],
}
NO_PAIRS: dict[str, list[Entry]] = {
    OFF_CURVE: [
        pair_entry("EdDSA", d=b64(SECRET + b"\1")),
        pair_entry("ES256", d=b64(b"\xff" * 8 + SECRET[8:])),  # beyond its curve's order
    ],
    NO_HALVES: [
        without("x", pair_entry("EdDSA")),
        without("y", pair_entry("ES256")),
        pair_entry("ES256", x=None),
        *(pair_entry("EdDSA", x=x) for x in ([EDDSA["x"]], EDDSA["x"] + "=", OTHER_EDDSA["x"])),
        *(pair_entry("ES256", x=x) for x in (b64(b"\0" + unb64(ES256["x"])), OTHER_ES256["x"])),
        pair_entry("ES256", y=OTHER_ES256["y"]),
        pair_entry("EdDSA", d=OTHER_EDDSA["d"]),
        pair_entry("ES256", d=OTHER_ES256["d"]),
    ],
}
# Of the eight multiples of such a point one is zero: about every eighth message needs no secret.
SMALL_ORDERS = [
    *(f"{first}{'00' * 30}{last}" for first in ("00", "01") for last in ("00", "80")),
    *(f"{first}{'ff' * 30}{last}" for first in ("ec", "ed", "ee") for last in ("7f", "ff")),
    *(
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc" + end
        for end in ("05", "85")
    ),
    *(
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03" + end
        for end in ("7a", "fa")
    ),
]
NO_HALF_PAIRS: dict[str, list[Entry]] = {
    OFF_CURVE: [
        without("x", public_entry("EdDSA")),
        without("y", public_entry("ES256")),
        public_entry("ES256", x=None),
        public_entry("ES256", y=OTHER_ES256["y"]),
        *(public_entry("EdDSA", x=x) for x in (EDDSA["x"] + "=", b64(SECRET[:31]))),
        public_entry("EdDSA", x=b64(b"\2" + bytes(31))),
    ],
    "": [public_entry("EdDSA", x=b64(bytes.fromhex(point))) for point in SMALL_ORDERS],
}
AROUND = (b"", b""), (b"", b" " * 21), (b"\r\n\t ", b"\n"), (b" \0", b"\0\n"), (b"", b"\n\0\0")
WEAK: dict[str, list[bytes]] = {
    "short": [
        *(b"", SECRET[:31], SECRET[:16] + bytes(16), SECRET[:23] + bytes(9), bytes(9) + SECRET[:23])
    ],
    "published": [
        *(before + SEED_SECRET + after for before, after in AROUND),
        SEED_SECRET + b"\0",  # with which HMAC pads it anyway
        unb64(vectors.JWS_EXAMPLE[3]),
        unb64("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg="),  # RFC 7520 section 3.5
        b"a-string-secret-at-least-256-bits-long",  # jwt.io
        *(FASTAPI_SECRET, bytes.fromhex(FASTAPI_SECRET.decode())),
        *(ALPHABET + b"012345", ALPHABET + b"0123456789", b"0123456789" + ALPHABET),
        *(bytes(range(32)), bytes(range(32)) + b"\n", bytes(range(1, 33))),
        *PUBLISHED_KEYS,
        b"any-other-placeholder-that-says-secret",
    ],
    "not random": [
        *(bytes(32), b"a" * 64, SECRET[:10] + b"a" * 30, SECRET[:16] * 2, SECRET[:13] * 3),
    ],
    "another kind of key": [
        *(PEM, b"our key:\n" + PEM, b"---- BEGIN SSH2 PUBLIC KEY ----\n" + SSH_LINE),
        *(b"ssh-ed25519 " + SSH_LINE, b"no-pty ssh-ed25519 " + SSH_LINE),
        *(b"ecdsa-sha2-nistp256 " + SSH_LINE, JWK, b'{"keys": [' + JWK + b"]}"),
    ],
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


@pytest.mark.parametrize(("reason", "raw"), cases(NO_RINGS))
def test_what_is_no_ring_with_a_first_key_that_signs_is_refused(reason: str, raw: bytes) -> None:
    assert reason in refusal_of(raw)


@pytest.mark.parametrize(("reason", "key"), cases(NO_KEYS))
def test_a_key_that_is_not_well_formed_is_refused(reason: str, key: Entry) -> None:
    assert reason in refusal_of(jwk_set(key))


@pytest.mark.parametrize(("reason", "secret"), cases(WEAK))
def test_a_weak_key_is_refused(reason: str, secret: bytes) -> None:
    """Even if it only verifies."""
    assert IS_WEAK in refusal_of(jwk_set(entry(k=b64(secret))))
    assert 'Key "two" is weak' in refusal_of(jwk_set(entry(), RETIRED | {"k": b64(secret)}))
    for algorithm in PAIRED:
        for signs in (True, False):
            key = jwk_set(pair_entry(algorithm, d=b64(secret)))
            assert IS_WEAK in refusal_of(key, signs=signs)


@pytest.mark.parametrize("pair", vectors.FAMOUS_PAIRS.values(), ids=vectors.FAMOUS_PAIRS)
def test_a_pair_that_stands_in_a_standard_is_refused(pair: dict[str, str]) -> None:
    need_extra()
    algorithm = "EdDSA" if pair["kty"] == "OKP" else "ES256"
    key: Entry = {**pair, "use": "sig", "alg": algorithm, "kid": "one"}
    assert IS_WEAK in refusal_of(jwk_set(key))
    assert IS_WEAK in refusal_of(jwk_set(without("d", key)), signs=False)


@pytest.mark.parametrize(("reason", "key"), cases(NO_PAIRS))
def test_a_pair_is_read_only_if_both_halves_fit(reason: str, key: Entry) -> None:
    need_extra()
    for signs in (True, False):
        assert reason in refusal_of(jwk_set(key), signs=signs)


@pytest.mark.parametrize(("reason", "key"), cases(NO_HALF_PAIRS))
def test_a_public_half_off_its_curve_or_for_which_anybody_can_sign_is_refused(
    reason: str, key: Entry
) -> None:
    need_extra()
    message = refusal_of(jwk_set(key), signs=False)
    assert reason in message
    assert OFF_CURVE in message or IS_WEAK in message


JUNK = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text(), max_size=1)),
    st.binary(min_size=30, max_size=34).map(b64),
    st.sampled_from([*EVERY, "oct", "OKP", "EC", "Ed25519", "P-256"]),
)
NESTED = st.recursive(JUNK, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
NAMES = st.sampled_from([*entry(), *pair_entry("ES256"), "retired_at"])


@settings(max_examples=500, derandomize=True, deadline=None)
@given(
    st.binary()
    | NESTED.map(jwk_set)
    | st.tuples(
        st.sampled_from(EVERY), st.dictionaries(NAMES, JUNK, max_size=2), st.none() | NAMES
    ).map(lambda drawn: jwk_set(without(drawn[2], entry_of(drawn[0]) | drawn[1]))),
    st.booleans(),
)
def test_any_bytes_are_a_ring_or_refused(raw: bytes, signs: bool) -> None:
    try:
        ring = jwk.parse(raw, signs=signs)
    except UnusableKeyRing:
        return
    if all(key.secret for key in ring.keys):
        assert facts(jwk.parse(jwk.build(ring), signs=signs)) == facts(ring)


def test_without_the_extra_a_ring_with_a_pair_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose_extra(monkeypatch)
    for algorithm in PAIRED:
        retired = pair_entry(algorithm, kid="two", retired_at=NOW)
        for signs in (True, False):
            assert "PyJWT[crypto]" in refusal_of(jwk_set(pair_entry(algorithm)), signs=signs)
            assert "PyJWT[crypto]" in refusal_of(jwk_set(entry(), retired), signs=signs)
        assert "PyJWT[crypto]" in refusal_of(jwk_set(public_entry(algorithm)), signs=False)
        with pytest.raises(UnusableKeyRing, match="PyJWT"):
            jwk.generate_key(NOW, algorithm)
    assert jwk.parse(jwk_set(entry())).signing_key.secret == SECRET


# The file form


def test_a_ring_is_read_and_written() -> None:
    raw = jwk_set(entry(), RETIRED)
    ring = jwk.parse(raw)
    assert facts(ring) == [
        ("one", "HS256", SECRET, NOW, None, None),
        ("two", "HS256", OTHER_SECRET, NOW, NOW, None),
    ]
    assert jwk.parse(raw) != ring  # two readings of one key are two keys
    written = jwk.build(ring)
    assert json.loads(written) == {"keys": [entry(), RETIRED]}
    assert written.isascii()
    assert written.endswith(b"}\n")
    assert b'"kid": "one",' in [line.strip() for line in written.splitlines()]  # for eyes and diffs
    shown = repr(ring)
    assert "kid='one'" in shown
    for secret in (*SHOWN_SECRETS, repr(SECRET)[2:-1], repr(OTHER_SECRET)[2:-1]):
        assert secret not in shown


def test_a_later_key_that_is_not_retired_is_published() -> None:
    """An older version's ring has none."""
    published = entry(kid="three", k=b64(OTHER_SECRET[::-1]))
    ring = jwk.parse(jwk_set(entry(), published, RETIRED))
    assert [key.retired_at for key in ring.keys] == [None, None, NOW]
    assert ring.signing_key.kid == "one"
    assert json.loads(jwk.build(ring)) == {"keys": [entry(), published, RETIRED]}


def test_pairs_are_read_and_written() -> None:
    need_extra()
    entries = [pair_entry("ES256"), pair_entry("EdDSA", kid="two", retired_at=NOW - 1)]
    entries.append(RETIRED | {"kid": "three"})
    ring = jwk.parse(jwk_set(*entries))
    keys = key_of("ES256", "one"), key_of("EdDSA", "two", retired_at=NOW - 1)
    assert facts(ring)[:2] == facts(KeyRing(keys))
    assert json.loads(jwk.build(ring)) == {"keys": entries}


def test_members_of_other_programs_are_ignored_and_our_own_times_may_be_missing() -> None:
    raw = jwk_set({**without("created_at", entry(kid="k" * 64)), "x5t": "x"})
    assert facts(jwk.parse(raw)) == [("k" * 64, "HS256", SECRET, 0, None, None)]
    newest = entry(created_at=253_402_300_799)  # the last second of 9999
    assert jwk.parse(jwk_set(newest)).signing_key.created_at == 253_402_300_799


STRONG = [
    *(SECRET, SECRET + OTHER_SECRET, SECRET + SECRET[:16], SECRET[:11] + b"a" * 21),
    *(SECRET[:31] + b"\0", SECRET[:24] + bytes(8)),
]


def test_a_strong_secret_is_read() -> None:
    for secret in STRONG:
        assert jwk.parse(jwk_set(entry(k=b64(secret)))).signing_key.secret == secret


@LIMITED
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
    minted = ISSUING.issue(CLAIMS, ring.signing_key)
    assert TOKENS.verify(minted, lambda _: ring.signing_key, NOW) == CLAIMS


@pytest.mark.parametrize("algorithm", EVERY)
def test_new_keys_are_written_and_read_back_and_share_nothing(algorithm: Algorithm) -> None:
    if algorithm != "HS256":
        need_extra()
    older, newer, *more = [jwk.generate_key(NOW + age, algorithm) for age in range(50)]
    assert (newer.algorithm, newer.created_at, newer.retired_at) == (algorithm, NOW + 1, None)
    assert len(newer.secret) == 32
    assert (newer.pair is None) is (algorithm == "HS256")
    assert len({key.secret for key in (older, newer, *more)}) == 50
    assert len({key.kid for key in (older, newer, *more)}) == 50
    ring = KeyRing((newer, replace(older, retired_at=NOW + 1)))
    assert facts(jwk.parse(jwk.build(ring))) == facts(ring)


# The public set


def test_what_is_shown_is_the_public_halves_and_nothing_else() -> None:
    assert jwk.build_public(jwk.parse(jwk_set(entry(), RETIRED))) == {"keys": []}
    need_extra()
    retired = pair_entry("ES256", kid="two", retired_at=NOW)
    ring = jwk.parse(jwk_set(pair_entry("EdDSA"), retired, RETIRED | {"kid": "three"}))
    shown = jwk.build_public(ring)
    assert shown == {"keys": [public_entry("EdDSA"), public_entry("ES256", kid="two")]}


def test_who_only_verifies_reads_what_is_shown() -> None:
    need_extra()
    raw = jwk_set(public_entry("EdDSA"), public_entry("ES256", kid="two"))
    ring = jwk.parse(raw, signs=False)
    assert jwk_set(*jwk.build_public(ring)["keys"]) == raw  # type: ignore[misc]
    assert jwk.parse(jwk_set(), signs=False).keys == ()
    for key in ring.keys:
        assert (key.secret, key.retired_at) == (b"", None)
        assert key.pair
        assert key.pair.private is None
        token = ISSUING.issue(CLAIMS, key_of(key.algorithm, key.kid))
        assert TOKENS.verify(token, {key.kid: key}.get, NOW) == CLAIMS


def test_who_only_verifies_reads_a_private_set_too() -> None:
    need_extra()
    raw = jwk_set(RETIRED, pair_entry("EdDSA", retired_at=NOW), entry(kid="three"))
    secrets = [key.secret for key in jwk.parse(raw, signs=False).keys]
    assert secrets == [OTHER_SECRET, unb64(EDDSA["d"]), SECRET]
    assert NOT_CANONICAL in refusal_of(jwk_set(without("k", entry())), signs=False)


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_ring_that_signs_has_every_secret(algorithm: Algorithm) -> None:
    assert NOT_CANONICAL in refusal_of(jwk_set(public_entry(algorithm)))
    retired = public_entry(algorithm, kid="two", retired_at=NOW)
    assert '"two"' in refusal_of(jwk_set(entry(), retired))
