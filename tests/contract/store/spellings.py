"""The part of the store contract about base URLs that are spelled in several ways."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.domain.intents import HOLDS_NAME, IntentState, namespace_of
from gateway.ports.store import Conflict, ConflictReason, Store
from tests.contract.store.subject import LEASE, StoreSubject, begun, bring, create, current

OLD, OTHER, NEW = "https://One.example/api", "https://one.example:443", "https://one.example"


class SpellingsContract:
    """One address has one spelling in the namespaces of intents; see :class:`tests.contract.store.contract`."""

    async def test_all_replicas_use_the_first_spelling(self, stores: StoreSubject) -> None:
        replicas = [stores.store, await stores.another()]
        spelled = await asyncio.gather(*(spellings(store, url) for store in replicas for url in (OLD, OTHER, NEW)))
        (first,) = {urls[0] for urls in spelled}
        assert first in {OLD, OTHER, NEW}
        assert await spellings(stores.store, "https://ONE.example./") == [first]

    async def test_another_address_or_api_has_its_own_spelling(self, stores: StoreSubject) -> None:
        assert await spellings(stores.store, OLD) == [OLD]
        assert await spellings(stores.store, "https://one.example/v2") == ["https://one.example/v2"]
        assert await stores.store.base_urls("bctrl", NEW, ("/api",)) == [NEW]

    async def test_intents_of_an_earlier_version_decide_the_spelling(self, stores: StoreSubject) -> None:
        intent = begun(await stores.store.begin(create(namespace=at(OLD)), "me", LEASE))
        assert await spellings(stores.store, NEW) == [OLD]
        assert await spellings(stores.store, NEW) == [OLD]
        assert await current(stores.store, intent) == intent

    @pytest.mark.parametrize("state", IntentState)
    async def test_intents_of_other_spellings_are_moved_to_the_configured_one(
        self, stores: StoreSubject, state: IntentState
    ) -> None:
        store = stores.store
        first = begun(await store.begin(create(namespace=at(OLD), pinned=True), "me", LEASE))
        first = await bring(store, first, state)
        elsewhere = begun(await store.begin(create(namespace=at("https://two.example")), "me", LEASE))
        await stores.advance(1)
        begun(await store.begin(create("two", namespace=at(NEW)), "me", LEASE))
        assert await spellings(store, NEW) == [NEW, OLD]
        assert (await current(store, first)).namespace == at(NEW)
        assert (await current(store, elsewhere)).namespace == at("https://two.example")
        again = await store.begin(create(namespace=at(NEW), pinned=True), "you", LEASE)
        if state in HOLDS_NAME:
            assert again == Conflict(await current(store, first), ConflictReason.NAME)
        else:
            begun(again)

    async def test_the_newest_of_two_old_spellings_is_used(self, stores: StoreSubject) -> None:
        for url in (OLD, OTHER):
            begun(await stores.store.begin(create(url[-5:], namespace=at(url)), "me", LEASE))
            await stores.advance(1)
        assert await spellings(stores.store, NEW) == [OTHER, OLD]

    async def test_an_intent_whose_name_is_held_at_the_other_spelling_keeps_its_namespace(
        self, stores: StoreSubject
    ) -> None:
        held = [begun(await stores.store.begin(create(namespace=at(url)), "me", LEASE)) for url in (OLD, NEW)]
        assert await spellings(stores.store, NEW) == [NEW, OLD]
        assert [(await current(stores.store, intent)).namespace for intent in held] == [at(OLD), at(NEW)]


def at(base_url: str) -> str:
    """The namespace of one account and scope at a base URL."""
    return namespace_of("durable", base_url, "account-1", "acme/research")


async def spellings(store: Store, base_url: str) -> Sequence[str]:
    """The spellings of the base URL of an API that may end with ``/api``."""
    return list(await store.base_urls("durable", base_url, ("/api",)))
