"""The sources of facts about each API, and what is recorded to be held against them."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from gateway.app import plugins
from tests.conformance import walks
from tests.conformance.adapter_walk import walk_adapter
from tests.conformance.exchanges import Clock, adapted, behind_the_gateway, emulated, received
from tests.conformance.facts import Exchange, Facts, client, documents

CLIENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "durable": ("dreadnode-2.0.52", "durable"),
    "bctrl_browsers": ("bctrl-0.3.0", "browsers"),
}
"""The client of each API that has one, with the arguments of ``client_facts.py``."""

SOURCES: Final = [(api, "documents") for api in walks.WALKS] + [(api, "client") for api in CLIENTS]


def facts_of(api: str, source: str) -> Facts:
    """The facts of one source."""
    return documents(api) if source == "documents" else client(*CLIENTS[api])


@dataclass(frozen=True)
class Emulated:
    """What an emulator answered, and how often each of its operations succeeded."""

    exchanges: Sequence[Exchange]
    committed: Mapping[str, int]


@cache
def recorded_emulator(api: str) -> Emulated:
    """What the emulator of an API answers, in every personality: to every operation in every state, and every error."""
    return asyncio.run(_emulator(api))


@cache
def recorded_adapter(api: str) -> Sequence[Exchange]:
    """What the adapter of an API sends, pinned and open, and what its emulator answers."""
    return asyncio.run(_adapter(api))


@cache
def recorded_gateway() -> Mapping[str, tuple[Sequence[Exchange], Sequence[Exchange]]]:
    """For each API, what the gateway's dialect answers, and what the gateway sends to the provider."""
    return asyncio.run(_gateway())


async def _emulator(api: str) -> Emulated:
    exchanges: list[Exchange] = []
    committed: Counter[str] = Counter()
    for personality in personalities(api):
        clock = Clock()
        async with emulated(api, clock, **personality) as caller:
            await walks.WALKS[api](caller, clock)
            exchanges += caller.exchanges
            committed.update(caller.emulator.committed)
    async with emulated(api, Clock()) as caller:
        await walks.errors(caller, api, documents(api))
        exchanges += caller.exchanges
        return Emulated(exchanges, {name: committed[name] for name in caller.emulator.operations.values()})


async def _adapter(api: str) -> Sequence[Exchange]:
    exchanges: list[Exchange] = []
    for pinned in (True, False):
        async with emulated(api, Clock()) as caller, adapted(api, caller, pinned=pinned) as adapter:
            await walk_adapter(adapter, plugins()[api].demo.scope)
            exchanges += caller.exchanges
    return exchanges


async def _gateway() -> Mapping[str, tuple[Sequence[Exchange], Sequence[Exchange]]]:
    clock, found = Clock(), {}
    async with behind_the_gateway(clock) as callers:
        for api, walk in walks.WALKS.items():
            await walk(callers[api], clock)
            found[api] = callers[api].exchanges, received(callers[api].emulator)
    return found


def personalities(api: str) -> Iterator[dict[str, Any]]:
    """Every personality of an emulator."""
    known = plugins()[api].personalities
    for chosen in itertools.product(*known.values()):
        yield dict(zip(known, chosen, strict=True))
