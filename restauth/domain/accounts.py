"""Accounts: register, change, reset, lock, delete.

Rule: every password that is set passes here, over HTTP or at the command line, and obeys the
policy. Who asks was decided before: the user, whose password was just verified, or the operator.
Only a reset code is verified here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from re import Pattern

from restauth.core import one_time_codes
from restauth.core.hash_limiter import HashLimiter
from restauth.core.hasher import Hasher
from restauth.core.names import canonical
from restauth.core.password_policy import find_form_fault
from restauth.core.roles import changed
from restauth.core.throttle import WIDE_PREFIX, network_of
from restauth.core.username_policy import is_possible
from restauth.domain.audit import AuditLog, Event
from restauth.domain.code_verification import CodeVerifier
from restauth.domain.operators import Operators
from restauth.domain.throttling import LoginThrottle, NameFailures
from restauth.errors import (
    AccountLocked,
    BadCredentials,
    OwnAccount,
    UnacceptablePassword,
    UnacceptableUsername,
    UnknownUser,
    UnusableCode,
    UsernameTaken,
)
from restauth.gate import gate
from restauth.records import MAX_ID, OPERATOR, Account, Client, IssuedCode, Overview
from restauth.storage.store import Store


class Accounts:
    """`find_fault` gives the reason why a new password, with its username, is refused, or None.
    `clock` gives epoch seconds.

    Every method may raise StoreUnavailable. Those that set a password may raise Busy. Those that
    take an operator as `client` raise as `Operators.store_for`.
    """

    def __init__(
        self,
        store: Store,
        throttle: LoginThrottle,
        limiter: HashLimiter,
        hasher: Hasher,
        audit: AuditLog,
        operators: Operators,
        *,
        username_pattern: Pattern[str],
        find_fault: Callable[[str, str], str | None],
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._throttle = throttle
        self._limiter = limiter
        self._hasher = hasher
        self._audit = audit
        self._operators = operators
        self._reset_codes = CodeVerifier("\0reset code ", Event.RESET_FAILED, throttle, audit)
        self._invitations = CodeVerifier(
            "\0invitation ", Event.REGISTRATION_FAILED, throttle, audit
        )
        self._username_pattern = username_pattern
        self._find_fault = find_fault
        self._clock = clock

    def find(self, user_id: int) -> Account:
        """The account with that id. Raises UnknownUser."""
        if type(user_id) is not int:  # SQLite takes "1" for 1
            kind = type(user_id).__name__
            raise UnknownUser(f"The id of a user is an int, not {kind}: find_user takes a name.")
        if not 0 < user_id <= MAX_ID:
            raise UnknownUser
        return _known(self._store.find_user(user_id))

    def find_by_name(self, username: str) -> Account:
        """The account of that name, in any spelling of it. Raises UnknownUser."""
        return _known(self._store.find_user_by_name(canonical(username)))

    def list(self, prefix: str = "", *, is_locked: bool | None = None) -> Iterator[Account]:
        """All accounts in the order of their ids; or those whose name begins so, in any spelling of
        it, and who are locked or are not."""
        return self._store.list_users(canonical(prefix), is_locked=is_locked)

    def page(
        self, after: int, limit: int, prefix: str = "", *, is_locked: bool | None = None
    ) -> tuple[Sequence[Account], int | None]:
        """At most `limit` of these accounts, from the first one on whose id is higher than `after`.
        And the `after` of the next page, or None when there is no more."""
        gate.before_waiting()  # all whose name begins so are sorted: they may be very many
        found = self._store.page_users(after, limit + 1, canonical(prefix), is_locked=is_locked)
        page = found[:limit]
        return page, page[-1].id if len(found) > limit else None

    def overview(self, account: Account) -> Overview:
        """How the account is used. Raises UnknownUser."""
        activity = self._store.find_activity(account.id, self._clock())
        if activity is None:
            raise UnknownUser
        failures = self.failures_of(account)
        return Overview(account, *activity, failures.count, failures.blocked_at)

    # For any client, and for the user

    def register(
        self,
        username: str,
        password: str,
        client: Client = OPERATOR,
        *,
        roles: Iterable[str] = (),
        invitation: str | None = None,
    ) -> Account:
        """The new account. With the code of an invitation, it has the roles of that; and the
        invitation is used, if the account is made.

        Raises UnacceptableUsername, UnacceptablePassword, UnacceptableRoles, UsernameTaken,
        UnusableCode, and Throttled for a peer that has made many accounts, or tries many names to
        see which are taken.
        """
        self._refuse_unfit_name(username)
        self._refuse_unfit(password, username)
        first_roles = changed((), roles, ())
        self._throttle.check("", client)
        self._throttle.check_registration(client)
        selector = None
        if invitation is not None:  # first: without one, no name can be found out
            _, selector = self._invitations.verify(invitation, self._find_invitation, client)
        try:
            account, wait = self._add(username, password, client, first_roles, selector)
        except UsernameTaken:
            failed = self._throttle.reserve("", client)
            self._audit.record_failure(Event.REGISTRATION_FAILED, client, None, failed)
            raise
        details: dict[str, object] = {"roles": first_roles} if first_roles else {}
        if selector is not None:
            details["invitation"] = selector  # whose own event has the roles
        self._audit.record(Event.REGISTERED, client, account.id, **details)
        if wait:
            self._audit.record(Event.THROTTLED, client, seconds=wait)
        self._throttle.reset(canonical(username))
        return account

    def change_password(self, account: Account, password: str, client: Client) -> int:
        """Set a new password for the user, whose old one was just verified; all sessions end. The
        number of API keys, which live on.

        Raises UnacceptablePassword, and BadCredentials when the old one has meanwhile changed.
        """
        new_hash = self._hash_fit(password, account.username, client)
        count = self._count_keys(account)
        if not self._store.set_password_hash(account.id, new_hash, account.password_version):
            raise BadCredentials
        self._audit.record(Event.PASSWORD_CHANGED, client, account.id)
        return count

    def reset_password(self, unverified_code: str, password: str, client: Client) -> int:
        """Set a new password with a reset code; all sessions end, and failures are forgotten. The
        number of API keys, which live on.

        Raises UnusableCode, Throttled; UnacceptablePassword, and then the code can be used again.
        """
        _refuse_malformed(password)
        account, selector = self._reset_codes.verify(unverified_code, self._find_reset_code, client)
        new_hash = self._hash_fit(password, account.username, client)
        count = self._count_keys(account)
        if not self._store.use_reset_code(selector, new_hash, self._clock()):
            self._audit.record(Event.RESET_FAILED, client, account.id)
            raise UnusableCode
        self._audit.record(Event.PASSWORD_RESET, client, account.id)
        self._throttle.reset(canonical(account.username))
        return count

    def close(self, account: Account, client: Client) -> None:
        """Delete the account for its user, whose password was just verified.

        Raises BadCredentials when the password has meanwhile changed.
        """
        if not self._store.delete_user(account.id, account.password_version):
            raise BadCredentials
        self._audit.record(Event.DELETED, client, account.id)
        self._throttle.reset(canonical(account.username))

    # For the operator: the command line, or a user with the role, whom `client` names. Those that
    # change an account raise UnknownUser when it has been deleted meanwhile.

    def check_new_name(self, username: str) -> None:
        """Return if a new account could have that name now. Raises UnacceptableUsername,
        UsernameTaken."""
        self._refuse_unfit_name(username)
        if self._store.find_user_by_name(canonical(username)):
            raise UsernameTaken

    def failures_of(self, account: Account) -> NameFailures:
        """The failed logins since the last one that succeeded."""
        return self._throttle.failures_of(canonical(account.username))

    def rename(self, account: Account, username: str, client: Client = OPERATOR) -> None:
        """Give the account another name; its sessions and its password stay. Failures of both names
        are forgotten. Raises UnacceptableUsername, UsernameTaken."""
        self._refuse_unfit_name(username)
        store = self._operators.store_for(client)
        is_renamed = store.rename_user(account.id, username, canonical(username))
        if is_renamed is None:
            raise UsernameTaken
        _refuse_deleted(is_renamed)
        self._audit.record(Event.RENAMED, client, account.id)
        for name in (account.username, username):
            self._throttle.reset(canonical(name))

    def set_password(self, account: Account, password: str) -> int:
        """Set a new password; all sessions end, and failures are forgotten. The number of API keys,
        which live on.

        Raises UnacceptablePassword.
        """
        new_hash = self._hash_fit(password, account.username)
        count = self._count_keys(account)
        _refuse_deleted(self._store.set_password_hash(account.id, new_hash))
        self._audit.record(Event.PASSWORD_CHANGED, OPERATOR, account.id)
        self._throttle.reset(canonical(account.username))
        return count

    def make_reset_code(self, account: Account, client: Client = OPERATOR) -> IssuedCode:
        """A code that sets a new password once, within an hour. Raises AccountLocked, and
        OwnAccount: an API key with the role would become the password."""
        _refuse_own(
            account, client, "No operator makes a reset code for the own account: ask another one."
        )
        if account.locked_at is not None:
            raise AccountLocked
        code = one_time_codes.generate()
        expires_at = self._clock() + one_time_codes.RESET_DURATION
        store = self._operators.store_for(client)
        _refuse_deleted(
            store.set_reset_code(account.id, code.selector, code.secret_digest, expires_at)
        )
        self._audit.record(Event.RESET_CODE_MADE, client, account.id)
        return IssuedCode(code.build(), expires_at)

    def change_roles(
        self, account: Account, added: Iterable[str], removed: Iterable[str]
    ) -> tuple[str, ...]:
        """The roles after the change. Raises UnacceptableRoles."""
        added, removed = tuple(added), tuple(removed)
        return self._write_roles(account, lambda roles: changed(roles, added, removed), OPERATOR)

    def set_roles(
        self, account: Account, roles: Iterable[str], client: Client = OPERATOR
    ) -> tuple[str, ...]:
        """Exactly these roles, in alphabetical order. Raises UnacceptableRoles, OwnAccount."""
        new_roles = changed((), roles, ())
        if self._operators.role not in new_roles:
            _refuse_own(account, client)
        return self._write_roles(account, lambda _: new_roles, client)

    def lock(self, account: Account, client: Client = OPERATOR) -> None:
        """Refuse every credential of this account from now on; sessions and API keys end. Raises
        OwnAccount."""
        _refuse_own(account, client)
        _refuse_deleted(self._operators.store_for(client).lock_user(account.id, self._clock()))
        self._audit.record(Event.LOCKED, client, account.id)

    def unlock(self, account: Account, client: Client = OPERATOR) -> None:
        """Accept the password again, and forget its failures."""
        _refuse_deleted(self._operators.store_for(client).unlock_user(account.id))
        self._audit.record(Event.UNLOCKED, client, account.id)
        self._throttle.reset(canonical(account.username))

    def delete(self, account: Account, client: Client = OPERATOR) -> None:
        """Delete the account and all that belongs to it. Its id is never used again. Raises
        OwnAccount."""
        _refuse_own(account, client)
        _refuse_deleted(self._operators.store_for(client).delete_user(account.id))
        self._audit.record(Event.DELETED, client, account.id)
        self._throttle.reset(canonical(account.username))

    def _count_keys(self, account: Account) -> int:
        """Asked before anything is changed: a store that fails then leaves nothing half done."""
        return self._store.count_api_keys(account.id, self._clock())

    def _find_reset_code(self, selector: str) -> tuple[Account, str] | None:
        found = self._store.find_reset_code(selector, self._clock())
        account = self._store.find_user(found[0]) if found else None
        return (account, found[1]) if found and account else None

    def _find_invitation(self, selector: str) -> tuple[None, str] | None:
        secret_digest = self._store.find_invitation(selector, self._clock())
        return (None, secret_digest) if secret_digest else None

    def _add(
        self,
        username: str,
        password: str,
        client: Client,
        roles: tuple[str, ...],
        invitation: str | None,
    ) -> tuple[Account, int]:
        """The new account, and the seconds until the client may make another one.

        `invitation` is the selector of a verified one. Raises UsernameTaken, Throttled, Busy, and
        UnusableCode when the invitation was used meanwhile.
        """
        name = canonical(username)
        # This look-up only saves the hash; the unique index decides.
        if self._store.find_user_by_name(name):
            raise UsernameTaken
        with self._throttle.registration(client) as wait:
            new_hash, now = self._hash(password, client), self._clock()
            if invitation is None:
                store = self._operators.store_for(client)
                account = store.add_user(username, name, new_hash, now, roles)
            else:
                is_usable, account = self._store.add_invited_user(
                    invitation, username, name, new_hash, now
                )
                if not is_usable:
                    self._audit.record(Event.REGISTRATION_FAILED, client)
                    raise UnusableCode
            if account is None:
                raise UsernameTaken
        return account, wait

    def _write_roles(
        self,
        account: Account,
        change: Callable[[tuple[str, ...]], tuple[str, ...]],
        client: Client,
    ) -> tuple[str, ...]:
        new_roles = self._operators.store_for(client).change_roles(account.id, change)
        if new_roles is None:
            raise UnknownUser
        self._audit.record(Event.ROLES_CHANGED, client, account.id, roles=new_roles)
        return new_roles

    def _refuse_unfit_name(self, username: str) -> None:
        if not isinstance(username, str):
            raise UnacceptableUsername(f"A username is a str, not {type(username).__name__}.")
        if not is_possible(username) or not self._username_pattern.fullmatch(username):
            raise UnacceptableUsername(f"A username must match {self._username_pattern.pattern}")

    def _refuse_unfit(self, password: str, username: str) -> None:
        _refuse_malformed(password)
        gate.before_waiting()  # for `password_check`, which may be anything
        fault = self._find_fault(password, username)
        if fault:
            raise UnacceptablePassword(fault)

    def _hash_fit(self, password: str, username: str, client: Client = OPERATOR) -> str:
        self._refuse_unfit(password, username)
        return self._hash(password, client)

    def _hash(self, password: str, client: Client) -> str:
        def work() -> str:
            with self._limiter.slot:
                return self._hasher.hash(password)

        # The last place is kept for a login: a flood of registrations must not stop all logins.
        return self._limiter.run(work, network=network_of(client.peer, WIDE_PREFIX), leave=1)


def _refuse_malformed(password: str) -> None:
    if not isinstance(password, str):
        raise UnacceptablePassword(f"A password is a str, not {type(password).__name__}.")
    fault = find_form_fault(password)
    if fault:
        raise UnacceptablePassword(fault)


def _known(account: Account | None) -> Account:
    if account is None:
        raise UnknownUser
    return account


def _refuse_own(account: Account, client: Client, detail: str | None = None) -> None:
    if client.operator_id == account.id:
        raise OwnAccount(detail)


def _refuse_deleted(is_found: bool) -> None:
    if not is_found:  # the account was deleted after it was read
        raise UnknownUser
