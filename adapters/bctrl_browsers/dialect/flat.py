"""The dialect of the flat era on top of the current API: ``/bctrl/v1/runtimes``, for ``bctrl`` 0.1.x and
``bctrl.legacy``.

A runtime is a browser, with the browser's id. Paths of the era name no space, so an id is looked up in every space that
the gateway serves by name. The current API launches every browser that it creates: a later ``start`` returns that run.
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
    refuse_members,
    require_allowed_update,
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
from adapters.bctrl_browsers.native import NativeAnswer, marked, marks_in
from adapters.bctrl_browsers.wire import Status
from gateway.domain.errors import GatewayError, NotFound, StateConflict, ValidationFailed
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import Operation, State
from gateway.ports.context import RequestContext
from gateway.ports.dialect import DialectAnswer, DialectGateway, DialectRequest, DialectTarget

ERA: Final = "flat"
MAX_READS: Final = 3
"""The maximum number of reads while a run starts; each waits at most as long as the provider may wait."""

_LIST_QUERY: Final = ("q", "limit", "cursor")
_PROVIDER_STATUS: Final = {frozenset({"active"}): Status.RUNNING, frozenset({"stopped"}): Status.IDLE}
_WITH_COMPUTE: Final = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING, State.UNKNOWN})
_STARTED: Final = frozenset({State.STARTING, State.RUNNING})


@dataclass(frozen=True, slots=True)
class Found:
    """A browser: its target, the provider's JSON, the gateway's model of it, and its JSON with marks."""

    target: DialectTarget
    browser: Mapping[str, Any]
    runtime: Runtime
    raw: bytes = b"{}"

    @property
    def path(self) -> str:
        return below(self.runtime.provider_id)


class FlatEra:
    def __init__(self, gateway: DialectGateway) -> None:
        self._calls = Calls(gateway, ERA)

    async def create(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Create a runtime; with ``start: true`` the response has its ``connection``."""
        check_headers(request, versioned=False)
        query, body = read_query(request), read_object(request)
        current = current_body(body, FlatCreate)
        target = self._calls.target(space_named(request, query, body), ctx)
        self._require_space_served_by_name(target, body, ctx)
        starts = body.get("start", False)
        wait = adapter_of(target).settings.longest_wait(Operation.CREATE, MAX_WAIT) if starts else 0
        name = made_up_name("runtime", self._calls.key_for(target, request, ctx))
        create = native_create(current, wait=wait, made_up_name=name)
        raw, target = await self._calls.create(target, create, request, ctx)
        made = _found(target, adapter_of(target).read(raw, target.scope))
        ctx.runtime_id = made.runtime.id
        if not starts:
            return _response(detail(made.browser, made.runtime), 201)
        running = await self._running_after_create(made, ctx)
        return _response({**detail(running.browser, running.runtime), "connection": _connection(running)}, 201)

    async def list_all(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Return a page of runtimes. Only the last page may be empty."""
        check_headers(request, versioned=False)
        query = read_query(request, "spaceId", "status", "status[]", *_LIST_QUERY)
        wanted = frozenset((*query.get("status", ()), *query.get("status[]", ())))
        if unknown := wanted - set(STATUSES.values()):
            raise bad_parameter("status", f"There is no status {min(unknown)}.")
        target = self._calls.target(space_named(request, query), ctx)
        forwarded = [(name, value) for name, value in request.query if name in _LIST_QUERY]
        if wanted in _PROVIDER_STATUS:
            forwarded.append(("status", _PROVIDER_STATUS[wanted]))

        def rows(page: NativeAnswer) -> list[dict[str, Any]]:
            found = zip(document(page.body, target)["data"], page.runtimes, strict=True)
            return [summary(row, runtime) for row, runtime in found if not wanted or STATUSES[runtime.state] in wanted]

        page = await self._calls.page(target, ctx, forwarded, lambda page: not rows(page))
        return _response({"data": rows(page), "nextCursor": page.next_cursor})

    async def get(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Read a runtime; with ``include=connection`` and while it runs, with its ``connection``."""
        found, query = await self._locate(request, ctx, "include")
        shown = detail(found.browser, found.runtime)
        if query.get("include", ["connection"]) != ["connection"]:
            raise bad_parameter("include", "Only connection can be included.")
        urls = connection(found.browser, found.runtime) if "include" in query else None
        return _response(shown if urls is None else {**shown, "connection": urls})

    async def update(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Change the name, the metadata, or the configuration of the next run."""
        current = current_body(read_object(request), FlatUpdate)
        require_allowed_update(current, ctx)
        found, _ = await self._locate(request, ctx)
        if "name" in current:
            current["name"] = self._calls.view(found.target, ctx).name_at_provider(current["name"])
        if "metadata" in current:
            current = marked(current, marks_in(found.raw))
        updated = await self._act(
            Operation.REPLACE_CONFIG, found, request, ctx, method="PATCH", body=current, secrets=secrets_of(current)
        )
        return _response(detail(updated.browser, updated.runtime))

    async def delete(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Delete a runtime that is stopped, or any with ``force=true``."""
        found, query = await self._locate(request, ctx, "force")
        force = query.get("force", ["false"])
        if force not in (["true"], ["false"]):
            raise bad_parameter("force", "true or false.")
        if force == ["false"] and found.runtime.state in _WITH_COMPUTE:
            why = "The runtime is active: stop it first, or delete it with force=true."
            raise StateConflict(why, extra={NATIVE_CODE: "runtime.not_stopped"})
        key = self._calls.key_for(found.target, request, ctx)
        await self._calls.send(Operation.DELETE, found.target, ctx, method="DELETE", path=found.path, key=key)
        return _response({"id": found.runtime.provider_id, "deleted": True})

    async def start(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Start a runtime, or return the run that it has. Responds when there is a connection."""
        body = read_object(request)
        recording = validate(FlatStart, body).recording
        found, _ = await self._locate(request, ctx)
        if "recording" in body and recording is not found.browser.get("recording"):
            why = "The current API has no recording for a single start: update the runtime before the start."
            raise ValidationFailed.at("#/recording", why, code="unsupported")
        started = found.runtime.state not in _STARTED
        if started:
            await self._calls.gateway.begin_instance(found.target.adapter, found.runtime, ctx)
            found = await self._act(
                Operation.START, found, request, ctx, verb="/start", method="POST", body={}, wait=MAX_WAIT
            )
        found = await self._running(found, ctx)
        result = {"runtimeId": found.runtime.provider_id, "started": started, "status": STATUSES[found.runtime.state]}
        return _response({**result, **_connection(found)})

    async def stop(self, request: DialectRequest, ctx: RequestContext) -> DialectAnswer:
        """Stop a runtime; its state is kept."""
        refuse_members(request)
        found, _ = await self._locate(request, ctx)
        run = found.browser.get("currentRun") or {}
        stopped = found.runtime.state is not State.IDLE
        if stopped:
            found = await self._act(
                Operation.STOP, found, request, ctx, verb="/stop", method="POST", body={}, wait=MAX_WAIT
            )
        result = {"runtimeId": found.runtime.provider_id, "runId": run.get("id"), "stopped": stopped}
        return _response({**result, "status": STATUSES[found.runtime.state]})

    def _require_space_served_by_name(
        self, target: DialectTarget, body: Mapping[str, Any], ctx: RequestContext
    ) -> None:
        """Raise :class:`ValidationFailed` for a space that no later call can name: paths of the era have no space."""
        known = {(t.adapter.name, t.scope) for t in self._calls.all_targets(ctx)}
        if "spaceId" in body and (target.adapter.name, target.scope) not in known:
            why = "The gateway does not serve this space by name: no later call of this API could find the runtime."
            raise ValidationFailed.at("#/spaceId", why, code="unsupported")

    async def _locate(
        self, request: DialectRequest, ctx: RequestContext, *parameters: str
    ) -> tuple[Found, Mapping[str, Sequence[str]]]:
        """Find the runtime of the path. All spaces that may have it are read concurrently, so that one that hangs does
        not delay the others. The error of a space that cannot be read is raised only if no other space has the id."""
        check_headers(request, versioned=False)
        query = read_query(request, "spaceId", *parameters)
        space, wanted = space_named(request, query), request.parameters["id"]
        targets = [self._calls.target(space, ctx)] if space else list(self._calls.all_targets(ctx))
        reads = [asyncio.ensure_future(self._read(target, wanted, ctx)) for target in targets]
        unreadable: GatewayError | None = None
        try:
            for read in asyncio.as_completed(reads):
                try:
                    found = await read
                except NotFound:
                    continue
                except GatewayError as error:
                    unreadable = unreadable or error
                else:
                    adapter = adapter_of(found.target)
                    ctx.provider, ctx.scope, ctx.runtime_id = adapter.name, found.target.scope, found.runtime.id
                    return found, query
        finally:
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
        ctx.runtime_id = None
        raise unreadable or NotFound("There is no runtime of this id.", extra={NATIVE_CODE: "runtime.not_found"})

    async def _read(self, target: DialectTarget, wanted: str, ctx: RequestContext) -> Found:
        view = self._calls.view(target, ctx)
        view.require_current()
        target, wanted = self._calls.moved(target, wanted, ctx, by_name=False)
        native = await self._calls.send(Operation.GET, target, ctx, path=below(wanted))
        if native.runtimes[0].provider_id != wanted:
            raise NotFound("There is no runtime of this id; another one has it as its name.")
        if not view.sees(native.runtimes[0]):
            raise NotFound("There is no runtime of this id that the caller may see.")
        return _found(target, native)

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
        native = await self._calls.send(
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
        return _found(found.target, native)

    async def _running(self, found: Found, ctx: RequestContext) -> Found:
        """Wait until the runtime has a connection. Raises :class:`StateConflict` if it does not get one."""
        for _ in range(MAX_READS):
            if connection(found.browser, found.runtime) is not None or found.runtime.state not in _STARTED | {
                State.IDLE
            }:
                break
            native = await self._calls.send(Operation.GET, found.target, ctx, path=found.path, wait=MAX_WAIT)
            found = _found(found.target, native)
        if connection(found.browser, found.runtime) is not None:
            return found
        starting = found.runtime.state in _STARTED
        raise StateConflict(
            f"The runtime {found.runtime.provider_id} {'is still starting' if starting else 'did not start'}.",
            provider=found.target.adapter.name,
            extra={NATIVE_CODE: "runtime.start_in_progress" if starting else "runtime.not_active"},
        )

    async def _running_after_create(self, made: Found, ctx: RequestContext) -> Found:
        """The same after a create. Every failure becomes a 409 with the runtime's id: a client does not repeat a 409,
        so it does not create a second runtime."""
        try:
            return await self._running(made, ctx)
        except GatewayError as error:
            raise StateConflict(
                f"The runtime {made.runtime.provider_id} was created, but has no connection yet: {error.detail} "
                "Read it with include=connection, or stop it.",
                provider=made.target.adapter.name,
                extra={NATIVE_CODE: error.extra.get(NATIVE_CODE, "runtime.start_in_progress")},
            ) from error


def _found(target: DialectTarget, native: NativeAnswer) -> Found:
    return Found(target, document(native.body, target), native.runtimes[0], native.raw)


def _connection(found: Found) -> dict[str, Any]:
    return connection(found.browser, found.runtime) or {}


def _response(body: Mapping[str, Any], status: int = 200) -> DialectAnswer:
    return DialectAnswer(status, msgspec.json.encode(body))
