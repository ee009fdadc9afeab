"""serve, check, user, key, import, backup, settings: the operator's door.

Rule: no second way in. A command crosses the same bridges as a request, and only this file knows
exit statuses: 0 done, 1 refused, 2 wrong usage or settings, 3 imported with remarks. What went
wrong is one line on standard error. A password is asked for or read from standard input; it is
never an argument.
"""

import argparse
import getpass
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from waitress.adjustments import Adjustments

from restauth import __version__, app
from restauth import settings as settings_table
from restauth.cli import check, server
from restauth.core import passwords
from restauth.core.keyring import ALGORITHMS, KeyRing
from restauth.domain import importer
from restauth.errors import (
    InvalidSetting,
    MalformedRequest,
    RestauthError,
    UnacceptablePassword,
    Unavailable,
    UnusableStore,
)
from restauth.records import Account
from restauth.services import Services, build_keys, build_services, now
from restauth.storage.rest_auth_file import open_rest_auth_file
from restauth.storage.sqlite import inspect

DEFAULT_LISTEN = "127.0.0.1:5000"
MAX_PASSWORD_BYTES = 4 * passwords.MAX_LENGTH + 2  # 4 bytes a character, CR LF


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the locale cannot write
    try:
        try:
            arguments = _parse(sys.argv[1:] if argv is None else argv)
            status: int = arguments.run(arguments)
        finally:
            if sys.stdout is not None:  # the shell's >&-
                sys.stdout.flush()
    except InvalidSetting as failure:
        return _complain(str(failure), 2)
    except Unavailable as failure:
        return _complain(f"{failure} ({failure.cause})", 1)
    except RestauthError as failure:
        return _complain(str(failure), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # whoever read our output has left, and needs no word
        return _discard_output()
    except OSError as error:  # standard output on a full disk
        _discard_output()
        return _complain(error.strerror or str(error), 1)
    return status


def _complain(line: str, status: int) -> int:
    if sys.stderr is not None:  # the shell's 2>&-; print() would turn to standard output
        print(f"restauth: {_printable(line)}", file=sys.stderr)
    return status


def _discard_output() -> int:
    """Or the interpreter would try to write what is left, and complain, at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


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
    serve.add_argument("--listen", metavar="HOST:PORT", action="append")
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
    roles = _add(user, "roles", _user_roles, "give +ROLE and take away -ROLE", "NAME")
    # REMAINDER: argparse would take -viewer for an option of its own
    roles.add_argument("changes", nargs=argparse.REMAINDER, metavar="+ROLE|-ROLE")
    _add(user, "reset-code", _user_reset_code, "print a code that sets a new password", "NAME")
    _add(user, "end-sessions", _user_end_sessions, "log out everywhere", "NAME")

    key = commands.add_parser("key", help="list, rotate, prune signing keys").add_subparsers(
        metavar="COMMAND", required=True
    )
    _add(key, "list", _key_list, "list the keys of the ring", json=True)
    rotate = _add(key, "rotate", _key_rotate, "sign with a new key from now on")
    rotate.add_argument(
        "--algorithm", choices=ALGORITHMS, help="of the new key; else that of the one before"
    )
    rotate.add_argument("--revoke", action="store_true", help="refuse the old keys' tokens at once")
    _add(key, "prune", _key_prune, "drop retired keys whose last token has expired")

    import_ = _add(commands, "import", _import, "move in from REST-auth's db.sqlite", "FILE")
    import_.add_argument("--dry-run", action="store_true", help="say what would happen")
    import_.add_argument("--json", action="store_true", help="print JSON")
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
    options = _waitress_options(arguments.listen or [DEFAULT_LISTEN], arguments.rest)
    server.configure_logging()
    api = app.create_app()
    settings = api.services.settings

    def announce(addresses: list[str]) -> None:
        _say(
            f"restauth {__version__} serves {' '.join(addresses)} "
            f"(database {settings.database}, key ring {settings.key_file}, "
            f"registration {settings.registration}, password policy {settings.password_policy})"
        )
        sys.stdout.flush()
        if "trusted_proxy" in options and "trusted_proxy_headers" not in options:
            _complain("without --trusted-proxy-headers, all clients of a proxy are one peer", 0)
        if int(options.get("threads", server.THREADS)) < server.MIN_THREADS:
            _complain(f"below {server.MIN_THREADS} threads, others can hold up token requests", 0)

    with api.services:
        server.serve(api, options, announce)
    return 0


def _waitress_options(listen: Sequence[str], rest: Sequence[str]) -> dict[str, Any]:
    """waitress reads its own options. Raises InvalidSetting for what it does not know, and for
    what it would take but never serve."""
    adjustments: Any = Adjustments
    try:
        options, words = adjustments.parse_args(rest)
        words += [f"--{word}" for word in ("help", "call") if options.pop(word)]
        options["listen"] = " ".join(listen)
        adjustments(**options)
    except Exception as error:  # noqa: BLE001 - getopt's and waitress's own, of many kinds
        raise InvalidSetting(f"serve: {str(error).rstrip('.')}.") from None
    for name in ("threads", "connection_limit", "recv_bytes", "send_bytes"):
        if int(options.get(name, 1)) < 1:
            words.append(f"--{name.replace('_', '-')}={options[name]}")
    # The system would take a larger port modulo 65,536.
    words += [address for address in listen if not _is_address(address)]
    if words:
        raise InvalidSetting(f"serve: not accepted: {' '.join(words)}")
    return dict(options)


def _is_address(text: str) -> bool:
    return all(
        re.fullmatch(r".+:[0-9]{1,5}", address) and int(address.rpartition(":")[2]) <= 65_535
        for address in text.split() or [""]
    )


def _check(arguments: argparse.Namespace) -> int:
    settings = settings_table.load(os.environ)
    findings = list(check.check(settings, build_keys(settings), now()))
    for finding in findings:
        print(f"{finding.level:7}  {finding.text}")
    return int(any(finding.level == "error" for finding in findings))


def _backup(arguments: argparse.Namespace) -> int:
    with _services() as services:
        services.engine.backup(Path(arguments.file))
    _say(f"The users are copied to {arguments.file}; the key ring is a file of its own.")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    settings = settings_table.load(os.environ)
    with ExitStack() as stack:
        source = stack.enter_context(open_rest_auth_file(Path(arguments.file)))
        is_new = not settings.database.exists()
        if arguments.dry_run and is_new:  # nothing is made here
            folder = Path(stack.enter_context(TemporaryDirectory()))
            settings = replace(settings, database=folder / "a.db", key_file=folder / "a.keys")
        elif arguments.dry_run and not inspect(settings.database):
            raise UnusableStore(
                f"The next start brings {settings.database} up to date: start first."
            )
        services = build_services(settings, create=is_new)
        stack.callback(services.close)
        report = importer.import_users(
            source,
            services.store,
            services.hasher,
            now(),
            dry_run=arguments.dry_run,
            progress=_Progress(),
        )
    _print_report(arguments, report, source.other_columns)
    return 3 if report.troubles else 0


class _Progress:
    """A line on standard error each second, once it has taken a second."""

    def __init__(self) -> None:
        self._next = time.monotonic() + 1

    def __call__(self, done: int) -> None:
        if time.monotonic() >= self._next:
            _complain(f"{done} rows", 0)
            self._next = time.monotonic() + 1


def _print_report(
    arguments: argparse.Namespace, report: importer.Report, other_columns: Sequence[str]
) -> None:
    if arguments.json:
        print(
            json.dumps(
                {
                    "dry_run": arguments.dry_run,
                    "users": report.users,
                    "new": report.new,
                    "hashes": report.hashes,
                    "troubles": report.troubles,
                    "examples": report.examples,
                    "other_columns": other_columns,
                },
                indent=1,
                sort_keys=True,
            )
        )
        return
    words = "would be new" if arguments.dry_run else "are new"
    print(f"{report.users} users in {arguments.file}, of which {report.new} {words} here")
    for kind, count in sorted(report.hashes.items()):
        print(f"{count:8}  hash: {kind}")
    for trouble, count in sorted(report.troubles.items()):
        rows = [f"{row_id} {_printable(name)!r}" for row_id, name in report.examples[trouble]]
        rows += ["..."] if count > len(rows) else []
        print(f"{count:8}  {trouble}: {', '.join(rows)}")
    if other_columns:
        print(f"          not imported: the columns {', '.join(map(_printable, other_columns))}")


def _settings(arguments: argparse.Namespace) -> int:
    rows = settings_table.describe(os.environ)
    settings_table.load(os.environ)
    _print_table(
        arguments.json,
        ("name", "value", "source", "help"),
        ((row.name, row.value, row.source, row.help) for row in rows),
    )
    return 0


# user


def _services(*, create: bool = False) -> Services:
    return build_services(settings_table.load(os.environ), create=create)


def _user_add(arguments: argparse.Namespace) -> int:
    with _services(create=True) as services:
        user_id = services.accounts.register(arguments.name, _read_password(arguments))
    _say(f"added {arguments.name} with id {user_id}")
    return 0


def _user_passwd(arguments: argparse.Namespace) -> int:
    with _services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.set_password(account, _read_password(arguments))
    _say(f"changed the password of {account.username}; all sessions have ended")
    return 0


def _user_list(arguments: argparse.Namespace) -> int:
    with _services() as services:
        _print_accounts(arguments, services.accounts.list())
    return 0


def _user_show(arguments: argparse.Namespace) -> int:
    with _services() as services:
        _print_accounts(arguments, [services.accounts.find_by_name(arguments.name)])
    return 0


def _user_lock(arguments: argparse.Namespace) -> int:
    with _services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.lock(account)
    _say(f"locked {account.username}; all sessions have ended")
    return 0


def _user_unlock(arguments: argparse.Namespace) -> int:
    with _services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.unlock(account)
    _say(f"unlocked {account.username}")
    return 0


def _user_delete(arguments: argparse.Namespace) -> int:
    with _services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.delete(account)
    _say(f"deleted {account.username}")
    return 0


def _user_roles(arguments: argparse.Namespace) -> int:
    for change in arguments.changes:
        if not change.startswith(("+", "-")):
            raise MalformedRequest(f"A change of roles begins with + or -, unlike {change!r}.")
    with _services() as services:
        roles = services.accounts.change_roles(
            services.accounts.find_by_name(arguments.name),
            [change[1:] for change in arguments.changes if change.startswith("+")],
            [change[1:] for change in arguments.changes if change.startswith("-")],
        )
    _say(" ".join(roles) or "-")
    return 0


def _user_reset_code(arguments: argparse.Namespace) -> int:
    with _services() as services:
        account = services.accounts.find_by_name(arguments.name)
        _say(services.accounts.make_reset_code(account))
    _complain(f"the code sets a new password for {account.username} once, within an hour", 0)
    return 0


def _user_end_sessions(arguments: argparse.Namespace) -> int:
    with _services() as services:
        account = services.accounts.find_by_name(arguments.name)
        ended = services.sessions.end_all(account.id)
    _say(f"ended {ended} sessions of {account.username}")
    return 0


def _print_accounts(arguments: argparse.Namespace, accounts: Iterable[Account]) -> None:
    _print_table(
        arguments.json,
        ("id", "username", "created_at", "locked_at", "roles"),
        (
            (
                account.id,
                account.username,
                _utc(account.created_at),
                _utc(account.locked_at),
                " ".join(account.roles),
            )
            for account in accounts
        ),
    )


def _read_password(arguments: argparse.Namespace) -> str:
    """From standard input, or twice from the terminal. Raises MalformedRequest."""
    if sys.stdin is None:  # the shell's <&-
        raise MalformedRequest("There is no standard input to read a password from.")
    if arguments.password_stdin:
        return _decode_password(sys.stdin.buffer.read(MAX_PASSWORD_BYTES + 1))
    if not sys.stdin.isatty():
        raise MalformedRequest("No terminal to ask for a password: use --password-stdin.")
    try:
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise MalformedRequest("The two passwords differ.")
    except EOFError:
        raise MalformedRequest("No password was given.") from None
    return password


def _decode_password(raw: bytes) -> str:
    """Without the line end, which is the shell's and not the password's."""
    if len(raw) > MAX_PASSWORD_BYTES:
        raise UnacceptablePassword
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("The password is not UTF-8.") from None
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


# key


def _key_list(arguments: argparse.Namespace) -> int:
    _print_ring(build_keys(settings_table.load(os.environ)).ring, json=arguments.json)
    return 0


def _key_rotate(arguments: argparse.Namespace) -> int:
    keys = build_keys(settings_table.load(os.environ))
    _print_ring(keys.rotate(revoke=arguments.revoke, algorithm=arguments.algorithm))
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
        print("\t".join("-" if value in (None, "") else _printable(str(value)) for value in row))


def _say(line: str) -> None:
    print(_printable(line))


def _printable(text: str) -> str:
    """A name that rules a terminal, or breaks the line, is shown by its escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _utc(at: int | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
