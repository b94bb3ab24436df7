"""A gateway key that is replaced between two tries of one create: the caller is its principal and not its key."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.intents import IntentState
from tests.faults.callers import post, session
from tests.faults.conftest import StoreLocation
from tests.faults.providers import APIS, body
from tests.faults.replicas import KEY
from tests.faults.world import unique_name, world

NEW = "the-next-key-of-the-caller-9012"
PATIENT = {"wait_out": 60}


def auth(*keys: str) -> dict[str, Any]:
    """The keys of the principal ``caller``, the first one as the tests' settings have it."""
    return {
        "auth": {"keys": {"caller": {"key": KEY}}} if keys == (KEY,) else {"principals": {"caller": {"keys": keys}}}
    }


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("fault", ["drop_after", "status_after", "half_body"])
@pytest.mark.parametrize("api", APIS)
async def test_retry_of_a_failed_create_with_the_new_key_makes_no_second_runtime(
    api: str, fault: str, named: bool, store_location: StoreLocation, tmp_path: Path
) -> None:
    """Both keys are accepted for a time, then only the new one. See docs/fault-cases.md#fault-0."""
    name = unique_name() if named else None
    async with world(tmp_path, store_location, deadline=1) as w, session(NEW) as renewed:
        upstream = w.providers[api.replace("_", "-")]
        upstream.fault(fault, times=1, **({"status": 429} if fault == "status_after" else {}))
        async with w.gateway(creates=PATIENT, **auth(KEY)) as old:
            await w.create(upstream, name, "k")
            refused = await w.create(upstream, name, "k", client=renewed)
            assert (refused.status, refused.code) == (401, "unauthenticated")
            async with w.gateway(creates=PATIENT, **auth(KEY, NEW)) as both:
                made = await w.made(upstream, name, "k", client=renewed, url=both.url)
                again = await w.create(upstream, name, "k", url=old.url)
                assert (again.replayed, again.json) == (True, made.json)
        async with w.gateway(creates=PATIENT, **auth(NEW)):
            again = await w.create(upstream, name, "k", client=renewed)
            assert (again.status, again.replayed, again.json) == (made.status, True, made.json)
        assert [one.id for one in upstream.live()] == [made.json["provider_id"]]
        assert (await w.intent("k")).state is IntentState.DONE


@pytest.mark.parametrize("api", APIS)
async def test_64_creates_with_both_keys_of_a_principal_make_one_runtime(
    api: str, store_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-0."""
    async with (
        world(tmp_path, store_location) as w,
        session(NEW) as renewed,
        w.gateway(**auth(KEY, NEW)) as one,
        w.gateway(**auth(KEY, NEW)) as other,
    ):
        upstream = w.providers[api.replace("_", "-")]
        wanted = body(upstream, upstream.kind, unique_name())
        responses = await asyncio.gather(
            *(post((w.client, renewed)[n % 2], (one, other)[n // 2 % 2].url, wanted, "k") for n in range(64))
        )
        assert Counter((response.status, response.replayed) for response in responses) == {
            (201, False): 1,
            (201, True): 63,
        }
        assert [made.id for made in upstream.live()] == [responses[0].json["provider_id"]]
        assert upstream.posts() == 1
