"""Waiting for a condition that another process brings about."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE = 30.0  # seconds; far more than any condition takes
_BETWEEN = 0.05


async def eventually(
    holds: Callable[[], Awaitable[object]],
    what: str,
    *,
    last: Callable[[], object] = lambda: "",
    patience: float = PATIENCE,
) -> None:
    """Return as soon as ``holds`` returns a true value.

    Raises ``AssertionError`` after ``patience`` seconds, with ``what`` and the result of ``last``."""
    try:
        async with asyncio.timeout(patience):
            while not await holds():  # noqa: ASYNC110 (another process sends no event)
                await asyncio.sleep(_BETWEEN)
    except TimeoutError:
        raise AssertionError(f"did not happen: {what}; {last()}") from None
