"""How waitress gives a request to the app, and sends the response.

Rule: the app gets the path that was sent. A response that has no body keeps its connection. What
the server refuses before the app sees it is answered like a refusal of the app. The thread of the
event loop answers what needs no waiting, and never waits.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from wsgiref.types import WSGIEnvironment

from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from restauth.gate import MUST_NOT_WAIT

_log = logging.getLogger("restauth")

# From a status and the headers of the request, by waitress's names (ORIGIN), to status line,
# headers and body.
Refuse = Callable[[int, Mapping[str, str]], tuple[str, list[tuple[str, str]], bytes]]


class AppTask(WSGITask):
    """One request that the app answers."""

    channel: Any
    request: Any

    def get_environment(self) -> WSGIEnvironment:
        """The environ of PEP 3333. waitress reads `//api` as `/api`; then a rule of a proxy for
        the path `/api` would not see this request."""
        environ = super().get_environment()
        environ[MUST_NOT_WAIT] = self.channel.must_not_wait
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


class Dispatcher(ThreadedTaskDispatcher):
    """Where a request is answered. With `is_app_prompt` the app raises WouldWait as `restauth.gate`
    says: then the thread of the event loop tries first, because a change of threads costs more than
    a token request. All else is for the other threads, also for an app that knows no such rule.

    A thread starts when a request finds no idle one: each takes memory, and few servers ever need
    all of them."""

    def __init__(self, *, is_app_prompt: bool) -> None:
        super().__init__()
        self._is_app_prompt = is_app_prompt
        self._new: deque[Any] = deque()
        self._limit = 0  # threads
        self._is_remarked = False

    def set_thread_count(self, count: int) -> None:
        """Allow that many threads, of which the first one starts now; 0 ends all."""
        self._limit = count
        if count:
            self._start_thread()
        else:
            super().set_thread_count(0)

    def add_task(self, task: Any) -> None:
        """Take a connection whose request is complete."""
        if self._is_app_prompt:
            self._new.append(task)
        else:
            self._hand_over(task)

    def answer(self) -> None:
        """Answer what is new. For the thread of the loop, between two turns."""
        while self._new:
            connection = self._new.popleft()
            if not connection.answer_at_once():
                self._hand_over(connection)

    def _hand_over(self, task: Any) -> None:
        """To a thread that is idle or is started now; else to the first one that is ready."""
        with self.lock:
            idle = len(self.threads) - self.active_count
            is_short = len(self.queue) >= idle and len(self.threads) < self._limit
        if is_short:
            try:
                self._start_thread()
            except RuntimeError:
                self._remark()
        super().add_task(task)

    def _start_thread(self) -> None:
        """Raises RuntimeError when the system allows no more."""
        with self.lock:  # which the thread takes first
            number = len(self.threads)
            self.start_new_thread(self.handler_thread, number)
            self.threads.add(number)
            self.active_count += 1

    def _remark(self) -> None:
        if not self._is_remarked:
            self._is_remarked = True
            _log.warning("%d threads run: the system allows no more", len(self.threads))


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
