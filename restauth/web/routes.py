"""The table of all routes and who may call them.

Rule: a route that is not in this table does not exist, and what it asks of the caller stands
beside it, in no other place.
"""

from restauth.settings import Settings
from restauth.web import handlers
from restauth.web.router import Access, Route


def routes(settings: Settings) -> tuple[Route, ...]:
    """The routes under these settings, in the order of the README's table."""
    profile = Access.ANYONE if settings.public_profiles else Access.USER
    return (
        Route("POST", "/api/users", handlers.register, Access.ANYONE, takes_secret=True),
        Route("GET", "/api/users/{id}", handlers.show_user, profile),
        Route("GET", "/api/users/me", handlers.show_me, Access.USER),
        Route(
            "PUT",
            "/api/users/me/password",
            handlers.change_password,
            Access.PASSWORD,
            takes_secret=True,
        ),
        Route("DELETE", "/api/users/me", handlers.close_account, Access.PASSWORD),
        Route("GET", "/api/token", handlers.issue_token, Access.USER),
        Route("POST", "/api/token", handlers.refresh, Access.ANYONE, takes_secret=True),
        Route("DELETE", "/api/token", handlers.log_out, Access.USER),
        Route("POST", "/api/sessions", handlers.start_session, Access.PASSWORD),
        Route("GET", "/api/sessions", handlers.list_sessions, Access.USER),
        Route("DELETE", "/api/sessions", handlers.end_sessions, Access.USER),
        Route("DELETE", "/api/sessions/{sid}", handlers.end_session, Access.USER),
        Route(
            "POST",
            "/api/password-resets",
            handlers.reset_password,
            Access.ANYONE,
            takes_secret=True,
        ),
        Route("GET", "/api/resource", handlers.greet, Access.USER),
        Route("GET", "/api/health", handlers.show_health, Access.ANYONE),
    )
