"""Parse a peer: the network address of a client, as a server hands it over.

Rule: total, and one client has one spelling. An IPv4 client has its IPv4 address, whether it came
over IPv4, over an IPv6 socket (`::ffff:203.0.113.6`) or through a translator (RFC 6052). Brackets
and a port, which proxies add, are not part of an address.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

MAX_LENGTH = 64  # characters; an IPv6 address has 39, and a zone may follow

# "[2001:db8::5]:1234", "[2001:db8::5]" and "203.0.113.6:1234".
_DECORATED = re.compile(r"\[([^]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_TRANSLATED = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1: the IPv4 address is at the end


def parse(peer: str) -> IPv4Address | IPv6Address | None:
    """The address; None for a text that is none, such as that of a Unix socket."""
    if len(peer) > 2 * MAX_LENGTH:
        return None
    match = _DECORATED.fullmatch(peer)
    try:
        address = ip_address(match[1] or match[2] or "" if match else peer)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def show(peer: str, port: str = "") -> str:
    """The one spelling of the address, with a link-local address's zone; any other text bounded,
    and with "?" for what cannot be printed or stored. `port` is what the server took for the port.

    waitress takes the end of an unbracketed IPv6 address in a forwarding header for its port: of
    `::ffff:203.0.113.6` it gives the peer `::ffff`, which would be every IPv4 client.
    """
    whole = f"{peer}:{port}"
    candidates = (peer, whole) if not port or port.isdecimal() else (whole, peer)
    # The last one: what is shown once is shown so again, without its port.
    shown = (_show(text) for text in (*candidates, f"{peer}:"))
    return next(filter(None, shown), None) or _printable(peer[:MAX_LENGTH])


@lru_cache(maxsize=1024)  # each request asks, and clients come back
def _show(peer: str) -> str:
    """The spelling of an address; empty for a text that is none."""
    address = parse(peer)
    return _printable(str(address)[:MAX_LENGTH]) if address else ""


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
