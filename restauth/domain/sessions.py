"""Who you are, by token.

Rule: a token is good only while its session lives, and that is asked of the store each time:
logout, lock, deletion and a new password end every token at once, in every process. A session
begins with a password that was just verified, and nothing prolongs it. A refresh token is good for
one turn; whoever comes with an older one has stolen it or was robbed, and the session ends.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace

from restauth.core import refresh_tokens
from restauth.core.access_tokens import AccessTokens, Claims
from restauth.core.refresh_tokens import RefreshClaims
from restauth.domain.audit import Event, record
from restauth.domain.keys import SigningKeys
from restauth.errors import BadCredentials
from restauth.records import OPERATOR, Account, Caller, Client, IssuedTokens, Session, User
from restauth.storage.store import Store

GRACE = 10  # seconds in which the turn before is answered again: a lost reply, two tabs


class Sessions:
    """Durations are in seconds. Every method may raise StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        keys: SigningKeys,
        tokens: AccessTokens,
        *,
        token_duration: int,
        session_duration: int,
        refresh_duration: int,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._keys = keys
        self._tokens = tokens
        self._token_duration = token_duration
        self._session_duration = session_duration
        self._refresh_duration = refresh_duration
        self._clock = clock

    def identify(self, token: str) -> Caller:
        """Whose token it is. Raises BadCredentials."""
        now = self._clock()
        claims = self._tokens.verify(
            token, lambda kid: self._keys.find(kid, self._token_duration), now
        )
        session = self._store.find_session(claims.session_id, now)
        if session is None or session.user_id != claims.user_id:
            raise BadCredentials
        user = User(session.user_id, session.username, session.roles, session.id, "token")
        return Caller(user, session)

    def start(self, account: Account, client: Client) -> IssuedTokens:
        """Begin a session whose access tokens a refresh token keeps renewing, until its own end.

        Raises BadCredentials when the account has changed since its password was verified.
        """
        now = self._clock()
        end = now + self._refresh_duration
        session = replace(
            self._new_session(account, client, now),
            expires_at=end,
            refresh_counter=0,
            rotated_at=now,
        )
        self._add(session, account, client)
        return self._issue(session, now)

    def issue(self, caller: Caller, client: Client) -> IssuedTokens:
        """A new token: by password it begins a session, by token it stays in that one.

        Raises BadCredentials when the proof has lost its worth while it was on its way here, or
        when the tokens of the session do not renew each other any more.
        """
        now = self._clock()
        if isinstance(caller.proof, Account):
            session = self._new_session(caller.proof, client, now)
            self._add(session, caller.proof, client)
        else:
            session = caller.proof
            if not self._store.touch_session(session.id, now):
                raise BadCredentials
            record(Event.TOKEN_RENEWED, client, now, session.user_id, session_id=session.id)
        return self._issue(replace(session, refresh_counter=None), now)

    def preview(self, caller: Caller, client: Client) -> IssuedTokens:
        """What `grant` would answer, in form and length, with nothing begun: for HEAD."""
        now = self._clock()
        if isinstance(caller.proof, Account):
            return self._issue(self._new_session(caller.proof, client, now), now)
        if caller.proof.renewable_until <= now:
            raise BadCredentials
        return self._issue(replace(caller.proof, refresh_counter=None), now)

    def refresh(self, refresh_token: str, client: Client) -> IssuedTokens:
        """The next turn: a new access token and the next refresh token.

        Raises BadCredentials, one for all causes.
        """
        now = self._clock()
        turn = refresh_tokens.parse(
            refresh_token, lambda kid: self._keys.find(kid, self._refresh_duration)
        )
        is_next, session = self._store.rotate_session(
            turn.session_id, turn.counter, now, now + self._session_duration
        )
        if session is None:  # ended, expired, or of a locked user
            record(Event.REFRESH_FAILED, client, now, session_id=turn.session_id)
            raise BadCredentials
        if not is_next and not _is_in_grace(turn, session, now):
            self._store.end_session(session.id, session.user_id)
            record(Event.REFRESH_REUSE, client, now, session.user_id, session_id=session.id)
            raise BadCredentials
        record(Event.REFRESHED, client, now, session.user_id, session_id=session.id)
        return self._issue(session, now)

    def list(self, user: User) -> list[Session]:
        """The user's live sessions, the one used last first."""
        return self._store.list_sessions(user.id, self._clock())

    def end(self, user: User, session_id: str, client: Client) -> bool:
        """Every token of the session is dead from now on. False when it is not the user's."""
        has_ended = self._store.end_session(session_id, user.id)
        if has_ended:
            record(Event.SESSION_ENDED, client, self._clock(), user.id, session_id=session_id)
        return has_ended

    def end_all(self, user_id: int, client: Client = OPERATOR) -> int:
        """End all sessions of the user; how many there were."""
        count = self._store.end_sessions(user_id)
        record(Event.SESSIONS_ENDED, client, self._clock(), user_id, count=count)
        return count

    def _new_session(self, account: Account, client: Client, now: int) -> Session:
        """A session that is not stored yet, without a refresh token."""
        end = now + self._session_duration
        return Session(
            id=secrets.token_urlsafe(16),  # 128 random bits
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
        record(Event.SESSION_STARTED, client, session.created_at, account.id, session_id=session.id)

    def _issue(self, session: Session, now: int) -> IssuedTokens:
        """Tokens for a session: the access token, and the refresh token if it has a turn."""
        key = self._keys.ring.signing_key
        duration = min(self._token_duration, session.expires_at - now)
        claims = Claims(
            session.user_id, session.id, session.username, session.roles, now, now + duration
        )
        grant = IssuedTokens(session.id, self._tokens.issue(claims, key), duration)
        if session.refresh_counter is None:
            return grant
        refresh_token = refresh_tokens.build(
            RefreshClaims(session.id, session.refresh_counter), key
        )
        return replace(
            grant, refresh_token=refresh_token, refresh_duration=session.expires_at - now
        )


def _is_in_grace(turn: RefreshClaims, session: Session, now: int) -> bool:
    """Whether this is the turn just before the current one, moments after it was given on."""
    return (
        session.refresh_counter == turn.counter + 1
        and session.rotated_at is not None
        and abs(now - session.rotated_at) <= GRACE
    )
