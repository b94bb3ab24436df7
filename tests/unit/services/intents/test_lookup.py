"""What a look shows of a create: by markers, or by ages that two clocks tell which need not agree."""

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
from gateway.services.routing import Target
from gateway.testing.store_subject import create as an_intent
from gateway.testing.store_subject import identity
from tests.unit.services.fakes import FakeAdapter, context, create, fleet_of
from tests.unit.services.intents.scene import Durable, Keyed, Plain

SENT_AT = 1_000_000.0  # by the database's clock
SKEWS = [0.0, 60.0, -60.0, 600.0, -600.0]


def place(adapter: FakeAdapter) -> ResolvedTarget:
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
    """One that was made at a moment of the provider's clock."""
    made = None if at is None else datetime.fromtimestamp(at, UTC).isoformat()
    known = {"id": f"one.{provider_id}", "provider": "one", "scope": "home", "name": "box", "state": State.RUNNING}
    part = {"browser": BrowserPart()} if kind is Kind.BROWSER else {"durable": DurablePart()}
    return Runtime(**known | {"kind": kind, "provider_id": provider_id, "created_at": made} | part | fields)


def found(
    looked: LookupResult, adapter: FakeAdapter | None = None, of: Intent | None = None, **options: Any
) -> list[str]:
    options = {"now": SENT_AT + 10.0, "request": None, **options}
    return [
        seen.runtime.provider_id for seen in match_own(place(adapter or Plain()), of or intent(), looked, **options)
    ]


def seen(*runtimes: Runtime, provider_now: float | None = None) -> LookupResult:
    return LookupResult([Seen(one) for one in runtimes], provider_now)


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize(("made", "is_ours"), [(0.0, True), (0.4, True), (9.0, True), (-3.0, False), (-300.0, False)])
def test_what_was_made_since_the_send_is_told_by_ages_so_that_clocks_need_not_agree(
    made: float, is_ours: bool, skew: float
) -> None:
    """The send was ten seconds ago by the database's clock; the provider's own clock says how old a runtime is."""
    there = SENT_AT + skew
    looked = seen(runtime(at=there + made), provider_now=float(int(there + 10.0)))
    assert found(looked) == (["r-1"] if is_ours else [])


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize(("made", "is_ours"), [(2.0, True), (1.0, True), (0.0, False), (-2.0, False)])
def test_after_a_refusal_only_what_is_younger_for_sure_is_ours(made: float, is_ours: bool, skew: float) -> None:
    """The provider's time comes in whole seconds: a runtime of the second of the send may be older than that."""
    there = SENT_AT + skew
    looked = seen(runtime(at=there + made), provider_now=there + 10.0)
    assert found(looked, refused=True) == (["r-1"] if is_ours else [])


def test_after_a_refusal_a_clock_that_is_not_known_exactly_counts_against_a_runtime() -> None:
    looked = seen(runtime(at=SENT_AT + 3.0), provider_now=SENT_AT + 10.0)
    assert found(looked, refused=True, slack=2.0) == ["r-1"]
    assert found(looked, refused=True, slack=2.5) == []
    assert found(looked, slack=2.5) == ["r-1"]


@given(skew=st.floats(-600, 600), age=st.floats(0, 10), took=st.floats(0, 30))
def test_nothing_that_was_made_between_the_send_and_the_look_is_overlooked(
    skew: float, age: float, took: float
) -> None:
    look_at = SENT_AT + 10.0 + took
    made = look_at - min(age, look_at - SENT_AT)
    looked = seen(runtime(at=made + skew), provider_now=float(int(look_at + skew)))
    assert found(looked, now=look_at) == ["r-1"]


@pytest.mark.parametrize("at", [None, SENT_AT + 100.0])
@pytest.mark.parametrize(("before", "epoch", "is_ours"), [((), 1, True), (None, 1, False), (None, 2, True)])
def test_without_times_that_make_sense_it_counts_whether_the_name_was_looked_up_before(
    at: float | None, before: tuple[str, ...] | None, epoch: int, is_ours: bool
) -> None:
    for provider_now in (SENT_AT + 10.0,) if at else (SENT_AT + 10.0, None):
        of = intent(before=before, epoch=epoch)
        assert found(seen(runtime(at=at), provider_now=provider_now), of=of) == (["r-1"] if is_ours else [])


@pytest.mark.parametrize(("before", "is_ours"), [((), True), (None, False)])
def test_where_the_databases_clock_was_put_back_it_counts_whether_the_name_was_looked_up_before(
    before: tuple[str, ...] | None, is_ours: bool
) -> None:
    looked = seen(runtime(at=SENT_AT + 1), provider_now=SENT_AT + 10)
    assert found(looked, of=intent(before=before), now=SENT_AT - 60) == (["r-1"] if is_ours else [])


def test_an_unreadable_time_is_no_time() -> None:
    looked = seen(runtime(created_at="yesterday"), provider_now=SENT_AT)
    assert found(looked) == ["r-1"]
    assert found(looked, of=intent(before=None)) == []


def test_what_was_there_before_or_is_somebody_elses_is_not_ours() -> None:
    strangers = runtime("r-4", kind=Kind.DURABLE, durable=DurablePart(owned_by_me=False))
    looked = seen(runtime("r-1"), runtime("r-2"), runtime("r-3"), strangers)
    assert found(looked, of=intent(before=("r-1",)), others=("r-2",)) == ["r-3"]


@pytest.mark.parametrize(("driver", "is_ours"), [("playwright", True), ("selenium", False)])
def test_what_differs_from_the_request_is_not_ours(driver: str, is_ours: bool) -> None:
    request: CreateRequest = create("browser", name="box", driver="playwright")
    looked = seen(runtime(browser=BrowserPart(driver=driver)))
    assert found(looked, request=request) == (["r-1"] if is_ours else [])


def test_the_first_of_all_sends_counts() -> None:
    looked = seen(runtime(at=SENT_AT + 1.0), provider_now=SENT_AT + 100.0)
    assert found(looked, of=intent(sends=(SENT_AT, SENT_AT + 90.0)), now=SENT_AT + 100.0) == ["r-1"]
    assert found(looked, of=intent(sends=(SENT_AT + 90.0,)), now=SENT_AT + 100.0) == []


def test_where_creates_are_marked_nothing_but_the_marker_counts() -> None:
    """Neither its age, nor that it was there before, nor that it differs."""
    marked = [("r-1", "in_1"), ("r-2", "in_2"), ("r-3", None), ("r-4", "in_1")]
    looked = LookupResult([Seen(runtime(one, at=SENT_AT - 500), marker) for one, marker in marked], SENT_AT)
    request = create("browser", name="box", driver="playwright")
    of = intent(before=("r-1",))
    assert found(looked, Keyed(), of, refused=True, request=request, others=("r-4",)) == ["r-1", "r-4"]


def test_a_first_create_that_was_refused_by_name_has_made_nothing_there() -> None:
    """Its own double would have been answered with what the other one made."""
    looked = seen(runtime(at=SENT_AT + 5.0, kind=Kind.DURABLE), provider_now=SENT_AT + 10.0)
    assert found(looked, Durable(), refused=True) == []
    assert found(looked, Durable(), intent(epoch=2), refused=True) == ["r-1"]


def test_the_name_is_held_by_what_lives_and_may_be_our_own() -> None:
    stopped = runtime("r-1", state=State.STOPPED)
    strangers = runtime("r-2", kind=Kind.DURABLE, durable=DurablePart(owned_by_me=False))
    own = runtime("r-3", kind=Kind.DURABLE, durable=DurablePart(owned_by_me=True))
    looked = seen(stopped, strangers, own, runtime("r-4"))
    assert [one.runtime.provider_id for one in looked.live] == ["r-3", "r-4"]
    assert looked.as_look(7.0) == Look(7.0, ("r-1", "r-2", "r-3", "r-4"))


@pytest.mark.parametrize(("adapter", "looks"), [(Durable, False), (Keyed, True), (Plain, True)])
def test_a_name_is_looked_up_before_where_the_provider_does_not_ensure_it(
    adapter: type[FakeAdapter], looks: bool
) -> None:
    assert needs_precheck(place(adapter()), name_is_new=False) is looks
    assert needs_precheck(place(adapter()), name_is_new=True) is False


async def test_a_look_is_a_settling_read_within_ten_seconds_and_knows_the_providers_time() -> None:
    adapter = Plain(deadlines={"list": 60})
    there = adapter.put("box", State.RUNNING)

    async def tell_the_time() -> None:
        adapter.world.calls[-1].provider_date = format_datetime(datetime.fromtimestamp(SENT_AT, UTC), usegmt=True)

    adapter.world.before["find"] = tell_the_time
    fleet = fleet_of([adapter])
    looked = await find_by_name(fleet, place(adapter), "box", context())
    (call,) = adapter.world.calls
    assert (call.settling, call.deadline - fleet.clock.monotonic()) == (True, 10.0)
    assert looked == LookupResult([Seen(there)], SENT_AT)


@pytest.mark.parametrize("text", [None, "", "soon", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_a_date_that_cannot_be_read_is_none(text: str | None) -> None:
    assert moment_of_header(text) is None


def test_a_date_without_a_zone_is_utc() -> None:
    assert moment_of_header("Mon, 12 Jan 1970 13:46:40 -0000") == SENT_AT
