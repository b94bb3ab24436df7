"""What the end of a send proves. Only a request that was not sent, and a definitive refusal, prove that nothing was
made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.bctrl.adapter import BctrlAdapter
from adapters.bctrl_browsers.adapter import BctrlBrowsersAdapter
from adapters.durable.adapter import DurableAdapter
from gateway.domain import errors
from gateway.domain.conclusions import Proof
from gateway.domain.errors import GatewayError, ProviderFailure, error_classes
from gateway.ports.transport import Phase, TransportFailure
from gateway.services.intents.evidence import Evidence, evidence_of
from tests.unit.services.fakes import FakeAdapter

TABLES = {
    DurableAdapter: {400, 401, 403, 404, 422, 426},
    BctrlAdapter: {400, 401, 403, 404, 422, 426},
    BctrlBrowsersAdapter: {400, 401, 403, 404},
}
STATUSES = range(100, 600)
BEFORE_SENDING = (Phase.QUEUED, Phase.CONNECTING)


def adapter_with(table: frozenset[int]) -> FakeAdapter:
    """An adapter whose definitive rejections are these statuses."""

    class Refusing(FakeAdapter):
        definitive_rejections = table

    return Refusing()


def evidence_of_status(adapter: FakeAdapter, status: int, *, own: bool) -> Evidence:
    """The evidence of a complete response with this status."""
    return evidence_of(adapter, errors.ProviderError("x", failure=ProviderFailure("one", status, own_envelope=own)))


@pytest.mark.parametrize("real", TABLES)
@pytest.mark.parametrize("own", [True, False])
def test_status_proves_something_only_in_the_providers_own_error_format(
    real: type[DurableAdapter | BctrlAdapter | BctrlBrowsersAdapter], own: bool
) -> None:
    assert real.definitive_rejections == TABLES[real]
    adapter = adapter_with(real.definitive_rejections)
    for status in STATUSES:
        if 200 <= status < 300:
            expected = Proof.MADE
        elif not own:
            expected = Proof.NONE
        elif status in TABLES[real]:
            expected = Proof.NOTHING_MADE
        elif status == 409:
            expected = Proof.CONFLICT
        else:
            expected = Proof.REFUSED_FOR_NOW if status in {402, 429} else Proof.NONE
        evidence = evidence_of_status(adapter, status, own=own)
        assert (evidence.proof, evidence.status, evidence.phase) == (expected, status, "answered")


@pytest.mark.parametrize(
    ("status", "elsewhere", "proof"),
    [
        (301, True, Proof.NOTHING_MADE),
        (302, True, Proof.NOTHING_MADE),
        (307, True, Proof.NOTHING_MADE),
        (308, True, Proof.NOTHING_MADE),
        (303, False, Proof.NONE),
        (307, False, Proof.NONE),
        (308, False, Proof.NONE),
    ],
)
def test_redirect_proves_that_nothing_was_made_only_if_it_leads_to_another_server(
    status: int, elsewhere: bool, proof: Proof
) -> None:
    answer = ProviderFailure("one", status, redirected_elsewhere=elsewhere)
    assert evidence_of(FakeAdapter(), errors.ProviderBadResponse("x", failure=answer)).proof is proof


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("reason", ["timeout", "disconnected", "unreadable", "cut_short", "overloaded", "failed"])
def test_without_a_response_the_phase_decides_and_not_the_reason(phase: Phase, reason: str) -> None:
    evidence = evidence_of(FakeAdapter(), TransportFailure(reason, phase))
    assert evidence.proof is (Proof.NOTHING_MADE if phase in BEFORE_SENDING else Proof.NONE)
    assert evidence.phase == phase.label


@pytest.mark.parametrize("status", [200, 201, 307, 400, 409, 429, 500])
def test_head_of_a_response_proves_at_most_that_something_was_made(status: int) -> None:
    """A response that was cut short has no body that could be in the provider's own format."""
    evidence = evidence_of(FakeAdapter(), TransportFailure("cut_short", Phase.ANSWERED, status=status))
    assert evidence.proof is (Proof.MADE if status < 300 else Proof.NONE)
    assert evidence.status == status


@pytest.mark.parametrize("error", list(error_classes()))
def test_error_without_a_response_was_raised_before_anything_was_sent(error: type[GatewayError]) -> None:
    """The exceptions are the errors that are about a response."""
    evidence = evidence_of(FakeAdapter(), error("x"))
    inconclusive = error in {errors.OutcomeUnknown, errors.ProviderBadResponse, errors.ProviderError}
    assert evidence.proof is (Proof.NONE if inconclusive else Proof.NOTHING_MADE)


def test_only_proofs_of_nothing_made_and_of_made_show_whether_something_was_made() -> None:
    made = {proof: Evidence(proof, errors.ProviderError("x"), "sent", None).made for proof in Proof}
    assert made == {
        Proof.NOTHING_MADE: False,
        Proof.MADE: True,
        Proof.CONFLICT: None,
        Proof.REFUSED_FOR_NOW: None,
        Proof.ANOTHER_ANSWER: None,
        Proof.NONE: None,
    }


_FAILURES = st.one_of(
    st.builds(TransportFailure, st.text(max_size=12), st.sampled_from(Phase), status=st.none() | st.integers(100, 599)),
    st.builds(
        lambda cls, status, own: cls("x", failure=ProviderFailure("one", status, own_envelope=own)),
        st.sampled_from(sorted(error_classes(), key=lambda cls: cls.code)),
        st.integers(100, 599),
        st.booleans(),
    ),
)


@given(failure=_FAILURES, table=st.frozensets(st.sampled_from([400, 401, 403, 404, 422, 426])))
def test_only_an_unsent_request_or_a_listed_status_proves_that_nothing_was_made(
    failure: TransportFailure | GatewayError, table: frozenset[int]
) -> None:
    if evidence_of(adapter_with(table), failure).proof is not Proof.NOTHING_MADE:
        return
    if isinstance(failure, TransportFailure):
        assert failure.phase in BEFORE_SENDING
    else:
        assert failure.failure is not None
        assert failure.failure.own_envelope
        assert failure.failure.status in table
