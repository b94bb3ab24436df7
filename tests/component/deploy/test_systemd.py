"""The systemd unit: its command with its credentials, and what needs none."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.component.deploy.test_containers import LAST_STEPS
from tests.component.processes import client, finished, running
from tests.deployment import DEPLOY, commands, load
from tests.programs import program

UNIT = (DEPLOY / "systemd/runtime-gateway.service").read_text("utf-8")
SETTINGS = DEPLOY / "systemd/gateway.yaml"
MOST_EXPOSED = 20  # tenths: systemd calls it OK


def values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the settings of the unit, which have their store and free ports there, and its credentials."""
    (tmp_path / "credentials").mkdir()
    for credential in values("LoadCredential"):
        (tmp_path / "credentials" / credential.partition(":")[0]).write_text("a-secret-of-the-service\n")
    text = SETTINGS.read_text("utf-8").replace("/var/lib/runtime-gateway", str(tmp_path))
    text = text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9090", "127.0.0.1:0")
    (tmp_path / "gateway.yaml").write_text(text.replace("https://app.dreadnode.io", "http://127.0.0.1:9"))
    return tmp_path


async def test_command_of_the_unit_serves_with_its_credentials(installed: Path) -> None:
    (start,) = values("ExecStart")
    program_, *arguments, file = start.split()
    assert program_ == "/opt/runtime-gateway/bin/runtime-gateway"
    assert file == "/etc/runtime-gateway/gateway.yaml"
    environment = {"CREDENTIALS_DIRECTORY": str(installed / "credentials")}
    command = (*arguments, str(installed / "gateway.yaml"))
    async with running(*command, cwd=installed, environment=environment) as process:
        await process.until_output('"event":"started"')
        async with client(await process.url(), "a-secret-of-the-service") as session:
            assert (await session.get("/v1/me")).status == 200
        process.send_signal()
        assert await process.wait() == 0


async def test_gateway_without_its_credentials_does_not_start(installed: Path) -> None:
    ended = await finished("serve", "--config", str(installed / "gateway.yaml"), cwd=installed)
    assert ended.code == 78
    assert "CREDENTIALS_DIRECTORY" in ended.stderr
    assert "78" in values("RestartPreventExitStatus")[0].split()


@pytest.mark.parametrize("command", [("db", "upgrade"), ("db", "status"), ("intents", "list")], ids=" ".join)
async def test_commands_for_the_store_need_no_credential(command: tuple[str, ...], installed: Path) -> None:
    upgraded = await finished("db", "upgrade", "--config", str(installed / "gateway.yaml"), cwd=installed)
    assert upgraded.code == 0, upgraded.stderr
    ended = await finished(*command, "--config", str(installed / "gateway.yaml"), cwd=installed)
    assert ended.code == 0, ended.stderr


def test_settings_read_the_credentials_of_the_unit_and_no_other_file() -> None:
    text = SETTINGS.read_text("utf-8")
    assert set(re.findall(r"file:(\S+?)[\"\s]", text)) == {
        f"${{CREDENTIALS_DIRECTORY}}/{credential.partition(':')[0]}" for credential in values("LoadCredential")
    }
    written = {name for line in commands("systemd") for name in re.findall(r"> (/\S+)$", line)}
    assert written == {credential.partition(":")[2] for credential in values("LoadCredential")}


def test_unit_waits_for_the_end_of_a_stop() -> None:
    shutdown = load("systemd/gateway.yaml")["shutdown"]
    assert int(values("TimeoutStopSec")[0]) > shutdown.get("delay", 0) + shutdown["grace"] + LAST_STEPS
    assert values("LimitNOFILE") == ["65536"]


def test_systemd_accepts_the_unit_and_calls_it_confined(tmp_path: Path) -> None:
    """With a program and a user that exist here."""
    text = UNIT.replace("/opt/runtime-gateway/bin/runtime-gateway", "/bin/true")
    text = re.sub(r"^(User|Group)=.*\n", "", text, flags=re.MULTILINE)
    unit = tmp_path / "runtime-gateway.service"
    unit.write_text(text.replace("[Service]\n", "[Service]\nDynamicUser=yes\n"))
    for options in (("verify",), ("security", "--offline=true", f"--threshold={MOST_EXPOSED}")):
        command = [program("systemd-analyze"), *options, str(unit)]
        environment = {**os.environ, "SYSTEMD_PAGER": "cat"}
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert values("User") == values("Group") == ["runtime-gateway"]
