"""Location: an address to follow, and never an echo of what a stranger sent."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth import settings
from restauth.errors import MalformedRequest
from restauth.web.http import parse_request
from restauth.web.location import location
from tests.conftest import ServicesFactory, client_of

PATH = "/api/users/7"
total = hypothesis.settings(max_examples=200, deadline=None, derandomize=True)


def located(environ: dict[str, Any], **keywords: object) -> str:
    """The Location of PATH for a request with this environ, under these settings."""
    request = parse_request(webtest.TestRequest.blank("/", environ).environ)
    name, value = location(request, PATH, settings.load({}, keywords))
    assert name == "Location"
    return value


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:5000",
        "LocalHost:1",
        "127.0.0.1",
        "127.0.0.1:65535",
        "127.1.2.3:5000",
        "[::1]",
        "[::1]:5000",
    ],
)
def test_a_loopback_host_cannot_lead_elsewhere_and_is_repeated(host: str) -> None:
    assert located({"HTTP_HOST": host}) == f"http://{host}{PATH}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "evil.example.localhost",
        "127.0.0.1.evil.example",
        "evil.127.0.0.1",
        "127.0.0.1evil",
        "127.0.0",
        "127.999.1.1",  # no address: a name that somebody may be made to resolve
        "127.0.0.256",
        "127.0.0.1.1",
        "127.0.0.1.",
        "127-0.0.1",
        "127.0-0.1",
        "127.0.0-1",
        "0.0.0.0:5000",
        "[::]",
        "[::2]",
        "",
        ":5000",
    ],
)
def test_a_host_header_attack_gets_a_path_and_no_echo(host: str) -> None:
    assert located({"HTTP_HOST": host}) == PATH


@pytest.mark.parametrize("port", ["", "0", "00080", "080", "65536", "99999", "655350"])
def test_a_port_that_cannot_be_is_not_repeated(port: str) -> None:
    assert located({"HTTP_HOST": f"localhost:{port}"}) == PATH


@pytest.mark.parametrize(
    "name", ["X-Forwarded-Host", "X-Forwarded-Server", "Forwarded", "X-Host", "X-Original-URL"]
)
def test_a_host_by_another_header_is_not_looked_at(name: str) -> None:
    key = "HTTP_" + name.upper().replace("-", "_")
    assert located({key: "evil.example", "HTTP_HOST": "localhost"}) == f"http://localhost{PATH}"


def test_a_request_without_host_gets_a_path() -> None:
    environ = webtest.TestRequest.blank("/").environ
    del environ["HTTP_HOST"]
    assert location(parse_request(environ), PATH, settings.load({})) == ("Location", PATH)


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("a.example", True),
        ("A.Example", True),
        ("a.example:8443", True),  # a name without a port stands for every port
        ("a.example:99999", False),
        ("b.example:8443", True),
        ("b.example", False),  # a name with a port stands for that port
        ("b.example:8444", False),
        ("[2001:db8::1]:8443", True),
        ("[2001:db8::1]", False),
        ("c.a.example", False),
        ("a.example.evil", False),
    ],
)
def test_an_allowed_host_is_repeated(host: str, is_allowed: bool) -> None:
    allowed = "a.example, B.example:8443, [2001:db8::1]:8443"
    expected = f"http://{host}{PATH}" if is_allowed else PATH
    assert located({"HTTP_HOST": host}, allowed_hosts=allowed) == expected


def test_the_base_url_goes_before_every_host() -> None:
    for host in ("localhost", "evil.example"):
        environ = {"HTTP_HOST": host, "SCRIPT_NAME": "/inside"}
        value = located(environ, base_url="https://auth.example.org/v1/", allowed_hosts=host)
        assert value == f"https://auth.example.org/v1{PATH}"


@pytest.mark.parametrize(
    ("script_name", "prefix"),
    [
        ("", ""),
        ("/auth", "/auth"),
        ("/a/b", "/a/b"),
        ("/", ""),
        ("/auth/", "/auth"),
        ("auth", "/auth"),
        ("//evil.example", "/evil.example"),  # two slashes would begin a host
        ("///", ""),
        ("/caf\xc3\xa9 \xff", "/caf%C3%A9%20%FF"),  # bytes as latin-1 characters, PEP 3333
        ("/a\r\nb?c#d%", "/a%0D%0Ab%3Fc%23d%25"),
    ],
)
def test_the_mount_point_is_part_of_it(script_name: str, prefix: str) -> None:
    mounted = {"SCRIPT_NAME": script_name}
    assert located({**mounted, "HTTP_HOST": "localhost"}) == f"http://localhost{prefix}{PATH}"
    assert located({**mounted, "HTTP_HOST": "evil.example"}) == prefix + PATH


def test_the_scheme_is_the_requests() -> None:
    environ = {"HTTP_HOST": "localhost", "wsgi.url_scheme": "https"}
    assert located(environ) == f"https://localhost{PATH}"


@total
@hypothesis.given(
    host=st.from_regex(r"[a-z0-9.\[\]-]{0,12}(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{0,6})?")
)
def test_a_location_never_leads_away_from_the_loopback(host: str) -> None:
    try:
        where = urlsplit(located({"HTTP_HOST": host}))
    except MalformedRequest:
        return
    assert where.path == PATH
    assert where.hostname in (None, "localhost") or ip_address(where.hostname).is_loopback


# Through the front door


def registered(client: webtest.TestApp, host: str, status: int = 201) -> webtest.TestResponse:
    body = {"username": "miguel", "password": "python"}
    return client.post_json("/api/users", body, headers={"Host": host}, status=status)


def test_a_new_user_is_located_and_found_there(client: webtest.TestApp) -> None:
    where = registered(client, "localhost:5000").headers["Location"]
    assert where == "http://localhost:5000/api/users/1"
    assert client.get(urlsplit(where).path).json == {"username": "miguel"}


def test_a_new_user_below_a_mount_point_is_located_there(make_services: ServicesFactory) -> None:
    client = client_of(make_services(), SCRIPT_NAME="/d\xc3\xa9pt")
    answer = registered(client, "localhost:5000")
    assert answer.headers["Location"] == "http://localhost:5000/d%C3%A9pt/api/users/1"


def test_a_foreign_host_is_not_echoed_anywhere(client: webtest.TestApp) -> None:
    answer = registered(client, "evil.example")
    assert answer.headers["Location"] == "/api/users/1"
    assert "evil" not in str(answer.headers) + answer.text


@pytest.mark.parametrize("host", ["evil.example/", "a b", "<script>", "localhost:80:80"])
def test_a_broken_host_is_refused_and_not_echoed(client: webtest.TestApp, host: str) -> None:
    assert host not in registered(client, host, status=400).text
