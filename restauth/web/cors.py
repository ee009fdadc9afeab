"""Pages of other origins: which of them may read a response (CORS), and change anything.

Rule: an origin is allowed when it is in `cors_origins`, compared whole. There is no wildcard, and
no permission to send cookies or credentials that the browser remembers: a script sends its token.
The Fetch standard, chapter "CORS protocol"; Fetch Metadata Request Headers.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit
from wsgiref.types import WSGIEnvironment

from restauth.errors import CrossOrigin
from restauth.settings import Settings

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
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1


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


def trusted_origins(settings: Settings) -> tuple[str, ...]:
    """The origins whose pages may change something, as a browser sends them; besides these, that of
    the request itself."""
    url = urlsplit(settings.base_url.lower())
    own = (f"{url.scheme}://{url.netloc}",) if settings.base_url else ()
    return (*settings.cors_origins, *own)


def check_change(environ: WSGIEnvironment, origins: tuple[str, ...]) -> None:
    """Refuse a request that changes something and comes from a page of another origin than ours and
    these: a form of any page is sent with the password that the browser remembers (CSRF).

    Browsers say by `Sec-Fetch-Site` where a request comes from. Old ones, and all of them over
    plain http to another machine, send `Origin` alone. A client that is no browser sends neither.
    Raises CrossOrigin.
    """
    if environ["REQUEST_METHOD"] in _SAFE:
        return
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if origin in origins or site in ("same-origin", "none"):  # none: the user has opened it
        return
    host = environ.get("HTTP_HOST")  # without the scheme, which a TLS proxy changes
    if site is not None or origin not in (None, f"http://{host}", f"https://{host}"):
        raise CrossOrigin
