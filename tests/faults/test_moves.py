"""A fleet moves, and comes back, while a gateway and the target are killed, both providers fail, and clients read,
write and hold connections."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.durable.emulator import far_ends
from adapters.durable.emulator.far_ends import RuntimeServer
from tests.faults.callers import session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.fleet_clients import WITHIN, Clients, config_of
from tests.faults.holding import Holder, all_connected, holding
from tests.faults.killable import Emulated, emulated
from tests.faults.providers import Setup, Upstream, settings_of, upstreams
from tests.faults.replicas import DEADLINE, KEY, Replica, encryption_key, replicas, write_settings

COUNT = int(os.environ.get("MOVES_N", "24"))
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"fault": "drop_after", "probability": 0.03},
    {"fault": "drop_before", "probability": 0.02},
    {"fault": "status", "status": 502, "probability": 0.02},
    {"fault": "status_after", "status": 500, "probability": 0.02},
)


RESTART = 1012
"""The close code of a connection that ends because its runtime is at another place now."""

Provider = Upstream | Emulated


@pytest.fixture
def at_source(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The numbers of connections to the servers of runtimes in this process, which are those of the source, by the
    tokens of the sandboxes."""
    opened: Counter[str] = Counter()

    class Recording(RuntimeServer):
        def application(self) -> web.Application:
            async def count(request: web.Request, _: web.StreamResponse) -> None:
                opened[self._token] += request.path == "/api/ws"

            app = super().application()
            app.on_response_prepare.append(count)
            return app

    monkeypatch.setattr(far_ends, "RuntimeServer", Recording)
    return opened


async def test_a_fleet_moves_and_comes_back_while_everything_fails(
    store_location: StoreLocation, tmp_path: Path, seed: int, at_source: Counter[str]
) -> None:
    """Each connection ends at the switch, and the same address and token lead to the target only; after the rollback
    they lead to the source again."""
    chance, deadlines = random.Random(seed), {"create": DEADLINE}  # noqa: S311 (repeatable)
    loop = asyncio.get_running_loop()
    source = Setup("durable", "old", {}, {"runtime_server": "small"})
    sections = {
        "auth": {"principals": {"ops": {"keys": [KEY], "scopes": ["admin"]}}},
        "data": {"enabled": True, "listen": "127.0.0.1:0"},
    }
    async with (
        upstreams([source], deadlines=deadlines) as (old,),
        emulated("durable", "new", tmp_path, deadlines=deadlines) as (new, of_new),
        session() as client,
    ):
        providers = {**settings_of([old]), "new": of_new}
        store = {"encryption_keys": [encryption_key()], **store_location.settings}
        async with replicas(write_settings(tmp_path, providers, store, **sections), 2) as made:
            clients = Clients(made, client, chance)
            ids = await _fleet(clients)
            before = {runtime_id: await _seen(clients, runtime_id) for runtime_id in ids}
            holders = [await _holder(client, made[1], runtime_id) for runtime_id in ids[::6]]
            move = await _planned(clients)
            async with holding(holders):
                once = Counter(dict.fromkeys(at_source, 1))
                assert (at_source, len(once)) == (once, len(holders))
                async with clients.busy(ids[::10], ids):
                    await asyncio.gather(*(_fail(clients, one, chance) for one in (old, new)))
                    began = loop.time()
                    await clients.call("POST", f"/v1/moves/{move['id']}/apply", {"digest": move["digest"]})
                    await _until(clients, move, lambda counts: counts.get("moved", 0) >= COUNT // 4)
                    await made[0].kill()
                    await made[0].start()
                    await _until(clients, move, lambda counts: counts.get("moved", 0) >= COUNT // 2)
                    await new.kill()
                    await asyncio.sleep(1)
                    await new.start()
                    await _fail(clients, new, chance)
                    await _ends(clients, move, "done")
                    await _all(clients, move, "moved")
                applied = loop.time() - began
                fired = [await _end_faults(clients, one) for one in (old, new)]
                await _check(clients, before, new)
                await all_connected(holders)
                assert [holder.ends[0] for holder in holders] == [RESTART] * len(holders)
                assert at_source == once
                rollback = {"sync_back": ["config", "capabilities"]}
                for holder in holders:
                    holder.ends.clear()
                began = loop.time()
                await clients.call("POST", f"/v1/moves/{move['id']}/rollback", rollback)
                await _ends(clients, move, "rolled_back")
                back = loop.time() - began
                await _all(clients, move, "rolled_back")
                await _check(clients, before, old)
                await all_connected(holders)
                assert [holder.ends[0] for holder in holders] == [RESTART] * len(holders)
                assert at_source == once + once
            refused = sum((holder.refused for holder in holders), Counter[int]())
            figures = f"applied in {applied:.0f} s, rolled back in {back:.0f} s, {clients.outcomes}, {refused}, {fired}"
            print(figures)  # noqa: T201 (pytest shows it when the test fails, and with -rP)
    assert all(fired)
    assert (made[0].kills, new.kills) == (1, 1)


async def _holder(client: aiohttp.ClientSession, at: Replica, runtime_id: str) -> Holder:
    """A client of the server of a runtime, with an address of one gateway."""
    path = f"{at.url}/v1/runtimes/{runtime_id}/connections"
    async with client.post(path, json={"protocol": "runtime_server"}) as response:
        assert response.status == 200, await response.text()
        (given,) = (await response.json())["items"]
    return Holder(client, runtime_id, given["url"], given["token"])


async def _fail(clients: Clients, provider: Provider, chance: random.Random) -> None:
    """Let calls fail at a provider."""
    rules = [{"operation": "*", **rule, "seed": chance.randrange(1 << 30)} for rule in FAULTS]
    async with clients.client.post(f"{provider.url}/__faults", json=rules) as response:
        assert response.status == 201, await response.text()


async def _end_faults(clients: Clients, provider: Provider) -> dict[str, int]:
    """Let no more calls fail. Returns how often each fault occurred in the provider's present process."""
    async with clients.client.get(f"{provider.url}/__faults") as response:
        fired: dict[str, int] = (await response.json())["fired"]
    async with clients.client.delete(f"{provider.url}/__faults") as response:
        assert response.status == 200
    return fired


async def _fleet(clients: Clients) -> list[str]:
    """Runtimes with different configs, capabilities and states."""
    slots = asyncio.Semaphore(8)

    async def one(number: int) -> str:
        async with slots:
            body = {"kind": "durable", "provider": "old", "name": f"agent-{number}", "start": number % 3 == 0}
            runtime = await clients.call("POST", "/v1/runtimes", {**body, "config": config_of(f"c{number}")})
            if number % 4 == 0:
                binding = {"name": f"@acme/tool-{number}", "version": "1.0.0"}
                await clients.call("POST", f"/v1/runtimes/{runtime['id']}/capabilities", binding)
            return str(runtime["id"])

    return list(await asyncio.gather(*(one(number) for number in range(COUNT))))


async def _planned(clients: Clients) -> Any:
    body = {"source": {"provider": "old"}, "target": {"provider": "new"}, "when": "now", "concurrency": 8}
    move = await clients.call("POST", "/v1/moves", body)
    move = await _ends(clients, move, "planned")
    assert move["counts"] == {"planned": COUNT}
    return move


async def _ends(clients: Clients, move: Any, state: str) -> Any:
    return await _reaches(clients, move, lambda now: now["state"] == state)


async def _all(clients: Clients, move: Any, state: str) -> None:
    """All items have a state."""
    page = await clients.call("GET", f"/v1/moves/{move['id']}/items?limit=100")
    others = [(item["name"], item["state"], item["problem"]) for item in page["items"] if item["state"] != state]
    assert not others


async def _until(clients: Clients, move: Any, accepted: Callable[[Mapping[str, int]], bool]) -> Any:
    return await _reaches(clients, move, lambda now: accepted(now["counts"]))


async def _reaches(clients: Clients, move: Any, accepted: Callable[[Any], bool]) -> Any:
    found: list[Any] = []

    async def is_there() -> bool:
        found[:] = [await clients.call("GET", f"/v1/moves/{move['id']}")]
        return accepted(found[0])

    await eventually(is_there, f"{move['id']} is as it is to be", patience=WITHIN)
    return found[0]


async def _seen(clients: Clients, runtime_id: str) -> dict[str, Any]:
    runtime = await clients.call("GET", f"/v1/runtimes/{runtime_id}")
    config = await clients.call("GET", f"/v1/runtimes/{runtime_id}/config")
    bindings = await clients.call("GET", f"/v1/runtimes/{runtime_id}/capabilities")
    return {
        **{name: runtime[name] for name in ("id", "name", "state")},
        "config": config["config"],
        "bindings": {one["name"]: (one["version"], one["enabled"], one["flags"]) for one in bindings["items"]},
    }


async def _check(clients: Clients, before: Mapping[str, Any], at: Provider) -> None:
    """Every runtime is at one provider exactly once, as it was before or as it was written last."""
    for replica in clients.made:
        await eventually(
            partial(_lists, clients, replica, before, at), f"every replica knows that all are at {at.name}"
        )
    async with clients.client.get(f"{at.url}/__runtimes") as response:
        live = Counter(one["name"] for one in (await response.json())["items"] if one["live"])
    assert live == Counter(state["name"] for state in before.values())
    for runtime_id, state in before.items():
        now = await _seen(clients, runtime_id)
        if runtime_id in clients.last:
            value = now["config"]["runtime_server"]["env"]["VALUE"]
            assert int(value[1:]) >= clients.last[runtime_id], (runtime_id, value, clients.last[runtime_id])
            now["config"] = state["config"]
        assert now == state


async def _lists(clients: Clients, replica: Replica, before: Mapping[str, Any], at: Provider) -> bool:
    """Whether a replica, which may know it two seconds later, lists every runtime once, and at this provider."""
    listed, cursor = list[Any](), ""
    while cursor is not None:
        assert replica.url is not None
        async with clients.client.get(f"{replica.url}/v1/runtimes?limit=100{cursor}") as response:
            page = await response.json()
        listed += page["items"]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    shown = [runtime for runtime in listed if runtime["id"] in before]
    assert len({runtime["id"] for runtime in shown}) == len(shown)
    return len(shown) == len(before) and {runtime["provider"] for runtime in shown} == {at.name}
