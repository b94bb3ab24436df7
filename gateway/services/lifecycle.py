"""Read one runtime, and the verbs on it: read, refuse what is not possible, act, report whether anything changed.

A verb whose response is lost is not sent again: one read shows whether it happened
(:mod:`gateway.services.lost_verb_responses`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec

from gateway.domain.constraint_rules import require_allowed, start_with_bounds
from gateway.domain.errors import (
    FieldError,
    GatewayError,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    Retryable,
    RuntimeReplaced,
    StateConflict,
    pointer,
)
from gateway.domain.ids import RuntimeRef
from gateway.domain.lifecycle import DISCARD_STATE, TRANSITIONS, Verb
from gateway.domain.requests import ConnectRequest, KeepaliveRequest, StartRequest, StopRequest
from gateway.domain.runtime import Connections, FieldWarning, Lease, Runtime
from gateway.domain.values import TRAITS, CreateFeature, Feature, Operation, WorkClass
from gateway.ports.context import RequestContext
from gateway.ports.provider import SupportsConnections, SupportsDelete, SupportsKeepalive
from gateway.ports.transport import Call
from gateway.services.access.visibility import read_visible, require_visible, visible
from gateway.services.fleet import Fleet, Provider, ResolvedRuntime
from gateway.services.lost_verb_responses import (
    earlier_attempt_ambiguous,
    has_another,
    is_ambiguous,
    is_later,
    verify_after,
)
from gateway.services.runtime_locks import RuntimeLocks
from gateway.services.specs import SpecKeeper
from gateway.services.verb_rules import (
    ENDING,
    LOCKS,
    Precondition,
    may_be_repeated,
    refuse_unless_possible,
    wanted_connections,
)

Act = Callable[[Any, RuntimeRef, Call], Awaitable[Runtime]]


class LifecycleService:
    """All operations on one runtime, except those on its config and capabilities."""

    def __init__(self, fleet: Fleet, specs: SpecKeeper | None = None) -> None:
        """``specs`` fills in values that providers do not report."""
        self._fleet = fleet
        self._specs = specs or SpecKeeper(None, None, fleet.clock)
        self._locks = RuntimeLocks()

    def get(self, runtime_id: str, ctx: RequestContext) -> Coroutine[Any, Any, Runtime]:
        """Read a runtime at the provider that made it. Raises as :meth:`resolve` at once, and as :meth:`read`."""
        return self.read(self.resolve(runtime_id, ctx), ctx)

    def resolve(self, runtime_id: str, ctx: RequestContext) -> ResolvedRuntime:
        """The provider and address of a runtime, for :meth:`read`. Raises as :meth:`Fleet.resolve`."""
        return self._fleet.resolve(runtime_id, ctx)

    def prefetch(self, resolved: ResolvedRuntime) -> None:
        """Prepare for :meth:`view`. Does not wait."""
        self._specs.prefetch(resolved.provider.adapter, resolved.ref)

    async def read(self, resolved: ResolvedRuntime, ctx: RequestContext) -> Runtime:
        """Read a runtime that was resolved before. Raises :class:`NotFound`, :class:`RuntimeReplaced`, and what any
        failed read of a provider raises."""
        provider, ref = resolved
        self._specs.prefetch(provider.adapter, ref)
        async with self._fleet.call_scope(provider, Operation.GET, ctx) as call:
            return self._shown(provider, await read_visible(self._fleet.owners, provider, ref, ctx, call))

    def place(self, resolved: ResolvedRuntime) -> tuple[str, RuntimeRef]:
        """Where a runtime is now that was resolved before. No I/O."""
        return self._fleet.place(resolved.provider.name, resolved.ref)

    def view(self, resolved: ResolvedRuntime, ctx: RequestContext, outcome: Runtime | GatewayError) -> Runtime:
        """What :meth:`read` returns, or raises, to this caller if the provider's response to a read is ``outcome``."""
        provider, ref = self._fleet.present(resolved)
        self._fleet.owners.require_current(ctx.principal)
        return self._shown(provider, visible(self._fleet.owners, ref, ctx, outcome))

    async def start(self, runtime_id: str, options: StartRequest, ctx: RequestContext) -> Runtime:
        """Start the compute of a runtime. If it has compute already, the options have no effect, and warnings say
        so. Raises :class:`PermissionDenied` for options that the caller's constraints do not allow."""
        require_allowed(ctx.principal, options)

        async def start(adapter: Any, ref: RuntimeRef, call: Call) -> Runtime:
            has_limits = CreateFeature.RUNTIME_LIMIT in adapter.features
            sent = start_with_bounds(ctx.principal, options) if has_limits else options
            started: Runtime = await adapter.start(ref, sent, call)
            return started

        runtime = await self._act(runtime_id, Verb.START, ctx, start)
        if runtime.changed or not options.model_fields_set:
            return runtime
        unused = [
            FieldWarning(pointer=pointer(field), detail="The runtime was started before; this has no effect.")
            for field in sorted(options.model_fields_set)
        ]
        return msgspec.structs.replace(runtime, warnings=unused)

    async def pause(self, runtime_id: str, ctx: RequestContext) -> Runtime:
        return await self._act(runtime_id, Verb.PAUSE, ctx, lambda adapter, ref, call: adapter.pause(ref, call))

    async def resume(self, runtime_id: str, ctx: RequestContext) -> Runtime:
        return await self._act(runtime_id, Verb.RESUME, ctx, lambda adapter, ref, call: adapter.resume(ref, call))

    async def reset(self, runtime_id: str, ctx: RequestContext, *, precondition: Precondition | None = None) -> Runtime:
        """Discard the compute and the state inside. Raises :class:`PreconditionFailed`, before anything is done, if the
        runtime has compute and the precondition is not met."""
        return await self._act(
            runtime_id, Verb.RESET, ctx, lambda adapter, ref, call: adapter.reset(ref, call), precondition
        )

    async def stop(
        self, runtime_id: str, options: StopRequest, ctx: RequestContext, *, precondition: Precondition | None = None
    ) -> Runtime:
        """Stop the compute. If a stop discards the state inside, the caller has to confirm it with ``discard_state``.

        Raises :class:`StateConflict` at ``#/discard_state`` without that, and :class:`PreconditionFailed` as
        :meth:`reset`.
        """

        async def stop(adapter: Any, ref: RuntimeRef, call: Call) -> Runtime:
            if Feature.STOP_DISCARDS_STATE not in adapter.features:
                ended: Runtime = await adapter.stop(ref, call, discard_state=options.discard_state)
                return ended
            if not options.discard_state:
                raise StateConflict(
                    "Stopping this runtime discards its state: send discard_state: true, or pause it.",
                    errors=[FieldError("This has to be true.", "required", pointer=f"#/{DISCARD_STATE}")],
                )
            stopped: Runtime = await adapter.reset(ref, call)
            return stopped

        return await self._act(runtime_id, Verb.STOP, ctx, stop, precondition)

    async def keepalive(self, runtime_id: str, options: KeepaliveRequest, ctx: RequestContext) -> Lease:
        """Extend the expiry of a running runtime."""
        provider, ref = self._fleet.resolve(runtime_id, ctx)
        adapter: SupportsKeepalive = provider.require(Feature.KEEPALIVE, "keepalive")
        before: Runtime | None = None
        try:
            async with self._fleet.call_scope(provider, Operation.KEEPALIVE, ctx, runtime=ref) as call:
                before = await self._read(provider, ref, ctx, call)
                refuse_unless_possible(before, Verb.KEEPALIVE)
                await self._fleet.lifetimes.require_keepalive(before, options.extend_seconds, ctx.principal)
                lease = await adapter.keepalive(ref, options.extend_seconds, call)
                return self._lease(provider, before, lease.expires_at)
        except GatewayError as error:
            if before is None or not is_ambiguous(error):
                raise
            now = await self._read_after(error, provider, ref, ctx, call)
            if now is None or not is_later(now.expires_at, before.expires_at):
                raise
            return self._lease(provider, now, now.expires_at)

    async def delete(self, runtime_id: str, ctx: RequestContext) -> None:
        """Delete a runtime permanently. Raises :class:`NotFound` if it does not exist."""
        provider, ref = self._fleet.resolve(runtime_id, ctx, WorkClass.RELEASE)
        adapter: SupportsDelete = provider.require(Feature.DELETE, "delete")
        try:
            async with self._fleet.call_scope(provider, Operation.DELETE, ctx, runtime=ref) as call:
                await require_visible(self._fleet.owners, provider, ref, ctx, call)
                await adapter.delete(ref, call)
        except NotFound:
            if not earlier_attempt_ambiguous(call.attempts, Operation.DELETE):
                raise
        except GatewayError as error:
            if not is_ambiguous(error) or await self._read_after(error, provider, ref, ctx, call) is not None:
                raise
        self._specs.forget(provider.adapter, ref)

    async def connections(self, runtime_id: str, options: ConnectRequest, ctx: RequestContext) -> Connections:
        """The connections of a running runtime, with their secrets. Raises as :func:`wanted_connections`."""
        provider, ref = self._fleet.resolve(runtime_id, ctx)
        adapter: SupportsConnections = provider.require(Feature.CONNECTIONS, "connections")
        async with self._fleet.call_scope(provider, Operation.CONNECT, ctx, runtime=ref) as call:
            refuse_unless_possible(await self._read(provider, ref, ctx, call), Verb.CONNECT)
            found = await adapter.connections(ref, call)
        return Connections(items=list(wanted_connections(provider.name, found, options)))

    async def _act(
        self, runtime_id: str, verb: Verb, ctx: RequestContext, act: Act, precondition: Precondition | None = None
    ) -> Runtime:
        operation, work = Operation(verb), TRAITS[Operation(verb)].work
        provider, ref = self._fleet.resolve(runtime_id, ctx, work)
        provider.require(TRANSITIONS[verb].feature, verb.value)
        self._specs.prefetch(provider.adapter, ref)
        before: Runtime | None = None
        async with AsyncExitStack() as held:
            try:
                async with self._fleet.call_scope(provider, operation, ctx, runtime=ref) as call:
                    await held.enter_async_context(self._alone(provider, ref, verb, call))
                    current = await self._read(provider, ref, ctx, call)
                    ctx.state = current.state
                    if current.state in TRANSITIONS[verb].satisfied_by:
                        return self._result(provider, current, changed=False)
                    refuse_unless_possible(current, verb)
                    self._check_precondition(precondition, provider, current)
                    if work is WorkClass.START:
                        await self._fleet.quotas.begin(provider.adapter, current, ctx.principal)
                    before = current
                    ctx.progressed(lambda: self._shown(provider, current))
                    after = await act(provider.adapter, ref, call)
                    ctx.state = after.state
            except GatewayError as error:
                if before is None:
                    raise
                ambiguous = is_ambiguous(error) or earlier_attempt_ambiguous(call.attempts, operation)
                refused = isinstance(error, StateConflict) and error.failure is not None
                if not (ambiguous or refused):
                    if work is WorkClass.START:
                        await self._fleet.quotas.released(operation, ctx, ref)
                    raise
                reported = error.retryable
                if ambiguous and not may_be_repeated(verb, provider, precondition):
                    error.retryable = Retryable.NO
                now = await self._read_after(error, provider, ref, ctx, call)
                if now is not None and (
                    now.state in TRANSITIONS[verb].satisfied_by
                    or (ambiguous and verb in ENDING and has_another(before, now))
                ):
                    return self._result(provider, now, changed=ambiguous)
                if not isinstance(error, OutcomeUnknown):
                    error.retryable = reported  # it failed, and the read shows that nothing changed
                raise
            return self._result(provider, after, changed=after.state is not before.state)

    @asynccontextmanager
    async def _alone(self, provider: Provider, ref: RuntimeRef, verb: Verb, call: Call) -> AsyncIterator[None]:
        """Hold the lock of a runtime for the verbs that would do the same, so that each one reads the state after the
        previous one. The wait is part of the call's deadline. A stop does not wait for a start that hangs."""
        began = self._fleet.clock.monotonic()
        refusal = f"Other requests to {verb.value} this runtime took too long; nothing was sent."
        async with self._locks.hold((provider.name, ref, LOCKS[verb]), call.deadline - began, refusal) as waited:
            if waited:
                call.queued += self._fleet.clock.monotonic() - began
            yield

    def _result(self, provider: Provider, runtime: Runtime, *, changed: bool) -> Runtime:
        return msgspec.structs.replace(self._shown(provider, runtime), changed=changed)

    def _lease(self, provider: Provider, runtime: Runtime, expires_at: str | None) -> Lease:
        """The new expiry of a runtime, or before it the end that the gateway plans."""
        extended = msgspec.structs.replace(runtime, expires_at=expires_at)
        shown = self._fleet.shown(provider.adapter, extended)
        return Lease(id=shown.id, expires_at=shown.expires_at)

    async def _read(self, provider: Provider, ref: RuntimeRef, ctx: RequestContext, call: Call) -> Runtime:
        return await read_visible(self._fleet.owners, provider, ref, ctx, call)

    def _shown(self, provider: Provider, runtime: Runtime) -> Runtime:
        return self._fleet.shown(provider.adapter, self._specs.fill(provider.adapter, runtime))

    def _check_precondition(self, precondition: Precondition | None, provider: Provider, runtime: Runtime) -> None:
        """Raise :class:`PreconditionFailed` unless the runtime meets the precondition, either as the provider reports
        it or with the stored spec, the planned end or both: another process may have served it to the caller without
        them."""
        shown, ended = self._fleet.named, self._fleet.lifetimes.shown(provider.adapter, runtime)
        forms = (runtime, ended, self._specs.fill(provider.adapter, runtime))
        if (
            precondition is None
            or any(precondition(shown(form)) for form in forms)
            or precondition(self._shown(provider, runtime))
        ):
            return
        detail = "The runtime has changed since it was read; nothing was done to it."
        error = FieldError(detail, "does_not_match", header="If-Match")
        raise PreconditionFailed(detail, errors=[error], provider=provider.name)

    async def _read_after(
        self, error: GatewayError, provider: Provider, ref: RuntimeRef, ctx: RequestContext, change: Call
    ) -> Runtime | None:
        """The runtime after a change that ended in ``error``; None if it does not exist any longer. Raises ``error`` if
        it cannot be read."""

        def get(call: Call) -> Awaitable[Runtime]:
            return provider.adapter.get(ref, call)

        try:
            return await verify_after(error, self._fleet, provider, Operation.GET, ctx, change.deadline, get)
        except NotFound:
            return None
        except RuntimeReplaced as replaced:
            raise error from replaced
