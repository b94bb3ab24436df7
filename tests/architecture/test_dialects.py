"""The dialects do not conflict, and the compatibility page documents everything that they serve."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.registry import discover
from gateway.app import dialect_eras
from gateway.ports.dialect import Dialect, DialectRoute
from gateway.ports.plugin import AdapterPlugin
from tests.compatibility import Client, ClientCall, Compatibility, Support
from tests.generated_docs import compatibility

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


def test_prefix_is_one_segment_that_the_gateway_does_not_use():
    for dialect in dialects():
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", dialect.prefix)
        assert dialect.prefix not in OWN_SURFACES


def test_no_two_routes_of_a_prefix_match_the_same_request():
    """The names of path variables do not matter, and folders that share a prefix are compared too."""
    requests = Counter(
        (dialect.prefix, route.method, re.sub(r"\{[^}]*\}", "{}", route.path)) for dialect, route in routes()
    )
    assert not [request for request, count in requests.items() if count > 1]


def test_every_route_has_its_own_operation():
    """The operation is a label of metrics: a bounded set of plain words, unique within a prefix."""
    operations = Counter((dialect.prefix, str(route.operation)) for dialect, route in routes())
    assert not [operation for operation, count in operations.items() if count > 1]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+){0,3}", operation) for _, operation in operations)
    assert not {operation for _, operation in operations} & {"unmatched", "native"}


def test_every_route_is_in_a_family_of_its_dialect():
    """Otherwise another dialect would word its errors."""
    for dialect, route in routes():
        owners = [each for each in dialects() if each.prefix == dialect.prefix and route.path.startswith(each.families)]
        assert owners == [dialect], route.path


def test_eras_of_a_dialect_are_those_of_its_routes():
    eras = dialect_eras()
    prefixes = {dialect.prefix for dialect in dialects()}
    assert set(eras) == prefixes | {f"{prefix}.forward" for prefix in prefixes}
    assert (eras["bctrl"], eras["durable"]) == ({"browsers", "flat", "workspaces"}, set())
    assert (eras["bctrl.forward"], eras["durable.forward"]) == ({"reads", "browsing"}, {"reads"})


@pytest.mark.parametrize("page", ["docs/settings.md", "config/gateway.example.yaml"])
def test_every_era_is_documented_with_the_routes(page: str):
    text = (ROOT / page).read_text("utf-8")
    for era in {route.era for _, route in routes()} - {None}:
        assert re.search(rf"\b{era}\b", text), era


@pytest.mark.parametrize("api", [plugin.api for plugin in SPEAKING])
def test_every_route_is_declared_for_a_client(api: str):
    """Every declaration names existing routes, in the era of its clients."""
    plugin = discover()[api]
    assert plugin.dialect is not None
    known = {(route.era, str(route.operation)) for route in plugin.dialect.routes}
    declared = {
        (each.era, str(operation)) for each in compatibility(plugin) for call in each.calls for operation in call.routes
    }
    assert declared == known


def test_every_call_is_declared_once_and_every_difference_has_a_note():
    for _, declared in declarations():
        names = [call.name for call in declared.calls]
        assert len(set(names)) == len(names)
        assert names[-1] == "*", "the last line must cover all other calls"
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


def test_support_of_a_call_follows_from_its_routes_and_note():
    """No route: refused; a route with a note: different; ``only`` limits a call to the clients that have it."""
    old, new = (Client(name, name, "", "") for name in ("lagoon-1", "lagoon-2"))
    assert ClientCall("reefs.list", ("list",)).support is Support.SERVED
    assert ClientCall("reefs.list", ("list",), "The newest first.").support is Support.DIFFERENT
    assert ClientCall("reefs.list", note="404").support is Support.REFUSED
    assert ClientCall("reefs.list", note="404", forward=("reads",)).support is Support.FORWARDABLE
    assert ClientCall("reefs.list", only=("lagoon-1",)).exists_in(old)
    assert not ClientCall("reefs.list", only=("lagoon-1",)).exists_in(new)
    assert ClientCall("reefs.list").exists_in(new)
