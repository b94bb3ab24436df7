"""The adapter of the durable API: what each operation sends to one account, and what the responses mean."""

from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from adapters.durable import mapping, wire
from adapters.durable.calls import DurableCalls, find_by_name, list_page
from adapters.durable.data_plane import DATA_PROTOCOLS
from adapters.durable.semantics import DurableSemantics
from adapters.durable.settings import DurableSettings
from gateway.domain import errors
from gateway.domain.config import RuntimeConfig
from gateway.domain.ids import SEPARATOR, RuntimeRef, format_runtime_id, from_b64url
from gateway.domain.pages import ProviderPage, ProviderQuery
from gateway.domain.requests import CreateDurable, CreateRequest, InstallCapability, StartRequest, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, ConfigDocument, Connection, Lease, ResolvedCapabilities, Runtime
from gateway.domain.values import Kind, Operation, State, is_uuid
from gateway.ports.data_plane import DataProtocol
from gateway.ports.provider import (
    Created,
    Deduplication,
    ProviderAdapter,
    SupportsCapabilityBindings,
    SupportsConfig,
    SupportsConnections,
    SupportsKeepalive,
    SupportsPause,
    SupportsReset,
    SupportsStart,
    WireCreate,
)
from gateway.ports.semantics import ProviderSemantics
from gateway.ports.transport import Call, Transport, TransportFailure, UpstreamResponse


class DurableAdapter(
    ProviderAdapter[DurableSettings],
    SupportsConfig,
    SupportsCapabilityBindings,
    SupportsStart,
    SupportsPause,
    SupportsReset,
    SupportsKeepalive,
    SupportsConnections,
):
    """One account at the durable API. The API has neither a stop nor a delete."""

    api = "durable"
    kinds = frozenset({Kind.DURABLE})
    create_features = mapping.CREATE_FEATURES
    deduplication = Deduplication.BY_NAME
    definitive_rejections = frozenset({400, 401, 403, 404, 422, 426})
    create_is_free = True
    data_protocols: ClassVar[Mapping[str, DataProtocol]] = DATA_PROTOCOLS
    data_hosts: ClassVar[tuple[str, ...]] = ()
    semantics: ClassVar[ProviderSemantics] = DurableSemantics()

    def __init__(self, settings: DurableSettings, transport: Transport) -> None:
        super().__init__(settings, transport)
        self.calls = DurableCalls(settings, transport, self.features)
        self.calls.reader.owner_marks = self.owner_marks

    def parse_reference(self, reference: str) -> RuntimeRef:
        scope, runtime_id = self.settings.scope, reference
        if scope is None:
            encoded, _, runtime_id = reference.partition(SEPARATOR)
            try:
                scope = self.parse_scope(from_b64url(encoded))
            except ValueError as exc:
                raise errors.NotFound("There is no runtime of this id.") from exc
        if not is_uuid(runtime_id):
            raise errors.NotFound("There is no runtime of this id.")
        return RuntimeRef(scope, runtime_id.lower())

    def reference(self, runtime: Runtime) -> RuntimeRef:
        return RuntimeRef(runtime.scope, runtime.provider_id)

    def format_reference(self, ref: RuntimeRef) -> str:
        return mapping.reference(ref.scope, ref.provider_id, pinned=self.settings.scope is not None)

    def check_create(self, request: CreateRequest) -> None:
        if mapping.labels_disagree(_durable(request)):
            raise errors.ValidationFailed.at(
                "#/labels", "The labels differ from config.metadata.labels, where they would go."
            )
        if request.provider_options:
            detail = "The durable API has no options of its own."
            raise errors.ValidationFailed(
                detail,
                errors=[
                    errors.FieldError(detail, "unknown_field", pointer=errors.pointer("provider_options", name))
                    for name in request.provider_options
                ],
            )

    def wire_create(self, request: CreateRequest, scope: str, *, marker: str | None = None) -> WireCreate:  # noqa: ARG002
        return WireCreate(mapping.create_body(_durable(request)))

    async def send_create(
        self,
        wire: WireCreate,
        scope: str,
        call: Call,
        *,
        idempotency_key: str | None = None,  # noqa: ARG002
    ) -> Created:
        path = self.calls.runtimes_path(scope)
        response = await self.calls.send(Operation.CREATE, "POST", path, call, body=wire.body)
        body, runtime = self.calls.decoded(
            Operation.CREATE, response, lambda body: self.calls.read_runtime(body, scope)
        )
        created = body.created if isinstance(body.created, bool) else response.status == 201
        return Created(runtime, created, native=mapping.unmarked(response.body))

    async def account(self, call: Call) -> str:
        return await self.calls.account(call)

    def get(self, ref: RuntimeRef, call: Call) -> Coroutine[Any, Any, Runtime]:
        return self._call(Operation.GET, "GET", ref, call)

    async def find(self, scope: str, name: str, call: Call) -> Sequence[Runtime]:
        return await find_by_name(self.calls, scope, name, call)

    async def list(self, query: ProviderQuery, call: Call) -> ProviderPage:
        return await list_page(self.calls, query, call)

    async def check_credentials(self, call: Call) -> None:
        if self.settings.scope is not None:
            await self.calls.page(self.settings.scope, [("limit", "1")], call)
            return
        response = await self.calls.send(Operation.GET, "GET", self.calls.user_path, call)
        self.calls.decoded(Operation.GET, response, wire.any_object.decode)

    async def start(self, ref: RuntimeRef, options: StartRequest, call: Call) -> Runtime:
        return await self._call(Operation.START, "POST", ref, call, "start", body=mapping.start_body(options))

    async def pause(self, ref: RuntimeRef, call: Call) -> Runtime:
        return await self._call(Operation.PAUSE, "POST", ref, call, "pause")

    async def resume(self, ref: RuntimeRef, call: Call) -> Runtime:
        return await self._call(Operation.RESUME, "POST", ref, call, "resume")

    async def reset(self, ref: RuntimeRef, call: Call) -> Runtime:
        return await self._call(Operation.RESET, "POST", ref, call, "reset")

    async def keepalive(self, ref: RuntimeRef, extend_seconds: int, call: Call) -> Lease:
        body = mapping.encode({"extend_seconds": extend_seconds}, "#/extend_seconds")
        response = await self._send(Operation.KEEPALIVE, "POST", ref, call, "keepalive", body=body)
        lease = self.calls.decoded(Operation.KEEPALIVE, response, wire.keepalive_response.decode)
        return Lease(id=format_runtime_id(self.name, self.format_reference(ref)), expires_at=lease.expires_at)

    async def connections(self, ref: RuntimeRef, call: Call) -> Sequence[Connection]:
        # Only start returns the token. On a running runtime it reads the credential and changes nothing.
        response = await self._send(Operation.CONNECT, "POST", ref, call, "start", body=b"{}")
        return self.started(Operation.CONNECT, ref, response)[1]

    def started(
        self, operation: Operation, ref: RuntimeRef, response: UpstreamResponse
    ) -> tuple[Runtime, Sequence[Connection]]:
        runtime, body = self.calls.runtime_and_body(operation, ref, response)
        url, token = body.instance.sandbox_url if body.instance else None, body.sandbox_token
        instance = runtime.durable.instance if runtime.durable else None
        if runtime.state is not State.RUNNING or instance is None or not url or not token:
            return runtime, []
        return runtime, [Connection(protocol="runtime_server", url=url, token=token, expires_at=instance.expires_at)]

    async def get_config(self, ref: RuntimeRef, call: Call) -> ConfigDocument:
        response = await self._send(Operation.GET_CONFIG, "GET", ref, call, "config")
        return mapping.converted(self.calls.decoded(Operation.GET_CONFIG, response, _config), ConfigDocument)

    async def replace_config(self, ref: RuntimeRef, config: RuntimeConfig, call: Call) -> ConfigDocument:
        body = mapping.encode({"config": config.document}, "#/config")
        response = await self._send(Operation.REPLACE_CONFIG, "PUT", ref, call, "config", body=body)
        return mapping.converted(self.calls.decoded(Operation.REPLACE_CONFIG, response, _config), ConfigDocument)

    async def list_capabilities(self, ref: RuntimeRef, call: Call) -> Sequence[CapabilityBinding]:
        response = await self._send(Operation.LIST_CAPABILITIES, "GET", ref, call, "capabilities")
        body = self.calls.decoded(Operation.LIST_CAPABILITIES, response, wire.bindings_body.decode)
        return [mapping.converted(item, CapabilityBinding) for item in body.items or ()]

    async def install_capability(self, ref: RuntimeRef, request: InstallCapability, call: Call) -> CapabilityBinding:
        body = mapping.capability_body(request)
        response = await self._send(Operation.INSTALL_CAPABILITY, "POST", ref, call, "capabilities", body=body)
        return await self._changed_binding(Operation.INSTALL_CAPABILITY, response, ref, call, name=request.name)

    async def update_capability(
        self, ref: RuntimeRef, binding_id: str, request: UpdateCapability, call: Call
    ) -> CapabilityBinding:
        body, operation = mapping.capability_body(request), Operation.UPDATE_CAPABILITY
        response = await self._send(operation, "PATCH", ref, call, "capabilities", binding_id, body=body)
        return await self._changed_binding(operation, response, ref, call, binding_id=binding_id)

    async def remove_capability(self, ref: RuntimeRef, binding_id: str, call: Call) -> None:
        await self._send(Operation.REMOVE_CAPABILITY, "DELETE", ref, call, "capabilities", binding_id)

    async def resolved_capabilities(self, ref: RuntimeRef, call: Call) -> ResolvedCapabilities:
        operation = Operation.RESOLVE_CAPABILITIES
        response = await self._send(operation, "GET", ref, call, "capabilities", "resolved")
        body = self.calls.decoded(operation, response, wire.resolved_list_body.decode)
        return mapping.converted(body, ResolvedCapabilities)

    def _send(
        self, operation: Operation, method: str, ref: RuntimeRef, call: Call, *below: str, body: bytes | None = None
    ) -> Awaitable[UpstreamResponse]:
        path = self.calls.runtimes_path(ref.scope, ref.provider_id, *below)
        return self.calls.send(operation, method, path, call, body=body)

    async def _call(
        self, operation: Operation, method: str, ref: RuntimeRef, call: Call, *below: str, body: bytes | None = None
    ) -> Runtime:
        path = self.calls.runtimes_path(ref.scope, ref.provider_id, *below)
        response = await self.calls.exchange(operation, method, path, call, body=body)
        return self.calls.runtime(operation, ref, self.calls.succeeded(operation, response))

    async def _changed_binding(
        self,
        operation: Operation,
        response: UpstreamResponse,
        ref: RuntimeRef,
        call: Call,
        *,
        name: str | None = None,
        binding_id: str | None = None,
    ) -> CapabilityBinding:
        """The binding in the response to a change; from the list, if the response holds none or another one.

        Raises :class:`OutcomeUnknown` when the list cannot be read: the provider accepted the change, so the error
        must not suggest that nothing changed. Raises :class:`ProviderBadResponse` when the list lacks the binding.
        """
        returned = _binding(response)
        if returned is not None and (name is not None or returned.id == binding_id):
            return returned
        try:
            bindings = await self.list_capabilities(ref, call)
        except (errors.GatewayError, TransportFailure) as exc:
            raise errors.OutcomeUnknown(
                f"The provider {self.name} accepted the change, but it could not be read back.",
                failure=errors.ProviderFailure(self.name, status=response.status),
            ) from exc
        for binding in bindings:
            if binding_id == binding.id or name == binding.name:
                return binding
        raise self.calls.bad_response(response, f"accepted {operation.value} but does not list the binding")


def _config(body: bytes) -> wire.ConfigBody:
    config: wire.ConfigBody = wire.config_body.decode(mapping.unmarked(body))
    return config


def _durable(request: CreateRequest) -> CreateDurable:
    if not isinstance(request, CreateDurable):
        detail = "The durable API creates runtimes of kind durable only."
        raise errors.UnsupportedFeature.at("#/kind", detail, code="unsupported")
    return request


def _binding(response: UpstreamResponse) -> CapabilityBinding | None:
    """The binding in a response whose format is not documented; None when it holds no binding."""
    try:
        return mapping.converted(wire.binding_body.decode(response.body), CapabilityBinding)
    except (ValueError, RecursionError):
        return None
