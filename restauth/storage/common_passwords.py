"""The list of common passwords that is installed with the package.

Rule: data, read once. `core.password_policy` compares passwords with it. The head of the file says
where the list comes from.
"""

from functools import cache
from pathlib import Path


@cache
def read() -> tuple[frozenset[str], frozenset[str]]:
    """Common passwords of 15 characters and more, and the most common shorter ones."""
    text = Path(__file__).with_name("common_passwords.txt").read_text("utf-8")
    lines = [
        line for line in text.splitlines() if line and line != "#" and not line.startswith("# ")
    ]
    return (
        frozenset(line for line in lines if len(line) >= 15),
        frozenset(line for line in lines if len(line) < 15),
    )
