"""The guard: a WSGI app that gets only requests with a verified identity, or anonymous ones.

Rule: no identity from outside survives. Whatever a client or an outer server put under our keys is
removed first, and only a verified identity is set. Credentials that are presented and wrong are
refused: the request never becomes anonymous.
"""

from collections.abc import Iterable
from functools import partial
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from restauth.core import authorization
from restauth.domain.identification import Identify
from restauth.errors import BadCredentials, HttpsRequired, Refusal
from restauth.records import Caller, User
from restauth.settings import Settings
from restauth.web import problems
from restauth.web.guard_rules import GuardRules, check_guard, is_exempt
from restauth.web.http import client_of, send

USER_KEY = "restauth.user"
IDENTITY_KEYS = (USER_KEY, "REMOTE_USER", "AUTH_TYPE")
# A WSGI callable with which a guarded app answers 401 by itself, with the right challenges.
UNAUTHORIZED_KEY = "restauth.unauthorized"

_UNAUTHORIZED = BadCredentials()  # described in a response, and never raised


def remove_identity(environ: WSGIEnvironment) -> None:
    """Make the request anonymous, whatever it claims to be."""
    for key in IDENTITY_KEYS:
        environ.pop(key, None)
    environ[USER_KEY] = None


def scheme_of(environ: WSGIEnvironment) -> str:
    """The scheme of the Authorization header, in lower case; empty without one."""
    return authorization.scheme_of(environ.get("HTTP_AUTHORIZATION", ""))


def identify(
    environ: WSGIEnvironment, scheme: str, verify: Identify, *, require_https: bool
) -> Caller | None:
    """Who sent the request; None when it presents no credentials for us.

    `scheme` is `scheme_of(environ)`, and `verify` turns a claim into the caller. Sets
    `restauth.user`, `REMOTE_USER` and `AUTH_TYPE`. Raises BadCredentials when what is presented is
    wrong; HttpsRequired, Throttled, Busy, StoreUnavailable, KeysUnavailable.
    """
    text = environ.get("HTTP_AUTHORIZATION")
    if not text:  # absent, or emptied by a proxy
        return None
    if require_https and environ["wsgi.url_scheme"] != "https":
        raise HttpsRequired  # before the header is read: no challenge may ask for it again
    caller = verify(authorization.parse(text, scheme), client_of(environ))
    if caller is not None:
        _set_identity(environ, caller.user, scheme)
    return caller


def _set_identity(environ: WSGIEnvironment, user: User, scheme: str) -> None:
    environ[USER_KEY] = user
    # PEP 3333: strings of the environ hold bytes as latin-1 characters.
    environ["REMOTE_USER"] = user.username.encode("utf-8").decode("latin-1")
    environ["AUTH_TYPE"] = scheme.capitalize()


class Guard:
    """Any WSGI app, guarded: `environ["restauth.user"]` is a verified `User` or None.

    `verify` turns a claim into the caller. Of the settings, `realm` and `require_https` apply.
    """

    def __init__(
        self, app: WSGIApplication, verify: Identify, rules: GuardRules, settings: Settings
    ) -> None:
        self._app = app
        self._verify = verify
        self._rules = rules
        self._realm = settings.realm
        self._require_https = settings.require_https

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        remove_identity(environ)
        scheme = scheme_of(environ)
        environ[UNAUTHORIZED_KEY] = partial(self._refuse, _UNAUTHORIZED, scheme)
        if not is_exempt(environ.get("PATH_INFO", ""), self._rules.exempt):
            try:
                caller = identify(environ, scheme, self._verify, require_https=self._require_https)
                check_guard(self._rules, caller)
            except Refusal as refusal:
                return self._refuse(refusal, scheme, environ, start_response)
        return self._app(environ, start_response)

    def _refuse(
        self, refusal: Refusal, scheme: str, environ: WSGIEnvironment, start_response: StartResponse
    ) -> list[bytes]:
        return send(problems.refuse(refusal, environ, scheme, self._realm), environ, start_response)
