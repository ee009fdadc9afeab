"""Identification: from what a request claims to the verified caller.

Rule: the one way from a claim to a `Caller`. A token is valid only while its session lives, and the
store is asked each time: a logout, a lock, a deletion or a new password ends every token at once,
in every process. Without a store ("stateless") the keys alone decide: a token is valid until it
expires, with the roles that it was issued with, and no password is accepted.
"""

from collections.abc import Callable
from dataclasses import dataclass

from restauth.core.access_tokens import AccessTokens, is_token_shaped
from restauth.core.authorization import Basic, Bearer
from restauth.core.keyring import Key
from restauth.domain.authentication import Authentication
from restauth.errors import BadCredentials
from restauth.records import Caller, Client, User
from restauth.storage.store import Store

Identify = Callable[[Basic | Bearer | None, Client], Caller | None]


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
        if isinstance(claim, Bearer):
            return self._verify_token(claim.token)
        if is_token_shaped(claim.user_id):  # REST-auth's contract: a token in place of the name
            return self._verify_token(claim.user_id)
        return self._verify_password(claim.user_id, claim.password, client)

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

    def _verify_password(self, username: str, password: str, client: Client) -> Caller:
        if self.authentication is None:
            raise BadCredentials
        account = self.authentication.authenticate(username, password, client)
        return Caller(User(account.id, account.username, account.roles, None, "password"), account)
