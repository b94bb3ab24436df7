"""An emulator of the durable platform: everything under ``/api/v1`` that its client uses, over HTTP.

Fact (seeds 000 to 003, the platform's operation pages, its public client): routes, fields, bounds and defaults; the
error envelope and its 11 codes; ensure by key and 409 on another config; partial configs normalised before they are
digested and compared; start of a paused runtime leaves it paused, start of a running one leaves it as it is and says
``materialization_stale``; the credential of an instance is read, not minted; only the owner changes a runtime; only
running costs credits, and they are billed at a pause; a cursor is good with another limit.

Choice, where nothing is documented:

- 201 for a new runtime, 200 for one that existed; a differing config and a second install of a capability are
  ``already_exists_error``, a verb in the wrong state (a double pause, anything on idle) is ``conflict_error``; name,
  description and project of an existing runtime are not compared.
- Unknown members of bodies are refused, those inside ``config`` kept; keys are 1 to 255 characters without blanks and
  slashes; a body that is no JSON is 422 ``json_invalid``, a cursor that is none 400; lists are in order of creation.
- Every organization, workspace, secret and capability exists; a project key is made when it is first used, a project
  UUID must be known. Without a key the project's key is taken.
- A sandbox that outlives its time is paused with ``timeout``, not killed. Capabilities of the config and installed
  bindings are two things. All of it is forgotten with the process.

Not emulated: start/stream, reconnect, UUID prefixes, credits running out (use a fault).
"""

import asyncio
import base64
import binascii
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from adapters.durable import emulator_checks as checks
from adapters.durable.emulator_capabilities import CapabilityRoutes
from adapters.durable.emulator_lifecycle import LifecycleRoutes
from adapters.durable.emulator_lookups import LookupRoutes
from adapters.durable.emulator_world import Project, Runtime, Workspace, World, digest
from gateway.testing.emulator import Emulator
from gateway.testing.exchange import Answer, Call, Made, Refusal, Route

WORKSPACE: Final = "/api/v1/org/{org}/ws/{workspace}"
RUNTIME: Final = WORKSPACE + "/runtimes/{runtime}"

_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "usage_limit_exceeded_error",
    403: "forbidden_error",
    404: "not_found_error",
    409: "conflict_error",
    422: "validation_error",
    426: "upgrade_required_error",
    429: "usage_limit_exceeded_error",
    502: "bad_gateway_error",
    504: "gateway_timeout_error",
}


def create_emulator(
    *,
    token: str,
    personality: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> web.Application:
    """The emulator as an application.

    ``token`` is the one credential, as ``X-API-Key`` or ``Bearer``; ``{token}.{owner}`` is another user of the same
    account. ``personality``: ``key_uniqueness`` is ``workspace`` (default) or ``owner``, ``get_by_key`` ``yes``
    (default) or ``no``. Raises ``ValueError`` for an empty token and for a personality that it has not.
    """
    return DurableEmulator(token=token, personality=personality or {}, now=now, sleep=sleep).application()


class DurableEmulator(Emulator):
    """The platform: who calls, what errors look like, and the routes of runtimes."""

    def __init__(
        self,
        *,
        token: str,
        personality: Mapping[str, str],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        super().__init__(now=now, sleep=sleep)
        if not token:
            raise ValueError("the token is empty")
        self._token = token
        self._per_owner = _choice(personality, "key_uniqueness", ("workspace", "owner")) == "owner"
        self._by_key = _choice(personality, "get_by_key", ("yes", "no")) == "yes"
        if unknown := personality.keys() - {"key_uniqueness", "get_by_key"}:
            raise ValueError(f"this emulator has no personality {', '.join(sorted(unknown))}")
        self.world = World(now)

    def authenticate(self, headers: Mapping[str, str]) -> str:
        """The owner that the credential names: ``me`` for the token itself."""
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = headers.get("X-API-Key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if given == self._token:
            return "me"
        owner = given.removeprefix(self._token + ".")
        if owner in {given, ""}:
            raise Refusal(self.failure(401, "Authentication failed"))
        return owner

    def failure(self, status: int, detail: str, code: str | None = None) -> Answer:
        """An ``APIErrorPayload`` (seed 003)."""
        kind = code or _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_error")
        return Answer(status, {"code": status, "detail": detail, "type": kind})

    def bad_json(self, detail: str) -> Answer:
        """A validation error, as the platform's framework has it."""
        return self._invalid([{"loc": ["body"], "msg": f"JSON decode error: {detail}", "type": "json_invalid"}])

    def routes(self) -> Iterable[Route]:
        """The whole API."""
        yield Route("create", "POST", WORKSPACE + "/runtimes", self._create)
        yield Route("list", "GET", WORKSPACE + "/runtimes", self._list)
        yield Route("get", "GET", RUNTIME, self._get)
        yield Route("get_config", "GET", RUNTIME + "/config", self._get_config)
        yield Route("replace_config", "PUT", RUNTIME + "/config", self._replace_config)
        yield from LifecycleRoutes(self).routes(RUNTIME)
        yield from CapabilityRoutes(self).routes(RUNTIME + "/capabilities")
        yield from LookupRoutes(self).routes("/api/v1")

    def clear(self) -> None:
        """Forget every organization."""
        self.world.clear()

    def counts(self) -> Mapping[str, int]:
        """Live runtimes are those with a sandbox, paused or not."""
        runtimes = list(self.world.runtimes())
        return {
            "runtimes": len(runtimes),
            "live_runtimes": sum(runtime.instance is not None for runtime in runtimes),
            "running_runtimes": sum(runtime.status == "running" for runtime in runtimes),
        }

    def made(self) -> Iterable[Made]:
        """Nothing ends for good here: all are live."""
        for workspace, runtime in self.world.placed():
            yield Made(runtime.id, runtime.key, f"{workspace.org}/{workspace.key}", live=True)

    def refused(self, status: int, detail: str, code: str | None = None) -> Refusal:
        """To be raised."""
        return Refusal(self.failure(status, detail, code))

    def workspace(self, call: Call) -> Workspace:
        """The workspace of the path."""
        return self.world.workspace(call.path["org"], call.path["workspace"])

    def checked(self, call: Call, check: checks.Check, *, empty: Any = None) -> dict[str, Any]:
        """The normalised body; ``empty`` stands for a body that is left out or null. Raises ``Refusal`` (422)."""
        body = call.json()
        notes = checks.Notes()
        if body is None and empty is None:
            notes.note(("body",), "missing", "Field required")
            self.accept(notes)
        result: Any = check(empty if body is None else body, ("body",), notes)
        self.accept(notes)
        return dict(result)

    def accept(self, notes: checks.Notes) -> None:
        """Raises ``Refusal`` (422) when something was noted."""
        if notes:
            raise Refusal(self._invalid(notes))

    def _invalid(self, notes: list[dict[str, Any]]) -> Answer:
        answer = self.failure(422, "Validation error")
        return Answer(422, {**answer.body, "errors": list(notes)})

    def find(self, call: Call, *, change: bool = False) -> Runtime:
        """The runtime of the path, settled to now. Raises ``Refusal``: 404, and 403 for a change by another owner."""
        workspace, wanted = self.workspace(call), call.path["runtime"]
        runtime = workspace.runtimes.get(wanted.lower())
        if runtime is None and self._by_key:
            runtime = workspace.keyed(wanted, call.caller) or workspace.keyed(wanted, None)
        elif runtime is None:
            notes = checks.Notes()
            checks.uuid(wanted, ("path", "runtime_id"), notes)
            self.accept(notes)
        if runtime is None:
            raise self.refused(404, "Runtime not found")
        if change and runtime.owner != call.caller:
            raise self.refused(403, "Only the owner of a runtime may change it")
        runtime.settle(self.now())
        return runtime

    def answer(self, runtime: Runtime, call: Call, **more: Any) -> Answer:
        """The runtime as it is now, and ``more`` members."""
        return Answer(body={**runtime.shown(self.now(), call.caller), **more})

    def _project(self, workspace: Workspace, wanted: str | None) -> Project:
        if wanted is None:
            return workspace.default_project
        project = workspace.project(wanted)
        if project is not None:
            return project
        if checks.uuid(wanted, (), checks.Notes()) is not checks.ABSENT:
            raise self.refused(404, "Project not found")
        return workspace.add_project(wanted, wanted, None, self.now())

    def _create(self, call: Call) -> Answer:
        body = self.checked(call, checks.CREATE)
        workspace = self.workspace(call)
        project = self._project(workspace, body["project"])
        key = body["key"] or project.key
        existing = workspace.keyed(key, call.caller if self._per_owner else None)
        if existing is not None and not call.repeated:
            existing.settle(self.now())
            if body["config"] is not None and digest(body["config"]) != existing.config_digest:
                raise self.refused(
                    409, "A runtime with this key exists with a different config", "already_exists_error"
                )
            return Answer(200, {**existing.shown(self.now(), call.caller), "created": False})
        now = self.now()
        runtime = Runtime(
            id=str(uuid.uuid4()),
            key=key,
            name=body["name"] or key,
            description=body["description"],
            project=project,
            owner=call.caller,
            config=body["config"] or checks.CONFIG({}, (), checks.Notes()),
            requested_limit=body["requested_runtime_limit_seconds"],
            created_at=now,
            updated_at=now,
        )
        workspace.runtimes[runtime.id] = runtime
        return Answer(201, {**runtime.shown(now, call.caller), "created": True}, created=runtime.id)

    def _list(self, call: Call) -> Answer:
        notes = checks.Notes()
        states = [state for value in call.parameters("state") for state in value.split(",")]
        for state in states:
            checks.one_of("idle", "running", "paused")(state, ("query", "state"), notes)
        project, owner = call.parameter("project_id"), call.parameter("owner")
        if project is not None:
            project = checks.uuid(project, ("query", "project_id"), notes)
        if owner is not None:
            checks.one_of("me")(owner, ("query", "owner"), notes)
        limit = checks.limit(call.parameter("limit") or "50", notes)
        self.accept(notes)
        start = self._after(call.parameter("cursor"))
        now, hidden, found = self.now(), call.unseen.in_list(), []
        for runtime in self.workspace(call).ordered():
            runtime.settle(now)
            if (
                runtime.id not in hidden
                and (runtime.created_at, runtime.id) > start
                and (not states or runtime.status in states)
                and project in {None, runtime.project.id}
                and (owner is None or runtime.owner == call.caller)
            ):
                found.append(runtime)
        items = [runtime.shown(now, call.caller) for runtime in found[:limit]]
        return Answer(body={"items": items, "next_cursor": _cursor(found[limit - 1]) if len(found) > limit else None})

    def _after(self, cursor: str | None) -> tuple[float, str]:
        if not cursor:
            return float("-inf"), ""
        try:
            created, last = json.loads(base64.urlsafe_b64decode(cursor))
            return float(created), str(last)
        except (ValueError, TypeError, binascii.Error) as exc:
            raise self.refused(400, "Invalid cursor") from exc

    def _get(self, call: Call) -> Answer:
        runtime = self.find(call)
        if call.unseen.in_get(runtime.id):
            raise self.refused(404, "Runtime not found")
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
        body = self.checked(call, checks.REPLACE_CONFIG)
        runtime = self.find(call, change=True)
        runtime.config, runtime.updated_at = body["config"], self.now()
        return self._get_config(call)


def _choice(personality: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    chosen = personality.get(name, allowed[0])
    if chosen not in allowed:
        raise ValueError(f"the personality {name} is one of {', '.join(allowed)}")
    return chosen


def _cursor(last: Runtime) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.created_at, last.id]).encode()).decode()
