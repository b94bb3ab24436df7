"""What durable runtimes do by themselves, and what a move of one cannot carry."""

from collections.abc import Iterable
from typing import Any, Final

from adapters.durable import wire
from gateway.domain.errors import NotFound
from gateway.domain.moves import Lost
from gateway.domain.runtime import Runtime
from gateway.domain.values import Operation, State
from gateway.ports.semantics import ProviderSemantics, ReferenceKind, Topic
from gateway.ports.transport import Call

_LIMIT: Final = "requested_runtime_limit_seconds"


class DurableSemantics(ProviderSemantics):
    """A runtime is a config without an end; its instance is the compute, and has the disk."""

    rules = {
        Topic.CREATE: "A create starts nothing.",
        Topic.LIFETIME: "An instance is paused at its time limit, counted from its start or resume.",
        Topic.PAUSE: "A pause keeps the instance and its address.",
        Topic.STOP: "A reset discards the instance, and keeps the runtime with its config and capabilities.",
        Topic.RESTART: "A start after a reset makes another instance with another address.",
        Topic.PERSISTENCE: "A runtime is kept for good: the API cannot delete it.",
    }
    account = (
        "stored secrets, and who may read them",
        "projects with their members and sessions",
        "webhooks, schedules and alerts",
        "spending caps and the balance of credits",
        "usage history",
    )
    unreported = ("#/runtime_limit_seconds",)

    def losses(self, runtime: Runtime) -> Iterable[Lost]:
        instance = runtime.durable.instance if runtime.durable else None
        if instance is not None:
            yield Lost(what="disk", why="The files and the memory of the instance cannot be read through the API.")
        if runtime.state is State.PAUSED:
            yield Lost(what="pause", why="The runtime is idle at the target, and its next start makes a new instance.")
        yield Lost(what="sessions", why="Sessions and their history stay in the workspace of the source.")
        if runtime.cost is not None and runtime.cost.estimated_total_credits:
            used = runtime.cost.estimated_total_credits
            yield Lost(what="credits", why=f"The {used} credits of the instance are billed to the source's account.")

    def members(self, runtime: Runtime) -> dict[str, Any]:
        instance = runtime.durable.instance if runtime.durable else None
        limit = None if instance is None else instance.extra.get(_LIMIT)
        return {"runtime_limit_seconds": limit} if isinstance(limit, int) else {}

    async def has_reference(self, adapter: Any, kind: ReferenceKind, value: str, scope: str, call: Call) -> bool | None:
        calls = adapter.calls
        if kind == "projects":
            try:
                await calls.send(Operation.GET, "GET", calls.workspace_path(scope, "projects", value), call)
            except NotFound:
                return False
            return True
        if kind == "secret_ids":
            response = await calls.send(Operation.GET, "GET", calls.path("user", "secrets"), call)
            stored = calls.decoded(Operation.GET, response, wire.stored_secrets.decode)
            return any(secret.id.lower() == value.lower() for secret in stored.secrets)
        return None
