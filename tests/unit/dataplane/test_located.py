"""Where a request of the data plane has its token."""

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.dataplane.located import Located, locate
from gateway.domain.errors import InvalidRequest, Unauthenticated

T = "T" * 80


def located(path: str, *, websocket: bool = False, **headers: str) -> Located:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    request: Any = make_mocked_request("GET", path, headers=sent)
    return locate(request, websocket=websocket)


@pytest.mark.parametrize(
    ("path", "rest", "query"),
    [(f"/cdp/{T}", "", ""), (f"/cdp/{T}/", "/", ""), (f"/cdp/{T}/json/version/?a=1", "/json/version/", "a=1")],
)
def test_token_in_the_path(path: str, rest: str, query: str) -> None:
    found = located(path, Authorization="Bearer something-else")
    assert (found.protocol, found.token, found.path, found.query) == ("cdp", T, rest, query)


def test_bearer_at_the_root() -> None:
    found = located("/api/ws?kinds=a&token=x", websocket=True, Authorization=f"bearer  {T}")
    assert (found.protocol, found.token, found.path, found.query) == ("", T, "/api/ws", "kinds=a&token=x")


@pytest.mark.parametrize("name", ["token", "ticket"])
def test_token_in_the_query_of_a_websocket_is_removed(name: str) -> None:
    found = located(f"/api/ws?a=1&{name}={T}&b=2", websocket=True)
    assert (found.token, found.query) == (T, "a=1&b=2")
    with pytest.raises(Unauthenticated):
        located(f"/api/ws?{name}={T}")


def test_token_in_a_subprotocol() -> None:
    found = located("/api/ws", websocket=True, Sec_WebSocket_Protocol=f"terminal.v1, rtgw.ticket.{T}")
    assert (found.token, found.offered) == (T, f"rtgw.ticket.{T}")


@pytest.mark.parametrize("path", ["/", "/api/health", "/cdp/short", "/cdp"])
def test_request_without_token_is_refused(path: str) -> None:
    with pytest.raises(Unauthenticated):
        located(path)


@pytest.mark.parametrize("rest", ["/../x", "/a/%2e%2e/x", "/%2E./x", "/a/..%2fx", "/a%5c..%5cx", "/.", "/a/.."])
def test_path_with_dots_is_refused(rest: str) -> None:
    with pytest.raises(InvalidRequest):
        located(f"/cdp/{T}{rest}")
    with pytest.raises(InvalidRequest):
        located(rest, Authorization=f"Bearer {T}")
