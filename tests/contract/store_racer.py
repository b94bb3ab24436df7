"""A process that executes commands on a store: one JSON command per input line, one JSON result per output line."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gateway.domain.intents import Actor, IntentState, new_intent_id
from gateway.ports.store import Inserted, Updated, Version
from gateway.storage.postgres import PostgresStore
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteStore
from tests.contract.store.subject import HERE, LEASE, THERE, create


class Racer:
    """One replica. A command processes its intents concurrently."""

    def __init__(self, store: SqlStore, name: str) -> None:
        self._store = store
        self._name = name

    async def begin(self, names: list[str]) -> dict[str, tuple[bool, str]]:
        """Begin creates with these names and a key each, pinned to one of two namespaces. Returns per name whether this
        replica inserted it, and the id of the intent."""

        async def one(name: str) -> tuple[bool, str]:
            namespace = HERE if self._name < "racer-2" else THERE
            new = create(name, id=new_intent_id(), key=f"key-{name}", pinned=True, namespace=namespace)
            answer = await self._store.begin(new, self._name, LEASE)
            return isinstance(answer, Inserted), answer.intent.id

        return dict(zip(names, await self._some(one, names), strict=True))

    async def step(self, ids: list[str]) -> dict[str, bool]:
        """Bring open intents of epoch 1 with an expired lease to unknown. Returns per id whether this replica did."""

        async def one(intent_id: str) -> bool:
            version = Version(intent_id, IntentState.OPEN, 1)
            answer = await self._store.move(
                version, IntentState.UNKNOWN, Actor.ANYONE, self._name, lease=LEASE, look_in=-1.0
            )
            return isinstance(answer, Updated)

        return dict(zip(ids, await self._some(one, ids), strict=True))

    async def expire(self, ids: list[str]) -> int:
        """End the leases of this replica's unknown intents."""
        versions = [Version(intent_id, IntentState.UNKNOWN, 1) for intent_id in ids]
        return len([await self._store.update(version, self._name, look_in=-1.0) for version in versions])

    async def due(self, limit: int) -> list[str]:
        """Claim due intents, ``limit`` at a time, until none is due."""
        taken: list[str] = []
        while portion := await self._store.claim_due(self._name, LEASE, limit):
            taken += [intent.id for intent in portion]
        return taken

    async def found(self, ids: list[str]) -> int:
        """Record for each intent a runtime of this replica as created."""

        async def one(intent_id: str) -> object:
            return await self._store.record_created(intent_id, f"runtime-of-{self._name}")

        return len(await self._some(one, ids))

    async def upgrade(self, _: None) -> int:
        """Upgrade the schema."""
        return (await self._store.upgrade()).version

    async def _some(self, one: Callable[[str], Awaitable[Any]], of: list[str]) -> list[Any]:
        return await asyncio.gather(*(one(item) for item in of))


def store_at(kind: str, location: str) -> SqlStore:
    """A store of this kind, in a file or a database."""
    return SqliteStore(Path(location)) if kind == "sqlite" else PostgresStore(SecretStr(location))


async def main(kind: str, location: str, name: str) -> None:
    store = store_at(kind, location)
    await store.open()
    racer = Racer(store, name)
    print("null", flush=True)  # noqa: T201 (the protocol)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, argument = json.loads(line)
        print(json.dumps(await getattr(racer, command)(argument)), flush=True)  # noqa: T201
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
