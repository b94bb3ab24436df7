"""The providers of the fault tests: emulators in this process, each behind a TCP proxy that can refuse connections.

Every personality of every emulator is one provider, except the combination that docs/creates.md does not cover:
browsers whose names are not unique at a provider that forgets keys.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web

from gateway.app import create_emulator, plugins
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.exchange import Made
from gateway.testing.faults import parse_rules
from gateway.testing.processes import running
from tests.contract.adapter.subject import setups
from tests.tcp_faults import TcpFaultProxy

KINDS: Final = {"durable": "durable", "bctrl": "browser", "bctrl_browsers": "browser"}
APIS: Final = tuple(KINDS)
_NOT_PROMISED: Final = {"names": "free", "keys": "forgotten"}


@dataclass(frozen=True, slots=True)
class Setup:
    """An emulator to be started: its API and personality, the name of the configured provider, and further options of
    the emulator."""

    api: str
    name: str
    personality: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Upstream:
    """A provider under test. Its ``settings`` lead through the proxy, ``url`` leads past it."""

    setup: Setup
    emulator: Emulator
    url: str
    proxy: TcpFaultProxy
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name in the gateway's settings."""
        return self.setup.name

    @property
    def kind(self) -> str:
        """The kind of its runtimes."""
        return KINDS[self.setup.api]

    def fault(self, fault: str, operation: str = "create", **rule: Any) -> None:
        """Make calls fail in this way (:mod:`gateway.testing.faults`)."""
        known = sorted(set(self.emulator.operations.values()))
        self.emulator.faults.add(parse_rules({"operation": operation, "fault": fault, **rule}, known))

    def fired(self, fault: str) -> int:
        """How often a fault was applied."""
        return self.emulator.faults.fired[fault]

    def posts(self, operation: str = "create") -> int:
        """How many requests of an operation arrived."""
        return self.emulator.requests.per_operation[operation]

    def made(self) -> list[Made]:
        """All its runtimes, stopped ones included."""
        return list(self.emulator.made())

    def live(self, name: str | None = None) -> list[Made]:
        """The runtimes that hold their names: all of them, or those of one name."""
        return [made for made in self.made() if made.live and name in {None, made.name}]

    async def natively(self, client: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
        """Call the provider's own API past the gateway, with its account. Return the JSON.

        Raises ``AssertionError`` unless the call succeeds."""
        token = self.settings["token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with client.request(method, self.url + path, json=body, headers=headers) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def until_idle(self) -> None:
        """Return when no call is held any more, so that every pending create has taken effect."""
        await self.emulator.watch.until(lambda: self.emulator.waiting == 0)


def every_setup() -> list[Setup]:
    """All personalities that the create promise covers."""
    return [
        Setup(api, f"{api.replace('_', '-')}-{index}", personality)
        for api in APIS
        for index, personality in enumerate(_personalities(api))
        if personality != _NOT_PROMISED
    ]


def settings_of(upstreams: Iterable[Upstream]) -> dict[str, Mapping[str, Any]]:
    """The settings of providers by name."""
    return {upstream.name: upstream.settings for upstream in upstreams}


def default_setups() -> list[Setup]:
    """One provider of each API, named after the API."""
    return [Setup(api, api.replace("_", "-"), {}) for api in APIS]


def _personalities(api: str) -> list[Mapping[str, str]]:
    return [setup.personality for setup in setups(plugins()[api]) if setup.pinned]


@asynccontextmanager
async def upstreams(chosen: Iterable[Setup], **options: Any) -> AsyncIterator[list[Upstream]]:
    """Start emulators. ``options`` are further settings of every provider (``deadlines``, …)."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_upstream(setup, options)) for setup in chosen]


@asynccontextmanager
async def _upstream(setup: Setup, options: Mapping[str, Any]) -> AsyncIterator[Upstream]:
    demo, token = plugins()[setup.api].demo, f"token-of-{setup.name}-4711"
    app = create_emulator(setup.api, token=token, personality=setup.personality, **setup.options)
    app.on_response_prepare.append(_one_request_per_connection)
    async with running(app) as url, TcpFaultProxy(url) as proxy:
        settings = {
            "api": setup.api,
            "base_url": proxy.url + demo.base_path,
            "token": token,
            "scope": demo.scope,
            **(demo.options or {}),
            **options,
        }
        yield Upstream(setup, app[EMULATOR], url, proxy, settings)


async def _one_request_per_connection(_: web.Request, response: web.StreamResponse) -> None:
    """Close each connection after its response, so that a proxy that refuses connections refuses every request."""
    response.headers["Connection"] = "close"
    response.force_close()


def body(upstream: Upstream | None, kind: str, name: str | None, **more: Any) -> dict[str, Any]:
    """The body of a create. Without ``upstream`` the gateway chooses the provider; without ``name`` it derives one."""
    chosen = {} if upstream is None else {"provider": upstream.name}
    named = {} if name is None else {"name": name}
    return {"kind": kind, **chosen, **named, **more}
