"""Several processes over one store: of all that do the same at the same moment, one succeeds."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.intents import IntentState
from gateway.ports.store import IntentQuery
from gateway.storage.sql_store import SqlStore
from gateway.testing.store_subject import LEASE, begun, create
from tests.contract.store_racer import store_at
from tests.contract.store_subjects import database

ROOT = Path(__file__).parents[2]
RACERS = 4
INTENTS = 60


class Replica:
    """A process of ``store_racer``."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process

    async def told(self, command: str, argument: Any = None) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, argument]).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, f"{self.name} ended"
        return json.loads(line)


@asynccontextmanager
async def replica(name: str, *place: str) -> AsyncIterator[Replica]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.contract.store_racer",
        *place,
        name,
        cwd=ROOT,
        stdin=PIPE,
        stdout=PIPE,
        limit=2**20,
    )
    try:
        yield Replica(name, process)
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


@asynccontextmanager
async def replicas(*place: str) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(replica(f"racer-{number}", *place)) for number in range(RACERS)]
        for one in made:
            await one.answer()
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Where there is no store yet, and of which kind it is to be."""
    if request.param == "sqlite":
        yield request.param, str(tmp_path / "store.db")
    else:
        async with database(request.getfixturevalue("postgres")) as dsn:
            yield request.param, dsn


@asynccontextmanager
async def opened(kind: str, where: str) -> AsyncIterator[SqlStore]:
    store = store_at(kind, where)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def all_told(racers: list[Replica], command: str, argument: Any = None) -> list[Any]:
    return await asyncio.gather(*(racer.told(command, argument) for racer in racers))


def once(answers: list[dict[str, bool]]) -> Counter[str]:
    """How many succeeded, by intent."""
    return Counter(name for answer in answers for name, succeeded in answer.items() if succeeded)


async def test_of_several_processes_one_makes_the_schema_begins_steps_and_takes_what_is_due(place: tuple[str, str]):
    """Also where they begin at different places without naming a provider; and no proof is lost."""
    async with replicas(*place) as racers, opened(*place) as store:
        assert len(set(await all_told(racers, "upgrade"))) == 1

        names = [f"race-{number}" for number in range(INTENTS)]
        answers = await all_told(racers, "begin", names)
        assert once([{n: began for n, (began, _) in answer.items()} for answer in answers]) == dict.fromkeys(names, 1)
        ids = [answers[0][name][1] for name in names]
        assert all([answer[name][1] for name in names] == ids for answer in answers)
        assert {intent.id for intent in await store.list(IntentQuery(limit=1000))} == set(ids)

        ended = [begun(await store.begin(create(f"ended-{n}"), "gone", 0.0)).id for n in range(INTENTS)]
        steps = await all_told(racers, "step", ended)
        assert once(steps) == dict.fromkeys(ended, 1)
        for racer, mine in zip(racers, steps, strict=True):
            await racer.told("expire", [intent_id for intent_id, moved in mine.items() if moved])

        shares = await all_told(racers, "due", 7)
        assert Counter(intent_id for share in shares for intent_id in share) == dict.fromkeys(ended, 1)

        await all_told(racers, "found", ended)
        done = await store.list(IntentQuery(states=frozenset({IntentState.DONE}), limit=1000))
        assert {intent.id for intent in done} == set(ended)
        everyones = {f"runtime-of-{racer.name}" for racer in racers}
        assert all({intent.runtime_id, *intent.surplus} == everyones for intent in done)


async def test_what_a_killed_process_was_told_is_written_is_there(place: tuple[str, str]):
    """And it is in nobody's way."""
    async with replica("racer-0", *place) as racer, opened(*place) as store:
        await racer.answer()
        await racer.told("upgrade")
        answer = await racer.told("begin", ["one", "two"])
        assert racer.process.stdin is not None
        racer.process.stdin.write(json.dumps(["begin", [f"more-{n}" for n in range(50)]]).encode() + b"\n")
        os.kill(racer.process.pid, signal.SIGKILL)
        await racer.process.wait()
        for name, (_, intent_id) in answer.items():
            intent = await store.get(intent_id)
            assert intent is not None
            assert (intent.name, intent.state) == (name, IntentState.OPEN)
        begun(await store.begin(create("after"), "me", LEASE))
