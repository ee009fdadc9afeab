"""The commands on users: `restauth user …`.

Rule: a password is asked for at the terminal or read from standard input. It is never an argument,
because other users of the machine can see arguments.
"""

import getpass
import sys
from argparse import REMAINDER
from collections.abc import Iterable

from restauth.cli.command import Arguments, Commands, add_command, add_group, open_services
from restauth.cli.output import print_table, remark, say
from restauth.core import passwords, rfc3339
from restauth.errors import InvalidInput, UnacceptablePassword
from restauth.records import Account

MAX_PASSWORD_BYTES = 4 * passwords.MAX_LENGTH + 2  # 4 bytes a character, and CR LF


def add_commands(commands: Commands) -> None:
    """Declare the group."""
    user = add_group(commands, "user", "add, list, show and change users")
    for name, run, help in (
        ("add", _add, "add a user; asks for the password"),
        ("passwd", _passwd, "set a password; all sessions of the user end"),
    ):
        command = add_command(user, name, run, help, "NAME")
        command.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
    add_command(user, "list", _list, "list all users", json=True)
    add_command(user, "show", _show, "show one user", "NAME", json=True)
    add_command(user, "lock", _lock, "refuse all credentials; all sessions of the user end", "NAME")
    add_command(user, "unlock", _unlock, "accept the password again, forget its failures", "NAME")
    add_command(user, "delete", _delete, "delete the account and its sessions", "NAME")
    roles = add_command(user, "roles", _roles, "add +ROLE, remove -ROLE, print the roles", "NAME")
    # REMAINDER: argparse would take -viewer for an option of its own.
    roles.add_argument("changes", nargs=REMAINDER, metavar="+ROLE|-ROLE")
    add_command(
        user, "reset-code", _reset_code, "print a code with which the user sets a password", "NAME"
    )
    add_command(user, "end-sessions", _end_sessions, "end all sessions of the user", "NAME")


def _add(arguments: Arguments) -> int:
    with open_services(create=True) as services:
        user_id = services.accounts.register(arguments.name, _read_password(arguments))
    say(f"added {arguments.name} with id {user_id}")
    return 0


def _passwd(arguments: Arguments) -> int:
    with open_services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.set_password(account, _read_password(arguments))
    say(f"changed the password of {account.username}; all sessions have ended")
    return 0


def _list(arguments: Arguments) -> int:
    with open_services() as services:
        _print_accounts(arguments, services.accounts.list())
    return 0


def _show(arguments: Arguments) -> int:
    with open_services() as services:
        _print_accounts(arguments, [services.accounts.find_by_name(arguments.name)])
    return 0


def _lock(arguments: Arguments) -> int:
    with open_services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.lock(account)
    say(f"locked {account.username}; all sessions have ended")
    return 0


def _unlock(arguments: Arguments) -> int:
    with open_services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.unlock(account)
    say(f"unlocked {account.username}")
    return 0


def _delete(arguments: Arguments) -> int:
    with open_services() as services:
        account = services.accounts.find_by_name(arguments.name)
        services.accounts.delete(account)
    say(f"deleted {account.username}")
    return 0


def _roles(arguments: Arguments) -> int:
    for change in arguments.changes:
        if not change.startswith(("+", "-")):
            raise InvalidInput(f"A change of roles is +ROLE or -ROLE, not {change!r}.")
    with open_services() as services:
        roles = services.accounts.change_roles(
            services.accounts.find_by_name(arguments.name),
            [change[1:] for change in arguments.changes if change.startswith("+")],
            [change[1:] for change in arguments.changes if change.startswith("-")],
        )
    say(" ".join(roles) or "-")
    return 0


def _reset_code(arguments: Arguments) -> int:
    with open_services() as services:
        account = services.accounts.find_by_name(arguments.name)
        say(services.accounts.make_reset_code(account))
    remark(f"the code sets a new password for {account.username} once, within an hour")
    return 0


def _end_sessions(arguments: Arguments) -> int:
    with open_services() as services:
        account = services.accounts.find_by_name(arguments.name)
        count = services.sessions.end_all(account.id)
    say(f"ended {count} sessions of {account.username}")
    return 0


def _print_accounts(arguments: Arguments, accounts: Iterable[Account]) -> None:
    print_table(
        arguments.json,
        ("id", "username", "created_at", "locked_at", "roles"),
        (
            (
                account.id,
                account.username,
                rfc3339.build(account.created_at),
                None if account.locked_at is None else rfc3339.build(account.locked_at),
                " ".join(account.roles),
            )
            for account in accounts
        ),
    )


def _read_password(arguments: Arguments) -> str:
    """From standard input, or typed twice at the terminal. Raises InvalidInput."""
    if sys.stdin is None:  # the shell's <&-
        raise InvalidInput("There is no standard input to read a password from.")
    if arguments.password_stdin:
        return _decode_password(sys.stdin.buffer.read(MAX_PASSWORD_BYTES + 1))
    if not sys.stdin.isatty():
        raise InvalidInput("There is no terminal to ask for a password: use --password-stdin.")
    try:
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise InvalidInput("The two passwords differ.")
    except EOFError:
        raise InvalidInput("No password was given.") from None
    return password


def _decode_password(raw: bytes) -> str:
    """Without the end of the line, which the shell adds."""
    if len(raw) > MAX_PASSWORD_BYTES:
        raise UnacceptablePassword
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput("The password is not UTF-8.") from None
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
