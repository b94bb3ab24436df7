"""What becomes of an exported runtime that is imported."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.access import Principal, Restrictions
from gateway.domain.errors import GatewayError, PermissionDenied, ProviderUnavailable, RateLimited, ValidationFailed
from gateway.domain.exports import Import, ImportRuntimes
from gateway.domain.moves import MoveState
from gateway.domain.validation import validate
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.moves import Relocations
from gateway.services.moves.importing import ImportService
from gateway.services.moves.planned import details_of, request_of
from gateway.services.moves.reading import KeptCreates
from gateway.services.moves.recreating import recreated
from gateway.services.moves.service import MoveService
from tests.contract.store.moves import GONE
from tests.memory_store import MemoryStore
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeClock, context, fleet_of, keyring

LINE: dict[str, Any] = {
    "object": "exported_runtime",
    "id": "old.agent-1",
    "kind": "durable",
    "api": "fake",
    "provider": "old",
    "scope": "home",
    "provider_id": "agent-1",
    "name": "agent",
    "owner": "shop",
    "state": "running",
    "create": {"kind": "durable", "name": "agent", "config": {"version": "v2"}},
    "bindings": [{"id": "b", "name": "search", "version": "1.0", "enabled": True, "artifact_id": "a", "flags": None}],
    "unknown": [],
}


class Gateway:
    """A gateway with the providers ``old`` and ``new``."""

    def __init__(self) -> None:
        self.old, self.new, self.browsers = (
            DurableLike("old"),
            DurableLike("new", base_url="http://new.test"),
            BrowserLike("bots"),
        )
        self.clock = FakeClock()
        self.fleet = fleet_of([self.old, self.new, BrowserLike("bots")], self.clock)
        self.store = MemoryStore(self.clock.now)
        plans = MoveService(self.fleet, self.store, keyring())
        self.imports = ImportService(self.fleet, self.store, keyring(), plans)

    async def run(self, *lines: dict[str, Any], ctx: RequestContext | None = None, **fields: Any) -> Import:
        """Import lines into ``new``."""
        body = validate(ImportRuntimes, {"provider": "new", "runtimes": list(lines) or [LINE], **fields})
        return await self.imports.run(body, ctx or context())

    async def refused(self, *lines: dict[str, Any], **fields: Any) -> list[tuple[str, str | None]]:
        """The codes and pointers of an import of which nothing is possible."""
        with pytest.raises(ValidationFailed) as caught:
            await self.run(*lines, **fields)
        return [(error.code, error.pointer) for error in caught.value.errors]


async def test_an_import_is_a_move_from_kept_creates() -> None:
    gateway = Gateway()
    done = await gateway.run()
    assert done.refused == []
    stored = await gateway.store.get_move(done.move.id)
    assert stored is not None
    assert (stored.state, stored.source, stored.target) == (MoveState.PLANNING, "old", "new")
    assert details_of(stored).apply
    request = request_of(stored, keyring())
    assert (request.source.ids, request.when, request.source_after) == (["old.agent-1"], "now", "keep")
    provider = gateway.fleet.get("old")
    assert provider is not None
    facts = [one async for one in KeptCreates(gateway.store, keyring()).of_source(provider)]
    assert [one.runtime.id for one in facts] == ["old.agent-1"]
    assert (facts[0].runtime.state, facts[0].runtime.owner) == (State.RUNNING, "shop")
    assert facts[0].kept == {"kind": "durable", "name": "agent", "config": {"version": "v2"}}
    assert [binding.name for binding in facts[0].bindings or ()] == ["search"]


async def test_a_dry_run_is_not_applied() -> None:
    gateway = Gateway()
    done = await gateway.run(dry_run=True)
    stored = await gateway.store.get_move(done.move.id)
    assert stored is not None
    assert not details_of(stored).apply


async def test_secrets_are_filled_in_and_stored_sealed() -> None:
    gateway = Gateway()
    config = {"version": "v2", "runtime_server": {"env": {"KEY": {"$secret": "KEY_1"}}}}
    line = {**LINE, "create": {**LINE["create"], "config": config}}
    assert await gateway.refused(line) == [("required", "#/secrets/KEY_1")]
    await gateway.run(line, secrets={"KEY_1": "canary"})
    (kept,) = await gateway.store.kept_creates("old")
    assert b"canary" not in kept.request
    provider = gateway.fleet.get("old")
    assert provider is not None
    facts = await KeptCreates(gateway.store, keyring()).of_runtime(provider, gateway.old.parse_reference("agent-1"))
    assert facts is not None
    assert facts.kept is not None
    assert facts.kept["config"]["runtime_server"] == {"env": {"KEY": "canary"}}


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"kind": "desktop"}, "unsupported", "kind"),
        ({"create": {"kind": "durable"}}, "required", "create/name"),
        ({"create": {"kind": "durable", "name": "-"}}, "string_pattern_mismatch", "create/name"),
        ({"create": {"kind": "durable", "name": "a", "config": 5}}, "object_type", "create/config"),
        ({"create": {"kind": "durable", "name": "a", "more": 5}}, "unknown_field", "create/more"),
        ({"create": {"kind": "browser", "name": "a"}}, "not_allowed", "create/kind"),
        ({"scope": "elsewhere"}, "invalid", "scope"),
        ({"scope": "two words"}, "invalid", "provider_id"),
        ({"provider_id": "ünknown id"}, "invalid", "provider_id"),
    ],
)
async def test_a_line_that_cannot_be_imported_is_refused(changes: dict[str, Any], code: str, where: str) -> None:
    """The others are imported."""
    gateway = Gateway()
    bad = {**LINE, "id": "old.bad", **changes}
    done = await gateway.run(LINE, bad)
    (refused,) = done.refused
    assert (refused.id, refused.problem.code, refused.problem.pointer) == ("old.bad", code, f"#/runtimes/1/{where}")
    assert [kept.runtime_id for kept in await gateway.store.kept_creates("old")] == ["agent-1"]
    assert await gateway.refused(bad) == [(code, f"#/runtimes/0/{where}")]


async def test_a_provider_that_is_not_configured_is_refused() -> None:
    assert await Gateway().refused({**LINE, "provider": "x"}) == [("provider_not_configured", "#/runtimes/0/provider")]


async def test_a_runtime_that_its_provider_still_has_is_refused() -> None:
    gateway = Gateway()
    gateway.old.put("agent", provider_id="agent-1")
    assert await gateway.refused() == [("already_exists", "#/runtimes/0/id")]
    gateway.old.world.fail("get", ProviderUnavailable("Closed."))
    assert (await gateway.run()).refused == []


async def test_a_runtime_that_cannot_be_looked_for_now_is_refused() -> None:
    gateway = Gateway()
    gateway.old.world.fail("get", RateLimited("Later."))
    assert await gateway.refused() == [("rate_limited", "#/runtimes/0/provider")]


async def test_a_runtime_that_has_moved_is_refused() -> None:
    gateway = Gateway()
    row = msgspec.structs.replace(GONE, source="old", source_id="agent-1")
    gateway.fleet.moves.update(Relocations(change=1, active=(), rows=[row], whole=True))
    assert await gateway.refused() == [("moved", "#/runtimes/0/id")]


async def test_runtimes_of_two_providers_are_refused() -> None:
    other = {**LINE, "id": "other.agent-1", "provider": "other"}
    assert await Gateway().refused(LINE, other) == [("value_error", "#")]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"provider": "other"}, "#/provider"),
        ({"scope": "elsewhere"}, "#/scope"),
        ({"provider": "old"}, "#/provider"),
        ({"provider": "bots"}, "#/provider"),
    ],
)
async def test_a_target_that_cannot_be_is_refused_at_its_member(fields: dict[str, Any], pointer: str) -> None:
    gateway = Gateway()
    with pytest.raises(ValidationFailed) as caught:
        await gateway.run(**fields)
    assert {error.pointer for error in caught.value.errors} == {pointer}


async def test_a_caller_that_sees_only_some_runtimes_cannot_import() -> None:
    ctx = RequestContext("request-1", Principal("ops", restrictions=Restrictions(providers=frozenset({"new"}))))
    with pytest.raises(PermissionDenied):
        await Gateway().run(ctx=ctx)


async def test_an_id_that_is_in_a_body_twice_is_refused() -> None:
    with pytest.raises(ValidationFailed):
        await Gateway().run(LINE, LINE)


_TEXT = st.text(max_size=8) | st.sampled_from(["durable", "browser", "old", "home", "agent-1", "a\x00b", "~", "", "-"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_TEXT, inner, max_size=3)
        | st.fixed_dictionaries({"$secret": st.sampled_from(["KEY_1", "KEY_2"])})
    ),
    max_leaves=8,
)
_CREATE = st.fixed_dictionaries(
    {"kind": st.just("durable"), "name": st.just("agent")},
    optional=dict.fromkeys(("config", "launch", "labels", "provider_options", "project", "start", "if_exists"), _JSON),
)
_LINE = {name: st.just(value) for name, value in LINE.items()} | {"create": _CREATE}
_BAD = {name: _JSON | accepted for name, accepted in _LINE.items()}


@settings(max_examples=150, deadline=None)
@given(line=st.fixed_dictionaries(_LINE) | st.fixed_dictionaries(_BAD), more=_JSON)
async def test_no_line_fails_but_by_a_refusal(line: dict[str, Any], more: Any) -> None:
    """And what is accepted is kept in a form that is read again."""
    gateway = Gateway()
    try:
        await gateway.run(line, secrets={"KEY_1": "x"}, mappings=more if isinstance(more, dict) else {})
    except GatewayError:
        return
    provider = gateway.fleet.get("old")
    assert provider is not None
    (facts,) = [one async for one in KeptCreates(gateway.store, keyring()).of_source(provider)]
    recreated(facts, provider.adapter)
