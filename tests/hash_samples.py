"""What REST-auth leaves behind: its table, and hashes of every form and kind of password.

Rule: facts from outside; the remark of a hash says program and version. passlib cannot make them
while the tests run: it warns on Python 3.11 and 3.12, and breaks with bcrypt 5. So all were made
once, in environments of their own, with `werkzeug.security.generate_password_hash` and
`passlib.hash`.
"""

# ruff: noqa: E501 - a hash, a line

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

WORDS = "пароль ✓🐎é"

# As Flask-SQLAlchemy 2.4.1 with SQLAlchemy 1.3.6 writes it; `password_hash` was String(64) once.
TABLE = (
    "CREATE TABLE users (\n\tid INTEGER NOT NULL, \n\tusername VARCHAR(32), "
    "\n\tpassword_hash VARCHAR(128), \n\tPRIMARY KEY (id)\n)"
)
FIRST_TABLE = TABLE.replace("128", "64")
INDEX = "CREATE INDEX ix_users_username ON users (username)"


def write_rest_auth_file(
    path: Path, rows: Iterable[Sequence[object]] = (), *, table: str = TABLE
) -> Path:
    """A file of REST-auth's with these ids, names and hashes, in REST-auth's columns."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(table)
        connection.execute(INDEX)
        connection.executemany(
            "INSERT INTO users (id, username, password_hash) VALUES (?, ?, ?)", rows
        )
    return path


class Row(NamedTuple):
    """`kind` is what the import calls it."""

    kind: str
    password: str
    password_hash: str


# Cheap parameters: a check takes a few milliseconds.
CHEAP: dict[str, Row] = {
    "werkzeug 1.0.1, sha1": Row("pbkdf2:sha1", "python", "pbkdf2:sha1:1000$Z2Yv7Zbx$0f6eeda480d50885247a945ab52154bfbb87bfdf"),
    "werkzeug 1.0.1, sha512": Row("pbkdf2:sha512", "correct horse", "pbkdf2:sha512:1000$mBq51e26$561a6d837afa7969fd563a77072650bb94ee2e722d7feb583a42a249f0d5870bc281d0087f357a2a76eccfea0755d4c9f4af47db432bf4f6234b2f0d7454f2d3"),
    "werkzeug 1.0.1, one iteration": Row("pbkdf2:sha256", "python", "pbkdf2:sha256:1$kjpB4eUU$4b7db8db6b2027a9f2ac0e2b2cb73e942e4ed217d1e32131e2a1c4ffacd16bb1"),
    "werkzeug 1.0.1, salt of 1": Row("pbkdf2:sha256", "python", "pbkdf2:sha256:1000$d$0ed0e10bdb8b4c77faf215b0f3007b1d7ff496a978fbcb960e9fc591a78d9bb1"),
    "werkzeug 1.0.1, beyond ASCII": Row("pbkdf2:sha256", WORDS, "pbkdf2:sha256:1000$DlLhPlgF$55516e9922dba9256de0a1d6dd42ad37151cdb0dadb375c107e1a0a1d0e0a15d"),
    "werkzeug 1.0.1, 300 characters": Row("pbkdf2:sha256", "x" * 300, "pbkdf2:sha256:1000$NmyVK7G3$d38acaba7412c5dc377a691da1fd4a5e9722f8bee15948206a6d4e71763baab4"),
    "werkzeug 1.0.1, a NUL": Row("pbkdf2:sha256", "a\0b", "pbkdf2:sha256:1000$dFMINtcR$d93eb81899685bf15cc7df23941c80c8582e89ed2cf0f09a2d0cf7ce613762b6"),
    "werkzeug 1.0.1, decomposed": Row("pbkdf2:sha256", "e\u0301", "pbkdf2:sha256:1000$VMmq4wb2$9ca17e4b4e99acd2ba75da8156117c0cc0ecfa2d3b77a81ca7fab9930e7120ab"),
    "passlib 1.7.4, sha512_crypt, 1000 rounds": Row("sha512-crypt", "python", "$6$rounds=1000$ggIq9Q1sUAjN3xEF$uD8u24tFZsy9A/yR8PS1Q/TantmV3BBy8IzKN6Z/ku0kgA3HW1bsJ9vvs5cRTeZMQzRsLtxc4o4nJE/nfZksZ0"),
    "passlib 1.7.4, sha512_crypt, 5000 rounds are not written": Row("sha512-crypt", "python", "$6$xtl0W4oNIQLfav0l$mb4pEuUDJFViZoZJP12e.7yzelCvLlBeuyQzou1ropOwASlCQVbMNeIifWh4e9zFAU/eRBGI3eQ5ZEzl0AfMb/"),
    "passlib 1.7.4, sha512_crypt, no salt": Row("sha512-crypt", "python", "$6$rounds=1000$$n9AjMhfKRoxZf/snc4Fq/kgh0ADExxlkg7bVW8VT0vRcRPFXZNZkdXlc1MMx2olJ0ECPC8RRFhzFbugut4B9g0"),
    "passlib 1.7.4, sha512_crypt, salt of 3": Row("sha512-crypt", "python", "$6$rounds=1001$abc$ZKHKw/x5VdYJWKHJffVVr0Tglgo817OJb1PbSxKcO5es3i24hhuY.hbQeJwBX4huBxWRHvAoq6lI2ek0/QRir1"),
    "passlib 1.7.4, sha512_crypt, empty password": Row("sha512-crypt", "", "$6$rounds=1000$eenvbe1bpKezwAtQ$dLwMZa6FFyVXdmCUw1.CCShyo5z3UUKhnuOa5PO53.NJdmpXLnpEZv4k3Lj4BmdZNSFNnZyX.n1Bo/LgfAb..1"),
    "passlib 1.7.4, sha512_crypt, beyond ASCII": Row("sha512-crypt", WORDS, "$6$rounds=1000$34IETAsJfsxIfx8.$Jg1PY4xMalZ0vuYN5J1nmhP8XW6jOYNqnzX.eCLKKXKBYwK221WUma8U3sFgceVuJEq3hblxuYcaMugUhfNrT."),
    "passlib 1.7.4, sha512_crypt, 80 characters": Row("sha512-crypt", "0123456789" * 8, "$6$rounds=1000$wJQEIbxdNBrPAjNW$x5zpw0D./5SAB0Eyklt3drvw/P1MFys7tDLh2NZRDwqLjLMOhBhrg4DRf8az67P.i/kv1spkf7zhXLosYyCU5/"),
    "passlib 1.7.4, sha512_crypt, 300 characters": Row("sha512-crypt", "x" * 300, "$6$rounds=1000$ma86WEOdkZkz3wg1$pWliP12AagO5Dqc9Wxpc3INqYdHdHmp8GKkMBCFHR6Uxo.iGBNbbMfVRLd9ObQd75qGTnY2SA9bfbOswI71gF0"),
    "passlib 1.7.4, sha256_crypt, 1000 rounds": Row("sha256-crypt", "python", "$5$rounds=1000$zjUReHiN5OC/wRNU$Dnk0wTuryHPjVXT9EzFOIx.YimxJZFDSxsM2EVQupN7"),
    "passlib 1.7.4, sha256_crypt, 5000 rounds are not written": Row("sha256-crypt", "python", "$5$paeTrc7oH/XkGPjP$wu3nDuCLjanVO5APtUqM9cDYUHNZJR3YJljtbI7ATg/"),
    "passlib 1.7.4, sha256_crypt, no salt": Row("sha256-crypt", "python", "$5$rounds=1000$$ySu5j/zp1qA6a33La0.DZsgBfqaLYroQUogJETiWMH1"),
    "passlib 1.7.4, sha256_crypt, salt of 3": Row("sha256-crypt", "python", "$5$rounds=1001$abc$vW44yOMLqtphCLIfi5VO80M43uJIFKiX4sLaDrSTBO2"),
    "passlib 1.7.4, sha256_crypt, empty password": Row("sha256-crypt", "", "$5$rounds=1000$OYy/whj4jv5Shm/h$oLgNpK.lMSgZHf.yGbizkOcbYtLfNuHpprJf6bX0QM6"),
    "passlib 1.7.4, sha256_crypt, beyond ASCII": Row("sha256-crypt", WORDS, "$5$rounds=1000$uZ/Sa62GNKQwcuwT$eORgmUtZErtA0zViKvkA0auTKeag2WzCgMw8pvEe9E7"),
    "passlib 1.7.4, sha256_crypt, 80 characters": Row("sha256-crypt", "0123456789" * 8, "$5$rounds=1000$b7MRxC94r86b563c$O/QAzgVWMjAfYLSP2PlptTRlvbP4.bDWZ.fQpSduKYA"),
    "passlib 1.7.4, sha256_crypt, 300 characters": Row("sha256-crypt", "x" * 300, "$5$rounds=1000$UskU5kwpxS/zyh1/$DJORoQDR4Hn//eAuHvgZpOIK3PHAidgQ.vBccYCJCd1"),
    "passlib 1.7.4, bcrypt $2a$": Row("bcrypt", "python", "$2a$04$vBgl9Rmhvhoqf.mdEa6i..7ULEyRpEGye5hp32xd.vwKEWnxXcUzO"),
    "passlib 1.7.4, bcrypt $2b$": Row("bcrypt", "python", "$2b$04$MSbKYrwrxMIz27LtH1kGku3sPQjnB5LOeV9V4SE26NZ7Km6W0hq9m"),
    "passlib 1.7.4, bcrypt $2y$": Row("bcrypt", "python", "$2y$04$o2YatsaF6/CEy8E/xZa0Ne3F8y3oJfulHn.jZ/BSLnp9pfoNCnihm"),
    "passlib 1.7.4, bcrypt, beyond ASCII": Row("bcrypt", WORDS, "$2b$04$eXej8o.eXuzFkFVIDPqxu.qkAM/Hi7rldSCKOSv0fI4YTLs.WkZXW"),
    "passlib 1.7.4, bcrypt, 71 bytes": Row("bcrypt", "0123456789" * 7 + "0", "$2b$04$l/O8ncCqerO/Qb/f/NvAF.DnWGXu2q/6LzVMvUSGmjiW0qXN6e33W"),
    "passlib 1.7.4, bcrypt, 72 bytes": Row("bcrypt", "0123456789" * 7 + "01", "$2b$04$wR3ILP0LuGCItcj1Jt5ttuiwBPPVY1ah2MqRYJSC7541iUUkrnmy2"),
    "passlib 1.7.4, bcrypt, 80 bytes": Row("bcrypt", "0123456789" * 8, "$2b$04$.DmPcZWkSYxQOpYeHzqJ8ecJsd7S/ea6P4PF4XEEWfjIlAXmyv5yS"),
    "passlib 1.7.4, bcrypt_sha256 version 1, 2a": Row("bcrypt-sha256", "python", "$bcrypt-sha256$2a,4$5GMnKf5qw7UlC80dkPZGne$.tGFpUIosSigp9qKt.w1MO4LFS1yCUK"),
    "passlib 1.7.4, bcrypt_sha256 version 1, 2b": Row("bcrypt-sha256", "python", "$bcrypt-sha256$2b,4$cXAiA0s57Cbx/WHEarVIA.$sWvVGEPkoE.BYy7JM0GJsfHXIFbWRdW"),
    "passlib 1.7.4, bcrypt_sha256 version 1, beyond ASCII": Row("bcrypt-sha256", WORDS, "$bcrypt-sha256$2b,4$BsO3Y8jV9gI1DpQ0VRlsqO$Vt92njbQvgR1JZ9SaiipweyPqtz7OSy"),
    "passlib 1.7.4, bcrypt_sha256 version 1, 80 characters": Row("bcrypt-sha256", "0123456789" * 8, "$bcrypt-sha256$2b,4$bCFf2ZAwuQ0hhMDZNowpfu$4xL.cKC5Wsf84EYWi.HIoZ/4Q1dm4bq"),
    "werkzeug 3.1.9, scrypt, small": Row("scrypt", "python", "scrypt:256:8:1$bxnyLx8zdwhFdx1P$18846b3660ed91b4924de8c4d572e9607798a94206ae77c0a737689677ccbf663c57ae3acf5dce9bd3beb282bb2605586e2c738666025447993eeb32ababb5d4"),
    "werkzeug 3.1.9, scrypt, beyond ASCII": Row("scrypt", WORDS, "scrypt:256:4:2$oAU2jv076ektYc8e$1d4b5087c7e8ae728efa0337193cb2fd4fa5d748b0292ae660116001e1f5a522cf8dc36fd9b5edf337c51919c995ec3f8e915b1261e74ce86d0887610ad4c9b7"),
    "werkzeug 3.1.9, scrypt, 300 characters": Row("scrypt", "x" * 300, "scrypt:256:8:1$6QV8GkdmxHNXpygM$a5e7ead07f3a6cb0dc67332dd39fb6bddcb06df172aa38218397ee553e1944a6fc15716dfd356d701946df53c716fe3bfc320f8fc3a1c981ae2e2b17c1cb843c"),
    "werkzeug 3.1.9, scrypt, salt of 1": Row("scrypt", "python", "scrypt:256:8:1$s$c7eb3245dd1df2a83f7d12b3d62d6e0be84278eb213ca91c22b5e35a729e9edf173c329f04534243cf466d2cd5915d8b313eb83641f0c2d26142da2e6e74f4af"),
    "werkzeug 3.1.9, pbkdf2:sha1": Row("pbkdf2:sha1", "python", "pbkdf2:sha1:1000$OmtRKQKzLkKFhLsU$08cb1b770996d9d019bd5ab432c21ad7db72ce52"),
    "werkzeug 3.1.9, pbkdf2:sha512": Row("pbkdf2:sha512", WORDS, "pbkdf2:sha512:1000$l3wbcIde9O45OFEY$9ea063d400e2dbaa81ba619244c7c5d1faa2b86436f5a620b002f798721b9492b30416ec1bfd0081834c183a9ee93a02936c387bf0f7b7198b857cbb84a8c34c"),
    "OpenSSL 3.0.19, openssl passwd -5": Row("sha256-crypt", "p\u00e4ssw\u00f6rd", "$5$saltsalt$JUyX9J5pA1EE4ZvGcIA.vpwPCUQ8GlJbo51r7M84au8"),
    "OpenSSL 3.0.19, openssl passwd -6": Row("sha512-crypt", "p\u00e4ssw\u00f6rd", "$6$saltsalt$TQjRhpJdqmLx0U8it3EsUajwkmOMMvw5vhUFc7mohzFFoj/QHrfYUHU1oSkwyCEoTUCDOiAOW135nel3bqtKe."),
    "PHP manual, the example of crypt": Row("bcrypt", "rasmuslerdorf", "$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi"),
    "passlib 1.7.4, sha512_crypt, 32 bytes": Row("sha512-crypt", "x" * 32, "$6$rounds=1000$xde/F7rf.nlmnmTD$u7w78EranlgeHP7BjUyqyKJAtOgENYAgZ1jPCZaeEjvZjEK3nD3cHMkuhPKwjZIqSk/GUtNYmeb5BuJ6ubA7k."),
    "passlib 1.7.4, sha256_crypt, 32 bytes": Row("sha256-crypt", "x" * 32, "$5$rounds=1000$QxIf3W64eMdgZ6v9$33zEkuYUXIhcrVxfR4nb7JtgopqrABjh86PWIh9fUe/"),
    "passlib 1.7.4, sha512_crypt, 63 bytes": Row("sha512-crypt", "x" * 63, "$6$rounds=1000$.ZRd7tlRymSPzIxT$xLE8q67VdfIUcpHbBjigbub4TOL71adT4gOTIrIYmZnSCnroBhWqX6rHOLkGPCJyzfDp4nLGGgDqwsBO6P83B1"),
    "passlib 1.7.4, sha256_crypt, 63 bytes": Row("sha256-crypt", "x" * 63, "$5$rounds=1000$kVyaJFjYhqmRNL5l$qzoCOw12IFvEDCzmRr5Y9LSPbj9TMAbttb1UUAgMPSA"),
    "passlib 1.7.4, sha512_crypt, 64 bytes": Row("sha512-crypt", "x" * 64, "$6$rounds=1000$HNRVVsevLVQrSb9W$3kQ4.VDkyameiTbtA16IEsarzGpS7xE7M74kuyZ4JyyPfIIOt56H5mclRNKdwt6TyyG5HL94cd53auQZ1lcqM/"),
    "passlib 1.7.4, sha256_crypt, 64 bytes": Row("sha256-crypt", "x" * 64, "$5$rounds=1000$jXes.LAojU5i6sJs$SyG0G9GqKysN/ronPcoTZZSwq5GUQYoz2tvAJ69QFK9"),
    "passlib 1.7.4, sha512_crypt, 65 bytes": Row("sha512-crypt", "x" * 65, "$6$rounds=1000$89yR/BKg/7x5waIv$8Frn7MVsqxKB9l5j6TDDSw785E1Ar1Te8kQzTWxlAkQ5OGZpYO3zXcas1hcq3Tx7kFqJfzsSdPk7h114xF2sQ1"),
    "passlib 1.7.4, sha256_crypt, 65 bytes": Row("sha256-crypt", "x" * 65, "$5$rounds=1000$f05W8J9BFEmwICQ0$gSj.2PEpjQXgu00zPp3PzMs7lVJqpb0guee3f05rOW8"),
}  # fmt: skip

# What each program makes when it is told nothing: up to a second a check.
DEFAULTS: dict[str, Row] = {
    "werkzeug 1.0.1, its default": Row("pbkdf2:sha256", "python", "pbkdf2:sha256:150000$kyQxbG4d$b9a5407b48fae48745ad0fec5c894b72412364700e2e075f58abf2b858555868"),
    "passlib 1.7.4, custom_app_context": Row("sha512-crypt", "python", "$6$rounds=656000$br4Xs7OucNB3eZga$kX8QNxqqioCzkslhaTTUek2KajXL8FV2JkFKQ/3ig2Qei5egWgFeNEd39eJfSHmI4tGh8fbkyv3NWQKJnruq61"),
    "passlib 1.7.4, bcrypt, its default": Row("bcrypt", "python", "$2b$12$Je4QUweBYDtSMAGtFZTXheJCuYcDQTXqgHDsqokc5lpDkGSDGp8Nq"),
    "werkzeug 3.1.9, its default": Row("scrypt", "python", "scrypt:32768:8:1$TuBpgpWFzeV69zGA$3c9b7bb915306c7890af11340f6b134f579e10b676137050a496ae8528b85c56a24d644dc73a530e63da7cc8c2a6003bc71ec8b8e7beda3a40bc2a29a81c9af1"),
    "werkzeug 3.1.9, pbkdf2, its default": Row("pbkdf2:sha256", "python", "pbkdf2:sha256:1000000$pJizNaNATw2WeHtC$0dd71092cc9a4b2a24b945d332b69f434dc1bb85a7f827811d1ae44d08b7aa4c"),
}  # fmt: skip

# Published with the algorithm, https://www.akkadia.org/drepper/SHA-crypt.txt.
DREPPER: dict[str, Row] = {
    "Drepper, SHA-crypt, example 1 of SHA-256": Row("sha256-crypt", "Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    "Drepper, SHA-crypt, example 1 of SHA-512": Row("sha512-crypt", "Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"),
    "Drepper, SHA-crypt, example 2 of SHA-256": Row("sha256-crypt", "Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
    "Drepper, SHA-crypt, example 2 of SHA-512": Row("sha512-crypt", "Hello world!", "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."),
    "Drepper, SHA-crypt, example 3 of SHA-256": Row("sha256-crypt", "This is just a test", "$5$rounds=5000$toolongsaltstrin$Un/5jzAHMgOGZ5.mWJpuVolil07guHPvOW8mGRcvxa5"),
    "Drepper, SHA-crypt, example 3 of SHA-512": Row("sha512-crypt", "This is just a test", "$6$rounds=5000$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"),
    "Drepper, SHA-crypt, example 4 of SHA-256": Row("sha256-crypt", "a very much longer text to encrypt.  This one even stretches over morethan one line.", "$5$rounds=1400$anotherlongsalts$Rx.j8H.h8HjEDGomFU8bDkXm3XIUnzyxf12oP84Bnq1"),
    "Drepper, SHA-crypt, example 4 of SHA-512": Row("sha512-crypt", "a very much longer text to encrypt.  This one even stretches over morethan one line.", "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"),
    "Drepper, SHA-crypt, example 5 of SHA-256": Row("sha256-crypt", "we have a short salt string but not a short password", "$5$rounds=77777$short$JiO1O3ZpDAxGJeaDIuqCoEFysAe1mZNJRs3pw0KQRd/"),
    "Drepper, SHA-crypt, example 5 of SHA-512": Row("sha512-crypt", "we have a short salt string but not a short password", "$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0"),
    "Drepper, SHA-crypt, example 6 of SHA-256": Row("sha256-crypt", "a short string", "$5$rounds=123456$asaltof16chars..$gP3VQ/6X7UUEW3HkBn2w1/Ptq2jxPyzV/cZKmF/wJvD"),
    "Drepper, SHA-crypt, example 6 of SHA-512": Row("sha512-crypt", "a short string", "$6$rounds=123456$asaltof16chars..$BtCwjqMJGx5hrJhZywWvt0RLE8uZ4oPwcelCjmw2kSYu.Ec6ycULevoBK25fs2xXgMNrCzIMVcgEJAstJeonj1"),
}  # fmt: skip

# Written by hand: Werkzeug 1.0.1 takes it (and makes none), and reads 150,000 iterations.
NUMBER_LEFT_OUT = Row(
    "pbkdf2:sha256",
    DEFAULTS["werkzeug 1.0.1, its default"].password,
    DEFAULTS["werkzeug 1.0.1, its default"].password_hash.replace(":150000", ""),
)
