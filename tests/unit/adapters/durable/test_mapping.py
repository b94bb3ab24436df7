"""How a runtime of the durable API is mapped to the domain."""

import pytest

from gateway.domain.errors import ProviderBadResponse
from gateway.domain.lifecycle import Action, actions_of
from gateway.domain.pages import ProviderQuery
from gateway.domain.runtime import ENCODER, Cost, DurablePart, Instance, Project, Runtime
from gateway.domain.values import State
from tests.unit.adapters.durable.fakes import OTHER, PROJECT, REF, UUID, adapter, instance, page, row
from tests.unit.adapters.fakes import CALL, answer


async def _get(body: object) -> Runtime:
    durable, _ = adapter(answer(200, body))
    return await durable.get(REF, CALL)


async def test_running_runtime_is_mapped_completely():
    runtime = await _get(row(status="running", instance=instance(), materialization_stale=True))
    assert runtime == Runtime(
        id=f"dn.{UUID}",
        kind="durable",
        provider="dn",
        scope="acme/research",
        provider_id=UUID,
        name="agent",
        display_name="Agent",
        description=None,
        labels=None,
        state=State.RUNNING,
        state_reason=None,
        provider_state={"status": "running", "instance": "running"},
        actions=runtime.actions,
        cost=Cost(billed_credits=3, running_credits=4, estimated_total_credits=7),
        created_at="2026-03-01T09:00:00Z",
        updated_at="2026-03-01T09:00:05Z",
        expires_at="2026-03-01T11:00:00Z",
        durable=DurablePart(
            project=Project(id=PROJECT, key="shop", name="Shop"),
            config_version="v2",
            config_digest="d1",
            config_pending=True,
            created_by=OTHER,
            owned_by_me=True,
            instance=Instance(
                id=OTHER,
                provider="e2b",
                provider_instance_id="i0123",
                state="running",
                created_at="2026-03-01T10:00:00Z",
                expires_at="2026-03-01T11:00:00Z",
                total_runtime_seconds=60,
                runtime_limit_seconds=3600,
                supports_pause=True,
            ),
        ),
    )
    assert actions_of(runtime)["pause"] == Action(allowed=True)
    assert actions_of(runtime)["stop"] == Action(allowed=False, requires={"discard_state": True}, discards_state=True)
    assert "delete" not in actions_of(runtime)


async def test_members_missing_on_an_old_platform_are_none():
    runtime = await _get({"id": UUID, "status": "idle", "instance": {"pause_reason": "timeout", "state": "running"}})
    assert (runtime.name, runtime.state, runtime.state_reason, runtime.expires_at) == (None, State.IDLE, None, None)
    assert runtime.provider_state == {"status": "idle", "instance": "running"}
    assert runtime.cost is None
    assert runtime.durable == DurablePart(instance=Instance(state="running", pause_reason="timeout"))


async def test_runtime_without_an_instance_has_no_cost():
    runtime = await _get(row())
    assert (runtime.cost, runtime.expires_at, runtime.provider_state) == (
        None,
        None,
        {"status": "idle", "instance": None},
    )


async def test_paused_runtime_has_a_state_reason_and_no_expiry():
    runtime = await _get(row(status="paused", instance=instance(state="paused", pause_reason="insufficient_credits")))
    assert (runtime.state, runtime.state_reason) == (State.PAUSED, "insufficient_credits")
    assert runtime.expires_at is None
    assert runtime.durable.instance.expires_at == "2026-03-01T11:00:00Z"


async def test_killed_instance_is_shown_as_reported():
    runtime = await _get(row(status="idle", instance=instance(state="killed")))
    assert (runtime.state, runtime.durable.instance.state) == (State.IDLE, "killed")


@pytest.mark.parametrize("status", ["hibernating", "", None])
async def test_unknown_status_is_mapped_to_unknown(status):
    runtime = await _get(row(status=status))
    assert (runtime.state, runtime.provider_state["status"]) == (State.UNKNOWN, status)


async def test_unknown_members_are_shown_in_provider_data_and_extra():
    timing = {"total_sec": 1.5, "phases": {"boot": 1}}
    body = row(
        status="running",
        instance=instance(startup_timing=timing, requested_runtime_limit_source_level="l4_requested", region="eu"),
        created_by={"id": OTHER},
        workspace_id=PROJECT,
    )
    for runtime in (await _get(body), (await _list(row(id=OTHER), body))[1]):
        assert runtime.provider_data == {"workspace_id": PROJECT, "created_by": {"id": OTHER}}
        assert runtime.durable.created_by is None
        assert runtime.durable.instance.extra == {
            "startup_timing": timing,
            "requested_runtime_limit_source_level": "l4_requested",
            "region": "eu",
        }


async def test_unknown_member_of_one_row_does_not_affect_the_others():
    plain, new = await _list(row(), row(id=OTHER, altitude=3))
    assert (plain.provider_data, new.provider_data) == ({}, {"altitude": 3})


async def test_secrets_are_not_mapped():
    body = row(
        sandbox_token="hunter2",
        api_key="hunter2",
        access={"Token": "hunter2", "ways": [{"password": "hunter2", "kind": "ssh"}]},
        config={"runtime_server": {"env": {"A": "hunter2"}}, "metadata": {"labels": {"team": "shop"}}},
        status="running",
        instance=instance(client_secret="hunter2", startup_timing={"token": "hunter2"}),
    )
    runtime = await _get(body)
    assert "hunter2" not in repr(runtime)
    assert runtime.provider_data == {"access": {"ways": [{"kind": "ssh"}]}}
    assert runtime.labels == {"team": "shop"}


@pytest.mark.parametrize("config", ["x", {"metadata": None}, {"metadata": {"labels": {"a": 1}}}, {"metadata": {}}])
async def test_malformed_labels_are_none(config):
    assert (await _get(row(config=config))).labels is None


async def test_floats_are_mapped_to_integers():
    runtime = await _get(row(status="running", instance=instance(billed_credits=2.0, total_runtime_seconds=1.9)))
    assert (runtime.cost.billed_credits, runtime.durable.instance.total_runtime_seconds) == (2, 1)


async def test_runtime_of_another_owner_allows_no_action():
    runtime = await _get(row(owned_by_me=False))
    assert not any(action.allowed for action in actions_of(runtime).values())


async def test_instance_without_pause_support_does_not_allow_pause():
    runtime = await _get(row(status="running", instance=instance(supports_pause=False)))
    assert actions_of(runtime)["pause"] == Action(allowed=False, reason="this instance cannot pause")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b"null", row(id=OTHER), row(key=3), row(instance=[])])
async def test_body_without_the_requested_runtime_is_a_bad_response(body):
    with pytest.raises(ProviderBadResponse):
        await _get(body)


async def _list(*rows: dict[str, object]) -> list[Runtime]:
    durable, _ = adapter(page(*rows))
    return list((await durable.list(ProviderQuery(scope="acme/research"), CALL)).items)


async def test_address_of_an_instance_is_not_shown() -> None:
    runtime = await _get(row(status="running", instance=instance(sandbox_url="https://sandbox.test")))
    assert runtime.durable is not None
    assert runtime.durable.instance is not None
    assert b"sandbox.test" not in ENCODER.encode(runtime)
