"""Session ids: random, and of one form."""

import re
from base64 import urlsafe_b64decode

from restauth.core import session_ids


def test_each_id_has_128_random_bits_in_the_one_form() -> None:
    ids = [session_ids.generate() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {len(urlsafe_b64decode(one + "==")) for one in ids} == {16}
    assert all(re.fullmatch(session_ids.PATTERN, one) for one in ids)
