"""The words of the workspaces API: bodies in, errors out."""

import json
from typing import Any

import pytest

from adapters.bctrl.dialect import BctrlDialect
from adapters.bctrl.dialect.bodies import NATIVE_CODE, native_fault, native_member, read_create
from adapters.bctrl.dialect.errors import FORMS, HINTS, OURS, OUTCOME_UNKNOWN, VERSION_HEADER
from adapters.bctrl.wire import ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, InvalidRequest, ProviderFailure, ValidationFailed
from gateway.domain.requests import EphemeralLaunch, ProfileLaunch

ALL = list(errors.error_classes())
DIALECT = BctrlDialect(None)  # type: ignore[arg-type] # wording needs no gateway


def said(error: GatewayError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The form of an error: status, body, headers."""
    answer = DIALECT.failure(error, "/v1/workspaces/w/runtimes", {}, "req-1")
    assert answer.body is not None
    return answer.status, json.loads(answer.body), dict(answer.headers)


def test_every_code_of_the_gateway_has_a_form():
    """A new one cannot be forgotten."""
    assert set(FORMS) == set(ALL)
    assert len(ALL) == 33


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.code)
def test_every_error_is_the_flat_envelope(cls: type[GatewayError]):
    """A JSON object with a text ``error``; a 4xx says what to do."""
    status, body, _ = said(cls("A sentence."))
    assert status in {400, 401, 402, 403, 404, 405, 408, 409, 429, 500, 502, 503, 504}
    assert (body["error"], body["requestId"]) == ("A sentence.", "req-1")
    assert body["code"] == FORMS[cls][1]
    assert body["reasonClass"] in {*ReasonClass, OUTCOME_UNKNOWN}
    assert ("hint" in body) is (status < 500)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.code)
def test_a_caller_that_sends_a_version_gets_the_nested_envelope(cls: type[GatewayError]):
    """Status and members are the same, but for the reasons that keep that client from sending a write again."""
    error = cls("A sentence.", errors=[FieldError("Wrong.", "x", pointer="#/alias")])
    flat_status, flat, _ = said(error)
    answer = DIALECT.failure(error, "/v1/workspaces/w/runtimes", {VERSION_HEADER: "2026-10-03"}, "req-1")
    nested = json.loads(answer.body or b"")
    expected = {**flat, "message": flat["error"]}
    del expected["error"]
    if cls in {errors.InternalError, errors.ProviderBadResponse}:
        expected["reasonClass"] = "unknown"
    assert (answer.status, nested) == (flat_status, {"error": expected})


def test_every_way_of_retrying_has_a_hint():
    """Also one that is added later."""
    assert set(HINTS) == set(errors.Retryable)


def test_nothing_that_clients_send_again_is_told_of_an_unknown_outcome():
    """408, 429 and 5xx are what they repeat on their own."""
    status, body, headers = said(errors.OutcomeUnknown("Nobody knows.", retry_after=2.0))
    assert (status, body["reasonClass"]) == (409, "outcome_unknown")
    assert headers == {"Retry-After": "2"}, "for people and loops of their own; it makes no client send again"


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.code)
def test_what_the_provider_said_passes_verbatim_unless_it_was_said_to_the_gateway(cls: type[GatewayError]):
    """Its status, code and sentence."""
    failure = ProviderFailure("bc", status=418, code="teapot.short", detail="I am a teapot.")
    status, body, _ = said(cls("Ours.", failure=failure))
    if cls in OURS:
        assert (status, body["code"], body["error"]) == (*FORMS[cls][:2], "Ours.")
    else:
        assert (status, body["code"], body["error"]) == (418, "teapot.short", "I am a teapot.")


def test_what_is_not_in_the_providers_envelope_is_worded_by_the_gateway():
    """A proxy's page has a status alone."""
    status, body, _ = said(errors.ProviderUnavailable("Ours.", failure=ProviderFailure("bc", status=503)))
    assert (status, body["code"], body["error"]) == (503, "upstream.unavailable", "Ours.")


def test_the_time_to_come_back_is_a_header_in_whole_seconds():
    """Rounded up, so that nobody comes too early."""
    assert said(errors.RateLimited("Slow.", retry_after=1.2))[2] == {"Retry-After": "2"}
    assert said(errors.RateLimited("Slow.", retry_after=-1))[2] == {"Retry-After": "0"}
    assert said(errors.RateLimited("Slow."))[2] == {}


def test_faults_are_told_by_their_members():
    """Of the body, the query or a header."""
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
def test_a_field_of_the_unified_api_has_its_member(ours: str, native: str):
    """In the spelling and the place of the seed."""
    assert native_fault(FieldError("d", "c", pointer=ours)) == FieldError("d", "c", pointer=native)


def test_a_body_becomes_a_create_with_what_was_sent_and_nothing_else():
    """Absent stays absent, null stays null."""
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
def test_an_alias_is_taken_as_it_is(alias: str):
    """The unified API's names are narrower, the provider's are not."""
    assert read_create(json.dumps({"alias": alias, "kind": "browser"}).encode()).name == alias


@pytest.mark.parametrize("alias", ["", ".", "..", "x" * 201, "a\nb", 5, None])
def test_an_alias_that_could_not_be_stopped_again_is_refused(alias: Any):
    """It is one segment of the paths."""
    with pytest.raises(ValidationFailed, match="#/alias"):
        read_create(json.dumps({"alias": alias, "kind": "browser"}).encode())


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_told_as_such(raw: bytes):
    """With the code that the API has for it."""
    with pytest.raises(InvalidRequest) as caught:
        read_create(raw)
    assert caught.value.extra[NATIVE_CODE] == "request.invalid_json"
    assert said(caught.value)[1]["code"] == "request.invalid_json"


def test_no_password_is_in_a_message_or_a_repr():
    """Neither of a create nor of a fault in it."""
    proxy = {"type": "http", "host": "h", "port": "hunter2", "password": "hunter2"}
    body = {"alias": "a", "kind": "browser", "launch": {"mode": "ephemeral", "config": {"proxy": proxy}}}
    with pytest.raises(ValidationFailed) as caught:
        read_create(json.dumps(body).encode())
    assert "hunter2" not in str(caught.value) + json.dumps(said(caught.value)[1])
    proxy["port"] = 80  # type: ignore[assignment]
    assert "hunter2" not in repr(read_create(json.dumps(body).encode()))
