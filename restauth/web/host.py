"""Parse a Host header: `uri-host [ ":" port ]`, RFC 9110 section 7.2.

Rule: total. A uri-host is the whole rule `host` of RFC 3986 section 3.2.2 and nothing else: so what
is taken can stand in a URI. It says nothing about trust: see `location`.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

_NAME = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"  # reg-name, which IPv4 is too
_FUTURE = r"\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+\]"
_HOST = re.compile(
    rf"(?P<name>{_NAME}|{_FUTURE}|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]*))?"
)


class Host(NamedTuple):
    """As it was sent. The port is None without a colon, and may be empty or no possible port."""

    name: str
    port: str | None


@lru_cache(maxsize=256)  # each request asks, and most of them for one host
def parse(text: str) -> Host | None:
    """The parts of the header; None when it is not well-formed."""
    match = _HOST.fullmatch(text)
    if match is None or (match["ipv6"] and not _is_ipv6(match["ipv6"])):
        return None
    return Host(match["name"], match["port"])


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
