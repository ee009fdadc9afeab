"""The options of `restauth serve`: what is accepted, and what a refusal says."""

import re

import pytest

from restauth.cli.serve_options import read_options
from restauth.errors import InvalidSetting
from restauth.settings import SettingsKeywords


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("--listen=0.0.0.0:80", ["0.0.0.0:80"]),
        ("--listen=5001 --listen=127.0.0.2:5002", ["5001", "127.0.0.2:5002"]),
        ("--listen=", [""]),
        ("--port=8080", "127.0.0.1:8080"),
        ("--port=0", "127.0.0.1:0"),
        ("--host=0.0.0.0", "0.0.0.0:5000"),
        ("--host=", ":5000"),
        ("--host=::1", "[::1]:5000"),
        ("--host=[::1] --port=80", "[::1]:80"),
        ("--port=80 --host=127.0.0.2", "127.0.0.2:80"),
    ],
)
def test_there_are_several_ways_to_say_where_to_listen(words: str, address: object) -> None:
    assert read(words) == ({"listen": address}, {})


def test_a_unix_socket_is_another_way() -> None:
    options = {"unix_socket": "run/restauth.sock", "unix_socket_perms": "660"}
    assert read("--unix-socket=run/restauth.sock --unix-socket-perms=660") == ({}, options)


@pytest.mark.parametrize(
    "words",
    [
        "--threads=8",
        "--channel-request-lookahead=0",
        "--trusted-proxy=127.0.0.1 --trusted-proxy-headers=x-forwarded-for",
        "--no-ipv6",
    ],
)
def test_the_options_of_waitress_are_passed_on(words: str) -> None:
    given = [word.removeprefix("--").partition("=") for word in words.split()]
    expected = {
        name.removeprefix("no-").replace("-", "_"): text or "false" for name, _, text in given
    }
    assert read(words) == ({}, expected)


EXPECTED = {  # words, what the message names, and what it says
    "a word for a port": ("--port=http", "--port", "a whole number is expected, 0 or more"),
    "a word for a number": ("--threads=abc", "--threads", "a whole number is expected, 1 or more"),
    "a number too low": ("--trusted-proxy-count=0", "--trusted-proxy-count", "1 or more"),
    "a negative number": ("--channel-timeout=-5", "--channel-timeout", "1 or more"),
    "a fraction": ("--channel-timeout=1.5", "--channel-timeout", "a whole number"),
    "no mode": ("--unix-socket=x --unix-socket-perms=rw", "--unix-socket-perms", "such as 660"),
    "no path": ("--unix-socket=", "--unix-socket", "the path of a socket is expected"),
    "two ways": ("--listen=80 --port=80", "--listen and --port", "use --listen HOST:PORT"),
    "a socket and a port": ("--unix-socket=x --port=80", "--unix-socket and --port", "exclude"),
    "a typing error": ("--treads=8", "--treads", "the nearest is --threads"),
    "no option": ("--xyz=1", "--xyz", "not recognized"),
    "a value too many": ("--ipv4=no", "--ipv4", "must not have an argument"),
    "a stray word": ("x", "x", "not accepted: x."),
    "a stray port": ("8080", "8080", "to listen there, --listen 8080"),
    "a stray address": ("[::1]:8080 --threads=4", "8080", "there, --listen [::1]:8080"),
    "one without the other": (
        "--trusted-proxy-headers=x-forwarded-for",
        "--trusted-proxy-headers",
        "without setting --trusted-proxy.",
    ),
    "another app": ("--call x:y", "x:y --call", "not accepted"),
    "sockets": ("--sockets=x", "--sockets", "not accepted"),
    "a header that no proxy sends": (
        "--trusted-proxy=127.0.0.1 --trusted-proxy-headers=x", "(x)", "expected one of"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("words", "name", "expected"), EXPECTED.values(), ids=EXPECTED)
def test_a_refusal_names_the_option_and_what_is_expected(
    words: str, name: str, expected: str
) -> None:
    with pytest.raises(InvalidSetting, match=f"^serve: .*{re.escape(name)}") as refused:
        read(words)
    assert expected in str(refused.value)


def read(words: str) -> tuple[SettingsKeywords, dict[str, object]]:
    listen = [word.partition("=")[2] for word in words.split() if word.startswith("--listen")]
    rest = [word for word in words.split() if "--listen" not in word]
    return read_options(listen or None, rest)
