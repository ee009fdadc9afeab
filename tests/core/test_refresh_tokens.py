"""Refresh tokens: built, forged in every way that we know of, and refused."""

import hmac
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core.access_tokens import AccessTokens, Claims, is_token_shaped
from restauth.core.keyring import Algorithm, Key
from restauth.core.refresh_tokens import RefreshClaims, build, verify
from restauth.core.token_issuing import TokenIssuing
from restauth.errors import BadCredentials
from tests.core.inputs import ANY_TEXT, BASE64URL, KEY, KEYS, LIMITED, NOW, RETIRED, altered, never
from tests.key_pairs import EVERY, PAIRED, b64, key_of, public_texts, sign_with

SESSION_ID = "-abcdefghijklmnopqrst_"
CLAIMS = RefreshClaims(SESSION_ID, 41)
TEXT = f"r1.one.{SESSION_ID}.41"
LABEL = b"restauth refresh token, version 1"

FindKey = Callable[[str], Key | None]


def mac(secret: bytes, text: str) -> str:
    return b64(hmac.digest(secret, text.encode(), "sha256"))


def forge(
    version: str = "r1",
    kid: str = KEY.kid,
    session_id: str = SESSION_ID,
    counter: str = "41",
    secret: bytes = KEY.secret,
    label: bytes = LABEL,
) -> str:
    """A token of any parts, whose MAC is made by the standard library alone."""
    text = f"{version}.{kid}.{session_id}.{counter}"
    return f"{text}.{mac(hmac.digest(secret, label, 'sha256'), text)}"


def assert_refused(token: str, find_key: FindKey = KEYS.get) -> None:
    with pytest.raises(BadCredentials) as refusal:
        verify(token, find_key)
    assert refusal.value.args == (BadCredentials.detail,)  # and nothing of the token


# The form


@pytest.mark.parametrize("algorithm", EVERY)
def test_the_form_never_changes(algorithm: Algorithm) -> None:
    """It lives for weeks: who changes it logs out all users. A response that was lost is given
    again word for word."""
    key = key_of(algorithm, "one")
    assert build(CLAIMS, key) == forge(secret=key.secret)
    assert verify(forge(secret=key.secret), {"one": key}.get) == CLAIMS
    assert verify(build(CLAIMS, RETIRED), KEYS.get) == CLAIMS


def test_no_two_tokens_share_a_mac() -> None:
    claims = [RefreshClaims(one * 22, counter) for one in "ab" for counter in range(20)]
    built = [build(one, key) for one in claims for key in (KEY, RETIRED)]
    assert len({token.rpartition(".")[2] for token in built}) == 80


@LIMITED
@given(
    st.text(BASE64URL, min_size=22, max_size=22),
    st.integers(0, 9_999_999_999),
    st.text(BASE64URL, min_size=1, max_size=64),
)
def test_any_claims_survive_their_token(session_id: str, counter: int, kid: str) -> None:
    claims, key = RefreshClaims(session_id, counter), Key(kid, KEY.secret, NOW, None)
    assert verify(build(claims, key), {kid: key}.get) == claims


# The MAC


def test_a_mac_of_another_origin_is_refused() -> None:
    for token in (
        forge(secret=RETIRED.secret),
        forge(kid="two"),
        forge(secret=b""),
        forge(label=b""),
        forge(label=b"restauth refresh token, version 2"),
        forge(label=b"restauth access token, version 1"),
        f"{TEXT}.{mac(KEY.secret, TEXT)}",  # by the signing key itself: one key, one use
    ):
        assert_refused(token)


def test_a_key_that_is_no_longer_in_the_ring_is_refused() -> None:
    assert_refused(build(CLAIMS, RETIRED), {KEY.kid: KEY}.get)


def test_every_single_character_counts_and_has_one_spelling() -> None:
    """43 characters hold 258 bits, a digest has 256: the last one has three other spellings."""
    token = build(CLAIMS, KEY)
    last = [token[:-1] + other for other in BASE64URL.replace(token[-1], "")]
    for other in (*altered(token, "AB.\0"), *last):
        assert_refused(other)


def test_macs_are_compared_in_constant_time(compared: list[tuple[bytes, bytes]]) -> None:
    token = build(CLAIMS, KEY)
    assert verify(token, KEYS.get) == CLAIMS
    assert compared == [(token.rpartition(".")[2].encode(),) * 2]


@pytest.mark.parametrize("algorithm", PAIRED)
def test_a_mac_is_no_signature_nor_made_of_a_public_half(algorithm: Algorithm) -> None:
    """Who gets a text signed has no refresh token yet."""
    key = key_of(algorithm, "one")
    for secret in public_texts(key).values():
        assert_refused(forge(secret=secret), {"one": key}.get)
    for made in (sign_with(TEXT, key), mac(key.secret, TEXT)):
        assert_refused(f"{TEXT}.{made}", {"one": key}.get)
        assert_refused(f"{TEXT}.{made[:43]}", {"one": key}.get)


# The shape: refused before any key is looked up

MISSHAPEN = [
    *("", "....", forge(version="r2"), forge(version="R1"), forge().partition(".")[2]),
    *(forge(kid=kid) for kid in ("", "k" * 65, "../one", "oné")),
    *(forge(session_id=one) for one in (SESSION_ID[:-1], SESSION_ID + "A", "", "' OR 1=1 --")),
    *(forge(counter=one) for one in ("", "-1", "+41", "041", "00", "1" * 11, "41.5", "4_1", " 41")),
    forge(counter="٤١"),
    *(forge() + behind for behind in (".x", ".", "=", "A", " ", "\n", "\0", f",{forge()}")),
    *(forge()[:-1], forge().rpartition(".")[0] + ".", " " + forge(), forge()[:-1] + "\ud800"),
    "r1." * 100_000,
]


@pytest.mark.parametrize("token", MISSHAPEN, ids=range(len(MISSHAPEN)))
def test_a_token_of_another_shape_is_refused_and_no_key_looked_up(token: str) -> None:
    assert_refused(token, never)


def test_the_counter_may_have_ten_digits() -> None:
    for counter in (0, 9_999_999_999):
        token = forge(counter=str(counter))
        assert verify(token, KEYS.get) == RefreshClaims(SESSION_ID, counter)


def test_neither_kind_of_token_passes_for_the_other() -> None:
    access = AccessTokens("auth.example", "api.example", 600)
    for claims in (RefreshClaims("a" * 22, 0), CLAIMS, RefreshClaims("-" * 22, 9_999_999_999)):
        for kid in ("k", "k" * 64):
            token = build(claims, Key(kid, KEY.secret, NOW, None))
            assert not is_token_shaped(token)
            with pytest.raises(BadCredentials):
                access.verify(token, never, NOW)
    access_claims = Claims(7, SESSION_ID, "miguel", (), NOW, NOW + 600)
    assert_refused(TokenIssuing("auth.example", "api.example").issue(access_claims, KEY), never)


PARTS = st.sampled_from(forge().split(".")) | st.text(BASE64URL) | ANY_TEXT


@LIMITED
@given(ANY_TEXT | st.lists(PARTS, min_size=4, max_size=6).map(".".join))
def test_any_text_is_refused_unless_we_made_it(text: str) -> None:
    try:
        claims = verify(text, KEYS.get)
    except BadCredentials:
        return
    assert (text, claims) == (forge(), CLAIMS)
