"""Verify a one-time code: a reset code or an invitation.

Rule: a wrong, a used and an expired code get one answer, and no hash is computed before. Tries of a
code are counted by its selector, next to the names. A code stays valid until it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from restauth.core import one_time_codes
from restauth.domain.audit import AuditLog, Event
from restauth.domain.throttling import LoginThrottle
from restauth.errors import UnusableCode
from restauth.records import Account, Client

Owner = TypeVar("Owner", Account, None)


@dataclass(frozen=True, slots=True)
class CodeVerifier:
    """For codes of one kind; `kind` begins with a NUL, as no name does. `failure` is the event of a
    code that is refused."""

    kind: str
    failure: Event
    _throttle: LoginThrottle
    _audit: AuditLog

    def verify(
        self,
        unverified_code: str,
        find: Callable[[str], tuple[Owner, str] | None],
        client: Client,
    ) -> tuple[Owner, str]:
        """The owner of the code, and the selector. `find` gives, for a selector, the owner and the
        digest of the secret, or None.

        Raises UnusableCode; Throttled.
        """
        code = one_time_codes.parse(unverified_code)
        found = find(code.selector) if code else None
        if code is None or found is None:
            # Nothing is counted, and so nothing is written: a flood of invented codes must not keep
            # writers waiting. There are too many selectors to find one by trying.
            self._throttle.check("", client)
            self._audit.record_failure(self.failure, client, None, 0)
            raise UnusableCode
        owner, secret_digest = found
        name = self.kind + code.selector
        self._throttle.check(name, client)
        wait = self._throttle.reserve(name, client)
        if not code.matches(secret_digest):
            self._audit.record_failure(self.failure, client, owner, wait)
            raise UnusableCode
        self._throttle.release(name, client)
        return owner, code.selector
