"""Fields reach the provider unchanged: absent, null and empty remain different, and invalid input is not sent."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.component.request_strategies import BROWSER, CONFIG, DURABLE
from tests.component.whole_gateway import Gateway, Response, Upstream, whole_gateway

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_numbers = itertools.count()


class Running:
    """The gateway, in an event loop that is kept for the whole module."""

    def __init__(self, runner: asyncio.Runner, gateway: Gateway) -> None:
        self._runner = runner
        self._gateway = gateway
        self.durable: Upstream = gateway.upstreams["durable"]
        self.bctrl: Upstream = gateway.upstreams["bctrl"]

    def call(self, method: str, path: str, body: Any = None) -> Response:
        return self._runner.run(self._gateway.call(method, path, body))


@pytest.fixture(scope="module")
def app() -> Iterator[Running]:
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        gateway = runner.run(stack.enter_async_context(whole_gateway()))
        yield Running(runner, gateway)
        runner.run(stack.aclose())


def _exactly(value: Any) -> str:
    """The value as JSON, in which 1, true and 1.0 differ."""
    return json.dumps(value, sort_keys=True)


def _meant_for_durable(body: dict[str, Any]) -> dict[str, Any]:
    renamed = {"name": "key", "display_name": "name", "runtime_limit_seconds": "requested_runtime_limit_seconds"}
    kept = {"name", "display_name", "description", "project", "runtime_limit_seconds", "config"}
    meant = {renamed.get(name, name): value for name, value in body.items() if name in kept}
    if "labels" in body:
        config = body.get("config") or {}
        meant["config"] = {**config, "metadata": {**config.get("metadata", {}), "labels": body["labels"]}}
    return meant


def _within(sent: Any, shown: Any) -> bool:
    """Whether ``shown`` contains ``sent``; ``shown`` may have additional defaults."""
    if isinstance(sent, dict):
        return isinstance(shown, dict) and all(name in shown and _within(sent[name], shown[name]) for name in sent)
    if isinstance(sent, list):
        return len(sent) == len(shown) and all(map(_within, sent, shown))
    return _exactly(sent) == _exactly(shown)


@FEW
@given(fields=DURABLE)
def test_every_field_of_a_durable_create_reaches_the_provider_and_is_returned(
    app: Running, fields: dict[str, Any]
) -> None:
    config = fields.get("config")
    if "labels" in fields and config and "labels" in config.get("metadata", {}):
        fields = {**fields, "labels": config["metadata"]["labels"]}
    body = {"kind": "durable", "name": f"agent-{next(_numbers)}", **fields}
    response = app.call("POST", "/v1/runtimes", body)
    assert response.status == 201, response.text
    received = app.durable.emulator.requests.received("create")[-1].body
    meant = _meant_for_durable(body)
    assert _exactly(received) == _exactly(meant)

    runtime = response.json
    assert (runtime["name"], runtime["created"], runtime["state"]) == (body["name"], True, "idle")
    assert runtime["display_name"] == fields.get("display_name", body["name"])
    assert runtime["description"] == fields.get("description")
    assert runtime["durable"]["project"]["key"] == (fields.get("project") or "default")
    unknown = {"#/config/unknown_member", "#/config/build/cache"} & _pointers_of(config)
    assert {warning["pointer"] for warning in runtime.get("warnings", [])} == unknown

    shown = app.call("GET", f"/v1/runtimes/{runtime['id']}/config")
    assert _within(meant.get("config") or {}, shown.json["config"])
    assert shown.headers["ETag"] == f'"{runtime["durable"]["config_digest"]}"'
    assert app.call("GET", f"/v1/runtimes/{runtime['id']}").json["display_name"] == runtime["display_name"]


def _pointers_of(config: dict[str, Any] | None) -> set[str]:
    found = {f"#/config/{name}" for name in config or {}}
    return found | {f"#/config/build/{name}" for name in (config or {}).get("build", {})}


@FEW
@given(first=CONFIG, second=CONFIG)
def test_config_is_replaced_completely_by_the_sent_one(
    app: Running, first: dict[str, Any], second: dict[str, Any]
) -> None:
    body = {"kind": "durable", "name": f"agent-{next(_numbers)}", "config": first}
    identity = app.call("POST", "/v1/runtimes", body).json["id"]
    response = app.call("PUT", f"/v1/runtimes/{identity}/config", {"config": second})
    assert response.status == 200, response.text
    assert _exactly(app.durable.emulator.requests.received("replace_config")[-1].body) == _exactly({"config": second})
    assert _within(second, response.json["config"])
    if "unknown_member" not in second:
        assert "unknown_member" not in response.json["config"]


CONFIG_MEMBERS = {
    "humanize": "humanize",
    "humanize_persona_id": "humanizePersonaId",
    "solve_captchas": "solveCaptchas",
    "proxy": "proxy",
}


def _meant_for_bctrl(body: dict[str, Any]) -> dict[str, Any]:
    meant = {"alias": body["name"], "kind": "browser"} | {k: body[k] for k in ("driver",) if k in body}
    if "launch" not in body:
        return meant
    launch = body["launch"]
    meant["launch"] = {"mode": launch["mode"]}
    if "profile_id" in launch:
        meant["launch"]["profileId"] = launch["profile_id"]
    if "extension_ids" in launch:
        meant["launch"]["extensionIds"] = launch["extension_ids"]
    config = {theirs: launch[ours] for ours, theirs in CONFIG_MEMBERS.items() if ours in launch}
    if config:
        meant["launch"]["config"] = config
    return meant


@FEW
@given(fields=BROWSER)
def test_every_field_of_a_browser_create_reaches_the_provider_and_is_returned(
    app: Running, fields: dict[str, Any]
) -> None:
    body = {"kind": "browser", "name": f"bot-{next(_numbers)}", **fields}
    response = app.call("POST", "/v1/runtimes", body)
    assert response.status == 201, response.text
    received = app.bctrl.emulator.requests.received("create")[-1].body
    assert _exactly(received) == _exactly(_meant_for_bctrl(body))

    runtime = response.json
    assert (runtime["name"], runtime["created"], runtime["state"]) == (body["name"], True, "running")
    launch = fields.get("launch", {})
    assert runtime["browser"]["driver"] == fields.get("driver", "playwright")
    assert runtime["browser"]["launch"]["mode"] == launch.get("mode", "ephemeral")
    assert runtime["browser"]["launch"]["profile_id"] == launch.get("profile_id")
    password = (launch.get("proxy") or {}).get("password", "")
    if len(password) > 3:
        assert json.dumps(password)[1:-1] not in response.text


UUID = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"


def _durable(**fields: Any) -> dict[str, Any]:
    return {"kind": "durable", **fields}


def _config(**config: Any) -> dict[str, Any]:
    return _durable(config=config)


def _launch(**launch: Any) -> dict[str, Any]:
    return {"kind": "browser", "launch": {"mode": "ephemeral", **launch}}


def _proxy(**proxy: Any) -> dict[str, Any]:
    return _launch(proxy={"type": "http", "host": "h", "port": 1, **proxy})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "#/kind"),
    ({"kind": "desktop"}, "#/kind"),
    (_durable(nmae="x"), "#/nmae"),
    (_durable(name="a b"), "#/name"),
    (_durable(name="a" * 101), "#/name"),
    (_durable(display_name=""), "#/display_name"),
    (_durable(display_name="a" * 101), "#/display_name"),
    (_durable(description="a" * 501), "#/description"),
    (_durable(description=None), "#/description"),
    (_durable(runtime_limit_seconds=59), "#/runtime_limit_seconds"),
    (_durable(project=1), "#/project"),
    (_durable(labels={"a": None}), "#/labels/a"),
    (_durable(labels={"a": "1"}, config={"metadata": {"labels": {"a": "2"}}}), "#/config"),
    (_durable(labels={}, config={"metadata": {"labels": {"a": "2"}}}), "#/labels"),
    (_durable(provider_options={"gpu": 1}), "#/provider_options/gpu"),
    (_durable(provider="nobody"), "#/provider"),
    (_durable(scope="not-a-scope"), "#/scope"),
    (_config(version="v1"), "#/config/version"),
    (_config(build={"profile": ""}), "#/config/build/profile"),
    (_config(build={"provider": "x"}), "#/config/build/provider"),
    (_config(build={"source": {"kind": ""}}), "#/config/build/source/kind"),
    (_config(build={"source": {"ref": ""}}), "#/config/build/source/ref"),
    (_config(capabilities=[{"version": "1"}]), "#/config/capabilities/0/name"),
    (_config(defaults={"model": ""}), "#/config/defaults/model"),
    (_config(metadata={"labels": {"a": 1}}), "#/config/metadata/labels/a"),
    (_config(resources={"cpu_cores": 0}), "#/config/resources/cpu_cores"),
    (_config(resources={"cpu_cores": 33}), "#/config/resources/cpu_cores"),
    (_config(resources={"memory_mb": "2048"}), "#/config/resources/memory_mb"),
    (_config(runtime_server={"env": {"A": 1}}), "#/config/runtime_server/env/A"),
    (_config(sandbox={"exposed_ports": [0]}), "#/config/sandbox/exposed_ports/0"),
    (_config(sandbox={"exposed_ports": [65536]}), "#/config/sandbox/exposed_ports/0"),
    (_config(sandbox={"egress": {"allow": ["*"]}}), "#/config/sandbox/egress/allow/0"),
    (_config(secrets={"secret_ids": ["x"]}), "#/config/secrets/secret_ids/0"),
    ({"kind": "browser", "driver": "firefox"}, "#/driver"),
    ({"kind": "browser", "launch": {}}, "#/launch/mode"),
    ({"kind": "browser", "launch": {"mode": "profile"}}, "#/launch/profile_id"),
    ({"kind": "browser", "launch": {"mode": "profile", "profile_id": "x"}}, "#/launch/profile_id"),
    ({"kind": "browser", "launch": {"mode": "profile", "profile_id": UUID, "proxy": None}}, "#/launch/proxy"),
    (_launch(extension_ids=[1]), "#/launch/extension_ids/0"),
    (_launch(humanize="yes"), "#/launch/humanize"),
    (_launch(humanize_persona_id=0.5), "#/launch/humanize_persona_id"),
    (_launch(solve_captchas=None), "#/launch/solve_captchas"),
    (_proxy(type="https"), "#/launch/proxy/type"),
    (_proxy(port=0), "#/launch/proxy/port"),
    (_proxy(port=65536), "#/launch/proxy/port"),
    (_proxy(username=None), "#/launch/proxy/username"),
]


@pytest.mark.parametrize(("body", "where"), REFUSED, ids=lambda value: str(value)[:60])
def test_invalid_field_is_refused_at_its_pointer_and_not_sent(app: Running, body: dict[str, Any], where: str) -> None:
    before = app.durable.received(), app.bctrl.received()
    response = app.call("POST", "/v1/runtimes", body)
    assert (response.status, response.json["code"], response.json["source"]) == (422, "validation_failed", "client")
    assert [fault["pointer"] for fault in response.json["errors"]] == [where]
    assert (app.durable.received(), app.bctrl.received()) == before
