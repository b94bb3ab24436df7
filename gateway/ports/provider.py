"""What an adapter is: one small base class for what every provider can do, and a protocol per optional ability.

A provider's features are derived from these (:func:`derive_features`); nobody keeps a second list.

Rules for all methods that take a :class:`Call`:

- They send at most what the method says, and never retry: policies around the transport do.
- They raise :class:`GatewayError` for every answer that is not a success, mapped by (operation, status, provider code)
  and never by text; they let :class:`TransportFailure` pass.
- "Not found" needs positive evidence: an answer in the provider's own envelope, without unreadable ``ports.rows``.
- Returned runtimes are complete, ``id`` and ``actions`` included.
- An unknown enum value of the provider reads as unknown; unknown members go to ``provider_data``; secrets go nowhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from gateway.domain.conclusions import Deduplication as Deduplication  # noqa: PLC0414 (for adapters)
from gateway.domain.config import RuntimeConfig
from gateway.domain.features import Feature
from gateway.domain.ids import RuntimeRef
from gateway.domain.pages import ProviderPage, ProviderQuery
from gateway.domain.requests import (
    CREATE_REQUESTS,
    CreateRequest,
    InstallCapability,
    StartRequest,
    UpdateCapability,
)
from gateway.domain.runtime import (
    CapabilityBinding,
    ConfigDocument,
    Connection,
    Lease,
    ResolvedCapabilities,
    Runtime,
)
from gateway.domain.values import Kind
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, Transport

SettingsT = TypeVar("SettingsT", bound=ProviderSettings)


@dataclass(frozen=True, slots=True)
class Created:
    """The outcome of a create. ``created`` False: it was there before.

    ``native`` is the provider's own answer, for a dialect of the same API: bytes of JSON that may hold secrets, and so
    are never logged, and kept only sealed.
    """

    runtime: Runtime
    created: bool
    native: bytes | None = field(default=None, repr=False)


class WireCreate(msgspec.Struct, frozen=True):
    """A create as it goes out, without credentials: it is kept sealed, and sent again byte for byte if need be."""

    body: bytes
    query: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"WireCreate({len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Seen:
    """A runtime that a look by name shows. ``marker`` is what the create that made it was marked with, if it was."""

    runtime: Runtime
    marker: str | None = None


class ProviderAdapter(ABC, Generic[SettingsT]):
    """Translates between the domain and one provider API, for one configured provider.

    ``kinds`` are the kinds of runtime that its reads can show, ``creates`` those that a create can make: where a class
    states ``kinds`` only, all of them that the API has a create body for. :meth:`check_create` refuses any other kind.
    ``create_features`` names what a create can carry (``CreateFeature``), derived from the adapter's wire types.
    ``definitive_rejections`` are the statuses of a refusal, in the provider's own envelope, which prove that a create
    made nothing. ``create_is_free``: a create starts no compute. ``idempotency_key_ttl``: seconds for which a provider
    that deduplicates ``BY_KEY`` is trusted to remember a key. ``marks_creates``: a create carries its marker, and
    :meth:`find_with_markers` reads it back.
    """

    api: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]
    creates: ClassVar[frozenset[Kind]]
    create_features: ClassVar[frozenset[str]]
    deduplication: ClassVar[Deduplication]
    definitive_rejections: ClassVar[frozenset[int]]
    create_is_free: ClassVar[bool] = False
    idempotency_key_ttl: ClassVar[float] = 3600.0
    marks_creates: ClassVar[bool] = False
    features: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kinds" in vars(cls) and "creates" not in vars(cls):
            cls.creates = frozenset(kind for kind in cls.kinds if kind in CREATE_REQUESTS)
        if hasattr(cls, "create_features"):
            cls.features = derive_features(cls)

    def __init__(self, settings: SettingsT, transport: Transport) -> None:
        self.settings = settings
        self.transport = transport

    @property
    def name(self) -> str:
        """The configured name of the provider."""
        return self.settings.name

    @abstractmethod
    def parse_scope(self, scope: str) -> str:
        """The canonical form of a scope as a person typed it. Raises ``ValueError`` with a sentence if it is none."""

    @abstractmethod
    def parse_reference(self, reference: str) -> RuntimeRef:
        """The address that a public id's reference means. Raises :class:`NotFound` for one it cannot have made,
        also for one of another scope where the provider is pinned. No I/O."""

    @abstractmethod
    def reference(self, runtime: Runtime) -> RuntimeRef:
        """The address of a runtime that this adapter returned."""

    @abstractmethod
    def check_create(self, request: CreateRequest) -> None:
        """Refuse what only this provider refuses, before anything is sent: unknown or bad ``provider_options``,
        and fields without an equivalent. Raises :class:`ValidationFailed` or :class:`UnsupportedFeature`. No I/O."""

    @abstractmethod
    def wire_create(self, request: CreateRequest, scope: str, *, marker: str | None = None) -> WireCreate:
        """A create as it goes out. ``request.name`` is always set. Exactly the fields that the caller sent go out.

        ``marker`` goes into a place of the runtime's own that callers do not see, where the provider has one. Raises
        as :meth:`check_create`. No I/O."""

    @abstractmethod
    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        """Send one create, as it was written by :meth:`wire_create` of this version or an older one.

        ``idempotency_key`` goes out where the provider knows such keys; elsewhere it is not used. A request that never
        reaches the network for a reason of its own raises a :class:`GatewayError` without ``failure``."""

    def answers_create(self, runtime: Runtime, name: str, canonical_scope: str) -> bool:  # noqa: ARG002
        """Whether the runtime of a create's answer is the one that was asked for: it has the name that was sent and,
        where the provider reports it, the scope (``canonical_scope`` as :meth:`canonical_scope` returned it). An answer
        with another one belongs to another request and proves nothing about this one. No I/O."""
        return runtime.name == name

    async def create(
        self, request: CreateRequest, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        """Write one create and send it, with no marker."""
        return await self.send_create(self.wire_create(request, scope), scope, call, idempotency_key=idempotency_key)

    async def account(self, call: Call) -> str:  # noqa: ARG002
        """What the provider calls the account of the credentials; empty where its API tells none. Two credentials of
        one account have the same. Raises as any read does."""
        return ""

    async def canonical_scope(self, scope: str, call: Call) -> str:  # noqa: ARG002
        """The one name of the place in which runtimes made in ``scope`` have unique names: a scope may have several
        (an alias and an id), and this is the same for all. Raises as any read does."""
        return scope

    async def find_with_markers(self, scope: str, name: str, call: Call) -> Sequence[Seen]:
        """:meth:`find`, with the markers of the runtimes."""
        return [Seen(runtime) for runtime in await self.find(scope, name, call)]

    @abstractmethod
    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Read one runtime. Raises :class:`NotFound`; :class:`RuntimeReplaced` when the name is another's now."""

    @abstractmethod
    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        """All runtimes of this name in the scope that the provider shows, the account's own first. Never cached."""

    @abstractmethod
    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        """A page of runtimes, narrowed by all of ``query.filter`` (here, where the provider cannot). At most
        ``query.limit`` unless the provider returns more. Nothing that existed throughout is skipped or repeated
        over the pages; another limit with the same cursor is fine."""

    @abstractmethod
    async def check_credentials(self, call: Call) -> None:
        """Make one cheap authenticated read in the pinned scope. Raises as any read does. An open provider of an API
        that has no scopeless read proves only that it can be reached."""


@runtime_checkable
class SupportsStart(Protocol):
    """Can bring compute to a runtime that has none."""

    async def start(self, ref: RuntimeRef, options: StartRequest, call: Call) -> Runtime:
        """Start, and answer with the runtime as it is then."""


@runtime_checkable
class SupportsPause(Protocol):
    """Can freeze the compute and wake it again."""

    async def pause(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Pause a running runtime."""

    async def resume(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Wake a paused runtime."""


@runtime_checkable
class SupportsStop(Protocol):
    """Has a stop of its own, which is the normal end and destroys nothing that the caller expects to keep."""

    async def stop(self, ref: RuntimeRef, call: Call, *, discard_state: bool = False) -> Runtime:
        """Stop, and answer with the runtime as it is then. Raises :class:`RuntimeReplaced` as ``get`` does, and
        :class:`UnsupportedFeature`, having done nothing, where ``discard_state`` cannot be asked of the provider."""


@runtime_checkable
class SupportsReset(Protocol):
    """Can throw the compute away, with the state inside, and keep the runtime."""

    async def reset(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Reset to idle."""


@runtime_checkable
class SupportsKeepalive(Protocol):
    """Can push the expiry of a running instance."""

    async def keepalive(self, ref: RuntimeRef, extend_seconds: int, call: Call) -> Lease:
        """Push the expiry by so many seconds."""


@runtime_checkable
class SupportsConnections(Protocol):
    """Can tell ways into a running runtime."""

    async def connections(self, ref: RuntimeRef, call: Call) -> Sequence[Connection]:
        """The ways in, secrets included. Empty while there are none yet."""


@runtime_checkable
class SupportsDelete(Protocol):
    """Can remove a runtime for good."""

    async def delete(self, ref: RuntimeRef, call: Call) -> None:
        """Delete. Raises :class:`NotFound` when it is not there."""


@runtime_checkable
class SupportsConfig(Protocol):
    """Keeps a config per runtime."""

    async def get_config(self, ref: RuntimeRef, call: Call) -> ConfigDocument:
        """The whole config, with its digest."""

    async def replace_config(self, ref: RuntimeRef, config: RuntimeConfig, call: Call) -> ConfigDocument:
        """Replace it wholesale with ``config.document``."""


@runtime_checkable
class SupportsCapabilityBindings(Protocol):
    """Binds agent capabilities to a runtime (seed 003)."""

    async def list_capabilities(self, ref: RuntimeRef, call: Call) -> Sequence[CapabilityBinding]:
        """All bindings."""

    async def install_capability(self, ref: RuntimeRef, request: InstallCapability, call: Call) -> CapabilityBinding:
        """Install one."""

    async def update_capability(
        self, ref: RuntimeRef, binding_id: str, request: UpdateCapability, call: Call
    ) -> CapabilityBinding:
        """Change one thing of one."""

    async def remove_capability(self, ref: RuntimeRef, binding_id: str, call: Call) -> None:
        """Uninstall one. Raises :class:`NotFound` when it is not there."""

    async def resolved_capabilities(self, ref: RuntimeRef, call: Call) -> ResolvedCapabilities:
        """What the enabled bindings resolve to."""


def derive_features(adapter: type[ProviderAdapter[Any]]) -> frozenset[str]:
    """The features of an adapter class: its protocols, and what its creates can carry."""
    return frozenset(_abilities(adapter)) | adapter.create_features


def _abilities(adapter: type) -> Iterator[str]:
    for protocol, feature in (
        (SupportsConfig, Feature.CONFIG),
        (SupportsCapabilityBindings, Feature.CAPABILITY_BINDINGS),
        (SupportsStart, Feature.START),
        (SupportsPause, Feature.PAUSE),
        (SupportsStop, Feature.STOP),
        (SupportsReset, Feature.RESET),
        (SupportsKeepalive, Feature.KEEPALIVE),
        (SupportsConnections, Feature.CONNECTIONS),
        (SupportsDelete, Feature.DELETE),
    ):
        if issubclass(adapter, protocol):
            yield feature
    if issubclass(adapter, SupportsReset) and not issubclass(adapter, SupportsStop):
        yield from (Feature.STOP, Feature.STOP_DISCARDS_STATE)
