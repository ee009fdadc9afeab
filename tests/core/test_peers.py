"""Peers: one client has one spelling, however its address comes."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restauth.core.peers import MAX_LENGTH, parse, show
from tests.core.inputs import ANY_TEXT, LIMITED

SPELLINGS = {
    "203.0.113.6": [
        *("203.0.113.6", "203.0.113.6:51234", "::ffff:203.0.113.6", "::FFFF:CB00:7106"),
        *("[::ffff:203.0.113.6]", "[::ffff:203.0.113.6]:51234", "0:0:0:0:0:ffff:203.0.113.6"),
        *("64:ff9b::203.0.113.6", "64:ff9b::cb00:7106", "[64:ff9b::cb00:7106]:51234"),
    ],
    "2001:db8::5": [
        *("2001:db8::5", "2001:0DB8:0:0:0:0:0:5", "[2001:db8::5]", "[2001:db8::5]:1234"),
    ],
    "64:ff9b:0:1::cb00:7106": ["64:ff9b:0:1::203.0.113.6"],  # beside the translator's prefix
    "fe80::1%eth0": ["fe80::1%eth0", "[fe80::1%eth0]:99"],
    "0.0.0.0": ["0.0.0.0", "::ffff:0.0.0.0"],  # noqa: S104
}  # fmt: skip
NO_ADDRESSES = [
    *("", "-", "localhost", "unknown", "_hidden", "203.0.113.6:", "203.0.113.6:x", ":80"),
    *("203.0.113.0/24", "203.0.113.006", "[203.0.113.6", "[]", "[]:99", "[2001:db8::5]:"),
    *("[2001:db8::5]1", "[2001:db8::5]:9x", "2001:db8::g", "\u0662.1.1.1", "1.1.1.1\n", "\ud800"),
    "a\0b",
]  # fmt: skip
# What waitress gives for an address in X-Forwarded-For: it takes the end of a bare one for a port.
SPLIT = [
    ("::ffff", "203.0.113.6", "203.0.113.6"),
    ("64:ff9b:", "203.0.113.6", "203.0.113.6"),
    ("fe80:", "1%eth0.100", "fe80::1%eth0.100"),
    ("2001:db8:", "5", "2001:db8::5"),
    ("2001:db8:", "", "2001:db8::"),
    ("2001:db8::5", "51234", "2001:db8::5"),  # a port
    ("203.0.113.6", "51234", "203.0.113.6"),
    ("203.0.113.6", "None", "203.0.113.6"),
    ("localhost", "None", "localhost"),  # a Unix socket
    ("", "", ""),
]


@pytest.mark.parametrize("shown", SPELLINGS)
def test_one_client_has_one_spelling(shown: str) -> None:
    assert {show(peer) for peer in SPELLINGS[shown]} == {shown}
    assert {parse(peer) for peer in SPELLINGS[shown]} == {ip_address(shown)}


@pytest.mark.parametrize("peer", NO_ADDRESSES)
def test_a_text_that_is_no_address_stays_as_it_is_but_for_what_cannot_be_printed(peer: str) -> None:
    assert parse(peer) is None
    assert show(peer) == "".join(char if char.isprintable() else "?" for char in peer)


def test_a_long_text_is_no_address() -> None:
    """Nor is it read to its end, or kept."""
    for peer in ("1." * 10_000, f"fe80::1%{'x' * 10_000}"):
        assert parse(peer) is None
        assert show(peer) == peer[:MAX_LENGTH]


@pytest.mark.parametrize(("peer", "port", "shown"), SPLIT)
def test_the_end_of_an_address_is_no_port(peer: str, port: str, shown: str) -> None:
    assert show(peer, port) == shown


@LIMITED
@given(st.ip_addresses(), st.integers(0, 65_535))
def test_a_port_makes_no_other_client(address: IPv4Address | IPv6Address, port: int) -> None:
    """A client that opens a connection for each guess gets a new port, and not a new count."""
    bare = f"[{address}]" if address.version == 6 else str(address)
    assert show(f"{bare}:{port}") == show(str(address)) == show(str(address), str(port))


@LIMITED
@example(":", "")
@example(":", "00000")
@given(
    ANY_TEXT | st.ip_addresses().map(str) | st.text("0123456789abcdef:.%/[] ", max_size=40),
    ANY_TEXT | st.text("0123456789.", max_size=5),
)
def test_any_peer_is_shown_within_bounds_and_is_then_the_same_client(peer: str, port: str) -> None:
    shown = show(peer, port)
    assert len(shown) <= MAX_LENGTH
    assert show(shown) == shown
    assert shown.isprintable()  # a database of PostgreSQL takes no NUL and no half of a character
