"""Failed attempts: counted on every route, for all processes, before a hash; and what clears them.

Rule: how long a wait is, is for the tests of `core.throttle`; here stands whom it stops, and when.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from threading import Event
from typing import Any

import pytest

from restauth import services as services_module
from restauth.core.throttle import network_of
from restauth.domain.accounts import Accounts
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
from restauth.storage import store
from restauth.testing import Clock
from tests.conftest import CLIENT, PUBLIC_CLIENT, ServicesFactory, held_hashes, race, slot_taken
from tests.databases import nobody_can_write
from tests.domain.actions import (
    NAME,
    ONE_HASH,
    PASSWORD,
    WRONG,
    await_waiting,
    fail,
    log_in,
    register,
    throttled,
)

ELSEWHERE = Client("198.51.100.9", "test")
NETWORK = PUBLIC_CLIENT.peer
UNKNOWN_CODE = "A" * 12 + "." + "A" * 24


pytestmark = pytest.mark.usefixtures("account")


@pytest.fixture
def code(services: Services, account: Account) -> str:
    return services.accounts.make_reset_code(account).code


def with_wrong_secret(code: str) -> str:
    return code.partition(".")[0] + "." + "A" * 24


def reset(services: Services, code: str, client: Client = CLIENT) -> None:
    services.accounts.reset_password(code, "another", client)


def expect_unusable(services: Services, code: str, times: int = 1, client: Client = CLIENT) -> None:
    for _ in range(times):
        with pytest.raises(UnusableCode):
            reset(services, code, client)


def expect_taken(services: Services, *names: str, client: Client = PUBLIC_CLIENT) -> None:
    for name in names:
        with pytest.raises(UsernameTaken):
            services.accounts.register(name, PASSWORD, client)


def wait_for(act: Callable[..., object], *arguments: object) -> int | None:
    """How long what is throttled has to wait."""
    with pytest.raises(Throttled) as caught:
        act(*arguments)
    return caught.value.retry_after


def counts(services: Services, client: Client, name: str = NAME) -> dict[tuple[str, str], int]:
    """What is counted now, by name and network."""
    digest = sha256(name.encode()).hexdigest() if name else ""
    found = services._resources.store.find_failures(digest, network_of(client.peer))
    return {(key[0] and name, key[1]): failures.count for key, failures in found.items()}


def rows(services: Services) -> set[tuple[str, str]]:
    """The name and the network of each row, as they are stored."""
    return set(services._resources.engine.read("SELECT name, peer FROM failures", {}))


@pytest.fixture
def many_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services_module, "HASH_SLOTS", 8)
    monkeypatch.setattr(services_module, "HASH_QUEUE", 8)


# Passwords


def test_waits_double_are_refused_before_a_hash_and_are_not_prolonged_by_refusals(
    services: Services, clock: Clock, work: list[int]
) -> None:
    fail(services, 5)
    for wait in (1, 2, 4):
        fail(services)
        work.clear()
        with pytest.raises(Throttled):
            services.authentication.authenticate(NAME, WRONG, CLIENT)
        assert throttled(services) == wait
        clock.advance(wait - 1)
        assert throttled(services) == 1
        assert work == []
        clock.advance(1)
    log_in(services)


@pytest.mark.parametrize("kind", ["unknown", "locked", "deleted", "malformed"])
def test_a_throttled_answer_tells_nothing_about_the_name(
    services: Services, kind: str, work: list[int]
) -> None:
    username = "no such\ud800name" if kind == "malformed" else "susan"
    if kind in ("locked", "deleted"):
        susan = register(services, "susan")
        (services.accounts.lock if kind == "locked" else services.accounts.delete)(susan)
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


def test_a_cached_password_is_refused_while_its_name_is_throttled(
    services: Services, clock: Clock, work: list[int]
) -> None:
    log_in(services)
    fail(services, 6)
    work.clear()
    assert throttled(services) == 1
    clock.advance(1)
    log_in(services)
    assert work == []


def test_another_spelling_or_user_agent_is_no_fresh_start_and_another_address_is(
    services: Services,
) -> None:
    # CVE-2025-6004: a lock-out keyed by the raw name
    for number, spelling in enumerate([NAME, "Miguel", "MIGUEL", "\uff4diguel", "mIgUeL", NAME]):
        fail(services, 1, Client(CLIENT.peer, f"browser {number}"), spelling)
    for spelling in (NAME, "mIGUEL"):
        throttled(services, username=spelling)
    log_in(services, ELSEWHERE)
    fail(services, 6, ELSEWHERE)
    throttled(services, ELSEWHERE)


# Before the hash


def test_an_attempt_turned_away_for_want_of_a_slot_is_not_counted(
    services: Services, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(services, "susan")
    with slot_taken(one_slot, monkeypatch, "susan", PASSWORD), pytest.raises(Busy):
        one_slot.authentication.authenticate(NAME, WRONG, PUBLIC_CLIENT)
    assert counts(services, PUBLIC_CLIENT) == {}


def guess(services: Services, username: str = NAME, number: int = 0) -> type[Exception]:
    with pytest.raises((BadCredentials, Throttled)) as caught:
        services.authentication.authenticate(username, f"{WRONG} {number}", CLIENT)
    return caught.type


@pytest.mark.usefixtures("many_slots")
@pytest.mark.parametrize("username", [NAME, "nobody"])
def test_parallel_guesses_do_not_slip_through_while_the_first_are_hashed(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch, username: str
) -> None:
    # CVE-2024-4629: the limit was asked for before the hash, and the failure counted after it
    processes = [make_services(free_failures=0, max_failures=3) for _ in range(2)]
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(8) as threads:
        guesses: list[Future[type[Exception]]] = [
            threads.submit(guess, processes[number % 2], username, number) for number in range(8)
        ]
        try:
            early = [future.result() for future in islice(as_completed(guesses, timeout=60), 5)]
        finally:
            held.may_go_on.set()
    assert early == [Throttled] * 5
    assert [future.result() for future in guesses].count(BadCredentials) == 3


@pytest.mark.parametrize(("credential_cache", "hashes"), [(300, 1), (0, 2)])
def test_correct_logins_at_once_do_not_throttle_one_another_and_are_one_attempt(
    make_services: ServicesFactory,
    monkeypatch: pytest.MonkeyPatch,
    work: list[int],
    credential_cache: int,
    hashes: int,
) -> None:
    """Five failures are free. Without the cache, those that came while the first one was hashed
    have one hash more."""
    monkeypatch.setattr(services_module, "HASH_SLOTS", 2)
    monkeypatch.setattr(services_module, "HASH_QUEUE", 6)
    services = make_services(credential_cache=credential_cache)
    work.clear()
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(10) as threads:
        logins = [threads.submit(log_in, services) for _ in range(10)]
        try:  # two find no place, and so the other eight are all under way
            early = [future.exception() for future in islice(as_completed(logins, timeout=60), 2)]
        finally:
            held.may_go_on.set()
    assert [type(error) for error in early] == [Busy, Busy]
    assert [future.exception() for future in logins].count(None) == 8
    assert work == [ONE_HASH] * hashes
    assert counts(services, CLIENT) == {}


def test_equal_wrong_passwords_at_once_are_one_attempt_and_counted_once_a_hash(
    services: Services, monkeypatch: pytest.MonkeyPatch, work: list[int]
) -> None:
    work.clear()
    with held_hashes(monkeypatch) as held, ThreadPoolExecutor(12) as threads:
        guesses = [threads.submit(guess, services) for _ in range(12)]
        try:
            assert held.is_hashing.wait(timeout=60)
            await_waiting(services, 11)
        finally:
            held.may_go_on.set()
    assert [future.result() for future in guesses] == [BadCredentials] * 12
    assert work == [ONE_HASH] * 2  # the first one, and those that came while it was hashed
    assert counts(services, CLIENT) == {(NAME, ""): 2, (NAME, CLIENT.peer): 2}


@pytest.mark.usefixtures("many_slots")
def test_an_attempt_that_passed_the_check_too_early_is_refused_when_it_is_reserved(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch, work: list[int]
) -> None:
    rivals = [make_services(free_failures=1, max_failures=0) for _ in range(3)]
    fail(rivals[0])
    work.clear()
    outcomes = race(monkeypatch, rivals, "change_failures", guess)  # all three have been checked
    assert [outcomes.count(BadCredentials), outcomes.count(Throttled)] == [1, 2]
    assert work == [ONE_HASH]


@contextmanager
def releases_refused(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[BaseException]]:
    """The store takes what books an attempt, and nothing after it: others fill all places."""
    change = services._resources.store.change_failures
    refused: list[BaseException] = []

    def refuse(name: str, network: str, update: Any, *rest: Any, **keywords: Any) -> Any:
        if update == services.authentication._throttle._limits.after_success:
            refused.append(StoreUnavailable("too many writers"))
            raise refused[-1]
        return change(name, network, update, *rest, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(services._resources.store, "change_failures", refuse)
        yield refused


@pytest.mark.parametrize("client", [CLIENT, PUBLIC_CLIENT], ids=["private", "public"])
def test_a_success_that_cannot_be_written_is_never_counted_as_a_failure(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    services, elsewhere = make_services(free_failures=1, peer_failures=2), make_services()
    register(services, "susan")
    with releases_refused(services, monkeypatch) as refused:
        log_in(services, client)
        assert len(refused) == 1
        assert counts(services, client)[NAME, ""] == 1
        for _ in range(3):
            log_in(services, client)  # cached, and not throttled by what only looks like failures
        with pytest.raises(StoreUnavailable):  # an attempt that could not be counted rightly
            log_in(services, client, "susan")
    log_in(services, client, "susan")
    assert counts(elsewhere, client).get((NAME, ""), 0) == 0
    assert sum(counts(elsewhere, client).values()) == 0


def test_a_release_that_is_owed_clears_no_failure_of_another_network(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_services(free_failures=1)
    fail(services, 2, ELSEWHERE)
    with releases_refused(services, monkeypatch):
        log_in(services)
        assert throttled(services, ELSEWHERE) == 1
        log_in(services)


def test_a_reset_that_cannot_be_written_holds_at_once_and_is_written_before_the_next_attempt(
    make_services: ServicesFactory, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is unlocked: an answer of 503 would say that it is not."""
    services, elsewhere = make_services(max_failures=2), make_services(max_failures=2)
    register(services, "susan")
    fail(services, username="susan")
    fail(services, 2)
    before = rows(services)

    def refuse(name: str) -> None:
        raise StoreUnavailable("too many writers")

    with monkeypatch.context() as patch:
        patch.setattr(services._resources.store, "reset_failures", refuse)
        services.accounts.unlock(account)
        assert rows(services) == before
        assert services.accounts.failures_of(account).count == 0
        assert throttled(elsewhere) is None
        with pytest.raises(StoreUnavailable):  # it would be counted on top of what is forgotten
            log_in(services)
    log_in(services)
    assert counts(services, CLIENT) == {}
    assert counts(services, CLIENT, "susan")["susan", ""] == 1


@pytest.mark.usefixtures("many_slots")
def test_releases_are_written_by_one_thread_at_a_time(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_services()
    for name in ("susan", "adam"):
        register(services, name)
    change = services._resources.store.change_failures
    released, is_writing, may_go_on = [], Event(), Event()

    def slow(name: str, network: str, update: Any, *rest: Any, **keywords: Any) -> Any:
        if update == services.authentication._throttle._limits.after_success:
            released.append(name)
            is_writing.set()
            assert may_go_on.wait(timeout=60)
        return change(name, network, update, *rest, **keywords)

    monkeypatch.setattr(services._resources.store, "change_failures", slow)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(log_in, services, CLIENT, "susan")
        try:
            assert is_writing.wait(timeout=60)
            log_in(services, CLIENT, "adam")  # does not wait for it
        finally:
            may_go_on.set()
        first.result(timeout=60)
    assert len(released) == 2
    assert counts(services, CLIENT, "susan") == counts(services, CLIENT, "adam") == {}


@pytest.mark.usefixtures("no_patience")
def test_an_attempt_that_cannot_be_counted_is_not_made_and_one_that_need_not_be_waits_for_nobody(
    services: Services, code: str, work: list[int]
) -> None:
    work.clear()
    with nobody_can_write(services):
        with pytest.raises(StoreUnavailable):
            log_in(services)
        with pytest.raises(StoreUnavailable):  # a code that exists is counted
            reset(services, code, CLIENT)
        for client in (CLIENT, PUBLIC_CLIENT):
            expect_unusable(services, "garbage", client=client)
            expect_unusable(services, UNKNOWN_CODE, client=client)
        expect_taken(services, NAME, client=CLIENT)
    assert (work, rows(services)) == ([], set())
    reset(services, code)


@pytest.mark.usefixtures("no_patience")
def test_what_is_throttled_is_refused_without_a_write(services: Services, code: str) -> None:
    fail(services, 6)
    expect_unusable(services, with_wrong_secret(code), 6)
    with nobody_can_write(services):
        assert throttled(services) == wait_for(reset, services, code) == 1


# What is kept of it


def test_a_name_is_stored_as_a_digest_of_one_length(services: Services) -> None:
    # a password typed as a name; and U+FDFA, which is eighteen characters in canonical form
    names = {"Hunter2-and-more": "hunter2-and-more", NAME: NAME}
    for typed in (*names, "\ufdfa" * 14):
        fail(services, username=typed)
    digests = {sha256(name.encode()).hexdigest() for name in names.values()}
    stored = {name for name, _ in rows(services)}
    assert digests < stored
    assert {len(name) for name in stored} == {64}
    assert {peer for _, peer in rows(services)} == {"", CLIENT.peer}


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


# The limits of the settings


def test_a_public_peer_that_goes_through_the_names_is_blocked_for_the_window_and_no_private_one(
    make_services: ServicesFactory, clock: Clock, work: list[int]
) -> None:
    services = make_services(peer_failures=3)
    network = [Client(f"2606:4700:1:2::{number}") for number in range(4)]
    for number in range(3):
        for client in (CLIENT, PUBLIC_CLIENT, network[number]):
            fail(services, 1, client, f"user{number}")
        clock.advance(40)
    work.clear()
    for client in (PUBLIC_CLIENT, network[3], Client("[2606:4700:1:2::9]:4711")):
        assert throttled(services, client) == 300 - 3 * 40
    assert work == []
    log_in(services, CLIENT)  # behind such an address stands a proxy
    log_in(services, Client("2606:4700:1:3::"))
    clock.advance(180)
    log_in(services, PUBLIC_CLIENT)


# Registrations


def test_a_peer_that_tries_which_names_are_taken_is_blocked(
    make_services: ServicesFactory, clock: Clock, work: list[int]
) -> None:
    services = make_services(peer_failures=3, free_failures=1, max_failures=1)
    expect_taken(services, NAME, "MIGUEL")
    log_in(services, PUBLIC_CLIENT)  # the name itself is not throttled by those who want it
    expect_taken(services, NAME)
    work.clear()
    for username in (NAME, "susan"):  # taken or free: one answer
        assert wait_for(services.accounts.register, username, PASSWORD, PUBLIC_CLIENT) == 300
    throttled(services, PUBLIC_CLIENT)
    assert work == []
    services.accounts.register("susan", PASSWORD, CLIENT)
    clock.advance(300)
    services.accounts.register("adam", PASSWORD, PUBLIC_CLIENT)


def test_failed_logins_and_taken_names_and_wrong_codes_of_a_peer_add_up(
    make_services: ServicesFactory, code: str
) -> None:
    services = make_services(peer_failures=3)
    fail(services, client=PUBLIC_CLIENT)
    expect_taken(services, NAME)
    expect_unusable(services, with_wrong_secret(code), client=PUBLIC_CLIENT)
    assert wait_for(services.accounts.register, "susan", PASSWORD, PUBLIC_CLIENT) == 300
    assert wait_for(reset, services, "garbage", PUBLIC_CLIENT) == 300
    throttled(services, PUBLIC_CLIENT)


def test_neither_a_success_nor_the_operator_is_counted(make_services: ServicesFactory) -> None:
    services = make_services(peer_failures=1, peer_registrations=0)
    for number in range(3):
        services.accounts.register(f"user{number}", PASSWORD, PUBLIC_CLIENT)
    expect_taken(services, NAME, NAME, client=OPERATOR)
    assert rows(services) == set()


def make_accounts(services: Services, name: str, number: int, client: Client) -> None:
    for each in range(number):
        services.accounts.register(f"{name}{each}", PASSWORD, client)


def test_a_public_peer_makes_so_many_accounts_in_an_hour_and_a_private_one_as_many_as_it_likes(
    make_services: ServicesFactory, clock: Clock, work: list[int]
) -> None:
    services = make_services(peer_registrations=3)
    network = [Client(f"2606:4700:1:2::{number}") for number in range(2)]
    make_accounts(services, "a", 3, PUBLIC_CLIENT)
    make_accounts(services, "b", 2, network[0])
    clock.advance(600)
    make_accounts(services, "c", 1, network[1])
    work.clear()
    for client in (PUBLIC_CLIENT, *network):
        assert wait_for(services.accounts.register, "d", PASSWORD, client) == 3000
    assert work == []
    make_accounts(services, "e", 4, CLIENT)
    make_accounts(services, "f", 4, OPERATOR)
    log_in(services, PUBLIC_CLIENT)  # nothing else is refused
    clock.advance(3000)
    make_accounts(services, "g", 3, PUBLIC_CLIENT)
    assert wait_for(services.accounts.register, "d", PASSWORD, PUBLIC_CLIENT) == 3600


def test_a_peer_that_may_make_no_account_does_not_learn_which_names_are_taken(
    make_services: ServicesFactory, work: list[int]
) -> None:
    services = make_services(peer_registrations=1)
    make_accounts(services, "a", 1, PUBLIC_CLIENT)
    code, _ = services.invitations.make([])
    work.clear()
    for name in (NAME, "free"):
        for invitation in (None, code, "wrong"):
            with pytest.raises(Throttled) as caught:
                services.accounts.register(name, PASSWORD, PUBLIC_CLIENT, invitation=invitation)
            assert caught.value.retry_after == 3600
    assert work == []


def test_registrations_at_once_are_all_counted(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = [make_services(peer_registrations=10) for _ in range(16)]
    names = {id(rival): f"user{number}" for number, rival in enumerate(rivals)}
    outcomes = race(
        monkeypatch,
        rivals,
        "change_failures",
        lambda rival: rival.accounts.register(names[id(rival)], PASSWORD, PUBLIC_CLIENT),
    )
    assert outcomes.count(Throttled) == 6
    assert len(list(rivals[0].accounts.list())) == 1 + 10
    assert wait_for(rivals[0].accounts.register, "d", PASSWORD, PUBLIC_CLIENT) == 3600


def test_what_is_no_account_in_the_end_is_not_counted(
    make_services: ServicesFactory, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = make_services(peer_registrations=1)
    expect_taken(limited, NAME)
    with monkeypatch.context() as patch:  # taken meanwhile
        patch.setattr(limited._resources.store, "find_user_by_name", lambda name: None)
        expect_taken(limited, NAME)
    with monkeypatch.context() as patch:
        patch.setattr(limited._resources.limiter, "_places", 0)
        with pytest.raises(Busy):
            limited.accounts.register("susan", PASSWORD, PUBLIC_CLIENT)
    make_accounts(limited, "a", 1, PUBLIC_CLIENT)
    assert wait_for(limited.accounts.register, "b", PASSWORD, PUBLIC_CLIENT) == 3600


def test_a_count_that_was_pushed_out_meanwhile_is_not_taken_back(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = make_services(peer_registrations=1)

    def push_out(name: str, client: Client) -> str:
        limited._resources.engine.write("DELETE FROM failures", {})
        raise Busy

    monkeypatch.setattr(limited.accounts, "_hash", push_out)
    with pytest.raises(Busy):
        limited.accounts.register("susan", PASSWORD, PUBLIC_CLIENT)
    assert rows(limited) == set()


def test_a_registration_that_is_refused_writes_nothing(make_services: ServicesFactory) -> None:
    services = make_services(peer_registrations=1)
    make_accounts(services, "a", 1, PUBLIC_CLIENT)
    with nobody_can_write(services):
        assert wait_for(services.accounts.register, "b", PASSWORD, PUBLIC_CLIENT) == 3600


# Reset codes


def test_wrong_secrets_of_a_code_are_counted_by_its_selector(
    services: Services, account: Account, code: str, clock: Clock, work: list[int]
) -> None:
    work.clear()
    expect_unusable(services, with_wrong_secret(code), 6)
    assert wait_for(reset, services, code) == 1
    assert work == []
    log_in(services)  # the name has nothing to do with it
    reset(services, services.accounts.make_reset_code(register(services, "susan")).code)
    clock.advance(1)
    reset(services, code)


def test_for_a_code_that_nobody_has_nothing_is_written(
    services: Services, code: str, clock: Clock
) -> None:
    """So a flood of them keeps no writer waiting."""
    for each in (UNKNOWN_CODE, "garbage", ""):
        expect_unusable(services, each, 7)  # six of a real one would be throttled
        expect_unusable(services, each, 7, PUBLIC_CLIENT)
    assert rows(services) == set()
    clock.advance(3600)
    expect_unusable(services, code)  # expired: nobody's any more
    assert rows(services) == set()


def test_a_used_code_takes_its_own_reservation_back(services: Services, code: str) -> None:
    reset(services, code, PUBLIC_CLIENT)
    name = f"\0reset code {code.partition('.')[0]}"
    assert counts(services, PUBLIC_CLIENT, name) == {("", NETWORK): 0}


# What clears the counts


@pytest.mark.parametrize("peer", [NETWORK, "2606:4700::9"])
def test_a_success_clears_the_name_and_takes_its_own_reservation_back_from_the_peer(
    services: Services, peer: str
) -> None:
    client, network = Client(peer), network_of(peer)
    fail(services, 2, client, "susan")
    fail(services, 3, client)
    assert counts(services, client) == {(NAME, ""): 3, (NAME, network): 3, ("", network): 5}
    log_in(services, client)
    assert counts(services, client) == {("", network): 5}
    assert counts(services, client, "susan")["susan", ""] == 2


@pytest.mark.usefixtures("no_patience")
def test_a_cached_success_clears_nothing_and_writes_nothing(
    make_services: ServicesFactory, work: list[int]
) -> None:
    services = make_services()
    log_in(services, PUBLIC_CLIENT)
    fail(services, 3, PUBLIC_CLIENT)
    counted = counts(services, PUBLIC_CLIENT)
    assert set(counted.values()) == {3}
    work.clear()
    with nobody_can_write(services):
        log_in(services, PUBLIC_CLIENT)
    assert counts(services, PUBLIC_CLIENT) == counted
    assert work == []


@pytest.mark.parametrize(
    "vouch",
    [
        lambda accounts, it: accounts.unlock(it),
        lambda accounts, it: accounts.set_password(it, PASSWORD),
        lambda accounts, it: accounts.reset_password(
            accounts.make_reset_code(it).code, PASSWORD, ELSEWHERE
        ),
    ],
    ids=["unlocked", "password set", "password reset"],
)
def test_whoever_vouches_for_the_owner_opens_a_shut_name(
    make_services: ServicesFactory, vouch: Callable[[Accounts, Account], object]
) -> None:
    services = make_services(max_failures=6, free_failures=2)
    # the name is kept as typed, and counted in its canonical form
    susan = register(services, "Susan")
    for client in (CLIENT, PUBLIC_CLIENT):
        fail(services, 3, client, "susan")
    assert throttled(services, ELSEWHERE, "susan") is None
    vouch(services.accounts, susan)
    for client in (CLIENT, ELSEWHERE, PUBLIC_CLIENT):
        log_in(services, client, "susan")


@pytest.mark.parametrize("is_owner", [True, False], ids=["closed", "deleted"])
def test_a_name_begins_anew_without_its_owner_and_with_the_next(
    services: Services, is_owner: bool
) -> None:
    susan = register(services, "Susan")
    fail(services, 6, username="susan")
    if is_owner:
        services.accounts.close(susan, CLIENT)
    else:
        services.accounts.delete(susan)
    fail(services, 6, username="susan")
    register(services, "SUSAN")
    log_in(services, username="susan")
