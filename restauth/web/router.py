"""Find the route of a path and a method.

Rule: the table is data; nothing here knows what a route does. A path is matched whole and as it was
sent: no redirect, no extra slash, one spelling for each resource.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from restauth.core import api_keys, one_time_codes, session_ids
from restauth.errors import MethodNotAllowed, NotFound
from restauth.services import Services
from restauth.web.access import Access
from restauth.web.http import Request, Response

Handler = Callable[[Request, Services], Response]

ANY_METHOD = "*"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")  # those of HTTP


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. `access` has no default: a route without it is a TypeError.

    `path` is literal, except for {name} parts, whose patterns are in PARTS. `takes_secret`: the
    body carries a secret, so that `require_https` applies. `is_for_proxies`: it answers about a
    request that a proxy has received, and takes any method, OPTIONS too.
    """

    method: str
    path: str
    handler: Handler
    access: Access
    takes_secret: bool = False
    is_for_proxies: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it neither asks for a secret nor takes one."""
        return self.access is Access.ANYONE and not self.takes_secret


PARTS = {
    "id": "(0|[1-9][0-9]*)",  # one spelling for each number; ASCII digits only
    "sid": f"({session_ids.PATTERN})",
    "key": f"({api_keys.ID_PATTERN})",
    "invitation": f"({one_time_codes.SELECTOR_PATTERN})",
}


class Router:
    """HEAD exists where GET does (RFC 9110 section 9.3.2), OPTIONS on every path (`allowed`)."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._literal: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        methods_of: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = methods_of.setdefault(route.path, {})
            methods[route.method] = route
            if route.method == "GET":
                methods["HEAD"] = route
        for path, methods in methods_of.items():
            pattern = re.sub(r"\\{([a-z]+)\\}", lambda part: PARTS[part[1]], re.escape(path))
            if pattern == re.escape(path):
                self._literal[path] = methods
            else:
                self._patterns.append((re.compile(pattern, re.ASCII), methods))

    def match(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """The route, and the {name} parts of the path. Raises NotFound, MethodNotAllowed."""
        methods, parameters = self._find(path)
        route = methods.get(method) or methods.get(ANY_METHOD)
        if route is None:
            raise MethodNotAllowed(_allowed(methods))
        return route, parameters

    def template(self, path: str) -> str:
        """The path of the route as the table has it; empty where there is none."""
        try:
            methods, _ = self._find(path)
        except NotFound:
            return ""
        return next(iter(methods.values())).path

    def allowed(self, path: str) -> tuple[str, ...]:
        """The methods of a path; for `*`, those of the whole server. Empty for a path that takes
        any method: there OPTIONS is for the handler. Raises NotFound."""
        if path == "*":  # the server-wide OPTIONS, RFC 9110 section 9.3.7
            tables = [*self._literal.values(), *(methods for _, methods in self._patterns)]
            return _allowed({method for methods in tables for method in methods})
        methods, _ = self._find(path)
        return () if ANY_METHOD in methods else _allowed(methods)

    def _find(self, path: str) -> tuple[dict[str, Route], tuple[str, ...]]:
        if path in self._literal:
            return self._literal[path], ()
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                return methods, match.groups()
        raise NotFound


def _allowed(methods: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*methods, "OPTIONS"} - {ANY_METHOD}))
