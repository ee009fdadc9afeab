"""SHA-crypt (`$5$` and `$6$`) in pure Python: the hashes of REST-auth before April 2020.

Rule: read only. Python has no module for these hashes since 3.13. The algorithm is Ulrich Drepper's
"Unix crypt using SHA-256 and SHA-512", version 0.6; the numbers in the comments are its steps.
"""

import hashlib
import hmac
from collections.abc import Callable

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def digest(password: bytes, salt: bytes, rounds: int, name: str) -> str:
    """The encoded digest, by `name` sha256 or sha512."""
    new: Callable[[bytes], hashlib._Hash] = getattr(hashlib, name)
    alternate = new(password + salt + password).digest()  # 4 to 8
    bits = password + salt + _repeated(alternate, len(password))  # 1 to 3, 9 and 10
    length = len(password)
    while length:  # 11
        bits += alternate if length & 1 else password
        length >>= 1
    result = new(bits).digest()  # 12
    p = _repeated(new(password * len(password)).digest(), len(password))  # 13 to 16
    s = _repeated(new(salt * (16 + result[0])).digest(), len(salt))  # 17 to 20
    # 21. The six kinds of rounds are joined before the loop, which takes nearly all the time.
    odd, even = [p, p + s, p + p, p + s + p], [p, s + p, p + p, s + p + p]
    for number in range(rounds):
        kind = (number % 3 != 0) + 2 * (number % 7 != 0)
        if number & 1:
            result = new(odd[kind] + result).digest()
        else:
            result = new(result + even[kind]).digest()
    return _encode(result)  # 22


def matches(password: bytes, salt: bytes, rounds: int, name: str, expected: str) -> bool:
    """Whether it is the password of the expected digest, compared in constant time."""
    return hmac.compare_digest(digest(password, salt, rounds, name).encode(), expected.encode())


def _repeated(block: bytes, length: int) -> bytes:
    return (block * (length // len(block) + 1))[:length]


def _encode(result: bytes) -> str:
    """Base64 with crypt's alphabet, least significant bits first, over the bytes in the order of
    step 22: groups that step through the digest in thirds."""
    size = len(result)
    third = size // 3  # 10 of 32 bytes, 21 of 64
    text = ""
    first, second, last = 0, third, 2 * third
    for _ in range(third):
        text += _group(result[first], result[second], result[last], 4)
        if size == 32:
            first, second, last = last + 1, first + 1, second + 1
        else:
            first, second, last = second + 1, last + 1, first + 1
    if size == 32:
        return text + _group(0, result[31], result[30], 3)
    return text + _group(0, 0, result[63], 2)


def _group(high: int, middle: int, low: int, characters: int) -> str:
    number = high << 16 | middle << 8 | low
    return "".join(_ALPHABET[number >> 6 * place & 63] for place in range(characters))
