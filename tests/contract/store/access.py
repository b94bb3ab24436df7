"""The part of the store contract about keys, principals and owners (:mod:`gateway.ports.principals`)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.ports.principals import KeyRefused, NewKey, PrincipalStore, StoredKey, StoredPrincipal
from tests.contract.store.subject import StoreSubject

LIMIT = 10


class AccessContract:
    """Replicas find out about changes by the version; see :class:`tests.contract.store.contract`."""

    async def test_a_key_is_stored_with_its_principal(self, stores: StoreSubject) -> None:
        """Also for other replicas. A repeated call returns the same key."""
        new = key("key_1", digest=bytes(range(32)), name="näme", scopes=("native",), expires_at=2e10)
        before = await stores.store.now()
        made = await added(stores.store, new)
        assert {field: getattr(made, field) for field in NewKey.__struct_fields__} == {
            field: getattr(new, field) for field in NewKey.__struct_fields__
        }
        assert before <= made.created_at <= await stores.store.now()
        assert made.last_used_at is None
        assert await added(stores.store, new) == made
        data = await (await stores.another()).access_data()
        assert (data.keys, data.owners) == ([made], [])
        (principal,) = data.principals
        assert (principal.name, principal.template, principal.disabled) == ("team", "shop", False)

    async def test_keys_are_listed_by_age_and_by_principal(self, stores: StoreSubject) -> None:
        for number in (2, 1, 3):
            await added(stores.store, key(f"key_{number}", principal="team" if number < 3 else "other"))
            await stores.advance(1)
        assert [one.id for one in await stores.store.keys()] == ["key_2", "key_1", "key_3"]
        assert [one.id for one in await stores.store.keys("team")] == ["key_2", "key_1"]
        assert await stores.store.keys("nobody") == []

    async def test_a_principal_needs_a_template_or_a_declaration(self, stores: StoreSubject) -> None:
        store = stores.store
        assert await add(store, key("key_1"), template=None) is KeyRefused.NO_PRINCIPAL
        await added(store, key("key_1"))
        await added(store, key("key_2"), template=None)
        assert await add(store, key("key_3"), template="other") is KeyRefused.OTHER_TEMPLATE
        await added(store, key("key_4", principal="declared"), template=None, declared=True)
        assert [one.name for one in await store.principals()] == ["team"]

    async def test_keys_and_principals_are_limited(self, stores: StoreSubject) -> None:
        store = stores.store
        for number in range(LIMIT):
            await added(store, key(f"key_{number}", principal=f"p{number}"))
        assert await add(store, key("key_x"), template="shop") is KeyRefused.FULL
        await store.delete_key("key_0")
        assert await add(store, key("key_x", principal="new"), template="shop") is KeyRefused.FULL
        await added(store, key("key_x", principal="p0"))

    async def test_a_rotated_key_ends_after_the_overlap_at_the_latest(self, stores: StoreSubject) -> None:
        """The new one has its principal, name, scopes and end. A repeated call returns the same key."""
        store = stores.store
        now = await store.now()
        for old, ends, end in (("key_1", None, now + 60), ("key_2", now + 30, now + 30)):
            before = await added(store, key(old, name="n", scopes=("audit",), expires_at=ends))
            new = key(f"{old}_new", principal="")
            made = await store.rotate_key(old, new, overlap=60)
            assert made is not None
            for field in ("principal", "name", "scopes", "expires_at"):
                assert getattr(made, field) == getattr(before, field)
            assert (made.id, made.digest) == (new.id, new.digest)
            assert await store.rotate_key(old, new, overlap=0) == made
            found = {one.id: one.expires_at for one in await store.keys()}
            assert found[old] == pytest.approx(end, abs=5)
        await stores.advance(61)
        assert await store.rotate_key("key_1", key("key_3"), overlap=60) is None
        assert await store.rotate_key("key_x", key("key_3"), overlap=60) is None

    async def test_an_ended_key_is_deleted_after_a_month(self, stores: StoreSubject) -> None:
        await added(stores.store, key("key_1", expires_at=await stores.store.now()))
        await stores.advance(29 * 86400)
        await added(stores.store, key("key_2"))
        assert len(await stores.store.keys()) == 2
        await stores.advance(2 * 86400)
        await added(stores.store, key("key_3"))
        assert [one.id for one in await stores.store.keys()] == ["key_2", "key_3"]

    async def test_a_key_is_deleted_once(self, stores: StoreSubject) -> None:
        made = await added(stores.store, key("key_1"))
        assert await stores.store.delete_key("key_1") == made
        assert await stores.store.delete_key("key_1") is None
        assert await stores.store.keys() == []

    async def test_a_deleted_principal_loses_its_keys_only(self, stores: StoreSubject) -> None:
        store = stores.store
        await added(store, key("key_1"))
        other = await added(store, key("key_2", principal="other"))
        assert await store.delete_principal("team") is True
        assert await store.delete_principal("team") is False
        assert await store.keys() == [other]
        await store.disable("login/sub", True, declared=True)
        assert await store.delete_principal("login/sub") is False

    async def test_a_principal_is_disabled_and_enabled(self, stores: StoreSubject) -> None:
        """One that is declared elsewhere is stored only while it is disabled."""
        store = stores.store
        await added(store, key("key_1"))
        assert await store.disable("nobody", True, declared=False) is False
        for name, declared in (("team", False), ("login/sub", True)):
            for disabled in (True, True, False, False):
                assert await store.disable(name, disabled, declared=declared) is True
                assert disabled_of(await store.principals()).get(name, False) is disabled
        assert [one.name for one in await store.principals()] == ["team"]

    async def test_a_disabled_principal_that_is_not_declared_any_more_stays_disabled(
        self, stores: StoreSubject
    ) -> None:
        await stores.store.disable("team", True, declared=True)
        await added(stores.store, key("key_1"))
        (principal,) = await stores.store.principals()
        assert (principal.template, principal.disabled) == ("shop", True)

    async def test_each_change_has_a_new_version(self, stores: StoreSubject) -> None:
        """What changes nothing, and the use of keys, does not."""
        store, other = stores.store, await stores.another()
        seen = {await other.access_version()}
        changes: list[Callable[[], Awaitable[Any]]] = [
            lambda: add(store, key("key_1"), template="shop"),
            lambda: store.rotate_key("key_1", key("key_2"), overlap=0),
            lambda: store.disable("team", True, declared=False),
            lambda: store.assign_owner("p.1", "team", "admin"),
            lambda: store.forget_owner("p.1"),
            lambda: store.revoke("p.1", "team"),
            lambda: store.delete_key("key_1"),
            lambda: store.delete_principal("team"),
        ]
        for change in changes:
            await change()
            version = await other.access_version()
            assert version not in seen
            assert (await other.access_data()).version == version
            seen.add(version)
        unchanging: list[Callable[[], Awaitable[Any]]] = [
            lambda: add(store, key("key_9"), template=None),
            lambda: store.rotate_key("key_1", key("key_2"), overlap=0),
            lambda: store.disable("team", True, declared=False),
            lambda: store.forget_owner("p.1"),
            lambda: store.delete_key("key_1"),
            lambda: store.delete_principal("team"),
            lambda: store.keys_used(["key_1"]),
        ]
        for nothing in unchanging:
            await nothing()
            assert await other.access_version() == version

    async def test_the_last_use_of_a_key_is_known_to_the_minute(self, stores: StoreSubject) -> None:
        await added(stores.store, key("key_1"))
        await added(stores.store, key("key_2"))
        await stores.store.keys_used(["key_1", "key_x"])
        first, second = await stores.store.keys()
        now = await stores.store.now()
        assert first.last_used_at is not None
        assert first.last_used_at % 60 == 0
        assert now - 120 < first.last_used_at <= now
        assert second.last_used_at is None

    async def test_each_revocation_begins_a_later_generation(self, stores: StoreSubject) -> None:
        first = await stores.store.revoke("p.1", "team")
        second = await stores.store.revoke("p.1", "team")
        everyone = await stores.store.revoke("p.1", "")
        assert 0 < first.generation < second.generation
        data = await (await stores.another()).access_data()
        assert sorted(data.revocations, key=lambda one: one.principal) == [everyone, second]
        assert data.epoch
        assert data.epoch == (await stores.store.access_data()).epoch

    async def test_releases_of_other_processes_are_found_for_a_while(self, stores: StoreSubject) -> None:
        other = await stores.another()
        await stores.store.add_releases(["p.2", "p.1"], "one")
        assert await stores.store.releases("one", 20) == {}
        first = await other.releases("two", 20)
        assert first.keys() == {"p.1", "p.2"}
        await stores.advance(10)
        await stores.store.add_releases(["p.1"], "one")
        second = await other.releases("two", 20)
        assert second["p.1"] >= first["p.1"] + 10
        assert second["p.2"] == first["p.2"]
        await stores.advance(15)
        assert (await other.releases("two", 20)).keys() == {"p.1"}
        await other.add_releases(["p.1"], "two")
        assert await other.releases("two", 60) == {"p.2": first["p.2"]}
        assert (await stores.store.releases("one", 60)).keys() == {"p.1"}
        await stores.advance(61)
        await stores.store.add_releases(["p.3"], "one")
        assert (await other.releases("two", 1000)).keys() == {"p.3"}

    async def test_an_assignment_replaces_the_one_before(self, stores: StoreSubject) -> None:
        for owner in ("one", "two"):
            made = await stores.store.assign_owner("p.1", owner, "admin")
            assert (made.runtime_id, made.owner, made.assigned_by) == ("p.1", owner, "admin")
            assert (await (await stores.another()).access_data()).owners == [made]
        assert await stores.store.forget_owner("p.1") is True
        assert await stores.store.forget_owner("p.1") is False
        assert (await stores.store.access_data()).owners == []

    async def test_two_keys_never_have_the_same_digest(self, stores: StoreSubject) -> None:
        made = await added(stores.store, key("key_1", digest=b"same"))
        with pytest.raises(StoreUnavailable):
            await add(stores.store, key("key_2", digest=b"same"), template="shop")
        assert await stores.store.keys() == [made]


def key(key_id: str, *, principal: str = "team", digest: bytes | None = None, **fields: Any) -> NewKey:
    """A new key; ``fields`` replace its other fields."""
    return NewKey(id=key_id, digest=digest or key_id.encode(), prefix="rtgw_abc", principal=principal, **fields)


async def add(
    store: PrincipalStore, new: NewKey, *, template: str | None, declared: bool = False
) -> StoredKey | KeyRefused:
    """The result of the insertion of a key."""
    return await store.add_key(new, template=template, declared=declared, limit=LIMIT)


async def added(
    store: PrincipalStore, new: NewKey, *, template: str | None = "shop", declared: bool = False
) -> StoredKey:
    """A key that was inserted."""
    made = await add(store, new, template=template, declared=declared)
    assert isinstance(made, StoredKey), made
    return made


def disabled_of(principals: Any) -> dict[str, bool]:
    """Whether each principal is disabled, by name."""
    found: list[StoredPrincipal] = list(principals)
    return {one.name: one.disabled for one in found}
