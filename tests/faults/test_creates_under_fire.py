"""One runtime per create, whatever fails: two gateways on one store, killed again and again, every provider sick."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from gateway.domain.intents import IntentState
from gateway.ports.store import IntentQuery
from gateway.storage.sql_store import SqlStore
from gateway.testing.waiting import Watch
from tests.faults.callers import Answer, Caller, Create, get, session
from tests.faults.conftest import StorePlace
from tests.faults.eventually import eventually
from tests.faults.providers import Upstream, every_setup, settings_of, upstreams
from tests.faults.replicas import DEADLINE, Replica, replicas, write_settings
from tests.faults.storm import MIX, Storm

AT_ONCE = 32
KILL_AFTER = 30  # answers; with 32 at once, that is every few seconds


class Run:
    """The creates of one run, and how far they are."""

    def __init__(self, made: Sequence[Replica], caller: Caller, storm: Storm) -> None:
        self._replicas = made
        self._caller = caller
        self._storm = storm
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._watch = Watch()
        self.answers: dict[int, Answer] = {}

    async def all(self, creates: Sequence[Create]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill((len(creates) - 1) // KILL_AFTER))
            for create in creates:
                group.create_task(self._one(create))

    async def _one(self, create: Create) -> None:
        async with self._slots:
            self.answers[create.number] = await self._caller.create(create, first_try=self._storm.around(create))
        self._watch.changed()

    async def _kill(self, times: int) -> None:
        """Kill the gateways in turn, with creates under way, and start them again."""
        for turn in range(times):
            wanted = KILL_AFTER * (turn + 1)
            await self._watch.until(lambda wanted=wanted: len(self.answers) >= wanted)
            replica = self._replicas[turn % len(self._replicas)]
            await replica.kill()
            await replica.start()


async def test_every_create_ends_with_its_one_runtime(
    store_place: StorePlace, tmp_path: Path, count: int, seed: int
) -> None:
    async with upstreams(every_setup(), deadlines={"create": DEADLINE}) as providers, session() as client:
        settings = write_settings(tmp_path, settings_of(providers), store_place.settings)
        async with replicas(settings, 2) as made:
            storm = Storm(providers, seed)
            caller = Caller(made, client)
            run = Run(made, caller, storm)
            creates = list(storm.creates(count, f"fire-{seed}"))
            storm.begin()
            await run.all(creates)
            fired = storm.end()
            print(f"answers {caller.tries}\nfaults {fired}\nkills {[replica.kills for replica in made]}")  # noqa: T201 (of a failed run)

            for provider in providers:
                await provider.at_rest()
            async with store_place.opened() as store:
                await _settled(store)
            _exactly_those(providers, creates, run.answers)
            await _all_are_there(client, made, creates, run.answers)

    refused = sum(line["outcome"] == "refused" for replica in made for line in replica.events("upstream"))
    assert refused > 0
    assert sum(replica.kills for replica in made) >= 2
    assert len(fired) == len(MIX)
    assert all(fired.values()), fired


def _exactly_those(providers: Sequence[Upstream], creates: Sequence[Create], answers: dict[int, Answer]) -> None:
    """Every create was answered with a runtime of its own, and there are no others."""
    refused = {number: (answer.status, answer.json) for number, answer in answers.items() if answer.status != 201}
    assert not refused
    answered = [(answer.json["provider"], answer.json["provider_id"]) for answer in answers.values()]
    live = [(provider.name, made.id) for provider in providers for made in provider.live()]
    assert Counter(live) == Counter(answered)
    assert len(set(live)) == len(creates)
    names = {(provider.name, made.id): made.name for provider in providers for made in provider.live()}
    for create in creates:
        answer = answers[create.number].json
        assert (
            names[answer["provider"], answer["provider_id"]]
            == answer["name"]
            == create.body.get("name", answer["name"])
        )
        assert answer["provider"] == create.body.get("provider", answer["provider"])


async def _all_are_there(
    client: aiohttp.ClientSession, made: Sequence[Replica], creates: Sequence[Create], answers: dict[int, Answer]
) -> None:
    """Both gateways find what either answered."""
    for create in creates:
        answer = answers[create.number].json
        url = made[create.number % len(made)].url
        assert url is not None
        found = await get(client, url, f"/v1/runtimes/{answer['id']}")
        assert (found.status, found.json.get("name")) == (200, answer["name"])


async def _settled(store: SqlStore) -> None:
    """No intent is left open; none needs a person; none has a second runtime."""
    moving = IntentQuery(states=frozenset({IntentState.OPEN, IntentState.UNKNOWN}), limit=1)

    async def nothing_moves() -> bool:
        return not await store.list(moving)

    await eventually(nothing_moves, "no intent is open or unknown")
    assert not await store.list(IntentQuery(states=frozenset({IntentState.PARKED})))
    assert not await store.list(IntentQuery(surplus_only=True))
