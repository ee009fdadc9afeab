"""The WSGI app of the service.

Rule: the one straight path of a request: route, access, handler, response. Whatever goes wrong on
it becomes a problem document here. No other `except` on the path catches a bug.
"""

import hmac
import logging
import secrets
from collections.abc import Iterable
from time import perf_counter
from wsgiref.types import StartResponse, WSGIEnvironment

from restauth.domain.metrics import Metrics
from restauth.errors import HttpsRequired, Refusal, Throttled
from restauth.gate import MUST_NOT_WAIT, gate
from restauth.services import Services
from restauth.web import cors, problems
from restauth.web.access import Access, check_route
from restauth.web.http import Request, Response, parse_path, send
from restauth.web.identity import identify, remove_identity, scheme_of
from restauth.web.router import METHODS, Route, Router
from restauth.web.routes import routes

_log = logging.getLogger("restauth")


class App:
    """The service as a WSGI app (PEP 3333), with the routes of that table or, without one, all of
    its settings. Threads may share it."""

    def __init__(self, services: Services, table: Iterable[Route] | None = None) -> None:
        self._services = services
        self._verify = services.identification.identify
        self._router = Router(routes(services.settings) if table is None else table)
        self._metrics = services.metrics if services.settings.metrics else None
        if self._metrics:
            self._metrics.expect(problems.CODES)
        self._origins = services.settings.cors_origins
        self._trusted_origins = cors.trusted_origins(services.settings)
        self._realm = services.settings.realm
        self._require_https = services.settings.require_https
        self._admin_role = services.settings.admin_role

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        remove_identity(environ)
        scheme = scheme_of(environ)
        if self._metrics:
            response = self._measure(environ, scheme, self._metrics)
        else:
            response = self._take_turn(environ, scheme)
        return send(response, environ, start_response)

    def _measure(self, environ: WSGIEnvironment, scheme: str, metrics: Metrics) -> Response:
        began = perf_counter()
        response = self._take_turn(environ, scheme)
        seconds = perf_counter() - began
        route = self._router.template(str(environ.get("PATH_INFO", "")))
        method = environ["REQUEST_METHOD"]
        known = method if method in METHODS else "other"
        metrics.count_request(route, known, response.status, response.problem, seconds)
        return response

    def _take_turn(self, environ: WSGIEnvironment, scheme: str) -> Response:
        with gate.turn(must_not_wait=environ.get(MUST_NOT_WAIT, False)):
            return self._respond(environ, scheme)

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
        path, method = parse_path(environ), environ["REQUEST_METHOD"]
        if method == "OPTIONS" and (methods := self._router.allowed(path)):
            allow = ("Allow", ", ".join(methods))
            return Response(204, headers=(allow, *cors.preflight(environ, self._origins, methods)))
        route, parameters = self._router.match(method, path)
        if self._require_https and environ["wsgi.url_scheme"] != "https" and not route.is_open:
            raise HttpsRequired  # and no challenge: the client would send the password in clear
        caller = None
        if route.access is Access.SCRAPER:
            if not self._is_scraper(environ, scheme):
                return problems.refuse_scraper(scheme, self._realm)
        elif route.access is not Access.ANYONE:
            if scheme == "basic" and not route.is_for_proxies:  # a browser adds no other by itself
                cors.check_change(environ, self._trusted_origins)
            try:
                found = identify(environ, scheme, self._verify, require_https=self._require_https)
            except Throttled:
                if route.is_for_proxies:
                    return problems.throttled_for_proxies()
                raise
            caller = check_route(route.access, found, self._admin_role)
        return route.handler(Request(environ, parameters, caller), self._services)

    def _is_scraper(self, environ: WSGIEnvironment, scheme: str) -> bool:
        """Whether the secret of the setting is presented; compared in constant time."""
        secret = str(environ.get("HTTP_AUTHORIZATION", ""))[len(scheme) :].strip(" ")
        given, wanted = f"{scheme} {secret}", f"bearer {self._services.settings.metrics}"
        return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("ascii"))
