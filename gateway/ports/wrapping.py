"""The base of transports that wrap another one."""

from contextlib import AbstractAsyncContextManager
from typing import Final

from gateway.domain.values import Operation, WorkClass
from gateway.ports.transport import Call, Transport, WorkStatus


class WrappingTransport(Transport):
    """Delegates to the inner transport whatever a wrapper does not override."""

    def __init__(self, inner: Transport) -> None:
        self.inner: Final = inner
        self.ends_in_time = inner.ends_in_time

    def reserve(self, operation: Operation, call: Call) -> AbstractAsyncContextManager[None]:
        return self.inner.reserve(operation, call)

    def status(self) -> dict[WorkClass, WorkStatus]:
        return self.inner.status()

    async def close(self) -> None:
        await self.inner.close()
