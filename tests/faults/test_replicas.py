"""Gateways that are killed, suspended, terminated, left by their callers, or whose clocks are wrong."""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.domain.intents import IntentState
from gateway.ports.clock import SystemClock
from tests.contract.store_subjects import postgres_stores
from tests.faults.callers import post
from tests.faults.conftest import StoreLocation
from tests.faults.providers import Setup, Upstream, body, settings_of
from tests.faults.replicas import DEADLINE, KEY, Replica, encryption_key, replicas, write_settings
from tests.faults.world import unique_name, world
from tests.postgres_cluster import PostgresCluster

PATIENT = {"wait_out": 60}


async def test_gateway_suspended_past_its_lease_makes_no_second_runtime_when_it_continues(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    """Another gateway has taken over its creates meanwhile, and completed them. See docs/fault-cases.md#fault-14."""
    setups = [
        Setup("durable", "durable", {}),
        Setup("bctrl", "bctrl", {"live_alias": "second"}),
        Setup("bctrl_browsers", "bctrl-browsers", {"names": "free", "keys": "remembered"}),
    ]
    async with world(tmp_path, store_location, deadline=DEADLINE, setups=setups) as w:
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_location.settings)
        async with replicas(settings, 2) as (suspended, other):
            assert suspended.url is not None
            assert other.url is not None
            for upstream in w.providers.values():
                upstream.fault("hold_after", times=1)
            pending = [
                asyncio.create_task(w.create(upstream, f"suspended-{name}", f"k-{name}", url=suspended.url))
                for name, upstream in w.providers.items()
            ]
            for upstream in w.providers.values():
                await upstream.emulator.until_waiting(1)
            await suspended.freeze(store_location.file)
            responses = await asyncio.gather(
                *(
                    w.made(upstream, f"suspended-{name}", f"k-{name}", url=other.url)
                    for name, upstream in w.providers.items()
                )
            )
            for upstream in w.providers.values():
                upstream.emulator.release("create")
            suspended.thaw()
            late = await asyncio.gather(*pending)
            for upstream, response, late_response in zip(w.providers.values(), responses, late, strict=True):
                await upstream.until_idle()
                assert [made.id for made in upstream.live()] == [response.json["provider_id"]]
                intent = await w.becomes(f"k-{upstream.name}", IntentState.DONE)
                assert (intent.runtime_id, intent.surplus) == (response.json["provider_id"], ())
                if late_response.status < 300:
                    assert late_response.json["provider_id"] == response.json["provider_id"]


async def test_gateway_suspended_before_its_send_sends_nothing_when_it_continues(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    """Right before the first byte it checks its lease again. Here the look-up before the create is held.
    See docs/fault-cases.md#fault-14."""
    setup = Setup("bctrl", "bctrl", {"live_alias": "second"})
    async with world(tmp_path, store_location, deadline=10, setups=[setup]) as w:
        upstream, name = w.providers["bctrl"], unique_name()
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_location.settings)
        async with replicas(settings, 2) as (suspended, other):
            upstream.fault("hold", operation="list", times=1)
            upstream.fault("hold", operation="get", times=1)
            pending = asyncio.create_task(w.create(upstream, name, "k", url=suspended.url))
            await upstream.emulator.until_waiting(1)
            await suspended.freeze(store_location.file)
            upstream.emulator.faults.end_all()
            upstream.emulator.release()
            response = await w.made(upstream, name, "k", url=other.url)
            suspended.thaw()
            await pending
        assert [made.id for made in upstream.made()] == [response.json["provider_id"]]
        assert upstream.posts() == 1


class _Skewed(SystemClock):
    """A wall clock that is ``ahead`` seconds ahead."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def now(self) -> float:
        return super().now() + self._ahead


@pytest.mark.parametrize("database_ahead", [60.0, -60.0])
async def test_wrong_clocks_lead_to_no_second_runtime(
    database_ahead: float, postgres: PostgresCluster, tmp_path: Path
) -> None:
    """The database's clock jumps between the attempts, and the clocks of the two replicas differ by 20 minutes.
    See docs/fault-cases.md#fault-15."""
    async with postgres_stores(postgres) as subject:
        settings = {"url": subject.dsn, "encryption_keys": [encryption_key()]}
        location = StoreLocation("postgres", settings, subject.make)
        async with (
            world(tmp_path, location, deadline=1) as w,
            w.gateway(clock=_Skewed(600), creates=PATIENT) as ahead,
            w.gateway(clock=_Skewed(-600), creates=PATIENT) as behind,
        ):
            for upstream in w.providers.values():
                upstream.fault("drop_after", times=1)
                name = unique_name()
                first = await w.create(upstream, name, f"k-{name}", url=ahead.url)
                await subject.advance(database_ahead)
                response = await w.made(upstream, name, f"k-{name}", url=behind.url)
                assert response.status == 201
                assert [made.id for made in upstream.live()] == [response.json["provider_id"]]
                assert (await w.intent(f"k-{name}")).surplus == ()
                if first.status >= 300:
                    assert first.json["intent"] == (await w.intent(f"k-{name}")).id


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_create_that_costs_money_is_not_sent_again_without_a_caller(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-16."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates={"wait_out": 0.5}):
        upstream = w.providers[api.replace("_", "-")]
        upstream.fault("drop_before", times=1)
        assert (await w.create(upstream, unique_name(), "k")).code == "outcome_unknown"
        await w.becomes("k", IntentState.ABSENT)
        assert upstream.posts() == 1
        upstream.fault("drop_after", times=1)
        assert (await w.create(upstream, name := unique_name(), "k2")).status in {201, 504}
        done = await w.becomes("k2", IntentState.DONE)
        assert [(made.id, made.name) for made in upstream.made()] == [(done.runtime_id, name)]
        assert upstream.posts() == 2


async def test_free_create_is_sent_again_without_a_caller(sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-16."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream = w.providers["durable"]
        upstream.fault("drop_before", times=1)
        assert (await w.create(upstream, unique_name(), "k")).code == "outcome_unknown"
        done = await w.becomes("k", IntentState.DONE)
        assert [made.id for made in upstream.made()] == [done.runtime_id]


@pytest.mark.parametrize("point", ["after:begin", "before:record_created", "after:record_created"])
async def test_gateway_killed_at_a_step_of_a_create_leaves_one_runtime(
    point: str, store_location: StoreLocation, tmp_path: Path
) -> None:
    """The intent is written but not sent; the response is received but not written; it is written but not returned.
    See docs/fault-cases.md#fault-17."""
    # The create has to reach the step before its deadline, also on a busy machine; the survivor waits that much longer.
    deadline = DEADLINE if point == "after:begin" else 3 * DEADLINE
    async with world(tmp_path, store_location, deadline=deadline) as w:
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_location.settings)
        async with w.gateway(creates={"lease_margin": 1, "send_within": 1}) as survivor:

            async def dies(upstream: Upstream) -> None:
                name, victim = f"dies-{upstream.name}", Replica(settings, dying(point))
                await victim.start()
                assert victim.url is not None
                with pytest.raises(aiohttp.ClientError):
                    await w.create(upstream, name, name, url=victim.url)
                await victim.close()
                assert upstream.posts() == (0 if point == "after:begin" else 1)
                response = await w.made(upstream, name, name, url=survivor.url)
                assert response.status == 201
                assert [made.id for made in upstream.live()] == [response.json["provider_id"]]
                assert (await w.becomes(name, IntentState.DONE)).surplus == ()
                if point == "after:record_created":
                    assert upstream.posts() == 1

            async with asyncio.TaskGroup() as group:
                for upstream in w.providers.values():
                    group.create_task(dies(upstream))


@pytest.mark.parametrize("point", ["before:move", "after:move"])
async def test_gateway_killed_during_failover_leaves_one_runtime(
    point: str, store_location: StoreLocation, tmp_path: Path
) -> None:
    """The first provider has proved that it made nothing; the kill is before or after the write of the next attempt.
    See docs/fault-cases.md#fault-17."""
    setups = [Setup("durable", "one", {}), Setup("durable", "two", {})]
    async with world(tmp_path, store_location, deadline=DEADLINE, setups=setups) as w:
        one, two = w.providers.values()
        chosen = {"one": {"order": 1}, "two": {"order": 2}}
        both = {name: {**upstream.settings, **chosen[name]} for name, upstream in w.providers.items()}
        settings = write_settings(tmp_path, both, store_location.settings)
        create = body(None, "durable", unique_name())
        one.fault("status", status=401)
        victim = Replica(settings, dying(point))
        await victim.start()
        with pytest.raises(aiohttp.ClientError):
            await post(w.client, str(victim.url), create, "k")
        await victim.close()
        assert (one.posts(), two.posts()) == (1, 0)
        one.emulator.faults.end_all()
        async with w.gateway(providers=chosen):
            done = await w.becomes("k", IntentState.DONE)
            live = [made.id for upstream in (one, two) for made in upstream.made()]
            assert live == [done.runtime_id]


async def test_caller_that_disconnects_at_any_point_does_not_cancel_its_create(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """At 20 points: within the request's head and body, and while the provider holds the create.
    See docs/fault-cases.md#fault-19."""
    async with world(tmp_path, sqlite_location, deadline=5) as w, w.gateway(creates=PATIENT) as gateway:
        for point in range(20):
            upstream = list(w.providers.values())[point % 3]
            name = unique_name()
            raw = _request(gateway.url, upstream, name)
            _, writer = await asyncio.open_connection(*_address(gateway.url))
            if point < 12:
                writer.write(raw[: len(raw) * (point + 1) // 12])
                await writer.drain()
            else:
                upstream.fault(("hold", "hold_after")[point // 3 % 2], times=1)
                writer.write(raw)
                await upstream.emulator.until_waiting(1)
            writer.transport.abort()
            await _closed(writer)
            if point >= 12:
                upstream.emulator.release("create")
                assert (await w.becomes(name, IntentState.DONE)).state is IntentState.DONE
            response = await w.made(upstream, name, name)
            assert response.status == 201
            assert [made.id for made in upstream.live(name)] == [response.json["provider_id"]]
        assert await w.unsettled() == []


async def test_terminated_gateway_writes_creates_in_progress_as_unknown_and_releases_them(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    """The provider hangs beyond ``shutdown.grace``. The intent has no lease, so another gateway can take it at once.
    See docs/fault-cases.md#fault-19."""
    async with world(tmp_path, store_location, deadline=30) as w:
        sections = {"shutdown": {"grace": 0.3}, "creates": PATIENT}
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_location.settings, **sections)
        async with replicas(settings, 1) as (gateway,):
            pending = []
            for upstream in w.providers.values():
                upstream.fault("hold", times=1)
                pending.append(asyncio.create_task(w.create(upstream, upstream.name, upstream.name, url=gateway.url)))
                await upstream.emulator.until_waiting(1)
            assert await gateway.terminate() == 0
            for task in pending:
                try:
                    assert (await task).status in {503, 504}
                except aiohttp.ClientError:
                    continue
        for upstream in w.providers.values():
            intent = await w.intent(upstream.name)
            assert (intent.state, intent.lease_until) == (IntentState.UNKNOWN, None)
            upstream.emulator.release()
            await upstream.until_idle()
        async with w.gateway(creates=PATIENT):
            for upstream in w.providers.values():
                done = await w.becomes(upstream.name, IntentState.DONE)
                assert [made.id for made in upstream.live()] == [done.runtime_id]


def dying(point: str) -> tuple[str, ...]:
    """The command of a gateway that kills itself at a point."""
    return (sys.executable, "-m", "tests.faults.dying", point)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _request(url: str, upstream: Upstream, name: str) -> bytes:
    content = json.dumps(body(upstream, upstream.kind, name)).encode()
    head = (
        f"POST /v1/runtimes HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Idempotency-Key: {name}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _closed(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.wait_closed()
    except ConnectionError:
        return
