"""Which handler a request reaches, and with which parameters."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.http.routing import RouteTable


def handler(name: str) -> Any:
    async def handle(_request: web.Request) -> web.Response:
        raise AssertionError(name)

    handle.__name__ = name
    return handle


@pytest.fixture
def routes() -> RouteTable:
    table = RouteTable()
    table.add("/{path:.*}", {"*": handler("unknown")})
    table.add("/v1/{path:.*}", {"*": handler("unknown in v1")})
    table.add("/v1/things/{id}", {"GET": handler("get"), "*": handler("refuse")})
    table.add("/v1/things/{id}/parts/{part}", {"GET": handler("part")})
    table.add("/v1/things/all", {"GET": handler("all")})
    table.add("/v1/a.b/{id}", {"GET": handler("dotted")})
    return table


@pytest.mark.parametrize(
    ("target", "name", "parameters"),
    [
        ("/v1/things/7", "get", {"id": "7"}),
        ("/v1/things/7?a=b", "get", {"id": "7"}),
        ("/v1/things/a%2Fb%25%20c", "get", {"id": "a/b% c"}),
        ("/v1/things/7/parts/8", "part", {"id": "7", "part": "8"}),
        ("/v1/things/all", "all", {}),
        ("/v1/things", "unknown in v1", {"path": "things"}),
        ("/v1/things/", "unknown in v1", {"path": "things/"}),
        ("/v1/things/7/8", "unknown in v1", {"path": "things/7/8"}),
        ("/v1/a.b/1", "dotted", {"id": "1"}),
        ("/v1/a_b/1", "unknown in v1", {"path": "a_b/1"}),
        ("/v1", "unknown", {"path": "v1"}),
        ("/", "unknown", {"path": ""}),
    ],
)
def test_a_path_leads_to_the_most_specific_route_that_fits(
    routes: RouteTable, target: str, name: str, parameters: dict[str, str]
) -> None:
    request = make_mocked_request("GET", target)
    found = routes.find(request)
    assert found is not None
    assert found.__name__ == name
    assert dict(request.match_info) == parameters


def test_a_method_without_a_handler_leads_to_that_of_all_methods(routes: RouteTable) -> None:
    found = routes.find(make_mocked_request("PATCH", "/v1/things/7"))
    assert found is not None
    assert found.__name__ == "refuse"


def test_a_method_that_no_handler_of_the_path_serves_is_not_found(routes: RouteTable) -> None:
    assert routes.find(make_mocked_request("PATCH", "/v1/things/all")) is None
    assert routes.find(make_mocked_request("OPTIONS", "*")) is None
