"""Gateways whose settings change between a create and its retry, and callers and providers that share names."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapters.durable.adapter import DurableAdapter
from gateway.domain.intents import IntentState
from gateway.domain.requests import CreateRequest
from gateway.ports.provider import WireCreate
from tests.faults.callers import Response, post, session
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, KINDS, Setup, body, upstreams
from tests.faults.replicas import OTHER_KEY, encryption_key
from tests.faults.world import World, unique_name, world
from tests.tcp_faults import Mode

SHORT = {"wait_out": 0.5}
PATIENT = {"wait_out": 60}


async def _lost(w: World, name: str, **sections: Any) -> str:
    """Send a durable create whose response is lost, without settling it. Return the id of its intent."""
    upstream = w.providers["durable"]
    async with w.gateway(creates={**PATIENT, "settle_every": 60}, **sections):
        upstream.fault("drop_after", times=1)
        response = await w.create(upstream, name, "k")
        assert response.code == "outcome_unknown"
        intent: str = response.json["intent"]
        return intent


async def test_credentials_of_another_owner_send_nothing_and_the_create_is_parked(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """Where keys are per owner, the same bytes under other credentials would make a second runtime.
    See docs/fault-cases.md#fault-10."""
    setup = Setup("durable", "durable", {"key_uniqueness": "owner", "get_by_key": "yes"})
    async with world(tmp_path, sqlite_location, deadline=1, setups=[setup]) as w:
        upstream, name = w.providers["durable"], unique_name()
        await _lost(w, name)
        other = {"durable": {"token": f"{upstream.settings['token']}.somebody-else"}}
        async with w.gateway(providers=other, creates=SHORT):
            await w.becomes("k", IntentState.PARKED)
            response = await w.create(upstream, name, "k")
            assert (response.status, response.code, response.json["retryable"]) == (504, "outcome_unknown", "no")
        assert upstream.posts() == len(upstream.made()) == 1


async def test_provider_with_a_new_base_url_receives_nothing_of_an_earlier_create(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-10."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, upstreams([Setup("durable", "new", {})]) as (new,):
        upstream, name = w.providers["durable"], unique_name()
        await _lost(w, name)
        async with w.gateway(providers={"durable": new.settings}, creates=SHORT):
            await w.becomes("k", IntentState.PARKED)
            response = await w.create(upstream, name, "k")
            assert (response.code, response.json["retryable"]) == ("outcome_unknown", "no")
        assert (upstream.posts(), new.posts(), new.made()) == (1, 0, [])


async def test_without_the_sealing_key_the_runtime_is_found_by_name_or_the_create_is_parked(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-10."""
    first, second = encryption_key(), encryption_key()
    async with world(tmp_path, sqlite_location, deadline=1) as w:
        upstream, name = w.providers["durable"], unique_name()
        await _lost(w, name, store={**sqlite_location.settings, "encryption_keys": [first]})
        async with w.gateway(store={**sqlite_location.settings, "encryption_keys": [second]}, creates=SHORT):

            async def settled() -> bool:
                return (await w.intent("k")).state in {IntentState.PARKED, IntentState.DONE}

            await eventually(settled, "the intent is done or parked")
            response = await w.create(upstream, name, "k")
            assert (response.code, response.json["retryable"]) == ("outcome_unknown", "no")
        assert upstream.posts() == len(upstream.made()) == 1


async def test_rotated_sealing_key_does_not_affect_the_retry(sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-10."""
    first, second = encryption_key(), encryption_key()
    async with world(tmp_path, sqlite_location, deadline=1) as w:
        upstream, name = w.providers["durable"], unique_name()
        await _lost(w, name, store={**sqlite_location.settings, "encryption_keys": [first]})
        async with w.gateway(store={**sqlite_location.settings, "encryption_keys": [second, first]}, creates=PATIENT):
            response = await w.made(upstream, name, "k")
        assert [made.id for made in upstream.made()] == [response.json["provider_id"]]


async def test_upgrade_that_encodes_creates_differently_resends_the_stored_bytes(
    sqlite_location: StoreLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """See docs/fault-cases.md#fault-10."""
    async with world(tmp_path, sqlite_location, deadline=1) as w:
        upstream, name = w.providers["durable"], unique_name()
        await _lost(w, name)
        (sent,) = upstream.emulator.requests.received("create")
        written = DurableAdapter.wire_create

        def encoded_differently(self: DurableAdapter, request: CreateRequest, scope: str, **options: Any) -> WireCreate:
            wire = written(self, request, scope, **options)
            return WireCreate(wire.body.replace(b"{", b'{"description":"by the new version",', 1), wire.query)

        monkeypatch.setattr(DurableAdapter, "wire_create", encoded_differently)
        async with w.gateway(creates=PATIENT):
            response = await w.made(upstream, name, "k")
        assert response.status == 201
        repeated = upstream.emulator.requests.received("create")[1:]
        assert repeated
        assert all(request.body == sent.body for request in repeated)
        assert [made.id for made in upstream.made()] == [response.json["provider_id"]]


async def test_alias_and_id_of_a_scope_are_one_namespace(sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """Two providers on one account, one with the space's id and one with its alias: 64 creates make one browser.
    See docs/fault-cases.md#fault-12."""
    setup = Setup("bctrl_browsers", "by-id", {"keys": "forgotten", "names": "unique"})
    async with world(tmp_path, sqlite_location, setups=[setup]) as w:
        upstream, name = w.providers["by-id"], unique_name()
        by_alias = {**upstream.settings, "scope": "default"}
        async with w.gateway(providers={"by-alias": by_alias}) as gateway:
            bodies = [{**body(upstream, "browser", name), "provider": where} for where in ("by-id", "by-alias")]
            responses = await asyncio.gather(*(post(w.client, gateway.url, bodies[n % 2]) for n in range(64)))
        assert Counter(response.status for response in responses) == {201: 1, 200: 63}
        assert [made.id for made in upstream.live()] == [responses[0].json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_64_creates_without_a_provider_make_one_runtime_while_a_provider_goes_up_and_down(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-12."""
    setups = [Setup(api, "one", {}), Setup(api, "two", {})]
    async with (
        world(tmp_path, sqlite_location, setups=setups) as w,
        w.gateway(creates=PATIENT) as one,
        w.gateway(creates=PATIENT) as other,
    ):
        flapping = w.providers["one"]
        create = body(None, KINDS[api], unique_name())

        async def racer(number: int) -> Response:
            if number % 8 == 0:
                await flapping.proxy.set_mode(Mode.REFUSE if number % 16 else Mode.FORWARD)
            while True:
                response = await post(w.client, (one, other)[number % 2].url, create, "k")
                if response.status < 300:
                    return response
                assert response.json["retryable"] != "no"

        responses = await asyncio.gather(*(racer(number) for number in range(64)))
        assert {response.status for response in responses} == {201}
        assert len({response.json["id"] for response in responses}) == 1
        live = [made.id for upstream in w.providers.values() for made in upstream.live()]
        assert live == [responses[0].json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_same_key_of_two_principals_is_two_creates_that_reveal_nothing_of_each_other(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-13."""
    async with world(tmp_path, sqlite_location) as w, w.gateway(), session(OTHER_KEY) as other:
        upstream = w.providers[api.replace("_", "-")]
        mine, theirs = unique_name(), unique_name()
        first = await w.create(upstream, mine, "the-key")
        second = await w.create(upstream, theirs, "the-key", client=other)
        assert (first.status, second.status) == (201, 201)
        assert not second.replayed
        assert mine not in str(second.json)
        assert {made.name for made in upstream.live()} == {mine, theirs}
        unnamed = [await w.create(upstream, None, "another", client=client) for client in (w.client, other)]
        assert len({response.json["id"] for response in unnamed}) == 2
        assert len(upstream.live()) == 4


async def test_body_with_reordered_members_is_the_same_create(sqlite_location: StoreLocation, tmp_path: Path) -> None:
    """See docs/fault-cases.md#fault-13."""
    one = {"kind": "durable", "provider": "durable", "name": "n", "labels": {"a": "1", "b": "2"}}
    other = {"labels": {"b": "2", "a": "1"}, "name": "n", "provider": "durable", "kind": "durable"}
    async with world(tmp_path, sqlite_location) as w, w.gateway() as gateway:
        first, second = [await post(w.client, gateway.url, sent, "k") for sent in (one, other)]
    assert (first.status, second.status, second.replayed) == (201, 201, True)
    assert first.json == second.json


async def test_omitted_member_explicit_default_and_empty_list_are_different_creates(
    sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """Otherwise a later version with other defaults would treat two bodies as one. See docs/fault-cases.md#fault-13."""
    launches: list[dict[str, Any]] = [
        {},
        {"launch": {"mode": "ephemeral"}},
        {"launch": {"mode": "ephemeral", "extension_ids": []}},
        {"launch": {"mode": "ephemeral", "humanize": False}},
    ]
    async with world(tmp_path, sqlite_location) as w, w.gateway():
        upstream, name = w.providers["bctrl"], unique_name()
        for number, launch in enumerate(launches):
            assert (await w.create(upstream, f"{name}-{number}", f"k-{number}", **launch)).status == 201
        for number, launch in enumerate(launches):
            for other in range(len(launches)):
                response = await w.create(upstream, f"{name}-{other}", f"k-{other}", **launch)
                expected = (201, None) if other == number else (422, "idempotency_key_reused")
                assert (response.status, response.code) == expected
        assert len(upstream.live()) == upstream.posts() == len(launches)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("api", APIS)
async def test_without_the_sealing_key_the_key_of_a_done_create_returns_its_runtime(
    api: str, start: bool, store_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-10."""
    first, second = encryption_key(), encryption_key()
    async with world(tmp_path, store_location) as w:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        more = {"start": True} if start and api == "durable" else {}
        async with w.gateway(store={**store_location.settings, "encryption_keys": [first]}):
            made = await w.create(upstream, name, "k", **more)
            found = await w.create(upstream, name, "other", **more)
        async with w.gateway(store={**store_location.settings, "encryption_keys": [second]}):
            again = await w.create(upstream, name, "k", **more)
            assert (again.status, again.replayed, again.json["id"]) == (201, True, made.json["id"])
            again = await w.create(upstream, name, "other", **more)
            assert (again.status, again.replayed, again.json["id"]) == (200, True, made.json["id"])
            other = await w.create(upstream, unique_name(), "k", **more)
            assert other.code == "idempotency_key_reused"
        assert (made.status, found.status) == (201, 200)
        assert [one.id for one in upstream.made()] == [made.json["provider_id"]]
