"""HTTP as values: whatever a server passes on gives a value or a declared refusal."""

import io
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth.core import peers
from restauth.errors import (
    BadCredentials,
    BodyTooLarge,
    LengthRequired,
    MalformedRequest,
    NotFound,
    PasswordRequired,
    Refusal,
    UnsupportedMediaType,
)
from restauth.records import Account, Caller, Client, LiveSession, User
from restauth.web.http import (
    ALWAYS,
    MAX_BODY_LENGTH,
    Request,
    Response,
    client_of,
    json_response,
    parse_path,
    send,
)
from tests.web.conftest import ANY_TEXT, total


def post(
    body: bytes = b"{}",
    *,
    stream: io.BytesIO | None = None,
    is_terminated: bool = False,
    **changes: object,
) -> Request:
    """A request with a JSON body; a change to None takes that key out of the environ."""
    environ = {
        **webtest.TestRequest.blank("/api/users").environ,
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": stream or io.BytesIO(body),
        "wsgi.input_terminated": is_terminated or None,
        **changes,
    }
    return Request({key: value for key, value in environ.items() if value is not None})


def chunked(body: bytes = b"{}", *, is_terminated: bool = True, **changes: Any) -> Request:
    """The same from a server that decodes the chunks and, as a rule, marks the end."""
    transfer = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}
    return post(body, is_terminated=is_terminated, **{**transfer, **changes})


class Unreadable(io.BytesIO):
    """A body that must not be read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("The body was read.")


class Slow(io.BytesIO):
    """Gives three bytes at a time, however many are asked for."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        return super().read(min(size, 3))


class Broken(Slow):
    """The connection ends in the middle."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise ConnectionResetError
        return super().read(size)


# The body and its length


def test_a_body_is_read_to_its_content_length_and_no_further() -> None:
    for is_terminated in (False, True):
        stream = io.BytesIO(b'{"a": 1}{"a": 2}')
        request = post(stream=stream, CONTENT_LENGTH="8", is_terminated=is_terminated)
        assert request.json() == {"a": 1}
        assert stream.tell() == 8


def test_a_stream_that_gives_fewer_bytes_than_asked_is_asked_again() -> None:
    """PEP 3333 lets it."""
    body = b'{"a": "long"}'
    assert post(stream=Slow(body), CONTENT_LENGTH="13").json() == {"a": "long"}
    assert chunked(stream=Slow(body)).json() == {"a": "long"}


def test_a_body_of_64_kib_is_read_and_no_larger_one() -> None:
    assert MAX_BODY_LENGTH == 64 * 1024
    body = b'{"a": "' + b"x" * (MAX_BODY_LENGTH - 9) + b'"}'
    assert post(body).json() == chunked(body).json() == json.loads(body)
    stream = io.BytesIO(b"x" * 10 * MAX_BODY_LENGTH)
    with pytest.raises(BodyTooLarge):
        chunked(stream=stream).json()
    assert stream.tell() == MAX_BODY_LENGTH + 1
    for length in (str(MAX_BODY_LENGTH + 1), "9" * 20):
        with pytest.raises(BodyTooLarge):
            post(CONTENT_LENGTH=length, stream=Unreadable()).json()


@pytest.mark.parametrize(
    "length",
    ["-1", "+2", " 2", "2 ", "0x2", "2.0", "2e0", "2_0", "2,2", "2\n", "\xb2", "\u0662", "9" * 21],
)
def test_a_content_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(MalformedRequest, match="Content-Length"):
        post(CONTENT_LENGTH=length, stream=Unreadable()).json()


def test_a_body_that_is_not_there_in_full_is_refused() -> None:
    for length in (None, "", "0"):  # no length means no body
        with pytest.raises(MalformedRequest):
            post(CONTENT_LENGTH=length).json()
    with pytest.raises(MalformedRequest, match="ends before"):
        post(b"{}", CONTENT_LENGTH="3").json()
    for read in (post, chunked):
        with pytest.raises(MalformedRequest, match="connection"):
            read(b"{} and more", stream=Broken(b"{} and more")).json()
    with pytest.raises(LengthRequired):  # the server marks no end: a read could wait for ever
        chunked(is_terminated=False, stream=Unreadable()).json()


# What the body is


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json", "Application/JSON", "application/json; charset=utf-8",
        "application/json \t;v=1;q=2", "application/json;",
    ],
)  # fmt: skip
def test_json_is_taken_in_any_case_and_with_parameters(content_type: str) -> None:
    assert post(CONTENT_TYPE=content_type).json() == {}


@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "text/plain; application/json", "text/json", "application/jsonx",
        "xapplication/json", "application/problem+json", "application/json, text/plain",
        " application/json", "application/x-www-form-urlencoded", "\xff\x00",
    ],
)  # fmt: skip
def test_another_content_type_is_refused_unread(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType) as refused:
        post(CONTENT_TYPE=content_type, stream=Unreadable()).json()
    assert not refused.value.is_coded


def test_a_coded_body_is_refused_unread() -> None:
    assert post(HTTP_CONTENT_ENCODING=" Identity ").json() == {}
    for coding in ("gzip", "br", "gzip, identity", "x"):
        with pytest.raises(UnsupportedMediaType) as refused:
            post(HTTP_CONTENT_ENCODING=coding, stream=Unreadable()).json()
        assert refused.value.is_coded


def test_members_come_in_the_order_in_which_they_are_asked_for() -> None:
    request = post(b'{"id": 7, "password": "p", "username": "u"}')
    assert request.strings("username", "password") == ("u", "p")


@pytest.mark.parametrize("value", ["null", "true", "0", "1.5", "[]", '["a"]', "{}", None])
def test_a_member_that_is_no_string_is_refused_by_name(value: str | None) -> None:
    body = b"{}" if value is None else b'{"password": %s}' % value.encode()
    with pytest.raises(MalformedRequest, match='"password"'):
        post(body).strings("password")


@total
@hypothesis.given(
    body=st.binary(),
    length=st.none() | st.integers(-9, 99).map(str) | ANY_TEXT,
    content_type=st.just("application/json") | ANY_TEXT,
    coding=st.none() | ANY_TEXT,
    is_terminated=st.booleans(),
)
def test_reading_a_body_is_total(
    body: bytes, length: str | None, content_type: str, coding: str | None, is_terminated: bool
) -> None:
    request = post(
        body,
        CONTENT_LENGTH=length,
        CONTENT_TYPE=content_type,
        HTTP_CONTENT_ENCODING=coding,
        is_terminated=is_terminated,
    )
    with suppress(Refusal):
        assert type(request.json()) is dict


# The request line and Host


def test_a_request_needs_none_of_the_keys_that_pep_3333_lets_a_server_leave_out() -> None:
    request = post(PATH_INFO=None, SCRIPT_NAME=None, HTTP_HOST=None, QUERY_STRING=None)
    assert parse_path(request.environ) == ""
    assert (request.prefix, request.host, request.query("a")) == ("", None, [])


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        ("/caf\xc3\xa9", "/caf\xe9"),  # PEP 3333: bytes as latin-1 characters
        ("/caf\xe9", None),
        pytest.param("/api\xc0\xafusers", None, id="overlong slash"),
        pytest.param("/\xed\xa0\x80", None, id="surrogate"),
        pytest.param("/\u0661", None, id="not bytes"),
    ],
)
def test_a_path_is_utf_8(path: str, decoded: str | None) -> None:
    if decoded:
        assert parse_path(post(PATH_INFO=path).environ) == decoded
    else:
        with pytest.raises(NotFound):
            parse_path(post(PATH_INFO=path).environ)


def test_a_mount_point_that_is_not_bytes_is_not_found() -> None:
    with pytest.raises(NotFound):
        parse_path(post(SCRIPT_NAME="/\u0661").environ)


def test_a_host_is_kept_as_it_was_sent_or_refused() -> None:
    for host in ("", "localhost", "A.example:8000", "[2001:DB8::1]:443"):
        request = post(HTTP_HOST=host)
        assert (parse_path(request.environ), request.host) == ("/api/users", host)
    for host in ("a.example/", "[127.0.0.1]", "a%zz"):
        with pytest.raises(MalformedRequest, match="Host"):
            parse_path(post(HTTP_HOST=host).environ)


@total
@hypothesis.given(path=ANY_TEXT, host=ANY_TEXT, method=ANY_TEXT)
def test_reading_a_request_is_total(path: str, host: str, method: str) -> None:
    request = post(PATH_INFO=path, HTTP_HOST=host, REQUEST_METHOD=method)
    assert (request.method, request.host) == (method, host)
    with suppress(NotFound, MalformedRequest):
        parse_path(request.environ).encode("utf-8")


# The query


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", []),
        ("a=1", ["1"]),
        ("b=2&a=1&a=1&a=2", ["1", "1", "2"]),
        ("a", [""]),
        ("a=&a=1&&a", ["", "1", ""]),
        ("a=1=2", ["1=2"]),
        ("a=1;a=2", ["1;a=2"]),
        ("b=1;a=2", []),
        ("a=1+2%2B3%263", ["1 2+3&3"]),
        ("%61=%31", ["1"]),
        ("a=%2531", ["%31"]),  # decoded once
        ("a=caf%C3%A9", ["caf\u00e9"]),
        ("a=caf\xc3\xa9", ["caf\xc3\xa9"]),  # bytes that should have been percent-encoded
        ("a=%E9%", ["\ufffd%"]),
        ("a=%zz%0d%0a%00", ["%zz\r\n\0"]),
        ("A=1&a[]=1& a=1&?a=1&aa=1", []),
        pytest.param("a=1&" * 50_000, ["1"] * 50_000, id="50,000 values"),
        pytest.param("a=" + "%" * 200_000, ["%" * 200_000], id="200,000 characters"),
    ],
)
def test_a_query_parameter_has_all_its_values(query: str, values: list[str]) -> None:
    assert post(QUERY_STRING=query).query("a") == values


@total
@hypothesis.given(pairs=st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.text())))
def test_what_is_written_into_a_query_is_read_from_it(pairs: list[tuple[str, str]]) -> None:
    written = [value for name, value in pairs if name == "a"]
    assert post(QUERY_STRING=urlencode(pairs)).query("a") == written
    assert post(QUERY_STRING=urlencode(pairs, quote_via=quote)).query("a") == written


@total
@hypothesis.given(
    query=ANY_TEXT | st.text("&=;+%a\xe9\0 0123456789abcdef") | ANY_TEXT.map("a=".__add__),
    name=ANY_TEXT | st.just("a"),
)
def test_reading_a_query_is_total(query: str, name: str) -> None:
    values = post(QUERY_STRING=query).query(name)
    assert all(type(value) is str for value in values)
    assert post(QUERY_STRING=f"{query}&a=1").query("a")[-1] == "1"


# Who sent it, and from where


def test_a_request_does_not_show_its_headers_when_it_is_printed() -> None:
    request = post(b'{"password": "python"}', HTTP_AUTHORIZATION="Basic bWlndWVsOnB5dGhvbg==")
    assert "bWlndWVs" not in repr(request)


ACCOUNT = Account(1, "miguel", "-", 0, None, 1, ())
SESSION = LiveSession("s", 1, "miguel", (), 9, 9)
BY_PASSWORD = Caller(User(1, "miguel", (), None, "password"), ACCOUNT)
BY_TOKEN = Caller(User(1, "miguel", (), "s", "token"), SESSION)
BY_KEYS = Caller(User(1, "miguel", (), "s", "token"), None)


@pytest.mark.parametrize(
    ("caller", "identified", "proof", "account"),
    [
        (BY_PASSWORD, BY_PASSWORD, ACCOUNT, ACCOUNT),
        (BY_TOKEN, BY_TOKEN, SESSION, PasswordRequired),
        (BY_KEYS, BY_KEYS, BadCredentials, BadCredentials),
        (None, BadCredentials, BadCredentials, BadCredentials),
    ],
    ids=["password", "token", "stateless", "anonymous"],
)
def test_a_handler_gets_only_what_was_verified(
    caller: Caller | None, identified: object, proof: object, account: object
) -> None:
    """Even where the access of the route was forgotten."""
    request = replace(post(), caller=caller)
    found: list[object] = []
    for ask in (request.identified, request.proof, request.verified_account):
        try:
            found.append(ask())
        except Refusal as refusal:
            found.append(type(refusal))
    assert found == [identified, proof, account]


def test_a_client_is_the_peer_of_the_connection_and_no_header_changes_that() -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.7", "HTTP_USER_AGENT": "curl/8.5.0"}
    assert post(**environ).client == client_of(environ) == Client("192.0.2.7", "curl/8.5.0")
    assert client_of({}) == Client("", "")  # a Unix socket
    mapped = {"REMOTE_ADDR": "::ffff", "REMOTE_PORT": "192.0.2.7"}  # as waitress divides it
    assert client_of({**environ, **mapped}).peer == "192.0.2.7"
    for name in ("X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP", "CLIENT_IP", "CF_CONNECTING_IP"):
        assert client_of({**environ, f"HTTP_{name}": "198.51.100.1"}).peer == "192.0.2.7"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Mozilla/5.0 (X11; Linux) ~", "Mozilla/5.0 (X11; Linux) ~"),
        ("a\x1b[2J\x00\tb\x7f\x9b", "a?[2J??b??"),  # no control sequence for a terminal
        ("caf\xc3\xa9", "caf??"),
        ("x" * 201, "x" * 200),
        ("\xff" * 100_000, "?" * 200),
    ],
    ids=["as it is", "controls", "UTF-8", "201 characters", "much"],
)
def test_a_user_agent_is_bounded_and_printable(sent: str, kept: str) -> None:
    assert client_of({"HTTP_USER_AGENT": sent}).user_agent == kept


@total
@hypothesis.given(user_agent=ANY_TEXT, peer=ANY_TEXT)
def test_reading_a_client_is_total(user_agent: str, peer: str) -> None:
    found = client_of({"HTTP_USER_AGENT": user_agent, "REMOTE_ADDR": peer})
    assert found.peer == peers.show(peer)
    assert found.user_agent.isascii()
    assert found.user_agent.isprintable()


# The response


def sent(
    response: Response, method: str = "GET", scheme: str = "http"
) -> tuple[str, list[tuple[str, str]], bytes]:
    started: list[Any] = []

    def start_response(*arguments: Any) -> Any:
        started.extend(arguments)

    environ = {"REQUEST_METHOD": method, "wsgi.url_scheme": scheme}
    body = b"".join(send(response, environ, start_response))
    status, headers = started
    return status, headers, body


def test_json_has_its_members_sorted_and_ends_in_a_newline() -> None:
    response = json_response(200, {"b": "\u00e9\u2028", "a": [1, None]}, ("X-More", "1"))
    body = b'{"a": [1, null], "b": "\\u00e9\\u2028"}\n'
    headers = (("Content-Type", "application/json"), ("X-More", "1"))
    assert response == Response(200, body, headers)


def test_more_headers_make_another_response() -> None:
    first, second, third = ("X-First", "1"), ("X-Second", "2"), ("X-Second", "3")
    response = Response(201, b"a", (first,))
    assert response.with_headers(second, third) == Response(201, b"a", (first, second, third))
    assert response.with_headers() == response == Response(201, b"a", (first,))


@pytest.mark.parametrize(
    ("response", "method", "status", "length", "body"),
    [
        (Response(405, b"no\n"), "GET", "405 Method Not Allowed", ["3"], b"no\n"),
        (Response(405, b"no\n"), "HEAD", "405 Method Not Allowed", ["3"], b""),
        (Response(200), "GET", "200 OK", ["0"], b""),
        (Response(204), "GET", "204 No Content", [], b""),  # RFC 9110 section 8.6
    ],
    ids=["GET", "HEAD", "empty", "204"],
)
def test_a_response_is_sent(
    response: Response, method: str, status: str, length: list[str], body: bytes
) -> None:
    found_status, headers, found_body = sent(response, method)
    assert (found_status, found_body) == (status, body)
    assert headers == [*ALWAYS, *(("Content-Length", text) for text in length)]


def test_strict_transport_is_asked_for_over_https_only() -> None:
    hsts = ("Strict-Transport-Security", "max-age=31536000")
    assert sent(Response(204), scheme="https")[1] == [*ALWAYS, hsts]
    assert sent(Response(204), scheme="http")[1] == [*ALWAYS]


def test_a_response_can_have_a_policy_of_its_own() -> None:
    """A page, for example, needs a Content-Security-Policy that lets it load its style."""
    own = ("Content-Security-Policy", "default-src 'self'")
    assert sent(Response(204, policy=(own,)))[1] == [own]
