"""The account of a target is read once for all concurrent callers, and again after a failure."""

import asyncio
import base64

import pytest
from pydantic import SecretStr

from gateway.domain.access import Principal
from gateway.domain.errors import ProviderUnavailable
from gateway.ports.context import RequestContext
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet
from gateway.services.intents import TargetResolver
from gateway.services.intents.targets import ResolvedTarget
from gateway.services.provider_choice import Target
from gateway.storage.sealing import Keyring
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import DurableLike, FakeClock


class Slow(DurableLike):
    """Returns its account when ``may_respond`` is set."""

    def __init__(self) -> None:
        super().__init__("one")
        self.calls = 0
        self.may_respond = asyncio.Event()
        self.fails = False

    async def account(self, call: Call) -> str:  # noqa: ARG002
        self.calls += 1
        await self.may_respond.wait()
        if self.fails:
            raise ProviderUnavailable("It is down.")
        return "acc-1"


class Callers:
    """Callers of one target."""

    def __init__(self) -> None:
        self.adapter = Slow()
        clock = FakeClock()
        fleet, store = Fleet([self.adapter], clock), MemoryStore(clock.now)
        provider = fleet.get("one")
        assert provider is not None
        self._target = Target(provider, "scope")
        self._resolver = TargetResolver(fleet, Keyring([SecretStr(base64.b64encode(b"k" * 32).decode())]), store)

    async def begin(self, count: int) -> list[asyncio.Task[ResolvedTarget]]:
        """Start ``count`` callers, and return when all of them wait."""
        tasks = [
            asyncio.create_task(self._resolver.of(self._target, RequestContext(str(number), Principal("caller"))))
            for number in range(count)
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        return tasks


async def test_concurrent_callers_share_one_call() -> None:
    callers = Callers()
    tasks = await callers.begin(20)
    callers.adapter.may_respond.set()
    assert {target.account for target in await asyncio.gather(*tasks)} == {"acc-1"}
    assert callers.adapter.calls == 1


async def test_all_callers_receive_the_failure_and_the_next_one_calls_again() -> None:
    callers = Callers()
    callers.adapter.fails = True
    tasks = await callers.begin(3)
    callers.adapter.may_respond.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ProviderUnavailable] * 3
    assert callers.adapter.calls == 1
    callers.adapter.fails = False
    callers.adapter.may_respond.clear()
    (again,) = await callers.begin(1)
    callers.adapter.may_respond.set()
    assert (await again).account == "acc-1"


@pytest.mark.parametrize("leaves", [0, 1])
async def test_cancelled_caller_does_not_cancel_the_others(leaves: int) -> None:
    callers = Callers()
    tasks = await callers.begin(3)
    tasks[leaves].cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    callers.adapter.may_respond.set()
    left = [task for number, task in enumerate(tasks) if number != leaves]
    assert {target.account for target in await asyncio.gather(*left)} == {"acc-1"}
    assert callers.adapter.calls == (2 if leaves == 0 else 1)
