"""Memory of one gateway process over many mixed requests: ``python -m benchmarks.memory --requests 200000``.

The gateway is a process of its own, in front of an emulator of every provider API in this process. The requests are
reads, lists, creates, stops and deletes, configs, the dialects, the pass-through, and errors of all kinds, at random
from a seed. The resident memory is read at equal distances, between which the emulators start empty again.
"""

import argparse
import asyncio
import itertools
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.load import server
from benchmarks.servers import KEY
from gateway.app import create_emulator, plugins
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.processes import running

SAMPLES: Final = 20
KINDS: Final = {"durable": "durable", "bctrl": "browser", "bctrl_browsers": "browser"}
_KEPT: Final = 10  # runtimes per provider that reads are about
_DIALECTS: Final = {
    "durable": "/durable/api/v1/org/acme/ws/research/runtimes",
    "bctrl": "/bctrl/v1/workspaces/{scope}/runtimes",
    "bctrl_browsers": "/bctrl_browsers/v1/browsers",
}
_NATIVE: Final = {"durable": "/api/v1/user", "bctrl": "/v1/workspaces", "bctrl_browsers": "/v1/auth/whoami"}
_MISSING: Final = "00000000-0000-4000-8000-000000000000"


class Mix:
    """Random requests to one gateway, and what came of them. ``runtimes`` are the ids by provider."""

    def __init__(self, client: aiohttp.ClientSession, providers: dict[str, str], seed: int) -> None:
        self._client = client
        self._providers = providers  # the API by name
        self._chance = random.Random(seed)  # noqa: S311 (repeatable)
        self._numbers = itertools.count()
        self.runtimes: dict[str, list[str]] = {}
        self.statuses: Counter[str] = Counter()

    async def fill(self) -> None:
        """Create the runtimes that reads are about."""
        self.runtimes = {name: [] for name in self._providers}
        for name in self._providers:
            for _ in range(_KEPT):
                await self._create(name)

    async def one(self) -> None:
        """Send one request."""
        name = self._chance.choice(list(self._providers))
        kinds: Sequence[Callable[[str], Any]] = (
            self._read,
            self._list,
            self._create,
            self._end,
            self._native,
            self._dialect,
            self._error,
            self._config,
        )
        (kind,) = self._chance.choices(kinds, weights=(30, 10, 5, 3, 15, 15, 17, 5))
        await kind(name)

    async def _call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        options = {} if body is None else {"json": body}
        async with self._client.request(method, path, headers=headers, **options) as response:
            raw = await response.read()
            self.statuses[f"{method} {response.status}"] += 1
            is_json = response.status < 300 and response.content_type == "application/json"
            return response.status, json.loads(raw) if is_json else None

    async def _read(self, name: str) -> None:
        await self._call("GET", f"/v1/runtimes/{self._chance.choice(self.runtimes[name])}")

    async def _list(self, name: str) -> None:
        query = self._chance.choice(["", "?limit=5", f"?provider={name}", "?name=none", "?state=running"])
        await self._call("GET", f"/v1/runtimes{query}")

    async def _create(self, name: str) -> None:
        number = next(self._numbers)
        body = {"kind": KINDS[self._providers[name]], "provider": name, "name": f"agent-{number}"}
        key = {"Idempotency-Key": f"key-{number}"} if self._chance.random() < 0.5 else {}
        status, made = await self._call("POST", "/v1/runtimes", body, **key)
        if status == 201:
            self.runtimes[name].append(made["id"])

    async def _end(self, name: str) -> None:
        if len(self.runtimes[name]) > _KEPT:
            runtime = self.runtimes[name].pop(self._chance.randrange(_KEPT))
            deletes = self._providers[name] == "bctrl_browsers"
            how = ("DELETE", "") if deletes else ("POST", "/stop")
            await self._call(how[0], f"/v1/runtimes/{runtime}{how[1]}")

    async def _config(self, name: str) -> None:
        await self._call("GET", f"/v1/runtimes/{self._chance.choice(self.runtimes[name])}/config")

    async def _native(self, name: str) -> None:
        await self._call("GET", f"/native/{name}{_NATIVE[self._providers[name]]}")

    async def _dialect(self, name: str) -> None:
        api = self._providers[name]
        await self._call("GET", _DIALECTS[api].format(scope=plugins()[api].demo.scope))

    async def _error(self, name: str) -> None:
        method, path, body, headers = self._chance.choice(
            [
                ("GET", f"/v1/runtimes/{name}.{_MISSING}", None, {}),
                ("GET", f"/nothing/{next(self._numbers)}", None, {}),
                ("GET", "/v1/runtimes?limit=none", None, {}),
                ("POST", "/v1/runtimes", {"kind": "durable", "nothing": [next(self._numbers)] * 20}, {}),
                ("POST", "/v1/runtimes", {"kind": "durable", "name": "n"}, {"Idempotency-Key": "\u00e9"}),
                ("PATCH", "/v1/runtimes", None, {}),
                ("GET", "/v1/runtimes", None, {"Authorization": f"Bearer not-a-key-{next(self._numbers)}"}),
                ("GET", f"/native/{name}/nothing/{next(self._numbers)}", None, {}),
                ("POST", f"/native/{name}/refused", {}, {}),
            ]
        )
        await self._call(method, path, body, **headers)


def resident(pid: int) -> float:
    """The resident memory of a process, in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


@asynccontextmanager
async def emulated() -> AsyncIterator[tuple[dict[str, dict[str, Any]], list[Emulator]]]:
    """Run an emulator of each API. Yield the settings of the providers, and the emulators."""
    async with AsyncExitStack() as stack:
        settings, emulators = {}, []
        for api in KINDS:
            demo, token = plugins()[api].demo, f"token-of-{api}-4711"
            app = create_emulator(api, token=token)
            url = await stack.enter_async_context(running(app))
            emulators.append(app[EMULATOR])
            native = {"native": {"allow": ["GET /**"]}}
            base = {"api": api, "base_url": url + demo.base_path, "token": token, "scope": demo.scope, **native}
            settings[api.replace("_", "-")] = {**base, **(demo.options or {})}
        yield settings, emulators


async def measure(requests: int, at_once: int, seconds: float, seed: int) -> None:
    """Send the requests, and print the memory after each share of them. Stops early after ``seconds``."""
    began = time.monotonic()
    async with emulated() as (providers, emulators):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "gateway.yaml"
            document = {
                "version": 1,
                "http": {"listen": "127.0.0.1:0"},
                "auth": {"keys": {"bench": {"key": KEY}}},
                "store": {"url": f"sqlite:///{folder}/gateway.db"},
                "providers": providers,
            }
            file.write_text(json.dumps(document))
            with server("configured", str(file), processor=0) as gateway:
                connector = aiohttp.TCPConnector(limit=at_once)
                headers = {"Authorization": f"Bearer {KEY}"}
                async with aiohttp.ClientSession(gateway.url, headers=headers, connector=connector) as client:
                    mix = Mix(client, {name: each["api"] for name, each in providers.items()}, seed)
                    samples = []
                    for sample in range(SAMPLES + 1):
                        for emulator in emulators:
                            emulator.reset()
                        await mix.fill()
                        sent = sample * (requests // SAMPLES)
                        samples.append(resident(gateway.pid))
                        print(f"{sent:>9,} {samples[-1]:8.1f} MiB {time.monotonic() - began:7.0f} s", flush=True)  # noqa: T201
                        if sample == SAMPLES or time.monotonic() - began > seconds:
                            break
                        await _share(mix, requests // SAMPLES, at_once)
    half = len(samples) // 2
    print(f"growth of the second half: {samples[-1] - samples[half]:.1f} MiB\n{dict(mix.statuses.most_common())}")  # noqa: T201


async def _share(mix: Mix, count: int, at_once: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await mix.one()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1800, help="stop at the first sample after this time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(measure(options.requests, options.in_flight, options.seconds, options.seed))


if __name__ == "__main__":
    main()
