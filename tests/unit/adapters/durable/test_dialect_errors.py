"""The errors of the durable dialect: the format of each gateway code, and errors passed on from the provider."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.durable.dialect.errors import FORMS, native_error
from adapters.durable.errors import ERROR_TYPES, TABLE, failed
from adapters.durable.wire import ERROR_CODES
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure, error_classes
from gateway.domain.values import Operation
from tests.unit.adapters.durable.fakes import failure
from tests.unit.adapters.fakes import answer

CLASSES = {cls.code: cls for cls in error_classes()}

# Written by hand from the API's list of codes: the same code, or the nearest one where the API has no such code.
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
    "runtime_gone": (409, "conflict_error"),
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
    "transfer_coding_not_supported": (400, "invalid_error"),
    "provider_error": (502, "bad_gateway_error"),
    "provider_bad_response": (502, "bad_gateway_error"),
    "provider_credentials_rejected": (502, "bad_gateway_error"),
    "provider_upgrade_required": (502, "bad_gateway_error"),
    "runtime_unreachable": (502, "bad_gateway_error"),
    "provider_unavailable": (502, "bad_gateway_error"),
    "capacity_exceeded": (502, "bad_gateway_error"),
    "overloaded": (502, "bad_gateway_error"),
    "store_unavailable": (502, "bad_gateway_error"),
    "provider_timeout": (504, "gateway_timeout_error"),
    "outcome_unknown": (504, "gateway_timeout_error"),
    "http_version_not_supported": (400, "invalid_error"),
}


def rendered(error: GatewayError) -> tuple[int, dict[str, Any]]:
    """The status and the body of the response for an error."""
    response = native_error(error)
    assert response.body is not None
    return response.status, json.loads(response.body)


def test_each_gateway_code_is_rendered_with_its_status_and_type():
    for code, (status, kind) in EXPECTED.items():
        body = {"code": status, "detail": "A sentence about credit.", "type": kind}
        assert rendered(CLASSES[code]("A sentence about credit.")) == (status, body), code


def test_table_covers_every_gateway_code_with_documented_codes_and_types():
    """This fails for a new gateway code that the table lacks."""
    assert set(FORMS) == set(CLASSES) == set(EXPECTED)
    assert {status for status, _ in FORMS.values()} <= set(ERROR_CODES)
    assert {kind for _, kind in FORMS.values()} <= ERROR_TYPES


OWN = sorted({(status, kind) for _, status, kind in TABLE if kind is not None and status in ERROR_CODES})


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.GET, Operation.START, Operation.LIST])
def test_documented_errors_of_the_provider_are_passed_on_unchanged(operation: Operation):
    """Also those that the gateway's own API reports as something else, such as an outcome unknown."""
    pairs = [pair for pair in OWN if pair[0] not in {401, 426}]
    assert pairs
    for status, kind in pairs:
        body = {"code": status, "detail": "the provider's words", "type": kind}
        response = native_error(failed("dn", operation, answer(status, body, Retry_After="7")))
        assert json.loads(response.body or b"") == body
        assert (response.status, response.headers) == (status, {"Retry-After": "7"}), kind


@pytest.mark.parametrize(("status", "kind"), [pair for pair in OWN if pair[0] in {401, 426}])
def test_provider_errors_about_the_gateway_become_a_bad_gateway(status: int, kind: str):
    """They concern the gateway's credentials and version, not the caller's."""
    shown_status, body = rendered(failed("dn", Operation.GET, failure(status, kind)))
    assert (shown_status, body["type"]) == (502, "bad_gateway_error")
    assert body["detail"].startswith("The provider dn")


@pytest.mark.parametrize("status", [402, 408, 503, 404, 500])
def test_undocumented_status_or_type_is_rendered_by_its_gateway_code(status: int):
    error = failed("dn", Operation.GET, failure(status, "brand_new_error"))
    assert rendered(error)[0] == FORMS[error.code][0]
    assert rendered(error)[1]["detail"].endswith("the provider's words")


def test_html_page_of_an_intermediary_is_a_bad_gateway():
    status, body = rendered(failed("dn", Operation.GET, answer(404, b"<html>no such site</html>")))
    assert (status, body["type"]) == (502, "bad_gateway_error")


@pytest.mark.parametrize("detail", ["Balance too low", "No CREDITS left"])
def test_insufficient_credits_are_a_429_that_mentions_credit(detail: str):
    """The client searches the detail of a 429 for this word."""
    error = errors.InsufficientCredits("-", failure=ProviderFailure("dn", status=402, detail=detail))
    status, body = rendered(error)
    assert status == 429
    assert "credit" in body["detail"].lower()
    assert detail in body["detail"]


def test_limit_of_the_gateway_does_not_mention_credit():
    """The client would report missing credits."""
    for cls in (errors.RateLimited, errors.QuotaExceeded):
        assert rendered(cls("Too many requests."))[1]["detail"] == "Too many requests."


def test_field_errors_are_rendered_with_their_location():
    faults = [
        FieldError("No.", "required", pointer="#/config/capabilities/0/name"),
        FieldError("No.", "unknown_field", pointer="#/config/a~1b~0c"),
        FieldError("No.", "int_type", pointer="#"),
        FieldError("No.", "enum", parameter="state"),
        FieldError("No.", "not_allowed", header="Content-Type"),
    ]
    assert rendered(errors.ValidationFailed("No.", errors=faults))[1]["errors"] == [
        {"loc": ["body", "config", "capabilities", 0, "name"], "msg": "No.", "type": "missing"},
        {"loc": ["body", "config", "a/b~c"], "msg": "No.", "type": "extra_forbidden"},
        {"loc": ["body"], "msg": "No.", "type": "int_type"},
        {"loc": ["query", "state"], "msg": "No.", "type": "enum"},
        {"loc": ["header", "Content-Type"], "msg": "No.", "type": "enum"},
    ]


@pytest.mark.parametrize(("seconds", "header"), [(0, "0"), (0.2, "1"), (30, "30"), (-1, "0")])
def test_retry_after_is_rounded_up_to_whole_seconds(seconds: float, header: str):
    assert native_error(errors.RateLimited("-", retry_after=seconds)).headers == {"Retry-After": header}


def test_readme_documents_status_and_type_of_each_gateway_code():
    page = (Path(__file__).parents[4] / "adapters" / "durable" / "README.md").read_text("utf-8")
    rows = [row for row in page.split("### Errors")[1].splitlines() if row.startswith("| `")]
    for code, (status, kind) in FORMS.items():
        assert [f"| {status} `{kind}`" in row for row in rows if f"`{code}`" in row] == [True], code
