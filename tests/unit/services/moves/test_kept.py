"""What is known of runtimes from their kept creates."""

from typing import Any

import msgspec
import pytest

from gateway.domain.errors import GatewayError, NotFound, ProviderFailure, ProviderUnavailable, StateConflict
from gateway.domain.ids import RuntimeRef
from gateway.domain.intents import namespace_of
from gateway.domain.runtime import CapabilityBinding, ConfigDocument
from gateway.domain.values import State
from gateway.ports.moves import StoredCreate
from gateway.services.moves.reading import (
    ImportedCreate,
    KeptCreates,
    KeptReader,
    LiveReader,
    SourceFacts,
    cell_of_import,
)
from gateway.services.moves.recreating import recreated
from gateway.services.specs import SpecKeeper
from gateway.storage.sealing import Keyring, new_key
from tests.unit.services.fakes import FakeAdapter, context
from tests.unit.services.intents.scene import Durable, Plain, Scene

CONFIG = {"version": "v2", "runtime_server": {"env": {"KEY": "canary"}}}
BINDING = CapabilityBinding(id="b1", name="search", version="1.0", enabled=True, artifact_id="a1")


class Known:
    """A gateway that keeps creates, and what reads them."""

    def __init__(self, adapter: FakeAdapter) -> None:
        self.adapter = adapter
        self.scene = Scene(adapter)
        self.specs = SpecKeeper(self.scene.store, self.scene.sealer, self.scene.clock)
        self.scene.restart(specs=self.specs)
        self.kept = KeptCreates(self.scene.store, self.scene.sealer)
        (self.provider,) = self.scene.fleet

    async def listed(self, scope: str | None = None, adapter: FakeAdapter | None = None) -> list[SourceFacts]:
        """All that is known of the provider's runtimes."""
        provider = self.provider
        if adapter is not None:
            self.scene.fleet.replace([adapter])
            (provider,) = self.scene.fleet
        return [facts async for facts in self.kept.of_source(provider, scope)]

    async def read(self, ref: RuntimeRef) -> SourceFacts:
        """As a mover reads it."""
        reader = KeptReader(LiveReader(self.scene.fleet, self.specs), self.kept)
        return await reader.read(self.provider, ref, context())

    async def imported(self, runtime_id: str, known: ImportedCreate) -> RuntimeRef:
        """The address of a runtime that was imported."""
        sealed = self.scene.sealer.seal(msgspec.json.encode(known), cell_of_import("one", runtime_id))
        namespace = namespace_of("fake", self.adapter.settings.address, "", "home")
        line = StoredCreate(
            provider="one",
            runtime_id=runtime_id,
            scope="home",
            kind="durable",
            name="box",
            namespace=namespace,
            intent_id="",
            principal="shop",
            created_at=0.0,
            request=sealed,
        )
        await self.scene.store.keep_create(line)
        return RuntimeRef("home", runtime_id)


async def test_the_creates_of_a_source_are_listed_with_what_was_sent() -> None:
    known = Known(Durable())
    fields: dict[str, Any] = {"display_name": "Box", "labels": {"team": "shop"}, "config": CONFIG}
    first = await known.scene.create("a-box", **fields)
    await known.scene.create("b-box", principal="bob")
    found = await known.listed()
    assert [(facts.runtime.name, facts.runtime.owner) for facts in found] == [("a-box", "alice"), ("b-box", "bob")]
    runtime = found[0].runtime
    assert (runtime.id, runtime.scope, runtime.state) == (first.created.runtime.id, "home", State.UNKNOWN)
    assert (found[0].live, found[0].bindings) == (False, None)
    create, unknown = recreated(found[0], known.adapter)
    assert create == {"kind": "durable", "name": "a-box", **fields}
    assert unknown == []
    assert await known.listed("elsewhere") == []


async def test_the_last_config_is_that_of_the_source() -> None:
    known = Known(Durable())
    made = await known.scene.create("box", labels={"team": "shop"}, config=CONFIG)
    ref = known.adapter.reference(made.created.runtime)
    later = {"version": "v2", "metadata": {"labels": {"team": "bank"}}}
    known.specs.config_replaced(known.adapter, ref, ConfigDocument(config=later, config_digest="d2"))
    await known.specs.close()
    (facts,) = await known.listed()
    assert facts.config == ConfigDocument(config=later, config_digest="d2")
    create, unknown = recreated(facts, known.adapter)
    assert create == {"kind": "durable", "name": "box", "config": later}
    assert unknown == []


async def test_a_config_of_which_only_the_digest_is_kept_is_unknown() -> None:
    known = Known(Durable())
    made = await known.scene.create("box", config=CONFIG)
    ref = known.adapter.reference(made.created.runtime)
    large = ConfigDocument(config={"defaults": {"model": "x" * 100_000}}, config_digest="d2")
    known.specs.config_replaced(known.adapter, ref, large)
    await known.specs.close()
    (facts,) = await known.listed()
    create, unknown = recreated(facts, known.adapter)
    assert create == {"kind": "durable", "name": "box"}
    assert unknown == ["#/config"]


async def test_creates_that_were_sent_to_another_address_are_not_listed() -> None:
    known = Known(Durable())
    await known.scene.create("box")
    assert await known.listed(adapter=Durable(base_url="http://other.test")) == []
    assert len(await known.listed(adapter=Durable(base_url="http://fake.test/"))) == 1


async def test_a_create_whose_key_was_removed_is_left_out() -> None:
    known = Known(Durable())
    await known.scene.create("box")
    known.kept = KeptCreates(known.scene.store, Keyring([new_key()]))
    assert await known.listed() == []


async def test_a_live_runtime_has_what_only_its_create_says() -> None:
    known = Known(Plain())
    made = await known.scene.create("box", launch={"mode": "ephemeral"})
    facts = await known.read(known.adapter.reference(made.created.runtime))
    assert facts.live
    assert facts.kept is not None
    assert facts.kept["launch"] == {"mode": "ephemeral"}


@pytest.mark.parametrize("method", ["get", "get_config"])
async def test_a_source_that_cannot_be_asked_is_replaced_by_the_kept_create(method: str) -> None:
    known = Known(Durable())
    made = await known.scene.create("box", config=CONFIG)
    ref = known.adapter.reference(made.created.runtime)
    known.adapter.world.fail(method, ProviderUnavailable("Closed.", failure=ProviderFailure("one")))
    facts = await known.read(ref)
    assert (facts.live, facts.config, facts.kept and facts.kept["config"]) == (False, None, CONFIG)


@pytest.mark.parametrize("error", [NotFound("Gone."), StateConflict("Busy.")])
async def test_the_error_of_a_source_that_answers_is_raised(error: GatewayError) -> None:
    known = Known(Durable())
    made = await known.scene.create("box")
    known.adapter.world.fail("get", error)
    with pytest.raises(type(error)):
        await known.read(known.adapter.reference(made.created.runtime))


async def test_the_error_of_a_source_of_which_nothing_is_kept_is_raised() -> None:
    known = Known(Durable())
    known.adapter.world.fail("get", ProviderUnavailable("Closed."))
    with pytest.raises(ProviderUnavailable):
        await known.read(RuntimeRef("home", "x"))


async def test_an_imported_create_stands_for_a_runtime_that_is_gone() -> None:
    known = Known(Durable())
    create = {"kind": "durable", "name": "box", "config": CONFIG}
    ref = await known.imported("r1", ImportedCreate(create=create, bindings=[BINDING], state=State.RUNNING))
    facts = await known.read(ref)
    assert (facts.live, facts.runtime.state, facts.runtime.owner) == (False, State.RUNNING, "shop")
    assert facts.bindings == [BINDING]
    assert recreated(facts, known.adapter)[0] == create
    assert [found.runtime.provider_id for found in await known.listed()] == ["r1"]
