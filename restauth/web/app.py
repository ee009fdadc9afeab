"""The WSGI callable.

Rule: the one straight path of a request: route, access, handler, answer. Whatever goes wrong on it
becomes a problem document here; no other `except` on the path catches a bug.
"""

import logging
import secrets
from wsgiref.types import StartResponse, WSGIEnvironment

from restauth.errors import (
    BadCredentials,
    Barred,
    HttpsRequired,
    PasswordRequired,
    Refusal,
    Throttled,
)
from restauth.records import Caller
from restauth.services import Services
from restauth.web import cors, problems
from restauth.web.http import Response, parse_request, send
from restauth.web.middleware import identify, remove_identity
from restauth.web.router import Access, Route, Router
from restauth.web.routes import routes

_log = logging.getLogger("restauth")


class App:
    """The service as a WSGI app (PEP 3333). Threads may share it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._router = Router(routes(services.settings))
        self._origins = services.settings.cors_origins

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        remove_identity(environ)
        try:
            response = self._answer(environ)
        except Refusal as refusal:
            response = problems.refuse(refusal, environ, self.services.settings.realm)
        except Exception:  # noqa: BLE001 - a bug must not reach the server, nor tell of itself
            incident = secrets.token_hex(8)
            _log.exception("incident %s", incident)
            response = problems.internal_error(incident)
        response = response.with_headers(*cors.allow(environ, self._origins))
        return send(response, environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Response:
        request = parse_request(environ)
        if request.method == "OPTIONS" and (methods := self._router.allowed(request.path)):
            allow = ("Allow", ", ".join(methods))
            return Response(204, headers=(allow, *cors.preflight(environ, self._origins, methods)))
        route, parameters = self._router.match(request.method, request.path)
        if self.services.settings.require_https and request.scheme != "https" and not route.is_open:
            raise HttpsRequired  # and no challenge, which would ask for the password in the clear
        caller = None if route.access is Access.ANYONE else self._identify(environ, route)
        return route.handler(request.routed(parameters, caller), self.services)

    def _identify(self, environ: WSGIEnvironment, route: Route) -> Caller:
        try:
            caller = identify(environ, self.services)
        except Throttled:
            if route.is_for_proxies:
                raise Barred from None
            raise
        if caller is None:
            raise BadCredentials
        if route.access is Access.PASSWORD and caller.user.how != "password":
            raise PasswordRequired
        return caller
