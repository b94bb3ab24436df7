"""What the end of one send proves by itself: by connection events, status and envelope, never by text.

A redirect counts as status: it proves that nothing was made if it leads to another server (see
:func:`gateway.ports.redirects.redirect_error`). Any other redirect proves nothing.
"""

from dataclasses import dataclass
from typing import Any

from gateway.domain.conclusions import ConflictAbout, Proof
from gateway.domain.errors import (
    AlreadyExists,
    CapacityExceeded,
    GatewayError,
    OutcomeUnknown,
    ProviderBadResponse,
    ProviderError,
    ProviderFailure,
    QuotaExceeded,
    StateConflict,
)
from gateway.domain.values import Operation
from gateway.ports.error_mapping import transport_error
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Phase, TransportFailure

CONFLICT = 409
_FOR_NOW = frozenset({402, 429})


@dataclass(frozen=True, slots=True)
class Evidence:
    """The end of a send: what it proves, the error that it maps to, and how far the request got."""

    proof: Proof
    error: GatewayError
    phase: str
    status: int | None

    @property
    def made(self) -> bool | None:
        """True: something was made. False: nothing can have been made. None: neither is known."""
        return {Proof.NOTHING_MADE: False, Proof.MADE: True}.get(self.proof)


class NothingCreated(Exception):
    """The send provably made nothing, like all before it. The intent is still open and may go to another target."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(str(evidence.error))
        self.evidence = evidence


def conflict_about(error: GatewayError) -> ConflictAbout:
    if isinstance(error, AlreadyExists):
        return ConflictAbout.NAME
    stands = isinstance(error, StateConflict | QuotaExceeded | CapacityExceeded)
    return ConflictAbout.OTHER if stands else ConflictAbout.UNCLEAR


def another_answer(adapter: ProviderAdapter[Any]) -> Evidence:
    """The evidence of a success that shows a runtime of another name or scope: it answers another request."""
    error = ProviderBadResponse(
        f"The provider {adapter.name} answered this create with a runtime of another name or scope.",
        failure=ProviderFailure(adapter.name),
    )
    return Evidence(Proof.ANOTHER_ANSWER, error, Phase.ANSWERED.label, None)


def evidence_of(adapter: ProviderAdapter[Any], failure: TransportFailure | GatewayError) -> Evidence:
    """What the failure of a create proves."""
    if isinstance(failure, TransportFailure):
        error = transport_error(adapter.name, Operation.CREATE, failure)
        return Evidence(_without_answer(failure), error, failure.phase.label, failure.status)
    answer = failure.failure
    if answer is None or answer.status is None:
        # An error without a response was raised before anything was sent, unless its class implies one.
        unclear = isinstance(failure, OutcomeUnknown | ProviderBadResponse | ProviderError)
        proof = Proof.NONE if unclear else Proof.NOTHING_MADE
        return Evidence(proof, failure, (Phase.SENT if unclear else Phase.QUEUED).label, None)
    status = answer.status
    if 200 <= status < 300:
        proof = Proof.MADE
    elif answer.redirected_elsewhere:
        # This server only named another one, and the gateway does not follow: no server processed the create.
        proof = Proof.NOTHING_MADE
    elif not answer.own_envelope:
        proof = Proof.NONE
    elif status in adapter.definitive_rejections:
        proof = Proof.NOTHING_MADE
    elif status == CONFLICT:
        proof = Proof.CONFLICT
    elif status in _FOR_NOW:
        proof = Proof.REFUSED_FOR_NOW
    else:
        proof = Proof.NONE
    return Evidence(proof, failure, Phase.ANSWERED.label, status)


def _without_answer(failure: TransportFailure) -> Proof:
    if failure.phase <= Phase.CONNECTING:
        return Proof.NOTHING_MADE
    if failure.status is not None and 200 <= failure.status < 300:
        return Proof.MADE
    return Proof.NONE
