"""Every threat that restauth claims to withstand, tried as a client: one exemplar each.

Rule: `Target.send` holds every answer against what no answer may be, and then sees whether a live
token is still accepted. All the forms that an attack can take are in the mirror of the module that
withstands it.
"""

import hmac
import io
import json
import os
import re
import sqlite3
import stat
import time
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import crc32
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Barrier, Event, Semaphore
from typing import Any
from urllib.parse import quote, unquote

import bcrypt
import pytest
import webtest

from restauth import AuthMiddleware
from restauth.core import passwords
from restauth.core.hasher import Hasher
from restauth.errors import UnusableKeyRing, UnusableStore
from restauth.services import Services
from restauth.testing import Clock
from restauth.web.app import App
from tests.conftest import CHEAPEST, ServicesFactory, basic, bearer, client_of
from tests.databases import LOST_COLUMN, break_the_store
from tests.key_pairs import EVERY, need_extra, public_texts, sign_with

NOW = Clock().now
NAME, PASSWORD = "miguel", "python"
OWN = basic(NAME, PASSWORD)
JSON = {"Content-Type": "application/json"}
ABSENT = object()
MAX_BODY = 65_536
PUBLIC = {"REMOTE_ADDR": "8.8.8.8"}  # globally routable: only such peers are counted as a whole
FULL = 20  # rows of failures, where a test makes the table small
REFRESH_LABEL = b"restauth refresh token, version 1"
# A segment of a token may begin with "py" and go on.
LEAKS = re.compile(r"Traceback|\.py(?![\w-])|sqlite|bcrypt|password_hash", re.IGNORECASE)

Headers = Mapping[str, str] | None
Members = Mapping[str, object]


def b64u(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def edited(segment: str, members: Members) -> str:
    """A token's segment with other members (ABSENT: without them)."""
    old: dict[str, object] = json.loads(urlsafe_b64decode(segment + "=="))
    new = {name: value for name, value in (old | dict(members)).items() if value is not ABSENT}
    return b64u(json.dumps(new).encode())


def user(username: object = "mallory", password: object = "correct horse") -> bytes:
    return json.dumps({"username": username, "password": password}).encode()


BODY = user()


class Target:
    """The service with one user and one live token, and a watch on every answer."""

    def __init__(self, services: Services, **environ: str) -> None:
        self.services, self.accounts = services, services.accounts
        self.client = client_of(services, **environ)
        self.rude_client = webtest.TestApp(App(services), lint=False)
        self.secret = services.keys.ring.signing_key.secret
        self.user_id = self.accounts.register(NAME, PASSWORD).id
        self.token: str = self.client.get("/api/token", headers=OWN).json["token"]

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Headers = None, **rude: object
    ) -> Any:
        """`rude` goes into the environ as no correct server would do it: no lint looks at it."""
        client = self.rude_client if rude else self.client
        more = {"headers": headers, "environ": rude} | ({"body": body} if body else {})
        answer = client.request(path, method=method, expect_errors=True, **more)
        seen = "\n".join(answer.headers.values())
        assert answer.status_int < 500
        assert not answer.body or re.match(r"application/(problem\+)?json$", answer.content_type)
        assert not LEAKS.search(seen + answer.text)
        assert "<" not in seen  # JSON may repeat markup: a browser does not run it there
        assert answer.status_int != 401 or "WWW-Authenticate" in answer.headers
        assert answer.status_int != 405 or "Allow" in answer.headers
        self.client.get("/api/resource", headers=bearer(self.token), status=200)
        return answer

    def post(self, path: str, headers: Headers = None, /, **members: object) -> Any:
        return self.send("POST", path, json.dumps(members).encode(), {**JSON, **(headers or {})})

    def status(self, headers: Headers) -> int:
        """What a protected resource answers to these headers."""
        return int(self.send("GET", "/api/resource", headers=headers).status_int)

    def guesses(self, *usernames: str, times: int = 1) -> list[int]:
        """The answers to a wrong password for each of these names."""
        headers = [basic(username, "guess") for username in usernames for _ in range(times)]
        return [self.status(each) for each in headers]

    def refuses(self, token: str) -> bool:
        """Both as a Bearer token and as the user-id of Basic."""
        return self.status(bearer(token)) == self.status(basic(token, "x")) == 401

    def begin(self, username: str = NAME, password: str = PASSWORD) -> dict[str, str]:
        """Both tokens of a new session."""
        pair: dict[str, str] = self.post("/api/sessions", basic(username, password)).json
        return pair

    def make_key(self, headers: Headers = OWN, **members: object) -> str:
        """A new API key."""
        return str(self.post("/api/keys", headers, **{"name": "ci", **members}).json["key"])

    def refresh(self, refresh_token: str) -> Any:
        return self.post("/api/token", refresh_token=refresh_token)

    def reset(self, code: str, password: str = "new") -> int:
        return int(self.post("/api/password-resets", code=code, password=password).status_int)

    def refusals(self, bodies: Iterable[bytes], headers: Headers = JSON) -> set[int]:
        """The statuses of registrations, of which none has made an account."""
        statuses = {self.send("POST", "/api/users", each, headers).status_int for each in bodies}
        assert [account.username for account in self.accounts.list()] == [NAME]
        return statuses

    def forge(
        self,
        header: Members,
        payload: Members,
        secret: bytes | None = None,
        digest: str = "sha256",
    ) -> str:
        """The live token with other contents, signed anew: with our own key, if need be."""
        old_header, old_payload, _ = self.token.split(".")
        signed = f"{edited(old_header, header)}.{edited(old_payload, payload)}"
        mac = hmac.digest(self.secret if secret is None else secret, signed.encode(), digest)
        return f"{signed}.{b64u(mac)}"


@pytest.fixture
def target(services: Services) -> Target:
    return Target(services)


Watchers = list[Callable[[int], object]]


@pytest.fixture
def watchers(monkeypatch: pytest.MonkeyPatch) -> Watchers:
    """Each of the list is called with the rounds of each bcrypt hash, before it begins."""
    watchers: Watchers = []
    real = bcrypt.hashpw

    def hashpw(password: bytes, salt: bytes) -> bytes:
        for watch in watchers:
            watch(2 ** int(salt[4:6]))
        return real(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", hashpw)
    return watchers


def probe(target: Target, watchers: Watchers, username: str, password: str = "guess") -> Any:
    """All that tells one refused login from another, and the work in place of the time."""
    work: list[int] = []
    watchers[:] = [work.append]
    answer = target.send("GET", "/api/resource", headers=basic(username, password))
    return sum(work), answer.status, answer.text, sorted(answer.headers.items())


# Tokens, forged with our own key: what refuses them is the check of the form, not the signature


def test_algorithm_none_is_refused(target: Target) -> None:
    assert target.status(bearer(target.forge({}, {"extra": "ignored"}))) == 200  # forging works
    for alg in ("none", "NONE", "", None, ["none"], ABSENT):
        signed = target.forge({"alg": alg}, {})
        unsigned = signed.rpartition(".")[0]
        for token in (signed, unsigned, unsigned + ".", unsigned + "." + b64u(bytes(32))):
            assert target.refuses(token)


def test_key_confusion_is_refused(target: Target) -> None:
    """Another algorithm with our key, and our algorithm with a guessed key."""
    for alg in ("HS512", "hs256", "RS256", "ES256", "EdDSA"):
        for digest in ("sha256", "sha512"):
            assert target.refuses(target.forge({"alg": alg}, {}, digest=digest))
    for secret in (b"", bytes(32), b"changeme", b"the quick brown fox jumps over the lazy dog"):
        assert target.refuses(target.forge({}, {}, secret))


def test_no_key_signs_for_another_algorithm(services: Services, target: Target) -> None:
    """Each kind of key, with each header, by each signer: valid is what is of one key alone."""
    need_extra()
    _, payload, _ = target.token.split(".")
    keys = [
        services.keys.rotate(revoke=False, algorithm=algorithm).signing_key for algorithm in EVERY
    ]
    for key in keys:
        for alg in ("none", *EVERY):
            header = {"alg": alg, "kid": key.kid, "typ": "at+jwt"}
            text = f"{b64u(json.dumps(header).encode())}.{payload}"
            for signer in keys:
                is_valid = key is signer and alg == key.algorithm
                status = target.status(bearer(f"{text}.{sign_with(text, signer)}"))
                assert status == (200 if is_valid else 401)
            secrets = public_texts(key).values() if key.pair else ()
            macs = [hmac.digest(each, text.encode(), "sha256") for each in secrets]
            for signature in (*macs, b"", bytes(64)):
                assert target.refuses(f"{text}.{b64u(signature)}")


def test_a_key_id_is_no_path(target: Target) -> None:
    for kid in ("../../../dev/null", "x' UNION SELECT 'secret", "", "k" * 2000, 0, ABSENT):
        for secret in (None, b"", b"secret"):
            assert target.refuses(target.forge({"kid": kid}, {}, secret))


def test_a_token_cannot_bring_its_own_rules(target: Target) -> None:
    for header in (
        {"jwk": {"kty": "oct", "k": b64u(b"secret")}},
        {"jku": "https://evil.example/"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"], "exp": 1},
        {"zip": "GZIP"},
        {"typ": "JWT"},
        {"typ": ABSENT},
    ):
        assert target.refuses(target.forge(header, {}))
        assert target.refuses(target.forge(header, {}, b"secret"))


def test_a_false_claim_is_refused(target: Target) -> None:
    victim = target.accounts.register("susan", "another").id
    claims: list[Members] = [
        {"iat": NOW - 600, "exp": NOW},
        {"exp": ABSENT},
        {"exp": NOW + 601},
        {"iat": NOW + 61},
        {"nbf": NOW - 5},
        {"sub": "77"},
        {"sub": 1},
        {"sub": "01"},
        {"sub": str(2**63)},
        {"sub": str(victim), "name": "susan"},  # with a live session, but of another user
        {"iss": "another"},
        {"aud": ["restauth", "payroll"]},
        {"sid": "A" * 22},
        {"sid": "' OR ''='"},
        {"roles": "admin"},
        {"padding": "x" * 4000},
    ]
    for each in claims:
        assert target.refuses(target.forge({}, each)), each


def test_a_token_has_one_spelling(target: Target) -> None:
    for form in (
        *("{0}.{1}.{2}=", "{0}.{1}.{2}.", "{0}.{1}.{2}.AA", "\t{0}.{1}.{2}", '"{0}.{1}.{2}"'),
        *("{0}%2E{1}%2E{2}", "{0}=.{1}.{2}", "{0}..{2}", "{0}.{1}.", "{1}.{0}.{2}", ".."),
    ):
        assert target.refuses(form.format(*target.token.split("."))), form


def spellings(signature: str) -> tuple[str, ...]:
    """Others that a lenient decoder would take for the same: the first has stray bits."""
    stray_bits = signature[:-1] + chr(ord(signature[-1]) + 1)
    return stray_bits, signature.swapcase(), signature[:-1], signature + "A"


def test_a_signature_has_one_spelling(target: Target) -> None:
    text, _, signature = target.token.rpartition(".")
    for other in spellings(signature):
        assert target.refuses(f"{text}.{other}")


def test_a_token_elsewhere_than_in_authorization_is_ignored(target: Target) -> None:
    refresh_token = target.begin()["refresh_token"]
    form = f"access_token={target.token}&token={target.token}"
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    assert target.send("GET", f"/api/resource?{form}").status_int == 401
    assert target.send("GET", "/api/resource", form.encode(), form_type).status_int == 401
    for name in ("Cookie", "Proxy-Authorization", "X-Access-Token"):
        assert target.status({name: f"Bearer {target.token}"}) == 401
    for path, headers in (
        (f"/api/token?refresh_token={refresh_token}", {}),
        ("/api/token", {"Cookie": f"refresh_token={refresh_token}"}),
        ("/api/token", bearer(refresh_token)),
    ):
        assert target.post(path, headers).status_int == 400


# Tokens that were valid once


def test_renewal_ends_with_the_session(clock: Clock, make_services: ServicesFactory) -> None:
    target = Target(make_services(token_duration=60, session_duration=100))
    for seconds in (50, 49):
        clock.advance(seconds)
        answer = target.client.get("/api/token", headers=basic(target.token, ""))
        target.token = answer.json["token"]
    assert answer.json["duration"] == 1
    clock.advance(1)
    longer = target.forge({}, {"exp": clock.now + 1})  # the session decides, not the token
    for path in ("/api/resource", "/api/token"):
        target.client.get(path, headers=basic(longer, ""), status=401)


def delete_session(other: Services, path: str, headers: Headers) -> None:
    client_of(other).delete(path, headers=headers, status=204)


def put_password(other: Services, target: Target) -> None:
    value = {"password": "new"}
    client_of(other).put_json("/api/users/me/password", value, headers=OWN, status=204)


def use_reset_code(other: Services, target: Target) -> None:
    code = other.accounts.make_reset_code(other.accounts.find(target.user_id)).code
    client_of(other).post_json("/api/password-resets", {"code": code, "password": "new"})


ENDS: dict[str, Callable[[Services, Target], object]] = {
    "logout": lambda other, target: delete_session(other, "/api/token", bearer(target.token)),
    "logout everywhere": lambda other, target: delete_session(
        other, "/api/sessions", bearer(target.token)
    ),
    "lock": lambda other, target: other.accounts.lock(other.accounts.find(target.user_id)),
    "operator's password": lambda other, target: other.accounts.set_password(
        other.accounts.find(target.user_id), "new"
    ),
    "own new password": put_password,
    "reset": use_reset_code,
    "deletion": lambda other, target: other.accounts.delete(other.accounts.find(target.user_id)),
    "closing": lambda other, target: delete_session(other, "/api/users/me", OWN),
    "key": lambda other, target: other.keys.rotate(revoke=True),
}


@pytest.mark.parametrize("cause", ENDS)
def test_a_revoked_token_is_dead_in_every_process(
    target: Target, make_services: ServicesFactory, cause: str
) -> None:
    pair = target.begin()
    ENDS[cause](make_services(), target)
    target.client.get("/api/resource", headers=bearer(target.token), status=401)
    target.client.get("/api/token", headers=basic(target.token, ""), status=401)
    if cause != "logout":  # of another session than the pair's
        target.client.get("/api/resource", headers=bearer(pair["token"]), status=401)
        value = {"refresh_token": pair["refresh_token"]}
        target.client.post_json("/api/token", value, status=401)
    # Nor does the cache of verified passwords let a changed one in.
    status = 200 if cause in ("logout", "logout everywhere", "key") else 401
    target.client.get("/api/resource", headers=OWN, status=status)


def test_a_dead_users_token_opens_no_namesakes_account(target: Target) -> None:
    target.accounts.delete(target.accounts.find(target.user_id))
    assert target.accounts.register(NAME, PASSWORD).id > target.user_id
    target.client.get("/api/resource", headers=bearer(target.token), status=401)
    target.client.get(f"/api/users/{target.user_id}", status=400)


def test_a_login_under_way_does_not_outlive_a_lock(target: Target, watchers: Watchers) -> None:
    susan = target.accounts.register("susan", "another")
    watchers.append(lambda rounds: target.accounts.lock(susan))
    target.client.get("/api/token", headers=basic("susan", "another"), status=401)


# Refresh tokens


def sealed(text: str, secret: bytes) -> str:
    """A refresh token's text with the seal that the owner of this secret would give it."""
    derived = hmac.digest(secret, REFRESH_LABEL, "sha256")
    return f"{text}.{b64u(hmac.digest(derived, text.encode(), 'sha256'))}"


def test_a_refresh_token_is_no_access_token_nor_the_reverse(target: Target) -> None:
    pair = target.begin()
    assert target.refuses(pair["refresh_token"])
    for token in (target.token, pair["token"]):
        assert target.refresh(token).status_int == 401
    # Nor is one key used for both: each is signed here with the key of the other.
    derived = hmac.digest(target.secret, REFRESH_LABEL, "sha256")
    assert target.refuses(target.forge({}, {}, derived))
    text = pair["refresh_token"].rpartition(".")[0]
    seal = b64u(hmac.digest(target.secret, text.encode(), "sha256"))
    assert target.refresh(f"{text}.{seal}").status_int == 401
    assert target.refresh(pair["refresh_token"]).status_int == 200


def test_a_forged_refresh_token_is_refused_and_ends_nothing(target: Target) -> None:
    token = target.refresh(target.begin()["refresh_token"]).json["refresh_token"]
    _, kid, sid, counter, seal = token.split(".")
    for forged in (
        *("", "....", f"r0.{kid}.{sid}.{counter}.{seal}", f"{token} ", f"Bearer {token}"),
        *(f"r1.{kid}.{sid}.{turn}.{seal}" for turn in ("0", "2", "01", "-1", "9" * 10)),
        *(f"r1.{kid}.{'A' * 22}.{counter}.{seal}", f"r1.nobody.{sid}.{counter}.{seal}"),
        *(f"r1.{kid}.{sid}.{counter}.", f"r1.{kid}.{sid}.{counter}.{'A' * 43}", token * 400),
    ):
        assert target.refresh(forged).status_int == 401, forged
    assert target.refresh(token).status_int == 200


def test_a_refresh_token_is_sealed_by_no_guessed_key_and_in_one_spelling(target: Target) -> None:
    token = target.begin()["refresh_token"]
    text, _, seal = token.rpartition(".")
    assert sealed(text, target.secret) == token  # forging would work
    forged = [sealed(text, secret) for secret in (b"", bytes(32), b"changeme")]
    for other in (*forged, *(f"{text}.{each}" for each in spellings(seal))):
        assert target.refresh(other).status_int == 401
    assert target.refresh(token).status_int == 200


def test_a_stolen_refresh_token_is_found_out(
    target: Target, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not matter who comes second, the thief or the owner: neither can go on."""
    caplog.set_level("INFO", "restauth.audit")
    for turns in (1, 2):
        stolen = target.begin()["refresh_token"]
        pair = {"refresh_token": stolen}
        for _ in range(turns):
            pair = target.refresh(pair["refresh_token"]).json
        clock.advance(11)
        assert "refresh_reuse" not in caplog.text
        assert target.refresh(stolen).status_int == 401
        assert target.refresh(pair["refresh_token"]).status_int == 401
        assert target.refuses(pair["token"])
        assert caplog.text.count('"event": "refresh_reuse"') == 1
        caplog.clear()


# API keys


def key_text(key_id: str, secret: str) -> str:
    """An API key as anyone can write it down, with its checksum."""
    text = f"rak_{key_id}_{secret}"
    return f"{text}{crc32(text.encode()):08x}"


def halves(key: str) -> tuple[str, str]:
    """The id and the secret."""
    _, key_id, rest = key.split("_")
    return key_id, rest[:40]


def presented(key: str, username: str = NAME) -> list[dict[str, str]]:
    """The three ways to present an API key."""
    return [bearer(key), basic(key, "x"), basic(username, key)]


def test_an_api_key_works_in_one_spelling_alone(target: Target) -> None:
    key = target.make_key()
    key_id, secret = halves(key)
    other_id, other_secret = halves(target.make_key())
    assert key_text(key_id, secret) == key  # forging would work
    for forged in (
        *(key_text(key_id, other_secret), key_text(other_id, secret), key_text("0" * 20, secret)),
        *(key_text(key_id, "0" * 40), key_text(key_id, sha256(secret.encode()).hexdigest()[:40])),
        *(key[:-1] + other for other in "0123456789abcdef" if other != key[-1]),
        *(key.replace("rak_", "RAK_"), key[4:], key + key[-1], key[:-1], f"{key}={key}"),
        *(f"rak_{key_id}", f"rak_{key_id}_", key.upper()),
    ):
        assert target.refuses(forged), forged
        assert target.status(basic(NAME, forged)) in (401, 429), forged
    assert {target.status(headers) for headers in presented(key)} == {200}


def test_all_that_is_wrong_with_an_api_key_gets_one_answer_and_costs_no_hash(
    target: Target, watchers: Watchers, clock: Clock
) -> None:
    """And the same one as a token; and no guess counts: there are too many keys to find one."""
    target.accounts.register("locked", "another")
    locked, expired = target.make_key(basic("locked", "another")), target.make_key(expires_in=1)
    ended, live = target.make_key(), target.make_key()
    target.services.api_keys.end(target.user_id, halves(ended)[0])
    target.accounts.lock(target.accounts.find_by_name("locked"))
    clock.advance(1)
    work: list[int] = []
    watchers[:] = [work.append]
    wrong = [
        key_text("0" * 20, "0" * 40),
        key_text(halves(live)[0], "0" * 40),
        *(locked, expired, ended, live[:-1] + ("0" if live[-1] != "0" else "1")),
    ]
    seen = [
        {
            (answer.status, answer.text, str(answer.headerlist))
            for text in [*wrong, *more] * 4
            for answer in [target.send("GET", "/api/resource", headers=present(text))]
        }
        for present, more in (
            (bearer, ["a.b.c"]),
            (lambda text: basic(text, "x"), [f"{target.token}x"]),
            (partial(basic, NAME), []),
            (partial(basic, "locked"), [live]),
            (partial(basic, "nobody"), [live]),
        )
    ]
    assert [len(answers) for answers in seen] == [1] * 5
    assert seen[1] == seen[2] == seen[3] == seen[4]
    assert work == []
    assert failures(target) == []
    assert target.status(bearer(live)) == 200


def test_an_api_key_does_not_become_another_credential(target: Target) -> None:
    """A leaked key gives no session, no key, and not the account; nor does it learn of others."""
    key = target.make_key()
    key_id, secret = halves(key)
    for headers in presented(key):
        for method, path, code in (
            ("POST", "/api/keys", "password_required"),
            ("POST", "/api/sessions", "password_required"),
            ("PUT", "/api/users/me/password", "password_required"),
            ("DELETE", "/api/users/me", "password_required"),
            ("GET", "/api/token", "login_required"),
            ("HEAD", "/api/token", ""),
            ("DELETE", "/api/token", "login_required"),
            ("GET", "/api/sessions", "login_required"),
            ("DELETE", "/api/sessions", "login_required"),
            ("DELETE", "/api/sessions/" + "A" * 22, "login_required"),
            ("GET", "/api/keys", "login_required"),
            ("DELETE", "/api/keys", "login_required"),
            ("DELETE", f"/api/keys/{key_id}", "login_required"),
        ):
            body = b'{"name": "more", "password": "new"}' if method in ("POST", "PUT") else b""
            answer = target.send(method, path, body, JSON | headers)
            assert answer.status_int == 403, (method, path)
            assert not code or answer.json["type"].endswith(code)
    for text in (key, secret, f"rak_{key_id}"):
        assert target.refresh(text).status_int == 401
        assert target.reset(text) == 400
    # Nor does it become a password, which a login would not take for one.
    assert target.post("/api/users", username="mallory", password=key).status_int == 400
    assert len(target.services.api_keys.list(target.user_id)) == 1


def test_an_api_key_is_not_accepted_beside_the_name_of_another(target: Target) -> None:
    target.accounts.register("susan", "another")
    key = target.make_key()
    for other in ("susan", "nobody", f"{NAME} ", "a.b.c" * 20, target.token[:-1]):
        assert target.status(basic(other, key)) == 401
    answer = target.send("GET", "/api/users/me", headers=basic(NAME.upper(), key))
    assert answer.json["username"] == NAME


@pytest.mark.parametrize("end", ["lock", "deletion", "end", "end_all"])
def test_an_ended_api_key_is_dead_in_every_process_at_once(
    make_services: ServicesFactory, target: Target, end: str
) -> None:
    target.accounts.register("susan", "another")
    susan, other = basic("susan", "another"), client_of(make_services())
    key = target.make_key(susan)
    account = target.accounts.find_by_name("susan")
    for headers in presented(key, "susan"):
        other.get("/api/resource", headers=headers, status=200)
    match end:
        case "lock":
            target.accounts.lock(account)
            target.accounts.unlock(account)  # which brings no key back
        case "deletion":
            target.send("DELETE", "/api/users/me", headers=susan)
            target.accounts.register("susan", "another")
        case "end":
            target.send("DELETE", f"/api/keys/{halves(key)[0]}", headers=susan)
        case "end_all":
            target.send("DELETE", "/api/keys", headers=susan)
    for headers in presented(key, "susan"):
        other.get("/api/resource", headers=headers, status=401)


def test_a_role_that_was_taken_away_is_gone_from_api_keys(target: Target) -> None:
    miguel = target.accounts.find(target.user_id)
    target.accounts.set_roles(miguel, ["admin", "editor"])
    keys = [target.make_key(), target.make_key(roles=["admin", "editor"])]
    target.accounts.set_roles(miguel, ["editor"])
    for key in keys:
        answer = target.send("GET", "/api/verify?role=admin", headers=bearer(key))
        assert answer.status_int == 403
        assert target.send("GET", "/api/users/me", headers=bearer(key)).json["roles"] == ["editor"]
    for roles in (["admin"], ["editor", "admin"]):
        refused = target.post("/api/keys", OWN, name="more", roles=roles)
        assert refused.status_int == 400


def test_nobody_reaches_anothers_api_keys(target: Target) -> None:
    target.accounts.register("susan", "another")
    key = target.make_key(basic("susan", "another"))
    key_id, _ = halves(key)
    for headers in (bearer(target.token), OWN):
        answer = target.send("DELETE", f"/api/keys/{key_id}", headers=headers)
        unknown = target.send("DELETE", "/api/keys/" + "0" * 20, headers=headers)
        assert (answer.status_int, answer.body) == (404, unknown.body)
        assert target.send("GET", "/api/keys?user_id=2", headers=headers).json == {"keys": []}
        assert target.send("GET", f"/api/keys/{key_id}", headers=headers).status_int == 405
        target.send("DELETE", "/api/keys", headers=headers)
    assert target.status(bearer(key)) == 200
    for member in ({"user_id": 2}, {"id": key_id}, {"key": key}, {"username": "susan"}):
        assert target.post("/api/keys", OWN, name="ci", **member).status_int == 400


def test_a_stolen_database_holds_no_api_key(target: Target) -> None:
    key = target.make_key()
    key_id, secret = halves(key)
    assert target.status(bearer(key)) == 200
    rows = target.services._resources.engine.read("SELECT * FROM api_keys", {})
    digest = sha256(secret.encode()).hexdigest()
    assert {key_id, digest} <= set(rows[0])
    assert not re.search(f"{secret}|{key[-8:]}", repr(rows))
    for stolen in (digest[:40], digest[-40:], digest):
        assert target.refuses(key_text(key_id, stolen))


# What is another's


def test_nobody_reaches_anothers_sessions(target: Target) -> None:
    victim = target.accounts.register("susan", "another").id
    pair = target.begin("susan", "another")
    sid = pair["refresh_token"].split(".")[2]
    for headers in (bearer(target.token), OWN):
        answer = target.send("DELETE", f"/api/sessions/{sid}", headers=headers)
        unknown = target.send("DELETE", "/api/sessions/" + "A" * 22, headers=headers)
        assert (answer.status_int, answer.body) == (404, unknown.body)
        for method, path in (
            ("GET", "/api/sessions"),
            ("GET", f"/api/sessions/{sid}"),
            ("GET", f"/api/sessions?user_id={victim}&username=susan"),
            ("DELETE", f"/api/users/{victim}"),
            ("PUT", f"/api/users/{victim}/password"),
            ("DELETE", f"/api/users/{victim}/sessions"),
        ):
            tried = target.send(method, path, headers=headers)
            assert tried.status_int in (200, 404, 405)
            assert not re.search(f"susan|{sid}", tried.text)
    # To end all sessions ends those of the sender alone.
    target.accounts.register("mallory", "third")
    mallory = basic("mallory", "third")
    assert target.send("DELETE", "/api/sessions", headers=mallory).status_int == 204
    assert target.status(bearer(pair["token"])) == 200
    assert target.refresh(pair["refresh_token"]).status_int == 200


MASS: dict[str, object] = {
    "id": 1,
    "user_id": 1,
    "sub": "1",
    "roles": ["admin"],
    "password_hash": "x",
    "locked_at": 1,
    "duration": 10**9,
    "refresh_duration": 10**9,
    "__proto__": {},
}


def test_mass_assignment_is_ignored(target: Target) -> None:
    answer = target.post("/api/users", **MASS, username="mallory", password="third")
    assert answer.headers["Location"] == "http://localhost:80/api/users/2"
    me = target.send("GET", "/api/users/me", headers=basic("mallory", "third")).json
    assert (me["id"], me["roles"]) == (2, [])


def test_no_body_says_whose_account_it_is(target: Target) -> None:
    """Mass assignment on the bodies that change an account."""
    victim = target.accounts.find(target.user_id)
    more = {**MASS, "username": NAME}
    mallory = target.accounts.register("mallory", "third")
    pair = target.begin("mallory", "third")
    refreshed = target.post("/api/token", **more, refresh_token=pair["refresh_token"]).json
    assert (refreshed["duration"], refreshed["refresh_duration"]) == (600, 2_592_000)
    me = target.send("GET", "/api/users/me", headers=bearer(refreshed["token"])).json
    assert (me["username"], me["roles"]) == ("mallory", [])
    body = json.dumps({"password": "fourth", **more}).encode()
    changed = target.send("PUT", "/api/users/me/password", body, JSON | basic("mallory", "third"))
    assert changed.status_int == 204
    code = target.accounts.make_reset_code(mallory).code
    reset = target.post("/api/password-resets", **more, code=code, password="fifth")
    assert reset.status_int == 204
    assert target.status(basic("mallory", "fifth")) == 200
    assert target.accounts.find(victim.id) == victim


# Guessing passwords and codes


def test_a_forwarded_address_does_not_fool_the_throttle(make_services: ServicesFactory) -> None:
    target = Target(make_services(free_failures=0, peer_failures=3), **PUBLIC)
    lies = ({"X-Forwarded-For": "198.51.100.1"}, {"Forwarded": "for=198.51.100.2"},
            {"X-Real-IP": "198.51.100.3"}, {"X-Forwarded-For": "198.51.100.4"})  # fmt: skip
    statuses = [target.status({**basic(f"susan{n}", "x"), **lie}) for n, lie in enumerate(lies)]
    assert statuses == [401] * 3 + [429]


def test_a_name_spelled_otherwise_is_the_same_count(make_services: ServicesFactory) -> None:
    """By case, by width, by a ligature; whether there is such a user or not."""
    target = Target(make_services(username_pattern=".+", max_failures=3))
    assert target.guesses(NAME, "MIGUEL", "\uff4diguel", "Migue\u217c") == [401] * 3 + [429]
    assert target.guesses("no\ufb01t", "nofit", "NOFIT", "nofiT") == [401] * 3 + [429]


def test_the_throttle_tells_nobody_whether_the_name_exists(
    make_services: ServicesFactory, watchers: Watchers
) -> None:
    target = Target(make_services(free_failures=2))
    target.accounts.lock(target.accounts.register("locked", "another"))
    expected, *others = (
        [probe(target, watchers, name, password) for password in ["guess"] * 4 + [right]]
        for name, right in (("nobody", "another"), (NAME, PASSWORD), ("locked", "another"))
    )
    assert others == [expected, expected]
    work, status, *_ = expected[-1]
    assert (work, status) == (0, "429 Too Many Requests")  # and refused before it is hashed


def test_a_lockout_leaves_live_tokens_alone(make_services: ServicesFactory) -> None:
    target = Target(make_services(free_failures=0, max_failures=3))
    pair = target.begin()
    assert target.guesses(NAME, times=4) == [401, 401, 401, 429]
    assert target.status(OWN) == 429  # not even by the cache of verified passwords
    renewed = target.send("GET", "/api/token", headers=bearer(target.token)).json["token"]
    refreshed = target.refresh(pair["refresh_token"]).json["token"]
    for token in (pair["token"], renewed, refreshed):
        assert target.status(bearer(token)) == 200
    target.accounts.unlock(target.accounts.find(target.user_id))
    assert target.status(OWN) == 200


def test_every_door_with_a_password_counts(make_services: ServicesFactory) -> None:
    doors = (
        *("GET /api/resource", "GET /api/token", "DELETE /api/token", "GET /api/users/me"),
        *("PUT /api/users/me/password", "DELETE /api/users/me", "POST /api/sessions"),
        *("GET /api/sessions", "DELETE /api/sessions", "DELETE /api/sessions/" + "A" * 22),
    )
    target = Target(make_services(free_failures=0, max_failures=len(doors)))
    for status in (401, 429):
        for door in doors:
            method, path = door.split()
            answer = target.send(method, path, b"{}", JSON | basic(NAME, "guess"))
            assert (door, answer.status_int) == (door, status)


def test_a_client_that_polls_does_not_clear_the_count_for_a_guesser(
    make_services: ServicesFactory, watchers: Watchers
) -> None:
    """Behind one address, and with a password that is in the cache."""
    target = Target(make_services(free_failures=4))
    hashed: list[int] = []
    watchers.append(hashed.append)
    turns = [(*target.guesses(NAME), target.status(OWN)) for _ in range(6)]
    assert turns == [(401, 200)] * 4 + [(401, 429), (429, 429)]
    assert len(hashed) == 5  # the guesses alone


def test_parallel_guesses_do_not_slip_through(
    make_services: ServicesFactory, watchers: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    racers, limit = 8, 3
    monkeypatch.setattr("restauth.services.HASH_SLOTS", racers)
    processes = [make_services(free_failures=0, max_failures=limit) for _ in range(2)]
    Target(processes[0])
    hashed: list[int] = []
    watchers.append(hashed.append)
    all_are_ready = Barrier(racers, timeout=30)

    def race(number: int) -> int:
        client = client_of(processes[number % 2])
        all_are_ready.wait()
        headers = basic(NAME, f"guess{number}")
        return int(client.get("/api/resource", headers=headers, status="*").status_int)

    with ThreadPoolExecutor(racers) as pool:
        codes = sorted(pool.map(race, range(racers)))
    assert codes == [401] * limit + [429] * (racers - limit)
    assert len(hashed) == limit


def test_going_through_the_names_that_are_taken_is_throttled(
    make_services: ServicesFactory,
) -> None:
    target = Target(make_services(peer_failures=3), **PUBLIC)
    answers = [
        target.post("/api/users", username=name, password="x")
        for name in (NAME, "MIGUEL", NAME, NAME, "susan")
    ]
    assert [answer.status_int for answer in answers] == [400] * 3 + [429] * 2
    assert answers[3].body == answers[4].body
    assert len(list(target.accounts.list())) == 1


def test_a_reset_code_cannot_be_guessed_at(make_services: ServicesFactory) -> None:
    """Tries count against the code that they aim at, and against no other."""
    target = Target(make_services(free_failures=0, max_failures=3))
    susan = target.accounts.register("susan", "another")
    code = target.accounts.make_reset_code(target.accounts.find(target.user_id)).code
    others = target.accounts.make_reset_code(susan).code
    selector, _, secret = code.partition(".")
    for wrong in (secret.swapcase(), "A" * 24, secret[::-1]):
        assert target.reset(f"{selector}.{wrong}") == 400
    assert target.reset(code) == 429
    assert target.status(OWN) == 200  # the name has no failures
    assert target.reset(others) == 204


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restauth.storage.store.MAX_FAILURES_ROWS", FULL)


def failures(target: Target) -> list[Any]:
    engine = target.services._resources.engine
    return [*engine.read("SELECT * FROM failures ORDER BY name, peer", {})]


def test_a_flood_of_invented_names_keeps_the_table_bounded_and_clears_no_count(
    make_services: ServicesFactory, clock: Clock, small_table: None
) -> None:
    target = Target(make_services(free_failures=0, max_failures=4, peer_failures=3))
    assert target.guesses(NAME, times=3) == [401] * 3
    for number in range(2 * FULL):
        clock.advance(1)
        assert target.guesses(f"invented{number}", times=2) == [401] * 2
    assert len(failures(target)) == FULL + 1  # one for each account that there is
    assert target.guesses(NAME, times=2) == [401, 429]
    # A new name and a new peer are still counted.
    assert target.guesses("aaa", times=5) == [401] * 4 + [429]
    target.client.extra_environ |= PUBLIC
    assert target.guesses("new1", "new2", "new3", "new4") == [401] * 3 + [429]


def test_a_flood_of_codes_pushes_no_count_out(
    make_services: ServicesFactory, clock: Clock, small_table: None
) -> None:
    target = Target(make_services(free_failures=0, max_failures=4, peer_failures=3))
    assert target.guesses("invented", times=3) == [401] * 3
    counted = failures(target)
    codes = [f"{number:012}.{'A' * 24}" for number in range(2 * FULL)]
    for code in codes:
        clock.advance(1)
        assert target.reset(code) == 400
    assert failures(target) == counted
    assert target.guesses("invented", times=2) == [401, 429]
    target.client.extra_environ |= PUBLIC  # where the peer is counted, but not for these
    assert [target.reset(code) for code in codes[:4]] == [400] * 4
    assert len(failures(target)) == len(counted)


@pytest.mark.sqlite("it is about the files of SQLite")
def test_a_password_typed_as_a_name_leaves_no_trace(target: Target, tmp_path: Path) -> None:
    """In no row, and nowhere else in the files: neither a short one nor a long one."""
    for typed in ("Hunter2-Hunter2", "correct horse battery " * 11):
        assert target.guesses(typed) == [401]
        assert target.reset(typed) == 400
    assert len(failures(target)) == 4  # each is counted, from anywhere and from here
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert NAME.encode() in kept  # so a name in clear would be seen
    assert not re.search(rb"hunter2|battery", kept, re.IGNORECASE)


def test_the_log_has_no_secret_and_no_name_that_nobody_has(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """People type passwords into the field of the name."""
    caplog.set_level("DEBUG")
    typed = "hunter2-hunter2"
    pair = target.begin()
    refreshed = target.refresh(pair["refresh_token"]).json
    code = target.accounts.make_reset_code(target.accounts.find(target.user_id)).code
    nearly = code[:-1] + ("A" if code[-1] != "A" else "B")
    target.refresh(f"{pair['refresh_token']}x")
    for _ in range(7):
        target.guesses(typed)
        target.reset(nearly, typed)
    target.status({**basic(NAME, typed), "User-Agent": "a\x1bb"})
    key = target.make_key()
    for text in (key, key_text(halves(key)[0], "0" * 40), f"{key}x"):
        for headers in presented(text):
            target.status(headers)
    target.send("GET", "/api/keys", headers=bearer(key))
    target.send("DELETE", "/api/keys", headers=OWN)
    events = {json.loads(record.getMessage())["event"] for record in caplog.records}
    assert events >= {"login_failed", "throttled", "reset_failed", "api_key_made"}
    tokens = [each[name] for each in (pair, refreshed) for name in ("token", "refresh_token")]
    codes = [part for each in (code, nearly) for part in (each, each.split(".")[1])]
    for secret in (typed, PASSWORD, NAME, target.token, *codes, *tokens, *halves(key)[1:]):
        assert secret not in caplog.text


# The Authorization header


def test_an_unusable_header_is_refused(target: Target) -> None:
    right, token = b64encode(b"miguel:python").decode(), target.token
    for text in (
        *("Basic", "Bearer ", right, token, f"Basic: {right}", f"Basic\t{right}"),
        *(f"Basic {right} ", f"Bearer {token}\0", f"Basic {right}, Basic {right}"),
        *(f"Bearer x, Basic {right}", f'Bearer token="{token}"', f"Basic {right}="),
        *("Basic bWlndWVsOnB5dGhvbh==", "Basic miguel:python", f"Bearer {right}"),
        *(f"JWT {token}", "Basic " + "eHh4" * 3000),
    ):
        assert target.status({"Authorization": text}) == 401, text
    for raw in (
        *(
            b"",
            b":",
            b":python",
            b"miguel python",
            b"miguel:",
            b"miguel:python\n",
            b"miguel:Python",
        ),
        *(b" miguel:python", b"mig\tuel:python", b"m\xc1\xa9guel:python", b"mig%:python"),
        *(b"x' OR 'a'<'b:x", "miguel:python".encode("utf-16")),
    ):
        assert target.status({"Authorization": "Basic " + b64encode(raw).decode()}) == 401, raw


def test_an_empty_name_never_matches_an_absent_header(target: Target) -> None:
    assert target.refusals([user("", "")]) == {400}
    assert target.status({}) == target.status(basic("", "")) == 401


def test_an_identity_from_outside_is_removed(target: Target, tmp_path: Path) -> None:
    names = ("Remote-User", "X-Forwarded-User", "X-User", "Auth-Type")
    claims: dict[str, Any] = {"REMOTE_USER": NAME, "AUTH_TYPE": "Basic", "restauth.user": NAME}
    assert target.status(dict.fromkeys(names, NAME)) == 401
    refused = target.send("GET", "/api/resource", **claims)
    assert refused.status_int == 401
    assert [refused.request.environ.get(name) for name in claims] == [None, None, None]
    seen: list[object] = []

    def foreign_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.extend(environ.get(name) for name in claims)
        start_response("204 No Content", [])
        return []

    guard = AuthMiddleware(foreign_app, database=tmp_path / "a.db", key_file=tmp_path / "a.keys")
    webtest.TestApp(guard, extra_environ=claims, lint=False).get("/")
    assert seen == [None, None, None]


# Passwords and hashes


def test_every_character_of_a_password_counts(target: Target) -> None:
    for number, (right, nearly) in enumerate(
        [
            ("p" * 72 + "right", "p" * 72),
            ("\x80right", "\x80wrong"),
            ("blank ", "blank"),
            ("CASE", "case"),
            ("\ufb01ne", "fine"),
            ("c:o:lon", "c:o"),
        ]
    ):
        name = f"susan{number}"
        assert target.post("/api/users", username=name, password=right).status_int == 201
        statuses = [target.status(basic(name, each)) for each in (nearly, right)]
        assert statuses == [401, 200], right


def test_a_stolen_hash_cannot_be_shucked(target: Target) -> None:
    """What bcrypt hashed must not be an unsalted digest, which may have leaked elsewhere."""
    *_, salt, digest = target.accounts.find(target.user_id).password_hash.split("$")
    unsalted = sha256(PASSWORD.encode()).digest()
    for inner in (PASSWORD.encode(), unsalted.hex().encode(), b64encode(unsalted)):
        assert not bcrypt.checkpw(inner, f"$2b$04${salt}{digest}".encode())


def test_a_damaged_stored_hash_is_a_wrong_password(target: Target, watchers: Watchers) -> None:
    susan = target.accounts.register("susan", "another")
    form = "$bcrypt-sha256$v=2,t=2b,r={}${}$" + "." * 31
    for stored in (
        *("", "!", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"),
        *(form.format(cost, "." * 22) for cost in (31, 3)),  # days of work, or too little
        *(form.format(4, salt) for salt in ("z" * 22, "." * 21)),  # bcrypt would raise
    ):
        target.services._resources.store.set_password_hash(susan.id, stored)
        assert probe(target, watchers, "susan", "another") == probe(target, watchers, "nobody")


def test_a_login_tells_nobody_whether_the_name_exists(target: Target, watchers: Watchers) -> None:
    target.accounts.lock(target.accounts.register("locked", "another"))
    expected = probe(target, watchers, "nobody")
    for username, password in ((NAME, "guess"), ("locked", "guess"), ("locked", "another")):
        assert probe(target, watchers, username, password) == expected


def test_a_cheap_old_hash_is_not_told_by_its_speed(
    services: Services, target: Target, watchers: Watchers
) -> None:
    # The operator has raised the cost since miguel was registered.
    services.authentication._hasher = Hasher(7, time.perf_counter)
    expected = probe(target, watchers, "nobody")
    assert probe(target, watchers, NAME) == expected
    assert expected[0] == 2**7


# Names

MISLEADING = (
    ": /\\'\"<>(){}[]%$&*;,=?#!|~^`\0\t\n\r\x1b\x7f\x85\xa0\xad"  # ASCII, and controls
    "\u200b\u200d\u2028\u202e\u2066\u034f\u061c\u115f\u3164\ufe0f\ufeff\U000e0041"  # invisible
    "\u0456\u0131\u017f\u212a\uff4c\u0667\xb2\xe9\u0301\U0001f40e\ue000\uffff\ud83d"  # look-alikes
)


def test_a_misleading_name_is_refused(target: Target) -> None:
    names = [f"su{character}san" for character in MISLEADING]
    names += [NAME, "MIGUEL", "--help", ".susan", "+1", "s" * 65, "susan\n", " susan"]
    shaped_like_a_token = "a" * 40 + ".b." + "c" * 40
    odd = [None, 7, ["susan"], {"$ne": ""}, "", shaped_like_a_token]
    assert target.refusals(user(each) for each in [*names, *odd]) == {400}


def test_a_second_spelling_is_no_second_account(target: Target) -> None:
    for spelling in ("Miguel", "MIGUEL", "\uff4diguel"):
        answer = target.send("GET", "/api/resource", headers=basic(spelling, PASSWORD))
        assert answer.json == {"data": "Hello, miguel!"}


# The body of a request


def test_a_body_that_is_no_proper_object_is_refused(target: Target) -> None:
    bodies = (
        *(b"", b"42", b"null", b'[["username", "mallory"]]', b"username=mallory&password=x"),
        *(b"{}", BODY.replace(b"user", b"User"), BODY[:30], BODY * 2, b"//\n" + BODY),
        *(BODY[:-1] + b"," + BODY[1:], BODY[:-1] + b', "x": NaN}', b"\xef\xbb\xbf" + BODY),
        *(BODY[:-1] + rb', "x": "\udead"}', BODY[:-1] + b', "x": ' + b"7" * 6000 + b"}"),
        *(BODY.decode().encode("utf-16-be"), b"[" * MAX_BODY, b'{"a":' * 13_000),
    )
    assert target.refusals(bodies) == {400}


def test_a_compressed_body_is_not_unpacked(target: Target) -> None:
    for coding in ("GZIP", "identity, deflate"):
        assert target.refusals([BODY], JSON | {"Content-Encoding": coding}) == {415}


def test_a_false_content_length_is_refused(target: Target) -> None:
    for length in ("-7", "+7", "0x7", "7, 7", "9" * 5000, "60000", "20", ""):
        body: Any = {"wsgi.input": io.BytesIO(BODY), "CONTENT_TYPE": "application/json"}
        answer = target.send("POST", "/api/users", CONTENT_LENGTH=length, **body)
        assert answer.status_int == 400, length
    assert len(list(target.accounts.list())) == 1


class Endless:
    """A body without end, and how much of it was read."""

    taken = 0

    def read(self, size: int) -> bytes:
        self.taken += size
        return b" " * size


def test_an_oversized_body_is_not_read(target: Target) -> None:
    for framing, status, taken in (
        ({"CONTENT_LENGTH": str(MAX_BODY + 1)}, 413, 0),
        ({"CONTENT_LENGTH": str(2**64 + 20)}, 413, 0),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 411, 0),
        ({"wsgi.input_terminated": True}, 413, MAX_BODY + 1),  # what decodes chunks says so
    ):
        body: Any = {"wsgi.input": Endless(), "CONTENT_TYPE": "application/json", **framing}
        assert target.send("POST", "/api/users", **body).status_int == status
        assert body["wsgi.input"].taken == taken


# The path, the method, the Host header


def test_a_path_has_one_spelling(target: Target) -> None:
    paths = (
        *("/api/users/1/", "//api/users/1", "/api/./resource", "/api/token/../resource"),
        *("/api/Resource", "/api/resource;a=b", "/api/resource%3Fa", "/api%5Cresource"),
        *(
            "/api/%C0%AE/resource",
            "/api/%2E%2e/restauth.keys",
            "/.git/config",
            "/api/" + "p" * 20_000,
        ),
        *(f"/api/users/{quote(digits)}" for digits in ("01", "+1", "1e0", "1_1", "\uff11", "1\0")),
        *("/api/users/1%0D%0ALocation:%20//evil.example", "/api/users/1%20OR%201=1"),
    )
    for path in paths:
        assert target.send("GET", path, headers=bearer(target.token)).status_int == 404, path


def test_an_id_that_no_store_holds_is_unknown(target: Target) -> None:
    for number in (0, 2, 2**63 - 1, 2**63, 2**64 + 1, 10**20):
        assert target.send("GET", f"/api/users/{number}").status_int == 400
    assert target.send("GET", "/api/users/" + "1" * 4400).status_int == 400  # int() takes 4300


def test_no_other_method_does_anything(target: Target) -> None:
    headers = JSON | bearer(target.token) | {"X-Echo": "echoed"}
    for method in ("PUT", "DELETE", "POST", "TRACE", "BREW", "get", "<b>"):
        for path in (f"/api/users/{target.user_id}", "/api/resource"):
            answer = target.send(method, path, BODY, headers, REQUEST_METHOD=method)
            assert (answer.status_int, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
            assert "echoed" not in answer.text
    assert target.send("GET", "/api/users", headers=headers).status_int == 405  # no list of users


def test_a_method_override_is_ignored(target: Target) -> None:
    names = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    headers = bearer(target.token) | dict.fromkeys(names, "DELETE") | {"X-Original-URL": "/x"}
    for path in ("/api/token", "/api/token?_method=DELETE"):
        assert target.send("GET", path, headers=headers).json["token"]
    assert target.send("POST", "/api/resource", headers=headers).status_int == 405


def test_a_foreign_host_is_not_echoed(target: Target) -> None:
    foreign = ("evil.example", "localhost.evil.example", "evil-localhost", "localhos%74", "")
    for number, host in enumerate(foreign, start=target.user_id + 1):
        answer = target.post("/api/users", {"Host": host}, username=f"susan{number}", password="x")
        assert answer.headers["Location"] == f"/api/users/{number}"


def test_proxy_headers_are_not_believed(target: Target) -> None:
    headers = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=127.0.0.1;host=evil.example;proto=https",
    }
    answer = target.post("/api/users", headers, username="susan", password="another")
    assert answer.headers["Location"] == "http://localhost:80/api/users/2"
    assert "Strict-Transport-Security" not in answer.headers


def test_no_script_makes_a_browser_ask_for_the_password(target: Target) -> None:
    for headers in (
        {"X-Requested-With": "XMLHttpRequest"},
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site"},
    ):
        challenges = target.send("GET", "/api/resource", headers=headers).headers
        assert challenges.getall("WWW-Authenticate") == ['Bearer realm="Authentication Required"']


# What a proxy is told: it lets a request in for any 2xx


def test_no_method_and_no_preflight_gets_past_a_proxy(make_services: ServicesFactory) -> None:
    """Not from an origin that may call, either."""
    origin = "https://app.example.org"
    target = Target(make_services(cors_origins=origin))
    for asked in ("GET", "DELETE", "OPTIONS", "TRACE", "CONNECT", "options", "BREW", "*"):
        preflight = {"Origin": origin, "Access-Control-Request-Method": asked}
        dead = {**preflight, **bearer("a.b.c"), "X-Forwarded-Method": "OPTIONS"}
        for method in ("OPTIONS", asked):
            for headers in (None, preflight, dead):
                answer = target.send(method, "/api/verify", headers=headers, REQUEST_METHOD=method)
                assert answer.status_int == 401
                assert "Remote-User" not in answer.headers
    assert target.send("OPTIONS", "/api/resource", headers=preflight).status_int == 204


def test_no_name_imitates_another_before_a_proxy(make_services: ServicesFactory) -> None:
    """Where an operator lets in more than ASCII."""
    target = Target(make_services(username_pattern=".+"))
    names = (
        *("ren\u00e9", "ren%C3%A9", "ren%25C3%25A9", "ren\xc3\xa9", "a b", "a%20b", "a+b", "ab"),
        *(" ab", "ab ", "a\u200bb", "admin", "\u0430dmin", "adm\u0131n", "%61dmin", '"admin"'),
    )
    seen = set()
    for username in names:
        target.accounts.register(username, "python")
        headers = basic(username, "python") | {"Remote-User": NAME}
        answer = target.send("GET", "/api/verify", headers=headers, REMOTE_USER=NAME)
        (told,) = answer.headers.getall("Remote-User")
        assert re.fullmatch("[!-~]+", told)
        assert unquote(told) == username
        seen.add(told)
    assert len(seen) == len(names)


# Many at once, and bugs


def test_parallel_registrations_have_one_winner(
    make_services: ServicesFactory, watchers: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    racers = 8
    monkeypatch.setattr("restauth.services.HASH_SLOTS", racers)
    processes = [make_services(), make_services()]
    all_found_the_name_free = Barrier(racers, timeout=30)
    watchers.append(lambda rounds: all_found_the_name_free.wait())

    def register(number: int) -> int:
        body = user(["racer", "RACER", "Racer"][number % 3])
        client = client_of(processes[number % 2])
        return int(client.post("/api/users", body, headers=JSON, status="*").status_int)

    with ThreadPoolExecutor(racers) as pool:
        assert sorted(pool.map(register, range(racers))) == [201] + [400] * (racers - 1)
    assert len(list(processes[0].accounts.list())) == 1


@contextmanager
def two_at_it(services: Services) -> Iterator[None]:
    """Two attempts are at work for as long as this lasts."""
    are_here, may_go_on = Semaphore(0), Event()

    def work() -> None:
        are_here.release()
        assert may_go_on.wait(timeout=30)

    with ThreadPoolExecutor(2) as pool:
        run = partial(services._resources.limiter.run, work, network="198.51.100.1")
        both = [pool.submit(run) for _ in range(2)]
        try:
            assert all(are_here.acquire(timeout=30) for _ in both)
            yield
        finally:
            may_go_on.set()
        for each in both:
            each.result(timeout=30)


def test_a_login_flood_leaves_tokens_alone(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restauth.services.HASH_SLOTS", 2)
    monkeypatch.setattr("restauth.services.HASH_QUEUE", 0)
    target = Target(make_services())
    with two_at_it(target.services):
        for name in (NAME, "nobody"):
            answer = target.client.get("/api/token", headers=basic(name, "guess"), status=503)
            assert int(answer.headers["Retry-After"]) > 0
        assert target.status(bearer(target.token)) == 200


def test_a_flood_from_one_network_does_not_keep_another_from_logging_in(
    make_services: ServicesFactory, watchers: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flood holds all places, from many addresses of one site."""
    monkeypatch.setattr("restauth.services.HASH_SLOTS", 1)
    monkeypatch.setattr("restauth.services.HASH_QUEUE", 6)
    services = make_services(credential_cache=0)
    target = Target(services)
    may_go_on = Event()

    def ask(password: str, name: str, peer: str) -> int:
        client = client_of(services, REMOTE_ADDR=peer)
        return int(client.get("/api/token", headers=basic(name, password), status="*").status_int)

    watchers.append(lambda rounds: may_go_on.wait(timeout=30))
    with ThreadPoolExecutor(20) as pool:
        try:
            flood = [
                pool.submit(ask, "guess", f"user{number}", f"2001:db8:1:{number}::1")
                for number in range(12)
            ]
            done = as_completed(flood, timeout=30)
            refused = [next(done).result() for _ in range(5)]
            login = pool.submit(ask, "python", NAME, "2001:db8:2::1")
            refused.append(next(done).result())  # pushed out by the login
            assert target.status(bearer(target.token)) == 200
        finally:
            may_go_on.set()
    assert refused == [503] * 6
    assert login.result() == 200


def test_registrations_leave_logins_a_place(
    make_services: ServicesFactory, watchers: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restauth.services.HASH_SLOTS", 3)
    monkeypatch.setattr("restauth.services.HASH_QUEUE", 0)
    services = make_services(credential_cache=0)
    target = Target(services)
    is_hashing, may_go_on = Semaphore(0), Event()

    def hold(rounds: int) -> None:
        is_hashing.release()
        assert may_go_on.wait(timeout=30)

    def register(name: str) -> int:
        client = client_of(services)
        return int(client.post("/api/users", user(name), headers=JSON, status="*").status_int)

    watchers.append(hold)
    with ThreadPoolExecutor(2) as pool:
        try:
            flood = [pool.submit(register, name) for name in ("one", "another")]
            assert all(is_hashing.acquire(timeout=30) for _ in flood)
            watchers.clear()
            assert register("third") == 503
            assert target.status(OWN) == 200
            value = {"password": "new"}  # which is no login either
            target.client.put_json("/api/users/me/password", value, headers=OWN, status=503)
        finally:
            may_go_on.set()
        assert [each.result(timeout=30) for each in flood] == [201, 201]


def test_a_bug_tells_nobody_anything(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    break_the_store(target.services)
    password = basic(NAME, "s3cret")
    for headers in (bearer(target.token), password):
        answer = target.client.get("/api/resource", headers=headers, status=500)
        assert not LEAKS.search(f"{answer.headers} {answer.text}")
        assert answer.json["detail"].removeprefix("Incident ").strip(".") in caplog.text
    assert LOST_COLUMN.search(caplog.text)  # for the operator
    for secret in (target.token, "s3cret", password["Authorization"].split()[1]):
        assert secret not in caplog.text


# Files


def test_a_weak_key_stops_the_start(make_services: ServicesFactory, tmp_path: Path) -> None:
    path = tmp_path / "restauth.keys"
    path.touch(0o600)
    for secret in (
        *(b"", bytes(31), bytes(range(32)), bytes(64), b"MySecretPassw0rd!" * 2),
        b"the quick brown fox jumps over the lazy dog",
    ):
        key = {"kty": "oct", "use": "sig", "alg": "HS256", "kid": "k", "k": b64u(secret)}
        path.write_text(json.dumps({"keys": [key]}))
        with pytest.raises(UnusableKeyRing):
            make_services()


def test_a_key_ring_within_others_reach_stops_the_start(
    make_services: ServicesFactory, tmp_path: Path
) -> None:
    make_services()
    path = tmp_path / "restauth.keys"
    for mode in (0o640, 0o604, 0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(UnusableKeyRing):
            make_services()
    path.chmod(0o600)
    path.symlink_to(path.rename(path.with_name("elsewhere")))
    with pytest.raises(UnusableKeyRing):
        make_services()


@pytest.mark.sqlite("it is about the files of SQLite")
def test_a_foreign_database_stops_the_start(make_services: ServicesFactory, tmp_path: Path) -> None:
    for statement in (
        "CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END",
        "PRAGMA user_version = 1000",
        "PRAGMA application_id = 7",
    ):
        for name in ("restauth.db", "restauth.keys"):  # a ring without its database is refused
            (tmp_path / name).unlink(missing_ok=True)
        make_services().close()
        with closing(sqlite3.connect(tmp_path / "restauth.db", isolation_level=None)) as other:
            other.execute(statement)
        with pytest.raises(UnusableStore):
            make_services()


@pytest.mark.sqlite("it is about the files of SQLite")
def test_new_files_are_for_our_eyes_only(make_services: ServicesFactory, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        services = make_services()
        services.accounts.register(NAME, PASSWORD)
        services._resources.engine.backup(tmp_path / "copy.db")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {"restauth.db", "restauth.db-wal", "restauth.keys", "copy.db"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_every_character_of_an_old_password_counts(target: Target, services: Services) -> None:
    """Of those that were set before they were refused, or that were imported."""
    for number, (right, nearly) in enumerate(
        [("nul\0right", "nul\0wrong"), ("line\n", "line"), ("\ufeffline", "line")]
    ):
        name, stored = f"susan{number}", passwords.hash(right, CHEAPEST)
        assert target.post("/api/users", username=name, password=right).status_int == 400
        assert services._resources.store.add_user(name, name, stored, 0)
        statuses = [target.status(basic(name, each)) for each in (nearly, right)]
        assert statuses == [401, 200], right
