"""The real ``dn`` 2.0.52 and its ``ApiClient`` against the gateway: every runtime command has the same output and exit
code as against the provider."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import environment, python_of
from tests.component.dialects.durable_sides import PROVIDER, TOKEN, Side, both, emulated, through_the_gateway

CLIENT = "dreadnode-2.0.52"
STEPS = Path(__file__).with_name("dn_steps.py")
WHERE = ["acme", "research"]
SHORT_ID = re.compile(r"\b[0-9a-f]{8}\b")
MANIFEST = """\
key: agent
name: Agent
project: shop
version: v2
resources: {cpu_cores: 4}
metadata: {labels: {team: shop}}
runtime_server: {env: {MODE: test}}
secrets: {selectors: [OPENAI_*]}
"""
OTHER_MANIFEST = MANIFEST.replace("cpu_cores: 4", "cpu_cores: 8")
CONFIG = "version: v2\nresources: {cpu_cores: 1}\nsandbox: {egress: {allow: [one.test]}}\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in {"a": MANIFEST, "b": OTHER_MANIFEST, "c": CONFIG}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


async def run(side: Side, home: Path, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of the steps on one side, masked so that both sides can be compared."""
    job = {"server": side.url, "key": side.key, "emulator": side.emulator_url, "steps": steps}
    status, out, err = await _process(home, [str(STEPS)], json.dumps(job))
    assert status == 0, err
    results: list[dict[str, Any]] = json.loads(out)
    for result in results:
        result["out"], result["err"] = (SHORT_ID.sub("<id>", side.masked(result[name])) for name in ("out", "err"))
    return results


async def _process(home: Path, arguments: list[str], stdin: str = "") -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        python_of(CLIENT),
        *arguments,
        cwd=home,
        env=environment(home),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def two_sides() -> AsyncIterator[tuple[Side, Side]]:
    """Both endpoints of the API, with the same runtimes; one of them has another owner."""
    async with both() as sides:
        for side in sides:
            mine = Side(side.emulator_url, TOKEN, side.emulator, side.emulator_url)
            theirs = Side(side.emulator_url, f"{TOKEN}.somebody", side.emulator, side.emulator_url)
            await theirs.call("POST", "/org/acme/ws/research/runtimes", {"key": "theirs", "project": "shop"})
            for number in range(52):
                body = {"key": f"seeded-{number:02}", "project": "shop"}
                status, _, _ = await mine.call("POST", "/org/acme/ws/research/runtimes", body)
                assert status == 201
        yield sides


async def run_on_both(sides: tuple[Side, Side], home: Path, steps: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """The output of the steps, which has to be equal on both sides. Each step is paired with its expected exit code."""
    direct, through = await asyncio.gather(*(run(side, home, [step for _, step in steps]) for side in sides))
    checked = [(code, step) for code, step in steps if "fault" not in step]
    for (code, step), one, other in zip(checked, direct, through, strict=True):
        assert one == other, step
        assert one["exit"] == code, (step, one)
    return [result["out"] + result["err"] for result in direct]


def dn(code: int, *arguments: str, keep: str | None = None) -> tuple[int, dict[str, Any]]:
    return code, {"dn": list(arguments)} | ({"keep": keep} if keep else {})


def api(
    method: str, /, *arguments: Any, code: int = 0, keep: str = "", of: str = "id", **options: Any
) -> tuple[int, dict[str, Any]]:
    step = {"api": method, "with": {"*": [*arguments], **options}}
    return code, step | ({"keep": keep, "of": of} if keep else {})


async def test_every_runtime_command_has_the_same_output_and_exit_code_as_at_the_provider(files: Path):
    steps = [
        dn(0, "runtime", "list", "--limit", "53"),
        dn(0, "runtime", "list", "--limit", "51", "--mine", "--json"),
        dn(0, "runtime", "list", "--state", "running", "--state", "paused"),
        dn(0, "runtime", "create", "--file", "a.yaml"),
        dn(0, "runtime", "create", "--file", "a.yaml"),
        dn(1, "runtime", "create", "--file", "b.yaml"),
        dn(1, "runtime", "create", "shop", "--key", "agent", "--egress", "one.test"),
        dn(0, "runtime", "create", "--key", "second", "--name", "Second", "--description", "d", "--json"),
        dn(0, "runtime", "get", "agent"),
        dn(0, "runtime", "get", "agent", "--json", keep="agent"),
        dn(0, "runtime", "get", "{agent}"),
        dn(1, "runtime", "get", "nothing"),
        api("create_project", *WHERE, "Lab", "lab"),
        dn(0, "runtime", "start", "lab"),
        dn(0, "runtime", "start", "lab", "--json"),
        dn(0, "runtime", "start", "--runtime-id", "{agent}"),
        dn(0, "runtime", "keepalive", "agent", "--extend-seconds", "120"),
        dn(0, "runtime", "pause", "agent"),
        dn(1, "runtime", "pause", "{agent}"),
        dn(0, "runtime", "start", "agent"),
        dn(0, "runtime", "resume", "{agent}", "--json"),
        dn(0, "runtime", "config-get", "agent"),
        dn(0, "runtime", "config-set", "agent", "--egress", "*.two.test", "--egress", "10.20.0.0/16"),
        dn(0, "runtime", "start", "agent"),
        dn(0, "runtime", "reset", "agent", "--yes"),
        dn(1, "runtime", "reset", "agent", "--yes"),
        dn(1, "runtime", "keepalive", "agent"),
        dn(0, "runtime", "config-set", "{agent}", "--file", "c.yaml", "--yes"),
        dn(0, "runtime", "config", "{agent}", "--json"),
        dn(1, "runtime", "config-set", "nothing", "--file", "c.yaml", "--yes"),
        dn(1, "runtime", "pause", "theirs"),
        dn(1, "runtime", "start", "--runtime-id", "theirs"),
        dn(1, "runtime", "start", "theirs"),
        dn(0, "runtime", "start", "shop"),
        dn(0, "runtime", "start", "--key", "third", "--name", "Third"),
    ]
    async with two_sides() as sides:
        output = await run_on_both(sides, files, steps)
        started = [side.emulator.world.workspace(*WHERE).keyed("lab", None) for side in sides]
        in_lab = [[r for r in side.emulator.world.runtimes() if r.project.key == "lab"] for side in sides]
    output_of = dict(zip((" ".join(step.get("dn", [])) for _, step in steps), output, strict=True))
    assert output_of["runtime list --limit 53"].count("seeded-") == 52
    assert "read-only" in output_of["runtime list --limit 53"]
    assert "different config" in output_of["runtime create --file b.yaml"]
    assert "predates" in output_of["runtime start agent"]
    assert "403" in output_of["runtime pause theirs"]
    for runtime, found in zip(started, in_lab, strict=True):
        assert found == [runtime]
        assert runtime is not None
        assert runtime.status == "running"


async def test_every_library_call_returns_the_same_as_at_the_provider(tmp_path: Path):
    steps = [
        api("get_user"),
        api("list_user_organizations"),
        api("get_organization", "acme"),
        api("list_organization_workspaces", "acme"),
        api("get_workspace", *WHERE),
        api("list_projects", *WHERE),
        api("get_default_project_key", *WHERE),
        api("create_project", *WHERE, "Lab", "lab", "d"),
        api("create_project", *WHERE, "Lab", "lab", code=1),
        api("get_project", *WHERE, "lab"),
        api("get_project", *WHERE, "none", code=1),
        api("list_secrets"),
        api("create_runtime", *WHERE, keep="default"),
        api("create_runtime", *WHERE, "lab", key="agent", requested_runtime_limit_seconds=120, keep="agent"),
        api("list_runtimes", *WHERE, state=["idle", "running"], owner="me", limit=2, keep="next", of="next_cursor"),
        api("list_runtimes", *WHERE, limit=1, cursor="{next}"),
        api("list_runtimes", *WHERE, cursor="none", code=1),
        api(
            "start_runtime",
            *WHERE,
            "agent",
            requested_runtime_limit_seconds=60,
            keep="box",
            of="instance.provider_sandbox_id",
        ),
        api("get_sandbox_logs", "acme", "{box}"),
        api("get_sandbox_logs", "acme", "none", code=1),
        api("list_runtime_capabilities", *WHERE, "{agent}"),
        api("install_runtime_capability", *WHERE, "{agent}", name="web", keep="binding"),
        api("install_runtime_capability", *WHERE, "agent", name="web", code=1),
        api("toggle_runtime_capability", *WHERE, "{agent}", "{binding}", enabled=False),
        api("toggle_runtime_capability", *WHERE, "{agent}", "{binding}", enabled=True),
        api("set_runtime_capability_flags", *WHERE, "{agent}", "{binding}", flags={"a": True, "b": False}),
        api("set_runtime_capability_flags", *WHERE, "{agent}", "{binding}", flags={"a": None}),
        api("update_runtime_capability", *WHERE, "{agent}", "{binding}", version="2.0.0"),
        api("get_runtime_capabilities_resolved", *WHERE, "{agent}"),
        api("uninstall_runtime_capability", *WHERE, "{agent}", "{binding}"),
        api("uninstall_runtime_capability", *WHERE, "{agent}", "{binding}", code=1),
        (
            0,
            {"fault": {"operation": "start", "fault": "status", "status": 429, "detail": "Out of credits", "times": 1}},
        ),
        dn(1, "runtime", "start", "{agent}"),
        (0, {"fault": {"operation": "reset", "fault": "status", "status": 502, "detail": "e2b is away", "times": 1}}),
        api("reset_runtime", *WHERE, "{agent}", code=1),
    ]
    async with two_sides() as sides:
        output = await run_on_both(sides, tmp_path, steps)
    assert "InsufficientCreditsError" in output[-2]
    assert output[-1] == "RuntimeError: 502: e2b is away"


async def test_separate_process_needs_only_base_url_and_key(tmp_path: Path):
    async with through_the_gateway() as side:
        await side.v1("POST", "/runtimes", {"kind": "durable", "name": "from-v1"})
        where = ["--server", side.url, "--api-key", side.key, "--organization", "acme"]
        code, out, err = await _process(tmp_path, ["-m", "dreadnode", "runtime", "list", *where])
        assert (code, out.count("from-v1")) == (0, 1), err


async def test_refusal_of_the_gateway_has_its_own_message(tmp_path: Path):
    """The message names the location of the invalid value, and the provider is not called."""
    (tmp_path / "runtime.yaml").write_text("key: agent\nname: Agent\nversion: v1\n")
    steps = [
        {"dn": ["runtime", "create", "--file", "runtime.yaml"]},
        {"dn": ["runtime", "keepalive", "agent", "--extend-seconds", "5"]},
        {"dn": ["runtime", "list"], "workspace": "nobody"},
        {"api": "get_runtime", "with": {"*": ["acme", "nobody", "agent"]}},
    ]
    async with through_the_gateway() as side:
        results = await run(side, tmp_path, steps)
        assert [result["exit"] for result in results] == [1, 1, 1, 1]
        messages = [" ".join((result["out"] + result["err"]).split()) for result in results]
        assert "422: body.config.version: " in messages[0]
        assert "422: body.extend_seconds: " in messages[1]
        assert "NotFoundError: 404: No provider of this gateway serves acme/nobody." in messages[3]
        assert not side.emulator.committed["create"]
        assert not side.emulator.committed["keepalive"]


async def test_runtimes_of_dn_and_of_v1_are_controlled_through_each_other(tmp_path: Path):
    async with through_the_gateway() as side:
        results = await run(side, tmp_path, [{"dn": ["runtime", "start", "--key", "k", "--name", "N", "--json"]}])
        assert results[0]["exit"] == 0
        _, listed = await side.v1("GET", "/runtimes")
        (made,) = listed["items"]
        assert (made["name"], made["state"], made["provider"]) == ("k", "running", PROVIDER)
        _, stopped = await side.v1("POST", f"/runtimes/{made['id']}/stop", {"discard_state": True})
        assert stopped["state"] == "idle"

        await side.v1("POST", "/runtimes", {"kind": "durable", "name": "from-v1"})
        verbs = ([verb, "from-v1"] for verb in ("start", "pause", "resume", "keepalive"))
        results = await run(
            side, tmp_path, [{"dn": ["runtime", *verb]} for verb in (*verbs, ["reset", "from-v1", "-y"])]
        )
        assert [result["exit"] for result in results] == [0] * 5
        assert side.emulator.counts()["live_runtimes"] == 0


async def test_commands_with_the_key_of_an_owner_work_as_with_an_account_of_its_own(tmp_path: Path):
    """Every command ends as at the provider, although another owner uses the same key. The account's secrets are not
    the owner's: commands that read them fail."""
    steps = [
        dn(0, "runtime", "create", "--key", "agent", "--name", "Agent"),
        dn(0, "runtime", "list"),
        dn(0, "runtime", "get", "agent", "--json", keep="agent"),
        dn(0, "runtime", "get", "{agent}"),
        dn(0, "runtime", "start", "agent"),
        dn(0, "runtime", "keepalive", "agent", "--extend-seconds", "120"),
        dn(0, "runtime", "pause", "agent"),
        dn(0, "runtime", "resume", "{agent}"),
        dn(0, "runtime", "config-get", "agent"),
        dn(0, "runtime", "reset", "agent", "--yes"),
        dn(0, "runtime", "start", "default"),
        dn(1, "runtime", "get", "nothing"),
    ]
    owners = {"owner": {"keys": ["key-of-an-owner-12345"], "own_only": True}}
    async with emulated() as direct, through_the_gateway(principals=owners) as gateway:
        taken, _, _ = await gateway.call("POST", "/org/acme/ws/research/runtimes", {"key": "agent", "name": "Not mine"})
        assert taken == 201
        owner = replace(gateway, key="key-of-an-owner-12345", _placeholders={})
        output = await run_on_both((direct, owner), tmp_path, steps)
        (secrets,) = await run(owner, tmp_path, [api("list_secrets")[1]])
    assert "Not mine" not in "".join(output)
    assert secrets["exit"] == 1
    assert "403" in secrets["err"] or "whole account" in secrets["err"]
