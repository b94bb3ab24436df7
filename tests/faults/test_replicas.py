"""Gateways that are killed, frozen, told to stop, left by their callers, or whose clocks are wrong."""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from gateway.domain.intents import IntentState
from gateway.ports.clock import SystemClock
from gateway.testing.postgres_cluster import PostgresCluster
from tests.contract.store_subjects import postgres_stores
from tests.faults.callers import post
from tests.faults.conftest import StorePlace
from tests.faults.providers import Setup, Upstream, body, settings_of
from tests.faults.replicas import DEADLINE, KEY, Replica, encryption_key, replicas, write_settings
from tests.faults.world import a_name, world

PATIENT = {"wait_out": 60}


async def test_case_14_a_gateway_that_was_frozen_past_its_lease_does_no_harm_when_it_goes_on(
    store_place: StorePlace, tmp_path: Path
) -> None:
    """While it was frozen another one has taken its creates over, and ended them."""
    setups = [
        Setup("durable", "durable", {}),
        Setup("bctrl", "bctrl", {"live_alias": "second"}),
        Setup("bctrl_browsers", "bctrl-browsers", {"names": "free", "keys": "remembered"}),
    ]
    async with world(tmp_path, store_place, deadline=DEADLINE, setups=setups) as w:
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_place.settings)
        async with replicas(settings, 2) as (frozen, other):
            assert frozen.url is not None
            assert other.url is not None
            for upstream in w.providers.values():
                upstream.fault("hold_after", times=1)
            asked = [
                asyncio.create_task(w.create(upstream, f"frozen-{name}", f"k-{name}", url=frozen.url))
                for name, upstream in w.providers.items()
            ]
            for upstream in w.providers.values():
                await upstream.emulator.until_waiting(1)
            frozen.freeze()
            answers = await asyncio.gather(
                *(
                    w.made(upstream, f"frozen-{name}", f"k-{name}", url=other.url)
                    for name, upstream in w.providers.items()
                )
            )
            for upstream in w.providers.values():
                upstream.emulator.release("create")
            frozen.thaw()
            late = await asyncio.gather(*asked)
            for upstream, answer, told in zip(w.providers.values(), answers, late, strict=True):
                await upstream.at_rest()
                assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]
                intent = await w.becomes(f"k-{upstream.name}", IntentState.DONE)
                assert (intent.runtime_id, intent.surplus) == (answer.json["provider_id"], ())
                if told.status < 300:
                    assert told.json["provider_id"] == answer.json["provider_id"]


async def test_case_14_a_gateway_that_was_frozen_before_it_sent_sends_no_more(
    store_place: StorePlace, tmp_path: Path
) -> None:
    """It looks whether its word is still fresh right before the first byte. The look before the create is held here."""
    setup = Setup("bctrl", "bctrl", {"live_alias": "second"})
    async with world(tmp_path, store_place, deadline=10, setups=[setup]) as w:
        upstream, name = w.providers["bctrl"], a_name()
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_place.settings)
        async with replicas(settings, 2) as (frozen, other):
            upstream.fault("hold", operation="list", times=1)
            upstream.fault("hold", operation="get", times=1)
            asked = asyncio.create_task(w.create(upstream, name, "k", url=frozen.url))
            await upstream.emulator.until_waiting(1)
            frozen.freeze()
            upstream.emulator.faults.end_all()
            upstream.emulator.release()
            answer = await w.made(upstream, name, "k", url=other.url)
            frozen.thaw()
            await asked
        assert [made.id for made in upstream.made()] == [answer.json["provider_id"]]
        assert upstream.posts() == 1


class _Skewed(SystemClock):
    """A replica's wall clock that is wrong."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def now(self) -> float:
        return super().now() + self._ahead


@pytest.mark.parametrize("database_ahead", [60.0, -60.0])
async def test_case_15_wrong_clocks_make_no_second_runtime(
    database_ahead: float, postgres: PostgresCluster, tmp_path: Path
) -> None:
    """The database's clock jumps while creates are under way, and those of two replicas are ten minutes apart."""
    async with postgres_stores(postgres) as subject:
        settings = {"url": subject.dsn, "encryption_keys": [encryption_key()]}
        place = StorePlace("postgres", settings, subject.make)
        async with (
            world(tmp_path, place, deadline=1) as w,
            w.gateway(clock=_Skewed(600), creates=PATIENT) as ahead,
            w.gateway(clock=_Skewed(-600), creates=PATIENT) as behind,
        ):
            for upstream in w.providers.values():
                upstream.fault("drop_after", times=1)
                name = a_name()
                first = await w.create(upstream, name, f"k-{name}", url=ahead.url)
                await subject.advance(database_ahead)
                answer = await w.made(upstream, name, f"k-{name}", url=behind.url)
                assert answer.status == 201
                assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]
                assert (await w.intent(f"k-{name}")).surplus == ()
                if first.status >= 300:
                    assert first.json["intent"] == (await w.intent(f"k-{name}")).id


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_case_16_without_a_caller_nothing_that_costs_is_sent_again(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates={"wait_out": 0.5}):
        upstream = w.providers[api.replace("_", "-")]
        upstream.fault("drop_before", times=1)
        assert (await w.create(upstream, a_name(), "k")).code == "outcome_unknown"
        await w.becomes("k", IntentState.ABSENT)
        assert upstream.posts() == 1
        upstream.fault("drop_after", times=1)
        assert (await w.create(upstream, name := a_name(), "k2")).status in {201, 504}
        done = await w.becomes("k2", IntentState.DONE)
        assert [(made.id, made.name) for made in upstream.made()] == [(done.runtime_id, name)]
        assert upstream.posts() == 2


async def test_case_16_without_a_caller_what_is_free_is_sent_again(sqlite_place: StorePlace, tmp_path: Path) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream = w.providers["durable"]
        upstream.fault("drop_before", times=1)
        assert (await w.create(upstream, a_name(), "k")).code == "outcome_unknown"
        done = await w.becomes("k", IntentState.DONE)
        assert [made.id for made in upstream.made()] == [done.runtime_id]


@pytest.mark.parametrize("point", ["after:begin", "before:record_created", "after:record_created"])
async def test_case_17_a_gateway_that_dies_at_a_point_of_a_create_leaves_one_runtime(
    point: str, store_place: StorePlace, tmp_path: Path
) -> None:
    """Written down and not sent; answered and not written down; written down and not answered."""
    async with world(tmp_path, store_place, deadline=DEADLINE) as w:
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_place.settings)
        async with w.gateway(creates={"lease_margin": 1, "send_within": 1}) as survivor:

            async def dies(upstream: Upstream) -> None:
                name, victim = (
                    f"dies-{upstream.name}",
                    Replica(settings, dying(point)),
                )
                await victim.start()
                assert victim.url is not None
                with pytest.raises(aiohttp.ClientError):
                    await w.create(upstream, name, name, url=victim.url)
                await victim.close()
                assert upstream.posts() == (0 if point == "after:begin" else 1)
                answer = await w.made(upstream, name, name, url=survivor.url)
                assert answer.status == 201
                assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]
                assert (await w.becomes(name, IntentState.DONE)).surplus == ()
                if point == "after:record_created":
                    assert upstream.posts() == 1

            async with asyncio.TaskGroup() as group:
                for upstream in w.providers.values():
                    group.create_task(dies(upstream))


@pytest.mark.parametrize("point", ["before:move", "after:move"])
async def test_case_17_a_gateway_that_dies_while_it_goes_elsewhere_leaves_one_runtime(
    point: str, store_place: StorePlace, tmp_path: Path
) -> None:
    """The first provider has provably made nothing; it dies around the step to the second one."""
    setups = [Setup("durable", "one", {}), Setup("durable", "two", {})]
    async with world(tmp_path, store_place, deadline=DEADLINE, setups=setups) as w:
        one, two = w.providers.values()
        chosen = {"one": {"order": 1}, "two": {"order": 2}}
        both = {name: {**upstream.settings, **chosen[name]} for name, upstream in w.providers.items()}
        settings = write_settings(tmp_path, both, store_place.settings)
        create = body(None, "durable", a_name())
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


async def test_case_19_a_caller_that_leaves_at_any_point_of_a_create_ends_nothing(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    """At 20 points: in the request's head and body, and while the gateway and the provider are at work."""
    async with world(tmp_path, sqlite_place, deadline=5) as w, w.gateway(creates=PATIENT) as gateway:
        for turn in range(20):
            upstream = list(w.providers.values())[turn % 3]
            name = a_name()
            raw = _request(gateway.url, upstream, name)
            _, writer = await asyncio.open_connection(*_address(gateway.url))
            if turn < 12:
                writer.write(raw[: len(raw) * (turn + 1) // 12])
                await writer.drain()
            else:
                upstream.fault(("hold", "hold_after")[turn // 3 % 2], times=1)
                writer.write(raw)
                await upstream.emulator.until_waiting(1)
            writer.transport.abort()
            await _closed(writer)
            if turn >= 12:
                upstream.emulator.release("create")
                assert (await w.becomes(name, IntentState.DONE)).state is IntentState.DONE
            answer = await w.made(upstream, name, name)
            assert answer.status == 201
            assert [made.id for made in upstream.live(name)] == [answer.json["provider_id"]]
        assert await w.unsettled() == []


async def test_case_19_a_gateway_that_is_told_to_stop_writes_down_that_it_does_not_know(
    store_place: StorePlace, tmp_path: Path
) -> None:
    """The provider hangs, and the drain does not wait for it for ever: the intent is free for others at once."""
    async with world(tmp_path, store_place, deadline=30) as w:
        sections = {"shutdown": {"grace": 0.3}, "creates": PATIENT}
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_place.settings, **sections)
        async with replicas(settings, 1) as (told,):
            asked = []
            for upstream in w.providers.values():
                upstream.fault("hold", times=1)
                asked.append(asyncio.create_task(w.create(upstream, upstream.name, upstream.name, url=told.url)))
                await upstream.emulator.until_waiting(1)
            assert await told.terminate() == 0
            for task in asked:
                try:
                    assert (await task).status in {503, 504}
                except aiohttp.ClientError:
                    continue
        for upstream in w.providers.values():
            intent = await w.intent(upstream.name)
            assert (intent.state, intent.lease_until) == (IntentState.UNKNOWN, None)
            upstream.emulator.release()
            await upstream.at_rest()
        async with w.gateway(creates=PATIENT):
            for upstream in w.providers.values():
                done = await w.becomes(upstream.name, IntentState.DONE)
                assert [made.id for made in upstream.live()] == [done.runtime_id]


def dying(point: str) -> tuple[str, ...]:
    """The command of a gateway that dies at a point."""
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
