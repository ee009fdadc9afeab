"""A mapping of limited size."""

import pytest

from restauth.core.recent import Recent
from tests.core.inputs import CountedLock


def test_what_was_put_least_recently_goes_first() -> None:
    recent: Recent[str, int] = Recent(3)
    for key in ("put again", "read", "idle"):
        recent.put(key, 1)
    recent.put("put again", 2)
    assert recent.get("read", 0) == 1  # which is no use
    recent.put("new", 3)
    recent.put("newer", 4)
    held = [recent.get(key, 0) for key in ("put again", "read", "idle", "new", "newer")]
    assert held == [2, 0, 0, 3, 4]
    assert len(recent) == 3


def test_threads_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recent: Recent[str, int] = Recent(1)
    lock = CountedLock()
    monkeypatch.setattr(recent, "_lock", lock)
    recent.put("key", 1)
    assert lock.taken == 1
