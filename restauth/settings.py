"""Every setting: name, parser, default, help.

Rule: the fields of `Settings` are the one table. The names of environment variables, the keywords
of `Service`, the command `restauth settings` and the guide's page are made from it, or a test
compares them with it. Nothing is guessed: an unknown name, or a value that cannot be parsed, is an
`InvalidSetting` before anything else happens.
"""

import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv6Address, ip_address
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, Literal, TypedDict, cast
from urllib.parse import urlsplit

from restauth.errors import InvalidSetting
from restauth.records import ROLE_PATTERN

PREFIX = "RESTAUTH_"
MAX_MATCH_TIME = 0.05  # seconds; a name is matched in some microseconds
MAX_PROBING_TIME = 0.5  # seconds at the start, for a pattern that is not the default
USERNAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "5000"

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[([0-9A-Fa-f:.]+)\])(?::([1-9][0-9]{0,4}))?")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_FILES = ("database", "key_file", "audit_log")  # settings that take a Path too

GUARD_WORDS = ("exempt", "required", "role", "stateless")  # of `AuthMiddleware`, and no settings
_KINDS: Mapping[type, str] = {bool: "a bool", int: "a whole number", tuple: "a list of texts"}

# What Kubernetes sets in a pod for each Service whose name begins with `restauth`: the variables
# that it documents, and those that it keeps from Docker's links. They are not settings, and no
# setting may have such a name: so it is `listen`, and not `port`.
_ADDRESS = r"[0-9A-Fa-f.:\[\]]+"
_SERVICE_LINK = re.compile(
    r"RESTAUTH_([A-Z0-9_]+_)?("
    rf"SERVICE_HOST={_ADDRESS}"
    r"|SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]+"
    rf"|PORT(_[0-9]+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://{_ADDRESS}"
    r"|PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO=(tcp|udp|sctp)"
    r"|PORT_[0-9]+_(TCP|UDP|SCTP)_PORT=[0-9]+"
    rf"|PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR={_ADDRESS})"
)


def _setting(
    default: str, parse: Callable[[str], object], help: str, *, is_secret: bool = False
) -> Any:
    """A row: the default is a text, as the guide shows it and as the parser reads it."""
    metadata = {"text": default, "parse": parse, "help": help}
    return field(default=parse(default), metadata=metadata, repr=not is_secret)


def _path(text: str) -> Path:
    if not Path(text).name or "\0" in text or "://" in text:
        raise ValueError("not a file name")
    os.fsencode(text)  # a UnicodeEncodeError is a ValueError
    return Path(text)


# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
_TEXT = r"(?:[^/?#@:,\[\]%\s]|%[0-9A-Fa-f]{2})*"
_SERVER = rf"(?:{_TEXT}|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
_POSTGRES = re.compile(
    rf"(?P<scheme>postgres(?:ql)?://)(?:{_TEXT}(?::{_TEXT})?@)?"
    rf"(?P<place>{_SERVER}(?:,{_SERVER})*(?:/{_TEXT})?)(?:\?(?:[^#%\s]|%[0-9A-Fa-f]{{2}})*)?"
)


def is_postgres(database: str) -> bool:
    """Whether the setting `database` names a PostgreSQL database. Else it names an SQLite file."""
    return database.startswith(("postgres://", "postgresql://"))


def without_secret(database: str) -> str:
    """The database as messages may show it: of a URL, the servers and the name, without user,
    password and options."""
    if "://" not in database:
        return database
    url = _POSTGRES.fullmatch(database)
    return url["scheme"] + url["place"] if url else database.partition("://")[0] + "://***"


def _key_file(text: str) -> Path | str:
    """A Path; or a text, which is an address."""
    if "://" not in text:
        return _path(text)
    url = urlsplit(text)
    if not _is_host(url.netloc) or not re.fullmatch(r"[!-~]+", text) or re.search("[?#]", text):
        raise ValueError("neither a file name nor the https address of a key set")
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname or "")):
        raise ValueError("not an https address, and http is for this machine alone")
    return text


def is_local(listen: Iterable[str]) -> bool:
    """Whether all these addresses (of the setting `listen`) are of this machine alone."""
    return all(_is_loopback(address.rpartition(":")[0].strip("[]")) for address in listen)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _database(text: str) -> str:
    if is_postgres(text):
        if not _POSTGRES.fullmatch(text):
            raise ValueError(
                "not of the form postgresql://USER:PASSWORD@HOST:PORT/NAME?OPTIONS, where other "
                "characters than letters, digits and -._~ are percent-encoded"
            )
        return text
    if "://" in text or text == ":memory:":
        raise ValueError("not the name of an SQLite file, and not postgresql://HOST/NAME")
    return str(_path(text))


def _file_or_nothing(text: str) -> str:
    return str(_path(text)) if text else ""


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
            raise ValueError(f"not a whole number from {low} to {high}")
        return int(text)

    return parse


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text == "true"


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"not one of: {', '.join(words)}")
        return text

    return parse


def _switch_or_nothing(text: str) -> str:
    if text not in ("on", "off", ""):
        raise ValueError("neither on nor off")
    return text


def _quotable(text: str) -> str:
    # It becomes a quoted-string of WWW-Authenticate, and nothing in it is escaped.
    if not _PRINTABLE.fullmatch(text) or '"' in text or "\\" in text or len(text) > 255:
        raise ValueError("not 1 to 255 printable ASCII characters without quotes and backslashes")
    return text


def _base_url(text: str) -> str:
    if text:
        url = urlsplit(text)
        if url.scheme not in ("http", "https") or not _is_host(url.netloc):
            raise ValueError("not an http or https address")
        if not _PRINTABLE.fullmatch(text) or any(char in text for char in " ?#"):
            raise ValueError("more than scheme, host and path")
    return text.rstrip("/")


def _is_host(text: str) -> bool:
    """Whether a text is a host that can stand in an address, with a port or without."""
    match = _HOST.fullmatch(text)
    if match is None or int(match[2] or 0) > 65_535:
        return False
    try:
        IPv6Address(match[1] or "::")
    except ValueError:
        return False
    return True


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    if not text.isascii() or not all(map(_is_host, hosts)):
        raise ValueError("not a list of hosts, comma-separated, each with a port or without")
    return hosts


def _origins(text: str) -> tuple[str, ...]:
    """Each in the form that a browser sends (RFC 6454 section 6.2): they are compared whole."""
    origins = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    for origin in origins:
        scheme, _, host = origin.partition("://")
        is_known = re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) and _is_host(host)
        if not text.isascii() or not is_known:
            raise ValueError("not a list of origins, comma-separated, each scheme://host[:port]")
        if (scheme, host.rpartition(":")[2]) in (("http", "80"), ("https", "443")):
            raise ValueError(f"browsers leave out the default port of {scheme}: leave it out too")
    return origins


def _addresses(text: str) -> tuple[str, ...]:
    """Where to listen. A port alone is one of this machine only; with port 0, the system chooses
    one."""
    addresses = tuple(
        f"{DEFAULT_HOST}:{word}" if word.isdigit() else word
        for word in text.replace(",", " ").split()
    )
    if not addresses or not all(map(is_address, addresses)):
        raise ValueError("not HOST:PORT or a port, or several of them, comma-separated")
    return addresses


def is_address(text: str) -> bool:
    """Whether a text says where to listen: HOST:PORT."""
    host, _, port = text.rpartition(":")
    # The system would use a larger port modulo 65,536.
    is_port = re.fullmatch(r"[0-9]{1,5}", port) is not None and int(port) <= 65_535
    return is_port and (host == "*" or _is_host(f"{host}:1"))


def _metrics(text: str) -> str:
    if not text or (is_address(text) and is_local([text])):
        return text
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", text) or not 32 <= len(text) <= 255:
        raise ValueError(
            "neither a secret of 32 to 255 letters, digits and -._~+/ nor an address of this "
            "machine, such as 127.0.0.1:9464"
        )
    return text


def _dotted(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text, re.ASCII):
        raise ValueError("not package.module:function")
    return text


def _role_or_nothing(text: str) -> str:
    if text and not re.fullmatch(ROLE_PATTERN, text):
        raise ValueError(f"not a role, which matches {ROLE_PATTERN}")
    return text


def _pattern(text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a pattern that a later Python may read differently
            pattern = re.compile(text, re.ASCII)
    except (re.error, FutureWarning, OverflowError, RecursionError):
        raise ValueError("not a regular expression") from None
    if text != USERNAME_PATTERN and _explodes(pattern):
        raise ValueError(
            "a regular expression that a name of some letters stops for seconds: it repeats what "
            "is repeated already"
        )
    return pattern


def _explodes(pattern: re.Pattern[str]) -> bool:
    """Whether a name of at most 64 characters was found that takes long to refuse.

    Nothing can interrupt a match, so the names grow by two characters: the first one that takes
    long takes less than a second. These are the usual cases, and no proof.
    """
    if not re.search(r"[*+{]", pattern.pattern):
        return False  # it repeats nothing
    began = time.thread_time()
    for name in _names_that_could_explode(pattern.pattern):
        if _time_of(pattern, name) > MAX_MATCH_TIME and _time_of(pattern, name) > MAX_MATCH_TIME:
            return True
        if time.thread_time() - began > MAX_PROBING_TIME:
            return False
    return False


def _time_of(pattern: re.Pattern[str], name: str) -> float:
    """Seconds of this thread: another one that is busy does not count."""
    started = time.thread_time()
    pattern.fullmatch(name)
    return time.thread_time() - started


def _names_that_could_explode(pattern: str) -> Iterator[str]:
    """A beginning, then one or two characters again and again, then an end that does not fit."""
    letters = list(dict.fromkeys("a0A" + "".join(re.findall(r"[\w.@+-]", pattern)) + "."))[:12]
    words = re.findall(r"[\w.@+-]+", re.sub(r"\\(?=\W)", "", pattern))
    for prefix in list(dict.fromkeys(["", *words, *letters]))[:10]:
        for unit in (*letters, *map("".join, permutations(letters[:6], 2))):
            for end in ("!", "\u00e9"):
                for length in range(2, 64 - len(prefix), 2):
                    yield prefix + (unit * length)[:length] + end


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, parsed. Durations are in seconds."""

    database: str = _setting(
        "restauth.db",
        _database,
        "the SQLite file with the users, created at the first start; or a PostgreSQL database, "
        "postgresql://USER:PASSWORD@HOST/NAME",
        is_secret=True,
    )
    key_file: Path | str = _setting(
        "restauth.keys",
        _key_file,
        "the key ring, a file with the signing keys (a private JWK Set); created at the first "
        "start; for a guard with stateless, also a public JWK Set, or its https address",
    )
    listen: tuple[str, ...] = _setting(
        f"{DEFAULT_HOST}:{DEFAULT_PORT}",
        _addresses,
        "where `restauth serve` listens: HOST:PORT or a port, several comma-separated",
    )
    base_url: str = _setting(
        "",
        _base_url,
        "the public address that Location headers begin with, such as https://auth.example.org",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "", _hosts, "hosts, comma-separated, that Location may copy from the request"
    )
    registration: Literal["open", "invited", "closed"] = _setting(
        "open",
        _one_of("open", "invited", "closed"),
        "invited: POST /api/users needs a code of `restauth user invite`; closed: only the "
        "operator adds users, and it gets 403",
    )
    public_profiles: bool = _setting("true", _flag, "false: GET /api/users/{id} needs credentials")
    username_pattern: re.Pattern[str] = _setting(
        USERNAME_PATTERN, _pattern, "regular expression that a new username must match as a whole"
    )
    password_policy: Literal["open", "nist"] = _setting(
        "open",
        _one_of("open", "nist"),
        "nist: a new password needs 15 characters and must not be common (SP 800-63B-4)",
    )
    password_check: str = _setting(
        "",
        _dotted,
        "package.module:function; called with a new password and its username, returns why it is "
        "refused, or None",
    )
    bcrypt_rounds: int = _setting("12", _whole(10, 15), "cost of a password hash, 10 to 15")
    import_sha_crypt: bool = _setting(
        "false",
        _flag,
        "true: SHA-crypt hashes of REST-auth before April 2020 can log in; each login then takes "
        "most of a second",
    )
    token_duration: int = _setting(
        "600", _whole(10, 86_400), "lifetime of an access token, in seconds"
    )
    session_duration: int = _setting(
        "86400",
        _whole(60, 2_592_000),
        "seconds after a login or a refresh in which a token can be exchanged for a new one",
    )
    refresh_duration: int = _setting(
        "2592000",
        _whole(60, 2_592_000),
        "lifetime of a session begun by POST /api/sessions, in seconds",
    )
    free_failures: int = _setting(
        "5",
        _whole(0, 100),
        "failed logins per username and client address before waits begin; 0: no waits",
    )
    max_failures: int = _setting(
        "100",
        _whole(0, 10_000),
        "failed logins in a row that block the password of a username; 0: never",
    )
    peer_failures: int = _setting(
        "30",
        _whole(0, 10_000),
        "failed attempts in 5 minutes that block a public client address; 0: never",
    )
    peer_registrations: int = _setting(
        "20",
        _whole(0, 10_000),
        "accounts that a public client address may make in an hour; 0: no limit",
    )
    credential_cache: int = _setting(
        "300",
        _whole(0, 3600),
        "seconds without use after which a verified password is hashed again; 0: always",
    )
    realm: str = _setting(
        "Authentication Required", _quotable, "realm of the challenges (WWW-Authenticate headers)"
    )
    issuer: str = _setting("restauth", _quotable, "iss claim of the tokens")
    audience: str = _setting("restauth", _quotable, "aud claim of the tokens")
    audit_log: str = _setting(
        "", _file_or_nothing, "file to which servers and commands append the audit log"
    )
    metrics: str = _setting(
        "",
        _metrics,
        "GET /metrics for Prometheus: a bearer secret of 32 characters or more; or where `restauth "
        "serve` listens for it, HOST:PORT on this machine only; empty: off",
        is_secret=True,
    )
    admin_role: str = _setting(
        "",
        _role_or_nothing,
        "role of the users who may call the operator's API, /api/admin/…; without it there is none",
    )
    cors_origins: tuple[str, ...] = _setting(
        "",
        _origins,
        "origins, comma-separated, whose pages may call the API, such as https://app.example.org",
    )
    require_https: bool = _setting("false", _flag, "true: credentials over plain http get 403")
    page: Literal["on", "off", ""] = _setting(
        "",
        _switch_or_nothing,
        "on: GET / is a page to try the API in a browser; unset: on for `restauth serve` where "
        "this machine alone can reach it, else off",
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `restauth settings`: the value in force, as a text, and where it comes from."""

    name: str
    default: str
    help: str
    value: str = field(repr=False)
    source: Literal["default", "environment", "keyword"]

    @property
    def shown(self) -> str:
        """The value without a password or another secret."""
        if self.name == "metrics":
            return self.value if not self.value or is_address(self.value) else "***"
        return without_secret(self.value) if self.name == "database" else self.value


NAMES = tuple(setting.name for setting in fields(Settings))


class SettingsKeywords(TypedDict, total=False):
    """The settings as keywords of `Service`, `create_app` and `AuthMiddleware`.

    A keyword wins over the environment. Each may also be the text that the environment would have.
    """

    database: str | Path
    key_file: str | Path
    listen: str | tuple[str, ...] | list[str]
    base_url: str
    allowed_hosts: str | tuple[str, ...] | list[str]
    registration: Literal["open", "invited", "closed"]
    public_profiles: bool | str
    username_pattern: str
    password_policy: Literal["open", "nist"]
    password_check: str
    bcrypt_rounds: int | str
    import_sha_crypt: bool | str
    token_duration: int | str
    session_duration: int | str
    refresh_duration: int | str
    free_failures: int | str
    max_failures: int | str
    peer_failures: int | str
    peer_registrations: int | str
    credential_cache: int | str
    realm: str
    issuer: str
    audience: str
    audit_log: str | Path
    metrics: str
    admin_role: str
    cors_origins: str | tuple[str, ...] | list[str]
    require_https: bool | str
    page: Literal["on", "off", ""]


def both_names(name: str) -> str:
    """A setting, as a message names it that does not know how the value was given."""
    return f"{name} ({PREFIX}{name.upper()})"


def read_flag(name: str, value: object) -> bool:
    """A flag that is not a setting: a bool, or its text. Raises InvalidSetting."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise InvalidSetting(f"{name} is of the wrong type: {type(value).__name__}.")
    try:
        return _flag(value)
    except ValueError as error:
        raise InvalidSetting(f"{name} is {value!r}: {error}.") from None


def load(environ: Mapping[str, str], keywords: Mapping[str, object] | None = None) -> Settings:
    """Settings from keywords, else from the environment, else the defaults.

    Raises InvalidSetting with one clear line.
    """
    values: dict[str, Any] = {}
    for row, parse in zip(describe(environ, keywords), _parsers(), strict=True):
        try:
            values[row.name] = parse(row.value)
        except ValueError as error:
            where = PREFIX + row.name.upper() if row.source == "environment" else row.name
            raise InvalidSetting(f"{where} is {row.shown!r}: {error}.") from None
    _refuse_one_file_for_two({name: values[name] for name in _FILES if values[name]})
    return Settings(**values)


def _refuse_one_file_for_two(files: Mapping[str, str | Path]) -> None:
    """A line of the audit log would make a key ring unreadable."""
    for (one, path), (other, other_path) in combinations(files.items(), 2):
        if os.path.realpath(path) == os.path.realpath(other_path):
            raise InvalidSetting(
                f"{both_names(one)} and {both_names(other)} name one file: {path}."
            )


def describe(
    environ: Mapping[str, str], keywords: Mapping[str, object] | None = None
) -> tuple[Row, ...]:
    """Every setting with its value in force, unparsed. Raises InvalidSetting for unknown names."""
    given = {name: _as_text(name, value) for name, value in (keywords or {}).items()}
    names = {PREFIX + setting.name.upper(): setting.name for setting in fields(Settings)}
    found = {}
    for variable, value in environ.items():
        if variable in names:
            found[names[variable]] = value
        elif variable.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(f"{variable}={value}"):
            raise _unknown(variable, names)
    return tuple(_row(setting.name, setting.metadata, found, given) for setting in fields(Settings))


def _row(
    name: str, row: Mapping[str, Any], found: Mapping[str, str], given: Mapping[str, str]
) -> Row:
    source: Literal["default", "environment", "keyword"] = (
        "keyword" if name in given else "environment" if name in found else "default"
    )
    value = given.get(name, found.get(name, row["text"]))
    return Row(name, row["text"], row["help"], value, source)


def _parsers() -> list[Callable[[str], object]]:
    return [
        cast("Callable[[str], object]", setting.metadata["parse"]) for setting in fields(Settings)
    ]


def _as_text(name: str, value: object) -> str:
    """A keyword as the text that the environment would have, so that both have one parser."""
    defaults: dict[str, object] = {setting.name: setting.default for setting in fields(Settings)}
    if name not in defaults:
        raise _unknown(name, (*defaults, *GUARD_WORDS))
    match defaults[name], value:
        case _, str():
            return value
        case _, Path() if name in _FILES:
            return str(value)
        case bool(), bool():
            return str(value).lower()
        case int(), int() if type(defaults[name]) is type(value):
            return str(value) if abs(value) < 10**12 else "out of range"
        case tuple(), tuple() | list() if all(isinstance(item, str) for item in value):
            return ",".join(value)
    kind = "a text or a Path" if name in _FILES else _KINDS.get(type(defaults[name]), "a text")
    raise InvalidSetting(f"{name} is of the wrong type: {type(value).__name__}, not {kind}.")


def find_nearest(word: str, words: Iterable[str]) -> str:
    """The one of the words that is meant, if `word` is a mistake in writing; else empty."""
    # Here, because only a mistake needs it, and it takes memory and time.
    from difflib import get_close_matches  # noqa: PLC0415

    return next(iter(get_close_matches(word, words, 1)), "")


def _unknown(name: str, names: Iterable[str]) -> InvalidSetting:
    by_word = {known.upper().removeprefix(PREFIX): known for known in names}
    nearest = find_nearest(name.upper().removeprefix(PREFIX), by_word)
    hint = f": the nearest is {by_word[nearest]}" if nearest else ""
    return InvalidSetting(f"There is no setting {name!r}{hint}.")
