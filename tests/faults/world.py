"""Gateways in this process over one store, in front of emulators: for what needs no process of its own.

A gateway here is the whole service on a real port, with the settings that a process would read.
"""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.app import create_app, provider_models, serving
from gateway.domain.intents import Intent, IntentState
from gateway.ports.clock import Clock
from gateway.ports.store import IntentQuery
from gateway.settings import load_settings
from gateway.storage.sql_store import SqlStore
from gateway.telemetry.logs import make_logger
from tests.faults.callers import Answer, post, session
from tests.faults.conftest import StorePlace
from tests.faults.eventually import eventually
from tests.faults.providers import Setup, Upstream, body, default_setups, upstreams
from tests.faults.replicas import write_settings

_names: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Local:
    """A gateway in this process. ``log`` is what it logged."""

    url: str
    log: StringIO


class World:
    """Emulators and a store, and what callers do at the gateways over them."""

    def __init__(
        self,
        folder: Path,
        place: StorePlace,
        providers: Sequence[Upstream],
        store: SqlStore,
        client: aiohttp.ClientSession,
    ) -> None:
        self.folder = folder
        self.place = place
        self.providers = {upstream.name: upstream for upstream in providers}
        self.store = store
        self.client = client
        self.gateways: list[Local] = []

    @asynccontextmanager
    async def gateway(
        self, *, clock: Clock | None = None, providers: Mapping[str, Mapping[str, Any]] | None = None, **sections: Any
    ) -> AsyncIterator[Local]:
        """One more gateway. ``providers`` has further settings of providers by name, ``sections`` those of the file."""
        chosen = {upstream.name: upstream.settings for upstream in self.providers.values()}
        for name, more in (providers or {}).items():
            chosen[name] = {**chosen.get(name, {}), **more}
        sections = {"store": self.place.settings, **sections}
        settings = load_settings(
            write_settings(self.folder, chosen, sections.pop("store"), **sections),
            provider_models=provider_models(),
            environ={},
        ).settings
        log = StringIO()
        app = create_app(settings, clock=clock, logger=make_logger("info", "json", log))
        async with serving(settings, app) as addresses:
            local = Local(addresses.api, log)
            self.gateways.append(local)
            yield local
            self.gateways.remove(local)

    async def create(self, upstream: Upstream, name: str | None, key: str | None = None, **more: Any) -> Answer:
        """One try of a create at the newest gateway, or the one at ``url``."""
        url, client = more.pop("url", None), more.pop("client", self.client)
        wanted = body(upstream, upstream.kind, name, **more)
        return await post(client, url or self.gateways[-1].url, wanted, key)

    async def made(self, upstream: Upstream, name: str | None, key: str | None = None, **more: Any) -> Answer:
        """The same until it is answered with a runtime."""
        answer: Answer | None = None

        async def is_made() -> bool:
            nonlocal answer
            answer = await self.create(upstream, name, key, **more)
            return answer.status < 300

        await eventually(is_made, f"{name} or {key} is made", last=lambda: answer and answer.json)
        assert answer is not None
        return answer

    async def intent(self, key: str, principal: str = "caller") -> Intent:
        """What the store knows of a key."""
        found = await self.store.by_key(principal, key)
        assert found is not None, f"no intent of {key}"
        return found

    async def becomes(self, key: str, state: IntentState) -> Intent:
        """The intent of a key, as soon as it is in a state."""

        seen: Intent | None = None

        async def is_there() -> bool:
            nonlocal seen
            seen = await self.intent(key)
            return seen.state is state

        await eventually(is_there, f"the intent of {key} is {state}", last=lambda: seen)
        assert seen is not None
        return seen

    async def unsettled(self) -> list[Intent]:
        """The intents that are open or unknown."""
        return list(await self.store.list(IntentQuery(states=frozenset({IntentState.OPEN, IntentState.UNKNOWN}))))


def a_name() -> str:
    """A name that no other test has."""
    return f"case-{next(_names)}"


@asynccontextmanager
async def world(
    folder: Path, place: StorePlace, *, setups: Sequence[Setup] | None = None, deadline: float | None = None
) -> AsyncIterator[World]:
    """Emulators over a place for a store, and no gateway yet. ``deadline`` is that of a create, in seconds."""
    options = {} if deadline is None else {"deadlines": {"create": deadline}}
    async with AsyncExitStack() as stack:
        providers = await stack.enter_async_context(upstreams(setups or default_setups(), **options))
        client = await stack.enter_async_context(session())
        store = await stack.enter_async_context(place.opened())
        yield World(folder, place, providers, store, client)
