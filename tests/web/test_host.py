"""The Host header: the whole grammar of RFC 3986 section 3.2.2, and nothing beside it."""

import re
from urllib.parse import urlsplit

import hypothesis
import pytest
from hypothesis import strategies as st

from restauth.web.host import Host, parse
from tests.web.conftest import ANY_TEXT, total

WELL_FORMED = {
    # Names, and IPv4.
    "": ("", None), "localhost": ("localhost", None), "A.example:8000": ("A.example", "8000"),
    "a.example:": ("a.example", ""), ":5000": ("", "5000"), "a:099999": ("a", "099999"),
    "127.0.0.1:5000": ("127.0.0.1", "5000"), "127.0.0.256": ("127.0.0.256", None),
    "under_score": ("under_score", None), "xn--bcher-kva.example": ("xn--bcher-kva.example", None),
    "a~b!$&'()*+,;=": ("a~b!$&'()*+,;=", None),
    # Percent-encoded.
    "%61.example": ("%61.example", None), "a%2f%E4:1": ("a%2f%E4", "1"),
    # IPv6, and what comes after it.
    "[::]": ("[::]", None), "[::1]:5000": ("[::1]", "5000"), "[::1]:": ("[::1]", ""),
    "[2001:DB8::1]:443": ("[2001:DB8::1]", "443"), "[1:2:3:4:5:6:7:8]": ("[1:2:3:4:5:6:7:8]", None),
    "[::ffff:192.0.2.1]": ("[::ffff:192.0.2.1]", None),
    "[1:2:3:4:5:6:7::]": ("[1:2:3:4:5:6:7::]", None),
    "[v1.fe80::a+en1]": ("[v1.fe80::a+en1]", None), "[VF.a]:1": ("[VF.a]", "1"),
}  # fmt: skip
MALFORMED = [
    *("a.example/", "a.example?", "a.example#", "a.example\\", "user@a.example", "<script>", '"'),
    *("a.example:80:80", "a.example:http", "a.example:-1", "a.example: 1", "a.example:\u0661"),
    *("a.example, b.example", " a.example", "a.example ", "a.example\n", "a\tb", "b\xfccher"),
    *("a%zz", "a%4", "a%", "%", "%%20", "a%6\u0661", "a|b", "a^b", "a`b", "{a}"),
    *("::1", "[::1", "::1]", "[::1]x", "[::1]]", "[[::1]]", "[]", "[:]", "[:::]", "[12345::]"),
    *("[g::]",),
    *("[1.2.3.4]", "[127.0.0.1]", "[::1.2.3]", "[::1.2.3.256]", "[::01.2.3.4]", "[1.2.3.4::]"),
    *("[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[1::2::3]", "[1:2:3:4:5:6:7:8::]", "[:1::]"),
    *("[fe80::1%25eth0]", "[fe80::1%eth0]", "[localhost]", "[::1]:x", "[ ::1]"),
    *("[v1]", "[v1.]", "[v.a]", "[vg.a]", "[v1.a%41]", "[v1.a/b]", "[w1.a]", "[v1:a]"),
]  # fmt: skip

# IPv6address of RFC 3986, in its own nine alternatives.
H16 = "[0-9A-Fa-f]{1,4}"
OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
LS32 = rf"(?:{H16}:{H16}|{OCTET}(?:\.{OCTET}){{3}})"
IPV6 = re.compile(
    "|".join(
        [
            f"(?:{H16}:){{6}}{LS32}",
            f"::(?:{H16}:){{5}}{LS32}",
            f"(?:{H16})?::(?:{H16}:){{4}}{LS32}",
            f"(?:(?:{H16}:){{0,1}}{H16})?::(?:{H16}:){{3}}{LS32}",
            f"(?:(?:{H16}:){{0,2}}{H16})?::(?:{H16}:){{2}}{LS32}",
            f"(?:(?:{H16}:){{0,3}}{H16})?::{H16}:{LS32}",
            f"(?:(?:{H16}:){{0,4}}{H16})?::{LS32}",
            f"(?:(?:{H16}:){{0,5}}{H16})?::{H16}",
            f"(?:(?:{H16}:){{0,6}}{H16})?::",
        ]
    )
)
NEARLY_IPV6 = st.lists(
    st.sampled_from(["0", "1", "ab", "FFFF", "12345", ":", ":", "::", "1.2.3.4", "255.", "g"]),
    max_size=17,
).map("".join) | st.ip_addresses(v=6).map(lambda address: address.exploded)


@pytest.mark.parametrize("text", WELL_FORMED)
def test_a_well_formed_host_has_its_parts(text: str) -> None:
    assert parse(text) == Host(*WELL_FORMED[text])


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_host_has_none(text: str) -> None:
    assert parse(text) is None


@total
@hypothesis.given(NEARLY_IPV6)
def test_what_is_an_ipv6_address_the_standard_says(text: str) -> None:
    assert (parse(f"[{text}]") is not None) == (IPV6.fullmatch(text) is not None)


@total
@hypothesis.given(ANY_TEXT | st.text("a%4[]:.v1", max_size=12))
def test_any_text_is_a_host_of_an_address_or_none(text: str) -> None:
    host = parse(text)
    if host is not None:
        url = urlsplit(f"http://{text}/path?query")
        assert (url.netloc, url.path, url.query) == (text, "/path", "query")
        assert text == host.name if host.port is None else text == f"{host.name}:{host.port}"
