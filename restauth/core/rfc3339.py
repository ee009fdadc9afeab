"""A time as text: RFC 3339, in UTC, to the second.

Rule: the one form of a time in JSON, in the audit log and in the output of commands.
"""

import time


def build(at: int) -> str:
    """The text of a time in epoch seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
