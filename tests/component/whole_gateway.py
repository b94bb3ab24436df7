"""The complete gateway on a real port, in front of emulators of provider APIs, each behind a proxy that causes
faults."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp
from pydantic import SecretStr

from gateway.app import create_app, create_emulator, plugins, serving
from gateway.demo import demo_settings
from gateway.ports.clock import Clock
from gateway.ports.sealing import Sealer
from gateway.ports.store import Store
from gateway.settings import (
    AuthSettings,
    CacheSettings,
    CorsSettings,
    DataSettings,
    GatewayKey,
    LimitsSettings,
    PrincipalSettings,
)
from gateway.settings.access import JwtSettings
from gateway.settings.model import DialectSettings
from gateway.telemetry.logs import make_logger
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.processes import running
from tests.tcp_faults import TcpFaultProxy

KEY: Final = "a-key-of-a-shop-1234"
PUBLIC_ID_KEY: Final = "cHVibGljLWlkLWtleS1mb3ItdGhlLXRlc3RzLTEyMzQ="
NO_CACHE: Final = CacheSettings(enabled=False)
"""The default for tests, so that every read reaches the provider."""
APIS: Final = ("durable", "bctrl")
_names: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Response:
    """One complete response of the gateway."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


@dataclass(frozen=True, slots=True)
class Upstream:
    """A configured provider: its emulator, and the proxy in front of it."""

    name: str
    kind: str
    token: str
    emulator: Emulator
    proxy: TcpFaultProxy

    def fault(self, operation: str = "*", **rule: Any) -> None:
        """Make calls fail in this way (``gateway.testing.faults``)."""
        known = sorted(set(self.emulator.operations.values()))
        self.emulator.faults.add(parse_rules({"operation": operation, **rule}, known))

    def received(self) -> int:
        """The number of requests that arrived."""
        return sum(self.emulator.requests.per_operation.values())


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway under test. ``log`` receives its log lines."""

    url: str
    client: aiohttp.ClientSession
    upstreams: Mapping[str, Upstream]
    log: StringIO

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """One call, with the gateway key. Of an event stream, the text is its first event."""
        options: dict[str, Any] = {} if body is None else {"json": body}
        async with self.client.request(method, self.url + path, headers=headers, **options) as response:
            if response.content_type == "text/event-stream":
                for _ in range(2 if method == "GET" else 0):  # the opening, and the event
                    text = (await response.content.readuntil(b"\n\n")).decode()
                return Response(response.status, response.headers, text if method == "GET" else "", None)
            text = "" if response.content_type == "image/png" else await response.text()
            is_json = text and response.content_type.endswith(("/json", "+json"))
            return Response(
                response.status, response.headers, text, await response.json(content_type=None) if is_json else None
            )

    async def create(self, upstream: Upstream, **fields: Any) -> Any:
        """Create a runtime at this provider under a new name. Return the decoded response."""
        body = {"kind": upstream.kind, "provider": upstream.name, "name": f"n{next(_names)}", **fields}
        response = await self.call("POST", "/v1/runtimes", body)
        assert response.status == 201, response.text
        return response.json


@asynccontextmanager
async def whole_gateway(
    *apis: str,
    cache: CacheSettings = NO_CACHE,
    keys: Mapping[str, str] | None = None,
    principals: Mapping[str, Mapping[str, Any]] | None = None,
    jwt: Sequence[Mapping[str, Any]] = (),
    clock: Clock | None = None,
    store: tuple[Store, Sealer] | None = None,
    twice: Sequence[str] = (),
    most_requests: int | None = None,
    cors: CorsSettings | None = None,
    limits: Mapping[str, Any] | None = None,
    data: DataSettings | None = None,
    forward: Mapping[str, Sequence[str]] | None = None,
    base_path: str = "",
    **options: Mapping[str, Any],
) -> AsyncIterator[Gateway]:
    """Start a gateway and emulators of ``apis``, by default of :data:`APIS`. ``keys`` are the keys of additional
    principals by name, ``principals`` the settings of others, ``jwt`` the issuers of tokens. ``options`` are additional
    provider settings by API. ``twice`` are APIs with a second provider and emulator, called ``API-2``, which creates
    prefer less. ``most_requests`` limits the requests in flight, ``cors`` lists the origins whose pages may call.
    ``limits`` are the settings of this section, ``data`` those of the data plane, ``forward`` what each dialect
    forwards. ``base_path`` is the prefix of all paths. ``store`` replaces the store in a file."""
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
        limited = {name: PrincipalSettings.model_validate(value) for name, value in (principals or {}).items()}
        auth = settings.auth.model_copy(
            update={
                "keys": others,
                "principals": {**settings.auth.principals, **limited},
                "public_id_key": SecretStr(PUBLIC_ID_KEY),
                "jwt": [JwtSettings.model_validate(issuer) for issuer in jwt],
            }
        )
        counted = LimitsSettings.model_validate(limits or {})
        settings = settings.model_copy(update={"cache": cache, "auth": auth, "limits": counted})
        spoken = {name: DialectSettings(forward=list(rules)) for name, rules in (forward or {}).items()}
        settings = settings.model_copy(update={"dialects": spoken})
        if data is not None:
            settings = settings.model_copy(update={"data": data})
        http = {"max_requests_in_flight": most_requests, "cors": cors, "base_path": base_path or None}
        http = {name: value for name, value in http.items() if value is not None}
        settings = settings.model_copy(update={"http": settings.http.model_copy(update=http)})
        log = StringIO()
        gateway = create_app(settings, logger=make_logger("debug", "json", log), clock=clock, store=store)
        addresses = await stack.enter_async_context(serving(settings, gateway))
        client = aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"})
        await stack.enter_async_context(client)
        yield Gateway(addresses.api, client, upstreams, log)
