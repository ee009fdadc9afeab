"""API keys: their form, their checksum, and what of them is stored."""

from binascii import crc32
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core.api_keys import KeyParts, is_key_shaped, parse
from restauth.core.username_policy import MAX_LENGTH
from restauth.errors import BadCredentials
from tests.core.inputs import ANY_TEXT, LIMITED, altered

ID, SECRET = "0123456789abcdef0123", "fedcba9876543210" * 2 + "00112233"
PARTS = KeyParts(ID, SECRET)
BODY = f"rak_{ID}_{SECRET}"
KEY = f"{BODY}{crc32(BODY.encode()):08x}"
DIGEST = sha256(SECRET.encode()).hexdigest()


def with_checksum(body: str) -> str:
    return f"{body}{crc32(body.encode('utf-8', 'surrogatepass')):08x}"


# Their checksum is right, so that it is the form alone that refuses them.
MISSHAPEN = [
    *map(
        with_checksum,
        [
            *("", "rak_", f"rak_{ID}", f"rak_{ID}_", f"{ID}_{SECRET}", f"RAK_{ID}_{SECRET}"),
            *(f"rak{ID}_{SECRET}", f"rak_{ID}{SECRET}", f"rak_{ID}__{SECRET}", f" {BODY}"),
            *(f"rak_{ID[1:]}_{SECRET}", f"rak_{ID}0_{SECRET}", f"rak_{ID[:-1]}_0{SECRET}"),
            *(f"rak_{ID}_{SECRET[1:]}", f"rak_{ID}_{SECRET}0", BODY.upper(), BODY.title()),
            *(
                f"rak_{ID}_{SECRET[:-1]}{last}"
                for last in ("g", "A", "\n", "é", "٤", "\0", "\ud800")
            ),
        ],
    ),
    *(BODY, f"{KEY}0", f"{KEY}\n", f"{KEY} ", f"{KEY[:-8]}{KEY[-8:].upper()}", "rak_" * 10**6),
]


def is_refused(text: str) -> bool:
    try:
        parse(text)
    except BadCredentials:
        return True
    return False


def test_what_is_built_is_read_and_nothing_else() -> None:
    assert PARTS.build() == KEY
    assert parse(KEY) == PARTS
    assert [text for text in MISSHAPEN if not is_refused(text)] == []


def test_no_other_character_anywhere_passes_the_checksum() -> None:
    assert [text for text in altered(KEY, "0123456789abcdef") if not is_refused(text)] == []


def test_two_characters_that_changed_places_do_not_pass_either() -> None:
    swapped = [KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :] for place in range(72)]
    assert [text for text in swapped if text != KEY and not is_refused(text)] == []


def test_a_key_has_a_shape_that_no_username_has() -> None:
    for cut in range(len(KEY)):
        assert is_key_shaped(KEY[:cut]) == (cut > MAX_LENGTH)
    assert is_key_shaped(KEY)
    assert is_key_shaped(KEY + "x")
    assert not is_key_shaped("Rak_" + KEY[4:])
    assert not is_key_shaped("rak-" + KEY[4:])


def test_a_secret_matches_its_own_digest_alone(compared: list[tuple[str, str]]) -> None:
    assert PARTS.secret_digest == DIGEST
    assert PARTS.matches(DIGEST)
    assert compared == [(DIGEST, DIGEST)]  # in constant time
    others = (sha256(b"another").hexdigest(), DIGEST[:-1], DIGEST.upper(), SECRET, "")
    assert [other for other in others if PARTS.matches(other)] == []
    assert not any(KeyParts(ID, other).matches(DIGEST) for other in altered(SECRET))


def test_the_secret_is_not_in_the_repr_and_not_in_a_refusal() -> None:
    assert repr(PARTS) == f"KeyParts(id='{ID}')"
    with pytest.raises(BadCredentials) as caught:
        parse(KEY[:-1] + "z")
    assert SECRET not in repr(caught.value)


HEX = "0123456789abcdef"
HALVES = [st.text(HEX, min_size=size - 1, max_size=size + 1) for size in (20, 40)]


@LIMITED
@given(ANY_TEXT | st.tuples(*HALVES).map(lambda parts: with_checksum(f"rak_{'_'.join(parts)}")))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    is_key = [len(part) for part in text.split("_")] == [3, 20, 48] and text.startswith("rak_")
    assert is_refused(text) == (not is_key)
    assert not is_key or parse(text).build() == text
