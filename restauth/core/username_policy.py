"""Which names a new user could have at all, whatever the setting `username_pattern` says.

Rule: asked only when an account gets its name, never at a login. RFC 7617 section 2: a user-id has
no colon and no control character.
"""

import re

from restauth.core.names import CONTROL_CHARACTERS, TOO_LONG, canonical

MAX_LENGTH = 64  # characters; every token and every API key is longer: none is taken for a name

# `#7` is an id to commands. `canonical` turns lone surrogates and NUL into U+FFFD.
_IMPOSSIBLE = re.compile(f"^#|[:{CONTROL_CHARACTERS}\x80-\x9f\ud800-\udfff\ufffd]")


def is_possible(username: str) -> bool:
    """Whether a user of that name could log in."""
    return (
        1 <= len(username) <= MAX_LENGTH
        and not _IMPOSSIBLE.search(username)
        and canonical(username) != TOO_LONG
    )
