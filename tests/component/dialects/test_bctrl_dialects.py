"""The bctrl dialects over real sockets: they respond as the provider does, on top of the same use cases."""

import asyncio
import json
import re
from typing import Any

import pytest

from gateway.settings import SettingsError
from tests.component.dialects.bctrl_world import SPACE, WORKSPACE, Reply, Server, World, fault, provider, world
from tests.unit.adapters.bctrl_browsers import fakes as browsers

RUNTIMES = f"/v1/workspaces/{WORKSPACE}/runtimes"
PROFILE = "0b8f5c1e-63a1-4d1c-9d6c-000000000001"
PASSWORD = "hunter2-of-the-shop"
EPHEMERAL = {
    "mode": "ephemeral",
    "extensionIds": ["ext-1"],
    "config": {
        "humanize": True,
        "humanizePersonaId": 3,
        "solveCaptchas": False,
        "proxy": {"type": "socks5", "host": "p.example", "port": 1080, "username": "u", "password": PASSWORD},
    },
}
MADE_UP = re.compile(
    r"\b(br|run|req|key)_[\w-]+|\brun-[\w-]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z|key=[\w-]+"
)


def masked(value: Any) -> Any:
    """The value without the parts that differ each time: ids, times, credentials."""
    if isinstance(value, dict):
        return {
            key: masked(inner)
            for key, inner in value.items()
            if key not in {"hint", "details", "requestId", "nextCursor"}
        }
    if isinstance(value, list):
        return [masked(inner) for inner in value]
    return MADE_UP.sub("…", value) if isinstance(value, str) else value


def seen(reply: Reply) -> tuple[int, Any]:
    return reply.status, masked(reply.json)


async def create(server: Server, **body: Any) -> Any:
    """Create a running browser through the current era."""
    reply = await server.call("POST", "/v1/browsers?wait=10", body)
    assert reply.status == 201, reply.json
    return reply.json


SEED = [
    ("POST", "", {"alias": "bot", "kind": "browser"}),
    ("POST", "", {"alias": "My second bot", "kind": "browser", "driver": "selenium", "launch": EPHEMERAL}),
    ("POST", "", {"alias": "third", "kind": "browser", "launch": {"mode": "profile", "profileId": PROFILE}}),
    ("GET", "", None),
    ("GET", "/bot", None),
    ("GET", "/My%20second%20bot", None),
    ("GET", "/missing", None),
    ("POST", "/third/stop", None),
    ("POST", "/third/stop", b""),
    ("POST", "/missing/stop", None),
    ("GET", "/third", None),
    ("POST", "", {"alias": "third", "kind": "browser"}),
]


async def test_workspaces_era_responds_as_the_provider() -> None:
    """Status and body are equal, errors included."""
    async with world() as w:
        for method, path, body in SEED:
            ours = await w.dialect.call(method, RUNTIMES + path, body)
            theirs = await w.direct_workspaces.call(method, RUNTIMES + path, body)
            assert seen(ours) == seen(theirs), (method, path)


async def test_create_of_the_workspaces_era_is_sent_unchanged() -> None:
    """Every documented field is sent, and the password appears nowhere else."""
    async with world() as w:
        body = {"alias": "bot", "kind": "browser", "driver": "puppeteer", "launch": EPHEMERAL}
        reply = await w.dialect.call("POST", RUNTIMES, body)
        assert reply.status == 200
        assert w.workspaces.requests.received("create")[0].body == body
        assert PASSWORD not in str(reply.json) + w.log.getvalue()


async def test_live_alias_returns_its_runtime_or_names_what_differs() -> None:
    """The dialect also creates one runtime only."""
    async with world() as w:
        body = {"alias": "bot", "kind": "browser", "driver": "playwright"}
        made = await w.dialect.call("POST", RUNTIMES, body)
        again = await w.dialect.call("POST", RUNTIMES, body)
        assert (again.status, again.json) == (200, made.json)
        other = {**body, "driver": "selenium", "launch": {"mode": "profile", "profileId": PROFILE}}
        refused = await w.dialect.call("POST", RUNTIMES, other)
        assert (refused.status, refused.json["code"]) == (409, "runtime.name_conflict")
        assert [error["member"] for error in refused.json["details"]["errors"]] == ["driver", "launch.mode"]
        assert w.workspaces.creates == 1


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"kind": "browser"}, "alias"),
        ({"alias": "a", "kind": "desktop"}, "kind"),
        ({"alias": "..", "kind": "browser"}, "alias"),
        ({"alias": "a", "kind": "browser", "color": "red"}, "color"),
        ({"alias": "a", "kind": "browser", "launch": {}}, "launch.mode"),
        ({"alias": "a", "kind": "browser", "launch": {"mode": "profile", "profileId": "x"}}, "launch.profileId"),
        ({"alias": "a", "kind": "browser", "launch": {"mode": "ephemeral", "humanize": True}}, "launch.humanize"),
        (
            {"alias": "a", "kind": "browser", "launch": {"mode": "ephemeral", "config": {"proxy": {"type": "http"}}}},
            "launch.config.proxy.host",
        ),
        ([], None),
    ],
)
async def test_unsupported_body_is_refused_before_the_provider_is_called(body: Any, member: str | None) -> None:
    """The error names the native member."""
    async with world() as w:
        reply = await w.dialect.call("POST", RUNTIMES, body)
        assert (reply.status, reply.json["code"]) == (400, "request.invalid")
        assert reply.json["details"]["errors"][0]["member"] == member
        assert w.workspaces.requests.received() == []


TODAY = [
    (
        "POST",
        "/v1/browsers?wait=5",
        {"name": "one", "metadata": {"n": 1}, "proxy": f"http://u:{PASSWORD}@p.example:80"},
    ),
    ("POST", "/v1/browsers?wait=5", {"name": "one"}),
    ("POST", "/v1/browsers?wait=5", {"name": "Two words"}),
    ("GET", "/v1/browsers?limit=1&order=asc", None),
    ("GET", "/v1/browsers?status=idle", None),
    ("GET", "/v1/browsers?limit=0", None),
    ("GET", "/v1/browsers?order=sideways", None),
    ("GET", "/v1/browsers/one", None),
    ("GET", "/v1/browsers/Two%20words?spaceId=sp_demo&wait=1", None),
    ("GET", "/v1/browsers/missing", None),
    ("GET", "/v1/browsers/one?wait=61", None),
    ("PATCH", "/v1/browsers/one", {"headless": True, "networkTraffic": {"blockAds": True}}),
    ("PATCH", "/v1/browsers/one", {"viewport": {"width": 1, "height": 1}}),
    ("PATCH", "/v1/browsers/one", {"persona": "same"}),
    ("POST", "/v1/browsers/one/connections/revoke", None),
    ("POST", "/v1/browsers/one/stop?wait=5", {"discardState": True}),
    ("POST", "/v1/browsers/one/stop", {"discard": True}),
    ("POST", "/v1/browsers/one/connections/revoke", None),
    ("POST", "/v1/browsers/one/start?wait=5", {}),
    ("POST", "/v1/browsers/one/start", None),
    ("POST", "/v1/browsers/one/start", b"{"),
    ("POST", "/v1/browsers", {"name": ""}),
    ("POST", "/v1/browsers", {"name": "three", "fromBrowser": "one", "persona": "new"}),
    ("POST", "/v1/browsers", {"name": "four", "extensions": "all"}),
    ("DELETE", "/v1/browsers/one", None),
    ("DELETE", "/v1/browsers/one", None),
    ("GET", "/v1/browsers/one/pages/no/such", None),
    ("PUT", "/v1/browsers/one", None),
]


async def test_current_era_responds_as_the_provider() -> None:
    """Status and body are equal, errors included, except the messages of the gateway's own refusals."""
    async with world() as w:
        for method, path, body in TODAY:
            ours = await w.dialect.call(method, path, body)
            theirs = await w.direct.call(method, path, body)
            mine, other = seen(ours), seen(theirs)
            if ours.status in {400, 404, 405} and ours.json["error"]["message"] != theirs.json["error"]["message"]:
                mine[1]["error"].pop("message")
                other[1]["error"].pop("message")
            assert mine == other, (method, path)
        assert PASSWORD not in w.log.getvalue()


async def test_proxy_of_any_form_is_sent_unchanged() -> None:
    """Also forms that the unified API does not have."""
    forms: list[Any] = [
        None,
        f"socks5://user:{PASSWORD}@p.example:1080",
        {"url": "http://p.example:3128", "username": "u", "password": PASSWORD, "type": "custom"},
        {"host": "p.example", "port": 1, "protocol": "http", "password": PASSWORD, "dnsResolution": "proxy"},
        {"id": "px_1", "pool": "resi"},
        {"type": "managed-rotating", "country": "de"},
    ]
    async with world() as w:
        for number, proxy in enumerate(forms):
            reply = await w.dialect.call("POST", "/v1/browsers", {"name": f"p{number}", "proxy": proxy})
            assert reply.status == 201
            updated = await w.dialect.call("PATCH", f"/v1/browsers/p{number}", {"proxy": proxy})
            assert updated.status == 200
        sent = [received.body["proxy"] for received in w.browsers.requests.received("create")]
        assert sent == forms
        assert [received.body["proxy"] for received in w.browsers.requests.received("update")] == forms
        assert PASSWORD not in w.log.getvalue()


async def test_derived_key_is_sent_with_every_write() -> None:
    """The caller's key is never sent; the same key gives the same derived key."""
    async with world() as w:
        await w.dialect.call("POST", "/v1/browsers", {"name": "one"}, Idempotency_Key="mine")
        for method, path in (("POST", "/start"), ("POST", "/stop"), ("PATCH", ""), ("DELETE", "")):
            await w.dialect.call(method, f"/v1/browsers/one{path}", {}, Idempotency_Key=f"mine-{method}{path}")
        operations = ("create", "start", "stop", "update", "delete")
        keys = [w.browsers.requests.received(name)[0].headers["idempotency-key"] for name in operations]
        assert len(set(keys)) == 5
        assert all(re.fullmatch(r"rtgw-[0-9a-f]{40}", key) for key in keys)
        other = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "name": "two"}, Idempotency_Key="mine")
        assert (other.status, other.json["code"]) == (409, "idempotency.mismatch")
        assert len(w.browsers.requests.received("create")) == 1


async def test_unknown_outcome_has_a_form_that_no_client_repeats() -> None:
    """The current client decides by the reason, the older ones by the status."""
    async with world() as w:
        fault(w.browsers, "create", "status_after", status=503)
        today = await w.dialect.call("POST", "/v1/browsers", {"name": "one"})
        assert (today.status, today.json["error"]["reasonClass"]) == (504, "outcome_unknown")
        fault(w.browsers, "create", "drop_after")
        flat = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "name": "two", "start": True})
        assert (flat.status, flat.json["reasonClass"]) == (409, "outcome_unknown")
        fault(w.workspaces, "create", "html")
        workspaces = await w.dialect.call("POST", RUNTIMES, {"alias": "three", "kind": "browser"})
        assert (workspaces.status, workspaces.json["reasonClass"]) == (409, "outcome_unknown")


async def test_rejected_gateway_credentials_are_not_a_401_of_the_caller() -> None:
    """A 401 would make the caller replace a valid key."""
    providers = {"browsers-demo": {**provider("bctrl_browsers", scope=SPACE), "token": "not-the-right-token"}}
    async with world(providers) as w:
        for path in ("/v1/browsers", "/v1/runtimes"):
            reply = await w.dialect.call("GET", path)
            assert reply.status == 502
            error_body = reply.json["error"] if path == "/v1/browsers" else reply.json
            assert error_body["code"] == "gateway.misconfigured"


async def test_retry_after_is_kept() -> None:
    """In whole seconds, in each era."""
    async with world() as w:
        for emulator, path in ((w.browsers, "/v1/browsers"), (w.browsers, "/v1/runtimes"), (w.workspaces, RUNTIMES)):
            fault(emulator, "list", "status", status=429, retry_after=7, detail="Slow down, please.")
            reply = await w.dialect.call("GET", path)
            assert (reply.status, reply.headers["Retry-After"]) == (429, "7")
            assert "Slow down, please." in str(reply.json)


async def test_page_is_empty_only_if_it_is_the_last() -> None:
    """A client that stops at an empty page misses nothing, because pages that a filter leaves empty are skipped."""
    async with world() as w:
        for number in range(6):
            await create(w.dialect, name=f"n{number}")
        for number in (0, 5):
            await w.dialect.call("POST", f"/v1/browsers/n{number}/stop?wait=1", {})
        found, cursor, pages = [], "", 0
        while pages == 0 or cursor:
            query = f"limit=1&status=stopped&status=failed{'&cursor=' + cursor if cursor else ''}"
            page = (await w.dialect.call("GET", f"/v1/runtimes?{query}")).json
            assert page["data"] or page["nextCursor"] is None
            found += [row["name"] for row in page["data"]]
            cursor, pages = page["nextCursor"], pages + 1
        assert found == ["n5", "n0"]


@pytest.mark.parametrize("path", ["/v1/browsers", "/v1/runtimes"])
@pytest.mark.parametrize("data", [[], [browsers.row()]])
async def test_repeated_cursor_of_the_provider_is_an_error(path: str, data: list[Any]) -> None:
    async with world() as w:
        body = {"data": data, "hasMore": True, "nextCursor": "c1"}
        fault(w.browsers, "list", "status", status=200, body=body)
        reply = await w.dialect.call("GET", f"{path}?cursor=c1")
        assert reply.status == 502
        assert "repeats a cursor" in str(reply.json)


async def test_flat_create_with_start_waits_for_the_connection() -> None:
    """Also if the provider responds before the run is active."""
    async with world() as w:
        w.browsers.now = lambda: 1_790_000_000.0  # with a fixed time no run becomes active by itself
        made = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "name": "idle"})
        assert made.json["status"] == "active"
        assert "connectUrl" not in made.json
        started = await w.dialect.call("POST", f"/v1/runtimes/{made.json['id']}/start")
        assert (started.status, started.json["started"], started.json["protocol"]) == (200, False, "cdp")
        assert started.json["connectUrl"].startswith("wss://")
        got = await w.dialect.call("GET", f"/v1/runtimes/{made.json['id']}?include=connection")
        connected = got.json["connection"]
        assert connected["cdpUrl"] == connected["connectUrl"] == started.json["connectUrl"]
        assert connected["webDriverUrl"] == connected["webdriverUrl"]


async def test_flat_create_without_a_connection_is_a_409_with_the_id() -> None:
    """After a 5xx the client would repeat the whole create."""
    settings = {**provider("bctrl_browsers", scope=SPACE), "deadlines": {"create": 5}}
    async with world({"browsers-demo": settings}) as w:
        w.browsers.now = lambda: 1_790_000_000.0
        fault(w.browsers, "get", "status", status=503, times=3)
        reply = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "name": "slow", "start": True})
        assert (reply.status, reply.json["code"]) == (409, "runtime.start_in_progress")
        found = (await w.dialect.call("GET", "/v1/runtimes")).json["data"]
        assert [row["id"] in reply.json["error"] for row in found] == [True]


REFUSED_FLAT = [
    ({"name": "x"}, "type"),
    ({"type": "browser", "start": False}, "start"),
    ({"type": "browser", "profile": False}, "profile"),
    ({"type": "browser", "config": {"profile": False}}, "config.profile"),
    ({"type": "browser", "config": {"fingerprint": {"os": "linux"}}}, "config.fingerprint"),
    ({"type": "browser", "config": {"idleTimeoutSeconds": 60}}, "config.idleTimeoutSeconds"),
    ({"type": "browser", "config": {"stealth": "ultra"}}, "config.stealth"),
    ({"type": "browser", "config": {"proxy": "ftp://p"}}, "config.proxy"),
    ({"type": "browser", "target": "x"}, "target"),
]


@pytest.mark.parametrize(("body", "member"), REFUSED_FLAT, ids=lambda value: value if isinstance(value, str) else "")
async def test_flat_member_without_an_equivalent_is_refused_by_name(body: Any, member: str) -> None:
    """No runtime is created."""
    async with world() as w:
        reply = await w.dialect.call("POST", "/v1/runtimes", body)
        assert (reply.status, reply.json["code"]) == (400, "request.invalid")
        assert reply.json["details"]["errors"][0]["member"] == member
        assert w.browsers.requests.received() == []


async def test_flat_members_with_an_equivalent_are_mapped() -> None:
    """In both directions, for every member of the flat config that is served."""
    config = {
        "autoUpgrade": False,
        "extensionIds": ["ext-1"],
        "forceOpenShadowRoots": True,
        "headless": True,
        "networkTraffic": {"blockAds": True},
        "proxy": {"host": "p.example", "port": 80, "protocol": "http", "password": PASSWORD},
        "stealth": "best",
        "webRtcProxyOnly": False,
    }
    body = {"type": "browser", "name": "all", "metadata": {"a": [1]}, "recording": False, "config": config}
    async with world() as w:
        made = await w.dialect.call("POST", "/v1/runtimes", {**body, "config": {**config, "profile": True}})
        sent = w.browsers.requests.received("create")[0].body
        renamed = {**config, "extensions": config["extensionIds"]}
        del renamed["extensionIds"]
        marker = sent["metadata"].pop("rgw_intent")
        assert marker.startswith("in_")
        assert marker not in str(made.json)
        assert sent == {"name": "all", "spaceId": SPACE, "metadata": {"a": [1]}, "recording": False, **renamed}
        shown = dict(made.json["config"])
        assert PASSWORD not in str(shown.pop("proxy"))
        assert shown == {key: value for key, value in config.items() if key != "proxy"}
        assert made.json["metadata"] == {"a": [1]}
        refused = await w.dialect.call("POST", f"/v1/runtimes/{made.json['id']}/start", {"recording": True})
        assert refused.json["details"]["errors"][0]["member"] == "recording"
        assert (
            await w.dialect.call("POST", f"/v1/runtimes/{made.json['id']}/start", {"recording": False})
        ).status == 200


async def both_ways(w: World, dialect_path: str, body: dict[str, Any], stop: str, create_body: dict[str, Any]) -> None:
    """Create on one side and stop on the other."""
    made = (await w.dialect.call("POST", dialect_path, body)).json
    listed = (await w.gateway.call("GET", "/v1/runtimes")).json["items"]
    ours = next(row for row in listed if row["provider_id"] == made["id"])
    stopped = await w.gateway.call("POST", f"/v1/runtimes/{ours['id']}/stop", {})
    assert (stopped.status, stopped.json["changed"]) == (200, True)
    other = await w.gateway.call("POST", "/v1/runtimes", create_body)
    assert other.status == 201
    native = {"id": other.json["provider_id"], "alias": other.json["name"]}
    reply = await w.dialect.call("POST", f"{dialect_path}/{stop.format(**native)}/stop", {})
    assert reply.status == 200
    state = (await w.gateway.call("GET", f"/v1/runtimes/{other.json['id']}")).json["state"]
    assert state in {"idle", "stopping", "stopped"}


@pytest.mark.parametrize(
    ("path", "body", "stop"),
    [
        (RUNTIMES, {"alias": "here", "kind": "browser"}, "{alias}"),
        ("/v1/browsers", {"name": "here"}, "{id}"),
        ("/v1/runtimes", {"type": "browser", "name": "here", "start": True}, "{id}"),
    ],
    ids=["workspaces", "browsers", "flat"],
)
async def test_runtime_made_on_one_side_is_stopped_from_the_other(path: str, body: dict[str, Any], stop: str) -> None:
    provider_name = "bctrl-demo" if path == RUNTIMES else "browsers-demo"
    async with world() as w:
        await both_ways(w, path, body, stop, {"kind": "browser", "name": "there", "provider": provider_name})


async def test_unified_api_returns_the_connections_of_a_browser() -> None:
    """They are those that the provider returns, whichever side created the browser."""
    async with world() as w:
        made = await create(w.dialect, name="one")
        listed = (await w.gateway.call("GET", "/v1/runtimes?provider=browsers-demo")).json["items"][0]
        connected = await w.gateway.call("POST", f"/v1/runtimes/{listed['id']}/connections", {})
        urls = {(each["protocol"], each["url"]) for each in connected.json["items"]}
        shown = made["currentRun"]["connections"]
        assert {("cdp", shown["cdpUrl"]), ("webdriver", shown["webdriverUrl"])} < urls
        cdp = await w.gateway.call("POST", f"/v1/runtimes/{listed['id']}/connections", {"protocol": "cdp"})
        assert [each["protocol"] for each in cdp.json["items"]] == ["cdp"]


SPACES = {
    "main": provider("bctrl_browsers", scope="sp_demo"),
    "second": provider("bctrl_browsers", scope="sp_two"),
    "open": provider("bctrl_browsers", order=2),
}


async def test_space_selects_the_provider() -> None:
    """It is named in the body, the query or a header; without one it is the default space."""
    async with world({name: SPACES[name] for name in ("main", "second")}) as w:
        await create(w.dialect, name="a")
        await create(w.dialect, name="b", spaceId="sp_two")
        await w.dialect.call("POST", "/v1/browsers", {"name": "c"}, BCTRL_Space="sp_two")

        async def names(query: str = "", **headers: str) -> list[str]:
            page = await w.dialect.call("GET", f"/v1/browsers{query}", **headers)
            return sorted(row["name"] for row in page.json["data"])

        assert await names() == await names("?spaceId=default") == await names("?spaceId=sp_demo") == ["a"]
        assert await names("?spaceId=sp_two") == await names(BCTRL_Space="sp_two") == ["b", "c"]
        unknown = await w.dialect.call("GET", "/v1/browsers?spaceId=sp_none")
        assert (unknown.status, unknown.json["error"]["code"]) == (404, "space.not_found")


async def test_flat_era_finds_an_id_in_every_space_served_by_name() -> None:
    """An unknown id is 404 only if every space could be read."""
    async with world({name: SPACES[name] for name in ("main", "second")}) as w:
        made = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "name": "b", "spaceId": "sp_two"})
        runtime = f"/v1/runtimes/{made.json['id']}"
        assert (await w.dialect.call("GET", runtime)).json["spaceId"] == "sp_two"
        assert (await w.dialect.call("POST", f"{runtime}/stop")).json["stopped"] is True
        by_name = await w.dialect.call("GET", "/v1/runtimes/b")
        assert (by_name.status, by_name.json["code"]) == (404, "runtime.not_found")
        fault(w.emulators["main"], "get", "status", status=503, times=3)
        assert (await w.dialect.call("GET", runtime)).status == 200
        fault(w.emulators["main"], "get", "status", status=503, times=3)
        assert (await w.dialect.call("GET", "/v1/runtimes/br_nowhere")).status == 503


async def test_space_that_hangs_does_not_delay_other_spaces() -> None:
    async with world({name: SPACES[name] for name in ("main", "second")}) as w:
        made = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "spaceId": "sp_two"})
        fault(w.emulators["main"], "get", "hang")
        assert (await w.dialect.call("GET", f"/v1/runtimes/{made.json['id']}")).status == 200
        lines = [json.loads(line) for line in w.log.getvalue().splitlines()]
        (outcome,) = [
            line["outcome"] for line in lines if line.get("operation") == "get" and line["provider"] == "main"
        ]
        assert outcome == "cancelled", "the read was cancelled as soon as the other one had returned"
        assert lines[-1]["provider"] == "second"
        assert lines[-1]["runtime_id"] == f"second.{made.json['id']}"


async def test_flat_create_in_a_space_not_served_by_name_is_refused() -> None:
    """No later call of the flat era could find the runtime."""
    async with world({"open": SPACES["open"]}) as w:
        refused = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "spaceId": "sp_other"})
        assert refused.json["details"]["errors"][0]["member"] == "spaceId"
        assert (await w.dialect.call("POST", "/v1/runtimes", {"type": "browser", "spaceId": "default"})).status == 201
        named = await w.dialect.call("POST", "/v1/runtimes", {"type": "browser"}, BCTRL_Space="sp_other")
        assert named.status == 201
        runtime = f"/v1/runtimes/{named.json['id']}"
        assert (await w.dialect.call("GET", runtime)).status == 404
        assert (await w.dialect.call("GET", runtime, BCTRL_Space="sp_other")).status == 200


async def test_mapped_scope_is_shown_as_the_caller_named_it() -> None:
    """A client keeps using the names that it has."""
    routes = [
        {"scope": "sp_old", "provider": "browsers-demo", "target_scope": SPACE},
        {"scope": "ws-old", "provider": "bctrl-demo", "target_scope": WORKSPACE, "era": "workspaces"},
    ]
    async with world(routes=routes) as w:
        made = await create(w.dialect, name="one", spaceId="sp_old")
        assert (made["spaceId"], made["currentRun"]["spaceId"]) == ("sp_old", "sp_old")
        listed = await w.dialect.call("GET", "/v1/browsers?spaceId=sp_old")
        assert [row["spaceId"] for row in listed.json["data"]] == ["sp_old"]
        flat = await w.dialect.call("GET", f"/v1/runtimes/{made['id']}?spaceId=sp_old")
        assert flat.json["spaceId"] == "sp_old"
        path = "/v1/workspaces/ws-old/runtimes"
        workspaces = await w.dialect.call("POST", path, {"alias": "bot", "kind": "browser"})
        assert (workspaces.status, workspaces.json["workspaceId"]) == (200, "ws-old")
        rows = (await w.dialect.call("GET", path)).json["runtimes"]
        assert [row["workspaceId"] for row in rows] == ["ws-old"]
        assert w.workspaces.requests.received("create")[0].path == RUNTIMES


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"BCTRL_Version": "2026-01-01"}, "request.version_unsupported"),
        ({"BCTRL_Subaccount_Id": "sub_1"}, "auth.subaccount_context_unsupported"),
    ],
)
async def test_unsupported_header_is_refused(headers: dict[str, str], code: str) -> None:
    """Another version, or a subaccount."""
    async with world() as w:
        reply = await w.dialect.call("GET", "/v1/browsers", **headers)
        assert (reply.status, reply.json["error"]["code"]) == (400, code)
        assert w.browsers.requests.received() == []


@pytest.mark.parametrize(
    "path", ["/v1/browsers?color=red", "/v1/runtimes?include=archived", "/v1/runtimes?status=gone", f"{RUNTIMES}?x=1"]
)
async def test_unknown_query_parameter_is_refused(path: str) -> None:
    """It would have no effect."""
    async with world() as w:
        assert (await w.dialect.call("GET", path)).status == 400
        assert w.browsers.requests.received() == w.workspaces.requests.received() == []


async def test_unknown_path_has_the_envelope_of_its_family() -> None:
    """Undeclared paths are not forwarded."""
    async with world() as w:
        for path in ("/v1/browsers/one/pages", "/v1/sandboxes", "/v1/sandboxes/sb_1"):
            reply = await w.dialect.call("GET", path)
            assert (reply.status, reply.json["error"]["code"]) == (404, "route.not_found")
        for path in ("/v1/runtimes/br_1/targets", f"{RUNTIMES}/bot/events/wait", "/v1/runs", "/v1/spaces", ""):
            reply = await w.dialect.call("GET", path)
            assert (reply.status, reply.json["code"]) == (404, "route.not_found")
        assert w.browsers.requests.received() == w.workspaces.requests.received() == []


async def test_version_header_gives_nested_errors_on_every_path() -> None:
    """Only clients of the current era send it, and they read no other envelope."""
    async with world() as w:
        for path in ("/v1/spaces", "", "/v1/browsers/none", "/v1/runtimes/none", f"{RUNTIMES}/none", "/v1/workspaces"):
            reply = await w.dialect.call("GET", path, BCTRL_Version="2026-10-03")
            assert (reply.status, reply.json.keys()) == (404, {"error"}), path
            assert {"message", "code", "reasonClass", "requestId"} <= reply.json["error"].keys()
        stranger = Server(w.dialect.url, "not-a-key-of-anybody", w.dialect.session)
        refused = await stranger.call("GET", RUNTIMES, BCTRL_Version="2026-10-03")
        assert (refused.status, refused.json["error"]["code"]) == (401, "auth.invalid")


async def test_route_with_an_unknown_era_is_a_settings_error() -> None:
    """The fault names the setting and the known eras."""
    with pytest.raises(SettingsError) as caught:
        async with world(routes=[{"scope": SPACE, "provider": "browsers-demo", "era": "sessions"}]):
            raise AssertionError("the gateway was created")
    assert [tuple(problem) for problem in caught.value.problems] == [
        ("dialects.bctrl.routes.0.era", "this must be an era of the dialect, one of: browsers, flat, workspaces")
    ]


async def test_path_without_a_provider_of_its_api_is_404() -> None:
    async with world({"bctrl-demo": provider("bctrl", scope=WORKSPACE)}) as w:
        for path in ("/v1/browsers", "/v1/runtimes"):
            assert (await w.dialect.call("GET", path)).status == 404
        assert (await w.dialect.call("GET", RUNTIMES)).status == 200
        other = await w.dialect.call("GET", "/v1/workspaces/ws-other/runtimes")
        assert (other.status, other.json["code"]) == (404, "workspace.not_found")


async def test_create_without_a_name_gets_one_from_its_key() -> None:
    """A repetition is the same request, which the provider deduplicates."""
    async with world() as w:
        made = await asyncio.gather(
            *(w.dialect.call("POST", "/v1/browsers", {}, Idempotency_Key="k") for _ in range(2)),
            w.dialect.call("POST", "/v1/browsers", {}),
        )
        one, two, other = (reply.json["name"] for reply in made)
        assert one == two != other
        assert w.browsers.creates == 2
