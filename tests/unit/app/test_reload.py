"""A reload in memory: what is kept, when replaced providers are closed, and which settings are not applied."""

import asyncio
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from prometheus_client import Gauge

from gateway.api.auth import Authenticator
from gateway.app.callers import principals_by_digest
from gateway.app.reload import LIVE, Reloader, dialect_rules
from gateway.app.serving import background_task
from gateway.domain.errors import Unauthenticated
from gateway.domain.values import Operation
from gateway.http.cors import Cors
from gateway.http.in_flight import InFlight
from gateway.ports.clock import Clock
from gateway.ports.provider_settings import ProviderSettings
from gateway.services.access.key_sets import KeySets
from gateway.services.access.tokens import Tokens
from gateway.services.dialects import DialectService
from gateway.services.fleet import Fleet
from gateway.services.health import HealthService
from gateway.settings import (
    AuthSettings,
    CorsSettings,
    GatewayKey,
    HealthSettings,
    HttpSettings,
    LogSettings,
    Settings,
    SettingsError,
    TlsSettings,
)
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import AccessSignals
from gateway.upstream.passthrough import PassThrough
from tests.certificates import write_certificate
from tests.issuer import Issuer
from tests.unit.services.fakes import FakeClock, NoTransport, context, keyring, services_of
from tests.unit.services.test_health import Asked
from tests.unit.upstream.policies.simulation import LoopClock, simulated

DOCS = Path(__file__).parents[3] / "docs"
KEYS = AuthSettings(keys={"shop": GatewayKey.model_validate({"key": "a-key-of-a-shop-1234"})})


class Closable(NoTransport):
    """Records whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class StepClock(FakeClock):
    """A clock whose sleepers wake when the test advances it."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = asyncio.Event()

    async def sleep(self, _seconds: float) -> None:
        await self.woken.wait()


def provider(name: str, **fields: Any) -> ProviderSettings:
    known = {"name": name, "api": "fake", "base_url": "http://fake.test", "token": f"token-of-{name}", "scope": name}
    return ProviderSettings.model_validate({**known, **fields})


def settings(*providers: ProviderSettings, **sections: Any) -> Settings:
    known = {"auth": KEYS, "health": HealthSettings(probe=False), **sections}
    return Settings(providers={one.name: one for one in providers}, **known)


class World:
    """A fleet that is reloaded, over transports that record whether they were closed."""

    def __init__(self, first: Settings, clock: Clock) -> None:
        self.log, self.metrics = StringIO(), Metrics()
        self.reloaded_principals: list[list[str]] = []
        logger = make_logger("info", stream=self.log)
        self.fail: Exception | None = None
        self.fleet = Fleet([self.make(one) for one in first.providers.values()], clock)
        self.cors = Cors(first.http.cors)
        self.authenticator, self.in_flight = Authenticator(principals_by_digest(first)), InFlight(10, self.metrics)

        def native(one: ProviderSettings) -> PassThrough:
            return PassThrough(one, metrics=self.metrics, logger=logger, clock=clock)

        self.native = {one.name: native(one) for one in first.providers.values()}
        self.reloader = Reloader(
            first,
            fleet=self.fleet,
            native=self.native,
            dialects=DialectService(self.fleet, services_of(self.fleet).create, dialect_rules(first), keyring()),
            authenticator=self.authenticator,
            cors=self.cors,
            in_flight=self.in_flight,
            health=HealthService(self.fleet, timeout=first.health.timeout),
            reads=None,
            make_adapter=self.make,
            make_native=native,
            on_principals=self.reloaded_principals.append,
            metrics=self.metrics,
            logger=logger,
            clock=clock,
        )

    def make(self, one: ProviderSettings) -> Asked:
        if self.fail is not None:
            raise self.fail
        adapter = Asked(one.name)
        adapter.settings, adapter.transport = one, Closable()
        return adapter

    def transport(self, name: str) -> Closable:
        found = self.fleet.get(name)
        assert found is not None
        transport: Closable = found.adapter.transport
        return transport

    async def settle(self) -> None:
        """Run all tasks until each of them waits."""
        for _ in range(20):
            await asyncio.sleep(0)


Make = Callable[..., World]


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


async def test_a_provider_with_the_same_settings_keeps_its_adapter_and_its_pass_through(clock: StepClock) -> None:
    world = World(settings(provider("a"), provider("b")), clock)
    before, passed = [one.adapter for one in world.fleet], dict(world.native)
    change = world.reloader.apply(settings(provider("a"), provider("b", weight=2), provider("c")))
    after = [one.adapter for one in world.fleet]
    assert (change.added, change.removed, change.changed) == (["c"], [], ["b"])
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert world.native["a"] is passed["a"]
    assert world.native["b"] is not passed["b"]
    assert list(world.native) == ["a", "b", "c"]


async def test_a_renewed_certificate_recreates_the_provider(clock: StepClock, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("one")
    world = World(settings(provider("a", ca_file=str(file))), clock)
    assert world.reloader.apply(settings(provider("a", ca_file=str(file)))).changed == []
    file.write_text("two")
    assert world.reloader.apply(settings(provider("a", ca_file=str(file)))).changed == ["a"]


async def test_replaced_connections_are_closed_when_the_last_request_and_call_has_ended(clock: StepClock) -> None:
    world = World(settings(provider("a")), clock)
    old = world.transport("a")
    (used,) = world.fleet
    over = asyncio.Event()
    request = asyncio.create_task(over.wait())
    world.in_flight.api.add(request)
    async with world.fleet.call_scope(used, Operation.GET, context()):
        world.reloader.apply(settings(provider("a", weight=2)))
        await world.settle()
        assert not old.closed
        over.set()
        await request
        world.in_flight.done(world.in_flight.api, request)
        await world.settle()
        assert not old.closed  # a call without a request, like that of a create whose caller has disconnected
    clock.woken.set()
    await world.settle()
    assert old.closed
    assert not world.transport("a").closed


async def test_close_closes_current_and_replaced_providers(clock: StepClock) -> None:
    world = World(settings(provider("a")), clock)
    old = world.transport("a")
    (used,) = world.fleet
    async with world.fleet.call_scope(used, Operation.GET, context()):
        world.reloader.apply(settings(provider("a", weight=2)))
        await world.reloader.close()
    assert old.closed
    assert world.transport("a").closed


async def test_settings_that_cannot_be_applied_change_nothing(clock: StepClock) -> None:
    world = World(settings(provider("a")), clock)
    before = list(world.fleet)
    world.fail = RuntimeError("the adapter cannot be made")
    with pytest.raises(RuntimeError):
        world.reloader.apply(settings(provider("b"), auth="none"))
    assert list(world.fleet) == before
    assert list(world.native) == ["a"]
    assert world.authenticator.principal(CIMultiDict({"X-API-Key": "a-key-of-a-shop-1234"})).name == "shop"


async def test_reload_logs_the_names_of_the_principals_whose_keys_changed(clock: StepClock) -> None:
    world = World(settings(provider("a")), clock)
    one, two = "a-key-of-a-shop-1234", "next-key-of-a-shop-1"
    for principals, changed in (
        ({"shop": {"keys": [one]}}, []),
        ({"shop": {"keys": [one, two]}, "ops": {"keys": ["a-key-of-the-ops-123"]}}, ["ops", "shop"]),
        ({"shop": {"keys": [two, one]}}, ["ops"]),
    ):
        auth = AuthSettings.model_validate({"principals": principals})
        assert world.reloader.apply(settings(provider("a"), auth=auth)).principals == changed
    assert world.authenticator.principal(CIMultiDict({"X-API-Key": two})).name == "shop"
    assert '"principals":["ops","shop"]' in world.log.getvalue()
    assert ["ops", "shop"] in world.reloaded_principals
    assert [] not in world.reloaded_principals
    assert one not in world.log.getvalue()


async def test_new_issuers_and_their_templates_apply_at_once(clock: StepClock) -> None:
    world = World(settings(provider("a")), clock)
    issuer = Issuer()
    issuer.jwks = "https://login.test/jwks"
    key_sets = KeySets(issuer.fetch, clock, AccessSignals(world.metrics, make_logger(stream=world.log)))
    tokens = world.authenticator._tokens = Tokens(world.authenticator._directory, clock, key_sets)
    for own_only in (True, False):
        principals = {"shop": {"keys": ["a-key-of-a-shop-1234"], "own_only": own_only}}
        auth = AuthSettings.model_validate({"principals": principals, "jwt": [issuer.settings()]})
        world.reloader.apply(settings(provider("a"), auth=auth))
        if own_only:
            await tokens.key_sets["login"].refresh()
        found = world.authenticator.principal(CIMultiDict({"Authorization": f"Bearer {issuer.token()}"}))
        assert (found.name, found.own_only) == ("login/u1", own_only)
    world.reloader.apply(settings(provider("a")))
    with pytest.raises(Unauthenticated):
        world.authenticator.principal(CIMultiDict({"Authorization": f"Bearer {issuer.token()}"}))


async def test_keys_stay_required_while_the_process_listens_beyond_loopback(clock: StepClock) -> None:
    world = World(settings(provider("a"), http=HttpSettings(listen="0.0.0.0:8080")), clock)
    with pytest.raises(SettingsError) as refused:
        world.reloader.apply(settings(provider("a"), auth="none", http=HttpSettings(listen="127.0.0.1:8080")))
    assert [problem.path for problem in refused.value.problems] == ["auth"]


async def test_a_setting_that_needs_a_restart_is_reported_without_its_value_and_not_applied(clock: StepClock) -> None:
    world = World(settings(provider("a")), clock)
    other = {"http": HttpSettings(body_timeout=77), "log": LogSettings(level="error", format="console")}
    change = world.reloader.apply(settings(provider("a"), **other))
    assert change.restart_needed == ["http.body_timeout", "log.format"]
    assert world.reloader.settings.http.body_timeout == 30
    assert (world.reloader.settings.log.level, world.reloader.settings.log.format) == ("error", "json")


async def test_the_metrics_of_a_removed_provider_disappear(clock: StepClock) -> None:
    world = World(settings(provider("a"), provider("b")), clock)
    gauges = [metric for metric in vars(world.metrics).values() if isinstance(metric, Gauge)]
    by_provider = [gauge for gauge in gauges if "provider" in gauge._labelnames]
    for gauge in by_provider:
        for name in ("a", "b"):
            gauge.labels(**{label: name if label == "provider" else "x" for label in gauge._labelnames}).set(1)
    world.reloader.apply(settings(provider("a")))
    assert len(by_provider) > 3
    for gauge in by_provider:
        assert {sample.labels["provider"] for family in gauge.collect() for sample in family.samples} == {"a"}


class ProbeTimes(World):
    """Records the time of each round of probes."""

    def __init__(self, health: HealthSettings) -> None:
        super().__init__(settings(provider("a"), health=health), LoopClock())
        self.began = asyncio.get_running_loop().time()

    async def until(self, second: float, **health: Any) -> list[float]:
        """The rounds up to that time; other settings, if given, are applied then."""
        await asyncio.sleep(self.began + second - asyncio.get_running_loop().time())
        if health:
            self.reloader.apply(settings(provider("a"), health=HealthSettings(**health)))
        await self.settle()
        (one,) = self.fleet
        assert isinstance(one.adapter, Asked)
        return [round(call.deadline - self.reloader.settings.health.timeout - self.began) for call in one.adapter.calls]


@simulated
async def test_a_shorter_probe_interval_applies_during_the_current_pause() -> None:
    world = ProbeTimes(HealthSettings(every=3600))
    async with background_task(world.reloader.check_providers_periodically()):
        assert await world.until(0) == [0]
        assert await world.until(10, every=30) == [0]
        assert await world.until(61) == [0, 30, 60]
        assert await world.until(85, every=10) == [0, 30, 60, 85]
        assert await world.until(96) == [0, 30, 60, 85, 95]


@simulated
async def test_a_longer_probe_interval_counts_from_the_last_probe() -> None:
    world = ProbeTimes(HealthSettings(every=30))
    async with background_task(world.reloader.check_providers_periodically()):
        assert await world.until(29, every=100) == [0]
        assert await world.until(99) == [0]
        assert await world.until(101) == [0, 100]


@simulated
async def test_probes_start_and_stop_as_soon_as_the_settings_change() -> None:
    world = ProbeTimes(HealthSettings(every=3600, probe=False))
    async with background_task(world.reloader.check_providers_periodically()):
        assert await world.until(5) == []
        assert await world.until(8, probe=True, every=10) == [8]
        assert await world.until(15, probe=False, every=10) == [8]
        assert await world.until(100) == [8]


def test_the_deploy_page_says_for_every_section_whether_it_needs_a_restart() -> None:
    table = (DOCS / "deploy.md").read_text("utf-8").split("## Reload\n")[1].split("\n## ")[0]
    live, others = "", ""
    for line in table.splitlines():
        if line.startswith("| `"):
            _, left, right, _ = line.split("|")
            live, others = live + left, others + right
    for name in Settings.model_fields.keys() - {"version"}:
        parts = [path for path in LIVE if path.startswith(f"{name}.")]
        assert all(f"`{path}`" in live for path in parts)
        assert f"`{name}" in (live if name in LIVE else others), name


async def test_origins_are_applied_without_a_restart(clock: StepClock) -> None:
    world = World(settings(provider("a")), clock)
    page = CIMultiDict({"Origin": "https://app.example"})
    assert not world.cors.lists(page)
    http = HttpSettings(cors=CorsSettings(origins=["https://app.example"]), body_timeout=1)
    assert world.reloader.apply(settings(provider("a"), http=http)).restart_needed == ["http.body_timeout"]
    assert world.cors.lists(page)
    assert world.reloader.settings.http.body_timeout != 1


async def test_certificate_is_read_again_and_an_unusable_one_changes_nothing(clock: StepClock, tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    sections = {"http": HttpSettings(tls=TlsSettings(cert=str(cert), key=str(key)))}
    world = World(settings(provider("a"), **sections), clock)
    first = world.reloader.tls
    assert world.reloader.apply(settings(provider("a"), **sections)).restart_needed == []
    second = world.reloader.tls
    assert second is not None
    assert second is not first
    key.write_text("half of a file")
    with pytest.raises(SettingsError, match=r"http\.tls\.key"):
        world.reloader.apply(settings(provider("b"), **sections))
    assert world.reloader.tls is second
    assert [one.name for one in world.fleet] == ["a"]
    world.reloader.apply(settings(provider("a")))
    assert world.reloader.tls is None
