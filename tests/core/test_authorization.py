"""The Authorization header: one reading, or a refusal."""

from base64 import b64encode
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core.authorization import MAX_HEADER_LENGTH, Basic, Bearer, parse, scheme_of
from restauth.errors import BadCredentials
from tests import vectors

A_LIMITED_RUN = settings(max_examples=200, derandomize=True, deadline=None)
ANY_TEXT = st.text(st.characters())  # lone surrogates as well


def basic(user_id: str, password: str) -> str:
    return "Basic " + b64encode(f"{user_id}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("header", "user_id", "password"),
    vectors.BASIC_HEADERS.values(),
    ids=vectors.BASIC_HEADERS,
)
def test_a_basic_header_claims_a_user_id_and_a_password(
    header: str, user_id: str, password: str
) -> None:
    assert parse(header) == Basic(user_id, password)


@pytest.mark.parametrize(
    ("header", "token"), vectors.BEARER_HEADERS.values(), ids=vectors.BEARER_HEADERS
)
def test_a_bearer_header_claims_a_token(header: str, token: str) -> None:
    assert parse(header) == Bearer(token)


@pytest.mark.parametrize("header", vectors.OTHER_SCHEMES.values(), ids=vectors.OTHER_SCHEMES)
def test_another_scheme_claims_nothing(header: str) -> None:
    assert parse(header) is None


@pytest.mark.parametrize(
    "header", vectors.MALFORMED_HEADERS.values(), ids=vectors.MALFORMED_HEADERS
)
def test_a_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(BadCredentials) as refusal:
        parse(header)
    assert refusal.value.args == (BadCredentials.detail,)  # and nothing of the header


@pytest.mark.parametrize("code_point", [*range(0x20), 0x7F])
def test_a_control_character_in_a_user_id_is_refused(code_point: int) -> None:
    with pytest.raises(BadCredentials):
        parse(basic(f"us{chr(code_point)}er", "x"))


def test_a_header_may_have_8192_characters() -> None:
    token = "a" * (MAX_HEADER_LENGTH - len("Bearer "))
    assert MAX_HEADER_LENGTH == 8192
    assert parse(f"Bearer {token}") == Bearer(token)


def test_the_longest_password_fits_into_a_header() -> None:
    assert parse(basic("n" * 64, "🔑" * 1024)) == Basic("n" * 64, "🔑" * 1024)


def test_a_claim_is_a_value() -> None:
    basic_claim, bearer_claim = Basic("Aladdin", "open sesame"), Bearer("mF_9.B5f-4.1JqM")
    with pytest.raises(FrozenInstanceError):
        basic_claim.user_id = "admin"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        bearer_claim.token = "a.b.c"  # type: ignore[misc]


def test_a_secret_is_not_in_the_repr_of_a_claim() -> None:
    assert repr(Basic("Aladdin", "open sesame")) == "Basic(user_id='Aladdin')"
    assert repr(Bearer("mF_9.B5f-4.1JqM")) == "Bearer()"


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        pytest.param("BEARER x", "bearer", id="in lower case"),
        pytest.param("Basic", "basic", id="alone"),
        pytest.param("Digest a=b, c=d", "digest", id="with parameters"),
        pytest.param("Basic, Bearer", "", id="a word ends at a blank only"),
        pytest.param("Basic\n", "", id="and not before a newline"),
        pytest.param("", "", id="none"),
    ],
)
def test_the_scheme_is_the_first_word(header: str, scheme: str) -> None:
    assert scheme_of(header) == scheme


@A_LIMITED_RUN
@given(ANY_TEXT | ANY_TEXT.map("Basic {}".format) | ANY_TEXT.map("Bearer {}".format))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        claim = parse(text)
    except BadCredentials:
        return
    assert claim is None or isinstance(claim, Basic | Bearer)


@A_LIMITED_RUN
@given(st.binary().map(lambda raw: b64encode(raw).decode()))
def test_any_bytes_in_base64_are_read_in_one_way_or_refused(token68: str) -> None:
    try:
        claim = parse(f"Basic {token68}")
    except BadCredentials:
        return
    assert isinstance(claim, Basic)
    assert basic(claim.user_id, claim.password) == f"Basic {token68}"


@A_LIMITED_RUN
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":"), min_size=1),
    st.text(),
)
def test_what_a_client_builds_is_what_is_read(user_id: str, password: str) -> None:
    assert parse(basic(user_id, password)) == Basic(user_id, password)
