"""Maps error responses of the browser API to the gateway's errors.

The envelope is ``{"error": {"code", "message", "reasonClass", "requestId", "details"?, "hint"?}}``. A known code
decides, else the ``reasonClass``, else the status. The exception is a write whose ``reasonClass`` is ``unknown`` or
``outcome_unknown``: its outcome is unknown, as in the provider's own client.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from adapters.bctrl_browsers.wire import CODES, UNCLEAR, Code, ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure
from gateway.domain.operations import TRAITS, Operation
from gateway.ports.error_mapping import (
    USUAL_RULES,
    ErrorTable,
    provider_error,
    retry_after_seconds,
    rules,
    seconds_until,
    unrecognized_response_error,
)
from gateway.ports.transport import UpstreamResponse

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

_CODES: Final[ErrorTable] = {
    **rules(
        errors.ProviderCredentialsRejected,
        [401],
        [Code.AUTH_REQUIRED, Code.AUTH_INVALID, Code.AUTH_EXPIRED, Code.AUTH_UNAUTHORIZED],
    ),
    (None, 403, Code.AUTH_FORBIDDEN): errors.PermissionDenied,
    **rules(errors.InsufficientCredits, [402], [Code.INSUFFICIENT_CREDITS, Code.INSUFFICIENT_PURCHASED_CREDITS]),
    **rules(errors.NotFound, [404], [Code.BROWSER_NOT_FOUND, Code.RUNTIME_NOT_FOUND, Code.SPACE_NOT_FOUND]),
    **rules(errors.NotFound, [404], [Code.EXTENSION_NOT_FOUND, Code.PROXY_NOT_FOUND]),
    (None, 404, Code.ROUTE_NOT_FOUND): errors.ProviderBadResponse,
    (None, 405, Code.REQUEST_METHOD): errors.ProviderBadResponse,
    **rules(errors.AlreadyExists, [409], [Code.BROWSER_NAME_CONFLICT, Code.RUNTIME_NAME_CONFLICT]),
    **rules(
        errors.StateConflict,
        [409],
        [
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
        ],
    ),
    **rules(errors.ValidationFailed, [400, 404, 422], _FIELDS, Operation.CREATE),
    **rules(
        errors.ValidationFailed,
        [400],
        [
            Code.BROWSER_PERSONA_REQUIRED,
            Code.PROXY_PROTOCOL_INVALID,
            Code.PROXY_PROTOCOL_UNSUPPORTED,
            Code.PROXY_URL_INVALID,
        ],
    ),
    (None, 409, Code.IDEMPOTENCY_MISMATCH): errors.IdempotencyKeyReused,
    (None, 409, Code.IDEMPOTENCY_IN_PROGRESS): errors.IdempotencyInProgress,
    **rules(
        errors.OutcomeUnknown,
        [409, 500, 503],
        [
            Code.IDEMPOTENCY_UNCERTAIN,
            Code.IDEMPOTENCY_FINALIZATION,
            Code.IDEMPOTENCY_NOT_REPLAYABLE,
            Code.IDEMPOTENCY_RECONCILIATION,
        ],
    ),
    **rules(errors.QuotaExceeded, [403, 409, 429], [Code.BROWSER_CONCURRENT_QUOTA]),
    **rules(errors.CapacityExceeded, [409, 429, 503], [Code.RUNTIME_NO_CAPACITY]),
    **rules(errors.CapacityExceeded, [409, 503], [Code.PROXY_OUT_OF_STOCK]),
    **rules(errors.ProviderTimeout, [503, 504], [Code.BROWSER_START_TIMEOUT]),
    **rules(errors.ProviderError, [500], [Code.RUNTIME_START_FAILED, Code.INTERNAL]),
    **rules(errors.InvalidRequest, [400], [Code.REQUEST_INVALID, Code.REQUEST_INVALID_JSON, Code.CURSOR_INVALID]),
    (None, 422, Code.REQUEST_INVALID): errors.ValidationFailed,
    (None, 400, Code.REQUEST_VERSION): errors.ProviderUpgradeRequired,
    **rules(errors.RateLimited, [429], [Code.RATE_LIMIT, Code.REQUEST_RATE_LIMITED, Code.AUTH_RATE_LIMITED]),
    **rules(errors.ProviderUnavailable, [502, 503], [Code.UPSTREAM_UNAVAILABLE]),
}


def reason_key(reason_class: str) -> str:
    """The table key of a ``reasonClass``."""
    return f"reason:{reason_class}"


_REASONS: Final[ErrorTable] = {
    (None, 400, reason_key(ReasonClass.INVALID_INPUT)): errors.InvalidRequest,
    (None, 401, reason_key(ReasonClass.UNAUTHORIZED)): errors.ProviderCredentialsRejected,
    (None, 403, reason_key(ReasonClass.CAPABILITY_DENIED)): errors.PermissionDenied,
    **rules(errors.QuotaExceeded, [402, 403, 409, 429], [reason_key(ReasonClass.CAPABILITY_LIMIT)]),
    (None, 429, reason_key(ReasonClass.RATE_LIMITED)): errors.RateLimited,
    (None, 404, reason_key(ReasonClass.NOT_FOUND)): errors.NotFound,
    (None, 409, reason_key(ReasonClass.CONFLICT)): errors.StateConflict,
    (Operation.CREATE, 409, reason_key(ReasonClass.CONFLICT)): errors.AlreadyExists,
    (None, 500, reason_key(ReasonClass.UPSTREAM)): errors.ProviderUnavailable,
    (None, 500, reason_key(ReasonClass.SERVER)): errors.ProviderError,
    **{
        key: error
        for operation, traits in TRAITS.items()
        if traits.mutates
        for key, error in rules(
            errors.OutcomeUnknown, (408, 409, 429, 500, 502, 503, 504), map(reason_key, UNCLEAR), operation
        ).items()
    },
}

TABLE: Final[ErrorTable] = {**USUAL_RULES, (None, 410, None): errors.NotFound, **_CODES, **_REASONS}

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
    )
    unclear = envelope.reason_class in UNCLEAR and TRAITS[operation].mutates
    by_reason = envelope.reason_class is not None and (unclear or code not in CODES)
    where = _FIELDS.get(code) if operation is Operation.CREATE else None
    refused = [FieldError("The provider does not accept this value.", "refused", pointer=where)] if where else []
    error = provider_error(
        TABLE,
        operation,
        failure,
        code=reason_key(envelope.reason_class or "") if by_reason else None,
        retry_after=retry_after(response.headers),
        field_errors=refused,
    )
    if isinstance(error, errors.NotFound) and operation in {Operation.CREATE, Operation.LIST}:
        return errors.NotFound(f"The provider {provider} has no such space.", failure=error.failure)
    return error
