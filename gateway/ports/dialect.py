"""A provider API spoken inbound: what an adapter's ``dialect.py`` has to be, and what it may use of the gateway.

A dialect answers the requests of a provider's own clients at ``/{prefix}/…``, in the provider's own words, errors
included. It reaches providers of its own API only, through :class:`DialectGateway`, so that limits, keys, metrics,
logs and the create promise hold there as well.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from gateway.domain.errors import GatewayError
from gateway.domain.operations import Operation
from gateway.domain.requests import CreateRequest
from gateway.ports.context import RequestContext
from gateway.ports.provider import Created, ProviderAdapter
from gateway.ports.transport import Call

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class DialectRequest:
    """An inbound request. ``parameters`` are the decoded variables of the route's path; ``query`` is in the order that
    it was sent; ``headers`` are looked up without regard to case; ``body`` is empty where none was sent."""

    method: str
    path: str
    parameters: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DialectAnswer:
    """An answer. ``body`` is JSON, or None for none."""

    status: int
    body: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


DialectHandler = Callable[[Any, DialectRequest, RequestContext], Awaitable[DialectAnswer]]


@dataclass(frozen=True, slots=True)
class DialectRoute:
    """One call. ``path`` is a template below the prefix (``/v1/browsers/{id}``); ``operation`` is its name in metrics
    and logs; ``handler`` a method of the dialect; ``era`` is the provider API's own, where it has had several: what
    ``dialects.{prefix}.routes`` of the settings can tell apart."""

    method: str
    path: str
    operation: str
    handler: DialectHandler
    era: str | None = None


@dataclass(frozen=True, slots=True)
class DialectTarget:
    """The provider that serves a request, and the scope there. ``asked_scope`` is the one in the caller's path."""

    adapter: ProviderAdapter[Any]
    scope: str
    asked_scope: str


class DialectGateway(Protocol):
    """What a dialect may use of the gateway."""

    def target(self, prefix: str, api: str, scope: str, era: str | None = None) -> DialectTarget:
        """Who serves a scope: what ``dialects.{prefix}.routes`` of the settings says, else the first provider of the
        API that is pinned to it, else the first open one. Raises :class:`NotFound` where there is none."""

    def targets(self, prefix: str, api: str) -> Sequence[DialectTarget]:
        """Every scope that is served by its name: those of the settings' rules, and those that providers are pinned
        to, each with what :meth:`target` answers for it."""

    def adapters(self, api: str) -> Sequence[ProviderAdapter[Any]]:
        """All providers of an API, by their order in the settings."""

    def call_scope(
        self,
        adapter: ProviderAdapter[Any],
        operation: Operation,
        ctx: RequestContext,
        secrets: Sequence[str] = (),
    ) -> AbstractAsyncContextManager[Call]:
        """Call a provider within the time limit of an operation; every failure becomes an error of the tree, and none
        of ``secrets`` is left in its texts."""

    async def create(
        self, target: DialectTarget, request: CreateRequest, ctx: RequestContext, *, idempotency_key: str | None = None
    ) -> Created:
        """Create at a target, exactly as the unified API does. ``idempotency_key`` is the caller's own; what goes out
        is derived from it. Raises what the unified API's create raises."""

    def provider_key(self, target: DialectTarget, ctx: RequestContext, idempotency_key: str) -> str:
        """The key for the provider that a caller's own is derived to, for writes other than creates. Two principals
        with one key get different ones; the same on every replica."""


class Dialect(ABC):
    """One provider API spoken inbound, over one gateway.

    ``prefix`` is the first segment of its paths and the surface in metrics and logs; several adapters may share one.
    ``families`` are the beginnings of paths, below the prefix, whose errors it words, also where no route matches.
    ``fallback`` is True for the one dialect of a prefix that words the errors of all other paths.
    """

    prefix: ClassVar[str]
    families: ClassVar[tuple[str, ...]]
    fallback: ClassVar[bool]
    routes: ClassVar[tuple[DialectRoute, ...]]

    def __init__(self, gateway: DialectGateway) -> None:
        self.gateway = gateway

    @abstractmethod
    def failure(self, error: GatewayError, path: str, headers: Mapping[str, str], request_id: str) -> DialectAnswer:
        """The native form of an error, always a JSON object. ``path`` is the request's below the prefix, ``headers``
        are the request's, looked up without regard to case.

        A provider's own ``detail`` passes verbatim. A status that the provider API does not have becomes the nearest
        that it has; nothing that a client would send again on its own is told of an outcome that nobody knows.
        """
