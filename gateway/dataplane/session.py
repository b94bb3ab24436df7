"""One request or WebSocket through the data plane: what it transfers, and how it ends."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.domain.access import Principal
from gateway.domain.errors import GatewayError, Overloaded, PermissionDenied, RuntimeGone
from gateway.http.tunnel import End, Watch
from gateway.http.websocket_frames import SERVICE_RESTART
from gateway.ports.clock import Clock
from gateway.ports.context import RequestContext
from gateway.services.data_plane.grants import Grant
from gateway.services.data_plane.service import DataPlane

REVOKED: Final = End(4403, "the address was revoked")
RUNTIME_ENDED: Final = End(4410, "the runtime has stopped")
PROVIDER_GONE: Final = End(4502, "the provider ended the connection")
IDLE: Final = End(4408, "nothing was sent for too long")
MOVED: Final = End(SERVICE_RESTART, "the runtime has moved")
DRAIN: Final = End(SERVICE_RESTART, "the gateway is shutting down")

_ERRORS: Final[Mapping[int, type[GatewayError]]] = {
    REVOKED.code: PermissionDenied,
    RUNTIME_ENDED.code: RuntimeGone,
    DRAIN.code: Overloaded,
}

_ASK_SECONDS: Final = 3.0


@dataclass(slots=True, eq=False, repr=False)
class Session(Watch):
    """Follows one connection; see :class:`gateway.services.data_plane.open_connections.OpenConnection`."""

    plane: DataPlane = field(kw_only=True)
    grant: Grant = field(kw_only=True)
    ctx: RequestContext = field(kw_only=True)
    clock: Clock = field(kw_only=True)
    websocket: bool = field(kw_only=True)
    opened_at: float = field(init=False)
    last_used_at: float = field(init=False)
    bytes_in: int = 0
    bytes_out: int = 0
    stop: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.idle, self.shutdown = IDLE, DRAIN
        self.opened_at = self.last_used_at = self.clock.now()

    @property
    def principal(self) -> Principal:
        return self.ctx.principal

    def received(self, size: int) -> None:
        self.bytes_out += size
        self.last_used_at = self.clock.now()

    def sent(self, size: int) -> None:
        self.bytes_in += size
        self.last_used_at = self.clock.now()

    def revoke(self) -> None:
        self._finish(REVOKED)

    def runtime_ended(self) -> None:
        self._finish(RUNTIME_ENDED)

    def relocated(self) -> None:
        self._finish(MOVED)

    def drain(self) -> None:
        if self.websocket:
            self._finish(DRAIN)

    def require_open(self) -> None:
        """Raise the error for a session that the gateway has ended."""
        if self.end is not None and (error := _ERRORS.get(self.end.code)) is not None:
            raise error(f"The connection was ended: {self.end.reason}.")

    def _finish(self, end: End) -> None:
        if self.end is None:
            self.end = end
            self.stop()

    async def provider_gone(self) -> End:
        """Ask the provider whether the instance still runs."""
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                ended = await self.plane.has_stopped(self.grant, self.ctx)
        except (GatewayError, TimeoutError):
            ended = False
        self.end = RUNTIME_ENDED if ended else PROVIDER_GONE
        return self.end
