"""Mixed requests to one gateway in front of emulators that fail now and then: reads, waiting ones too, lists, creates,
stops and deletes, configs, event streams, the dialects, the pass-through, and errors of all kinds, at random from a
seed."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp

from gateway.app import create_emulator, plugins
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.processes import running

KINDS: Final = {"durable": "durable", "bctrl": "browser", "bctrl_browsers": "browser"}
_FILLS_WITHIN: Final = 120.0
_KEPT: Final = 10  # runtimes per provider that reads are about
_DIALECTS: Final = {
    "durable": "/durable/api/v1/org/acme/ws/research/runtimes",
    "bctrl": "/bctrl/v1/workspaces/{scope}/runtimes",
    "bctrl_browsers": "/bctrl_browsers/v1/browsers",
}
_NATIVE: Final = {"durable": "/api/v1/user", "bctrl": "/v1/workspaces", "bctrl_browsers": "/v1/auth/whoami"}
_FAILING: Final = ("create", "get", "list", "start", "stop", "delete")
FAULTS: Final[Sequence[dict[str, Any]]] = (
    {"fault": "status", "status": 500},
    {"fault": "status", "status": 503, "retry_after": 0},
    {"fault": "status_after", "status": 500},
    {"fault": "commit_late", "seconds": 0.05},
    {"fault": "delay_before", "seconds": 0.05},
    {"fault": "drop_before"},
    {"fault": "drop_after"},
    {"fault": "half_body"},
    {"fault": "malformed_json"},
    {"fault": "html"},
    {"fault": "other_answer"},
)
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
        """Create the runtimes that reads are about. Raises ``TimeoutError`` if that is impossible."""
        self.runtimes = {name: [] for name in self._providers}
        async with asyncio.timeout(_FILLS_WITHIN):
            for name, made in self.runtimes.items():
                while len(made) < _KEPT:  # a breaker may still be open
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
            self._stream,
            self._wait,
        )
        (kind,) = self._chance.choices(kinds, weights=(30, 10, 5, 3, 15, 15, 15, 5, 1.9, 0.1))
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

    async def _wait(self, name: str) -> None:
        await self._call("GET", f"/v1/runtimes/{self._chance.choice(self.runtimes[name])}?wait=1")

    async def _stream(self, name: str) -> None:
        """The first event of a stream; then the client leaves."""
        path = f"/v1/runtimes/{self._chance.choice(self.runtimes[name])}/events"
        async with self._client.get(path) as response:
            self.statuses[f"stream {response.status}"] += 1
            await response.content.readany()
            response.close()

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


def fail(emulator: Emulator) -> None:
    """Let some calls fail from now on, each in one of many ways."""
    operations = sorted(set(emulator.operations.values()))
    failing = [operation for operation in operations if operation in _FAILING]
    rules = [
        {**fault, "operation": operation, "probability": 0.004, "seed": number}
        for number, (operation, fault) in enumerate(itertools.product(failing, FAULTS))
    ]
    emulator.faults.add(parse_rules(rules, operations))


async def share(mix: Mix, count: int, at_once: int) -> None:
    """Send ``count`` requests, ``at_once`` of them in flight."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await mix.one()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
