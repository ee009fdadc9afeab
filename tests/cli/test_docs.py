"""The guide at the command line: its list, one page, and a pager at a terminal."""

from pathlib import Path

import pytest

from restauth.cli.docs import read_pages
from tests.cli.conftest import Restauth, is_one_line
from tests.documents import DOCS
from tests.processes import converse


def test_the_pages_are_those_of_the_folder() -> None:
    assert read_pages() == {path.stem: path.read_text("utf-8") for path in DOCS.glob("*.md")}


def test_the_list_says_what_each_page_is_for(restauth: Restauth) -> None:
    done = restauth("docs")
    head, *rows = (line.split("\t") for line in done.out.splitlines())
    assert (done.status, head) == (0, ["page", "about"])
    assert [name for name, _ in rows] == sorted(read_pages())
    assert ["settings", "All settings, their defaults and what they do"] in rows
    for name, about in rows:
        text = " ".join(read_pages()[name].split())
        assert text.startswith(f"# {text[2 : text.index(about)].strip()} {about}.")


def test_a_page_is_printed_as_it_is(restauth: Restauth) -> None:
    for name in ("settings", "settings.md"):
        assert restauth("docs", name) == (0, read_pages()["settings"], "")


@pytest.mark.parametrize("name", ["nope", "settings.md.md", "../docs/settings", ""])
def test_an_unknown_page_names_the_pages(name: str, restauth: Restauth) -> None:
    done = restauth("docs", name)
    assert is_one_line(done, repr(name))
    assert all(page in done.err for page in read_pages())


def test_at_a_terminal_a_page_goes_through_the_pager(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MANPAGER", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for pager, mark in (("cat", ""), ("sed 's/^/| /'", "| ")):
        monkeypatch.setenv("PAGER", pager)
        status, screen = converse(directory, "docs settings", {})
        assert status == 0
        text = read_pages()["settings"]
        assert screen.splitlines() == [f"{mark}{line}" for line in text.splitlines()]
