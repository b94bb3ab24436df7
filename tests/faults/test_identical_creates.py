"""64 identical creates at the same moment, at two gateways over one store: one runtime."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import StorePlace
from tests.faults.providers import APIS
from tests.faults.world import a_name, world

RACERS = 64


@pytest.mark.parametrize("api", APIS)
async def test_64_creates_of_one_key_are_answered_alike_by_one_runtime(
    api: str, store_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, store_place) as w, w.gateway() as one, w.gateway() as other:
        upstream, name = w.providers[api.replace("_", "-")], a_name()
        answers = await asyncio.gather(
            *(w.create(upstream, name, "the-key", url=(one, other)[n % 2].url) for n in range(RACERS))
        )
        assert Counter(answer.status for answer in answers) == {201: RACERS}
        assert Counter(answer.replayed for answer in answers) == {True: RACERS - 1, False: 1}
        assert all(answer.json == answers[0].json for answer in answers)
        assert all(answer.headers["Location"] == answers[0].headers["Location"] for answer in answers)
        assert [made.id for made in upstream.live()] == [answers[0].json["provider_id"]]
        assert upstream.posts() == 1


@pytest.mark.parametrize("api", APIS)
async def test_64_creates_of_one_name_make_one_runtime_and_find_it_63_times(
    api: str, store_place: StorePlace, tmp_path: Path
) -> None:
    async with world(tmp_path, store_place) as w, w.gateway() as one, w.gateway() as other:
        upstream, name = w.providers[api.replace("_", "-")], a_name()
        answers = await asyncio.gather(*(w.create(upstream, name, url=(one, other)[n % 2].url) for n in range(RACERS)))
        assert Counter(answer.status for answer in answers) == {201: 1, 200: RACERS - 1}
        assert Counter(answer.json["created"] for answer in answers) == {True: 1, False: RACERS - 1}
        assert {answer.json["id"] for answer in answers} == {answers[0].json["id"]}
        assert [made.id for made in upstream.live()] == [answers[0].json["provider_id"]]
