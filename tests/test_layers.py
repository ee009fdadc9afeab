"""The rules of the structure, executed: layers, heads of files, mirrors, SQL, libraries."""

import ast
import re
from pathlib import Path

from restauth import errors
from restauth.web.problems import STATUSES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "restauth"

# From the bottom up. An import points to a module that is named before; `core` and `storage` are
# side by side and never import each other.
LAYERS: dict[str, tuple[str, ...]] = {
    "values": ("errors", "records", "gate"),
    "settings": ("settings",),
    "core": (
        "core.json_text", "core.base64url", "core.rfc3339", "core.repetition",
        "core.session_ids", "core.api_keys", "core.names", "core.username_policy",
        "core.authorization", "core.passwords", "core.recent", "core.fair_queue",
        "core.hash_limiter", "core.credential_cache",
        "core.peers", "core.throttle", "core.roles", "core.one_time_codes", "core.sha_crypt",
        "core.old_hashes", "core.hash_pace", "core.hasher", "core.password_policy",
        "core.key_pair", "core.keyring",
        "core.asymmetric", "core.published_keys", "core.jwk",
        "core.access_tokens", "core.token_issuing", "core.refresh_tokens",
    ),
    "storage": (
        "storage.schema", "storage.engine", "storage.private_files", "storage.writer_queue",
        "storage.sqlite_memory", "storage.sqlite_watch", "storage.sqlite_file",
        "storage.sqlite_restore", "storage.sqlite", "storage.postgres_database", "storage.postgres",
        "storage.copying", "storage.engines",
        "storage.key_file", "storage.key_url",
        "storage.common_passwords", "storage.rest_auth_file", "storage.staging", "storage.store",
        "storage.log_file",
    ),
    "domain": (
        "domain.metrics", "domain.audit", "domain.resources", "domain.keys", "domain.remote_keys",
        "domain.throttling", "domain.code_verification", "domain.password_rules",
        "domain.authentication", "domain.identification", "domain.metered", "domain.collector",
        "domain.operators", "domain.sessions", "domain.api_keys", "domain.invitations",
        "domain.accounts", "domain.importer",
    ),
    "services": ("services",),
    "web": (
        "web.access", "web.guard_rules", "web.host", "web.http", "web.challenges", "web.cors",
        "web.location", "web.representations", "web.problems", "web.server_refusals",
        "web.identity", "web.middleware", "web.exposition", "web.router", "web.handlers",
        "web.operator_handlers", "web.page", "web.openapi", "web.routes", "web.app",
    ),
    "app": ("app", "paste", "testing", "__init__"),
    "cli": (
        "cli.output", "cli.command", "cli.tasks", "cli.connections", "cli.forwarded",
        "cli.server", "cli.serve_options", "cli.notify", "cli.serve", "cli.check",
        "cli.users", "cli.keys", "cli.importer", "cli.docs", "cli.main", "__main__",
    ),
}  # fmt: skip
ORDER = {name: place for place, name in enumerate(name for row in LAYERS.values() for name in row)}
FOLDERS = {f"{name}.__init__" for name in ("cli", "core", "domain", "storage", "web")}
PUBLIC_FACES = {"__init__", "__main__"}

CORE_MAY_IMPORT = {
    "base64", "binascii", "bcrypt", "collections", "collections.abc", "contextlib",
    "cryptography.hazmat.primitives.asymmetric",
    "cryptography.hazmat.primitives.asymmetric.ed25519", "dataclasses",
    "functools", "hashlib", "hmac", "ipaddress", "json", "jwt", "jwt.algorithms", "jwt.api_jws",
    "math", "re", "secrets", "threading", "typing", "unicodedata",
}  # fmt: skip


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


def test_every_module_has_a_layer() -> None:
    assert set(ORDER) | FOLDERS == set(MODULES)


def test_imports_point_down() -> None:
    up = {
        (module, name) for module in ORDER for name in inside(module)
        if ORDER[name] >= ORDER[module]
    }  # fmt: skip
    assert up == set()


def test_core_and_storage_do_not_import_each_other() -> None:
    across = {
        (module, name) for module in MODULES for name in inside(module)
        if {module.partition(".")[0], name.partition(".")[0]} == {"core", "storage"}
    }  # fmt: skip
    assert across == set()


def test_only_engines_knows_an_engine_by_name() -> None:
    """And an engine knows no other one."""
    families = ("sqlite", "postgres")
    for family in families:
        named = {module for module in MODULES if module.startswith(f"storage.{family}")}
        assert {m for m in MODULES if inside(m) & named} <= {"storage.engines", *named}


def test_core_is_pure() -> None:
    for module in LAYERS["core"]:
        outside = {name for name in imports_of(module) if not name.startswith("restauth")}
        if module == "core.rfc3339":
            outside -= {"time"}  # it formats a time that it is given
        assert outside <= CORE_MAY_IMPORT, module


def test_a_library_is_known_to_one_file() -> None:
    places = {
        "jwt.api_jws": "core.access_tokens core.token_issuing",
        "jwt.algorithms": "core.asymmetric",
        "bcrypt": "core.old_hashes core.passwords",
        "cryptography.hazmat.primitives.asymmetric": "core.asymmetric",
        "sqlite3": (
            "storage.rest_auth_file storage.sqlite storage.sqlite_file storage.sqlite_restore "
            "storage.staging"
        ),
        "psycopg": "storage.postgres storage.postgres_database",
        "fcntl": "storage.key_file",
        "urllib.request": "storage.key_url",
        "argparse": "cli.command cli.main cli.users",
        "waitress": "cli.server",
        "waitress.server": "cli.connections",
        "waitress.task": "cli.server cli.tasks",
        "waitress.adjustments": "cli.connections cli.serve_options cli.server",
    }
    found = {
        library: " ".join(name for name in MODULES if library in imports_of(name))
        for library in places
    }
    assert found == places


def test_only_services_reads_the_wall_clock() -> None:
    readers = {module for module in MODULES if re.search(r"\btime\.time\(", source_of(module))}
    assert readers == {"services"}


def source_of(module: str) -> str:
    return path_of(module).read_text()


def test_each_file_has_a_head_of_its_own_that_says_its_rule() -> None:
    heads = {module: ast.get_docstring(TREES[module]) or "" for module in MODULES}
    first_lines = [head.split("\n")[0] for head in heads.values()]
    assert [line for line in first_lines if not line.endswith((".", ":", ";"))] == []
    assert len(set(first_lines)) == len(first_lines)
    ruled = set(ORDER) - PUBLIC_FACES
    assert [module for module in ruled if "\n\nRule: " not in heads[module]] == []


def test_each_public_function_has_a_docstring() -> None:
    missing = [
        f"{module}.{node.name}"
        for module in ORDER
        for node in public_definitions(TREES[module])
        if not ast.get_docstring(node)
    ]
    assert missing == []


def public_definitions(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Functions, classes and methods without an underscore, at the level of the module."""
    nodes = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    methods = [
        inner for node in nodes if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for inner in node.body if isinstance(inner, ast.FunctionDef)
    ]  # fmt: skip
    return [node for node in [*nodes, *methods] if not node.name.startswith("_")]


def test_each_module_has_a_mirror() -> None:
    missing = []
    for module in (
        set(ORDER) - PUBLIC_FACES - {"records", "domain.resources", "core.key_pair"}
    ):  # values without code
        folder, _, name = module.rpartition(".")
        if not (ROOT / "tests" / folder / f"test_{name}.py").exists():
            missing.append(module)
    assert sorted(missing) == []


SQL_FILES = {
    "storage.store", "storage.schema", "storage.sqlite", "storage.sqlite_file",
    "storage.postgres", "storage.postgres_database", "storage.copying",
    "storage.rest_auth_file", "storage.staging",
}  # fmt: skip


def test_sql_is_in_storage_alone() -> None:
    statement = re.compile(
        r"\s*(SELECT \S|INSERT INTO|UPDATE \w+\s+SET|DELETE FROM|CREATE (TABLE|INDEX))"
    )
    for module in set(MODULES) - SQL_FILES:
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not statement.match(node.value), module


def test_sql_of_the_store_is_literal() -> None:
    """Each statement is a constant: what a client sent can only be a parameter."""
    tree = TREES["storage.store"]
    literal: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and is_literal(node.value, literal):
            literal |= {name.id for name in node.targets if isinstance(name, ast.Name)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and runs_sql(node.func)]
    assert len(calls) > 30
    assert [ast.dump(call) for call in calls if not is_literal(call.args[0], literal)] == []


def is_literal(node: ast.expr, literal: set[str]) -> bool:
    match node:
        case ast.Constant(str()):
            return True
        case ast.Name(name):
            return name in literal
        case ast.BinOp(left, ast.Add(), right):
            return is_literal(left, literal) and is_literal(right, literal)
    return False


def runs_sql(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(attr="_read" | "_write" | "_write_if_free" | "_execute") | ast.Name(
            "execute"
        ):
            return True
    return False


def test_randomness_is_cryptographic() -> None:
    assert not [module for module in MODULES if imports_of(module) & {"random", "uuid"}]


def test_every_refusal_has_a_status_and_every_status_a_refusal() -> None:
    concrete = {
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.Refusal) and "code" in vars(error)
    }
    assert set(STATUSES) == concrete


def test_top_level_holds_nothing_else() -> None:
    allowed = {"restauth", "tests", "setup.cfg", "setup.py", "README.md", "LICENSE"}
    passing = {"venv", "build"}  # what the README's commands make
    found = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".")
        and path.suffix not in (".db", ".db-shm", ".db-wal", ".egg-info", ".keys")
    }
    assert allowed <= found <= allowed | passing


def test_the_top_of_the_package_stays_small() -> None:
    """Nine files of the service, and `testing` for its users."""
    assert len(list(PACKAGE.glob("*.py"))) == 10


def test_there_are_three_runtime_dependencies() -> None:
    config = (ROOT / "setup.cfg").read_text()
    required = re.search(r"install_requires =\n((?:    .*\n)+)", config)
    assert required is not None
    assert re.findall(r"    ([A-Za-z]+)", required[1]) == ["PyJWT", "bcrypt", "waitress"]
