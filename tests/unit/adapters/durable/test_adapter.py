"""What verbs, config and capabilities send, and how their responses are interpreted."""

from typing import Any

import msgspec
import pytest

from gateway.domain.config import RuntimeConfig
from gateway.domain.errors import (
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    ProviderBadResponse,
    ProviderUnavailable,
    StateConflict,
    ValidationFailed,
)
from gateway.domain.ids import RuntimeRef, b64url
from gateway.domain.requests import InstallCapability, ReplaceConfig, StartRequest, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Connection, Lease
from gateway.domain.validation import validate
from gateway.domain.values import Operation, State
from gateway.ports.transport import Phase, TransportFailure
from tests.unit.adapters.durable.fakes import OTHER, REF, UUID, W, adapter, failure, instance, row
from tests.unit.adapters.fakes import CALL, answer

HERE = f"{W}/{UUID}"
RUNNING = {"status": "running", "instance": instance()}
BINDING = {"id": OTHER, "artifact_id": UUID, "capability_name": "browse", "version": "1.2.0", "enabled": True}


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, b"{}"),
        (
            {"secret_ids": None, "runtime_limit_seconds": None},
            b'{"secret_ids":null,"requested_runtime_limit_seconds":null}',
        ),
        ({"secret_ids": []}, b'{"secret_ids":[]}'),
        ({"secret_ids": [UUID], "runtime_limit_seconds": 90}, None),
    ],
)
async def test_start_sends_an_object_with_only_the_callers_members(options, body):
    durable, transport = adapter(answer(200, row(**RUNNING, sandbox_token="hunter2")))
    started = await durable.start(REF, validate(StartRequest, options), CALL)
    (sent,) = transport.sent
    assert (sent.operation, sent.method, sent.path) == (Operation.START, "POST", f"{HERE}/start")
    assert sent.body == body or msgspec.json.decode(sent.body) == {
        "secret_ids": [UUID],
        "requested_runtime_limit_seconds": 90,
    }
    assert started.state is State.RUNNING
    assert "hunter2" not in repr(started)


@pytest.mark.parametrize("verb", ["pause", "resume", "reset"])
async def test_verb_without_options_sends_no_body(verb):
    durable, transport = adapter(answer(200, row()), failure(409, "conflict_error"))
    assert (await getattr(durable, verb)(REF, CALL)).provider_id == UUID
    (sent,) = transport.sent
    assert (sent.operation, sent.method, sent.path, sent.body) == (Operation(verb), "POST", f"{HERE}/{verb}", None)
    with pytest.raises(StateConflict):
        await getattr(durable, verb)(REF, CALL)


async def test_keepalive_returns_the_public_id():
    for scope, reference in (("acme/research", UUID), (None, f"{b64url('acme/research')}~{UUID}")):
        durable, transport = adapter(answer(200, {"expires_at": "2026-03-01T11:05:00Z"}), scope=scope)
        lease = await durable.keepalive(REF, 300, CALL)
        assert lease == Lease(id=f"dn.{reference}", expires_at="2026-03-01T11:05:00Z")
        assert (transport.sent[0].path, transport.sent[0].body) == (f"{HERE}/keepalive", b'{"extend_seconds":300}')
    durable, _ = adapter(answer(200, {}))
    with pytest.raises(ProviderBadResponse):
        await durable.keepalive(REF, 300, CALL)


async def test_connection_holds_url_and_token_of_the_sandbox():
    durable, transport = adapter(answer(200, row(**RUNNING, sandbox_token="hunter2")))
    assert await durable.connections(REF, CALL) == [
        Connection(
            protocol="runtime_server", url="https://sandbox.test", token="hunter2", expires_at="2026-03-01T11:00:00Z"
        )
    ]
    (sent,) = transport.sent
    assert (sent.operation, sent.path, sent.body) == (Operation.CONNECT, f"{HERE}/start", b"{}")


@pytest.mark.parametrize(
    "members",
    [
        RUNNING,
        {**RUNNING, "sandbox_token": ""},
        {"status": "running", "instance": instance(sandbox_url=None), "sandbox_token": "t"},
        {"status": "running", "instance": None, "sandbox_token": "t"},
        {"status": "paused", "instance": instance(state="paused"), "sandbox_token": "t"},
    ],
)
async def test_no_connection_without_url_token_and_running_state(members):
    durable, _ = adapter(answer(200, row(**members)))
    assert await durable.connections(REF, CALL) == []


async def test_config_is_read_unchanged_and_missing_members_are_none():
    config = {"version": "v2", "x-new": {"a": None}}
    durable, transport = adapter(
        answer(200, {"config": config, "config_digest": "d1", "config_version": "v2", "runtime_id": UUID}),
        answer(200, {"config": config}),
        answer(200, {"config_digest": "d1"}),
    )
    assert await durable.get_config(REF, CALL) == ConfigDocument(config=config, config_version="v2", config_digest="d1")
    assert await durable.get_config(REF, CALL) == ConfigDocument(config=config)
    with pytest.raises(ProviderBadResponse):
        await durable.get_config(REF, CALL)
    assert (transport.sent[0].method, transport.sent[0].path) == ("GET", f"{HERE}/config")


async def test_replace_config_sends_the_document_as_written():
    durable, transport = adapter(answer(200, {"config": {"version": "v2"}, "config_digest": "d2"}))
    request = validate(ReplaceConfig, {"config": {"sandbox": {"egress": None}, "defaults": {}}})
    assert (await durable.replace_config(REF, request.config, CALL)).config_digest == "d2"
    (sent,) = transport.sent
    assert (sent.operation, sent.method, sent.path) == (Operation.REPLACE_CONFIG, "PUT", f"{HERE}/config")
    assert sent.body == b'{"config":{"sandbox":{"egress":null},"defaults":{}}}'


async def test_config_with_invalid_unicode_is_refused_before_sending():
    durable, transport = adapter()
    with pytest.raises(ValidationFailed):
        await durable.replace_config(REF, RuntimeConfig.model_validate({"x": "\ud800"}), CALL)
    assert transport.sent == []


async def test_bindings_are_listed_and_missing_items_mean_an_empty_list():
    durable, transport = adapter(
        answer(200, {"items": [{**BINDING, "flags": {"a": True}, "source": "user", "new": 1}]}),
        answer(200, {}),
        answer(200, {"items": None}),
        answer(200, {"items": [{}]}),
    )
    assert await durable.list_capabilities(REF, CALL) == [_binding(flags={"a": True}, source="user")]
    assert await durable.list_capabilities(REF, CALL) == []
    assert await durable.list_capabilities(REF, CALL) == []
    with pytest.raises(ProviderBadResponse):
        await durable.list_capabilities(REF, CALL)
    assert (transport.sent[0].method, transport.sent[0].path) == ("GET", f"{HERE}/capabilities")


def _binding(**members: Any) -> CapabilityBinding:
    return CapabilityBinding(
        **{"id": OTHER, "name": "browse", "version": "1.2.0", "enabled": True, "artifact_id": UUID, **members}
    )


@pytest.mark.parametrize("status", [200, 201])
async def test_install_sends_the_callers_fields_and_returns_the_binding_in_the_response(status):
    for options in ({"name": "browse"}, {"name": "browse", "version": "1.2.0"}):
        durable, transport = adapter(answer(status, BINDING))
        installed = await durable.install_capability(REF, validate(InstallCapability, options), CALL)
        assert installed == _binding()
        (sent,) = transport.sent
        assert (sent.operation, sent.method, sent.path) == (
            Operation.INSTALL_CAPABILITY,
            "POST",
            f"{HERE}/capabilities",
        )
        assert msgspec.json.decode(sent.body) == options


@pytest.mark.parametrize("response", [answer(200, {"ok": True}), answer(204, b""), answer(200, b"[]")])
async def test_binding_is_read_from_the_list_when_the_response_holds_none(response):
    listed = answer(200, {"items": [{**BINDING, "id": UUID, "capability_name": "other"}, BINDING]})
    durable, transport = adapter(response, listed)
    assert await durable.install_capability(REF, validate(InstallCapability, {"name": "browse"}), CALL) == _binding()
    durable, transport = adapter(response, listed)
    change = validate(UpdateCapability, {"enabled": True})
    assert await durable.update_capability(REF, OTHER, change, CALL) == _binding()
    assert [sent.operation for sent in transport.sent] == [Operation.UPDATE_CAPABILITY, Operation.LIST_CAPABILITIES]


@pytest.mark.parametrize("failed", [answer(503, b""), TransportFailure("refused", Phase.CONNECTING)])
async def test_accepted_change_that_cannot_be_read_back_is_outcome_unknown(failed):
    durable, _ = adapter(answer(200, {}), failed)
    with pytest.raises(OutcomeUnknown):
        await durable.install_capability(REF, validate(InstallCapability, {"name": "browse"}), CALL)


async def test_update_whose_response_has_another_binding_returns_the_one_from_the_list():
    changed = {**BINDING, "enabled": False}
    durable, _ = adapter(answer(200, {**BINDING, "id": UUID}), answer(200, {"items": [changed]}))
    returned = await durable.update_capability(REF, OTHER, validate(UpdateCapability, {"enabled": False}), CALL)
    assert (returned.id, returned.enabled) == (OTHER, False)


async def test_accepted_change_missing_from_the_list_is_a_bad_response():
    durable, _ = adapter(answer(200, {}), answer(200, {"items": [BINDING]}))
    with pytest.raises(ProviderBadResponse, match="does not list the binding"):
        await durable.install_capability(REF, validate(InstallCapability, {"name": "other"}), CALL)


@pytest.mark.parametrize("change", [{"enabled": False}, {"flags": {"a": None, "b": True}}, {"version": "2"}])
async def test_update_of_a_binding_sends_only_the_changed_field(change):
    durable, transport = adapter(answer(200, {**BINDING, "id": "b/1 ü"}))
    await durable.update_capability(REF, "b/1 ü", validate(UpdateCapability, change), CALL)
    (sent,) = transport.sent
    assert (sent.method, sent.path) == ("PATCH", f"{HERE}/capabilities/b%2F1%20%C3%BC")
    assert msgspec.json.decode(sent.body) == change


@pytest.mark.parametrize("response", [answer(204, b""), answer(200, {"ok": True}), answer(200, b"<html>")])
async def test_response_body_of_an_uninstall_is_ignored(response):
    durable, transport = adapter(response)
    await durable.remove_capability(REF, OTHER, CALL)
    (sent,) = transport.sent
    assert (sent.method, sent.path, sent.body) == ("DELETE", f"{HERE}/capabilities/{OTHER}", None)


@pytest.mark.parametrize("binding_id", ["", ".", ".."])
async def test_binding_id_that_would_change_the_path_is_not_found_without_a_call(binding_id):
    durable, transport = adapter()
    with pytest.raises(NotFound):
        await durable.remove_capability(REF, binding_id, CALL)
    assert transport.sent == []


async def test_resolved_capabilities_keep_their_digests():
    one = {
        "name": "browse",
        "version": "1.2.0",
        "artifact_digest": "a1",
        "artifact_s3_prefix": "s3://x",
        "runtime_digest": "r1",
    }
    durable, transport = adapter(
        answer(200, {"runtime_digest": "r", "capabilities": [one, {**one, "commands": ["go"]}]})
    )
    resolved = await durable.resolved_capabilities(REF, CALL)
    assert (resolved.runtime_digest, [item.commands for item in resolved.capabilities]) == ("r", [None, ["go"]])
    assert resolved.capabilities[0].artifact_digest == "a1"
    assert transport.sent[0].path == f"{HERE}/capabilities/resolved"


async def test_transport_failure_is_raised_unchanged():
    failed = TransportFailure("disconnected", Phase.SENT)
    durable, _ = adapter(failed)
    with pytest.raises(TransportFailure) as caught:
        await durable.pause(REF, CALL)
    assert caught.value is failed


async def test_response_with_another_runtime_belongs_to_another_request():
    durable, _ = adapter(answer(200, row(id=OTHER)), answer(200, row(id=OTHER)))
    with pytest.raises(ProviderBadResponse):
        await durable.get(RuntimeRef("acme/research", UUID), CALL)
    with pytest.raises(OutcomeUnknown):
        await durable.pause(RuntimeRef("acme/research", UUID), CALL)


async def test_connection_has_the_address_as_the_provider_wrote_it():
    """The gateway refuses an unusable one, instead of reporting that there is none."""
    members = {"status": "running", "instance": instance(sandbox_url="javascript:x"), "sandbox_token": "t"}
    durable, _ = adapter(answer(200, row(**members)))
    assert [found.url for found in await durable.connections(REF, CALL)] == ["javascript:x"]


async def test_account_is_the_user_who_owns_the_credentials():
    durable, transport = adapter(answer(200, {"id": "u-1", "username": "me", "email_address": "me@x.test"}))
    assert await durable.account(CALL) == "u-1"
    (sent,) = transport.sent
    assert (sent.method, sent.path, sent.operation) == ("GET", "/api/v1/user", Operation.GET)


@pytest.mark.parametrize("absent", [failure(404, "not_found_error"), answer(404, {"detail": "Not Found"})])
async def test_account_is_empty_when_the_api_has_no_user_route(absent):
    durable, _ = adapter(absent)
    assert await durable.account(CALL) == ""


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (answer(404, b"<html>"), ProviderBadResponse),
        (answer(200, {"username": "me"}), ProviderBadResponse),
        (answer(200, {"id": ""}), ProviderBadResponse),
        (answer(200, b""), ProviderBadResponse),
        (failure(403, "forbidden_error"), PermissionDenied),
        (answer(503, b""), ProviderUnavailable),
    ],
)
async def test_account_raises_when_no_user_id_can_be_read(response, error):
    """An empty account would put creates into another namespace."""
    durable, _ = adapter(response)
    with pytest.raises(error):
        await durable.account(CALL)
