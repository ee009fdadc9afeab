"""The key ring on many machines: secrets of Kubernetes and Docker, copies, and a public key set."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webtest

from restauth import AuthMiddleware, Service
from restauth.cli.main import main
from restauth.errors import InvalidSetting, UnusableKeyRing
from tests.conftest import bearer
from tests.documents import example
from tests.key_pairs import need_extra
from tests.processes import PATIENCE, UNMEASURED, Outcome, Server, environ, run
from tests.rotation import add_users, change_keys, machines, rotate_under_load

USER = 65534  # of the server
JWKS = "/.well-known/jwks.json"

# Imported by root, because another user may not be able to read where restauth is installed.
AS_A_USER = f"""
import os, sys
import encodings.idna
from restauth.cli.main import main
os.setgroups([])
os.setgid({USER})
os.setuid({USER})
sys.exit(main())
"""
RUN = (*UNMEASURED, sys.executable, "-c", AS_A_USER)
SERVE = (*RUN, "serve", "--listen", "127.0.0.1:0")


def test_a_rotation_in_two_steps_refuses_no_token_on_any_machine(tmp_path: Path) -> None:
    with machines(tmp_path) as servers:
        add_users(servers[0])
        statuses = rotate_under_load(tmp_path, servers, 350)
        assert statuses.keys() == {200}
        assert statuses.total() >= 350
        token = servers[2].log_in("user0")
        assert servers[1].get("/api/users/me", bearer(token)).status == 200
        # And this is what one step does, until the others have a copy.
        change_keys(tmp_path, "rotate")
        token = servers[0].log_in("user0")
        assert servers[1].get("/api/users/me", bearer(token)).status == 401


# Secrets


OF_ANOTHER_USER = pytest.mark.sqlite("the user of the server may not read the installed driver")


class Secret:
    """A directory that root has filled with a key ring, in a place that all users can reach."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = directory / "source"
        self.data = directory / "data"
        for path in (self.source, self.data):
            path.mkdir()
        os.chown(self.data, USER, USER)
        assert run(self.source, "user", "add", "ada", "--password-stdin", "--create", stdin="pw")
        self.ring = self.source / "restauth.keys"
        self.mount = directory / "secrets"
        self.mount.mkdir()

    def put_for_kubernetes(self, version: int) -> Path:
        """https://kubernetes.io/docs/concepts/configuration/secret: a new directory, then a swap
        of the link to it; with `fsGroup`, the files are readable by that group alone."""
        new = self.mount / f"..{version}"
        new.mkdir()
        shutil.copyfile(self.ring, new / "ring")
        os.chown(new / "ring", 0, USER)
        (new / "ring").chmod(0o440)
        (self.mount / "..data_tmp").symlink_to(new.name)
        (self.mount / "..data_tmp").rename(self.mount / "..data")
        if version == 1:
            self.mount.chmod(0o1777)
            (self.mount / "ring").symlink_to("..data/ring")
        else:
            shutil.rmtree(self.mount / f"..{version - 1}")
        return self.mount / "ring"

    def put_for_docker(self) -> Path:
        """https://docs.docker.com/engine/swarm/secrets: a file of root that all can read."""
        shutil.copyfile(self.ring, self.mount / "ring")
        (self.mount / "ring").chmod(0o444)
        return self.mount / "ring"

    def run(self, words: str, ring: Path) -> Outcome:
        """Run a command as the user of the server."""
        done = subprocess.run(
            [*RUN, *shlex.split(words)],
            cwd=self.data,
            env=environ(key_file=str(ring)),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def secret() -> Iterator[Secret]:
    if os.geteuid():
        pytest.skip("only root can make what root guards")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Secret(Path(name))


@OF_ANOTHER_USER
def test_a_secret_of_kubernetes_is_served_and_its_replacement_followed(secret: Secret) -> None:
    ring = secret.put_for_kubernetes(1)
    with Server.start(secret.data, *SERVE, key_file=str(ring)) as server:
        server.register("bob")
        old = server.log_in("bob")
        kid = run(secret.source, "key", "rotate").stdout.splitlines()[1].split("\t")[0]
        secret.put_for_kubernetes(2)
        new = server.log_in("bob")
        assert kid_of(new) == kid != kid_of(old)
        for token in (old, new):
            assert server.get("/api/users/me", bearer(token)).status == 200
        assert server.end() == 0
    managed = (
        f"restauth: The key ring {ring} is managed from outside: use restauth key on the file that "
        "it is a copy of (set RESTAUTH_KEY_FILE), and replace the copies.\n"
    )
    for words in ("rotate", "rotate --revoke", "add", "activate kid", "prune"):
        assert secret.run(f"key {words}", ring) == (1, "", managed)
    assert secret.run("key list", ring).out.splitlines()[1].startswith(kid)
    assert f"ok       The key ring {ring} is managed from outside. Valid keys: 2.\n" in (
        secret.run("check", ring).out
    )
    # A restore revokes the keys; here the operator has to.
    assert secret.run("backup copy.db", ring).status == 0
    assert secret.run("restore copy.db", ring) == (1, "", managed)
    assert secret.run("restore --keys-revoked copy.db", ring).status == 0


def kid_of(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


@OF_ANOTHER_USER
def test_a_secret_of_docker_is_served(secret: Secret) -> None:
    ring = secret.put_for_docker()
    with Server.start(secret.data, *SERVE, key_file=str(ring)) as server:
        server.register("bob")
        assert server.get("/api/users/me", bearer(server.log_in("bob"))).status == 200
        assert server.end() == 0
    assert secret.run("key rotate", ring).status == 1
    checked = secret.run("check", ring).out
    assert f"warning  All users of this machine can read {ring}." in checked
    assert "mounted as a single file" not in checked


@OF_ANOTHER_USER
def test_a_secret_that_is_not_there_stops_the_start_in_one_line(secret: Secret) -> None:
    ring = secret.mount / "ring"
    with Server.start(secret.data, *SERVE, key_file=str(ring)) as server:
        assert server.wait() == 1
        assert server.output == (
            f"restauth: The key ring {ring} does not exist, and cannot be made (Permission "
            "denied): put it there, or set RESTAUTH_KEY_FILE to a directory that this user can "
            "write.\n"
        )
    assert list(secret.data.iterdir()) == []


# A public key set


def show_user(environ: dict[str, object], start_response: object) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])  # type: ignore[operator]
    return [str(environ["REMOTE_USER"]).encode()]


def test_a_guard_verifies_by_the_key_set_of_a_service_on_another_machine(
    tmp_path: Path,
) -> None:
    need_extra()
    with Server.start(tmp_path) as server:
        server.register("ada")
        with pytest.raises(
            UnusableKeyRing, match=f"{server.address}{JWKS} has no key to verify with"
        ):
            AuthMiddleware(show_user, stateless=True, key_file=server.address + JWKS)
        assert run(tmp_path, "key", "rotate", "--algorithm", "EdDSA").returncode == 0
        published = run(tmp_path, "key", "add").stdout.splitlines()[2].split("\t")[0]
        guard = webtest.TestApp(
            AuthMiddleware(show_user, required=True, stateless=True, key_file=server.address + JWKS)
        )
        old = server.log_in("ada")
        assert run(tmp_path, "key", "activate", published).returncode == 0
        new = server.log_in("ada")
        assert kid_of(new) == published
        for token in (old, new):
            assert guard.get("/", headers=bearer(token)).text == "ada"
        names: dict[str, Any] = {}
        text = example("embedding", "python", "def remote")
        exec(text.replace("https://auth.example.org", server.address), names)  # noqa: S102
        example_guard = webtest.TestApp(names["remote"](show_user))
        example_guard.get("/", headers=bearer(new), status=403)  # it asks for a role
        assert run(tmp_path, "key", "rotate").returncode == 0
        guard.get("/", headers=bearer(server.log_in("ada")), status=401)  # within 30 seconds
        assert server.end() == 0
    for token in (old, new):
        assert guard.get("/", headers=bearer(token)).text == "ada"


def test_a_service_with_a_store_has_no_key_set_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "https://auth.example.org/jwks.json"
    with pytest.raises(InvalidSetting) as caught:
        Service(database=tmp_path / "a.db", key_file=url)
    line = (
        f"key_file (RESTAUTH_KEY_FILE) is the address {url}: only a guard with stateless can use "
        "one."
    )
    assert str(caught.value) == line
    monkeypatch.setenv("RESTAUTH_KEY_FILE", url)
    monkeypatch.chdir(tmp_path)
    for words in ("check", "key list", "key rotate", "user list", "restore copy.db"):
        assert main(words.split()) == 2
        assert capsys.readouterr() == ("", f"restauth: {line}\n")
    assert list(tmp_path.iterdir()) == []
