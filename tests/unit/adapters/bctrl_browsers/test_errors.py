from datetime import UTC, datetime

import pytest

from adapters.bctrl_browsers.errors import TABLE, error_of, read_envelope, reason_key, retry_after
from adapters.bctrl_browsers.wire import CODES, UNCLEAR, ReasonClass
from gateway.domain import errors
from gateway.domain.operations import TRAITS, Operation
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


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_rule(code):
    """And the rule is what is told, except that a read cannot have an unclear outcome of its own."""
    assert _keys(code)
    for operation, status, _ in _keys(code):
        error = _error(operation or Operation.GET, status, _body(code))
        assert type(error) is TABLE[operation, status, code]
        assert error.failure is not None
        assert (error.failure.code, error.failure.request_id) == (code, "req-1")


@pytest.mark.parametrize("reason", sorted(set(ReasonClass) - UNCLEAR))
def test_every_reason_class_has_a_rule_for_unknown_codes(reason):
    assert _keys(reason_key(reason))
    for operation, status, _ in _keys(reason_key(reason)):
        error = _error(operation or Operation.GET, status, _body("something.new", reason))
        assert type(error) is TABLE[operation, status, reason_key(reason)]
        assert error.failure is not None
        assert error.failure.code == "something.new"


@pytest.mark.parametrize("reason", sorted(UNCLEAR))
@pytest.mark.parametrize("operation", MUTATING)
def test_a_write_with_an_unclear_reason_has_an_unknown_outcome_whatever_its_code(reason, operation):
    error = _error(operation, 503, _body("upstream.unavailable", reason))
    assert type(error) is errors.OutcomeUnknown
    assert error.failure is not None
    assert error.failure.code == "upstream.unavailable"


def test_a_read_with_an_unclear_reason_is_judged_by_its_code():
    assert type(_error(Operation.GET, 503, _body("upstream.unavailable", "unknown"))) is errors.ProviderUnavailable


def test_a_known_code_wins_over_the_reason_class():
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
def test_a_code_that_disagrees_with_the_status_loses(status, code, expected):
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
def test_what_matters_most_is_told_as_what_it_is(operation, status, code, expected):
    assert type(_error(operation, status, _body(code))) is expected


def test_a_conflict_of_a_create_without_a_known_code_is_about_the_name():
    assert type(_error(Operation.CREATE, 409, _body("something.new", "conflict"))) is errors.AlreadyExists


def test_a_missing_thing_that_a_create_names_is_a_fault_of_its_field():
    error = _error(Operation.CREATE, 404, _body("browser_extension.not_found"))
    assert type(error) is errors.ValidationFailed
    assert [fault.pointer for fault in error.errors] == ["#/launch/extension_ids"]


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.LIST])
def test_a_404_of_a_create_or_a_list_is_about_the_space(operation):
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
def test_what_is_not_the_envelope_proves_nothing(body):
    assert read_envelope(answer(404, body).body) is None
    assert type(_error(Operation.GET, 404, body)) is errors.ProviderBadResponse


def test_members_of_another_type_are_left_out():
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
def test_the_time_to_come_back_is_read_from_every_header_that_the_client_knows(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    "code",
    ["browser.name_conflict", "idempotency.mismatch", "idempotency_key_in_progress", "browser.not_found", "new.one"],
)
def test_a_refusal_keeps_its_status_and_that_the_provider_said_it(code):
    for status in (400, 404, 409, 422):
        failure = _error(Operation.CREATE, status, _body(code)).failure
        assert failure == errors.ProviderFailure("bb", status, code, "Something failed", "req-1", own_envelope=True)


@pytest.mark.parametrize("status", [302, 400, 403, 404, 409, 502])
@pytest.mark.parametrize("body", [b"<html>", b"", {}, {"error": "flat"}])
def test_a_refusal_in_another_form_is_not_the_providers(status, body):
    assert _error(Operation.CREATE, status, body).failure == errors.ProviderFailure("bb", status)


def test_a_key_in_progress_tells_when_to_come_back():
    error = _error(Operation.CREATE, 409, _body("idempotency_key_in_progress"), **{"Retry-After": "3"})
    assert (error.retry_after, error.retryable) == (3, errors.Retryable.SAME_REQUEST)


def test_a_success_that_cannot_be_read_is_unclear_after_a_write_only():
    assert type(unreadable("bb", Operation.STOP, answer(200, b""))) is errors.OutcomeUnknown
    assert type(unreadable("bb", Operation.GET, answer(200, b""))) is errors.ProviderBadResponse
