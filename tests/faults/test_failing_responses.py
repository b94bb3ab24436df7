"""Responses that report a failure although the create took effect: none of them leads to a second runtime."""

from pathlib import Path
from typing import Any

import pytest

from gateway.domain.intents import IntentState
from gateway.ports.intent_query import IntentQuery
from tests.component.upstream.late_responses import deadlines_end_with
from tests.faults.callers import post
from tests.faults.conftest import StoreLocation
from tests.faults.eventually import eventually
from tests.faults.providers import APIS, KINDS, Setup, body
from tests.faults.world import unique_name, world

AFTER_THE_COMMIT: dict[str, dict[str, Any]] = {
    **{str(status): {"fault": "status_after", "status": status} for status in (402, 408, 409, 429, 500, 502, 503, 504)},
    "HTML 403": {"fault": "html", "status": 403},
    "307": {"fault": "status_after", "status": 307, "body": "", "content_type": "text/plain"},
    "disconnect": {"fault": "drop_after"},
}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("rule", AFTER_THE_COMMIT.values(), ids=AFTER_THE_COMMIT.keys())
async def test_failure_after_the_commit_leads_to_no_failover_and_no_second_runtime(
    rule: dict[str, Any], api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """Two providers are available. A second POST is sent only where the provider recognises a repeated create.
    See docs/fault-cases.md#fault-4."""
    setups = [Setup(api, "one", {}), Setup(api, "two", {})]
    async with (
        world(tmp_path, sqlite_location, deadline=1, setups=setups) as w,
        w.gateway(creates={"wait_out": 1}) as gateway,
    ):
        for upstream in w.providers.values():
            upstream.fault(**rule, times=1)
        create = body(None, KINDS[api], unique_name())
        first = await post(w.client, gateway.url, create, "k")
        called = [upstream for upstream in w.providers.values() if upstream.posts()]
        assert len(called) == 1
        assert called[0].posts() == 1
        (other,) = set(w.providers.values()) - set(called)
        other.emulator.faults.end_all()
        last = first

        async def is_made() -> bool:
            nonlocal last
            last = await post(w.client, gateway.url, create, "k")
            return last.status < 300

        await eventually(is_made, "the create returns a runtime")
        # After 409 the runtime may be one that another caller made just before: then the response is 200.
        assert last.status in ({200, 201} if rule.get("status") == 409 else {201})
        assert [made.id for made in called[0].live()] == [last.json["provider_id"]]
        assert other.made() == []
        assert other.posts() == 0
        assert await w.unsettled() == []
        assert (await w.intent("k")).surplus == ()
        if api == "bctrl":
            assert called[0].posts() == 1


@pytest.mark.parametrize("name", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("status", [402, 409, 429, 500, 503])
async def test_runtime_of_a_create_that_failed_after_the_commit_is_found_without_its_caller(
    status: int, api: str, name: bool, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """All happens within a second, so the provider's ``Date`` does not show what came first.
    See docs/fault-cases.md#fault-4."""
    setups = [Setup(api, "one", {})]
    async with world(tmp_path, sqlite_location, deadline=1, setups=setups) as w, w.gateway(creates={"wait_out": 1}):
        upstream = w.providers["one"]
        upstream.fault("status_after", status=status, times=1)
        response = await w.create(upstream, unique_name() if name else None)
        assert response.code != "already_exists"

        async def is_done() -> bool:
            (intent,) = await w.store.list(IntentQuery())
            return intent.state is IntentState.DONE and [intent.runtime_id] == [made.id for made in upstream.live()]

        await eventually(is_done, "the create is done with its runtime")
        assert upstream.posts() <= 2


@pytest.mark.parametrize("if_exists", ["return", "fail"])
async def test_conflict_after_the_own_commit_at_durable_makes_the_create_done(
    if_exists: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-4."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates={"wait_out": 60}):
        upstream, name = w.providers["durable"], unique_name()
        upstream.fault("status_after", status=409, times=1)
        config = {"version": "v2", "resources": {"cpu_cores": 4}}
        create = {"config": config, "labels": {"team": "blue"}, "if_exists": if_exists}
        response = await w.create(upstream, name, "k", **create)
        if if_exists == "return":
            assert (response.status, response.json["created"]) == (200, False)
        else:
            assert response.code == "outcome_unknown"
            response = await w.made(upstream, name, "k", **create)
        assert [made.id for made in upstream.made()] == [response.json["provider_id"]]
        assert (await w.becomes("k", IntentState.DONE)).runtime_id == response.json["provider_id"]


@pytest.mark.parametrize("api", ["durable", "bctrl_browsers"])
@pytest.mark.parametrize("status", [401, 429])
async def test_refused_replay_leaves_the_create_unknown(
    status: int, api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """See docs/fault-cases.md#fault-6."""
    async with world(tmp_path, sqlite_location, deadline=1) as w, w.gateway(creates={"wait_out": 30}):
        upstream, name = w.providers[api.replace("_", "-")], unique_name()
        upstream.fault("drop_after", times=1)
        upstream.fault("status", status=status, after=1)
        upstream.fault("list_lag", times=1)
        upstream.fault("get_lag", times=1)
        assert (await w.create(upstream, name, "k")).code == "outcome_unknown"

        async def is_refused() -> bool:
            response = await w.create(upstream, name, "k")
            assert response.status >= 400
            return upstream.fired("status") > 0

        await eventually(is_refused, "the replay is refused")
        assert (await w.intent("k")).state in {IntentState.UNKNOWN, IntentState.OPEN}
        await w.becomes("k", IntentState.UNKNOWN)
        upstream.emulator.faults.end_all()
        upstream.emulator.release()
        response = await w.made(upstream, name, "k")
        assert response.status == 201
        assert [made.id for made in upstream.live()] == [response.json["provider_id"]]


@pytest.mark.parametrize("api", ["bctrl", "bctrl_browsers"])
async def test_complete_response_of_another_create_proves_nothing_even_if_the_deadline_ends_with_it(
    api: str, sqlite_location: StoreLocation, tmp_path: Path
) -> None:
    """The gateway was not scheduled for a while, and finds a response and a passed deadline. Nothing was made, so the
    create must be absent after the wait-out, not parked. See docs/fault-cases.md#fault-0."""
    async with (
        world(tmp_path, sqlite_location, setups=[Setup(api, "one", {})]) as w,
        w.gateway(creates={"wait_out": 1}),
    ):
        upstream, name = w.providers["one"], unique_name()
        upstream.fault("other_answer", times=1)
        other = await w.made(upstream, unique_name(), "another")
        assert upstream.fired("other_answer") == 0
        with deadlines_end_with(lambda _: upstream.fired("other_answer") > 0) as late:
            first = await w.create(upstream, name, "k")
        assert late[0].status == (200 if api == "bctrl" else 201)
        assert (first.status, first.code, first.json["retryable"]) == (504, "outcome_unknown", "same_request")
        assert [attempt.made for attempt in (await w.intent("k")).attempts] == [None]
        await w.becomes("k", IntentState.ABSENT)
        response = await w.made(upstream, name, "k")
        assert response.json["provider_id"] != other.json["provider_id"]
        assert [made.id for made in upstream.live(name)] == [response.json["provider_id"]]
