"""The private file: who may have touched it, who reads it meanwhile, and what a crash leaves."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Event

import pytest

from restauth.errors import UnusableKeyRing
from restauth.storage import key_file
from restauth.storage.key_file import MAX_SIZE, KeyFile
from tests.storage.system import SPAWN, in_processes, largest_file, mode

GOOD = b"the old content"
USER = 65534  # any that is not root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restauth.keys"


@pytest.fixture
def file(path: Path) -> KeyFile:
    return KeyFile(path)


@pytest.fixture
def good(file: KeyFile) -> KeyFile:
    file.create(GOOD)
    return file


def expect_private_and_alone(path: Path) -> None:
    assert mode(path) == 0o600
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_is_not_there_is_none_and_stays_none(file: KeyFile, path: Path) -> None:
    assert (file.read(), file.version()) == (None, None)
    assert os.listdir(path.parent) == []


def test_a_file_is_private_under_any_umask_and_created_once(
    file: KeyFile, path: Path, no_umask: None
) -> None:
    file.create(GOOD)
    expect_private_and_alone(path)
    file.create(b"another content")
    assert file.read() == GOOD
    expect_private_and_alone(path)
    file.replace(b"the new content")
    assert file.read() == b"the new content"
    expect_private_and_alone(path)


def test_a_relative_path_is_fixed_at_once(
    good: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    file = KeyFile(Path(path.name))
    monkeypatch.chdir("/")
    assert (file.read(), file.version()) == (GOOD, good.version())


def test_the_version_changes_with_the_file_and_its_mode_and_only_then(
    good: KeyFile, path: Path
) -> None:
    """A file that was refused may have become a private one."""
    versions = [good.version()]
    good.read()
    good.create(b"another content")
    assert good.version() == versions[0]
    good.replace(GOOD)
    versions.append(good.version())
    for bits in (0o640, 0o600):
        path.chmod(bits)
        versions.append(good.version())
    assert len(set(versions)) == 4


def test_the_largest_file_is_read_whole_and_a_larger_one_is_not_written(good: KeyFile) -> None:
    """It could not be read again, not even to prune it."""
    with pytest.raises(UnusableKeyRing, match="too large: prune or revoke"):
        good.replace(b" " * (MAX_SIZE + 1))
    assert good.read() == GOOD
    good.replace(b" " * MAX_SIZE)
    assert good.read() == b" " * MAX_SIZE


# What is refused


def turn_into_link(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to("target")


def turn_into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def turn_into_socket(path: Path) -> None:
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(path))


def turn_into_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(turn_into_link, "is a link, and", id="a link"),
        pytest.param(turn_into_pipe, "not a regular file", id="a pipe"),
        pytest.param(turn_into_socket, "No such device", id="a socket"),
        pytest.param(turn_into_directory, "not a regular file", id="a directory"),
        *(
            pytest.param(lambda path, bits=bits: path.chmod(bits), "chmod 600", id=oct(bits))
            for bits in (0o640, 0o620, 0o610, 0o604, 0o602)
        ),
        pytest.param(lambda path: os.truncate(path, MAX_SIZE + 1), "too large", id="too large"),
    ],
)
def test_a_file_that_others_may_have_touched_is_refused(
    good: KeyFile, path: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(path)
    with pytest.raises(UnusableKeyRing, match=f"{path} .*{reason}"):
        good.read()


def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(UnusableKeyRing, match="Input/output error"):
        KeyFile(Path("/proc/self/mem")).read()


def test_a_file_of_another_user_is_refused(
    good: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(path, 1, -1)  # a file of root may be managed
    somebody_else = path.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
    with pytest.raises(UnusableKeyRing, match="belongs to another user: run restauth as that user"):
        good.read()


def test_a_link_to_nowhere_is_refused_and_not_followed(file: KeyFile, path: Path) -> None:
    path.symlink_to("target")
    with pytest.raises(UnusableKeyRing, match="is a link, and"):
        file.read()
    file.create(GOOD)
    assert os.listdir(path.parent) == [path.name]
    assert path.is_symlink()


def test_a_directory_that_is_not_there_is_an_unusable_ring(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "nowhere" / "restauth.keys")
    assert file.read() is None
    with pytest.raises(UnusableKeyRing, match="cannot be written"):
        file.create(GOOD)
    with pytest.raises(UnusableKeyRing, match="cannot be written"):
        file.replace(GOOD)
    with pytest.raises(UnusableKeyRing, match="cannot be locked"), file.lock():
        pytest.fail("there is nothing to lock")


# What is managed from outside


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[KeyFile]:
    """A secret of Kubernetes, as a user sees it who may not write it."""
    if os.geteuid():
        pytest.skip("only root can make what root guards")
    version = tmp_path / "secret" / "..1"
    version.mkdir(parents=True)
    (version / "ring").write_bytes(GOOD)
    (version / "ring").chmod(0o444)
    (tmp_path / "secret" / "..data").symlink_to("..1")
    (tmp_path / "secret" / "ring").symlink_to("..data/ring")
    with acting_as_a_user(tmp_path):
        yield KeyFile(tmp_path / "secret" / "ring")


@contextmanager
def acting_as_a_user(directory: Path) -> Iterator[None]:
    """Root opens the way to the directory, and is another user until the end."""
    closed = [each for each in directory.parents if each.stat().st_mode & 0o001 == 0]
    modes = {each: each.stat().st_mode for each in (directory, *closed)}
    for each in modes:
        each.chmod(0o711)
    os.seteuid(USER)
    try:
        yield
    finally:
        os.seteuid(0)
        for each, bits in modes.items():
            each.chmod(bits)


@contextmanager
def as_root() -> Iterator[None]:
    os.seteuid(0)
    yield
    os.seteuid(USER)


def replace_secret(file: KeyFile, content: bytes) -> None:
    """In one step, as Kubernetes does (https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util)."""
    directory = file.path.parent
    old = os.readlink(directory / "..data")
    new = directory / f"..{int(old.strip('.')) + 1}"
    with as_root():
        new.mkdir()
        (new / "ring").write_bytes(content)
        (directory / "..data_tmp").symlink_to(new.name)
        (directory / "..data_tmp").rename(directory / "..data")
        (directory / old / "ring").unlink()


def test_what_root_guards_is_read_and_its_replacement_is_seen(secret: KeyFile) -> None:
    versions = [secret.version()]
    assert (secret.is_managed(), secret.read()) == (True, GOOD)
    for content in (b"the second content", b"the third content"):
        replace_secret(secret, content)
        versions.append(secret.version())
        assert secret.read() == content
    assert len(set(versions)) == 3
    assert KeyFile(secret.path.resolve()).read() == b"the third content"  # of Docker: no link


def test_what_is_managed_from_outside_is_not_changed_from_here(secret: KeyFile) -> None:
    with pytest.raises(UnusableKeyRing, match="is managed from outside: use restauth key on"):
        secret.lock().__enter__()


def open_to_writers(path: Path) -> None:
    path.resolve().chmod(0o646)


def in_a_directory_of_ours(path: Path) -> None:
    os.chown(path.parent, USER, -1)


def in_a_directory_of_all(path: Path) -> None:
    path.parent.chmod(0o777)


def with_a_link_of_ours(path: Path) -> None:
    os.chown(path.parent / "..data", USER, -1, follow_symlinks=False)


def without_the_file(path: Path) -> None:
    path.resolve().unlink()


@pytest.mark.parametrize(
    "change",
    [
        open_to_writers,
        in_a_directory_of_ours,
        in_a_directory_of_all,
        with_a_link_of_ours,
        without_the_file,
    ],
)
@pytest.mark.parametrize("is_link", [True, False])
def test_what_root_does_not_guard_alone_is_refused(
    secret: KeyFile, change: Callable[[Path], None], is_link: bool
) -> None:
    file = secret if is_link else KeyFile(secret.path.resolve())
    with as_root():
        change(secret.path)
    if is_link:
        assert not file.is_managed()
        with pytest.raises(UnusableKeyRing, match=r"is a link, and (it cannot|.*/secret)"):
            file.read()
    elif change not in (with_a_link_of_ours, without_the_file):
        with pytest.raises(UnusableKeyRing, match=r"belongs to root, and .*/secret"):
            file.read()


def test_a_public_set_may_be_a_link_and_readable_by_all_but_not_writable(
    good: KeyFile, path: Path
) -> None:
    path.chmod(0o644)
    link = KeyFile(path.with_name("link"))
    link.path.symlink_to(path.name)
    for file in (good, link):
        assert file.read(is_public=True) == GOOD
        with pytest.raises(UnusableKeyRing):
            file.read()
    path.parent.chmod(0o777)  # `restauth check` tells it
    assert good.read(is_public=True) == GOOD
    with pytest.raises(UnusableKeyRing, match=r"is a link, and .* can be changed by users other"):
        link.read(is_public=True)
    path.chmod(0o664)
    with pytest.raises(UnusableKeyRing, match="can be written by other users: chmod go-w"):
        good.read(is_public=True)


# What a crash leaves


def fail(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def failing(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, failing)


@pytest.mark.parametrize("call", ["open", "fsync", "link", "rename"])
def test_a_failed_change_leaves_what_was_there(
    file: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    if call != "rename":
        with monkeypatch.context() as patch:
            fail(patch, call)
            with pytest.raises(UnusableKeyRing, match="Input/output error"):
                file.create(GOOD)
        assert os.listdir(path.parent) == []
    file.create(GOOD)
    if call != "link":
        with monkeypatch.context() as patch:
            fail(patch, call)
            with pytest.raises(UnusableKeyRing, match="Input/output error"):
                file.replace(b"the new content")
    assert file.read() == GOOD
    expect_private_and_alone(path)


def test_a_full_disk_leaves_the_old_content(good: KeyFile, path: Path) -> None:
    with largest_file(len(GOOD)), pytest.raises(UnusableKeyRing, match="File too large"):
        good.replace(GOOD + GOOD)
    assert good.read() == GOOD
    expect_private_and_alone(path)


@pytest.mark.parametrize("change", [KeyFile.create, KeyFile.replace])
def test_the_content_is_on_the_disk_before_it_has_the_name(
    file: KeyFile,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[KeyFile, bytes], None],
) -> None:
    """And the name is on the disk before we return: else a power cut leaves an empty file."""
    synced = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content"
        synced.append((kind, os.fstat(descriptor).st_size if kind == "content" else path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    change(file, GOOD)
    assert synced == [("content", len(GOOD)), ("directory", True)]


# Who comes at the same time


ROUNDS = 10


def create_in_each_round(
    directory: Path, start: Barrier, contents: "SimpleQueue[tuple[int, bytes | None]]"
) -> None:
    for round in range(ROUNDS):
        file = KeyFile(directory / f"{round}.keys")
        start.wait()
        file.create(b"made by %d" % os.getpid())
        contents.put((round, file.read()))


def test_of_several_that_create_at_once_all_read_one_content(tmp_path: Path) -> None:
    start, contents = SPAWN.Barrier(3, timeout=60), SPAWN.SimpleQueue()
    in_processes(3, create_in_each_round, tmp_path, start, contents)
    read = [contents.get() for _ in range(3 * ROUNDS)]
    assert all(content is not None for _, content in read)
    assert len(set(read)) == ROUNDS
    assert len(os.listdir(tmp_path)) == ROUNDS


def lock(path: Path) -> None:
    """Without waiting, and content with a share of the lock."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def lock_in_vain(path: Path) -> None:
    with pytest.raises(BlockingIOError):
        lock(path)


def hold_the_lock_and_fail(file: KeyFile) -> None:
    with file.lock():
        in_processes(1, lock_in_vain, file.path)
        raise ValueError


def test_the_lock_keeps_other_processes_out_until_its_end(file: KeyFile) -> None:
    file.create(GOOD)
    with pytest.raises(ValueError):
        hold_the_lock_and_fail(file)
    in_processes(1, lock, file.path)


@contextmanager
def held(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def test_a_lock_that_others_can_take_holds_nobody_up(file: KeyFile, path: Path) -> None:
    """Any user can open and lock a directory."""
    with held(path.parent):
        with file.lock():  # there is no ring yet
            pass
        file.create(GOOD)
        with file.lock():
            file.replace(GOOD + b" ")


def test_the_lock_is_not_waited_for_without_end(
    file: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "LOCK_TIMEOUT", 0.05)
    file.create(GOOD)
    with (
        held(path),
        pytest.raises(UnusableKeyRing, match="is being changed by another command"),
        file.lock(),
    ):
        pytest.fail("it is locked")


def test_a_command_that_waited_locks_the_file_of_now(file: KeyFile, path: Path) -> None:
    file.create(GOOD)
    other = KeyFile(path)
    begun = Event()

    def change() -> bytes | None:
        begun.set()
        with file.lock():
            with pytest.raises(BlockingIOError):
                lock(path)
            return file.read()

    with ThreadPoolExecutor(1) as thread:
        with other.lock():
            waiting = thread.submit(change)
            assert begun.wait(timeout=60)
            other.replace(GOOD + b"1")
        assert waiting.result(timeout=60) == GOOD + b"1"


def test_a_file_that_was_replaced_before_it_was_locked_is_locked_again(
    file: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.create(GOOD)
    flock, open_files = fcntl.flock, len(os.listdir("/dev/fd"))
    late = [GOOD + b"1"]

    def flock_late(descriptor: int, operation: int) -> None:
        if late:
            file.replace(late.pop())
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_late)
    with file.lock(), pytest.raises(BlockingIOError):
        lock(path)
    assert late == []
    assert len(os.listdir("/dev/fd")) == open_files


def test_a_reader_sees_the_old_content_or_the_new_one(file: KeyFile) -> None:
    contents = [letter * (MAX_SIZE - number) for number, letter in enumerate((b"a", b"b"))]
    file.create(contents[0])
    done = Event()

    def read_on() -> set[bytes | None]:
        seen = set()
        while not done.is_set():
            seen.add(file.read())
        return seen

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read_on) for _ in range(2)]
        for number in range(100):
            file.replace(contents[number % 2])
        done.set()
    for reader in readers:
        assert reader.result() <= set(contents)


def test_whether_the_file_could_be_made_is_found_without_making_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeyFile(tmp_path / "ring").check_directory()
    (tmp_path / "file").touch()
    for name in ("missing/ring", "file/ring"):
        with pytest.raises(UnusableKeyRing, match="cannot be made"):
            KeyFile(tmp_path / name).check_directory()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK | os.X_OK)  # root may
    with pytest.raises(
        UnusableKeyRing, match=r"does not exist, and cannot be made \(Permission denied\)"
    ):
        KeyFile(tmp_path / "ring").check_directory()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
