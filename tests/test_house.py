"""The rules of the house, executed: floors, captions, mirrors, SQL, the README's tables."""

import argparse
import ast
import io
import re
import tokenize
from dataclasses import fields
from pathlib import Path

import pytest

from restauth import errors, settings
from restauth.cli.main import build_parser
from restauth.web.problems import STATUSES
from restauth.web.routes import routes

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "restauth"
README = (ROOT / "README.md").read_text()

# The floors, from the ground up. An import points to a lower floor, or along the row to the left.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "records"),
    ("settings",),
    (
        "core.json_text",
        "core.base64url",
        "core.names",
        "core.authorization",
        "core.passwords",
        "core.hash_limiter",
        "core.credential_cache",
        "core.throttle",
        "core.roles",
        "core.reset_codes",
        "core.sha_crypt",
        "core.old_hashes",
        "core.hasher",
        "core.password_policy",
        "core.keyring",
        "core.asymmetric",
        "core.jwk",
        "core.access_tokens",
        "core.refresh_tokens",
    ),
    (
        "storage.schema",
        "storage.sqlite",
        "storage.key_file",
        "storage.common_passwords",
        "storage.rest_auth_file",
        "storage.store",
    ),
    ("domain.keys", "domain.throttling", "domain.audit"),
    ("domain.authentication", "domain.sessions", "domain.stateless", "domain.accounts"),
    ("domain.importer",),
    ("services",),
    ("web.http", "web.cors", "web.location", "web.router", "web.problems"),
    ("web.handlers", "web.openapi", "web.routes", "web.middleware", "web.app"),
    ("app", "paste"),
    ("__init__",),
    ("cli.check", "cli.server", "cli.main"),
    ("__main__",),
)
ORDER = {name: place for place, name in enumerate(name for floor in FLOORS for name in floor)}
PACKAGES = {f"{name}.__init__" for name in ("cli", "core", "domain", "storage", "web")}

# What the wings may know: core is pure, storage has no rules.
CORE_MAY_IMPORT = {
    "base64", "binascii", "bcrypt", "collections", "collections.abc", "contextlib",
    "cryptography.hazmat.primitives.asymmetric",
    "cryptography.hazmat.primitives.asymmetric.ed25519", "dataclasses",
    "functools", "hashlib", "hmac", "ipaddress", "json", "jwt", "jwt.algorithms", "jwt.api_jws",
    "math", "re", "secrets", "threading", "typing", "unicodedata",
}  # fmt: skip
SHELF = [
    "core.authorization", "core.names", "core.passwords", "core.old_hashes",
    "core.credential_cache", "core.keyring",
    "core.refresh_tokens", "core.access_tokens", "domain.authentication", "domain.sessions",
    "domain.stateless", "web.middleware",
]  # fmt: skip


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


MODULES = sorted(
    str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")
    for path in PACKAGE.rglob("*.py")
)
TREES = {module: ast.parse(path_of(module).read_text()) for module in MODULES}


def imports_of(module: str) -> set[str]:
    """Absolute names of all imported modules, those under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import hides where it points"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in inner if name.removeprefix("restauth.") in MODULES}
            found |= modules or {str(node.module)}
    return found


def inside(module: str) -> set[str]:
    return {
        "__init__" if name == "restauth" else name.removeprefix("restauth.")
        for name in imports_of(module)
        if name == "restauth" or name.startswith("restauth.")
    }


def test_every_module_has_a_floor() -> None:
    assert set(ORDER) | PACKAGES == set(MODULES)


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_down(module: str) -> None:
    assert all(ORDER[name] < ORDER[module] for name in inside(module))


def test_the_wings_do_not_know_each_other() -> None:
    for module in MODULES:
        if module.startswith("core."):
            assert not any(name.startswith(("storage", "web")) for name in inside(module))
        if module.startswith("storage."):
            assert not any(name.startswith(("core", "web")) for name in inside(module))


def test_core_is_pure() -> None:
    for module in MODULES:
        if module.startswith("core."):
            outside = {name for name in imports_of(module) if not name.startswith("restauth")}
            assert outside <= CORE_MAY_IMPORT, module


@pytest.mark.parametrize(
    ("library", "modules"),
    [
        ("jwt", "core.access_tokens"),
        ("jwt.api_jws", "core.access_tokens"),
        ("jwt.algorithms", "core.asymmetric"),
        ("bcrypt", "core.old_hashes core.passwords"),
        ("cryptography.hazmat.primitives.asymmetric", "core.asymmetric"),
        ("sqlite3", "storage.rest_auth_file storage.sqlite"),
        ("fcntl", "storage.key_file"),
        ("argparse", "cli.main"),
    ],
)
def test_a_library_has_its_room(library: str, modules: str) -> None:
    assert [name for name in MODULES if library in imports_of(name)] == modules.split()


def test_only_services_and_those_above_read_a_clock() -> None:
    clocks = {module for module in MODULES if "time" in imports_of(module)}
    # sqlite and server measure waiting (monotonic); audit, handlers and cli write dates.
    assert clocks == {
        "storage.sqlite", "domain.audit", "services", "web.handlers", "cli.server", "cli.main",
    }  # fmt: skip


def test_each_file_opens_with_a_caption_of_its_own() -> None:
    captions = [(ast.get_docstring(TREES[module]) or "").split("\n")[0] for module in MODULES]
    assert all(caption and caption[-1] in ".:;" for caption in captions), captions
    assert len(set(captions)) == len(captions)


@pytest.mark.parametrize("module", sorted(set(ORDER) - {"__init__", "__main__"}))
def test_each_file_states_its_rule(module: str) -> None:
    assert "\n\nRule: " in (ast.get_docstring(TREES[module]) or "")


@pytest.mark.parametrize("module", sorted(set(ORDER) - {"__init__", "__main__"}))
def test_each_module_has_a_mirror(module: str) -> None:
    folder, _, name = module.rpartition(".")
    assert (ROOT / "tests" / folder / f"test_{name}.py").exists()


# The store; which file is ours, and somebody else's, in the wing's other rooms.
SQL_ROOMS = {"storage.store", "storage.schema", "storage.sqlite", "storage.rest_auth_file"}


def test_sql_stands_in_storage_alone() -> None:
    verb = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE)\b")
    for module in set(MODULES) - SQL_ROOMS:
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not verb.match(node.value) or node.value == "DELETE", module


def test_sql_of_the_store_is_literal() -> None:
    """No f-string, no `%`, no `+`: what a user sent can only be a parameter."""
    calls = [
        node
        for node in ast.walk(TREES["storage.store"])
        if isinstance(node, ast.Call)
        and (
            (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in ("_read", "_write", "_execute")
            )
            or (isinstance(node.func, ast.Name) and node.func.id == "execute")
        )
    ]
    constants = {"_FIND_FAILURES", "_FIND_SESSION"}  # literal too, and used twice
    assert len(calls) > 10
    assert all(
        isinstance(call.args[0], ast.Constant)
        or (isinstance(call.args[0], ast.Name) and call.args[0].id in constants)
        for call in calls
    )


def test_nobody_takes_randomness_from_the_wrong_place() -> None:
    assert not [module for module in MODULES if imports_of(module) & {"random", "uuid"}]


def test_top_level_holds_nothing_else() -> None:
    allowed = {"restauth", "tests", "setup.cfg", "setup.py", "README.md", "LICENSE"}
    passing = {"venv", "build", "restauth.egg-info"}  # what the README's commands make
    found = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".")
        and path.suffix not in (".db", ".db-shm", ".db-wal", ".keys")
    }
    assert allowed <= found <= allowed | passing


def test_there_are_three_runtime_dependencies() -> None:
    config = (ROOT / "setup.cfg").read_text()
    required = re.search(r"install_requires =\n((?:    .*\n)+)", config)
    assert required is not None
    assert re.findall(r"    ([A-Za-z]+)", required[1]) == ["PyJWT", "bcrypt", "waitress"]


# The README


def chapter(title: str) -> str:
    match = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL
    )
    assert match is not None, title
    return match[1]


def rows_of(title: str) -> list[list[str]]:
    """The cells of all table rows of a chapter, heads left out."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in chapter(title).splitlines()
        if line.startswith("|")
    ]
    return [
        row for row, following in zip(rows, [*rows[1:], []], strict=True)
        if not row[0].startswith("---") and not (following and following[0].startswith("---"))
    ]  # fmt: skip


def test_the_readme_shows_every_setting() -> None:
    shown = [(row[0].strip("`"), row[1].strip("`"), row[2]) for row in rows_of("Settings")]
    real = [(row.name, row.default or "-", row.help) for row in settings.describe({})]
    assert shown == real
    assert len(real) == len(fields(settings.Settings))


def test_the_readme_shows_every_route_and_its_access() -> None:
    shown = [tuple(row[:2]) for row in rows_of("Routes") if " /" in row[0]]
    real = [
        (f"{route.method} {route.path}", route.access.value) for route in routes(settings.load({}))
    ]
    assert shown == real


def test_the_readme_shows_every_status() -> None:
    shown = {
        status for row in rows_of("Routes") for status in re.findall(r"^\d{3}|, (\d{3})", row[0])
    }
    listed = " ".join(row[0] for row in rows_of("Routes"))
    assert shown
    for status, _ in STATUSES.values():
        assert str(status) in listed
    assert "500" in listed


def test_the_readme_shows_every_command() -> None:
    shown = [row[0].strip("`").removeprefix("restauth ") for row in rows_of("Operating")]
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


def test_the_readme_names_the_shelf_and_its_size() -> None:
    shown = [row[0].strip("`") for row in rows_of("The house")]
    assert shown == [f"{module.replace('.', '/')}.py" for module in SHELF]
    lines = sum(len(path_of(module).read_text().splitlines()) for module in SHELF)
    code = sum(code_lines(path_of(module).read_text()) for module in SHELF)
    words = " ".join(chapter("The house").split())
    assert f"the one-hour shelf, {lines} lines of which {code} are code" in words
    assert lines < 1200, "split outside the shelf; do not dilute it"


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


def test_the_readme_draws_every_room() -> None:
    drawing = chapter("The house").split("```")[1]
    for module in set(ORDER) - {"__init__"}:
        assert re.search(rf"\b{module.rpartition('.')[2]}\b", drawing), module


def test_every_refusal_has_a_status_and_every_status_a_refusal() -> None:
    concrete = {
        failure
        for failure in vars(errors).values()
        if isinstance(failure, type)
        and issubclass(failure, errors.Refusal)
        and "code" in vars(failure)
    }
    assert set(STATUSES) == concrete


def test_the_readme_names_every_counterpart_and_the_version_that_is_run() -> None:
    rows = rows_of("Works with")
    shown = {(row[0], row[1]) for row in rows}
    config = (ROOT / "setup.cfg").read_text()
    pinned = {tuple(line.strip().split("==")) for line in config.splitlines() if "==" in line}
    assert len(pinned) > 10
    assert pinned <= shown
    assert all((ROOT / "tests/counterparts" / row[3].strip("`")).exists() for row in rows)
    script = (ROOT / ".ci" / "run").read_text()
    assert "jose@" + dict(shown)["jose (Node 20)"] in script


def test_every_threat_names_a_file_and_a_test_that_exist() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    rows = rows_of("Security")
    assert len(rows) >= 20
    for threat, _, file, test in rows:
        assert all((PACKAGE / name).exists() for name in re.findall(r"`([^`]+)`", file)), threat
        names = re.findall(r"`([^`]+)`", test)
        assert names, threat
        assert all(
            re.search(rf"^    def {name}\(|^def {name}\(", sources, re.MULTILINE) for name in names
        ), names
