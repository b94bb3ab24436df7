"""The durable emulator over real sockets: validation, state transitions, lists, and injected faults."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from adapters.durable.emulator import create_emulator
from gateway.testing.emulator import EMULATOR
from gateway.testing.processes import running

TOKEN = "dn_key_demo"
RUNTIMES = "/api/v1/org/acme/ws/research/runtimes"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Time:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Client:
    """Sends requests as one owner. ``raw`` also returns the status; the other methods expect success."""

    def __init__(self, session: aiohttp.ClientSession, owner: str | None = None) -> None:
        self.session = session
        self.headers = {"X-API-Key": f"{TOKEN}.{owner}" if owner else TOKEN}

    async def raw(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        path = path if path.startswith("/") else f"{RUNTIMES}/{path}"
        async with self.session.request(method, path, json=body, headers=self.headers, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        status, answer = await self.raw(method, path, body, **options)
        assert status < 400, answer
        return answer

    async def create(self, **body: Any) -> Any:
        return await self.ok("POST", RUNTIMES, body)

    async def fault(self, operation: str, fault: str, **parameters: Any) -> None:
        await self.ok("POST", "/__faults", {"operation": operation, "fault": fault, **parameters})


Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def serve(now: Time) -> Serve:
    @asynccontextmanager
    async def serve(**personality: str) -> AsyncIterator[Client]:
        app = create_emulator(token=TOKEN, personality=personality, now=now)
        async with running(app) as url, aiohttp.ClientSession(url) as session:
            yield Client(session)

    return serve


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[Client]:
    async with serve() as client:
        yield client


def kind(answer: tuple[int, Any]) -> tuple[int, str]:
    """Status and type of an error. Also checks the envelope."""
    status, body = answer
    assert body["code"] == status
    assert isinstance(body["detail"], str)
    return status, body["type"]


def invalid(answer: tuple[int, Any]) -> list[tuple[Any, str]]:
    """Locations and types of the items of a validation error."""
    assert kind(answer) == (422, "validation_error")
    return [(tuple(item["loc"]), item["type"]) for item in answer[1]["errors"]]


# ---- authentication and errors


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": "other"}, {"Authorization": f"Basic {TOKEN}"}, {"X-API-Key": f"{TOKEN}."}]
)
async def test_call_without_the_credential_is_401(client: Client, headers: dict[str, str]) -> None:
    async with client.session.get(RUNTIMES, headers=headers) as response:
        assert response.status == 401
        expected = {"code": 401, "detail": "Authentication failed", "type": "authentication_error"}
        assert await response.json() == expected


@pytest.mark.parametrize("headers", [{"X-API-Key": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}])
async def test_credential_is_accepted_in_either_header(client: Client, headers: dict[str, str]) -> None:
    async with client.session.get(RUNTIMES, headers=headers) as response:
        assert (response.status, await response.json()) == (200, {"items": [], "next_cursor": None})


async def test_every_error_has_the_envelope(client: Client) -> None:
    assert kind(await client.raw("GET", "/api/v1/elsewhere")) == (404, "not_found_error")
    assert kind(await client.raw("GET", "/api/org/acme/ws/research/runtimes")) == (404, "not_found_error")
    assert kind(await client.raw("DELETE", str(uuid4()))) == (400, "invalid_error")
    assert kind(await client.raw("GET", str(uuid4()))) == (404, "not_found_error")
    async with client.session.post(RUNTIMES, data=b"{", headers=client.headers) as response:
        assert invalid((response.status, await response.json())) == [(("body",), "json_invalid")]


@pytest.mark.parametrize("personality", [{"key_uniqueness": "galaxy"}, {"get_by_kye": "yes"}])
def test_unknown_personality_is_refused(personality: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="personality"):
        create_emulator(token=TOKEN, personality=personality)


def test_empty_token_is_refused() -> None:
    with pytest.raises(ValueError, match="token"):
        create_emulator(token="")


# ---- create


async def test_new_runtime_is_idle_and_has_every_documented_field(client: Client) -> None:
    body = {"key": "agent", "name": "Agent", "description": "d", "project": "lab", "config": {"version": "v2"}}
    status, runtime = await client.raw("POST", RUNTIMES, body)
    assert status == 201
    assert UUID(runtime["id"]).version == 4
    assert STAMP.fullmatch(runtime["created_at"])
    assert (
        runtime
        | {
            "created": True,
            "key": "agent",
            "name": "Agent",
            "description": "d",
            "project_key": "lab",
            "project_name": "lab",
            "status": "idle",
            "config_version": "v2",
            "owned_by_me": True,
            "instance": None,
            "updated_at": runtime["created_at"],
        }
        == runtime
    )
    assert runtime.keys() >= {"config_digest", "project_id", "created_by"}
    assert await client.ok("GET", runtime["id"]) == {k: v for k, v in runtime.items() if k != "created"}
    assert await client.ok("GET", runtime["id"].upper()) == await client.ok("GET", "agent")
    assert (await client.ok("GET", "/__stats"))["creates_committed"] == 1


async def test_second_create_returns_the_runtime_unchanged(client: Client) -> None:
    first = await client.create(key="agent", name="Agent", config={"resources": {"cpu_cores": 2}})
    for body in (
        {"key": "agent"},
        {"key": "agent", "config": None},
        {"key": "agent", "config": {}},
        {"key": "agent", "config": {"version": "v2", "resources": {"memory_mb": 2048.0}}},
        {"key": "agent", "name": "Other", "project": "other"},
    ):
        status, again = await client.raw("POST", RUNTIMES, body)
        assert (status, again) == (200, first | {"created": False})
    assert (await client.ok("GET", "/__stats"))["creates_committed"] == 1


async def test_create_with_another_config_is_a_conflict_and_changes_nothing(client: Client) -> None:
    first = await client.create(key="agent", config={})
    for config in ({"resources": {"cpu_cores": 4}}, {"sandbox": {"egress": {"allow": []}}}, {"future": 1}):
        answer = await client.raw("POST", RUNTIMES, {"key": "agent", "config": config})
        assert kind(answer) == (409, "already_exists_error")
    assert (await client.ok("GET", "agent"))["config_digest"] == first["config_digest"]


async def test_create_without_a_key_uses_the_projects_key(client: Client) -> None:
    assert (await client.create())["key"] == "default"
    lab = await client.create(project="lab")
    assert (lab["key"], lab["created"]) == ("lab", True)
    by_id = await client.create(project=lab["project_id"].upper())
    assert (by_id["id"], by_id["created"]) == (lab["id"], False)
    assert kind(await client.raw("POST", RUNTIMES, {"project": str(uuid4())})) == (404, "not_found_error")


async def test_keys_are_unique_per_workspace(client: Client) -> None:
    mine = await client.create(key="agent")
    theirs = await Client(client.session, "bob").create(key="agent")
    assert (theirs["id"], theirs["created"], theirs["owned_by_me"]) == (mine["id"], False, False)
    elsewhere = await client.ok("POST", "/api/v1/org/acme/ws/other/runtimes", {"key": "agent"})
    assert elsewhere["created"] is True


async def test_keys_can_be_unique_per_owner(serve: Serve) -> None:
    async with serve(key_uniqueness="owner") as client:
        bob = Client(client.session, "bob")
        theirs, mine = await bob.create(key="agent"), await client.create(key="agent")
        assert theirs["id"] != mine["id"]
        assert (await client.ok("GET", "agent"))["id"] == mine["id"]
        assert (await bob.ok("GET", "agent"))["id"] == theirs["id"]
        assert (await client.create(key="agent"))["created"] is False


async def test_runtimes_are_not_read_by_key_with_get_by_key_no(serve: Serve) -> None:
    async with serve(get_by_key="no") as client:
        runtime = await client.create(key="agent")
        assert invalid(await client.raw("GET", "agent")) == [(("path", "runtime_id"), "uuid_parsing")]
        assert (await client.ok("GET", runtime["id"]))["key"] == "agent"
        assert kind(await client.raw("GET", str(uuid4()))) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("body", "loc", "error"),
    [
        (None, (), "missing"),
        ([], (), "dict_type"),
        ({"keys": "x"}, ("keys",), "extra_forbidden"),
        ({"key": 1}, ("key",), "string_type"),
        ({"key": ""}, ("key",), "string_too_short"),
        ({"key": "a b"}, ("key",), "string_pattern_mismatch"),
        ({"name": ""}, ("name",), "string_too_short"),
        ({"name": "x" * 101}, ("name",), "string_too_long"),
        ({"description": "x" * 501}, ("description",), "string_too_long"),
        ({"requested_runtime_limit_seconds": 59}, ("requested_runtime_limit_seconds",), "greater_than_equal"),
        ({"requested_runtime_limit_seconds": "60"}, ("requested_runtime_limit_seconds",), "int_type"),
        ({"requested_runtime_limit_seconds": True}, ("requested_runtime_limit_seconds",), "int_type"),
        ({"config": 1}, ("config",), "dict_type"),
        ({"config": {"version": "v1"}}, ("config", "version"), "enum"),
        ({"config": {"version": None}}, ("config", "version"), "enum"),
        ({"config": {"build": {"provider": "nomad"}}}, ("config", "build", "provider"), "enum"),
        ({"config": {"build": {"profile": ""}}}, ("config", "build", "profile"), "string_too_short"),
        ({"config": {"build": {"source": {"kind": 1}}}}, ("config", "build", "source", "kind"), "string_type"),
        ({"config": {"capabilities": [{}]}}, ("config", "capabilities", 0, "name"), "missing"),
        (
            {"config": {"capabilities": [{"name": "a", "enabled": 1}]}},
            ("config", "capabilities", 0, "enabled"),
            "bool_type",
        ),
        ({"config": {"resources": {"cpu_cores": 33}}}, ("config", "resources", "cpu_cores"), "less_than_equal"),
        ({"config": {"resources": {"cpu_cores": 0}}}, ("config", "resources", "cpu_cores"), "greater_than_equal"),
        ({"config": {"resources": {"memory_mb": 1.5}}}, ("config", "resources", "memory_mb"), "int_type"),
        ({"config": {"metadata": {"labels": {"a": 1}}}}, ("config", "metadata", "labels", "a"), "string_type"),
        ({"config": {"runtime_server": {"env": []}}}, ("config", "runtime_server", "env"), "dict_type"),
        (
            {"config": {"sandbox": {"exposed_ports": [0]}}},
            ("config", "sandbox", "exposed_ports", 0),
            "greater_than_equal",
        ),
        ({"config": {"sandbox": {"egress": {}}}}, ("config", "sandbox", "egress", "allow"), "missing"),
        (
            {"config": {"sandbox": {"egress": {"allow": ["a"] * 51}}}},
            ("config", "sandbox", "egress", "allow"),
            "too_long",
        ),
        ({"config": {"secrets": {"secret_ids": ["x"]}}}, ("config", "secrets", "secret_ids", 0), "uuid_parsing"),
    ],
)
async def test_invalid_create_is_refused_at_the_location_of_the_value(
    client: Client, body: Any, loc: tuple[Any, ...], error: str
) -> None:
    assert invalid(await client.raw("POST", RUNTIMES, body)) == [(("body", *loc), error)]
    assert (await client.ok("GET", "/__stats"))["runtimes"] == 0


async def test_infinite_number_is_not_an_integer(client: Client) -> None:
    raw = b'{"config": {"resources": {"memory_mb": 1e999}}}'
    async with client.session.post(RUNTIMES, data=raw, headers=client.headers) as response:
        answer = response.status, await response.json()
    assert invalid(answer) == [(("body", "config", "resources", "memory_mb"), "int_type")]


# ---- config


async def test_config_has_defaults_and_keeps_unknown_members(client: Client) -> None:
    await client.create(key="agent", config={"future": {"x": 1}, "build": {"cache": True}})
    answer = await client.ok("GET", "agent/config")
    runtime = await client.ok("GET", "agent")
    assert answer["config"] == {
        "version": "v2",
        "build": {
            "profile": "default",
            "provider": "auto",
            "source": {"kind": "builtin", "ref": "runtime"},
            "cache": True,
        },
        "capabilities": [],
        "defaults": {"agent": None, "capability": None, "model": None, "system_prompt": None},
        "metadata": {"labels": {}},
        "resources": {"cpu_cores": 2, "memory_mb": 2048},
        "runtime_server": {"env": {}},
        "sandbox": {"exposed_ports": [], "timeout_seconds": None, "workspace_mount": True},
        "secrets": {"secret_ids": []},
        "future": {"x": 1},
    }
    assert (answer["runtime_id"], answer["config_digest"]) == (runtime["id"], runtime["config_digest"])


async def test_config_is_replaced_completely(client: Client, now: Time) -> None:
    first = await client.create(key="agent", config={"resources": {"cpu_cores": 8}, "metadata": {"labels": {"a": "b"}}})
    now.seconds += 5
    answer = await client.ok("PUT", "agent/config", {"config": {"metadata": {"labels": {"c": "d"}}}})
    assert answer["config"]["resources"]["cpu_cores"] == 2
    assert answer["config"]["metadata"]["labels"] == {"c": "d"}
    runtime = await client.ok("GET", "agent")
    assert runtime["config_digest"] == answer["config_digest"] != first["config_digest"]
    assert runtime["updated_at"] > first["updated_at"]
    assert invalid(await client.raw("PUT", "agent/config", {})) == [(("body", "config"), "missing")]
    assert invalid(await client.raw("PUT", "agent/config", {"config": None})) == [(("body", "config"), "dict_type")]


# ---- state machine


async def test_start_creates_an_instance_and_a_second_start_returns_the_same_credential(client: Client) -> None:
    await client.create(key="agent")
    started = await client.ok("POST", "agent/start", {})
    assert (started["status"], started["materialization_stale"]) == ("running", False)
    assert started["sandbox_token"]
    instance = started["instance"]
    assert (instance["state"], instance["provider"], instance["pause_reason"]) == ("running", "e2b", None)
    assert instance["sandbox_url"] == f"https://{instance['provider_sandbox_id']}.sandbox.invalid"
    assert (instance["actual_runtime_limit_seconds"], instance["requested_runtime_limit_seconds"]) == (3600, None)
    assert instance["supports_pause"] is True
    again = await client.ok("POST", "agent/start")
    assert again == started
    result = await client.ok("GET", "agent")
    assert result.keys() & {"sandbox_token", "materialization_stale"} == set()
    logs = await client.ok("GET", f"/api/v1/org/acme/sandboxes/{instance['provider_sandbox_id']}/logs")
    assert "ready" in logs["logs"]
    assert kind(await client.raw("GET", "/api/v1/org/acme/sandboxes/i0/logs")) == (404, "not_found_error")


async def test_start_of_a_paused_runtime_leaves_it_paused_and_returns_the_credential(client: Client) -> None:
    await client.create(key="agent")
    token = (await client.ok("POST", "agent/start", {}))["sandbox_token"]
    paused = await client.ok("POST", "agent/pause")
    assert (paused["status"], paused["instance"]["state"]) == ("paused", "paused")
    assert paused["instance"]["pause_reason"] == "user"
    started = await client.ok("POST", "agent/start", {})
    assert (started["status"], started["sandbox_token"]) == ("paused", token)
    resumed = await client.ok("POST", "agent/resume")
    assert (resumed["status"], resumed["instance"]["pause_reason"]) == ("running", None)
    assert "sandbox_token" not in resumed


async def test_instance_older_than_config_or_capabilities_is_stale(client: Client) -> None:
    await client.create(key="agent")
    await client.ok("POST", "agent/start", {})
    await client.ok("PUT", "agent/config", {"config": {"resources": {"cpu_cores": 4}}})
    assert (await client.ok("POST", "agent/start", {}))["materialization_stale"] is True
    await client.ok("PUT", "agent/config", {"config": {}})
    assert (await client.ok("POST", "agent/start", {}))["materialization_stale"] is False
    await client.ok("POST", "agent/capabilities", {"name": "recon"})
    assert (await client.ok("POST", "agent/start", {}))["materialization_stale"] is True
    assert (await client.ok("POST", "agent/reset"))["instance"] is None
    assert (await client.ok("POST", "agent/start", {}))["materialization_stale"] is False


@pytest.mark.parametrize(
    ("status", "refused"),
    [("idle", ["pause", "resume", "reset", "keepalive"]), ("running", ["resume"]), ("paused", ["pause", "keepalive"])],
)
async def test_verb_in_the_wrong_state_is_a_conflict(client: Client, status: str, refused: list[str]) -> None:
    await client.create(key="agent")
    if status != "idle":
        await client.ok("POST", "agent/start", {})
    if status == "paused":
        await client.ok("POST", "agent/pause")
    for verb in refused:
        body = {"extend_seconds": 60} if verb == "keepalive" else None
        assert kind(await client.raw("POST", f"agent/{verb}", body)) == (409, "conflict_error"), verb
    assert (await client.ok("GET", "agent"))["status"] == status


async def test_only_the_owner_changes_a_runtime_and_other_users_read_it(client: Client) -> None:
    await client.create(key="agent")
    bob = Client(client.session, "bob")
    assert (await bob.ok("GET", "agent"))["owned_by_me"] is False
    assert await bob.ok("GET", "agent/config")
    assert await bob.ok("GET", "agent/capabilities") == {"items": []}
    for method, path, body in (
        ("POST", "agent/start", {}),
        ("POST", "agent/pause", None),
        ("POST", "agent/resume", None),
        ("POST", "agent/reset", None),
        ("POST", "agent/keepalive", {"extend_seconds": 60}),
        ("PUT", "agent/config", {"config": {}}),
        ("POST", "agent/capabilities", {"name": "a"}),
    ):
        assert kind(await bob.raw(method, path, body)) == (403, "forbidden_error"), path


async def test_credits_accrue_only_while_running_and_are_billed_at_a_pause(client: Client, now: Time) -> None:
    def costs(runtime: Any) -> tuple[int, int, int]:
        instance = runtime["instance"]
        return instance["billed_credits"], instance["running_credits"], instance["estimated_total_credits"]

    await client.create(key="agent")
    assert costs(await client.ok("POST", "agent/start", {})) == (0, 0, 0)
    now.seconds += 1000
    assert costs(await client.ok("GET", "agent")) == (0, 55, 55)
    assert costs(await client.ok("POST", "agent/pause")) == (55, 0, 55)
    now.seconds += 1000
    assert costs(await client.ok("POST", "agent/resume")) == (55, 0, 55)
    now.seconds += 1000
    running = await client.ok("GET", "agent")
    assert costs(running) == (55, 55, 110)
    assert running["instance"]["total_runtime_seconds"] == 2000


async def test_instance_is_paused_when_its_time_limit_passes(client: Client, now: Time) -> None:
    await client.create(key="agent", requested_runtime_limit_seconds=120)
    started = (await client.ok("POST", "agent/start", {}))["instance"]
    assert started["requested_runtime_limit_source_level"] == "l4_requested"
    now.seconds += 100
    extended = await client.ok("POST", "agent/keepalive", {"extend_seconds": 60})
    now.seconds += 79
    assert (await client.ok("GET", "agent"))["status"] == "running"
    now.seconds += 500
    instance = (await client.ok("GET", "agent"))["instance"]
    assert (instance["state"], instance["pause_reason"]) == ("paused", "timeout")
    assert (instance["total_runtime_seconds"], instance["expires_at"]) == (180, extended["expires_at"])
    assert extended["expires_at"] > started["expires_at"]
    resumed = (await client.ok("POST", "agent/resume"))["instance"]
    assert resumed["expires_at"] > instance["expires_at"]
    assert (await client.ok("GET", "/__stats"))["running_runtimes"] == 1


async def test_limit_of_a_start_takes_precedence_and_is_capped_by_the_platform(client: Client) -> None:
    await client.create(key="agent", requested_runtime_limit_seconds=120, config={"sandbox": {"timeout_seconds": 900}})
    instance = (await client.ok("POST", "agent/start", {"requested_runtime_limit_seconds": 90_000}))["instance"]
    assert instance["requested_runtime_limit_seconds"] == 90_000
    assert instance["actual_runtime_limit_seconds"] == 86_400
    assert instance["configured_runtime_limit_seconds"] == 900


@pytest.mark.parametrize(
    ("path", "body", "loc", "error"),
    [
        ("start", {"secret_ids": ["x"]}, ("secret_ids", 0), "uuid_parsing"),
        ("start", {"requested_runtime_limit_seconds": 1}, ("requested_runtime_limit_seconds",), "greater_than_equal"),
        ("start", {"wait": True}, ("wait",), "extra_forbidden"),
        ("keepalive", None, (), "missing"),
        ("keepalive", {}, ("extend_seconds",), "missing"),
        ("keepalive", {"extend_seconds": 59}, ("extend_seconds",), "greater_than_equal"),
        ("keepalive", {"extend_seconds": 3601}, ("extend_seconds",), "less_than_equal"),
    ],
)
async def test_invalid_body_of_a_verb_is_refused(
    client: Client, path: str, body: Any, loc: tuple[Any, ...], error: str
) -> None:
    await client.create(key="agent")
    assert (("body", *loc), error) in invalid(await client.raw("POST", f"agent/{path}", body))
    assert (await client.ok("GET", "agent"))["status"] == "idle"


# ---- list


async def test_pages_with_changing_limits_contain_each_runtime_once(client: Client, now: Time) -> None:
    created = []
    for index in range(7):
        created.append((await client.create(key=f"a{index}"))["id"])
        now.seconds += index % 2
    seen, cursor = [], None
    for limit in (3, 1, 2, 50):
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = await client.ok("GET", RUNTIMES, params=query)
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        await client.create(key=f"late{limit}")
        now.seconds += 1
    assert set(created) <= set(seen)
    assert len(set(seen)) == len(seen)
    assert cursor is None


async def test_list_is_filtered(client: Client) -> None:
    for key in ("idle", "running", "paused"):
        await client.create(key=key, project=f"p-{key}")
    theirs = await Client(client.session, "bob").create(key="bobs")
    await client.ok("POST", "running/start", {})
    await client.ok("POST", "paused/start", {})
    await client.ok("POST", "paused/pause")

    async def keys(query: Any) -> set[str]:
        return {item["key"] for item in (await client.ok("GET", RUNTIMES, params=query))["items"]}

    assert await keys({"state": "running,paused"}) == {"running", "paused"}
    assert await keys([("state", "running"), ("state", "idle")]) == {"running", "idle", "bobs"}
    assert await keys({"owner": "me"}) == {"idle", "running", "paused"}
    project = (await client.ok("GET", "idle"))["project_id"]
    assert await keys({"project_id": project.upper()}) == {"idle"}
    assert await keys({"project_id": theirs["project_id"], "state": "running"}) == set()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 0}, 422),
        ({"limit": 101}, 422),
        ({"limit": "ten"}, 422),
        ({"state": "broken"}, 422),
        ({"state": "idle,"}, 422),
        ({"owner": "bob"}, 422),
        ({"project_id": "lab"}, 422),
        ({"cursor": "x"}, 400),
        ({"cursor": "WzFd"}, 400),
        ({"cursor": "ü"}, 400),
        ({"cursor": "bnVsbA=="}, 400),
    ],
)
async def test_invalid_query_is_refused(client: Client, query: dict[str, Any], status: int) -> None:
    answer = await client.raw("GET", RUNTIMES, params=query)
    assert kind(answer) == (status, "validation_error" if status == 422 else "invalid_error")
    if status == 422:
        assert answer[1]["errors"][0]["loc"] == ["query", next(iter(query))]


# ---- capabilities


async def test_capability_is_installed_updated_and_removed(client: Client) -> None:
    await client.create(key="agent")
    binding = await client.ok("POST", "agent/capabilities", {"name": "recon"})
    assert (binding["capability_name"], binding["version"], binding["latest_version"]) == ("recon", "1.0.0", "1.0.0")
    assert (binding["enabled"], binding["flags"]) == (True, {})
    assert await client.ok("GET", "agent/capabilities") == {"items": [binding]}
    assert kind(await client.raw("POST", "agent/capabilities", {"name": "recon"})) == (409, "already_exists_error")
    path = f"agent/capabilities/{binding['id']}"
    assert (await client.ok("PATCH", path, {"flags": {"deep": True, "fast": False}}))["flags"] == {
        "deep": True,
        "fast": False,
    }
    assert (await client.ok("PATCH", path, {"flags": {"deep": None}}))["flags"] == {"fast": False}
    changed = await client.ok("PATCH", path, {"version": "0.9.0"})
    assert (changed["version"], changed["latest_version"]) == ("0.9.0", "1.0.0")
    assert changed["artifact_id"] != binding["artifact_id"]
    assert await client.raw("DELETE", path) == (204, None)
    assert kind(await client.raw("DELETE", path)) == (404, "not_found_error")
    assert await client.ok("GET", "agent/capabilities") == {"items": []}


@pytest.mark.parametrize("body", [{}, {"enabled": True, "version": "1"}, {"version": None}, {"flags": {"a": 1}}, None])
async def test_patch_without_exactly_one_valid_field_is_refused(client: Client, body: Any) -> None:
    await client.create(key="agent")
    binding = await client.ok("POST", "agent/capabilities", {"name": "recon", "version": "2"})
    assert invalid(await client.raw("PATCH", f"agent/capabilities/{binding['id']}", body))
    assert await client.ok("GET", "agent/capabilities") == {"items": [binding]}


async def test_only_enabled_capabilities_are_resolved(client: Client) -> None:
    await client.create(key="agent")
    one = await client.ok("POST", "agent/capabilities", {"name": "recon"})
    await client.ok("POST", "agent/capabilities", {"name": "report", "version": "3.1"})
    both = await client.ok("GET", "agent/capabilities/resolved")
    assert [(item["name"], item["version"]) for item in both["capabilities"]] == [("recon", "1.0.0"), ("report", "3.1")]
    assert all(
        item.keys() >= {"artifact_digest", "artifact_s3_prefix", "runtime_digest"} for item in both["capabilities"]
    )
    await client.ok("PATCH", f"agent/capabilities/{one['id']}", {"enabled": False})
    fewer = await client.ok("GET", "agent/capabilities/resolved")
    assert [item["name"] for item in fewer["capabilities"]] == ["report"]
    assert fewer["runtime_digest"] != both["runtime_digest"]


# ---- look-ups


async def test_look_ups_of_the_client_are_served(client: Client) -> None:
    user = await client.ok("GET", "/api/v1/user")
    assert user.keys() == {"id", "email_address", "username"}
    assert (await client.create())["created_by"] == user["id"]
    org = await client.ok("GET", "/api/v1/org/acme")
    assert (org["key"], org["effective_max_sandbox_runtime_seconds"]) == ("acme", 86_400)
    assert len(org) == 11
    assert await client.ok("GET", "/api/v1/user/organizations") == [org]
    workspace = await client.ok("GET", "/api/v1/org/acme/ws/research")
    assert (workspace["key"], workspace["org_id"], workspace["is_default"]) == ("research", org["id"], True)
    assert await client.ok("GET", "/api/v1/org/acme/ws") == [workspace]
    assert [item["key"] for item in await client.ok("GET", "/api/v1/org/new/ws")] == ["default"]
    secrets = await client.ok("GET", "/api/v1/user/secrets")
    assert secrets["total"] == len(secrets["secrets"]) > 0
    assert secrets["secrets"][0].keys() == {"id", "name", "masked_value", "created_at", "updated_at"}


async def test_projects_are_created_and_read(client: Client) -> None:
    base = RUNTIMES.replace("runtimes", "projects")
    assert [item["key"] for item in await client.ok("GET", base)] == ["default"]
    status, project = await client.raw("POST", base, {"name": "Red Team"})
    assert (status, project["key"]) == (201, "red-team")
    assert await client.ok("GET", f"{base}/red-team") == project
    assert await client.ok("GET", f"{base}/{project['id']}") == project
    assert kind(await client.raw("POST", base, {"name": "x", "key": "red-team"})) == (409, "already_exists_error")
    assert kind(await client.raw("GET", f"{base}/none")) == (404, "not_found_error")
    runtime = await client.create(project="red-team")
    assert (runtime["project_id"], runtime["project_name"]) == (project["id"], "Red Team")


# ---- faults


async def test_create_with_a_lost_response_is_committed_once(client: Client) -> None:
    await client.fault("create", "drop_after", times=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.create(key="agent")
    again = await client.create(key="agent")
    assert again["created"] is False
    stats = await client.ok("GET", "/__stats")
    assert (stats["creates_committed"], stats["requests"]["create"], stats["faults_fired"]) == (1, 2, {"drop_after": 1})


async def test_control_route_lists_a_runtime_that_reads_do_not_show_yet(client: Client) -> None:
    await client.fault("create", "list_lag")
    created = await client.create(key="agent", name="Agent")
    items = (await client.ok("GET", "/__runtimes"))["items"]
    assert [(item["id"], item["name"], item["scope"], item["live"]) for item in items] == [
        (created["id"], "agent", "acme/research", True)
    ]


async def test_create_that_commits_twice_creates_two_runtimes_of_one_key(client: Client) -> None:
    await client.fault("create", "commit_twice", times=1)
    first = await client.create(key="agent")
    keys = [item["key"] for item in (await client.ok("GET", RUNTIMES))["items"]]
    assert keys == ["agent", "agent"]
    assert (await client.ok("GET", first["id"]))["key"] == "agent"
    assert (await client.ok("GET", "/__stats"))["creates_committed"] == 2


async def test_new_runtime_appears_late_in_lists_and_gets_with_lag(client: Client) -> None:
    await client.fault("create", "list_lag", reads=1)
    await client.fault("create", "get_lag", reads=1)
    runtime = await client.create(key="agent")
    assert [len((await client.ok("GET", RUNTIMES))["items"]) for _ in range(2)] == [0, 1]
    assert [(await client.raw("GET", path))[0] for path in ("agent", runtime["id"])] == [404, 200]
    assert (await client.create(key="agent"))["created"] is False


async def test_start_is_committed_after_the_client_disconnects(now: Time) -> None:
    app = create_emulator(token=TOKEN, now=now)
    emulator = app[EMULATOR]
    async with running(app) as url, aiohttp.ClientSession(url) as session:
        client = Client(session)
        await client.create(key="agent")
        await client.fault("start", "hold")
        pending = asyncio.create_task(client.ok("POST", "agent/start", {}))
        await emulator.until_waiting()
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        assert (await client.ok("GET", "agent"))["status"] == "idle"
        emulator.release()
        await emulator.until_committed("start")
        assert (await client.ok("GET", "agent"))["status"] == "running"
        assert (await client.ok("GET", "/__stats"))["live_runtimes"] == 1


async def test_injected_failure_has_the_envelope(client: Client) -> None:
    await client.fault("start", "status", status=429, detail="Not enough credits", times=1)
    await client.create(key="agent")
    answer = await client.raw("POST", "agent/start", {})
    assert kind(answer) == (429, "usage_limit_exceeded_error")
    assert answer[1]["detail"] == "Not enough credits"


async def test_recorded_request_has_the_sent_body_and_no_token(client: Client) -> None:
    await client.create(key="agent", config={"sandbox": {"egress": {"allow": []}}}, description=None)
    (item,) = (await client.ok("GET", "/__requests", params={"operation": "create"}))["items"]
    assert item["body"] == {"key": "agent", "config": {"sandbox": {"egress": {"allow": []}}}, "description": None}
    assert TOKEN not in json.dumps(item)
