"""One-time codes: their form, and what of them is stored."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from restauth.core.one_time_codes import RESET_DURATION, OneTimeCode, find_selector, generate, parse
from tests.core.inputs import ANY_TEXT, BASE64URL, LIMITED, altered

SELECTOR, SECRET = "selector-_12", "a-secret_of_24_characters"[:24]
CODE = OneTimeCode(SELECTOR, SECRET)
DIGEST = sha256(SECRET.encode()).hexdigest()

MISSHAPEN = [
    *("", ".", SELECTOR + SECRET, f".{SECRET}", f"{SELECTOR}.", f"{SELECTOR}..{SECRET}"),
    *(f"{SELECTOR[1:]}.{SECRET}", f"{SELECTOR}a.{SECRET}"),
    *(f"{SELECTOR}.{SECRET[1:]}", f"{SELECTOR}.{SECRET}a", f"{SELECTOR}.{SECRET}.x"),
    *(f"{SELECTOR[:-1]}.{SELECTOR[-1]}{SECRET}", f"' OR 1=1 -- .{SECRET}"),
    *(f" {SELECTOR}.{SECRET}", f"{SELECTOR}.{SECRET} ", f"{SELECTOR}.{SECRET}\n"),
    *(f"{SELECTOR}.{SECRET[:-1]}{last}" for last in ("\n", "é", "٤", "\0", "\ud800")),
    "a" * 1_000_000,
]


def test_what_is_built_is_read_and_nothing_else() -> None:
    assert CODE.build() == f"{SELECTOR}.{SECRET}"
    assert parse(CODE.build()) == CODE
    assert [code for code in MISSHAPEN if parse(code) is not None] == []


def test_no_two_codes_share_a_half_and_a_secret_has_144_bits() -> None:
    codes = [generate() for _ in range(200)]
    assert [parse(code.build()) for code in codes] == codes
    assert len({code.selector for code in codes}) == len({code.secret for code in codes}) == 200
    assert {len(code.secret) * 6 for code in codes} == {144}
    assert not any(
        "-" in code.selector for code in codes
    )  # as an argument, it looks like an option
    columns = zip(*(code.build() for code in codes), strict=True)
    assert [len(set(column)) for column in columns].count(1) == 1  # the dot: all else is random


def test_a_selector_is_found_alone_and_in_a_code() -> None:
    for text in (SELECTOR, CODE.build(), f" {SELECTOR}\n", f"{SELECTOR}.", f"{SELECTOR}.x.y\n"):
        assert find_selector(text) == SELECTOR
    for text in ("", ".", f".{SELECTOR}", SELECTOR[1:], f"{SELECTOR}a", f"{SELECTOR[1:]}\ud800"):
        assert find_selector(text) is None


def test_a_code_can_be_used_for_an_hour() -> None:
    assert RESET_DURATION == 3600


def test_a_secret_matches_its_own_digest_alone(compared: list[tuple[str, str]]) -> None:
    assert CODE.secret_digest == DIGEST
    assert CODE.matches(DIGEST)
    assert compared == [(DIGEST, DIGEST)]  # in constant time
    others = (sha256(b"another").hexdigest(), DIGEST[:-1], DIGEST.upper(), SECRET, "")
    assert [other for other in others if CODE.matches(other)] == []
    assert not any(OneTimeCode(SELECTOR, other).matches(DIGEST) for other in altered(SECRET))


def test_the_secret_is_not_in_the_repr() -> None:
    assert repr(CODE) == f"OneTimeCode(selector='{SELECTOR}')"


HALVES = [st.text(BASE64URL, min_size=size - 1, max_size=size + 1) for size in (12, 24)]


@LIMITED
@given(ANY_TEXT | st.tuples(*HALVES).map(".".join))
def test_any_text_is_a_code_or_none(text: str) -> None:
    code = parse(text)
    assert (code is None) == ([len(part) for part in text.split(".")] != [12, 24])
    assert code is None or code.build() == text
