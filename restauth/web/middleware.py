"""An Authorization header becomes an environ user.

Rule: no identity from outside survives. Whatever a client or an outer server put under our keys is
removed first, and only what is verified here is set. Presented but wrong is refused: it never
becomes anonymous.
"""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from restauth import settings
from restauth.core import authorization
from restauth.core.authorization import Bearer
from restauth.core.tokens import is_token_shaped
from restauth.errors import BadCredentials, HttpsRequired, Refusal
from restauth.records import Caller, User
from restauth.services import Services, start_services
from restauth.web import problems
from restauth.web.wire import client_of, send

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
    text = environ.get("HTTP_AUTHORIZATION")
    if text is None:
        return None
    if services.settings.require_https and environ["wsgi.url_scheme"] != "https":
        raise HttpsRequired
    credentials = authorization.parse(text)
    if credentials is None:
        return None
    if isinstance(credentials, Bearer):
        caller, scheme = services.sessions.identify(credentials.token), "Bearer"
    elif is_token_shaped(credentials.user_id):
        caller, scheme = services.sessions.identify(credentials.user_id), "Basic"
    else:
        account = services.logins.authenticate(
            credentials.user_id, credentials.password, client_of(environ)
        )
        user = User(account.id, account.username, account.roles, None, "password")
        caller, scheme = Caller(user, account), "Basic"
    environ["restauth.user"] = caller.user
    # PEP 3333: environ strings hold bytes as latin-1 characters.
    environ["REMOTE_USER"] = caller.user.username.encode("utf-8").decode("latin-1")
    environ["AUTH_TYPE"] = scheme
    return caller


class AuthMiddleware:
    """Any WSGI app, guarded: `environ["restauth.user"]` is a verified `User` or None.

    With `required`, who presents nothing gets 401 and the app is not called. The other keywords
    are settings, as for `create_app`. Raises InvalidSetting, UnusableStore, UnusableKeyRing.
    """

    def __init__(self, app: WSGIApplication, *, required: bool = False, **keywords: object) -> None:
        self._app = app
        self._required = required
        self.services = start_services(settings.load(os.environ, keywords))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        remove_identity(environ)
        try:
            if identify(environ, self.services) is None and self._required:
                raise BadCredentials
        except Refusal as refusal:
            response = problems.refuse(refusal, environ, self.services.settings.realm)
            return send(response, environ, start_response)
        return self._app(environ, start_response)
