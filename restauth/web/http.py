"""Request and Response as values; bounded bodies; strict JSON.

Rule: a handler sees a `Request` and never the environ. Everything that a client sends is untrusted;
every function here gives a checked value or raises a `Refusal`. The standard is PEP 3333.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote
from wsgiref.types import StartResponse, WSGIEnvironment

from restauth.core import json_text, peers
from restauth.core.json_text import MalformedJSON
from restauth.errors import (
    BadCredentials,
    BodyTooLarge,
    LengthRequired,
    MalformedRequest,
    NotFound,
    PasswordRequired,
    UnknownUser,
    UnsupportedMediaType,
)
from restauth.gate import gate
from restauth.records import MAX_ID, Account, Caller, Client, LiveSession
from restauth.web.host import parse as parse_host

MAX_BODY_LENGTH = 65_536  # bytes; the longest valid request has about 7,000
MAX_SHOWN_LENGTH = 64  # characters of an unknown name; enough to see the mistake
MAX_USER_AGENT_LENGTH = 200  # characters; enough for a user to recognise a device

Member = TypeVar("Member", str, int, list[Any])
Default = TypeVar("Default")

_KINDS: Mapping[type, str] = {str: "a string", int: "an integer", list: "a list"}
_UNPRINTABLE = re.compile("[^ -~]")
_LENGTH = re.compile(r"[0-9]{1,20}")
# A response is for its client alone, is what its type says, and is not a page (OWASP ASVS 5.0
# V3.4).
ALWAYS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_HTTPS_ONLY = ("Strict-Transport-Security", "max-age=31536000")  # RFC 6797: a year, in seconds

_encode = json.JSONEncoder(sort_keys=True).encode  # json.dumps would build an encoder each time

# In any case of letters, and parameters may follow: RFC 9110 section 8.3.1.
_JSON_TYPE = re.compile(r"application/json[ \t]*(;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response. Header values are native strings of latin-1 characters.

    `policy` are the headers that any response has; a page would need others than the default.
    `problem` is the code of a problem document; empty for any other response.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    policy: tuple[tuple[str, str], ...] = ALWAYS
    problem: str = ""

    def with_headers(self, *headers: tuple[str, str]) -> "Response":
        """The same response with more headers."""
        return replace(self, headers=(*self.headers, *headers)) if headers else self


def json_response(
    status: int,
    value: Mapping[str, object],
    *headers: tuple[str, str],
    problem: str = "",
) -> Response:
    """JSON with sorted members, and a newline at its end; a problem document has its code."""
    body = _encode(value).encode("ascii") + b"\n"
    media_type = "application/problem+json" if problem else "application/json"
    return Response(status, body, (("Content-Type", media_type), *headers), problem=problem)


def send(
    response: Response, environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    """Send the response, with the headers of every response; to HEAD without the body."""
    headers = [*response.headers, *response.policy]
    if environ["wsgi.url_scheme"] == "https":
        headers.append(_HTTPS_ONLY)
    if response.status != 204:  # No Content, RFC 9110 section 8.6
        headers.append(("Content-Length", str(len(response.body))))
    start_response(_STATUS_LINES[response.status], headers)
    return [response.body] if response.body and environ["REQUEST_METHOD"] != "HEAD" else []


@dataclass(frozen=True, slots=True)
class Request:
    """One request, for its handler. `parameters` are the {name} parts of the path, `caller` is who
    sent it."""

    environ: WSGIEnvironment = field(repr=False)
    parameters: tuple[str, ...] = ()
    caller: Caller | None = None

    @property
    def method(self) -> str:
        """As it was sent: methods have one spelling."""
        return str(self.environ["REQUEST_METHOD"])

    @property
    def host(self) -> str | None:
        """The Host header."""
        return self.environ.get("HTTP_HOST")

    @property
    def prefix(self) -> str:
        """The percent-encoded path of the mount point, without a slash at its end."""
        path = str(self.environ.get("SCRIPT_NAME", "")).strip("/")  # "//" would begin a host name
        return "/" + quote(path.encode("latin-1")) if path else ""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return str(self.environ["wsgi.url_scheme"])

    @property
    def client(self) -> Client:
        """Where it came from."""
        return client_of(self.environ)

    def identified(self) -> Caller:
        """Who sent it. Raises BadCredentials: a route with access *anyone* has no caller."""
        if self.caller is None:
            raise BadCredentials
        return self.caller

    def proof(self) -> Account | LiveSession:
        """What proved it. Raises BadCredentials when that was no more than a signed token."""
        proof = self.identified().proof
        if proof is None:
            raise BadCredentials
        return proof

    def verified_account(self) -> Account:
        """The account whose password came with it. Raises PasswordRequired when a token came."""
        proof = self.proof()
        if not isinstance(proof, Account):
            raise PasswordRequired
        return proof

    @property
    def operator(self) -> Client:
        """Where it came from, and who acts on the accounts of others. Raises BadCredentials."""
        return replace(self.client, operator_id=self.identified().user.id)

    def user_id(self) -> int:
        """The {id} of the path. Raises UnknownUser for what no store can hold: it would overflow,
        and int() refuses thousands of digits."""
        (digits,) = self.parameters
        if len(digits) > len(str(MAX_ID)) or int(digits) > MAX_ID:
            raise UnknownUser
        return int(digits)

    def query(self, name: str) -> list[str]:
        """All values of a query parameter."""
        return parse_qs(self.environ.get("QUERY_STRING", ""), keep_blank_values=True).get(name, [])

    def closed_query(self, **patterns: str) -> dict[str, str | None]:
        """The value of each query parameter of these names, which must match its pattern; None for
        one that is not given. Raises MalformedRequest, also for one of another name, and for one
        that is given twice."""
        given = parse_qs(self.environ.get("QUERY_STRING", ""), keep_blank_values=True)
        _refuse_others(given, patterns)
        for name, values in given.items():
            if len(values) > 1 or not re.fullmatch(patterns[name], values[0], re.DOTALL):
                raise MalformedRequest(f'"{name}" must be given once, and match {patterns[name]}')
        return {name: given[name][0] if name in given else None for name in patterns}

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises UnsupportedMediaType, LengthRequired, BodyTooLarge, MalformedRequest.
        """
        if not _JSON_TYPE.fullmatch(self.environ.get("CONTENT_TYPE") or ""):
            raise UnsupportedMediaType
        if self.environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
            raise UnsupportedMediaType(is_coded=True)
        try:
            return json_text.parse_object(self._read_body())
        except MalformedJSON as error:
            raise MalformedRequest(str(error)) from None

    def closed_json(self, *names: str) -> dict[str, Any]:
        """The body as a JSON object that has no other members than these. What limits an access is
        often optional: misspelt and ignored, it would limit nothing. Raises as `json`."""
        body = self.json()
        _refuse_others(body, names)
        return body

    def strings(self, *names: str) -> tuple[str, ...]:
        """Members of the JSON body that must be strings. Raises as `json`."""
        body = self.json()
        return tuple(member(body, name, str) for name in names)

    def _read_body(self) -> bytes:
        gate.before_waiting()  # for a slow client
        body_input = self.environ["wsgi.input"]
        length = self.environ.get("CONTENT_LENGTH") or ""
        if length:
            if not _LENGTH.fullmatch(length):
                raise MalformedRequest("The Content-Length is not a number.")
            if int(length) > MAX_BODY_LENGTH:
                raise BodyTooLarge
            body = _read(body_input, int(length))
            if len(body) < int(length):
                raise MalformedRequest("The body ends before its Content-Length.")
            return body
        if self.environ.get(
            "wsgi.input_terminated"
        ):  # the server decodes chunks and marks their end
            body = _read(body_input, MAX_BODY_LENGTH + 1)
            if len(body) > MAX_BODY_LENGTH:
                raise BodyTooLarge
            return body
        if self.environ.get("HTTP_TRANSFER_ENCODING"):
            raise LengthRequired  # a read could wait for ever
        return b""


def member(body: Mapping[str, Any], name: str, kind: type[Member]) -> Member:
    """A member of a JSON object that must be there and be of that type. Raises
    MalformedRequest."""
    value = body.get(name)
    if type(value) is not kind:
        raise MalformedRequest(f'"{name}" must be {_KINDS[kind]}.')
    return value


def optional_member(
    body: Mapping[str, Any], name: str, kind: type[Member], default: Default
) -> Member | Default:
    """As `member`; the default where there is no such member."""
    return member(body, name, kind) if name in body else default


def _refuse_others(given: Iterable[str], known: Iterable[str]) -> None:
    others = sorted(set(given) - set(known))
    if others:
        name, names = others[0][:MAX_SHOWN_LENGTH], ", ".join(sorted(known))
        raise MalformedRequest(f'"{name}" is not known here. These names are: {names}.')


def parse_path(environ: WSGIEnvironment) -> str:
    """The path, decoded, and relative to the mount point; the Host header is checked before.

    Raises NotFound when the path is not UTF-8, or the mount point does not follow PEP 3333;
    MalformedRequest for an invalid Host (RFC 9112 section 3.2).
    """
    host = environ.get("HTTP_HOST")
    if host is not None and parse_host(host) is None:
        raise MalformedRequest("The Host header is not well-formed.")
    try:  # PEP 3333: the bytes of the path come as latin-1 characters
        path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8")
        str(environ.get("SCRIPT_NAME", "")).encode("latin-1")  # checked before anything is done
    except UnicodeError:
        raise NotFound from None
    return path


def client_of(environ: WSGIEnvironment) -> Client:
    """Where the request comes from: the address that the server gives, in its one spelling, and the
    User-Agent, bounded and in printable ASCII. No forwarding header is read: that is the server's
    work."""
    return _client(
        str(environ.get("REMOTE_ADDR", "")),
        str(environ.get("REMOTE_PORT", "")),
        str(environ.get("HTTP_USER_AGENT", ""))[:MAX_USER_AGENT_LENGTH],
    )


@lru_cache(maxsize=1024)  # one connection sends many requests
def _client(peer: str, port: str, user_agent: str) -> Client:
    return Client(peers.show(peer, port), _UNPRINTABLE.sub("?", user_agent))


def _read(body_input: Any, size: int) -> bytes:
    """Up to `size` bytes: in PEP 3333, `read` may return fewer than it was asked for."""
    chunks = []
    while size:
        try:
            chunk: bytes = body_input.read(size)
        except OSError:
            raise MalformedRequest("The connection ended within the body.") from None
        if not chunk:
            break
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
