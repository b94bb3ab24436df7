"""Shared by the commands that use a gateway's store directly, whether or not a gateway runs."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from gateway.cli.failures import ExitCode, Failure
from gateway.cli.server import load, print_problems

if TYPE_CHECKING:
    from gateway.domain.errors import StoreUnavailable
    from gateway.ports.store import Store
    from gateway.settings import Settings
    from gateway.storage.sql_store import SqlStore

T = TypeVar("T")


def settings_of(file: str) -> "Settings":
    """Return the settings of a file. Exits with 78 when they have a fault."""
    from gateway.settings import SettingsError

    try:
        return load(file).settings
    except SettingsError as error:
        print_problems(error)
        sys.exit(ExitCode.SETTINGS)


def with_store(settings: "Settings", work: "Callable[[Store], Awaitable[T]]") -> T:
    """Open the store, run ``work`` with it, close it, and return the result. Raises :class:`Failure`."""
    from gateway.storage.opening import store_of

    async def opened(store: "SqlStore") -> T:
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return run(opened(store_of(settings.store)))


def run(work: Awaitable[T]) -> T:
    """Run ``work`` and return its result. An unavailable store becomes a failure with the database's own message."""
    import asyncio

    from gateway.domain.errors import StoreUnavailable

    async def running() -> T:
        return await work

    try:
        return asyncio.run(running())
    except StoreUnavailable as exc:
        raise _unavailable(exc) from exc


def _unavailable(error: "StoreUnavailable") -> Failure:
    cause = error.__cause__
    lines = () if cause is None else (f"{type(cause).__name__}: {cause}",)
    return Failure(error.code, str(error), lines=lines)
