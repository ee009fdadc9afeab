"""How a command is declared, and what it opens."""

import argparse
from pathlib import Path

import pytest

from restauth.cli.command import Commands, add_command, add_group, load_settings, open_services
from restauth.errors import InvalidSetting, UnusableStore


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    commands: Commands = parser.add_subparsers()
    group = add_group(commands, "user", "of users")
    add_command(group, "show", lambda arguments: len(arguments.name), "of one", "NAME", json=True)
    add_command(group, "list", lambda arguments: 0, "of all")
    return parser


def test_a_command_is_a_function_of_its_arguments(parser: argparse.ArgumentParser) -> None:
    arguments = parser.parse_args(["user", "show", "ada", "--json"])
    assert (arguments.run(arguments), arguments.json) == (3, True)
    assert parser.parse_args(["user", "show", "ada"]).json is False


@pytest.mark.parametrize("words", ["user", "user show", "user nope", "user list --json"])
def test_what_was_not_declared_is_wrong_usage(
    words: str, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words.split())
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTAUTH_REALM", "Here")
    assert load_settings().realm == "Here"
    monkeypatch.setenv("RESTAUTH_REALM", "")
    with pytest.raises(InvalidSetting):
        load_settings()


def test_files_are_made_only_where_a_command_says_so(directory: Path) -> None:
    with pytest.raises(UnusableStore):
        open_services()
    assert list(directory.iterdir()) == []
    with open_services(create=True) as services:
        assert services.accounts.register("ada", "python").id == 1
    with open_services() as services:
        assert services.accounts.find(1).username == "ada"
