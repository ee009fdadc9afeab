"""The page `clients` of the guide: each example, run against a real server.

Rule: an example is taken from the page as it stands; only addresses are replaced. Access tokens
expire because the server is started again with another issuer: for all clients at one moment, and
without waiting.
"""

import asyncio
import importlib.util
import json
import re
import shlex
import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Barrier
from types import ModuleType
from typing import Any
from unicodedata import normalize

import pytest

from tests.conftest import basic, bearer
from tests.counterparts.conftest import library, npm_package, program
from tests.documents import chapter, example, rows
from tests.key_pairs import need_extra
from tests.processes import PATIENCE, RESTAUTH, Server, run, until_deadline
from tests.test_journeys import BIN, steps

ADDRESS = "http://127.0.0.1:5000"  # restauth's, on the page
PUBLIC_ADDRESS, API_ADDRESS = "https://auth.example.org", "https://api.example.org"
NAME, PASSWORD = "ada", "analytical-engine"
RESOURCE = "/api/resource"
THREADS = 6
REFRESHED, REUSED, STARTED = (
    f'"event": "{event}"' for event in ("refreshed", "refresh_reuse", "session_started")
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server.start(tmp_path) as server:
        yield server


@contextmanager
def restarted(directory: Path, address: str, **settings: str) -> Iterator[Server]:
    """A server at the address that another one has just left."""
    command = (*RESTAUTH, "serve", "--listen", address.removeprefix("http://"))
    with Server.start(directory, *command, **settings) as server:
        assert server.address == address
        yield server


def ended_output(server: Server) -> str:
    """All that it has said, after its end."""
    assert server.end() == 0
    return server.output


def execute(directory: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


# curl


def curl(directory: Path, command: str, address: str) -> "subprocess.CompletedProcess[str]":
    program("curl")
    words = shlex.split(command.replace(ADDRESS, address))
    return execute(directory, words[0], "--silent", *words[1:])


def test_the_curl_session(server: Server, tmp_path: Path) -> None:
    found: dict[str, str] = {}

    def fill(text: str) -> str:
        return re.sub("<[a-z ]+>", lambda match: found[match[0]], text)

    for command, said in steps(example("clients", "console", "curl -X POST")):
        done = curl(tmp_path, fill(command), server.address)
        assert done.returncode == 0
        (line,) = said or [""]
        for name in re.findall("<[a-z ]+>", line):
            member = name[1:-1].removeprefix("new ").replace(" ", "_")
            found[name] = json.loads(done.stdout)[member]
        assert done.stdout.strip() == fill(line)
    assert len(found) == 4


def test_curl_reads_the_password_from_a_file(server: Server, tmp_path: Path) -> None:
    server.register(NAME, PASSWORD)
    (tmp_path / "credentials").write_text(example("clients", "netrc", PASSWORD))
    command = example("clients", "sh", "--netrc-file")
    done = curl(tmp_path, command, server.address)
    assert json.loads(done.stdout)["duration"] == 600
    server.request("DELETE", "/api/users/me", basic(NAME, PASSWORD))
    assert curl(tmp_path, command, server.address).returncode == 22  # that of --fail


# Names and passwords beyond ASCII

IN_LATIN_1, BEYOND_LATIN_1 = "grüßt-Zoë", "łódź-日本"
ANY_NAME = {"username_pattern": ".+"}


@pytest.mark.parametrize("secret", [IN_LATIN_1, BEYOND_LATIN_1])
def test_how_clients_encode_names_and_passwords(secret: str, tmp_path: Path) -> None:
    requests, httpx = library("requests"), library("httpx")
    (_, wrong, right), (_, wrong_script, right_script) = (
        [cell.strip("`") for cell in row]
        for row in rows(chapter("clients", "Names and passwords beyond ASCII"))
    )
    with Server.start(tmp_path, **ANY_NAME) as server:
        server.register(secret, secret)
        url = server.address + RESOURCE

        def by_requests(argument: str) -> int:
            names = {"username": secret, "password": secret}
            auth = eval(argument.removeprefix("auth="), names)  # noqa: S307 - the page's
            status: int = requests.get(url, auth=auth, timeout=PATIENCE).status_code
            return status

        def by_script(expression: str) -> int | str:
            script = f"const username = process.argv[1], password = username;\n{expression}"
            done = execute(tmp_path, program("node"), "-p", script, secret)
            if done.returncode:
                return done.stderr
            return server.get(RESOURCE, {"Authorization": f"Basic {done.stdout.strip()}"}).status

        assert by_requests(right) == 200
        assert by_script(right_script) == 200
        if secret is IN_LATIN_1:
            assert by_requests(wrong) == 401
            assert by_script(wrong_script) == 401
        else:
            with pytest.raises(UnicodeEncodeError):
                by_requests(wrong)
            assert "InvalidCharacterError" in str(by_script(wrong_script))

        # What needs nothing special: httpx, curl, and another Unicode form.
        assert httpx.get(url, auth=(secret, secret)).status_code == 200
        assert curl(tmp_path, f"curl --fail -u '{secret}:{secret}' {url}", "").returncode == 0
        decomposed = normalize("NFD", secret)
        assert decomposed != secret
        assert server.get(RESOURCE, basic(secret, decomposed)).status == 200


# Python


def imported(path: Path, text: str) -> ModuleType:
    """A module of that text, in a file of its own."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copied(directory: Path, client: str) -> Any:
    """The page's class for requests or httpx, copied to the file that the page names."""
    text = example("clients", "python", f"A session of restauth, for {client}.")
    return imported(directory / f"restauth_{client}.py", text).RestauthAuth


@pytest.fixture(params=["requests", "httpx"])
def client(request: pytest.FixtureRequest) -> str:
    library(request.param)
    return str(request.param)


def get(client: str, url: str, auth: Any, **options: Any) -> Any:
    """GET by requests or httpx, on a connection of its own."""
    return library(client).get(url, auth=auth, timeout=PATIENCE, **options)


@contextmanager
def expired(directory: Path, client: str, **settings: str) -> Iterator[tuple[Server, Any]]:
    """A logged-in `RestauthAuth` whose access token is not accepted any more."""
    with Server.start(directory, issuer="before") as server:
        address = server.address
        server.register(NAME, PASSWORD)
        auth = copied(directory, client)(address, NAME, PASSWORD)
        assert get(client, address + RESOURCE, auth).status_code == 200
        assert ended_output(server).count(REFRESHED) == 0
    with restarted(directory, address, **settings) as server:
        yield server, auth


def test_the_example_of_each_class(client: str, server: Server, tmp_path: Path) -> None:
    server.register(NAME, PASSWORD)
    copied(tmp_path, client)
    use = example("clients", "python", f"from restauth_{client} import")
    (tmp_path / "use.py").write_text(use.replace(ADDRESS, server.address))
    done = execute(tmp_path, sys.executable, "-W", "error", "use.py")
    assert (done.stdout, done.stderr) == ("{'data': 'Hello, ada!'}\n", "")
    assert server.get("/api/sessions", basic(NAME, PASSWORD)).json == {"sessions": []}


@pytest.mark.parametrize("secret", [IN_LATIN_1, BEYOND_LATIN_1])
def test_each_class_logs_in_beyond_ascii(client: str, secret: str, tmp_path: Path) -> None:
    with Server.start(tmp_path, **ANY_NAME) as server:
        server.register(secret, secret)
        auth = copied(tmp_path, client)(server.address, secret, secret)
        assert get(client, server.address + RESOURCE, auth).status_code == 200


def meeting(client: str, barrier: Barrier) -> Any:
    """A client of the library in which all threads have their 401 before one of them goes on."""
    module = library(client)
    if client == "requests":

        class Adapter(module.adapters.HTTPAdapter):  # type: ignore[misc, name-defined]
            def send(self, request: Any, **options: Any) -> Any:
                answer = super().send(request, **options)
                if answer.status_code == 401:
                    barrier.wait(PATIENCE)
                return answer

        session = module.Session()
        session.mount("http://", Adapter())
        return session

    class Transport(module.HTTPTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            answer = super().handle_request(request)
            if answer.status_code == 401:
                barrier.wait(PATIENCE)
            return answer

    return module.Client(transport=Transport())


def test_parallel_threads_refresh_once(client: str, tmp_path: Path) -> None:
    with expired(tmp_path, client) as (server, auth):
        barrier = Barrier(THREADS)

        def call(number: int) -> tuple[int, object]:
            del number
            with meeting(client, barrier) as session:
                answer = session.get(server.address + RESOURCE, auth=auth, timeout=PATIENCE)
                return answer.status_code, answer.json()

        with ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(call, range(THREADS)))
        assert answers == [(200, {"data": "Hello, ada!"})] * THREADS
        output = ended_output(server)
        assert (output.count(REFRESHED), output.count(STARTED)) == (1, 0)


def test_parallel_tasks_refresh_once(tmp_path: Path) -> None:
    httpx = library("httpx")

    class Transport(httpx.AsyncHTTPTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            answer = await super().handle_async_request(request)
            if answer.status_code == 401:
                await asyncio.wait_for(barrier.wait(), PATIENCE)
            return answer

    async def call_all(address: str, auth: Any) -> list[int]:
        async with httpx.AsyncClient(auth=auth, transport=Transport()) as client:
            answers = await asyncio.gather(
                *(client.get(address + RESOURCE) for _ in range(THREADS))
            )
            return [answer.status_code for answer in answers]

    with expired(tmp_path, "httpx") as (server, auth):
        barrier = asyncio.Barrier(THREADS)
        assert asyncio.run(call_all(server.address, auth)) == [200] * THREADS
        assert ended_output(server).count(REFRESHED) == 1


@pytest.mark.parametrize("kind", ["json", "files", "file"])
def test_bodies_that_are_sent_again_and_those_that_are_not(
    client: str, kind: str, tmp_path: Path
) -> None:
    """Where a token is not enough: it is told 403, after the body was read, and nothing changes."""
    module = library(client)
    path = tmp_path / "body.json"
    path.write_text('{"password": "another"}')
    is_sent_again = kind == "json" or (kind == "files" and client == "requests")
    with expired(tmp_path, client) as (server, auth), path.open("rb") as file:
        bodies = {
            "json": {"json": json.loads(path.read_text())},
            "files": {"files": {"body": file}},
            "file": {"data" if client == "requests" else "content": file},
        }
        url = f"{server.address}/api/users/me/password"
        answer = module.put(url, auth=auth, timeout=PATIENCE, **bodies[kind])
        assert answer.status_code == (403 if is_sent_again else 401)
        assert get(client, server.address + RESOURCE, auth).status_code == 200
        assert ended_output(server).count(REFRESHED) == 1


def test_the_caller_is_told_that_the_session_has_ended(client: str, tmp_path: Path) -> None:
    with expired(tmp_path, client) as (server, auth):
        server.request("DELETE", "/api/sessions", basic(NAME, PASSWORD))
        for _ in range(2):
            answer = get(client, server.address + RESOURCE, auth)
            assert answer.status_code == 401
            assert answer.request.headers["Authorization"].startswith("Bearer ")
        auth.log_out()
        output = ended_output(server)
        assert (output.count('"event": "refresh_failed"'), output.count(STARTED)) == (1, 0)


def test_logout_refreshes_if_it_must_and_ends_the_session(client: str, tmp_path: Path) -> None:
    with expired(tmp_path, client) as (server, auth):
        auth.log_out()
        answer = get(client, server.address + RESOURCE, auth)
        assert answer.status_code == 401
        assert answer.request.headers["Authorization"].startswith("Bearer ")
        sessions = server.get("/api/sessions", basic(NAME, PASSWORD)).json
        assert sessions == {"sessions": []}
        output = ended_output(server)
        assert output.count(REFRESHED) == output.count('"event": "session_ended"') == 1


def make_wait(database: Path) -> None:
    """As after many failures: whoever failed has to wait for a minute."""
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as other, other:
        other.execute("UPDATE failures SET blocked_until = unixepoch() + 60 WHERE peer <> ''")


def test_429_and_503_are_left_to_the_caller(client: str, tmp_path: Path) -> None:
    module = library(client)
    raised = module.HTTPError if client == "requests" else module.HTTPStatusError
    database = tmp_path / "restauth.db"
    with expired(tmp_path, client) as (server, auth):
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nothing else can be written until this ends
            with pytest.raises(raised) as caught:
                get(client, server.address + RESOURCE, auth)
            assert caught.value.response.status_code == 503
            assert int(caught.value.response.headers["Retry-After"]) > 0
        assert get(client, server.address + RESOURCE, auth).status_code == 200  # tried again

        assert server.get(RESOURCE, basic(NAME, "wrong")).status == 401
        make_wait(database)
        with pytest.raises(raised) as caught:
            type(auth)(server.address, NAME, PASSWORD)
        assert caught.value.response.status_code == 429
        assert int(caught.value.response.headers["Retry-After"]) > 0
        assert get(client, server.address + RESOURCE, auth).status_code == 200


REDIRECT = """
import os

def app(environ, start_response):
    print("SAW", environ.get("HTTP_AUTHORIZATION"), flush=True)
    if environ["PATH_INFO"] == "/":
        start_response("401 Unauthorized", [("Content-Type", "text/plain")])
    else:
        location = environ["QUERY_STRING"]
        start_response("302 Found", [("Location", location), ("Content-Type", "text/plain")])
    return [b""]
"""


def test_the_token_does_not_follow_a_redirect_to_another_origin(
    client: str, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "redirect.py").write_text(REDIRECT)
    command = (BIN / "waitress-serve", "--listen=127.0.0.1:0", "redirect:app")
    server.register(NAME, PASSWORD)
    auth = copied(tmp_path, client)(server.address, NAME, PASSWORD)
    follow = {} if client == "requests" else {"follow_redirects": True}
    with Server.start(tmp_path, *command) as ours, Server.start(tmp_path, *command) as foreign:
        answer = get(client, f"{ours.address}/go?{foreign.address}/", auth, **follow)
        assert answer.status_code == 401
        assert len(ours.hear(re.compile("SAW Bearer .*"))) == 1
        assert foreign.hear(re.compile("SAW .*")) == ["SAW None"]
    assert REFRESHED not in ended_output(server)


# Services that verify tokens

Verify = Callable[[str], Any]  # the claims, or the name of the error


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Server]:
    """A server that signs with an EdDSA key."""
    need_extra()
    with Server.start(tmp_path) as server:
        server.register(NAME, PASSWORD)
        assert run(tmp_path, "key", "rotate", "--algorithm", "EdDSA").returncode == 0
        yield server


def pyjwt(directory: Path, address: str, cooldown: float = 0) -> Verify:
    jwt = library("jwt")
    text = example("clients", "python", "PyJWKClient(").replace(PUBLIC_ADDRESS, address)
    module = imported(directory / "verifier.py", text)
    module.KEYS.cooldown_duration = cooldown

    def verify(token: str) -> Any:
        try:
            return module.verify(token)
        except jwt.PyJWTError as error:
            return type(error).__name__

    return verify


def jose(directory: Path, address: str) -> Verify:
    node = jose_at(directory, address)
    (directory / "main.mjs").write_text("""
        import { verify } from "./verify.mjs";
        const outcome = await verify(process.argv[2]).catch((error) => error.code ?? error.name);
        console.log(JSON.stringify(outcome));
    """)

    def verify(token: str) -> Any:
        done = execute(directory, node, "main.mjs", token)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return verify


def jose_at(directory: Path, address: str) -> str:
    """Write the page's `verify.mjs` beside the library; the path of Node."""
    node = program("node")
    (directory / "node_modules").symlink_to(npm_package("jose").parent)
    text = example("clients", "js", "jwtVerify(token").replace(PUBLIC_ADDRESS, address)
    (directory / "verify.mjs").write_text(text)
    return node


Verifier = Callable[[Path, str], Verify]
VERIFIERS = pytest.mark.parametrize("verifier", [pyjwt, jose])


@VERIFIERS
def test_a_service_verifies_tokens_and_does_not_see_a_logout(
    verifier: Verifier, signing: Server, tmp_path: Path
) -> None:
    token = signing.log_in(NAME, PASSWORD)
    verify = verifier(tmp_path, signing.address)
    claims = verify(token)
    assert (claims["name"], claims["roles"], claims["sub"]) == (NAME, [], "1")

    # After the logout, restauth itself says no, and the service does not know.
    assert signing.get("/api/verify", bearer(token)).headers["remote-user"] == NAME
    assert signing.request("DELETE", "/api/token", bearer(token)).status == 204
    assert signing.get("/api/verify", bearer(token)).status == 401
    assert verify(token) == claims


def sign(directory: Path, claims: dict[str, object], typ: str = "at+jwt") -> str:
    """A token of the server's own key, with any claims."""
    jwt = library("jwt")
    keys = json.loads((directory / "restauth.keys").read_text())["keys"]
    (key,) = [key for key in keys if key["kty"] == "OKP"]
    private = jwt.PyJWK(key)
    signed: str = jwt.encode(claims, private, "EdDSA", {"kid": key["kid"], "typ": typ})
    return signed


@VERIFIERS
def test_a_service_refuses_what_is_not_an_access_token_for_it(
    verifier: Verifier, signing: Server, tmp_path: Path
) -> None:
    verify = verifier(tmp_path, signing.address)
    token = signing.log_in(NAME, PASSWORD)
    claims = verify(token)
    assert verify(sign(tmp_path, claims)) == claims

    wrong = [("iss", "another"), ("aud", "another"), ("exp", claims["iat"] - 1)]
    required = set(claims) - {"jti"}
    assert required == {"aud", "exp", "iat", "iss", "name", "roles", "sid", "sub"}
    others = [
        sign(tmp_path, claims, "JWT"),
        *(sign(tmp_path, claims | {name: value}) for name, value in wrong),
        *(
            sign(tmp_path, {name: value for name, value in claims.items() if name != missing})
            for missing in required
        ),
        token[:-2] + ("AA" if token[-2:] != "AA" else "BB"),
    ]
    accepted = [other for other in others if not isinstance(verify(other), str)]
    assert accepted == []

    # The key set shows the next key too, but its algorithm is not the one expected.
    assert run(tmp_path, "key", "rotate", "--algorithm", "ES256").returncode == 0
    refused = verify(signing.log_in(NAME, PASSWORD))
    assert refused in ("InvalidAlgorithmError", "ERR_JOSE_ALG_NOT_ALLOWED")
    assert verify(token) == claims


def test_a_key_set_is_not_read_again_at_once_by_pyjwt(signing: Server, tmp_path: Path) -> None:
    verify = pyjwt(tmp_path, signing.address, cooldown=30)
    assert verify(signing.log_in(NAME, PASSWORD))["name"] == NAME
    assert run(tmp_path, "key", "rotate").returncode == 0
    token = signing.log_in(NAME, PASSWORD)
    assert verify(token) == "PyJWKClientError"
    assert pyjwt(tmp_path, signing.address)(token)["name"] == NAME


def test_a_key_set_is_not_read_again_at_once_by_jose(signing: Server, tmp_path: Path) -> None:
    node = jose_at(tmp_path, signing.address)
    (tmp_path / "main.mjs").write_text("""
        import { verify } from "./verify.mjs";
        process.stdin.setEncoding("utf8");
        for await (const token of process.stdin) {
            const outcome = await verify(token.trim()).catch((error) => error.code);
            console.log(outcome.name ?? outcome);
        }
    """)
    with subprocess.Popen(
        [node, "main.mjs"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def verify_next() -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(signing.log_in(NAME, PASSWORD) + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        try:
            assert verify_next() == NAME
            assert run(tmp_path, "key", "rotate").returncode == 0
            assert verify_next() == "ERR_JWKS_NO_MATCHING_KEY"
        finally:
            process.kill()


@VERIFIERS
def test_a_service_can_tell_that_the_key_set_was_not_read(
    verifier: Verifier, signing: Server, tmp_path: Path
) -> None:
    token = signing.log_in(NAME, PASSWORD)
    (tmp_path / "elsewhere").mkdir()
    not_found = verifier(tmp_path / "elsewhere", f"{signing.address}/missing")
    assert not_found(token) in ("PyJWKClientConnectionError", "ERR_JOSE_GENERIC")
    verify = verifier(tmp_path, signing.address)
    signing.end()
    assert verify(token) in ("PyJWKClientConnectionError", "TypeError")


# OAuth clients, waiting, package managers


def test_a_token_request_of_an_oauth_client_is_415(server: Server) -> None:
    with closing(server.connect()) as connection:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/api/token", "grant_type=client_credentials", form)
        assert connection.getresponse().status == 415


INDEX = """
from restauth import AuthMiddleware

def index(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<!DOCTYPE html><title>No packages</title>"]

app = AuthMiddleware(index, required=True)
"""


def test_what_a_package_manager_says(tmp_path: Path) -> None:
    npm = program("npm")
    (tmp_path / "index.py").write_text(INDEX)
    command = (BIN / "waitress-serve", "--listen=127.0.0.1:0", "index:app")
    with Server.start(tmp_path, *command, free_failures="0", max_failures="10") as server:
        host = server.address.removeprefix("http://")  # it has made the database
        adding = run(tmp_path, "user", "add", NAME, "--password-stdin", stdin=PASSWORD)
        assert adding.returncode == 0
        npmrc = tmp_path / "npmrc"
        npmrc.write_text(f"//{host}/:_auth={b64encode(f'{NAME}:wrong'.encode()).decode()}\n")
        common = ("--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir")

        def pip(password: str) -> str:
            index = f"http://{NAME}:{password}@{host}/simple/"
            words = ("download", "--no-deps", "--retries=0", f"--index-url={index}", *common)
            done = execute(tmp_path, sys.executable, "-m", "pip", *words, "nothing-here")
            assert done.returncode == 1
            return done.stderr

        def by_npm() -> str:
            words = (f"--userconfig={npmrc}", f"--registry={server.address}/", "--fetch-retries=0")
            done = execute(tmp_path, npm, *words, "--cache=cache", "view", "nothing-here")
            assert done.returncode == 1
            return done.stderr

        assert "E401" in by_npm()
        assert (said := pip("wrong")) == pip(PASSWORD)  # as if there were no such package
        assert "Could not find a version" in said
        for _ in until_deadline():
            if server.get("/", basic(NAME, "wrong")).status == 429:
                break
        assert "E429" in by_npm()
        assert "Could not find a version" in pip(PASSWORD)


# A browser

SITE = """
from pathlib import Path

PAGE = b'''<!DOCTYPE html><title>A page</title>
<form hidden><input name="username"><input name="password"><button>Log in</button></form>
<button class="logout">Log out</button><output></output>'''
USED = b'<script type="module" src="page.js"></script>'


def app(environ, start_response):
    path = environ["PATH_INFO"]
    kind = "text/javascript" if path.endswith(".js") else "text/html"
    policy = ("Content-Security-Policy", "script-src 'self'")
    start_response("200 OK", [("Content-Type", kind), policy])
    return [Path(path[1:]).read_bytes() if kind != "text/html" else PAGE + USED * (path == "/used")]
"""
# `auth` is the module's object in the page.
IMPORT = """
return import("/restauth.js").then(({ Restauth }) => {
    window.ends = 0;
    window.auth = new Restauth(...arguments);
    auth.addEventListener("end", () => { window.ends += 1; });
});
"""
# What a call comes to: what it returns, or the status of its RestauthError, or another error.
OUTCOME = """
const outcome = (promise) => promise.then(
    async (value) => value instanceof Response ? [value.status, await value.text()] : value ?? null,
    (error) => error.status ? [error.status, error.retryAfter] : String(error),
);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.counterparts import chromium  # noqa: PLC0415 - it skips without one

    with chromium.started(tmp_path_factory.mktemp("home")) as browser:
        yield browser


class Tab:
    """A tab of its own, with the page's module in it."""

    def __init__(self, browser: Any, site: str, *origins: object) -> None:
        self.browser, self.site, self.origins = browser, site, origins
        browser.switch_to.new_window("tab")
        self.handle = browser.current_window_handle
        self.load()

    def load(self) -> None:
        self.browser.switch_to.window(self.handle)
        self.browser.get(f"{self.site}/")
        self.run(IMPORT, *self.origins)

    def run(self, script: str, *arguments: object) -> Any:
        self.browser.switch_to.window(self.handle)
        return self.browser.execute_script(script, *arguments)

    def outcome(self, promise: str, *arguments: object) -> Any:
        return self.run(f"{OUTCOME} return outcome({promise});", *arguments)

    def start(self, promises: str, *arguments: object) -> None:
        """Begin, and wait for nothing: `finish` gives the outcomes."""
        self.run(f"{OUTCOME} window.begun = ({promises}).map(outcome);", *arguments)

    def finish(self) -> Any:
        return self.run("return Promise.all(begun);")

    def log_in(self) -> None:
        assert self.outcome("auth.login(...arguments)", NAME, PASSWORD) is None

    def get(self, address: str) -> Any:
        return self.outcome("auth.fetch(arguments[0])", address + RESOURCE)

    @property
    def ends(self) -> int:
        return int(self.run("return ends;"))

    def wait_for(self, expression: str) -> None:
        for _ in until_deadline():
            if self.run(f"return {expression};"):
                return


HELLO = [200, '{"data": "Hello, ada!"}\n']
Open = Callable[..., Tab]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Server]:
    directory = tmp_path / "site"
    directory.mkdir()
    (directory / "pages.py").write_text(SITE)
    (directory / "restauth.js").write_text(example("clients", "js", "export class Restauth "))
    command = (BIN / "waitress-serve", "--listen=127.0.0.1:0", "pages:app")
    with Server.start(directory, *command) as server:
        yield server


@pytest.fixture
def open_tab(browser: Any, site: Server) -> Iterator[Open]:
    first = browser.current_window_handle

    def open_one(address: str, *origins: str) -> Tab:
        return Tab(browser, site.address, address, list(origins))

    yield open_one
    for handle in browser.window_handles:
        if handle != first:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(first)


@contextmanager
def expired_tabs(
    directory: Path, site: Server, open_tab: Open, count: int, **settings: str
) -> Iterator[tuple[Server, list[Tab]]]:
    """Tabs of one session, each with an access token that is not accepted any more."""
    origin = {"cors_origins": site.address}
    with Server.start(directory, issuer="before", **origin) as server:
        address = server.address
        server.register(NAME, PASSWORD)
        first = open_tab(address)
        first.log_in()
        tabs = [first, *(open_tab(address) for _ in range(count - 1))]
        assert [tab.get(address) for tab in tabs] == [HELLO] * count
        # A tab that comes later asks for a token of its own.
        assert ended_output(server).count(REFRESHED) == count - 1
    with restarted(directory, address, **origin, **settings) as server:
        yield server, tabs


def rotations(directory: Path) -> int:
    """How many refresh tokens of the one session have been used while they were current."""
    with closing(sqlite3.connect(directory / "restauth.db")) as database:
        ((count,),) = database.execute("SELECT refresh_counter FROM sessions")
    return int(count)


CALL_MANY = "Array.from({ length: arguments[1] }, () => auth.fetch(arguments[0]))"


def test_parallel_calls_of_a_page_refresh_once(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 1) as (server, (tab,)):
        tab.start(CALL_MANY, server.address + RESOURCE, THREADS)
        assert tab.finish() == [HELLO] * THREADS
        tab.load()  # and as many in a page that has no access token yet
        tab.start(CALL_MANY, server.address + RESOURCE, THREADS)
        assert tab.finish() == [HELLO] * THREADS
        assert ended_output(server).count(REFRESHED) == 2


def test_a_late_401_is_answered_by_the_refresh_that_was(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 1) as (server, (tab,)):
        tab.run(
            "const real = fetch; let held = false;"
            "window.fetch = async (...given) => {"
            "  const answer = await real(...given);"
            "  if (answer.status === 401 && !held) {"
            "    held = true;"
            "    await new Promise((free) => { window.free = free; });"
            "  }"
            "  return answer;"
            "};"
        )
        tab.start("[auth.fetch(arguments[0])]", server.address + RESOURCE)
        tab.wait_for("window.free !== undefined")
        assert tab.get(server.address) == HELLO
        tab.run("free();")
        assert tab.finish() == [HELLO]
        assert ended_output(server).count(REFRESHED) == 1


def test_two_tabs_that_refresh_at_once_take_turns(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 2) as (server, tabs):
        key = f"restauth {server.address}"
        before = rotations(tmp_path)
        # Both ask while the lock is held elsewhere: so neither is done before the other begins.
        tabs[0].run(
            "return new Promise((held) => { navigator.locks.request(arguments[0],"
            " () => { held(); return new Promise((free) => { window.free = free; }); }); });",
            key,
        )
        for tab in tabs:
            tab.start(CALL_MANY, server.address + RESOURCE, THREADS)
        tabs[0].wait_for("navigator.locks.query().then(({ pending }) => pending.length === 2)")
        tabs[0].run("free();")
        assert [tab.finish() for tab in tabs] == [[HELLO] * THREADS] * 2
        output = ended_output(server)
        assert (output.count(REFRESHED), output.count(REUSED)) == (2, 0)
        # A tab may still be shown the old value of localStorage: then grace gives it the new one.
        assert rotations(tmp_path) in (before + 1, before + 2)


def test_a_logout_in_one_tab_logs_out_the_other(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 2) as (server, (one, other)):
        assert one.outcome("auth.logout()") is None
        other.wait_for("ends === 1")
        assert one.ends == 1
        for tab in (one, other):
            assert tab.run("return auth.isLoggedIn;") is False
            assert tab.get(server.address) == [401, None]
        assert server.get("/api/sessions", basic(NAME, PASSWORD)).json == {"sessions": []}
        assert one.run("return localStorage.length;") == 0


def test_no_tab_goes_over_to_the_session_of_another_user(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 2) as (server, (one, other)):
        server.register("eve")
        assert one.outcome("auth.login(...arguments)", "eve", "pw") is None
        assert one.get(server.address)[1] == '{"data": "Hello, eve!"}\n'
        other.wait_for("ends === 1")
        assert other.get(server.address) == [401, None]
        other.load()
        assert other.get(server.address)[1] == '{"data": "Hello, eve!"}\n'


def test_a_session_that_ended_elsewhere_is_not_begun_again(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 2) as (server, (one, other)):
        server.request("DELETE", "/api/sessions", basic(NAME, PASSWORD))
        assert one.get(server.address) == [401, None]
        other.wait_for("ends === 1")
        assert one.outcome("auth.logout()") is None
        assert ended_output(server).count(STARTED) == 0


def test_a_page_sees_why_it_waits_and_loses_no_session_by_it(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 1, max_failures="2") as (server, (tab,)):
        with closing(sqlite3.connect(tmp_path / "restauth.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status, seconds = tab.get(server.address)
            assert status == 503
            assert seconds > 0
        assert tab.get(server.address) == HELLO
        assert tab.outcome("auth.login(...arguments)", NAME, "wrong") == [401, None]
        make_wait(tmp_path / "restauth.db")
        status, seconds = tab.outcome("auth.login(...arguments)", NAME, PASSWORD)
        assert status == 429
        assert seconds > 0
        with closing(sqlite3.connect(tmp_path / "restauth.db", timeout=PATIENCE)) as other, other:
            other.execute("UPDATE failures SET count = 2")  # and now no wait helps any more
        assert tab.outcome("auth.login(...arguments)", NAME, PASSWORD) == [429, None]
        assert tab.get(server.address) == HELLO

        address = server.address
        server.end()
        assert tab.outcome("auth.logout()") == "TypeError: Failed to fetch"
        assert tab.run("return [auth.isLoggedIn, localStorage.length];") == [False, 0]
        assert tab.get(address) == [401, None]


def test_a_page_sends_bodies_again_and_the_token_to_no_other_origin(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with expired_tabs(tmp_path, site, open_tab, 1) as (server, (tab,)):
        options = {
            "method": "PUT",
            "headers": {"Content-Type": "application/json"},
            "body": '{"password": "another"}',
        }
        url = f"{server.address}/api/users/me/password"
        # Where a token is not enough: 403 to it, after the body was read.
        assert tab.outcome("auth.fetch(...arguments)", url, options)[0] == 403
        assert tab.get(site.address) == "TypeError: not for this origin"
        assert ended_output(server).count(REFRESHED) == 1


@pytest.mark.parametrize("secret", [IN_LATIN_1, BEYOND_LATIN_1])
def test_a_page_logs_in_beyond_ascii(
    secret: str, tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with Server.start(tmp_path, cors_origins=site.address, **ANY_NAME) as server:
        server.register(secret, secret)
        tab = open_tab(server.address)
        assert tab.outcome("auth.login(...arguments)", secret, secret) is None
        assert tab.get(server.address)[0] == 200


def test_the_page_that_uses_the_module(
    browser: Any, tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with Server.start(tmp_path, cors_origins=site.address) as server:
        server.register(NAME, PASSWORD)
        text = example("clients", "js", "new Restauth(")
        for address in (PUBLIC_ADDRESS, API_ADDRESS):
            assert address in text
            text = text.replace(address, server.address)
        (tmp_path / "site" / "page.js").write_text(text)
        tab = open_tab(server.address)
        browser.get(f"{site.address}/used")
        shown = "document.querySelector('output').value"
        is_hidden = "document.querySelector('form').hidden"

        def type_and_submit(password: str) -> None:
            tab.wait_for(f"!{is_hidden}")
            tab.run(
                "const form = document.querySelector('form');"
                "form.elements.username.value = arguments[0];"
                "form.elements.password.value = arguments[1]; form.requestSubmit();",
                NAME,
                password,
            )

        type_and_submit("wrong")
        tab.wait_for(f"{shown} === 'restauth answered 401'")
        type_and_submit(PASSWORD)
        tab.wait_for(f"{shown} === 'Hello, ada!' && {is_hidden}")
        browser.refresh()
        tab.wait_for(f"{shown} === 'Hello, ada!' && {is_hidden}")
        tab.run("document.querySelector('.logout').click();")
        tab.wait_for(f"{shown} === '' && !{is_hidden}")
        assert server.get("/api/sessions", basic(NAME, PASSWORD)).json == {"sessions": []}


def test_what_a_foreign_script_in_the_page_can_read(
    tmp_path: Path, site: Server, open_tab: Open
) -> None:
    with Server.start(tmp_path, cors_origins=site.address) as server:
        server.register(NAME, PASSWORD)
        tab = open_tab(server.address)
        tab.log_in()
        (stored,) = tab.run("return Object.values(localStorage);")
        assert json.loads(stored).keys() == {"session", "refreshToken"}
        assert tab.run("return Object.keys(auth);") == []

        tab.run(
            "const real = fetch; window.fetch = (request) => {"
            " window.seen = request.headers.get('Authorization'); return real(request); };"
        )
        assert tab.get(server.address) == HELLO
        seen = tab.run("return seen;")
        assert server.get(RESOURCE, {"Authorization": seen}).status == 200
        body = {"refresh_token": json.loads(stored)["refreshToken"]}
        assert server.request("POST", "/api/token", value=body).status == 200


def test_a_page_that_another_one_opens_has_a_copy_of_its_session_storage(
    browser: Any, site: Server
) -> None:
    browser.get(f"{site.address}/")
    browser.execute_script("sessionStorage.token = 'one';")
    copied_to = "const opened = window.open('/'); return new Promise((done) => {"
    copied_to += "opened.onload = () => { done(opened.sessionStorage.token); opened.close(); }; });"
    assert browser.execute_script(copied_to) == "one"
