"""Sends generated responses to both clients, and compares what they made of them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.component.upstream.differential.clients import MAY_HANG, Ours, Result, Server, Theirs
from tests.component.upstream.differential.generated import Generated, generate
from tests.component.upstream.differential.wanted import reason_for

_AT_ONCE: Final = 8
_SOON: Final = 0.5
"""Seconds for aiohttp where it may wait for ever. They are enough where the gateway's client reports an error too."""
_AT_LAST: Final = 60.0


@dataclass(slots=True)
class Comparison:
    """What came of the responses: how many were compared, how many differed for which wanted reason, and those that
    differed without one."""

    compared: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    wanted: Counter[str] = field(default_factory=Counter)
    unwanted: list[tuple[Generated, Result, Result]] = field(default_factory=list)


async def compare(seed: int, numbers: Iterable[int], *, progress: Callable[[int], None] = lambda _: None) -> Comparison:
    """Compare the responses of these numbers, some of them at the same time."""
    found = Comparison()
    responses: dict[int, Generated] = {}
    server = await asyncio.get_running_loop().create_server(lambda: Server(responses), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    ours, theirs = Ours(url), Theirs(url)
    try:
        waiting = iter(numbers)
        await asyncio.gather(
            *(_worker(found, responses, ours, theirs, seed, waiting, progress) for _ in range(_AT_ONCE))
        )
    finally:
        await ours.close()
        await theirs.close()
        server.close()
        await server.wait_closed()
    return found


async def _worker(
    found: Comparison,
    responses: dict[int, Generated],
    ours: Ours,
    theirs: Theirs,
    seed: int,
    waiting: Iterator[int],
    progress: Callable[[int], None],
) -> None:
    for number in waiting:
        sent = responses[number] = generate(seed, number)
        one = await ours.read(sent)
        other = await theirs.read(sent, _SOON if sent.features & MAY_HANG else _AT_LAST)
        if other.error == "timeout" and not one.error:
            other = await theirs.read(sent, _AT_LAST)
        del responses[number]
        found.compared += 1
        found.errors[one.error] += 1
        if one != other:
            reason = reason_for(sent, one, other)
            if reason is None:
                found.unwanted.append((sent, one, other))
                if len(found.unwanted) > 100:
                    return
            else:
                found.wanted[reason] += 1
        progress(found.compared)
