"""The audit log: what happened to which account, one JSON line an event.

Rule: an `AuditLog` belongs to one service, and ends with it. An event has the id of the user, that
of an operator who acts on the user (`by`), and never an unknown username: it may be a password that
was typed into the wrong field. No password, token or code is ever given to `record`. OWASP ASVS
5.0, chapter V16.

What is recorded has already happened, so `record` never raises. An event that cannot be written is
lost. The loss is logged once, `fault` says why, and the first line after it says how many.
"""

import json
import logging
from collections.abc import Callable, Mapping
from enum import Enum
from threading import Lock

from restauth.core import rfc3339
from restauth.core.repetition import ALWAYS_TOLD, Repetition
from restauth.errors import UnusableFile
from restauth.gate import gate
from restauth.records import OPERATOR, Account, Client
from restauth.storage.log_file import LogFile

LOGGER = "restauth.audit"  # gets the events of a service without a file of its own

_log = logging.getLogger("restauth")


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
    API_KEY_MADE = "api_key_made"
    API_KEY_ENDED = "api_key_ended"
    API_KEYS_ENDED = "api_keys_ended"
    PASSWORD_CHANGED = "password_changed"
    PASSWORD_RESET = "password_reset"
    RESET_CODE_MADE = "reset_code_made"
    RESET_FAILED = "reset_failed"
    INVITATION_MADE = "invitation_made"
    INVITATION_REVOKED = "invitation_revoked"
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    ROLES_CHANGED = "roles_changed"
    RENAMED = "renamed"
    DELETED = "deleted"
    IMPORTED = "imported"
    BACKED_UP = "backed_up"
    COPIED = "copied"
    KEY_ADDED = "key_added"
    KEY_ACTIVATED = "key_activated"
    KEY_ROTATED = "key_rotated"
    KEYS_REVOKED = "keys_revoked"
    KEYS_PRUNED = "keys_pruned"
    EVENTS_LOST = "events_lost"


# Anyone can cause these as often as the network allows: they cost no hash, and from a private
# address nothing else limits them. So they are thinned out by peer; `count` is their number in this
# minute. Every other event needs a hash, a credential or the operator, and has its line.
_FREE_OF_CHARGE = {Event.REGISTRATION_FAILED, Event.RESET_FAILED, Event.REFRESH_FAILED}


class AuditLog:
    """Writes to a file; without one, to the logger `restauth.audit`. `clock` gives epoch seconds.

    `fault` is the reason why the last event was lost, or None.
    """

    def __init__(self, file: LogFile | None, clock: Callable[[], int]) -> None:
        self._file = file
        self._clock = clock
        self._repetition = Repetition()
        self._logger = logging.getLogger(LOGGER)
        self._lock = Lock()
        self._lost = 0  # events since the last one that was written
        self.fault: str | None = None

    def check(self) -> None:
        """Return if the file can be written; it is not made. Raises UnusableFile."""
        if self._file:
            try:
                self._file.check()
            except OSError as error:
                raise UnusableFile(_unwritable(self._file, error)) from None

    def record(
        self, event: Event, client: Client, user_id: int | None = None, **details: object
    ) -> None:
        """Write one line. `details` say what the event is about: an id, roles, a number."""
        gate.before_waiting()
        if event in _FREE_OF_CHARGE and user_id is None:
            count = self._repetition.count((event, client.peer), self._clock())
            if count is None:
                return
            if count > ALWAYS_TOLD:
                details = {**details, "count": count}
        line = self._build(event, client, user_id, details)
        if self._file is None:
            self._logger.info("%s", line)
            return
        with self._lock:
            self._try(self._file, line)

    def retry(self) -> None:
        """Look whether the file can be written now, so that `fault` is true of this moment."""
        if self._file:
            gate.before_waiting()
            with self._lock:
                self._try(self._file, None)

    def record_failure(
        self, event: Event, client: Client, account: Account | None, wait: int | None
    ) -> None:
        """Write that an attempt failed, and, if it begins a wait of `wait` seconds (None: until the
        operator ends it), that too: once for each wait, not for each request that is refused during
        it."""
        user_id = account.id if account else None
        self.record(event, client, user_id)
        if wait != 0:
            self.record(Event.THROTTLED, client, user_id, seconds=wait)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            with self._lock:
                self._file.close()

    def _try(self, file: LogFile, line: str | None) -> None:
        try:
            file.follow()
            if self.fault:
                self._resume(file)
            if line is not None:
                file.write(line)
        except OSError as error:
            self._lost += line is not None
            if self.fault is None:
                self.fault = _unwritable(file, error)
                _log.error("%s Until it can be, events are lost.", self.fault)

    def _resume(self, file: LogFile) -> None:
        if self._lost:
            details = {"count": self._lost}
            file.write(self._build(Event.EVENTS_LOST, OPERATOR, None, details))
        _log.warning("The audit log %s is written again; %d events lost.", file.path, self._lost)
        self._lost, self.fault = 0, None

    def _build(
        self, event: Event, client: Client, user_id: int | None, details: Mapping[str, object]
    ) -> str:
        head = {
            "time": rfc3339.build(self._clock()),
            "event": event.value,
            "user_id": user_id,
            "peer": client.peer,
        }
        by = {} if client.operator_id is None else {"by": client.operator_id}
        return json.dumps({**head, **by, **details})


def _unwritable(file: LogFile, error: OSError) -> str:
    return f"The audit log {file.path} cannot be written: {error.strerror}."
