"""The counters: what was counted is read, by many threads at once, and memory stays bounded."""

from concurrent.futures import ThreadPoolExecutor

from restauth.domain.metrics import BUCKETS, Metrics


def test_a_request_is_counted_once_in_each_counter() -> None:
    metrics = Metrics()
    metrics.count_request("/api/token", "GET", 200, "", 0.0004)
    metrics.count_request("/api/token", "GET", 401, "bad_credentials", 0.25)
    metrics.count_request("", "other", 404, "not_found", 60.0)
    counts = metrics.read()
    assert counts.requests == {
        ("/api/token", "GET", 200): 1,
        ("/api/token", "GET", 401): 1,
        ("", "other", 404): 1,
    }
    assert counts.problems == {"bad_credentials": 1, "not_found": 1}
    assert counts.seconds == {"/api/token": 0.2504, "": 60.0}
    of_token, unbounded = counts.durations["/api/token"], counts.durations[""]
    assert len(of_token) == len(unbounded) == len(BUCKETS) + 1
    # An upper bound is inclusive, as in Prometheus.
    assert {BUCKETS[place] for place, number in enumerate(of_token) if number} == {0.001, 0.25}
    assert unbounded == (0,) * len(BUCKETS) + (1,)


def test_what_was_read_does_not_change() -> None:
    metrics = Metrics()
    metrics.count_authentication("token", "succeeded")
    metrics.count_request("/", "GET", 200, "", 1)
    before = metrics.read()
    shown = repr(before)
    metrics.count_authentication("token", "succeeded")
    metrics.count_request("/", "GET", 200, "", 1)
    assert repr(before) == shown
    assert metrics.read().authentications == {("token", "succeeded"): 2}


def test_what_is_expected_is_there_from_the_start_and_loses_no_count() -> None:
    metrics = Metrics()
    metrics.expect(["busy"], [("password", "busy")])
    assert metrics.read().problems == {"busy": 0}
    assert metrics.read().authentications == {("password", "busy"): 0}
    metrics.count_authentication("password", "busy")
    metrics.count_request("/", "GET", 503, "busy", 1)
    metrics.expect(["busy"], [("password", "busy")])  # by another service of the process
    assert metrics.read().problems == {"busy": 1}
    assert metrics.read().authentications == {("password", "busy"): 1}


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def count(_: int) -> None:
        for _ in range(500):
            metrics.count_request("/", "GET", 200, "busy", 0.5)
            metrics.count_authentication("token", "succeeded")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))
    counts = metrics.read()
    assert counts.requests == {("/", "GET", 200): 4000}
    assert counts.problems == {"busy": 4000}
    assert sum(counts.durations["/"]) == 4000
    assert counts.seconds == {"/": 2000.0}
    assert counts.authentications == {("token", "succeeded"): 4000}
