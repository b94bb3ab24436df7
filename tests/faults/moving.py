"""Moves through gateways: planned, applied and rolled back over the API, by a client that repeats what it may."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.faults.callers import Response
from tests.faults.eventually import eventually
from tests.faults.replicas import KEY

WITHIN: Final = 240.0
"""Seconds for a move. A busy machine takes 20 s to start a gateway again, and the announcement takes 10 s."""

AUTH: Final = {"principals": {"caller": {"keys": [KEY], "scopes": ["admin"]}}}
"""The settings of a gateway whose caller may move runtimes."""

_BETWEEN: Final = 0.05


@dataclass(slots=True)
class Operator:
    """Calls a gateway. ``url`` returns its address, or None while it starts. A call that the gateway could not answer,
    or that it may be repeated, is repeated."""

    client: aiohttp.ClientSession
    url: Callable[[], str | None]

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """One call, repeated until it has a final response."""
        async with asyncio.timeout(WITHIN):
            while True:
                response = await self.attempt(method, path, body, headers)
                if response is not None and (response.status < 500 and not _may_be_repeated(response)):
                    return response
                await asyncio.sleep(_BETWEEN)

    async def attempt(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response | None:
        """One attempt; None if the gateway does not respond."""
        if (url := self.url()) is None:
            return None
        try:
            async with self.client.request(method, url + path, json=body, headers=headers) as response:
                text = await response.text()
                return Response(response.status, response.headers, await response.json() if text else None)
        except aiohttp.ClientError:
            return None

    async def get(self, path: str) -> Any:
        """The content at a path. Raises ``AssertionError`` if it cannot be read."""
        return await self.done("GET", path)

    async def done(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The content of a successful response."""
        response = await self.call(method, path, body, **headers)
        assert response.status < 300, f"{method} {path}: {response.status} {response.json}"
        return response.json

    async def planned(self, source: str, target: str, **fields: Any) -> Any:
        """Plan a move of everything. Returns the move when its plan is made."""
        body = {"source": {"provider": source}, "target": {"provider": target}, **fields}
        move = await self.done("POST", "/v1/moves", body)
        return await self.reaches(move, "planned", "failed")

    async def apply(self, move: Any) -> Any:
        """Apply a plan. Returns the move when it has ended."""
        await self.begin(move)
        return await self.reaches(move, "done", "paused", "failed")

    async def begin(self, move: Any) -> None:
        """Let a plan be applied in the background."""
        await self.done("POST", f"/v1/moves/{move['id']}/apply", {"digest": move["digest"]})

    async def roll_back(self, move: Any, **body: Any) -> Any:
        """Roll a move back. Returns it when that has ended."""
        await self.done("POST", f"/v1/moves/{move['id']}/rollback", body)
        return await self.reaches(move, "rolled_back", "failed")

    async def reaches(self, move: Any, *states: str) -> Any:
        """The move, when it has one of these states."""

        now = move

        async def is_there() -> bool:
            nonlocal now
            now = await self.get(f"/v1/moves/{move['id']}")
            return now["state"] in states

        await eventually(is_there, f"the move is one of {states}", last=lambda: now, patience=WITHIN)
        return now

    async def items(self, move: Any) -> list[Any]:
        """All its items."""
        found: list[Any] = []
        path = f"/v1/moves/{move['id']}/items?limit=100"
        page = await self.get(path)
        found += page["items"]
        while page["next_cursor"] is not None:
            page = await self.get(f"{path}&cursor={page['next_cursor']}")
            found += page["items"]
        return found

    async def seen(self, runtime_id: str) -> dict[str, Any]:
        """What clients see of a durable runtime, without what belongs to a place."""
        path = f"/v1/runtimes/{runtime_id}"
        runtime, config, bindings = await asyncio.gather(
            self.get(path), self.get(f"{path}/config"), self.get(f"{path}/capabilities")
        )
        return {
            **{name: runtime[name] for name in ("id", "name", "state", "labels")},
            "config": config["config"],
            "bindings": {one["name"]: (one["version"], one["enabled"], one["flags"]) for one in bindings["items"]},
        }


def _may_be_repeated(response: Response) -> bool:
    return response.status >= 400 and response.json["retryable"] != "no"
