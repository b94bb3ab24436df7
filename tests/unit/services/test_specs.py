"""Specs: stored sealed, shown where the provider reports nothing, and never waited for by a read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import namespace_of
from gateway.domain.pages import ListFilter
from gateway.domain.runtime import BrowserPart, ConfigDocument, DurablePart, Launch, Runtime
from gateway.domain.values import State
from gateway.ports.moves import StoredSpec
from gateway.services import kept_configs
from gateway.services import specs as kept
from gateway.services.lifecycle import LifecycleService
from gateway.services.listing import ListQuery, ListService
from gateway.services.sent_spec import MadeRuntime, key_of
from gateway.services.specs import SpecKeeper, Trouble
from gateway.storage.sealing import Keyring, new_key
from tests.contract.store.subject import begun
from tests.contract.store.subject import create as create_intent
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter, FakeClock, context, create, fleet_of
from tests.unit.upstream.policies.simulation import simulated

PASSWORD = "canary-proxy-password"
PROXY = {"type": "socks5", "host": "proxy.example", "port": 1080, "username": "shop", "password": PASSWORD}
LAUNCH: dict[str, Any] = {"mode": "ephemeral", "extension_ids": ["x"], "humanize": True, "proxy": PROXY}


class Kept:
    """A keeper over a store in memory that can be made unavailable or slow."""

    def __init__(self, store: MemoryStore | None = None, *, sealer: Keyring | None = None) -> None:
        self.clock = FakeClock()
        self.asked: list[str] = []
        self.down = False
        self.hold: asyncio.Event | None = None
        self.store = MemoryStore(self.clock.now, database=store.database if store else None, on_call=self._on_call)
        self.sealer = sealer or Keyring([new_key()])
        self.troubles: list[Trouble] = []
        self.keeper = SpecKeeper(self.store, self.sealer, self.clock, self.troubles.append)

    async def _on_call(self, method: str, answered: bool) -> None:
        if answered:
            return
        self.asked.append(method)
        if self.hold is not None:
            await self.hold.wait()
        if self.down:
            raise StoreUnavailable("The store is down.")

    @classmethod
    async def open(cls, store: MemoryStore | None = None, *, sealer: Keyring | None = None) -> "Kept":
        """The keeper with an open store."""
        made = cls(store, sealer=sealer)
        await made.store.open()
        return made

    async def another(self) -> "Kept":
        """A keeper of another process with the same store."""
        return await self.open(self.store, sealer=self.sealer)


async def settled(until: Callable[[], bool]) -> None:
    """Run background work until the condition is true."""
    for _ in range(1000):
        if until():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def remembered(kept: Kept, adapter: FakeAdapter, name: str = "bot", **fields: Any) -> Runtime:
    """Remember a create that has made a runtime."""
    runtime = adapter.put(name, State.RUNNING)
    fields.setdefault("launch", LAUNCH)
    await kept.keeper.remember(MadeRuntime(adapter, "home", runtime, create("browser", name=name, **fields)))
    return runtime


def _launch_of(runtime: Runtime) -> Any:
    assert runtime.browser is not None
    return runtime.browser.launch


async def test_a_read_shows_sent_values_that_the_provider_does_not_report() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter, driver="playwright", labels={"team": "shop"})
    shown = await LifecycleService(fleet_of([adapter]), here.keeper).get(runtime.id, context())
    assert shown.labels == {"team": "shop"}
    assert shown.browser is not None
    assert shown.browser.driver == "playwright"
    launch = _launch_of(shown)
    assert (launch.mode, launch.extension_ids, launch.humanize, launch.solve_captchas) == (
        "ephemeral",
        ["x"],
        True,
        None,
    )
    assert (launch.proxy.type, launch.proxy.host, launch.proxy.port, launch.proxy.username) == (
        "socks5",
        "proxy.example",
        1080,
        "shop",
    )


async def test_values_that_the_provider_reports_are_not_replaced() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter, driver="playwright", labels={"team": "shop"})
    reported = BrowserPart(driver="selenium", launch=Launch(humanize=False))
    shown = here.keeper.fill(adapter, msgspec.structs.replace(runtime, browser=reported, labels={}))
    assert shown.labels == {}
    assert shown.browser is not None
    assert shown.browser.driver == "selenium"
    launch = _launch_of(shown)
    assert (launch.mode, launch.humanize, launch.extension_ids) == ("ephemeral", False, ["x"])


async def test_a_reported_launch_of_another_mode_is_not_merged() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter)
    reported = BrowserPart(launch=Launch(mode="profile", profile_id="p"))
    shown = here.keeper.fill(adapter, msgspec.structs.replace(runtime, browser=reported))
    assert _launch_of(shown) == reported.launch


async def test_no_password_is_stored_even_sealed() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter)
    key = key_of(adapter, "home", runtime.provider_id)
    sealed = (await here.store.specs(key.namespace, [runtime.provider_id]))[runtime.provider_id]
    assert key.namespace == namespace_of("fake", "http://fake.test", "", "home")
    plain = here.sealer.unseal(sealed, key.cell)
    assert b"proxy.example" in plain
    assert PASSWORD.encode() not in plain
    assert b"proxy.example" not in sealed


async def test_another_process_shows_the_spec_after_loading_it() -> None:
    """The provider responds before the store does, and the read does not wait."""
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter)
    there = await here.another()
    service = LifecycleService(fleet_of([adapter]), there.keeper)
    assert _launch_of(await service.get(runtime.id, context())) is None
    await settled(lambda: there.asked == ["specs"])
    assert _launch_of(await service.get(runtime.id, context())).humanize is True
    assert there.asked == ["specs"]


async def test_a_slow_read_shows_a_spec_loaded_meanwhile() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter)
    there = await here.another()

    async def slow() -> None:
        await settled(lambda: there.asked == ["specs"])
        await asyncio.sleep(0)

    adapter.world.before["get"] = slow
    shown = await LifecycleService(fleet_of([adapter]), there.keeper).get(runtime.id, context())
    assert _launch_of(shown).humanize is True


async def test_a_store_that_hangs_delays_no_read() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    here.hold = asyncio.Event()
    lifecycle = LifecycleService(fleet_of([adapter]), here.keeper)
    listing = ListService(fleet_of([adapter]), here.keeper)
    for _ in range(3):
        assert (await lifecycle.get(runtime.id, context())).id == runtime.id
        assert len((await listing.page(ListQuery(filter=ListFilter()), context())).items) == 1
    await settled(lambda: here.asked == ["specs"])
    assert here.asked == ["specs"], "one question at a time"
    await here.keeper.close()


async def test_an_unavailable_store_is_called_again_after_a_pause() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter)
    there = await here.another()
    there.down = True
    service = LifecycleService(fleet_of([adapter]), there.keeper)
    for _ in range(3):
        assert _launch_of(await service.get(runtime.id, context())) is None
        await settled(lambda: there.asked == ["specs"])
    assert there.troubles == [Trouble.NOT_LOADED]
    there.down = False
    there.clock.time += kept.REST
    await service.get(runtime.id, context())
    await settled(lambda: len(there.asked) == 2)
    assert _launch_of(await service.get(runtime.id, context())).humanize is True


async def test_specs_of_list_items_are_loaded_in_one_batch_for_the_next_list() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    for number in range(5):
        await remembered(here, adapter, f"bot-{number}")
    there = await here.another()
    listing = ListService(fleet_of([adapter]), there.keeper)

    async def launches() -> list[Any]:
        return [_launch_of(row) for row in (await listing.page(ListQuery(filter=ListFilter()), context())).items]

    assert await launches() == [None] * 5
    await settled(lambda: there.asked == ["specs"])
    assert all(launch.humanize for launch in await launches())
    assert there.asked == ["specs"]


async def test_a_missing_spec_is_remembered_for_a_while() -> None:
    """Runtimes without a spec are not loaded with every read, but another process may store a spec later."""
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    ref = adapter.reference(runtime)
    here.keeper.prefetch(adapter, ref)
    await settled(lambda: here.asked == ["specs"])
    here.keeper.prefetch(adapter, ref)
    await asyncio.sleep(0)
    assert here.asked == ["specs"]
    here.clock.time += kept.ASK_AGAIN
    here.keeper.prefetch(adapter, ref)
    await settled(lambda: here.asked == ["specs", "specs"])


async def test_a_spec_is_written_after_the_store_recovers() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    here.down = True
    runtime = await remembered(here, adapter)
    assert here.troubles == [Trouble.NOT_SAVED]
    assert _launch_of(here.keeper.fill(adapter, runtime)).humanize is True
    here.down = False
    here.clock.time += kept.REST
    here.keeper.prefetch(adapter, adapter.reference(runtime))
    await settled(lambda: here.asked == ["keep_spec", "keep_spec"])
    there = await here.another()
    assert _launch_of(await there.keeper.known(adapter, runtime)).humanize is True


async def test_the_number_of_waiting_writes_is_bounded() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    here.down = True
    for number in range(kept.MAX_WAITING + 1):
        await remembered(here, adapter, f"bot-{number}")
    assert here.troubles.count(Trouble.TOO_MANY) == 1
    here.down = False
    here.clock.time += kept.REST
    here.keeper.prefetch(adapter, RuntimeRef("home", "bot-1-1"))
    await settled(lambda: len(here.asked) >= 2 * kept.MAX_WAITING)
    assert len(here.asked) == 2 * kept.MAX_WAITING + 1


async def test_the_number_of_waiting_loads_is_bounded() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    rows = [adapter.put(f"bot-{number}", State.RUNNING) for number in range(kept.MAX_WAITING + 1)]
    here.keeper.fill_all(adapter, rows)
    assert here.troubles == [Trouble.TOO_MANY]
    await settled(lambda: len(here.asked) == kept.MAX_WAITING // kept.BATCH)
    await here.keeper.close()


async def test_a_spec_whose_key_was_removed_is_counted_and_not_shown() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter)
    there = await Kept.open(here.store)
    assert _launch_of(await there.keeper.known(adapter, runtime)) is None
    assert there.troubles == [Trouble.UNREADABLE]


async def test_a_spec_of_another_runtime_is_not_shown_even_if_its_row_was_moved() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    one = await remembered(here, adapter)
    other = adapter.put("other", State.RUNNING)
    key = key_of(adapter, "home", one.provider_id)
    sealed = (await here.store.specs(key.namespace, [one.provider_id]))[one.provider_id]
    await here.store.keep_spec(StoredSpec(key.namespace, other.provider_id, sealed))
    assert _launch_of(await here.keeper.known(adapter, other)) is None
    assert here.troubles == [Trouble.UNREADABLE]


async def test_a_spec_that_is_too_large_is_not_stored() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    await remembered(here, adapter, labels={"a": "x" * kept.LARGEST})
    assert (here.asked, here.troubles) == ([], [Trouble.TOO_LARGE])


async def test_an_empty_spec_is_not_stored() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    await here.keeper.remember(
        MadeRuntime(adapter, "home", adapter.put("agent"), create(name="agent", display_name="Agent"))
    )
    assert here.asked == []


async def test_the_spec_of_a_deleted_runtime_is_deleted() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = await remembered(here, adapter)
    await LifecycleService(fleet_of([adapter]), here.keeper).delete(runtime.id, context())
    await settled(lambda: here.asked[-2:] == ["drop_spec", "drop_kept_create"])
    assert _launch_of(await (await here.another()).keeper.known(adapter, runtime)) is None


async def test_without_a_store_nothing_is_stored_or_filled_in() -> None:
    adapter = BrowserLike("one")
    keeper = SpecKeeper(None, None, FakeClock())
    runtime = adapter.put("bot", State.RUNNING)
    await keeper.remember(MadeRuntime(adapter, "home", runtime, create("browser", name="bot", launch=LAUNCH)))
    assert keeper.fill(adapter, runtime) is runtime
    assert keeper.fill_all(adapter, [runtime]) == [runtime]
    assert await keeper.known(adapter, runtime) is runtime


def _durable(adapter: FakeAdapter, digest: str | None, labels: dict[str, str] | None = None) -> Runtime:
    return adapter.put("agent", provider_id="a1", labels=labels, durable=DurablePart(config_digest=digest))


async def test_labels_are_shown_only_while_the_config_has_their_digest() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    request = create(name="agent", labels={"team": "shop"})
    await here.keeper.remember(MadeRuntime(adapter, "home", _durable(adapter, "d1", {"team": "shop"}), request))
    assert here.keeper.fill(adapter, _durable(adapter, "d1")).labels == {"team": "shop"}
    assert here.keeper.fill(adapter, _durable(adapter, "d2")).labels is None
    assert here.keeper.fill(adapter, _durable(adapter, None)).labels is None


async def test_labels_inside_a_config_are_stored_like_top_level_labels() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    request = create(name="agent", config={"version": "v2", "metadata": {"labels": {"team": "shop"}}})
    await here.keeper.remember(MadeRuntime(adapter, "home", _durable(adapter, "d1"), request))
    assert here.keeper.fill(adapter, _durable(adapter, "d1")).labels == {"team": "shop"}


async def test_a_replaced_config_replaces_the_labels() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    document = ConfigDocument(config={"metadata": {"labels": {"team": "bank"}}}, config_digest="d2")
    here.keeper.config_replaced(adapter, RuntimeRef("home", "a1"), document)
    assert here.keeper.fill(adapter, _durable(adapter, "d2")).labels == {"team": "bank"}
    await settled(lambda: here.asked == ["keep_config", "specs", "keep_spec"])


async def test_a_config_that_another_process_replaces_keeps_the_owner() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    await here.keeper.remember(MadeRuntime(adapter, "home", _durable(adapter, "d1"), create(name="agent"), "shop"))
    assert here.keeper.fill(adapter, _durable(adapter, "d1")).owner == "shop"
    there = await here.another()
    document = ConfigDocument(config={"metadata": {"labels": {"team": "bank"}}}, config_digest="d2")
    there.keeper.config_replaced(adapter, RuntimeRef("home", "a1"), document)
    await settled(lambda: there.asked == ["keep_config", "specs", "keep_spec"])
    fresh = await here.another()
    shown = await fresh.keeper.known(adapter, _durable(adapter, "d2"))
    assert (shown.owner, shown.labels) == ("shop", {"team": "bank"})


async def test_labels_that_another_process_has_stored_are_loaded() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    request = create(name="agent", labels={"team": "shop"})
    await here.keeper.remember(MadeRuntime(adapter, "home", _durable(adapter, "d1"), request))
    there = await here.another()
    document = ConfigDocument(config={"metadata": {"labels": {"team": "bank"}}}, config_digest="d2")
    there.keeper.config_replaced(adapter, RuntimeRef("home", "a1"), document)
    await settled(lambda: there.asked == ["keep_config", "specs", "keep_spec"])
    here.clock.time += kept.ASK_AGAIN
    row = _durable(adapter, "d2")
    assert here.keeper.fill_all(adapter, [row])[0].labels is None
    await settled(lambda: here.asked[-1] == "specs")
    assert here.keeper.fill_all(adapter, [row])[0].labels == {"team": "bank"}


async def test_a_replaced_config_is_kept_sealed() -> None:
    """Also without labels and without a digest; of one that is too large, only the digest is kept."""
    here, adapter = await Kept.open(), DurableLike("one")
    await here.store.record_created(await _kept_create(here.store, "one"), "a1")
    for document, expected in (
        (ConfigDocument(config={"runtime_server": {"env": {"TOKEN": PASSWORD}}}, config_digest="d2"), "document"),
        (ConfigDocument(config={"version": "v2", "defaults": {"seed": 10**30}}), "document"),
        (ConfigDocument(config={"defaults": {"text": "x" * kept_configs.LARGEST}}, config_digest="d3"), None),
    ):
        here.asked.clear()
        here.keeper.config_replaced(adapter, RuntimeRef("home", "a1"), document)
        await settled(lambda: "keep_config" in here.asked)
        (stored,) = await here.store.kept_creates("one")
        assert stored.config is not None
        assert PASSWORD.encode() not in stored.config
        opened = kept_configs.opened(here.sealer, stored.config, "one", "a1")
        assert opened == (document.config if expected else None, document.config_digest)
        assert kept_configs.opened(here.sealer, stored.config, "one", "other") == (None, None)


async def test_a_config_is_kept_after_the_store_recovers() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    await here.store.record_created(await _kept_create(here.store, "one"), "a1")
    here.down = True
    document = ConfigDocument(config={"version": "v2"}, config_digest="d2")
    here.keeper.config_replaced(adapter, RuntimeRef("home", "a1"), document)
    await settled(lambda: here.troubles == [Trouble.NOT_SAVED])
    here.down = False
    await here.keeper.close()
    assert (await here.store.kept_creates("one"))[0].config is not None


async def _kept_create(store: MemoryStore, provider: str) -> str:
    """The id of an intent whose request is kept."""
    return begun(await store.begin(create_intent(provider=provider, request=b"x"), "me", 100)).id


@pytest.mark.parametrize("after_the_write", [False, True])
async def test_a_slow_load_does_not_overwrite_a_later_write(after_the_write: bool) -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    runtime = adapter.put("bot", State.RUNNING)
    holding: Awaitable[Any]
    release = asyncio.Event()

    async def held(method: str, answered: bool) -> None:
        if method == "specs" and answered:
            await release.wait()

    slow = MemoryStore(here.clock.now, database=here.store.database, on_call=held)
    await slow.open()
    here.keeper = SpecKeeper(slow, here.sealer, here.clock, here.troubles.append)
    here.keeper.prefetch(adapter, adapter.reference(runtime))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    holding = here.keeper.remember(MadeRuntime(adapter, "home", runtime, create("browser", name="bot", launch=LAUNCH)))
    if after_the_write:
        await holding
        release.set()
    else:
        release.set()
        await holding
    await asyncio.sleep(0)
    assert _launch_of(here.keeper.fill(adapter, runtime)).humanize is True
    await here.keeper.close()


async def asked_to_forget(here: Kept, *names: str) -> None:
    """Forget runtimes, so that writes wait."""
    adapter = BrowserLike("one")
    for name in names:
        runtime = await remembered(here, adapter, name)
        here.keeper.forget(adapter, adapter.reference(runtime))


async def test_close_writes_waiting_specs() -> None:
    here = await Kept.open()
    await asked_to_forget(here, "one", "two", "three")
    assert "drop_spec" not in here.asked
    await here.keeper.close()
    assert here.asked.count("drop_spec") == 3


async def test_close_retries_failed_writes_once() -> None:
    here = await Kept.open()
    here.down = True
    await remembered(here, BrowserLike("one"))
    here.down = False
    await here.keeper.close()
    assert here.asked == ["keep_spec", "keep_spec"]


async def test_close_tries_an_unavailable_store_once() -> None:
    here = await Kept.open()
    await asked_to_forget(here, "one", "two", "three")
    here.down = True
    await here.keeper.close()
    assert here.asked.count("drop_spec") == 1
    assert here.troubles == [Trouble.NOT_SAVED]


@simulated
async def test_close_waits_a_limited_time_for_a_write_in_progress() -> None:
    here = await Kept.open()
    loop = asyncio.get_running_loop()
    await asked_to_forget(here, "one")
    here.hold = asyncio.Event()
    await settled(lambda: "drop_spec" in here.asked)
    began = loop.time()
    await here.keeper.close()
    assert loop.time() - began == pytest.approx(kept.LAST_WRITES)


@simulated
async def test_close_does_not_wait_for_loads() -> None:
    here, adapter = await Kept.open(), BrowserLike("one")
    loop = asyncio.get_running_loop()
    here.hold = asyncio.Event()
    here.keeper.prefetch(adapter, RuntimeRef("home", "bot"))
    await settled(lambda: here.asked == ["specs"])
    began = loop.time()
    await here.keeper.close()
    assert loop.time() == began
