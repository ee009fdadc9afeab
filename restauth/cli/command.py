"""How a command is declared, and what it opens.

Rule: a command calls the same methods of the domain as a request does. A command is a function of
its parsed arguments that returns an exit status.
"""

import argparse
import os
from collections.abc import Callable
from typing import TypeAlias

from restauth import settings
from restauth.cli.output import remark
from restauth.services import Services, build_services
from restauth.settings import Settings

Arguments = argparse.Namespace
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[Arguments], int],
    help: str,
    *positionals: str,
    json: bool = False,
) -> argparse.ArgumentParser:
    """Declare a command; `json` gives it the option --json."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run, parser=parser)  # whose usage is printed when it is used wrong
    for positional in positionals:
        parser.add_argument(positional.lower(), metavar=positional)
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def add_group(commands: Commands, name: str, help: str) -> Commands:
    """Declare a group of commands, such as `restauth user`."""
    group: Commands = commands.add_parser(name, help=help).add_subparsers(
        metavar="COMMAND", required=True
    )
    return group


def load_settings(**options: object) -> Settings:
    """The settings of the environment. An option of the command goes before its variable. Raises
    InvalidSetting."""
    return settings.load(os.environ, options)


def open_services(*, create: bool = False) -> Services:
    """The services of these settings. Raises as `build_services`."""
    services = build_services(load_settings(), create=create)
    if services.is_new:
        remark(services.describe_new())
    return services
