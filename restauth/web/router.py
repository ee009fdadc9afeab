"""A path and a method in, a Route out.

Rule: the table is data; nothing here knows what a route does. A path is matched whole and as it
was sent: no redirect, no slash forgiven, one spelling for each resource.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from restauth.errors import MethodNotAllowed, NotFound
from restauth.services import Services
from restauth.web.http import Request, Response

Handler = Callable[[Request, Services], Response]

ANY_METHOD = "*"


class Access(Enum):
    """Who may call a route."""

    ANYONE = "anyone"  # credentials are not looked at
    USER = "user"  # a live token or a correct password
    PASSWORD = "password"  # the password itself: a token is not enough


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. `access` has no default: leaving it out is a TypeError.

    `path` is literal but for {name} parts, whose patterns are in PARTS. `takes_secret` says that
    the body carries one, so that `require_https` counts for it. A route that `is_for_proxies`
    passes judgement on somebody else's request: it takes any method, OPTIONS too.
    """

    method: str
    path: str
    handler: Handler
    access: Access
    takes_secret: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it neither asks for a secret nor takes one."""
        return self.access is Access.ANYONE and not self.takes_secret

    @property
    def is_for_proxies(self) -> bool:
        return self.method == ANY_METHOD


PARTS = {
    "id": "(0|[1-9][0-9]*)",  # one spelling for each number; ASCII digits only
    "sid": "([A-Za-z0-9_-]{22})",
}


class Router:
    """HEAD is answered where GET is (RFC 9110 section 9.3.2), OPTIONS everywhere (`allowed`)."""

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
        """The route and what its pattern found. Raises NotFound, MethodNotAllowed."""
        methods, parameters = self._find(path)
        route = methods.get(method) or methods.get(ANY_METHOD)
        if route is None:
            raise MethodNotAllowed(_allowed(methods))
        return route, parameters

    def allowed(self, path: str) -> tuple[str, ...]:
        """The methods of a path; of `*`, those of the whole server; none where OPTIONS is not for
        us to answer, because the path takes any method. Raises NotFound."""
        if path == "*":  # the server-wide OPTIONS, RFC 9110 section 9.3.7
            everything = [*self._literal.values(), *(methods for _, methods in self._patterns)]
            return _allowed({method for methods in everything for method in methods})
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
