"""Shared by the commands that use a gateway's store directly, whether or not a gateway runs."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.cli.failures import Failure
from gateway.cli.progress import progress

if TYPE_CHECKING:
    from gateway.ports.store import Store
    from gateway.settings import StoreSettings
    from gateway.storage.sql_store import SqlStore

T = TypeVar("T")


def with_store(settings: "StoreSettings", work: "Callable[[Store], Awaitable[T]]") -> T:
    """Open the store, run ``work`` with it, close it, and return the result. Raises :class:`Failure`."""
    from gateway.storage.opening import store_of

    async def opened(store: "SqlStore") -> T:
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return run(opened(store_of(settings)))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` and return its result. An unavailable store becomes a failure with the database's own message."""
    import asyncio

    from gateway.domain.errors import StoreUnavailable

    try:
        with progress("waiting for the store"):
            return asyncio.run(work)
    except StoreUnavailable as exc:
        cause = exc.__cause__
        lines = () if cause is None else (f"{type(cause).__name__}: {cause}",)
        raise Failure(exc.code, str(exc), lines=lines) from exc
