"""The public names: create_app, AuthMiddleware, User, __version__."""

from restauth.app import create_app
from restauth.records import User
from restauth.web.middleware import AuthMiddleware

__all__ = ["AuthMiddleware", "User", "__version__", "create_app"]
__version__ = "0.1.0"
