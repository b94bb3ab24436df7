"""What is found at a provider after an answer was lost: ours, or somebody else's."""

import asyncio
import itertools
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from gateway.app import plugins
from gateway.domain.intents import IntentState
from tests.faults.callers import get
from tests.faults.conftest import StorePlace
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, Setup
from tests.faults.world import World, a_name, world

WORKSPACE = "/api/v1/org/acme/ws/research/runtimes"
CONFIG = {"version": "v2", "metadata": {"labels": {"team": "shop"}}}
OTHER_CONFIG = {"version": "v2", "metadata": {"labels": {"team": "theirs-4711"}}}
PATIENT = {"wait_out": 60}


async def test_case_02_a_look_up_that_lags_behind_a_cached_read_and_one_under_way_leads_to_no_second_create(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    """Settling reads past every cache; what it does not see yet is not concluded to be absent."""
    setup = Setup("bctrl", "bctrl", {"live_alias": "second"})
    async with world(tmp_path, sqlite_place, deadline=1, setups=[setup]) as w, w.gateway(creates=PATIENT) as gateway:
        upstream, name = w.providers["bctrl"], a_name()
        page = "/v1/runtimes?provider=bctrl"
        assert (await get(w.client, gateway.url, page)).json["items"] == []
        upstream.fault("hold", operation="list", times=1)
        under_way = asyncio.create_task(get(w.client, gateway.url, page + "&limit=7"))
        await upstream.emulator.until_waiting(1)
        upstream.fault("drop_after", times=1)
        upstream.fault("list_lag", times=1, reads=3)
        upstream.fault("get_lag", times=1, reads=3)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        again = asyncio.create_task(w.made(upstream, name, "k"))
        upstream.emulator.release("list")
        await under_way
        answer = await again
        assert answer.status == 201
        assert upstream.posts() == 1
        assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]


async def test_case_07_a_config_that_was_replaced_natively_does_not_make_our_runtime_another(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["durable"], a_name()
        upstream.fault("hold_after", times=1)
        asked = asyncio.create_task(w.create(upstream, name, "k", config=CONFIG))
        await upstream.emulator.until_waiting(1)
        (made,) = upstream.live()
        await upstream.natively(w.client, "PUT", f"{WORKSPACE}/{made.id}/config", {"config": OTHER_CONFIG})
        assert (await asked).code == "outcome_unknown"
        answer = await w.made(upstream, name, "k", config=CONFIG)
        assert (answer.status, answer.json["provider_id"]) == (201, made.id)
        assert (await w.becomes("k", IntentState.DONE)).runtime_id == made.id
        assert len(upstream.made()) == 1


async def test_case_07_a_runtime_of_that_name_with_another_config_is_somebody_elses(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["durable"], a_name()
        theirs = await upstream.natively(w.client, "POST", WORKSPACE, {"key": name, "config": OTHER_CONFIG})
        answer = await w.create(upstream, name, "k", config=CONFIG)
        assert (answer.status, answer.code) == (409, "already_exists")
        assert "theirs-4711" not in str(answer.json)
        assert [made.id for made in upstream.made()] == [theirs["id"]]
        assert await w.unsettled() == []


async def test_case_07_a_lost_answer_about_a_runtime_of_somebody_else_is_no_proof_that_it_is_ours(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates={"wait_out": 1}):
        upstream, name = w.providers["durable"], a_name()
        with patch.object(upstream.emulator, "now", lambda: time.time() - 60):
            theirs = await upstream.natively(w.client, "POST", WORKSPACE, {"key": name, "config": OTHER_CONFIG})
        upstream.fault("drop_before", times=1)
        assert (await w.create(upstream, name, "k", config=CONFIG)).code == "outcome_unknown"

        async def is_told() -> bool:
            answer = await w.create(upstream, name, "k", config=CONFIG)
            assert answer.status >= 400
            return (answer.status, answer.code) == (409, "already_exists")

        await eventually(is_told, "it is told as somebody else's")
        assert [made.id for made in upstream.made()] == [theirs["id"]]


async def test_case_08_a_browser_whose_key_was_forgotten_is_known_by_its_marker(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    setup = Setup("bctrl_browsers", "bctrl-browsers", {"keys": "forgotten", "names": "unique"})
    async with world(tmp_path, sqlite_place, deadline=1, setups=[setup]) as w, w.gateway(creates=PATIENT) as gateway:
        upstream, name = w.providers["bctrl-browsers"], a_name()
        upstream.fault("drop_after", times=1)
        first = await w.create(upstream, name, "k")
        answer = await w.made(upstream, name, "k")
        assert answer.status == 201
        assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]
        intent = await w.becomes("k", IntentState.DONE)
        if first.code == "outcome_unknown":
            assert first.json["intent"] == intent.id
        native = await upstream.natively(w.client, "GET", f"/v1/browsers/{answer.json['provider_id']}")
        assert native["metadata"] == {"rgw_intent": intent.id}
        shown = await get(w.client, gateway.url, f"/v1/runtimes/{answer.json['id']}")
        assert intent.id not in str(shown.json) + str(answer.json)


async def test_case_08_a_browser_of_that_name_that_was_made_natively_is_somebody_elses(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    setup = Setup("bctrl_browsers", "bctrl-browsers", {"keys": "forgotten", "names": "unique"})
    async with world(tmp_path, sqlite_place, deadline=1, setups=[setup]) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["bctrl-browsers"], a_name()
        theirs = await upstream.natively(w.client, "POST", "/v1/browsers", {"name": name})
        answer = await w.create(upstream, name, "k", if_exists="fail")
        assert (answer.status, answer.code) == (409, "already_exists")
        assert [made.id for made in upstream.made()] == [theirs["id"]]
        assert await w.unsettled() == []


@pytest.mark.parametrize("api", APIS)
async def test_case_09_without_key_and_name_every_try_is_a_create_of_its_own(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place) as w, w.gateway():
        upstream = w.providers[api.replace("_", "-")]
        answers = [await w.create(upstream, None) for _ in range(2)]
        assert [answer.status for answer in answers] == [201, 201]
        assert len({answer.json["id"] for answer in answers}) == len(upstream.live()) == 2


@pytest.mark.parametrize("api", APIS)
async def test_case_09_a_key_without_a_name_is_enough_for_one_runtime(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream = w.providers[api.replace("_", "-")]
        upstream.fault("drop_after", times=1)
        await w.create(upstream, None, "k")
        answer = await w.made(upstream, None, "k")
        assert answer.status == 201
        assert [(made.id, made.name) for made in upstream.live()] == [(answer.json["provider_id"], answer.json["name"])]


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("api", APIS)
async def test_case_09_a_store_that_is_lost_between_tries_makes_no_second_runtime(
    api: str, named: bool, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    """Names and keys are derived, so the provider recognises the create; which of the two codes tells it is its own."""
    name = a_name() if named else None
    async with world(tmp_path, sqlite_place, deadline=1) as w:
        upstream = w.providers[api.replace("_", "-")]
        async with w.gateway(creates=PATIENT):
            upstream.fault("drop_after", times=1)
            upstream.fault("list_lag", times=1)
            await w.create(upstream, name, "k")
        await w.store.close()
        sqlite_place.lose()
        upstream.emulator.release()
        await w.store.open()
        async with w.gateway(creates=PATIENT):
            answer = await w.made(upstream, name, "k")
        assert answer.status in {200, 201}
        assert [made.id for made in upstream.live()] == [answer.json["provider_id"]]


_PERSONALITIES = plugins()["bctrl"].personalities
_ALL = [dict(zip(_PERSONALITIES, values, strict=True)) for values in itertools.product(*_PERSONALITIES.values())]


@pytest.mark.parametrize("personality", _ALL, ids=lambda p: ",".join(p.values()))
async def test_case_11_after_a_stop_a_key_keeps_its_answer_and_a_name_makes_a_new_runtime(
    personality: dict[str, str], sqlite_place: StorePlace, tmp_path: Path
) -> None:
    setup = Setup("bctrl", "bctrl", personality)
    async with world(tmp_path, sqlite_place, setups=[setup]) as w, w.gateway() as gateway:
        upstream, name = w.providers["bctrl"], a_name()
        first = await w.create(upstream, name, "k")
        assert first.status == 201
        async with w.client.post(f"{gateway.url}/v1/runtimes/{first.json['id']}/stop") as stopped:
            assert stopped.status == 200
        again = await w.create(upstream, name, "k")
        assert (again.status, again.replayed, again.json) == (201, True, first.json)
        assert upstream.live() == []
        assert upstream.posts() == 1
        new = await w.create(upstream, name)
        if personality["stopped_alias"] == "taken":
            assert (new.status, new.code) == (409, "already_exists")
            assert upstream.live() == []
        else:
            assert new.status == 201
            assert [made.id for made in upstream.live()] == [new.json["provider_id"]]
            assert new.json["provider_id"] != first.json["provider_id"]
        assert (await w.create(upstream, name, "k")).json == first.json
        await _nothing_open(w)


async def _nothing_open(w: World) -> None:
    assert await w.unsettled() == []
