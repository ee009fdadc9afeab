"""The README and the guide, held against the code: tables, links, and the language.

Rule: what a page says about the package is compared with the package; what it shows as an example
is executed elsewhere (`test_journeys`, `tests/counterparts`).
"""

import argparse
import ast
import io
import re
import tokenize
from dataclasses import fields
from urllib.parse import urlsplit

import pytest

from restauth import settings
from restauth.cli.main import build_parser
from restauth.web.problems import INTERNAL_ERROR, STATUSES, THROTTLED_FOR_PROXIES
from restauth.web.routes import OPERATORS, routes
from tests.documents import DOCS, ROOT, chapter, read, rows

PACKAGE = ROOT / "restauth"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))
DOCUMENTS = ["README", *PAGES]

# The files that decide who a user is.
CORE = [
    "core/authorization.py", "core/names.py", "core/passwords.py", "core/hasher.py",
    "core/credential_cache.py", "core/keyring.py", "core/access_tokens.py",
    "core/refresh_tokens.py", "core/api_keys.py", "domain/authentication.py",
    "domain/identification.py", "web/access.py", "web/identity.py",
]  # fmt: skip
MAX_CORE_LINES = 900
MAX_README_LINES = 250
MAX_COLUMNS = 6

# Words that a reader has to translate twice.
BANNED = re.compile(
    r"\b(house|bridge|wing|shelf|floor|door|nobody|somebody|whoever)s?\b", re.IGNORECASE
)
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def prose(name: str) -> str:
    """A document without its examples and without what it quotes as code."""
    return re.sub(r"`[^`]*`", "", FENCE.sub("", read(name)))


def anchors(name: str) -> set[str]:
    """What a link may name after `#`: the headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", read(name)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Form


def test_the_readme_is_short() -> None:
    assert len(read("README").splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_page_says_first_what_it_is_for(name: str) -> None:
    title, blank, purpose = read(name).splitlines()[:3]
    assert title.startswith("# ")
    assert blank == ""
    assert purpose[0].isalpha()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_can_be_read_in_a_terminal(name: str) -> None:
    text = FENCE.sub("", read(name))
    assert not re.search(r"</?(details|summary|br|p|div)\b", text)
    tables = [re.findall(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("|")]
    assert all(len(bars) - 1 <= MAX_COLUMNS for bars in tables)
    long = [line for line in text.splitlines() if len(line) > 110 and not line.startswith("|")]
    assert long == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_speaks_in_pictures(name: str) -> None:
    assert BANNED.findall(prose(name)) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_python_example_compiles(name: str) -> None:
    for language, text in FENCE.findall(read(name)):
        assert language, "a block without a language is a drawing: in `design` alone"
        if language == "python":
            compile(text, name, "exec", dont_inherit=True)


# Links


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    folder = ROOT if name == "README" else DOCS
    for link in LINK.findall(FENCE.sub("", read(name))):
        url = urlsplit(link)
        if url.scheme:
            assert url.scheme == "https", link
            continue
        path = (folder / url.path).resolve() if url.path else folder / f"{name}.md"
        assert path.is_file(), link
        if url.fragment:
            assert url.fragment in anchors(path.stem), link


def test_every_page_is_linked_from_the_readme() -> None:
    links = {urlsplit(link).path for link in LINK.findall(read("README"))}
    assert {f"restauth/docs/{page}.md" for page in PAGES} <= links


# Tables


def test_every_setting_is_shown() -> None:
    shown = [(row[0].strip("`"), row[1].strip("`"), row[2]) for row in rows(read("settings"))]
    real = [(row.name, row.default or "-", row.help) for row in settings.describe({})]
    assert shown == real
    assert len(real) == len(fields(settings.Settings))


def test_every_route_is_shown_with_its_access() -> None:
    shown = [tuple(row[:2]) for row in rows(chapter("README", "Routes"))]
    real = [
        (f"{route.method} {route.path}", route.access.value) for route in routes(settings.load({}))
    ]
    assert shown == real
    assert all(path in read("api") for path in {route.path for route in routes(settings.load({}))})


def test_every_route_of_operators_is_shown() -> None:
    shown = [row[0] for row in rows(chapter("api", "The operator's API"))]
    assert shown == [f"{route.method} {route.path}" for route in OPERATORS]


def test_every_error_is_shown_with_its_status() -> None:
    shown = sorted((row[0], row[1].strip("`")) for row in rows(chapter("api", "Errors")))
    real = [(str(status), refusal.code) for refusal, (status, _) in STATUSES.items()]
    status, _, code = THROTTLED_FOR_PROXIES
    assert shown == sorted([*real, ("500", INTERNAL_ERROR), (str(status), code)])


def test_every_command_is_shown() -> None:
    shown = [
        row[0].strip("`").removeprefix("restauth ")
        for row in rows(chapter("operating", "Commands"))
    ]
    assert sorted(shown) == sorted(" ".join(words) for words in commands(build_parser()))


def commands(parser: object, *words: str) -> list[tuple[str, ...]]:
    """The words of every command of the grammar, in its order."""
    assert isinstance(parser, argparse.ArgumentParser)
    found: list[tuple[str, ...]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found += commands(command, *words, name)
    return found or [words]


def test_the_core_is_listed_with_its_size() -> None:
    text = chapter("README", "Read the core")
    assert [row[0].strip("`") for row in rows(text)] == CORE
    sources = [(PACKAGE / name).read_text() for name in CORE]
    lines = sum(len(source.splitlines()) for source in sources)
    code = sum(code_lines(source) for source in sources)
    assert f"They are {lines} lines, of which {code} are code." in " ".join(text.split())
    assert lines <= MAX_CORE_LINES, "split outside of the core; do not dilute it"


def code_lines(source: str) -> int:
    """Lines that hold code: no blank line, no comment, no docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (
            tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
            tokenize.ENDMARKER,
        ):  # fmt: skip
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_design_draws_every_module() -> None:
    (drawing,) = [text for language, text in FENCE.findall(read("design")) if language == "text"]
    for path in PACKAGE.rglob("*.py"):
        if path.stem != "__init__":
            assert re.search(rf"\b{path.stem}\b", drawing), path


def test_every_counterpart_is_shown_with_the_version_that_is_run() -> None:
    table = rows(read("works-with"))
    shown = {(row[0], row[1]) for row in table}
    config = (ROOT / "setup.cfg").read_text()
    pinned = {tuple(line.strip().split("==")) for line in config.splitlines() if "==" in line}
    assert len(pinned) > 10
    assert pinned <= shown
    assert all((ROOT / "tests/counterparts" / row[3].strip("`")).exists() for row in table)
    script = (ROOT / ".ci" / "run").read_text()
    assert "jose@" + dict(shown)["jose (Node 20)"] in script
    assert "axe-core@" + dict(shown)["axe-core"] in script


def test_every_threat_names_a_file_and_a_test_that_exist() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    table = rows(chapter("security", "Threats and defences"))
    assert len(table) >= 50
    for threat, _, file, test in table:
        files, names = re.findall(r"`([^`]+)`", file), re.findall(r"`([^`]+)`", test)
        assert files, threat
        assert all((PACKAGE / name).exists() for name in files), threat
        assert names, threat
        assert all(
            re.search(rf"^    def {name}\(|^def {name}\(", sources, re.MULTILINE) for name in names
        ), names
