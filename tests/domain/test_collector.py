"""The figures: what is counted at a scrape, how often, and what is left out."""

import pytest

from restauth import __version__
from restauth.domain import collector
from restauth.domain.collector import COUNT_DURATION, Family
from restauth.services import Services
from restauth.storage.store import Store
from restauth.testing import Clock
from tests.conftest import slot_taken
from tests.databases import without_database
from tests.domain.actions import NAME, PASSWORD, issue, register


def figures(services: Services) -> dict[str, Family]:
    return {family.name: family for family in services.collector.collect()}


def value(services: Services, name: str) -> float:
    """Of a family with one sample."""
    (sample,) = figures(services)[name].samples
    return sample.value


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """When the sessions were counted."""
    times: list[int] = []
    count = Store.count_sessions

    def noted(store: Store, now: int) -> int:
        times.append(now)
        return count(store, now)

    monkeypatch.setattr(Store, "count_sessions", noted)
    return times


def test_live_sessions_are_counted_once_a_minute_at_most(
    services: Services, clock: Clock, counts: list[int]
) -> None:
    register(services)
    for number in (0, 0, 0):
        assert value(services, "restauth_sessions") == number
        issue(services)
    assert len(counts) == 1
    clock.advance(COUNT_DURATION - 1)
    assert value(services, "restauth_sessions") == 0
    clock.advance(1)
    assert value(services, "restauth_sessions") == 3
    assert len(counts) == 2
    clock.advance(-3600)  # the wall clock is set back: not an hour without a count
    assert value(services, "restauth_sessions") == 3
    assert len(counts) == 3


def test_while_one_thread_counts_the_others_take_what_was_counted_before(
    services: Services, clock: Clock, counts: list[int]
) -> None:
    register(services)
    issue(services)
    assert value(services, "restauth_sessions") == 1
    issue(services)
    clock.advance(COUNT_DURATION)
    with services.collector._counting:
        assert value(services, "restauth_sessions") == 1
    assert value(services, "restauth_sessions") == 2


def test_without_the_store_all_other_figures_are_shown(services: Services) -> None:
    whole = set(figures(services))
    services.collector._counted_at = None
    with without_database(services):
        assert whole - set(figures(services)) == {"restauth_sessions"}
    assert set(figures(services)) == whole


def test_the_queue_is_shown(
    services: Services, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(services)
    assert value(one_slot, "restauth_hashes_at_work") == 0
    with slot_taken(one_slot, monkeypatch, NAME, PASSWORD):
        assert value(one_slot, "restauth_hashes_at_work") == 1
        assert value(one_slot, "restauth_hash_queue_length") == 0
    assert value(one_slot, "restauth_hash_refusals_total") == 0


def test_the_age_of_the_key_and_the_versions_are_shown(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = "restauth_signing_key_created_timestamp_seconds"
    assert value(services, made) == clock()
    clock.advance(3600)
    services.keys.rotate(revoke=False)
    assert value(services, made) == clock()
    (build,) = figures(services)["restauth_build_info"].samples
    assert (build.value, build.labels["version"]) == (1, __version__)
    monkeypatch.setattr(collector, "DISTRIBUTION", "no such distribution")
    (build,) = figures(services)["restauth_build_info"].samples
    assert build.labels["version"] == "unknown"


def test_a_histogram_is_cumulative(services: Services) -> None:
    for seconds in (0.002, 0.002, 0.2, 11.0):
        services.metrics.count_request("", "GET", 404, "not_found", seconds)
    samples = figures(services)["restauth_request_duration_seconds"].samples
    assert {sample.labels["route"] for sample in samples} == {"none"}
    found = {sample.labels.get("le", sample.suffix): sample.value for sample in samples}
    assert (found["0.001"], found["0.0025"], found["0.1"], found["0.25"]) == (0, 2, 2, 3)
    assert (found["10.0"], found["+Inf"], found["_count"]) == (3, 4, 4)
    assert found["_sum"] == pytest.approx(11.204)
