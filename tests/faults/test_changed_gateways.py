"""Gateways that were set up otherwise between a create and its retry, and callers and providers that share names."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapters.durable.adapter import DurableAdapter
from gateway.domain.intents import IntentState
from gateway.domain.requests import CreateRequest
from gateway.ports.provider import WireCreate
from gateway.testing.tcp_faults import Mode
from tests.faults.callers import Answer, post, session
from tests.faults.conftest import StorePlace
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, KINDS, Setup, body, upstreams
from tests.faults.replicas import OTHER_KEY, encryption_key
from tests.faults.world import World, a_name, world

SHORT = {"wait_out": 0.5}
PATIENT = {"wait_out": 60}


async def _lost(w: World, name: str, **sections: Any) -> str:
    """A durable create whose answer was lost, with nobody to settle it; gives its intent."""
    upstream = w.providers["durable"]
    async with w.gateway(creates={**PATIENT, "settle_every": 60}, **sections):
        upstream.fault("drop_after", times=1)
        answer = await w.create(upstream, name, "k")
        assert answer.code == "outcome_unknown"
        intent: str = answer.json["intent"]
        return intent


async def test_case_10_with_the_credentials_of_another_owner_nothing_is_sent_and_a_person_decides(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    """Where keys are per owner, the same bytes under other credentials would make a second runtime."""
    setup = Setup("durable", "durable", {"key_uniqueness": "owner", "get_by_key": "yes"})
    async with world(tmp_path, sqlite_place, deadline=1, setups=[setup]) as w:
        upstream, name = w.providers["durable"], a_name()
        await _lost(w, name)
        other = {"durable": {"token": f"{upstream.settings['token']}.somebody-else"}}
        async with w.gateway(providers=other, creates=SHORT):
            await w.becomes("k", IntentState.PARKED)
            answer = await w.create(upstream, name, "k")
            assert (answer.status, answer.code, answer.json["retryable"]) == (504, "outcome_unknown", "no")
        assert upstream.posts() == len(upstream.made()) == 1


async def test_case_10_a_provider_that_points_elsewhere_now_gets_nothing_of_an_earlier_create(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w, upstreams([Setup("durable", "new", {})]) as (new,):
        upstream, name = w.providers["durable"], a_name()
        await _lost(w, name)
        async with w.gateway(providers={"durable": new.settings}, creates=SHORT):
            await w.becomes("k", IntentState.PARKED)
            answer = await w.create(upstream, name, "k")
            assert (answer.code, answer.json["retryable"]) == ("outcome_unknown", "no")
        assert (upstream.posts(), new.posts(), new.made()) == (1, 0, [])


async def test_case_10_without_the_sealing_key_the_runtime_is_found_by_its_name_or_a_person_decides(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    first, second = encryption_key(), encryption_key()
    async with world(tmp_path, sqlite_place, deadline=1) as w:
        upstream, name = w.providers["durable"], a_name()
        await _lost(w, name, store={**sqlite_place.settings, "encryption_keys": [first]})
        async with w.gateway(store={**sqlite_place.settings, "encryption_keys": [second]}, creates=SHORT):

            async def settled() -> bool:
                return (await w.intent("k")).state in {IntentState.PARKED, IntentState.DONE}

            await eventually(settled, "it is done or a person decides")
            answer = await w.create(upstream, name, "k")
            assert (answer.code, answer.json["retryable"]) == ("outcome_unknown", "no")
        assert upstream.posts() == len(upstream.made()) == 1


async def test_case_10_a_rotated_sealing_key_makes_no_difference(sqlite_place: StorePlace, tmp_path: Path) -> None:
    first, second = encryption_key(), encryption_key()
    async with world(tmp_path, sqlite_place, deadline=1) as w:
        upstream, name = w.providers["durable"], a_name()
        await _lost(w, name, store={**sqlite_place.settings, "encryption_keys": [first]})
        async with w.gateway(store={**sqlite_place.settings, "encryption_keys": [second, first]}, creates=PATIENT):
            answer = await w.made(upstream, name, "k")
        assert [made.id for made in upstream.made()] == [answer.json["provider_id"]]


async def test_case_10_after_an_upgrade_that_writes_creates_otherwise_the_old_bytes_go_out_again(
    sqlite_place: StorePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, sqlite_place, deadline=1) as w:
        upstream, name = w.providers["durable"], a_name()
        await _lost(w, name)
        (sent,) = upstream.emulator.requests.received("create")
        written = DurableAdapter.wire_create

        def otherwise(self: DurableAdapter, request: CreateRequest, scope: str, **options: Any) -> WireCreate:
            wire = written(self, request, scope, **options)
            return WireCreate(wire.body.replace(b"{", b'{"description":"by the new version",', 1), wire.query)

        monkeypatch.setattr(DurableAdapter, "wire_create", otherwise)
        async with w.gateway(creates=PATIENT):
            answer = await w.made(upstream, name, "k")
        assert answer.status == 201
        repeated = upstream.emulator.requests.received("create")[1:]
        assert repeated
        assert all(request.body == sent.body for request in repeated)
        assert [made.id for made in upstream.made()] == [answer.json["provider_id"]]


async def test_case_12_an_alias_of_a_scope_and_its_id_are_one_place(sqlite_place: StorePlace, tmp_path: Path) -> None:
    """Two providers on one account, one called by the space's id and one by its alias: 64 racers, one browser."""
    setup = Setup("bctrl_browsers", "by-id", {"keys": "forgotten", "names": "unique"})
    async with world(tmp_path, sqlite_place, setups=[setup]) as w:
        upstream, name = w.providers["by-id"], a_name()
        by_alias = {**upstream.settings, "scope": "default"}
        async with w.gateway(providers={"by-alias": by_alias}) as gateway:
            bodies = [{**body(upstream, "browser", name), "provider": where} for where in ("by-id", "by-alias")]
            answers = await asyncio.gather(*(post(w.client, gateway.url, bodies[n % 2]) for n in range(64)))
        assert Counter(answer.status for answer in answers) == {201: 1, 200: 63}
        assert [made.id for made in upstream.live()] == [answers[0].json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_case_12_64_racers_that_name_no_provider_make_one_runtime_while_a_provider_flaps(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    setups = [Setup(api, "one", {}), Setup(api, "two", {})]
    async with (
        world(tmp_path, sqlite_place, setups=setups) as w,
        w.gateway(creates=PATIENT) as one,
        w.gateway(creates=PATIENT) as other,
    ):
        flapping = w.providers["one"]
        create = body(None, KINDS[api], a_name())

        async def racer(number: int) -> Answer:
            if number % 8 == 0:
                await flapping.proxy.set_mode(Mode.REFUSE if number % 16 else Mode.FORWARD)
            while True:
                answer = await post(w.client, (one, other)[number % 2].url, create, "k")
                if answer.status < 300:
                    return answer
                assert answer.json["retryable"] != "no"

        answers = await asyncio.gather(*(racer(number) for number in range(64)))
        assert {answer.status for answer in answers} == {201}
        assert len({answer.json["id"] for answer in answers}) == 1
        live = [made.id for upstream in w.providers.values() for made in upstream.live()]
        assert live == [answers[0].json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_case_13_one_key_of_two_principals_is_two_creates_and_tells_neither_of_the_other(
    api: str, sqlite_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, sqlite_place) as w, w.gateway(), session(OTHER_KEY) as other:
        upstream = w.providers[api.replace("_", "-")]
        mine, theirs = a_name(), a_name()
        first = await w.create(upstream, mine, "the-key")
        second = await w.create(upstream, theirs, "the-key", client=other)
        assert (first.status, second.status) == (201, 201)
        assert not second.replayed
        assert mine not in str(second.json)
        assert {made.name for made in upstream.live()} == {mine, theirs}
        unnamed = [await w.create(upstream, None, "another", client=client) for client in (w.client, other)]
        assert len({answer.json["id"] for answer in unnamed}) == 2
        assert len(upstream.live()) == 4


async def test_case_13_a_body_in_another_order_is_the_same_create(sqlite_place: StorePlace, tmp_path: Path) -> None:
    one = {"kind": "durable", "provider": "durable", "name": "n", "labels": {"a": "1", "b": "2"}}
    other = {"labels": {"b": "2", "a": "1"}, "name": "n", "provider": "durable", "kind": "durable"}
    async with world(tmp_path, sqlite_place) as w, w.gateway() as gateway:
        first, second = [await post(w.client, gateway.url, sent, "k") for sent in (one, other)]
    assert (first.status, second.status, second.replayed) == (201, 201, True)
    assert first.json == second.json


async def test_case_13_what_is_left_out_a_default_that_is_given_and_an_empty_list_are_different_creates(
    sqlite_place: StorePlace, tmp_path: Path
) -> None:
    """What a later version fills in by itself must not make two bodies one."""
    launches: list[dict[str, Any]] = [
        {},
        {"launch": {"mode": "ephemeral"}},
        {"launch": {"mode": "ephemeral", "extension_ids": []}},
        {"launch": {"mode": "ephemeral", "humanize": False}},
    ]
    async with world(tmp_path, sqlite_place) as w, w.gateway():
        upstream, name = w.providers["bctrl"], a_name()
        for number, launch in enumerate(launches):
            assert (await w.create(upstream, f"{name}-{number}", f"k-{number}", **launch)).status == 201
        for number, launch in enumerate(launches):
            for other in range(len(launches)):
                answer = await w.create(upstream, f"{name}-{other}", f"k-{other}", **launch)
                expected = (201, None) if other == number else (422, "idempotency_key_reused")
                assert (answer.status, answer.code) == expected
        assert len(upstream.live()) == upstream.posts() == len(launches)
