"""One form by which a name is found, whoever types it.

Rule: this form is never shown and never replaces what somebody typed; login, the unique index and
every count of failures use it, so that no second spelling slips past one of them.
"""

from unicodedata import normalize


def canonical(username: str) -> str:
    """`casefold(NFKC(name))`: the order of the two that is idempotent for every code point."""
    return normalize("NFKC", username).casefold()
