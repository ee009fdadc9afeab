"""The description: the whole table and nothing more, and every answer is as it is described."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import webtest

import restauth
from restauth import settings
from restauth.errors import (
    BadCredentials,
    HeaderTooLarge,
    HttpsRequired,
    KeysUnavailable,
    MethodNotAllowed,
    UnsupportedTransferCoding,
)
from restauth.services import Services
from restauth.web import openapi
from restauth.web import routes as routes_module
from restauth.web.access import Access
from restauth.web.http import ALWAYS
from restauth.web.openapi import DESCRIPTION, OPERATIONS
from restauth.web.problems import INTERNAL_ERROR, STATUSES, THROTTLED_FOR_PROXIES
from restauth.web.router import ANY_METHOD, METHODS, Route
from restauth.web.routes import routes, show_description
from tests.conftest import CLIENT, ServicesFactory, basic, bearer, client_of, slot_taken
from tests.databases import break_the_store, take_the_store_away
from tests.web.conftest import ANONYMOUS, PASSWORD, code_of

Document = dict[str, Any]

WHERE = "/api/openapi.json"
CALLERS = {
    Access.ANYONE: "anonymous",
    Access.USER: "key",
    Access.LOGIN: "token",
    Access.PASSWORD: "password",
    Access.ADMIN: "admin",
}
SCHEMES: dict[Access, list[Document]] = {
    Access.ANYONE: [],
    Access.USER: [{"basic": []}, {"bearer": []}],
    Access.LOGIN: [{"basic": []}, {"bearer": []}],
    Access.PASSWORD: [{"basic": []}],
    Access.ADMIN: [{"basic": []}, {"bearer": []}],
}
HEADERS_OF_STATUS = {
    201: {"Location"},
    401: {"WWW-Authenticate"},
    415: {"Accept", "Accept-Encoding"},
    429: {"Retry-After"},
    503: {"Retry-After"},
}


def expanded(table: tuple[Route, ...]) -> dict[str, Route]:
    """By operation: a route that takes any method is one for each."""
    return {
        f"{method} {route.path}": route
        for route in table
        for method in (METHODS if route.method == ANY_METHOD else (route.method,))
    }


WITH_OPERATORS = {"admin_role": "admin"}
DEFAULTS = settings.load({}, WITH_OPERATORS)
TABLE = expanded(routes(DEFAULTS))
DOCUMENT = openapi.build(routes(DEFAULTS), DEFAULTS, "/")
MEMBERS = [
    (name, member)
    for name, route in TABLE.items()
    for member in OPERATIONS.get(route.handler, DESCRIPTION).members
]


@pytest.fixture
def services(make_services: ServicesFactory) -> Services:
    """With all routes."""
    return make_services(**WITH_OPERATORS)


def describe(services: Services) -> Document:
    document: Document = client_of(services).get(WHERE, status=200).json
    return document


def operations(document: Document) -> dict[str, Document]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def answers(document: Document) -> Iterator[tuple[str, int, Document]]:
    """Each operation with each of its statuses and the answer that has it."""
    for name, operation in operations(document).items():
        for status, answer in operation["responses"].items():
            yield name, int(status), answer


def codes(answer: Document) -> set[str]:
    """The codes of the problems that an answer may have."""
    return set(answer["description"].partition(": ")[2].split(", ")) - {""}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from [inner] if name == "$ref" else references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def follow(document: Document, value: Document) -> Document:
    while "$ref" in value:
        start, *names = value["$ref"].split("/")
        assert start == "#"
        value = document
        for name in names:
            value = value[name]
    return value


# The document


def test_the_description_is_openapi_3_1_in_sorted_json_without_our_version(
    client: webtest.TestApp,
) -> None:
    answer = client.get(WHERE, status=200)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == json.dumps(answer.json, sort_keys=True).encode() + b"\n"
    assert answer.json["openapi"].startswith("3.1.")
    assert restauth.__version__ not in answer.text


@pytest.mark.parametrize(
    "keywords",
    [{}, {"public_profiles": False}, {"require_https": True}, {"registration": "invited"}],
    ids=str,
)
def test_the_table_of_routes_is_described_under_the_settings_that_change_it(
    make_services: ServicesFactory, keywords: dict[str, object]
) -> None:
    services = make_services(**WITH_OPERATORS, **keywords)
    document = describe(services)
    found = {name: operation["security"] for name, operation in operations(document).items()}
    table = expanded(routes(services.settings))
    assert found == {name: SCHEMES[route.access] for name, route in table.items()}
    # Every refusal stands beside its status, but for that of a method that is not described, and
    # for those of the server and of a guard on another machine.
    statuses = {refusal.code: status for refusal, (status, _) in STATUSES.items()}
    statuses |= {INTERNAL_ERROR: 500, THROTTLED_FOR_PROXIES[2]: THROTTLED_FOR_PROXIES[0]}
    others = (MethodNotAllowed, HeaderTooLarge, UnsupportedTransferCoding, KeysUnavailable)
    for kind in others:
        del statuses[kind.code]
    if "require_https" not in keywords:
        del statuses[HttpsRequired.code]
    named = {(code, status) for _, status, answer in answers(document) for code in codes(answer)}
    assert named == set(statuses.items())


def test_an_operation_has_no_problem_that_it_cannot_have() -> None:
    https = settings.load({}, {"require_https": True, **WITH_OPERATORS})
    found: dict[str, set[str]] = {}
    for name, _, answer in answers(openapi.build(routes(https), https, "/")):
        found.setdefault(name, set()).update(codes(answer))
    always = {"internal_error", "malformed_request"}
    assert found["GET /api/openapi.json"] == always
    assert found["GET /api/health"] == always | {"not_ready", "store_unavailable"}
    login = always | {"bad_credentials", "busy", "https_required", "store_unavailable"}
    assert found["GET /api/resource"] == login | {"throttled"}
    assert found["GET /api/verify"] == login | {"barred", "role_required"}
    operator = login | {"throttled", "role_required"}
    assert found["GET /api/admin/users"] == operator
    about_users = {"cross_origin", "not_found", "own_account"}
    assert found["PUT /api/admin/users/{id}/lock"] == operator | about_users
    body = {"body_too_large", "length_required", "unsupported_media_type"}
    assert found["POST /api/token"] == (login | body) - {"busy"}  # no password is read


def test_where_users_are_invited_a_registration_needs_a_code(
    make_services: ServicesFactory,
) -> None:
    services = make_services(registration="invited")
    for code, status in ((services.invitations.make()[0], 201), ("wrong", 400), (None, 400)):
        members = {"invitation": code}
        answer = ask(services, "POST /api/users", members=members)
        assert answer.status_int == status
        for name in ("miguel", "root"):
            services.accounts.delete(services.accounts.find_by_name(name))
    assert "invitation" not in members_of_registration(make_services())


def test_every_handler_is_described_once() -> None:
    assert set(OPERATIONS) | {show_description} == {route.handler for route in TABLE.values()}
    names = [operation["operationId"] for operation in operations(DOCUMENT).values()]
    assert len(set(names)) == len(names) == len(TABLE)
    takes_secret = {name for name, route in TABLE.items() if route.takes_secret}
    of_others = {f"PUT /api/admin/users/{{id}}/{member}" for member in ("username", "roles")}
    assert {name for name, _ in MEMBERS} == takes_secret | of_others | {"POST /api/keys"}


def test_without_operators_nothing_of_them_is_described(make_services: ServicesFactory) -> None:
    document = describe(make_services())
    assert not [path for path in document["paths"] if "admin" in path]
    assert set(references(document)) == {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers")
        for name in document["components"][kind]
    }


def test_every_reference_leads_to_a_component_and_every_component_is_used() -> None:
    components = DOCUMENT["components"]
    assert components["securitySchemes"].keys() == {"basic", "bearer"}
    assert set(references(DOCUMENT)) == {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers")
        for name in components[kind]
    }


def test_every_answer_lists_its_headers_and_any_operation_may_have_a_bug() -> None:
    for name, status, answer in answers(DOCUMENT):
        wanted = {header for header, _ in ALWAYS} | HEADERS_OF_STATUS.get(status, set())
        if name.endswith("/api/verify") and status == 204:
            wanted |= {"Remote-Groups", "Remote-User"}
        if name in ("PUT /api/users/me/password", "POST /api/password-resets") and status == 204:
            wanted |= {"Live-API-Keys"}
        if name.endswith(("/reset-code", "/invitations")):
            wanted -= {"Location"}  # the code has no address
        if {"login_required", "password_required", "role_required"} & set(codes(answer)):
            wanted |= {"WWW-Authenticate"}  # to a Bearer token
        assert set(answer["headers"]) == wanted, (name, status)
    components = DOCUMENT["components"]["headers"]
    optional = {name for name, header in components.items() if not header["required"]}
    # Of 415: one of the two. And no wait is told where none helps.
    assert optional == {*HEADERS_OF_STATUS[415], "Insufficient-Scope", "Retry-After"}
    bugs = {name for name, status, answer in answers(DOCUMENT) if status == 500}
    assert bugs == set(operations(DOCUMENT))


@pytest.mark.parametrize(
    ("base_url", "script_name", "server"),
    [
        ("", "", "/"),
        ("", "/auth", "/auth"),
        ("https://auth.example.org/v1/", "/auth", "https://auth.example.org/v1"),
    ],
)
def test_the_server_is_the_configured_address_or_the_mount_point(
    make_services: ServicesFactory, base_url: str, script_name: str, server: str
) -> None:
    client = client_of(make_services(base_url=base_url), SCRIPT_NAME=script_name)
    assert client.get(WHERE).json["servers"] == [{"url": server}]


def test_many_mount_points_do_not_fill_the_memory(services: Services) -> None:
    for number in range(20):
        document = client_of(services, SCRIPT_NAME=f"/{number}").get(WHERE).json
        assert document["servers"] == [{"url": f"/{number}"}]
    assert routes_module._description.cache_info().currsize <= 16


# The answers


def ask(
    services: Services,
    operation: str,
    caller: str = "anonymous",
    *,
    path: str = "",
    headers: dict[str, str] | None = None,
    members: dict[str, Any] | None = None,
    body: bytes | None = None,
    spoil: Any = None,
) -> webtest.TestResponse:
    """What the operation answers to a request that is as described, but for what is said here.

    A member that is None is left out; `spoil` is called with the services at the last moment.
    """
    client, document = client_of(services), describe(services)
    miguel = services.accounts.register("miguel", "python")
    issued = services.sessions.start(miguel, CLIENT)
    invitation = services.invitations.make()[1].id
    key = services.api_keys.make(miguel, "ci")
    root = services.accounts.register("root", "python", roles=["admin"])
    callers = {
        "anonymous": ANONYMOUS,
        "key": bearer(key.text),
        "token": bearer(issued.token),
        "password": PASSWORD,
        "admin": bearer(services.sessions.issue(root, CLIENT).token),
    }
    values: dict[str, Any] = {
        "name": "deploy",
        "roles": ["editor"],
        "username": "ann",
        "password": "ruby",
        "refresh_token": issued.refresh_token,
        "code": services.accounts.make_reset_code(miguel).code,
        **(members or {}),
    }
    method, template = operation.split()
    described = operations(document)[operation]
    keywords: dict[str, Any] = {}
    if "requestBody" in described:
        ((media_type, content),) = described["requestBody"]["content"].items()
        wanted = {name: values[name] for name in (*content["schema"]["required"], *(members or ()))}
        given = {name: value for name, value in wanted.items() if value is not None}
        raw = json.dumps(given).encode() if body is None else body
        # No body at all has no length either.
        keywords = {"content_type": media_type} | ({"body": raw} if raw else {})
    if spoil:
        spoil(services)
    template = template.format(
        id=miguel.id, sid=issued.session_id, key=key.key.id, invitation=invitation
    )
    answer = client.request(
        path or template,
        method=method,
        headers={**callers[caller], **(headers or {})},
        status="*",
        **keywords,
    )
    assert_described(document, operation, answer)
    return answer


def assert_described(document: Document, operation: str, answer: webtest.TestResponse) -> None:
    described = operations(document)[operation]["responses"][str(answer.status_int)]
    headers = {name: follow(document, header) for name, header in described["headers"].items()}
    given = set(answer.headers) - {"Content-Type", "Content-Length"}
    assert {name for name, header in headers.items() if header["required"]} <= given <= set(headers)
    for name in given:
        header = headers[name]
        is_number = header["schema"].get("type") == "integer"
        text = answer.headers[name]
        assert_fits(document, header["schema"], int(text) if is_number else text)
    if "content" not in described:
        assert answer.body == b""
        assert "Content-Type" not in answer.headers
        return
    ((media_type, content),) = described["content"].items()
    assert answer.headers["Content-Type"] == media_type
    assert_fits(document, content["schema"], answer.json)
    assert not codes(described) or code_of(answer) in codes(described)


TYPES = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def assert_fits(document: Document, schema: Document, value: Any) -> None:
    """As far as JSON Schema is used for answers."""
    schema = follow(document, schema)
    kinds = schema.get("type", list(TYPES))
    assert type(value) in [TYPES[kind] for kind in ([kinds] if type(kinds) is str else kinds)]
    if value is None:
        return
    assert value == schema.get("const", value)
    assert value in schema.get("enum", [value])
    if schema.get("format") == "date-time":
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)
    if "minimum" in schema:
        assert value >= schema["minimum"]
    if "properties" in schema:
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= value.keys() <= schema["properties"].keys()
        for name, inner in value.items():
            assert_fits(document, schema["properties"][name], inner)
    for inner in value if "items" in schema else ():
        assert_fits(document, schema["items"], inner)


DESCRIBED = operations(DOCUMENT)


@pytest.mark.parametrize("operation", TABLE)
def test_a_request_as_it_is_described_succeeds_as_it_is_described(
    services: Services, operation: str
) -> None:
    answer = ask(services, operation, CALLERS[TABLE[operation].access])
    statuses = [status for name, status, _ in answers(DOCUMENT) if name == operation]
    assert [answer.status_int] == [status for status in statuses if status < 300]


@pytest.mark.parametrize(("operation", "member"), MEMBERS)
def test_a_member_that_is_required_is_needed(
    services: Services, operation: str, member: str
) -> None:
    caller = CALLERS[TABLE[operation].access]
    assert ask(services, operation, caller, members={member: None}).status_int == 400


@pytest.mark.parametrize("operation", [name for name in TABLE if "requestBody" in DESCRIBED[name]])
def test_a_member_that_is_not_described_is_refused_or_ignored_as_the_description_says(
    services: Services, operation: str
) -> None:
    route = TABLE[operation]
    schema = DESCRIBED[operation]["requestBody"]["content"]["application/json"]["schema"]
    is_closed = not schema.get("additionalProperties", True)
    # Ignored where REST-auth's clients may send them.
    assert is_closed == (route.access is Access.ADMIN or operation == "POST /api/keys")
    answer = ask(services, operation, CALLERS[route.access], members={"role": ["viewer"]})
    if is_closed:
        assert code_of(answer) == "malformed_request"
        assert '"role"' in answer.json["detail"]
    else:
        assert answer.status_int < 300


def lose_the_audit_log(services: Services) -> None:
    log = Path(services.settings.audit_log)
    log.unlink()
    log.symlink_to("/dev/full")
    services.accounts.register("susan", "python")


def fail_twice(services: Services) -> None:
    for _ in range(2):  # from one peer
        client_of(services).get("/api/token", headers=basic("miguel", "wrong"), status=401)


def lock(services: Services) -> None:
    services.accounts.lock(services.accounts.find(1))


def fail(services: Services) -> None:
    with suppress(BadCredentials):
        services.authentication.authenticate("miguel", "wrong", CLIENT)


def make_keys(services: Services) -> None:
    for number in range(99):  # and one was there
        services.api_keys.make(services.accounts.find(1), str(number))


CHUNKED, GZIP = {"Transfer-Encoding": "chunked"}, {"Content-Encoding": "gzip"}
PROBLEMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "malformed_request": ("GET /api/health", "anonymous", {"headers": {"Host": "a/b"}}),
    "unacceptable_username": ("POST /api/users", "anonymous", {"members": {"username": ":"}}),
    "unacceptable_password": (
        "PUT /api/users/me/password", "password", {"members": {"password": ""}}
    ),
    "unacceptable_roles": (
        "PUT /api/admin/users/{id}/roles", "admin", {"members": {"roles": ["Editor"]}}
    ),
    "username_taken": ("POST /api/users", "anonymous", {"members": {"username": "miguel"}}),
    "unknown_user": ("GET /api/users/{id}", "anonymous", {"path": "/api/users/0"}),
    "unusable_code": ("POST /api/password-resets", "anonymous", {"members": {"code": "?"}}),
    "unacceptable_key": ("POST /api/keys", "password", {"members": {"name": ""}}),
    "unacceptable_invitation": (
        "POST /api/admin/invitations", "admin", {"members": {"expires_in": 1}}
    ),
    "too_many_keys": ("POST /api/keys", "password", {"spoil": make_keys}),
    "login_required": ("GET /api/keys", "key", {}),
    "no_session": ("DELETE /api/token", "password", {}),
    "bad_credentials": ("GET /api/resource", "anonymous", {}),
    "password_required": ("POST /api/sessions", "token", {}),
    "role_required": ("GET /api/verify", "token", {"path": "/api/verify?role=admin"}),
    "own_account": (
        "PUT /api/admin/users/{id}/lock", "admin", {"path": "/api/admin/users/2/lock"}
    ),
    "account_locked": ("POST /api/admin/users/{id}/reset-code", "admin", {"spoil": lock}),
    "barred": ("GET /api/verify", "password", {"spoil": fail}),
    "registration_closed": ("POST /api/users", "anonymous", {}),
    "cross_origin": (
        "POST /api/sessions", "password", {"headers": {"Sec-Fetch-Site": "cross-site"}}
    ),
    "https_required": ("GET /api/token", "anonymous", {}),
    "not_found": (
        "DELETE /api/sessions/{sid}", "token", {"path": f"/api/sessions/{'A' * 22}"}
    ),
    "length_required": ("POST /api/token", "anonymous", {"headers": CHUNKED, "body": b""}),
    "body_too_large": ("POST /api/token", "anonymous", {"body": b" " * 65_537}),
    "unsupported_media_type": ("POST /api/token", "anonymous", {"headers": GZIP}),
    "throttled": ("GET /api/token", "password", {"spoil": fail_twice}),
    "not_ready": ("GET /api/health", "anonymous", {"spoil": lose_the_audit_log}),
    "store_unavailable": ("GET /api/health", "anonymous", {"spoil": take_the_store_away}),
    "internal_error": ("GET /api/token", "password", {"spoil": break_the_store}),
}  # fmt: skip
SETTINGS_FOR: dict[str, dict[str, object]] = {
    "registration_closed": {"registration": "closed"},
    "https_required": {"require_https": True},
    "barred": {"max_failures": 1},
    "throttled": {"free_failures": 1},
}


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_problem_is_as_it_is_described(
    make_services: ServicesFactory, tmp_path: Path, code: str
) -> None:
    operation, caller, changes = PROBLEMS[code]
    own = {"audit_log": tmp_path / "audit.log"} if code == "not_ready" else {}
    services = make_services(**SETTINGS_FOR.get(code, {}), **own, **WITH_OPERATORS)
    assert code_of(ask(services, operation, caller, **changes)) == code


def test_every_problem_of_an_operation_is_met_and_busy_too(
    services: Services, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs a second caller at the same time."""
    met = {code for _, _, answer in answers(DOCUMENT) for code in codes(answer)}
    assert PROBLEMS.keys() | {"busy"} == met | {"https_required"}
    services.accounts.register("miguel", "python")
    with slot_taken(one_slot, monkeypatch, "miguel", "python"):
        answer = client_of(one_slot).get("/api/token", headers=PASSWORD, status=503)
    assert code_of(answer) == "busy"
    assert_described(describe(services), "GET /api/token", answer)


# The members


def members_of_registration(services: Services) -> Document:
    operation = operations(describe(services))["POST /api/users"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    properties: Document = schema["properties"]
    return properties


@pytest.mark.parametrize("member", ["username", "password"])
def test_the_bounds_of_a_member_are_described(services: Services, member: str) -> None:
    described = members_of_registration(services)[member]
    least, most = described["minLength"], described["maxLength"]
    for length, status in ((least - 1, 400), (least, 201), (most, 201), (most + 1, 400)):
        body = {"username": f"ann{length}", "password": "python", member: "a" * length}
        client_of(services).post_json("/api/users", body, status=status)


def test_the_pattern_of_passwords_is_described(services: Services) -> None:
    pattern = re.compile(members_of_registration(services)["password"]["pattern"])
    for number, char in enumerate("\x00\t\n\x1f \x7f\x80\x9fé\ufeff\U0001f511"):
        body = {"username": f"ann{number}", "password": f"pyth{char}on"}
        answer = client_of(services).post_json("/api/users", body, status="*")
        assert answer.status_int == (201 if pattern.search(body["password"]) else 400)


def test_the_pattern_of_names_is_described_unless_the_operator_has_another(
    make_services: ServicesFactory,
) -> None:
    described = members_of_registration(make_services())["username"]
    assert described["pattern"] == f"^{settings.USERNAME_PATTERN}$"
    own = make_services(username_pattern="(?P<only>[a-z]+)")
    assert "pattern" not in members_of_registration(own)["username"]


def test_the_members_of_an_api_key_are_described(services: Services) -> None:
    miguel = services.accounts.register("miguel", "python", roles=["admin"])
    body = operations(DOCUMENT)["POST /api/keys"]["requestBody"]["content"]["application/json"]
    described = body["schema"]["properties"]
    assert body["schema"]["required"] == ["name"]
    most, longest = described["expires_in"]["maximum"], described["name"]["maxLength"]
    for members, status in (
        ({"expires_in": 0}, 400), ({"expires_in": 1}, 201), ({"expires_in": most}, 201),
        ({"expires_in": most + 1}, 400), ({"expires_in": None}, 400), ({"roles": None}, 400),
        ({"roles": []}, 201), ({"roles": list(miguel.roles)}, 201), ({"roles": ["other"]}, 400),
        ({"name": "n" * longest}, 201), ({"name": "n" * (longest + 1)}, 400),
        ({"name": " x "}, 201), ({"name": "  "}, 400),
    ):  # fmt: skip
        body = {"name": "ci", **members}
        answer = client_of(services).post_json("/api/keys", body, headers=PASSWORD, status=status)
        assert_described(DOCUMENT, "POST /api/keys", answer)


def test_the_duration_of_an_invitation_is_described(services: Services) -> None:
    name = "POST /api/admin/invitations"
    schema = DESCRIBED[name]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == []
    bounds = schema["properties"]["expires_in"]
    services.accounts.register("root", "python", roles=["admin"])
    for seconds, status in (
        *((bounds["minimum"] - 1, 400), (bounds["minimum"], 201)),
        *((bounds["maximum"], 201), (bounds["maximum"] + 1, 400)),
        *((None, 400), ("60", 400), (True, 400), (60.0, 400)),
    ):
        answer = client_of(services).post_json(
            "/api/admin/invitations",
            {"expires_in": seconds},
            headers=basic("root", "python"),
            status=status,
        )
        assert_described(DOCUMENT, name, answer)
    services.invitations.make()
    lengths = [each.expires_at - each.created_at for each in services.invitations.list()]
    assert lengths == [bounds["minimum"], bounds["default"], bounds["maximum"]]


def test_a_proxy_may_ask_for_several_roles() -> None:
    (role,) = operations(DOCUMENT)["GET /api/verify"]["parameters"]
    assert (role["in"], role["name"], role["schema"]["type"]) == ("query", "role", "array")
    has_parameters = {
        n for n, operation in operations(DOCUMENT).items() if "parameters" in operation
    }
    of_operators = {"GET /api/admin/users"}
    assert has_parameters == {f"{method} /api/verify" for method in METHODS} | of_operators


def test_the_bounds_of_the_parameters_of_a_page_are_described(services: Services) -> None:
    services.accounts.register("root", "python", roles=["admin"])
    described = operations(DOCUMENT)["GET /api/admin/users"]["parameters"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in described}
    limit, after, prefix = schemas["limit"], schemas["after"], schemas["prefix"]
    for name, value, status in (
        ("limit", limit["minimum"] - 1, 400), ("limit", limit["minimum"], 200),
        ("limit", limit["maximum"], 200), ("limit", limit["maximum"] + 1, 400),
        ("after", -1, 400), ("after", after["minimum"], 200),
        ("after", after["maximum"], 200), ("after", after["maximum"] + 1, 400),
        ("prefix", "a" * prefix["maxLength"], 200), ("prefix", "a" * 65, 400),
        ("locked", "true", 200), ("locked", "1", 400),
    ):  # fmt: skip
        answer = client_of(services).get(
            "/api/admin/users", {name: value}, headers=basic("root", "python"), status=status
        )
        assert_described(DOCUMENT, "GET /api/admin/users", answer)
