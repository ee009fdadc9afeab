"""The command `restauth serve`: the service on waitress, until SIGTERM.

Rule: a wrong option stops the start before a file is made. The service is made when the server
listens, so that a start that fails makes no file.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from restauth import __version__
from restauth.app import Service
from restauth.cli import server
from restauth.cli.command import Arguments, Commands, add_command, load_settings
from restauth.cli.notify import notify_ready
from restauth.cli.output import remark, say
from restauth.cli.serve_options import read_options
from restauth.services import find_key_path, start_services
from restauth.settings import Settings, is_address, is_local, is_postgres
from restauth.storage import engines
from restauth.web.server_refusals import refuse


def add_commands(commands: Commands) -> None:
    """Declare the command."""
    serve = add_command(commands, "serve", _serve, "serve with waitress until SIGTERM")
    serve.add_argument(
        "--listen",
        metavar="HOST:PORT",
        action="append",
        help="where to listen, more than once if need be, in the place of the setting `listen`",
    )
    serve.set_defaults(takes_more=True)
    serve.epilog = (
        "Other options are those of waitress, such as --threads=8, --host, --port, --unix-socket."
    )


def _serve(arguments: Arguments) -> int:
    given, options = read_options(arguments.listen, arguments.rest)
    settings = load_settings(**given)  # refused before the server listens
    if "unix_socket" not in options:
        options["listen"] = " ".join(settings.listen)
    settings = _decide_page(settings, options)
    server.configure_logging()
    with _LateService() as late:

        def start(addresses: list[str]) -> None:
            late.start(settings)
            _announce(settings, options, addresses)
            notify_ready()

        # With PostgreSQL, nearly every request waits for the network.
        is_prompt = not is_postgres(settings.database)
        server.serve(
            late,
            options,
            start,
            partial(refuse, settings),
            is_app_prompt=is_prompt,
            others=(
                [("metrics", settings.metrics, late.show_metrics)]
                if is_address(settings.metrics)
                else []
            ),
        )
    return 0


def _decide_page(settings: Settings, options: dict[str, Any]) -> Settings:
    """The settings, with `page` on or off. Unset, it is on where only this machine can reach the
    service, as far as is known: not behind a proxy."""
    if settings.page:
        return settings
    is_on = is_local(settings.listen) and not _is_for_a_proxy(settings, options)
    return replace(settings, page="on" if is_on else "off")


def _is_for_a_proxy(settings: Settings, options: dict[str, Any]) -> bool:
    """Whether anything says that clients come through a proxy."""
    is_told = any(options.get(name) for name in ("unix_socket", "trusted_proxy", "url_prefix"))
    is_https = settings.require_https or options.get("url_scheme") == "https"
    return is_told or is_https or bool(settings.base_url or settings.allowed_hosts)


class _AnnouncedService(Service):
    """No warning of a new database: the announcement names it, and a first start is expected."""

    def __init__(self, settings: Settings) -> None:
        self._use(start_services(settings))


class _LateService(ExitStack):
    """A WSGI app that is made after its server."""

    def start(self, settings: Settings) -> None:
        """Make the service. Raises as `Service`."""
        service = self.enter_context(_AnnouncedService(settings))
        self._app, self._metrics_app = service.app, service.metrics_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._app(environ, start_response)

    def show_metrics(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """The app of the address that is for the scraper."""
        return self._metrics_app(environ, start_response)


def _announce(settings: Settings, options: dict[str, Any], addresses: list[str]) -> None:
    say(
        f"restauth {__version__} serves {', '.join(addresses)} "
        f"(database {engines.show(settings.database)}, "
        f"key ring {find_key_path(settings).absolute()}, "
        f"registration {settings.registration}, password policy {settings.password_policy}, "
        f"page {settings.page})",
        flush=True,
    )
    if "trusted_proxy" in options and "trusted_proxy_headers" not in options:
        remark("without --trusted-proxy-headers, all clients of a proxy have one address")
    if settings.require_https and not _is_told_of_https(options):
        remark(
            "require_https is true, and no request is known to come over https: all credentials "
            "are refused (see --trusted-proxy and --trusted-proxy-headers)"
        )
    if int(options.get("threads", server.THREADS)) < server.MIN_THREADS:
        remark(f"with fewer than {server.MIN_THREADS} threads, logins can delay token requests")


def _is_told_of_https(options: dict[str, Any]) -> bool:
    """Whether a request can have the scheme https: waitress itself has no TLS."""
    headers = set(str(options.get("trusted_proxy_headers", "")).lower().split())
    is_forwarded = "trusted_proxy" in options and headers & {"x-forwarded-proto", "forwarded"}
    return bool(is_forwarded) or options.get("url_scheme") == "https"
