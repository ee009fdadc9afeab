"""One-time codes: kinds that do not mix, and counts of their own."""

import pytest

from restauth.core import one_time_codes
from restauth.domain.audit import Event
from restauth.domain.code_verification import CodeVerifier
from restauth.errors import Throttled, UnusableCode
from restauth.records import Account
from restauth.services import Services
from tests.conftest import CLIENT
from tests.domain.actions import events

CODE = one_time_codes.generate()


def find(selector: str) -> tuple[None, str] | None:
    return (None, CODE.secret_digest) if selector == CODE.selector else None


def verifier(services: Services, kind: str) -> CodeVerifier:
    throttle = services.accounts._throttle
    return CodeVerifier(kind, Event.RESET_FAILED, throttle, services.audit)


def test_a_code_has_its_owner_and_its_selector(services: Services, account: Account) -> None:
    one = verifier(services, "\0one ")
    assert one.verify(CODE.build(), find, CLIENT) == (None, CODE.selector)
    owner, selector = one.verify(
        CODE.build(), lambda selector: (account, CODE.secret_digest), CLIENT
    )
    assert (owner, selector) == (account, CODE.selector)


def test_tries_are_counted_by_kind_and_selector(
    services: Services, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "restauth.audit")
    one, other = verifier(services, "\0one "), verifier(services, "\0other ")
    wrong = f"{CODE.selector}.{'A' * 24}"
    for _ in range(6):
        with pytest.raises(UnusableCode):
            one.verify(wrong, lambda selector: (account, CODE.secret_digest), CLIENT)
    *failed, throttled = events(caplog)
    assert {(entry["event"], entry["user_id"]) for entry in failed} == {("reset_failed", 1)}
    assert throttled["event"] == "throttled"
    with pytest.raises(Throttled):
        one.verify(CODE.build(), find, CLIENT)
    assert other.verify(CODE.build(), find, CLIENT) == (None, CODE.selector)


@pytest.mark.parametrize(
    "text",
    ["", "x", f"{'A' * 12}.{CODE.secret}", f"{CODE.build()} "],
    ids=["empty", "x", "another selector", "blank"],
)
def test_for_any_other_text_there_is_one_answer_and_no_count(services: Services, text: str) -> None:
    for _ in range(10):
        with pytest.raises(UnusableCode):
            verifier(services, "\0one ").verify(text, find, CLIENT)
    assert services._resources.engine.read("SELECT * FROM failures", {}) == []
