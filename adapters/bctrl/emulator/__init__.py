"""A real HTTP server that behaves like bctrl's workspaces API, as far as its behaviour is known (README.md). The rules
for the body of a create are written down independently of what the adapter sends."""

import hmac
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.testing.emulator import Emulator
from gateway.testing.exchange import Answer, Call, Integer, Made, Refusal, Route, fault, personality_of, timestamp
from gateway.testing.recording import parse_json
from gateway.testing.state_file import StateFile


class Body(BaseModel):
    """Base of the body's objects. Undocumented members are not a fault."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)


class Proxy(Body):
    type: Literal["http", "socks5"]
    host: str
    port: Integer
    username: str = ""
    password: str = ""


class Config(Body):
    humanize: bool = False
    humanize_persona_id: Integer = 0
    solve_captchas: bool = False
    proxy: Proxy | None = None


class ProfileLaunch(Body):
    mode: Literal["profile"]
    profile_id: Annotated[str, Field(pattern=r"(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class EphemeralLaunch(Body):
    mode: Literal["ephemeral"]
    extension_ids: list[str] = []
    config: Config = Config()


class Create(Body):
    alias: str
    kind: Literal["browser"]
    driver: Literal["puppeteer", "playwright", "selenium", "stagehand"] = "playwright"
    launch: Annotated[ProfileLaunch | EphemeralLaunch, Field(discriminator="mode")] = EphemeralLaunch(mode="ephemeral")


PERSONALITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "live_alias": ("conflict", "return", "second"),
    "stopped_alias": ("reusable", "taken"),
}

_CODES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("request.invalid", "invalid_input"),
    401: ("auth.invalid", "unauthorized"),
    402: ("billing.insufficient_credits", "capability_denied"),
    403: ("auth.forbidden", "capability_denied"),
    404: ("route.not_found", "not_found"),
    409: ("runtime.name_conflict", "conflict"),
    429: ("rate_limit.exceeded", "rate_limited"),
    502: ("upstream.unavailable", "upstream"),
    503: ("upstream.unavailable", "upstream"),
    504: ("upstream.unavailable", "upstream"),
}
"""The code and the reason of each status."""


@dataclass(slots=True)
class _Runtime:
    """A runtime of a workspace. The members in ``given`` replace those with the same names when it is shown."""

    workspace: str
    alias: str
    created: float
    driver: str = "playwright"
    launch_mode: str = "ephemeral"
    profile_id: str | None = None
    kind: str = "browser"
    status: str = "active"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    context_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    page_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    updated: float = 0.0
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        return self.status not in {"stopped", "failed"}

    def stop(self, now: float) -> None:
        """End the runtime. One that has ended does not change."""
        if self.live:
            self.status, self.updated = "stopped", now

    def shown(self) -> dict[str, Any]:
        summary = {
            "browserRunning": self.live,
            "currentDriver": self.driver if self.live else None,
            "defaultContextId": self.context_id if self.live else None,
            "defaultPageId": self.page_id if self.live else None,
            "launchMode": self.launch_mode,
            "profileId": self.profile_id,
            "storageWorkspace": _workspace_uuid(self.workspace),
        }
        return {
            "workspaceId": _workspace_uuid(self.workspace),
            "driver": self.driver,
            "createdAt": timestamp(self.created),
            "updatedAt": timestamp(max(self.updated, self.created)),
            "summary": summary,
            **self.given,
            "id": self.id,
            "alias": self.alias,
            "kind": self.kind,
            "status": self.status,
        }


def _workspace_uuid(workspace: str) -> str:
    """The ``workspaceId`` of responses is a UUID, while the path parameter is any text."""
    try:
        return str(uuid.UUID(workspace))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"bctrl:workspace:{workspace}"))


class BctrlEmulator(Emulator):
    members = {"id": "id", "name": "alias", "scope": "workspaceId"}

    def __init__(self, token: str, personality: Mapping[str, str], now: Callable[[], float]) -> None:
        super().__init__(now=now)
        self._credentials = f"Bearer {token}".encode()
        self._personality = personality
        self._workspaces: dict[str, list[_Runtime]] = {}

    def authenticate(self, headers: Mapping[str, str]) -> str:
        given = headers.get("Authorization")
        if given is None:
            raise Refusal(self.failure(401, "There is no Authorization header.", "auth.required"))
        if not hmac.compare_digest(given.encode(errors="replace"), self._credentials):
            raise Refusal(self.failure(401, "This token is not valid.", "auth.invalid"))
        return "account"

    def failure(self, status: int, detail: str, code: str | None = None) -> Answer:
        default, reason = _CODES.get(status, ("internal.error", "server") if status >= 500 else _CODES[400])
        body = {
            "error": detail,
            "code": code or default,
            "reasonClass": reason,
            "requestId": f"req_{secrets.token_hex(8)}",
        }
        return Answer(status, body, {"x-request-id": body["requestId"]})

    def bad_json(self, detail: str) -> Answer:
        return self.failure(400, f"The body is not JSON: {detail}", "request.invalid_json")

    def routes(self) -> Iterable[Route]:
        runtimes = "/v1/workspaces/{id}/runtimes"
        yield Route("create", "POST", runtimes, self._create)
        yield Route("list", "GET", runtimes, self._list)
        yield Route("get", "GET", runtimes + "/{alias}", self._get)
        yield Route("stop", "POST", runtimes + "/{alias}/stop", self._stop_runtime)
        yield Route("list_workspaces", "GET", "/v1/workspaces", self._list_workspaces)

    def clear(self) -> None:
        self._workspaces.clear()

    def counts(self) -> Mapping[str, int]:
        runtimes = [runtime for workspace in self._workspaces.values() for runtime in workspace]
        return {"runtimes": len(runtimes), "live_runtimes": sum(runtime.live for runtime in runtimes)}

    def state(self) -> dict[str, list[_Runtime]]:
        return self._workspaces

    def restore(self, state: dict[str, list[_Runtime]]) -> None:
        self._workspaces = state

    def made(self) -> Iterable[Made]:
        for name, workspace in self._workspaces.items():
            yield from (Made(runtime.id, runtime.alias, name, runtime.live) for runtime in workspace)

    def application(self, *, max_body: int = 1 << 20) -> web.Application:
        app = super().application(max_body=max_body)
        app.router.add_post("/__runtimes", self._add_runtime)
        return app

    def _create(self, call: Call) -> Answer:
        body = call.json()
        if found := fault(body, Create):
            raise Refusal(self.failure(400, found, "request.invalid"))
        workspace = self._workspaces.setdefault(call.path["id"], [])
        namesakes = [runtime for runtime in workspace if runtime.alias == body["alias"]]
        live = [runtime for runtime in namesakes if runtime.live]
        if namesakes and not call.repeated:
            rule = self._personality["live_alias"] if live else self._personality["stopped_alias"]
            if rule == "return":
                return Answer(200, live[-1].shown())
            if rule in {"conflict", "taken"}:
                raise Refusal(self.failure(409, "A runtime of this alias exists.", "runtime.name_conflict"))
        launch = body.get("launch", {})
        runtime = _Runtime(
            workspace=call.path["id"],
            alias=body["alias"],
            created=self.now(),
            driver=body.get("driver", "playwright"),
            launch_mode=launch.get("mode", "ephemeral"),
            profile_id=launch.get("profileId"),
        )
        workspace.append(runtime)
        return Answer(200, runtime.shown(), created=runtime.id)

    def _list(self, call: Call) -> Answer:
        hidden = call.unseen.in_list()
        workspace = self._workspaces.get(call.path["id"], [])
        return Answer(200, {"runtimes": [runtime.shown() for runtime in workspace if runtime.id not in hidden]})

    def _get(self, call: Call) -> Answer:
        namesakes = [runtime for runtime in self._with_alias(call) if not call.unseen.in_get(runtime.id)]
        return Answer(200, self._addressed(namesakes).shown())

    def _stop_runtime(self, call: Call) -> Answer:
        runtime = self._addressed(self._with_alias(call))
        runtime.stop(self.now())
        return Answer(200, runtime.shown())

    def _with_alias(self, call: Call) -> list[_Runtime]:
        workspace = self._workspaces.get(call.path["id"], [])
        return [runtime for runtime in workspace if runtime.alias == call.path["alias"]]

    def _addressed(self, namesakes: list[_Runtime]) -> _Runtime:
        """The runtime that an alias addresses: the newest live one, else the newest. Raises ``Refusal`` (404)."""
        if not namesakes:
            raise Refusal(self.failure(404, "There is no runtime of this alias.", "runtime.not_found"))
        live = [runtime for runtime in namesakes if runtime.live]
        return (live or namesakes)[-1]

    def _list_workspaces(self, _: Call) -> Answer:
        shown = [
            {"id": _workspace_uuid(name), "name": name, "mounts": {"storage": {"workspace": name}}}
            for name in self._workspaces
        ]
        return Answer(200, {"workspaces": shown})

    async def _add_runtime(self, request: web.Request) -> web.Response:
        try:
            given = parse_json(await request.read())
        except ValueError as exc:
            return web.json_response({"error": f"The body is not JSON: {exc}"}, status=400)
        needed = ("workspaceId", "alias")
        if not isinstance(given, dict) or not all(isinstance(given.get(name), str) for name in needed):
            return web.json_response({"error": "workspaceId and alias are needed, as strings"}, status=400)
        runtime = _Runtime(workspace=given["workspaceId"], alias=given["alias"], created=self.now())
        runtime.kind = given.get("kind", runtime.kind)
        runtime.status = given.get("status", runtime.status)
        runtime.id = given.get("id", runtime.id)
        runtime.given = {name: value for name, value in given.items() if name != "workspaceId"}
        self._workspaces.setdefault(runtime.workspace, []).append(runtime)
        self.keep()
        return web.json_response(runtime.shown(), status=201)


def create_emulator(
    *,
    token: str,
    personality: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
    state: Path | None = None,
) -> web.Application:
    """The emulator as an application. ``state`` is the file in which its state is kept. Raises ``ValueError`` for an
    unknown personality or an unknown value of one, and ``OSError`` for a file that cannot be used."""
    emulator = BctrlEmulator(token, personality_of(PERSONALITIES, personality), now)
    if state is not None:
        emulator.keep_in(StateFile(state, dict[str, list[_Runtime]]))
    return emulator.application()
