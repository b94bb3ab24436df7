"""The calls about owners, for the route table."""

from typing import Final

from gateway.api.documented_errors import BODY, READ_ERRORS
from gateway.api.handlers import Handlers
from gateway.api.route import Route, Success
from gateway.domain import errors
from gateway.domain.access import Permission
from gateway.domain.requests import AssignOwner
from gateway.domain.runtime import Runtime

OWNER_ROUTES: Final[tuple[Route, ...]] = (
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
)
