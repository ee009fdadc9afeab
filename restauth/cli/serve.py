"""The command `restauth serve`: the service on waitress, until SIGTERM.

Rule: waitress reads its own options, and here they are checked for what waitress would accept but
not serve. A wrong option stops the start before a file is made.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from waitress.adjustments import Adjustments

from restauth import __version__
from restauth.app import Service
from restauth.cli import server
from restauth.cli.command import Arguments, Commands, add_command
from restauth.cli.output import remark, say
from restauth.errors import InvalidSetting
from restauth.settings import Settings

DEFAULT_LISTEN = "127.0.0.1:5000"


def add_commands(commands: Commands) -> None:
    """Declare the command."""
    serve = add_command(commands, "serve", _serve, "serve with waitress until SIGTERM")
    serve.add_argument("--listen", metavar="HOST:PORT", action="append")
    serve.set_defaults(takes_more=True)
    serve.epilog = "Other options are those of waitress, such as --threads=8."


def _serve(arguments: Arguments) -> int:
    options = _waitress_options(arguments.listen or [DEFAULT_LISTEN], arguments.rest)
    server.configure_logging()
    with Service() as service:
        server.serve(service.app, options, partial(_announce, service.settings, options))
    return 0


def _announce(settings: Settings, options: dict[str, Any], addresses: list[str]) -> None:
    say(
        f"restauth {__version__} serves {' '.join(addresses)} "
        f"(database {settings.database}, key ring {settings.key_file}, "
        f"registration {settings.registration}, password policy {settings.password_policy})",
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


def _waitress_options(listen: Sequence[str], rest: Sequence[str]) -> dict[str, Any]:
    """Raises InvalidSetting for what waitress does not know, or would take but never serve."""
    adjustments: Any = Adjustments
    try:
        options, words = adjustments.parse_args(rest)
        words += [f"--{word}" for word in ("help", "call") if options.pop(word)]
        options["listen"] = " ".join(listen)
        adjustments(**options)
    except Exception as error:  # noqa: BLE001 - getopt and waitress raise many kinds
        raise InvalidSetting(f"serve: {str(error).rstrip('.')}.") from None
    for name in ("threads", "connection_limit", "recv_bytes", "send_bytes"):
        if int(options.get(name, 1)) < 1:
            words.append(f"--{name.replace('_', '-')}={options[name]}")
    # The system would use a larger port modulo 65,536.
    words += [address for address in listen if not _is_address(address)]
    if words:
        raise InvalidSetting(f"serve: not accepted: {' '.join(words)}")
    return dict(options)


def _is_address(text: str) -> bool:
    return all(
        re.fullmatch(r".+:[0-9]{1,5}", address) and int(address.rpartition(":")[2]) <= 65_535
        for address in text.split() or [""]
    )
