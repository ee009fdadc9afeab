"""Who you are, by password.

Rule: every password that is checked or set, over HTTP or at the command line, passes here. Whoever
asks with a wrong password, an unknown name or a locked account gets one answer after one and the
same work; only a success may save the work, by the memory of verified credentials.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from re import Pattern

from restauth.core import passwords
from restauth.core.credentials import VerifiedCredentials
from restauth.core.hash_slots import HashSlots
from restauth.core.names import canonical
from restauth.core.tokens import is_token_shaped
from restauth.errors import (
    BadCredentials,
    StoreUnavailable,
    UnacceptablePassword,
    UnacceptableUsername,
    UnknownUser,
    UsernameTaken,
)
from restauth.records import Account
from restauth.storage.store import Store


class Accounts:
    """`cost` is bcrypt's; `clock` gives epoch seconds. Every method may raise StoreUnavailable,
    and those that hash may raise Busy."""

    def __init__(
        self,
        store: Store,
        slots: HashSlots,
        verified: VerifiedCredentials,
        *,
        username_pattern: Pattern[str],
        cost: int,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._slots = slots
        self._verified = verified
        self._username_pattern = username_pattern
        self._cost = cost
        self._clock = clock

    def register(self, username: str, password: str) -> int:
        """The id of the new account.

        Raises UnacceptableUsername, UnacceptablePassword, UsernameTaken.
        """
        if not self._username_pattern.fullmatch(username) or is_token_shaped(username):
            raise UnacceptableUsername(f"A username must match {self._username_pattern.pattern}")
        # Asked first only to spare the hash; what decides is the unique index.
        name = canonical(username)
        if self._store.find_user_by_name(name):
            raise UsernameTaken
        user_id = self._store.add_user(username, name, self._hash(password), self._clock())
        if user_id is None:
            raise UsernameTaken
        return user_id

    def authenticate(self, username: str, password: str) -> Account:
        """The account of that name, if the password is right and it is not locked.

        Raises BadCredentials.
        """
        if not passwords.is_acceptable(password):
            raise BadCredentials  # before the name is looked up: it tells nothing about it
        account = self._store.find_user_by_name(canonical(username))
        if account is None or account.locked_at is not None:
            self._verify(password, None)
            raise BadCredentials
        if self._verified.holds(account, password, self._clock()):
            return account
        if not self._verify(password, account.password_hash):
            raise BadCredentials
        if passwords.needs_rehash(account.password_hash, self._cost):
            account = self._renew_hash(account, password)
        self._verified.remember(account, password, self._clock())
        return account

    def find(self, user_id: int) -> Account:
        """Raises UnknownUser."""
        account = self._store.find_user(user_id)
        if account is None:
            raise UnknownUser
        return account

    def find_by_name(self, username: str) -> Account:
        """Raises UnknownUser."""
        account = self._store.find_user_by_name(canonical(username))
        if account is None:
            raise UnknownUser
        return account

    def list(self) -> Iterator[Account]:
        return self._store.list_users()

    def set_password(self, account: Account, password: str) -> None:
        """A new password by the operator; all sessions of the account end.

        Raises UnacceptablePassword, UnknownUser.
        """
        _expect(self._store.set_password_hash(account.id, self._hash(password)))

    def lock(self, account: Account) -> None:
        """No credential of this account is good from now on. Raises UnknownUser."""
        _expect(self._store.lock_user(account.id, self._clock()))

    def unlock(self, account: Account) -> None:
        """Raises UnknownUser."""
        _expect(self._store.unlock_user(account.id))

    def delete(self, account: Account) -> None:
        """Its sessions go with it; its id is never given again. Raises UnknownUser."""
        _expect(self._store.delete_user(account.id))

    def _hash(self, password: str) -> str:
        if not passwords.is_acceptable(password):
            raise UnacceptablePassword
        with self._slots.slot():
            return passwords.hash(password, self._cost)

    def _verify(self, password: str, password_hash: str | None) -> bool:
        with self._slots.slot():
            return passwords.verify(password, password_hash, self._cost)

    def _renew_hash(self, account: Account, password: str) -> Account:
        """Replace a stale hash, now that the password is at hand.

        By compare-and-swap: when the row has changed meanwhile, either another login was quicker
        with the same password, or somebody set a new one. What is stored now decides, by one more
        hash. Raises BadCredentials.
        """
        new_hash = self._hash(password)
        try:
            replaced = self._store.replace_password_hash(
                account.id, account.password_hash, new_hash
            )
        except StoreUnavailable:
            return account  # a full disk keeps nobody out: the old hash is as good as before
        if replaced:
            return replace(account, password_hash=new_hash)
        current = self._store.find_user(account.id)
        if (
            current is None
            or current.locked_at is not None
            or not self._verify(password, current.password_hash)
        ):
            raise BadCredentials
        return current


def _expect(found: bool) -> None:
    if not found:  # deleted by somebody else since it was read
        raise UnknownUser
