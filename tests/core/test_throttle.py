"""The throttle: what a failure costs, whom it costs, and how it is taken back."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restauth.core.throttle import MAX_WAIT, PEER_WINDOW, Key, Throttle, is_global, network_of
from restauth.records import FailureCount

A_LIMITED_RUN = settings(max_examples=300, derandomize=True, deadline=None)

NOW = 1_800_000_000
THROTTLE = Throttle(free_failures=5, max_failures=100, peer_failures=30)
UNLIMITED = Throttle(free_failures=0, max_failures=0, peer_failures=0)
PEER = "8.8.8.8"  # globally routable
PRIVATE = "10.0.0.1"

Rows = dict[Key, FailureCount]

# peer, network
PEERS = {
    "IPv4": ("8.8.8.8", "8.8.8.8"),
    "IPv4, private": ("10.0.0.1", "10.0.0.1"),
    "IPv6, one client's /64": ("2606:4700:1:2:3:4:5:6", "2606:4700:1:2::"),
    "IPv6, another spelling of it": ("2606:4700:0001:0002::ABCD", "2606:4700:1:2::"),
    "IPv6, the next /64": ("2606:4700:1:3::", "2606:4700:1:3::"),
    "IPv6, loopback": ("::1", "::"),
    "IPv4 in IPv6": ("::ffff:8.8.8.8", "8.8.8.8"),
    "IPv4 in IPv6, in hexadecimal": ("::FFFF:808:808", "8.8.8.8"),
    "IPv6 with its zone": ("fe80::1%eth0", "fe80::"),
    "a Unix socket": ("", "-"),
    "IPv6 with brackets and a port": ("[2001:db8::1]:99", "2001:db8::"),
    "IPv6 with brackets": ("[2606:4700:1:2::7]", "2606:4700:1:2::"),
    "IPv4 in IPv6 with brackets and a port": ("[::ffff:8.8.8.8]:99", "8.8.8.8"),
    "IPv6 with all of it": ("[fe80::1%eth0]:99", "fe80::"),
    "IPv6 with no port after the colon": ("[2001:db8::1]:", "[2001:db8::1]:"),
    "IPv6 with a port and more": ("[2001:db8::1]:99x", "[2001:db8::1]:99x"),
    "IPv6 with a bracket never closed": ("[2001:db8::1", "[2001:db8::1"),
    "IPv6 with brackets around a part": ("[2001:db8::]1", "[2001:db8::]1"),
    "brackets around nothing": ("[]:99", "[]:99"),
    "a word": ("localhost", "localhost"),
    "an address and a port": ("8.8.8.8:80", "8.8.8.8:80"),
    "a network": ("8.8.8.0/24", "8.8.8.0/24"),
    "digits of a foreign script": ("٨.8.8.8", "٨.8.8.8"),
    "a lone surrogate": ("\ud800", "\ud800"),
    "garbage without end": ("x" * 10_000, "x" * 64),
}
GLOBAL_PEERS = [
    "8.8.8.8",
    "2606:4700::1",
    "::ffff:8.8.8.8",
    "2606:4700::1%eth0",
    "[2606:4700::1]:99",
    "[2606:4700::1]",
]
PEERS_OF_NO_ONE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.1.1",
    "100.64.0.1",
    "192.0.2.7",
    "0.0.0.0",  # noqa: S104
    "::1",
    "fd00::1",
    "fe80::1%eth0",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "",
    "operator",
    "8.8.8.8:80",
    "[::1]:99",
    "[2001:db8::1]:99",
    "[2606:4700::1]:99x",
    "\ud800",
]


def fail(
    rows: Rows,
    count: int,
    *,
    name: str = "miguel",
    peer: str = PEER,
    now: int = NOW,
    throttle: Throttle = THROTTLE,
) -> None:
    """Book failures at one moment, as the store does; nobody asks whether they may be made."""
    for _ in range(count):
        rows |= throttle.booked(name, peer, rows, now)


def found(rows: Rows, name: str = "miguel", peer: str = PEER) -> Rows:
    """The rows that the store finds for a name and a peer."""
    network = network_of(peer)
    keys = ((name, ""), (name, network), ("", network))
    return {key: rows[key] for key in keys if key in rows}


def wait(
    rows: Rows,
    *,
    name: str = "miguel",
    peer: str = PEER,
    now: int = NOW,
    throttle: Throttle = THROTTLE,
) -> int:
    return throttle.wait(found(rows, name, peer), now)


# A name from one peer


def test_five_failures_are_free_and_then_the_wait_doubles_up_to_fifteen_minutes() -> None:
    rows: Rows = {}
    waits = []
    for _ in range(18):
        fail(rows, 1, peer=PRIVATE)
        waits.append(wait(rows, peer=PRIVATE))
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    assert MAX_WAIT == 900


def test_a_wait_ends_at_the_very_second() -> None:
    rows: Rows = {}
    fail(rows, 8)
    assert [wait(rows, now=NOW + seconds) for seconds in range(6)] == [4, 3, 2, 1, 0, 0]


def test_waiting_forgives_nothing() -> None:
    rows: Rows = {}
    fail(rows, 8)
    fail(rows, 1, now=NOW + 86_400)
    assert wait(rows, now=NOW + 86_400) == 8


def test_another_name_and_another_peer_do_not_wait() -> None:
    """Whoever guesses at an account keeps its owner out from nowhere but there."""
    rows: Rows = {}
    fail(rows, 8)
    assert wait(rows, peer="8.8.4.4") == 0
    assert wait(rows, name="susan") == 0


def test_addresses_that_one_client_can_choose_from_wait_together() -> None:
    rows: Rows = {}
    fail(rows, 8, peer="2606:4700:1:2::1")
    assert wait(rows, peer="2606:4700:1:2:ffff::2") == 4
    assert wait(rows, peer="2606:4700:1:3::1") == 0


def test_the_name_of_a_peer_is_not_the_name_of_a_user() -> None:
    rows: Rows = {}
    fail(rows, 8, name=PEER)
    assert wait(rows, name="miguel") == 0


# A name from anywhere


def test_a_hundred_failures_from_anywhere_shut_the_name_for_every_peer() -> None:
    rows: Rows = {}
    for number in range(99):
        fail(rows, 1, peer=f"8.8.8.{number}")
    assert wait(rows, peer="8.8.4.4") == 0
    fail(rows, 1, peer="8.8.8.99")
    for peer in ("8.8.4.4", PRIVATE, "2606:4700::1", ""):
        assert wait(rows, peer=peer) == MAX_WAIT
        assert wait(rows, peer=peer, now=NOW + 10**9) == MAX_WAIT
    assert wait(rows, name="susan", peer="8.8.4.4") == 0


def test_a_name_that_is_shut_is_shut_whatever_the_clock_says() -> None:
    rows: Rows = {}
    fail(rows, 100)
    for now in (0, NOW - 10**9, NOW + 10**12):
        assert wait(rows, peer="8.8.4.4", now=now) == MAX_WAIT


# A peer


@pytest.mark.parametrize("peer", GLOBAL_PEERS)
def test_thirty_failures_at_any_names_block_the_peer_for_the_rest_of_its_window(peer: str) -> None:
    rows: Rows = {}
    for number in range(29):
        fail(rows, 1, name=f"user{number}", peer=peer, now=NOW + number)
    assert wait(rows, name="susan", peer=peer, now=NOW + 29) == 0
    fail(rows, 1, name="user29", peer=peer, now=NOW + 29)
    for name in ("susan", ""):
        assert wait(rows, name=name, peer=peer, now=NOW + 29) == PEER_WINDOW - 29
        assert wait(rows, name=name, peer=peer, now=NOW + PEER_WINDOW - 1) == 1
        assert wait(rows, name=name, peer=peer, now=NOW + PEER_WINDOW) == 0
    assert wait(rows, name="susan", peer="8.8.4.4", now=NOW + 29) == 0
    assert PEER_WINDOW == 300
    assert is_global(peer)


@pytest.mark.parametrize("peer", PEERS_OF_NO_ONE)
def test_a_peer_behind_which_everybody_may_stand_is_never_blocked(peer: str) -> None:
    rows: Rows = {}
    for number in range(200):
        fail(rows, 1, name=f"user{number}", peer=peer)
    fail(rows, 200, name="", peer=peer)
    assert wait(rows, name="susan", peer=peer) == 0
    assert [key for key in rows if not key[0]] == []
    assert not is_global(peer)


def test_the_next_window_begins_with_the_first_failure_after_the_last() -> None:
    rows: Rows = {}
    fail(rows, 29, name="")
    fail(rows, 29, name="", now=NOW + PEER_WINDOW)
    assert wait(rows, now=NOW + PEER_WINDOW) == 0
    fail(rows, 1, name="", now=NOW + PEER_WINDOW + 7)
    assert wait(rows, now=NOW + PEER_WINDOW + 7) == PEER_WINDOW - 7


def test_a_failure_at_no_account_counts_for_the_peer_alone() -> None:
    assert THROTTLE.booked("", PEER, {}, NOW) == {("", PEER): FailureCount(1, NOW, 0)}
    assert THROTTLE.booked("", PRIVATE, {}, NOW) == {}


@pytest.mark.parametrize(("peer", "network"), PEERS.values(), ids=PEERS)
def test_a_peer_is_counted_by_what_one_client_can_choose_from(peer: str, network: str) -> None:
    assert network_of(peer) == network


@A_LIMITED_RUN
@given(
    st.text(st.characters())
    | st.ip_addresses().map(str)
    | st.text("0123456789abcdef:.%/[] ", max_size=40)
)
def test_any_peer_has_a_network_that_never_stands_for_all(peer: str) -> None:
    assert 1 <= len(network_of(peer)) <= 64
    booked = THROTTLE.booked("miguel", peer, {}, NOW)
    assert (("", network_of(peer)) in booked) == is_global(peer)


@A_LIMITED_RUN
@given(st.ip_addresses(v=6), st.integers(0, 65_535))
def test_brackets_and_a_port_make_no_other_client(address: IPv6Address, port: int) -> None:
    """Whoever opens a connection for each guess gets a new port, and not a new count."""
    for peer in (f"[{address}]", f"[{address}]:{port}"):
        assert network_of(peer) == network_of(str(address))
        assert is_global(peer) == is_global(str(address))


# A success


def test_a_success_leaves_nothing_of_the_name_and_of_the_peer_all_but_itself() -> None:
    """One's own account does not pay for guesses at others', nor wash them off."""
    rows: Rows = {}
    fail(rows, 3, name="susan")
    fail(rows, 2)
    assert THROTTLE.forgiven(found(rows)) == {
        ("miguel", ""): None,
        ("miguel", PEER): None,
        ("", PEER): FailureCount(4, NOW, 0),
    }


def test_a_success_at_no_account_leaves_the_names_as_they_are() -> None:
    rows: Rows = {}
    fail(rows, 2)
    forgiven = THROTTLE.forgiven(found(rows, name=""))
    assert forgiven == {("", PEER): FailureCount(1, NOW, 0)}


def test_nothing_counted_is_nothing_to_forgive() -> None:
    assert THROTTLE.forgiven({}) == {}


def test_a_success_that_was_booked_as_the_last_failure_lifts_its_own_block() -> None:
    rows: Rows = {}
    fail(rows, 29, name="")
    fail(rows, 1)
    assert wait(rows, name="susan") == PEER_WINDOW
    forgiven = THROTTLE.forgiven(found(rows))
    assert forgiven["", PEER] == FailureCount(29, NOW, 0)


def test_a_block_that_others_have_earned_survives_a_success() -> None:
    """Parallel guesses were booked before the one that was right came back."""
    rows: Rows = {}
    fail(rows, 40, name="")
    forgiven = THROTTLE.forgiven(rows)
    assert forgiven == {("", PEER): FailureCount(39, NOW, NOW + PEER_WINDOW)}


def test_a_count_does_not_fall_below_nothing() -> None:
    """The window may have begun anew between the booking and the success."""
    forgiven = THROTTLE.forgiven({("", PEER): FailureCount(0, NOW, 0)})
    assert forgiven == {("", PEER): FailureCount(0, NOW, 0)}


# Limits that are turned off


def test_zero_turns_all_limits_off() -> None:
    rows: Rows = {}
    fail(rows, 1000, throttle=UNLIMITED)
    assert wait(rows, throttle=UNLIMITED) == 0


@pytest.mark.parametrize(
    ("throttle", "waits"),
    [
        pytest.param(Throttle(0, 3, 3), [0, 0, MAX_WAIT], id="no waits between"),
        pytest.param(Throttle(1, 0, 3), [0, 1, PEER_WINDOW], id="no name is shut"),
        pytest.param(Throttle(1, 0, 0), [0, 1, 2], id="nor a peer blocked"),
    ],
)
def test_zero_turns_one_limit_off_and_leaves_the_others(
    throttle: Throttle, waits: list[int]
) -> None:
    rows: Rows = {}
    seen = []
    for _ in waits:
        fail(rows, 1, throttle=throttle)
        seen.append(wait(rows, throttle=throttle))
    assert seen == waits


def test_a_limit_lowered_or_raised_counts_from_the_next_attempt_on() -> None:
    rows: Rows = {}
    fail(rows, 50, throttle=UNLIMITED)
    assert wait(rows, peer="8.8.4.4", throttle=Throttle(0, 50, 0)) == MAX_WAIT
    assert wait(rows, peer="8.8.4.4", throttle=Throttle(0, 51, 0)) == 0


# Clocks


@pytest.mark.parametrize("seconds", [1, 60, 899, 900, 901, 86_400, 10**9])
def test_a_clock_set_back_never_blocks_longer_than_fifteen_minutes(seconds: int) -> None:
    for name, peer in (("miguel", PRIVATE), ("", PEER)):
        rows: Rows = {}
        fail(rows, 40, name=name, peer=peer)
        before = wait(rows, name=name, peer=peer)
        later = wait(rows, name=name, peer=peer, now=NOW - seconds)
        assert later == (before + seconds if before + seconds <= MAX_WAIT else 0)


def test_a_clock_set_back_begins_the_peers_window_anew() -> None:
    rows: Rows = {}
    fail(rows, 29, name="")
    fail(rows, 1, name="", now=NOW - 1)
    assert rows["", PEER] == FailureCount(1, NOW - 1, 0)


COUNTS = st.builds(FailureCount, st.integers(), st.integers(), st.integers()) | st.builds(
    FailureCount,
    st.integers(0, 200),
    st.integers(NOW - 1000, NOW + 1000),
    st.integers(NOW - 2000, NOW + 2000),
)
ROWS = st.dictionaries(
    st.sampled_from([("miguel", ""), ("miguel", PEER), ("", PEER)]), COUNTS, max_size=3
)
LIMITS = st.builds(Throttle, st.integers(0, 7), st.integers(0, 120), st.integers(0, 40))
CLOCKS = st.integers() | st.integers(NOW - 2000, NOW + 2000)


@A_LIMITED_RUN
@given(LIMITS, ROWS, CLOCKS)
def test_any_wait_is_within_fifteen_minutes(throttle: Throttle, rows: Rows, now: int) -> None:
    assert 0 <= throttle.wait(rows, now) <= MAX_WAIT
    booked = throttle.booked("miguel", PEER, rows, now)
    assert 0 <= throttle.wait(booked, now) <= MAX_WAIT
    kept = {
        key: counted for key, counted in throttle.forgiven(booked).items() if counted is not None
    }
    assert throttle.wait(kept, now) <= throttle.wait(booked, now)


@A_LIMITED_RUN
@given(LIMITS, st.lists(st.tuples(st.sampled_from(["miguel", ""]), st.integers(0, 900))))
def test_whoever_waits_as_long_as_told_is_let_in_unless_the_name_is_shut(
    throttle: Throttle, history: list[tuple[str, int]]
) -> None:
    rows: Rows = {}
    now = NOW
    for name, seconds in history:
        fail(rows, 1, name=name, now=now, throttle=throttle)
        now += seconds
    if throttle.max_failures and len(history) >= throttle.max_failures:
        return
    told = wait(rows, now=now, throttle=throttle)
    assert wait(rows, now=now + told, throttle=throttle) == 0
    assert told == 0 or wait(rows, now=now + told - 1, throttle=throttle) == 1
