"""Failed attempts: counted at every door, for all processes, before the hash; and what clears them.

Rule: how long a wait is, is for the tests of `core.throttle`; here stands whom it stops, and when.
"""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from hashlib import sha256
from itertools import islice

import pytest

from restauth import services as services_module
from restauth.core.names import MAX_CANONICAL_LENGTH
from restauth.core.throttle import MAX_WAIT, network_of
from restauth.errors import (
    BadCredentials,
    Busy,
    StoreUnavailable,
    Throttled,
    UnusableCode,
    UsernameTaken,
)
from restauth.records import OPERATOR, Account, Client
from restauth.services import Services
from restauth.storage import sqlite, store
from tests.conftest import (
    CHEAPEST,
    CLIENT,
    PUBLIC_CLIENT,
    Clock,
    ServicesFactory,
    basic,
    caller_of,
    client_of,
    held_hashes,
    race,
    slot_taken,
)

NAME, PASSWORD, WRONG = "miguel", "python", "wrong"
ONE_HASH = 2**CHEAPEST  # rounds
ELSEWHERE = Client("198.51.100.9", "test")


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    """A service that miguel has registered at."""
    services = make_services()
    services.accounts.register(NAME, PASSWORD)
    return services


def log_in(services: Services, client: Client = CLIENT, username: str = NAME) -> Account:
    return services.authentication.authenticate(username, PASSWORD, client)


def fail(services: Services, times: int = 1, client: Client = CLIENT, username: str = NAME) -> None:
    for _ in range(times):
        with pytest.raises(BadCredentials):
            services.authentication.authenticate(username, WRONG, client)


def expect_throttled(act: Callable[..., object], *arguments: object) -> int:
    """How long to wait."""
    with pytest.raises(Throttled) as caught:
        act(*arguments)
    return caught.value.retry_after


def counts(services: Services, client: Client, name: str = NAME) -> dict[tuple[str, str], int]:
    """What is counted now, by name and network."""
    digest = sha256(name.encode()).hexdigest() if name else ""
    found = services.store.find_failures(digest, network_of(client.peer))
    return {(key[0] and name, key[1]): failures.count for key, failures in found.items()}


def rows(services: Services) -> set[tuple[str, str]]:
    """The name and the network of each row, as they are stored."""
    with closing(sqlite3.connect(services.settings.database)) as reader:
        return set(reader.execute("SELECT name, peer FROM failures"))


@contextmanager
def nobody_can_write(services: Services) -> Iterator[None]:
    with closing(sqlite3.connect(services.settings.database)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that are made from now on wait a millisecond for others who write."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 1)


# The door of the password


def test_a_throttled_login_is_refused_before_it_hashes(
    services: Services, clock: Clock, work: list[int]
) -> None:
    work.clear()
    fail(services, 6)  # five are free
    assert work == [ONE_HASH] * 6
    for password in (WRONG, PASSWORD):
        assert expect_throttled(services.authentication.authenticate, NAME, password, CLIENT) == 1
    assert work == [ONE_HASH] * 6
    clock.advance(1)
    log_in(services)


def test_waits_double_with_each_failure_and_refusals_prolong_nothing(
    services: Services, clock: Clock
) -> None:
    fail(services, 5)
    waits = []
    for _ in range(12):
        fail(services)
        waits.append(expect_throttled(log_in, services))
        expect_throttled(log_in, services)
        clock.advance(waits[-1] - 1)
        assert expect_throttled(log_in, services) == 1
        clock.advance(1)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, MAX_WAIT, MAX_WAIT]
    log_in(services)


@pytest.mark.parametrize("kind", ["unknown", "locked", "deleted", "malformed"])
def test_a_throttled_answer_tells_nothing_about_the_name(
    services: Services, kind: str, work: list[int]
) -> None:
    username = "no such\ud800name" if kind == "malformed" else "susan"
    if kind in ("locked", "deleted"):
        accounts = services.accounts
        susan = accounts.find(accounts.register("susan", PASSWORD))
        (accounts.lock if kind == "locked" else accounts.delete)(susan)
    answers = set()
    for name in (NAME, username):
        work.clear()
        fail(services, 6, username=name)
        assert work == [ONE_HASH] * 6
        for password in (WRONG, PASSWORD):
            with pytest.raises(Throttled) as caught:
                services.authentication.authenticate(name, password, CLIENT)
            refusal = caught.value
            answers.add((str(refusal), refusal.retry_after, refusal.__cause__))
    assert len(answers) == 1


@pytest.mark.parametrize("is_remembered", [True, False], ids=["remembered", "not remembered"])
def test_a_correct_password_is_refused_while_its_name_is_throttled(
    services: Services, clock: Clock, work: list[int], is_remembered: bool
) -> None:
    if is_remembered:
        log_in(services)
    fail(services, 6)
    work.clear()
    expect_throttled(log_in, services)
    assert work == []
    clock.advance(1)
    log_in(services)
    assert work == ([] if is_remembered else [ONE_HASH])


def test_another_spelling_of_a_name_is_no_fresh_start(services: Services) -> None:
    # CVE-2025-6004: a lock-out keyed by the raw name
    for spelling in (NAME, "Miguel", "MIGUEL", "\uff4diguel", "mIgUeL", "migueL"):
        fail(services, username=spelling)
    for spelling in (NAME, "mIGUEL"):
        expect_throttled(log_in, services, CLIENT, spelling)


def test_another_peer_is_throttled_by_its_own_failures(services: Services) -> None:
    fail(services, 6)
    log_in(services, ELSEWHERE)
    fail(services, 6, ELSEWHERE)
    expect_throttled(log_in, services, ELSEWHERE)


def test_what_a_peer_calls_itself_makes_no_other_peer_of_it(services: Services) -> None:
    for number in range(6):
        fail(services, client=Client(CLIENT.peer, f"browser {number}"))
    expect_throttled(log_in, services)


def test_all_processes_count_together(make_services: ServicesFactory, services: Services) -> None:
    processes = [services, make_services(), make_services()]
    for process in processes:
        fail(process, 2)
    for process in processes:
        expect_throttled(log_in, process)


def test_a_live_token_is_never_throttled(services: Services) -> None:
    grant = services.sessions.start(log_in(services), CLIENT)
    fail(services, 6)
    expect_throttled(log_in, services)
    caller = services.sessions.identify(grant.token)
    services.sessions.issue(caller, CLIENT)
    assert grant.refresh_token is not None
    services.sessions.refresh(grant.refresh_token, CLIENT)


# Before the hash


def test_an_attempt_turned_away_for_want_of_a_slot_is_not_counted(
    services: Services, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.accounts.register("susan", PASSWORD)
    with slot_taken(one_slot, monkeypatch, "susan", PASSWORD), pytest.raises(Busy):
        one_slot.authentication.authenticate(NAME, WRONG, PUBLIC_CLIENT)
    assert counts(services, PUBLIC_CLIENT) == {}


@pytest.fixture
def many_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "HASH_SLOTS", 8)
    monkeypatch.setattr(services_module, "HASH_QUEUE", 8)


def guess(services: Services, username: str = NAME) -> type[Exception]:
    with pytest.raises((BadCredentials, Throttled)) as caught:
        services.authentication.authenticate(username, WRONG, CLIENT)
    return caught.type


@pytest.mark.usefixtures("many_slots")
def test_parallel_guesses_do_not_slip_through_while_the_first_are_hashed(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CVE-2024-4629: the limit was asked for before the hash, and the failure counted after it
    processes = [make_services(free_failures=0, max_failures=3) for _ in range(2)]
    processes[0].accounts.register(NAME, PASSWORD)
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(8) as threads:
        guesses: list[Future[type[Exception]]] = [
            threads.submit(guess, processes[number % 2]) for number in range(8)
        ]
        try:
            early = [future.result() for future in islice(as_completed(guesses, timeout=60), 5)]
        finally:
            held.may_go_on.set()
    assert early == [Throttled] * 5
    assert [future.result() for future in guesses].count(BadCredentials) == 3


def test_correct_logins_at_once_do_not_throttle_one_another(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch, work: list[int]
) -> None:
    monkeypatch.setattr(services_module, "HASH_SLOTS", 2)
    monkeypatch.setattr(services_module, "HASH_QUEUE", 6)
    services = make_services(credential_cache=0)  # five failures are free
    services.accounts.register(NAME, PASSWORD)
    work.clear()
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(10) as threads:
        authentication = [threads.submit(log_in, services) for _ in range(10)]
        try:  # two find no place, and so the other eight are all under way
            early = [
                future.exception() for future in islice(as_completed(authentication, timeout=60), 2)
            ]
        finally:
            held.may_go_on.set()
    assert [type(error) for error in early] == [Busy, Busy]
    assert [future.exception() for future in authentication].count(None) == 8
    assert work == [ONE_HASH] * 8
    assert counts(services, CLIENT) == {}


@pytest.mark.usefixtures("many_slots")
@pytest.mark.parametrize("limit", [10, 100], ids=["ten", "the default"])
@pytest.mark.parametrize("username", [NAME, "nobody"])
def test_no_more_parallel_guesses_reach_the_hash_than_the_limit_of_a_name(
    make_services: ServicesFactory, work: list[int], limit: int, username: str
) -> None:
    processes = [make_services(free_failures=0, max_failures=limit) for _ in range(2)]
    processes[0].accounts.register(NAME, PASSWORD)
    work.clear()
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(
            threads.map(lambda number: guess(processes[number % 2], username), range(limit + 20))
        )
    assert len(work) == outcomes.count(BadCredentials) == limit
    assert outcomes.count(Throttled) == 20


@pytest.mark.usefixtures("many_slots")
def test_an_attempt_that_was_let_in_too_early_is_refused_when_it_is_booked(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch, work: list[int]
) -> None:
    rivals = [make_services(free_failures=1, max_failures=0) for _ in range(3)]
    rivals[0].accounts.register(NAME, PASSWORD)
    fail(rivals[0])
    work.clear()
    outcomes = race(  # all three have been admitted
        monkeypatch,
        rivals,
        "change_failures",
        lambda rival: rival.authentication.authenticate(NAME, WRONG, CLIENT),
    )
    assert sorted(map(str, outcomes)) == sorted(map(str, [BadCredentials, Throttled, Throttled]))
    assert work == [ONE_HASH]


@pytest.mark.usefixtures("no_patience")
def test_an_attempt_that_cannot_be_booked_is_not_made(
    make_services: ServicesFactory, work: list[int]
) -> None:
    services = make_services()
    services.accounts.register(NAME, PASSWORD)
    code = services.accounts.make_reset_code(services.accounts.find_by_name(NAME))
    work.clear()
    with nobody_can_write(services):
        with pytest.raises(StoreUnavailable):
            log_in(services)
        with pytest.raises(StoreUnavailable):
            reset(services, code)
    assert work == []
    reset(services, code)


@pytest.mark.usefixtures("no_patience")
def test_what_is_counted_by_nothing_waits_for_nobody_who_writes(
    make_services: ServicesFactory,
) -> None:
    services = make_services()
    services.accounts.register(NAME, PASSWORD)
    with nobody_can_write(services):
        for code in ("garbage", UNKNOWN_CODE):
            expect_unusable(services, code)
            with pytest.raises(StoreUnavailable):  # a public peer is counted
                reset(services, code, PUBLIC_CLIENT)
        with pytest.raises(UsernameTaken):
            services.accounts.register(NAME, PASSWORD)
    assert rows(services) == set()


# What is kept of it


def test_a_password_typed_as_a_name_is_not_stored_in_clear(services: Services) -> None:
    fail(services, username="Hunter2-and-more")
    fail(services)
    digests = {sha256(name.encode()).hexdigest() for name in ("hunter2-and-more", NAME)}
    assert rows(services) == {(name, peer) for name in digests for peer in ("", CLIENT.peer)}
    services.close()  # so that all stands in one file
    stored = services.settings.database.read_bytes().lower()
    assert b"hunter2" not in stored
    assert all(digest.encode() in stored for digest in digests)


def test_a_name_too_long_for_anybody_makes_no_large_row(services: Services) -> None:
    # U+FDFA is eighteen characters in canonical form
    client = client_of(services, REMOTE_ADDR=CLIENT.peer)
    long_name = "\ufdfa" * 2000
    for _ in range(6):
        client.get("/api/users/me", headers=basic(long_name, WRONG), status=401)
    client.get("/api/users/me", headers=basic(long_name, WRONG), status=429)
    client.get("/api/users/me", headers=basic(long_name + "x", WRONG), status=401)
    assert {len(name) for name, _ in rows(services)} == {64}


@pytest.mark.parametrize("length", [MAX_CANONICAL_LENGTH, MAX_CANONICAL_LENGTH + 1])
def test_long_names_that_differ_in_one_character_are_counted_apart(
    services: Services, length: int
) -> None:
    fail(services, 6, username="x" * length)
    expect_throttled(log_in, services, CLIENT, "X" * length)
    fail(services, 1, username="x" * (length - 1) + "y")
    fail(services, 1, username="x" * (length - 1))


def test_a_flood_of_invented_names_pushes_no_account_out(
    services: Services, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_FAILURES_ROWS", 4)
    fail(services, 3)
    fail(services, username="invented")
    clock.advance(1)
    for number in range(6):
        fail(services, username=f"user{number}")
    assert counts(services, ELSEWHERE) == {(NAME, ""): 3}
    assert counts(services, ELSEWHERE, "invented") == {}


def test_a_flood_of_invented_names_lifts_no_block(
    make_services: ServicesFactory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_FAILURES_ROWS", 4)
    services = make_services(free_failures=1)
    services.accounts.register(NAME, PASSWORD)
    fail(services, 2)
    clock.advance(1)
    fail(services)  # and now for two seconds
    clock.advance(1)  # all the others are younger
    for number in range(6):
        fail(services, username=f"user{number}")
    assert expect_throttled(log_in, services) == 1
    clock.advance(1)
    for number in range(6):
        fail(services, username=f"guest{number}")
    assert counts(services, CLIENT) == {(NAME, ""): 3}


# The whole of a name, and the whole of a peer


def test_a_name_is_shut_after_so_many_failures_from_anywhere(
    make_services: ServicesFactory, clock: Clock, work: list[int]
) -> None:
    services = make_services(max_failures=10)
    services.accounts.register(NAME, PASSWORD)
    for number in range(10):
        fail(services, client=Client(f"192.0.2.{number}"))
    work.clear()
    for client in (CLIENT, ELSEWHERE, PUBLIC_CLIENT):
        assert expect_throttled(log_in, services, client) == MAX_WAIT
    clock.advance(400 * 86_400)  # it opens for an operator, not for patience
    assert expect_throttled(log_in, services, ELSEWHERE) == MAX_WAIT
    assert work == []


def test_limits_of_zero_stop_nobody(make_services: ServicesFactory) -> None:
    services = make_services(free_failures=0, max_failures=0, peer_failures=0)
    services.accounts.register(NAME, PASSWORD)
    fail(services, 40, PUBLIC_CLIENT)
    log_in(services, PUBLIC_CLIENT)


def test_a_peer_that_goes_through_the_names_is_blocked_for_the_window(
    make_services: ServicesFactory, clock: Clock, work: list[int]
) -> None:
    services = make_services(peer_failures=10)
    services.accounts.register(NAME, PASSWORD)
    for number in range(9):
        fail(services, client=PUBLIC_CLIENT, username=f"user{number}")
    clock.advance(100)
    fail(services, client=PUBLIC_CLIENT, username="user9")
    work.clear()
    assert expect_throttled(log_in, services, PUBLIC_CLIENT) == 200
    assert work == []
    log_in(services, CLIENT)
    clock.advance(200)
    log_in(services, PUBLIC_CLIENT)


def test_a_private_peer_is_never_blocked_as_a_whole(make_services: ServicesFactory) -> None:
    services = make_services(peer_failures=3)  # behind such an address stands a proxy
    services.accounts.register(NAME, PASSWORD)
    for peer in ("127.0.0.1", "10.0.0.1", "::1", "fe80::1%eth0", "", "unix:/run/restauth"):
        for number in range(4):
            fail(services, client=Client(peer), username=f"user{number}")
        log_in(services, Client(peer))


def test_the_addresses_of_one_ipv6_network_are_one_peer(make_services: ServicesFactory) -> None:
    services = make_services(peer_failures=3)
    services.accounts.register(NAME, PASSWORD)
    for number in range(3):
        client = Client(f"2606:4700:1:2::{number}")
        fail(services, client=client, username=f"user{number}")
    expect_throttled(log_in, services, Client("2606:4700:1:2:ffff::"))
    expect_throttled(log_in, services, Client("[2606:4700:1:2::9]:4711"))
    log_in(services, Client("2606:4700:1:3::"))


# The door of registration


def test_a_peer_that_tries_which_names_are_taken_is_blocked(
    make_services: ServicesFactory, clock: Clock, work: list[int]
) -> None:
    services = make_services(peer_failures=3)
    register = services.accounts.register
    register(NAME, PASSWORD)
    for spelling in (NAME, "MIGUEL", NAME):
        with pytest.raises(UsernameTaken):
            register(spelling, PASSWORD, PUBLIC_CLIENT)
    work.clear()
    for username in (NAME, "susan"):  # taken or free: one answer
        assert expect_throttled(register, username, PASSWORD, PUBLIC_CLIENT) == 300
    expect_throttled(log_in, services, PUBLIC_CLIENT)
    assert work == []
    register("susan", PASSWORD, CLIENT)
    clock.advance(300)
    register("adam", PASSWORD, PUBLIC_CLIENT)


def test_failed_logins_and_taken_names_of_a_peer_add_up(make_services: ServicesFactory) -> None:
    services = make_services(peer_failures=2)
    services.accounts.register(NAME, PASSWORD)
    fail(services, client=PUBLIC_CLIENT)
    with pytest.raises(UsernameTaken):
        services.accounts.register(NAME, PASSWORD, PUBLIC_CLIENT)
    expect_throttled(services.accounts.register, "susan", PASSWORD, PUBLIC_CLIENT)


def test_a_registration_that_succeeds_or_is_unfit_counts_nothing(
    make_services: ServicesFactory,
) -> None:
    services = make_services(peer_failures=1)
    for number in range(3):
        services.accounts.register(f"user{number}", PASSWORD, PUBLIC_CLIENT)
    assert counts(services, PUBLIC_CLIENT, "") == {}


def test_a_taken_name_is_not_throttled_by_those_who_want_it(
    make_services: ServicesFactory,
) -> None:
    services = make_services(free_failures=1, max_failures=1)
    services.accounts.register(NAME, PASSWORD)
    for _ in range(3):
        with pytest.raises(UsernameTaken):
            services.accounts.register(NAME, PASSWORD, PUBLIC_CLIENT)
    log_in(services, PUBLIC_CLIENT)


def test_the_operator_is_not_throttled_by_taken_names(make_services: ServicesFactory) -> None:
    services = make_services(peer_failures=1)
    services.accounts.register(NAME, PASSWORD)
    for _ in range(2):
        with pytest.raises(UsernameTaken):
            services.accounts.register(NAME, PASSWORD)
    assert counts(services, OPERATOR, "") == {}


@pytest.mark.usefixtures("many_slots")
def test_a_name_lost_in_a_race_counts_as_taken(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = [make_services(), make_services()]
    race(
        monkeypatch,
        rivals,
        "add_user",
        lambda rival: rival.accounts.register(NAME, PASSWORD, PUBLIC_CLIENT),
    )
    assert counts(rivals[0], PUBLIC_CLIENT, "") == {("", PUBLIC_CLIENT.peer): 1}


# The door of the reset code


def reset(services: Services, code: str, client: Client = CLIENT) -> None:
    services.accounts.reset_password(code, "another", client)


def expect_unusable(services: Services, code: str, times: int = 1, client: Client = CLIENT) -> None:
    for _ in range(times):
        with pytest.raises(UnusableCode):
            reset(services, code, client)


@pytest.fixture
def code(services: Services) -> str:
    """A fresh one for miguel."""
    return services.accounts.make_reset_code(services.accounts.find_by_name(NAME))


UNKNOWN_CODE = "A" * 12 + "." + "A" * 24


def with_wrong_secret(code: str) -> str:
    return code.partition(".")[0] + "." + "A" * 24


def test_wrong_secrets_of_a_code_are_counted_by_its_selector(
    services: Services, code: str, clock: Clock, work: list[int]
) -> None:
    work.clear()
    expect_unusable(services, with_wrong_secret(code), 6)
    assert expect_throttled(reset, services, code) == 1
    assert work == []
    susan = services.accounts.find(services.accounts.register("susan", PASSWORD))
    reset(services, services.accounts.make_reset_code(susan))  # another selector
    clock.advance(1)
    reset(services, code)


def test_a_code_is_shut_after_so_many_wrong_secrets_from_anywhere(
    make_services: ServicesFactory,
) -> None:
    services = make_services(max_failures=10)
    miguel = services.accounts.find(services.accounts.register(NAME, PASSWORD))
    code = services.accounts.make_reset_code(miguel)
    for number in range(10):
        expect_unusable(services, with_wrong_secret(code), client=Client(f"192.0.2.{number}"))
    assert expect_throttled(reset, services, code, ELSEWHERE) == MAX_WAIT
    log_in(services)  # the name has nothing to do with it
    reset(services, services.accounts.make_reset_code(miguel), ELSEWHERE)


@pytest.mark.usefixtures("many_slots")
def test_parallel_guesses_at_a_code_do_not_slip_through(make_services: ServicesFactory) -> None:
    processes = [make_services(free_failures=0, max_failures=10) for _ in range(2)]
    accounts = processes[0].accounts
    code = accounts.make_reset_code(accounts.find(accounts.register(NAME, PASSWORD)))

    def guess_secret(number: int) -> type[Exception]:
        with pytest.raises((UnusableCode, Throttled)) as caught:
            reset(processes[number % 2], with_wrong_secret(code))
        return caught.type

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(guess_secret, range(30)))
    assert outcomes.count(UnusableCode) == 10
    assert outcomes.count(Throttled) == 20


def test_codes_of_no_form_stop_nobody_elses(services: Services, code: str) -> None:
    for number in range(40):
        expect_unusable(services, f"garbage {number}")
        expect_unusable(services, "")
    assert counts(services, CLIENT, "") == {}
    reset(services, code)


def test_a_peer_that_sends_codes_of_no_form_is_blocked(make_services: ServicesFactory) -> None:
    services = make_services(peer_failures=3, free_failures=1, max_failures=1)
    services.accounts.register(NAME, PASSWORD)
    expect_unusable(services, "garbage", 3, PUBLIC_CLIENT)
    assert expect_throttled(reset, services, "more garbage", PUBLIC_CLIENT) == 300
    expect_throttled(log_in, services, PUBLIC_CLIENT)
    expect_unusable(services, "garbage", client=CLIENT)


def test_a_peer_that_goes_through_selectors_is_blocked(make_services: ServicesFactory) -> None:
    services = make_services(peer_failures=3)
    services.accounts.register(NAME, PASSWORD)
    for number in range(3):
        expect_unusable(services, f"{number:012}." + "A" * 24, client=PUBLIC_CLIENT)
    expect_throttled(log_in, services, PUBLIC_CLIENT)


def test_a_selector_that_nobody_has_makes_no_row_of_its_own(
    services: Services, code: str, clock: Clock
) -> None:
    for client in (CLIENT, PUBLIC_CLIENT):
        expect_unusable(services, UNKNOWN_CODE, 7, client)  # six of a real one would be throttled
    assert rows(services) == {("", PUBLIC_CLIENT.peer)}
    clock.advance(3600)
    expect_unusable(services, code)  # expired: nobody's any more
    assert rows(services) == {("", PUBLIC_CLIENT.peer)}


def test_a_throttled_name_can_be_reset_by_a_code_and_then_logs_in(
    services: Services, code: str
) -> None:
    fail(services, 6)
    reset(services, code)
    services.authentication.authenticate(NAME, "another", CLIENT)


def test_a_used_code_takes_its_own_booking_back(services: Services, code: str) -> None:
    reset(services, code, PUBLIC_CLIENT)
    selector = code.partition(".")[0]
    assert counts(services, PUBLIC_CLIENT, f"\0reset code {selector}") == {
        ("", PUBLIC_CLIENT.peer): 0
    }


# What clears the counts


def test_a_success_clears_the_name_and_takes_its_own_booking_back_from_the_peer(
    services: Services,
) -> None:
    fail(services, 2, PUBLIC_CLIENT, "susan")
    fail(services, 3, PUBLIC_CLIENT)
    network = PUBLIC_CLIENT.peer
    assert counts(services, PUBLIC_CLIENT) == {(NAME, ""): 3, (NAME, network): 3, ("", network): 5}
    log_in(services, PUBLIC_CLIENT)
    assert counts(services, PUBLIC_CLIENT) == {("", network): 5}
    assert counts(services, PUBLIC_CLIENT, "susan")["susan", ""] == 2


def test_ones_own_account_does_not_pay_for_guesses_at_others(
    make_services: ServicesFactory,
) -> None:
    services = make_services(peer_failures=10, credential_cache=0)
    services.accounts.register(NAME, PASSWORD)
    for number in range(10):
        log_in(services, PUBLIC_CLIENT)
        fail(services, client=PUBLIC_CLIENT, username=f"user{number}")
    expect_throttled(log_in, services, PUBLIC_CLIENT)


@pytest.mark.usefixtures("no_patience")
def test_a_remembered_success_clears_nothing_and_writes_nothing(
    make_services: ServicesFactory, work: list[int]
) -> None:
    services = make_services()
    services.accounts.register(NAME, PASSWORD)
    log_in(services, PUBLIC_CLIENT)
    fail(services, 3, PUBLIC_CLIENT)
    counted = counts(services, PUBLIC_CLIENT)
    assert set(counted.values()) == {3}
    work.clear()
    with nobody_can_write(services):
        for _ in range(3):
            log_in(services, PUBLIC_CLIENT)
    assert counts(services, PUBLIC_CLIENT) == counted
    assert work == []


VOUCHERS: dict[str, Callable[[Services, Account], None]] = {
    "unlocked": lambda services, account: services.accounts.unlock(account),
    "password set": lambda services, account: services.accounts.set_password(account, PASSWORD),
    "password reset": lambda services, account: services.accounts.reset_password(
        services.accounts.make_reset_code(account), PASSWORD, ELSEWHERE
    ),
}


@pytest.mark.parametrize("vouch", VOUCHERS.values(), ids=VOUCHERS.keys())
def test_whoever_vouches_for_the_owner_opens_a_shut_name(
    make_services: ServicesFactory, vouch: Callable[[Services, Account], None]
) -> None:
    services = make_services(max_failures=10, free_failures=2)
    # the name is kept as typed, and counted in its canonical form
    account = services.accounts.find(services.accounts.register("Miguel", PASSWORD))
    for client in (CLIENT, ELSEWHERE, PUBLIC_CLIENT):
        fail(services, 3, client)
    fail(services, client=Client("192.0.2.99"))
    vouch(services, account)
    for client in (CLIENT, ELSEWHERE, PUBLIC_CLIENT):
        log_in(services, client)


def test_a_session_is_no_voucher(services: Services) -> None:
    account = log_in(services)
    fail(services, 6)
    services.sessions.end_all(account.id)
    services.sessions.issue(caller_of(account), CLIENT)
    expect_throttled(log_in, services)


@pytest.mark.parametrize(
    "end",
    [
        lambda services, account: services.accounts.delete(account),
        lambda services, account: services.accounts.close(account, CLIENT),
    ],
    ids=["deleted", "closed"],
)
def test_a_name_begins_anew_with_its_next_owner(
    services: Services, end: Callable[[Services, Account], None]
) -> None:
    account = services.accounts.find(services.accounts.register("Susan", PASSWORD))
    fail(services, 6, username="susan")
    end(services, account)
    fail(services, 6, username="susan")
    services.accounts.register("susan", PASSWORD)
    log_in(services, username="susan")
