"""A fleet is moved away from a provider that does not exist any longer."""

from pathlib import Path
from typing import Any

import pytest

from gateway.services.moves import items
from tests.component.moves.applied import at_once
from tests.faults.conftest import StoreLocation
from tests.faults.moving import AUTH, Operator
from tests.faults.providers import Setup
from tests.faults.world import world
from tests.tcp_faults import Mode

ENDS = [Setup("durable", "old", {}), Setup("durable", "new", {})]
COUNT = 12


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """One gateway knows of an announcement at once."""
    at_once(monkeypatch)
    monkeypatch.setattr(items, "_END_AGAIN", 0.05)


def config(number: int, cores: int) -> dict[str, Any]:
    return {
        "version": "v2",
        "metadata": {"labels": {"number": str(number)}},
        "resources": {"cpu_cores": cores},
        "capabilities": [{"name": "@acme/tool", "version": f"1.0.{number}"}],
        "runtime_server": {"env": {"SECRET": f"value-{number}"}},
    }


async def test_fleet_of_a_source_that_is_dead_from_the_start_moves_from_kept_creates(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    """The gateway starts when the port of the source is closed already. Half of the configs were replaced before."""
    async with world(tmp_path, store_location, setups=ENDS) as w:
        old, new = w.providers.values()
        made = []
        async with w.gateway(auth=AUTH):
            operator = Operator(w.client, lambda: w.gateways[-1].url)
            for number in range(COUNT):
                response = await w.made(old, f"agent-{number}", f"k{number}", config=config(number, 1))
                made.append(response.json)
                if number % 2:
                    path = f"/v1/runtimes/{response.json['id']}/config"
                    await operator.done("PUT", path, {"config": config(number, 2 + number)})
            before = [(await operator.seen(runtime["id"]))["config"] for runtime in made]
        await old.proxy.set_mode(Mode.REFUSE)
        sent = sum(old.emulator.requests.per_operation.values())
        async with w.gateway(auth=AUTH):
            move = await operator.planned("old", "new")
            assert (move["state"], move["counts"]) == ("planned", {"planned": COUNT}), move
            assert any("source could not be asked" in effect for effect in move["side_effects"])
            for item in await operator.items(move):
                assert {"changes since", "capabilities"} <= set(item["unknown"])
            move = await operator.apply(move)
            found = {item["runtime_id"]: item for item in await operator.items(move)}
            assert (move["state"], move["counts"]) == ("done", {"moved": COUNT}), found
            for runtime, config_before in zip(made, before, strict=True):
                now = await operator.get(f"/v1/runtimes/{runtime['id']}")
                assert (now["id"], now["name"], now["provider"]) == (runtime["id"], runtime["name"], "new")
                assert (await operator.seen(runtime["id"]))["config"] == config_before
                assert found[runtime["id"]]["problem"]["code"] == "provider_unavailable"
                again = await w.made(old, runtime["name"])
                assert (again.status, again.json["id"], again.json["created"]) == (200, runtime["id"], False)
            listed = (await operator.get("/v1/runtimes?provider=new&limit=100"))["items"]
            assert {runtime["id"] for runtime in listed} == {runtime["id"] for runtime in made}
        assert len(new.made()) == len({one.name for one in new.made()}) == new.emulator.creates == COUNT
        assert sum(old.emulator.requests.per_operation.values()) == sent
