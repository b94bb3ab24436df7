"""The durable API twice: an emulator alone, and the gateway's dialect in front of an identical emulator."""

import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from adapters.durable.emulator import DurableEmulator, create_emulator
from gateway.app import create_app, provider_models, serving
from gateway.settings import (
    AuthSettings,
    GatewayKey,
    HealthSettings,
    HttpSettings,
    LogSettings,
    PrincipalSettings,
    Settings,
    ShutdownSettings,
)
from gateway.telemetry.logs import make_logger
from gateway.testing.emulator import EMULATOR
from gateway.testing.processes import running
from tests.component.stores import in_memory

TOKEN = "dn_key_of_the_account"
KEY = "dn_key_of_the_gateway"
PROVIDER = "dn"

_MASKS = (
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "uuid"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "time"),
    (re.compile(r"\bi[0-9a-f]{20}\b"), "sandbox"),
    (re.compile(r"\bsbx_[\w-]+"), "token"),
    (re.compile(r"http://127\.0\.0\.1:\d+(?:/durable)?"), "server"),
    (re.compile(r'(?<="next_cursor": ")[^"]+'), "cursor"),
)


class Ticks:
    """A clock that advances by a millisecond at every reading."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        self.seconds += 0.001
        return self.seconds


@dataclass
class Side:
    """One endpoint of the durable API. Clients use ``url`` as server and ``key`` as API key."""

    url: str
    key: str
    emulator: DurableEmulator
    emulator_url: str
    gateway_url: str = ""
    log: io.StringIO = field(default_factory=io.StringIO)
    _placeholders: dict[str, str] = field(default_factory=dict)

    def masked(self, text: str) -> str:
        """``text`` with generated values replaced by placeholders; equal values get the same placeholder."""
        for pattern, name in _MASKS:
            text = pattern.sub(lambda found, name=name: self._mask(found[0], name), text)
        return text

    def _mask(self, value: str, name: str) -> str:
        if name in {"time", "server", "cursor"}:
            return f"<{name}>"
        return self._placeholders.setdefault(value, f"<{name} {len(self._placeholders)}>")

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, decoded body (None if it is empty) and headers of one call below ``/api/v1``."""
        sent = {"X-API-Key": self.key}
        if raw is not None or body is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        data = io.BytesIO(raw) if raw is not None else None if body is None else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.url}/api/v1{path}", data=data, headers=sent) as response,
        ):
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers

    async def v1(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body of a call of the unified API."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.gateway_url}/v1{path}", json=body, headers=headers) as response,
        ):
            return response.status, json.loads(await response.text())

    async def fault(self, operation: str, fault: str, **parameters: Any) -> None:
        """Activate a fault in the emulator."""
        rule = {"operation": operation, "fault": fault, **parameters}
        async with aiohttp.ClientSession() as session:
            response = await session.post(f"{self.emulator_url}/__faults", json=rule)
            assert response.status < 300, await response.text()

    async def end_faults(self) -> None:
        """End all faults."""
        async with aiohttp.ClientSession() as session:
            response = await session.delete(f"{self.emulator_url}/__faults")
            assert response.status < 300


@asynccontextmanager
async def emulated(**personality: str) -> AsyncIterator[Side]:
    """An emulator alone."""
    app = create_emulator(token=TOKEN, personality=personality, now=Ticks())
    emulator = app[EMULATOR]
    assert isinstance(emulator, DurableEmulator)
    async with running(app) as url:
        yield Side(url, TOKEN, emulator, url)


@asynccontextmanager
async def through_the_gateway(
    *,
    scope: str | None = "acme/research",
    dialects: Mapping[str, Any] | None = None,
    principals: Mapping[str, Mapping[str, Any]] | None = None,
    **personality: str,
) -> AsyncIterator[Side]:
    """The dialect of a gateway in front of an emulator. ``principals`` are the settings of additional callers."""
    async with emulated(**personality) as emulator_side:
        options = {"name": PROVIDER, "api": "durable", "base_url": emulator_side.url, "token": TOKEN, "scope": scope}
        auth = AuthSettings(keys={"shop": GatewayKey.model_validate({"key": KEY})})
        others = {name: PrincipalSettings.model_validate(each) for name, each in (principals or {}).items()}
        settings = Settings(
            http=HttpSettings(listen="127.0.0.1:0"),
            auth=auth.model_copy(update={"principals": others}),
            log=LogSettings(),
            health=HealthSettings(probe=False),
            shutdown=ShutdownSettings(grace=1),
            dialects=dialects or {},
            providers={PROVIDER: provider_models()["durable"].model_validate(options)},
        )
        log = io.StringIO()
        app = create_app(settings, store=in_memory(), logger=make_logger("info", "json", log))
        async with serving(settings, app) as addresses:
            url = addresses.api
            yield Side(f"{url}/durable", KEY, emulator_side.emulator, emulator_side.url, url, log)


@asynccontextmanager
async def both(**personality: str) -> AsyncIterator[tuple[Side, Side]]:
    """An emulator alone, and the gateway in front of another one."""
    async with AsyncExitStack() as stack:
        direct = await stack.enter_async_context(emulated(**personality))
        yield direct, await stack.enter_async_context(through_the_gateway(**personality))
