"""`restauth serve`: its options, its announcement, and what it says of them."""

from contextlib import closing
from pathlib import Path

import pytest

from restauth import __version__
from restauth.cli import serve
from restauth.cli import server as server_module
from restauth.cli.serve_options import read_options
from restauth.settings import load
from tests.cli.conftest import Restauth, is_one_line
from tests.processes import Server, receive, send


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


@pytest.mark.sqlite("the message is about the files of SQLite")
@pytest.mark.parametrize("policy", ["open", "nist"])
def test_the_announcement_says_where_and_with_which_files_and_policy(
    directory: Path, policy: str
) -> None:
    settings = {"registration": "closed", "password_policy": policy}
    with Server.start(directory, **settings) as server:
        assert server.get("/api/health").json == {"status": "ok"}
        *remarks, announcement = server.output.splitlines()
        assert announcement == (
            f"restauth {__version__} serves {server.address} (database {directory}/restauth.db, "
            f"key ring {directory}/restauth.keys, registration closed, password policy {policy}, "
            "page on)"
        )
    assert ["password_policy is open" in remark for remark in remarks] == [True] * (
        policy == "open"
    )


def test_the_figures_have_an_address_of_their_own_that_is_closed_to_all_else(
    directory: Path,
) -> None:
    with Server.start(directory, metrics="127.0.0.1:0") as server:
        main, own = server.addresses
        assert f" serves {main}, metrics at {own} (" in server.output
        assert server.get("/metrics").status == 404
        with closing(server.connect(own)) as connection:
            for path, status in (("/metrics", 200), ("/api/health", 404), ("/metrics", 200)):
                send(connection, "GET", path)
                answer = receive(connection)
                assert answer.status == status
        # One process: what is counted there is shown here.
        assert b'{route="/metrics",method="GET",status="200"} 1' in answer.body
        assert b'{route="none",method="GET",status="404"} 2' in answer.body
        assert server.end() == 0


def test_an_address_of_the_figures_that_is_taken_stops_the_start(directory: Path) -> None:
    with Server.start(directory) as other:
        taken = other.address.removeprefix("http://")
        with Server.start(directory, metrics=taken) as server:
            assert server.wait() == 1
        where = f"{taken} (the setting metrics)"
        assert f"Cannot listen on {where}: Address already in use." in server.output


@pytest.mark.parametrize(
    ("options", "settings", "is_on"),
    [
        ("--listen=127.0.0.1:0 --listen=127.9.9.9:0", {}, True),
        ("--listen=[::1]:5000", {}, True),
        ("--host=localhost --url-scheme=http", {}, True),
        # Others than the users of this machine may reach it.
        ("--listen=127.0.0.1:0 --listen=0.0.0.0:0", {}, False),
        ("--listen=*:0", {}, False),
        ("--listen=auth.example.org:80", {}, False),
        ("--unix-socket=restauth.sock", {}, False),
        ("--trusted-proxy=127.0.0.1", {}, False),
        ("--url-scheme=https", {}, False),
        ("--url-prefix=/auth", {}, False),
        ("", {"base_url": "https://auth.example.org"}, False),
        ("", {"allowed_hosts": "auth.example.org"}, False),
        ("", {"require_https": "true"}, False),
        # As the operator says.
        ("--listen=*:0 --trusted-proxy=127.0.0.1", {"page": "on"}, True),
        ("", {"page": "off"}, False),
    ],
)
@pytest.mark.filterwarnings("ignore:No proxy headers were marked as trusted")  # waitress's own
def test_the_page_is_on_where_this_machine_alone_can_reach_it_or_as_the_operator_says(
    options: str, settings: dict[str, str], is_on: bool
) -> None:
    words = options.split()
    listen = [word.removeprefix("--listen=") for word in words if word.startswith("--listen=")]
    rest = [word for word in words if not word.startswith("--listen=")]
    where, given = read_options(listen or None, rest)
    decided = serve._decide_page(load({}, {**settings, **where}), given)
    assert decided.page == ("on" if is_on else "off")


def test_a_browser_gets_the_page_unless_it_is_off(directory: Path) -> None:
    with Server.start(directory) as server:
        assert server.get("/").headers["content-type"] == "text/html; charset=utf-8"
    with Server.start(directory, page="off") as server:
        assert server.get("/").status == 404


FORWARDED = "--trusted-proxy=127.0.0.1 --trusted-proxy-headers="
REMARKS = [  # options, whether https is required, a word of each remark
    ("", "false", []),
    ("--threads=1", "false", ["threads"]),
    (f"--threads={server_module.MIN_THREADS - 1}", "false", ["threads"]),
    (f"--threads={server_module.MIN_THREADS}", "false", []),
    ("--trusted-proxy=127.0.0.1", "false", ["without --trusted-proxy-headers"]),
    (f"{FORWARDED}x-forwarded-for", "false", []),
    # All credentials are refused where nothing can tell of https.
    ("", "true", ["credentials"]),
    (f"{FORWARDED}x-forwarded-for", "true", ["credentials"]),
    (f"{FORWARDED}Forwarded", "true", []),
    (f"{FORWARDED}X-Forwarded-Proto", "true", []),
    ("--url-scheme=https", "true", []),
]


@pytest.mark.filterwarnings("ignore:No proxy headers were marked as trusted")  # waitress's own
@pytest.mark.parametrize(("options", "require_https", "words"), REMARKS)
def test_options_that_are_a_risk_are_remarked_upon(
    options: str, require_https: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, given = read_options(None, options.split())
    serve._announce(load({}, {"require_https": require_https}), given, ["http://127.0.0.1:5000"])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))
