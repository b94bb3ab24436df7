"""Parses the durable API's bodies and queries into domain requests. Errors name fields as the API does."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import msgspec
from pydantic import BaseModel, Field

from adapters.durable.calls import MAX_LIMIT
from adapters.durable.dialect.errors import location
from adapters.durable.mapping import CREATE_FIELDS, START_FIELDS, STATES
from adapters.durable.wire import any_json
from gateway.domain.errors import FieldError, GatewayError, ValidationFailed, pointer
from gateway.domain.requests import (
    CreateDurable,
    InstallCapability,
    KeepaliveRequest,
    ReplaceConfig,
    StartRequest,
    UpdateCapability,
)
from gateway.domain.validation import Input, validate
from gateway.domain.values import is_uuid

ModelT = TypeVar("ModelT", bound=BaseModel)

_CREATE: Final = {member: field for field, member in CREATE_FIELDS.items()}
_NULLABLE: Final = ("project", "config")  # for these null differs from a missing member; for all others it is the same
_START: Final = {member: field for field, member in START_FIELDS.items()}


class NewProject(Input):
    """Body of ``POST …/projects``, as the provider's own client sends it."""

    name: Annotated[str, Field(min_length=1)]
    key: Annotated[str, Field(min_length=1)] | None = None
    description: str | None = None


def parse_create(raw: bytes) -> tuple[CreateDurable, bool]:
    """A create, and whether it has a key; without one, its name is not set.

    Only the provider judges the form of a key, because its rules may allow more than the gateway's rules for names.
    Raises :class:`ValidationFailed` with all errors.
    """
    document = json_object(raw)
    known = {name: value for name, value in document.items() if name in _NULLABLE or value is not None}
    key = known.pop("key", None)
    faults = []
    if key is not None and not (isinstance(key, str) and key):
        faults.append(FieldError("A key is a text of at least one character.", "string_type", pointer=pointer("key")))
    request = _parsed(CreateDurable, known, _CREATE, {"kind": "durable"}, faults)
    return (request, False) if key is None else (named(request, key), True)


def named(request: CreateDurable, key: str) -> CreateDurable:
    return request.model_copy(update={"name": key})


def parse_start(raw: bytes) -> StartRequest:
    """The options of a start. No body, null and ``{}`` are equivalent."""
    return _parsed(StartRequest, json_object(raw, required=False), _START)


def parse_keepalive(raw: bytes) -> KeepaliveRequest:
    """A keepalive. ``extend_seconds`` is required: the API has no default."""
    document, field = json_object(raw), "extend_seconds"
    missing = [] if field in document else [FieldError("This field is required.", "required", pointer=pointer(field))]
    return _parsed(KeepaliveRequest, document, {field: field}, faults=missing)


def parse_config(raw: bytes) -> ReplaceConfig:
    return _parsed(ReplaceConfig, json_object(raw))


def parse_install(raw: bytes) -> InstallCapability:
    """An install. A ``version`` of null means the latest."""
    document = json_object(raw)
    if document.get("version", "") is None:
        del document["version"]
    return _parsed(InstallCapability, document)


def parse_update(raw: bytes) -> UpdateCapability:
    return _parsed(UpdateCapability, json_object(raw))


def parse_project(raw: bytes) -> NewProject:
    return _parsed(NewProject, json_object(raw))


def without_connections(body: bytes) -> bytes:
    """The JSON of a response with null for the addresses of sandboxes and their tokens."""
    document = any_json.decode(body)
    rows = document.get("items") if isinstance(document, dict) else None
    for row in (document, *(rows if isinstance(rows, list) else ())):
        if isinstance(row, dict):
            for part in (row, row.get("instance")):
                if isinstance(part, dict):
                    part.update({name: None for name in ("sandbox_url", "sandbox_token") if name in part})
    return msgspec.json.encode(document)


def parse_list(query: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The query of a list to send to the provider: what the caller sent, with the states joined by commas.

    Raises :class:`ValidationFailed` with all errors; also for an unknown parameter, which would not filter.
    """
    faults = list(_query_faults(query))
    if faults:
        raise _failed(faults)
    states = [value for name, value in query if name == "state"]
    sent = [(name, value) for name, value in query if name != "state"]
    return [*sent, ("state", ",".join(states))] if states else sent


def in_native_names(error: GatewayError) -> GatewayError:
    """The error of a create or a start, with the gateway's field names in its pointers replaced by the API's."""
    error.errors = tuple(_renamed(fault, _CREATE) for fault in error.errors)
    return error


def json_object(raw: bytes, *, required: bool = True) -> dict[str, Any]:
    """A body that is a JSON object. If it is not ``required``, no body and null are equivalent to ``{}``.

    Raises :class:`ValidationFailed` that points to the whole body.
    """
    try:
        document = any_json.decode(raw) if raw else None
    except (ValueError, RecursionError) as exc:
        raise ValidationFailed.at("#", "The body is not JSON.", code="json_invalid") from exc
    if document is None and not required:
        return {}
    if document is None:
        raise ValidationFailed.at("#", "A body is required.", code="missing")
    if not isinstance(document, dict):
        raise ValidationFailed.at("#", "The body has to be a JSON object.", code="dict_type")
    return document


def _parsed(
    model: type[ModelT],
    document: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    faults: Sequence[FieldError] = (),
) -> ModelT:
    """``document`` as ``model``. ``names`` maps the API's names to the model's; None means that they are the same."""
    names = names or {name: name for name in model.model_fields}
    found = list(faults)
    found += [
        FieldError("There is no field of this name here.", "unknown_field", pointer=pointer(name))
        for name in document
        if name not in names
    ]
    data = {names[name]: value for name, value in document.items() if name in names}
    try:
        parsed = validate(model, {**data, **(fixed or {})})
    except ValidationFailed as exc:
        raise _failed([*found, *(_renamed(fault, names) for fault in exc.errors)]) from exc
    if found:
        raise _failed(found)
    return parsed


def _renamed(fault: FieldError, names: Mapping[str, str]) -> FieldError:
    if fault.pointer is None:
        return fault
    native = {in_model: in_api for in_api, in_model in names.items()}
    _, *parts = fault.pointer.split("/")
    if parts:
        parts[0] = native.get(parts[0], parts[0])
    return FieldError(fault.detail, fault.code, pointer="/".join(("#", *parts)))


def _failed(faults: Sequence[FieldError]) -> ValidationFailed:
    first = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return ValidationFailed(f"{'.'.join(map(str, location(first)))}: {first.detail}{more}", errors=faults)


def _query_faults(query: Sequence[tuple[str, str]]) -> Iterator[FieldError]:
    seen = set()
    for name, value in query:
        if name in seen and name != "state":
            yield FieldError("This parameter was sent twice.", "value_error", parameter=name)
        seen.add(name)
        fault = _query_fault(name, value)
        if fault is not None:
            yield FieldError(*fault, parameter=name)


def _query_fault(name: str, value: str) -> tuple[str, str] | None:
    if name == "state" and not set(value.split(",")) <= STATES.keys():
        return f"A state is one of {', '.join(STATES)}.", "enum"
    if name == "owner" and value != "me":
        return "The only allowed owner is me.", "enum"
    if name == "project_id" and not is_uuid(value):
        return "This has to be a UUID.", "uuid_parsing"
    if name == "limit":
        if not (value.isdecimal() and value.isascii() and len(value) <= 9):
            return "This has to be an integer.", "int_parsing"
        if not 1 <= int(value) <= MAX_LIMIT:
            return f"This has to be 1 to {MAX_LIMIT}.", "less_than_equal" if int(value) else "greater_than_equal"
    if name not in {"state", "owner", "project_id", "limit", "cursor"}:
        return "There is no parameter of this name here.", "extra_forbidden"
    return None
