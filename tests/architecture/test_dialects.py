"""The dialects fit together, and the page about compatibility says all of what they serve."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.registry import discover
from gateway.app import dialect_eras
from gateway.generated_docs import compatibility
from gateway.ports.compatibility import Client, ClientCall, Compatibility, Support
from gateway.ports.dialect import Dialect, DialectRoute
from gateway.ports.plugin import AdapterPlugin

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
OWN_SURFACES = {"v1", "native", "docs", "metrics", "livez", "readyz", "healthz", "openapi.json"}
SPEAKING = [plugin for plugin in discover().values() if plugin.dialect is not None]


def dialects() -> Iterator[type[Dialect]]:
    for plugin in SPEAKING:
        assert plugin.dialect is not None
        yield plugin.dialect


def routes() -> Iterator[tuple[type[Dialect], DialectRoute]]:
    return ((dialect, route) for dialect in dialects() for route in dialect.routes)


def declarations() -> Iterator[tuple[AdapterPlugin, Compatibility]]:
    return ((plugin, declared) for plugin in SPEAKING for declared in compatibility(plugin))


def test_a_prefix_is_one_segment_and_none_of_the_gateways_own():
    for dialect in dialects():
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", dialect.prefix)
        assert dialect.prefix not in OWN_SURFACES


def test_no_two_routes_of_a_prefix_are_one_request():
    """Whatever their variables are called, and across the folders that share a prefix."""
    requests = Counter(
        (dialect.prefix, route.method, re.sub(r"\{[^}]*\}", "{}", route.path)) for dialect, route in routes()
    )
    assert not [request for request, count in requests.items() if count > 1]


def test_every_route_has_a_word_of_its_own_as_operation():
    """It is a label of metrics: a bounded set of plain words, each telling one route from the others of its surface."""
    operations = Counter((dialect.prefix, str(route.operation)) for dialect, route in routes())
    assert not [operation for operation, count in operations.items() if count > 1]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+){0,3}", operation) for _, operation in operations)
    assert not {operation for _, operation in operations} & {"unmatched", "native"}


def test_every_route_is_in_a_family_of_its_dialect():
    """Otherwise its errors would be worded by another one."""
    for dialect, route in routes():
        owners = [each for each in dialects() if each.prefix == dialect.prefix and route.path.startswith(each.families)]
        assert owners == [dialect], route.path


def test_the_eras_of_each_dialect_are_those_of_its_routes():
    assert dialect_eras() == {"bctrl": {"browsers", "flat", "workspaces"}, "durable": set()}


@pytest.mark.parametrize("page", ["docs/settings.md", "config/gateway.example.yaml"])
def test_every_era_is_documented_where_routes_are(page: str):
    text = (ROOT / page).read_text("utf-8")
    for era in {route.era for _, route in routes()} - {None}:
        assert re.search(rf"\b{era}\b", text), era


@pytest.mark.parametrize("api", [plugin.api for plugin in SPEAKING])
def test_every_route_is_declared_to_be_of_use_to_a_client(api: str):
    """And what is declared names routes that there are, in the era of its clients."""
    plugin = discover()[api]
    assert plugin.dialect is not None
    known = {(route.era, str(route.operation)) for route in plugin.dialect.routes}
    declared = {
        (each.era, str(operation)) for each in compatibility(plugin) for call in each.calls for operation in call.routes
    }
    assert declared == known


def test_a_call_is_declared_once_and_a_difference_is_explained():
    for _, declared in declarations():
        names = [call.name for call in declared.calls]
        assert len(set(names)) == len(names)
        assert names[-1] == "*", "nothing is left unsaid"
        assert all(call.note for call in declared.calls if call.support is not Support.SERVED)
        environments = {client.environment for client in declared.clients}
        assert all(set(call.only) <= environments for call in declared.calls)


def test_every_route_call_and_client_is_on_the_page():
    for dialect, route in routes():
        assert f"| `{route.method} /{dialect.prefix}{route.path}` |" in PAGE
    for _, declared in declarations():
        for client in declared.clients:
            assert f"| {client.name} | {client.base_url} | {client.key} |" in PAGE
        for call in declared.calls:
            assert call.name == "*" or f"| `{call.name}` |" in PAGE


def test_what_is_said_of_a_call_follows_from_where_it_ends():
    """No route is a refusal, a route with a note a difference; a client that does not have the call says nothing."""
    old, new = (Client(name, name, "", "") for name in ("lagoon-1", "lagoon-2"))
    assert ClientCall("reefs.list", ("list",)).support is Support.SERVED
    assert ClientCall("reefs.list", ("list",), "The newest first.").support is Support.DIFFERENT
    assert ClientCall("reefs.list", note="404").support is Support.REFUSED
    assert ClientCall("reefs.list", only=("lagoon-1",)).exists_in(old)
    assert not ClientCall("reefs.list", only=("lagoon-1",)).exists_in(new)
    assert ClientCall("reefs.list").exists_in(new)
