"""API keys: make one, list them, end them.

Rule: a key is made with a password that was just verified (or by the operator), and shown once. A
key makes no key and begins no session. It lives until it expires or is ended; a lock ends all keys
of the account, and a new password ends none. Whether a key is valid is decided by
`domain.identification`.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping

from restauth.core.api_keys import ID_PATTERN, KeyParts
from restauth.core.roles import is_role
from restauth.domain.audit import AuditLog, Event
from restauth.domain.operators import Operators
from restauth.errors import BadCredentials, TooManyKeys, UnacceptableKey, UnknownKey
from restauth.records import OPERATOR, Account, ApiKey, Client, IssuedKey
from restauth.storage.store import MAX_API_KEYS, Store

MAX_NAME_LENGTH = 64  # characters
MAX_DURATION = 3650 * 86_400  # seconds: ten years

_PREFIX = re.compile(rf"rak_(?P<id>{ID_PATTERN})(_.*)?", re.DOTALL)


class ApiKeys:
    """`clock` gives epoch seconds. Every method may raise StoreUnavailable."""

    def __init__(
        self, store: Store, audit: AuditLog, operators: Operators, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._audit = audit
        self._operators = operators
        self._clock = clock

    def make(
        self,
        account: Account,
        name: object,
        client: Client = OPERATOR,
        *,
        roles: object = None,
        expires_in: object = None,
    ) -> IssuedKey:
        """A new key of the user: a `name` of 1 to 64 printable characters that are not all blanks,
        a list of `roles` that the user has (None for all of them, now and later), and `expires_in`,
        the seconds that it lives (None for no end). All three are checked here.

        Raises UnacceptableKey, TooManyKeys, and BadCredentials when the account has changed since
        its password was verified.
        """
        now = self._clock()
        parts = KeyParts(secrets.token_hex(10), secrets.token_hex(20))
        key = ApiKey(
            id=parts.id,
            user_id=account.id,
            username=account.username,
            user_roles=account.roles,
            name=_parse_name(name),
            roles=_parse_roles(roles, account),
            secret_digest=parts.secret_digest,
            created_at=now,
            expires_at=None if expires_in is None else now + _parse_duration(expires_in),
        )
        is_added = self._store.add_api_key(key, account.password_version)
        if is_added is None:
            raise TooManyKeys(f"A user has at most {MAX_API_KEYS} API keys: end one first.")
        if not is_added:
            raise BadCredentials
        self._audit.record(Event.API_KEY_MADE, client, account.id, key_id=key.id)
        return IssuedKey(key, parts.build())

    def list(self, user_id: int) -> list[ApiKey]:
        """The keys of the user that have not expired, the newest first."""
        return self._store.list_api_keys(user_id, self._clock())

    def find(self, unverified_text: str) -> ApiKey:
        """For the operator: the key with that prefix, whatever follows it, even if the key has
        expired. Raises UnknownKey."""
        match = _PREFIX.fullmatch(unverified_text.strip())
        if match is None:
            raise UnknownKey(
                "This is not the prefix of an API key: rak_ and 20 hexadecimal digits."
            )
        key = self._store.find_api_key(match["id"])
        if key is None:
            raise UnknownKey
        return key

    def end(self, user_id: int, key_id: str, client: Client = OPERATOR) -> bool:
        """End the key. False when the user has no such key."""
        has_ended = self._store.end_api_key(key_id, user_id)
        if has_ended:
            self._audit.record(Event.API_KEY_ENDED, client, user_id, key_id=key_id)
        return has_ended

    def end_all(self, user_id: int, client: Client = OPERATOR) -> int:
        """End all keys of the user. The number of them. Raises as `Operators.store_for`."""
        count = self._operators.store_for(client).end_api_keys(user_id)
        self._audit.record(Event.API_KEYS_ENDED, client, user_id, count=count)
        return count


def _parse_name(name: object) -> str:
    if not isinstance(name, str) or not name.isprintable():
        raise UnacceptableKey("The name of a key is a text of printable characters.")
    if not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise UnacceptableKey(
            f"The name of a key has 1 to {MAX_NAME_LENGTH} characters, and not only blanks."
        )
    return name


def _parse_roles(roles: object, account: Account) -> tuple[str, ...] | None:
    if roles is None:
        return None
    if isinstance(roles, str | Mapping) or not isinstance(roles, Iterable):
        raise UnacceptableKey("The roles of a key are a list of texts.")
    chosen = tuple(roles)
    if not all(is_role(role) for role in chosen) or not set(chosen) <= set(account.roles):
        raise UnacceptableKey("A key has only roles that its user has.")
    return tuple(sorted(set(chosen)))


def _parse_duration(expires_in: object) -> int:
    if type(expires_in) is not int or not 1 <= expires_in <= MAX_DURATION:
        raise UnacceptableKey(f"expires_in is a number of seconds, from 1 to {MAX_DURATION}.")
    return expires_in
