"""Other people's verifiers: tokens of a real server, held against the key set that it shows.

Rule: PyJWT, which signed them, verifies nothing here. Each verifier knows the server's address, and
what any service knows that trusts it: issuer, audience, type and algorithm.
"""

import json
import subprocess
from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest

from tests.conftest import bearer
from tests.counterparts.conftest import library, npm_package, program
from tests.key_pairs import EVERY, PAIRED, b64, need_extra
from tests.processes import PATIENCE, Server, run

PATH = "/.well-known/jwks.json"
ISSUER = "restauth"
JOSE = """
import { createRemoteJWKSet, jwtVerify } from "%s";
const [address, issuer, questions] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(address));
for (const [token, algorithm, audience] of JSON.parse(questions)) {
    const options = { algorithms: [algorithm], issuer, audience, typ: "at+jwt" };
    const outcome = await jwtVerify(token, keys, options).then(
        ({ payload }) => payload,
        ({ code }) => code,
    );
    console.log(JSON.stringify(outcome));
}
"""
# What jose and joserfc call it when they refuse a token for its signature, its claims, and so on.
SIGNATURE = ("ERR_JWS_SIGNATURE_VERIFICATION_FAILED", "BadSignatureError")
CLAIMS = ("ERR_JWT_CLAIM_VALIDATION_FAILED", "InvalidClaimError")
ALGORITHM = ("ERR_JOSE_ALG_NOT_ALLOWED", "UnsupportedAlgorithmError")
NO_SUCH_KEY = ("ERR_JWKS_NO_MATCHING_KEY", "InvalidKeyIdError")
NO_KEY_FOR_HS256 = ("ERR_JOSE_NOT_SUPPORTED", "MissingKeyError")


class Question(NamedTuple):
    """Is this token good, for whom accepts that algorithm and is that audience?"""

    token: str
    algorithm: str
    audience: str = "restauth"


# The claims of each token, or a word for why it is refused; the key set is fetched anew.
Outcome = dict[str, object] | str
Verify = Callable[[str, Sequence[Question]], list[Outcome]]


def with_jose(directory: Path) -> Verify:
    """The library of Node.js and browsers, which fetches the set by itself."""
    node, package = program("node"), npm_package("jose")
    main = json.loads((package / "package.json").read_text())["main"]
    script = directory / "verify.mjs"
    script.write_text(JOSE % (package / main).as_uri())

    def verify(address: str, questions: Sequence[Question]) -> list[Outcome]:
        done = subprocess.run(
            [node, script, address, ISSUER, json.dumps(questions)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    return verify


def with_joserfc(directory: Path) -> Verify:
    """The library of Python that Authlib stands on."""
    jwk, jwt, errors = (library(f"joserfc.{name}") for name in ("jwk", "jwt", "errors"))

    def verify_one(shown: object, question: Question) -> Outcome:
        expected = {"iss": ISSUER, "aud": question.audience}
        essential = {name: {"essential": True, "value": text} for name, text in expected.items()}
        try:
            keys = jwk.KeySet.import_key_set(shown)
            read = jwt.decode(question.token, keys, algorithms=[question.algorithm])
            jwt.JWTClaimsRegistry(**essential, exp={"essential": True}).validate(read.claims)
        except errors.JoseError as refusal:
            return type(refusal).__name__
        assert read.header["typ"] == "at+jwt"
        claims: Outcome = read.claims
        return claims

    def verify(address: str, questions: Sequence[Question]) -> list[Outcome]:
        with urlopen(address, timeout=PATIENCE) as answer:  # noqa: S310 - a server of ours
            shown = json.load(answer)
        return [verify_one(shown, question) for question in questions]

    return verify


@pytest.fixture(params=[with_jose, with_joserfc], ids=["jose", "joserfc"])
def verify(request: pytest.FixtureRequest, tmp_path: Path) -> Verify:
    need_extra()
    made: Verify = request.param(tmp_path)
    return made


def rotate(directory: Path, *options: str) -> None:
    done = run(directory, "key", "rotate", *options)
    assert (done.returncode, done.stderr) == (0, "")


def decode(segment: str) -> bytes:
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def kid_of(token: str) -> object:
    return json.loads(decode(token.partition(".")[0]))["kid"]


def tampered(token: str) -> list[str]:
    """With another payload, and with other signatures: one bit off, and of no key at all."""
    header, payload, signature = token.split(".")
    claims = json.loads(decode(payload)) | {"roles": ["admin"]}
    raw = decode(signature)
    return [
        f"{header}.{b64(json.dumps(claims).encode())}.{signature}",
        f"{header}.{payload}.{b64(bytes([raw[0] ^ 1]) + raw[1:])}",
        f"{header}.{payload}.{b64(bytes(64))}",
    ]


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")  # so joserfc says
def test_whoever_reads_the_key_set_verifies_tokens_through_all_rotations(
    verify: Verify, tmp_path: Path
) -> None:
    with Server.start(tmp_path) as server:
        address = server.address + PATH
        user_id = server.register("ada")
        secretly = server.log_in("ada")
        assert server.get(PATH).json == {"keys": []}  # a secret has nothing to show
        (outcome,) = verify(address, [Question(secretly, "HS256")])
        assert outcome in NO_KEY_FOR_HS256

        minted = {}
        for algorithm in PAIRED:
            rotate(tmp_path, "--algorithm", algorithm)
            token = minted[algorithm] = server.log_in("ada")
            claims, elsewhere, *others = verify(
                address,
                [
                    Question(token, algorithm),
                    Question(token, algorithm, "another"),
                    *(Question(other, algorithm) for other in tampered(token)),
                    *(Question(token, other) for other in EVERY if other != algorithm),
                ],
            )
            assert isinstance(claims, dict), claims
            assert (claims["sub"], claims["name"], claims["roles"]) == (str(user_id), "ada", [])
            assert elsewhere in CLAIMS
            assert all(other in SIGNATURE for other in others[:3])
            assert all(other in ALGORITHM for other in others[3:])

        # The key of one of them is retired, and verifies all the same.
        shown = [key["kid"] for key in server.get(PATH).json["keys"]]
        assert shown == [kid_of(minted["ES256"]), kid_of(minted["EdDSA"])]
        questions = [Question(token, algorithm) for algorithm, token in minted.items()]
        assert all(isinstance(outcome, dict) for outcome in verify(address, questions))

        rotate(tmp_path, "--revoke")
        token = server.log_in("ada")
        *outcomes, claims = verify(address, [*questions, Question(token, "ES256")])
        assert all(outcome in NO_SUCH_KEY for outcome in outcomes)
        assert isinstance(claims, dict), claims
        assert [key["kid"] for key in server.get(PATH).json["keys"]] == [kid_of(token)]
        for old in minted.values():
            assert server.get("/api/resource", bearer(old)).status == 401
