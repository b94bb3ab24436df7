"""An emulator of the durable platform: everything under ``/api/v1`` that its client uses, over HTTP. The README of the
adapter has the facts that it follows, and its choices where nothing is documented."""

import asyncio
import base64
import binascii
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from adapters.durable.emulator import checks
from adapters.durable.emulator.far_ends import FarEnds
from adapters.durable.emulator.lifecycle import CapabilityRoutes, LifecycleRoutes
from adapters.durable.emulator.lookups import LookupRoutes
from adapters.durable.emulator.platform import Platform
from adapters.durable.emulator.world import Project, Runtime, State, Workspace, digest
from gateway.testing.exchange import Answer, Call, Made, Route, personality_of
from gateway.testing.state_file import StateFile

WORKSPACE: Final = "/api/v1/org/{org}/ws/{workspace}"
RUNTIME: Final = WORKSPACE + "/runtimes/{runtime}"

PERSONALITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "key_uniqueness": ("workspace", "owner"),
    "get_by_key": ("yes", "no"),
}


def create_emulator(
    *,
    token: str,
    personality: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    runtime_server: str | None = None,
    state: Path | None = None,
) -> web.Application:
    """The emulator as an aiohttp application.

    ``token`` is the only credential, as ``X-API-Key`` or ``Bearer``; ``{token}.{owner}`` authenticates another user of
    the same account. ``personality``: ``key_uniqueness`` is ``workspace`` (default) or ``owner``, ``get_by_key`` is
    ``yes`` (default) or ``no``. ``runtime_server``: ``small`` or the command of a real one, for every sandbox; None:
    their addresses lead nowhere. ``state`` is the file in which its state is kept. Raises ``ValueError`` for an empty
    token, an unknown personality and a command that does not exist, and ``OSError`` for a file that cannot be used.
    """
    chosen = personality_of(PERSONALITIES, personality)
    emulator = DurableEmulator(token=token, personality=chosen, now=now, sleep=sleep)
    if state is not None:
        emulator.keep_in(StateFile(state, State))
    app = emulator.application()
    if runtime_server is not None:
        emulator.far_ends = FarEnds(runtime_server)
        app.cleanup_ctx.append(emulator.far_ends.running)
        app.on_startup.append(emulator.resume)
    return app


class DurableEmulator(Platform):
    members = {"id": "id", "name": "key"}

    def routes(self) -> Iterable[Route]:
        yield Route("create", "POST", WORKSPACE + "/runtimes", self._create)
        yield Route("list", "GET", WORKSPACE + "/runtimes", self._list)
        yield Route("get", "GET", RUNTIME, self._get)
        yield Route("get_config", "GET", RUNTIME + "/config", self._get_config)
        yield Route("replace_config", "PUT", RUNTIME + "/config", self._replace_config)
        yield from LifecycleRoutes(self).routes(RUNTIME)
        yield from CapabilityRoutes(self).routes(RUNTIME + "/capabilities")
        yield from LookupRoutes(self).routes("/api/v1")

    def clear(self) -> None:
        self.world.clear()
        if self.far_ends is not None:
            self.far_ends.end_all()

    def state(self) -> State:
        return self.world.state()

    def restore(self, state: State) -> None:
        self.world.restore(state)

    async def resume(self, _app: web.Application) -> None:
        """Start the servers of the sandboxes that a kept state has."""
        for runtime in self.world.runtimes():
            if runtime.instance is not None and self.far_ends is not None:
                self.far_ends.start(runtime.instance)

    def counts(self) -> Mapping[str, int]:
        """The numbers of runtimes; a live one has a sandbox, which may be paused."""
        runtimes = list(self.world.runtimes())
        return {
            "runtimes": len(runtimes),
            "live_runtimes": sum(runtime.instance is not None for runtime in runtimes),
            "running_runtimes": sum(runtime.status == "running" for runtime in runtimes),
        }

    def made(self) -> Iterable[Made]:
        """All runtimes. Each is live, because this API deletes none."""
        for workspace, runtime in self.world.with_workspaces():
            yield Made(runtime.id, runtime.key, f"{workspace.org}/{workspace.key}", live=True)

    def _project(self, workspace: Workspace, key_or_id: str | None) -> Project:
        if key_or_id is None:
            return workspace.default_project
        project = workspace.project(key_or_id)
        if project is not None:
            return project
        if checks.is_uuid(key_or_id):
            raise self.refuse(404, "Project not found")
        return workspace.add_project(key_or_id, key_or_id, None, self.now())

    def _create(self, call: Call) -> Answer:
        body = self.checked(call, checks.Create)
        workspace = self.workspace(call)
        project = self._project(workspace, body.project)
        key = body.key or project.key
        config = None if body.config is None else body.config.model_dump()
        existing = workspace.keyed(key, call.caller if self.per_owner else None)
        if existing is not None and not call.repeated:
            existing.apply_timeout(self.now())
            if config is not None and digest(config) != existing.config_digest:
                raise self.refuse(409, "A runtime with this key exists with a different config", "already_exists_error")
            return Answer(200, {**existing.as_json(self.now(), call.caller), "created": False})
        now = self.now()
        runtime = Runtime(
            id=str(uuid.uuid4()),
            key=key,
            name=body.name or key,
            description=body.description,
            project=project,
            owner=call.caller,
            config=config or checks.Config().model_dump(),
            requested_limit=body.requested_runtime_limit_seconds,
            created_at=now,
            updated_at=now,
        )
        workspace.runtimes[runtime.id] = runtime
        return Answer(201, {**runtime.as_json(now, call.caller), "created": True}, created=runtime.id)

    def _list(self, call: Call) -> Answer:
        with self.refusing("query"):
            query = checks.Query.model_validate(
                {
                    "state": [state for value in call.parameters("state") for state in value.split(",")],
                    "project_id": call.parameter("project_id"),
                    "owner": call.parameter("owner"),
                    "limit": call.parameter("limit") or "50",
                }
            )
        start = self._after(call.parameter("cursor"))
        now, hidden, found = self.now(), call.unseen.in_list(), []
        for runtime in self.workspace(call).ordered():
            runtime.apply_timeout(now)
            if (
                runtime.id not in hidden
                and (runtime.created_at, runtime.id) > start
                and (not query.state or runtime.status in query.state)
                and query.project_id in {None, runtime.project.id}
                and (query.owner is None or runtime.owner == call.caller)
            ):
                found.append(runtime)
        items = [runtime.as_json(now, call.caller) for runtime in found[: query.limit]]
        cursor = _cursor(found[query.limit - 1]) if len(found) > query.limit else None
        return Answer(body={"items": items, "next_cursor": cursor})

    def _after(self, cursor: str | None) -> tuple[float, str]:
        if not cursor:
            return float("-inf"), ""
        try:
            created, last = json.loads(base64.urlsafe_b64decode(cursor))
            return float(created), str(last)
        except (ValueError, TypeError, binascii.Error) as exc:
            raise self.refuse(400, "Invalid cursor") from exc

    def _get(self, call: Call) -> Answer:
        runtime = self.find(call)
        if call.unseen.in_get(runtime.id):
            raise self.refuse(404, "Runtime not found")
        return self.answer(runtime, call)

    def _get_config(self, call: Call) -> Answer:
        runtime = self.find(call)
        return Answer(
            body={
                "config": runtime.config,
                "runtime_id": runtime.id,
                "config_digest": runtime.config_digest,
                "config_version": runtime.config["version"],
            }
        )

    def _replace_config(self, call: Call) -> Answer:
        body = self.checked(call, checks.ReplaceConfig)
        runtime = self.find(call, change=True)
        runtime.config, runtime.updated_at = body.config.model_dump(), self.now()
        return self._get_config(call)


def _cursor(last: Runtime) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.created_at, last.id]).encode()).decode()
