"""Runs an application on a loopback port during a test."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiohttp import web

Socket: TypeAlias = socket.socket


def listening_socket(port: int = 0) -> Socket:
    """A socket that listens on a port of 127.0.0.1; 0 selects a free one. Raises ``OSError`` if it is taken."""
    return socket.create_server(("127.0.0.1", port))


@asynccontextmanager
async def running(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve ``app`` and yield its URL (``http://127.0.0.1:PORT``, no trailing slash). Port 0 selects a free port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
