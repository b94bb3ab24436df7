"""Clients that are generated from the OpenAPI document compile, and create and list at a gateway."""

import json
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from gateway.api.openapi import openapi_json
from tests.component.processes import finished
from tests.component.whole_gateway import KEY, Gateway, whole_gateway
from tests.real.plane import NODE, ROOT, required

PYTHON: Final = ROOT / ".venv-clients/openapi-python-client-0.29.1/bin"
FOLDER: Final = Path(__file__).parent
STRICT: Final = ("--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom,dom.iterable")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with whole_gateway("durable") as started:
        yield started


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_bytes(openapi_json())
    return path


async def output(folder: Path, *command: object, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints. It has to succeed."""
    ended = await finished(command=tuple(map(str, command)), cwd=folder, environment=environment)
    assert ended.code == 0, ended.stdout + ended.stderr
    return ended.stdout


async def test_python_client_is_generated_without_a_warning_and_works(gateway: Gateway, document: Path) -> None:
    required("openapi-python-client (make real)", PYTHON.exists())
    folder = document.parent
    path = {"PATH": f"{PYTHON}:/usr/bin:/bin"}
    generate = (PYTHON / "openapi-python-client", "generate", "--path", document, "--output-path", "client")
    printed = await output(folder, *generate, "--fail-on-warning", environment=path)
    assert "warning" not in printed.lower()
    await output(folder, PYTHON / "python", "-W", "error", "-m", "compileall", "-q", "client")
    calls = (PYTHON / "python", "-W", "error", FOLDER / "generated_client.py", gateway.url, KEY)
    found = json.loads(await output(folder, *calls, environment={"PYTHONPATH": str(folder / "client")}))
    assert found.pop("year") > 2000
    wanted = {"name": "from-python", "created": True, "state": "idle", "pause": False, "code": "validation_failed"}
    assert found == wanted


async def test_typescript_client_compiles_strictly_and_works(gateway: Gateway, document: Path) -> None:
    required("Node with its clients (make real)", NODE.exists())
    folder = document.parent
    (folder / "node_modules").symlink_to(NODE)
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(FOLDER / "generated_client.ts", folder / "client.ts")
    node = (NODE / "node/bin/node",)
    await output(folder, *node, NODE / "openapi-typescript/bin/cli.js", document, "--output", "api.d.ts")
    await output(folder, *node, NODE / "typescript/bin/tsc", *STRICT, "client.ts")
    found = json.loads(await output(folder, *node, "client.js", gateway.url, KEY))
    assert found.pop("year") > 2000
    wanted = {"name": "from-typescript", "created": True, "state": "idle", "pause": False, "code": "validation_failed"}
    assert found == wanted
