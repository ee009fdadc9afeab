"""What commands print: lines, tables and JSON.

Rule: results go to standard output, remarks and errors to standard error. No text from a user can
control the terminal: it is shown with escapes.
"""

import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias


def say(line: str, *, flush: bool = False) -> None:
    """Print a line of the result."""
    print(printable(line), flush=flush)


def remark(line: str) -> None:
    """Print a line on standard error, if there is one: the shell's 2>&- closes it, and print()
    would then write to standard output."""
    if sys.stderr is not None:
        print(f"restauth: {printable(line)}", file=sys.stderr)


class Progress:
    """Says at a terminal how much is done, each second after the first one. Elsewhere it is silent:
    the log of a script needs no such lines."""

    def __init__(self, unit: str = "rows") -> None:
        self._unit = unit
        self._is_shown = sys.stderr is not None and sys.stderr.isatty()
        self._next = time.monotonic() + 1

    def __call__(self, done: int) -> None:
        if self._is_shown and time.monotonic() >= self._next:
            remark(f"{done} {self._unit}")
            self._next = time.monotonic() + 1


class _Remarks(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        remark(record.getMessage())


@contextmanager
def log_to_remarks(*, is_active: bool) -> Iterator[None]:
    """Show what the package logs as remarks, for a command without a log of its own."""
    handler = _Remarks(logging.WARNING if is_active else logging.CRITICAL + 1)
    logging.getLogger("restauth").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("restauth").removeHandler(handler)


Cell: TypeAlias = "int | str | tuple[str, ...] | None"


def print_record(is_json: bool, record: Mapping[str, Cell]) -> None:
    """A JSON object. At a terminal, a line for each member; elsewhere as a table with one row."""
    if is_json:
        print(json.dumps(record))
    elif _is_at_terminal():
        _print_aligned([(name, _text(cell)) for name, cell in record.items()])
    else:
        print_table(is_json, tuple(record), [tuple(record.values())])


def print_table(is_json: bool, names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """A JSON array of objects; or a head and lines, one a row. At a terminal the columns are
    aligned. Elsewhere there are tabs between them, and each row is printed as it comes."""
    if is_json:
        separator = "["
        for row in rows:
            print(separator + json.dumps(dict(zip(names, row, strict=True))), end="")
            separator = ",\n "
        print("]" if separator != "[" else "[]")
        return
    lines: Iterable[Sequence[str]] = itertools.chain(
        (names,), ([_text(cell) for cell in row] for row in rows)
    )
    if _is_at_terminal():
        _print_aligned(list(lines))
        return
    for line in lines:
        print("\t".join(line))


def _is_at_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _print_aligned(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())


def _text(cell: Cell) -> str:
    if cell in (None, "", ()):
        return "-"
    return printable(" ".join(cell) if isinstance(cell, tuple) else str(cell))


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
