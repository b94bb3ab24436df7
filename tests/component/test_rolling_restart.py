"""Two gateways behind a balancer are replaced one after the other under load; retries of safe requests hide it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from tests.component.fleets import KEY, Fleet
from tests.component.processes import HANGS, client, running


class Balancer:
    """Sends each request to the next gateway that is ready. It repeats a request, with the same key, that failed
    without a response or with a 503 or 504 that is retryable, as any client may."""

    def __init__(self) -> None:
        self.ready: list[str] = []
        self._next = 0

    async def call(self, session: aiohttp.ClientSession, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with asyncio.timeout(HANGS):
            while True:
                self._next += 1
                url = self.ready[self._next % len(self.ready)]
                try:
                    async with session.request(method, url + path, **options) as response:
                        body = await response.json()
                        if response.status in {503, 504} and body["retryable"] in {"yes", "same_request"}:
                            continue
                        return response.status, body
                except aiohttp.ClientConnectionError:
                    continue


async def test_rolling_restart_loses_no_request_and_no_create(fleet: Fleet) -> None:
    balancer, over, made = Balancer(), asyncio.Event(), {}
    sections: dict[str, Any] = {"store": {"url": f"sqlite:///{fleet.folder}/shared.db"}, "shutdown": {"delay": 0.2}}
    file = fleet.write(**sections)

    async def creating(worker: int, session: aiohttp.ClientSession) -> int:
        count = 0
        while not over.is_set():
            name = f"w{worker}-{count}"
            body = {"kind": "durable", "provider": "durable-demo", "name": name}
            key = {"Idempotency-Key": f"key-of-{name}"}
            status, runtime = await balancer.call(session, "POST", "/v1/runtimes", json=body, headers=key)
            assert status == 201, runtime
            made[name] = runtime["id"]
            status, read = await balancer.call(session, "GET", f"/v1/runtimes/{runtime['id']}")
            assert (status, read["name"]) == (200, name)
            count += 1
        return count

    async def start(stack: AsyncExitStack) -> Any:
        process = await stack.enter_async_context(running("serve", "--config", str(file), cwd=fleet.folder))
        await process.until_output('"event":"started"')
        return process, await process.url()

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}))
        gateways = [await start(stack), await start(stack)]
        balancer.ready = [url for _, url in gateways]
        load = [asyncio.create_task(creating(worker, session)) for worker in range(4)]
        for index in range(2):
            process, url = gateways[index]
            process.send_signal()
            async with client(url) as probe:  # the balancer waits until it is not ready, and stops sending to it
                while await is_ready(probe):
                    pass
            balancer.ready.remove(url)
            assert await process.wait() == 0
            gateways[index] = await start(stack)
            balancer.ready.append(gateways[index][1])
        over.set()
        counts = await asyncio.gather(*load)
        assert min(counts) > 0
        durable = fleet.emulators["durable-demo"].emulator
        assert durable.creates == len(made) == sum(counts)


async def is_ready(probe: aiohttp.ClientSession) -> bool:
    try:
        async with probe.get("/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False
