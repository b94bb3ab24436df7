"""Creates: the name, the provider, and the distinction from an existing runtime."""

from typing import Any

import pytest

from gateway.domain.errors import (
    AlreadyExists,
    OutcomeUnknown,
    ProviderFailure,
    ProviderTimeout,
    ProviderUnavailable,
    Retryable,
    ValidationFailed,
)
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import BrowserPart, Runtime
from gateway.domain.values import Operation, State
from gateway.ports.context import RequestContext
from gateway.ports.provider import Deduplication
from gateway.ports.transport import Phase, TransportFailure
from tests.unit.services.fakes import (
    TOKEN,
    BrowserLike,
    DurableLike,
    FakeAdapter,
    context,
    create,
    fleet_of,
    services_of,
)

CONFLICT = ProviderFailure("one", status=409, code="already_exists_error", detail="exists", own_envelope=True)


async def _create(request: CreateRequest, *adapters: FakeAdapter, ctx: RequestContext | None = None) -> Runtime:
    ensured = await services_of(fleet_of(adapters)).create.create(request, ctx or context())
    return ensured.created.runtime


async def test_a_new_runtime_has_created_true() -> None:
    adapter, ctx = DurableLike("one"), context()
    made = await _create(create(name="agent"), adapter, ctx=ctx)
    assert (made.created, made.name, made.state) == (True, "agent", State.IDLE)
    assert (ctx.provider, ctx.scope, ctx.runtime_id) == ("one", "home", made.id)
    assert adapter.world.asked == ["create"]


async def test_an_existing_runtime_has_created_false() -> None:
    adapter = DurableLike("one")
    first = await _create(create(name="agent"), adapter)
    again = await _create(create(name="agent"), adapter)
    assert (again.id, again.created) == (first.id, False)
    assert len(adapter.world.runtimes) == 1


async def test_each_create_without_a_name_gets_its_own() -> None:
    """The gateway always sends a name: a provider that chooses one may return an existing runtime."""
    adapter = DurableLike("one")
    names = {(await _create(create(), adapter)).name for _ in range(3)}
    assert len(names) == 3
    assert all(name is not None and name.startswith("durable-") for name in names)


async def test_if_exists_fail_refuses_an_identical_runtime_too() -> None:
    adapter = DurableLike("one")
    adapter.put("agent")
    with pytest.raises(AlreadyExists) as caught:
        await _create(create(name="agent", if_exists="fail"), adapter)
    assert (caught.value.provider, caught.value.errors) == ("one", ())


async def test_a_runtime_that_differs_is_refused_with_pointers_of_sent_fields() -> None:
    adapter = DurableLike("one")
    adapter.put("agent", display_name="Old", description="Old")
    with pytest.raises(AlreadyExists) as caught:
        await _create(create(name="agent", display_name="New"), adapter)
    assert [fault.pointer for fault in caught.value.errors] == ["#/display_name"]


async def test_a_conflict_of_the_provider_is_explained_from_its_config() -> None:
    adapter = DurableLike("one")
    there = adapter.put("agent")
    adapter.world.configs[there.provider_id] = {"version": "v2", "resources": {"cpu_cores": 2}}
    adapter.world.fail("create", AlreadyExists("exists", failure=CONFLICT))
    with pytest.raises(AlreadyExists) as caught:
        await _create(create(name="agent", config={"version": "v2", "resources": {"cpu_cores": 4}}), adapter)
    assert [fault.pointer for fault in caught.value.errors] == ["#/config/resources/cpu_cores"]
    assert caught.value.failure == CONFLICT


async def test_a_conflict_without_visible_differences_remains() -> None:
    """The provider compares complete configs, so it can see differences that the gateway cannot."""
    adapter = DurableLike("one")
    adapter.put("agent")
    adapter.world.fail("create", AlreadyExists("exists", failure=CONFLICT))
    with pytest.raises(AlreadyExists) as caught:
        await _create(create(name="agent"), adapter)
    assert (caught.value.errors, caught.value.failure) == ((), CONFLICT)


async def test_a_conflict_with_a_runtime_that_is_not_live_remains_the_providers() -> None:
    adapter = BrowserLike("one")
    adapter.put("bot", State.STOPPED)
    adapter.world.fail("create", AlreadyExists("taken", failure=CONFLICT))
    with pytest.raises(AlreadyExists) as caught:
        await _create(create("browser", name="bot"), adapter)
    assert caught.value.failure == CONFLICT


async def test_without_deduplication_the_name_is_looked_up_first() -> None:
    adapter = BrowserLike("one")
    assert adapter.deduplication is Deduplication.NONE
    adapter.put("bot", State.STOPPED)
    first = await _create(create("browser", name="bot"), adapter)
    again = await _create(create("browser", name="bot"), adapter)
    assert (first.created, again.created, again.id) == (True, False, first.id)
    assert adapter.world.asked == ["find", "create", "find"]


async def test_nothing_is_created_if_the_look_up_by_name_fails() -> None:
    adapter = BrowserLike("one")
    adapter.world.fail("find", TransportFailure("timeout", Phase.SENT, operation=Operation.LIST))
    with pytest.raises(ProviderTimeout):
        await _create(create("browser", name="bot"), adapter)
    assert adapter.world.asked == ["find"]


async def test_a_name_taken_concurrently_returns_the_runtime_that_took_it() -> None:
    adapter = BrowserLike("one")
    adapter.world.fail("create", AlreadyExists("taken", failure=CONFLICT))

    async def somebody_is_faster() -> None:
        adapter.put("bot", State.RUNNING)

    adapter.world.before["create"] = somebody_is_faster
    made = await _create(create("browser", name="bot"), adapter)
    assert made.created is False
    assert len(adapter.world.runtimes) == 1


async def test_an_existing_browser_with_another_driver_differs() -> None:
    adapter = BrowserLike("one")
    adapter.put("bot", State.RUNNING, browser=BrowserPart(driver="selenium"))
    with pytest.raises(AlreadyExists) as caught:
        await _create(create("browser", name="bot", driver="playwright"), adapter)
    assert [fault.pointer for fault in caught.value.errors] == ["#/driver"]


async def test_a_lost_response_is_reported_with_the_name() -> None:
    adapter = DurableLike("one")
    adapter.world.fail("create", TransportFailure("disconnected", Phase.SENT))
    with pytest.raises(OutcomeUnknown) as caught:
        await _create(create(name="agent"), adapter)
    assert caught.value.extra["name"] == "agent"
    assert caught.value.retryable is Retryable.SAME_REQUEST


async def test_an_unknown_outcome_reports_a_generated_name_too() -> None:
    adapter = DurableLike("one")
    adapter.world.fail("create", TransportFailure("timeout", Phase.SENT))
    with pytest.raises(OutcomeUnknown) as caught:
        await _create(create(), adapter)
    assert caught.value.extra["name"].startswith("durable-")


async def test_a_refused_connection_creates_nothing() -> None:
    adapter = DurableLike("one")
    adapter.world.fail("create", TransportFailure("refused", Phase.CONNECTING))
    with pytest.raises(ProviderUnavailable) as caught:
        await _create(create(name="agent"), adapter)
    assert "nothing was sent" in caught.value.detail


async def test_start_true_starts_the_created_runtime() -> None:
    adapter = DurableLike("one")
    made = await _create(create(name="agent", start=True), adapter)
    assert (made.created, made.state) == (True, State.RUNNING)
    assert adapter.world.asked == ["create", "start"]


@pytest.mark.parametrize("start", [{"start": False}, {}])
async def test_without_start_the_runtime_stays_idle(start: dict[str, Any]) -> None:
    made = await _create(create(name="agent", **start), DurableLike("one"))
    assert made.state is State.IDLE


async def test_a_start_that_fails_is_a_warning_because_the_runtime_exists() -> None:
    adapter = DurableLike("one")
    adapter.world.fail("start", TransportFailure("timeout", Phase.SENT))
    made = await _create(create(name="agent", start=True), adapter)
    assert (made.created, made.state) == (True, State.IDLE)
    assert isinstance(made.warnings, list)
    assert [warning.pointer for warning in made.warnings] == ["#/start"]
    assert "outcome_unknown" in made.warnings[0].detail


async def test_an_existing_runtime_is_not_started_and_has_a_warning() -> None:
    adapter = DurableLike("one")
    adapter.put("agent")
    made = await _create(create(name="agent", start=True), adapter)
    assert made.state is State.IDLE
    assert isinstance(made.warnings, list)
    assert [warning.pointer for warning in made.warnings] == ["#/start"]
    assert adapter.world.asked == ["create"]


async def test_an_existing_running_runtime_has_no_warning() -> None:
    adapter = DurableLike("one")
    adapter.put("agent", State.RUNNING)
    made = await _create(create(name="agent", start=True), adapter)
    assert not isinstance(made.warnings, list)


async def test_a_browser_is_launched_by_its_create() -> None:
    adapter = BrowserLike("one")
    made = await _create(create("browser", name="bot", start=True), adapter)
    assert made.state is State.RUNNING
    assert adapter.world.asked == ["find", "create"]


async def test_unknown_keys_of_the_config_are_passed_on_with_a_warning() -> None:
    made = await _create(create(name="agent", config={"gpu": 1}), DurableLike("one"))
    assert isinstance(made.warnings, list)
    assert [warning.pointer for warning in made.warnings] == ["#/config/gpu"]


async def test_a_create_that_the_adapter_refuses_is_not_sent() -> None:
    adapter = DurableLike("one")
    with pytest.raises(ValidationFailed):
        await _create(create(name="agent", provider_options={"x": 1}), adapter)
    assert adapter.world.asked == []


async def test_secrets_that_a_provider_echoes_are_removed_from_the_error() -> None:
    adapter = DurableLike("one")
    echoed = f"bad value hunter2-env for {TOKEN}"
    adapter.put("agent")
    failure = ProviderFailure(
        "one", status=409, code=f"c-{TOKEN}", detail=echoed, request_id="hunter2-env", own_envelope=True
    )
    adapter.world.fail("create", AlreadyExists("x", failure=failure))
    env = {"KEY": "hunter2-env"}
    with pytest.raises(AlreadyExists) as caught:
        await _create(create(name="agent", config={"runtime_server": {"env": env}}), adapter)
    failure = caught.value.failure
    assert failure is not None
    assert (failure.detail, failure.code, failure.request_id) == (
        "bad value [redacted] for [redacted]",
        "c-[redacted]",
        "[redacted]",
    )


async def test_the_deadline_of_a_create_is_that_of_its_provider() -> None:
    adapter = DurableLike("one", deadlines={"create": 7, "start": 90})
    await _create(create(name="agent", start=True), adapter)
    assert [call.deadline for call in adapter.world.calls] == [1_007.0, 1_090.0]
    assert {call.request_id for call in adapter.world.calls} == {"request-1"}
