"""Mapping of provider responses and transport failures to errors, and the wait before a retry."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import errors
from gateway.domain.errors import GatewayError, ProviderFailure, Retryable, Source
from gateway.domain.values import TRAITS, Operation
from gateway.ports.error_mapping import (
    ErrorTable,
    provider_error,
    retry_after_seconds,
    transport_error,
    unrecognized_response_error,
)
from gateway.ports.transport import Phase, TransportFailure, UpstreamResponse

READS = [operation for operation, traits in TRAITS.items() if not traits.mutates]
WRITES = [operation for operation, traits in TRAITS.items() if traits.mutates]

TABLE: ErrorTable = {
    (None, 409, None): errors.StateConflict,
    (None, 409, "taken"): errors.AlreadyExists,
    (Operation.CREATE, 409, None): errors.QuotaExceeded,
    (Operation.CREATE, 409, "quota"): errors.InsufficientCredits,
    (None, 404, None): errors.NotFound,
    (None, 500, None): errors.ProviderError,
    (None, 503, None): errors.ProviderUnavailable,
    (None, 504, None): errors.ProviderTimeout,
}


def _told(operation: Operation, status: int, code: str | None = None) -> GatewayError:
    return provider_error(TABLE, operation, ProviderFailure("p", status=status, code=code))


@pytest.mark.parametrize(
    ("operation", "code", "expected"),
    [
        (Operation.START, None, errors.StateConflict),
        (Operation.START, "new", errors.StateConflict),
        (Operation.START, "taken", errors.AlreadyExists),
        (Operation.CREATE, None, errors.QuotaExceeded),
        (Operation.CREATE, "new", errors.QuotaExceeded),
        (Operation.CREATE, "taken", errors.AlreadyExists),
        (Operation.CREATE, "quota", errors.InsufficientCredits),
    ],
)
def test_the_most_specific_rule_applies_and_a_code_beats_an_operation(
    operation: Operation, code: str | None, expected: type[GatewayError]
) -> None:
    assert type(_told(operation, 409, code)) is expected


@pytest.mark.parametrize(
    ("operation", "missing"),
    [
        (Operation.GET, "runtime"),
        (Operation.PAUSE, "runtime"),
        (Operation.LIST, "scope"),
        (Operation.CREATE, "something that this create names"),
        (Operation.INSTALL_CAPABILITY, "capability"),
        (Operation.REMOVE_CAPABILITY, "binding"),
    ],
)
def test_not_found_names_what_the_operation_looked_for(operation: Operation, missing: str) -> None:
    assert missing in _told(operation, 404).detail


@pytest.mark.parametrize(("status", "expected"), [(501, errors.ProviderError), (418, errors.ProviderBadResponse)])
def test_a_status_without_a_rule_is_an_error_of_the_provider(status: int, expected: type[GatewayError]) -> None:
    error = _told(Operation.GET, status)
    assert type(error) is expected
    assert error.source is Source.PROVIDER


@pytest.mark.parametrize("status", [500, 501, 503, 504])
def test_a_5xx_of_a_create_is_an_unknown_outcome(status: int) -> None:
    assert type(_told(Operation.CREATE, status)) is errors.OutcomeUnknown


@pytest.mark.parametrize("operation", WRITES)
def test_a_timeout_status_of_a_change_is_an_unknown_outcome(operation: Operation) -> None:
    assert type(_told(operation, 504)) is errors.OutcomeUnknown


@pytest.mark.parametrize("operation", READS)
def test_a_timeout_status_of_a_read_is_a_provider_timeout(operation: Operation) -> None:
    assert type(_told(operation, 504)) is errors.ProviderTimeout


@pytest.mark.parametrize("operation", sorted({*WRITES} - {Operation.CREATE}))
def test_a_change_at_an_unavailable_provider_is_retried_only_as_the_same_request(operation: Operation) -> None:
    error = _told(operation, 503)
    assert type(error) is errors.ProviderUnavailable
    assert error.retryable is Retryable.SAME_REQUEST


@pytest.mark.parametrize(
    ("status", "operation", "expected"),
    [
        (200, Operation.GET, errors.ProviderBadResponse),
        (200, Operation.CREATE, errors.OutcomeUnknown),
        (307, Operation.GET, errors.ProviderBadResponse),
        (307, Operation.CREATE, errors.OutcomeUnknown),
        (403, Operation.CREATE, errors.ProviderBadResponse),
        (404, Operation.GET, errors.ProviderBadResponse),
        (429, Operation.CREATE, errors.RateLimited),
        (500, Operation.GET, errors.ProviderError),
        (502, Operation.GET, errors.ProviderUnavailable),
        (503, Operation.STOP, errors.ProviderUnavailable),
        (504, Operation.GET, errors.ProviderTimeout),
        (504, Operation.STOP, errors.OutcomeUnknown),
        (502, Operation.CREATE, errors.OutcomeUnknown),
    ],
)
def test_a_response_outside_the_envelope_is_judged_by_its_status_alone(
    status: int, operation: Operation, expected: type[GatewayError]
) -> None:
    """A proxy's 404 page is no evidence that a runtime does not exist."""
    error = unrecognized_response_error("p", operation, UpstreamResponse(status, {"Retry-After": "7"}, b"<html>"))
    assert type(error) is expected
    assert error.retry_after == 7
    assert error.failure is not None
    assert (error.failure.status, error.failure.detail) == (status, None)


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("reason", ["refused", "dns", "tls", "timeout", "closed"])
@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.CONNECTING])
def test_a_request_that_was_not_sent_did_not_happen(phase: Phase, reason: str, operation: Operation) -> None:
    error = transport_error("p", operation, TransportFailure(reason, phase))
    assert type(error) is errors.ProviderUnavailable
    assert error.retryable is Retryable.YES
    assert "nothing was sent" in error.detail


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize("reason", ["timeout", "disconnected", "cut_short", "too_large", "unreadable", "failed"])
@pytest.mark.parametrize("phase", [Phase.SENT, Phase.ANSWERED])
def test_a_change_without_a_complete_response_is_an_unknown_outcome(
    phase: Phase, reason: str, operation: Operation
) -> None:
    error = transport_error("p", operation, TransportFailure(reason, phase, status=200))
    assert type(error) is errors.OutcomeUnknown
    assert error.retryable is Retryable.SAME_REQUEST


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("timeout", errors.ProviderTimeout),
        ("disconnected", errors.ProviderUnavailable),
        ("cut_short", errors.ProviderBadResponse),
        ("too_large", errors.ProviderBadResponse),
        ("unreadable", errors.ProviderBadResponse),
    ],
)
def test_a_read_without_a_complete_response_is_retryable(reason: str, expected: type[GatewayError]) -> None:
    error = transport_error("p", Operation.GET, TransportFailure(reason, Phase.SENT))
    assert type(error) is expected
    assert error.retryable is Retryable.YES


def test_the_operation_of_the_failed_request_decides() -> None:
    lost_look = TransportFailure("timeout", Phase.SENT, operation=Operation.GET)
    assert type(transport_error("p", Operation.STOP, lost_look)) is errors.ProviderTimeout
    lost_stop = TransportFailure("timeout", Phase.SENT, operation=Operation.STOP)
    assert type(transport_error("p", Operation.STOP, lost_stop)) is errors.OutcomeUnknown


NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 120 "}, 120),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "99999999"}, 86_400),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": "١"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30"}, 30),
        ({"Retry-After": "Sun, 22 Nov 2026 13:00:30 +0100"}, 30),
        ({"Retry-After": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0),
        ({"Retry-After": "Sun, 22 Nov 2099 11:00:00 GMT"}, 86_400),
        ({"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"retry-after-ms": "x", "Retry-After": "9"}, 9),
    ],
)
def test_retry_after_is_normalised_to_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sun, 22 Nov 2026 12:00:23 GMT", 7),
        ("Sun, 22 Nov 2026 11:59:50 GMT", 40),
        ("Sun, 22 Nov 2026 12:00:31 GMT", 0),
        ("soon", 30),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 30),
    ],
)
def test_retry_after_as_a_date_is_compared_with_the_date_of_the_response(date: str, seconds: float) -> None:
    assert retry_after_seconds({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT", "Date": date}, NOW) == seconds
    assert retry_after_seconds({"Retry-After": "9", "Date": date}, NOW) == 9


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d+ Jan \d+ \d+:\d+:\d+ [+-]?\w+", fullmatch=True))
def test_any_retry_after_text_is_a_bounded_wait_or_none(text: str) -> None:
    seconds = retry_after_seconds({"Retry-After": text}, NOW)
    assert seconds is None or 0 <= seconds <= 86_400
