"""What the durable API's errors mean: one table from (operation, HTTP status, ``type``); see README.md, "Failures".

The HTTP status decides and the ``type`` refines it. A ``type`` at a status that it does not belong to is ignored, and
so is a body ``code`` that disagrees with the status. The text of an error never decides.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from adapters.durable.wire import any_object
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure, pointer
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

TABLE: Final[ErrorTable] = {
    # Of the usual statuses, 402, 408 and 503 are not documented but may be sent by a newer platform.
    **USUAL_RULES,
    # The 35 documented types with the statuses at which they apply; only that of authentication_error is documented.
    **rules(
        errors.InvalidRequest,
        [400],
        ["invalid_error", "invalid_flag_error", "invalid_username_error", "app_error", "task_error"],
    ),
    **rules(
        errors.ProviderCredentialsRejected,
        [401],
        ["authentication_error", "expired_signature_error", "expired_token_error", "token_error"],
    ),
    **rules(errors.PermissionDenied, [403], ["forbidden_error", "group_error", "user_verification_error"]),
    (None, 404, "not_found_error"): errors.NotFound,
    **rules(errors.StateConflict, [409], ["already_exists_error", "conflict_error", "member_exists_error"]),
    (None, 422, "validation_error"): errors.ValidationFailed,
    (None, 426, "upgrade_required_error"): errors.ProviderUpgradeRequired,
    (None, 429, "e2b_rate_limit_error"): errors.RateLimited,
    # Limits of an organization or a member are quotas of the account: a retry after a second does not help.
    **rules(errors.QuotaExceeded, [403, 429], ["usage_limit_exceeded_error"]),
    **rules(
        errors.QuotaExceeded, [403, 409, 429], ["member_limit_exceeded_error", "org_sandbox_capacity_exceeded_error"]
    ),
    **rules(errors.ProviderError, [500], ["server_error", "aws_error", "s3_error", "dynamodb_error", "database_error"]),
    **rules(errors.ProviderError, [500], ["configuration_error", "oauth_config_error", "mail_error", "stripe_error"]),
    **rules(errors.ProviderError, [500, 502], ["e2b_error"]),
    (None, 502, "bad_gateway_error"): errors.ProviderUnavailable,
    **rules(errors.ProviderUnavailable, [500, 503], ["migration_lock_timeout_error"]),
    (None, 504, "gateway_timeout_error"): errors.ProviderTimeout,
    # A create conflicts with the runtime that has its key (the API documents the 409 as "Already exists").
    **rules(errors.AlreadyExists, [409], ["already_exists_error", "conflict_error"], Operation.CREATE),
    # An install conflicts with the installed capability, or, with any other type, with the runtime's state.
    (Operation.INSTALL_CAPABILITY, 409, "already_exists_error"): errors.AlreadyExists,
    # A list has no body, so the invalid value is a query parameter.
    (Operation.LIST, 422, None): errors.InvalidRequest,
    (Operation.LIST, 422, "validation_error"): errors.InvalidRequest,
}
"""The error class for a response in the provider's own envelope."""

ERROR_TYPES: Final = frozenset(kind for _, _, kind in TABLE if kind is not None)
"""Every ``type`` of an error."""

_TYPE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_MAX_ERRORS: Final = 100


class Envelope(msgspec.Struct):
    """The provider's ``APIErrorPayload``, as far as it can be read."""

    detail: str
    type: str | None
    errors: Sequence[Any]


def read_envelope(body: bytes) -> Envelope | None:
    """The provider's own error object: a text ``detail``, and a ``type`` or a ``code``. None for anything else."""
    try:
        found = any_object.decode(body)
    except (ValueError, RecursionError):
        return None
    detail, kind, code, items = (found.get(name) for name in ("detail", "type", "code", "errors"))
    if not isinstance(detail, str) or not (isinstance(kind, str) or isinstance(code, int)):
        return None
    return Envelope(detail, _type_name(kind), items[:_MAX_ERRORS] if isinstance(items, list) else ())


def _type_name(kind: object) -> str | None:
    return kind if isinstance(kind, str) and _TYPE_NAME.match(kind) else None


def failed(provider: str, operation: Operation, response: UpstreamResponse) -> GatewayError:
    """The error for an unsuccessful response. Any 401, also without the envelope, means the gateway's credentials."""
    envelope = read_envelope(response.body)
    if envelope is None and response.status != 401:
        return unrecognized_response_error(provider, operation, response)
    failure = ProviderFailure(
        provider,
        status=response.status,
        code=envelope.type if envelope else None,
        detail=envelope.detail if envelope else None,
        request_id=response.headers.get("X-Request-ID"),
    )
    error = provider_error(
        TABLE,
        operation,
        failure,
        retry_after=retry_after_seconds(response.headers),
        field_errors=list(_field_errors(operation, envelope.errors)) if envelope else (),
    )
    if envelope is None:
        error.failure = failure
    return error


_DOMAIN_NAMES: Final[Mapping[Operation, Mapping[object, str]]] = {
    Operation.CREATE: {
        "key": "name",
        "name": "display_name",
        "requested_runtime_limit_seconds": "runtime_limit_seconds",
    },
    Operation.START: {"requested_runtime_limit_seconds": "runtime_limit_seconds"},
    Operation.LIST: {"project_id": "project"},
}

# The gateway's own sentences, because the provider's message may quote the value.
_DETAILS: Final[Mapping[str, str]] = {
    "missing": "The provider requires this field.",
    "extra_forbidden": "The provider does not know this field.",
    "string_too_short": "The provider requires a longer text here.",
    "string_too_long": "The provider requires a shorter text here.",
    "string_pattern_mismatch": "The provider requires a text of another format here.",
    "greater_than": "The provider requires a larger number here.",
    "greater_than_equal": "The provider requires a larger number here.",
    "less_than": "The provider requires a smaller number here.",
    "less_than_equal": "The provider requires a smaller number here.",
    "too_short": "The provider requires more items here.",
    "too_long": "The provider requires fewer items here.",
    "literal_error": "The provider allows other values here.",
    "enum": "The provider allows other values here.",
}


def _field_errors(operation: Operation, items: Iterable[Any]) -> Iterable[FieldError]:
    names = _DOMAIN_NAMES.get(operation, {})
    for item in items:
        if not isinstance(item, Mapping) or not isinstance(item.get("loc"), list):
            continue
        parts = [part for part in item["loc"] if isinstance(part, str | int)]
        where, path = parts[:1], parts[1:]
        code = _type_name(item.get("type")) or "invalid"
        detail = _DETAILS.get(code, "The provider refused this value.")
        if path and isinstance(path[0], str):
            path[0] = names.get(path[0], path[0])
        if where == ["body"]:
            yield FieldError(detail, code, pointer=pointer(*path))
        elif where == ["query"] and path:
            yield FieldError(detail, code, parameter=str(path[0]))
