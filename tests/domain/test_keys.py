"""The ring in force: who notices a rotation, and when a retired key is no good any more."""

import errno
import fcntl
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from restauth.core.access_tokens import AccessTokens, Claims
from restauth.core.jwk import MAX_TIME
from restauth.core.keyring import ROTATION_GRACE, Algorithm, Key
from restauth.core.token_issuing import TokenIssuing
from restauth.domain.audit import AuditLog
from restauth.domain.keys import SigningKeys
from restauth.errors import BadCredentials, InvalidInput, UnusableKeyRing
from restauth.storage.key_file import KeyFile
from restauth.testing import Clock
from tests.key_pairs import NEEDS_EXTRA, PAIRED, lose_extra, need_extra, pair_entry
from tests.processes import PATIENCE
from tests.storage.system import calls_of

DURATION = 600  # of the tokens here
LONG_DURATION = 86_400  # of the longest-lived kind of token

MakeKeys = Callable[[], SigningKeys]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restauth.keys"


@pytest.fixture
def make_keys(path: Path, clock: Clock) -> MakeKeys:
    """Keys on one file, each as in a process of its own."""
    return lambda: SigningKeys(KeyFile(path), clock, LONG_DURATION, AuditLog(None, clock))


@pytest.fixture
def keys(make_keys: MakeKeys) -> SigningKeys:
    keys = make_keys()
    keys.open()
    return keys


@pytest.fixture
def others(keys: SigningKeys, make_keys: MakeKeys) -> SigningKeys:
    """Another process, which has read the same ring."""
    others = make_keys()
    others.open()
    return others


def kids(keys: SigningKeys) -> list[str]:
    return [key.kid for key in keys.ring.keys]


TOKENS = AccessTokens("restauth", "restauth", 10**9)


def issue(keys: SigningKeys) -> str:
    """A token that lives longer than any key here."""
    claims = Claims(1, "sid", "miguel", (), 1_800_000_000, 1_900_000_000)
    return TokenIssuing("restauth", "restauth").issue(claims, keys.ring.signing_key)


def verifies(keys: SigningKeys, token: str) -> bool:
    try:
        TOKENS.verify(token, lambda kid: keys.find(kid, DURATION), 1_800_000_000)
    except BadCredentials:
        return False
    return True


# Opening


def test_the_first_start_makes_a_private_ring_of_exactly_one_key(
    keys: SigningKeys, path: Path, clock: Clock
) -> None:
    (key,) = keys.ring.keys
    assert (key.algorithm, key.created_at, key.retired_at) == ("HS256", clock.now, None)
    assert len(key.secret) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def refuse(*arguments: object) -> None:
    pytest.fail("that was not needed")


def test_the_next_start_reads_the_same_ring_and_writes_nothing(
    keys: SigningKeys, make_keys: MakeKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refuse)
    for open in (SigningKeys.open, kids):  # a service opens; a command that only looks does not
        again = make_keys()
        open(again)
        assert kids(again) == kids(keys)
        assert verifies(again, issue(keys))


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
    with pytest.raises(UnusableKeyRing, match=f"{path}: The key ring is not well-formed JSON"):
        make_keys().open()
    assert path.read_bytes() == b""


USES: dict[str, Callable[[SigningKeys], object]] = {
    "list": lambda keys: keys.ring,
    "find": lambda keys: keys.find("kid", DURATION),
    "add": lambda keys: keys.add(),
    "activate": lambda keys: keys.activate("kid"),
    "rotate": lambda keys: keys.rotate(revoke=False),
    "revoke": lambda keys: keys.rotate(revoke=True),
    "prune": lambda keys: keys.prune(),
}


@pytest.mark.parametrize("signs", [True, False])
@pytest.mark.parametrize("use", ["read", *USES])
def test_without_a_ring_commands_are_refused_and_make_none(
    path: Path, clock: Clock, use: str, *, signs: bool
) -> None:
    keys = SigningKeys(KeyFile(path), clock, DURATION, AuditLog(None, clock), signs=signs)
    with pytest.raises(UnusableKeyRing, match=f"There is no key ring {path}"):
        USES.get(use, SigningKeys.read)(keys)
    assert os.listdir(path.parent) == []


# Rotation


def test_a_rotation_elsewhere_is_noticed_at_the_next_use(
    keys: SigningKeys, others: SigningKeys
) -> None:
    old = issue(keys)
    ring = others.rotate(revoke=False)
    new = issue(others)
    assert verifies(keys, new)  # by a key not yet seen
    assert kids(keys) == kids(others) == [key.kid for key in ring.keys]
    assert kids(keys)[0] != kids(keys)[1]
    for token in (old, new, issue(keys)):
        assert verifies(keys, token)
        assert verifies(others, token)


def test_a_rotation_in_the_middle_of_a_reading_is_noticed(
    keys: SigningKeys, others: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, pending = os.read, [lambda: others.rotate(revoke=True)]

    def read_and_rotate(descriptor: int, size: int) -> bytes:
        raw = read(descriptor, size)
        while pending:
            pending.pop()()
        return raw

    others.rotate(revoke=False)
    monkeypatch.setattr(os, "read", read_and_rotate)
    assert len(kids(keys)) == 2
    assert kids(keys) == kids(others)
    assert len(kids(keys)) == 1


def test_a_retired_key_verifies_each_kind_of_token_as_long_as_that_kind_lives(
    keys: SigningKeys, clock: Clock
) -> None:
    kid, old = keys.ring.signing_key.kid, issue(keys)
    assert keys.rotate(revoke=False).signing_key.kid == keys.ring.signing_key.kid != kid
    clock.advance(DURATION + ROTATION_GRACE)
    assert verifies(keys, old)
    clock.advance(1)
    assert not verifies(keys, old)
    assert keys.find(kid, DURATION) is None
    assert keys.find(kid, DURATION + 1)
    clock.advance(LONG_DURATION - DURATION)
    assert keys.find(kid, LONG_DURATION) is None
    assert keys.find(keys.ring.signing_key.kid, 0)


def test_a_revoked_key_is_dropped_at_once_everywhere(
    keys: SigningKeys, others: SigningKeys
) -> None:
    older = issue(keys)
    keys.rotate(revoke=False)
    old = issue(keys)
    (key,) = others.rotate(revoke=True).keys
    for ring in (keys, others):
        assert kids(ring) == [key.kid]
        assert not verifies(ring, older)
        assert not verifies(ring, old)
        assert verifies(ring, issue(others))


def test_a_published_key_verifies_everywhere_before_it_signs(
    keys: SigningKeys, others: SigningKeys, clock: Clock
) -> None:
    """A copy that does not sign with it yet is enough to verify, and an older ring stays."""
    need_extra()
    old = issue(keys)
    first = keys.ring.signing_key.kid
    published = keys.add("EdDSA").keys[1].kid
    assert (kids(keys), public_kids(keys)) == ([first, published], [published])
    copy = others.ring
    clock.advance(10_000_000)
    assert keys.prune().signing_key.kid == first
    assert keys.activate(published).signing_key.kid == published
    new = issue(keys)
    (key,) = [key for key in copy.keys if key.kid == published]
    assert TOKENS.verify(new, {published: key}.get, 1_800_000_000).user_id == 1
    for token in (old, new):
        assert verifies(keys, token)
    clock.advance(DURATION + ROTATION_GRACE + 1)
    assert [verifies(keys, token) for token in (old, new)] == [False, True]


def test_a_rotation_leaves_published_keys_and_a_revocation_does_not(keys: SigningKeys) -> None:
    published = keys.add().keys[1].kid
    another = keys.add().keys[1].kid
    ring = keys.rotate(revoke=False)
    by_state = {key.kid: key.retired_at is None for key in ring.keys}
    assert by_state[published]
    assert by_state[another]
    assert list(by_state.values()).count(False) == 1
    keys.activate(published)
    assert kids(keys)[0] == published
    assert len(keys.rotate(revoke=True).keys) == 1


@pytest.mark.parametrize("which", ["signing", "retired", "none"])
def test_only_a_published_key_is_activated(keys: SigningKeys, path: Path, which: str) -> None:
    retired = keys.ring.signing_key.kid
    signing = keys.rotate(revoke=False).signing_key.kid
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="has no published key"):
        keys.activate({"signing": signing, "retired": retired, "none": "none"}[which])
    assert path.read_bytes() == before


@pytest.mark.parametrize(("command", "kept"), [("prune", [1, 0]), ("rotate", [2, 1, 0])])
def test_a_key_is_pruned_when_its_last_token_has_expired(
    keys: SigningKeys, clock: Clock, command: str, kept: list[int]
) -> None:
    order = kids(keys)
    order.append(keys.rotate(revoke=False).signing_key.kid)
    clock.advance(LONG_DURATION + ROTATION_GRACE)
    USES[command](keys)
    order.append(kids(keys)[0])
    assert kids(keys) == [order[number] for number in kept]
    clock.advance(1)
    USES[command](keys)
    assert order[0] not in kids(keys)
    assert order[1] in kids(keys)


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_nothing_is_written_that_could_not_be_read_back(
    keys: SigningKeys, path: Path, clock: Clock, tmp_path: Path, command: str
) -> None:
    """RFC 3339 has no year 10000."""
    before = path.read_bytes()
    clock.now = MAX_TIME + 1
    with pytest.raises(UnusableKeyRing, match="the year 9999"):
        keys.rotate(revoke=command == "revoke")
    assert path.read_bytes() == before
    with pytest.raises(UnusableKeyRing, match="the year 9999"):
        SigningKeys(KeyFile(tmp_path / "new.keys"), clock, DURATION, AuditLog(None, clock)).open()
    assert not (tmp_path / "new.keys").exists()
    clock.now = MAX_TIME
    keys.rotate(revoke=command == "revoke")
    keys.read()


# Algorithms


@pytest.mark.parametrize("revoke", [False, True])
def test_a_rotation_keeps_the_algorithm_in_use_unless_another_one_is_named(
    keys: SigningKeys, *, revoke: bool
) -> None:
    need_extra()
    rotations: list[tuple[Algorithm | None, Algorithm]] = [
        *((None, "HS256"), ("EdDSA", "EdDSA"), (None, "EdDSA"), ("ES256", "ES256")),
        *((None, "ES256"), ("EdDSA", "EdDSA"), ("HS256", "HS256"), (None, "HS256")),
    ]
    algorithms: list[Algorithm] = ["HS256"]
    for named, used in rotations:
        keys.rotate(revoke=revoke, algorithm=named)
        algorithms.insert(0, used)
        there = [key.algorithm for key in keys.ring.keys]
        assert there == (algorithms[:1] if revoke else algorithms)


def test_each_kind_of_key_verifies_its_tokens_until_the_ring_retires_it(
    keys: SigningKeys, others: SigningKeys, clock: Clock
) -> None:
    need_extra()
    minted = [issue(keys)]
    for algorithm in ("EdDSA", "ES256", "HS256"):
        clock.advance(100)
        others.rotate(revoke=False, algorithm=algorithm)
        minted.append(issue(keys))
    clock.advance(DURATION + ROTATION_GRACE - 200)
    for retired in range(4):
        expected = [False] * retired + [True] * (4 - retired)
        for ring in (keys, others):
            assert [verifies(ring, token) for token in minted] == expected
        clock.advance(100 if retired else 1)


def public_kids(keys: SigningKeys) -> list[str]:
    shown: list[dict[str, str]] = keys.public(DURATION)["keys"]  # type: ignore[assignment]
    return [key["kid"] for key in shown]


def test_a_ring_shows_its_public_halves_until_their_last_token_has_expired(
    keys: SigningKeys, clock: Clock
) -> None:
    need_extra()
    assert keys.public(DURATION) == {"keys": []}
    first = keys.rotate(revoke=False, algorithm="EdDSA").signing_key.kid
    assert public_kids(keys) == [first]
    second = keys.rotate(revoke=False, algorithm="ES256").signing_key.kid
    assert public_kids(keys) == [second, first]
    clock.advance(DURATION + ROTATION_GRACE)
    assert public_kids(keys) == [second, first]
    clock.advance(1)
    assert public_kids(keys) == [second]
    assert first in kids(keys)  # its refresh tokens live on
    third = keys.rotate(revoke=True).signing_key.kid
    assert public_kids(keys) == [third]


def test_a_public_set_may_be_readable_by_all_and_a_private_one_not(
    keys: SigningKeys, clock: Clock, path: Path
) -> None:
    need_extra()
    keys.rotate(revoke=True, algorithm="EdDSA")
    shared = path.with_name("shared.json")
    verifier = SigningKeys(KeyFile(shared), clock, DURATION, AuditLog(None, clock), signs=False)

    def share(content: bytes) -> None:
        new = path.with_name("new.json")
        new.write_bytes(content)
        new.chmod(0o644)
        new.replace(shared)

    share(json.dumps(keys.public(DURATION)).encode())
    assert verifies(verifier, issue(keys))
    share(path.read_bytes())
    for is_new in (False, True):
        with pytest.raises(UnusableKeyRing, match="chmod 600"):
            verifier.read()
        if not is_new:
            keys.rotate(revoke=True, algorithm="HS256")
            share(path.read_bytes())
    shared.chmod(0o600)
    verifier.read()
    assert verifies(verifier, issue(keys))


def test_who_only_verifies_follows_a_public_set(
    keys: SigningKeys, clock: Clock, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need_extra()
    keys.rotate(revoke=True, algorithm="EdDSA")
    file = KeyFile(path.with_name("public.keys"))
    file.create(json.dumps(keys.public(DURATION)).encode())
    verifier = SigningKeys(file, clock, DURATION, AuditLog(None, clock), signs=False)
    verifier.read()
    old = issue(keys)
    assert verifies(verifier, old)
    keys.rotate(revoke=True, algorithm="ES256")
    assert not verifies(verifier, issue(keys))
    file.replace(json.dumps(keys.public(DURATION)).encode())
    assert verifies(verifier, issue(keys))
    assert not verifies(verifier, old)
    assert not caplog.records
    with pytest.raises(UnusableKeyRing, match="is not canonical Base64url"):
        SigningKeys(file, clock, DURATION, AuditLog(None, clock)).open()


@pytest.mark.parametrize("revoke", [False, True])
def test_a_rotation_without_the_extra_for_it_changes_nothing(
    keys: SigningKeys, path: Path, monkeypatch: pytest.MonkeyPatch, *, revoke: bool
) -> None:
    before = path.read_bytes(), path.stat().st_ino
    lose_extra(monkeypatch)
    for algorithm in PAIRED:
        with pytest.raises(UnusableKeyRing, match="PyJWT"):
            keys.rotate(revoke=revoke, algorithm=algorithm)
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert keys.rotate(revoke=revoke).signing_key.algorithm == "HS256"  # the others go on


WHAT_IS_LOADED = """
import sys
from restauth import create_app
from restauth.core import access_tokens, token_issuing

services = create_app()._services
for algorithm in sys.argv[1:]:
    services.keys.rotate(revoke=False, algorithm=algorithm)
key = services.keys.ring.signing_key
access = access_tokens.AccessTokens("restauth", "restauth", 600)
claims = access_tokens.Claims(1, "sid", "ada", (), 0, 600)
token = token_issuing.TokenIssuing("restauth", "restauth").issue(claims, key)
access.verify(token, lambda kid: key, 0)
services.keys.public(600)
print("restauth.core.asymmetric" in sys.modules)
"""


@pytest.mark.parametrize(("algorithms", "is_loaded"), [([], False), (["EdDSA", "HS256"], True)])
def test_only_who_has_a_pair_loads_what_pairs_need(
    tmp_path: Path, algorithms: list[str], *, is_loaded: bool
) -> None:
    if is_loaded:
        need_extra()
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_LOADED, *algorithms],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{is_loaded}\n")


# Many at once


def test_rotations_at_once_lose_no_key(keys: SigningKeys, make_keys: MakeKeys) -> None:
    with ThreadPoolExecutor(8) as threads:
        rings = list(threads.map(lambda _: make_keys().rotate(revoke=False), range(8)))
    assert len(kids(keys)) == 9
    assert {ring.signing_key.kid for ring in rings} < set(kids(keys))


@pytest.mark.parametrize("command", ["rotate", "prune"])
def test_the_lock_is_held_from_the_reading_to_the_writing(
    keys: SigningKeys, path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    open, rename = os.open, os.rename
    locked = []

    def note() -> None:
        descriptor = open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked.append(False)
        except BlockingIOError:
            locked.append(True)
        os.close(descriptor)

    def open_noted(name: Path, *arguments: int) -> int:
        if name == path:
            note()
        return open(name, *arguments)

    def rename_noted(*names: Path) -> None:
        note()
        rename(*names)

    monkeypatch.setattr(os, "open", open_noted)
    monkeypatch.setattr(os, "rename", rename_noted)
    USES[command](keys)
    assert locked == [False, True, True]  # opened to be locked, read, replaced


# A file that goes wrong while we run


def open_to_others(path: Path) -> None:
    path.write_bytes(path.read_bytes())
    path.chmod(0o644)


WRONG: dict[str, Callable[[Path], object]] = {
    "JSON": lambda path: os.truncate(path, path.stat().st_size // 2),
    "chmod 600": open_to_others,
    "no key ring": Path.unlink,
    NEEDS_EXTRA: lambda path: KeyFile(path).replace(
        json.dumps({"keys": [pair_entry("EdDSA")]}).encode()
    ),
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_file_that_cannot_be_read_any_more_leaves_the_ring_in_force(
    keys: SigningKeys,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reason: str,
) -> None:
    lose_extra(monkeypatch)
    token, good = issue(keys), path.read_bytes()
    WRONG[reason](path)
    assert [verifies(keys, token) for _ in range(3)] == [True] * 3
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("restauth", logging.ERROR)
    assert reason in record.message

    path.unlink(missing_ok=True)
    KeyFile(path).create(good)
    assert verifies(keys, token)
    keys.rotate(revoke=True)
    assert not verifies(keys, token)
    assert caplog.messages[1:] == [f"The key ring {path} is read again."]
    WRONG[reason](path)  # what is wrong again is said again
    assert not verifies(keys, token)
    assert len(caplog.records) == 3


def fail(*arguments: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_rotation_that_fails_does_not_hide_the_one_before(
    keys: SigningKeys, others: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    others.rotate(revoke=False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(UnusableKeyRing):
            keys.rotate(revoke=False)
    assert kids(keys) == kids(others)


@contextmanager
def too_many_open_files(path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", fail)
        yield


@contextmanager
def readable_by_the_group(path: Path) -> Iterator[None]:
    path.chmod(0o640)
    yield
    path.chmod(0o600)


@pytest.mark.parametrize("trouble", [too_many_open_files, readable_by_the_group])
def test_a_failure_that_passes_is_got_over(
    keys: SigningKeys,
    others: SigningKeys,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Path], AbstractContextManager[None]],
) -> None:
    """Even in the very second of a rotation."""
    others.rotate(revoke=False)
    token = issue(others)
    with trouble(path):
        assert not verifies(keys, token)
        assert not verifies(keys, token)
        assert len(caplog.records) == 1
    assert verifies(keys, token)
    assert len(caplog.records) == 2


# The work


def test_an_unchanged_file_is_looked_at_and_not_read(
    keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    kid = keys.ring.signing_key.kid
    monkeypatch.setattr(os, "open", refuse)
    looks = calls_of(monkeypatch, os, "stat")
    for _ in range(100):
        assert keys.find(kid, DURATION)
    assert len(looks) == 100


def test_an_unchanged_file_is_not_read_again_not_even_where_that_is_asked_for(
    keys: SigningKeys, others: SigningKeys, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New key objects would make every token be verified again."""
    before = keys.ring
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        keys.read()
    assert keys.ring is before
    others.rotate(revoke=False)
    keys.read()
    after = keys.ring
    assert after is not before
    path.unlink()
    for _ in range(2):
        with pytest.raises(UnusableKeyRing):
            keys.read()
    assert keys.ring is after


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
    keys: SigningKeys, others: SigningKeys, monkeypatch: pytest.MonkeyPatch
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
