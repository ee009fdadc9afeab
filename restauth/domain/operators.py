"""Operators who are users of the service: whether one still is when an act is written.

Rule: every write for a client that may be an operator goes to the store that `Operators` gives. A
request may have waited for its body, or for a hash, since its credential was verified.
"""

from dataclasses import dataclass

from restauth.errors import BadCredentials, RoleRequired
from restauth.records import Account, Client
from restauth.storage.store import Store


@dataclass(frozen=True, slots=True)
class Operators:
    """`role` is the role of those who may act on the accounts of others."""

    _store: Store
    role: str

    def store_for(self, client: Client) -> Store:
        """The store for what this client writes. Where a user acts on the accounts of others, each
        write raises BadCredentials when that user is locked or deleted by then, and RoleRequired
        without the role: of two operators who lock or demote each other at once, one remains."""
        if client.operator_id is None:  # the command line, or a user on the own account
            return self._store
        return self._store.on_behalf_of(client.operator_id, self._check)

    def _check(self, operator: Account | None) -> None:
        if operator is None or operator.locked_at is not None:
            raise BadCredentials
        if self.role not in operator.roles:
            raise RoleRequired
