"""The app as a server mounts it.

Rule: what a server's configuration names (`restauth:create_app`), and nothing but wiring.
"""

import logging
import os

from restauth import settings
from restauth.services import start_services
from restauth.web.app import App

_log = logging.getLogger("restauth")


def create_app(**keywords: object) -> App:
    """The service as a WSGI app, with settings from keywords, else from the environment.

    Raises InvalidSetting, UnusableStore, UnusableKeyRing.
    """
    services = start_services(settings.load(os.environ, keywords))
    if services.settings.password_policy == "open":
        _log.warning("password_policy is open: any password is accepted")
    return App(services)
