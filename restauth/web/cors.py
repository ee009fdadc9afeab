"""CORS: which pages of other origins may read a response.

Rule: an origin is allowed when it is in `cors_origins`, compared whole. There is no wildcard, and
no permission to send cookies or credentials that the browser remembers: a script sends its token.
The Fetch standard, chapter "CORS protocol".
"""

from collections.abc import Iterable
from wsgiref.types import WSGIEnvironment

Headers = tuple[tuple[str, str], ...]

PREFLIGHT_DURATION = 600  # seconds that a browser may remember the answer to a preflight
_READABLE = "Live-API-Keys, Location, Retry-After, WWW-Authenticate"
# Authorization and the body's type; what a browser's cache or an HTTP client adds; tracing (W3C
# Trace Context and its usual relatives). No handler reads more of these than the first line.
_SENDABLE = ", ".join(
    (
        *("Authorization", "Content-Type", "X-Requested-With"),
        *("Accept", "Accept-Language", "Cache-Control", "Content-Language", "Pragma"),
        *("baggage", "sentry-trace", "traceparent", "tracestate"),
        *("X-Correlation-ID", "X-Request-ID"),
    )
)


def allow(environ: WSGIEnvironment, origins: tuple[str, ...]) -> Headers:
    """The headers of any response that say who may read it; none where no origin is configured."""
    if not origins:
        return ()
    vary = ("Vary", "Origin")
    if environ.get("HTTP_ORIGIN") not in origins:
        return (vary,)
    return (
        vary,
        ("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]),
        ("Access-Control-Expose-Headers", _READABLE),
    )


def preflight(
    environ: WSGIEnvironment, origins: tuple[str, ...], methods: Iterable[str]
) -> Headers:
    """More headers for an OPTIONS that is a preflight: a browser asks before a script's request."""
    is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    if not is_preflight or environ.get("HTTP_ORIGIN") not in origins:
        return ()
    return (
        ("Access-Control-Allow-Headers", _SENDABLE),
        ("Access-Control-Allow-Methods", ", ".join(methods)),
        ("Access-Control-Max-Age", str(PREFLIGHT_DURATION)),
    )
