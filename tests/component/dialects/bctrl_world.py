"""A gateway in front of emulators of both bctrl APIs, and one emulator of each that tests call directly."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.app import create_app, create_emulator, serving
from gateway.demo import demo_settings
from gateway.settings import AuthSettings, PrincipalSettings
from gateway.settings.model import DialectSettings
from gateway.telemetry.logs import make_logger
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.processes import running
from tests.component.stores import in_memory

KEY: Final = "a-key-of-a-shop-1234"
WORKSPACE: Final = "7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"
SPACE: Final = "sp_demo"
TOKEN: Final = "token-of-bctrl-4711"


@dataclass(frozen=True, slots=True)
class Reply:
    """One response with its decoded body."""

    status: int
    headers: Mapping[str, str]
    json: Any


@dataclass(frozen=True, slots=True)
class Server:
    """A server of an API, with the key for it."""

    url: str
    key: str
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send one call. ``body`` is sent as JSON, or unchanged if it is bytes."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.key}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if raw is not None:
            sent["Content-Type"] = "application/json"
        async with self.session.request(method, self.url + path, data=raw, headers=sent) as response:
            text = await response.text()
            return Reply(response.status, response.headers, json.loads(text) if text else None)


@dataclass(frozen=True, slots=True)
class World:
    """``gateway`` is the gateway, ``dialect`` its ``/bctrl``. ``direct`` is a browsers emulator and
    ``direct_workspaces`` a workspaces emulator that are not behind the gateway. ``emulators`` and ``urls`` are those
    behind the gateway, by the name of their provider."""

    gateway: Server
    dialect: Server
    direct: Server
    direct_workspaces: Server
    emulators: Mapping[str, Emulator]
    urls: Mapping[str, str]
    direct_emulator: Emulator
    log: StringIO

    @property
    def browsers(self) -> Emulator:
        """The emulator behind the provider ``browsers-demo``."""
        return self.emulators["browsers-demo"]

    @property
    def workspaces(self) -> Emulator:
        """The emulator behind the provider ``bctrl-demo``."""
        return self.emulators["bctrl-demo"]


def fault(emulator: Emulator, operation: str, kind: str, **more: Any) -> None:
    """Make the next call of an operation fail; ``times`` makes several calls fail."""
    rule = {"operation": operation, "fault": kind, "times": 1, **more}
    emulator.faults.add(parse_rules(rule, set(emulator.operations.values())))


def provider(api: str, **options: Any) -> dict[str, Any]:
    """The settings of a provider."""
    return {"api": api, "token": TOKEN, **options}


PROVIDERS: Final[Mapping[str, dict[str, Any]]] = {
    "bctrl-demo": provider("bctrl", scope=WORKSPACE),
    "browsers-demo": provider("bctrl_browsers", scope=SPACE),
}


@asynccontextmanager
async def world(
    providers: Mapping[str, dict[str, Any]] = PROVIDERS,
    *,
    routes: Sequence[Mapping[str, Any]] = (),
    principals: Mapping[str, Mapping[str, Any]] | None = None,
    **personality: str,
) -> AsyncIterator[World]:
    """Start everything. ``principals`` are the settings of additional callers. ``personality`` is that of all browsers
    emulators. Each provider has its own emulator, except
    that providers with the same ``account`` share one."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        started: dict[str, tuple[str, Emulator]] = {}
        known, emulators, urls = {}, {}, {}
        for name, given in providers.items():
            options = dict(given)
            account = options.pop("account", name)
            if account not in started:
                app = create_emulator(
                    options["api"], token=TOKEN, personality=personality if options["api"] == "bctrl_browsers" else {}
                )
                started[account] = (await stack.enter_async_context(running(app)), app[EMULATOR])
            urls[name], emulators[name] = started[account]
            known[name] = {"base_url": urls[name], **options}
        direct_app = create_emulator("bctrl_browsers", token=KEY, personality=personality)
        direct = await stack.enter_async_context(running(direct_app))
        workspaces = await stack.enter_async_context(running(create_emulator("bctrl", token=KEY)))
        settings = demo_settings(known, port=0, api_key=KEY, folder=Path("unused"))
        if routes:
            settings = settings.model_copy(update={"dialects": {"bctrl": DialectSettings(routes=list(routes))}})
        assert isinstance(settings.auth, AuthSettings)
        others = {name: PrincipalSettings.model_validate(given) for name, given in (principals or {}).items()}
        auth = settings.auth.model_copy(update={"principals": {**settings.auth.principals, **others}})
        settings = settings.model_copy(update={"auth": auth})
        log = StringIO()
        gateway_app = create_app(settings, store=in_memory(), logger=make_logger("debug", "json", log))
        address = (await stack.enter_async_context(serving(settings, gateway_app))).api
        yield World(
            gateway=Server(address, KEY, session),
            dialect=Server(f"{address}/bctrl", KEY, session),
            direct=Server(direct, KEY, session),
            direct_workspaces=Server(workspaces, KEY, session),
            emulators=emulators,
            urls=urls,
            direct_emulator=direct_app[EMULATOR],
            log=log,
        )
