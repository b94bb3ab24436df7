"""A gateway below a path prefix: every address that it writes has the prefix, and the command line works with it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner

from gateway.cli import cli
from tests.component.whole_gateway import KEY, Gateway, whole_gateway

BASE = "/tools/rtgw"


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway(base_path=BASE, forward={"durable": ["GET /api/v1/org/*/secrets"]}) as running:
        yield running


def _durable(name: str) -> dict[str, str]:
    return {"kind": "durable", "name": name}


async def test_a_location_leads_to_the_runtime(gateway: Gateway) -> None:
    made = await gateway.call("POST", f"{BASE}/v1/runtimes", _durable("a"))
    assert made.headers["Location"] == f"{BASE}/v1/runtimes/{made.json['id']}"
    assert (await gateway.call("GET", made.headers["Location"])).status == 200


async def test_the_location_of_an_accepted_create_has_the_prefix(gateway: Gateway) -> None:
    gateway.upstreams["durable"].fault("create", fault="delay_before", seconds=2)
    accepted = await gateway.call("POST", f"{BASE}/v1/runtimes", _durable("b"), Prefer="respond-async")
    assert accepted.status == 202
    assert accepted.headers["Location"].startswith(f"{BASE}/v1/intents/")
    assert (await gateway.call("GET", accepted.headers["Location"])).status == 200


async def test_the_location_of_a_move_has_the_prefix(gateway: Gateway) -> None:
    move = {"source": {"provider": "bctrl-demo"}, "target": {"provider": "durable-demo"}}
    planned = await gateway.call("POST", f"{BASE}/v1/moves", move)
    if planned.status == 202:
        assert planned.headers["Location"] == f"{BASE}/v1/moves/{planned.json['id']}"
    else:
        assert planned.json["type"].startswith(f"{BASE}/docs/errors/")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{BASE}/v1/runtimes/durable-demo.x"),
        ("GET", f"{BASE}/v1/nowhere"),
        ("GET", f"{BASE}x/v1/runtimes"),
        ("PATCH", f"{BASE}/v1/runtimes"),
        ("GET", f"{BASE}/v1/runtimes?limit=0"),
        ("GET", f"{BASE}/native/nobody/x"),
        ("GET", f"/v1/runtimes?cursor={'x' * 9000}"),
    ],
)
async def test_the_type_of_a_problem_is_the_address_of_its_page(gateway: Gateway, method: str, path: str) -> None:
    refused = await gateway.call(method, path)
    assert refused.status >= 400
    assert refused.json["type"] == f"{BASE}/docs/errors/{refused.json['code']}"
    page = await gateway.call("GET", refused.json["type"])
    assert page.status == 200


async def test_the_problems_in_a_list_have_addresses_with_the_prefix(gateway: Gateway) -> None:
    gateway.upstreams["durable"].fault("list", fault="status", status=500)
    listed = await gateway.call("GET", f"{BASE}/v1/runtimes")
    (missing,) = listed.json["incomplete"]
    assert missing["problem"]["type"] == f"{BASE}/docs/errors/{missing['problem']['code']}"


@pytest.mark.parametrize("page", ["/docs", "/docs/api", "/docs/errors", "/docs/errors/not_found", "/docs/reference"])
async def test_every_link_of_a_page_of_the_documentation_works(gateway: Gateway, page: str) -> None:
    shown = await gateway.call("GET", BASE + page)
    links = set(re.findall(r'(?:href|src)="(/[^"#]*)', shown.text))
    assert links
    assert all(link.startswith(f"{BASE}/") for link in links)
    for link in sorted(links)[:12]:
        assert (await gateway.call("GET", link)).status == 200, link


@pytest.mark.parametrize("end", ["", "/"])
async def test_the_front_page_leads_to_the_console_below_the_prefix(gateway: Gateway, end: str) -> None:
    async with gateway.client.get(f"{gateway.url}{BASE}{end}", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, f"{BASE}/console")
    page = await gateway.call("GET", f"{BASE}/console")
    for file in re.findall(r'(?:href|src)="(console/[^"]*)', page.text):
        assert (await gateway.call("GET", f"{BASE}/{file}")).status == 200


async def test_the_api_reference_finds_the_openapi_document(gateway: Gateway) -> None:
    script = await gateway.call("GET", f"{BASE}/docs/assets/reference.js")
    assert 'new URL("../../openapi.json", import.meta.url)' in script.text  # relative to /docs/assets/reference.js
    document = (await gateway.call("GET", f"{BASE}/openapi.json")).json
    assert document["servers"] == [{"url": f"{BASE}/"}]


async def test_requests_from_which_a_proxy_removed_the_prefix_are_served(gateway: Gateway) -> None:
    made = await gateway.call("POST", "/v1/runtimes", _durable("c"))
    assert (made.status, made.headers["Location"]) == (201, f"{BASE}/v1/runtimes/{made.json['id']}")
    assert (await gateway.call("GET", "/livez")).status == 200


async def test_dialects_and_the_pass_through_are_below_the_prefix(gateway: Gateway) -> None:
    runtimes = "/api/v1/org/acme/ws/research/runtimes"
    made = await gateway.call("POST", f"{BASE}/durable{runtimes}", {"key": "d"})
    assert made.status in {200, 201}
    for path in (f"{BASE}/durable{runtimes}", f"{BASE}/native/durable-demo{runtimes}"):
        assert [row["key"] for row in (await gateway.call("GET", path)).json["items"]] == ["d"]


async def test_a_redirect_of_the_provider_stays_below_the_prefix_of_the_pass_through(gateway: Gateway) -> None:
    durable = gateway.upstreams["durable"]
    path = "/api/v1/org/acme/ws/research/runtimes"
    durable.fault("list", fault="status", status=307, location=f"{path}/elsewhere")
    async with gateway.client.get(f"{gateway.url}{BASE}/native/durable-demo{path}", allow_redirects=False) as response:
        assert response.headers["Location"] == f"{BASE}/native/durable-demo{path}/elsewhere"


async def test_percent_encoded_segments_and_queries_are_unchanged(gateway: Gateway) -> None:
    listed = await gateway.call("GET", f"{BASE}/v1/runtimes?name=a%2Fb%20c&state=idle")
    assert (listed.status, listed.json["items"]) == (200, [])
    refused = await gateway.call("GET", f"{BASE}/v1/runtimes/durable-demo.a%2Fb")
    assert refused.status == 404


async def test_the_command_line_works_with_a_server_url_below_the_prefix(gateway: Gateway) -> None:
    async def run(*given: str) -> str:
        env = {"RTGW_SERVER": gateway.url + BASE, "RTGW_API_KEY": KEY}
        result = await asyncio.to_thread(CliRunner().invoke, cli, list(given), env=env)
        assert result.exit_code == 0, result.output
        return result.stdout

    await run("runtimes", "create", "--kind", "durable", "--name", "e")
    listed = json.loads(await run("runtimes", "list", "-o", "json"))
    assert [row["name"] for row in listed["items"]] == ["e"]


async def test_without_a_base_path_nothing_has_a_prefix() -> None:
    async with whole_gateway("durable") as gateway:
        assert (await gateway.call("GET", "/v1/nowhere")).json["type"] == "/docs/errors/not_found"
        assert (await gateway.call("GET", "/openapi.json")).json["servers"] == [{"url": "/"}]
        assert (await gateway.call("GET", f"{BASE}/v1/runtimes")).status == 404
