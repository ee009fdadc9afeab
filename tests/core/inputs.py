"""What the tests of core share: bounded property tests, keys, and tables with short ids."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from string import ascii_letters, digits
from threading import Lock
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from restauth.core.keyring import Key

LIMITED = settings(max_examples=200, derandomize=True, deadline=None)
ANY_TEXT = st.text(st.characters())  # lone surrogates as well
BASE64URL = ascii_letters + digits + "-_"

NOW = 1_800_000_000
KEY = Key("one", sha256(b"a key of the tests").digest(), NOW, None)
RETIRED = Key("two", sha256(b"an older one").digest(), NOW - 900, NOW)
KEYS = {KEY.kid: KEY, RETIRED.kid: RETIRED}


def never(*arguments: object, **keywords: object) -> Key | None:
    """For a function that must not be called."""
    raise AssertionError(arguments)


def cases(table: Mapping[str, Iterable[object]]) -> list[Any]:
    """A (name, value) for each value of each row. The id has the number of the value in its row."""
    return [
        pytest.param(name, value, id=f"{name} {number}")
        for name, values in table.items()
        for number, value in enumerate(values)
    ]


def altered(text: str, others: str = "AB") -> Iterator[str]:
    """The text with another character at one place, for each place and each other character."""
    for place, character in enumerate(text):
        for other in others.replace(character, ""):
            yield text[:place] + other + text[place + 1 :]


class CountedLock:
    """A lock that counts how often it was taken. A race cannot be made to happen in a test."""

    def __init__(self) -> None:
        self.taken = 0
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self.taken += 1

    def __exit__(self, *exception: object) -> None:
        self._lock.release()
