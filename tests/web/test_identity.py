"""The identity in an environ: what is removed, and what is set after it was verified."""

from typing import Any

from restauth.core.authorization import Basic, Bearer
from restauth.records import Caller, Client, User
from restauth.web.identity import identify, remove_identity, scheme_of
from tests.conftest import basic
from tests.web.conftest import SPOOFED

ADA = User(1, "ad\u00e4", ("editor",), None, "password")


def verify(claim: Basic | Bearer | None, client: Client) -> Caller | None:
    return Caller(ADA, None) if claim == Basic("ada", "right") else None


def test_removing_an_identity_leaves_all_else_alone() -> None:
    environ = {"HTTP_HOST": "localhost", **SPOOFED}
    for _ in range(2):
        remove_identity(environ)
        assert environ == {"HTTP_HOST": "localhost", "restauth.user": None}


def test_a_verified_identity_is_set_in_the_strings_of_pep_3333() -> None:
    environ: dict[str, Any] = {"HTTP_AUTHORIZATION": basic("ada", "right")["Authorization"]}
    caller = identify(environ, scheme_of(environ), verify, require_https=False)
    assert caller == Caller(ADA, None)
    assert environ["restauth.user"] is ADA
    assert environ["REMOTE_USER"] == "ad\u00c3\u00a4"
    assert environ["AUTH_TYPE"] == "Basic"


def test_what_is_not_verified_sets_nothing() -> None:
    for headers in ({}, {"HTTP_AUTHORIZATION": ""}, {"HTTP_AUTHORIZATION": "Digest x"}):
        environ = dict(headers)
        assert identify(environ, scheme_of(environ), verify, require_https=False) is None
        assert environ == headers
