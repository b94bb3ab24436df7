"""Serves the console: pages that call ``/v1`` with the caller's own key, and know nothing else (docs/console.md)."""

from functools import cache
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

import gateway
from gateway.api.site import file_response, site_route
from gateway.domain.errors import NotFound
from gateway.http.mounting import mounted
from gateway.ports.context import RequestContext

_FOLDER: Final = Path(gateway.__file__).parent / "console"
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Console:
    """The files of the console, and where ``/`` leads. ``enabled`` False: there is no console."""

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled

    async def front(self, request: web.Request, _ctx: RequestContext) -> web.Response:
        """Lead to the console, or to the documentation if there is none."""
        page = "console" if self._enabled else "docs"
        relative = f"../{page}" if request.path.endswith("/console/") else page
        return web.Response(status=307, headers={hdrs.LOCATION: mounted(f"/{page}") if mounted("") else relative})

    async def page(self, request: web.Request, _ctx: RequestContext) -> web.Response:
        return self._file(request, "index.html")

    async def file(self, request: web.Request, _ctx: RequestContext) -> web.Response:
        return self._file(request, request.match_info["name"])

    def _file(self, request: web.Request, name: str) -> web.Response:
        if not self._enabled:
            raise NotFound("There is no console here: console is off in the settings.")
        files = _files()
        if name not in files:
            raise NotFound("There is no such file.")
        return file_response(request, files[name], _MEDIA_TYPES[Path(name).suffix])


@cache
def _files() -> dict[str, bytes]:
    """All files of the console by name, so that no name leads out of its folder."""
    return {path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}


_ABSENT: Final = (NotFound,)
CONSOLE_ROUTES: Final = (
    site_route(
        "/",
        "getFrontPage",
        "Leads to the console or the documentation",
        Console.front,
        aliases=("/console/",),
        status=307,
    ),
    site_route("/console", "getConsole", "The console", Console.page, "text/html", errors=_ABSENT),
    site_route(
        "/console/{name}",
        "getConsoleFile",
        "A file of the console",
        Console.file,
        *("text/css", "text/javascript", "image/svg+xml"),
        errors=_ABSENT,
    ),
)
