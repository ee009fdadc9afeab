"""Identification: from what a request claims to the verified caller.

Rule: the one way from a claim to a `Caller`. A token is valid while its session lives, an API key
while it exists; the store is asked each time, so that what ends one ends it at once, in every
process. Without a store ("stateless") the signing keys alone decide: a token is valid until it
expires, with the roles that it was issued with; no password and no API key is accepted.
"""

from collections.abc import Callable
from dataclasses import dataclass

from restauth.core.access_tokens import AccessTokens, is_token_shaped
from restauth.core.api_keys import is_key_shaped, parse
from restauth.core.authorization import Basic, Bearer
from restauth.core.keyring import Key
from restauth.core.names import canonical
from restauth.core.roles import limit
from restauth.domain.authentication import Authentication
from restauth.errors import BadCredentials
from restauth.records import Caller, Client, How, User
from restauth.storage.store import Store

Identify = Callable[[Basic | Bearer | None, Client], Caller | None]


def read(claim: Basic | Bearer) -> tuple[How, str, str]:
    """Which credential is presented, beside which username (empty for none), and its text."""
    text = claim.token if isinstance(claim, Bearer) else claim.user_id
    if is_key_shaped(text):
        return "key", "", text
    # REST-auth's contract: a token in place of the name.
    if isinstance(claim, Bearer) or is_token_shaped(text):
        return "token", "", text
    how: How = "key" if is_key_shaped(claim.password) else "password"
    return how, claim.user_id, claim.password


@dataclass(slots=True)
class Identification:
    """Stateless without `store` and `authentication`. `find_key` gives the key of a `kid`, or None;
    it may raise KeysUnavailable. `clock` gives epoch seconds."""

    find_key: Callable[[str], Key | None]
    _tokens: AccessTokens
    clock: Callable[[], int]
    store: Store | None = None
    authentication: Authentication | None = None

    def identify(self, claim: Basic | Bearer | None, client: Client) -> Caller | None:
        """The caller; None for a request without a claim.

        Raises BadCredentials when the claim is wrong; Throttled, Busy, StoreUnavailable,
        KeysUnavailable.
        """
        if claim is None:
            return None
        how, username, secret = read(claim)
        if how == "key":
            return self._verify_key(username, secret)
        if how == "token":
            return self._verify_token(secret)
        return self._verify_password(username, secret, client)

    def _verify_token(self, token: str) -> Caller:
        now = self.clock()
        claims = self._tokens.verify(token, self.find_key, now)
        if self.store is None:
            user = User(claims.user_id, claims.username, claims.roles, claims.session_id, "token")
            return Caller(user, None)
        session = self.store.find_session(claims.session_id, now)
        if session is None or session.user_id != claims.user_id:
            raise BadCredentials
        user = User(session.user_id, session.username, session.roles, session.id, "token")
        return Caller(user, session)

    def _verify_key(self, username: str, text: str) -> Caller:
        if self.store is None:
            raise BadCredentials
        parts, now = parse(text), self.clock()
        key = self.store.find_live_api_key(parts.id, now)
        if key is None or not parts.matches(key.secret_digest):
            raise BadCredentials
        if username and canonical(username) != canonical(key.username):
            raise BadCredentials
        self.store.note_api_key_use(key, now)
        user = User(key.user_id, key.username, limit(key.user_roles, key.roles), None, "key")
        return Caller(user, None)

    def _verify_password(self, username: str, password: str, client: Client) -> Caller:
        if self.authentication is None:
            raise BadCredentials
        account = self.authentication.authenticate(username, password, client)
        return Caller(User(account.id, account.username, account.roles, None, "password"), account)
