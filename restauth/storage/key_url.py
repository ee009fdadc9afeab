"""The key URL: a public JWK Set on another machine, read by HTTP.

Rule: this file moves bytes; `core.jwk` knows what they mean. A reading is bounded in time and in
size. It is https, or http on this machine (the settings see to that), and no redirect is followed:
it could lead to plain http, or to an address inside of our network.
"""

from http.client import HTTPException, HTTPMessage
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from restauth.errors import UnusableKeyRing

TIMEOUT = 5  # seconds for all of a reading
MAX_SIZE = 65_536  # bytes; a public set of a hundred keys has about 15,000


class KeyURL:
    """The set at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Plain http must not leave this machine through a proxy of the environment.
        proxies = ProxyHandler({} if url.startswith("http:") else None)
        self._opener = build_opener(proxies, _NoRedirects)
        self._thread: Thread | None = None

    def read(self) -> bytes:
        """The body of the response, in at most `TIMEOUT` seconds. Raises UnusableKeyRing.

        One caller at a time.
        """
        # A thread of its own: nothing else bounds the resolver, and a server that sends a byte
        # every four seconds.
        if self._thread is not None and self._thread.is_alive():
            raise self._unusable("has not answered yet")
        outcome: SimpleQueue[bytes | str] = SimpleQueue()
        self._thread = Thread(target=lambda: outcome.put(self._fetch()), daemon=True)
        self._thread.start()
        try:
            body = outcome.get(timeout=TIMEOUT)
        except Empty:
            body = f"does not answer within {TIMEOUT} seconds"
        if isinstance(body, str):
            raise self._unusable(body)
        return body

    def _fetch(self) -> bytes | str:
        """The body, or why there is none."""
        request = Request(  # noqa: S310 - the settings know the schemes
            self.url, headers={"Accept": "application/json", "User-Agent": "restauth"}
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                body: bytes = response.read(MAX_SIZE + 1)
        except (OSError, HTTPException) as error:
            return f"cannot be read ({ascii(str(error))[1:-1]})"  # perhaps in the server's words
        return body if len(body) <= MAX_SIZE else "is too large"

    def _unusable(self, reason: str) -> UnusableKeyRing:
        return UnusableKeyRing(f"The key set {self.url} {reason}.")


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """None: the redirect is an error, as any other status is."""
