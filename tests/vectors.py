"""Facts from outside: published examples and hashes made by other programs, one remark a row.

Rule: data only. The remark is the row's key, so that a failing test names it.
"""

# ruff: noqa: E501 - a fact, a line

# header: user-id, password
BASIC_HEADERS = {
    "RFC 7617 section 2": ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
    "RFC 7617 section 2.1, in UTF-8": ("Basic dGVzdDoxMjPCow==", "test", "123£"),
    "the scheme has no case, RFC 9110": ("bAsIc dXNlcjp4", "user", "x"),
    "one blank and more, RFC 9110": ("Basic    dXNlcjp4", "user", "x"),
    "one padding character": ("Basic dXNlcjo=", "user", ""),
    "two padding characters": ("Basic dXNlcjp4eQ==", "user", "xy"),
    "the first colon ends the user-id": ("Basic dXNlcjphOmI6Og==", "user", "a:b::"),
    "blanks are not cut off": ("Basic dXNlcjogeCA=", "user", " x "),
    "a blank in the user-id": ("Basic YSBiOng=", "a b", "x"),
    "control characters in a password": ("Basic dXNlcjphAGIK", "user", "a\0b\n"),
    "slash and plus of the alphabet": ("Basic dXNlcjo/Pn4/Pg==", "user", "?>~?>"),
    "beyond Latin-1": ("Basic w5xuw68gY8O0ZMOpOuKck/CfkI4=", "Ünï côdé", "✓🐎"),
    "a token as user-id (REST-auth)": (
        "Basic ZXlKaGJHY2lPaUpJVXpJMU5pSjkuZTMwLmMybG46eA==",
        "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
        "x",
    ),
}

# header, token
BEARER_HEADERS = {
    "RFC 6750 section 2.1": ("Bearer mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
    "the scheme has no case, RFC 9110": ("bEARER a.b.c", "a.b.c"),
    "one blank and more, RFC 9110": ("Bearer   a.b.c", "a.b.c"),
    "every character of a token68": ("Bearer aZ09-._~+/==", "aZ09-._~+/=="),
}

# Headers of other schemes: no request is refused for them.
OTHER_SCHEMES = {
    "RFC 7616 section 3.9.1, cut": 'Digest username="Mufasa", realm="http-auth@example.org"',
    "RFC 4559 section 5": "Negotiate a87421000492aa874209af8bc028",
    "a scheme alone": "Negotiate",
    "a longer word than Basic": "BasicAuth dXNlcjp4",
    "a shorter word than Bearer": "Bear a.b.c",
    "every kind of tchar, RFC 9110 section 5.6.2": "!#$%&'*+-.^_`|~09azAZ x",
    "longer than any header of ours": "Negotiate " + "a" * 10_000,
}

# Headers that are for Basic or Bearer, or for no scheme at all, and cannot be used.
MALFORMED_HEADERS = {
    "no scheme": ["", " ", " Basic dXNlcjp4", "dXNlcjp4eQ==", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln?"],
    "not ASCII": ["Básic dXNlcjp4", "\uff22asic dXNlcjp4", "Bearer é.é.é", "Bearer \ud800"],
    "no blank": ["Basic: dXNlcjp4", "Bearer=a.b.c", "Basic\tdXNlcjp4", "Basic\u00a0dXNlcjp4"],
    "nothing behind it": ["Basic", "Bearer", "Basic ", "Bearer "],
    "something behind it": ["Basic dXNlcjp4 ", "Basic dXNlcjp4\n", "Bearer a.b.c\0"],
    "two, joined by a server": ["Basic dXNlcjp4, Basic dXNlcjp4", "Bearer a.b.c,Basic dXNlcjp4"],
    "no token68": ["Bearer a.b.c d.e.f", 'Bearer "a.b.c"', 'Bearer token="a.b.c"'],
    "8193 characters": ["Bearer " + "a" * 8186],
    "another alphabet": ["Basic dXNl cjp4", "Basic dXNl\ncjp4", "Basic dXNlcjo_Pn4_Pg==", "Basic dXNl.cjp4"],
    "no or too little padding": ["Basic dXNlcjp4eQ", "Basic dXNlcjp4eQ="],
    "too much padding": ["Basic dXNlcjp4eQ===", "Basic dXNlcjp4====", "Basic ===="],
    "data after the padding": ["Basic dXNlcjp4eQ==dXNl"],
    "one character more": ["Basic dXNlcjp4e"],
    "stray bits in the last character": ["Basic dXNlcjp4eR=="],
    "Latin-1 and UTF-16": ["Basic Y2Fm6Tp4", "Basic //51AHMAZQByADoAeAA="],
    "an overlong NUL": ["Basic wIB1c2VyOng=", "Basic dXNlcjrAgA=="],
    "a surrogate in UTF-8": ["Basic dXNlcu2ggDp4", "Basic dXNlcjrtoIA="],
    "no colon": ["Basic QWxhZGRpbg=="],
    "no user-id": ["Basic Om9wZW4gc2VzYW1l", "Basic Og=="],
    "a NUL, a line break, an escape, a DEL": ["Basic dXMAZXI6eA==", "Basic dXMNCmVyOng=", "Basic G1sySjp4", "Basic dXNlcn86eA=="],
}  # fmt: skip

# RFC 7515 appendix A.1: header, payload, signature, key (all Base64url)
JWS_EXAMPLE = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
)

# algorithm, private JWK, header, payload, signature
PAIR_EXAMPLES = {
    "RFC 8037 appendix A.1 and A.4": (
        "EdDSA",
        {"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        "eyJhbGciOiJFZERTQSJ9",
        "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
    "RFC 7515 appendix A.3": (
        "ES256",
        {"kty": "EC", "crv": "P-256", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        "eyJhbGciOiJFUzI1NiJ9",
        JWS_EXAMPLE[1],
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
}  # fmt: skip

# Published private JWKs that sign nothing.
FAMOUS_PAIRS = {
    **{remark: pair[1] for remark, pair in PAIR_EXAMPLES.items()},
    "RFC 7517 appendix A.2": {"kty": "EC", "crv": "P-256", "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
}  # fmt: skip

# algorithm: private JWKs made by the crypto module of Node 20
PAIRS = {
    "EdDSA": {"kty": "OKP", "crv": "Ed25519", "d": "gx8AhNUZbESWxAnxZRqjF2rr3c3a333cP-uchvjvA_Q", "x": "6bLCGBBiRSZhx8qjVvocK8JtRBJ0J5lXFqzNohcwN0w"},
    "ES256": {"kty": "EC", "crv": "P-256", "d": "I5-AUYwBgaVsK6R4AKjw-iabN-YtX22zx-3V-HIV5A8", "x": "YvfWgJLR1jIFuwWrSA_g3ALTsAcjLTJHc8yqNk6uxDg", "y": "OpPGPxMCk9HbQf1Gq3QctkgXWw0rwsVvyxLhDpVbjXQ"},
}  # fmt: skip
OTHER_PAIRS = {
    "EdDSA": {"kty": "OKP", "crv": "Ed25519", "d": "npIQy55SEUjO1791wXGFKJULZtTxrSH8Io3gaCEVryU", "x": "3YIR1kN12KOGUhn7RpPboSlSmZENT42dUJX2CQgnbKY"},
    "ES256": {"kty": "EC", "crv": "P-256", "d": "6XixjeOjPcOc8K4Pu5H8i4CWXl_DT1Jqh6RFCP_Jago", "x": "Hk59hHKflLrYvyxhNqIWZx_ZKss4O_z_F9lhdLl-AyI", "y": "0EzTEHCiXHd8w2IiXGszGVC-6GvyuhKlSI4KtRABUOM"},
}  # fmt: skip

# password, bcrypt-sha256 version 2
PASSLIB_HASHES = {
    "published in passlib's documentation": ("password", "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2"),
    "published in hashcat's list of examples": ("hashcat", "$bcrypt-sha256$v=2,t=2b,r=12$KSOjON/ciJR86a00N5q61.$AmWZucQuHk13FGkQWhgMeiFvBfm2GCy"),
    "one blank, by passlib 1.7.4": (" ", "$bcrypt-sha256$v=2,t=2b,r=4$PtxjxH2YFwApzuSDBglmye$6O8cev39PXnmMyJScJTO9HDOJa2v92O"),
    "blanks around, by passlib 1.7.4": (" pass word ", "$bcrypt-sha256$v=2,t=2b,r=4$dtaHzvKrCmYI.7xFbcrSJe$tP66ue3wvjr8ouFCi3KBaDGQd3eZnQS"),
    "72 bytes, by passlib 1.7.4": ("x" * 72, "$bcrypt-sha256$v=2,t=2b,r=4$mBxuePKWXQfd3WYgPbTBs.$BEFmygovi7gZNPxbRzraZGC7wgBc/tK"),
    "73 bytes, by passlib 1.7.4": ("x" * 72 + "y", "$bcrypt-sha256$v=2,t=2b,r=4$9VQlsdBVNaLTZ6Uh/a/05u$inGiI1wrmXIjJf2/kdCoax0glX.mzZ."),
    "100 bytes, by passlib 1.7.4": ("0123456789" * 10, "$bcrypt-sha256$v=2,t=2b,r=4$OAW7feFOGU25/gFlGpLZb.$XcaZHfhiEdn2hHq8cbzxAc3Aon.MSxy"),
    "1024 characters of 4 bytes, by passlib 1.7.4": ("🔑" * 1024, "$bcrypt-sha256$v=2,t=2b,r=4$XAzYQR5pASgNXUAsUhDPVe$QhvdamaDyiEOo0yn9HBWQOCRdmMALwq"),
    "a NUL alone, by passlib 1.7.4": ("\0", "$bcrypt-sha256$v=2,t=2b,r=4$LOiVUleAZAT0ZmqWwhVI9O$eqkjBVy8y1zB3uDkMPie4izNofQfW1S"),
    "a NUL in the middle, by passlib 1.7.4": ("pass\0word", "$bcrypt-sha256$v=2,t=2b,r=4$yxnQScLMVQTLkGTWJCb/Se$DfjX6Gp0gI9H46uSs2alWvdkeoFmbdW"),
    "not ASCII, in NFC, by passlib 1.7.4": ("pässwörd ✓ 🐎 батарея", "$bcrypt-sha256$v=2,t=2b,r=4$OqatgbhH3bx00duVX21Jde$kEr4uD.zhHnWsVSYo4t22Sx9s2onJde"),
    "control characters, by passlib 1.7.4": ("line\nfeed\x85", "$bcrypt-sha256$v=2,t=2b,r=4$reAHtupRtz0gBhNCReCFG.$.9gRuKGlXoAY4XgdWGLYnIkvkun.C5q"),
}  # fmt: skip

# Two spellings of one name, by what tells them apart.
LOOK_ALIKES = {
    "itself": ("miguel", "miguel"),
    "case": ("miguel", "Miguel"),
    "full width": ("miguel", "\uff4d\uff49\uff47\uff55\uff45\uff4c"),
    "sharp s": ("strasse", "Straße"),
    "ligature": ("fiona", "\ufb01ona"),
    "composed and not": ("mu\u0308ller", "m\u00fcller"),
}
