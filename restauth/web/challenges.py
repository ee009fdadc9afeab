"""The challenges of a 401: WWW-Authenticate headers that say how to authenticate.

Rule: Basic comes first and then Bearer, each in a header line of its own, because some clients read
only the first one. A script gets no Basic challenge: the browser would open its password window.
RFC 9110 section 11.6.1, RFC 7617, RFC 6750 section 3.
"""

from collections.abc import Mapping
from typing import Any


def build(scheme: str, environ: Mapping[str, Any], realm: str) -> list[tuple[str, str]]:
    """The header lines for a request that used this scheme, in lower case; empty for none."""
    return [("WWW-Authenticate", text) for text in _challenges(scheme, environ, realm)]


def _challenges(scheme: str, environ: Mapping[str, Any], realm: str) -> list[str]:
    if scheme == "bearer":
        return [f'Bearer realm="{realm}", error="invalid_token"']  # RFC 6750 section 3.1
    bearer = f'Bearer realm="{realm}"'
    is_script = (
        environ.get("HTTP_SEC_FETCH_MODE", "navigate") != "navigate"
        or environ.get("HTTP_X_REQUESTED_WITH") == "XMLHttpRequest"
    )
    return [bearer] if is_script else [f'Basic realm="{realm}", charset="UTF-8"', bearer]
