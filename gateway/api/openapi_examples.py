"""The examples of errors in the OpenAPI document: one for each code, and those of an operation that differ from it."""

from typing import Any, Final

from gateway.api.openapi_schemas import STATIC
from gateway.api.route import Route
from gateway.domain.errors import GatewayError, InvalidRequest, PermissionDenied, ValidationFailed, error_classes
from gateway.http.problems import problem_document

_REQUEST_ID: Final = "0b6f3c1e-5f0a-4f5c-9c57-0f6f4a3d2b11"


def examples() -> dict[str, Any]:
    return {cls.code: _example(cls, STATIC["error_examples"][cls.code]) for cls in error_classes()}


def example_of(cls: type[GatewayError], route: Route) -> dict[str, Any]:
    members = _members(cls, route)
    return {"$ref": f"#/components/examples/{cls.code}"} if members is None else _example(cls, members)


def _example(cls: type[GatewayError], members: dict[str, Any]) -> dict[str, Any]:
    return {"summary": cls.title, "value": problem_document(cls(""), _REQUEST_ID) | members}


def _members(cls: type[GatewayError], route: Route) -> dict[str, Any] | None:
    """What the problem says about a parameter, a member of the body or the permission of the call; None: nothing."""
    if cls is PermissionDenied and route.permission is not None:
        scope = route.permission.value
        detail = f"This call needs the scope {scope}, which the caller shop does not have."
        return {"detail": detail, "scope": scope}
    if cls is InvalidRequest and route.parameters:
        parameter = route.parameters[0]
        fault = {"detail": f"This has to be {parameter.expected}.", "code": "invalid", "parameter": parameter.name}
        return {"detail": f"Query parameter {parameter.name}: {fault['detail']}", "errors": [fault]}
    if cls is ValidationFailed and route.bodies:
        required = [name for name, field in route.bodies[0].model_fields.items() if field.is_required()]
        pointer, detail, code = "#/unknown", "There is no field of this name here.", "unknown_field"
        if required:
            pointer, detail, code = f"#/{required[0]}", "This field is required.", "required"
        return {"detail": f"{pointer}: {detail}", "errors": [{"detail": detail, "code": code, "pointer": pointer}]}
    return None
