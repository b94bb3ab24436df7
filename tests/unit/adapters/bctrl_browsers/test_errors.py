from datetime import UTC, datetime

import pytest

from adapters.bctrl_browsers.errors import CODES, TABLE, error_of, read_envelope, reason_key, retry_after
from adapters.bctrl_browsers.wire import UNCLEAR, ReasonClass
from gateway.domain import errors
from gateway.domain.values import TRAITS, Operation
from gateway.ports.error_mapping import unreadable
from tests.unit.adapters.fakes import answer

MUTATING = [operation for operation, traits in TRAITS.items() if traits.mutates]
NOW = datetime(2026, 10, 4, 10, 0, tzinfo=UTC)


def _body(code: str, reason: str = "server", message: str = "Something failed") -> dict:
    return {"error": {"code": code, "message": message, "reasonClass": reason, "requestId": "req-1"}}


def _error(operation: Operation, status: int, body: object, **headers: str) -> errors.GatewayError:
    return error_of("bb", operation, answer(status, body, headers))


def _keys(code: str) -> list[tuple[Operation | None, int, str | None]]:
    return [key for key in TABLE if key[2] == code]


def test_every_code_has_a_rule():
    """The error is that of the rule, except that a read cannot have an unknown outcome."""
    for code in sorted(CODES):
        assert _keys(code), code
        for operation, status, _ in _keys(code):
            error = _error(operation or Operation.GET, status, _body(code))
            assert type(error) is TABLE[operation, status, code], code
            assert error.failure is not None, code
            assert (error.failure.code, error.failure.request_id) == (code, "req-1"), code


def test_every_reason_class_has_a_rule_for_unknown_codes():
    for reason in sorted(set(ReasonClass) - UNCLEAR):
        assert _keys(reason_key(reason)), reason
        for operation, status, _ in _keys(reason_key(reason)):
            error = _error(operation or Operation.GET, status, _body("something.new", reason))
            assert type(error) is TABLE[operation, status, reason_key(reason)], reason
            assert error.failure is not None, reason
            assert error.failure.code == "something.new", reason


@pytest.mark.parametrize("reason", sorted(UNCLEAR))
@pytest.mark.parametrize("operation", MUTATING)
def test_write_with_an_unclear_reason_has_an_unknown_outcome_with_any_code(reason, operation):
    error = _error(operation, 503, _body("upstream.unavailable", reason))
    assert type(error) is errors.OutcomeUnknown
    assert error.failure is not None
    assert error.failure.code == "upstream.unavailable"


def test_read_with_an_unclear_reason_maps_by_its_code():
    assert type(_error(Operation.GET, 503, _body("upstream.unavailable", "unknown"))) is errors.ProviderUnavailable


def test_known_code_takes_precedence_over_the_reason_class():
    assert (
        type(_error(Operation.GET, 429, _body("rate_limit.exceeded", "capability_limit_exceeded")))
        is errors.RateLimited
    )


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "browser.not_found", errors.StateConflict),
        (404, "auth.invalid", errors.NotFound),
        (403, "billing.insufficient_credits", errors.PermissionDenied),
        (500, "rate_limit.exceeded", errors.ProviderError),
    ],
)
def test_code_that_does_not_fit_the_status_is_ignored(status, code, expected):
    assert type(_error(Operation.GET, status, _body(code))) is expected


@pytest.mark.parametrize(
    ("operation", "status", "code", "expected"),
    [
        (Operation.CREATE, 409, "browser.name_conflict", errors.AlreadyExists),
        (Operation.CREATE, 409, "idempotency.mismatch", errors.IdempotencyKeyReused),
        (Operation.CREATE, 409, "idempotency_key_in_progress", errors.IdempotencyInProgress),
        (Operation.CREATE, 409, "idempotency_key_uncertain", errors.OutcomeUnknown),
        (Operation.CREATE, 402, "billing.insufficient_credits", errors.InsufficientCredits),
        (Operation.CREATE, 429, "browser.concurrent_quota_exceeded", errors.QuotaExceeded),
        (Operation.CREATE, 503, "runtime.capacity_unavailable", errors.OutcomeUnknown),
        (Operation.START, 503, "runtime.capacity_unavailable", errors.CapacityExceeded),
        (Operation.START, 409, "browser.already_started", errors.StateConflict),
        (Operation.START, 504, "browser.start_timeout", errors.OutcomeUnknown),
        (Operation.STOP, 409, "browser.not_running", errors.StateConflict),
        (Operation.DELETE, 404, "browser.not_found", errors.NotFound),
        (Operation.LIST, 400, "pagination.cursor_invalid", errors.InvalidRequest),
        (Operation.GET, 404, "route.not_found", errors.ProviderBadResponse),
        (Operation.GET, 400, "request.version_unsupported", errors.ProviderUpgradeRequired),
    ],
)
def test_documented_failures_map_to_their_errors(operation, status, code, expected):
    assert type(_error(operation, status, _body(code))) is expected


def test_conflict_of_a_create_with_an_unknown_code_is_already_exists():
    assert type(_error(Operation.CREATE, 409, _body("something.new", "conflict"))) is errors.AlreadyExists


def test_missing_resource_of_a_create_is_a_fault_of_its_field():
    error = _error(Operation.CREATE, 404, _body("browser_extension.not_found"))
    assert type(error) is errors.ValidationFailed
    assert [fault.pointer for fault in error.errors] == ["#/launch/extension_ids"]


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.LIST])
def test_404_of_a_create_or_list_concerns_the_space(operation):
    error = _error(operation, 404, _body("space.not_found"))
    assert type(error) is errors.NotFound
    assert "space" in error.detail


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[" * 100_000,
        [],
        {},
        {"error": "flat", "code": "browser.not_found"},
        {"error": {"message": "no code"}},
        {"message": "not found"},
    ],
)
def test_body_without_the_envelope_proves_nothing(body):
    assert read_envelope(answer(404, body).body) is None
    assert type(_error(Operation.GET, 404, body)) is errors.ProviderBadResponse


def test_members_of_another_type_are_ignored():
    envelope = read_envelope(answer(400, {"error": {"code": "x", "message": 7, "requestId": None}}).body)
    assert envelope is not None
    assert (envelope.message, envelope.request_id) == (None, None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"Retry-After": "9", "X-RateLimit-Reset": "1"}, 9.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 30)}, 30.0),
        ({"X-RateLimit-Reset": "1"}, 0.0),
        ({"X-RateLimit-Reset": "999999999999"}, 86_400.0),
        ({"X-RateLimit-Reset": "soon"}, None),
        ({"X-RateLimit-Reset": "٣"}, None),
        ({"X-RateLimit-Reset": "9" * 400}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_from_every_header_that_the_client_reads(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    "code",
    ["browser.name_conflict", "idempotency.mismatch", "idempotency_key_in_progress", "browser.not_found", "new.one"],
)
def test_refusal_keeps_its_status_and_the_providers_envelope(code):
    for status in (400, 404, 409, 422):
        failure = _error(Operation.CREATE, status, _body(code)).failure
        assert failure == errors.ProviderFailure("bb", status, code, "Something failed", "req-1", own_envelope=True)


@pytest.mark.parametrize("status", [302, 400, 403, 404, 409, 502])
@pytest.mark.parametrize("body", [b"<html>", b"", {}, {"error": "flat"}])
def test_refusal_in_another_form_is_not_the_providers(status, body):
    assert _error(Operation.CREATE, status, body).failure == errors.ProviderFailure("bb", status)


def test_key_in_progress_keeps_retry_after():
    error = _error(Operation.CREATE, 409, _body("idempotency_key_in_progress"), **{"Retry-After": "3"})
    assert (error.retry_after, error.retryable) == (3, errors.Retryable.SAME_REQUEST)


@pytest.mark.parametrize(
    ("date", "seconds"), [({}, 9), ({"Date": "Thu, 01 Jan 1970 01:00:00 GMT"}, 5), ({"Date": "unknown"}, 9)]
)
def test_rate_limit_reset_is_compared_with_the_date_of_the_response(date, seconds):
    now = datetime.fromtimestamp(3596, UTC)
    assert retry_after({"X-RateLimit-Reset": "3605", **date}, now) == seconds
    assert retry_after({"X-RateLimit-Reset": "9" * 12, **date}, now) == 86_400


def test_unreadable_success_is_an_unknown_outcome_of_a_write_only():
    assert type(unreadable("bb", Operation.STOP, answer(200, b""))) is errors.OutcomeUnknown
    assert type(unreadable("bb", Operation.GET, answer(200, b""))) is errors.ProviderBadResponse
