"""The form by which a name is found."""

import sys
from typing import Literal
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core import names
from restauth.core.names import MAX_CANONICAL_LENGTH, TOO_LONG, canonical
from tests.core.inputs import ANY_TEXT, LIMITED

SPELLINGS = {
    "miguel": ["miguel", "Miguel", "ｍｉｇｕｅｌ"],  # noqa: RUF001
    "big": ["ᴮᴵᴳ"],
    "kelvin": ["\u212aelvin"],
    "fish": ["ﬁsh"],
    "strasse": ["Straße"],
    "οδοσ": ["ΟΔΟΣ"],
    "é": ["e\u0301"],
    "a b": ["a\u00a0b"],
}


def test_every_spelling_of_a_name_has_one_form() -> None:
    for form, spellings in SPELLINGS.items():
        assert {canonical(name) for name in (form, *spellings)} == {form}


def test_different_names_keep_different_forms() -> None:
    names = ["miguel", "miguel ", "m.iguel", "migueł", "mi\u200bguel", "тiguel"]
    assert len({canonical(name) for name in names}) == len(names)


def test_the_form_of_every_code_point_is_its_own_form() -> None:
    forms = map(canonical, map(chr, range(sys.maxunicode + 1)))
    assert [form for form in forms if canonical(form) != form] == []


def test_what_no_store_can_hold_has_a_form_that_one_can_and_no_user_has() -> None:
    for name in ("\0", "ada\0", "\ud800", "\udfff", "Mi\udcffguel", "\ud83d\udc0e", "\udc0e\ud83d"):
        form = canonical(name)
        form.encode()
        assert "\0" not in form
        assert "\ufffd" in form


@LIMITED
@given(ANY_TEXT)
def test_any_text_has_a_form_that_a_store_can_hold(text: str) -> None:
    canonical(text).encode()
    assert canonical(canonical(text)) == canonical(text)


@LIMITED
@given(st.text(min_size=1, max_size=64))
def test_a_form_is_found_whatever_the_case(text: str) -> None:
    assert canonical(text.upper()) == canonical(text.upper().casefold())
    assert canonical(text) == canonical(canonical(text).upper().casefold())


LONGEST = ["m" * 255, "M" * 255, "\u0301" * 255, "\ufdfa" * 14, "e\u0301" * 127]
TOO_LONG_NAMES = ["m" * 256, "\ufdfa" * 15, "e\u0301" * 128, "\u0301" * 8192]


def test_a_name_that_no_user_can_have_for_its_length_has_no_form_of_its_own() -> None:
    assert TOO_LONG not in map(canonical, LONGEST)
    assert {canonical(name) for name in TOO_LONG_NAMES} == {TOO_LONG}


@pytest.mark.parametrize("name", [*LONGEST, *TOO_LONG_NAMES])
def test_never_are_more_characters_normalised_than_a_name_can_have(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """To put n combining marks in order takes n squared steps."""
    lengths = []

    def counted(form: Literal["NFKC"], text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(names, "normalize", counted)
    canonical(name)
    assert max(lengths, default=0) <= MAX_CANONICAL_LENGTH
    assert len(lengths) <= 1
