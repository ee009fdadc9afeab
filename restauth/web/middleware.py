"""The guard: a WSGI app that gets only requests with a verified identity, or anonymous ones.

Rule: the identity that came from outside is removed before anything else is done. `web.identity`
finds and sets the verified one, and `web.guard_rules` says whether the app gets the request.
"""

from collections.abc import Iterable
from functools import partial
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from restauth.domain.identification import Identify
from restauth.errors import BadCredentials, Refusal
from restauth.settings import Settings
from restauth.web import problems
from restauth.web.guard_rules import GuardRules, check_guard, is_exempt
from restauth.web.http import send
from restauth.web.identity import identify, remove_identity, scheme_of

# A WSGI callable with which a guarded app answers 401 by itself, with the right challenges.
UNAUTHORIZED_KEY = "restauth.unauthorized"

_UNAUTHORIZED = BadCredentials()  # described in a response, and never raised


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
