"""The durable dialect: what it sends to the provider, what it returns, and what it refuses."""

import json
from typing import Any

import pytest

from adapters.durable.dialect.forwarding import EMPTY_PAGES
from gateway.domain.access import Principal
from gateway.domain.errors import AlreadyExists, GatewayError, NotFound, OutcomeUnknown, ValidationFailed
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created
from gateway.ports.transport import Phase, TransportFailure, UpstreamResponse
from tests.unit.adapters.durable.dialect_caller import DialectCaller, locations
from tests.unit.adapters.durable.fakes import OTHER, PROJECT, UUID, W, failure, page, row
from tests.unit.adapters.fakes import answer

ROOT = "/api/v1/org/acme/ws/research"
RUNTIMES = f"{ROOT}/runtimes"
PROJECTS = W.removesuffix("runtimes") + "projects"


def created_row(status: int = 201, **members: Any) -> UpstreamResponse:
    return answer(status, row(created=status == 201, **members))


async def test_create_and_its_response_are_passed_on_unchanged():
    body = {
        "key": "agent",
        "name": "Agent",
        "description": "d",
        "project": "shop",
        "requested_runtime_limit_seconds": 600,
        "config": {"resources": {"cpu_cores": 4.0}, "novel": None, "sandbox": {"egress": {"allow": []}}},
    }
    caller = DialectCaller(created_row(novel={"b": 1}))
    response = await caller.call("POST", RUNTIMES, body)
    assert caller.sent == [("POST", W, body)]
    assert (response.status, response.body) == (201, created_row(novel={"b": 1}).body)
    assert caller.ctx.scope == "acme/research"


async def test_create_of_an_existing_runtime_is_200():
    response = await DialectCaller(created_row(200)).call("POST", RUNTIMES, {"key": "agent"})
    assert (response.status, json.loads(response.body or b"")["created"]) == (200, False)


async def test_null_is_sent_only_for_members_where_it_differs_from_absence():
    caller = DialectCaller(created_row())
    body = {"key": "agent", "project": None, "config": None, "name": None, "description": None}
    await caller.call("POST", RUNTIMES, {**body, "requested_runtime_limit_seconds": None})
    assert caller.sent == [("POST", W, {"key": "agent", "project": None, "config": None})]


async def test_long_key_is_passed_on_for_the_provider_to_judge():
    """The provider's rule for keys is not documented, so any text is passed on."""
    key = "_" * 150
    caller = DialectCaller(created_row(key=key))
    await caller.call("POST", RUNTIMES, {"key": key})
    assert caller.sent == [("POST", W, {"key": key})]


async def test_create_without_a_key_sends_the_projects_key():
    caller = DialectCaller(created_row(200, key="shop"))
    await caller.call("POST", RUNTIMES, {"project": "shop"})
    assert caller.sent == [("POST", W, {"key": "shop", "project": "shop"})]


async def test_create_without_a_key_reads_the_key_of_a_project_uuid():
    caller = DialectCaller(answer(200, {"id": PROJECT, "key": "shop"}), created_row(key="shop"))
    await caller.call("POST", RUNTIMES, {"project": PROJECT, "name": "Shop"})
    assert caller.sent == [
        ("GET", f"{PROJECTS}/{PROJECT}", None),
        ("POST", W, {"key": "shop", "project": "shop", "name": "Shop"}),
    ]


@pytest.mark.parametrize(
    ("projects", "key"),
    [
        ([{"key": "a"}, {"key": "b", "is_default": True}], "b"),
        ([{"key": "a", "is_default": False}, {"key": "default"}], "default"),
        ([{"key": "a"}, {"key": "b"}], "a"),
    ],
)
async def test_create_without_key_and_project_uses_the_default_project(projects: Any, key: str):
    caller = DialectCaller(answer(200, projects), created_row(key=key))
    await caller.call("POST", RUNTIMES, {})
    assert caller.sent == [("GET", PROJECTS, None), ("POST", W, {"key": key, "project": key})]


@pytest.mark.parametrize("projects", [[], [{"id": PROJECT}]])
async def test_create_is_not_sent_when_no_project_key_can_be_read(projects: Any):
    """Without a key the provider would choose the runtime."""
    caller = DialectCaller(answer(200, projects))
    with pytest.raises(GatewayError) as caught:
        await caller.call("POST", RUNTIMES, {})
    assert [method for method, _, _ in caller.sent] == ["GET"]
    assert caught.value.code == ("provider_bad_response" if projects else "validation_failed")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"key": "a", "config": {"version": "v3"}}, ["#/config/version"]),
        ({"key": "a", "name": "x" * 101}, ["#/name"]),
        ({"key": "a", "requested_runtime_limit_seconds": 59}, ["#/requested_runtime_limit_seconds"]),
        ({"key": "", "labels": {}, "kind": "browser"}, ["#/key", "#/labels", "#/kind"]),
        (
            {"key": 7, "display_name": "x", "config": {"resources": 1}},
            ["#/key", "#/display_name", "#/config/resources"],
        ),
        ({"key": "a", "config": {"sandbox": {"egress": {"allow": ["*"]}}}}, ["#/config/sandbox/egress/allow/0"]),
        ([], ["#"]),
        (b"", ["#"]),
        (b"{", ["#"]),
        (b"null", ["#"]),
        (b"[" * 100_000, ["#"]),
    ],
)
async def test_invalid_create_is_refused_with_the_apis_field_names(body: Any, where: list[str]):
    error = await DialectCaller().refused("POST", RUNTIMES, body)
    assert isinstance(error, ValidationFailed)
    assert locations(error) == where


async def test_detail_names_the_first_invalid_field():
    """The client reads only ``detail``."""
    error = await DialectCaller().refused("POST", RUNTIMES, {"key": "a", "name": "", "x": 1})
    assert error.detail == "body.x: There is no field of this name here. (and 1 more)"


async def test_fields_refused_by_the_provider_keep_the_apis_names():
    items = [{"loc": ["body", name], "msg": "m", "type": "t"} for name in ("key", "name", "config")]
    caller = DialectCaller(failure(422, "validation_error", errors=items))
    with pytest.raises(ValidationFailed) as caught:
        await caller.call("POST", RUNTIMES, {"key": "agent"})
    assert locations(caught.value) == ["#/key", "#/name", "#/config"]


async def test_conflict_keeps_the_providers_detail():
    caller = DialectCaller(failure(409, "already_exists_error"), answer(200, row()))
    with pytest.raises(AlreadyExists) as caught:
        await caller.call("POST", RUNTIMES, {"key": "agent", "config": {}})
    response = caller.dialect().failure(caught.value, "/x", {}, "r")
    assert json.loads(response.body or b"")["detail"] == "the provider's words"


async def test_create_with_a_lost_response_is_not_sent_again():
    caller = DialectCaller(TransportFailure("disconnected", Phase.SENT))
    with pytest.raises(OutcomeUnknown):
        await caller.call("POST", RUNTIMES, {"key": "agent"})
    assert len(caller.sent) == 1


async def test_create_completed_without_a_native_response_is_read_back():
    caller = DialectCaller(created_row(), answer(200, row(novel=1)), failure(500, "server_error"))
    created = await caller.adapters[0].create(_create(), "acme/research", RequestContext("r", Principal("p")).call(9e9))
    dialect = caller.dialect()
    dialect.gateway.create = _returning(Created(created.runtime, created=True))  # type: ignore[method-assign]
    caller.dialect = lambda: dialect  # type: ignore[method-assign]
    response = await caller.call("POST", RUNTIMES, {"key": "agent"})
    assert (response.status, json.loads(response.body or b"")) == (201, {**row(novel=1), "created": True})
    with pytest.raises(OutcomeUnknown):
        await caller.call("POST", RUNTIMES, {"key": "agent"})


def _create() -> Any:
    from tests.unit.adapters.durable.fakes import create

    return create()


def _returning(created: Created) -> Any:
    async def create(*_args: Any, **_options: Any) -> Created:
        return created

    return create


OPERATIONS = [
    ("GET", "", None, row(novel=1)),
    ("GET", "/config", None, {"config": {"a": 1}, "novel": 1}),
    ("PUT", "/config", {"config": {"novel": {"a": None}}}, {"config": {}}),
    ("POST", "/start", {"secret_ids": [UUID], "requested_runtime_limit_seconds": 60}, row(sandbox_token="t")),
    ("POST", "/pause", None, row()),
    ("POST", "/resume", None, row()),
    ("POST", "/reset", None, row()),
    ("POST", "/keepalive", {"extend_seconds": 60}, {"expires_at": "2026-03-01T11:00:00Z"}),
    ("GET", "/capabilities", None, {}),
    ("POST", "/capabilities", {"name": "web"}, {"ok": True}),
    ("GET", "/capabilities/resolved", None, {"runtime_digest": "d", "capabilities": []}),
    ("PATCH", "/capabilities/b1", {"flags": {"x": None}}, {"ok": True}),
]


@pytest.mark.parametrize(("method", "below", "body", "native"), OPERATIONS)
async def test_operation_and_its_response_are_passed_on_unchanged(method: str, below: str, body: Any, native: Any):
    caller = DialectCaller(answer(200, native))
    response = await caller.call(method, f"{RUNTIMES}/{UUID.upper()}{below}", b"" if body is None else body)
    assert caller.sent == [(method, f"{W}/{UUID}{below}", body)]
    assert (response.status, response.body) == (200, answer(200, native).body)
    assert caller.ctx.runtime_id == f"dn.{UUID}"


@pytest.mark.parametrize("body", [b"", b"null", b"{}"])
async def test_start_always_sends_an_object(body: bytes):
    caller = DialectCaller(answer(200, row()))
    await caller.call("POST", f"{RUNTIMES}/{UUID}/start", body)
    assert caller.sent[0][2] == {}


@pytest.mark.parametrize("native", [answer(204, b""), answer(200, {"removed": True})])
async def test_uninstall_returns_204_without_a_body(native: UpstreamResponse):
    caller = DialectCaller(native)
    response = await caller.call("DELETE", f"{RUNTIMES}/{UUID}/capabilities/b1")
    assert (response.status, response.body) == (204, None)


async def test_version_of_null_is_not_sent():
    caller = DialectCaller(answer(201, {}))
    await caller.call("POST", f"{RUNTIMES}/{UUID}/capabilities", {"name": "web", "version": None})
    assert caller.sent[0][2] == {"name": "web"}


@pytest.mark.parametrize(
    ("method", "below", "body", "where"),
    [
        ("PUT", "/config", {}, "#/config"),
        ("PUT", "/config", {"config": None}, "#/config"),
        ("PUT", "/config", {"config": {}, "x": 1}, "#/x"),
        ("POST", "/start", {"runtime_limit_seconds": 60}, "#/runtime_limit_seconds"),
        ("POST", "/start", {"requested_runtime_limit_seconds": 59}, "#/requested_runtime_limit_seconds"),
        ("POST", "/start", {"secret_ids": ["x"]}, "#/secret_ids/0"),
        ("POST", "/keepalive", b"", "#"),
        ("POST", "/keepalive", {}, "#/extend_seconds"),
        ("POST", "/keepalive", {"extend_seconds": 3601}, "#/extend_seconds"),
        ("POST", "/capabilities", {"version": "1"}, "#/name"),
        ("PATCH", "/capabilities/b1", {"enabled": True, "version": "1"}, "#"),
        ("PATCH", "/capabilities/b1", {}, "#"),
    ],
)
async def test_invalid_body_is_refused_before_the_provider_is_called(method: str, below: str, body: Any, where: str):
    error = await DialectCaller().refused(method, f"{RUNTIMES}/{UUID}{below}", body)
    assert isinstance(error, ValidationFailed)
    assert locations(error) == [where]


async def test_key_in_the_path_is_resolved_to_the_uuid():
    caller = DialectCaller(answer(200, row()), answer(200, row(status="paused")))
    await caller.call("POST", f"{RUNTIMES}/agent/pause")
    assert [(method, path) for method, path, _ in caller.sent] == [("GET", f"{W}/agent"), ("POST", f"{W}/{UUID}/pause")]


async def test_key_of_two_runtimes_means_the_accounts_own():
    theirs, mine = row(id=OTHER, owned_by_me=False), row()
    caller = DialectCaller(answer(200, theirs), page(theirs, mine), answer(200, mine))
    await caller.call("POST", f"{RUNTIMES}/agent/pause")
    assert caller.sent[-1][1] == f"{W}/{UUID}/pause"


async def test_unknown_key_is_not_found():
    caller = DialectCaller(failure(404, "not_found_error"), page())
    with pytest.raises(NotFound):
        await caller.call("GET", f"{RUNTIMES}/nothing")


@pytest.mark.parametrize("body", [row(id=OTHER), page(row()), {}])
async def test_response_without_the_requested_runtime_is_a_bad_response(body: Any):
    caller = DialectCaller(answer(200, body) if isinstance(body, dict) else body)
    with pytest.raises(GatewayError) as caught:
        await caller.call("GET", f"{RUNTIMES}/{UUID}")
    assert caught.value.code == "provider_bad_response"


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]"])
async def test_response_that_is_not_an_object_is_a_bad_response(body: bytes):
    caller = DialectCaller(answer(200, body))
    with pytest.raises(GatewayError) as caught:
        await caller.call("GET", f"{RUNTIMES}/{UUID}")
    assert caught.value.code == "provider_bad_response"


async def test_secrets_of_a_config_are_redacted_in_its_error():
    caller = DialectCaller(failure(400, "invalid_error", detail="bad value hunter2-env"))
    config = {"runtime_server": {"env": {"PASSWORD": "hunter2-env"}}}
    with pytest.raises(GatewayError) as caught:
        await caller.call("PUT", f"{RUNTIMES}/{UUID}/config", {"config": config})
    response = caller.dialect().failure(caught.value, "/x", {}, "r")
    assert b"hunter2" not in (response.body or b"")
    assert b"bad value [redacted]" in (response.body or b"")


async def test_list_query_is_passed_on_with_states_joined():
    caller = DialectCaller(page(row(), cursor="c+/="), page())
    query = f"limit=7&state=idle&state=running%2Cpaused&owner=me&project_id={PROJECT}&cursor=a%2Bb%3D"
    response = await caller.call("GET", f"{RUNTIMES}?{query}")
    assert list(caller.transport.sent[0].query) == [
        ("limit", "7"),
        ("owner", "me"),
        ("project_id", PROJECT),
        ("cursor", "a+b="),
        ("state", "idle,running,paused"),
    ]
    following = json.loads(response.body or b"")["next_cursor"]
    assert response.body == page(row(), cursor=following).body
    last = await caller.call("GET", f"{RUNTIMES}?limit=7&cursor={following}&owner=me")
    assert list(caller.transport.sent[1].query) == [("limit", "7"), ("cursor", "c+/="), ("owner", "me")]
    assert last.body == page().body


async def test_list_without_parameters_sends_none():
    caller = DialectCaller(page())
    await caller.call("GET", RUNTIMES)
    assert list(caller.transport.sent[0].query) == []


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("state=stopped", "state"),
        ("state=idle,", "state"),
        ("owner=you", "owner"),
        ("project_id=shop", "project_id"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("name=agent", "name"),
    ],
)
async def test_unknown_repeated_or_invalid_parameter_is_refused(query: str, where: str):
    error = await DialectCaller().refused("GET", f"{RUNTIMES}?{query}")
    assert locations(error) == [where]
    assert json.loads(DialectCaller().dialect().failure(error, "/x", {}, "r").body or b"")["code"] == 422


async def test_empty_pages_are_skipped_until_the_list_ends():
    """The client treats an empty page as the end of the list."""
    caller = DialectCaller(page(cursor="c1"), page(cursor="c2"), page(row(), cursor="c3"))
    response = await caller.call("GET", f"{RUNTIMES}?limit=2&cursor=c0")
    assert [dict(request.query) for request in caller.transport.sent] == [
        {"limit": "2", "cursor": cursor} for cursor in ("c0", "c1", "c2")
    ]
    assert response.body == page(row(), cursor=json.loads(response.body or b"")["next_cursor"]).body
    last = await DialectCaller(page(cursor="c1"), page()).call("GET", RUNTIMES)
    assert last.body == page().body


@pytest.mark.parametrize(
    "pages",
    [
        [page(cursor=f"c{number}") for number in range(EMPTY_PAGES)],
        [page(cursor="c0")],
        [page(cursor=c) for c in "aba"],
    ],
)
async def test_endless_empty_pages_and_a_repeated_cursor_are_errors(pages: list[UpstreamResponse]):
    caller = DialectCaller(*pages)
    with pytest.raises(GatewayError) as caught:
        await caller.call("GET", f"{RUNTIMES}?cursor=c0" if len(pages) == 1 else RUNTIMES)
    assert caught.value.code == "provider_bad_response"
    assert len(caller.sent) == len(pages)


async def test_scope_without_a_provider_is_not_found():
    assert isinstance(await DialectCaller().refused("GET", "/api/v1/org/acme/ws/other/runtimes"), NotFound)
    assert isinstance(await DialectCaller().refused("GET", "/api/v1/org/other"), NotFound)
    assert isinstance(await DialectCaller().refused("GET", "/api/v1/org/other/ws"), NotFound)
