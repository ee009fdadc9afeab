"""Identification that is counted: the same results, and each counted once."""

from contextlib import suppress

import pytest

from restauth.core.authorization import Basic, Bearer
from restauth.domain.identification import Identification
from restauth.domain.metered import MeteredIdentification
from restauth.errors import Refusal, StoreUnavailable
from restauth.services import Services
from tests.conftest import CLIENT, ServicesFactory, slot_taken
from tests.databases import take_the_store_away
from tests.domain.actions import NAME, PASSWORD, WRONG, issue, log_in, register, verify

SECRET = "s" * 32


@pytest.fixture
def metered(make_services: ServicesFactory) -> Services:
    return make_services(metrics=SECRET, free_failures=1)


def counted(services: Services) -> dict[tuple[str, str], int]:
    """Those that are not 0."""
    counts = services.metrics.read().authentications
    return {key: number for key, number in counts.items() if number}


def attempt(services: Services, claim: Basic | Bearer) -> None:
    with suppress(Refusal):
        services.identification.identify(claim, CLIENT)


def test_each_outcome_is_counted_by_its_credential(metered: Services) -> None:
    register(metered)
    token = issue(metered).token
    assert counted(metered) == {}  # the domain alone is not counted
    assert metered.identification.identify(None, CLIENT) is None
    assert counted(metered) == {}
    assert verify(metered, token).user.username == NAME
    attempt(metered, Basic(token, ""))
    attempt(metered, Bearer("a.b.c"))
    key = metered.api_keys.make(metered.accounts.find(1), "ci").text
    for claim in (Bearer(key), Basic(key, ""), Basic(NAME, key), Basic(WRONG, key)):
        attempt(metered, claim)
    attempt(metered, Basic(NAME, PASSWORD))  # verified before: it is in the credential cache
    for _ in range(2):
        attempt(metered, Basic(NAME, WRONG))
    attempt(metered, Basic(NAME, WRONG))
    assert counted(metered) == {
        ("token", "succeeded"): 2,
        ("token", "bad_credentials"): 1,
        ("key", "succeeded"): 3,
        ("key", "bad_credentials"): 1,
        ("password", "succeeded"): 1,
        ("password", "bad_credentials"): 2,
        ("password", "throttled"): 1,
    }


def test_an_attempt_that_finds_no_place_is_counted(
    services: Services, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(services)
    assert not isinstance(one_slot.identification, MeteredIdentification)
    metered = MeteredIdentification(
        one_slot.identification.find_key,
        one_slot.identification._tokens,
        one_slot.clock,
        one_slot.identification.store,
        one_slot.identification.authentication,
        metrics=one_slot.metrics,
    )
    with slot_taken(one_slot, monkeypatch, NAME, PASSWORD), suppress(Refusal):
        metered.identify(Basic(NAME, WRONG), CLIENT)
    assert counted(one_slot) == {("password", "busy"): 1}


def test_a_store_that_does_not_answer_is_counted(metered: Services) -> None:
    token = [register(metered), issue(metered).token][1]
    take_the_store_away(metered)
    with pytest.raises(StoreUnavailable):
        verify(metered, str(token))
    assert counted(metered) == {("token", "store_unavailable"): 1}


def test_outcomes_are_shown_before_they_happen(metered: Services) -> None:
    shown = set(metered.metrics.read().authentications)
    assert ("password", "throttled") in shown
    assert ("token", "store_unavailable") in shown
    assert len(shown) == 11


def test_where_the_figures_are_off_nothing_is_counted(services: Services) -> None:
    register(services)
    log_in(services)
    attempt(services, Basic(NAME, PASSWORD))
    assert type(services.identification) is Identification
    assert services.metrics.read().authentications == {}
