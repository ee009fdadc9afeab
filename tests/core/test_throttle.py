"""The throttle: what a failure costs, whom it costs, and how it is taken back."""

from collections.abc import Mapping
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restauth.core.throttle import (
    MAX_WAIT,
    PEER_WINDOW,
    REGISTRATION_WINDOW,
    SHUT,
    WIDE_PREFIX,
    Subject,
    Throttle,
    is_global,
    network_of,
)
from restauth.records import FailureCount
from tests.core.inputs import ANY_TEXT, LIMITED

NOW = 1_800_000_000
THROTTLE = Throttle(free_failures=5, max_failures=100, peer_failures=30)
PEER = "8.8.8.8"  # globally routable
PRIVATE = "10.0.0.1"

Counts = dict[Subject, FailureCount]

NETWORKS = {
    "8.8.8.8": ["8.8.8.8", "::ffff:8.8.8.8", "::FFFF:808:808", "8.8.8.8:99"],
    # One client's /64, in several spellings, and the next one.
    "2606:4700:1:2::": [
        *("2606:4700:1:2:3:4:5:6", "2606:4700:0001:0002::ABCD", "[2606:4700:1:2::7]"),
        "[2606:4700:1:2::7]:99",
    ],
    "2606:4700:1:3::": ["2606:4700:1:3::"], "10.0.0.1": ["10.0.0.1"], "::": ["::1"],
    "fe80::": ["fe80::1%eth0", "[fe80::1%eth0]:99"],
    "-": [""], "x" * 64: ["x" * 10_000],  # a Unix socket has no address
}  # fmt: skip
NO_ADDRESSES = [
    *("[2001:db8::1]:", "[2001:db8::1]:99x", "[2001:db8::1", "[2001:db8::]1", "[]:99"),
    *("localhost", "8.8.8.8:", "8.8.8.0/24", "٨.8.8.8", "\ud800"),
]
GLOBAL_PEERS = [
    *("8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "2606:4700::1%eth0"),
    *("[2606:4700::1]:99", "[2606:4700::1]"),
]
# Behind which many clients may stand.
OTHER_PEERS = [
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1"),
    *("192.0.2.7", "0.0.0.0", "::1", "fd00::1", "fe80::1%eth0", "2001:db8::1"),  # noqa: S104
    *("::ffff:10.0.0.1", "", "operator", "8.8.8.8:", "[::1]:99", "[2001:db8::1]:99"),
    *("[2606:4700::1]:99x", "\ud800"),
]


class Counting:
    """The counts as a store keeps them, and a clock."""

    def __init__(self, throttle: Throttle = THROTTLE) -> None:
        self.throttle = throttle
        self.counts: Counts = {}
        self.now = NOW

    def fail(self, times: int = 1, name: str = "miguel", peer: str = PEER) -> None:
        for _ in range(times):
            self.counts |= self.throttle.after_failure(name, peer, self.counts, self.now)

    def found(self, name: str = "miguel", peer: str = PEER) -> Counts:
        """The counts that the store finds for a name and a peer."""
        network = network_of(peer)
        subjects = ((name, ""), (name, network), ("", network))
        return {one: self.counts[one] for one in subjects if one in self.counts}

    def wait(self, name: str = "miguel", peer: str = PEER, *, after: int = 0) -> int:
        return self.throttle.wait(self.found(name, peer), self.now + after)

    def succeed(self, name: str = "miguel") -> Mapping[Subject, FailureCount | None]:
        return self.throttle.after_success(self.found(name))


@pytest.fixture
def counting() -> Counting:
    return Counting()


# A name from one peer


def test_five_failures_are_free_and_then_the_wait_doubles_up_to_fifteen_minutes(
    counting: Counting,
) -> None:
    waits = []
    for _ in range(18):
        counting.fail(peer=PRIVATE)
        waits.append(counting.wait(peer=PRIVATE))
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]
    assert MAX_WAIT == 900


def test_a_wait_ends_at_the_very_second_and_forgives_nothing(counting: Counting) -> None:
    counting.fail(8)
    assert [counting.wait(after=seconds) for seconds in range(6)] == [4, 3, 2, 1, 0, 0]
    counting.now += 86_400
    counting.fail()
    assert counting.wait() == 8


def test_another_name_and_another_peer_do_not_wait(counting: Counting) -> None:
    """Guesses at an account keep its owner out from nowhere but there."""
    counting.fail(8)
    assert counting.wait(peer="8.8.4.4") == counting.wait("susan") == counting.wait(PEER) == 0
    counting.fail(8, peer="2606:4700:1:2::1")
    assert counting.wait(peer="2606:4700:1:2:ffff::2") == 4  # the same client can choose it
    assert counting.wait(peer="2606:4700:1:3::1") == 0


# A name from anywhere


def test_a_hundred_failures_from_anywhere_shut_the_name_for_every_peer(counting: Counting) -> None:
    """Whatever the clock says."""
    for number in range(99):
        counting.fail(peer=f"8.8.8.{number}")
    assert counting.wait(peer="8.8.4.4") == 0
    counting.fail(peer="8.8.8.99")
    for peer in ("8.8.4.4", PRIVATE, "2606:4700::1", ""):
        for after in (0, -NOW, -(10**9), 10**9, 10**12):
            assert counting.wait(peer=peer, after=after) == MAX_WAIT
    assert counting.wait("susan", "8.8.4.4") == 0


def test_a_shut_name_blocks_for_ever_so_that_its_count_is_the_last_to_be_pushed_out(
    counting: Counting,
) -> None:
    for number in range(99):
        counting.fail(peer=f"8.8.8.{number}")
    assert counting.counts["miguel", ""].blocked_until == 0
    counting.fail(peer="8.8.8.99")
    assert counting.counts["miguel", ""].blocked_until == SHUT > NOW + 10**12


# A peer


@pytest.mark.parametrize("peer", GLOBAL_PEERS)
def test_thirty_failures_at_any_names_block_the_peer_for_the_rest_of_its_window(
    counting: Counting, peer: str
) -> None:
    assert is_global(peer)
    for number in range(29):
        counting.fail(1, f"user{number}", peer)
        counting.now += 1
    assert counting.wait("susan", peer) == 0
    counting.fail(1, "user29", peer)
    for name in ("susan", ""):
        waits = [counting.wait(name, peer, after=seconds) for seconds in (0, 270, 271)]
        assert waits == [271, 1, 0]
    assert counting.wait("susan", "8.8.4.4") == 0
    assert PEER_WINDOW == 300


def test_a_peer_behind_which_many_may_stand_is_never_blocked(counting: Counting) -> None:
    assert [peer for peer in OTHER_PEERS if is_global(peer)] == []
    for number in range(200):
        counting.fail(1, f"user{number}", PRIVATE)
    counting.fail(200, "", PRIVATE)
    assert counting.wait("susan", PRIVATE) == 0
    assert [name for name, _ in counting.counts if not name] == []


def test_the_next_window_begins_with_the_first_failure_after_the_last(counting: Counting) -> None:
    counting.fail(29, "")
    counting.now += PEER_WINDOW
    counting.fail(29, "")
    assert counting.wait() == 0
    counting.now += 7
    counting.fail(1, "")
    assert counting.wait() == PEER_WINDOW - 7


def test_a_failure_at_no_account_counts_for_the_peer_alone(counting: Counting) -> None:
    counting.fail(1, "", PRIVATE)
    counting.fail(1, "")
    assert counting.counts == {("", PEER): FailureCount(1, NOW, 0)}


def test_a_peer_is_counted_by_what_one_client_can_choose_from() -> None:
    for network, peers in NETWORKS.items():
        assert {network_of(peer) for peer in peers} == {network}
    assert [*map(network_of, NO_ADDRESSES)] == NO_ADDRESSES


def test_a_site_is_wider_than_a_client() -> None:
    sites = {
        "8.8.8.8": "8.8.8.8",
        "2606:4700:1:2::3": "2606:4700:1::",
        "2606:4700:1:ffff::": "2606:4700:1::",
        "2606:4700:2::": "2606:4700:2::",
        "": "-",
    }
    assert {peer: network_of(peer, WIDE_PREFIX) for peer in sites} == sites


@LIMITED
@given(ANY_TEXT | st.ip_addresses().map(str) | st.text("0123456789abcdef:.%/[] ", max_size=40))
def test_any_peer_has_a_network_that_never_stands_for_all(peer: str) -> None:
    assert 1 <= len(network_of(peer)) <= 64
    counts = THROTTLE.after_failure("miguel", peer, {}, NOW)
    assert (("", network_of(peer)) in counts) == is_global(peer)


@LIMITED
@given(st.ip_addresses(v=6), st.integers(0, 65_535))
def test_brackets_and_a_port_make_no_other_client(address: IPv6Address, port: int) -> None:
    """A client that opens a connection for each guess gets a new port, and not a new count."""
    for peer in (f"[{address}]", f"[{address}]:{port}"):
        assert network_of(peer) == network_of(str(address))
        assert is_global(peer) == is_global(str(address))


# A success


def test_a_success_leaves_nothing_of_the_name_and_of_the_peer_all_but_itself(
    counting: Counting,
) -> None:
    """One's own account does not pay for guesses at others', nor wash them off."""
    assert counting.succeed() == {}
    counting.fail(3, "susan")
    counting.fail(2)
    peer = {("", PEER): FailureCount(4, NOW, 0)}
    assert counting.succeed() == {("miguel", ""): None, ("miguel", PEER): None, **peer}
    assert counting.succeed("") == peer


def test_a_success_that_was_counted_as_the_last_failure_lifts_its_own_block(
    counting: Counting,
) -> None:
    """A block that others have earned survives it: parallel guesses were counted before."""
    counting.fail(29, "")
    counting.fail()
    assert counting.wait("susan") == PEER_WINDOW
    assert counting.succeed()["", PEER] == FailureCount(29, NOW, 0)
    counting.fail()
    assert counting.succeed()["", PEER] == FailureCount(30, NOW, NOW + PEER_WINDOW)


def test_a_count_does_not_fall_below_nothing() -> None:
    """The window may have begun anew between the failure and the success."""
    counts = {("", PEER): FailureCount(0, NOW, 0)}
    assert THROTTLE.after_success(counts) == counts


# Limits that are turned off


@pytest.mark.parametrize(
    ("throttle", "waits"),
    [
        pytest.param(Throttle(0, 0, 0), [0] * 1000, id="no limit"),
        pytest.param(Throttle(0, 3, 3), [0, 0, MAX_WAIT], id="no waits between"),
        pytest.param(Throttle(1, 0, 3), [0, 1, PEER_WINDOW], id="no name is shut"),
        pytest.param(Throttle(1, 0, 0), [0, 1, 2], id="nor a peer blocked"),
    ],
)
def test_zero_turns_a_limit_off_and_leaves_the_others(throttle: Throttle, waits: list[int]) -> None:
    counting = Counting(throttle)
    seen = []
    for _ in waits:
        counting.fail()
        seen.append(counting.wait())
    assert seen == waits


# Registrations


def test_so_many_accounts_of_a_peer_are_made_in_an_hour_and_then_no_more() -> None:
    throttle = Throttle(0, 0, 0, 3)
    count = None
    for number in range(3):
        assert throttle.registration_wait(count, NOW + 60 * number) == 0
        count = throttle.after_registration(count, NOW + 60 * number)
    assert count == FailureCount(3, NOW, 0)
    waits = [throttle.registration_wait(count, NOW + seconds) for seconds in (120, 3599, 3600)]
    assert waits == [3480, 1, 0]
    assert throttle.after_registration(count, NOW + 3600) == FailureCount(1, NOW + 3600, 0)
    assert REGISTRATION_WINDOW == 3600


def test_a_clock_set_back_begins_the_hour_anew() -> None:
    throttle, full = Throttle(0, 0, 0, 3), FailureCount(3, NOW, 0)
    assert throttle.registration_wait(full, NOW - 1) == 0
    assert throttle.after_registration(full, NOW - 1) == FailureCount(1, NOW - 1, 0)


def test_registrations_are_limited_for_public_peers_and_where_there_is_a_limit() -> None:
    assert [p for p in OTHER_PEERS if Throttle(0, 0, 0, 1).limits_registrations(p)] == []
    assert all(Throttle(0, 0, 0, 1).limits_registrations(peer) for peer in GLOBAL_PEERS)
    assert [p for p in GLOBAL_PEERS if THROTTLE.limits_registrations(p)] == []


def test_a_limit_lowered_or_raised_counts_from_the_next_attempt_on() -> None:
    counting = Counting(Throttle(0, 0, 0))
    counting.fail(50)
    for limit, wait in ((50, MAX_WAIT), (51, 0)):
        counting.throttle = Throttle(0, limit, 0)
        assert counting.wait(peer="8.8.4.4") == wait


# Clocks


@pytest.mark.parametrize(("name", "peer"), [("miguel", PRIVATE), ("", PEER)])
def test_a_clock_set_back_never_blocks_longer_than_fifteen_minutes(
    counting: Counting, name: str, peer: str
) -> None:
    counting.fail(40, name, peer)
    before = counting.wait(name, peer)
    for seconds in (1, 60, 599, 600, 601, 86_400, 10**9):
        later = counting.wait(name, peer, after=-seconds)
        assert later == (before + seconds if before + seconds <= MAX_WAIT else 0)


def test_a_clock_set_back_begins_the_peers_window_anew(counting: Counting) -> None:
    counting.fail(29, "")
    counting.now -= 1
    counting.fail(1, "")
    assert counting.counts["", PEER] == FailureCount(1, NOW - 1, 0)


COUNTS = st.builds(FailureCount, st.integers(), st.integers(), st.integers()) | st.builds(
    FailureCount,
    st.integers(0, 200),
    st.integers(NOW - 1000, NOW + 1000),
    st.integers(NOW - 2000, NOW + 2000),
)
SUBJECTS: list[Subject] = [("miguel", ""), ("miguel", PEER), ("", PEER)]
LIMITS = st.builds(Throttle, st.integers(0, 7), st.integers(0, 120), st.integers(0, 40))
CLOCKS = st.integers() | st.integers(NOW - 2000, NOW + 2000)


@LIMITED
@given(LIMITS, st.dictionaries(st.sampled_from(SUBJECTS), COUNTS, max_size=3), CLOCKS)
def test_any_wait_is_within_fifteen_minutes(throttle: Throttle, counts: Counts, now: int) -> None:
    assert 0 <= throttle.wait(counts, now) <= MAX_WAIT
    failed = throttle.after_failure("miguel", PEER, counts, now)
    assert 0 <= throttle.wait(failed, now) <= MAX_WAIT
    kept = {one: count for one, count in throttle.after_success(failed).items() if count}
    assert throttle.wait(kept, now) <= throttle.wait(failed, now)


@LIMITED
@given(LIMITS, st.lists(st.tuples(st.sampled_from(["miguel", ""]), st.integers(0, 900))))
def test_who_waits_as_long_as_told_is_let_in_unless_the_name_is_shut(
    throttle: Throttle, history: list[tuple[str, int]]
) -> None:
    counting = Counting(throttle)
    for name, seconds in history:
        counting.fail(1, name)
        counting.now += seconds
    if throttle.max_failures and len(history) >= throttle.max_failures:
        return
    told = counting.wait()
    assert counting.wait(after=told) == 0
    assert told == 0 or counting.wait(after=told - 1) == 1


def test_shut_is_the_name_alone_from_anywhere() -> None:
    throttle, many = Throttle(5, 3, 3), FailureCount(3, 0, 0)
    assert throttle.is_shut({("miguel", ""): many})
    assert not throttle.is_shut({("miguel", ""): FailureCount(2, 0, 0)})
    assert not throttle.is_shut({("miguel", PRIVATE): many, ("", PRIVATE): many})
    assert not Throttle(5, 0, 3).is_shut({("miguel", ""): FailureCount(10**9, 0, 0)})
