"""The servers of the comparisons, each in its own process:
``python -m benchmarks.servers NAME [UPSTREAM [STORE [OTHER]]]``.

``upstream`` returns fixed bytes at once, so that only the server in front of it is measured. ``passthrough`` is a bare
aiohttp proxy of the same body. ``gateway`` is the gateway with keys, metrics and its access log (to /dev/null), without
its read cache, which ``caching`` has; ``quiet`` logs errors only; ``configured`` is one whose
settings are in the file UPSTREAM. ``bare`` returns the first response of its upstream
for each path, and does nothing else. ``far``, ``relay`` and ``data`` are those of
:mod:`benchmarks.tunnel_servers`. ``sick`` is a failing provider; the first segment of its path selects the failure.
OTHER is the base URL of a second provider. All have the same event loop, garbage collection settings and timeouts. Each
prints its address when it serves.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
from aiohttp import web

from gateway.app import create_app, provider_models, serving
from gateway.app.serving import tune_gc
from gateway.ports.provider_settings import ProviderSettings
from gateway.settings import (
    AuthSettings,
    CacheSettings,
    GatewayKey,
    HttpSettings,
    Settings,
    StoreSettings,
    load_settings,
)
from gateway.telemetry.logs import make_logger

KEY = "benchmark-key-0123456789"
RUNTIME_ID = "2489e9ad-2ee2-4e00-8ec9-32d5f69181c0"
SCOPE = "acme/research"
OTHER = "other"
SICK_DEADLINE = 0.5
"""The deadline of a read at the other provider, in seconds."""

RUNTIMES = f"/api/v1/org/{SCOPE.replace('/', '/ws/')}/runtimes"


def runtime(number: int = 0) -> dict[str, Any]:
    """A durable runtime with a running instance, about 1 KB as a list row of the provider."""
    return {
        "id": f"{RUNTIME_ID[:-4]}{number:04x}" if number else RUNTIME_ID,
        "key": f"agent-{number}",
        "name": f"Agent {number}",
        "description": None,
        "status": "running",
        "config_version": "v2",
        "config_digest": "918e3197e97f7d0f092e7c82d21743d2c9f62ab51d4cee49e43e15a9ed23c8d7",
        "project_id": "2eadae94-fff7-4579-aacf-04286ff2a667",
        "project_key": "default",
        "project_name": "Default",
        "created_at": "2026-11-22T00:28:26.405393Z",
        "updated_at": "2026-11-22T00:28:31.295928Z",
        "owned_by_me": True,
        "instance": {
            "sandbox_id": "f75f4d19-6af9-41ce-9cf7-16051d4de698",
            "provider": "e2b",
            "provider_sandbox_id": "i085fb26c6a443a0b423d",
            "sandbox_url": None,
            "state": "running",
            "created_at": "2026-11-22T00:28:31.295928Z",
            "expires_at": "2026-11-22T01:28:31.295928Z",
            "pause_reason": None,
            "billed_credits": 12,
            "running_credits": 3,
            "estimated_total_credits": 15,
            "total_runtime_seconds": 271,
        },
    }


def upstream() -> web.Application:
    """Serves a runtime, a list of 50, a create that returns a runtime of that name, and the user of the credentials."""
    one = msgspec.json.encode(runtime())
    many = msgspec.json.encode({"items": [slim(number) for number in range(50)], "next_cursor": None})

    async def get(_request: web.Request) -> web.Response:
        return web.Response(body=one, content_type="application/json")

    async def listed(_request: web.Request) -> web.Response:
        return web.Response(body=many, content_type="application/json")

    async def create(request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read())
        made = msgspec.json.encode({**created, "id": str(uuid4()), "key": asked["key"]})
        return web.Response(body=made, status=201, content_type="application/json")

    async def user(_request: web.Request) -> web.Response:
        return web.json_response({"id": "d0b6a2cc-5d4d-4c37-9f43-7d1c9d8f2a61"})

    created = {**runtime(), "status": "idle", "instance": None}
    app = web.Application()
    app.router.add_get("/api/v1/user", user)
    app.router.add_post(RUNTIMES, create)
    app.router.add_get(RUNTIMES, listed)
    app.router.add_get(RUNTIMES + "/{id}", get)
    return app


def slim(number: int) -> dict[str, Any]:
    """A list row of about 400 bytes: an idle runtime, so that 50 of them are about 20 KB."""
    row = runtime(number)
    for name in ("config_digest", "project_name", "description"):
        row.pop(name)
    return {**row, "status": "idle", "instance": None, "config_digest": "918e3197e97f7d0f"}


def passthrough(target: str) -> web.Application:
    """Forwards every GET and POST and returns the complete response, and does nothing else."""
    app = web.Application()
    session = web.AppKey("session", aiohttp.ClientSession)

    async def forward(request: web.Request) -> web.Response:
        async with request.app[session].get(target + request.raw_path, headers={"X-API-Key": "t"}) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")

    async def forward_body(request: web.Request) -> web.Response:
        url, headers = target + request.raw_path, {"X-API-Key": "t", "Content-Type": "application/json"}
        async with request.app[session].post(url, data=await request.read(), headers=headers) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")

    async def own_session(app: web.Application) -> Any:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=250)
        app[session] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=100), timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        yield
        await app[session].close()

    app.cleanup_ctx.append(own_session)
    app.router.add_get("/{path:.*}", forward)
    app.router.add_post("/{path:.*}", forward_body)
    return app


def bare(target: str) -> web.Application:
    """Returns for each path the bytes of the target's first response."""
    app = web.Application()
    known: dict[str, bytes] = {}

    async def answer(request: web.Request) -> web.Response:
        body = known.get(request.raw_path)
        if body is None:
            async with (
                aiohttp.ClientSession(headers={"X-API-Key": KEY}) as session,
                session.get(target + request.raw_path, raise_for_status=True) as first,
            ):
                body = known[request.raw_path] = await first.read()
        return web.Response(body=body, content_type="application/json")

    app.router.add_get("/{path:.*}", answer)
    return app


def sick() -> web.Application:
    """Hangs (longer than any caller waits), responds with 429, or responds with 500."""
    app = web.Application()

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.sleep(10 * SICK_DEADLINE)
        raise web.HTTPServiceUnavailable

    async def flood(_request: web.Request) -> web.Response:
        return web.json_response({"detail": "too many"}, status=429, headers={"Retry-After": "30"})

    async def fail(_request: web.Request) -> web.Response:
        return web.json_response({"detail": "failed"}, status=500)

    for mode, handler in {"hang": hang, "429": flood, "500": fail}.items():
        app.router.add_get(f"/{mode}/{{path:.*}}", handler)
    return app


def gateway_settings(target: str, store: Path, *, caching: bool = False, other: str = "") -> Settings:
    """Settings with a durable provider, an optional second one at ``other``, one key, and a store in a file."""
    model = provider_models()["durable"]

    def provider(name: str, base_url: str, **more: Any) -> ProviderSettings:
        settings = {"name": name, "api": "durable", "base_url": base_url, "token": name, "scope": SCOPE}
        return model.model_validate({**settings, **more})

    providers = [provider("bench", target)]
    if other:
        providers.append(provider(OTHER, other, deadlines={"get": SICK_DEADLINE}))
    return Settings(
        http=HttpSettings(listen="127.0.0.1:0"),
        cache=CacheSettings(enabled=caching),
        auth=AuthSettings(keys={"bench": GatewayKey.model_validate({"key": KEY})}),
        store=StoreSettings.in_file(store),
        providers={each.name: each for each in providers},
    )


async def _serve(name: str, target: str, store: str, other: str) -> None:
    if name in {"gateway", "caching", "quiet", "configured"}:
        if name == "configured":
            settings = load_settings(Path(target), provider_models=provider_models(), environ={}).settings
        else:
            settings = gateway_settings(target, Path(store), caching=name == "caching", other=other)
        with open("/dev/null", "w") as nowhere:  # noqa: PTH123, ASYNC230 (opened once, before serving)
            app = create_app(settings, logger=make_logger("error" if name == "quiet" else "info", "json", nowhere))
            async with serving(settings, app) as addresses:
                await _serving(addresses.api)
        return
    if name in {"far", "relay", "data"}:
        from benchmarks import tunnel_servers  # noqa: PLC0415 (it imports this module)

        if name == "data":
            await tunnel_servers.data_plane(target, store)
        await _serving(await (tunnel_servers.relay(target) if name == "relay" else tunnel_servers.far()))
    alone = {"upstream": upstream, "sick": sick}
    app = alone[name]() if name in alone else {"passthrough": passthrough, "bare": bare}[name](target)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    await _serving(f"http://127.0.0.1:{runner.addresses[0][1]}")


async def _serving(url: str) -> None:
    tune_gc()
    print(url, flush=True)  # noqa: T201 (the parent process reads the address)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:], *[""] * (5 - len(sys.argv))))
