"""The domain, built from settings: what is made, what is shared, what reaches where."""

import os
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from restauth import services as services_module
from restauth import settings
from restauth.errors import (
    BadCredentials,
    InvalidSetting,
    UnacceptableUsername,
    UnusableKeyRing,
    UnusableStore,
)
from restauth.records import Account, Caller, User
from restauth.services import Services, build_keys, build_services
from restauth.settings import Settings
from tests.conftest import CHEAPEST, ServicesFactory

NAME, PASSWORD = "miguel", "python"


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """Defaults, with files in a fresh directory."""
    return settings.load({}, {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"})


def register(services: Services) -> Account:
    return services.accounts.find(services.accounts.register(NAME, PASSWORD))


def log_in(services: Services) -> str:
    account = services.accounts.authenticate(NAME, PASSWORD)
    user = User(account.id, account.username, (), None, "password")
    return services.sessions.grant(Caller(user, account)).token


# What is made, and when


def test_a_first_start_makes_two_private_files(here: Settings) -> None:
    with closing(build_services(here, create=True)):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (here.database, here.key_file)}
        assert modes == {"a.db": 0o600, "a.keys": 0o600}


def test_a_second_start_keeps_what_the_first_has_made(make_services: ServicesFactory) -> None:
    first = make_services()
    account = register(first)
    token = log_in(first)
    first.close()
    second = make_services()
    assert second.accounts.find(account.id) == account
    assert second.sessions.identify(token).user.id == account.id


def test_without_create_no_file_is_made(here: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnusableStore):
        build_services(here, create=False)
    assert list(tmp_path.iterdir()) == []


def test_without_create_the_key_ring_is_read_only_when_it_is_asked_for(here: Settings) -> None:
    build_services(here, create=True).close()
    here.key_file.unlink()
    with closing(build_services(here, create=False, hash_cost_for_tests=CHEAPEST)) as services:
        register(services)
        with pytest.raises(UnusableKeyRing):
            log_in(services)
    assert not here.key_file.exists()


def test_a_key_ring_that_others_can_read_stops_the_start_before_a_database_is_made(
    here: Settings,
) -> None:
    here.key_file.touch(mode=0o644)
    with pytest.raises(UnusableKeyRing):
        build_services(here, create=True)
    assert not here.database.exists()


def test_the_key_ring_alone_needs_no_database(here: Settings) -> None:
    keys = build_keys(here)
    keys.open()
    kept = keys.ring.signing_key
    assert abs(kept.created_at - time.time()) < 60
    assert keys.rotate(revoke=False).find(kept.kid, kept.created_at, here.token_duration)
    assert not here.database.exists()


def test_closing_lets_go_of_the_database(services: Services) -> None:
    register(services)
    write_ahead_log = Path(f"{services.settings.database}-wal")
    assert write_ahead_log.exists()
    services.close()
    assert not write_ahead_log.exists()  # SQLite removes it with the last connection


FIRST_START = """
import sys
from restauth import settings
from restauth.services import build_services

database, key_file, name = sys.argv[1:]
values = settings.load({}, {"database": database, "key_file": key_file})
print("ready", flush=True)
sys.stdin.readline()
services = build_services(values, create=True, hash_cost_for_tests=4)
services.accounts.register(name, "python")
print(services.keys.ring.signing_key.kid)
services.close()
"""


def test_four_processes_that_start_at_once_share_one_key_and_one_database(here: Settings) -> None:
    names = ["adam", "bert", "cora", "dora"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_START, here.database, here.key_file, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    kids = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    with closing(build_services(here, create=False)) as services:
        assert kids == {services.keys.ring.signing_key.kid}
        assert sorted(account.username for account in services.accounts.list()) == names


# What reaches where


def test_settings_allow_no_hash_so_cheap_as_the_tests_use(here: Settings) -> None:
    with pytest.raises(InvalidSetting):
        settings.load({}, {"bcrypt_rounds": CHEAPEST})
    with closing(build_services(here, create=True, hash_cost_for_tests=CHEAPEST)) as services:
        assert f",r={CHEAPEST}$" in register(services).password_hash


def test_a_password_is_hashed_at_the_cost_of_the_settings(make_services: ServicesFactory) -> None:
    values = make_services(bcrypt_rounds=10).settings
    with closing(build_services(values, create=True)) as services:
        assert ",r=10$" in register(services).password_hash


def test_the_clock_on_the_wall_is_the_default(here: Settings) -> None:
    with closing(build_services(here, create=True, hash_cost_for_tests=CHEAPEST)) as services:
        before = int(time.time())
        assert before <= register(services).created_at <= time.time()


@pytest.mark.parametrize(
    "change", [{"issuer": "other"}, {"audience": "other"}, {"token_duration": 599}], ids=str
)
def test_a_token_made_under_other_settings_is_refused(
    make_services: ServicesFactory, change: dict[str, object]
) -> None:
    services = make_services()
    register(services)
    token = log_in(services)
    make_services().sessions.identify(token)
    with pytest.raises(BadCredentials):
        make_services(**change).sessions.identify(token)


def test_the_pattern_of_the_settings_rules_registration(make_services: ServicesFactory) -> None:
    services = make_services(username_pattern="[a-c]+")
    services.accounts.register("abc", PASSWORD)
    with pytest.raises(UnacceptableUsername):
        services.accounts.register("abcd", PASSWORD)


def test_nothing_is_swapped_under_a_running_service(services: Services) -> None:
    for field in fields(services):
        with pytest.raises(FrozenInstanceError):
            setattr(services, field.name, None)


def test_hashing_leaves_a_core_to_those_with_a_token() -> None:
    assert 1 <= services_module.HASH_SLOTS < max(2, os.cpu_count() or 1)
    assert services_module.HASH_QUEUE <= services_module.HASH_SLOTS
