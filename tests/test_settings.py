"""Every setting: what it takes from the environment and from Python, and what stops the start."""

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from restauth.errors import InvalidSetting
from restauth.settings import Settings, describe, load

NAMES = [setting.name for setting in fields(Settings)]


def variable(name: str) -> str:
    return f"RESTAUTH_{name.upper()}"


def refusal_of(environ: dict[str, str], keywords: dict[str, object] | None = None) -> str:
    """The one clear line that stops the start."""
    with pytest.raises(InvalidSetting) as caught:
        load(environ, keywords)
    message = str(caught.value)
    assert message.isprintable()  # so it is one line
    assert message.endswith(".")
    return message


DEFAULTS = {
    "database": Path("restauth.db"),
    "key_file": Path("restauth.keys"),
    "base_url": "",
    "allowed_hosts": (),
    "registration": "open",
    "public_profiles": True,
    "username_pattern": re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII),
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
    "credential_cache": 300,
    "realm": "Authentication Required",
    "issuer": "restauth",
    "audience": "restauth",
    "audit_log": "",
    "cors_origins": (),
    "require_https": False,
}


def test_the_defaults_are_those_promised() -> None:
    assert {name: getattr(load({}), name) for name in NAMES} == DEFAULTS


@pytest.mark.parametrize("name", NAMES)
def test_a_default_is_what_its_text_says(name: str) -> None:
    text = {row.name: row.default for row in describe({})}[name]
    assert getattr(load({variable(name): text}), name) == DEFAULTS[name]


GOOD = [
    # name, text, value
    ("database", "/var/lib/restauth/users.db", Path("/var/lib/restauth/users.db")),
    ("database", "ünïcode and blanks.db", Path("ünïcode and blanks.db")),
    ("key_file", "../keys", Path("../keys")),
    ("base_url", "https://auth.example.org", "https://auth.example.org"),
    ("base_url", "http://localhost:5000", "http://localhost:5000"),
    ("base_url", "https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ("base_url", "https://example.org/auth", "https://example.org/auth"),
    ("base_url", "", ""),
    ("allowed_hosts", "auth.example.org", ("auth.example.org",)),
    ("allowed_hosts", "a.example,[::1]:8080", ("a.example", "[::1]:8080")),
    ("allowed_hosts", "", ()),
    ("registration", "open", "open"),
    ("registration", "closed", "closed"),
    ("public_profiles", "true", True),
    ("public_profiles", "false", False),
    ("username_pattern", "[a-z]{1,8}", re.compile("[a-z]{1,8}", re.ASCII)),
    ("username_pattern", r"\w+", re.compile(r"\w+", re.ASCII)),
    ("username_pattern", ".*", re.compile(".*", re.ASCII)),
    ("password_policy", "open", "open"),
    ("password_policy", "nist", "nist"),
    ("password_check", "", ""),
    ("password_check", "rules:check", "rules:check"),
    ("password_check", "_our.rules2.house:_check", "_our.rules2.house:_check"),
    ("bcrypt_rounds", "10", 10),
    ("bcrypt_rounds", "15", 15),
    ("token_duration", "10", 10),
    ("token_duration", "86400", 86_400),
    ("session_duration", "60", 60),
    ("session_duration", "2592000", 2_592_000),
    ("refresh_duration", "60", 60),
    ("refresh_duration", "2592000", 2_592_000),
    ("free_failures", "0", 0),
    ("free_failures", "100", 100),
    ("max_failures", "0", 0),
    ("max_failures", "10000", 10_000),
    ("peer_failures", "0", 0),
    ("peer_failures", "10000", 10_000),
    ("credential_cache", "0", 0),
    ("credential_cache", "3600", 3600),
    ("realm", "Staff only!", "Staff only!"),
    ("issuer", "https://auth.example.org/", "https://auth.example.org/"),
    ("audience", "shop", "shop"),
    *((name, "x" * 255, "x" * 255) for name in ("realm", "issuer", "audience")),
    ("import_sha_crypt", "true", True),
    ("audit_log", "audit.log", "audit.log"),
    ("cors_origins", "https://app.example", ("https://app.example",)),
    ("cors_origins", "http://localhost:8081,http://[::1]", ("http://localhost:8081", "http://[::1]")),
    ("cors_origins", " HTTPS://App.Example , app://a, ", ("https://app.example", "app://a")),
    ("cors_origins", "http://a.example:443", ("http://a.example:443",)),
    ("cors_origins", "", ()),
    ("require_https", "true", True),
    ("require_https", "false", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_good_value_is_taken_from_wherever_it_comes(name: str, text: str, value: object) -> None:
    assert getattr(load({variable(name): text}), name) == value
    assert getattr(load({}, {name: text}), name) == value
    if name != "username_pattern":  # a compiled one could have other flags: it is always text
        assert getattr(load({}, {name: value}), name) == value


BAD = [
    # name, text, remark
    ("database", "", "no name"),
    ("database", ".", "no name"),
    ("database", "/", "no name"),
    ("database", ":memory:", "another database in every thread"),
    ("database", "postgresql://localhost/users", "another engine"),
    ("database", "users\0.db", "the system would cut it"),
    ("key_file", "", "no name"),
    ("key_file", "file:///etc/restauth.keys", "an address is no file"),
    ("base_url", "auth.example.org", "no scheme"),
    ("base_url", "//auth.example.org", "no scheme"),
    ("base_url", "ftp://auth.example.org", "another scheme"),
    ("base_url", "javascript:alert(1)", "another scheme"),
    ("base_url", "https://", "no host"),
    ("base_url", "https:///auth", "no host"),
    ("base_url", "https://user:pass@example.org", "a password in every Location"),
    ("base_url", "https://example.org@evil.example", "leads elsewhere"),
    ("base_url", "https://example.org\\@evil.example", "leads elsewhere in a browser"),
    ("base_url", "https://a.example,b.example", "two hosts"),
    ("base_url", "https://[::1", "an open bracket"),
    ("base_url", "https://example.org:", "an empty port"),
    ("base_url", "https://example.org?a=b", "a query"),
    ("base_url", "https://example.org/#top", "a fragment"),
    ("base_url", "https://example.org?", "an empty query"),
    ("base_url", "https://example.org/#", "an empty fragment"),
    ("base_url", "https://example.org/a b", "a blank"),
    ("base_url", "https://example.org/\r\nSet-Cookie: a=b", "header injection"),
    ("base_url", "https://ex\tample.org", "a tab, which urlsplit removes"),
    ("base_url", " https://example.org", "a blank, which urlsplit strips"),
    ("base_url", "https://bücher.example", "not ASCII"),
    ("base_url", "https://example.org/bücher", "not ASCII"),
    ("allowed_hosts", "https://example.org", "an address"),
    ("allowed_hosts", "example.org/auth", "a path"),
    ("allowed_hosts", "a.example b.example", "not comma-separated"),
    ("allowed_hosts", "*", "no wildcards"),
    ("allowed_hosts", "a.example,b.example:port", "one good, one bad"),
    ("allowed_hosts", "[::1", "an open bracket"),
    ("allowed_hosts", "\N{KELVIN SIGN}.example", "whose lower case is an ASCII letter"),
    ("registration", "Open", "case counts"),
    ("registration", "", "empty is no word"),
    ("public_profiles", "1", "nothing is guessed"),
    ("public_profiles", "True", "Python's spelling"),
    ("public_profiles", "", "empty is no flag"),
    ("username_pattern", "[", "no regular expression"),
    ("username_pattern", "(?u)a", "against re.ASCII"),
    ("username_pattern", "(?\n", "a line break in the parser's words"),
    ("username_pattern", "[\n-\t]", "a line break in the parser's words too"),
    ("username_pattern", "[[a-z]+", "a later Python may read it otherwise"),
    ("username_pattern", "a{99999999999}", "more repeats than re counts"),
    ("username_pattern", "(" * 3000 + ")" * 3000, "deeper than re reads"),
    ("password_policy", "NIST", "case counts"),
    ("password_policy", "", "empty is no word"),
    ("password_check", "rules", "no function"),
    ("password_check", "rules:", "no function"),
    ("password_check", ":check", "no module"),
    ("password_check", "rules.check", "a dot before the function"),
    ("password_check", "rules:check:more", "two colons"),
    ("password_check", "rules:check.more", "a method"),
    ("password_check", "rules:check()", "a call"),
    ("password_check", ".rules:check", "relative to nothing"),
    ("password_check", "rules:prüfe", "not ASCII"),
    ("password_check", "rules:check\n", "a line break"),
    ("bcrypt_rounds", "9", "too cheap"),
    ("bcrypt_rounds", "16", "too dear"),
    ("token_duration", "9", "too short"),
    ("token_duration", "86401", "too long"),
    ("token_duration", "", "no number"),
    ("token_duration", "600s", "no unit"),
    ("token_duration", "600.0", "not whole"),
    ("token_duration", "6e2", "not whole"),
    ("token_duration", "+600", "a sign"),
    ("token_duration", "1_000", "Python's own spelling"),
    ("token_duration", " 600", "a blank"),
    ("token_duration", "600\n", "a line break"),
    ("token_duration", "٦٠٠", "digits, but not ASCII ones"),
    ("token_duration", "9" * 5000, "more digits than int() reads"),
    ("session_duration", "59", "too short"),
    ("session_duration", "2592001", "too long"),
    ("refresh_duration", "59", "too short"),
    ("refresh_duration", "2592001", "too long"),
    ("free_failures", "-1", "negative"),
    ("free_failures", "101", "too many"),
    ("max_failures", "-1", "negative"),
    ("max_failures", "10001", "too many"),
    ("peer_failures", "-1", "negative"),
    ("peer_failures", "10001", "too many"),
    ("credential_cache", "-1", "negative"),
    ("credential_cache", "3601", "too long"),
    ("realm", "", "empty"),
    ("realm", 'a"b', "ends the quoted-string"),
    ("realm", "a\\b", "escapes in the quoted-string"),
    ("realm", "a\r\nb", "header injection"),
    ("realm", "Bücher", "not ASCII"),
    *((name, "x" * 256, "too long") for name in ("realm", "issuer", "audience")),
    ("issuer", "", "empty"),
    ("issuer", "a\tb", "a tab"),
    ("audience", "", "empty"),
    ("audience", "a\x7fb", "DEL"),
    ("import_sha_crypt", "1", "nothing is guessed"),
    ("audit_log", "syslog://x", "not a file"),
    ("cors_origins", "*", "no wildcards"),
    ("cors_origins", "https://\N{KELVIN SIGN}.example", "whose lower case is an ASCII letter"),
    ("cors_origins", "https://a.example:080", "a port that no browser says"),
    ("cors_origins", "https://*.example", "no wildcards"),
    ("cors_origins", "null", "whoever hides its origin has that one"),
    ("cors_origins", "file://", "no host"),
    ("cors_origins", "app.example", "no scheme"),
    ("cors_origins", "//app.example", "no scheme"),
    ("cors_origins", "1app://a.example", "no scheme begins with a digit"),
    ("cors_origins", "https://app.example/", "a slash"),
    ("cors_origins", "https://app.example/page", "a path"),
    ("cors_origins", "https://app.example?a=b", "a query"),
    ("cors_origins", "https://user@app.example", "a user"),
    ("cors_origins", "https://app.example:", "an empty port"),
    ("cors_origins", "https://app.example:443", "a port that no browser says"),
    ("cors_origins", "http://[::1]:80", "a port that no browser says"),
    ("cors_origins", "https://a.example https://b.example", "not comma-separated"),
    ("cors_origins", "https://a.example,b.example", "one good, one bad"),
    ("cors_origins", "https://a.example\r\nSet-Cookie: a=b", "header injection"),
    ("cors_origins", "https://bücher.example", "not ASCII"),
    ("require_https", "yes", "nothing is guessed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [pytest.param(name, text, id=f"{name}: {remark}") for name, text, remark in BAD],
)
def test_a_bad_value_stops_the_start_by_one_line_with_its_name(name: str, text: str) -> None:
    assert refusal_of({variable(name): text}).startswith(f"{variable(name)} is {text!r}: ")
    assert refusal_of({}, {name: text}).startswith(f"{name} is {text!r}: ")


def test_every_setting_stands_in_both_tables() -> None:
    assert {name for name, _, _ in GOOD} == {name for name, _, _ in BAD} == set(NAMES)


WRONG_TYPES = [None, 600.0, b"600", {"a": 1}, {"a"}, ["a", 1], object()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("allowed_hosts", "token_duration") for value in WRONG_TYPES],
        ("database", True),
        ("database", 5),
        ("database", ["a", "b"]),
        ("realm", 5),
        ("realm", Path("realm")),
        ("allowed_hosts", 5),
        ("username_pattern", re.compile(b"[a-z]+")),
        ("username_pattern", re.compile("[a-z]+", re.IGNORECASE)),
        ("token_duration", ["600"]),
        ("token_duration", True),
        ("credential_cache", False),
        ("public_profiles", 1),
    ],
)
def test_a_keyword_of_a_wrong_type_is_refused(name: str, value: object) -> None:
    assert refusal_of({}, {name: value}) == (
        f"{name} is of the wrong type: {type(value).__name__}."
    )


@pytest.mark.parametrize("number", [10**5000, -(10**5000)], ids=["huge", "huge and negative"])
def test_a_number_that_python_would_not_print_is_refused(number: int) -> None:
    assert refusal_of({}, {"token_duration": number}).startswith("token_duration is ")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("database", "a.db", Path("a.db")),
        ("allowed_hosts", ["a.example", "b.example"], ("a.example", "b.example")),
        ("allowed_hosts", [], ()),
    ],
)
def test_a_keyword_may_be_what_python_has_at_hand(name: str, value: object, meant: object) -> None:
    assert getattr(load({}, {name: value}), name) == meant


def test_an_unknown_variable_is_refused() -> None:
    assert refusal_of({"RESTAUTH_TOKEN_DURATON": "60"}) == (
        "There is no setting 'RESTAUTH_TOKEN_DURATON'."
    )
    assert refusal_of({"RESTAUTH_": "60"}) == "There is no setting 'RESTAUTH_'."


def test_a_line_break_in_an_unknown_name_stays_on_one_line() -> None:
    refusal_of({"RESTAUTH_A\nB": "1"})
    refusal_of({}, {"a\nb": "1"})


def test_a_variable_has_one_spelling() -> None:
    assert refusal_of({"RESTAUTH_database": "a.db"}) == "There is no setting 'RESTAUTH_database'."


def test_an_unknown_keyword_is_refused() -> None:
    assert refusal_of({}, {"token_duraton": 60}) == "There is no setting 'token_duraton'."
    assert refusal_of({}, {"TOKEN_DURATION": 60}) == "There is no setting 'TOKEN_DURATION'."


def test_the_variables_of_others_are_none_of_ours() -> None:
    assert load({"TOKEN_DURATION": "soon", "restauth_realm": "", "XRESTAUTH_A": "b"}) == load({})


def test_an_address_ends_without_a_slash() -> None:
    assert load({"RESTAUTH_BASE_URL": "https://example.org/auth/"}).base_url == (
        "https://example.org/auth"
    )


def test_hosts_are_compared_without_blanks_and_case() -> None:
    assert load({"RESTAUTH_ALLOWED_HOSTS": " A.Example , b.example, "}).allowed_hosts == (
        "a.example",
        "b.example",
    )


def test_a_keyword_goes_before_the_environment_and_both_before_the_default() -> None:
    environ = {"RESTAUTH_REALM": "environment", "RESTAUTH_ISSUER": "environment"}
    keywords = {"realm": "keyword"}
    values = load(environ, keywords)
    assert (values.realm, values.issuer, values.audience) == ("keyword", "environment", "restauth")
    sources = {row.name: row.source for row in describe(environ, keywords)}
    assert (sources["realm"], sources["issuer"]) == ("keyword", "environment")
    assert {sources[name] for name in NAMES if name not in ("realm", "issuer")} == {"default"}


def test_a_setting_describes_itself_as_it_was_given() -> None:
    rows = {
        row.name: row
        for row in describe(
            {"RESTAUTH_BASE_URL": "https://example.org/"},
            {"allowed_hosts": ["a.example", "b.example"], "public_profiles": False},
        )
    }
    assert list(rows) == NAMES
    assert rows["base_url"].value == "https://example.org/"
    assert rows["allowed_hosts"].value == "a.example,b.example"
    assert rows["public_profiles"].value == "false"
    assert rows["bcrypt_rounds"].value == rows["bcrypt_rounds"].default == "12"
    assert all(row.help and row.help.isprintable() for row in rows.values())


def test_a_setting_never_changes_under_way() -> None:
    values = load({})
    for name in NAMES:
        with pytest.raises(FrozenInstanceError):
            setattr(values, name, None)


@given(name=st.sampled_from(NAMES), text=st.text(st.characters()))
@hypothesis_settings(max_examples=300, derandomize=True, database=None)
def test_any_text_is_a_value_or_one_clear_line(name: str, text: str) -> None:
    try:
        load({variable(name): text})
    except InvalidSetting as refusal:
        message = str(refusal)
    else:
        return
    assert message.startswith(variable(name))
    assert message.isprintable()
