"""The dialect of the browser API in its current and its flat era: ``/bctrl/v1/browsers…`` and ``/bctrl/v1/runtimes…``.

Only ``bctrl_browsers`` providers serve it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

from adapters.bctrl_browsers.dialect.bodies import VERSION_HEADER, without_connections
from adapters.bctrl_browsers.dialect.current import ERA as CURRENT
from adapters.bctrl_browsers.dialect.current import CurrentEra
from adapters.bctrl_browsers.dialect.errors import failure_of
from adapters.bctrl_browsers.dialect.flat import ERA as FLAT
from adapters.bctrl_browsers.dialect.flat import FlatEra
from adapters.bctrl_browsers.dialect.forwarding import PREFIX, PRESETS, Calls
from gateway.domain.errors import GatewayError
from gateway.domain.values import Permission
from gateway.ports.context import RequestContext
from gateway.ports.dialect import Dialect, DialectAnswer, DialectGateway, DialectRequest, DialectRoute, Forwarded

_BROWSERS: Final = "/v1/browsers"
_RUNTIMES: Final = "/v1/runtimes"
_SANDBOXES: Final = "/v1/sandboxes"
_PERMISSIONS: Final[Mapping[str, Permission]] = {
    "create": Permission.CREATE,
    "list": Permission.READ,
    "get": Permission.READ,
    "update": Permission.CONFIG,
    "delete": Permission.LIFECYCLE,
    "start": Permission.LIFECYCLE,
    "stop": Permission.LIFECYCLE,
    "revoke": Permission.CONNECT,
}


def _route(
    era: str, paths: str, method: str, below: str, name: str, handle: Callable[..., Awaitable[DialectAnswer]]
) -> DialectRoute:
    async def handler(dialect: "BctrlBrowsersDialect", request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        return await handle(dialect.eras[era], request, ctx)

    operation = f"{paths.removeprefix('/v1/')}_{name}"
    return DialectRoute(method, f"{paths}{below}", operation, handler, era, _PERMISSIONS[name])


_current: Final = partial(_route, CURRENT, _BROWSERS)
_flat: Final = partial(_route, FLAT, _RUNTIMES)


class BctrlBrowsersDialect(Dialect):
    """Both eras, and the errors of every path below the prefix that no dialect serves."""

    prefix: ClassVar[str] = PREFIX
    families: ClassVar[tuple[str, ...]] = (_BROWSERS, _RUNTIMES, _SANDBOXES)
    presets: ClassVar[Mapping[str, Sequence[str]]] = PRESETS
    fallback: ClassVar[bool] = True
    routes: ClassVar[tuple[DialectRoute, ...]] = (
        _current("POST", "", "create", CurrentEra.create),
        _current("GET", "", "list", CurrentEra.list_all),
        _current("GET", "/{id}", "get", CurrentEra.get),
        _current("PATCH", "/{id}", "update", CurrentEra.update),
        _current("DELETE", "/{id}", "delete", CurrentEra.delete),
        _current("POST", "/{id}/start", "start", CurrentEra.start),
        _current("POST", "/{id}/stop", "stop", CurrentEra.stop),
        _current("POST", "/{id}/connections/revoke", "revoke", CurrentEra.revoke),
        _flat("POST", "", "create", FlatEra.create),
        _flat("GET", "", "list", FlatEra.list_all),
        _flat("GET", "/{id}", "get", FlatEra.get),
        _flat("PATCH", "/{id}", "update", FlatEra.update),
        _flat("DELETE", "/{id}", "delete", FlatEra.delete),
        _flat("POST", "/{id}/start", "start", FlatEra.start),
        _flat("POST", "/{id}/stop", "stop", FlatEra.stop),
    )

    def __init__(self, gateway: DialectGateway) -> None:
        super().__init__(gateway)
        self.eras: Final = {CURRENT: CurrentEra(gateway), FLAT: FlatEra(gateway)}

    async def forwarded(self, segments: Sequence[str], request: DialectRequest, ctx: RequestContext) -> Forwarded:
        return await Calls(self.gateway, CURRENT).forwarded(segments, request, ctx)

    def without_connections(self, body: bytes) -> bytes:
        return without_connections(body)

    def failure(self, error: GatewayError, path: str, headers: Mapping[str, str], request_id: str) -> DialectAnswer:
        """The codes depend on the path, the envelope also on ``BCTRL-Version``, which only clients of the current era
        send."""
        current = path.startswith((_BROWSERS, _SANDBOXES))
        versioned = VERSION_HEADER in headers
        flat_codes = path.startswith(_RUNTIMES) or not (current or versioned)
        return failure_of(error, request_id, flat_codes=flat_codes, nested=current or versioned)
