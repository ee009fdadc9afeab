"""Which names a user could have, and which never."""

from restauth.core.names import TOO_LONG, canonical
from restauth.core.username_policy import is_possible

POSSIBLE = [
    *("m", " ", "m" * 64, "\U0001f40e" * 64, "Ünï côdé", "\u202eleugim"),
    *("\ud7ff\ue000", "\ufffc\ufffe", "9;", "~\u00a0"),  # the neighbours of what is refused
]
# The colon, control characters, halves of a character, and what stands for one.
IMPOSSIBLE = (0x3A, *range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), 0xFFFD)


def test_a_name_of_1_to_64_characters_that_can_be_sent_and_stored_is_possible() -> None:
    """What else a name must be like is for the setting to say."""
    assert [name for name in POSSIBLE if not is_possible(name)] == []
    refused = ["", "m" * 65, "\ufdfa" * 15]  # which NFKC makes 18 characters of each
    for character in map(chr, IMPOSSIBLE):
        refused += [character, f"{character}miguel", f"mi{character}guel", f"miguel{character}"]
    assert [name for name in refused if is_possible(name)] == []
    assert is_possible("\ufdfa" * 14)


def test_a_name_never_begins_as_an_id_is_written() -> None:
    assert [is_possible(name) for name in ("#1", "#", "#a", "a#1")] == [False, False, False, True]


def test_the_form_of_a_name_that_no_store_can_hold_is_no_name_either() -> None:
    for name in ("\0", "ada\0", "\ud800", "Mi\udcffguel"):
        assert not is_possible(name)
        assert not is_possible(canonical(name))
    assert not is_possible(TOO_LONG)  # so no user is found by it
