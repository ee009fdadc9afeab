"""Read `X-Forwarded-Proto` as proxies write it, before waitress does.

Rule: changes nothing about trust. waitress still decides whether the header counts
(`--trusted-proxy`, `--trusted-proxy-headers`), and refuses a scheme that is unknown. It takes one
word, `http` or `https`; proxies also write `wss` for a web socket, and a list, one entry a proxy.
"""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_HEADER = "HTTP_X_FORWARDED_PROTO"
_SCHEMES = {"ws": "http", "wss": "https"}  # RFC 6455 section 3: by TLS or without, as http


class ForwardedScheme:
    """Waitress's own app, with the scheme in one word."""

    def __init__(self, app: WSGIApplication, proxies: int) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _HEADER in environ:
            environ[_HEADER] = choose(environ[_HEADER], self._proxies)
        return self._app(environ, start_response)


def choose(text: str, proxies: int) -> str:
    """The entry that counts, in the words of HTTP. Each proxy adds one at the end, so it is the
    first one of those that our own proxies have written; what is before may be the client's."""
    entry = text.split(",")[-proxies:][0].strip().strip('"').lower()
    return _SCHEMES.get(entry, entry)
