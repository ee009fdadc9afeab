"""A whole site behind each proxy, with TLS: restauth's own routes beside a guarded application.

Rule: the configurations are the guide's own, word for word but for addresses and files. What is the
same for all proxies is tested here; what is special to nginx is in `test_deploying`.
"""

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.conftest import basic, bearer
from tests.counterparts.conftest import program
from tests.counterparts.test_deploying import HIDDEN, make_certificate
from tests.counterparts.test_proxies import (
    CADDY_HOMES,
    DETOURS,
    NGINX_FRAME,
    Application,
    Seen,
    free_port,
)
from tests.documents import example
from tests.processes import PATIENCE, SERVE, Answer, Server, run, until_deadline

NAME, PASSWORD = "ada", "a violet umbrella stand"
JSON_TYPE = {"Content-Type": "application/json"}
CADDY_FRAME = (
    "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tskip_install_trust\n"
    "\thttp_port PLAIN\n\thttps_port SECURE\n}\n%s"
)
# The page with the configuration, its language, a text that only it has, and how it is run.
PROXIES = {
    "nginx": ("deploying", "nginx", "listen 443 ssl", NGINX_FRAME, "nginx.conf"),
    "caddy": ("proxies", "caddyfile", "example.org {", CADDY_FRAME, "Caddyfile"),
    "haproxy": ("proxies", "haproxy", "bind :443", "%s", "haproxy.cfg"),
}
COMMANDS = {
    "nginx": ("nginx", "-p", ".", "-e", "stderr", "-c", "nginx.conf"),
    "caddy": ("env", *CADDY_HOMES, "caddy", "run", "--config", "Caddyfile"),
    "haproxy": ("haproxy", "-db", "-f", "haproxy.cfg"),
}


class Site(NamedTuple):
    name: str
    directory: Path
    restauth: Server
    application: Application
    port: int  # of https
    plain_port: int

    def connect(self) -> ssl.SSLSocket:
        """A connection to example.org over TLS, with the certificate checked."""
        trust = ssl.create_default_context(cafile=str(self.directory / "tls/fullchain.pem"))
        raw = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return trust.wrap_socket(raw, server_hostname="example.org")

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.sock = self.connect()
        with closing(connection):
            connection.request(method, path, body, {"Host": "example.org", **(headers or {})})
            response = connection.getresponse()
            names = [name.lower() for name, _ in response.getheaders()]
            assert names.count("strict-transport-security") == 1, (path, names)
            assert not [name for name in names if name.startswith("remote-")], path
            found = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, found, response.read())


def page_settings() -> dict[str, str]:
    """What the page sets for the whole site, by the keywords."""
    lines = example("proxies", "sh", "RESTAUTH_REQUIRE_HTTPS").splitlines()
    pairs = dict(line.split("=", 1) for line in lines)
    return {name.removeprefix("RESTAUTH_").lower(): text for name, text in pairs.items()}


@pytest.fixture(scope="module", params=PROXIES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    name = request.param
    program(name)
    directory = tmp_path_factory.mktemp(name)
    make_certificate(directory / "tls")
    pem = [(directory / "tls" / each).read_text() for each in ("fullchain.pem", "privkey.pem")]
    (directory / "site.pem").write_text("".join(pem))
    options = (
        "--trusted-proxy=127.0.0.1",
        "--trusted-proxy-headers=x-forwarded-for x-forwarded-proto",
    )
    with ExitStack() as stack:
        unlimited = {"free_failures": "0", "max_failures": "0"}  # one site for all tests
        rules = {"audit_log": "audit.log", **unlimited, **page_settings()}
        server = Server.start(directory, *SERVE, *options, **rules)
        restauth = stack.enter_context(server)
        application = Application()
        address = stack.enter_context(application.served())
        port, plain_port = free_port(), free_port()
        page, language, mark, frame, file = PROXIES[name]
        text = frame.replace("%s", example(page, language, mark))
        for there, here in {
            "127.0.0.1:5000": str(urlsplit(restauth.address).netloc),
            "127.0.0.1:8000": address,
            "listen 80;": f"listen 127.0.0.1:{plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "bind :80": f"bind 127.0.0.1:{plain_port}",
            "bind :443": f"bind 127.0.0.1:{port}",
            "PLAIN": str(plain_port),
            "SECURE": str(port),
            "/etc/nginx/tls": f"{directory}/tls",
            "/etc/caddy/tls": f"{directory}/tls",
            "/etc/haproxy/": "",
        }.items():
            text = text.replace(there, here)
        (directory / file).write_text(text)
        lua = example("proxies", "lua")
        (directory / "verify.lua").write_text(
            lua.replace("127.0.0.1:5000", str(urlsplit(restauth.address).netloc))
        )
        proxy = stack.enter_context(Server.start(directory, *COMMANDS[name]))
        for number in (port, plain_port):
            for _ in until_deadline():
                assert proxy.process.poll() is None, proxy.output
                try:
                    socket.create_connection(("127.0.0.1", number), PATIENCE).close()
                    break
                except ConnectionRefusedError:
                    pass
        for user in (NAME, "eve"):
            value = {"username": user, "password": PASSWORD}
            forwarded = {"X-Forwarded-Proto": "https"}
            assert restauth.request("POST", "/api/users", forwarded, value).status == 201
        assert run(directory, "user", "roles", "eve", "+editor").returncode == 0
        yield Site(name, directory, restauth, application, port, plain_port)


@pytest.fixture
def seen(site: Site) -> list[Seen]:
    """What comes to the application from now on."""
    site.application.seen.clear()
    return site.application.seen


def test_a_client_registers_logs_in_reaches_the_application_and_logs_out(
    site: Site, seen: list[Seen]
) -> None:
    account = json.dumps({"username": "zoe", "password": PASSWORD}).encode()
    created = site.ask("POST", "/api/users", JSON_TYPE, account)
    assert (created.status, created.json) == (201, {"username": "zoe"})
    assert created.headers["location"].startswith("https://example.org/api/users/")
    password = basic("zoe", PASSWORD)
    token = bearer(site.ask("GET", "/api/token", password).json["token"])
    assert site.ask("GET", "/api/resource", token).json == {"data": "Hello, zoe!"}
    session = site.ask("POST", "/api/sessions", password)
    assert session.headers["location"].startswith("https://example.org/api/sessions/")
    refresh = json.dumps({"refresh_token": session.json["refresh_token"]}).encode()
    assert site.ask("POST", "/api/token", JSON_TYPE, refresh).status == 200
    assert site.ask("GET", "/.well-known/jwks.json").json == {"keys": []}
    assert seen == []
    for credential in (password, token):
        hello = site.ask("GET", "/page?a=%20", credential)
        assert (hello.status, hello.body) == (200, b"Hello, zoe!")
        request = seen.pop()
        assert (request.path, request.query) == ("/page", "a=%20")
        assert "HTTP_AUTHORIZATION" not in request.headers
        assert request.headers["HTTP_HOST"] == "example.org"
        assert request.headers["HTTP_X_FORWARDED_PROTO"] == "https"
        assert request.headers["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert site.ask("DELETE", "/api/token", token).status == 204
    assert site.ask("GET", "/page", token).status == 401
    assert seen == []


def test_without_a_live_credential_the_application_sees_nothing(
    site: Site, seen: list[Seen]
) -> None:
    for credential in ({}, basic(NAME, "wrong"), bearer("junk")):
        for path in (
            "/",
            "/page",
            "/admin",
            "/apis",
            "/.well-known/other",
            "/.well-known/jwks.json2",
        ):
            refused = site.ask("GET", path, credential)
            assert refused.status == 401, (path, credential)
            assert refused.headers["www-authenticate"]
        for path in ("/api/resource", "/api/token", "/api/users/me"):
            assert site.ask("GET", path, credential).status == 401
    assert seen == []


def test_a_client_does_not_say_who_or_where_it_is(site: Site, seen: list[Seen]) -> None:
    claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http", "Forwarded": "for=x"}
    for name in ("Remote-User", "remote_user"):
        assert site.ask("GET", "/", {name: "root", **claims}).status == 401
        assert seen == []
        assert site.ask("GET", "/", {name: "root", **claims, **basic(NAME, PASSWORD)}).status == 200
        headers = seen.pop().headers
        assert headers["HTTP_REMOTE_USER"] == NAME
        assert "root" not in str(headers)
        assert headers["HTTP_X_FORWARDED_PROTO"] == "https"
    assert site.ask("GET", "/api/token", claims | basic(NAME, PASSWORD)).status == 200
    log = (site.directory / "audit.log").read_text()
    assert set(re.findall(r'"login", .*?"peer": "([^"]*)"', log)) == {"127.0.0.1"}


def test_a_client_cannot_ask_what_the_proxy_asks(site: Site, seen: list[Seen]) -> None:
    """`ask` looks at the headers."""
    for path in HIDDEN:
        answer = site.ask("GET", path, basic(NAME, PASSWORD))
        is_the_applications = path.startswith(("/_", "/%5F")) and answer.status == 200
        assert answer.status in (400, 404) or is_the_applications, path
    assert not [request for request in seen if "api" in request.path]


def test_a_role_is_asked_for_or_arrives(site: Site, seen: list[Seen]) -> None:
    assert site.ask("GET", "/admin", basic("eve", PASSWORD)).status == 200
    assert seen.pop().headers["HTTP_REMOTE_GROUPS"] == "editor"
    if site.name != "nginx":  # whose site has no part for a role
        for path in ("/admin", "/admin/x", "/%61dmin"):
            assert site.ask("GET", path, basic(NAME, PASSWORD)).status in (400, 403), path
        assert seen == []


# What one of the three may take for a path of restauth, and another one for the application's.
BETWEEN = (
    "/api/../page", "/api/%2e%2e/page", "/api/..%2fpage", "/%61pi/token", "/api%2Ftoken",
    "/API/token", "/api", "/api;/x", "/api/;/../page", "//api/token", "/x/../api/token",
    "/.well-known/../page",
    "/.well-known/jwks.json/..", "/.well-known/jwks.json/x", "/.WELL-KNOWN/JWKS.JSON",
    "/api#/../page",
    "/api%00/token", "/api\\token", "http://h/api/token", "http://h/page", "*", "api/token",
    "/page",
)  # fmt: skip


def test_what_was_checked_is_what_the_application_gets(site: Site, seen: list[Seen]) -> None:
    """In whatever way a path is written: with the name of the user, and without the credential."""
    header = basic(NAME, PASSWORD)["Authorization"]
    for credential in ("", f"Authorization: {header}\r\n"):
        assert seen == []
        for target in (*DETOURS, *BETWEEN):
            with closing(site.connect()) as connection:
                lines = f"GET {target} HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n"
                connection.sendall(f"{lines}{credential}\r\n".encode())
                while connection.recv(65_536):
                    pass
    assert {request.headers.get("HTTP_REMOTE_USER") for request in seen} == {NAME}
    assert not [request for request in seen if "HTTP_AUTHORIZATION" in request.headers]
    assert not [request for request in seen if request.path.startswith("/api/")]
    if site.name != "nginx":  # whose site has no part for a role
        assert not [request for request in seen if "admin" in request.path]


def test_an_upload_of_two_mebibytes_passes(site: Site, seen: list[Seen]) -> None:
    body = bytes(2**21)
    assert site.ask("POST", "/upload", basic(NAME, PASSWORD), body).status == 200
    assert seen.pop().body == body


def test_plain_http_is_sent_to_https_and_reaches_no_server(site: Site, seen: list[Seen]) -> None:
    for method, path in (("GET", "/page?a=1"), ("POST", "/api/users"), ("GET", "/api/verify")):
        with closing(HTTPConnection("127.0.0.1", site.plain_port, timeout=PATIENCE)) as connection:
            connection.request(method, path, headers={"Host": "example.org"})
            answer = connection.getresponse()
            assert answer.status == 308
            address = urlsplit(answer.headers["Location"])
            assert (address.scheme, address.hostname) == ("https", "example.org")
            assert f"{address.path}?{address.query}".rstrip("?") == path
    assert seen == []
