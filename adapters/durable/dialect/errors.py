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

_FORMS: Final[Mapping[tuple[int, str], tuple[type[GatewayError], ...]]] = {
    (400, "invalid_error"): (
        *(errors.InvalidRequest, errors.MethodNotAllowed, errors.RequestTimeout, errors.PayloadTooLarge),
        *(errors.UriTooLong, errors.HttpVersionNotSupported, errors.UnsupportedMediaType, errors.HeadersTooLarge),
        errors.TransferCodingNotSupported,
    ),
    (401, "authentication_error"): (errors.Unauthenticated,),
    (403, "forbidden_error"): (errors.PermissionDenied,),
    (404, "not_found_error"): (errors.NotFound,),
    (409, "already_exists_error"): (errors.AlreadyExists,),
    # A replaced runtime is not a 404: the client would conclude that the runtime does not exist, and create one.
    (409, "conflict_error"): (
        *(errors.StateConflict, errors.IdempotencyInProgress, errors.RuntimeReplaced, errors.RuntimeGone),
        errors.PreconditionFailed,
    ),
    (422, "validation_error"): (errors.ValidationFailed, errors.UnsupportedFeature, errors.IdempotencyKeyReused),
    (429, "e2b_rate_limit_error"): (errors.RateLimited,),
    (429, "usage_limit_exceeded_error"): (errors.InsufficientCredits, errors.QuotaExceeded),
    (500, "server_error"): (errors.InternalError,),
    (502, "bad_gateway_error"): (
        *(errors.ProviderNotConfigured, errors.ProviderError, errors.ProviderBadResponse),
        *(errors.ProviderCredentialsRejected, errors.ProviderUpgradeRequired, errors.RuntimeUnreachable),
        *(errors.ProviderUnavailable, errors.CapacityExceeded, errors.Overloaded, errors.StoreUnavailable),
    ),
    (504, "gateway_timeout_error"): (errors.ProviderTimeout, errors.OutcomeUnknown),
}

FORMS: Final = {error.code: form for form, classes in _FORMS.items() for error in classes}
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
