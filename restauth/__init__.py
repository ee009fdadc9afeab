"""restauth: a small auth service for REST APIs.

It registers users, verifies passwords, and issues tokens that can be revoked. It is a WSGI app, a
guard for other WSGI apps, and a small Python API.

    import restauth

    app = restauth.create_app()                      # all routes, as a WSGI app
    app = restauth.AuthMiddleware(my_wsgi_app)       # your own WSGI app, guarded

    service = restauth.Service(database="users.db")  # one service that has all of it
    service.app                                      # the routes
    service.guard(my_wsgi_app, required=True)        # a guarded app; several are possible
    service.add_user("ada", "correct horse battery staple", roles=["editor"])
    service.verify("Bearer ...")                     # the User of an Authorization header

In a guarded app, `environ["restauth.user"]` is a verified `User`, or None for an anonymous request.

Settings are keywords, else environment variables such as RESTAUTH_DATABASE; the command `restauth
settings` lists them. Every exception that restauth raises on purpose is a `RestauthError`.
`restauth.testing` has a temporary service for your own tests. The command `restauth docs` shows the
guide.
"""

from restauth.app import AuthMiddleware, Service, create_app
from restauth.errors import (
    BadCredentials,
    Busy,
    Fault,
    InvalidSetting,
    Refusal,
    RestauthError,
    StoreUnavailable,
    Throttled,
    TooManyKeys,
    UnacceptableKey,
    UnacceptablePassword,
    UnacceptableRoles,
    UnacceptableUsername,
    Unavailable,
    UnknownUser,
    UnusableFile,
    UnusableKeyRing,
    UnusableStore,
    UsernameTaken,
)
from restauth.records import Account, IssuedKey, IssuedTokens, User

__all__ = [
    "Account",
    "AuthMiddleware",
    "BadCredentials",
    "Busy",
    "Fault",
    "InvalidSetting",
    "IssuedKey",
    "IssuedTokens",
    "Refusal",
    "RestauthError",
    "Service",
    "StoreUnavailable",
    "Throttled",
    "TooManyKeys",
    "UnacceptableKey",
    "UnacceptablePassword",
    "UnacceptableRoles",
    "UnacceptableUsername",
    "Unavailable",
    "UnknownUser",
    "UnusableFile",
    "UnusableKeyRing",
    "UnusableStore",
    "User",
    "UsernameTaken",
    "__version__",
    "create_app",
]
__version__ = "0.2.0"
