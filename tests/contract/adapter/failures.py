"""The part of the adapter contract about failures: the error class, whether anything happened, and no secrets."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.domain.requests import CreateRequest
from gateway.domain.values import Operation
from gateway.ports.transport import TransportFailure
from tests.contract.adapter.subject import TOKEN, Subject, expecting

PAGE: Final = {"body": "<html><h1>proxy</h1></html>", "content_type": "text/html"}
"""The body of a status fault that plays a proxy's response."""

READS: Final[list[tuple[dict[str, Any], type[GatewayError]]]] = [
    ({"fault": "status", "status": 401}, errors.ProviderCredentialsRejected),
    ({"fault": "status", "status": 402}, errors.InsufficientCredits),
    ({"fault": "status", "status": 403}, errors.PermissionDenied),
    ({"fault": "status", "status": 408}, errors.ProviderTimeout),
    ({"fault": "status", "status": 408, **PAGE}, errors.ProviderTimeout),
    ({"fault": "status", "status": 500}, errors.ProviderError),
    ({"fault": "status", "status": 502}, errors.ProviderUnavailable),
    ({"fault": "status", "status": 503}, errors.ProviderUnavailable),
    ({"fault": "status", "status": 504}, errors.ProviderTimeout),
    ({"fault": "status", "status": 200, **PAGE}, errors.ProviderBadResponse),
    ({"fault": "status", "status": 307, **PAGE}, errors.ProviderBadResponse),
    ({"fault": "status", "status": 307, "location": "https://other.invalid/"}, errors.ProviderBadResponse),
    ({"fault": "status", "status": 404, **PAGE}, errors.ProviderBadResponse),
    ({"fault": "status", "status": 429, **PAGE}, errors.RateLimited),
    ({"fault": "status", "status": 503, **PAGE}, errors.ProviderUnavailable),
    ({"fault": "html", "status": 502}, errors.ProviderUnavailable),
    ({"fault": "html", "status": 504}, errors.ProviderTimeout),
    ({"fault": "malformed_json"}, errors.ProviderBadResponse),
    ({"fault": "half_body"}, errors.ProviderBadResponse),
    ({"fault": "drop_before"}, errors.ProviderUnavailable),
    ({"fault": "drop_after"}, errors.ProviderUnavailable),
]
"""The error of a read with each fault. A web page with status 404 does not mean that the runtime is missing."""

_CREATES: Final[list[tuple[dict[str, Any], type[GatewayError]]]] = [
    ({"fault": "status", "status": 401}, errors.ProviderCredentialsRejected),
    ({"fault": "status", "status": 402}, errors.InsufficientCredits),
    ({"fault": "status", "status": 403}, errors.PermissionDenied),
    ({"fault": "status", "status": 409}, errors.AlreadyExists),
    ({"fault": "status", "status": 408}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 408, **PAGE}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 500}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 502}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 503}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 504}, errors.OutcomeUnknown),
    ({"fault": "status_after", "status": 500}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 200, **PAGE}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 307, **PAGE}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 307, "location": "/elsewhere", **PAGE}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 303, "location": "https://other.invalid/", **PAGE}, errors.OutcomeUnknown),
    ({"fault": "status", "status": 308, "location": "https://other.invalid/"}, errors.ProviderBadResponse),
    ({"fault": "status", "status": 404, **PAGE}, errors.ProviderBadResponse),
    ({"fault": "html", "status": 502}, errors.OutcomeUnknown),
    ({"fault": "malformed_json"}, errors.OutcomeUnknown),
    ({"fault": "half_body"}, errors.OutcomeUnknown),
    ({"fault": "drop_before"}, errors.OutcomeUnknown),
    ({"fault": "drop_after"}, errors.OutcomeUnknown),
]
"""The error of a create with each fault. Where a runtime may have been made, the outcome is unknown."""


class FailureContract:
    """Every failure raises the error class of its cause, after exactly one request, and without secrets.

    ``rate_limit_code`` and ``quota_code`` are the provider's codes for these two in a response with status 429.
    """

    rate_limit_code: ClassVar[str]
    quota_code: ClassVar[str]

    async def test_a_failed_get_raises_the_class_of_its_cause(self, subject: Subject) -> None:
        """A failed read has changed nothing, so its outcome is never unknown."""
        await subject.create("faulty")
        await self._check(subject, Operation.GET, READS)

    async def test_a_failed_list_raises_the_class_of_its_cause(self, subject: Subject) -> None:
        """A failed list never returns an empty page."""
        await self._check(subject, Operation.LIST, READS)

    async def test_a_failed_create_raises_the_class_of_its_cause(self, subject: Subject) -> None:
        """Only the provider's own refusal proves that nothing was made."""
        await self._check(subject, Operation.CREATE, _CREATES)

    async def _check(
        self, subject: Subject, operation: Operation, table: list[tuple[dict[str, Any], type[GatewayError]]]
    ) -> None:
        for rule, expected in table:
            # An earlier row may have made a runtime of this name.
            if operation is Operation.CREATE:
                subject.emulator.reset()
            subject.fault(**rule)
            error = await subject.failure(operation)
            assert type(error) is expected, f"{operation} with {rule} is {type(error).__name__}: {error}"
            assert error.provider == subject.adapter.name
            assert error.source is errors.Source.PROVIDER
            assert subject.attempts == 1, f"{operation} with {rule} was repeated by the adapter"
            if operation is Operation.CREATE:
                assert subject.sent() == 1, f"a create with {rule} reached the provider more than once"

    async def test_retry_after_is_kept(self, subject: Subject) -> None:
        """From the provider and from a proxy between."""
        for body in ({"code": self.rate_limit_code}, PAGE):
            subject.fault(fault="status", status=429, retry_after=7, **body)
            for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
                assert (await subject.failure(operation)).retry_after == 7

    async def test_a_rate_limit_and_a_quota_are_distinguished(self, subject: Subject) -> None:
        """Waiting helps against the first only. An unknown code counts as a rate limit."""
        for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
            for code in (self.rate_limit_code, "an-unknown-code"):
                subject.fault(fault="status", status=429, code=code)
                assert type(await subject.failure(operation)) is errors.RateLimited
            subject.fault(fault="status", status=429, code=self.quota_code)
            assert type(await subject.failure(operation)) is errors.QuotaExceeded

    async def test_the_providers_status_and_detail_are_kept(self, subject: Subject) -> None:
        subject.fault(fault="status", status=403, detail="ask your administrator")
        failure = (await subject.failure(Operation.LIST)).failure
        assert failure is not None
        assert (failure.provider, failure.status) == (subject.adapter.name, 403)
        assert failure.detail == "ask your administrator"

    async def test_a_rejected_token_is_provider_credentials_rejected(self, subject: Subject) -> None:
        """The token is the gateway's, so this is never a 401 for the caller."""
        stranger = subject.make(token="wrong-token-77")
        for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
            error = await subject.failure(operation, stranger)
            assert type(error) is errors.ProviderCredentialsRejected
        with expecting(errors.ProviderCredentialsRejected, "the check of credentials accepted a wrong token"):
            await stranger.check_credentials(subject.call())

    async def test_a_valid_token_passes_the_check_of_credentials(self, subject: Subject) -> None:
        """Of a pinned and of an open provider."""
        await subject.make(pinned=True).check_credentials(subject.call())
        await subject.make(pinned=False).check_credentials(subject.call())

    async def test_a_refused_connection_is_provider_unavailable(self, subject: Subject) -> None:
        """It proves that nothing was sent, so the outcome of a create is known too."""
        nowhere = subject.make(url="http://127.0.0.1:1")
        for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
            assert type(await subject.failure(operation, nowhere)) is errors.ProviderUnavailable

    async def test_no_secret_is_in_a_runtime_or_an_error(self, subject: Subject) -> None:
        """Neither the token nor the secrets of a request, of each kind that can be created."""
        adapter = subject.adapter
        for kind in subject.created_kinds:
            subject.emulator.reset()
            request = subject.create_request("secretive", kind)
            secrets = [TOKEN, *request.secret_values()]
            assert len(secrets) > 1, f"create_request({kind!r}, …) of the suite has to carry a secret"
            made = await subject.create_running("secretive", kind)
            _assert_none(secrets, [repr(made), repr(request), repr(adapter), repr(adapter.settings)])
            for rule, _ in _CREATES:
                subject.fault(**rule)
                _assert_none(secrets, _shown(await _failed_create(subject, request)))


async def _failed_create(subject: Subject, request: CreateRequest) -> Exception:
    with expecting(Exception, "the create succeeded in spite of the fault") as caught:
        await subject.adapter.create(request, subject.scope, subject.call())
    assert isinstance(caught[0], GatewayError | TransportFailure)
    return caught[0]


def _shown(exc: BaseException | None) -> Iterator[str]:
    """Every text that an error and its causes can show."""
    while exc is not None:
        yield from (str(exc), repr(exc), repr(vars(exc)))
        exc = exc.__cause__ or exc.__context__


def _assert_none(secrets: list[str], texts: Any) -> None:
    for text in texts:
        for secret in secrets:
            assert secret not in text, "a secret is in a text"
