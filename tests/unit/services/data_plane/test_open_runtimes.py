"""Which runtimes are looked at after a write, and how a runtime's address is put together."""

from typing import Any

import pytest

from gateway.domain.ids import RuntimeRef
from gateway.ports.data_plane import Endpoint
from gateway.services.data_plane.endpoints import Endpoints
from gateway.services.data_plane.service import DataPlane
from gateway.services.fleet import Fleet
from tests.unit.services.fakes import FakeAdapter, FakeClock


class Opened:
    """An open connection to a runtime."""

    def __init__(self, runtime_id: str) -> None:
        self.grant: Any = type("Grant", (), {"runtime_id": runtime_id})


def test_write_to_a_runtime_concerns_its_own_connections_only() -> None:
    adapter = FakeAdapter("one")
    nothing: Any = None
    fleet = Fleet([adapter], FakeClock())
    plane = DataPlane(fleet, nothing, Endpoints(fleet, FakeClock()), nothing, "")
    refs = [RuntimeRef("home", name) for name in ("a", "b", "c")]
    ids = [f"one.{adapter.format_reference(ref)}" for ref in refs]
    for runtime_id in ids[:2]:
        opened: Any = Opened(runtime_id)
        plane.open.add(opened)
    assert [list(plane.written("one", ref)) for ref in refs] == [[ids[0]], [ids[1]], []]
    assert sorted(plane.written("one", None)) == sorted(ids[:2])
    assert list(plane.written("other", None)) == []


@pytest.mark.parametrize(
    ("url", "address", "path"),
    [
        ("http://h:1/run", "ws://h:1/run/devtools/x?key=k", "/devtools/x"),
        ("http://h:1/run", "http://h:1/run", ""),
        ("http://h:1/run", "http://h:1/run10/x", None),
        ("http://h:1/run", "http://h:2/run/x", None),
        ("https://h", "wss://h:443/x", "/x"),
    ],
)
def test_address_below_the_endpoint_has_a_path_there(url: str, address: str, path: str | None) -> None:
    assert Endpoint(url).path_of(address) == path


def test_target_has_the_path_of_the_endpoint_and_all_queries() -> None:
    endpoint = Endpoint("https://h/run", "key=k")
    assert endpoint.target("/json", "a=1", "") == "/run/json?a=1&key=k"
    assert Endpoint("https://h").target("/json") == "/json"
