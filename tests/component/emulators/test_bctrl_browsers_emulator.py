"""The emulator of the browser API and of the flat era over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from adapters.bctrl_browsers.emulator import create_emulator
from gateway.testing.processes import running

BROWSERS, FLAT = "/v1/browsers", "/v1/runtimes"
REQUIRED = [
    "object",
    "type",
    "id",
    "name",
    "spaceId",
    "status",
    "createdAt",
    "updatedAt",
    "lastUsedAt",
    "autoUpgrade",
    "expireAfterIdleDays",
    "extensions",
    "forceOpenShadowRoots",
    "gpu",
    "headless",
    "location",
    "metadata",
    "recording",
    "savedState",
    "standbyAfterSeconds",
    "stealth",
    "timeoutSeconds",
    "viewport",
    "webRtcProxyOnly",
]
REQUIRED_OF_A_RUN = [
    "object",
    "id",
    "resourceId",
    "resourceType",
    "spaceId",
    "status",
    "createdAt",
    "updatedAt",
    "location",
    "control",
    "recording",
]


class Time:
    """The emulator's clock, which tests advance."""

    def __init__(self) -> None:
        self.seconds = 1_790_000_000.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def _emulator(time: Time | None = None, **personality: str) -> AsyncIterator[aiohttp.ClientSession]:
    app = create_emulator(token="t0ken", personality=personality, now=time or Time())
    async with running(app) as url, aiohttp.ClientSession(url, headers={"Authorization": "Bearer t0ken"}) as session:
        yield session


async def _send(
    session: aiohttp.ClientSession, method: str, path: str, body: Any = None, **options: Any
) -> tuple[int, Any]:
    async with session.request(method, path, json=body, **options) as response:
        return response.status, await response.json()


async def _create(session: aiohttp.ClientSession, name: str = "bot", wait: int = 5, **members: Any) -> Any:
    status, made = await _send(session, "POST", f"{BROWSERS}?wait={wait}", {"name": name, **members})
    assert status == 201, made
    return made


async def test_create_returns_all_members_that_the_client_requires():
    async with _emulator() as session:
        made = await _create(session, gpu=True, metadata={"n": 1}, extensions=["e"], captcha={"autoSolve": True})
        assert not set(REQUIRED) - made.keys()
        assert (made["name"], made["spaceId"], made["status"], made["gpu"]) == ("bot", "sp_demo", "running", True)
        assert (made["metadata"], made["extensions"], made["captcha"]) == ({"n": 1}, ["e"], {"autoSolve": True})
        run = made["currentRun"]
        assert not set(REQUIRED_OF_A_RUN) - run.keys()
        assert (run["status"], run["resourceId"]) == ("active", made["id"])
        assert run["connections"].keys() == {
            "cdpUrl",
            "webdriverUrl",
            "liveViewUrl",
            "liveViewReadOnlyUrl",
            "expiresAt",
        }
        assert await _send(session, "GET", f"{BROWSERS}/{made['id']}") == (200, made)
        assert await _send(session, "GET", f"{BROWSERS}/bot") == (200, made)


async def test_run_starts_and_stops_after_a_second_unless_the_call_waits():
    time = Time()
    async with _emulator(time) as session:
        made = await _create(session, wait=0)
        one = f"{BROWSERS}/{made['id']}"

        async def seen(method: str = "GET", below: str = "") -> tuple[str, str | None]:
            _, body = await _send(session, method, one + below)
            return body["status"], body["currentRun"] and body["currentRun"]["status"]

        assert "connections" not in made["currentRun"]
        assert await seen() == ("running", "starting")
        time.seconds += 1
        assert await seen() == ("running", "active")
        assert await seen("POST", "/stop") == ("running", "stopping")
        assert await seen() == ("running", "stopping")
        time.seconds += 1
        assert await seen() == ("idle", None)
        assert await seen("POST", "/start") == ("running", "starting")
        assert await seen("GET", "?wait=1") == ("running", "active")
        assert await seen("POST", "/stop?wait=60") == ("idle", None)


async def test_start_keeps_a_current_run_and_replaces_one_that_is_stopping():
    async with _emulator() as session:
        made = await _create(session)
        one, first = f"{BROWSERS}/{made['id']}", made["currentRun"]["id"]
        _, again = await _send(session, "POST", f"{one}/start", {})
        assert again["currentRun"]["id"] == first
        await _send(session, "POST", f"{one}/stop", {})
        _, after = await _send(session, "POST", f"{one}/start", {})
        assert after["currentRun"]["id"] != first
        assert after["savedState"]["status"] == "saved"


async def test_stop_keeps_the_state_or_erases_it():
    async with _emulator() as session:
        one = f"{BROWSERS}/{(await _create(session))['id']}"
        _, kept = await _send(session, "POST", f"{one}/stop?wait=1", {})
        assert kept["savedState"] == {"status": "saved", "sizeBytes": 4096}
        await _send(session, "POST", f"{one}/start?wait=1", {})
        _, erased = await _send(session, "POST", f"{one}/stop?wait=1", {"discardState": True})
        assert erased["savedState"] == {"status": "none"}
        assert (await _send(session, "POST", f"{one}/stop", {}))[1]["status"] == "idle"


async def test_deleted_browser_is_gone_even_while_it_runs():
    async with _emulator() as session:
        made = await _create(session)
        deleted = {"id": made["id"], "deleted": True}
        assert await _send(session, "DELETE", f"{BROWSERS}/bot") == (200, deleted)
        status, answer = await _send(session, "DELETE", f"{BROWSERS}/bot")
        assert (status, answer["error"]["code"]) == (404, "browser.not_found")
        _, stats = await _send(session, "GET", "/__stats")
        assert (stats["runtimes"], stats["live_runtimes"], stats["creates_committed"]) == (0, 0, 1)


async def test_space_shows_only_its_own_browsers():
    async with _emulator() as session:
        here, there = await _create(session), await _create(session, spaceId="sp_2")
        assert (here["spaceId"], there["spaceId"]) == ("sp_demo", "sp_2")
        for space in ({"params": {"spaceId": "sp_2"}}, {"headers": {"BCTRL-Space": "sp_2"}}):
            _, page = await _send(session, "GET", BROWSERS, **space)
            assert [browser["id"] for browser in page["data"]] == [there["id"]]
            assert (await _send(session, "GET", f"{BROWSERS}/{here['id']}", **space))[0] == 404
        assert (await _send(session, "GET", f"{BROWSERS}/bot?spaceId=default"))[1]["id"] == here["id"]


@pytest.mark.parametrize(("choice", "status", "count"), [("unique", 409, 1), ("free", 201, 2)])
async def test_personality_decides_whether_names_are_unique(choice, status, count):
    async with _emulator(names=choice) as session:
        await _create(session)
        answered, answer = await _send(session, "POST", BROWSERS, {"name": "bot"})
        assert answered == status
        if status == 409:
            assert answer["error"]["code"] == "browser.name_conflict"
        _, page = await _send(session, "GET", f"{BROWSERS}?name=bot")
        assert len(page["data"]) == count
        assert (await _send(session, "GET", f"{BROWSERS}/bot"))[1]["id"] in {row["id"] for row in page["data"]}


async def test_remembered_key_replays_its_write_and_refuses_another():
    async with _emulator() as session:
        key = {"headers": {"Idempotency-Key": "k-1"}}
        _, first = await _send(session, "POST", BROWSERS, {"name": "bot"}, **key)
        assert await _send(session, "POST", BROWSERS, {"name": "bot"}, **key) == (201, first)
        for method, path, body in (
            ("POST", BROWSERS, {"name": "other"}),
            ("POST", f"{BROWSERS}/bot/stop", {}),
            ("POST", FLAT, {"type": "browser"}),
        ):
            status, answer = await _send(session, method, path, body, **key)
            assert (status, "idempotency.mismatch" in str(answer)) == (409, True)
        _, stats = await _send(session, "GET", "/__stats")
        assert stats["creates_committed"] == 1


async def test_delete_is_replayed_with_its_key():
    async with _emulator() as session:
        await _create(session)
        key = {"headers": {"Idempotency-Key": "k-1"}}
        deleted = await _send(session, "DELETE", f"{BROWSERS}/bot", **key)
        assert await _send(session, "DELETE", f"{BROWSERS}/bot", **key) == deleted
        assert (await _send(session, "DELETE", f"{BROWSERS}/bot"))[0] == 404


async def test_refusal_is_not_remembered_under_its_key():
    async with _emulator() as session:
        key = {"headers": {"Idempotency-Key": "k-1"}}
        assert (await _send(session, "POST", BROWSERS, {"gpu": 1}, **key))[0] == 400
        assert (await _send(session, "POST", BROWSERS, {"gpu": True}, **key))[0] == 201


async def test_forgotten_key_creates_a_second_browser():
    async with _emulator(names="free", keys="forgotten") as session:
        key = {"headers": {"Idempotency-Key": "k-1"}}
        ids = {(await _send(session, "POST", BROWSERS, {"name": "bot"}, **key))[1]["id"] for _ in range(2)}
        assert len(ids) == 2


async def test_commit_twice_creates_two_with_any_key_and_name():
    async with _emulator() as session:
        await _send(session, "POST", "/__faults", {"operation": "create", "fault": "commit_twice", "times": 1})
        await _send(session, "POST", BROWSERS, {"name": "bot"}, headers={"Idempotency-Key": "k-1"})
        _, stats = await _send(session, "GET", "/__stats")
        assert (stats["live_runtimes"], stats["creates_committed"]) == (2, 2)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"kind": "browser"},
        {"name": ""},
        {"name": "x" * 201},
        {"gpu": 1},
        {"extensions": "e"},
        {"captcha": {"solve": True}},
        {"viewport": {"width": 1}},
        {"viewport": {"width": True, "height": 1}},
        {"stealth": "ultra"},
        {"standbyAfterSeconds": 60},
        {"timeoutSeconds": 1.5},
        {"metadata": None},
        {"networkTraffic": {"blockResourceTypes": ["video"]}},
        {"persona": "old"},
        {"proxy": "proxy.test"},
        {"proxy": {"type": "http", "host": "h", "port": 1}},
        {"proxy": {"host": "h", "port": 1, "protocol": "ftp"}},
        {"proxy": {"host": "h", "port": "1", "protocol": "http"}},
    ],
)
async def test_invalid_body_is_refused_and_creates_nothing(body):
    async with _emulator() as session:
        status, answer = await _send(session, "POST", BROWSERS, body)
        assert (status, answer["error"]["code"]) == (400, "request.invalid")
        assert (await _send(session, "GET", "/__stats"))[1]["runtimes"] == 0


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        (
            "http://u:hunter2@p.test:80",
            {"protocol": "http", "host": "p.test", "port": 80, "username": "u", "type": "custom", "hasPassword": True},
        ),
        (
            {"host": "p", "port": 1, "protocol": "socks5", "password": "hunter2"},
            {"host": "p", "port": 1, "protocol": "socks5", "type": "custom", "hasPassword": True},
        ),
        (
            {"url": "socks5://p.test:1", "username": "u"},
            {
                "protocol": "socks5",
                "host": "p.test",
                "port": 1,
                "username": "u",
                "type": "custom",
                "hasPassword": False,
            },
        ),
        ({"id": "px_1"}, {"id": "px_1"}),
        ({"type": "managed-rotating", "country": "de"}, {"type": "managed-rotating", "country": "de"}),
        (None, None),
    ],
)
async def test_every_form_of_a_proxy_is_shown_without_its_password(proxy, shown):
    async with _emulator() as session:
        assert (await _create(session, proxy=proxy))["proxy"] == shown


async def test_update_changes_the_sent_members_except_fixed_ones_of_a_running_browser():
    async with _emulator() as session:
        one = f"{BROWSERS}/{(await _create(session))['id']}"
        await _create(session, "taken")
        _, updated = await _send(session, "PATCH", one, {"name": "new", "recording": False})
        assert (updated["name"], updated["recording"], updated["gpu"]) == ("new", False, False)
        for body, code in (({"viewport": {"width": 1, "height": 1}}, "runtime.not_stopped"), ({"name": "taken"}, None)):
            status, answer = await _send(session, "PATCH", one, body)
            assert (status, answer["error"]["code"]) == (409, code or "browser.name_conflict")
        await _send(session, "POST", f"{one}/stop?wait=1", {"discardState": True})
        assert (await _send(session, "PATCH", one, {"stealth": "best"}))[1]["stealth"] == "best"


async def test_copy_needs_a_persona_and_a_source_with_saved_state():
    async with _emulator() as session:
        source = await _create(session)
        for body, status, code in (
            ({"fromBrowser": source["id"]}, 400, "browser.persona_required"),
            ({"fromBrowser": "br_x", "persona": "new"}, 404, "browser.not_found"),
            ({"fromBrowser": source["id"], "persona": "new"}, 409, "browser.no_saved_state"),
        ):
            answered, answer = await _send(session, "POST", BROWSERS, body)
            assert (answered, answer["error"]["code"]) == (status, code)
        await _send(session, "POST", f"{BROWSERS}/bot/stop?wait=1", {})
        for space in ("default", "sp_other"):
            copy = await _create(session, f"in-{space}", spaceId=space, fromBrowser=source["id"], persona="same")
            assert (copy["copiedFrom"]["browserId"], copy["savedState"]["status"]) == (source["id"], "saved")
        by_name = {"spaceId": "sp_other", "fromBrowser": "bot", "persona": "same"}
        assert (await _send(session, "POST", BROWSERS, by_name))[0] == 404


async def test_revoke_replaces_the_connections():
    async with _emulator() as session:
        made = await _create(session)
        _, revoked = await _send(session, "POST", f"{BROWSERS}/bot/connections/revoke", {})
        urls = made["currentRun"]["connections"]["cdpUrl"], revoked["currentRun"]["connections"]["cdpUrl"]
        assert urls[0] != urls[1]
        await _send(session, "POST", f"{BROWSERS}/bot/stop", {})
        status, answer = await _send(session, "POST", f"{BROWSERS}/bot/connections/revoke", {})
        assert (status, answer["error"]["code"]) == (409, "browser.not_running")


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_are_in_order_and_end(order):
    time = Time()
    async with _emulator(time) as session:
        for number in range(5):
            time.seconds += number % 2
            await _create(session, f"bot-{number}")
        _, whole = await _send(session, "GET", f"{BROWSERS}?order={order}")
        seen: list[str] = []
        query: dict[str, Any] | None = {"order": order, "limit": 2}
        while query is not None:
            _, page = await _send(session, "GET", BROWSERS, params=query)
            seen += [browser["id"] for browser in page["data"]]
            assert page["hasMore"] is (page["nextCursor"] is not None)
            query = {**query, "cursor": page["nextCursor"]} if page["hasMore"] else None
        assert seen == [browser["id"] for browser in whole["data"]]
        moments = [browser["createdAt"] for browser in whole["data"]]
        assert moments == sorted(moments, reverse=order == "desc")


async def test_list_is_filtered_by_name_part_of_it_status_and_location():
    async with _emulator() as session:
        await _create(session, "checkout", location="us-east")
        await _create(session, "checkout-2")
        await _send(session, "POST", f"{BROWSERS}/checkout-2/stop?wait=1", {})
        for query, names in (
            ("name=checkout", {"checkout"}),
            ("q=CHECK", {"checkout", "checkout-2"}),
            ("status=idle", {"checkout-2"}),
            ("status=idle&status=running", {"checkout", "checkout-2"}),
            ("location=us-east", {"checkout"}),
            ("location=auto", {"checkout-2"}),
        ):
            _, page = await _send(session, "GET", f"{BROWSERS}?{query}")
            assert {browser["name"] for browser in page["data"]} == names, query


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{BROWSERS}/missing", 404, "browser.not_found"),
        ("POST", f"{BROWSERS}/missing/start", 404, "browser.not_found"),
        ("GET", f"{BROWSERS}?limit=0", 400, "request.invalid"),
        ("GET", f"{BROWSERS}?limit=101", 400, "request.invalid"),
        ("GET", f"{BROWSERS}?order=up", 400, "request.invalid"),
        ("GET", f"{BROWSERS}?cursor=mangled", 400, "pagination.cursor_invalid"),
        ("GET", f"{BROWSERS}?cursor=WyJkZXNjIl0=", 400, "pagination.cursor_invalid"),
        ("POST", f"{BROWSERS}?wait=61", 400, "request.invalid"),
        ("GET", "/v1/nothing", 404, "route.not_found"),
        ("PUT", BROWSERS, 405, "request.method_not_allowed"),
    ],
)
async def test_every_error_has_the_nested_form(method, path, status, code):
    async with _emulator() as session, session.request(method, path) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (status, code)
        assert response.headers["x-request-id"] == error["requestId"]
        assert not {"message", "reasonClass", "hint"} - error.keys()


@pytest.mark.parametrize(("version", "status"), [(None, 200), ("2026-10-03", 200), ("2026-10-04", 400), ("1", 400)])
async def test_other_version_is_refused(version, status):
    async with _emulator() as session:
        headers = {} if version is None else {"BCTRL-Version": version}
        answered, answer = await _send(session, "GET", BROWSERS, headers=headers)
        assert answered == status
        if status == 400:
            assert answer["error"]["code"] == "request.version_unsupported"


async def test_wrong_token_is_401():
    async with _emulator() as session:
        for headers, code in (
            ({"Authorization": "Bearer other"}, "auth.invalid"),
            ({"Authorization": ""}, "auth.invalid"),
        ):
            status, answer = await _send(session, "GET", BROWSERS, headers=headers)
            assert (status, answer["error"]["code"]) == (401, code)


async def test_call_without_credentials_has_its_own_code():
    async with running(create_emulator(token="t0ken")) as url, aiohttp.ClientSession(url) as anonymous:
        status, answer = await _send(anonymous, "GET", BROWSERS)
        assert (status, answer["error"]["code"]) == (401, "auth.required")


async def test_body_that_is_not_json_has_its_own_code():
    async with _emulator() as session, session.post(BROWSERS, data=b"{") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "request.invalid_json")


@pytest.mark.parametrize("lag", ["list_lag", "get_lag"])
@pytest.mark.parametrize("era", [BROWSERS, FLAT])
async def test_lagging_runtime_appears_later(lag, era):
    async with _emulator() as session:
        operation = "create" if era == BROWSERS else "flat_create"
        await _send(session, "POST", "/__faults", {"operation": operation, "fault": lag, "reads": 1})
        body = {"name": "bot"} if era == BROWSERS else {"name": "bot", "type": "browser"}
        _, made = await _send(session, "POST", era, body)
        path = era if lag == "list_lag" else f"{era}/{made['id']}"
        assert made["id"] not in str((await _send(session, "GET", path))[1])
        assert made["id"] in str((await _send(session, "GET", path))[1])


async def test_control_route_shows_each_browser_with_marker_and_key():
    """An idle browser is shown too, because it holds its name. A deleted one is not."""
    async with _emulator(keys="forgotten") as session:
        made = await _create(session, "one", metadata={"rgw_intent": "m-1", "team": "shop"})
        body, headers = {"name": "two"}, {"Idempotency-Key": "k-2"}
        _, other = await _send(session, "POST", f"{BROWSERS}?spaceId=sp_2", body, headers=headers)
        await _send(session, "POST", f"{BROWSERS}/{made['id']}/stop")
        items = (await _send(session, "GET", "/__runtimes"))[1]["items"]
        assert [tuple(item.values()) for item in items] == [
            (made["id"], "one", "sp_demo", True, "m-1", None),
            (other["id"], "two", "sp_2", True, None, "k-2"),
        ]
        await _send(session, "DELETE", f"{BROWSERS}/{made['id']}")
        items = (await _send(session, "GET", "/__runtimes"))[1]["items"]
        assert [item["name"] for item in items] == ["two"]


async def test_whoami_returns_organization_and_default_space():
    async with _emulator() as session:
        _, identity = await _send(session, "GET", "/v1/auth/whoami")
        assert (identity["organizationId"], identity["defaultSpaceId"]) == ("org_demo", "sp_demo")


async def test_flat_era_creates_starts_and_stops_the_same_browsers():
    async with _emulator() as session:
        status, made = await _send(
            session,
            "POST",
            FLAT,
            {"type": "browser", "name": "bot", "config": {"extensionIds": ["e"]}, "metadata": {"a": 1}},
        )
        assert (status, made["status"], made["activeRunId"], made["config"]) == (
            201,
            "stopped",
            None,
            {"extensionIds": ["e"]},
        )
        _, today = await _send(session, "GET", f"{BROWSERS}/{made['id']}")
        assert (today["status"], today["extensions"], today["metadata"]) == ("idle", ["e"], {"a": 1})
        async with session.post(f"{FLAT}/{made['id']}/start") as response:
            started = await response.json()
        assert (started["runtimeId"], started["started"], started["status"]) == (made["id"], True, "active")
        assert (started["protocol"], started["connectUrl"][:6]) == ("cdp", "wss://")
        _, again = await _send(session, "POST", f"{FLAT}/{made['id']}/start", {"recording": True})
        assert (again["started"], again["runId"]) == (False, started["runId"])
        _, got = await _send(session, "GET", f"{FLAT}/{made['id']}?include=connection")
        assert (got["connectUrl"], got["connection"]["runId"]) == (started["connectUrl"], started["runId"])
        async with session.post(f"{FLAT}/{made['id']}/stop") as response:
            stopped = await response.json()
        assert stopped == {"runtimeId": made["id"], "runId": started["runId"], "stopped": True, "status": "stopped"}


async def test_flat_create_with_start_is_active_at_once():
    async with _emulator() as session:
        status, made = await _send(session, "POST", FLAT, {"type": "browser", "start": True})
        assert (status, made["status"]) == (201, "active")
        urls = made["connection"]
        assert urls["runId"] == made["activeRunId"]
        assert urls["cdpUrl"].startswith("wss://")
        assert urls["webDriverUrl"] == urls["webdriverUrl"]


async def test_flat_era_lists_updates_and_deletes():
    async with _emulator() as session:
        ids = [(await _send(session, "POST", FLAT, {"type": "browser", "name": f"r-{n}"}))[1]["id"] for n in range(3)]
        _, page = await _send(session, "GET", f"{FLAT}?limit=2")
        assert page.keys() == {"data", "nextCursor"}
        _, rest = await _send(session, "GET", FLAT, params={"limit": 2, "cursor": page["nextCursor"]})
        assert {row["id"] for row in page["data"] + rest["data"]} == set(ids)
        assert rest["nextCursor"] is None
        assert (await _send(session, "GET", f"{FLAT}?status=active"))[1]["data"] == []
        assert len((await _send(session, "GET", f"{FLAT}?q=R-1"))[1]["data"]) == 1
        one = f"{FLAT}/{ids[0]}"
        _, updated = await _send(session, "PATCH", one, {"name": "new", "recording": False})
        assert updated["name"] == "new"
        await _send(session, "POST", f"{one}/start")
        status, answer = await _send(session, "DELETE", one)
        assert (status, answer["code"]) == (409, "runtime.not_stopped")
        assert await _send(session, "DELETE", f"{one}?force=true") == (200, {"id": ids[0], "deleted": True})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", f"{FLAT}/missing", None, 404, "runtime.not_found"),
        ("POST", FLAT, {"name": "x"}, 400, "request.invalid"),
        ("POST", FLAT, {"type": "desktop"}, 400, "request.invalid"),
        ("POST", FLAT, {"type": "browser", "start": "yes"}, 400, "request.invalid"),
        ("PUT", FLAT, None, 405, "request.method_not_allowed"),
        ("GET", f"{FLAT}/a/b/c", None, 404, "route.not_found"),
    ],
)
async def test_every_error_of_the_flat_era_is_flat(method, path, body, status, code):
    async with _emulator() as session:
        answered, answer = await _send(session, method, path, body)
        assert (answered, answer["code"]) == (status, code)
        assert isinstance(answer["error"], str)
        assert "message" not in answer


async def test_injected_fault_of_the_flat_era_is_flat_and_html_stays_html():
    async with _emulator() as session:
        rule = {"operation": "flat_list", "fault": "status", "status": 429, "retry_after": 7, "times": 1}
        await _send(session, "POST", "/__faults", rule)
        async with session.get(FLAT) as response:
            answer = await response.json()
            assert (response.status, answer["code"], response.headers["Retry-After"]) == (
                429,
                "rate_limit.exceeded",
                "7",
            )
            assert response.headers["x-request-id"] == answer["requestId"]
        await _send(session, "POST", "/__faults", {"operation": "flat_list", "fault": "html", "times": 1})
        async with session.get(FLAT) as response:
            assert (response.status, response.content_type) == (502, "text/html")


@pytest.mark.parametrize("personality", [{"names": "odd"}, {"mood": "good"}])
def test_unknown_personality_is_refused(personality):
    with pytest.raises(ValueError, match="no personality"):
        create_emulator(token="t", personality=personality)
