"""Every error of a request: one class for each case that a caller handles differently (docs/errors.md).

::

    GatewayError
    ├── ClientError                     the caller has to change the request, or wait
    │   ├── InvalidRequest              400 invalid_request
    │   ├── Unauthenticated             401 unauthenticated
    │   ├── InsufficientCredits         402 insufficient_credits
    │   ├── PermissionDenied            403 permission_denied
    │   ├── NotFound                    404 not_found
    │   ├── MethodNotAllowed            405 method_not_allowed
    │   ├── RequestTimeout              408 request_timeout
    │   ├── AlreadyExists               409 already_exists
    │   ├── StateConflict               409 state_conflict
    │   ├── IdempotencyInProgress       409 idempotency_in_progress
    │   ├── RuntimeReplaced             410 runtime_replaced
    │   ├── RuntimeGone                 410 runtime_gone
    │   ├── PreconditionFailed          412 precondition_failed
    │   ├── PayloadTooLarge             413 payload_too_large
    │   ├── UriTooLong                  414 uri_too_long
    │   ├── UnsupportedMediaType        415 unsupported_media_type
    │   ├── ProviderNotConfigured       421 provider_not_configured
    │   ├── ValidationFailed            422 validation_failed
    │   ├── UnsupportedFeature          422 unsupported_feature
    │   ├── IdempotencyKeyReused        422 idempotency_key_reused
    │   ├── RateLimited                 429 rate_limited
    │   ├── QuotaExceeded               429 quota_exceeded
    │   └── HeadersTooLarge             431 headers_too_large
    ├── InternalError                   500 internal_error
    ├── TransferCodingNotSupported      501 transfer_coding_not_supported
    ├── ProviderError                   502 provider_error
    ├── ProviderBadResponse             502 provider_bad_response
    ├── ProviderCredentialsRejected     502 provider_credentials_rejected
    ├── ProviderUpgradeRequired         502 provider_upgrade_required
    ├── RuntimeUnreachable          502 runtime_unreachable
    ├── ProviderUnavailable             503 provider_unavailable
    ├── CapacityExceeded                503 capacity_exceeded
    ├── Overloaded                      503 overloaded
    ├── StoreUnavailable                503 store_unavailable
    ├── ProviderTimeout                 504 provider_timeout     nothing happened
    ├── OutcomeUnknown                  504 outcome_unknown      something may have happened
    └── HttpVersionNotSupported         505 http_version_not_supported

``gateway.http.problems`` maps each class to its HTTP status, one table per adapter a provider's response to a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self

from gateway.domain.field_errors import FieldError as FieldError  # noqa: PLC0414 (re-exported)
from gateway.domain.field_errors import bounded, shortened
from gateway.domain.field_errors import pointer as pointer  # noqa: PLC0414 (re-exported)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Source(StrEnum):
    """Who caused an error."""

    CLIENT = "client"
    GATEWAY = "gateway"
    PROVIDER = "provider"


class Retryable(StrEnum):
    """Whether a retry can succeed. ``same_request``: only the identical request, with the same key and name."""

    NO = "no"
    YES = "yes"
    SAME_REQUEST = "same_request"


@dataclass(frozen=True, slots=True)
class ProviderFailure:
    """A provider's error response, verbatim. ``status`` is its HTTP status, ``code`` the provider's own error code.

    ``own_envelope``: the response has the provider's own error format, so it came from the provider itself and not from
    a proxy before it. ``redirected_elsewhere``: it is a redirect to another server, so the request was not processed.
    """

    provider: str
    status: int | None = None
    code: str | None = None
    detail: str | None = None
    request_id: str | None = None
    own_envelope: bool = False
    redirected_elsewhere: bool = False


class GatewayError(Exception):
    """Base of all errors. ``detail`` is a sentence for the caller, without secrets and internals. Both ``detail`` and
    ``errors`` are bounded (:mod:`gateway.domain.field_errors`). ``extra`` are further members of the problem."""

    code: ClassVar[str]
    title: ClassVar[str]
    default_source: ClassVar[Source] = Source.CLIENT
    default_retryable: ClassVar[Retryable] = Retryable.NO

    def __init_subclass__(cls, *, source: Source | None = None, retryable: Retryable | None = None) -> None:
        cls.default_source = source or cls.default_source
        cls.default_retryable = retryable or cls.default_retryable

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        source: Source | None = None,
        retryable: Retryable | None = None,
        retry_after: float | None = None,
        provider: str | None = None,
        failure: ProviderFailure | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = shortened(detail)
        self.errors = bounded(errors)
        self.source = source or (Source.PROVIDER if failure else self.default_source)
        self.retryable = retryable or self.default_retryable
        self.retry_after = retry_after
        self.provider = provider or (failure.provider if failure else None)
        self.failure = failure
        self.extra = extra or {}

    @classmethod
    def at(cls, where: str, detail: str, *, code: str = "invalid", **options: Any) -> Self:
        """An error about one field of the body. ``where`` is its pointer (see :func:`pointer`)."""
        return cls(detail, errors=[FieldError(detail, code, pointer=where)], **options)


class ClientError(GatewayError):
    """The request cannot succeed before the caller changes it or waits."""


class InvalidRequest(ClientError):
    code, title = "invalid_request", "The request cannot be read"


class Unauthenticated(ClientError):
    code, title = "unauthenticated", "A valid gateway key is required"


class InsufficientCredits(ClientError, source=Source.PROVIDER):
    code, title = "insufficient_credits", "The provider account has no credits left"


class PermissionDenied(ClientError):
    code, title = "permission_denied", "Not allowed"


class NotFound(ClientError):
    code, title = "not_found", "Not found"


class MethodNotAllowed(ClientError):
    code, title = "method_not_allowed", "Method not allowed"

    def __init__(self, detail: str, *, allowed: Sequence[str] = (), **options: Any) -> None:
        super().__init__(detail, **options)
        self.allowed = tuple(allowed)


class RequestTimeout(ClientError, retryable=Retryable.YES):
    code, title = "request_timeout", "The request did not arrive in time"


class AlreadyExists(ClientError):
    code, title = "already_exists", "The name is already in use"


class StateConflict(ClientError):
    code, title = "state_conflict", "Not possible in the current state"


class IdempotencyInProgress(ClientError, retryable=Retryable.SAME_REQUEST):
    code, title = "idempotency_in_progress", "The same request is still running"


class RuntimeReplaced(ClientError):
    code, title = "runtime_replaced", "The name now belongs to another runtime"


class RuntimeGone(ClientError):
    code, title = "runtime_gone", "The instance does not exist any longer"


class PreconditionFailed(ClientError):
    code, title = "precondition_failed", "The resource has changed since it was read"


class PayloadTooLarge(ClientError):
    code, title = "payload_too_large", "The body is too large"


class UriTooLong(ClientError):
    code, title = "uri_too_long", "The request target is too long"


class UnsupportedMediaType(ClientError):
    code, title = "unsupported_media_type", "The body must be JSON"


class ProviderNotConfigured(ClientError):
    code, title = "provider_not_configured", "This gateway does not know the provider"


class ValidationFailed(ClientError):
    code, title = "validation_failed", "A field is not valid"


class UnsupportedFeature(ClientError):
    code, title = "unsupported_feature", "No provider here can do that"


class IdempotencyKeyReused(ClientError):
    code, title = "idempotency_key_reused", "The key was used for another request"


class RateLimited(ClientError, retryable=Retryable.YES):
    code, title = "rate_limited", "Too many requests"


class QuotaExceeded(ClientError):
    code, title = "quota_exceeded", "A quota is used up"


class HeadersTooLarge(ClientError):
    code, title = "headers_too_large", "The headers are too large"


class InternalError(GatewayError, source=Source.GATEWAY):
    code, title = "internal_error", "Internal error of the gateway"


class TransferCodingNotSupported(GatewayError):
    code, title = "transfer_coding_not_supported", "Transfer coding not supported"


class ProviderError(GatewayError, source=Source.PROVIDER, retryable=Retryable.SAME_REQUEST):
    code, title = "provider_error", "The provider failed"


class ProviderBadResponse(GatewayError, source=Source.PROVIDER):
    code, title = "provider_bad_response", "The provider's response is invalid"


class ProviderCredentialsRejected(GatewayError, source=Source.PROVIDER):
    code, title = "provider_credentials_rejected", "The provider rejected the gateway's credentials"


class ProviderUpgradeRequired(GatewayError, source=Source.PROVIDER):
    code, title = "provider_upgrade_required", "The provider requires a newer client than this gateway"


class RuntimeUnreachable(GatewayError, source=Source.PROVIDER, retryable=Retryable.YES):
    code, title = "runtime_unreachable", "The runtime runs, but nothing answers there"


class ProviderUnavailable(GatewayError, source=Source.PROVIDER, retryable=Retryable.YES):
    code, title = "provider_unavailable", "The provider cannot be reached"


class CapacityExceeded(GatewayError, source=Source.PROVIDER, retryable=Retryable.YES):
    code, title = "capacity_exceeded", "The provider has no capacity now"


class Overloaded(GatewayError, source=Source.GATEWAY, retryable=Retryable.YES):
    code, title = "overloaded", "Gateway overloaded"


class StoreUnavailable(GatewayError, source=Source.GATEWAY, retryable=Retryable.SAME_REQUEST):
    code, title = "store_unavailable", "The gateway's store cannot be reached"


class ProviderTimeout(GatewayError, source=Source.PROVIDER, retryable=Retryable.YES):
    code, title = "provider_timeout", "The provider did not answer in time, and nothing has happened"


class OutcomeUnknown(GatewayError, source=Source.PROVIDER, retryable=Retryable.SAME_REQUEST):
    code, title = "outcome_unknown", "Outcome unknown"


class HttpVersionNotSupported(GatewayError):
    code, title = "http_version_not_supported", "HTTP version not supported"


def error_classes() -> Iterator[type[GatewayError]]:
    """Every class of the tree that has a code, in the order of the diagram."""
    pending: list[type[GatewayError]] = [GatewayError]
    while pending:
        cls = pending.pop(0)
        if "code" in cls.__dict__:
            yield cls
        pending[:0] = cls.__subclasses__()
