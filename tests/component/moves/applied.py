"""Moves that a whole gateway applies."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest

from gateway.services.moves import holding, mover, worker
from tests.component.whole_gateway import Gateway, Upstream

WITHIN: Final = 120


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One replica knows of an announcement at once."""
    monkeypatch.setattr(mover, "ANNOUNCED_FOR", 0.0)
    monkeypatch.setattr(mover, "EVERY", 0.1)
    monkeypatch.setattr(worker, "EVERY", 0.1)
    monkeypatch.setattr(holding, "_POLL", 0.05)


async def call(gateway: Gateway, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
    response = await gateway.call(method, path, body, **headers)
    assert response.status == status, f"{method} {path}: {response.text}"
    return response.json


async def reaches(gateway: Gateway, move_id: str, *states: str) -> Any:
    """The move, when it has one of these states."""
    return await becomes(gateway, move_id, lambda move: move["state"] in states)


async def becomes(gateway: Gateway, move_id: str, accepted: Callable[[Any], bool]) -> Any:
    """The move, when it is as it is to be."""
    async with asyncio.timeout(WITHIN):
        while True:
            move = await call(gateway, "GET", f"/v1/moves/{move_id}")
            if accepted(move):
                return move
            await asyncio.sleep(0.05)


async def moved(gateway: Gateway, source: Upstream, target: Upstream, **fields: Any) -> Any:
    """Plan a move of everything, apply it, and wait until it is done."""
    body = {"source": {"provider": source.name}, "target": {"provider": target.name}, **fields}
    move = await call(gateway, "POST", "/v1/moves", body, status=202)
    move = await reaches(gateway, move["id"], "planned", "failed")
    assert set(move["counts"]) == {"planned"}, await items(gateway, move)
    await call(gateway, "POST", f"/v1/moves/{move['id']}/apply", {"digest": move["digest"]}, status=202)
    return await reaches(gateway, move["id"], "done", "paused", "failed")


async def items(gateway: Gateway, move: Any) -> list[Any]:
    page = await call(gateway, "GET", f"/v1/moves/{move['id']}/items?limit=100")
    found: list[Any] = page["items"]
    return found


async def waits_for(gateway: Gateway, move: Any) -> str:
    """What the only runtime of a move waits for, when it does."""
    async with asyncio.timeout(WITHIN):
        while True:
            (item,) = await items(gateway, move)
            if item["waits_for"]:
                reason: str = item["waits_for"]
                return reason
            await asyncio.sleep(0.05)


async def fleet_of(gateway: Gateway, upstream: Upstream, count: int) -> list[Any]:
    """Durable runtimes with different configs, capabilities and states."""
    made = []
    for number in range(count):
        config = {
            "version": "v2",
            "metadata": {"labels": {"number": str(number)}},
            "runtime_server": {"env": {"SECRET": f"value-{number}"}},
            "resources": {"cpu_cores": 1 + number % 8},
        }
        runtime = await gateway.create(upstream, config=config, start=number % 4 == 0)
        for extra in range(number % 3):
            await capability(gateway, runtime["id"], f"@acme/tool-{extra}", number)
        made.append(runtime)
    return made


async def capability(gateway: Gateway, runtime_id: str, name: str, number: int) -> None:
    path = f"/v1/runtimes/{runtime_id}/capabilities"
    binding = await call(gateway, "POST", path, {"name": name, "version": f"1.0.{number}"}, status=201)
    if number % 2:
        await call(gateway, "PATCH", f"{path}/{binding['id']}", {"flags": {"fast": True}})


async def seen(gateway: Gateway, runtime_id: str) -> dict[str, Any]:
    """What clients see of a runtime, without what belongs to a place."""
    runtime = await call(gateway, "GET", f"/v1/runtimes/{runtime_id}")
    config = await call(gateway, "GET", f"/v1/runtimes/{runtime_id}/config")
    bindings = await call(gateway, "GET", f"/v1/runtimes/{runtime_id}/capabilities")
    return {
        **{name: runtime[name] for name in ("id", "name", "state", "labels", "owner")},
        "config": config["config"],
        "bindings": {one["name"]: (one["version"], one["enabled"], one["flags"]) for one in bindings["items"]},
    }
