"""The form by which a name is found."""

import sys

import pytest

from restauth.core.names import canonical


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
