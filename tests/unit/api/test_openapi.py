"""The OpenAPI document."""

import ast
import json
import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import gateway
from gateway.api.openapi import ROUTES, openapi_document, openapi_json
from gateway.api.openapi_schemas import STATIC, property_texts
from gateway.domain.errors import FieldError, OutcomeUnknown, ProviderFailure, error_classes
from gateway.domain.requests import CREATE_REQUESTS
from gateway.http.problems import STATUS, problem_document

DOCUMENT = openapi_document()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def response_of(operation: dict[str, Any], status: str) -> Any:
    response = operation["responses"][status]
    return DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]] if "$ref" in response else response


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The properties of a schema and of objects in it, each with its name and whether it is required."""
    for name, part in schema.get("properties", {}).items():
        yield name, part, name in schema.get("required", ())
        yield from properties(part)


def validator(name: str) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(schema)


def test_it_is_valid_json() -> None:
    assert json.loads(openapi_json()) == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_route_has_a_unique_operation_id() -> None:
    assert len(list(operations())) == sum(1 + len(route.aliases) for route in ROUTES)
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(ids)) == len(ids)


def test_operation_ids_are_names_of_functions() -> None:
    """Also in the style of Python, which most generators for it convert to."""
    ids = [operation["operationId"] for _, _, operation in operations()]
    in_python = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() for name in ids]
    assert len(set(in_python)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", name) for name in in_python)
    assert not [name for name in in_python if keyword.iskeyword(name)]


def test_every_property_is_described_and_every_description_is_used() -> None:
    texts = property_texts()
    described: set[tuple[str, str]] = set()
    for model, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], model
        assert "``" not in schema["description"], model
        for name, part, _ in properties(schema):
            assert part["description"].strip().endswith((".", "}")), (model, name)
            described |= {
                (where, name)
                for where in (model, "*")
                if part["description"].startswith(texts.get(where, {}).get(name, "?"))
            }
    written = {(model, name) for model, named in texts.items() for name in named}
    assert written == described


def test_no_property_has_a_default_which_generators_would_make_required() -> None:
    for model, schema in DOCUMENT["components"]["schemas"].items():
        for name, part, _ in properties(schema):
            assert "default" not in part, (model, name)
    create = DOCUMENT["components"]["schemas"]["CreateDurable"]
    assert create["required"] == ["kind"]
    assert create["properties"]["if_exists"]["description"].endswith('Default: "return".')
    connect = DOCUMENT["components"]["schemas"]["ConnectRequest"]
    assert connect["properties"]["ttl"]["description"].endswith("Default: 3600.")


def test_times_are_date_times() -> None:
    times = {
        (model, name)
        for model, schema in DOCUMENT["components"]["schemas"].items()
        for name, part, _ in properties(schema)
        for option in part.get("anyOf", [part])
        if option.get("format") == "date-time"
    }
    named = {
        (model, name)
        for model, schema in DOCUMENT["components"]["schemas"].items()
        for name, _, _ in properties(schema)
        if name.endswith("_at")
    }
    others = {
        ("AuditEvent", "at"),
        ("Usage", "as_of"),
        ("ProviderMinute", "at"),
        ("IntentAttemptView", "first_send"),
        ("IntentAttemptView", "last_send"),
    }
    assert times == named | others


def test_every_array_has_the_schema_of_its_items() -> None:
    for model, schema in DOCUMENT["components"]["schemas"].items():
        for name, part, _ in properties(schema):
            for option in part.get("anyOf", [part]):
                assert option.get("type") != "array" or "items" in option, (model, name)


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.code)
def test_every_error_has_an_example_of_its_own(cls: Any) -> None:
    example = DOCUMENT["components"]["examples"][cls.code]["value"]
    validator("Problem").validate(example)
    assert (example["code"], example["status"]) == (cls.code, STATUS[cls])
    assert len(STATIC["error_examples"][cls.code]["detail"]) > 10
    assert (example["source"] == "provider") <= ("provider" in example)


def test_every_failure_of_an_operation_has_an_example_for_each_of_its_codes() -> None:
    assert set(STATIC["error_examples"]) == {cls.code for cls in error_classes()}
    for _, _, operation in operations():
        for status in operation["responses"]:
            response = response_of(operation, status)
            for media_type, content in response.get("content", {}).items():
                if media_type == "application/problem+json":
                    codes = set(re.findall(r"`(\w+)`", response["description"]))
                    assert codes == set(content["examples"])
                    for code, example in content["examples"].items():
                        value = (DOCUMENT["components"]["examples"][code] if "$ref" in example else example)["value"]
                        assert (value["code"], str(value["status"])) == (code, status)
                        validator("Problem").validate(value)


def test_examples_of_an_operation_name_its_own_parameter_field_and_scope() -> None:
    def example(method: str, path: str, status: str, code: str) -> Any:
        response = response_of(DOCUMENT["paths"][path][method], status)
        return response["content"]["application/problem+json"]["examples"][code]["value"]

    audit = example("get", "/v1/audit", "400", "invalid_request")
    assert audit["errors"][0]["parameter"] == "principal"
    assert example("get", "/v1/audit", "403", "permission_denied")["scope"] == "audit"
    install = example("post", "/v1/runtimes/{id}/capabilities", "422", "validation_failed")
    assert install["errors"] == [{"detail": "This field is required.", "code": "required", "pointer": "#/name"}]
    assert example("post", "/v1/runtimes/{id}/pause", "422", "validation_failed")["errors"][0]["pointer"] == "#/unknown"


def test_operations_share_their_failures() -> None:
    failures = [op["responses"][status] for _, _, op in operations() for status in op["responses"] if status >= "400"]
    assert all(list(failure) == ["$ref"] for failure in failures)
    assert len(DOCUMENT["components"]["responses"]) * 10 < len(failures)
    assert len(openapi_json()) < 256_000


def test_every_reference_resolves() -> None:
    for reference in set(references(DOCUMENT)):
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert target


def test_every_schema_is_valid() -> None:
    for name in DOCUMENT["components"]["schemas"]:
        validator(name)


def test_every_path_parameter_is_declared() -> None:
    for _, path, operation in operations():
        declared = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path))


def test_an_operation_that_needs_a_key_declares_security_and_401() -> None:
    for _, path, operation in operations():
        needs_key = path.startswith("/v1/") or path == "/metrics"
        assert bool(operation["security"]) is needs_key
        assert ({} in operation["security"]) is (path == "/metrics"), "only some listeners need a key for metrics"
        assert ("401" in operation["responses"]) is needs_key


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.code)
def test_every_problem_conforms_to_its_schema(cls: Any) -> None:
    error = cls(
        "What happened.",
        failure=ProviderFailure("p", status=503),
        retry_after=1.5,
        errors=[FieldError("Bad.", "invalid", header="If-Match")],
        extra={"incomplete": [("p", cls("Inner."))]},
    )
    document = problem_document(error, "id")
    assert document["status"] == STATUS[cls]
    validator("Problem").validate(document)


def test_the_problem_of_an_unknown_create_is_described_completely() -> None:
    members = {"intent": "in_1", "name": "n", "idempotency_key": "k"}
    tried = {"attempts": [{"provider": "p", "code": "provider_unavailable"}], "state": "idle", "feature": "pause"}
    document = problem_document(OutcomeUnknown("Nobody knows.", retry_after=2.0, extra={**members, **tried}), "id")
    validator("Problem").validate(document)
    for name in {**members, **tried}:
        assert not validator("Problem").is_valid({**document, name: 1})


def _members_set_on_errors(tree: ast.AST) -> Iterator[str]:
    """The keys of dicts that are passed or assigned as ``extra``, and keys that are set on one later."""
    for node in ast.walk(tree):
        given = [node.value] if isinstance(node, ast.keyword) and node.arg == "extra" else []
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                if "extra" in {getattr(target.value, "id", None), getattr(target.value, "attr", None)}:
                    yield str(target.slice.value)
            elif getattr(target, "id", None) == "extra":
                given = [node.value]
        for inner in (part for value in given for part in ast.walk(value) if isinstance(part, ast.Dict)):
            yield from (str(key.value) for key in inner.keys if isinstance(key, ast.Constant))


def test_every_extra_member_of_an_error_is_described() -> None:
    sources = (Path(gateway.__file__).parent / "services").rglob("*.py")
    members = {name for source in sources for name in _members_set_on_errors(ast.parse(source.read_text("utf-8")))}
    assert {"intent", "name", "idempotency_key", "attempts", "incomplete", "state", "feature"} <= members
    assert members <= DOCUMENT["components"]["schemas"]["Problem"]["properties"].keys()


def test_a_create_is_discriminated_by_kind() -> None:
    body = DOCUMENT["paths"]["/v1/runtimes"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["schema"]["discriminator"]["mapping"]) == set(CREATE_REQUESTS)
    for example in body["examples"].values():
        wanted = CREATE_REQUESTS[example["value"]["kind"]]
        validator(wanted.__name__).validate(example["value"])
        wanted.model_validate(example["value"])


def test_responses_may_gain_states_and_members() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "enum" not in schemas["State"]
    assert "additionalProperties" not in schemas["Runtime"]


def test_only_members_that_are_always_present_are_required() -> None:
    required = set(DOCUMENT["components"]["schemas"]["Runtime"]["required"])
    assert {"id", "state", "etag", "provider_data"} <= required
    assert not {"created", "changed", "warnings"} & required
    assert set(DOCUMENT["components"]["schemas"]["Page"]["required"]) == {
        "object",
        "items",
        "next_cursor",
        "incomplete",
    }


def test_a_page_with_warnings_conforms_to_its_schema() -> None:
    """Only the fields that every warning has are required."""
    whole = {"detail": "d", "pointer": "#/items/1", "provider": "p", "provider_id": "u"}
    page = {"object": "list", "items": [], "next_cursor": None, "incomplete": [], "warnings": [whole, {"detail": "d"}]}
    validator("Page").validate(page)
    assert not validator("Page").is_valid({**page, "warnings": [{"pointer": "#"}]})
