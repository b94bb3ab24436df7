"""The declared semantics of each adapter, compared with what its emulator does: a check for each statement."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from gateway.app import create_emulator, plugins
from gateway.domain.errors import GatewayError
from gateway.domain.requests import CREATE_REQUESTS, InstallCapability, StartRequest
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import Feature, State
from gateway.ports.semantics import Topic
from gateway.ports.transport import Call
from gateway.testing.processes import running
from gateway.upstream.transport import HttpTransport
from tests.component.moves.ends import SCOPES

TOKEN = "token-of-a-provider-4711"
LIMIT = 600


@dataclass
class Emulated:
    """An adapter in front of an emulator whose clock the test moves."""

    adapter: Any
    url: str
    time: float = 1_780_000_000.0

    def call(self) -> Call:
        return Call(deadline=float("inf"))

    async def create(self, **fields: Any) -> Runtime:
        kind = min(self.adapter.creates)
        request = validate(CREATE_REQUESTS[kind], {"kind": kind, "name": "one", **fields})
        runtime: Runtime = (await self.adapter.create(request, self.adapter.settings.scope, self.call())).runtime
        return runtime

    async def do(self, verb: str, runtime: Runtime, *options: Any) -> Runtime:
        after: Runtime = await getattr(self.adapter, verb)(self.adapter.reference(runtime), *options, self.call())
        return after

    async def addresses(self, runtime: Runtime) -> set[str]:
        found = {each.url for each in await self.adapter.connections(self.adapter.reference(runtime), self.call())}
        assert found
        return found

    async def started(self) -> Runtime:
        return await self.do("start", await self.create(runtime_limit_seconds=LIMIT), StartRequest())


@asynccontextmanager
async def emulated(api: str) -> AsyncIterator[Emulated]:
    plugin, holder = plugins()[api], Emulated(None, "")
    async with running(create_emulator(api, token=TOKEN, now=lambda: holder.time)) as url:
        options = {"name": "one", "api": api, "base_url": url + plugin.demo.base_path, "token": TOKEN}
        settings = plugin.settings.model_validate({**options, **(plugin.demo.options or {}), "scope": SCOPES[api][0]})
        transport = HttpTransport(settings)
        holder.adapter, holder.url = plugin.adapter(settings, transport), url
        try:
            yield holder
        finally:
            await transport.close()


def instance(runtime: Runtime) -> Any:
    assert runtime.durable is not None
    return runtime.durable.instance


async def durable_create(one: Emulated) -> None:
    assert (await one.create()).state is State.IDLE


async def durable_lifetime(one: Emulated) -> None:
    runtime = await one.started()
    one.time += LIMIT + 1
    assert (await one.do("get", runtime)).state is State.PAUSED
    await one.do("resume", runtime)
    one.time += LIMIT - 1
    assert (await one.do("get", runtime)).state is State.RUNNING
    one.time += 2
    assert (await one.do("get", runtime)).state is State.PAUSED


async def durable_pause(one: Emulated) -> None:
    runtime = await one.started()
    before = await one.addresses(runtime)
    paused = await one.do("pause", runtime)
    resumed = await one.do("resume", runtime)
    assert instance(runtime).id == instance(paused).id == instance(resumed).id
    assert before == await one.addresses(runtime)


async def durable_stop(one: Emulated) -> None:
    runtime = await one.started()
    await one.do("install_capability", runtime, InstallCapability(name="search"))
    config = await one.do("get_config", runtime)
    after = await one.do("reset", runtime)
    assert (after.id, after.state, instance(after)) == (runtime.id, State.IDLE, None)
    assert await one.do("get_config", runtime) == config
    assert [binding.name for binding in await one.adapter.list_capabilities(one.adapter.reference(runtime), one.call())]


async def durable_restart(one: Emulated) -> None:
    runtime = await one.started()
    before = await one.addresses(runtime)
    await one.do("reset", runtime)
    again = await one.do("start", runtime, StartRequest())
    assert again.id == runtime.id
    assert instance(again).id != instance(runtime).id
    assert before.isdisjoint(await one.addresses(runtime))


async def durable_persistence(one: Emulated) -> None:
    runtime = await one.create()
    assert Feature.DELETE not in one.adapter.features
    path = one.adapter.calls.runtimes_path(runtime.scope, runtime.provider_id)
    async with aiohttp.ClientSession(headers={"X-API-Key": TOKEN}) as client, client.delete(one.url + path) as refused:
        assert refused.status == 400
    one.time += 400 * 86_400
    assert (await one.do("get", runtime)).id == runtime.id


async def launches(one: Emulated) -> None:
    one_made = await one.create()
    assert one_made.state in {State.STARTING, State.RUNNING}


async def has_no_pause(one: Emulated) -> None:
    assert Feature.PAUSE not in one.adapter.features
    refused = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        made = await one.create()
        for path in (f"/v1/browsers/{made.provider_id}/pause", f"/v1/workspaces/{made.scope}/runtimes/one/pause"):
            async with client.post(one.url + path) as response:
                refused.append(response.status)
    assert refused == [404, 404]


async def bctrl_lifetime(one: Emulated) -> None:
    runtime = await one.create()
    one.time += 30 * 86_400
    assert (await one.do("get", runtime)).state is State.RUNNING


async def bctrl_stop(one: Emulated) -> None:
    runtime = await one.create()
    assert (await one.do("stop", runtime)).state is State.STOPPED
    assert Feature.START not in one.adapter.features
    one.time += 86_400
    assert (await one.do("get", runtime)).state is State.STOPPED


async def bctrl_restart(one: Emulated) -> None:
    runtime = await one.create()
    await one.do("stop", runtime)
    again = await one.create()
    assert again.name == runtime.name
    assert again.id != runtime.id


async def bctrl_persistence(one: Emulated) -> None:
    browser = (await one.create()).browser
    assert browser is not None
    assert browser.launch is not None
    assert (browser.launch.mode, browser.launch.profile_id) == ("ephemeral", None)


async def browsers_lifetime(one: Emulated) -> None:
    data = (await one.create()).provider_data
    assert (data["timeoutSeconds"], data["expireAfterIdleDays"]) == (3600, 7)


async def browsers_stop(one: Emulated) -> None:
    runtime = await one.create()
    stopped = await one.do("stop", runtime)
    assert (stopped.id, stopped.state) == (runtime.id, State.IDLE)
    assert stopped.provider_data["savedState"]["status"] == "saved"


async def browsers_restart(one: Emulated) -> None:
    runtime = await one.create()
    before = await one.addresses(runtime)
    await one.do("stop", runtime)
    again = await one.do("start", runtime, StartRequest())
    assert again.id == runtime.id
    assert before.isdisjoint(await one.addresses(runtime))


async def browsers_persistence(one: Emulated) -> None:
    runtime = await one.create()
    assert runtime.provider_data["savedState"]["status"] == "none"
    await one.do("stop", runtime)
    assert (await one.do("get", runtime)).provider_data["savedState"]["status"] == "saved"
    discarded = await one.do("start", runtime, StartRequest())
    await one.adapter.stop(one.adapter.reference(discarded), one.call(), discard_state=True)
    assert (await one.do("get", runtime)).provider_data["savedState"]["status"] == "none"


Check = Callable[[Emulated], Awaitable[None]]
CHECKS: dict[tuple[str, str], Check] = {
    ("durable", "A create starts nothing."): durable_create,
    ("durable", "An instance is paused at its time limit, counted from its start or resume."): durable_lifetime,
    ("durable", "A pause keeps the instance and its address."): durable_pause,
    ("durable", "A reset discards the instance, and keeps the runtime with its config and capabilities."): durable_stop,
    ("durable", "A start after a reset makes another instance with another address."): durable_restart,
    ("durable", "A runtime is kept for good: the API cannot delete it."): durable_persistence,
    ("bctrl", "A create launches the browser."): launches,
    ("bctrl", "No end is documented: the browser runs until it is stopped."): bctrl_lifetime,
    ("bctrl", "There is no pause."): has_no_pause,
    ("bctrl", "A stop ends the runtime for good."): bctrl_stop,
    (
        "bctrl",
        "An ended runtime cannot be started; a create of its name makes another one, with another id.",
    ): bctrl_restart,
    ("bctrl", "Without a profile nothing is kept when the browser ends."): bctrl_persistence,
    ("bctrl_browsers", "A create launches the browser."): launches,
    (
        "bctrl_browsers",
        "A run has a timeout, 3600 s unless set; a browser expires when idle for 7 days unless set.",
    ): browsers_lifetime,
    ("bctrl_browsers", "There is no pause."): has_no_pause,
    ("bctrl_browsers", "A stop ends the run, and keeps the browser with its saved state."): browsers_stop,
    ("bctrl_browsers", "A start makes another run with other addresses; the browser keeps its id."): browsers_restart,
    ("bctrl_browsers", "The state is saved when a run ends."): browsers_persistence,
}
"""By API and statement: a changed statement needs a check of its own."""

DECLARED = [
    (api, statement)
    for api, plugin in sorted(plugins().items())
    for statement in plugin.adapter.semantics.rules.values()  # type: ignore[attr-defined]
]


@pytest.mark.parametrize(("api", "statement"), DECLARED)
async def test_the_emulator_does_what_is_declared(api: str, statement: str) -> None:
    async with emulated(api) as one:
        await CHECKS[api, statement](one)


@pytest.mark.parametrize("api", sorted(plugins()))
def test_every_adapter_has_a_rule_for_every_topic(api: str) -> None:
    semantics: Any = plugins()[api].adapter.semantics  # type: ignore[attr-defined]
    assert set(semantics.rules) == set(Topic)
    assert semantics.account


async def test_a_running_browser_has_no_state_to_copy_before_it_has_stopped() -> None:
    """So a move cannot carry logins by copying the browser, even in one space."""
    async with emulated("bctrl_browsers") as one:
        made = await one.create()
        with pytest.raises(GatewayError):
            await one.create(name="copy", provider_options={"fromBrowser": made.provider_id, "persona": "same"})
