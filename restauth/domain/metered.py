"""Identification that is counted, by credential and outcome.

Rule: counts, and decides nothing. It takes the place of `Identification` where the setting
`metrics` is not empty. So every way to identify a client is counted (the API, guards, the Python
API), once, and costs nothing more where the setting is empty.
"""

from dataclasses import dataclass, field
from functools import partial

from restauth.core.authorization import Basic, Bearer
from restauth.domain.identification import Identification, read
from restauth.domain.metrics import SUCCEEDED, Metrics
from restauth.errors import BadCredentials, Busy, Refusal, StoreUnavailable, Throttled
from restauth.gate import gate
from restauth.records import Caller, Client

EXPECTED = [
    *(
        (credential, outcome)
        for credential in ("token", "key")
        for outcome in (SUCCEEDED, BadCredentials.code, StoreUnavailable.code)
    ),
    *(
        ("password", outcome)
        for outcome in (
            *(SUCCEEDED, BadCredentials.code, Throttled.code, Busy.code, StoreUnavailable.code),
        )
    ),
]


@dataclass(slots=True)
class MeteredIdentification(Identification):
    """As `Identification`."""

    metrics: Metrics = field(kw_only=True)

    def identify(self, claim: Basic | Bearer | None, client: Client) -> Caller | None:
        """As the method that is counted. A request without a claim is not counted."""
        if claim is None:
            return None
        credential, _, _ = read(claim)
        try:
            # Not super(): a class with slots is not the one that super() would look for.
            caller = Identification.identify(self, claim, client)
        except Refusal as refusal:
            self._count(credential, refusal.code)
            raise
        self._count(credential, SUCCEEDED)
        return caller

    def _count(self, credential: str, outcome: str) -> None:
        gate.once(partial(self.metrics.count_authentication, credential, outcome))
