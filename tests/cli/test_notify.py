"""The word to a service manager, by real servers."""

import re
import socket
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.processes import PATIENCE, SERVE, Server


def test_a_service_manager_is_told_when_requests_are_answered(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not before: what is told first has the database and the listening socket in place."""
    monkeypatch.chdir(directory)  # a longer name may be too long for a socket
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind("manager")
        manager.settimeout(PATIENCE)
        with Server.start(directory, "env", "NOTIFY_SOCKET=manager", *SERVE) as server:
            assert manager.recv(100) == b"READY=1"
            assert (directory / "restauth.db").exists()
            assert server.get("/api/health").status == 200


@pytest.mark.parametrize(
    ("name", "reason"), [("@none", "Connection refused"), ("x" * 200, "AF_UNIX path too long")]
)
def test_a_service_manager_that_cannot_be_told_is_one_remark(
    directory: Path, name: str, reason: str
) -> None:
    with Server.start(directory, "env", f"NOTIFY_SOCKET={name}", *SERVE) as server:
        (remark,) = server.hear(re.compile("restauth: the service manager .*"))
        assert server.get("/api/health").status == 200
        assert server.end() == 0
    assert remark == (
        f"restauth: the service manager was not told that the server is ready: {name}: {reason}"
    )


def test_a_service_manager_that_reads_nothing_does_not_hold_the_server_up(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind("manager")
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other:
            other.setblocking(False)
            with suppress(OSError):  # until its queue is full
                while True:
                    other.sendto(b"WATCHDOG=1", "manager")
        with Server.start(directory, "env", "NOTIFY_SOCKET=manager", *SERVE) as server:
            server.hear(re.compile("restauth: the service manager .*: timed out"))
            assert server.get("/api/health").status == 200
