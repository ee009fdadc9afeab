"""What PasteDeploy calls: text in, the same app and the same guard out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

from restauth import Service
from restauth.errors import InvalidSetting
from restauth.paste import auth, main
from tests.conftest import basic, bearer

PASSWORD = basic("ada", "python")


def page(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("REMOTE_USER", "stranger").encode()]


def status_of(app: WSGIApplication, headers: dict[str, str]) -> int:
    client = webtest.TestApp(validator(app), lint=True)
    return int(client.get("/", headers=headers, status="*").status_int)


@pytest.fixture
def files(tmp_path: Path) -> Any:
    """Where the database and the key ring are, as the lines of an INI file say it."""
    return {"database": str(tmp_path / "a.db"), "key_file": str(tmp_path / "a.keys")}


@pytest.fixture
def service(files: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """On these files, with an editor. It closes the connections of the guards, too."""
    monkeypatch.setenv("RESTAUTH_BCRYPT_ROUNDS", "10")
    with Service(**files) as service:
        service.add_user("ada", "python", roles=["editor"])
        yield service


def test_the_lines_of_a_section_are_settings_and_go_before_the_environment(
    service: Service, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_REALM", "Environment")
    monkeypatch.setenv("RESTAUTH_TOKEN_DURATION", "60")
    client = webtest.TestApp(validator(main({}, **files, realm="File")), lint=True)
    answer = client.get("/api/resource", status=401)
    assert 'realm="File"' in answer.headers["WWW-Authenticate"]
    assert client.get("/api/token", headers=PASSWORD).json["duration"] == 60


@pytest.mark.parametrize(
    ("lines", "statuses"),  # without a credential, of an editor, of an editor by token
    [
        ({}, [200, 200, 200]),
        ({"required": "true"}, [401, 200, 200]),
        ({"required": "false"}, [200, 200, 200]),
        ({"role": "editor"}, [401, 200, 200]),
        ({"role": "viewer"}, [401, 403, 403]),
        ({"required": "true", "exempt": "/, /static"}, [200, 200, 200]),
        ({"required": "true", "role": "editor", "stateless": "true"}, [401, 401, 200]),
        ({"required": "true", "stateless": "false"}, [401, 200, 200]),
    ],
    ids=str,
)
def test_the_words_of_the_filter_are_text(
    service: Service, files: Any, lines: dict[str, str], statuses: list[int]
) -> None:
    guard = auth(page, {}, **files, **lines)
    senders: tuple[dict[str, str], ...] = ({}, PASSWORD, bearer(service.issue_token(1).token))
    assert [status_of(guard, headers) for headers in senders] == statuses


# What stops the start


def test_a_flag_is_true_or_false_and_nothing_else(files: Any, tmp_path: Path) -> None:
    for name in ("required", "stateless"):
        for text in ("yes", "TRUE", "1", "", " true"):
            with pytest.raises(InvalidSetting, match=f"^{name} is {text!r}"):
                auth(page, {}, **{name: text}, **files)
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_no_setting_stops_the_start(files: Any, tmp_path: Path) -> None:
    """Nor is the name of a Python argument one."""
    for name in ("databse", "Database", "app", "global_settings", "self"):
        for start in (main, lambda *lines, **more: auth(page, *lines, **more)):
            with pytest.raises(InvalidSetting, match=f"^There is no setting '{name}'"):
                start({}, **files, **{name: "x"})
    for name in ("exempt", "required", "role", "stateless"):
        with pytest.raises(InvalidSetting, match=f"^There is no setting '{name}'"):
            main({}, **files, **{name: "true"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["database", "realm", "exempt", "required", "role", "stateless", "Role"]
)
def test_what_would_hide_a_line_of_ours_stops_the_start(
    files: Any, tmp_path: Path, name: str
) -> None:
    complaint = rf"^{name} is under \[DEFAULT\]"
    with pytest.raises(InvalidSetting, match=complaint):
        auth(page, {name: "x"}, **files)
    if name in files:
        with pytest.raises(InvalidSetting, match=complaint):
            main({name: "x"}, **files)
    assert list(tmp_path.iterdir()) == []


def test_what_belongs_to_other_apps_of_the_file_is_not_looked_at(
    service: Service, files: Any
) -> None:
    of_all = {"here": "/", "__file__": "/site.ini", "debug": "true", "app": "x"}
    main({**of_all, "role": "x"}, **files)
    auth(page, of_all, **files)
