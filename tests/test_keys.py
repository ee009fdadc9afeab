"""The ring in force: who notices a rotation, and when a retired key is no good any more."""

import errno
import fcntl
import logging
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from restauth.core.keyring import ROTATION_GRACE, Key
from restauth.core.tokens import AccessTokens, Claims
from restauth.errors import BadCredentials, UnusableKeyRing
from restauth.keys import Keys
from restauth.storage.keyfile import KeyFile
from tests.conftest import Clock
from tests.storage.test_sqlite import calls_of

DURATION = 600  # of the tokens here
LONG_DURATION = 86_400  # of the longest-lived kind of token

MakeKeys = Callable[[], Keys]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restauth.keys"


@pytest.fixture
def make_keys(path: Path, clock: Clock) -> MakeKeys:
    """Keys on one file, each as in a process of its own."""
    return lambda: Keys(KeyFile(path), clock, LONG_DURATION)


@pytest.fixture
def keys(make_keys: MakeKeys) -> Keys:
    keys = make_keys()
    keys.open()
    return keys


@pytest.fixture
def others(keys: Keys, make_keys: MakeKeys) -> Keys:
    """Another process, which has read the same ring."""
    others = make_keys()
    others.open()
    return others


def kids(keys: Keys) -> list[str]:
    return [key.kid for key in keys.ring.keys]


TOKENS = AccessTokens("restauth", "restauth", 10**9)


def mint(keys: Keys) -> str:
    """A token that lives longer than any key here."""
    claims = Claims(1, "sid", "miguel", (), 1_800_000_000, 1_900_000_000)
    return TOKENS.mint(claims, keys.ring.signing_key)


def verifies(keys: Keys, token: str) -> bool:
    try:
        TOKENS.verify(token, lambda kid: keys.find(kid, DURATION), 1_800_000_000)
    except BadCredentials:
        return False
    return True


# Opening


def test_the_first_start_makes_a_private_ring_of_exactly_one_key(
    keys: Keys, path: Path, clock: Clock
) -> None:
    (key,) = keys.ring.keys
    assert (key.created_at, key.retired_at, len(key.secret)) == (clock.now, None, 32)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def refuse(*arguments: object) -> None:
    pytest.fail("that was not needed")


def test_the_next_start_reads_the_same_ring_and_writes_nothing(
    keys: Keys, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refuse)
    for open in (Keys.open, kids):  # a service opens; a command that only looks does not
        again = make_keys()
        open(again)
        assert kids(again) == kids(keys)
        assert verifies(again, mint(keys))


def test_starts_at_once_get_one_ring(make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has found none, and written its own, before the first one is put in place."""
    count = 8
    together = threading.Barrier(count, timeout=30)
    is_later = threading.local()
    fsync = os.fsync

    def fsync_together(descriptor: int) -> None:
        if not hasattr(is_later, "set"):
            is_later.set = together.wait()
        fsync(descriptor)

    def start(_: int) -> str:
        keys = make_keys()
        keys.open()
        return keys.ring.signing_key.kid

    monkeypatch.setattr(os, "fsync", fsync_together)
    with ThreadPoolExecutor(count) as threads:
        assert len(set(threads.map(start, range(count)))) == 1


def test_a_bad_ring_stops_the_start_and_is_left_alone(make_keys: MakeKeys, path: Path) -> None:
    path.touch(0o600)
    with pytest.raises(UnusableKeyRing, match="not well-formed JSON"):
        make_keys().open()
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda keys: keys.ring, id="list"),
        pytest.param(lambda keys: keys.find("kid", DURATION), id="find"),
        pytest.param(lambda keys: keys.rotate(revoke=False), id="rotate"),
        pytest.param(lambda keys: keys.rotate(revoke=True), id="revoke"),
        pytest.param(lambda keys: keys.prune(), id="prune"),
    ],
)
def test_without_a_ring_commands_are_refused_and_make_none(
    make_keys: MakeKeys, path: Path, use: Callable[[Keys], object]
) -> None:
    with pytest.raises(UnusableKeyRing, match=f"There is no key ring {path}"):
        use(make_keys())
    assert os.listdir(path.parent) == []


# Rotation


def test_a_rotation_elsewhere_is_noticed_at_the_next_use(keys: Keys, others: Keys) -> None:
    old = mint(keys)
    ring = others.rotate(revoke=False)
    new = mint(others)
    assert kids(keys) == [key.kid for key in ring.keys]
    assert kids(keys)[0] != kids(keys)[1]
    for token in (old, new, mint(keys)):
        assert verifies(keys, token)
        assert verifies(others, token)


def test_a_token_of_a_key_not_yet_seen_is_verified(keys: Keys, others: Keys) -> None:
    others.rotate(revoke=False)
    assert verifies(keys, mint(others))


def test_a_rotation_of_our_own_is_in_force_at_once(keys: Keys) -> None:
    ring = keys.rotate(revoke=False)
    assert keys.ring.signing_key.kid == ring.signing_key.kid


def test_a_retired_key_still_verifies_and_not_too_long(keys: Keys, clock: Clock) -> None:
    old = mint(keys)
    keys.rotate(revoke=False)
    clock.advance(DURATION + ROTATION_GRACE)
    assert verifies(keys, old)
    clock.advance(1)
    assert not verifies(keys, old)
    assert verifies(keys, mint(keys))


def test_a_retired_key_verifies_each_kind_of_token_as_long_as_that_kind_lives(
    keys: Keys, clock: Clock
) -> None:
    kid = keys.ring.signing_key.kid
    keys.rotate(revoke=False)
    clock.advance(DURATION + ROTATION_GRACE + 1)
    assert keys.find(kid, DURATION) is None
    assert keys.find(kid, DURATION + 1)
    clock.advance(LONG_DURATION - DURATION)
    assert keys.find(kid, LONG_DURATION) is None
    assert keys.find(keys.ring.signing_key.kid, 0)


def test_a_revoked_key_is_dropped_at_once_everywhere(keys: Keys, others: Keys) -> None:
    older = mint(keys)
    keys.rotate(revoke=False)
    old = mint(keys)
    (key,) = others.rotate(revoke=True).keys
    for ring in (keys, others):
        assert kids(ring) == [key.kid]
        assert not verifies(ring, older)
        assert not verifies(ring, old)
        assert verifies(ring, mint(others))


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        pytest.param(lambda keys: keys.prune(), [1, 0], id="prune"),
        pytest.param(lambda keys: keys.rotate(revoke=False), [2, 1, 0], id="rotate"),
    ],
)
def test_a_key_is_pruned_when_its_last_token_has_expired(
    keys: Keys, clock: Clock, command: Callable[[Keys], object], kept: list[int]
) -> None:
    order = kids(keys)
    order.append(keys.rotate(revoke=False).signing_key.kid)
    clock.advance(LONG_DURATION + ROTATION_GRACE)
    command(keys)
    order.append(kids(keys)[0])
    assert kids(keys) == [order[number] for number in kept]
    clock.advance(1)
    command(keys)
    assert order[0] not in kids(keys)
    assert order[1] in kids(keys)


def test_rotations_at_once_lose_no_key(keys: Keys, make_keys: MakeKeys) -> None:
    with ThreadPoolExecutor(8) as threads:
        rings = list(threads.map(lambda _: make_keys().rotate(revoke=False), range(8)))
    assert len(kids(keys)) == 9
    assert {ring.signing_key.kid for ring in rings} < set(kids(keys))


@pytest.mark.parametrize(
    "command", [lambda keys: keys.rotate(revoke=False), lambda keys: keys.prune()]
)
def test_the_lock_is_held_from_the_reading_to_the_writing(
    keys: Keys,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[[Keys], object],
) -> None:
    open, rename = os.open, os.rename
    locked = []

    def note() -> None:
        directory = open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            locked.append(True)
        else:
            locked.append(False)
        os.close(directory)

    def open_noted(name: Path, *arguments: int) -> int:
        if name == path:
            note()
        return open(name, *arguments)

    def rename_noted(*names: Path) -> None:
        note()
        rename(*names)

    monkeypatch.setattr(os, "open", open_noted)
    monkeypatch.setattr(os, "rename", rename_noted)
    command(keys)
    assert locked == [True, True]


# A file that goes wrong while we run


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def open_to_others(path: Path) -> None:
    path.write_bytes(path.read_bytes())
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut_in_half, "not well-formed JSON"),
        (open_to_others, "chmod 600"),
        (Path.unlink, "There is no key ring"),
    ],
)
def test_a_file_that_cannot_be_read_any_more_leaves_the_ring_in_force(
    keys: Keys,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
    reason: str,
) -> None:
    token = mint(keys)
    good = path.read_bytes()
    change(path)
    for _ in range(3):
        assert verifies(keys, token)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("restauth.keys", logging.ERROR)
    assert reason in record.message
    assert record.message.endswith("The keys read before stay in force.")

    path.unlink(missing_ok=True)
    KeyFile(path).create(good)
    KeyFile(path).replace(good)
    assert verifies(keys, token)
    keys.rotate(revoke=True)
    assert not verifies(keys, token)
    assert len(caplog.records) == 1


def fail(*arguments: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_rotation_that_fails_does_not_hide_the_one_before(
    keys: Keys, others: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    others.rotate(revoke=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(UnusableKeyRing):
            keys.rotate(revoke=False)
    assert kids(keys) == kids(others)


def test_a_file_made_private_again_is_read(
    keys: Keys, others: Keys, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others.rotate(revoke=False)
    token = mint(others)
    path.chmod(0o640)
    assert not verifies(keys, token)
    path.chmod(0o600)
    assert verifies(keys, token)


def test_a_failure_that_passes_is_got_over(
    keys: Keys,
    others: Keys,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Such as too many open files in the very second of a rotation."""
    others.rotate(revoke=False)
    token = mint(others)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert not verifies(keys, token)
        assert not verifies(keys, token)
    assert verifies(keys, token)
    assert len(caplog.records) == 1


# The work


def test_an_unchanged_file_is_looked_at_and_not_read(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    kid = keys.ring.signing_key.kid
    monkeypatch.setattr(os, "open", refuse)
    looks = calls_of(monkeypatch, os, "lstat")
    for _ in range(100):
        assert keys.find(kid, DURATION)
    assert len(looks) == 100


class Door:
    """A lock that tells when somebody has to wait before it."""

    def __init__(self, knock: threading.Event) -> None:
        self._lock = threading.Lock()
        self._knock = knock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._knock.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_while_one_thread_reads_the_new_ring_no_other_takes_the_old_one_for_it(
    keys: Keys, others: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    kid = others.rotate(revoke=False).signing_key.kid
    is_waiting_or_done = threading.Event()
    found: list[Future[Key | None]] = []
    open = os.open

    def open_while_another_asks(name: Path, flags: int) -> int:
        another = threads.submit(keys.find, kid, DURATION)
        another.add_done_callback(lambda _: is_waiting_or_done.set())
        found.append(another)
        assert is_waiting_or_done.wait(30)
        return open(name, flags)

    monkeypatch.setattr(keys, "_lock", Door(is_waiting_or_done))
    monkeypatch.setattr(os, "open", open_while_another_asks)
    with ThreadPoolExecutor(1) as threads:
        assert keys.find(kid, DURATION)
    (another,) = found
    assert another.result()
