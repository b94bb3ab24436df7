"""The adapter interface: one base class for what every provider can do, and one protocol per optional ability.

A provider's features are derived from these classes (:func:`derive_features`), and are not declared anywhere else.

Rules for all methods that take a :class:`Call`:

- They send at most the requests that the method describes, and never retry: the policies around the transport do.
- They raise :class:`GatewayError` for every response that is not a success, mapped by (operation, status, provider
  code) and never by text. They do not catch :class:`TransportFailure`.
- :class:`NotFound` requires positive evidence: a response in the provider's own envelope, and for a list no unreadable
  row that may be the runtime (:func:`gateway.ports.rows.require_clear`).
- Methods on one runtime raise :class:`NotFound` if it does not exist, and :class:`RuntimeReplaced` if its address (a
  name, at some providers) now belongs to another runtime.
- Returned runtimes are complete, including ``id`` and ``actions``.
- Unknown enum values of the provider become ``unknown``. Members that are not in the model go to ``provider_data``.
  Secrets are not returned and not logged.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from gateway.domain.conclusions import Deduplication as Deduplication  # noqa: PLC0414 (for adapters)
from gateway.domain.config import RuntimeConfig
from gateway.domain.constraints import Allowance
from gateway.domain.errors import FieldError
from gateway.domain.ids import RuntimeRef
from gateway.domain.pages import ProviderPage, ProviderQuery
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest, InstallCapability, StartRequest, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Connection, Lease, ResolvedCapabilities, Runtime
from gateway.domain.values import Feature, Kind
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.redaction import OwnerMarks
from gateway.ports.transport import Call, Transport

SettingsT = TypeVar("SettingsT", bound=ProviderSettings)


@dataclass(frozen=True, slots=True)
class Created:
    """The outcome of a create. ``created`` False: the runtime existed before. ``native`` is the body of the provider's
    response, for a dialect of the same API: JSON that may contain secrets, so it is never logged, and stored sealed."""

    runtime: Runtime
    created: bool
    native: bytes | None = field(default=None, repr=False)


class WireCreate(msgspec.Struct, frozen=True):
    """A create as it is sent, without credentials. It is stored sealed, and may be sent again byte for byte."""

    body: bytes
    query: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"WireCreate({len(self.body)} bytes)"


@dataclass(frozen=True, slots=True)
class Seen:
    """A runtime that a look-up by name found. ``marker`` is the marker of the create that made it; None without one."""

    runtime: Runtime
    marker: str | None = None


class ProviderAdapter(ABC, Generic[SettingsT]):
    """Translates between the domain and one provider API, for one configured provider.

    ``kinds`` are the kinds of runtime that its reads can return. ``creates`` are the kinds that it can create; in a
    class that sets only ``kinds``, all of those for which the unified API has a create. :meth:`check_create` refuses
    other kinds. ``create_features`` are the fields that a create supports (``CreateFeature``), derived from the
    adapter's wire types. ``definitive_rejections`` are the statuses that, in the provider's own envelope, prove that a
    create made nothing. ``create_is_free``: a create starts no compute. ``idempotency_key_ttl``: for how many seconds a
    provider that deduplicates ``BY_KEY`` is relied on to remember a key. ``marks_creates``: creates carry a marker,
    which :meth:`find_with_markers` returns. ``features`` is set by :func:`derive_features`.
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
        self.name: str = settings.name
        self.transport = transport
        self.owner_marks = OwnerMarks()

    def parse_scope(self, scope: str) -> str:
        """The canonical form of a scope that a person typed. Raises ``ValueError`` that says what is wrong. No I/O."""
        return self.settings.parse_scope(scope)

    @abstractmethod
    def parse_reference(self, reference: str) -> RuntimeRef:
        """Parse the reference of a public id. Raises :class:`NotFound` for a reference that this adapter cannot have
        made, and, where the provider is pinned, for one of another scope. No I/O."""

    @abstractmethod
    def reference(self, runtime: Runtime) -> RuntimeRef:
        """The address of a runtime that this adapter returned. No I/O."""

    @abstractmethod
    def format_reference(self, ref: RuntimeRef) -> str:
        """The reference of a runtime in its public id: the inverse of :meth:`parse_reference`. No I/O."""

    @abstractmethod
    def check_create(self, request: CreateRequest) -> None:
        """Refuse, before anything is sent, what only this provider does not accept: unknown or invalid
        ``provider_options``, and fields without an equivalent. Raises :class:`ValidationFailed` or
        :class:`UnsupportedFeature`. No I/O."""

    def refused_options(self, request: CreateRequest, allowance: Allowance) -> Iterable[FieldError]:  # noqa: ARG002
        """A fault for each member of ``provider_options``, valid or not, against the caller's constraints. No I/O."""
        return ()

    @abstractmethod
    def wire_create(self, request: CreateRequest, scope: str, *, marker: str | None = None) -> WireCreate:
        """Encode a create for sending, with exactly the fields that the caller sent. ``request.name`` is always set.

        ``marker`` is stored in a field of the runtime that callers do not see, where the provider has one; otherwise it
        is ignored. So is ``request.owner_mark``, of which ``owner_marks`` then gives reads their ``owner``. Raises as
        :meth:`check_create`. No I/O."""

    @abstractmethod
    async def send_create(
        self, wire: WireCreate, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        """Send one create, once. ``wire`` was returned by :meth:`wire_create` of this version or an older one.

        ``idempotency_key`` is sent where the provider supports such keys, and ignored otherwise. A create that cannot
        be sent for a reason of its own raises a :class:`GatewayError` without ``failure``: nothing was sent."""

    def answers_create(self, runtime: Runtime, name: str, canonical_scope: str) -> bool:  # noqa: ARG002
        """Whether the runtime in a create's response is the requested one: it has the name that was sent and, where the
        provider reports it, the scope (``canonical_scope`` as :meth:`canonical_scope` returned it). Any other response
        belongs to another request, and proves nothing about this one. No I/O."""
        return runtime.name == name

    async def create(
        self, request: CreateRequest, scope: str, call: Call, *, idempotency_key: str | None = None
    ) -> Created:
        """Encode one create without a marker, and send it. Raises as :meth:`wire_create` and :meth:`send_create`."""
        return await self.send_create(self.wire_create(request, scope), scope, call, idempotency_key=idempotency_key)

    async def account(self, call: Call) -> str:  # noqa: ARG002
        """The provider's id of the account that owns the credentials; empty where its API does not report one. All
        credentials of one account return the same value. Raises as any read does."""
        return ""

    async def canonical_scope(self, scope: str, call: Call) -> str:  # noqa: ARG002
        """The canonical name of the namespace of runtime names that ``scope`` denotes. A scope may have several names
        (an alias and an id); all return the same value. Raises as any read does."""
        return scope

    async def find_with_markers(self, scope: str, name: str, call: Call) -> Sequence[Seen]:
        """:meth:`find`, with the markers of the runtimes."""
        return [Seen(runtime) for runtime in await self.find(scope, name, call)]

    def instance_of(self, runtime: Runtime) -> str | None:
        """The provider's id of the runtime's current instance; None where it reports none. No I/O."""
        return runtime.instance_id

    @abstractmethod
    async def get(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Read one runtime."""

    @abstractmethod
    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        """All runtimes of this name that the provider shows in the scope, those of the own account first; empty if
        there are none. Never cached. Raises :class:`ProviderBadResponse` if the provider's list does not prove which of
        them exist: it is incomplete, or an unreadable row may be one of them."""

    @abstractmethod
    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        """One page of runtimes that match all of ``query.filter``; the adapter filters where the provider cannot. At
        most ``query.limit`` items, unless the provider returns more. Over all pages, runtimes that exist
        throughout are neither skipped nor repeated. A later page may have another limit."""

    @abstractmethod
    async def check_credentials(self, call: Call) -> None:
        """Make one cheap authenticated read in the pinned scope. Raises as any read does. For an open provider whose
        API has no read without a scope, success proves only that the provider can be reached."""


@runtime_checkable
class SupportsStart(Protocol):
    """Can start the compute of a runtime."""

    async def start(self, ref: RuntimeRef, options: StartRequest, call: Call) -> Runtime:
        """Start the compute, and return the runtime as it is afterwards."""


@runtime_checkable
class SupportsPause(Protocol):
    """Can pause and resume the compute."""

    async def pause(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Pause a running runtime, and return it as it is afterwards."""

    async def resume(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Resume a paused runtime, and return it as it is afterwards."""


@runtime_checkable
class SupportsStop(Protocol):
    """Has a stop that is the normal end of a runtime, and destroys nothing that the caller expects to keep."""

    async def stop(self, ref: RuntimeRef, call: Call, *, discard_state: bool = False) -> Runtime:
        """Stop the compute, and return the runtime as it is afterwards. Raises :class:`UnsupportedFeature`, before
        anything is sent, if ``discard_state`` is set and the provider does not support it."""


@runtime_checkable
class SupportsReset(Protocol):
    """Can discard the compute with its state, and keep the runtime."""

    async def reset(self, ref: RuntimeRef, call: Call) -> Runtime:
        """Discard the compute, and return the runtime as it is afterwards (``idle``)."""


@runtime_checkable
class SupportsKeepalive(Protocol):
    """Can extend the expiry of a running instance."""

    async def keepalive(self, ref: RuntimeRef, extend_seconds: int, call: Call) -> Lease:
        """Extend the expiry by ``extend_seconds``, and return the new expiry."""


@runtime_checkable
class SupportsConnections(Protocol):
    """Can return the connections of a running runtime."""

    async def connections(self, ref: RuntimeRef, call: Call) -> Sequence[Connection]:
        """The connections, with their secrets. Empty until the first exists."""


@runtime_checkable
class SupportsDelete(Protocol):
    """Can delete a runtime permanently."""

    async def delete(self, ref: RuntimeRef, call: Call) -> None:
        """Delete the runtime. Raises :class:`NotFound` if it does not exist."""


@runtime_checkable
class SupportsConfig(Protocol):
    """Has a config per runtime."""

    async def get_config(self, ref: RuntimeRef, call: Call) -> ConfigDocument:
        """The complete config, with its digest."""

    async def replace_config(self, ref: RuntimeRef, config: RuntimeConfig, call: Call) -> ConfigDocument:
        """Replace the complete config with ``config.document``, and return the new one."""


@runtime_checkable
class SupportsCapabilityBindings(Protocol):
    """Can bind agent capabilities to a runtime."""

    async def list_capabilities(self, ref: RuntimeRef, call: Call) -> Sequence[CapabilityBinding]:
        """All bindings of the runtime, in the provider's order; possibly empty."""

    async def install_capability(self, ref: RuntimeRef, request: InstallCapability, call: Call) -> CapabilityBinding:
        """Install a capability. Raises :class:`AlreadyExists` if it is installed already."""

    async def update_capability(
        self, ref: RuntimeRef, binding_id: str, request: UpdateCapability, call: Call
    ) -> CapabilityBinding:
        """Change one property of a binding. Raises :class:`NotFound` if the runtime or the binding does not exist."""

    async def remove_capability(self, ref: RuntimeRef, binding_id: str, call: Call) -> None:
        """Uninstall a capability. Raises :class:`NotFound` if the runtime or the binding does not exist."""

    async def resolved_capabilities(self, ref: RuntimeRef, call: Call) -> ResolvedCapabilities:
        """The bundles that the enabled bindings resolve to."""


def derive_features(adapter: type[ProviderAdapter[Any]]) -> frozenset[str]:
    """The features of an adapter class: those of the protocols that it implements, and its ``create_features``."""
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
