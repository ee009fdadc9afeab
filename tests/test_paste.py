"""What PasteDeploy calls: text in, the same app and the same guard out."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

from restauth.errors import InvalidSetting
from restauth.paste import auth, main
from restauth.services import Services
from restauth.web.app import App
from restauth.web.middleware import AuthMiddleware
from tests.conftest import basic, bearer

PASSWORD = basic("miguel", "python")
FLAGS = ["yes", "TRUE", "True", "1", "on", "", " true"]


def page(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("REMOTE_USER", "nobody").encode()]


def client_before(app: App | AuthMiddleware) -> webtest.TestApp:
    return webtest.TestApp(validator(app), lint=True)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where both live, as the lines of an INI file say it."""
    monkeypatch.setenv("RESTAUTH_BCRYPT_ROUNDS", "10")
    return {"database": str(tmp_path / "a.db"), "key_file": str(tmp_path / "a.keys")}


@pytest.fixture
def service(files: dict[str, str]) -> Iterator[App]:
    """The service, in which miguel has registered."""
    app = main({}, **files)
    app.services.accounts.register("miguel", "python")
    with closing(app.services):
        yield app


def token(service: App) -> str:
    return str(client_before(service).get("/api/token", headers=PASSWORD).json["token"])


# The app


def test_the_lines_of_a_section_are_settings(files: dict[str, str]) -> None:
    app = main({}, **files, token_duration="60", public_profiles="false", allowed_hosts="a,b")
    with closing(app.services):
        settings = app.services.settings
        assert [str(settings.database), str(settings.key_file)] == list(files.values())
        assert (settings.token_duration, settings.public_profiles) == (60, False)
        assert settings.allowed_hosts == ("a", "b")


def test_a_line_of_the_file_goes_before_the_environment(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_REALM", "Environment")
    monkeypatch.setenv("RESTAUTH_ISSUER", "environment")
    with closing(main({}, **files, realm="File").services) as services:
        assert (services.settings.realm, services.settings.issuer) == ("File", "environment")


# The filter


def test_with_no_line_of_its_own_the_filter_lets_anonymous_through(
    service: App, files: dict[str, str]
) -> None:
    guard = auth(page, {}, **files)
    with closing(guard.services):
        client = client_before(guard)
        assert client.get("/").text == "nobody"
        assert client.get("/", headers=bearer(token(service))).text == "miguel"
        assert client.get("/", headers=PASSWORD).text == "miguel"
        client.get("/", headers=basic("miguel", "ruby"), status=401)


def test_what_is_required_is_said_in_text(service: App, files: dict[str, str]) -> None:
    for required, status in (("true", 401), ("false", 200)):
        guard = auth(page, {}, required=required, **files)
        with closing(guard.services):
            client_before(guard).get("/", status=status)


def test_the_role_is_said_in_text(service: App, files: dict[str, str]) -> None:
    guard = auth(page, {}, role="editor", **files)
    accounts = service.services.accounts
    with closing(guard.services):
        client = client_before(guard)
        client.get("/", status=401)
        client.get("/", headers=PASSWORD, status=403)
        accounts.change_roles(accounts.find(1), ["editor"], [])
        assert client.get("/", headers=PASSWORD).text == "miguel"


def test_all_three_are_said_in_text(service: App, files: dict[str, str], tmp_path: Path) -> None:
    accounts = service.services.accounts
    of_a_viewer = bearer(token(service))
    accounts.change_roles(accounts.find(1), ["editor"], [])
    of_an_editor = bearer(token(service))
    keys = {"key_file": files["key_file"], "database": str(tmp_path / "none.db")}
    client = client_before(auth(page, {}, required="true", role="editor", stateless="true", **keys))
    client.get("/", status=401)
    client.get("/", headers=PASSWORD, status=401)
    client.get("/", headers=of_a_viewer, status=403)
    assert client.get("/", headers=of_an_editor).text == "miguel"
    assert not Path(keys["database"]).exists()


def test_without_the_word_there_is_a_store(service: App, files: dict[str, str]) -> None:
    for keywords in ({}, {"stateless": "false"}):
        guard = auth(page, {}, **keywords, **files)
        with closing(guard.services):
            assert isinstance(guard.services, Services)


# What stops the start


@pytest.mark.parametrize("text", FLAGS)
@pytest.mark.parametrize("name", ["required", "stateless"])
def test_a_flag_is_true_or_false_and_nothing_else(
    files: dict[str, str], tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        auth(page, {}, **{name: text}, **files)
    assert str(caught.value) == f"{name} is {text!r}: neither true nor false."
    assert list(tmp_path.iterdir()) == []


def test_a_role_that_nobody_can_have_stops_the_start(files: dict[str, str]) -> None:
    for role in ("Editor", "", "editor, viewer"):
        with pytest.raises(InvalidSetting, match=f"^role is '{role}': nobody"):
            auth(page, {}, role=role, **files)


@pytest.mark.parametrize("name", ["databse", "Database", "app", "global_settings", "self"])
def test_a_line_that_is_no_setting_stops_the_start(
    files: dict[str, str], tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidSetting, match=f"^There is no setting '{name}'"):
        main({}, **files, **{name: "x"})
    with pytest.raises(InvalidSetting, match=f"^There is no setting '{name}'"):
        auth(page, {}, **files, **{name: "x"})
    assert list(tmp_path.iterdir()) == []


def test_the_service_has_no_words_of_the_filter(files: dict[str, str]) -> None:
    for name in ("required", "role", "stateless"):
        with pytest.raises(InvalidSetting, match=f"^There is no setting '{name}'"):
            main({}, **files, **{name: "true"})


def test_a_value_that_cannot_be_read_stops_the_start(files: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting, match=r"^bcrypt_rounds is '9': not a whole number from 10"):
        main({}, **files, bcrypt_rounds="9")
    with pytest.raises(InvalidSetting, match=r"^require_https is 'yes': neither true nor false"):
        auth(page, {}, **files, require_https="yes")


def test_what_belongs_to_other_apps_of_the_file_is_not_looked_at(files: dict[str, str]) -> None:
    everybodys = {"here": "/", "__file__": "/site.ini", "debug": "true", "app": "x", "role": "x"}
    main(everybodys, **files).services.close()
    del everybodys["role"]
    auth(page, everybodys, **files).services.close()


@pytest.mark.parametrize("name", ["database", "realm", "required", "role", "stateless", "Role"])
def test_what_would_hide_a_line_of_ours_stops_the_start(
    files: dict[str, str], tmp_path: Path, name: str
) -> None:
    complaint = rf"^{name} stands under \[DEFAULT\]"
    with pytest.raises(InvalidSetting, match=complaint):
        auth(page, {name: "x"}, **files)
    if name in files:
        with pytest.raises(InvalidSetting, match=complaint):
            main({name: "x"}, **files)
    assert list(tmp_path.iterdir()) == []
