"""Generated responses mean the same to the gateway's client and to aiohttp's, except where a difference is wanted.

``make differential N=1000000 SEED=7`` compares more of them, half on each event loop.
"""

import os
import sys
from typing import Final

import pytest

from tests.component.upstream.differential.comparison import Comparison, compare
from tests.component.upstream.differential.wanted import WANTED

N: Final = int(os.environ.get("DIFFERENTIAL_N") or 3000)
SEED: Final = int(os.environ.get("DIFFERENTIAL_SEED") or 7)


async def test_generated_responses_are_read_as_by_aiohttp(request: pytest.FixtureRequest) -> None:
    is_second = "uvloop" in request.node.name
    numbers = range(N // 2, N) if is_second else range(N // 2)
    found = await compare(SEED, numbers)
    report = _report(found)
    sys.stderr.write(report)
    assert not found.unwanted, report
    assert found.compared == len(numbers)
    assert found.errors[""] > len(numbers) // 2
    assert len(+found.errors) > 3 or N < 1000


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_every_wanted_difference_occurs() -> None:
    """A reason that explains nothing any more has to be removed."""
    found = await compare(7, range(1500))
    rare = await compare(11, (16521, 80993))
    assert {*found.wanted, *rare.wanted} == set(WANTED), _report(found)


def _report(found: Comparison) -> str:
    lines = [
        f"{found.compared} responses, {found.errors['']} of them without an error",
        *map(str, found.errors.items()),
    ]
    lines += [f"{count} wanted: {reason}" for reason, count in found.wanted.most_common()]
    for sent, ours, theirs in found.unwanted[:5]:
        lines += [f"number {sent.number}, {sent.method}, {sorted(sent.features)}, pieces {sent.pieces}"]
        lines += [f"  ours:   {ours}", f"  theirs: {theirs}"]
    return "\n".join(lines) + "\n"
