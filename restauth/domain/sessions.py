"""Sessions: begin one, issue and renew its tokens, end it.

Rule: a session begins with a password that was just verified (or by the operator), and nothing
prolongs it. A refresh token is replaced at its first use; a use more than `REFRESH_GRACE` seconds
later means that it was stolen, and the session is ended. Whether a token is valid is decided by
`domain.identification`.
"""

from collections.abc import Callable
from dataclasses import replace

from restauth.core import refresh_tokens, session_ids
from restauth.core.access_tokens import Claims
from restauth.core.keyring import Key
from restauth.core.refresh_tokens import RefreshClaims
from restauth.core.token_issuing import TokenIssuing
from restauth.domain.audit import AuditLog, Event
from restauth.domain.keys import SigningKeys
from restauth.domain.operators import Operators
from restauth.errors import BadCredentials
from restauth.records import OPERATOR, Account, Client, IssuedTokens, LiveSession, Session, User
from restauth.storage.store import Store

# Seconds in which a replaced refresh token gives the current one: a reply was lost, or several tabs
# refresh at once. They are counted for each token from the time when it was replaced, and such a
# use replaces nothing. So a thief gains no time by refreshing, neither with the stolen token nor
# with its successors: of two clients that hold one token, the one that comes more than 10 s after
# the other ends the session. A clock that was set back adds what it was set back by, 10 s at most.
REFRESH_GRACE = 10


class Sessions:
    """Durations are in seconds; `clock` gives epoch seconds. Every method may raise
    StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        keys: SigningKeys,
        tokens: TokenIssuing,
        audit: AuditLog,
        operators: Operators,
        *,
        token_duration: int,
        session_duration: int,
        refresh_duration: int,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._keys = keys
        self._tokens = tokens
        self._audit = audit
        self._operators = operators
        self._token_duration = token_duration
        self._session_duration = session_duration
        self._refresh_duration = refresh_duration
        self._clock = clock

    def start(self, account: Account, client: Client) -> IssuedTokens:
        """Begin a session with a refresh token, which renews its access tokens until its end.

        Raises BadCredentials when the account has changed since its password was verified.
        """
        now = self._clock()
        session = replace(
            self._new_session(account, client, now),
            expires_at=now + self._refresh_duration,
            refresh_counter=0,
            rotated_at=now,
        )
        self._add(session, account, client)
        return self._issue(session, now, session.refresh_counter)

    def issue(self, proof: Account | LiveSession, client: Client) -> IssuedTokens:
        """An access token: of a new session after a password, of the same session after a token.

        Raises BadCredentials when the account has changed since its password was verified, when
        the session has ended, or when its tokens cannot be renewed any more.
        """
        now = self._clock()
        if isinstance(proof, Account):
            session = self._new_session(proof, client, now)
            self._add(session, proof, client)
            return self._issue(session, now)
        if not self._store.touch_session(proof.id, now):
            raise BadCredentials
        self._audit.record(Event.TOKEN_RENEWED, client, proof.user_id, session_id=proof.id)
        return self._issue(proof, now)

    def preview(self, proof: Account | LiveSession, client: Client) -> IssuedTokens:
        """What `issue` would give, in form and length, without beginning anything: for HEAD."""
        now = self._clock()
        if isinstance(proof, Account):
            return self._issue(self._new_session(proof, client, now), now)
        if proof.renewable_until <= now:
            raise BadCredentials
        return self._issue(proof, now)

    def refresh(self, refresh_token: str, client: Client) -> IssuedTokens:
        """A new access token and the current refresh token, after the one that was used.

        Raises BadCredentials, the same for all causes.
        """
        now = self._clock()
        claims = refresh_tokens.verify(refresh_token, self._find_key)
        was_current, session = self._store.rotate_session(
            claims.session_id, claims.counter, now, now + self._session_duration, REFRESH_GRACE
        )
        if session is None:  # it has ended, or the user is locked
            self._audit.record(Event.REFRESH_FAILED, client, session_id=claims.session_id)
            raise BadCredentials
        if not was_current:
            self._store.end_session(session.id, session.user_id)
            self._audit.record(Event.REFRESH_REUSE, client, session.user_id, session_id=session.id)
            raise BadCredentials
        self._audit.record(Event.REFRESHED, client, session.user_id, session_id=session.id)
        return self._issue(session, now, session.refresh_counter)

    def list(self, user_id: int) -> list[Session]:
        """The live sessions of the user, the one used last first."""
        return self._store.list_sessions(user_id, self._clock())

    def end(self, user: User, session_id: str, client: Client) -> bool:
        """End the session, and with it all its tokens. False when the user has no such session."""
        has_ended = self._store.end_session(session_id, user.id)
        if has_ended:
            self._audit.record(Event.SESSION_ENDED, client, user.id, session_id=session_id)
        return has_ended

    def end_all(self, user_id: int, client: Client = OPERATOR) -> int:
        """End all sessions of the user. The number of them. Raises as `Operators.store_for`."""
        count = self._operators.store_for(client).end_sessions(user_id)
        self._audit.record(Event.SESSIONS_ENDED, client, user_id, count=count)
        return count

    def _new_session(self, account: Account, client: Client, now: int) -> Session:
        """A session that is not stored yet, without refresh tokens."""
        end = now + self._session_duration
        return Session(
            id=session_ids.generate(),
            user_id=account.id,
            username=account.username,
            roles=account.roles,
            created_at=now,
            last_used_at=now,
            expires_at=end,
            renewable_until=end,
            refresh_counter=None,
            rotated_at=None,
            peer=client.peer,
            user_agent=client.user_agent,
        )

    def _add(self, session: Session, account: Account, client: Client) -> None:
        if not self._store.add_session(session, account.password_version):
            raise BadCredentials
        self._audit.record(Event.SESSION_STARTED, client, account.id, session_id=session.id)

    def _issue(
        self, session: Session | LiveSession, now: int, refresh_counter: int | None = None
    ) -> IssuedTokens:
        """An access token for the session, and the refresh token of that counter."""
        key = self._keys.ring.signing_key
        duration = min(self._token_duration, session.expires_at - now)
        claims = Claims(
            session.user_id, session.id, session.username, session.roles, now, now + duration
        )
        issued = IssuedTokens(session.id, self._tokens.issue(claims, key), duration)
        if refresh_counter is None:
            return issued
        return replace(
            issued,
            refresh_token=refresh_tokens.build(RefreshClaims(session.id, refresh_counter), key),
            refresh_duration=session.expires_at - now,
        )

    def _find_key(self, kid: str) -> Key | None:
        return self._keys.find(kid, self._refresh_duration)
