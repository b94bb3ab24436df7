"""Calls that wait: creates and starts that continue without their request, and reads that end with a change."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web
from multidict import istr

from gateway.api.auth import Authenticator
from gateway.api.cache.control import respond
from gateway.api.cache.entries import EncodedResponse
from gateway.api.conditions import none_match
from gateway.api.idempotency import REPLAYED
from gateway.api.queries import parse_wait
from gateway.api.responses import json_response, raw_json_response, tagged, with_additions
from gateway.domain.errors import GatewayError, OutcomeUnknown, Source, StoreUnavailable
from gateway.domain.runtime import Runtime
from gateway.domain.values import Permission, State
from gateway.http.in_flight import InFlight
from gateway.http.mounting import mounted
from gateway.ports.context import RequestContext
from gateway.services import Services
from gateway.services.access.tokens import KeysPending
from gateway.services.waiting.following import Following
from gateway.services.waiting.places import Places, Waiter

PREFER: Final = istr("Prefer")

_APPLIED: Final = "Preference-Applied"
_ASYNC: Final = "respond-async"
_ASYNC_SECONDS: Final = 1.0
"""How long ``respond-async`` waits for the runtime."""


class Answer(NamedTuple):
    """The final response to a create or a start."""

    runtime: Runtime
    status: int = 200
    headers: Mapping[str, str] = {}

    def response(self, ctx: RequestContext) -> web.Response:
        return raw_json_response(tagged(self.runtime, ctx.principal)[0], status=self.status, headers=dict(self.headers))


class Patience(NamedTuple):
    """For how many seconds a caller waits for the final response; ``preferred``: it asked with ``Prefer`` to get one
    before."""

    seconds: float
    preferred: bool = False


def patience_of(request: web.Request) -> Patience | None:
    """How long the caller of a create or start waits; None: as long as it takes. Raises :class:`InvalidRequest`."""
    wait = parse_wait(request.rel_url.raw_query_string)
    if wait is not None:
        return Patience(wait)
    if PREFER in request.headers:
        preferences = ",".join(request.headers.getall(PREFER)).lower().split(",")
        if any(preference.partition(";")[0].strip() == _ASYNC for preference in preferences):
            return Patience(_ASYNC_SECONDS, preferred=True)
    return None


class _Progress:
    """A create or start in progress: ``runtime`` is what is known of it, ``recorded`` whether its intent is written."""

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        self.runtime: Runtime | None = None
        self.recorded = False

    def __call__(self, runtime: Runtime | None) -> None:
        self.runtime = runtime or self.runtime
        self.recorded = True
        self._waiter.wake()


@dataclass(eq=False, repr=False)
class WaitingCalls:
    """What the handlers of calls that wait have in common. ``report`` receives the bugs of works."""

    _services: Services
    _in_flight: InFlight
    places: Places
    _authenticator: Authenticator
    _report: Callable[[Exception], None]

    def __post_init__(self) -> None:
        self.now = self.places.clock.monotonic

    @contextmanager
    def place(self, request: web.Request, ctx: RequestContext, permission: Permission) -> Iterator[Waiter]:
        """A place for the request, which no longer counts as one in flight, for as long as the caller has the
        permission. Raises as :meth:`Places.take`."""

        def check() -> None:
            try:
                principal = self._authenticator.principal(request.headers)
            except KeysPending:
                return  # the fetched keys decide at a later check
            principal.require(permission)
            if permission is Permission.READ and principal != ctx.principal:  # (work that has begun keeps its caller)
                ctx.principal = principal
                waiter.wake()

        waiter = self.places.take(ctx.principal.name, check)
        try:
            with self._in_flight.set_aside(ctx):
                yield waiter
        finally:
            ctx.waited += waiter.waited
            self.places.leave(waiter)

    @contextmanager
    def following(self, runtime_id: str, waiter: Waiter, ctx: RequestContext) -> Iterator[Following]:
        """Follow a runtime. Raises as a read does before it asks the provider."""
        resolved = self._services.lifecycle.resolve(runtime_id, ctx)
        self._services.lifecycle.prefetch(resolved)
        with self._services.hub.watching(resolved, waiter) as watched:
            yield Following(watched, waiter, self.places, resolved, self._services.lifecycle, ctx)

    async def changed(self, request: web.Request, ctx: RequestContext, seconds: float) -> web.Response:
        """The response to a read of a runtime when it differs from what the caller has, or after ``seconds``."""
        sent = request.headers.get(hdrs.IF_NONE_MATCH)
        found: EncodedResponse | None = None

        def is_news(runtime: Runtime) -> bool:
            nonlocal found
            found = encoded(runtime, ctx)
            return none_match(sent, found.etag or "")

        with (
            self.place(request, ctx, Permission.READ) as waiter,
            self.following(request.match_info["id"], waiter, ctx) as following,
        ):
            news = await following.next(self.now() + seconds, is_news)
            failure = following.failure()
            if news is None and failure is not None and not self.places.draining:
                raise failure
        return respond(found, request) if found is not None else web.Response(status=304)

    async def answer(
        self,
        request: web.Request,
        ctx: RequestContext,
        patience: Patience | None,
        permission: Permission,
        work: Callable[[], Coroutine[Any, Any, Answer]],
    ) -> web.Response:
        """The final response of ``work`` if it is ready in time, else 202; the work continues in any case. Without
        ``patience``: always the final response, and the work is a part of the request."""
        if patience is None:
            return (await work()).response(ctx)
        with self.place(request, ctx, permission) as waiter:
            ctx.on_progress = progress = _Progress(waiter)
            until = self.now() + patience.seconds
            task = self._in_flight.begin(work())
            waiter.work = ctx.work = task
            try:
                await self._progressed(task, waiter, progress, patience, until)
            except asyncio.CancelledError:
                # The shutdown interrupts both. The response depends on how far the work got.
                task.cancel()
                await asyncio.wait({task})
                raise
            finally:
                task.add_done_callback(self._ended)
            if not task.done():
                accepted = await self._accepted(progress.runtime, patience, ctx)
                if not task.done():
                    return accepted
            answer = task.result()
            if REPLAYED in answer.headers:
                return answer.response(ctx)
            if patience.preferred:
                return await self._accepted(answer.runtime, patience, ctx)
            runtime = await self._started(answer.runtime, waiter, ctx, until)
            if runtime.state is State.STARTING:
                return await self._accepted(runtime, patience, ctx)
            return answer._replace(runtime=runtime).response(ctx)

    async def _progressed(
        self, task: asyncio.Task[Answer], waiter: Waiter, progress: _Progress, patience: Patience, until: float
    ) -> None:
        """Wait as long as the caller wants to, and further until there is something that a 202 can name: it promises
        that the create is not lost."""
        while not task.done():
            if waiter.revoked is not None:
                raise waiter.revoked
            left = until - self.now()
            over = left <= 0 or self.places.draining or (patience.preferred and progress.runtime is not None)
            if over and progress.recorded:
                return
            await waiter.pause(None if over else left, task)

    async def _started(self, runtime: Runtime, waiter: Waiter, ctx: RequestContext, until: float) -> Runtime:
        """The runtime when it no longer starts, or at the time ``until``."""
        if runtime.state is not State.STARTING or self.now() >= until:
            return runtime
        try:
            with self.following(ctx.principal.shown_id(runtime.id), waiter, ctx) as following:
                seen = await following.next(until, lambda found: found.state is not State.STARTING)
        except GatewayError:
            return runtime  # the caller finds out what is wrong where the 202 sends it
        return runtime if seen is None else with_additions(seen, runtime)

    async def _accepted(self, runtime: Runtime | None, patience: Patience, ctx: RequestContext) -> web.Response:
        headers: dict[str, str] = {hdrs.RETRY_AFTER: "1"}
        if patience.preferred:
            headers[_APPLIED] = _ASYNC
        if runtime is not None:
            ctx.provider, ctx.scope, ctx.runtime_id = runtime.provider, runtime.scope, runtime.id
            headers[hdrs.LOCATION] = mounted(f"/v1/runtimes/{ctx.principal.shown_id(runtime.id)}")
            return raw_json_response(tagged(runtime, ctx.principal)[0], status=202, headers=headers)
        intent_id = ctx.intent_id or ""
        try:
            intent = await self._services.intents.get(intent_id, ctx)
        except StoreUnavailable as error:
            detail = "The create goes on, but its intent cannot be read now."
            raise OutcomeUnknown(detail, source=Source.GATEWAY, extra={"intent": intent_id}) from error
        headers[hdrs.LOCATION] = mounted(f"/v1/intents/{intent_id}")
        return json_response(intent, ctx, status=202, headers=headers)

    def _ended(self, task: asyncio.Task[Answer]) -> None:
        """The work has ended, perhaps after its request, which would have reported a bug."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and not isinstance(error, GatewayError):
            self._report(error)


def encoded(runtime: Runtime, ctx: RequestContext) -> EncodedResponse:
    return EncodedResponse(*tagged(runtime, ctx.principal), (runtime.provider,))
