"""What happened to whom: one JSON line an event.

Rule: the events of an account's life, failed ones too, go to the logger `restauth.audit`, and from
there to a file if there is one. A line
has the id of the user, never a name that nobody has: people type passwords into the wrong field.
No password, token or code is ever given to `record`. OWASP ASVS 5.0 V16.
"""

import json
import logging
import os
import time
from enum import Enum
from logging.handlers import WatchedFileHandler

from restauth.errors import UnusableFile
from restauth.records import Account, Client

_log = logging.getLogger("restauth.audit")


class Event(Enum):
    """All events, by their stable names."""

    REGISTERED = "registered"
    REGISTRATION_FAILED = "registration_failed"
    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    THROTTLED = "throttled"
    SESSION_STARTED = "session_started"
    SESSION_ENDED = "session_ended"
    SESSIONS_ENDED = "sessions_ended"
    TOKEN_RENEWED = "token_renewed"
    REFRESHED = "refreshed"
    REFRESH_FAILED = "refresh_failed"
    REFRESH_REUSE = "refresh_reuse"
    PASSWORD_CHANGED = "password_changed"
    PASSWORD_RESET = "password_reset"
    RESET_CODE_MADE = "reset_code_made"
    RESET_FAILED = "reset_failed"
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    ROLES_CHANGED = "roles_changed"
    DELETED = "deleted"


def write_to(path: str) -> None:
    """Append all events to a private file, which others may move away to begin a new one.

    Raises UnusableFile.
    """
    path = os.path.abspath(path)
    if path in [getattr(handler, "baseFilename", None) for handler in _log.handlers]:
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        _log.addHandler(WatchedFileHandler(path, encoding="ascii"))
    except OSError as error:
        raise UnusableFile(f"The audit log {path} cannot be written: {error.strerror}.") from None
    _log.setLevel(logging.INFO)


def record(
    event: Event, client: Client, now: int, user_id: int | None = None, **more: object
) -> None:
    """Write one line. `more` is what the event is about: a session's id, a reason, roles."""
    _log.info(
        "%s",
        json.dumps(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                "event": event.value,
                "user_id": user_id,
                "peer": client.peer,
                **more,
            }
        ),
    )


def record_failure(
    event: Event, client: Client, now: int, account: Account | None, wait: int
) -> None:
    """Write that an attempt failed, and that it blocks the next ones for `wait` seconds: once for
    each block, not for each request that runs into it."""
    user_id = account.id if account else None
    record(event, client, now, user_id)
    if wait:
        record(Event.THROTTLED, client, now, user_id, seconds=wait)
