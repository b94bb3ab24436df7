"""An adapter is a folder: another one is found, served and used without an edit elsewhere."""

import asyncio
import importlib
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

import adapters
from adapters.registry import AdapterFolderError, discover
from gateway.domain.values import State
from gateway.ports.plugin import AdapterPlugin

ROOT = Path(__file__).parents[2]
FILES = {"__init__.py", "settings.py", "wire.py", "mapping.py", "errors.py", "adapter.py", "emulator", "README.md"}
KEY = "a-key-for-the-copies"

BROWSER = {"kind": "browser", "name": "third", "launch": {"mode": "ephemeral"}}
COPIES = {
    "copy_of_durable": (
        "durable",
        {"kind": "durable", "name": "third", "labels": {"team": "shop"}},
        "/api/v1/org/{scope}/runtimes/",
    ),
    "copy_of_bctrl": ("bctrl", BROWSER, "/v1/workspaces/{scope}/runtimes/"),
    "copy_of_bctrl_browsers": ("bctrl_browsers", BROWSER, "/v1/browsers/"),
}
"""By the name of the copy: the original folder, a create that it accepts, and the path of its dialect's runtimes by
name. No adapter has such a name, so that a new folder does not clash with a copy."""


@pytest.fixture(params=sorted(discover()))
def api(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_folder_has_the_same_files(api: str):
    folder = ROOT / "adapters" / api
    assert not FILES - {path.name for path in folder.iterdir()}


def test_only_the_emulator_imports_the_test_tools(api: str):
    """The import rules identify an emulator by its folder."""
    folder = ROOT / "adapters" / api
    using = {path.parent.name for path in folder.rglob("*.py") if "gateway.testing" in path.read_text("utf-8")}
    assert using == {"emulator"}


def test_every_mapping_has_a_table_of_states(api: str):
    """``make docs`` writes it into docs/model.md."""
    states = importlib.import_module(f"adapters.{api}.mapping").STATES
    assert states
    assert set(states.values()) <= set(State)
    assert State.UNKNOWN not in states.values()


def test_plugin_is_consistent(api: str):
    """Its parts name the same API, its demo provider can be configured, its emulator starts without choices."""
    plugin = discover()[api]
    demo = plugin.demo
    options = {"name": demo.provider, "api": api, "base_url": "http://127.0.0.1:1", "token": "t", "scope": demo.scope}
    settings = plugin.settings.model_validate({**options, **(demo.options or {})})
    assert settings.scope == demo.scope
    assert plugin.adapter.api == api
    assert plugin.adapter.creates
    assert plugin.adapter.creates <= plugin.adapter.kinds
    assert plugin.adapter.features > plugin.adapter.create_features
    assert all(choices for choices in plugin.personalities.values())
    module, _, function = plugin.emulator.partition(":")
    assert module.startswith(f"adapters.{api}.emulator")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that the registry searches for adapters instead of the real one."""
    monkeypatch.setattr(adapters, "__path__", [str(tmp_path)])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        monkeypatch.delitem(sys.modules, name)
    for name in list(vars(adapters)):
        if (tmp_path / name).is_dir():
            monkeypatch.delattr(adapters, name)


def test_folder_without_a_plugin_is_refused(folders: Path):
    """The error names the file."""
    (folders / "hollow").mkdir()
    (folders / "hollow" / "__init__.py").write_text("PLUGIN = 'hollow'\n")
    with pytest.raises(AdapterFolderError, match=r"adapters/hollow/__init__\.py does not define PLUGIN"):
        discover.__wrapped__()


def test_plugin_whose_api_is_not_its_folder_name_is_refused(folders: Path):
    """The settings select an adapter by the name of its folder."""
    (folders / "otherwise").mkdir()
    (folders / "otherwise" / "__init__.py").write_text("from adapters.durable import PLUGIN\n")
    with pytest.raises(AdapterFolderError, match="adapters/otherwise: its API is called durable"):
        discover.__wrapped__()


def test_two_folders_with_the_same_demo_provider_are_refused(folders: Path):
    """The demo could only configure one of them."""
    for name in ("atoll", "bay"):
        (folders / name).mkdir()
        (folders / name / "__init__.py").write_text(
            "from dataclasses import replace\n"
            "from adapters.durable import PLUGIN as ORIGINAL\n"
            f"adapter = type('Adapter', (ORIGINAL.adapter,), {{'api': {name!r}}})\n"
            f"PLUGIN = replace(ORIGINAL, api={name!r}, adapter=adapter)\n"
        )
    with pytest.raises(AdapterFolderError, match="adapters/bay and adapters/atoll have one name of a demo provider"):
        discover.__wrapped__()


@pytest.mark.parametrize(
    ("fallbacks", "declared"),
    [({"cove": False, "dune": False}, "none"), ({"fjord": True, "gulf": True}, "fjord and gulf")],
)
def test_prefix_without_exactly_one_fallback_is_refused(folders: Path, fallbacks: dict[str, bool], declared: str):
    """The dialect that words the errors of unknown paths must not depend on the order of the folders."""
    for name, fallback in fallbacks.items():
        (folders / name).mkdir()
        (folders / name / "__init__.py").write_text(
            "from dataclasses import replace\n"
            "from adapters.durable import PLUGIN as ORIGINAL\n"
            f"adapter = type('Adapter', (ORIGINAL.adapter,), {{'api': {name!r}}})\n"
            f"members = {{'prefix': 'sea', 'families': ('/{name}',), 'routes': (), 'fallback': {fallback},\n"
            f"           '__module__': {name!r}}}\n"
            "dialect = type('Dialect', (ORIGINAL.dialect,), members)\n"
            f"demo = replace(ORIGINAL.demo, provider={name!r})\n"
            f"PLUGIN = replace(ORIGINAL, api={name!r}, adapter=adapter, demo=demo, dialect=dialect)\n"
        )
    with pytest.raises(AdapterFolderError, match=f"exactly one dialect of /sea has to be its fallback.*: {declared}$"):
        discover.__wrapped__()


def test_module_beside_the_folders_is_not_imported(folders: Path):
    """``registry.py`` is one."""
    (folders / "notes.py").write_text("raise AssertionError('imported')\n")
    assert discover.__wrapped__() == {}


def test_folder_whose_init_does_not_mention_plugin_is_not_executed(folders: Path):
    (folders / "heads").mkdir()
    (folders / "heads" / "__init__.py").write_text("raise AssertionError('executed')\n")
    with pytest.raises(AdapterFolderError, match=r"adapters/heads/__init__\.py does not define PLUGIN"):
        discover.__wrapped__()


def test_module_from_outside_its_folder_is_refused(folders: Path, monkeypatch: pytest.MonkeyPatch):
    """An import hook could find it there."""
    (folders / "heads").mkdir()
    (folders / "heads" / "__init__.py").write_text("from adapters.durable import PLUGIN\n")
    elsewhere = ModuleType("adapters.heads")
    elsewhere.__spec__ = ModuleSpec("adapters.heads", None, origin="/elsewhere/heads/__init__.py")
    monkeypatch.setitem(sys.modules, "adapters.heads", elsewhere)
    with pytest.raises(AdapterFolderError, match=r"heads: import finds /elsewhere/heads/__init__\.py instead"):
        discover.__wrapped__()


def test_every_demo_provider_has_its_own_name():
    plugins: list[AdapterPlugin] = list(discover().values())
    assert len({plugin.demo.provider for plugin in plugins}) == len(plugins)


@pytest.fixture(scope="module")
def with_copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds ``adapters`` with the original folders and copies of them under other names."""
    place = tmp_path_factory.mktemp("with-copies")
    shutil.copytree(ROOT / "adapters", place / "adapters", ignore=shutil.ignore_patterns("__pycache__"))
    for copy, (original, *_) in COPIES.items():
        shutil.copytree(place / "adapters" / original, place / "adapters" / copy)
        for module in (place / "adapters" / copy).rglob("*.py"):
            module.write_text(_renamed(module.read_text("utf-8"), original, copy), "utf-8")
    return place


def _renamed(text: str, original: str, copy: str) -> str:
    """Replace the name in imports, the API, the dialect's prefix and the demo provider. The dialect becomes the
    fallback of its prefix, where it is the only one."""
    text = re.sub(rf"\badapters\.{original}\b", f"adapters.{copy}", text)
    text = re.sub(rf'\b(api\b[^=\n]*= ?)"{original}"', rf'\1"{copy}"', text)
    text = re.sub(r'\b((?:prefix|PREFIX): [^=\n]*= )"\w+"', rf'\1"{copy}"', text)
    text = text.replace("fallback: ClassVar[bool] = False", "fallback: ClassVar[bool] = True")
    text = text.replace(f'api: Literal["{original}"]', f'api: Literal["{copy}"]')
    return re.sub(r'(provider=)"\w+-demo"', rf'\1"{_demo_provider(copy)}"', text)


def _demo_provider(copy: str) -> str:
    return f"{copy.replace('_', '-')}-demo"


@asynccontextmanager
async def demo(place: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, aiohttp.ClientSession]]:
    """Run ``runtime-gateway demo`` with the adapters of ``place`` as a process; yield it and a client of it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import sys; from gateway.demo import run_demo; sys.exit(run_demo(port=0, api_key={KEY!r}))",
        cwd=place,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(place), str(ROOT)))},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        url = await asyncio.wait_for(_url(process), 60)
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {KEY}"}) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async for line in process.stdout:
        if found := re.search(rb"(http://\S+)/v1", line):
            return found[1].decode()
    raise AssertionError("the demo ended before it printed its address")


async def response_of(client: aiohttp.ClientSession, method: str, path: str, status: int, **options: Any) -> Any:
    async with client.request(method, path, **options) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_new_folder_is_found_served_and_used_without_any_other_change(with_copies: Path):
    """Copies of all adapters under other names create, read and list runtimes in the demo, and serve their
    dialects."""
    async with demo(with_copies) as (process, client):
        providers = (await response_of(client, "GET", "/v1/providers", 200))["items"]
        assert {provider["api"] for provider in providers} == {*discover(), *COPIES}
        originals = {provider["api"]: provider["name"] for provider in providers}
        for copy, (original, body, runtimes) in COPIES.items():
            made = await response_of(
                client, "POST", "/v1/runtimes", 201, json={**body, "provider": _demo_provider(copy)}
            )
            assert made["id"].startswith(f"{_demo_provider(copy)}.")
            got = await response_of(client, "GET", f"/v1/runtimes/{made['id']}", 200)
            assert (got["provider"], got["provider_id"]) == (_demo_provider(copy), made["provider_id"])
            listed = await response_of(client, "GET", f"/v1/runtimes?provider={_demo_provider(copy)}", 200)
            assert [runtime["id"] for runtime in listed["items"]] == [made["id"]]
            assert not (await response_of(client, "GET", f"/v1/runtimes?provider={originals[original]}", 200))["items"]
            where = runtimes.replace("{scope}", made["scope"].replace("/", "/ws/"))
            native = await response_of(client, "GET", f"/{copy}{where}third", 200)
            assert native["id"] == made["provider_id"]
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
