"""Reads that wait for a change of a runtime: ``?wait=`` with ``If-None-Match``, and event streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from gateway.api.event_streams import COMMENT_EVERY, LONGEST
from gateway.api.pipeline import ENDPOINTS
from gateway.domain.access import Principal, Restrictions
from gateway.domain.errors import NotFound, ProviderCredentialsRejected, ProviderUnavailable, RateLimited
from gateway.domain.ownership import suffix_of
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.services.waiting.following import FAILING_FOR
from gateway.services.waiting.hub import FAST, SLOW
from gateway.services.waiting.places import CHECK_EVERY
from gateway.settings import CorsSettings, HttpSettings
from tests.component.api.conftest import KEY, Response, Serve, digest, stop_reading
from tests.component.api.waiting_scene import OTHER_KEY, Scene, stream

AS_OTHER = {"X_API_Key": OTHER_KEY, "Authorization": ""}


@pytest.fixture
async def scene(serve: Serve) -> AsyncIterator[Scene]:
    made = Scene(serve)
    await made.begin(others={OTHER_KEY: Principal("bank")})
    made.count(made.durable, "get")
    yield made
    made.gate.release()


async def tag_of(scene: Scene, runtime: Runtime) -> str:
    response = await scene.send("GET", f"/v1/runtimes/{runtime.id}")
    return response.headers["etag"]


async def waiting(scene: Scene, runtime: Runtime, tag: str, wait: int = 25, **headers: str) -> "asyncio.Task[Response]":
    """A read that waits, whose first poll has ended."""
    polls = scene.durable.world.asked.count("get")
    call = scene.send("GET", f"/v1/runtimes/{runtime.id}?wait={wait}", If_None_Match=tag, **headers)
    await scene.called(scene.durable, "get", polls + 1)
    return call


async def test_wait_returns_the_runtime_when_it_changes(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    call = await waiting(scene, agent, await tag_of(scene, agent))
    scene.durable.move(agent.provider_id, State.RUNNING)
    await scene.clock.passes(FAST)
    response = await call
    assert (response.status, response.json["state"]) == (200, "running")
    assert response.headers["etag"] == response.json["etag"] == await tag_of(scene, agent)


async def test_wait_returns_304_when_nothing_changes(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    tag = await tag_of(scene, agent)
    call = await waiting(scene, agent, tag)
    await scene.clock.passes(25)
    response = await call
    assert (response.status, response.headers["etag"], response.body) == (304, tag, b"")


@pytest.mark.parametrize("headers", [{}, {"If_None_Match": '"another"'}, {"If_None_Match": "malformed"}])
async def test_wait_returns_at_once_what_the_caller_does_not_have(scene: Scene, headers: Mapping[str, str]) -> None:
    agent = scene.durable.put("agent")
    assert (await scene.send("GET", f"/v1/runtimes/{agent.id}?wait=25", **headers)).status == 200


async def test_wait_never_returns_a_state_from_before_the_caller_came(scene: Scene) -> None:
    """The second caller has read a newer state than the one that the first one waits with."""
    agent = scene.durable.put("agent")
    first = await waiting(scene, agent, await tag_of(scene, agent))
    scene.durable.move(agent.provider_id, State.RUNNING)
    newer = await tag_of(scene, agent)
    second = scene.send("GET", f"/v1/runtimes/{agent.id}?wait=20", If_None_Match=newer)
    await scene.clock.slept(20)
    await scene.clock.passes(FAST)
    assert (await first).json["state"] == "running"
    await scene.clock.passes(20 - FAST)
    assert (await second).status == 304


async def test_write_through_the_gateway_is_polled_after_the_shortest_interval(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    call = await waiting(scene, agent, await tag_of(scene, agent), 60)
    for interval in (1.0, 1.5, 2.25, 3.375, SLOW, SLOW):
        polls = scene.durable.world.asked.count("get")
        await scene.clock.passes(interval)
        await scene.called(scene.durable, "get", polls + 1)
    scene.durable.move(agent.provider_id, State.RUNNING)
    scene.fleet.wrote("one", scene.durable.reference(agent))
    await scene.clock.passes(FAST)
    assert (await call).json["state"] == "running"


async def test_runtime_that_is_deleted_meanwhile_is_404(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    call = await waiting(scene, agent, await tag_of(scene, agent))
    scene.durable.world.runtimes.clear()
    await scene.clock.passes(FAST)
    assert (await call).status == 404


async def test_passing_error_of_the_provider_does_not_end_a_wait(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    tag = await tag_of(scene, agent)
    scene.durable.world.fail("get", ProviderUnavailable("Down."), RateLimited("Slowly.", retry_after=7.0))
    call = await waiting(scene, agent, tag)
    await scene.clock.passes(2 * FAST)
    scene.durable.move(agent.provider_id, State.RUNNING)
    await scene.clock.passes(7.0)
    assert (await call).json["state"] == "running"


async def test_wait_that_ends_while_the_provider_fails_returns_the_problem(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    tag = await tag_of(scene, agent)
    scene.durable.world.fail("get", ProviderUnavailable("Down."))
    call = await waiting(scene, agent, tag, 1)
    await scene.clock.passes(1)
    assert (await call).json["code"] == "provider_unavailable"


async def test_wait_that_ends_before_the_provider_responds_is_a_timeout(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    tag = await tag_of(scene, agent)
    scene.hold(scene.durable, "get")
    call = await waiting(scene, agent, tag, 3)
    await scene.clock.passes(3)
    assert (await call).json["code"] == "provider_timeout"


async def test_lasting_error_of_the_provider_ends_a_wait_at_once(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    tag = await tag_of(scene, agent)
    scene.durable.world.fail("get", ProviderCredentialsRejected("No."))
    assert (await (await waiting(scene, agent, tag))).json["code"] == "provider_credentials_rejected"


async def test_bug_in_a_poll_ends_a_wait_with_an_internal_error(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    tag = await tag_of(scene, agent)
    scene.durable.world.fail("get", ValueError("a bug"))  # type: ignore[arg-type]
    assert (await (await waiting(scene, agent, tag))).json["code"] == "internal_error"


async def test_shutdown_answers_a_waiting_read_with_304(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    call = await waiting(scene, agent, await tag_of(scene, agent))
    await scene.api.runner.cleanup()
    assert (await call).status == 304


async def test_waiting_read_whose_key_is_revoked_is_401(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    call = await waiting(scene, agent, await tag_of(scene, agent), **AS_OTHER)
    scene.api.app[ENDPOINTS].authenticator.replace({digest(KEY): Principal("shop")})
    await scene.clock.passes(CHECK_EVERY)
    assert (await call).status == 401


async def test_client_that_leaves_gives_its_place_back_and_ends_the_polls(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    await waiting(scene, agent, await tag_of(scene, agent))
    scene.api.connections[-1].reset()
    request = await scene.api.logger.one("request")
    while request["status"] != 499:
        await scene.api.logger.watch.until(lambda: any(f.get("status") == 499 for _, _, f in scene.api.logger.events))
        request = next(f for _, _, f in scene.api.logger.events if f.get("status") == 499)
    assert scene.api.metrics.registry.get_sample_value("rtgw_waiting") == 0
    await scene.clock.passes(FAST)
    await scene.polls_ended()
    assert scene.durable.world.asked.count("get") == 2


async def test_stream_sends_the_runtime_and_its_changes(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    events = await stream(scene, agent)
    assert events.headers["content-type"] == "text/event-stream"
    assert events.headers["cache-control"] == "no-store"
    first = await events.frame()
    assert first["id"] == json.loads(first["data"])["etag"] == await tag_of(scene, agent)
    scene.durable.move(agent.provider_id, State.RUNNING)
    await scene.clock.passes(FAST)
    assert (await events.event("runtime"))["state"] == "running"


async def test_stream_continues_after_the_last_event(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    tag = await tag_of(scene, agent)
    events = await stream(scene, agent, Last_Event_ID=tag)
    scene.durable.move(agent.provider_id, State.RUNNING)
    await scene.clock.passes(FAST)
    assert (await events.event("runtime"))["state"] == "running"


async def test_stream_without_changes_sends_comments(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"))
    await events.event("runtime")
    for _ in range(2):
        await scene.clock.passes(COMMENT_EVERY)
        assert await events.frame() == {"": ""}


async def test_stream_ends_when_the_runtime_is_gone(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    events = await stream(scene, agent)
    await events.event("runtime")
    scene.durable.world.runtimes.clear()
    await scene.clock.passes(FAST)
    assert await events.event("gone") == {"id": agent.id, "code": "not_found"}
    assert await events.frame() == {}
    assert await events.connection.closed()


async def test_stream_ends_at_the_shutdown(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"))
    await events.event("runtime")
    stopping = asyncio.create_task(scene.api.runner.cleanup())
    await events.ends("drain")
    await stopping


async def test_stream_ends_after_its_longest_time(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"))
    await events.event("runtime")
    scene.clock.time += LONGEST - COMMENT_EVERY
    await scene.clock.passes(COMMENT_EVERY)
    await events.ends("lifetime")


async def test_stream_ends_when_the_key_is_revoked(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"), **AS_OTHER)
    await events.event("runtime")
    scene.api.app[ENDPOINTS].authenticator.replace({digest(KEY): Principal("shop")})
    await scene.clock.passes(CHECK_EVERY)
    await events.ends("unauthenticated")


async def test_stream_ends_when_the_caller_loses_the_permission(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"), **AS_OTHER)
    await events.event("runtime")
    scene.api.app[ENDPOINTS].authenticator.replace({digest(OTHER_KEY): Principal("bank", frozenset())})
    await scene.clock.passes(CHECK_EVERY)
    await events.ends("permission_denied")


async def test_stream_ends_as_gone_when_the_caller_may_not_see_the_runtime_any_more(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"), **AS_OTHER)
    await events.event("runtime")
    elsewhere = Restrictions(providers=frozenset({"two"}))
    scene.api.app[ENDPOINTS].authenticator.replace({digest(OTHER_KEY): Principal("bank", restrictions=elsewhere)})
    await scene.clock.passes(CHECK_EVERY)
    assert (await events.event("gone"))["code"] == "not_found"


async def test_stream_ends_when_the_provider_has_failed_for_long(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"))
    await events.event("runtime")
    scene.durable.world.fail("get", *[ProviderUnavailable("Down.")] * 9)
    polls = scene.durable.world.asked.count("get")
    for number, pause in enumerate((FAST, 2.0, 4.0, 8.0, 16.0), 1):
        await scene.clock.passes(pause)
        await scene.called(scene.durable, "get", polls + number)
    await scene.clock.passes(30.0)
    assert scene.clock.time == 1_000.0 + FAST + FAILING_FOR
    frame = await events.frame()
    while frame == {"": ""}:
        frame = await events.frame()
    assert json.loads(frame["data"]) == {"reason": "provider_unavailable"}


async def test_stream_of_a_runtime_that_cannot_be_read_is_the_problem_at_once(scene: Scene) -> None:
    await scene.begin()
    agent = scene.durable.put("agent")
    scene.durable.world.fail("get", ProviderUnavailable("Down."))
    for _ in range(2):  # the second is answered from the first one's poll
        refused = await scene.send("GET", f"/v1/runtimes/{agent.id}/events")
        assert (refused.status, refused.json["code"]) == (503, "provider_unavailable")
    assert scene.clock.time == 1_000.0


async def test_stream_of_another_owners_runtime_is_404_as_of_an_absent_one(scene: Scene) -> None:
    await scene.begin(others={OTHER_KEY: Principal("bank", own_only=True)})
    own, foreign = scene.durable.put(f"own{suffix_of('bank')}", provider_id="r1"), scene.durable.put("foreign")
    assert await (await stream(scene, own, **AS_OTHER)).event("runtime")
    refused = await scene.send("GET", f"/v1/runtimes/{foreign.id}/events", **AS_OTHER)
    absent = await scene.send("GET", "/v1/runtimes/one.absent/events", **AS_OTHER)
    assert (refused.status, absent.status) == (404, 404)
    assert refused.json["detail"] == absent.json["detail"]


async def test_each_caller_of_one_runtime_sees_its_own_view_of_it(scene: Scene) -> None:
    """The provider's state is shared, what a caller may see of it is not."""
    await scene.begin(others={OTHER_KEY: Principal("bank", own_only=True)})
    agent = scene.durable.put("agent")
    events = await stream(scene, agent)
    assert (await events.event("runtime"))["name"] == "agent"
    foreign = scene.send("GET", f"/v1/runtimes/{agent.id}?wait=25", If_None_Match='"x"', **AS_OTHER)
    await scene.clock.passes(FAST)
    assert (await foreign).status == 404


async def test_head_of_a_stream_has_no_events(scene: Scene) -> None:
    events = await stream(scene, scene.durable.put("agent"), "HEAD")
    assert events.headers["content-type"] == "text/event-stream"
    assert scene.api.metrics.registry.get_sample_value("rtgw_waiting") == 0


async def test_page_of_a_listed_origin_may_read_a_stream(scene: Scene) -> None:
    await scene.begin(http=HttpSettings(cors=CorsSettings(origins=["https://app.example"])))
    events = await stream(scene, scene.durable.put("agent"), Origin="https://app.example")
    assert events.headers["access-control-allow-origin"] == "https://app.example"
    assert events.headers["vary"] == "Origin, Authorization"
    preflight = await scene.send(
        "OPTIONS", "/v1/runtimes/one.x/events", Origin="https://app.example", Access_Control_Request_Method="GET"
    )
    assert "Last-Event-ID" in preflight.headers["access-control-allow-headers"]


async def test_slow_reader_gets_the_newest_state_and_not_all_of_them(scene: Scene) -> None:
    agent = scene.durable.put("agent", description="x" * 100_000)
    events = await stream(scene, agent)
    stop_reading(events.connection.writer)
    total = 100  # far more than fit into the buffers of both sides
    for number in range(total):
        polls = scene.durable.world.asked.count("get")
        state = State.IDLE if number % 2 else State.RUNNING
        scene.durable.put("agent", state, provider_id=agent.provider_id, description=f"{number} " + "x" * 100_000)
        await scene.clock.passes(FAST)
        await scene.called(scene.durable, "get", polls + 1)
    transport: Any = events.connection.writer.transport
    transport.resume_reading()
    received = 0
    while True:
        runtime = await events.event("runtime")
        received += 1
        if runtime["description"].startswith(f"{total - 1} "):
            break
    assert received < total


async def test_repeated_waits_for_an_absent_runtime_are_answered_as_fast_as_for_another_owners(scene: Scene) -> None:
    await scene.begin(others={OTHER_KEY: Principal("bank", own_only=True)})
    foreign = scene.durable.put("foreign")
    for _ in range(4):
        for runtime_id in (foreign.id, "one.absent"):
            call = scene.send("GET", f"/v1/runtimes/{runtime_id}?wait=9", **AS_OTHER)
            refused = await call
            assert (refused.status, refused.json["detail"]) == (404, "There is no runtime of this id.")
            assert "provider" not in refused.json
            await scene.clock.passes(FAST)


async def test_wait_for_a_runtime_that_others_wait_for_in_vain_is_refused_as_for_an_absent_one(scene: Scene) -> None:
    """The one that waits for a runtime that is gone keeps its poll; a caller that may not see it learns nothing."""
    await scene.begin(others={OTHER_KEY: Principal("bank", own_only=True)})
    scene.durable.world.fail("get", *[NotFound("The provider has none.", provider="one")] * 3)
    first = await scene.send("GET", "/v1/runtimes/one.absent?wait=9")
    assert first.json["detail"] == "The provider has none."
    second = scene.send("GET", "/v1/runtimes/one.absent?wait=9", **AS_OTHER)
    await scene.clock.passes(FAST)
    assert (await second).json["detail"] == "There is no runtime of this id."
