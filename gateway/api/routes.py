"""The route table: from it come aiohttp's routes and the OpenAPI document, so that neither can forget one."""

from typing import Final

from gateway.api.call_errors import (
    ANY_CALL,
    BODY,
    COMPUTE_ERRORS,
    CONDITIONAL,
    PROVIDER,
    READ_ERRORS,
    WRITE_ERRORS,
    Errors,
)
from gateway.api.handlers import Handlers
from gateway.api.queries import LIST_PARAMETERS
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.pages import Page
from gateway.domain.requests import (
    ConnectRequest,
    CreateBrowser,
    CreateDurable,
    InstallCapability,
    KeepaliveRequest,
    NoOptions,
    ReplaceConfig,
    StartRequest,
    StopRequest,
    UpdateCapability,
)
from gateway.domain.runtime import (
    CapabilityBinding,
    CapabilityBindings,
    ConfigDocument,
    Connections,
    Lease,
    ResolvedCapabilities,
    Runtime,
)
from gateway.domain.validation import Input
from gateway.services.providers import ProviderList, ProviderView

_RUNTIME: Final = {200: Success("The runtime as it is then; changed says whether this call did it.", Runtime)}


_SPARES: Final = "With If-Match it ends what the caller knows, and nothing that was started since."


def _verb(
    name: str,
    summary: str,
    description: str = "",
    *,
    body: type[Input] = NoOptions,
    ends: Errors = WRITE_ERRORS,
) -> Route:
    return Route(
        method="POST",
        path=f"/v1/runtimes/{{id}}/{name}",
        operation_id=f"{name}Runtime",
        summary=summary,
        description=description,
        handler=getattr(Handlers, name),
        bodies=(body,),
        request_headers=("If-Match",) if ends is CONDITIONAL else (),
        successes=_RUNTIME,
        errors=ends,
        tag="verbs",
    )


_READ: Final = ("ETag", "Cache-Status", "Age")
_UNCHANGED: Final = Success("It is as the caller knows it.", None, _READ)

V1_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/v1/runtimes",
        operation_id="createRuntime",
        summary="Create a runtime",
        description="A runtime that has the name already is answered with 200 and created: false, unless it differs in "
        "what was sent, or if_exists is fail. With an Idempotency-Key the same request can be sent again for a day: it "
        "makes one runtime, and is answered the same each time.",
        handler=Handlers.create,
        request_headers=("Idempotency-Key",),
        bodies=(CreateDurable, CreateBrowser),
        body_required=True,
        successes={
            201: Success("It was made.", Runtime, ("Location", "Idempotency-Replayed")),
            200: Success("It existed.", Runtime, ("Idempotency-Replayed",)),
        },
        errors=(
            *ANY_CALL,
            *BODY,
            *PROVIDER,
            errors.InsufficientCredits,
            errors.NotFound,
            errors.AlreadyExists,
            errors.StateConflict,
            errors.IdempotencyInProgress,
            errors.IdempotencyKeyReused,
            errors.QuotaExceeded,
            errors.CapacityExceeded,
            errors.StoreUnavailable,
            errors.OutcomeUnknown,
        ),
    ),
    Route(
        method="GET",
        path="/v1/runtimes",
        operation_id="listRuntimes",
        summary="List runtimes of all providers",
        description="Pages may be short, even empty, while next_cursor is set. A provider that fails is named in "
        "incomplete and asked again for the next page. Runtimes that cannot be read are left out, with warnings.",
        handler=Handlers.list,
        parameters=LIST_PARAMETERS,
        request_headers=("If-None-Match", "Cache-Control"),
        successes={200: Success("A page. ETag where no provider is missing.", Page, _READ), 304: _UNCHANGED},
        errors=(*ANY_CALL, errors.InternalError, errors.ProviderUnavailable),
    ),
    Route(
        method="GET",
        path="/v1/runtimes/{id}",
        operation_id="getRuntime",
        summary="Read a runtime",
        handler=Handlers.get,
        request_headers=("If-None-Match", "Cache-Control"),
        successes={200: Success("The runtime.", Runtime, _READ), 304: _UNCHANGED},
        errors=READ_ERRORS,
    ),
    Route(
        method="DELETE",
        path="/v1/runtimes/{id}",
        operation_id="deleteRuntime",
        summary="Delete a runtime for good",
        handler=Handlers.delete,
        successes={204: Success("It is gone.")},
        errors=(*READ_ERRORS, errors.StateConflict, errors.OutcomeUnknown),
    ),
    _verb("start", "Bring compute to a runtime", body=StartRequest, ends=COMPUTE_ERRORS),
    _verb("pause", "Freeze the compute"),
    _verb("resume", "Wake a paused runtime", ends=COMPUTE_ERRORS),
    _verb(
        "stop",
        "End the compute",
        f"A stop never destroys silently: where the state inside is lost, discard_state has to be true. {_SPARES}",
        body=StopRequest,
        ends=CONDITIONAL,
    ),
    _verb("reset", "Throw the compute away, with the state inside", _SPARES, ends=CONDITIONAL),
    Route(
        method="POST",
        path="/v1/runtimes/{id}/keepalive",
        operation_id="keepaliveRuntime",
        summary="Push the expiry",
        handler=Handlers.keepalive,
        bodies=(KeepaliveRequest,),
        successes={200: Success("The new expiry.", Lease)},
        errors=WRITE_ERRORS,
        tag="verbs",
    ),
    Route(
        method="POST",
        path="/v1/runtimes/{id}/connections",
        operation_id="connectRuntime",
        summary="Ways into a running runtime, secrets included",
        handler=Handlers.connections,
        bodies=(ConnectRequest,),
        successes={200: Success("All ways in, or those of the protocol that was asked for.", Connections)},
        errors=COMPUTE_ERRORS,
        tag="verbs",
    ),
    Route(
        method="GET",
        path="/v1/runtimes/{id}/config",
        operation_id="getRuntimeConfig",
        summary="Read the config",
        handler=Handlers.get_config,
        request_headers=("If-None-Match",),
        successes={
            200: Success("The whole config.", ConfigDocument, ("ETag",)),
            304: Success("It is as the caller knows it.", None, ("ETag",)),
        },
        errors=READ_ERRORS,
        tag="config",
    ),
    Route(
        method="PUT",
        path="/v1/runtimes/{id}/config",
        operation_id="replaceRuntimeConfig",
        summary="Replace the config wholesale",
        description="What is left out goes back to the provider's default. If-Match is checked by the gateway under a "
        "lock of its own: changes made elsewhere in the same moment are not seen. A config that is already what was "
        "sent is a success, whatever If-Match says.",
        handler=Handlers.replace_config,
        bodies=(ReplaceConfig,),
        body_required=True,
        request_headers=("If-Match",),
        successes={200: Success("The config as it is then.", ConfigDocument, ("ETag",))},
        errors=CONDITIONAL,
        tag="config",
    ),
    Route(
        method="GET",
        path="/v1/runtimes/{id}/capabilities/resolved",
        operation_id="getResolvedCapabilities",
        summary="What the enabled capabilities resolve to",
        handler=Handlers.resolved_capabilities,
        successes={200: Success("The bundles.", ResolvedCapabilities)},
        errors=READ_ERRORS,
        tag="capabilities",
    ),
    Route(
        method="GET",
        path="/v1/runtimes/{id}/capabilities",
        operation_id="listCapabilities",
        summary="List the installed capabilities",
        handler=Handlers.list_capabilities,
        successes={200: Success("All bindings.", CapabilityBindings)},
        errors=READ_ERRORS,
        tag="capabilities",
    ),
    Route(
        method="POST",
        path="/v1/runtimes/{id}/capabilities",
        operation_id="installCapability",
        summary="Install a capability",
        handler=Handlers.install_capability,
        bodies=(InstallCapability,),
        body_required=True,
        successes={201: Success("The binding.", CapabilityBinding)},
        errors=(*WRITE_ERRORS, errors.AlreadyExists),
        tag="capabilities",
    ),
    Route(
        method="PATCH",
        path="/v1/runtimes/{id}/capabilities/{binding_id}",
        operation_id="updateCapability",
        summary="Change one thing of an installed capability",
        description="Exactly one of enabled, flags and version. A flag set to null goes back to its default.",
        handler=Handlers.update_capability,
        bodies=(UpdateCapability,),
        body_required=True,
        successes={200: Success("The binding.", CapabilityBinding)},
        errors=(*WRITE_ERRORS, errors.AlreadyExists),
        tag="capabilities",
    ),
    Route(
        method="DELETE",
        path="/v1/runtimes/{id}/capabilities/{binding_id}",
        operation_id="removeCapability",
        summary="Uninstall a capability",
        handler=Handlers.remove_capability,
        successes={204: Success("It is gone.")},
        errors=(*READ_ERRORS, errors.StateConflict, errors.OutcomeUnknown),
        tag="capabilities",
    ),
    Route(
        method="GET",
        path="/v1/providers",
        operation_id="listProviders",
        summary="List the providers",
        handler=Handlers.list_providers,
        successes={200: Success("All providers, in the order of the settings.", ProviderList)},
        errors=(*ANY_CALL, errors.InternalError),
        tag="providers",
    ),
    Route(
        method="GET",
        path="/v1/providers/{name}",
        operation_id="getProvider",
        summary="Read a provider",
        handler=Handlers.get_provider,
        successes={200: Success("The provider, as this process last saw it.", ProviderView)},
        errors=(*ANY_CALL, errors.NotFound, errors.InternalError),
        tag="providers",
    ),
)
