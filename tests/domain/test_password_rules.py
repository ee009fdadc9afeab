"""The rules for new passwords: the policy of the settings, then the operator's own check.

Rule: which passwords the policy refuses is for the tests of `core.password_policy`; here stands
what it is given, and who is asked.
"""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from restauth import settings
from restauth.domain import password_rules
from restauth.domain.password_rules import FindFault
from restauth.errors import InvalidSetting

NAME = "professor-marvel"
OWN_CHECK = "house_rules:refuse_colours"


def build(**keywords: object) -> FindFault:
    return password_rules.build(settings.load({}, keywords))


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the operator's own check has been asked: it can be imported as OWN_CHECK."""
    asked = []

    def refuse_colours(password: str, username: str) -> str | None:
        asked.append((password, username))
        return "No colours, please." if "green" in password else None

    module = ModuleType("house_rules")
    vars(module).update(refuse_colours=refuse_colours, no_function="refuse_colours")
    monkeypatch.setitem(sys.modules, "house_rules", module)
    return asked


def test_by_default_any_password_is_accepted() -> None:
    assert build()(NAME, NAME) is None


def test_the_nist_policy_knows_the_lists_and_all_names() -> None:
    find_fault = build(
        password_policy="nist",
        issuer="https://auth.example",
        audience="the-shop-of-shops",
        realm="The staff of the shop",
    )
    reasons = {
        "Tr0ub4dor&3 wo": "at least 15 characters",
        "000000000000000": "list of common passwords",
        "dragonmonkeydragon": "made of common passwords",
        "Professor-Marvel": "the name of the user",
        "professor-marvelRESTAUTH": "of names alone",
        "https://auth.example": "of the service",
        "the-shop-of-shops": "of the service",
        "The Staff Of The Shop": "of the service",
    }
    for password, reason in reasons.items():
        assert reason in str(find_fault(password, NAME)), password
    assert find_fault("Tr0ub4dor&3 woo", NAME) is None


def test_the_own_check_is_asked_with_the_password_and_the_name(
    asked: list[tuple[str, str]],
) -> None:
    find_fault = build(password_check=OWN_CHECK)
    assert asked == []
    assert find_fault("evergreen", NAME) == "No colours, please."
    assert find_fault("ever", NAME) is None
    assert asked == [("evergreen", NAME), ("ever", NAME)]


def test_the_own_check_is_asked_only_about_what_the_policy_accepts(
    asked: list[tuple[str, str]],
) -> None:
    find_fault = build(password_policy="nist", password_check=OWN_CHECK)
    assert "at least 15" in str(find_fault("evergreen", NAME))
    assert asked == []
    assert find_fault("the evergreen oak", NAME) == "No colours, please."
    assert find_fault("the everlasting oak", NAME) is None


def test_an_error_of_the_own_check_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        build(password_check="builtins:divmod")("python", NAME)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("house_rulez:refuse_colours", id="no such module"),
        pytest.param("house_rules.deeper:refuse_colours", id="no package"),
        pytest.param("house_rules:refuse_colors", id="no such function"),
        pytest.param("house_rules:no_function", id="not callable"),
        pytest.param("slip:refuse_colours", id="an error of syntax"),
        pytest.param("crash:refuse_colours", id="an error at import"),
    ],
)
def test_an_own_check_that_cannot_be_imported_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slip.py").write_text("def refuse_colours(password, username)\n    return None\n")
    (tmp_path / "crash.py").write_text("1 / 0\n")
    with pytest.raises(InvalidSetting) as caught:
        build(password_check=name)
    message = str(caught.value)
    assert message.startswith(f"password_check (RESTAUTH_PASSWORD_CHECK) is {name!r}: ")
    assert message.isprintable()
