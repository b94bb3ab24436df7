"""The servers around the gateway, each in its own process: ``python -m benchmarks.servers NAME [TARGET]``.

``upstream`` is the provider of :mod:`benchmarks.upstream`. ``passthrough`` is a bare aiohttp proxy of it. ``floor`` is
a proxy of the gateway's request loop and HTTP client alone, without anything that the gateway does in between. ``bare``
returns the first response of its target for each path, and does nothing else. ``sick`` is a failing provider; the first
segment of its path selects the failure. ``far`` is a provider with an echo behind its runtime, and ``relay`` a bare
relay to it. All have the garbage collection settings and timeouts of the gateway. Each prints its address when it
serves.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from benchmarks.upstream import RUNTIMES, provider, runtime, url_of
from benchmarks.versions import KEY
from gateway.app.event_loop import loop_factory
from gateway.app.serving import tune_gc
from gateway.domain.values import Operation
from gateway.http.request_loop import RequestLoop
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, UpstreamRequest
from gateway.settings import SettingsError
from gateway.upstream.transport import HttpTransport

SICK_DEADLINE = 0.5
"""The deadline of a read at the sick provider, in seconds."""

_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_PIECE = 1 << 16
_FLOOR_SECONDS = 250.0


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


async def floor(target: str) -> str:
    """Forwards every GET and POST: what is left of the gateway if it does nothing with them."""
    loop = asyncio.get_running_loop()
    transport = HttpTransport(ProviderSettings(name="floor", api="durable", base_url=target, token=SecretStr("t")))
    sent = {"X-API-Key": "t"}

    async def forward(request: web.BaseRequest) -> web.Response:
        body = await request.read() if request.body_exists else None
        operation = Operation.GET if body is None else Operation.CREATE
        call = Call(time.monotonic() + _FLOOR_SECONDS)
        answer = await transport.send(
            UpstreamRequest(operation, request.method, request.raw_path, headers=sent, body=body), call
        )
        return web.Response(body=answer.body, status=answer.status, content_type="application/json")

    manager = web.Server(forward)
    server = await loop.create_server(
        lambda: RequestLoop(manager, loop=loop, keepalive_timeout=75), "127.0.0.1", 0, backlog=1024
    )
    return url_of(server)


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


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def far() -> str:
    """A provider whose runtime has an echo behind it: bytes come back as they are. Returns the provider's URL."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_SWITCH)
        await _pump(reader, writer)

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    shown, url = runtime(), url_of(server)
    shown["instance"] |= {"sandbox_url": url, "expires_at": "2036-11-22T01:28:31Z"}

    async def get(_request: web.Request) -> web.Response:
        return web.json_response({**shown, "sandbox_token": "token-of-the-far-end"})

    app = web.Application()
    app.router.add_get(RUNTIMES + "/{id}", get)
    app.router.add_post(RUNTIMES + "/{id}/start", get)
    app.router.add_get("/echo", lambda _request: web.json_response(url))
    return await _application(app)


async def relay(target: str) -> str:
    """Forwards the bytes of each connection to a server, with streams of asyncio and nothing else."""
    parts = urlsplit(target)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, backlog=4096)
    return url_of(server)


async def _application(app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


SERVERS: dict[str, Callable[[str], Awaitable[str]]] = {
    "upstream": lambda _: provider(),
    "passthrough": lambda target: _application(passthrough(target)),
    "floor": floor,
    "bare": lambda target: _application(bare(target)),
    "sick": lambda _: _application(sick()),
    "far": lambda _: far(),
    "relay": relay,
}


async def _serve(name: str, target: str) -> None:
    url = await SERVERS[name](target)
    tune_gc()
    print(url, flush=True)  # noqa: T201 (the parent process reads the address)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until the process is stopped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--loop", default="asyncio", choices=["asyncio", "uvloop"])
    parser.add_argument("name", choices=SERVERS)
    parser.add_argument("target", nargs="?", default="")
    options = parser.parse_args()
    try:
        make = loop_factory(options.loop)
    except SettingsError:  # there is no uvloop on this system
        make = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(_serve(options.name, options.target))


if __name__ == "__main__":
    main()
