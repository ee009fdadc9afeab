"""What makes a new password acceptable, and the reason when it is not.

Rule: asked only when a password is set, never at a login: imported passwords go on working. As
NIST SP 800-63B-4 section 3.1.1.2 says, the whole password is compared with a list, no kinds of
characters are demanded, and the reason of a refusal is given.
"""

import re
from collections.abc import Iterable, Set
from unicodedata import normalize

from restauth.core import passwords
from restauth.core.api_keys import is_key_shaped

# RFC 7617 section 2 allows no control character (CTL of RFC 5234) in a password. A byte order mark
# cannot be typed, but some editors begin a file with it.
_CONTROL, _MARK = re.compile(r"[\x00-\x1f\x7f]"), "\ufeff"

MIN_LENGTH = 15  # characters (code points): for a password that is the only factor


def find_form_fault(password: str) -> str | None:
    """Why no policy can accept the password: no client could send it. None when one could."""
    if not 1 <= len(password) <= passwords.MAX_LENGTH:
        return f"A password has 1 to {passwords.MAX_LENGTH} characters."
    if not passwords.is_acceptable(password):
        return "A password is Unicode text, and this one is not."
    if _CONTROL.search(password):
        return (
            "A password has no control characters, such as a tab or the end of a line: no client "
            "can send them in Basic credentials."
        )
    if _MARK in password:
        return "A password has no byte order mark: save the file without it."
    if is_key_shaped(password):
        return "A password does not have the form of an API key."
    return None


def find_fault(
    password: str, own_words: Iterable[str], long_list: frozenset[str], short_list: frozenset[str]
) -> str | None:
    """Why the password is refused; None when it is acceptable.

    `own_words` are the names of the user and of the service. The lists hold common passwords in
    the form of `folded`: one has those of MIN_LENGTH and more; the other has shorter ones, which
    are refused when a password consists of nothing else.
    """
    if len(normalize("NFC", password)) < MIN_LENGTH:
        return f"A password has at least {MIN_LENGTH} characters."
    text = folded(password)
    own = {folded(word) for word in own_words}
    if text in long_list:
        return "This password is on the list of common passwords."
    if text in own:
        return "This password is the name of the user or of the service."
    if _is_made_of(text, own | short_list):
        return "This password is made of common passwords or of names alone."
    return None


def folded(text: str) -> str:
    """The form in which passwords are compared with a list: upper case does not help."""
    return normalize("NFC", text).casefold()


def _is_made_of(text: str, words: Set[str]) -> bool:
    """Whether the text is only words, one after another, or one repeated character."""
    if len(set(text)) == 1:
        return True
    longest = max(map(len, words), default=0)
    reached = {0}  # the positions up to which the text consists of words
    for end in range(1, len(text) + 1):
        if any(
            text[start:end] in words
            for start in range(max(0, end - longest), end)
            if start in reached
        ):
            reached.add(end)
    return len(text) in reached
