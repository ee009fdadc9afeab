"""The same request in other frameworks: read the header, verify the token with PyJWT, load the user
from SQLite, answer JSON; and 401 to a refused token.

Rule: it imports only what stands in the environment of the peers, which runs it as a program.
`peers.py serve NAME THREADS` serves one by waitress and prints its credentials; `peers.py call NAME
KIND REQUESTS` prints the CPU microseconds of a request for each line that it reads, so that the one
who asks decides who runs when.
"""

import io
import json
import logging
import sqlite3
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jwt

SECRET = "a secret of the benchmark, of 32 bytes and more"
GREETING = {"data": "Hello, miguel!"}
Wsgi = Callable[..., Any]


class Peer(NamedTuple):
    """An application, and the Authorization headers to send: by their kind."""

    app: Wsgi
    headers: dict[str, str]


def _database() -> sqlite3.Connection:
    connection = sqlite3.connect(Path(tempfile.mkdtemp()) / "peer.db", check_same_thread=False)
    connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT)")
    connection.execute("INSERT INTO users VALUES (1, 'miguel')")
    connection.commit()
    return connection


def _username(connection: sqlite3.Connection, header: str) -> str | None:
    """None for a refused token."""
    try:
        claims = jwt.decode(header.removeprefix("Bearer "), SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        return None
    row = connection.execute("SELECT username FROM users WHERE id = ?", (claims["id"],)).fetchone()
    return str(row[0])


def _peer(app: Wsgi, authorization: Callable[[str], str] = "Bearer {}".format) -> Peer:
    token = jwt.encode({"id": 1, "exp": time.time() + 36_000}, SECRET, algorithm="HS256")
    return Peer(app, {"token": authorization(token), "refused": authorization(_forge(token))})


def _forge(token: str) -> str:
    """The token with another signature of the same length."""
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _basic(username: str, password: str = "") -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def hello() -> Peer:
    """What the server alone costs: it reads no header."""
    body = json.dumps(GREETING).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]

    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", headers)
        return [body]

    return _peer(app)


def falcon() -> Peer:
    import falcon as framework

    connection = _database()

    class Resource:
        def on_get(self, request: Any, response: Any) -> None:
            name = _username(connection, request.get_header("Authorization"))
            if name is None:
                raise framework.HTTPUnauthorized
            response.media = {"data": f"Hello, {name}!"}

    app = framework.App()
    app.add_route("/api/resource", Resource())
    return _peer(app)


def bottle() -> Peer:
    import bottle as framework

    connection = _database()
    app = framework.Bottle()

    @app.get("/api/resource")
    def resource() -> dict[str, str]:
        name = _username(connection, framework.request.get_header("Authorization"))
        if name is None:
            raise framework.HTTPError(401)
        return {"data": f"Hello, {name}!"}

    return _peer(app)


def seed() -> Peer:
    """REST-auth's own stack: Flask, Flask-SQLAlchemy, Flask-HTTPAuth, as its README uses them."""
    from flask import Flask, g, jsonify
    from flask_httpauth import HTTPBasicAuth
    from flask_sqlalchemy import SQLAlchemy

    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tempfile.mkdtemp()}/peer.db"
    db = SQLAlchemy(app)
    auth = HTTPBasicAuth()

    class User(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "users"
        id = db.Column(db.Integer, primary_key=True)
        username = db.Column(db.String(32), index=True)

    with app.app_context():
        db.create_all()
        db.session.add(User(username="miguel"))
        db.session.commit()

    @auth.verify_password
    def verify(token: str, _: str) -> bool:
        try:
            claims = jwt.decode(token, SECRET, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return False
        g.user = db.session.get(User, claims["id"])
        return g.user is not None

    @app.get("/api/resource")
    @auth.login_required
    def resource() -> Any:
        return jsonify({"data": f"Hello, {g.user.username}!"})

    return _peer(app, _basic)


def restauth() -> Peer:
    """With the password too: from the second request on, no hash is computed."""
    from restauth import Service

    folder = Path(tempfile.mkdtemp())
    service = Service(database=folder / "a.db", key_file=folder / "a.keys", bcrypt_rounds=10)
    token = service.issue_token(service.add_user("miguel", "python").id).token
    return Peer(service.app, restauth_headers(token))


def restauth_headers(token: str) -> dict[str, str]:
    """Those of the user `miguel` with the password `python`."""
    return {
        "token": f"Bearer {token}",
        "refused": f"Bearer {_forge(token)}",
        "password": _basic("miguel", "python"),
    }


PEERS = {"hello": hello, "falcon": falcon, "bottle": bottle, "seed": seed, "restauth": restauth}


def serve(name: str, threads: str) -> None:
    """Serve on any free port until it is killed; print the headers and the address."""
    from waitress.server import create_server

    app, headers = PEERS[name]()
    server: Any = create_server(
        app, host="127.0.0.1", port=0, threads=int(threads), ident=None, connection_limit=200
    )
    print(json.dumps(headers))
    print(f"http://127.0.0.1:{server.effective_port}", flush=True)
    server.run()


def call(name: str, kind: str, requests: str) -> None:
    """Answer so many requests in process for each line that is read."""
    app, headers = PEERS[name]()
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/api/resource",
        "QUERY_STRING": "", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost",
        "HTTP_AUTHORIZATION": headers[kind], "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }  # fmt: skip
    status = ""

    def start_response(line: str, *_: Any) -> None:
        nonlocal status
        status = line[:3]

    def request() -> bytes:
        answer = app(dict(environ, **{"wsgi.input": io.BytesIO()}), start_response)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return body

    body = request()
    if kind == "refused":
        assert status == "401", (name, status)
    else:
        assert (status, json.loads(body)) == ("200", GREETING), (name, status, body)
    for _ in sys.stdin:
        start = time.process_time()
        for _ in range(int(requests)):
            request()
        print((time.process_time() - start) / int(requests) * 1e6, flush=True)


if __name__ == "__main__":
    logging.disable()
    commands: dict[str, Callable[..., None]] = {"serve": serve, "call": call}
    commands[sys.argv[1]](*sys.argv[2:])
