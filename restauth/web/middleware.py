"""An Authorization header becomes an environ user.

Rule: no identity from outside survives. Whatever a client or an outer server put under our keys is
removed first, and only what is verified here is set. Presented but wrong is refused: it never
becomes anonymous.
"""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from restauth import settings
from restauth.core import authorization, roles
from restauth.core.access_tokens import is_token_shaped
from restauth.core.authorization import Basic, Bearer
from restauth.errors import BadCredentials, HttpsRequired, InvalidSetting, Refusal, RoleRequired
from restauth.records import Caller, User
from restauth.services import (
    Services,
    StatelessServices,
    start_services,
    start_stateless_services,
)
from restauth.settings import Settings
from restauth.web import problems
from restauth.web.http import client_of, send

IDENTITY_KEYS = ("restauth.user", "REMOTE_USER", "AUTH_TYPE")


def remove_identity(environ: WSGIEnvironment) -> None:
    """Make the request anonymous, whatever it claims to be."""
    for key in IDENTITY_KEYS:
        environ.pop(key, None)
    environ["restauth.user"] = None


def identify(environ: WSGIEnvironment, services: Services) -> Caller | None:
    """Who sent the request; None when it presents nothing for us.

    Sets `restauth.user`, `REMOTE_USER` and `AUTH_TYPE`. Raises BadCredentials when what it
    presents is wrong, Throttled, HttpsRequired, Busy, StoreUnavailable.
    """
    match _presented(environ, services.settings):
        case Bearer(token):
            caller = services.sessions.identify(token)
        case Basic(username, password):
            account = services.authentication.authenticate(username, password, client_of(environ))
            user = User(account.id, account.username, account.roles, None, "password")
            caller = Caller(user, account)
        case _:
            return None
    _set_identity(environ, caller.user)
    return caller


def identify_by_keys(environ: WSGIEnvironment, services: StatelessServices) -> User | None:
    """As `identify`, where no store is at hand: a password is refused like a wrong one."""
    match _presented(environ, services.settings):
        case Bearer(token):
            user = services.tokens.identify(token)
        case Basic():
            raise BadCredentials
        case _:
            return None
    _set_identity(environ, user)
    return user


def _presented(environ: WSGIEnvironment, settings: Settings) -> Basic | Bearer | None:
    """What the request claims. A token in the place of the Basic username is a token."""
    text = environ.get("HTTP_AUTHORIZATION")
    if text is None:
        return None
    if settings.require_https and environ["wsgi.url_scheme"] != "https":
        raise HttpsRequired
    credentials = authorization.parse(text)
    if isinstance(credentials, Basic) and is_token_shaped(credentials.user_id):
        return Bearer(credentials.user_id)
    return credentials


def _set_identity(environ: WSGIEnvironment, user: User) -> None:
    environ["restauth.user"] = user
    # PEP 3333: environ strings hold bytes as latin-1 characters.
    environ["REMOTE_USER"] = user.username.encode("utf-8").decode("latin-1")
    scheme = authorization.scheme_of(environ["HTTP_AUTHORIZATION"])
    environ["AUTH_TYPE"] = scheme.capitalize()


class AuthMiddleware:
    """Any WSGI app, guarded: `environ["restauth.user"]` is a verified `User` or None.

    With `required`, who presents nothing gets 401 and the app is not called; with `role`, who has
    not that role gets 403 besides. With `stateless`, tokens are verified by the key ring alone and
    are good until they expire: no store is asked, nobody comes in by password, and the ring must be
    there. These flags may be text, `true` or `false`; the other keywords are settings, as for
    `create_app`. Raises InvalidSetting, UnusableStore, UnusableKeyRing.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        required: bool | str = False,
        role: str | None = None,
        stateless: bool | str = False,
        **keywords: object,
    ) -> None:
        if role is not None and not roles.is_role(role):
            raise InvalidSetting(f"role is {role!r}: nobody can have such a role.")
        self._app = app
        self._required = settings.read_flag("required", required) or role is not None
        self._role = role
        loaded = settings.load(os.environ, keywords)
        is_stateless = settings.read_flag("stateless", stateless)
        start = start_stateless_services if is_stateless else start_services
        self.services: Services | StatelessServices = start(loaded)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        remove_identity(environ)
        try:
            self._admit(self._identify(environ))
        except Refusal as refusal:
            response = problems.refuse(refusal, environ, self.services.settings.realm)
            return send(response, environ, start_response)
        return self._app(environ, start_response)

    def _identify(self, environ: WSGIEnvironment) -> User | None:
        if isinstance(self.services, StatelessServices):
            return identify_by_keys(environ, self.services)
        caller = identify(environ, self.services)
        return caller.user if caller else None

    def _admit(self, user: User | None) -> None:
        if user is None and self._required:
            raise BadCredentials
        if user is not None and self._role is not None and self._role not in user.roles:
            raise RoleRequired
