"""Real browsers: what the script of a page may do, what it may not, and what a page loads.

Rule: a page calls by fetch as any page would, and sees what the browser lets it see.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import basic, bearer
from tests.counterparts import chromium
from tests.counterparts.conftest import library, program
from tests.firefox import Firefox
from tests.processes import PATIENCE, Answer, Server, run, until_deadline
from tests.test_journeys import BIN

errors = library("selenium.common.exceptions")
# A page, and below /api/ a restauth of its own.
PAGES = """
from restauth import create_app

service = create_app()


def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/api/"):
        return service(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<!DOCTYPE html><title>A page</title>"]
"""
# A guarded page, whose parts lie outside of its own directory; and a page of another site (by the
# name of the host), which shows the same parts.
PARTS = """
from restauth import AuthMiddleware

GIF = b"GIF89a\\1\\0\\1\\0\\x80\\0\\0\\0\\0\\0\\0\\0\\0,\\0\\0\\0\\0\\1\\0\\1\\0\\0\\2\\2D\\1\\0;"
TYPES = {"gif": "image/gif", "css": "text/css", "js": "text/javascript", "mjs": "text/javascript"}
BODIES = {"gif": GIF, "css": b"body { color: red }", "js": b"document.title += ' script'",
    "mjs": b"document.title += ' module'"}
PAGE = (
    "<!DOCTYPE html><title>A page</title>"
    "<link rel=stylesheet href={0}/static/a.css><script src={0}/static/a.js></script>"
    "<script type=module src={0}/static/a.mjs></script>"
    + "".join(f"<img src={{0}}/static/{number}.gif>" for number in range(20))
)


def page(environ, start_response):
    name = environ["PATH_INFO"].rpartition(".")[2]
    start_response("200 OK", [("Content-Type", TYPES.get(name, "text/html"))])
    return [BODIES.get(name) or PAGE.format(environ.get("QUERY_STRING")).encode()]


app = AuthMiddleware(page, required=True, exempt="/elsewhere")
"""
LOADED = """
return [document.readyState, document.title, getComputedStyle(document.body).color,
    [...document.images].filter(image => image.complete).length,
    [...document.images].filter(image => image.naturalWidth > 0).length]"""
RED, BLACK = "rgb(255, 0, 0)", "rgb(0, 0, 0)"
# What a script sees of an answer, or the name of the error where it is shown none.
FETCH = """
return fetch(...arguments).then(
    async answer => [answer.status, Object.fromEntries(answer.headers), await answer.text()],
    error => error.name);
"""
FORM = """
const form = document.createElement("form");
Object.assign(form, {method: "post", enctype: "text/plain", action: arguments[0]});
document.body.append(form);
form.submit();
"""
SHUT = {"max_failures": "1"}  # by the first wrong password
JSON = {"Content-Type": "application/json"}


class Withheld(Exception):
    """The browser shows the script no answer."""


class Page:
    """The page that is open in the browser."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser = browser
        browser.get(address)
        assert self.goes_on()

    def fetch(self, url: str, **options: object) -> Answer:
        """As the script of the page does it. Raises Withheld."""
        seen = self.browser.execute_script(FETCH, url, options)
        if isinstance(seen, str):
            raise Withheld(seen)
        status, headers, text = seen
        return Answer(status, headers, text.encode())

    def goes_on(self) -> bool:
        """Whether it runs a script at once, with no window of the browser's own before it."""
        return bool(self.browser.execute_script("return document.title") == "A page")


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with Firefox.started(program("firefox-esr"), tmp_path_factory.mktemp("firefox")) as browser:
        yield browser


@pytest.fixture(params=["browser", "firefox"])
def any_browser(request: pytest.FixtureRequest) -> Any:
    """Chromium and Firefox: both open a page and execute a script."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Server]:
    """The guarded page; ada's password is `pw`."""
    (tmp_path / "parts.py").write_text(PARTS)
    adding = run(tmp_path, "user", "add", "ada", "--password-stdin", "--create", stdin="pw")
    assert adding.returncode == 0
    command = (BIN / "waitress-serve", "--listen=127.0.0.1:0", "parts:app")
    with Server.start(tmp_path, *command) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium.started(tmp_path_factory.mktemp("home")) as browser:
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "pages.py").write_text(PAGES)
    command = (BIN / "waitress-serve", "--listen=127.0.0.1:0", "pages:app")
    with Server.start(directory, *command, **SHUT) as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, site: Server) -> Iterator[Server]:
    """Another origin than the site's, whose pages may call it."""
    directory = tmp_path_factory.mktemp("service")
    with Server.start(directory, cors_origins=site.address, **SHUT) as server:
        yield server


@pytest.fixture
def page(browser: Any, site: Server) -> Page:
    return Page(browser, site.address)


def credentials(username: str) -> str:
    return json.dumps({"username": username, "password": "python"})


def test_a_page_of_another_origin_registers_logs_in_refreshes_and_logs_out(
    page: Page, service: Server
) -> None:
    users, token, sessions, resource = (
        f"{service.address}/api/{path}" for path in ("users", "token", "sessions", "resource")
    )
    password = basic("miguel", "python")

    registered = page.fetch(users, method="POST", headers=JSON, body=credentials("miguel"))
    assert (registered.status, registered.json) == (201, {"username": "miguel"})
    assert page.fetch(registered.headers["location"]).json == {"username": "miguel"}

    first = page.fetch(token, headers=password).json["token"]
    assert page.fetch(resource, headers=bearer(first)).json == {"data": "Hello, miguel!"}
    traced = dict.fromkeys(("traceparent", "tracestate", "X-Request-ID", "Cache-Control"), "x")
    assert page.fetch(resource, headers={**bearer(first), **traced}).status == 200
    with pytest.raises(Withheld, match="TypeError"):
        page.fetch(resource, headers={**bearer(first), "Remote-User": "root"})

    began = page.fetch(sessions, method="POST", headers=password)
    assert began.status == 201
    assert began.headers["location"].startswith(f"{sessions}/")
    body = json.dumps({"refresh_token": began.json["refresh_token"]})
    renewed = page.fetch(token, method="POST", headers=JSON, body=body).json["token"]
    assert page.fetch(resource, headers=bearer(renewed)).status == 200

    assert page.fetch(token, method="DELETE", headers=bearer(renewed)).status == 204
    assert page.fetch(resource, headers=bearer(renewed)).status == 401
    ended = page.fetch(began.headers["location"], method="DELETE", headers=bearer(first))
    assert (ended.status, ended.json["title"]) == (404, "Not found")
    assert page.fetch(resource, headers=bearer(first)).status == 200


@pytest.mark.parametrize("called", ["service", "site"])
def test_a_wrong_password_is_an_answer_to_the_script_and_opens_no_window(
    page: Page, called: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(called)
    server.register("susan", "python")
    resource = f"{server.address}/api/resource"
    for headers in ({}, basic("susan", "ruby")):
        refused = page.fetch(resource, headers=headers)
        assert (refused.status, refused.json["detail"]) == (401, "Unauthorized Access")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["www-authenticate"] == 'Bearer realm="Authentication Required"'
        assert page.goes_on()
    throttled = page.fetch(resource, headers=basic("susan", "python"))
    assert throttled.status == 429
    assert "retry-after" not in throttled.headers  # the password is blocked: no wait helps


def test_a_listed_page_reads_nothing_that_was_asked_with_cookies(
    page: Page, service: Server
) -> None:
    health = f"{service.address}/api/health"
    assert page.fetch(health).status == 200
    with pytest.raises(Withheld, match="TypeError"):
        page.fetch(health, credentials="include")


def test_over_plain_http_the_window_opens_to_a_script_that_does_not_say_what_it_is(
    browser: Any, site: Server
) -> None:
    page = Page(browser, site.address.replace("127.0.0.1", "site.test"))
    says = {"X-Requested-With": "XMLHttpRequest"}
    assert page.fetch("/api/resource", headers=says).status == 401
    assert page.goes_on()
    browser.set_script_timeout(1)  # no one types a password
    with pytest.raises(errors.TimeoutException):
        page.fetch("/api/resource")
    browser.set_script_timeout(PATIENCE)


def test_a_page_of_an_origin_that_is_not_listed_reads_nothing_and_registers_nobody(
    browser: Any, site: Server, service: Server
) -> None:
    page = Page(browser, site.address.replace("127.0.0.1", "localhost"))
    last = service.register("ann")
    users = f"{service.address}/api/users"
    body = credentials("eve")
    for url, options in (
        (f"{service.address}/api/health", {}),
        (f"{service.address}/api/resource", {}),
        (f"{service.address}/api/token", {"headers": basic("ann", "pw")}),
        (users, {"method": "POST", "headers": JSON, "body": body}),
        (users, {"method": "POST", "body": body}),  # as text, which needs no leave to be sent
    ):
        with pytest.raises(Withheld, match="TypeError"):
            page.fetch(url, **options)
    blind = page.fetch(users, method="POST", body=body, mode="no-cors")
    assert blind == (0, {}, b"")
    assert service.get(f"/api/users/{last + 1}").status == 400
    assert service.log_in("ann")


@pytest.mark.parametrize("host", ["127.0.0.1", "site.test"])
def test_only_an_own_page_changes_something_with_the_password_that_the_browser_remembers(
    browser: Any, site: Server, host: str
) -> None:
    """To this machine the browser says where a request comes from; over plain http to another one,
    it sends Origin alone."""
    address, username = site.address.replace("127.0.0.1", host), f"victim.{host}"
    site.register(username, "pw")
    resource = f"{address}/api/resource".replace("//", f"//{username}:pw@")
    browser.get(resource)
    assert f"Hello, {username}!" in browser.page_source
    sessions = f"{address}/api/sessions"
    assert Page(browser, address).fetch(sessions, method="POST").status == 201

    foreign = Page(browser, site.address.replace("127.0.0.1", "localhost"))
    foreign.fetch(sessions, method="POST", mode="no-cors", credentials="include")
    browser.execute_script(FORM, sessions)
    for _ in until_deadline():
        if "restauth:problem:cross_origin" in browser.page_source:
            break
    began = site.get("/api/sessions", basic(username, "pw")).json["sessions"]
    assert len(began) == 1


# What a page loads by itself, over Basic


def loaded(browser: Any, count: int) -> list[Any]:
    """The title, the color and the number of images that are there, as soon as all that the page
    names is there or has failed: while a window asks for a password, it is neither."""
    for _ in until_deadline():
        state, title, color, complete, shown = browser.execute_script(LOADED)
        if state == "complete" and complete == count:
            break
    return [title, color, shown]


def test_all_parts_of_a_page_are_loaded_with_its_password(any_browser: Any, parts: Server) -> None:
    """Wherever they lie: a browser sends the password unasked only below where it was asked."""
    with_password = parts.address.replace("http://", "http://ada:pw@")
    any_browser.get(f"{with_password}/deep/app/")
    assert loaded(any_browser, 20) == ["A page script module", RED, 20]


def test_a_page_of_another_site_opens_no_window(any_browser: Any, parts: Server) -> None:
    other = parts.address.replace("127.0.0.1", "localhost")
    any_browser.get(f"{other}/elsewhere?{parts.address}")
    assert loaded(any_browser, 20) == ["A page", BLACK, 0]


def test_an_open_page_that_shows_guarded_parts_of_its_own_site_asks(
    firefox: Firefox, parts: Server
) -> None:
    """As with any server that uses Basic. Were it not so, the test before would show nothing."""
    firefox.get(f"{parts.address.replace('127.0.0.1', 'localhost')}/elsewhere")
    for _ in until_deadline():
        if firefox.asks():
            break
    firefox.dismiss()
