"""What a plan says about a runtime, read from real emulators."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.domain.requests import InstallCapability, UpdateCapability
from gateway.domain.runtime import Cost, Runtime
from gateway.domain.values import Operation, State
from gateway.services.data_plane.open_connections import OpenConnections
from gateway.services.moves.describing import Describer
from gateway.services.moves.reading import LiveReader, SourceFacts
from tests.component.moves.ends import CTX, Ends, two_ends

SECRET = "5f1d7f4e-1f8e-4c39-8f69-0d8ad3ce2b11"
CONFIG: dict[str, Any] = {
    "version": "v2",
    "metadata": {"labels": {"team": "shop"}},
    "resources": {"cpu_cores": 4},
    "runtime_server": {"env": {"API_URL": "https://user:hunter2@api.example"}},
    "sandbox": {"egress": {"allow": ["api.example"]}},
}


@dataclass(frozen=True, eq=False)
class Opened:
    """An open connection of the data plane."""

    grant: Any
    opened_at: float


@pytest.fixture
async def durable() -> AsyncIterator[Ends]:
    async with two_ends("durable", "durable") as ends:
        yield ends


async def stored_secret(ends: Ends) -> str:
    """The id of a secret that the account of the target has."""
    calls: Any = ends.new.calls  # type: ignore[attr-defined]
    response = await calls.send(Operation.GET, "GET", calls.path("user", "secrets"), ends.call())
    secret_id: str = msgspec.json.decode(response.body)["secrets"][0]["id"]
    return secret_id


async def test_a_durable_runtime_carries_its_config_and_its_capabilities(durable: Ends) -> None:
    made = await durable.make(name="agent", description="An agent", config=CONFIG, runtime_limit_seconds=600)
    ref, call = durable.old.reference(made), durable.call()
    binding = await durable.old.install_capability(ref, InstallCapability(name="search", version="1.2.0"), call)  # type: ignore[attr-defined]
    await durable.old.update_capability(ref, binding.id, UpdateCapability(flags={"deep": True}), call)  # type: ignore[attr-defined]
    await durable.old.update_capability(ref, binding.id, UpdateCapability(enabled=False), call)  # type: ignore[attr-defined]
    planned = await durable.describe(made, mappings={"projects": {"default": "default"}})
    assert planned.blocked_by == []
    assert planned.changes == []
    assert planned.create["config"] == (await durable.old.get_config(ref, call)).config  # type: ignore[attr-defined]
    assert planned.create["name"] == "agent"
    assert (planned.create["provider"], planned.create["scope"]) == ("new", "zeta/two")
    assert {"#/config/resources", "#/config/runtime_server", "#/description", "capabilities"} <= {*planned.carries}
    (carried,) = planned.bindings
    assert (carried.name, carried.version, carried.enabled, carried.flags) == ("search", "1.2.0", False, {"deep": True})
    assert not planned.starts
    assert planned.unknown == ["#/runtime_limit_seconds", "whether new in zeta/two has capabilities: search"]


async def test_a_plan_only_reads_at_both_ends(durable: Ends) -> None:
    made = await durable.make(name="agent", config=CONFIG, start=True)
    for emulator in durable.emulators.values():
        emulator.requests.clear()
    await durable.describe(made)
    assert set(durable.requests("old")) == {"get", "get_config", "list_capabilities"}
    assert set(durable.requests("new")) == {"get_project"}


async def test_a_running_runtime_starts_at_the_target_and_loses_what_its_instance_has(durable: Ends) -> None:
    made = await durable.make(name="agent", runtime_limit_seconds=600, start=True)
    planned = await durable.describe(made, when="now")
    assert planned.starts
    assert {loss.what for loss in planned.lost} == {"disk", "sessions"}
    assert planned.addresses == ["runtime_server: the provider's addresses end"]
    assert planned.create["runtime_limit_seconds"] == 600
    assert "#/runtime_limit_seconds" not in planned.unknown
    assert planned.double_run is not None
    assert planned.double_run.startswith("Runs at both ends, from the start at the target until the source is stopped")


async def test_open_connections_of_the_data_plane_are_counted(durable: Ends) -> None:
    made = await durable.make(name="agent", start=True)
    grant = SimpleNamespace(runtime_id=made.id, protocol="runtime_server")
    plane: Any = SimpleNamespace(open=OpenConnections())
    for number in range(2):
        opened: Any = Opened(grant, number)
        plane.open.add(opened)
    describer = Describer(durable.fleet, durable.moves, LiveReader(durable.fleet), plane)
    move = durable.between()
    planned = await describer.describe(move, await describer.read(move, durable.old.reference(made), CTX), CTX)
    assert planned.addresses == [
        "runtime_server: the gateway's addresses continue; 2 open connections end at the switch"
    ]


async def test_a_plan_that_waits_for_idle_runtimes_says_which_are_not(durable: Ends) -> None:
    made = await durable.make(name="agent", start=True)
    planned = await durable.describe(made)
    waits = "Has compute, so it waits until it is idle. With when: now it moves while it runs."
    assert planned.double_run == waits
    await durable.old.pause(durable.old.reference(made), durable.call())  # type: ignore[attr-defined]
    planned = await durable.describe(made)
    assert planned.double_run == waits


async def test_a_paused_runtime_is_idle_at_the_target(durable: Ends) -> None:
    made = await durable.make(name="agent", start=True)
    await durable.old.pause(durable.old.reference(made), durable.call())  # type: ignore[attr-defined]
    planned = await durable.describe(made)
    assert not planned.starts
    assert {loss.what for loss in planned.lost} == {"disk", "pause", "sessions"}


async def test_the_cost_of_two_running_runtimes_is_that_of_the_source(durable: Ends) -> None:
    made = await durable.make(name="agent", start=True)
    assert made.durable is not None
    assert made.durable.instance is not None
    instance = msgspec.structs.replace(made.durable.instance, total_runtime_seconds=1800)
    used = msgspec.structs.replace(
        made, cost=Cost(estimated_total_credits=100), durable=msgspec.structs.replace(made.durable, instance=instance)
    )
    planned = await durable.describer.describe(durable.between(when="now"), SourceFacts(used), CTX)
    assert planned.double_run is not None
    assert planned.double_run.endswith("; the source costs about 200 credits an hour.")
    assert ("credits", "The 100 credits of the instance are billed to the source's account.") in [
        (loss.what, loss.why) for loss in planned.lost
    ]


async def test_a_secret_that_the_target_does_not_have_needs_a_mapping(durable: Ends) -> None:
    made = await durable.make(name="agent", config={**CONFIG, "secrets": {"secret_ids": [SECRET]}})
    planned = await durable.describe(made)
    assert [(each.code, each.pointer) for each in planned.blocked_by] == [
        ("mapping_required", f"#/mappings/secret_ids/{SECRET}")
    ]


async def test_a_mapped_secret_is_looked_up_at_the_target(durable: Ends) -> None:
    made = await durable.make(name="agent", config={**CONFIG, "secrets": {"secret_ids": [SECRET]}})
    known = await stored_secret(durable)
    planned = await durable.describe(made, mappings={"secret_ids": {SECRET: known}})
    assert planned.blocked_by == []
    assert planned.create["config"]["secrets"] == {"secret_ids": [known]}
    assert [change.pointer for change in planned.changes] == ["#/config/secrets/secret_ids/0"]
    missing = await durable.describe(made, mappings={"secret_ids": {SECRET: SECRET}})
    assert [(each.code, each.pointer) for each in missing.blocked_by] == [
        ("not_found", f"#/mappings/secret_ids/{SECRET}")
    ]


async def test_a_runtime_whose_source_cannot_be_asked_is_described_from_its_create(durable: Ends) -> None:
    """What may have changed since, and the capabilities, are unknown; nothing says that there are none."""
    create = {"kind": "durable", "name": "agent", "config": CONFIG, "labels": {"team": "shop"}}
    runtime = Runtime(
        id="old.x", kind="durable", provider="old", scope="acme/one", provider_id="x", name="agent", state=State.UNKNOWN
    )
    facts = SourceFacts(runtime, kept=create, live=False)
    planned = await durable.describer.describe(durable.between(), facts, CTX)
    assert not planned.live
    assert planned.create["config"] == CONFIG
    assert planned.bindings == []
    assert not planned.starts
    assert {"capabilities", "changes since"} <= {*planned.unknown}
