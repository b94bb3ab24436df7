"""A caller as the documentation wants it: the same create with the same key until there is a final answer."""

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

PATIENCE: Final = 60.0
"""Seconds in which a create has its final answer; far more than any of them takes."""

_LONGEST_PAUSE: Final = 1.0
_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a gateway."""

    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def code(self) -> str | None:
        """The code of a problem."""
        found: str | None = self.json.get("code") if isinstance(self.json, dict) else None
        return found

    @property
    def is_final(self) -> bool:
        """Whether a patient caller is done. Credits and quotas may be there again later."""
        return self.status < 300 or (self.json["retryable"] == "no" and self.status not in {402, 429})

    @property
    def replayed(self) -> bool:
        """Whether it says that it was given before."""
        return self.headers.get("Idempotency-Replayed") == "true"


@dataclass(frozen=True, slots=True)
class Create:
    """One create of a caller."""

    number: int
    key: str | None
    body: Mapping[str, Any]


def session(key: str = KEY) -> aiohttp.ClientSession:
    """A session with a gateway key. Connections are not kept: a killed gateway's would be found dead one by one."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
    )


async def post(client: aiohttp.ClientSession, url: str, body: Mapping[str, Any], key: str | None = None) -> Answer:
    """One try of a create."""
    headers = {} if key is None else {"Idempotency-Key": key}
    async with client.post(url + "/v1/runtimes", json=body, headers=headers) as response:
        return Answer(response.status, response.headers, json.loads(await response.read()))


async def get(client: aiohttp.ClientSession, url: str, path: str) -> Answer:
    """A read."""
    async with client.get(url + path) as response:
        return Answer(response.status, response.headers, json.loads(await response.read()))


class Caller:
    """Creates at any of several gateways. ``tries`` counts the answers and failures by what they were."""

    def __init__(self, replicas: Sequence[Replica], client: aiohttp.ClientSession) -> None:
        self._replicas = replicas
        self._client = client
        self.tries: Counter[str] = Counter()

    async def create(self, create: Create, *, first_try: AbstractAsyncContextManager[None]) -> Answer:
        """The final answer to a create; its first try is made within a context. Fails when there is none in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                async with first_try:
                    told = await self._try(create, create.number)
                for turn in itertools.count(create.number + 1):
                    if isinstance(told, Answer) and told.is_final:
                        return told
                    await asyncio.sleep(_pause_after(told))
                    told = await self._try(create, turn)
        except TimeoutError:
            pass
        raise AssertionError(f"{create} has no final answer; the last was {told}")

    async def _try(self, create: Create, turn: int) -> Answer | str:
        """One try at the gateway whose turn it is: the answer, or why there is none."""
        url = self._replicas[turn % len(self._replicas)].url
        if url is None:
            return "it is being started"
        try:
            answer = await post(self._client, url, create.body, create.key)
        except aiohttp.ClientError as exc:  # killed, maybe in the middle of an answer
            self.tries[type(exc).__name__] += 1
            return type(exc).__name__
        self.tries[f"{answer.status} {answer.code or 'created'}"] += 1
        return answer


def _pause_after(told: Answer | str) -> float:
    if isinstance(told, str):
        return _PAUSE
    return min(float(told.headers.get("Retry-After", _PAUSE)), _LONGEST_PAUSE)
