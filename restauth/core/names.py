"""One form by which a name is found, whoever types it; and what no name may be.

Rule: the form is never shown and never replaces what somebody typed; login, the unique index and
every count of failures use it, so that no second spelling slips past one of them.
"""

import re
from unicodedata import normalize

MAX_LENGTH = 64  # characters; a token is longer, so that none is taken for a name
MAX_CANONICAL_LENGTH = 255  # characters; NFKC makes up to 18 of one

# RFC 7617 section 2: a user-id has no colon and no control character. U+FFFD is what `canonical`
# makes of half a character.
_IMPOSSIBLE = re.compile("[:\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def canonical(username: str) -> str:
    """`casefold(NFKC(name))`: the order of the two that is idempotent for every code point.

    Lone surrogates, which a command line can hold and no store, become U+FFFD.
    """
    well_formed = username.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return normalize("NFKC", well_formed).casefold()


def is_possible(username: str) -> bool:
    """Whether somebody of that name could log in at all, whatever else names must be like."""
    return (
        1 <= len(username) <= MAX_LENGTH
        and not _IMPOSSIBLE.search(username)
        and len(canonical(username)) <= MAX_CANONICAL_LENGTH
    )
