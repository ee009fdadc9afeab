"""The list of common passwords, with the policy that refuses them."""

import pytest

from restauth.core.password_policy import MIN_LENGTH, find_fault, folded
from restauth.storage import common_passwords

LONG_LIST, SHORT_LIST = common_passwords.read()


def fault_of(password: str) -> str | None:
    return find_fault(password, (), LONG_LIST, SHORT_LIST)


def test_the_list_is_as_long_as_its_head_says() -> None:
    assert (len(LONG_LIST), len(SHORT_LIST)) == (5000, 1000)


def test_the_list_is_read_once() -> None:
    assert common_passwords.read() is common_passwords.read()


def test_each_line_stands_where_it_is_looked_for_and_in_the_form_that_is_compared() -> None:
    assert {word for word in LONG_LIST if len(word) < MIN_LENGTH} == set()
    assert {word for word in SHORT_LIST if len(word) >= MIN_LENGTH} == set()
    assert {word for word in LONG_LIST | SHORT_LIST if folded(word) != word} == set()


def test_no_line_of_the_head_is_a_password() -> None:
    assert {word for word in LONG_LIST | SHORT_LIST if word.startswith("# ")} == set()
    assert not {"", "#"} & (LONG_LIST | SHORT_LIST)


@pytest.mark.parametrize("word", ["passwordpassword", "qwertyuiopasdfghjkl", "123456789012345"])
def test_famous_long_ones_are_on_it(word: str) -> None:
    assert word in LONG_LIST


@pytest.mark.parametrize("word", ["password", "123456", "qwerty", "letmein", "dragon"])
def test_famous_short_ones_are_on_it(word: str) -> None:
    assert word in SHORT_LIST


def test_every_long_one_is_refused_in_any_case() -> None:
    assert [word for word in LONG_LIST if not fault_of(word)] == []
    assert [word for word in LONG_LIST if not fault_of(word.upper())] == []


def test_every_short_one_is_refused_doubled_and_repeated() -> None:
    doubled = [2 * word for word in SHORT_LIST if len(word) * 2 >= MIN_LENGTH]
    repeated = [MIN_LENGTH * word for word in SHORT_LIST]
    assert len(doubled) > 100
    assert [word for word in doubled + repeated if not fault_of(word)] == []


def test_every_short_one_is_refused_strung_to_its_neighbours() -> None:
    words = sorted(SHORT_LIST)
    strung = ["".join(words[place : place + 4]) for place in range(len(words) - 3)]
    long_enough = [text for text in strung if len(text) >= MIN_LENGTH]
    assert len(long_enough) > 900
    assert [text for text in long_enough if not fault_of(text)] == []


def test_every_one_is_accepted_with_something_unguessable_around_it() -> None:
    around = [f"{word} \N{SNOWMAN}k7 battery" for word in LONG_LIST | SHORT_LIST]
    assert [password for password in around if fault_of(password)] == []
