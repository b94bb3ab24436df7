"""JSON that is nested very deeply, in any response of a provider: a failure of the provider, never of the gateway.

See docs/promises.md#p5.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from gateway.domain.ids import b64url
from gateway.testing.processes import running
from tests.component.whole_gateway import whole_gateway
from tests.unit.adapters.bctrl import fakes as bctrl
from tests.unit.adapters.bctrl_browsers import fakes as browsers
from tests.unit.adapters.durable import fakes as durable

DEPTHS = [("[", 500), ('{"a":', 3_000), ("[", 100_000)]
BAD = "provider_bad_response"
HOLE = '"HOLE"'
Document = Mapping[str, Any]

ONE = {
    "durable": f"durable-demo.{durable.UUID}",
    "bctrl": f"bctrl-demo.{b64url('checkout-bot')}~{bctrl.UUID}",
    "bctrl_browsers": f"browsers-demo.{browsers.ID}",
}
ROWS: Mapping[str, Document] = {
    "durable": durable.row(status="running", instance=durable.instance()),
    "bctrl": bctrl.row(),
    "bctrl_browsers": browsers.row(spaceId="sp_demo"),
}
LIST = {"durable": "items", "bctrl": "runtimes", "bctrl_browsers": "data"}
NATIVE = {
    "durable": [
        f"/durable/api/v1/{path}"
        for path in (
            *("user", "user/organizations", "user/secrets", "org/acme", "org/acme/ws", "org/acme/ws/research"),
            *(f"org/acme/ws/research/{below}" for below in ("projects", "projects/p", "runtimes", "runtimes/r")),
        )
    ],
    "bctrl": (f"/bctrl/v1/workspaces/{bctrl.WORKSPACE}/runtimes",),
    "bctrl_browsers": ("/bctrl/v1/browsers/x", "/bctrl/v1/browsers", "/bctrl/v1/runtimes/x", "/bctrl/v1/runtimes"),
}
CALLS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("POST", "/start", {}),
    ("POST", "/stop", {}),
    ("POST", "/pause", None),
    ("POST", "/resume", None),
    ("POST", "/reset", None),
    ("POST", "/keepalive", {"extend_seconds": 60}),
    ("POST", "/connections", {}),
    ("GET", "/config", None),
    ("PUT", "/config", {"config": {"version": "v2"}}),
    ("GET", "/capabilities", None),
    ("GET", "/capabilities/resolved", None),
    ("POST", "/capabilities", {"name": "x"}),
    ("PATCH", "/capabilities/b", {"enabled": True}),
    ("DELETE", "/capabilities/b", None),
    ("DELETE", "", None),
]


def bodies(api: str) -> dict[str, tuple[int, str]]:
    """Responses with a hole for something deep, by description: status and body."""
    row = ROWS[api]
    envelope = {"detail": "d", "type": "conflict", "error": {"code": "c", "message": "m"}, "message": "m", "code": "c"}
    members = ["x", *row]
    found: dict[str, tuple[int, Any]] = {
        "nothing else": (200, "HOLE"),
        "nothing else, created": (201, "HOLE"),
        "a list of it": (200, {LIST[api]: ["HOLE"]}),
        "a list with it beside": (200, {LIST[api]: [row], "x": "HOLE"}),
        "a cursor": (200, {LIST[api]: [row], "next_cursor": "HOLE", "nextCursor": "HOLE"}),
        "a config": (200, {"config": "HOLE", "config_version": "v2"}),
        "the error": (409, {**envelope, "error": "HOLE"}),
        **{f"member {member} of a runtime": (200, {**row, member: "HOLE"}) for member in members},
        **{
            f"an error with status {s}": (s, {**envelope, "errors": ["HOLE"], "x": "HOLE"})
            for s in (400, 404, 422, 503)
        },
        **{f"only it with status {s}": (s, "HOLE") for s in (401, 403, 409, 503)},
    }
    return {name: (status, json.dumps(body)) for name, (status, body) in found.items()}


@pytest.mark.parametrize("api", ["durable", "bctrl", "bctrl_browsers"])
@pytest.mark.parametrize(("opening", "depth"), DEPTHS)
async def test_deep_json_in_a_response_is_a_failure_of_the_provider(opening: str, depth: int, api: str) -> None:
    deep = opening * depth + "0" + ("]" if opening == "[" else "}") * depth
    current: tuple[int, str] = (200, "")

    async def respond(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=current[0], text=current[1].replace(HOLE, deep), content_type="application/json")

    provider = web.Application()
    provider.router.add_route("*", "/{path:.*}", respond)
    kind = "durable" if api == "durable" else "browser"
    calls = [(method, f"/v1/runtimes/{ONE[api]}{path}", body) for method, path, body in CALLS]
    calls += [("GET", path, None) for path in ("/v1/runtimes", "/v1/runtimes?partial=deny", *NATIVE[api])]
    async with running(provider) as url, whole_gateway(api, **{api: {"base_url": url}}) as gateway:
        wrong = []
        for number, (name, (status, text)) in enumerate(bodies(api).items()):
            current = status, text
            create = ("POST", "/v1/runtimes", {"kind": kind, "name": f"n{number}", "start": True})
            for method, path, body in [*calls, create]:
                response = await gateway.call(method, path, body)
                unclear = name == "nothing else" and path in {f"/v1/runtimes/{ONE[api]}", "/v1/runtimes"}
                if response.status == 500 or (unclear and method == "GET" and BAD not in response.text):
                    wrong.append((name, method, path, response.text[:300]))
                if unclear and method == "POST" and response.json["code"] not in {BAD, "outcome_unknown"}:
                    wrong.append((name, method, path, response.text[:300]))
        assert wrong == [], "\n".join(map(str, wrong))
        assert not [line for line in map(json.loads, gateway.log.getvalue().splitlines()) if line["level"] == "error"]
