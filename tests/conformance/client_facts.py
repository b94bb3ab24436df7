"""Prints what one of the providers' own clients sends and accepts, in the form of the files beside this script.

The interpreter of the client's environment runs this script: ``client_facts.py durable``, ``client_facts.py browsers``
or ``client_facts.py flat MODULE``. Every operation is called without a network, with a placeholder for each argument,
so that the request shows which argument becomes which member of the body. The types of members and of responses are
the client's own.
"""

import contextlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable
from importlib import import_module
from typing import Any

MARK = "arg~"
DURABLE = """
    get_user list_secrets get_sandbox_logs get_organization list_user_organizations list_workspaces get_workspace
    list_projects get_project create_project list_runtimes get_runtime create_runtime get_runtime_config
    update_runtime_config start_runtime pause_runtime resume_runtime reset_runtime keepalive_runtime
    list_runtime_capabilities install_runtime_capability toggle_runtime_capability set_runtime_capability_flags
    update_runtime_capability uninstall_runtime_capability get_runtime_capabilities_resolved
"""
RUNTIMES = ("list", "create", "get", "update", "delete", "start", "stop")
Operation = dict[str, Any]


def closed(schema: Any) -> Any:
    """A schema that accepts only the members and values that the client knows. The client tolerates others, for later
    versions: its models keep unknown members, and its enumerations are unions with any value."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items() if name not in {"title", "description", "default"}}
    if isinstance(schema.get("properties"), dict):
        found["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
        found["additionalProperties"] = False
    if "anyOf" in found:
        found["anyOf"] = [form for form in found["anyOf"] if form] or [{}]
    return found


def schema_of(type_: Any, shapes: dict[str, Any]) -> Any:
    """The closed schema of a type; its parts go to ``shapes``."""
    from pydantic import TypeAdapter

    schema = closed(TypeAdapter(type_).json_schema(by_alias=True))
    shapes.update(schema.pop("$defs", {}))
    return schema


def types_of(call: Callable[..., Any], *modules: Any) -> dict[str, Any]:
    """The types of the parameters and of the result (``return``)."""
    known = {name: value for module in modules for name, value in vars(module).items()}
    known |= getattr(call, "__func__", call).__globals__
    return {
        name: eval(given, known) if isinstance(given, str) else given  # noqa: S307 - the client's own annotations
        for name, given in inspect.get_annotations(getattr(call, "__func__", call)).items()
    }


def described(
    call: Callable[..., Any], sent: list[Operation], types: dict[str, Any], shapes: dict[str, Any]
) -> Operation:
    """One operation: the request that the call sends, with the types of the call's parameters."""
    required = {
        MARK + name for name, given in inspect.signature(call).parameters.items() if given.default is given.empty
    }
    arguments = {
        name: MARK + name for name in inspect.signature(call).parameters if name not in {"timeout", "request_options"}
    }
    with contextlib.suppress(Exception):  # an empty response is not a result
        call(**arguments)
    request = sent.pop()
    operation = {
        "method": request["method"],
        "path": re.sub(f"{MARK}(\\w+)", r"{\1}", request["path"]),
        "query": {name: schema_of(types[value.removeprefix(MARK)], shapes) for name, value in request["query"].items()},
    }
    if request["body"] is not None:
        members = {
            name: schema_of(types[str(value).removeprefix(MARK)], shapes) for name, value in request["body"].items()
        }
        needed = sorted(name for name, value in request["body"].items() if value in required)
        operation["body"] = "required" if members else "optional"
        operation["request"] = {
            "type": "object",
            "properties": members,
            "required": needed,
            "additionalProperties": False,
        }
    return operation


def httpx_transport(sent: list[Operation]) -> Any:
    """A transport of httpx that records each request and answers with an empty object."""
    import httpx

    def handle(request: Any) -> Any:
        sent.append(
            {
                "method": request.method,
                "path": request.url.path,
                "query": dict(request.url.params),
                "headers": dict(request.headers),
                "body": json.loads(request.content) if request.content else None,
            }
        )
        return httpx.Response(200, json={})

    return httpx.MockTransport(handle)


def durable() -> dict[str, Any]:
    """The client of the durable API. Runtimes are plain objects in it; what belongs to the account has models."""
    module, models = import_module("dreadnode.app.api.client"), import_module("dreadnode.app.api.models")
    httpx, sent, shapes = import_module("httpx"), [], {}
    client = module.ApiClient("http://client.invalid", api_key="key")
    client._client = httpx.Client(base_url=client._base_url, transport=httpx_transport(sent))
    operations = {}
    for name in DURABLE.split():
        call = getattr(client, name)
        types = types_of(call, models)
        operations[name] = described(call, sent, types, shapes)
        if "dreadnode" in str(types["return"]):
            operations[name]["answer"] = schema_of(types["return"], shapes)
    status = import_module("dreadnode.app.cli.runtime").RuntimeStatus
    return {"operations": operations, "shapes": shapes, "enumerations": {"status": typing.get_args(status)}}


def browsers() -> dict[str, Any]:
    """The client of the current bctrl API. Its models describe every request and response."""
    bctrl, httpx, sent, shapes = import_module("bctrl"), import_module("httpx"), [], {}
    root = bctrl.Bctrl(
        token="token", base_url="http://client.invalid", httpx_client=httpx.Client(transport=httpx_transport(sent))
    )
    calls = {name: getattr(root.browsers.with_raw_response, name) for name in RUNTIMES}
    calls |= {
        "revoke": root.browsers.connections.with_raw_response.revoke,
        "whoami": root.auth.with_raw_response.whoami,
    }
    operations = {}
    for name, call in calls.items():
        types = types_of(call)
        operations[name] = described(call, sent, types, shapes)
        operations[name]["answer"] = schema_of(typing.get_args(types["return"])[0], shapes)
    with contextlib.suppress(Exception):
        root.browsers.list()
    headers = {name: value for name, value in sent.pop()["headers"].items() if name == "bctrl-version"}
    error = schema_of(import_module("bctrl._generated.types.error_response").ErrorResponse, shapes)
    # Its rule for repeating writes reads two more reasons than its type for errors names.
    shapes["ErrorResponseError"]["properties"]["reasonClass"]["anyOf"].append({"enum": ["unknown", "outcome_unknown"]})
    errors = [{"below": "/v1/browsers", "answer": error}, {"below": "/v1/auth", "answer": error}]
    return {"operations": operations, "shapes": shapes, "errors": errors, "headers": headers}


def flat() -> dict[str, Any]:
    """A client of the flat era. It has no types for bodies: only methods and paths are known from it."""
    sent: list[Operation] = []
    sdk = import_module(sys.argv[2])

    def request(method: str, path: str, **options: Any) -> dict[str, Any]:
        sent.append({"method": method, "path": f"/v1{path}", "query": list(options.get("params") or ()), "body": None})
        return {}

    runtimes = sdk.Bctrl(api_key="key", base_url="http://client.invalid").runtimes
    runtimes._http.request = request
    calls = {name: getattr(runtimes, name) for name in RUNTIMES}
    operations = {}
    for name, call in calls.items():
        with contextlib.suppress(TypeError):
            call(MARK + "id") if name not in {"list", "create"} else call(name="x")
        found = sent.pop()
        operations[name] = {"method": found["method"], "path": found["path"].replace(MARK + "id", "{id}")}
    return {"operations": operations, "shapes": {}}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"durable": durable, "browsers": browsers, "flat": flat}[sys.argv[1]]()))
