"""Maps bctrl's error responses to the gateway's errors.

The API documents no error body. An envelope counts as the provider's own when it is a JSON object in the form of the
flat era (``{"error": "text", "code", "requestId", "reasonClass"}``), in that of the current era (the same members in
``error``), or with a text ``message`` or ``detail``. For a 4xx response to a create any JSON object counts: otherwise a
refusal in an undocumented form would leave every refused create with an unknown outcome.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from adapters.bctrl.wire import CODES, Code, ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure
from gateway.domain.operations import Operation
from gateway.ports.error_mapping import ErrorTable, provider_error, retry_after_seconds, unrecognized_response_error
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

_CODES: Final[_Rules] = {
    (None, 401, Code.AUTH_REQUIRED): errors.ProviderCredentialsRejected,
    (None, 401, Code.AUTH_INVALID): errors.ProviderCredentialsRejected,
    (None, 403, Code.AUTH_FORBIDDEN): errors.PermissionDenied,
    (None, 402, Code.INSUFFICIENT_CREDITS): errors.InsufficientCredits,
    (None, 404, Code.BROWSER_NOT_FOUND): errors.NotFound,
    (None, 404, Code.RUNTIME_NOT_FOUND): errors.NotFound,
    (None, 404, Code.SPACE_NOT_FOUND): errors.NotFound,
    (None, 404, Code.PROFILE_NOT_FOUND): errors.NotFound,
    (Operation.CREATE, 404, Code.PROFILE_NOT_FOUND): errors.ValidationFailed,
    (None, 404, Code.EXTENSION_NOT_FOUND): errors.NotFound,
    (Operation.CREATE, 404, Code.EXTENSION_NOT_FOUND): errors.ValidationFailed,
    (None, 404, Code.ROUTE_NOT_FOUND): errors.ProviderBadResponse,
    (None, 409, Code.BROWSER_NAME_CONFLICT): errors.AlreadyExists,
    (None, 409, Code.RUNTIME_NAME_CONFLICT): errors.AlreadyExists,
    (None, 409, Code.BROWSER_NOT_RUNNING): errors.StateConflict,
    (None, 409, Code.BROWSER_ALREADY_STARTED): errors.StateConflict,
    (None, 409, Code.BROWSER_STOP_PENDING): errors.StateConflict,
    (None, 409, Code.BROWSER_NO_CONNECTIONS): errors.StateConflict,
    (None, 409, Code.RUNTIME_NOT_STOPPED): errors.StateConflict,
    (None, 409, Code.RUNTIME_NOT_ACTIVE): errors.StateConflict,
    (None, 409, Code.RUNTIME_NO_WEBDRIVER): errors.StateConflict,
    (None, 409, Code.RUNTIME_CONTROLLER_BUSY): errors.StateConflict,
    (None, 409, Code.IDEMPOTENCY_MISMATCH): errors.ProviderBadResponse,
    (None, 409, Code.IDEMPOTENCY_IN_PROGRESS): errors.OutcomeUnknown,
    **{(None, status, Code.BROWSER_CONCURRENT_QUOTA): errors.QuotaExceeded for status in (403, 409, 429)},
    **{(None, status, Code.RUNTIME_NO_CAPACITY): errors.CapacityExceeded for status in (409, 429, 503)},
    (None, 504, Code.BROWSER_START_TIMEOUT): errors.ProviderTimeout,
    (None, 500, Code.RUNTIME_START_FAILED): errors.ProviderError,
    (None, 400, Code.PROXY_PROTOCOL_INVALID): errors.ValidationFailed,
    (None, 422, Code.PROXY_PROTOCOL_INVALID): errors.ValidationFailed,
    (None, 400, Code.REQUEST_INVALID): errors.InvalidRequest,
    (None, 422, Code.REQUEST_INVALID): errors.ValidationFailed,
    (None, 400, Code.REQUEST_INVALID_JSON): errors.InvalidRequest,
    (None, 400, Code.REQUEST_VERSION): errors.ProviderUpgradeRequired,
    (None, 400, Code.CURSOR_INVALID): errors.InvalidRequest,
    (None, 429, Code.RATE_LIMIT): errors.RateLimited,
    (None, 502, Code.UPSTREAM_UNAVAILABLE): errors.ProviderUnavailable,
    (None, 503, Code.UPSTREAM_UNAVAILABLE): errors.ProviderUnavailable,
    (None, 500, Code.INTERNAL): errors.ProviderError,
}


def reason_key(reason_class: str) -> str:
    """The table key of a ``reasonClass``, which is used when the code is missing or not a known one."""
    return f"reason:{reason_class}"


_REASONS: Final[_Rules] = {
    (None, 400, reason_key(ReasonClass.INVALID_INPUT)): errors.InvalidRequest,
    (None, 401, reason_key(ReasonClass.UNAUTHORIZED)): errors.ProviderCredentialsRejected,
    (None, 403, reason_key(ReasonClass.CAPABILITY_DENIED)): errors.PermissionDenied,
    **{(None, status, reason_key(ReasonClass.CAPABILITY_LIMIT)): errors.QuotaExceeded for status in (402, 403, 429)},
    (None, 429, reason_key(ReasonClass.RATE_LIMITED)): errors.RateLimited,
    (None, 404, reason_key(ReasonClass.NOT_FOUND)): errors.NotFound,
    (None, 409, reason_key(ReasonClass.CONFLICT)): errors.StateConflict,
    (Operation.CREATE, 409, reason_key(ReasonClass.CONFLICT)): errors.AlreadyExists,
    (None, 500, reason_key(ReasonClass.UPSTREAM)): errors.ProviderUnavailable,
    (None, 500, reason_key(ReasonClass.SERVER)): errors.ProviderError,
}

TABLE: Final[ErrorTable] = {**_STATUSES, **_CODES, **_REASONS}

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
        own_envelope=True,
    )
    looked_up = failure
    if envelope.code not in CODES and envelope.reason_class is not None:
        looked_up = replace(failure, code=reason_key(envelope.reason_class))
    where = _FIELDS.get((operation, envelope.code or ""))
    refused = [FieldError("The provider does not accept this value.", "refused", pointer=where)] if where else []
    error = provider_error(
        TABLE,
        operation,
        looked_up,
        retry_after=retry_after_seconds(response.headers),
        field_errors=refused,
    )
    if isinstance(error, errors.NotFound) and operation in {Operation.CREATE, Operation.LIST}:
        return errors.NotFound(f"The provider {provider} has no such workspace.", failure=failure)
    error.failure = failure
    return error
