"""The two halves of an asymmetric key, as a value.

Rule: `core.asymmetric` makes and reads it. This file knows no library, so that a key can be
described where the library is not installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves of an EdDSA or ES256 key, as objects of the cryptography library, and the
    members of the public JWK. `private` is None where tokens are only verified."""

    private: Any = field(repr=False)
    public: Any
    members: Mapping[str, str]
