"""Issued access tokens: their members, and what of them is random."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core.access_tokens import MAX_LENGTH, AccessTokens, Claims, is_token_shaped
from restauth.core.keyring import Algorithm
from restauth.core.token_issuing import TokenIssuing
from restauth.records import MAX_ID
from tests.core.inputs import KEY, LIMITED, NOW
from tests.key_pairs import EVERY, key_of, unb64

ISSUING = TokenIssuing("auth.example", "api.example")
ACCESS = AccessTokens("auth.example", "api.example", 600)
CLAIMS = Claims(7, "sid", "miguel", ("admin", "staff"), NOW, NOW + 600)


@pytest.mark.parametrize("algorithm", EVERY)
def test_an_issued_token_has_the_documented_members_and_is_verified(algorithm: Algorithm) -> None:
    key = key_of(algorithm, "one")
    token = ISSUING.issue(CLAIMS, key)
    assert ACCESS.verify(token, {"one": key}.get, NOW) == CLAIMS
    header, payload, signature = map(unb64, token.split("."))
    assert json.loads(header) == {"alg": algorithm, "kid": "one", "typ": "at+jwt"}
    members = json.loads(payload)
    assert len(unb64(members.pop("jti"))) == 16
    assert members == {
        "aud": "api.example",
        "exp": NOW + 600,
        "iat": NOW,
        "iss": "auth.example",
        "name": "miguel",
        "roles": ["admin", "staff"],
        "sid": "sid",
        "sub": "7",
    }
    assert len(signature) == (32 if algorithm == "HS256" else 64)


def test_no_two_tokens_are_the_same() -> None:
    payloads = [ISSUING.issue(CLAIMS, KEY).split(".")[1] for _ in range(100)]
    assert len({json.loads(unb64(payload))["jti"] for payload in payloads}) == 100


def test_the_shortest_and_the_longest_token_can_be_read() -> None:
    """Names and roles are not escaped: a token has 4 bytes for a character at most."""
    assert is_token_shaped(TokenIssuing("", "").issue(Claims(1, "", "", (), 0, 1), KEY))
    roles = ("r" * 32,) * 32
    claims = Claims(MAX_ID, "s" * 22, "\U0001f40e" * 64, roles, NOW, NOW + 600)
    token = TokenIssuing("i" * 255, "a" * 255).issue(claims, KEY)
    assert len(token) < 3000 < MAX_LENGTH
    assert AccessTokens("i" * 255, "a" * 255, 600).verify(token, lambda _: KEY, NOW) == claims


@LIMITED
@given(
    st.integers(1, MAX_ID),
    st.text(max_size=64),
    st.lists(st.text(max_size=32), max_size=8),
    st.integers(1, 600),
)
def test_any_claims_survive_their_token(
    user_id: int, username: str, roles: list[str], duration: int
) -> None:
    claims = Claims(user_id, "sid", username, tuple(roles), NOW, NOW + duration)
    assert ACCESS.verify(ISSUING.issue(claims, KEY), lambda _: KEY, NOW) == claims
