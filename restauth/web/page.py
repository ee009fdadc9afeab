"""The page to try the API in a browser: one static file, and the policy that fits it alone.

Rule: nothing of a request gets into the page. The policy lets a browser run the one script and use
the one style of the file, known by their hashes, and call the origin of the page; it forbids all
else. The standard is Content Security Policy Level 3.
"""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from restauth.services import Services
from restauth.web.http import ALWAYS, Request, Response

_POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def show(request: Request, services: Services) -> Response:
    """GET /: the page."""
    return _read()


@cache
def _read() -> Response:
    text = Path(__file__).with_name("page.html").read_text("utf-8")
    policy = {
        **dict(ALWAYS),
        "Content-Security-Policy": _POLICY.format(
            script=_hash_of("script", text), style=_hash_of("style", text)
        ),
    }
    headers = (
        ("Content-Type", "text/html; charset=utf-8"),
        # The page that opens this one in a window gets no hold of it.
        ("Cross-Origin-Opener-Policy", "same-origin"),
    )
    return Response(200, text.encode(), headers, tuple(policy.items()))


def _hash_of(name: str, text: str) -> str:
    """The source expression of the one element of that name: the hash of what is in it."""
    (content,) = re.findall(rf"<{name}\b[^>]*>(.*?)</{name}>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest())
    return f"'sha256-{digest.decode()}'"
