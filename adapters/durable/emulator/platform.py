"""What all routes of the emulated platform share: authentication, error responses and finding a runtime."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from adapters.durable.emulator import checks
from adapters.durable.emulator.far_ends import FarEnds
from adapters.durable.emulator.world import Runtime, Workspace, World
from gateway.testing.emulator import Emulator
from gateway.testing.exchange import Answer, Call, Refusal

ModelT = TypeVar("ModelT", bound=BaseModel)

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
_WITHOUT_CODE: Final = frozenset({405, 413})
"""Statuses for which the envelope has no code: an unknown method and a body that is too large. They become 400."""


class Platform(Emulator):
    """The state and the checks that the groups of routes use. A subclass adds the routes. ``far_ends`` are the servers
    of the sandboxes; None: their addresses lead nowhere."""

    far_ends: FarEnds | None = None

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
        """The owner that the credential names; ``me`` for the token itself. Raises ``Refusal`` (401) for any other."""
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        given = headers.get("X-API-Key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if given == self._token:
            return "me"
        owner = given.removeprefix(self._token + ".")
        if owner in {given, ""}:
            raise Refusal(self.failure(401, "Authentication failed"))
        return owner

    def failure(self, status: int, detail: str, code: str | None = None) -> Answer:
        """A response with an ``APIErrorPayload``. ``code`` is its ``type``; by default that of the status."""
        status = 400 if status in _WITHOUT_CODE else status
        kind = code or _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_error")
        return Answer(status, {"code": status, "detail": detail, "type": kind})

    def bad_json(self, detail: str) -> Answer:
        """The validation error (422) for a body that is not JSON."""
        return self._invalid([{"loc": ["body"], "msg": f"JSON decode error: {detail}", "type": "json_invalid"}])

    def workspace(self, call: Call) -> Workspace:
        return self.world.workspace(call.path["org"], call.path["workspace"])

    def checked(self, call: Call, model: type[ModelT], *, empty: Any = None) -> ModelT:
        """The normalised body; ``empty`` replaces an absent or null body. Raises ``Refusal`` (422) if it is invalid."""
        body = call.json()
        if body is None and empty is None:
            raise Refusal(self._invalid([{"loc": ["body"], "msg": "Field required", "type": "missing"}]))
        with self.refusing("body"):
            return model.model_validate(empty if body is None else body)

    @contextmanager
    def refusing(self, *where: str) -> Iterator[None]:
        """Raise ``Refusal`` (422) for values that pydantic finds invalid. ``where`` is their part of the request."""
        try:
            yield
        except ValidationError as exc:
            raise Refusal(self._invalid(checks.issues(exc, *where))) from exc

    def _invalid(self, issues: Sequence[dict[str, Any]]) -> Answer:
        answer = self.failure(422, "Validation error")
        return Answer(422, {**answer.body, "errors": issues})

    def find(self, call: Call, *, change: bool = False) -> Runtime:
        """The runtime named in the path, paused if its time limit has passed.

        Raises ``Refusal``: 404 if it does not exist, 403 for a change by another owner, 422 for a path that is not a
        UUID on a platform that does not read by key.
        """
        workspace, key_or_id = self.workspace(call), call.path["runtime"]
        runtime = workspace.runtimes.get(key_or_id.lower())
        if runtime is None and self._reads_by_key:
            runtime = workspace.keyed(key_or_id, call.caller) or workspace.keyed(key_or_id, None)
        elif runtime is None:
            with self.refusing("path", "runtime_id"):
                checks.UUID.validate_python(key_or_id)
        if runtime is None:
            raise self.refuse(404, "Runtime not found")
        if change and runtime.owner != call.caller:
            raise self.refuse(403, "Only the owner of a runtime may change it")
        runtime.apply_timeout(self.now())
        return runtime

    def answer(self, runtime: Runtime, call: Call, **more: Any) -> Answer:
        """The response with the runtime's current state and ``more`` members."""
        return Answer(body={**runtime.as_json(self.now(), call.caller), **more})
