"""Packages of other distributions called ``gateway`` or ``adapters`` are named in one line and not executed."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.component.processes import ROOT, Ended, finished

COMMAND = ("-m", "gateway")
RAN = "the foreign package was executed"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages with the two packages of this distribution."""
    folder = tmp_path / "site"
    for package in ("gateway", "adapters"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def install(folder: Path, module: str, source: str) -> None:
    """Install a distribution ``reef-tools 4.2`` that consists of one module."""
    target = folder / module
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source)
    record = folder / "reef_tools-4.2.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: reef-tools\nVersion: 4.2\n")
    (record / "RECORD").write_text(
        f"{module},,\nreef_tools-4.2.dist-info/METADATA,,\nreef_tools-4.2.dist-info/RECORD,,\n"
    )


async def emulate(*path: Path) -> Ended:
    """A command that needs the adapter folders, and ends at once because the API does not exist."""
    environment = {"PYTHONPATH": ":".join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    return await finished("emulate", "?", cwd=path[0], command=(sys.executable, *COMMAND), environment=environment)


def is_one_line(ended: Ended, *words: str) -> None:
    """Check that the command ended with 78, and printed one line with these words on stderr."""
    assert (ended.code, ended.stdout) == (78, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: adapter_folder: ")
    assert not [word for word in words if word not in line], line
    assert RAN not in line


async def test_packages_of_this_distribution_are_accepted(site: Path) -> None:
    ended = await emulate(site)
    assert ended.code == 2, ended.stderr
    assert "there is no emulator of '?'; available: bctrl, bctrl_browsers, durable" in ended.stderr


async def test_copy_of_adapters_earlier_on_the_path_is_accepted(site: Path, tmp_path: Path) -> None:
    """Further adapter folders may be kept beside a copy of the ones that are installed."""
    shutil.move(site / "adapters", tmp_path / "own" / "adapters")
    assert (await emulate(tmp_path / "own", site)).code == 2


async def test_overwritten_adapters_package_is_named_and_not_executed(site: Path) -> None:
    install(site, "adapters/__init__.py", f"raise SystemExit({RAN!r})\n")
    is_one_line(await emulate(site), f"{site}/adapters/__init__.py", "belongs to the distribution reef-tools 4.2")


async def test_foreign_adapters_package_earlier_on_the_path_is_named_and_not_executed(
    site: Path, tmp_path: Path
) -> None:
    """This also applies to a package with a registry of its own."""
    other = tmp_path / "other"
    install(other, "adapters/__init__.py", f"raise SystemExit({RAN!r})\n")
    (other / "adapters" / "registry.py").write_text(f"raise SystemExit({RAN!r})\n")
    is_one_line(await emulate(other, site), f"{other}/adapters/__init__.py", "the distribution reef-tools 4.2")


async def test_adapters_package_without_metadata_is_named_by_its_path(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "adapters"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text(f"raise SystemExit({RAN!r})\n")
    is_one_line(await emulate(other.parent, site), f"{other}/__init__.py", "belongs to no installed distribution")


async def test_folder_without_an_init_earlier_on_the_path_is_ignored(site: Path, tmp_path: Path) -> None:
    """Python prefers a package with ``__init__.py`` on a later entry of the path."""
    (tmp_path / "other" / "adapters").mkdir(parents=True)
    assert (await emulate(tmp_path / "other", site)).code == 2


async def test_missing_adapters_package_is_reported(site: Path) -> None:
    """A folder without ``__init__.py`` remains of it; sitecustomize removes every other copy from the path."""
    shutil.rmtree(site / "adapters")
    (site / "adapters").mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\nsys.path[:] = [p for p in sys.path if not os.path.exists(p + '/adapters/__init__.py')]\n"
    )
    is_one_line(await emulate(site), "package adapters", "is a folder without __init__.py", f"{site}/adapters")


async def test_overwritten_gateway_package_is_named(site: Path) -> None:
    """Python executes it before any check can run, so its effects cannot be prevented; its failure is explained."""
    install(site, "gateway/__init__.py", "API_GATEWAY = True\n")
    is_one_line(await emulate(site), f"{site}/gateway/__init__.py", "belongs to the distribution reef-tools 4.2")


async def test_foreign_folder_inside_adapters_is_named_and_not_executed(site: Path) -> None:
    """Two distributions that install into one folder ``adapters`` share it."""
    install(site, "adapters/heads/__init__.py", f"raise SystemExit({RAN!r})\n")
    is_one_line(await emulate(site), "adapters/heads/__init__.py does not define PLUGIN", "reef-tools 4.2")
