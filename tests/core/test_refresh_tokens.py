"""Refresh tokens: sealed, forged in every way we know of, and refused."""

import hmac
import string
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core.access_tokens import AccessTokens, Claims, is_token_shaped
from restauth.core.keyring import Algorithm, Key
from restauth.core.refresh_tokens import RefreshClaims, build, parse
from restauth.errors import BadCredentials
from tests.key_pairs import EVERY, PAIRED, key_of, public_texts, sign_with

A_LIMITED_RUN = settings(max_examples=300, derandomize=True, deadline=None)

NOW = 1_800_000_000
KEY = Key("one", sha256(b"a key of the tests").digest(), NOW, None)
RETIRED = Key("two", sha256(b"an older one").digest(), NOW - 900, NOW)
KEYS = {KEY.kid: KEY, RETIRED.kid: RETIRED}
SESSION_ID = "-abcdefghijklmnopqrst_"
TURN = RefreshClaims(SESSION_ID, 41)
LABEL = b"restauth refresh token, version 1"
ALPHABET = string.ascii_letters + string.digits + "-_"

FindKey = Callable[[str], Key | None]


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def seal(text: str, secret: bytes = KEY.secret, label: bytes = LABEL) -> str:
    """The seal by the standard library alone."""
    derived = hmac.digest(secret, label, "sha256")
    return b64(hmac.digest(derived, text.encode(), "sha256"))


def forge(
    version: str = "r1",
    kid: str = KEY.kid,
    session_id: str = SESSION_ID,
    counter: str = "41",
    secret: bytes = KEY.secret,
    label: bytes = LABEL,
) -> str:
    """A token of any parts under the right seal, or under a wrong one of the right form."""
    text = f"{version}.{kid}.{session_id}.{counter}"
    return f"{text}.{seal(text, secret, label)}"


def never(kid: str) -> Key | None:
    raise AssertionError("a key was looked up")


def assert_refused(token: str, find_key: FindKey = KEYS.get) -> None:
    with pytest.raises(BadCredentials) as refusal:
        parse(token, find_key)
    assert refusal.value.args == (BadCredentials.detail,)  # and nothing of the token


# The form


def test_what_is_built_is_read() -> None:
    assert parse(build(TURN, KEY), KEYS.get) == TURN


def test_a_retired_key_still_verifies() -> None:
    assert parse(build(TURN, RETIRED), KEYS.get) == TURN


def test_the_form_never_changes() -> None:
    """It lives for weeks: whoever changes it logs everybody out."""
    text = f"r1.one.{SESSION_ID}.41"
    assert build(TURN, KEY) == forge() == f"{text}.{seal(text)}"


def test_the_same_turn_is_the_same_token() -> None:
    """A reply that was lost is given again word for word."""
    assert build(TURN, KEY) == build(TURN, KEY)


def test_no_two_turns_share_a_token_or_a_seal() -> None:
    turns = [
        RefreshClaims(session_id, count)
        for session_id in ("a" * 22, "b" * 22)
        for count in range(20)
    ]
    built = [build(turn, key) for turn in turns for key in (KEY, RETIRED)]
    assert len({token.rpartition(".")[2] for token in built}) == len(built)


@A_LIMITED_RUN
@given(
    st.text(ALPHABET, min_size=22, max_size=22),
    st.integers(0, 9_999_999_999),
    st.text(ALPHABET, min_size=1, max_size=64),
)
def test_any_turn_survives_its_token(session_id: str, counter: int, kid: str) -> None:
    turn, key = RefreshClaims(session_id, counter), Key(kid, KEY.secret, NOW, None)
    assert parse(build(turn, key), {kid: key}.get) == turn


# The seal


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forge(secret=RETIRED.secret), id="another key of the ring"),
        pytest.param(forge(kid="two"), id="another key is named"),
        pytest.param(forge(secret=b""), id="no key"),
        pytest.param(forge(label=b""), id="no label"),
        pytest.param(forge(label=b"restauth refresh token, version 2"), id="another label"),
        pytest.param(forge(label=b"restauth access token, version 1"), id="of another use"),
    ],
)
def test_a_seal_of_another_origin_is_refused(token: str) -> None:
    assert_refused(token)


def test_a_seal_by_the_signing_key_itself_is_refused() -> None:
    """One key, one use: whoever gets the ring's key to sign a text has no refresh token yet."""
    text, _, own_seal = build(TURN, KEY).rpartition(".")
    by_the_key = b64(hmac.digest(KEY.secret, text.encode(), "sha256"))
    assert own_seal != by_the_key
    assert_refused(f"{text}.{by_the_key}")


def test_a_key_that_is_no_longer_in_the_ring_is_refused() -> None:
    assert_refused(build(TURN, RETIRED), {KEY.kid: KEY}.get)


def test_every_single_character_counts() -> None:
    token = build(TURN, KEY)
    for place, character in enumerate(token):
        for other in "A" if character != "A" else "B", ".", "\0":
            if other != character:
                assert_refused(token[:place] + other + token[place + 1 :])


def test_a_seal_with_stray_bits_is_refused() -> None:
    """43 characters hold 258 bits, a digest has 256: the last one has three other spellings."""
    token = build(TURN, KEY)
    assert [last for last in ALPHABET if is_good(token[:-1] + last)] == [token[-1]]


def is_good(token: str) -> bool:
    try:
        return parse(token, KEYS.get) == TURN
    except BadCredentials:
        return False


def test_seals_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    token = build(TURN, KEY)
    own_seal = token.rpartition(".")[2].encode()
    compared: list[tuple[bytes, bytes]] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert is_good(token)
    assert compared == [(own_seal, own_seal)]


@pytest.mark.parametrize("algorithm", EVERY)
def test_the_seal_of_a_key_of_each_algorithm_is_of_its_secret(algorithm: Algorithm) -> None:
    key = key_of(algorithm, "one")
    token = build(TURN, key)
    assert token == forge(secret=key.secret)
    assert parse(token, {"one": key}.get) == TURN


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_seal_by_a_public_half_is_refused(algorithm: Algorithm) -> None:
    key = key_of(algorithm, "one")
    for secret in public_texts(key).values():
        assert_refused(forge(secret=secret), {"one": key}.get)


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_seal_is_no_signature(algorithm: Algorithm) -> None:
    """Nor the other way round: whoever gets a text signed has no refresh token yet."""
    key = key_of(algorithm, "one")
    text = f"r1.one.{SESSION_ID}.41"
    for made in (sign_with(text, key), b64(hmac.digest(key.secret, text.encode(), "sha256"))):
        assert_refused(f"{text}.{made}", {"one": key}.get)
        assert_refused(f"{text}.{made[:43]}", {"one": key}.get)


# The shape: refused before any key is looked up

MISSHAPEN = {
    "nothing": "",
    "dots": "....",
    "another version": forge(version="r2"),
    "the version in upper case": forge(version="R1"),
    "no version": forge().partition(".")[2],
    "no key named": forge(kid=""),
    "a kid of 65 characters": forge(kid="k" * 65),
    "a path as kid": forge(kid="../one"),
    "a letter outside ASCII in the kid": forge(kid="oné"),
    "a session id of 21 characters": forge(session_id=SESSION_ID[:-1]),
    "a session id of 23 characters": forge(session_id=SESSION_ID + "A"),
    "no session id": forge(session_id=""),
    "SQL in the session id": forge(session_id="' OR refresh_counter--"),
    "no counter": forge(counter=""),
    "a counter below nothing": forge(counter="-1"),
    "a counter with its sign": forge(counter="+41"),
    "a leading zero": forge(counter="041"),
    "two zeros": forge(counter="00"),
    "a counter of 11 digits": forge(counter="1" * 11),
    "half a turn": forge(counter="41.5"),
    "digits of a foreign script": forge(counter="٤١"),
    "an underscore between digits": forge(counter="4_1"),
    "a blank before the counter": forge(counter=" 41"),
    "a part more": forge() + ".x",
    "a dot more": forge() + ".",
    "padded": forge() + "=",
    "a seal of 42 characters": forge()[:-1],
    "a seal of 44 characters": forge() + "A",
    "no seal": forge().rpartition(".")[0] + ".",
    "a blank before": " " + forge(),
    "a blank behind": forge() + " ",
    "a newline behind": forge() + "\n",
    "a NUL behind": forge() + "\0",
    "twice": f"{forge()},{forge()}",
    "a lone surrogate": forge()[:-1] + "\ud800",
    "without end": "r1." * 100_000,
}


@pytest.mark.parametrize("token", MISSHAPEN.values(), ids=MISSHAPEN)
def test_a_token_of_another_shape_is_refused_and_no_key_looked_up(token: str) -> None:
    assert_refused(token, never)


def test_the_counter_may_have_ten_digits() -> None:
    assert parse(forge(counter="9" * 10), KEYS.get) == RefreshClaims(SESSION_ID, 9_999_999_999)
    assert parse(forge(counter="0"), KEYS.get) == RefreshClaims(SESSION_ID, 0)


# Neither kind of token passes for the other

ACCESS = AccessTokens("auth.example", "api.example", 600)


def test_a_refresh_token_is_never_shaped_like_an_access_token() -> None:
    for turn in (RefreshClaims("a" * 22, 0), TURN, RefreshClaims("-" * 22, 9_999_999_999)):
        for kid in ("k", "k" * 64):
            token = build(turn, Key(kid, KEY.secret, NOW, None))
            assert not is_token_shaped(token)
            assert token.count(".") == 4


def test_a_refresh_token_used_as_an_access_token_is_refused() -> None:
    with pytest.raises(BadCredentials):
        ACCESS.verify(build(TURN, KEY), never, NOW)


def test_an_access_token_used_as_a_refresh_token_is_refused() -> None:
    claims = Claims(7, SESSION_ID, "miguel", (), NOW, NOW + 600)
    assert_refused(ACCESS.issue(claims, KEY), never)


# Anything at all


@A_LIMITED_RUN
@given(
    st.text(st.characters())
    | st.lists(
        st.sampled_from(forge().split(".")) | st.text(ALPHABET) | st.text(st.characters()),
        min_size=4,
        max_size=6,
    ).map(".".join)
)
def test_any_text_is_refused_unless_we_sealed_it(text: str) -> None:
    try:
        turn = parse(text, KEYS.get)
    except BadCredentials:
        return
    assert (text, turn) == (forge(), TURN)
