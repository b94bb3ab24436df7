"""The part of the adapter contract about failures: whose fault it is, whether anything happened, and no secrets."""

from collections.abc import Iterator
from typing import Any, ClassVar, Final

from gateway.domain import errors
from gateway.domain.errors import GatewayError
from gateway.domain.operations import Operation
from gateway.domain.requests import CreateRequest
from gateway.ports.transport import TransportFailure
from gateway.testing.adapter_subject import TOKEN, Subject, expecting

PAGE: Final = {"body": "<html><h1>proxy</h1></html>", "content_type": "text/html"}
"""The body of a status fault that stands for a proxy's answer."""

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
"""What each fault is to a read. A web page of status 404 does not say that the runtime is gone."""

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
    ({"fault": "status", "status": 404, **PAGE}, errors.ProviderBadResponse),
    ({"fault": "html", "status": 502}, errors.OutcomeUnknown),
    ({"fault": "malformed_json"}, errors.OutcomeUnknown),
    ({"fault": "half_body"}, errors.OutcomeUnknown),
    ({"fault": "drop_before"}, errors.OutcomeUnknown),
    ({"fault": "drop_after"}, errors.OutcomeUnknown),
]
"""What each fault is to a create: where something may have been made, nobody may conclude that it was not."""


class FailureContract:
    """Every failure is told as what it is, after exactly one request, and without secrets.

    ``rate_limit_code`` and ``quota_code`` are what the provider calls these two in an answer of status 429.
    """

    rate_limit_code: ClassVar[str]
    quota_code: ClassVar[str]

    async def test_a_failed_get_is_told_as_what_it_is(self, subject: Subject) -> None:
        """A read that fails has changed nothing, whatever it failed with."""
        await subject.create("faulty")
        await self._check(subject, Operation.GET, READS)

    async def test_a_failed_list_is_told_as_what_it_is(self, subject: Subject) -> None:
        """A list that fails is never an empty list."""
        await self._check(subject, Operation.LIST, READS)

    async def test_a_failed_create_is_told_as_what_it_is(self, subject: Subject) -> None:
        """After a create, only the provider's own refusal says that nothing was made."""
        await self._check(subject, Operation.CREATE, _CREATES)

    async def _check(
        self, subject: Subject, operation: Operation, table: list[tuple[dict[str, Any], type[GatewayError]]]
    ) -> None:
        for rule, expected in table:
            # The provider may know the name from an earlier row; each row is a create of its own.
            if operation is Operation.CREATE:
                subject.emulator.reset()
            subject.fault(**rule)
            error = await subject.failure(operation)
            assert type(error) is expected, f"{operation} with {rule} is {type(error).__name__}: {error}"
            assert error.provider == subject.adapter.name
            assert error.source is errors.Source.PROVIDER
            assert subject.attempts == 1, f"{operation} with {rule} was tried again by the adapter"
            if operation is Operation.CREATE:
                assert subject.sent() == 1, f"a create with {rule} reached the provider more than once"

    async def test_the_time_to_come_back_reaches_the_caller(self, subject: Subject) -> None:
        """``Retry-After`` is kept, from the provider and from a proxy in between."""
        for body in ({"code": self.rate_limit_code}, PAGE):
            subject.fault(fault="status", status=429, retry_after=7, **body)
            for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
                assert (await subject.failure(operation)).retry_after == 7

    async def test_a_rate_limit_and_a_quota_are_two_things(self, subject: Subject) -> None:
        """One passes with time, the other does not. What the provider has no known word for counts as the first."""
        for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
            for code in (self.rate_limit_code, "a-word-that-is-new"):
                subject.fault(fault="status", status=429, code=code)
                assert type(await subject.failure(operation)) is errors.RateLimited
            subject.fault(fault="status", status=429, code=self.quota_code)
            assert type(await subject.failure(operation)) is errors.QuotaExceeded

    async def test_what_the_provider_said_is_kept(self, subject: Subject) -> None:
        """Its status and its own words."""
        subject.fault(fault="status", status=403, detail="ask your administrator")
        failure = (await subject.failure(Operation.LIST)).failure
        assert failure is not None
        assert (failure.provider, failure.status) == (subject.adapter.name, 403)
        assert failure.detail == "ask your administrator"

    async def test_rejected_credentials_are_the_gateways_own(self, subject: Subject) -> None:
        """A wrong token is never the caller's 401."""
        stranger = subject.make(token="wrong-token-77")  # noqa: S106 - made up, and wrong
        for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
            error = await subject.failure(operation, stranger)
            assert type(error) is errors.ProviderCredentialsRejected
        with expecting(errors.ProviderCredentialsRejected, "the check of credentials let wrong ones pass"):
            await stranger.check_credentials(subject.call())

    async def test_good_credentials_pass_the_check(self, subject: Subject) -> None:
        """Pinned or open."""
        await subject.make(pinned=True).check_credentials(subject.call())
        await subject.make(pinned=False).check_credentials(subject.call())

    async def test_a_provider_that_cannot_be_reached_has_done_nothing(self, subject: Subject) -> None:
        """A refused connection proves that nothing was sent, also for a create."""
        nowhere = subject.make(url="http://127.0.0.1:1")
        for operation in (Operation.GET, Operation.LIST, Operation.CREATE):
            assert type(await subject.failure(operation, nowhere)) is errors.ProviderUnavailable

    async def test_secrets_go_nowhere(self, subject: Subject) -> None:
        """Neither the token nor the secrets of a request are in a runtime or in anything an error shows."""
        request = subject.create_request("secretive")
        secrets = [TOKEN, *request.secret_values()]
        assert len(secrets) > 1, "the request of this suite has to carry a secret"
        made = await subject.create_running("secretive")
        _assert_none(secrets, [repr(made), repr(request), repr(subject.adapter), repr(subject.adapter.settings)])
        for rule, _ in _CREATES:
            subject.fault(**rule)
            _assert_none(secrets, _shown(await _failed_create(subject, request)))


async def _failed_create(subject: Subject, request: CreateRequest) -> Exception:
    with expecting(Exception, "the create succeeded in spite of the fault") as caught:
        await subject.adapter.create(request, subject.scope, subject.call())
    assert isinstance(caught[0], GatewayError | TransportFailure)
    return caught[0]


def _shown(exc: BaseException | None) -> Iterator[str]:
    """Everything that an error, and what led to it, can show."""
    while exc is not None:
        yield from (str(exc), repr(exc), repr(vars(exc)))
        exc = exc.__cause__ or exc.__context__


def _assert_none(secrets: list[str], texts: Any) -> None:
    for text in texts:
        for secret in secrets:
            assert secret not in text, "a secret is shown"
