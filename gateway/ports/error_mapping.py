"""Mapping of provider responses and transport failures to errors: the part that all adapters share.

An adapter reads its provider's error envelope and has one table from (operation, HTTP status, provider code) to an
error class; :func:`provider_error` looks up the class and builds the error. A response outside the provider's envelope
comes from something in between, such as a proxy: :func:`unrecognized_response_error` judges it by its status alone.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import product
from typing import Final

from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, ProviderFailure, Retryable
from gateway.domain.runtime import Runtime
from gateway.domain.values import TRAITS, Operation
from gateway.ports.transport import Phase, TransportFailure, UpstreamResponse

ErrorTable = Mapping[tuple[Operation | None, int, str | None], type[GatewayError]]
"""Rules by (operation, status, code), None for any. The most specific rule applies; a code is more specific than an
operation."""

USUAL_RULES: Final[ErrorTable] = {
    (None, 400, None): errors.InvalidRequest,
    (None, 401, None): errors.ProviderCredentialsRejected,
    (None, 402, None): errors.InsufficientCredits,
    (None, 403, None): errors.PermissionDenied,
    (None, 404, None): errors.NotFound,
    (None, 408, None): errors.ProviderTimeout,
    (None, 409, None): errors.StateConflict,
    (Operation.CREATE, 409, None): errors.AlreadyExists,
    (None, 422, None): errors.ValidationFailed,
    (None, 426, None): errors.ProviderUpgradeRequired,
    (None, 429, None): errors.RateLimited,
    (None, 500, None): errors.ProviderError,
    (None, 502, None): errors.ProviderUnavailable,
    (None, 503, None): errors.ProviderUnavailable,
    (None, 504, None): errors.ProviderTimeout,
}
"""What a status alone means in most providers' own envelopes: the beginning of an adapter's table."""


def rules(
    error: type[GatewayError], statuses: Iterable[int], codes: Iterable[str], operation: Operation | None = None
) -> ErrorTable:
    """The rules of codes that mean the same error, each at all of the statuses."""
    return {(operation, status, code): error for status, code in product(statuses, tuple(codes))}


_SENTENCES: Final[Mapping[type[GatewayError], str]] = {
    errors.InvalidRequest: "The provider {provider} refused the request as invalid.",
    errors.InsufficientCredits: "The account at the provider {provider} has no credits left for this.",
    errors.PermissionDenied: "The provider {provider} does not allow this to the gateway's account.",
    errors.NotFound: "The provider {provider} has no such runtime.",
    errors.AlreadyExists: "The provider {provider} has another runtime of this name.",
    errors.StateConflict: "The provider {provider} reports that this is not possible in the runtime's current state.",
    errors.IdempotencyInProgress: "The provider {provider} is still processing the same request.",
    errors.IdempotencyKeyReused: "The provider {provider} received this idempotency key with another request before.",
    errors.ValidationFailed: "The provider {provider} refused a field.",
    errors.RateLimited: "The provider {provider} limits the rate of requests.",
    errors.QuotaExceeded: "A quota of the account at the provider {provider} is used up.",
    errors.ProviderError: "The provider {provider} failed with status {status}.",
    errors.ProviderBadResponse: "The provider {provider} sent a response that is not of its API ({status}).",
    errors.ProviderCredentialsRejected: "The provider {provider} rejected the gateway's credentials for it.",
    errors.ProviderUpgradeRequired: "The provider {provider} requires a newer client than this gateway.",
    errors.ProviderUnavailable: "The provider {provider} is not available now ({status}).",
    errors.CapacityExceeded: "The provider {provider} has no capacity for this now.",
    errors.ProviderTimeout: "The provider {provider} reported a timeout of its own ({status}).",
    errors.OutcomeUnknown: "The provider {provider} answered {status}, which does not show whether it happened.",
}

_SENTENCES_OF: Final[Mapping[tuple[type[GatewayError], Operation], str]] = {
    (errors.NotFound, Operation.CREATE): "The provider {provider} does not know something that this create names.",
    (errors.NotFound, Operation.LIST): "The provider {provider} has no such scope.",
    (
        errors.NotFound,
        Operation.INSTALL_CAPABILITY,
    ): "The provider {provider} has no such runtime or no such capability.",
    (errors.NotFound, Operation.UPDATE_CAPABILITY): "The provider {provider} has no such runtime or no such binding.",
    (errors.NotFound, Operation.REMOVE_CAPABILITY): "The provider {provider} has no such runtime or no such binding.",
    (errors.AlreadyExists, Operation.INSTALL_CAPABILITY): "The capability is installed on this runtime already.",
}

_BY_STATUS: Final[Mapping[int, type[GatewayError]]] = {
    408: errors.ProviderTimeout,
    429: errors.RateLimited,
    502: errors.ProviderUnavailable,
    503: errors.ProviderUnavailable,
    504: errors.ProviderTimeout,
}


def provider_error(
    table: ErrorTable,
    operation: Operation,
    failure: ProviderFailure,
    *,
    code: str | None = None,
    retry_after: float | None = None,
    field_errors: Sequence[FieldError] = (),
) -> GatewayError:
    """The error for a response in the provider's own envelope. ``retry_after`` is in seconds. ``code`` is looked up in
    place of the failure's own.

    A status without a rule is judged as by :func:`unrecognized_response_error`. For an operation that mutates, a
    response that does not prove that nothing happened becomes :class:`OutcomeUnknown`: every 5xx of a create, and a 408
    or 504 of any operation.
    """
    failure = replace(failure, own_envelope=True)
    status, code = failure.status or 0, code or failure.code
    for key in ((operation, status, code), (None, status, code), (operation, status, None), (None, status, None)):
        if key in table:
            return build_error(table[key], operation, failure, retry_after, field_errors)
    return build_error(_by_status(status), operation, failure, retry_after, field_errors)


def unrecognized_response_error(provider: str, operation: Operation, response: UpstreamResponse) -> GatewayError:
    """The error for a response outside the provider's envelope: a proxy's page, a redirect, an incomplete body."""
    failure = ProviderFailure(provider, status=response.status)
    return build_error(_by_status(response.status), operation, failure, retry_after_seconds(response.headers), ())


def unreadable(provider: str, operation: Operation, response: UpstreamResponse) -> GatewayError:
    """The error for a success whose body is not in the format of the API. For an operation that mutates it is
    :class:`OutcomeUnknown`, because something may have happened."""
    if not TRAITS[operation].mutates:
        return unrecognized_response_error(provider, operation, response)
    return errors.OutcomeUnknown(
        f"The provider {provider} reported success ({response.status}) with a body that is not of its API.",
        failure=ProviderFailure(provider, status=response.status),
    )


def is_addressed(address: str, runtime: Runtime) -> bool:
    """Whether a call to ``address``, an id or a name in a path, can have returned this runtime. Letter case is ignored,
    because some providers ignore it."""
    return address.casefold() in {runtime.provider_id.casefold(), (runtime.name or "").casefold()}


def _by_status(status: int) -> type[GatewayError]:
    return _BY_STATUS.get(status, errors.ProviderError if status >= 500 else errors.ProviderBadResponse)


def build_error(
    cls: type[GatewayError],
    operation: Operation,
    failure: ProviderFailure,
    retry_after: float | None,
    field_errors: Sequence[FieldError],
) -> GatewayError:
    """An error of ``cls`` with the standard sentence; :class:`OutcomeUnknown` instead where the operation mutates and
    the response does not prove that nothing happened."""
    status = failure.status or 0
    retryable: Retryable | None = None
    if TRAITS[operation].mutates:
        unclear_create = operation is Operation.CREATE and (
            status >= 500 or (cls is errors.ProviderBadResponse and status < 400)
        )
        if unclear_create or cls is errors.ProviderTimeout:
            cls = errors.OutcomeUnknown
        elif cls is errors.ProviderUnavailable:
            retryable = Retryable.SAME_REQUEST
    sentence = _SENTENCES_OF.get((cls, operation), _SENTENCES[cls])
    detail = sentence.format(provider=failure.provider, status=failure.status)
    return cls(detail, failure=failure, retry_after=retry_after, errors=field_errors, retryable=retryable)


_NEVER_SENT: Final = {
    "refused": "refused the connection",
    "dns": "has a host name that cannot be resolved",
    "tls": "could not be reached over TLS",
    "timeout": "could not be connected to in time",
}


def transport_error(provider: str, operation: Operation, failure: TransportFailure) -> GatewayError:
    """The error for a request without a complete response. It is :class:`OutcomeUnknown` where the request may have
    reached the provider and the operation mutates; in all other cases nothing happened."""
    reported = ProviderFailure(provider, status=failure.status)
    operation = failure.operation or operation
    if failure.reason == "overloaded":
        return errors.Overloaded(
            f"Too many requests to the provider {provider} are in progress; nothing was sent.",
            provider=provider,
            retry_after=failure.retry_after,
        )
    if failure.phase <= Phase.CONNECTING:
        what = _circuit_open(failure) or _NEVER_SENT.get(failure.reason, "could not be connected to")
        return errors.ProviderUnavailable(
            f"The provider {provider} {what}; nothing was sent.", failure=reported, retry_after=failure.retry_after
        )
    if TRAITS[operation].mutates:
        return errors.OutcomeUnknown(
            f"The request was sent to the provider {provider}, and no complete response came ({failure.reason})."
            + _detail(failure),
            failure=reported,
        )
    if failure.reason == "timeout":
        return errors.ProviderTimeout(f"The provider {provider} did not answer in time.", failure=reported)
    if failure.reason == "disconnected":
        return errors.ProviderUnavailable(
            f"The provider {provider} closed the connection without a response.", failure=reported
        )
    return errors.ProviderBadResponse(
        f"The provider {provider} did not send a complete response ({failure.reason})." + _detail(failure),
        failure=reported,
        retryable=Retryable.YES,
    )


def _detail(failure: TransportFailure) -> str:
    return "" if failure.detail is None else f" {failure.detail}"


def _circuit_open(failure: TransportFailure) -> str | None:
    if failure.reason != "circuit_open":
        return None
    wait = "" if failure.retry_after is None else f" for {max(math.ceil(failure.retry_after), 1)} s"
    return f"is disabled by its circuit breaker{wait}"


_MAX_RETRY_AFTER: Final = 86_400.0
_NUMBER: Final = re.compile(r"\d{1,12}(\.\d{1,6})?\Z", re.ASCII)


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The wait in seconds from ``retry-after-ms``, or from ``Retry-After`` in seconds or as an HTTP date.

    None where there is no header or it cannot be parsed. A time in the past is 0, and the maximum is one day. An
    HTTP date is compared with :func:`response_time`.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _NUMBER.match(milliseconds):
        return min(float(milliseconds) / 1000, _MAX_RETRY_AFTER)
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if _NUMBER.match(text):
        return min(float(text), _MAX_RETRY_AFTER)
    moment = http_date(text)
    return None if moment is None else seconds_until(moment, headers, now)


def seconds_until(moment: datetime, headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Seconds from :func:`response_time` to ``moment``, a time that the same response names: from 0 to one day."""
    return min(max((moment - response_time(headers, now)).total_seconds(), 0.0), _MAX_RETRY_AFTER)


def response_time(headers: Mapping[str, str], now: datetime | None = None) -> datetime:
    """The time of a response by the clock of its sender: the ``Date`` header, because that clock may differ from the
    gateway's. Without a valid ``Date`` it is ``now``, by default the current time of the gateway."""
    return http_date(headers.get("Date", "").strip()) or now or datetime.now(UTC)


def http_date(text: str) -> datetime | None:
    """The time in a ``Date`` header or another HTTP date; None if it is not one."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
