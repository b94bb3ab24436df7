"""The check against the facts finds mistakes, and the facts agree with each other and with the adapters' own tables."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.bctrl import errors as bctrl_errors
from adapters.bctrl import wire as bctrl
from adapters.bctrl.dialect import errors as bctrl_dialect_errors
from adapters.bctrl_browsers import errors as browsers_errors
from adapters.bctrl_browsers import wire as browsers
from adapters.bctrl_browsers.dialect import errors as browsers_dialect_errors
from adapters.durable import errors as durable_errors
from adapters.durable import mapping as durable_mapping
from adapters.durable import wire as durable
from tests.conformance.facts import Exchange, Facts, client, documents
from tests.conformance.sources import CLIENTS, SOURCES, facts_of, recorded_adapter, recorded_emulator

FLAT_CLIENTS = [("bctrl-0.1.0", "bctrl"), ("bctrl-0.1.5", "bctrl"), ("bctrl-0.3.0", "bctrl.legacy")]

FREE = frozenset(
    {"labels", "env", "flags", "component_counts", "phases", "timings", "durations", "metadata", "mounts", "config"}
)
"""Members that contain names of the caller's choice. ``config`` is free in the flat era only: that of the durable API
is checked by :func:`test_a_renamed_member_and_an_unknown_value_of_a_config_are_found`."""

VALUES: Mapping[tuple[str, str], tuple[set[str], set[str]]] = {
    ("durable", "documents"): (
        set(),
        {"status", "state", "pause_reason", "id", "project_id", "artifact_id", "created_at", "expires_at"},
    ),
    ("bctrl", "documents"): (
        {"kind", "driver", "mode", "type", "profileId"},
        {"kind", "status", "id", "workspaceId", "profileId", "launchMode", "reasonClass"},
    ),
    ("bctrl_browsers", "documents"): (set(), {"status", "protocol", "reasonClass", "createdAt"}),
    ("bctrl_browsers", "client"): (
        {"stealth", "persona", "saver", "protocol"},
        {"object", "status", "stealth", "location", "holder", "createdAt", "reasonClass", "code", "plan", "persona"},
    ),
}
"""Members of requests and of answers, by source, in which an unknown value has to be found."""


def samples(api: str) -> list[Exchange]:
    """One exchange of each operation with each status and each set of members in its body."""
    kept = {}
    for one in (*recorded_emulator(api).exchanges, *recorded_adapter(api)):
        operations = {name["name"] for source in sources(api) for name in source.operations_at(one.method, one.path)}
        if operations:
            kept[min(operations), one.status, str([where for where, _ in renamed(one.body)])] = one
    return list(kept.values())


def sources(api: str) -> list[Facts]:
    """All facts of an API."""
    return [facts_of(of, source) for of, source in SOURCES if of == api]


def renamed(value: Any, free: frozenset[str] = FREE) -> Iterator[tuple[str, Any]]:
    """Copies of a value, in each of which one member has another name."""
    for name, part in parts(value):
        if isinstance(name, str):
            yield name, {f"{old}_x" if old == name else old: member for old, member in value.items()}
        if name not in free:
            yield from ((f"{name}/{where}", placed(value, name, copy)) for where, copy in renamed(part, free))


def revalued(value: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
    """Copies of a value, in each of which one of the named members has an unknown value."""
    for name, part in parts(value):
        if name in names and isinstance(part, str):
            yield str(name), placed(value, name, "levitating")
        yield from ((f"{name}/{where}", placed(value, name, copy)) for where, copy in revalued(part, names))


def parts(value: Any) -> list[tuple[str | int, Any]]:
    """The members of an object, or the items of an array."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def placed(value: Any, name: str | int, part: Any) -> Any:
    """A copy of an object or an array with another part."""
    copy = value.copy()
    copy[name] = part
    return copy


def free_answer(facts: Facts, one: Exchange) -> bool:
    """Whether the source says nothing about the members of an answer."""
    operations = facts.operations_at(one.method, one.path)
    if one.status >= 400:
        return not any(one.path.startswith(error["below"]) for error in facts.errors)
    return not operations or all(
        name.get("answer", True) is True and not any(answer is not True for answer in name.get("answers", {}).values())
        for name in operations
    )


@pytest.mark.parametrize(("api", "source"), SOURCES, ids=str)
def test_a_renamed_member_of_an_answer_is_found(api: str, source: str) -> None:
    facts, tried = facts_of(api, source), 0
    for one in samples(api):
        if free_answer(facts, one):
            continue
        for where, answer in renamed(one.answer):
            tried += 1
            assert facts.answer_faults(replace(one, answer=answer)), f"{one.method} {one.path}: {where}"
    assert tried > 30


@pytest.mark.parametrize(("api", "source"), SOURCES, ids=str)
def test_a_renamed_member_of_a_request_is_found(api: str, source: str) -> None:
    facts, tried = facts_of(api, source), 0
    for one in samples(api):
        if facts.request_faults(one):
            continue
        for where, body in renamed(one.body):
            tried += 1
            assert facts.request_faults(replace(one, body=body)), f"{one.method} {one.path}: {where}"
    assert tried > 5


def test_a_renamed_member_and_an_unknown_value_of_a_config_are_found() -> None:
    facts, labels = documents("durable"), frozenset({"labels", "env"})
    for operation in ("create", "replace_config"):
        known = facts.operation_named(operation)
        example = next(one["request"] for one in facts.examples if one["operation"] == operation and "request" in one)
        assert not facts.shape_faults(known["request"], example)
        copies = [copy for where, copy in renamed(example, labels) if "labels/" not in where and "env/" not in where]
        assert len(copies) > 25
        copies += [copy for where, copy in revalued(example, {"provider", "version"}) if "capabilities" not in where]
        assert all(facts.shape_faults(known["request"], copy) for copy in copies)


@pytest.mark.parametrize(("api", "source"), VALUES, ids=str)
def test_an_unknown_value_is_found(api: str, source: str) -> None:
    facts, (sent, answered) = facts_of(api, source), VALUES[api, source]
    seen = set()
    for one in samples(api):
        if not facts.request_faults(one):
            for where, body in revalued(one.body, sent):
                seen.add(where.rpartition("/")[2])
                assert facts.request_faults(replace(one, body=body)), f"{one.method} {one.path}: {where}"
        if not free_answer(facts, one):
            for where, answer in revalued(one.answer, answered):
                seen.add(where.rpartition("/")[2])
                assert facts.answer_faults(replace(one, answer=answer)), f"{one.method} {one.path}: {where}"
    assert seen == sent | answered


def test_every_other_kind_of_mistake_is_found() -> None:
    facts = documents("durable")
    path = "/api/v1/org/acme/ws/research/runtimes"
    fine = Exchange("GET", path, [("limit", "50")], None, 200, {"items": [], "next_cursor": None})
    assert not facts.request_faults(fine)
    assert not facts.answer_faults(fine)
    for mistake in (
        replace(fine, path=path + "/a/b/c/d"),
        replace(fine, method="PATCH"),
        replace(fine, query=[("limit", "101")]),
        replace(fine, query=[("page", "1")]),
        replace(fine, body={}),
        replace(fine, method="POST", query=[]),
    ):
        assert facts.request_faults(mistake), mistake
    error = {"code": 400, "detail": "No.", "type": "invalid_error"}
    refused = replace(fine, status=400, answer=error)
    assert not facts.answer_faults(refused)
    for wrong in (
        replace(fine, status=202),
        replace(fine, answer={}),
        replace(refused, status=418),
        replace(refused, answer={**error, "code": 405}),
        replace(refused, answer={**error, "type": "flying_error"}),
    ):
        assert facts.answer_faults(wrong), wrong


def test_a_request_without_the_version_of_the_api_is_found() -> None:
    facts = client(*CLIENTS["bctrl_browsers"])
    fine = Exchange("GET", "/v1/browsers", [], None, 200, None, {"bctrl-version": browsers.API_VERSION})
    assert not facts.request_faults(fine)
    assert facts.request_faults(replace(fine, headers={}))


@pytest.mark.parametrize("api", ["durable", "bctrl"])
def test_examples_of_the_documents_fit(api: str) -> None:
    """Those of answers have only some members, and made-up ids."""
    facts = documents(api)
    for example in facts.examples:
        if "error" in example:
            assert not facts.shape_faults(facts.errors[0]["answer"], example["error"])
            continue
        known = facts.operation_named(example["operation"])
        if "request" in example:
            assert not facts.shape_faults(known["request"], example["request"])
        if "query" in example:
            path = known["path"].replace("{", "").replace("}", "")
            assert not facts.request_faults(Exchange(known["method"], path, example["query"], None, 200, None))
        if "answer" in example:
            partial = Facts(facts.operations, without(facts.shapes, {"required", "format"}))
            answer = without(known["answers"]["200"], {"required", "format"})
            assert not partial.shape_faults(answer, example["answer"])


def without(schema: Any, names: set[str]) -> Any:
    """A schema without these keywords."""
    if isinstance(schema, dict):
        return {name: without(part, names) for name, part in schema.items() if name not in names}
    return [without(part, names) for part in schema] if isinstance(schema, list) else schema


def test_documents_have_every_route_of_the_client_of_the_durable_api() -> None:
    known = documents("durable")
    for one in client(*CLIENTS["durable"]).operations:
        assert known.operations_at(one["method"], one["path"].replace("{", "").replace("}", "")), one["name"]


@pytest.mark.parametrize(("name", "module"), FLAT_CLIENTS, ids=str)
def test_routes_of_the_flat_era_are_those_of_its_clients(name: str, module: str) -> None:
    routes = {(one["method"], one["path"]) for one in client(name, "flat", module).operations}
    assert routes == {(one["method"], one["path"]) for one in documents("bctrl_browsers").operations}


def test_enumerations_of_the_durable_adapter_are_the_documented_ones() -> None:
    shapes = documents("durable").shapes
    assert sorted(durable_errors.ERROR_TYPES) == sorted(shapes["error_type"]["enum"])
    assert list(durable.ERROR_CODES) == shapes["error_code"]["enum"] == documents("durable").errors[0]["statuses"]
    status = shapes["runtime_members"]["properties"]["status"]["enum"]
    assert list(durable_mapping.STATES) == status
    assert status == list(client(*CLIENTS["durable"]).enumerations["status"])


def test_enumerations_of_the_bctrl_adapter_are_the_documented_ones() -> None:
    shapes = documents("bctrl").shapes
    runtime, create = shapes["runtime"]["properties"], shapes["create_browser"]["properties"]
    launches = [shapes[name]["properties"] for name in ("profile_launch", "ephemeral_launch")]
    proxy = launches[1]["config"]["properties"]["proxy"]["oneOf"][0]["properties"]
    assert list(bctrl.Kind) == runtime["kind"]["enum"]
    assert list(bctrl.Status) == runtime["status"]["enum"]
    assert list(bctrl.LaunchMode) == runtime["summary"]["properties"]["launchMode"]["enum"]
    assert list(bctrl.LaunchMode) == [mode for launch in launches for mode in launch["mode"]["enum"]]
    assert list(bctrl.Driver) == create["driver"]["enum"]
    assert list(bctrl.ProxyType) == proxy["type"]["enum"]


def test_enumerations_of_the_browsers_adapter_are_those_of_the_client() -> None:
    facts = client(*CLIENTS["bctrl_browsers"])
    error = facts.shapes["ErrorResponseError"]["properties"]
    (codes,) = (form["enum"] for form in error["code"]["anyOf"])
    assert set(codes) >= browsers_errors.CODES
    assert bctrl_errors.CODES - set(codes) == {"runtime.controller_busy"}, "which only the flat era has"
    tables = (bctrl_dialect_errors.FORMS, browsers_dialect_errors.FORMS, browsers_dialect_errors.FLAT_FORMS)
    assert {code for table in tables for _, code, _ in table.values()} <= set(codes)
    assert set(browsers.ReasonClass) == {reason for form in error["reasonClass"]["anyOf"] for reason in form["enum"]}
    assert set(browsers.Status) == values(facts.shapes["BrowserResource"]["properties"]["status"])
    assert set(browsers.RunStatus) == values(facts.shapes["Run"]["properties"]["status"])
    proxy = facts.shapes["BrowserInlineCustomProxyConnectionInput"]["properties"]["protocol"]
    assert set(browsers.ProxyProtocol) == values(proxy)
    assert facts.headers == {"bctrl-version": browsers.API_VERSION}


def values(schema: Any) -> set[str]:
    """The values of an enumeration."""
    return set(schema.get("enum", ())) | {value for form in schema.get("anyOf", ()) for value in values(form)}
