"""The WSGI callable.

Rule: the one straight path of a request: route, access, handler, answer. Whatever goes wrong on it
becomes a problem document here; no other `except` on the path catches a bug.
"""

import logging
import secrets
from wsgiref.types import StartResponse, WSGIEnvironment

from restauth.errors import BadCredentials, HttpsRequired, PasswordRequired, Refusal
from restauth.services import Services
from restauth.web import problems
from restauth.web.middleware import identify, remove_identity
from restauth.web.router import Access, Router
from restauth.web.routes import routes
from restauth.web.wire import Response, parse_request, send

_log = logging.getLogger("restauth")


class Api:
    """The service as a WSGI app (PEP 3333). Threads may share it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._router = Router(routes(services.settings))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        remove_identity(environ)
        try:
            response = self._answer(environ)
        except Refusal as refusal:
            response = problems.refuse(refusal, environ, self.services.settings.realm)
        except Exception:  # noqa: BLE001 - a bug must not reach the server, nor tell of itself
            incident = secrets.token_hex(8)
            _log.exception("incident %s", incident)
            response = problems.confess(incident)
        return send(response, environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Response:
        request = parse_request(environ)
        if request.method == "OPTIONS":
            return Response(
                204, headers=(("Allow", ", ".join(self._router.allowed(request.path))),)
            )
        route, parameters = self._router.match(request.method, request.path)
        is_open = route.access is Access.ANYONE and not route.takes_secret
        if self.services.settings.require_https and request.scheme != "https" and not is_open:
            raise HttpsRequired  # and no challenge, which would ask for the password in the clear
        caller = None
        if route.access is not Access.ANYONE:
            caller = identify(environ, self.services)
            if caller is None:
                raise BadCredentials
            if route.access is Access.PASSWORD and caller.user.how != "password":
                raise PasswordRequired
        return route.handler(request.routed(parameters, caller), self.services)
