"""Canonical usernames.

Rule: the canonical form is what login, the unique index and the throttle (the limit on failed
attempts) compare, so that two spellings of a name are one name for all three. It is never shown,
and it never replaces the name as it was typed.
"""

from unicodedata import normalize

# Characters, as typed and in canonical form. NFKC makes up to 18 of one, in quadratic time.
MAX_CANONICAL_LENGTH = 255
TOO_LONG = ":"  # the canonical form of every longer name; no user can have it

CONTROL_CHARACTERS = "\x00-\x1f\x7f"  # of ASCII, for a character class of a regular expression


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
