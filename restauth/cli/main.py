"""The command `restauth`: its grammar and its exit statuses.

Rule: the only file that knows exit statuses: 0 done, 1 refused, 2 wrong usage or settings, 3
imported with remarks, 130 interrupted. What went wrong is one line on standard error, never a
traceback.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from restauth import __version__, services, settings
from restauth.cli import check, docs, importer, keys, serve, users
from restauth.cli.command import Arguments, Commands, add_command, load_settings, open_services
from restauth.cli.output import Progress, discard_output, log_to_remarks, print_table, remark, say
from restauth.errors import InvalidSetting, RestauthError, Unavailable
from restauth.storage import engines


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names that the locale cannot write
    try:
        try:
            arguments = _parse(sys.argv[1:] if argv is None else argv)
            with log_to_remarks(is_active="takes_more" not in arguments):
                status: int = arguments.run(arguments)
        finally:
            if sys.stdout is not None:  # the shell's >&-
                sys.stdout.flush()
    except InvalidSetting as error:
        return _fail(str(error), 2)
    except Unavailable as error:
        return _fail(f"{error} ({error.cause})", 1)
    except RestauthError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, and needs no message
        discard_output()
        return 1
    except PermissionError as error:  # a directory of another user
        return _fail(f"{error.filename}: {error.strerror}. Run restauth as its user.", 1)
    except OSError as error:  # on a full disk
        discard_output()
        return _fail(f"Standard output cannot be written: {error.strerror}.", 1)
    return status


def _fail(line: str, status: int) -> int:
    remark(line)
    return status


def build_parser() -> argparse.ArgumentParser:
    """The grammar of the command line."""
    parser = argparse.ArgumentParser(
        prog="restauth",
        description="A small auth service for REST APIs. Settings are RESTAUTH_* variables.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands: Commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (serve, check, users, keys, importer):
        group.add_commands(commands)
    add_command(commands, "backup", _backup, "write a consistent copy while serving", "FILE")
    restore = add_command(
        commands,
        "restore",
        _restore,
        "put a copy in the place of the database, and end all tokens",
        "FILE",
    )
    restore.add_argument(
        "--keys-revoked",
        action="store_true",
        help="the key ring is managed from outside, and its keys were revoked there before",
    )
    copy = add_command(
        commands,
        "copy",
        _copy,
        "copy everything to another database, which has to be new; stop the server first",
    )
    copy.add_argument(
        "--to",
        required=True,
        metavar="DATABASE",
        help="the name of a new file, or postgresql://USER:PASSWORD@HOST/NAME",
    )
    add_command(
        commands, "settings", _settings, "show every setting and where it comes from", json=True
    )
    docs.add_commands(commands)
    return parser


def _parse(argv: Sequence[str]) -> Arguments:
    arguments, rest = build_parser().parse_known_args(argv)
    if rest and "takes_more" not in arguments:
        arguments.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    return arguments


def _backup(arguments: Arguments) -> int:
    with open_services() as services:
        services.backup(Path(arguments.file), Progress("%"))
    say(f"The users are copied to {arguments.file}; the key ring is a file of its own.")
    return 0


def _restore(arguments: Arguments) -> int:
    settings = load_settings()
    services.restore(
        settings,
        Path(arguments.file),
        is_revoked=arguments.keys_revoked,
        progress=Progress("%"),
    )
    say(f"{arguments.file} is restored to {settings.database}. All tokens have ended.")
    return 0


def _copy(arguments: Arguments) -> int:
    target = load_settings(database=arguments.to).database
    source = load_settings().database
    engines.require_up_to_date(source)  # it is only read
    with open_services() as services:
        counts = services.copy(target, Progress())
        key_file = services.settings.key_file
    rows = ", ".join(f"{count} {table}" for table, count in counts.items() if count)
    say(f"Copied to {settings.without_secret(target)}, and compared: {rows or 'no rows'}.")
    say(f"The key ring {key_file} is not copied: the service there needs the same one.")
    say(
        f"What is written to {settings.without_secret(source)} after the copy began is not in it: "
        "the server has to be stopped before."
    )
    return 0


def _settings(arguments: Arguments) -> int:
    rows = settings.describe(os.environ)
    load_settings()
    print_table(
        arguments.json,
        ("name", "value", "source", "help"),
        ((row.name, row.shown, row.source, row.help) for row in rows),
    )
    return 0
