"""The provider calls of one operation: deadline, admission, health, and errors without secrets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final

from gateway.domain.errors import (
    ClientError,
    FieldError,
    GatewayError,
    NotFound,
    ProviderCredentialsRejected,
    Retryable,
)
from gateway.domain.ids import RuntimeRef, parse_runtime_id
from gateway.domain.values import TRAITS, Operation, WorkClass
from gateway.ports.context import Admission, RequestContext
from gateway.ports.error_mapping import transport_error
from gateway.ports.redaction import MAX_CODE, MAX_DETAIL, MAX_REQUEST_ID, redacted, short_redacted
from gateway.ports.transport import Call, Phase, TransportFailure
from gateway.services.moves.map import place_of
from gateway.services.moves.permits import overtaken

if TYPE_CHECKING:
    from gateway.services.fleet import Fleet, Provider


@dataclass(slots=True, eq=False, repr=False)
class ProviderCallScope:
    """The provider calls of one operation, under one deadline. ``_writes`` are the rows of the runtime that it may
    write to, as far as it is known; None: it only reads. Every provider failure is raised as a
    :class:`GatewayError`, from whose texts ``secrets`` are removed, because a provider may echo what it received;
    :class:`NotFound` is raised as :meth:`Fleet.refuse_moved_meanwhile` where that may be the reason.
    Entering raises :class:`Overloaded` if too many requests are bound to the provider, and :class:`RateLimited` beyond
    the rate of its account."""

    _fleet: "Fleet"
    _provider: "Provider"
    _operation: Operation
    _ctx: RequestContext
    _secrets: tuple[str, ...]
    _limit: float
    _runtime: RuntimeRef | None
    _probing: bool
    _writes: Sequence[str] | None
    _admission: Admission | None = field(default=None, init=False)  # a list releases each provider that has responded
    _call: Call = field(init=False)

    async def __aenter__(self) -> Call:
        """See the class. An operation that writes also raises as :meth:`WritePermits.begin`."""
        work, admission, rate = TRAITS[self._operation].work, self._ctx.admission, self._provider.rate
        if rate is not None and admission is not None and self._fleet.rates and work is not WorkClass.RELEASE:
            await self._fleet.rates.charge(self._ctx, self._provider.name, rate)
        if admission is not None and admission.enter(self._provider.name, always=work is WorkClass.RELEASE):
            self._admission = admission if self._operation is Operation.LIST else None
        deadline, writer, permits = self._fleet.clock.monotonic() + self._limit, "", self._fleet.permits
        if permits is not None and self._writes is not None and self._operation in _WRITES and not self._ctx.mover:
            begins = self._operation in _BEGINS
            writer = await permits.begin(self._provider.name, self._writes, work, deadline, begins=begins)
        self._provider.calls += 1
        self._call = self._ctx.call(deadline)
        self._call.work, self._call.secrets, self._call.writer = work, self._secrets, writer
        if permits is not None and writer:
            self._call.before_write = partial(permits.require, writer)
        return self._call

    async def __aexit__(
        self, _cls: type[BaseException] | None, exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._provider.calls -= 1
        certain = not self._call.writer or await self._left()
        self._note(succeeded=exc is None)
        if exc is not None:
            await self._failed(exc)
        elif TRAITS[self._operation].work is WorkClass.RELEASE and self._ctx.principal.prepares_starts:
            await self._fleet.quotas.released(self._operation, self._ctx, self._runtime or self._runtime_of_context())
        if not certain and (exc is None or (isinstance(exc, GatewayError) and exc.retryable is Retryable.NO)):
            raise overtaken() from exc

    def _note(self, *, succeeded: bool) -> None:
        if self._admission is not None:
            self._admission.leave(self._provider.name)
        call = self._call
        if call.unreadable_count and self._fleet.observer is not None:
            self._fleet.observer.unreadable_rows(self._provider.name, self._operation, call)
        ctx, fleet, attempts = self._ctx, self._fleet, call.attempts
        ctx.attempts += attempts
        ctx.queued += call.queued
        fleet.note_first_id(ctx)
        for attempt in attempts:
            if attempt.operation in _WRITES and attempt.phase >= Phase.SENT:
                runtime = self._runtime or self._runtime_of_context()
                fleet.wrote(self._provider.name, runtime)
                for report in fleet.on_release if TRAITS[self._operation].work is WorkClass.RELEASE else ():
                    report(self._provider.name, runtime)
                break
        if succeeded and attempts:
            health = self._provider.health
            health.last_success, health.probed = fleet.clock.now(), self._probing
            self._credentials(accepted=True)

    async def _failed(self, exc: BaseException) -> None:
        if isinstance(exc, TransportFailure):
            error: GatewayError = transport_error(self._provider.name, self._operation, exc)
            if exc.reason not in _NOT_SENT:
                self._observe(error)
            raise error from exc
        if isinstance(exc, NotFound) and self._operation not in _WITHOUT_RUNTIME:
            await self._fleet.refuse_moved_meanwhile(self._provider.name, self._ctx)
        if isinstance(exc, GatewayError):
            exc.provider = exc.provider or self._provider.name
            self._observe(exc)
            self._redact(exc)

    async def _left(self) -> bool:
        """End the permit of a write. Returns whether no move can have overtaken the write."""
        permits, call = self._fleet.permits, self._call
        if permits is None:
            return True
        answered = all(
            sent.phase < Phase.SENT or (sent.outcome.isdigit() and sent.outcome < "500")
            for sent in call.attempts
            if sent.operation in _WRITES
        )
        return await permits.end(call.writer, answered=answered) or self._operation is Operation.CREATE

    def _runtime_of_context(self) -> RuntimeRef | None:
        """The runtime that a create or a dialect has set in the context; None where it set none, or one whose id this
        gateway cannot parse (a provider may return ids that no path can hold)."""
        if self._ctx.runtime_id is None:
            return None
        moves = self._fleet.moves
        if moves and (moved := moves.of_id(self._ctx.runtime_id)) is not None:
            return place_of(moved).ref if moved.target == self._provider.name else None
        try:
            name, reference = parse_runtime_id(self._ctx.runtime_id)
            return self._provider.adapter.parse_reference(reference) if name == self._provider.name else None
        except NotFound:
            return None

    def _observe(self, error: GatewayError) -> None:
        if error.failure is None:
            return
        health = self._provider.health
        health.probed = self._probing
        if isinstance(error, ClientError):  # the provider responded, and the caller is at fault
            health.last_success = self._fleet.clock.now()
            return
        if isinstance(error, ProviderCredentialsRejected):
            self._credentials(accepted=False)
        health.last_failure = self._fleet.clock.now()
        health.last_failure_code = error.code

    def _credentials(self, *, accepted: bool) -> None:
        health = self._provider.health
        if health.credentials_ok is not accepted:
            health.credentials_ok = accepted
            current = self._fleet.get(self._provider.name) is self._provider  # False: it was replaced by a reload
            if self._fleet.on_credentials is not None and current:
                self._fleet.on_credentials(self._provider.name, accepted)

    def _redact(self, error: GatewayError) -> None:
        secrets, failure = self._secrets, error.failure
        if failure is not None:
            error.failure = replace(
                failure,
                code=short_redacted(failure.code, secrets, MAX_CODE),
                detail=short_redacted(failure.detail, secrets, MAX_DETAIL),
                request_id=short_redacted(failure.request_id, secrets, MAX_REQUEST_ID),
            )
        error.errors = tuple(
            FieldError(redacted(e.detail, secrets), e.code, e.pointer, e.parameter, e.header) for e in error.errors
        )


_NOT_SENT = frozenset({"circuit_open", "closed"})  # the gateway itself did not send the request
_WITHOUT_RUNTIME: Final = frozenset({Operation.CREATE, Operation.LIST})
_BEGINS: Final = frozenset({Operation.START, Operation.RESUME, Operation.CONNECT})
_WRITES: Final = frozenset(operation for operation, traits in TRAITS.items() if traits.mutates)
