"""The options of `restauth serve`: where to listen, and waitress's own.

Rule: waitress reads its options, and here they are checked for what waitress would accept but not
serve. A message names the option, and says what is expected. Where to listen is a setting: what the
command line says of it becomes its value, which `settings` reads.
"""

import re
from collections.abc import Sequence
from getopt import GetoptError
from typing import Any

from waitress.adjustments import Adjustments

from restauth.errors import InvalidSetting
from restauth.settings import DEFAULT_HOST, DEFAULT_PORT, SettingsKeywords, find_nearest

_WAYS_TO_LISTEN = ("listen", "unix_socket", "host", "port")
_MAY_BE_ZERO = ("port", "channel_request_lookahead", "outbuf_overflow", "inbuf_overflow")
_ADDRESS = re.compile(r"(\S+:)?[0-9]+")
_ADJUSTMENTS: Any = Adjustments  # its table of options is not in its type


def read_options(
    listen: list[str] | None, rest: Sequence[str]
) -> tuple[SettingsKeywords, dict[str, Any]]:
    """The setting `listen`, if the command line says where, and waitress's options, as text.
    `listen` are the values of --listen, and `rest` the other arguments. Raises InvalidSetting."""
    options, words = _parse(rest)
    words += [f"--{word}" for word in ("help", "call", "sockets") if options.pop(word, None)]
    if words:
        hint = f": to listen there, --listen {words[0]}" if _ADDRESS.fullmatch(words[0]) else ""
        raise InvalidSetting(f"serve: not accepted: {' '.join(words)}{hint}.")
    for name, text in options.items():
        _check_number(name, text)
    given = _where(listen, options)
    try:
        _ADJUSTMENTS(**options)
    except Exception as error:  # noqa: BLE001 - waitress raises many kinds
        raise InvalidSetting(f"serve: {_with_options(str(error)).rstrip('.')}.") from None
    return given, options


def _parse(rest: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    try:
        options, words = _ADJUSTMENTS.parse_args(rest)
    except GetoptError as error:
        names = [name.replace("_", "-") for name, _ in _ADJUSTMENTS._params]  # noqa: SLF001
        near = find_nearest(error.opt, names) if "not recognized" in error.msg else ""
        hint = f"; the nearest is --{near}" if near else ""
        raise InvalidSetting(f"serve: {error.msg}{hint}.") from None
    return dict(options), list(words)


def _check_number(name: str, text: str) -> None:
    kinds = dict(_ADJUSTMENTS._params)  # noqa: SLF001
    if kinds.get(name) is int:
        low = 0 if name in _MAY_BE_ZERO else 1
        if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) < low:
            raise _unexpected(name, text, f"a whole number is expected, {low} or more")
    elif name == "unix_socket_perms" and not re.fullmatch(r"0?[0-7]{3}", text):
        raise _unexpected(name, text, "the mode of a file is expected, such as 660")


def _where(listen: list[str] | None, options: dict[str, Any]) -> SettingsKeywords:
    """The setting, of --listen, or of --host and --port, which are taken out of the options."""
    ways = {"listen": listen, **options}
    given = [name for name in _WAYS_TO_LISTEN if ways.get(name) is not None]
    if len(given) > 1 and given != ["host", "port"]:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidSetting(f"serve: {names} exclude each other: use --listen HOST:PORT alone.")
    if options.get("unix_socket") == "":
        raise _unexpected("unix_socket", "", "the path of a socket is expected")
    if "host" in given or "port" in given:
        host, port = options.pop("host", DEFAULT_HOST), options.pop("port", DEFAULT_PORT)
        bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return {"listen": f"{bracketed}:{port}"}
    return {} if listen is None else {"listen": listen}


def _with_options(text: str) -> str:
    """A message of waitress, with its options spelled as they are typed."""
    names = [name for name, _ in _ADJUSTMENTS._params if "_" in name]  # noqa: SLF001
    words = "|".join(map(re.escape, names))
    return re.sub(rf"\b({words})\b", lambda name: f"--{name[1].replace('_', '-')}", text)


def _unexpected(name: str, text: str, expected: str) -> InvalidSetting:
    return InvalidSetting(f"serve: --{name.replace('_', '-')} is {text!r}: {expected}.")
