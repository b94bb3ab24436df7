"""A caller that follows docs/creates.md: it repeats a create with the same key until it receives a final response."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.faults.replicas import KEY, Replica

PATIENCE: Final = 240.0
"""Seconds within which a create has to receive its final response. A busy machine takes 20 s to start a gateway again,
and a create may wait for several starts."""

_LONGEST_PAUSE: Final = 1.0
_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Response:
    """One response of a gateway."""

    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def code(self) -> str | None:
        """The ``code`` of a problem document; None for another response."""
        found: str | None = self.json.get("code") if isinstance(self.json, dict) else None
        return found

    @property
    def is_final(self) -> bool:
        """Whether the caller stops here. After 402 and 429 it continues, because credits and quotas may return."""
        return self.status < 300 or (self.json["retryable"] == "no" and self.status not in {402, 429})

    @property
    def replayed(self) -> bool:
        """Whether the response is marked as a replay of a stored one."""
        return self.headers.get("Idempotency-Replayed") == "true"


@dataclass(frozen=True, slots=True)
class Create:
    """One create of a caller."""

    number: int
    key: str | None
    body: Mapping[str, Any]


def session(key: str = KEY) -> aiohttp.ClientSession:
    """A session with a gateway key. Connections are not reused, because those to a killed gateway would fail one by
    one."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
    )


async def post(client: aiohttp.ClientSession, url: str, body: Mapping[str, Any], key: str | None = None) -> Response:
    """One attempt of a create."""
    headers = {} if key is None else {"Idempotency-Key": key}
    async with client.post(url + "/v1/runtimes", json=body, headers=headers) as response:
        return Response(response.status, response.headers, json.loads(await response.read()))


async def get(client: aiohttp.ClientSession, url: str, path: str) -> Response:
    """One GET."""
    async with client.get(url + path) as response:
        return Response(response.status, response.headers, json.loads(await response.read()))


class Caller:
    """Sends creates to several gateways in turn. ``tries`` counts the attempts by status and code, or by exception."""

    def __init__(self, replicas: Sequence[Replica], client: aiohttp.ClientSession) -> None:
        self._replicas = replicas
        self._client = client
        self.tries: Counter[str] = Counter()

    async def create(self, create: Create, *, first_try: AbstractAsyncContextManager[None]) -> Response:
        """Return the final response to a create. The first attempt is made within ``first_try``.

        Raises ``AssertionError`` if there is no final response within ``PATIENCE``."""
        outcomes: Counter[str] = Counter()
        last: Response | str = "nothing"
        try:
            async with asyncio.timeout(PATIENCE):
                async with first_try:
                    last = await self._try(create, create.number)
                for number in itertools.count(create.number + 1):
                    if isinstance(last, Response) and last.is_final:
                        return last
                    outcomes[_described(last)] += 1
                    await asyncio.sleep(_pause_after(last))
                    last = await self._try(create, number)
        except TimeoutError:
            pass
        raise AssertionError(f"{create} has no final response but {dict(outcomes)}; the last was {last}")

    async def _try(self, create: Create, number: int) -> Response | str:
        """One attempt at the next gateway: the response, or the reason why it did not arrive."""
        url = self._replicas[number % len(self._replicas)].url
        if url is None:
            return "the gateway is starting"
        try:
            response = await post(self._client, url, create.body, create.key)
        except aiohttp.ClientError as exc:  # the gateway was killed, maybe in the middle of a response
            self.tries[type(exc).__name__] += 1
            return type(exc).__name__
        self.tries[_described(response)] += 1
        return response


def _described(last: Response | str) -> str:
    return last if isinstance(last, str) else f"{last.status} {last.code or 'created'}"


def _pause_after(last: Response | str) -> float:
    if isinstance(last, str):
        return _PAUSE
    return min(float(last.headers.get("Retry-After", _PAUSE)), _LONGEST_PAUSE)
