"""The command `restauth import`: moves users in from REST-auth's `db.sqlite`.

Rule: a dry run makes no file and changes none.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from restauth.cli.command import Arguments, Commands, add_command, load_settings
from restauth.cli.output import Progress, printable, remark, say
from restauth.domain import importer
from restauth.services import build_hasher, build_services
from restauth.settings import Settings
from restauth.storage import engines
from restauth.storage.rest_auth_file import RestAuthFile, open_rest_auth_file
from restauth.storage.staging import open_staging


def add_commands(commands: Commands) -> None:
    """Declare the command."""
    command = add_command(
        commands, "import", _import, "import the users of REST-auth's db.sqlite", "FILE"
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would happen")
    command.add_argument(
        "--renamed",
        action="store_true",
        help="skip users whose id has another name here: they were renamed",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def _import(arguments: Arguments) -> int:
    settings = load_settings()
    with open_rest_auth_file(Path(arguments.file)) as source:
        run = _try if arguments.dry_run else _run
        report = run(settings, source, arguments.renamed)
    _print_report(arguments, report, source.other_columns)
    return 3 if report.troubles else 0


def _run(settings: Settings, source: RestAuthFile, skip_renamed: bool) -> importer.Report:
    is_new = not engines.exists(settings.database)
    with build_services(settings, create=is_new) as services:
        if services.is_new:
            remark(services.describe_new())
        return services.import_users(source, Progress(), dry_run=False, skip_renamed=skip_renamed)


def _try(settings: Settings, source: RestAuthFile, skip_renamed: bool) -> importer.Report:
    if not engines.exists(settings.database):
        with open_staging() as staging:
            users = importer.Import(staging, build_hasher(settings))
            users.check(source, importer.NoAccounts(), Progress())
            return users.report
    engines.require_up_to_date(settings.database)
    with build_services(settings, create=False) as services:
        return services.import_users(source, Progress(), dry_run=True, skip_renamed=skip_renamed)


def _print_report(
    arguments: Arguments, report: importer.Report, other_columns: Sequence[str]
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
    say(f"{report.users} users in {arguments.file}, of which {report.new} {words} here")
    for kind, count in sorted(report.hashes.items()):
        say(f"{count:8}  hash: {kind}")
    for trouble, count in sorted(report.troubles.items()):
        rows = [f"{_text(row_id)} {_text(name)}" for row_id, name in report.examples[trouble]]
        rows += ["..."] if count > len(rows) else []
        say(f"{count:8}  {trouble}: {', '.join(rows)}")
    if other_columns:
        say(f"          not imported: the columns {', '.join(other_columns)}")


def _text(value: importer.Shown) -> str:
    """As SQL would write it."""
    if isinstance(value, str):
        return repr(printable(value))
    return "NULL" if value is None else str(value)
