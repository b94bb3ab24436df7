"""The base of the emulators: real HTTP servers that behave like a provider, with faults on request.

A subclass defines the authentication of callers, the format of errors, and what each route does. The handler of a
route is a plain function from ``Call`` to ``Answer``: it commits and answers in one step, or raises ``Refusal`` without
a change. This module does the rest: the envelope of every error, the record of requests, the counts, and the faults
around the commit. The faults occur also if the client has disconnected.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final, TypeVar

from aiohttp import web

from gateway.testing import controls
from gateway.testing.delivery import disconnect, mangle, respond
from gateway.testing.exchange import Answer, Call, Made, Refusal, Route
from gateway.testing.faults import MIXED_UP, ONLY_AFTER_COMMIT, Delay, Faults, Lag, Late, Rule, Stage, Status
from gateway.testing.listener import Listener
from gateway.testing.mixed_up import AnswerLog, Members
from gateway.testing.recording import Received, RequestLog, body_of
from gateway.testing.state_file import Keeping
from gateway.testing.waiting import Gate, Unseen, Watch

T = TypeVar("T")

_LOG: Final = logging.getLogger(__name__)
_ENTRY: Final = web.RequestKey("entry", Received)
_CLIENT_CHECK: Final = 0.1  # seconds; aiohttp does not notify a handler when its client disconnects


class Emulator(Keeping, ABC):
    """Base of all emulators. ``now`` returns seconds since the epoch; ``sleep`` implements the delays. The latest
    ``kept_requests`` requests are kept. ``members`` names the members of a runtime in this API's JSON."""

    members: ClassVar[Members] = {"id": "id", "name": "name"}

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        kept_requests: int = 1000,
    ) -> None:
        self.now = now
        self.requests = RequestLog(kept_requests)
        self.committed: Counter[str] = Counter()
        self.creates = 0
        self.faults = Faults(now)
        self.listener: Listener | None = None
        self.gate = Gate()
        self.unseen = Unseen()
        self.watch = Watch()
        self.waiting = 0
        self.operations: Mapping[web.AbstractRoute, str] = {}
        self._sleep = sleep
        self._answers = AnswerLog(self.members)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()

    @abstractmethod
    def authenticate(self, headers: Mapping[str, str]) -> str:
        """The name of the caller. Raises ``Refusal`` without valid credentials."""

    @abstractmethod
    def failure(self, status: int, detail: str, code: str | None = None) -> Answer:
        """An error in the provider's own envelope. Without ``code``, the usual code of the status."""

    def refuse(self, status: int, detail: str, code: str | None = None) -> Refusal:
        """The exception to raise for a :meth:`failure`."""
        return Refusal(self.failure(status, detail, code))

    @abstractmethod
    def routes(self) -> Iterable[Route]:
        """All routes of the API. The first matching route handles a request."""

    @abstractmethod
    def clear(self) -> None:
        """Delete all runtimes and everything else that calls created."""

    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """The counts of what exists: ``runtimes``, and ``live_runtimes`` (those that are billed)."""

    @abstractmethod
    def made(self) -> Iterable[Made]:
        """The runtimes that exist, including those that reads do not show yet; within a scope, oldest first."""

    def bad_json(self, detail: str) -> Answer:
        """The answer to a body that is not JSON."""
        return self.failure(400, f"The body is not JSON: {detail}")

    async def settle(self, call: Call, answer: Answer) -> Answer:  # noqa: ARG002
        """Called after the commit of a call, to wait for what it started. Returns the answer to send."""
        return answer

    def application(self, *, max_body: int = 1 << 20) -> web.Application:
        """The server. A body above ``max_body`` bytes is refused with 413."""
        app = web.Application(middlewares=[self._envelope], client_max_size=max_body)
        app[EMULATOR] = self
        self.operations = {
            app.router.add_route(route.method, route.path, self._handler(route)): route.operation
            for route in self.routes()
        }
        controls.add_to(app, self)
        app.on_shutdown.append(self._stop)
        return app

    def reset(self) -> None:
        """Delete everything: runtimes, rules, records and counts. Held calls continue."""
        self.faults.end_all()
        self.faults.fired.clear()
        self.requests.clear()
        self.committed.clear()
        self.creates = 0
        self._answers.clear()
        self.release()
        self.clear()
        self.keep()

    def release(self, operation: str | None = None) -> dict[str, int]:
        """Continue the held calls of one operation, or of all. Without an operation, also show what lags. Returns the
        numbers of continued calls and shown runtimes."""
        shown = self.unseen.release() if operation is None else 0
        return {"calls": self.gate.release(operation), "runtimes": shown}

    def stats(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests.per_operation),
            "committed": dict(self.committed),
            "creates_committed": self.creates,
            "faults_fired": dict(self.faults.fired),
            "waiting": self.waiting,
            **self.counts(),
        }

    async def until_waiting(self, count: int = 1) -> None:
        """Return once at least ``count`` calls are in a delay, a hold or a hang."""
        await self.watch.until(lambda: self.waiting >= count)

    async def until_committed(self, operation: str, count: int = 1) -> None:
        """Return once at least ``count`` calls of an operation have committed."""
        await self.watch.until(lambda: self.committed[operation] >= count)

    @web.middleware
    async def _envelope(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith(controls.PREFIX):
            return await handler(request)
        operation = self.operations.get(request.match_info.route)
        entry = request[_ENTRY] = self.requests.add(request, operation)
        response: web.StreamResponse
        try:
            entry.body = body_of(await request.read())
            response = await handler(request)
        except Refusal as refusal:
            response = respond(refusal.answer)
        except web.HTTPException as exc:
            response = respond(self.failure(exc.status, exc.reason))
            if "Allow" in exc.headers:
                response.headers["Allow"] = exc.headers["Allow"]
        if request.transport is not None and not request.transport.is_closing():
            entry.status = response.status
        self.watch.changed()
        return response

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            call = Call(
                operation=route.operation,
                path=dict(request.match_info),
                query=tuple(request.query.items()),
                headers=request.headers,
                raw=await request.read(),
                caller=self.authenticate(request.headers),
                unseen=self.unseen,
                bad_json=self.bad_json,
            )
            task = self._run_in_background(self._perform(route, call))
            await asyncio.wait([task])
            if task.cancelled():
                disconnect(request)
                return web.Response(status=500)
            answer, end = task.result()
            if end is None:
                return respond(answer)
            if end.fault in {"hang", "hang_after"}:
                await self._hang(request)
            return await mangle(request, answer, end)

        return handle

    async def _perform(self, route: Route, call: Call) -> tuple[Answer, Rule | None]:
        """Commit, with the faults around the commit. Runs in its own task, which outlives the request."""
        await self._wait(call.operation, Stage.WAIT_BEFORE)
        befores = self.faults.firing(call.operation, Stage.END_BEFORE, lambda rule: self._applies(rule, call))
        end = next(befores, None)
        if end is not None:
            if isinstance(end, Late):
                self._run_in_background(self._commit_late(route, call, end))
            return self._ended(call, Answer(503), end)
        answer = await self.settle(call, self._commit(route, call))
        if answer.status < 400:
            self._answers.add(call, answer)
        await self._wait(call.operation, Stage.WAIT_AFTER)
        afters = self.faults.firing(call.operation, Stage.END_AFTER, lambda rule: self._applies(rule, call, answer))
        end = next(afters, None)
        return (answer, None) if end is None else self._ended(call, answer, end)

    def _applies(self, rule: Rule, call: Call, answer: Answer | None = None) -> bool:
        """Whether a rule can fire on a call, whose commit had this answer."""
        if answer is not None and answer.status >= 400 and rule.fault in ONLY_AFTER_COMMIT:
            return False
        return rule.fault not in MIXED_UP or self._answers.mixed_up(rule, call, answer) is not None

    def _run_in_background(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _commit_late(self, route: Route, call: Call, rule: Late) -> None:
        with self._waits():
            if rule.seconds is None:
                await self.gate.wait(call.operation)
            else:
                await self._sleep(rule.seconds)
        self._commit(route, call)

    def _affect(self, route: Route, call: Call, created: str | None) -> None:
        for rule in self.faults.firing(
            call.operation, Stage.EFFECT, lambda rule: created is not None or not isinstance(rule, Lag)
        ):
            if not isinstance(rule, Lag):
                self.commit_once(route, replace(call, repeated=True))
            elif created is not None:
                self.unseen.hide("list" if rule.fault == "list_lag" else "get", created, rule.reads)

    def _commit(self, route: Route, call: Call) -> Answer:
        answer = self.commit_once(route, call)
        if answer.status < 400:
            self._affect(route, call, answer.created)
        self.keep()
        return answer

    def commit_once(self, route: Route, call: Call) -> Answer:
        """Handle a call. A subclass may start here what the new state demands."""
        try:
            answer = route.handle(call)
        except Refusal as refusal:
            return refusal.answer
        except Exception:  # noqa: BLE001 - a bug of the emulator is logged and becomes a 500
            _LOG.exception("the emulator failed in %s", route.operation)
            return self.failure(500, "The emulator itself failed; its log says why.")
        self.committed[route.operation] += 1
        self.creates += answer.created is not None
        self.watch.changed()
        return answer

    def _ended(self, call: Call, answer: Answer, end: Rule) -> tuple[Answer, Rule | None]:
        if end.fault in MIXED_UP:
            return self._answers.mixed_up(end, call, answer) or answer, None
        if not isinstance(end, Status):
            return answer, end
        wanted = {"Retry-After": end.retry_after, "Location": end.location}
        headers = {name: str(value) for name, value in wanted.items() if value is not None}
        native = self.failure(end.status, end.detail or f"The fault {end.fault} was asked for.", end.code)
        if "body" not in end.model_fields_set:
            return replace(native, headers={**native.headers, **headers}), None
        text = end.content_type or ("text/plain" if isinstance(end.body, str) else None)
        return Answer(end.status, end.body, headers, text), None

    async def _wait(self, operation: str, stage: Stage) -> None:
        for rule in self.faults.firing(operation, stage):
            with self._waits():
                if isinstance(rule, Delay):
                    await self._sleep(rule.seconds)
                else:
                    await self.gate.wait(operation)

    async def _hang(self, request: web.Request) -> None:
        with self._waits():
            while request.transport is not None and not self._stopping.is_set():
                try:
                    await asyncio.wait_for(self._stopping.wait(), _CLIENT_CHECK)
                except TimeoutError:
                    continue

    @contextmanager
    def _waits(self) -> Iterator[None]:
        self.waiting += 1
        self.watch.changed()
        try:
            yield
        finally:
            self.waiting -= 1

    async def _stop(self, _: web.Application) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


EMULATOR: Final = web.AppKey("emulator", Emulator)
"""The key of the emulator in its application, for tests in the same process."""
