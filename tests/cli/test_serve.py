"""`restauth serve`: its options, its announcement, and what it says of them."""

import re
from pathlib import Path

import pytest

from restauth import __version__
from restauth.cli import server as server_module
from tests.cli.conftest import Restauth, is_one_line
from tests.processes import SERVE, Server


@pytest.mark.parametrize(
    ("words", "word"),
    [
        *[("--nope", "--nope"), ("--threads=0", "--threads"), ("x", "x"), ("--listen=", "listen")],
        *[("--listen=localhost", "localhost"), ("--port=99999", "listen")],
    ],
)
def test_a_wrong_option_stops_the_start_before_a_file_is_made(
    words: str,
    word: str,
    restauth: Restauth,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESTAUTH_DATABASE", "missing/x.db")  # or a fault here would serve for ever
    assert is_one_line(restauth(f"serve {words}"), word, 2)
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("words", ["--listen=1:1:1", "--host=1:1:1 --port=1"])
def test_the_command_line_says_where_in_the_place_of_the_setting(
    words: str, restauth: Restauth, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("127.0.0.1:0", "x"):
        monkeypatch.setenv("RESTAUTH_LISTEN", value)
        assert is_one_line(restauth(f"serve {words}"), "restauth: listen is ", 2)
    assert is_one_line(restauth("serve"), "RESTAUTH_LISTEN is 'x'", 2)


@pytest.mark.parametrize("policy", ["open", "nist"])
def test_the_announcement_says_where_and_with_which_files_and_policy(
    directory: Path, policy: str
) -> None:
    settings = {"registration": "closed", "password_policy": policy}
    with Server.start(directory, **settings) as server:
        assert server.get("/api/health").json == {"status": "ok"}
        *remarks, announcement = server.output.splitlines()
        assert announcement == (
            f"restauth {__version__} serves {server.address} (database restauth.db, "
            f"key ring restauth.keys, registration closed, password policy {policy})"
        )
    assert ["password_policy is open" in remark for remark in remarks] == [True] * (
        policy == "open"
    )


@pytest.mark.parametrize(
    ("options", "remarks"),
    [
        ("--threads=1", ["threads"]),
        (f"--threads={server_module.MIN_THREADS - 1}", ["threads"]),
        (f"--threads={server_module.MIN_THREADS}", []),
        ("--trusted-proxy=127.0.0.1", ["trusted-proxy-headers"]),
        ("--trusted-proxy=127.0.0.1 --trusted-proxy-headers=x-forwarded-for", []),
    ],
)
def test_options_that_are_a_risk_are_remarked_upon(
    directory: Path, options: str, remarks: list[str]
) -> None:
    with Server.start(directory, *SERVE, *options.split(), password_policy="nist") as server:
        assert server.get("/api/health").status == 200
        assert server.end() == 0
    said = re.findall("^restauth: .*", server.output, re.MULTILINE)
    assert len(said) == len(remarks)
    assert all(word in line for word, line in zip(remarks, said, strict=True))
