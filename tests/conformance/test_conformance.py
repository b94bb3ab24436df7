"""Adapters, emulators and dialects fit what the providers' documents and clients say, which is not ours to decide."""

from collections.abc import Iterable

import pytest

from tests.conformance.facts import NO_OPERATION, Exchange, documents
from tests.conformance.sources import SOURCES, facts_of, recorded_adapter, recorded_emulator, recorded_gateway
from tests.conformance.walks import WALKS

APIS = list(WALKS)


def request_faults(api: str, source: str, exchanges: Iterable[Exchange]) -> list[str]:
    """The faults of requests whose operation the source has."""
    facts = facts_of(api, source)
    return [
        f"{one.method} {one.path} {one.body}: {fault}"
        for one in exchanges
        for fault in facts.request_faults(one)
        if fault != NO_OPERATION
    ]


def answer_faults(api: str, source: str, exchanges: Iterable[Exchange]) -> list[str]:
    """The faults of answers whose operation the source has, and of errors."""
    facts = facts_of(api, source)
    return [
        f"{one.method} {one.path} {one.status} {one.answer}: {fault}"
        for one in exchanges
        for fault in facts.answer_faults(one)
        if fault != NO_OPERATION
    ]


@pytest.mark.parametrize(("api", "source"), SOURCES, ids=str)
def test_requests_of_an_adapter_fit(api: str, source: str) -> None:
    exchanges = recorded_adapter(api)
    assert len(exchanges) > 20
    assert not request_faults(api, source, exchanges)


@pytest.mark.parametrize(("api", "source"), SOURCES, ids=str)
def test_requests_that_the_gateway_sends_for_a_dialect_fit(api: str, source: str) -> None:
    """What a caller sends is forwarded in part; where the provider refuses it, it need not fit."""
    _, sent = recorded_gateway()[api]
    accepted = [one for one in sent if one.status < 400]
    assert len(accepted) > 10
    assert not request_faults(api, source, accepted)


@pytest.mark.parametrize(("api", "source"), SOURCES, ids=str)
def test_answers_of_an_emulator_fit(api: str, source: str) -> None:
    exchanges = [*recorded_emulator(api).exchanges, *recorded_adapter(api)]
    assert not answer_faults(api, source, exchanges)


@pytest.mark.parametrize(("api", "source"), SOURCES, ids=str)
def test_answers_of_a_dialect_fit(api: str, source: str) -> None:
    answered, _ = recorded_gateway()[api]
    assert not answer_faults(api, source, answered)


@pytest.mark.parametrize("api", APIS)
def test_every_exchange_that_succeeds_is_of_an_operation_that_a_source_has(api: str) -> None:
    known = [facts_of(of, source) for of, source in SOURCES if of == api]
    recorded = [recorded_emulator(api).exchanges, recorded_adapter(api), *recorded_gateway()[api]]
    unknown = {
        (one.method, one.path)
        for subject in recorded
        for one in subject
        if one.status < 400 and not any(facts.operations_at(one.method, one.path) for facts in known)
    }
    assert not unknown


@pytest.mark.parametrize("api", APIS)
def test_every_operation_of_an_emulator_was_recorded_with_a_success(api: str) -> None:
    committed = recorded_emulator(api).committed
    assert not [operation for operation, count in committed.items() if count == 0]


def test_every_operation_of_the_documents_was_recorded() -> None:
    for api in APIS:
        facts = documents(api)
        recorded = recorded_emulator(api).exchanges
        seen = {id(one) for exchange in recorded for one in facts.operations_at(exchange.method, exchange.path)}
        assert not [one["name"] for one in facts.operations if id(one) not in seen]


def test_a_durable_runtime_was_recorded_in_every_state() -> None:
    """An idle runtime has no instance."""
    answers = [one.answer for one in recorded_emulator("durable").exchanges if one.status < 300]
    runtimes = [answer for answer in answers if isinstance(answer, dict) and "instance" in answer]
    states = {(one["status"], one["instance"] and one["instance"]["state"]) for one in runtimes}
    assert states == {("idle", None), ("running", "running"), ("paused", "paused")}
    assert {status for status, _ in states} == set(
        documents("durable").shapes["runtime_members"]["properties"]["status"]["enum"]
    )
    assert {one["instance"]["pause_reason"] for one in runtimes if one["instance"]} == {None, "user", "timeout"}


def test_a_bctrl_runtime_was_recorded_in_every_kind_and_state() -> None:
    answers = [one.answer for one in recorded_emulator("bctrl").exchanges if one.status < 300]
    runtimes = [answer for answer in answers if "alias" in answer]
    for member, known in documents("bctrl").shapes["runtime"]["properties"].items():
        if "enum" in known:
            assert {one[member] for one in runtimes} == set(known["enum"])


def test_a_browser_was_recorded_in_every_state_that_the_emulator_has() -> None:
    answers = [one.answer for one in recorded_emulator("bctrl_browsers").exchanges if one.status < 300]
    browsers = [answer for answer in answers if "currentRun" in answer]
    states = {(one["status"], one["currentRun"] and one["currentRun"]["status"]) for one in browsers}
    assert states == {("idle", None), ("running", "starting"), ("running", "active"), ("running", "stopping")}
    assert {one["savedState"]["status"] for one in browsers} == {"none", "saved"}


@pytest.mark.parametrize("api", APIS)
def test_every_documented_error_was_recorded(api: str) -> None:
    facts = documents(api)
    errors = [one for one in recorded_emulator(api).exchanges if one.status >= 400]
    assert {status for error in facts.errors for status in error.get("statuses", ())} <= {one.status for one in errors}
    assert set(facts.shapes.get("error_type", {}).get("enum", ())) <= {one.answer.get("type") for one in errors}
