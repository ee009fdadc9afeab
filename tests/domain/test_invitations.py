"""Invitations as the operator sees them: made, listed, revoked, expired."""

import pytest

from restauth.core.one_time_codes import INVITATION_DURATION
from restauth.errors import UnacceptableRoles, UnusableCode
from restauth.records import Invitation
from restauth.services import Services
from restauth.testing import Clock
from tests.conftest import CLIENT
from tests.domain.actions import PASSWORD, events


def test_an_invitation_is_listed_until_it_expires(services: Services, clock: Clock) -> None:
    code, first = services.invitations.make(["viewer", "editor"])
    now = clock()
    assert first == Invitation(
        code.partition(".")[0], ("editor", "viewer"), now, now + INVITATION_DURATION
    )
    _, second = services.invitations.make(duration=60)
    assert services.invitations.list() == [second, first]
    clock.advance(60)
    assert services.invitations.list() == [first]
    assert len(services._resources.engine.read("SELECT * FROM invitations", {})) == 2
    services.invitations.make()  # removes what has expired
    assert len(services._resources.engine.read("SELECT * FROM invitations", {})) == 2
    clock.advance(INVITATION_DURATION)
    with pytest.raises(UnusableCode):
        services.accounts.register("ada", PASSWORD, CLIENT, invitation=code)


def test_a_revoked_invitation_registers_no_one(
    services: Services, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "restauth.audit")
    code, invitation = services.invitations.make(["editor"])
    assert services.invitations.revoke(invitation.id) == invitation.id
    made, revoked = events(caplog)
    assert (made["event"], made["invitation"], made["roles"]) == (
        "invitation_made",
        invitation.id,
        ["editor"],
    )
    assert (revoked["event"], revoked["invitation"]) == ("invitation_revoked", invitation.id)
    assert services.invitations.list() == []
    with pytest.raises(UnusableCode):
        services.accounts.register("ada", PASSWORD, CLIENT, invitation=code)
    late = services.invitations.make(duration=60)[1]
    clock.advance(60)
    for unknown in (invitation.id, late.id, code, "", ".", "\ud800"):
        assert services.invitations.revoke(unknown) is None


def test_a_whole_code_revokes_its_invitation_and_only_the_id_is_told(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    _, kept = services.invitations.make()
    for known in ("{}", " {}\n"):
        code, invitation = services.invitations.make()
        assert services.invitations.revoke(known.format(code)) == invitation.id
    assert services.invitations.list() == [kept]
    assert code.partition(".")[2] not in caplog.text


def test_what_is_no_role_invites_no_one(services: Services) -> None:
    with pytest.raises(UnacceptableRoles):
        services.invitations.make(["Editor!"])
    assert services.invitations.list() == []


def test_no_code_is_stored(services: Services) -> None:
    code, _ = services.invitations.make()
    rows = services._resources.engine.read("SELECT * FROM invitations", {})
    assert code.partition(".")[2] not in repr(rows)
