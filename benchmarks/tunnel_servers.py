"""The servers around the tunnel of the data plane: the far end, a bare relay to it, and a gateway that leads to it."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from benchmarks.servers import RUNTIMES, gateway_settings, runtime
from gateway.app import create_app, serving
from gateway.settings import DataSettings
from gateway.telemetry.logs import make_logger

_SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
_PIECE = 1 << 16


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
    shown = runtime()
    port = server.sockets[0].getsockname()[1]
    shown["instance"] |= {"sandbox_url": f"http://127.0.0.1:{port}", "expires_at": "2036-11-22T01:28:31Z"}

    async def get(_request: web.Request) -> web.Response:
        return web.json_response({**shown, "sandbox_token": "token-of-the-far-end"})

    app = web.Application()
    app.router.add_get(RUNTIMES + "/{id}", get)
    app.router.add_post(RUNTIMES + "/{id}/start", get)
    app.router.add_get("/echo", lambda _request: web.json_response(port))
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=600)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def relay(target: str) -> str:
    """Forwards the bytes of each connection to a server, with streams of asyncio and nothing else."""
    parts = urlsplit(target)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, backlog=4096)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def data_plane(target: str, store: str) -> None:
    """A gateway with a data plane, its log to /dev/null. Prints the address of its API, and serves."""
    settings = gateway_settings(target, Path(store))
    data = DataSettings(enabled=True, listen="127.0.0.1:0", max_connections=5000)
    http = settings.http.model_copy(update={"max_connections": 5000, "max_idle_connections_per_address": 5000})
    settings = settings.model_copy(update={"data": data, "http": http})
    with open("/dev/null", "w") as nowhere:  # noqa: PTH123, ASYNC230 (opened once, before serving)
        async with serving(settings, create_app(settings, logger=make_logger("info", "json", nowhere))) as addresses:
            print(addresses.api, flush=True)  # noqa: T201 (the parent process reads the address)
            await asyncio.Event().wait()
