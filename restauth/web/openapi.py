"""The route table as an OpenAPI 3.1.1 document.

Rule: what the table says (paths, methods, access, secrets) is read from it. What follows from that
(the refusals of a route that asks for a credential or takes a body) is derived here, once. Only
what a handler itself gives and refuses has a row of its own here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from restauth import errors
from restauth.core import (
    api_keys,
    one_time_codes,
    passwords,
    roles,
    session_ids,
    username_policy,
)
from restauth.domain.api_keys import MAX_DURATION, MAX_NAME_LENGTH
from restauth.errors import Refusal
from restauth.records import MAX_ID, ROLE_PATTERN
from restauth.settings import USERNAME_PATTERN, Settings
from restauth.web import handlers, operator_handlers
from restauth.web.access import Access
from restauth.web.http import ALWAYS
from restauth.web.problems import CODES, INTERNAL_ERROR, STATUSES, THROTTLED_FOR_PROXIES
from restauth.web.router import ANY_METHOD, METHODS, Handler, Route

# The version of the contract, not of the package: a response shows no version of the software.
CONTRACT_VERSION = "1.0"


@dataclass(frozen=True, slots=True)
class Operation:
    """What a handler gives after a valid request, and what the handler itself may refuse.

    `schema` is a name of SCHEMAS, `headers` are names of HEADERS, and `parameters` of PARAMETERS.
    `members` and `optional` are members of the JSON body, strings where _MEMBERS does not say
    otherwise, and narrowed by `bounds`. `is_closed`: the handler refuses a body with any other
    member. `asks_store` is false for a handler that needs no store.
    """

    summary: str
    status: int
    schema: str | None = None
    headers: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    bounds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    is_closed: bool = False
    parameters: tuple[str, ...] = ()
    refusals: tuple[type[Refusal], ...] = ()
    asks_store: bool = True


OPERATIONS: dict[Handler, Operation] = {
    handlers.register: Operation(
        "Register a user",
        201,
        "Profile",
        headers=("Location",),
        members=("username", "password"),
        refusals=(
            errors.RegistrationClosed,
            errors.UnacceptableUsername,
            errors.UnacceptablePassword,
            errors.UsernameTaken,
            errors.Throttled,
            errors.Busy,
        ),
    ),
    handlers.show_user: Operation(
        "Show a user's name", 200, "Profile", refusals=(errors.UnknownUser,)
    ),
    handlers.show_me: Operation(
        "Show the caller's account", 200, "Account", refusals=(errors.UnknownUser,)
    ),
    handlers.change_password: Operation(
        "Change the caller's password; all sessions end, and API keys live on",
        204,
        headers=("Live-API-Keys",),
        members=("password",),
        refusals=(errors.UnacceptablePassword,),
    ),
    handlers.close_account: Operation("Delete the caller's account", 204),
    handlers.issue_token: Operation(
        "Get a token: a password begins a session, a token renews within it", 200, "Token"
    ),
    handlers.refresh: Operation(
        "Exchange a refresh token for its successor and a new token",
        200,
        "TokenPair",
        members=("refresh_token",),
        refusals=(errors.BadCredentials,),
    ),
    handlers.log_out: Operation(
        "End the session of the presented token", 204, refusals=(errors.NoSession,)
    ),
    handlers.start_session: Operation(
        "Begin a session with a refresh token", 201, "TokenPair", headers=("Location",)
    ),
    handlers.list_sessions: Operation("List the caller's live sessions", 200, "SessionList"),
    handlers.end_sessions: Operation("End all sessions of the caller", 204),
    handlers.end_session: Operation("End one session of the caller", 204),
    handlers.make_key: Operation(
        "Make an API key, which is shown this once",
        201,
        "NewKey",
        headers=("Location",),
        members=("name",),
        optional=("expires_in", "roles"),
        bounds={"expires_in": {"minimum": 1, "maximum": MAX_DURATION}},
        is_closed=True,
        refusals=(errors.UnacceptableKey, errors.TooManyKeys),
    ),
    handlers.list_keys: Operation("List the caller's live API keys", 200, "KeyList"),
    handlers.end_keys: Operation("End all API keys of the caller", 204),
    handlers.end_key: Operation("End one API key of the caller", 204),
    handlers.reset_password: Operation(
        "Set a new password with an operator's code",
        204,
        headers=("Live-API-Keys",),
        members=("code", "password"),
        refusals=(
            errors.UnusableCode,
            errors.UnacceptablePassword,
            errors.Throttled,
            errors.Busy,
        ),
    ),
    handlers.greet: Operation("Get the protected resource", 200, "Greeting"),
    handlers.verify: Operation(
        "Ask, as a proxy, whether a request may pass",
        204,
        headers=("Remote-Groups", "Remote-User"),
        parameters=("role",),
        refusals=(errors.RoleRequired,),
    ),
    handlers.show_health: Operation(
        "Ask whether the service is in order", 200, "Health", refusals=(errors.NotReady,)
    ),
    handlers.show_readiness: Operation(
        "Ask whether requests can be sent here", 200, "Health", refusals=(errors.NotReady,)
    ),
    handlers.show_keys: Operation(
        "Get the public halves of the signing keys", 200, "KeySet", asks_store=False
    ),
    operator_handlers.list_users: Operation(
        "List users, in the order of their ids",
        200,
        "UserPage",
        parameters=("after", "limit", "locked", "prefix"),
    ),
    operator_handlers.add_user: Operation(
        "Add a user",
        201,
        "User",
        headers=("Location",),
        members=("username", "password"),
        optional=("roles",),
        is_closed=True,
        refusals=(
            errors.UnacceptableUsername,
            errors.UnacceptablePassword,
            errors.UnacceptableRoles,
            errors.UsernameTaken,
        ),
    ),
    operator_handlers.inspect_user: Operation(
        "Show a user, and how the account is used", 200, "UserOverview"
    ),
    operator_handlers.delete_user: Operation(
        "Delete a user's account and all that belongs to it", 204, refusals=(errors.OwnAccount,)
    ),
    operator_handlers.rename_user: Operation(
        "Give a user another name; sessions and password stay",
        204,
        members=("username",),
        is_closed=True,
        refusals=(errors.OwnAccount, errors.UnacceptableUsername, errors.UsernameTaken),
    ),
    operator_handlers.set_roles: Operation(
        "Give a user exactly these roles",
        204,
        members=("roles",),
        is_closed=True,
        refusals=(errors.OwnAccount, errors.UnacceptableRoles),
    ),
    operator_handlers.lock_user: Operation(
        "Refuse all credentials of a user; all sessions and API keys end",
        204,
        refusals=(errors.OwnAccount,),
    ),
    operator_handlers.unlock_user: Operation(
        "Accept a user's password again, and forget its failures",
        204,
        refusals=(errors.OwnAccount,),
    ),
    operator_handlers.end_user_sessions: Operation(
        "End all sessions of a user", 204, refusals=(errors.OwnAccount,)
    ),
    operator_handlers.end_user_keys: Operation(
        "End all API keys of a user", 204, refusals=(errors.OwnAccount,)
    ),
    operator_handlers.make_reset_code: Operation(
        "Make a code with which a user sets a password",
        201,
        "Code",
        refusals=(errors.AccountLocked, errors.OwnAccount),
    ),
    operator_handlers.list_invitations: Operation(
        "List the invitations that can be used", 200, "InvitationList"
    ),
    operator_handlers.invite_user: Operation(
        "Make a code with which one person registers",
        201,
        "Code",
        optional=("expires_in", "roles"),
        bounds={
            "expires_in": {
                "minimum": one_time_codes.MIN_INVITATION_DURATION,
                "maximum": one_time_codes.MAX_INVITATION_DURATION,
                "default": one_time_codes.INVITATION_DURATION,
            }
        },
        is_closed=True,
        refusals=(errors.UnacceptableRoles, errors.UnacceptableInvitation),
    ),
    operator_handlers.revoke_invitation: Operation("Let an invitation register no one", 204),
}
PATH = "/api/openapi.json"  # its handler is in `routes`, which this file must not import
DESCRIPTION = Operation("Get this description", 200, "Description", asks_store=False)


def _closed(**members: Any) -> dict[str, Any]:
    """An object with exactly these members."""
    return {
        "type": "object",
        "properties": members,
        "required": sorted(members),
        "additionalProperties": False,
    }


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_SECONDS = {"type": "integer", "minimum": 1, "description": "seconds"}
_TIME = {"type": "string", "format": "date-time"}
_TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}
_KEY = {
    "created_at": _TIME,
    "expires_at": {**_TIME_OR_NULL, "description": "null: never"},
    "id": _TEXT,
    "name": _TEXT,
    "prefix": {**_TEXT, "description": "what may be shown of the key"},
    "roles": {"type": ["array", "null"], "items": _TEXT, "description": "null: all"},
}
_ID = {"type": "integer", "minimum": 1}
_COUNT = {"type": "integer", "minimum": 0}
_USER = {
    "created_at": _TIME,
    "id": _ID,
    "locked_at": {**_TIME_OR_NULL, "description": "null: not locked"},
    "roles": _TEXTS,
    "username": _TEXT,
}
_MEMBERS: dict[str, dict[str, Any]] = {
    "username": {**_TEXT, "minLength": 1, "maxLength": username_policy.MAX_LENGTH},
    "password": {
        **_TEXT,
        "minLength": 1,
        "maxLength": passwords.MAX_LENGTH,
        "pattern": "^[^\\u0000-\\u001f\\u007f\\ufeff]*$",
    },
    "name": {
        **_TEXT,
        "minLength": 1,
        "maxLength": MAX_NAME_LENGTH,
        "pattern": "[^ ]",
        "description": "printable characters, not only blanks",
    },
    "expires_in": {"type": "integer", "description": "seconds"},
    "roles": {
        "type": "array",
        "items": {**_TEXT, "pattern": f"^{ROLE_PATTERN}$"},
        "maxItems": roles.MAX_ROLES,
    },
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "after": {
        "description": "the id that precedes the page: `next` of the page before",
        "schema": {**_COUNT, "maximum": MAX_ID},
    },
    "limit": {
        "description": "the length of the page",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": operator_handlers.MAX_PAGE,
            "default": operator_handlers.MAX_PAGE,
        },
    },
    "locked": {
        "description": "only users that are locked, or only others",
        "schema": {"type": "boolean"},
    },
    "prefix": {
        "description": "only users whose name begins so, in any spelling",
        "schema": {**_TEXT, "maxLength": operator_handlers.MAX_PREFIX_LENGTH},
    },
    "role": {"description": "the user must have them all", "schema": _TEXTS},
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "Profile": _closed(username=_TEXT),
    "Account": _closed(created_at=_TIME, id=_ID, roles=_TEXTS, username=_TEXT),
    "Token": _closed(duration=_SECONDS, token=_TEXT),
    "TokenPair": _closed(
        duration=_SECONDS, refresh_duration=_SECONDS, refresh_token=_TEXT, token=_TEXT
    ),
    "Session": _closed(
        id=_TEXT,
        created_at=_TIME,
        last_used_at=_TIME,
        expires_at=_TIME,
        peer=_TEXT,
        user_agent=_TEXT,
        current={"type": "boolean"},
    ),
    "SessionList": _closed(sessions={"type": "array", "items": _ref("schemas", "Session")}),
    "NewKey": _closed(**_KEY, key={**_TEXT, "description": "the key: it is shown this once"}),
    "Key": _closed(**_KEY, last_used_at={**_TIME_OR_NULL, "description": "to the hour"}),
    "KeyList": _closed(keys={"type": "array", "items": _ref("schemas", "Key")}),
    "Greeting": _closed(data=_TEXT),
    "Health": _closed(status={"const": "ok"}),
    "KeySet": _closed(keys={"type": "array", "items": _ref("schemas", "PublicKey")}),
    "PublicKey": {
        "type": "object",
        "properties": dict.fromkeys(("alg", "crv", "kid", "kty", "use", "x", "y"), _TEXT),
        "required": ["alg", "crv", "kid", "kty", "use", "x"],
        "additionalProperties": False,
    },
    "Description": {"type": "object"},
    "Problem": _closed(
        type={"enum": [f"urn:restauth:problem:{code}" for code in CODES]},
        title=_TEXT,
        status={"type": "integer"},
        detail=_TEXT,
    ),
}
OPERATOR_SCHEMAS: dict[str, dict[str, Any]] = {
    "User": _closed(**_USER),
    "UserPage": _closed(
        next={
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "`after` of the next page; null: there is none",
        },
        users={"type": "array", "items": _ref("schemas", "User")},
    ),
    "UserOverview": _closed(
        **_USER,
        failures={**_COUNT, "description": "failed logins in a row"},
        last_login_at={**_TIME_OR_NULL, "description": "when a session last began"},
        password_blocked_at={**_TIME_OR_NULL, "description": "null: not blocked by failures"},
        keys={**_COUNT, "description": "live API keys"},
        sessions={**_COUNT, "description": "live ones"},
    ),
    "Code": _closed(code=_TEXT, expires_at=_TIME),
    "Invitation": _closed(
        created_at=_TIME,
        expires_at=_TIME,
        id={**_TEXT, "description": "what precedes the dot of the code"},
        roles=_TEXTS,
    ),
    "InvitationList": _closed(
        invitations={"type": "array", "items": _ref("schemas", "Invitation")}
    ),
}
# Each is there whenever it is listed, but for an optional one.
HEADERS: dict[str, dict[str, Any]] = {
    "Accept": {"required": False, "description": "the media type that a body must have"},
    "Accept-Encoding": {
        "required": False,
        "description": "the content coding that a body must have",
    },
    "Live-API-Keys": {
        "description": "how many API keys of the user live on",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Location": {"description": "where the new resource is"},
    "Remote-Groups": {"description": "the user's roles, comma-separated"},
    "Remote-User": {"description": "the username, percent-encoded where it is not visible ASCII"},
    "Retry-After": {
        "required": False,
        "description": "the wait before the next attempt; none if no wait helps",
        "schema": _SECONDS,
    },
    "WWW-Authenticate": {"description": "the challenges, each in a line of its own"},
    "Insufficient-Scope": {
        "description": 'the Bearer challenge with error="insufficient_scope", to a Bearer token',
        "required": False,
    },
    **{name: {"schema": {"const": value}} for name, value in ALWAYS},
}
_HEADERS_OF_STATUS = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: ("Accept", "Accept-Encoding"),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After",),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}
# The problems of a credential that is valid and not enough.
_NOT_ENOUGH: dict[Access, type[Refusal]] = {
    Access.PASSWORD: errors.PasswordRequired,
    Access.ADMIN: errors.RoleRequired,
    Access.LOGIN: errors.LoginRequired,
}
_ABOUT_THE_TOKEN = {refusal.code for refusal in _NOT_ENOUGH.values()}
_SCOPE = {"WWW-Authenticate": {"$ref": "#/components/headers/Insufficient-Scope"}}

_PARTS: dict[str, dict[str, Any]] = {
    "id": {"type": "integer", "minimum": 0},
    "sid": {"type": "string", "pattern": f"^{session_ids.PATTERN}$"},
    "key": {"type": "string", "pattern": f"^{api_keys.ID_PATTERN}$"},
    "invitation": {"type": "string", "pattern": f"^{one_time_codes.SELECTOR_PATTERN}$"},
}


def build(routes: Iterable[Route], settings: Settings, server: str) -> dict[str, Any]:
    """The document; `server` is the address, or the path, below which the routes are."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in METHODS if route.method == ANY_METHOD else (route.method,):
            item = paths.setdefault(route.path, _path_item(route.path))
            item[method.lower()] = _operation(route, method, settings)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "restauth",
            "version": CONTRACT_VERSION,
            "summary": "A small auth service for REST APIs",
            "description": "HEAD exists where GET does, and OPTIONS on every path, with Allow. "
            "Any other path is 404, any other method 405, with Allow. "
            "A token or an API key is presented as Bearer, or as the Basic username with any "
            "password; an API key also as the Basic password of its user. An API key is not "
            "enough where 403 says login_required or password_required. "
            "A server may refuse any request before it has a route: 400, 413, 431 or 501.",
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, **(OPERATOR_SCHEMAS if settings.admin_role else {})},
            "headers": {
                name: {"required": True, "schema": _TEXT, **header}
                for name, header in HEADERS.items()
            },
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _path_item(path: str) -> dict[str, Any]:
    parts = re.findall(r"{([a-z]+)}", path)
    if not parts:
        return {}
    return {
        "parameters": [
            {"name": part, "in": "path", "required": True, "schema": _PARTS[part]} for part in parts
        ]
    }


def _operation(route: Route, method: str, settings: Settings) -> dict[str, Any]:
    operation = _find_operation(route)
    name = route.handler.__name__
    described: dict[str, Any] = {
        "operationId": f"{name}_{method.lower()}" if route.method == ANY_METHOD else name,
        "summary": operation.summary,
        "security": _security(route.access),
        "responses": {str(operation.status): _success(operation), **_failures(route, settings)},
    }
    if operation.members or operation.optional:
        members = (*operation.members, *(("invitation",) if _is_invited(route, settings) else ()))
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _body(members, operation, settings)}},
        }
    if operation.parameters:
        described["parameters"] = [
            {"name": name, "in": "query", **PARAMETERS[name]} for name in operation.parameters
        ]
    return described


def _find_operation(route: Route) -> Operation:
    return DESCRIPTION if route.path == PATH else OPERATIONS[route.handler]


def _is_invited(route: Route, settings: Settings) -> bool:
    """Whether the route registers users who have an invitation."""
    return route.handler is handlers.register and settings.registration == "invited"


def _security(access: Access) -> list[dict[str, list[str]]]:
    schemes = {Access.ANYONE: (), Access.PASSWORD: ("basic",)}
    return [{scheme: []} for scheme in schemes.get(access, ("basic", "bearer"))]


def _body(members: Sequence[str], operation: Operation, settings: Settings) -> dict[str, Any]:
    """An object. Where it is not closed it may have more members, which are ignored."""
    properties = {
        name: {**_MEMBERS.get(name, _TEXT), **operation.bounds.get(name, {})}
        for name in (*members, *operation.optional)
    }
    # OpenAPI asks for a pattern of ECMA-262. The operator's own may be valid only in Python.
    if "username" in properties and settings.username_pattern.pattern == USERNAME_PATTERN:
        properties["username"] = {**properties["username"], "pattern": f"^{USERNAME_PATTERN}$"}
    body = {"type": "object", "properties": properties, "required": list(members)}
    return {**body, "additionalProperties": False} if operation.is_closed else body


def _success(operation: Operation) -> dict[str, Any]:
    phrase = HTTPStatus(operation.status).phrase
    answer = {"description": phrase, "headers": _headers(operation.headers)}
    if operation.schema:
        schema = _ref("schemas", operation.schema)
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _failures(route: Route, settings: Settings) -> dict[str, dict[str, Any]]:
    """The refusals of the route, by their status."""
    codes: dict[int, list[str]] = {500: [INTERNAL_ERROR]}
    found = {(refusal.code, STATUSES[refusal][0]) for refusal in _refusals(route, settings)}
    if route.is_for_proxies:
        status, _, code = THROTTLED_FOR_PROXIES
        found = found - {(errors.Throttled.code, STATUSES[errors.Throttled][0])} | {(code, status)}
    for code, status in sorted(found):
        codes.setdefault(status, []).append(code)
    return {
        str(status): {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(codes[status])}",
            "headers": {
                **_headers(_HEADERS_OF_STATUS.get(HTTPStatus(status), ())),
                **(_SCOPE if set(codes[status]) & _ABOUT_THE_TOKEN else {}),
            },
            "content": {"application/problem+json": {"schema": _ref("schemas", "Problem")}},
        }
        for status in sorted(codes)
    }


def _refusals(route: Route, settings: Settings) -> Iterable[type[Refusal]]:
    operation = _find_operation(route)
    yield errors.MalformedRequest  # the Host of any request
    yield from operation.refusals
    if _is_invited(route, settings):
        yield errors.UnusableCode
    if operation.asks_store:
        yield errors.StoreUnavailable
    if "{" in route.path:
        yield errors.NotFound
    if route.access is not Access.ANYONE:
        yield from (errors.BadCredentials, errors.Busy, errors.Throttled)
        if route.method not in ("GET", ANY_METHOD):
            yield errors.CrossOrigin
    if route.access in _NOT_ENOUGH:
        yield _NOT_ENOUGH[route.access]
    if operation.members or operation.optional:
        yield from (errors.LengthRequired, errors.BodyTooLarge, errors.UnsupportedMediaType)
    if settings.require_https and not route.is_open:
        yield errors.HttpsRequired


def _headers(names: Iterable[str]) -> dict[str, dict[str, str]]:
    return {name: _ref("headers", name) for name in (*(name for name, _ in ALWAYS), *names)}
