"""Changes whose responses are lost between provider and gateway: the gateway finds their outcome in the same
request."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from tests.component.whole_gateway import Gateway, Response, Upstream, whole_gateway

LOSSES: Final[dict[str, dict[str, Any]]] = {
    "dropped": {"fault": "drop_after"},
    "half a body": {"fault": "half_body"},
    "a web page": {"fault": "html"},
    "500": {"fault": "status_after", "status": 500},
    "503": {"fault": "status_after", "status": 503},
    "504": {"fault": "status_after", "status": 504},
    "a hang": {"fault": "hang_after"},
}
"""How a response is lost after the change took effect."""

SHORT: Final = {"deadlines": dict.fromkeys(("start", "pause", "resume", "reset", "stop", "replace_config"), 2.0)}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway(durable=SHORT, bctrl=SHORT) as started:
        yield started


@pytest.fixture
def durable(gateway: Gateway) -> Upstream:
    return gateway.upstreams["durable"]


async def verb(gateway: Gateway, runtime: Any, name: str, body: Any = None, **headers: str) -> Response:
    return await gateway.call("POST", f"/v1/runtimes/{runtime['id']}/{name}", body, **headers)


def committed(upstream: Upstream, operation: str) -> int:
    """How often the emulator executed the operation."""
    return upstream.emulator.committed[operation]


BEFORE: Final = {"start": [], "pause": ["start"], "resume": ["start", "pause"], "reset": ["start"]}
AFTER: Final = {"start": "running", "pause": "paused", "resume": "running", "reset": "idle"}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", BEFORE)
async def test_verb_whose_response_is_lost_succeeds_and_is_executed_once(
    gateway: Gateway, durable: Upstream, name: str, loss: str
) -> None:
    made = await gateway.create(durable)
    for step in BEFORE[name]:
        assert (await verb(gateway, made, step)).status == 200
    done = committed(durable, name)
    durable.fault(name, **LOSSES[loss])
    response = await verb(gateway, made, name)
    assert (response.status, response.json["state"], response.json["changed"]) == (200, AFTER[name], True), (
        response.text
    )
    assert committed(durable, name) == done + 1
    durable.emulator.faults.end_all()
    again = await verb(gateway, made, name)
    assert (again.status, again.json["changed"]) == (200, False)
    assert committed(durable, name) == done + 1


@pytest.mark.parametrize("name", BEFORE)
async def test_verb_whose_request_is_lost_is_outcome_unknown_and_sent_once(
    gateway: Gateway, durable: Upstream, name: str
) -> None:
    made = await gateway.create(durable)
    for step in BEFORE[name]:
        await verb(gateway, made, step)
    sent = durable.emulator.requests.per_operation[name]
    durable.fault(name, fault="drop_before")
    response = await verb(gateway, made, name)
    assert (response.status, response.json["code"]) == (504, "outcome_unknown")
    assert response.json["retryable"] == ("no" if name == "reset" else "same_request")
    assert durable.emulator.requests.per_operation[name] == sent + 1


@pytest.mark.parametrize("loss", LOSSES)
async def test_stop_of_a_browser_whose_response_is_lost_succeeds(gateway: Gateway, loss: str) -> None:
    bctrl = gateway.upstreams["bctrl"]
    made = await gateway.create(bctrl)
    bctrl.fault("stop", **LOSSES[loss])
    response = await verb(gateway, made, "stop")
    assert (response.status, response.json["state"], response.json["changed"]) == (200, "stopped", True), response.text
    assert committed(bctrl, "stop") == 1


def instance_of(runtime: Any) -> str:
    return str(runtime["durable"]["instance"]["id"])


async def test_reset_whose_response_is_lost_succeeds_so_that_no_client_repeats_it(
    gateway: Gateway, durable: Upstream
) -> None:
    """See docs/fault-cases.md#fault-22."""
    made = await gateway.create(durable, start=True)
    durable.fault("reset", fault="drop_after", times=1)
    reset = await verb(gateway, made, "reset")
    assert (reset.status, reset.json["state"], reset.json["changed"]) == (200, "idle", True)
    started = await verb(gateway, made, "start")
    assert instance_of(started.json) != instance_of(made)
    assert committed(durable, "reset") == 1


@pytest.mark.parametrize(("name", "body"), [("reset", None), ("stop", {"discard_state": True})])
@pytest.mark.parametrize("tag", ["instance", "etag"])
async def test_retry_of_a_lost_reset_does_not_affect_an_instance_started_since(
    gateway: Gateway, durable: Upstream, name: str, body: Any, tag: str
) -> None:
    """The read after the reset fails too, so the client is asked to send the same request again. Its precondition names
    the instance that it was about. See docs/fault-cases.md#fault-22."""
    made = await gateway.create(durable, start=True)
    condition = f'"{instance_of(made)}"' if tag == "instance" else f'{made["etag"]}, "{instance_of(made)}"'
    durable.fault("reset", fault="drop_after", times=1)
    durable.fault("get", fault="drop_before", after=1)
    lost = await verb(gateway, made, name, body, **{"If-Match": condition})
    assert (lost.status, lost.json["code"], lost.json["retryable"]) == (504, "outcome_unknown", "same_request")
    durable.emulator.faults.end_all()
    started = (await verb(gateway, made, "start")).json
    assert instance_of(started) != instance_of(made)
    retried = await verb(gateway, made, name, body, **{"If-Match": condition})
    assert (retried.status, retried.json["code"]) == (412, "precondition_failed")
    now = (await gateway.call("GET", f"/v1/runtimes/{made['id']}")).json
    assert (now["state"], instance_of(now)) == ("running", instance_of(started))
    assert committed(durable, "reset") == 1


async def test_lost_reset_without_a_precondition_is_not_retryable(gateway: Gateway, durable: Upstream) -> None:
    """See docs/fault-cases.md#fault-22."""
    made = await gateway.create(durable, start=True)
    durable.fault("reset", fault="drop_after", times=1)
    durable.fault("get", fault="drop_before", after=1)
    lost = await verb(gateway, made, "reset")
    assert (lost.status, lost.json["code"], lost.json["retryable"]) == (504, "outcome_unknown", "no")


async def test_etag_of_a_runtime_is_accepted_as_the_precondition_of_a_stop(gateway: Gateway) -> None:
    bctrl = gateway.upstreams["bctrl"]
    made = await gateway.create(bctrl)
    read = await gateway.call("GET", f"/v1/runtimes/{made['id']}")
    refused = await verb(gateway, made, "stop", **{"If-Match": '"another"'})
    assert (refused.status, refused.json["errors"][0]["header"]) == (412, "If-Match")
    malformed = await verb(gateway, made, "stop", **{"If-Match": "another"})
    assert (malformed.status, malformed.json["code"]) == (400, "invalid_request")
    stopped = await verb(gateway, made, "stop", **{"If-Match": read.headers["ETag"]})
    assert (stopped.status, stopped.json["changed"]) == (200, True)


@pytest.mark.parametrize("loss", LOSSES)
async def test_replaced_config_whose_response_is_lost_is_read_back(
    gateway: Gateway, durable: Upstream, loss: str
) -> None:
    made = await gateway.create(durable, config={"version": "v2", "resources": {"cpu_cores": 4}})
    durable.fault("replace_config", **LOSSES[loss])
    path = f"/v1/runtimes/{made['id']}/config"
    replaced = await gateway.call("PUT", path, {"config": {"version": "v2", "metadata": {"labels": {"a": "b"}}}})
    assert replaced.status == 200, replaced.text
    assert replaced.json["config"]["metadata"]["labels"] == {"a": "b"}
    assert committed(durable, "replace_config") == 1
    assert (await gateway.call("GET", path)).headers["ETag"] == replaced.headers["ETag"]


async def test_config_request_that_is_lost_is_outcome_unknown_and_its_retry_with_the_old_tag_succeeds(
    gateway: Gateway, durable: Upstream
) -> None:
    made = await gateway.create(durable)
    path = f"/v1/runtimes/{made['id']}/config"
    tag = (await gateway.call("GET", path)).headers["ETag"]
    wanted = {"config": {"version": "v2", "resources": {"cpu_cores": 8}}}
    durable.fault("replace_config", fault="drop_before", times=1)
    lost = await gateway.call("PUT", path, wanted)
    assert (lost.status, lost.json["code"], lost.json["retryable"]) == (504, "outcome_unknown", "same_request")
    for _ in range(2):
        response = await gateway.call("PUT", path, wanted, **{"If-Match": tag})
        assert (response.status, response.json["config"]["resources"]["cpu_cores"]) == (200, 8)
    assert committed(durable, "replace_config") == 1
    other = await gateway.call("PUT", path, {"config": {"version": "v2"}}, **{"If-Match": tag})
    assert other.status == 412


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "a hang"])
async def test_capabilities_are_installed_changed_and_removed_once_when_the_responses_are_lost(
    gateway: Gateway, durable: Upstream, loss: str
) -> None:
    made = await gateway.create(durable)
    path = f"/v1/runtimes/{made['id']}/capabilities"
    for operation in ("install_capability", "update_capability", "remove_capability"):
        durable.fault(operation, **LOSSES[loss])
    installed = await gateway.call("POST", path, {"name": "search"})
    assert (installed.status, installed.json["name"]) == (201, "search"), installed.text
    binding = f"{path}/{installed.json['id']}"
    changed = await gateway.call("PATCH", binding, {"enabled": False})
    assert (changed.status, changed.json["enabled"]) == (200, False), changed.text
    removed = await gateway.call("DELETE", binding)
    assert removed.status == 204, removed.text
    assert [committed(durable, f"{what}_capability") for what in ("install", "update", "remove")] == [1, 1, 1]
    durable.emulator.faults.end_all()
    assert (await gateway.call("DELETE", binding)).status == 404


async def test_install_whose_request_is_lost_is_sent_once_more(gateway: Gateway, durable: Upstream) -> None:
    made = await gateway.create(durable)
    durable.fault("install_capability", fault="drop_before", times=1)
    installed = await gateway.call("POST", f"/v1/runtimes/{made['id']}/capabilities", {"name": "search"})
    assert installed.status == 201
    assert durable.emulator.requests.per_operation["install_capability"] == 2


async def test_keepalive_whose_response_is_lost_is_recognised_by_the_expiry(
    gateway: Gateway, durable: Upstream
) -> None:
    made = await gateway.create(durable, start=True)
    durable.fault("keepalive", fault="drop_after")
    pushed = await verb(gateway, made, "keepalive")
    assert pushed.status == 200, pushed.text
    assert pushed.json["expires_at"] > made["expires_at"]
    assert committed(durable, "keepalive") == 1


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "a hang"])
async def test_delete_whose_response_is_lost_succeeds_and_its_repetition_is_not_found(loss: str) -> None:
    async with whole_gateway("bctrl_browsers") as gateway:
        browsers = gateway.upstreams["bctrl_browsers"]
        made = await gateway.create(browsers)
        browsers.fault("delete", **LOSSES[loss])
        path = f"/v1/runtimes/{made['id']}"
        assert (await gateway.call("DELETE", path)).status == 204
        assert committed(browsers, "delete") == 1
        browsers.emulator.faults.end_all()
        assert (await gateway.call("DELETE", path)).status == 404


PROXY: Final = {"type": "socks5", "host": "proxy.example", "port": 1080, "username": "shop", "password": "canary-4711"}


async def test_launch_that_bctrl_does_not_report_is_shown_and_compared_as_it_was_sent(gateway: Gateway) -> None:
    bctrl = gateway.upstreams["bctrl"]
    launch = {"mode": "ephemeral", "humanize": True, "extension_ids": ["x"], "proxy": PROXY}
    made = await gateway.create(bctrl, launch=launch)
    shown = {name: value for name, value in PROXY.items() if name != "password"}
    read = (await gateway.call("GET", f"/v1/runtimes/{made['id']}")).json
    [row] = (await gateway.call("GET", "/v1/runtimes?kind=browser")).json["items"]
    for runtime in (read, row):
        reported = runtime["browser"]["launch"]
        assert (reported["humanize"], reported["extension_ids"], reported["proxy"]) == (True, ["x"], shown)
    body = {"kind": "browser", "provider": bctrl.name, "name": made["name"], "launch": launch}
    same = await gateway.call("POST", "/v1/runtimes", body)
    assert (same.status, same.json["created"]) == (200, False), same.text
    other = await gateway.call("POST", "/v1/runtimes", {**body, "launch": {**launch, "humanize": False}})
    assert other.status == 409
    assert [error["pointer"] for error in other.json["errors"]] == ["#/launch/humanize"]
    assert "canary-4711" not in gateway.log.getvalue()
