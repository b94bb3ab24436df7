"""The durable dialect over real sockets returns what the provider returns, in every personality of the emulator."""

import asyncio
import itertools
import json
from typing import Any, NamedTuple

import pytest

from adapters.durable import PLUGIN
from adapters.durable.dialect import DurableDialect
from tests.component.dialects.durable_sides import KEY, PROVIDER, TOKEN, Side, both, emulated, through_the_gateway

W = "/org/acme/ws/research"
R = f"{W}/runtimes"
NOWHERE = "2489e9ad-2ee2-4e00-8ec9-32d5f69181c0"
CONFIG = {"resources": {"cpu_cores": 4}, "metadata": {"labels": {"team": "shop"}}, "novel": {"kept": None}}
PERSONALITIES = [
    dict(zip(PLUGIN.personalities, chosen, strict=True)) for chosen in itertools.product(*PLUGIN.personalities.values())
]


class Step(NamedTuple):
    """A request and the status expected from both sides.

    Placeholders such as ``{agent}`` are replaced by ids that earlier steps stored under this name in ``keeps``. With
    ``exact`` False the messages may differ, and only type and locations are compared.
    """

    status: int
    method: str
    path: str
    body: Any = None
    keeps: str = ""
    exact: bool = True


LOOK_UPS = [
    Step(200, "GET", "/user"),
    Step(200, "GET", "/org/acme"),
    Step(200, "GET", W),
    Step(200, "GET", "/org/acme/ws"),
    Step(200, "GET", "/user/organizations"),
    Step(200, "GET", "/user/secrets"),
    Step(200, "GET", f"{W}/projects"),
    Step(201, "POST", f"{W}/projects", {"name": "Shop", "key": "shop", "description": "d"}, "project"),
    Step(409, "POST", f"{W}/projects", {"name": "Shop", "key": "shop"}),
    Step(422, "POST", f"{W}/projects", {}, exact=False),
    Step(200, "GET", f"{W}/projects/shop"),
    Step(200, "GET", f"{W}/projects/{{project}}"),
    Step(404, "GET", f"{W}/projects/none"),
    Step(404, "GET", "/org/acme/sandboxes/none/logs"),
]

CREATES = [
    Step(201, "POST", R, {"key": "agent", "name": "Agent", "description": "d", "config": CONFIG}, "agent"),
    Step(200, "POST", R, {"key": "agent", "config": {**CONFIG, "version": "v2"}}),
    Step(200, "POST", R, {"key": "agent", "name": "Other"}),
    Step(409, "POST", R, {"key": "agent", "config": {}}),
    Step(201, "POST", R, {"project": "shop"}, "shop"),
    Step(200, "POST", R, {"project": "{project}"}),
    Step(409, "POST", R, {"project": "shop", "config": CONFIG}),
    Step(201, "POST", R, {}, "default"),
    Step(200, "POST", R, {"key": "default", "config": None}),
    Step(201, "POST", R, {"key": "limited", "project": "novel", "requested_runtime_limit_seconds": 120}),
    Step(422, "POST", R, {"key": "a", "config": {"version": "v1"}}, exact=False),
    Step(422, "POST", R, {"key": "a", "requested_runtime_limit_seconds": 59}, exact=False),
    Step(422, "POST", R, {"key": "a", "labels": {}}, exact=False),
    Step(422, "POST", R, [], exact=False),
    Step(422, "POST", R, exact=False),
]

LISTS = [
    Step(200, "GET", f"{R}?limit=2", keeps="cursor"),
    Step(200, "GET", f"{R}?limit=1&cursor={{cursor}}"),
    Step(200, "GET", f"{R}?limit=100&cursor={{cursor}}&state=idle%2Crunning"),
    Step(200, "GET", f"{R}?state=running&state=paused"),
    Step(200, "GET", f"{R}?owner=me&project_id={{project}}"),
    Step(200, "GET", R),
    Step(422, "GET", f"{R}?state=stopped", exact=False),
    Step(422, "GET", f"{R}?owner=you", exact=False),
    Step(422, "GET", f"{R}?project_id=shop", exact=False),
    Step(422, "GET", f"{R}?limit=0", exact=False),
    Step(422, "GET", f"{R}?limit=101", exact=False),
    Step(422, "GET", f"{R}?limit=x", exact=False),
    Step(400, "GET", f"{R}?cursor=x"),
]

VERBS = [
    Step(200, "GET", f"{R}/{{agent}}"),
    Step(404, "GET", f"{R}/{NOWHERE}"),
    Step(200, "GET", f"{R}/{{agent}}/config"),
    Step(200, "PUT", f"{R}/{{agent}}/config", {"config": {"sandbox": {"egress": {"allow": []}}}}),
    Step(422, "PUT", f"{R}/{{agent}}/config", {"config": {"version": "v3"}}, exact=False),
    Step(422, "PUT", f"{R}/{{agent}}/config", {}, exact=False),
    Step(409, "POST", f"{R}/{{agent}}/pause"),
    Step(409, "POST", f"{R}/{{agent}}/reset"),
    Step(409, "POST", f"{R}/{{agent}}/keepalive", {"extend_seconds": 60}),
    Step(200, "POST", f"{R}/{{agent}}/start", {}, "sandbox"),
    Step(200, "GET", "/org/acme/sandboxes/{sandbox}/logs"),
    Step(200, "PUT", f"{R}/{{agent}}/config", {"config": CONFIG}),
    Step(200, "POST", f"{R}/{{agent}}/start"),
    Step(422, "POST", f"{R}/{{agent}}/start", {"requested_runtime_limit_seconds": 1}, exact=False),
    Step(200, "POST", f"{R}/{{agent}}/keepalive", {"extend_seconds": 60}),
    Step(422, "POST", f"{R}/{{agent}}/keepalive", {"extend_seconds": 59}, exact=False),
    Step(422, "POST", f"{R}/{{agent}}/keepalive", exact=False),
    Step(200, "POST", f"{R}/{{agent}}/pause"),
    Step(409, "POST", f"{R}/{{agent}}/pause"),
    Step(200, "POST", f"{R}/{{agent}}/start", {"secret_ids": [NOWHERE]}),
    Step(200, "POST", f"{R}/{{agent}}/resume"),
    Step(409, "POST", f"{R}/{{agent}}/resume"),
    Step(200, "POST", f"{R}/{{agent}}/reset"),
    Step(404, "POST", f"{R}/{NOWHERE}/start", {}),
]

CAPABILITIES = [
    Step(200, "GET", f"{R}/{{agent}}/capabilities"),
    Step(201, "POST", f"{R}/{{agent}}/capabilities", {"name": "web", "version": "1.2.0"}, "binding"),
    Step(409, "POST", f"{R}/{{agent}}/capabilities", {"name": "web"}),
    Step(422, "POST", f"{R}/{{agent}}/capabilities", {"version": "1"}, exact=False),
    Step(200, "PATCH", f"{R}/{{agent}}/capabilities/{{binding}}", {"flags": {"a": True, "b": False}}),
    Step(200, "PATCH", f"{R}/{{agent}}/capabilities/{{binding}}", {"flags": {"a": None}}),
    Step(200, "PATCH", f"{R}/{{agent}}/capabilities/{{binding}}", {"version": "1.3.0"}),
    Step(200, "GET", f"{R}/{{agent}}/capabilities/resolved"),
    Step(200, "PATCH", f"{R}/{{agent}}/capabilities/{{binding}}", {"enabled": False}),
    Step(422, "PATCH", f"{R}/{{agent}}/capabilities/{{binding}}", {"enabled": False, "version": "1"}, exact=False),
    Step(422, "PATCH", f"{R}/{{agent}}/capabilities/{{binding}}", {}, exact=False),
    Step(200, "GET", f"{R}/{{agent}}/capabilities"),
    Step(204, "DELETE", f"{R}/{{agent}}/capabilities/{{binding}}"),
    Step(404, "DELETE", f"{R}/{{agent}}/capabilities/{{binding}}"),
    Step(404, "PATCH", f"{R}/{{agent}}/capabilities/{{binding}}", {"enabled": True}),
]

OUTSIDE = [
    Step(404, "GET", "/nothing", exact=False),
    Step(404, "GET", f"{R}/{{agent}}/nothing", exact=False),
    Step(404, "POST", f"{R}/{{agent}}/start/stream", {}, exact=False),
    Step(404, "POST", f"{R}/{{agent}}/reconnect", {}, exact=False),
]

OWNERSHIP = [
    Step(200, "GET", f"{R}/{{theirs}}"),
    Step(200, "GET", f"{R}/{{theirs}}/config"),
    Step(403, "POST", f"{R}/{{theirs}}/start", {}),
    Step(403, "PUT", f"{R}/{{theirs}}/config", {"config": {}}),
]

BY_KEY = [
    Step(200, "GET", f"{R}/agent"),
    Step(404, "GET", f"{R}/none"),
    Step(200, "GET", f"{R}/agent/config"),
    Step(200, "POST", f"{R}/agent/start", {}),
    Step(200, "POST", f"{R}/agent/pause"),
    Step(200, "GET", f"{R}/agent/capabilities"),
    Step(200, "POST", f"{R}/agent/reset"),
    Step(404, "POST", f"{R}/none/start", {}),
]


async def run_steps(side: Side, steps: list[Step], kept: dict[str, str]) -> list[tuple[int, Any]]:
    """The responses of one side to the steps, masked so that both sides can be compared."""
    answers = []
    for step in steps:
        body = json.loads(_filled(json.dumps(step.body), kept)) if step.body is not None else None
        status, result, headers = await side.call(step.method, _filled(step.path, kept), body)
        assert status == step.status, (step, result)
        if status >= 400:
            assert result["code"] == status
        if step.keeps:
            kept[step.keeps] = _value_to_keep(step.keeps, result)
        if not step.exact:
            result = {"type": result["type"], "at": sorted(_locations(result))}
        answers.append((status, json.loads(side.masked(json.dumps(result)))))
        if side.gateway_url:
            assert "X-Request-ID" in headers
    return answers


def _filled(text: str, kept: dict[str, str]) -> str:
    for name, value in kept.items():
        text = text.replace("{" + name + "}", value)
    return text


def _value_to_keep(name: str, result: Any) -> str:
    if name == "cursor":
        return str(result["next_cursor"])
    return str(result["instance"]["provider_sandbox_id"] if name == "sandbox" else result["id"])


def _locations(result: Any) -> list[str]:
    return [json.dumps(item["loc"]) for item in result.get("errors", [])]


@pytest.mark.parametrize("personality", PERSONALITIES, ids=lambda one: "-".join(one.values()))
async def test_gateway_and_emulator_return_the_same_responses(personality: dict[str, str]):
    """Compares status and body of every call, except the messages about invalid input, which may differ."""
    steps = [*LOOK_UPS, *CREATES, *LISTS, *VERBS, *CAPABILITIES, *OUTSIDE, *OWNERSHIP]
    if personality["get_by_key"] == "yes":
        steps += BY_KEY
    async with both(**personality) as sides:
        answers = []
        for side in sides:
            headers = {"X-API-Key": f"{TOKEN}.somebody"}
            url, side.url = side.url, side.emulator_url
            status, theirs, _ = await side.call("POST", R, {"key": "theirs", "project": "p"}, headers=headers)
            side.url = url
            assert status == 201
            answers.append(await run_steps(side, steps, {"theirs": theirs["id"]}))
    direct, through = answers
    for step, one, other in zip(steps, direct, through, strict=True):
        assert one == other, step


async def test_steps_cover_every_route_of_the_dialect():
    """This fails for a new route without a step."""
    steps = [*LOOK_UPS, *CREATES, *LISTS, *VERBS, *CAPABILITIES]
    for route in DurableDialect.routes:
        template = route.path.removeprefix("/api/v1").split("/")
        assert any(
            step.method == route.method
            and len(given := step.path.partition("?")[0].split("/")) == len(template)
            and all(name == value or name.startswith("{") for name, value in zip(template, given, strict=True))
            for step in steps
        ), route.operation


async def test_key_is_accepted_when_the_platform_accepts_uuids_only():
    async with through_the_gateway(get_by_key="no") as side:
        _, made, _ = await side.call("POST", R, {"key": "agent"})
        assert (await side.call("GET", f"{R}/agent"))[:2] == (
            200,
            {name: made[name] for name in made if name != "created"},
        )
        assert (await side.call("POST", f"{R}/agent/start", {}))[0] == 200
        assert (await side.call("GET", f"{R}/none"))[0] == 404


async def test_key_of_two_owners_means_the_gateways_own_runtime():
    async with through_the_gateway(key_uniqueness="owner") as side:
        emulator = Side(side.emulator_url, f"{TOKEN}.somebody", side.emulator, side.emulator_url)
        _, theirs, _ = await emulator.call("POST", R, {"key": "agent"})
        _, mine, _ = await side.call("POST", R, {"key": "agent"})
        _, result, _ = await side.call("GET", f"{R}/agent")
        assert (result["id"], result["owned_by_me"]) == (mine["id"], True)
        assert result["id"] != theirs["id"]


PROVIDER_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("pause", {"status": 429, "code": "e2b_rate_limit_error", "retry_after": 7}),
    ("pause", {"status": 429, "code": "usage_limit_exceeded_error", "detail": "Out of credits"}),
    ("pause", {"status": 403, "code": "member_limit_exceeded_error"}),
    ("pause", {"status": 500, "code": "e2b_error"}),
    ("pause", {"status": 502}),
    ("pause", {"status": 504}),
    ("create", {"status": 500, "code": "database_error"}),
    ("create", {"status": 429, "code": "org_sandbox_capacity_exceeded_error"}),
    ("get", {"status": 400, "code": "app_error"}),
    ("list", {"status": 422, "code": "validation_error"}),
    ("start", {"status": 409, "code": "conflict_error", "detail": "denied: x.test"}),
]


async def test_documented_errors_of_the_provider_are_passed_on_with_retry_after():
    """Compares status, body and ``Retry-After``."""
    async with both() as sides:
        for operation, parameters in PROVIDER_FAULTS:
            answers = []
            for side in sides:
                _, made, _ = await side.call("POST", R, {"key": "agent"})
                await side.fault(operation, "status", **parameters)
                calls = {
                    "create": ("POST", R, {"key": "agent"}),
                    "list": ("GET", R, None),
                    "get": ("GET", f"{R}/{made['id']}", None),
                    "start": ("POST", f"{R}/{made['id']}/start", {}),
                    "pause": ("POST", f"{R}/{made['id']}/pause", None),
                }
                status, result, headers = await side.call(*calls[operation])
                await side.end_faults()
                answers.append((status, result, headers.get("Retry-After")))
            assert answers[0] == answers[1], (operation, parameters)
            assert answers[0][0] == parameters["status"]


@pytest.mark.parametrize(
    ("operation", "fault", "expected"),
    [
        ("get", {"fault": "status", "status": 401}, (502, "bad_gateway_error")),
        ("get", {"fault": "status", "status": 426}, (502, "bad_gateway_error")),
        ("get", {"fault": "status", "status": 503}, (502, "bad_gateway_error")),
        ("get", {"fault": "html", "status": 404}, (502, "bad_gateway_error")),
        ("get", {"fault": "html", "status": 200}, (502, "bad_gateway_error")),
        ("get", {"fault": "malformed_json"}, (502, "bad_gateway_error")),
        ("get", {"fault": "half_body"}, (502, "bad_gateway_error")),
        ("get", {"fault": "drop_before"}, (502, "bad_gateway_error")),
        ("reset", {"fault": "status", "status": 402}, (429, "usage_limit_exceeded_error")),
        ("reset", {"fault": "drop_before"}, (504, "gateway_timeout_error")),
        ("create", {"fault": "drop_after"}, (504, "gateway_timeout_error")),
        ("create", {"fault": "html", "status": 200}, (504, "gateway_timeout_error")),
    ],
)
async def test_undocumented_status_or_type_is_rendered_by_its_gateway_code(
    operation: str, fault: dict[str, Any], expected: tuple[int, str]
):
    async with through_the_gateway() as side:
        _, made, _ = await side.call("POST", R, {"key": "agent"})
        calls = {
            "get": ("GET", f"{R}/{made['id']}", None),
            "reset": ("POST", f"{R}/{made['id']}/reset", None),
            "create": ("POST", R, {"key": "agent"}),
        }
        await side.fault(operation, **fault)
        status, result, _ = await side.call(*calls[operation])
        assert (status, result["type"]) == expected
        assert result.keys() == {"code", "detail", "type"}
        assert side.emulator.counts()["runtimes"] == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "raw", "expected"),
    [
        ("GET", R, {"X-API-Key": "wrong-key-of-nobody"}, None, (401, "authentication_error")),
        ("GET", R, {"X-API-Key": ""}, None, (401, "authentication_error")),
        ("GET", R, {"X-API-Key": KEY, "Authorization": f"Bearer {KEY}x"}, None, (400, "invalid_error")),
        ("GET", f"/{'x' * 9000}", {}, None, (400, "")),
        ("DELETE", f"{R}/{NOWHERE}", {}, None, (400, "invalid_error")),
        ("PUT", R, {}, b"{}", (400, "invalid_error")),
        ("POST", R, {}, b"{", (422, "validation_error")),
        ("POST", R, {}, b"x" * ((1 << 20) + 1), (400, "invalid_error")),
        ("GET", f"{R}?limit=%FF", {}, None, (400, "invalid_error")),
        ("GET", "/org/acme/ws/research%2F..%2Fx/runtimes", {}, None, (404, "not_found_error")),
        ("GET", f"{R}/a%2Fb", {}, None, (404, "not_found_error")),
        ("GET", "/org/nobody/ws/nothing/runtimes", {}, None, (404, "not_found_error")),
        ("GET", "/org/nobody", {}, None, (404, "not_found_error")),
    ],
)
async def test_errors_of_the_gateway_have_the_providers_format(
    method: str, path: str, headers: dict[str, str], raw: bytes | None, expected: tuple[int, str]
):
    async with through_the_gateway() as side:
        status, result, _ = await side.call(method, path, headers=headers, raw=raw)
        if expected[1]:
            assert (status, result["type"]) == expected
            assert result["code"] == status
        else:
            assert status >= 400
        assert not side.emulator.requests.received(None) or path == f"{R}/a%2Fb"


async def test_bearer_key_is_accepted():
    """The API's documentation shows ``Bearer``, while its client sends ``X-API-Key``."""
    async with through_the_gateway() as side:
        headers = {"Authorization": f"Bearer {KEY}"}
        side.key = KEY
        assert (await side.call("GET", R, headers=headers))[0] == 200


async def test_runtimes_of_the_dialect_and_of_v1_are_controlled_through_each_other():
    async with through_the_gateway() as side:
        _, native, _ = await side.call("POST", R, {"key": "from-dialect", "config": CONFIG})
        status, unified = await side.v1("POST", "/runtimes", {"kind": "durable", "name": "from-v1"})
        assert status == 201
        public = f"{PROVIDER}.{native['id']}"

        status, result = await side.v1("GET", f"/runtimes/{public}")
        assert (status, result["name"], result["state"]) == (200, "from-dialect", "idle")
        status, listed = await side.v1("GET", "/runtimes")
        assert {item["id"] for item in listed["items"]} == {public, unified["id"]}
        assert (await side.v1("POST", f"/runtimes/{public}/start"))[1]["state"] == "running"
        assert (await side.call("GET", f"{R}/from-dialect"))[1]["status"] == "running"
        assert (await side.v1("POST", f"/runtimes/{public}/stop", {"discard_state": True}))[1]["state"] == "idle"

        _, found, _ = await side.call("GET", f"{R}/from-v1")
        assert f"{PROVIDER}.{found['id']}" == unified["id"]
        assert (await side.call("POST", f"{R}/{found['id']}/start", {}))[1]["sandbox_token"]
        assert (await side.call("POST", f"{R}/{found['id']}/pause"))[1]["status"] == "paused"
        assert (await side.v1("GET", f"/runtimes/{unified['id']}"))[1]["state"] == "paused"
        assert (await side.call("POST", f"{R}/{found['id']}/reset"))[1]["status"] == "idle"
        assert side.emulator.counts()["live_runtimes"] == 0


async def test_concurrent_creates_without_a_key_create_one_runtime():
    async with through_the_gateway() as side:
        made = await asyncio.gather(*(side.call("POST", R, {"project": "shop"}) for _ in range(8)))
        assert sorted(status for status, _, _ in made) == [200] * 7 + [201]
        assert len({result["id"] for _, result, _ in made}) == 1
        assert side.emulator.counts()["runtimes"] == 1


async def test_rule_of_the_settings_maps_a_scope_to_another():
    rules = {"durable": {"routes": [{"scope": "old/lab", "provider": PROVIDER, "target_scope": "acme/research"}]}}
    async with through_the_gateway(dialects=rules) as side:
        assert (await side.call("POST", "/org/old/ws/lab/runtimes", {"key": "agent"}))[0] == 201
        assert (await side.call("GET", f"{R}/agent"))[0] == 200
        assert (await side.call("GET", "/org/old"))[1]["key"] == "old"
        assert [one["key"] for one in (await side.call("GET", "/org/old/ws"))[1]] == ["lab"]


async def test_open_provider_serves_every_scope():
    async with through_the_gateway(scope=None) as side:
        assert (await side.call("POST", "/org/zeta/ws/any/runtimes", {"key": "agent"}))[0] == 201
        assert (await side.call("GET", "/org/zeta/ws/any/runtimes/agent"))[0] == 200
        assert (await side.call("GET", "/org/zeta"))[1]["key"] == "zeta"
        assert (await side.call("GET", f"{R}/agent"))[0] == 404


async def test_log_names_principal_and_operation_and_contains_no_secret():
    async with through_the_gateway() as side:
        config = {"runtime_server": {"env": {"PASSWORD": "hunter2-env"}}}
        _, made, _ = await side.call("POST", R, {"key": "agent", "config": config})
        _, started, _ = await side.call("POST", f"{R}/agent/start", {})
        lines = [json.loads(line) for line in side.log.getvalue().splitlines()]
        calls = [line for line in lines if line.get("surface") == "durable"]
        assert [(line["operation"], line["status"]) for line in calls] == [("create", 201), ("start", 200)]
        for line in calls:
            assert (line["principal"], line["provider"], line["scope"]) == ("shop", PROVIDER, "acme/research")
            assert line["runtime_id"] == f"{PROVIDER}.{made['id']}"
        for secret in ("hunter2-env", TOKEN, KEY, started["sandbox_token"]):
            assert secret not in side.log.getvalue()


async def test_emulator_accepts_its_own_token_and_not_the_gateways_key():
    """Otherwise the comparison of both sides would prove nothing."""
    async with emulated() as side:
        assert (await side.call("GET", R))[0] == 200
        assert (await side.call("GET", R, headers={"X-API-Key": KEY}))[0] == 401
