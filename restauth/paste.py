"""What an INI file of PasteDeploy finds: the app `main` and the filter `auth`.

Rule: text in, the same two objects as for everybody out; what a line means is for `settings`. The
file's [DEFAULT] section belongs to all its apps, and a line there hides the line of that name in a
section: where the name is one of ours, that stops the start.
"""

from collections.abc import Container, Mapping
from wsgiref.types import WSGIApplication

from restauth import settings
from restauth.app import create_app
from restauth.errors import InvalidSetting
from restauth.web.app import App
from restauth.web.middleware import AuthMiddleware

_WORDS = ("required", "role", "stateless")  # the guard's words that are no settings


def main(global_settings: Mapping[str, str], /, **lines: str) -> App:
    """`use = egg:restauth`; the other lines are settings. Raises as `create_app`."""
    _refuse_hidden(global_settings, settings.NAMES)
    return create_app(**lines)


def auth(
    app: WSGIApplication, global_settings: Mapping[str, str], /, **lines: str
) -> AuthMiddleware:
    """`use = egg:restauth#auth`; the other lines are settings, `required`, `role` and `stateless`.
    Raises as `AuthMiddleware`."""
    _refuse_hidden(global_settings, (*settings.NAMES, *_WORDS))
    # A line `app` is no setting either: the guard would take it for its argument.
    settings.describe({}, {name: text for name, text in lines.items() if name not in _WORDS})
    return AuthMiddleware(app, **lines)


def _refuse_hidden(global_settings: Mapping[str, str], names: Container[str]) -> None:
    for name in global_settings:
        if name.lower() in names:
            raise InvalidSetting(f"{name} stands under [DEFAULT]: put it in a section of its own.")
