"""Reading one runtime and the verbs on it: read first, refuse what cannot work, act, tell whether anything changed."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gateway.domain.errors import FieldError, StateConflict, UnsupportedFeature, pointer
from gateway.domain.features import Feature
from gateway.domain.ids import RuntimeRef
from gateway.domain.lifecycle import DISCARD_STATE, TRANSITIONS, Verb, works_from
from gateway.domain.operations import Operation
from gateway.domain.requests import ConnectRequest, KeepaliveRequest, StartRequest, StopRequest
from gateway.domain.runtime import Connections, FieldWarning, Lease, Runtime
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.transport import Call
from gateway.services.fleet import Fleet, Provider

Act = Callable[[Any, RuntimeRef, Call], Awaitable[Runtime]]


class LifecycleService:
    """Everything that is asked of one runtime but its config and capabilities."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def get(self, runtime_id: str, ctx: RequestContext) -> Runtime:
        """Read a runtime at the provider that made it."""
        provider, ref = self._fleet.locate(runtime_id, ctx)
        async with self._fleet.calling(provider, Operation.GET, ctx) as call:
            return await provider.adapter.get(ref, call)

    async def start(self, runtime_id: str, options: StartRequest, ctx: RequestContext) -> Runtime:
        """Bring compute to a runtime that has none. Where it has, options have no effect, which a warning tells."""
        runtime = await self._act(
            runtime_id, Verb.START, Operation.START, ctx, lambda adapter, ref, call: adapter.start(ref, options, call)
        )
        if runtime.changed or not options.model_fields_set:
            return runtime
        unused = [
            FieldWarning(pointer=pointer(field), detail="It was started before; this has no effect on it.")
            for field in sorted(options.model_fields_set)
        ]
        return msgspec.structs.replace(runtime, warnings=unused)

    async def pause(self, runtime_id: str, ctx: RequestContext) -> Runtime:
        """Freeze a running runtime."""
        return await self._act(
            runtime_id, Verb.PAUSE, Operation.PAUSE, ctx, lambda adapter, ref, call: adapter.pause(ref, call)
        )

    async def resume(self, runtime_id: str, ctx: RequestContext) -> Runtime:
        """Wake a paused runtime."""
        return await self._act(
            runtime_id, Verb.RESUME, Operation.RESUME, ctx, lambda adapter, ref, call: adapter.resume(ref, call)
        )

    async def reset(self, runtime_id: str, ctx: RequestContext) -> Runtime:
        """Throw the compute away, with the state inside."""
        return await self._act(
            runtime_id, Verb.RESET, Operation.RESET, ctx, lambda adapter, ref, call: adapter.reset(ref, call)
        )

    async def stop(self, runtime_id: str, options: StopRequest, ctx: RequestContext) -> Runtime:
        """End the compute. It never destroys silently: where a stop loses the state inside, the caller has to say so.

        Raises :class:`StateConflict` at ``#/discard_state`` where that was not said.
        """
        provider, _ = self._fleet.locate(runtime_id, ctx)
        provider.require(Feature.STOP, "stop")
        discards = Feature.STOP_DISCARDS_STATE in provider.adapter.features
        if not discards:
            return await self._act(
                runtime_id,
                Verb.STOP,
                Operation.STOP,
                ctx,
                lambda adapter, ref, call: adapter.stop(ref, call, discard_state=options.discard_state),
            )

        async def reset(adapter: Any, ref: RuntimeRef, call: Call) -> Runtime:
            if not options.discard_state:
                raise StateConflict(
                    "Stopping this runtime throws its state away: send discard_state: true, or pause it.",
                    errors=[FieldError("This has to be true.", "required", pointer=f"#/{DISCARD_STATE}")],
                )
            stopped: Runtime = await adapter.reset(ref, call)
            return stopped

        return await self._act(runtime_id, Verb.STOP, Operation.STOP, ctx, reset)

    async def keepalive(self, runtime_id: str, options: KeepaliveRequest, ctx: RequestContext) -> Lease:
        """Push the expiry of a running runtime."""
        provider, ref = self._fleet.locate(runtime_id, ctx)
        provider.require(Feature.KEEPALIVE, "keepalive")
        async with self._fleet.calling(provider, Operation.KEEPALIVE, ctx) as call:
            _refuse_unless_possible(await provider.adapter.get(ref, call), Verb.KEEPALIVE)
            adapter: Any = provider.adapter
            lease: Lease = await adapter.keepalive(ref, options.extend_seconds, call)
            return lease

    async def delete(self, runtime_id: str, ctx: RequestContext) -> None:
        """Remove a runtime for good. Raises :class:`NotFound` when it is gone already."""
        provider, ref = self._fleet.locate(runtime_id, ctx)
        provider.require(Feature.DELETE, "delete")
        async with self._fleet.calling(provider, Operation.DELETE, ctx) as call:
            adapter: Any = provider.adapter
            await adapter.delete(ref, call)

    async def connections(self, runtime_id: str, options: ConnectRequest, ctx: RequestContext) -> Connections:
        """The ways into a running runtime, secrets included.

        Raises :class:`UnsupportedFeature` when none of them speaks the wanted protocol, and :class:`StateConflict`
        while there is none at all.
        """
        provider, ref = self._fleet.locate(runtime_id, ctx)
        provider.require(Feature.CONNECTIONS, "connections")
        async with self._fleet.calling(provider, Operation.CONNECT, ctx) as call:
            _refuse_unless_possible(await provider.adapter.get(ref, call), Verb.CONNECT)
            adapter: Any = provider.adapter
            found = list(await adapter.connections(ref, call))
        if not found:
            raise StateConflict("The runtime runs, but has no way in yet.", provider=provider.name)
        wanted = [way for way in found if options.protocol in {None, way.protocol}]
        if not wanted:
            offered = ", ".join(sorted({way.protocol for way in found}))
            raise UnsupportedFeature.at(
                "#/protocol", f"This runtime offers only: {offered}.", code="unsupported", provider=provider.name
            )
        return Connections(items=wanted)

    async def _act(self, runtime_id: str, verb: Verb, operation: Operation, ctx: RequestContext, act: Act) -> Runtime:
        provider, ref = self._fleet.locate(runtime_id, ctx)
        provider.require(TRANSITIONS[verb].feature, verb.value)
        async with self._fleet.calling(provider, operation, ctx) as call:
            before = await provider.adapter.get(ref, call)
            if before.state in TRANSITIONS[verb].satisfied_by:
                return _answer(before, changed=False)
            _refuse_unless_possible(before, verb)
            try:
                after = await act(provider.adapter, ref, call)
            except StateConflict as conflict:
                if conflict.failure is None:
                    raise
                return await self._settled_by_somebody_else(provider, ref, verb, call, conflict)
        return _answer(after, changed=after.state is not before.state)

    async def _settled_by_somebody_else(
        self, provider: Provider, ref: RuntimeRef, verb: Verb, call: Call, conflict: StateConflict
    ) -> Runtime:
        """The provider refused although the state allowed it: somebody else was faster, or it knows better."""
        now = await provider.adapter.get(ref, call)
        if now.state in TRANSITIONS[verb].satisfied_by:
            return _answer(now, changed=False)
        raise conflict


def _answer(runtime: Runtime, *, changed: bool) -> Runtime:
    return msgspec.structs.replace(runtime, changed=changed)


def _refuse_unless_possible(runtime: Runtime, verb: Verb) -> None:
    if runtime.state not in TRANSITIONS[verb].works_from:
        raise StateConflict(
            f"The runtime is {runtime.state.value}; {verb.value} works from: {works_from(verb)}.",
            provider=runtime.provider,
            extra={"state": runtime.state.value},
        )
    durable = runtime.durable
    instance = durable.instance if durable else None
    if verb is Verb.PAUSE and runtime.state is State.RUNNING and instance and instance.supports_pause is False:
        raise StateConflict("This instance cannot pause.", provider=runtime.provider)
