"""Location: an address to follow, and never a copy of what a client sent as Host."""

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth import settings
from restauth.web.http import Request
from restauth.web.location import location
from tests.web.conftest import total

PATH = "/api/users/7"


def located(environ: dict[str, Any], **keywords: object) -> str:
    """The Location of PATH for a request with this environ, under these settings."""
    request = Request(webtest.TestRequest.blank("/", environ).environ)
    name, value = location(request, PATH, settings.load({}, keywords))
    assert name == "Location"
    return value


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:5000", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535",
        "127.1.2.3:5000", "[::1]", "[::1]:5000",
    ],
)  # fmt: skip
def test_a_loopback_host_cannot_lead_elsewhere_and_is_repeated(host: str) -> None:
    for scheme in ("http", "https"):
        environ = {"HTTP_HOST": host, "wsgi.url_scheme": scheme}
        assert located(environ) == f"{scheme}://{host}{PATH}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:5000", "localhost.evil.example", "evil.example.localhost",
        "127.0.0.1.evil.example", "evil.127.0.0.1", "127.0.0.1evil", "127.0.0",
        "127.999.1.1",  # no address: a name that a resolver may know
        "127.0.0.256", "127.0.0.1.1", "127.0.0.1.", "127-0.0.1", "127.0-0.1", "127.0.0-1",
        "0.0.0.0:5000", "[::]", "[::2]", "", ":5000",
        # A port that cannot be.
        "localhost:", "localhost:0", "localhost:00080", "localhost:65536", "localhost:655350",
    ],
)  # fmt: skip
def test_any_other_host_gets_a_path_and_no_copy_of_it(host: str) -> None:
    assert located({"HTTP_HOST": host}) == PATH


@pytest.mark.parametrize("name", ["X_FORWARDED_HOST", "FORWARDED", "X_HOST", "X_ORIGINAL_URL"])
def test_a_host_in_another_header_is_not_looked_at(name: str) -> None:
    environ = {f"HTTP_{name}": "evil.example", "HTTP_HOST": "localhost"}
    assert located(environ) == f"http://localhost{PATH}"


def test_a_request_without_host_gets_a_path() -> None:
    environ = webtest.TestRequest.blank("/").environ
    del environ["HTTP_HOST"]
    assert location(Request(environ), PATH, settings.load({})) == ("Location", PATH)


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


@total
@hypothesis.given(
    host=st.from_regex(r"[a-z0-9.\[\]-]{0,12}(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{0,6})?")
)
def test_a_location_never_leads_away_from_the_loopback(host: str) -> None:
    where = urlsplit(located({"HTTP_HOST": host}))
    assert where.path == PATH
    assert where.hostname in (None, "localhost") or ip_address(where.hostname).is_loopback
