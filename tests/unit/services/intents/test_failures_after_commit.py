"""The provider makes the runtime and then responds with a failure: the runtime is found, also in the second of the
send, in which the provider's ``Date`` does not show which of the two came first."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from gateway.domain import errors
from gateway.domain.errors import AlreadyExists, GatewayError, OutcomeUnknown
from gateway.domain.intents import IntentState
from gateway.domain.runtime import Runtime
from gateway.ports.provider import Created, WireCreate
from gateway.ports.transport import Call
from gateway.services.provider_choice import Target
from tests.unit.services.fakes import context, create
from tests.unit.services.intents.creates import create_raises
from tests.unit.services.intents.scene import Durable, Keyed, Plain, Scene, error_response, live

FAILURES = {
    402: errors.InsufficientCredits,
    409: errors.AlreadyExists,
    429: errors.RateLimited,
    500: errors.OutcomeUnknown,
    503: errors.ProviderUnavailable,
}
CONFLICT = error_response(409, errors.AlreadyExists)
FOR_NOW = [error_response(402, errors.InsufficientCredits), error_response(429, errors.RateLimited)]
OFFSETS = [0.0, 0.3, 0.5, 0.999]
"""Where in the provider's second the send begins."""


class _Dated:
    """Runtimes have times, and responses a ``Date``, by the provider's clock, which is ahead of the gateway's.
    ``takes``: seconds between the arrival of a create and its commit, and again until its response."""

    scene: Scene
    takes = 0.0
    ahead = 1_000_000.0

    def put(self, name: str, *args: Any, **fields: Any) -> Runtime:
        age = fields.pop("age", 0.0)
        made = datetime.fromtimestamp(self.scene.clock.time + self.ahead - age, UTC).isoformat()
        added: Runtime = super().put(name, *args, created_at=made, **fields)  # type: ignore[misc]
        return added

    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        self.scene.clock.time += self.takes
        try:
            made: Created = await super().send_create(  # type: ignore[misc]
                wire, scope, call, idempotency_key=idempotency_key
            )
            return made
        finally:
            self.scene.clock.time += self.takes

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        now = datetime.fromtimestamp(int(self.scene.clock.time + self.ahead), UTC)
        call.provider_date = format_datetime(now, usegmt=True)
        found: Sequence[Runtime] = await super().find(scope, name, call)  # type: ignore[misc]
        return found


class DatedDurable(_Dated, Durable):
    """Deduplicates by name."""


class DatedPlain(_Dated, Plain):
    """Deduplicates nothing."""


class DatedKeyed(_Dated, Keyed):
    """Deduplicates by key."""


DATED: list[Any] = [DatedDurable, DatedPlain, DatedKeyed]


def scene_at(offset: float, adapter: Any, takes: float = 0.0) -> Scene:
    """A scene at this offset in a second; a create ``takes`` this long before and after its commit."""
    scene = Scene(adapter)
    scene.clock.time = 1000.0 + offset
    adapter.scene, adapter.takes = scene, takes
    return scene


async def until_done(scene: Scene) -> None:
    """Run the reconciler, without a caller, for an hour at most."""
    until = scene.clock.time + 3600
    while scene.intent.state is not IntentState.DONE and scene.intent.due_at is not None:
        scene.clock.time = max(scene.clock.time, scene.intent.due_at)
        assert scene.clock.time < until, scene.intent
        await scene.reconciler.settle_due()


@pytest.mark.parametrize("takes", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", ["box", None])
@pytest.mark.parametrize("status", FAILURES)
@pytest.mark.parametrize("adapter_of", DATED)
async def test_runtime_of_a_failed_create_is_found_without_its_caller(
    adapter_of: Any, status: int, name: str | None, offset: float, takes: float
) -> None:
    """See docs/fault-cases.md#fault-4."""
    adapter = adapter_of()
    scene = scene_at(offset, adapter, takes)
    adapter.lost.append(error_response(status, FAILURES[status]))
    try:
        await scene.create(name)
    except GatewayError as error:
        assert not isinstance(error, AlreadyExists)  # noqa: PT017 (also a success is right)
    await until_done(scene)
    assert (scene.intent.state, [scene.intent.runtime_id]) == (IntentState.DONE, live(adapter))
    assert scene.intent.surplus == ()


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("status", FAILURES)
@pytest.mark.parametrize("adapter_of", DATED)
async def test_runtime_of_a_failed_create_is_the_response_to_its_retry(
    adapter_of: Any, status: int, offset: float
) -> None:
    adapter = adapter_of()
    scene = scene_at(offset, adapter)
    adapter.lost.append(error_response(status, FAILURES[status]))
    for _ in range(3):
        try:
            answer = await scene.create(key="k")
        except GatewayError as error:
            assert not isinstance(error, AlreadyExists)  # noqa: PT017
        else:
            break
    assert [answer.created.runtime.provider_id] == live(adapter) == [scene.intent.runtime_id]
    assert scene.intent.state is IntentState.DONE


@pytest.mark.parametrize("takes", [0.0, 0.2, 3.0])
@pytest.mark.parametrize("offset", OFFSETS)
async def test_conflict_after_the_own_commit_returns_the_runtime_that_has_all_that_was_sent(
    offset: float, takes: float
) -> None:
    adapter = DatedDurable()
    scene = scene_at(offset, adapter, takes)
    adapter.lost.append(CONFLICT)
    answer = await scene.create(key="k", config={"version": "v2"})
    assert (answer.created.created, [answer.created.runtime.provider_id]) == (False, live(adapter))
    assert scene.intent.state is IntentState.DONE


@pytest.mark.parametrize("offset", OFFSETS)
async def test_conflict_with_an_equal_runtime_that_is_certainly_older_is_the_providers_decision(offset: float) -> None:
    """The provider compares more than the gateway sees."""
    adapter = DatedDurable()
    scene = scene_at(offset, adapter)
    adapter.put("box", age=2.0)
    adapter.world.fail("create", CONFLICT)
    await create_raises(scene, AlreadyExists)
    assert scene.intent.state is IntentState.REFUSED


@pytest.mark.parametrize(
    ("theirs", "sent", "differs"),
    [
        (
            {"version": "v2", "resources": {"cpu_cores": 4}},
            {"resources": {"cpu_cores": 8}},
            "#/config/resources/cpu_cores",
        ),
        ({"version": "v2", "resources": {"cpu_cores": 4}}, {"version": "v2"}, None),
    ],
)
@pytest.mark.parametrize("offset", OFFSETS)
async def test_conflict_with_a_differing_runtime_of_the_same_second_already_exists(
    offset: float, theirs: dict[str, Any], sent: dict[str, Any], differs: str | None
) -> None:
    adapter = DatedDurable()
    scene = scene_at(offset, adapter)
    adapter.world.configs[adapter.put("box").provider_id] = theirs
    adapter.world.fail("create", CONFLICT)
    error = await create_raises(scene, AlreadyExists, config=sent)
    assert [fault.pointer for fault in error.errors] == ([differs] if differs else [])
    assert scene.intent.state is IntentState.REFUSED


async def test_conflict_with_a_runtime_whose_config_cannot_be_read_is_unknown() -> None:
    adapter = DatedDurable()
    scene = scene_at(0.5, adapter)
    adapter.lost.append(CONFLICT)
    adapter.world.fail("get_config", error_response(503, errors.ProviderUnavailable))
    await create_raises(scene, OutcomeUnknown)
    answer = await scene.create(key="k")
    assert ([answer.created.runtime.provider_id], scene.intent.state) == (live(adapter), IntentState.DONE)


async def test_conflict_after_the_own_commit_is_unknown_if_the_caller_accepts_no_existing_runtime() -> None:
    """The provider's response to the same request then shows whose it is."""
    adapter = DatedDurable()
    scene = scene_at(0.5, adapter)
    adapter.lost.append(CONFLICT)
    await create_raises(scene, OutcomeUnknown, if_exists="fail")
    answer = await scene.create(key="k", if_exists="fail")
    assert (answer.created.created, scene.intent.state) == (True, IntentState.DONE)


@pytest.mark.parametrize("failure", FOR_NOW)
@pytest.mark.parametrize("age", [-600.0, -0.5, 0.0, 0.4])
async def test_runtime_of_others_with_another_config_is_not_found_after_a_refusal(
    age: float, failure: GatewayError
) -> None:
    """It was made natively at about the time of the send, or later."""
    adapter = DatedDurable()
    scene = scene_at(0.5, adapter)
    adapter.world.fail("create", failure)
    await create_raises(scene, type(failure), config={"resources": {"cpu_cores": 8}})
    adapter.world.configs[adapter.put("box", age=age).provider_id] = {"version": "v2"}
    for _ in range(5):
        await scene.settle(after=600)
    assert scene.intent.state is IntentState.ABSENT


@pytest.mark.parametrize("failure", FOR_NOW)
async def test_equal_runtime_that_is_certainly_older_is_not_found_after_a_refusal(failure: GatewayError) -> None:
    adapter = DatedDurable()
    scene = scene_at(0.5, adapter)
    adapter.put("box", age=5.0)
    adapter.world.fail("create", failure)
    await create_raises(scene, type(failure))
    for _ in range(5):
        await scene.settle(after=600)
    assert scene.intent.state is IntentState.ABSENT


@pytest.mark.parametrize("made", [True, False])
async def test_conflict_of_a_dialects_create_is_passed_on_unless_it_follows_the_own_commit(made: bool) -> None:
    """A dialect leaves the comparison with an older runtime to the provider."""
    adapter = DatedDurable()
    scene = scene_at(0.5, adapter)
    if made:
        adapter.lost.append(CONFLICT)
    else:
        adapter.put("box", age=2.0)
        adapter.world.fail("create", CONFLICT)
    provider = scene.fleet.get("one")
    assert provider is not None
    creating = scene.creates.create_at(Target(provider, "home"), create(name="box"), context("alice"), "k")
    if made:
        answer = await creating
        assert (answer.created, [answer.runtime.provider_id]) == (False, live(adapter))
        assert scene.intent.state is IntentState.DONE
    else:
        with pytest.raises(AlreadyExists) as caught:
            await creating
        assert caught.value is CONFLICT
        assert scene.intent.state is IntentState.REFUSED
