"""The command `restauth check`: compares settings, files and keys with what production needs.

Rule: it only looks. No file is made, migrated or repaired.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from restauth.cli.command import Arguments, Commands, add_command, load_settings
from restauth.cli.output import say
from restauth.domain import password_rules
from restauth.domain.audit import AuditLog
from restauth.domain.keys import SigningKeys
from restauth.errors import InvalidSetting, UnusableFile, UnusableKeyRing
from restauth.records import Finding
from restauth.services import (
    build_audit,
    build_keys,
    find_key_path,
    find_lost_keys,
    find_lost_users,
    now,
)
from restauth.settings import Settings
from restauth.storage import engines
from restauth.storage.key_file import KeyFile, find_place_fault
from restauth.storage.private_files import (
    check_directory,
    check_log_mode,
    check_managed_mode,
    check_missing,
    is_full,
)

KEY_AGE = 90 * 86_400  # seconds after which a new signing key is due


def add_commands(commands: Commands) -> None:
    """Declare the command."""
    help = "compare settings, files and keys with what production needs"
    add_command(commands, "check", _check, help)


def check(settings: Settings, keys: SigningKeys, at: int) -> Iterator[Finding]:
    """All findings at that time: first about the files, then about the settings."""
    lost = find_lost_users(settings)
    if lost:
        yield Finding("error", lost)
    else:
        yield from engines.check(settings.database)
    yield from _check_keys(settings, keys, at)
    if settings.audit_log:
        yield from _check_audit(Path(settings.audit_log).absolute(), build_audit(settings))
    yield from _check_settings(settings)
    roles = engines.find_roles(settings.database) if settings.admin_role else None
    if roles is not None and settings.admin_role not in roles:
        yield Finding("warning", f"admin_role is {settings.admin_role}, and no user has this role.")


def _check(arguments: Arguments) -> int:
    settings = load_settings()
    findings = list(check(settings, build_keys(settings), now()))
    for finding in findings:
        say(f"{finding.level:7}  {finding.text}")
    return int(any(finding.level == "error" for finding in findings))


def _check_keys(settings: Settings, keys: SigningKeys, at: int) -> Iterator[Finding]:
    path = find_key_path(settings).absolute()
    fault = find_lost_keys(settings)
    if fault and engines.has_users(settings.database):
        yield Finding(
            "error", f"{fault} Put the old one back, else the next start makes a new one."
        )
        return
    if not os.path.lexists(path):
        yield from check_missing(path, "key ring")
        return
    try:
        ring = keys.ring
    except UnusableKeyRing as error:
        yield Finding("error", str(error))
        return
    is_managed = KeyFile(path).is_managed()
    age = at - ring.signing_key.created_at
    if age > KEY_AGE:
        days = age // 86_400
        yield Finding("warning", f"The signing key is {days} days old: restauth key rotate.")
    else:
        how = "managed from outside" if is_managed else "private"
        yield Finding("ok", f"The key ring {path} is {how}. Valid keys: {len(ring.keys)}.")
    if is_managed:  # and so is its directory
        yield from check_managed_mode(path)
        return
    yield from check_directory(path)
    fault = find_place_fault(path)
    if fault:
        yield Finding("warning", fault)


def _check_audit(path: Path, audit: AuditLog) -> Iterator[Finding]:
    try:
        audit.check()
    except UnusableFile as error:
        yield Finding("error", str(error))
        return
    if is_full(path):
        yield Finding("error", f"The disk of the audit log {path} is full.")
    else:
        yield Finding("ok", f"The audit log {path} can be written.")
    yield from check_log_mode(path)


def _check_settings(settings: Settings) -> Iterator[Finding]:
    try:
        password_rules.build(settings)
    except InvalidSetting as error:
        yield Finding("error", str(error))
    if not settings.require_https:
        yield Finding("warning", "require_https is false: passwords may come over plain http.")
    if settings.require_https and settings.base_url.startswith("http:"):
        yield Finding(
            "warning",
            "require_https is true and base_url is http: Location names addresses whose "
            "credentials are refused.",
        )
    if not settings.base_url:
        yield Finding("warning", "base_url is not set: Location has no host for unknown hosts.")
    if settings.registration == "open":
        yield Finding("warning", "registration is open: anyone can make an account.")
    if settings.page == "on":
        yield Finding("warning", "page is on: GET / shows the page to try the API to anyone.")
    if settings.password_policy == "open":
        yield Finding("warning", "password_policy is open: any password is accepted.")
    if settings.bcrypt_rounds < 12:
        yield Finding("warning", "bcrypt_rounds is below 12: stolen hashes are guessed faster.")
