"""The errors of the durable dialect: every code of the gateway has a form, and a provider's own words pass."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.durable.dialect.errors import FORMS, native_error
from adapters.durable.errors import TABLE, failed
from adapters.durable.wire import ERROR_CODES, ERROR_TYPES
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure, error_classes
from gateway.domain.operations import Operation
from tests.unit.adapters.durable.fakes import failure
from tests.unit.adapters.fakes import answer

CLASSES = {cls.code: cls for cls in error_classes()}

# What the specification and the API's list of codes ask for; where the API has no such code, the nearest.
EXPECTED = {
    "invalid_request": (400, "invalid_error"),
    "unauthenticated": (401, "authentication_error"),
    "insufficient_credits": (429, "usage_limit_exceeded_error"),
    "permission_denied": (403, "forbidden_error"),
    "not_found": (404, "not_found_error"),
    "method_not_allowed": (400, "invalid_error"),
    "request_timeout": (400, "invalid_error"),
    "already_exists": (409, "already_exists_error"),
    "state_conflict": (409, "conflict_error"),
    "idempotency_in_progress": (409, "conflict_error"),
    "runtime_replaced": (409, "conflict_error"),
    "precondition_failed": (409, "conflict_error"),
    "payload_too_large": (400, "invalid_error"),
    "uri_too_long": (400, "invalid_error"),
    "unsupported_media_type": (400, "invalid_error"),
    "headers_too_large": (400, "invalid_error"),
    "provider_not_configured": (502, "bad_gateway_error"),
    "validation_failed": (422, "validation_error"),
    "unsupported_feature": (422, "validation_error"),
    "idempotency_key_reused": (422, "validation_error"),
    "rate_limited": (429, "e2b_rate_limit_error"),
    "quota_exceeded": (429, "usage_limit_exceeded_error"),
    "internal_error": (500, "server_error"),
    "provider_error": (502, "bad_gateway_error"),
    "provider_bad_response": (502, "bad_gateway_error"),
    "provider_credentials_rejected": (502, "bad_gateway_error"),
    "provider_upgrade_required": (502, "bad_gateway_error"),
    "provider_unavailable": (502, "bad_gateway_error"),
    "capacity_exceeded": (502, "bad_gateway_error"),
    "overloaded": (502, "bad_gateway_error"),
    "store_unavailable": (502, "bad_gateway_error"),
    "provider_timeout": (504, "gateway_timeout_error"),
    "outcome_unknown": (504, "gateway_timeout_error"),
}


def told(error: GatewayError) -> tuple[int, dict[str, Any]]:
    """The status and the body of an error's answer."""
    shown = native_error(error)
    assert shown.body is not None
    return shown.status, json.loads(shown.body)


@pytest.mark.parametrize("code", sorted(CLASSES))
def test_every_code_of_the_gateway_has_a_form(code: str):
    status, body = told(CLASSES[code]("A sentence about credit."))
    assert (status, body["type"]) == EXPECTED[code]
    assert body == {"code": status, "detail": "A sentence about credit.", "type": body["type"]}


def test_the_forms_are_those_of_the_codes_that_there_are():
    """A new code is missed here before a client meets it."""
    assert set(FORMS) == set(CLASSES) == set(EXPECTED)
    assert {status for status, _ in FORMS.values()} <= set(ERROR_CODES)
    assert {kind for _, kind in FORMS.values()} <= set(ERROR_TYPES)


OWN = sorted({(status, kind) for _, status, kind in TABLE if kind is not None and status in ERROR_CODES})


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.GET, Operation.START, Operation.LIST])
@pytest.mark.parametrize(("status", "kind"), [pair for pair in OWN if pair[0] not in {401, 426}])
def test_what_the_provider_says_passes_as_it_is(status: int, kind: str, operation: Operation):
    """Also where the gateway, to its own clients, makes more of it."""
    body = {"code": status, "detail": "the provider's words", "type": kind}
    error = failed("dn", operation, answer(status, body, Retry_After="7"))
    shown = native_error(error)
    assert json.loads(shown.body or b"") == body
    assert (shown.status, shown.headers) == (status, {"Retry-After": "7"})


@pytest.mark.parametrize(("status", "kind"), [pair for pair in OWN if pair[0] in {401, 426}])
def test_what_the_provider_says_of_the_gateway_is_not_told_to_its_clients(status: int, kind: str):
    """Their keys and their versions are fine."""
    shown, body = told(failed("dn", Operation.GET, failure(status, kind)))
    assert (shown, body["type"]) == (502, "bad_gateway_error")
    assert body["detail"].startswith("The provider dn")


@pytest.mark.parametrize("status", [402, 408, 503, 404, 500])
def test_what_is_not_of_the_api_gets_the_form_of_its_meaning(status: int):
    error = failed("dn", Operation.GET, failure(status, "brand_new_error"))
    assert told(error)[0] == FORMS[error.code][0]
    assert told(error)[1]["detail"].endswith("the provider's words")


def test_a_page_from_in_between_is_a_bad_gateway():
    status, body = told(failed("dn", Operation.GET, answer(404, b"<html>no such site</html>")))
    assert (status, body["type"]) == (502, "bad_gateway_error")


@pytest.mark.parametrize("said", ["Balance too low", "No CREDITS left"])
def test_missing_credits_are_told_in_a_way_that_the_client_knows(said: str):
    """It looks for the word in the detail of a 429."""
    error = errors.InsufficientCredits("-", failure=ProviderFailure("dn", status=402, detail=said))
    status, body = told(error)
    assert status == 429
    assert "credit" in body["detail"].lower()
    assert said in body["detail"]


def test_a_limit_of_the_gateway_does_not_speak_of_credit():
    """The client would ask for money."""
    for cls in (errors.RateLimited, errors.QuotaExceeded):
        assert told(cls("Too many requests."))[1]["detail"] == "Too many requests."


def test_faults_are_told_with_their_place():
    faults = [
        FieldError("No.", "required", pointer="#/config/capabilities/0/name"),
        FieldError("No.", "unknown_field", pointer="#/config/a~1b~0c"),
        FieldError("No.", "int_type", pointer="#"),
        FieldError("No.", "enum", parameter="state"),
        FieldError("No.", "not_allowed", header="Content-Type"),
    ]
    assert told(errors.ValidationFailed("No.", errors=faults))[1]["errors"] == [
        {"loc": ["body", "config", "capabilities", 0, "name"], "msg": "No.", "type": "missing"},
        {"loc": ["body", "config", "a/b~c"], "msg": "No.", "type": "extra_forbidden"},
        {"loc": ["body"], "msg": "No.", "type": "int_type"},
        {"loc": ["query", "state"], "msg": "No.", "type": "enum"},
        {"loc": ["header", "Content-Type"], "msg": "No.", "type": "enum"},
    ]


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0"), (0.2, "1"), (30, "30"), (-1, "0")])
def test_a_wait_is_told_in_whole_seconds(seconds: float, shown: str):
    assert native_error(errors.RateLimited("-", retry_after=seconds)).headers == {"Retry-After": shown}


@pytest.mark.parametrize("code", sorted(CLASSES))
def test_the_adapters_page_tells_the_form_of_every_code(code: str):
    page = (Path(__file__).parents[4] / "adapters" / "durable" / "README.md").read_text("utf-8")
    status, kind = FORMS[code]
    (told,) = [row for row in page.split("### Errors")[1].splitlines() if row.startswith("| `") and f"`{code}`" in row]
    assert f"| {status} `{kind}`" in told
