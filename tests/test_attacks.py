"""Every attack that restauth claims to withstand, tried through its front door.

A row of a table is a remark and what the attacker sends. `Target.send` holds every answer against
what no answer may be, and then sees whether a live token still opens the door.
"""

import hmac
import io
import json
import math
import os
import re
import sqlite3
import stat
import time
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from threading import Barrier, Event, Semaphore
from typing import Any
from urllib.parse import quote, unquote

import bcrypt
import pytest
import webtest

from restauth import AuthMiddleware
from restauth.core.hasher import Hasher
from restauth.errors import UnusableKeyRing, UnusableStore
from restauth.services import Services
from restauth.web.app import App
from tests.conftest import Clock, ServicesFactory, basic, bearer, client_of
from tests.key_pairs import EVERY, need_extra, public_texts, respell, sign_with

NOW = Clock().now
JSON = {"Content-Type": "application/json"}
ABSENT = object()
MAX_BODY = 65_536
LEAKS = re.compile(r"Traceback|\.py\b|sqlite|bcrypt|password_hash", re.IGNORECASE)

Headers = Mapping[str, str] | None
Edit = Mapping[str, object] | Callable[[bytes], bytes]
Watchers = list[Callable[[int], object]]


def attacks(**rows: Sequence[object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attempts", list(rows.values()), ids=list(rows))


def b64u(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def edited(segment: str, edit: Edit) -> str:
    """A token's segment with other members (ABSENT: without them), or put through a function."""
    raw = urlsafe_b64decode(segment + "==")
    if callable(edit):
        return b64u(edit(raw))
    members = json.loads(raw) | dict(edit)
    return b64u(json.dumps({k: v for k, v in members.items() if v is not ABSENT}).encode())


def user(username: object = "mallory", password: object = "correct horse") -> bytes:
    return json.dumps({"username": username, "password": password}).encode()


class Target:
    """The service with one user and one live token, and a watch on every answer."""

    def __init__(self, services: Services, **environ: str) -> None:
        self.accounts = services.accounts
        self.client = client_of(services, **environ)
        self.rude_client = webtest.TestApp(App(services), lint=False)
        self.secret = services.keys.ring.signing_key.secret
        self.user_id = self.accounts.register("miguel", "python")
        answer = self.client.get("/api/token", headers=basic("miguel", "python"))
        self.token: str = answer.json["token"]

    def begin(self, username: str, password: str) -> dict[str, str]:
        """Both tokens of a new session."""
        headers = basic(username, password)
        pair: dict[str, str] = self.send("POST", "/api/sessions", headers=headers).json
        return pair

    def refresh(self, refresh_token: object, **more: object) -> Any:
        body = json.dumps({"refresh_token": refresh_token, **more}).encode()
        return self.send("POST", "/api/token", body, JSON)

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Headers = None, **rude: object
    ) -> Any:
        """`rude` goes into the environ, as no decent server would do it: no lint looks at it."""
        client = self.rude_client if rude else self.client
        more = {"headers": headers, "environ": rude} | ({"body": body} if body else {})
        answer = client.request(path, method=method, expect_errors=True, **more)
        seen = "\n".join(answer.headers.values())
        assert answer.status_int < 500
        assert not answer.body or re.match(r"application/(problem\+)?json$", answer.content_type)
        assert not LEAKS.search(seen + answer.text)
        assert "<" not in seen  # JSON may repeat markup: no browser runs it there
        assert answer.status_int != 401 or "WWW-Authenticate" in answer.headers
        assert answer.status_int != 405 or "Allow" in answer.headers
        self.client.get("/api/resource", headers=bearer(self.token), status=200)
        return answer

    def status(self, headers: Headers) -> int:
        """What a protected resource answers to these headers."""
        code: int = self.send("GET", "/api/resource", headers=headers).status_int
        return code

    def refuses(self, token: str) -> bool:
        """Both as a Bearer token and as the user-id of Basic."""
        return self.status(bearer(token)) == self.status(basic(token, "x")) == 401

    def register(self, body: bytes, headers: Headers = JSON) -> Any:
        return self.send("POST", "/api/users", body, headers)

    def refusal_to_register(self, body: bytes, headers: Headers = JSON) -> int:
        """The status; nobody was registered."""
        code: int = self.register(body, headers).status_int
        assert [account.username for account in self.accounts.list()] == ["miguel"]
        return code

    def forge(
        self, header: Edit, payload: Edit, secret: bytes | None = None, digest: str = "sha256"
    ) -> str:
        """The live token with other contents, signed anew: with our own key, if need be."""
        old_header, old_payload, _ = self.token.split(".")
        signed = f"{edited(old_header, header)}.{edited(old_payload, payload)}"
        mac = hmac.digest(self.secret if secret is None else secret, signed.encode(), digest)
        return f"{signed}.{b64u(mac)}"


@pytest.fixture
def target(services: Services) -> Target:
    return Target(services)


@pytest.fixture
def watchers(monkeypatch: pytest.MonkeyPatch) -> Watchers:
    """Whoever is in the list is called with the rounds of each bcrypt hash, before it begins."""
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


# Tokens forged with our own key: what refuses them is the check of the form, not the signature.


def test_the_forger_can_forge(target: Target) -> None:
    assert target.status(bearer(target.forge({}, {"extra": "ignored"}))) == 200


def test_algorithm_none_is_refused(target: Target) -> None:
    for alg in ("none", "NoNe", "NONE", "none ", "", None, ["none"], {"none": 1}, 0, False, ABSENT):
        signed = target.forge({"alg": alg}, {})
        unsigned = signed.rpartition(".")[0]
        for token in (signed, unsigned, unsigned + ".", unsigned + "." + b64u(bytes(32))):
            assert target.refuses(token)


def test_key_confusion_is_refused(target: Target) -> None:
    for alg in ("HS384", "HS512", "hs256", "RS256", "ES512", "PS256", "EdDSA", "dir"):
        for digest in ("sha256", "sha384", "sha512"):
            assert target.refuses(target.forge({"alg": alg}, {}, digest=digest))


def test_no_key_signs_for_another_algorithm(services: Services, target: Target) -> None:
    """Each kind of key, with each header, by each signer: good is what is of one key alone."""
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
                token = f"{text}.{sign_with(text, signer)}"
                if key is signer and alg == key.algorithm:
                    assert target.status(bearer(token)) == 200
                else:
                    assert target.refuses(token)
            for secret in public_texts(key).values() if key.pair else ():
                mac = hmac.digest(secret, text.encode(), "sha256")
                assert target.refuses(f"{text}.{b64u(mac)}")
            for signature in (b"", bytes(64), bytes(63) + b"\1", b"\xff" * 64):
                assert target.refuses(f"{text}.{b64u(signature)}")


def test_a_signature_in_another_spelling_dies_with_its_session(
    services: Services, target: Target
) -> None:
    """Of an ES256 signature anybody can make another one, as good. It opens nothing more."""
    need_extra()
    services.keys.rotate(revoke=False, algorithm="ES256")
    token = target.begin("miguel", "python")["token"]
    other = respell(token)
    assert target.status(bearer(token)) == target.status(bearer(other)) == 200
    assert target.send("DELETE", "/api/token", headers=bearer(other)).status_int == 204
    assert target.refuses(other)
    assert target.refuses(token)


def test_nobody_is_shown_a_secret(services: Services, target: Target, tmp_path: Path) -> None:
    need_extra()
    for algorithm in EVERY:
        services.keys.rotate(revoke=False, algorithm=algorithm)
    shown = target.send("GET", "/.well-known/jwks.json").text
    assert len(json.loads(shown)["keys"]) == 2
    for key in json.loads((tmp_path / "restauth.keys").read_bytes())["keys"]:
        assert (key.get("d") or key["k"]) not in shown


@attacks(
    a_file_with_known_bytes=["../../../dev/null", "restauth.db", "file:///etc/hostname"],
    a_command_a_query=["x|id", "x' UNION SELECT 'secret", "%"],
    not_text=[0, True, None, ["default"], {"a": 1}, ABSENT],
    no_name_of_ours=["", "nobody", "k" * 2000, "\0"],
)
def test_a_key_id_is_no_path(target: Target, attempts: list[object]) -> None:
    for kid in attempts:
        for secret in (None, b"", b"secret"):
            assert target.refuses(target.forge({"kid": kid}, {}, secret))


@attacks(
    the_key_itself=[{"jwk": {"kty": "oct", "k": b64u(b"secret")}}, {"x5c": ["MIIB"]}],
    where_to_fetch_it=[{"jku": "https://evil.example/"}, {"x5u": "file:///etc/passwd"}],
    critical_extensions=[{"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": False}],
    more_to_unpack=[{"zip": "GZIP"}, {"cty": "JWT"}, {"enc": "A256GCM"}, {"note": 1}],
    another_type=[{"typ": "JWT"}, {"typ": "rt+jwt"}, {"typ": None}, {"typ": ABSENT}],
)
def test_a_token_cannot_bring_its_own_rules(target: Target, attempts: list[Edit]) -> None:
    for header in attempts:
        assert target.refuses(target.forge(header, {}))
        assert target.refuses(target.forge(header, {}, b"secret"))


def test_a_guessed_key_signs_nothing(target: Target) -> None:
    sentence = b"the quick brown fox jumps over the lazy dog"
    for secret in (b"", b"\0", bytes(32), b"changeme", b"restauth", sentence, bytes(range(64))):
        assert target.refuses(target.forge({}, {}, secret))


@attacks(
    expired=[{"iat": NOW - 601, "exp": NOW - 1}, {"iat": NOW - 600, "exp": NOW}],
    good_for_ever=[{"exp": ABSENT}, {"exp": NOW + 601}, {"exp": 2**80}, {"exp": math.inf}],
    expiry_of_another_type=[{"exp": None}, {"exp": f"{NOW + 9}"}, {"exp": NOW + 9.5}],
    from_the_future=[{"iat": NOW + 61}, {"iat": ABSENT}, {"iat": f"{NOW}"}, {"iat": True}],
    not_yet_or_not_any_more=[{"nbf": NOW + 5}, {"nbf": NOW - 5}],
    nobody=[{"sub": ABSENT}, {"sub": None}, {"sub": ""}, {"sub": "0"}, {"sub": "77"}],
    subject_of_another_type=[{"sub": 1}, {"sub": True}, {"sub": 1.0}, {"sub": ["1"]}],
    another_spelling_of_1=[{"sub": "01"}, {"sub": "+1"}, {"sub": "1\n"}, {"sub": "\u0967"}],
    a_number_too_large=[{"sub": str(2**63)}, {"sub": str(2**64 + 1)}, {"sub": "1" * 400}],
    not_a_number=[{"sub": "miguel"}, {"sub": "1 OR 1=1"}, {"sub": "1e0"}, {"sub": "-1"}],
    another_iss=[{"iss": "rest"}, {"iss": "restauth.evil"}, {"iss": "Restauth"}],
    no_single_iss=[{"iss": ABSENT}, {"iss": ["restauth"]}, {"iss": None}],
    another_audience=[{"aud": "payroll"}, {"aud": ["restauth", "payroll"]}, {"aud": ABSENT}],
    no_such_session=[{"sid": "A" * 22}, {"sid": "%"}, {"sid": "' OR ''='"}, {"sid": ""}],
    session_of_another_type=[{"sid": 1}, {"sid": None}, {"sid": ["x"]}, {"sid": ABSENT}],
    name_or_roles=[{"name": 7}, {"name": ABSENT}, {"roles": "admin"}, {"roles": [0]}],
    longer_than_4096=[{"padding": "x" * 4000}],
)
def test_a_false_claim_is_refused(target: Target, attempts: list[Edit]) -> None:
    for claims in attempts:
        assert target.refuses(target.forge({}, claims))


@attacks(
    no_object=[lambda raw: b"[" + raw + b"]", lambda raw: b'"x"', lambda raw: b"null"],
    broken=[lambda raw: raw[:-1], lambda raw: raw + raw, lambda raw: raw + b"\0"],
    members_twice=[lambda raw: raw[:-1] + b"," + raw[1:]],
    no_number=[lambda raw: raw[:-1] + b',"x":NaN}', lambda raw: raw[:-1] + b',"x":1e999}'],
    lone_surrogate=[lambda raw: raw[:-1] + rb',"x":"\udbff"}'],
    not_UTF_8=[lambda raw: raw[:-1] + b',"x":"\xfe"}', lambda raw: b"\xef\xbb\xbf" + raw],
    UTF_16=[lambda raw: raw.decode().encode("utf-16-le")],
)
def test_a_token_of_other_json_is_refused(target: Target, attempts: list[Edit]) -> None:
    for edit in attempts:
        assert target.refuses(target.forge(edit, {}))
        assert target.refuses(target.forge({}, edit))


@attacks(
    something_after=["{0}.{1}.{2}" + end for end in ("=", "\t", "\r", "\0", ".", ".AA.AA")],
    something_before=["\t{0}.{1}.{2}", ".{0}.{1}.{2}", "\xef\xbb\xbf{0}.{1}.{2}"],
    quoted=['"{0}.{1}.{2}"', "[{0}.{1}.{2}]", '{{"payload": "{1}"}}', "{0}%2E{1}%2E{2}"],
    other_signs=["{0}=.{1}.{2}", "{0}.{1}+.{2}", "{0}..{1}.{2}", "{0}\n.{1}.{2}"],
    a_part_missing=["{0}{1}{2}", "{0}.{1}.", "{0}.{1}", ".{1}.{2}", "{0}..{2}", ".."],
    a_part_cut_exchanged=["{0}.{1}.{2:.42}", "{2}.{1}.{0}", "{0}.{0}.{2}", "{0}.{2}.{2}"],
)
def test_a_token_has_one_spelling(target: Target, attempts: list[str]) -> None:
    for form in attempts:
        assert target.refuses(form.format(*target.token.split(".")))


def test_a_signature_has_one_spelling(target: Target) -> None:
    head, signature = target.token[:-43], target.token[-43:]
    stray_bits = signature[:-1] + chr(ord(signature[-1]) + 1)
    for other in (stray_bits, signature.swapcase(), signature[:-1], signature + "A"):
        assert target.refuses(head + other)


# Tokens that were good once, or in another place


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


ENDS: dict[str, Callable[[Services, Target], object]] = {
    "logout": lambda other, target: client_of(other).delete(
        "/api/token", headers=bearer(target.token)
    ),
    "logout everywhere": lambda other, target: client_of(other).delete(
        "/api/sessions", headers=bearer(target.token)
    ),
    "lock": lambda other, target: other.accounts.lock(other.accounts.find(target.user_id)),
    "password": lambda other, target: other.accounts.set_password(
        other.accounts.find(target.user_id), "new"
    ),
    "own new password": lambda other, target: client_of(other).put_json(
        "/api/users/me/password", {"password": "new"}, headers=basic("miguel", "python")
    ),
    "reset": lambda other, target: client_of(other).post_json(
        "/api/password-resets",
        {
            "code": other.accounts.make_reset_code(other.accounts.find(target.user_id)),
            "password": "new",
        },
    ),
    "deletion": lambda other, target: other.accounts.delete(other.accounts.find(target.user_id)),
    "closing": lambda other, target: client_of(other).delete(
        "/api/users/me", headers=basic("miguel", "python")
    ),
    "key": lambda other, target: other.keys.rotate(revoke=True),
}


@pytest.mark.parametrize("cause", ENDS)
def test_a_revoked_token_is_dead_in_every_process(
    target: Target, make_services: ServicesFactory, cause: str
) -> None:
    pair = target.begin("miguel", "python")
    ENDS[cause](make_services(), target)
    target.client.get("/api/resource", headers=bearer(target.token), status=401)
    target.client.get("/api/token", headers=basic(target.token, ""), status=401)
    if cause != "logout":  # of another session than the pair's
        target.client.get("/api/resource", headers=bearer(pair["token"]), status=401)
        value = {"refresh_token": pair["refresh_token"]}
        target.client.post_json("/api/token", value, status=401)
    # Nor is a password, verified a moment ago, still good by memory.
    status = 200 if cause in ("logout", "logout everywhere", "key") else 401
    target.client.get("/api/resource", headers=basic("miguel", "python"), status=status)


def test_a_dead_users_token_opens_no_namesakes_account(target: Target) -> None:
    target.accounts.delete(target.accounts.find(target.user_id))
    assert target.accounts.register("miguel", "python") > target.user_id
    target.client.get("/api/resource", headers=bearer(target.token), status=401)
    target.client.get(f"/api/users/{target.user_id}", status=400)


def test_a_session_serves_no_other_user(target: Target) -> None:
    victim = target.accounts.register("susan", "another")
    assert target.refuses(target.forge({}, {"sub": str(victim), "name": "susan"}))


def test_a_login_under_way_does_not_outlive_a_lock(target: Target, watchers: Watchers) -> None:
    susan = target.accounts.find(target.accounts.register("susan", "another"))
    watchers.append(lambda rounds: target.accounts.lock(susan))
    target.client.get("/api/token", headers=basic("susan", "another"), status=401)


def test_a_clock_that_lags_refuses_no_fresh_token(clock: Clock, target: Target) -> None:
    clock.advance(-60)
    assert target.status(bearer(target.token)) == 200


def test_a_token_elsewhere_than_in_authorization_is_ignored(target: Target) -> None:
    form = f"access_token={target.token}&token={target.token}"
    assert target.send("GET", f"/api/resource?{form}").status_int == 401
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    assert target.send("GET", "/api/resource", form.encode(), form_type).status_int == 401
    for name in ("Cookie", "Proxy-Authorization", "X-Access-Token", "X-Authorization"):
        for value in (f"Bearer {target.token}", f"token={target.token}"):
            assert target.status({name: value}) == 401


# Refresh tokens


def sealed(text: str, secret: bytes) -> str:
    """A refresh token's text with the seal that somebody who has this secret would give it."""
    derived = hmac.digest(secret, b"restauth refresh token, version 1", "sha256")
    return f"{text}.{b64u(hmac.digest(derived, text.encode(), 'sha256'))}"


def test_a_refresh_token_is_no_access_token_nor_the_reverse(target: Target) -> None:
    pair = target.begin("miguel", "python")
    assert target.refuses(pair["refresh_token"])
    assert target.status(basic("miguel", pair["refresh_token"])) == 401
    for token in (target.token, pair["token"]):
        assert target.refresh(token).status_int == 401
    # Nor is one key good for both: each is signed here with the key of the other.
    signing, derived = (
        target.secret,
        hmac.digest(target.secret, b"restauth refresh token, version 1", "sha256"),
    )
    assert target.refuses(target.forge({}, {}, derived))
    text = pair["refresh_token"].rpartition(".")[0]
    seal = b64u(hmac.digest(signing, text.encode(), "sha256"))
    assert target.refresh(f"{text}.{seal}").status_int == 401
    assert target.refresh(pair["refresh_token"]).status_int == 200


@attacks(
    nothing=["", ".", "....", "null", "r1", "r1.{kid}.{sid}.{counter}"],
    another_version=["r0.{kid}.{sid}.{counter}.{seal}", "R1.{kid}.{sid}.{counter}.{seal}"],
    another_turn=[f"r1.{{kid}}.{{sid}}.{turn}.{{seal}}" for turn in (0, 2, 9, 10**9, 10**10)],
    no_number=[f"r1.{{kid}}.{{sid}}.{turn}.{{seal}}" for turn in ("", "01", "-1", "+1", "\u0661")],
    another_session=["r1.{kid}.{other}.{counter}.{seal}", "r1.{kid}.%.{counter}.{seal}"],
    another_key=["r1.nobody.{sid}.{counter}.{seal}", "r1.../../k.{sid}.{counter}.{seal}"],
    no_seal=["r1.{kid}.{sid}.{counter}.", "r1.{kid}.{sid}.{counter}." + "A" * 43],
    something_around=["{token} ", " {token}", "{token}\n", "{token}\0", "{token}=", "{token}.A"],
    another_scheme=["Bearer {token}", '"{token}"', "refresh_token={token}"],
    huge=["{token}" * 400, "r1." + "k" * 60_000 + ".{sid}.{counter}.{seal}"],
)
def test_a_forged_refresh_token_is_refused_and_ends_nothing(
    target: Target, attempts: list[str]
) -> None:
    pair = target.begin("miguel", "python")
    token = target.refresh(pair["refresh_token"]).json["refresh_token"]
    _, kid, sid, counter, seal = token.split(".")
    parts = {"token": token, "kid": kid, "sid": sid, "counter": counter, "seal": seal}
    for form in attempts:
        assert target.refresh(form.format(other="A" * 22, **parts)).status_int == 401
    assert target.refresh(token).status_int == 200


def test_a_refresh_token_is_sealed_by_no_guessed_key_and_in_one_spelling(target: Target) -> None:
    token = target.begin("miguel", "python")["refresh_token"]
    text, _, seal = token.rpartition(".")
    assert sealed(text, target.secret) == token  # the forger could forge
    for secret in (b"", bytes(32), b"changeme", b"the quick brown fox jumps over the lazy dog"):
        assert target.refresh(sealed(text, secret)).status_int == 401
    stray_bits = seal[:-1] + chr(ord(seal[-1]) + 1)
    for other in (stray_bits, seal.swapcase(), seal[:-1], seal + "A"):
        assert target.refresh(f"{text}.{other}").status_int == 401
    assert target.refresh(token).status_int == 200


def test_a_stolen_refresh_token_is_found_out(
    target: Target, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever of the two comes second, thief or owner: neither can go on."""
    caplog.set_level("INFO", "restauth.audit")
    for turns in (1, 2):
        stolen = target.begin("miguel", "python")["refresh_token"]
        pair = {"refresh_token": stolen}
        for _ in range(turns):
            pair = target.refresh(pair["refresh_token"]).json
        clock.advance(11 if turns == 1 else 0)
        assert "refresh_reuse" not in caplog.text
        assert target.refresh(stolen).status_int == 401
        assert target.refresh(pair["refresh_token"]).status_int == 401
        assert target.refuses(pair["token"])
        assert caplog.text.count('"event": "refresh_reuse"') == 1
        caplog.clear()


def test_a_refresh_token_elsewhere_than_in_the_body_is_ignored(target: Target) -> None:
    token = target.begin("miguel", "python")["refresh_token"]
    for path, headers in (
        (f"/api/token?refresh_token={token}", JSON),
        ("/api/token", JSON | {"Cookie": f"refresh_token={token}"}),
        ("/api/token", JSON | bearer(token)),
    ):
        assert target.send("POST", path, b"{}", headers).status_int == 400
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"refresh_token={token}".encode()
    assert target.send("POST", "/api/token", body, form).status_int == 415


# What is another's


def test_nobody_reaches_anothers_sessions(target: Target) -> None:
    victim = target.accounts.register("susan", "another")
    pair = target.begin("susan", "another")
    sid = pair["refresh_token"].split(".")[2]
    for headers in (bearer(target.token), basic("miguel", "python")):
        listed = target.send("GET", "/api/sessions", headers=headers)
        assert sid not in listed.text
        assert "susan" not in listed.text
        answer = target.send("DELETE", f"/api/sessions/{sid}", headers=headers)
        unknown = target.send("DELETE", "/api/sessions/" + "A" * 22, headers=headers)
        assert (answer.status_int, answer.body) == (404, unknown.body)
        for method, path in (
            ("GET", f"/api/sessions/{sid}"),
            ("GET", f"/api/sessions?user_id={victim}&username=susan"),
            ("DELETE", f"/api/users/{victim}"),
            ("PUT", f"/api/users/{victim}/password"),
            ("DELETE", f"/api/users/{victim}/sessions"),
            ("DELETE", "/api/users/susan"),
        ):
            tried = target.send(method, path, headers=headers)
            assert tried.status_int in (200, 404, 405)
            assert sid not in tried.text
    # By password: it ends the sessions of the one whose it is, and no others.
    other = target.accounts.register("mallory", "third")
    assert other > victim
    mallory = basic("mallory", "third")
    assert target.send("DELETE", "/api/sessions", headers=mallory).status_int == 204
    assert target.status(bearer(pair["token"])) == 200
    assert target.refresh(pair["refresh_token"]).status_int == 200


def test_no_body_says_whose_account_it_is(target: Target, services: Services) -> None:
    """Mass assignment on the bodies that change an account."""
    victim = target.accounts.find(target.accounts.register("susan", "another"))
    target.accounts.register("mallory", "third")
    more = {
        "id": victim.id,
        "user_id": victim.id,
        "sub": str(victim.id),
        "username": "susan",
        "roles": ["admin"],
        "password_hash": "x",
        "locked_at": 1,
        "duration": 10**9,
        "refresh_duration": 10**9,
        "__proto__": {},
    }
    pair = target.begin("mallory", "third")
    refreshed = target.refresh(pair["refresh_token"], **more).json
    assert (refreshed["duration"], refreshed["refresh_duration"]) == (600, 2_592_000)
    me = target.send("GET", "/api/users/me", headers=bearer(refreshed["token"])).json
    assert (me["username"], me["roles"]) == ("mallory", [])
    body = json.dumps({"password": "fourth"} | more).encode()
    changed = target.send("PUT", "/api/users/me/password", body, JSON | basic("mallory", "third"))
    assert changed.status_int == 204
    code = target.accounts.make_reset_code(target.accounts.find_by_name("mallory"))
    body = json.dumps({"code": code, "password": "fifth"} | more).encode()
    assert target.send("POST", "/api/password-resets", body, JSON).status_int == 204
    assert target.status(basic("mallory", "fifth")) == 200
    assert target.accounts.find(victim.id) == victim


# Guessing passwords and codes

PUBLIC = {"REMOTE_ADDR": "8.8.8.8"}  # an address of somebody's, as the throttle of peers wants


def statuses(answers: Sequence[Any]) -> list[int]:
    return [answer.status_int for answer in answers]


def guess(target: Target, username: str = "miguel", headers: Headers = None) -> Any:
    credentials = basic(username, "guess") | dict(headers or {})
    return target.send("GET", "/api/resource", headers=credentials)


def reset(target: Target, code: str, password: str = "new") -> int:
    body = json.dumps({"code": code, "password": password}).encode()
    return int(target.send("POST", "/api/password-resets", body, JSON).status_int)


def test_a_forwarded_address_does_not_fool_the_throttle(make_services: ServicesFactory) -> None:
    target = Target(make_services(free_failures=0, peer_failures=4), **PUBLIC)
    lies = [
        {name: f"for={number}" if name == "Forwarded" else f"198.51.100.{number}"}
        for number, name in enumerate(
            ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP", "X-Forwarded-For")
        )
    ]
    answers = [guess(target, f"susan{number}", lie) for number, lie in enumerate(lies)]
    assert statuses(answers) == [401] * 4 + [429]


def test_a_name_spelled_otherwise_is_the_same_count(
    make_services: ServicesFactory, watchers: Watchers
) -> None:
    """By case, by width, by a ligature: with names that ASCII would not let in."""
    target = Target(make_services(username_pattern=".+", max_failures=4))
    for spellings in (
        ["miguel", "MIGUEL", "\uff4diguel", "Migue\u217c", "mIGUEL"],
        ["no\ufb01t", "nofit", "NOFIT", "\uff4e\uff4f\ufb01\uff54", "nofiT"],  # nobody's
        ["stra\xdfe", "STRASSE", "strasse", "Stra\u1e9ee", "straSSe"],
    ):
        assert statuses([guess(target, name) for name in spellings]) == [401] * 4 + [429]


def test_the_throttle_tells_nobody_whether_the_name_exists(
    make_services: ServicesFactory, watchers: Watchers
) -> None:
    target = Target(make_services(free_failures=2))
    target.accounts.lock(target.accounts.find(target.accounts.register("locked", "another")))
    expected, *others = (
        [probe(target, watchers, name, password) for password in ["guess"] * 4 + [right]]
        for name, right in (("nobody", "another"), ("miguel", "python"), ("locked", "another"))
    )
    assert others == [expected, expected]
    work, status, *_ = expected[-1]
    assert (work, status) == (0, "429 Too Many Requests")  # and refused before it is hashed


def test_a_lockout_leaves_live_tokens_alone(make_services: ServicesFactory) -> None:
    target = Target(make_services(free_failures=0, max_failures=3))
    pair = target.begin("miguel", "python")
    assert statuses([guess(target) for _ in range(5)]) == [401, 401, 401, 429, 429]
    assert target.status(basic("miguel", "python")) == 429  # not even by the memory of it
    assert target.status(bearer(pair["token"])) == 200
    renewed = target.send("GET", "/api/token", headers=bearer(target.token)).json["token"]
    refreshed = target.refresh(pair["refresh_token"]).json["token"]
    assert target.status(bearer(renewed)) == target.status(bearer(refreshed)) == 200
    target.accounts.unlock(target.accounts.find(target.user_id))
    assert target.status(basic("miguel", "python")) == 200


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
            answer = target.send(method, path, b"{}", JSON | basic("miguel", "guess"))
            assert (door, answer.status_int) == (door, status)


def test_a_right_password_elsewhere_clears_no_count_of_another_name(
    make_services: ServicesFactory,
) -> None:
    target = Target(make_services(free_failures=0, max_failures=3, peer_failures=5), **PUBLIC)
    target.accounts.register("mallory", "own")
    answers = []
    for _ in range(4):
        answers.append(guess(target))
        assert target.status(basic("mallory", "own")) == 200
    assert statuses(answers) == [401, 401, 401, 429]
    assert statuses([guess(target, f"susan{number}") for number in range(3)]) == [401, 401, 429]


def test_a_client_that_polls_does_not_clear_the_count_for_a_guesser(
    make_services: ServicesFactory, watchers: Watchers
) -> None:
    """Behind one address, and with a password that is still known from a moment ago."""
    target = Target(make_services(free_failures=4))
    hashed: list[int] = []
    watchers.append(hashed.append)
    polling = basic("miguel", "python")
    turns = [(guess(target).status_int, target.status(polling)) for _ in range(8)]
    assert turns == [(401, 200)] * 4 + [(401, 429)] + [(429, 429)] * 3
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
    everybody_is_ready = Barrier(racers, timeout=30)

    def race(number: int) -> int:
        client = client_of(processes[number % 2])
        everybody_is_ready.wait()
        headers = basic("miguel", f"guess{number}")
        return int(client.get("/api/resource", headers=headers, status="*").status_int)

    with ThreadPoolExecutor(racers) as pool:
        codes = sorted(pool.map(race, range(racers)))
    assert codes == [401] * limit + [429] * (racers - limit)
    assert len(hashed) == limit


def test_going_through_the_names_that_are_taken_is_throttled(
    make_services: ServicesFactory,
) -> None:
    target = Target(make_services(peer_failures=3), **PUBLIC)
    taken = [target.register(user(name)) for name in ("miguel", "MIGUEL", "miguel")]
    assert statuses(taken) == [400] * 3
    throttled = [target.register(user(name)) for name in ("miguel", "susan")]
    assert statuses(throttled) == [429, 429]
    assert throttled[0].body == throttled[1].body
    assert len(list(target.accounts.list())) == 1


def test_a_reset_code_cannot_be_guessed_at(make_services: ServicesFactory) -> None:
    """Tries count against the code that they aim at, and against no other."""
    target = Target(make_services(free_failures=0, max_failures=3))
    susan = target.accounts.find(target.accounts.register("susan", "another"))
    code = target.accounts.make_reset_code(target.accounts.find(target.user_id))
    others = target.accounts.make_reset_code(susan)

    selector, _, secret = code.partition(".")
    for wrong in (secret.swapcase(), "A" * 24, secret[::-1]):
        assert reset(target, f"{selector}.{wrong}") == 400
    assert reset(target, code) == 429
    assert target.status(basic("miguel", "python")) == 200  # the name has no failures
    assert reset(target, others) == 204


FULL = 20  # rows of failures


def flood(target: Target, clock: Clock) -> None:
    """Guesses at many names that nobody has, each of them twice."""
    for number in range(2 * FULL):
        clock.advance(1)
        assert statuses([guess(target, f"invented{number}") for _ in range(2)]) == [401] * 2


def test_a_flood_of_invented_names_keeps_the_table_bounded_and_clears_no_count(
    make_services: ServicesFactory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restauth.storage.store.MAX_FAILURES_ROWS", FULL)
    services = make_services(free_failures=0, max_failures=4)
    target = Target(services)
    assert statuses([guess(target) for _ in range(3)]) == [401] * 3
    flood(target, clock)
    ((rows,),) = services.engine.read("SELECT count(*) FROM failures", {})
    assert rows == FULL + 1  # one for each account that there is
    assert statuses([guess(target) for _ in range(2)]) == [401, 429]


def test_a_flood_of_codes_pushes_no_count_out(
    make_services: ServicesFactory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restauth.storage.store.MAX_FAILURES_ROWS", FULL)
    services = make_services(free_failures=0, max_failures=4, peer_failures=3)
    target = Target(services)
    assert statuses([guess(target, "invented") for _ in range(3)]) == [401] * 3
    counted = services.engine.read("SELECT * FROM failures", {})
    codes = [f"{number:012}.{'A' * 24}" for number in range(2 * FULL)]
    for code in codes:
        clock.advance(1)
        assert reset(target, code) == 400
    assert services.engine.read("SELECT * FROM failures", {}) == counted
    assert statuses([guess(target, "invented") for _ in range(2)]) == [401, 429]
    target.client.extra_environ |= PUBLIC  # where the peer is counted
    assert [reset(target, code) for code in codes[:4]] == [400] * 3 + [429]


def test_a_full_table_of_failures_still_counts_a_fresh_name_and_a_fresh_peer(
    make_services: ServicesFactory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restauth.storage.store.MAX_FAILURES_ROWS", FULL)
    services = make_services(free_failures=0, max_failures=4, peer_failures=3)
    target = Target(services)
    flood(target, clock)
    clock.advance(1)
    for name in ("miguel", "aaa", "zzz"):
        assert statuses([guess(target, name) for _ in range(5)]) == [401] * 4 + [429]
    target.client.extra_environ |= PUBLIC
    answers = [guess(target, f"another{number}") for number in range(4)]
    assert statuses(answers) == [401] * 3 + [429]


def test_an_invented_name_takes_little_room_and_is_counted_apart(
    make_services: ServicesFactory,
) -> None:
    services = make_services(free_failures=0, max_failures=3)
    target = Target(services)
    for name in ("x" * 5000, "x" * 4999 + "y", "\ufdfa" * 900):  # one becomes 18 by NFKC
        assert statuses([guess(target, name) for _ in range(4)]) == [401] * 3 + [429]
    lengths = services.engine.read("SELECT DISTINCT length(name) FROM failures", {})
    assert lengths == [(64,)]


def test_a_password_typed_as_a_name_leaves_no_trace(
    target: Target, services: Services, tmp_path: Path
) -> None:
    """In no row, and nowhere else in the files: neither a short one nor a long one."""
    for typed in ("Hunter2-Hunter2", "correct horse battery " * 20):
        assert guess(target, typed).status_int == 401
        assert reset(target, typed) == 400
    ((rows,),) = services.engine.read("SELECT count(*) FROM failures", {})
    assert rows == 4  # each is counted, from anywhere and from here
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"miguel" in kept  # so a name in clear would be seen
    assert not re.search(rb"hunter2|battery", kept, re.IGNORECASE)


def test_the_log_has_no_secret_and_no_name_that_nobody_has(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """People type passwords into the field of the name."""
    caplog.set_level("DEBUG")
    typed = "hunter2-hunter2"
    pair = target.begin("miguel", "python")
    refreshed = target.refresh(pair["refresh_token"]).json
    code = target.accounts.make_reset_code(target.accounts.find(target.user_id))
    nearly = code[:-1] + ("A" if code[-1] != "A" else "B")
    target.refresh(f"{pair['refresh_token']}x")
    for _ in range(7):
        guess(target, typed)
        reset(target, nearly, typed)
    target.send("GET", "/api/resource", headers=basic("miguel", typed) | {"User-Agent": "a\x1bb"})
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert {line["event"] for line in lines} >= {"login_failed", "throttled", "reset_failed"}
    tokens = [each[name] for each in (pair, refreshed) for name in ("token", "refresh_token")]
    codes = [part for each in (code, nearly) for part in (each, each.split(".")[1])]
    for secret in (typed, "python", "miguel", target.token, *codes, *tokens):
        assert secret not in caplog.text


# The Authorization header: {good} is the right credential in Base64, {token} the live token,
# {token64} that in Base64.

GOOD = b64encode(b"miguel:python").decode()


def test_an_odd_but_right_header_is_served(target: Target) -> None:
    for text in (f"bASIC {GOOD}", f"Basic   {GOOD}", f"BEARER {target.token}"):
        assert target.status({"Authorization": text}) == 200


@attacks(
    no_credential=["", "   ", "Basic", "Basic ", "Bearer", "Bearer  "],
    no_scheme=["{good}", "{token}", "Basic{good}", "Basic: {good}", ":{good}"],
    no_blank=["Basic\t\t{good}", "Basic\xa0{good}", "Bearer\x0c{token}", "Basic\r\n {good}"],
    more_around=[" Basic {good}", "Basic {good} ", "Bearer {token}\0", "Bearer {token}AA"],
    two_joined=["Basic {good}, Basic {good}", "Basic eDp5,Basic {good}", "Bearer {token},"],
    two_schemes=["Basic {good} Bearer {token}", "Bearer x, Basic {good}"],
    parameters=["Bearer {token}; a=b", 'Bearer token="{token}"', 'Basic "{good}"'],
    not_Base64=["Basic *{good}", "Basic miguel:python", "Basic {good}eDp5", "Basic ===="],
    padding=["Basic {good}=", "Basic bWlndWVsOnB5dGhvbg", "Basic bWlndWVsOnB5dGhvbg="],
    stray_bits=["Basic bWlndWVsOnB5dGhvbh==", "Basic bWlndWVsOnB5dGhvbv=="],
    exchanged=["Bearer {good}", "Bearer {token64}", "Basic {token}", "Basic {token64}"],
    encoded_twice=["Basic YldsbmRXVnNPbkI1ZEdodmJnPT0="],
    another_scheme=["JWT {token}", "Hoba {token}", 'Digest username="miguel"', "B\xe1sic x"],
    huge=["Basic " + "eHh4" * 3000, "Bearer " + "x.y." * 3000, "," * 9000, "=" * 9000],
)
def test_an_unusable_header_is_refused(target: Target, attempts: list[str]) -> None:
    token64 = b64encode(target.token.encode()).decode()
    for text in attempts:
        header = text.format(good=GOOD, token=target.token, token64=token64)
        assert target.status({"Authorization": header}) == 401


@attacks(
    nobody=[b"", b":", b":python", b"miguel python", b"null:null", b"None:None"],
    not_the_password=[b"miguel:", b"miguel:pyth", b"miguel:python:", b"miguel:Python"],
    nearly=[b"miguel:python\n", b"miguel:python\0", "miguel:\uff50ython".encode()],
    not_UTF_8=[b"migu\xe9l:x", b"m\xc1\xa9guel:python", b"miguel\xed\xb0\x80:python"],
    another_encoding=["miguel:python".encode("utf-16"), b"\xef\xbb\xbfmiguel:python"],
    control_characters=[b"mig\tuel:python", b"miguel\0:python", b"miguel\x7f:python"],
    blanks=[b" miguel:python", b"miguel :python", "miguel\u3000:python".encode()],
    queries=[b"miguel'/*:python", b"x' OR 'a'<'b:x", b"*)(uid=*:x"],
    wildcards=[b"mig%:python", b"______:python", b"*:python", b"1:python"],
)
def test_a_wrong_credential_is_refused(target: Target, attempts: list[bytes]) -> None:
    for raw in attempts:
        assert target.status({"Authorization": "Basic " + b64encode(raw).decode()}) == 401


def test_an_identity_from_outside_is_removed(target: Target, tmp_path: Path) -> None:
    names = ("Remote-User", "X-Remote-User", "X-Forwarded-User", "X-User", "Auth-Type")
    claims: dict[str, Any] = {
        "REMOTE_USER": "miguel",
        "AUTH_TYPE": "Basic",
        "restauth.user": "miguel",
    }
    assert target.status(dict.fromkeys(names, "miguel")) == 401
    assert target.send("GET", "/api/resource", **claims).status_int == 401
    seen: list[object] = []

    def foreign_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.extend(environ.get(name) for name in claims)
        start_response("204 No Content", [])
        return []

    guard = AuthMiddleware(foreign_app, database=tmp_path / "a.db", key_file=tmp_path / "a.keys")
    with closing(guard.services):
        webtest.TestApp(guard, extra_environ=claims, lint=False).get("/")
    assert seen == [None, None, None]


# Passwords


@attacks(
    beyond_bcrypts_72_bytes=[("p" * 72 + "right", "p" * 72), ("\u4e2d" * 1024, "\u4e2d" * 24)],
    after_a_NUL=[("nul\0right", "nul\0wrong"), ("\0", "\0\0")],
    blanks=[("blank ", "blank"), (" blank", "blank"), ("line\n", "line"), (" ", "  ")],
    look_alikes=[("CASE", "case"), ("\ufb01ne", "fine"), ("\xe9", "e")],
    after_a_colon=[("c:o:lon", "c:o"), (":", "::")],
)
def test_every_character_of_a_password_counts(target: Target, attempts: list[Any]) -> None:
    for number, (right, nearly) in enumerate(attempts):
        assert target.register(user(f"susan{number}", right)).status_int == 201
        assert target.status(basic(f"susan{number}", nearly)) == 401
        assert target.status(basic(f"susan{number}", right)) == 200


@attacks(
    no_text=[None, 12345678, True, ["p"], {"p": 1}, ""],
    too_long_to_hash=["p" * 1025, "p" * 60_000, "\u0315\u0300" * 2500],
    lone_surrogate=["right\udfff", "\ud800"],
)
def test_an_unusable_password_costs_no_hash(
    target: Target, watchers: Watchers, attempts: list[object]
) -> None:
    watchers.append(lambda rounds: pytest.fail("a hash"))
    for password in attempts:
        assert target.refusal_to_register(user(password=password)) == 400
    for username, password in (("miguel", "p" * 1025), ("m" * 9000, "python")):
        assert target.status(basic(username, password)) == 401


def test_a_stolen_hash_cannot_be_shucked(target: Target) -> None:
    """What bcrypt hashed must not be an unsalted digest, which may have leaked elsewhere."""
    *_, salt, digest = target.accounts.find(target.user_id).password_hash.split("$")
    unsalted = sha256(b"python").digest()
    for inner in (b"python", unsalted.hex().encode(), b64encode(unsalted)):
        assert not bcrypt.checkpw(inner, f"$2b$04${salt}{digest}".encode())


def stored_hash(cost: int, salt: str = "." * 22) -> str:
    return f"$bcrypt-sha256$v=2,t=2b,r={cost}${salt}${'.' * 31}"


@attacks(
    another_form=["", "!", "another", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"],
    days_of_work_or_none=[stored_hash(cost) for cost in (31, 16, 3, 0)],
    bcrypt_would_raise=[stored_hash(4, "z" * 22), stored_hash(4, "." * 21)],
)
def test_a_damaged_stored_hash_is_a_wrong_password(
    target: Target, services: Services, watchers: Watchers, attempts: list[str]
) -> None:
    susan = target.accounts.register("susan", "another")
    for stored in attempts:
        services.store.set_password_hash(susan, stored)
        assert probe(target, watchers, "susan", "another") == probe(target, watchers, "nobody")


# Who has an account here?


def test_a_login_tells_nobody_whether_the_name_exists(target: Target, watchers: Watchers) -> None:
    target.accounts.lock(target.accounts.find(target.accounts.register("locked", "another")))
    expected = probe(target, watchers, "nobody")
    for username, password in (("miguel", "guess"), ("locked", "guess"), ("locked", "another")):
        assert probe(target, watchers, username, password) == expected


def test_a_cheap_old_hash_is_not_told_by_its_speed(
    services: Services, target: Target, watchers: Watchers
) -> None:
    # The operator has raised the cost since miguel was registered.
    services.authentication._hasher = Hasher(7, time.perf_counter)
    expected = probe(target, watchers, "nobody")
    assert probe(target, watchers, "miguel") == expected
    assert expected[0] == 2**7


def test_a_closed_house_tells_and_takes_nothing(make_services: ServicesFactory) -> None:
    services = make_services(registration="closed", public_profiles=False, require_https=True)
    user_id = services.accounts.register("miguel", "python")
    plain, https = client_of(services), client_of(services, **{"wsgi.url_scheme": "https"})
    for answer in (
        plain.get(f"/api/users/{user_id}", status=403),
        plain.get("/api/resource", status=403),
        plain.get("/api/resource", headers=basic("miguel", "python"), status=403),
        plain.post("/api/users", user(), headers=JSON, status=403),
    ):
        assert answer.json["type"] == "urn:restauth:problem:https_required"
        assert "WWW-Authenticate" not in answer.headers  # or a browser would send the password
    https.get(f"/api/users/{user_id}", status=401)
    https.get("/api/resource", headers=basic("miguel", "python"), status=200)
    https.post("/api/users", user(), headers=JSON, status=403)


# Names

MISLEADING = (
    ": /\\'\"<>(){}[]%$&*;,=?#!|~^`\0\t\n\r\x1b\x7f\x85\xa0\xad"  # ASCII, and controls
    "\u200b\u200d\u2028\u202e\u2066\u034f\u061c\u115f\u3164\ufe0f\ufeff\U000e0041"  # invisible
    "\u0456\u0131\u017f\u212a\uff4c\u0667\xb2\xe9\u0301\U0001f40e\ue000\uffff\ud83d"  # look-alikes
)


def test_a_misleading_character_is_refused_in_a_name(target: Target) -> None:
    for character in MISLEADING:
        for username in (f"susan{character}", f"su{character}san", character):
            assert target.refusal_to_register(user(username)) == 400


@attacks(
    no_text=[None, 7, True, 1.5, ["susan"], {"$ne": ""}, ""],
    an_option_a_hidden_file=["--help", ".susan", "@all", "_susan", "+1", "-"],
    too_long=["s" * 65, "s" * 60_000],
    the_same_in_another_case=["miguel", "Miguel", "MIGUEL"],
)
def test_a_misleading_name_is_refused(target: Target, attempts: list[object]) -> None:
    for username in attempts:
        assert target.refusal_to_register(user(username)) == 400


def test_a_second_spelling_is_no_second_account(target: Target) -> None:
    for spelling in ("Miguel", "MIGUEL", "\uff4diguel"):
        answer = target.send("GET", "/api/resource", headers=basic(spelling, "python"))
        assert answer.json == {"data": "Hello, miguel!"}


def test_a_name_cannot_pass_as_a_token(make_services: ServicesFactory) -> None:
    target = Target(make_services(username_pattern="[a-zA-Z0-9._-]{1,500}"))
    assert target.refusal_to_register(user("a" * 40 + ".b." + "c" * 40)) == 400


def test_an_empty_name_never_matches_an_absent_header(target: Target) -> None:
    assert target.refusal_to_register(user("", "")) == 400
    assert target.status({}) == target.status(basic("", "")) == 401


# The body of a request

BODY = user()


@attacks(
    nothing=[b"", b" \r\n", b"\0"],
    no_object=[b"42", b'"mallory"', b"null", b"false", b'[["username", "mallory"]]'],
    another_language=[b"username=mallory&password=x", b"<user/>", b"\x80\x05K\x07."],
    a_member_missing=[b"{}", BODY.replace(b"user", b"User"), b'{"user": ' + BODY + b"}"],
    broken=[BODY[:30], BODY * 2, BODY[:-1] + b",}", BODY.replace(b'"', b"'"), b"//\n" + BODY],
    a_member_twice=[BODY[:-1] + b"," + BODY[1:], rb'{"\u0075sername": "a", ' + BODY[1:]],
    another_encoding=[BODY.decode().encode(name) for name in ("utf-16-be", "utf-32")],
    a_byte_order_mark=[b"\xef\xbb\xbf" + BODY],
    deep=[b"[" * MAX_BODY, b'{"a":' * 13_000, b"[" * 32_000 + b"]" * 32_000],
    wide=[b"[" + b"{}," * 20_000 + b"{}]", BODY[:-1] + b',"k":1' * 10_000 + b"}"],
)
def test_a_body_that_is_no_proper_object_is_refused(target: Target, attempts: list[bytes]) -> None:
    for body in attempts:
        assert target.refusal_to_register(body) == 400


@attacks(
    no_JSON_number=[b"NaN", b"-Infinity", b"017", b"+1", b"0x1", b"1e999"],
    more_digits_than_int_takes=[b"7" * 6000],
    no_JSON_string=[rb'"\x41"', b'"a\nb"', b'"\x1f"', b"'a'"],
    lone_surrogate=[rb'"\udead"', rb'"\udc00\ud800"', rb'{"\ud83d": 1}'],
    not_UTF_8=[b'"\xe2\x82"', b'"\xc0\xbc"', b'"\xed\xa0\xbd"', b'"\xe9"'],
    a_member_twice=[b'{"a": 1, "a": 1}'],
)
def test_an_ignored_member_has_to_be_json_too(target: Target, attempts: list[bytes]) -> None:
    for value in attempts:
        assert target.refusal_to_register(BODY[:-1] + b', "x": ' + value + b"}") == 400


def test_mass_assignment_is_ignored(target: Target) -> None:
    more = {"id": 1, "user_id": 1, "roles": ["admin"], "password_hash": "x", "__proto__": {}}
    answer = target.register(json.dumps(json.loads(BODY) | more).encode())
    assert answer.headers["Location"] == f"http://localhost:80/api/users/{target.user_id + 1}"
    me = target.send("GET", "/api/users/me", headers=basic("mallory", "correct horse")).json
    assert (me["id"], me["roles"]) == (target.user_id + 1, [])


@attacks(
    what_any_page_may_send=["", "text/plain", "application/x-www-form-urlencoded"],
    files=["multipart/form-data; boundary=b", "application/x-pickle"],
    another_JSON=["application/merge-patch+json", "application/json5", "text/json"],
    as_a_parameter_in_a_list=["text/html; a=application/json", "a/b, application/json"],
    garbage=["application/ json", "application/*", "json", '/;;"=\xff', ";application/json"],
)
def test_another_media_type_is_refused(target: Target, attempts: list[str]) -> None:
    assert target.refusal_to_register(BODY, {}) == 415
    for media_type in attempts:
        assert target.refusal_to_register(BODY, {"Content-Type": media_type}) == 415


def test_a_compressed_body_is_not_unpacked(target: Target) -> None:
    for coding in ("GZIP", "br", "identity, deflate", "x"):
        assert target.refusal_to_register(BODY, JSON | {"Content-Encoding": coding}) == 415


@attacks(
    no_number=["-7", "+7", " 7", "0x7", "1_0", "\xb2", "7, 7", "many", "9" * 5000],
    not_the_length=["60000", "20", "0", ""],
)
def test_a_false_content_length_is_refused(target: Target, attempts: list[str]) -> None:
    for length in attempts:
        body: Any = {"wsgi.input": io.BytesIO(BODY), "CONTENT_TYPE": "application/json"}
        answer = target.send("POST", "/api/users", CONTENT_LENGTH=length, **body)
        assert answer.status_int == 400
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
    assert target.register(BODY.ljust(MAX_BODY)).status_int == 201


# The path and the method


@attacks(
    slashes=["/", "/api/", "/api/users/1/", "//api/users/1", "/api//resource"],
    dots=["/api/./resource", "/api/token/../resource", "/api/%2E%2e/%2e%2e/restauth.keys"],
    somebodys_secrets=["/restauth.db", "/restauth.keys", "/.env", "/.git/config"],
    tools=["/console?__debugger__=yes", "/metrics", "/admin", "/api/users/{id}"],
    another_spelling=["/api/Resource", "/api/resource.json", "/api/resource;a=b"],
    encoded_signs=["/api/resource%3Fa", "/api%5Cresource", "/api/resource%23", "/api/%2a"],
    not_UTF_8=["/api/resource%FE", "/api/%C0%AE/resource", "/api/%ED%BF%BF"],
    huge=["/api/" + "p" * 20_000, "/a" * 10_000],
    signs_and_zeros=["/api/users/" + digits for digits in ("-0", "-1", "+1", "01", "00", "1.")],
    notations=["/api/users/" + digits for digits in ("1e0", "0b1", "0x1", "1_1", "1,0", "one")],
    other_digits=["/api/users/" + quote(digit) for digit in "\u09e7\xb9\u2460\uff11\U0001d7cf"],
    more_after=["/api/users/1" + quote(more) for more in "\0\n\r \t;<'\"\\*|\x7f\u2028"],
    header_injection=["/api/users/1%0D%0ALocation:%20//evil.example"],
    queries=["/api/users/1%20OR%201=1", "/api/users/1;DROP%20TABLE%20users", "/api/users/*"],
)
def test_a_path_has_one_spelling(target: Target, attempts: list[str]) -> None:
    for path in attempts:
        assert target.send("GET", path, headers=bearer(target.token)).status_int == 404


def test_a_path_that_is_none_is_not_found(target: Target) -> None:
    for path in ("api/users/1", "http://localhost/api/users/1", "*", "", "/api/users/\u0661"):
        assert target.send("GET", "/", PATH_INFO=path).status_int == 404


def test_an_id_that_no_store_holds_is_unknown(target: Target) -> None:
    for number in (0, 2, 2**63 - 1, 2**63, 2**64 + 1, 10**20):
        assert target.send("GET", f"/api/users/{number}").status_int == 400
    assert target.send("GET", "/api/users/" + "1" * 4400).status_int == 400  # int() takes 4300


def test_a_query_changes_nothing(target: Target) -> None:
    for query in ("_method=DELETE&id=2", "b&" * 10_000, "%zz%&=%ff;", "<script>"):
        answer = target.send("GET", f"/api/users/{target.user_id}?{query}")
        assert answer.json == {"username": "miguel"}


def test_no_other_method_does_anything(target: Target) -> None:
    headers = JSON | bearer(target.token) | {"X-Echo": "echoed"}
    for method in ("PUT", "PATCH", "DELETE", "POST", "TRACE", "MKCOL", "BREW", "get", "<b>"):
        for path in (f"/api/users/{target.user_id}", "/api/resource"):
            answer = target.send(method, path, BODY, headers, REQUEST_METHOD=method)
            assert (answer.status_int, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
            assert "echoed" not in answer.text
    users = target.send("GET", "/api/users", headers=bearer(target.token))
    assert users.status_int == 405  # nobody can list them


def test_a_method_override_is_ignored(target: Target) -> None:
    names = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    headers = bearer(target.token) | dict.fromkeys(names, "DELETE") | {"X-Original-URL": "/x"}
    assert target.send("GET", "/api/token", headers=headers).json["token"]
    assert target.send("POST", "/api/resource", headers=headers).status_int == 405


# The Host header, and where an answer leads


@attacks(
    foreign=["evil.example", "evil.example:80", "[2001:db8::1]:80", ""],
    nearly_ours=["localhost.evil.example", "127.0.0.1.evil.example", "evil-localhost"],
    no_port=["localhost:", "localhost:0", "127.0.0.1:70000", "localhost:" + "1" * 3000],
    encoded=["localhos%74", "127.0.0.%31"],
)
def test_a_foreign_host_is_not_echoed(target: Target, attempts: list[str]) -> None:
    for number, host in enumerate(attempts, start=target.user_id + 1):
        answer = target.register(user(f"susan{number}"), JSON | {"Host": host})
        assert answer.headers["Location"] == f"/api/users/{number}"


@attacks(
    markup=['"><script>alert(7)</script>', "<b>"],
    another_part_of_an_address=[f"localhost{sign}evil.example" for sign in "@/?#\\ "],
    two=["localhost:80:81", "localhost, evil.example:80,", "[::1]evil"],
    broken=["localhost:http", "[::1", "l\xf6calhost", "localhost\0"],
    header_injection=["localhost\r\nX-Evil: 1", "localhost\n"],
)
def test_a_host_that_is_none_is_refused(target: Target, attempts: list[str]) -> None:
    for host in attempts:
        assert target.refusal_to_register(BODY, JSON | {"Host": host}) == 400


def test_proxy_headers_are_not_believed(target: Target) -> None:
    headers = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=127.0.0.1;host=evil.example;proto=https",
    }
    answer = target.register(BODY, JSON | headers)
    assert answer.headers["Location"] == f"http://localhost:80/api/users/{target.user_id + 1}"
    assert "Strict-Transport-Security" not in answer.headers


def test_no_answer_is_a_page_or_is_kept(target: Target) -> None:
    for path in ("/api/resource", "/api/users/1", "/nowhere", "/api/health"):
        headers = target.send("GET", path, headers={"Origin": "https://evil.example"}).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert not {"Set-Cookie", "Server", "Access-Control-Allow-Origin"} & set(headers)


def test_no_script_makes_a_browser_ask_for_the_password(target: Target) -> None:
    for headers in ({"X-Requested-With": "XMLHttpRequest"}, {"Sec-Fetch-Mode": "no-cors"}):
        challenges = target.send("GET", "/api/resource", headers=headers).headers
        assert challenges.getall("WWW-Authenticate") == ['Bearer realm="Authentication Required"']


# What a proxy is told: any 2xx lets somebody in


@attacks(
    by_a_preflight=["GET", "HEAD", "POST", "PUT", "DELETE"],
    by_another_method=["OPTIONS", "TRACE", "PATCH", "CONNECT", "MKCOL", "options", "BREW", "*"],
)
def test_no_method_and_no_preflight_gets_past_a_proxy(
    make_services: ServicesFactory, attempts: list[str]
) -> None:
    """Not from an origin that may call, either."""
    origin = "https://app.example.org"
    target = Target(make_services(cors_origins=origin))
    for asked in attempts:
        preflight = {"Origin": origin, "Access-Control-Request-Method": asked}
        dead = preflight | bearer("a.b.c")
        for method in ("OPTIONS", asked):
            for headers in (None, preflight, dead, dead | {"X-Forwarded-Method": "OPTIONS"}):
                for path in ("/api/verify", "/api/verify?role="):
                    answer = target.send(method, path, headers=headers, REQUEST_METHOD=method)
                    assert answer.status_int == 401
                    assert "Remote-User" not in answer.headers
    assert target.send("OPTIONS", "/api/resource", headers=preflight).status_int == 204


@attacks(
    encoded=["ren\u00e9", "ren%C3%A9", "ren%25C3%25A9", "ren\xc3\xa9", "rene\u0301e"],
    blanks=["a b", "a%20b", "a+b", "a\u200bb", "ab", " ab", "ab "],
    look_alikes=["admin", "\u0430dmin", "adm\u0131n", "%61dmin", "admin,", '"admin"'],
)
def test_no_name_imitates_another_before_a_proxy(
    make_services: ServicesFactory, attempts: list[str]
) -> None:
    """Where an operator lets in more than ASCII."""
    target = Target(make_services(username_pattern=".+"))
    seen = set()
    for username in attempts:
        target.accounts.register(username, "python")
        headers = basic(username, "python") | {"Remote-User": "miguel", "REMOTE_USER": "miguel"}
        answer = target.send("GET", "/api/verify", headers=headers, REMOTE_USER="miguel")
        (told,) = answer.headers.getall("Remote-User")
        assert re.fullmatch("[!-~]+", told)
        assert unquote(told) == username
        seen.add(told)
    assert len(seen) == len(attempts)


def test_a_proxy_is_not_told_of_a_role_that_is_missing(target: Target) -> None:
    target.accounts.change_roles(target.accounts.find(target.user_id), ["editor"], [])
    for query in (
        "role=admin",
        "role=editor&role=admin",
        "role=admin&role=editor",
        "role=",
        "role",
        "role=editor,admin",
        "role=editor%00",
        "role=editor%0D%0ARemote-Groups:%20admin",
        "role=admin;role=editor",
        "role=admin&" + "role=editor&" * 10_000,
        "x=" + "%" * 10_000 + "&role=admin",
    ):
        spoofed = {"Remote-Groups": "admin", "X-Forwarded-Uri": "/api/verify?role=editor"}
        for credential in (basic("miguel", "python"), bearer(target.token)):
            answer = target.send("GET", f"/api/verify?{query}", headers=credential | spoofed)
            assert answer.status_int == 403
            assert not {"Remote-User", "Remote-Groups"} & set(answer.headers)


# Many at once, and bugs


def test_parallel_registrations_have_one_winner(
    make_services: ServicesFactory, watchers: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    racers = 8
    monkeypatch.setattr("restauth.services.HASH_SLOTS", racers)
    processes = [make_services(), make_services()]
    everybody_found_the_name_free = Barrier(racers, timeout=30)
    watchers.append(lambda rounds: everybody_found_the_name_free.wait())

    def register(number: int) -> int:
        body = user(["racer", "RACER", "Racer"][number % 3])
        client = client_of(processes[number % 2])
        code: int = client.post("/api/users", body, headers=JSON, status="*").status_int
        return code

    with ThreadPoolExecutor(racers) as pool:
        assert sorted(pool.map(register, range(racers))) == [201] + [400] * (racers - 1)
    assert len(list(processes[0].accounts.list())) == 1


def test_a_login_flood_leaves_tokens_alone(
    make_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restauth.services.HASH_SLOTS", 2)
    monkeypatch.setattr("restauth.services.HASH_QUEUE", 0)
    target = Target(make_services())
    slots = target.accounts._slots
    with slots.slot(), slots.slot():  # two logins are at it
        for name in ("miguel", "nobody"):
            answer = target.client.get("/api/token", headers=basic(name, "guess"), status=503)
            assert int(answer.headers["Retry-After"]) > 0
        assert target.status(bearer(target.token)) == 200


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
            password = basic("miguel", "python")
            assert target.status(password) == 200
            value = {"password": "new"}  # which is no login either
            target.client.put_json("/api/users/me/password", value, headers=password, status=503)
            assert target.status(password) == 200
        finally:
            may_go_on.set()
        assert [each.result(timeout=30) for each in flood] == [201, 201]


def test_a_bug_tells_nobody_anything(
    target: Target, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    services.engine.write("ALTER TABLE users RENAME TO lost", {})
    password = basic("miguel", "s3cret")
    for headers in (bearer(target.token), password):
        answer = target.client.get("/api/resource", headers=headers, status=500)
        assert not LEAKS.search(f"{answer.headers} {answer.text}")
        assert answer.json["detail"].removeprefix("Incident ").strip(".") in caplog.text
    assert "no such table" in caplog.text  # for the operator
    for secret in (target.token, "s3cret", password["Authorization"].split()[1]):
        assert secret not in caplog.text


# Files


@attacks(
    short=[b"", sha256(b"x").digest()[:31]],
    famous=[b"the quick brown fox jumps over the lazy dog", bytes(range(32))],
    far_from_random=[bytes(64), b"MySecretPassw0rd!" * 2, b"secret".ljust(64, b"\0")],
)
def test_a_weak_key_stops_the_start(
    make_services: ServicesFactory, tmp_path: Path, attempts: list[bytes]
) -> None:
    path = tmp_path / "restauth.keys"
    path.touch(0o600)
    for secret in attempts:
        key = {"kty": "oct", "use": "sig", "alg": "HS256", "kid": "k", "k": b64u(secret)}
        path.write_text(json.dumps({"keys": [key]}))
        with pytest.raises(UnusableKeyRing):
            make_services()


@attacks(
    others_read_it=[lambda path: path.chmod(0o640), lambda path: path.chmod(0o604)],
    others_write_it=[lambda path: path.chmod(0o620), lambda path: path.chmod(0o602)],
    a_link=[lambda path: path.symlink_to(path.rename(path.with_name("elsewhere")))],
    a_directory=[lambda path: (path.unlink(), path.mkdir(0o700))],
)
def test_a_key_ring_within_others_reach_stops_the_start(
    make_services: ServicesFactory, tmp_path: Path, attempts: list[Callable[[Path], object]]
) -> None:
    make_services()
    for expose in attempts:
        expose(tmp_path / "restauth.keys")
        with pytest.raises(UnusableKeyRing):
            make_services()


def test_a_revocation_within_others_reach_counts_as_soon_as_its_mode_is_mended(
    target: Target,
    make_services: ServicesFactory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Until then the keys of before are in force, and nobody's that others may have written."""
    path = tmp_path / "restauth.keys"
    make_services().keys.rotate(revoke=True)
    path.chmod(0o666)
    assert [target.status(bearer(target.token)) for _ in range(3)] == [200] * 3
    (record,) = caplog.records
    assert record.getMessage() == (
        f"The key ring {path} can be read or written by others: chmod 600. "
        "The keys read before stay in force."
    )
    path.chmod(0o600)
    target.client.get("/api/resource", headers=bearer(target.token), status=401)


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 1000",
        "CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END",
    ],
)
def test_a_foreign_database_stops_the_start(
    make_services: ServicesFactory, tmp_path: Path, statement: str
) -> None:
    make_services().close()
    with closing(sqlite3.connect(tmp_path / "restauth.db", isolation_level=None)) as connection:
        connection.execute(statement)
    with pytest.raises(UnusableStore):
        make_services()


def test_new_files_are_for_our_eyes_only(make_services: ServicesFactory, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        services = make_services()
        services.accounts.register("miguel", "python")
        services.engine.backup(tmp_path / "copy.db")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {"restauth.db", "restauth.db-wal", "restauth.keys", "copy.db"} <= modes.keys()
    assert set(modes.values()) == {0o600}
