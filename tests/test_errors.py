"""All that can go wrong: each failure has its own code and one sentence."""

import re
from collections.abc import Iterator

import pytest

from restauth import errors
from restauth.errors import Fault, MethodNotAllowed, Refusal, RestauthError, Throttled, Unavailable

# These are only caught; what is raised stands below them.
ABSTRACT: set[type[RestauthError]] = {RestauthError, Refusal, Fault, Unavailable}


def descendants(failure: type[RestauthError]) -> Iterator[type[RestauthError]]:
    for child in failure.__subclasses__():
        yield child
        yield from descendants(child)


RAISED = [
    failure
    for failure in descendants(RestauthError)
    if failure.__module__ == errors.__name__ and failure not in ABSTRACT
]


def make(failure: type[RestauthError]) -> RestauthError:
    if issubclass(failure, MethodNotAllowed):
        return failure(("GET",))
    return failure(1) if issubclass(failure, Throttled) else failure()


@pytest.mark.parametrize("failure", RAISED)
def test_a_failure_has_a_code_and_a_sentence_of_its_own(failure: type[RestauthError]) -> None:
    assert {"code", "detail"} <= vars(failure).keys()  # of its own, not its parent's
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", failure.code)
    assert re.fullmatch(r"[A-Z][^\n]+\.|Unauthorized Access", failure.detail)
    assert str(make(failure)) == failure.detail


def test_no_two_failures_share_a_code() -> None:
    assert len({failure.code for failure in RAISED}) == len(RAISED)


def test_a_code_is_the_name_of_its_class() -> None:
    names = {failure.__name__: failure.code for failure in RAISED}
    assert names == {name: re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in names}


@pytest.mark.parametrize("failure", RAISED)
def test_a_failure_is_either_refused_or_mended_by_the_operator(
    failure: type[RestauthError],
) -> None:
    assert issubclass(failure, Refusal) != issubclass(failure, Fault)


def test_a_failure_can_say_more_than_its_class() -> None:
    assert str(errors.UnacceptableUsername("Not this one.")) == "Not this one."


def test_a_refused_method_tells_those_allowed() -> None:
    assert MethodNotAllowed(("GET", "HEAD")).allowed == ("GET", "HEAD")


def test_a_throttled_attempt_is_told_when_to_come_back() -> None:
    assert Throttled(900).retry_after == 900


def test_a_proxy_is_refused_in_the_words_of_a_throttled_client_and_waits_for_nothing() -> None:
    assert str(errors.Barred()) == str(Throttled(900))
    assert not issubclass(errors.Barred, Throttled)


@pytest.mark.parametrize("failure", [f for f in RAISED if issubclass(f, Unavailable)])
def test_the_cause_of_an_outage_is_not_in_its_message(failure: type[Unavailable]) -> None:
    outage = failure("/var/lib/restauth.db: disk full")
    assert str(outage) == failure.detail
    assert outage.cause == "/var/lib/restauth.db: disk full"
    assert failure().cause == ""
    assert outage.retry_after >= 1
