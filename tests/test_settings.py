"""Every setting: what it takes from the environment and from Python, and what stops the start."""

import re
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from restauth import settings
from restauth.errors import InvalidSetting
from restauth.settings import (
    NAMES,
    USERNAME_PATTERN,
    Settings,
    SettingsKeywords,
    describe,
    is_address,
    load,
    read_flag,
    without_secret,
)


def variable(name: str) -> str:
    return f"RESTAUTH_{name.upper()}"


def refusal_of(environ: dict[str, str], keywords: dict[str, object] | None = None) -> str:
    """The one clear line that stops the start."""
    with pytest.raises(InvalidSetting) as caught:
        load(environ, keywords)
    message = str(caught.value)
    assert message.isprintable()  # so it is one line
    return message


DEFAULTS: dict[str, object] = {
    "database": "restauth.db",
    "key_file": Path("restauth.keys"),
    "listen": ("127.0.0.1:5000",),
    "base_url": "",
    "allowed_hosts": (),
    "registration": "open",
    "public_profiles": True,
    "username_pattern": re.compile(USERNAME_PATTERN, re.ASCII),
    "password_policy": "open",
    "password_check": "",
    "bcrypt_rounds": 12,
    "import_sha_crypt": False,
    "token_duration": 600,
    "session_duration": 86_400,
    "refresh_duration": 2_592_000,
    "free_failures": 5,
    "max_failures": 100,
    "peer_failures": 30,
    "peer_registrations": 20,
    "credential_cache": 300,
    "realm": "Authentication Required",
    "issuer": "restauth",
    "audience": "restauth",
    "audit_log": "",
    "metrics": "",
    "admin_role": "",
    "cors_origins": (),
    "require_https": False,
    "page": "",
}
RANGES = {
    "bcrypt_rounds": (10, 15),
    "token_duration": (10, 86_400),
    "session_duration": (60, 2_592_000),
    "refresh_duration": (60, 2_592_000),
    "free_failures": (0, 100),
    "max_failures": (0, 10_000),
    "peer_failures": (0, 10_000),
    "peer_registrations": (0, 10_000),
    "credential_cache": (0, 3600),
}
FLAGS = [name for name, default in DEFAULTS.items() if isinstance(default, bool)]
WORDS = {"registration": "closed", "password_policy": "nist"}
QUOTED = ("realm", "issuer", "audience")

# name, text, value
GOOD: list[tuple[str, str, object]] = [
    *((name, str(number), number) for name, pair in RANGES.items() for number in pair),
    *((name, text, text == "true") for name in FLAGS for text in ("true", "false")),
    *((name, word, word) for name in WORDS for word in ("open", WORDS[name])),
    *((name, text, text) for name in QUOTED for text in ("Staff only!", "x" * 255)),
    ("database", "/var/lib/restauth/users.db", "/var/lib/restauth/users.db"),
    ("database", "ünïcode and blanks.db", "ünïcode and blanks.db"),
    *(
        ("database", url, url)
        for url in (
            "postgresql:///users",
            "postgres://ada:p%40ss@a.example,[2001:db8::1]:5433/users?sslmode=verify-full",
            "postgresql://?service=users",
        )
    ),
    ("key_file", "../keys", Path("../keys")),
    *(
        ("key_file", url, url)
        for url in (
            *("https://auth.example.org/.well-known/jwks.json", "http://localhost:5000/jwks.json"),
            *("http://127.0.0.9/", "http://[::1]:5000"),
        )
    ),
    ("listen", "5001", ("127.0.0.1:5001",)),
    ("listen", "0.0.0.0:0, [::1]:65535 *:80", ("0.0.0.0:0", "[::1]:65535", "*:80")),
    ("listen", "localhost:80,auth-1.example:80", ("localhost:80", "auth-1.example:80")),
    *(("metrics", text, text) for text in ("", "a" * 32, "-._~+/Z9" * 31 + "==")),
    *(("metrics", text, text) for text in ("127.0.0.1:9464", "[::1]:0", "localhost:9464")),
    ("audit_log", "audit.log", "audit.log"),
    *(("page", word, word) for word in ("on", "off", "")),
    ("audit_log", "", ""),
    ("base_url", "https://auth.example.org", "https://auth.example.org"),
    ("base_url", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ("base_url", "http://localhost:5000/auth/", "http://localhost:5000/auth"),
    ("allowed_hosts", " A.Example , [::1]:8080, ", ("a.example", "[::1]:8080")),
    ("username_pattern", r"\w+", re.compile(r"\w+", re.ASCII)),
    ("password_check", "_our.rules2.more:_check", "_our.rules2.more:_check"),
    ("admin_role", "admin", "admin"),
    ("admin_role", "", ""),
    ("cors_origins", " HTTPS://App.Example , app://a, ", ("https://app.example", "app://a")),
    ("cors_origins", "http://[::1],http://a.example:443", ("http://[::1]", "http://a.example:443")),
]

NO_HOST = ("[127.0.0.1]", "[:]", "[12345::]", "[::1]:65536", "a.example:99999")  # of a URI
NO_FILE = ("", ".", "/", "users\0.db")
BAD: dict[str, tuple[str, ...]] = {
    **{name: (str(low - 1), str(high + 1)) for name, (low, high) in RANGES.items()},
    # Python's own spellings, digits that are not ASCII, and more of them than int() reads.
    "token_duration": (
        *("9", "86401", "", "600s", "600.0", "6e2", "+600", "1_000", " 600", "600\n"),
        *("٦٠٠", "9" * 5000),
    ),
    **dict.fromkeys(FLAGS, ("", "1", "True", "yes")),
    **dict.fromkeys(WORDS, ("", "Open", "nits")),
    # It becomes a quoted-string of WWW-Authenticate, or a claim.
    **dict.fromkeys(QUOTED, ("", 'a"b', "a\\b", "a\r\nb", "a\x7fb", "Bücher", "x" * 256)),
    "database": (*NO_FILE, ":memory:"),
    "key_file": (
        *(*NO_FILE, "\ud800", "http://auth.example.org", "http://localhost.example.org"),
        *("http://10.0.0.1/jwks.json", "http://[fe80::1]", "ftp://localhost", "https://"),
        *("https://user:secret@auth.example.org", "https://[::1", "https://auth.example.org/\n"),
        *("https://auth.example.org/a b", "https://auth.example.org/?key", "https://a.b/#top"),
        "file:///etc/passwd",
    ),
    "listen": (
        *("", " , ", "localhost", ":80", "a:", "a:b", "a:80:80", "a b:80", "http://a:80"),
        *("99999", "a:99999", "a:-1", "٣", "::1:80", "[::1]", "unix:/run/x.sock", "tcp://[::1]:80"),
        *(f"{host}:80" for host in NO_HOST[:3]),
    ),
    "page": ("On", "true", "yes", " "),
    "audit_log": NO_FILE[1:],
    "metrics": (
        *("a" * 31, "a" * 256, "=" * 32, f"a b{'c' * 40}", "é" * 40, f"{'a' * 40}\n", "off"),
        *("127.0.0.1", "9464", ":9464", "0.0.0.0:9464", "*:9464", "a.example:9464", "[::]:9464"),
    ),
    "base_url": (
        *("auth.example.org", "//auth.example.org", "ftp://auth.example.org", "https://"),
        *("javascript:alert(1)", "https:///auth", "https://a.example,b.example", "https://[::1"),
        # A password in every Location, and hosts that a browser reads otherwise.
        *("https://user:pass@example.org", "https://example.org\\@evil.example"),
        *("https://example.org:", "https://example.org?", "https://example.org/#top"),
        # Characters that urlsplit removes, header injection, and text that is not ASCII.
        *("https://ex\tample.org", " https://example.org", "https://example.org/a b"),
        *("https://example.org/\r\nSet-Cookie: a=b", "https://bücher.example"),
        *(f"http://{host}" for host in NO_HOST),
    ),
    "allowed_hosts": (
        *("https://example.org", "example.org/auth", "a.example b.example", "*", "[::1"),
        *("a.example,b.example:port", "\N{KELVIN SIGN}.example"),  # its lower case is an ASCII k
        *NO_HOST,
    ),
    "username_pattern": ("[", "(?u)a", "(?\n", "a{99999999999}", "(" * 3000 + ")" * 3000),
    "password_check": (
        *("rules", "rules:", ":check", "rules.check", "rules:check:more", "rules:check.more"),
        *("rules:check()", ".rules:check", "rules:prüfe", "rules:check\n"),
    ),
    "admin_role": ("Admin", "1admin", "admin,staff", "admin ", " ", "a" * 33, "rôle", "admin\n"),
    "cors_origins": (
        *("*", "https://*.example", "file://", "app.example", "//app.example"),
        "null",  # the origin of a page that hides its own
        *("https://app.example/", "https://app.example?a=b", "https://user@app.example"),
        *("https://app.example:", "https://a.example https://b.example", "1app://a.example"),
        # Ports that a browser leaves out or never sends.
        *("https://app.example:443", "http://[::1]:80", "https://a.example:080"),
        *("https://a.example,b.example", "https://\N{KELVIN SIGN}.example"),
        "https://a.example\r\nSet-Cookie: a=b",
        *(f"http://{host}" for host in NO_HOST),
    ),
}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("users.db", "users.db"),
        ("postgresql://ada:hunter2@h/users", "postgresql://h/users"),
        ("postgresql://ada:hunter2@a:1,[::1]:2/users", "postgresql://a:1,[::1]:2/users"),
        ("postgresql://h/users?user=ada&password=hunter2", "postgresql://h/users"),
        ("postgresql://ada:hunter%402@/users", "postgresql:///users"),
        *(
            (f"postgresql://{rest}", "postgresql://***")
            for rest in (
                "ada:hunter/2@h/users",
                "ada:hunter?2@h/users",
                "ada:hunter#2@h/users",
                "ada:hunter%2@h/users",
                "ada:hunter@hunter2@h/users",
                "ada:hunter2",
                "h/users#hunter2",
            )
        ),
        ("mysql://ada:hunter2@h/users", "mysql://***"),
    ],
)
def test_a_database_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secret(url) == shown
    (row, *_) = describe({}, {"database": url})
    assert row.shown == shown
    assert "hunter" not in repr(row)
    if shown.endswith("***"):
        assert "hunter" not in refusal_of({}, {"database": url})
        assert "hunter" not in refusal_of({variable("database"): url})
    else:
        assert "hunter" not in repr(load({}, {"database": url}))


def test_the_secret_of_the_metrics_is_never_shown() -> None:
    secret = "hunter2" * 5
    (row,) = [row for row in describe({}, {"metrics": secret}) if row.name == "metrics"]
    assert row.shown == "***"
    assert "hunter" not in repr(row) + repr(load({}, {"metrics": secret}))
    assert "hunter" not in refusal_of({}, {"metrics": "hunter2"})
    for text in ("", "127.0.0.1:9464"):
        (row,) = [row for row in describe({}, {"metrics": text}) if row.name == "metrics"]
        assert row.shown == text


def test_the_tables_have_every_setting() -> None:
    assert list(DEFAULTS) == list(NAMES) == [setting.name for setting in fields(Settings)]
    assert {name for name, _, _ in GOOD} == set(BAD) == set(NAMES)


def test_the_keywords_are_the_settings() -> None:
    """What a type checker takes for `Service(**settings)` is what there is, in the same order."""
    assert tuple(SettingsKeywords.__annotations__) == NAMES
    assert SettingsKeywords.__required_keys__ == frozenset()


def test_the_defaults_are_those_promised() -> None:
    assert {name: getattr(load({}), name) for name in NAMES} == DEFAULTS
    as_text = {variable(row.name): row.default for row in describe({})}
    assert load(as_text) == load({})


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_valid_value_is_taken_from_the_environment_and_from_python(
    name: str, text: str, value: object
) -> None:
    assert getattr(load({variable(name): text}), name) == value
    assert getattr(load({}, {name: text}), name) == value
    if name != "username_pattern":  # a compiled one could have other flags: it is always text
        assert getattr(load({}, {name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts]
)
def test_an_invalid_value_stops_the_start_by_one_line_with_its_name(name: str, text: str) -> None:
    is_hidden = name == "metrics" and not is_address(text)
    shown = "***" if is_hidden else text
    assert refusal_of({variable(name): text}).startswith(f"{variable(name)} is {shown!r}: ")
    assert refusal_of({}, {name: text}).startswith(f"{name} is {shown!r}: ")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pattern_that_a_later_python_may_read_in_another_way_is_refused() -> None:
    refusal_of({}, {"username_pattern": "[[a-z]+"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("allowed_hosts", "token_duration")
          for value in (None, 600.0, b"600", {"a": 1}, {"a"}, ["a", 1])),
        *((name, 5) for name in ("database", "realm", "allowed_hosts")),
        ("database", ["a", "b"]),
        ("realm", Path("realm")),
        ("username_pattern", re.compile("[a-z]+", re.IGNORECASE)),
        ("token_duration", True),
        ("public_profiles", 1),
    ],
)  # fmt: skip
def test_a_keyword_of_a_wrong_type_is_refused(name: str, value: object) -> None:
    expected = {
        "allowed_hosts": "a list of texts",
        "token_duration": "a whole number",
        "public_profiles": "a bool",
        "database": "a text or a Path",
    }.get(name, "a text")
    assert refusal_of({}, {name: value}) == (
        f"{name} is of the wrong type: {type(value).__name__}, not {expected}."
    )


@pytest.mark.parametrize("number", [10**12, 10**5000, -(10**5000)], ids=["more", "huge", "minus"])
def test_a_number_that_python_would_not_print_is_refused(number: int) -> None:
    assert refusal_of({}, {"token_duration": number}).startswith("token_duration is ")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("database", Path("a.db"), "a.db"),
        ("audit_log", Path("a.log"), "a.log"),
        ("allowed_hosts", ["a.example", "b.example"], ("a.example", "b.example")),
        ("allowed_hosts", [], ()),
    ],
)
def test_a_keyword_may_be_what_python_has_at_hand(name: str, value: object, meant: object) -> None:
    assert getattr(load({}, {name: value}), name) == meant


def test_an_unknown_name_is_refused() -> None:
    for name, hint in (
        ("RESTAUTH_TOKEN_DURATON", ": the nearest is RESTAUTH_TOKEN_DURATION"),
        ("RESTAUTH_database", ": the nearest is RESTAUTH_DATABASE"),
        *(("RESTAUTH_DB", ""), ("RESTAUTH_", ""), ("RESTAUTH_A\nB", "")),
    ):
        assert refusal_of({name: "60"}) == f"There is no setting {name!r}{hint}."
    for name, hint in (
        *((name, ": the nearest is token_duration")
          for name in ("token_duraton", "TOKEN_DURATION", "RESTAUTH_TOKEN_DURATION")),
        ("requird", ": the nearest is required"),  # a word of the guard
        ("a\nb", ""),
    ):  # fmt: skip
        assert refusal_of({}, {name: 60}) == f"There is no setting {name!r}{hint}."


# https://kubernetes.io/docs/tutorials/services/connect-applications-service/ and Docker's links
SERVICE_LINKS = {
    "RESTAUTH_SERVICE_HOST": "10.0.0.1",
    "RESTAUTH_SERVICE_PORT": "80",
    "RESTAUTH_SERVICE_PORT_HTTP": "80",
    "RESTAUTH_PORT": "tcp://10.0.0.1:80",
    "RESTAUTH_PORT_5000_TCP": "tcp://10.0.0.1:5000",
    "RESTAUTH_PORT_5000_TCP_PROTO": "tcp",
    "RESTAUTH_PORT_5000_TCP_PORT": "5000",
    "RESTAUTH_PORT_5000_TCP_ADDR": "10.0.0.1",
    "RESTAUTH_PORT_53_UDP": "udp://[fd00::1]:53",
    "RESTAUTH_PORT_53_UDP_PROTO": "udp",
    "RESTAUTH_PORT_38412_SCTP": "sctp://fd00::1:38412",  # as older versions write it
    "RESTAUTH_PORT_38412_SCTP_PROTO": "sctp",
    "RESTAUTH_PORT_38412_SCTP_PORT": "38412",
    "RESTAUTH_PORT_38412_SCTP_ADDR": "fd00::1",
    "RESTAUTH_ADMIN_PAGES_SERVICE_HOST": "fd00::1",  # of a Service called restauth-admin-pages
    "RESTAUTH_ADMIN_PAGES_SERVICE_PORT_HTTP_ALT": "8080",  # and its port called http-alt
    "RESTAUTH_ADMIN_PAGES_PORT": "tcp://[fd00::1]:80",
    "RESTAUTH_DB_PORT_5432_TCP": "tcp://10.0.0.1:5432",  # of a Service called restauth-db
    "RESTAUTH_LISTEN_PORT": "tcp://10.0.0.1:80",  # of one that is called as a setting
}


@pytest.mark.parametrize("name", SERVICE_LINKS)
def test_what_kubernetes_sets_for_a_service_is_no_setting(name: str) -> None:
    assert load({name: SERVICE_LINKS[name]}) == load({})
    for wrong in ("", "x", "tcp://", SERVICE_LINKS[name] + "\n"):  # so it is not by the name alone
        assert refusal_of({name: wrong}).startswith(f"There is no setting '{name}'")


def test_a_mistyped_setting_is_no_link_of_kubernetes() -> None:
    for name, value in (
        ("RESTAUTH_LISTEN_SERVICE", "10.0.0.1"),
        ("RESTAUTH_LISTEN_PORT", "5000"),
        ("RESTAUTH_HOST", "10.0.0.1"),
        ("RESTAUTH_PORT", "5000"),
        ("RESTAUTH_port", "tcp://10.0.0.1:80"),
    ):
        refusal_of({name: value})


def test_no_setting_has_a_name_that_kubernetes_may_set() -> None:
    """So a Service can never change one, whatever it is called."""
    ends = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)")
    assert [name for name in NAMES if ends.fullmatch(name.upper())] == []


def test_the_variables_of_others_are_not_looked_at() -> None:
    assert load({"TOKEN_DURATION": "soon", "restauth_realm": "", "XRESTAUTH_A": "b"}) == load({})


def test_a_setting_is_described_as_it_was_given_and_by_its_source() -> None:
    environ = {"RESTAUTH_BASE_URL": "https://example.org/", "RESTAUTH_REALM": "environment"}
    keywords: dict[str, Any] = {"realm": "keyword", "allowed_hosts": ["a", "b"]}
    rows = {row.name: row for row in describe(environ, {**keywords, "public_profiles": False})}
    assert load(environ, keywords).realm == "keyword"
    assert tuple(rows) == NAMES
    given = {name: (row.value, row.source) for name, row in rows.items() if row.source != "default"}
    assert given == {
        "base_url": ("https://example.org/", "environment"),
        "allowed_hosts": ("a,b", "keyword"),
        "public_profiles": ("false", "keyword"),
        "realm": ("keyword", "keyword"),
    }
    assert rows["bcrypt_rounds"].value == rows["bcrypt_rounds"].default == "12"
    assert all(row.help and row.help.isprintable() for row in rows.values())


def test_a_flag_that_is_no_setting_has_the_same_two_texts() -> None:
    assert [read_flag("x", value) for value in (True, "true", False, "false")] == [1, 1, 0, 0]
    for value in ("", "yes"):
        with pytest.raises(InvalidSetting, match=f"^x is {value!r}: "):
            read_flag("x", value)
    for wrong in (None, 1, 10**5000):  # which has more digits than Python writes
        with pytest.raises(InvalidSetting, match="x is of the wrong type"):
            read_flag("x", wrong)


@pytest.mark.parametrize(
    ("one", "other"),
    [("database", "key_file"), ("database", "audit_log"), ("key_file", "audit_log")],
)
def test_no_file_is_two_things(one: str, other: str, tmp_path: Path) -> None:
    """Lines of the audit log in the key ring would stop the next start."""
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(InvalidSetting, match=rf"{one} \(.*\) and {other} \(.*\) name one file"):
        load({}, {one: tmp_path / "file", other: str(tmp_path / "link")})


@given(name=st.sampled_from(NAMES), text=st.text(st.characters()))
@hypothesis_settings(max_examples=300, derandomize=True, database=None, deadline=None)
def test_any_text_is_a_value_or_one_clear_line(name: str, text: str) -> None:
    try:
        load({variable(name): text})
    except InvalidSetting as refusal:
        message = str(refusal)
    else:
        return
    assert message.startswith(variable(name))
    assert message.isprintable()


EXPLOSIVE = [
    *("([a-z0-9]+[._-]?)+", "(a+)+b", "(a|aa)+", "(a|b|ab)*c", "(x+x+)+y", "(.*)*x", "((a+)+)+b"),
    *(r"([a-z]*)*@x", r"(\w+\.?)*", r"x-([a-z]+)+", r"user\.(\d+)+", "[A-Z]([a-z]+)+"),
]
HARMLESS = [
    *("[a-z0-9._-]{3,32}", ".*", "(.+)+", r"[^\W\d_][\w.-]*", "[a-z]+(?:[._-][a-z0-9]+)*"),
    *(r"(?=.*[a-z])(?=.*\d)[a-z\d]{4,20}", r"[a-z]+@[a-z]+(\.[a-z]+)+", "([a-z]++[._-]?)+"),
]


def test_a_pattern_that_a_name_can_stop_is_refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern in HARMLESS:
        assert load({}, {"username_pattern": pattern}).username_pattern.pattern == pattern
    for pattern in EXPLOSIVE:
        began = time.thread_time()
        assert "is repeated already" in refusal_of({}, {"username_pattern": pattern})
        assert time.thread_time() - began < 5, pattern  # a half, where nothing else runs
        monkeypatch.setattr(settings, "MAX_MATCH_TIME", 0.005)  # the others are not timed


def test_a_pattern_that_is_slow_in_another_way_is_not_tried_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "MAX_PROBING_TIME", 0)
    assert load({}, {"username_pattern": "[a-z]+"}).username_pattern.pattern == "[a-z]+"
