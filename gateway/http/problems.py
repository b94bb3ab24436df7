"""Errors as problem documents (RFC 9457): one table from error class to HTTP status, and one renderer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, MethodNotAllowed, Unauthenticated
from gateway.domain.ownership import without_suffixes
from gateway.domain.values import is_uuid
from gateway.http.mounting import mounted
from gateway.http.request_ids import new_uuid

CONTENT_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[type[GatewayError], int]] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.InsufficientCredits: 402,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.AlreadyExists: 409,
    errors.StateConflict: 409,
    errors.IdempotencyInProgress: 409,
    errors.RuntimeReplaced: 410,
    errors.RuntimeGone: 410,
    errors.PreconditionFailed: 412,
    errors.PayloadTooLarge: 413,
    errors.UriTooLong: 414,
    errors.UnsupportedMediaType: 415,
    errors.ProviderNotConfigured: 421,
    errors.ValidationFailed: 422,
    errors.UnsupportedFeature: 422,
    errors.IdempotencyKeyReused: 422,
    errors.RateLimited: 429,
    errors.QuotaExceeded: 429,
    errors.HeadersTooLarge: 431,
    errors.InternalError: 500,
    errors.TransferCodingNotSupported: 501,
    errors.ProviderError: 502,
    errors.ProviderBadResponse: 502,
    errors.ProviderCredentialsRejected: 502,
    errors.ProviderUpgradeRequired: 502,
    errors.RuntimeUnreachable: 502,
    errors.ProviderUnavailable: 503,
    errors.CapacityExceeded: 503,
    errors.Overloaded: 503,
    errors.StoreUnavailable: 503,
    errors.ProviderTimeout: 504,
    errors.OutcomeUnknown: 504,
    errors.HttpVersionNotSupported: 505,
}
"""The HTTP status of each class of the tree."""

_ENCODER: Final = msgspec.json.Encoder()


def internal_error() -> errors.InternalError:
    """The error for an unexpected exception; it reveals nothing about the cause."""
    return errors.InternalError("The gateway made a mistake; its log has the details under this request_id.")


def problem_document(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The members of the problem.

    ``provider`` is set when a provider is concerned, ``provider_*`` when one failed, ``retry_after`` (seconds) when a
    wait is known, ``errors`` when fields are at fault. Members of ``error.extra`` never replace one of these.
    """
    document: dict[str, Any] = {
        "type": mounted(f"/docs/errors/{error.code}"),
        "title": error.title,
        "status": STATUS[type(error)],
        "detail": error.detail,
        "instance": f"urn:uuid:{request_id if is_uuid(request_id) else new_uuid()}",
        "code": error.code,
        "source": error.source.value,
    }
    if error.provider is not None:
        document["provider"] = error.provider
    if error.failure is not None:
        document |= {
            "provider_status": error.failure.status,
            "provider_code": error.failure.code,
            "provider_detail": error.failure.detail and without_suffixes(error.failure.detail),
            "provider_request_id": _readable(error.failure.request_id),
        }
    document["retryable"] = error.retryable.value
    if error.retry_after is not None:
        document["retry_after"] = _seconds(error.retry_after)
    document["request_id"] = request_id
    if error.errors:
        document["errors"] = [_field(fault) for fault in error.errors]
    for name, value in error.extra.items():
        document.setdefault(name, _incomplete(value, request_id) if name == "incomplete" else value)
    return document


def problem_response(error: GatewayError, request_id: str) -> web.Response:
    headers = {"Content-Type": CONTENT_TYPE}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(max(error.retry_after, 0)))
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="runtime-gateway"'
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    return web.Response(
        status=STATUS[type(error)], body=_ENCODER.encode(problem_document(error, request_id)), headers=headers
    )


def _readable(header: str | None) -> str | None:
    # A provider's header may contain bytes that are not UTF-8, which JSON cannot represent.
    return None if header is None else header.encode(errors="replace").decode()


def _field(fault: FieldError) -> dict[str, str]:
    shown = {"detail": fault.detail, "code": fault.code}
    for name in ("pointer", "parameter", "header"):
        value = getattr(fault, name)
        if value is not None:
            shown[name] = value
    return shown


def _incomplete(failures: Sequence[tuple[str | None, GatewayError]], request_id: str) -> list[dict[str, Any]]:
    return [
        {**({} if name is None else {"provider": name}), "problem": problem_document(error, request_id)}
        for name, error in failures
    ]


def _seconds(value: float) -> float:
    rounded = round(max(float(value), 0.0), 3)
    return int(rounded) if rounded.is_integer() else rounded
