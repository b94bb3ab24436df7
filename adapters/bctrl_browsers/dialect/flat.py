"""The flat era spoken inbound on top of today's API: ``/bctrl/v1/runtimes``, for ``bctrl`` 0.1.x and ``bctrl.legacy``.

A runtime is a browser, its id the browser's. Paths of the era name no space, so an id is looked for in every space that
the gateway serves by name. Today's API launches what it creates: the ``start`` that follows answers with that run.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from adapters.bctrl_browsers.dialect.bodies import (
    MAX_WAIT,
    NATIVE_CODE,
    bad_parameter,
    check_headers,
    made_up_name,
    native_create,
    read_object,
    read_query,
    secrets_of,
    space_named,
)
from adapters.bctrl_browsers.dialect.flat_bodies import (
    STATUSES,
    FlatCreate,
    FlatStart,
    FlatUpdate,
    connection,
    current_body,
    detail,
    summary,
)
from adapters.bctrl_browsers.dialect.forwarding import Calls, adapter_of, below, document
from adapters.bctrl_browsers.marker import marked
from adapters.bctrl_browsers.native import NativeAnswer
from adapters.bctrl_browsers.wire import Code, Status
from gateway.domain.errors import GatewayError, NotFound, StateConflict, ValidationFailed
from gateway.domain.operations import Operation
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import State
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectRequest, DialectTarget

ERA: Final = "flat"
MAX_LOOKS: Final = 3
"""How often a run that starts is waited for; each time at most as long as the provider may wait."""

_LIST_QUERY: Final = ("q", "limit", "cursor")
_ASKED_STATUS: Final = {frozenset({"active"}): Status.RUNNING, frozenset({"stopped"}): Status.IDLE}
_WITH_COMPUTE: Final = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING, State.UNKNOWN})
_COMING: Final = frozenset({State.STARTING, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Found:
    """A browser, who serves it, what the provider shows of it, and what its create was marked with."""

    target: DialectTarget
    browser: Mapping[str, Any]
    runtime: Runtime
    marker: str | None = None

    @property
    def path(self) -> str:
        """Its path below ``/browsers``."""
        return below(self.runtime.provider_id)


class FlatEra:
    """The calls of the flat era."""

    def __init__(self, gateway: DialectGateway) -> None:
        self._calls = Calls(gateway, ERA)

    async def create(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Create a runtime; with ``start: true`` the answer has the way in."""
        check_headers(request, versioned=False)
        query, body = read_query(request), read_object(request)
        current = current_body(body, FlatCreate)
        target = self._calls.target(space_named(request, query, body))
        self._refuse_unless_found_again(target, body)
        starts = body.get("start", False)
        wait = adapter_of(target).settings.longest_wait(Operation.CREATE, MAX_WAIT) if starts else 0
        name = made_up_name("runtime", self._calls.key_for(target, request, ctx))
        create = native_create(current, wait=wait, made_up_name=name)
        raw = await self._calls.create(target, create, request, ctx)
        made = _found(target, adapter_of(target).read(raw, target.scope))
        ctx.runtime_id = made.runtime.id
        if not starts:
            return _answer(detail(made.browser, made.runtime), 201)
        running = await self._running_after_create(made, ctx)
        return _answer({**detail(running.browser, running.runtime), "connection": _ways(running)}, 201)

    async def list_all(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """A page of runtimes; empty only where it is the last."""
        check_headers(request, versioned=False)
        query = read_query(request, "spaceId", "status", "status[]", *_LIST_QUERY)
        wanted = frozenset((*query.get("status", ()), *query.get("status[]", ())))
        if unknown := wanted - set(STATUSES.values()):
            raise bad_parameter("status", f"There is no status {min(unknown)}.")
        target = self._calls.target(space_named(request, query))
        passed = [(name, value) for name, value in request.query if name in _LIST_QUERY]
        if wanted in _ASKED_STATUS:
            passed.append(("status", _ASKED_STATUS[wanted]))

        def rows(page: NativeAnswer) -> list[dict[str, Any]]:
            found = zip(document(page.body, target)["data"], page.runtimes, strict=True)
            return [summary(row, runtime) for row, runtime in found if not wanted or STATUSES[runtime.state] in wanted]

        page = await self._calls.page(target, ctx, passed, lambda page: not rows(page))
        return _answer({"data": rows(page), "nextCursor": page.next_cursor})

    async def get(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Read a runtime; with ``include=connection`` and while it runs, with the way in."""
        found, query = await self._locate(request, ctx, "include")
        shown = detail(found.browser, found.runtime)
        if query.get("include", ["connection"]) != ["connection"]:
            raise bad_parameter("include", "Only connection can be included.")
        ways = connection(found.browser, found.runtime) if "include" in query else None
        return _answer(shown if ways is None else {**shown, "connection": ways})

    async def update(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Change the name, the metadata, or the configuration of the next run."""
        current = current_body(read_object(request), FlatUpdate)
        found, _ = await self._locate(request, ctx)
        if "metadata" in current:
            current = marked(current, found.marker)
        answer = await self._act(
            Operation.REPLACE_CONFIG, found, request, ctx, method="PATCH", body=current, secrets=secrets_of(current)
        )
        return _answer(detail(answer.browser, answer.runtime))

    async def delete(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Delete a runtime that is stopped, or any with ``force=true``."""
        found, query = await self._locate(request, ctx, "force")
        force = query.get("force", ["false"])
        if force not in (["true"], ["false"]):
            raise bad_parameter("force", "true or false.")
        if force == ["false"] and found.runtime.state in _WITH_COMPUTE:
            why = "The runtime is active: stop it first, or delete it with force=true."
            raise StateConflict(why, extra={NATIVE_CODE: Code.RUNTIME_NOT_STOPPED})
        key = self._calls.key_for(found.target, request, ctx)
        await self._calls.send(Operation.DELETE, found.target, ctx, method="DELETE", path=found.path, key=key)
        return _answer({"id": found.runtime.provider_id, "deleted": True})

    async def start(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Start a runtime, or answer with the run that it has; returns when there is a way in."""
        body = read_object(request)
        recording = validate(FlatStart, body).recording
        found, _ = await self._locate(request, ctx)
        if "recording" in body and recording is not found.browser.get("recording"):
            why = "Today's API does not choose this for a start: update the runtime with it before."
            raise ValidationFailed.at("#/recording", why, code="unsupported")
        started = found.runtime.state not in _COMING
        if started:
            found = await self._act(
                Operation.START, found, request, ctx, verb="/start", method="POST", body={}, wait=MAX_WAIT
            )
        found = await self._running(found, ctx)
        told = {"runtimeId": found.runtime.provider_id, "started": started, "status": STATUSES[found.runtime.state]}
        return _answer({**told, **_ways(found)})

    async def stop(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Stop a runtime; its state is kept."""
        for name in read_object(request):
            raise ValidationFailed.at(f"#/{name}", "There is no field of this name here.", code="unknown_field")
        found, _ = await self._locate(request, ctx)
        run = found.browser.get("currentRun") or {}
        stopped = found.runtime.state is not State.IDLE
        if stopped:
            found = await self._act(
                Operation.STOP, found, request, ctx, verb="/stop", method="POST", body={}, wait=MAX_WAIT
            )
        told = {"runtimeId": found.runtime.provider_id, "runId": run.get("id"), "stopped": stopped}
        return _answer({**told, "status": STATUSES[found.runtime.state]})

    def _refuse_unless_found_again(self, target: DialectTarget, body: Mapping[str, Any]) -> None:
        """No later path of the era names the space."""
        known = {(t.adapter.name, t.scope) for t in self._calls.all_targets()}
        if "spaceId" in body and (target.adapter.name, target.scope) not in known:
            why = "The gateway does not serve this space by name: no later call of this API could find the runtime."
            raise ValidationFailed.at("#/spaceId", why, code="unsupported")

    async def _locate(
        self, request: DialectRequest, ctx: RequestContext, *parameters: str
    ) -> tuple[Found, Mapping[str, Sequence[str]]]:
        """The runtime of the path. All spaces that can have it are asked side by side, so that one that hangs delays
        nobody; one that cannot be asked is told only where no other one has it."""
        check_headers(request, versioned=False)
        query = read_query(request, "spaceId", *parameters)
        space, wanted = space_named(request, query), request.parameters["id"]
        targets = [self._calls.target(space)] if space else list(self._calls.all_targets())
        looks = [asyncio.ensure_future(self._look(target, wanted, ctx)) for target in targets]
        unasked: GatewayError | None = None
        try:
            for look in asyncio.as_completed(looks):
                try:
                    found = await look
                except NotFound:
                    continue
                except GatewayError as error:
                    unasked = unasked or error
                else:
                    adapter = adapter_of(found.target)
                    ctx.provider, ctx.scope, ctx.runtime_id = adapter.name, found.target.scope, found.runtime.id
                    return found, query
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)
        ctx.runtime_id = None
        raise unasked or NotFound("There is no runtime of this id.", extra={NATIVE_CODE: Code.RUNTIME_NOT_FOUND})

    async def _look(self, target: DialectTarget, wanted: str, ctx: RequestContext) -> Found:
        answer = await self._calls.send(Operation.GET, target, ctx, path=below(wanted))
        if answer.runtimes[0].provider_id != wanted:
            raise NotFound("There is no runtime of this id; another one has it as its name.")
        return _found(target, answer)

    async def _act(
        self,
        operation: Operation,
        found: Found,
        request: DialectRequest,
        ctx: RequestContext,
        *,
        method: str,
        body: Mapping[str, Any],
        verb: str = "",
        wait: int = 0,
        secrets: Sequence[str] = (),
    ) -> Found:
        answer = await self._calls.send(
            operation,
            found.target,
            ctx,
            method=method,
            path=found.path + verb,
            wait=wait,
            body=msgspec.json.encode(body),
            key=self._calls.key_for(found.target, request, ctx),
            secrets=secrets,
        )
        return _found(found.target, answer)

    async def _running(self, found: Found, ctx: RequestContext) -> Found:
        """The runtime when there is a way in. Raises :class:`StateConflict` when it does not get there."""
        for _ in range(MAX_LOOKS):
            if connection(found.browser, found.runtime) is not None or found.runtime.state not in _COMING | {
                State.IDLE
            }:
                break
            answer = await self._calls.send(Operation.GET, found.target, ctx, path=found.path, wait=MAX_WAIT)
            found = _found(found.target, answer)
        if connection(found.browser, found.runtime) is not None:
            return found
        coming = found.runtime.state in _COMING
        raise StateConflict(
            f"The runtime {found.runtime.provider_id} {'is still starting' if coming else 'did not come up'}.",
            provider=found.target.adapter.name,
            extra={NATIVE_CODE: Code.RUNTIME_START_IN_PROGRESS if coming else Code.RUNTIME_NOT_ACTIVE},
        )

    async def _running_after_create(self, made: Found, ctx: RequestContext) -> Found:
        """The same for what was just created: whatever fails, the client is told its id, and in a way that does not
        make it create again."""
        try:
            return await self._running(made, ctx)
        except GatewayError as error:
            raise StateConflict(
                f"The runtime {made.runtime.provider_id} was created, but there is no way in yet: {error.detail} "
                "Read it with include=connection, or stop it.",
                provider=made.target.adapter.name,
                extra={NATIVE_CODE: error.extra.get(NATIVE_CODE, Code.RUNTIME_START_IN_PROGRESS)},
            ) from error


def _found(target: DialectTarget, answer: NativeAnswer) -> Found:
    return Found(target, document(answer.body, target), answer.runtimes[0], answer.marker)


def _ways(found: Found) -> dict[str, Any]:
    return connection(found.browser, found.runtime) or {}


def _answer(body: Mapping[str, Any], status: int = 200) -> DialectAnswer:
    return DialectAnswer(status, msgspec.json.encode(body))
