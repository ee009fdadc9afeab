"""Real proxies that ask /api/verify before they let a request through.

Rule: the configurations are the guide's own, word for word but for the addresses, in a frame that
lets a process run in the foreground and keep to its directory.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from time import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from restauth import settings
from restauth.core.access_tokens import AccessTokens, Claims
from restauth.core.token_issuing import TokenIssuing
from restauth.services import build_keys
from tests.conftest import basic, bearer
from tests.counterparts.conftest import library, program
from tests.documents import chapter, example, examples, read
from tests.processes import PATIENCE, SERVE, Server, receive, run, until_deadline


class Proxy(NamedTuple):
    """Its command, its files by the page's language of them, the frame around the first of them,
    and what it says when restauth is gone."""

    command: tuple[str, ...]
    files: dict[str, str]
    frame: str
    status_when_alone: int


# Of the examples in a language, the configuration; and the line before which preflights are added.
MARKS = {"nginx": "location = /_verify {", "caddyfile": ":8080 {", "haproxy": "bind :8080"}
ORIGIN = {"nginx": "$allowed_origin", "caddyfile": "@preflight", "haproxy": "allowed_origin"}
PREFLIGHTS = {
    "nginx": "    location / {",
    "caddyfile": "\t\trespond @odd 400",
    "haproxy": "    http-request deny deny_status 400 unless",
}
NGINX_FRAME = """
daemon off; master_process off; pid nginx.pid; error_log stderr; events {}
http {
    access_log off; client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    %s
}
"""
CADDY_FRAME = "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n%s"
CADDY_HOMES = ("HOME=.", "XDG_CONFIG_HOME=.", "XDG_DATA_HOME=.")
PROXIES = {
    "nginx": Proxy(
        ("nginx", "-p", ".", "-e", "stderr", "-c", "nginx.conf"),
        {"nginx": "nginx.conf"},
        NGINX_FRAME,
        500,
    ),
    "caddy": Proxy(
        ("env", *CADDY_HOMES, "caddy", "run", "--config", "Caddyfile"),
        {"caddyfile": "Caddyfile"},
        CADDY_FRAME,
        502,
    ),
    "haproxy": Proxy(
        ("haproxy", "-db", "-f", "haproxy.cfg"),
        {"haproxy": "haproxy.cfg", "lua": "verify.lua"},
        "%s",
        503,
    ),
}

BASIC = 'Basic realm="Authentication Required", charset="UTF-8"'
BEARER = 'Bearer realm="Authentication Required"'
STALE = 'Bearer realm="Authentication Required", error="invalid_token"'
HTTP_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")
MAX_FAILURES = 3

Header = tuple[str, str]

_numbers = count(1)


class Seen(NamedTuple):
    """A request as it has come to the application; headers by their names in the environ."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Application:
    """Says hello to whom it is told to. Like most, it takes Remote_User for Remote-User."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        headers = {name: text for name, text in environ.items() if name.startswith("HTTP_")}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        request = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
        self.seen.append(Seen(*request, headers, body))
        start_response("200 OK", [("Content-Type", "text/plain")])
        hello = f"Hello, {headers.get('HTTP_REMOTE_USER')}!".encode()
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [hello]

    @contextmanager
    def served(self) -> Iterator[str]:
        """Its host and port."""
        with make_server("127.0.0.1", 0, self, _ThreadingServer, _QuietHandler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Standard error is for the tests."""


class Site(NamedTuple):
    directory: Path
    restauth: Server
    application: Application
    address: str  # the application's


class Person(NamedTuple):
    """A user whose password is `pw`."""

    id: int
    name: str


class Reply(NamedTuple):
    status: int
    challenges: list[str]
    body: bytes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """restauth as the page says that it be served, and an application; no proxy yet."""
    (options,) = re.findall(r"`restauth serve( --trusted-proxy[^`]*)`", read("proxies"))
    rules = {"audit_log": "audit.log", "username_pattern": ".+", "max_failures": str(MAX_FAILURES)}
    directory = tmp_path_factory.mktemp("site")
    application = Application()
    with (
        Server.start(directory, *SERVE, *options.split(), **rules) as restauth,
        application.served() as address,
    ):
        yield Site(directory, restauth, application, address)


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp(request.param)
    with started(request.param, directory, site.restauth, site.address) as server:
        yield server


@pytest.fixture
def seen(site: Site) -> list[Seen]:
    """What comes to the application from now on."""
    site.application.seen.clear()
    return site.application.seen


@pytest.fixture
def ada(site: Site) -> Person:
    name = f"ada{next(_numbers)}"
    return Person(site.restauth.register(name), name)


@pytest.fixture(scope="module")
def editor(site: Site) -> Person:
    assert run(site.directory, "user", "add", "eve", "--password-stdin", stdin="pw").returncode == 0
    assert run(site.directory, "user", "roles", "eve", "+editor", "+viewer").returncode == 0
    return Person(0, "eve")


@contextmanager
def started(
    name: str,
    directory: Path,
    restauth: Server,
    application: str,
    replaced: Mapping[str, str] | None = None,
    change: Callable[[str], str] | None = None,
) -> Iterator[Server]:
    """The page's proxy, as soon as it listens, with files replaced, or the first one changed."""
    program(name)
    proxy = PROXIES[name]
    port = free_port()
    for language, file in proxy.files.items():
        text = example("proxies", language, MARKS.get(language, ""))
        text = change(text) if change and file in proxy.command else text
        for there, here in {
            "127.0.0.1:5000": str(urlsplit(restauth.address).netloc),
            "127.0.0.1:8000": application,
            "listen 8080": f"listen 127.0.0.1:{port}",
            "bind :8080": f"bind 127.0.0.1:{port}",
            ":8080 {": f":{port} {{",
            "/etc/haproxy/": "",
        }.items():
            text = text.replace(there, here)
        frame = proxy.frame if file in proxy.command else "%s"
        (directory / file).write_text((replaced or {}).get(file) or frame.replace("%s", text))
    with Server.start(directory, *proxy.command) as server:
        server.addresses = [f"http://127.0.0.1:{port}"]
        for _ in until_deadline():
            assert server.process.poll() is None, server.output
            try:
                server.connect().close()
                break
            except ConnectionRefusedError:
                pass
        yield server


def free_port() -> int:
    """A proxy does not say which port it took, and so has to be told one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def password(person: Person, text: str = "pw") -> Header:
    return "Authorization", basic(person.name, text)["Authorization"]


def token(text: str) -> Header:
    return "Authorization", bearer(text)["Authorization"]


def say(
    connection: HTTPConnection, method: str, path: str, *headers: Header, body: bytes = b""
) -> Reply:
    """One request, whose headers may stand twice and are sent as they are."""
    connection.putrequest(method, path)
    for name, text in headers:
        connection.putheader(name, text)
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    response = connection.getresponse()
    challenges = response.headers.get_all("WWW-Authenticate") or []
    assert not [name for name in response.headers if name.lower().startswith("remote")]
    return Reply(response.status, challenges, response.read())


def ask(proxy: Server, method: str, path: str, *headers: Header, body: bytes = b"") -> Reply:
    """One request on a connection of its own."""
    with closing(proxy.connect()) as connection:
        return say(connection, method, path, *headers, body=body)


def tell(proxy: Server, line: str, *headers: str, body: str = "") -> bytes:
    """Any request line at all; what comes back until the proxy hangs up."""
    url = urlsplit(proxy.address)
    with socket.create_connection((str(url.hostname), url.port), timeout=PATIENCE) as connection:
        lines = "\r\n".join((line, *headers, "Connection: close", "", body))
        connection.sendall(lines.encode())
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def events(site: Site, person: Person) -> list[dict[str, Any]]:
    """What the audit log has on somebody."""
    lines = [json.loads(line) for line in (site.directory / "audit.log").read_text().splitlines()]
    return [line for line in lines if line["user_id"] == person.id]


# Who comes through


def test_a_live_credential_comes_through_as_a_name_and_not_as_itself(
    proxy: Server, site: Site, seen: list[Seen], ada: Person
) -> None:
    live = site.restauth.log_in(ada.name)
    as_username = "Authorization", basic(live, "x")["Authorization"]
    for credential in (password(ada), token(live), as_username):
        hello = f"Hello, {ada.name}!".encode()
        assert ask(proxy, "GET", "/page?a=1&a=%20", credential) == (200, [], hello)
        method, path, query, headers, body = seen.pop()
        assert (method, path, query, body) == ("GET", "/page", "a=1&a=%20", b"")
        assert headers["HTTP_REMOTE_USER"] == ada.name
        assert headers.get("HTTP_REMOTE_GROUPS", "") == ""
        assert "HTTP_AUTHORIZATION" not in headers
        assert credential[1] not in str(headers)


def test_nobody_comes_through_without_a_live_credential(
    proxy: Server, site: Site, seen: list[Seen], ada: Person
) -> None:
    ended = site.restauth.log_in(ada.name)
    assert site.restauth.request("DELETE", "/api/token", bearer(ended)).status == 204
    for credential, challenges in (
        ((), [BASIC, BEARER]),
        ((password(ada, "ruby"),), [BASIC, BEARER]),
        ((("Authorization", "Basic junk"),), [BASIC, BEARER]),
        ((token("junk"),), [STALE]),
        ((token(ended),), [STALE]),
    ):
        reply = ask(proxy, "GET", "/page", *credential)
        assert reply.status == 401
        may_be_one = "nginx.conf" in str(proxy.process.args)  # some versions relay the first alone
        assert reply.challenges in ((challenges, challenges[:1]) if may_be_one else (challenges,))
    assert seen == []


def test_an_expired_token_does_not_come_through(
    proxy: Server, site: Site, seen: list[Seen], ada: Person
) -> None:
    """It is as good as another in all but its times."""
    keys = build_keys(settings.load({}, {"key_file": site.directory / "restauth.keys"}))
    keys.read()
    tokens = AccessTokens("restauth", "restauth", 600)
    now = int(time())
    claims = tokens.verify(site.restauth.log_in(ada.name), lambda kid: keys.find(kid, 600), now)

    def minted(claims: Claims) -> Header:
        return token(TokenIssuing("restauth", "restauth").issue(claims, keys.ring.signing_key))

    fresh = replace(claims, issued_at=now - 100, expires_at=now + 500)
    assert ask(proxy, "GET", "/page", minted(fresh)).status == 200
    seen.clear()
    expired = replace(claims, issued_at=now - 600, expires_at=now)
    assert ask(proxy, "GET", "/page", minted(expired))[:2] == (401, [STALE])
    assert seen == []


def test_two_authorization_headers_do_not_come_through(
    proxy: Server, site: Site, seen: list[Seen], ada: Person
) -> None:
    good = password(ada), token(site.restauth.log_in(ada.name))
    for first in good:
        for second in (*good, ("Authorization", "Basic junk"), ("Authorization", "")):
            for both in ((first, second), (second, first)):
                assert ask(proxy, "GET", "/page", *both).status in (400, 401)
    assert seen == []


def test_every_method_is_judged(proxy: Server, seen: list[Seen], ada: Person) -> None:
    preflight = ("Origin", "https://app.example.org"), ("Access-Control-Request-Method", "PUT")
    for method in HTTP_METHODS:
        for headers in ((), preflight):
            assert ask(proxy, method, "/page", *headers).status == 401, method
            assert ask(proxy, method, "/admin", *headers).status == 401, method
    for method, path in (("TRACE", "/"), ("CONNECT", "/"), ("OPTIONS", "*")):
        ask(proxy, method, path)  # a proxy may have an answer of its own
    assert seen == []
    for method in HTTP_METHODS:
        assert ask(proxy, method, "/page", password(ada)).status == 200, method
    assert tuple(request.method for request in seen) == HTTP_METHODS


def test_each_request_of_a_connection_is_judged_by_itself(
    proxy: Server, seen: list[Seen], editor: Person
) -> None:
    with closing(proxy.connect()) as connection:
        for path in ("/admin", "/page"):
            assert say(connection, "GET", path, password(editor)).status == 200
            assert say(connection, "GET", path).status == 401
    assert [request.path for request in seen] == ["/admin", "/page"]


def test_a_body_comes_through_whole_and_is_none_of_restauths_business(
    proxy: Server, seen: list[Seen], ada: Person
) -> None:
    body = bytes(range(256)) * 1000  # restauth would refuse one of this length
    assert ask(proxy, "POST", "/page", body=body).status == 401
    assert seen == []
    assert ask(proxy, "POST", "/page", password(ada), body=body).status == 200
    assert seen[0].body == body


def test_an_upload_is_as_large_as_the_applications_location_allows(
    proxy: Server, seen: list[Seen], ada: Person
) -> None:
    """The question to restauth has no limit of its own."""
    body = bytes(2**21)
    # A proxy may answer before it has read a body, and close: so a small one is refused here.
    assert ask(proxy, "POST", "/upload", body=b"x").status == 401
    assert seen == []
    assert ask(proxy, "POST", "/upload", password(ada), body=body).status == 200
    assert seen.pop().body == body


@pytest.mark.parametrize(
    ("count", "statuses"),
    [
        # 403: the credential came over plain http. 401: it came over TLS, and is missing.
        ("1", {"http": 403, "https": 401, "HTTPS": 401, "wss": 401, "ws": 403, "https,http": 403,
               "http, https": 401, "": 403, "gopher": 400}),
        ("2", {"https,http": 401, "http,https": 403, "https, http, http": 403, "https": 401}),
    ],
    ids=["one proxy", "two proxies"],
)  # fmt: skip
def test_the_forwarded_scheme_is_that_of_the_proxies_own_entry(
    tmp_path: Path, count: str, statuses: dict[str, int]
) -> None:
    (headers,) = re.findall(r"`--trusted-proxy-headers='(.*)'`", read("proxies"))
    options = "--trusted-proxy=127.0.0.1", f"--trusted-proxy-headers={headers}"
    words = (*options, f"--trusted-proxy-count={count}", "--listen=127.0.0.1:0")
    with Server.start(tmp_path, *SERVE, *words, require_https="true") as restauth:
        for address in restauth.addresses:  # with two listening sockets too
            url = urlsplit(address)
            found = {}
            for scheme in statuses:
                with closing(HTTPConnection(str(url.hostname), url.port, timeout=PATIENCE)) as each:
                    each.request("GET", "/api/resource", headers={"X-Forwarded-Proto": scheme})
                    found[scheme] = each.getresponse().status
            assert found == statuses
        assert len(restauth.addresses) == 2


# As whom


@pytest.mark.parametrize(
    "spoofed",
    [
        [("Remote-User", "root"), ("Remote-Groups", "editor")],
        [("remote-user", "root"), ("REMOTE-GROUPS", "editor")],
        [("Remote_User", "root"), ("remote_groups", "editor")],
        [
            ("Remote-User", "root"),
            ("Remote-User", ""),
            ("Remote-Groups", "a"),
            ("Remote-Groups", "b"),
        ],
        [("Remote-User", "root"), ("Connection", "close, Remote-User, Remote-Groups")],
    ],
    ids=["plain", "other case", "underscore", "twice", "hop by hop"],
)
def test_restauth_alone_says_who_it_is(
    proxy: Server, seen: list[Seen], ada: Person, spoofed: list[Header]
) -> None:
    assert ask(proxy, "GET", "/page", *spoofed).status == 401
    assert seen == []
    for headers in ((*spoofed, password(ada)), (password(ada), *spoofed)):
        assert ask(proxy, "GET", "/page", *headers).status == 200
        told = seen.pop().headers
        assert told["HTTP_REMOTE_USER"] == ada.name
        assert told.get("HTTP_REMOTE_GROUPS", "") == ""


def test_a_name_of_any_characters_arrives_in_percent_encoding(
    proxy: Server, site: Site, seen: list[Seen]
) -> None:
    number = next(_numbers)
    zoe = Person(site.restauth.register(f"Zoë {number}%41"), f"Zoë {number}%41")
    assert ask(proxy, "GET", "/page", password(zoe)).status == 200
    assert seen[0].headers["HTTP_REMOTE_USER"] == f"Zo%C3%AB%20{number}%2541"


# Where a role is asked for


ADMIN_PATHS = (
    "/admin", "/admin/", "/admin/x?role=", "/admin?role=viewer", "/admin?a=1&role=%00#", "/admin??",
    "/%61dmin/", "/%61%64%6d%69%6e", "//admin/", "/./admin", "/x/../admin/", "/x/%2e%2e/admin",
    "/x/..%2Fadmin", "/%2Fadmin", "/admin%2F", "/admin;x", "http://127.0.0.1/admin", "admin",
)  # fmt: skip


def test_a_missing_role_keeps_out_whatever_the_client_writes(
    proxy: Server, seen: list[Seen], ada: Person
) -> None:
    for path in ADMIN_PATHS:
        assert ask(proxy, "GET", path, password(ada)).status in (400, 403), path
        assert ask(proxy, "GET", path).status in (400, 401), path
    assert ask(proxy, "GET", "/admin", password(ada))[:2] == (403, [])
    assert seen == []


# What a proxy may judge as one path, and an application take for another.
DETOURS = (
    "/admin/../x", "/admin/..", "/admin/%2e%2e/x", "/admin%2f..%2fx", "/admin/..%2fx",
    "/admin/x/..%2f..", "/admin;/../x", "/admin%3f/../x", "/admin#/../x", "http://h/admin/../x",
    "/admin/%zz", "/admin%", "/admin/%2", "/%61dmin/%zz", "/%zz/../admin", "http:/admin/x",
    "x:/admin/x", "a:http://h/admin", "/x/../admin/..",
)  # fmt: skip


def test_what_was_judged_is_what_the_application_gets(
    proxy: Server, seen: list[Seen], ada: Person
) -> None:
    name, text = password(ada)
    for target in DETOURS:
        for version in ("1.1", "1.0"):
            tell(proxy, f"GET {target} HTTP/{version}", "Host: h", f"{name}: {text}")
    assert not [request for request in seen if "admin" in request.path]


def test_what_is_no_path_comes_through_to_nobody(
    proxy: Server, site: Site, seen: list[Seen], ada: Person
) -> None:
    """Not for an answer that restauth gives to anybody, nor as a tunnel past the proxy."""
    for path in ("/api/health", f"/api/users/{ada.id}", "/.well-known/jwks.json"):
        for method in ("GET", "DELETE"):
            tell(proxy, f"{method} a:http://h{path} HTTP/1.1", "Host: h")
    name, text = password(ada)
    for target in ("h:80", "/", "/page", "http://h/page"):
        inner = "GET /admin HTTP/1.1\r\nHost: h\r\nRemote-User: root\r\n\r\n"
        tell(proxy, f"CONNECT {target} HTTP/1.1", "Host: h", f"{name}: {text}", body=inner)
    assert not [request for request in seen if request.path == "/admin"]
    assert {request.headers["HTTP_REMOTE_USER"] for request in seen} <= {ada.name}


@pytest.mark.parametrize(
    "upgrades", [("h2c",), ("H2C",), ("websocket, h2c",), ("websocket", "h2c"), ("", "h2c"), ("x",)]
)
def test_no_connection_becomes_http_2_past_the_proxy(
    proxy: Server, seen: list[Seen], ada: Person, upgrades: tuple[str, ...]
) -> None:
    headers = [("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABkAAQA")]
    headers += [("Upgrade", upgrade) for upgrade in upgrades]
    assert ask(proxy, "GET", "/page", password(ada), *headers).status in (200, 400)
    assert not [request for request in seen if "HTTP_UPGRADE" in request.headers]


def test_a_client_that_waits_to_be_told_to_go_on_does_not_wait_for_restauth(
    proxy: Server, seen: list[Seen], ada: Person
) -> None:
    expecting = "Expect", "100-continue"
    assert ask(proxy, "GET", "/page", password(ada), expecting).status == 200
    assert ask(proxy, "POST", "/page", password(ada), expecting, body=b"a=1").status == 200
    assert [request.body for request in seen] == [b"", b"a=1"]


def test_a_role_lets_in_whatever_the_client_asks_for(
    proxy: Server, seen: list[Seen], editor: Person
) -> None:
    for path in ("/admin", "/admin/", "/page"):
        for query in ("", "role=", "role=nobody", "role=editor&role=nobody"):
            assert ask(proxy, "GET", f"{path}?{query}", password(editor)).status == 200
            request = seen.pop()
            assert (request.path, request.query) == (path, query)
            assert request.headers["HTTP_REMOTE_GROUPS"] == "editor,viewer"


def test_a_page_without_a_role_asks_for_none(proxy: Server, seen: list[Seen], ada: Person) -> None:
    for path in ("/page?role=editor", "/page?role=", "/?", "/api/verify?role=editor"):
        assert ask(proxy, "GET", path, password(ada)).status == 200, path


def test_what_restauth_tells_the_proxy_is_told_to_nobody_else(
    proxy: Server, seen: list[Seen], ada: Person
) -> None:
    """There is no such path, or it is the application's own; `say` looks at the headers."""
    for path in ("/api/verify", "/_verify", "/_verify?x", "/_verify_editor", "/%5Fverify"):
        assert ask(proxy, "GET", path).status in (401, 404), path
        assert seen == []
        reply = ask(proxy, "GET", path, password(ada))
        assert (reply.status, len(seen)) in ((200, 1), (404, 0)), path
        seen.clear()


# What else is relayed


def test_a_pages_own_fetch_is_not_asked_for_a_password(proxy: Server) -> None:
    """Or the browser would open its window."""
    for header in (("Sec-Fetch-Mode", "cors"), ("X-Requested-With", "XMLHttpRequest")):
        assert ask(proxy, "GET", "/page", header)[:2] == (401, [BEARER])


def test_the_parts_of_a_page_are_asked_for_one_and_those_of_another_site_are_not(
    proxy: Server,
) -> None:
    part = ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")
    own = ask(proxy, "GET", "/1.png", *part, ("Sec-Fetch-Site", "same-origin"))
    assert (own.status, own.challenges[:1]) == (401, [BASIC])
    for other in ("cross-site", "same-site"):
        assert ask(proxy, "GET", "/1.png", *part, ("Sec-Fetch-Site", other))[:2] == (401, [BEARER])


def test_a_guesser_is_shut_out_with_403_and_a_token_goes_on(
    proxy: Server, site: Site, seen: list[Seen], ada: Person
) -> None:
    live = token(site.restauth.log_in(ada.name))
    for _ in range(MAX_FAILURES):
        assert ask(proxy, "GET", "/page", password(ada, "ruby")).status == 401
    for text in ("ruby", "pw"):
        assert ask(proxy, "GET", "/page", password(ada, text))[:2] == (403, [])
    assert seen == []
    assert ask(proxy, "GET", "/page", live).status == 200


def test_the_throttle_sees_the_client_and_not_the_proxy_nor_what_the_client_claims(
    proxy: Server, site: Site, ada: Person
) -> None:
    url = urlsplit(proxy.address)
    claimed = ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "203.0.113.8")
    elsewhere = "127.0.0.2", 0
    with closing(
        HTTPConnection(str(url.hostname), url.port, timeout=PATIENCE, source_address=elsewhere)
    ) as connection:
        for headers in ((), claimed):
            reply = say(connection, "GET", "/page", *headers, password(ada, "ruby"))
            assert reply.status == 401
    failed = [event["peer"] for event in events(site, ada) if event["event"] == "login_failed"]
    assert failed == ["127.0.0.2", "127.0.0.2"]


FORWARDED_FOR = {  # what proxies write, and the client that it is
    "203.0.113.6": ("203.0.113.6", "203.0.113.6:4711", "::ffff:203.0.113.6", "::ffff:cb00:7106",
        "[::ffff:203.0.113.6]:4711", "64:ff9b::203.0.113.6", "64:ff9b::cb00:7106"),
    "2001:db8::5": ("2001:db8::5", "[2001:db8::5]", "[2001:db8::5]:1234", "2001:DB8:0:0::5"),
    "fe80::1%eth0.7": ("fe80::1%eth0.7",),
}  # fmt: skip


@pytest.mark.parametrize("client", FORWARDED_FOR)
def test_a_client_has_one_address_however_a_proxy_writes_it(
    site: Site, ada: Person, client: str
) -> None:
    spellings = FORWARDED_FOR[client]
    for spelling in spellings:
        for form in (spelling, f"198.51.100.1, {spelling}", f'"{spelling}"'):
            headers = {**basic(ada.name, "pw"), "X-Forwarded-For": form}
            assert site.restauth.get("/api/token", headers).status == 200
    shown = site.restauth.get("/api/sessions", basic(ada.name, "pw")).json["sessions"]
    assert [session["peer"] for session in shown] == [client] * 3 * len(spellings)
    logged = [event["peer"] for event in events(site, ada) if event["event"] == "login"]
    assert set(logged) == {client}


def test_a_page_with_its_assets_costs_one_hash(
    proxy: Server, site: Site, seen: list[Seen], ada: Person
) -> None:
    with closing(proxy.connect()) as connection:
        for number in range(50):
            assert say(connection, "GET", f"/{number}.png", password(ada)).status == 200
    assert len(seen) == 50
    assert [event["event"] for event in events(site, ada)] == ["registered", "login"]


def test_the_answers_are_those_that_traefiks_middleware_needs(
    site: Site, ada: Person, editor: Person
) -> None:
    """It asks by GET, and says of the request what these headers say. It lets a request pass after
    any 2xx, with two headers of the answer, and else gives the answer to the client."""
    assert "was not run" in " ".join(chapter("proxies", "Traefik").split())
    shown = library("yaml").safe_load(example("proxies", "yaml", "forwardAuth"))
    middlewares = shown["http"]["middlewares"]
    everyone, editors = (
        urlsplit(middlewares[name]["forwardAuth"]["address"])
        for name in ("restauth", "restauth-editor")
    )
    request = {
        "X-Forwarded-Method": "OPTIONS",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "example.org",
        "X-Forwarded-Uri": "/page?role=nobody",
        "X-Forwarded-For": "203.0.113.6",
    }
    for url, person, groups in ((everyone, ada, ""), (editors, editor, "editor,viewer")):
        asked = f"{url.path}?{url.query}".rstrip("?")
        answer = site.restauth.get(asked, {**request, **basic(person.name, "pw")})
        assert 200 <= answer.status < 300
        told = [answer.headers[name] for name in ("remote-user", "remote-groups")]
        assert told == [person.name, groups]
        for credential, status in (({}, 401), (basic(person.name, "ruby"), 401)):
            answer = site.restauth.get(asked, {**request, **credential})
            assert answer.status == status
            assert answer.headers["www-authenticate"]
            assert not {"location", "remote-user"} & set(answer.headers)
    answer = site.restauth.get(
        f"{editors.path}?{editors.query}", {**request, **basic(ada.name, "pw")}
    )
    assert answer.status == 403
    assert not {"location", "remote-user"} & set(answer.headers)


# Several processes


LUA_ASKS = "127.0.0.1:5000"


def spread(name: str, text: str, one: str, two: str, between: str) -> str:
    """The page's configuration, changed as the page says; HAProxy listens at `between` too."""
    if name == "caddy":
        said = re.findall(r"`((?:health_uri|lb_try_duration) [^`]*)`", read("proxies"))
        block = "".join(f"\t\t\t{line}\n" for line in said)
        return text.replace("127.0.0.1:5000 {\n", f"{one} {two} {{\n{block}")
    added = example("proxies", name, "127.0.0.1:5002")
    for there, here in {"127.0.0.1:5001": one, "127.0.0.1:5002": two, LUA_ASKS: between}.items():
        added = added.replace(there, here)
    text = text.replace("http://127.0.0.1:5000/", "http://restauth/")
    return f"{added}\n{text}" if name == "nginx" else f"{text}\n{added}"


@pytest.mark.parametrize("name", PROXIES)
def test_requests_are_spread_over_two_processes_and_one_is_enough(
    site: Site, tmp_path: Path, name: str
) -> None:
    between = f"127.0.0.1:{free_port()}"
    lua = {"verify.lua": example("proxies", "lua").replace(LUA_ASKS, between)}
    (options,) = re.findall(r"`restauth serve( --trusted-proxy[^`]*)`", read("proxies"))
    command = (*SERVE, *options.split())
    with Server.start(tmp_path, *command) as one:
        first = str(urlsplit(one.address).netloc)  # the first one makes the key ring
        ada = Person(one.register("ada"), "ada")
        with Server.start(tmp_path, *command) as two:
            second = str(urlsplit(two.address).netloc)

            def change(text: str) -> str:
                return spread(name, text, first, second, between)

            with started(name, tmp_path, one, site.address, lua, change) as proxy:
                for _ in until_deadline():  # the first time each of them computes a hash
                    assert ask(proxy, "GET", "/page", password(ada)).status == 200
                    if all('"login"' in server.output for server in (one, two)):
                        break
                one.process.kill()
                one.wait()
                for _ in range(4):
                    assert ask(proxy, "GET", "/page", password(ada)).status == 200


# When something is broken


@pytest.mark.parametrize("name", PROXIES)
def test_without_restauth_nobody_comes_through(
    site: Site, seen: list[Seen], tmp_path: Path, name: str
) -> None:
    with (
        Server.start(tmp_path, *SERVE) as restauth,
        started(name, tmp_path, restauth, site.address) as proxy,
    ):
        ada = Person(restauth.register("ada"), "ada")
        assert ask(proxy, "GET", "/page", password(ada)).status == 200
        seen.clear()
        restauth.process.kill()
        restauth.wait()
        reply = ask(proxy, "GET", "/page", password(ada))
        assert reply[:2] == (PROXIES[name].status_when_alone, [])
    assert seen == []


def test_haproxy_lets_nobody_through_when_the_lua_fails(
    site: Site, seen: list[Seen], ada: Person, tmp_path: Path
) -> None:
    """An error in an action is no verdict: the next rule decides."""
    lua = 'core.register_action("verify", {"http-req"}, function() error("broken") end)'
    with started("haproxy", tmp_path, site.restauth, site.address, {"verify.lua": lua}) as proxy:
        assert ask(proxy, "GET", "/page", password(ada)).status == 503
        assert "broken" in proxy.hear(re.compile("broken"))
    assert seen == []


# Pages of another origin


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_answers_the_preflights_of_one_origin(
    site: Site, seen: list[Seen], ada: Person, tmp_path: Path, name: str
) -> None:
    def with_preflights(text: str) -> str:
        (language, *_) = PROXIES[name].files
        *before, lines = examples("proxies", language, ORIGIN[language])
        assert text.count(PREFLIGHTS[language]) == 1
        return "".join(before) + text.replace(PREFLIGHTS[language], lines + PREFLIGHTS[language])

    ours, other = ("Origin", "https://app.example.org"), ("Origin", "https://example.org")
    asking = "Access-Control-Request-Method", "PUT"
    with started(name, tmp_path, site.restauth, site.address, change=with_preflights) as proxy:
        status, headers = headers_of(proxy, "OPTIONS", ours, asking)
        assert (status, headers["access-control-allow-origin"]) == (204, ours[1])
        assert "PUT" in headers["access-control-allow-methods"]
        assert "Authorization" in headers["access-control-allow-headers"]
        for origin in ((other,), ()):
            for method in ("OPTIONS", "GET"):
                status, headers = headers_of(proxy, method, *origin, asking)
                assert (status, headers["vary"]) == (401, "Origin")
                assert "access-control-allow-origin" not in headers
        status, headers = headers_of(proxy, "GET", ours)
        assert (status, headers["access-control-allow-origin"]) == (401, ours[1])
        assert seen == []
        status, headers = headers_of(proxy, "GET", ours, password(ada))
        assert (status, headers["access-control-allow-origin"]) == (200, ours[1])
        assert headers["access-control-expose-headers"] == "WWW-Authenticate"
    assert len(seen) == 1


def headers_of(proxy: Server, method: str, *headers: Header) -> tuple[int, dict[str, str]]:
    """The status and the headers of the answer, these by their names in lower case."""
    with closing(proxy.connect()) as connection:
        connection.request(method, "/page", headers=dict(headers))
        answer = receive(connection)
        return answer.status, answer.headers
