"""The commands on users: `restauth user …`.

Rule: a password is asked for at the terminal or read from standard input. It is never an argument,
because other users of the machine can see arguments.
"""

import getpass
import re
import sys
from argparse import REMAINDER, ArgumentTypeError

from restauth.cli.command import Arguments, Commands, add_command, add_group, open_services
from restauth.cli.output import Cell, print_record, print_table, printable, remark, say
from restauth.core import passwords, rfc3339
from restauth.core.one_time_codes import INVITATION_DURATION
from restauth.errors import InvalidInput, UnacceptablePassword, UnknownUser
from restauth.records import MAX_ID, Account, ApiKey
from restauth.services import Services
from restauth.web import representations

MAX_PASSWORD_BYTES = 4 * passwords.MAX_LENGTH + 2  # 4 bytes a character, and CR LF

# The columns of tables.
LISTED = (
    *("id", "username", "created_at", "locked_at"),
    *("failures", "password_blocked_at", "roles"),
)
USE = ("last_login_at", "sessions", "keys")
KEY = ("id", "prefix", "name", "roles", "created_at", "expires_at", "last_used_at")
INVITATION = ("id", "created_at", "expires_at", "roles")
SESSION = ("id", "created_at", "last_used_at", "expires_at", "peer", "user_agent")


def add_commands(commands: Commands) -> None:
    """Declare the group."""
    user = add_group(commands, "user", "add, list, show and change users")
    add = add_command(user, "add", _add, "add a user; asks for the password", "NAME")
    add.add_argument(
        "--create", action="store_true", help="make the database and the key ring if there are none"
    )
    passwd = add_command(
        user, "passwd", _passwd, "set a password; all sessions of the user end", "NAME"
    )
    for command in (add, passwd):
        command.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
    add_command(user, "rename", _rename, "give the user another name", "NAME", "NEW")
    listing = add_command(user, "list", _list, "list all users", json=True)
    listing.add_argument("--prefix", default="", help="only those whose name begins so")
    listing.add_argument("--locked", action="store_true", help="only those that are locked")
    add_command(user, "show", _show, "show one user", "NAME", json=True)
    add_command(user, "sessions", _sessions, "list the live sessions of a user", "NAME", json=True)
    add_command(user, "lock", _lock, "refuse all credentials; sessions and API keys end", "NAME")
    add_command(user, "unlock", _unlock, "accept the password again, forget its failures", "NAME")
    delete = add_command(user, "delete", _delete, "delete the account and its sessions", "NAME")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    roles = add_command(user, "roles", _roles, "add +ROLE, remove -ROLE, print the roles", "NAME")
    # REMAINDER: argparse would take -viewer for an option of its own.
    roles.add_argument("changes", nargs=REMAINDER, metavar="+ROLE|-ROLE")
    add_command(
        user, "reset-code", _reset_code, "print a code with which the user sets a password", "NAME"
    )
    invite = add_command(user, "invite", _invite, "print a code with which one person registers")
    invite.add_argument(
        "--role", action="append", default=[], help="that the user gets; more than once if need be"
    )
    invite.add_argument(
        "--expires-in",
        metavar="SECONDS",
        type=_seconds,
        default=INVITATION_DURATION,
        help="until when the code can be used; a week without it",
    )
    invitations = add_command(
        user, "invitations", _invitations, "list the invitations that can be used", json=True
    )
    invitations.add_argument(
        "--revoke", metavar="ID", help="let this one register no one; a code has its id"
    )
    add_command(user, "end-sessions", _end_sessions, "end all sessions of the user", "NAME")
    add_command(user, "keys", _keys, "list the API keys of the user", "NAME", json=True)
    add_command(user, "end-keys", _end_keys, "end all API keys of the user", "NAME")
    find_key = add_command(
        user, "find-key", _find_key, "show whose API key has this prefix", "PREFIX", json=True
    )
    find_key.add_argument("--revoke", action="store_true", help="end the key")


def _add(arguments: Arguments) -> int:
    with open_services(create=arguments.create) as services:
        services.accounts.check_new_name(arguments.name)  # before anyone types a password
        user_id = services.accounts.register(arguments.name, _read_password(arguments)).id
    say(f"added {arguments.name} with id {user_id}")
    return 0


def _passwd(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        count = services.accounts.set_password(account, _read_password(arguments))
    say(f"changed the password of {account.username}; all sessions have ended")
    if count:
        remark(f"{count} API keys live on: restauth user end-keys ends them")
    return 0


def _rename(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        services.accounts.rename(account, arguments.new)
    say(f"renamed {account.username} to {arguments.new}")
    return 0


def _list(arguments: Arguments) -> int:
    with open_services() as services:
        accounts = services.accounts.list(
            arguments.prefix, is_locked=True if arguments.locked else None
        )
        rows = (_row(services, account) for account in accounts)
        print_table(arguments.json, LISTED, (tuple(row[name] for name in LISTED) for row in rows))
    return 0


def _row(services: Services, account: Account) -> dict[str, Cell]:
    failures = services.accounts.failures_of(account)
    return {
        **representations.account(account),
        "failures": failures.count,
        "password_blocked_at": representations.time(failures.blocked_at),
    }


def _show(arguments: Arguments) -> int:
    with open_services() as services:
        overview = services.accounts.overview(_find(services, arguments))
    shown = representations.overview(overview)
    # Columns are added at the end: a script may count them.
    print_record(arguments.json, {name: shown[name] for name in (*LISTED, *USE)})
    return 0


def _sessions(arguments: Arguments) -> int:
    with open_services() as services:
        sessions = services.sessions.list(_find(services, arguments).id)
    rows = map(representations.session, sessions)
    print_table(arguments.json, SESSION, (tuple(row[name] for name in SESSION) for row in rows))
    return 0


def _lock(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        services.accounts.lock(account)
    say(f"locked {account.username}; all sessions and API keys have ended")
    return 0


def _unlock(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        services.accounts.unlock(account)
    say(f"unlocked {account.username}")
    return 0


def _delete(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        if not arguments.yes:
            _confirm(f"Delete {printable(account.username)}, id {account.id}, for good?")
        services.accounts.delete(account)
    say(f"deleted {account.username}")
    return 0


def _roles(arguments: Arguments) -> int:
    for change in arguments.changes:
        if not change.startswith(("+", "-")):
            arguments.parser.error(f"a change of roles is +ROLE or -ROLE, not {change!r}")
    with open_services() as services:
        account = _find(services, arguments)
        added = [change[1:] for change in arguments.changes if change.startswith("+")]
        removed = [change[1:] for change in arguments.changes if change.startswith("-")]
        roles = services.accounts.change_roles(account, added, removed)
    say(" ".join(roles) or "-")
    for role in removed:
        if role not in (*account.roles, *added):  # a typing error would leave a role to the user
            remark(f"{account.username} did not have the role {role}")
    return 0


def _reset_code(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        say(services.accounts.make_reset_code(account).code)
    remark(f"the code sets a new password for {account.username} once, within an hour")
    return 0


def _invite(arguments: Arguments) -> int:
    with open_services() as services:
        code, invitation = services.invitations.make(arguments.role, arguments.expires_in)
        registration = services.settings.registration
    say(code)
    remark(f"the code registers one user, until {rfc3339.build(invitation.expires_at)}")
    if registration != "invited":
        remark(f"registration is {registration}: no code is asked for")
    return 0


def _invitations(arguments: Arguments) -> int:
    with open_services() as services:
        if arguments.revoke is not None:
            revoked = services.invitations.revoke(arguments.revoke)
            if revoked is None:
                raise InvalidInput("There is no such invitation: it was used, or has expired.")
            say(f"revoked {revoked}")
            return 0
        invitations = services.invitations.list()
    rows = map(representations.invitation, invitations)
    print_table(
        arguments.json, INVITATION, (tuple(row[name] for name in INVITATION) for row in rows)
    )
    return 0


def _end_sessions(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        count = services.sessions.end_all(account.id)
    say(f"ended {count} sessions of {account.username}")
    return 0


def _keys(arguments: Arguments) -> int:
    with open_services() as services:
        keys = services.api_keys.list(_find(services, arguments).id)
    print_table(arguments.json, KEY, (_key_row(arguments, key) for key in keys))
    return 0


def _end_keys(arguments: Arguments) -> int:
    with open_services() as services:
        account = _find(services, arguments)
        count = services.api_keys.end_all(account.id)
    say(f"ended {count} API keys of {account.username}")
    return 0


def _find_key(arguments: Arguments) -> int:
    with open_services() as services:
        key = services.api_keys.find(arguments.prefix)
        if arguments.revoke:
            services.api_keys.end(key.user_id, key.id)
    row = (key.user_id, key.username, *_key_row(arguments, key))
    print_table(arguments.json, ("user_id", "username", *KEY), [row])
    if arguments.revoke:
        remark(f"ended {key.prefix}")
    return 0


def _key_row(arguments: Arguments, key: ApiKey) -> tuple[Cell, ...]:
    shown = representations.key(key)
    if key.roles is None and not arguments.json:
        shown["roles"] = "*"  # all roles of the user; a key without roles has "-"
    return tuple(shown[name] for name in KEY)


def _find(services: Services, arguments: Arguments) -> Account:
    """The account of that name or, written as `#7`, of that id: no name begins so. Raises
    UnknownUser."""
    digits = re.fullmatch(r"#([1-9][0-9]{0,18})", arguments.name)
    if digits and int(digits[1]) <= MAX_ID:
        return services.accounts.find(int(digits[1]))
    try:
        return services.accounts.find_by_name(arguments.name)
    except UnknownUser:
        if re.fullmatch("[1-9][0-9]*", arguments.name):
            raise UnknownUser(
                f"There is no user with the name {arguments.name}. An id is written '#"
                f"{arguments.name}', with the quotes."
            ) from None
        raise


def _seconds(text: str) -> int:
    """Raises ArgumentTypeError."""
    if not re.fullmatch("[0-9]{1,10}", text):
        raise ArgumentTypeError(f"{text!r} is not a whole number of seconds")
    return int(text)


def _confirm(question: str) -> None:
    """Raises InvalidInput unless the answer is yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise InvalidInput("There is no terminal to ask for a confirmation: use --yes.")
    print(f"{question} [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidInput("Nothing was deleted.")


def _read_password(arguments: Arguments) -> str:
    """From standard input, or typed twice at the terminal. Raises InvalidInput."""
    if sys.stdin is None:  # the shell's <&-
        raise InvalidInput("There is no standard input to read a password from.")
    if not sys.stdin.isatty():
        if arguments.password_stdin:
            return _decode_password(sys.stdin.buffer.read(MAX_PASSWORD_BYTES + 1))
        raise InvalidInput("There is no terminal to ask for a password: use --password-stdin.")
    try:
        if arguments.password_stdin:
            return getpass.getpass("Password, one line, not shown: ")
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Again: "):
            raise InvalidInput("The two passwords differ.")
    except EOFError:
        raise InvalidInput("No password was given.") from None
    except UnicodeDecodeError:
        raise InvalidInput("The locale cannot read these characters: see LC_ALL.") from None
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
