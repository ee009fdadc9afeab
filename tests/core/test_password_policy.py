"""The password policy: what is refused, why, and with how much work."""

from typing import ClassVar, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core import password_policy
from restauth.core.password_policy import MIN_LENGTH, find_fault, find_form_fault, folded
from tests.core.inputs import LIMITED, cases

# A telling part of each reason.
SHORT = "at least 15"
COMMON = "on the list"
OWN = "is the name"
MADE = "is made of"

LONG_LIST = frozenset(
    {"passwordpassword", "onceuponatimeinthewest", "straßenbahn für alle".casefold()}
)
SHORT_LIST = frozenset({"letmein", "123", "1234", "4567", "pass", "password", "é"})
OWN_WORDS = ("miguel", "Auth.Example", "a-user-of-a-long-name", "José", "")
NOTHING: frozenset[str] = frozenset()

REFUSED = {
    # Fifteen code points, counted in NFC: not as typed, not in folded case.
    SHORT: [
        *("", "abcdefghijklmn", "abcdefghijklm\U0001f511", "abcdefghijklme\u0301"),
        "abcdefghijklmß",
    ],
    COMMON: [
        *("passwordpassword", "OnceUponATimeInTheWest", "Straßenbahn für alle"),
        "STRASSENBAHN FU\u0308R ALLE",
    ],
    OWN: ["a-user-of-a-long-name", "A-USER-of-a-long-NAME"],
    MADE: [
        *("miguelmiguelmiguel", "MiguelMIGUELmiguel", "auth.exampleMIGUEL", "josé123josé123josé"),
        *("jose\u0301123JOSE\u0301123jose\u0301", "letmeinletmeinletmein", "letmeinpassword1234"),
        *("LetMeInPassword1234", "miguel1234password"),
        "1234567" * 3,  # where the longest word first leads astray
        "password123password123",  # where the shortest word first does
        *("x" * 15, "xX" * 10, "ß" * 15, " " * 1024, "\U0001f511" * 15),
    ],
}
# SP 800-63B-4 section 3.1.1.2: what is unguessable around a common word is not taken away.
ACCEPTED = [
    *("abcdefghijklmno", "abcdefghijklmn ", "abcdefghijklmn\0", "abcdefghijklmn\U0001f511"),
    *("abcdefghijklmne\u0301", "abcdefghijklm\u0958", "123451234512345", "aaaaaaabbbbbbbb"),
    *("correct horse battery staple", "passwordpassword7", "7passwordpassword"),
    *("password plover password", "my name is miguel", "letmein letmein letmein"),
    *("a-user-of-a-long-name!", "xxxxxxxxxxxxxxxxxxy", "OnceUponATimeInTheWesт"),
]


def fault_of(password: str) -> str | None:
    return find_fault(password, OWN_WORDS, LONG_LIST, SHORT_LIST)


@pytest.mark.parametrize(("reason", "password"), cases(REFUSED))
def test_a_guessable_password_is_refused_with_its_reason(reason: str, password: str) -> None:
    fault = fault_of(password)
    assert fault is not None
    assert reason in fault
    assert not password or password not in fault  # an answer may end up in a log


def test_the_whole_password_is_compared() -> None:
    assert MIN_LENGTH == 15
    assert [password for password in ACCEPTED if fault_of(password)] == []


def test_without_lists_and_names_only_length_and_repetition_count() -> None:
    assert find_fault("passwordpassword", [], NOTHING, NOTHING) is None
    assert SHORT in (find_fault("x" * 14, [], NOTHING, NOTHING) or "")
    assert MADE in (find_fault("x" * 15, [], NOTHING, NOTHING) or "")


@LIMITED
@given(st.lists(st.sampled_from(sorted(SHORT_LIST | {"MIGUEL", "José"})), min_size=15))
def test_words_one_after_another_are_refused_in_any_order(words: list[str]) -> None:
    fault = fault_of("".join(words)) or ""
    assert COMMON in fault or MADE in fault


@LIMITED
@given(st.text(max_size=40), st.lists(st.text(max_size=5), max_size=3))
def test_any_password_has_a_reason_or_none(password: str, own_words: list[str]) -> None:
    fault = find_fault(password, own_words, LONG_LIST, SHORT_LIST)
    assert fault is None or any(reason in fault for reason in REFUSED)


class Counted(str):
    """A text that counts how often a part of it is looked for."""

    __slots__ = ()
    looks: ClassVar[int] = 0

    def __getitem__(self, place: SupportsIndex | slice) -> str:
        Counted.looks += 1
        return super().__getitem__(place)


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("ab" * 511 + "a!", id="every place is reached, and the last one is not"),
        pytest.param("ba" * 512, id="words all the way"),
        pytest.param("ǰΐ" * 512, id="characters that fold to three"),
    ],
)
def test_the_longest_password_takes_a_bounded_number_of_looks(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """As many as it has places, times the longest word; not as many as there are ways."""
    words = frozenset("ab"[number % 2] * length for number in (0, 1) for length in range(1, 15))
    mixed = frozenset({"ab", "ba", "aba", "bab", "abab", "baba", *words})
    monkeypatch.setattr(Counted, "looks", 0)
    monkeypatch.setattr(password_policy, "folded", lambda text: Counted(folded(text)))
    find_fault(password, ["miguel"], frozenset(), mixed)
    assert len(password) == 1024
    assert 0 < Counted.looks <= 14 * len(folded(password))


# What no policy accepts: RFC 7617 section 2, and what is no text


@pytest.mark.parametrize("char", [*map(chr, range(0x20)), "\x7f", "\ufeff"], ids=ascii)
@pytest.mark.parametrize("form", ["{}password", "pass{}word", "password{}"])
def test_what_no_client_can_send_is_refused_wherever_it_stands(form: str, char: str) -> None:
    fault = find_form_fault(form.format(char))
    assert fault is not None
    assert ("byte order mark" if char == "\ufeff" else "control characters") in fault


@pytest.mark.parametrize(
    ("password", "words"), [("", "1 to 1024"), ("x" * 1025, "1 to 1024"), ("x\ud800", "Unicode")]
)
def test_what_cannot_be_hashed_is_refused(password: str, words: str) -> None:
    assert words in str(find_form_fault(password))


@pytest.mark.parametrize(
    "char", [" ", "~", ":", "\x80", "\x9f", "\xa0", "é", "\u200b", "\U0001f511"]
)
def test_any_other_character_can_be_in_a_password(char: str) -> None:
    assert find_form_fault(f"{char}pass{char}word{char}") is None


def test_what_a_login_would_take_for_an_api_key_is_refused() -> None:
    assert "API key" in str(find_form_fault("rak_" + "0" * 61))
    assert find_form_fault("rak_" + "0" * 60) is None
