"""What each route does.

Rule: one call across a bridge, one value back. No SQL, no token, no header is read here; who may
come this far was decided by `web.api` from the route's `access`.
"""

import time

from restauth.errors import NoSession, RegistrationClosed, UnknownUser
from restauth.records import MAX_ID, Session
from restauth.services import Services
from restauth.web.location import location
from restauth.web.wire import Request, Response, json_response


def register(request: Request, services: Services) -> Response:
    if services.settings.registration == "closed":
        raise RegistrationClosed
    username, password = request.strings("username", "password")
    user_id = services.accounts.register(username, password)
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
        grant = services.sessions.rehearse_grant(caller)
    else:
        grant = services.sessions.grant(caller)
    return json_response(200, {"duration": grant.duration, "token": grant.token})


def log_out(request: Request, services: Services) -> Response:
    proof = request.identified().proof
    if not isinstance(proof, Session):
        raise NoSession
    services.sessions.end(proof)
    return Response(204)


def greet(request: Request, services: Services) -> Response:
    return json_response(200, {"data": f"Hello, {request.identified().user.username}!"})


def show_health(request: Request, services: Services) -> Response:
    services.store.ping()
    return json_response(200, {"status": "ok"})


def _rfc3339(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
