"""Reset codes: their form, and what of them is stored."""

import hmac
import string
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import reset_codes
from restauth.core.reset_codes import ResetCode, generate, parse

SELECTOR, SECRET = "selector-_12", "a-secret_of_24_characters"[:24]
CODE = ResetCode(SELECTOR, SECRET)
DIGEST = sha256(SECRET.encode()).hexdigest()
ALPHABET = string.ascii_letters + string.digits + "-_"

MISSHAPEN = {
    "nothing": "",
    "a dot": ".",
    "no dot": SELECTOR + SECRET,
    "no selector": f".{SECRET}",
    "no secret": f"{SELECTOR}.",
    "a short selector": f"{SELECTOR[1:]}.{SECRET}",
    "a long selector": f"{SELECTOR}a.{SECRET}",
    "a short secret": f"{SELECTOR}.{SECRET[1:]}",
    "a long secret": f"{SELECTOR}.{SECRET}a",
    "the dot elsewhere": f"{SELECTOR[:-1]}.{SELECTOR[-1]}{SECRET}",
    "two dots": f"{SELECTOR}..{SECRET}",
    "a part more": f"{SELECTOR}.{SECRET}.x",
    "a blank before": f" {SELECTOR}.{SECRET}",
    "a blank behind": f"{SELECTOR}.{SECRET} ",
    "a newline behind": f"{SELECTOR}.{SECRET}\n",
    "a newline instead of the last character": f"{SELECTOR}.{SECRET[:-1]}\n",
    "SQL in the selector": f"' OR 1=1 -- .{SECRET}",
    "a letter outside ASCII": f"{SELECTOR}.{SECRET[:-1]}é",
    "digits of a foreign script": f"{SELECTOR}.{SECRET[:-1]}٤",
    "a NUL": f"{SELECTOR}.{SECRET[:-1]}\0",
    "a lone surrogate": f"{SELECTOR}.{SECRET[:-1]}\ud800",
    "without end": "a" * 1_000_000,
}


def test_what_is_built_is_read() -> None:
    assert CODE.build() == f"{SELECTOR}.{SECRET}"
    assert parse(CODE.build()) == CODE


def test_a_new_code_is_read_back() -> None:
    for _ in range(100):
        code = generate()
        assert parse(code.build()) == code


def test_no_two_codes_share_a_half() -> None:
    codes = [generate() for _ in range(200)]
    assert len({code.selector for code in codes}) == 200
    assert len({code.secret for code in codes}) == 200


def test_a_secret_has_144_bits() -> None:
    assert len(generate().secret) * 6 == 144


def test_a_code_is_good_for_an_hour() -> None:
    assert reset_codes.DURATION == 3600


@pytest.mark.parametrize("code", MISSHAPEN.values(), ids=MISSHAPEN)
def test_a_text_of_another_shape_is_no_code(code: str) -> None:
    assert parse(code) is None


def test_only_a_digest_of_the_secret_is_for_the_store() -> None:
    assert CODE.secret_digest == DIGEST


@pytest.mark.parametrize(
    ("secret_digest", "is_match"),
    [
        pytest.param(DIGEST, True, id="its own"),
        pytest.param(sha256(b"another").hexdigest(), False, id="another's"),
        pytest.param(DIGEST[:-1], False, id="cut off"),
        pytest.param(DIGEST.upper(), False, id="in upper case"),
        pytest.param(SECRET, False, id="the secret itself"),
        pytest.param("", False, id="none"),
    ],
)
def test_a_secret_matches_its_own_digest_alone(secret_digest: str, *, is_match: bool) -> None:
    assert CODE.matches(secret_digest) == is_match


def test_every_single_character_of_the_secret_counts() -> None:
    for place, character in enumerate(SECRET):
        other = "A" if character != "A" else "B"
        changed = ResetCode(SELECTOR, SECRET[:place] + other + SECRET[place + 1 :])
        assert not changed.matches(DIGEST)


def test_digests_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def counted(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert CODE.matches(DIGEST)
    assert compared == [(DIGEST, DIGEST)]


def test_the_secret_is_not_in_the_repr() -> None:
    assert repr(CODE) == f"ResetCode(selector='{SELECTOR}')"


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.text(st.characters())
    | st.tuples(
        st.text(ALPHABET, min_size=11, max_size=13), st.text(ALPHABET, min_size=23, max_size=25)
    ).map(".".join)
)
def test_any_text_is_a_code_or_none(text: str) -> None:
    code = parse(text)
    assert (code is None) == ([len(part) for part in text.split(".")] != [12, 24])
    assert code is None or code.build() == text
