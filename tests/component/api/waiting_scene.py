"""A served API over fake providers, whose calls and time a test controls."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.provider import Created, WireCreate
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.testing.waiting import Gate, Watch
from tests.component.api.conftest import KEY, Connection, HeldClock, Response, Serve, Served
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter

OTHER_KEY = "a-key-of-a-bank-1234"


class SlowBrowser(BrowserLike):
    """A browser that starts after its create."""

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        made = await super().send_create(wire, scope, call, idempotency_key=idempotency_key)
        return Created(self.move(made.runtime.provider_id, State.STARTING), created=True)


@dataclass
class Scene:
    """A served API over fake providers, whose calls a test can hold."""

    serve: Serve
    clock: HeldClock = field(default_factory=HeldClock)
    durable: DurableLike = field(default_factory=lambda: DurableLike("one"))
    browser: SlowBrowser = field(default_factory=lambda: SlowBrowser("two"))
    gate: Gate = field(default_factory=Gate)
    watch: Watch = field(default_factory=Watch)
    fleet: Fleet = field(init=False)
    api: Served = field(init=False)

    async def begin(self, **options: Any) -> None:
        """Serve the API."""
        self.fleet = Fleet([self.durable, self.browser], self.clock)
        self.api = await self.serve(fleet=self.fleet, **options)

    def count(self, adapter: FakeAdapter, method: str) -> None:
        """Let :meth:`called` wait for calls of a method."""

        async def counted() -> None:
            self.watch.changed()

        adapter.world.before[method] = counted

    def hold(self, adapter: FakeAdapter, method: str) -> None:
        """Hold all calls of a method until :meth:`release`."""

        async def held() -> None:
            self.watch.changed()
            await self.gate.wait(method)

        adapter.world.before[method] = held

    async def called(self, adapter: FakeAdapter, method: str, times: int = 1) -> None:
        """Wait until a method was called this often."""
        await self.watch.until(lambda: adapter.world.asked.count(method) >= times)

    async def release(self, adapter: FakeAdapter, method: str) -> None:
        """Continue the held call of a method, and hold no later ones."""
        await self.called(adapter, method)
        del adapter.world.before[method]
        self.gate.release(method)

    def send(self, method: str, target: str, body: Any = None, **headers: str) -> "asyncio.Task[Response]":
        """Begin a call."""
        raw = None if body is None else json.dumps(body).encode()
        return asyncio.create_task(self.api.call(method, target, raw, **headers))

    async def eventually(self, target: str, holds: Callable[[Any], bool]) -> Any:
        """The body of a resource once it is as wanted."""
        while True:
            body = (await self.api.call("GET", target)).json
            if holds(body):
                return body

    async def polls_ended(self) -> None:
        """Wait until no runtime is polled for callers that wait."""
        labels = {"queue": "watched"}
        while self.api.metrics.registry.get_sample_value("rtgw_queue_depth", labels):
            await self.api.call("GET", "/v1/me")


@dataclass
class Stream:
    """An event stream."""

    connection: Connection
    headers: Mapping[str, str]

    async def frame(self) -> dict[str, str]:
        """The next event or comment, by field."""
        size = int((await self.connection.reader.readuntil(b"\r\n")).strip(), 16)
        text = (await self.connection.reader.readexactly(size + 2))[:-2].decode()
        if not size:
            return {}
        assert text.endswith("\n\n")
        return {name: value.strip() for name, _, value in (line.partition(":") for line in text[:-2].split("\n"))}

    async def event(self, name: str) -> Any:
        """The data of the next event, which has this name."""
        frame = await self.frame()
        assert frame["event"] == name, frame
        return json.loads(frame["data"])

    async def ends(self, reason: str) -> None:
        """The stream ends with this reason."""
        assert await self.event("end") == {"reason": reason}
        assert await self.frame() == {}
        assert await self.connection.closed()


async def stream(scene: Scene, runtime: Runtime, method: str = "GET", **headers: str) -> Stream:
    connection = await scene.api.connect()
    lines = {"Host": "gateway", "Authorization": f"Bearer {KEY}"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    top = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.send(f"{method} /v1/runtimes/{runtime.id}/events HTTP/1.1\r\n{top}\r\n".encode())
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 200 "), head
    received = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}
    opened = Stream(connection, received)
    if method == "GET":
        assert await opened.frame() == {"retry": "1000"}
    return opened
