"""The order in which those that wait for a hash get their turn, and who has to go."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from restauth.core import fair_queue
from restauth.core.fair_queue import MAX_IN_ORDER, FairQueue

HERE, THERE = "192.0.2.1", "198.51.100.1"


@dataclass(eq=False)
class Guess:
    network: str
    name: str
    number: int = 0


Queue = FairQueue[Guess]


def take(queue: Queue) -> Guess:
    taken = queue.take(lambda _: True)
    assert taken is not None
    return taken


def serve(queue: Queue, *guesses: Guess) -> None:
    """Each comes alone and has its turn."""
    for guess in guesses:
        queue.add(guess)
        assert take(queue) is guess


def wait(queue: Queue, guesses: Iterable[Guess]) -> None:
    for guess in guesses:
        queue.add(guess)


def test_who_comes_while_a_flood_waits_is_next_when_its_network_has_had_no_turn() -> None:
    queue: Queue = FairQueue()
    wait(queue, [Guess(HERE, f"user{number}") for number in range(50)])
    take(queue)
    queue.add(mine := Guess(THERE, "miguel"))
    assert take(queue) is mine


def test_networks_take_turns_however_many_wait_in_each() -> None:
    queue: Queue = FairQueue()
    serve(queue, Guess(HERE, "a"), Guess(THERE, "b"), Guess("third", "c"))
    wait(queue, [Guess(HERE, f"user{number}") for number in range(9)])
    wait(queue, [Guess(THERE, "user0"), Guess(THERE, "user1"), Guess("third", "user0")])
    assert [take(queue).network for _ in range(7)] == [
        HERE, THERE, "third", HERE, THERE, HERE, HERE,
    ]  # fmt: skip


def test_of_many_networks_that_guess_each_waits_behind_one_that_has_not() -> None:
    queue: Queue = FairQueue()
    botnet = [Guess(f"203.0.113.{number}", "miguel") for number in range(64)]
    serve(queue, *botnet)
    wait(queue, botnet)
    queue.add(mine := Guess(THERE, "miguel"))
    assert take(queue) is mine
    assert [take(queue) for _ in botnet] == botnet


def test_in_a_network_a_name_that_had_a_turn_waits_behind_one_that_had_none() -> None:
    queue: Queue = FairQueue()
    guesses = [Guess(HERE, f"user{number}") for number in range(64)]
    serve(queue, *guesses)
    wait(queue, guesses)
    queue.add(mine := Guess(HERE, "miguel"))
    assert take(queue) is mine
    assert [take(queue) for _ in guesses] == guesses


def test_a_name_is_its_own_in_each_network() -> None:
    queue: Queue = FairQueue()
    serve(queue, Guess(HERE, "miguel"), Guess(THERE, "susan"))
    wait(queue, [Guess(THERE, "susan", 2), mine := Guess(THERE, "miguel")])
    assert take(queue) is mine


def test_among_equals_the_first_is_next_and_of_many_one_of_the_last_two() -> None:
    queue: Queue = FairQueue()
    guesses = [Guess(HERE, f"user{number}") for number in range(MAX_IN_ORDER + 9)]
    wait(queue, guesses)
    while len(guesses) > MAX_IN_ORDER:
        taken = take(queue)
        assert taken in guesses[-2:]
        guesses.remove(taken)
    assert [take(queue) for _ in guesses] == guesses


def test_a_login_in_a_flood_of_its_own_network_has_its_turn_soon() -> None:
    """Each guess comes again, before the login or after it. Within 40 turns: this fails once in a
    thousand million runs."""
    for is_behind in (False, True):
        queue: Queue = FairQueue()
        wait(queue, [Guess(HERE, f"user{number}") for number in range(64)])
        queue.add(mine := Guess(HERE, "miguel"))
        for number in range(64, 104):
            if is_behind:
                queue.add(Guess(HERE, f"user{number}"))
            if take(queue) is mine:
                break
            if not is_behind:
                queue.add(Guess(HERE, f"user{number}"))
        else:
            raise AssertionError("still waiting")


def test_a_turn_is_forgotten_after_so_many_turns_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_queue, "MAX_REMEMBERED", 5)
    queue: Queue = FairQueue()
    for others, expected in ((3, "invented"), (4, "miguel")):  # and the network itself
        serve(queue, Guess(HERE, "miguel"))
        serve(queue, *[Guess(HERE, f"user{number}") for number in range(others)])
        wait(queue, [Guess(HERE, "miguel"), Guess(HERE, "invented")])
        assert take(queue).name == expected
        take(queue)


def test_those_that_are_not_ready_wait_on() -> None:
    queue: Queue = FairQueue()
    wait(queue, [Guess(HERE, "miguel", 1), ready := Guess(HERE, "miguel", 2)])
    assert queue.take(lambda guess: guess.number == 2) is ready
    assert queue.take(lambda guess: guess.number == 2) is None
    assert take(queue).number == 1
    assert queue.take(lambda _: True) is None


def test_it_says_who_waits_and_forgets_who_goes() -> None:
    queue: Queue = FairQueue()
    guesses = [Guess(HERE, "miguel", number) for number in range(3)]
    wait(queue, guesses)
    queue.remove(guesses[1])
    queue.remove(Guess(HERE, "miguel"))  # which never came
    assert len(queue) == 2
    assert queue.select(lambda guess: guess.number > 0) == guesses[2:]


@pytest.mark.parametrize(
    ("guesses", "expected"),
    [
        pytest.param([(HERE, "a"), (HERE, "b"), (THERE, "c")], 1, id="of the larger network"),
        pytest.param([(THERE, "c"), (HERE, "a"), (HERE, "a"), (HERE, "b")], 2, id="name as well"),
        pytest.param([(HERE, "a"), (HERE, "b"), (HERE, "c")], 2, id="among equals the last"),
        pytest.param([(HERE, "served"), (HERE, "new")], 0, id="of a name that had a turn"),
        pytest.param([("served", "served"), (HERE, "a")], 0, id="of a network that had a turn"),
    ],
)
def test_the_last_of_all_is_known(guesses: list[tuple[str, str]], expected: int) -> None:
    queue: Queue = FairQueue()
    serve(queue, Guess(HERE, "served"), Guess("served", "served"))
    waiting = [Guess(network, name) for network, name in guesses]
    wait(queue, waiting)
    assert queue.find_last() is waiting[expected]
    assert len(queue) == len(guesses)
