"""The challenges: WWW-Authenticate headers that say how to authenticate, or what a token lacks.

Rule: Basic comes first and then Bearer, each in a header line of its own, because some clients read
only the first one. A script gets no Basic challenge, and no page of another site does: the browser
would open its password window. RFC 9110 section 11.6.1, RFC 7617, RFC 6750 section 3.
"""

from collections.abc import Mapping
from typing import Any

# What a page loads by itself, in the words of the Fetch standard ("destination"): the browser adds
# the credentials, and the page cannot. A script's own call has an empty destination.
_PAGE_PARTS = frozenset(
    {
        *("audio", "audioworklet", "font", "image", "json", "manifest", "paintworklet", "script"),
        *("serviceworker", "sharedworker", "style", "text", "track", "video", "worker", "xslt"),
    }
)


def build(scheme: str, environ: Mapping[str, Any], realm: str) -> list[tuple[str, str]]:
    """The header lines of a 401. `scheme` is that of the request, in lower case; empty for none."""
    bearer = build_bearer(scheme, realm)
    if scheme == "bearer" or not _may_open_a_window(environ):
        return bearer
    return [("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"'), *bearer]


def build_bearer(scheme: str, realm: str) -> list[tuple[str, str]]:
    """The header line that asks for a Bearer token alone. Only to who has presented one, it says
    that it is wrong (RFC 6750 section 3.1)."""
    error = ', error="invalid_token"' if scheme == "bearer" else ""
    return [("WWW-Authenticate", f'Bearer realm="{realm}"{error}')]


def build_insufficient(scheme: str, realm: str) -> list[tuple[str, str]]:
    """The header line of a 403 to a Bearer token that is valid and not enough (RFC 6750 section
    3.1). Other schemes get none: a browser would ask for the password again."""
    text = f'Bearer realm="{realm}", error="insufficient_scope"'
    return [("WWW-Authenticate", text)] if scheme == "bearer" else []


def _may_open_a_window(environ: Mapping[str, Any]) -> bool:
    """Whether a browser may ask its user for the password: for what the user opens, and for the
    parts of a page of this site. Clients that are no browsers send none of these headers."""
    if environ.get("HTTP_X_REQUESTED_WITH") == "XMLHttpRequest":
        return False
    if environ.get("HTTP_SEC_FETCH_MODE", "navigate") == "navigate":
        return True
    is_own_page = environ.get("HTTP_SEC_FETCH_SITE") == "same-origin"
    return is_own_page and environ.get("HTTP_SEC_FETCH_DEST") in _PAGE_PARTS
