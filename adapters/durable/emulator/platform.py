"""What all routes of the emulated platform share: who calls, what errors look like, and how a runtime is found."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from adapters.durable.emulator import checks
from adapters.durable.emulator.world import Runtime, Workspace, World
from gateway.testing.emulator import Emulator
from gateway.testing.exchange import Answer, Call, Refusal

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


class Platform(Emulator):
    """The state and the checks that the groups of routes use. Its subclass has the routes."""

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
        self.per_owner = personality["key_uniqueness"] == "owner"
        self._reads_by_key = personality["get_by_key"] == "yes"
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
        if runtime is None and self._reads_by_key:
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
