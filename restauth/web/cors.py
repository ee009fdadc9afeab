"""Which pages of other origins may read an answer.

Rule: an origin is let in when it stands in `cors_origins`, compared whole; there is no wildcard,
and no leave to send cookies or what the browser itself remembers: a script presents its token. The
Fetch standard, chapter "CORS protocol".
"""

from collections.abc import Iterable
from wsgiref.types import WSGIEnvironment

Headers = tuple[tuple[str, str], ...]

PREFLIGHT_DURATION = 600  # seconds that a browser may remember the answer to a preflight
_READABLE = "Location, Retry-After, WWW-Authenticate"
_SENDABLE = "Authorization, Content-Type, X-Requested-With"


def allow(environ: WSGIEnvironment, origins: tuple[str, ...]) -> Headers:
    """What any answer says of who may read it; nothing where no origin is configured."""
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
    """What OPTIONS says besides, where a browser asks before it sends a script's request."""
    is_preflight = "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    if not is_preflight or environ.get("HTTP_ORIGIN") not in origins:
        return ()
    return (
        ("Access-Control-Allow-Headers", _SENDABLE),
        ("Access-Control-Allow-Methods", ", ".join(methods)),
        ("Access-Control-Max-Age", str(PREFLIGHT_DURATION)),
    )
