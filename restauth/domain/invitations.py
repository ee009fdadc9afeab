"""Invitations: codes with which the operator lets one person register.

Rule: for the operator alone. An invitation is used where an account is made: see
`domain.accounts`.
"""

from collections.abc import Callable, Iterable

from restauth.core import one_time_codes
from restauth.core.one_time_codes import (
    INVITATION_DURATION,
    MAX_INVITATION_DURATION,
    MIN_INVITATION_DURATION,
)
from restauth.core.roles import changed
from restauth.domain.audit import AuditLog, Event
from restauth.domain.operators import Operators
from restauth.errors import UnacceptableInvitation
from restauth.records import OPERATOR, Client, Invitation
from restauth.storage.store import Store


class Invitations:
    """`clock` gives epoch seconds. Every method may raise StoreUnavailable. Those that take an
    operator as `client` raise as `Operators.store_for`."""

    def __init__(
        self, store: Store, audit: AuditLog, operators: Operators, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._audit = audit
        self._operators = operators
        self._clock = clock

    def make(
        self,
        roles: Iterable[str] = (),
        duration: int = INVITATION_DURATION,
        client: Client = OPERATOR,
    ) -> tuple[str, Invitation]:
        """A code that registers one user with these roles, within so many seconds; and what is
        stored of it. Raises UnacceptableRoles, UnacceptableInvitation."""
        if not MIN_INVITATION_DURATION <= duration <= MAX_INVITATION_DURATION:
            raise UnacceptableInvitation(
                f"An invitation lives from {MIN_INVITATION_DURATION} to {MAX_INVITATION_DURATION} "
                "seconds."
            )
        code, now = one_time_codes.generate(), self._clock()
        invitation = Invitation(code.selector, changed((), roles, ()), now, now + duration)
        self._operators.store_for(client).add_invitation(invitation, code.secret_digest)
        self._audit.record(
            Event.INVITATION_MADE, client, invitation=invitation.id, roles=invitation.roles
        )
        return code.build(), invitation

    def list(self) -> list[Invitation]:
        """Those that can still be used, the one that expires first first."""
        return self._store.list_invitations(self._clock())

    def revoke(self, unverified_text: str, client: Client = OPERATOR) -> str | None:
        """Let the invitation with this id register no one; a whole code does as well. Its id, or
        None when there is none that can be used."""
        invitation_id = one_time_codes.find_selector(unverified_text)
        now = self._clock()
        store = self._operators.store_for(client)
        if invitation_id is None or not store.delete_invitation(invitation_id, now):
            return None
        self._audit.record(Event.INVITATION_REVOKED, client, invitation=invitation_id)
        return invitation_id
