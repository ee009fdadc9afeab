"""The description: the whole table and nothing more, and every answer as it is described."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import webtest

import restauth
from restauth import settings
from restauth.errors import BadCredentials, HttpsRequired, MethodNotAllowed
from restauth.services import Services
from restauth.web import openapi
from restauth.web import routes as routes_module
from restauth.web.http import ALWAYS
from restauth.web.openapi import DESCRIPTION, METHODS, OPERATIONS
from restauth.web.problems import INTERNAL_ERROR, STATUSES
from restauth.web.router import ANY_METHOD, Access, Route
from restauth.web.routes import routes, show_description
from tests.conftest import CLIENT, ServicesFactory, basic, bearer, client_of, slot_taken
from tests.web.test_app import break_the_store, take_the_store_away

Document = dict[str, Any]

WHERE = "/api/openapi.json"
PASSWORD = basic("miguel", "python")
CALLERS = {Access.ANYONE: "nobody", Access.USER: "token", Access.PASSWORD: "password"}
# The settings that change the table or what may be refused.
under = pytest.mark.parametrize(
    "keywords", [{}, {"public_profiles": False}, {"require_https": True}], ids=str
)


def expanded(table: tuple[Route, ...]) -> dict[str, Route]:
    """By operation: a route that takes any method is one for each."""
    return {
        f"{method} {route.path}": route
        for route in table
        for method in (METHODS if route.method == ANY_METHOD else (route.method,))
    }


DEFAULTS = settings.load({})
TABLE = expanded(routes(DEFAULTS))
DOCUMENT = openapi.build(routes(DEFAULTS), DEFAULTS, "/")
MEMBERS = [
    (name, member)
    for name, route in TABLE.items()
    for member in OPERATIONS.get(route.handler, DESCRIPTION).members
]


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
    """The problems that an answer is said to be."""
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


# The table


def test_the_description_is_openapi_3_1_in_sorted_json(client: webtest.TestApp) -> None:
    answer = client.get(WHERE, status=200)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == json.dumps(answer.json, sort_keys=True).encode() + b"\n"
    assert answer.json["openapi"].startswith("3.1.")


def test_head_is_answered_as_get_without_the_body(client: webtest.TestApp) -> None:
    head = client.head(WHERE, status=200)
    assert head.headers == client.get(WHERE).headers
    assert head.body == b""


@under
def test_every_route_is_described_and_nothing_more(
    make_services: ServicesFactory, keywords: dict[str, object]
) -> None:
    services = make_services(**keywords)
    assert set(operations(describe(services))) == set(expanded(routes(services.settings)))


@under
def test_the_security_of_an_operation_is_the_access_of_its_route(
    make_services: ServicesFactory, keywords: dict[str, object]
) -> None:
    services = make_services(**keywords)
    document = describe(services)
    schemes: dict[Access, list[dict[str, list[str]]]] = {
        Access.ANYONE: [],
        Access.USER: [{"basic": []}, {"bearer": []}],
        Access.PASSWORD: [{"basic": []}],
    }
    assert {name: operation["security"] for name, operation in operations(document).items()} == {
        name: schemes[route.access] for name, route in expanded(routes(services.settings)).items()
    }
    assert document["components"]["securitySchemes"].keys() == {"basic", "bearer"}


def test_every_handler_is_described_once() -> None:
    assert set(OPERATIONS) | {show_description} == {route.handler for route in TABLE.values()}
    names = [operation["operationId"] for operation in operations(DOCUMENT).values()]
    assert len(set(names)) == len(names) == len(TABLE)


def test_who_takes_a_secret_takes_it_in_a_member() -> None:
    with_members = {name for name, _ in MEMBERS}
    assert with_members == {name for name, route in TABLE.items() if route.takes_secret}


@under
def test_every_refusal_is_named_beside_its_status_and_a_bug_everywhere(
    make_services: ServicesFactory, keywords: dict[str, object]
) -> None:
    """But for the one that is for methods which are not described."""
    statuses = {refusal.code: status for refusal, (status, _) in STATUSES.items()}
    statuses[INTERNAL_ERROR] = 500
    document = describe(make_services(**keywords))
    named = {(code, status) for _, status, answer in answers(document) for code in codes(answer)}
    unnamed = {MethodNotAllowed.code}
    if "require_https" not in keywords:
        unnamed.add(HttpsRequired.code)
    assert named == {(code, statuses[code]) for code in statuses.keys() - unnamed}
    bugs = {name for name, status, answer in answers(document) if status == 500 and codes(answer)}
    assert bugs == set(operations(document))


def test_every_reference_leads_somewhere_and_every_component_is_used(
    client: webtest.TestApp,
) -> None:
    document = client.get(WHERE).json
    components = document["components"]
    assert set(references(document)) == {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "headers")
        for name in components[kind]
    }


def test_every_answer_lists_the_headers_of_every_answer_and_those_of_its_status(
    client: webtest.TestApp,
) -> None:
    document = client.get(WHERE).json
    of_status = {
        201: {"Location"},
        401: {"WWW-Authenticate"},
        415: {"Accept"},
        429: {"Retry-After"},
        503: {"Retry-After"},
    }
    for name, status, answer in answers(document):
        wanted = {header for header, _ in ALWAYS} | of_status.get(status, set())
        if name.endswith("/api/verify") and status == 204:
            wanted |= {"Remote-Groups", "Remote-User"}
        assert set(answer["headers"]) == wanted, (name, status)
    assert all(header["required"] for header in document["components"]["headers"].values())


def test_no_version_of_the_package_is_told(client: webtest.TestApp) -> None:
    assert restauth.__version__ not in client.get(WHERE).text


# Where it is


@pytest.mark.parametrize(
    ("base_url", "script_name", "server"),
    [
        ("", "", "/"),
        ("", "/auth", "/auth"),
        ("", "/a b/\xc3\xa9/", "/a%20b/%C3%A9"),
        ("", "//evil.example", "/evil.example"),
        ("https://auth.example.org/v1/", "/auth", "https://auth.example.org/v1"),
    ],
)
def test_the_server_is_the_configured_address_or_the_mount_point(
    make_services: ServicesFactory, base_url: str, script_name: str, server: str
) -> None:
    client = client_of(make_services(base_url=base_url), SCRIPT_NAME=script_name)
    assert client.get(WHERE).json["servers"] == [{"url": server}]


def test_many_mount_points_do_not_fill_the_memory(services: Services) -> None:
    for number in range(100):
        document = client_of(services, SCRIPT_NAME=f"/{number}").get(WHERE).json
        assert document["servers"] == [{"url": f"/{number}"}]
    assert routes_module._description.cache_info().currsize <= 16


# The answers


def ask(
    services: Services,
    operation: str,
    caller: str = "nobody",
    *,
    path: str = "",
    query: str = "",
    headers: dict[str, str] | None = None,
    members: dict[str, str | None] | None = None,
    body: bytes | None = None,
    spoil: Any = None,
) -> webtest.TestResponse:
    """What the operation answers, all being as it is described but for what is said here.

    A member that is None is left out; `spoil` is called with the services at the last moment.
    """
    client, document = client_of(services), describe(services)
    miguel = services.accounts.find(services.accounts.register("miguel", "python"))
    grant = services.sessions.start(miguel, CLIENT)
    callers = {"nobody": {}, "token": bearer(grant.token), "password": PASSWORD}
    values: dict[str, str | None] = {
        "username": "ann",
        "password": "ruby",
        "refresh_token": grant.refresh_token,
        "code": services.accounts.make_reset_code(miguel),
        **(members or {}),
    }
    method, template = operation.split()
    described = operations(document)[operation]
    keywords: dict[str, Any] = {}
    if "requestBody" in described:
        ((media_type, content),) = described["requestBody"]["content"].items()
        wanted = {name: values[name] for name in content["schema"]["required"]}
        given = {name: value for name, value in wanted.items() if value is not None}
        raw = json.dumps(given).encode() if body is None else body
        # No body at all has no length either.
        keywords = {"content_type": media_type} | ({"body": raw} if raw else {})
    if spoil:
        spoil(services)
    real = path or template.replace("{id}", str(miguel.id)).replace("{sid}", grant.session_id)
    answer = client.request(
        real + query,
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
    assert set(answer.headers) - {"Content-Type", "Content-Length"} == set(headers)
    for name, header in headers.items():
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
    if codes(described):
        assert answer.json["type"].removeprefix("urn:restauth:problem:") in codes(described)


TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}


def assert_fits(document: Document, schema: Document, value: Any) -> None:
    """As far as JSON Schema is used for answers."""
    schema = follow(document, schema)
    assert type(value) is TYPES[schema["type"]] if "type" in schema else True
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


@pytest.mark.parametrize("operation", TABLE)
def test_a_request_as_it_is_described_succeeds_as_it_is_described(
    services: Services, operation: str
) -> None:
    answer = ask(services, operation, CALLERS[TABLE[operation].access])
    statuses = [status for name, status, _ in answers(DOCUMENT) if name == operation]
    assert [answer.status_int] == [status for status in statuses if status < 300]


@pytest.mark.parametrize(("operation", "member"), MEMBERS)
def test_a_member_that_is_asked_for_is_needed(
    services: Services, operation: str, member: str
) -> None:
    caller = CALLERS[TABLE[operation].access]
    assert ask(services, operation, caller, members={member: None}).status_int == 400


def fail(services: Services) -> None:
    with suppress(BadCredentials):
        services.authentication.authenticate("miguel", "wrong", CLIENT)


PROBLEMS: dict[str, dict[str, Any]] = {
    "malformed_request": {"operation": "GET /api/health", "headers": {"Host": "a/b"}},
    "unacceptable_username": {"operation": "POST /api/users", "members": {"username": ":"}},
    "unacceptable_password": {
        "operation": "PUT /api/users/me/password",
        "caller": "password",
        "members": {"password": ""},
    },
    "username_taken": {"operation": "POST /api/users", "members": {"username": "miguel"}},
    "unknown_user": {"operation": "GET /api/users/{id}", "path": "/api/users/0"},
    "unusable_code": {"operation": "POST /api/password-resets", "members": {"code": "?"}},
    "no_session": {"operation": "DELETE /api/token", "caller": "password"},
    "bad_credentials": {"operation": "GET /api/resource"},
    "password_required": {"operation": "POST /api/sessions", "caller": "token"},
    "role_required": {"operation": "GET /api/verify", "caller": "token", "query": "?role=admin"},
    "barred": {
        "operation": "GET /api/verify",
        "caller": "password",
        "spoil": fail,
        "keywords": {"max_failures": 1},
    },
    "registration_closed": {
        "operation": "POST /api/users",
        "keywords": {"registration": "closed"},
    },
    "https_required": {"operation": "GET /api/token", "keywords": {"require_https": True}},
    "not_found": {
        "operation": "DELETE /api/sessions/{sid}",
        "caller": "token",
        "path": f"/api/sessions/{'A' * 22}",
    },
    "length_required": {
        "operation": "POST /api/token",
        "headers": {"Transfer-Encoding": "chunked"},
        "body": b"",
    },
    "body_too_large": {"operation": "POST /api/token", "body": b" " * 65_537},
    "unsupported_media_type": {
        "operation": "POST /api/token",
        "headers": {"Content-Encoding": "gzip"},
    },
    "throttled": {
        "operation": "GET /api/token",
        "caller": "password",
        "spoil": fail,
        "keywords": {"max_failures": 1},
    },
    "store_unavailable": {"operation": "GET /api/health", "spoil": take_the_store_away},
    "internal_error": {
        "operation": "GET /api/token",
        "caller": "password",
        "spoil": break_the_store,
    },
}


def test_every_problem_of_an_operation_is_met() -> None:
    """The one that is missing needs a second caller at the same time, below."""
    met = {code for _, _, answer in answers(DOCUMENT) for code in codes(answer)}
    assert PROBLEMS.keys() | {"busy"} == met | {"https_required"}


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_problem_is_as_it_is_described(make_services: ServicesFactory, code: str) -> None:
    situation = {"keywords": {}, **PROBLEMS[code]}
    services = make_services(**situation.pop("keywords"))
    assert ask(services, **situation).json["type"] == f"urn:restauth:problem:{code}"


def test_an_outage_of_slots_is_as_it_is_described(
    services: Services, one_slot: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.accounts.register("miguel", "python")
    with slot_taken(one_slot, monkeypatch, "miguel", "python"):
        answer = client_of(one_slot).get("/api/token", headers=PASSWORD, status=503)
    assert answer.json["type"] == "urn:restauth:problem:busy"
    assert_described(describe(services), "GET /api/token", answer)


# The members


@pytest.mark.parametrize("member", ["username", "password"])
def test_the_bounds_of_a_member_are_told(services: Services, member: str) -> None:
    operation = operations(describe(services))["POST /api/users"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    least = schema["properties"][member]["minLength"]
    most = schema["properties"][member]["maxLength"]
    client = client_of(services)
    for length, status in ((least - 1, 400), (least, 201), (most, 201), (most + 1, 400)):
        body = {"username": f"ann{length}", "password": "python", member: "a" * length}
        client.post_json("/api/users", body, status=status)


def test_the_pattern_of_names_is_told_unless_the_operator_has_another(
    make_services: ServicesFactory,
) -> None:
    def pattern(services: Services) -> object:
        operation = operations(describe(services))["POST /api/users"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return schema["properties"]["username"].get("pattern")

    assert pattern(make_services()) == f"^{settings.USERNAME_PATTERN}$"
    assert pattern(make_services(username_pattern="(?P<only>[a-z]+)")) is None


def test_a_role_may_be_asked_for_twice(services: Services) -> None:
    (role,) = operations(describe(services))["GET /api/verify"]["parameters"]
    assert (role["in"], role["name"], role["schema"]["type"]) == ("query", "role", "array")
    miguel = services.accounts.find(services.accounts.register("miguel", "python"))
    services.accounts.change_roles(miguel, ["admin"], [])
    client = client_of(services)
    client.get("/api/verify?role=admin&role=admin", headers=PASSWORD, status=204)
    client.get("/api/verify?role=admin&role=other", headers=PASSWORD, status=403)
