"""Probes: their requests, their effect on health, and which replica probes."""

from typing import Any

import pytest

from gateway.domain.errors import ProviderCredentialsRejected, ProviderFailure, StoreUnavailable
from gateway.domain.values import Operation
from gateway.ports.context import REQUEST_ID, RequestContext
from gateway.ports.transport import Attempt, Call, Phase, TransportFailure
from gateway.services.fleet import Fleet, Provider
from gateway.services.health import PROBER, ROLE, HealthService
from gateway.services.providers import ProviderService
from tests.unit.services.fakes import DurableLike, FakeClock, context


class Asked(DurableLike):
    """Counts its probes, and raises ``failure`` if it is set."""

    failure: Exception | None = None

    def __init__(self, name: str = "one", **settings: Any) -> None:
        super().__init__(name, **settings)
        self.calls: list[Call] = []

    async def check_credentials(self, call: Call) -> None:
        self.calls.append(call)
        call.attempts.append(Attempt(self.name, "list", "200", 0.1, Phase.ANSWERED))
        if self.failure is not None:
            raise self.failure


def rejected(provider: str) -> ProviderCredentialsRejected:
    return ProviderCredentialsRejected("No.", failure=ProviderFailure(provider, status=401, own_envelope=True))


async def test_a_probe_is_an_active_observation_and_a_request_a_passive_one() -> None:
    adapter = Asked()
    fleet = Fleet([adapter], FakeClock())
    providers = ProviderService(fleet)
    assert providers.one("one", RequestContext("r")).health.observation is None
    (checked,) = await HealthService(fleet, timeout=5).check_all()
    assert (checked.provider, checked.error) == ("one", None)
    seen = providers.one("one", RequestContext("r")).health
    assert (seen.status, seen.credentials_ok, seen.observation) == ("ok", True, "active")
    (provider,) = fleet
    async with fleet.call_scope(provider, Operation.GET, context()) as call:
        call.attempts.append(Attempt("one", "get", "200", 0.1, Phase.ANSWERED))
    assert providers.one("one", RequestContext("r")).health.observation == "passive"


async def test_a_failing_provider_is_reported_and_the_others_are_probed() -> None:
    bad, down, good = Asked("bad"), Asked("down"), Asked("good")
    bad.failure, down.failure = rejected("bad"), TransportFailure("refused", Phase.CONNECTING)
    fleet = Fleet([bad, down, good], FakeClock())
    reported = {
        checked.provider: checked.error and checked.error.code
        for checked in await HealthService(fleet, timeout=5).check_all()
    }
    assert reported == {"bad": "provider_credentials_rejected", "down": "provider_unavailable", "good": None}
    health = {provider.name: provider.health.credentials_ok for provider in fleet}
    assert health == {"bad": False, "down": None, "good": True}


async def test_a_probe_has_its_own_time_limit() -> None:
    adapter, clock = Asked(), FakeClock()
    await HealthService(Fleet([adapter], clock), timeout=0.5).check_all()
    assert adapter.calls[0].deadline == clock.monotonic() + 0.5


async def test_a_probe_that_the_gateway_did_not_send_does_not_change_health() -> None:
    adapter = Asked()
    adapter.failure = TransportFailure("circuit_open", Phase.QUEUED)
    fleet = Fleet([adapter], FakeClock())
    await HealthService(fleet, timeout=5).check_all()
    assert ProviderService(fleet).one("one", RequestContext("r")).health.status == "unknown"


async def test_a_replica_without_the_role_probes_providers_it_saw_failing() -> None:
    bad, good = Asked("bad"), Asked("good")

    async def lead(_duty: str, _seconds: float) -> bool:
        return False

    clock = FakeClock()
    fleet = Fleet([bad, good], clock)
    health = HealthService(fleet, timeout=5, lead=lead)
    bad.failure = rejected("bad")
    await health.check_all()
    bad.failure = None
    clock.time += 30
    await health.probe_round(30)
    assert (len(bad.calls), len(good.calls)) == (2, 1)
    assert {one.health.credentials_ok for one in fleet} == {True}
    clock.time += 30
    await health.probe_round(30)
    assert (len(bad.calls), len(good.calls)) == (2, 1)


@pytest.mark.parametrize("leads", [True, False])
async def test_only_the_replica_with_the_role_probes_regularly(leads: bool) -> None:
    adapter, asked = Asked(), []

    async def lead(role: str, seconds: float) -> bool:
        asked.append((role, seconds))
        return leads

    await HealthService(Fleet([adapter], FakeClock()), timeout=5, lead=lead).probe_round(30)
    assert asked == [(ROLE, 60)]
    assert len(adapter.calls) == (1 if leads else 0)


async def test_every_replica_probes_while_the_store_is_unavailable() -> None:
    adapter = Asked()

    async def lead(_duty: str, _seconds: float) -> bool:
        raise StoreUnavailable("It is gone.")

    await HealthService(Fleet([adapter], FakeClock()), timeout=5, lead=lead).probe_round(30)
    assert len(adapter.calls) == 1


async def test_a_replaced_provider_does_not_report_on_the_current_credentials() -> None:
    """A call that started with the old token may end with 401 after the reload."""
    reported: list[tuple[str, bool]] = []
    old, new = Asked(), Asked()
    fleet = Fleet([old], FakeClock(), on_credentials=lambda name, ok: reported.append((name, ok)))
    (before,) = fleet
    assert fleet.replace([new]) == [before]
    old.failure = rejected("one")
    health = HealthService(fleet, timeout=5)
    assert (await health.check(before)).error is not None
    await health.check_all()
    assert reported == [("one", True)]


def test_an_adapter_that_stays_keeps_its_health() -> None:
    staying, going, coming = Asked("staying"), Asked("going"), Asked("coming")
    fleet = Fleet([staying, going], FakeClock())
    kept, gone = fleet
    kept.health.last_success = 7.0
    assert fleet.replace([coming, staying]) == [gone]
    assert [provider.name for provider in fleet] == ["coming", "staying"]
    assert fleet.get("staying") is kept
    assert fleet.get("going") is None
    assert isinstance(fleet.get("coming"), Provider)


async def test_log_lines_of_a_probe_have_its_id_and_later_ones_that_of_the_request() -> None:
    adapter = DurableLike("one")
    fleet = Fleet([adapter], FakeClock())
    with context():
        (provider,) = fleet
        await HealthService(fleet, timeout=5).check(provider)
        assert REQUEST_ID.get() == "request-1"
    assert adapter.world.logged_ids == [PROBER] == [call.request_id for call in adapter.world.calls]
