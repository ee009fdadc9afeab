"""The password policy: what is refused, why, and with how much work."""

from typing import ClassVar, SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core import password_policy
from restauth.core.password_policy import MIN_LENGTH, find_fault, folded

SHORT = "A password has at least 15 characters."
COMMON = "This password is on the list of common passwords."
OWN = "This password is the name of the user or of the service."
STRUNG = "This password is made of common passwords or of names alone."

LONG_LIST = frozenset(
    {"passwordpassword", "onceuponatimeinthewest", "straßenbahn für alle".casefold()}
)
SHORT_LIST = frozenset({"letmein", "123", "1234", "4567", "pass", "password", "é"})
OWN_WORDS = ("miguel", "Auth.Example", "a-user-of-a-long-name", "José")


def fault_of(password: str) -> str | None:
    return find_fault(password, OWN_WORDS, LONG_LIST, SHORT_LIST)


# The length


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        pytest.param("", SHORT, id="nothing"),
        pytest.param("abcdefghijklmn", SHORT, id="14"),
        pytest.param("abcdefghijklmno", None, id="15"),
        pytest.param("abcdefghijklmn ", None, id="a blank is a character"),
        pytest.param("abcdefghijklmn\0", None, id="a NUL is one too"),
        pytest.param("abcdefghijklm\U0001f511", SHORT, id="14, one beyond the BMP"),
        pytest.param("abcdefghijklmn\U0001f511", None, id="15, one beyond the BMP"),
        pytest.param("abcdefghijklme\u0301", SHORT, id="15 typed, 14 in NFC"),
        pytest.param("abcdefghijklmne\u0301", None, id="16 typed, 15 in NFC"),
        pytest.param("abcdefghijklm\u0958", None, id="14 typed, 15 in NFC"),
        pytest.param("abcdefghijklmß", SHORT, id="14, but 15 in folded case"),
    ],
)
def test_a_password_has_fifteen_code_points_counted_in_nfc(
    password: str, fault: str | None
) -> None:
    assert fault_of(password) == fault
    assert MIN_LENGTH == 15


# The reasons


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        pytest.param("passwordpassword", COMMON, id="a common one"),
        pytest.param("OnceUponATimeInTheWest", COMMON, id="in another case"),
        pytest.param("Straßenbahn für alle", COMMON, id="in another alphabet's case"),
        pytest.param("STRASSENBAHN FU\u0308R ALLE", COMMON, id="decomposed"),
        pytest.param("a-user-of-a-long-name", OWN, id="the own name"),
        pytest.param("A-USER-of-a-long-NAME", OWN, id="in another case"),
        pytest.param("miguelmiguelmiguel", STRUNG, id="the own name again and again"),
        pytest.param("MiguelMIGUELmiguel", STRUNG, id="in every case"),
        pytest.param("auth.exampleMIGUEL", STRUNG, id="the service's and the own name"),
        pytest.param("josé123josé123josé", STRUNG, id="the own name in NFC"),
        pytest.param("jose\u0301123JOSE\u0301123jose\u0301", STRUNG, id="and decomposed"),
        pytest.param("letmeinletmeinletmein", STRUNG, id="a common one again and again"),
        pytest.param("letmeinpassword1234", STRUNG, id="common ones, one after another"),
        pytest.param("LetMeInPassword1234", STRUNG, id="in another case"),
        pytest.param("miguel1234password", STRUNG, id="common ones and a name"),
        pytest.param("1234567" * 3, STRUNG, id="where the longest word first leads astray"),
        pytest.param("123451234512345", None, id="where no word leads on"),
        pytest.param("password123password123", STRUNG, id="where the shortest word first does"),
        pytest.param("x" * 15, STRUNG, id="one character"),
        pytest.param("xX" * 10, STRUNG, id="one character in both cases"),
        pytest.param("ß" * 15, STRUNG, id="one character that folds to two"),
        pytest.param(" " * 1024, STRUNG, id="nothing but blanks"),
        pytest.param("\U0001f511" * 15, STRUNG, id="one emoji"),
    ],
)
def test_a_guessable_password_is_refused_with_its_reason(password: str, fault: str | None) -> None:
    assert fault_of(password) == fault


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("correct horse battery staple", id="a phrase"),
        pytest.param("passwordpassword7", id="a common one and a character"),
        pytest.param("7passwordpassword", id="before it"),
        pytest.param("password plover password", id="common ones around another"),
        pytest.param("my name is miguel", id="a name in a phrase"),
        pytest.param("letmein letmein letmein", id="blanks between"),
        pytest.param("a-user-of-a-long-name!", id="the own name and a character"),
        pytest.param("xxxxxxxxxxxxxxxxxxy", id="one character and another"),
        pytest.param("aaaaaaabbbbbbbb", id="no composition rules"),
        pytest.param("OnceUponATimeInTheWesт", id="a look-alike"),
    ],
)
def test_the_whole_password_is_compared(password: str) -> None:
    """SP 800-63B-4 section 3.1.1.2: what is unguessable around a common word is not taken away."""
    assert fault_of(password) is None


def test_an_empty_word_is_no_word() -> None:
    assert find_fault("correct horse battery", ["", "miguel"], LONG_LIST, SHORT_LIST) is None


def test_without_lists_and_names_only_length_and_repetition_count() -> None:
    nothing: frozenset[str] = frozenset()
    assert find_fault("passwordpassword", [], nothing, nothing) is None
    assert find_fault("x" * 14, [], nothing, nothing) == SHORT
    assert find_fault("x" * 15, [], nothing, nothing) == STRUNG


def test_no_reason_repeats_the_password() -> None:
    """An answer may end up in a log."""
    for password in ("letmein", "passwordpassword", "a-user-of-a-long-name", "miguel" * 3):
        fault = fault_of(password)
        assert fault is not None
        assert password not in fault


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(sorted(SHORT_LIST | {"MIGUEL", "José"})), min_size=15))
def test_words_one_after_another_are_refused_in_any_order(words: list[str]) -> None:
    assert fault_of("".join(words)) in (COMMON, STRUNG)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(max_size=40), st.lists(st.text(max_size=5), max_size=3))
def test_any_password_has_a_reason_or_none(password: str, own_words: list[str]) -> None:
    fault = find_fault(password, own_words, LONG_LIST, SHORT_LIST)
    assert fault in (None, SHORT, COMMON, OWN, STRUNG)


# The work


class Counted(str):
    """A text that counts how often somebody looks for a part of it."""

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
