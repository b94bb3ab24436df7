"""What the start of a gateway does not load, because its first request comes sooner without."""

import json
import os
import sys
from pathlib import Path

import pytest

from gateway.app import plugins
from tests.component.fleets import KEY
from tests.component.processes import ROOT, finished
from tests.component.test_serve import settings

SERVED = """
import asyncio, json, sys
from gateway.app import provider_models, serving
from gateway.settings import load_settings

async def serve():
    async with serving(load_settings(sys.argv[1], provider_models=provider_models()).settings):
        from pydantic import BaseModel
        models = [BaseModel]
        for model in models:
            models += model.__subclasses__()
        built = [f"{m.__module__}.{m.__name__}" for m in models if m.__pydantic_complete__]
        print(json.dumps([list(sys.modules), built]))

asyncio.run(serve())
"""
"""Serves with the settings in a file, and prints the imported modules and the pydantic models that are built."""

NOT_NEEDED = {
    "asyncpg",  # without a PostgreSQL store
    "redis",  # without shared limits
    "jwt",  # without issuers of tokens
    "cryptography.x509",
    "pydantic_settings",  # without RTGW_ variables
    "markdown_it",  # until someone reads the documentation
    "pygments",
    "gateway.api.docs_markdown",
    "gateway.demo",
    "gateway.testing",
    "gateway.cli",  # except for the command itself
    "click",
    "rich",
}
"""The start needs a tenth of a second for some of these modules, and all of them stay in memory."""


def three_providers(folder: Path) -> Path:
    """A settings file with a provider of every API, whose addresses refuse connections."""
    providers = {
        plugin.demo.provider: {
            "api": api,
            "base_url": "http://127.0.0.1:9" + plugin.demo.base_path,
            "token": "t",
            "scope": plugin.demo.scope,
        }
        for api, plugin in plugins().items()
    }
    auth = {"keys": {"tests": {"key": KEY}}}
    data = {"enabled": True, "listen": "127.0.0.1:0"}
    return settings(folder, providers=providers, log={"level": "error"}, auth=auth, data=data)


async def test_serving_loads_only_what_its_settings_need(tmp_path: Path) -> None:
    ended = await finished(str(three_providers(tmp_path)), cwd=tmp_path, command=(sys.executable, "-c", SERVED))
    assert ended.code == 0, ended.stderr
    modules, built = json.loads(ended.stdout)
    assert "adapters.durable.adapter" in modules
    assert NOT_NEEDED & set(modules) == set()
    assert "gateway.settings.model.HttpSettings" in built
    assert [name for name in built if name.startswith(("gateway.domain.", "gateway.ports.", "adapters."))] == [
        f"adapters.{api}.settings.{plugin.settings.__name__}" for api, plugin in plugins().items()
    ]


@pytest.mark.parametrize(("command", "collecting"), [("serve", False), ("demo", False), ("db", True)])
async def test_garbage_is_collected_while_commands_are_imported_unless_they_serve(
    command: str, collecting: bool, tmp_path: Path
) -> None:
    code = "import atexit, gc, gateway.__main__ as m; atexit.register(lambda: print('gc', gc.isenabled())); m.main()"
    ended = await finished(command, "--help", cwd=tmp_path, command=(sys.executable, "-c", code))
    assert ended.code == 0, ended.stderr
    assert ended.stdout.endswith(f"gc {collecting}\n")


async def test_garbage_is_collected_while_a_gateway_serves(tmp_path: Path) -> None:
    code = "import gc; gc.disable(); from gateway.app.serving import tune_gc; tune_gc(); print(gc.isenabled())"
    ended = await finished(cwd=tmp_path, command=(sys.executable, "-c", code))
    assert ended.stdout == "True\n", ended.stderr


async def test_pydantic_plugins_of_other_distributions_are_not_executed(tmp_path: Path) -> None:
    """They would receive the values of every setting and request, and it takes time to look for them."""
    metadata = tmp_path / "spy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pydantic]\nspy = spy\n")
    (tmp_path / "spy.py").write_text("import sys; sys.exit('spied')")
    spied = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    model = "from pydantic import BaseModel\nclass Model(BaseModel):\n    a: int"
    plain = await finished(cwd=tmp_path, command=(sys.executable, "-c", model), environment=spied)
    assert plain.stderr == "spied\n"
    file = three_providers(tmp_path)
    checked = await finished("config", "check", "--config", str(file), cwd=tmp_path, environment=spied)
    assert (checked.code, "spied" in checked.stderr) == (0, False), checked.stderr
