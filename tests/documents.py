"""The README and the pages of the guide, and the examples in them.

Rule: what a reader copies is what a test runs. An example is found by its page, its language and a
text that it contains; a page whose example has gone fails the test that asks for it.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "restauth" / "docs"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(page: str) -> str:
    """The text of a page of the guide, by its name without `.md`; or of the `README`."""
    return (ROOT / "README.md" if page == "README" else DOCS / f"{page}.md").read_text("utf-8")


def examples(page: str, language: str, mark: str = "") -> list[str]:
    """The fenced blocks of the page in that language that contain the mark: at least one."""
    found = [text for kind, text in _BLOCK.findall(read(page)) if kind == language and mark in text]
    assert found, (page, language, mark)
    return found


def example(page: str, language: str, mark: str = "") -> str:
    """The one such block."""
    (text,) = examples(page, language, mark)
    return text


def sql_statements(page: str, mark: str) -> list[str]:
    """Of the one such block in SQL."""
    return example(page, "sql", mark).strip().rstrip(";").split(";")


def chapter(page: str, title: str) -> str:
    """What stands under a heading, down to the next heading of its level or a higher one."""
    match = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", read(page), re.MULTILINE | re.DOTALL
    )
    assert match is not None, (page, title)
    return match[2]


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of the tables in a text, without their heads."""
    table = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [
        row
        for row, following in zip(table, [*table[1:], [""]], strict=True)
        if not row[0].startswith("---") and not following[0].startswith("---")
    ]
