"""What clients of the durable dialect ask before and beside runtimes."""

import json
from typing import Any

import pytest

from adapters.durable.listing import FIND_PAGES
from gateway.domain.errors import GatewayError, NotFound, ProviderBadResponse, ValidationFailed
from gateway.services.dialects import DialectRule
from tests.unit.adapters.durable.asked import Asked, where
from tests.unit.adapters.durable.fakes import W, failure, instance, page, row
from tests.unit.adapters.fakes import answer

ROOT = "/api/v1/org/acme/ws/research"
PROJECTS = W.removesuffix("runtimes") + "projects"


async def test_the_user_is_the_first_accounts():
    asked = Asked(answer(200, {"id": "u", "novel": 1}))
    other = asked.beside(name="b", scope="acme/prod")
    assert (await asked.ask("GET", "/api/v1/user")).body == b'{"id":"u","novel":1}'
    assert asked.sent == [("GET", "/api/v1/user", None)]
    assert not other.sent


async def test_an_account_that_is_down_takes_no_command_of_another_one_down():
    asked = Asked(failure(502, "bad_gateway_error"))
    asked.beside(name="same-account", scope="acme/prod")
    asked.beside(answer(200, {"id": "other"}), name="b", scope="acme/lab", token="other")
    assert (await asked.ask("GET", "/api/v1/user")).body == b'{"id":"other"}'


async def test_the_first_failure_is_told_where_no_account_answers():
    asked = Asked(failure(502, "bad_gateway_error"))
    asked.beside(failure(500, "server_error"), name="b", scope="acme/lab", token="other")
    with pytest.raises(GatewayError) as caught:
        await asked.ask("GET", "/api/v1/user")
    assert caught.value.provider == "dn"


async def test_the_preferred_account_is_the_one_of_the_lowest_order():
    asked = Asked()
    asked.adapters.clear()
    asked.beside(name="late", scope=None, order=2)
    first = asked.beside(
        answer(200, {"id": "u"}), answer(200, {"key": "zeta"}), name="first", scope=None, order=1, token="other"
    )
    assert (await asked.ask("GET", "/api/v1/user")).body == b'{"id":"u"}'
    await asked.ask("GET", "/api/v1/org/zeta")
    assert len(first.sent) == 2


@pytest.mark.parametrize("path", ["/user", "/user/organizations", "/org/acme", "/org/acme/ws", "/org/acme/ws/research"])
async def test_no_secret_of_the_account_comes_back(path: str):
    shown = {"id": "u", "key": "acme", "api_key": "dn_key_1", "limits": {"token": "dn_key_2", "credits": 3}}
    asked = Asked(answer(200, [shown] if path == "/user/organizations" else shown))
    body = (await asked.ask("GET", f"/api/v1{path}")).body or b""
    assert b"dn_key" not in body
    assert b'"limits":{"credits":3}' in body


async def test_without_a_provider_there_is_no_user():
    asked = Asked()
    asked.adapters.clear()
    assert isinstance(await asked.refused("GET", "/api/v1/user"), NotFound)


async def test_organizations_are_those_that_are_served():
    asked = Asked(answer(200, [{"key": "acme", "n": 1}, {"key": "secret"}]))
    asked.beside(answer(200, [{"key": "acme", "n": 2}, {"key": "zeta"}]), name="b", scope=None, token="other")
    shown = await asked.ask("GET", "/api/v1/user/organizations")
    assert json.loads(shown.body or b"") == [{"key": "acme", "n": 1}, {"key": "zeta"}]


async def test_secrets_of_one_account_are_shown_without_what_is_not_known_of_them():
    known = {"id": "s", "name": "OPENAI_API_KEY", "masked_value": "sk-…", "created_at": "t", "updated_at": "t"}
    asked = Asked(answer(200, {"secrets": [{**known, "value": "sk-plain"}], "total": 1, "values": ["sk-plain"]}))
    asked.beside(name="b", scope="acme/prod")
    shown = await asked.ask("GET", "/api/v1/user/secrets")
    assert json.loads(shown.body or b"") == {"secrets": [known], "total": 1}


async def test_secrets_of_several_accounts_are_not_mixed():
    """Their path does not say which runtime they are for."""
    asked = Asked()
    asked.beside(name="b", scope="acme/prod", token="other")
    assert isinstance(await asked.refused("GET", "/api/v1/user/secrets"), NotFound)


async def test_what_a_rule_leads_elsewhere_is_shown_as_it_was_asked_for():
    rules = [DialectRule("old/lab", "dn", "acme/research")]
    asked = Asked(
        answer(200, {"id": "o", "key": "acme"}),
        answer(200, {"id": "w", "key": "research"}),
        answer(200, {"id": "w", "key": "research", "is_default": True}),
        page(),
        rules=rules,
    )
    shown = [
        json.loads((await asked.ask("GET", path)).body or b"")
        for path in ("/api/v1/org/old", "/api/v1/org/old/ws/lab", "/api/v1/org/old/ws")
    ]
    await asked.ask("GET", "/api/v1/org/old/ws/lab/runtimes")
    assert shown == [
        {"id": "o", "key": "old"},
        {"id": "w", "key": "lab"},
        [{"id": "w", "key": "lab", "is_default": True}],
    ]
    assert [path for _, path, _ in asked.sent] == [
        "/api/v1/org/acme",
        "/api/v1/org/acme/ws/research",
        "/api/v1/org/acme/ws/research",
        W,
    ]
    assert asked.ctx.scope == "acme/research"


@pytest.mark.parametrize("listed", [[{"key": "research"}, {"key": "x"}], {"workspaces": [{"key": "x"}]}])
async def test_workspaces_are_those_that_are_named_and_those_that_an_open_provider_shows(listed: Any):
    asked = Asked(answer(200, {"key": "research", "n": 1}))
    asked.beside(answer(200, listed), name="b", scope=None, token="other")
    shown = await asked.ask("GET", "/api/v1/org/acme/ws")
    assert json.loads(shown.body or b"") == [{"key": "research", "n": 1}, {"key": "x"}]


async def test_an_organization_that_only_an_open_provider_can_have_is_asked_there():
    asked = Asked()
    other = asked.beside(answer(200, {"key": "zeta"}), name="b", scope=None, token="other")
    assert (await asked.ask("GET", "/api/v1/org/zeta")).body == b'{"key":"zeta"}'
    assert [request.path for request in other.sent] == ["/api/v1/org/zeta"]


async def test_projects_are_the_providers():
    asked = Asked(answer(200, [{"key": "a"}]), answer(200, {"key": "a"}), answer(201, {"key": "b"}))
    listed = await asked.ask("GET", f"{ROOT}/projects")
    got = await asked.ask("GET", f"{ROOT}/projects/a")
    created = await asked.ask("POST", f"{ROOT}/projects", {"name": "B", "key": "b"})
    assert [shown.body for shown in (listed, got, created)] == [b'[{"key":"a"}]', b'{"key":"a"}', b'{"key":"b"}']
    assert created.status == 201
    assert asked.sent[2] == ("POST", PROJECTS, {"name": "B", "key": "b"})


@pytest.mark.parametrize(("body", "at"), [({}, "#/name"), ({"name": "a", "id": "x"}, "#/id"), ({"name": ""}, "#/name")])
async def test_a_bad_project_reaches_no_provider(body: Any, at: str):
    assert where(await Asked().refused("POST", f"{ROOT}/projects", body)) == [at]


async def test_what_is_wrong_with_a_project_keeps_the_apis_names():
    items = [{"loc": ["body", name], "msg": "m", "type": "t"} for name in ("key", "name")]
    asked = Asked(failure(422, "validation_error", errors=items))
    with pytest.raises(ValidationFailed) as caught:
        await asked.ask("POST", f"{ROOT}/projects", {"name": "a"})
    assert where(caught.value) == ["#/key", "#/name"]


LOGS = "/api/v1/org/acme/sandboxes/i0123/logs"
RUNNING = page(row(status="running", instance=instance()))


async def test_logs_of_a_sandbox_of_the_workspace_are_the_providers():
    asked = Asked(RUNNING, answer(200, {"logs": "l"}))
    assert (await asked.ask("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in asked.sent] == [W, LOGS]


async def test_logs_of_a_sandbox_of_another_workspace_of_the_account_are_not_shown():
    asked = Asked(page(row(), cursor="c"), page())
    with pytest.raises(NotFound):
        await asked.ask("GET", LOGS)
    assert [path for _, path, _ in asked.sent] == [W, W]


async def test_logs_are_asked_of_each_account_of_the_organization():
    asked = Asked(page(), page())
    asked.beside(name="same-account", scope="acme/prod")
    other = asked.beside(RUNNING, answer(200, {"logs": "l"}), name="b", scope="acme/lab", token="other")
    assert (await asked.ask("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in asked.sent] == [W, W.replace("research", "prod")]
    assert [request.path for request in other.sent] == [W.replace("research", "lab"), LOGS]


async def test_an_open_account_may_show_the_logs_of_any_sandbox():
    asked = Asked(answer(200, {"logs": "l"}))
    asked.beside(name="open", scope=None)
    assert (await asked.ask("GET", LOGS)).body == b'{"logs":"l"}'
    assert [path for _, path, _ in asked.sent] == [LOGS]


async def test_logs_that_no_account_has_are_not_found():
    asked = Asked(RUNNING, failure(404, "not_found_error"))
    with pytest.raises(NotFound) as caught:
        await asked.ask("GET", LOGS)
    assert caught.value.failure is not None


async def test_a_list_without_an_end_proves_no_absence_of_a_sandbox():
    asked = Asked(*(page(cursor=f"c{number}") for number in range(FIND_PAGES)))
    with pytest.raises(ProviderBadResponse):
        await asked.ask("GET", LOGS)


async def test_a_provider_that_cannot_be_asked_does_not_make_logs_missing():
    asked = Asked(page())
    asked.beside(failure(502, "bad_gateway_error"), name="b", scope="acme/lab", token="other")
    with pytest.raises(GatewayError) as caught:
        await asked.ask("GET", LOGS)
    assert caught.value.code == "provider_unavailable"
