"""The WSGI callable.

Rule: the one straight path of a request: route, access, handler, answer. Whatever goes wrong on it
becomes a problem document here, and the one bare `except` of the house stands here.
"""

import logging
import secrets
from dataclasses import replace
from wsgiref.types import StartResponse, WSGIEnvironment

from restauth.errors import BadCredentials, HttpsRequired, Refusal, Unavailable
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
            if isinstance(refusal, Unavailable) and refusal.cause:
                _log.warning("%s: %s", refusal.code, refusal.cause)
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
        settings = self.services.settings
        if route.takes_secret and settings.require_https and request.scheme != "https":
            raise HttpsRequired
        caller = None
        if route.access is not Access.ANYONE:
            caller = identify(environ, self.services)
            if caller is None:
                raise BadCredentials
        return route.handler(replace(request, parameters=parameters, caller=caller), self.services)
