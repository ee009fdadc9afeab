"""The identity of a request: what an application gets to see of its sender.

Rule: no identity from outside survives. Whatever a client or an outer server put under our keys is
removed first, and only a verified identity is set. Credentials that are presented and wrong are
refused: the request never becomes anonymous.
"""

from wsgiref.types import WSGIEnvironment

from restauth.core import authorization
from restauth.domain.identification import Identify
from restauth.errors import HttpsRequired
from restauth.records import Caller
from restauth.web.http import client_of

USER_KEY = "restauth.user"
IDENTITY_KEYS = (USER_KEY, "REMOTE_USER", "AUTH_TYPE")


def remove_identity(environ: WSGIEnvironment) -> None:
    """Make the request anonymous, whatever it claims to be."""
    for key in IDENTITY_KEYS:
        environ.pop(key, None)
    environ[USER_KEY] = None


def scheme_of(environ: WSGIEnvironment) -> str:
    """The scheme of the Authorization header, in lower case; empty without one."""
    return authorization.scheme_of(environ.get("HTTP_AUTHORIZATION", ""))


def identify(
    environ: WSGIEnvironment, scheme: str, verify: Identify, *, require_https: bool
) -> Caller | None:
    """Who sent the request; None when it presents no credentials for us.

    `scheme` is `scheme_of(environ)`, and `verify` turns a claim into the caller. Sets
    `restauth.user`, `REMOTE_USER` and `AUTH_TYPE`. Raises BadCredentials when what is presented is
    wrong; HttpsRequired, Throttled, Busy, StoreUnavailable, KeysUnavailable.
    """
    text = environ.get("HTTP_AUTHORIZATION")
    if not text:  # absent, or emptied by a proxy
        return None
    if require_https and environ["wsgi.url_scheme"] != "https":
        raise HttpsRequired  # before the header is read: no challenge may ask for it again
    caller = verify(authorization.parse(text, scheme), client_of(environ))
    if caller is not None:
        environ[USER_KEY] = caller.user
        # PEP 3333: strings of the environ hold bytes as latin-1 characters.
        environ["REMOTE_USER"] = caller.user.username.encode("utf-8").decode("latin-1")
        environ["AUTH_TYPE"] = scheme.capitalize()
    return caller
