"""The list of common passwords, with the policy that refuses them."""

from restauth.core.password_policy import MIN_LENGTH, find_fault, folded
from restauth.storage import common_passwords

LONG_LIST, SHORT_LIST = common_passwords.read()
FAMOUS = {"passwordpassword", "qwertyuiopasdfghjkl", "123456789012345"}
FAMOUS_SHORT = {"password", "123456", "qwerty", "letmein", "dragon"}


def accepted(*passwords: str) -> list[str]:
    return [word for word in passwords if not find_fault(word, (), LONG_LIST, SHORT_LIST)]


def test_the_list_is_as_long_as_its_head_says_and_is_read_once() -> None:
    assert (len(LONG_LIST), len(SHORT_LIST)) == (5000, 1000)
    assert FAMOUS <= LONG_LIST
    assert FAMOUS_SHORT <= SHORT_LIST
    assert common_passwords.read() is common_passwords.read()


def test_each_line_stands_where_it_is_looked_for_and_in_the_form_that_is_compared() -> None:
    assert {word for word in LONG_LIST if len(word) < MIN_LENGTH} == set()
    assert {word for word in SHORT_LIST if len(word) >= MIN_LENGTH} == set()
    assert {word for word in LONG_LIST | SHORT_LIST if folded(word) != word} == set()
    head = {word for word in LONG_LIST | SHORT_LIST if word in {"", "#"} or word[:2] == "# "}
    assert head == set()


def test_every_long_one_is_refused_in_any_case() -> None:
    assert accepted(*LONG_LIST, *(word.upper() for word in LONG_LIST)) == []


def test_every_short_one_is_refused_repeated_and_strung_to_its_neighbours() -> None:
    words = sorted(SHORT_LIST)
    doubled = [2 * word for word in words]
    strung = ["".join(words[place : place + 4]) for place in range(len(words) - 3)]
    long_enough = [text for text in doubled + strung if len(text) >= MIN_LENGTH]
    assert len(long_enough) > 1000
    assert accepted(*long_enough, *(MIN_LENGTH * word for word in words)) == []


def test_every_one_is_accepted_with_something_unguessable_around_it() -> None:
    around = [f"{word} \N{SNOWMAN}k7 battery" for word in LONG_LIST | SHORT_LIST]
    assert accepted(*around) == around
