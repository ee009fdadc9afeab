"""The key ring: its file form, its refusals, and how long a key verifies."""

import json
import traceback
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import FrozenInstanceError
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import keyring
from restauth.core.keyring import Key, KeyRing
from restauth.core.tokens import AccessTokens, Claims
from restauth.errors import UnusableKeyRing
from tests import vectors

NOW = 1_800_000_000
DURATION = 600
LAST_SECOND = NOW + DURATION + 5  # for what a process was just signing as the key retired
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

Entry = dict[str, object]


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def entry(**changes: object) -> Entry:
    """A good signing key as a JWK, but for the changes."""
    good = {"kty": "oct", "use": "sig", "alg": "HS256", "kid": "one", "k": b64(SECRET)}
    return {**good, "created_at": NOW, **changes}


def without(name: str) -> Entry:
    return {key: value for key, value in entry().items() if key != name}


def jwk_set(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


def facts(ring: KeyRing) -> list[tuple[object, ...]]:
    """What a key consists of: keys themselves are equal only to themselves."""
    return [(key.kid, key.secret, key.created_at, key.retired_at) for key in ring.keys]


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
    "no kid": without("kid"),
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
    "no kty": without("kty"),
    "an RSA key": entry(kty="RSA"),
    "kty in upper case": entry(kty="OCT"),
    "kty a list": entry(kty=["oct"]),
    "no alg": without("alg"),
    "HS512": entry(alg="HS512"),
    "none": entry(alg="none"),
    "alg in lower case": entry(alg="hs256"),
    "no use": without("use"),
    "an encryption key": entry(use="enc"),
}
NOT_BASE64URL: dict[str, Entry] = {
    "no secret": without("k"),
    "null": entry(k=None),
    "a list": entry(k=[b64(SECRET)]),
    "padded": entry(k=b64(SECRET) + "="),
    "the other alphabet": entry(k="+/" + b64(SECRET)[2:]),
    "a blank": entry(k=b64(SECRET)[:20] + " " + b64(SECRET)[20:]),
    "a newline behind": entry(k=b64(SECRET) + "\n"),
    "one character too many": entry(k="A" * 45),
    "stray bits in the last character": entry(k="_" * 43),
    "a letter outside ASCII": entry(k="é" * 43),
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
}


def refusal_of(raw: bytes) -> str:
    """What the refusal says; whatever it says, and in its traceback too, no secret is in it."""
    with pytest.raises(UnusableKeyRing) as caught:
        keyring.parse(raw)
    shown = "".join(traceback.format_exception(caught.value))
    for secret in (b64(SECRET), b64(OTHER_SECRET), repr(SECRET), repr(OTHER_SECRET)):
        assert secret[:16] not in shown
    return str(caught.value)


# Refusals


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_a_ring_that_is_not_a_json_object_is_refused(raw: bytes) -> None:
    assert refusal_of(raw) == "The key ring is not well-formed JSON."


@pytest.mark.parametrize("document", WITHOUT_A_LIST.values(), ids=WITHOUT_A_LIST)
def test_a_ring_without_keys_is_refused(document: object) -> None:
    assert refusal_of(json.dumps(document).encode()) == 'The key ring has no list of "keys".'


@pytest.mark.parametrize("key", [None, "one", 1, [], [["kid", "one"]]])
def test_a_key_that_is_no_object_is_refused(key: object) -> None:
    assert refusal_of(jwk_set(entry(), key)) == "A key of the key ring is not an object."


@pytest.mark.parametrize("key", WITHOUT_USABLE_KID.values(), ids=WITHOUT_USABLE_KID)
def test_a_key_without_a_usable_kid_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == 'A key of the key ring has no usable "kid".'


@pytest.mark.parametrize("key", OF_ANOTHER_KIND.values(), ids=OF_ANOTHER_KIND)
def test_a_key_of_another_kind_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == 'Key "one" is no HS256 signing key (kty, alg, use).'


@pytest.mark.parametrize("key", NOT_BASE64URL.values(), ids=NOT_BASE64URL)
def test_a_secret_in_another_spelling_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == 'The secret of key "one" is not canonical Base64url.'


@pytest.mark.parametrize("secret", WEAK.values(), ids=WEAK)
def test_a_weak_key_is_refused(secret: bytes) -> None:
    message = refusal_of(jwk_set(entry(k=b64(secret))))
    assert message == 'Key "one" is weak: short, famous, or far from random.'


def test_a_weak_key_is_refused_even_if_it_only_verifies() -> None:
    weak = RETIRED | {"k": b64(SEED_SECRET)}
    assert refusal_of(jwk_set(entry(), weak)).startswith('Key "two" is weak')


@pytest.mark.parametrize("key", WITHOUT_USABLE_TIMES.values(), ids=WITHOUT_USABLE_TIMES)
def test_a_time_that_is_no_whole_number_is_refused(key: Entry) -> None:
    assert refusal_of(jwk_set(key)) == 'The times of key "one" are not whole seconds.'


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


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from([*entry(), "retired_at"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(min_size=30).map(b64),
        max_size=2,
    ).map(lambda changes: jwk_set(entry() | changes))
)
def test_any_bytes_are_a_ring_or_refused(raw: bytes) -> None:
    try:
        ring = keyring.parse(raw)
    except UnusableKeyRing:
        return
    assert facts(keyring.parse(keyring.build(ring))) == facts(ring)


# The file form


def test_a_ring_is_read() -> None:
    ring = keyring.parse(jwk_set(entry(), RETIRED))
    assert facts(ring) == [("one", SECRET, NOW, None), ("two", OTHER_SECRET, NOW, NOW)]


def test_members_of_other_programs_are_ignored_and_our_own_times_may_be_missing() -> None:
    raw = jwk_set({**without("created_at"), "x5t": "x"})
    assert facts(keyring.parse(raw)) == [("one", SECRET, 0, None)]


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
    assert keyring.parse(jwk_set(entry(k=b64(secret)))).signing_key.secret == secret


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
        ring = keyring.parse(jwk_set(entry(k=b64(before + after))))
    except UnusableKeyRing:
        return
    claims = Claims(1, "sid", "miguel", (), NOW, NOW + DURATION)
    tokens = AccessTokens("restauth", "restauth", DURATION)
    minted = tokens.mint(claims, ring.signing_key)
    assert tokens.verify(minted, lambda _: ring.signing_key, NOW) == claims


def test_a_kid_may_have_64_characters() -> None:
    assert keyring.parse(jwk_set(entry(kid="k" * 64))).signing_key.kid == "k" * 64


def test_what_is_written_is_a_jwk_set() -> None:
    raw = keyring.build(keyring.parse(jwk_set(entry(), RETIRED)))
    assert json.loads(raw) == {"keys": [entry(), RETIRED]}
    assert raw.isascii()
    assert raw.endswith(b"}\n")
    assert b'"kid": "one",' in [line.strip() for line in raw.splitlines()]  # for eyes and diffs


def test_what_is_written_is_read_back() -> None:
    ring = keyring.generate(NOW).rotated(NOW + 1).rotated(NOW + 2)
    assert facts(keyring.parse(keyring.build(ring))) == facts(ring)


def test_a_secret_is_in_no_repr() -> None:
    ring = keyring.parse(jwk_set(entry(), RETIRED))
    shown = repr(ring) + repr(ring.signing_key)
    assert "kid='one'" in shown
    for secret in (repr(SECRET)[2:-1], b64(SECRET), repr(OTHER_SECRET)[2:-1]):
        assert secret not in shown


# A ring's life


def test_a_ring_and_its_keys_are_values() -> None:
    ring = keyring.generate(NOW)
    with pytest.raises(FrozenInstanceError):
        ring.keys = ()  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        ring.signing_key.retired_at = NOW  # type: ignore[misc]


def test_a_new_ring_has_one_key_of_32_bytes() -> None:
    (key,) = keyring.generate(NOW).keys
    assert len(key.secret) == 32
    assert (key.created_at, key.retired_at) == (NOW, None)


def test_no_two_rings_share_a_key() -> None:
    rings = [keyring.generate(NOW) for _ in range(100)]
    assert len({ring.signing_key.secret for ring in rings}) == 100
    assert len({ring.signing_key.kid for ring in rings}) == 100


def test_two_readings_of_one_key_are_two_keys() -> None:
    raw = jwk_set(entry())
    first, second = keyring.parse(raw), keyring.parse(raw)
    assert first.signing_key != second.signing_key
    assert first != second


def test_a_rotated_ring_signs_with_a_new_key_and_retires_the_old() -> None:
    ring = keyring.generate(NOW)
    rotated = ring.rotated(NOW + 1)
    new, old = rotated.keys
    assert rotated.signing_key is new
    assert (new.created_at, new.retired_at) == (NOW + 1, None)
    assert new.kid != ring.signing_key.kid
    assert new.secret != ring.signing_key.secret
    assert old.secret == ring.signing_key.secret
    assert facts(rotated)[1] == (*facts(ring)[0][:3], NOW + 1)
    assert ring.signing_key.retired_at is None  # a ring is a value


def test_a_second_rotation_leaves_the_first_retirement_as_it_was() -> None:
    ring = keyring.generate(NOW).rotated(NOW + 1).rotated(NOW + 2)
    assert [key.retired_at for key in ring.keys] == [None, NOW + 2, NOW + 1]


def test_the_signing_key_is_found_for_ever() -> None:
    ring = keyring.generate(NOW)
    key = ring.signing_key
    assert ring.find(key.kid, NOW + 10**9, DURATION) is key
    assert ring.pruned(NOW + 10**9, DURATION).keys == (key,)


def test_an_unknown_kid_finds_nothing() -> None:
    assert keyring.generate(NOW).find("unknown", NOW, DURATION) is None


def test_a_retired_key_still_verifies_until_its_last_token_has_expired() -> None:
    ring = keyring.generate(NOW - 1).rotated(NOW)
    retired = ring.keys[1]
    assert ring.find(retired.kid, NOW, DURATION) is retired
    assert ring.find(retired.kid, LAST_SECOND, DURATION) is retired
    assert ring.find(retired.kid, LAST_SECOND + 1, DURATION) is None


def test_a_key_is_pruned_in_the_second_in_which_it_is_no_longer_found() -> None:
    ring = keyring.generate(NOW - 1).rotated(NOW)
    assert ring.pruned(LAST_SECOND, DURATION).keys == ring.keys
    assert ring.pruned(LAST_SECOND + 1, DURATION).keys == ring.keys[:1]


def test_pruning_drops_only_what_is_spent() -> None:
    ring = keyring.generate(NOW - 1).rotated(NOW).rotated(NOW + 100)
    assert ring.pruned(LAST_SECOND + 1, DURATION).keys == ring.keys[:2]


def test_a_ring_finds_a_key_by_its_whole_name_only() -> None:
    ring = KeyRing((Key("one", SECRET, NOW, None),))
    for kid in ("", "o", "on", "one ", "ONE", "one\0"):
        assert ring.find(kid, NOW, DURATION) is None
