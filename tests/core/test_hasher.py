"""The same work for every login, counted: whatever form the stored hash has."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bcrypt
import pytest

from restauth.core import passwords
from restauth.core.hasher import Hasher, PasswordMismatch
from restauth.records import Account
from tests.core.inputs import CountedLock

COST = 9
EVEN = 1 << COST  # what every verification spends
GRAIN = 1 << passwords.MIN_COST  # the least that can be spent
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
READABLE = {"current": CURRENT, **CHEAPER}
UNREADABLE = {
    "no account": None,
    "no hash": "!",
    "damage": CURRENT[:-1],
    "too many iterations": pbkdf2(1).replace(":1$", ":1000001$"),
    "SHA-crypt without the setting": SHA_CRYPT,
}
ANY = {**READABLE, **UNREADABLE}


def verifies(hasher: Hasher, password: str, password_hash: str | None) -> bool:
    candidate = None
    if password_hash is not None:
        candidate = Account(7, "miguel", password_hash, 0, None, 1, ())
    try:
        return hasher.verify(password, candidate) is candidate
    except PasswordMismatch:
        return False


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

    def of_login(self, hasher: Hasher, password: str, password_hash: str | None) -> int:
        return self.of(lambda: verifies(hasher, password, password_hash))


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
    verifies(hasher, "x", None)
    return hasher


# What matches


@pytest.mark.parametrize("remark", ANY)
def test_a_hash_matches_its_password_if_it_can_be_read_and_no_other(
    hasher: Hasher, remark: str
) -> None:
    assert verifies(hasher, "right", ANY[remark]) == (remark in READABLE)
    assert not verifies(hasher, "wrong", ANY[remark])


def test_sha_crypt_is_read_and_measured_where_the_setting_allows_it(work: Work) -> None:
    allowing = Hasher(COST, work.timer, reads_sha_crypt=True)
    assert allowing.find_old(SHA_CRYPT) is not None
    assert verifies(allowing, "right", SHA_CRYPT)
    assert not verifies(allowing, "wrong", SHA_CRYPT)
    assert work.of(lambda: allowing.calibrate([SHA_CRYPT])) > 1000
    assert work.of_login(allowing, "x", None) > 1000 - GRAIN


def test_sha_crypt_is_not_read_otherwise(hasher: Hasher) -> None:
    assert hasher.find_old(SHA_CRYPT) is None
    assert hasher.find_old(SCRYPT) is not None


def test_all_but_a_hash_of_the_current_cost_needs_a_new_one(hasher: Hasher, work: Work) -> None:
    assert work.of(lambda: hasher.hash("right")) == EVEN
    others = [passwords.hash("right", cost) for cost in (COST - 1, COST + 1)]
    hashes = [hasher.hash("right"), CURRENT, *others, SCRYPT, SHA_CRYPT, "!"]
    assert [*map(hasher.needs_rehash, hashes)] == [False] * 2 + [True] * 5


# What it costs


@pytest.mark.parametrize("password", ["right", "wrong"])
@pytest.mark.parametrize("password_hash", ANY.values(), ids=ANY)
def test_every_verification_is_the_same_work(
    hasher: Hasher, work: Work, password_hash: str | None, password: str
) -> None:
    assert EVEN - GRAIN < work.of_login(hasher, password, password_hash) <= EVEN


def test_the_pace_is_looked_at_once_before_the_first_login(work: Work) -> None:
    hasher, old = Hasher(COST, work.timer), pbkdf2(96)
    assert work.of_login(hasher, "right", old) == EVEN + EVEN  # at the cost in force
    assert work.of_login(hasher, "right", old) == EVEN


def test_the_start_measures_what_is_warm_and_undisturbed(work: Work) -> None:
    """Each thing is slow when it is done first, and sometimes later."""
    seen: dict[int, int] = {}
    delay = Work()

    def timer() -> float:
        return work.timer() + delay.timer()

    def disturb(rounds: int) -> None:
        seen[rounds] = seen.get(rounds, 0) + 1
        delay.rounds += 0 if seen[rounds] == 2 else 10 * EVEN

    hasher, hashed = Hasher(COST, timer), {}
    for module, name in ((bcrypt, "hashpw"), (hashlib, "pbkdf2_hmac")):
        hashed[name] = getattr(module, name)
    with pytest.MonkeyPatch.context() as patch:

        def hashpw(password: bytes, salt: bytes) -> bytes:
            disturb(1)
            digest: bytes = hashed["hashpw"](password, salt)
            return digest

        def pbkdf2_hmac(*arguments: Any) -> bytes:
            disturb(2)
            digest: bytes = hashed["pbkdf2_hmac"](*arguments)
            return digest

        patch.setattr(bcrypt, "hashpw", hashpw)
        patch.setattr(hashlib, "pbkdf2_hmac", pbkdf2_hmac)
        hasher.calibrate([pbkdf2(3 * EVEN)])
    assert work.of_login(hasher, "x", None) == 3 * EVEN


def test_the_pace_of_this_machine_decides_what_is_topped_up(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where bcrypt is half as fast, an iteration of PBKDF2 stands for half a round."""
    slower = Work()
    hasher = Hasher(COST, lambda: work.timer() + slower.timer())
    hashpw = bcrypt.hashpw

    def slow(password: bytes, salt: bytes) -> bytes:
        slower.rounds += 1 << int(salt[4:6])
        return hashpw(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", slow)
    verifies(hasher, "x", None)
    assert work.of_login(hasher, "right", pbkdf2(256)) == 256 + EVEN - 128


@pytest.mark.parametrize(
    ("slow", "rounds"),
    [
        pytest.param(bcrypt_hash(COST + 1), 2 * EVEN, id="bcrypt"),
        pytest.param(pbkdf2(3 * EVEN), 3 * EVEN, id="pbkdf2"),
    ],
)
def test_every_login_pays_for_a_slower_form_that_is_expected(
    hasher: Hasher, work: Work, slow: str, rounds: int
) -> None:
    hasher.calibrate([slow])
    for password_hash in ANY.values():
        assert rounds - GRAIN < work.of_login(hasher, "wrong", password_hash) <= rounds
    assert work.of_login(hasher, "wrong", slow) == rounds


def test_the_slowest_of_all_sets_the_work(hasher: Hasher, work: Work) -> None:
    hasher.calibrate([*CHEAPER.values()])  # makes no login cheaper
    assert work.of_login(hasher, "x", None) == EVEN
    hasher.calibrate([pbkdf2(2 * EVEN), pbkdf2(4 * EVEN), pbkdf2(1), bcrypt_hash(4)])
    hasher.calibrate([pbkdf2(3 * EVEN)])
    for password_hash in (None, passwords.hash("right", COST + 1)):
        assert work.of_login(hasher, "x", password_hash) == 4 * EVEN


def test_what_no_login_will_meet_is_not_measured(hasher: Hasher, work: Work) -> None:
    assert work.of(lambda: hasher.calibrate(["", "!", CURRENT, SHA_CRYPT])) == 0


# Threads


def test_threads_share_a_hasher(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread calibrates the slowest form, it wins."""
    clock = iter(range(10**6))
    hasher = Hasher(4, lambda: next(clock), reads_sha_crypt=True)
    hashes = [*READABLE.values(), SHA_CRYPT] * 4
    calibrated, lock = Hasher(4, work.timer), CountedLock()
    monkeypatch.setattr(calibrated, "_lock", lock)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda one: verifies(hasher, "right", one), hashes))
        assert not any(pool.map(lambda one: verifies(hasher, "wrong", one), hashes))
        list(pool.map(lambda cost: calibrated.calibrate([bcrypt_hash(cost)]), (4, 9, 6, 8, 5, 7)))
    assert lock.taken == 6
    assert work.of_login(calibrated, "x", None) == 1 << 9
