"""Metrics and log lines of creates and their store."""

import json
from io import StringIO

import pytest
from msgspec import structs

from gateway.domain.errors import StoreUnavailable
from gateway.domain.intents import Intent, IntentState
from gateway.ports.store import Counts, Decision, DecisionRecord
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import CreateSignals
from tests.contract.store.subject import create, identity

INTENT = Intent(
    **{**identity(create("agent")), "request": b"sealed-request"},
    state=IntentState.UNKNOWN,
    epoch=1,
    holder=None,
    lease_until=None,
    due_at=None,
    attempts=(),
    looks=(),
    outcome=b"sealed-outcome",
    runtime_id="r-1",
    surplus=("r-2",),
    reason="timeout",
    created_at=1.0,
    updated_at=1.0,
)


class Seen:
    """The signals under test, with the log lines and metrics that they produce."""

    def __init__(self) -> None:
        self._stream = StringIO()
        self._metrics = Metrics()
        self.signals = CreateSignals(self._metrics, make_logger(stream=self._stream))

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def value(self, name: str, **labels: str) -> float | None:
        return self._metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_each_change_of_the_store_state_is_logged(seen: Seen) -> None:
    """The first success is not a change."""
    seen.signals.store_up(None)
    assert seen.value("rtgw_store_up") == 1
    assert seen.lines() == []
    seen.signals.store_down("The store took too long.", "TimeoutError: ")
    assert seen.value("rtgw_store_up") == 0
    seen.signals.store_up(12.34)
    assert seen.value("rtgw_store_up") == 1
    down, up = seen.lines()
    assert (down["event"], down["level"], down["cause"]) == ("store_down", "error", "TimeoutError: ")
    assert (up["event"], up["down_seconds"]) == ("store_up", 12.3)


def test_every_unsettled_state_has_its_number_even_if_it_is_zero(seen: Seen) -> None:
    seen.signals.counted(Counts(unsettled={IntentState.UNKNOWN: 3, IntentState.PARKED: 1}, surplus=2, oldest_age=7.5))
    seen.signals.counted(Counts(unsettled={IntentState.UNKNOWN: 2}, surplus=2, oldest_age=7.5))
    states = {state: seen.value("rtgw_intents_open", state=state) for state in ("open", "unknown", "parked")}
    assert states == {"open": 0, "unknown": 2, "parked": 0}
    assert seen.value("rtgw_intents_surplus") == 2
    assert seen.value("rtgw_intent_oldest_age_seconds") == 7.5


def test_settled_intents_are_counted_by_outcome(seen: Seen) -> None:
    """A runtime that is found after its create got another response is logged too."""
    done = structs.replace(INTENT, state=IntentState.DONE)
    seen.signals.settled(done, late=False)
    seen.signals.settled(structs.replace(INTENT, state=IntentState.ABSENT), late=True)
    assert seen.lines() == []
    seen.signals.settled(done, late=True)
    values = {name: seen.value("rtgw_intents_settled_total", outcome=name) for name in ("done", "done_late", "absent")}
    assert values == {"done": 1, "done_late": 1, "absent": 1}
    (line,) = seen.lines()
    assert (line["event"], line["level"], line["intent_id"]) == ("intent_done_late", "info", INTENT.id)


@pytest.mark.parametrize(
    ("signal", "event", "level"), [("unknown", "intent_unknown", "warning"), ("parked", "intent_parked", "error")]
)
def test_unsettled_intent_is_logged_with_its_ids(seen: Seen, signal: str, event: str, level: str) -> None:
    """The line contains no encrypted field."""
    getattr(seen.signals, signal)(INTENT)
    (line,) = seen.lines()
    assert (line["event"], line["level"]) == (event, level)
    del line["timestamp"], line["event"], line["level"]
    assert line == {
        "intent_id": INTENT.id,
        "principal": "alice",
        "provider": "durable-main",
        "scope": "acme/research",
        "kind": "durable",
        "name": "agent",
        "reason": "timeout",
        "provider_runtime_id": "r-1",
    }


def test_second_runtime_is_logged_with_its_id(seen: Seen) -> None:
    seen.signals.surplus(INTENT, "r-2")
    (line,) = seen.lines()
    assert (line["event"], line["level"], line["provider_runtime_id"]) == ("surplus_runtime", "error", "r-1")
    assert line["surplus_runtime_id"] == "r-2"


def test_failed_write_to_the_store_is_logged(seen: Seen) -> None:
    seen.signals.not_written("in_1", StoreUnavailable("The store took too long."))
    (line,) = seen.lines()
    assert (line["event"], line["intent_id"], line["reason"]) == (
        "intent_not_written",
        "in_1",
        "The store took too long.",
    )


def test_decision_is_logged_with_its_operator(seen: Seen) -> None:
    seen.signals.decided(DecisionRecord(1.0, "olga", "in_1", Decision.MADE, "r-1", "seen by hand"))
    (line,) = seen.lines()
    assert {line[name] for name in ("event", "operator", "intent_id", "decision", "provider_runtime_id", "note")} == {
        *("operator_decision", "olga", "in_1", "made", "r-1", "seen by hand")
    }


def test_bug_while_settling_is_logged_with_its_traceback(seen: Seen) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    seen.signals.failed(caught.value)
    (line,) = seen.lines()
    assert (line["event"], line["level"]) == ("unexpected_error", "error")
    assert "_ = 1 / 0" in line["exception"]
