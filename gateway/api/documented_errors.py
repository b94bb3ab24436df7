"""The errors of each group of calls, for the route table and so for the OpenAPI document."""

from typing import Final

from gateway.domain import errors
from gateway.domain.errors import GatewayError

Errors = tuple[type[GatewayError], ...]

ANY_CALL: Final[Errors] = (
    errors.InvalidRequest,
    errors.Unauthenticated,
    errors.PermissionDenied,
    errors.UnsupportedFeature,
    errors.RateLimited,
    errors.StoreUnavailable,
)
BODY: Final[Errors] = (
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.ValidationFailed,
)
PROVIDER: Final[Errors] = (
    errors.PermissionDenied,
    errors.RateLimited,
    errors.InternalError,
    errors.ProviderError,
    errors.ProviderBadResponse,
    errors.ProviderCredentialsRejected,
    errors.ProviderUpgradeRequired,
    errors.ProviderUnavailable,
    errors.Overloaded,
    errors.ProviderTimeout,
)
READ_ERRORS: Final[Errors] = (
    *ANY_CALL,
    *PROVIDER,
    errors.NotFound,
    errors.RuntimeReplaced,
    errors.ProviderNotConfigured,
)
WRITE_ERRORS: Final[Errors] = (*READ_ERRORS, *BODY, errors.StateConflict, errors.OutcomeUnknown)
CONDITIONAL: Final[Errors] = (*WRITE_ERRORS, errors.PreconditionFailed)
COMPUTE_ERRORS: Final[Errors] = (
    *WRITE_ERRORS,
    errors.InsufficientCredits,
    errors.QuotaExceeded,
    errors.CapacityExceeded,
)
CREATE_ERRORS: Final[Errors] = (
    *ANY_CALL,
    *BODY,
    *PROVIDER,
    errors.InsufficientCredits,
    errors.NotFound,
    errors.AlreadyExists,
    errors.StateConflict,
    errors.IdempotencyInProgress,
    errors.IdempotencyKeyReused,
    errors.QuotaExceeded,
    errors.CapacityExceeded,
    errors.StoreUnavailable,
    errors.OutcomeUnknown,
)
