"""Real frameworks: their apps guarded, and the whole service mounted among them.

Rule: the guide's own lines are what is run, and each framework is asked in its own way who it is.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
import webtest

import restauth
from restauth import AuthMiddleware
from restauth.records import User
from restauth.services import Services, start_services
from restauth.testing import Clock
from restauth.web.identity import IDENTITY_KEYS
from tests.conftest import CHEAPEST, ServicesFactory, basic, bearer, client_of
from tests.counterparts.conftest import library
from tests.documents import example

# Words that only the page's blocks for a framework have: its app, guarded; the service, mounted.
DISPATCHER = "application = DispatcherMiddleware"
FRAMEWORKS = {
    "flask": (["from flask import Flask"], "app.wsgi_app = DispatcherMiddleware"),
    "django": (["get_wsgi_application"], DISPATCHER),
    "pyramid": (["class RestauthPolicy", "pyramid.config"], "wsgiapp2"),
    "falcon": (["import falcon"], DISPATCHER),
    "bottle": (["bottle import"], "app.mount("),
    "cherrypy": (["import cherrypy"], "cherrypy.tree.graft("),
    "webob": (["webob.dec"], DISPATCHER),
    "fastapi": (["fastapi import"], "api.mount("),
}
INSIDE = ("pyramid", "bottle", "fastapi")  # the service is in the app: behind the app's guard
URLS = """
from django.http import HttpResponse
from django.urls import path


def hello(request):
    user = request.META["restauth.user"]
    assert request.user.username == (user.username if user else "")
    return HttpResponse(f"Hello, {request.user.username or 'stranger'}!")


urlpatterns = [path("", hello)]
"""
PASSWORD, WRONG = basic("ada", "python"), basic("ada", "ruby")
ANN = {"username": "ann", "password": "python"}
NOBODY = {"restauth.user": None}
SPOOFED = {
    "REMOTE_USER": "ada",
    "AUTH_TYPE": "Negotiate",
    "restauth.user": User(1, "ada", ("editor",), None, "password"),
}
SPOOFED_HEADERS = {"Remote-User": "ada", "X-Forwarded-User": "ada", "Auth-Type": "Basic"}


@dataclass
class Site:
    """A namespace in which the page's lines have been run, and the guard that they made."""

    framework: str
    services: Services
    names: dict[str, Any]
    guards: list[AuthMiddleware] = field(default_factory=list)
    callers: list[dict[str, Any]] = field(default_factory=list)

    def run(self, mark: str) -> None:
        """The one block of the page that has this mark."""
        block = example("embedding", "python", mark)
        for module in re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE):
            library(module)
        code = [line for line in block.splitlines() if line and "import " not in line]
        assert len(code) <= 6, "short enough to be read at a glance"
        exec(block, self.names)  # noqa: S102 - the documents are ours

    def mount(self) -> None:
        """The service among the framework's pages, as the page has it."""
        self.run(FRAMEWORKS[self.framework][1])
        if self.framework == "pyramid":  # the routes that it has by now are all that it ever has
            app = self.names["config"].make_wsgi_app()
            self.names["application"] = restauth.AuthMiddleware(app)

    @property
    def client(self) -> webtest.TestApp:
        """A client of all that was made."""
        app = self.names.get("application") or self.names["app"]
        host = {"HTTP_HOST": "localhost"}
        return webtest.TestApp(validator(app), extra_environ=host, lint=True)

    def guarded(self, **keywords: Any) -> webtest.TestApp:
        """A client of the framework's app behind another guard, which is seen calling it."""
        framework: WSGIApplication = self.guards[0]._guard._app

        def overheard(environ: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
            self.callers.append({key: environ[key] for key in IDENTITY_KEYS if key in environ})
            return validator(framework)(environ, respond)

        return webtest.TestApp(validator(restauth.AuthMiddleware(overheard, **keywords)), lint=True)

    def token(self, username: str) -> dict[str, str]:
        credentials = basic(username, "python")
        return bearer(client_of(self.services).get("/api/token", headers=credentials).json["token"])


@pytest.fixture(scope="session")
def django_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project as Django makes it, with the page's settings at the end of its own."""
    library("django")
    home = tmp_path_factory.mktemp("django")
    python = (sys.executable, "-W", "ignore")
    subprocess.run([*python, "-m", "django", "startproject", "pages", home], check=True)
    settings = example("embedding", "python", "RemoteUserMiddleware")
    with open(home / "pages" / "settings.py", "a") as file:
        file.write(settings)
    (home / "pages" / "urls.py").write_text(URLS)
    subprocess.run([*python, home / "manage.py", "migrate", "--verbosity=0"], check=True)
    return home


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    module = library(name)
    if name == "cherrypy":
        monkeypatch.setattr(module.tree, "apps", {})  # one tree serves the whole process
    if name == "django":
        monkeypatch.syspath_prepend(request.getfixturevalue("django_project"))
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "pages.settings")
    return name


@pytest.fixture
def site(
    framework: str,
    tmp_path: Path,
    make_services: ServicesFactory,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """The framework's app, guarded by the page's lines; ada is an editor, and bob is not.

    All that they make of ours has the suite's clock and its cheap hash.
    """
    monkeypatch.chdir(tmp_path)
    services = make_services()
    for username in ("ada", "bob"):
        services.accounts.register(username, "python")
    services.accounts.change_roles(services.accounts.find(1), ["editor"], [])
    site = Site(framework, services, {"__name__": "__main__"})

    def guard(*arguments: Any, **keywords: Any) -> AuthMiddleware:
        site.guards.append(AuthMiddleware(*arguments, **keywords))
        return site.guards[-1]

    monkeypatch.setattr(restauth, "AuthMiddleware", guard)
    cheaply = partial(start_services, clock=clock, hash_cost=CHEAPEST)
    monkeypatch.setattr("restauth.app.start_services", cheaply)
    with restauth.Service():  # which closes the connections of all on its database
        for mark in FRAMEWORKS[framework][0]:
            site.run(mark)
        yield site


def greeted(client: webtest.TestApp, headers: dict[str, str], **environ: object) -> str:
    """Whom the framework's page greets, in its own way of asking."""
    answer = client.get("/", headers=headers, extra_environ=environ, status=200)
    greeting = answer.text.strip('"')  # some make JSON of it
    assert greeting.startswith("Hello, "), greeting
    return str(greeting.removeprefix("Hello, ").removesuffix("!"))


def test_a_framework_knows_who_it_is_and_nobody_after(site: Site) -> None:
    client = site.client  # which keeps cookies, as browsers do
    token = site.token("bob")
    for headers, name in (
        ({}, "stranger"),
        (PASSWORD, "ada"),
        ({}, "stranger"),
        (token, "bob"),
        (basic(token["Authorization"].split()[1], ""), "bob"),
        (PASSWORD, "ada"),
        ({"Authorization": "Digest x"}, "stranger"),
    ):
        assert greeted(client, headers) == name


def test_a_framework_is_not_called_for_who_is_wrong(site: Site) -> None:
    client = site.guarded()
    for headers in (WRONG, bearer("a.b.c"), {"Authorization": "Basic"}):
        answer = client.get("/", headers=headers, status=401)
        assert answer.content_type == "application/problem+json"
        assert answer.json["type"] == "urn:restauth:problem:bad_credentials"
    assert site.callers == []
    assert greeted(client, PASSWORD) == "ada"
    assert greeted(client, site.token("bob")) == "bob"
    by_password, by_token = site.callers
    ada = User(1, "ada", ("editor",), None, "password")
    assert by_password == {"restauth.user": ada, "REMOTE_USER": "ada", "AUTH_TYPE": "Basic"}
    assert (by_token["REMOTE_USER"], by_token["AUTH_TYPE"]) == ("bob", "Bearer")
    assert (by_token["restauth.user"].id, by_token["restauth.user"].how) == (2, "token")


def test_a_framework_is_called_for_those_alone_who_are_asked_for(site: Site) -> None:
    ada, bob = site.token("ada"), site.token("bob")
    signed_in, editors = site.guarded(required=True), site.guarded(role="editor")
    for client in (signed_in, editors):
        answer = client.get("/", status=401)
        assert answer.json["type"] == "urn:restauth:problem:bad_credentials"
        assert len(answer.headers.getall("WWW-Authenticate")) == 2
        client.get("/", headers=WRONG, extra_environ=SPOOFED, status=401)
        client.get("/", headers=SPOOFED_HEADERS, extra_environ=SPOOFED, status=401)
    for headers in (basic("bob", "python"), bob):
        answer = editors.get("/", headers=headers, status=403)
        assert answer.json["type"] == "urn:restauth:problem:role_required"
    assert site.callers == []
    assert greeted(signed_in, bob) == "bob"
    for headers in (PASSWORD, ada):
        assert greeted(editors, headers) == "ada"


def test_a_framework_is_told_nothing_that_came_from_outside(site: Site) -> None:
    client = site.guarded()
    assert greeted(client, SPOOFED_HEADERS, **SPOOFED) == "stranger"
    assert site.callers == [NOBODY]
    assert greeted(client, site.token("bob") | SPOOFED_HEADERS, **SPOOFED) == "bob"
    assert site.callers[1]["restauth.user"].username == "bob"


def test_the_service_is_mounted_beside_a_frameworks_pages(site: Site) -> None:
    site.mount()
    client = site.client
    answer = client.post_json("/auth/api/users", ANN, status=201)
    assert answer.json == {"username": "ann"}
    assert answer.headers["Location"] == "http://localhost/auth/api/users/3"
    assert client.get("/auth/api/users/3").json == {"username": "ann"}
    credentials = basic("ann", "python")
    token = bearer(client.get("/auth/api/token", headers=credentials).json["token"])
    assert client.get("/auth/api/resource", headers=token).json == {"data": "Hello, ann!"}
    assert greeted(client, token) == "ann"
    client.delete("/auth/api/token", headers=token, status=204)
    client.get("/", headers=token, status=401)


def test_what_a_mounted_service_refuses_is_as_ever(site: Site) -> None:
    site.mount()
    client = site.client
    answer = client.get("/auth/api/resource", status=401)
    assert answer.json["type"] == "urn:restauth:problem:bad_credentials"
    assert len(answer.headers.getall("WWW-Authenticate")) == 2
    status = 401 if site.framework in INSIDE else 201  # the service itself does not look
    client.post_json("/auth/api/users", ANN, headers=WRONG, status=status)
    assert client.put("/auth/api/users", status=405).headers["Allow"] == "OPTIONS, POST"
    for path in ("/auth/", "/auth/api", "/auth/api/none", "/auth/api/users/1/"):
        answer = client.get(path, status=404)
        assert answer.json["type"] == "urn:restauth:problem:not_found"
    for path in ("/api/users", "/authentic/api/users"):
        answer = client.get(path, expect_errors=True)
        assert "urn:restauth" not in answer.text, "these paths are the framework's own"


def test_a_mounted_service_knows_where_the_whole_is_mounted(site: Site) -> None:
    site.mount()
    outside = "/h%C3%BCtte%20d"
    script_name = unquote_to_bytes(outside).decode("latin-1")  # as PEP 3333 has it
    if site.framework == "cherrypy":  # knows its apps by the whole of their paths
        site.names["cherrypy"].tree.graft(restauth.create_app(), f"{script_name}/auth")
    answer = site.client.post_json(
        "/auth/api/users",
        ANN,
        extra_environ={"SCRIPT_NAME": script_name},
        status=201,
    )
    assert answer.headers["Location"] == f"http://localhost{outside}/auth/api/users/3"


@pytest.mark.parametrize("framework", ["flask"], indirect=True)
def test_a_page_of_flask_answers_401_itself(site: Site) -> None:
    site.run("from flask import Response")
    client = site.client
    answer = client.get("/private", status=401)
    assert answer.json["type"] == "urn:restauth:problem:bad_credentials"
    assert len(answer.headers.getall("WWW-Authenticate")) == 2
    assert client.get("/private", headers=PASSWORD).text == "Only for you, ada."
