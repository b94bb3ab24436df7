"""The two providers of a simulated move. What arrives at one takes effect at any time, and responses may be lost."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from gateway.domain.config import RuntimeConfig
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import StartRequest
from gateway.domain.runtime import ConfigDocument, Runtime
from gateway.domain.values import Operation, State
from gateway.ports.provider import Created, WireCreate
from gateway.ports.transport import Attempt, Call, Phase, TransportFailure
from tests.faults.simulator.loop import OUTSIDE, REPLICA, Process
from tests.faults.simulator.scheduler import GO, Scheduler
from tests.unit.services.fakes import DurableLike
from tests.unit.services.fakes import World as Runtimes

T = TypeVar("T")

DEADLINE: Final = 20.0
"""The deadline of a write, in seconds."""

LATE: Final = 6.0
"""Seconds by which a write may be delayed on its way, so that it takes effect while the runtime is moved."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write that took effect at a provider. ``request_id`` is that of the gateway's call."""

    end: str
    request_id: str
    verb: str


@dataclass(slots=True)
class End:
    """A provider. ``writes`` are those of both ends, in their order. ``read_at`` is how many there were when a process,
    as the mover, read the config here last. ``on_sent`` is called with a write that is sent."""

    name: str
    scheduler: Scheduler
    writes: list[Write]
    on_sent: Callable[["End", str, str], None]
    runtimes: Runtimes = field(default_factory=Runtimes)
    read_at: dict[Process, int] = field(default_factory=dict)
    creates: int = 0
    in_flight: int = 0

    async def read(self, what: str, call: Call) -> None:
        """A read arrives, or fails."""
        call.attempts.append(Attempt(self.name, Operation.GET, "", 0.0, Phase.SENT))
        outcome = await self.scheduler.wait(f"{what} at {self.name} {call.request_id}", faults=("fails",))
        if outcome != GO or self.scheduler.loop.now >= call.deadline:
            raise TransportFailure("disconnected", Phase.SENT, operation=Operation.GET)

    async def write(self, verb: Operation, call: Call, commit: Callable[[], Awaitable[T]]) -> T:
        """Send a write. It takes effect also if its sender does not live to see it."""
        loop = self.scheduler.loop
        label = f"{verb} at {self.name} {call.request_id}"
        attempt = Attempt(self.name, verb, "", 0.0, Phase.CONNECTING)
        call.attempts.append(attempt)
        outcome = await self.scheduler.wait(f"connect: {label}", faults=("refused",))
        if outcome != GO or loop.now >= call.deadline:
            raise TransportFailure(outcome if outcome != GO else "timeout", Phase.CONNECTING, operation=verb)
        if call.before_write is not None:
            call.before_write()
        attempt.phase = Phase.SENT
        self.on_sent(self, verb, call.request_id)
        self.in_flight += 1
        response: asyncio.Future[Any] = loop.create_future()
        sender = REPLICA.get()
        token = REPLICA.set(OUTSIDE)
        try:
            loop.create_task(self._handle(verb, label, call.request_id, commit, response, sender))
        finally:
            REPLICA.reset(token)
        timer = loop.call_at(call.deadline, _end, response, TransportFailure("timeout", Phase.SENT, operation=verb))
        try:
            result = await response
        finally:
            timer.cancel()
        if isinstance(result, Exception):
            raise result
        done: T = result
        return done

    async def _handle(
        self,
        verb: Operation,
        label: str,
        request_id: str,
        commit: Callable[[], Awaitable[Any]],
        response: "asyncio.Future[Any]",
        sender: Process,
    ) -> None:
        lost = TransportFailure("disconnected", Phase.SENT, operation=verb)
        result: Any = lost
        try:
            outcome = await self.scheduler.wait(
                f"arrives: {label}", faults=("lost",), delays=(LATE, DEADLINE - 1.0), owner=sender
            )
            if outcome == GO:
                result = await commit()
                self.writes.append(Write(self.name, request_id, verb))
                if await self.scheduler.wait(f"answers: {label}", faults=("lost",), needs=sender, owner=sender) != GO:
                    result = lost
        except Exception as refusal:  # noqa: BLE001 (the provider's answer)
            result = refusal
        finally:
            self.in_flight -= 1
        _end(response, result)


class MovableRuntimes(DurableLike):
    """One process's adapter of an end."""

    def __init__(self, end: End) -> None:
        deadlines = {"create": DEADLINE, "replace_config": DEADLINE, "start": DEADLINE, "pause": DEADLINE, "get": 10}
        super().__init__(end.name, deadlines=deadlines, base_url=f"http://{end.name}.test")
        self.world = end.runtimes
        self._end = end

    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        await self._end.read("get", call)
        return await super().get(ref, call)

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        await self._end.read("look-up", call)
        return await super().find(scope, name, call)

    async def get_config(self, ref: RuntimeRef, call: Call) -> ConfigDocument:
        await self._end.read("get config", call)
        if call.request_id.startswith("mv_"):
            self._end.read_at[REPLICA.get()] = len(self._end.writes)
        return await super().get_config(ref, call)

    async def start(self, ref: RuntimeRef, options: StartRequest, call: Call) -> Runtime:
        return await self._end.write(Operation.START, call, partial(super().start, ref, options, call))

    async def _verb(self, verb: str, ref: RuntimeRef, state: State, call: Call) -> Runtime:
        act = partial(super()._verb, verb, ref, state, call)
        return await (act() if verb == "start" else self._end.write(Operation(verb), call, act))

    async def replace_config(self, ref: RuntimeRef, config: RuntimeConfig, call: Call) -> ConfigDocument:
        act = partial(super().replace_config, ref, config, call)
        return await self._end.write(Operation.REPLACE_CONFIG, call, act)

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        send = partial(super().send_create, wire, scope, call, idempotency_key=idempotency_key)

        async def commit() -> Created:
            made = await send()
            self._end.creates += made.created
            return made

        return await self._end.write(Operation.CREATE, call, commit)


def _end(response: "asyncio.Future[Any]", result: Any) -> None:
    if not response.done():
        response.set_result(result)
