"""With which errors groups of calls can end, for the route table and so for the OpenAPI document."""

from typing import Final

from gateway.domain import errors
from gateway.domain.errors import GatewayError

Errors = tuple[type[GatewayError], ...]

ANY_CALL: Final[Errors] = (errors.InvalidRequest, errors.Unauthenticated, errors.UnsupportedFeature)
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
ONE: Final[Errors] = (
    *ANY_CALL,
    *PROVIDER,
    errors.NotFound,
    errors.RuntimeReplaced,
    errors.ProviderNotConfigured,
)
CHANGE: Final[Errors] = (*ONE, *BODY, errors.StateConflict, errors.OutcomeUnknown)
CONDITIONAL: Final[Errors] = (*CHANGE, errors.PreconditionFailed)
COMPUTE: Final[Errors] = (*CHANGE, errors.InsufficientCredits, errors.QuotaExceeded, errors.CapacityExceeded)
