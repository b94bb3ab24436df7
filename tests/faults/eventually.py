"""Waiting for what another process does."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE = 30.0  # seconds, far more than anything here takes
_BETWEEN = 0.05


async def eventually(
    holds: Callable[[], Awaitable[object]], what: str, *, last: Callable[[], object] = lambda: ""
) -> None:
    """Return as soon as it holds. Fails when it never does, with what was seen last."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await holds():  # noqa: ASYNC110 (of another process there is no event)
                await asyncio.sleep(_BETWEEN)
    except TimeoutError:
        raise AssertionError(f"never: {what}; {last()}") from None
