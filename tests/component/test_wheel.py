"""The wheel is complete: its content, its declared dependencies, and the demo that runs from it in an empty folder."""

import ast
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Final

import pytest

from tests.component.processes import ROOT, client, finished, running

KEY = "a-key-for-the-wheel"
PYTHON = (sys.executable, "-m")
EXTRA_OF = {"gateway/storage/postgres.py": "postgres", "gateway/storage/redis_windows.py": "redis"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture
async def wheel(tmp_path: Path) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path / "dist"
    built = await finished(
        *("build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)), command=PYTHON, cwd=tmp_path
    )
    assert built.code == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def in_package(folder: str, pattern: str, packaged: str) -> set[str]:
    """The paths inside the wheel of the files of a folder of the checkout."""
    source = ROOT / folder
    return {f"{packaged}/{path.relative_to(source)}" for path in source.rglob(pattern) if path.is_file()}


async def test_wheel_contains_the_code_the_pages_and_the_example_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    pages = in_package("docs", "*", "gateway/docs_pages")
    assert pages
    code = in_package("gateway", "*.py", "gateway") | in_package("adapters", "*.py", "adapters")
    data = in_package("gateway/api/static", "*", "gateway/api/static") | in_package("adapters", "*.md", "adapters")
    data |= in_package("gateway/storage/migrations", "*.sql", "gateway/storage/migrations")
    data |= in_package("gateway/console", "*", "gateway/console")
    example = "gateway/settings/gateway.example.yaml"
    assert held == code | data | pages | {example, "gateway/py.typed"}


async def test_demo_of_an_installed_wheel_runs_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """It creates runtimes at every provider, serves every page, writes no file and ends with 0."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    installed = await finished(
        *("pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)),
        command=PYTHON,
        cwd=tmp_path,
    )
    assert installed.code == 0, installed.stderr
    script = (str(site / "bin" / "runtime-gateway"),)
    environment = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    async with running(
        "demo", "--port", "0", "--api-key", KEY, cwd=empty, command=script, environment=environment
    ) as demo:
        url = await demo.url()
        await create_everywhere(url)
        await check_all_pages(url)
        demo.send_signal()
        assert await demo.wait() == 0
    assert list(empty.iterdir()) == []


def distributions_named(requirements: Iterable[str]) -> set[str]:
    """The normalized names in a list of requirements."""
    return {re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0].lower().replace("_", "-") for each in requirements}


installed: Final = cache(packages_distributions)
"""The distributions of each package that is installed."""


def imported(paths: Iterable[Path]) -> Iterator[str]:
    """The distributions whose packages the modules import, anywhere in the module."""
    known = installed()
    own = sys.stdlib_module_names | {"gateway", "adapters"}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for package in {name.partition(".")[0] for name in names} - own:
                yield from distributions_named(known[package])


def test_every_import_is_a_required_dependency_or_an_extra_of_its_module() -> None:
    """``multidict`` and ``yarl`` are part of aiohttp's interface, and come with it; so does ``pydantic_core`` with
    pydantic."""
    required = distributions_named(PROJECT["dependencies"])
    required |= distributions_named(requires("aiohttp") or ()) & {"multidict", "yarl"}
    required |= distributions_named(requires("pydantic") or ()) & {"pydantic-core"}
    code = [path for folder in ("gateway", "adapters") for path in (ROOT / folder).rglob("*.py")]
    for path in code:
        extra = EXTRA_OF.get(str(path.relative_to(ROOT)))
        optional = distributions_named(PROJECT["optional-dependencies"][extra]) if extra else set()
        assert set(imported([path])) <= required | optional, path


async def create_everywhere(url: str) -> None:
    """Create a runtime of each kind that each provider supports, and check that one list has all of them."""
    async with client(url, KEY) as session:
        providers = (await (await session.get("/v1/providers")).json())["items"]
        made = {}
        for provider in providers:
            for kind in provider["creates"]:
                body = {"kind": kind, "provider": provider["name"], "name": f"of-{provider['name']}"}
                response = await session.post("/v1/runtimes", json=body)
                runtime = await response.json()
                assert (response.status, runtime["provider"], runtime["kind"]) == (201, provider["name"], kind)
                made[runtime["id"]] = kind
        listed = await (await session.get("/v1/runtimes")).json()
        assert {runtime["id"]: runtime["kind"] for runtime in listed["items"]} == made
        assert {*made.values()} == {"durable", "browser"}


async def check_all_pages(url: str) -> None:
    """Follow every link of the documentation to this server, starting at its index."""
    async with client(url) as session:
        pending, seen = ["/docs", "/docs/errors/validation_failed", "/docs/api"], dict[str, str]()
        while pending:
            path = pending.pop()
            response = await session.get(path)
            assert response.status == 200, path
            body = await response.text(errors="replace")
            seen[path] = body
            if response.content_type == "text/html":
                links = re.findall(r'(?:href|src)="(/[^"#]*)', body)
                pending += {link for link in links if link not in seen and link not in pending}
    pages = {f"/docs/{page.stem}" for page in (ROOT / "docs").rglob("*.md")} - {"/docs/index"}
    assert pages | {"/docs/bctrl", "/docs/bctrl_browsers", "/docs/durable"} <= seen.keys()
    assert {"/openapi.json", "/docs/assets/docs.js", "/docs/assets/theme.css"} <= seen.keys()
    assert "pointer" in seen["/docs/errors/validation_failed"]
