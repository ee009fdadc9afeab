"""Even work for every login, counted: whatever form the stored hash has."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bcrypt
import pytest

from restauth.core import passwords
from restauth.core.hasher import Hasher

COST = 9
EVEN = 1 << COST  # what every verification spends
GRAIN = 1 << passwords.MIN_COST  # the least that can be spent
PROBE = 1 << 6  # spent once, when an older form comes before the first login
TICK = 2.0**-10  # seconds a round takes: exact in floating point

CURRENT = passwords.hash("right", COST)


def bcrypt_hash(cost: int) -> str:
    return bcrypt.hashpw(b"right", bcrypt.gensalt(cost)).decode()


def pbkdf2(iterations: int) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", b"right", b"salt", iterations)
    return f"pbkdf2:sha256:{iterations}$salt${digest.hex()}"


SCRYPT = "scrypt:16:8:1$salt$" + hashlib.scrypt(b"right", salt=b"salt", n=16, r=8, p=1).hex()
SHA_CRYPT = (  # crypt(3) of libxcrypt 4.4, "right"
    "$6$rounds=1000$abc$"
    "L49KHVDH7dx1DLB1QCAaFWdSAxn4hZjeqUBMOeOAindyaFjDFc6TBM72TifrctYRRLVDwGLb6UKNu16iQRSDx/"
)

CHEAPER = {
    "bcrypt": bcrypt_hash(4),
    "pbkdf2": pbkdf2(100),
    "pbkdf2 of one iteration": pbkdf2(1),
    "scrypt": SCRYPT,
    "a cheaper one of the current form": passwords.hash("right", 5),
}
UNREADABLE = {
    "nobody": None,
    "no hash": "!",
    "damage": CURRENT[:-1],
    "too many iterations": pbkdf2(1).replace(":1$", ":1000001$"),
    "SHA-crypt without the setting": SHA_CRYPT,
}


class Work:
    """Rounds of bcrypt, iterations of PBKDF2 and the like, as a clock would see them."""

    def __init__(self) -> None:
        self.rounds = 0

    def timer(self) -> float:
        return self.rounds * TICK

    def of(self, action: Callable[[], object]) -> int:
        before = self.rounds
        action()
        return self.rounds - before


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """All that is hashed in the test, counted where it leaves Python."""
    work = Work()

    def count(module: Any, name: str, rounds: Callable[..., int]) -> None:
        function = getattr(module, name)

        def counted(*arguments: Any, **keywords: Any) -> Any:
            work.rounds += rounds(*arguments, **keywords)
            return function(*arguments, **keywords)

        monkeypatch.setattr(module, name, counted)

    count(bcrypt, "hashpw", lambda password, salt: 1 << int(salt[4:6]))
    count(bcrypt, "checkpw", lambda password, stored: 1 << int(stored[4:6]))
    count(hashlib, "pbkdf2_hmac", lambda name, password, salt, iterations: iterations)
    count(hashlib, "scrypt", lambda password, *, n, r, p, **keywords: n * r * p)
    count(hashlib, "sha512", lambda data: 1)
    return work


@pytest.fixture
def hasher(work: Work) -> Hasher:
    """One that has seen a login, and so knows the pace."""
    hasher = Hasher(COST, work.timer)
    hasher.verify("x", None)
    return hasher


# What matches


def test_a_new_hash_is_of_the_current_form_and_cost(hasher: Hasher, work: Work) -> None:
    assert work.of(lambda: hasher.hash("right")) == EVEN
    assert passwords.cost_of(hasher.hash("right")) is not None
    assert not hasher.is_stale(hasher.hash("right"))


@pytest.mark.parametrize("password_hash", [CURRENT, *CHEAPER.values()], ids=["current", *CHEAPER])
def test_the_right_password_matches_and_no_other(hasher: Hasher, password_hash: str) -> None:
    assert hasher.verify("right", password_hash)
    assert not hasher.verify("wrong", password_hash)


@pytest.mark.parametrize("password_hash", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_matches_nothing(hasher: Hasher, password_hash: str | None) -> None:
    assert not hasher.verify("right", password_hash)


def test_sha_crypt_is_read_where_the_setting_allows_it(work: Work) -> None:
    allowing = Hasher(COST, work.timer, reads_sha_crypt=True)
    assert allowing.read_old(SHA_CRYPT) is not None
    assert allowing.verify("right", SHA_CRYPT)
    assert not allowing.verify("wrong", SHA_CRYPT)


def test_sha_crypt_is_not_read_otherwise(hasher: Hasher) -> None:
    assert hasher.read_old(SHA_CRYPT) is None
    assert hasher.read_old(SCRYPT) is not None


@pytest.mark.parametrize(
    ("password_hash", "is_stale"),
    [
        pytest.param(CURRENT, False, id="current"),
        pytest.param(passwords.hash("right", COST - 1), True, id="cheaper"),
        pytest.param(passwords.hash("right", COST + 1), True, id="dearer"),
        pytest.param(SCRYPT, True, id="older"),
        pytest.param(SHA_CRYPT, True, id="not accepted"),
        pytest.param("!", True, id="no hash"),
        pytest.param(None, True, id="nobody"),
    ],
)
def test_all_but_a_hash_of_the_current_cost_is_stale(
    hasher: Hasher, password_hash: str | None, is_stale: bool
) -> None:
    assert hasher.is_stale(password_hash) == is_stale


# What it costs


@pytest.mark.parametrize("password", ["right", "wrong"])
@pytest.mark.parametrize(
    "password_hash",
    [CURRENT, *CHEAPER.values(), *UNREADABLE.values()],
    ids=["current", *CHEAPER, *UNREADABLE],
)
def test_every_verification_is_the_same_work(
    hasher: Hasher, work: Work, password_hash: str | None, password: str
) -> None:
    spent = work.of(lambda: hasher.verify(password, password_hash))
    assert EVEN - GRAIN < spent <= EVEN


def test_the_pace_is_looked_at_once_before_the_first_login(work: Work) -> None:
    hasher, old = Hasher(COST, work.timer), pbkdf2(96)
    assert work.of(lambda: hasher.verify("right", old)) == EVEN + PROBE
    assert work.of(lambda: hasher.verify("right", old)) == EVEN


def test_the_pace_of_this_machine_decides_what_is_topped_up(work: Work) -> None:
    """Where bcrypt is half as fast, an iteration of PBKDF2 stands for half a round."""
    slower, old = Work(), pbkdf2(256)

    def timer() -> float:
        return work.rounds * TICK + slower.rounds * TICK

    hasher = Hasher(COST, timer)
    hashpw = bcrypt.hashpw

    def slow(password: bytes, salt: bytes) -> bytes:
        slower.rounds += 1 << int(salt[4:6])
        return hashpw(password, salt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bcrypt, "hashpw", slow)
        hasher.verify("x", None)
        assert work.of(lambda: hasher.verify("right", old)) == 256 + EVEN - 128


SLOWER = {
    "bcrypt": (bcrypt_hash(COST + 1), 2 * EVEN),
    "pbkdf2": (pbkdf2(3 * EVEN), 3 * EVEN),
}


@pytest.mark.parametrize(("slow", "rounds"), SLOWER.values(), ids=SLOWER)
@pytest.mark.parametrize(
    "password_hash",
    [CURRENT, *CHEAPER.values(), *UNREADABLE.values()],
    ids=["current", *CHEAPER, *UNREADABLE],
)
def test_everybody_pays_for_a_slower_form_that_is_expected(
    hasher: Hasher, work: Work, slow: str, rounds: int, password_hash: str | None
) -> None:
    hasher.calibrate([slow])
    assert rounds - GRAIN < work.of(lambda: hasher.verify("wrong", password_hash)) <= rounds
    assert work.of(lambda: hasher.verify("wrong", slow)) == rounds


def test_the_slowest_of_all_sets_the_work(hasher: Hasher, work: Work) -> None:
    hasher.calibrate([pbkdf2(2 * EVEN), pbkdf2(4 * EVEN), pbkdf2(1), bcrypt_hash(4)])
    hasher.calibrate([pbkdf2(3 * EVEN)])
    assert work.of(lambda: hasher.verify("x", None)) == 4 * EVEN


@pytest.mark.parametrize("old", CHEAPER.values(), ids=CHEAPER)
def test_a_cheaper_form_makes_nobody_cheaper(hasher: Hasher, work: Work, old: str) -> None:
    hasher.calibrate([old])
    assert work.of(lambda: hasher.verify("x", None)) == EVEN


@pytest.mark.parametrize(
    "password_hash", ["", "!", CURRENT, SHA_CRYPT], ids=["empty", "junk", "current", "unread"]
)
def test_what_no_login_will_meet_is_not_measured(
    hasher: Hasher, work: Work, password_hash: str
) -> None:
    assert work.of(lambda: hasher.calibrate([password_hash])) == 0


def test_sha_crypt_is_measured_where_it_is_read(work: Work) -> None:
    hasher = Hasher(COST, work.timer, reads_sha_crypt=True)
    assert work.of(lambda: hasher.calibrate([SHA_CRYPT])) > 1000
    assert work.of(lambda: hasher.verify("x", None)) > 1000 - GRAIN


# Threads


def test_threads_share_a_hasher() -> None:
    clock = iter(range(10**6))
    hasher = Hasher(4, lambda: next(clock), reads_sha_crypt=True)
    hashes = [CURRENT, *CHEAPER.values(), SHA_CRYPT] * 4
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda one: hasher.verify("right", one), hashes))
        assert not any(pool.map(lambda one: hasher.verify("wrong", one), hashes))


def test_the_slowest_form_wins_whichever_thread_expects_it(work: Work) -> None:
    hasher = Hasher(4, work.timer)
    hashes = [[bcrypt_hash(cost)] for cost in (4, 9, 6, 8, 5, 7)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hasher.calibrate, hashes))
    assert work.of(lambda: hasher.verify("x", None)) == 1 << 9
