"""What the documents and the clients of the providers' APIs say about requests and responses, and the check against it.

The folders beside this module hold the facts of the documents, one file per page:

- ``operations``: method, path, ``query`` (a JSON Schema for each parameter), ``request`` (a JSON Schema; without one
  the operation has no body), ``body: optional`` and ``answers`` (a JSON Schema for each status of a success).
- ``errors``: the ``answer`` of an error for all paths that start with ``below``, and its possible ``statuses``.
- ``shapes``: JSON Schemas that the others refer to as ``#/$defs/NAME``.
- ``examples``: the documents' own examples. They need not have all required members.
- ``headers``: what every request has; ``enumerations``: values that no schema has.

All objects are closed: a member that no fact names is a fault. ``client_facts.py`` prints the facts of a client in the
same form; there ``answer`` stands for every success.
"""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from tests.clients.environments import python_of

FOLDER: Final = Path(__file__).parent
NO_OPERATION: Final = "no operation has this method and path"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its response. ``body`` and ``answer`` are decoded; None stands for no body."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    body: Any
    status: int
    answer: Any
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """The facts of one source. ``operations`` is a list, because a client may have several calls for one route."""

    operations: Sequence[Mapping[str, Any]]
    shapes: Mapping[str, Any]
    errors: Sequence[Mapping[str, Any]] = ()
    examples: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    enumerations: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def operations_at(self, method: str, path: str) -> list[Mapping[str, Any]]:
        """The operations of a route. A path that is written out takes precedence over one with a parameter."""
        found = [
            (pattern.groups, known) for of, pattern, known in self._routes if of == method and pattern.fullmatch(path)
        ]
        fewest = min((groups for groups, _ in found), default=0)
        return [known for groups, known in found if groups == fewest]

    def request_faults(self, exchange: Exchange) -> list[str]:
        """What is wrong with a request; empty for a conforming one."""
        operations = self.operations_at(exchange.method, exchange.path)
        found = [self._request_faults(operation, exchange) for operation in operations]
        return min(found, key=len, default=[NO_OPERATION])

    def answer_faults(self, exchange: Exchange) -> list[str]:
        """What is wrong with a response, an error included; empty for a conforming one."""
        if exchange.status >= 400:
            return self._error_faults(exchange)
        operations = self.operations_at(exchange.method, exchange.path)
        found = [self._answer_faults(operation, exchange) for operation in operations]
        return min(found, key=len, default=[NO_OPERATION])

    def shape_faults(self, schema: Any, value: Any) -> list[str]:
        """Where a value does not fit a schema."""
        return _faults(self._validator(schema), value)

    def operation_named(self, name: str) -> Mapping[str, Any]:
        """The operation of this name."""
        return next(operation for operation in self.operations if operation["name"] == name)

    @cached_property
    def _routes(self) -> list[tuple[str, re.Pattern[str], Mapping[str, Any]]]:
        return [(operation["method"], _pattern(operation["path"]), operation) for operation in self.operations]

    @cached_property
    def _validators(self) -> dict[str, jsonschema_rs.Draft202012Validator]:
        return {}

    def _validator(self, schema: Any) -> jsonschema_rs.Draft202012Validator:
        key = json.dumps(schema)
        if key not in self._validators:
            document = {"$ref": "#/$defs/checked", "$defs": {**self.shapes, "checked": schema}}
            self._validators[key] = jsonschema_rs.Draft202012Validator(document, validate_formats=True)
        return self._validators[key]

    def _request_faults(self, operation: Mapping[str, Any], exchange: Exchange) -> list[str]:
        known = operation.get("query", {})
        faults = [f"query: unknown {name}" for name, _ in exchange.query if name not in known]
        for name, value in exchange.query:
            if name in known and not any(not self.shape_faults(known[name], read) for read in _readings(value)):
                faults.append(f"query: {name} is {value!r}")
        for name, value in self.headers.items():
            if exchange.headers.get(name.lower()) != value:
                faults.append(f"header: {name} is not {value}")
        if exchange.body is None and ("request" not in operation or operation.get("body") == "optional"):
            return faults
        if "request" not in operation:
            return [*faults, "body: the operation has none"]
        return faults + self.shape_faults(operation["request"], exchange.body)

    def _answer_faults(self, operation: Mapping[str, Any], exchange: Exchange) -> list[str]:
        answers = operation.get("answers", {})
        if answers and str(exchange.status) not in answers:
            return [f"status {exchange.status} is none of {', '.join(answers)}"]
        return self.shape_faults(answers.get(str(exchange.status), operation.get("answer", True)), exchange.answer)

    def _error_faults(self, exchange: Exchange) -> list[str]:
        error = next((error for error in self.errors if exchange.path.startswith(error["below"])), None)
        if error is None:
            return []
        faults = self.shape_faults(error["answer"], exchange.answer)
        if exchange.status not in error.get("statuses", [exchange.status]):
            faults.append(f"status {exchange.status} is not one of an error")
        return faults


@cache
def documents(api: str) -> Facts:
    """The facts of the documents of an API, from its folder."""
    pages = [json.loads(page.read_text("utf-8")) for page in sorted((FOLDER / api).glob("*.json"))]
    return _facts(pages)


@cache
def client(name: str, *arguments: str) -> Facts:
    """The facts of one of the providers' own clients. The test is skipped if the client is not installed."""
    command = [python_of(name), str(FOLDER / "client_facts.py"), *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    return _facts([json.loads(printed.stdout)])


def _facts(pages: Sequence[Mapping[str, Any]]) -> Facts:
    return Facts(
        operations=[{"name": name, **known} for page in pages for name, known in page["operations"].items()],
        shapes={name: shape for page in pages for name, shape in page["shapes"].items()},
        errors=[error for page in pages for error in page.get("errors", [])],
        examples=[example for page in pages for example in page.get("examples", [])],
        headers={name: value for page in pages for name, value in page.get("headers", {}).items()},
        enumerations={name: known for page in pages for name, known in page.get("enumerations", {}).items()},
    )


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("([^/]+)".join(map(re.escape, re.split(r"\{\w+\}", path))))


def _readings(value: str) -> list[Any]:
    """What the text of a query parameter may encode: text, a list with one text, a number or a boolean."""
    try:
        return [value, [value], json.loads(value)]
    except ValueError:
        return [value, [value]]


def _faults(validator: jsonschema_rs.Draft202012Validator, value: Any) -> list[str]:
    return [
        f"{'/'.join(map(str, error.instance_path)) or 'body'}: {error.message}"
        for error in validator.iter_errors(value)
    ]
