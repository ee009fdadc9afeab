"""The temporary service: what production has, but for the clock and the price of a hash."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

import restauth.testing
from restauth.errors import BadCredentials, InvalidSetting
from tests.conftest import basic, bearer
from tests.processes import PATIENCE

TESTS = """
import pytest
import restauth.testing

auth = pytest.fixture(restauth.testing.service_fixture)


@pytest.mark.parametrize("turn", range(2))
def test_each_test_has_a_service_of_its_own(auth, turn):
    assert auth.add_user("ada", "python").id == 1
"""


def page(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["restauth.user"].username.encode()]


def test_the_clock_stands_still_until_it_is_moved() -> None:
    with restauth.testing.service(token_duration=60, session_duration=100) as service:
        user = service.add_user("ada", "python", roles=["editor"])
        token = bearer(service.issue_token(user.id).token)
        clients = [
            webtest.TestApp(validator(service.guard(page, role="editor", stateless=flag)))
            for flag in (False, True)
        ]
        service.clock.advance(59)
        assert [client.get("/", headers=token).text for client in clients] == ["ada", "ada"]
        service.clock.advance(1)
        for client in clients:
            client.get("/", headers=token, status=401)
        with pytest.raises(BadCredentials):
            service.verify(token["Authorization"])
        assert user.created_at == service.clock.now - 60


def test_a_hash_costs_little_whatever_the_settings(work: list[int]) -> None:
    with restauth.testing.service(bcrypt_rounds=15) as service:
        service.add_user("ada", "python")
        assert service.verify(basic("ada", "python")["Authorization"])
    assert set(work) == {2**4}


def test_the_environment_has_no_effect_and_the_keywords_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESTAUTH_REALM", "Environment")
    monkeypatch.setenv("RESTAUTH_NO_SUCH_SETTING", "x")
    database = tmp_path / "own.db"
    with restauth.testing.service(issuer="tests", database=database) as service:
        assert service.settings.realm == "Authentication Required"
        assert service.settings.issuer == "tests"
        assert Path(service.settings.key_file).parent != tmp_path
    assert database.exists()
    with pytest.raises(InvalidSetting), restauth.testing.service(bcrypt_rounds=9):
        pass


def test_everything_is_closed_and_removed_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert gettempdir() == str(tmp_path)
    with suppress(ZeroDivisionError), restauth.testing.service() as service:
        service.add_user("ada", "python")
        (directory,) = tmp_path.iterdir()
        assert directory.stat().st_mode & 0o077 == 0
        assert open_files(directory)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert open_files(directory) == []


def open_files(directory: Path) -> list[str]:
    """Which files there this process has open, removed ones too."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("no /proc here")
    links = (str(link.readlink()) for link in descriptors.iterdir() if link.is_symlink())
    return [name for name in links if name.startswith(str(directory))]


def test_one_line_makes_a_fixture_of_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own.py"],
        cwd=tmp_path,
        env={**os.environ, "RESTAUTH_DATABASE": "developers-own.db"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 passed" in done.stdout
    assert not (tmp_path / "developers-own.db").exists()


def test_one_service_after_another_is_a_new_one() -> None:
    """The name still holds the first one while the second is made, perhaps on the same inode."""
    for _ in range(3):
        with restauth.testing.service() as service:
            assert service.add_user("ada", "python").id == 1


def test_the_clock_counts_whole_seconds() -> None:
    with restauth.testing.service() as service, pytest.raises(TypeError):
        service.clock.advance(0.5)  # type: ignore[arg-type]
