"""What the end of one send proves (the create promise): by connection events, status and envelope, never by text."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from gateway.domain.errors import GatewayError, OutcomeUnknown, ProviderBadResponse, ProviderError
from gateway.domain.operations import Operation
from gateway.ports.error_mapping import transport_error
from gateway.ports.provider import ProviderAdapter
from gateway.ports.transport import Phase, TransportFailure

CONFLICT = 409
_FOR_NOW = frozenset({402, 429})


class Proof(Enum):
    """What is known after a send that was not answered with a whole success."""

    NOTHING_MADE = auto()  # never connected, a local refusal, or in the adapter's table
    CONFLICT = auto()  # a 409 in the provider's own envelope: a look decides
    REFUSED_FOR_NOW = auto()  # a 402 or 429 in its own envelope: likely nothing, but no proof
    MADE = auto()  # a success, then garbage: something exists
    NONE = auto()


@dataclass(frozen=True, slots=True)
class Evidence:
    """The end of a send: what it proves, the error that it means by itself, how far the request got."""

    proof: Proof
    error: GatewayError
    phase: str
    status: int | None

    @property
    def made(self) -> bool | None:
        """True: something was made. False: nothing can have been. None: nobody knows."""
        return {Proof.NOTHING_MADE: False, Proof.MADE: True}.get(self.proof)


class PriorKnowledge(Enum):
    """From where the intent was opened for this turn. It decides what a refusal of this turn's send proves."""

    FIRST = auto()  # every attempt so far, if any, provably made nothing
    AFTER_ABSENT = auto()
    AFTER_UNKNOWN = auto()


class NothingCreated(Exception):
    """The turn's send provably made nothing, like all before it. The intent is still open, and may go elsewhere."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(str(evidence.error))
        self.evidence = evidence


def evidence_of(adapter: ProviderAdapter[Any], failure: TransportFailure | GatewayError) -> Evidence:
    """What the failure of a create proves."""
    if isinstance(failure, TransportFailure):
        error = transport_error(adapter.name, Operation.CREATE, failure)
        return Evidence(_without_answer(failure), error, failure.phase.label, failure.status)
    answer = failure.failure
    if answer is None or answer.status is None:
        # An error that no answer led to was raised before anything was sent, unless it speaks of an answer.
        unclear = isinstance(failure, OutcomeUnknown | ProviderBadResponse | ProviderError)
        proof = Proof.NONE if unclear else Proof.NOTHING_MADE
        return Evidence(proof, failure, (Phase.SENT if unclear else Phase.QUEUED).label, None)
    status = answer.status
    if 200 <= status < 300:
        proof = Proof.MADE
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
