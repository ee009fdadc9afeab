"""The page to try the API, in real browsers: what its user does, and what it must never do.

Rule: the page is used as a person uses it, by what it shows; nothing reaches into its script. What
a browser refuses by the policy of the page, and what axe-core finds, is counted in every test.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import basic, bearer
from tests.counterparts import chromium
from tests.counterparts.conftest import library, npm_package, program
from tests.firefox import Firefox
from tests.processes import PATIENCE, RESTAUTH, Server, run, until_deadline

ActionChains = library("selenium.webdriver").ActionChains
Keys = library("selenium.webdriver.common.keys").Keys
AXE = (npm_package("axe-core") / "axe.min.js").read_text("utf-8")

NAME, PASSWORD = "ada", "analytical-engine"
# Whatever reads one of these as HTML, or as words of a shell, is seen to.
HOSTILE = "<img src=x onerror=document.title='HTML'>"
SHELL = 'o\'hara "$(touch pwned)" `touch pwned` \\ !'
ANY_NAME = r"[^:\x00-\x1f]{1,64}"

WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => window.violations.push(
    `${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
addEventListener("error", (event) => window.violations.push(`error: ${event.message}`));
addEventListener("unhandledrejection", (event) => window.violations.push(`${event.reason}`));
"""
CHECK = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
    ({violations}) => done(violations.flatMap(({id, nodes}) =>
        nodes.map(({target, failureSummary}) => `${id} ${target}: ${failureSummary}`))),
    (error) => done([String(error)]));
"""
ATTACKS = {  # by a script that got in, and the directive that stops it
    "document.body.innerHTML = '<img src=x>'": "require-trusted-types-for",
    "document.body.setAttribute('onclick', 'x()')": "require-trusted-types-for",
    "document.createElement('script').text = 'document.title = 1'": "require-trusted-types-for",
    "fetch('http://site.test/').catch(() => 0)": "connect-src",
    "new Image().src = 'http://site.test/'": "img-src",
    "document.body.append(make('style', 'p { color: red }'))": "style-src",
    "const form = make('form'); form.action = 'http://site.test/'; form.submit()": "form-action",
}
MAKE = """
const make = (name, text = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    document.body.append(made);
    return made;
};
"""
KEPT = "return [localStorage.length, sessionStorage.length, document.cookie]"


class Shown:
    """The page, as it is shown in the browser. Texts are those that can be seen."""

    def __init__(
        self, browser: Any, address: str, *, dark: bool = False, width: int = 1280
    ) -> None:
        self.browser = browser
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(address)
        self.until("#routes-list .route", "/api/token")

    def find(self, selector: str) -> list[Any]:
        """The elements that can be seen."""
        found = self.browser.find_elements("css selector", selector)
        return [element for element in found if element.is_displayed()]

    def texts(self, selector: str) -> list[str]:
        script = (
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((each) => each.checkVisibility()).map((each) => each.innerText)"
        )
        return [str(text) for text in self.browser.execute_script(script, selector)]

    def until(self, selector: str, text: str) -> str:
        """Wait until such an element shows the text; all of its text then."""
        for _ in until_deadline():
            for shown in self.texts(selector):
                if text in shown:
                    return shown
        raise AssertionError

    def until_gone(self, selector: str) -> None:
        for _ in until_deadline():
            if not self.texts(selector):
                return

    def click(self, selector: str, text: str = "") -> None:
        """Click on the first one with the text, as soon as it is there."""
        for _ in until_deadline():
            found = [each for each in self.find(selector) if text in each.text]
            if found:
                break
        element = found[0]
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, selector: str, text: str) -> None:
        self.click(selector)
        (element,) = self.find(selector)
        element.clear()
        element.send_keys(text)

    def submit(self, form: str, **values: str) -> None:
        for name, text in values.items():
            self.type(f"{form} [name={name}]", text)
        self.click(f"{form} button")

    def log_in(self, name: str = NAME, password: str = PASSWORD) -> None:
        self.submit("#log-in", username=name, password=password)
        self.until("#sessions-list", "this session")

    def open_route(self, method: str, path: str) -> str:
        """Open the form of a route; a selector of the form."""
        for number, summary in enumerate(self.texts("#routes-list > details > summary"), start=1):
            if summary.split()[:2] == [method, path]:
                entry = f"#routes-list > details:nth-child({number})"
                self.click(f"{entry} > summary")
                self.until(f"{entry} form", "Send")
                return f"{entry} form"
        raise AssertionError(path)

    def last_request(self) -> tuple[str, str, str]:
        """Of the request that is shown open: the command line, the status, the body."""
        line, *body = self.texts(".exchange[open] pre")
        (status,) = self.texts(".exchange[open] > summary .badge")
        return line, status, body[0] if body else ""

    def faults(self) -> list[str]:
        """What axe-core finds in the page as it is now."""
        self.browser.execute_script(AXE)
        found: list[str] = self.browser.execute_async_script(CHECK)
        return found

    @property
    def violations(self) -> list[str]:
        """What the browser has refused by the policy of the page, and all errors of its script."""
        found: list[str] = self.browser.execute_script("return window.violations")
        return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium.started(tmp_path_factory.mktemp("home")) as browser:
        script = {"source": WATCH}
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
        yield browser


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with ada. Names may be anything."""
    directory = tmp_path_factory.mktemp("service")
    with Server.start(directory, username_pattern=ANY_NAME) as server:
        server.register(NAME, PASSWORD)
        yield server


@pytest.fixture
def page(browser: Any, service: Server) -> Iterator[Shown]:
    with opened(browser, service.address) as page:
        yield page


@contextmanager
def opened(browser: Any, address: str, **screen: Any) -> Iterator[Shown]:
    """The page; at its end, nothing was refused and nothing is kept."""
    page = Shown(browser, f"{address}/", **screen)
    yield page
    assert page.violations == []
    assert browser.execute_script(KEPT) == [0, 0, ""]
    assert browser.title == "restauth: try the API"


def execute(line: str, directory: Path, **variables: str) -> tuple[int, Any]:
    """Run a command line of the page by a shell: the status of the answer, and its body."""
    done = subprocess.run(
        [program("sh"), "-euc", line],
        cwd=directory,
        env={**os.environ, "LC_ALL": "C.UTF-8", **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    head, _, body = done.stdout.partition("\n\n")
    return int(head.split()[1]), json.loads(body) if body.strip() else None


# What its user does


def test_a_user_registers_logs_in_and_sees_the_token_decoded_and_counting_down(
    page: Shown, service: Server
) -> None:
    page.submit("#register", username="grace", password="python")
    page.until("#register .message", "Registered")
    assert page.browser.switch_to.active_element.get_attribute("type") == "password"
    page.browser.switch_to.active_element.send_keys("python", Keys.ENTER)
    page.until("#state", "grace")
    assert page.texts("#log-in") == page.texts("#register") == []
    me = service.get("/api/users/me", basic("grace", "python")).json
    assert page.texts("#me dd")[:3] == ["grace", str(me["id"]), "none"]
    assert {"HS256", "at+jwt"} <= set(page.texts("#token-header .mono"))
    payload = page.texts("#token-payload .mono")
    assert {"restauth", "grace", "[]", str(me["id"])} <= set(payload)
    page.until("#clock", "9:5")
    assert page.texts("#clock-words") == ["left of 10:00"]
    assert page.until("#state-clock", "9:5")
    assert "python" not in page.browser.page_source
    values = "return [...document.querySelectorAll('input')].map((each) => each.value).join()"
    assert "python" not in page.browser.execute_script(values)


def test_the_password_is_told_to_be_wrong_and_a_name_to_be_taken(page: Shown) -> None:
    page.submit("#log-in", username=NAME, password="wrong")
    assert "Not accepted" in page.until("#log-in .message.bad", "wrong")
    assert page.last_request()[1] == "401"
    page.submit("#register", username=NAME, password="python")
    page.until("#register .message.bad", "Username taken")
    page.log_in()
    page.click("#log-out")
    page.until("#log-in", "Log in")
    assert page.texts("#register .message") == []


def test_an_empty_login_is_not_sent(page: Shown) -> None:
    sent = page.texts(".exchange")
    page.submit("#log-in", username=NAME)
    assert page.browser.switch_to.active_element.get_attribute("type") == "password"
    assert page.texts(".exchange") == sent


def test_a_refresh_gives_a_new_token(page: Shown, service: Server) -> None:
    page.log_in()
    page.click("#token summary")
    (first,) = page.texts("#token-text")
    assert service.get("/api/resource", bearer(first)).status == 200
    page.click("#refresh")
    page.until("#token-said", "new token")
    (second,) = page.texts("#token-text")
    assert second != first
    assert service.get("/api/resource", bearer(second)).status == 200
    line, status, body = page.last_request()
    assert (status, json.loads(body)["token"]) == ("200", "•••")
    assert "$REFRESH_TOKEN" in line


def test_a_token_that_has_ended_is_refreshed_when_it_is_needed(
    browser: Any, tmp_path: Path
) -> None:
    with Server.start(tmp_path, token_duration="10") as server:
        server.register(NAME, PASSWORD)
        with opened(browser, server.address) as page:
            page.log_in()
            page.until("#token-said", "has ended")
            page.click("#sessions-again")
            page.until("#clock-words", "left of 0:10")
            for _ in until_deadline():  # refused, refreshed, repeated; the newest is first
                if page.texts(".exchange > summary .badge")[:3] == ["200", "200", "401"]:
                    break
            assert page.texts("#sessions-list .badge") == ["this session"]


def test_sessions_are_listed_and_ended(page: Shown, service: Server) -> None:
    service.register("alan", PASSWORD)
    agent = {"User-Agent": HOSTILE, **basic("alan", PASSWORD)}
    other = service.request("POST", "/api/sessions", agent).json
    page.log_in("alan")
    assert len(page.texts("#sessions-list > li")) == 2
    row = page.until("#sessions-list > li", HOSTILE)
    assert "127.0.0.1" in row
    page.click("#sessions-list button", "End")
    page.until("#sessions .message", "The session has ended.")
    assert len(page.texts("#sessions-list > li")) == 1
    assert service.get("/api/resource", bearer(other["token"])).status == 401

    page.click("#sessions-end")
    page.click("#confirm button", "Cancel")
    assert page.texts("#sessions-list > li")
    page.click("#sessions-end")
    page.click("#confirm button", "End all")
    page.until("#said", "All your sessions have ended.")
    assert page.texts(".exchange > summary span:first-child") == ["DELETE /api/sessions"]
    assert service.get("/api/sessions", basic("alan", PASSWORD)).json["sessions"] == []


def test_logging_out_ends_the_session_and_forgets_the_tokens(page: Shown, service: Server) -> None:
    page.log_in()
    page.click("#token summary")
    (token,) = page.texts("#token-text")
    page.click("#log-out")
    page.until("#said", "You are logged out")
    assert page.texts(".exchange > summary span:first-child") == ["DELETE /api/token"]
    assert service.get("/api/resource", bearer(token)).status == 401
    assert token not in page.browser.page_source
    assert page.texts("#me dd") == page.texts("#sessions") == []
    assert page.find("#log-in")
    assert page.browser.switch_to.active_element.get_attribute("id") == "account-title"


def test_a_session_that_was_ended_elsewhere_leads_to_the_login(
    page: Shown, service: Server
) -> None:
    service.register("emmy", PASSWORD)
    page.log_in("emmy")
    assert service.request("DELETE", "/api/sessions", basic("emmy", PASSWORD)).status == 204
    page.click("#sessions-again")
    page.until("#said", "The session has ended. Log in again.")
    assert page.find("#log-in")
    assert page.texts(".exchange > summary span:first-child") == ["POST /api/token"]


@pytest.mark.parametrize("path", ["/api/token", "/api/sessions"])
def test_a_session_that_is_ended_under_routes_leaves_no_requests_either(
    page: Shown, service: Server, path: str
) -> None:
    name = f"emmy{len(path)}"
    service.register(name, PASSWORD)
    page.log_in(name)
    form = page.open_route("DELETE", path)
    page.click(f"{form} button")
    page.until("#said", "The session has ended. Log in again.")
    assert page.find("#log-in")
    assert page.texts(".exchange > summary span:first-child") == ["POST /api/token"]


def test_a_reload_forgets_the_tokens(page: Shown) -> None:
    page.log_in()
    page.browser.refresh()
    page.until("#routes-list .route", "/api/token")
    assert page.find("#log-in")
    assert page.texts("#state") == []


def test_a_service_that_is_gone_is_told(browser: Any, tmp_path: Path) -> None:
    with Server.start(tmp_path) as server:
        page = Shown(browser, f"{server.address}/")
    page.submit("#log-in", username=NAME, password=PASSWORD)
    page.until("#log-in .message.bad", "The service did not answer.")
    assert page.texts(".exchange[open] > summary .badge") == ["no answer"]


def test_an_invitation_is_asked_for_where_users_are_invited(browser: Any, tmp_path: Path) -> None:
    adding = run(tmp_path, "user", "add", "root", "--password-stdin", "--create", stdin=PASSWORD)
    assert adding.returncode == 0
    assert run(tmp_path, "user", "roles", "root", "+admin").returncode == 0
    with (
        Server.start(tmp_path, registration="invited", admin_role="admin") as server,
        opened(browser, server.address) as page,
    ):
        page.log_in("root")
        page.submit("#invite", roles="viewer")
        assert "An invitation" in page.until("#code", "It registers one user, until ")
        form = page.open_route("POST", "/api/admin/invitations")
        page.click(f"{form} button")
        other = page.until("#made pre", ".")
        (code,) = page.texts("#code pre")
        page.click("#log-out")
        page.until("#said", "logged out")
        assert code not in page.browser.page_source
        value = {"username": "kay", "password": PASSWORD, "invitation": other}
        assert server.request("POST", "/api/users", value=value).status == 201

        page.submit("#register", username=NAME, password=PASSWORD, invitation="wrong")
        page.until("#register .message.bad", "Unusable code")
        assert "$INVITATION" in page.last_request()[0]
        page.submit("#register", username=NAME, password=PASSWORD, invitation=code)
        page.until("#register .message", "Registered")
        page.log_in()
        assert page.texts("#me dd")[2] == "viewer"


def test_an_api_key_is_made_shown_once_used_and_ended(browser: Any, tmp_path: Path) -> None:
    with Server.start(tmp_path) as server:
        server.register(NAME, PASSWORD)
        assert run(tmp_path, "user", "roles", NAME, "+deploy", "+editor").returncode == 0
        with opened(browser, server.address) as page:
            page.log_in()
            page.click("#key-roles label", "deploy")
            page.submit("#key-make", name=HOSTILE, password="wrong")
            page.until("#key-make .message.bad", "Not accepted")
            page.submit("#key-make", name=HOSTILE, password=PASSWORD)
            key = page.until("#key-text", "rak_")
            assert server.get("/api/users/me", bearer(key)).json["roles"] == ["deploy"]
            assert "Roles\ndeploy" in page.until("#keys-list li", HOSTILE)
            assert key not in page.last_request()[2]
            assert page.faults() == []
            form = page.open_route("GET", "/api/users/me")
            page.click(f"{form} option", "the API key made above")
            page.click(f"{form} button")
            page.until(f"{form} .message", "200 OK")
            assert json.loads(page.last_request()[2])["roles"] == ["deploy"]
            page.click("#key-new button", "I have it")
            assert key not in page.browser.page_source
            page.click(f"{form} button")
            page.until(f"{form} .message.bad", "forgotten the key")

            form = page.open_route("GET", "/api/resource")
            page.click(f"{form} option", "an API key")
            page.type(f"{form} [type=password]", key)
            page.click(f"{form} button")
            page.until(f"{form} .message", "200 OK")
            line, _, body = page.last_request()
            assert '"Authorization: Bearer $API_KEY"' in line
            assert execute(line, tmp_path, API_KEY=key) == (200, json.loads(body))
            form = page.open_route("GET", "/api/keys")
            assert "an API key" not in page.texts(f"{form} option")

            page.click("#keys-list button", "End")
            page.click("#confirm button", "End")
            page.until("#keys > .message", "The key has ended.")
            assert server.get("/api/resource", bearer(key)).status == 401
            page.submit("#key-make", name="other", password=PASSWORD)
            other = page.until("#key-text", "rak_")
            value = {"name": "made elsewhere"}
            server.request("POST", "/api/keys", basic(NAME, PASSWORD), value)
            page.click("#keys-again")
            page.until("#keys-list li", "made elsewhere")
            page.click("#keys-end")
            page.click("#confirm button", "End all")
            page.until("#keys > .message", "All your keys have ended.")
            assert page.texts("#keys-list li") == []
            assert server.get("/api/resource", bearer(other)).status == 401


# What an operator does


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with an operator, root, and with 25 more users."""
    directory = tmp_path_factory.mktemp("operated")
    with Server.start(
        directory, admin_role="admin", bcrypt_rounds="10", username_pattern=ANY_NAME
    ) as server:
        server.register("root", PASSWORD)
        assert run(directory, "user", "roles", "root", "+admin").returncode == 0
        for number in range(25):
            server.register(f"user{number:02}", PASSWORD)
        yield server


@pytest.fixture
def operator(browser: Any, operated: Server) -> Iterator[Shown]:
    with opened(browser, operated.address) as page:
        page.log_in("root")
        page.until("#users-list", "user00")
        yield page


def test_an_operator_sees_the_users_page_by_page_and_finds_them(operator: Shown) -> None:
    assert len(operator.texts("#users-list li")) == 20
    operator.click("#users-more")
    operator.until("#users-list li", "user24")
    assert len(operator.texts("#users-list li")) == 26
    assert operator.texts("#users-more") == []
    assert operator.texts("#access dt") == ["anyone", "user", "login", "password", "admin"]
    operator.submit("#users-find", prefix="USER1")
    operator.until_gone("#users-list li:nth-child(11)")
    names = [row.split("\n")[1] for row in operator.texts("#users-list li")]
    assert names == [f"user{number}" for number in range(10, 20)]
    operator.submit("#users-find", prefix="nobody")
    operator.until("#users .message", "There is no such user.")


def test_an_operator_changes_an_account(operator: Shown, operated: Server) -> None:
    operated.register("eve", PASSWORD)
    token = operated.log_in("eve", PASSWORD)
    password = basic("eve", PASSWORD)
    key = operated.request("POST", "/api/keys", password, {"name": "ci"}).json["key"]
    operator.submit("#users-find", prefix="eve")
    operator.until_gone("#users-list li:nth-child(2)")
    operator.click("#users-list summary")
    assert "Sessions\n1" in operator.until("#users-list .facts", "Sessions")

    def change(text: str, said: str, confirmed: str = "") -> None:
        operator.click("#users-list .row button", text)
        if confirmed:
            assert "eve" in operator.until("#confirm", "this user?")
            operator.click("#confirm button", confirmed)
        operator.until("#users > .message", f"eve: {said}")

    change("End sessions", "all sessions have ended.")
    assert operated.get("/api/resource", bearer(token)).status == 401
    assert operated.get("/api/resource", bearer(key)).status == 200
    operator.click("#users-list .row button", "End API keys")
    operator.click("#confirm button", "Cancel")
    assert operated.get("/api/resource", bearer(key)).status == 200
    change("End API keys", "all API keys have ended.", "End all")
    assert operated.get("/api/resource", bearer(key)).status == 401
    operator.click("#users-list .row button", "Lock")
    operator.click("#confirm button", "Cancel")
    assert operated.get("/api/resource", password).status == 200
    change("Lock", "locked.", "Lock")
    assert operated.get("/api/resource", password).status == 401
    assert operator.texts("#users-list summary .badge") == ["locked"]
    change("Unlock", "unlocked.")
    assert operated.get("/api/resource", password).status == 200
    assert operator.faults() == []

    operator.submit("#users-list form:has([name=roles])", roles="NO ROLE")
    operator.until("#users-list .message.bad", "Unacceptable roles")
    operator.submit("#users-list form:has([name=roles])", roles="editor, viewer")
    operator.until("#users > .message", "eve: the roles are set.")
    assert operator.texts("#users-list summary .badge") == ["editor", "viewer"]
    operator.submit("#users-list form:has([name=username])", username=HOSTILE)
    operator.until("#users > .message", f"{HOSTILE}: this is the name now.")
    me = operated.get("/api/users/me", basic(HOSTILE, PASSWORD)).json
    assert (me["username"], me["roles"]) == (HOSTILE, ["editor", "viewer"])

    operator.click("#users-list .row button", "Make a reset code")
    (code,) = [operator.until("#code pre", ".")]
    assert operator.texts(".exchange[open] button") == ["Copy", "Show secrets"]
    operator.click(".exchange[open] button", "Show secrets")
    assert code not in operator.last_request()[2]
    value = {"code": code, "password": "new"}
    assert operated.request("POST", "/api/password-resets", value=value).status == 204
    operator.click("#code button", "I have it")
    assert code not in operator.browser.page_source

    operator.click("#users-list .row button", "Delete")
    assert HOSTILE in operator.until("#confirm", "Delete this user?")
    operator.click("#confirm button", "Delete")
    operator.until("#users > .message", f"{HOSTILE} is deleted.")
    assert operated.get("/api/resource", basic(HOSTILE, "new")).status == 401


def test_an_operator_adds_a_user_and_is_offered_little_for_the_own_account(
    operator: Shown, operated: Server
) -> None:
    operator.submit("#user-add", username="mary", password=PASSWORD, roles="editor")
    operator.until("#user-add .message", "mary is added.")
    assert operated.get("/api/users/me", basic("mary", PASSWORD)).json["roles"] == ["editor"]
    operator.click("#users-list summary", "root")
    operator.until("#users-list .facts", "Sessions")
    assert operator.texts("#users-list .stack > .row button") == ["End sessions", "End API keys"]
    operator.submit("#users-list form:has([name=roles])", roles="editor")
    operator.until("#users-list .message.bad", "Own account")
    assert operated.get("/api/users/me", basic("root", PASSWORD)).json["roles"] == ["admin"]


def test_what_is_for_operators_is_shown_to_no_other_user(browser: Any, operated: Server) -> None:
    for name, roles in (("jane", []), ("john", ["editor"])):
        value = {"username": name, "password": PASSWORD, "roles": roles}
        users = "/api/admin/users"
        assert operated.request("POST", users, basic("root", PASSWORD), value).status == 201
        with opened(browser, operated.address) as other:
            other.log_in(name)
            assert other.texts("#users") == []


# Any route


def test_every_route_of_the_description_is_there_with_who_may_call_it(
    page: Shown, service: Server
) -> None:
    paths = service.get("/api/openapi.json").json["paths"]
    rows = [text.split("\n") for text in page.texts("#routes-list > details > summary")]
    shown = {(method, path): about for method, path, _, about in rows}
    described = {
        ("any" if path == "/api/verify" else method.upper(), path): operation["summary"]
        for path, item in paths.items()
        for method, operation in item.items()
        if method != "parameters"
    }
    assert shown == described
    words = {(method, path): word for method, path, word, _ in rows}
    assert words["POST", "/api/users"] == "anyone"
    assert words["GET", "/api/resource"] == "user"
    assert words["GET", "/api/token"] == "login"
    assert words["POST", "/api/sessions"] == "password"


def test_a_route_is_called_with_the_token_a_password_or_nothing(page: Shown) -> None:
    form = page.open_route("GET", "/api/resource")
    page.type(f"{form} [autocomplete=username]", NAME)
    page.type(f"{form} [type=password]", PASSWORD)
    page.click(f"{form} button")
    page.until(f"{form} .message", "200 OK")
    assert json.loads(page.last_request()[2]) == {"data": "Hello, ada!"}
    page.click(f"{form} option", "nothing")
    page.click(f"{form} button")
    page.until(f"{form} .message.bad", "Not accepted")
    assert "Authorization" not in page.last_request()[0]

    page.log_in()
    form = page.open_route("GET", "/api/users/{id}")
    page.type(f"{form} input", "99999")
    page.click(f"{form} button")
    page.until(f"{form} .message.bad", "Unknown user")
    form = page.open_route("any", "/api/verify")
    page.click(f"{form} option", "TRACE")
    page.click(f"{form} button")
    page.until(f"{form} .message.bad", "No browser")
    page.click(f"{form} option", "PATCH")
    page.click(f"{form} button")
    page.until(f"{form} .message", "204")
    shown = page.texts(f"{form} ~ .answers")[0]
    assert "role_required" in shown


def test_what_is_made_under_routes_is_shown_once(operator: Shown, operated: Server) -> None:
    operated.register("kay", PASSWORD)
    number = operated.get("/api/users/me", basic("kay", PASSWORD)).json["id"]

    form = operator.open_route("POST", "/api/admin/users/{id}/reset-code")
    operator.type(f"{form} input[name=id]", str(number))
    operator.click(f"{form} button")
    code = operator.until("#made pre", ".")
    assert operator.browser.switch_to.active_element.text == "What was made"
    assert operator.faults() == []
    assert code not in operator.last_request()[2]
    value = {"code": code, "password": "new"}
    assert operated.request("POST", "/api/password-resets", value=value).status == 204
    operator.click("#log-out")
    operator.until("#said", "logged out")
    assert operator.texts("#made") == []
    assert code not in operator.browser.page_source

    form = operator.open_route("POST", "/api/keys")  # without a session
    operator.type(f"{form} [name=name]", "ci")
    operator.type(f"{form} [autocomplete=username]", "kay")
    operator.type(f"{form} [type=password]", "new")
    operator.click(f"{form} button")
    key = operator.until("#made pre", "rak_")
    assert operated.get("/api/users/me", bearer(key)).json["username"] == "kay"
    assert key not in operator.last_request()[2]
    operator.click("#made button", "I have it")
    assert key not in operator.browser.page_source


def test_a_key_is_shown_although_the_session_has_ended(page: Shown, service: Server) -> None:
    service.register("ken", PASSWORD)
    page.log_in("ken")
    assert service.request("DELETE", "/api/sessions", basic("ken", PASSWORD)).status == 204
    form = page.open_route("POST", "/api/keys")
    page.type(f"{form} [name=name]", "ci")
    page.type(f"{form} [type=password]", PASSWORD)
    page.click(f"{form} button")
    page.until("#said", "The session has ended. Log in again.")
    key = page.until("#made pre", "rak_")
    assert service.get("/api/users/me", bearer(key)).json["username"] == "ken"


# The same request in a shell


def test_the_command_lines_do_the_same(page: Shown, service: Server, tmp_path: Path) -> None:
    """Whatever the name and the password are."""
    password = f"{SHELL} ü"
    service.register(SHELL, password)
    page.submit("#register", username=SHELL, password=password)
    page.until("#register .message.bad", "taken")
    line, status, body = page.last_request()
    assert password not in line
    quoted = json.dumps(password, ensure_ascii=False)[1:-1]
    assert execute(line, tmp_path, NEW_PASSWORD=quoted) == (400, json.loads(body))
    assert status == "400"

    page.log_in(SHELL, password)
    assert page.texts("#state-name") == [SHELL]
    line, status, body = page.last_request()
    assert (status, password in line) == ("201", False)
    answer, pair = execute(line, tmp_path, PASSWORD=password)
    assert (answer, pair.keys()) == (201, json.loads(body).keys())

    form = page.open_route("GET", "/api/users/me")
    page.click(f"{form} button")
    page.until(f"{form} .message", "200")
    line, status, body = page.last_request()
    assert '"Authorization: Bearer $TOKEN"' in line
    assert execute(line, tmp_path, TOKEN=pair["token"]) == (200, json.loads(body))
    page.click(".exchange[open] button", "Show secrets")
    line, _, _ = page.last_request()
    assert "$TOKEN" not in line
    assert execute(line, tmp_path) == (200, json.loads(body))
    page.click(".exchange[open] button", "Show secrets")
    assert "$TOKEN" in page.last_request()[0]

    form = page.open_route("PUT", "/api/users/me/password")
    new, old = page.find(f"{form} [type=password]")
    new.send_keys("new")
    old.send_keys("wrong")
    page.click(f"{form} button")
    page.until(f"{form} .message.bad", "Not accepted")
    line, _, _ = page.last_request()
    assert execute(line, tmp_path, NEW_PASSWORD="new", PASSWORD=password) == (204, None)
    service.log_in(SHELL, "new")

    form = page.open_route("any", "/api/verify")
    page.click(f"{form} option", "HEAD")
    page.type(f"{form} input", f"a'b, {SHELL.split(maxsplit=1)[0]}")
    page.click(f"{form} button")
    page.until("#said", "ended")  # with the old password
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["$(touch pwned)", "`touch pwned`", "a\\", "-u", "'", "!! ~ *"])
def test_no_name_means_more_than_itself_in_a_command_line(
    page: Shown, tmp_path: Path, name: str
) -> None:
    page.submit("#log-in", username=name, password="wrong")
    page.until("#log-in .message.bad", "Not accepted")
    line, _, body = page.last_request()
    assert name in line.replace("'\\''", "'")
    assert execute(line, tmp_path, PASSWORD="wrong") == (401, json.loads(body))
    assert list(tmp_path.iterdir()) == []


# What it must never do


def test_names_and_answers_are_shown_as_text(page: Shown, service: Server) -> None:
    service.register(HOSTILE, PASSWORD)
    page.log_in(HOSTILE)
    assert page.texts("#state-name") == [HOSTILE]
    assert page.texts("#me dd")[0] == HOSTILE
    assert HOSTILE in page.texts("#token-payload .mono")
    form = page.open_route("GET", "/api/resource")
    page.click(f"{form} button")
    page.until(f"{form} .message", "200")
    assert json.loads(page.last_request()[2]) == {"data": f"Hello, {HOSTILE}!"}
    assert page.find("img") == []


def test_the_browser_runs_no_other_script_and_sends_nothing_elsewhere(
    browser: Any, service: Server
) -> None:
    """By the policy: what the tests above count is seen, if there is any."""
    page = Shown(browser, f"{service.address}/")
    for script, directive in ATTACKS.items():
        browser.execute_script("window.violations.length = 0")
        browser.execute_script(f"{MAKE} try {{ {script} }} catch {{}}")
        for _ in until_deadline():
            if any(found.startswith(directive) for found in page.violations):
                break
    assert browser.title == "restauth: try the API"


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_used_by_all(browser: Any, service: Server, dark: bool, width: int) -> None:
    """axe-core finds nothing, in each state of the page; and nothing is wider than the screen."""
    with opened(browser, service.address, dark=dark, width=width) as page:
        assert page.faults() == []
        page.submit("#log-in", username=NAME, password="wrong")
        page.until("#log-in .message.bad", "Not accepted")
        assert page.faults() == []
        page.log_in()
        page.click("#token summary")
        for name in (
            ("GET", "/api/sessions"),
            ("PUT", "/api/users/me/password"),
            ("any", "/api/verify"),
        ):
            page.open_route(*name)
        assert page.faults() == []
        if width == 320:
            page.click("#wire > details > summary")
            assert page.faults() == []
            page.click("#wire > details > summary")
        size = "const {scrollWidth, clientWidth} = document.documentElement;"
        assert page.browser.execute_script(f"{size} return scrollWidth - clientWidth") == 0
        page.click("#sessions-end")
        assert page.faults() == []
        page.click("#confirm button", "Cancel")


def test_a_long_request_leaves_the_bar_at_the_bottom_in_one_line(
    browser: Any, service: Server
) -> None:
    with opened(browser, service.address, width=375) as page:
        lines = "const style = getComputedStyle(arguments[0]);"
        lines += "return arguments[0].offsetHeight / parseFloat(style.lineHeight)"
        form = page.open_route("GET", "/api/users/{id}")
        page.type(f"{form} input", "9" * 60)
        page.click(f"{form} button")
        assert "400" in page.until("#wire-last", "999")
        for selector in ("#wire h2", "#wire-last"):
            (found,) = page.find(selector)
            assert browser.execute_script(lines, found) < 1.5, selector
        (badge,) = page.find("#wire-last .badge")
        assert badge.rect["x"] + badge.rect["width"] <= 375


def test_it_can_be_used_by_the_keyboard_alone(page: Shown) -> None:
    def press(*keys: str) -> Any:
        ActionChains(page.browser).send_keys(*keys).perform()
        return page.browser.switch_to.active_element

    assert press(Keys.TAB).text == "Skip to the content"
    press(Keys.ENTER)
    assert press(Keys.TAB).get_attribute("name") == "username"
    press(NAME)
    assert press(Keys.TAB).get_attribute("type") == "password"
    press(PASSWORD, Keys.ENTER)
    page.until("#state-name", NAME)
    assert page.browser.switch_to.active_element.get_attribute("id") == "account-title"
    assert press(Keys.TAB).text == "Routes"
    refresh = press(Keys.TAB)
    assert refresh.text == "Refresh"
    style = "const {outlineStyle, outlineWidth} = getComputedStyle(arguments[0]);"
    visible = f"{style} return `${{outlineStyle}} ${{outlineWidth}}`"
    assert page.browser.execute_script(visible, refresh) == "solid 3px"
    press(Keys.ENTER)
    page.until("#token-said", "new token")


# Where it is


def test_it_works_under_a_prefix(browser: Any, tmp_path: Path) -> None:
    command = (*RESTAUTH, "serve", "--listen=127.0.0.1:0", "--url-prefix=/auth")
    with Server.start(tmp_path, *command, page="on") as server:
        value = {"username": NAME, "password": PASSWORD}
        assert server.request("POST", "/auth/api/users", value=value).status == 201
        assert server.get("/auth").status == 404
        with opened(browser, f"{server.address}/auth") as page:
            assert page.texts("#origin") == [f"{server.address}/auth/"]
            page.log_in()
            line, _, _ = page.last_request()
            assert line.endswith(f"{server.address}/auth/api/sessions")


def test_over_plain_http_no_window_asks_for_the_password(browser: Any, service: Server) -> None:
    """Nothing tells the service that a script asks: it challenges, and the browser is silent."""
    address = service.address.replace("127.0.0.1", "site.test")
    with opened(browser, address) as page:
        page.submit("#log-in", username=NAME, password="wrong")
        page.until("#log-in .message.bad", "Not accepted")
        page.click(".exchange[open] button", "Copy")
        page.until(".exchange[open] [role=status]", "Selected")  # a script has no clipboard there
        selected = browser.execute_script("return getSelection().toString()")
        assert selected == page.last_request()[0]
        assert "Basic realm" in browser.execute_script(
            "return document.querySelector('.exchange[open] .facts').textContent"
        )


def test_firefox_shows_it_too(service: Server, tmp_path: Path) -> None:
    with Firefox.started(program("firefox-esr"), tmp_path) as firefox:
        address = service.address.replace("//", "//someone:secret@")  # no script may fetch that
        firefox.get(f"{address}/?a=b#kept")
        firefox.execute_script(WATCH)
        wait_in(firefox, "document.querySelector('#routes-list .route') !== null")
        firefox.execute_script(f"""
            const {{username, password}} = document.querySelector("#log-in").elements;
            username.value = {json.dumps(NAME)};
            password.value = {json.dumps(PASSWORD)};
            document.querySelector("#log-in").requestSubmit();""")
        wait_in(firefox, "document.querySelector('#sessions-list .badge') !== null")
        clock = firefox.execute_script("return document.querySelector('#clock').textContent")
        assert re.fullmatch(r"10:00|9:\d\d", clock)
        firefox.execute_script("document.querySelector('#refresh').click()")
        wait_in(firefox, "document.querySelector('#token-said').textContent !== ''")
        firefox.execute_script("document.querySelector('#log-out').click()")
        wait_in(firefox, "document.querySelector('#said').textContent.includes('logged out')")
        assert firefox.execute_script("return [window.violations.length, localStorage.length]") == [
            *(0, 0)
        ]


def wait_in(firefox: Firefox, condition: str) -> None:
    for _ in until_deadline():
        if firefox.execute_script(f"return {condition}"):
            return
