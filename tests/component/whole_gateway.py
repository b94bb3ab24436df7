"""The whole gateway on a real port, in front of the emulators of both mission APIs, each behind a proxy of faults."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp

from gateway.app import create_app, create_emulator, plugins, serving
from gateway.demo import demo_settings
from gateway.ports.clock import Clock
from gateway.settings import AuthSettings, CacheSettings, GatewayKey
from gateway.telemetry.logs import make_logger
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.servers import running
from gateway.testing.tcp_faults import TcpFaultProxy

KEY: Final = "a-key-of-a-shop-1234"
NO_CACHE: Final = CacheSettings(enabled=False)
"""What a test sees is what the provider says then."""
APIS: Final = ("durable", "bctrl")
_names: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the gateway, read as a whole."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider as the gateway sees it: its emulator, and the proxy on the way there."""

    name: str
    kind: str
    token: str
    emulator: Emulator
    proxy: TcpFaultProxy

    def fault(self, operation: str = "*", **rule: Any) -> None:
        """Let calls fail in this way (``gateway.testing.faults``)."""
        known = sorted(set(self.emulator.operations.values()))
        self.emulator.faults.add(parse_rules({"operation": operation, **rule}, known))

    def received(self) -> int:
        """How many requests have come."""
        return sum(self.emulator.requests.per_operation.values())


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway under test. ``log`` is all that it logged."""

    url: str
    client: aiohttp.ClientSession
    upstreams: Mapping[str, Upstream]
    log: StringIO

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One call with the key."""
        options: dict[str, Any] = {} if body is None else {"json": body}
        async with self.client.request(method, self.url + path, headers=headers, **options) as response:
            text = await response.text()
            is_json = text and "json" in response.headers.get("Content-Type", "")
            return Answer(
                response.status, response.headers, text, await response.json(content_type=None) if is_json else None
            )

    async def create(self, upstream: Upstream, **fields: Any) -> Any:
        """Make a runtime there under a new name; gives it as it was answered."""
        body = {"kind": upstream.kind, "provider": upstream.name, "name": f"n{next(_names)}", **fields}
        answer = await self.call("POST", "/v1/runtimes", body)
        assert answer.status == 201, answer.text
        return answer.json


@asynccontextmanager
async def whole_gateway(
    *apis: str,
    cache: CacheSettings = NO_CACHE,
    keys: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    twice: Sequence[str] = (),
    most_requests: int | None = None,
    **options: Mapping[str, Any],
) -> AsyncIterator[Gateway]:
    """Start everything, in front of emulators of ``apis``, or of :data:`APIS`. ``keys`` are of other principals by
    name; ``options`` are further settings of providers, by API. ``twice``: APIs with a second provider and emulator,
    called ``API-2``, where creates go second. ``most_requests`` may be in flight at once."""
    async with AsyncExitStack() as stack:
        upstreams: dict[str, Upstream] = {}
        providers: dict[str, dict[str, Any]] = {}
        for label in (*(apis or APIS), *(f"{api}-2" for api in twice)):
            api = label.removesuffix("-2")
            demo = plugins()[api].demo
            token = f"token-of-{api}-4711"
            app = create_emulator(api, token=token)
            url = await stack.enter_async_context(running(app))
            proxy = await stack.enter_async_context(TcpFaultProxy(url))
            kind = "durable" if api == "durable" else "browser"
            provider = demo.provider + label[len(api) :]
            upstreams[label] = Upstream(provider, kind, token, app[EMULATOR], proxy)
            providers[provider] = {
                "api": api,
                "base_url": proxy.url + demo.base_path,
                "token": token,
                "scope": demo.scope,
                **(demo.options or {}),
                "order": 1 if label == api else 2,
                **options.get(label, {}),
            }
        folder = Path(stack.enter_context(TemporaryDirectory()))
        settings = demo_settings(providers, port=0, api_key=KEY, folder=folder)
        assert isinstance(settings.auth, AuthSettings)
        others = {name: GatewayKey.model_validate({"key": key}) for name, key in (keys or {}).items()}
        auth = AuthSettings(keys={**settings.auth.keys, **others})
        settings = settings.model_copy(update={"cache": cache, "auth": auth})
        if most_requests is not None:
            http = settings.http.model_copy(update={"max_requests_in_flight": most_requests})
            settings = settings.model_copy(update={"http": http})
        log = StringIO()
        gateway = create_app(settings, logger=make_logger("debug", "json", log), clock=clock)
        addresses = await stack.enter_async_context(serving(settings, gateway))
        client = aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"})
        await stack.enter_async_context(client)
        yield Gateway(addresses.api, client, upstreams, log)
