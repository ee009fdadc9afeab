"""Fixtures of the tests of core."""

import hmac

import pytest


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | bytes, str | bytes]]:
    """The pairs that are compared in constant time in the test."""
    pairs: list[tuple[str | bytes, str | bytes]] = []

    def compare(one: str | bytes, other: str | bytes) -> bool:
        pairs.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return pairs
