"""The route table. aiohttp's routes and the OpenAPI document are both built from it, so neither can miss a route."""

from collections.abc import Mapping
from typing import Final

from gateway.api.documented_errors import (
    ANY_CALL,
    BODY,
    COMPUTE_ERRORS,
    CONDITIONAL,
    CREATE_ERRORS,
    READ_ERRORS,
    WRITE_ERRORS,
    Errors,
)
from gateway.api.handlers import Handlers
from gateway.api.intent_routes import INTENT_ROUTES
from gateway.api.queries import LIST_PARAMETERS, READ_PARAMETERS, WAIT_PARAMETERS
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.pages import Page
from gateway.domain.requests import (
    CREATE_REQUESTS,
    AssignOwner,
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
    Lease,
    ResolvedCapabilities,
    Runtime,
)
from gateway.domain.validation import Input
from gateway.domain.values import Permission
from gateway.services.access.me import Me
from gateway.services.intents.records import IntentView
from gateway.services.provider_history import ProviderHistoryView
from gateway.services.providers import ProviderList, ProviderView

_RUNTIME: Final = {200: Success("The runtime afterwards; changed says whether this call changed it.", Runtime)}
_ACCEPTED: Final = ("Location", "Retry-After", "Preference-Applied")

_SPARES: Final = "With If-Match it affects only the instance that the caller knows, not one that was started since."


def _verb(
    name: str,
    summary: str,
    description: str = "",
    *,
    body: type[Input] = NoOptions,
    ends: Errors = WRITE_ERRORS,
    successes: Mapping[int, Success] = _RUNTIME,
    waits: bool = False,
) -> Route:
    return Route(
        method="POST",
        path=f"/v1/runtimes/{{id}}/{name}",
        operation_id=f"{name}Runtime",
        permission=Permission.LIFECYCLE,
        summary=summary,
        description=description,
        handler=getattr(Handlers, name),
        bodies=(body,),
        request_headers=("Prefer",) if waits else ("If-Match",) if ends is CONDITIONAL else (),
        parameters=WAIT_PARAMETERS if waits else (),
        successes=successes,
        errors=ends,
        tag="verbs",
    )


_READ: Final = ("ETag", "Cache-Status", "Age")
_UNCHANGED: Final = Success("Not changed.", None, _READ)

V1_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/v1/runtimes",
        operation_id="createRuntime",
        permission=Permission.CREATE,
        summary="Create a runtime",
        description="If a runtime of this name exists, the response is 200 with created: false, unless it differs from "
        "the request or if_exists is fail. With an Idempotency-Key the same request can be repeated for a day: it "
        "makes one runtime and gets the same response each time. With wait or Prefer: respond-async the response is "
        "202 if the runtime takes longer to start; the create goes on.",
        handler=Handlers.create,
        parameters=WAIT_PARAMETERS,
        request_headers=("Idempotency-Key", "Prefer"),
        bodies=tuple(CREATE_REQUESTS.values()),
        body_required=True,
        successes={
            201: Success("Created.", Runtime, ("Location", "Idempotency-Replayed")),
            200: Success("It already existed.", Runtime, ("Idempotency-Replayed",)),
            202: Success("The create goes on: the runtime, or its intent.", Runtime, _ACCEPTED, other=IntentView),
        },
        errors=CREATE_ERRORS,
    ),
    Route(
        method="GET",
        path="/v1/runtimes",
        operation_id="listRuntimes",
        permission=Permission.READ,
        summary="List runtimes of all providers",
        description="Pages may be short, even empty, while next_cursor is set. A provider that fails is named in "
        "incomplete and asked again for the next page. Runtimes that cannot be read are left out, with warnings.",
        handler=Handlers.list,
        parameters=LIST_PARAMETERS,
        request_headers=("If-None-Match", "Cache-Control"),
        successes={200: Success("A page. ETag if no provider is missing.", Page, _READ), 304: _UNCHANGED},
        errors=(*ANY_CALL, errors.InternalError, errors.ProviderUnavailable),
    ),
    Route(
        method="GET",
        path="/v1/runtimes/{id}",
        operation_id="getRuntime",
        permission=Permission.READ,
        summary="Read a runtime",
        description="With wait and If-None-Match the response comes when the runtime has changed, else 304 at the end.",
        handler=Handlers.get,
        parameters=READ_PARAMETERS,
        request_headers=("If-None-Match", "Cache-Control"),
        successes={200: Success("The runtime.", Runtime, _READ), 304: _UNCHANGED},
        errors=READ_ERRORS,
    ),
    Route(
        method="DELETE",
        path="/v1/runtimes/{id}",
        operation_id="deleteRuntime",
        permission=Permission.LIFECYCLE,
        summary="Delete a runtime for good",
        handler=Handlers.delete,
        successes={204: Success("Deleted.")},
        errors=(*READ_ERRORS, errors.StateConflict, errors.OutcomeUnknown),
    ),
    _verb(
        "start",
        "Start compute for a runtime",
        "With wait or Prefer: respond-async the response is 202 if the start takes longer; it goes on.",
        body=StartRequest,
        ends=COMPUTE_ERRORS,
        successes={**_RUNTIME, 202: Success("The start goes on.", Runtime, _ACCEPTED)},
        waits=True,
    ),
    _verb("pause", "Freeze the compute"),
    _verb("resume", "Wake a paused runtime", ends=COMPUTE_ERRORS),
    _verb(
        "stop",
        "End the compute",
        f"A stop never discards state silently: if state would be lost, discard_state has to be true. {_SPARES}",
        body=StopRequest,
        ends=CONDITIONAL,
    ),
    _verb("reset", "Discard the compute and its state", _SPARES, ends=CONDITIONAL),
    _verb("keepalive", "Extend the expiry", body=KeepaliveRequest, successes={200: Success("The new expiry.", Lease)}),
    Route(
        method="GET",
        path="/v1/runtimes/{id}/config",
        operation_id="getRuntimeConfig",
        permission=Permission.READ,
        summary="Read the config",
        handler=Handlers.get_config,
        request_headers=("If-None-Match",),
        successes={
            200: Success("The whole config.", ConfigDocument, ("ETag",)),
            304: Success("Not changed.", None, ("ETag",)),
        },
        errors=READ_ERRORS,
        tag="config",
    ),
    Route(
        method="PUT",
        path="/v1/runtimes/{id}/config",
        operation_id="replaceRuntimeConfig",
        permission=Permission.CONFIG,
        summary="Replace the whole config",
        description="Omitted members get the provider's defaults. The gateway checks If-Match under its own lock; "
        "concurrent changes made elsewhere are not detected. If the config already equals the request, the call "
        "succeeds whatever If-Match says.",
        handler=Handlers.replace_config,
        bodies=(ReplaceConfig,),
        body_required=True,
        request_headers=("If-Match",),
        successes={200: Success("The config afterwards.", ConfigDocument, ("ETag",))},
        errors=CONDITIONAL,
        tag="config",
    ),
    Route(
        method="GET",
        path="/v1/runtimes/{id}/capabilities/resolved",
        operation_id="getResolvedCapabilities",
        permission=Permission.READ,
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
        permission=Permission.READ,
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
        permission=Permission.CONFIG,
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
        permission=Permission.CONFIG,
        summary="Change one property of an installed capability",
        description="Exactly one of enabled, flags and version. A flag set to null returns to its default.",
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
        permission=Permission.CONFIG,
        summary="Uninstall a capability",
        handler=Handlers.remove_capability,
        successes={204: Success("Deleted.")},
        errors=(*READ_ERRORS, errors.StateConflict, errors.OutcomeUnknown),
        tag="capabilities",
    ),
    Route(
        method="GET",
        path="/v1/providers",
        operation_id="listProviders",
        permission=Permission.READ,
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
        permission=Permission.READ,
        summary="Read a provider",
        handler=Handlers.get_provider,
        successes={200: Success("The provider, as last observed by this process.", ProviderView)},
        errors=(*ANY_CALL, errors.NotFound, errors.InternalError),
        tag="providers",
    ),
    Route(
        method="GET",
        path="/v1/providers/{name}/history",
        operation_id="getProviderHistory",
        permission=Permission.READ,
        summary="Read the last hour of a provider by minute",
        handler=Handlers.get_provider_history,
        successes={200: Success("Its calls by class of work, as this process observed them.", ProviderHistoryView)},
        errors=(*ANY_CALL, errors.NotFound, errors.InternalError),
        tag="providers",
    ),
    Route(
        method="GET",
        path="/v1/me",
        operation_id="getMe",
        permission=None,
        summary="Read what the caller is and may do",
        handler=Handlers.me,
        successes={200: Success("The caller.", Me)},
        errors=(*ANY_CALL, errors.InternalError),
        tag="access",
    ),
    Route(
        method="PUT",
        path="/v1/runtimes/{id}/owner",
        operation_id="assignOwner",
        permission=Permission.ADMIN,
        summary="Assign a runtime to an owner",
        description="An assignment wins over the owner that created the runtime; null removes it. The name at the "
        "provider does not change.",
        handler=Handlers.assign_owner,
        bodies=(AssignOwner,),
        body_required=True,
        successes={200: Success("The runtime afterwards.", Runtime)},
        errors=(*READ_ERRORS, *BODY, errors.PermissionDenied, errors.StoreUnavailable),
        tag="access",
    ),
    *INTENT_ROUTES,
)
