"""The part of the store contract about places (:mod:`gateway.ports.places`)."""

import asyncio

import msgspec
import pytest

from gateway.domain.intents import Actor, Intent, IntentState
from gateway.ports.places import GRACE, HELD, NoPlace, Place, PlaceClaim
from gateway.ports.store import Changes, Conflict, Decision, Inserted, Version
from tests.contract.store.subject import LEASE, StoreSubject, begun, bring, create, settle

CLAIM = PlaceClaim(owner="shop", starts=True, running=2, runtimes=3, count_after=None)


def place(runtime_id: str, *, running: bool = False, name: str | None = None) -> Place:
    return Place(
        id=f"one/{runtime_id}",
        owner="shop",
        provider="one",
        scope="acme/research",
        name=name,
        runtime_id=runtime_id,
        running=running,
    )


async def taken(stores: StoreSubject, name: str = "one", claim: PlaceClaim = CLAIM, **options: object) -> Intent:
    """A new intent with a place."""
    return begun(await stores.store.begin(create(name, provider="one", **options), "me", LEASE, claim=claim))


async def use(stores: StoreSubject) -> tuple[int, int]:
    """How many places are running, and how many there are."""
    places = await stores.store.places("shop")
    return sum(one.running for one in places), len(places)


async def refusal(stores: StoreSubject, claim: PlaceClaim = CLAIM) -> NoPlace:
    """What prevents another create, of which nothing is stored."""
    new = create("refused")
    with pytest.raises(NoPlace) as caught:
        await stores.store.begin(new, "me", LEASE, claim=claim)
    assert await stores.store.get(new.id) is None
    return caught.value


class PlacesContract:
    """Owners never have more places than their limits; see :class:`tests.contract.store.contract`."""

    async def test_a_create_takes_a_place_until_its_limit_is_reached(self, stores: StoreSubject) -> None:
        first, second = await taken(stores, "one"), await taken(stores, "two")
        none = await refusal(stores)
        assert (none.limit, none.value, none.used, list(none.held)) == ("running", 2, 2, [])
        idle = msgspec.structs.replace(CLAIM, starts=False)
        await taken(stores, "three", idle)
        assert await use(stores) == (2, 3)
        await stores.proven(second, "r-2")
        none = await refusal(stores, idle)
        assert (none.limit, none.value, none.used) == ("runtimes", 3, 3)
        assert [(one.runtime_id, one.name, one.provider) for one in none.held] == [("r-2", "two", "one")]
        assert {one.id for one in await stores.store.places("shop")} >= {first.id, second.id}
        assert await stores.store.places("other") == []
        await taken(stores, "four", msgspec.structs.replace(CLAIM, owner="other"))

    async def test_a_limit_that_is_not_given_refuses_nothing(self, stores: StoreSubject) -> None:
        for number in range(HELD + 3):
            intent = await taken(stores, f"n{number}", msgspec.structs.replace(CLAIM, running=None, runtimes=None))
            await stores.proven(intent, f"r-{number}")
        none = await refusal(stores, msgspec.structs.replace(CLAIM, running=None))
        assert (none.limit, none.used, len(none.held)) == ("runtimes", HELD + 3, HELD)

    async def test_a_replay_takes_no_place(self, stores: StoreSubject) -> None:
        new = create("one", key="k")
        assert isinstance(await stores.store.begin(new, "me", LEASE, claim=CLAIM), Inserted)
        assert isinstance(await stores.store.begin(new, "me", LEASE, claim=CLAIM), Inserted)
        same_key, same_name = create("two", key="k"), create("one")
        for other in (same_key, same_name):
            assert isinstance(await stores.store.begin(other, "you", LEASE, claim=CLAIM), Conflict)
        assert await use(stores) == (1, 1)

    @pytest.mark.parametrize("state", [IntentState.REFUSED, IntentState.ABSENT])
    async def test_a_create_that_made_nothing_gives_its_place_back_and_takes_it_again(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        intent = await bring(stores.store, await taken(stores), state)
        assert await use(stores) == (0, 0)
        full = msgspec.structs.replace(CLAIM, running=0)
        version, opened = Version.of(intent), IntentState.OPEN
        with pytest.raises(NoPlace):
            await stores.store.move(version, opened, Actor.WAITING_CALLER, "you", lease=LEASE, claim=full)
        assert await stores.store.get(intent.id) == intent
        await stores.move(intent, opened, Actor.WAITING_CALLER, "you", claim=CLAIM)
        assert await use(stores) == (1, 1)

    @pytest.mark.parametrize("state", [IntentState.UNKNOWN, IntentState.PARKED])
    async def test_a_create_that_is_not_settled_keeps_its_place(self, stores: StoreSubject, state: IntentState) -> None:
        intent = await bring(stores.store, await taken(stores), state)
        assert await use(stores) == (1, 1)
        if state is IntentState.UNKNOWN:
            full = msgspec.structs.replace(CLAIM, running=1)
            await stores.move(intent, IntentState.OPEN, Actor.WAITING_CALLER, "you", claim=full)
            assert await use(stores) == (1, 1)

    @pytest.mark.parametrize(("decision", "left"), [(Decision.MADE, 1), (Decision.ABSENT, 0)])
    async def test_an_operator_decides_about_the_place_too(
        self, stores: StoreSubject, decision: Decision, left: int
    ) -> None:
        parked = await bring(stores.store, await taken(stores), IntentState.PARKED)
        await settle(stores.store, parked, decision)
        assert await use(stores) == (left, left)

    async def test_a_runtime_that_existed_before_gives_the_place_of_the_create_back(self, stores: StoreSubject) -> None:
        await stores.proven(await taken(stores), "r-1", changes=Changes(lifetime=None))
        assert await use(stores) == (0, 0)

    async def test_a_runtime_has_one_place(self, stores: StoreSubject) -> None:
        """Also if a count has found it before its create was settled."""
        intent = await taken(stores)
        await stores.store.take_place(place("r-1", running=True), CLAIM)
        assert await use(stores) == (2, 2)
        await stores.proven(intent, "r-1")
        (kept,) = await stores.store.places("shop")
        assert (kept.id, kept.runtime_id, kept.running) == (intent.id, "r-1", True)

    async def test_a_create_under_the_name_of_a_runtime_needs_no_other_place(self, stores: StoreSubject) -> None:
        """The runtime exists, so it is returned, or it has ended, so its place is free."""
        claim = msgspec.structs.replace(CLAIM, running=1, runtimes=1)
        await stores.proven(await taken(stores, "one", claim), "r-1")
        again = await taken(stores, "one", claim)
        assert await use(stores) == (2, 2)
        await stores.proven(again, "r-1", changes=Changes(lifetime=None))
        assert [one.id != again.id for one in await stores.store.places("shop")] == [True]
        for other in ({"scope": "other"}, {"provider": "two"}, {"name": "two"}):
            with pytest.raises(NoPlace):
                await stores.store.begin(
                    create(**{"name": "one", "provider": "one", **other}), "me", LEASE, claim=claim
                )
        await stores.store.set_place("one", "r-1", running=False)
        await stores.store.take_place(place("r-2", running=True), CLAIM)
        with pytest.raises(NoPlace) as caught:  # it would start an instance
            await taken(stores, "one", claim)
        assert caught.value.limit == "running"

    async def test_a_start_takes_the_place_of_an_instance_once(self, stores: StoreSubject) -> None:
        idle = msgspec.structs.replace(CLAIM, starts=False)
        await stores.proven(await taken(stores, "one", idle), "r-1")
        for _ in range(2):
            await stores.store.take_place(place("r-1", running=True), CLAIM)
        assert await use(stores) == (1, 1)
        await stores.store.take_place(place("r-2", running=True), CLAIM)
        with pytest.raises(NoPlace) as caught:
            await stores.store.take_place(place("r-3", running=True), CLAIM)
        assert (caught.value.limit, [one.runtime_id for one in caught.value.held]) == ("running", ["r-1", "r-2"])
        await stores.store.set_place("one", "r-1", running=False)
        await stores.store.set_place("one", "r-2", running=None)
        assert await use(stores) == (0, 1)
        await stores.store.set_place("two", "r-1", running=None)
        await stores.store.set_place("one", "r-9", running=True)
        assert await use(stores) == (0, 1)
        await stores.store.take_place(place("r-3", running=True), CLAIM)
        assert await use(stores) == (1, 2)

    async def test_places_are_counted_before_the_first_is_taken_and_when_the_count_is_old(
        self, stores: StoreSubject
    ) -> None:
        counting = msgspec.structs.replace(CLAIM, count_after=100.0)
        none = await refusal(stores, counting)
        assert (none.limit, none.counted) == (None, None)
        await stores.store.count_places("shop", [], [])
        await taken(stores, "one", counting)
        await stores.advance(101)
        none = await refusal(stores, counting)
        assert none.limit is None
        assert none.counted == pytest.approx(101, abs=5)
        await stores.advance(-500)  # the clock is set back
        none = await refusal(stores, counting)
        assert (none.limit, none.counted) == (None, None)

    async def test_a_count_corrects_what_has_not_changed_meanwhile(self, stores: StoreSubject) -> None:
        free = msgspec.structs.replace(CLAIM, running=None, runtimes=None)
        for number in range(4):
            await stores.store.take_place(place(f"r-{number}", running=number < 3), free)
        await stores.advance(GRACE + 1)
        read = {one.runtime_id: one for one in await stores.store.places("shop")}
        await stores.store.set_place("one", "r-2", running=False)
        await stores.store.take_place(place("r-2", running=True), free)
        found = [msgspec.structs.replace(read[runtime_id], running=False) for runtime_id in ("r-0", "r-2")]
        await stores.store.count_places("shop", found, [read["r-1"], read["r-3"]])
        assert [(one.runtime_id, one.running) for one in await stores.store.places("shop")] == [
            ("r-0", False),
            ("r-2", True),
        ]

    async def test_a_count_leaves_places_that_were_just_taken_for_an_instance(self, stores: StoreSubject) -> None:
        await stores.store.take_place(place("r-0", running=True), CLAIM)
        await stores.store.take_place(place("r-1", running=True), CLAIM)
        first, second = await stores.store.places("shop")
        await stores.store.count_places("shop", [msgspec.structs.replace(first, running=False)], [second])
        assert await use(stores) == (2, 2)
        await stores.advance(GRACE + 1)
        await stores.store.count_places("shop", [msgspec.structs.replace(first, running=False)], [second])
        assert await use(stores) == (0, 1)

    async def test_a_count_adds_runtimes_that_have_no_place(self, stores: StoreSubject) -> None:
        """Not the one of a create that is being sent."""
        await taken(stores, "sending")
        seen = [place("r-1", running=True), place("r-2"), place("r-3", name="sending", running=True)]
        for _ in range(2):
            await stores.store.count_places("shop", seen, [])
        assert await use(stores) == (2, 3)

    async def test_concurrent_creates_take_no_more_places_than_there_are(self, stores: StoreSubject) -> None:
        replicas = [stores.store, await stores.another()]
        claim = msgspec.structs.replace(CLAIM, running=7, runtimes=None)
        news = [msgspec.structs.replace(create(f"n{number}"), pinned=number % 2 == 0) for number in range(40)]
        results = await asyncio.gather(
            *(replicas[number % 2].begin(new, "me", LEASE, claim=claim) for number, new in enumerate(news)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, Inserted) for result in results) == 7
        assert sum(isinstance(result, NoPlace) for result in results) == 33
        assert await use(stores) == (7, 7)

    async def test_places_of_owners_that_create_nothing_any_more_are_purged(self, stores: StoreSubject) -> None:
        await stores.proven(await taken(stores, "one"), "r-1")
        await taken(stores, "two")
        await stores.store.count_places("shop", [], [])
        await stores.store.purge(settled=1000, kept=1000, limit=10)
        assert await use(stores) == (2, 2)
        await stores.advance(1001)
        await stores.store.purge(settled=10_000, kept=1000, limit=10)
        assert [one.name for one in await stores.store.places("shop")] == ["two"]
