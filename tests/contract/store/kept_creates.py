"""The contract for kept creates: listed from the moment that their intent is done, and kept when it is purged."""

import msgspec

from gateway.domain.intents import IntentState
from gateway.ports.moves import StoredCreate
from gateway.ports.store import Changes
from tests.contract.store.subject import HERE, StoreSubject

HOME = "durable-main"


async def made(stores: StoreSubject, runtime_id: str, name: str = "one", **options: object) -> StoredCreate:
    """A runtime of a create whose request is kept, as the store lists it."""
    intent = await stores.begun(name, request=b"\x00" + runtime_id.encode(), **options)
    done = await stores.proven(intent, runtime_id)
    return StoredCreate(
        provider=intent.provider,
        runtime_id=runtime_id,
        scope=intent.scope,
        kind="durable",
        name=name,
        namespace=HERE,
        intent_id=intent.id,
        principal="alice",
        created_at=done.created_at,
        request=b"\x00" + runtime_id.encode(),
    )


async def purge(stores: StoreSubject, kept: float = 1_000_000) -> None:
    await stores.store.purge(settled=0, kept=kept, limit=100)


class KeptCreatesContract:
    """Kept creates."""

    async def test_creates_are_listed_before_and_after_their_intents_are_purged(self, stores: StoreSubject) -> None:
        """In the order of their ids, of one provider, in pages, and in one scope if it is named."""
        two, one = await made(stores, "r2"), await made(stores, "r1", "two", scope="acme/other")
        await made(stores, "r3", "three", provider="durable-other")
        await stores.advance(10)
        for _ in range(2):
            assert await stores.store.kept_creates(HOME) == [one, two]
            assert await stores.store.kept_creates(HOME, scope="acme/research") == [two]
            assert await stores.store.kept_creates(HOME, limit=1) == [one]
            assert await stores.store.kept_creates(HOME, after="r1") == [two]
            assert await stores.store.kept_creates(HOME, only="r2") == [two]
            assert await stores.store.kept_creates(HOME, scope="acme/research", only="r1") == []
            await purge(stores)
            assert await stores.store.get(one.intent_id) is None

    async def test_creates_without_a_request_or_a_runtime_are_not_listed(self, stores: StoreSubject) -> None:
        await stores.brought(IntentState.DONE, "no-request")
        await stores.brought(IntentState.REFUSED, "refused", request=b"x")
        await stores.proven(await stores.begun("two", request=b"x"), "r1", changes=Changes(request=None))
        await stores.advance(10)
        for _ in range(2):
            assert await stores.store.kept_creates(HOME) == []
            await purge(stores)

    async def test_the_newest_create_of_a_runtime_is_listed(self, stores: StoreSubject) -> None:
        await made(stores, "r1")
        await stores.advance(10)
        newest = await made(stores, "r1")
        assert await stores.store.kept_creates(HOME) == [newest]
        await stores.advance(10)
        await purge(stores)
        assert await stores.store.kept_creates(HOME) == [newest]
        await stores.advance(10)
        newest = await made(stores, "r1")
        assert await stores.store.kept_creates(HOME) == [newest]

    async def test_a_later_config_is_listed_with_the_create(self, stores: StoreSubject) -> None:
        create = await made(stores, "r1")
        await stores.store.keep_config(HOME, "r1", "acme/research", b"first")
        await stores.store.keep_config(HOME, "r1", "acme/research", b"second\xff")
        await stores.store.keep_config(HOME, "unknown", "acme/research", b"x")
        await stores.advance(10)
        for _ in range(2):
            (found,) = await stores.store.kept_creates(HOME)
            assert (found.intent_id, found.config) == (create.intent_id, b"second\xff")
            await purge(stores)

    async def test_the_create_of_a_deleted_runtime_is_not_listed(self, stores: StoreSubject) -> None:
        """Also if the create ends, or a config is reported, after the deletion."""
        await made(stores, "r1")
        await stores.store.drop_kept_create(HOME, "r1")
        await stores.store.drop_kept_create(HOME, "r2")
        await made(stores, "r2", "two")
        await stores.store.keep_config(HOME, "r2", "acme/research", b"late")
        await stores.advance(10)
        for _ in range(2):
            assert await stores.store.kept_creates(HOME) == []
            await purge(stores)

    async def test_kept_creates_are_purged_when_they_are_old(self, stores: StoreSubject) -> None:
        """A config that is replaced begins the time again."""
        for runtime_id in ("r1", "r2"):
            await made(stores, runtime_id, runtime_id)
        await stores.advance(1)
        await purge(stores)
        await stores.advance(100)
        await stores.store.keep_config(HOME, "r2", "acme/research", b"new")
        await purge(stores, kept=50)
        assert [one.runtime_id for one in await stores.store.kept_creates(HOME)] == ["r2"]

    async def test_an_imported_create_replaces_what_is_known_of_its_runtime(self, stores: StoreSubject) -> None:
        """Also of one that was deleted, whose deletion may be written later."""
        known = await made(stores, "r1")
        await stores.store.keep_config(HOME, "r1", "acme/research", b"config")
        await stores.store.drop_kept_create(HOME, "r2")
        await stores.advance(10)
        now = await stores.store.now()
        for runtime_id in ("r1", "r2"):
            line = msgspec.structs.replace(
                known, runtime_id=runtime_id, intent_id="", request=b"line\xff", kind="other"
            )
            await stores.store.keep_create(line)
            await stores.store.keep_create(line)
            await stores.store.drop_kept_create(HOME, runtime_id)
            (found,) = await stores.store.kept_creates(HOME, only=runtime_id)
            assert msgspec.structs.replace(found, created_at=known.created_at) == line
            assert found.created_at >= now
