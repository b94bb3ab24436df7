"""What is kept of a create comes back as it was."""

import pytest

from gateway.domain.intents import Intent, IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import Kind, State
from gateway.ports.provider import Created
from gateway.services.intents import PayloadSealer
from gateway.storage.sealing import Keyring, new_key
from gateway.testing.store_subject import create, identity

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
def test_an_answer_is_kept_with_the_providers_own_bytes_and_without(created: bool, native: bytes | None) -> None:
    contents = PayloadSealer(Keyring([new_key()]))
    sealed = contents.seal_outcome("in_1", Created(RUNTIME, created, native))
    kept = contents.outcome(_intent(sealed))
    assert kept == Created(RUNTIME, created, native)


def test_an_intent_that_was_never_answered_has_no_answer() -> None:
    assert PayloadSealer(Keyring([new_key()])).outcome(_intent(None)) is None
