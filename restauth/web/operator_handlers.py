"""What each route of the operator's API does: the command line's acts on accounts, over HTTP.

Rule: the same calls of the domain as the command line makes. Each act is in the audit log with the
id of the caller. Who may call was decided before, by `web.app`: a user with the role of the setting
`admin_role`. An account that does not exist is 404. A member or a query parameter that is not known
is refused.
"""

from collections.abc import Callable
from functools import wraps

from restauth.core import rfc3339
from restauth.core.one_time_codes import INVITATION_DURATION
from restauth.errors import MalformedRequest, NotFound, OwnAccount, UnknownUser
from restauth.records import MAX_ID, Account
from restauth.services import Services
from restauth.web import representations
from restauth.web.http import Request, Response, json_response, member, optional_member
from restauth.web.location import location

MAX_PAGE = 100  # users; also what a page has if its request does not say
MAX_PREFIX_LENGTH = 64  # characters; a longer one is of no name

ActOnAccount = Callable[[Request, Services, Account], Response]


def _on_account(act: ActOnAccount) -> Callable[[Request, Services], Response]:
    """The handler that acts on the account of the path. It raises NotFound when there is none, or
    none any more, and OwnAccount for an act by an API key of that account."""

    @wraps(act)
    def handle(request: Request, services: Services) -> Response:
        try:
            account = services.accounts.find(request.user_id())
            _refuse_own_key(request, account)
            return act(request, services, account)
        except UnknownUser:
            raise NotFound from None

    return handle


def _refuse_own_key(request: Request, account: Account) -> None:
    """As on the routes of the user, a key does not end the sessions and the keys beside it."""
    user = request.identified().user
    if user.how == "key" and user.id == account.id and request.method not in ("GET", "HEAD"):
        raise OwnAccount("An API key does not act on the account of its own user.")


def list_users(request: Request, services: Services) -> Response:
    """GET /api/admin/users: a page of all users, in the order of their ids."""
    query = request.closed_query(
        after="0|[1-9][0-9]{0,18}",
        limit="[1-9][0-9]?|100",
        locked="true|false",
        prefix=f".{{0,{MAX_PREFIX_LENGTH}}}",
    )
    after, locked = int(query["after"] or 0), query["locked"]
    if after > MAX_ID:
        raise MalformedRequest('"after" must be an id.')
    users, following = services.accounts.page(
        after,
        int(query["limit"] or MAX_PAGE),
        query["prefix"] or "",
        is_locked=None if locked is None else locked == "true",
    )
    listed = [representations.account(user) for user in users]
    return json_response(200, {"next": following, "users": listed})


def add_user(request: Request, services: Services) -> Response:
    """POST /api/admin/users: add a user, also where registration is closed."""
    body = request.closed_json("username", "password", "roles")
    account = services.accounts.register(
        member(body, "username", str),
        member(body, "password", str),
        request.operator,
        roles=optional_member(body, "roles", list, ()),
    )
    where = location(request, f"/api/admin/users/{account.id}", services.settings)
    return json_response(201, representations.account(account), where)


@_on_account
def inspect_user(request: Request, services: Services, account: Account) -> Response:
    """GET /api/admin/users/{id}: a user, and how the account is used."""
    return json_response(200, representations.overview(services.accounts.overview(account)))


@_on_account
def rename_user(request: Request, services: Services, account: Account) -> Response:
    """PUT /api/admin/users/{id}/username: give another name; sessions and password stay."""
    username = member(request.closed_json("username"), "username", str)
    services.accounts.rename(account, username, request.operator)
    return Response(204)


@_on_account
def set_roles(request: Request, services: Services, account: Account) -> Response:
    """PUT /api/admin/users/{id}/roles: give exactly these roles."""
    roles = member(request.closed_json("roles"), "roles", list)
    services.accounts.set_roles(account, roles, request.operator)
    return Response(204)


@_on_account
def lock_user(request: Request, services: Services, account: Account) -> Response:
    """PUT /api/admin/users/{id}/lock: refuse all credentials; all sessions and API keys end."""
    services.accounts.lock(account, request.operator)
    return Response(204)


@_on_account
def unlock_user(request: Request, services: Services, account: Account) -> Response:
    """DELETE /api/admin/users/{id}/lock: accept the password again, forget its failures."""
    services.accounts.unlock(account, request.operator)
    return Response(204)


@_on_account
def end_user_sessions(request: Request, services: Services, account: Account) -> Response:
    """DELETE /api/admin/users/{id}/sessions: end all sessions of the user."""
    services.sessions.end_all(account.id, request.operator)
    return Response(204)


@_on_account
def end_user_keys(request: Request, services: Services, account: Account) -> Response:
    """DELETE /api/admin/users/{id}/keys: end all API keys of the user."""
    services.api_keys.end_all(account.id, request.operator)
    return Response(204)


@_on_account
def make_reset_code(request: Request, services: Services, account: Account) -> Response:
    """POST /api/admin/users/{id}/reset-code: make a code with which the user sets a password."""
    issued = services.accounts.make_reset_code(account, request.operator)
    return _show_code(issued.code, issued.expires_at)


def list_invitations(request: Request, services: Services) -> Response:
    """GET /api/admin/invitations: those that can be used, the one that expires first first."""
    listed = [representations.invitation(each) for each in services.invitations.list()]
    return json_response(200, {"invitations": listed})


def invite_user(request: Request, services: Services) -> Response:
    """POST /api/admin/invitations: make a code with which one person registers."""
    body = request.closed_json("expires_in", "roles")
    code, invitation = services.invitations.make(
        optional_member(body, "roles", list, ()),
        optional_member(body, "expires_in", int, INVITATION_DURATION),
        request.operator,
    )
    return _show_code(code, invitation.expires_at)


def revoke_invitation(request: Request, services: Services) -> Response:
    """DELETE /api/admin/invitations/{invitation}: let it register no one."""
    (invitation_id,) = request.parameters
    if services.invitations.revoke(invitation_id, request.operator) is None:
        raise NotFound
    return Response(204)


@_on_account
def delete_user(request: Request, services: Services, account: Account) -> Response:
    """DELETE /api/admin/users/{id}: delete the account and all that belongs to it."""
    services.accounts.delete(account, request.operator)
    return Response(204)


def _show_code(code: str, expires_at: int) -> Response:
    """The answer with a new code, which is shown this once."""
    return json_response(201, {"code": code, "expires_at": rfc3339.build(expires_at)})
