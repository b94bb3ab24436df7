"""What a caller with a key of the gateway cannot reach through the dialects."""

from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.component.dialects.bctrl_world import WORKSPACE, Server, world
from tests.component.dialects.durable_sides import through_the_gateway


@pytest.mark.parametrize("odd", ["%2e%2e", "%2E", "..%2fruntimes", "x%2f..%2f..%2fsecrets", "..%5cx"])
async def test_an_id_of_dots_leads_nowhere_and_nothing_is_sent(odd: str) -> None:
    async with world() as w:
        for below in ("browsers", "runtimes", f"workspaces/{WORKSPACE}/runtimes"):
            for method, verb in (("GET", ""), ("POST", "/stop")):
                url = URL(f"{w.dialect.url}/v1/{below}/{odd}{verb}", encoded=True)
                headers = {"Authorization": f"Bearer {w.dialect.key}"}
                async with w.dialect.session.request(method, url, headers=headers) as response:
                    assert response.status == 404, url
                    assert (await response.json())["error"]
        assert not any(emulator.requests.per_operation for emulator in w.emulators.values())


@pytest.mark.parametrize(
    ("below", "body"),
    [
        ("browsers", b'{"metadata": %s}'),
        ("runtimes", b'{"type": "browser", "metadata": %s}'),
        (f"workspaces/{WORKSPACE}/runtimes", b'{"alias": "a", "kind": "browser", "launch": %s}'),
    ],
)
async def test_nobody_can_make_a_list_unreadable_for_others(below: str, body: bytes) -> None:
    """What one caller nests without end would come back in everybody's lists."""
    async with world() as w:
        refused = await w.dialect.call("POST", f"/v1/{below}", body % (b'{"a":' * 900 + b"1" + b"}" * 900))
        assert refused.status == 400
        assert not any(emulator.requests.per_operation for emulator in w.emulators.values())
        assert (await w.dialect.call("GET", f"/v1/{below}")).status == 200


async def test_a_config_without_end_reaches_no_provider() -> None:
    async with through_the_gateway() as side:
        body = b'{"key": "a", "config": {"version": "v2", "x": %s}}' % (b"[" * 900 + b"]" * 900)
        status, told, _ = await side.call("POST", "/org/acme/ws/research/runtimes", raw=body)
        assert (status, told["type"]) == (400, "invalid_error")
        assert not side.emulator.committed["create"]


CREATES = [
    ("browsers", b'{"name": "a"}'),
    ("runtimes", b'{"type": "browser", "name": "b"}'),
    (f"workspaces/{WORKSPACE}/runtimes", b'{"alias": "a", "kind": "browser"}'),
]
NOT_JSON = [
    {},
    {"Content-Type": ""},
    {"Content-Type": "text/plain"},
    {"Content-Type": "text/plain; x=application/json"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/vnd.api+json"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "application/json", "Content-Encoding": "gzip"},
]


async def sent(server: Server, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and document of a POST with these headers only; aiohttp adds no Content-Type of its own."""
    headers = {"Authorization": f"Bearer {server.key}", **headers}
    async with server.session.post(
        server.url + path, data=body, headers=headers, skip_auto_headers=["Content-Type"]
    ) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("headers", NOT_JSON, ids=str)
async def test_body_of_another_media_type_is_refused_by_the_bctrl_dialects(headers: dict[str, str]) -> None:
    async with world() as w:
        for below, body in CREATES:
            status, document = await sent(w.dialect, f"/v1/{below}", body, headers)
            error: Any = document["error"] if below == "browsers" else document
            assert (status, error["code"]) == (400, "request.invalid_content_type")
            assert error["reasonClass"] == "invalid_input"
        assert not any(emulator.requests.per_operation for emulator in w.emulators.values())


@pytest.mark.parametrize("headers", NOT_JSON, ids=str)
async def test_body_of_another_media_type_is_refused_by_the_durable_dialect(headers: dict[str, str]) -> None:
    async with through_the_gateway() as side, aiohttp.ClientSession() as session:
        path = "/api/v1/org/acme/ws/research/runtimes"
        for below, body in (("", b'{"key": "a"}'), ("/a/start", b"{}"), ("/a/pause", b"x=1")):
            status, document = await sent(Server(side.url, side.key, session), path + below, body, headers)
            assert (status, document["code"], document["type"]) == (400, 400, "invalid_error")
        assert not side.emulator.requests.per_operation


@pytest.mark.parametrize("declared", ["application/json", "Application/JSON; charset=UTF-8", "application/json;a=b"])
async def test_json_body_is_accepted_by_every_dialect(declared: str) -> None:
    headers = {"Content-Type": declared}
    async with world() as w:
        for below, body in CREATES:
            assert (await sent(w.dialect, f"/v1/{below}", body, headers))[0] in {200, 201}
    async with through_the_gateway() as side, aiohttp.ClientSession() as session:
        path = "/api/v1/org/acme/ws/research/runtimes"
        assert (await sent(Server(side.url, side.key, session), path, b'{"key": "a"}', headers))[0] == 201


async def test_call_without_a_body_needs_no_media_type() -> None:
    async with world() as w:
        made = await w.dialect.call("POST", "/v1/browsers", {"name": "a"})
        for headers in ({}, {"Content-Type": "text/plain"}):
            assert (await sent(w.dialect, f"/v1/browsers/{made.json['id']}/stop", b"", headers))[0] == 200
    async with through_the_gateway() as side, aiohttp.ClientSession() as session:
        path = "/api/v1/org/acme/ws/research/runtimes"
        server = Server(side.url, side.key, session)
        await sent(server, path, b'{"key": "a"}', {"Content-Type": "application/json"})
        assert (await sent(server, f"{path}/a/start", b"", {}))[0] == 200
