"""Problem documents: the response for each refusal (RFC 9457).

Rule: the only file that knows which refusal has which status. The table is total: a test finds a
refusal without a row.
"""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from restauth import errors
from restauth.core.repetition import ALWAYS_TOLD, Repetition
from restauth.gate import gate
from restauth.web import challenges
from restauth.web.http import Response, json_response

INTERNAL_ERROR = "internal_error"  # the code of a bug

_log = logging.getLogger("restauth")
_repetition = Repetition()

STATUSES: dict[type[errors.Refusal], tuple[int, str]] = {
    errors.MalformedRequest: (400, "Malformed request"),
    errors.UnacceptableUsername: (400, "Unacceptable username"),
    errors.UnacceptablePassword: (400, "Unacceptable password"),
    errors.UnacceptableRoles: (400, "Unacceptable roles"),
    errors.UsernameTaken: (400, "Username taken"),
    errors.UnknownUser: (400, "Unknown user"),  # not 404: REST-auth's contract
    errors.UnusableCode: (400, "Unusable code"),
    errors.UnacceptableKey: (400, "Unacceptable key"),
    errors.UnacceptableInvitation: (400, "Unacceptable invitation"),
    errors.NoSession: (400, "No session"),
    errors.BadCredentials: (401, "Unauthorized"),
    errors.LoginRequired: (403, "Login required"),
    errors.PasswordRequired: (403, "Password required"),
    errors.RoleRequired: (403, "Role required"),
    errors.OwnAccount: (403, "Own account"),
    errors.RegistrationClosed: (403, "Registration closed"),
    errors.HttpsRequired: (403, "HTTPS required"),
    errors.CrossOrigin: (403, "Cross-origin request"),
    errors.NotFound: (404, "Not found"),
    errors.MethodNotAllowed: (405, "Method not allowed"),
    errors.AccountLocked: (409, "Account locked"),
    errors.TooManyKeys: (409, "Too many keys"),
    errors.LengthRequired: (411, "Length required"),
    errors.BodyTooLarge: (413, "Body too large"),
    errors.UnsupportedMediaType: (415, "Unsupported media type"),
    errors.Throttled: (429, "Too many requests"),
    errors.HeaderTooLarge: (431, "Header too large"),
    errors.UnsupportedTransferCoding: (501, "Unsupported transfer coding"),
    errors.Busy: (503, "Busy"),
    errors.StoreUnavailable: (503, "Store unavailable"),
    errors.KeysUnavailable: (503, "Keys unavailable"),
    errors.NotReady: (503, "Not ready"),
}
# `barred` means blocked by the throttle. nginx treats every status but 401 and 403 as an error.
THROTTLED_FOR_PROXIES = (403, "Barred", "barred")
CODES = (
    INTERNAL_ERROR,
    *sorted([THROTTLED_FOR_PROXIES[2], *(refusal.code for refusal in STATUSES)]),
)


def refuse(
    refusal: errors.Refusal, environ: Mapping[str, Any], scheme: str, realm: str
) -> Response:
    """The problem document of a refusal, with the headers that its status needs.

    `scheme` is that of the request's Authorization header. The cause of an `Unavailable` goes to
    the log.
    """
    if isinstance(refusal, errors.Unavailable) and refusal.cause:
        gate.before_waiting()  # for the log
        _tell(f"{refusal.code}: {refusal.cause}")
    status, title = STATUSES[type(refusal)]
    headers = _headers(refusal, environ, scheme, realm)
    return _problem(status, title, refusal.code, str(refusal), *headers)


def _tell(line: str) -> None:
    """Log it, thinned out: while a disk is full, each request has the same to say."""
    count = _repetition.count(line, int(time.monotonic()))
    if count is not None:
        more = f" ({count} times within a minute)" if count > ALWAYS_TOLD else ""
        _log.warning("%s%s", line, more)


def refuse_scraper(scheme: str, realm: str) -> Response:
    """The answer to who does not present the secret of the metrics: no password is asked for."""
    status, title = STATUSES[errors.BadCredentials]
    refusal, headers = errors.BadCredentials(), challenges.build_bearer(scheme, realm)
    return _problem(status, title, refusal.code, str(refusal), *headers)


def throttled_for_proxies() -> Response:
    """The answer of /api/verify to a throttled request."""
    return _problem(*THROTTLED_FOR_PROXIES, errors.Throttled.detail)


def internal_error(incident: str) -> Response:
    """The answer to a bug: the id of the incident, which the log has too, and nothing else."""
    return _problem(500, "Internal error", INTERNAL_ERROR, f"Incident {incident}.")


@lru_cache(maxsize=64)  # under a flood of refusals, nearly all of them are one document
def _problem(
    status: int, title: str, code: str, detail: str, *headers: tuple[str, str]
) -> Response:
    document = {
        "type": f"urn:restauth:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    return json_response(status, document, *headers, problem=code)


def _headers(
    refusal: errors.Refusal, environ: Mapping[str, Any], scheme: str, realm: str
) -> list[tuple[str, str]]:
    match refusal:
        case errors.BadCredentials():
            return challenges.build(scheme, environ, realm)
        case errors.LoginRequired() | errors.PasswordRequired() | errors.RoleRequired():
            return challenges.build_insufficient(scheme, realm)
        case errors.MethodNotAllowed(allowed=allowed):
            return [("Allow", ", ".join(allowed))]
        case errors.Throttled(retry_after=None):
            return []  # no wait would help
        case errors.Throttled() | errors.Unavailable():
            return [("Retry-After", str(refusal.retry_after))]
        # By the header, a client tells one from the other: RFC 9110 section 15.5.16.
        case errors.UnsupportedMediaType(is_coded=True):
            return [("Accept-Encoding", "identity")]
        case errors.UnsupportedMediaType():
            return [("Accept", "application/json")]
    return []
