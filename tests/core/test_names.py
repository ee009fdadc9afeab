"""The form by which a name is found, and what no name may be."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core.names import MAX_LENGTH, canonical, is_possible

A_LIMITED_RUN = settings(max_examples=300, derandomize=True, deadline=None)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        pytest.param("miguel", "miguel", id="plain"),
        pytest.param("Miguel", "miguel", id="upper case"),
        pytest.param("ｍｉｇｕｅｌ", "miguel", id="fullwidth"),  # noqa: RUF001
        pytest.param("ᴮᴵᴳ", "big", id="superscript capitals"),
        pytest.param("\u212aelvin", "kelvin", id="the Kelvin sign"),
        pytest.param("ﬁsh", "fish", id="a ligature"),
        pytest.param("Straße", "strasse", id="a sharp s"),
        pytest.param("ΟΔΟΣ", "οδοσ", id="a final sigma"),
        pytest.param("e\u0301", "é", id="a combining accent"),
        pytest.param("a\u00a0b", "a b", id="a no-break space"),
    ],
)
def test_every_spelling_of_a_name_has_one_form(typed: str, found: str) -> None:
    assert canonical(typed) == canonical(found) == found


def test_different_names_keep_different_forms() -> None:
    names = ["miguel", "miguel ", "m.iguel", "migueł", "mi\u200bguel", "тiguel"]
    assert len({canonical(name) for name in names}) == len(names)


def test_the_form_of_every_code_point_is_its_own_form() -> None:
    forms = map(canonical, map(chr, range(sys.maxunicode + 1)))
    assert [form for form in forms if canonical(form) != form] == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\ud800", id="the first surrogate"),
        pytest.param("\udfff", id="the last surrogate"),
        pytest.param("Mi\udcffguel", id="a byte of a command line"),
        pytest.param("\ud83d\udc0e", id="both halves of one character"),
        pytest.param("\udc0e\ud83d", id="in the wrong order"),
    ],
)
def test_half_a_character_has_a_form_that_a_store_can_hold_and_nobody_can_have(name: str) -> None:
    form = canonical(name)
    form.encode()
    assert "\ufffd" in form
    assert canonical(form) == form
    assert not is_possible(name)
    assert not is_possible(form)


@A_LIMITED_RUN
@given(st.text(st.characters(), max_size=80))
def test_any_text_has_a_form_that_a_store_can_hold(text: str) -> None:
    canonical(text).encode()
    assert canonical(canonical(text)) == canonical(text)


@A_LIMITED_RUN
@given(st.text(min_size=1, max_size=64))
def test_a_form_is_found_whatever_the_case(text: str) -> None:
    assert canonical(text.upper()) == canonical(text.upper().casefold())
    assert canonical(text) == canonical(canonical(text).upper().casefold())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("m", id="one character"),
        pytest.param("m" * 64, id="64 characters"),
        pytest.param("\U0001f40e" * 64, id="characters, not bytes"),
        pytest.param(" ", id="a blank"),
        pytest.param("Ünï côdé", id="any script"),
        pytest.param("\u202eleugim", id="written backwards"),
        pytest.param("\ud7ff\ue000", id="the neighbours of the surrogates"),
        pytest.param("\ufffc\ufffe", id="the neighbours of U+FFFD"),
        pytest.param("9;", id="the neighbours of the colon"),
        pytest.param("~\u00a0", id="the neighbours of the control characters"),
    ],
)
def test_a_name_that_can_be_sent_is_possible(name: str) -> None:
    """What else a name must be like is for the setting to say."""
    assert is_possible(name)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(0x3A, 0x3A, id="the colon"),
        pytest.param(0x00, 0x1F, id="control characters"),
        pytest.param(0x7F, 0x9F, id="DEL and more control characters"),
        pytest.param(0xD800, 0xDFFF, id="half a character"),
        pytest.param(0xFFFD, 0xFFFD, id="what stands for half a character"),
    ],
)
def test_a_name_that_cannot_be_sent_or_stored_is_impossible(first: int, last: int) -> None:
    for character in map(chr, range(first, last + 1)):
        for name in (character, f"{character}miguel", f"mi{character}guel", f"miguel{character}"):
            assert not is_possible(name)


def test_a_name_has_1_to_64_characters() -> None:
    assert MAX_LENGTH == 64
    assert not is_possible("")
    assert not is_possible("m" * 65)
