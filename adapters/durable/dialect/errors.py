"""The errors of the durable dialect: one table from the gateway's codes to the API's 11 codes and 35 types.

Status, type and detail in a provider's own envelope are passed on unchanged. The provider's own client reads only the
status and ``detail``: it raises separate exceptions for 401, 404 and 409, and for a 429 whose ``detail`` contains the
word credit. After a 404 for a runtime it looks for a project of that name. It never retries by itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from adapters.durable.errors import ERROR_TYPES
from adapters.durable.wire import ERROR_CODES
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError
from gateway.ports.dialect import DialectAnswer, error_answer

_BAD_GATEWAY: Final = (502, "bad_gateway_error")
_INVALID: Final = (400, "invalid_error")
_TIMED_OUT: Final = (504, "gateway_timeout_error")

FORMS: Final[Mapping[str, tuple[int, str]]] = {
    errors.InvalidRequest.code: _INVALID,
    errors.Unauthenticated.code: (401, "authentication_error"),
    errors.InsufficientCredits.code: (429, "usage_limit_exceeded_error"),
    errors.PermissionDenied.code: (403, "forbidden_error"),
    errors.NotFound.code: (404, "not_found_error"),
    errors.MethodNotAllowed.code: _INVALID,
    errors.RequestTimeout.code: _INVALID,
    errors.AlreadyExists.code: (409, "already_exists_error"),
    errors.StateConflict.code: (409, "conflict_error"),
    errors.IdempotencyInProgress.code: (409, "conflict_error"),
    # Not a 404: the client would conclude that the runtime does not exist, and create one.
    errors.RuntimeReplaced.code: (409, "conflict_error"),
    errors.RuntimeGone.code: (409, "conflict_error"),
    errors.PreconditionFailed.code: (409, "conflict_error"),
    errors.PayloadTooLarge.code: _INVALID,
    errors.UriTooLong.code: _INVALID,
    errors.HttpVersionNotSupported.code: _INVALID,
    errors.UnsupportedMediaType.code: _INVALID,
    errors.ProviderNotConfigured.code: _BAD_GATEWAY,
    errors.ValidationFailed.code: (422, "validation_error"),
    errors.UnsupportedFeature.code: (422, "validation_error"),
    errors.IdempotencyKeyReused.code: (422, "validation_error"),
    errors.RateLimited.code: (429, "e2b_rate_limit_error"),
    errors.QuotaExceeded.code: (429, "usage_limit_exceeded_error"),
    errors.HeadersTooLarge.code: _INVALID,
    errors.InternalError.code: (500, "server_error"),
    errors.TransferCodingNotSupported.code: _INVALID,
    errors.ProviderError.code: _BAD_GATEWAY,
    errors.ProviderBadResponse.code: _BAD_GATEWAY,
    errors.ProviderCredentialsRejected.code: _BAD_GATEWAY,
    errors.ProviderUpgradeRequired.code: _BAD_GATEWAY,
    errors.RuntimeUnreachable.code: _BAD_GATEWAY,
    errors.ProviderUnavailable.code: _BAD_GATEWAY,
    errors.CapacityExceeded.code: _BAD_GATEWAY,
    errors.Overloaded.code: _BAD_GATEWAY,
    errors.StoreUnavailable.code: _BAD_GATEWAY,
    errors.ProviderTimeout.code: _TIMED_OUT,
    errors.OutcomeUnknown.code: _TIMED_OUT,
}
"""HTTP status (also the ``code``) and ``type`` of each gateway code."""

# Errors about the gateway's own credentials and version, not about the caller's key and client.
_ABOUT_THE_GATEWAY: Final = (errors.ProviderCredentialsRejected, errors.ProviderUpgradeRequired)

_NATIVE_KINDS: Final[Mapping[str, str]] = {
    "required": "missing",
    "unknown_field": "extra_forbidden",
    "not_allowed": "enum",
}


def native_error(error: GatewayError) -> DialectAnswer:
    """The response with the ``APIErrorPayload`` of an error."""
    status, kind = _form(error)
    body: dict[str, Any] = {"code": status, "detail": _detail(error), "type": kind}
    if error.errors:
        body["errors"] = [_item(fault) for fault in error.errors]
    return error_answer(error, status, body)


def location(fault: FieldError) -> list[str | int]:
    """Where an invalid value is, as the API's ``loc``: ``["body", "config", "version"]`` or ``["query", "limit"]``."""
    if fault.parameter is not None:
        return ["query", fault.parameter]
    if fault.header is not None:
        return ["header", fault.header]
    return ["body", *_path(fault.pointer or "#")]


def _form(error: GatewayError) -> tuple[int, str]:
    failure = error.failure
    if failure is not None and not isinstance(error, _ABOUT_THE_GATEWAY):
        status, kind = failure.status, failure.code
        if status in ERROR_CODES and kind in ERROR_TYPES:
            return status, kind
    return FORMS[error.code]


def _detail(error: GatewayError) -> str:
    failure = error.failure
    native = failure.detail if failure is not None and not isinstance(error, _ABOUT_THE_GATEWAY) else None
    detail = native or error.detail
    if isinstance(error, errors.InsufficientCredits) and "credit" not in detail.lower():
        return f"Insufficient credits: {detail}"
    return detail


def _item(fault: FieldError) -> dict[str, Any]:
    return {"loc": location(fault), "msg": fault.detail, "type": _NATIVE_KINDS.get(fault.code, fault.code)}


def _path(pointer: str) -> Iterator[str | int]:
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        yield int(name) if name.isdecimal() and name.isascii() else name
