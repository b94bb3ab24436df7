"""The stored response of a create is read back unchanged."""

import pytest

from gateway.domain.intents import Intent, IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import Kind, State
from gateway.ports.provider import Created
from gateway.services.intents import PayloadSealer
from gateway.storage.sealing import Keyring, new_key
from tests.contract.store.subject import create, identity

RUNTIME = Runtime(
    id="one.r-1", kind=Kind.BROWSER, provider="one", scope="s", provider_id="r-1", name="bot", state=State.RUNNING
)


def _intent(outcome: bytes | None) -> Intent:
    moment = {"created_at": 1.0, "updated_at": 1.0, "lease_until": None, "due_at": None, "holder": None}
    return Intent(
        **identity(create()) | {"id": "in_1", "outcome": outcome},
        **moment,
        state=IntentState.DONE,
        epoch=1,
        attempts=(),
        looks=(),
    )


@pytest.mark.parametrize("native", [b'{"id":"r-1","a":[1,2]}', b"{}", None])
@pytest.mark.parametrize("created", [True, False])
def test_response_is_stored_with_and_without_the_providers_own_bytes(created: bool, native: bytes | None) -> None:
    payloads = PayloadSealer(Keyring([new_key()]))
    sealed = payloads.seal_outcome("in_1", Created(RUNTIME, created, native))
    kept = payloads.outcome(_intent(sealed))
    assert kept == Created(RUNTIME, created, native)


def test_intent_without_an_outcome_has_no_response() -> None:
    assert PayloadSealer(Keyring([new_key()])).outcome(_intent(None)) is None
