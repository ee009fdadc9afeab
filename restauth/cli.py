"""serve, check, user, key, backup, settings: the operator's door.

Rule: no second way in. A command crosses the same bridges as a request, and only this file knows
exit statuses: 0 done, 1 refused, 2 wrong usage or settings. What went wrong is one line on standard
error. A password is asked for or read from standard input; it is never an argument.
"""

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from waitress.adjustments import Adjustments

from restauth import __version__, app, checkup, server
from restauth import settings as settings_table
from restauth.core import passwords
from restauth.core.keyring import KeyRing
from restauth.errors import Failure, InvalidSetting, MalformedRequest, Unavailable
from restauth.records import Account
from restauth.services import HASH_QUEUE, HASH_SLOTS, Services, build_keys, build_services

DEFAULT_LISTEN = "127.0.0.1:5000"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    try:
        arguments = _parse(sys.argv[1:] if argv is None else argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except InvalidSetting as failure:
        return _complain(str(failure), 2)
    except Unavailable as failure:
        return _complain(f"{failure} ({failure.cause})" if failure.cause else str(failure), 1)
    except Failure as failure:
        return _complain(str(failure), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        # Whoever read our output has left; without this the interpreter complains at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # standard output on a full disk
        return _complain(error.strerror or str(error), 1)
    return status


def _complain(line: str, status: int) -> int:
    print(f"restauth: {line}", file=sys.stderr)
    return status


# The grammar


def build_parser() -> argparse.ArgumentParser:
    """The grammar of the command line."""
    parser = argparse.ArgumentParser(
        prog="restauth",
        description="A small auth service for REST APIs. Settings are RESTAUTH_* variables.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serve = _add(commands, "serve", _serve, "serve with waitress until SIGTERM")
    serve.add_argument("--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN)
    serve.epilog = "Other options are waitress's, by their names, such as --threads=8."
    _add(commands, "check", _check, "hold settings, files and keys against what production needs")

    user = commands.add_parser("user", help="add, list, show, change users").add_subparsers(
        metavar="COMMAND", required=True
    )
    for name, run, help in (
        ("add", _user_add, "add a user; asks for the password"),
        ("passwd", _user_passwd, "set a password; all sessions end"),
    ):
        command = _add(user, name, run, help, "NAME")
        command.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
    _add(user, "list", _user_list, "list all users", json=True)
    _add(user, "show", _user_show, "show one user", "NAME", json=True)
    _add(user, "lock", _user_lock, "refuse all credentials; all sessions end", "NAME")
    _add(user, "unlock", _user_unlock, "accept the password again", "NAME")
    _add(user, "delete", _user_delete, "delete the account and its sessions", "NAME")
    _add(user, "end-sessions", _user_end_sessions, "log out everywhere", "NAME")

    key = commands.add_parser("key", help="list, rotate, prune signing keys").add_subparsers(
        metavar="COMMAND", required=True
    )
    _add(key, "list", _key_list, "list the keys of the ring", json=True)
    rotate = _add(key, "rotate", _key_rotate, "sign with a new key from now on")
    rotate.add_argument("--revoke", action="store_true", help="refuse the old keys' tokens at once")
    _add(key, "prune", _key_prune, "drop retired keys whose last token has expired")

    _add(commands, "backup", _backup, "write a consistent copy while serving", "FILE")
    _add(commands, "settings", _settings, "show every setting and where it came from", json=True)

    return parser


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.run is not _serve:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    return arguments


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    *positionals: str,
    json: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    for positional in positionals:
        parser.add_argument(positional.lower(), metavar=positional)
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


# serve, check, backup, settings


def _serve(arguments: argparse.Namespace) -> int:
    options = {**_waitress_options(arguments.rest), "listen": arguments.listen}
    api = app.create_app()
    settings = api.services.settings

    def announce(addresses: list[str]) -> None:
        print(
            f"restauth {__version__} serves {' '.join(addresses)} "
            f"(database {settings.database}, key ring {settings.key_file}, "
            f"registration {settings.registration})",
            flush=True,
        )
        if int(options.get("threads", server.THREADS)) <= HASH_SLOTS + HASH_QUEUE:
            _complain(f"below {server.THREADS} threads, logins can hold up token requests", 0)

    try:
        server.serve(api, options, announce)
    finally:
        api.services.close()
    return 0


def _waitress_options(rest: Sequence[str]) -> dict[str, Any]:
    """waitress reads its own options. Raises InvalidSetting for one that it does not know."""
    adjustments: Any = Adjustments
    try:
        options, words = adjustments.parse_args(rest)
        words += [f"--{word}" for word in ("help", "call") if options.pop(word)]
        adjustments(**options)
    except Exception as error:  # noqa: BLE001 - getopt's and waitress's own, of many kinds
        raise InvalidSetting(f"serve: {error}") from None
    if words:
        raise InvalidSetting(f"serve: unrecognized arguments: {' '.join(words)}")
    return dict(options)


def _check(arguments: argparse.Namespace) -> int:
    settings = settings_table.load(os.environ)
    findings = list(checkup.check(settings, build_keys(settings), int(time.time())))
    for finding in findings:
        print(f"{finding.level:5}  {finding.text}")
    return int(any(finding.level == "grave" for finding in findings))


def _backup(arguments: argparse.Namespace) -> int:
    services = _services()
    services.engine.backup(Path(arguments.file))
    print(f"The users are copied to {arguments.file}; the key ring is a file of its own.")
    return 0


def _settings(arguments: argparse.Namespace) -> int:
    rows = settings_table.describe(os.environ)
    settings_table.load(os.environ)
    _print_table(
        arguments.json,
        ("name", "value", "source", "help"),
        ((row.name, row.value or "-", row.source, row.help) for row in rows),
    )
    return 0


# user


def _services(*, create: bool = False) -> Services:
    return build_services(settings_table.load(os.environ), create=create)


def _user_add(arguments: argparse.Namespace) -> int:
    services = _services(create=True)
    user_id = services.accounts.register(arguments.name, _read_password(arguments))
    print(f"added {arguments.name} with id {user_id}")
    return 0


def _user_passwd(arguments: argparse.Namespace) -> int:
    services = _services()
    account = services.accounts.find_by_name(arguments.name)
    services.accounts.set_password(account, _read_password(arguments))
    print(f"changed the password of {account.username}; all sessions have ended")
    return 0


def _user_list(arguments: argparse.Namespace) -> int:
    _print_accounts(arguments, _services().accounts.list())
    return 0


def _user_show(arguments: argparse.Namespace) -> int:
    _print_accounts(arguments, [_services().accounts.find_by_name(arguments.name)])
    return 0


def _user_lock(arguments: argparse.Namespace) -> int:
    services = _services()
    services.accounts.lock(services.accounts.find_by_name(arguments.name))
    print(f"locked {arguments.name}; all sessions have ended")
    return 0


def _user_unlock(arguments: argparse.Namespace) -> int:
    services = _services()
    services.accounts.unlock(services.accounts.find_by_name(arguments.name))
    print(f"unlocked {arguments.name}")
    return 0


def _user_delete(arguments: argparse.Namespace) -> int:
    services = _services()
    services.accounts.delete(services.accounts.find_by_name(arguments.name))
    print(f"deleted {arguments.name}")
    return 0


def _user_end_sessions(arguments: argparse.Namespace) -> int:
    services = _services()
    ended = services.sessions.end_all(services.accounts.find_by_name(arguments.name))
    print(f"ended {ended} sessions of {arguments.name}")
    return 0


def _print_accounts(arguments: argparse.Namespace, accounts: Iterable[Account]) -> None:
    _print_table(
        arguments.json,
        ("id", "username", "created_at", "locked_at"),
        (
            (account.id, account.username, _utc(account.created_at), _utc(account.locked_at))
            for account in accounts
        ),
    )


def _read_password(arguments: argparse.Namespace) -> str:
    """From standard input, or twice from the terminal. Raises MalformedRequest."""
    if arguments.password_stdin:
        raw = sys.stdin.buffer.read(4 * passwords.MAX_LENGTH + 3)  # 4 bytes a character, CR LF
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedRequest("The password is not UTF-8.") from None
        return text.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise MalformedRequest("No terminal to ask for a password: use --password-stdin.")
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Again: "):
        raise MalformedRequest("The two passwords differ.")
    return password


# key


def _key_list(arguments: argparse.Namespace) -> int:
    _print_ring(build_keys(settings_table.load(os.environ)).ring, json=arguments.json)
    return 0


def _key_rotate(arguments: argparse.Namespace) -> int:
    _print_ring(build_keys(settings_table.load(os.environ)).rotate(revoke=arguments.revoke))
    return 0


def _key_prune(arguments: argparse.Namespace) -> int:
    _print_ring(build_keys(settings_table.load(os.environ)).prune())
    return 0


def _print_ring(ring: KeyRing, *, json: bool = False) -> None:
    _print_table(
        json,
        ("kid", "algorithm", "created_at", "retired_at"),
        ((key.kid, key.algorithm, _utc(key.created_at), _utc(key.retired_at)) for key in ring.keys),
    )


# Output


def _print_table(
    is_json: bool, names: Sequence[str], rows: Iterable[Sequence[int | str | None]]
) -> None:
    """One line a row as it comes, tab-separated under a head; or a JSON array of objects."""
    if is_json:
        separator = "["
        for row in rows:
            print(separator + json.dumps(dict(zip(names, row, strict=True))), end="")
            separator = ",\n "
        print("]" if separator != "[" else "[]")
        return
    print("\t".join(names))
    for row in rows:
        print("\t".join("-" if value is None else _printable(str(value)) for value in row))


def _printable(text: str) -> str:
    """A name that rules a terminal, or breaks the line, is shown by its escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _utc(at: int | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
