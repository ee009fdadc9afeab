"""The command `restauth docs`: the guide, as it is installed with the package.

Rule: it prints files and knows nothing of their content, except that the first line is a title and
the next text says what the page is for.
"""

import sys
from pathlib import Path

from restauth.cli.command import Arguments, Commands, add_command
from restauth.cli.output import print_table
from restauth.errors import InvalidInput

_PAGES = Path(__file__).parents[1] / "docs"


def add_commands(commands: Commands) -> None:
    """Declare the command."""
    command = add_command(commands, "docs", _docs, "list the pages of the guide, or show one")
    command.add_argument("page", nargs="?", metavar="PAGE")


def _docs(arguments: Arguments) -> int:
    pages = read_pages()
    if arguments.page is None:
        print_table(False, ("page", "about"), sorted((name, _about(pages[name])) for name in pages))
        return 0
    name = arguments.page.removesuffix(".md")  # as a link on the pages has it
    if name not in pages:
        raise InvalidInput(
            f"There is no page {arguments.page!r}. The pages are: {', '.join(sorted(pages))}."
        )
    if sys.stdout is not None and sys.stdout.isatty():  # None: the shell's >&-
        # Here, because `restauth serve` imports this file too, and pydoc takes memory.
        from pydoc import pager  # noqa: PLC0415

        pager(pages[name])
    else:
        print(pages[name], end="")
    return 0


def read_pages() -> dict[str, str]:
    """The text of each page, by its name."""
    return {
        page.name.removesuffix(".md"): page.read_text("utf-8")
        for page in _PAGES.iterdir()
        if page.name.endswith(".md")
    }


def _about(text: str) -> str:
    """The first sentence after the title."""
    _, _, body = text.partition("\n\n")
    return " ".join(body.partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
