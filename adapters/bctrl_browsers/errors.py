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

from adapters.bctrl_browsers.wire import UNCLEAR, ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure
from gateway.domain.values import TRAITS, Operation
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
    "browser_extension.not_found": "#/launch/extension_ids",
    "proxy.not_found": "#/provider_options/proxy",
    "proxy.protocol_invalid": "#/launch/proxy/type",
    "proxy.protocol_unsupported": "#/launch/proxy/type",
    "proxy.url_invalid": "#/provider_options/proxy",
    "browser.persona_required": "#/provider_options/persona",
    "browser.no_saved_state": "#/provider_options/fromBrowser",
    "browser.not_found": "#/provider_options/fromBrowser",
}
"""The field of a create that a code concerns."""

_CODES: Final[ErrorTable] = {
    **rules(
        errors.ProviderCredentialsRejected,
        [401],
        ["auth.required", "auth.invalid", "auth.expired", "auth.unauthorized"],
    ),
    (None, 403, "auth.forbidden"): errors.PermissionDenied,
    **rules(
        errors.InsufficientCredits, [402], ["billing.insufficient_credits", "billing.insufficient_purchased_credits"]
    ),
    **rules(errors.NotFound, [404], ["browser.not_found", "runtime.not_found", "space.not_found"]),
    **rules(errors.NotFound, [404], ["browser_extension.not_found", "proxy.not_found"]),
    (None, 404, "route.not_found"): errors.ProviderBadResponse,
    (None, 405, "request.method_not_allowed"): errors.ProviderBadResponse,
    **rules(errors.AlreadyExists, [409], ["browser.name_conflict", "runtime.name_conflict"]),
    **rules(
        errors.StateConflict,
        [409],
        [
            "browser.changed",
            "browser.not_running",
            "browser.already_started",
            "browser.state_saving",
            "browser.stop_pending",
            "browser.identity_in_use",
            "browser.no_saved_state",
            "browser.connections_unavailable",
            "runtime.not_stopped",
            "runtime.not_active",
            "runtime.start_in_progress",
            "runtime.stopping",
            "space.deleting",
        ],
    ),
    **rules(errors.ValidationFailed, [400, 404, 422], _FIELDS, Operation.CREATE),
    **rules(
        errors.ValidationFailed,
        [400],
        ["browser.persona_required", "proxy.protocol_invalid", "proxy.protocol_unsupported", "proxy.url_invalid"],
    ),
    (None, 409, "idempotency.mismatch"): errors.IdempotencyKeyReused,
    (None, 409, "idempotency_key_in_progress"): errors.IdempotencyInProgress,
    **rules(
        errors.OutcomeUnknown,
        [409, 500, 503],
        [
            "idempotency_key_uncertain",
            "idempotency.finalization_uncertain",
            "idempotency.not_replayable",
            "idempotency.reconciliation_required",
        ],
    ),
    **rules(errors.QuotaExceeded, [403, 409, 429], ["browser.concurrent_quota_exceeded"]),
    **rules(errors.CapacityExceeded, [409, 429, 503], ["runtime.capacity_unavailable"]),
    **rules(errors.CapacityExceeded, [409, 503], ["proxy.pool_out_of_stock"]),
    **rules(errors.ProviderTimeout, [503, 504], ["browser.start_timeout"]),
    **rules(errors.ProviderError, [500], ["runtime.start_failed", "internal.error"]),
    **rules(errors.InvalidRequest, [400], ["request.invalid", "request.invalid_json", "pagination.cursor_invalid"]),
    (None, 422, "request.invalid"): errors.ValidationFailed,
    (None, 400, "request.version_unsupported"): errors.ProviderUpgradeRequired,
    **rules(errors.RateLimited, [429], ["rate_limit.exceeded", "request.rate_limited", "auth.rate_limited"]),
    **rules(errors.ProviderUnavailable, [502, 503], ["upstream.unavailable"]),
}

CODES: Final = frozenset(code for _, _, code in _CODES)
"""The codes with a rule, of about 480 in the provider's client."""


def reason_key(reason_class: str) -> str:
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
