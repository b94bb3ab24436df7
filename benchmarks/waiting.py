"""Many callers that wait for a few runtimes: ``python -m benchmarks.waiting --callers 2000 --runtimes 100``.

The gateway is a process of its own, in front of an emulator in this process, whose browsers start for as long as its
clock stands still. A third of the callers reads with ``?wait=60`` and ``If-None-Match``, a third has an event stream,
and a third starts the runtime with ``?wait=60``. Printed are the polls of each runtime, the memory of the gateway, how
long a change takes to reach all callers, and how they are answered when the gateway is stopped while all wait.
"""

import argparse
import asyncio
import itertools
import json
import resource
import signal
import socket
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from benchmarks.processes import resident
from benchmarks.versions import KEY
from gateway.app import create_emulator, plugins
from gateway.testing.emulator import EMULATOR
from gateway.testing.processes import running

_API: Final = "bctrl_browsers"
_HEADERS: Final = {"Authorization": f"Bearer {KEY}"}
_TOKEN: Final = KEY  # the emulator's
_AT_ONCE: Final = 150
"""Callers that come at once: a start reads the runtime, and a provider's reads have so many slots."""
_GATEWAY: Final = "from gateway.cli import main; main()"


class Polls:
    """When each runtime was read at the provider."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)

    @web.middleware
    async def seen(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note a read of one runtime."""
        if request.method == "GET" and request.path.count("/") == 3:
            self.times[request.path].append(time.monotonic())
        return await handler(request)

    async def counted(self, seconds: float) -> str:
        """The figures of the next ``seconds``."""
        self.times.clear()
        await asyncio.sleep(seconds)
        counts = [len(times) for times in self.times.values()]
        gaps = [b - a for times in self.times.values() for a, b in itertools.pairwise(times)]
        each = f"{min(counts)} to {max(counts)} polls of each of {len(counts)} runtimes"
        return f"{each} in {seconds:.0f} s, {min(gaps):.2f} s apart at least"


class Callers:
    """Callers of the three kinds. ``answers`` counts what each kind received last; ``told`` are those that know that
    the runtime runs."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._at = (parts.hostname, parts.port)
        self.answers: Counter[str] = Counter()
        self.told = 0

    async def reads(self, runtime_id: str, tag: str) -> None:
        """Read with ``?wait=`` until the gateway ends."""
        while True:
            status, headers, body = await self._call(
                "GET", f"/v1/runtimes/{runtime_id}?wait=60", f"If-None-Match: {tag}\r\n"
            )
            self._heard(body)
            if status != 200:
                self.answers[f"read: {status}"] += 1
                return
            tag = headers["etag"]

    async def starts(self, runtime_id: str, _tag: str) -> None:
        """Start with ``?wait=``, then read until the gateway ends."""
        status, _, body = await self._call("POST", f"/v1/runtimes/{runtime_id}/start?wait=60", "Content-Length: 0\r\n")
        self._heard(body)
        if status == 200:
            await self.reads(runtime_id, json.loads(body)["etag"])
        else:
            self.answers[f"start: {status}"] += 1

    async def watches(self, runtime_id: str, _tag: str) -> None:
        """Read an event stream until its end."""
        reader, writer = await self._send("GET", f"/v1/runtimes/{runtime_id}/events", "")
        await reader.readuntil(b"\r\n\r\n")
        last = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            frame = (await reader.readexactly(size + 2))[:-2]
            last = frame if frame.startswith(b"event") else last
            self._heard(frame)
        self.answers["stream: " + last.decode().partition("data: ")[2].strip()] += 1
        writer.close()

    async def all_know(self, callers: int) -> bool:
        """Whether as many callers know that the runtime runs."""
        return self.told >= callers

    def _heard(self, body: bytes) -> None:
        self.told += b'"state":"running"' in body

    async def _send(self, method: str, path: str, lines: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self._at)
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n{lines}\r\n".encode())
        return reader, writer

    async def _call(self, method: str, path: str, lines: str) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await self._send(method, path, lines)
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        writer.close()
        return int(first.split()[1]), headers, body


@asynccontextmanager
async def _gateway(upstream: str, callers: int) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The gateway in front of the emulator at this address: its own address, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        demo = plugins()[_API].demo
        provider = {"api": _API, "base_url": upstream + demo.base_path, "token": _TOKEN, "scope": demo.scope}
        document = {
            "version": 1,
            "http": {"listen": listen, "max_waiting": 3 * callers, "max_connections": 2 * callers},
            "auth": {"keys": {"bench": {"key": KEY}}},
            "store": {"url": f"sqlite:///{folder}/gateway.db"},
            "log": {"level": "error"},
            "providers": {"browsers": {**provider, "wait_seconds": 0}},
        }
        file = Path(folder) / "gateway.yaml"
        file.write_text(json.dumps(document))
        command = (sys.executable, "-c", _GATEWAY, "serve", "--config", str(file))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        try:
            yield f"http://{listen}", process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def measure(callers: int, runtimes: int, seconds: float) -> None:
    """Run it, and print the figures."""
    polls, now = Polls(), time.time()
    app = create_emulator(_API, token=_TOKEN)
    app.middlewares.append(polls.seen)
    app[EMULATOR].now = lambda: now
    async with (
        running(app) as upstream,
        _gateway(upstream, callers) as (url, gateway),
        aiohttp.ClientSession(url, headers=_HEADERS) as client,
    ):
        await _until(lambda: _is_ready(client))
        made = [await _created(client, number) for number in range(runtimes)]
        _say(f"memory without callers: {resident(gateway.pid) / (1 << 20):.1f} MiB")
        crowd = Callers(url)
        tasks = await _gathered(crowd, made, callers, client)
        _say(f"{callers} callers wait: {await polls.counted(seconds)}")
        _say(f"memory: {resident(gateway.pid) / (1 << 20):.1f} MiB")
        now, began = now + 60, time.monotonic()
        await _until(lambda: crowd.all_know(callers))
        _say(f"all {callers} know of a change after {time.monotonic() - began:.1f} s")
        await _until(lambda: _all_wait(client, callers))
        _say(f"nothing changes: {await polls.counted(seconds)}")
        _say(f"memory: {resident(gateway.pid) / (1 << 20):.1f} MiB")
        began = time.monotonic()
        gateway.send_signal(signal.SIGTERM)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        _say(f"SIGTERM: all answered after {time.monotonic() - began:.1f} s: {dict(crowd.answers)}")
        failed = Counter(repr(each) for each in ended if each is not None)
        _say(f"not answered: {sum(failed.values())} {dict(failed) or ''}; exit code {await gateway.wait()}")


async def _gathered(
    crowd: Callers, made: list[tuple[str, str]], callers: int, client: aiohttp.ClientSession
) -> list["asyncio.Task[None]"]:
    """The callers, in turn of each kind, when all of them wait."""
    kinds = (crowd.reads, crowd.watches, crowd.starts)
    tasks: list[asyncio.Task[None]] = []
    for first in range(0, callers, _AT_ONCE):
        there = min(first + _AT_ONCE, callers)
        tasks += [asyncio.create_task(kinds[n % 3](*made[n // 3 % len(made)])) for n in range(first, there)]
        await _until(partial(_all_wait, client, there))
    return tasks


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 (it happens in another process)
            await asyncio.sleep(0.1)


async def _is_ready(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _all_wait(client: aiohttp.ClientSession, callers: int) -> bool:
    async with client.get("/metrics") as answer:
        return f"\nrtgw_waiting {float(callers)}\n" in await answer.text()


async def _created(client: aiohttp.ClientSession, number: int) -> tuple[str, str]:
    """The id and tag of a new runtime, which starts."""
    async with client.post("/v1/runtimes?wait=0", json={"kind": "browser", "name": f"agent-{number}"}) as answer:
        made: Any = await answer.json()
        location = answer.headers["Location"]
    while made["object"] == "intent":
        async with client.get(location) as answer:
            made = await answer.json()
        if made["object"] == "intent" and made["runtime_id"]:
            location = f"/v1/runtimes/{made['runtime_id']}"
    async with client.get(f"/v1/runtimes/{made['id']}") as answer:
        return made["id"], answer.headers["ETag"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--callers", type=int, default=2000)
    parser.add_argument("--runtimes", type=int, default=100)
    parser.add_argument(
        "--seconds", type=float, default=20, help="of each of the two periods in which polls are counted"
    )
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(measure(options.callers, options.runtimes, options.seconds))


if __name__ == "__main__":
    main()
