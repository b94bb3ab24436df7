"""The windows of rate limits in Redis or Valkey, counted by the scripts of the ``limits`` library."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from limits.aio.storage import RedisStorage
from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.domain.access import Rate, Window
from gateway.ports.policies import SharedWindows, SharedWindowsAway

T = TypeVar("T")

_CONNECTIONS: Final = 16
_PREFIX: Final = "rtgw"


class RedisWindows(SharedWindows):
    """The server at ``url``. Every call takes at most ``timeout`` seconds. In a burst, calls wait for a connection
    before that: a server that answers is not away. When a call fails, those that wait fail with it."""

    def __init__(self, url: SecretStr, timeout: float) -> None:
        self._timeout = timeout
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._failures = 0
        self._pool = BlockingConnectionPool.from_url(
            url.get_secret_value(),
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1),  # a connection that the server has closed meanwhile
        )
        # (The library parses the address too, and needs a port in it, but what it uses is the pool.)
        options: dict[str, Any] = {"connection_pool": self._pool}
        self._storage = RedisStorage("async+redis://", implementation="redispy", key_prefix=_PREFIX, **options)

    async def take(self, key: str, rate: Rate) -> tuple[bool, Window]:
        return await self._bounded(self._take, key, rate)

    async def _take(self, key: str, rate: Rate) -> tuple[bool, Window]:
        counted = await self._storage.acquire_sliding_window_entry(key, rate.amount, rate.seconds)
        return counted, await self._look(key, rate)

    async def look(self, key: str, rate: Rate) -> Window:
        return await self._bounded(self._look, key, rate)

    async def _look(self, key: str, rate: Rate) -> Window:
        previous, _, current, ttl = await self._storage.get_sliding_window(key, rate.seconds)
        return Window(previous, current, max(ttl - rate.seconds, 0.0) if ttl else float(rate.seconds))

    async def _bounded(self, call: Callable[[str, Rate], Awaitable[T]], key: str, rate: Rate) -> T:
        before = self._failures
        async with self._free:
            if self._failures != before:
                raise SharedWindowsAway("another call has failed")
            try:
                async with asyncio.timeout(self._timeout):
                    return await call(key, rate)
            except (RedisError, OSError) as exc:
                self._failures += 1
                raise SharedWindowsAway(type(exc).__name__) from exc

    async def close(self) -> None:
        await self._pool.aclose()
