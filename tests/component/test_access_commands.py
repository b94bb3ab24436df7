"""The steps of docs/access.md#keys-and-principals-by-api, pasted from the page, at a gateway in its own process."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from ruamel.yaml import YAML

from gateway.app import create_emulator, plugins
from gateway.testing.processes import running as serving
from tests.component.processes import COMMAND, ROOT, Ended, client, finished, running

ADMIN = "a-key-of-an-administrator"
TEMPLATE = {"FIVE_BROWSERS_KEY": "a-key-of-the-template"}
BROWSERS = 5
HOURS = 2
PAGE = (ROOT / "docs" / "access.md").read_text("utf-8")


def section() -> str:
    """What the page says about keys by API."""
    return PAGE.partition("\n## Keys and principals by API\n")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    """The code blocks of the section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL)


@dataclass
class Desk:
    """Where an administrator pastes commands. ``key_id`` is the id that the last command with a new key printed."""

    url: str
    folder: Path
    key_id: str = ""

    async def paste(self, command: str) -> Ended:
        script = self.folder / "bin" / "runtime-gateway"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
        script.chmod(0o755)
        environment = {
            "RTGW_SERVER": self.url,
            "RTGW_API_KEY": ADMIN,
            "KEY_ID": self.key_id,
            "COLUMNS": "200",
            "PATH": f"{script.parent}:/usr/bin:/bin",
        }
        shell = ("bash", "--noprofile", "--norc", "-ec", command)
        ended = await finished(command=shell, cwd=self.folder, environment=environment)
        assert ended.code == 0, f"$ {command}\n{ended.stderr}"
        if printed := re.search(r"\bkey_\w+", ended.stderr):
            self.key_id = printed[0]
        return ended

    def team(self) -> aiohttp.ClientSession:
        """A session of the team, with the key in its file."""
        return client(self.url, (self.folder / "team-a.key").read_text().strip())


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """At a gateway with the settings of the page, and an emulator."""
    (settings,) = blocks("yaml")
    principals = YAML(typ="safe").load(settings)["auth"]["principals"]
    demo, token = plugins()["bctrl_browsers"].demo, "token-of-the-emulator"
    async with serving(create_emulator("bctrl_browsers", token=token)) as upstream:
        provider = {"api": "bctrl_browsers", "base_url": upstream + demo.base_path, "token": token, "scope": demo.scope}
        document = {
            "version": 1,
            "http": {"listen": "127.0.0.1:0"},
            "auth": {"principals": {"admin": {"keys": [ADMIN], "scopes": ["admin"]}, **principals}},
            "store": {"url": f"sqlite:///{folder}/gateway.db"},
            "providers": {"browsers": provider},
        }
        with (folder / "gateway.yaml").open("w") as file:
            YAML().dump(document, file)
        async with running("serve", "--config", "gateway.yaml", cwd=folder, environment=TEMPLATE) as gateway:
            yield Desk(await gateway.url(), folder)


async def created(team: aiohttp.ClientSession, name: str, **fields: Any) -> tuple[int, Any]:
    async with team.post("/v1/runtimes", json={"kind": "browser", "name": name, **fields}) as answer:
        return answer.status, await answer.json()


async def status(team: aiohttp.ClientSession) -> int:
    async with team.get("/v1/runtimes") as answer:
        return answer.status


async def test_team_gets_a_key_rotates_it_and_loses_it_with_one_command_each(tmp_path: Path) -> None:
    give, rotate, history, revoke, disable = (block.strip() for block in blocks("sh"))
    async with desk(tmp_path) as at:
        await at.paste(give)
        async with at.team() as old:
            ids = await the_limits_hold(old)
            noticed, rotating = asyncio.create_task(calls_all_the_time(old)), asyncio.create_task(at.paste(rotate))
            await rotating
            noticed.cancel()
            (failures,) = await asyncio.gather(noticed, return_exceptions=True)
            assert isinstance(failures, asyncio.CancelledError), failures
            async with at.team() as new:
                assert await status(old) == await status(new) == 200
                code, refused = await created(new, "one-more")
                assert (code, refused["code"], set(refused["held_by"])) == (429, "quota_exceeded", ids)
                shown = (await at.paste(history)).stdout.splitlines()
                assert sum("createRuntime" in line and " ok " in line for line in shown) == BROWSERS
                assert any("createRuntime" in line and " refused " in line for line in shown)
                assert all("team-a" in line for line in shown[1:])
                await at.paste(revoke)
                assert (await status(old), await status(new)) == (200, 401)
                await at.paste(disable)
                assert await status(old) == 401


async def the_limits_hold(team: aiohttp.ClientSession) -> set[str]:
    """Five browsers, two hours each, and nothing else. Returns the ids."""
    made = [await created(team, f"agent-{number}") for number in range(BROWSERS)]
    assert [code for code, _ in made] == [201] * BROWSERS
    for _, runtime in made:
        lasts = datetime.fromisoformat(runtime["expires_at"]) - datetime.fromisoformat(runtime["created_at"])
        assert timedelta(hours=HOURS - 1) < lasts < timedelta(hours=HOURS, minutes=5)
    code, refused = await created(team, "one-more")
    assert (code, refused["code"], len(refused["held_by"])) == (429, "quota_exceeded", BROWSERS)
    code, refused = await created(team, "other", kind="durable")
    assert (code, refused["code"]) == (403, "permission_denied")
    return {runtime["id"] for _, runtime in made}


async def calls_all_the_time(team: aiohttp.ClientSession) -> None:
    """Calls of the team until cancelled. Each of them succeeds."""
    while True:
        assert await status(team) == 200
