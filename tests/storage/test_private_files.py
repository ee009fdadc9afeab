"""Who else can read or replace a file of ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from restauth.storage.private_files import (
    check_directory,
    check_managed_mode,
    check_missing,
    check_mode,
    find_unguarded,
    is_full,
    is_mounted_alone,
)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, *(0o600 | 1 << bit for bit in range(6))])
def test_a_file_is_private_without_a_bit_for_group_and_world(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    expected = [] if mode % 0o100 == 0 else [("error", str(path))]
    assert [(found.level, found.text.split()[-3][:-1]) for found in check_mode(path)] == expected


def test_a_file_that_is_not_there_has_no_mode(tmp_path: Path) -> None:
    assert list(check_mode(tmp_path / "file")) == []


@pytest.mark.parametrize(
    ("mode", "is_safe"),
    [(0o755, True), (0o775, False), (0o757, False), (0o1777, True), (0o2775, False)],
    ids=oct,
)
def test_only_its_owner_can_replace_a_file_in_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, is_safe: bool
) -> None:
    """The sticky bit, as in /tmp, lets each owner remove their own files only."""
    tmp_path.chmod(mode)
    monkeypatch.chdir(tmp_path)
    levels = [] if is_safe else ["error"]
    assert [found.level for found in check_directory(Path("file"))] == levels
    assert [found.level for found in check_missing(Path("file"), "list")] == ["warning", *levels]
    assert os.listdir(tmp_path) == []


def test_the_first_start_makes_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere" / "list", tmp_path / "file" / "list"):
        (found,) = check_missing(path, "list")
        assert (found.level, found.text) == ("error", f"There is no directory for the list {path}.")


def test_what_this_user_cannot_make_is_an_error(tmp_path: Path, unprivileged: None) -> None:
    tmp_path.chmod(0o500)
    (found,) = check_missing(tmp_path / "list", "list")
    assert (found.level, found.text) == (
        "error",
        f"There is no list {tmp_path / 'list'} that this user can see or make.",
    )


@pytest.mark.parametrize(("user", "free"), [(0, 3), (1, 2)])
def test_a_disk_is_full_when_it_has_no_block_for_this_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, free: int
) -> None:
    """A file system keeps some blocks for root."""
    status = os.statvfs_result((8192, 1024, 100, 3, 2, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert [is_full(tmp_path / "file", 1024 * blocks) for blocks in (free, free + 1)] == [
        False,
        True,
    ]


@pytest.mark.parametrize(("mode", "levels"), [(0o440, []), (0o444, ["warning"])])
def test_a_managed_file_that_everyone_can_read_is_told(
    tmp_path: Path, mode: int, levels: list[str]
) -> None:
    path = tmp_path / "file"
    path.touch(mode)
    path.chmod(mode)
    assert [found.level for found in check_managed_mode(path)] == levels


# Who can change what a name leads to


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """As Kubernetes makes it: a/file -> ..data/file, a/..data -> ..1, a/..1/file."""
    (tmp_path / "a" / "..1").mkdir(parents=True)
    (tmp_path / "a").chmod(0o1777)
    (tmp_path / "a" / "..1" / "file").touch(0o444)
    (tmp_path / "a" / "..data").symlink_to("..1")
    (tmp_path / "a" / "file").symlink_to("..data/file")
    return tmp_path / "a" / "file"


OWNERS = {0, os.geteuid()}


def test_a_name_is_guarded_if_its_owners_alone_can_change_each_step(secret: Path) -> None:
    link = secret.parents[1] / "link"
    link.symlink_to(secret)
    for path in (secret, link, secret.parent / ".." / "a" / "file", secret.parent / "..1/file"):
        assert find_unguarded(path, OWNERS) is None
    assert find_unguarded(secret, ()) == Path("/")


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a", 0o777), ("a", 0o775), ("a/..1", 0o775), ("a/..1/file", 0o464), ("a/..1/file", 0o446)],
)
def test_the_first_step_that_others_can_change_is_told(
    secret: Path, tmp_path: Path, name: str, mode: int
) -> None:
    (tmp_path / name).chmod(mode)
    assert find_unguarded(secret, OWNERS) == tmp_path / name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["a", "a/..1", "a/..data", "a/file", "a/..1/file"])
def test_a_step_of_another_user_is_told(secret: Path, tmp_path: Path, name: str) -> None:
    os.chown(tmp_path / name, 1, 1, follow_symlinks=False)
    assert find_unguarded(secret, OWNERS) == tmp_path / name


@pytest.mark.parametrize("target", ["nowhere", "file"])
def test_a_link_to_nowhere_or_to_itself_is_an_error(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").symlink_to(target)
    with pytest.raises(OSError, match=r"No such file|Too many levels"):
        find_unguarded(tmp_path / "file", OWNERS)


# In namespaces of its own a process may mount: a file, and the directory of another file.
_MOUNTED = """
import sys
from pathlib import Path
from restauth.storage.private_files import is_mounted_alone
print(*[is_mounted_alone(Path(name)) for name in sys.argv[1:]])
"""
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.mark.parametrize("kind", ["--bind", "tmpfs"])
def test_a_file_that_is_mounted_alone_is_found(tmp_path: Path, kind: str) -> None:
    """Of the same file system as its directory, or of another one."""
    if not shutil.which("unshare") or subprocess.run([*_UNSHARE, "true"], check=False).returncode:
        pytest.skip(f"{' '.join(_UNSHARE)} is not permitted")
    for directory in ("from", "to", "to dir"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "a file").touch()
    (tmp_path / "link").symlink_to("to/a file")
    script = """
        set -e
        [ "$1" = --bind ] || mount -t tmpfs tmpfs from
        echo > "from/a file"
        mount --bind "from/a file" "to/a file"
        mount --bind from "to dir"
        exec "$2" -c "$3" "to/a file" link "to dir/a file" "from/a file" missing
    """
    done = subprocess.run(
        [*_UNSHARE, "sh", "-c", script, "sh", kind, sys.executable, _MOUNTED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True True False False False\n", "")


def test_without_proc_a_file_of_the_same_device_is_not_known_to_be_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("restauth.storage.private_files.MOUNTS", tmp_path / "nowhere")
    assert not is_mounted_alone(tmp_path / "file")
