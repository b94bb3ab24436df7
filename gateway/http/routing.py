"""The handlers of one listener, by path and method."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, Final

from aiohttp import web

AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Methods = Mapping[str, AiohttpHandler]

_PARAMETER: Final = re.compile(r"\{(\w+)(:\.\*)?\}")


class Parameters(dict[str, str]):
    """The parameters of a path, in place of the class of aiohttp's router, which is not used."""

    _apps: ClassVar[tuple[web.Application, ...]] = ()  # aiohttp calls their hooks


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
        path = request.rel_url.path_safe  # %2F and %25 are not decoded
        found = self._exact.get(path)
        methods, parameters = self._match(path) if found is None else (found, Parameters())
        request._match_info = parameters  # type: ignore[assignment]
        return methods.get(request.method) or methods.get("*")

    def _match(self, path: str) -> tuple[Methods, Parameters]:
        start, slash, _ = path.rpartition("/")
        while slash:
            for pattern, methods in self._templates.get(start, ()):
                if (found := pattern.fullmatch(path)) is not None:
                    parameters = found.groupdict()
                    if "%" in path:
                        parameters = {name: _decoded(value) for name, value in parameters.items()}
                    return methods, Parameters(parameters)
            start, slash, _ = start.rpartition("/")
        return {}, Parameters()


def _decoded(value: str) -> str:
    return value.replace("%2F", "/").replace("%25", "%")
