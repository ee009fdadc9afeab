"""All that can go wrong: each error has its own code and one sentence."""

import re

import pytest

from restauth import errors
from restauth.errors import Fault, MethodNotAllowed, Refusal, RestauthError, Throttled, Unavailable

ABSTRACT = {RestauthError, Refusal, Fault, Unavailable}  # caught, and never raised
RAISED = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, RestauthError) and error not in ABSTRACT
]


def make(error: type[RestauthError]) -> RestauthError:
    if issubclass(error, MethodNotAllowed):
        return error(("GET",))
    return error(1) if issubclass(error, Throttled) else error()


@pytest.mark.parametrize("error", RAISED)
def test_an_error_has_a_code_and_a_sentence_of_its_own(error: type[RestauthError]) -> None:
    assert {"code", "detail"} <= vars(error).keys()  # not its parent's
    assert error.code == re.sub(r"(?<!^)(?=[A-Z])", "_", error.__name__).lower()
    assert re.fullmatch(r"[A-Z][^\n]+\.|Unauthorized Access", error.detail)
    assert str(make(error)) == error.detail
    assert issubclass(error, Refusal) != issubclass(error, Fault)


def test_an_error_can_say_more_than_its_class() -> None:
    assert str(errors.UnacceptableUsername("Not this one.")) == "Not this one."
    assert MethodNotAllowed(("GET", "HEAD")).allowed == ("GET", "HEAD")
    assert Throttled(900).retry_after == 900


@pytest.mark.parametrize("error", [each for each in RAISED if issubclass(each, Unavailable)])
def test_the_cause_of_an_outage_is_not_in_its_message(error: type[Unavailable]) -> None:
    outage = error("/var/lib/restauth.db: disk full")
    assert (str(outage), outage.cause) == (error.detail, "/var/lib/restauth.db: disk full")
    assert error().cause == ""
    assert outage.retry_after >= 1
