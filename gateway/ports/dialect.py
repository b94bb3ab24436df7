"""A provider API served to clients: what an adapter's ``dialect`` implements, and what it may use of the gateway.

A dialect serves the provider's own clients at ``/{prefix}/…``, with the responses and errors of the provider API. It
calls only providers of its own API, and only through :class:`DialectGateway`, so that the limits, keys, metrics, logs
and guarantees of creates (docs/creates.md) apply to it too.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import msgspec

from gateway.domain import errors
from gateway.domain.errors import GatewayError, NotFound, Retryable
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import TRAITS, Operation, Permission
from gateway.ports.context import RequestContext
from gateway.ports.data_plane import AddressIssuer
from gateway.ports.native import Rules
from gateway.ports.provider import Created, ProviderAdapter
from gateway.ports.transport import Call

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class DialectRequest:
    """An inbound request. ``parameters`` are the decoded variables of the route's path. ``query`` is in the order in
    which it was sent. ``headers`` are looked up case-insensitively. ``body`` is empty where none was sent."""

    method: str
    path: str
    parameters: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DialectAnswer:
    """A response. ``body`` is JSON, or None for no body."""

    status: int
    body: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


OURS: Final = frozenset(
    {
        errors.InternalError,
        errors.OutcomeUnknown,
        errors.ProviderBadResponse,
        errors.ProviderCredentialsRejected,
        errors.ProviderUpgradeRequired,
    }
)
"""Classes whose text is always the gateway's: here the provider's message is for the gateway, not for the caller."""

HINTS: Final[Mapping[Retryable, str]] = {
    Retryable.NO: "Change the request or the runtime first: the same request fails the same way.",
    Retryable.YES: "Wait, then send the request again.",
    Retryable.SAME_REQUEST: "Send the same request again, with the same key and name, to learn its outcome.",
}
"""The next step of a caller, for dialects whose errors have one."""


def error_answer(error: GatewayError, status: int, body: Any) -> DialectAnswer:
    """The response to a request that ended with ``error``: ``body`` as JSON, with ``Retry-After`` and ``Allow`` where
    the error has them."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(max(error.retry_after, 0)))
    if isinstance(error, errors.MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    return DialectAnswer(status, msgspec.json.encode(body), headers)


DialectHandler = Callable[[Any, DialectRequest, RequestContext], Awaitable[DialectAnswer]]


@dataclass(frozen=True, slots=True)
class DialectRoute:
    """One route. ``path`` is a template below the prefix (``/v1/browsers/{id}``). ``operation`` is the name in metrics
    and logs. ``permission`` is what the caller needs: by default that of an :class:`Operation`, and otherwise
    ``runtimes:read`` for a ``GET``. ``handler`` is a method of the dialect. ``era`` is the era of the provider API,
    where it has several; rules of the setting ``dialects.{prefix}.routes`` can select it."""

    method: str
    path: str
    operation: str
    handler: DialectHandler
    era: str | None = None
    permission: Permission | None = None

    def __post_init__(self) -> None:
        if self.permission is None:
            object.__setattr__(self, "permission", self._default_permission())

    def _default_permission(self) -> Permission:
        if isinstance(self.operation, Operation):
            return TRAITS[self.operation].permission
        if self.method == "GET":
            return Permission.READ
        raise TypeError(f"the route {self.method} {self.path} needs a permission")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Where a request that no route serves goes: ``segments`` are those of the path at the provider, below the first of
    ``ProviderSettings.own_paths``; ``query`` replaces the caller's unless it is None. ``of_runtime``: everything below
    this path belongs to one runtime, which the caller may see."""

    adapter: ProviderAdapter[Any]
    segments: Sequence[str]
    query: str | None = None
    of_runtime: bool = False


@dataclass(frozen=True, slots=True)
class DialectTarget:
    """The provider that serves a request, and the scope there. ``asked_scope`` is the scope in the caller's path."""

    adapter: ProviderAdapter[Any]
    scope: str
    asked_scope: str


class Moved(NamedTuple):
    """Where a runtime has moved to: the target, its address there, and the provider's id and the name that it had."""

    target: DialectTarget
    ref: RuntimeRef
    native_id: str
    name: str | None = None


class Elsewhere(NamedTuple):
    """A place to which runtimes of a scope have moved. ``ids`` has the provider's ids of these runtimes before the move
    by those after it."""

    target: DialectTarget
    ids: dict[str, str]


class View(Protocol):
    """What the caller of a request sees of the runtimes of one provider (docs/access.md#ownership).

    Answers of dialects to callers with ``own_only`` need no translation of names: the owners' suffixes are removed from
    all of them before they are sent.
    """

    partial: bool
    """The provider may have runtimes that the caller may not see: read a runtime before anything is done with it."""

    def sees(self, runtime: Runtime) -> bool:
        """Whether the caller may see a runtime, as its provider names it."""

    def addresses(self, name: str) -> Sequence[str]:
        """The names at the provider that a runtime which the caller calls ``name`` can have, the likeliest first."""

    def name_at_provider(self, name: str) -> str:
        """The name at the provider for a runtime that the caller names or renames. Raises :class:`ValidationFailed` at
        ``#/name`` for one that is too long, or that ends like an owner's suffix."""

    def require_current(self) -> None:
        """Before a runtime is read for its owner: raise :class:`StoreUnavailable` if owners cannot be checked."""

    def mark(self, name: str | None) -> str | None:
        """The mark of the caller's runtime that has this name at the provider, if it gets one: it is sent again with
        what replaces it."""

    def seal(self, cursor: bytes) -> str:
        """Encrypt the cursor of a list that leaves out rows. Only callers of the same owner can use it."""

    def unseal(self, sealed: str) -> bytes:
        """The cursor that :meth:`seal` encrypted. Raises ``ValueError`` for anything else."""


class DialectGateway(Protocol):
    """The services of the gateway that a dialect may use."""

    def view(self, adapter: ProviderAdapter[Any], ctx: RequestContext) -> View:
        """What the caller sees of an adapter's runtimes. No I/O."""

    def issuer(self, adapter: ProviderAdapter[Any], ctx: RequestContext) -> AddressIssuer | None:
        """What makes the gateway's addresses of an adapter's runtimes; None without a data plane. No I/O."""

    def forwards(self, prefix: str, method: str, segments: Sequence[str]) -> bool:
        """Whether the settings forward a request for a path that no route serves. No I/O."""

    def target(self, ctx: RequestContext, prefix: str, api: str, scope: str, era: str | None = None) -> DialectTarget:
        """The target that serves a scope: the one of the first matching rule of ``dialects.{prefix}.routes`` in the
        settings, otherwise the first provider of the API that is pinned to the scope, otherwise the first open provider
        that accepts it, both by ``order``. Providers and scopes that the caller may not use do not exist for it. Raises
        :class:`NotFound` without one. No I/O."""

    def targets(self, ctx: RequestContext, prefix: str, api: str) -> Sequence[DialectTarget]:
        """The targets of all scopes that are known by name: those of the settings' rules, then those that providers are
        pinned to, each as :meth:`target` returns it. Scopes without a target are left out."""

    def adapters(self, ctx: RequestContext, api: str) -> Sequence[ProviderAdapter[Any]]:
        """The adapters of all providers of an API that the caller may use, by their ``order`` in the settings."""

    def call_scope(
        self, adapter: ProviderAdapter[Any], operation: Operation, ctx: RequestContext, secrets: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Call]:
        """Call a provider within the deadline of an operation. Every failure is raised as a :class:`GatewayError`, from
        whose texts all ``secrets`` are removed."""

    def moved(
        self, target: DialectTarget, kind: str, named: str, names: Sequence[str], ctx: RequestContext
    ) -> Moved | None:
        """Where a runtime of ``target`` is now that a path calls ``named``: the provider's id, or one of ``names`` at
        the provider. None if it has not moved. The response shows the id that it had. Raises :class:`NotFound` if the
        caller may not use that place, and :class:`StoreUnavailable` if it is not known any longer. No I/O."""

    def here(self, adapter: ProviderAdapter[Any], provider_id: str, ctx: RequestContext) -> bool:
        """False for a runtime that has moved away, although the provider may still have it. The response shows one that
        has moved to here under the id that it had first, if that is an id of the same API. No I/O."""

    def latest_move(self) -> int:
        """The number of the last change of where runtimes are; ``since`` is that of a list's beginning. No I/O."""

    async def know_moves(self, adapter: ProviderAdapter[Any], since: int) -> None:
        """After a page of a provider's list was read: know where its runtimes are, and what the list knew before."""

    def lists(self, target: DialectTarget, row: tuple[str, str, str | None], since: int, ctx: RequestContext) -> bool:
        """Whether a list of a target has a row: its kind, and its id and name at the provider. A runtime that was moved
        ``since`` is where it was, as its source has it. The response shows ids as after :meth:`here`. No I/O."""

    def elsewhere(self, target: DialectTarget, kind: str, since: int, ctx: RequestContext) -> Sequence[Elsewhere]:
        """Where the runtimes are that had moved away from a target before: a list of it contains them. No I/O."""

    def left_behind(self, scope: str, kind: str, ctx: RequestContext) -> Sequence[Moved]:
        """Where the runtimes of a scope are now whose provider is not in the settings any longer. No I/O."""

    async def admit_write(self, ref: RuntimeRef, name: str | None, call: Call) -> None:
        """Before a write is sent to a runtime that a call has found: raise :class:`StateConflict` while it is moved.
        ``name`` is its name at the provider, if that is known."""

    async def create(
        self, target: DialectTarget, request: CreateRequest, ctx: RequestContext, *, idempotency_key: str | None = None
    ) -> Created:
        """Create a runtime at a target, exactly as the unified API does. ``idempotency_key`` is the caller's own key;
        the key that is sent to the provider is derived from it. The runtime of a name that has moved is at another
        place (``runtime.provider`` and ``scope``). Raises what the unified API's create raises."""

    async def begin_instance(self, adapter: ProviderAdapter[Any], runtime: Runtime, ctx: RequestContext) -> None:
        """Take the place and plan the end of the instance that the caller is about to start or to resume, where it is
        limited (``Principal.prepares_starts``). ``runtime`` is as it was read just before. Raises
        :class:`QuotaExceeded` and :class:`StoreUnavailable`; nothing may be sent then."""

    def plans_ends(self, adapter: ProviderAdapter[Any]) -> bool:
        """Whether the gateway ends an instance at this provider, as far as this process knows. No I/O."""

    def planned_end(self, adapter: ProviderAdapter[Any], runtime_id: str, read: Callable[[], Runtime]) -> str | None:
        """When the gateway ends the instance of a runtime (by the provider's id), where that is before the time that
        the provider shows; ``read`` returns the runtime, and is called only if an end is planned. No I/O."""

    async def require_keepalive(self, runtime: Runtime, seconds: int, ctx: RequestContext) -> None:
        """Raise :class:`PermissionDenied` for a keepalive that goes beyond the planned end of a runtime, which is as it
        was read just before."""

    def provider_key(self, target: DialectTarget, ctx: RequestContext, idempotency_key: str) -> str:
        """The idempotency key to send to the provider, derived from the caller's own, for writes other than creates.
        It is the same on every replica, and differs between principals that use the same key."""


class Dialect(ABC):
    """One provider API, served to its clients.

    ``prefix`` is the first segment of its paths, and its name in metrics and logs; several adapters may share one.
    ``families`` are path prefixes below ``prefix`` for which it renders the errors, also where no route matches.
    ``fallback`` is True for the one dialect of a prefix that renders the errors of all other paths. ``presets`` are
    rules (``METHOD /path``, below ``prefix``) by the name that the setting ``dialects.{prefix}.forward`` can have.
    ``slashes`` are rules for the paths in which names may have an encoded slash; all others are not forwarded then.
    """

    prefix: ClassVar[str]
    families: ClassVar[tuple[str, ...]]
    fallback: ClassVar[bool]
    routes: ClassVar[tuple[DialectRoute, ...]]
    presets: ClassVar[Mapping[str, Sequence[str]]] = {}
    slashes: ClassVar[Rules] = Rules(())

    def __init__(self, gateway: DialectGateway) -> None:
        self.gateway = gateway

    @abstractmethod
    def failure(self, error: GatewayError, path: str, headers: Mapping[str, str], request_id: str) -> DialectAnswer:
        """Render an error in the format of the provider API, always as a JSON object. ``path`` is that of the request,
        below the prefix. ``headers`` are those of the request, looked up case-insensitively.

        A provider's own ``detail`` is passed on verbatim. A status that the provider API does not have is replaced by
        the nearest one that it has. An unknown outcome must not get a status that clients retry automatically.
        """

    async def forwarded(
        self,
        segments: Sequence[str],  # noqa: ARG002
        request: DialectRequest,  # noqa: ARG002
        ctx: RequestContext,  # noqa: ARG002
    ) -> Forwarded:
        """Where a request goes that the settings forward. ``segments`` are those of its path below the prefix, decoded.
        Its body is not read. Raises :class:`NotFound` if no provider serves it, and for a runtime that the caller may
        not see."""
        raise NotFound("There is no such path.")

    def without_connections(self, body: bytes) -> bytes:
        """The JSON of a response without the addresses and tokens of connections, for callers that may not connect."""
        return body
