"""Commands that are run in the process of the tests, where `services` has its files."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from restauth import services
from restauth.cli.main import main
from restauth.services import Services
from tests.conftest import CHEAPEST
from tests.processes import Outcome

NAME, PASSWORD = "ada", "python"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"

Restauth = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in an empty directory, and commands hash cheaply."""
    monkeypatch.chdir(tmp_path)
    build = services.build_hasher
    monkeypatch.setattr(services, "build_hasher", lambda settings, _: build(settings, CHEAPEST))
    return tmp_path


@pytest.fixture
def restauth(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Restauth:
    """Run a command; `stdin` is what it may read."""

    def run(words: str, *more: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            status = main([*words.split(), *more])
        except SystemExit as wrong_usage:
            status = int(str(wrong_usage.code))
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def ada(services: Services) -> int:
    """A user to command; her id."""
    return services.accounts.register(NAME, PASSWORD).id


def refused(line: str, status: int = 1) -> Outcome:
    return Outcome(status, "", f"restauth: {line}\n")


def is_one_line(outcome: Outcome, word: str, status: int = 1) -> bool:
    """Whether a command was refused by one line on standard error, with that word in it."""
    return (
        (outcome.status, outcome.out) == (status, "")
        and outcome.err.startswith("restauth: ")
        and outcome.err.count("\n") == 1
        and word in outcome.err
    )
