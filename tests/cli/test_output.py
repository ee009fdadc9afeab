"""What commands print: no text from a user can control a terminal or break a line."""

import io
import sys
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from restauth.cli.output import Cell, Progress, print_table, printable, remark, say


@given(text=st.text(st.characters()))
@hypothesis_settings(max_examples=200, derandomize=True, database=None)
def test_any_text_becomes_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert (shown == text) is text.isprintable()


def test_lines_and_remarks_have_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2J\n\u202eb")
    remark("c\x9b\U0001d173d")
    assert capsys.readouterr() == ("a\\x1b[2J\\n\\u202eb\n", "restauth: c\\x9b\\U0001d173d\n")


def test_without_standard_error_a_remark_is_lost(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`print(file=None)` would write it to standard output."""
    monkeypatch.setattr(sys, "stderr", None)
    remark("lost")
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO(), None], ids=["tty", "pipe", "none"])
def test_progress_is_a_line_a_second_at_a_terminal_alone(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress("%")
    for seconds in range(12):  # in quarters
        now = 100 + seconds / 4
        progress(seconds)
    if stream:
        lines = ["restauth: 4 %", "restauth: 8 %"] if stream.isatty() else []
        assert stream.getvalue().splitlines() == lines


@pytest.mark.parametrize(
    ("rows", "lines", "json"),
    [
        ([], "a\tb\n", "[]\n"),
        ([(1, "x\ty")], "a\tb\n1\tx\\ty\n", '[{"a": 1, "b": "x\\ty"}]\n'),
        (
            [(0, None), (2, "")],
            "a\tb\n0\t-\n2\t-\n",
            '[{"a": 0, "b": null},\n {"a": 2, "b": ""}]\n',
        ),
        ([(("c", "d"), ())], "a\tb\nc d\t-\n", '[{"a": ["c", "d"], "b": []}]\n'),
    ],
    ids=["none", "one", "two", "lists"],
)
def test_a_table_is_lines_with_tabs_or_json(
    rows: list[tuple[Cell, ...]],
    lines: str,
    json: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(False, ("a", "b"), rows)
    print_table(True, ("a", "b"), rows)
    assert capsys.readouterr().out == lines + json
