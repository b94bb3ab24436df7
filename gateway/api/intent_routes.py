"""The calls about intents, for the route table."""

from typing import Final

from gateway.api.documented_errors import ANY_CALL, BODY
from gateway.api.handlers import Handlers
from gateway.api.queries import INTENT_PARAMETERS
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.requests import ResolveIntent
from gateway.domain.values import Permission
from gateway.services.intents.records import IntentList, IntentView

_ERRORS: Final = (*ANY_CALL, errors.PermissionDenied, errors.InternalError, errors.StoreUnavailable)

INTENT_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/intents",
        operation_id="listIntents",
        permission=Permission.READ,
        summary="List creates and their outcomes",
        description="Newest first: with the scope admin those of all principals, else the caller's own.",
        handler=Handlers.list_intents,
        parameters=INTENT_PARAMETERS,
        successes={200: Success("A page.", IntentList)},
        errors=_ERRORS,
        tag="intents",
    ),
    Route(
        method="GET",
        path="/v1/intents/{id}",
        operation_id="getIntent",
        permission=Permission.READ,
        summary="Read the outcome of a create",
        description="Without the scope admin only one of the caller's own.",
        handler=Handlers.get_intent,
        successes={200: Success("The intent.", IntentView)},
        errors=(*_ERRORS, errors.NotFound),
        tag="intents",
    ),
    Route(
        method="POST",
        path="/v1/intents/{id}/resolve",
        operation_id="resolveIntent",
        permission=Permission.ADMIN,
        summary="Record the outcome of a parked create",
        description="No provider is called. After absent, a caller can create the runtime again, so be sure.",
        handler=Handlers.resolve_intent,
        bodies=(ResolveIntent,),
        body_required=True,
        successes={200: Success("The intent afterwards.", IntentView)},
        errors=(*_ERRORS, *BODY, errors.NotFound, errors.StateConflict),
        tag="intents",
    ),
)
