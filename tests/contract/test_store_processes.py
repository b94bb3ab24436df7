"""Several processes over one store: of concurrent attempts at the same operation, one succeeds."""

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
from gateway.ports.intent_query import IntentQuery
from gateway.storage.sql_store import SqlStore
from tests.contract.store.subject import LEASE, begun, create
from tests.contract.store_racer import store_at
from tests.contract.store_subjects import database

ROOT = Path(__file__).parents[2]
RACERS = 4
INTENTS = 60


class Replica:
    """A process that runs ``store_racer``."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process

    async def run(self, command: str, argument: Any = None) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, argument]).encode() + b"\n")
        return await self.result()

    async def result(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, f"{self.name} ended"
        return json.loads(line)


@asynccontextmanager
async def replica(name: str, *location: str) -> AsyncIterator[Replica]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.contract.store_racer",
        *location,
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
async def replicas(*location: str) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(replica(f"racer-{number}", *location)) for number in range(RACERS)]
        for one in made:
            await one.result()
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
async def location(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """The kind and the location of a store that does not exist yet."""
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


async def run_all(racers: list[Replica], command: str, argument: Any = None) -> list[Any]:
    return await asyncio.gather(*(racer.run(command, argument) for racer in racers))


def once(answers: list[dict[str, bool]]) -> Counter[str]:
    """The number of successes per intent."""
    return Counter(name for answer in answers for name, succeeded in answer.items() if succeeded)


async def test_of_concurrent_processes_one_succeeds_per_operation_and_no_proof_is_lost(location: tuple[str, str]):
    """Upgrade, begin (also with pins to different namespaces), transition, and claim of due intents."""
    async with replicas(*location) as racers, opened(*location) as store:
        assert len(set(await run_all(racers, "upgrade"))) == 1

        names = [f"race-{number}" for number in range(INTENTS)]
        answers = await run_all(racers, "begin", names)
        assert once([{n: began for n, (began, _) in answer.items()} for answer in answers]) == dict.fromkeys(names, 1)
        ids = [answers[0][name][1] for name in names]
        assert all([answer[name][1] for name in names] == ids for answer in answers)
        assert {intent.id for intent in await store.list(IntentQuery(limit=1000))} == set(ids)

        ended = [begun(await store.begin(create(f"ended-{n}"), "gone", 0.0)).id for n in range(INTENTS)]
        steps = await run_all(racers, "step", ended)
        assert once(steps) == dict.fromkeys(ended, 1)
        for racer, mine in zip(racers, steps, strict=True):
            await racer.run("expire", [intent_id for intent_id, moved in mine.items() if moved])

        shares = await run_all(racers, "due", 7)
        assert Counter(intent_id for share in shares for intent_id in share) == dict.fromkeys(ended, 1)

        await run_all(racers, "found", ended)
        done = await store.list(IntentQuery(states=frozenset({IntentState.DONE}), limit=1000))
        assert {intent.id for intent in done} == set(ended)
        everyones = {f"runtime-of-{racer.name}" for racer in racers}
        assert all({intent.runtime_id, *intent.surplus} == everyones for intent in done)


async def test_acknowledged_writes_of_a_killed_process_are_kept(location: tuple[str, str]):
    """Its locks are released."""
    async with replica("racer-0", *location) as racer, opened(*location) as store:
        await racer.result()
        await racer.run("upgrade")
        answer = await racer.run("begin", ["one", "two"])
        assert racer.process.stdin is not None
        racer.process.stdin.write(json.dumps(["begin", [f"more-{n}" for n in range(50)]]).encode() + b"\n")
        os.kill(racer.process.pid, signal.SIGKILL)
        await racer.process.wait()
        for name, (_, intent_id) in answer.items():
            intent = await store.get(intent_id)
            assert intent is not None
            assert (intent.name, intent.state) == (name, IntentState.OPEN)
        begun(await store.begin(create("after"), "me", LEASE))
