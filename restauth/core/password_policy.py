"""What makes a new password acceptable, and the reason when it is not.

Rule: asked only when a password is set, never at a login. The whole password is compared, as NIST
SP 800-63B-4 section 3.1.1.2 says: no composition rules, no hints, and the reason is given.
"""

from collections.abc import Iterable, Set
from unicodedata import normalize

MIN_LENGTH = 15  # characters, counted by code point: the password is the only factor


def find_fault(
    password: str, own_words: Iterable[str], long_list: frozenset[str], short_list: frozenset[str]
) -> str | None:
    """Why the password is refused; None when it is acceptable.

    `own_words` are the user's name and the service's. The lists hold common passwords in the form
    of `folded`: of MIN_LENGTH and more, and shorter ones, which are refused doubled or strung
    together.
    """
    if len(normalize("NFC", password)) < MIN_LENGTH:
        return f"A password has at least {MIN_LENGTH} characters."
    text = folded(password)
    own = {folded(word) for word in own_words if word}
    if text in long_list:
        return "This password is on the list of common passwords."
    if text in own:
        return "This password is the name of the user or of the service."
    if _is_strung_together(text, own | short_list):
        return "This password is made of common passwords or of names alone."
    return None


def folded(text: str) -> str:
    """The form in which passwords are compared with a list: case does not make one uncommon."""
    return normalize("NFC", text).casefold()


def _is_strung_together(text: str, words: Set[str]) -> bool:
    """Whether the text is nothing but words, one after another, or one character repeated."""
    if len(set(text)) == 1:
        return True
    longest = max(map(len, words), default=0)
    reached = {0}  # the places in the text up to which it is words
    for end in range(1, len(text) + 1):
        if any(
            text[start:end] in words
            for start in range(max(0, end - longest), end)
            if start in reached
        ):
            reached.add(end)
    return len(text) in reached
