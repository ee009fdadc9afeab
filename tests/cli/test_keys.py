"""The commands on keys: what they print, and that no secret is in it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from restauth.core import jwk
from restauth.core.keyring import Algorithm, Key, KeyRing
from restauth.services import Services
from tests.cli.conftest import TIME, Restauth, refused
from tests.key_pairs import NEEDS_EXTRA, PAIRED, need_extra, pair_entry
from tests.processes import PATIENCE, Outcome, environ

WITHOUT_EXTRA = """
import sys
sys.modules["cryptography"] = None
from restauth.cli.main import main
sys.exit(main())
"""


def write_ring(*keys: Key) -> None:
    path = Path("restauth.keys")
    path.touch(0o600)
    path.write_bytes(jwk.build(KeyRing(keys)))


def make_key(kid: str, created_at: int, retired_at: int | None = None) -> Key:
    return Key(kid, os.urandom(32), created_at, retired_at)


def column(outcome: Outcome, number: int) -> list[str]:
    """Of the table that was printed, without its head."""
    assert outcome.status == 0
    return [line.split("\t")[number] for line in outcome.out.splitlines()[1:]]


def test_list_shows_the_keys(restauth: Restauth) -> None:
    write_ring(make_key("new", 86_400), make_key("next", 86_401), make_key("old", 0, 86_400))
    assert restauth("key list").out == (
        "kid\talgorithm\tcreated_at\tretired_at\tstate\n"
        "new\tHS256\t1970-01-02T00:00:00Z\t-\tsigning\n"
        "next\tHS256\t1970-01-02T00:00:01Z\t-\tpublished\n"
        "old\tHS256\t1970-01-01T00:00:00Z\t1970-01-02T00:00:00Z\tretired\n"
    )
    assert restauth("key list --json").json[0] == {
        "kid": "new",
        "algorithm": "HS256",
        "created_at": "1970-01-02T00:00:00Z",
        "retired_at": None,
        "state": "signing",
    }


def test_rotate_signs_with_a_new_key_and_keeps_the_old_one_unless_it_is_revoked(
    restauth: Restauth, services: Services
) -> None:
    old = services.keys.ring.signing_key.kid
    rotated = restauth("key rotate")
    new = services.keys.ring.signing_key.kid
    assert column(rotated, 0) == [new, old] != [old, new]
    assert re.search(rf"^{old}\tHS256\t{TIME}\t{TIME}\tretired$", rotated.out, re.MULTILINE)
    assert rotated == restauth("key list")
    (last,) = column(restauth("key rotate --revoke"), 0)
    assert last == services.keys.ring.signing_key.kid not in (old, new)


def test_rotate_keeps_the_algorithm_unless_another_one_is_named(
    restauth: Restauth, services: Services, directory: Path
) -> None:
    need_extra()
    for words, algorithms in (
        ("rotate --algorithm EdDSA", ["EdDSA", "HS256"]),
        ("rotate", ["EdDSA", "EdDSA", "HS256"]),
        ("rotate --revoke --algorithm ES256", ["ES256"]),
        ("rotate --algorithm=HS256", ["HS256", "ES256"]),
        ("prune", ["HS256", "ES256"]),
    ):
        done = restauth(f"key {words}")
        assert column(done, 1) == algorithms
        shown = done.out + restauth("key list --json").out
        for key in json.loads((directory / "restauth.keys").read_bytes())["keys"]:
            assert (key.get("d") or key["k"]) not in shown


def test_prune_drops_the_keys_whose_last_token_has_expired(
    restauth: Restauth, services: Services
) -> None:
    now = int(time.time())  # a command has no other clock
    write_ring(
        make_key("new", 1, None), make_key("late", 1, now), make_key("old", 1, now - 2_595_700)
    )
    assert column(restauth("key prune"), 0) == column(restauth("key list"), 0) == ["new", "late"]


def test_create_makes_a_ring_once(restauth: Restauth, directory: Path) -> None:
    need_extra()
    created = restauth("key create --algorithm EdDSA")
    assert (column(created, 1), column(created, 4)) == (["EdDSA"], ["signing"])
    assert restauth("key list") == created
    assert restauth("key create") == refused(
        f"There is a key ring {directory}/restauth.keys already."
    )
    assert restauth("key list") == created
    assert [path.name for path in directory.iterdir()] == ["restauth.keys"]


def test_a_key_is_published_before_it_signs(restauth: Restauth, services: Services) -> None:
    old = services.keys.ring.signing_key.kid
    added = restauth("key add")
    assert column(added, 4) == ["signing", "published"]
    new = column(added, 0)[1]
    assert services.keys.ring.signing_key.kid == old
    activated = restauth(f"key activate {new}")
    assert (column(activated, 0), column(activated, 4)) == ([new, old], ["signing", "retired"])
    assert services.keys.ring.signing_key.kid == new
    for kid in (new, old, "another"):
        assert restauth(f"key activate {kid}") == refused(
            f"The key ring has no published key '{kid}': restauth key list."
        )


@pytest.mark.parametrize(
    "words", ["list", "add", "activate kid", "prune", "rotate", "rotate --revoke"]
)
def test_a_command_on_keys_makes_no_ring(words: str, restauth: Restauth, directory: Path) -> None:
    assert restauth(f"key {words}") == refused(
        f"There is no key ring {directory}/restauth.keys: set RESTAUTH_KEY_FILE to that of the "
        "service, or make one: restauth serve."
    )
    assert list(directory.iterdir()) == []


def run_without_extra(directory: Path, words: str) -> Outcome:
    """Run `restauth` where the extra cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, *words.split()],
        cwd=directory,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("algorithm", PAIRED)
def test_without_the_extra_a_pair_is_neither_made_nor_read(
    algorithm: Algorithm, services: Services, directory: Path
) -> None:
    path = directory / "restauth.keys"
    before = path.read_bytes()
    for words in (f"--algorithm {algorithm}", f"--algorithm {algorithm} --revoke"):
        assert run_without_extra(directory, f"key rotate {words}") == refused(NEEDS_EXTRA)
    assert path.read_bytes() == before
    assert column(run_without_extra(directory, "key rotate"), 1) == ["HS256", "HS256"]
    path.write_text(json.dumps({"keys": [pair_entry(algorithm)]}))
    for words in ("serve --listen=127.0.0.1:0", "key list", "key rotate --algorithm HS256"):
        assert run_without_extra(directory, words) == refused(f"{path}: {NEEDS_EXTRA}")
    assert f"error    {path}: {NEEDS_EXTRA}\n" in run_without_extra(directory, "check").out
