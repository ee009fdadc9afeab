"""The Location header: where a new resource is, without trusting the Host header.

Rule: an address that a client will follow is made of what the operator configured, or of a host
that cannot lead elsewhere. For any other Host it is a path alone (RFC 9110 section 10.2.2).
"""

import re
from ipaddress import ip_address

from restauth.settings import Settings
from restauth.web.host import parse as parse_host
from restauth.web.http import Request

_PORT = re.compile(r"[1-9][0-9]{0,4}")


def location(request: Request, path: str, settings: Settings) -> tuple[str, str]:
    """A Location header for one of our own paths."""
    host = request.host
    if settings.base_url:
        return "Location", settings.base_url + path
    if host is not None and _is_trusted(host.lower(), settings.allowed_hosts):
        return "Location", f"{request.scheme}://{host}{request.prefix}{path}"
    return "Location", request.prefix + path


def _is_trusted(text: str, allowed_hosts: tuple[str, ...]) -> bool:
    host = parse_host(text)
    if host is None or (host.port is not None and not _is_port(host.port)):
        return False
    return _is_loopback(host.name) or host.name in allowed_hosts or text in allowed_hosts


def _is_port(text: str) -> bool:
    return _PORT.fullmatch(text) is not None and int(text) <= 65_535


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
