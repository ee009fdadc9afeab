"""Who you are, by token.

Rule: a token is good only while its session lives, and that is asked of the store each time:
logout, lock, deletion and a new password end every token at once, in every process. A session
begins with a password that was just verified, and nothing prolongs it.
"""

import secrets
from collections.abc import Callable

from restauth.core.tokens import AccessTokens, Claims
from restauth.errors import BadCredentials
from restauth.keys import Keys
from restauth.records import Account, Caller, Grant, Session, User
from restauth.storage.store import Store


class Sessions:
    """Durations are in seconds. Every method may raise StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        tokens: AccessTokens,
        *,
        token_duration: int,
        session_duration: int,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._keys = keys
        self._tokens = tokens
        self._token_duration = token_duration
        self._session_duration = session_duration
        self._clock = clock

    def identify(self, token: str) -> Caller:
        """Whose token it is. Raises BadCredentials."""
        now = self._clock()
        claims = self._tokens.verify(token, self._keys.find, now)
        session = self._store.find_session(claims.session_id, claims.user_id, now)
        if session is None:
            raise BadCredentials
        user = User(session.user_id, session.username, (), session.id, "token")
        return Caller(user, session)

    def grant(self, caller: Caller) -> Grant:
        """A new token: by password it begins a session, by token it stays in that one.

        Raises BadCredentials when the proof has lost its worth while it was on its way here.
        """
        now = self._clock()
        session = self._session_of(caller.proof, now)
        if isinstance(caller.proof, Session):
            is_alive = self._store.touch_session(session.id, now)
        else:
            is_alive = self._store.add_session(session.id, caller.proof, now, session.expires_at)
        if not is_alive:
            raise BadCredentials
        return self._mint(session, now)

    def rehearse_grant(self, caller: Caller) -> Grant:
        """What `grant` would answer, in form and length, with nothing begun: for HEAD."""
        now = self._clock()
        return self._mint(self._session_of(caller.proof, now), now)

    def end(self, session: Session) -> None:
        """Logout: every token of the session is dead from now on."""
        self._store.end_session(session.id, session.user_id)

    def end_all(self, account: Account) -> int:
        """End all sessions of the account; how many there were."""
        return self._store.end_sessions(account.id)

    def _session_of(self, proof: Account | Session, now: int) -> Session:
        if isinstance(proof, Session):
            return proof
        session_id = secrets.token_urlsafe(16)  # 128 random bits
        expires_at = now + self._session_duration
        return Session(session_id, proof.id, proof.username, now, now, expires_at)

    def _mint(self, session: Session, now: int) -> Grant:
        duration = min(self._token_duration, session.expires_at - now)
        claims = Claims(session.user_id, session.id, session.username, (), now, now + duration)
        return Grant(self._tokens.mint(claims, self._keys.ring.signing_key), duration)
