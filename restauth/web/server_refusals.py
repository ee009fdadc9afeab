"""Responses to requests that the server refuses before the app sees them.

Rule: a client cannot tell them from refusals of the app: the same problem documents, the same
headers, CORS too.
"""

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from restauth import errors
from restauth.settings import Settings
from restauth.web import cors, problems
from restauth.web.http import send

_log = logging.getLogger("restauth")

_REFUSALS: Mapping[int, type[errors.Refusal]] = {
    400: errors.MalformedRequest,
    413: errors.BodyTooLarge,
    431: errors.HeaderTooLarge,
    501: errors.UnsupportedTransferCoding,
}

Parts = tuple[str, list[tuple[str, str]], bytes]


def refuse(settings: Settings, status: int, headers: Mapping[str, str]) -> Parts:
    """Status line, headers and body. `headers` are those of the request, as far as the server has
    read them, with names such as ORIGIN."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "wsgi.url_scheme": "http",
        "HTTP_ORIGIN": headers.get("ORIGIN"),
    }
    if status in _REFUSALS:
        response = problems.refuse(_REFUSALS[status](), environ, "", settings.realm)
    else:  # the server has logged an exception
        incident = secrets.token_hex(8)
        _log.error("incident %s: the server could not send the answer of the app", incident)
        response = problems.internal_error(incident)
    response = response.with_headers(*cors.allow(environ, settings.cors_origins))
    parts: list[Any] = []

    def start_response(*status_and_headers: Any) -> Any:
        parts.extend(status_and_headers)

    body = b"".join(send(response, environ, start_response))
    return parts[0], parts[1], body
