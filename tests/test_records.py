"""The nouns: frozen values whose repr gives no secret away."""

import sqlite3
from contextlib import closing
from dataclasses import FrozenInstanceError, fields
from ipaddress import ip_address
from typing import Any

import pytest

from restauth.records import (
    MAX_ID,
    OPERATOR,
    Account,
    Caller,
    Client,
    FailureCount,
    IssuedTokens,
    Session,
    User,
)

ACCOUNT = Account(1, "miguel", "$bcrypt-sha256$hash", 1, None, 1, ("admin",))
SESSION = Session("sid", 1, "miguel", (), 1, 1, 2, 2, 0, 1, "192.0.2.7", "test")
USER = User(1, "miguel", (), "sid", "token")
RECORDS = [
    USER,
    ACCOUNT,
    SESSION,
    Caller(USER, ACCOUNT),
    Caller(USER, SESSION),
    Client("192.0.2.7", "test"),
    IssuedTokens("sid", "a.b.c", 1),
    IssuedTokens("sid", "a.b.c", 1, "r1.kid.sid.0.seal", 2),
    FailureCount(1, 2, 3),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
class TestARecord:
    def test_is_frozen(self, record: Any) -> None:
        for field in fields(record):
            with pytest.raises(FrozenInstanceError):
                setattr(record, field.name, None)

    def test_has_no_room_for_more(self, record: Any) -> None:
        assert not hasattr(record, "__dict__")

    def test_shows_neither_hash_nor_token(self, record: Any) -> None:
        assert ACCOUNT.password_hash not in repr(record)
        assert "a.b.c" not in repr(record)
        assert "seal" not in repr(record)


def test_a_record_shows_the_rest_of_itself() -> None:
    assert repr(ACCOUNT) == (
        "Account(id=1, username='miguel', created_at=1, locked_at=None, password_version=1, "
        "roles=('admin',))"
    )
    assert repr(RECORDS[7]) == "IssuedTokens(session_id='sid', duration=1, refresh_duration=2)"


def test_a_user_can_be_a_key() -> None:
    assert {USER: "here"}[User(1, "miguel", (), "sid", "token")] == "here"


def test_a_grant_has_no_refresh_token_unless_it_is_given_one() -> None:
    grant = IssuedTokens("sid", "a.b.c", 1)
    assert (grant.refresh_token, grant.refresh_duration) == (None, 0)


def test_the_operator_is_at_no_address() -> None:
    with pytest.raises(ValueError, match="operator"):
        ip_address(OPERATOR.peer)
    assert OPERATOR.user_agent == ""


def test_the_largest_id_is_the_largest_that_sqlite_can_hold() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute("SELECT ?", (MAX_ID,)).fetchone() == (MAX_ID,)
        with pytest.raises(OverflowError):
            connection.execute("SELECT ?", (MAX_ID + 1,))
