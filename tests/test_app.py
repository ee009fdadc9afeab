"""create_app: what a server's configuration names."""

from pathlib import Path
from wsgiref.validate import validator

import pytest
import webtest

import restauth.app
from restauth import create_app
from restauth.errors import InvalidSetting, UnusableKeyRing, UnusableStore
from restauth.web.app import App
from tests.conftest import basic, bearer

PASSWORD = basic("miguel", "python")


def client_of(app: App) -> webtest.TestApp:
    return webtest.TestApp(validator(app), lint=True)


def test_what_a_server_names_is_create_app() -> None:
    """`restauth:create_app`"""
    assert restauth.create_app is restauth.app.create_app


def test_with_no_settings_at_all_the_first_user_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = create_app()
    client = client_of(app)
    miguel = {"username": "miguel", "password": "python"}
    answer = client.post_json("/api/users", miguel, status=201)
    assert answer.headers["Location"] == "http://localhost:80/api/users/1"
    client.get("/api/resource", headers=basic("miguel", "ruby"), status=401)
    token = client.get("/api/token", headers=PASSWORD, status=200).json["token"]
    for headers in (PASSWORD, basic(token, "x"), bearer(token)):
        greeting = client.get("/api/resource", headers=headers, status=200).body
        assert greeting == b'{"data": "Hello, miguel!"}\n'
    app.services.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["restauth.db", "restauth.keys"]


def test_create_app_reads_keywords_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTAUTH_DATABASE", str(tmp_path / "environment.db"))
    monkeypatch.setenv("RESTAUTH_KEY_FILE", str(tmp_path / "environment.keys"))
    app = create_app(database=tmp_path / "keyword.db")
    client_of(app).get("/api/health", status=200)
    app.services.close()
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["environment.keys", "keyword.db"]


def test_two_processes_share_users_and_tokens(tmp_path: Path) -> None:
    files = {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"}
    first, second = (create_app(**files, bcrypt_rounds=10) for _ in range(2))
    miguel = {"username": "miguel", "password": "python"}
    client_of(first).post_json("/api/users", miguel, status=201)
    token = client_of(second).get("/api/token", headers=PASSWORD).json["token"]
    client_of(first).delete("/api/token", headers=bearer(token), status=204)
    client_of(second).get("/api/resource", headers=bearer(token), status=401)
    first.services.close()
    second.services.close()


@pytest.mark.parametrize(("policy", "warnings"), [("open", 1), ("nist", 0)])
def test_an_open_policy_says_so_at_every_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: str, warnings: int
) -> None:
    for _ in range(2):
        caplog.clear()
        files = {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"}
        create_app(**files, password_policy=policy).services.close()
        told = [(record.levelname, record.getMessage()) for record in caplog.records]
        line = "password_policy is open: any password is accepted"
        assert told == [("WARNING", line)] * warnings


def test_a_check_of_passwords_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    files = {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"}
    for name in ("nowhere:check", "json:nothing", "json:__name__"):
        with pytest.raises(InvalidSetting, match=f"password_check is '{name}'"):
            create_app(**files, password_check=name)


def test_an_unknown_keyword_stops_the_start() -> None:
    with pytest.raises(InvalidSetting, match="no setting 'databse'"):
        create_app(databse="a.db")


def test_an_unknown_name_in_the_environment_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESTAUTH_DATABSE", "a.db")
    with pytest.raises(InvalidSetting, match="no setting 'RESTAUTH_DATABSE'"):
        create_app()


def test_a_store_that_is_not_ours_stops_the_start_and_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    database.write_text("somebody's letters " * 100)
    with pytest.raises(UnusableStore):
        create_app(database=database, key_file=tmp_path / "a.keys")
    assert database.read_text() == "somebody's letters " * 100


def test_a_key_ring_that_others_can_read_stops_the_start(tmp_path: Path) -> None:
    files = {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"}
    create_app(**files).services.close()
    files["key_file"].chmod(0o644)
    with pytest.raises(UnusableKeyRing, match="chmod 600"):
        create_app(**files)
