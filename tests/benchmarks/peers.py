"""The same token request in other frameworks: read the header, verify with PyJWT, load the user
from SQLite, answer JSON.

Run as `python peers.py NAME`, it prints the CPU microseconds of a request for each line that it
reads: so that the one who asks decides who runs when.
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
from typing import Any

import jwt

REQUESTS = 2000  # for each line
SECRET = "a secret of the benchmark, of 32 bytes and more"
Wsgi = Callable[..., Any]


def _database() -> sqlite3.Connection:
    connection = sqlite3.connect(Path(tempfile.mkdtemp()) / "peer.db", check_same_thread=False)
    connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT)")
    connection.execute("INSERT INTO users VALUES (1, 'miguel')")
    connection.commit()
    return connection


def _username(connection: sqlite3.Connection, header: str) -> str:
    claims = jwt.decode(header.removeprefix("Bearer "), SECRET, algorithms=["HS256"])
    row = connection.execute("SELECT username FROM users WHERE id = ?", (claims["id"],)).fetchone()
    return str(row[0])


def _token() -> str:
    return jwt.encode({"id": 1, "exp": time.time() + 3600}, SECRET, algorithm="HS256")


def falcon() -> tuple[Wsgi, str]:
    import falcon as framework

    connection = _database()

    class Resource:
        def on_get(self, request: Any, response: Any) -> None:
            name = _username(connection, request.get_header("Authorization"))
            response.media = {"data": f"Hello, {name}!"}

    app = framework.App()
    app.add_route("/api/resource", Resource())
    return app, f"Bearer {_token()}"


def bottle() -> tuple[Wsgi, str]:
    import bottle as framework

    connection = _database()
    app = framework.Bottle()

    @app.get("/api/resource")
    def resource() -> dict[str, str]:
        name = _username(connection, framework.request.get_header("Authorization"))
        return {"data": f"Hello, {name}!"}

    return app, f"Bearer {_token()}"


def seed() -> tuple[Wsgi, str]:
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
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
        g.user = db.session.get(User, claims["id"])
        return g.user is not None

    @app.get("/api/resource")
    @auth.login_required
    def resource() -> Any:
        return jsonify({"data": f"Hello, {g.user.username}!"})

    return app, "Basic " + b64encode(f"{_token()}:x".encode()).decode()


def restauth() -> tuple[Wsgi, str]:
    from restauth import Service

    folder = Path(tempfile.mkdtemp())
    service = Service(database=folder / "a.db", key_file=folder / "a.keys", bcrypt_rounds=10)
    user = service.add_user("miguel", "python")
    return service.app, f"Bearer {service.issue_token(user.id).token}"


def restauth_password() -> tuple[Wsgi, str]:
    """The password itself on every request: from the second on, no hash is computed."""
    app, _ = restauth()
    return app, "Basic " + b64encode(b"miguel:python").decode()


def main() -> None:
    logging.disable()
    app, header = globals()[sys.argv[1]]()
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/api/resource",
        "QUERY_STRING": "", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost",
        "HTTP_AUTHORIZATION": header, "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }  # fmt: skip

    def request() -> bytes:
        answer = app(dict(environ, **{"wsgi.input": io.BytesIO()}), lambda *_: None)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        return body

    assert json.loads(request()) == {"data": "Hello, miguel!"}
    for _ in sys.stdin:
        start = time.process_time()
        for _ in range(REQUESTS):
            request()
        print((time.process_time() - start) / REQUESTS * 1e6, flush=True)


if __name__ == "__main__":
    main()
