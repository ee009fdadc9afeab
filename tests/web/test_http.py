"""The wire: whatever a server hands over gives a value or a declared refusal."""

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
from restauth.records import Account, Caller, Client, Session, User
from restauth.web.http import (
    MAX_BODY_LENGTH,
    MAX_USER_AGENT_LENGTH,
    Request,
    Response,
    client_of,
    json_response,
    parse_request,
    send,
)

ANY_TEXT = st.text(st.characters())  # lone surrogates too
total = hypothesis.settings(max_examples=200, deadline=None, derandomize=True)


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
    return parse_request({key: value for key, value in environ.items() if value is not None})


def chunked(
    body: bytes = b"{}", *, stream: io.BytesIO | None = None, is_terminated: bool = True
) -> Request:
    """The same by a server that decodes the chunks and, as a rule, marks the end."""
    return post(
        body,
        stream=stream,
        is_terminated=is_terminated,
        CONTENT_LENGTH=None,
        HTTP_TRANSFER_ENCODING="chunked",
    )


def json_of_length(length: int) -> bytes:
    return b'{"a": "' + b"x" * (length - 9) + b'"}'


class Unreadable(io.BytesIO):
    """Nobody may read from here."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("The body was read.")


class Drops(io.BytesIO):
    """Gives three bytes at a time, however many are asked for."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        return super().read(min(size, 3))


class Broken(Drops):
    """The client goes away in the middle."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise ConnectionResetError
        return super().read(size)


# The body and its length


def test_a_body_is_read_to_its_content_length_and_not_a_byte_further() -> None:
    stream = io.BytesIO(b'{"a": 1}{"a": 2}')
    assert post(stream=stream, CONTENT_LENGTH="8").json() == {"a": 1}
    assert stream.tell() == 8


def test_a_reader_that_gives_fewer_bytes_than_asked_is_asked_again() -> None:
    assert post(stream=Drops(b'{"a": "long"}'), CONTENT_LENGTH="13").json() == {"a": "long"}
    assert chunked(stream=Drops(b'{"a": "long"}')).json() == {"a": "long"}


@pytest.mark.parametrize("length", ["", None, "0"])
def test_no_content_length_is_an_empty_body(length: str | None) -> None:
    with pytest.raises(MalformedRequest):
        post(b"{}", CONTENT_LENGTH=length).json()


@pytest.mark.parametrize(
    "length",
    ["-1", "+2", " 2", "2 ", "0x2", "2.0", "2e0", "2_0", "2,2", "2\n", "\xb2", "\u0662", "9" * 21],
)
def test_a_content_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(MalformedRequest):
        post(CONTENT_LENGTH=length, stream=Unreadable()).json()


@pytest.mark.parametrize("length", [str(MAX_BODY_LENGTH + 1), "9" * 20])
def test_a_body_that_says_it_is_too_large_is_refused_unread(length: str) -> None:
    with pytest.raises(BodyTooLarge):
        post(CONTENT_LENGTH=length, stream=Unreadable()).json()


def test_a_body_of_exactly_64_kib_is_taken() -> None:
    assert MAX_BODY_LENGTH == 64 * 1024
    body = json_of_length(MAX_BODY_LENGTH)
    assert post(body).json() == chunked(body).json() == json.loads(body)


def test_a_body_that_ends_before_its_content_length_is_refused() -> None:
    with pytest.raises(MalformedRequest):
        post(b"{}", CONTENT_LENGTH="3").json()


@pytest.mark.parametrize("read_as", [post, chunked])
def test_a_client_that_goes_away_within_the_body_is_refused(read_as: Any) -> None:
    with pytest.raises(MalformedRequest):
        read_as(b"{} and more", stream=Broken(b"{} and more")).json()


def test_a_chunked_body_that_a_server_has_decoded_is_read_to_its_end() -> None:
    assert chunked(b'{"a": 1}').json() == {"a": 1}


def test_a_chunked_body_without_end_is_refused_at_the_limit() -> None:
    stream = io.BytesIO(b"x" * 10 * MAX_BODY_LENGTH)
    with pytest.raises(BodyTooLarge):
        chunked(stream=stream).json()
    assert stream.tell() == MAX_BODY_LENGTH + 1


def test_a_chunked_body_whose_end_nobody_marks_is_refused_unread() -> None:
    with pytest.raises(LengthRequired):
        chunked(is_terminated=False, stream=Unreadable()).json()


def test_a_content_length_counts_even_where_the_end_is_marked() -> None:
    body = b'{"a": 1}{"a": 2}'
    assert post(body, CONTENT_LENGTH="8", is_terminated=True).json() == {"a": 1}


# What the body is


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=utf-8",
        "application/json \t;v=1;q=2",
        "application/json;",
    ],
)
def test_json_is_json_in_any_case_and_with_parameters(content_type: str) -> None:
    assert post(CONTENT_TYPE=content_type).json() == {}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "text/json",
        "application/jsonx",
        "xapplication/json",
        "application/json-patch+json",
        "application/problem+json",
        "application/json, text/plain",
        " application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "\xff\x00",
    ],
)
def test_another_content_type_is_refused_unread(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        post(CONTENT_TYPE=content_type, stream=Unreadable()).json()


def test_the_identity_coding_is_no_coding() -> None:
    assert post(HTTP_CONTENT_ENCODING=" Identity ").json() == {}


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "gzip, identity", "aes128gcm", "x"])
def test_a_coded_body_is_refused_unread(coding: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        post(HTTP_CONTENT_ENCODING=coding, stream=Unreadable()).json()


def test_members_come_in_the_order_they_are_asked_for_and_others_are_ignored() -> None:
    request = post(b'{"id": 7, "password": "p", "username": "u"}')
    assert request.strings("username", "password") == ("u", "p")


@pytest.mark.parametrize("value", ["null", "true", "0", "1.5", "[]", '["a"]', "{}"])
def test_a_member_that_is_no_string_is_refused_by_name(value: str) -> None:
    with pytest.raises(MalformedRequest, match='"password" must be a string'):
        post(b'{"username": "u", "password": %s}' % value.encode()).strings("username", "password")


def test_a_missing_member_is_refused_by_name() -> None:
    with pytest.raises(MalformedRequest, match='"username" must be a string'):
        post(b'{"password": "p"}').strings("username", "password")


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
    request = post(PATH_INFO=None, SCRIPT_NAME=None, HTTP_HOST=None)
    assert (request.path, request.prefix, request.host) == ("", "", None)


def test_a_path_is_the_utf_8_of_its_bytes() -> None:
    assert post(PATH_INFO="/caf\xc3\xa9").path == "/caf\u00e9"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/caf\xe9", id="latin-1"),
        pytest.param("/api\xc0\xafusers", id="overlong slash"),
        pytest.param("/\xed\xa0\x80", id="surrogate"),
        pytest.param("/\u0661", id="characters that are no bytes"),
    ],
)
def test_a_path_that_is_not_utf_8_leads_nowhere(path: str) -> None:
    with pytest.raises(NotFound):
        post(PATH_INFO=path)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "a.example:8000",
        "a.example:",
        "127.0.0.1:5000",
        "[::1]",
        "[2001:db8::1]:443",
        "under_score",
        "%61.example",
        "xn--bcher-kva.example",
    ],
)
def test_a_well_formed_host_passes_as_it_was_sent(host: str) -> None:
    assert post(HTTP_HOST=host).host == host


@pytest.mark.parametrize(
    "host",
    [
        "a.example/",
        "a.example?",
        "a.example#",
        "a.example\\",
        "user@a.example",
        "a.example:80:80",
        "a.example:http",
        "a.example:-1",
        "a.example, b.example",
        " a.example",
        "a.example\n",
        "::1",
        "[::1",
        "[::1]x",
        "[fe80::1%25eth0]",
        "<script>",
        '"',
        "b\xfccher.example",
    ],
)
def test_a_broken_host_is_refused(host: str) -> None:
    with pytest.raises(MalformedRequest, match="Host"):
        post(HTTP_HOST=host)


@total
@hypothesis.given(path=ANY_TEXT, host=ANY_TEXT, method=ANY_TEXT)
def test_reading_a_request_is_total(path: str, host: str, method: str) -> None:
    with suppress(NotFound, MalformedRequest):
        request = post(PATH_INFO=path, HTTP_HOST=host, REQUEST_METHOD=method)
        assert (request.method, request.host) == (method, host)


# The query


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (None, []),  # PEP 3333 lets a server leave it out
        ("", []),
        ("a=1", ["1"]),
        ("b=2&a=1&a=1&a=2", ["1", "1", "2"]),
        ("a", [""]),
        ("a=", [""]),
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
    ],
)
def test_a_query_parameter_has_all_its_values(query: str | None, values: list[str]) -> None:
    assert post(QUERY_STRING=query).query("a") == values


@total
@hypothesis.given(pairs=st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.text())))
def test_whatever_is_written_into_a_query_is_read_from_it(pairs: list[tuple[str, str]]) -> None:
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


def test_a_query_of_any_length_is_read() -> None:
    assert post(QUERY_STRING="a=1&" * 50_000).query("a") == ["1"] * 50_000
    assert post(QUERY_STRING="a=" + "%" * 200_000).query("a") == ["%" * 200_000]


def test_a_request_does_not_show_its_headers_when_it_is_printed() -> None:
    request = post(b'{"password": "python"}', HTTP_AUTHORIZATION="Basic bWlndWVsOnB5dGhvbg==")
    assert "bWlndWVs" not in repr(request)


def test_a_route_that_forgot_to_ask_for_credentials_lets_nobody_in() -> None:
    with pytest.raises(BadCredentials):
        post().identified()
    with pytest.raises(BadCredentials):
        post().verified()


ACCOUNT = Account(1, "miguel", "-", 0, None, 1, ())
SESSION = Session("s", 1, "miguel", (), 0, 0, 9, 9, None, None, "192.0.2.7", "")


def test_a_handler_that_needs_the_password_does_not_get_a_token_for_it() -> None:
    """Even where the route's access was forgotten."""
    by_password = Caller(User(1, "miguel", (), None, "password"), ACCOUNT)
    by_token = Caller(User(1, "miguel", (), "s", "token"), SESSION)
    assert replace(post(), caller=by_password).verified() is ACCOUNT
    with pytest.raises(PasswordRequired):
        replace(post(), caller=by_token).verified()


# Where it comes from


def test_a_client_is_the_peer_of_the_connection_and_what_it_calls_itself() -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": "192.0.2.7", "HTTP_USER_AGENT": "curl/8.5.0"}
    assert client_of(environ) == Client("192.0.2.7", "curl/8.5.0")
    assert post(**environ).client == Client("192.0.2.7", "curl/8.5.0")
    assert client_of({}) == Client("", "")  # a Unix socket


@pytest.mark.parametrize(
    "name",
    [
        "X_FORWARDED_FOR",
        "FORWARDED",
        "X_REAL_IP",
        "CLIENT_IP",
        "TRUE_CLIENT_IP",
        "CF_CONNECTING_IP",
    ],
)
def test_a_header_does_not_say_where_a_request_comes_from(name: str) -> None:
    environ = {"REMOTE_ADDR": "192.0.2.7", f"HTTP_{name}": "for=198.51.100.1"}
    assert client_of(environ).peer == "192.0.2.7"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Mozilla/5.0 (X11; Linux) ~", "Mozilla/5.0 (X11; Linux) ~"),
        ("a\x1b[2J\x00\tb\x7f\x9b", "a?[2J??b??"),  # nothing that rules a terminal
        ("caf\xc3\xa9", "caf??"),
        ("x" * 201, "x" * 200),
        ("\xff" * 100_000, "?" * 200),
    ],
    ids=["as it is", "controls", "UTF-8", "201 characters", "much"],
)
def test_a_user_agent_is_bounded_and_printable(sent: str, kept: str) -> None:
    assert MAX_USER_AGENT_LENGTH == 200
    assert client_of({"HTTP_USER_AGENT": sent}).user_agent == kept


@total
@hypothesis.given(user_agent=ANY_TEXT, peer=ANY_TEXT)
def test_saying_where_it_comes_from_is_total(user_agent: str, peer: str) -> None:
    found = client_of({"HTTP_USER_AGENT": user_agent, "REMOTE_ADDR": peer})
    assert found.peer == peer
    assert found.user_agent.isascii()
    assert found.user_agent.isprintable()


# The answer


class Started:
    """A server's start_response that remembers."""

    status: str
    headers: list[tuple[str, str]]

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
        self.status, self.headers = status, headers

    def names(self) -> set[str]:
        return {name for name, _ in self.headers}


def sent(response: Response, method: str = "GET", scheme: str = "http") -> tuple[Started, bytes]:
    started = Started()
    environ = {"REQUEST_METHOD": method, "wsgi.url_scheme": scheme}
    return started, b"".join(send(response, environ, started))


def test_json_has_its_members_sorted_and_ends_in_a_newline() -> None:
    response = json_response(200, {"b": "\u00e9\u2028", "a": [1, None]}, ("X-More", "1"))
    assert response == Response(
        200,
        b'{"a": [1, null], "b": "\\u00e9\\u2028"}\n',
        (("Content-Type", "application/json"), ("X-More", "1")),
    )


def test_an_answer_with_more_headers_is_the_same_answer_but_for_them() -> None:
    first, second, third = ("X-First", "1"), ("X-Second", "2"), ("X-Second", "3")
    response = Response(201, b"a", (first,))
    assert response.with_headers(second, third) == Response(201, b"a", (first, second, third))
    assert response.with_headers() is response
    assert response.headers == (first,)  # and the old one is as it was


def test_an_answer_tells_its_status_in_words_and_its_length() -> None:
    started, body = sent(Response(405, b"no\n"))
    assert started.status == "405 Method Not Allowed"
    assert ("Content-Length", "3") in started.headers
    assert body == b"no\n"


def test_the_answer_to_head_has_the_headers_of_get_and_no_body() -> None:
    response = json_response(200, {"a": 1})
    (to_get, _), (to_head, body) = sent(response, "GET"), sent(response, "HEAD")
    assert to_head.headers == to_get.headers
    assert body == b""


def test_a_204_has_no_content_length() -> None:
    started, body = sent(Response(204))
    assert started.status == "204 No Content"
    assert "Content-Length" not in started.names()
    assert body == b""


def test_an_empty_answer_says_that_it_is_empty() -> None:
    started, body = sent(Response(200))
    assert ("Content-Length", "0") in started.headers
    assert body == b""


def test_strict_transport_is_asked_for_over_https_only() -> None:
    over_http, _ = sent(Response(204))
    over_https, _ = sent(Response(204), scheme="https")
    assert "Strict-Transport-Security" not in over_http.names()
    assert ("Strict-Transport-Security", "max-age=31536000") in over_https.headers
