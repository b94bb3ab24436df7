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

from adapters.bctrl.wire import CODES, Code, ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure
from gateway.domain.operations import Operation
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
    **rules(errors.ProviderCredentialsRejected, [401], [Code.AUTH_REQUIRED, Code.AUTH_INVALID]),
    (None, 403, Code.AUTH_FORBIDDEN): errors.PermissionDenied,
    (None, 402, Code.INSUFFICIENT_CREDITS): errors.InsufficientCredits,
    **rules(errors.NotFound, [404], [Code.BROWSER_NOT_FOUND, Code.RUNTIME_NOT_FOUND, Code.SPACE_NOT_FOUND]),
    **rules(errors.NotFound, [404], [Code.PROFILE_NOT_FOUND, Code.EXTENSION_NOT_FOUND]),
    **rules(errors.ValidationFailed, [404], [Code.PROFILE_NOT_FOUND, Code.EXTENSION_NOT_FOUND], Operation.CREATE),
    (None, 404, Code.ROUTE_NOT_FOUND): errors.ProviderBadResponse,
    **rules(errors.AlreadyExists, [409], [Code.BROWSER_NAME_CONFLICT, Code.RUNTIME_NAME_CONFLICT]),
    **rules(
        errors.StateConflict,
        [409],
        [
            Code.BROWSER_NOT_RUNNING,
            Code.BROWSER_ALREADY_STARTED,
            Code.BROWSER_STOP_PENDING,
            Code.BROWSER_NO_CONNECTIONS,
            Code.RUNTIME_NOT_STOPPED,
            Code.RUNTIME_NOT_ACTIVE,
            Code.RUNTIME_NO_WEBDRIVER,
            Code.RUNTIME_CONTROLLER_BUSY,
        ],
    ),
    (None, 409, Code.IDEMPOTENCY_MISMATCH): errors.ProviderBadResponse,
    (None, 409, Code.IDEMPOTENCY_IN_PROGRESS): errors.OutcomeUnknown,
    **rules(errors.QuotaExceeded, [403, 409, 429], [Code.BROWSER_CONCURRENT_QUOTA]),
    **rules(errors.CapacityExceeded, [409, 429, 503], [Code.RUNTIME_NO_CAPACITY]),
    (None, 504, Code.BROWSER_START_TIMEOUT): errors.ProviderTimeout,
    **rules(errors.ProviderError, [500], [Code.RUNTIME_START_FAILED, Code.INTERNAL]),
    **rules(errors.ValidationFailed, [400, 422], [Code.PROXY_PROTOCOL_INVALID]),
    **rules(errors.InvalidRequest, [400], [Code.REQUEST_INVALID, Code.REQUEST_INVALID_JSON, Code.CURSOR_INVALID]),
    (None, 422, Code.REQUEST_INVALID): errors.ValidationFailed,
    (None, 400, Code.REQUEST_VERSION): errors.ProviderUpgradeRequired,
    (None, 429, Code.RATE_LIMIT): errors.RateLimited,
    **rules(errors.ProviderUnavailable, [502, 503], [Code.UPSTREAM_UNAVAILABLE]),
}

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
    (Operation.CREATE, Code.PROFILE_NOT_FOUND): "#/launch/profile_id",
    (Operation.CREATE, Code.EXTENSION_NOT_FOUND): "#/launch/extension_ids",
    (Operation.CREATE, Code.PROXY_PROTOCOL_INVALID): "#/launch/proxy/type",
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
    """The error that a response other than a success means."""
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
