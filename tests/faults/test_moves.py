"""A fleet moves, and comes back, while a gateway is killed, providers fail, and clients read and write."""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import plugins
from tests.faults.callers import session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import Setup, Upstream, settings_of, upstreams
from tests.faults.replicas import DEADLINE, KEY, Replica, replicas, write_settings
from tests.tcp_faults import Mode

COUNT = int(os.environ.get("MOVES_N", "24"))
WITHIN = 600
NATIVE = "/durable/api/v1/org/{}/ws/{}/runtimes".format(*plugins()["durable"].demo.scope.split("/"))
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"fault": "drop_after", "probability": 0.03},
    {"fault": "drop_before", "probability": 0.02},
    {"fault": "status", "status": 502, "probability": 0.02},
    {"fault": "status_after", "status": 500, "probability": 0.02},
)


@dataclass
class Clients:
    """Clients of the gateways, which send again what is retryable. ``last`` is the last config of each runtime that
    was accepted, ``outcomes`` counts the responses."""

    made: Sequence[Replica]
    client: aiohttp.ClientSession
    chance: random.Random
    last: dict[str, int] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def call(self, method: str, path: str, body: Any = None, accepted: Sequence[int] = (200, 201, 202)) -> Any:
        """The JSON of the final response. Raises ``AssertionError`` for an error that is not retryable."""
        async with asyncio.timeout(WITHIN):
            while True:
                status, document = await self._try(method, path, body)
                if status in accepted:
                    return document
                assert status == 0 or _may_be_repeated(status, document), (method, path, status, document)
                await asyncio.sleep(0.2)

    async def _try(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        url = self.chance.choice(self.made).url
        if url is None:
            return 0, "the gateway is starting"
        try:
            async with self.client.request(method, url + path, json=body) as response:
                text = await response.text()
                document = json.loads(text) if text else None
        except aiohttp.ClientError as exc:
            self.outcomes[type(exc).__name__] += 1
            return 0, str(exc)
        code = document.get("code", "") if isinstance(document, dict) else ""
        self.outcomes[f"{method} {response.status} {code}"] += 1
        return response.status, document

    async def write(self, runtime_id: str) -> None:
        """Replace the config of a runtime, again and again."""
        number = 0
        while True:
            number += 1
            await self.call("PUT", f"/v1/runtimes/{runtime_id}/config", {"config": config_of(f"w{number}")})
            self.last[runtime_id] = number
            await asyncio.sleep(0.05)

    async def read(self, ids: Sequence[str]) -> None:
        """Read runtimes under the ids that they had first."""
        while True:
            runtime_id = self.chance.choice(ids)
            found = await self.call("GET", f"/v1/runtimes/{runtime_id}")
            assert found["id"] == runtime_id
            await asyncio.sleep(0.02)

    async def read_natively(self, keys: Mapping[str, str]) -> None:
        """Read runtimes as the provider's own clients do, by their keys, which lead to the first native ids."""
        while True:
            key = self.chance.choice(list(keys))
            path = self.chance.choice((key, keys[key]))
            found = await self.call("GET", f"{NATIVE}/{path}")
            assert (found["id"], found["key"]) == (keys[key], key)
            await asyncio.sleep(0.02)

    async def create_again(self, names: Sequence[str], ids: Sequence[str]) -> None:
        """Create runtimes of names that exist, at the provider where they were first."""
        while True:
            number = self.chance.randrange(len(names))
            body = {"kind": "durable", "provider": "old", "name": names[number]}
            found = await self.call("POST", "/v1/runtimes", body)
            assert (found["id"], found["created"]) == (ids[number], False)
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def busy(self, written: Sequence[str], ids: Sequence[str]) -> AsyncIterator[None]:
        """Write and read in the background, under ids, names and native ids."""
        names = [f"agent-{number}" for number in range(len(ids))]
        keys = {name: runtime_id.removeprefix("old.") for name, runtime_id in zip(names, ids, strict=True)}
        tasks = [asyncio.create_task(self.write(one)) for one in written]
        tasks.append(asyncio.create_task(self.read(ids)))
        tasks.append(asyncio.create_task(self.read_natively(keys)))
        tasks.append(asyncio.create_task(self.create_again(names, ids)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [one for one in ended if isinstance(one, Exception)]
        assert not failed, failed


def _may_be_repeated(status: int, document: Any) -> bool:
    """Whether a response says so, in the gateway's own form or in that of the durable API."""
    if "retryable" in document:
        return bool(document["retryable"] != "no")
    return status in {409, 429, 500, 502, 503, 504}


def config_of(value: str) -> dict[str, Any]:
    return {"version": "v2", "runtime_server": {"env": {"VALUE": value}}}


async def test_a_fleet_moves_and_comes_back_while_everything_fails(
    store_location: StoreLocation, tmp_path: Path, seed: int
) -> None:
    setups = [Setup("durable", name, {}) for name in ("old", "new")]
    chance = random.Random(seed)  # noqa: S311 (repeatable)
    auth = {"principals": {"ops": {"keys": [KEY], "scopes": ["admin"]}}}
    async with upstreams(setups, deadlines={"create": DEADLINE}) as providers, session() as client:
        old, new = providers
        settings = write_settings(tmp_path, settings_of(providers), store_location.settings, auth=auth)
        async with replicas(settings, 2) as made:
            clients = Clients(made, client, chance)
            ids = await _fleet(clients)
            before = {runtime_id: await _seen(clients, runtime_id) for runtime_id in ids}
            move = await _planned(clients)
            rules = [{**rule, "seed": chance.randrange(1 << 30)} for rule in FAULTS]
            for provider in providers:
                for rule in rules:
                    provider.fault(rule["fault"], "*", **{key: rule[key] for key in rule if key != "fault"})
            written = ids[::10]
            async with clients.busy(written, ids):
                await clients.call("POST", f"/v1/moves/{move['id']}/apply", {"digest": move["digest"]})
                await _until(clients, move, lambda counts: counts.get("moved", 0) >= COUNT // 4)
                await made[0].kill()
                await made[0].start()
                await _until(clients, move, lambda counts: counts.get("moved", 0) >= COUNT // 2)
                await new.proxy.set_mode(Mode.REFUSE)
                await asyncio.sleep(1)
                await new.proxy.set_mode(Mode.FORWARD)
                await _ends(clients, move, "done")
                await _all(clients, move, "moved")
            for provider in providers:
                provider.emulator.faults.end_all()
            print(f"responses {clients.outcomes}")  # noqa: T201 (pytest shows it when the test fails)
            await _check(clients, before, new)
            await clients.call("POST", f"/v1/moves/{move['id']}/rollback", {"sync_back": ["config", "capabilities"]})
            await _ends(clients, move, "rolled_back")
            await _all(clients, move, "rolled_back")
            await _check(clients, before, old)
    assert old.fired("drop_after") + new.fired("drop_after") > 0
    assert made[0].kills == 1


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


async def _check(clients: Clients, before: Mapping[str, Any], at: Upstream) -> None:
    """Every runtime is at one provider exactly once, as it was before or as it was written last."""
    for replica in clients.made:
        await eventually(
            partial(_lists, clients, replica, before, at), f"every replica knows that all are at {at.name}"
        )
    assert Counter(one.name for one in at.live()) == Counter(state["name"] for state in before.values())
    for runtime_id, state in before.items():
        now = await _seen(clients, runtime_id)
        if runtime_id in clients.last:
            value = now["config"]["runtime_server"]["env"]["VALUE"]
            assert int(value[1:]) >= clients.last[runtime_id], (runtime_id, value, clients.last[runtime_id])
            now["config"] = state["config"]
        assert now == state


async def _lists(clients: Clients, replica: Replica, before: Mapping[str, Any], at: Upstream) -> bool:
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
