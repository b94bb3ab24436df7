"""Rate limits: what is admitted, what the headers say, and what happens without the shared windows."""

import re
from dataclasses import replace

import pytest

from gateway.api.access_routes import ACCESS_ROUTES
from gateway.api.connection_routes import CONNECTION_ROUTES
from gateway.api.routes import V1_ROUTES
from gateway.domain.access import Limits, Principal, Rate, Window, rate_headers
from gateway.domain.errors import RateLimited, Source
from gateway.domain.values import is_release
from gateway.ports.context import RequestContext
from gateway.ports.policies import SharedWindows, SharedWindowsAway, parse_rate
from gateway.services.access.rates import PAUSE, RateLimits
from tests.unit.services.fakes import FakeClock

TEN = Rate(10, 60)
SHOP = Principal("shop", limits=Limits(requests=TEN))


class Signals:
    """Records what is reported."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.states: list[str | None] = []
        self.alone = 0

    def refused(self, limit: str) -> None:
        self.refusals.append(limit)

    def shared(self, reason: str | None) -> None:
        self.states.append(reason)

    def counted_alone(self) -> None:
        self.alone += 1


class Windows(SharedWindows):
    """Shared windows that can be away. ``asked`` counts the calls."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0
        self.current = 0

    async def take(self, key: str, rate: Rate) -> tuple[bool, Window]:
        before = await self.look(key, rate)
        assert rate == TEN
        if before.current >= rate.amount:
            return False, before
        self.current += 1
        return True, await self.look(key, rate)

    async def look(self, key: str, rate: Rate) -> Window:  # noqa: ARG002
        assert re.fullmatch("[0-9a-f]{64}", key)
        self.asked += 1
        if self.away:
            raise SharedWindowsAway("ConnectionError")
        return Window(0, self.current, 60.0)

    async def close(self) -> None:
        self.asked = -1


class Caller:
    """A principal that sends requests."""

    def __init__(self, shared: SharedWindows | None = None, workers: int = 1) -> None:
        self.clock, self.signals = FakeClock(), Signals()
        self.rates = RateLimits(self.clock, self.signals, shared, workers)

    async def send(self, principal: Principal = SHOP, *, counts: bool = True) -> RequestContext:
        """The context of a request that was admitted."""
        ctx = RequestContext("r", principal=principal)
        if (admitted := self.rates.admit(ctx, counts=counts)) is not None:
            await admitted
        return ctx

    async def refused(self, principal: Principal = SHOP) -> RateLimited:
        with pytest.raises(RateLimited) as caught:
            await self.send(principal)
        return caught.value

    async def passes(self, count: int) -> int:
        """How many of ``count`` requests are admitted."""
        admitted = 0
        for _ in range(count):
            try:
                await self.send()
            except RateLimited:
                continue
            admitted += 1
        return admitted


def header(ctx: RequestContext) -> tuple[int, int]:
    """The remaining requests and the seconds in ``RateLimit``."""
    assert ctx.rate is not None
    found = re.fullmatch(r'"requests";r=(\d+);t=(\d+)', rate_headers(*ctx.rate)[1])
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600/minute", Rate(600, 60)),
        ("5 per second", Rate(5, 1)),
        ("10 per 5 minutes", Rate(10, 300)),
        ("1/day", Rate(1, 86400)),
    ],
)
def test_rate_is_read(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "600", "0/minute", "6/fortnight", "5/second;9/minute", "9/year", "-1/day", "x/day"]
)
def test_text_that_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="600/minute"):
        parse_rate(text)


async def test_worker_that_counts_alone_admits_its_share_of_the_rate() -> None:
    caller = Caller(workers=3)
    assert await caller.passes(10) == 3
    error = await caller.refused()
    assert error.extra is not None
    assert error.extra["limit"] == {"name": "requests", "value": 3, "used": 3}
    ctx = RequestContext("r", principal=SHOP)
    for _ in range(3):
        await caller.rates.charge(ctx, "main", TEN)
        ctx.charged = ()
    with pytest.raises(RateLimited, match="3 requests in 60 seconds"):
        await caller.rates.charge(ctx, "main", TEN)


async def test_workers_that_count_together_admit_the_whole_rate() -> None:
    assert await Caller(Windows(), workers=3).passes(12) == 10


async def test_unlimited_caller_is_not_counted() -> None:
    caller = Caller()
    for principal in (Principal("free"), Principal("few", limits=Limits(running=1))):
        ctx = RequestContext("r", principal=principal)
        assert caller.rates.admit(ctx) is None
        assert ctx.rate is None


async def test_request_beyond_the_rate_is_refused_with_its_limit() -> None:
    caller = Caller()
    assert [header(await caller.send())[0] for _ in range(10)] == list(range(9, -1, -1))
    error = await caller.refused()
    assert (error.source, error.extra) == (Source.GATEWAY, {"limit": {"name": "requests", "value": 10, "used": 10}})
    assert error.retry_after == pytest.approx(60, abs=0.1)
    assert caller.signals.refusals == ["requests"]


async def test_request_is_admitted_as_soon_as_the_refusal_said() -> None:
    caller = Caller()
    for _ in range(3):
        while True:
            try:
                await caller.send()
            except RateLimited as error:
                wait = error.retry_after or 0.0
                break
        caller.clock.time += wait - 0.01
        await caller.refused()
        caller.clock.time += 0.01
        await caller.send()


async def test_no_window_of_time_has_much_more_than_the_rate() -> None:
    """The estimate of the sliding window assumes that the requests of a window came evenly."""
    caller = Caller()
    passed: list[float] = []
    for _ in range(600):
        caller.clock.time += 0.5
        if await caller.passes(1):
            passed.append(caller.clock.time)
    most = max(sum(start <= at < start + 60 for at in passed) for start in passed)
    assert 10 <= most <= 12
    assert 48 <= len(passed) <= 56


async def test_window_is_empty_after_two_windows_without_requests() -> None:
    caller = Caller()
    assert await caller.passes(20) == 10
    caller.clock.time += 120
    assert await caller.passes(20) == 10


async def test_principals_and_changed_rates_have_windows_of_their_own() -> None:
    caller = Caller()
    assert await caller.passes(20) == 10
    assert header(await caller.send(replace(SHOP, name="other")))[0] == 9
    assert header(await caller.send(replace(SHOP, limits=Limits(requests=Rate(20, 60)))))[0] == 19


async def test_request_that_does_not_count_is_admitted_at_the_limit() -> None:
    caller = Caller()
    assert await caller.passes(20) == 10
    ctx = await caller.send(counts=False)
    assert header(ctx)[0] == 0
    assert caller.signals.refusals == ["requests"] * 10


@pytest.mark.parametrize(
    ("window", "rate", "shown"),
    [
        (Window(0, 1, 30.2), TEN, '"requests";r=9;t=31'),
        (Window(0, 10, 0.2), TEN, '"requests";r=0;t=1'),
        (Window(10, 0, 30.0), TEN, '"requests";r=5;t=30'),
        (Window(10, 5, 30.0), TEN, '"requests";r=0;t=1'),
        (Window(10, 9, 60.0), TEN, '"requests";r=0;t=55'),
    ],
)
def test_header_shows_the_remaining_requests_and_their_time(window: Window, rate: Rate, shown: str) -> None:
    assert rate_headers(rate, window) == ('"requests";q=10;w=60', shown)


@pytest.mark.parametrize("operation", ["stopRuntime", "pauseRuntime", "resetRuntime", "deleteRuntime", "browsers_stop"])
def test_release_verbs_are_known_by_their_operation(operation: str) -> None:
    assert is_release(operation)
    assert not is_release(operation.replace("stop", "start").replace("pause", "resume").replace("e", "x"))


def test_release_verbs_of_the_api_are_those_that_release_something() -> None:
    """Every route and every route of a dialect was decided about."""
    found = {route.operation_id for route in (*V1_ROUTES, *CONNECTION_ROUTES) if is_release(route.operation_id)}
    assert found == {"stopRuntime", "pauseRuntime", "resetRuntime", "deleteRuntime", "revokeConnections"}
    assert not [route.operation_id for route in ACCESS_ROUTES if is_release(route.operation_id)]


def test_deletes_that_release_nothing_are_no_release_verbs() -> None:
    assert not any(map(is_release, ("deletePrincipal", "removeCapability", "createRuntime", "native", "unmatched")))
    assert is_release("browsers_revoke")


async def test_shared_windows_count_for_all() -> None:
    shared = Windows()
    one, two = Caller(shared), Caller(shared)
    assert await one.passes(6) == 6
    assert await two.passes(6) == 4
    assert header(await two.send(counts=False))[0] == 0
    assert one.signals.alone == two.signals.alone == 0
    await one.rates.close()
    assert shared.asked == -1


async def test_process_counts_alone_while_the_shared_windows_are_away_and_returns_to_them() -> None:
    shared = Windows()
    caller = Caller(shared)
    await caller.passes(5)
    shared.away, shared.asked = True, 0
    assert await caller.passes(20) == 10  # with the windows of its own
    assert (caller.signals.states, shared.asked) == (["ConnectionError"], 1)
    assert caller.signals.alone == 20
    caller.clock.time += PAUSE
    await caller.refused()
    assert (caller.signals.states, shared.asked) == (["ConnectionError"], 2)  # reported once
    caller.clock.time += PAUSE
    shared.away = False
    assert header(await caller.send())[0] == 4
    assert caller.signals.states == ["ConnectionError", None]
    assert await caller.passes(20) == 4


async def test_request_to_an_account_is_charged_once_per_request_of_a_caller() -> None:
    caller, ctx = Caller(), RequestContext("r", principal=Principal("free"))
    for _ in range(3):
        await caller.rates.charge(ctx, "one", Rate(1, 60))
    with pytest.raises(RateLimited) as caught:
        await caller.rates.charge(RequestContext("s"), "one", Rate(1, 60))
    assert (caught.value.provider, caught.value.extra["limit"]["name"]) == ("one", "provider_requests")
    assert caller.signals.refusals == ["provider_requests"]
    await caller.rates.charge(RequestContext("s"), "two", Rate(1, 60))
    again = RequestContext("t")
    for _ in range(2):  # a request that was refused has not paid
        with pytest.raises(RateLimited):
            await caller.rates.charge(again, "one", Rate(1, 60))
