"""The WSGI app of the service.

Rule: the one straight path of a request: route, access, handler, response. Whatever goes wrong on
it becomes a problem document here. No other `except` on the path catches a bug.
"""

import logging
import secrets
from wsgiref.types import StartResponse, WSGIEnvironment

from restauth.errors import HttpsRequired, Refusal, Throttled
from restauth.gate import MUST_NOT_WAIT, gate
from restauth.services import Services
from restauth.web import cors, problems
from restauth.web.access import Access, check_route
from restauth.web.http import Response, parse_request, send
from restauth.web.identity import identify, remove_identity, scheme_of
from restauth.web.router import Router
from restauth.web.routes import routes

_log = logging.getLogger("restauth")


class App:
    """The service as a WSGI app (PEP 3333). Threads may share it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._verify = services.identification.identify
        self._router = Router(routes(services.settings))
        self._origins = services.settings.cors_origins
        self._realm = services.settings.realm
        self._require_https = services.settings.require_https

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        remove_identity(environ)
        scheme = scheme_of(environ)
        with gate.turn(must_not_wait=environ.get(MUST_NOT_WAIT, False)):
            response = self._respond(environ, scheme)
        return send(response, environ, start_response)

    def _respond(self, environ: WSGIEnvironment, scheme: str) -> Response:
        try:
            response = self._answer(environ, scheme)
        except Refusal as refusal:
            response = problems.refuse(refusal, environ, scheme, self._realm)
        except Exception:  # noqa: BLE001 - log a bug, and never show a traceback to the client
            gate.before_waiting()
            incident = secrets.token_hex(8)
            _log.exception("incident %s", incident)
            response = problems.internal_error(incident)
        return response.with_headers(*cors.allow(environ, self._origins))

    def _answer(self, environ: WSGIEnvironment, scheme: str) -> Response:
        request = parse_request(environ)
        if request.method == "OPTIONS" and (methods := self._router.allowed(request.path)):
            allow = ("Allow", ", ".join(methods))
            return Response(204, headers=(allow, *cors.preflight(environ, self._origins, methods)))
        route, parameters = self._router.match(request.method, request.path)
        if self._require_https and request.scheme != "https" and not route.is_open:
            raise HttpsRequired  # and no challenge: the client would send the password in clear
        caller = None
        if route.access is not Access.ANYONE:
            try:
                found = identify(environ, scheme, self._verify, require_https=self._require_https)
            except Throttled:
                if route.is_for_proxies:
                    return problems.throttled_for_proxies()
                raise
            caller = check_route(route.access, found)
        return route.handler(request.routed(parameters, caller), self._services)
