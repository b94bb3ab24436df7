"""The durable dialect: what a request becomes at the provider, and what is refused before."""

import json
from typing import Any

import pytest

from adapters.durable.dialect import EMPTY_PAGES
from gateway.domain.errors import AlreadyExists, GatewayError, NotFound, OutcomeUnknown, ValidationFailed
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created
from gateway.ports.transport import Phase, TransportFailure, UpstreamResponse
from tests.unit.adapters.durable.asked import Asked, where
from tests.unit.adapters.durable.fakes import OTHER, PROJECT, UUID, W, failure, page, row
from tests.unit.adapters.fakes import answer

ROOT = "/api/v1/org/acme/ws/research"
RUNTIMES = f"{ROOT}/runtimes"
PROJECTS = W.removesuffix("runtimes") + "projects"


def made(status: int = 201, **members: Any) -> UpstreamResponse:
    return answer(status, row(created=status == 201, **members))


async def test_a_create_goes_out_as_it_came_in_and_comes_back_as_it_was_answered():
    body = {
        "key": "agent",
        "name": "Agent",
        "description": "d",
        "project": "shop",
        "requested_runtime_limit_seconds": 600,
        "config": {"resources": {"cpu_cores": 4.0}, "novel": None, "sandbox": {"egress": {"allow": []}}},
    }
    asked = Asked(made(novel={"b": 1}))
    shown = await asked.ask("POST", RUNTIMES, body)
    assert asked.sent == [("POST", W, body)]
    assert (shown.status, shown.body) == (201, made(novel={"b": 1}).body)
    assert asked.ctx.scope == "acme/research"


async def test_a_runtime_that_was_there_is_200():
    shown = await Asked(made(200)).ask("POST", RUNTIMES, {"key": "agent"})
    assert (shown.status, json.loads(shown.body or b"")["created"]) == (200, False)


async def test_null_and_left_out_differ_where_they_do_to_the_provider():
    asked = Asked(made())
    body = {"key": "agent", "project": None, "config": None, "name": None, "description": None}
    await asked.ask("POST", RUNTIMES, {**body, "requested_runtime_limit_seconds": None})
    assert asked.sent == [("POST", W, {"key": "agent", "project": None, "config": None})]


async def test_a_key_is_the_providers_to_judge():
    """Nothing tighter than a text is known of its keys."""
    key = "_" * 150
    asked = Asked(made(key=key))
    await asked.ask("POST", RUNTIMES, {"key": key})
    assert asked.sent == [("POST", W, {"key": key})]


async def test_a_create_without_a_key_takes_its_projects_key():
    asked = Asked(made(200, key="shop"))
    await asked.ask("POST", RUNTIMES, {"project": "shop"})
    assert asked.sent == [("POST", W, {"key": "shop", "project": "shop"})]


async def test_a_create_without_a_key_looks_the_key_of_a_projects_uuid_up():
    asked = Asked(answer(200, {"id": PROJECT, "key": "shop"}), made(key="shop"))
    await asked.ask("POST", RUNTIMES, {"project": PROJECT, "name": "Shop"})
    assert asked.sent == [
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
async def test_a_create_without_key_and_project_means_the_workspaces_default_project(projects: Any, key: str):
    asked = Asked(answer(200, projects), made(key=key))
    await asked.ask("POST", RUNTIMES, {})
    assert asked.sent == [("GET", PROJECTS, None), ("POST", W, {"key": key, "project": key})]


@pytest.mark.parametrize("projects", [[], [{"id": PROJECT}]])
async def test_a_project_without_a_key_is_no_key(projects: Any):
    """The key is never left to the provider."""
    asked = Asked(answer(200, projects))
    with pytest.raises(GatewayError) as caught:
        await asked.ask("POST", RUNTIMES, {})
    assert [method for method, _, _ in asked.sent] == ["GET"]
    assert caught.value.code == ("provider_bad_response" if projects else "validation_failed")


@pytest.mark.parametrize(
    ("body", "at"),
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
async def test_a_bad_create_is_refused_with_the_apis_own_names(body: Any, at: list[str]):
    error = await Asked().refused("POST", RUNTIMES, body)
    assert isinstance(error, ValidationFailed)
    assert where(error) == at


async def test_the_detail_names_the_first_fault():
    """It is all that the client reads."""
    error = await Asked().refused("POST", RUNTIMES, {"key": "a", "name": "", "x": 1})
    assert error.detail == "body.x: There is no field of this name here. (and 1 more)"


async def test_what_the_provider_finds_wrong_keeps_the_apis_names():
    items = [{"loc": ["body", name], "msg": "m", "type": "t"} for name in ("key", "name", "config")]
    asked = Asked(failure(422, "validation_error", errors=items))
    with pytest.raises(ValidationFailed) as caught:
        await asked.ask("POST", RUNTIMES, {"key": "agent"})
    assert where(caught.value) == ["#/key", "#/name", "#/config"]


async def test_a_conflict_is_the_providers_own():
    asked = Asked(failure(409, "already_exists_error"), answer(200, row()))
    with pytest.raises(AlreadyExists) as caught:
        await asked.ask("POST", RUNTIMES, {"key": "agent", "config": {}})
    shown = asked.dialect().failure(caught.value, "/x", {}, "r")
    assert json.loads(shown.body or b"")["detail"] == "the provider's words"


async def test_a_lost_create_is_not_sent_again():
    asked = Asked(TransportFailure("disconnected", Phase.SENT))
    with pytest.raises(OutcomeUnknown):
        await asked.ask("POST", RUNTIMES, {"key": "agent"})
    assert len(asked.sent) == 1


async def test_a_create_that_ends_otherwise_than_with_the_providers_answer_is_read_back():
    asked = Asked(made(), answer(200, row(novel=1)), failure(500, "server_error"))
    created = await asked.adapters[0].create(_create(), "acme/research", RequestContext("r", "p").call(9e9))
    dialect = asked.dialect()
    dialect.gateway.create = _answering(Created(created.runtime, created=True))  # type: ignore[method-assign]
    asked.dialect = lambda: dialect  # type: ignore[method-assign]
    shown = await asked.ask("POST", RUNTIMES, {"key": "agent"})
    assert (shown.status, json.loads(shown.body or b"")) == (201, {**row(novel=1), "created": True})
    with pytest.raises(OutcomeUnknown):
        await asked.ask("POST", RUNTIMES, {"key": "agent"})


def _create() -> Any:
    from tests.unit.adapters.durable.fakes import create

    return create()


def _answering(created: Created) -> Any:
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


@pytest.mark.parametrize(("method", "below", "body", "answered"), OPERATIONS)
async def test_an_operation_goes_out_as_it_came_in_and_comes_back_as_it_was_answered(
    method: str, below: str, body: Any, answered: Any
):
    asked = Asked(answer(200, answered))
    shown = await asked.ask(method, f"{RUNTIMES}/{UUID.upper()}{below}", b"" if body is None else body)
    assert asked.sent == [(method, f"{W}/{UUID}{below}", body)]
    assert (shown.status, shown.body) == (200, answer(200, answered).body)
    assert asked.ctx.runtime_id == f"dn.{UUID}"


@pytest.mark.parametrize("body", [b"", b"null", b"{}"])
async def test_a_start_always_sends_an_object(body: bytes):
    asked = Asked(answer(200, row()))
    await asked.ask("POST", f"{RUNTIMES}/{UUID}/start", body)
    assert asked.sent[0][2] == {}


@pytest.mark.parametrize("answered", [answer(204, b""), answer(200, {"removed": True})])
async def test_an_uninstall_is_answered_without_a_body(answered: UpstreamResponse):
    asked = Asked(answered)
    shown = await asked.ask("DELETE", f"{RUNTIMES}/{UUID}/capabilities/b1")
    assert (shown.status, shown.body) == (204, None)


async def test_a_version_of_null_is_the_latest():
    asked = Asked(answer(201, {}))
    await asked.ask("POST", f"{RUNTIMES}/{UUID}/capabilities", {"name": "web", "version": None})
    assert asked.sent[0][2] == {"name": "web"}


@pytest.mark.parametrize(
    ("method", "below", "body", "at"),
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
async def test_a_bad_body_reaches_no_provider(method: str, below: str, body: Any, at: str):
    error = await Asked().refused(method, f"{RUNTIMES}/{UUID}{below}", body)
    assert isinstance(error, ValidationFailed)
    assert where(error) == [at]


async def test_a_key_is_looked_up():
    asked = Asked(answer(200, row()), answer(200, row(status="paused")))
    await asked.ask("POST", f"{RUNTIMES}/agent/pause")
    assert [(method, path) for method, path, _ in asked.sent] == [("GET", f"{W}/agent"), ("POST", f"{W}/{UUID}/pause")]


async def test_of_two_runtimes_of_a_key_the_accounts_own_is_meant():
    theirs, mine = row(id=OTHER, owned_by_me=False), row()
    asked = Asked(answer(200, theirs), page(theirs, mine), answer(200, mine))
    await asked.ask("POST", f"{RUNTIMES}/agent/pause")
    assert asked.sent[-1][1] == f"{W}/{UUID}/pause"


async def test_a_key_that_nothing_has_is_not_found():
    asked = Asked(failure(404, "not_found_error"), page())
    with pytest.raises(NotFound):
        await asked.ask("GET", f"{RUNTIMES}/nothing")


async def test_another_runtime_than_the_one_of_the_path_is_never_shown():
    asked = Asked(answer(200, row(id=OTHER)))
    with pytest.raises(GatewayError) as caught:
        await asked.ask("GET", f"{RUNTIMES}/{UUID}")
    assert caught.value.code == "provider_bad_response"


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]"])
async def test_an_answer_that_is_no_object_is_not_passed_on(body: bytes):
    asked = Asked(answer(200, body))
    with pytest.raises(GatewayError) as caught:
        await asked.ask("GET", f"{RUNTIMES}/{UUID}")
    assert caught.value.code == "provider_bad_response"


async def test_the_secrets_of_a_config_are_in_no_text_of_its_failure():
    asked = Asked(failure(400, "invalid_error", detail="bad value hunter2-env"))
    config = {"runtime_server": {"env": {"PASSWORD": "hunter2-env"}}}
    with pytest.raises(GatewayError) as caught:
        await asked.ask("PUT", f"{RUNTIMES}/{UUID}/config", {"config": config})
    shown = asked.dialect().failure(caught.value, "/x", {}, "r")
    assert b"hunter2" not in (shown.body or b"")
    assert b"bad value [redacted]" in (shown.body or b"")


async def test_a_list_is_asked_for_as_it_came_in():
    asked = Asked(page(row(), cursor="c+/="))
    query = f"limit=7&state=idle&state=running%2Cpaused&owner=me&project_id={PROJECT}&cursor=a%2Bb%3D"
    shown = await asked.ask("GET", f"{RUNTIMES}?{query}")
    assert list(asked.transport.sent[0].query) == [
        ("limit", "7"),
        ("owner", "me"),
        ("project_id", PROJECT),
        ("cursor", "a+b="),
        ("state", "idle,running,paused"),
    ]
    assert shown.body == page(row(), cursor="c+/=").body


async def test_a_list_without_parameters_sends_none():
    asked = Asked(page())
    await asked.ask("GET", RUNTIMES)
    assert list(asked.transport.sent[0].query) == []


@pytest.mark.parametrize(
    ("query", "at"),
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
async def test_a_parameter_that_could_not_be_honoured_is_refused(query: str, at: str):
    error = await Asked().refused("GET", f"{RUNTIMES}?{query}")
    assert where(error) == [at]
    assert json.loads(Asked().dialect().failure(error, "/x", {}, "r").body or b"")["code"] == 422


async def test_an_empty_page_is_read_on_until_the_list_ends():
    """The client takes an empty page for the end."""
    asked = Asked(page(cursor="c1"), page(cursor="c2"), page(row(), cursor="c3"))
    shown = await asked.ask("GET", f"{RUNTIMES}?limit=2&cursor=c0")
    assert [dict(request.query) for request in asked.transport.sent] == [
        {"limit": "2", "cursor": cursor} for cursor in ("c0", "c1", "c2")
    ]
    assert shown.body == page(row(), cursor="c3").body
    last = await Asked(page(cursor="c1"), page()).ask("GET", RUNTIMES)
    assert last.body == page().body


@pytest.mark.parametrize("pages", [[page(cursor=f"c{number}") for number in range(EMPTY_PAGES)], [page(cursor="c0")]])
async def test_a_list_that_does_not_go_on_is_an_error_and_not_an_end(pages: list[UpstreamResponse]):
    asked = Asked(*pages)
    with pytest.raises(GatewayError) as caught:
        await asked.ask("GET", f"{RUNTIMES}?cursor=c0" if len(pages) == 1 else RUNTIMES)
    assert caught.value.code == "provider_bad_response"
    assert len(asked.sent) == len(pages)


async def test_a_scope_that_nobody_serves_is_not_found():
    assert isinstance(await Asked().refused("GET", "/api/v1/org/acme/ws/other/runtimes"), NotFound)
    assert isinstance(await Asked().refused("GET", "/api/v1/org/other"), NotFound)
    assert isinstance(await Asked().refused("GET", "/api/v1/org/other/ws"), NotFound)
