"""Maps bctrl's error responses to the gateway's errors.

The API documents no error body. An envelope counts as the provider's own when it is a JSON object in the form of the
flat era (``{"error": "text", "code", "requestId", "reasonClass"}``), in that of the current era (the same members in
``error``), or with a text ``message`` or ``detail``. For a 4xx response to a create any JSON object counts: otherwise a
refusal in an undocumented form would leave every refused create with an unknown outcome.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from adapters.bctrl.wire import ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure
from gateway.domain.values import Operation
from gateway.ports.error_mapping import (
    USUAL_RULES,
    ErrorTable,
    provider_error,
    retry_after_seconds,
    rules,
    unrecognized_response_error,
)
from gateway.ports.transport import UpstreamResponse


def reason_key(reason_class: str) -> str:
    """The table key of a ``reasonClass``, which is used when the code is missing or not a known one."""
    return f"reason:{reason_class}"


_CODES: Final[ErrorTable] = {
    **rules(errors.ProviderCredentialsRejected, [401], ["auth.required", "auth.invalid"]),
    (None, 403, "auth.forbidden"): errors.PermissionDenied,
    (None, 402, "billing.insufficient_credits"): errors.InsufficientCredits,
    **rules(errors.NotFound, [404], ["browser.not_found", "runtime.not_found", "space.not_found"]),
    **rules(errors.NotFound, [404], ["browser_profile.not_found", "browser_extension.not_found"]),
    **rules(
        errors.ValidationFailed, [404], ["browser_profile.not_found", "browser_extension.not_found"], Operation.CREATE
    ),
    (None, 404, "route.not_found"): errors.ProviderBadResponse,
    **rules(errors.AlreadyExists, [409], ["browser.name_conflict", "runtime.name_conflict"]),
    **rules(
        errors.StateConflict,
        [409],
        [
            "browser.not_running",
            "browser.already_started",
            "browser.stop_pending",
            "browser.connections_unavailable",
            "runtime.not_stopped",
            "runtime.not_active",
            "runtime.webdriver_unavailable",
            "runtime.controller_busy",
        ],
    ),
    (None, 409, "idempotency.mismatch"): errors.ProviderBadResponse,
    (None, 409, "idempotency_key_in_progress"): errors.OutcomeUnknown,
    **rules(errors.QuotaExceeded, [403, 409, 429], ["browser.concurrent_quota_exceeded"]),
    **rules(errors.CapacityExceeded, [409, 429, 503], ["runtime.capacity_unavailable"]),
    (None, 504, "browser.start_timeout"): errors.ProviderTimeout,
    **rules(errors.ProviderError, [500], ["runtime.start_failed", "internal.error"]),
    **rules(errors.ValidationFailed, [400, 422], ["proxy.protocol_invalid"]),
    **rules(errors.InvalidRequest, [400], ["request.invalid", "request.invalid_json", "pagination.cursor_invalid"]),
    (None, 422, "request.invalid"): errors.ValidationFailed,
    (None, 400, "request.version_unsupported"): errors.ProviderUpgradeRequired,
    (None, 429, "rate_limit.exceeded"): errors.RateLimited,
    **rules(errors.ProviderUnavailable, [502, 503], ["upstream.unavailable"]),
}

CODES: Final = frozenset(code for _, _, code in _CODES)
"""The codes with a rule. Later eras of the API document them; those of the workspaces era are not documented."""

_REASONS: Final[ErrorTable] = {
    (None, 400, reason_key(ReasonClass.INVALID_INPUT)): errors.InvalidRequest,
    (None, 401, reason_key(ReasonClass.UNAUTHORIZED)): errors.ProviderCredentialsRejected,
    (None, 403, reason_key(ReasonClass.CAPABILITY_DENIED)): errors.PermissionDenied,
    **rules(errors.QuotaExceeded, [402, 403, 429], [reason_key(ReasonClass.CAPABILITY_LIMIT)]),
    (None, 429, reason_key(ReasonClass.RATE_LIMITED)): errors.RateLimited,
    (None, 404, reason_key(ReasonClass.NOT_FOUND)): errors.NotFound,
    (None, 409, reason_key(ReasonClass.CONFLICT)): errors.StateConflict,
    (Operation.CREATE, 409, reason_key(ReasonClass.CONFLICT)): errors.AlreadyExists,
    (None, 500, reason_key(ReasonClass.UPSTREAM)): errors.ProviderUnavailable,
    (None, 500, reason_key(ReasonClass.SERVER)): errors.ProviderError,
}

TABLE: Final[ErrorTable] = {**USUAL_RULES, (None, 410, None): errors.NotFound, **_CODES, **_REASONS}

_FIELDS: Final[Mapping[tuple[Operation, str], str]] = {
    (Operation.CREATE, "browser_profile.not_found"): "#/launch/profile_id",
    (Operation.CREATE, "browser_extension.not_found"): "#/launch/extension_ids",
    (Operation.CREATE, "proxy.protocol_invalid"): "#/launch/proxy/type",
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """The members of an error body. ``message`` is the provider's own sentence."""

    message: str | None = None
    code: str | None = None
    reason_class: str | None = None
    request_id: str | None = None


def read_envelope(body: bytes, *, any_object: bool = False) -> Envelope | None:
    """The error body in any of the known forms. With ``any_object`` any other JSON object counts too and gives an empty
    envelope. None when the body is not the provider's own."""
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    inner = document.get("error")
    if isinstance(inner, dict):
        return _envelope(inner, inner.get("message"))
    for member in ("error", "message", "detail"):
        if isinstance(document.get(member), str):
            return _envelope(document, document[member])
    return Envelope() if any_object else None


def _envelope(members: Mapping[str, Any], message: Any) -> Envelope:
    return Envelope(*(_text(value) for value in (message, *map(members.get, ("code", "reasonClass", "requestId")))))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def error_of(provider: str, operation: Operation, response: UpstreamResponse) -> GatewayError:
    refused_create = operation is Operation.CREATE and 400 <= response.status < 500
    envelope = read_envelope(response.body, any_object=refused_create)
    if envelope is None:
        return unrecognized_response_error(provider, operation, response)
    failure = ProviderFailure(
        provider,
        status=response.status,
        code=envelope.code,
        detail=envelope.message,
        request_id=envelope.request_id or response.headers.get("x-request-id"),
    )
    by_reason = envelope.code not in CODES and envelope.reason_class is not None
    where = _FIELDS.get((operation, envelope.code or ""))
    refused = [FieldError("The provider does not accept this value.", "refused", pointer=where)] if where else []
    error = provider_error(
        TABLE,
        operation,
        failure,
        code=reason_key(envelope.reason_class or "") if by_reason else None,
        retry_after=retry_after_seconds(response.headers),
        field_errors=refused,
    )
    if isinstance(error, errors.NotFound) and operation in {Operation.CREATE, Operation.LIST}:
        return errors.NotFound(f"The provider {provider} has no such workspace.", failure=error.failure)
    return error
