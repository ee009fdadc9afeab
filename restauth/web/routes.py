"""The table of all routes, and who may call them.

Rule: a route that is not in this table does not exist. What a route asks of the caller is written
here and in no other place.
"""

from functools import lru_cache

from restauth.services import Services
from restauth.settings import Settings, is_address
from restauth.web import handlers, openapi, operator_handlers, page
from restauth.web.access import Access
from restauth.web.http import Request, Response, json_response
from restauth.web.router import ANY_METHOD, Route

_USER = "/api/admin/users/{id}"
_INVITATIONS = "/api/admin/invitations"
OPERATORS = (
    Route("GET", "/api/admin/users", operator_handlers.list_users, Access.ADMIN),
    Route("POST", "/api/admin/users", operator_handlers.add_user, Access.ADMIN, takes_secret=True),
    Route("GET", _USER, operator_handlers.inspect_user, Access.ADMIN),
    Route("DELETE", _USER, operator_handlers.delete_user, Access.ADMIN),
    Route("PUT", f"{_USER}/username", operator_handlers.rename_user, Access.ADMIN),
    Route("PUT", f"{_USER}/roles", operator_handlers.set_roles, Access.ADMIN),
    Route("PUT", f"{_USER}/lock", operator_handlers.lock_user, Access.ADMIN),
    Route("DELETE", f"{_USER}/lock", operator_handlers.unlock_user, Access.ADMIN),
    Route("DELETE", f"{_USER}/sessions", operator_handlers.end_user_sessions, Access.ADMIN),
    Route("DELETE", f"{_USER}/keys", operator_handlers.end_user_keys, Access.ADMIN),
    Route("POST", f"{_USER}/reset-code", operator_handlers.make_reset_code, Access.ADMIN),
    Route("GET", _INVITATIONS, operator_handlers.list_invitations, Access.ADMIN),
    Route("POST", _INVITATIONS, operator_handlers.invite_user, Access.ADMIN),
    Route(
        "DELETE",
        f"{_INVITATIONS}/{{invitation}}",
        operator_handlers.revoke_invitation,
        Access.ADMIN,
    ),
)


def show_description(request: Request, services: Services) -> Response:
    """In this file, because it describes this table."""
    return _description(services.settings, services.settings.base_url or request.prefix or "/")


@lru_cache(maxsize=16)  # there may be several mount points
def _description(settings: Settings, server: str) -> Response:
    described = (
        route
        for route in routes(settings)
        if route.access is not Access.SCRAPER and route.handler is not page.show
    )
    return json_response(200, openapi.build(described, settings, server))


def routes(settings: Settings) -> tuple[Route, ...]:
    """The routes under these settings, in the order of the tables in the documents."""
    return (*_routes_of_users(settings), *(OPERATORS if settings.admin_role else ()))


def _routes_of_users(settings: Settings) -> tuple[Route, ...]:
    profile = Access.ANYONE if settings.public_profiles else Access.USER
    is_scraped = settings.metrics and not is_address(settings.metrics)
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
        Route("GET", "/api/token", handlers.issue_token, Access.LOGIN),
        Route("POST", "/api/token", handlers.refresh, Access.ANYONE, takes_secret=True),
        Route("DELETE", "/api/token", handlers.log_out, Access.LOGIN),
        Route("POST", "/api/sessions", handlers.start_session, Access.PASSWORD),
        Route("GET", "/api/sessions", handlers.list_sessions, Access.LOGIN),
        Route("DELETE", "/api/sessions", handlers.end_sessions, Access.LOGIN),
        Route("DELETE", "/api/sessions/{sid}", handlers.end_session, Access.LOGIN),
        Route("POST", "/api/keys", handlers.make_key, Access.PASSWORD),
        Route("GET", "/api/keys", handlers.list_keys, Access.LOGIN),
        Route("DELETE", "/api/keys", handlers.end_keys, Access.LOGIN),
        Route("DELETE", "/api/keys/{key}", handlers.end_key, Access.LOGIN),
        Route(
            "POST",
            "/api/password-resets",
            handlers.reset_password,
            Access.ANYONE,
            takes_secret=True,
        ),
        Route("GET", "/api/resource", handlers.greet, Access.USER),
        Route(ANY_METHOD, "/api/verify", handlers.verify, Access.USER, is_for_proxies=True),
        Route("GET", "/api/health", handlers.show_health, Access.ANYONE),
        Route("GET", "/api/ready", handlers.show_readiness, Access.ANYONE),
        Route("GET", openapi.PATH, show_description, Access.ANYONE),
        Route("GET", "/.well-known/jwks.json", handlers.show_keys, Access.ANYONE),
        *([_metrics(Access.SCRAPER)] if is_scraped else ()),
        *([Route("GET", "/", page.show, Access.ANYONE)] if settings.page == "on" else ()),
    )


def metrics_routes() -> tuple[Route, ...]:
    """The table of an address that is for the scraper alone: who can reach it needs no secret."""
    return (_metrics(Access.ANYONE),)


def _metrics(access: Access) -> Route:
    return Route("GET", "/metrics", handlers.show_metrics, access)
