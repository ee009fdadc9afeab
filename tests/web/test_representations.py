"""The shapes of what is shown: every member, and no secret."""

from dataclasses import replace

from restauth.records import Account, ApiKey, Overview, Session
from restauth.web import representations

ACCOUNT = Account(7, "Ada", "a hash", 1_800_000_000, None, 3, ("admin", "editor"))
SHOWN = {
    "created_at": "2027-01-15T08:00:00Z",
    "id": 7,
    "locked_at": None,
    "roles": ("admin", "editor"),
    "username": "Ada",
}


def test_an_account_has_these_members() -> None:
    assert representations.account(ACCOUNT) == SHOWN
    locked = representations.account(replace(ACCOUNT, locked_at=1_800_000_001))
    assert locked == {**SHOWN, "locked_at": "2027-01-15T08:00:01Z"}


def test_an_overview_has_those_of_the_account_and_how_it_is_used() -> None:
    unused = {"failures": 0, "last_login_at": None, "password_blocked_at": None}
    unused |= {"keys": 0, "sessions": 0}
    assert representations.overview(Overview(ACCOUNT, None, 0, 0, 0, None)) == {**SHOWN, **unused}
    used = Overview(ACCOUNT, 1_800_000_002, 2, 3, 100, 1_800_000_003)
    assert representations.overview(used) == {
        **SHOWN,
        "failures": 100,
        "keys": 3,
        "last_login_at": "2027-01-15T08:00:02Z",
        "password_blocked_at": "2027-01-15T08:00:03Z",
        "sessions": 2,
    }


def test_a_session_has_these_members() -> None:
    begin = 1_800_000_000
    owner, times = ("sid", 7, "Ada", ()), (begin + 2, begin + 2, begin, begin + 1)
    session = Session(*owner, *times, 0, begin, "192.0.2.7", "curl")
    assert representations.session(session) == {
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:00:02Z",
        "id": "sid",
        "last_used_at": "2027-01-15T08:00:01Z",
        "peer": "192.0.2.7",
        "user_agent": "curl",
    }


def test_an_api_key_has_these_members_and_not_its_digest() -> None:
    owner, begin = (7, "Ada", ("admin",)), 1_800_000_000
    key = ApiKey("0123", *owner, "ci", ("editor",), "a digest", begin, begin + 2, begin + 1)
    shown = {
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:00:02Z",
        "id": "0123",
        "last_used_at": "2027-01-15T08:00:01Z",
        "name": "ci",
        "prefix": "rak_0123",
        "roles": ("editor",),
    }
    assert representations.key(key) == shown
    new = replace(key, roles=None, expires_at=None, last_used_at=None)
    without = {"roles": None, "expires_at": None, "last_used_at": None}
    assert representations.key(new) == {**shown, **without}
