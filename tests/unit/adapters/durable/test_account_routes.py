"""The look-ups of the durable dialect besides runtimes."""

import json
from typing import Any

import pytest

from adapters.durable.calls import FIND_PAGES
from gateway.domain.errors import GatewayError, NotFound, ProviderBadResponse, ValidationFailed
from gateway.services.dialects import DialectRule
from tests.unit.adapters.durable.dialect_caller import DialectCaller, locations
from tests.unit.adapters.durable.fakes import W, failure, instance, page, row
from tests.unit.adapters.fakes import answer

ROOT = "/api/v1/org/acme/ws/research"
PROJECTS = W.removesuffix("runtimes") + "projects"


async def test_user_is_read_from_the_first_account():
    caller = DialectCaller(answer(200, {"id": "u", "novel": 1}))
    other = caller.add_provider(name="b", scope="acme/prod")
    assert (await caller.call("GET", "/api/v1/user")).body == b'{"id":"u","novel":1}'
    assert caller.sent == [("GET", "/api/v1/user", None)]
    assert not other.sent


async def test_user_of_the_next_account_is_returned_when_the_first_fails():
    caller = DialectCaller(failure(502, "bad_gateway_error"))
    caller.add_provider(name="same-account", scope="acme/prod")
    caller.add_provider(answer(200, {"id": "other"}), name="b", scope="acme/lab", token="other")
    assert (await caller.call("GET", "/api/v1/user")).body == b'{"id":"other"}'


async def test_first_error_is_raised_when_all_accounts_fail():
    caller = DialectCaller(failure(502, "bad_gateway_error"))
    caller.add_provider(failure(500, "server_error"), name="b", scope="acme/lab", token="other")
    with pytest.raises(GatewayError) as caught:
        await caller.call("GET", "/api/v1/user")
    assert caught.value.provider == "dn"


async def test_account_of_the_lowest_order_is_preferred():
    caller = DialectCaller()
    caller.adapters.clear()
    caller.add_provider(name="late", scope=None, order=2)
    first = caller.add_provider(
        answer(200, {"id": "u"}), answer(200, {"key": "zeta"}), name="first", scope=None, order=1, token="other"
    )
    assert (await caller.call("GET", "/api/v1/user")).body == b'{"id":"u"}'
    await caller.call("GET", "/api/v1/org/zeta")
    assert len(first.sent) == 2


@pytest.mark.parametrize("path", ["/user", "/user/organizations", "/org/acme", "/org/acme/ws", "/org/acme/ws/research"])
async def test_secrets_of_the_account_are_removed(path: str):
    response = {"id": "u", "key": "acme", "api_key": "dn_key_1", "limits": {"token": "dn_key_2", "credits": 3}}
    caller = DialectCaller(answer(200, [response] if path == "/user/organizations" else response))
    body = (await caller.call("GET", f"/api/v1{path}")).body or b""
    assert b"dn_key" not in body
    assert b'"limits":{"credits":3}' in body


async def test_user_is_not_found_without_a_provider():
    caller = DialectCaller()
    caller.adapters.clear()
    assert isinstance(await caller.refused("GET", "/api/v1/user"), NotFound)


async def test_only_served_organizations_are_listed():
    caller = DialectCaller(answer(200, [{"key": "acme", "n": 1}, {"key": "secret"}]))
    caller.add_provider(answer(200, [{"key": "acme", "n": 2}, {"key": "zeta"}]), name="b", scope=None, token="other")
    response = await caller.call("GET", "/api/v1/user/organizations")
    assert json.loads(response.body or b"") == [{"key": "acme", "n": 1}, {"key": "zeta"}]


async def test_stored_secrets_are_listed_without_unknown_members():
    known = {"id": "s", "name": "OPENAI_API_KEY", "masked_value": "sk-…", "created_at": "t", "updated_at": "t"}
    caller = DialectCaller(
        answer(200, {"secrets": [{**known, "value": "sk-plain"}], "total": 1, "values": ["sk-plain"]})
    )
    caller.add_provider(name="b", scope="acme/prod")
    response = await caller.call("GET", "/api/v1/user/secrets")
    assert json.loads(response.body or b"") == {"secrets": [known], "total": 1}


async def test_stored_secrets_are_not_found_with_several_accounts():
    """The path does not name the account."""
    caller = DialectCaller()
    caller.add_provider(name="b", scope="acme/prod", token="other")
    assert isinstance(await caller.refused("GET", "/api/v1/user/secrets"), NotFound)


async def test_scope_mapped_by_a_rule_is_shown_under_the_requested_keys():
    rules = [DialectRule("old/lab", "dn", "acme/research")]
    caller = DialectCaller(
        answer(200, {"id": "o", "key": "acme"}),
        answer(200, {"id": "w", "key": "research"}),
        answer(200, {"id": "w", "key": "research", "is_default": True}),
        page(),
        rules=rules,
    )
    response = [
        json.loads((await caller.call("GET", path)).body or b"")
        for path in ("/api/v1/org/old", "/api/v1/org/old/ws/lab", "/api/v1/org/old/ws")
    ]
    await caller.call("GET", "/api/v1/org/old/ws/lab/runtimes")
    assert response == [
        {"id": "o", "key": "old"},
        {"id": "w", "key": "lab"},
        [{"id": "w", "key": "lab", "is_default": True}],
    ]
    assert [path for _, path, _ in caller.sent] == [
        "/api/v1/org/acme",
        "/api/v1/org/acme/ws/research",
        "/api/v1/org/acme/ws/research",
        W,
    ]
    assert caller.ctx.scope == "acme/research"


@pytest.mark.parametrize("listed", [[{"key": "research"}, {"key": "x"}], {"workspaces": [{"key": "x"}]}])
async def test_workspaces_of_settings_and_of_an_open_provider_are_listed(listed: Any):
    caller = DialectCaller(answer(200, {"key": "research", "n": 1}))
    caller.add_provider(answer(200, listed), name="b", scope=None, token="other")
    response = await caller.call("GET", "/api/v1/org/acme/ws")
    assert json.loads(response.body or b"") == [{"key": "research", "n": 1}, {"key": "x"}]


async def test_organization_without_a_pinned_provider_is_read_from_the_open_one():
    caller = DialectCaller()
    other = caller.add_provider(answer(200, {"key": "zeta"}), name="b", scope=None, token="other")
    assert (await caller.call("GET", "/api/v1/org/zeta")).body == b'{"key":"zeta"}'
    assert [request.path for request in other.sent] == ["/api/v1/org/zeta"]


async def test_project_calls_are_passed_on_unchanged():
    caller = DialectCaller(answer(200, [{"key": "a"}]), answer(200, {"key": "a"}), answer(201, {"key": "b"}))
    listed = await caller.call("GET", f"{ROOT}/projects")
    got = await caller.call("GET", f"{ROOT}/projects/a")
    created = await caller.call("POST", f"{ROOT}/projects", {"name": "B", "key": "b"})
    assert [response.body for response in (listed, got, created)] == [b'[{"key":"a"}]', b'{"key":"a"}', b'{"key":"b"}']
    assert created.status == 201
    assert caller.sent[2] == ("POST", PROJECTS, {"name": "B", "key": "b"})


@pytest.mark.parametrize(
    ("body", "where"), [({}, "#/name"), ({"name": "a", "id": "x"}, "#/id"), ({"name": ""}, "#/name")]
)
async def test_invalid_project_is_refused_before_the_provider_is_called(body: Any, where: str):
    assert locations(await DialectCaller().refused("POST", f"{ROOT}/projects", body)) == [where]


async def test_project_fields_refused_by_the_provider_keep_the_apis_names():
    items = [{"loc": ["body", name], "msg": "m", "type": "t"} for name in ("key", "name")]
    caller = DialectCaller(failure(422, "validation_error", errors=items))
    with pytest.raises(ValidationFailed) as caught:
        await caller.call("POST", f"{ROOT}/projects", {"name": "a"})
    assert locations(caught.value) == ["#/key", "#/name"]


LOGS = "/api/v1/org/acme/sandboxes/i0123/logs"
RUNNING = page(row(status="running", instance=instance()))


async def test_logs_of_a_sandbox_in_the_workspace_are_passed_on():
    caller = DialectCaller(RUNNING, answer(200, {"logs": "l"}))
    assert (await caller.call("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in caller.sent] == [W, LOGS]


async def test_logs_of_a_sandbox_in_another_workspace_are_not_found():
    caller = DialectCaller(page(row(), cursor="c"), page())
    with pytest.raises(NotFound):
        await caller.call("GET", LOGS)
    assert [path for _, path, _ in caller.sent] == [W, W]


async def test_logs_are_requested_from_each_account_of_the_organization():
    caller = DialectCaller(page(), page())
    caller.add_provider(name="same-account", scope="acme/prod")
    other = caller.add_provider(RUNNING, answer(200, {"logs": "l"}), name="b", scope="acme/lab", token="other")
    assert (await caller.call("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in caller.sent] == [W, W.replace("research", "prod")]
    assert [request.path for request in other.sent] == [W.replace("research", "lab"), LOGS]


async def test_open_account_returns_logs_of_any_sandbox():
    caller = DialectCaller(answer(200, {"logs": "l"}))
    caller.add_provider(name="open", scope=None)
    assert (await caller.call("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in caller.sent] == [LOGS]


async def test_logs_that_no_account_has_are_not_found():
    caller = DialectCaller(RUNNING, failure(404, "not_found_error"))
    with pytest.raises(NotFound) as caught:
        await caller.call("GET", LOGS)
    assert caught.value.failure is not None


async def test_endless_list_does_not_prove_that_a_sandbox_is_absent():
    caller = DialectCaller(*(page(cursor=f"c{number}") for number in range(FIND_PAGES)))
    with pytest.raises(ProviderBadResponse):
        await caller.call("GET", LOGS)


async def test_unavailable_account_is_an_error_and_not_missing_logs():
    caller = DialectCaller(page())
    caller.add_provider(failure(502, "bad_gateway_error"), name="b", scope="acme/lab", token="other")
    with pytest.raises(GatewayError) as caught:
        await caller.call("GET", LOGS)
    assert caught.value.code == "provider_unavailable"
