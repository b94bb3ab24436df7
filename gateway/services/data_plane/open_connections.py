"""The connections through the data plane that are open in this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from gateway.domain.access import Principal
from gateway.services.data_plane.grants import Grant


class OpenConnection(Protocol):
    """One request or WebSocket through the data plane. Times are in seconds since the epoch."""

    @property
    def grant(self) -> Grant: ...
    @property
    def principal(self) -> Principal: ...
    @property
    def opened_at(self) -> float: ...
    @property
    def last_used_at(self) -> float: ...
    @property
    def bytes_in(self) -> int:
        """From the client to the runtime."""

    @property
    def bytes_out(self) -> int:
        """From the runtime to the client."""

    def revoke(self) -> None:
        """End it, because its grant was revoked."""

    def runtime_ended(self) -> None:
        """End it, because the instance has ended."""

    def relocated(self) -> None:
        """End it, because the runtime is at another place now."""

    def drain(self) -> None:
        """End it if it is a WebSocket, because the gateway is shutting down."""


class OpenConnections:
    """All of them, by the id of the runtime."""

    def __init__(self) -> None:
        self._by_runtime: dict[str, set[OpenConnection]] = {}
        self._used: dict[str, Principal] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_runtime.values()))

    def add(self, connection: OpenConnection) -> None:
        self._by_runtime.setdefault(connection.grant.runtime_id, set()).add(connection)

    def remove(self, connection: OpenConnection) -> None:
        self._used[connection.grant.runtime_id] = connection.principal
        mine = self._by_runtime.get(connection.grant.runtime_id, set())
        mine.discard(connection)
        if not mine:
            self._by_runtime.pop(connection.grant.runtime_id, None)

    def of(self, runtime_id: str) -> Iterable[OpenConnection]:
        """Those to a runtime, the oldest first."""
        return sorted(self._by_runtime.get(runtime_id, ()), key=lambda one: one.opened_at)

    def runtimes(self, concerned: Callable[[str], bool]) -> list[str]:
        """The ids of the runtimes with connections that are ``concerned``."""
        return [known for known in self._by_runtime if concerned(known)]

    def revoke(self, is_void: Callable[[Grant], bool]) -> None:
        """End those whose grants are void."""
        for connection in self._all():
            if is_void(connection.grant):
                connection.revoke()

    def take_used(self, since: float) -> dict[str, Principal]:
        """The runtimes that were used at this time or later, or by a connection that has ended since the last call, and
        who used each."""
        used, self._used = self._used, {}
        for connection in self._all():
            if connection.last_used_at >= since:
                used[connection.grant.runtime_id] = connection.principal
        return used

    def drain(self) -> None:
        """End the WebSockets, because the gateway is shutting down; requests have time to finish."""
        for connection in self._all():
            connection.drain()

    def _all(self) -> Iterator[OpenConnection]:
        for connections in list(self._by_runtime.values()):
            yield from list(connections)
