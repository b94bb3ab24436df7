"""``serve`` as a process: its readiness, refused settings, addresses and shutdown."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from tests.component.fleets import KEY, Fleet
from tests.component.processes import HANGS, Ended, client, finished, running

PROVIDER = {"api": "durable", "base_url": "http://127.0.0.1:9", "token": "canary-token", "scope": "acme/research"}


def settings(folder: Path, **sections: Any) -> Path:
    """Write a settings file with one provider that is not called."""
    document = {"version": 1, "http": {"listen": "127.0.0.1:0"}, "providers": {"main": PROVIDER}, **sections}
    file = folder / "gateway.yaml"
    file.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))
    return file


async def refused(file: Path, *arguments: str) -> Ended:
    """Start ``serve``, which has to fail without output on stdout and without a traceback."""
    ended = await finished("serve", "--config", str(file), *arguments, cwd=file.parent)
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert "canary" not in ended.stderr
    return ended


async def test_gateway_is_ready_although_no_provider_is_reachable(tmp_path: Path) -> None:
    file = settings(tmp_path, auth={"keys": {"tests": {"key": KEY}}})
    async with running("serve", "--config", str(file), cwd=tmp_path) as process, client(await process.url()) as session:
        for probe in ("/livez", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert (await session.get(probe)).status == 200
        assert (await session.get("/v1/runtimes")).status == 401


async def test_variables_of_a_kubernetes_service_are_logged_and_do_not_stop_the_gateway(tmp_path: Path) -> None:
    file = settings(tmp_path, auth={"keys": {"tests": {"key": KEY}}})
    environment = {"RTGW_PORT": "tcp://10.0.0.1:8080", "RTGW_SERVICE_HOST": "10.0.0.1"}
    async with running("serve", "--config", str(file), cwd=tmp_path, environment=environment) as process:
        line = await process.until_output('.*"event":"settings_warning".*')
        assert all(name in line[0] for name in environment)
        await process.until_output('"event":"started"')


async def test_runtimes_can_be_created_at_every_provider(fleet: Fleet) -> None:
    async with fleet.gateway() as gateway:
        providers = await gateway.call("GET", "/v1/providers", 200)
        for provider in providers["items"]:
            kind = provider["creates"][0]
            made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": kind, "provider": provider["name"]})
            assert (await gateway.call("GET", f"/v1/runtimes/{made['id']}", 200))["provider"] == provider["name"]
        assert len((await gateway.call("GET", "/v1/runtimes", 200))["items"]) == len(fleet.emulators)


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
async def test_sigterm_completes_a_request_in_flight_and_ends_with_0(fleet: Fleet, event_loop: str) -> None:
    """No new connection is accepted meanwhile. See docs/promises.md#p8."""
    durable = fleet.emulators["durable-demo"]
    async with fleet.gateway(http={"listen": "127.0.0.1:0", "event_loop": event_loop}) as gateway:
        made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable", "provider": "durable-demo"})
        durable.fault("start", "hold")
        start = asyncio.create_task(gateway.call("POST", f"/v1/runtimes/{made['id']}/start", 200))
        await durable.emulator.until_waiting()
        gateway.process.send_signal()
        await gateway.process.until_output('"event":"stopping"')
        async with asyncio.timeout(HANGS):
            while await accepts(gateway.url):  # the listening socket closes just after the line is written
                pass
        assert not start.done()
        durable.emulator.release()
        assert (await start)["state"] in {"starting", "running"}
        assert await gateway.process.wait() == 0
        assert '"code":"cancelled"' not in gateway.process.output
        await gateway.process.until_output('"event":"stopped"')


async def test_probes_on_the_admin_address_respond_during_the_drain_and_report_not_ready(fleet: Fleet) -> None:
    durable = fleet.emulators["durable-demo"]
    async with fleet.gateway(admin={"listen": "127.0.0.1:0"}) as gateway:
        admin = (await gateway.process.until_output(r'"admin_url":"([^"]+)"'))[1]
        made = await gateway.call("POST", "/v1/runtimes", 201, {"kind": "durable", "provider": "durable-demo"})
        durable.fault("start", "hold")
        start = asyncio.create_task(gateway.call("POST", f"/v1/runtimes/{made['id']}/start", 200))
        await durable.emulator.until_waiting()
        gateway.process.send_signal()
        async with client(admin) as session, asyncio.timeout(HANGS):
            while (await session.get("/readyz")).status == 200:  # until the signal has arrived
                pass
            assert (await session.get("/readyz")).status == 503
            assert (await session.get("/livez")).status == 200
            assert 'operation="createRuntime"' in await (await session.get("/metrics")).text()
        assert not start.done()
        durable.emulator.release()
        assert (await start)["state"] in {"starting", "running"}
        assert await gateway.process.wait() == 0


async def accepts(url: str) -> bool:
    """Whether a new connection is accepted."""
    async with client(url) as session:
        try:
            await session.get("/livez")
        except aiohttp.ClientConnectionError:
            return False
        return True


async def test_every_fault_of_the_settings_is_reported_at_once_with_its_path(tmp_path: Path) -> None:
    file = settings(
        tmp_path,
        version=3,
        http={"listen": "127.0.0.1:123456", "max_body_bytes": "much", "colour": "red"},
        auth={"keys": {"tests": {"key": "canary-short"}}},
        log={"level": "canary"},
        providers={
            "main": {**PROVIDER, "base_url": "ftp://canary", "token": "${UNSET_CANARY_OF_THIS_TEST}"},
            "Other": {**PROVIDER, "api": "canary"},
        },
    )
    ended = await finished("serve", "--config", str(file), cwd=tmp_path)
    assert ended.code == 78
    reported = {line.split(": ")[1]: line for line in ended.stderr.splitlines()}
    assert set(reported) == {
        "version",
        "http.listen",
        "http.max_body_bytes",
        "http.colour",
        "auth.keys.tests.key",
        "log.level",
        "providers.main.base_url",
        "providers.main.token",
        "providers.Other",
        "providers.Other.api",
    }
    assert all(line.startswith("error: ") for line in reported.values())
    assert "canary" not in ended.stderr


@pytest.mark.parametrize("auth", [None, "none"])
async def test_serve_without_keys_refuses_to_listen_beyond_this_machine(tmp_path: Path, auth: str | None) -> None:
    ended = await refused(settings(tmp_path, auth=auth), "--listen", "0.0.0.0:0")
    (line,) = ended.stderr.splitlines()
    assert (ended.code, line.split(": ")[:2]) == (78, ["error", "auth"])
    assert "auth.keys" in line


async def test_serve_without_keys_on_loopback_requires_auth_none(tmp_path: Path) -> None:
    assert (await refused(settings(tmp_path))).code == 78
    file = settings(tmp_path, auth="none")
    async with running("serve", "--config", str(file), cwd=tmp_path) as process, client(await process.url()) as session:
        assert (await session.get("/v1/providers")).status == 200


async def test_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    file = settings(tmp_path, auth="none")
    async with running("serve", "--config", str(file), cwd=tmp_path) as process:
        address = (await process.url()).removeprefix("http://")
        ended = await refused(file, "--listen", address)
        demo = await finished("demo", "--port", address.rpartition(":")[2], cwd=tmp_path)
    for failed in (ended, demo):
        assert (failed.code, failed.stderr) == (1, f"error: cannot_listen: {address}: address already in use\n")


async def test_admin_listen_moves_metrics_and_probes(tmp_path: Path) -> None:
    file = settings(tmp_path, auth="none", admin={"listen": "127.0.0.1:0"})
    async with running("serve", "--config", str(file), cwd=tmp_path) as process:
        url = await process.url()
        admin = (await process.until_output(r'"admin_url":"([^"]+)"'))[1]
        assert admin != url
        async with client(url) as at_api, client(admin) as at_admin:
            for probe in ("/livez", "/healthz", "/readyz", "/metrics"):
                assert (await at_admin.get(probe)).status == 200
                assert (await at_api.get(probe)).status == 404
            assert (await at_admin.get("/v1/providers")).status == 404
            assert (await at_api.get("/v1/providers")).status == 200
            assert "getProviders" not in await (await at_admin.get("/metrics")).text()
            assert 'operation="listProviders"' in await (await at_admin.get("/metrics")).text()
        process.send_signal()
        assert await process.wait() == 0


def lose(key: Path) -> None:
    key.unlink()


def show_to_others(key: Path) -> None:
    key.chmod(0o604)


def cut(key: Path) -> None:
    key.write_bytes(key.read_bytes()[:20])


@pytest.mark.parametrize(
    ("harm", "why"), [(lose, "does not: restore it"), (show_to_others, "chmod 600"), (cut, "contains no key")]
)
async def test_unusable_key_file_of_the_store_is_a_fault_of_the_settings(
    harm: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    """``config check`` and ``serve`` report it in the same line, and neither replaces the key."""
    file = settings(tmp_path, auth={"keys": {"tests": {"key": KEY}}}, store={"url": "sqlite:///store.db"})

    async def command(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli, [*arguments, "--config", str(file)])

    assert (await command("db", "upgrade")).exit_code == 0
    assert (await command("config", "check")).exit_code == 0
    key = tmp_path / "store.db.key"
    harm(key)
    before = key.read_bytes() if key.exists() else None
    checked = await command("config", "check")
    served = await refused(file)
    assert (checked.exit_code, checked.stdout, checked.stderr) == (78, "", served.stderr)
    assert served.code == 78
    (line,) = served.stderr.splitlines()
    assert line.startswith("error: store.encryption_keys: ")
    assert why in line
    assert (key.read_bytes() if key.exists() else None) == before
    document = json.loads((await command("config", "check", "-o", "json")).stdout)
    assert [problem["path"] for problem in document["problems"]] == ["store.encryption_keys"]
