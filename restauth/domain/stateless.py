"""Who you are, by token, where no store is at hand.

Rule: the keys alone decide. What only a store knows (logout, lock, deletion, a new password, the
roles of this moment) is not known here: a token is good until it expires, with the roles that it
was given.
"""

from collections.abc import Callable

from restauth.core.access_tokens import AccessTokens
from restauth.domain.keys import SigningKeys
from restauth.records import User


class StatelessTokens:
    """`token_duration` is in seconds, `clock` gives epoch seconds."""

    def __init__(
        self, keys: SigningKeys, tokens: AccessTokens, token_duration: int, clock: Callable[[], int]
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._token_duration = token_duration
        self._clock = clock

    def identify(self, token: str) -> User:
        """Whom the token was made for. Raises BadCredentials."""
        claims = self._tokens.verify(
            token, lambda kid: self._keys.find(kid, self._token_duration), self._clock()
        )
        return User(claims.user_id, claims.username, claims.roles, claims.session_id, "token")
