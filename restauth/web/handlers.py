"""What each route does.

Rule: one call of the domain, one value back. No SQL, no token and no header is read here. Who may
call a route was decided before, by `web.app` from the route's `access`.
"""

import string
from urllib.parse import quote

from restauth.core import rfc3339
from restauth.errors import NoSession, NotFound, RegistrationClosed
from restauth.gate import gate
from restauth.records import IssuedTokens
from restauth.services import Services
from restauth.web import exposition, representations
from restauth.web.access import check_roles
from restauth.web.http import Request, Response, json_response, member, optional_member
from restauth.web.location import location

# What stays as it is in a header: visible ASCII. Not the percent sign: with it, the name
# `ren%C3%A9` would be taken for `rené`.
_VISIBLE = string.punctuation.replace("%", "")


def register(request: Request, services: Services) -> Response:
    """POST /api/users: register a user."""
    if services.settings.registration == "closed":
        raise RegistrationClosed
    codes = ("invitation",) if services.settings.registration == "invited" else ()
    username, password, *given = request.strings("username", "password", *codes)
    invitation = given[0] if given else None
    account = services.accounts.register(username, password, request.client, invitation=invitation)
    where = location(request, f"/api/users/{account.id}", services.settings)
    return json_response(201, {"username": username}, where)


def show_user(request: Request, services: Services) -> Response:
    """GET /api/users/{id}: the name of a user."""
    return json_response(200, {"username": services.accounts.find(request.user_id()).username})


def show_me(request: Request, services: Services) -> Response:
    """GET /api/users/me: the account of the caller."""
    user = request.identified().user
    account = services.accounts.find(user.id)
    return json_response(
        200,
        {
            "created_at": rfc3339.build(account.created_at),
            "id": account.id,
            "roles": list(user.roles),
            "username": account.username,
        },
    )


def issue_token(request: Request, services: Services) -> Response:
    """GET /api/token: a token of a new session, or of the session of the presented token."""
    if request.method == "HEAD":  # the headers of GET, without a session
        issued = services.sessions.preview(request.proof(), request.client)
    else:
        issued = services.sessions.issue(request.proof(), request.client)
    return json_response(200, {"duration": issued.duration, "token": issued.token})


def refresh(request: Request, services: Services) -> Response:
    """POST /api/token: exchange a refresh token."""
    (refresh_token,) = request.strings("refresh_token")
    return json_response(200, _pair(services.sessions.refresh(refresh_token, request.client)))


def log_out(request: Request, services: Services) -> Response:
    """DELETE /api/token: end the session of the presented token."""
    user = request.identified().user
    if user.session_id is None:
        raise NoSession
    services.sessions.end(user, user.session_id, request.client)
    return Response(204)


def start_session(request: Request, services: Services) -> Response:
    """POST /api/sessions: begin a session with a refresh token."""
    issued = services.sessions.start(request.verified_account(), request.client)
    where = location(request, f"/api/sessions/{issued.session_id}", services.settings)
    return json_response(201, _pair(issued), where)


def list_sessions(request: Request, services: Services) -> Response:
    """GET /api/sessions: the live sessions of the caller."""
    user = request.identified().user
    sessions = [
        {**representations.session(session), "current": session.id == user.session_id}
        for session in services.sessions.list(user.id)
    ]
    return json_response(200, {"sessions": sessions})


def end_sessions(request: Request, services: Services) -> Response:
    """DELETE /api/sessions: end all sessions of the caller."""
    services.sessions.end_all(request.identified().user.id, request.client)
    return Response(204)


def end_session(request: Request, services: Services) -> Response:
    """DELETE /api/sessions/{sid}: end one session of the caller."""
    (session_id,) = request.parameters
    if not services.sessions.end(request.identified().user, session_id, request.client):
        raise NotFound
    return Response(204)


def make_key(request: Request, services: Services) -> Response:
    """POST /api/keys: make an API key, and show it this once."""
    body = request.closed_json("name", "roles", "expires_in")
    issued = services.api_keys.make(
        request.verified_account(),
        member(body, "name", str),
        request.client,
        roles=optional_member(body, "roles", list, None),
        expires_in=optional_member(body, "expires_in", int, None),
    )
    where = location(request, f"/api/keys/{issued.key.id}", services.settings)
    shown = representations.key(issued.key)
    del shown["last_used_at"]  # there was no use yet
    return json_response(201, {**shown, "key": issued.text}, where)


def list_keys(request: Request, services: Services) -> Response:
    """GET /api/keys: the live API keys of the caller."""
    keys = services.api_keys.list(request.identified().user.id)
    return json_response(200, {"keys": [representations.key(key) for key in keys]})


def end_keys(request: Request, services: Services) -> Response:
    """DELETE /api/keys: end all API keys of the caller."""
    services.api_keys.end_all(request.identified().user.id, request.client)
    return Response(204)


def end_key(request: Request, services: Services) -> Response:
    """DELETE /api/keys/{key}: end one API key of the caller."""
    (key_id,) = request.parameters
    if not services.api_keys.end(request.identified().user.id, key_id, request.client):
        raise NotFound
    return Response(204)


def change_password(request: Request, services: Services) -> Response:
    """PUT /api/users/me/password: set a new password; all sessions end."""
    (password,) = request.strings("password")
    count = services.accounts.change_password(request.verified_account(), password, request.client)
    return _keys_live_on(count)


def close_account(request: Request, services: Services) -> Response:
    """DELETE /api/users/me: delete the account of the caller."""
    services.accounts.close(request.verified_account(), request.client)
    return Response(204)


def reset_password(request: Request, services: Services) -> Response:
    """POST /api/password-resets: set a new password with a reset code."""
    code, password = request.strings("code", "password")
    return _keys_live_on(services.accounts.reset_password(code, password, request.client))


def greet(request: Request, services: Services) -> Response:
    """GET /api/resource: REST-auth's example of a protected resource."""
    return json_response(200, {"data": f"Hello, {request.identified().user.username}!"})


def verify(request: Request, services: Services) -> Response:
    """/api/verify, any method: tell a proxy whether a request may pass (forward authentication)."""
    user = check_roles(request.identified().user, request.query("role"))
    name = quote(user.username, safe=_VISIBLE)
    return Response(204, headers=(("Remote-User", name), ("Remote-Groups", ",".join(user.roles))))


def show_keys(request: Request, services: Services) -> Response:
    """GET /.well-known/jwks.json: the public halves of the signing keys."""
    return json_response(200, services.keys.public(services.settings.token_duration))


def show_health(request: Request, services: Services) -> Response:
    """GET /api/health: whether the store answers, and the audit log is written."""
    services.ping()
    return json_response(200, {"status": "ok"})


def show_readiness(request: Request, services: Services) -> Response:
    """GET /api/ready: whether requests can be sent here."""
    services.check_ready()
    return json_response(200, {"status": "ok"})


def show_metrics(request: Request, services: Services) -> Response:
    """GET /metrics: the figures of this process."""
    gate.before_waiting()  # to count the sessions can take a while
    text = exposition.build(services.collector.collect())
    return Response(200, text.encode("ascii"), (("Content-Type", exposition.CONTENT_TYPE),))


def _pair(issued: IssuedTokens) -> dict[str, object]:
    return {
        "duration": issued.duration,
        "refresh_duration": issued.refresh_duration,
        "refresh_token": issued.refresh_token,
        "token": issued.token,
    }


def _keys_live_on(count: int) -> Response:
    """The answer to a new password: sessions have ended, and so many API keys have not."""
    return Response(204, headers=(("Live-API-Keys", str(count)),))
