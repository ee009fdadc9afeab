"""The distribution: what the wheel and the source archive hold, and what they say of themselves.

Rule: both are built as pip builds them, from a copy of the checkout and without a network. What
the package's folder holds is what a user gets, byte for byte.
"""

import re
import shutil
import subprocess
import sys
import tarfile
from email.message import Message
from email.parser import BytesParser
from importlib.metadata import EntryPoint, version
from pathlib import Path
from zipfile import ZipFile

import pytest

import restauth

ROOT = Path(__file__).parent.parent
FILES = "https://github.com/restauth/restauth-wsgi/blob/main/"
NAME = f"restauth_wsgi-{restauth.__version__}"
SOURCES = (
    ".ci", ".github", "LICENSE", "README.md", "restauth", "setup.cfg", "setup.py", "tests",
)  # fmt: skip
OF_PYTHON = shutil.ignore_patterns("__pycache__", "*.pyc")
BUILD = """
import sys
from setuptools.build_meta import __legacy__ as backend

getattr(backend, sys.argv[1])(sys.argv[2])
"""


def build(source: Path, kind: str, target: Path) -> None:
    """Build a `wheel` or an `sdist` as pip does for a project without a pyproject.toml."""
    target.mkdir(exist_ok=True)
    subprocess.run(
        (sys.executable, "-c", BUILD, f"build_{kind}", target),
        cwd=source, check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def contents(wheel: ZipFile) -> dict[str, bytes]:
    return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of this checkout."""
    if int(version("setuptools").split(".")[0]) < 77:  # builds wheels by itself since 70.1
        pytest.skip("no setuptools of 2025 or newer here: pip install '.[test]'")
    folder = tmp_path_factory.mktemp("packaging")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=OF_PYTHON)
        else:
            shutil.copy(ROOT / name, checkout)
    build(checkout, "sdist", folder)
    build(checkout, "wheel", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    with ZipFile(built / f"{NAME}-py3-none-any.whl") as archive:
        return contents(archive)


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    return BytesParser().parsebytes(wheel[f"{NAME}.dist-info/METADATA"])


@pytest.fixture(scope="module")
def unpacked(built: Path) -> Path:
    """The folder of the source archive."""
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        archive.extractall(built / "sdist", filter="data")
    return built / "sdist" / NAME


def test_the_wheel_holds_the_package_with_its_data_and_pages_and_nothing_else(
    wheel: dict[str, bytes],
) -> None:
    package = files(ROOT / "restauth")
    assert {"restauth/py.typed", "restauth/storage/common_passwords.txt"} <= set(package)
    assert {name: text for name, text in wheel.items() if ".dist-info/" not in name} == package


def test_the_source_archive_holds_the_tests_and_what_they_read(unpacked: Path) -> None:
    for name in SOURCES:
        if (ROOT / name).is_dir():
            assert files(unpacked / name) == files(ROOT / name), name
        elif name != "setup.cfg":  # setuptools adds a section
            assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_the_source_archive_builds_the_same_wheel(
    unpacked: Path, wheel: dict[str, bytes], tmp_path: Path
) -> None:
    build(unpacked, "wheel", tmp_path)
    with ZipFile(tmp_path / f"{NAME}-py3-none-any.whl") as archive:
        assert contents(archive) == wheel


def test_the_distribution_has_its_own_name_and_the_licence(
    metadata: Message, wheel: dict[str, bytes]
) -> None:
    assert metadata["Name"] == "restauth-wsgi"
    assert metadata["Version"] == restauth.__version__
    assert metadata["License"] == "MIT"
    assert wheel[f"{NAME}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_there_are_three_runtime_dependencies(metadata: Message) -> None:
    required = [row for row in metadata.get_all("Requires-Dist", []) if "extra ==" not in row]
    assert [re.split(r"\W", row)[0] for row in required] == ["PyJWT", "bcrypt", "waitress"]


def test_ci_installs_every_lower_bound_that_the_distribution_promises(metadata: Message) -> None:
    pins = subprocess.run(
        (sys.executable, ROOT / ".ci" / "lower_bounds.py"),
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout.splitlines()  # fmt: skip
    promised = [
        row.partition(";")[0].replace(">=", "==")
        for row in metadata.get_all("Requires-Dist", [])
        if not re.search(r'"(counterparts|lint)"', row)
    ]
    assert sorted(pins) == sorted(promised)


def test_every_entry_point_can_be_loaded(wheel: dict[str, bytes]) -> None:
    group, names = "", set()
    for line in wheel[f"{NAME}.dist-info/entry_points.txt"].decode().splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        elif line:
            name, _, value = line.partition(" = ")
            assert callable(EntryPoint(name, value, group).load())
            names.add((group, name))
    assert ("console_scripts", "restauth") in names


def test_the_readme_is_the_page_on_pypi_and_its_links_lead_somewhere(metadata: Message) -> None:
    page = metadata.get_payload(decode=True)
    assert isinstance(page, bytes)
    assert metadata["Description-Content-Type"] == "text/markdown"
    own = re.findall(rf"\]\({re.escape(FILES)}([^)#]+)", page.decode())
    assert own
    assert all((ROOT / path).is_file() for path in own), own
    text = re.sub(r"^```.*?^```|`[^`]*`", "", page.decode(), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"\]\((?!https?:|#)[^)]*\)", text)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert page.decode().replace(FILES, "").strip() == readme.replace(FILES, "").strip()


def test_every_python_that_is_named_is_run_by_ci(metadata: Message) -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata.get_all("Classifier", [])))
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    matrix = re.search(r"python: \[(.*)\]", workflow)
    assert matrix is not None
    assert re.findall(r"[\d.]+", matrix[1]) == named
    assert metadata["Requires-Python"] == f">={named[0]}"
