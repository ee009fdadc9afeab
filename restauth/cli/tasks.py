"""How waitress gives a request to the app, and sends the response.

Rule: the app gets the path that was sent. A response that has no body keeps its connection. What
the server refuses before the app sees it is answered like a refusal of the app.
"""

from collections.abc import Callable, Mapping
from typing import Any
from wsgiref.types import WSGIEnvironment

from waitress.task import ErrorTask, WSGITask

# From a status and the headers of the request, by waitress's names (ORIGIN), to status line,
# headers and body.
Refuse = Callable[[int, Mapping[str, str]], tuple[str, list[tuple[str, str]], bytes]]


class AppTask(WSGITask):
    """One request that the app answers."""

    request: Any

    def get_environment(self) -> WSGIEnvironment:
        """The environ of PEP 3333. waitress reads `//api` as `/api`; then a rule of a proxy for
        the path `/api` would not see this request."""
        environ = super().get_environment()
        if self.request.path.startswith("//"):
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = "", self.request.path
        return environ

    def set_close_on_finish(self) -> None:
        """waitress closes a connection when a response has no Content-Length. A 204 must have none
        (RFC 9110 section 8.6), and ends with its header (RFC 9112 section 6.3)."""
        is_asked = self.request.headers.get("CONNECTION", "").lower() == "close"
        if self.has_body or self.version == "1.0" or is_asked:
            super().set_close_on_finish()


class LastTask(AppTask):
    """The last request of a connection, when the server stops."""

    def build_response_header(self) -> bytes:
        """Tells the client that the connection ends."""
        WSGITask.set_close_on_finish(self)
        header: bytes = super().build_response_header()
        return header


class RefusalTask(ErrorTask):
    """One request that the server refuses: it is malformed, or larger than a limit."""

    channel: Any
    request: Any

    def execute(self) -> None:
        """Answer, and close the connection: where the next request begins is not known."""
        refuse: Refuse | None = self.channel.server.refuse
        if refuse is None:
            super().execute()
            return
        self.status, headers, body = refuse(self.request.error.code, self.request.headers)
        self.response_headers = headers
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body if getattr(self.request, "command", "") != "HEAD" else b"")
