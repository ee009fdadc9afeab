"""What commands print: lines, tables and JSON.

Rule: results go to standard output, remarks and errors to standard error. No text from a user can
control the terminal: it is shown with escapes.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence


def say(line: str, *, flush: bool = False) -> None:
    """Print a line of the result."""
    print(printable(line), flush=flush)


def remark(line: str) -> None:
    """Print a line on standard error, if there is one: the shell's 2>&- closes it, and print()
    would then write to standard output."""
    if sys.stderr is not None:
        print(f"restauth: {printable(line)}", file=sys.stderr)


def print_table(
    is_json: bool, names: Sequence[str], rows: Iterable[Sequence[int | str | None]]
) -> None:
    """A JSON array of objects; or lines, one a row, with tabs between the columns and a head. Each
    row is printed as it comes."""
    if is_json:
        separator = "["
        for row in rows:
            print(separator + json.dumps(dict(zip(names, row, strict=True))), end="")
            separator = ",\n "
        print("]" if separator != "[" else "[]")
        return
    print("\t".join(names))
    for row in rows:
        print("\t".join("-" if value in (None, "") else printable(str(value)) for value in row))


def printable(text: str) -> str:
    """The text, with escapes for characters that could control a terminal or break the line."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def discard_output() -> None:
    """Forget what was not written yet: else the interpreter tries again at its end, and complains
    that it cannot."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
