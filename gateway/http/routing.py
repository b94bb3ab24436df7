"""The handlers of one listener, by path and method."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Methods = Mapping[str, AiohttpHandler]

_PARAMETER: Final = re.compile(r"\{(\w+)(:\.\*)?\}")
_NO_ROUTE: Final[Any] = None  # aiohttp's own router is not used


class RouteTable:
    """Paths may have parameters: ``{name}`` is a part of a segment, ``{name:.*}`` anything. A path without parameters
    is preferred to one with them, and of those the one with more segments before its first parameter."""

    def __init__(self) -> None:
        self._exact: dict[str, Methods] = {}
        self._templates: dict[str, list[tuple[re.Pattern[str], Methods]]] = {}

    def add(self, path: str, methods: Methods) -> None:
        """Add the handlers of a path by method. ``*``: of all methods that have none."""
        if "{" not in path:
            self._exact[path] = methods
            return
        literal, *parts = _PARAMETER.split(path)
        pattern = re.escape(literal)
        for name, is_open, after in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            pattern += f"(?P<{name}>{'.*' if is_open else '[^{}/]+'}){re.escape(after)}"
        self._templates.setdefault(literal.rstrip("/"), []).append((re.compile(pattern), methods))

    def find(self, request: web.Request) -> AiohttpHandler | None:
        """The handler of a request, whose ``match_info`` are the parameters from now on."""
        path, method = request.rel_url.path_safe, request.method  # path_safe: %2F and %25 are not decoded
        parameters: dict[str, str] = {}
        methods = self._exact.get(path)
        if methods is None:
            methods, parameters = self._match(path)
        request._match_info = web.UrlMappingMatchInfo(parameters, _NO_ROUTE)
        return methods.get(method) or methods.get("*")

    def _match(self, path: str) -> tuple[Methods, dict[str, str]]:
        start, slash, _ = path.rpartition("/")
        while slash:
            for pattern, methods in self._templates.get(start, ()):
                if (found := pattern.fullmatch(path)) is not None:
                    return methods, {name: _decoded(value) for name, value in found.groupdict().items()}
            start, slash, _ = start.rpartition("/")
        return {}, {}


def _decoded(value: str) -> str:
    return value.replace("%2F", "/").replace("%25", "%") if "%" in value else value
