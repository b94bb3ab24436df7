"""Gateways in this process over one store, in front of emulators: for tests that need no separate process.

Each gateway is the complete service on a real port, and reads the same settings file as a process would.
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
from gateway.ports.intent_query import IntentQuery
from gateway.settings import load_settings
from gateway.storage.sql_store import SqlStore
from gateway.telemetry.logs import make_logger
from tests.faults.callers import Response, post, session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import Setup, Upstream, body, default_setups, upstreams
from tests.faults.replicas import write_settings

_names: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Local:
    """A gateway in this process. ``log`` receives its log lines."""

    url: str
    log: StringIO


class World:
    """Emulators and a store, and the calls that a test makes at the gateways over them."""

    def __init__(
        self,
        folder: Path,
        location: StoreLocation,
        providers: Sequence[Upstream],
        store: SqlStore,
        client: aiohttp.ClientSession,
    ) -> None:
        self.folder = folder
        self.location = location
        self.providers = {upstream.name: upstream for upstream in providers}
        self.store = store
        self.client = client
        self.gateways: list[Local] = []

    @asynccontextmanager
    async def gateway(
        self, *, clock: Clock | None = None, providers: Mapping[str, Mapping[str, Any]] | None = None, **sections: Any
    ) -> AsyncIterator[Local]:
        """Run one more gateway. ``providers`` has additional provider settings by name, ``sections`` other sections of
        the settings file."""
        chosen = {upstream.name: upstream.settings for upstream in self.providers.values()}
        for name, more in (providers or {}).items():
            chosen[name] = {**chosen.get(name, {}), **more}
        sections = {"store": self.location.settings, **sections}
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

    async def create(self, upstream: Upstream, name: str | None, key: str | None = None, **more: Any) -> Response:
        """One attempt of a create at the newest gateway, or at ``url``, with the session ``client`` if it is given."""
        url, client = more.pop("url", None), more.pop("client", self.client)
        wanted = body(upstream, upstream.kind, name, **more)
        return await post(client, url or self.gateways[-1].url, wanted, key)

    async def made(self, upstream: Upstream, name: str | None, key: str | None = None, **more: Any) -> Response:
        """Repeat a create until the response is a runtime. Raises ``AssertionError`` if it never is."""
        response: Response | None = None

        async def is_made() -> bool:
            nonlocal response
            response = await self.create(upstream, name, key, **more)
            return response.status < 300

        await eventually(is_made, f"{name} or {key} is made", last=lambda: response and response.json)
        assert response is not None
        return response

    async def intent(self, key: str, principal: str = "caller") -> Intent:
        """The intent of a key. Raises ``AssertionError`` if the store has none."""
        found = await self.store.by_key(principal, key)
        assert found is not None, f"no intent of {key}"
        return found

    async def becomes(self, key: str, state: IntentState) -> Intent:
        """The intent of a key, as soon as it is in a state. Raises ``AssertionError`` if it never is."""

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


def unique_name() -> str:
    """A name that no other test uses."""
    return f"case-{next(_names)}"


@asynccontextmanager
async def world(
    folder: Path, location: StoreLocation, *, setups: Sequence[Setup] | None = None, deadline: float | None = None
) -> AsyncIterator[World]:
    """Start emulators and open the store, without a gateway. ``deadline`` is the deadline of a create, in seconds."""
    options = {} if deadline is None else {"deadlines": {"create": deadline}}
    async with AsyncExitStack() as stack:
        providers = await stack.enter_async_context(upstreams(setups or default_setups(), **options))
        client = await stack.enter_async_context(session())
        store = await stack.enter_async_context(location.opened())
        yield World(folder, location, providers, store, client)
