"""A time as text."""

import time

import pytest

from restauth.core import rfc3339


def test_a_time_is_written_in_utc_in_any_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    times = (0, 1_800_000_000, 253_402_300_799)
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        texts = [rfc3339.build(at) for at in times]
    time.tzset()
    assert texts == ["1970-01-01T00:00:00Z", "2027-01-15T08:00:00Z", "9999-12-31T23:59:59Z"]
