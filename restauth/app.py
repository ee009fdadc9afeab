"""The app as a server mounts it.

Rule: what a server's configuration names (`restauth:create_app`), and nothing but wiring.
"""

import os

from restauth import settings
from restauth.services import build_services
from restauth.web.api import Api


def create_app(**keywords: object) -> Api:
    """The service as a WSGI app, with settings from keywords, else from the environment.

    Raises InvalidSetting, UnusableStore, UnusableKeyRing.
    """
    return Api(build_services(settings.load(os.environ, keywords), create=True))
