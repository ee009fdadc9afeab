"""Canonical usernames, and names that can never log in.

Rule: the canonical form is what login, the unique index and the throttle (the limit on failed
attempts) compare, so that two spellings of a name are one name for all three. It is never shown,
and it never replaces the name as it was typed.
"""

import re
from unicodedata import normalize

MAX_LENGTH = 64  # characters; every token is longer, so that none is taken for a name
# Characters, as typed and in canonical form. NFKC makes up to 18 of one, in quadratic time.
MAX_CANONICAL_LENGTH = 255
TOO_LONG = ":"  # the canonical form of every longer name; no user can have it

CONTROL_CHARACTERS = "\x00-\x1f\x7f"  # of ASCII, for a character class of a regular expression
# RFC 7617 section 2: a user-id has no colon and no control character. `#7` is an id to commands.
# `canonical` turns lone surrogates and NUL into U+FFFD.
_IMPOSSIBLE = re.compile(f"^#|[:{CONTROL_CHARACTERS}\x80-\x9f\ud800-\udfff\ufffd]")


def canonical(username: str) -> str:
    """`casefold(NFKC(name))`: in this order the result is stable for every code point.

    What a command line or a header can hold and no database can (a lone surrogate, which is half of
    a character, and NUL) becomes U+FFFD. A name that is too long for any user is not normalised.
    """
    if len(username) > MAX_CANONICAL_LENGTH:
        return TOO_LONG
    well_formed = username.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    form = normalize("NFKC", well_formed.replace("\0", "\ufffd")).casefold()
    return form if len(form) <= MAX_CANONICAL_LENGTH else TOO_LONG


def is_possible(username: str) -> bool:
    """Whether a user of that name could log in at all, whatever `username_pattern` says."""
    return (
        1 <= len(username) <= MAX_LENGTH
        and not _IMPOSSIBLE.search(username)
        and canonical(username) != TOO_LONG
    )
