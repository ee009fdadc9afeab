"""The id of a session: 128 random bits.

Rule: every place that reads or shows a session id uses this form.
"""

import secrets

PATTERN = "[A-Za-z0-9_-]{22}"  # a regular expression, to be matched whole


def generate() -> str:
    """A new id, in Base64url."""
    return secrets.token_urlsafe(16)
