"""A gateway without the packages that only some settings need."""

import sys
from pathlib import Path

import pytest

from tests.component.processes import client, finished, running
from tests.component.test_serve import KEY, settings

WITHOUT = "import sys; sys.modules.update(dict.fromkeys({packages!r})); from gateway.cli import main; main()"
EXTRAS = ("asyncpg", "redis")
POSTGRES = {"url": "postgresql://gateway@127.0.0.1:9/gateway", "encryption_keys": ["A" * 43 + "="]}
AUTH = {"keys": {"tests": {"key": KEY}}}


def without(*packages: str) -> tuple[str, ...]:
    """The command line in a process that cannot find these packages."""
    return (sys.executable, "-c", WITHOUT.format(packages=packages))


async def test_gateway_without_any_extra_serves_the_api(tmp_path: Path) -> None:
    file = settings(tmp_path, auth=AUTH)
    async with (
        running("serve", "--config", str(file), cwd=tmp_path, command=without(*EXTRAS)) as process,
        client(await process.url(), KEY) as session,
    ):
        for path in ("/readyz", "/v1/providers", "/openapi.json", "/docs", "/docs/api"):
            assert (await session.get(path)).status == 200, path


@pytest.mark.parametrize(
    "command", [("serve",), ("config", "check"), ("db", "status"), ("db", "upgrade"), ("intents", "list")], ids=" ".join
)
async def test_setting_that_needs_a_missing_extra_ends_a_command_with_78_and_one_line(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    file = settings(tmp_path, auth=AUTH, store=POSTGRES)
    ended = await finished(*command, "--config", str(file), cwd=tmp_path, command=without("asyncpg"))
    assert (ended.code, ended.stdout) == (78, "")
    (line,) = ended.stderr.splitlines()
    assert "store.url" in line
    assert "install runtime-gateway[postgres]" in line


async def test_limits_in_redis_without_its_extra_are_a_fault_of_the_settings(tmp_path: Path) -> None:
    file = settings(tmp_path, auth=AUTH, limits={"storage": "valkey://127.0.0.1:9"})
    ended = await finished("serve", "--config", str(file), cwd=tmp_path, command=without("redis"))
    assert (ended.code, ended.stdout) == (78, "")
    (line,) = ended.stderr.splitlines()
    assert "limits.storage" in line
    assert "install runtime-gateway[redis]" in line
