"""What each route does.

Rule: one call across a bridge, one value back. No SQL, no token, no header is read here; who may
come this far was decided by `web.api` from the route's `access`.
"""

import string
import time
from urllib.parse import quote

from restauth.errors import NoSession, NotFound, RegistrationClosed, RoleRequired, UnknownUser
from restauth.records import MAX_ID, IssuedTokens
from restauth.services import Services
from restauth.web.http import Request, Response, json_response
from restauth.web.location import location

# What stands in a header as it is: ASCII that can be seen. Not the percent sign: with it, the name
# `ren%C3%A9` would be taken for `rené`.
_VISIBLE = string.punctuation.replace("%", "")


def register(request: Request, services: Services) -> Response:
    if services.settings.registration == "closed":
        raise RegistrationClosed
    username, password = request.strings("username", "password")
    user_id = services.accounts.register(username, password, request.client)
    where = location(request, f"/api/users/{user_id}", services.settings)
    return json_response(201, {"username": username}, where)


def show_user(request: Request, services: Services) -> Response:
    (digits,) = request.parameters
    if len(digits) > len(str(MAX_ID)) or int(digits) > MAX_ID:
        raise UnknownUser  # the store would overflow, and int() refuses thousands of digits
    return json_response(200, {"username": services.accounts.find(int(digits)).username})


def show_me(request: Request, services: Services) -> Response:
    user = request.identified().user
    account = services.accounts.find(user.id)
    return json_response(
        200,
        {
            "created_at": _rfc3339(account.created_at),
            "id": account.id,
            "roles": list(user.roles),
            "username": account.username,
        },
    )


def issue_token(request: Request, services: Services) -> Response:
    caller = request.identified()
    if request.method == "HEAD":  # GET's headers without GET's session
        grant = services.sessions.preview(caller, request.client)
    else:
        grant = services.sessions.issue(caller, request.client)
    return json_response(200, {"duration": grant.duration, "token": grant.token})


def refresh(request: Request, services: Services) -> Response:
    (refresh_token,) = request.strings("refresh_token")
    return json_response(200, _pair(services.sessions.refresh(refresh_token, request.client)))


def log_out(request: Request, services: Services) -> Response:
    user = request.identified().user
    if user.session_id is None:
        raise NoSession
    services.sessions.end(user, user.session_id, request.client)
    return Response(204)


def start_session(request: Request, services: Services) -> Response:
    grant = services.sessions.start(request.verified(), request.client)
    where = location(request, f"/api/sessions/{grant.session_id}", services.settings)
    return json_response(201, _pair(grant), where)


def list_sessions(request: Request, services: Services) -> Response:
    user = request.identified().user
    sessions = [
        {
            "id": session.id,
            "created_at": _rfc3339(session.created_at),
            "last_used_at": _rfc3339(session.last_used_at),
            "expires_at": _rfc3339(session.expires_at),
            "peer": session.peer,
            "user_agent": session.user_agent,
            "current": session.id == user.session_id,
        }
        for session in services.sessions.list(user)
    ]
    return json_response(200, {"sessions": sessions})


def end_sessions(request: Request, services: Services) -> Response:
    services.sessions.end_all(request.identified().user.id, request.client)
    return Response(204)


def end_session(request: Request, services: Services) -> Response:
    (session_id,) = request.parameters
    if not services.sessions.end(request.identified().user, session_id, request.client):
        raise NotFound
    return Response(204)


def change_password(request: Request, services: Services) -> Response:
    (password,) = request.strings("password")
    services.accounts.change_password(request.verified(), password, request.client)
    return Response(204)


def close_account(request: Request, services: Services) -> Response:
    services.accounts.close(request.verified(), request.client)
    return Response(204)


def reset_password(request: Request, services: Services) -> Response:
    code, password = request.strings("code", "password")
    services.accounts.reset_password(code, password, request.client)
    return Response(204)


def greet(request: Request, services: Services) -> Response:
    return json_response(200, {"data": f"Hello, {request.identified().user.username}!"})


def verify(request: Request, services: Services) -> Response:
    """Forward authentication: the answer to a proxy that asks whether a request may pass."""
    user = request.identified().user
    if not set(request.query("role")) <= set(user.roles):
        raise RoleRequired
    name = quote(user.username, safe=_VISIBLE)
    return Response(204, headers=(("Remote-User", name), ("Remote-Groups", ",".join(user.roles))))


def show_keys(request: Request, services: Services) -> Response:
    return json_response(200, services.keys.public(services.settings.token_duration))


def show_health(request: Request, services: Services) -> Response:
    services.store.ping()
    return json_response(200, {"status": "ok"})


def _pair(grant: IssuedTokens) -> dict[str, object]:
    return {
        "duration": grant.duration,
        "refresh_duration": grant.refresh_duration,
        "refresh_token": grant.refresh_token,
        "token": grant.token,
    }


def _rfc3339(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
