"""Operators who are users: what each of them may still write."""

from collections.abc import Callable

import pytest

from restauth.errors import BadCredentials, Refusal, RoleRequired
from restauth.records import OPERATOR, Client
from restauth.services import Services
from tests.conftest import CLIENT, ServicesFactory
from tests.domain.actions import PASSWORD, register

# What is done to root, whose id is 1, and how the next act is refused.
CHANGES: dict[str, tuple[Callable[[Services], object], type[Refusal] | None]] = {
    "nothing": (lambda _: None, None),
    "another password": (
        lambda services: services.accounts.set_password(services.accounts.find(1), "ruby"), None
    ),
    "one more role": (
        lambda services: services.accounts.set_roles(services.accounts.find(1), ["a", "admin"]),
        None,
    ),
    "another role": (
        lambda services: services.accounts.set_roles(services.accounts.find(1), ["admins"]),
        RoleRequired,
    ),
    "a lock": (
        lambda services: services.accounts.lock(services.accounts.find(1)), BadCredentials
    ),
    "deletion": (
        lambda services: services.accounts.delete(services.accounts.find(1)), BadCredentials
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_act_is_refused_once_its_operator_is_none(
    make_services: ServicesFactory, name: str
) -> None:
    services = make_services(admin_role="admin")
    services.accounts.register("root", PASSWORD, roles=["admin"])
    account = register(services)
    change, refusal = CHANGES[name]
    change(services)
    root = Client("192.0.2.1", operator_id=1)
    if refusal is None:
        services.accounts.lock(account, root)
    else:
        with pytest.raises(refusal):
            services.accounts.lock(account, root)
    assert (services.accounts.find(2).locked_at is None) is (refusal is not None)


def test_the_command_line_and_a_user_on_the_own_account_need_no_role(services: Services) -> None:
    account = register(services)
    assert services.sessions.end_all(account.id, CLIENT) == 0
    services.accounts.lock(account, OPERATOR)
    assert services.accounts.find(account.id).locked_at is not None
