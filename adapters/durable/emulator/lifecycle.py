"""The emulated platform's verbs, and its capability bindings. Every capability exists in every version."""

import uuid
from collections.abc import Iterable
from typing import Any

from adapters.durable.emulator import checks
from adapters.durable.emulator.platform import Platform
from adapters.durable.emulator.world import LATEST, Binding, Instance, Runtime, digest, stable_uuid
from gateway.testing.exchange import Answer, Call, Route, timestamp


class LifecycleRoutes:
    """Routes of start, pause, resume, reset and keepalive; only the runtime's owner may call them."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self, base: str) -> Iterable[Route]:
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


class CapabilityRoutes:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self, base: str) -> Iterable[Route]:
        yield Route("list_capabilities", "GET", base, self._list)
        yield Route("install_capability", "POST", base, self._install)
        yield Route("resolve_capabilities", "GET", base + "/resolved", self._resolved)
        yield Route("update_capability", "PATCH", base + "/{binding}", self._update)
        yield Route("remove_capability", "DELETE", base + "/{binding}", self._remove)

    def _list(self, call: Call) -> Answer:
        runtime = self._platform.find(call)
        return Answer(body={"items": [_as_json(binding) for binding in runtime.bindings.values()]})

    def _install(self, call: Call) -> Answer:
        body = self._platform.checked(call, checks.Install)
        runtime = self._platform.find(call, change=True)
        same = any(binding.name == body.name for binding in runtime.bindings.values())
        if same and not call.repeated:
            raise self._platform.refuse(409, "The capability is installed already", "already_exists_error")
        binding = Binding(str(uuid.uuid4()), body.name, body.version or LATEST)
        runtime.bindings[binding.id] = binding
        return Answer(201, _as_json(binding))

    def _update(self, call: Call) -> Answer:
        body = self._platform.checked(call, checks.Patch).model_dump(exclude_unset=True)
        _, binding = self._binding(call)
        for name, value in body.get("flags", {}).items():
            if value is None:
                binding.flags.pop(name, None)
            else:
                binding.flags[name] = value
        binding.enabled = body.get("enabled", binding.enabled)
        binding.version = body.get("version", binding.version)
        return Answer(body=_as_json(binding))

    def _remove(self, call: Call) -> Answer:
        runtime, binding = self._binding(call)
        del runtime.bindings[binding.id]
        return Answer(204)

    def _binding(self, call: Call) -> tuple[Runtime, Binding]:
        runtime = self._platform.find(call, change=True)
        binding = runtime.bindings.get(call.path["binding"].lower())
        if binding is None:
            raise self._platform.refuse(404, "Capability binding not found")
        return runtime, binding

    def _resolved(self, call: Call) -> Answer:
        runtime = self._platform.find(call)
        capabilities = [
            {
                "name": binding.name,
                "version": binding.version,
                "artifact_digest": binding.artifact,
                "artifact_s3_prefix": f"capabilities/{call.path['org']}/{binding.name}/{binding.version}/",
                "runtime_digest": digest([binding.artifact, binding.flags]),
                "flags": binding.flags,
            }
            for binding in runtime.bindings.values()
            if binding.enabled
        ]
        combined = digest([capability["runtime_digest"] for capability in capabilities])
        return Answer(body={"runtime_digest": combined, "capabilities": capabilities})


def _as_json(binding: Binding) -> dict[str, Any]:
    return {
        "id": binding.id,
        "artifact_id": stable_uuid("artifact", binding.name, binding.version),
        "capability_name": binding.name,
        "version": binding.version,
        "enabled": binding.enabled,
        "flags": dict(binding.flags),
        "component_counts": {"agents": 1, "tools": 3},
        "description": f"The capability {binding.name}",
        "latest_version": LATEST,
        "source": "registry",
    }
