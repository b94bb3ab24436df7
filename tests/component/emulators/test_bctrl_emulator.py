"""The bctrl emulator over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from adapters.bctrl.emulator import create_emulator
from gateway.testing.processes import running

RUNTIMES = "/v1/workspaces/ws-1/runtimes"
PROFILE = "0b8f5c1e-63a1-4d1c-9d6c-000000000001"


@asynccontextmanager
async def _emulator(**personality: str) -> AsyncIterator[aiohttp.ClientSession]:
    clock = iter(range(1_780_000_000, 1_790_000_000))
    app = create_emulator(token="t0ken", personality=personality, now=lambda: float(next(clock)))
    async with running(app) as url, aiohttp.ClientSession(url, headers={"Authorization": "Bearer t0ken"}) as session:
        yield session


async def _send(
    session: aiohttp.ClientSession, method: str, path: str, body: Any = None, **options: Any
) -> tuple[int, Any]:
    async with session.request(method, path, json=body, **options) as response:
        return response.status, await response.json()


async def _create(session: aiohttp.ClientSession, alias: str = "bot", **members: Any) -> tuple[int, Any]:
    return await _send(session, "POST", RUNTIMES, {"alias": alias, "kind": "browser", **members})


async def test_create_launches_a_browser():
    async with _emulator() as session:
        status, made = await _create(
            session, driver="selenium", launch={"mode": "profile", "profileId": PROFILE}, more="fine"
        )
        assert status == 200
        assert (made["alias"], made["kind"], made["status"], made["driver"]) == ("bot", "browser", "active", "selenium")
        assert (made["summary"]["launchMode"], made["summary"]["profileId"]) == ("profile", PROFILE)
        assert made["summary"]["browserRunning"] is True
        assert await _send(session, "GET", f"{RUNTIMES}/bot") == (200, made)
        assert await _send(session, "GET", RUNTIMES) == (200, {"runtimes": [made]})


async def test_launch_options_are_never_returned():
    async with _emulator() as session:
        proxy = {"type": "socks5", "host": "p", "port": 1.0, "username": "u", "password": "hunter2"}
        config = {"humanize": True, "humanizePersonaId": 3, "solveCaptchas": False, "proxy": proxy}
        status, made = await _create(
            session, launch={"mode": "ephemeral", "config": config, "extensionIds": ["any-extension"]}
        )
        assert status == 200
        assert "hunter2" not in str(made)
        assert "any-extension" not in str(made)


async def test_workspace_without_a_uuid_gets_one_and_has_its_own_runtimes():
    async with _emulator() as session:
        _, made = await _create(session)
        assert len(made["workspaceId"]) == 36
        assert await _send(session, "GET", "/v1/workspaces/ws-2/runtimes") == (200, {"runtimes": []})
        _, workspaces = await _send(session, "GET", "/v1/workspaces")
        assert [workspace["id"] for workspace in workspaces["workspaces"]] == [made["workspaceId"]]


_BAD_CREATES: list[Any] = [
    None,
    [],
    {},
    {"alias": 1, "kind": "browser"},
    {"alias": "a"},
    {"alias": "a", "kind": "desktop"},
    {"alias": "a", "kind": "browser", "driver": "curl"},
    {"alias": "a", "kind": "browser", "driver": None},
    *(
        {"alias": "a", "kind": "browser", "launch": launch}
        for launch in (
            None,
            {},
            {"mode": "warp"},
            {"mode": "profile"},
            {"mode": "profile", "profileId": "no-uuid"},
            {"mode": "ephemeral", "extensionIds": "x"},
            {"mode": "ephemeral", "extensionIds": [1]},
            {"mode": "ephemeral", "config": None},
            {"mode": "ephemeral", "config": {"humanize": 1}},
            {"mode": "ephemeral", "config": {"solveCaptchas": None}},
            {"mode": "ephemeral", "config": {"humanizePersonaId": True}},
            {"mode": "ephemeral", "config": {"humanizePersonaId": 1.5}},
            {"mode": "ephemeral", "config": {"proxy": "http://p"}},
            {"mode": "ephemeral", "config": {"proxy": {"type": "ftp", "host": "h", "port": 1}}},
            {"mode": "ephemeral", "config": {"proxy": {"type": "http", "port": 1}}},
            {"mode": "ephemeral", "config": {"proxy": {"type": "http", "host": "h", "port": "1"}}},
            {"mode": "ephemeral", "config": {"proxy": {"type": "http", "host": "h", "port": 1, "username": None}}},
        )
    ),
]


@pytest.mark.parametrize("body", _BAD_CREATES)
async def test_invalid_body_is_refused_and_creates_nothing(body):
    async with _emulator() as session:
        status, answer = await _send(session, "POST", RUNTIMES, body)
        assert (status, answer["code"]) == (400, "request.invalid")
        _, stats = await _send(session, "GET", "/__stats")
        assert stats["runtimes"] == 0


@pytest.mark.parametrize(
    ("choice", "status", "same", "count"),
    [("conflict", 409, False, 1), ("return", 200, True, 1), ("second", 200, False, 2)],
)
async def test_personality_decides_about_a_create_with_a_live_alias(choice, status, same, count):
    async with _emulator(live_alias=choice) as session:
        _, first = await _create(session)
        answered, second = await _create(session)
        assert answered == status
        assert (second.get("id") == first["id"]) is same
        _, stats = await _send(session, "GET", "/__stats")
        assert (stats["live_runtimes"], stats["creates_committed"]) == (count, count)
        if status == 409:
            assert second["code"] == "runtime.name_conflict"


@pytest.mark.parametrize(("choice", "status"), [("reusable", 200), ("taken", 409)])
@pytest.mark.parametrize("ended", ["stopped", "failed"])
async def test_personality_decides_whether_the_alias_of_an_ended_runtime_is_reusable(choice, status, ended):
    async with _emulator(stopped_alias=choice) as session:
        await _send(session, "POST", "/__runtimes", {"workspaceId": "ws-1", "alias": "bot", "status": ended})
        answered, _ = await _create(session)
        assert answered == status


async def test_control_route_shows_whether_each_runtime_is_live():
    async with _emulator() as session:
        _, made = await _create(session, "ended")
        await _send(session, "POST", f"{RUNTIMES}/ended/stop")
        _, other = await _create(session, "bot")
        items = (await _send(session, "GET", "/__runtimes"))[1]["items"]
        shown = [(item["id"], item["name"], item["live"]) for item in items]
        assert shown == [(made["id"], "ended", False), (other["id"], "bot", True)]
        assert {item["scope"] for item in items} == {RUNTIMES.split("/")[3]}


async def test_alias_addresses_the_newest_live_runtime_else_the_newest():
    async with _emulator(live_alias="second") as session:
        made = [(await _create(session))[1]["id"] for _ in range(3)]
        meant = []
        for _ in range(3):
            _, shown = await _send(session, "GET", f"{RUNTIMES}/bot")
            _, stopped = await _send(session, "POST", f"{RUNTIMES}/bot/stop")
            assert stopped["id"] == shown["id"]
            meant.append(shown["id"])
        assert meant == made[::-1]
        _, ended = await _send(session, "GET", f"{RUNTIMES}/bot")
        assert (ended["id"], ended["status"]) == (made[-1], "stopped")


async def test_second_stop_changes_nothing():
    async with _emulator() as session:
        await _create(session)
        _, stopped = await _send(session, "POST", f"{RUNTIMES}/bot/stop")
        assert (stopped["status"], stopped["summary"]["browserRunning"]) == ("stopped", False)
        assert stopped["updatedAt"] > stopped["createdAt"]
        assert await _send(session, "POST", f"{RUNTIMES}/bot/stop") == (200, stopped)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{RUNTIMES}/missing", 404, "runtime.not_found"),
        ("POST", f"{RUNTIMES}/missing/stop", 404, "runtime.not_found"),
        ("GET", "/v1/runtimes", 404, "route.not_found"),
        ("DELETE", f"{RUNTIMES}/missing", 405, "request.invalid"),
    ],
)
async def test_every_error_has_the_native_form(method, path, status, code):
    async with _emulator() as session, session.request(method, path) as response:
        answer = await response.json()
        assert (response.status, answer["code"]) == (status, code)
        assert response.headers["x-request-id"] == answer["requestId"]
        assert isinstance(answer["error"], str)


@pytest.mark.parametrize("authorization", ["Bearer other", "Bearer", "Basic t0ken", "bearer\u00fc"])
async def test_wrong_token_is_401(authorization):
    async with _emulator() as session:
        status, answer = await _send(session, "GET", RUNTIMES, headers={"Authorization": authorization})
        assert (status, answer["code"]) == (401, "auth.invalid")


async def test_call_without_credentials_has_its_own_code():
    app = create_emulator(token="t0ken")
    async with running(app) as url, aiohttp.ClientSession(url) as anonymous:
        status, answer = await _send(anonymous, "GET", RUNTIMES)
        assert (status, answer["code"]) == (401, "auth.required")


async def test_body_that_is_not_json_has_its_own_code():
    async with _emulator() as session, session.post(RUNTIMES, data=b"{") as response:
        assert (response.status, (await response.json())["code"]) == (400, "request.invalid_json")


async def test_any_runtime_can_be_added():
    given = {"workspaceId": "ws-1", "alias": "sheet", "kind": "spreadsheet", "status": "failed", "cells": 9}
    async with _emulator() as session:
        status, put_in = await _send(session, "POST", "/__runtimes", given)
        assert status == 201
        assert (put_in["kind"], put_in["status"], put_in["cells"]) == ("spreadsheet", "failed", 9)
        assert await _send(session, "GET", f"{RUNTIMES}/sheet") == (200, put_in)
        assert (await _send(session, "POST", "/__runtimes", {"alias": "x"}))[0] == 400


async def test_commit_twice_creates_two_with_every_personality():
    async with _emulator() as session:
        await _send(session, "POST", "/__faults", {"operation": "create", "fault": "commit_twice", "times": 1})
        await _create(session)
        _, stats = await _send(session, "GET", "/__stats")
        assert (stats["live_runtimes"], stats["creates_committed"]) == (2, 2)


@pytest.mark.parametrize(("fault", "path"), [("list_lag", RUNTIMES), ("get_lag", f"{RUNTIMES}/bot")])
async def test_lagging_runtime_appears_later(fault, path):
    async with _emulator() as session:
        rule = {"operation": "create", "fault": fault, "reads": 1}
        await _send(session, "POST", "/__faults", rule)
        await _create(session)
        assert (await _send(session, "GET", path))[1].get("runtimes", []) == []
        assert "bot" in str((await _send(session, "GET", path))[1])


@pytest.mark.parametrize("personality", [{"live_alias": "explode"}, {"mood": "good"}])
def test_unknown_personality_is_refused(personality):
    with pytest.raises(ValueError, match="no personality"):
        create_emulator(token="t", personality=personality)
