"""The keys of another machine: when they are read again, and what a failure leaves."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

import pytest

from restauth.core import jwk
from restauth.core.keyring import KeyRing
from restauth.domain.remote_keys import MAX_AGE, MIN_AGE, RemoteKeys
from restauth.errors import KeysUnavailable, UnusableKeyRing
from restauth.storage.key_url import KeyURL
from tests.key_pairs import key_of, need_extra, pair_entry
from tests.storage.system import Ticking

URL = "http://localhost/jwks.json"


@dataclass
class Source(KeyURL):
    """A URL that answers what a test says."""

    answer: Callable[[], bytes]
    url: str = URL
    readings: list[float] = field(default_factory=list)

    def read(self) -> bytes:
        self.readings.append(0)
        return self.answer()


def shown(*kids: str) -> Callable[[], bytes]:
    keys = (key_of("EdDSA", kid) for kid in kids)
    raw = json.dumps(jwk.build_public(KeyRing(tuple(keys)))).encode()
    return lambda: raw


def refuse() -> bytes:
    raise UnusableKeyRing("It does not answer.")


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


@pytest.fixture
def source() -> Source:
    need_extra()
    return Source(shown("one"))


@pytest.fixture
def keys(source: Source, ticking: Ticking) -> RemoteKeys:
    keys = RemoteKeys(source, ticking)
    keys.read()
    return keys


def find(keys: RemoteKeys, kid: str) -> str | None:
    """The kid again, None, or 503 in its place."""
    try:
        key = keys.find(kid)
    except KeysUnavailable:
        return "503"
    return key.kid if key else None


def test_a_known_key_costs_no_reading_until_the_set_is_old(
    keys: RemoteKeys, source: Source, ticking: Ticking
) -> None:
    ticking.advance(MAX_AGE)
    assert [find(keys, "one") for _ in range(9)] == ["one"] * 9
    assert len(source.readings) == 1
    source.answer = shown("two")  # the other one was revoked
    ticking.advance(1)
    assert (find(keys, "one"), find(keys, "two")) == (None, "two")
    assert len(source.readings) == 2


def test_an_unknown_key_is_looked_for_at_most_once_in_30_seconds(
    keys: RemoteKeys, source: Source, ticking: Ticking
) -> None:
    source.answer = shown("two", "one")
    ticking.advance(MIN_AGE - 1)
    assert find(keys, "two") is None
    ticking.advance(1)
    assert (find(keys, "two"), find(keys, "three"), find(keys, "one")) == ("two", None, "one")
    ticking.advance(MIN_AGE)
    assert [find(keys, f"junk {number}") for number in range(9)] == [None] * 9
    assert len(source.readings) == 3


@pytest.mark.parametrize("answer", [refuse, lambda: b"<html>", lambda: b""])
def test_while_the_url_does_not_answer_the_last_set_stays_and_no_token_is_called_wrong(
    keys: RemoteKeys,
    source: Source,
    ticking: Ticking,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[], bytes],
) -> None:
    source.answer = answer
    for _ in range(3):
        ticking.advance(10 * MAX_AGE)
        assert [find(keys, kid) for kid in ("one", "two") * 2] == ["one", "503"] * 2
    assert len(source.readings) == 4
    (record,) = caplog.records  # once
    assert "The keys that were read before stay in force." in record.message
    source.answer = shown("two")
    assert find(keys, "two") == "503"
    ticking.advance(MIN_AGE)
    assert (find(keys, "two"), find(keys, "one")) == ("two", None)
    assert caplog.messages[1:] == [f"{URL} is read again."]
    source.answer = answer
    ticking.advance(MIN_AGE)
    assert find(keys, "one") == "503"
    assert len(caplog.records) == 3


def test_while_one_thread_reads_no_other_waits(
    keys: RemoteKeys, source: Source, ticking: Ticking
) -> None:
    is_read, may_go_on = Event(), Event()
    later = shown("two", "one")

    def slow() -> bytes:
        is_read.set()
        assert may_go_on.wait(30)
        return later()

    source.answer = slow
    ticking.advance(MAX_AGE + 1)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(find, keys, "two")
        assert is_read.wait(30)
        assert [find(keys, kid) for kid in ("one", "two", "junk")] == ["one", "503", "503"]
        ticking.advance(MIN_AGE)  # it takes that long, and is not begun a second time
        assert find(keys, "two") == "503"
        may_go_on.set()
        assert first.result(30) == "two"
    assert len(source.readings) == 2
    ticking.advance(MIN_AGE)
    with keys._lock:  # another thread is about to read
        assert find(keys, "three") == "503"
    assert find(keys, "three") is None


def test_a_set_that_another_thread_has_just_read_is_not_read_again(
    keys: RemoteKeys, source: Source, ticking: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.answer = shown("two")
    ticking.advance(MIN_AGE)

    class Late:
        """The lock, which is free again when the other thread is done."""

        def acquire(self, *, blocking: bool) -> bool:
            keys.read()
            return True

        def release(self) -> None:
            pass

        def locked(self) -> bool:
            return False

    monkeypatch.setattr(keys, "_lock", Late())
    assert find(keys, "two") == "two"
    assert len(source.readings) == 2


def test_a_key_whose_secret_is_shown_is_not_taken(source: Source, ticking: Ticking) -> None:
    secret = jwk.generate_key(0, "HS256")
    entries = [pair_entry("EdDSA"), json.loads(jwk.build(KeyRing((secret,))))["keys"][0]]
    source.answer = lambda: json.dumps({"keys": [*entries]}).encode()
    keys = RemoteKeys(source, ticking)
    keys.read()
    assert keys.ring.keys == ()
    source.answer = lambda: b"{}"
    with pytest.raises(UnusableKeyRing, match=f'^{URL}: The key ring has no list of "keys"'):
        keys.read()
