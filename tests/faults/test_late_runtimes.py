"""Runtimes that are made after their caller received ``outcome_unknown``: within the wait-out, and after it."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.domain.intents import IntentState
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, Setup, settings_of
from tests.faults.replicas import DEADLINE, replicas, write_settings
from tests.faults.world import World, unique_name, world

SHORT = {"wait_out": 0.5}


@pytest.mark.parametrize("api", APIS)
async def test_commit_after_the_timeout_and_within_the_wait_out_is_the_only_runtime(
    api: str, store_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-1."""
    async with world(tmp_path, store_location, deadline=0.3) as w, w.gateway(creates={"wait_out": 30}):
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        upstream.fault("hold", times=1)
        first = await w.create(upstream, name, "k")
        assert (first.status, first.code, first.json["retryable"]) == (504, "outcome_unknown", "same_request")
        assert (first.json["name"], first.json["idempotency_key"]) == (name, "k")
        assert upstream.live() == []
        upstream.emulator.release("create")
        response = await w.made(upstream, name, "k")
        await upstream.until_idle()
        assert response.status == 201
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]
        intent = await w.becomes("k", IntentState.DONE)
        assert (intent.id, intent.surplus) == (first.json["intent"], ())


async def test_commit_after_a_kill_is_the_runtime_that_the_retry_returns(
    store_location: StoreLocation, tmp_path: Path
) -> None:
    """At all three APIs at once: the sending gateway is killed, the providers commit, another gateway gets the retry.
    See docs/fault-cases.md#fault-1."""
    async with world(tmp_path, store_location, deadline=DEADLINE) as w:
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_location.settings)
        async with replicas(settings, 2) as (one, other):
            for upstream in w.providers.values():
                upstream.fault("hold", times=1)
            assert one.url is not None
            pending = [
                asyncio.create_task(w.create(upstream, f"ghost-{name}", f"k-{name}", url=one.url))
                for name, upstream in w.providers.items()
            ]
            for upstream in w.providers.values():
                await upstream.emulator.until_waiting(1)
            await one.kill()
            await asyncio.wait(pending)
            assert all(task.exception() is not None for task in pending)
            for upstream in w.providers.values():
                upstream.emulator.release("create")
            responses = await asyncio.gather(
                *(
                    w.made(upstream, f"ghost-{name}", f"k-{name}", url=other.url)
                    for name, upstream in w.providers.items()
                )
            )
            for upstream, response in zip(w.providers.values(), responses, strict=True):
                assert response.status == 201
                assert [made.id for made in upstream.live()] == [response.json["provider_id"]]
                assert (await w.becomes(f"k-{upstream.name}", IntentState.DONE)).surplus == ()


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_commit_after_the_wait_out_is_found_and_logged_as_late(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-1."""
    async with world(tmp_path, sqlite_location, deadline=0.3) as w, w.gateway(creates=SHORT) as gateway:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        upstream.fault("hold", times=1)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        await w.becomes("k", IntentState.ABSENT)
        upstream.emulator.release("create")
        await upstream.until_idle()
        done = await w.becomes("k", IntentState.DONE)
        assert [made.id for made in upstream.live()] == [done.runtime_id]
        assert upstream.posts() == 1
        assert "intent_done_late" in gateway.log.getvalue()
        response = await w.create(upstream, name, "k")
        assert (response.status, response.json["provider_id"]) == (201, done.runtime_id)


@pytest.mark.parametrize(
    "setup",
    [
        Setup("bctrl", "bctrl", {"live_alias": "second"}),
        Setup("bctrl_browsers", "bctrl-browsers", {"names": "free", "keys": "forgotten"}),
    ],
    ids=lambda setup: setup.api,
)
async def test_second_runtime_after_the_wait_out_is_recorded_counted_and_logged_but_not_stopped(
    setup: Setup, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """One runtime cannot be promised here: the provider has no idempotency keys, and its names are not unique.
    See docs/fault-cases.md#fault-1."""
    async with world(tmp_path, sqlite_location, deadline=0.3, setups=[setup]) as w, w.gateway(creates=SHORT) as gateway:
        upstream, name = w.providers[setup.name], unique_name()
        upstream.fault("hold", times=1)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        await w.becomes("k", IntentState.ABSENT)
        response = await w.made(upstream, name, "k")
        assert response.status == 201
        upstream.emulator.release("create")
        await upstream.until_idle()

        async def shown() -> bool:
            return bool((await w.intent("k")).surplus)

        await eventually(shown, "the second runtime is recorded")
        intent = await w.intent("k")
        assert (intent.state, intent.runtime_id) == (IntentState.DONE, response.json["provider_id"])
        assert {intent.runtime_id, *intent.surplus} == {made.id for made in upstream.live(name)}
        assert len(upstream.live(name)) == 2
        (event,) = _events(gateway.log.getvalue(), "surplus_runtime")
        assert event["level"] == "error"
        assert (event["intent_id"], event["provider"]) == (intent.id, upstream.name)
        await _shows_metric(w, gateway.url, "rtgw_intents_surplus 1.0")
        assert upstream.posts("stop") == upstream.posts("delete") == 0


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_half_a_response_and_a_lagging_look_up_park_the_create(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """The status line proved that a runtime was made, so an empty look-up does not mean absent. Late proof is accepted.
    See docs/fault-cases.md#fault-3."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates=SHORT):
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        for fault in ("half_body", "list_lag", "get_lag"):
            upstream.fault(fault, times=1)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        intent = await w.becomes("k", IntentState.PARKED)
        assert [attempt.made for attempt in intent.attempts] == [True]
        parked = await w.create(upstream, name, "k")
        assert (parked.status, parked.code, parked.json["retryable"]) == (504, "outcome_unknown", "no")
        assert upstream.posts() == 1
        upstream.emulator.release()
        done = await w.becomes("k", IntentState.DONE)
        assert [made.id for made in upstream.live()] == [done.runtime_id]
        assert (await w.create(upstream, name, "k")).json["provider_id"] == done.runtime_id
        assert upstream.posts() == 1


async def test_half_a_response_to_a_free_create_is_settled_by_sending_again(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """durable makes one runtime per key, and an idle one is free: no caller is needed, and no look-up.
    See docs/fault-cases.md#fault-3."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates=SHORT):
        upstream, name = w.providers["durable"], unique_name()
        for fault in ("half_body", "list_lag", "get_lag"):
            upstream.fault(fault, times=1)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        done = await w.becomes("k", IntentState.DONE)
        assert [made.id for made in upstream.live()] == [done.runtime_id]


def _events(log: str, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def _shows_metric(w: World, url: str, line: str) -> None:
    async def shows() -> bool:
        async with w.client.get(url + "/metrics") as response:
            return line in (await response.text()).splitlines()

    await eventually(shows, f"/metrics shows {line}")
