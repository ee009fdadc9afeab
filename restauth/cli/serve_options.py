"""The options of `restauth serve`: where to listen, and waitress's own.

Rule: waitress reads its options, and here they are checked for what waitress would accept but not
serve. A message names the option, and says what is expected.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from getopt import GetoptError
from typing import Any

from waitress.adjustments import Adjustments

from restauth.errors import InvalidSetting

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "5000"
_EXAMPLE = f"{DEFAULT_HOST}:{DEFAULT_PORT}"
_WAYS_TO_LISTEN = ("listen", "unix_socket", "host", "port")
_MAY_BE_ZERO = ("port", "channel_request_lookahead", "outbuf_overflow", "inbuf_overflow")
_ADJUSTMENTS: Any = Adjustments  # its table of options is not in its type


def read_options(listen: Sequence[str], rest: Sequence[str]) -> dict[str, Any]:
    """waitress's options, as text. `listen` are the values of --listen, and `rest` the other
    arguments. Raises InvalidSetting."""
    options, words = _parse(rest)
    words += [f"--{word}" for word in ("help", "call", "sockets") if options.pop(word, None)]
    if words:
        raise InvalidSetting(f"serve: not accepted: {' '.join(words)}")
    if listen:
        options["listen"] = " ".join(listen)
    for name, text in options.items():
        _check_number(name, text)
    options = _where(options)
    try:
        _ADJUSTMENTS(**options)
    except Exception as error:  # noqa: BLE001 - waitress raises many kinds
        raise InvalidSetting(f"serve: {str(error).rstrip('.')}.") from None
    return options


def _parse(rest: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    try:
        options, words = _ADJUSTMENTS.parse_args(rest)
    except GetoptError as error:
        names = [name.replace("_", "-") for name, _ in _ADJUSTMENTS._params]  # noqa: SLF001
        near = get_close_matches(error.opt, names, n=1) if "not recognized" in error.msg else []
        hint = "".join(f"; the nearest is --{name}" for name in near)
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


def _where(options: dict[str, Any]) -> dict[str, Any]:
    """The same options with one way to listen: `listen`, or `unix_socket`."""
    given = [name for name in _WAYS_TO_LISTEN if name in options]
    if len(given) > 1 and given != ["host", "port"]:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidSetting(f"serve: {names} exclude each other: use --listen HOST:PORT alone.")
    host, port = options.pop("host", DEFAULT_HOST), options.pop("port", DEFAULT_PORT)
    if "unix_socket" in options:
        if not options["unix_socket"]:
            raise _unexpected("unix_socket", "", "the path of a socket is expected")
        return options
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    addresses = options.get("listen", f"{bracketed}:{port}")
    words = addresses.split() or [""]
    return {**options, "listen": " ".join(_complete(word) for word in words)}


def _complete(word: str) -> str:
    """HOST:PORT; a port alone is one of this machine only."""
    address = f"{DEFAULT_HOST}:{word}" if word.isascii() and word.isdigit() else word
    # The system would use a larger port modulo 65,536.
    if not re.fullmatch(r".+:[0-9]{1,5}", address) or int(address.rpartition(":")[2]) > 65_535:
        raise _unexpected("listen", word, f"HOST:PORT or a port is expected, such as {_EXAMPLE}")
    return address


def _unexpected(name: str, text: str, expected: str) -> InvalidSetting:
    return InvalidSetting(f"serve: --{name.replace('_', '-')} is {text!r}: {expected}.")
