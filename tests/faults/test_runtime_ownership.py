"""Whether a runtime that is found after a lost response is the create's own, or was made natively or by others."""

import asyncio
import itertools
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from gateway.app import plugins
from gateway.domain.intents import IntentState
from tests.faults.callers import get
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, Setup
from tests.faults.world import World, unique_name, world

WORKSPACE = "/api/v1/org/acme/ws/research/runtimes"
CONFIG = {"version": "v2", "metadata": {"labels": {"team": "shop"}}}
OTHER_CONFIG = {"version": "v2", "metadata": {"labels": {"team": "theirs-4711"}}}
PATIENT = {"wait_out": 60}


async def test_lagging_look_up_sends_no_second_create_despite_a_cached_read_and_one_in_flight(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """Settling bypasses every cache, and does not take a runtime for absent that it does not find yet.
    See docs/fault-cases.md#fault-2."""
    setup = Setup("bctrl", "bctrl", {"live_alias": "second"})
    async with world(tmp_path, sqlite_location, deadline=1, setups=[setup]) as w, w.gateway(creates=PATIENT) as gateway:
        upstream, name = w.providers["bctrl"], unique_name()
        page = "/v1/runtimes?provider=bctrl"
        assert (await get(w.client, gateway.url, page)).json["items"] == []
        upstream.fault("hold", operation="list", times=1)
        in_flight = asyncio.create_task(get(w.client, gateway.url, page + "&limit=7"))
        await upstream.emulator.until_waiting(1)
        upstream.fault("drop_after", times=1)
        upstream.fault("list_lag", times=1, reads=3)
        upstream.fault("get_lag", times=1, reads=3)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"
        again = asyncio.create_task(w.made(upstream, name, "k"))
        upstream.emulator.release("list")
        await in_flight
        response = await again
        assert response.status == 201
        assert upstream.posts() == 1
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]


async def test_own_runtime_is_recognised_after_its_config_was_replaced_natively(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-7."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["durable"], unique_name()
        upstream.fault("hold_after", times=1)
        pending = asyncio.create_task(w.create(upstream, name, "k", config=CONFIG))
        await upstream.emulator.until_waiting(1)
        (made,) = upstream.live()
        await upstream.natively(w.client, "PUT", f"{WORKSPACE}/{made.id}/config", {"config": OTHER_CONFIG})
        assert (await pending).code == "outcome_unknown"
        response = await w.made(upstream, name, "k", config=CONFIG)
        assert (response.status, response.json["provider_id"]) == (201, made.id)
        assert (await w.becomes("k", IntentState.DONE)).runtime_id == made.id
        assert len(upstream.made()) == 1


async def test_runtime_of_that_name_with_another_config_already_exists(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-7."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["durable"], unique_name()
        theirs = await upstream.natively(w.client, "POST", WORKSPACE, {"key": name, "config": OTHER_CONFIG})
        response = await w.create(upstream, name, "k", config=CONFIG)
        assert (response.status, response.code) == (409, "already_exists")
        assert "theirs-4711" not in str(response.json)
        assert [made.id for made in upstream.made()] == [theirs["id"]]
        assert await w.unsettled() == []


async def test_lost_response_does_not_make_an_older_native_runtime_the_creates_own(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-7."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates={"wait_out": 1}):
        upstream, name = w.providers["durable"], unique_name()
        with patch.object(upstream.emulator, "now", lambda: time.time() - 60):
            theirs = await upstream.natively(w.client, "POST", WORKSPACE, {"key": name, "config": OTHER_CONFIG})
        upstream.fault("drop_before", times=1)
        assert (await w.create(upstream, name, "k", config=CONFIG)).code == "outcome_unknown"

        async def is_refused() -> bool:
            response = await w.create(upstream, name, "k", config=CONFIG)
            assert response.status >= 400
            return (response.status, response.code) == (409, "already_exists")

        await eventually(is_refused, "the response is already_exists")
        assert [made.id for made in upstream.made()] == [theirs["id"]]


async def test_browser_whose_key_was_forgotten_is_recognised_by_its_marker(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-8."""
    setup = Setup("bctrl_browsers", "bctrl-browsers", {"keys": "forgotten", "names": "unique"})
    async with world(tmp_path, sqlite_location, deadline=1, setups=[setup]) as w, w.gateway(creates=PATIENT) as gateway:
        upstream, name = w.providers["bctrl-browsers"], unique_name()
        upstream.fault("drop_after", times=1)
        first = await w.create(upstream, name, "k")
        response = await w.made(upstream, name, "k")
        assert response.status == 201
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]
        intent = await w.becomes("k", IntentState.DONE)
        if first.code == "outcome_unknown":
            assert first.json["intent"] == intent.id
        native = await upstream.natively(w.client, "GET", f"/v1/browsers/{response.json['provider_id']}")
        assert native["metadata"] == {"rgw_intent": intent.id}
        shown = await get(w.client, gateway.url, f"/v1/runtimes/{response.json['id']}")
        assert intent.id not in str(shown.json) + str(response.json)


async def test_native_browser_of_that_name_already_exists(sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-8."""
    setup = Setup("bctrl_browsers", "bctrl-browsers", {"keys": "forgotten", "names": "unique"})
    async with world(tmp_path, sqlite_location, deadline=1, setups=[setup]) as w, w.gateway(creates=PATIENT):
        upstream, name = w.providers["bctrl-browsers"], unique_name()
        theirs = await upstream.natively(w.client, "POST", "/v1/browsers", {"name": name})
        response = await w.create(upstream, name, "k", if_exists="fail")
        assert (response.status, response.code) == (409, "already_exists")
        assert [made.id for made in upstream.made()] == [theirs["id"]]
        assert await w.unsettled() == []


@pytest.mark.parametrize("api", APIS)
async def test_without_key_and_name_every_attempt_is_a_new_create(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-9."""
    async with world(tmp_path, sqlite_location) as w, w.gateway():
        upstream = w.providers[api.replace("_", "-")]
        responses = [await w.create(upstream, None) for _ in range(2)]
        assert [response.status for response in responses] == [201, 201]
        assert len({response.json["id"] for response in responses}) == len(upstream.live()) == 2


@pytest.mark.parametrize("api", APIS)
async def test_key_without_a_name_makes_one_runtime(api: str, sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-9."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates=PATIENT):
        upstream = w.providers[api.replace("_", "-")]
        upstream.fault("drop_after", times=1)
        await w.create(upstream, None, "k")
        response = await w.made(upstream, None, "k")
        assert response.status == 201
        assert [(made.id, made.name) for made in upstream.live()] == [
            (response.json["provider_id"], response.json["name"])
        ]


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("api", APIS)
async def test_store_lost_between_attempts_leads_to_no_second_runtime(
    api: str, named: bool, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """Derived names and keys are the same again, so the provider recognises the create. The status is 200 or 201.
    See docs/fault-cases.md#fault-9."""
    name = unique_name() if named else None
    async with world(tmp_path, sqlite_location, deadline=1) as w:
        upstream = w.providers[api.replace("_", "-")]
        async with w.gateway(creates=PATIENT):
            upstream.fault("drop_after", times=1)
            upstream.fault("list_lag", times=1)
            await w.create(upstream, name, "k")
        await w.store.close()
        sqlite_location.lose()
        upstream.emulator.release()
        await w.store.open()
        async with w.gateway(creates=PATIENT):
            response = await w.made(upstream, name, "k")
        assert response.status in {200, 201}
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]


_PERSONALITIES = plugins()["bctrl"].personalities
_ALL = [dict(zip(_PERSONALITIES, values, strict=True)) for values in itertools.product(*_PERSONALITIES.values())]


@pytest.mark.parametrize("personality", _ALL, ids=lambda p: ",".join(p.values()))
async def test_after_a_stop_the_key_keeps_its_response_and_the_name_makes_a_new_runtime(
    personality: dict[str, str], sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-11."""
    setup = Setup("bctrl", "bctrl", personality)
    async with world(tmp_path, sqlite_location, setups=[setup]) as w, w.gateway() as gateway:
        upstream, name = w.providers["bctrl"], unique_name()
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
