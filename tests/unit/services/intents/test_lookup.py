"""Which found runtimes are a create's own: by markers, or by their ages, which do not depend on two clocks agreeing."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.intents import Intent, IntentAttempt, IntentState, Look
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import BrowserPart, DurablePart, Runtime
from gateway.domain.values import Kind, State
from gateway.ports.provider import Seen
from gateway.services.fleet import Provider
from gateway.services.intents.lookup import LookupResult, find_by_name, match_own, moment_of_header, needs_precheck
from gateway.services.intents.targets import ResolvedTarget
from gateway.services.provider_choice import Target
from tests.contract.store.subject import create as an_intent
from tests.contract.store.subject import identity
from tests.unit.services.fakes import FakeAdapter, context, create, fleet_of
from tests.unit.services.intents.scene import Durable, Keyed, Plain

SENT_AT = 1_000_000.0  # by the database's clock
SKEWS = [0.0, 60.0, -60.0, 600.0, -600.0]


def target_of(adapter: FakeAdapter) -> ResolvedTarget:
    return ResolvedTarget(Target(Provider(adapter), "home"), "there", "")


def intent(*, epoch: int = 1, before: tuple[str, ...] | None = (), sends: tuple[float, ...] = (SENT_AT,)) -> Intent:
    attempts = tuple(IntentAttempt(epoch=n + 1, target="t", first_send=at, last_send=at) for n, at in enumerate(sends))
    rest: dict[str, Any] = {"created_at": SENT_AT, "updated_at": SENT_AT, "looks": (), "attempts": attempts}
    look_before = None if before is None else Look(SENT_AT, before)
    known = identity(an_intent("box", before=look_before))
    return Intent(
        **known | {"id": "in_1"},
        **rest,
        state=IntentState.OPEN,
        epoch=epoch,
        holder=None,
        lease_until=None,
        due_at=None,
    )


def runtime(provider_id: str = "r-1", at: float | None = None, kind: Kind = Kind.BROWSER, **fields: Any) -> Runtime:
    """A runtime that was made at this time of the provider's clock."""
    made = None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
    known = {"id": f"one.{provider_id}", "provider": "one", "scope": "home", "name": "box", "state": State.RUNNING}
    part = {"browser": BrowserPart()} if kind is Kind.BROWSER else {"durable": DurablePart()}
    return Runtime(**known | {"kind": kind, "provider_id": provider_id, "created_at": made} | part | fields)


def found(
    result: LookupResult, adapter: FakeAdapter | None = None, of: Intent | None = None, **options: Any
) -> list[str]:
    options = {"now": SENT_AT + 10.0, "request": None, **options}
    return [
        seen.runtime.provider_id for seen in match_own(target_of(adapter or Plain()), of or intent(), result, **options)
    ]


def seen(*runtimes: Runtime, provider_now: float | None = None) -> LookupResult:
    return LookupResult([Seen(one) for one in runtimes], provider_now)


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize(("made", "is_own"), [(0.0, True), (0.4, True), (9.0, True), (-3.0, False), (-300.0, False)])
def test_runtime_made_since_the_send_is_recognised_by_its_age_whatever_the_clock_skew(
    made: float, is_own: bool, skew: float
) -> None:
    """The send was ten seconds ago by the database's clock; the age of a runtime is by the provider's clock."""
    sent_there = SENT_AT + skew
    result = seen(runtime(at=sent_there + made), provider_now=float(int(sent_there + 10.0)))
    assert found(result) == (["r-1"] if is_own else [])


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize(("made", "is_own"), [(2.0, True), (1.0, True), (0.0, False), (-2.0, False)])
def test_after_a_refusal_only_a_runtime_that_is_certainly_younger_is_own(
    made: float, is_own: bool, skew: float
) -> None:
    """The provider's time is in whole seconds: a runtime made in the second of the send may be older than the send."""
    sent_there = SENT_AT + skew
    result = seen(runtime(at=sent_there + made), provider_now=sent_there + 10.0)
    assert found(result, refused=True) == (["r-1"] if is_own else [])


def test_after_a_refusal_clock_uncertainty_counts_against_a_runtime() -> None:
    result = seen(runtime(at=SENT_AT + 3.0), provider_now=SENT_AT + 10.0)
    assert found(result, refused=True, slack=2.0) == ["r-1"]
    assert found(result, refused=True, slack=2.5) == []
    assert found(result, slack=2.5) == ["r-1"]


@given(skew=st.floats(-600, 600), age=st.floats(0, 10), took=st.floats(0, 30))
def test_every_runtime_made_between_send_and_look_up_is_own(skew: float, age: float, took: float) -> None:
    looked_up_at = SENT_AT + 10.0 + took
    made = looked_up_at - min(age, looked_up_at - SENT_AT)
    result = seen(runtime(at=made + skew), provider_now=float(int(looked_up_at + skew)))
    assert found(result, now=looked_up_at) == ["r-1"]


@pytest.mark.parametrize("at", [None, SENT_AT + 100.0])
@pytest.mark.parametrize(("before", "epoch", "is_own"), [((), 1, True), (None, 1, False), (None, 2, True)])
def test_without_plausible_times_a_runtime_is_own_if_the_name_was_looked_up_before(
    at: float | None, before: tuple[str, ...] | None, epoch: int, is_own: bool
) -> None:
    for provider_now in (SENT_AT + 10.0,) if at else (SENT_AT + 10.0, None):
        of = intent(before=before, epoch=epoch)
        assert found(seen(runtime(at=at), provider_now=provider_now), of=of) == (["r-1"] if is_own else [])


@pytest.mark.parametrize(("before", "is_own"), [((), True), (None, False)])
def test_after_the_databases_clock_was_set_back_a_runtime_is_own_if_the_name_was_looked_up_before(
    before: tuple[str, ...] | None, is_own: bool
) -> None:
    result = seen(runtime(at=SENT_AT + 1), provider_now=SENT_AT + 10)
    assert found(result, of=intent(before=before), now=SENT_AT - 60) == (["r-1"] if is_own else [])


def test_unreadable_time_is_ignored() -> None:
    result = seen(runtime(created_at="yesterday"), provider_now=SENT_AT)
    assert found(result) == ["r-1"]
    assert found(result, of=intent(before=None)) == []


def test_runtime_that_existed_before_or_belongs_to_others_is_not_own() -> None:
    strangers = runtime("r-4", kind=Kind.DURABLE, durable=DurablePart(owned_by_me=False))
    result = seen(runtime("r-1"), runtime("r-2"), runtime("r-3"), strangers)
    assert found(result, of=intent(before=("r-1",)), others=("r-2",)) == ["r-3"]


@pytest.mark.parametrize(("driver", "is_own"), [("playwright", True), ("selenium", False)])
def test_runtime_that_differs_from_the_request_is_not_own(driver: str, is_own: bool) -> None:
    request: CreateRequest = create("browser", name="box", driver="playwright")
    result = seen(runtime(browser=BrowserPart(driver=driver)))
    assert found(result, request=request) == (["r-1"] if is_own else [])


def test_age_is_compared_with_the_first_send() -> None:
    result = seen(runtime(at=SENT_AT + 1.0), provider_now=SENT_AT + 100.0)
    assert found(result, of=intent(sends=(SENT_AT, SENT_AT + 90.0)), now=SENT_AT + 100.0) == ["r-1"]
    assert found(result, of=intent(sends=(SENT_AT + 90.0,)), now=SENT_AT + 100.0) == []


def test_only_the_marker_counts_where_creates_are_marked() -> None:
    """Neither the age, nor an earlier look-up, nor a difference to the request counts."""
    marked = [("r-1", "in_1"), ("r-2", "in_2"), ("r-3", None), ("r-4", "in_1")]
    result = LookupResult([Seen(runtime(one, at=SENT_AT - 500), marker) for one, marker in marked], SENT_AT)
    request = create("browser", name="box", driver="playwright")
    of = intent(before=("r-1",))
    assert found(result, Keyed(), of, refused=True, request=request, others=("r-4",)) == ["r-1", "r-4"]


def test_first_create_refused_by_a_provider_that_deduplicates_by_name_has_made_nothing() -> None:
    """If it had been duplicated in transit, the second copy would have received the first one's runtime."""
    result = seen(runtime(at=SENT_AT + 5.0, kind=Kind.DURABLE), provider_now=SENT_AT + 10.0)
    assert found(result, Durable(), refused=True) == []
    assert found(result, Durable(), intent(epoch=2), refused=True) == ["r-1"]


def test_name_is_held_by_live_runtimes_that_may_be_own() -> None:
    stopped = runtime("r-1", state=State.STOPPED)
    strangers = runtime("r-2", kind=Kind.DURABLE, durable=DurablePart(owned_by_me=False))
    own = runtime("r-3", kind=Kind.DURABLE, durable=DurablePart(owned_by_me=True))
    result = seen(stopped, strangers, own, runtime("r-4"))
    assert [one.runtime.provider_id for one in result.live] == ["r-3", "r-4"]
    assert result.as_look(7.0) == Look(7.0, ("r-1", "r-2", "r-3", "r-4"))


@pytest.mark.parametrize(("adapter", "looks"), [(Durable, False), (Keyed, True), (Plain, True)])
def test_name_is_looked_up_before_the_send_unless_the_provider_deduplicates_by_name(
    adapter: type[FakeAdapter], looks: bool
) -> None:
    assert needs_precheck(target_of(adapter()), name_is_new=False) is looks
    assert needs_precheck(target_of(adapter()), name_is_new=True) is False


async def test_look_up_is_a_settling_read_within_ten_seconds_with_the_providers_time() -> None:
    adapter = Plain(deadlines={"list": 60})
    existing = adapter.put("box", State.RUNNING)

    async def set_date() -> None:
        adapter.world.calls[-1].provider_date = format_datetime(datetime.fromtimestamp(SENT_AT, UTC), usegmt=True)

    adapter.world.before["find"] = set_date
    fleet = fleet_of([adapter])
    result = await find_by_name(fleet, target_of(adapter), "box", context())
    (call,) = adapter.world.calls
    assert (call.settling, call.deadline - fleet.clock.monotonic()) == (True, 10.0)
    assert result == LookupResult([Seen(existing)], SENT_AT)


@pytest.mark.parametrize("text", [None, "", "soon", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_unreadable_date_is_none(text: str | None) -> None:
    assert moment_of_header(text) is None


def test_date_without_a_zone_is_utc() -> None:
    assert moment_of_header("Mon, 12 Jan 1970 13:46:40 -0000") == SENT_AT
