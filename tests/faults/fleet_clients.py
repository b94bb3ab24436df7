"""Clients of a fleet of durable runtimes that moves: they read, write and create, and send again what is retryable."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway.app import plugins
from tests.faults.replicas import Replica

WITHIN = 600
NATIVE = "/durable/api/v1/org/{}/ws/{}/runtimes".format(*plugins()["durable"].demo.scope.split("/"))


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
