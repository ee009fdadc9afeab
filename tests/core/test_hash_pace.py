"""What is measured of hashes: `test_hasher` has what a login pays for it."""

from hashlib import pbkdf2_hmac
from itertools import count

from restauth.core import old_hashes, passwords
from restauth.core.hash_pace import HashPace
from restauth.core.old_hashes import OldHash

COST = passwords.MIN_COST
STORED = passwords.hash("right", COST + 1)


def parse(password_hash: str) -> OldHash:
    old = old_hashes.parse(password_hash)
    assert old is not None
    return old


OLD = parse(f"pbkdf2:sha256:1$salt${pbkdf2_hmac('sha256', b'right', b'salt', 1).hex()}")
OLD_BCRYPT = parse("$2b$05$" + "." * 53)


def new_pace() -> HashPace:
    """Each look at its clock takes a second."""
    return HashPace(COST, count().__next__)


def test_a_hash_of_the_current_form_is_counted_in_its_own_rounds() -> None:
    assert new_pace().matches("right", STORED) == (True, 1 << COST + 1)
    assert new_pace().matches("wrong", STORED) == (False, 1 << COST + 1)
    assert new_pace().matches("right", None) == (False, 1 << COST)


def test_the_last_pace_counts_the_rounds_of_an_old_hash() -> None:
    pace = new_pace()
    assert pace.matches_old("right", OLD) == (True, 1 << COST)  # a second, as long as one bcrypt
    pace.matches("right", STORED)  # twice as many rounds in a second
    assert pace.matches_old("wrong", OLD) == (False, 1 << COST + 1)
    assert pace.measure(OLD) == 1 << COST + 1


def test_bcrypt_knows_its_rounds_without_a_clock() -> None:
    assert new_pace().matches_old("right", OLD_BCRYPT) == (False, 1 << 5)
