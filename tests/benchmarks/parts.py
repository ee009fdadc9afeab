"""What a token request in process is made of: each part alone, as a share of the whole.

    python -m tests.benchmarks.parts

Rule: the parts are called as the application calls them. Each is the best of many runs, so what
other programs take of the machine falls away. Parts within parts are indented.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat
from typing import Any

from restauth import settings
from restauth.core import authorization
from restauth.core.access_tokens import _parse_header
from restauth.domain.identification import Identification
from restauth.services import Services, build_services
from restauth.web import handlers, http
from restauth.web.app import App
from restauth.web.identity import identify
from tests.conftest import CLIENT

RUNS, CALLS = 40, 500
PATH = "/api/resource"


def parts(services: Services) -> dict[str, Callable[[], object]]:
    """What to call, by what it is."""
    app = App(services)
    account = services.accounts.register("miguel", "python")
    token = services.sessions.issue(account, CLIENT).token
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET", "PATH_INFO": PATH, "SCRIPT_NAME": "", "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1", "HTTP_AUTHORIZATION": f"Bearer {token}",
        "wsgi.url_scheme": "http", "wsgi.input": BytesIO(),
    }  # fmt: skip
    identification = services.identification
    assert isinstance(identification, Identification)
    assert identification.store is not None
    store, tokens, now = identification.store, identification._tokens, identification.clock()
    claims = tokens.verify(token, identification.find_key, now)
    kid, _ = _parse_header(token.partition(".")[0])
    caller = identify(environ, "bearer", identification.identify, require_https=False)
    request = http.Request(environ, (), caller)
    response = handlers.greet(request, services)
    return {
        "the whole request": lambda: app(dict(environ), start_response),
        "read path and Host": lambda: http.parse_path(environ),
        "identify the caller": lambda: identify(
            environ, "bearer", identification.identify, require_https=False
        ),
        "  parse the header": lambda: authorization.parse(environ["HTTP_AUTHORIZATION"], "bearer"),
        "  verify the token": lambda: tokens.verify(token, identification.find_key, now),
        "    find the key: is the key ring still the same?": lambda: identification.find_key(kid),
        "  find the session": lambda: store.find_session(claims.session_id, now),
        "build the answer": lambda: handlers.greet(request, services),
        "send it": lambda: http.send(response, environ, start_response),
    }


def start_response(*_: object) -> Callable[[bytes], object]:
    """As a server's."""
    return len


def main() -> None:
    with TemporaryDirectory() as name:
        given: Any = {"database": Path(name) / "a.db", "key_file": Path(name) / "a.keys"}
        with build_services(settings.load({}, given), create=True, hash_cost=4) as services:
            best = {
                words: min(repeat(act, number=CALLS, repeat=RUNS))
                for words, act in parts(services).items()
            }
    whole = best["the whole request"]
    for words, seconds in best.items():
        print(f"{seconds / whole:5.0%}  {words}")


if __name__ == "__main__":
    main()
