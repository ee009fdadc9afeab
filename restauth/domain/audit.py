"""The audit log: what happened to which account, one JSON line an event.

Rule: an `AuditLog` belongs to one service, and ends with it. An event has the id of the user, and
never an unknown username: it may be a password that was typed into the wrong field. No password,
token or code is ever given to `record`. OWASP ASVS 5.0, chapter V16.
"""

import json
import logging
import os
from collections.abc import Callable
from enum import Enum
from logging.handlers import WatchedFileHandler

from restauth.core import rfc3339
from restauth.core.repetition import ALWAYS_TOLD, Repetition
from restauth.errors import UnusableFile
from restauth.records import Account, Client

LOGGER = "restauth.audit"  # gets the events of a service without a file of its own


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


# Anyone can cause these as often as the network allows: they cost no hash, and from a private
# address nothing else limits them. So they are thinned out by peer; `count` is their number in this
# minute. Every other event needs a hash, a credential or the operator, and has its line.
_FREE_OF_CHARGE = {Event.REGISTRATION_FAILED, Event.RESET_FAILED, Event.REFRESH_FAILED}


class AuditLog:
    """Writes to a private file that another program may rotate; without a path, to the logger
    `restauth.audit`. `clock` gives epoch seconds. Raises UnusableFile."""

    def __init__(self, path: str, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._repetition = Repetition()
        self._logger = logging.getLogger(LOGGER)
        self._handler: logging.Handler | None = None
        if path:
            # A logger outside the tree of `logging.getLogger`: it goes when this object goes.
            self._logger = logging.Logger(LOGGER, logging.INFO)
            self._handler = _open(os.path.abspath(path))
            self._logger.addHandler(self._handler)

    def record(
        self, event: Event, client: Client, user_id: int | None = None, **details: object
    ) -> None:
        """Write one line. `details` say what the event is about: a session id, roles, a number."""
        if event in _FREE_OF_CHARGE and user_id is None:
            count = self._repetition.count((event, client.peer), self._clock())
            if count is None:
                return
            if count > ALWAYS_TOLD:
                details = {**details, "count": count}
        line = {
            "time": rfc3339.build(self._clock()),
            "event": event.value,
            "user_id": user_id,
            "peer": client.peer,
            **details,
        }
        self._logger.info("%s", json.dumps(line))

    def record_failure(
        self, event: Event, client: Client, account: Account | None, wait: int
    ) -> None:
        """Write that an attempt failed, and, if it begins a wait of `wait` seconds, that too: once
        for each wait, not for each request that is refused during it."""
        user_id = account.id if account else None
        self.record(event, client, user_id)
        if wait:
            self.record(Event.THROTTLED, client, user_id, seconds=wait)

    def close(self) -> None:
        """Close the file."""
        if self._handler:
            self._handler.close()


def _open(path: str) -> logging.Handler:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        return WatchedFileHandler(path, encoding="ascii")
    except OSError as error:
        raise UnusableFile(f"The audit log {path} cannot be written: {error.strerror}.") from None
