"""The bundled list of common passwords.

Rule: data, read once; what it is compared with is for `core.password_policy`. Where the list comes
from stands at the head of the file itself.
"""

from functools import cache
from importlib.resources import files


@cache
def read() -> tuple[frozenset[str], frozenset[str]]:
    """Common passwords of 15 characters and more, and the most common shorter ones."""
    text = files("restauth.storage").joinpath("common_passwords.txt").read_text("utf-8")
    lines = [
        line for line in text.splitlines() if line and line != "#" and not line.startswith("# ")
    ]
    return (
        frozenset(line for line in lines if len(line) >= 15),
        frozenset(line for line in lines if len(line) < 15),
    )
