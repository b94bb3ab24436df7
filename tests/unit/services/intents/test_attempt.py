"""What is concluded from the end of a send, and written down."""

from collections.abc import Sequence

import pytest

from gateway.domain import errors
from gateway.domain.errors import GatewayError, OutcomeUnknown, Retryable
from gateway.domain.intents import IntentState
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.transport import Call
from tests.unit.services.intents.scene import LOST, REFUSED, Durable, Failure, Keyed, Plain, Scene, W, asked, live, said

Adapter = type[Durable | Plain | Keyed]
ALL = [Durable, Plain, Keyed]
CONFLICT = said(409, errors.AlreadyExists)


async def told(scene: Scene, error: type[GatewayError], **options: object) -> GatewayError:
    """The error that a create of the key ``k`` is answered with."""
    with pytest.raises(error) as caught:
        await scene.create(key="k", **options)  # type: ignore[arg-type]
    assert type(caught.value) is error
    return caught.value


async def unknown(adapter: Durable | Plain | Keyed, *, made: bool) -> Scene:
    """A create whose answer was lost; ``made``: it was carried out."""
    (adapter.lost if made else adapter.world.failures.setdefault("create", [])).append(LOST)  # type: ignore[arg-type]
    scene = Scene(adapter)
    await told(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN
    return scene


@pytest.mark.parametrize("adapter_of", ALL)
async def test_what_was_made_is_done_and_its_answer_kept(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    scene = Scene(adapter)
    answer = (await scene.create(key="k")).created
    intent = scene.intent
    assert (intent.state, intent.runtime_id) == (IntentState.DONE, answer.runtime.provider_id)
    assert scene.context.payloads.outcome(intent) == answer
    assert scene.heard.told == [("settled", IntentState.DONE, False)]


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize(
    "failure",
    [
        REFUSED,
        said(400, errors.InvalidRequest),
        said(401, errors.ProviderCredentialsRejected),
        said(403, errors.PermissionDenied),
        said(404, errors.NotFound),
        errors.ValidationFailed("before sending"),
    ],
)
async def test_a_refusal_that_proves_that_nothing_was_made_is_told_as_it_was(
    adapter_of: Adapter, failure: Failure
) -> None:
    adapter = adapter_of()
    adapter.world.fail("create", failure)
    scene = Scene(adapter)
    expected = type(failure) if isinstance(failure, GatewayError) else errors.ProviderUnavailable
    await told(scene, expected)
    assert (scene.intent.state, scene.intent.due_at) == (IntentState.REFUSED, None)
    assert asked(adapter) == 1


UNCLEAR: list[Failure] = [
    LOST,
    said(500, OutcomeUnknown),
    said(408, OutcomeUnknown),
    said(503, errors.ProviderUnavailable),
    said(307, errors.ProviderBadResponse),
    said(403, errors.PermissionDenied, own=False),
    said(429, errors.RateLimited, own=False),
    said(201, OutcomeUnknown),
]


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("failure", UNCLEAR)
async def test_anything_unclear_is_unknown_and_told_with_all_that_is_needed_to_ask_again(
    adapter_of: Adapter, failure: Failure
) -> None:
    adapter = adapter_of()
    adapter.lost.append(failure)
    scene = Scene(adapter)
    error = await told(scene, OutcomeUnknown)
    assert error.extra == {"intent": scene.intent.id, "name": "box", "idempotency_key": "k"}
    assert (error.retryable, error.provider) == (Retryable.SAME_REQUEST, "one")
    assert scene.intent.state is IntentState.UNKNOWN
    assert scene.intent.due_at is not None
    assert scene.heard.told == [("unknown", IntentState.UNKNOWN)]


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("failure", [said(402, errors.InsufficientCredits), said(429, errors.RateLimited)])
async def test_a_refusal_for_now_is_told_as_it_was_and_makes_the_create_absent(
    adapter_of: Adapter, failure: GatewayError
) -> None:
    adapter = adapter_of()
    adapter.world.fail("create", failure)
    scene = Scene(adapter)
    assert await told(scene, type(failure)) is failure
    assert scene.intent.state is IntentState.ABSENT
    looks = 0 if adapter_of is Durable else 2
    assert asked(adapter, "find") == looks, "one before, and one after, where the name is not ensured"
    made = await scene.create(key="k")
    assert (made.created.created, made.replayed, len(live(adapter))) == (True, False, 1)
    assert len({wire.body for wire in adapter.sent}) == 1, "byte for byte"
    assert len(set(adapter.world.keys)) == 1


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_a_refusal_for_now_that_made_something_is_found_out_by_the_look(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    adapter.lost.append(said(429, errors.RateLimited))
    scene = Scene(adapter)
    made = (await scene.create(key="k")).created
    assert made.created
    assert [made.runtime.provider_id] == live(adapter)
    assert (made.runtime.adopted is True) == (adapter_of is Plain)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, made.runtime.provider_id)


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_a_refusal_for_now_after_which_nobody_can_look_is_unknown(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    adapter.lost.append(said(429, errors.RateLimited))
    adapter.world.fail("find", None, said(503, errors.ProviderUnavailable))
    scene = Scene(adapter)
    await told(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN


async def test_two_that_fit_are_for_nobody_to_choose_from() -> None:
    adapter = Plain()

    async def twice() -> None:
        adapter.put("box", State.RUNNING)

    adapter.world.before["create"] = twice
    adapter.lost.append(said(429, errors.RateLimited))
    scene = Scene(adapter)
    await told(scene, OutcomeUnknown)
    assert (scene.intent.state, scene.intent.reason) == (IntentState.UNKNOWN, "several")


async def test_two_of_one_marker_are_one_runtime_and_a_surplus() -> None:
    adapter = Keyed()
    adapter.lost.append(said(429, errors.RateLimited))
    scene = Scene(adapter)

    async def committed_twice() -> None:
        second = adapter.put("box", State.RUNNING)
        adapter.markers[second.provider_id] = scene.intent.id

    adapter.world.before["create"] = committed_twice
    made = (await scene.create(key="k")).created
    (surplus,) = set(live(adapter)) - {made.runtime.provider_id}
    assert scene.intent.surplus == (surplus,)
    assert ("surplus", surplus) in scene.heard.told


@pytest.mark.parametrize("adapter_of", [Durable, Keyed])
@pytest.mark.parametrize(
    "refusal",
    [
        REFUSED,
        said(401, errors.ProviderCredentialsRejected),
        said(400, errors.InvalidRequest),
        said(402, errors.InsufficientCredits),
        said(429, errors.RateLimited),
        said(500, OutcomeUnknown),
    ],
)
@pytest.mark.parametrize("made", [True, False])
async def test_a_refusal_of_a_replay_proves_nothing_about_the_first(
    adapter_of: Adapter, refusal: Failure, made: bool
) -> None:
    """Case 6."""
    adapter = adapter_of()
    scene = await unknown(adapter, made=made)
    if made:
        lags(adapter)
    adapter.world.fail("create", refusal)
    await told(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN
    shows(adapter)
    answer = await scene.create(key="k")
    assert (answer.created.created, len(live(adapter))) == (True, 1)
    assert len(set(adapter.world.keys)) == 1


def lags(adapter: Durable | Plain | Keyed, calls: int = 99) -> None:
    """Let the next looks fail: what they would show is not to be seen yet."""
    adapter.world.fail("find", *[said(503, errors.ProviderUnavailable)] * calls)


def shows(adapter: Durable | Plain | Keyed) -> None:
    """Looks show everything again."""
    adapter.world.failures.pop("find", None)


async def test_a_replay_that_is_answered_with_our_own_runtime_is_the_create() -> None:
    """Case 7: the provider says that it was there, and it was not before the first send."""
    adapter = Durable()
    scene = await unknown(adapter, made=True)
    answer = await scene.create(key="k")
    assert (answer.created.created, answer.replayed) == (True, False)
    assert scene.intent.runtime_id == answer.created.runtime.provider_id


@pytest.mark.parametrize("adapter_of", [Durable, Keyed])
async def test_a_conflict_of_a_replay_with_our_own_runtime_is_the_create(adapter_of: Adapter) -> None:
    """Cases 7 and 8: its config was replaced natively, or the key was forgotten. A look tells."""
    adapter = adapter_of()
    scene = await unknown(adapter, made=True)
    if isinstance(adapter, Keyed):
        adapter.by_key.clear()
        adapter.world.fail("find", None)
        assert asked(adapter, "find") == 1
    adapter.world.fail("create", CONFLICT)
    answer = await scene.create(key="k")
    assert (answer.created.created, live(adapter)) == (True, [answer.created.runtime.provider_id])
    assert scene.intent.state is IntentState.DONE


@pytest.mark.parametrize("adapter_of", ALL)
async def test_a_conflict_that_nothing_explains_is_unknown(adapter_of: Adapter) -> None:
    for look_fails in (True, False):
        adapter = adapter_of()
        adapter.world.fail("create", CONFLICT)
        before = [] if adapter_of is Durable else [None]
        adapter.world.fail("find", *before, *([said(503, errors.ProviderUnavailable)] if look_fails else []))
        scene = Scene(adapter)
        await told(scene, OutcomeUnknown)
        assert scene.intent.state is IntentState.UNKNOWN


OTHERWISE = [
    said(409, errors.StateConflict),
    said(409, errors.QuotaExceeded),
    said(409, errors.CapacityExceeded),
]


@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("failure", OTHERWISE)
async def test_a_conflict_with_something_else_than_the_name_is_told_as_it_was(
    adapter_of: Adapter, failure: GatewayError, stopped: bool
) -> None:
    adapter = adapter_of()
    if stopped:
        adapter.put("box", State.STOPPED)
    adapter.world.fail("create", failure)
    scene = Scene(adapter)
    assert await told(scene, type(failure)) is failure
    assert scene.intent.state is IntentState.ABSENT


@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "failure",
    [
        said(409, errors.IdempotencyInProgress),
        said(409, errors.IdempotencyKeyReused),
        said(409, OutcomeUnknown),
        said(409, errors.ProviderBadResponse),
    ],
)
async def test_a_conflict_about_our_own_key_is_no_refusal_whatever_had_the_name_before(
    failure: GatewayError, first: bool, stopped: bool
) -> None:
    """The provider may be carrying out the first send in this moment. One that takes this for a refusal would come
    back with another key, and have two runtimes."""
    adapter = Keyed()
    if stopped:
        adapter.put("box", State.STOPPED)
    scene = Scene(adapter) if first else await unknown(adapter, made=False)
    adapter.world.fail("create", failure)
    await told(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN
    await scene.create(key="k")
    assert len(set(adapter.world.keys)) == 1


async def test_a_conflict_of_a_replay_with_what_is_stopped_may_be_with_our_own_that_is_not_shown_yet() -> None:
    adapter = Keyed()
    adapter.put("box", State.STOPPED)
    scene = await unknown(adapter, made=False)
    adapter.world.fail("create", CONFLICT)
    await told(scene, OutcomeUnknown)
    assert scene.intent.state is IntentState.UNKNOWN


@pytest.mark.parametrize("adapter_of", [Plain, Keyed])
async def test_what_had_the_name_before_is_told_and_nothing_is_sent(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    there = adapter.put("box", State.RUNNING)
    scene = Scene(adapter)
    answer = await scene.create(key="k")
    assert (answer.created.created, answer.created.runtime.id, asked(adapter)) == (False, there.id, 0)
    with pytest.raises(errors.AlreadyExists):
        await scene.create(key="other", if_exists="fail")
    assert scene.states == [IntentState.DONE, IntentState.REFUSED]


async def test_a_foreign_namesake_that_differs_does_not_prove_that_a_lost_create_made_nothing() -> None:
    """It is told of, and the lost one stays to be found out: its commit may be yet to come."""
    adapter = Keyed()
    adapter.world.fail("create", LOST)
    scene = Scene(adapter)
    await told(scene, OutcomeUnknown, if_exists="fail")
    adapter.put("box", State.RUNNING)
    await told(scene, errors.AlreadyExists, if_exists="fail")
    assert (scene.intent.state, asked(adapter)) == (IntentState.UNKNOWN, 1)


@pytest.mark.parametrize("if_exists", ["fail", "return"])
async def test_a_replay_that_a_provider_refuses_because_of_a_foreign_namesake_is_refused(if_exists: str) -> None:
    """Case 8: it keeps names unique, so that the lost one cannot come after it."""
    adapter = Keyed()
    scene = Scene(adapter)
    adapter.world.fail("create", LOST)
    await told(scene, OutcomeUnknown, if_exists=if_exists)

    async def somebody_takes_it() -> None:
        adapter.put("box", State.RUNNING)

    adapter.world.before["create"] = somebody_takes_it
    adapter.world.fail("create", CONFLICT)
    if if_exists == "fail":
        await told(scene, errors.AlreadyExists, if_exists="fail")
        assert scene.intent.state is IntentState.REFUSED
    else:
        assert not (await scene.create(key="k", if_exists="return")).created.created


async def test_what_is_refused_after_it_was_absent_is_still_looked_for() -> None:
    """A presumption may be wrong: late evidence is taken."""
    adapter = Keyed()
    adapter.world.fail("create", said(429, errors.RateLimited))
    scene = Scene(adapter)
    await told(scene, errors.RateLimited, if_exists="fail")
    adapter.put("box", State.RUNNING)
    await told(scene, errors.AlreadyExists, if_exists="fail")
    assert scene.intent.state is IntentState.REFUSED
    late = adapter.put("box", State.RUNNING)
    adapter.markers[late.provider_id] = scene.intent.id
    await scene.settle(after=W)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, late.provider_id)


@pytest.mark.parametrize("failure", [REFUSED, said(400, errors.InvalidRequest)])
async def test_a_refusal_after_absent_leaves_it_absent(failure: Failure) -> None:
    adapter = Plain()
    scene = await unknown(adapter, made=False)
    while scene.intent.state is IntentState.UNKNOWN:
        await scene.settle(after=W)
    assert scene.intent.state is IntentState.ABSENT
    adapter.world.fail("create", failure)
    expected = type(failure) if isinstance(failure, GatewayError) else errors.ProviderUnavailable
    await told(scene, expected)
    assert scene.intent.state is IntentState.ABSENT
    assert (await scene.create(key="k")).created.created


async def test_without_a_look_before_nothing_is_sent_where_nothing_dedupes() -> None:
    adapter = Plain()
    adapter.world.fail("find", said(503, errors.ProviderUnavailable))
    scene = Scene(adapter)
    await told(scene, errors.ProviderUnavailable)
    assert (asked(adapter), scene.intent.state) == (0, IntentState.REFUSED)


async def test_what_was_seen_before_the_send_is_on_disk_before_anything_is_sent() -> None:
    adapter = Plain()
    stopped = adapter.put("box", State.STOPPED)
    scene = Scene(adapter)
    before = []

    async def note() -> None:
        before.append(scene.intent.before)

    adapter.world.before["create"] = note
    await scene.create(key="k")
    assert [seen.found for seen in before if seen] == [(stopped.provider_id,)]


async def test_a_name_that_was_just_made_up_is_not_looked_for() -> None:
    adapter = Plain()
    await Scene(adapter).create(name=None)
    assert adapter.world.asked == ["create"]


async def test_a_start_that_follows_is_asked_for_only_once_the_runtime_is_on_disk() -> None:
    adapter = Durable()
    scene = Scene(adapter)
    states = []

    async def note() -> None:
        states.append((scene.intent.state, scene.intent.outcome))

    adapter.world.before["start"] = note
    answer = await scene.create(key="k", start=True)
    assert states == [(IntentState.DONE, None)]
    assert scene.context.payloads.outcome(scene.intent) == answer.created
    assert answer.created.runtime.state is State.RUNNING


@pytest.mark.parametrize(("adapter_of", "looks_again"), [(Durable, False), (Plain, True), (Keyed, False)])
async def test_what_may_have_been_doubled_on_its_way_is_looked_for_once_more(
    adapter_of: Adapter, looks_again: bool
) -> None:
    scene = Scene(adapter_of())
    await scene.create(key="k")
    assert scene.intent.due_at == (scene.clock.time + W if looks_again else None)
    assert (scene.intent.request is not None) == looks_again, "what is found is compared with it"


@pytest.mark.parametrize("adapter_of", ALL)
@pytest.mark.parametrize("created", [True, False])
async def test_an_answer_with_another_name_is_settled_by_looking_for_the_name_that_was_sent(
    adapter_of: Adapter, created: bool
) -> None:
    adapter = adapter_of()
    other = adapter.put("theirs", provider_id="theirs-1")
    adapter.others.append(other)
    adapter.says_created = created
    scene = Scene(adapter)
    answer = (await scene.create(key="k")).created
    assert (answer.runtime.name, answer.created) == ("box", True)
    assert answer.runtime.provider_id != other.provider_id
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.DONE, answer.runtime.provider_id)
    assert asked(adapter) == 1
    assert scene.heard.told == [("misanswered", "theirs-1"), ("settled", IntentState.DONE, False)]


@pytest.mark.parametrize("adapter_of", ALL)
async def test_an_answer_with_another_name_is_unknown_while_the_name_that_was_sent_is_not_found(
    adapter_of: Adapter,
) -> None:
    adapter = adapter_of()
    adapter.others.append(adapter.put("theirs", provider_id="theirs-1"))
    scene = Scene(adapter)
    adapter.hides_all = True
    error = await told(scene, OutcomeUnknown)
    assert (error.retryable, error.provider) == (Retryable.SAME_REQUEST, "one")
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.UNKNOWN, None)
    assert [attempt.made for attempt in scene.intent.attempts] == [None]
    adapter.hides_all = False
    made = (await scene.create(key="k")).created
    assert (made.runtime.name, made.created) == ("box", True)
    assert len([row for row in live(adapter) if row != "theirs-1"]) == 1


@pytest.mark.parametrize("adapter_of", ALL)
async def test_an_answer_with_another_name_is_unknown_when_the_look_up_fails(adapter_of: Adapter) -> None:
    adapter = adapter_of()
    adapter.others.append(adapter.put("theirs", provider_id="theirs-1"))
    scene = Scene(adapter)
    looks_before = [] if adapter_of is Durable else [None]
    adapter.world.failures["find"] = [*looks_before, said(503, errors.ProviderUnavailable)]
    await told(scene, OutcomeUnknown)
    assert (scene.intent.state, scene.intent.runtime_id) == (IntentState.UNKNOWN, None)


async def test_an_answer_with_another_name_tells_nothing_of_a_runtime_that_had_the_name_before() -> None:
    class Dated(Durable):
        async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
            call.provider_date = "Sat, 03 Jan 2026 10:00:00 GMT"
            return await super().find(scope, name, call)

    adapter = Dated()
    before = adapter.put("box", provider_id="box-0", created_at="2020-01-01T00:00:00Z")
    adapter.others.append(adapter.put("theirs", provider_id="theirs-1"))
    scene = Scene(adapter)
    answer = (await scene.create(key="k")).created
    assert (answer.runtime.provider_id, answer.created) == (before.provider_id, False)


async def test_an_answer_without_a_name_proves_nothing() -> None:
    adapter = Plain()
    adapter.others.append(adapter.put(None, provider_id="nameless"))  # type: ignore[arg-type]
    scene = Scene(adapter)
    assert (await scene.create(key="k")).created.runtime.provider_id != "nameless"
