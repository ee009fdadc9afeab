"""What a machine may lack: foreign libraries and programs.

Rule: a test whose counterpart is missing is left out by name, and `--nothing-left-out` (which CI
gives, after it has installed them all) makes that a failure.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def library(name: str) -> Any:
    """The module of that name, from the extra `counterparts`."""
    return pytest.importorskip(name, reason=f"no {name} here: pip install '.[counterparts]'")


def program(name: str) -> str:
    """The path of that program."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return path


def npm_package(name: str) -> Path:
    """The directory of that package, which npm has installed for the whole machine."""
    root = subprocess.run(
        [program("npm"), "root", "-g"], capture_output=True, text=True, check=True
    )
    package = Path(root.stdout.strip(), name)
    if not package.is_dir():
        pytest.skip(f"{name} is not installed: npm install -g {name}", allow_module_level=True)
    return package
