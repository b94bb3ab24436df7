"""The emulated platform's verbs, which change a runtime between idle, running and paused."""

from collections.abc import Iterable

from adapters.durable.emulator import checks
from adapters.durable.emulator.platform import Platform
from adapters.durable.emulator.world import Instance, Runtime
from gateway.testing.exchange import Answer, Call, Route, timestamp


class LifecycleRoutes:
    """Routes of start, pause, resume, reset and keepalive; only the runtime's owner may call them."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self, base: str) -> Iterable[Route]:
        """The routes below ``base``, the path of a runtime."""
        yield Route("start", "POST", base + "/start", self._start)
        yield Route("pause", "POST", base + "/pause", self._pause)
        yield Route("resume", "POST", base + "/resume", self._resume)
        yield Route("reset", "POST", base + "/reset", self._reset)
        yield Route("keepalive", "POST", base + "/keepalive", self._keepalive)

    def _start(self, call: Call) -> Answer:
        body = self._platform.checked(call, checks.Start, empty={})
        runtime, now = self._platform.find(call, change=True), self._platform.now()
        instance = runtime.instance
        if instance is None:
            instance = runtime.provision(now, body.requested_runtime_limit_seconds)
            runtime.updated_at = now
            if self._platform.far_ends is not None:
                self._platform.far_ends.start(instance)
        stale = instance.materialised != runtime.materialisation
        return self._platform.answer(runtime, call, sandbox_token=instance.token, materialization_stale=stale)

    def _pause(self, call: Call) -> Answer:
        runtime, instance = self._with_instance(call, "running")
        instance.pause(self._platform.now(), "user")
        return self._changed(runtime, call)

    def _resume(self, call: Call) -> Answer:
        runtime, instance = self._with_instance(call, "paused")
        instance.resume(self._platform.now())
        return self._changed(runtime, call)

    def _reset(self, call: Call) -> Answer:
        runtime, instance = self._with_instance(call, "running", "paused")
        runtime.instance = None
        if self._platform.far_ends is not None:
            self._platform.far_ends.end(instance)
        return self._changed(runtime, call)

    def _keepalive(self, call: Call) -> Answer:
        body = self._platform.checked(call, checks.Keepalive)
        _, instance = self._with_instance(call, "running")
        instance.expires_at += body.extend_seconds
        return Answer(body={"expires_at": timestamp(instance.expires_at)})

    def _with_instance(self, call: Call, *states: str) -> tuple[Runtime, Instance]:
        runtime = self._platform.find(call, change=True)
        if runtime.instance is None or runtime.status not in states:
            raise self._platform.refuse(
                409, f"The runtime is {runtime.status}; {call.operation} needs {' or '.join(states)}"
            )
        return runtime, runtime.instance

    def _changed(self, runtime: Runtime, call: Call) -> Answer:
        runtime.updated_at = self._platform.now()
        return self._platform.answer(runtime, call)
