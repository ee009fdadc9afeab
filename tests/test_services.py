"""The domain, built from settings: what is made, what is shared, what reaches where."""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from types import ModuleType

import pytest

from restauth import services as services_module
from restauth import settings
from restauth.errors import (
    BadCredentials,
    InvalidSetting,
    UnacceptablePassword,
    UnacceptableUsername,
    UnusableKeyRing,
    UnusableStore,
)
from restauth.records import Account
from restauth.services import (
    Services,
    build_keys,
    build_services,
    start_stateless_services,
)
from restauth.settings import Settings
from tests.conftest import CHEAPEST, CLIENT, Clock, ServicesFactory, by_password

NAME, PASSWORD = "miguel", "python"


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """Defaults, with files in a fresh directory."""
    return settings.load({}, {"database": tmp_path / "a.db", "key_file": tmp_path / "a.keys"})


def register(services: Services) -> Account:
    return services.accounts.find(services.accounts.register(NAME, PASSWORD))


def log_in(services: Services) -> str:
    return services.sessions.issue(by_password(services, NAME, PASSWORD), CLIENT).token


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


def test_without_a_store_the_key_ring_is_read_at_once_and_no_file_is_made(here: Settings) -> None:
    build_keys(here).open()
    services = start_stateless_services(here)
    assert services.settings == here
    assert os.listdir(here.key_file.parent) == ["a.keys"]
    services.close()


def test_without_a_store_a_key_ring_that_is_not_there_stops_the_start_and_none_is_made(
    here: Settings, tmp_path: Path
) -> None:
    with pytest.raises(UnusableKeyRing, match=f"There is no key ring {here.key_file}"):
        start_stateless_services(here)
    assert list(tmp_path.iterdir()) == []


def test_without_a_store_the_clock_on_the_wall_is_the_default(here: Settings) -> None:
    with closing(build_services(here, create=True, hash_cost_for_tests=CHEAPEST)) as services:
        register(services)
        token = log_in(services)
    assert start_stateless_services(here).tokens.identify(token).username == NAME


def test_services_let_go_of_the_database_when_their_block_ends(
    make_services: ServicesFactory,
) -> None:
    with make_services() as services:
        register(services)
        write_ahead_log = Path(f"{services.settings.database}-wal")
        assert write_ahead_log.exists()
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


def test_the_durations_of_the_settings_rule_what_a_login_is_given(
    make_services: ServicesFactory, clock: Clock
) -> None:
    services = make_services(token_duration=20, session_duration=60, refresh_duration=70)
    register(services)
    account = services.authentication.authenticate(NAME, PASSWORD, CLIENT)
    grant = services.sessions.start(account, CLIENT)
    assert (grant.duration, grant.refresh_duration) == (20, 70)
    session = services.sessions.identify(grant.token).proof
    assert getattr(session, "renewable_until", None) == clock.now + 60


@pytest.mark.parametrize(
    "durations",
    [
        {"token_duration": 100, "refresh_duration": 60},
        {"token_duration": 10, "refresh_duration": 100},
    ],
    ids=str,
)
def test_a_retired_key_is_kept_as_long_as_the_longest_lived_token(
    make_services: ServicesFactory, clock: Clock, durations: dict[str, object]
) -> None:
    keys = make_services(**durations).keys
    kept = keys.ring.signing_key.kid
    keys.rotate(revoke=False)
    clock.advance(100)
    assert kept in [key.kid for key in keys.prune().keys]
    clock.advance(6)  # with the grace for what was just being signed
    assert kept not in [key.kid for key in keys.prune().keys]


# The policy of new passwords


CHECK = """
asked = []

def refuse_colours(password, username):
    asked.append((password, username))
    return "No colours, please." if "green" in password else None

def stumble(password, username):
    raise ZeroDivisionError

no_function = "refuse_colours"
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of an embedder, where Python finds it."""
    (tmp_path / "house_rules.py").write_text(CHECK)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("house_rules")
    del sys.modules["house_rules"]


def refusal_of(services: Services, password: str, username: str = NAME) -> str:
    with pytest.raises(UnacceptablePassword) as caught:
        services.accounts.register(username, password)
    return str(caught.value)


def test_any_password_is_good_by_default(services: Services) -> None:
    services.accounts.register(NAME, NAME)


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("Tr0ub4dor&3 woo", id="15 characters"),
        pytest.param("correct horse battery", id="words"),
        pytest.param("\N{SNAKE}\N{CAT}" * 7 + "!", id="15 characters of 57 bytes"),
    ],
)
def test_the_nist_policy_lets_an_uncommon_password_pass(
    make_services: ServicesFactory, password: str
) -> None:
    make_services(password_policy="nist").accounts.register(NAME, password)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        pytest.param("Tr0ub4dor&3 wo", "at least 15 characters", id="14 characters"),
        pytest.param("passwordpassword", "common passwords", id="a common one, doubled"),
        pytest.param("Professor-Marvel", "the name of the user", id="the user's own name"),
        pytest.param("professor-marvelRESTAUTH", "of names alone", id="with the service's"),
        pytest.param("https://auth.example", "of the service", id="the issuer"),
        pytest.param("the-shop-of-shops", "of the service", id="the audience"),
        pytest.param("The Staff Of The Shop", "of the service", id="the realm"),
    ],
)
def test_the_nist_policy_refuses_and_says_why(
    make_services: ServicesFactory, password: str, reason: str
) -> None:
    services = make_services(
        password_policy="nist",
        issuer="https://auth.example",
        audience="the-shop-of-shops",
        realm="The staff of the shop",
    )
    assert reason in refusal_of(services, password, "professor-marvel")
    assert list(services.accounts.list()) == []


def test_a_password_set_under_a_laxer_policy_still_logs_in(make_services: ServicesFactory) -> None:
    register(make_services())
    log_in(make_services(password_policy="nist"))


def test_the_embedders_own_check_is_asked_for_every_new_password(
    make_services: ServicesFactory, rules: ModuleType
) -> None:
    services = make_services(password_check="house_rules:refuse_colours")
    accounts = services.accounts
    assert refusal_of(services, "evergreen") == "No colours, please."
    account = accounts.find(accounts.register("Miguel", PASSWORD))
    with pytest.raises(UnacceptablePassword, match="colours"):
        accounts.set_password(account, "green")
    with pytest.raises(UnacceptablePassword, match="colours"):
        accounts.change_password(account, "greener", CLIENT)
    with pytest.raises(UnacceptablePassword, match="colours"):
        accounts.reset_password(accounts.make_reset_code(account), "greenest", CLIENT)
    assert rules.asked == [
        ("evergreen", NAME),
        (PASSWORD, "Miguel"),
        ("green", "Miguel"),
        ("greener", "Miguel"),
        ("greenest", "Miguel"),
    ]
    services.authentication.authenticate("Miguel", PASSWORD, CLIENT)  # a login asks nothing
    assert len(rules.asked) == 5


def test_the_check_is_not_asked_about_what_the_policy_refuses(
    make_services: ServicesFactory, rules: ModuleType
) -> None:
    services = make_services(password_policy="nist", password_check="house_rules:refuse_colours")
    assert "at least 15" in refusal_of(services, "evergreen")
    assert rules.asked == []
    assert refusal_of(services, "the evergreen oak") == "No colours, please."


def test_a_check_that_stumbles_lets_nothing_be_written(
    make_services: ServicesFactory, rules: ModuleType
) -> None:
    account = register(make_services())
    accounts = make_services(password_check="house_rules:stumble").accounts
    code = accounts.make_reset_code(account)
    for new_password in (
        lambda: accounts.register("susan", PASSWORD),
        lambda: accounts.set_password(account, "another"),
        lambda: accounts.change_password(account, "another", CLIENT),
        lambda: accounts.reset_password(code, "another", CLIENT),
    ):
        with pytest.raises(ZeroDivisionError):
            new_password()
    assert list(accounts.list()) == [account]
    make_services().accounts.reset_password(code, "another", CLIENT)  # the code is still good


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("house_rulez:refuse_colours", id="no such module"),
        pytest.param("house_rules.deeper:refuse_colours", id="no package"),
        pytest.param("house_rules:refuse_colors", id="no such function"),
        pytest.param("house_rules:no_function", id="not callable"),
        pytest.param("slip:refuse_colours", id="a slip of the pen"),
        pytest.param("crash:refuse_colours", id="an error at import"),
    ],
)
@pytest.mark.usefixtures("rules")
def test_a_check_that_cannot_be_found_stops_the_start(
    make_services: ServicesFactory, tmp_path: Path, name: str
) -> None:
    (tmp_path / "slip.py").write_text("def refuse_colours(password, username)\n    return None\n")
    (tmp_path / "crash.py").write_text("1 / 0\n")
    with pytest.raises(InvalidSetting) as caught:
        make_services(password_check=name)
    message = str(caught.value)
    assert message.startswith(f"password_check is {name!r}: ")
    assert message.isprintable()
    assert message.endswith(".")


def test_nothing_is_swapped_under_a_running_service(services: Services) -> None:
    for running in (services, start_stateless_services(services.settings)):
        for field in fields(running):
            with pytest.raises(FrozenInstanceError):
                setattr(running, field.name, None)


def test_hashing_leaves_a_core_to_those_with_a_token() -> None:
    assert 1 <= services_module.HASH_SLOTS < max(2, os.cpu_count() or 1)
    assert services_module.HASH_QUEUE <= services_module.HASH_SLOTS + 1
