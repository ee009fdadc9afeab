"""The page: when it is there, what its policy permits, and what its file must not hold."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
import webtest

from restauth.services import Services
from restauth.web.http import ALWAYS
from tests.conftest import ServicesFactory, client_of
from tests.web.conftest import WRONG, call, code_of

TEXT = files("restauth.web").joinpath("page.html").read_text("utf-8")


class Elements(HTMLParser):
    """The elements of the page: (name, attributes), and the text in those of each name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(TEXT)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.found[-1][0] if self.found else "", []).append(data)


ELEMENTS = Elements()
SCRIPT, STYLE = ("".join(ELEMENTS.texts[name][:1]) for name in ("script", "style"))


@pytest.fixture
def page(make_services: ServicesFactory) -> Services:
    return make_services(page="on")


def policy_of(answer: webtest.TestResponse) -> dict[str, str]:
    """The directives of the policy, each with its sources."""
    rows = answer.headers["Content-Security-Policy"].split("; ")
    return {name: sources for name, _, sources in (row.partition(" ") for row in rows)}


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# When it is there


def test_the_page_is_the_file_for_anyone(page: Services) -> None:
    answer = client_of(page).get("/", headers=WRONG, status=200)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.text == TEXT


@pytest.mark.parametrize("keywords", [{}, {"page": "off"}])
def test_where_it_is_off_nothing_is_at_its_path(
    make_services: ServicesFactory, keywords: dict[str, object]
) -> None:
    client = client_of(make_services(**keywords))
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        answer = client.request("/", method=method, status=404)
        assert dict(ALWAYS).items() <= dict(answer.headers).items()
    assert code_of(client.get("/", status=404)) == "not_found"


def test_head_options_and_other_methods_are_as_on_every_route(page: Services) -> None:
    client = client_of(page)
    whole, head = client.get("/"), client.head("/", status=200)
    assert (head.headers, head.body) == (whole.headers, b"")
    assert client.options("/", status=204).headers["Allow"] == "GET, HEAD, OPTIONS"
    assert client.post("/", status=405).headers["Allow"] == "GET, HEAD, OPTIONS"


def test_it_is_served_over_plain_http_where_https_is_required(
    make_services: ServicesFactory,
) -> None:
    client_of(make_services(page="on", require_https=True)).get("/", status=200)


def test_it_is_at_the_root_of_its_mount_point_alone(page: Services) -> None:
    assert call(page, "/", SCRIPT_NAME="/auth").status_int == 200
    assert [call(page, path).status_int for path in ("", "//", "/index.html", "/page.html")] == [
        404
    ] * 4


def test_it_is_no_part_of_the_api_that_is_described(page: Services) -> None:
    paths = client_of(page).get("/api/openapi.json").json["paths"]
    assert "/" not in paths
    assert "/api/token" in paths


# What a browser may do with it


def test_the_policy_permits_the_script_and_the_style_of_the_file_and_calls_to_its_origin(
    page: Services,
) -> None:
    assert policy_of(client_of(page).get("/")) == {
        "default-src": "'none'",
        "script-src": hash_of(SCRIPT),
        "style-src": hash_of(STYLE),
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_no_other_answer_has_a_policy_that_permits_anything(page: Services) -> None:
    client = client_of(page)
    client.get("/")
    for path in ("/api/health", "/api/openapi.json", "/api/resource", "/nothing"):
        headers = client.get(path, status="*").headers
        assert headers["Content-Security-Policy"] == dict(ALWAYS)["Content-Security-Policy"]


def test_the_page_has_the_other_headers_of_every_answer(page: Services) -> None:
    headers = client_of(page).get("/").headers
    others = {name: value for name, value in ALWAYS if name != "Content-Security-Policy"}
    assert others.items() <= dict(headers).items()
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Set-Cookie" not in headers


# What is in the file


def test_there_is_one_script_and_one_style_and_no_handler_in_an_attribute() -> None:
    names = [name for name, _ in ELEMENTS.found]
    assert (names.count("script"), names.count("style")) == (1, 1)
    attributes = {name for _, attributes in ELEMENTS.found for name in attributes}
    assert not {name for name in attributes if name.startswith("on")}
    assert "style" not in attributes


def test_the_page_names_no_other_address() -> None:
    """It works under any prefix, and loads nothing."""
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w", TEXT)
    for _, attributes in ELEMENTS.found:
        for name in ("href", "src", "action", "srcset", "data", "ping"):
            assert (attributes.get(name) or "#").startswith("#"), attributes
    assert not re.search(r"\burl\(|@import|\bimport\s*[({]|\bimportScripts\b", TEXT)
    assert not {name for name, _ in ELEMENTS.found} & {"base", "iframe", "object", "embed", "img"}


@pytest.mark.parametrize(
    "word",
    [
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "setHTMLUnsafe", "parseFromString"),
        *("document.write", "createContextualFragment", "eval", "Function", "srcdoc"),
        *("localStorage", "sessionStorage", "indexedDB", "cookie", "caches", "serviceWorker"),
        *("postMessage", "window.name", "XMLHttpRequest", "WebSocket", "sendBeacon"),
    ],
)
def test_the_script_uses_nothing_that_reads_html_keeps_secrets_or_sends_elsewhere(
    word: str,
) -> None:
    assert not re.search(rf"(?<![\w]){re.escape(word)}\b", SCRIPT)


def test_each_id_that_is_named_is_there_once() -> None:
    ids = [str(attributes["id"]) for _, attributes in ELEMENTS.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = {
        str(attributes[name])
        for _, attributes in ELEMENTS.found
        for name in ("aria-labelledby", "for", "aria-describedby")
        if name in attributes
    }
    links = {str(each["href"])[1:] for _, each in ELEMENTS.found if "href" in each}
    by_script = set(re.findall(r"byId\(\"([\w-]+)\"\)", SCRIPT))
    assert named | links | by_script <= set(ids)
