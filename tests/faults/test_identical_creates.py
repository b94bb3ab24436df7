"""64 identical creates at the same moment, at two gateways over one store: one runtime."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import StoreLocation
from tests.faults.providers import APIS
from tests.faults.world import unique_name, world

RACERS = 64


@pytest.mark.parametrize("api", APIS)
async def test_64_creates_with_one_key_receive_the_same_response_and_make_one_runtime(
    api: str, store_location: StoreLocation, tmp_path: Path
) -> None:
    async with world(tmp_path, store_location) as w, w.gateway() as one, w.gateway() as other:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        responses = await asyncio.gather(
            *(w.create(upstream, name, "the-key", url=(one, other)[n % 2].url) for n in range(RACERS))
        )
        assert Counter(response.status for response in responses) == {201: RACERS}
        assert Counter(response.replayed for response in responses) == {True: RACERS - 1, False: 1}
        assert all(response.json == responses[0].json for response in responses)
        assert all(response.headers["Location"] == responses[0].headers["Location"] for response in responses)
        assert [made.id for made in upstream.live()] == [responses[0].json["provider_id"]]
        assert upstream.posts() == 1


@pytest.mark.parametrize("api", APIS)
async def test_64_creates_with_one_name_make_one_runtime_and_find_it_63_times(
    api: str, store_location: StoreLocation, tmp_path: Path
) -> None:
    async with world(tmp_path, store_location) as w, w.gateway() as one, w.gateway() as other:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        responses = await asyncio.gather(
            *(w.create(upstream, name, url=(one, other)[n % 2].url) for n in range(RACERS))
        )
        assert Counter(response.status for response in responses) == {201: 1, 200: RACERS - 1}
        assert Counter(response.json["created"] for response in responses) == {True: 1, False: RACERS - 1}
        assert {response.json["id"] for response in responses} == {responses[0].json["id"]}
        assert [made.id for made in upstream.live()] == [responses[0].json["provider_id"]]


@pytest.mark.parametrize("api", APIS)
async def test_64_creates_at_gateways_that_spell_the_base_url_differently_make_one_runtime(
    api: str, store_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-12."""
    async with world(tmp_path, store_location) as w, w.gateway() as one:
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        own_path = {"durable": "/api/v1"}.get(api, "/v1")
        respelled = upstream.settings["base_url"].removesuffix(own_path).replace("http://", "HTTP://") + own_path + "/"
        upstream.fault("list_lag", times=1)
        async with w.gateway(providers={upstream.name: {"base_url": respelled}}) as other:
            responses = await asyncio.gather(
                *(w.create(upstream, name, url=(one, other)[n % 2].url) for n in range(RACERS))
            )
        assert Counter(response.status for response in responses) == {201: 1, 200: RACERS - 1}
        assert [made.id for made in upstream.live()] == [responses[0].json["provider_id"]]
