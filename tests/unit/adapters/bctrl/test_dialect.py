"""The dialect of the workspaces era: request bodies and error responses."""

import json
from typing import Any

import pytest

from adapters.bctrl.dialect import BctrlDialect
from adapters.bctrl.dialect.bodies import NATIVE_CODE, native_fault, native_member, read_create
from adapters.bctrl.dialect.errors import FORMS, OUTCOME_UNKNOWN, VERSION_HEADER
from adapters.bctrl.wire import ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, InvalidRequest, ProviderFailure, ValidationFailed
from gateway.domain.requests import EphemeralLaunch, ProfileLaunch
from gateway.ports.dialect import HINTS, OURS

ALL = list(errors.error_classes())
DIALECT = BctrlDialect(None)  # type: ignore[arg-type] # errors need no gateway


def said(error: GatewayError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The response for an error: status, body, headers."""
    answer = DIALECT.failure(error, "/v1/workspaces/w/runtimes", {}, "req-1")
    assert answer.body is not None
    return answer.status, json.loads(answer.body), dict(answer.headers)


def test_every_error_class_has_a_form():
    assert set(FORMS) == set(ALL)
    assert len(ALL) == 37


def test_every_error_is_the_flat_envelope():
    """A JSON object with a text ``error``; a 4xx says what to do."""
    for cls in ALL:
        status, body, _ = said(cls("A sentence."))
        assert status in {400, 401, 402, 403, 404, 405, 408, 409, 429, 500, 502, 503, 504}, cls.code
        assert (body["error"], body["requestId"]) == ("A sentence.", "req-1"), cls.code
        assert body["code"] == FORMS[cls][1], cls.code
        assert body["reasonClass"] in {*ReasonClass, OUTCOME_UNKNOWN}, cls.code
        assert ("hint" in body) is (status < 500), cls.code


def test_version_header_gives_the_nested_envelope():
    """Status and members are the same, except the reasons that keep this client from repeating a write."""
    for cls in ALL:
        error = cls("A sentence.", errors=[FieldError("Wrong.", "x", pointer="#/alias")])
        flat_status, flat, _ = said(error)
        answer = DIALECT.failure(error, "/v1/workspaces/w/runtimes", {VERSION_HEADER: "2026-10-03"}, "req-1")
        nested = json.loads(answer.body or b"")
        expected = {**flat, "message": flat["error"]}
        del expected["error"]
        if cls in {errors.InternalError, errors.ProviderBadResponse}:
            expected["reasonClass"] = "unknown"
        assert (answer.status, nested) == (flat_status, {"error": expected}), cls.code


def test_every_retryable_value_has_a_hint():
    assert set(HINTS) == set(errors.Retryable)


def test_unknown_outcome_has_a_status_that_clients_do_not_repeat():
    """Clients repeat 408, 429 and 5xx."""
    status, body, headers = said(errors.OutcomeUnknown("Unknown.", retry_after=2.0))
    assert (status, body["reasonClass"]) == (409, "outcome_unknown")
    assert headers == {"Retry-After": "2"}, "no client repeats because of this header alone"


def test_provider_message_passes_unchanged_unless_it_was_for_the_gateway():
    """Status, code and message."""
    for cls in ALL:
        failure = ProviderFailure("bc", status=418, code="teapot.short", detail="I am a teapot.")
        status, body, _ = said(cls("Ours.", failure=failure))
        if cls in OURS:
            assert (status, body["code"], body["error"]) == (*FORMS[cls][:2], "Ours."), cls.code
        else:
            assert (status, body["code"], body["error"]) == (418, "teapot.short", "I am a teapot."), cls.code


def test_failure_without_an_envelope_has_the_gateways_text():
    """An HTML page of a proxy has only a status."""
    status, body, _ = said(errors.ProviderUnavailable("Ours.", failure=ProviderFailure("bc", status=503)))
    assert (status, body["code"], body["error"]) == (503, "upstream.unavailable", "Ours.")


def test_retry_after_is_rounded_up_to_whole_seconds():
    assert said(errors.RateLimited("Slow.", retry_after=1.2))[2] == {"Retry-After": "2"}
    assert said(errors.RateLimited("Slow.", retry_after=-1))[2] == {"Retry-After": "0"}
    assert said(errors.RateLimited("Slow."))[2] == {}


def test_faults_name_the_native_member():
    faults = [
        FieldError("a", "x", pointer="#/launch/config/proxy/port"),
        FieldError("b", "x", parameter="limit"),
        FieldError("c", "x", pointer="#"),
    ]
    assert [native_member(fault) for fault in faults] == ["launch.config.proxy.port", "limit", None]
    details = said(ValidationFailed("Bad.", errors=faults[:1]))[1]["details"]
    assert details == {"errors": [{"member": "launch.config.proxy.port", "message": "a"}]}


@pytest.mark.parametrize(
    ("ours", "native"),
    [
        ("#/name", "#/alias"),
        ("#/driver", "#/driver"),
        ("#/launch/mode", "#/launch/mode"),
        ("#/launch/profile_id", "#/launch/profileId"),
        ("#/launch/extension_ids", "#/launch/extensionIds"),
        ("#/launch/humanize_persona_id", "#/launch/config/humanizePersonaId"),
        ("#/launch/proxy/username", "#/launch/config/proxy/username"),
    ],
)
def test_field_of_the_unified_api_maps_to_the_native_member(ours: str, native: str):
    assert native_fault(FieldError("d", "c", pointer=ours)) == FieldError("d", "c", pointer=native)


def test_body_becomes_a_create_with_only_the_sent_fields():
    """Absent stays absent, and null stays null."""
    plain = read_create(b'{"alias": "bot", "kind": "browser"}')
    assert (plain.name, plain.sent("driver"), plain.sent("launch")) == ("bot", False, False)
    launch = {"mode": "ephemeral", "config": {"humanize": False, "proxy": None}}
    made = read_create(json.dumps({"alias": "bot", "kind": "browser", "launch": launch}).encode())
    assert isinstance(made.launch, EphemeralLaunch)
    assert made.launch.model_fields_set == {"mode", "humanize", "proxy"}
    profile = {"mode": "profile", "profileId": "0b8f5c1e-63a1-4d1c-9d6c-000000000001"}
    made = read_create(json.dumps({"alias": "bot", "kind": "browser", "launch": profile}).encode())
    assert isinstance(made.launch, ProfileLaunch)


@pytest.mark.parametrize("alias", ["x" * 200, "My bot", "a/b", "…"])
def test_alias_becomes_the_name_unchanged(alias: str):
    """Names of the unified API are narrower."""
    assert read_create(json.dumps({"alias": alias, "kind": "browser"}).encode()).name == alias


@pytest.mark.parametrize("alias", ["", ".", "..", "x" * 201, "a\nb", 5, None])
def test_alias_that_cannot_be_a_path_segment_is_refused(alias: Any):
    """Such a runtime could never be stopped."""
    with pytest.raises(ValidationFailed, match="#/alias"):
        read_create(json.dumps({"alias": alias, "kind": "browser"}).encode())


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"[" * 100_000])
def test_body_that_is_not_json_has_its_own_code(raw: bytes):
    with pytest.raises(InvalidRequest) as caught:
        read_create(raw)
    assert caught.value.extra[NATIVE_CODE] == "request.invalid_json"
    assert said(caught.value)[1]["code"] == "request.invalid_json"


def test_password_is_in_no_message_and_no_repr():
    proxy = {"type": "http", "host": "h", "port": "hunter2", "password": "hunter2"}
    body = {"alias": "a", "kind": "browser", "launch": {"mode": "ephemeral", "config": {"proxy": proxy}}}
    with pytest.raises(ValidationFailed) as caught:
        read_create(json.dumps(body).encode())
    assert "hunter2" not in str(caught.value) + json.dumps(said(caught.value)[1])
    proxy["port"] = 80  # type: ignore[assignment]
    assert "hunter2" not in repr(read_create(json.dumps(body).encode()))
