"""Error responses: nested in the current era, flat in the era before.

The provider's newest client repeats a write with a key after 408, 429 and every 5xx, unless a ``reasonClass`` in the
body is ``unknown`` or ``outcome_unknown``. The older clients ignore the body. In the flat era an unknown outcome is
therefore a 409, which no client repeats.
"""

from collections.abc import Mapping
from typing import Any, Final

from adapters.bctrl_browsers.dialect.bodies import NATIVE_CODE, native_member
from adapters.bctrl_browsers.wire import ReasonClass
from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.ports.dialect import HINTS, OURS, DialectAnswer, error_answer

Forms = Mapping[type[GatewayError], tuple[int, str, ReasonClass]]

FORMS: Final[Forms] = {
    errors.InvalidRequest: (400, "request.invalid", ReasonClass.INVALID_INPUT),
    errors.Unauthenticated: (401, "auth.invalid", ReasonClass.UNAUTHORIZED),
    errors.InsufficientCredits: (402, "billing.insufficient_credits", ReasonClass.CAPABILITY_DENIED),
    errors.PermissionDenied: (403, "auth.forbidden", ReasonClass.CAPABILITY_DENIED),
    errors.NotFound: (404, "route.not_found", ReasonClass.NOT_FOUND),
    errors.MethodNotAllowed: (405, "request.method_not_allowed", ReasonClass.INVALID_INPUT),
    errors.RequestTimeout: (408, "request.failed", ReasonClass.INVALID_INPUT),
    errors.AlreadyExists: (409, "browser.name_conflict", ReasonClass.CONFLICT),
    errors.StateConflict: (409, "browser.not_running", ReasonClass.CONFLICT),
    errors.IdempotencyInProgress: (409, "idempotency_key_in_progress", ReasonClass.CONFLICT),
    errors.RuntimeReplaced: (409, "browser.changed", ReasonClass.CONFLICT),
    errors.RuntimeGone: (409, "browser.not_running", ReasonClass.CONFLICT),
    errors.PreconditionFailed: (412, "request.failed", ReasonClass.CONFLICT),
    errors.PayloadTooLarge: (400, "request.invalid", ReasonClass.INVALID_INPUT),
    errors.UriTooLong: (400, "request.invalid", ReasonClass.INVALID_INPUT),
    errors.UnsupportedMediaType: (400, "request.invalid_content_type", ReasonClass.INVALID_INPUT),
    errors.ProviderNotConfigured: (400, "gateway.misconfigured", ReasonClass.INVALID_INPUT),
    errors.ValidationFailed: (400, "request.invalid", ReasonClass.INVALID_INPUT),
    errors.UnsupportedFeature: (400, "capability.not_available", ReasonClass.CAPABILITY_DENIED),
    errors.IdempotencyKeyReused: (409, "idempotency.mismatch", ReasonClass.CONFLICT),
    errors.RateLimited: (429, "rate_limit.exceeded", ReasonClass.RATE_LIMITED),
    errors.QuotaExceeded: (429, "browser.concurrent_quota_exceeded", ReasonClass.CAPABILITY_LIMIT),
    errors.HeadersTooLarge: (400, "request.invalid", ReasonClass.INVALID_INPUT),
    errors.InternalError: (500, "internal.error", ReasonClass.UNKNOWN),
    errors.TransferCodingNotSupported: (400, "request.invalid", ReasonClass.INVALID_INPUT),
    errors.ProviderError: (502, "upstream.unavailable", ReasonClass.SERVER),
    errors.ProviderBadResponse: (502, "route.bad_gateway", ReasonClass.UNKNOWN),
    errors.ProviderCredentialsRejected: (502, "gateway.misconfigured", ReasonClass.UPSTREAM),
    errors.ProviderUpgradeRequired: (502, "gateway.misconfigured", ReasonClass.UPSTREAM),
    errors.RuntimeUnreachable: (502, "upstream.unavailable", ReasonClass.UPSTREAM),
    errors.ProviderUnavailable: (503, "upstream.unavailable", ReasonClass.UPSTREAM),
    errors.CapacityExceeded: (503, "runtime.capacity_unavailable", ReasonClass.UPSTREAM),
    errors.Overloaded: (503, "route.unavailable", ReasonClass.SERVER),
    errors.StoreUnavailable: (503, "control_plane.unavailable", ReasonClass.SERVER),
    errors.ProviderTimeout: (504, "gateway.timeout", ReasonClass.UPSTREAM),
    errors.OutcomeUnknown: (504, "idempotency_key_uncertain", ReasonClass.OUTCOME_UNKNOWN),
    errors.HttpVersionNotSupported: (400, "request.invalid", ReasonClass.INVALID_INPUT),
}
"""Status, code and reason of each error class in the current era."""

FLAT_FORMS: Final[Forms] = {
    **FORMS,
    errors.RuntimeGone: (409, "runtime.not_active", ReasonClass.CONFLICT),
    errors.StateConflict: (409, "runtime.not_active", ReasonClass.CONFLICT),
    errors.AlreadyExists: (409, "runtime.name_conflict", ReasonClass.CONFLICT),
    errors.RuntimeReplaced: (409, "runtime.name_conflict", ReasonClass.CONFLICT),
    errors.PreconditionFailed: (409, "request.failed", ReasonClass.CONFLICT),
    errors.InternalError: (500, "internal.error", ReasonClass.SERVER),
    errors.ProviderBadResponse: (502, "route.bad_gateway", ReasonClass.UPSTREAM),
    errors.OutcomeUnknown: (409, "idempotency_key_uncertain", ReasonClass.OUTCOME_UNKNOWN),
}
"""The same in the flat era."""


def failure_of(error: GatewayError, request_id: str, *, flat_codes: bool, nested: bool) -> DialectAnswer:
    """The response for ``error``: with the status and code of the flat or of the current era, in the nested or the flat
    envelope. The provider's status, code and message about the caller's request are passed on unchanged."""
    status, code, _ = (FLAT_FORMS if flat_codes else FORMS)[type(error)]
    _, _, reason = (FORMS if nested else FLAT_FORMS)[type(error)]
    message, failure = error.detail, error.failure
    if failure is not None and failure.detail is not None and type(error) not in OURS:
        status, code, message = failure.status or status, failure.code or code, failure.detail
    members: dict[str, Any] = {
        "code": error.extra.get(NATIVE_CODE, code),
        "reasonClass": reason,
        "requestId": request_id,
    }
    if status < 500:  # the API promises a hint with every 4xx
        members["hint"] = HINTS[error.retryable]
    faults = [{"member": native_member(fault), "message": fault.detail} for fault in error.errors]
    if faults:
        members["details"] = {"errors": faults}
    body = {"error": {"message": message, **members}} if nested else {"error": message, **members}
    return error_answer(error, status, body)
