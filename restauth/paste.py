"""PasteDeploy: the app factory `main` and the filter factory `auth` of an INI file.

Rule: it reads text and gives the same objects as `app`; what a line means is decided by `settings`.
A line under [DEFAULT] applies to all sections of the file and hides lines of the same name: if the
name is one of ours, the start is stopped.
"""

from collections.abc import Container, Mapping
from typing import Any, cast
from wsgiref.types import WSGIApplication

from restauth import settings
from restauth.app import AuthMiddleware, create_app
from restauth.errors import InvalidSetting
from restauth.settings import SettingsKeywords
from restauth.web.app import App


def main(global_settings: Mapping[str, str], /, **lines: str) -> App:
    """`use = egg:restauth-wsgi`; the other lines are settings. Raises as `create_app`."""
    _refuse_hidden(global_settings, settings.NAMES)
    _refuse_unknown(lines)
    return create_app(**cast("SettingsKeywords", lines))


def auth(
    app: WSGIApplication, global_settings: Mapping[str, str], /, **lines: str
) -> AuthMiddleware:
    """`use = egg:restauth-wsgi#auth`; the other lines are settings and the words of the guard.
    Raises as `AuthMiddleware`."""
    _refuse_hidden(global_settings, (*settings.NAMES, *settings.GUARD_WORDS))
    _refuse_unknown(
        {name: text for name, text in lines.items() if name not in settings.GUARD_WORDS}
    )
    return AuthMiddleware(app, **cast("dict[str, Any]", lines))


def _refuse_unknown(lines: Mapping[str, str]) -> None:
    """Before Python does: a line `app` or `self` would be taken for an argument of that name."""
    settings.describe({}, lines)


def _refuse_hidden(global_settings: Mapping[str, str], names: Container[str]) -> None:
    for name in global_settings:
        if name.lower() in names:
            raise InvalidSetting(f"{name} is under [DEFAULT]: put it into a section of its own.")
