"""A failure in, an application/problem+json response out.

Rule: the only place that knows which failure has which status. The table is total: a refusal
without a row is found by the tests, not by a user. RFC 9457; the challenges are RFC 9110's, 7617's
and 6750's.
"""

import logging
from collections.abc import Mapping
from typing import Any

from restauth import errors
from restauth.core import authorization
from restauth.web.http import Response, json_response

INTERNAL_ERROR = "internal_error"  # the code of a bug

_log = logging.getLogger("restauth")

STATUSES: dict[type[errors.Refusal], tuple[int, str]] = {
    errors.MalformedRequest: (400, "Malformed request"),
    errors.UnacceptableUsername: (400, "Unacceptable username"),
    errors.UnacceptablePassword: (400, "Unacceptable password"),
    errors.UsernameTaken: (400, "Username taken"),
    errors.UnknownUser: (400, "Unknown user"),  # not 404: REST-auth's contract
    errors.UnusableCode: (400, "Unusable code"),
    errors.NoSession: (400, "No session"),
    errors.BadCredentials: (401, "Unauthorized"),
    errors.PasswordRequired: (403, "Password required"),
    errors.RoleRequired: (403, "Role required"),
    errors.Barred: (403, "Barred"),  # nginx takes all but 401 and 403 for a fault of ours
    errors.RegistrationClosed: (403, "Registration closed"),
    errors.HttpsRequired: (403, "HTTPS required"),
    errors.NotFound: (404, "Not found"),
    errors.MethodNotAllowed: (405, "Method not allowed"),
    errors.LengthRequired: (411, "Length required"),
    errors.BodyTooLarge: (413, "Body too large"),
    errors.UnsupportedMediaType: (415, "Unsupported media type"),
    errors.Throttled: (429, "Too many requests"),
    errors.Busy: (503, "Busy"),
    errors.StoreUnavailable: (503, "Store unavailable"),
}


def refuse(refusal: errors.Refusal, environ: Mapping[str, Any], realm: str) -> Response:
    """The problem document of a refusal, with the headers that its status asks for. Its cause,
    where the operator has to know one, goes to the log."""
    if isinstance(refusal, errors.Unavailable) and refusal.cause:
        _log.warning("%s: %s", refusal.code, refusal.cause)
    status, title = STATUSES[type(refusal)]
    return _problem(status, title, refusal.code, str(refusal), *_headers(refusal, environ, realm))


def internal_error(incident: str) -> Response:
    """The answer to a bug: the incident's id for the log, and nothing else."""
    return _problem(500, "Internal error", INTERNAL_ERROR, f"Incident {incident}.")


def _problem(
    status: int, title: str, code: str, detail: str, *headers: tuple[str, str]
) -> Response:
    return json_response(
        status,
        {
            "type": f"urn:restauth:problem:{code}",
            "title": title,
            "status": status,
            "detail": detail,
        },
        *headers,
        media_type="application/problem+json",
    )


def _headers(
    refusal: errors.Refusal, environ: Mapping[str, Any], realm: str
) -> list[tuple[str, str]]:
    match refusal:
        case errors.BadCredentials():
            return [("WWW-Authenticate", text) for text in _challenges(environ, realm)]
        case errors.MethodNotAllowed(allowed=allowed):
            return [("Allow", ", ".join(allowed))]
        case errors.Throttled() | errors.Unavailable():
            return [("Retry-After", str(refusal.retry_after))]
        case errors.UnsupportedMediaType():
            return [("Accept", "application/json")]  # RFC 9110 section 15.5.16
    return []


def _challenges(environ: Mapping[str, Any], realm: str) -> list[str]:
    """Basic first, then Bearer, each a line of its own: some clients read but the first one."""
    if authorization.scheme_of(environ.get("HTTP_AUTHORIZATION", "")) == "bearer":
        return [f'Bearer realm="{realm}", error="invalid_token"']  # RFC 6750 section 3.1
    bearer = f'Bearer realm="{realm}"'
    # A page's own fetch must not make the browser open its password window.
    is_script = (
        environ.get("HTTP_SEC_FETCH_MODE", "navigate") != "navigate"
        or environ.get("HTTP_X_REQUESTED_WITH") == "XMLHttpRequest"
    )
    return [bearer] if is_script else [f'Basic realm="{realm}", charset="UTF-8"', bearer]
