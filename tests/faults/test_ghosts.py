"""Runtimes that are made after their caller was told that nobody knows: within the wait-out, and after it."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.domain.intents import IntentState
from tests.faults.conftest import StorePlace
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, Setup, settings_of
from tests.faults.replicas import DEADLINE, replicas, write_settings
from tests.faults.world import World, a_name, world

SHORT = {"wait_out": 0.5}


@pytest.mark.parametrize("api", APIS)
async def test_case_01_a_commit_after_the_timeout_and_within_the_wait_is_the_one_runtime(
    api: str, store_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, store_place, deadline=0.3) as w, w.gateway(creates={"wait_out": 30}):
        upstream, name = w.providers[api.replace("_", "-")], a_name()
        upstream.fault("hold", times=1)
        first = await w.create(upstream, name, "k")
        assert (first.status, first.code, first.json["retryable"]) == (504, "outcome_unknown", "same_request")
        assert (first.json["name"], first.json["idempotency_key"]) == (name, "k")
        assert upstream.live() == []
        upstream.emulator.release("create")
        answer = await w.made(upstream, name, "k")
        await upstream.at_rest()
        assert answer.status == 201
        assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]
        intent = await w.becomes("k", IntentState.DONE)
        assert (intent.id, intent.surplus) == (first.json["intent"], ())


async def test_case_01_a_commit_after_a_kill_is_the_one_runtime_of_the_retry(
    store_place: StorePlace, tmp_path: Path
) -> None:
    """At all three APIs at once: the gateway that sent is killed, then they commit, then another gateway is asked."""
    async with world(tmp_path, store_place, deadline=DEADLINE) as w:
        settings = write_settings(tmp_path, settings_of(w.providers.values()), store_place.settings)
        async with replicas(settings, 2) as (one, other):
            for upstream in w.providers.values():
                upstream.fault("hold", times=1)
            assert one.url is not None
            asked = [
                asyncio.create_task(w.create(upstream, f"ghost-{name}", f"k-{name}", url=one.url))
                for name, upstream in w.providers.items()
            ]
            for upstream in w.providers.values():
                await upstream.emulator.until_waiting(1)
            await one.kill()
            await asyncio.wait(asked)
            assert all(task.exception() is not None for task in asked)
            for upstream in w.providers.values():
                upstream.emulator.release("create")
            answers = await asyncio.gather(
                *(
                    w.made(upstream, f"ghost-{name}", f"k-{name}", url=other.url)
                    for name, upstream in w.providers.items()
                )
            )
            for upstream, answer in zip(w.providers.values(), answers, strict=True):
                assert answer.status == 201
                assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]
                assert (await w.becomes(f"k-{upstream.name}", IntentState.DONE)).surplus == ()


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_case_01_a_commit_after_the_wait_is_found_late_and_told(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=0.3) as w, w.gateway(creates=SHORT) as gateway:
        upstream, name = w.providers[api.replace("_", "-")], a_name()
        upstream.fault("hold", times=1)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        await w.becomes("k", IntentState.ABSENT)
        upstream.emulator.release("create")
        await upstream.at_rest()
        done = await w.becomes("k", IntentState.DONE)
        assert [made.id for made in upstream.live()] == [done.runtime_id]
        assert upstream.posts() == 1
        assert "intent_done_late" in gateway.log.getvalue()
        answer = await w.create(upstream, name, "k")
        assert (answer.status, answer.json["provider_id"]) == (201, done.runtime_id)


@pytest.mark.parametrize(
    "setup",
    [
        Setup("bctrl", "bctrl", {"live_alias": "second"}),
        Setup("bctrl_browsers", "bctrl-browsers", {"names": "free", "keys": "forgotten"}),
    ],
    ids=lambda setup: setup.api,
)
async def test_case_01_a_second_runtime_after_the_wait_is_shown_counted_and_told_and_nobody_stops_it(
    setup: Setup, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    """What cannot be promised: the provider knows no keys and lets names be taken twice."""
    async with world(tmp_path, sqlite_place, deadline=0.3, setups=[setup]) as w, w.gateway(creates=SHORT) as gateway:
        upstream, name = w.providers[setup.name], a_name()
        upstream.fault("hold", times=1)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        await w.becomes("k", IntentState.ABSENT)
        answer = await w.made(upstream, name, "k")
        assert answer.status == 201
        upstream.emulator.release("create")
        await upstream.at_rest()

        async def shown() -> bool:
            return bool((await w.intent("k")).surplus)

        await eventually(shown, "the second runtime is shown")
        intent = await w.intent("k")
        assert (intent.state, intent.runtime_id) == (IntentState.DONE, answer.json["provider_id"])
        assert {intent.runtime_id, *intent.surplus} == {made.id for made in upstream.live(name)}
        assert len(upstream.live(name)) == 2
        (told,) = _events(gateway.log.getvalue(), "surplus_runtime")
        assert told["level"] == "error"
        assert (told["intent_id"], told["provider"]) == (intent.id, upstream.name)
        await _shows_metric(w, gateway.url, "rtgw_intents_surplus 1.0")
        assert upstream.posts("stop") == upstream.posts("delete") == 0


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_case_03_half_an_answer_and_a_look_up_that_lags_is_for_a_person_and_not_absent(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    """The status line said that something was made, so that nothing is found proves nothing; late proof is taken."""
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates=SHORT):
        upstream, name = w.providers[api.replace("_", "-")], a_name()
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


async def test_case_03_a_free_create_is_simply_sent_again(sqlite_place: StorePlace, tmp_path: Path) -> None:
    """durable makes one runtime per key, and an idle one costs nothing: no caller is needed, and no look."""
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates=SHORT):
        upstream, name = w.providers["durable"], a_name()
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
