"""The audit trail while each component is killed in turn: every action whose response arrived is in it, once."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from gateway.ports.audit import AuditEvent, AuditQuery
from gateway.storage.postgres import PostgresStore
from gateway.storage.sql_store import SqlStore
from tests.contract.store_subjects import database
from tests.faults.callers import session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import Setup, settings_of
from tests.faults.replicas import Replica, encryption_key, replicas, write_settings
from tests.faults.world import world
from tests.postgres_cluster import PostgresCluster

CALLERS = 4


class Traffic:
    """Callers that stop a runtime all the time, which needs no store. ``acknowledged`` are the ids of requests whose
    response arrived."""

    def __init__(self, both: list[Replica], client: aiohttp.ClientSession, path: str) -> None:
        self._both, self._client, self._path = both, client, path
        self._numbers = itertools.count()
        self._going = asyncio.Event()
        self.acknowledged: set[str] = set()

    async def caller(self) -> None:
        """Call the gateways in turn until cancelled."""
        for number in self._numbers:
            await self._going.wait()
            url, request_id = self._both[number % 2].url, f"call-{number}"
            if url is None:
                await asyncio.sleep(0.01)
                continue
            try:
                async with self._client.post(url + self._path, json={}, headers={"X-Request-ID": request_id}) as got:
                    await got.read()
            except (aiohttp.ClientError, ConnectionError):
                continue
            self.acknowledged.add(request_id)

    async def goes_on(self, more: int = 20) -> None:
        """Wait for this many further responses. The traffic continues until :meth:`starts`."""
        self._going.set()
        goal = len(self.acknowledged) + more

        async def reached() -> bool:
            return len(self.acknowledged) >= goal

        await eventually(reached, f"{more} more responses")

    async def starts(self, replica: Replica) -> None:
        """Start a gateway without traffic, which would take the time of the machine."""
        self._going.clear()
        await replica.start()


async def recorded(store: SqlStore) -> list[AuditEvent]:
    """All events of the traffic."""
    return [
        e for e in await store.audit_events(AuditQuery(limit=1_000_000)) if (e.request_id or "").startswith("call-")
    ]


async def test_no_event_of_an_acknowledged_action_is_lost_or_doubled(postgres: PostgresCluster, tmp_path: Path) -> None:
    async with database(postgres) as dsn:
        settings = {"url": dsn, "encryption_keys": [encryption_key()]}
        location = StoreLocation("postgres", settings, lambda: PostgresStore(SecretStr(dsn)), admin=postgres.dsn())
        await location.make().upgrade()
        async with world(tmp_path, location, setups=[Setup("bctrl", "bctrl", {})]) as w, session() as client:
            upstream = w.providers["bctrl"]
            file = write_settings(tmp_path, settings_of([upstream]), settings)
            async with replicas(file, 2) as both:
                made = await w.made(upstream, "one", url=both[0].url)
                traffic = Traffic(both, client, f"/v1/runtimes/{made.json['id']}/stop")
                callers = [asyncio.create_task(traffic.caller()) for _ in range(CALLERS)]
                await traffic.goes_on()
                await both[0].kill()
                await traffic.goes_on()
                await traffic.starts(both[0])
                await traffic.goes_on()
                await location.cut()
                await traffic.goes_on()
                await both[1].kill()  # with events that only its journal has
                await traffic.goes_on()
                await traffic.starts(both[1])
                await traffic.goes_on()
                await location.restore()
                await traffic.goes_on()
                await both[0].kill()
                for caller in callers:
                    caller.cancel()
                await asyncio.gather(*callers, return_exceptions=True)
                await both[0].start()

                async def complete() -> bool:
                    return traffic.acknowledged <= {event.request_id for event in await recorded(w.store)}

                await eventually(complete, "every action is in the store")
                journal = tmp_path / "runtime-gateway.audit"
                assert await both[0].terminate() == await both[1].terminate() == 0
                assert list(journal.iterdir()) == []
            found = Counter(event.request_id for event in await recorded(w.store))
            assert set(found.values()) == {1}
            assert len(traffic.acknowledged) >= 120
