"""Maps error responses of the browser API to the gateway's errors.

The envelope is ``{"error": {"code", "message", "reasonClass", "requestId", "details"?, "hint"?}}``. A known code
decides, else the ``reasonClass``, else the status. The exception is a write whose ``reasonClass`` is ``unknown`` or
``outcome_unknown``: its outcome is unknown, as in the provider's own client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from adapters.bctrl_browsers.wire import CODES, UNCLEAR, Code, ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure
from gateway.domain.operations import TRAITS, Operation
from gateway.ports.error_mapping import (
    ErrorTable,
    provider_error,
    retry_after_seconds,
    seconds_until,
    unrecognized_response_error,
)
from gateway.ports.transport import UpstreamResponse

_Rules = dict[tuple[Operation | None, int, str | None], type[GatewayError]]

_STATUSES: Final[_Rules] = {
    (None, 400, None): errors.InvalidRequest,
    (None, 401, None): errors.ProviderCredentialsRejected,
    (None, 402, None): errors.InsufficientCredits,
    (None, 403, None): errors.PermissionDenied,
    (None, 404, None): errors.NotFound,
    (None, 408, None): errors.ProviderTimeout,
    (None, 409, None): errors.StateConflict,
    (Operation.CREATE, 409, None): errors.AlreadyExists,
    (None, 410, None): errors.NotFound,
    (None, 422, None): errors.ValidationFailed,
    (None, 426, None): errors.ProviderUpgradeRequired,
    (None, 429, None): errors.RateLimited,
    (None, 500, None): errors.ProviderError,
    (None, 502, None): errors.ProviderUnavailable,
    (None, 503, None): errors.ProviderUnavailable,
    (None, 504, None): errors.ProviderTimeout,
}


def _at(status: int, code: str, error: type[GatewayError]) -> _Rules:
    return {(None, status, code): error}


_CONFLICTS: Final = (
    Code.BROWSER_CHANGED,
    Code.BROWSER_NOT_RUNNING,
    Code.BROWSER_ALREADY_STARTED,
    Code.BROWSER_STATE_SAVING,
    Code.BROWSER_STOP_PENDING,
    Code.BROWSER_IDENTITY_IN_USE,
    Code.BROWSER_NO_SAVED_STATE,
    Code.BROWSER_NO_CONNECTIONS,
    Code.RUNTIME_NOT_STOPPED,
    Code.RUNTIME_NOT_ACTIVE,
    Code.RUNTIME_START_IN_PROGRESS,
    Code.RUNTIME_STOPPING,
    Code.SPACE_DELETING,
)
_UNCERTAIN: Final = (
    Code.IDEMPOTENCY_UNCERTAIN,
    Code.IDEMPOTENCY_FINALIZATION,
    Code.IDEMPOTENCY_NOT_REPLAYABLE,
    Code.IDEMPOTENCY_RECONCILIATION,
)
_FIELDS: Final[Mapping[str, str]] = {
    Code.EXTENSION_NOT_FOUND: "#/launch/extension_ids",
    Code.PROXY_NOT_FOUND: "#/provider_options/proxy",
    Code.PROXY_PROTOCOL_INVALID: "#/launch/proxy/type",
    Code.PROXY_PROTOCOL_UNSUPPORTED: "#/launch/proxy/type",
    Code.PROXY_URL_INVALID: "#/provider_options/proxy",
    Code.BROWSER_PERSONA_REQUIRED: "#/provider_options/persona",
    Code.BROWSER_NO_SAVED_STATE: "#/provider_options/fromBrowser",
    Code.BROWSER_NOT_FOUND: "#/provider_options/fromBrowser",
}
"""The field of a create that a code concerns."""

_CODES: Final[_Rules] = {
    **_at(401, Code.AUTH_REQUIRED, errors.ProviderCredentialsRejected),
    **_at(401, Code.AUTH_INVALID, errors.ProviderCredentialsRejected),
    **_at(401, Code.AUTH_EXPIRED, errors.ProviderCredentialsRejected),
    **_at(401, Code.AUTH_UNAUTHORIZED, errors.ProviderCredentialsRejected),
    **_at(403, Code.AUTH_FORBIDDEN, errors.PermissionDenied),
    **_at(402, Code.INSUFFICIENT_CREDITS, errors.InsufficientCredits),
    **_at(402, Code.INSUFFICIENT_PURCHASED_CREDITS, errors.InsufficientCredits),
    **_at(404, Code.BROWSER_NOT_FOUND, errors.NotFound),
    **_at(404, Code.RUNTIME_NOT_FOUND, errors.NotFound),
    **_at(404, Code.SPACE_NOT_FOUND, errors.NotFound),
    **_at(404, Code.EXTENSION_NOT_FOUND, errors.NotFound),
    **_at(404, Code.PROXY_NOT_FOUND, errors.NotFound),
    **_at(404, Code.ROUTE_NOT_FOUND, errors.ProviderBadResponse),
    **_at(405, Code.REQUEST_METHOD, errors.ProviderBadResponse),
    **_at(409, Code.BROWSER_NAME_CONFLICT, errors.AlreadyExists),
    **_at(409, Code.RUNTIME_NAME_CONFLICT, errors.AlreadyExists),
    **{(None, 409, code): errors.StateConflict for code in _CONFLICTS},
    **{(Operation.CREATE, status, code): errors.ValidationFailed for status in (400, 404, 422) for code in _FIELDS},
    **_at(400, Code.BROWSER_PERSONA_REQUIRED, errors.ValidationFailed),
    **_at(400, Code.PROXY_PROTOCOL_INVALID, errors.ValidationFailed),
    **_at(400, Code.PROXY_PROTOCOL_UNSUPPORTED, errors.ValidationFailed),
    **_at(400, Code.PROXY_URL_INVALID, errors.ValidationFailed),
    **_at(409, Code.IDEMPOTENCY_MISMATCH, errors.IdempotencyKeyReused),
    **_at(409, Code.IDEMPOTENCY_IN_PROGRESS, errors.IdempotencyInProgress),
    **{(None, status, code): errors.OutcomeUnknown for status in (409, 500, 503) for code in _UNCERTAIN},
    **{(None, status, Code.BROWSER_CONCURRENT_QUOTA): errors.QuotaExceeded for status in (403, 409, 429)},
    **{(None, status, Code.RUNTIME_NO_CAPACITY): errors.CapacityExceeded for status in (409, 429, 503)},
    **{(None, status, Code.PROXY_OUT_OF_STOCK): errors.CapacityExceeded for status in (409, 503)},
    **_at(504, Code.BROWSER_START_TIMEOUT, errors.ProviderTimeout),
    **_at(503, Code.BROWSER_START_TIMEOUT, errors.ProviderTimeout),
    **_at(500, Code.RUNTIME_START_FAILED, errors.ProviderError),
    **_at(400, Code.REQUEST_INVALID, errors.InvalidRequest),
    **_at(422, Code.REQUEST_INVALID, errors.ValidationFailed),
    **_at(400, Code.REQUEST_INVALID_JSON, errors.InvalidRequest),
    **_at(400, Code.REQUEST_VERSION, errors.ProviderUpgradeRequired),
    **_at(400, Code.CURSOR_INVALID, errors.InvalidRequest),
    **_at(429, Code.RATE_LIMIT, errors.RateLimited),
    **_at(429, Code.REQUEST_RATE_LIMITED, errors.RateLimited),
    **_at(429, Code.AUTH_RATE_LIMITED, errors.RateLimited),
    **_at(502, Code.UPSTREAM_UNAVAILABLE, errors.ProviderUnavailable),
    **_at(503, Code.UPSTREAM_UNAVAILABLE, errors.ProviderUnavailable),
    **_at(500, Code.INTERNAL, errors.ProviderError),
}


def reason_key(reason_class: str) -> str:
    """The table key of a ``reasonClass``."""
    return f"reason:{reason_class}"


def _reason(status: int, reason: ReasonClass, error: type[GatewayError]) -> _Rules:
    return {(None, status, reason_key(reason)): error}


_REASONS: Final[_Rules] = {
    **_reason(400, ReasonClass.INVALID_INPUT, errors.InvalidRequest),
    **_reason(401, ReasonClass.UNAUTHORIZED, errors.ProviderCredentialsRejected),
    **_reason(403, ReasonClass.CAPABILITY_DENIED, errors.PermissionDenied),
    **{
        (None, status, reason_key(ReasonClass.CAPABILITY_LIMIT)): errors.QuotaExceeded
        for status in (402, 403, 409, 429)
    },
    **_reason(429, ReasonClass.RATE_LIMITED, errors.RateLimited),
    **_reason(404, ReasonClass.NOT_FOUND, errors.NotFound),
    **_reason(409, ReasonClass.CONFLICT, errors.StateConflict),
    (Operation.CREATE, 409, reason_key(ReasonClass.CONFLICT)): errors.AlreadyExists,
    **_reason(500, ReasonClass.UPSTREAM, errors.ProviderUnavailable),
    **_reason(500, ReasonClass.SERVER, errors.ProviderError),
    **{
        (operation, status, reason_key(reason)): errors.OutcomeUnknown
        for operation, traits in TRAITS.items()
        if traits.mutates
        for status in (408, 409, 429, 500, 502, 503, 504)
        for reason in UNCLEAR
    },
}

TABLE: Final[ErrorTable] = {**_STATUSES, **_CODES, **_REASONS}

_LATEST: Final = 253_402_300_799  # the end of the year 9999, the last that datetime can represent


@dataclass(frozen=True, slots=True)
class Envelope:
    """The members of an error body. ``message`` is the provider's own sentence."""

    message: str | None = None
    code: str | None = None
    reason_class: str | None = None
    request_id: str | None = None


def read_envelope(body: bytes) -> Envelope | None:
    """The error body, or None when it is not the provider's own."""
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return None
    return Envelope(*map(_text, map(error.get, ("message", "code", "reasonClass", "requestId"))))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds to wait before a retry: from the usual headers, else until ``X-RateLimit-Reset`` (Unix time), which
    the provider's own client reads too. Times are compared with the ``Date`` of the response."""
    usual = retry_after_seconds(headers, now)
    reset = headers.get("X-RateLimit-Reset", "").strip()
    if usual is not None or not (reset.isascii() and reset.isdigit() and len(reset) <= 12):
        return usual
    moment = datetime.fromtimestamp(min(int(reset), _LATEST), UTC)
    return seconds_until(moment, headers, now)


def error_of(provider: str, operation: Operation, response: UpstreamResponse) -> GatewayError:
    """The error that a response other than a success means."""
    envelope = read_envelope(response.body)
    if envelope is None:
        return unrecognized_response_error(provider, operation, response)
    code = envelope.code or ""
    failure = ProviderFailure(
        provider,
        status=response.status,
        code=envelope.code,
        detail=envelope.message,
        request_id=envelope.request_id or response.headers.get("x-request-id"),
        own_envelope=True,
    )
    unclear = envelope.reason_class in UNCLEAR and TRAITS[operation].mutates
    by_reason = envelope.reason_class is not None and (unclear or code not in CODES)
    looked_up = replace(failure, code=reason_key(envelope.reason_class or "")) if by_reason else failure
    where = _FIELDS.get(code) if operation is Operation.CREATE else None
    refused = [FieldError("The provider does not accept this value.", "refused", pointer=where)] if where else []
    error = provider_error(TABLE, operation, looked_up, retry_after=retry_after(response.headers), field_errors=refused)
    if isinstance(error, errors.NotFound) and operation in {Operation.CREATE, Operation.LIST}:
        return errors.NotFound(f"The provider {provider} has no such space.", failure=failure)
    error.failure = failure
    return error
