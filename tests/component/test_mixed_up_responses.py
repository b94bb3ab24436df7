"""Two principals at a provider whose responses are duplicated, stray or cut (docs/promises.md#p10).

``make answers N=10000`` runs more requests. A failure prints the seed, for ``SEED=``. See docs/fault-cases.md#fault-0.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app import create_app, plugins, serving
from gateway.demo import demo_settings
from gateway.settings import AuthSettings, CacheSettings, GatewayKey
from gateway.telemetry.logs import make_logger

N = int(os.environ.get("ANSWERS_N") or 1500)
SEED = int(os.environ.get("ANSWERS_SEED") or random.randrange(10**6))  # noqa: S311 (test data)
AT_ONCE = 8  # per principal
KEYS = {"ann": "key-of-ann-0123456789", "ben": "key-of-ben-0123456789"}


def http_response(body: Any, status: str = "200 OK") -> bytes:
    raw = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw


@dataclass
class MixedUpProvider:
    """A browser provider whose browsers and responses contain the mark of their request. After some responses it sends
    additional bytes: at once, a few iterations of the event loop later, or together with the response to the next
    request on that connection."""

    dice: random.Random
    browsers: dict[str, dict[str, Any]] = field(default_factory=dict)
    strays: int = 0
    connections: set[asyncio.Task[None]] = field(default_factory=set)
    port: int = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["MixedUpProvider"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
        for task in self.connections:  # a writer that outlives its event loop warns in whichever test runs then
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self._answer_all(reader, writer)
        finally:
            self.connections.discard(task)
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        owed = b""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                lines = dict(line.lower().split(": ", 1) for line in head.strip().split("\r\n")[1:])
                body = await reader.readexactly(int(lines.get("content-length", 0)))
                method, target, _ = head.split(" ", 2)
                response = self._respond(method, target.partition("?")[0], target, body)
                writer.write(owed + response)
                owed = await self._more(response, writer)

    async def _more(self, response: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Send bytes that belong to no request, or return bytes to send before the next response."""
        if self.dice.random() < 0.7:
            return b""
        self.strays += 1
        complete = [response, http_response({}, "408 Request Timeout")]
        if self.dice.random() < 0.3:
            return self.dice.choice(complete)
        stray = self.dice.choice([*complete, response[: self.dice.randrange(1, len(response))], b"\r\n", b"x"])
        for _ in range(self.dice.randrange(6)):
            await asyncio.sleep(0)
        writer.write(stray)
        return b""

    def _respond(self, method: str, path: str, target: str, body: bytes) -> bytes:
        if path == "/v1/auth/whoami":
            return http_response({"object": "identity", "organizationId": "org_1", "userId": "u_1"})
        if path.startswith("/v1/marks/"):
            return http_response({"mark": path.rpartition("/")[2]})
        if method == "POST":
            sent = json.loads(body)
            made = self._browser(sent["name"], sent.get("metadata", {}))
            return http_response(self.browsers.setdefault(made["id"], made), "201 Created")
        if path == "/v1/browsers":
            rows = [row for row in self.browsers.values() if f"name={row['name']}" in target]
            return http_response({"data": rows, "hasMore": False, "nextCursor": None})
        row = self.browsers.get(path.rpartition("/")[2])
        error = {"code": "not_found", "reason": "not_found", "message": "no", "requestId": "r", "status": 404}
        return http_response(row) if row else http_response({"error": error}, "404 Not Found")

    def _browser(self, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
        when = "2026-01-01T00:00:00Z"
        return {
            "object": "browser",
            "type": "browser",
            "id": f"br_{name}",
            "name": name,
            "spaceId": "sp_demo",
            "status": "idle",
            "createdAt": when,
            "updatedAt": when,
            "extensions": [],
            "currentRun": None,
            "metadata": metadata,
        }


class Caller:
    """One principal. ``wrong`` are the responses that do not belong to their request."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url
        self.client = aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEYS[name]}"})
        self.succeeded = 0
        self.made: list[str] = []
        self.wrong: list[tuple[str, int, str]] = []

    async def _ask(self, method: str, path: str, body: Any, own: str) -> int:
        """Send a request about the mark ``own``. Record its response if it has the other principal's mark, or shows a
        runtime that is not the own one. (Below ``/native`` two responses to one principal cannot be distinguished, of
        which the first arrives after the second request was sent.)"""
        headers = {"Idempotency-Key": own} if method == "POST" else {}
        async with self.client.request(method, self.url + path, json=body, headers=headers) as response:
            text, status = await response.text(), response.status
        other = next(name for name in KEYS if name != self.name)
        its_own = path.startswith("/native/") or (f'"{own}"' in text and f'br_{own}"' in text)
        if f"{other}-" in text or (status < 300 and not its_own):
            self.wrong.append((own, status, text))
        self.succeeded += status < 300
        return status

    async def run(self, numbers: list[int], dice: random.Random) -> None:
        for number in numbers:
            own = f"{self.name}-{number}"
            kind = dice.choice(["mark", "mark", "get", "create"])
            if kind == "mark":
                await self._ask("GET", f"/native/browsers-demo/v1/marks/{own}", None, own)
            elif kind == "get" and self.made:
                made = dice.choice(self.made)
                await self._ask("GET", f"/v1/runtimes/browsers-demo.br_{made}", None, made)
            else:
                body = {"kind": "browser", "name": own, "launch": {"mode": "ephemeral"}}
                status = await self._ask("POST", "/v1/runtimes", body, own)
                if status in {200, 201}:
                    self.made.append(own)


async def test_two_principals_never_receive_parts_of_each_others_responses(tmp_path: Path) -> None:
    dice = random.Random(SEED)  # noqa: S311
    async with MixedUpProvider(dice).serving() as provider:
        options = {
            "api": "bctrl_browsers",
            "base_url": f"http://127.0.0.1:{provider.port}",
            "token": "provider-token-0123",
            "scope": "sp_demo",
            "native": {"allow": ["GET /**"], "answer_timeout": 1},
            "read_timeout": 1,  # a response after half of another one never arrives, so a longer wait only costs time
            "policies": {"breaker": {"minimum": 10_000}},
        }
        settings = demo_settings({"browsers-demo": options}, port=0, api_key=KEYS["ann"], folder=tmp_path)
        keys = {name: GatewayKey.model_validate({"key": key}) for name, key in KEYS.items()}
        off = {"auth": AuthSettings(keys=keys), "cache": CacheSettings(enabled=False)}
        settings = settings.model_copy(update=off)
        assert "bctrl_browsers" in plugins()
        async with serving(settings, create_app(settings, logger=make_logger("error", "json", StringIO()))) as at:
            callers = [Caller(name, at.api) for name in KEYS]
            share = N // len(callers) // AT_ONCE
            await asyncio.gather(
                *(
                    caller.run(list(range(task * share, (task + 1) * share)), random.Random(dice.random()))  # noqa: S311
                    for caller in callers
                    for task in range(AT_ONCE)
                )
            )
            for caller in callers:
                await caller.client.close()
    made = [row["name"] for row in provider.browsers.values()]
    assert len(made) == len(set(made))
    for caller in callers:
        assert caller.wrong == [], f"seed {SEED}"
        assert caller.succeeded > share * AT_ONCE // 2
    assert provider.strays > N // 10
