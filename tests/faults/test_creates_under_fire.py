"""One runtime per create: two gateways on one store are killed repeatedly, while every provider fails at random."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from gateway.domain.intents import IntentState
from gateway.ports.intent_query import IntentQuery
from gateway.storage.sql_store import SqlStore
from gateway.testing.waiting import Watch
from tests.faults.callers import Caller, Create, Response, get, session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import Upstream, every_setup, settings_of, upstreams
from tests.faults.replicas import DEADLINE, Replica, replicas, write_settings
from tests.faults.storm import MIX, Storm

AT_ONCE = 32
KILL_AFTER = 30  # responses; with 32 concurrent creates, that is every few seconds


class Run:
    """The creates of one run, and their responses so far by number."""

    def __init__(self, made: Sequence[Replica], caller: Caller, storm: Storm) -> None:
        self._replicas = made
        self._caller = caller
        self._storm = storm
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._watch = Watch()
        self.responses: dict[int, Response] = {}

    async def all(self, creates: Sequence[Create]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill((len(creates) - 1) // KILL_AFTER))
            for create in creates:
                group.create_task(self._one(create))

    async def _one(self, create: Create) -> None:
        async with self._slots:
            self.responses[create.number] = await self._caller.create(create, first_try=self._storm.around(create))
        self._watch.changed()

    async def _kill(self, times: int) -> None:
        """Kill and restart the gateways alternately, while creates are in progress."""
        for kill in range(times):
            wanted = KILL_AFTER * (kill + 1)
            await self._watch.until(lambda wanted=wanted: len(self.responses) >= wanted)
            replica = self._replicas[kill % len(self._replicas)]
            await replica.kill()
            await replica.start()


async def test_every_create_makes_one_runtime_while_gateways_are_killed_and_providers_fail(
    store_location: StoreLocation, tmp_path: Path, count: int, seed: int
) -> None:
    async with upstreams(every_setup(), deadlines={"create": DEADLINE}) as providers, session() as client:
        settings = write_settings(tmp_path, settings_of(providers), store_location.settings)
        async with replicas(settings, 2) as made:
            storm = Storm(providers, seed)
            caller = Caller(made, client)
            run = Run(made, caller, storm)
            creates = list(storm.creates(count, f"fire-{seed}"))
            storm.begin()
            await run.all(creates)
            fired = storm.end()
            print(f"responses {caller.tries}\nfaults {fired}\nkills {[replica.kills for replica in made]}")  # noqa: T201 (pytest shows it when the test fails)

            for provider in providers:
                await provider.until_idle()
            async with store_location.opened() as store:
                await _settled(store)
            _check_runtimes(providers, creates, run.responses)
            await _check_reads(client, made, creates, run.responses)

    refused = sum(line["outcome"] == "refused" for replica in made for line in replica.events("upstream"))
    assert refused > 0
    assert sum(replica.kills for replica in made) >= 2
    assert len(fired) == len(MIX)
    assert all(fired.values()), fired


def _check_runtimes(providers: Sequence[Upstream], creates: Sequence[Create], responses: dict[int, Response]) -> None:
    """Every create returned a runtime of its own, and no other runtime exists."""
    refused = {
        number: (response.status, response.json) for number, response in responses.items() if response.status != 201
    }
    assert not refused
    returned = [(response.json["provider"], response.json["provider_id"]) for response in responses.values()]
    live = [(provider.name, made.id) for provider in providers for made in provider.live()]
    assert Counter(live) == Counter(returned)
    assert len(set(live)) == len(creates)
    names = {(provider.name, made.id): made.name for provider in providers for made in provider.live()}
    for create in creates:
        response = responses[create.number].json
        assert (
            names[response["provider"], response["provider_id"]]
            == response["name"]
            == create.body.get("name", response["name"])
        )
        assert response["provider"] == create.body.get("provider", response["provider"])


async def _check_reads(
    client: aiohttp.ClientSession, made: Sequence[Replica], creates: Sequence[Create], responses: dict[int, Response]
) -> None:
    """Each gateway finds every runtime, whichever gateway returned it."""
    for create in creates:
        response = responses[create.number].json
        url = made[create.number % len(made)].url
        assert url is not None
        found = await get(client, url, f"/v1/runtimes/{response['id']}")
        assert (found.status, found.json.get("name")) == (200, response["name"])


async def _settled(store: SqlStore) -> None:
    """No intent is open, unknown or parked, and none has a surplus runtime."""
    unsettled = IntentQuery(states=frozenset({IntentState.OPEN, IntentState.UNKNOWN}), limit=1)

    async def is_settled() -> bool:
        return not await store.list(unsettled)

    await eventually(is_settled, "no intent is open or unknown")
    parked = await store.list(IntentQuery(states=frozenset({IntentState.PARKED})))
    assert not parked, "\n".join(map(repr, parked))
    surplus = await store.list(IntentQuery(surplus_only=True))
    assert not surplus, "\n".join(map(repr, surplus))
