"""The life of an account: registered, changed, locked, deleted.

Rule: every password that is set passes here, over HTTP or at the command line, and obeys the
policy. Who somebody is has been decided before: by the owner's password or code (`logins`), or by
being the operator.
"""

from collections.abc import Callable, Iterable, Iterator
from re import Pattern

from restauth.core import passwords, reset_codes
from restauth.core.hash_limiter import HashLimiter
from restauth.core.hasher import Hasher
from restauth.core.names import canonical, is_possible
from restauth.core.roles import changed
from restauth.domain.audit import Event, record, record_failure
from restauth.domain.authentication import Authentication
from restauth.domain.throttling import LoginThrottle
from restauth.errors import (
    AccountLocked,
    BadCredentials,
    UnacceptablePassword,
    UnacceptableUsername,
    UnknownUser,
    UnusableCode,
    UsernameTaken,
)
from restauth.records import OPERATOR, Account, Client
from restauth.storage.store import Store


class Accounts:
    """`find_fault` says why a new password (with its user's name) is refused, or None;
    `clock` gives epoch seconds.

    Every method may raise StoreUnavailable, and those that set a password Busy.
    """

    def __init__(
        self,
        store: Store,
        authentication: Authentication,
        attempts: LoginThrottle,
        slots: HashLimiter,
        hasher: Hasher,
        *,
        username_pattern: Pattern[str],
        find_fault: Callable[[str, str], str | None],
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._authentication = authentication
        self._throttle = attempts
        self._slots = slots
        self._username_pattern = username_pattern
        self._find_fault = find_fault
        self._hasher = hasher
        self._clock = clock

    def find(self, user_id: int) -> Account:
        """Raises UnknownUser."""
        return _known(self._store.find_user(user_id))

    def find_by_name(self, username: str) -> Account:
        """Raises UnknownUser."""
        return _known(self._store.find_user_by_name(canonical(username)))

    def list(self) -> Iterator[Account]:
        return self._store.list_users()

    # By anybody, and by the owner

    def register(self, username: str, password: str, client: Client = OPERATOR) -> int:
        """The id of the new account.

        Raises UnacceptableUsername, UnacceptablePassword, UsernameTaken, and Throttled for a peer
        that goes through the names to see which are taken.
        """
        if not is_possible(username) or not self._username_pattern.fullmatch(username):
            raise UnacceptableUsername(f"A username must match {self._username_pattern.pattern}")
        self._refuse_unfit(password, username)
        self._throttle.check("", client)
        # Asked first only to spare the hash; what decides is the unique index.
        name = canonical(username)
        user_id = None
        if self._store.find_user_by_name(name) is None:
            user_id = self._store.add_user(username, name, self._hash(password), self._clock())
        if user_id is None:
            wait = self._throttle.reserve("", client)
            record_failure(Event.REGISTRATION_FAILED, client, self._clock(), None, wait)
            raise UsernameTaken
        self._record(Event.REGISTERED, client, user_id)
        self._throttle.reset(name)
        return user_id

    def change_password(self, account: Account, password: str, client: Client) -> None:
        """A new password by its owner, whose old one was just verified; all sessions end.

        Raises UnacceptablePassword, and BadCredentials when the old one has meanwhile changed.
        """
        new_hash = self._hash_fit(password, account.username)
        if not self._store.set_password_hash(account.id, new_hash, account.password_version):
            raise BadCredentials
        self._record(Event.PASSWORD_CHANGED, client, account.id)

    def reset_password(self, unverified_code: str, password: str, client: Client) -> None:
        """A new password by an operator's code; all sessions end, and failures are forgotten.

        Raises UnusableCode, Throttled; UnacceptablePassword, and then the code is still good.
        """
        if not passwords.is_acceptable(password):
            raise UnacceptablePassword
        account, selector = self._authentication.redeem(unverified_code, client)
        new_hash = self._hash_fit(password, account.username)
        if not self._store.use_reset_code(selector, new_hash, self._clock()):
            self._record(Event.RESET_FAILED, client, account.id)
            raise UnusableCode
        self._record(Event.PASSWORD_RESET, client, account.id)
        self._throttle.reset(canonical(account.username))

    def close(self, account: Account, client: Client) -> None:
        """Delete the account by its owner, whose password was just verified.

        Raises BadCredentials when the password has meanwhile changed.
        """
        if not self._store.delete_user(account.id, account.password_version):
            raise BadCredentials
        self._record(Event.DELETED, client, account.id)
        self._throttle.reset(canonical(account.username))

    # By the operator; each raises UnknownUser when the account has been deleted meanwhile

    def set_password(self, account: Account, password: str) -> None:
        """A new password; all sessions end, and failures are forgotten.

        Raises UnacceptablePassword.
        """
        new_hash = self._hash_fit(password, account.username)
        _expect(self._store.set_password_hash(account.id, new_hash))
        self._record(Event.PASSWORD_CHANGED, OPERATOR, account.id)
        self._throttle.reset(canonical(account.username))

    def make_reset_code(self, account: Account) -> str:
        """A code that sets a new password once, within an hour. Raises AccountLocked."""
        if account.locked_at is not None:
            raise AccountLocked
        code = reset_codes.generate()
        expires_at = self._clock() + reset_codes.DURATION
        _expect(
            self._store.set_reset_code(account.id, code.selector, code.secret_digest, expires_at)
        )
        self._record(Event.RESET_CODE_MADE, OPERATOR, account.id)
        return code.build()

    def change_roles(
        self, account: Account, added: Iterable[str], removed: Iterable[str]
    ) -> tuple[str, ...]:
        """The roles after the change. Raises UnacceptableRoles."""
        new_roles = self._store.change_roles(
            account.id, lambda roles: changed(roles, added, removed)
        )
        if new_roles is None:
            raise UnknownUser
        record(Event.ROLES_CHANGED, OPERATOR, self._clock(), account.id, roles=new_roles)
        return new_roles

    def lock(self, account: Account) -> None:
        """No credential of this account is good from now on."""
        _expect(self._store.lock_user(account.id, self._clock()))
        self._record(Event.LOCKED, OPERATOR, account.id)

    def unlock(self, account: Account) -> None:
        """The password is good again, and failures are forgotten."""
        _expect(self._store.unlock_user(account.id))
        self._record(Event.UNLOCKED, OPERATOR, account.id)
        self._throttle.reset(canonical(account.username))

    def delete(self, account: Account) -> None:
        """The account and all that is its own are gone; its id is never given again."""
        _expect(self._store.delete_user(account.id))
        self._record(Event.DELETED, OPERATOR, account.id)
        self._throttle.reset(canonical(account.username))

    def _refuse_unfit(self, password: str, username: str) -> None:
        if not passwords.is_acceptable(password):
            raise UnacceptablePassword
        fault = self._find_fault(password, username)
        if fault:
            raise UnacceptablePassword(fault)

    def _hash_fit(self, password: str, username: str) -> str:
        self._refuse_unfit(password, username)
        return self._hash(password)

    def _hash(self, password: str) -> str:
        # The last place is a login's: a flood of registrations must not keep everybody out.
        with self._slots.slot(leave=1):
            return self._hasher.hash(password)

    def _record(self, event: Event, client: Client, user_id: int) -> None:
        record(event, client, self._clock(), user_id)


def _known(account: Account | None) -> Account:
    if account is None:
        raise UnknownUser
    return account


def _expect(found: bool) -> None:
    if not found:  # deleted by somebody else since it was read
        raise UnknownUser
