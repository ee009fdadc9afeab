"""What the tests of the web layer share: a registered user, raw requests, and stores that fail."""

from typing import Any

import hypothesis
import pytest
import webtest
from hypothesis import strategies as st

from restauth.records import User
from restauth.services import Services
from restauth.web.app import App
from tests.conftest import basic, bearer, client_of

Headers = dict[str, str]

ANONYMOUS: Headers = {}
HTTPS: dict[str, Any] = {"wsgi.url_scheme": "https"}
PASSWORD, WRONG = basic("miguel", "python"), basic("miguel", "ruby")
SPOOFED: dict[str, Any] = {  # what a client or an outer server may have put into the environ
    "REMOTE_USER": "admin",
    "AUTH_TYPE": "Negotiate",
    "restauth.user": User(1, "admin", ("admin",), None, "password"),
}
ANY_TEXT = st.text(st.characters())  # lone surrogates too
# The examples of a test may share one store: they do not depend on each other.
total = hypothesis.settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def miguel(services: Services) -> webtest.TestApp:
    """The client, after miguel has registered."""
    services.accounts.register("miguel", "python")
    return client_of(services)


@pytest.fixture
def token(miguel: webtest.TestApp) -> str:
    """A live token of miguel's."""
    return token_of(miguel)


def token_of(client: webtest.TestApp, headers: Headers = PASSWORD) -> str:
    return str(client.get("/api/token", headers=headers, status=200).json["token"])


def credentials(token: str) -> tuple[Headers, ...]:
    """The three ways to present an identity."""
    return PASSWORD, bearer(token), basic(token, "x")


def code_of(answer: webtest.TestResponse) -> str:
    """The code of a problem document."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == answer.status_int
    return str(answer.json["type"]).removeprefix("urn:restauth:problem:")


def call(
    services: Services, path: str, headers: Headers = ANONYMOUS, **environ: Any
) -> webtest.TestResponse:
    """Call the app with an environ that no client would make."""
    request = webtest.TestRequest.blank("/", headers=headers)
    request.environ.update({"PATH_INFO": path, **environ})
    return request.get_response(App(services))


def give_roles(services: Services, *roles: str) -> None:
    """Give miguel exactly these roles."""
    services.accounts.set_roles(services.accounts.find(1), roles)
