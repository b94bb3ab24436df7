"""Creates and starts whose callers do not wait for the end: ``Prefer: respond-async`` and ``?wait=``."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.api.pipeline import ENDPOINTS
from gateway.domain.access import Principal
from gateway.domain.errors import ValidationFailed
from gateway.domain.values import State
from gateway.services.waiting.hub import FAST
from gateway.services.waiting.places import CHECK_EVERY
from gateway.settings import HttpSettings
from tests.component.api.conftest import KEY, Serve, digest
from tests.component.api.waiting_scene import OTHER_KEY, Scene

AGENT = {"kind": "durable", "name": "agent"}
BROWSER = {"kind": "browser", "name": "shop"}


@pytest.fixture
async def scene(serve: Serve) -> AsyncIterator[Scene]:
    made = Scene(serve)
    await made.begin()
    yield made
    made.gate.release()


async def test_async_create_returns_202_with_the_runtime(scene: Scene) -> None:
    response = await scene.send("POST", "/v1/runtimes", AGENT, Prefer="wait=5, Respond-Async; x=1")
    runtime = response.json
    assert (response.status, runtime["object"], runtime["name"]) == (202, "runtime", "agent")
    assert response.headers["location"] == f"/v1/runtimes/{runtime['id']}"
    assert response.headers["preference-applied"] == "respond-async"
    assert response.headers["retry-after"] == "1"


async def test_async_create_at_a_slow_provider_returns_its_intent_and_goes_on(scene: Scene) -> None:
    scene.hold(scene.durable, "create")
    create = scene.send("POST", "/v1/runtimes", AGENT, Prefer="respond-async", Idempotency_Key="k1")
    await scene.clock.passes(1.0)
    accepted = await create
    assert (accepted.status, accepted.json["object"], accepted.json["state"]) == (202, "intent", "open")
    assert accepted.headers["location"] == f"/v1/intents/{accepted.json['id']}"
    await scene.release(scene.durable, "create")
    done = await scene.eventually(accepted.headers["location"], lambda intent: intent["state"] == "done")
    replayed = await scene.send("POST", "/v1/runtimes", AGENT, Idempotency_Key="k1")
    assert (replayed.status, replayed.json["id"]) == (201, done["runtime_id"])
    assert replayed.headers["idempotency-replayed"] == "true"
    assert scene.durable.world.asked.count("create") == 1


async def test_async_replay_returns_the_final_response(scene: Scene) -> None:
    await scene.send("POST", "/v1/runtimes", AGENT, Prefer="respond-async", Idempotency_Key="k1")
    replayed = await scene.send("POST", "/v1/runtimes", AGENT, Prefer="respond-async", Idempotency_Key="k1")
    assert (replayed.status, replayed.json["created"]) == (201, True)
    assert "preference-applied" not in replayed.headers


async def test_async_create_waits_for_its_record_however_long_it_takes(scene: Scene) -> None:
    """A 202 promises that the create is not lost, so there is none before the intent is written."""
    scene.hold(scene.browser, "find")
    create = scene.send("POST", "/v1/runtimes", BROWSER, Prefer="respond-async")
    await scene.clock.passes(1.0)
    scene.hold(scene.browser, "create")
    await scene.release(scene.browser, "find")
    assert (await create).json["object"] == "intent"


async def test_async_create_that_fails_at_once_returns_the_problem(scene: Scene) -> None:
    scene.durable.world.fail("create", ValidationFailed("No."))
    response = await scene.send("POST", "/v1/runtimes", {**AGENT, "provider": "one"}, Prefer="respond-async")
    assert response.status >= 400
    assert response.headers["content-type"] == "application/problem+json"


async def test_refused_create_is_found_in_its_intent(scene: Scene) -> None:
    scene.hold(scene.durable, "create")
    scene.durable.world.fail("create", ValidationFailed("No."))
    create = scene.send("POST", "/v1/runtimes", AGENT, Prefer="respond-async")
    await scene.clock.passes(1.0)
    location = (await create).headers["location"]
    await scene.release(scene.durable, "create")
    intent = await scene.eventually(location, lambda found: found["state"] != "open")
    assert intent["problem"]["code"]


@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED])
async def test_wait_returns_201_once_the_runtime_runs_or_has_failed(scene: Scene, state: State) -> None:
    scene.count(scene.browser, "get")
    create = scene.send("POST", "/v1/runtimes?wait=30", BROWSER, Prefer="respond-async")
    await scene.called(scene.browser, "get")
    (made,) = scene.browser.world.runtimes
    scene.browser.move(made, state)
    await scene.clock.passes(FAST)
    response = await create
    assert (response.status, response.json["state"], response.json["created"]) == (201, state, True)
    assert response.headers["location"] == f"/v1/runtimes/{response.json['id']}"
    assert "preference-applied" not in response.headers


async def test_wait_returns_202_with_the_runtime_that_still_starts(scene: Scene) -> None:
    scene.count(scene.browser, "get")
    create = scene.send("POST", "/v1/runtimes?wait=30", BROWSER)
    await scene.called(scene.browser, "get")
    await scene.clock.passes(30)
    response = await create
    assert (response.status, response.json["state"]) == (202, "starting")
    assert response.headers["retry-after"] == "1"


async def test_wait_returns_201_for_a_runtime_that_does_not_start(scene: Scene) -> None:
    response = await scene.send("POST", "/v1/runtimes?wait=60", AGENT)
    assert (response.status, response.json["state"]) == (201, "idle")


async def test_wait_of_zero_returns_what_is_known_at_once(scene: Scene) -> None:
    scene.hold(scene.durable, "create")
    response = await scene.send("POST", "/v1/runtimes?wait=0", AGENT)
    assert (response.status, response.json["object"]) == (202, "intent")


async def test_wait_returns_202_when_its_time_is_over(scene: Scene) -> None:
    scene.hold(scene.durable, "create")
    create = scene.send("POST", "/v1/runtimes?wait=5", AGENT)
    await scene.clock.passes(5)
    assert (await create).json["object"] == "intent"


@pytest.mark.parametrize("wait", ["61", "-1", "1.5", "", "0&wait=0"])
async def test_wait_beyond_its_limits_is_refused(scene: Scene, wait: str) -> None:
    response = await scene.send("POST", f"/v1/runtimes?wait={wait}", AGENT)
    assert (response.status, response.json["errors"][0]["parameter"]) == (400, "wait")
    assert not scene.durable.world.asked


async def test_other_verbs_do_not_take_wait(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    assert (await scene.send("POST", f"/v1/runtimes/{agent.id}/pause?wait=1")).status == 400


async def test_async_start_returns_202_with_the_runtime_and_goes_on(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    scene.hold(scene.durable, "start")
    accepted = await scene.send("POST", f"/v1/runtimes/{agent.id}/start", Prefer="respond-async")
    assert (accepted.status, accepted.json["state"]) == (202, "idle")
    assert accepted.headers["location"] == f"/v1/runtimes/{agent.id}"
    assert accepted.headers["preference-applied"] == "respond-async"
    await scene.release(scene.durable, "start")
    await scene.eventually(accepted.headers["location"], lambda runtime: runtime["state"] == "running")


async def test_start_that_waits_returns_the_started_runtime(scene: Scene) -> None:
    agent = scene.durable.put("agent")
    response = await scene.send("POST", f"/v1/runtimes/{agent.id}/start?wait=10")
    assert (response.status, response.json["state"], response.json["changed"]) == (200, "running", True)


@pytest.mark.parametrize("asks", ["?wait=10", ""])
async def test_start_of_an_unknown_runtime_is_refused_and_not_accepted(scene: Scene, asks: str) -> None:
    response = await scene.send("POST", f"/v1/runtimes/one.absent/start{asks}", Prefer="respond-async")
    assert response.status == 404


async def test_async_create_that_also_starts_shows_the_runtime_before_it_is_started(scene: Scene) -> None:
    scene.hold(scene.durable, "start")
    accepted = await scene.send("POST", "/v1/runtimes", {**AGENT, "start": True}, Prefer="respond-async")
    assert (accepted.status, accepted.json["state"], accepted.json["created"]) == (202, "idle", True)
    await scene.release(scene.durable, "start")
    await scene.eventually(accepted.headers["location"], lambda runtime: runtime["state"] == "running")


async def test_create_of_a_name_that_another_create_holds_is_not_accepted_with_its_intent(scene: Scene) -> None:
    """The intent is another principal's, and the outcome may be a conflict."""
    await scene.begin(others={OTHER_KEY: Principal("bank")})
    scene.hold(scene.durable, "create")
    first = scene.send("POST", "/v1/runtimes", {**AGENT, "provider": "one"}, Prefer="respond-async")
    await scene.clock.passes(1.0)
    assert (await first).status == 202
    body = {**AGENT, "provider": "one", "display_name": "another"}
    second = scene.send("POST", "/v1/runtimes?wait=0", body, X_API_Key=OTHER_KEY, Authorization="")
    await scene.watch.until(lambda: scene.clock.sleeping != {})
    assert not second.done()
    await scene.release(scene.durable, "create")
    while not second.done():
        for future in list(scene.clock.sleeping):
            future.set_result(None) if not future.done() else None
        await asyncio.sleep(0)
    response = await second
    assert response.status == 409 or response.json["principal"] == "bank"


async def test_waiting_calls_take_no_place_of_requests_in_flight(scene: Scene) -> None:
    await scene.begin(http=HttpSettings(max_requests_in_flight=1))
    scene.hold(scene.durable, "create")
    create = scene.send("POST", "/v1/runtimes?wait=60", AGENT)
    await scene.called(scene.durable, "create")
    assert (await scene.send("GET", "/v1/me")).status == 200
    assert scene.api.metrics.registry.get_sample_value("rtgw_waiting") == 1
    await scene.release(scene.durable, "create")
    assert (await create).status == 201
    assert scene.api.metrics.registry.get_sample_value("rtgw_waiting") == 0


async def test_create_that_goes_on_keeps_its_place(scene: Scene) -> None:
    await scene.begin(http=HttpSettings(max_waiting=1))
    scene.hold(scene.durable, "create")
    assert (await scene.send("POST", "/v1/runtimes?wait=0", AGENT)).status == 202
    refused = await scene.send("POST", "/v1/runtimes?wait=0", {**AGENT, "name": "other"})
    assert (refused.status, refused.json["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    assert scene.api.metrics.registry.get_sample_value("rtgw_requests_rejected_total", {"reason": "waiting"}) == 1
    await scene.release(scene.durable, "create")
    await scene.eventually("/v1/intents", lambda page: page["items"][0]["state"] == "done")
    assert (await scene.send("POST", "/v1/runtimes?wait=5", {**AGENT, "name": "other"})).status == 201


async def test_one_principal_cannot_take_all_places(scene: Scene) -> None:
    await scene.begin(http=HttpSettings(max_waiting=3), others={OTHER_KEY: Principal("bank")})
    scene.hold(scene.durable, "create")
    statuses = [
        (await scene.send("POST", "/v1/runtimes?wait=0", {**AGENT, "name": f"n{number}"})).status for number in range(3)
    ]
    assert statuses == [202, 202, 429]
    headers = {"X_API_Key": OTHER_KEY, "Authorization": ""}
    assert (await scene.send("POST", "/v1/runtimes?wait=0", AGENT, **headers)).status == 202


async def test_shutdown_answers_those_that_wait_and_lets_their_creates_end(scene: Scene) -> None:
    await scene.begin(shutdown_timeout=30)
    scene.hold(scene.durable, "create")
    create = scene.send("POST", "/v1/runtimes?wait=60", AGENT, Idempotency_Key="k1")
    await scene.called(scene.durable, "create")
    stopping = asyncio.create_task(scene.api.runner.cleanup())
    accepted = await create
    assert (accepted.status, accepted.json["object"]) == (202, "intent")
    assert not stopping.done()
    await scene.release(scene.durable, "create")
    await stopping
    assert [runtime.name for runtime in scene.durable.world.runtimes.values()] == ["agent"]


async def test_create_that_the_shutdown_interrupts_before_its_record_made_nothing(scene: Scene) -> None:
    await scene.begin(shutdown_timeout=0)
    scene.hold(scene.browser, "find")
    create = scene.send("POST", "/v1/runtimes", BROWSER, Prefer="respond-async")
    await scene.called(scene.browser, "find")
    await scene.api.runner.cleanup()
    assert (await create).json["code"] in {"overloaded", "outcome_unknown"}
    assert "create" not in scene.browser.world.asked


async def test_create_whose_key_is_revoked_meanwhile_goes_on_without_its_caller(scene: Scene) -> None:
    await scene.begin(others={OTHER_KEY: Principal("bank")})
    scene.hold(scene.durable, "create")
    create = scene.send("POST", "/v1/runtimes?wait=60", AGENT, X_API_Key=OTHER_KEY, Authorization="")
    await scene.called(scene.durable, "create")
    scene.api.app[ENDPOINTS].authenticator.replace({digest(KEY): Principal("shop")})
    await scene.clock.passes(CHECK_EVERY)
    assert (await create).status == 401
    await scene.release(scene.durable, "create")
    await scene.eventually("/v1/runtimes", lambda page: [each["name"] for each in page["items"]] == ["agent"])


async def test_bug_in_a_create_that_went_on_is_logged(scene: Scene) -> None:
    scene.hold(scene.durable, "create")
    scene.durable.world.fail("create", RuntimeError("a bug"))  # type: ignore[arg-type]
    await scene.send("POST", "/v1/runtimes?wait=0", AGENT)
    await scene.release(scene.durable, "create")
    fields = await scene.api.logger.one("unexpected_error")
    assert "a bug" in fields["exception"]
