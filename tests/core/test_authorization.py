"""The Authorization header: one reading, or a refusal."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core.authorization import MAX_HEADER_LENGTH, Basic, Bearer, parse, scheme_of
from restauth.errors import BadCredentials
from tests import vectors
from tests.core.inputs import ANY_TEXT, LIMITED, cases


def read(header: str) -> Basic | Bearer | None:
    return parse(header, scheme_of(header))


def basic(user_id: str, password: str) -> str:
    return "Basic " + b64encode(f"{user_id}:{password}".encode()).decode()


GOOD: dict[str, tuple[str, Basic | Bearer | None]] = {
    **{remark: (row[0], Basic(*row[1:])) for remark, row in vectors.BASIC_HEADERS.items()},
    **{remark: (row[0], Bearer(row[1])) for remark, row in vectors.BEARER_HEADERS.items()},
    **{remark: (header, None) for remark, header in vectors.OTHER_SCHEMES.items()},
    "8192 characters": ("Bearer " + "a" * 8185, Bearer("a" * 8185)),
    "the longest password": (basic("n" * 64, "🔑" * 1024), Basic("n" * 64, "🔑" * 1024)),
}


@pytest.mark.parametrize(("header", "claim"), GOOD.values(), ids=GOOD)
def test_a_header_claims_what_its_scheme_says(header: str, claim: Basic | Bearer | None) -> None:
    assert read(header) == claim


@pytest.mark.parametrize(("remark", "header"), cases(vectors.MALFORMED_HEADERS))
def test_a_malformed_header_is_refused(remark: str, header: str) -> None:
    with pytest.raises(BadCredentials) as refusal:
        read(header)
    assert refusal.value.args == (BadCredentials.detail,)  # and nothing of the header


def test_a_control_character_in_a_user_id_is_refused() -> None:
    for code_point in (*range(0x20), 0x7F):
        with pytest.raises(BadCredentials):
            read(basic(f"us{chr(code_point)}er", "x"))


def test_a_secret_is_not_in_the_repr_of_a_claim() -> None:
    assert repr(Basic("Aladdin", "open sesame")) == "Basic(user_id='Aladdin')"
    assert repr(Bearer("mF_9.B5f-4.1JqM")) == "Bearer()"


def test_the_scheme_is_the_first_word_and_ends_at_a_blank_only() -> None:
    headers = ["BEARER x", "Basic", "Digest a=b, c=d", "Basic, Bearer", "Basic\n", ""]
    assert [*map(scheme_of, headers)] == ["bearer", "basic", "digest", "", "", ""]


@LIMITED
@given(ANY_TEXT | ANY_TEXT.map("Basic {}".format) | ANY_TEXT.map("Bearer {}".format))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        claim = read(text)
    except BadCredentials:
        return
    assert len(text) <= MAX_HEADER_LENGTH or claim is None


@LIMITED
@given(st.binary().map(lambda raw: b64encode(raw).decode()))
def test_any_bytes_in_base64_are_read_in_one_way_or_refused(token68: str) -> None:
    try:
        claim = read(f"Basic {token68}")
    except BadCredentials:
        return
    assert isinstance(claim, Basic)
    assert basic(claim.user_id, claim.password) == f"Basic {token68}"


@LIMITED
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":"), min_size=1),
    st.text(),
)
def test_what_a_client_builds_is_what_is_read(user_id: str, password: str) -> None:
    assert read(basic(user_id, password)) == Basic(user_id, password)
